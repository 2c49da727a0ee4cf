"""Layers that convolve or pool over positions: the features of a step are [positions][channels].

What other libraries call two-dimensional goes over time and over the positions of each step, such
as the frequencies of a spectrum. Features lie position by position, channels next to one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .base import panels, param
from .functions import LINEAR, Fn
from .sequence import SAME, Window
from .values import Spec


@dataclass(kw_only=True)
class Convolution2D(Window):
    """What both convolutions share: the Window's fields are those over time, ``position_...`` the
    same over positions.

    A value without time has one step, and nothing but the window over positions.
    """

    weight: np.ndarray = panels(1)
    bias: np.ndarray | None = panels(1, vector=True)
    position_taps: int = param()
    position_stride: int = param(1)
    position_dilation: int = param(1)
    position_before: int = param(0)
    position_after: int = param(0)
    position_same: str = param("", choices=SAME)
    activation: Fn = param(LINEAR)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._matrix("weight", "[channels out, position taps * taps * channels in]")
        self._check("bias", self.weight.shape[:1])

    @property
    def across(self) -> Window:
        """The window over positions."""
        fields = ("taps", "stride", "dilation", "before", "after", "same")
        own = {f: getattr(self, f"position_{f}") for f in fields}
        return Window(name=self.name, inputs=(), outputs=(), **own)

    @property
    def channels(self) -> int:
        """Of the input."""
        raise NotImplementedError

    def positions(self, features: int) -> int:
        """How many the input has."""
        if features % self.channels:
            raise self.error(f"gets {features} features, its weights take {self.channels} channels")
        return features // self.channels

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        (x,) = specs
        made = self.across.count(self.positions(x.features))
        alone = (1, 1, 1, 0, 0, "")
        window = (self.taps, self.stride, self.dilation, self.before, self.after, self.same)
        if x.time is None and window != alone:
            raise self.error("its input has no time axis, and its window over time is not 1 step")
        steps = None if x.time is None else self.steps(x)
        return (Spec(made * self.weight.shape[0], steps),)

    def multiply_adds(self, *specs: Any) -> int:
        (x,) = specs
        return self.weight.size * self.across.count(self.positions(x.features))


@dataclass(kw_only=True)
class Conv2D(Convolution2D):
    """A convolution over time and positions.

    y[t, p, o] = activation(bias + sum over q, j, i of
                            weight[o, q, j, i] x[t stride + j dilation - b, p s + q d - a, i])

    q counts taps over positions, j those over time, i channels; s, d and a are the stride, dilation
    and padding before of the positions, b the steps of padding before. weight [O, position taps *
    taps * I], in the order q, j, i; bias [O] float32. Padding is zero. x has P * I features, y has
    Q * O, position by position. Causal as :class:`.Conv1D` is, whatever goes on over positions.
    """

    code: ClassVar[int] = 28

    @property
    def channels(self) -> int:
        taps = max(self.taps * self.position_taps, 1)
        if self.weight.shape[1] % taps:
            raise self.error(f"weight has shape {self.weight.shape}, in each {taps} taps")
        return int(self.weight.shape[1]) // taps


@dataclass(kw_only=True)
class DepthwiseConv2D(Convolution2D):
    """A convolution over time and positions of each channel by itself.

    weight [C, position taps * taps], in this order, bias [C] float32; otherwise as
    :class:`Conv2D`.
    """

    code: ClassVar[int] = 29

    @property
    def channels(self) -> int:
        self._check("weight", (self.weight.shape[0], self.taps * self.position_taps))
        return int(self.weight.shape[0])


@dataclass(kw_only=True)
class PoolPositions(Window):
    """The sum, mean, maximum or minimum of each window over the positions of a step.

    The Window's fields are over positions, of ``channels`` features each; so it never matters
    whether x has time. Padding never is the maximum or minimum; the mean is that of the positions
    that are there, or with ``count_padding`` that of all taps, padding counting as zero. A window
    of nothing but padding gives -inf, inf, or 0.
    """

    code: ClassVar[int] = 30
    op: str = param(choices=("maximum", "mean", "sum", "minimum"))
    count_padding: bool = param(False)
    channels: int = param()

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        (x,) = specs
        if self.channels < 1 or x.features % self.channels:
            raise self.error(f"gets {x.features} features, not whole {self.channels} channels")
        return (Spec(self.count(x.features // self.channels) * self.channels, x.time),)

    def whole(self, *specs: Any) -> str:
        return ""
