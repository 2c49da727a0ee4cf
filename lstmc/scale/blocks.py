"""One big array through a model, in blocks of rows, or in chunks of time where rows are long.

By contract no bit depends on how rows and time are cut, so neither does a run that was interrupted.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .. import graph as g
from ..arrays import Arrays, by_name
from ..runtime import row_lengths
from ..terminal import Progress
from .arrayfile import ArrayFile, ChangedError, Cut, OneRow, Source, create_npy, open_npy, stamp
from .work import Work, working

if TYPE_CHECKING:
    from ..model import Model
    from ..stream import State

BLOCK_BYTES = 1 << 24  # of inputs and outputs in memory at once
LONG_BYTES = 1 << 26  # a row with more of them goes through in chunks of time, if the model can
LONG_ROWS = 64  # such rows at once


@dataclass
class Result:
    """What was written: shapes and digests (as lstmc.digest) by output name."""

    shapes: dict[str, list[int]]
    digests: dict[str, int]
    resumed: str = ""  # how far an earlier run had come, in words

    def facts(self) -> dict[str, Any]:
        digests = {name: f"{d:08x}" for name, d in self.digests.items()}
        return {"shapes": self.shapes, "digest": digests, "resumed": self.resumed}

    def text(self) -> str:
        return ", ".join(f"{n} {s} {self.digests[n]:08x}" for n, s in self.shapes.items())


def model_digest(model: Model) -> str:
    return hashlib.sha256(model.to_bytes()).hexdigest()


def predict_to_file(
    model: Model,
    inputs: Mapping[str, Source],
    output: Path,
    *,
    lengths: Source | None = None,
    block: int | None = None,
    resume: bool = False,
    files: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Result:
    """Predict, and write a .npy file, or a .npz by output name; whole or not at all.

    Args:
        inputs: an array, or a file that acts like one, for each input. The only input of a
            sequence model may come without its batch axis: it is one row then, and outputs have
            no batch axis either.
        lengths: as :meth:`Model.predict` takes them.
        block: rows at once; by default so many as fit into some megabytes.
        resume: go on with what an interrupted run left.
        files: the open files that inputs and lengths come from, by role: they are to stay as they
            are; ChangedError if not.
        quiet: show no progress.

    Raises:
        ShapeError, DtypeError, RangeError: as from predict.
        UsageError: see :func:`lstmc.scale.work.working`.
        OSError: a full disk and the like; what is done so far is kept then.
    """
    sources, one_row = _as_batch(model, [inputs[v.name] for v in model.graph.inputs])
    plan = _Plan(model, sources, lengths, block)
    before = {role: stamp(f) for role, f in (files or {}).items()}
    identity: dict[str, Any] = {"model": model_digest(model), "lengths": lengths is not None}
    for v, source in zip(model.graph.inputs, sources, strict=True):
        identity[f"shape of '{v.name}'"] = list(source.shape)
        identity[f"dtype of '{v.name}'"] = source.dtype.str
    for role, found in before.items():
        identity |= {f"{role}'s {what}": value for what, value in found.items()}
    with working(output, identity, resume) as work:
        stored = [_without(s, v, one_row) for s, v in zip(plan.shapes, plan.outs, strict=True)]
        names = [f"{i}.npy" for i in range(len(stored))]
        if not (all(work.path(n).is_file() for n in names) and plan.fits(work.progress)):
            work.start_over()  # killed between the last rename and tidying up
        resumed = work.told if work.progress else ""
        if not work.progress:
            for name, shape, short in zip(names, plan.shapes, stored, strict=True):
                create_npy(work.path(name), shape, short)
        opened = [work.open(n) for n in names]
        sinks = [
            ArrayFile(f, shape, np.dtype(np.float32), open_npy(f).offset)
            for f, shape in zip(opened, plan.shapes, strict=True)
        ]
        zipped = output.suffix.lower() == ".npz"
        holes = sum(s.nbytes - _stored(f) for s, f in zip(sinks, opened, strict=True))
        work.need(holes + (sum(s.nbytes for s in sinks) if zipped else 0))
        plan.run(work, sinks, quiet)
        for role, f in (files or {}).items():
            if stamp(f) != before[role]:
                raise ChangedError(f.name)
        labels = [v.name for v in plan.outs]
        digests = {n: _digest(s) for n, s in zip(labels, sinks, strict=True)}
        if zipped:
            write_zip(work.path("whole.npz"), dict(zip(labels, opened, strict=True)))
        work.commit("whole.npz" if zipped else names[0])
    shapes = {n: list(s) for n, s in zip(labels, stored, strict=True)}
    return Result(shapes, digests, resumed)


class _Plan:
    """How a batch is cut: tiles of rows, each of them whole in time or in chunks."""

    def __init__(
        self, model: Model, sources: Sequence[Source], lengths: Source | None, block: int | None
    ) -> None:
        self.model, self.sources, self.lengths = model, sources, lengths
        self.ins, self.outs = model.graph.inputs, model.graph.outputs
        self.batch, self.times = model._sizes([s.shape for s in sources])
        if lengths is not None and lengths.shape != (self.batch,):
            row_lengths(lengths[(slice(None),) * len(lengths.shape)], self.batch, self.times[0])
        self.shapes = [layout.of(self.batch, self.times) for layout in model._outputs]
        floats = sum(math.prod(s) for s in [*self.shapes, *(s.shape for s in sources)])
        row_bytes = max(4 * floats // max(self.batch, 1), 1)
        self.chunk = 0  # steps at once; 0 for all
        if any(g.BATCH not in v.axes for v in (*self.ins, *self.outs)):
            self.rows = max(self.batch, 1)
        elif row_bytes > LONG_BYTES and lengths is None and self._streams():
            self.rows = block or min(self.batch, LONG_ROWS)
            self.chunk = max(1, BLOCK_BYTES * self.times[0] // (self.rows * row_bytes))
        else:
            self.rows = block or max(1, BLOCK_BYTES // row_bytes)

    def _streams(self) -> bool:
        """Chunks of time give what the whole gives."""
        each_step = (layout.time < 0 or layout.steps([7]) == 7 for layout in self.model._outputs)
        return len(self.times) == 1 and self.model.graph.sequential and all(each_step)

    def fits(self, progress: Mapping[str, Any]) -> bool:
        """The numbers of a journal are such as :meth:`run` writes."""
        row, step = progress.get("row", 0), progress.get("step", 0)
        if not (isinstance(row, int) and isinstance(step, int)):
            return False
        return 0 <= row <= self.batch and 0 <= step < (self.times[0] if self.chunk else 1)

    def run(self, work: Work, sinks: Sequence[ArrayFile], quiet: bool) -> None:
        """Fill the sinks from where ``work`` stands on."""
        row, step = work.progress.get("row", 0), work.progress.get("step", 0)
        steps = self.times[0] if self.chunk else 1
        progress = Progress(
            self.batch * steps, "steps" if self.chunk else "rows", row * steps + step
        )
        while row < self.batch:
            # A tile that was begun in chunks of time is finished so, with the rows that it had.
            rows = slice(row, min(row + work.progress.get("rows", self.rows), self.batch))
            parts = self._in_chunks(rows, work, sinks) if self.chunk else self._whole(rows, sinks)
            for step, state in parts:
                count = rows.stop - row
                done = {"row": row, "step": step, "rows": count, "state": state}
                if step == steps:
                    done = {"row": rows.stop}
                work.note(done, self._told(rows, step))
                if not quiet:
                    progress.show(row * steps + step * count)
            row = rows.stop
        if not quiet:
            progress.end()

    def _told(self, rows: slice, step: int) -> str:
        if self.chunk and step < self.times[0]:
            return f"{step:,} of {self.times[0]:,} steps of rows {rows.start:,} to {rows.stop:,}"
        return f"{rows.stop:,} of {self.batch:,} rows"

    def _whole(self, rows: slice, sinks: Sequence[ArrayFile]) -> Iterator[tuple[int, None]]:
        x = {v.name: s[_cut(v, rows)] for v, s in zip(self.ins, self.sources, strict=True)}
        lengths = None if self.lengths is None else self.lengths[(rows,)]
        self._put(sinks, rows, slice(None), by_name(self.model, self.model.predict(x, lengths)))
        yield 1, None

    def _in_chunks(
        self, rows: slice, work: Work, sinks: Sequence[ArrayFile]
    ) -> Iterator[tuple[int, Any]]:
        """(steps done, the state after them), in a form that JSON takes."""
        stream = self.model.stream(rows.stop - rows.start)
        step = work.progress.get("step", 0)
        if step:
            stream.state = _unpacked(work.progress["state"], stream.batch)
        while step < self.times[0]:
            steps = slice(step, min(step + self.chunk, self.times[0]))
            cuts = [_cut(v, rows, steps) for v in self.ins]
            x = {v.name: s[c] for v, s, c in zip(self.ins, self.sources, cuts, strict=True)}
            self._put(sinks, rows, steps, by_name(self.model, stream.run(x)))
            step = steps.stop
            yield step, _packed(stream.state)

    def _put(self, sinks: Sequence[ArrayFile], rows: slice, steps: slice, y: Arrays) -> None:
        for v, sink in zip(self.outs, sinks, strict=True):
            sink[_cut(v, rows, steps)] = y[v.name]


def _cut(value: g.Value, rows: slice, steps: slice = slice(None)) -> Cut:
    slices: dict[g.Axis, slice] = {g.BATCH: rows, g.TIME: steps}
    return tuple(slices.get(a, slice(None)) for a in value.axes)


def _as_batch(model: Model, sources: list[Source]) -> tuple[list[Source], bool]:
    """The sources, and whether the only one has got a batch axis of one row here."""
    first = model.graph.inputs[0]
    if len(sources) > 1 or not {g.BATCH, g.TIME} <= set(first.axes):
        return sources, False
    axes, shape = [a for a in first.axes if a != g.BATCH], sources[0].shape
    if len(axes) != len(shape) or any(
        a not in (g.TIME, n) for a, n in zip(axes, shape, strict=True)
    ):
        return sources, False
    return [OneRow(sources[0], first.axes.index(g.BATCH))], True


def _without(shape: tuple[int, ...], value: g.Value, one_row: bool) -> tuple[int, ...]:
    if not one_row or g.BATCH not in value.axes:
        return shape
    return tuple(n for n, a in zip(shape, value.axes, strict=True) if a != g.BATCH)


def _packed(state: State) -> dict[str, dict[str, str]]:
    return {
        layer: {k: base64.b64encode(a.astype("<f4").tobytes()).decode() for k, a in parts.items()}
        for layer, parts in state.items()
    }


def _unpacked(state: dict[str, dict[str, str]], batch: int) -> State:
    return {
        layer: {
            k: np.frombuffer(base64.b64decode(text), "<f4").reshape(batch, -1)
            for k, text in parts.items()
        }
        for layer, parts in state.items()
    }


def _stored(file: BinaryIO) -> int:
    """Bytes of the disk that a file with holes takes."""
    return getattr(os.fstat(file.fileno()), "st_blocks", 0) * 512


def _digest(array: ArrayFile) -> int:
    """lstmc.digest of an array on disk."""
    crc = 0
    flat = ArrayFile(array.file, (math.prod(array.shape),), array.dtype, array.offset)
    for start in range(0, flat.shape[0], BLOCK_BYTES // 4):
        block = flat[(slice(start, start + BLOCK_BYTES // 4),)].astype("<f4", copy=False)
        block.view("<u4")[np.isnan(block)] = 0x7FC00000
        crc = zlib.crc32(block.data, crc)
    return crc


def write_zip(path: Path, members: Mapping[str, BinaryIO]) -> None:
    """As numpy.savez writes it, with a date that doesn't change."""
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        for name, file in members.items():
            info = zipfile.ZipInfo(f"{name}.npy")
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=True) as member:
                file.seek(0)
                shutil.copyfileobj(file, member, 1 << 20)
