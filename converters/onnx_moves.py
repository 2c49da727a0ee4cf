"""ONNX's operators that join, repeat, pad or turn values round."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.graph import BATCH, TIME
from lstmc.graph.sequence import PADDING

from .onnx_axes import MEANINGS, alike, bind, not_batch, same_axis, unify
from .onnx_layers import (
    Builder,
    arranged,
    fill,
    fixed_time,
    in_order,
    product,
    steps_as_features,
    take_features,
    weight,
)
from .onnx_parts import meaning, picked
from .onnx_values import (
    FEATURES,
    NEXT,
    Axis,
    Const,
    Dim,
    Kind,
    Node,
    Sizes,
    Spread,
    Tracked,
    axis_size,
)

# ------------------------------------------------------------------------------------------ joining


def concat(b: Builder, node: Node) -> list[Kind]:
    """Concat-4 on: of sizes, or of values on an axis of features (or a new one)."""
    axis = node.attr("axis")
    parts = [node.input(i) for i in range(len(node.inputs))]
    values = [p for p in parts if isinstance(p, Tracked)]
    if not values:
        return [sizes_joined(node, parts, axis)]
    if any(not isinstance(p, Tracked | Const) for p in parts):
        raise node.error(f"joins a computed value and zeros or a shape; {NEXT}")
    if len({v.dtype for v in values}) != 1:
        raise node.error(f"joins values of types {sorted({v.dtype for v in values})}")
    rank = len(values[0].axes)
    if any(len(v.axes) != rank for v in values):
        raise node.error("joins values of different rank")
    at = node.axis(axis, rank)
    if all(fixed_time(v, at) for v in values):
        parts = [steps_as_features(b, node, p) if isinstance(p, Tracked) else p for p in parts]
        values = [p for p in parts if isinstance(p, Tracked)]
    for value in values:
        not_batch(
            node,
            list(value.axes[at]),
            "joins values on the axis of the batch; only features can be joined",
        )
        for dim in value.axes[at]:
            if dim.label == TIME and not dim.guess:
                raise node.error(
                    f"joins values on the axis of {MEANINGS[dim.label]}; only features can be "
                    "joined"
                )
            bind(node, dim, FEATURES)
    matched(b, node, values, at)
    first = in_order(b, node, values[0])
    others = [d for i, a in enumerate(first.axes) if i != at for d in a if d.label == FEATURES]
    inner = product(node, others)
    timed = bool(first.labelled(TIME))
    names, total = [], 0
    for part in parts:
        if isinstance(part, Const):
            name, size = constant_part(b, node, part, first, at, timed)
        else:
            assert isinstance(part, Tracked)
            rest = [d for i, a in enumerate(part.axes) if i != at for d in a]
            x = arranged(b, node, part, [*part.axes[at], *rest])
            name, size = x.name, product(node, list(part.axes[at]))
        names.append(name)
        total += size
    name = b.add(g.Concat, node, *names) if len(names) > 1 else names[0]
    new = Dim(total, FEATURES)
    axes = (*first.axes[:at], (new,), *first.axes[at + 1 :])
    if inner == 0:
        raise node.error("joins values without features")
    return [Tracked(name, axes, (new, *others), first.dtype)]


def matched(b: Builder, node: Node, values: list[Tracked], at: int) -> None:
    """Values to be joined on axis ``at`` agree on the others."""
    first = values[0]
    for value in values[1:]:
        for i, (one, other) in enumerate(zip(first.axes, value.axes, strict=True)):
            if i == at or same_axis(one, other):
                continue
            if alike(one, other):
                for d, e in zip(one, other, strict=True):
                    if d.label is None and e.label is None:
                        b.decide(first)
                    unify(node, d, e)
            elif axis_size(one) is None or axis_size(one) != axis_size(other):
                raise node.error(f"joins axes of {axis_size(one)} and {axis_size(other)}")
            else:
                for dim in (*one, *other):
                    bind(node, dim, FEATURES)
    b.decide(*values)


def constant_part(
    b: Builder, node: Node, part: Const, first: Tracked, at: int, timed: bool
) -> tuple[str, int]:
    """A constant that is joined to values, the same in every row and step."""
    array = weight(part)
    if array.ndim != len(first.axes) or not array.size:
        raise node.error(f"joins a constant of shape {list(array.shape)} to values of other rank")
    array = np.moveaxis(array, at, 0)
    for i, axis in enumerate([first.axes[at], *first.axes[:at], *first.axes[at + 1 :]]):
        if i and any(d.label != FEATURES for d in axis):
            if np.any(array != array.take([0], axis=i)):
                raise node.error("joins a constant that differs from row to row or step to step")
            if array.shape[i] != axis_size(axis):
                raise node.error("joins a constant to an axis of another or open size")
            array = array.take([0], axis=i)
        elif i and array.shape[i] != axis_size(axis):
            raise node.error(f"joins axes of {axis_size(axis)} and {array.shape[i]}")
    return fill(b, node, first, array, timed), len(array)


def sizes_joined(node: Node, parts: list[Kind], axis: int) -> Sizes:
    items: list[int | Axis] = []
    for kind in parts:
        if isinstance(kind, Const) and kind.array.ndim == 1 and kind.array.dtype.kind in "iu":
            items += kind.array.tolist()
        elif isinstance(kind, Sizes) and not kind.scalar:
            items += kind.items
        else:
            raise node.error(f"joins constants and zeros; {NEXT}")
    if axis not in (0, -1):
        raise node.error(f"joins sizes on axis {axis}")
    return Sizes(tuple(items))


# ------------------------------------------------------------------------------- repeating, padding


def expand(b: Builder, node: Node) -> list[Kind]:
    """Expand-8, -13, with numpy's broadcasting to both sides."""
    target = node.input(1)
    items: list[Any] = (
        list(target.items) if isinstance(target, Sizes) else list(node.ints(1, "shape") or [])
    )
    kind = node.input(0)
    if isinstance(kind, Const):
        return [spread(node, kind, items)]
    x = node.value(0)
    rank = max(len(items), len(x.axes))
    items = [1] * (rank - len(items)) + items
    x = x.moved(((),) * (rank - len(x.axes)) + x.axes)
    for i, item in enumerate(items):
        x = repeated(b, node, x, i, item)
    return [x]


