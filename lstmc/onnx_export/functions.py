"""The elementwise functions of :class:`lstmc.graph.Fn` as nodes, one function a kind.

Each is an operator of ONNX's where there is one, and else its formula. At infinity some formulas
give NaN where the core gives the limit: inf * 0 in silu, for one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..graph import Fn
from .writer import Writer

Nodes = Callable[[Writer, str, Fn], str]


def operator(op: str) -> Nodes:
    return lambda w, x, f: w.node(op, x)


def with_alpha(op: str) -> Nodes:
    return lambda w, x, f: w.node(op, x, alpha=f.alpha)


def linear(w: Writer, x: str, f: Fn) -> str:
    return x


def hard_sigmoid(w: Writer, x: str, f: Fn) -> str:
    return w.node("HardSigmoid", x, alpha=f.alpha, beta=f.beta)


def affine(w: Writer, x: str, f: Fn) -> str:
    if (f.alpha, f.beta) == (-1, 0):
        return w.node("Neg", x)
    product = w.node("Mul", x, w.number(f.alpha))
    return w.node("Add", product, w.number(f.beta)) if f.beta else product


def leaky_relu(w: Writer, x: str, f: Fn) -> str:
    if f.beta == 0:
        return w.node("LeakyRelu", x, alpha=f.alpha)
    limit = w.number(f.beta)
    below = w.node("Mul", w.node("Sub", x, limit), w.number(f.alpha))
    return w.node("Where", w.node("Greater", x, limit), x, below)


def scaled_tanh(w: Writer, x: str, f: Fn) -> str:
    return w.node("Mul", w.node("Tanh", w.node("Mul", x, w.number(f.beta))), w.number(f.alpha))


def selu(w: Writer, x: str, f: Fn) -> str:
    return w.node("Selu", x, alpha=f.alpha, gamma=f.beta)


def gelu_tanh(w: Writer, x: str, f: Fn) -> str:
    return w.node("Gelu", x, approximate="tanh")


def silu(w: Writer, x: str, f: Fn) -> str:
    scaled = x if f.alpha == 1 else w.node("Mul", x, w.number(f.alpha))
    return w.node("Mul", x, w.node("Sigmoid", scaled))


def hard_silu(w: Writer, x: str, f: Fn) -> str:
    if (np.float32(f.alpha), f.beta) == (np.float32(1 / 6), 0.5):
        return w.node("HardSwish", x)
    return w.node("Mul", x, hard_sigmoid(w, x, f))


def log_sigmoid(w: Writer, x: str, f: Fn) -> str:
    return w.node("Neg", w.node("Softplus", w.node("Neg", x)))


def tanh_shrink(w: Writer, x: str, f: Fn) -> str:
    return w.node("Sub", x, w.node("Tanh", x))


def soft_shrink(w: Writer, x: str, f: Fn) -> str:
    return w.node("Shrink", x, bias=f.alpha, lambd=f.alpha)


def hard_shrink(w: Writer, x: str, f: Fn) -> str:
    return w.node("Shrink", x, bias=0.0, lambd=f.alpha)


def squareplus(w: Writer, x: str, f: Fn) -> str:
    """Below 0 as a / 4 over what |x| gives, where the sum would cancel."""
    root = w.node("Sqrt", w.node("Add", w.node("Mul", x, x), w.number(f.alpha)))
    above = w.node("Mul", w.node("Add", w.node("Abs", x), root), w.number(0.5))
    below = w.node("Div", w.number(f.alpha / 4), above)
    return w.node("Where", w.node("Less", x, w.number(0.0)), below, above)


def sparse_plus(w: Writer, x: str, f: Fn) -> str:
    """min(max(x + 1, 0), 2)^2 / 4 + max(x - 1, 0)."""
    one = w.number(1.0)
    rising = w.node("Clip", w.node("Add", x, one), w.number(0.0), w.number(2.0))
    curve = w.node("Mul", w.node("Mul", rising, rising), w.number(0.25))
    return w.node("Add", curve, w.node("Relu", w.node("Sub", x, one)))


def sparse_sigmoid(w: Writer, x: str, f: Fn) -> str:
    return w.node("HardSigmoid", x, alpha=0.5, beta=0.5)


def clip(w: Writer, x: str, f: Fn) -> str:
    low = "" if f.alpha == -np.inf else w.number(f.alpha)
    return w.node("Clip", x, low, "" if f.beta == np.inf else w.number(f.beta))


def square(w: Writer, x: str, f: Fn) -> str:
    return w.node("Mul", x, x)


def not_equal(w: Writer, x: str, f: Fn) -> str:
    return w.cast(w.node("Not", w.node("Equal", x, w.number(f.alpha))), "float32")


FUNCTIONS: dict[str, Nodes] = {
    "linear": linear,
    "sigmoid": operator("Sigmoid"),
    "tanh": operator("Tanh"),
    "relu": operator("Relu"),
    "hard_sigmoid": hard_sigmoid,
    "exponential": operator("Exp"),
    "affine": affine,
    "leaky_relu": leaky_relu,
    "thresholded_relu": with_alpha("ThresholdedRelu"),
    "scaled_tanh": scaled_tanh,
    "elu": with_alpha("Elu"),
    "softsign": operator("Softsign"),
    "softplus": operator("Softplus"),
    "selu": selu,
    "gelu": operator("Gelu"),
    "gelu_tanh": gelu_tanh,
    "silu": silu,
    "mish": operator("Mish"),
    "hard_silu": hard_silu,
    "log_sigmoid": log_sigmoid,
    "celu": with_alpha("Celu"),
    "tanh_shrink": tanh_shrink,
    "soft_shrink": soft_shrink,
    "hard_shrink": hard_shrink,
    "squareplus": squareplus,
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": sparse_sigmoid,
    "clip": clip,
    "abs": operator("Abs"),
    "sqrt": operator("Sqrt"),
    "square": square,
    "reciprocal": operator("Reciprocal"),
    "log": operator("Log"),
    "erf": operator("Erf"),
    "sign": operator("Sign"),
    "not_equal": not_equal,
}

# What the recurrent operators call a function, and whether it takes alpha and beta. Softplus is
# not among them: ONNX Runtime's gives NaN for large numbers.
CELL: dict[str, tuple[str, int]] = {
    "sigmoid": ("Sigmoid", 0),
    "tanh": ("Tanh", 0),
    "relu": ("Relu", 0),
    "linear": ("Affine", 2),
    "affine": ("Affine", 2),
    "leaky_relu": ("LeakyRelu", 1),
    "thresholded_relu": ("ThresholdedRelu", 1),
    "scaled_tanh": ("ScaledTanh", 2),
    "hard_sigmoid": ("HardSigmoid", 2),
    "elu": ("Elu", 1),
    "softsign": ("Softsign", 0),
}


def fn(w: Writer, x: str, f: Fn) -> str:
    """f(x); x itself if f is linear."""
    return FUNCTIONS[f.kind](w, x, f)


def in_cell(f: Fn) -> bool:
    """Whether the recurrent operators have this function."""
    return f.kind in CELL and not (f.kind == "leaky_relu" and f.beta != 0)


def cell_attributes(functions: list[Fn]) -> dict[str, list[str] | list[float]]:
    """The attributes activations, activation_alpha and activation_beta of a recurrent operator:
    alphas and betas of those functions only that take one, in their order."""
    found: dict[str, list[str] | list[float]] = {
        "activations": [CELL[f.kind][0] for f in functions]
    }
    given = [(CELL[f.kind][1], (1.0, 0.0) if f.kind == "linear" else (f.alpha, f.beta))
             for f in functions]  # fmt: skip
    for i, name in enumerate(("activation_alpha", "activation_beta")):
        values = [parameters[i] for count, parameters in given if count > i]
        if values:
            found[name] = values
    return found
