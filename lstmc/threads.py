"""How many threads calls use: set by hand, by environment, or what this process may use."""

from __future__ import annotations

import operator
import os
from typing import TYPE_CHECKING

from . import _core
from .errors import Error, RangeError

if TYPE_CHECKING:
    from pathlib import Path

MOST = _core.MAX_THREADS
_count = 0  # 0 until it is first needed


def set_num_threads(n: int | None) -> None:
    """Let each call use up to n threads, the caller among them; None or 0: the default.

    Results never depend on it. The default is the environment variable LSTMC_NUM_THREADS, or else
    the number of CPUs that this process may use (its affinity and its cgroup's quota). Small work
    stays on one thread whatever n is. May be called at any time: a lower number holds from the next
    step on for whatever runs; a higher one for predict, and for streams made from now on. On
    Windows every call stays on one thread for now.

    Raises RangeError if n is no number from 0 to 32 (16 on 32-bit machines).
    """
    global _count
    try:
        n = 0 if n is None else operator.index(n)
    except TypeError:
        raise RangeError(f"n is a number of threads, not {n!r}") from None
    if not 0 <= n <= MOST:
        raise RangeError(f"a call uses 1 to {MOST} threads, not {n}")
    n = n or _default()
    _core.set_threads(n)
    _count = n


def get_num_threads() -> int:
    """How many threads a call uses at most. Raises Error if LSTMC_NUM_THREADS is no such number."""
    return thread_count()


def thread_count() -> int:
    """The number for new sessions."""
    if not _count:
        set_num_threads(0)
    return _count


def restore(count: int) -> None:
    """What _count was before: a number, or 0 where none had been needed yet."""
    global _count
    _core.set_threads(count)
    _count = count


def _default() -> int:
    text = os.environ.get("LSTMC_NUM_THREADS", "").strip()
    if not text:
        return max(1, min(_cpus(), _quota(), MOST))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST and len(text) < 9):
        raise Error(f"LSTMC_NUM_THREADS is '{text}', expected a number from 1 to {MOST}")
    return int(text)


def _cpus() -> int:
    """CPUs that the system lets this process run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> int:
    """CPUs that the cgroup's quota comes to, rounded up; MOST if there is none.

    A quota of a group further out holds too. In a container that sees only its own part of the
    tree the path named in /proc may be missing: then what is mounted is its own.
    """
    from pathlib import Path  # not needed by who only imports lstmc

    quota = float(MOST)
    try:
        groups = Path(own).read_text().splitlines()
    except OSError:
        return MOST
    for line in groups:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = Path(root, *([] if not controllers else ["cpu"]))
        group = base / path.lstrip("/")
        for directory in (group, *group.parents):
            quota = min(quota, _quota_of(directory, bool(controllers)))
            if directory == base:
                break
    return max(1, -int(-quota // 1))


def _quota_of(directory: Path, old: bool) -> float:
    """CPUs by one directory of cgroup v2, or of the old v1; no limit where none can be read."""
    try:
        if old:
            text = [(directory / f"cpu.cfs_{n}_us").read_text() for n in ("quota", "period")]
        else:
            text = (directory / "cpu.max").read_text().split()
        quota, period = (int(t) for t in text)
    except (OSError, ValueError):  # a missing file, or "max"
        return float(MOST)
    return quota / period if quota > 0 and period > 0 else float(MOST)
