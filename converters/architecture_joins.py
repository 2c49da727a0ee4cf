"""Layers of an architecture that have no weights: those of several inputs, and what moves features.

:data:`JOINS` read ``inputs``, a list of names; :data:`MOVES` what is before them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.graph import BATCH, TIME

from . import torch_arithmetic as arithmetic
from . import torch_reshape as reshape
from . import torch_shapes as shapes
from .architecture_build import Builder, positioned
from .torch_values import Const, Size, Sym, show

Handler = Callable[[Builder, dict[str, Any]], None]
Keys = dict[str, Any]


# ------------------------------------------------------------------------------- several inputs


def _given(b: Builder, entry: dict[str, Any]) -> list[Sym]:
    """The values that ``inputs`` names: all with a time axis of 1 at least, if one has time."""
    xs = [b.ctx.sym(b.value(name)) for name in entry.get("inputs", ())]
    if len(xs) < 2:
        b.ctx.refuse('it takes inputs, a list of the names of two values or more: ["a", "b"]')
    if any(TIME in x.axes for x in xs):
        xs = [x if TIME in x.axes else shapes.unsqueeze(b.ctx, x, 1) for x in xs]
    return xs


def _combined(op: str) -> Handler:
    """All inputs, from left to right; one of 1 feature goes with every feature of the others."""

    def handler(b: Builder, entry: dict[str, Any]) -> None:
        first, *others = _given(b, entry)
        for y in others:
            first = arithmetic.combine(b.ctx, op, first, y)
        b.x = first

    return handler


def _concat(b: Builder, entry: dict[str, Any]) -> None:
    """The features of all inputs, one input after another; of positions, their channels."""
    xs = _given(b, entry)
    timed = next((x for x in xs if TIME in x.axes), None)
    if timed is not None:
        whole = Size((TIME,), timed.value)
        xs = [
            x if TIME in x.axes else reshape.expand(b.ctx, x, -1, whole, *(-1,) * (len(x.axes) - 2))
            for x in xs
        ]
    b.sized(sum(count(x) for x in xs))
    b.x = reshape.cat(b.ctx, tuple(xs), -1)


def count(x: Sym) -> int:
    """The features of a value, as far as they are known."""
    return math.prod(a for a in x.axes if isinstance(a, int))


# --------------------------------------------------------------------------------------- features


def _slice(b: Builder, entry: dict[str, Any]) -> None:
    """Features start to stop, not included; of positions, their channels. As Python slices."""
    b.sized(count(b.x))
    part = slice(entry.get("start"), entry.get("stop"))
    b.x = shapes.getitem(b.ctx, b.x, (Ellipsis, part))


def _function(kind: str) -> Handler:
    def handler(b: Builder, entry: dict[str, Any]) -> None:
        b.x = arithmetic.apply(b.ctx, b.ctx.sym(b.x), kind)

    return handler


def _scale(b: Builder, entry: dict[str, Any]) -> None:
    """factor x + offset."""
    factor, offset = float(entry.get("factor", 1.0)), float(entry.get("offset", 0.0))
    b.x = arithmetic.scaled(b.ctx, b.ctx.sym(b.x), factor, offset)


def _unflatten(b: Builder, entry: dict[str, Any]) -> None:
    """Features as positions with channels, in this order."""
    shape = entry.get("shape", [])
    sizes = [n for n in shape if type(n) is int and n > 0]
    own = b.x.axes[-1] if b.x.axes else None
    if len(sizes) != 2 or len(shape) != 2:
        b.ctx.refuse("shape must be [positions, channels], such as [576, 1]")
    if positioned(b.x) or own != math.prod(sizes):
        b.ctx.refuse(f"gets {show(b.x)}, can't make {shape} of it")
    b.sized(count(b.x))
    b.x = reshape.unflatten(b.ctx, b.x, -1, tuple(sizes))


def _pad(b: Builder, entry: dict[str, Any]) -> None:
    mode = entry.get("mode", "constant")
    before, after = entry.get("before", 0), entry.get("after", 0)
    if mode not in PADS and mode != "constant":
        b.ctx.refuse(f"mode = '{mode}'; known: constant, {', '.join(PADS)}")
    if min(before, after) < 0 or not before + after:
        b.ctx.refuse("before and after say how many are added, 0 or more, and not both 0")
    if mode != "constant" and "value" in entry:
        b.ctx.refuse("value goes with mode = 'constant' only")
    pad(b, before, after, mode, float(entry.get("value", 0.0)))


#: The index of what stands at place i of n, before the first and after the last one.
PADS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "reflect": lambda i, n: n - 1 - np.abs(n - 1 - np.abs(i)),
    "replicate": lambda i, n: np.clip(i, 0, n - 1),
    "circular": lambda i, n: i % n,
}


def pad(b: Builder, before: int, after: int, mode: str = "constant", value: float = 0.0) -> None:
    """More positions, or where there are none more steps, at both ends. As torch's pad."""
    ctx, x = b.ctx, b.ctx.sym(b.x)
    if not abs(value) <= g.FLOAT32_MAX:
        ctx.refuse(f"value = {value} is not supported")
    if not before + after:
        return
    if not positioned(x):
        if TIME not in x.axes:
            ctx.refuse("its input has neither time nor positions; Unflatten makes some")
        if mode != "constant":
            ctx.refuse(f"mode = '{mode}' of time is not supported, only of positions")
        b.x = ctx.add(g.PadTime, x, x.axes, before=before, after=after, value=value)
        return
    n, channels = x.axes[-2:]
    b.sized((n + before + after) * channels)
    axes = (*x.axes[:-2], n + before + after, channels)
    if mode == "constant":
        ends = (_constant(b, x, count * channels, value) for count in (before, after))
        parts = [*ends]
        parts.insert(1, (x.value, n * channels))
        b.x = Sym(ctx.concat([p for p in parts if p[1]]), axes)
        return
    if max(before, after) > {"reflect": n - 1, "circular": n}.get(mode, before + after):
        ctx.refuse(f"mode = '{mode}' can't add {max(before, after)} to {n} positions")
    picked = PADS[mode](np.arange(-before, n + after), n)
    index = np.take(shapes.indices(ctx, x), picked, axis=shapes.place(x, len(x.axes) - 2))
    b.x = ctx.select(x, index, axes)


def _constant(b: Builder, x: Sym, size: int, value: float) -> tuple[str, int]:
    """So many features of one value, with time if x has it."""
    if not size:
        return "", 0
    front = (BATCH, TIME) if TIME in x.axes else (BATCH,)
    array = np.full((*(1,) * len(front), size), value, np.float32)
    return b.ctx.constant(Const(array, (*front, size), x.value)).value, size


_INPUTS: Keys = {"inputs": list}
_NUMBER = (int, float)

# Type in lower case -> (what builds it, the keys it takes besides type and name).
JOINS: dict[str, tuple[Handler, Keys]] = {
    **{
        op: (_combined(op), _INPUTS)
        for op in ("add", "subtract", "multiply", "divide", "maximum", "minimum")
    },
    "concat": (_concat, _INPUTS),
}
MOVES: dict[str, tuple[Handler, Keys]] = {
    **{kind: (_function(kind), {}) for kind in ("abs", "log", "reciprocal", "sqrt", "square")},
    "exp": (_function("exponential"), {}),
    "scale": (_scale, {"factor": _NUMBER, "offset": _NUMBER}),
    "slice": (_slice, {"start": int, "stop": int}),
    "unflatten": (_unflatten, {"shape": list}),
    "pad": (_pad, {"before": int, "after": int, "mode": str, "value": _NUMBER}),
}
