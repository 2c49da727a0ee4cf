"""The oracle: every layer in float64 numpy, slow and obvious.

This package is what lstmc *means*. The C core, the converters and, later, the gradients are checked
against it, so nothing here is fast, clever or shared with what it checks. Arrays inside a graph are
[batch, time, features], or [batch, features] for a value without a time axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lstmc import graph as g

from . import pointwise, positions, recurrent, sequence
from .functions import Array, fn

LAYERS: dict[type[g.Layer], Callable[..., tuple[Array, ...]]] = {
    g.LSTM: recurrent.lstm,
    g.GRU: recurrent.gru,
    g.RNN: recurrent.rnn,
    g.Dense: pointwise.dense,
    g.Activation: pointwise.activation,
    g.Softmax: pointwise.softmax,
    g.Embedding: pointwise.embedding,
    g.Affine: pointwise.affine,
    g.LayerNorm: pointwise.layer_norm,
    g.Combine: pointwise.combine,
    g.Concat: pointwise.concat,
    g.Select: pointwise.select,
    g.Reduce: pointwise.reduce,
    g.Fill: pointwise.fill,
    g.LastStep: sequence.last_step,
    g.ReduceTime: sequence.reduce_time,
    g.Reverse: sequence.reverse,
    g.SliceTime: sequence.slice_time,
    g.PadTime: sequence.pad_time,
    g.Repeat: sequence.repeat,
    g.Flatten: sequence.flatten,
    g.Unflatten: sequence.unflatten,
    g.Conv1D: sequence.conv1d,
    g.DepthwiseConv1D: sequence.depthwise_conv1d,
    g.Pool1D: sequence.pool1d,
    g.SoftmaxTime: sequence.softmax_time,
    g.StepMask: sequence.step_mask,
    g.Conv2D: positions.conv2d,
    g.DepthwiseConv2D: positions.depthwise_conv2d,
    g.PoolPositions: positions.pool_positions,
    g.Restep: sequence.restep,
}


def to_internal(value: g.Value, array: Array) -> Array:
    """An array in a value's own axis order as [batch, (time,) features] float64."""
    order = [value.axes.index(a) for a in (g.BATCH, g.TIME) if a in value.axes]
    rest = [i for i in range(len(value.axes)) if i not in order]
    a = np.transpose(np.asarray(array, dtype=float), order + rest)
    a = a.reshape(*a.shape[: len(order)], value.spec.features)
    return a if g.BATCH in value.axes else a[None]


def from_internal(value: g.Value, array: Array) -> Array:
    """The inverse of :func:`to_internal`."""
    symbols = [a for a in (g.BATCH, g.TIME) if a in value.axes]
    sizes = [a for a in value.axes if not isinstance(a, str)]
    if g.BATCH not in value.axes:
        (array,) = array
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
    """
    found = values(graph, inputs, lengths)
    return {v.name: from_internal(v, found[v.name]) for v in graph.outputs}


def values(
    graph: g.Graph, inputs: Mapping[str, Array], lengths: Array | None = None
) -> dict[str, Array]:
    """Every value of the graph by name, inputs too, as [batch, (time,) features]; else as
    :func:`run`. Of a graph with bindings, as [batch, time, all floats of a step].

    The function of a layer gets its inputs (None for an absent one), and as ``lengths`` the valid
    steps of each row of its first input that has time.
    """
    specs = graph.infer()
    values: dict[str, Array] = {v.name: to_internal(v, inputs[v.name]) for v in graph.inputs}
    batch = values[graph.inputs[0].name].shape[0]
    if graph.bindings:
        return _run_stateful(graph, specs, values, batch, lengths)
    sizes = {v.clock: values[v.name].shape[1] for v in graph.inputs if v.spec.time and v.clock}
    rows = [dict(sizes) for _ in range(batch)]
    if lengths is not None and graph.clocks:
        rows = [{**sizes, graph.clocks[0]: int(n)} for n in lengths]
    _run_layers(graph, specs, values, rows)
    return values


def _run_layers(
    graph: g.Graph,
    specs: Mapping[str, g.Spec],
    values: dict[str, Array],
    rows: Sequence[Mapping[str, int]],
) -> None:
    """Add what all layers make to the values; ``rows`` are each row's steps of each clock."""
    for layer in graph.layers:
        given = [None if n is None else values[n] for n in layer.inputs]
        times = [specs[n].time for n in layer.inputs if n is not None]
        steps = next((t for t in times if t is not None), g.Steps(None, 1))
        valid = np.array([steps.count(row) for row in rows], int)
        out = LAYERS[type(layer)](layer, *given, lengths=valid)
        for name, a in zip(layer.outputs, out, strict=True):
            if name is None:
                continue
            made = specs[name].time
            if made is not None and isinstance(layer, sequence.CUT):
                counts = np.array([made.count(row) for row in rows], int)
                a = np.where(np.arange(a.shape[1])[:, None] < counts[:, None, None], a, 0.0)
            values[name] = a


def _run_stateful(
    graph: g.Graph,
    specs: Mapping[str, g.Spec],
    inputs: Mapping[str, Array],
    batch: int,
    lengths: Array | None,
) -> dict[str, Array]:
    """A call of all layers for each step: what it gives as state is what the next one takes.

    Every value, [batch, time, floats], zero beyond a row's length.
    """

    def shape(name: str) -> list[int]:
        spec = specs[name]
        return [batch, *([] if spec.time is None else [spec.time.add]), spec.features]

    state = {b.input.name: np.zeros(shape(b.input.name)) for b in graph.bindings}
    time = inputs[graph.inputs[0].name].shape[1]
    made = {name: np.zeros((batch, time, np.prod(shape(name)[1:], dtype=int))) for name in specs}
    for t in range(time):
        values = {name: a[:, t].reshape(shape(name)) for name, a in inputs.items()} | state
        _run_layers(graph, specs, values, [{}] * batch)
        valid = np.full(batch, True) if lengths is None else t < np.asarray(lengths)
        for b in graph.bindings:
            state[b.input.name] = values[b.output.name].reshape(shape(b.input.name))
        for name, steps in made.items():
            steps[:, t] = np.where(valid[:, None], values[name].reshape(batch, -1), 0.0)
    return made


__all__ = ["LAYERS", "fn", "from_internal", "run", "to_internal", "values"]
