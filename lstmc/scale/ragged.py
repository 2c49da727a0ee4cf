"""Rows of different lengths through a model, many at once, each with the bits it has alone.

What a model makes of a row with lengths[b] valid steps is by contract what it makes of that row
alone, so rows are padded to a common length. Models that take no lengths get equal rows together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import graph as g
from ..arrays import by_name
from ..errors import ShapeError
from ..runtime import as_float32
from ..samples import enough_steps
from ..stream import _row_order

if TYPE_CHECKING:
    from ..model import Model

BATCH_FLOATS = 1 << 22  # of padded inputs and outputs at once


@dataclass
class Ragged:
    """Sequences one behind the other: values [all steps, features], lengths int64 [rows]."""

    values: np.ndarray
    lengths: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        return np.cumsum(self.lengths) - self.lengths

    def rows(self) -> list[np.ndarray]:
        """[steps, features] of each row."""
        return np.split(self.values, np.cumsum(self.lengths)[:-1]) if len(self.lengths) else []


Rows = dict[str, Ragged | np.ndarray]  # [rows, features] of a value without time


def predict_rows(model: Model, rows: Mapping[str, Ragged | np.ndarray]) -> Rows:
    """Every row as predict would give it alone: by input name in, by output name out.

    A row of no steps gives what ``predict(lengths=...)`` says of length 0.

    Raises ShapeError, naming the row, DtypeError and RangeError as predict does.
    """
    ins, outs = model.graph.inputs, model.graph.outputs
    count = _count(rows)
    clocks = _clocks(model, rows, count)
    results: Rows = {}
    for v, layout in zip(outs, model._outputs, strict=True):
        features = math.prod(v.sizes)
        if g.TIME in v.axes:
            steps = clocks[layout.clock] if layout.clock >= 0 else np.zeros(count, np.int64)
            steps = np.maximum((steps + layout.add) // layout.every, 0)
            results[v.name] = Ragged(np.empty((int(steps.sum()), features), np.float32), steps)
        else:
            results[v.name] = np.empty((count, features), np.float32)
    dense = {n: as_float32(n, r.values if isinstance(r, Ragged) else r) for n, r in rows.items()}
    for part, valid in _batches(model, clocks, count):
        x = {}
        for v, layout in zip(ins, model._inputs, strict=True):
            given = rows[v.name]
            if isinstance(given, Ragged):
                longest = layout.fixed or int(clocks[layout.clock][part].max())
                if valid is not None:  # no row has a step maybe, the model needs some
                    longest = max(longest, enough_steps(model.graph, 1))
                x[v.name] = _model_order(v, _padded(dense[v.name], given, part, longest))
            else:
                x[v.name] = _model_order(v, dense[v.name][part])
        y = by_name(model, model.predict(x, valid))
        for v in outs:
            result, found = results[v.name], _rows_first(v, y[v.name])
            if isinstance(result, Ragged):
                where, there = _places(result, part, found.shape[1])
                result.values[where[there]] = found[there]
            else:
                result[part] = found
    return results


def _count(rows: Mapping[str, Ragged | np.ndarray]) -> int:
    counts = {n: len(r.lengths if isinstance(r, Ragged) else r) for n, r in rows.items()}
    if len(set(counts.values())) > 1:
        raise ShapeError(f"the inputs have different numbers of rows: {counts}")
    return next(iter(counts.values()))


def _clocks(model: Model, rows: Mapping[str, Ragged | np.ndarray], count: int) -> list[np.ndarray]:
    """The steps of every row, int64 [rows], by the number of the clock; ShapeError."""
    found: dict[int, tuple[str, np.ndarray]] = {}
    for v, layout in zip(model.graph.inputs, model._inputs, strict=True):
        given = rows[v.name]
        if not isinstance(given, Ragged):
            continue
        steps = np.asarray(given.lengths, np.int64)
        if layout.fixed:
            other, want = "the model", np.full(count, layout.fixed)
        else:
            other, want = found.setdefault(layout.clock, (f"'{v.name}'", steps))
        if (wrong := np.flatnonzero(steps != want)).size:
            row = int(wrong[0])
            raise ShapeError(f"row {row}: '{v.name}' has {steps[row]} steps, {other} {want[row]}")
        if layout.fixed and layout.clock >= 0:
            found[layout.clock] = f"'{v.name}'", steps
    clocks = [found[i][1] for i in range(len(found))]
    for row in np.unique(clocks[0], return_index=True)[1] if len(clocks) == 1 else []:
        if clocks[0][row] and model._choosy:
            try:
                model._check_steps([int(clocks[0][row])])
            except ShapeError as e:
                raise ShapeError(f"row {row}: {e}") from None
    return clocks


def _batches(
    model: Model, clocks: list[np.ndarray], count: int
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Row numbers that go together, and their lengths where they aren't all the same."""
    values = (*model.graph.inputs, *model.graph.outputs)
    floats = sum(math.prod(v.sizes) for v in values)
    if not clocks:
        size = max(1, BATCH_FLOATS // floats)
        for start in range(0, count, size):
            yield np.arange(start, min(start + size, count)), None
        return
    order = np.lexsort(clocks[::-1])  # stable, by the first clock first
    steps = [c[order] for c in clocks]
    merge = len(clocks) == 1 and not any(x.fixed for x in model._inputs)
    at = 0
    while at < count:
        # Padding costs time: rows of a batch are of much the same length.
        longest = steps[0][at] + (steps[0][at] // 4 + 4 if merge else 0)
        end = int(np.searchsorted(steps[0], longest, "right"))
        for other in steps[1:]:
            end = at + int(np.searchsorted(other[at:end], other[at], "right"))
        most = max(1, BATCH_FLOATS // (floats * max(1, *(int(c[at:end].max()) for c in steps))))
        end = min(end, at + most)
        part = order[at:end]
        lengths = clocks[0][part]
        even = not merge or bool(lengths[0] and (lengths == lengths[0]).all())
        yield part, None if even else lengths
        at = end


def _places(rows: Ragged, part: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Where step t of row part[b] lies in ``rows.values``, and whether there is one: [b, t]."""
    t = np.arange(steps)
    return rows.starts[part][:, None] + t, t < rows.lengths[part][:, None]


def _padded(values: np.ndarray, rows: Ragged, part: np.ndarray, steps: int) -> np.ndarray:
    """float32 [rows of part, steps, features], zeros behind each row's end."""
    where, there = _places(rows, part, steps)
    x = np.zeros((len(part), steps, values.shape[1]), np.float32)
    x[there] = values[where[there]]
    return x


def _model_order(value: g.Value, rows: np.ndarray) -> np.ndarray:
    """[batch, (time,) features] in the value's own axis order."""
    order = _row_order(value)
    time = rows.shape[1] if g.TIME in value.axes else 0
    shape = value.shape(len(rows), time)
    return rows.reshape([shape[i] or 0 for i in order]).transpose(np.argsort(order))


def _rows_first(value: g.Value, array: np.ndarray) -> np.ndarray:
    """The inverse: [batch, (time,) features]."""
    array = array.transpose(_row_order(value))
    lead = array.shape[: 2 if g.TIME in value.axes else 1]
    return array.reshape(*lead, math.prod(value.sizes))


def alone(value: g.Value, row: np.ndarray) -> np.ndarray:
    """[(steps,) features] of one row as predict gives it, without the batch axis."""
    return _model_order(value, row[None]).squeeze(value.axes.index(g.BATCH))
