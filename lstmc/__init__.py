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
# interrupt there was a crash.
import inspect  # noqa: F401

try:
    from ._core import version as __version__
except ModuleNotFoundError as e:  # the folder of the sources, first on the path by accident
    raise ImportError(
        "this lstmc has no compiled core: run Python from another folder, or as python -P"
    ) from e
from . import functional
from .errors import (
    ConversionError,
    DtypeError,
    Error,
    FormatError,
    OutOfMemoryError,
    RangeError,
    ShapeError,
    TargetError,
)
from .model import Model, convert, load
from .runtime import digest, get_target, set_target, targets
from .stream import Stream
from .threads import get_num_threads, set_num_threads

__all__ = [
    "ConversionError",
    "DtypeError",
    "Error",
    "FormatError",
    "Model",
    "OutOfMemoryError",
    "RangeError",
    "ShapeError",
    "Stream",
    "TargetError",
    "__version__",
    "convert",
    "digest",
    "functional",
    "get_num_threads",
    "get_target",
    "load",
    "set_num_threads",
    "set_target",
    "targets",
]
