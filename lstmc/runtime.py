"""The SIMD target in use, arrays as the core wants them, and the digest of an output."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _core
from .errors import DtypeError, ShapeError, TargetError

FLOAT32 = np.dtype(np.float32)
_target = os.environ.get("LSTMC_TARGET") or "auto"
_code: int | None = None  # of _target; None until it is first needed


def targets() -> list[str]:
    """Names of the targets that this build has and this CPU runs, weakest first."""
    return _core.targets()


def set_target(name: str) -> None:
    """Use one target for all further calls: a name of :func:`targets`, or "auto" for the best.

    Results never depend on it. The environment variable LSTMC_TARGET says what to begin with.
    Raises TargetError if there is no such target here. Streams keep the target they were made with.
    """
    global _target, _code
    _code = _core.target_code(name)
    _target = name
    _core.set_target(_code)


def restore(name: str) -> None:
    """What _target was before; it may be one that is not available, as LSTMC_TARGET may."""
    global _target, _code
    _target, _code = name, None
    _core.set_target(-1)


def get_target() -> str:
    """The name of the target that calls run on now; never "auto"."""
    target_code()
    return targets()[-1] if _target == "auto" else _target


def target_code() -> int:
    """The target's number in the core; 0 leaves the choice to it."""
    global _code
    if _code is None:
        try:
            _code = _core.target_code(_target)
        except TargetError as e:
            raise TargetError(f"LSTMC_TARGET: {e}") from None
        _core.set_target(_code)
    return _code


def digest(y: ArrayLike) -> int:
    """CRC-32 of the array's float32 values as little-endian bytes, every NaN made 0x7fc00000.

    Equal digests mean equal bits. Values are taken in C order; other dtypes as by as_float32.
    """
    return _core.digest(as_float32("y", y))


def _is_no_array(x: Any) -> bool:
    """An object with items, but neither an array nor a sequence, such as batches by number: numpy
    would ask it for items until there is an IndexError, or for ever."""
    protocols = ("__array__", "__array_interface__", "__array_struct__", "__dlpack__")
    if not hasattr(type(x), "__getitem__") or any(hasattr(x, name) for name in protocols):
        return False
    try:
        memoryview(x)
    except TypeError:
        return True
    return False


def as_float32(name: str, array: Any) -> np.ndarray:
    """A C-contiguous float32 array of the same values, a copy only if need be.

    float64 and float16 are rounded or widened; integers and booleans are taken if float32 holds
    each exactly. Anything else is a DtypeError: complex numbers, strings, objects, and finite
    numbers that float32 can't reach.
    """
    if type(array) is np.ndarray and array.dtype is FLOAT32 and array.flags.c_contiguous:
        return array  # as it mostly is
    if not isinstance(array, np.ndarray | Sequence) and _is_no_array(array):
        raise DtypeError(f"'{name}' is a {type(array).__name__}, expected an array")
    a = np.asarray(array)
    if a is not array and isinstance(array, np.ma.MaskedArray):
        raise DtypeError(f"'{name}' is a masked array: fill it, or say with lengths what is valid")
    if a.dtype == np.float32:
        return a if a.flags.c_contiguous and a.dtype.isnative else a.astype(np.float32, order="C")
    if a.dtype.kind not in "fiub":
        raise DtypeError(f"'{name}' has dtype {a.dtype}, expected float32")
    with np.errstate(over="ignore"):
        out = a.astype(np.float32, order="C")
    if a.dtype.kind == "f":
        if a.dtype.itemsize > 4 and np.any(np.isinf(out) & np.isfinite(a)):
            raise DtypeError(f"'{name}' holds {a.dtype} values beyond the range of float32")
    elif a.dtype.itemsize > 2:
        # Beyond 2^24 not every integer is a float32. They are rare: Python's own integers, which
        # know no limit, compare them.
        whole, rounded = a.ravel(), out.ravel()
        if any(int(whole[i]) != int(rounded[i]) for i in np.flatnonzero(abs(rounded) >= 1 << 24)):
            raise DtypeError(
                f"'{name}' holds {a.dtype} values that float32 can't represent exactly"
            )
    return out


def row_lengths(lengths: ArrayLike, batch: int, time: int) -> np.ndarray:
    """Valid steps of each row, int32 [batch]; ShapeError if they are no integers in 0 .. time."""
    a = np.asarray(lengths)
    if a.size == 0:
        a = a.astype(np.int32)
    if a.dtype.kind not in "iu" or a.shape != (batch,):
        raise ShapeError(f"lengths: {a.dtype} {a.shape}, expected integers of shape ({batch},)")
    if batch and (a.min() < 0 or a.max() > time):
        raise ShapeError(f"lengths lie in {a.min()} .. {a.max()}, expected 0 .. {time}")
    return np.ascontiguousarray(a, dtype=np.int32)
