"""ONNX's operators that take parts of values: features, steps, rows of a table."""

from __future__ import annotations

import numpy as np

from lstmc import graph as g
from lstmc.graph import TIME

from .onnx_axes import bare, bind, not_batch
from .onnx_layers import (
    Builder,
    fixed_time,
    in_order,
    last_step,
    product,
    steps_as_features,
    unmixed,
    weight,
)
from .onnx_values import (
    FEATURES,
    NEXT,
    Axis,
    Const,
    Dim,
    Kind,
    Node,
    Sizes,
    Tracked,
    axis_size,
)

END = 2**31 - 1  # what exporters write for "to the end", or more


def meaning(
    b: Builder, node: Node, x: Tracked, axis: int, last: bool = False
) -> tuple[Tracked, str]:
    """x with an axis that is all "features" or "time", and which; one of size 1 without a dim is
    the former. ``last``: its last place alone is wanted, which is most often a time step."""
    dims = x.axes[axis]
    if last and b.preference == (None, None) and not x.labelled(TIME):
        others = [d for d in x.dims if d not in dims and d.size is None and d.label is None]
        if len(dims) == 1 and dims[0].label is None and len(others) < 2:
            b.guessed = True
            bind(node, dims[0], TIME, guess=True)
    x = unmixed(b, node, x)
    dims = bare(x.axes[axis])
    labels = {d.label for d in dims}
    if labels <= {FEATURES}:
        return x, FEATURES
    if labels == {TIME} and len(dims) == 1:
        return x.moved((*x.axes[:axis], dims, *x.axes[axis + 1 :])), TIME
    not_batch(node, list(dims), "takes a part of the batch, which lstmc keeps whole")
    raise node.error(f"takes a part of an axis made of {' and '.join(map(str, labels))}; {NEXT}")


def picked(
    b: Builder, node: Node, x: Tracked, axis: int, index: np.ndarray, keep: tuple[Axis, ...]
) -> Tracked:
    """Places of an axis of features; ``keep`` are the axes that stand in its place."""
    x = in_order(b, node, x)
    dims = x.axes[axis]
    before = [d for i in range(axis) for d in x.axes[i] if d.label == FEATURES]
    after = [d for i in range(axis + 1, len(x.axes)) for d in x.axes[i] if d.label == FEATURES]
    outer, n, inner = (product(node, list(p)) for p in (before, dims, after))
    places = np.arange(outer * n * inner).reshape(outer, n, inner)[:, index.reshape(-1)]
    name = b.select(node, x.name, places, outer * n * inner)
    new = [d for a in keep for d in a]
    return Tracked(
        name, (*x.axes[:axis], *keep, *x.axes[axis + 1 :]), (*before, *new, *after), x.dtype
    )


def step(b: Builder, node: Node, x: Tracked, axis: int, n: int, keep: tuple[Axis, ...]) -> Tracked:
    """One step of a sequence: the n-th, or from the end where n is negative."""
    (time,) = x.axes[axis]
    axes = (*x.axes[:axis], *keep, *x.axes[axis + 1 :])
    if time.size is not None:
        n = node.axis(n, time.size) - time.size
    name = x.name
    if n > 0:
        name = b.add(g.SliceTime, node, name, start=n, drop=0)
    if n >= 0:  # the first step is the last of the sequence turned round
        name = b.add(g.Reverse, node, name)
    elif n < -1:
        name = b.add(g.SliceTime, node, name, start=0, drop=-1 - n)
    return last_step(b, node, Tracked(name, x.axes, x.order, x.dtype), time, axes)


