"""A folder of files through a model, each to a file of the same name in another folder.

The other folder's `.lstmc-run/journal` lists what is finished, a JSON line each: the input and the
output as they were then (size, mtime). It stays, so that a later run with --resume does what is new
or has changed, and no more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .. import graph as g
from ..errors import Error
from ..runtime import as_float32
from ..terminal import Progress, UsageError, line
from .arrayfile import ChangedError, open_npy, stamp, write_header
from .blocks import BLOCK_BYTES, model_digest, write_zip
from .ragged import Ragged, alone, predict_rows
from .work import ResumeError, locked, sync_folder, write_synced

if TYPE_CHECKING:
    from ..model import Model

GROUP_FILES = 1024
# A disk in such a state fails the next file too.
HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE)


@dataclass
class Outcome:
    """What became of the files."""

    files: int
    done: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)  # why, by name

    def facts(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def text(self) -> str:
        return f"{self.done:,} files, {self.skipped:,} skipped, {len(self.failed):,} failed"


def run_folder(
    model: Model,
    names: dict[str, str],
    source: Path,
    output: Path,
    one: Callable[[Path, Path, bool], Any],
    resume: bool,
    options: Any = None,
) -> Outcome:
    """Do each file of ``names`` (input name: output name); a damaged one stops no other.

    Args:
        one: does a file by itself: (input, output, whether to resume).
        resume: leave out what the journal calls finished.
        options: what else outputs depend on, in a form that JSON takes.

    Raises UsageError for a journal of another model or options with ``resume``; OSError when the
    disk takes no more.
    """
    outcome = Outcome(len(names))
    folder = output / ".lstmc-run"
    with locked(folder, output):
        identity = {"model": model_digest(model), "options": options}
        journal = _Journal(folder, identity, output, resume)
        todo = []
        for name in names:
            if journal.finished(name, source / name, output / names[name]):
                outcome.skipped += 1
            else:
                todo.append(name)
        progress = Progress(len(names), "files", outcome.skipped)
        report = _Report(outcome, progress)
        try:
            singles = _grouped(model, names, source, output, folder, journal, report, todo)
            for name in singles:
                with report.failures(name):
                    with (source / name).open("rb") as f:
                        before = stamp(f)
                    try:
                        one(source / name, output / names[name], resume)
                    except ResumeError:  # the input has changed since
                        one(source / name, output / names[name], False)
                    journal.add([(name, before, output / names[name])])
                    report.done(1)
        except (KeyboardInterrupt, OSError) as e:
            told = f"{outcome.done + outcome.skipped:,} of {len(names):,} files done"
            if isinstance(e, KeyboardInterrupt):
                raise KeyboardInterrupt(f"interrupted; {told}, --resume goes on") from e
            text = f"{e.strerror} ({told}, --resume goes on)"
            raise OSError(e.errno, text, e.filename or str(output)) from e
        finally:
            journal.file.close()
            progress.end()
    return outcome


class _Report:
    """Counts files, shows them, and says at once which has failed."""

    def __init__(self, outcome: Outcome, progress: Progress) -> None:
        self.outcome, self.progress = outcome, progress

    def done(self, count: int) -> None:
        self.outcome.done += count
        self._show()

    @contextlib.contextmanager
    def failures(self, name: str) -> Iterator[None]:
        """What only this file is to blame for is told, and over."""
        try:
            yield
        except (Error, UsageError, MemoryError, OSError) as e:
            if isinstance(e, OSError) and e.errno in HOPELESS:
                raise
            text = line(e.strerror if isinstance(e, OSError) and e.strerror else e)
            self.outcome.failed[name] = text
            self.progress.end()
            print(f"lstmc: {line(name)}: {text}", file=sys.stderr)
            self._show()

    def _show(self) -> None:
        outcome = self.outcome
        self.progress.show(outcome.done + outcome.skipped + len(outcome.failed))


class _Journal:
    """What is finished; a torn last line is none."""

    def __init__(self, folder: Path, identity: dict[str, Any], output: Path, resume: bool) -> None:
        path = folder / "journal"
        self.entries: dict[str, Any] = {}
        if resume and path.exists():
            entries: list[dict[str, Any]]
            was, *entries = [*_lines(path), {}]
            for key in identity if was else ():
                if was.get(key) != identity[key]:
                    raise UsageError(
                        f"'{output}' can't be resumed: it was written with another {key}; "
                        "without --resume it starts over"
                    )
            self.entries = {e["file"]: e for e in entries if e}
        lines = [identity, *self.entries.values()]
        write_synced(path, "".join(json.dumps(x) + "\n" for x in lines).encode())
        self.file = path.open("ab")

    def finished(self, name: str, source: Path, output: Path) -> bool:
        entry = self.entries.get(name)
        try:
            return entry is not None and (entry["input"], entry["output"]) == (
                _stamp(source),
                _stamp(output),
            )
        except OSError:
            return False

    def add(self, finished: Iterable[tuple[str, dict[str, int], Path]]) -> None:
        """(name, stamp of the input, output) of each file that has got its final name."""
        for name, before, output in finished:
            entry = {"file": name, "input": before, "output": _stamp(output)}
            self.file.write((json.dumps(entry) + "\n").encode())
        self.file.flush()
        os.fsync(self.file.fileno())


def _lines(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for text in path.read_bytes().splitlines(keepends=True):
        try:
            entry = json.loads(text)
            if not text.endswith(b"\n") or not isinstance(entry, dict):
                break
            if found:
                _ = entry["file"], entry["input"], entry["output"]
            found.append(entry)
        except (ValueError, KeyError, RecursionError):
            break
    return found


def _stamp(path: Path) -> dict[str, int]:
    with path.open("rb") as f:
        return stamp(f)


# -------------------------------------------------------------------- small sequences, many at once


@dataclass
class _Sequence:
    name: str
    stamp: dict[str, int]
    steps: np.ndarray  # float32 [steps, features]


def _grouped(
    model: Model,
    names: dict[str, str],
    source: Path,
    output: Path,
    folder: Path,
    journal: _Journal,
    report: _Report,
    todo: list[str],
) -> Iterator[str]:
    """Do the small files that hold one sequence, a group at a time; yield the names of the others.

    If anything is wrong with one of a group, all of it goes one by one, so that the right one is
    to blame.
    """
    group: list[_Sequence] = []
    size = 0
    for name in [*todo, None]:
        if name is not None:
            try:
                found = _sequence(model, source, name)
            except (Error, OSError, MemoryError):
                found = None
            if found is None:
                yield name
                continue
            group.append(found)
            size += found.steps.nbytes
        if group and (name is None or size > BLOCK_BYTES or len(group) == GROUP_FILES):
            if _do(model, names, output, folder, journal, group):
                report.done(len(group))
            else:
                yield from [s.name for s in group]
            group, size = [], 0


def _sequence(model: Model, source: Path, name: str) -> _Sequence | None:
    """The only sequence of a small file; None for other files."""
    first, *others = model.graph.inputs
    if others or not name.lower().endswith(".npy") or not {g.BATCH, g.TIME} <= set(first.axes):
        return None
    with (source / name).open("rb", buffering=0) as f:
        before = stamp(f)
        array = open_npy(f)
        axes = [a for a in first.axes if a != g.BATCH]
        if len(array.shape) != len(axes) or array.nbytes > BLOCK_BYTES or 0 in array.shape:
            return None
        if any(a not in (g.TIME, n) for a, n in zip(axes, array.shape, strict=True)):
            return None
        x = as_float32(first.name, array[(slice(None),) * len(axes)])
        if stamp(f) != before:
            raise ChangedError(f.name)
    return _Sequence(name, before, np.moveaxis(x, axes.index(g.TIME), 0).reshape(
        x.shape[axes.index(g.TIME)], -1))  # fmt: skip


def _do(
    model: Model,
    names: dict[str, str],
    output: Path,
    folder: Path,
    journal: _Journal,
    group: list[_Sequence],
) -> bool:
    """Predict a group and write its outputs: all to disk, then all by name, then the journal."""
    lengths = np.array([len(s.steps) for s in group])
    rows = Ragged(np.concatenate([s.steps for s in group]), lengths)
    try:
        results = predict_rows(model, {model.graph.inputs[0].name: rows})
    except (Error, MemoryError):
        return False
    split = {n: r.rows() if isinstance(r, Ragged) else r for n, r in results.items()}
    for i, s in enumerate(group):
        arrays = {v.name: alone(v, split[v.name][i]) for v in model.graph.outputs}
        _write(folder / f"new{i}", arrays, names[s.name].lower().endswith(".npz"))
    for i in range(len(group)):
        with (folder / f"new{i}").open("rb") as f:
            os.fsync(f.fileno())
    for i, s in enumerate(group):
        (folder / f"new{i}").replace(output / names[s.name])
    sync_folder(output)
    journal.add((s.name, s.stamp, output / names[s.name]) for s in group)
    return True


def _write(path: Path, arrays: dict[str, np.ndarray], zipped: bool) -> None:
    members: dict[str, BinaryIO] = {}
    for name, array in arrays.items():
        members[name] = io.BytesIO()
        write_header(members[name], array.shape)
        members[name].write(np.ascontiguousarray(array).data)
    if zipped:
        write_zip(path, members)
    else:
        path.write_bytes(next(iter(members.values())).getvalue())  # type: ignore[attr-defined]
