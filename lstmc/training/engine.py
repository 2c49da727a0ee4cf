"""Weights in training, and what a step does with them, over the core's trainer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _core, format
from .. import graph as g
from ..errors import ConversionError, RangeError, ShapeError, UnknownNameError
from ..runtime import as_float32, row_lengths
from ..threads import thread_count
from . import specs
from .arrays import inside, outside
from .holder import Holder

# What backward needs of the rows that run together: about this much stays in a near cache.
NEAR_FLOATS = 1 << 18
FEWEST_ROWS = 12  # fewer would leave the registers' tiles empty
SHARED_ROWS = 16  # of each thread: they meet twice a turn
MOST_ROWS = 256
NO_STEP = 0xFFFFFFFF


@dataclass(frozen=True)
class Result:
    """What a step has found: ``loss`` is the weighted sum of ``losses``, one for each output, each
    the sum of weight times loss divided by their number; ``outputs`` have the model's axes."""

    loss: float
    losses: list[float]
    outputs: list[np.ndarray]


@dataclass(frozen=True)
class _Call:
    """What follows from the shapes of a call's inputs, worked out once: small nets are quick."""

    batch: int
    times: list[int]
    longest: int
    sizes: list[tuple[int, int, int]]  # of each output inside: batch, steps, features
    scales: list[float]


CALLS = 64  # shapes remembered


