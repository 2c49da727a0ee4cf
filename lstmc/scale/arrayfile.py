"""An array in a file, read and written in pieces, the rest of it never in memory.

Plain reads and writes, no memory map: a file that another program cuts short is then an error with
a name and no SIGBUS, a full disk likewise, and what was read doesn't count as memory in use.
"""

from __future__ import annotations

import itertools
import math
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from ..errors import FormatError

Cut = tuple[slice, ...]  # one slice for each axis, step 1


class Source(Protocol):
    """What blocks are taken from: an array, or a file that acts like one."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    def __getitem__(self, cut: Cut, /) -> np.ndarray: ...


class ArrayFile:
    """An array that lies in a file from ``offset`` on, in C order or, with ``fortran``, Fortran's.

    ``a[cut]`` reads and ``a[cut] = block`` writes; ``cut`` is a tuple of one slice for each axis.
    The file is open, without a buffer, and stays the caller's.
    """

    def __init__(
        self,
        file: BinaryIO,
        shape: tuple[int, ...],
        dtype: np.dtype,
        offset: int,
        fortran: bool = False,
    ) -> None:
        self.file, self.shape, self.dtype = file, shape, dtype
        self.offset, self.fortran = offset, fortran

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, cut: Cut) -> np.ndarray:
        """A new array. OSError if the file has become too short."""
        sizes, pieces = self._pieces(cut)
        block = np.empty(sizes, self.dtype)
        memory, at = block.reshape(-1).view(np.uint8).data, 0
        for place, size in pieces:
            self.file.seek(place)
            while size:
                got = self.file.readinto(memory[at : at + size])  # type: ignore[attr-defined]
                if not got:
                    raise ChangedError(self.file.name)
                at, size = at + got, size - got
        return block.T if self.fortran else block

    def __setitem__(self, cut: Cut, block: np.ndarray) -> None:
        """OSError if it can't be written whole."""
        sizes, pieces = self._pieces(cut)
        dense = np.ascontiguousarray(block.T if self.fortran else block, self.dtype)
        assert dense.shape == sizes
        memory, at = dense.reshape(-1).view(np.uint8).data, 0
        for place, size in pieces:
            self.file.seek(place)
            while size:
                done = self.file.write(memory[at : at + size])
                at, size = at + done, size - done

    def _pieces(self, cut: Cut) -> tuple[tuple[int, ...], Iterator[tuple[int, int]]]:
        """The shape of a cut as stored, and place and size in bytes of its pieces in the file."""
        shape, ranges = self.shape, [s.indices(n)[:2] for s, n in zip(cut, self.shape, strict=True)]
        if self.fortran:
            shape, ranges = shape[::-1], ranges[::-1]
        sizes = tuple(max(stop - start, 0) for start, stop in ranges)
        cut_axes = [k for k, n in enumerate(shape) if sizes[k] != n]
        last = cut_axes[-1] if cut_axes else 0  # all axes behind it are whole, so lie together
        bytes_each = [self.dtype.itemsize * math.prod(shape[k + 1 :]) for k in range(len(shape))]

        def walk() -> Iterator[tuple[int, int]]:
            if 0 in sizes:
                return
            if not sizes:
                yield self.offset, self.dtype.itemsize
                return
            size = sizes[last] * bytes_each[last]
            first = self.offset + ranges[last][0] * bytes_each[last]
            for index in itertools.product(*(range(*r) for r in ranges[:last])):
                yield first + sum(map(int.__mul__, index, bytes_each)), size

        return sizes, walk()


class ChangedError(OSError):
    """An input isn't any more what it was when the run began."""

    def __init__(self, name: str) -> None:
        super().__init__(f"'{name}' changed while it was read; nothing is kept")


class OneRow:
    """A source without a batch axis as a batch of one row."""

    def __init__(self, source: Source, axis: int) -> None:
        self.source, self.axis, self.dtype = source, axis, source.dtype
        self.shape = (*source.shape[:axis], 1, *source.shape[axis:])

    def __getitem__(self, cut: Cut) -> np.ndarray:
        block = self.source[(*cut[: self.axis], *cut[self.axis + 1 :])]
        return np.expand_dims(block, self.axis)


def open_npy(file: BinaryIO) -> ArrayFile:
    """The array of an open .npy file; FormatError, naming the file, if it isn't a sound one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            version = np.lib.format.read_magic(file)
            header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = header(file)
        array = ArrayFile(file, shape, dtype, file.tell(), fortran)
        size = os.fstat(file.fileno()).st_size
        if dtype.hasobject or any(n < 0 for n in shape) or array.offset + array.nbytes > size:
            raise ValueError
        return array
    except (OSError, MemoryError):
        raise
    except Exception as e:  # struct, tokenize, ...: a damaged file raises them all
        raise FormatError(f"'{file.name}' is not a sound .npy file of numbers") from e


def create_npy(path: Path, shape: tuple[int, ...], stored: tuple[int, ...]) -> None:
    """A float32 .npy file of its full size, with holes for data; its header says ``stored``.

    The header is the one that numpy.save writes.
    """
    with path.open("xb", buffering=0) as f:
        write_header(f, stored)
        f.truncate(f.tell() + 4 * math.prod(shape))


def write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    empty = np.empty(0, np.float32)
    header = {**np.lib.format.header_data_from_array_1_0(empty), "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def stamp(file: BinaryIO) -> dict[str, int]:
    """What tells that a file has changed."""
    found = os.fstat(file.fileno())
    return {"size": found.st_size, "mtime": found.st_mtime_ns}
