"""Tensors that an ONNX Loop or Scan itself is made of, and what operators make of them.

They are no values of a graph: the number of the step, the condition, lists. Each is a
:class:`Part`, and :data:`HANDLERS` has the operators that take one among their inputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmc.errors import ConversionError

from .onnx_layers import Builder, Handler
from .onnx_sizes import is_open, known
from .onnx_values import NEXT, Axis, Const, Inner, Kind, Node, Sizes, Tracked, axis_size

if TYPE_CHECKING:
    from .onnx_steps import Step


@dataclass(eq=False)
class Part:
    """A tensor that the loop itself is made of. ``step`` is the loop, None outside of one."""

    step: Step | None


@dataclass(eq=False)
class Counter(Part):
    """The number of the step, from 0 on, plus a constant; or a length minus that. It has one
    element and ``rank`` axes."""

    plus: int
    rank: int = 0
    end: Length | None = None


@dataclass(eq=False)
class Length(Part):
    """A number of steps, plus a constant. ``error``: what to say where no loop counts with it."""

    sizes: Sizes
    plus: int
    error: ConversionError | None = None


@dataclass(eq=False)
class Going(Part):
    """A condition that holds after every step but perhaps the last."""


@dataclass(eq=False)
class Pieces(Part):
    """The steps of a sequence, as a list."""

    x: Tracked
    axis: int


@dataclass(eq=False)
class Grown(Part):
    """The list that state ``at`` is: as it came, or with this step's value at its end."""

    at: int
    value: Tracked | None = None


@dataclass(eq=False)
class Stacked(Part):
    """A list of a value of each step, which is time of ``value``; axes are those of one."""

    value: Tracked
    axes: tuple[Axis, ...]
    time: Axis


def part(node: Node, index: int) -> Any:
    kind = node.input(index)
    return kind.part if isinstance(kind, Inner) else kind


def inner(made: Part) -> Inner:
    return Inner(made, "a part of a loop")


def whole_number(kind: Any) -> int | None:
    """A constant integer of one element."""
    kind = known(kind)
    if isinstance(kind, Const) and kind.array.dtype.kind in "iu" and kind.array.size == 1:
        return int(kind.array.reshape(-1)[0])
    return None


def counted(b: Builder, node: Node) -> list[Kind]:
    """The counter plus or minus a constant, or in another type or shape."""
    first = part(node, 0)
    second = part(node, 1) if node.op in ("Add", "Sub") else None
    if node.op == "Sub" and isinstance(second, Counter) and second.end is None:
        end = first
        if (n := whole_number(first)) is not None:
            end = Length(None, Sizes((n + 1,)), -1)
        if isinstance(end, Length):
            return [inner(Counter(second.step, second.plus, max(second.rank, rank_of(first)), end))]
    if node.op in ("Add", "Sub"):
        for one, other in ((first, second), (second, first)):
            n = whole_number(other)
            if n is None or (node.op == "Sub" and one is not first):
                continue
            n = n if node.op == "Add" else -n
            if isinstance(one, Counter) and one.end is None:
                return [inner(Counter(one.step, one.plus + n, max(one.rank, rank_of(other))))]
            if isinstance(one, Length):
                return [inner(Length(None, one.sizes, one.plus + n, one.error))]
        raise node.error("computes with the number of the step in a way that is not supported")
    node.seen.update(node.attrs)  # whatever the type: it stays one number
    number = isinstance(first, Counter | Length)
    if not number and not (node.op == "Cast" and isinstance(first, Going)):
        raise node.error("takes a part of a loop")
    if node.op == "Cast" and node.attr("to") not in (1, 6, 7, 9, 11):
        raise node.error(f"attribute to={node.attr('to')} of the number of the step; {NEXT}")
    if node.op == "Cast" and number and node.attr("to") == 9:
        raise node.error("makes a condition of the number of the step")
    if node.op == "Cast":
        return [node.input(0)]
    if not isinstance(first, Counter):
        raise node.error("changes the shape of a length")
    rank = 0
    if node.op == "Unsqueeze":
        rank = first.rank + len(node.ints(1, "axes") or [])
    elif node.op == "Reshape":
        rank = len(node.ints(1, "shape") or [])
    return [inner(replace(first, rank=rank))]


def rank_of(kind: Any) -> int:
    return kind.array.ndim if isinstance(kind, Const) else 0


def same(b: Builder, node: Node) -> list[Kind]:
    return [node.input(0)]


def goes_on(b: Builder, node: Node) -> list[Kind]:
    """And of conditions that hold as long as the sequence lasts; the number of a step below its
    length."""
    kinds = part(node, 0), part(node, 1)
    step = next((k.step for k in kinds if isinstance(k, Part) and k.step), None)
    if node.op == "And":
        if step is not None and all(isinstance(k, Going) or is_true(k) for k in kinds):
            return [inner(Going(step))]
    elif isinstance(kinds[0], Counter) and step and kinds[0].plus <= 1 and not kinds[0].end:
        step.lengths.append(kinds[1])
        return [inner(Going(step))]
    raise node.error("may end the loop before its sequence ends")


def is_true(kind: Any) -> bool:
    return isinstance(kind, Const) and kind.array.dtype == bool and bool(kind.array.all())


