"""Where batches come from: arrays (in memory or in files), sequences of batches, iterables.

A feed gives batches pass by pass. A pass can be begun anywhere, so that a run that was stopped goes
on at its place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

import numpy as np

from ..errors import RangeError, ShapeError
from .batches import Arrays, Batch, Layout, batch_axis
from .order import permutation


class Feed:
    """Base class. ``steps``: batches in a pass, None if that is not known beforehand."""

    steps: int | None = None
    restarts = True  # False: what has been read is gone

    def batches(self, turn: int, start: int) -> Iterator[Batch]:
        """The batches of pass ``turn`` from number ``start`` on."""
        raise NotImplementedError

    def ended(self) -> None:
        """A pass is over."""


# ------------------------------------------------------------------------------------------ arrays


class Column:
    """An array whose rows are read when they are needed: a file, mapped or like h5py's."""

    def __init__(self, source: Any, axis: int, first: int = 0, last: int | None = None) -> None:
        self.source, self.axis = source, axis
        self.first = first
        self.last = last if last is not None else (source.shape[axis] if axis >= 0 else 1)

    def __len__(self) -> int:
        return self.last - self.first

    def part(self, first: int, last: int) -> Column:
        return Column(self.source, self.axis, self.first + first, self.first + last)

    def take(self, rows: np.ndarray | slice) -> np.ndarray:
        """Some rows, copied. They are read in ascending order: so files like it."""
        if self.axis < 0:
            return np.asarray(self.source)
        lead = (slice(None),) * self.axis
        if isinstance(rows, slice):
            cut = slice(rows.start + self.first, rows.stop + self.first)
            return np.array(self.source[(*lead, cut)])
        order = np.argsort(rows, kind="stable")
        found = np.asarray(self.source[(*lead, rows[order] + self.first)])
        return np.take(found, np.argsort(order, kind="stable"), self.axis)


class Rows:
    """Rows of data that can be read in any order."""

    def __init__(self, count: int) -> None:
        self.count = count

    def take(self, rows: np.ndarray | slice) -> Batch:
        raise NotImplementedError

    def part(self, first: int, last: int) -> Rows:
        raise NotImplementedError


class Loaded(Rows):
    """Data in memory, checked and laid out once."""

    def __init__(self, layout: Layout, whole: Batch) -> None:
        super().__init__(whole.rows)
        self.layout, self.whole = layout, whole

    def take(self, rows: np.ndarray | slice) -> Batch:
        return self.layout.rows_of(self.whole, rows)

    def part(self, first: int, last: int) -> Rows:
        return Loaded(self.layout, self.layout.rows_of(self.whole, slice(first, last)))


class Lazy(Rows):
    """Data of which a part at least is in a file: rows are read and checked as they are needed."""

    def __init__(self, layout: Layout, columns: list[list[Column | None]]) -> None:
        self.layout, self.columns = layout, columns
        super().__init__(next(len(c) for c in columns[0] if c is not None))

    def take(self, rows: np.ndarray | slice) -> Batch:
        x, y, weights, lengths = (
            [None if c is None else c.take(rows) for c in group] for group in self.columns
        )
        return self.layout.batch(x, y, weights, lengths[0])

    def part(self, first: int, last: int) -> Rows:
        parts = [[None if c is None else c.part(first, last) for c in g] for g in self.columns]
        return Lazy(self.layout, parts)


def rows(layout: Layout, x: Arrays, y: Arrays, weights: Arrays | None, lengths: Any) -> Rows:
    """Data given as arrays; ShapeError if they don't fit together."""
    groups = [
        layout.by_input(x),
        layout.by_output(y),
        layout.weights_by_output(weights),
        [lengths],
    ]
    axes = [
        [batch_axis(v) for v in layout.inputs],
        [batch_axis(v) for v in layout.outputs],
        [0] * len(layout.outputs),
        [0],
    ]
    labels = (
        [f"'{v.name}'" for v in layout.inputs],
        [f"y of '{v.name}'" for v in layout.outputs],
        ["sample_weight"] * len(layout.outputs),
        ["lengths"],
    )
    columns: list[list[Column | None]] = []
    first: tuple[str, int] | None = None
    for group, places, names in zip(groups, axes, labels, strict=True):
        columns.append([])
        for a, axis, name in zip(group, places, names, strict=True):
            if a is None:
                columns[-1].append(None)
                continue
            source = a if in_file(a) else _array(name, a)
            if len(source.shape) <= axis:
                raise ShapeError(f"{name} has shape {source.shape}: there is no axis of rows")
            columns[-1].append(Column(source, axis))
            count = len(columns[-1][-1] or ())
            first = first or (name, count)
            if count != first[1]:
                raise ShapeError(f"{first[0]} has {first[1]} rows and {name} {count}")
    if first is None or not first[1]:
        raise ShapeError("the data are empty: there are no rows")
    if any(in_file(a) for group in groups for a in group):
        return Lazy(layout, columns)
    x_, y_, w_, lengths_ = ([None if c is None else c.source for c in group] for group in columns)
    return Loaded(layout, layout.batch(x_, y_, w_, lengths_[0]))


