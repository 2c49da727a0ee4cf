"""Arrays of outputs: in the model's own axes, and as the trainer has them."""

from __future__ import annotations

import numpy as np

from .. import graph as g


def _order(value: g.Value) -> list[int]:
    """The places of batch, time and all sizes among a value's axes."""
    symbols = [value.axes.index(a) for a in (g.BATCH, g.TIME) if a in value.axes]
    return symbols + [i for i in range(len(value.axes)) if i not in symbols]


def _straight(value: g.Value) -> bool:
    """Batch, time and sizes stand in that order."""
    return value.axes[0] == g.BATCH and g.TIME not in value.axes[2:]


def inside(value: g.Value, array: np.ndarray) -> np.ndarray:
    """[batch][steps][features], dense, of an array in the value's axes."""
    if _straight(value):
        return np.ascontiguousarray(array)
    return np.ascontiguousarray(np.transpose(array, _order(value)))


def outside(value: g.Value, array: np.ndarray) -> np.ndarray:
    """The inverse, of [batch, steps, features]."""
    batch, steps, _ = array.shape
    if _straight(value):
        return array.reshape([n or 0 for n in value.shape(batch, steps)])
    order = _order(value)
    shape = [n or 0 for n in value.shape(batch, steps)]
    laid = array.reshape([shape[i] for i in order])
    return np.ascontiguousarray(np.transpose(laid, np.argsort(order)))


__all__ = ["inside", "outside"]
