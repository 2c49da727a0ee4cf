"""What an ONNX tensor can be while a model is converted, and how its axes are followed.

lstmc's values have no axis order (see :mod:`lstmc.graph`), ONNX's tensors do. So every tensor that
depends on the model's inputs is a :class:`Tracked` value: the name of a value in the graph, and for
each axis of the tensor the :class:`Dim` objects it is made of. Transpose, Reshape and their like
move dims between axes and no data. A dim of an input begins without a meaning; the first operator
that reads it as time, batch or features gives it one, for every value that shares the dim.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lstmc.errors import ConversionError
from lstmc.graph import BATCH, TIME

FEATURES = "features"
NEXT = "it is not supported yet"
MEANINGS = {BATCH: "the batch", TIME: "time", FEATURES: "the features"}


@dataclass(eq=False)
class Dim:
    """A size that axes are made of; two axes are the same where they hold the same dims.

    ``label`` is batch, time, features or None as long as nothing decides it; ``outer`` says that
    it can't be features any more. ``size`` is None where the model leaves it open.
    """

    size: int | None
    label: str | None = None
    outer: bool = False

    def is_one(self) -> bool:
        return self.size == 1


# An axis of a tensor: row-major product of dims, () for an axis of size 1.
Axis = tuple[Dim, ...]


def axis_size(axis: Axis) -> int | None:
    """The size of an axis, None if it is open."""
    size = 1
    for dim in axis:
        if dim.size is None:
            return None
        size *= dim.size
    return size


# ------------------------------------------------------------------------------- kinds of tensor


@dataclass
class Const:
    """A tensor whose value is known. ``name`` is the initializer to name in messages."""

    name: str
    array: np.ndarray


@dataclass
class Zeros:
    """All zeros, of a shape that may depend on the batch: an initial state."""


@dataclass
class Sizes:
    """Sizes of a tracked value's axes, as the operator Shape gives them; an int where fixed."""

    items: tuple[int | Axis, ...]
    scalar: bool = False


@dataclass
class Tracked:
    """A value of the graph, laid out as ``axes``.

    ``order`` holds the dims that make up its features, in the order of the graph's value: where
    the axes have them in another order, data would have to move.
    """

    name: str
    axes: tuple[Axis, ...]
    order: Axis

    def moved(self, axes: tuple[Axis, ...]) -> Tracked:
        return Tracked(self.name, axes, self.order)


@dataclass
class Joined:
    """Values one after the other on an axis where each has size 1: the states of several layers.

    No layer joins values yet; picking one of them again takes none.
    """

    parts: tuple[Tracked, ...]
    axis: int


@dataclass
class Refused:
    """A tensor that can't be represented: an error only if something needs it."""

    error: ConversionError


Kind = Const | Zeros | Sizes | Tracked | Joined | Refused


def is_zeros(kind: Kind | None) -> bool:
    if isinstance(kind, Const):
        return kind.array.dtype.kind in "fV" and not np.any(kind.array.astype(np.float64))
    return isinstance(kind, Zeros)


# ----------------------------------------------------------------------------------------- nodes


@dataclass
class Node:
    """A node with its inputs resolved. Attributes that nobody takes are an error."""

    name: str
    op: str
    opset: int
    inputs: list[Kind | None]
    input_names: list[str]
    outputs: list[str]
    attrs: dict[str, Any]
    seen: set[str] = field(default_factory=set)

    def error(self, text: str) -> ConversionError:
        return ConversionError(f"node '{self.name}' ({self.op}): {text}")

    def attr(self, name: str, default: Any = None) -> Any:
        self.seen.add(name)
        return self.attrs.get(name, default)

    def has(self, index: int) -> bool:
        return index < len(self.inputs) and self.inputs[index] is not None

    def only_outputs(self, count: int) -> None:
        if any(self.outputs[count:]):
            raise self.error(f"its output {count} is used; {NEXT}")

    def input(self, index: int) -> Kind:
        """An input that must be there and must not be refused."""
        kind = self.inputs[index] if self.has(index) else None
        if kind is None:
            raise self.error(f"its input {index} is missing")
        if isinstance(kind, Refused):
            raise kind.error
        return kind

    def value(self, index: int = 0) -> Tracked:
        """An input that depends on the model's inputs."""
        kind = self.input(index)
        if not isinstance(kind, Tracked):
            if isinstance(kind, Joined):
                names = [p.name for p in kind.parts]
                raise self.error(f"needs values joined that lie apart, {names}; {NEXT}")
            what = {Const: "constant", Zeros: "all zeros", Sizes: "a shape"}[type(kind)]
            raise self.error(
                f"its input {index} ('{self.input_names[index]}') is {what} where a value computed "
                "from the model's inputs is expected; simplify the model first (onnxslim, onnxsim)"
            )
        return kind

    def const(self, index: int, what: str) -> Const:
        """An input that must be constant; ``what`` names it in messages."""
        kind = self.input(index)
        if not isinstance(kind, Const):
            name = self.input_names[index]
            hint = "a weight that is an input of the model can be given as constants={name: array}"
            raise self.error(f"its {what} ('{name}') is not constant; {hint}")
        return kind

    def ints(self, index: int, name: str, default: list[int] | None = None) -> list[int] | None:
        """Integers that old opsets hold in an attribute and new ones in an input."""
        values = self.attr(name)
        if values is None and self.has(index):
            array = self.const(index, name).array
            if array.dtype.kind not in "iu":
                raise self.error(f"its {name} are {array.dtype}, expected integers")
            values = array.reshape(-1).tolist()
        return default if values is None else [int(v) for v in values]

    def axis(self, axis: int, rank: int) -> int:
        if not -rank <= axis < rank:
            raise self.error(f"axis {axis} is out of range for a tensor of rank {rank}")
        return axis % rank


