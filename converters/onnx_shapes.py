"""ONNX's operators that rename axes and move no data, and those that compute with shapes."""

from __future__ import annotations

from lstmc import graph as g
from lstmc.errors import ConversionError
from lstmc.graph import BATCH, TIME

from .onnx_axes import LabelConflict, bind, regroup, same_axis
from .onnx_layers import (
    Builder,
    fixed_time,
    in_order,
    last_step,
    product,
    steps_as_features,
    unmixed,
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
    Zeros,
    axis_size,
    is_zeros,
)


def identity(b: Builder, node: Node) -> list[Kind]:
    return [node.input(0)]


def dropout(b: Builder, node: Node) -> list[Kind]:
    """Dropout-7 to -22: the identity at inference. From 12 on input 2 may ask for training."""
    node.only_outputs(1)
    node.attr("ratio")
    node.attr("seed")
    if node.has(2) and node.const(2, "training_mode").array.any():
        raise node.error("training_mode is true; export the model for inference (model.eval())")
    return [node.input(0)]


def transpose(b: Builder, node: Node) -> list[Kind]:
    x = node.value(0, any_type=True)
    perm = node.attr("perm", list(range(len(x.axes)))[::-1])
    if sorted(perm) != list(range(len(x.axes))):
        raise node.error(f"attribute perm={perm} doesn't fit a tensor of rank {len(x.axes)}")
    return [x.moved(tuple(x.axes[i] for i in perm))]


def squeeze(b: Builder, node: Node) -> list[Kind]:
    """Squeeze-1, -11 (attribute axes), -13 on (input axes).

    A time axis of size 1 that is dropped means its last step.
    """
    axes = node.ints(1, "axes")
    kind = node.input(0)
    if isinstance(kind, Sizes):
        if len(kind.items) != 1:
            raise node.error(f"squeezes {len(kind.items)} sizes to none")
        return [Sizes(kind.items, scalar=True)]
    x = node.value(0, any_type=True)
    batch = {i for i, a in enumerate(x.axes) if a and all(d.label == BATCH for d in a)}
    sizes = [1 if i in batch and b.one_row() else axis_size(a) for i, a in enumerate(x.axes)]
    if axes is None:
        if None in sizes:
            raise node.error(
                "has no axes given, and an axis of the value is of open size: what it drops "
                "depends on the data. Name the axes in the model"
            )
        axes = [i for i, n in enumerate(sizes) if n == 1]
    axes = [node.axis(a, len(x.axes)) for a in axes]
    dropped = [d for i in axes for d in x.axes[i]]
    for i in axes:
        if sizes[i] != 1:
            raise node.error(f"drops axis {i}, which is not known to be of size 1")
    kept = tuple(a for i, a in enumerate(x.axes) if i not in axes)
    time = [d for d in dropped if d.label == TIME]
    for dim in dropped:
        if dim not in time and (dim.label != BATCH or dim.guess):
            bind(node, dim, FEATURES)
    return [last_step(b, node, x, time[0], kept) if time else x.moved(kept)]


def unsqueeze(b: Builder, node: Node) -> list[Kind]:
    """Unsqueeze-1, -11 (attribute axes), -13 on (input axes)."""
    new = node.ints(1, "axes") or []
    kind = node.input(0)
    if isinstance(kind, Sizes):
        if not kind.scalar or new not in ([0], [-1]):
            raise node.error(f"makes a matrix of sizes; {NEXT}")
        return [Sizes(kind.items)]
    x = node.value(0, any_type=True)
    rank = len(x.axes) + len(new)
    new = [node.axis(a, rank) for a in new]
    if len(set(new)) != len(new):
        raise node.error(f"axes {new} repeat")
    old = iter(x.axes)
    return [x.moved(tuple(() if i in new else next(old) for i in range(rank)))]


def reshape(b: Builder, node: Node) -> list[Kind]:
    """Reshape-5 to -25: 0 copies an axis unless allowzero."""
    if node.flag("allowzero"):
        raise node.error("attribute allowzero=1 is not supported")
    shape = node.input(1)
    if isinstance(node.input(0), Sizes):
        raise node.error(f"reshapes the result of Shape; {NEXT}")
    x = node.value(0, any_type=True)
    items: list[int | Axis]
    if isinstance(shape, Sizes):
        items = list(shape.items)
    else:
        items = list(node.ints(1, "shape") or [])
    if any(isinstance(n, int) and n < -1 for n in items):
        raise node.error(f"its shape {items} holds a negative size")
    for i, item in enumerate(items):
        if item == 0:
            items[i] = x.axes[node.axis(i, len(x.axes))]
    try:
        return [settle(b, node, regroup(node, x, items))]
    except LabelConflict:
        raise
    except ConversionError:
        if (made := restepped(b, node, x, items)) is not None:
            return [made]
        if len(x.labelled(FEATURES)) + len(x.labelled(TIME)) < 2:
            raise
    x = merged(b, node, x)
    steps = [i for i in range(len(x.axes)) if fixed_time(x, i)]
    try:
        return [settle(b, node, regroup(node, x, items))]
    except ConversionError:
        if not steps:
            raise
    return [regroup(node, merged(b, node, steps_as_features(b, node, x)), items)]