class Engine(Holder):
    """A graph whose weights are being trained.

    Args:
        graph: what to train; it is not changed.
        losses: of each output, None for one that has none.
        loss_weights: of each output; 1 if None.
        optimizer: what a step does.
        frozen: names of the graph's layers whose weights stay.
        dropouts: see :class:`lstmc.training.specs.Dropout`.
        seed: of the dropouts.
        carry: states go on from call to call (stateful layers); a batch then has always as many
            rows, and gradients end where a call begins (truncated backpropagation through time).
        truncate: cut sequences into windows of so many steps, each a step of the optimizer, with
            the state carried from one to the next.
        recompute: keep less memory for backward, and compute more; the same results.
        panel: units side by side in the weights: no result depends on it.

    Raises:
        ConversionError: the graph has a layer that gradients can't pass, or dropout in steps that
            take their state as inputs. UnknownNameError: a name of a layer that isn't there.
    """

    def __init__(
        self,
        graph: g.Graph,
        losses: Sequence[specs.Loss | None],
        loss_weights: Sequence[float] | None = None,
        optimizer: specs.Optimizer | None = None,
        *,
        frozen: Collection[str] = (),
        dropouts: Sequence[specs.Dropout] = (),
        seed: int = 0,
        carry: bool = False,
        truncate: int | None = None,
        recompute: bool = False,
        panel: int = format.DEFAULT_PANEL,
    ) -> None:
        self._graph = graph
        self._specs, self._outside = graph.infer(), graph.interface
        if len(losses) != len(graph.outputs):
            raise ShapeError(f"{len(losses)} losses for {len(graph.outputs)} outputs")
        self._losses = list(losses)
        self._loss_weights = list(loss_weights or [1.0] * len(losses))
        self._optimizer = optimizer or specs.Optimizer("adam")
        names = [layer.name for layer in graph.layers]
        for name in (*frozen, *(d.layer for d in dropouts)):
            if name not in names:
                raise UnknownNameError(f"there is no layer '{name}'; there are {', '.join(names)}")
        self._frozen = bytes(name in frozen for name in names)
        of = dict(zip(names, graph.layers, strict=True))
        masked: set[tuple[str, bool]] = set()
        for d in dropouts:
            recurrent = d.kind == "recurrent"
            if recurrent and not isinstance(of[d.layer], g.Recurrent):
                raise ConversionError(f"layer '{d.layer}': recurrent dropout of one that is not")
            if (d.layer, recurrent) in masked:
                raise ConversionError(f"layer '{d.layer}': two dropouts for one input")
            masked.add((d.layer, recurrent))
        kinds = {kind: i for i, kind in enumerate(specs.DROPOUTS)}
        self._dropouts = tuple(
            (names.index(d.layer), kinds[d.kind], d.rate) for d in dropouts if d.rate
        )
        self._seed = seed % 2**32
        self._carry = carry or truncate is not None
        self._stateful = carry
        self._truncate = truncate
        self._recompute = recompute
        self._threads = thread_count()
        self._opened = _core.Model(format.dumps(graph, None, panel))
        self._calls: dict[tuple[tuple[int, ...], ...], _Call] = {}
        self._loss_words = [None if x is None else _loss_words(x) for x in self._losses]
        self._floats_a_step = sum(s.features for s in self._specs.values()) + sum(
            5 * layer.hidden_size for layer in graph.layers if isinstance(layer, g.Recurrent)
        )
        self._weight_floats = max(
            sum(a.size for _, _, a in layer.tensors() if a is not None) for layer in graph.layers
        )
        self._make(1, 1)

    # ------------------------------------------------------------------------------------- steps

    def train(
        self,
        inputs: Sequence[np.ndarray],
        targets: Sequence[np.ndarray | None],
        weights: Sequence[np.ndarray | None] | None = None,
        lengths: np.ndarray | None = None,
        learning_rate: float | None = None,
    ) -> Result:
        """One step of the optimizer (with ``truncate``, one for each window).

        Args:
            inputs: float32, in the order and the axes of the graph's inputs.
            targets: float32 of the shape of each output; sparse: whole numbers, without its
                features. None where there is no loss.
            weights: float32 [batch] or [batch, time] for each output, or None.
            lengths: int32 [batch], the valid steps of each row.
            learning_rate: in place of the optimizer's own.

        Raises:
            ShapeError, DtypeError: arrays that don't fit. RangeError: a class beyond the outputs.
        """
        self._rate(learning_rate)  # before anything has changed
        if self._truncate is None:
            found = self.accumulate(inputs, targets, weights, lengths)
            self.update(learning_rate)
            return found
        return self._windows(inputs, targets, weights, lengths, learning_rate)

    def _windows(
        self,
        inputs: Sequence[np.ndarray],
        targets: Sequence[np.ndarray | None],
        weights: Sequence[np.ndarray | None] | None,
        lengths: np.ndarray | None,
        learning_rate: float | None,
    ) -> Result:
        assert self._truncate is not None
        values = [*self._graph.inputs, *self._graph.outputs]
        if len(self._graph.clocks) > 1 or any(
            v.spec.time is None or self._outside[v.name].time != v.spec.time for v in values
        ):
            raise ConversionError(
                "truncate: every input and output must have a step for each step of the sequence"
            )
        axes = [v.axes.index(g.TIME) for v in values]
        self._one_each(targets, weights)
        n = len(inputs)
        batch, (time, *_) = self._sizes([np.shape(a) for a in inputs])
        limits = None if lengths is None else row_lengths(lengths, batch, time)
        self._start()
        found: list[tuple[int, Result]] = []
        for start in range(0, time, self._truncate):
            end = min(start + self._truncate, time)

            def cut(a: np.ndarray | None, axis: int, part: slice = slice(start, end)) -> Any:
                return None if a is None else np.asarray(a)[(slice(None),) * axis + (part,)]

            result = self._run(
                [cut(a, axis) for a, axis in zip(inputs, axes[:n], strict=True)],
                [cut(a, axis) for a, axis in zip(targets, axes[n:], strict=True)],
                [
                    cut(a, 1) if np.ndim(a) > 1 else a  # type: ignore[arg-type]
                    for a in ([None] * len(targets) if weights is None else weights)
                ],
                None if limits is None else np.clip(limits - start, 0, end - start),
                None,
                True,
            )
            self.update(learning_rate)
            found.append((end - start, result))
        losses = [
            sum(k * r.losses[i] for k, r in found) / time for i in range(len(self._graph.outputs))
        ]
        outputs = [
            np.concatenate([r.outputs[i] for _, r in found], axes[n + i])
            for i in range(len(self._graph.outputs))
        ]
        return Result(self._total(losses), losses, outputs)

    def accumulate(
        self,
        inputs: Sequence[np.ndarray],
        targets: Sequence[np.ndarray | None],
        weights: Sequence[np.ndarray | None] | None = None,
        lengths: np.ndarray | None = None,
        scale: float | None = None,
    ) -> Result:
        """Add to the gradients; ``scale`` in place of 1 / the number of losses. When Ctrl-C ends it
        early, all gradients are zero."""
        self._start()
        return self._run(inputs, targets, weights, lengths, scale, True)

    def evaluate(
        self,
        inputs: Sequence[np.ndarray],
        targets: Sequence[np.ndarray | None],
        weights: Sequence[np.ndarray | None] | None = None,
        lengths: np.ndarray | None = None,
    ) -> Result:
        """The loss without dropout; no gradient, nothing changed (but states, with ``carry``)."""
        self._start()
        return self._run(inputs, targets, weights, lengths, None, False)

    def update(self, learning_rate: float | None = None) -> None:
        """A step of the optimizer with the gradients so far."""
        self._trainer.update(self._words(self._rate(learning_rate)))

    def _rate(self, given: float | None) -> float:
        rate = self._optimizer.learning_rate if given is None else given
        if not abs(rate) <= 2.0**60:
            raise RangeError(f"learning_rate is {rate}, expected a number up to 2^60")
        return rate

    def clear(self) -> None:
        """All gradients to zero, without a step."""
        self._trainer.clear()

    def _total(self, losses: list[float]) -> float:
        return float(
            sum(
                w * x for w, x, k in zip(self._loss_weights, losses, self._losses, strict=True) if k
            )
        )

    def _one_each(self, targets: Any, weights: Any) -> None:
        for name, given in (("targets", targets), ("weights", weights)):
            if given is not None and len(given) != len(self._losses):
                raise ShapeError(f"{len(given)} {name} for {len(self._losses)} outputs")

    def _start(self) -> None:
        """Windows of ``truncate`` have left states; only those of ``carry`` go on from there."""
        if self._carry and not self._stateful:
            self.reset_states()

    def _run(
        self,
        inputs: Sequence[np.ndarray],
        targets: Sequence[np.ndarray | None],
        weights: Sequence[np.ndarray | None] | None,
        lengths: np.ndarray | None,
        scale: float | None,
        backward: bool,
    ) -> Result:
        self._one_each(targets, weights)
        shapes = tuple([np.shape(a) for a in inputs])
        call = self._calls.get(shapes) or self._call(shapes)
        trainer = self._trainer_for(call.batch, call.longest)
        outputs = [np.empty(size, np.float32) for size in call.sizes]
        truths: list[np.ndarray | None] = []
        values: list[np.ndarray | None] = []
        for i, loss in enumerate(self._losses):
            size = call.sizes[i]
            truths.append(None if loss is None else self._truth(i, targets[i], size))
            values.append(None if loss is None else np.empty(size[:2], np.float32))
        factors = None
        if weights is not None:
            factors = [self._factors(w, x) for w, x in zip(weights, call.sizes, strict=True)]
        step = self.iterations % NO_STEP if backward and self._dropouts else NO_STEP
        arrays = [as_float32("x", a) for a in inputs]
        limits = None if lengths is None else row_lengths(lengths, call.batch, call.times[0])
        try:
            trainer.run(
                arrays, call.batch, call.times, limits,
                outputs=outputs, losses=self._loss_words, truths=truths, weights=factors,
                scales=call.scales if scale is None else [scale * w for w in self._loss_weights],
                values=values, backward=backward, seed=self._seed, step=step,
            )  # fmt: skip
        except KeyboardInterrupt:
            if backward:  # some rows have added theirs
                trainer.clear()
            raise
        if self._stateful:
            self._held = call.batch
        means = [0.0 if a is None else float(a.sum(dtype=np.float64)) / a.size for a in values]
        return Result(
            self._total(means),
            means,
            [outside(v, y) for v, y in zip(self._graph.outputs, outputs, strict=True)],
        )

    def _call(self, shapes: tuple[tuple[int, ...], ...]) -> _Call:
        batch, times = self._sizes(shapes)
        clocks = dict(zip(self._graph.clocks, times, strict=False))
        sizes, scales = [], []
        for v, weight in zip(self._graph.outputs, self._loss_weights, strict=True):
            spec = self._outside[v.name]
            steps = 1 if spec.time is None else spec.time.count(clocks)
            sizes.append((batch, steps, spec.features))
            scales.append(weight / (batch * steps))
        if len(self._calls) >= CALLS:
            self._calls.clear()
        call = self._calls[shapes] = _Call(batch, times, max(times), sizes, scales)
        return call

    def _sizes(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, list[int]]:
        """Batch and the steps of each clock."""
        if len(shapes) != len(self._graph.inputs):
            raise ShapeError(f"{len(shapes)} inputs, expected {len(self._graph.inputs)}")
        batch, clocks = 0, dict[str, int]()
        for v, shape in zip(self._graph.inputs, shapes, strict=True):
            if len(shape) != len(v.axes):
                raise ShapeError(f"'{v.name}' has shape {shape}, expected {v.shape()}")
            for axis, n in zip(v.axes, shape, strict=True):
                want: Any = axis
                if axis == g.BATCH:
                    batch = want = batch or n
                elif axis == g.TIME:
                    want = v.time or clocks.setdefault(v.clock or "", n)
                    if v.clock:
                        clocks.setdefault(v.clock, n)
                if n != want or not n:
                    raise ShapeError(f"'{v.name}' has shape {shape}, expected {v.shape()}")
        if reason := self._graph.misfit(self._specs, clocks):
            raise ShapeError(f"these time steps don't fit: {reason}")
        return batch or 1, [clocks[c] for c in self._graph.clocks] or [1]

    def _trainer_for(self, batch: int, time: int) -> _core.Trainer:
        trainer = self._trainer
        assert trainer is not None
        if self._carry:
            if self._held not in (0, batch):
                raise ShapeError(
                    f"a batch of {batch} rows after one of {self._held}: they carry their states"
                )
            rows = batch if self._stateful else max(batch, trainer.batch)
            if trainer.batch != rows or trainer.time < time:
                self._make(rows, max(time, trainer.time))
        else:
            time = max(time, trainer.time)
            rows = min(batch, max(self._rows(time), trainer.batch))
            if trainer.batch < rows or trainer.time < time:
                self._make(rows, time)
        return self._trainer

    def _rows(self, time: int) -> int:
        """Rows at once."""
        if self._graph.bindings:  # rows come one at a time in any case
            return 1
        if self._weight_floats > NEAR_FLOATS:  # weights that each turn reads from far
            return MOST_ROWS
        threads = self._threads  # each has a near cache
        near = threads * NEAR_FLOATS // max(time * self._floats_a_step, 1)
        fewest = FEWEST_ROWS if threads == 1 else SHARED_ROWS * threads
        return max(fewest, min(MOST_ROWS, near))

    def _truth(self, i: int, target: np.ndarray | None, size: tuple[int, int, int]) -> np.ndarray:
        v, loss = self._graph.outputs[i], self._losses[i]
        batch, steps, features = size
        assert loss is not None
        if target is None:
            raise ShapeError(f"there is no target for '{v.name}'")
        a = as_float32("y", target)
        if loss.kind == "sparse_categorical_crossentropy":
            # In the order of the output's axes, as it is or with an axis of one class.
            order = [x for x in v.axes if x in (g.BATCH, g.TIME)]
            shape = tuple(batch if x == g.BATCH else steps for x in order)
            if a.shape not in (shape, (*shape, 1)):
                raise ShapeError(
                    f"the target of '{v.name}' has shape {a.shape}, expected classes of {shape}"
                )
            if order == [g.TIME, g.BATCH]:
                a = np.ascontiguousarray(a.reshape(shape).T)
            if not (a.min() >= 0 and a.max() < features and np.array_equal(a, np.floor(a))):
                raise RangeError(f"the target of '{v.name}' holds no classes 0 to {features - 1}")
            return a
        expected = v.shape(batch, steps)
        if a.shape != expected:
            raise ShapeError(f"the target of '{v.name}' has shape {a.shape}, expected {expected}")
        return inside(v, a)

    def _factors(self, weights: np.ndarray | None, size: tuple[int, int, int]) -> Any:
        if weights is None:
            return None
        a = as_float32("weights", weights)
        if a.shape not in (size[:1], size[:2]):
            raise ShapeError(f"weights have shape {a.shape}, expected {size[:1]} or {size[:2]}")
        return a.reshape(-1)


def _loss_words(loss: specs.Loss) -> tuple[int, float, float, bool]:
    kind = specs.LOSSES.index(loss.kind)
    return kind, loss.delta, loss.label_smoothing, loss.from_logits


__all__ = ["Engine", "Result"]
