"""A reader of .safetensors files that trusts nothing in them.

Source: the format's description in github.com/huggingface/safetensors, README.md, "Format": 8
bytes N (little-endian unsigned), N bytes of JSON beginning with ``{``, then the tensors' bytes;
offsets are relative to the end of the header; row-major, little-endian; no holes, no overlap;
duplicate keys are not allowed; "__metadata__" maps strings to strings.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from lstmc.errors import FormatError

from .weights import MAX_RANK, Storage, StoredTensor, printable

MAX_HEADER = 100_000_000  # the reference implementation's limit

# dtype in the file -> (ours, bytes an element). Those that DTYPES in weights.py doesn't know are
# read past: they matter only if the architecture asks for them.
_DTYPES = {
    "F32": ("float32", 4),
    "F64": ("float64", 8),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "I64": ("int64", 8),
    "I32": ("int32", 4),
    "I16": ("int16", 2),
    "I8": ("int8", 1),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
    "U16": ("uint16", 2),
    "U32": ("uint32", 4),
    "U64": ("uint64", 8),
    "C64": ("complex64", 8),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
}


def read(path: Path) -> dict[str, StoredTensor]:
    """All tensors by key, in the order of the header; FormatError if the file isn't sound."""
    data = path.read_bytes()
    bad = f"'{path.name}' is not a sound .safetensors file: "
    if len(data) < 8:
        raise FormatError(f"{bad}it has {len(data)} bytes")
    size = int.from_bytes(data[:8], "little")
    if size > MAX_HEADER or size > len(data) - 8:
        raise FormatError(f"{bad}it says its header has {size} bytes, it has {len(data)} in all")
    if data[8:9] != b"{":
        raise FormatError(f"{bad}its header is not a JSON object")
    try:
        header = json.loads(data[8 : 8 + size].decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as e:
        raise FormatError(f"{bad}its header can't be parsed ({type(e).__name__})") from e
    header.pop("__metadata__", None)
    body = memoryview(data)[8 + size :]
    tensors: dict[str, StoredTensor] = {}
    spans: list[tuple[int, int]] = []
    for name, entry in header.items():
        dtype, shape, start, end = _entry(bad, name, entry)
        spans.append((start, end))
        if end > len(body):
            raise FormatError(
                f"{bad}tensor '{printable(name)}' ends beyond the file; is it truncated?"
            )
        numel = math.prod(shape)
        strides = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
        tensors[name] = StoredTensor(Storage(dtype, numel, body[start:end]), shape, 0, strides)
    position = 0
    for start, end in sorted(spans):
        if start != position:
            raise FormatError(f"{bad}its tensors overlap or leave holes at byte {position}")
        position = end
    if position != len(body):
        raise FormatError(f"{bad}{len(body) - position} bytes after the last tensor")
    return tensors


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("duplicate keys")
    return out


def _entry(bad: str, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """dtype, shape, first and end byte of one header entry."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise FormatError(f"{bad}the entry of tensor '{printable(name)}' is malformed")
    shape, offsets = entry["shape"], entry["data_offsets"]
    lists = isinstance(shape, list) and isinstance(offsets, list)
    if not lists or len(shape) > MAX_RANK or len(offsets) != 2:
        raise FormatError(f"{bad}the entry of tensor '{printable(name)}' is malformed")
    if any(type(n) is not int or not 0 <= n < 2**63 for n in (*shape, *offsets)):
        raise FormatError(f"{bad}tensor '{printable(name)}' has a number out of range")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in _DTYPES:
        raise FormatError(f"{bad}tensor '{printable(name)}' has an unknown dtype")
    dtype, item = _DTYPES[entry["dtype"]]
    start, end = offsets
    if end - start != math.prod(shape) * item:
        raise FormatError(f"{bad}tensor '{printable(name)}' has another size than its shape says")
    return dtype, tuple(shape), start, end
