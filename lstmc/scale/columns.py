"""Columns of tables as the rows that models take, and back: numpy, pandas and Arrow.

A cell is a number, a list of numbers or a list of lists. For an input with time it is
[steps, features], or [steps] if there is one feature; without time it is [features], or a number if
there is one. Several columns make the features of one input, one each, in their order. Outputs come
in the same forms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import graph as g
from ..errors import DtypeError, ShapeError
from ..runtime import as_float32
from .ragged import Ragged

FORMS = ("numbers", "lists of numbers", "lists of lists")


@dataclass
class Column:
    """Cells one behind the other.

    numbers: all of them, flat. depth: of a cell, 0 to 2. counts: int64 [rows], the items of each
    cell where it is a list. width: the items of the inner lists, -1 if there are none.
    """

    name: str
    numbers: np.ndarray
    depth: int
    counts: np.ndarray
    width: int = 1

    def error(self, want: str) -> ShapeError:
        return ShapeError(f"column '{self.name}' holds {FORMS[self.depth]}, expected {want}")


# ------------------------------------------------------------------------------------------ reading


def from_numpy(name: str, cells: np.ndarray) -> Column:
    """Numbers [rows, ...], or objects that are each a cell."""
    if cells.dtype.kind != "O" and cells.ndim:
        numbers, shape = as_float32(name, cells), cells.shape[1:]
        count = np.full(len(cells), shape[0] if shape else 1, np.int64)
        width = math.prod(shape[1:])
        return Column(name, numbers.reshape(-1), min(len(shape), 2), count, width)
    arrays = [_cell(name, row, cell) for row, cell in enumerate(cells.reshape(-1))]
    full = [a for a in arrays if a.ndim == 0 or len(a)]  # an empty list may be one of either depth
    depths = sorted({a.ndim for a in full}) or [1]
    if len(depths) > 1 or depths[0] > 2 or (depths == [0] and len(full) < len(arrays)):
        raise ShapeError(f"column '{name}' holds cells of different forms, or more than two deep")
    widths = sorted({math.prod(a.shape[1:]) for a in full}) or [-1]
    if len(widths) > 1:
        raise ShapeError(f"column '{name}' holds lists of different lengths: {widths[:5]}")
    flat = np.concatenate([a.reshape(-1) for a in arrays]) if arrays else np.empty(0, np.float32)
    counts = np.array([len(a) if a.ndim else 1 for a in arrays], np.int64)
    return Column(name, flat, depths[0], counts, widths[0])


def _cell(name: str, row: int, cell: Any) -> np.ndarray:
    try:
        array = np.asarray(cell)
        if array.dtype.kind == "O":  # an array of arrays, as pandas reads lists of lists
            array = np.stack([np.asarray(c) for c in cell]) if len(cell) else np.empty(0)
    except (ValueError, TypeError):
        array = np.empty(0, object)
    if array.dtype.kind not in "fiub":
        raise DtypeError(f"column '{name}', row {row}: {_short(cell)} is no number or even list")
    return as_float32(name, array)


def from_arrow(name: str, column: Any) -> Column:
    """A pyarrow Array or ChunkedArray."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not len(column):  # whatever its type
        return Column(name, np.empty(0, np.float32), 0, np.empty(0, np.int64))
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    rows, counts, width, depth = len(column), np.ones(len(column), np.int64), 1, 0
    while _is_list(column.type):
        _no_nulls(name, column)
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
        if depth == 0:
            counts = lengths
        elif depth == 1:
            widths = np.unique(lengths)
            if len(widths) > 1:
                few = widths[:5].tolist()
                raise ShapeError(f"column '{name}' holds lists of different lengths: {few}")
            width = int(widths[0]) if len(widths) else -1
        else:
            raise ShapeError(f"column '{name}' holds {column.type} in lists of lists")
        column, depth = column.flatten(), depth + 1
    _no_nulls(name, column)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
            or pa.types.is_boolean(column.type)):  # fmt: skip
        raise DtypeError(f"column '{name}' holds {column.type}, expected numbers")
    numbers = as_float32(name, column.to_numpy(zero_copy_only=False))
    assert depth or len(numbers) == rows
    return Column(name, numbers, depth, counts, width)


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    t = pa.types
    return bool(t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind))


def _no_nulls(name: str, array: Any) -> None:
    if array.null_count:
        raise DtypeError(f"column '{name}' holds nulls; fill them, or leave those rows out")


def from_pandas(name: str, series: Any) -> Column:
    """A pandas Series: numbers, objects, or an Arrow type."""
    if hasattr(series.dtype, "pyarrow_dtype"):
        import pyarrow as pa

        return from_arrow(name, pa.chunked_array(pa.array(series)))
    if series.dtype.kind in "fiub" and series.hasnans and series.dtype.name[0].isupper():
        raise DtypeError(f"column '{name}' holds nulls; fill them, or leave those rows out")
    return from_numpy(name, series.to_numpy())


