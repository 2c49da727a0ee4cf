"""The derivatives of the elementwise functions in float64, and those of the core beside them."""

from __future__ import annotations

import math
from collections.abc import Callable

import gradients
import numpy as np
from helpers import Net

from lstmc import graph as g

Array = np.ndarray

_erfc = np.vectorize(math.erfc, otypes=[float])


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _sech2(x: Array) -> Array:
    e = np.exp(-2 * np.abs(x))
    return 4 * e / (1 + e) ** 2


def _times(gate: Array, line: Array) -> Array:
    """Where a gate is closed, the rest does not count, infinity neither."""
    return np.where(gate == 0, 0.0, gate * line)


def _gelu(x: Array) -> Array:
    x = np.clip(x, -50, 50)
    return _erfc(-x / np.sqrt(2)) / 2 + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def _gelu_tanh(x: Array) -> Array:
    x = np.clip(x, -50, 50)
    u = np.sqrt(8 / np.pi) * (x + 0.044715 * x**3)
    slope = np.sqrt(8 / np.pi) * (1 + 3 * 0.044715 * x**2)
    return _sigmoid(u) * (1 + x * slope * _sigmoid(-u))


def _silu(x: Array, a: float) -> Array:
    u = np.clip(a * np.clip(x, -1e38, 1e38), -700, 700)
    return _sigmoid(u) * (1 + u * _sigmoid(-u))


def _mish(x: Array) -> Array:
    x = np.clip(x, -300, 300)
    soft = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    return np.tanh(soft) + x * _sech2(soft) * _sigmoid(x)


def _squareplus(x: Array, b: float) -> Array:
    root = np.hypot(x, np.sqrt(b))
    with np.errstate(all="ignore"):
        return np.where(x < 0, b / 2 / (root * (root - x)), (1 + x / root) / 2)


def _inside(x: Array, low: Array, high: Array, inside: Array, above: float) -> Array:
    return np.where(low <= 0, 0.0, np.where(high >= 1, above, inside))


_DERIVATIVES: dict[str, Callable[[Array, float, float], Array]] = {
    "linear": lambda x, a, b: 1 + 0 * np.sign(x),
    "sigmoid": lambda x, a, b: _sigmoid(x) * _sigmoid(-x),
    "tanh": lambda x, a, b: _sech2(x),
    "relu": lambda x, a, b: np.where(x > 0, 1.0, 0.0),
    "hard_sigmoid": lambda x, a, b: np.where((a * x + b > 0) & (a * x + b < 1), a, 0.0),
    "exponential": lambda x, a, b: np.exp(x),
    "affine": lambda x, a, b: a + 0 * np.sign(x),
    "leaky_relu": lambda x, a, b: np.where(x > b, 1.0, a),
    "thresholded_relu": lambda x, a, b: np.where(x > a, 1.0, 0.0),
    "scaled_tanh": lambda x, a, b: a * b * _sech2(b * np.clip(x, -1e38, 1e38)),
    "elu": lambda x, a, b: np.where(x > 0, 1.0, a * np.exp(np.minimum(x, 0))),
    "softsign": lambda x, a, b: (1 + np.minimum(np.abs(x), 1e150)) ** -2.0,
    "softplus": lambda x, a, b: _sigmoid(x),
    "selu": lambda x, a, b: b * np.where(x > 0, 1.0, a * np.exp(np.minimum(x, 0))),
    "gelu": lambda x, a, b: _gelu(x),
    "gelu_tanh": lambda x, a, b: _gelu_tanh(x),
    "silu": lambda x, a, b: _silu(x, a),
    "mish": lambda x, a, b: _mish(x),
    "hard_silu": lambda x, a, b: np.where(
        a * x + b <= 0, 0.0, np.where(a * x + b >= 1, 1.0, 2 * a * x + b)
    ),
    "log_sigmoid": lambda x, a, b: _sigmoid(-x),
    "celu": lambda x, a, b: np.where(x > 0, 1.0, np.exp(np.minimum(x, 0) / a)),
    "tanh_shrink": lambda x, a, b: np.tanh(x) ** 2,
    "soft_shrink": lambda x, a, b: np.where(np.abs(x) > a, 1.0, 0.0),
    "hard_shrink": lambda x, a, b: np.where(np.abs(x) > a, 1.0, 0.0),
    "squareplus": lambda x, a, b: _squareplus(x, a),
    "sparse_plus": lambda x, a, b: np.clip((x + 1) / 2, 0, 1),
    "sparse_sigmoid": lambda x, a, b: np.where(np.abs(x) < 1, 0.5, 0.0),
    "clip": lambda x, a, b: np.where((x > a) & (x < b), 1.0, 0.0),
    "abs": lambda x, a, b: np.sign(x),
    "sqrt": lambda x, a, b: 0.5 / np.sqrt(x),
    "square": lambda x, a, b: 2 * x,
    "reciprocal": lambda x, a, b: -1 / (x * x),
    "log": lambda x, a, b: 1 / x,
    "erf": lambda x, a, b: 2 / np.sqrt(np.pi) * np.exp(-(np.minimum(np.abs(x), 100) ** 2)),
    "sign": lambda x, a, b: 0 * np.sign(x),
    "not_equal": lambda x, a, b: 0 * np.sign(x),
}


def derivative(f: g.Fn, x: Array) -> Array:
    """By the formula, NaN where x is."""
    with np.errstate(all="ignore"):
        d = _DERIVATIVES[f.kind](x.astype(float), float(np.float32(f.alpha)),
                                 float(np.float32(f.beta)))  # fmt: skip
    return np.where(np.isnan(x), np.nan, d)


def slopes(f: g.Fn, x: Array, target: str = "auto") -> Array:
    """What the core's backward multiplies with, flushed: float32 like x, which is flat."""
    width = min(len(x), 4096)
    net = Net()
    y = net.simple(g.Activation, net.input(width, time=False), activation=f)
    graph = net.graph(y)
    rows = x.reshape(-1, width)
    found = gradients.run(graph, {"x0": rows}, {y: np.ones_like(rows)}, target=target)
    return found.inputs["x0"].reshape(-1)


def errors(f: g.Fn, x: Array, least: float = 2.0**-4) -> tuple[float, float, float]:
    """The largest error in ULP where the derivative is at least ``least`` in magnitude and where it
    is smaller, but not flushed; and there in units of 2^-24."""
    got, want = slopes(f, x).astype(float), derivative(f, x)
    sure = np.isfinite(want) & np.isfinite(got) & (np.abs(want) > 2.0**-60)
    got, want = got[sure], want[sure]
    miss = np.abs(got - want)
    ulp = np.spacing(np.abs(want).astype(np.float32)).astype(float)
    big = np.abs(want) >= least

    def most(a: Array) -> float:
        return float(a.max()) if a.size else 0.0

    return most((miss / ulp)[big]), most((miss / ulp)[~big]), most(miss[~big]) * 2.0**24
