"""Arithmetic and reductions of torch's tensors, as layers of the graph.

Source: torch's broadcasting semantics, "notes/broadcasting".
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.graph import BATCH, TIME

from . import torch_shapes as shapes
from . import weights as w
from .torch_shapes import axis, indices, lift, numbers, place
from .torch_values import Const, Context, Flat, Free, Merged, Size, Sym, is_tensor, show

Handler = Callable[..., Any]


def apply(ctx: Context, x: Sym, kind: str, alpha: float = 0.0, beta: float = 0.0) -> Sym:
    return ctx.add(g.Activation, x, x.axes, activation=w.function(kind, alpha, beta))


def bounded(ctx: Context, x: Sym, op: str, bound: float) -> Sym:
    return ctx.add(g.Combine, (x, number(ctx, bound)), x.axes, op=op)


def number(ctx: Context, value: float) -> Sym:
    """A Python number as a value, for what takes two of them."""
    if 0 < abs(value) < 2.0**-64:
        ctx.refuse(f"computes with {value}, which is zero to lstmc (below 2^-64)")
    return ctx.constant(Const(np.full((1, 1), value, np.float32), (BATCH, 1)))


def scaled(ctx: Context, x: Sym, alpha: float, beta: float = 0.0) -> Sym:
    """alpha x + beta."""
    for v in (alpha, beta):
        if not abs(v) <= g.FLOAT32_MAX:
            ctx.refuse(f"computes with {v}, which float32 can't hold")
    if (alpha, beta) == (1.0, 0.0):
        return x
    return apply(ctx, x, "affine", alpha, beta)


def broadcast(
    ctx: Context, x: Sym, y: Sym | Const
) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]:
    """The axes of both, filled up with 1 in front, and of the result, as torch broadcasts."""
    rank = max(len(x.axes), len(y.axes))
    a = (*(1,) * (rank - len(x.axes)), *x.axes)
    b = (*(1,) * (rank - len(y.axes)), *y.axes)
    out = []
    for p, q in zip(a, b, strict=True):
        if isinstance(p, (Free, Flat)) and q not in (1, p) and not isinstance(q, (str, Merged)):
            ctx.sizes[p] = q
            if isinstance(p, Flat):
                if not isinstance(q, int):
                    ctx.refuse(f"{show(x)} and {show(y)} don't fit together")
                ctx.tell(p, q, x)
            p = q
        elif isinstance(q, Free) and p not in (1, q) and isinstance(p, (int, Flat)):
            ctx.sizes[q] = p
            q = p
        if p != q and p != 1 and q != 1:
            raise shapes.LayoutError(f"{ctx.where}: {show(x)} and {show(y)} don't fit together")
        out.append(q if p == 1 else p)
    resolved = tuple(ctx.size(v) for v in out)
    return tuple(ctx.size(v) for v in a), tuple(ctx.size(v) for v in b), resolved


def tiled(ctx: Context, x: Sym, axes: tuple[Any, ...], out: tuple[Any, ...]) -> Sym:
    """x with its features repeated to those of ``out``; one feature goes with all anyway."""
    own = [a for a in axes if isinstance(a, (int, Free, Flat))]
    if all(a == 1 for a in own) or all(
        a == o
        for a, o in zip(axes, out, strict=True)
        if isinstance(o, (int, Free, Flat)) and (a != 1 or o != 1)
    ):
        return x
    x = dataclasses.replace(x, axes=axes)
    index = indices(ctx, x)
    for at, (a, o) in enumerate(zip(axes, out, strict=True)):
        if isinstance(a, int) and isinstance(o, int) and a != o:
            index = np.repeat(index, o, axis=place(x, at))
    return ctx.select(x, index, axes)


def combine(ctx: Context, op: str, x: Sym, y: Sym) -> Sym:
    a, b, out = broadcast(ctx, x, y)
    cut = x.cut or y.cut
    # Both may have 1 where the other has more: then each goes with all of the other.
    one = [all(v == 1 for v in axes if isinstance(v, (int, Free, Flat))) for axes in (a, b)]
    xs = (x, y) if any(one) else (tiled(ctx, x, a, out), tiled(ctx, y, b, out))
    result = ctx.add(g.Combine, xs, out, op=op)
    return dataclasses.replace(result, cut=cut)


def with_constant(ctx: Context, op: str, x: Sym, c: Const, swapped: bool) -> Sym:
    """x op c or c op x: one number for each feature, or for each step of a fixed number."""
    axes, own, out = broadcast_steps(ctx, x, c)
    array = c.array.reshape((1,) * (len(own) - c.array.ndim) + c.array.shape)
    if any(o == TIME and n > 1 for o, n in zip(out, array.shape, strict=True)):
        at = out.index(TIME)
        rest = [i for i in range(len(out)) if i != at]
        if any(out[i] == BATCH and array.shape[i] > 1 for i in rest):
            ctx.refuse(f"{show(c)} has a number for each row of the batch")
        n = array.shape[at]
        steps = np.ascontiguousarray(array.transpose([at, *rest])).reshape(1, -1)
        flat = ctx.constant(Const(steps, (BATCH, steps.size)))
        ctx.counts.append((x.value, n, ctx.where))
        y = ctx.add(g.Unflatten, flat, tuple(TIME if o == TIME else (o if o == BATCH else k)
                    for o, k in zip(out, array.shape, strict=True)), count=n)  # fmt: skip
        return combine(ctx, op, *((y, x) if swapped else (x, y)))
    features = [
        (o, n) for o, n in zip(out, array.shape, strict=True) if isinstance(o, (int, Free, Flat))
    ]
    if any(isinstance(o, (str, Merged)) and n > 1 for o, n in zip(out, array.shape, strict=True)):
        ctx.refuse(f"{show(c)} has a number for each row of the batch")
    if array.size == 1:
        return with_number(ctx, op, x, float(array.ravel()[0]), swapped, out)
    full: tuple[Any, ...] = tuple(o for o, _ in features)
    if any(isinstance(o, (Free, Flat)) for o in full):
        numbers(ctx, dataclasses.replace(x, axes=out))
    x = dataclasses.replace(x, axes=axes)
    count = math.prod(full)
    if math.prod(numbers(ctx, x)) == count:
        spread = x
    else:
        index = indices(ctx, x)
        for at, (a, o) in enumerate(zip(axes, out, strict=True)):
            if isinstance(a, int) and isinstance(o, int) and a != o:
                index = np.repeat(index, o, axis=place(x, at))
        spread = ctx.select(x, index, out)
    vector = np.broadcast_to(array.reshape([n for _, n in features]), full).ravel()
    fields: dict[str, Any] = {}
    if op == "add":
        fields = {"shift": vector}
    elif op == "subtract":
        fields = (
            {"scale": -np.ones_like(vector), "shift": vector} if swapped else {"shift": -vector}
        )
    elif op == "multiply":
        fields = {"scale": vector}
    if fields:
        return dataclasses.replace(ctx.add(g.Affine, spread, out, **fields), cut=x.cut)
    y = ctx.constant(Const(vector[None], (BATCH, count)))
    pair = (y, spread) if swapped else (spread, y)
    return dataclasses.replace(ctx.add(g.Combine, pair, out, op=op), cut=x.cut)


def broadcast_steps(ctx: Context, x: Sym, c: Const) -> Any:
    """:func:`broadcast`, where the constant may have a number for each time step."""
    rank = max(len(x.axes), c.array.ndim)
    mine = (*(1,) * (rank - len(x.axes)), *x.axes)
    own = (*(1,) * (rank - c.array.ndim), *c.axes)
    hidden = tuple(
        1 if m == TIME and isinstance(n, int) else n for m, n in zip(mine, own, strict=True)
    )
    return broadcast(ctx, x, Const(c.array, hidden))


def with_number(
    ctx: Context, op: str, x: Sym, value: float, swapped: bool, axes: tuple[Any, ...] | None = None
) -> Sym:
    x = x if axes is None else dataclasses.replace(x, axes=axes)
    if op == "add":
        return scaled(ctx, x, 1.0, value)
    if op == "subtract":
        return scaled(ctx, x, -1.0, value) if swapped else scaled(ctx, x, 1.0, -value)
    if op == "multiply":
        return scaled(ctx, x, value)
    if op == "divide" and not swapped and value != 0:
        return scaled(ctx, x, 1 / value)
    pair = (number(ctx, value), x) if swapped else (x, number(ctx, value))
    return dataclasses.replace(ctx.add(g.Combine, pair, x.axes, op=op), cut=x.cut)


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
    "divide": operator.truediv,
}  # fmt: skip


def binary(op: str) -> Handler:
    """A handler for + - * / and such, of tensors, constants, numbers and sizes."""

    def handler(ctx: Context, input: Any, other: Any) -> Any:
        plain = [isinstance(v, (int, float)) for v in (input, other)]
        if isinstance(input, Size) or isinstance(other, Size):
            return of_sizes(ctx, op, input, other)
        if all(plain):
            return OPERATORS[op](input, other)
        known = [
            p or is_tensor(v) or isinstance(v, Const)
            for p, v in zip(plain, (input, other), strict=True)
        ]
        if all(known):
            return of_constants(ctx, op, input, other)
        swapped = known[0]
        x, y = (other, input) if swapped else (input, other)
        x = number_like(ctx, x)
        if any(known):
            floats(ctx, x, y)
            x = dataclasses.replace(x, kind="float")
            if isinstance(y, (int, float)):
                return with_number(ctx, op, x, float(y), swapped)
            c = lift(ctx, y)
            if BATCH in c.axes or TIME in c.axes:
                return combine(ctx, op, *((ctx.any(c), x) if swapped else (x, ctx.any(c))))
            return with_constant(ctx, op, x, c, swapped)
        y = number_like(ctx, y)
        if "float" not in (x.kind, y.kind):
            ctx.refuse(f"computes with {x.kind} and {y.kind} numbers; write x.float()")
        return combine(
            ctx, op, dataclasses.replace(x, kind="float"), dataclasses.replace(y, kind="float")
        )

    return handler


def number_like(ctx: Context, x: Any) -> Sym:
    """A tensor of any kind; what an input of unknown kind is used in sums for is float."""
    s = ctx.any(x)
    return ctx.sym(s) if s.kind.startswith("?") else s


def floats(ctx: Context, x: Sym, y: Any) -> None:
    if x.kind != "float" and (
        isinstance(y, (int, float)) or "float" not in str(getattr(y, "dtype", "float"))
    ):
        ctx.refuse(f"computes with {x.kind} numbers; write x.float()")


def of_sizes(ctx: Context, op: str, a: Any, b: Any) -> Any:
    """Products of sizes, and a size plus or minus a number."""
    whole = [v.axes if isinstance(v, Size) else (v,) for v in (a, b)]
    value = next(v.value for v in (a, b) if isinstance(v, Size))
    whole_numbers = all(isinstance(v, int) or (isinstance(v, Size) and not v.add) for v in (a, b))
    if op == "multiply" and whole_numbers:
        return Size((*whole[0], *whole[1]), value)
    if op not in ("add", "subtract") or not isinstance(a, Size) or type(b) is not int:
        ctx.refuse("computes with the size of an axis that is left open")
    return dataclasses.replace(a, add=a.add + (b if op == "add" else -b))


def of_constants(ctx: Context, op: str, a: Any, b: Any) -> Const:
    """Constants that are repeated over batch or time; others torch has computed itself."""
    parts = [
        Const(np.asarray(v, np.float32), ()) if isinstance(v, (int, float)) else lift(ctx, v)
        for v in (a, b)
    ]
    rank = max(p.array.ndim for p in parts)
    arrays = [p.array.reshape((1,) * (rank - p.array.ndim) + p.array.shape) for p in parts]
    with np.errstate(all="ignore"):
        out = OPERATORS[op](*arrays)
    axes = []
    for i, n in enumerate(out.shape):
        own = [((1,) * (rank - len(p.axes)) + p.axes)[i] for p in parts]
        named = {o for o in own if isinstance(o, str)}
        if len(named) > 1 or (named and n > 1):
            ctx.refuse(f"{show(parts[0])} and {show(parts[1])} don't fit together")
        axes.append(named.pop() if named else n)
    return Const(out, tuple(axes), next((p.like for p in parts if p.like), ""))


add, subtract, multiply, divide = (binary(op) for op in OPERATORS)


def extremum(op: str) -> Handler:
    """torch.maximum and minimum; max and min of two tensors, or along an axis."""
    both = binary(op)

    def handler(
        ctx: Context, input: Any, other: Any = None, keepdim: bool = False, dim: Any = None
    ) -> Any:
        along = dim if dim is not None else other
        if type(along) is int:
            return Extremum(reduced(ctx, input, op, along, keepdim))
        if along is None:
            ctx.refuse("is that of all elements, the batch too; name an axis, as in dim=1")
        return both(ctx, input, other)

    return handler


@dataclasses.dataclass(frozen=True)
class Extremum:
    """What max and min along an axis give: values, and indices that lstmc doesn't have."""

    values: Sym


