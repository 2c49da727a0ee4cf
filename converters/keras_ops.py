"""Handlers of the operations of keras.ops that stand in functional models: `x + y`, `x[:, -1]`, ...

Operations carry no masks: whatever they make has none. Plain numbers among their arguments become
part of the layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from lstmc import graph as g

from . import keras_functions as functions
from .keras_build import SEQUENCE, STEPS, VECTOR, Builder, Tensor, activation, affine, combine, fn
from .keras_merge import complement, joined
from .keras_steps import known_steps, reduce_time, select, transposed, unflat
from .keras_tree import IGNORE, Kind, Layer, read

Given = dict[str, Any]


def _bare(x: Tensor) -> Tensor:
    return dataclasses.replace(x, mask=None, doubt="")


def _number(layer: Layer, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 3e38:
        layer.refuse(f"it is called with {str(value)[:60]}", "call it with tensors or numbers")
    return float(value)


# -------------------------------------------------------------------------------------- arithmetic


def binary(op: str) -> Callable[..., Tensor]:
    """Of two tensors of one shape (or of 1 feature), or of a tensor and a number."""

    def build(b: Builder, layer: Layer, given: Given, label: str) -> Tensor:
        left, right = given["x1"], given.get("x2")
        if isinstance(left, Tensor) and isinstance(right, Tensor):
            x, y = b.tensor(layer, left), b.tensor(layer, right)
            if x.form != y.form:
                x, y = b.vector(x), b.vector(y)
            if x.form != y.form:
                layer.refuse(f"it gets {x} and {y}", "use the layer Add, or its like")
            return b.add(combine(op), [x, y], label)
        if not isinstance(left, Tensor):
            return _with_left(b, layer, _number(layer, left), b.tensor(layer, right), label)
        return _with_right(b, layer, b.tensor(layer, left), _number(layer, right), label)

    def _with_right(b: Builder, layer: Layer, x: Tensor, c: float, label: str) -> Tensor:
        if op in ("add", "subtract"):
            return b.add(affine(x.features, None, c if op == "add" else -c), x, label)
        if op == "multiply":
            return b.add(affine(x.features, c, None), x, label)
        return b.add(combine(op), [x, _constant(b, x, c, label)], label)

    def _with_left(b: Builder, layer: Layer, c: float, x: Tensor, label: str) -> Tensor:
        if op == "subtract":
            return b.add(affine(x.features, -1.0, c), x, label)
        if op == "divide":
            return b.add(combine(op), [_constant(b, x, c, label), x], label)
        return _with_right(b, layer, x, c, label)

    return build


def _constant(b: Builder, x: Tensor, c: float, label: str) -> Tensor:
    value = np.full(x.features, c)
    return b.add(g.Fill(name="", inputs=(), outputs=(), value=value), x, f"{label}/constant")


def negative(b: Builder, layer: Layer, given: Given, label: str) -> Tensor:
    x = b.tensor(layer, given["x"])
    return b.add(affine(x.features, -1.0, None), x, label)


def unary(make: Callable[[Builder, Layer], functions.Function]) -> Callable[..., Tensor]:
    def build(b: Builder, layer: Layer, given: Given, label: str) -> Tensor:
        x = b.tensor(layer, given["x"])
        return _bare(make(b, layer).apply(b, layer, x, label))

    return build


def _plain(kind: str, *options: str) -> Callable[[Builder, Layer], functions.Function]:
    def make(b: Builder, layer: Layer) -> functions.Function:
        return functions.plain(fn(layer, kind, *(layer.number(o) for o in options)))

    return make


def _named(name: str) -> Callable[[Builder, Layer], functions.Function]:
    return lambda b, layer: functions.named(b, layer, "activation", name)


def _gelu(b: Builder, layer: Layer) -> functions.Function:
    return functions.plain(fn(layer, "gelu_tanh" if layer.flag("approximate") else "gelu"))


def softmax(log: bool) -> Callable[..., Tensor]:
    def build(b: Builder, layer: Layer, given: Given, label: str) -> Tensor:
        x = b.tensor(layer, given["x"])
        axis = layer.axis("axis", x.rank, -1)
        if axis == 0 or (log and (x.form == STEPS or axis != x.rank - 1)):
            layer.refuse(f"option axis={axis} is not supported", "use the last axis, -1")
        if x.form == STEPS or axis != x.rank - 1:
            return functions.softmax_steps(b, x, label)
        return functions.softmax_features(b, x, label, log)

    return build


# ------------------------------------------------------------------------------------------- masks


def not_equal(equal: bool) -> Callable[..., Tensor]:
    """Of a tensor and a number: what becomes a mask."""

    def build(b: Builder, layer: Layer, given: Given, label: str) -> Tensor:
        x, value = given["x1"], given.get("x2")
        if not isinstance(x, Tensor):
            x, value = value, x
        x = b.tensor(layer, x, ("float", "int"))
        value = float(np.float32(_number(layer, value)))
        name = f"{label}/unequal" if equal else label
        y = b.add(activation(fn(layer, "not_equal", value)), x, name)
        if equal:
            y = b.add(affine(x.features, -1.0, 1.0), y, label)
        return dataclasses.replace(y, kind="bool")

    return build


def any_all(op: str) -> Callable[..., Tensor]:
    def build(b: Builder, layer: Layer, given: Given, label: str) -> Tensor:
        x = b.tensor(layer, given["x"], ("bool",))
        axis, keep = _reduced_axis(layer, x)
        if x.form != SEQUENCE or axis != 2:
            layer.refuse(f"option axis={axis} is not supported", "use it over the features")
        y = b.add(g.Reduce(name="", inputs=(), outputs=(), op=op), x, label)
        return dataclasses.replace(y, kind="bool", form=SEQUENCE if keep else STEPS)

    return build


def logical(op: str) -> Callable[..., Tensor]:
    def build(b: Builder, layer: Layer, given: Given, label: str) -> Tensor:
        x = b.tensor(layer, given["x1"], ("bool",))
        y = b.tensor(layer, given.get("x2"), ("bool",))
        if x.form != y.form:
            layer.refuse(f"it gets {x} and {y}", "give it two of one rank")
        return dataclasses.replace(b.add(combine(op), [x, y], label), kind="bool")

    return build


def logical_not(b: Builder, layer: Layer, given: Given, label: str) -> Tensor:
    x = b.tensor(layer, given["x"], ("bool",))
    if x.features == 1:
        return dataclasses.replace(complement(b, x), kind="bool")
    return dataclasses.replace(b.add(affine(x.features, -1.0, 1.0), x, label), kind="bool")


def filled(value: float) -> Callable[..., Tensor]:
    """zeros_like and ones_like of booleans, which Keras makes of masks that go together."""

    def build(b: Builder, layer: Layer, given: Given, label: str) -> Tensor:
        x = b.tensor(layer, given["x"], ("float", "bool", "int"))
        if layer.config.get("dtype") != "bool":
            dtype = str(layer.config.get("dtype"))[:60]
            layer.refuse(f"option dtype={dtype} is not supported", "use it for masks only")
        known = x  # finite, whatever x is
        if x.kind != "bool":
            known = b.add(activation(fn(layer, "not_equal", 0.0)), x, f"{label}/unequal")
        y = b.add(affine(x.features, 0.0, value), known, label)
        return dataclasses.replace(y, kind="bool")

    return build


def cast(b: Builder, layer: Layer, given: Given, label: str) -> Tensor:
    x = b.tensor(layer, given["x"], ("float", "int", "bool"))
    kind = {"float32": "float", "bool": "bool"}.get(str(layer.config.get("dtype")))
    if kind == x.kind:
        return x
    if kind != "float":
        layer.refuse(
            f"option dtype={str(layer.config.get('dtype'))[:60]} is not supported", "drop it"
        )
    return dataclasses.replace(x, kind=kind)


# ------------------------------------------------------------------------------------------- shape


def _reduced_axis(layer: Layer, x: Tensor) -> tuple[int, bool]:
    axis = layer.axis("axis", x.rank)
    if axis == 0:
        layer.refuse("option axis=0 is not supported", "leave the batch alone")
    return axis, layer.flag("keepdims", False)


def reduction(op: str) -> Callable[..., Tensor]:
    def build(b: Builder, layer: Layer, given: Given, label: str) -> Tensor:
        x = b.tensor(layer, given["x"])
        axis, keep = _reduced_axis(layer, x)
        if x.form != VECTOR and axis == 1:
            y = b.add(reduce_time(op), x, label)
            if x.form == SEQUENCE:
                return unflat(b, y, 1, f"{label}/kept") if keep else y
        else:
            y = b.add(g.Reduce(name="", inputs=(), outputs=(), op=op), x, label)
            if x.form == SEQUENCE:
                return dataclasses.replace(y, form=SEQUENCE if keep else STEPS)
        return y if keep else layer.refuse("it leaves [batch] only", "use keepdims=True")

    return build


def concatenate(b: Builder, layer: Layer, given: Given, label: str) -> Tensor:
    x = _list(b, layer, given["xs"], ("float", "bool"))
    if len({t.kind for t in x}) != 1:
        layer.refuse("it joins numbers and booleans", "cast the booleans")
    y = joined(b, layer, x, layer.axis("axis", x[0].rank, 0), label)
    return dataclasses.replace(y, kind=x[0].kind)


def _list(b: Builder, layer: Layer, x: Any, kinds: tuple[str, ...] = ("float",)) -> list[Tensor]:
    if not isinstance(x, list) or len(x) < 2:
        layer.refuse("it is called with one tensor", "call it with a list of two or more")
    return [b.vector(b.tensor(layer, t, kinds)) for t in x]


def stack(b: Builder, layer: Layer, given: Given, label: str) -> Tensor:
    """Vectors as the steps of a sequence."""
    x = _list(b, layer, given["x"])
    if layer.config.get("axis") not in (1, -2) or {t.form for t in x} != {VECTOR}:
        layer.refuse("it doesn't make steps of vectors", "stack [batch, features] with axis=1")
    if len({t.features for t in x}) != 1:
        layer.refuse("its tensors differ in size", "save the model again")
    y = b.add(g.Concat(name="", inputs=(), outputs=()), x, f"{label}/flat")
    return unflat(b, y, len(x), label)


def expand_dims(b: Builder, layer: Layer, given: Given, label: str) -> Tensor:
    x = b.tensor(layer, given["x"], ("float", "bool"))
    axis = layer.axis("axis", x.rank + 1)
    if x.form == STEPS and axis == 2:
        return _bare(dataclasses.replace(x, form=SEQUENCE))
    if x.form == VECTOR and axis == 1 and x.kind == "float":
        return unflat(b, x, 1, label)
    if x.form == VECTOR and axis == 2 and x.kind == "float":
        return unflat(b, x, x.features, label)
    return layer.refuse(f"option axis={axis} is not supported for {x}", "use a Reshape layer")


def squeeze(b: Builder, layer: Layer, given: Given, label: str) -> Tensor:
    x = b.tensor(layer, given["x"], ("float", "bool"))
    if x.form != SEQUENCE or x.features != 1 or layer.axis("axis", 3) != 2:
        layer.refuse(f"it is not supported for {x}", "squeeze the features of [batch, time, 1]")
    return _bare(dataclasses.replace(x, form=STEPS))


def flip(b: Builder, layer: Layer, given: Given, label: str) -> Tensor:
    x = b.tensor(layer, given["x"], ("float", "bool"))
    axis = layer.axis("axis", x.rank)
    if axis == x.rank - 1 and x.form != STEPS:
        y = select(b, x, tuple(reversed(range(x.features))), label)
    elif axis == 1:
        y = b.add(g.Reverse(name="", inputs=(), outputs=()), x, label)
    else:
        layer.refuse("option axis=0 is not supported", "leave the batch alone")
    return dataclasses.replace(y, kind=x.kind)


def transpose(b: Builder, layer: Layer, given: Given, label: str) -> Tensor:
    x = b.tensor(layer, given["x"])
    if layer.config.get("axes") != [0, 2, 1] or x.form != SEQUENCE:
        layer.refuse(
            f"option axes={str(layer.config.get('axes'))[:60]} is not supported", "use [0, 2, 1]"
        )
    return transposed(b, layer, x, label)


def get_item(b: Builder, layer: Layer, given: Given, label: str) -> Tensor:
    """x[:, steps, features]: slices, and single steps or features."""
    x = b.tensor(layer, given["x"], ("float", "bool", "int"))
    key = given.get("key")
    parts = list(key) if isinstance(key, list) else [key]
    if ... in parts:
        at = parts.index(...)
        parts[at : at + 1] = [slice(None)] * (x.rank - len(parts) + 1)
    parts += [slice(None)] * (x.rank - len(parts))
    if len(parts) != x.rank or any(type(p) not in (int, slice) for p in parts):
        layer.refuse(f"the index {str(key)[:60]} is not supported", "use slices and numbers")
    if parts[0] != slice(None):
        layer.refuse("it picks rows of the batch", "leave the batch alone")
    y = _bare(x)
    if x.form == VECTOR:
        y = _features(b, layer, y, parts[1], label)
        return dataclasses.replace(y, kind=x.kind)
    if x.form == SEQUENCE:
        y = _features(b, layer, y, parts[2], label)
    y = _steps(b, layer, y, parts[1], label)
    if x.form == SEQUENCE and type(parts[2]) is int:
        if type(parts[1]) is int:
            layer.refuse("it leaves [batch] only", "use a slice of one feature")
        y = dataclasses.replace(y, form=STEPS)
    elif x.form == SEQUENCE and type(parts[1]) is slice:
        y = dataclasses.replace(y, form=SEQUENCE)
    elif x.form == STEPS and type(parts[1]) is int:
        layer.refuse("it leaves [batch] only", "use a slice of one step")
    return dataclasses.replace(y, kind=x.kind)


def _features(b: Builder, layer: Layer, x: Tensor, part: Any, label: str) -> Tensor:
    everything = range(x.features)
    if type(part) is int:
        if x.form == VECTOR:
            layer.refuse("it leaves [batch] only", "use a slice of one feature")
        if not -x.features <= part < x.features:
            layer.refuse(f"the index {part} is out of range", "save the model again")
        index = (everything[part],)
    else:
        index = tuple(everything[part]) if part.step != 0 else ()
        if not index:
            layer.refuse("it leaves nothing", "save the model again")
    return x if index == tuple(everything) else select(b, x, index, f"{label}/features")


def _steps(b: Builder, layer: Layer, x: Tensor, part: Any, label: str) -> Tensor:
    """Steps counted from the end stay so: they need no fixed number of steps."""
    n = b.steps(x)
    if type(part) is int:
        if n is not None and not -n <= part < n:
            layer.refuse(f"the step {part} is out of range", "save the model again")
        if part < 0:
            y = _slice(b, x, 0, -part - 1, 1, label)
        else:
            y = _slice(b, x, part, 0, 1, label)
            y = b.add(g.Reverse(name="", inputs=(), outputs=()), y, f"{label}/first")
        return b.add(g.LastStep(name="", inputs=(), outputs=()), y, label)
    start, stop, step = part.start or 0, part.stop, 1 if part.step is None else part.step
    if step < 1:
        layer.refuse(f"it takes every {step}th step", "use positive steps")
    if start < 0 or (stop is not None and stop >= 0):
        n = known_steps(b, layer, x)
        start, stop, _ = part.indices(n)
        drop = n - stop
        if start >= stop:
            layer.refuse("it leaves no steps", "save the model again")
    else:
        drop = 0 if stop is None else -stop
    return _slice(b, x, start, drop, step, label)


def _slice(b: Builder, x: Tensor, start: int, drop: int, step: int, label: str) -> Tensor:
    if (start, drop, step) == (0, 0, 1):
        return x
    made = g.SliceTime(name="", inputs=(), outputs=(), start=start, drop=drop, step=step)
    return b.add(made, x, f"{label}/steps")


# --------------------------------------------------------------------------------------- registry


def _two(build: Callable[..., Tensor]) -> Kind:
    return Kind(build, params=("x1", "x2"))


def _one(make: Callable[[Builder, Layer], functions.Function], *options: str) -> Kind:
    return Kind(unary(make), read(*options), params=("x",))


def _reduce(op: str) -> Kind:
    return Kind(reduction(op), read("axis", "keepdims"), params=("x",))


OPERATIONS: dict[str, Kind] = {
    "Absolute": _one(_plain("abs")),
    "Add": _two(binary("add")),
    "All": Kind(any_all("minimum"), read("axis", "keepdims"), params=("x",)),
    "Any": Kind(any_all("maximum"), read("axis", "keepdims"), params=("x",)),
    "Cast": Kind(cast, read("dtype"), params=("x",)),
    "Celu": _one(_plain("celu", "alpha"), "alpha"),
    "Clip": _one(_plain("clip", "x_min", "x_max"), "x_min", "x_max"),
    "Concatenate": Kind(concatenate, read("axis"), params=("xs",)),
    "Divide": _two(binary("divide")),
    "Elu": _one(_plain("elu", "alpha"), "alpha"),
    "Equal": _two(not_equal(equal=True)),
    "Exp": _one(_named("exponential")),
    "ExpandDims": Kind(expand_dims, read("axis"), params=("x",)),
    "Flip": Kind(flip, read("axis"), params=("x",)),
    "Gelu": _one(_gelu, "approximate"),
    "GetItem": Kind(get_item, params=("x", "key")),
    "HardShrink": _one(_plain("hard_shrink", "threshold"), "threshold"),
    "HardSigmoid": _one(_named("hard_sigmoid")),
    "HardSilu": _one(_named("hard_silu")),
    "HardTanh": _one(_named("hard_tanh")),
    "LeakyRelu": _one(functions.leaky_relu, "negative_slope"),
    "Log": _one(_plain("log")),
    "LogSigmoid": _one(_named("log_sigmoid")),
    "LogSoftmax": Kind(softmax(log=True), read("axis"), params=("x",)),
    "LogicalAnd": _two(logical("multiply")),
    "LogicalNot": Kind(logical_not, params=("x",)),
    "LogicalOr": _two(logical("maximum")),
    "Max": Kind(
        reduction("maximum"), {**read("axis", "keepdims"), "initial": IGNORE}, params=("x",)
    ),
    "Maximum": _two(binary("maximum")),
    "Mean": _reduce("mean"),
    "Min": Kind(
        reduction("minimum"), {**read("axis", "keepdims"), "initial": IGNORE}, params=("x",)
    ),
    "Minimum": _two(binary("minimum")),
    "Mish": _one(_named("mish")),
    "Multiply": _two(binary("multiply")),
    "Negative": Kind(negative, params=("x",)),
    "NotEqual": _two(not_equal(equal=False)),
    "OnesLike": Kind(filled(1.0), read("dtype"), params=("x",)),
    "ReLU": _one(functions.relu, "max_value", "negative_slope", "threshold"),
    "Reciprocal": _one(_plain("reciprocal")),
    "Relu": _one(_named("relu")),
    "Relu6": _one(_named("relu6")),
    "Selu": _one(_named("selu")),
    "Sigmoid": _one(_named("sigmoid")),
    "Sign": _one(_plain("sign")),
    "Silu": _one(_named("silu")),
    "SoftShrink": _one(_plain("soft_shrink", "threshold"), "threshold"),
    "Softmax": Kind(softmax(log=False), read("axis"), params=("x",)),
    "Softplus": _one(_named("softplus")),
    "Softsign": _one(_named("softsign")),
    "SparsePlus": _one(_named("sparse_plus")),
    "SparseSigmoid": _one(_named("sparse_sigmoid")),
    "Sqrt": _one(_plain("sqrt")),
    "Square": _one(_plain("square")),
    "Squareplus": _one(_plain("squareplus", "b"), "b"),
    "Squeeze": Kind(squeeze, read("axis"), params=("x",)),
    "Stack": Kind(stack, read("axis"), params=("x",)),
    "Subtract": _two(binary("subtract")),
    "Sum": _reduce("sum"),
    "Tanh": _one(_named("tanh")),
    "TanhShrink": _one(_named("tanh_shrink")),
    "Transpose": Kind(transpose, read("axes"), params=("x",)),
    "TrueDivide": _two(binary("divide")),
    "ZerosLike": Kind(filled(0.0), read("dtype"), params=("x",)),
}
__all__ = ["OPERATIONS"]