def steps(
    b: Builder, node: Node, x: Tracked, axis: int, start: int, stop: int, stride: int
) -> Tracked:
    """x[start:stop:stride] of a sequence."""
    (time,) = x.axes[axis]
    size = time.size
    if stride < 0:
        whole = stride == -1 and start in (-1, END) and stop <= -END
        if size is not None:
            whole = range(size)[clamped(start, stop, stride, size)] == range(size)[::-1]
        if not whole:
            raise node.error(f"takes [{start}:{stop}:{stride}] of time; {NEXT}")
        return Tracked(b.add(g.Reverse, node, x.name), x.axes, x.order, x.dtype)
    if size is None:
        if start == -1 and stop >= END:
            return step(b, node, x, axis, -1, ((),))
        if start < 0 or 0 <= stop < END:
            raise node.error(
                f"takes [{start}:{'' if stop >= END else stop}] of a sequence of any length; steps "
                "can be counted from the other end only where the time axis has a fixed size"
            )
        drop = 0 if stop >= END else -stop
        made = None
    else:
        places = range(size)[start:stop]
        start, drop, made = places.start, size - places.stop, len(places[::stride])
        if not made:
            raise node.error(f"takes [{start}:{stop}] of {size} steps, which is nothing")
        if made == 1:
            return step(b, node, x, axis, places[0], ((),))
        if made == size:
            return x
    if start == drop == 0 and stride == 1:
        return x
    name = b.add(g.SliceTime, node, x.name, start=start, drop=drop, step=stride)
    new = Dim(made, TIME)
    axes = (*x.axes[:axis], (new,), *x.axes[axis + 1 :])
    return Tracked(name, axes, tuple(new if d is time else d for d in x.order), x.dtype)


def slice_(b: Builder, node: Node) -> list[Kind]:
    """Slice-1 (attributes), -10, -11, -13 (inputs)."""
    kind = node.input(0)
    starts, ends = node.ints(1, "starts") or [], node.ints(2, "ends") or []
    axes = node.ints(3, "axes", list(range(len(starts)))) or []
    strides = node.ints(4, "steps", [1] * len(starts)) or []
    if not len(starts) == len(ends) == len(axes) == len(strides) or 0 in strides:
        raise node.error("its starts, ends, axes and steps differ in length, or a step is 0")
    if isinstance(kind, Sizes):
        if kind.scalar or len(starts) != 1:
            raise node.error("slices a shape in more than one dimension")
        return [Sizes(kind.items[starts[0] : ends[0] : strides[0]])]
    x = node.value(0, any_type=True)
    axes = [node.axis(a, len(x.axes)) for a in axes]
    if len(set(axes)) != len(axes):
        raise node.error(f"axes {axes} repeat")
    for axis, start, stop, stride in zip(axes, starts, ends, strides, strict=True):
        if (start == 0 and stop >= END and stride == 1) or not x.axes[axis]:
            if not x.axes[axis] and len(range(1)[start:stop:stride]) != 1:
                raise node.error("takes nothing of an axis of size 1")
            continue
        size = axis_size(x.axes[axis])
        if size is not None and stride == 1 and range(size)[start:stop] == range(size):
            continue
        last = start == -1 and stop >= END
        if size is not None and stride == 1:
            last = range(size)[start:stop] == range(size - 1, size)
        x, what = meaning(b, node, x, axis, last)
        if what == TIME:
            x = steps(b, node, x, axis, start, stop, stride)
            continue
        n = product(node, list(x.axes[axis]))
        index = np.arange(n)[clamped(start, stop, stride, n)]
        if not index.size:
            raise node.error(f"takes [{start}:{stop}:{stride}] of {n} features, which is nothing")
        x = picked(b, node, x, axis, index, ((Dim(index.size, FEATURES),),))
    return [x]


def clamped(start: int, stop: int, stride: int, size: int) -> slice:
    """ONNX's slice as Python's: a stop below -size means "to the beginning" backwards."""
    return slice(start, None if stride < 0 and stop < -size else stop, stride)


