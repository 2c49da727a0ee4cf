"""lstmc: recurrent networks, trained anywhere, with the same output bits on every machine.

    import lstmc

    model = lstmc.convert("forecaster.keras")  # or .pt, .safetensors, .onnx, .h5, a live model
    y = model.predict(x)                       # numpy in, numpy out
    model.save("forecaster.lstmc")

    stream = lstmc.load("forecaster.lstmc").stream()
    y_t = stream.step(x_t)                     # state survives between calls

Arrays are float32 unless said otherwise. Everything that can fail raises a subclass of
:class:`lstmc.Error`, or what Python and numpy raise for a missing file, an interrupt or a ragged
list. numpy is the only run-time dependency; converting Keras files needs h5py, ONNX
files onnx.
"""

from __future__ import annotations

# Cython 3.3 imports inspect inside the compiled module without checking that it succeeded: an
# interrupt there was a crash. Newer versions of numpy have imported it before.
import inspect as _inspect  # noqa: F401
from typing import TYPE_CHECKING

try:
    from ._core import version as __version__
except ModuleNotFoundError as e:  # the folder of the sources, first on the path by accident
    raise ImportError(
        "this lstmc has no compiled core: run Python from another folder, or as python -P"
    ) from e
from .errors import (
    ConversionError,
    DivergenceError,
    DtypeError,
    Error,
    FormatError,
    OptionError,
    OutOfMemoryError,
    RangeError,
    ShapeError,
    TargetError,
    UnknownNameError,
)
from .runtime import digest, get_target, set_target, targets
from .threads import get_num_threads, set_num_threads

if TYPE_CHECKING:
    from . import functional
    from .model import Model, convert, load
    from .random import set_random_seed
    from .stream import Stream

__all__ = [
    "ConversionError",
    "DivergenceError",
    "DtypeError",
    "Error",
    "FormatError",
    "Model",
    "OptionError",
    "OutOfMemoryError",
    "RangeError",
    "ShapeError",
    "Stream",
    "TargetError",
    "UnknownNameError",
    "__version__",
    "convert",
    "digest",
    "functional",
    "get_num_threads",
    "get_target",
    "load",
    "set_num_threads",
    "set_random_seed",
    "set_target",
    "targets",
]

# The classes of all layers take ten times as long to make as the rest of the package to import:
# what needs them is imported when it is first asked for.
_HOMES = {
    "Model": "model",
    "Stream": "stream",
    "convert": "model",
    "load": "model",
    "set_random_seed": "random",
}
_MODULES = (
    "callbacks", "format", "functional", "graph", "initializers", "inspect", "layers", "losses",
    "metrics", "model", "models", "optimizers", "random", "recurrent", "samples", "stream",
)  # fmt: skip


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})