def tile(b: Builder, node: Node) -> list[Kind]:
    """Tile-6, -13: of axes of size 1, or of features."""
    x = node.value(0)
    counts = node.ints(1, "repeats") or []
    if len(counts) != len(x.axes) or any(n < 1 for n in counts):
        raise node.error(f"repeats {counts} times, its input has rank {len(x.axes)}")
    for i, n in enumerate(counts):
        if n == 1:
            continue
        if axis_size(x.axes[i]) == 1:
            x = repeated(b, node, x, i, n)
        else:
            x, what = meaning(b, node, x, i)
            if what == TIME and not fixed_time(x, i):
                raise node.error(f"repeats a sequence of any length; {NEXT}")
            if what == TIME:
                x = steps_as_features(b, node, x)
            size = product(node, list(x.axes[i]))
            product(node, [Dim(size * n)])
            index = np.tile(np.arange(size), n)
            x = picked(b, node, x, i, index, ((Dim(size * n, FEATURES),),))
    return [x]


def repeated(b: Builder, node: Node, x: Tracked, at: int, item: int | Axis) -> Tracked:
    """An axis of size 1 repeated, as steps if there are none yet, else as features."""
    axis = x.axes[at]
    if item == 1 or (isinstance(item, tuple) and (same_axis(axis, item) or not item)):
        return x
    size = item if isinstance(item, int) else axis_size(item)
    if isinstance(size, int) and size < 1:
        raise node.error(f"repeats to a size of {size}")
    if axis_size(axis) != 1:
        if size == axis_size(axis) and size is not None:
            return x
        raise node.error(
            f"repeats an axis of size {axis_size(axis)} to {size}; only one of size 1 can be"
        )
    for dim in axis:
        if dim.label in (BATCH, TIME) and not dim.guess:
            raise node.error(f"repeats {MEANINGS[dim.label]}; {NEXT}")
        bind(node, dim, FEATURES)
    b.decide(x)
    if not x.labelled(TIME):
        like = None
        if isinstance(item, tuple):
            (time,) = item if len(item) == 1 else (Dim(None),)
            source = b.timed.get(time.root())
            if source is None or time.label not in (None, TIME):
                raise node.error(f"repeats to the size of an axis that is not time; {NEXT}")
            bind(node, time, TIME)
            like = source.name
        else:
            time = Dim(item, TIME)
        if like is None:
            name = b.add(g.Repeat, node, x.name, count=size)
        else:
            name = b.add(g.Repeat, node, x.name, like)
        axes = (*x.axes[:at], (time,), *x.axes[at + 1 :])
        return Tracked(name, axes, x.order)
    if size is None:
        raise node.error(f"repeats features to an open size; {NEXT}")
    index = np.zeros(product(node, [Dim(size)]), int)
    return picked(b, node, x, at, index, ((Dim(size, FEATURES),),))


