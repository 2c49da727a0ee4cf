"""Arrays in files, read without unpickling."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import FormatError

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


def by_name(model: Model, y: np.ndarray | dict[str, np.ndarray]) -> Arrays:
    return y if isinstance(y, dict) else {next(iter(model.outputs)): y}
