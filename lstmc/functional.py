"""The core's own functions on arrays.

Recurrent layers: see :mod:`lstmc.recurrent` and, for their gradients, :mod:`lstmc.backward`.
Elementwise functions, as every layer uses them: each takes float32 (or what
:func:`lstmc.runtime.as_float32` accepts) of any shape and returns a new float32 array of that
shape. The bits are the same on every machine; docs/NUMERICS.md gives the measured error bounds.
Results that would be subnormal are +0. NaN gives NaN, except in :func:`not_equal`, and infinity
gives the limit. Errors: DtypeError for dtypes other than real numbers; ConversionError for
parameters that :class:`lstmc.graph.Fn` doesn't allow.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from . import _core
from .backward import gru_backward, lstm_backward, rnn_backward
from .graph import FN_CODES, HARD_SIGMOID_ONNX, HARD_SILU, SELU, Fn
from .recurrent import gru_forward, lstm_forward, rnn_forward
from .runtime import as_float32, target_code

__all__ = [
    "abs", "affine", "apply", "celu", "clip", "elu", "erf", "exp", "gelu", "gelu_tanh",
    "gru_backward", "gru_forward", "hard_shrink", "hard_sigmoid", "hard_silu", "leaky_relu", "log",
    "log_sigmoid", "lstm_backward", "lstm_forward", "mish", "not_equal", "reciprocal", "relu",
    "relu6", "rnn_backward", "rnn_forward", "scaled_tanh", "selu", "sigmoid", "sign", "silu",
    "soft_shrink", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "sqrt", "square",
    "squareplus", "tanh", "tanh_shrink", "thresholded_relu",
]  # fmt: skip


def apply(fn: Fn, x: ArrayLike) -> np.ndarray:
    """fn(x), element by element. Raises DtypeError for dtypes other than real numbers."""
    a = as_float32("x", x)
    y = np.empty_like(a)
    _core.apply(target_code(), FN_CODES[fn.kind], fn.alpha, fn.beta, a, y)
    return y


def _without_parameters(name: str, fn: Fn, doc: str) -> Callable[[ArrayLike], np.ndarray]:
    def function(x: ArrayLike) -> np.ndarray:
        return apply(fn, x)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def _of(name: str, doc: str) -> Callable[[ArrayLike], np.ndarray]:
    return _without_parameters(name, Fn(name), doc)


abs = _of("abs", "|x|.")
erf = _of("erf", "The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x.")
exp = _without_parameters(
    "exp",
    Fn("exponential"),
    "e**x; inf beyond 88.72, +0 below -87.33 (there, the result would be subnormal).",
)
gelu = _of("gelu", "x (1 + erf(x / sqrt(2))) / 2.")
gelu_tanh = _of("gelu_tanh", "x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.")
log = _of("log", "The natural logarithm; -inf for zeros and subnormals, NaN below.")
log_sigmoid = _of("log_sigmoid", "-log(1 + exp(-x)).")
mish = _of("mish", "x tanh(log(1 + exp(x))).")
reciprocal = _of("reciprocal", "1 / x; inf with the sign of x for zeros and subnormals.")
relu = _of("relu", "max(x, 0).")
relu6 = _without_parameters("relu6", Fn("clip", 0.0, 6.0), "min(max(x, 0), 6).")
sigmoid = _of("sigmoid", "1 / (1 + exp(-x)).")
sign = _of("sign", "-1, 0 or 1.")
softplus = _of("softplus", "log(1 + exp(x)).")
softsign = _of("softsign", "x / (1 + |x|).")
sparse_plus = _of("sparse_plus", "0 up to -1, x from 1 on, (x + 1)^2 / 4 between.")
sparse_sigmoid = _of("sparse_sigmoid", "max(0, min(1, (x + 1) / 2)).")
sqrt = _of("sqrt", "The square root, correctly rounded; +0 for subnormals, NaN below.")
square = _of("square", "x^2.")
tanh = _of("tanh", "Hyperbolic tangent.")
tanh_shrink = _of("tanh_shrink", "x - tanh(x), without cancellation near 0.")


def affine(x: ArrayLike, alpha: float, beta: float) -> np.ndarray:
    """alpha x + beta, rounded once."""
    return apply(Fn("affine", alpha, beta), x)


def celu(x: ArrayLike, alpha: float = 1.0) -> np.ndarray:
    """x for x >= 0, else alpha (exp(x / alpha) - 1); alpha > 0."""
    return apply(Fn("celu", alpha), x)


def clip(x: ArrayLike, low: float, high: float) -> np.ndarray:
    """min(high, max(low, x)); the bounds may be infinite."""
    return apply(Fn("clip", low, high), x)


def elu(x: ArrayLike, alpha: float = 1.0) -> np.ndarray:
    """x for x >= 0, else alpha (exp(x) - 1)."""
    return apply(Fn("elu", alpha), x)


def hard_shrink(x: ArrayLike, alpha: float = 0.5) -> np.ndarray:
    """x where |x| > alpha, else 0."""
    return apply(Fn("hard_shrink", alpha), x)


def hard_sigmoid(
    x: ArrayLike, alpha: float = HARD_SIGMOID_ONNX.alpha, beta: float = HARD_SIGMOID_ONNX.beta
) -> np.ndarray:
    """max(0, min(1, alpha x + beta)), the product and sum rounded once."""
    return apply(Fn("hard_sigmoid", alpha, beta), x)


def hard_silu(
    x: ArrayLike, alpha: float = HARD_SILU.alpha, beta: float = HARD_SILU.beta
) -> np.ndarray:
    """x max(0, min(1, alpha x + beta)): hard swish."""
    return apply(Fn("hard_silu", alpha, beta), x)


def leaky_relu(x: ArrayLike, alpha: float = 0.01, beta: float = 0.0) -> np.ndarray:
    """x for x > beta, else alpha (x - beta)."""
    return apply(Fn("leaky_relu", alpha, beta), x)


def not_equal(x: ArrayLike, alpha: float) -> np.ndarray:
    """1 where x is not alpha (NaN never is), else 0."""
    return apply(Fn("not_equal", alpha), x)


def scaled_tanh(x: ArrayLike, alpha: float, beta: float) -> np.ndarray:
    """alpha tanh(beta x)."""
    return apply(Fn("scaled_tanh", alpha, beta), x)


def selu(x: ArrayLike, alpha: float = SELU.alpha, gamma: float = SELU.beta) -> np.ndarray:
    """gamma x for x >= 0, else gamma alpha (exp(x) - 1)."""
    return apply(Fn("selu", alpha, gamma), x)


def silu(x: ArrayLike, alpha: float = 1.0) -> np.ndarray:
    """x / (1 + exp(-alpha x)): swish."""
    return apply(Fn("silu", alpha), x)


def soft_shrink(x: ArrayLike, alpha: float = 0.5) -> np.ndarray:
    """x - alpha above alpha, x + alpha below -alpha, 0 between; alpha >= 0."""
    return apply(Fn("soft_shrink", alpha), x)


def squareplus(x: ArrayLike, b: float = 4.0) -> np.ndarray:
    """(x + sqrt(x^2 + b)) / 2; 0 <= b <= 2^60."""
    return apply(Fn("squareplus", b), x)


def thresholded_relu(x: ArrayLike, alpha: float = 1.0) -> np.ndarray:
    """x where x > alpha, else 0."""
    return apply(Fn("thresholded_relu", alpha), x)
