"""What the command line says: errors with an exit status, printable text, progress."""

from __future__ import annotations

import sys
import time


class UsageError(Exception):
    """Arguments that make no sense: exit status 2."""


class CheckError(Exception):
    """A check that failed after its findings were printed: exit status 1."""


class Progress:
    """Rows done, on one line of a terminal's stderr, once the work has taken a second."""

    def __init__(self, total: int) -> None:
        self.total, self.start, self.last = total, time.monotonic(), 0.0
        self.terminal = sys.stderr is not None and sys.stderr.isatty()

    def show(self, done: int) -> None:
        now = time.monotonic()
        if self.terminal and now - self.start > 1 and now - self.last > 0.1:
            left = (now - self.start) * (self.total - done) / done
            text = (
                f"{done:,} of {self.total:,} rows, {100 * done // self.total} %, {left:.0f} s left"
            )
            print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)
            self.last = now

    def end(self) -> None:
        if self.last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Names come from files: what would steer a terminal is shown as an escape."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def line(error: object) -> str:
    return printable(" ".join(str(error).split()) or type(error).__name__)
