"""Derivatives of the elementwise functions: how exact, at kinks, beyond numbers, the same bits."""

from __future__ import annotations

import derivatives
import gradients
import numpy as np
import pytest
from helpers import FUNCTIONS, Net, assert_same, random_inputs

import lstmc
from lstmc import graph as g
from lstmc import reference

torch = pytest.importorskip("torch")
F = torch.nn.functional

#: Largest errors: in ULP where the derivative is at least 1/16, in units of 2^-24 where it is
#: smaller (docs/TRAINING.md). Others are exact.
BOUNDS: dict[str, tuple[float, float]] = {
    "sigmoid": (10.5, 1.6), "tanh": (10.5, 1.2), "scaled_tanh": (5.5, 0.5), "elu": (1.8, 0.12),
    "softsign": (3.6, 0.23), "softplus": (1.7, 0.1), "selu": (2.0, 0.12), "gelu": (9.0, 1.1),
    "gelu_tanh": (9.0, 1.1), "silu": (5.3, 0.56), "mish": (6.0, 0.35), "hard_silu": (2.0, 0.27),
    "log_sigmoid": (1.7, 0.1), "celu": (1.1, 0.07), "tanh_shrink": (3.4, 0.12),
    "squareplus": (5.5, 0.27), "sparse_plus": (0.5, 0.04), "erf": (1.9, 0.12), "sqrt": (1.5, 0.1),
    "reciprocal": (2.0, 0.1), "log": (0.5, 0.04), "exponential": (1.1, 0.07),
}  # fmt: skip
EXTREMES = np.array(
    [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 3.4e38, -3.4e38, 2.0**-126, 1e-20,
     -1e-20, 1e20, -1e20, 1.0, -1.0, 3.0, -3.0, 0.5, -0.5, 6.0, 1.5, 88.8, -87.4, -13.2, 12.0,
     -12.0, 0.9375, 9.34, 104.0, -104.0],
    np.float32,
)  # fmt: skip
EDGES = (
    g.Fn("affine", 0, 1), g.Fn("scaled_tanh", 2, 0), g.Fn("scaled_tanh", -1, -3), g.Fn("silu", 0),
    g.Fn("silu", -2), g.Fn("silu", 1e30), g.Fn("hard_silu", 0, 0.5), g.Fn("hard_silu", -2, 0.5),
    g.Fn("leaky_relu", 0), g.Fn("leaky_relu", -1), g.Fn("squareplus", 0), g.Fn("squareplus", 1e-4),
    g.Fn("squareplus", 2.0**60), g.Fn("clip", -np.inf, 1), g.Fn("clip", 2, 1),
    g.Fn("soft_shrink", 0), g.Fn("hard_shrink", -1), g.Fn("elu", -1), g.Fn("celu", 30),
    g.Fn("celu", 1e-3), g.Fn("hard_sigmoid", -0.2, 0.5), g.Fn("not_equal", 0),
    g.Fn("selu", 1, 0),
)  # fmt: skip
every_function = pytest.mark.parametrize("fn", FUNCTIONS, ids=str)
all_parameters = pytest.mark.parametrize("fn", (*FUNCTIONS, *EDGES), ids=str)


def sample(count: int, seed: int = 0) -> np.ndarray:
    """Numbers where functions bend, of every size, and those between which they are defined."""
    rng = np.random.default_rng(seed)
    parts = (
        rng.uniform(-12, 12, count), rng.uniform(-2, 2, count), rng.uniform(-80, 80, count),
        rng.standard_normal(count) * np.exp2(rng.uniform(-30, 6, count)),
    )  # fmt: skip
    return np.concatenate(parts).astype(np.float32)


@every_function
def test_what_we_compare_with(fn):
    """The formulas in float64 are the derivatives of the oracle's functions."""
    x = np.random.default_rng(1).uniform(-5, 5, 2000)
    if fn.kind in ("sqrt", "log"):
        x = abs(x) + 0.01
    step = 1e-6
    slope = (reference.fn(fn, x + step) - reference.fn(fn, x - step)) / (2 * step)
    smooth = abs(derivatives.derivative(fn, x + step) - derivatives.derivative(fn, x - step)) < 1e-2
    got = derivatives.derivative(fn, x)
    assert np.mean(smooth) > 0.9
    np.testing.assert_allclose(got[smooth], slope[smooth], rtol=1e-5, atol=1e-6)


@every_function
def test_bounds(fn):
    large, small = BOUNDS.get(fn.kind, (0.0, 0.0))
    found = derivatives.errors(fn, sample(1 << 14))
    assert found[0] <= large and found[2] <= small, found


@all_parameters
def test_beyond_numbers(fn):
    """NaN gives NaN; at infinity, and where x counts as 0, there is the limit."""
    got, want = derivatives.slopes(fn, EXTREMES), derivatives.derivative(fn, EXTREMES)
    none = 2.0**-64 if fn == g.RELU else 2.0**-126  # relu by its y, which is flushed
    want[abs(EXTREMES) < none] = derivatives.derivative(fn, np.zeros(1))
    nan = np.isnan(EXTREMES)
    assert fn == g.LINEAR or np.isnan(got[nan]).all()
    # Of what is not a number itself, nothing is said.
    defined = np.isfinite(reference.fn(fn, EXTREMES.astype(float))) | ~np.isfinite(EXTREMES)
    defined &= ~nan & ~np.isnan(want)
    if fn.kind == "exponential":  # from y, which is infinite before x is
        defined &= EXTREMES < 88.7
    with np.errstate(over="ignore"):
        want = want.astype(np.float32)
    want[abs(want) < 2.0**-64] = 0
    tolerance = {"rtol": 1e-4, "atol": 2e-7}
    np.testing.assert_allclose(got[defined], want[defined], **tolerance)