def in_file(a: Any) -> bool:
    """An array that had better not be read whole: mapped, or one of h5py, zarr and the like."""
    if isinstance(a, np.ndarray):
        return isinstance(a, np.memmap)
    return (
        isinstance(getattr(a, "dtype", None), np.dtype)
        and hasattr(a, "shape")
        and hasattr(a, "__getitem__")
        and not hasattr(a, "iloc")  # pandas
        and not hasattr(a, "__array_interface__")
        and not isinstance(a, np.generic)
    )


def _array(name: str, a: Any) -> np.ndarray:
    if isinstance(a, np.ndarray):
        return a
    try:
        return np.asarray(a)
    except ValueError:
        raise ShapeError(f"{name} is ragged: its rows have different shapes") from None


class ArrayFeed(Feed):
    """Rows in batches; the last one is smaller if they don't come out even."""

    def __init__(self, data: Rows, batch_size: int, shuffle: bool, seed: int) -> None:
        self.data, self.size, self.shuffle, self.seed = data, batch_size, shuffle, seed
        self.steps = math.ceil(data.count / batch_size)

    def batches(self, turn: int, start: int) -> Iterator[Batch]:
        order = permutation(self.seed, turn, self.data.count) if self.shuffle else None
        for first in range(start * self.size, self.data.count, self.size):
            last = min(first + self.size, self.data.count)
            yield self.data.take(slice(first, last) if order is None else order[first:last])


# ------------------------------------------------------------------------- batches made by others


class SequenceFeed(Feed):
    """An object with a length and batches by number, as keras.utils.PyDataset has them."""

    def __init__(self, source: Any, layout: Layout, shuffle: bool, seed: int) -> None:
        self.source, self.layout, self.shuffle, self.seed = source, layout, shuffle, seed
        self.steps = len(source)
        if not self.steps:
            raise ShapeError("the data are empty: there are no batches")

    def batches(self, turn: int, start: int) -> Iterator[Batch]:
        count = len(self.source)
        order = permutation(self.seed, turn, count) if self.shuffle else np.arange(count)
        for number in order[start:]:
            yield unpacked(self.layout, self.source[int(number)])

    def ended(self) -> None:
        if hasattr(self.source, "on_epoch_end"):
            self.source.on_epoch_end()


class IterableFeed(Feed):
    """A generator, an iterator, or what can be iterated again and again.

    An iterator has one pass, that never begins anew. To begin in the middle, batches are drawn and
    dropped.
    """

    def __init__(self, source: Iterable[Any], layout: Layout) -> None:
        self.source, self.layout = source, layout
        self.iterator = iter(source)
        self.restarts = self.iterator is not source
        self.drawn = 0
        if isinstance(source, Sized):
            self.steps = len(source)

    def batches(self, turn: int, start: int) -> Iterator[Batch]:
        if self.restarts:
            self.iterator, self.drawn = iter(self.source), 0
        for item in self.iterator:
            self.drawn += 1
            if self.drawn > start:
                yield unpacked(self.layout, item)


def unpacked(layout: Layout, item: Any) -> Batch:
    """A batch of what a generator gave: (x, y), (x, y, sample_weight), or with lengths as well."""
    if not isinstance(item, tuple | list) or not 2 <= len(item) <= 4:
        raise ShapeError(
            f"a batch is a {type(item).__name__}, expected (x, y), (x, y, sample_weight) or "
            "(x, y, sample_weight, lengths)"
        )
    x, y, weights, lengths = (*item, None, None)[:4]
    groups = layout.by_input(x), layout.by_output(y), layout.weights_by_output(weights)
    laid = [[None if a is None else _array("a batch", a) for a in group] for group in groups]
    return layout.batch(laid[0], laid[1], laid[2], lengths)


def is_source(x: Any) -> bool:
    """Batches come from this object, not from arrays."""
    if isinstance(x, np.ndarray | list | tuple | Mapping) or hasattr(x, "shape"):
        return False
    return hasattr(x, "__iter__") or (hasattr(x, "__len__") and hasattr(x, "__getitem__"))


def feed(
    layout: Layout,
    x: Any,
    y: Any,
    weights: Any,
    lengths: Any,
    batch_size: int,
    shuffle: bool,
    seed: int,
) -> Feed:
    """The feed of fit's or evaluate's arguments; ShapeError, RangeError for what makes no sense."""
    if y is None and is_source(x):
        if weights is not None or lengths is not None:
            raise ShapeError(
                "sample_weight and lengths come with the batches: (x, y, sample_weight, lengths)"
            )
        if hasattr(x, "__len__") and hasattr(x, "__getitem__"):
            return SequenceFeed(x, layout, shuffle, seed)
        return IterableFeed(x, layout)
    return ArrayFeed(rows(layout, x, y, weights, lengths), batch_size, shuffle, seed)


def split(data: Rows, part: float) -> tuple[Rows, Rows]:
    """All but the last ``part`` of the rows, and those; RangeError if either would be empty."""
    first = math.floor(data.count * (1 - part))
    if not 0 < first < data.count:
        raise RangeError(f"validation_split is {part}: of {data.count} rows none would be left")
    return data.part(0, first), data.part(first, data.count)


__all__ = ["ArrayFeed", "Feed", "Rows", "feed", "is_source", "rows", "split"]
