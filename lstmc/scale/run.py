"""What `lstmc run` does, from the names of files to the facts that it reports."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import read
from ..errors import ShapeError
from ..terminal import UsageError
from .arrayfile import Source, open_npy
from .blocks import Result, predict_to_file

if TYPE_CHECKING:
    from ..model import Model

ARRAYS = (".npy", ".npz")


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
            inputs = _named(source, model)
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


def _named(path: Path, model: Model) -> dict[str, np.ndarray]:
    """The arrays of a .npz file, in memory, by input name."""
    found = read(path)
    if isinstance(found, np.ndarray):  # a .npy with the wrong ending
        found = {"arr_0": found}
    names = list(model.inputs)
    if len(names) == 1 and list(found) == ["arr_0"]:  # as numpy.savez(path, x) names it
        return {names[0]: found["arr_0"]}
    if set(found) != set(names):
        raise ShapeError(f"'{path}' holds {sorted(found)}, the model's inputs are {sorted(names)}")
    return found