def not_equal(ctx: Context, input: Any, other: Any) -> Sym:
    """x != number: 1 where it is, else 0."""
    x = ctx.any(input)
    if is_tensor(other) and other.ndim == 0:
        other = other.item()
    if not isinstance(other, (int, float)):
        ctx.refuse("compares with something else than a number")
    fn = g.Fn("not_equal", float(other))
    return ctx.add(g.Activation, x, x.axes, kind="bool", activation=fn)


def equal(ctx: Context, input: Any, other: Any) -> Sym:
    return logical_not(ctx, not_equal(ctx, input, other))


def logical_not(ctx: Context, input: Any) -> Sym:
    x = ctx.any(input)
    if x.kind != "bool":
        ctx.refuse(f"works on {x.kind.lstrip('?')} numbers, expected bool")
    return dataclasses.replace(apply(ctx, x, "affine", -1.0, 1.0), kind="bool")


def logical(op: str) -> Handler:
    def handler(ctx: Context, input: Any, other: Any) -> Sym:
        x, y = ctx.any(input), ctx.any(other)
        if (x.kind, y.kind) != ("bool", "bool"):
            ctx.refuse("works on tensors of bool only")
        return dataclasses.replace(combine(ctx, op, x, y), kind="bool")

    return handler


# -------------------------------------------------------------------------------------- reductions


