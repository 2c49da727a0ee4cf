"""Layers that work on the features of each step alone, whatever the step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .base import Layer, option, panels, param
from .functions import LINEAR, Fn
from .values import Spec


@dataclass(kw_only=True)
class Dense(Layer):
    """y = activation(weight x + bias) over the features, at each time step if there are any.

    inputs (x,): K features. outputs (y,): N features. weight [N, K], bias [N] float32.
    """

    code: ClassVar[int] = 2
    weight: np.ndarray = panels(1)
    bias: np.ndarray | None = panels(1, vector=True)
    activation: Fn = param(LINEAR)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._matrix("weight", "[units, input_size]")
        self._check("bias", self.weight.shape[:1])

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        (x,) = specs
        self._features(x, self.weight.shape[1])
        return (Spec(self.weight.shape[0], x.time),)

    def multiply_adds(self, *specs: Any) -> int:
        return self.weight.size


@dataclass(kw_only=True)
class Activation(Layer):
    """y = activation(x), element by element."""

    code: ClassVar[int] = 3
    activation: Fn = param()

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        return specs


@dataclass(kw_only=True)
class Softmax(Layer):
    """y = exp(x - max x) / sum exp(x - max x) over every ``size`` features in turn; 0: all.

    ``log``: the logarithm of that, y = x - max x - log sum exp(x - max x).
    """

    code: ClassVar[int] = 4
    size: int = option(0)
    log: bool = option(False)

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        (x,) = specs
        if self.size < 0 or (self.size and x.features % self.size):
            raise self.error(f"{x.features} features don't divide into parts of {self.size}")
        return specs


@dataclass(kw_only=True)
class Embedding(Layer):
    """y = column x of the weight, for every feature of x: K features in, K * D out.

    weight [D, N] float32 (a row of other libraries' tables is a column here). x holds whole numbers
    0 .. N - 1; any other gives NaN, and :meth:`lstmc.Model.predict` refuses it where x is an input
    of the model.
    """

    code: ClassVar[int] = 8
    weight: np.ndarray = panels(1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._matrix("weight", "[features, entries]")
        if self.weight.shape[1] > 1 << 24:
            raise self.error("more than 2^24 entries: float32 can't count them")

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        (x,) = specs
        return (Spec(x.features * self.weight.shape[0], x.time),)


@dataclass(kw_only=True)
class Affine(Layer):
    """y = activation(scale x + shift), feature by feature: what BatchNormalization is at inference.

    scale [F], shift [F] float32 or None (1 and 0); the product and sum are rounded once.
    """

    code: ClassVar[int] = 9
    scale: np.ndarray | None = panels(1, vector=True)
    shift: np.ndarray | None = panels(1, vector=True)
    activation: Fn = param(LINEAR)

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        (x,) = specs
        self._check("scale", (x.features,))
        self._check("shift", (x.features,))
        return specs


@dataclass(kw_only=True)
class LayerNorm(Layer):
    """y = (x - mean) / sqrt(variance + epsilon) * scale + shift over the features (Ba et al. 2016).

    scale [F], shift [F] float32 or None (1 and 0). The variance is the mean of (x - mean)^2; with
    ``rms``, mean is taken as 0 (Zhang and Sennrich 2019).
    """

    code: ClassVar[int] = 10
    scale: np.ndarray | None = panels(1, vector=True)
    shift: np.ndarray | None = panels(1, vector=True)
    epsilon: float = param(1e-5)
    rms: bool = option(False)

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        (x,) = specs
        self._check("scale", (x.features,))
        self._check("shift", (x.features,))
        if not 0 <= self.epsilon < math.inf:
            raise self.error(f"epsilon is {self.epsilon}")
        return specs


@dataclass(kw_only=True)
class Combine(Layer):
    """y = x0 op x1 op x2 ..., from left to right; at least two inputs.

    An input of 1 feature goes with every feature of the others, one without time with every step.
    """

    code: ClassVar[int] = 11
    op: str = param(choices=("add", "subtract", "multiply", "divide", "maximum", "minimum", "mean"))

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        self._absent(specs)
        if len(specs) < 2:
            raise self.error("combines fewer than two inputs")
        features = max(s.features for s in specs)
        if any(s.features not in (1, features) for s in specs):
            raise self.error(f"combines {[s.features for s in specs]} features")
        timed = [s.time for s in specs if s.time is not None]
        for steps in timed[1:]:
            self._same_steps(timed[0], steps)
        return (Spec(features, timed[0] if timed else None),)

    def whole(self, *specs: Any) -> str:
        mixed = {s.time is None for s in specs if not s.fixed}
        return "it spreads a value without time over all steps" if len(mixed) > 1 else ""


@dataclass(kw_only=True)
class Concat(Layer):
    """The features of all inputs, one input after another. All have time, or none has."""

    code: ClassVar[int] = 12

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        self._absent(specs)
        for s in specs[1:]:
            if (s.time is None) != (specs[0].time is None):
                raise self.error("joins a value with time to one without")
            if s.time is not None:
                self._same_steps(specs[0].time, s.time)
        return (Spec(sum(s.features for s in specs), specs[0].time),)


@dataclass(kw_only=True)
class Select(Layer):
    """y = x[index]: features picked, left out, repeated or put in another order."""

    code: ClassVar[int] = 13
    index: tuple[int, ...] = param()

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        (x,) = specs
        if not self.index or not all(0 <= i < x.features for i in self.index):
            raise self.error(f"picks {list(self.index)[:8]} of {x.features} features")
        return (Spec(len(self.index), x.time),)


@dataclass(kw_only=True)
class Reduce(Layer):
    """One feature made of all: their sum, mean, maximum or minimum."""

    code: ClassVar[int] = 14
    op: str = param(choices=("sum", "mean", "maximum", "minimum"))

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        (x,) = specs
        return (Spec(1, x.time),)


@dataclass(kw_only=True)
class Fill(Layer):
    """y = value, the same in every row, whatever x is: such as an initial state that was trained.

    value [F] float32. x is there because every layer has an input.
    """

    code: ClassVar[int] = 26
    value: np.ndarray | None = panels(1, vector=True)

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        if self.value is None or self.value.ndim != 1 or not self.value.size:
            raise self.error("its value is not a vector")
        return (Spec(self.value.size, fixed=True),)
