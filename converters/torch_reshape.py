"""Reshaping, repeating and joining tensors; see :mod:`torch_shapes`."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.graph import BATCH, TIME

from .torch_shapes import axis, flat, flatten_time, indices, lift, place, size, unsqueeze
from .torch_values import (
    Const,
    Context,
    Flat,
    Free,
    LayoutError,
    Merged,
    Size,
    Sym,
    is_tensor,
    show,
)


def atoms(ctx: Context, size: Any, x: Sym) -> list[Any]:
    """What a size asked for is the product of."""
    if isinstance(size, Size):
        if size.add:
            ctx.refuse("computes with the size of an axis that is left open")
        return [b for a in size.axes for b in (a.axes if isinstance(a, Merged) else (a,))]
    if type(size) is not int or (size < 1 and size != -1):
        ctx.refuse(f"reshapes {show(x)} to {size}")
    return [] if size == 1 else [size]


class _Reshape:
    """Takes axes off both ends of what is to be reshaped; runs of numbers factor as they must."""

    def __init__(self, ctx: Context, x: Sym, target: tuple[Any, ...]) -> None:
        self.ctx, self.x, self.target = ctx, x, target
        self.left: list[Any] = []
        for a in x.axes:
            for b in a.axes if isinstance(a, Merged) else (a,):
                if isinstance(b, int) and self.left and isinstance(self.left[-1], int):
                    self.left[-1] *= b
                elif b != 1:
                    self.left.append(b)

    def refuse(self) -> Any:
        target = show(Sym("", tuple(_shown(t) for t in self.target)))
        self.ctx.refuse(f"reshapes {show(self.x)} to {target}: not supported")

    def take(self, wanted: list[Any], end: int) -> Any:
        """One axis of the result from the front (0) or the back (-1)."""
        taken: list[Any] = []
        for a in wanted if end == 0 else wanted[::-1]:
            if isinstance(a, int):
                if not self.left or not isinstance(self.left[end], int) or self.left[end] % a:
                    self.refuse()
                self.left[end] //= a
                if self.left[end] == 1:
                    self.left.pop(end)
            elif self.left and self.left[end] == a:
                self.left.pop(end)
            else:
                self.refuse()
            taken.append(a)
        return self.merge(taken if end == 0 else taken[::-1])

    def merge(self, group: list[Any]) -> Any:
        group = [a for a in group if a != 1]
        if all(isinstance(a, int) for a in group):
            return math.prod(group)
        if len(group) == 1:
            return group[0]
        if all(isinstance(a, str) for a in group):
            return Merged(tuple(group))
        flats = [a for a in group if isinstance(a, Flat)]
        if len(flats) == 1 and all(isinstance(a, (int, Flat)) for a in group):
            own = math.prod(a for a in group if isinstance(a, int))
            return Flat(flats[0].value, flats[0].features * own)
        return tuple(group)  # across batch or time

    def rest(self) -> Any:
        group, self.left = self.left, []
        return self.merge(group)


def _shown(t: Any) -> Any:
    if isinstance(t, Size):
        return " * ".join(str(a) for a in t.axes) + (f" {t.add:+d}" if t.add else "")
    return t


def reshape(ctx: Context, input: Any, *shape: Any) -> Sym:
    """view and reshape: axes of numbers merge and split; batch and time stay, or become one."""
    x = ctx.any(input)
    target = flat(shape)
    wanted = [atoms(ctx, t, x) for t in target]
    x = _told(ctx, x, [a for atom in wanted for a in atom])
    if wanted.count([-1]) > 1:
        ctx.refuse("more than one size of a reshape is -1")
    at = wanted.index([-1]) if [-1] in wanted else len(wanted)
    work = _Reshape(ctx, x, target)
    axes = [work.take(a, 0) for a in wanted[:at]]
    tail = [work.take(a, -1) for a in wanted[:at:-1]][::-1]
    if at < len(wanted):
        axes.append(work.rest())
    axes += tail
    if work.left:
        work.refuse()
    across = [a for a in axes if isinstance(a, tuple)]
    if across:
        if len(across) == 1 and BATCH not in across[0] and TIME in across[0]:
            return reshape(ctx, flatten_time(ctx, x), *target)
        raise LayoutError(
            f"{ctx.where}: reshapes {show(x)} across batch or time, which is not supported"
        )
    return dataclasses.replace(x, axes=tuple(axes))


def _told(ctx: Context, x: Sym, wanted: list[Any]) -> Sym:
    """An axis of unknown size has what a reshape takes of it."""
    free = [a for a in x.axes if isinstance(a, Free) and a not in wanted]
    asked = math.prod(a for a in wanted if isinstance(a, int) and a != -1)
    own = math.prod(a for a in x.axes if isinstance(a, int))
    if len(free) == 1 and asked > 1 and asked % own == 0:
        ctx.tell(free[0], asked // own, x)
    return ctx.any(x)


def flatten(ctx: Context, input: Any, start_dim: int = 0, end_dim: int = -1) -> Sym:
    x = ctx.any(input)
    a, b = axis(ctx, x, start_dim), axis(ctx, x, end_dim)
    sizes = [Size((s,), x.value) if not isinstance(s, int) else s for s in x.axes]
    return reshape(ctx, x, *sizes[:a], -1, *sizes[b + 1 :])


def unflatten(ctx: Context, input: Any, dim: int, sizes: Any) -> Sym:
    x = ctx.any(input)
    at = axis(ctx, x, dim)
    whole = [Size((s,), x.value) if not isinstance(s, int) else s for s in x.axes]
    return reshape(ctx, x, *whole[:at], *flat((sizes,)), *whole[at + 1 :])


# -------------------------------------------------------------------------- repeating and joining


def expand(ctx: Context, input: Any, *sizes: Any) -> Any:
    """Axes of size 1 made longer: numbers, or time. Of a constant, batch too."""
    target = flat(sizes)
    if is_tensor(input) or isinstance(input, Const):
        return _expand_constant(ctx, input, target)
    x = ctx.any(input)
    extra = len(target) - len(x.axes)
    if extra < 0:
        ctx.refuse(f"expands {show(x)} to {len(target)} axes")
    x = dataclasses.replace(x, axes=(*(1,) * extra, *x.axes))
    for at, t in enumerate(target):
        x = _longer(ctx, x, at, x.axes[at] if t == -1 and type(t) is int else t)
    return x


def _longer(ctx: Context, x: Sym, at: int, t: Any) -> Sym:
    own = x.axes[at]
    if isinstance(t, Size) and t.add == 0 and len(t.axes) == 1:
        if own == 1 and t.axes[0] == TIME and TIME not in x.axes:
            axes = (*x.axes[:at], TIME, *x.axes[at + 1 :])
            return ctx.add(g.Repeat, (x, Sym(t.value, ())), axes, kind=x.kind)
        t = t.axes[0]
    if t == own:
        return x
    if own != 1 or type(t) is not int or t < 1:
        ctx.refuse(f"expands axis {at} of {show(x)} to {_shown(t)}: not supported")
    index = np.repeat(indices(ctx, x), t, axis=place(x, at))
    return ctx.select(x, index, (*x.axes[:at], t, *x.axes[at + 1 :]))


def _expand_constant(ctx: Context, input: Any, target: tuple[Any, ...]) -> Const:
    c = lift(ctx, input)
    extra = len(target) - c.array.ndim
    if extra < 0:
        ctx.refuse(f"expands {show(c)} to {len(target)} axes")
    array = c.array.reshape((1,) * extra + c.array.shape)
    axes, like = [*(1,) * extra, *c.axes], c.like
    for at, t in enumerate(target):
        if isinstance(t, Size) and len(t.axes) == 1 and t.add == 0 and axes[at] in (1, t.axes[0]):
            axes[at], like = t.axes[0], t.value if t.axes[0] == TIME else like
            if isinstance(axes[at], (Merged, Free, Flat)):
                ctx.refuse(f"expands a constant to {axes[at]}: not supported")
        elif t == -1 or t == axes[at]:
            continue
        elif axes[at] == 1 and type(t) is int and t > 0:
            array, axes[at] = np.repeat(array, t, axis=at), t
        else:
            ctx.refuse(f"expands axis {at} of {show(c)} to {_shown(t)}: not supported")
    return Const(array, tuple(axes), like)


def repeat(ctx: Context, input: Any, *sizes: Any) -> Any:
    """tensor.repeat: the whole of an axis so many times."""
    times = flat(sizes)
    if is_tensor(input) or isinstance(input, Const):
        c = lift(ctx, input)
        if any(isinstance(t, Size) for t in times):
            array = c.array.reshape((1,) * (len(times) - c.array.ndim) + c.array.shape)
            plain = [1 if isinstance(t, Size) else t for t in times]
            axes = (*(1,) * (len(times) - len(c.axes)), *c.axes)
            whole = [
                t if isinstance(t, Size) else Size((a,), c.like) if isinstance(a, str) else n
                for t, a, n in zip(
                    times, axes, np.multiply(array.shape, plain).tolist(), strict=True
                )
            ]
            ends = (1 if isinstance(t, Size) else a for t, a in zip(times, axes, strict=True))
            tiled = np.tile(array, plain)
            given = tuple(
                n if isinstance(a, int) else a for a, n in zip(ends, tiled.shape, strict=True)
            )
            return _expand_constant(ctx, Const(tiled, given, c.like), tuple(whole))
        return Const(np.tile(c.array, times), tuple(np.multiply(c.axes, times).tolist()))
    x = ctx.any(input)
    extra = len(times) - len(x.axes)
    if extra < 0:
        ctx.refuse(f"repeats {show(x)} along {len(times)} axes")
    x = dataclasses.replace(x, axes=(*(1,) * extra, *x.axes))
    for at, t in enumerate(times):
        if t == 1 and type(t) is int:
            continue
        if isinstance(t, Size):
            x = _longer(ctx, x, at, t)
        elif isinstance(x.axes[at], int) and type(t) is int and t > 0:
            index = np.concatenate([indices(ctx, x)] * t, axis=place(x, at))
            x = ctx.select(x, index, (*x.axes[:at], x.axes[at] * t, *x.axes[at + 1 :]))
        else:
            ctx.refuse(f"repeats axis {at} of {show(x)} {_shown(t)} times: not supported")
    return x


def expand_as(ctx: Context, input: Any, other: Any) -> Any:
    return expand(ctx, input, *size(ctx, other))


def cat(ctx: Context, tensors: Any, dim: int = 0) -> Sym:
    """Features of several tensors, joined along one of their axes."""
    syms = [x for x in tensors if isinstance(x, Sym)] if isinstance(tensors, tuple) else []
    if not syms:
        ctx.refuse("joins no tensors that depend on the input")
    xs = [ctx.any(x) for x in tensors]
    at = axis(ctx, xs[0], dim)
    if len({x.kind for x in xs}) > 1:
        xs = [ctx.sym(x) for x in xs]
    for x in xs:
        if len(x.axes) != len(xs[0].axes):
            ctx.refuse(f"joins {show(xs[0])} and {show(x)}")
        for i, (a, b) in enumerate(zip(xs[0].axes, x.axes, strict=True)):
            if i != at and a != b:
                ctx.refuse(f"joins {show(xs[0])} and {show(x)}")
    if any(x.axes[at] == TIME for x in xs):
        ctx.refuse(
            f"joins {show(xs[0])} along dim={dim}, which is time; only features can be joined"
        )
    if any(isinstance(x.axes[at], (str, Merged)) for x in xs):
        raise LayoutError(
            f"{ctx.where}: joins {show(xs[0])} along dim={dim}, which is {xs[0].axes[at]}; "
            "only features can be joined"
        )
    offsets = np.cumsum([0, *(indices(ctx, x).size for x in xs)])
    parts = [indices(ctx, x) + int(o) for x, o in zip(xs, offsets[:-1], strict=True)]
    together = np.concatenate(parts, axis=place(xs[0], at))
    value = ctx.concat([(x.value, indices(ctx, x).size) for x in xs])
    axes = (*xs[0].axes[:at], sum(x.axes[at] for x in xs), *xs[0].axes[at + 1 :])
    cut = next((x.cut for x in xs if x.cut), "")
    joined = Sym(
        value, (*(a for a in axes if not isinstance(a, int)), int(offsets[-1])), xs[0].kind, cut
    )
    return ctx.select(joined, together, axes)


def stack(ctx: Context, tensors: Any, dim: int = 0) -> Sym:
    if not isinstance(tensors, tuple) or not tensors:
        ctx.refuse("stacks nothing")
    return cat(ctx, tuple(unsqueeze(ctx, x, dim) for x in tensors), dim)