def reduced(ctx: Context, input: Any, op: str, dims: Any, keepdim: bool = False) -> Sym:
    """Sum, mean, maximum or minimum over axes of features, and of time."""
    x = ctx.any(input)
    if x.kind == "bool" and op == "sum":
        x = dataclasses.replace(x, kind="int")
    elif x.kind != "int" or op == "mean":
        x = ctx.sym(x)
    drop = {axis(ctx, x, d) for d in shapes.flat((dims,))}
    for at in sorted(drop):
        x = reduce_axis(ctx, x, op, at)
    axes = tuple(a for i, a in enumerate(x.axes) if keepdim or i not in drop)
    return dataclasses.replace(x, axes=axes)


def reduce_axis(ctx: Context, x: Sym, op: str, at: int) -> Sym:
    """One axis, which becomes 1."""
    own = x.axes[at]
    axes = (*x.axes[:at], 1, *x.axes[at + 1 :])
    if own == TIME:
        ctx.across(x)
        return ctx.add(g.ReduceTime, x, axes, kind=x.kind, op=op)
    if isinstance(own, (str, Merged)):
        raise shapes.LayoutError(f"{ctx.where}: reduces {own} of {show(x)}: not supported")
    others = [a for i, a in enumerate(x.axes) if i != at and not isinstance(a, (str, Merged))]
    if all(a == 1 for a in others):
        return ctx.add(g.Reduce, x, axes, kind=x.kind, op=op)
    index = indices(ctx, x)
    if own > 64:
        ctx.refuse(f"reduces an axis of {own} beside others of features; supported up to 64")
    parts = [np.take(index, [i], axis=place(x, at)) for i in range(own)]
    xs = [ctx.select(x, p, axes) for p in parts]
    if own == 1:
        return xs[0]
    op = "add" if op == "sum" else op
    return ctx.add(g.Combine, tuple(xs), axes, kind=x.kind, op=op)


