"""Callbacks that watch a value of the logs: early stopping, smaller learning rates, saving."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OptionError, RangeError, UnknownNameError
from .calling import Callback, Logs, State
from .specs import known, number

MODES = ("auto", "min", "max")


class Monitor(Callback):
    """Base class: is ``monitor`` better than the best so far, by more than ``min_delta``?

    ``mode``: "min" or "max" is better; "auto" knows it of losses and metrics.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float) -> None:
        known("mode", mode, MODES)
        self.monitor, self.mode = monitor, mode
        self.min_delta = abs(number("min_delta", min_delta))
        self.best: float | None = None

    def value(self, logs: Logs | None) -> float | None:
        """The value, None with a warning if it is not there."""
        found = (logs or {}).get(self.monitor)
        if found is None:
            warnings.warn(
                f"{type(self).__name__}: there is no '{self.monitor}'; there are "
                f"{', '.join(logs or {})}",
                stacklevel=4,
            )
        return found

    def better(self, value: float, than: float | None) -> bool:
        up = self._up()  # an error comes in the first epoch
        if than is None:
            return True
        return value - self.min_delta > than if up else value + self.min_delta < than

    def _up(self) -> bool:
        if self.mode != "auto":
            return self.mode == "max"
        name = self.monitor.removeprefix("val_")
        if name == "loss" or name.endswith("_loss"):
            return False
        direction = self.model._directions().get(name)
        if direction is None:
            raise UnknownNameError(
                f"{type(self).__name__}: which way '{self.monitor}' gets better is not known: say "
                "mode='max' or mode='min'"
            )
        return direction == "up"

    def state(self) -> State:
        return {} if self.best is None else {"best": np.array(self.best, np.float64)}

    def restore(self, state: State) -> None:
        self.best = float(state["best"]) if "best" in state else None


