"""The algebra of axes: what reshaping, indexing, joining and repeating a tensor means.

Numbers among the axes are features, in C order; so most of what moves them about is a choice of
features (:meth:`Context.select`), worked out by doing the same to an array of their indices. What
touches time is a layer of its own, and what crosses batch is refused. Axes of unknown size
(:class:`Free`, :class:`Flat`) can be moved past those of size 1 only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.graph import BATCH, TIME

from . import weights as w
from .torch_values import (
    Const,
    Context,
    Flat,
    Free,
    LayoutError,
    Packed,
    Size,
    Sym,
    is_tensor,
    show,
)


def axis(ctx: Context, x: Sym, dim: Any, extra: int = 0) -> int:
    """A dimension as a number from 0."""
    rank = len(x.axes) + extra
    if type(dim) is not int or not -rank <= dim < rank:
        ctx.refuse(f"dim={dim} doesn't fit {show(x)}")
    return dim % rank


def flat(sizes: tuple[Any, ...]) -> tuple[Any, ...]:
    """(2, 3) of f(2, 3), f((2, 3)) and f([2, 3])."""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


def numbers(ctx: Context, x: Sym) -> tuple[int, ...]:
    """The axes that are features, all of known size."""
    if any(isinstance(a, (Free, Flat)) for a in x.axes):
        raise LayoutError(
            f"{ctx.where}: needs the number of features of {show(x)}; pass example=, an array that "
            "the module takes"
        )
    return tuple(a for a in x.axes if isinstance(a, int))


def indices(ctx: Context, x: Sym) -> np.ndarray:
    """The index of every feature, with an axis for each one that is features."""
    sizes = numbers(ctx, x)
    return np.arange(math.prod(sizes)).reshape(sizes)


def place(x: Sym, at: int) -> int:
    """Which of the feature axes axis ``at`` is."""
    return sum(isinstance(a, int) for a in x.axes[:at])


# ------------------------------------------------------------------------------------ the order


def reorder(ctx: Context, x: Sym, order: Sequence[int]) -> Sym:
    axes = tuple(x.axes[d] for d in order)
    moved = [d for d in order if isinstance(x.axes[d], (int, Free, Flat)) and x.axes[d] != 1]
    if moved == sorted(moved):
        return dataclasses.replace(x, axes=axes)
    index = indices(ctx, x).transpose([place(x, d) for d in order if isinstance(x.axes[d], int)])
    return ctx.select(x, index, axes)


def transpose(ctx: Context, input: Any, dim0: int, dim1: int) -> Any:
    x = ctx.any(input)
    a, b = axis(ctx, x, dim0), axis(ctx, x, dim1)
    order = list(range(len(x.axes)))
    order[a], order[b] = b, a
    return reorder(ctx, x, order)


def permute(ctx: Context, input: Any, *dims: Any) -> Any:
    x = ctx.any(input)
    order = [axis(ctx, x, d) for d in flat(dims)]
    if sorted(order) != list(range(len(x.axes))):
        ctx.refuse(f"{dims} is not an order of {show(x)}")
    return reorder(ctx, x, order)


def squeeze(ctx: Context, input: Any, dim: Any = None) -> Sym:
    x = ctx.any(input)
    if dim is None:
        ctx.refuse("squeeze() also drops a batch of one; name the axis, as in squeeze(-1)")
    drop = {axis(ctx, x, d) for d in flat((dim,))}
    if any(not isinstance(x.axes[d], int) for d in drop):
        ctx.refuse(f"squeeze({dim}) of {show(x)} depends on a size that is not fixed")
    kept = tuple(a for i, a in enumerate(x.axes) if i not in drop or a != 1)
    return dataclasses.replace(x, axes=kept)


def unsqueeze(ctx: Context, input: Any, dim: int) -> Any:
    if isinstance(input, Const):
        input = ctx.any(input)
    x = ctx.any(input)
    at = axis(ctx, x, dim, 1)
    return dataclasses.replace(x, axes=(*x.axes[:at], 1, *x.axes[at:]))


# ------------------------------------------------------------------------------------- indexing


def step(ctx: Context, x: Sym, k: int, axes: tuple[Any, ...]) -> Sym:
    """Time step k, from the end if k < 0."""
    ctx.across(x)
    if k < -1:
        x = ctx.add(g.SliceTime, x, x.axes, kind=x.kind, start=0, drop=-1 - k, step=1)
    elif k >= 0:
        if k:
            x = ctx.add(g.SliceTime, x, x.axes, kind=x.kind, start=k, drop=0, step=1)
        x = ctx.add(g.Reverse, x, x.axes, kind=x.kind)
    return ctx.add(g.LastStep, x, axes, kind=x.kind)


def bound(ctx: Context, x: Sym, value: Any) -> Any:
    """A bound of a slice of time: x.size(1) - 2 is -2."""
    if isinstance(value, Size) and value.axes == (TIME,) and value.add <= 0:
        same_size(ctx, TIME, value, x)
        return value.add or None
    if value is not None and type(value) is not int:
        ctx.refuse(f"slices {show(x)} at a number that is computed")
    return value


def same_size(ctx: Context, a: Any, size: Size, x: Sym) -> None:
    """The size that forward speaks of must be that of x, whose axis ``a`` is."""
    if a == TIME:
        ctx.alike.append((size.value, x.value, ctx.where))


def slice_time(ctx: Context, x: Sym, item: slice) -> tuple[Sym, Any]:
    """A slice along time, and what the axis is then: time, or 1."""
    start = item.start if type(item.start) is int else bound(ctx, x, item.start)
    stop = bound(ctx, x, item.stop)
    stride = 1 if item.step is None else item.step
    start = 0 if start is None else start
    if start == 0 and stop is None and stride == 1:
        return x, TIME
    if stride == 1 and ((start == -1 and stop is None) or (start >= 0 and stop == start + 1)):
        return step(ctx, x, start, ()), 1
    if start < 0 or (stop is not None and stop >= 0) or type(stride) is not int or stride < 1:
        ctx.refuse(
            f"takes steps {show_slice(item)} of {show(x)}: only a beginning and an end that stay "
            "where they are however long the sequence, such as [1:], [:-1] and [::2], are supported"
        )
    ctx.across(x)
    drop = -(stop or 0)
    return ctx.add(g.SliceTime, x, x.axes, kind=x.kind, start=start, drop=drop, step=stride), TIME


def show_slice(item: slice) -> str:
    parts = (item.start, item.stop, *(() if item.step is None else (item.step,)))
    return "[" + ":".join("" if v is None else str(v) for v in parts) + "]"


def getitem(ctx: Context, input: Any, index: Any) -> Any:
    """x[...]: elements of tuples; features, steps, whole axes and new ones of a tensor."""
    items = index if isinstance(index, tuple) else (index,)
    if isinstance(input, (tuple, dict)):
        try:
            return input[index]
        except (LookupError, TypeError):
            ctx.refuse(f"has no element {index}")
    if isinstance(input, Packed):
        ctx.refuse("the parts of a packed sequence can't be taken; unpack it first")
    x = ctx.any(input)
    given = sum(i is not None and i is not Ellipsis for i in items)
    if not any(i is Ellipsis for i in items):
        items = (*items, Ellipsis)
    at = next(i for i, item in enumerate(items) if item is Ellipsis)
    if given > len(x.axes) or any(i is Ellipsis for i in items[at + 1 :]):
        ctx.refuse(f"index {index} doesn't fit {show(x)}")
    items = (*items[:at], *(slice(None),) * (len(x.axes) - given), *items[at + 1 :])
    return _index(ctx, x, items)


def _index(ctx: Context, x: Sym, items: tuple[Any, ...]) -> Sym:
    """One item for each axis, and None for a new one."""
    source, rest, axes = x, list(x.axes), list[Any]()
    picks: list[tuple[int, Any]] = []  # which of the feature axes, its new index
    lists = 0
    for item in items:
        if item is None:
            axes.append(1)
            continue
        a = rest.pop(0)
        if is_tensor(item):
            item = item.tolist()
        lists += isinstance(item, (list, tuple))
        whole = isinstance(item, slice) and item.step in (None, 1) and item.start in (None, 0)
        if isinstance(item, Size) and item.axes == (a,) and item.add < 0:
            same_size(ctx, a, item, x)
            item = item.add
        if whole and isinstance(item.stop, Size) and item.stop.add == 0 and item.stop.axes == (a,):
            same_size(ctx, a, item.stop, x)
            item = slice(None)
        if whole and item.stop is None:
            axes.append(a)
        elif a == TIME and type(item) is int:
            x = step(ctx, x, item, ())
        elif a == TIME and isinstance(item, slice):
            x, a = slice_time(ctx, x, item)
            axes.append(a)
        elif isinstance(a, int) and isinstance(item, (int, slice, list, tuple)) and lists < 2:
            try:
                picked = np.arange(a)[list(item) if isinstance(item, tuple) else item]
            except (IndexError, TypeError, ValueError):
                ctx.refuse(f"index {item} doesn't fit {show(source)}")
            if picked.ndim > 1 or picked.size == 0 or type(item) is bool:
                ctx.refuse(f"index {item} of {show(source)} is not supported")
            picks.append((len(source.axes) - len(rest) - 1, picked))
            if picked.ndim:
                axes.append(len(picked))
        elif a == BATCH and isinstance(item, (int, slice)):
            raise LayoutError(f"{ctx.where}: index {item} of {show(source)}: rows can't be taken")
        elif isinstance(a, (Free, Flat)):
            numbers(ctx, source)
        else:
            ctx.refuse(f"an index of {show(source)} is computed, or crosses {a}: not supported")
    if all(p.ndim and np.array_equal(p, np.arange(source.axes[at])) for at, p in picks) or all(
        source.axes[at] == 1 for at, _ in picks
    ):
        return dataclasses.replace(x, axes=tuple(axes))
    index = indices(ctx, source)
    for at, picked in sorted(picks, key=lambda p: -p[0]):
        index = np.take(index, picked, axis=place(source, at))
    return ctx.select(dataclasses.replace(x, axes=source.axes), index, tuple(axes))


def select(ctx: Context, input: Any, dim: int, index: int) -> Any:
    return getitem(ctx, input, (slice(None),) * axis(ctx, ctx.any(input), dim) + (index,))


def narrow(ctx: Context, input: Any, dim: int, start: Any, length: Any) -> Any:
    x = ctx.any(input)
    at = axis(ctx, x, dim)
    if isinstance(length, Size) and length.axes == (TIME,) and type(start) is int:
        stop: Any = dataclasses.replace(length, add=length.add + start)
    elif type(start) is int and type(length) is int:
        stop = start + length
    else:
        ctx.refuse("takes a part whose place is computed")
    return getitem(ctx, x, (slice(None),) * at + (slice(start, stop),))


def split(ctx: Context, input: Any, split_size_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """torch.split: parts of so many features, or of the sizes in a list."""
    x = ctx.any(input)
    at = axis(ctx, x, dim)
    n, sections = x.axes[at], split_size_or_sections
    if isinstance(n, (Free, Flat)):
        numbers(ctx, x)
    if not isinstance(n, int):
        ctx.refuse(f"dim={dim} of {show(x)} can't be split, only features")
    if type(sections) is int and sections > 0:
        sections = [min(sections, n - i) for i in range(0, n, sections)]
    if not isinstance(sections, (tuple, list)) or any(type(s) is not int for s in sections):
        ctx.refuse("splits at a place that is computed")
    if sum(sections) != n or min(sections) < 1:
        ctx.refuse(f"splits {n} features into {list(sections)}")
    ends = np.cumsum(sections)
    return tuple(
        _index(ctx, x, tuple(slice(int(e) - s, int(e)) if i == at else slice(None)
                             for i in range(len(x.axes))))
        for e, s in zip(ends, sections, strict=True)
    )  # fmt: skip


def chunk(ctx: Context, input: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    x = ctx.any(input)
    n = x.axes[axis(ctx, x, dim)]
    if isinstance(n, (Free, Flat)):
        numbers(ctx, x)
    if type(chunks) is not int or chunks < 1 or not isinstance(n, int):
        ctx.refuse(f"dim={dim} of {show(x)} can't be cut into {chunks}, only features")
    return split(ctx, x, -(-n // chunks), dim)


def unbind(ctx: Context, input: Any, dim: int = 0) -> tuple[Any, ...]:
    x = ctx.any(input)
    at = axis(ctx, x, dim)
    if not isinstance(x.axes[at], int):
        ctx.refuse(f"dim={dim} of {show(x)} can't be taken apart, only features")
    return tuple(select(ctx, x, at, i) for i in range(x.axes[at]))


def flip(ctx: Context, input: Any, *dims: Any) -> Sym:
    x = ctx.any(input)
    for d in {axis(ctx, x, d) for d in flat(dims)}:
        if x.axes[d] == TIME:
            ctx.across(x)
            x = ctx.add(g.Reverse, x, x.axes, kind=x.kind)
        elif isinstance(x.axes[d], (int, Free, Flat)):
            x = ctx.select(x, np.flip(indices(ctx, x), place(x, d)), x.axes)
        else:
            raise LayoutError(f"{ctx.where}: flips {x.axes[d]} of {show(x)}: not supported")
    return x


# ------------------------------------------------------------------------------ time as features


def as_time(ctx: Context, x: Sym, at: int) -> tuple[Sym, int]:
    """Axis ``at``, of a known size, made the time axis of a value that has none; and its size.

    A step's features are all others, in their order.
    """
    n = x.axes[at]
    if (
        not ctx.lenient
        or not isinstance(n, int)
        or any(not isinstance(a, (int, str)) for a in x.axes)
    ):
        raise LayoutError(f"{ctx.where}: axis {at} of {show(x)} is not time")
    if TIME in x.axes or BATCH not in x.axes:
        raise LayoutError(f"{ctx.where}: axis {at} of {show(x)} is not time")
    front = (at, *(i for i in range(len(x.axes)) if i != at))
    y = reorder(ctx, x, front)
    axes = tuple(TIME if i == at else a for i, a in enumerate(x.axes))
    key = ("flat", y.value, n)
    if key in ctx.made:
        return Sym(ctx.made[key], axes, x.kind), n
    return ctx.add(g.Unflatten, y, axes, kind=x.kind, count=n), n


def from_time(ctx: Context, y: Sym, n: int) -> Sym:
    """The inverse: a sequence of n steps as a value without time."""
    at = y.axes.index(TIME)
    rest = tuple(a for a in y.axes if a != TIME)
    flattened = ctx.add(g.Flatten, y, (n, *rest), kind=y.kind)
    ctx.made["flat", flattened.value, n] = y.value
    return reorder(ctx, flattened, (*range(1, at + 1), 0, *range(at + 1, len(y.axes))))


def on_time(ctx: Context, x: Sym, at: int, layer: Callable[[Sym], Sym]) -> Sym:
    """``layer`` on a sequence whose time axis is ``at``, or an axis of a known size in its place.

    A layer may change the number of steps of the latter.
    """
    if x.axes[at] == TIME:
        ctx.across(x)
        return layer(x)
    y, _ = as_time(ctx, x, at)
    z = layer(y)
    layers, steps = {o: v for v in ctx.layers for o in v.outputs}, g.Steps(None, x.axes[at])

    def count(value: str) -> g.Steps:
        if value == y.value:
            return steps
        made = layers[value]
        first = made.inputs[0]
        assert first is not None
        if isinstance(made, (g.Window, g.SliceTime, g.PadTime)):
            features = made.weight.shape[1] // made.taps if isinstance(made, g.Conv1D) else 1
            features = len(made.weight) if isinstance(made, g.DepthwiseConv1D) else features
            spec = made.infer(g.Spec(features, count(first)))[0]
            assert spec.time is not None
            return spec.time
        return count(first)

    return from_time(ctx, z, count(z.value).add) if TIME in z.axes else z


def flatten_time(ctx: Context, x: Sym) -> Sym:
    """The time axis as one of features, whose size whatever reads it will tell."""
    ctx.across(x)
    sizes = numbers(ctx, x)
    at = x.axes.index(TIME)
    before = math.prod(sizes[: place(x, at)])
    after = math.prod(sizes[place(x, at) :])
    axes = (*x.axes[:at], Flat(x.value, 1), *x.axes[at + 1 :])
    y = ctx.add(g.Flatten, x, axes, kind=x.kind)
    if before == 1:
        return y

    def fill(layer: g.Select, specs: Sequence[g.Spec]) -> None:
        order = np.arange(specs[0].features).reshape(-1, before, after).transpose(1, 0, 2)
        layer.index = tuple(order.ravel().tolist())

    return ctx.add(g.Select, y, axes, kind=x.kind, fill=fill, index=(0,))


def lift(ctx: Context, x: Any) -> Const:
    """A torch tensor as a constant."""
    if isinstance(x, Const):
        return x
    array = w.torch_array(f"a constant in {ctx.where}", x)
    flat = np.atleast_1d(array.astype(np.float64) if array.dtype.kind in "iub" else array)
    return Const(w.float32(f"a constant in {ctx.where}", flat).reshape(array.shape), array.shape)


def size(ctx: Context, input: Any, dim: int | None = None) -> Any:
    if isinstance(input, Const):
        x: Any = Sym(input.like, input.axes)
    elif isinstance(input, Packed):
        ctx.refuse("a packed sequence has no size")
    else:
        x = ctx.any(input)
    sizes = tuple(a if isinstance(a, int) else Size((a,), x.value) for a in x.axes)
    return sizes if dim is None else sizes[axis(ctx, x, dim)]
