"""Weights of Keras as float32: checked before they are read, and after."""

from __future__ import annotations

from typing import Any

import numpy as np

from .keras_tree import Leaf


def check_shape(leaf: Leaf, name: str, found: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Refuse a weight that the layer's options don't allow."""
    if tuple(found) != shape:
        leaf.refuse(
            f"its weight '{name}' has shape {tuple(found)}, expected {shape}",
            "the weights don't belong to this architecture",
        )


def checked(leaf: Leaf, name: str, stored: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A stored weight as float32, if it is one: of this shape, finite, and exact."""
    check_shape(leaf, name, stored.shape, shape)
    if np.dtype(stored.dtype) not in (np.float16, np.float32, np.float64):
        leaf.refuse(f"its weight '{name}' is {stored.dtype}", "save it as float32")
    array = np.asarray(stored[()])
    if not np.isfinite(array).all():
        leaf.refuse(f"its weight '{name}' holds NaN or infinity", "train or load it again")
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    if (single != array).any():
        leaf.refuse(
            f"its weight '{name}' is {stored.dtype} and not exact in float32", "save it as float32"
        )
    return single