class EarlyStopping(Monitor):
    """Stop when ``monitor`` has not become better for ``patience`` epochs.

    Args:
        monitor, min_delta, mode: see :class:`Monitor`.
        patience: epochs that may pass.
        verbose: 1: say so.
        baseline: what must be passed too.
        restore_best_weights: in the end the model has those of the best epoch.
        start_from_epoch: epochs before are of no account.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = int(number("patience", patience, 0))
        self.verbose, self.baseline = verbose, baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self._begin()

    def _begin(self) -> None:
        self.best, self.wait, self.stopped_epoch, self.best_epoch = None, 0, 0, 0
        self.best_weights: list[np.ndarray] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._begin()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.value(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if self.better(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self.better(value, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                print(f"The weights are those of epoch {self.best_epoch + 1}, the best")
            self.model.set_weights(self.best_weights)

    def state(self) -> State:
        counts = [self.wait, self.stopped_epoch, self.best_epoch]
        weights = {f"weight/{i}": w for i, w in enumerate(self.best_weights or [])}
        return {**super().state(), "counts": np.array(counts, np.int64), **weights}

    def restore(self, state: State) -> None:
        super().restore(state)
        self.wait, self.stopped_epoch, self.best_epoch = map(int, state["counts"])
        count = sum(name.startswith("weight/") for name in state)
        self.best_weights = [state[f"weight/{i}"] for i in range(count)] or None


class ReduceLROnPlateau(Monitor):
    """The learning rate times ``factor`` when ``monitor`` has not become better for ``patience``
    epochs; then it waits ``cooldown`` epochs. Never below ``min_lr``."""

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.factor = number("factor", factor, 0, 1, more=True)
        self.patience = int(number("patience", patience, 0))
        self.cooldown = int(number("cooldown", cooldown, 0))
        self.min_lr = number("min_lr", min_lr, 0)
        self.verbose = verbose
        self.wait = self.cooldown_counter = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best, self.wait, self.cooldown_counter = None, 0, 0
        _settable(self)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        rate = optimizer.learning_rate
        if logs is not None:
            logs["learning_rate"] = rate
        value = self.value(logs)
        if value is None:
            return
        if self.cooldown_counter:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.better(value, self.best):
            self.best, self.wait = value, 0
        elif not self.cooldown_counter:
            self.wait += 1
            if self.wait >= self.patience and rate > self.min_lr:
                optimizer.learning_rate = max(rate * self.factor, self.min_lr)
                self.cooldown_counter, self.wait = self.cooldown, 0
                if self.verbose:
                    print(
                        f"Epoch {epoch + 1}: the learning rate is {optimizer.learning_rate:g} now"
                    )

    def state(self) -> State:
        counts = np.array([self.wait, self.cooldown_counter], np.int64)
        return {**super().state(), "counts": counts}

    def restore(self, state: State) -> None:
        super().restore(state)
        self.wait, self.cooldown_counter = map(int, state["counts"])


class ModelCheckpoint(Monitor):
    """Save the model after each epoch, or each ``save_freq`` batches.

    Args:
        filepath: where: a name that ends with ".lstmc" gets the model, any other a checkpoint, from
            which training goes on (:meth:`lstmc.Model.save_checkpoint`). "{epoch:02d}" and names
            of logs are filled in, the epoch counted from 1.
        save_best_only: only when ``monitor`` has become better.
        initial_value_threshold: what the first must be better than.
        verbose: 1: say so.
    """

    late = True

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode, 0)
        self.filepath, self.verbose = os.fspath(filepath), verbose
        if self.filepath.lower().endswith((".keras", ".h5", ".hdf5")):
            raise OptionError(
                f"filepath '{self.filepath}': lstmc doesn't write Keras's files; a name that ends "
                "with .lstmc gets the model, any other a checkpoint"
            )
        self.save_best_only = save_best_only
        self.save_freq = _frequency(save_freq)
        self.best = initial_value_threshold
        self.count = self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if not self.save_freq:
            return
        self.count += 1
        if self.count >= self.save_freq:
            self.count = 0
            self._save(self.epoch, logs, batch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if not self.save_freq:
            self._save(epoch, logs, None)

    def _save(self, epoch: int, logs: Logs | None, batch: int | None) -> None:
        if self.save_best_only:
            value = self.value(logs)
            if value is not None and not self.better(value, self.best):
                return
            self.best = self.best if value is None else value
        names = {"epoch": epoch + 1, **(logs or {})}
        if batch is not None:
            names["batch"] = batch + 1
        try:
            path = self.filepath.format(**names)
        except (KeyError, IndexError, ValueError):
            raise UnknownNameError(
                f"filepath '{self.filepath}' can't be filled in; there are {', '.join(names)}"
            ) from None
        if Path(path).suffix == ".lstmc":
            self.model.save(path)
        else:
            self.model.save_checkpoint(path)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saved '{path}'")

    def state(self) -> State:
        return {**super().state(), "count": np.array(self.count, np.int64)}

    def restore(self, state: State) -> None:
        if "best" in state:
            super().restore(state)
        self.count = int(state["count"])


class BackupAndRestore(Callback):
    """Go on where a run that was killed had got to.

    When fit begins and ``path`` is a checkpoint, it is loaded. One is saved after each epoch, or
    each ``save_freq`` batches; it is deleted when fit ends, unless ``delete_checkpoint`` is False.
    """

    late = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        delete_checkpoint: bool = True,
    ) -> None:
        self.path = Path(path)
        self.save_freq = _frequency(save_freq)
        self.delete_checkpoint = delete_checkpoint
        self.count = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if self.path.exists():
            self.model.load_checkpoint(self.path)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.count += 1
        if self.save_freq and self.count >= self.save_freq:
            self.count = 0
            self.model.save_checkpoint(self.path)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if not self.save_freq:
            self.model.save_checkpoint(self.path)

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.delete_checkpoint:
            self.path.unlink(missing_ok=True)


def _frequency(save_freq: Any) -> int:
    """A number of batches, 0 for epochs."""
    if save_freq == "epoch":
        return 0
    if not isinstance(save_freq, int) or save_freq < 1:
        raise RangeError(f"save_freq is {save_freq!r}, expected 'epoch' or a number of batches")
    return save_freq


def _settable(callback: Callback) -> None:
    """RangeError if the learning rate follows a schedule, which would overrule the callback."""
    if callback.model.optimizer.scheduled:
        raise RangeError(
            f"{type(callback).__name__} sets the learning rate, and the optimizer has a schedule "
            "for it: use one of them"
        )


__all__ = [
    "BackupAndRestore",
    "EarlyStopping",
    "ModelCheckpoint",
    "Monitor",
    "ReduceLROnPlateau",
]
