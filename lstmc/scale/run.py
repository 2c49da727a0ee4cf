"""What `lstmc run` does, from the names of files to the facts that it reports."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arrays import read_inputs
from ..terminal import UsageError
from .arrayfile import Source, open_npy
from .blocks import Result, predict_to_file
from .folder import Outcome, run_folder
from .parquet import TableResult, run_parquet

if TYPE_CHECKING:
    from ..model import Model

ARRAYS = (".npy", ".npz")
TABLES = (".parquet",)


def run_arrays(
    model: Model,
    source: Path,
    output: Path,
    *,
    lengths: Path | None = None,
    block: int | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> Result:
    """A .npy or .npz file through the model, to a .npy or .npz file."""
    if len(model.outputs) > 1 and output.suffix.lower() == ".npy":
        names = ", ".join(f"'{n}'" for n in model.outputs)
        raise UsageError(f"the model has several outputs ({names}): give --output a .npz file")
    if lengths is not None and lengths.suffix.lower() != ".npy":
        raise UsageError("--lengths takes a .npy file")
    with contextlib.ExitStack() as stack:
        files: dict[str, Any] = {"input": stack.enter_context(source.open("rb", buffering=0))}
        if source.suffix.lower() == ".npy":
            first, *others = model.inputs
            if others:
                listed = ", ".join(f"'{n}'" for n in model.inputs)
                raise UsageError(
                    f"the model has several inputs ({listed}): give --input a .npz file"
                )
            inputs: Mapping[str, Source] = {first: open_npy(files["input"])}
        else:
            inputs = read_inputs(source, model)
        valid = None
        if lengths is not None:
            files["lengths"] = stack.enter_context(lengths.open("rb", buffering=0))
            valid = open_npy(files["lengths"])
        return predict_to_file(
            model,
            inputs,
            output,
            lengths=valid,
            block=block,
            resume=resume,
            files=files,
            quiet=quiet,
        )


def run_file(
    model: Model,
    source: Path,
    output: Path,
    *,
    lengths: Path | None = None,
    columns: Mapping[str, Sequence[str]] | None = None,
    keep: Sequence[str] | None = None,
    **options: Any,
) -> Result | TableResult:
    """A file through the model, by :func:`run_arrays` or :func:`.parquet.run_parquet`.

    Raises UsageError for options of the other kind, and for endings that don't go together.
    """
    kinds = ARRAYS if source.suffix.lower() in ARRAYS else TABLES
    for path in (source, output):
        if path.suffix.lower() not in kinds:
            raise UsageError(f"'{path}' must end with {' or '.join(kinds)}")
    if kinds is ARRAYS:
        if columns or keep is not None:
            raise UsageError("--column and --keep are for .parquet files")
        return run_arrays(model, source, output, lengths=lengths, **options)
    if lengths is not None:
        raise UsageError("--lengths is for arrays: the lists of a .parquet file have their own")
    return run_parquet(model, source, output, columns=columns, keep=keep, **options)


def run_files(
    model: Model, source: Path, output: Path, *, resume: bool = False, **options: Any
) -> Outcome:
    """Every .npy, .npz and .parquet file of a folder through the model, to another folder.

    Names stay, but for arrays of models with several outputs: those become .npz files. Raises
    UsageError if there is nothing to do, or two files would become one; otherwise as
    :func:`run_folder`.
    """
    if not output.is_dir():
        output.mkdir()
    if output.samefile(source):
        raise UsageError(f"'{output}' is also the input")
    names: dict[str, str] = {}
    for path in sorted(source.iterdir()):
        suffix = path.suffix.lower()
        if suffix not in ARRAYS + TABLES or path.name.startswith(".") or not path.is_file():
            continue
        several = suffix == ".npy" and len(model.outputs) > 1
        names[path.name] = path.stem + ".npz" if several else path.name
    if not names:
        raise UsageError(f"'{source}' holds no {', '.join(ARRAYS + TABLES)} files")
    if len(set(names.values())) < len(names):
        raise UsageError(f"'{source}' holds a .npy and a .npz file of one name")

    def one(path: Path, target: Path, resume: bool) -> None:
        run_file(model, path, target, resume=resume, quiet=True, **options)

    return run_folder(
        model, names, source, output, one, resume, [options.get("columns"), options.get("keep")]
    )
