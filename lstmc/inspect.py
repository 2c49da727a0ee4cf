"""What happens inside a model: every layer's values, gates and states over time.

    trace = lstmc.inspect.trace(model, x)
    trace.layers["lstm"].gates["f"]    # [batch, time, units], the forget gate
    trace.values["lstm:0"]             # what a layer writes, by the value's name

Values, hidden states among them, are the core's own float32 numbers: a copy of the model, whose
outputs are its inner values, is run on the same input. The core keeps no gates (they live in
registers), so gates and cell states are computed from the layer's own inputs by the float64 oracle
(:mod:`lstmc.reference`). Each layer says how far the oracle's h is from the core's
(:attr:`Recurrence.error`); it is some 1e-7 of the largest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from . import format, reference
from . import graph as g
from .errors import ShapeError

if TYPE_CHECKING:
    from .model import Model

#: Inner values that one run of the copy hands out; the binding takes 32 arrays.
OUTPUTS = 24

#: What each kind of layer has, in the order in which figures show them.
GATES: dict[type[g.Layer], tuple[str, ...]] = {
    g.LSTM: ("i", "f", "o", "g"),
    g.GRU: ("r", "z", "n"),
    g.RNN: (),
}
GATE_NAMES = {
    "i": "input gate", "f": "forget gate", "g": "candidate", "o": "output gate",
    "r": "reset gate", "z": "update gate", "n": "candidate",
    "c": "cell state", "h": "hidden state",
}  # fmt: skip
#: Those that take values from -1 to 1, with the usual activations; the others go from 0 to 1.
SIGNED = ("g", "n", "c", "h")


@dataclass
class LayerTrace:
    """What a layer wrote: ``outputs``, float32 [batch, time, features], or [batch, features] for a
    value without time, None for an output that nobody reads. ``kind`` is the class's name."""

    name: str
    kind: str
    outputs: tuple[np.ndarray | None, ...]


@dataclass
class Recurrence(LayerTrace):
    """An LSTM, GRU or RNN over time.

    ``gates``: i f o g of an LSTM, r z n of a GRU, nothing of an RNN; float64 [batch, time, units],
    after their activations, NaN at masked steps.
    ``h``: float32 [batch, time, features], the core's: the hidden state after each step. At masked
    steps and beyond a row's length it is what the layer hands on there: zeros, or with hold the
    output before.
    ``c``: float64 [batch, time, units], the cell state of an LSTM after each step, or None.
    ``error``: the largest difference between the oracle's h and the core's, relative to the largest
    magnitude; 0 where both are zero.

    Gates and c are NaN beyond a row's length. A reverse layer's steps stand at their own places.
    """

    gates: dict[str, np.ndarray] = field(default_factory=dict)
    h: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0), np.float32))
    c: np.ndarray | None = None
    error: float = 0.0

    def pictures(self) -> dict[str, np.ndarray]:
        """Gates, then c, then h, by name."""
        states = {} if self.c is None else {"c": self.c}
        return {**self.gates, **states, "h": self.h}


@dataclass
class Trace:
    """``inputs`` and ``outputs`` in the model's own shapes; ``values``, by name, of all the graph's
    values as [batch, time, features] or [batch, features]; ``layers`` in execution order.

    Of a stateful model, values are [batch, time, all floats of a step]; layers have the steps
    within all steps one after another, and one for a value without time."""

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    layers: dict[str, LayerTrace]

    @property
    def recurrent(self) -> dict[str, Recurrence]:
        """The recurrent layers."""
        return {n: x for n, x in self.layers.items() if isinstance(x, Recurrence)}


def trace(
    model: Model,
    x: ArrayLike | Mapping[str, ArrayLike] | None = None,
    lengths: ArrayLike | None = None,
) -> Trace:
    """Run a model from zero state and keep everything.

    Args:
        model: any model.
        x: as for :meth:`lstmc.Model.predict`; None takes the golden sample stored in the file.
        lengths: as for predict.

    Raises:
        ShapeError: x does not fit, or is None and the file has no golden sample.
        DtypeError, RangeError: as predict.
    """
    from .model import Model

    values = model.graph.inputs
    if x is not None:
        arrays, _, _ = model._take(x)
        inputs = {v.name: a for v, a in zip(values, arrays, strict=True)}
    elif model.golden is not None:
        inputs = dict(model.golden.inputs)
    else:
        raise ShapeError("the file has no golden sample: give an input")
    graph = _opened(model.graph)
    specs = graph.infer()
    found = {
        v.name: np.ascontiguousarray(reference.to_internal(v, inputs[v.name]), np.float32)
        for v in graph.inputs
    }
    wanted = [n for layer in graph.layers for n in layer.outputs if n is not None]
    for start in range(0, len(wanted), OUTPUTS):
        part = wanted[start : start + OUTPUTS]
        copy = replace(graph, outputs=[graph.plain(n, specs[n]) for n in part])
        y = Model(format.dumps(copy)).predict(inputs, lengths)
        found.update(y if isinstance(y, dict) else {part[0]: y})
    outputs = {v.name: reference.from_internal(v, found[v.name]) for v in graph.outputs}
    valid = _Valid(graph, specs, inputs, lengths)
    if graph.bindings:
        layers = _by_calls(graph, specs, found, valid)
    else:
        layers = {layer.name: _layer(layer, found, valid) for layer in graph.layers}
    return Trace(inputs, outputs, found, layers)


