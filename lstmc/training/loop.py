"""fit and evaluate: epochs, batches, validation, and what is called on the way."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import RangeError, ShapeError
from .batches import Batch
from .calling import Calls, History
from .feeds import ArrayFeed, Feed, feed, is_source, rows, split
from .interrupts import Interrupts
from .progress import ProgressBar, shown
from .specs import number
from .tally import Logs
from .trainer import Position, Trainer

if TYPE_CHECKING:
    from ..model import Model

BATCH_SIZE = 32  # Keras's


class Fit:
    """One call of fit. The arguments are those of :meth:`lstmc.Model.fit`."""

    def __init__(
        self,
        model: Model,
        trainer: Trainer,
        data: tuple[Any, Any, Any, Any],
        *,
        batch_size: int | None,
        epochs: int,
        verbose: int | str,
        callbacks: Any,
        validation_split: float,
        validation_data: Any,
        shuffle: bool,
        class_weight: dict[int, float] | None,
        initial_epoch: int | None,
        steps_per_epoch: int | None,
        validation_steps: int | None,
        validation_batch_size: int | None,
        validation_freq: int | Collection[int],
    ) -> None:
        self.model, self.trainer = model, trainer
        self.epochs = _count("epochs", epochs, 0)
        self.first_epoch = None if initial_epoch is None else _count("epoch", initial_epoch, 0)
        self.class_weight = class_weight
        if isinstance(validation_freq, int):
            _count("validation_freq", validation_freq, 1)
        self.validation_freq = validation_freq
        self.validation_steps = _optional("validation_steps", validation_steps)
        self.steps_per_epoch = _optional("steps_per_epoch", steps_per_epoch)
        size = _optional("batch_size", batch_size)
        part = number("validation_split", validation_split, 0, 1)
        layout, seed = trainer.layout, trainer.seed
        self.validation: Feed | None = None
        test_size = _optional("validation_batch_size", validation_batch_size) or size or BATCH_SIZE
        x, y, weights, lengths = data
        if y is None and is_source(x):
            if size is not None:
                raise RangeError("batch_size is for arrays: these batches are made by others")
            if part:
                raise RangeError("validation_split is for arrays: give validation_data")
            self.feed = feed(layout, x, y, weights, lengths, 1, bool(shuffle), seed)
        else:
            read = rows(layout, x, y, weights, lengths)
            if part and validation_data is None:
                read, kept = split(read, part)
                self.validation = ArrayFeed(kept, test_size, False, 0)
            self.feed = ArrayFeed(read, size or BATCH_SIZE, bool(shuffle), seed)
        if validation_data is not None:
            self.validation = _validation(trainer, validation_data, test_size)
        self.steps = self.steps_per_epoch or self.feed.steps
        level = 1 if verbose == "auto" else _count("verbose", verbose, 0)
        self.history = History()
        more = [self.history, *([ProgressBar(level)] if level else [])]
        params = {"epochs": self.epochs, "steps": self.steps, "verbose": level}
        self.calls = Calls(callbacks, model, params, more)
        self.terminating = any(_terminates(c) for c in self.calls.given)
        self.interrupts = Interrupts()
        self.iterator: Iterator[Batch] | None = None
        self.exhausted = False

    def run(self) -> History:
        model, trainer = self.model, self.trainer
        trainer.calls, trainer.history = self.calls, self.history
        model.history, model.stop_training = self.history, False
        with self.interrupts:
            self.calls.call("on_train_begin", {})
            self._begin()
            logs: Logs = {}
            while trainer.position.epoch < self.epochs and not model.stop_training:
                logs = self._epoch()
            self.calls.call("on_train_end", logs)
        return self.history

    def _begin(self) -> None:
        """Where to begin: anew, or where a checkpoint says."""
        trainer, resume = self.trainer, self.trainer.resume
        trainer.resume = None
        if resume is None or self.first_epoch is not None:
            turn = trainer.position.turn if self.feed.restarts else 0
            trainer.position = Position(epoch=self.first_epoch or 0, turn=turn)
            return
        trainer.position = resume.position
        self.model.stop_training = resume.stopped
        if resume.history:
            self.history.restore(resume.history)
        self.calls.restore(resume.callbacks)
        trainer.tally.reset()
        if resume.position.step:
            trainer.tally.restore(resume.tally)

    # -------------------------------------------------------------------------------- an epoch

    def _epoch(self) -> Logs:
        trainer, calls = self.trainer, self.calls
        place = trainer.position
        epoch = place.epoch
        calls.call("on_epoch_begin", epoch, {})
        if not place.step:
            trainer.tally.reset()
        while self.steps_per_epoch is None or place.step < self.steps_per_epoch:
            batch = self._next()
            if batch is None:
                self._cut_short(epoch)
                break
            self._step(batch)
            if self.model.stop_training:
                break
        if not place.step:
            self._no_data(epoch)
            return {}
        if not trainer.finite():
            self._diverged(None, 0.0)
        logs = trainer.tally.logs()
        if self.validation is not None and _due(self.validation_freq, epoch):
            found = evaluate(trainer, self.validation, self.validation_steps, calls)
            logs.update({f"val_{name}": value for name, value in found.items()})
        self.history.on_epoch_end(epoch, logs)  # a checkpoint of any callback has it
        trainer.position = Position(epoch + 1, 0, place.turn, place.at)
        calls.call("on_epoch_end", epoch, logs)
        return logs

    def _next(self) -> Batch | None:
        """The next batch of the epoch, None if there is none."""
        place = self.trainer.position
        if self.exhausted:
            return None
        if self.iterator is None:
            self.iterator = self.feed.batches(place.turn, place.at)
        batch = next(self.iterator, None)
        if batch is not None:
            return batch
        if not self.feed.restarts:
            self.exhausted = True
            return None
        empty = place.at == 0
        self.feed.ended()
        place.turn, place.at, self.iterator = place.turn + 1, 0, None
        if self.steps_per_epoch is None or empty:
            return None
        return self._next()

    def _step(self, batch: Batch) -> None:
        trainer, calls, place = self.trainer, self.calls, self.trainer.position
        number = place.step
        calls.call("on_train_batch_begin", number, {})
        if self.class_weight is not None:
            batch = trainer.layout.class_weighted(batch, self.class_weight)
        self.interrupts.hold()
        try:
            result, good = trainer.step(batch)
            if good:
                trainer.tally.add(batch, result)
                place.step += 1
                place.at += 1
        finally:
            self.interrupts.holding = False
        if not good:
            self._diverged(batch, result.loss)
            trainer.tally.add(batch, result)
            place.step += 1
            place.at += 1
        self.interrupts.release()
        if calls.watches("on_train_batch_end"):
            calls.call("on_train_batch_end", number, trainer.tally.logs())

    def _diverged(self, batch: Batch | None, loss: float) -> None:
        """DivergenceError, unless TerminateOnNaN is there to stop."""
        if not self.terminating:
            raise self.trainer.diverged(batch, loss)
        self.model.stop_training = True

    def _cut_short(self, epoch: int) -> None:
        """A generator that was to have more batches has ended within an epoch."""
        step = self.trainer.position.step
        if step and self.steps_per_epoch is not None:
            warnings.warn(
                f"the data ran out in epoch {epoch + 1}, after {step} of {self.steps_per_epoch} "
                "batches: give a generator that goes on",
                stacklevel=6,
            )

    def _no_data(self, epoch: int) -> None:
        """An epoch without batches: of data that have run out, or never were."""
        if not self.history.epoch and not self.trainer.position.at:
            raise ShapeError("the data are empty: there are no batches")
        warnings.warn(
            f"the data ran out: there are none for epoch {epoch + 1}, training stops; give a "
            "generator that goes on, or steps_per_epoch",
            stacklevel=5,
        )
        self.model.stop_training = True


def evaluate(trainer: Trainer, data: Feed, steps: int | None, calls: Calls | None = None) -> Logs:
    """Losses and metrics over a pass of the data, or ``steps`` batches of it."""
    tally = trainer.test_tally
    tally.reset()
    if calls is not None:
        calls.call("on_test_begin", {})
    for i, batch in enumerate(data.batches(0, 0)):
        if calls is not None:
            calls.call("on_test_batch_begin", i, {})
        tally.add(batch, trainer.evaluate(batch))
        if calls is not None and calls.watches("on_test_batch_end"):
            calls.call("on_test_batch_end", i, tally.logs())
        if i + 1 == steps:
            break
    if not tally.rows:
        raise ShapeError("the data are empty: there are no batches")
    logs = tally.logs()
    if calls is not None:
        calls.call("on_test_end", logs)
    return logs


def run_evaluation(
    model: Model,
    trainer: Trainer,
    data: tuple[Any, Any, Any, Any],
    batch_size: int | None,
    steps: int | None,
    callbacks: Any,
    verbose: int | str,
) -> Logs:
    """evaluate, as users call it."""
    size = _optional("batch_size", batch_size) or BATCH_SIZE
    source = feed(trainer.layout, *data, size, False, 0)
    calls = Calls(callbacks, model, {"steps": source.steps, "verbose": verbose})
    logs = evaluate(trainer, source, _optional("steps", steps), calls)
    if verbose:
        print(shown(logs), flush=True)
    return logs


def _validation(trainer: Trainer, given: Any, size: int) -> Feed:
    if is_source(given):
        return feed(trainer.layout, given, None, None, None, size, False, 0)
    if not isinstance(given, tuple | list) or not 2 <= len(given) <= 4:
        raise ShapeError(
            "validation_data: expected (x, y), (x, y, sample_weight), (x, y, sample_weight, "
            "lengths) or batches"
        )
    x, y, weights, lengths = (*given, None, None)[:4]
    return feed(trainer.layout, x, y, weights, lengths, size, False, 0)


def _due(frequency: int | Collection[int], epoch: int) -> bool:
    """Whether an epoch is validated: each so many, or those listed, counted from 1."""
    if isinstance(frequency, int):
        return (epoch + 1) % frequency == 0
    return epoch + 1 in frequency


def _terminates(callback: Any) -> bool:
    from ..callbacks import TerminateOnNaN

    return isinstance(callback, TerminateOnNaN)


def _count(what: str, value: Any, least: int) -> int:
    found = number(what, value, least)
    if found != int(found):
        raise RangeError(f"{what} is {value!r}, expected a whole number")
    return int(found)


def _optional(what: str, value: Any) -> int | None:
    return None if value is None else _count(what, value, 1)


__all__ = ["Fit", "evaluate", "run_evaluation"]
