"""Elementwise functions of torch, and softmax, as layers of the graph.

Source: the formulas in the documentation of torch.nn's activation modules.
"""

from __future__ import annotations

from typing import Any

from lstmc import graph as g
from lstmc.graph import TIME

from . import torch_shapes as shapes
from .torch_arithmetic import Handler, add, apply, bounded, multiply, scaled
from .torch_shapes import axis, lift, numbers
from .torch_values import Const, Context, Flat, Free, Merged, Sym, show


def elementwise(kind: str, alpha: float = 0.0, beta: float = 0.0) -> Handler:
    """A handler for a function of each element, as module, function and method."""

    def handler(ctx: Context, input: Any, inplace: bool = False) -> Sym:
        return apply(ctx, ctx.sym(input), kind, alpha, beta)

    return handler


def gelu(ctx: Context, input: Any, approximate: str = "none") -> Sym:
    if approximate not in ("none", "tanh"):
        ctx.refuse(f"approximate={approximate!r} is not supported")
    return apply(ctx, ctx.sym(input), "gelu" if approximate == "none" else "gelu_tanh")


def leaky_relu(
    ctx: Context, input: Any, negative_slope: float = 0.01, inplace: bool = False
) -> Sym:
    return apply(ctx, ctx.sym(input), "leaky_relu", negative_slope)


def rrelu(
    ctx: Context, input: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: Any = False,
    inplace: bool = False,
) -> Sym:  # fmt: skip
    if training:
        ctx.refuse("training=True is random; write training=self.training")
    return leaky_relu(ctx, input, (lower + upper) / 2)


def elu(ctx: Context, input: Any, alpha: float = 1.0, inplace: bool = False) -> Sym:
    return apply(ctx, ctx.sym(input), "elu", alpha)


def celu(ctx: Context, input: Any, alpha: float = 1.0, inplace: bool = False) -> Sym:
    return apply(ctx, ctx.sym(input), "celu", alpha)


