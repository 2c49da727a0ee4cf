"""The core's own functions on arrays.

Recurrent layers: see :mod:`lstmc.recurrent`. Elementwise functions, as every layer uses them: each
takes float32 (or what :func:`lstmc.runtime.as_float32` accepts) of any shape and returns a new
float32 array of that shape. The bits are the same on every machine; docs/DESIGN.md gives the error
bounds, which were measured over all 2^32 inputs. Results that would be subnormal are +0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from . import _core
from .graph import FN_CODES, HARD_SIGMOID_ONNX, Fn
from .recurrent import gru_forward, lstm_forward, rnn_forward
from .runtime import as_float32, target_code

__all__ = [
    "apply", "exp", "gru_forward", "hard_sigmoid", "lstm_forward", "relu", "rnn_forward", "sigmoid",
    "tanh",
]  # fmt: skip


def apply(fn: Fn, x: ArrayLike) -> np.ndarray:
    """fn(x), element by element. Raises DtypeError for dtypes other than real numbers."""
    a = as_float32("x", x)
    y = np.empty_like(a)
    _core.apply(target_code(), FN_CODES[fn.kind], fn.alpha, fn.beta, a, y)
    return y


def exp(x: ArrayLike) -> np.ndarray:
    """e**x; inf beyond 88.72, +0 below -87.33 (there, the result would be subnormal)."""
    return apply(Fn("exponential"), x)


def sigmoid(x: ArrayLike) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    return apply(Fn("sigmoid"), x)


def tanh(x: ArrayLike) -> np.ndarray:
    """Hyperbolic tangent."""
    return apply(Fn("tanh"), x)


def relu(x: ArrayLike) -> np.ndarray:
    """max(x, 0)."""
    return apply(Fn("relu"), x)


def hard_sigmoid(
    x: ArrayLike, alpha: float = HARD_SIGMOID_ONNX.alpha, beta: float = HARD_SIGMOID_ONNX.beta
) -> np.ndarray:
    """max(0, min(1, alpha x + beta)), the product and sum rounded once."""
    return apply(Fn("hard_sigmoid", alpha, beta), x)