def spread(node: Node, kind: Const, items: list[Any]) -> Kind:
    """A constant repeated to the size of the batch: an initial state that was trained."""
    shape = (1,) * (len(items) - kind.array.ndim) + kind.array.shape
    items = [1] * (len(shape) - len(items)) + items
    array = kind.array.reshape(shape)
    for n, item in zip(shape, items, strict=True):
        size = item if isinstance(item, int) else axis_size(item)
        if n != 1 and size not in (n, 1):
            raise node.error(f"repeats a constant of shape {list(shape)} to {items}; {NEXT}")
        if n == 1 and isinstance(item, int) and item > 1:
            raise node.error(f"repeats a constant on several axes; {NEXT}")
    return Spread(kind.name, array)


def pad(b: Builder, node: Node) -> list[Kind]:
    """Pad-2 (attributes), -11 on (inputs): time or features, with a constant, or reflected, or the
    edges repeated."""
    mode = node.attr("mode", "constant")
    if mode not in PADDING:
        raise node.error(f"attribute mode={mode}; {NEXT}, {', '.join(PADDING)} are")
    x = node.value(0)
    rank = len(x.axes)
    pads = node.ints(1, "pads") or []
    axes = node.ints(3, "axes", list(range(rank))) or []
    value = node.attr("value", 0.0)
    if node.has(2):
        value = node.scalar(2, "value")
    if len(pads) != 2 * len(axes) or not np.isfinite(np.float32(value)):
        raise node.error(f"pads {pads} with {value:g} on {len(axes)} axes")
    for i, axis in enumerate(axes):
        before, after = pads[i], pads[i + len(axes)]
        if before < 0 or after < 0:
            raise node.error(f"pads {before} and {after}, which takes away; {NEXT}, Slice is")
        if before or after:
            x = padded(b, node, x, node.axis(axis, rank), before, after, value, mode)
    return [x]


