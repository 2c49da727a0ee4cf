"""Elementwise functions and their codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ConversionError

FLOAT32_MAX = float(np.finfo(np.float32).max)

# Codes of elementwise functions in files and in the core (enum lstmc_fn). Never renumber.
FN_CODES: dict[str, int] = {
    "linear": 0,
    "sigmoid": 1,
    "tanh": 2,
    "relu": 3,
    "hard_sigmoid": 4,
    "exponential": 5,
}


@dataclass(frozen=True)
class Fn:
    """An elementwise function.

    ==============  ===========================================================
    linear          x
    sigmoid         1 / (1 + exp(-x))
    tanh            tanh(x)
    relu            max(x, 0)
    hard_sigmoid    max(0, min(1, alpha x + beta)); ONNX and Keras 2: 0.2, 0.5;
                    Keras 3 and PyTorch: 1/6, 0.5
    exponential     exp(x)
    ==============  ===========================================================
    """

    kind: str
    alpha: float = 0.0
    beta: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in FN_CODES:
            raise ConversionError(
                f"activation '{self.kind}' is not supported; known: {', '.join(FN_CODES)}"
            )

        if self.kind != "hard_sigmoid" and (self.alpha or self.beta):
            raise ConversionError(f"activation '{self.kind}' has no alpha and beta")
        if not all(abs(v) <= FLOAT32_MAX for v in (self.alpha, self.beta)):
            raise ConversionError(f"activation '{self.kind}': {self.alpha}, {self.beta} as float32")

    def __str__(self) -> str:
        return f"{self.kind}({self.alpha:g}, {self.beta:g})" if self.alpha else self.kind


LINEAR, SIGMOID, TANH, RELU = Fn("linear"), Fn("sigmoid"), Fn("tanh"), Fn("relu")
HARD_SIGMOID_ONNX = HARD_SIGMOID_KERAS2 = Fn("hard_sigmoid", 0.2, 0.5)
HARD_SIGMOID_KERAS3 = HARD_SIGMOID_TORCH = Fn("hard_sigmoid", 1.0 / 6.0, 0.5)
