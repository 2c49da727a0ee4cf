"""What an ONNX tensor can be while a model is converted, and a node with its inputs resolved.

lstmc's values have no axis order (see :mod:`lstmc.graph`), ONNX's tensors do. So every tensor that
depends on the model's inputs is a :class:`Tracked` value: the name of a value in the graph, and for
each axis of the tensor the :class:`Dim` objects it is made of. Transpose, Reshape and their like
move dims between axes and no data. What a dim means is decided in :mod:`.onnx_axes`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lstmc.errors import ConversionError

FEATURES = "features"
NEXT = "it is not supported"
GIVEN = "can be given: --set NAME=FILE.npy, in Python constants={name: array}"


@dataclass(eq=False)
class Dim:
    """A size that axes are made of; two axes are the same where they hold the same dims.

    ``label`` is batch, time, features or None as long as nothing decides it; ``outer`` says that
    it can't be features any more. ``size`` is None where the model leaves it open.

    A dim of an input of the model knows which one (``source``: name and axis) and the others of
    that input (``family``). ``guess``: its label is not what an operator reads it as, but the usual
    one; ``called`` is the name that the model gives the size.
    """

    size: int | None
    label: str | None = None
    outer: bool = False
    source: tuple[str, int] | None = None
    family: tuple[Dim, ...] = ()
    guess: bool = False
    called: str = ""
    twin: Dim | None = None

    def is_one(self) -> bool:
        return self.size == 1

    def root(self) -> Dim:
        """The dim that stands for all that are known to have the same size."""
        dim = self
        while dim.twin is not None:
            dim = dim.twin
        return dim


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
    """All zeros, of a shape that may depend on the batch: an initial state. ``width`` is the size
    of the last axis, where it is known."""

    width: int | None = None


@dataclass
class Spread:
    """A constant repeated to the size of the batch on an axis where ``array`` has size 1."""

    name: str
    array: np.ndarray


@dataclass
class Sizes:
    """Sizes of a tracked value's axes, as the operator Shape gives them; an int where fixed."""

    items: tuple[int | Axis, ...]
    scalar: bool = False


@dataclass
class Tracked:
    """A value of the graph, laid out as ``axes``.

    ``order`` holds the dims that make up its features, in the order of the graph's value: where
    the axes have them in another order, data have to move. ``dtype`` is float32, or a type of
    indices, lengths and masks.
    """

    name: str
    axes: tuple[Axis, ...]
    order: Axis
    dtype: str = "float32"

    def moved(self, axes: tuple[Axis, ...]) -> Tracked:
        return Tracked(self.name, axes, self.order, self.dtype)

    @property
    def dims(self) -> list[Dim]:
        return [d for axis in self.axes for d in axis]

    def labelled(self, label: str) -> list[Dim]:
        """Its dims of one meaning, in the order of the axes."""
        return [d for d in self.dims if d.label == label]


class OpenSize(ConversionError):
    """Something depends on the size of an axis that the model leaves open.

    ``question`` is the tensor that asks whether it is a certain number.
    """

    def __init__(self, message: str, question: str) -> None:
        super().__init__(message)
        self.question = question


@dataclass
class Refused:
    """A tensor that can't be represented: an error only if something needs it."""

    error: ConversionError


@dataclass
class Inner:
    """A tensor between the nodes of a pattern that means something as a whole only, such as the
    integers of a quantised product. ``part`` is what the pattern's own module makes of it."""

    part: Any
    what: str = "quantised"


Kind = Const | Zeros | Spread | Sizes | Tracked | Refused | Inner


def is_zeros(kind: Kind | None) -> bool:
    if isinstance(kind, Const | Spread):
        return kind.array.dtype.kind in "fV" and not np.any(kind.array.astype(np.float64))
    return isinstance(kind, Zeros)


# ----------------------------------------------------------------------------------------- nodes

WHAT = {
    Const: "constant",
    Zeros: "all zeros",
    Spread: "constant",
    Sizes: "a shape",
}


@dataclass
class Node:
    """A node with its inputs resolved; ``op`` is "" for an output of the model.

    Attributes that nobody takes are an error.
    """

    name: str
    op: str
    opset: int
    inputs: list[Kind | None]
    input_names: list[str]
    outputs: list[str]
    attrs: dict[str, Any]
    domain: str = ""
    seen: set[str] = field(default_factory=set)

    def error(self, text: str) -> ConversionError:
        where = f"node '{self.name}' ({self.op})" if self.op else f"output '{self.name}'"
        return ConversionError(f"{where}: {text}")

    def attr(self, name: str, default: Any = None) -> Any:
        self.seen.add(name)
        return self.attrs.get(name, default)

    def flag(self, name: str, default: int = 0) -> bool:
        """An attribute that is 0 or 1."""
        value = self.attr(name, default)
        if value not in (0, 1):
            raise self.error(f"attribute {name}={value} is unknown, expected 0 or 1")
        return bool(value)

    def number(self, name: str, default: float) -> float:
        """A float attribute, which must be finite."""
        value = float(self.attr(name, default))
        if not np.isfinite(np.float32(value)):
            raise self.error(f"attribute {name}={value:g} is not finite")
        return value

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

    def value(self, index: int = 0, *, any_type: bool = False) -> Tracked:
        """An input that depends on the model's inputs, float32 unless any type will do."""
        kind = self.input(index)
        if not isinstance(kind, Tracked):
            what = kind.what if isinstance(kind, Inner) else WHAT[type(kind)]
            raise self.error(
                f"its input {index} ('{self.input_names[index]}') is {what} where a value "
                "computed from the model's inputs is expected; simplify the model first "
                "(onnxslim, onnxsim)"
            )
        if kind.dtype != "float32" and not any_type:
            raise self.error(f"works on {kind.dtype}; only float32 is supported, so Cast it first")
        return kind

    def const(self, index: int, what: str) -> Const:
        """An input that must be constant; ``what`` names it in messages."""
        kind = self.input(index)
        if not isinstance(kind, Const):
            name = self.input_names[index]
            hint = f"a weight that is an input of the model {GIVEN}"
            raise self.error(f"its {what} ('{name}') is not constant; {hint}")
        return kind

    def scalar(self, index: int, what: str) -> float:
        """A constant of one element."""
        array = self.const(index, what).array
        if array.size != 1:
            raise self.error(f"its {what} has shape {list(array.shape)}, expected one number")
        return float(array.reshape(-1)[0])

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
