"""Elementwise functions and their codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ConversionError

FLOAT32_MAX = float(np.finfo(np.float32).max)

# Codes of elementwise functions in files and in the core (enum lstmc_fn_kind). Never renumber.
FN_CODES: dict[str, int] = {
    "linear": 0, "sigmoid": 1, "tanh": 2, "relu": 3, "hard_sigmoid": 4, "exponential": 5,
    "affine": 6, "leaky_relu": 7, "thresholded_relu": 8, "scaled_tanh": 9, "elu": 10,
    "softsign": 11, "softplus": 12, "selu": 13, "gelu": 14, "gelu_tanh": 15, "silu": 16,
    "mish": 17, "hard_silu": 18, "log_sigmoid": 19, "celu": 20, "tanh_shrink": 21,
    "soft_shrink": 22, "hard_shrink": 23, "squareplus": 24, "sparse_plus": 25,
    "sparse_sigmoid": 26, "clip": 27, "abs": 28, "sqrt": 29, "square": 30, "reciprocal": 31,
    "log": 32, "erf": 33, "sign": 34, "not_equal": 35,
}  # fmt: skip

#: Stands for a parameter that was not given; told by identity, so a NaN from a file is none.
MISSING = float("nan")

# What alpha and beta are where they are not given: MISSING if they must be. Kinds without an entry
# take neither, kinds with one value take alpha alone (lstmc_fn_get in c_src/model.c).
PARAMETERS: dict[str, tuple[float, ...]] = {
    "hard_sigmoid": (MISSING, MISSING),
    "affine": (MISSING, MISSING),
    "leaky_relu": (MISSING, 0.0),
    "thresholded_relu": (MISSING,),
    "scaled_tanh": (MISSING, MISSING),
    "elu": (MISSING,),
    "selu": (MISSING, MISSING),
    "silu": (1.0,),
    "hard_silu": (MISSING, MISSING),
    "celu": (MISSING,),
    "soft_shrink": (MISSING,),
    "hard_shrink": (MISSING,),
    "squareplus": (MISSING,),
    "clip": (MISSING, MISSING),
    "not_equal": (MISSING,),
}


@dataclass(frozen=True)
class Fn:
    """An elementwise function of a kind, with alpha (a) and beta (b) rounded to float32 where they
    are used. Error bounds are in docs/NUMERICS.md.

    ================  ============================================================================
    linear            x
    sigmoid           1 / (1 + exp(-x))
    tanh              tanh(x)
    relu              max(x, 0)
    hard_sigmoid      max(0, min(1, a x + b)); ONNX and Keras 2: 0.2, 0.5; Keras 3 and PyTorch:
                      1/6, 0.5
    exponential       exp(x)
    affine            a x + b
    leaky_relu        x > b ? x : a (x - b), as Keras computes it; b = 0 unless given
    thresholded_relu  x > a ? x : 0
    scaled_tanh       a tanh(b x)
    elu               x >= 0 ? x : a (exp(x) - 1)
    softsign          x / (1 + abs(x))
    softplus          log(1 + exp(x))
    selu              b (x >= 0 ? x : a (exp(x) - 1))
    gelu              x (1 + erf(x / sqrt(2))) / 2
    gelu_tanh         x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
    silu              x sigmoid(a x); a = 1 unless given
    mish              x tanh(softplus(x))
    hard_silu         x max(0, min(1, a x + b))
    log_sigmoid       -log(1 + exp(-x))
    celu              x >= 0 ? x : a (exp(x / a) - 1); a > 0
    tanh_shrink       x - tanh(x)
    soft_shrink       abs(x) > a ? x - a sign(x) : 0; a >= 0
    hard_shrink       abs(x) > a ? x : 0
    squareplus        (x + sqrt(x^2 + a)) / 2; 0 <= a <= 2^60
    sparse_plus       x <= -1 ? 0 : x >= 1 ? x : (x + 1)^2 / 4
    sparse_sigmoid    max(0, min(1, (x + 1) / 2))
    clip              min(b, max(a, x)); a and b may be infinite
    abs               abs(x)
    sqrt              x^(1/2)
    square            x^2
    reciprocal        1 / x
    log               log(x)
    erf               erf(x)
    sign              -1, 0 or 1
    not_equal         x != a ? 1 : 0, so 1 for NaN
    ================  ============================================================================

    Everywhere else NaN gives NaN. At infinity each has its limit. In the core, from affine on,
    subnormal x count as zero (but for sign and not_equal) and subnormal results are +0.

    Raises ConversionError for an unknown kind, and for parameters that are missing, not taken or
    out of range.
    """

    kind: str
    alpha: float = MISSING
    beta: float = MISSING

    def __post_init__(self) -> None:
        if self.kind not in FN_CODES:
            raise ConversionError(
                f"activation '{self.kind}' is not supported; known: {', '.join(FN_CODES)}"
            )
        taken = PARAMETERS.get(self.kind, ())
        for i, name in enumerate(("alpha", "beta")):
            value = getattr(self, name)
            if i >= len(taken):
                if value is not MISSING and value != 0:
                    raise ConversionError(f"activation '{self.kind}' has no {name}")
                value = 0.0
            elif value is MISSING:
                value = taken[i]
                if value is MISSING:
                    raise ConversionError(f"activation '{self.kind}' needs {name}")
            object.__setattr__(self, name, float(value))
        self._check_range()

    def _check_range(self) -> None:
        sizes = abs(self.alpha), abs(self.beta)
        a = float(np.float32(self.alpha)) if sizes[0] <= FLOAT32_MAX else self.alpha
        wrong = (
            not all(v <= FLOAT32_MAX or (v == np.inf and self.kind == "clip") for v in sizes)
            or (self.kind == "celu" and not a > 0)
            or (self.kind == "soft_shrink" and not a >= 0)
            or (self.kind == "squareplus" and not 0 <= a <= 2.0**60)
        )
        if wrong:
            raise ConversionError(
                f"activation '{self.kind}' cannot have {' and '.join(self._given())} as float32"
            )

    def _given(self) -> list[str]:
        names = ("alpha", "beta")[: len(PARAMETERS.get(self.kind, ()))]
        return [f"{name} {getattr(self, name):g}" for name in names]

    def __str__(self) -> str:
        values = (self.alpha, self.beta)[: len(PARAMETERS.get(self.kind, ()))]
        return f"{self.kind}({', '.join(f'{v:g}' for v in values)})" if values else self.kind


LINEAR, SIGMOID, TANH, RELU = Fn("linear"), Fn("sigmoid"), Fn("tanh"), Fn("relu")
HARD_SIGMOID_ONNX = HARD_SIGMOID_KERAS2 = Fn("hard_sigmoid", 0.2, 0.5)
HARD_SIGMOID_KERAS3 = HARD_SIGMOID_TORCH = Fn("hard_sigmoid", 1.0 / 6.0, 0.5)
# The same in Keras, ONNX and PyTorch.
HARD_SILU, RELU6, SILU = Fn("hard_silu", 1.0 / 6.0, 0.5), Fn("clip", 0.0, 6.0), Fn("silu", 1.0)
SELU = Fn("selu", 1.6732632423543772848170429916717, 1.0507009873554804934193349852946)
