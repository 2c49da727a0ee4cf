"""Callbacks by Keras's class names: what ``fit(callbacks=[...])`` takes.

    model.fit(x, y, epochs=100, validation_split=0.2, callbacks=[
        lstmc.callbacks.EarlyStopping(patience=5, restore_best_weights=True),
        lstmc.callbacks.CSVLogger("training.csv"),
        lambda epoch, logs: print(epoch, logs["val_loss"]),
    ])

A function is called with epoch and logs at the end of each epoch. Any object with Keras's hooks
will do as well.
"""

from __future__ import annotations

import csv
import inspect
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from .training.calling import Callback, History, LambdaCallback, Logs
from .training.monitors import (
    BackupAndRestore,
    EarlyStopping,
    ModelCheckpoint,
    ReduceLROnPlateau,
    _settable,
)
from .training.progress import ProgressBar


class TerminateOnNaN(Callback):
    """Stop training, without an error, when the loss is NaN or infinite. The model has the weights
    from before the step."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            print(f"Batch {batch}: the loss is {loss}, training stops")
            self.model.stop_training = True


class LearningRateScheduler(Callback):
    """The learning rate of each epoch: ``schedule(epoch, rate)`` or ``schedule(epoch)``."""

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.schedule, self.verbose = schedule, verbose

    def on_train_begin(self, logs: Logs | None = None) -> None:
        _settable(self)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        rates = (optimizer.learning_rate,) if _takes_two(self.schedule) else ()
        optimizer.learning_rate = self.schedule(epoch, *rates)
        if self.verbose:
            print(f"Epoch {epoch + 1}: the learning rate is {optimizer.learning_rate:g}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = self.model.optimizer.learning_rate


def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(0, 0.0)
    except TypeError:
        return False
    except ValueError:  # a function of C that doesn't say
        pass
    return True


class CSVLogger(Callback):
    """A line of a CSV file for each epoch: its number, then losses and metrics by name.

    ``append``: go on in a file that is there. A value that an epoch lacks is "NA".
    """

    late = True

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ) -> None:
        self.filename, self.separator, self.append = Path(filename), separator, append
        self.file: TextIO | None = None
        self.writer: Any = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.on_train_end()
        self.header = not (self.append and self.filename.exists() and self.filename.stat().st_size)
        self.file = self.filename.open("a" if self.append else "w", newline="")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        assert self.file is not None
        if self.writer is None:
            names = sorted(logs)
            if not any(n.startswith("val_") for n in names):  # the first may come without
                names += [f"val_{n}" for n in names]
            self.writer = csv.DictWriter(
                self.file, ["epoch", *names], restval="NA", extrasaction="ignore",
                delimiter=self.separator, lineterminator="\n",
            )  # fmt: skip
            if self.header:
                self.writer.writeheader()
        self.writer.writerow({"epoch": epoch, **logs})
        self.file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.file is not None:
            self.file.close()
        self.file = self.writer = None


__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgressBar",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
]