def read_step(b: Builder, node: Node) -> list[Kind]:
    """Gather of a sequence by the number of the step; SequenceAt of a list of its steps."""
    x, at = part(node, 0), part(node, 1)
    if not isinstance(at, Counter) or at.step is None or at.plus:
        raise node.error("reads another step of a sequence than the one that the loop is at")
    if at.end is not None:
        if at.end.plus != -1:
            raise node.error("reads another step, from the end, than the one that the loop is at")
        at.step.lengths.append(at.end.sizes)
    if isinstance(x, Pieces):
        return [at.step.read(x.x, x.axis, at.end is not None)]
    x = node.value(0)
    if x.name not in at.step.outside:
        raise node.error(f"reads steps of '{x.name}', which the loop computes")
    axis = node.axis(node.attr("axis", 0), len(x.axes))
    made = at.step.read(x, axis, at.end is not None)
    return [made.moved((*made.axes[:axis], *((),) * at.rank, *made.axes[axis:]))]


def insert(b: Builder, node: Node) -> list[Kind]:
    """SequenceInsert at the end of the list, of a value of this step."""
    grown = part(node, 0)
    if not isinstance(grown, Grown) or grown.value is not None or node.has(2):
        raise node.error("adds to a list in a way that is not supported, once at its end is")
    return [inner(Grown(grown.step, grown.at, node.value(1)))]


def length(b: Builder, node: Node) -> list[Kind]:
    pieces = part(node, 0)
    if not isinstance(pieces, Pieces):
        raise node.error("counts a list that grows")
    return [Sizes((pieces.x.axes[pieces.axis],), scalar=True)]


def concat(b: Builder, node: Node) -> list[Kind]:
    """ConcatFromSequence of a list that a loop made: new_axis=1 stacks its values, else an axis of
    size 1 is the one that they are joined on."""
    made = part(node, 0)
    if not isinstance(made, Stacked):
        raise node.error("joins a list that no loop made of its steps")
    axis, new = node.attr("axis", 0), node.flag("new_axis")
    axis = node.axis(axis, len(made.axes) + new)
    axes = list(made.axes)
    if new:
        axes.insert(axis, made.time)
    elif axis_size(axes[axis]) == 1:
        axes[axis] = made.time
    else:
        raise node.error("joins values on an axis that is not of size 1 in each")
    return [made.value.moved(tuple(axes))]


# Operators that take a part of a loop among their inputs.
HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(("Add", "Cast", "Reshape", "Squeeze", "Sub", "Unsqueeze"), counted),
    **dict.fromkeys(("And", "Less"), goes_on),
    **dict.fromkeys(("Gather", "SequenceAt"), read_step),
    "ConcatFromSequence": concat,
    "Identity": same,
    "SequenceInsert": insert,
    "SequenceLength": length,
}


def of_length(arithmetic: Handler) -> Handler:
    """Add or Sub, of an open number of steps and a constant too where the result is no size."""

    def handler(b: Builder, node: Node) -> list[Kind]:
        try:
            return arithmetic(b, node)
        except ConversionError as e:
            for at in (0,) if node.op == "Sub" else (0, 1):
                kind, n = node.inputs[at], whole_number(node.inputs[1 - at])
                if isinstance(kind, Sizes) and n is not None and is_open(kind):
                    return [inner(Length(None, kind, n if node.op == "Add" else -n, e))]
            raise

    return handler


def misused(node: Node) -> ConversionError | None:
    """The error of a length among a node's inputs, if the node is not a loop: what it says of its
    own is about parts of loops."""
    parts = (k.part for k in node.inputs if isinstance(k, Inner))
    found = (p.error for p in parts if isinstance(p, Length) and node.op != "Loop")
    return next((e for e in found if e is not None), None)


def lists(b: Builder, node: Node) -> list[Kind]:
    node.input(0)  # says so if it is refused
    raise node.error("works on a list that is not a part of a loop's pattern")


def sequence_empty(b: Builder, node: Node) -> list[Kind]:
    """SequenceEmpty-11: a list that a loop may fill."""
    if node.attr("dtype", 1) != 1:
        raise node.error("is not a list of float32")
    return [inner(Grown(None, -1))]


def split_to_sequence(b: Builder, node: Node) -> list[Kind]:
    """SplitToSequence-11, step by step, each without the axis: keepdims=0. With a split of 1 the
    text says that keepdims is ignored; ONNX Runtime heeds it, and PyTorch's exporter counts on it.
    """
    x = node.value(0)
    axis, keep = node.axis(node.attr("axis", 0), len(x.axes)), node.flag("keepdims", 1)
    size = node.input(1) if node.has(1) else Const("1", np.array(1))
    if keep or whole_number(size) != 1 or not isinstance(size, Const) or size.array.ndim:
        raise node.error("makes a list of something else than single steps without their axis")
    return [inner(Pieces(None, x, axis))]


def below(array: np.ndarray, limit: int) -> bool:
    return array.dtype.kind in "iuf" and bool(np.all(array < limit))


def compare(b: Builder, node: Node) -> list[Kind]:
    """Less of a constant and a size: there is at least one step, or the result is empty anyway."""
    kind, size = node.input(0), node.input(1)
    if isinstance(kind, Const) and isinstance(size, Sizes) and below(kind.array, 1):
        return [Const(node.name, np.array(True))]
    raise node.error(f"compares computed values; {NEXT}")


def both(b: Builder, node: Node) -> list[Kind]:
    if all(is_true(node.input(i)) for i in (0, 1)):
        return [Const(node.name, np.array(True))]
    raise node.error(f"combines conditions that are not constant; {NEXT}")
