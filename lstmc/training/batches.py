"""Batches: what a step takes, checked against the model and laid out as the engine wants it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import graph as g
from ..errors import DtypeError, RangeError, ShapeError, UnknownNameError
from ..model import Model
from ..runtime import as_float32
from . import specs
from .arrays import inside

SPARSE = "sparse_categorical_crossentropy"
BETWEEN_0_AND_1 = ("binary_crossentropy", "categorical_crossentropy")

Arrays = Sequence[Any] | Mapping[str, Any] | Any


@dataclass(frozen=True)
class Batch:
    """Rows of data, of a step or of everything.

    inputs: float32, in the graph's order, in the axes of the source.
    targets: of each output float32 in its axes, [batch, steps] whole numbers if its loss is sparse;
        None where it has no loss.
    weights: of each output float32 [batch] or [batch, steps], or None.
    lengths: int32 [batch] or None.
    """

    inputs: list[np.ndarray]
    targets: list[np.ndarray | None]
    weights: list[np.ndarray | None]
    lengths: np.ndarray | None
    rows: int


class Layout:
    """How a model's data look: its inputs, outputs and their losses; makes batches of arrays.

    ``shapes`` is a model of the same graph, whose checks are used; ``masks`` one that gives, for
    the outputs in ``masked``, which steps count.
    """

    def __init__(
        self,
        shapes: Model,
        losses: Sequence[specs.Loss | None],
        masks: Model | None = None,
        masked: tuple[int, ...] = (),
    ) -> None:
        self.shapes = shapes
        self._masks, self._masked = masks, masked
        self.losses = list(losses)
        graph = shapes.graph
        self.inputs, self.outputs = graph.inputs, graph.outputs
        self.clocks = graph.clocks
        self.interface = graph.interface
        self.names = [v.name for v in self.outputs]
        self.wanted = [i for i, loss in enumerate(losses) if loss is not None]

    # ------------------------------------------------------------------------- by input and output

    def by_input(self, x: Arrays) -> list[Any]:
        """What belongs to each input: of a dict by name, a list of as many, or the only one."""
        names = [v.name for v in self.inputs]
        if isinstance(x, Mapping):
            return _picked("input", x, names, names)
        if len(names) == 1:
            return [x]
        if isinstance(x, list | tuple) and len(x) == len(names):
            return list(x)
        raise ShapeError(
            f"the model has {len(names)} inputs: give a dict by name or a list, of "
            + ", ".join(f"'{n}'" for n in names)
        )

    def by_output(self, y: Arrays) -> list[Any]:
        """What belongs to each output that has a loss; None for the others."""
        found: list[Any] = [None] * len(self.outputs)
        names = [self.names[i] for i in self.wanted]
        if y is None:
            raise ShapeError("y is missing: the targets")
        if isinstance(y, Mapping):
            given = _picked("output", y, names, self.names)
        elif len(names) == 1 and not (
            isinstance(y, list | tuple) and len(self.outputs) == len(y) > 1
        ):
            given = [y]
        elif isinstance(y, list | tuple) and len(y) == len(self.outputs):
            given = [y[i] for i in self.wanted]
        elif isinstance(y, list | tuple) and len(y) == len(names):
            given = list(y)
        else:
            raise ShapeError(
                f"the model has {len(self.names)} outputs: give y as a dict by name or a list, of "
                + ", ".join(f"'{n}'" for n in names)
            )
        for i, a in zip(self.wanted, given, strict=True):
            found[i] = a
        return found

    def weights_by_output(self, weights: Arrays | None) -> list[Any]:
        """Sample weights of each output; one array is for all."""
        if weights is None:
            return [None] * len(self.outputs)
        if isinstance(weights, Mapping):
            if unknown := sorted(map(str, set(weights) - set(self.names))):
                raise UnknownNameError(
                    f"sample_weight: no output is called {unknown[0]!r}; there are {self.names}"
                )
            return [weights.get(n) for n in self.names]
        if isinstance(weights, list | tuple) and len(weights) == len(self.outputs) > 1:
            return list(weights)
        return [weights if loss is not None else None for loss in self.losses]

    # ------------------------------------------------------------------------------------ checking

    def batch(self, x: list[Any], y: list[Any], weights: list[Any], lengths: Any | None) -> Batch:
        """A batch of what the methods above give; ShapeError, DtypeError, RangeError."""
        given = {v.name: a for v, a in zip(self.inputs, x, strict=True)}
        inputs, rows, times = self.shapes._take(given)
        if not rows or 0 in times:
            raise ShapeError(f"the data are empty: {rows} rows of {times[0]} time steps")
        limits = None
        if lengths is not None:
            limits = self.shapes._take_lengths(lengths, rows, times)
        sizes = dict(zip(self.clocks, times, strict=False))
        targets: list[np.ndarray | None] = []
        factors: list[np.ndarray | None] = []
        for i, v in enumerate(self.outputs):
            time = self.interface[v.name].time
            steps = 1 if time is None else time.count(sizes)
            known = None if self.losses[i] is None else self._target(i, y[i], rows, steps)
            targets.append(known)
            factors.append(_factors(v, weights[i], rows, steps))
        return Batch(inputs, targets, factors, limits, rows)

    def _target(self, i: int, y: Any, rows: int, steps: int) -> np.ndarray:
        v, loss = self.outputs[i], self.losses[i]
        assert loss is not None
        a = as_float32(f"y of {v.name}", y)
        expected = tuple(int(n or 0) for n in v.shape(rows, steps))
        if loss.kind == SPARSE:
            return self._classes(v, a, rows, steps)
        # A last axis of one may be missing, or too much, as Keras has it.
        if a.shape in (expected[:-1], (*expected, 1)) and a.size == math.prod(expected):
            a = a.reshape(expected)
        if a.shape != expected:
            raise ShapeError(f"y of '{v.name}' has shape {a.shape}, expected {expected}")
        if loss.kind in BETWEEN_0_AND_1 and a.size and not (a.min() >= 0 and a.max() <= 1):
            raise RangeError(f"y of '{v.name}' holds something else than 0 to 1, for {loss.kind}")
        return a

    def _classes(self, v: g.Value, a: np.ndarray, rows: int, steps: int) -> np.ndarray:
        """[batch, steps] numbers of classes, of an array in the output's axes without features."""
        axes = [n for n in v.axes if isinstance(n, str)]
        shape = tuple({g.BATCH: rows, g.TIME: steps}[n] for n in axes)
        if a.shape == (*shape, 1):
            a = a[..., 0]
        if a.shape != shape:
            raise ShapeError(
                f"y of '{v.name}' has shape {a.shape}, expected {shape}: for {SPARSE} targets are "
                "numbers of classes"
            )
        classes = self.interface[v.name].features
        if a.size and not (a.min() >= 0 and a.max() < classes and np.array_equal(a, np.floor(a))):
            raise RangeError(
                f"y of '{v.name}' holds something else than the classes 0 to {classes - 1}"
            )
        if axes == [g.TIME, g.BATCH]:
            a = a.T
        return np.ascontiguousarray(a.reshape(rows, steps))

    # ------------------------------------------------------------------------------------- rows

    def rows_of(self, batch: Batch, rows: np.ndarray | slice) -> Batch:
        """Some rows of a batch, copied."""

        def cut(a: np.ndarray | None, axis: int) -> Any:
            if a is None or axis < 0:
                return a
            return np.ascontiguousarray(a[(slice(None),) * axis + (rows,)])

        sparse = [loss is not None and loss.kind == SPARSE for loss in self.losses]
        count = len(range(batch.rows)[rows]) if isinstance(rows, slice) else len(rows)
        return Batch(
            [cut(a, batch_axis(v)) for v, a in zip(self.inputs, batch.inputs, strict=True)],
            [
                cut(a, 0 if flat else batch_axis(v))
                for v, a, flat in zip(self.outputs, batch.targets, sparse, strict=True)
            ],
            [cut(a, 0) for a in batch.weights],
            cut(batch.lengths, 0),
            count,
        )

    def class_weighted(self, batch: Batch, table: Mapping[int, float]) -> Batch:
        """The batch with each row's (and step's) weight times that of its class.

        ShapeError if the model has several outputs with a loss; RangeError for what is no class.
        """
        if len(self.wanted) != 1:
            raise ShapeError("class_weight is for models with one output that has a loss")
        if not isinstance(table, Mapping):
            raise DtypeError(f"class_weight is a dict {{class: weight}}, not {table!r:.40}")
        i = self.wanted[0]
        target, loss = batch.targets[i], self.losses[i]
        assert target is not None and loss is not None
        seen = self.seen_target(i, target)
        if loss.kind != SPARSE:
            seen = seen[..., 0].round() if seen.shape[-1] == 1 else seen.argmax(-1)
        classes = max(self.interface[self.names[i]].features, 2)
        by_class = np.ones(classes, np.float32)
        for number, weight in table.items():
            if not isinstance(number, int | np.integer) or not 0 <= number < classes:
                raise RangeError(
                    f"class_weight: {number!r} is none of the classes 0 to {classes - 1}"
                )
            by_class[number] = specs.number(f"class_weight of class {number}", weight)
        if seen.size and not (seen.min() >= 0 and seen.max() < classes):
            raise RangeError("class_weight: the targets are no classes")
        found = by_class[seen.astype(np.intp)]
        given = batch.weights[i]
        if given is not None:
            steps = [
                a[:, None] if a.ndim < max(given.ndim, found.ndim) else a for a in (given, found)
            ]
            found = steps[0] * steps[1]
        weights = list(batch.weights)
        weights[i] = found
        return replace(batch, weights=weights)

    def masks(self, batch: Batch) -> list[np.ndarray | None]:
        """bool [batch, steps] of each output with time steps that count and others that don't, as
        lengths say and masks of the model; else None."""
        found = self._by_lengths(batch)
        if self._masks is not None:
            given = {v.name: a for v, a in zip(self.inputs, batch.inputs, strict=True)}
            made = self._masks.predict(given)
            masks = list(made.values()) if isinstance(made, dict) else [made]
            for i, mask in zip(self._masked, masks, strict=True):
                known = found[i]
                found[i] = mask > 0 if known is None else known & (mask > 0)
        return found

    def _by_lengths(self, batch: Batch) -> list[np.ndarray | None]:
        found: list[np.ndarray | None] = [None] * len(self.outputs)
        if batch.lengths is None or not self.clocks:
            return found
        clock = self.clocks[0]
        axis = next(v for v in self.inputs if g.TIME in v.axes)
        n = batch.inputs[self.inputs.index(axis)].shape[axis.axes.index(g.TIME)]
        for i, v in enumerate(self.outputs):
            time = self.interface[v.name].time
            if time is None or time.clock != clock:
                continue
            valid = np.maximum((batch.lengths + time.add) // time.every, 0)
            found[i] = np.arange(time.count({clock: n})) < valid[:, None]
        return found

    def seen_output(self, i: int, y: np.ndarray) -> np.ndarray:
        """Output i as metrics see it: [batch, features] or [batch, steps, features]."""
        v = self.outputs[i]
        laid = inside(v, y)
        rows = laid.shape[: 1 + (g.TIME in v.axes)] if g.BATCH in v.axes else (1, *laid.shape[:-1])
        return laid.reshape(*rows, self.interface[v.name].features)

    def seen_target(self, i: int, t: np.ndarray) -> np.ndarray:
        """The target the same way; classes [batch] or [batch, steps]."""
        loss = self.losses[i]
        if loss is None or loss.kind != SPARSE:
            return self.seen_output(i, t)
        return t if g.TIME in self.outputs[i].axes else t[:, 0]


def batch_axis(value: g.Value) -> int:
    """The axis of the rows; -1 if there is none."""
    return value.axes.index(g.BATCH) if g.BATCH in value.axes else -1


def _picked(what: str, given: Mapping[str, Any], names: list[str], allowed: list[str]) -> list[Any]:
    if unknown := sorted(map(str, set(given) - set(allowed))):
        raise UnknownNameError(f"no {what} is called {unknown[0]!r}; there are {allowed}")
    if missing := [n for n in names if n not in given]:
        raise ShapeError(f"nothing is given for the {what} '{missing[0]}'")
    return [given[n] for n in names]


def _factors(v: g.Value, weights: Any, rows: int, steps: int) -> np.ndarray | None:
    if weights is None:
        return None
    a = as_float32("sample_weight", weights)
    if a.ndim and a.shape[-1] == 1 and a.ndim > 1 and a.shape[:-1] in ((rows,), (rows, steps)):
        a = a[..., 0]
    if a.shape != (rows,) and not (g.TIME in v.axes and a.shape == (rows, steps)):
        more = f" or {(rows, steps)}" if g.TIME in v.axes else ""
        raise ShapeError(
            f"sample_weight has shape {a.shape}, expected {(rows,)}{more} for '{v.name}'"
        )
    if not np.isfinite(a).all():
        raise RangeError("sample_weight holds NaN or infinity")
    return np.ascontiguousarray(a)
