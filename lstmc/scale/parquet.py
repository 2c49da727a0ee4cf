"""A Parquet file through a model: outputs as columns beside those that were there.

A Parquet file can't be gone on with after a kill: its footer comes last. So each row group of the
input becomes a file of its own, synced to disk, and at the end all are put together. Memory holds a
block of rows at a time, whatever the size of the row groups.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Error, FormatError
from ..scoring import Scorer
from ..terminal import Progress, UsageError
from .arrayfile import ChangedError, stamp
from .blocks import BLOCK_BYTES, model_digest
from .work import Work, sync_folder, working

if TYPE_CHECKING:
    from ..model import Model

MOST_ROWS = 1 << 16  # in a block


@dataclass
class TableResult:
    """What was written."""

    rows: int
    columns: list[str]  # those of the outputs
    resumed: str

    def facts(self) -> dict[str, Any]:
        return {"rows": self.rows, "columns": self.columns, "resumed": self.resumed}

    def text(self) -> str:
        return f"{self.rows:,} rows, {', '.join(self.columns)}"


def run_parquet(
    model: Model,
    source: Path,
    output: Path,
    *,
    columns: Mapping[str, Sequence[str]] | None = None,
    keep: Sequence[str] | None = None,
    block: int | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> TableResult:
    """Score a .parquet file, and write a .parquet file, whole or not at all.

    Args:
        columns, keep: as :class:`lstmc.scoring.Scorer` takes them.
        block: rows at once, and in a row group of the output.
        resume: go on with what an interrupted run left.

    Raises:
        UsageError: no pyarrow, or see :func:`lstmc.scale.work.working`.
        FormatError: a damaged file.
        ShapeError, DtypeError, RangeError: as Scorer does, naming the rows.
        OSError: a full disk and the like; what is done so far is kept then.
    """
    pa, pq = _pyarrow()
    scorer = Scorer(model, columns=columns, keep=keep)
    wanted = None if keep is None else list(dict.fromkeys([*scorer.inputs, *keep]))
    with contextlib.ExitStack() as stack:
        f = stack.enter_context(source.open("rb"))
        before = stamp(f)
        with _reading(source):
            file = stack.enter_context(pq.ParquetFile(f, pre_buffer=False))
            schema, groups, rows = file.schema_arrow, file.num_row_groups, file.metadata.num_rows
        if len(set(schema.names)) < len(schema.names):
            raise FormatError(f"'{source}' holds columns of the same name")
        schema = scorer(schema.empty_table()).schema
        identity: dict[str, Any] = {"model": model_digest(model), "block size": block}
        identity |= {f"input's {what}": value for what, value in before.items()}
        identity |= {"columns": repr(columns), "columns to keep": keep, "pyarrow": pa.__version__}
        work = stack.enter_context(working(output, identity, resume))
        done = work.progress.get("groups", 0)
        if not all(work.path(_part(i)).is_file() for i in range(done)):
            work.start_over()
            done = 0
        resumed, count = work.told, work.progress.get("rows", 0)
        progress = Progress(rows, "rows", count)
        for group in range(done, groups):
            with _writer(work, _part(group), schema) as writer:
                for batch in _batches(source, file, group, wanted, block):
                    first, count = count, count + batch.num_rows
                    try:
                        table = scorer(pa.Table.from_batches([batch]))
                    except Error as e:
                        raise type(e)(f"rows {first:,} to {count - 1:,}: {e}") from None
                    writer.write_table(table, row_group_size=MOST_ROWS)
                    if not quiet:
                        progress.show(count)
            work.note({"groups": group + 1, "rows": count}, f"{count:,} of {rows:,} rows")
        if not quiet:
            progress.end()
        if stamp(f) != before:
            raise ChangedError(str(source))
        with _writer(work, "whole.parquet", schema) as writer:
            for group in range(groups):
                with pq.ParquetFile(work.path(_part(group)), pre_buffer=False) as part:
                    for i in range(part.num_row_groups):
                        writer.write_table(part.read_row_group(i))
        work.commit("whole.parquet")
    return TableResult(rows, scorer.outputs, resumed)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as e:
        raise UsageError(f"Parquet needs pyarrow: pip install 'lstmc[parquet]' ({e})") from None
    return pyarrow, pyarrow.parquet


def _part(group: int) -> str:
    return f"{group:06}.parquet"


@contextlib.contextmanager
def _reading(source: Path) -> Iterator[None]:
    """Arrow says of damaged data that it is invalid, or an OSError that no system call gave."""
    pa, _ = _pyarrow()
    try:
        yield
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, UnicodeDecodeError) as e:
        if isinstance(e, OSError) and e.errno is not None:
            raise
        why = " ".join(str(e).split())[:200]
        raise FormatError(f"'{source}' is not a sound .parquet file: {why}") from e


def _batches(
    source: Path, file: Any, group: int, columns: list[str] | None, block: int | None
) -> Iterator[Any]:
    """Record batches of a row group, not all of it in memory."""
    with _reading(source):
        meta = file.metadata.row_group(group)
        numbers = sum(meta.column(i).num_values for i in range(meta.num_columns))
        row_bytes = max(8 * numbers, meta.total_byte_size) // max(meta.num_rows, 1)
        size = block or max(1, min(MOST_ROWS, BLOCK_BYTES // max(row_bytes, 1)))
        batches = file.iter_batches(size, row_groups=[group], columns=columns)
    while True:
        with _reading(source):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


@contextlib.contextmanager
def _writer(work: Work, name: str, schema: Any) -> Iterator[Any]:
    """A Parquet file that has its name once it is whole and on disk."""
    _, pq = _pyarrow()
    new = work.path("new")
    with new.open("wb") as f:
        with pq.ParquetWriter(f, schema) as writer:
            yield writer
        f.flush()
        os.fsync(f.fileno())
    new.replace(work.path(name))
    sync_folder(work.folder)
