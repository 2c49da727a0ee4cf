"""What fit says of its progress: a line that changes on a terminal, else one line an epoch."""

from __future__ import annotations

import sys
import time

from ..terminal import _duration
from .calling import Callback, Logs

EVERY = 0.1  # seconds between two states of the line


class ProgressBar(Callback):
    """Losses, metrics and the time left on one line. ``verbose`` 2, or a standard output that is
    no terminal: a line at the end of each epoch only."""

    late = True

    def __init__(self, verbose: int = 1) -> None:
        self.verbose = verbose
        self.start = self.last = 0.0
        self.first = 0  # batches of the epoch that an earlier run had done
        self.live = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.live = self.verbose == 1 and sys.stdout is not None and sys.stdout.isatty()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch, self.start, self.last = epoch, time.monotonic(), 0.0
        self.first = -1

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        now = time.monotonic()
        if self.first < 0:
            self.first = batch
        if not self.live or now - self.last < EVERY:
            return
        self.last = now
        steps, done = self.params["steps"], batch + 1
        text = f"{self._head()}  {done:,}" + (f" of {steps:,}" if steps else "")
        text += f"  {shown(logs)}"
        if steps and steps > done:
            each = (now - self.start) / (done - self.first)
            text += f"  {_duration(each * (steps - done))} left"
        print(f"\r{text}\x1b[K", end="", flush=True)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if sys.stdout is None:
            return
        took = _duration(time.monotonic() - self.start)
        text = f"{self._head()}  {took}  {shown(logs)}"
        print(f"\r{text}\x1b[K" if self.live else text, flush=True)

    def _head(self) -> str:
        epochs = self.params["epochs"]
        return f"Epoch {self.epoch + 1}/{epochs}"


def shown(logs: Logs | None) -> str:
    """loss 0.0123  val_loss 0.0145"""
    return "  ".join(f"{name} {value:.4g}" for name, value in (logs or {}).items())


__all__ = ["ProgressBar", "shown"]
