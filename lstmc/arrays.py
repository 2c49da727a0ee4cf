"""Arrays in files, read without unpickling."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import FormatError, ShapeError
from .terminal import UsageError

if TYPE_CHECKING:
    from .model import Model

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
    """The arrays of a file by input name; UsageError or ShapeError if they aren't the model's."""
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


def write_bytes(path: Path, data: bytes) -> None:
    """A file, whole or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".lstmc-") as directory:
        temporary = Path(directory) / "output"
        temporary.write_bytes(data)
        temporary.replace(path)


def by_name(model: Model, y: np.ndarray | dict[str, np.ndarray]) -> Arrays:
    return y if isinstance(y, dict) else {next(iter(model.outputs)): y}
