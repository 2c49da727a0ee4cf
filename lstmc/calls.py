"""A source that takes its state and gives it, called as a model with that state bound is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from . import graph as g
from .arrays import Arrays
from .frameworks import Framework


def one_after_another(
    source: g.Graph, model: g.Graph, pairs: Mapping[str, str], call: Callable[[Arrays], Arrays]
) -> Callable[[Arrays], Arrays]:
    """A function like ``call``, with the inputs and outputs of a model with states bound.

    ``source`` is the graph as it is without that, ``pairs`` its inputs by the outputs that they
    take. Each call of the source gets what belongs to one step of a stateful model, or, where the
    layers keep the states, the number of steps that it insists on (any number: all in two calls).
    ValueError if the steps are no whole number of calls.
    """
    inputs = {v.name: v for v in source.inputs}
    outputs = {v.name: v for v in source.outputs}
    size = 1 if model.bindings else next((n for v in model.inputs if (n := inputs[v.name].time)), 0)

    def run(x: Arrays) -> Arrays:
        first = model.inputs[0]
        time = x[first.name].shape[first.axes.index(g.TIME)]
        batch = x[first.name].shape[first.axes.index(g.BATCH)] if g.BATCH in first.axes else 1
        block = size or max(time // 2, 1)
        if size and time % size:
            raise ValueError(f"{time} steps are no calls of {size}")
        state = {
            i: np.zeros([n or 0 for n in inputs[i].shape(batch)], np.float32)
            for i in pairs.values()
        }
        made: dict[str, list[np.ndarray]] = {v.name: [] for v in model.outputs}
        for start in range(0, time, block):
            given = {
                v.name: _part(v, inputs[v.name], x[v.name], start, start + block)
                for v in model.inputs
            }
            y = call({**given, **state})
            state = {i: y[o] for o, i in pairs.items()}
            for name, parts in made.items():
                parts.append(y[name])
        return {v.name: _joined(v, outputs[v.name], made[v.name]) for v in model.outputs}

    return run


def _part(v: g.Value, source: g.Value, x: np.ndarray, start: int, end: int) -> np.ndarray:
    """Some steps of a model's input, as the source takes them."""
    axis = v.axes.index(g.TIME)
    part = x[(slice(None),) * axis + (slice(start, end),)]
    return part if len(v.axes) == len(source.axes) else part.squeeze(axis)


def _joined(v: g.Value, source: g.Value, parts: list[np.ndarray]) -> np.ndarray:
    """What the source's calls have given, as a model's output."""
    if g.TIME not in v.axes:  # the last step
        return parts[-1]
    axis = v.axes.index(g.TIME)
    if len(v.axes) == len(source.axes):
        return np.concatenate(parts, axis)
    return np.stack(parts, axis)


class Calls(Framework):
    """A framework's model whose states are bound. It gives no tensors inside."""

    def __init__(
        self, framework: Framework, source: g.Graph, model: g.Graph, pairs: Mapping[str, str]
    ) -> None:
        self.label = f"{framework.label}, call after call"
        self._run = one_after_another(source, model, pairs, framework.run)

    def run(self, x: Arrays) -> Arrays:
        return self._run(x)
