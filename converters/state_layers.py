"""States that are those of recurrent layers: bound, the layers simply keep them from call to call.

That is so where a bound input is nothing but initial states, perhaps stacked, picked apart or in
another order, and the output that it takes is the last states of the same layers, put together in
the same way; and where nothing else carries over from one step of a call to the next, which would
begin anew in the next call.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lstmc import graph as g
from lstmc.errors import ConversionError

from .simplify import prune

#: Layers that see one step at a time.
BY_STEP = (
    g.Dense, g.Activation, g.Softmax, g.Embedding, g.Affine, g.LayerNorm, g.Combine, g.Concat,
    g.Select, g.Reduce, g.PoolPositions,
)  # fmt: skip

#: By value: for each float of a row, step by step, which state it is; -1: none.
Marks = dict[str, np.ndarray]


class Unbound(Exception):
    """Why states are more, or less, than those of layers."""


def continued(graph: g.Graph, bindings: list[g.Binding], *, steps_only: bool) -> g.Graph:
    """The graph without its bound inputs and outputs, its recurrent layers keeping their states.

    ``steps_only``: each output must have the time of the inputs, since a call of a fixed number of
    steps gives one value of any other.

    Raises Unbound, naming the layer, where that would not be the same as the source called again
    and again with the states it has given; the graph is as it was then.
    """
    call = g.Graph([*graph.inputs, *(b.input for b in bindings)], graph.outputs, graph.layers)
    try:
        specs = call.infer()
    except ConversionError as e:
        raise Unbound(str(e)) from None
    for v in graph.inputs:
        if g.TIME not in v.axes or v.clock is None:
            raise Unbound(f"input '{v.name}' has no time steps to go on")
    if steps_only:
        for v in graph.outputs:
            time = specs[v.name].time
            if time is None or time != g.Steps(time.clock) or time.clock is None:
                raise Unbound(f"output '{v.name}' has other steps than the inputs")
    kept = _kept(call, bindings, specs)
    _by_step(call, specs, kept)
    for layer in graph.layers:
        if layer.name in kept:
            layer.inputs = layer.inputs[: 1 if layer.inputs[1] is None else 2]
    clocks = {c: f"{g.TIME}{i or ''}" for i, c in enumerate(graph.clocks)}
    graph.inputs = [replace(v, time=None, clock=clocks[v.clock or ""]) for v in graph.inputs]
    graph.outputs = [v if g.TIME not in v.axes else replace(v, time=None) for v in graph.outputs]
    prune(graph)
    graph.infer()
    return graph


def _kept(graph: g.Graph, bindings: list[g.Binding], specs: dict[str, g.Spec]) -> set[str]:
    """The names of the layers whose states all these are."""
    marks: Marks = {}
    count = 0
    for b in bindings:
        size = specs[b.input.name].features * (b.input.time or 1 if g.TIME in b.input.axes else 1)
        marks[b.input.name] = np.arange(count, count + size)
        count += size
    starts: dict[tuple[str, int], np.ndarray] = {}  # of a layer, its state
    for layer in graph.layers:
        read = [i for i, n in enumerate(layer.inputs) if n in marks]
        if not read:
            continue
        if isinstance(layer, g.Recurrent) and min(read) >= 2:
            for i in read:
                starts[layer.name, i - 2] = marks[layer.inputs[i] or ""]
        elif not _move(layer, marks, specs):
            kind = type(layer).__name__
            raise Unbound(f"layer '{layer.name}' ({kind}) does more with a state than keep it")
    names = {name for name, _ in starts}
    layers = {layer.name: layer for layer in graph.layers}
    ends = _ends(graph, [layers[n] for n in layers if n in names], specs)
    given = np.full(count, -1)
    for b in bindings:
        at = marks[b.input.name]
        end = ends.get(b.output.name)
        if end is None or end.size != at.size:
            raise Unbound(f"output '{b.output.name}' is not the last state of a layer")
        given[at] = end
    numbers = {name: i for i, name in enumerate(n for n in layers if n in names)}
    for name in numbers:
        layer = layers[name]
        assert isinstance(layer, g.Recurrent)
        for k, size in enumerate(layer.state_sizes):
            start = starts.get((name, k))
            if start is None or (start < 0).any():
                raise Unbound(f"state {layer.states[k]} of layer '{name}' is not bound")
            if not np.array_equal(given[start], _numbers(numbers[name], k, size)):
                raise Unbound(f"what layer '{name}' takes as {layer.states[k]} is not what it gave")
    return names


def _numbers(layer: int, state: int, size: int) -> np.ndarray:
    """A number of its own for each float of a layer's last state."""
    return ((np.int64(layer) * 2 + state) << 32) + np.arange(size)


