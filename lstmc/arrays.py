"""Arrays in files: read without unpickling, run in blocks of rows, written whole or not at all."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import graph as g
from .errors import FormatError, ShapeError
from .terminal import Progress, UsageError

if TYPE_CHECKING:
    from .model import Model

BLOCK_BYTES = 1 << 24  # of input read at once

Arrays = dict[str, np.ndarray]


def read(path: Path) -> np.ndarray | Arrays:
    """The array of a .npy file, mapped, or the arrays of a .npz; nothing is ever unpickled."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = np.load(path, mmap_mode="r", allow_pickle=False)
            if isinstance(found, np.ndarray):
                return found
            with found:
                return {name: found[name] for name in found.files}
    except (OSError, MemoryError):
        raise
    except Exception as e:  # zipfile, zlib, struct, tokenize, ...: a damaged file raises them all
        raise FormatError(f"'{path}' is not a sound {path.suffix} file of numbers") from e


def read_inputs(path: Path, model: Model) -> Arrays:
    found = read(path)
    names = list(model.inputs)
    if isinstance(found, np.ndarray):
        if len(names) > 1:
            wanted = ", ".join(f"'{n}'" for n in names)
            raise UsageError(f"the model has several inputs ({wanted}): give --input a .npz file")
        return {names[0]: found}
    if len(names) == 1 and list(found) == ["arr_0"]:  # as numpy.savez(path, x) names it
        return {names[0]: found["arr_0"]}
    if set(found) != set(names):
        raise ShapeError(f"'{path}' holds {sorted(found)}, the model's inputs are {sorted(names)}")
    return found


def write(path: Path, outputs: Arrays) -> None:
    """Whole or not at all: a temporary file, then a rename."""
    import zipfile

    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".lstmc-") as directory:
        temporary = Path(directory) / "output"
        with temporary.open("wb") as f:
            if path.suffix.lower() == ".npy":
                # numpy's own way of writing says nothing of a full disk.
                y = np.ascontiguousarray(next(iter(outputs.values())))
                np.lib.format.write_array_header_1_0(f, np.lib.format.header_data_from_array_1_0(y))
                f.write(y.data)
            else:
                with zipfile.ZipFile(f, "w", allowZip64=True) as archive:
                    for name, y in outputs.items():
                        with archive.open(name + ".npy", "w", force_zip64=True) as member:
                            np.lib.format.write_array(member, y, allow_pickle=False)
        temporary.replace(path)


def predict_in_blocks(
    model: Model, arrays: Arrays, lengths: np.ndarray | None, block: int | None
) -> Arrays:
    """Predict in blocks of rows, so that a mapped input is never in memory as a whole."""
    if model.graph.one_row:
        return by_name(model, model.predict(arrays, lengths))
    values = {v.name: v for v in model.graph.inputs}
    axes = {name: v.axes.index(g.BATCH) for name, v in values.items()}
    sound = all(len(v.axes) == arrays[n].ndim for n, v in values.items())
    rows = {arrays[n].shape[axes[n]] for n in values} if sound else {0}
    batch = max(rows)
    bytes_a_row = sum(a.nbytes for a in arrays.values()) // max(batch, 1)
    block = block or max(1, BLOCK_BYTES // max(bytes_a_row, 1))
    fits = sound and len(rows) == 1 and all(_fits(v, arrays[n]) for n, v in values.items())
    if lengths is not None:
        fits = fits and lengths.shape == (batch,)
    if not fits or batch <= block:  # predict says what doesn't fit
        return by_name(model, model.predict(arrays, lengths))
    outputs: Arrays = {}
    progress = Progress(batch)
    for start in range(0, batch, block):
        part = slice(start, start + block)
        x = {n: a[(slice(None),) * axes[n] + (part,)] for n, a in arrays.items()}
        y = by_name(model, model.predict(x, None if lengths is None else lengths[part]))
        for v in model.graph.outputs:
            axis = v.axes.index(g.BATCH)
            if v.name not in outputs:
                shape = list(y[v.name].shape)
                shape[axis] = batch
                outputs[v.name] = np.empty(shape, np.float32)
            outputs[v.name][(slice(None),) * axis + (part,)] = y[v.name]
        progress.show(min(start + block, batch))
    progress.end()
    return outputs


def _fits(value: g.Value, array: np.ndarray) -> bool:
    return all(n in (None, m) for n, m in zip(value.shape(), array.shape, strict=True))


def by_name(model: Model, y: np.ndarray | dict[str, np.ndarray]) -> Arrays:
    return y if isinstance(y, dict) else {next(iter(model.outputs)): y}
