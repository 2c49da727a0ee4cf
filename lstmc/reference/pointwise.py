"""Layers on the features of each step, in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lstmc import graph as g

from .functions import REDUCTIONS, Array, fn

OPERATORS: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide,
    "maximum": np.maximum, "minimum": np.minimum, "mean": np.add,
}  # fmt: skip


def dense(layer: g.Dense, x: Array, *, lengths: Array) -> tuple[Array]:
    """activation(weight x + bias)."""
    y = x @ layer.weight.astype(float).T
    if layer.bias is not None:
        y = y + layer.bias.astype(float)
    return (fn(layer.activation, y),)


def activation(layer: g.Activation, x: Array, *, lengths: Array) -> tuple[Array]:
    return (fn(layer.activation, x),)


def softmax(layer: g.Softmax, x: Array, *, lengths: Array) -> tuple[Array]:
    parts = x.reshape(*x.shape[:-1], -1, layer.size or x.shape[-1])
    centred = parts - parts.max(axis=-1, keepdims=True)
    total = np.exp(centred).sum(axis=-1, keepdims=True)
    y = centred - np.log(total) if layer.log else np.exp(centred) / total
    return (y.reshape(x.shape),)


def embedding(layer: g.Embedding, x: Array, *, lengths: Array) -> tuple[Array]:
    """The weight's column for each feature of x; NaN where x is no index."""
    table = layer.weight.astype(float).T
    sound = (x >= 0) & (x < len(table)) & (x == np.floor(x))
    y = np.where(sound[..., None], table[np.where(sound, x, 0).astype(int)], np.nan)
    return (y.reshape(*x.shape[:-1], -1),)


def affine(layer: g.Affine, x: Array, *, lengths: Array) -> tuple[Array]:
    scale = 1.0 if layer.scale is None else layer.scale.astype(float)
    shift = 0.0 if layer.shift is None else layer.shift.astype(float)
    return (fn(layer.activation, x * scale + shift),)


def layer_norm(layer: g.LayerNorm, x: Array, *, lengths: Array) -> tuple[Array]:
    mean = 0.0 if layer.rms else x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    y = (x - mean) / np.sqrt(variance + float(np.float32(layer.epsilon)))
    if layer.scale is not None:
        y = y * layer.scale.astype(float)
    return (y if layer.shift is None else y + layer.shift.astype(float),)


def combine(layer: g.Combine, *inputs: Array, lengths: Array) -> tuple[Array]:
    """From left to right; one feature goes with all, a value without time with every step."""
    timed = any(x.ndim == 3 for x in inputs)
    spread = [x[:, None] if timed and x.ndim == 2 else x for x in inputs]
    op = OPERATORS[layer.op]
    y = spread[0]
    for x in spread[1:]:
        with np.errstate(all="ignore"):
            y = op(y, x)
    return (y / len(inputs) if layer.op == "mean" else y,)


def concat(layer: g.Concat, *inputs: Array, lengths: Array) -> tuple[Array]:
    return (np.concatenate(inputs, axis=-1),)


def select(layer: g.Select, x: Array, *, lengths: Array) -> tuple[Array]:
    return (x[..., list(layer.index)],)


def reduce(layer: g.Reduce, x: Array, *, lengths: Array) -> tuple[Array]:
    op = REDUCTIONS[layer.op]
    return (op(x, axis=-1, keepdims=True),)


def fill(layer: g.Fill, x: Array, *, lengths: Array) -> tuple[Array]:
    return (np.tile(np.asarray(layer.value, float), (len(x), 1)),)
