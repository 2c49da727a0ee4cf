"""Optimizers by name, their settings, and learning rates against Keras's schedules."""

from __future__ import annotations

import math

import numpy as np
import pytest

import lstmc
from lstmc import optimizers
from lstmc.optimizers import schedules
from lstmc.training.specs import Dropout, Optimizer

keras = pytest.importorskip("keras")

SCHEDULES = [
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 30, "decay_rate": 0.7}),
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.7,
                              "staircase": True}),
    ("InverseTimeDecay", {"initial_learning_rate": 0.2, "decay_steps": 9, "decay_rate": 0.5}),
    ("InverseTimeDecay", {"initial_learning_rate": 0.2, "decay_steps": 9, "decay_rate": 0.5,
                              "staircase": True}),
    ("PolynomialDecay", {"initial_learning_rate": 0.2, "decay_steps": 50}),
    ("PolynomialDecay", {"initial_learning_rate": 0.2, "decay_steps": 50, "end_learning_rate": 0.05,
                             "power": 0.5}),
    ("PolynomialDecay", {"initial_learning_rate": 0.2, "decay_steps": 20, "power": 2.5,
                         "cycle": True}),
    ("PiecewiseConstantDecay", {"boundaries": [5, 20], "values": [0.5, 0.1, 0.02]}),
    ("CosineDecay", {"initial_learning_rate": 0.3, "decay_steps": 60}),
    ("CosineDecay", {"initial_learning_rate": 0.01, "decay_steps": 40, "alpha": 0.1,
                         "warmup_target": 0.3, "warmup_steps": 10}),
]  # fmt: skip


@pytest.mark.parametrize("name, settings", SCHEDULES)
def test_schedules_are_those_of_keras(name, settings):
    own = getattr(schedules, name)(**settings)
    theirs = getattr(keras.optimizers.schedules, name)(**settings)
    for step in [*range(80), 1000]:
        assert own(step) == pytest.approx(float(theirs(step)), rel=3e-6, abs=1e-8), step


def test_powers_and_cosines():
    """Ours must not differ from libm by more than it may be wrong by."""
    for i in range(1025):
        part = i / 1024
        assert schedules.half_turn_cosine(part) == pytest.approx(
            math.cos(math.pi * part), abs=1e-15
        )
        for base in (0.3, 0.96, 1.0, 1.5):
            exact = base ** (40 * part)
            assert schedules.power(base, 40 * part) == pytest.approx(exact, rel=1e-14)
    assert schedules.half_turn_cosine(0.5) == 0
    assert schedules.power(0.0, 2.0) == 0 and schedules.power(0.0, 0.0) == 1
    assert schedules.power(10.0, 400) == math.inf and schedules.power(0.1, 1e6) == 0


def test_rates_may_be_any_function_and_may_be_set():
    own = optimizers.Adam(lambda step: 1 / (1 + step))
    assert own.learning_rate == 1 and own.scheduled
    own.iterations = 3
    assert own.learning_rate == own.lr == 0.25
    own.learning_rate = 0.5
    assert own.learning_rate == 0.5 and not own.scheduled
    own.lr = np.float32(0.25)
    assert own.learning_rate == 0.25
    own.learning_rate = lambda step: float("nan")
    with pytest.raises(lstmc.RangeError, match="the learning rate of step 3 is nan"):
        _ = own.learning_rate
    with pytest.raises(lstmc.RangeError, match="learning_rate is -1, expected a number at least 0"):
        own.learning_rate = -1


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "AdamW"])
def test_defaults_are_those_of_keras(name):
    own, theirs = getattr(optimizers, name)(), getattr(keras.optimizers, name)()
    config = theirs.get_config()
    spec = own.spec()
    assert own.learning_rate == pytest.approx(config["learning_rate"], rel=1e-6)
    for key, value in own.settings.items():
        assert value == (config[key] or 0 if key == "weight_decay" else config[key]), key
        assert getattr(spec, key) == value
    assert own.name == config["name"].rstrip("_0123456789").replace("_", "")
    for spelled in (name, name.lower(), own):
        assert type(optimizers.get(spelled)) is type(own)
    assert optimizers.get(own) is own and optimizers.get(name) is not own


def test_settings():
    made = optimizers.Adam(1e-2, 0.8, clipnorm=1.0, weight_decay=0.1, name="mine")
    assert made.name == "mine"
    assert made.spec() == Optimizer("adam", 1e-2, beta_1=0.8, clipnorm=1.0, weight_decay=0.1)
    made = optimizers.SGD(momentum=0.9, nesterov=True, global_clipnorm=2)
    assert made.spec() == Optimizer("sgd", 0.01, momentum=0.9, nesterov=True, global_clipnorm=2)
    made = optimizers.RMSprop(rho=0.5, centered=True, clipvalue=1)
    assert made.spec() == Optimizer("rmsprop", rho=0.5, centered=True, clipvalue=1)


def test_bad_settings():
    for bad in ("adagrad", None, keras.optimizers.Adam()):
        with pytest.raises(
            lstmc.UnknownNameError, match=r"unknown optimizer .*known are adam, adam"
        ):
            optimizers.get(bad)
    with pytest.raises(lstmc.UnknownNameError):
        Optimizer("Adam")
    for make, text in (
        (
            lambda: optimizers.Adam(beta_1=1),
            "beta_1 is 1, expected a number at least 0 and below 1",
        ),
        (lambda: optimizers.Adam("fast"), "learning_rate is 'fast'"),
        (lambda: optimizers.SGD(momentum=-0.1), "momentum"),
        (lambda: optimizers.SGD(clipnorm=0), "clipnorm is 0, expected a number above 0"),
        (lambda: optimizers.SGD(clipnorm=1, clipvalue=1), "clipnorm and clipvalue given"),
        (lambda: optimizers.Adam(weight_decay=-1), "weight_decay"),
        (lambda: optimizers.Adam(epsilon=math.inf), "epsilon"),
        (lambda: Dropout("lstm", "element", 1.0), "rate is 1.0, expected .* below 1"),
        (lambda: schedules.ExponentialDecay(0.1, 0, 0.5), "decay_steps is 0"),
        (lambda: schedules.PiecewiseConstantDecay([3], [1]), "1 boundaries and 1 values"),
        (lambda: schedules.PiecewiseConstantDecay([3, 3], [1, 2, 3]), "do not ascend"),
        (lambda: schedules.CosineDecay(0.1, 10, alpha=2), "alpha"),
    ):
        with pytest.raises(lstmc.RangeError, match=text):
            make()
    with pytest.raises(TypeError, match="use_ema"):
        optimizers.Adam(use_ema=True)
    with pytest.raises(lstmc.UnknownNameError, match="known are element, recurrent, steps"):
        Dropout("lstm", "spatial", 0.5)