def reduction(op: str) -> Handler:
    def handler(
        ctx: Context, input: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None
    ) -> Sym:
        if dim is None:
            ctx.refuse("is that of all elements, the batch too; name an axis, as in dim=1")
        if dtype is not None and str(dtype) != "torch.float32":
            ctx.refuse(f"dtype={dtype} is not supported")
        return reduced(ctx, input, op, dim, keepdim)

    return handler


def matmul(ctx: Context, input: Any, other: Any) -> Sym:
    """x @ W of a constant matrix; weights over time [.., 1, T] @ [.., T, F], as in attention."""
    if is_tensor(other) and other.ndim == 2:
        weight = lift(ctx, other).array
        x = ctx.features(input, weight.shape[0])
        return ctx.add(
            g.Dense, x, (*x.axes[:-1], weight.shape[1]), weight=np.ascontiguousarray(weight.T)
        )
    if not isinstance(input, Sym) or not isinstance(other, Sym):
        ctx.refuse("multiplies by a constant that is no matrix of [features in, features out]")
    a, b = ctx.sym(input), ctx.sym(other)
    if a.axes != (BATCH, 1, TIME) or len(b.axes) != 3 or b.axes[:2] != (BATCH, TIME):
        ctx.refuse(f"multiplies {show(a)} by {show(b)}: only [batch, 1, time] by [batch, time, "
                   "features] is supported")  # fmt: skip
    ctx.across(a)
    ctx.across(b)
    pairs: Sequence[Sym] = (dataclasses.replace(a, axes=(BATCH, TIME, 1)), b)
    return reduce_axis(ctx, combine(ctx, "multiply", *pairs), "sum", 1)
