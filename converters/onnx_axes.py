"""What the axes of ONNX tensors mean: batch, time or features.

A dim of an input begins without a meaning. An operator that can read it in one way only (an LSTM
its time) gives it that, for every value that shares the dim. Where several would do, the usual
meaning is guessed; if an operator later needs another, conversion starts again knowing better
(:class:`LabelConflict`). A guess never changes what a model computes, only what its axes are
called.
"""

from __future__ import annotations

from collections import deque

from lstmc.errors import ConversionError
from lstmc.graph import BATCH, TIME

from .onnx_values import FEATURES, NEXT, Axis, Dim, Node, Tracked, axis_size

MEANINGS = {BATCH: "the batch", TIME: "time", FEATURES: "the features"}

# How the axes of an input that nothing decides are guessed: which is the batch, and which is time;
# None: by what the model says of its sizes, the batch first and time where the size is open. The
# next one is tried where a model can't be converted with the one before.
Preference = tuple[int | None, int | None]
PREFERENCES: tuple[Preference, ...] = (
    (None, None), (0, 1), (1, 0), (0, 2), (0, 3), (1, 2), (2, 0), (2, 1), (1, None), (2, None),
    (-1, -1),
)  # fmt: skip
NEITHER: Preference = (-1, -1)  # all axes of a fixed size are features: one row, one step a call

# Names that models give to sizes.
CALLED = {
    BATCH: {"batch", "batch_size", "batchsize", "n", "b"},
    TIME: {"time", "t", "seq", "sequence", "seq_len", "seq_length", "sequence_length", "timesteps"},
}


class LabelConflict(ConversionError):
    """A dim of an input was guessed to be one thing and is needed as another."""

    def __init__(self, message: str, source: tuple[str, int], label: str) -> None:
        super().__init__(message)
        self.source, self.label = source, label


def bind(node: Node, dim: Dim, label: str, guess: bool = False) -> None:
    """Give a dim its meaning, or refuse if it already has another."""
    if dim.label not in (None, label) or (dim.outer and label == FEATURES):
        before = MEANINGS.get(dim.label or "", "batch or time")
        error = node.error(
            f"reads an axis as {MEANINGS[label]} that is {before} elsewhere in the model, which "
            "lstmc can't represent"
        )
        if dim.source is not None and dim.label is None and dim.size is not None:
            # It is not among the features of each step: all steps may be features together.
            raise LabelConflict(str(error), dim.source, TIME)
        if dim.guess and dim.source is not None:
            raise LabelConflict(str(error), dim.source, label)
        raise error
    dim.guess = guess if dim.label is None else dim.guess and guess
    dim.label = label


def not_batch(node: Node, dims: list[Dim], text: str) -> None:
    """Refuse the batch among dims of which a part or all is taken; one that was guessed is time."""
    for dim in dims:
        if dim.label == BATCH:
            if dim.guess and dim.source is not None:
                raise LabelConflict(str(node.error(text)), dim.source, TIME)
            raise node.error(text)


def bare(axis: Axis) -> Axis:
    """An axis without features of size 1 beside others: what it is called goes by the others."""
    others = tuple(d for d in axis if not (d.is_one() and d.label == FEATURES))
    return others or axis[:1]


def as_batch(node: Node, axis: Axis, guess: bool = False) -> None:
    """Make a whole axis the batch; one of size 1 that no input has is the only row there is.

    ``guess``: it may be time as well, if something later says so.
    """
    axis = bare(axis)
    if all(d.is_one() and d.label == FEATURES for d in axis):
        return
    if len(axis) != 1:
        raise node.error(f"the axis it reads as the batch is made of several; {NEXT}")
    bind(node, axis[0], BATCH, guess)


def guess_input(dims: tuple[Dim, ...], preference: Preference) -> None:
    """Give the dims of an input that nothing has decided their usual meaning."""

    def give(dim: Dim, label: str) -> None:
        dim.label, dim.guess = label, True

    def free() -> list[Dim]:
        return [d for d in dims if d.label is None]

    def lacks(label: str) -> bool:
        return all(d.label != label for d in dims)

    if preference == NEITHER:
        for dim in free():
            if dim.size is not None:
                dim.label = FEATURES
    for label, axis in zip((BATCH, TIME), preference, strict=True):
        called = [d for d in free() if d.called.lower() in CALLED[label]]
        if axis is not None:
            called = [d for d in dims[axis : axis + 1] if d.label is None]
        if called and lacks(label):
            give(called[0], label)
    if lacks(BATCH) and free():
        outer = [d for d in free() if d.outer or d.size is None]
        # The first axis, unless the model fixes it to more than the one row of a sample.
        first = dims[0].size in (None, 1) or dims[0].outer or not any(d.size is None for d in outer)
        at = dims[:1] if first and dims[0].label is None else outer or tuple(free())
        for dim in at[:1]:
            give(dim, BATCH)
    if lacks(TIME):
        for dim in [d for d in free() if d.outer or d.size is None][:1]:
            give(dim, TIME)
    for dim in free():
        if not dim.outer and dim.size is not None:
            give(dim, FEATURES)


def unify(node: Node, a: Dim, b: Dim) -> None:
    """Say that two dims are of the same meaning and size; one of them has a meaning."""
    if a.root() is b.root():
        return
    if a.label is None or (b.label is not None and a.guess and not b.guess):
        a, b = b, a
    if a.label is None:
        raise node.error("joins axes of open size that are neither batch, time nor features")
    bind(node, b, a.label, guess=a.guess)
    if a.size is not None and b.size is not None and a.size != b.size:
        raise node.error(f"joins axes of {a.size} and {b.size}, which don't fit")
    if a.label == FEATURES:
        a.size = b.size = a.size or b.size
    b.root().twin = a.root()


def alike(a: Axis, b: Axis) -> bool:
    """Two axes are made of as many dims, which may be the same one by one: not so where both are
    features that are cut in other places."""
    sizes = [(x.size, y.size) for x, y in zip(a, b, strict=False)]
    cut = any(m is not None and n is not None and m != n for m, n in sizes)
    return len(a) == len(b) and not (
        len(a) > 1 and cut and all(d.label == FEATURES for d in (*a, *b))
    )


def same_axis(a: Axis, b: Axis) -> bool:
    """Two axes have the same size, whatever it is: there is but one batch."""
    return len(a) == len(b) and all(
        x.root() is y.root() or (x.label == y.label == BATCH) for x, y in zip(a, b, strict=True)
    )


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
            if n <= len(dims):
                found = tuple(dims)[:n] if from_left else tuple(dims)[len(dims) - n :]
                if same_axis(found, item):
                    for _ in item:
                        pop()
                    return found
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
    return Tracked(value.name, tuple(left + right[::-1]), tuple(order), value.dtype)
