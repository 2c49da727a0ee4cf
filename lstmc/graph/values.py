"""Values: what layers read and write, their steps, and how the graph's own are laid out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import ConversionError

BATCH = "batch"
TIME = "time"

Axis = str | int
DTYPES = ("float32", "int32", "int64", "uint8", "bool", "int8", "int16", "float16")


@dataclass(frozen=True)
class Steps:
    """How many time steps a value has: floor((n + add) / every), n being the steps of a clock.

    An input with a time axis has a clock; inputs that go step by step together share one. With
    ``clock`` None the number is constant: ``add``. What layers do to a number of steps stays in
    this form, as floor((floor((n + a) / s) + b) / r) = floor((n + a + b s) / (s r)).
    """

    clock: str | None = TIME
    add: int = 0
    every: int = 1

    def then(self, add: int, every: int = 1) -> Steps:
        """floor((these steps + add) / every)."""
        if self.clock is None:
            return Steps(None, max((self.add + add) // every, 0))
        return Steps(self.clock, self.add + add * self.every, self.every * every)

    def count(self, sizes: Mapping[str, int]) -> int:
        """The number, given those of the clocks; 0 if nothing is left."""
        n = 0 if self.clock is None else sizes[self.clock]
        return max((n + self.add) // self.every, 0)

    def __str__(self) -> str:
        if self.clock is None:
            return str(self.add)
        text = self.clock + (f"{self.add:+d}" if self.add else "")
        return f"({text})/{self.every}" if self.every > 1 else text


@dataclass(frozen=True)
class Spec:
    """A value inside the graph: ``features`` floats a row, once or at every one of its steps.

    ``fixed``: it is known before the model runs, the same in every row and call.
    """

    features: int
    time: Steps | None = None
    fixed: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Value:
    """An input or output of the graph: its name and the order of its axes.

    ``axes`` holds :data:`BATCH` and :data:`TIME` at most once each, and sizes, in any order; the
    product of the sizes, taken in their order, is the number of features. A value without batch
    belongs to the one row that its graph takes then.

    ``time`` is the number of steps the source insists on, or None where any length goes. ``clock``
    says which inputs go step by step together (see :class:`Steps`); with None, the number of steps
    is the constant ``time``. Outputs have no clock of their own: the graph says how many steps they
    have.

    ``call`` is for inputs of a graph with :class:`Binding`: the steps of its own that each of its
    time steps has, as layers see it; 0 if it has none.

    ``dtype`` is what the source takes or gives. Inside lstmc every value is float32; integers up to
    2^24 are exact. A float16 output of the source is given as float32, not rounded.
    """

    name: str
    axes: tuple[Axis, ...]
    dtype: str = "float32"
    time: int | None = None
    clock: str | None = TIME
    call: int = 0

    def __post_init__(self) -> None:
        symbols = [a for a in self.axes if isinstance(a, str)]
        if sorted(symbols) != sorted(set(symbols)) or not set(symbols) <= {BATCH, TIME}:
            raise ConversionError(f"value '{self.name}': axes {self.axes} repeat or are unknown")
        if self.dtype not in DTYPES:
            raise ConversionError(f"value '{self.name}': dtype {self.dtype} is not supported")
        if any(not isinstance(a, str) and a < 1 for a in self.axes):
            raise ConversionError(f"value '{self.name}': axes {self.axes} can't be laid out")
        if TIME in symbols and self.clock is None and not self.time:
            raise ConversionError(f"value '{self.name}': its number of steps is not known")
        if self.call and math.prod(self.sizes) % self.call:
            raise ConversionError(f"value '{self.name}': {self.axes} are not of {self.call} steps")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The axes that are neither batch nor time."""
        return tuple(a for a in self.axes if not isinstance(a, str))

    @property
    def spec(self) -> Spec:
        """What an input is inside the graph."""
        if TIME not in self.axes:
            return Spec(math.prod(self.sizes))
        if self.clock is None:
            return Spec(math.prod(self.sizes), Steps(None, self.time or 0))
        return Spec(math.prod(self.sizes), Steps(self.clock))

    @property
    def inside(self) -> Spec:
        """What layers see of an input of a graph with bindings: one of its time steps."""
        floats = math.prod(self.sizes)
        return Spec(floats // self.call, Steps(None, self.call)) if self.call else Spec(floats)

    def shape(self, batch: int | None = None, time: int | None = None) -> tuple[int | None, ...]:
        """The shape of an array for this value; None stands for a size left open."""
        sizes: dict[Axis, int | None] = {BATCH: batch, TIME: self.time if time is None else time}
        return tuple(sizes[a] if isinstance(a, str) else a for a in self.axes)


@dataclass(frozen=True)
class Binding:
    """State from outside the layers: what ``output`` is after a step, ``input`` is in the next.

    Both are laid out as the source had them, with a constant number of steps or none, and have as
    many floats a row, in the same order inside the graph.
    """

    input: Value
    output: Value
