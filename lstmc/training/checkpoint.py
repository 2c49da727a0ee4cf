"""Named arrays <-> the bytes of a checkpoint. docs/CHECKPOINTS.md describes every byte."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import FormatError
from ..scale.work import write_synced

MAGIC = b"lstmcckp"
VERSION = 1
HEADER = struct.Struct("<8sIIQI")  # magic, version, entries, size, CRC of all behind the header
START = HEADER.size + 4  # then a CRC of these
ENTRY = struct.Struct("<HBBI")  # bytes of the name, dtype, axes, 0
DTYPES = {1: "|u1", 2: "<i8", 3: "<f4", 4: "<f8", 5: "<u4", 6: "<u8"}
CODES = {np.dtype(text): code for code, text in DTYPES.items()}
MOST_AXES = 8

Arrays = dict[str, np.ndarray]


def dumps(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The file's bytes; names in ascending order."""
    parts = []
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        text, code = name.encode(), CODES[array.dtype.newbyteorder("=")]
        parts += [ENTRY.pack(len(text), code, array.ndim, 0)]
        parts += [struct.pack(f"<{array.ndim}Q", *array.shape), text, _padding(len(text))]
        data = array.astype(DTYPES[code]).tobytes()
        parts += [data, _padding(len(data))]
    body = b"".join(parts)
    size = START + len(body)
    header = HEADER.pack(MAGIC, VERSION, len(arrays), size, zlib.crc32(body))
    return b"".join([header, struct.pack("<I", zlib.crc32(header)), body])


def loads(data: bytes) -> Arrays:
    """The arrays of a file's bytes. FormatError if they are not a sound checkpoint."""
    if len(data) < START or data[:8] != MAGIC:
        raise FormatError("not a checkpoint of lstmc")
    _, version, count, size, crc = HEADER.unpack_from(data)
    if struct.unpack_from("<I", data, HEADER.size)[0] != zlib.crc32(data[: HEADER.size]):
        raise FormatError("a damaged checkpoint: its header")
    if version != VERSION:
        raise FormatError(f"a checkpoint of version {version}, this lstmc reads {VERSION}")
    if size != len(data) or crc != zlib.crc32(data[START:]):
        raise FormatError(f"a damaged checkpoint: {len(data)} bytes of {size}, or some changed")
    arrays: Arrays = {}
    at, last = START, ""
    try:
        for _ in range(count):
            length, code, axes, zero = ENTRY.unpack_from(data, at)
            if code not in DTYPES or axes > MOST_AXES or zero:
                raise FormatError("a checkpoint with an entry that is not known")
            shape = struct.unpack_from(f"<{axes}Q", data, at + ENTRY.size)
            name, at = _taken(data, at + ENTRY.size + 8 * axes, length)
            dtype = np.dtype(DTYPES[code])
            nbytes = dtype.itemsize
            for n in shape:
                nbytes *= n
            held, at = _taken(data, at, nbytes)
            last, before = name.decode(), last
            if last <= before:
                raise FormatError("a checkpoint whose entries are not in order")
            arrays[last] = np.frombuffer(held, dtype).reshape(shape).copy()
    except (struct.error, ValueError) as e:  # FormatError is one too
        if isinstance(e, FormatError):
            raise
        raise FormatError("a checkpoint whose entries don't fit its size") from None
    if at != len(data):
        raise FormatError("a checkpoint with bytes behind its last entry")
    return arrays


def _taken(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    """``size`` bytes, and where what follows their padding begins."""
    end = at + size + len(_padding(size))
    if end > len(data) or any(data[at + size : end]):
        raise FormatError("a checkpoint whose entries don't fit its size")
    return data[at : at + size], end


def _padding(size: int) -> bytes:
    return bytes(-size % 8)


def write(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """A file, whole or not at all, and on the disk when this returns. OSError if that can't be;
    what was there before is untouched then."""
    target = Path(path)
    try:
        write_synced(target, dumps(arrays))
    except BaseException:
        with contextlib.suppress(OSError):
            target.with_name(target.name + ".new").unlink()
        raise


def read(path: str | os.PathLike[str]) -> Arrays:
    """The arrays of a file; FormatError, naming it, if it is not a sound one."""
    try:
        return loads(Path(path).read_bytes())
    except FormatError as e:
        raise FormatError(f"'{path}': {e}") from None


__all__ = ["Arrays", "dumps", "loads", "read", "write"]