# ---------------------------------------------------------------------------------------- labels


def bind(node: Node, dim: Dim, label: str) -> None:
    """Give a dim its meaning, or refuse if it already has another."""
    if dim.label not in (None, label) or (dim.outer and label == FEATURES):
        before = MEANINGS.get(dim.label or "", "batch or time")
        raise node.error(
            f"reads an axis as {MEANINGS[label]} that is {before} elsewhere in the model, which "
            "lstmc can't represent"
        )
    dim.label = label


def bind_axis(node: Node, axis: Axis, label: str) -> None:
    """Make a whole axis the batch or time."""
    if len(axis) != 1:
        how = "is made of several" if axis else "is not one that the model's inputs have"
        raise node.error(f"the axis it reads as {MEANINGS[label]} {how}; {NEXT}")
    bind(node, axis[0], label)


def take_features(node: Node, value: Tracked, where: list[int]) -> None:
    """Say that the axes ``where`` hold all features of the value, in their order."""
    inner = [d for i in where for d in value.axes[i]]
    outer = [d for i, axis in enumerate(value.axes) if i not in where for d in axis]
    for dim in inner:
        bind(node, dim, FEATURES)
    for dim in outer:
        if dim.label == FEATURES and not dim.is_one():
            raise node.error(
                "works on a part of the features only, the rest being on another axis; "
                "lstmc keeps all features of a step together"
            )
        dim.outer = dim.outer or not (dim.label or dim.is_one())
    check_order(node, value, inner)


def check_order(node: Node, value: Tracked, inner: list[Dim]) -> None:
    """Refuse features whose order in the tensor is not that of the graph's value."""
    order = [d for d in value.order if d in inner and not d.is_one()]
    if order != [d for d in inner if not d.is_one()]:
        raise node.error(f"needs features in another order than they are computed in; {NEXT}")


# --------------------------------------------------------------------------------------- reshape


def regroup(node: Node, value: Tracked, target: list[int | Axis]) -> Tracked:
    """The value with its dims, in row-major order, distributed over new axes.

    ``target`` holds the new sizes: an axis to keep, a size, or -1 once for all that is left.
    Features may be split, batch and time may not; dims of size 1 may vanish.
    """
    if target.count(-1) > 1:
        raise node.error("its shape holds -1 more than once")
    order = list(value.order)

    def split(dim: Dim, inner: int) -> tuple[Dim, Dim]:
        """dim as (size / inner, inner), in this value only."""
        bind(node, dim, FEATURES)
        assert dim.size is not None
        parts = Dim(dim.size // inner, FEATURES), Dim(inner, FEATURES)
        order[order.index(dim) : order.index(dim) + 1] = parts
        return parts

    def take(dims: deque[Dim], item: int | Axis, from_left: bool) -> Axis:
        pop = dims.popleft if from_left else dims.pop
        push = dims.appendleft if from_left else dims.append
        taken: list[Dim] = []
        if isinstance(item, tuple):
            n = len(item)
            if (tuple(dims)[:n] if from_left else tuple(dims)[len(dims) - n :]) == item:
                for _ in item:
                    pop()
                return item
            size = axis_size(item)  # not the same axis, but perhaps one of the same fixed size
            if size is None:
                raise refused()
            item = size
        left = item
        while left > 1 or (item == 1 and not taken and dims):
            if not dims:
                raise refused()
            dim = pop()
            if item == 1 and not dim.is_one():
                push(dim)
                break
            if dim.size is None or dim.size < 1:
                raise refused()
            if dim.size > left and dim.size % left == 0:
                outer, inner = split(dim, dim.size // left if from_left else left)
                push(inner if from_left else outer)
                dim = outer if from_left else inner
            if left % (dim.size or 1):
                raise refused()
            left //= dim.size or 1
            taken.append(dim)
        return tuple(taken if from_left else taken[::-1])

    def refused() -> ConversionError:
        return node.error(
            "reshapes to sizes that don't regroup the axes as they are (batch and time can't be "
            "split, and sizes left open must be written as -1 or taken from Shape)"
        )

    dims = deque(d for axis in value.axes for d in axis)
    middle = target.index(-1) if -1 in target else len(target)
    left = [take(dims, item, True) for item in target[:middle]]
    right = [take(dims, item, False) for item in target[:middle:-1]]
    if middle < len(target):
        left.append(tuple(dims))
    elif any(not d.is_one() for d in dims):
        raise refused()
    else:
        for dim in dims:
            bind(node, dim, FEATURES)  # an axis of size 1 that vanishes can't be batch or time
    return Tracked(value.name, tuple(left + right[::-1]), tuple(order))