# ------------------------------------------------------------------------------------ to the model


def to_input(value: g.Value, columns: Sequence[Column]) -> Ragged | np.ndarray:
    """What :func:`~lstmc.scale.ragged.predict_rows` takes; ShapeError if the form doesn't fit."""
    features, timed = math.prod(value.sizes), g.TIME in value.axes
    if len(columns) > 1:
        return _side_by_side(value, columns, features, timed)
    (c,) = columns
    if not c.counts.any():  # no rows, or nothing but empty lists
        empty = np.empty((0, features), np.float32)
        if timed or not len(c.counts):
            return Ragged(empty, c.counts) if timed else empty
    if timed:
        if c.depth == 2 and c.width in (features, -1):
            return Ragged(c.numbers.reshape(-1, features), c.counts)
        if c.depth == 1 and features == 1:
            return Ragged(c.numbers.reshape(-1, 1), c.counts)
        each = "numbers, one a step" if features == 1 else f"lists of {features} numbers a step"
        raise c.error(f"lists of {each} for input '{value.name}'" + _found(c))
    sizes = c.counts * (c.width if c.depth == 2 else 1)
    if (c.depth or features == 1) and (sizes == features).all():
        return c.numbers.reshape(len(c.counts), features)
    raise c.error(f"{features} numbers a row for input '{value.name}'" + _found(c))


def _side_by_side(
    value: g.Value, columns: Sequence[Column], features: int, timed: bool
) -> Ragged | np.ndarray:
    if len(columns) != features:
        raise ShapeError(
            f"input '{value.name}' has {features} features, and {len(columns)} columns"
        )
    first = columns[0]
    for c in columns:
        if c.depth != int(timed):
            raise c.error(f"{FORMS[timed]}: it is one feature of input '{value.name}'")
        if not np.array_equal(c.counts, first.counts):
            raise ShapeError(f"columns '{first.name}' and '{c.name}' differ in their steps")
    together = np.stack([c.numbers for c in columns], axis=1)
    return Ragged(together, first.counts) if timed else together


def _found(c: Column) -> str:
    if c.depth == 2 and c.width >= 0:
        return f"; its inner lists have {c.width}"
    return f"; it has {c.counts.min()} to {c.counts.max()} a row" if c.depth else ""


# ------------------------------------------------------------------------------------------ writing


def to_numpy(value: g.Value, rows: Ragged | np.ndarray, even: bool) -> np.ndarray:
    """[rows, ...] of numbers; for ``even`` False, sequences are objects that are arrays."""
    if not isinstance(rows, Ragged):
        return rows[:, 0] if rows.shape[1] == 1 else rows
    if even:
        steps = rows.lengths[0] if len(rows.lengths) else 0
        cells = rows.values.reshape(len(rows.lengths), steps, rows.values.shape[1])
        return cells[:, :, 0] if rows.values.shape[1] == 1 else cells
    return objects([r[:, 0] if r.shape[1] == 1 else r for r in rows.rows()])


def to_pandas(value: g.Value, rows: Ragged | np.ndarray) -> np.ndarray:
    """Numbers, or objects in forms that Arrow takes: arrays and lists of arrays."""
    if not isinstance(rows, Ragged):
        return rows[:, 0] if rows.shape[1] == 1 else objects(list(rows))
    return objects([r[:, 0] if r.shape[1] == 1 else list(r) for r in rows.rows()])


def objects(cells: list[Any]) -> np.ndarray:
    """An object array of cells, which numpy is not to look into."""
    array = np.empty(len(cells), object)
    for i, cell in enumerate(cells):
        array[i] = cell
    return array


def to_arrow(value: g.Value, rows: Ragged | np.ndarray) -> Any:
    """float, list<float> or list<list<float>>, by the output alone: every part has one type."""
    import pyarrow as pa

    values = rows.values if isinstance(rows, Ragged) else rows
    array = pa.array(np.ascontiguousarray(values).reshape(-1))
    if values.shape[1] != 1:
        array = _lists(array, np.arange(len(values) + 1) * values.shape[1])
    if isinstance(rows, Ragged):
        array = _lists(array, np.concatenate([[0], np.cumsum(rows.lengths)]))
    return array


def _lists(items: Any, offsets: np.ndarray) -> Any:
    import pyarrow as pa

    if offsets[-1] >= 1 << 31:
        raise ShapeError(f"{offsets[-1]:,} numbers are too many for one Arrow array: use batches")
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items)


def _short(cell: Any) -> str:
    text = " ".join(repr(cell).split())
    return text if len(text) < 40 else text[:37] + "..."
