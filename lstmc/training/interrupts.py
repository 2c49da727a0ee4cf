"""Ctrl-C during a step: it is finished first, so that weights, optimizer and position agree."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Interrupts:
    """``with interrupts:`` around fit; ``with interrupts.held():`` around what must not be cut.

    An interrupt within is raised at its end; anywhere else at once. If the program has its own
    handler, or this is not the main thread, nothing is changed.
    """

    def __init__(self) -> None:
        self.holding = self.pending = self.installed = False

    def __enter__(self) -> Interrupts:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            signal.signal(signal.SIGINT, self._handle)
            self.installed = True
        return self

    def __exit__(self, *error: Any) -> None:
        if self.installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self.installed = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.holding:
            self.pending = True
        else:
            signal.default_int_handler(number, frame)

    def hold(self) -> None:
        """From here on an interrupt waits."""
        self.holding = True

    def release(self) -> None:
        """KeyboardInterrupt if one has waited."""
        self.holding = False
        if self.pending:
            self.pending = False
            raise KeyboardInterrupt


__all__ = ["Interrupts"]
