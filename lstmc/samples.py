"""Random inputs that fit a graph: whole numbers where it takes indices, lengths or flags."""

from __future__ import annotations

import numpy as np

from . import graph as g
from .errors import ConversionError

MAX_STEPS = 1 << 16


def random_inputs(
    graph: g.Graph, rng: np.random.Generator, batch: int, time: int, *, insist: bool = True
) -> dict[str, np.ndarray]:
    """A float32 array for each input, in its own axis order; ``time`` steps on every clock.

    ``insist``: where the source insists on a number of steps, that one instead. A graph that takes
    one row gets one.
    """
    batch = 1 if graph.one_row else batch
    tables = index_inputs(graph)
    lengths = {layer.inputs[0] for layer in graph.layers if isinstance(layer, g.StepMask)}
    arrays = {}
    for v in graph.inputs:
        steps = v.time if v.time and (insist or v.clock is None) else time
        shape = [int(n or 0) for n in v.shape(batch, steps)]
        if v.name in lengths:
            arrays[v.name] = rng.integers(1, time + 1, shape).astype(np.float32)
        elif v.name in tables or v.dtype != "float32":
            limit = tables.get(v.name, 2 if v.dtype == "bool" else 8)
            arrays[v.name] = rng.integers(0, limit, shape).astype(np.float32)
        else:
            arrays[v.name] = rng.standard_normal(shape, dtype=np.float32)
    return arrays


def enough_steps(graph: g.Graph, wanted: int) -> int:
    """``wanted`` steps, or as many more as leave at least one for every value."""
    derived = [s.time for s in graph.infer().values() if s.time is not None]
    time = wanted
    while any(t.count(dict.fromkeys(graph.clocks, time)) < 1 for t in derived):
        time *= 2
        if time > MAX_STEPS:
            raise ConversionError(f"the model needs more than {MAX_STEPS} time steps")
    return time


def index_inputs(graph: g.Graph) -> dict[str, int]:
    """The inputs that are indices into an embedding's table, and how many entries it has."""
    movers = (
        g.Select, g.Concat, g.Reverse, g.SliceTime, g.Flatten, g.Unflatten, g.LastStep, g.Repeat,
    )  # fmt: skip
    entries: dict[str, int] = {}  # by value
    for layer in reversed(graph.layers):
        if isinstance(layer, g.Embedding):
            found: list[int] = [layer.weight.shape[1]]
        elif isinstance(layer, movers):
            found = [entries[n] for n in layer.outputs if n in entries]
        else:
            continue
        for name in layer.inputs[: 1 if isinstance(layer, g.Repeat) else None]:
            if found and name is not None:
                entries[name] = min(*found, entries.get(name, found[0]))
    return {v.name: entries[v.name] for v in graph.inputs if v.name in entries}
