"""Layers on the features of each step as nodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .. import graph as g
from .functions import fn
from .writer import WHOLE, Form, Writer

OPERATORS = {
    "add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "maximum": "Max",
    "minimum": "Min", "mean": "Mean",
}  # fmt: skip
REDUCTIONS = {
    "sum": "ReduceSum", "mean": "ReduceMean", "maximum": "ReduceMax", "minimum": "ReduceMin"
}  # fmt: skip


def dense(w: Writer, layer: g.Dense) -> None:
    (x,) = layer.inputs
    axes = w.features_last(x)
    bias = "" if layer.bias is None else w.weight(layer.bias, "bias")
    if axes == "bf":
        y = w.node("Gemm", w.get(x, axes), w.weight(layer.weight, "weight"), bias, transB=1)
    else:
        y = w.node("MatMul", w.get(x, axes), w.weight(layer.weight.T, "weight"))
        y = w.node("Add", y, bias) if bias else y
    w.made(layer.outputs[0], fn(w, y, layer.activation), axes)


def activation(w: Writer, layer: g.Activation) -> None:
    x = w.first(layer.inputs[0])
    w.put(layer.outputs[0], Form(fn(w, x.name, layer.activation), x.axes, channels=x.channels))


def softmax(w: Writer, layer: g.Softmax) -> None:
    (x,) = layer.inputs
    axes, features = w.features_last(x), w.spec(x).features
    op = "LogSoftmax" if layer.log else "Softmax"
    y = w.get(x, axes)
    if layer.size in (0, features):
        y = w.node(op, y, axis=-1)
    else:
        steps = [0] * (len(axes) - 1)
        y = w.node("Reshape", y, w.whole(*steps, features // layer.size, layer.size))
        y = w.node("Reshape", w.node(op, y, axis=-1), w.whole(*steps, features))
    w.made(layer.outputs[0], y, axes)


def embedding(w: Writer, layer: g.Embedding) -> None:
    (x,) = layer.inputs
    assert x is not None
    axes, count = w.features_last(x), w.spec(x).features
    table = w.weight(layer.weight.T, "weight")
    if count == 1:
        y = w.node("Gather", table, w.indices(x, axes[:-1]), axis=0)
    else:
        y = w.node("Gather", table, w.indices(x, axes), axis=0)
        steps = [0] * (len(axes) - 1)
        y = w.node("Reshape", y, w.whole(*steps, count * layer.weight.shape[0]))
    w.made(layer.outputs[0], y, axes)


def affine(w: Writer, layer: g.Affine) -> None:
    (x,) = layer.inputs
    form = w.first(x)
    scale, shift = (_each_channel(v, form) for v in (layer.scale, layer.shift))
    if form.axes[:2] in ("bf", "bc") and scale is not None and shift is not None:
        # Behind a convolution the features are where this operator wants them.
        size = len(scale)
        y = w.node(
            "BatchNormalization", form.name, w.weight(scale, "scale"), w.weight(shift, "shift"),
            w.weight(np.zeros(size), "mean"), w.weight(np.ones(size), "variance"), epsilon=0.0,
        )  # fmt: skip
        y = fn(w, y, layer.activation)
        w.put(layer.outputs[0], Form(y, form.axes, channels=form.channels))
        return
    axes = w.features_last(x)
    y = w.get(x, axes)
    if layer.scale is not None:
        y = w.node("Mul", y, w.weight(layer.scale, "scale"))
    if layer.shift is not None:
        y = w.node("Add", y, w.weight(layer.shift, "shift"))
    w.made(layer.outputs[0], fn(w, y, layer.activation), axes)


def _each_channel(vector: np.ndarray | None, form: Form) -> np.ndarray | None:
    """A number for each feature of a form, or for each channel if it is the same at all positions;
    None if there is none."""
    if vector is None or not form.channels:
        return vector
    rows = vector.reshape(-1, form.channels)
    return rows[0] if np.all(rows == rows[0]) else None


def layer_norm(w: Writer, layer: g.LayerNorm) -> None:
    (x,) = layer.inputs
    axes, features = w.features_last(x), w.spec(x).features
    y = w.get(x, axes)
    if layer.rms:
        mean = w.node("ReduceMean", w.node("Mul", y, y), w.whole(-1), keepdims=1)
        root = w.node("Sqrt", w.node("Add", mean, w.number(layer.epsilon)))
        y = w.node("Div", y, root)
        y = y if layer.scale is None else w.node("Mul", y, w.weight(layer.scale, "scale"))
        y = y if layer.shift is None else w.node("Add", y, w.weight(layer.shift, "shift"))
    else:
        scale = np.ones(features) if layer.scale is None else layer.scale
        shift = "" if layer.shift is None else w.weight(layer.shift, "shift")
        y = w.node(
            "LayerNormalization", y, w.weight(scale, "scale"), shift, axis=-1, epsilon=layer.epsilon
        )
    w.made(layer.outputs[0], y, axes)


def combine(w: Writer, layer: g.Combine) -> None:
    names = [n for n in layer.inputs if n is not None]
    like, inputs = _together(w, names)
    op = OPERATORS[layer.op]
    alike = len({(w.spec(n).features, w.spec(n).time is None) for n in names}) == 1
    if layer.op in ("maximum", "minimum") or (layer.op == "mean" and alike):
        y = w.node(op, *inputs)
    elif layer.op == "mean":  # not every runtime's Mean spreads its inputs
        y = w.node("Div", w.node("Sum", *inputs), w.number(len(inputs)))
    else:
        y = inputs[0]
        for other in inputs[1:]:
            y = w.node(op, y, other)
    w.put(layer.outputs[0], replace(like, name=y))


def _together(w: Writer, names: list[str]) -> tuple[Form, list[str]]:
    """Tensors of values that go step by step together, and the form of what they make."""
    firsts = [w.first(n) for n in names]
    alike = {(f.axes, f.channels) for f in firsts}
    if len(alike) == 1 and len({w.spec(n).features for n in names}) == 1 and "b" in firsts[0].axes:
        return firsts[0], [f.name for f in firsts]
    axes = next((w.features_last(n) for n in names if w.spec(n).time is not None), "bf")
    rows = [n for n, f in zip(names, firsts, strict=True) if "b" in f.axes]
    inputs = []
    for n, f in zip(names, firsts, strict=True):
        if rows and f.axes == "f":
            inputs.append(f.name)
        elif w.spec(n).time is None and axes != "bf":
            key = "b1f" if axes == "btf" else "1bf"
            inputs.append(w.node("Unsqueeze", w.get(n, "bf"), w.whole(key.index("1"))))
        else:
            inputs.append(w.get(n, axes))
    return Form("", axes), inputs


def concat(w: Writer, layer: g.Concat) -> None:
    names = [n for n in layer.inputs if n is not None]
    axes = w.features_last(names[0])
    kinds = {w.first(n, numbers=False).dtype for n in names}
    whole = len(kinds) == 1 and kinds <= set(WHOLE)
    inputs = [w.form(n, axes, numbers=not whole).name for n in names]
    y = inputs[0] if len(inputs) == 1 else w.node("Concat", *inputs, axis=-1)
    w.made(layer.outputs[0], y, axes, dtype=kinds.pop() if whole else "float32")


def select(w: Writer, layer: g.Select) -> None:
    x = movable(w, layer.inputs[0])
    axes, index = w.features_last(layer.inputs[0]), layer.index
    form = w.form(str(layer.inputs[0]), axes, numbers=x.dtype not in WHOLE)
    first, last = index[0], index[-1]
    if index == tuple(range(first, last + 1)):
        y = w.node("Slice", form.name, w.whole(first), w.whole(last + 1), w.whole(-1))
    else:
        y = w.node("Gather", form.name, w.whole(*index), axis=-1)
    w.made(layer.outputs[0], y, axes, dtype=form.dtype)


def movable(w: Writer, value: str | None) -> Form:
    """A tensor whose numbers are only moved: whole ones stay whole, for an Embedding's sake."""
    raw = w.first(value, numbers=False)
    return raw if raw.dtype in WHOLE else w.first(value)


def reduce(w: Writer, layer: g.Reduce) -> None:
    (x,) = layer.inputs
    axes = w.features_last(x)
    y = w.node(REDUCTIONS[layer.op], w.get(x, axes), w.whole(-1), keepdims=1)
    w.made(layer.outputs[0], y, axes)


def fill(w: Writer, layer: g.Fill) -> None:
    assert layer.value is not None
    w.made(layer.outputs[0], w.weight(layer.value, "value"), "f")