def restepped(b: Builder, node: Node, x: Tracked, items: list[int | Axis]) -> Tracked | None:
    """[batch, time, features] as [batch, n, others], n being the open size of another time: steps
    are cut or joined, and a call is refused in which the numbers of a row aren't those of n steps.

    None if this is something else.
    """
    x = in_order(b, node, x)
    dims = [d for d in x.dims if d.label != FEATURES or not d.is_one()]
    if [d.label for d in dims[:2]] != [BATCH, TIME] or any(d.label == TIME for d in dims[2:]):
        return None
    batch, own = dims[:2]
    at = [
        i
        for i, item in enumerate(items)
        if isinstance(item, tuple)
        and [d.size for d in item] == [None]
        and item[0].label in (None, TIME)
        and item[0].root() is not own.root()
    ]
    if len(at) != 1:
        return None
    (time,) = items[at[0]]  # type: ignore[misc]
    before, after = items[: at[0]], items[at[0] + 1 :]
    sizes = [n if isinstance(n, int) else axis_size(n) for n in after]
    rows = [n for n in before if n not in (1, ())]
    whole = len(rows) == 1 and (
        rows[0] in (-1, batch.size) or (isinstance(rows[0], tuple) and same_axis(rows[0], (batch,)))
    )
    like = b.timed.get(time.root())
    if not whole or like is None or own.size is not None or any(n is None or n < 1 for n in sizes):
        return None
    bind(node, time, TIME)
    made = [Dim(n, FEATURES) for n in sizes]
    name = b.add(g.Restep, node, x.name, like.name, features=product(node, made))
    axes = [() if n in (1, ()) else (batch,) for n in before]
    return Tracked(name, (*axes, (time,), *((d,) for d in made)), tuple(made), x.dtype)


def merged(b: Builder, node: Node, x: Tracked) -> Tracked:
    """x with neighbouring axes of features as one, so that they can be cut in other places."""
    x = in_order(b, node, unmixed(b, node, x))
    runs: list[Axis] = []
    for dim in [d for d in x.dims if d.label != FEATURES or not d.is_one()]:
        if dim.label == FEATURES and runs and runs[-1][-1].label == FEATURES:
            runs[-1] = (*runs[-1], dim)
        else:
            runs.append((dim,))
    axes = [r if len(r) == 1 else (Dim(product(node, list(r)), FEATURES),) for r in runs]
    order = tuple(d for axis in axes for d in axis if d.label == FEATURES)
    return Tracked(x.name, tuple(axes), order, x.dtype)


def settle(b: Builder, node: Node, x: Tracked, final: bool = False) -> Tracked:
    """A reshape may merge a time axis of size 1 into the features: that is its last step.

    Merged with the batch only, it may well be split off again.
    """
    for i, axis in enumerate(x.axes):
        time = [d for d in axis if d.label == TIME and d.is_one()]
        if time and (final or any(d.label == FEATURES for d in axis)) and len(axis) > 1:
            rest = tuple(d for d in axis if d is not time[0])
            return last_step(b, node, x, time[0], (*x.axes[:i], rest, *x.axes[i + 1 :]))
    return x


def flatten(b: Builder, node: Node) -> list[Kind]:
    """Flatten-1 to -25: to a matrix, split before ``axis``."""
    x = node.value(0, any_type=True)
    axis = node.attr("axis", 1)
    axis = axis if axis == len(x.axes) else node.axis(axis, len(x.axes))
    parts = x.axes[:axis], x.axes[axis:]
    return [settle(b, node, x.moved(tuple(tuple(d for a in p for d in a) for p in parts)))]


def constant_of_shape(b: Builder, node: Node) -> list[Kind]:
    """ConstantOfShape-9 on: zero (the default) of any shape."""
    value = node.attr("value")
    if value is None or is_zeros(Const("", value)):
        return [Zeros(last_size(node, 0))]
    raise node.error(
        "its shape depends on the inputs or is huge, and its value is not 0.0; only zero is known"
    )


# Whatever the shape, these make zeros of zeros: an initial state of any batch size.
KEEP_ZEROS = {
    *("Cast", "Concat", "Expand", "Gather", "Identity", "Reshape"),
    *("Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
}


def zeros(node: Node) -> list[Kind] | None:
    """The outputs of a node that only moves zeros, None if it isn't one.

    Attributes and further inputs say where the zeros go, so they need not be understood.
    """
    sources = node.inputs if node.op == "Concat" else node.inputs[:1]
    if node.op not in KEEP_ZEROS or not sources or not all(is_zeros(k) for k in sources):
        return None
    node.seen.update(node.attrs)
    width = last_size(node, 1) if node.op == "Expand" else None
    return [Zeros(width) for _ in node.outputs]


def last_size(node: Node, index: int) -> int | None:
    """The last of the sizes at an input, if it is fixed."""
    kind = node.inputs[index] if node.has(index) else None
    if isinstance(kind, Const) and kind.array.dtype.kind == "i" and kind.array.size:
        return int(kind.array.reshape(-1)[-1])
    last = kind.items[-1] if isinstance(kind, Sizes) and kind.items else None
    return last if isinstance(last, int) else None
