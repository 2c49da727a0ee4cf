"""Layers on the steps of a sequence as nodes."""

from __future__ import annotations

import numpy as np

from .. import graph as g
from .pointwise import REDUCTIONS, movable
from .writer import LAST, WHOLE, Form, Writer

EMPTY = {"sum": 0.0, "mean": 0.0, "maximum": -np.inf, "minimum": np.inf}


def _moved(w: Writer, value: str | None) -> Form:
    """A tensor of a sequence, of one of those orders of axes that have the features last."""
    raw = movable(w, value)
    return w.form(str(value), w.features_last(value), numbers=raw.dtype not in WHOLE)


def last_step(w: Writer, layer: g.LastStep) -> None:
    x = _moved(w, layer.inputs[0])
    last = w.constant(np.array(-1, np.int64), "last")
    w.made(layer.outputs[0], w.node("Gather", x.name, last, axis=x.at("t")), "bf", dtype=x.dtype)


def reduce_time(w: Writer, layer: g.ReduceTime) -> None:
    x, mask = (*layer.inputs, None)[:2]
    axes = w.features_last(x)
    at = w.whole(axes.index("t"))
    y = w.get(x, axes)
    op = REDUCTIONS[layer.op]
    if mask is None:
        w.made(layer.outputs[0], w.node(op, y, at, keepdims=0), "bf")
        return
    counts = w.cast(w.get(mask, axes), "bool")
    y = w.node("Where", counts, y, w.number(EMPTY[layer.op]))
    if layer.op == "mean":
        y = w.node("ReduceSum", y, at, keepdims=0)
        number = w.node("ReduceSum", w.cast(counts, "float32"), at, keepdims=0)
        y = w.node("Div", y, w.node("Max", number, w.number(1.0)))
    else:
        y = w.node(op, y, at, keepdims=0)
    w.made(layer.outputs[0], y, "bf")


def reverse(w: Writer, layer: g.Reverse) -> None:
    x = _moved(w, layer.inputs[0])
    end, back, at = w.whole(-LAST), w.whole(-1), w.whole(x.at("t"))
    y = w.node("Slice", x.name, back, end, at, back)
    w.made(layer.outputs[0], y, x.axes, dtype=x.dtype)


def slice_time(w: Writer, layer: g.SliceTime) -> None:
    x = _moved(w, layer.inputs[0])
    end = w.whole(-layer.drop if layer.drop else LAST)
    step = w.whole(layer.step) if layer.step != 1 else ""
    y = w.node("Slice", x.name, w.whole(layer.start), end, w.whole(x.at("t")), step)
    w.made(layer.outputs[0], y, x.axes, dtype=x.dtype)


def pad_time(w: Writer, layer: g.PadTime) -> None:
    """Pad; where a mirror is known to be further away than there are steps, which runtimes refuse,
    the steps one by one."""
    (x,) = layer.inputs
    axes, time = w.features_last(x), w.spec(x).time
    assert time is not None
    if layer.mode == "reflect" and time.clock is None and max(
        layer.before, layer.after
    ) >= time.add:  # fmt: skip
        places = np.pad(np.arange(time.add), (layer.before, layer.after), mode="reflect")
        y = w.node("Gather", w.get(x, axes), w.whole(*places.tolist()), axis=axes.index("t"))
        w.made(layer.outputs[0], y, axes)
        return
    sides = ((n if a == "t" else 0 for a in axes) for n in (layer.before, layer.after))
    value = w.number(layer.value) if layer.mode == "constant" and layer.value else ""
    pads = w.whole(*(n for side in sides for n in side))
    y = w.node("Pad", w.get(x, axes), pads, value, mode=layer.mode)
    w.made(layer.outputs[0], y, axes)


def repeat(w: Writer, layer: g.Repeat) -> None:
    x, like = (*layer.inputs, None)[:2]
    axes = "btf" if like is None else w.features_last(like)
    raw = movable(w, x)
    row = w.form(str(x), "bf", numbers=raw.dtype not in WHOLE)
    at = axes.index("t")
    one = w.node("Unsqueeze", row.name, w.whole(at))
    if like is None:
        shape = w.whole(*(layer.count if a == "t" else 1 for a in axes))
    else:
        shape = w.join(*(w.steps(like) if a == "t" else w.whole(1) for a in axes))
    w.made(layer.outputs[0], w.node("Expand", one, shape), axes, dtype=row.dtype)


def flatten(w: Writer, layer: g.Flatten) -> None:
    (x,) = layer.inputs
    spec = w.spec(x)
    assert spec.time is not None
    raw = movable(w, x)
    form = w.form(str(x), "btf", numbers=raw.dtype not in WHOLE)
    y = w.node("Reshape", form.name, w.whole(0, spec.time.add * spec.features))
    w.made(layer.outputs[0], y, "bf", dtype=form.dtype)


def unflatten(w: Writer, layer: g.Unflatten) -> None:
    (x,) = layer.inputs
    raw = movable(w, x)
    form = w.form(str(x), "bf", numbers=raw.dtype not in WHOLE)
    shape = w.whole(0, layer.count, w.spec(x).features // layer.count)
    w.made(layer.outputs[0], w.node("Reshape", form.name, shape), "btf", dtype=form.dtype)


def restep(w: Writer, layer: g.Restep) -> None:
    x, like = (*layer.inputs, None)[:2]
    raw = movable(w, x)
    form = w.form(str(x), "btf", numbers=raw.dtype not in WHOLE)
    if like is None:
        shape = w.whole(0, layer.count, layer.features)
    else:
        shape = w.join(w.whole(0), w.steps(like), w.whole(layer.features))
    w.made(layer.outputs[0], w.node("Reshape", form.name, shape), "btf", dtype=form.dtype)


def softmax_time(w: Writer, layer: g.SoftmaxTime) -> None:
    (x,) = layer.inputs
    form = w.first(x)
    y = w.node("Softmax", form.name, axis=form.at("t"))
    w.put(layer.outputs[0], Form(y, form.axes, channels=form.channels))


def step_mask(w: Writer, layer: g.StepMask) -> None:
    n, like = layer.inputs
    zero, one = (w.constant(np.array(i, np.int64), "whole") for i in (0, 1))
    time = w.node("Squeeze", w.steps(like), w.whole(0))
    steps = w.cast(w.node("Range", zero, time, one), "float32")
    counts = w.node("Less", steps, w.get(n, "bf"))
    w.made(layer.outputs[0], w.cast(counts, "float32"), "bt")
