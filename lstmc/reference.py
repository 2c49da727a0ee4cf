"""The oracle: every layer in float64 numpy, slow and obvious.

This file is what lstmc *means*. The C core, the converters and, later, the gradients are checked
against it, so nothing here is fast, clever or shared with what it checks. Arrays inside a graph are
[batch, time, features], or [batch, features] for a value without a time axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import graph as g

Array = np.ndarray


def fn(f: g.Fn, x: Array) -> Array:
    """An elementwise function of :class:`lstmc.graph.Fn`."""
    if f.kind == "linear":
        return x
    if f.kind == "sigmoid":
        e = np.exp(-np.abs(x))
        return np.where(x >= 0, 1 / (1 + e), e / (1 + e))
    if f.kind == "tanh":
        return np.tanh(x)
    if f.kind == "relu":
        return np.maximum(x, 0)
    if f.kind == "hard_sigmoid":
        return np.clip(np.float32(f.alpha).astype(float) * x + float(np.float32(f.beta)), 0, 1)
    if f.kind == "exponential":
        return np.exp(x)
    raise AssertionError(f.kind)


def lstm(
    layer: g.LSTM, x: Array, lengths: Array, state: tuple[Array, Array] | None = None
) -> tuple[Array, Array, Array]:
    """h of every step [batch, time, H], last h and c [batch, H].

    Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000:
    i, f, o = gate(W x + R h + b), g = candidate(W x + R h + b), c' = f c + i g, h' = o output(c').
    Beyond a row's length its state stays as it was and its sequence output is zero.
    """
    batch, time, _ = x.shape
    hidden = layer.hidden_size
    w_ih, w_hh = layer.weight_ih.astype(float), layer.weight_hh.astype(float)
    bias = np.zeros(4 * hidden) if layer.bias is None else layer.bias.astype(float)
    h, c = (s.copy() for s in state) if state else (np.zeros((batch, hidden)) for _ in range(2))
    sequence = np.zeros((batch, time, hidden))
    for b in range(batch):
        for t in range(lengths[b]):
            p = w_ih @ x[b, t] + w_hh @ h[b] + bias
            i, f, g_, o = np.split(p, 4)
            c[b] = fn(layer.gate, f) * c[b] + fn(layer.gate, i) * fn(layer.candidate, g_)
            h[b] = fn(layer.gate, o) * fn(layer.output, c[b])
            sequence[b, t] = h[b]
    return sequence, h, c


def dense(layer: g.Dense, x: Array, lengths: Array) -> tuple[Array]:
    """activation(weight x + bias)."""
    y = x @ layer.weight.astype(float).T
    if layer.bias is not None:
        y = y + layer.bias.astype(float)
    return (fn(layer.activation, y),)


def activation(layer: g.Activation, x: Array, lengths: Array) -> tuple[Array]:
    return (fn(layer.activation, x),)


def softmax(layer: g.Softmax, x: Array, lengths: Array) -> tuple[Array]:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return (e / e.sum(axis=-1, keepdims=True),)


def last_step(layer: g.LastStep, x: Array, lengths: Array) -> tuple[Array]:
    y = np.zeros((x.shape[0], x.shape[2]))
    for b, n in enumerate(lengths):
        if n:
            y[b] = x[b, n - 1]
    return (y,)


LAYERS: dict[type[g.Layer], Callable[..., tuple[Array, ...]]] = {
    g.LSTM: lstm,
    g.Dense: dense,
    g.Activation: activation,
    g.Softmax: softmax,
    g.LastStep: last_step,
}


def to_internal(value: g.Value, array: Array) -> Array:
    """An array in a value's own axis order as [batch, (time,) features] float64."""
    order = [value.axes.index(a) for a in (g.BATCH, g.TIME) if a in value.axes]
    rest = [i for i in range(len(value.axes)) if i not in order]
    a = np.transpose(np.asarray(array, dtype=float), order + rest)
    return a.reshape(*a.shape[: len(order)], value.spec.features)


def from_internal(value: g.Value, array: Array) -> Array:
    """The inverse of :func:`to_internal`."""
    symbols = [a for a in (g.BATCH, g.TIME) if a in value.axes]
    sizes = [a for a in value.axes if not isinstance(a, str)]
    a = array.reshape(*array.shape[: len(symbols)], *sizes)
    position: dict[Any, int] = {s: i for i, s in enumerate(symbols)}
    rest = iter(range(len(symbols), a.ndim))
    return np.transpose(a, [position[x] if isinstance(x, str) else next(rest) for x in value.axes])


def run(
    graph: g.Graph, inputs: Mapping[str, Array], lengths: Array | None = None
) -> dict[str, Array]:
    """All outputs of the graph by name, float64, from zero state.

    ``inputs`` holds an array for each input, in that input's own axis order; ``lengths`` is int
    [batch], the valid time steps of each row, all of them if None.
    """
    values: dict[str, Array] = {v.name: to_internal(v, inputs[v.name]) for v in graph.inputs}
    batch = values[graph.inputs[0].name].shape[0]
    if lengths is None:
        time = max([values[v.name].shape[1] for v in graph.inputs if v.spec.time], default=1)
        lengths = np.full(batch, time)
    for layer in graph.layers:
        out = LAYERS[type(layer)](layer, *(values[n] for n in layer.inputs), lengths)
        values.update({n: a for n, a in zip(layer.outputs, out, strict=True) if n is not None})
    return {v.name: from_internal(v, values[v.name]) for v in graph.outputs}
