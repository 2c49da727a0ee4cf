"""What stands for a tensor while forward is read, and the graph that grows from it.

A tensor is known by which graph value it holds and in what order its axes are. Reordering axes or
adding axes of size 1 moves no numbers between rows, so it changes the :class:`Sym` only. Axes of a
number are features, in the order in which they stand; :mod:`torch_shapes` is the algebra of them.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from lstmc import graph as g
from lstmc.errors import ConversionError
from lstmc.graph import BATCH, TIME

from . import weights as w


@dataclass(frozen=True)
class Free:
    """The size of an input's axis, until the first layer that reads it tells."""

    input: str
    place: int = -1

    def __str__(self) -> str:
        return "features"


@dataclass(frozen=True)
class Flat:
    """An axis of all steps of a value, ``features`` numbers each: as many as what reads it takes.

    Which settles the number of steps, see :mod:`torch_finish`.
    """

    value: str
    features: int

    def __str__(self) -> str:
        return f"time * {self.features}" if self.features > 1 else "time"


@dataclass(frozen=True)
class Merged:
    """Batch and time (in this order or the other) reshaped to one axis."""

    axes: tuple[str, ...]

    def __str__(self) -> str:
        return " * ".join(self.axes)


Atom = str | int | Free | Flat | Merged


@dataclass(frozen=True)
class Sym:
    """A tensor: the graph value it holds, and its axes in torch's order.

    ``kind`` is float, int or bool; or "?NAME" while it isn't known what the input NAME holds.
    ``cut``: the value of the lengths to whose maximum torch has cut the time axis, where lstmc
    keeps all steps.
    """

    value: str
    axes: tuple[Any, ...]
    kind: str = "float"
    cut: str = ""


@dataclass(frozen=True)
class Const:
    """A tensor that is known, but for how often it is repeated over batch and time.

    array: float32 with an axis for each of ``axes``, of size 1 where that is batch or time.
    ``like``: a value with those time steps.
    """

    array: np.ndarray
    axes: tuple[Any, ...]
    like: str = ""


@dataclass(frozen=True)
class Size:
    """The size of an axis that is no number yet: the product of ``axes``, and ``add``.

    ``value``: the value whose axis it is.
    """

    axes: tuple[Any, ...]
    value: str
    add: int = 0


@dataclass(frozen=True)
class Packed:
    """A torch PackedSequence: x as [batch, time, features], and the valid steps of each row.

    ``like``: a value with x's steps. ``zeros``: x is zero beyond each row's steps.
    """

    x: Sym
    lengths: Sym
    like: str
    zeros: bool = False


@dataclass(frozen=True)
class Opaque:
    """A device, dtype or such: may be handed to ``to`` and ``zeros``, means nothing here."""


@dataclass(frozen=True)
class Missing:
    """A result that lstmc doesn't compute, such as the indices of a maximum."""

    what: str


def input_value(name: str) -> str:
    """What an input's value is called while tracing: not what any layer's may be."""
    return f"<{name}>"


class LayoutError(ConversionError):
    """An input's axes are in another order than a layer takes; another layout may do."""


class UnknownSizeError(ConversionError):
    """All of forward makes sense, but nothing in it tells an input's number of features."""


