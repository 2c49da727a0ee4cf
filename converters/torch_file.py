"""A reader of torch.save files (.pt, .pth) that runs nothing in them and needs no torch.

A torch file is a pickle plus the tensors' bytes. A pickle is a program; :mod:`torch_pickle` runs it
and can only build dicts, lists, tuples, strings, numbers and tensors.

Sources: torch/serialization.py (``_save``, ``_legacy_save``), torch/_utils.py (``_rebuild_*``),
caffe2/serialize/inline_container.h (the zip layout), Python's pickletools (opcodes).
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from lstmc.errors import ConversionError, FormatError

from .torch_pickle import Machine
from .weights import Storage, StoredTensor, itemsize, printable

_MAGIC = 0x1950A86A20F9469CFC6C  # torch/serialization.py, MAGIC_NUMBER
_LEGACY_PROTOCOL = 1001
_NESTED = ("state_dict", "model_state_dict", "model_state", "model", "net", "module")
_RESAVE = "save it again with a current torch: torch.save(model.state_dict(), path)"


def read(path: Path) -> dict[str, StoredTensor | None]:
    """The state_dict in a file: its tensors by key, None for an entry that is not a tensor.

    Also finds the state_dict in a checkpoint, {"state_dict": {...}, "epoch": ...}.
    """
    data = path.read_bytes()
    if not data:
        raise FormatError(f"'{path.name}' is empty")
    if data[:4] == b"PK\x03\x04":
        top = _read_zip(path.name, data)
    elif data[:1] == b"\x80":
        top = _read_legacy(path.name, data)
    elif data[257:262] == b"ustar":
        raise ConversionError(f"'{path.name}' has torch's format of before 0.1.10; {_RESAVE}")
    else:
        raise FormatError(f"'{path.name}' is not a file that torch.save wrote")
    return _state_dict(path.name, top)


def _state_dict(name: str, top: Any) -> dict[str, StoredTensor | None]:
    if isinstance(top, StoredTensor):
        raise ConversionError(f"'{name}' holds a single tensor, not a state_dict; {_RESAVE}")
    if isinstance(top, dict):
        candidates = [top, *(top[k] for k in _NESTED if isinstance(top.get(k), dict))]
        for c in candidates:
            if any(isinstance(v, StoredTensor) for v in c.values()):
                if not all(isinstance(k, str) for k in c):
                    break
                return {k: v if isinstance(v, StoredTensor) else None for k, v in c.items()}
    raise ConversionError(f"'{name}' holds no state_dict (a dict of tensors by name); {_RESAVE}")


# ------------------------------------------------------------------------------------ zip format


class _Archive:
    """The records of a zip file: stored uncompressed, so that none is larger than the file."""

    def __init__(self, name: str, data: bytes) -> None:
        self.bad = f"'{name}' is a truncated or corrupt torch file: "
        self.data = memoryview(data)
        try:
            infos = zipfile.ZipFile(io.BytesIO(data)).infolist()
        except (
            *(zipfile.BadZipFile, NotImplementedError, struct.error, ValueError, EOFError, OSError),
            *(OverflowError, LookupError),
        ) as e:
            raise FormatError(f"{self.bad}{type(e).__name__} in its directory") from e
        self.infos = {i.filename: i for i in infos}
        if len(self.infos) != len(infos):
            raise FormatError(f"{self.bad}two records have the same name")
        # torch.serialization.set_crc32_options(False) writes zeros for all of them.
        self.check = any(i.CRC for i in infos)

    def __contains__(self, record: str) -> bool:
        return record in self.infos

    def read(self, record: str) -> memoryview:
        info = self.infos.get(record)
        if info is None:
            raise FormatError(f"{self.bad}record '{printable(record)}' is missing")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise FormatError(f"{self.bad}record '{printable(record)}' is compressed or encrypted")
        at = info.header_offset
        header = self.data[at : at + 30] if at >= 0 else b""
        if len(header) != 30 or header[:4] != b"PK\x03\x04":
            raise FormatError(f"{self.bad}record '{printable(record)}' has no header")
        start = at + 30 + sum(struct.unpack("<HH", header[26:30]))
        out = self.data[start : start + info.file_size]
        if len(out) != info.file_size or info.compress_size != info.file_size:
            raise FormatError(f"{self.bad}record '{printable(record)}' ends beyond the file")
        if self.check and zlib.crc32(out) != info.CRC:
            raise FormatError(f"{self.bad}record '{printable(record)}' fails its checksum")
        return out


def _read_zip(name: str, data: bytes) -> Any:
    archive = _Archive(name, data)
    pickles = [r for r in archive.infos if r.endswith("/data.pkl") and r.count("/") == 1]
    if len(pickles) != 1:
        if any(r.endswith(("/archive_format", "/models/model.json")) for r in archive.infos):
            raise ConversionError(f"'{name}' is a torch.export program; {_RESAVE}")
        raise FormatError(f"'{name}' is a zip file, but not one that torch.save wrote")
    prefix = pickles[0].removesuffix("data.pkl")
    if f"{prefix}constants.pkl" in archive:
        raise ConversionError(
            f"'{name}' is a TorchScript program, not a state_dict; save model.state_dict(), "
            "or pass the torch.nn.Module itself"
        )
    order = "little"
    if f"{prefix}byteorder" in archive:
        order = bytes(archive.read(f"{prefix}byteorder")).decode("ascii", "replace")
        if order not in ("little", "big"):
            raise FormatError(f"{archive.bad}its byte order is unknown")
    storages: dict[str, Storage] = {}

    def load(dtype: str, key: str, numel: int) -> Storage:
        if key not in storages:
            raw = archive.read(f"{prefix}data/{key}")
            storages[key] = Storage(dtype, numel, raw, order)
        s = storages[key]
        if (s.dtype, s.numel) != (dtype, numel) or len(s.data or b"") != numel * itemsize(dtype):
            raise FormatError(
                f"{archive.bad}storage '{printable(key)}' has another size than it says"
            )
        return s

    machine = Machine(name, archive.read(pickles[0]), load)
    return machine.run()


# --------------------------------------------------------------------------------- legacy format


def _read_legacy(name: str, data: bytes) -> Any:
    """torch < 1.6: pickles of magic number, protocol, machine, object, storage keys; then bytes."""
    bad = f"'{name}' is a truncated or corrupt torch file: "
    storages: dict[str, Storage] = {}

    def load(dtype: str, key: str, numel: int) -> Storage:
        s = storages.setdefault(key, Storage(dtype, numel))
        if (s.dtype, s.numel) != (dtype, numel):
            raise FormatError(f"{bad}storage '{printable(key)}' has two sizes")
        return s

    machine = Machine(name, memoryview(data), load)
    if machine.run() != _MAGIC:
        raise FormatError(f"'{name}' is a pickle, but not one that torch.save wrote")
    if machine.run() != _LEGACY_PROTOCOL:
        raise FormatError(f"{bad}its protocol is unknown")
    system = machine.run()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ConversionError(f"'{name}' was written by a big-endian machine; {_RESAVE}")
    top, keys = machine.run(), machine.run()
    if not isinstance(keys, list) or not all(isinstance(k, str) for k in keys):
        raise FormatError(f"{bad}its list of storages is malformed")
    at = machine.position
    for key in keys:
        s = storages.get(key)
        if s is None or s.data is not None:
            raise FormatError(f"{bad}its list of storages doesn't match its tensors")
        size = s.numel * itemsize(s.dtype)
        if data[at : at + 8] != s.numel.to_bytes(8, "little") or at + 8 + size > len(data):
            raise FormatError(f"{bad}storage '{printable(key)}' is not where it should be")
        s.data = memoryview(data)[at + 8 : at + 8 + size]
        at += 8 + size
    return top