def _ends(graph: g.Graph, layers: list[g.Layer], specs: dict[str, g.Spec]) -> Marks:
    """Where the last states of some layers go."""
    marks: Marks = {}
    for layer in graph.layers:
        if layer in layers and isinstance(layer, g.Recurrent):
            n = layers.index(layer)
            for k, size in enumerate(layer.state_sizes):
                name = layer.outputs[1 + k]
                if name is not None:
                    marks[name] = _numbers(n, k, size)
        elif isinstance(layer, g.LastStep):
            maker = next((m for m in layers if m.outputs[0] == layer.inputs[0]), None)
            if isinstance(maker, g.Recurrent) and not maker.reverse and maker.inputs[1] is None:
                marks[layer.outputs[0] or ""] = _numbers(layers.index(maker), 0, maker.output_size)
            else:
                _move(layer, marks, specs)
        else:
            _move(layer, marks, specs)
    return marks


def _move(layer: g.Layer, marks: Marks, specs: dict[str, g.Spec]) -> bool:
    """Follow marks through a layer that only moves floats about; False if it does more."""
    moved: list[np.ndarray] = []
    for name in layer.inputs:
        if name is None or ((time := specs[name].time) and time.clock is not None):
            return False
        shape = time.add if time else 1, specs[name].features
        moved.append(marks.get(name, np.full(shape, -1)).reshape(shape))
    x = moved[0]
    if isinstance(layer, g.Select):
        y = x[:, list(layer.index)]
    elif isinstance(layer, g.Concat):
        steps = max(a.shape[0] for a in moved)
        y = np.concatenate([np.broadcast_to(a, (steps, a.shape[1])) for a in moved], axis=1)
    elif isinstance(layer, g.LastStep):
        y = x[-1:]
    elif isinstance(layer, g.SliceTime):
        y = x[layer.start : x.shape[0] - layer.drop : layer.step]
    elif isinstance(layer, g.Reverse):
        y = x[::-1]
    elif isinstance(layer, g.Flatten | g.Unflatten) or _copies(layer):
        y = x
    else:
        return False
    if layer.outputs[0] is not None and (y >= 0).any():
        marks[layer.outputs[0]] = y.ravel()
    return True


def _copies(layer: g.Layer) -> bool:
    return isinstance(layer, g.Activation) and layer.activation == g.LINEAR


def _by_step(graph: g.Graph, specs: dict[str, g.Spec], kept: set[str]) -> None:
    """Nothing but the states of these layers carries over from step to step."""
    for layer in graph.layers:
        inputs = layer.inputs[:2] if layer.name in kept else layer.inputs
        read = [specs[n] for n in inputs if n is not None]
        what = f"layer '{layer.name}' ({type(layer).__name__})"
        if not any(s.time is not None and s.time.clock is not None for s in read):
            if layer.name in kept:
                raise Unbound(f"{what} has a fixed number of steps")
            continue
        if isinstance(layer, g.Recurrent):
            if layer.name not in kept:
                raise Unbound(f"{what} begins anew in each call: its state is not bound")
            if layer.reverse:
                raise Unbound(f"{what} goes backwards in time")
            if layer.hold and len(inputs) > 1 and inputs[1] is not None:
                raise Unbound(f"{what} repeats its output where a step is masked")
        elif isinstance(layer, g.Window) and not isinstance(layer, BY_STEP):
            if layer.whole(*read) or layer.extent > 1:
                raise Unbound(f"{what} sees several steps")
        elif not isinstance(layer, (*BY_STEP, g.LastStep)):
            raise Unbound(f"{what} sees several steps")
        if any(s.time is None and not s.fixed for s in read):
            raise Unbound(f"{what} joins a sequence with what has no time")
