"""Elementwise functions in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lstmc import graph as g

Array = np.ndarray

REDUCTIONS: dict[str, Callable[..., Any]] = {
    "sum": np.sum, "mean": np.mean, "maximum": np.max, "minimum": np.min
}  # fmt: skip

_erf = np.vectorize(math.erf, otypes=[float])
_erfc = np.vectorize(math.erfc, otypes=[float])


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def _times(x: Array, gate: Array) -> Array:
    """x gate, where a gate that is closed holds back infinity too."""
    return np.where(gate == 0, 0.0, x * gate)


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _softsign(x: Array) -> Array:
    size = np.minimum(np.abs(x), 1e300)
    return np.copysign(size / (1 + size), x)


def _gelu_tanh(x: Array) -> Array:
    return _times(x, _sigmoid(np.sqrt(8 / np.pi) * (x + 0.044715 * x**3)))


def _tanh_shrink(x: Array) -> Array:
    """By the Taylor series where the difference cancels."""
    z = np.minimum(x * x, 0.01)
    series = 1 / 3 - z * (2 / 15 - z * (17 / 315 - z * (62 / 2835 - z * 1382 / 155925)))
    return np.where(np.abs(x) < 0.1, x * z * series, x - np.tanh(x))


def _squareplus(x: Array, b: float) -> Array:
    y = np.hypot(x, np.sqrt(b))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(x < 0, b / (y - x), np.maximum(x, 0) + y) / 2


def _shrink(x: Array, limit: float, by: float) -> Array:
    return np.where(np.abs(x) > limit, x - by * np.sign(x), 0 * np.sign(x))


_FUNCTIONS: dict[str, Callable[[Array, float, float], Array]] = {
    "linear": lambda x, a, b: x,
    "sigmoid": lambda x, a, b: _sigmoid(x),
    "tanh": lambda x, a, b: np.tanh(x),
    "relu": lambda x, a, b: np.maximum(x, 0),
    "hard_sigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "exponential": lambda x, a, b: np.exp(x),
    "affine": lambda x, a, b: a * x + b if a else 0 * np.sign(x) + b,
    "leaky_relu": lambda x, a, b: np.where(x > b, x, a * (x - b) if a else 0 * np.sign(x)),
    "thresholded_relu": lambda x, a, b: np.where(x > a, x, 0 * np.sign(x)),
    "scaled_tanh": lambda x, a, b: a * np.tanh(b * x if b else 0 * np.sign(x)),
    "elu": lambda x, a, b: _elu(x, a),
    "softsign": lambda x, a, b: _softsign(x),
    "softplus": lambda x, a, b: _softplus(x),
    "selu": lambda x, a, b: b * _elu(x, a),
    "gelu": lambda x, a, b: _times(x, _erfc(-x / np.sqrt(2)) / 2),
    "gelu_tanh": lambda x, a, b: _gelu_tanh(x),
    "silu": lambda x, a, b: _times(x, _sigmoid(a * x if a else 0 * np.sign(x))),
    "mish": lambda x, a, b: _times(x, np.tanh(_softplus(x))),
    "hard_silu": lambda x, a, b: _times(x, np.clip(a * x + b if a else b + 0 * np.sign(x), 0, 1)),
    "log_sigmoid": lambda x, a, b: -_softplus(-x),
    "celu": lambda x, a, b: np.where(x < 0, a * np.expm1(np.minimum(x, 0) / a), x),
    "tanh_shrink": lambda x, a, b: _tanh_shrink(x),
    "soft_shrink": lambda x, a, b: _shrink(x, a, a),
    "hard_shrink": lambda x, a, b: _shrink(x, a, 0.0),
    "squareplus": lambda x, a, b: _squareplus(x, a),
    "sparse_plus": lambda x, a, b: np.where(x < 1, np.maximum(x + 1, 0) ** 2 / 4, x),
    "sparse_sigmoid": lambda x, a, b: np.clip((x + 1) / 2, 0, 1),
    "clip": lambda x, a, b: np.minimum(b, np.maximum(a, x)),
    "abs": lambda x, a, b: np.abs(x),
    "sqrt": lambda x, a, b: np.sqrt(x),
    "square": lambda x, a, b: np.square(x),
    "reciprocal": lambda x, a, b: 1 / x,
    "log": lambda x, a, b: np.log(x),
    "erf": lambda x, a, b: _erf(x),
    "sign": lambda x, a, b: np.sign(x),
    "not_equal": lambda x, a, b: (x != a).astype(float),
}


def fn(f: g.Fn, x: Array) -> Array:
    """An elementwise function of :class:`lstmc.graph.Fn`; alpha and beta are rounded to float32.

    Subnormal numbers are numbers here; in the core they count as zero in most functions."""
    with np.errstate(all="ignore"):
        return _FUNCTIONS[f.kind](x, float(np.float32(f.alpha)), float(np.float32(f.beta)))
