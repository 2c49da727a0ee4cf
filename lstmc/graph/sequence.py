"""Layers that work on the steps of a sequence.

Row b of a sequence has lengths[b] valid steps, as its input has: what a layer makes of a row is
what it would make of that row alone, cut to its valid steps. Steps beyond are zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .base import Layer, constant_steps, option, panels, param
from .functions import LINEAR, Fn
from .values import Spec, Steps

WHOLE = "it needs the whole sequence"
SAME = ("", "upper", "lower")
PADDING = ("constant", "reflect", "edge")


@dataclass(kw_only=True)
class LastStep(Layer):
    """The last valid time step of x: y[b] = x[b, lengths[b] - 1]; zeros where the length is 0."""

    code: ClassVar[int] = 5

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        (x,) = specs
        self._timed(x)
        return (Spec(x.features),)


@dataclass(kw_only=True)
class ReduceTime(Layer):
    """The sum, mean, maximum or minimum of a sequence over its steps.

    inputs (x, mask): mask is optional, 1 feature; steps where it is 0 don't count. Nothing at all
    gives 0 for sum and mean, and -inf or inf for maximum and minimum. Step by step, it gives what
    it would give if the sequence ended there.
    """

    code: ClassVar[int] = 15
    op: str = param(choices=("sum", "mean", "maximum", "minimum"))

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        x, mask = (*specs, None)[:2]
        steps = self._timed(x)
        if mask is not None:
            if mask.features != 1:
                raise self.error(f"its mask has {mask.features} features, expected 1")
            self._same_steps(steps, self._timed(mask))
        return (Spec(x.features),)


@dataclass(kw_only=True)
class Reverse(Layer):
    """y[b, t] = x[b, lengths[b] - 1 - t]."""

    code: ClassVar[int] = 16

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        (x,) = specs
        self._timed(x)
        return (x,)

    def whole(self, *specs: Any) -> str:
        return "it goes backwards in time"


@dataclass(kw_only=True)
class SliceTime(Layer):
    """x[:, start : n - drop : step], n being the number of steps."""

    code: ClassVar[int] = 17
    start: int = param()
    drop: int = param()
    step: int = param(1)

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        (x,) = specs
        if self.start < 0 or self.drop < 0 or self.step < 1:
            raise self.error(f"slices from {self.start}, drops {self.drop}, in steps {self.step}")
        steps = self._timed(x).then(self.step - 1 - self.start - self.drop, self.step)
        if steps.clock is None and steps.add < 1:
            raise self.error("no time steps are left")
        return (Spec(x.features, steps),)

    def whole(self, *specs: Any) -> str:
        return "it changes the number of steps"


@dataclass(kw_only=True)
class PadTime(Layer):
    """``before`` steps in front of x, ``after`` behind: of ``value``, or as ``mode`` says.

    "reflect": as in a mirror at x's first and last step, which stand once; "edge": those steps
    themselves. A row without steps has none to repeat: its padding is zero.
    """

    code: ClassVar[int] = 18
    before: int = param()
    after: int = param()
    value: float = option(0.0)
    mode: str = option("constant", choices=PADDING)

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        (x,) = specs
        if self.before < 0 or self.after < 0:
            raise self.error(f"pads {self.before} and {self.after} steps")
        return (Spec(x.features, self._timed(x).then(self.before + self.after)),)

    def whole(self, *specs: Any) -> str:
        return "it changes the number of steps"


@dataclass(kw_only=True)
class Repeat(Layer):
    """A value without time, once for each of ``count`` steps; or for each step of a second input,
    whose numbers don't matter (``count`` is 0 then)."""

    code: ClassVar[int] = 19
    count: int = param(0)

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        x, like = (*specs, None)[:2]
        if x.time is not None:
            raise self.error("its input has a time axis already")
        if (like is None) == (self.count < 1):
            raise self.error(f"repeats {self.count} times, like {like}")
        return (Spec(x.features, Steps(None, self.count) if like is None else self._timed(like)),)

    def whole(self, *specs: Any) -> str:
        if specs[0].fixed and self.count == 0:
            return ""
        return "it spreads a value without time over all steps"


