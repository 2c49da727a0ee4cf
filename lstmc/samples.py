"""Random inputs that fit a graph: whole numbers where it takes indices, lengths or flags."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from . import graph as g
from .errors import ConversionError

MAX_STEPS = 1 << 16
PICKY_STEPS = 1 << 12  # where each number is tried


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
        elif v.name in tables or not v.dtype.startswith("float"):
            limit = tables.get(v.name, 2 if v.dtype == "bool" else 8)
            arrays[v.name] = rng.integers(0, limit, shape).astype(np.float32)
        else:
            drawn = rng.standard_normal(shape, dtype=np.float32)
            arrays[v.name] = drawn.astype(v.dtype).astype(np.float32)  # what the source can take
    return arrays


def enough_steps(graph: g.Graph, wanted: int) -> int:
    """``wanted`` steps if the model takes them in a call, else more, or fewer if it must be."""
    specs = graph.infer()
    tries: Iterable[int] = (wanted << i for i in range(MAX_STEPS.bit_length()))
    if any(isinstance(layer, g.Restep) for layer in graph.layers):
        tries = (*range(wanted, PICKY_STEPS), *range(wanted - 1, 0, -1))
    for time in tries:
        if not graph.misfit(specs, dict.fromkeys(graph.clocks, time)):
            return time
    raise ConversionError("no number of time steps is found that the model takes")


def index_inputs(graph: g.Graph) -> dict[str, int]:
    """The inputs that are indices into an embedding's table, and how many entries it has."""
    movers = (
        g.Select, g.Concat, g.Reverse, g.SliceTime, g.Flatten, g.Unflatten, g.LastStep, g.Repeat,
        g.Restep,
    )  # fmt: skip
    entries: dict[str, int] = {}  # by value
    for layer in reversed(graph.layers):
        if isinstance(layer, g.Embedding):
            found: list[int] = [layer.weight.shape[1]]
        elif isinstance(layer, movers):
            found = [entries[n] for n in layer.outputs if n in entries]
        else:
            continue
        for name in layer.inputs[: 1 if isinstance(layer, g.Repeat | g.Restep) else None]:
            if found and name is not None:
                entries[name] = min(*found, entries.get(name, found[0]))
    return {v.name: entries[v.name] for v in graph.inputs if v.name in entries}