def gather(b: Builder, node: Node) -> list[Kind]:
    """Gather-1, -11, -13: rows of a table; sizes of a shape; features; a step."""
    kind = node.input(0)
    axis = node.attr("axis", 0)
    if isinstance(kind, Const):
        return [embedding(b, node, kind, axis)]
    index = node.const(1, "indices").array
    if index.dtype.kind not in "iu":
        raise node.error(f"its indices are {index.dtype}, expected integers")
    if isinstance(kind, Sizes):
        if kind.scalar or index.ndim > 1:
            raise node.error("gathers sizes into a matrix")
        taken = [kind.items[node.axis(i, len(kind.items))] for i in index.reshape(-1).tolist()]
        return [Sizes(tuple(taken), scalar=index.ndim == 0)]
    x = node.value(0, any_type=True)
    axis = node.axis(axis, len(x.axes))
    if not index.size:
        raise node.error("picks nothing")
    places = index.reshape(-1).tolist()
    size = axis_size(x.axes[axis])
    last = places == [-1] or (size is not None and places == [size - 1])
    if not x.axes[axis] or (size == 1 and all(d.label is None for d in x.axes[axis])):
        last = False  # an axis of size 1, which may be anything
    x, what = meaning(b, node, x, axis, last)
    if what == TIME and len(places) > 1:
        if not fixed_time(x, axis):
            raise node.error(f"picks {len(places)} steps of a sequence; {NEXT}, Slice is")
        x, what = steps_as_features(b, node, x), FEATURES
    if what == TIME:
        return [step(b, node, x, axis, places[0], ((),) * index.ndim)]
    n = product(node, list(x.axes[axis]))
    positive = np.array([node.axis(i, n) for i in places])
    keep = tuple((Dim(m, FEATURES),) if m > 1 else () for m in index.shape)
    return [picked(b, node, x, axis, positive, keep)]


def embedding(b: Builder, node: Node, table: Const, axis: int) -> Tracked:
    """Rows of a constant table [N, ...], by indices that are computed; rows of 8-bit integers are
    what quantised operators read."""
    whole = table.array.dtype.name in ("int8", "uint8")
    array = table.array.astype(np.float32) if whole else weight(table)
    x = node.value(1, any_type=True)
    if x.dtype not in ("int32", "int64"):
        raise node.error(f"its indices are {x.dtype}, expected integers")
    if node.axis(axis, max(array.ndim, 1)) != 0 or array.ndim < 1 or not array.size:
        raise node.error(
            f"picks on axis {axis} of a constant of shape {list(array.shape)}; only its rows can "
            "be picked"
        )
    x = in_order(b, node, x)
    rows = array.reshape(len(array), -1)
    name = b.add(g.Embedding, node, x.name, weight=rows.T)
    dims = tuple(Dim(n, FEATURES) for n in array.shape[1:])
    order = (*x.labelled(FEATURES), *dims)
    dtype = table.array.dtype.name if whole else "float32"
    return Tracked(name, (*x.axes, *((d,) for d in dims)), order, dtype)


def split(b: Builder, node: Node) -> list[Kind]:
    """Split-2, -11 (attribute split), -13 on (input split), -18 (num_outputs)."""
    x = node.value(0, any_type=True)
    axis = node.axis(node.attr("axis", 0), len(x.axes))
    count = node.attr("num_outputs", len(node.outputs))
    sizes = node.ints(1, "split")
    x, what = meaning(b, node, x, axis)
    total = axis_size(x.axes[axis])
    if total is None:
        raise node.error("splits an axis that the model leaves open")
    if sizes is None:
        each = -(-total // max(count, 1))
        sizes = [min(each, total - i * each) for i in range(count)]
    if sum(sizes) != total or min(sizes, default=0) < 1 or len(sizes) != len(node.outputs):
        raise node.error(f"splits {total} into {sizes} for {len(node.outputs)} outputs")
    made: list[Kind] = []
    start = 0
    for n in sizes:
        if what == TIME:
            made.append(steps(b, node, x, axis, start, start + n, 1))
        else:
            keep = ((Dim(n, FEATURES),),)
            made.append(picked(b, node, x, axis, np.arange(start, start + n), keep))
        start += n
    return made
