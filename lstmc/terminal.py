"""What the command line says: errors with an exit status, printable text, progress."""

from __future__ import annotations

import sys
import time


class UsageError(Exception):
    """Arguments that make no sense: exit status 2."""


class CheckError(Exception):
    """A check that failed after its findings were printed: exit status 1."""


class Progress:
    """Rows done, on one line of a terminal's stderr, once the work has taken a second.

    ``done`` of them had been done before, which says nothing about the speed now.
    """

    def __init__(self, total: int, unit: str = "rows", done: int = 0) -> None:
        self.total, self.unit, self.before = total, unit, done
        self.start, self.last = time.monotonic(), 0.0
        self.terminal = sys.stderr is not None and sys.stderr.isatty()

    def show(self, done: int) -> None:
        now = time.monotonic()
        if self.terminal and now - self.start > 1 and now - self.last > 0.1 and done > self.before:
            rate = (done - self.before) / (now - self.start)
            left = (self.total - done) / rate
            text = (
                f"{done:,} of {self.total:,} {self.unit}, {100 * done // self.total} %, "
                f"{rate:,.{0 if rate >= 100 else 1}f} {self.unit}/s, {_duration(left)} left"
            )
            print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)
            self.last = now

    def end(self) -> None:
        if self.last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def printable(text: str) -> str:
    """Names come from files: what would steer a terminal is shown as an escape."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def line(error: object) -> str:
    return printable(" ".join(str(error).split()) or type(error).__name__)