@dataclass(kw_only=True)
class Flatten(Layer):
    """All steps of a sequence of a fixed number of steps as features, one step after another."""

    code: ClassVar[int] = 20

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        (x,) = specs
        return (Spec(self._constant(x) * x.features),)

    def whole(self, *specs: Any) -> str:
        return WHOLE


@dataclass(kw_only=True)
class Unflatten(Layer):
    """The inverse of :class:`Flatten`: the features of a value without time as ``count`` steps."""

    code: ClassVar[int] = 21
    count: int = param()

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        (x,) = specs
        if x.time is not None or self.count < 1 or x.features % self.count:
            raise self.error(f"can't cut {x} into {self.count} steps")
        return (Spec(x.features // self.count, Steps(None, self.count)),)

    def whole(self, *specs: Any) -> str:
        return WHOLE


@dataclass(kw_only=True)
class Restep(Layer):
    """The numbers of a sequence, step after step, as steps of ``features`` numbers each.

    inputs (x, like): as many steps as ``like`` has, or ``count`` (0 with ``like``). A call in which
    x has not just as many numbers is refused, for all rows at once. So this layer cuts steps (4
    features are 2 steps of 2), joins them, or only insists on their number. A row that is shorter
    (``lengths``) gives the steps that are filled as far as it goes, and zeros.
    """

    code: ClassVar[int] = 31
    features: int = param()
    count: int = param(0)

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        x, like = (*specs, None)[:2]
        steps = self._timed(x)
        if self.features < 1 or (like is None) == (self.count < 1):
            raise self.error(f"makes {self.count} steps of {self.features}, like {like}")
        made = Steps(None, self.count) if like is None else self._timed(like)
        if steps.clock is None and made.clock is None and self._gap(x, made, {}):
            raise self.error(self._gap(x, made, {}))
        return (Spec(self.features, made),)

    def misfit(self, specs: tuple[Any, ...], sizes: Mapping[str, int]) -> str:
        x, like = (*specs, None)[:2]
        return self._gap(x, Steps(None, self.count) if like is None else like.time, sizes)

    def _gap(self, x: Spec, made: Steps, sizes: Mapping[str, int]) -> str:
        have, want = (x.time or made).count(sizes), made.count(sizes)
        if have * x.features == want * self.features:
            return ""
        return f"{have} steps of {x.features} are not {want} steps of {self.features}"

    def whole(self, *specs: Any) -> str:
        return "it takes a certain number of steps"


@dataclass(kw_only=True)
class Window(Layer):
    """What convolution and pooling have in common: a window of ``taps`` steps that moves on.

    The window's steps are ``dilation`` apart, and it moves by ``stride``. ``before`` and ``after``
    are steps of padding; or ``same`` is "upper" or "lower": as much padding as gives
    ceil(n / stride) steps, the odd one at the end or at the beginning (TensorFlow; ONNX SAME_UPPER
    and SAME_LOWER).
    """

    taps: int = param()
    stride: int = param(1)
    dilation: int = param(1)
    before: int = param(0)
    after: int = param(0)
    same: str = param("", choices=SAME)

    @property
    def extent(self) -> int:
        """Steps from a window's first to its last, both counted."""
        return (self.taps - 1) * self.dilation + 1

    def steps(self, spec: Spec) -> Steps:
        """The number of windows over the steps of a value."""
        self._sound()
        time = self._timed(spec)
        if self.same:
            return time.then(self.stride - 1, self.stride)
        steps = time.then(self.before + self.after - self.extent + self.stride, self.stride)
        if steps.clock is None and steps.add < 1:
            raise self.error("no time steps are left")
        return steps

    def count(self, n: int) -> int:
        """The number of windows over n places, at least 1."""
        self._sound()
        padded = n + self.before + self.after - self.extent
        made = -(-n // self.stride) if self.same else padded // self.stride + 1
        if made < 1:
            raise self.error(f"its windows of {self.extent} don't fit {n} positions")
        return made

    def _sound(self) -> None:
        if self.taps < 1 or self.stride < 1 or self.dilation < 1:
            raise self.error("taps, stride and dilation are at least 1")
        if self.before < 0 or self.after < 0 or (self.same and (self.before or self.after)):
            raise self.error(f"pads {self.before} and {self.after}, and {self.same!r}")

    def whole(self, *specs: Any) -> str:
        causal = self.before == self.extent - 1 and self.after == 0 and self.stride == 1
        if not self.same and causal:
            return ""
        return "its windows reach ahead, or skip steps"


@dataclass(kw_only=True)
class Conv1D(Window):
    """y[t] = activation(bias + sum of weight[o, j, i] x[t stride + j dilation - p, i] over j and i)

    j counts taps, i channels, p is the padding before.

    weight [O, taps * I], tap by tap, bias [O] float32. Padding is zero. Causal, and so fit for
    streams, if ``before`` is (taps - 1) * dilation, ``after`` 0 and ``stride`` 1.
    """

    code: ClassVar[int] = 22
    weight: np.ndarray = panels(1)
    bias: np.ndarray | None = panels(1, vector=True)
    activation: Fn = param(LINEAR)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._matrix("weight", "[channels out, taps * channels in]")
        self._check("bias", self.weight.shape[:1])

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        (x,) = specs
        self._features(x, self.weight.shape[1] // self.taps)
        self._check("weight", (self.weight.shape[0], self.taps * x.features))
        return (Spec(self.weight.shape[0], self.steps(x)),)

    def multiply_adds(self, *specs: Any) -> int:
        return self.weight.size


@dataclass(kw_only=True)
class DepthwiseConv1D(Window):
    """A convolution of each channel by itself: y[t, c] = activation(bias + sum over j of ...).

    weight [C, taps], bias [C] float32; otherwise as :class:`Conv1D`.
    """

    code: ClassVar[int] = 23
    weight: np.ndarray = panels(1)
    bias: np.ndarray | None = panels(1, vector=True)
    activation: Fn = param(LINEAR)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._matrix("weight", "[channels, taps]")
        self._check("weight", (self.weight.shape[0], self.taps))
        self._check("bias", self.weight.shape[:1])

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        (x,) = specs
        self._features(x, self.weight.shape[0])
        return (Spec(x.features, self.steps(x)),)

    def multiply_adds(self, *specs: Any) -> int:
        return self.weight.size


@dataclass(kw_only=True)
class Pool1D(Window):
    """The maximum or mean of each window, feature by feature.

    Padding never is the maximum; the mean is that of the steps that are there, or with
    ``count_padding`` that of all taps, padding counting as zero. A window of nothing but padding
    gives -inf, or 0.
    """

    code: ClassVar[int] = 24
    op: str = param(choices=("maximum", "mean"))
    count_padding: bool = param(False)

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        (x,) = specs
        return (Spec(x.features, self.steps(x)),)


@dataclass(kw_only=True)
class SoftmaxTime(Layer):
    """y = exp(x - max x) / sum exp(x - max x) over the steps, feature by feature."""

    code: ClassVar[int] = 25

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        (x,) = specs
        self._timed(x)
        return (x,)

    def whole(self, *specs: Any) -> str:
        return WHOLE


@dataclass(kw_only=True)
class StepMask(Layer):
    """y[b, t] = 1 where t < n[b], else 0, for each step of the second input.

    inputs (n, like): n has 1 feature and no time, the number of valid steps of a row as ONNX's
    sequence_lens and PyTorch's packed sequences give it. A recurrent layer takes y as its mask.
    """

    code: ClassVar[int] = 27

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        self._absent(specs)
        n, like = specs
        if n != Spec(1):
            raise self.error(f"the numbers of valid steps are {n}, expected 1 feature without time")
        return (Spec(1, self._timed(like)),)

    def whole(self, *specs: Any) -> str:
        return WHOLE


__all__ = [
    "Conv1D", "DepthwiseConv1D", "Flatten", "LastStep", "PadTime", "Pool1D", "ReduceTime", "Repeat",
    "Restep", "Reverse", "SliceTime", "SoftmaxTime", "StepMask", "Unflatten", "Window",
    "constant_steps",
]  # fmt: skip
