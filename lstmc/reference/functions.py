"""Elementwise functions in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lstmc import graph as g

Array = np.ndarray

REDUCTIONS: dict[str, Callable[..., Any]] = {
    "sum": np.sum, "mean": np.mean, "maximum": np.max, "minimum": np.min
}  # fmt: skip


def fn(f: g.Fn, x: Array) -> Array:
    """An elementwise function of :class:`lstmc.graph.Fn`."""
    if f.kind == "linear":
        return x
    if f.kind == "sigmoid":
        e = np.exp(-np.abs(x))
        return np.where(x >= 0, 1 / (1 + e), e / (1 + e))
    if f.kind == "tanh":
        return np.tanh(x)
    if f.kind == "relu":
        return np.maximum(x, 0)
    if f.kind == "hard_sigmoid":
        return np.clip(np.float32(f.alpha).astype(float) * x + float(np.float32(f.beta)), 0, 1)
    if f.kind == "exponential":
        return np.exp(x)
    raise AssertionError(f.kind)