def _by_calls(
    graph: g.Graph, specs: dict[str, g.Spec], values: dict[str, np.ndarray], valid: _Valid
) -> dict[str, LayerTrace]:
    """Layers of a stateful model, which begin anew in each step: each row's steps are rows to
    them. What they have is put together again as one sequence, of all steps within all steps."""
    batch, time = next(iter(values.values())).shape[:2]
    for b in graph.bindings:  # as the step before left it
        made = values[b.output.name]
        first = np.zeros((batch, 1, made.shape[2]), np.float32)
        values[b.input.name] = np.concatenate([first, made[:, :-1]], 1)
    calls = {}
    for name, a in values.items():
        steps = specs[name].time
        calls[name] = a.reshape(batch * time, *([steps.add] if steps else []), specs[name].features)
    counts = np.array([row[g.TIME] for row in valid.rows])
    inside = _Inside(specs, (np.arange(time) < counts[:, None]).ravel())

    def joined(a: np.ndarray) -> np.ndarray:
        return a.reshape(batch, -1, a.shape[-1])

    found = {}
    for layer in graph.layers:
        t = found[layer.name] = _layer(layer, calls, inside)
        t.outputs = tuple(None if a is None else joined(a) for a in t.outputs)
        if isinstance(t, Recurrence):
            t.gates = {n: joined(a) for n, a in t.gates.items()}
            t.h, t.c = joined(t.h), None if t.c is None else joined(t.c)
    return found


class _Inside:
    """The valid steps within each step: all of them, or none beyond a row's length."""

    def __init__(self, specs: dict[str, g.Spec], rows: np.ndarray) -> None:
        self.specs, self.rows = specs, rows

    def of(self, name: str) -> np.ndarray:
        steps = self.specs[name].time or g.Steps(None, 1)
        return np.where(self.rows, steps.add, 0)


def rows(model: Model, x: Mapping[str, np.ndarray], row: int) -> dict[str, np.ndarray]:
    """One row of the batch of each input, still a batch; ShapeError if there is none."""
    found = {}
    for v in model.graph.inputs:
        a = x[v.name]
        if g.BATCH not in v.axes:
            found[v.name] = a
            continue
        axis = v.axes.index(g.BATCH)
        if a.ndim != len(v.axes):
            raise ShapeError(f"'{v.name}' has shape {a.shape}, expected {len(v.axes)} axes")
        if not 0 <= row < a.shape[axis]:
            raise ShapeError(f"there is no row {row}: '{v.name}' has {a.shape[axis]}")
        found[v.name] = np.take(a, [row], axis)
    return found


class _Valid:
    """The valid steps of each row, of any value with time."""

    def __init__(
        self,
        graph: g.Graph,
        specs: dict[str, g.Spec],
        inputs: dict[str, np.ndarray],
        lengths: ArrayLike | None,
    ) -> None:
        sizes, batch = {}, 1
        for v in graph.inputs:
            if v.spec.time and v.clock:
                sizes[v.clock] = inputs[v.name].shape[v.axes.index(g.TIME)]
            if g.BATCH in v.axes:
                batch = inputs[v.name].shape[v.axes.index(g.BATCH)]
        self.specs = specs
        self.rows = [dict(sizes) for _ in range(batch)]
        if lengths is not None and graph.clocks:
            self.rows = [{**sizes, graph.clocks[0]: int(n)} for n in np.asarray(lengths)]

    def of(self, name: str) -> np.ndarray:
        steps = self.specs[name].time or g.Steps(None, 1)
        return np.array([steps.count(row) for row in self.rows], int)


def _opened(graph: g.Graph) -> g.Graph:
    """The same graph, in which every recurrent layer writes the h of every step, and of any number
    of steps, since the golden sample has its own."""
    taken = {v.name for v in graph.inputs}
    taken.update(n for layer in graph.layers for n in layer.outputs if n is not None)
    layers: list[g.Layer] = []
    for layer in graph.layers:
        if isinstance(layer, g.Recurrent) and layer.outputs[0] is None:
            name = f"{layer.name}/h"
            while name in taken:
                name += "'"
            taken.add(name)
            layer = replace(layer, outputs=(name, *layer.outputs[1:]))
        layers.append(layer)
    inputs = [replace(v, time=None) if v.clock else v for v in graph.inputs]
    return replace(graph, inputs=inputs, layers=layers)


def _layer(layer: g.Layer, values: dict[str, np.ndarray], valid: _Valid | _Inside) -> LayerTrace:
    outputs = tuple(None if n is None else values[n] for n in layer.outputs)
    kind = type(layer).__name__
    if not isinstance(layer, g.Recurrent):
        return LayerTrace(layer.name, kind, outputs)
    assert layer.inputs[0] is not None and layer.outputs[0] is not None
    h = values[layer.outputs[0]]
    given = [None if n is None else values[n].astype(float) for n in layer.inputs]
    record: dict[str, np.ndarray] = {}
    with np.errstate(all="ignore"):
        oracle = reference.LAYERS[type(layer)](
            layer, *given, lengths=valid.of(layer.inputs[0]), record=record
        )
    blank = np.full((*h.shape[:2], layer.hidden_size), np.nan)  # no row has a valid step
    gates = {n: record.get(n, blank) for n in GATES[type(layer)]}
    c = record.get("c", blank) if "c" in layer.states else None
    return Recurrence(layer.name, kind, outputs, gates, h, c, _error(oracle[0], h))


def _error(want: np.ndarray, got: np.ndarray) -> float:
    """The largest difference, relative to the largest magnitude; inf if NaN or infinity differ."""
    finite = np.isfinite(want)
    if not np.array_equal(finite, np.isfinite(got)):
        return float("inf")
    if not finite.any():
        return 0.0
    scale = float(np.abs(want[finite]).max()) or 1.0
    return float(np.abs(want[finite] - got[finite]).max()) / scale


__all__ = ["GATE_NAMES", "SIGNED", "LayerTrace", "Recurrence", "Trace", "rows", "trace"]
