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


def recurrent(
    layer: g.Recurrent,
    x: Array,
    lengths: Array,
    mask: Array | None,
    states: tuple[Array, ...],
    cell: Callable[..., tuple[Array, ...]],
) -> tuple[Array, ...]:
    """The frame around every cell: (sequence, last states ...).

    ``cell(x_t, *states)`` gives the new states of one row, h first; ``lengths`` are those of x.
    """
    batch, time, _ = x.shape
    last = [s.copy() for s in states]
    sequence = np.zeros((batch, time, layer.output_size))
    for b in range(batch):
        output = np.zeros(layer.output_size)
        for t in reversed(range(lengths[b])) if layer.reverse else range(lengths[b]):
            if mask is not None and mask[b, t, 0] == 0:
                if layer.hold:
                    sequence[b, t] = output
                continue
            new = cell(x[b, t], *(s[b] for s in last))
            for s, value in zip(last, new, strict=True):
                s[b] = value
            output = sequence[b, t] = new[0]
    return sequence, *last


def _initial(layer: g.Recurrent, batch: int, given: tuple[Array | None, ...]) -> tuple[Array, ...]:
    """The states a call starts from."""
    sizes = layer.state_sizes
    padded = (*given, *(None,) * len(sizes))[: len(sizes)]
    return tuple(
        np.zeros((batch, n)) if s is None else np.asarray(s, float)
        for s, n in zip(padded, sizes, strict=True)
    )


def _bias(bias: Array | None, size: int) -> Array:
    return np.zeros(size) if bias is None else bias.astype(float)


def _clip(layer: g.Recurrent, p: Array) -> Array:
    return np.clip(p, -np.float32(layer.clip), np.float32(layer.clip)) if layer.clip else p


def lstm(
    layer: g.LSTM, x: Array, mask: Array | None = None, *initial: Array | None, lengths: Array
) -> tuple[Array, ...]:
    """h of every step [batch, time, P], last h [batch, P] and c [batch, H].

    Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000; options as in
    :class:`lstmc.graph.LSTM`.
    """
    hidden = layer.hidden_size
    w_ih, w_hh = layer.weight_ih.astype(float), layer.weight_hh.astype(float)
    bias = _bias(layer.bias, 4 * hidden)
    w_ci, w_cf, w_cg, w_co = np.zeros((4, hidden, hidden))
    if layer.weight_ch is not None:
        w_ci, w_cf, w_cg, w_co = np.split(layer.weight_ch.astype(float), 4)
    if layer.peephole is not None:
        w_ci, w_cf, w_co = (np.diag(p) for p in np.split(layer.peephole.astype(float), 3))

    def cell(x_t: Array, h: Array, c: Array) -> tuple[Array, Array]:
        i, f, candidate, o = np.split(w_ih @ x_t + w_hh @ h + bias, 4)
        i = fn(layer.gate, _clip(layer, i + w_ci @ c))
        f = 1 - i if layer.coupled else fn(layer.gate, _clip(layer, f + w_cf @ c))
        candidate = fn(layer.candidate, _clip(layer, candidate + w_cg @ c))
        new = f * c + i * candidate
        seen = c if layer.output_sees_old else new
        o = fn(layer.gate, _clip(layer, o + w_co @ seen))
        m = o * fn(layer.output, new)
        return m if layer.weight_hr is None else layer.weight_hr.astype(float) @ m, new

    return recurrent(layer, x, lengths, mask, _initial(layer, len(x), initial), cell)


def gru(
    layer: g.GRU, x: Array, mask: Array | None = None, *initial: Array | None, lengths: Array
) -> tuple[Array, ...]:
    """h of every step and the last h [batch, H]. Cho et al. 2014; see :class:`lstmc.graph.GRU`."""
    hidden = layer.hidden_size
    w_ih, w_hh = layer.weight_ih.astype(float), layer.weight_hh.astype(float)
    bias = _bias(layer.bias, 3 * hidden)
    b_rn = _bias(layer.recurrent_bias, hidden)
    r_r, r_z, r_n = np.split(w_hh, 3)

    def cell(x_t: Array, h: Array) -> tuple[Array]:
        r, z, n = np.split(w_ih @ x_t + bias, 3)
        r = fn(layer.gate, _clip(layer, r + r_r @ h))
        z = fn(layer.gate, _clip(layer, z + r_z @ h))
        n = n + r * (r_n @ h + b_rn) if layer.reset_after else n + r_n @ (r * h)
        n = fn(layer.candidate, _clip(layer, n))
        return ((1 - z) * n + z * h,)

    return recurrent(layer, x, lengths, mask, _initial(layer, len(x), initial), cell)


def rnn(
    layer: g.RNN, x: Array, mask: Array | None = None, *initial: Array | None, lengths: Array
) -> tuple[Array, ...]:
    """h of every step and the last h [batch, H]. Elman 1990."""
    w_ih, w_hh = layer.weight_ih.astype(float), layer.weight_hh.astype(float)
    bias = _bias(layer.bias, layer.hidden_size)

    def cell(x_t: Array, h: Array) -> tuple[Array]:
        return (fn(layer.activation, _clip(layer, w_ih @ x_t + w_hh @ h + bias)),)

    return recurrent(layer, x, lengths, mask, _initial(layer, len(x), initial), cell)


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
    e = np.exp(parts - parts.max(axis=-1, keepdims=True))
    return ((e / e.sum(axis=-1, keepdims=True)).reshape(x.shape),)


def last_step(layer: g.LastStep, x: Array, *, lengths: Array) -> tuple[Array]:
    y = np.zeros((x.shape[0], x.shape[2]))
    for b, n in enumerate(lengths):
        if n:
            y[b] = x[b, n - 1]
    return (y,)


LAYERS: dict[type[g.Layer], Callable[..., tuple[Array, ...]]] = {
    g.LSTM: lstm,
    g.GRU: gru,
    g.RNN: rnn,
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
    [batch], the valid steps of each row on the graph's first clock, all of them if None.

    The function of a layer gets its inputs (None for an absent one), and as ``lengths`` the valid
    steps of each row of its first input that has time.
    """
    specs = graph.infer()
    values: dict[str, Array] = {v.name: to_internal(v, inputs[v.name]) for v in graph.inputs}
    batch = values[graph.inputs[0].name].shape[0]
    sizes = {v.clock: values[v.name].shape[1] for v in graph.inputs if v.spec.time and v.clock}
    rows = [dict(sizes) for _ in range(batch)]
    if lengths is not None and graph.clocks:
        rows = [{**sizes, graph.clocks[0]: int(n)} for n in lengths]
    for layer in graph.layers:
        given = [None if n is None else values[n] for n in layer.inputs]
        times = [specs[n].time for n in layer.inputs if n is not None]
        steps = next((t for t in times if t is not None), g.Steps(None, 1))
        valid = np.array([steps.count(row) for row in rows], int)
        out = LAYERS[type(layer)](layer, *given, lengths=valid)
        values.update({n: a for n, a in zip(layer.outputs, out, strict=True) if n is not None})
    return {v.name: from_internal(v, values[v.name]) for v in graph.outputs}