def hardtanh(
    ctx: Context, input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Sym:
    return clamp(ctx, input, min_val, max_val)


def shrink(kind: str) -> Handler:
    def handler(ctx: Context, input: Any, lambd: float = 0.5) -> Sym:
        return apply(ctx, ctx.sym(input), kind, lambd)

    return handler


def threshold(
    ctx: Context, input: Any, threshold: float, value: float, inplace: bool = False
) -> Sym:
    if value != 0:
        ctx.refuse(f"value={value} is not supported, only 0")
    return apply(ctx, ctx.sym(input), "thresholded_relu", threshold)


def softplus(ctx: Context, input: Any, beta: float = 1.0, threshold: float = 20.0) -> Sym:
    """log(1 + exp(beta x)) / beta, and x itself above the threshold, where that differs less than
    float32 can tell if the threshold is high enough."""
    if threshold < 15:
        ctx.refuse(f"threshold={threshold} makes a step in the function; supported from 15 on")
    if not beta > 0:
        ctx.refuse(f"beta={beta} is not supported")
    x = ctx.sym(input)
    if beta == 1:
        return apply(ctx, x, "softplus")
    return scaled(ctx, apply(ctx, scaled(ctx, x, beta), "softplus"), 1 / beta)


def prelu(ctx: Context, input: Any, weight: Any) -> Sym:
    """max(x, 0) + weight min(x, 0), the weight being one, or one for each channel (axis 1)."""
    x = ctx.sym(input)
    slope = lift(ctx, weight).array
    if slope.size == 1:
        return apply(ctx, x, "leaky_relu", float(slope.ravel()[0]))
    if len(x.axes) < 2:
        ctx.refuse(f"gets {show(x)}, which has no channels")
    by_channel = slope.reshape(1, -1, *(1,) * (len(x.axes) - 2))
    above = apply(ctx, x, "relu")
    below = apply(ctx, scaled(ctx, x, -1.0), "relu")
    return add(ctx, above, multiply(ctx, below, Const(-by_channel, by_channel.shape)))


def softmax(
    ctx: Context, input: Any, dim: int | None = None, dtype: Any = None, _stacklevel: int = 3,
    log: bool = False,
) -> Sym:  # fmt: skip
    x = ctx.sym(input)
    if dim is None:
        ctx.refuse("dim=None is ambiguous; say dim=-1")
    if dtype is not None and str(dtype) != "torch.float32":
        ctx.refuse(f"dtype={dtype} is not supported")
    at = axis(ctx, x, dim)
    own = x.axes[at]
    if own == TIME:
        ctx.across(x)
        if log:
            ctx.refuse(f"dim={dim} of {show(x)} is time; the logarithm of that is not supported")
        return ctx.add(g.SoftmaxTime, x, x.axes)
    if isinstance(own, (str, Merged)):
        raise shapes.LayoutError(f"{ctx.where}: dim={dim} of {show(x)} is {own}: not supported")
    others = [a for i, a in enumerate(x.axes) if i != at and not isinstance(a, (str, Merged))]
    if all(a == 1 for a in others):
        return ctx.add(g.Softmax, x, x.axes, log=log)
    numbers(ctx, x)
    order = (*(i for i in range(len(x.axes)) if i != at), at)
    moved = shapes.reorder(ctx, x, order)
    y = ctx.add(g.Softmax, moved, moved.axes, size=own, log=log)
    return shapes.reorder(ctx, y, [order.index(i) for i in range(len(order))])


def log_softmax(
    ctx: Context, input: Any, dim: int | None = None, dtype: Any = None, _stacklevel: int = 3
) -> Sym:
    return softmax(ctx, input, dim, dtype, log=True)


def softmin(
    ctx: Context, input: Any, dim: int | None = None, dtype: Any = None, _stacklevel: int = 3
) -> Sym:
    return softmax(ctx, scaled(ctx, ctx.sym(input), -1.0), dim, dtype)


def glu(ctx: Context, input: Any, dim: int = -1) -> Sym:
    x = ctx.sym(input)
    at = axis(ctx, x, dim)
    if isinstance(x.axes[at], (Free, Flat)):
        numbers(ctx, x)
    if not isinstance(x.axes[at], int) or x.axes[at] % 2:
        ctx.refuse(f"dim={dim} of {show(x)} can't be halved")
    a, b = shapes.chunk(ctx, x, 2, at)
    return multiply(ctx, a, apply(ctx, b, "sigmoid"))


def clamp(ctx: Context, input: Any, min: Any = None, max: Any = None) -> Any:
    x = ctx.sym(input)
    for bound in (min, max):
        if bound is not None and not isinstance(bound, (int, float)):
            ctx.refuse("its bounds must be numbers")
    if min is None and max is None:
        ctx.refuse("has neither min nor max")
    if min is not None and max is not None:
        if min > max:
            ctx.refuse(f"min={min} is greater than max={max}")
        return apply(ctx, x, "clip", min, max)
    if min is not None:
        return apply(ctx, x, "relu") if min == 0 else bounded(ctx, x, "maximum", min)
    return bounded(ctx, x, "minimum", max)


def negate(ctx: Context, input: Any) -> Sym:
    return scaled(ctx, ctx.sym(input), -1.0)


def power(ctx: Context, input: Any, exponent: Any) -> Any:
    known = {2: ["square"], 0.5: ["sqrt"], -1: ["reciprocal"], -0.5: ["sqrt", "reciprocal"], 1: []}
    if not isinstance(exponent, (int, float)) or exponent not in known:
        ctx.refuse(f"exponent {exponent if isinstance(exponent, (int, float)) else ''} is not "
                   f"supported, only {', '.join(map(str, known))}")  # fmt: skip
    if isinstance(input, (int, float)):
        return input**exponent
    x = ctx.sym(input)
    for kind in known[exponent]:
        x = apply(ctx, x, kind)
    return x


def rsqrt(ctx: Context, input: Any) -> Any:
    return power(ctx, input, -0.5)
