"""Steps of optimizers, against live Keras and torch.optim, and bit for bit against numpy."""

from __future__ import annotations

import numpy as np
import pytest

import lstmc
from lstmc import _core, format
from lstmc import graph as g

keras = pytest.importorskip("keras")
torch = pytest.importorskip("torch")

SGD, RMSPROP, ADAM = range(3)
FIELDS = (
    "kind", "learning_rate", "momentum", "nesterov", "rho", "beta_1", "beta_2", "epsilon",
    "weight_decay", "centered", "amsgrad", "clip_value", "clip_norm", "global_clip_norm",
)  # fmt: skip
DEFAULTS = {
    "kind": SGD, "learning_rate": 0.01, "momentum": 0, "nesterov": 0, "rho": 0.9, "beta_1": 0.9,
    "beta_2": 0.999, "epsilon": 1e-7, "weight_decay": 0, "centered": 0, "amsgrad": 0,
    "clip_value": 0, "clip_norm": 0, "global_clip_norm": 0,
}  # fmt: skip
OPTIMIZERS = {
    "sgd": {},
    "sgd momentum": {"momentum": 0.9},
    "sgd nesterov": {"momentum": 0.9, "nesterov": 1},
    "sgd decay": {"momentum": 0.8, "weight_decay": 0.04},
    "sgd value": {"clip_value": 0.5},
    "sgd norm": {"clip_norm": 1.0, "momentum": 0.5},
    "sgd global": {"global_clip_norm": 1.5},
    "rmsprop": {"kind": RMSPROP},
    "rmsprop momentum": {"kind": RMSPROP, "momentum": 0.9, "rho": 0.8},
    "rmsprop centered": {"kind": RMSPROP, "centered": 1},
    "rmsprop both": {"kind": RMSPROP, "centered": 1, "momentum": 0.5, "epsilon": 1e-3},
    "rmsprop decay": {"kind": RMSPROP, "weight_decay": 0.1, "global_clip_norm": 2.0},
    "adam": {"kind": ADAM, "learning_rate": 0.001},
    "adam fast": {"kind": ADAM, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-4},
    "adam amsgrad": {"kind": ADAM, "amsgrad": 1},
    "adamw": {"kind": ADAM, "weight_decay": 0.004},
    "adam value": {"kind": ADAM, "clip_value": 0.01},
    "adam norm": {"kind": ADAM, "clip_norm": 0.1, "amsgrad": 1},
    "adam global": {"kind": ADAM, "global_clip_norm": 0.1, "weight_decay": 0.01},
}
UNITS, INPUTS, OUT = 21, 13, 3


def options(**changed) -> tuple:
    return tuple({**DEFAULTS, **changed}[name] for name in FIELDS)


def network(panel: int = 16, seed: int = 0) -> _core.Model:
    """Two Dense layers: weight, bias, weight, of whole and half panels."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    first = draw(UNITS, INPUTS)
    graph = g.Graph(
        [g.Value("x", (g.BATCH, INPUTS))],
        [g.Value("y", (g.BATCH, OUT))],
        [
            g.Dense(name="a", inputs=("x",), outputs=("h",), weight=first, bias=draw(UNITS)),
            g.Dense(name="b", inputs=("h",), outputs=("y",), weight=draw(OUT, UNITS)),
        ],
    )
    return _core.Model(np.frombuffer(format.dumps(graph, panel=panel), np.uint8).copy())


SHAPES = ((UNITS, INPUTS), (UNITS,), (OUT, UNITS))


class Steps:
    """A trainer whose gradients are given, tensors in the shapes of the graph."""

    def __init__(self, panel=16, target=0, threads=1, slots=3, frozen=None) -> None:
        self.trainer = _core.Trainer(
            network(panel), 1, 1, target, threads, frozen, slots, False
        )  # fmt: skip

    def read(self, index: int, what: int = 0) -> np.ndarray:
        gates, k, units, panel, size = self.trainer.trained(index)
        flat = np.empty(size, np.float32)
        self.trainer.read(index, what, flat)
        array = format.unpack(flat, gates, k, units, panel)
        # What is not a unit stays 0.
        assert np.array_equal(format.pack(array, gates, panel), flat, equal_nan=True)
        return array.reshape(SHAPES[index])

    def write(self, index: int, array: np.ndarray, what: int = 1) -> None:
        gates, _, _, panel, _ = self.trainer.trained(index)
        array = np.asarray(array, np.float32)
        self.trainer.write(index, what, format.pack(array, gates, panel))

    def step(self, gradients, given: tuple) -> None:
        for i, gradient in enumerate(gradients):
            self.write(i, gradient)
        self.trainer.update(given)
        assert not any(self.read(i, 1).any() for i in range(len(SHAPES)))

    def weights(self) -> list[np.ndarray]:
        return [self.read(i) for i in range(len(SHAPES))]

    def digest(self) -> list[int]:
        """Of all that an optimizer leaves behind."""
        return [lstmc.digest(self.read(i, what)) for i in range(3) for what in (0, 2, 3, 4)]


def gradients(steps: int, seed: int = 1, scale: float = 1.0) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    size = 10.0 ** rng.uniform(-3, 0.5, (steps, 1))
    return [
        [(rng.normal(size=shape) * s * scale).astype(np.float32) for shape in SHAPES]
        for (s,) in size
    ]


def keras_optimizer(name: str):
    o = {**DEFAULTS, **OPTIMIZERS[name]}
    shared = {
        "learning_rate": o["learning_rate"],
        "weight_decay": o["weight_decay"] or None,
        "clipvalue": o["clip_value"] or None,
        "clipnorm": o["clip_norm"] or None,
        "global_clipnorm": o["global_clip_norm"] or None,
    }
    if o["kind"] == SGD:
        return keras.optimizers.SGD(
            momentum=float(o["momentum"]), nesterov=bool(o["nesterov"]), **shared
        )
    if o["kind"] == RMSPROP:
        return keras.optimizers.RMSprop(
            rho=o["rho"], momentum=o["momentum"], epsilon=o["epsilon"],
            centered=bool(o["centered"]), **shared,
        )  # fmt: skip
    return keras.optimizers.Adam(
        beta_1=o["beta_1"], beta_2=o["beta_2"], epsilon=o["epsilon"],
        amsgrad=bool(o["amsgrad"]), **shared,
    )  # fmt: skip


def close(ours, theirs, relative: float, way: float) -> None:
    """Within `relative` of each number, or of the way that a weight has gone."""
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, relative, relative * max(0.1, way))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_as_keras(name):
    ours, given = Steps(), options(**OPTIMIZERS[name])
    variables = [keras.Variable(w) for w in ours.weights()]
    theirs = keras_optimizer(name)
    for i, all_gradients in enumerate(gradients(100)):
        ours.step(all_gradients, given)
        theirs.apply([torch.tensor(x) for x in all_gradients], variables)
        if i in (0, 99):
            close(ours.weights(), [keras.ops.convert_to_numpy(v) for v in variables],
                  1e-5 if i else 1e-6, way=given[1] * (i + 1))  # fmt: skip