@all_parameters
def test_targets(fn):
    x = np.concatenate([EXTREMES, sample(1 << 10)[: 4096 - len(EXTREMES)]])
    want = {"dx": derivatives.slopes(fn, x, "scalar")}
    for target in lstmc.targets():
        assert_same({"dx": derivatives.slopes(fn, x, target)}, want, target)


AT_KINKS = {
    "relu": (g.RELU, torch.relu, [0.0]),
    "leaky_relu": (g.Fn("leaky_relu", 0.25), lambda x: F.leaky_relu(x, 0.25), [0.0]),
    "threshold": (g.Fn("thresholded_relu", 1), lambda x: F.threshold(x, 1, 0), [1.0]),
    "elu": (g.Fn("elu", 0.5), lambda x: F.elu(x, 0.5), [0.0]),
    "selu": (g.SELU, F.selu, [0.0]),
    "celu": (g.Fn("celu", 0.5), lambda x: F.celu(x, 0.5), [0.0]),
    "hardsigmoid": (g.HARD_SIGMOID_TORCH, F.hardsigmoid, [-3.0, 3.0]),
    "hardswish": (g.HARD_SILU, F.hardswish, [-3.0, 3.0]),
    "hardtanh": (g.Fn("clip", -1, 2), lambda x: F.hardtanh(x, -1, 2), [-1.0, 2.0]),
    "relu6": (g.RELU6, F.relu6, [0.0, 6.0]),
    "softshrink": (g.Fn("soft_shrink", 0.5), F.softshrink, [-0.5, 0.5]),
    "hardshrink": (g.Fn("hard_shrink", 0.5), F.hardshrink, [-0.5, 0.5]),
    "abs": (g.Fn("abs"), torch.abs, [0.0]),
    "sign": (g.Fn("sign"), torch.sign, [0.0]),
    "softsign": (g.Fn("softsign"), F.softsign, [0.0]),
    "sqrt": (g.Fn("sqrt"), torch.sqrt, [0.0, 4.0]),
    "log": (g.Fn("log"), torch.log, [0.0, 4.0]),
    "reciprocal": (g.Fn("reciprocal"), torch.reciprocal, [0.0]),
}


@pytest.mark.parametrize("name", AT_KINKS)
def test_at_kinks_as_torch(name):
    fn, theirs, points = AT_KINKS[name]
    beside = [
        np.nextafter(np.float32(p), np.float32(d * 9)) if p else d * 1e-10
        for p in points
        for d in (-1, 1)
    ]
    if name in ("sqrt", "log"):
        beside = []
    if name.startswith("hards") and name != "hardshrink":  # 1/6 is rounded: which side is which?
        beside = [p + d for p in points for d in (-1e-3, 1e-3)]
    x = np.array([*points, *beside], np.float32)
    t = torch.tensor(x, requires_grad=True)
    theirs(t).sum().backward()
    np.testing.assert_allclose(derivatives.slopes(fn, x), t.grad.numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "fn, x, d",
    [
        (g.Fn("hard_silu", 0.25, 0.5), (-2, 2, 0), (0, 1, 0.5)),
        (g.Fn("hard_sigmoid", 0.25, 0.5), (-2, 2, 0), (0, 0, 0.25)),
        (g.Fn("leaky_relu", 0.5, 1), (1, 1.5), (0.5, 1)),
    ],
)
def test_at_kinks_that_are_exact(fn, x, d):
    assert derivatives.slopes(fn, np.array(x, np.float32)).tolist() == list(d)


def test_at_kinks_as_keras():
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "torch":
        pytest.skip("gradients of Keras are asked for by way of torch")
    for kind in ("sparse_plus", "sparse_sigmoid", "relu6", "hard_tanh", "hard_sigmoid", "relu"):
        ours = {"relu6": g.RELU6, "hard_tanh": g.Fn("clip", -1, 1), "relu": g.RELU,
                "hard_sigmoid": g.HARD_SIGMOID_KERAS3}.get(kind) or g.Fn(kind)  # fmt: skip
        x = np.array([-3, -1, 0, 1, 3, 6, 0.5, -0.5], np.float32)
        t = torch.tensor(x, requires_grad=True)
        getattr(keras.activations, kind)(t).sum().backward()
        np.testing.assert_allclose(derivatives.slopes(ours, x), t.grad.numpy(), atol=1e-6)


@every_function
def test_as_a_layer(fn):
    """In a net, with lengths; what lies beyond a row's length may be anything."""
    net = Net(5)
    h = net.dense(net.input(5), 7)
    positive = net.simple(g.Activation, h, activation=g.Fn("exponential"))
    y = net.simple(g.Activation, positive, activation=fn)
    graph = net.graph(y, net.simple(g.Activation, h, activation=fn))
    inputs, lengths = random_inputs(graph, 3, 5, 4), [4, 0, 2, 1, 3]
    if fn.kind in ("sqrt", "log"):
        graph = net.graph(y)
    want = gradients.check(graph, inputs, lengths)
    for b, n in enumerate(lengths):
        inputs["x0"][b, n:] = np.nan
    dy = gradients.random_dy(graph, inputs, lengths)
    got = gradients.run(graph, inputs, dy, lengths)
    assert_same({"dx": got.inputs["x0"]}, {"dx": want.inputs["x0"]})
