"""What stands for a tensor while forward is read, and the graph that grows from it.

A tensor is known by which graph value it holds and in what order its axes are. Reordering axes or
adding axes of size 1 moves no numbers between rows, so it changes the :class:`Sym` only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn

from lstmc import graph as g
from lstmc.errors import ConversionError
from lstmc.graph import Axis


@dataclass(frozen=True)
class Free:
    """The number of features of an input, until the first layer that reads it tells."""

    input: str


@dataclass(frozen=True)
class Sym:
    """A tensor: the graph value it holds, and its axes in torch's order."""

    value: str
    axes: tuple[Axis | Free, ...]


@dataclass(frozen=True)
class Stack:
    """h_n or c_n of an LSTM of several layers, [num_layers, batch, H]: one value each."""

    items: tuple[Sym, ...]


@dataclass(frozen=True)
class Zeros:
    """A tensor of zeros of whatever shape; good for an LSTM's initial state only."""


@dataclass(frozen=True)
class Opaque:
    """A device or dtype: may be handed to ``to`` and ``zeros``, means nothing here."""


def input_value(name: str) -> str:
    """What an input's value is called while tracing: not what any layer's may be."""
    return f"<{name}>"


class LayoutError(ConversionError):
    """An input's axes are in another order than a layer takes; another layout may do."""


class UnknownSizeError(ConversionError):
    """All of forward makes sense, but nothing in it tells an input's number of features."""


@dataclass
class Context:
    """The graph while it grows. ``where`` names the module or function being converted."""

    layers: list[g.Layer] = field(default_factory=list)
    sizes: dict[Free, int] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    where: str = ""
    path: str = ""  # the base of layer names

    def refuse(self, what: str) -> NoReturn:
        raise ConversionError(f"{self.where}: {what}")

    def sym(self, x: object) -> Sym:
        """``x``, if it's a tensor that layers can read."""
        if isinstance(x, Stack):
            self.refuse("gets h_n or c_n of all layers of a stacked LSTM; take one, as in h_n[-1]")
        if isinstance(x, tuple):
            self.refuse("gets a tuple (an LSTM gives output, (h_n, c_n)); take one element first")
        if not isinstance(x, Sym):
            self.refuse(f"gets a {type(x).__name__}, not a tensor that depends on the input")
        return Sym(x.value, tuple(self.size(a) for a in x.axes))

    def size(self, axis: Any) -> Any:
        """An axis with its size, if it was free and is known by now."""
        return self.sizes.get(axis, axis) if isinstance(axis, Free) else axis

    def features(self, x: object, expected: int | None = None) -> Sym:
        """``x``, its last axis being all its features; tells a free size what is expected."""
        x = self.sym(x)
        last = x.axes[-1] if x.axes else None
        if isinstance(last, Free) and expected is not None:
            self.sizes[last] = expected
            return self.sym(x)
        if isinstance(last, str) or not x.axes:
            self.refuse(f"works on the features, but the last axis of its input {show(x)} is not")
        others = [a for a in x.axes[:-1] if not isinstance(a, str)]
        if any(a != 1 for a in others):
            self.refuse(f"works on the last axis of {show(x)}, which is not all of its features")
        if expected is not None and last != expected:
            self.refuse(f"gets {last} features, its weights take {expected}")
        return x

    def unique(self, name: str) -> str:
        out, n = name, 1
        while out in self.names:
            out, n = f"{name}_{n}", n + 1
        self.names.add(out)
        return out

    def add(self, cls: type[g.Layer], x: Sym, axes: tuple[Axis | Free, ...], **fields: Any) -> Sym:
        """Add a layer with one output; its axes."""
        name = self.unique(self.path)
        self.layers.append(cls(name=name, inputs=(x.value,), outputs=(name,), **fields))
        return Sym(name, axes)


def show(x: Sym) -> str:
    return "[" + ", ".join("features" if isinstance(a, Free) else str(a) for a in x.axes) + "]"
