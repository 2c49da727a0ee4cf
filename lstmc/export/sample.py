"""The self-test's sample: one row, as a firmware is called for it, and what it must give."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from .. import graph as g
from ..errors import ShapeError
from ..format import Golden
from ..model import Model
from ..runtime import digest
from ..samples import random_inputs
from .freeze import Frozen

MOST_FLOATS = 1 << 20  # of a sample that is made here: four megabytes of flash


@dataclass
class Sample:
    """Inputs [calls, floats of a call] in the order of the model's, and the digest of the outputs.

    The digest of one output is that of all its calls, or, where it has no time, of the last; that
    of several is the CRC-32 of theirs as little-endian words.
    """

    calls: int
    inputs: list[np.ndarray]
    digest: int


def sample_of(model: Model, frozen: Frozen) -> Sample | None:
    """The first row of a model's golden sample; None if it has none.

    A firmware whose calls take another number of steps gets random numbers instead; ShapeError for
    too many of them.
    """
    golden, graph = model.golden, model.graph
    if golden is None:
        return None
    given, steps = golden.inputs, golden.time
    if frozen.fresh and graph.clocks and frozen.time != golden.time:
        steps = frozen.time
        floats = sum(p.floats for p in frozen.inputs)
        if floats > MOST_FLOATS:
            raise ShapeError(
                f"the self-test would hold {floats} numbers of input: leave it out, --golden off"
            )
        given = random_inputs(graph, np.random.default_rng(0), 1, steps, insist=False)
    row = {}
    for v in graph.inputs:
        x = np.asarray(given[v.name], np.float32)
        row[v.name] = x.take([0], axis=v.axes.index(g.BATCH)) if g.BATCH in v.axes else x
    calls = 1 if frozen.fresh else steps
    inputs = []
    for v, p in zip(graph.inputs, frozen.inputs, strict=True):
        x = row[v.name]
        if calls > 1 and g.TIME in v.axes:
            x = np.moveaxis(x, v.axes.index(g.TIME), 0)
        elif calls > 1:
            x = np.repeat(x[None], calls, 0)
        inputs.append(np.ascontiguousarray(x).reshape(calls, p.floats))
    made = model._run_sample(Golden(1, steps, row))
    digests = []
    for v in graph.outputs:
        y = made[v.name]
        if calls > 1 and g.TIME in v.axes:  # call after call
            y = np.moveaxis(y, v.axes.index(g.TIME), 0)
        digests.append(digest(y))
    if len(digests) == 1:
        return Sample(calls, inputs, digests[0])
    return Sample(calls, inputs, zlib.crc32(np.array(digests, "<u4").tobytes()))