def padded(
    b: Builder,
    node: Node,
    x: Tracked,
    axis: int,
    before: int,
    after: int,
    value: float,
    mode: str = "constant",
) -> Tracked:
    x, what = meaning(b, node, x, axis)
    size = axis_size(x.axes[axis])
    if mode == "reflect" and size is not None and max(before, after) >= size:
        raise node.error(f"reflects {size} places to {before} before and {after} behind them")
    if mode != "constant" and what == FEATURES:
        n = product(node, list(x.axes[axis]))
        new = Dim(product(node, [Dim(before + n + after)]), FEATURES)
        index = np.pad(np.arange(n), (before, after), mode=mode)  # type: ignore[call-overload]
        return picked(b, node, x, axis, index, ((new,),))
    if what == TIME:
        (time,) = x.axes[axis]
        padding = {"value": value} if mode == "constant" else {"mode": mode}
        name = b.add(g.PadTime, node, x.name, before=before, after=after, **padding)
        new = Dim(None if time.size is None else time.size + before + after, TIME)
        axes = (*x.axes[:axis], (new,), *x.axes[axis + 1 :])
        return Tracked(name, axes, tuple(new if d is time else d for d in x.order))
    rest = [d for i, a in enumerate(x.axes) if i != axis for d in a if d.label == FEATURES]
    n, inner = product(node, list(x.axes[axis])), product(node, rest)
    x = arranged(b, node, x, [*x.axes[axis], *rest])
    timed = bool(x.labelled(TIME))

    product(node, [Dim((before + n + after) * inner)])

    def constant(count: int) -> list[str]:
        return [fill(b, node, x, np.full(count * inner, value), timed)] if count else []

    name = b.add(g.Concat, node, *constant(before), x.name, *constant(after))
    new = Dim(before + n + after, FEATURES)
    axes = (*x.axes[:axis], (new,), *x.axes[axis + 1 :])
    return Tracked(name, axes, (new, *rest))


def reverse_sequence(b: Builder, node: Node) -> list[Kind]:
    """ReverseSequence-10 of whole sequences."""
    x = node.value(0)
    lengths = node.const(1, "sequence_lens").array
    time, batch = node.attr("time_axis", 0), node.attr("batch_axis", 1)
    if {time, batch} != {0, 1} or len(x.axes) < 2:
        raise node.error(f"has time_axis={time} and batch_axis={batch}")
    for axis, label in ((batch, BATCH), (time, TIME)):
        if len(x.axes[axis]) != 1:
            raise node.error(f"the axis it reads as {MEANINGS[label]} is no axis of the inputs")
        bind(node, x.axes[axis][0], label)
    size = x.axes[time][0].size
    if size is None or np.any(lengths != size):
        raise node.error("reverses a part of the steps; only whole sequences can be turned round")
    return [Tracked(b.add(g.Reverse, node, x.name), x.axes, x.order)]


def scatter_nd(b: Builder, node: Node) -> list[Kind]:
    """ScatterND-11 to -18 with constant indices, of values that are all features."""
    if node.attr("reduction", "none") != "none":
        raise node.error(f"attribute reduction={node.attr('reduction')}; {NEXT}")
    index = node.const(1, "indices").array
    x, more = node.value(0), node.value(2)
    rank, depth = len(x.axes), index.shape[-1] if index.ndim else 0
    if index.dtype.kind not in "iu" or not 1 <= depth <= rank:
        raise node.error(f"its indices are {index.dtype} of shape {list(index.shape)}")
    x = take_features(b, node, x, list(range(rank)))
    more = take_features(b, node, more, list(range(len(more.axes))))
    shape = [product(node, list(a)) for a in x.axes]
    size, updates = math.prod(shape), product(node, more.dims)
    places = np.arange(size).reshape(shape)
    try:
        target = places[tuple(np.moveaxis(index, -1, 0))]
    except IndexError as e:
        raise node.error(f"its indices are out of range for {shape}") from e
    if [product(node, list(a)) for a in more.axes] != list(target.shape):
        raise node.error(f"writes {len(more.axes)} axes to places of shape {list(target.shape)}")
    if len(np.unique(target)) != target.size:
        raise node.error("writes to a place twice")
    places.reshape(-1)[target.reshape(-1)] = size + np.arange(updates)
    both = b.add(g.Concat, node, x.name, more.name)
    name = b.select(node, both, places, size + updates)
    return [Tracked(name, x.axes, tuple(x.dims))]