def is_tensor(x: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


@dataclass
class Context:
    """The graph while it grows. ``where`` names the module or function being converted."""

    layers: list[g.Layer] = field(default_factory=list)
    sizes: dict[Any, Any] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    where: str = ""
    path: str = ""  # the base of layer names
    lenient: bool = False  # an axis of a fixed size may be taken for time
    first: str = ""  # some input: what constants hang on
    kinds: dict[str, str] = field(default_factory=dict)  # of inputs, as far as known
    parts: dict[str, list[tuple[str, int]]] = field(default_factory=dict)  # of each Concat
    made: dict[Any, str] = field(default_factory=dict)  # values that need no second layer
    # What can only be told when the steps and features of all values are known:
    fills: dict[str, Callable[[Any, Sequence[g.Spec]], None]] = field(default_factory=dict)
    counts: list[tuple[str, int, str]] = field(default_factory=list)  # value, its steps, where
    alike: list[tuple[str, str, str]] = field(default_factory=list)  # two values of as many steps

    def refuse(self, what: str) -> NoReturn:
        raise ConversionError(f"{self.where}: {what}")

    # ------------------------------------------------------------------------------ operands

    def any(self, x: object) -> Sym:
        """``x``, if it's a tensor that layers can read, of whatever kind."""
        if isinstance(x, Packed):
            self.refuse(
                "gets a packed sequence; only LSTM, GRU, RNN and pad_packed_sequence take one"
            )
        if isinstance(x, tuple):
            self.refuse("gets a tuple (an LSTM gives output, (h_n, c_n)); take one element first")
        if isinstance(x, Missing):
            self.refuse(f"reads {x.what}, which lstmc doesn't compute")
        if isinstance(x, Const) and BATCH in x.axes:
            return self.constant(x)
        if not isinstance(x, Sym):
            kind = "constant" if isinstance(x, Const) else type(x).__name__
            self.refuse(f"gets a {kind}, not a tensor that depends on the input")
        kind = self.kinds.get(x.kind[1:], x.kind) if x.kind.startswith("?") else x.kind
        return dataclasses.replace(x, axes=tuple(self.size(a) for a in x.axes), kind=kind)

    def sym(self, x: object) -> Sym:
        """``x``, if it's a tensor of floats; tells an input that it holds some."""
        s = self.any(x)
        if s.kind.startswith("?"):
            self.kinds[s.kind[1:]] = "float"
            return dataclasses.replace(s, kind="float")
        if s.kind != "float":
            self.refuse(f"gets {s.kind} numbers, expected float; write x.float()")
        return s

    def ints(self, x: object) -> Sym:
        """``x``, if it's a tensor of integers; tells an input that it holds some."""
        s = self.any(x)
        if s.kind.startswith("?"):
            self.kinds[s.kind[1:]] = "int"
            return dataclasses.replace(s, kind="int")
        if s.kind != "int":
            self.refuse(f"gets {s.kind} numbers, expected integers")
        return s

    def size(self, axis: Any) -> Any:
        """An axis with its size, if it was open and is known by now."""
        while not isinstance(axis, (str, int)) and axis in self.sizes:
            axis = self.sizes[axis]
        return axis

    def tell(self, axis: Any, size: int, x: Sym) -> None:
        """An open axis has ``size`` numbers."""
        if isinstance(axis, Flat):
            if size % axis.features:
                self.refuse(f"gets {show(x)}, its weights take {size} features")
            self.counts.append((axis.value, size // axis.features, self.where))
        self.sizes[axis] = size

    def features(self, x: object, expected: int | None = None) -> Sym:
        """``x``, its last axis being all its features; tells an open size what is expected."""
        x = self.sym(x)
        last = x.axes[-1] if x.axes else None
        if isinstance(last, (Free, Flat)) and expected is not None:
            self.tell(last, expected, x)
            return self.features(x, expected)
        if isinstance(last, (str, Merged)) or not x.axes:
            self.refuse(f"works on the features, but the last axis of its input {show(x)} is not")
        others = [a for a in x.axes[:-1] if not isinstance(a, (str, Merged))]
        if any(a != 1 for a in others):
            self.refuse(f"works on the last axis of {show(x)}, which is not all of its features")
        if expected is not None and last != expected:
            self.refuse(f"gets {last} features, its weights take {expected}")
        return x

    def across(self, x: Sym) -> None:
        """Refuse what looks across time, where torch has fewer steps than lstmc."""
        if x.cut:
            self.refuse(
                "works across the steps of a padded sequence that torch has cut to its longest row;"
                " give pad_packed_sequence total_length=x.size(1), or use h_n"
            )

    # -------------------------------------------------------------------------------- layers

    def unique(self, name: str) -> str:
        out, n = name, 1
        while out in self.names:
            out, n = f"{name}_{n}", n + 1
        self.names.add(out)
        return out

    def add(
        self,
        cls: type[g.Layer],
        x: Sym | tuple[Sym, ...],
        axes: tuple[Any, ...],
        *,
        kind: str = "float",
        fill: Callable[[Any, Sequence[g.Spec]], None] | None = None,
        **fields: Any,
    ) -> Sym:
        """Add a layer with one output; its axes. ``fill`` sets fields when its input is known."""
        inputs = x if isinstance(x, tuple) else (x,)
        name = self.unique(self.path)
        values = tuple(s.value for s in inputs)
        self.layers.append(cls(name=name, inputs=values, outputs=(name,), **fields))
        if fill is not None:
            self.fills[name] = fill
        cut = next((s.cut for s in inputs if s.cut), "") if TIME in axes else ""
        return Sym(name, axes, kind, cut)

    def constant(self, c: Const) -> Sym:
        """A constant as a value: the same in every row, and at every step if it has a time axis."""
        values = w.float32(f"a constant in {self.where}", c.array).ravel()
        key = (values.tobytes(), c.like if TIME in c.axes else "")
        if key not in self.made:
            x = self.add(g.Fill, Sym(self.first, ()), (BATCH,), value=values)
            if TIME in c.axes:
                x = self.add(g.Repeat, (x, Sym(c.like, ())), (BATCH, TIME))
            self.made[key] = x.value
        return Sym(self.made[key], c.axes)

    def select(self, x: Sym, index: np.ndarray, axes: tuple[Any, ...]) -> Sym:
        """Features of ``x`` in another order, some of them, or some more than once."""
        count = math.prod(a for a in x.axes if isinstance(a, int))
        picked = tuple(int(i) for i in np.ravel(index))
        if not picked:
            self.refuse(f"leaves nothing of {show(x)}")
        return dataclasses.replace(x, value=self._picked(x.value, count, picked), axes=axes)

    def _picked(self, value: str, count: int, index: tuple[int, ...]) -> str:
        if index == tuple(range(count)):
            return value
        key = (value, index)
        if key in self.made:
            return self.made[key]
        whole: list[tuple[str, int]] | None = []
        at = 0
        starts: dict[int, tuple[str, int]] = {}
        for name, n in self.parts.get(value, ()):
            starts[at] = (name, n)
            if all(at <= i < at + n for i in index):  # all of it from one part of a Concat
                self.made[key] = self._picked(name, n, tuple(i - at for i in index))
                return self.made[key]
            at += n
        done = 0
        while done < len(index) and whole is not None:
            name, n = starts.get(index[done], ("", 0))
            if not n or index[done : done + n] != tuple(range(index[done], index[done] + n)):
                whole = None
            else:
                whole.append((name, n))
                done += n
        if whole:
            self.made[key] = self.concat(whole)
        else:
            x = Sym(value, ())
            self.made[key] = self.add(g.Select, x, (), index=index).value
        return self.made[key]

    def concat(self, parts: list[tuple[str, int]]) -> str:
        """A value of other values' features (value, how many), one after another."""
        if len(parts) == 1:
            return parts[0][0]
        key = ("concat", *parts)
        if key not in self.made:
            name = self.add(g.Concat, tuple(Sym(v, ()) for v, _ in parts), ()).value
            self.parts[name], self.made[key] = parts, name
        return self.made[key]


def show(x: Sym | Const) -> str:
    return "[" + ", ".join(str(a) for a in x.axes) + "]"
