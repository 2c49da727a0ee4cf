"""Hostile, foreign and damaged .pt and .safetensors files: a precise error, or the weights."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from lstmc.converters import convert, safetensors_file, torch_file

from lstmc import ConversionError, Error, FormatError

torch = pytest.importorskip("torch")
st = pytest.importorskip("safetensors.torch")
from torch import nn  # noqa: E402

LINE = "input batch time 2; lstm weights=0 last; dense weights=1"


def state_dict():
    torch.manual_seed(3)
    return nn.Sequential(nn.LSTM(2, 3), nn.Linear(3, 1)).state_dict()


class Evil:
    """Unpickling this makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def archive(data_pkl: bytes, **records: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("archive/data.pkl", data_pkl)
        for name, data in records.items():
            z.writestr(f"archive/{name.replace('__', '/')}", data)
    return out.getvalue()


# ---------------------------------------------------------------------------------- no code is run


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("nested", [False, True])
def test_code_is_never_run(tmp_path, protocol, form, nested):
    marker, path = tmp_path / "ran", tmp_path / "evil.pt"
    thing = {**state_dict(), "x": Evil(marker)} if nested else Evil(marker)
    if form == "pickle":
        path.write_bytes(pickle.dumps(Evil(marker), protocol))
    else:
        new = form == "zip"
        torch.save(thing, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    with pytest.raises(ConversionError, match=r"would run code: (posix|nt)\.mkdir"):
        convert(path, arch=LINE)
    assert not marker.exists()


@pytest.mark.filterwarnings("ignore")
def test_more_than_weights(tmp_path):
    path = tmp_path / "m.pt"
    torch.save(nn.Linear(2, 3), path)
    with pytest.raises(ConversionError, match=r"run code: torch\.nn\.modules.*state_dict\(\)"):
        convert(path)
    torch.save({"state_dict": state_dict(), "loss": np.float64(1)}, path)
    with pytest.raises(ConversionError, match=r"run code: numpy\."):
        convert(path)
    torch.save(torch.zeros(3), path)
    with pytest.raises(ConversionError, match="single tensor"):
        convert(path)
    torch.save({"a": 1}, path)
    with pytest.raises(ConversionError, match="no state_dict"):
        convert(path)
    torch.jit.script(nn.Linear(2, 3)).save(str(path))
    with pytest.raises(ConversionError, match="TorchScript"):
        convert(path)


def test_foreign_files(tmp_path):
    path = tmp_path / "m.pt"
    tar = b"x" * 257 + b"ustar\x0000" + b"\0" * 300
    for data, message in {
        b"": "empty",
        b"hello": "not a file that torch.save wrote",
        tar: "before 0.1.10",
        b"PK\x03\x04 and no more": "truncated or corrupt",
        pickle.dumps({"a": 1}): "a pickle, but not",
    }.items():
        path.write_bytes(data)
        with pytest.raises(Error, match=message):
            convert(path)
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("word/document.xml", "x")
    with pytest.raises(FormatError, match="zip file, but not one"):
        convert(path)
    with pytest.raises(FileNotFoundError):
        convert(tmp_path / "none.pt")


# --------------------------------------------------------------------------------- tensors in files


def test_tensors_of_all_kinds(tmp_path):
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    tensors = {
        "plain": base,
        "transposed": base.T,
        "strided": base[1:, ::2],
        "offset": base.reshape(-1)[5:],
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "parameter": nn.Parameter(base[:2]),
        **{str(t): torch.tensor([-1.5, 2.0, 3.25]).to(t) for t in (
            torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
            torch.int8, torch.bool)},
        "u8": torch.tensor([1, 255], dtype=torch.uint8),
    }  # fmt: skip
    checksums = torch.serialization.get_crc32_options()
    for new, crc in ((True, True), (True, False), (False, True)):
        torch.serialization.set_crc32_options(crc)
        torch.save(tensors, tmp_path / "t.pt", _use_new_zipfile_serialization=new)
        torch.serialization.set_crc32_options(checksums)
        got = torch_file.read(tmp_path / "t.pt")
        assert list(got) == list(tensors)
        for name, t in tensors.items():
            want = t.detach().float() if t.dtype == torch.bfloat16 else t.detach()
            np.testing.assert_array_equal(got[name].array(), want.numpy())
            assert got[name].array().dtype == want.numpy().dtype
    st.save_file(
        {k: v.contiguous().clone() for k, v in tensors.items()}, tmp_path / "t.safetensors"
    )
    got = safetensors_file.read(tmp_path / "t.safetensors")
    for name, t in tensors.items():
        want = t.detach().float() if t.dtype == torch.bfloat16 else t.detach()
        np.testing.assert_array_equal(got[name].array(), want.numpy())


def test_big_endian(tmp_path):
    buffer = io.BytesIO()
    torch.save({"w": torch.tensor([1.0, 2.5])}, buffer)
    with zipfile.ZipFile(buffer) as z:
        pkl = z.read("archive/data.pkl")
    data = np.array([1.0, 2.5], dtype=">f4").tobytes()
    (tmp_path / "b.pt").write_bytes(archive(pkl, data__0=data, byteorder=b"big"))
    got = torch_file.read(tmp_path / "b.pt")["w"].array()
    np.testing.assert_array_equal(got, [1.0, 2.5])
    (tmp_path / "b.pt").write_bytes(archive(pkl, data__0=data, byteorder=b"middle"))
    with pytest.raises(FormatError, match="byte order"):
        torch_file.read(tmp_path / "b.pt")
    (tmp_path / "b.pt").write_bytes(archive(pkl, data__0=data[:-1]))
    with pytest.raises(FormatError, match="another size"):
        torch_file.read(tmp_path / "b.pt")


def test_other_dtypes_only_matter_if_used(tmp_path):
    extra = {"n": torch.tensor(3), "c": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    st.save_file({**state_dict(), **extra}, tmp_path / "m.safetensors")
    convert(tmp_path / "m.safetensors", arch=LINE + "; ignore n c")
    with pytest.raises(ConversionError, match="unused: "):
        convert(tmp_path / "m.safetensors", arch=LINE)
    torch.save({**state_dict(), "1.weight": torch.ones(1, 3, dtype=torch.int64)}, tmp_path / "m.pt")
    with pytest.raises(ConversionError, match=r"'1\.weight' has dtype int64"):
        convert(tmp_path / "m.pt", arch=LINE)
    torch.save({**state_dict(), "1.weight": torch.full((1, 3), torch.nan)}, tmp_path / "m.pt")
    with pytest.raises(ConversionError, match=r"'1\.weight' holds NaN"):
        convert(tmp_path / "m.pt", arch=LINE)


# ------------------------------------------------------------------------------------ damaged ones


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    buffer = io.BytesIO()  # as a file, its records would be named after it
    torch.save(state_dict(), buffer)
    (folder / "m.pt").write_bytes(buffer.getvalue())
    torch.save(state_dict(), folder / "m.pth", _use_new_zipfile_serialization=False)
    st.save_file(state_dict(), folder / "m.safetensors")
    return {s: (folder / f"m{s}").read_bytes() for s in (".pt", ".pth", ".safetensors")}


def attempt(path, data):
    """True if it converted; anything but an lstmc error fails the test."""
    path.write_bytes(data)
    start = time.perf_counter()
    try:
        convert(path, arch=LINE)
        return True
    except Error as e:
        assert "\n" not in str(e)
        return False
    finally:
        assert time.perf_counter() - start < 5


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_truncations(tmp_path, sound, suffix):
    data, path = sound[suffix], tmp_path / f"m{suffix}"
    assert attempt(path, data)
    for n in {*range(0, len(data), max(1, len(data) // 200)), *range(1, 70), len(data) - 1}:
        assert not attempt(path, data[:n])


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_flipped_bytes(tmp_path, sound, suffix):
    data, path = sound[suffix], tmp_path / f"m{suffix}"
    rng = np.random.default_rng(11)
    head = len(data) if suffix == ".pt" else 700  # pickles and headers are where it gets hard
    for _ in range(500):
        damaged = bytearray(data)
        for at in rng.integers(0, head, rng.integers(1, 4)):
            damaged[at] = rng.integers(256)
        attempt(path, bytes(damaged))


def test_damaged_pickles_inside_a_sound_zip(tmp_path, sound):
    with zipfile.ZipFile(io.BytesIO(sound[".pt"])) as z:
        records = {n.removeprefix("archive/").replace("/", "__"): z.read(n) for n in z.namelist()}
    pkl = records.pop("data.pkl")
    rng = np.random.default_rng(12)
    for _ in range(500):
        damaged = bytearray(pkl)
        for at in rng.integers(0, len(pkl), rng.integers(1, 4)):
            damaged[at] = rng.integers(256)
        attempt(tmp_path / "m.pt", archive(bytes(damaged), **records))


@pytest.mark.parametrize("record", ["data/0", "data.pkl"])
def test_checksums_see_one_flipped_bit(tmp_path, sound, record):
    with zipfile.ZipFile(io.BytesIO(sound[".pt"])) as z:
        at = sound[".pt"].index(z.read(f"archive/{record}"))
    damaged = bytearray(sound[".pt"])
    damaged[at + 5] ^= 1
    (tmp_path / "m.pt").write_bytes(damaged)
    with pytest.raises(FormatError, match="checksum"):
        convert(tmp_path / "m.pt", arch=LINE)


# ------------------------------------------------------------------------------------ hostile ones


def tensor_pickle(size: str, stride: str, numel: str = "K\x04") -> bytes:
    """A pickle of {"w": tensor} over a storage of four floats; sizes as opcodes."""
    pid = "(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu" + numel + "tQ"
    rebuild = f"ctorch._utils\n_rebuild_tensor_v2\n({pid}K\0({size}t({stride}t\x89NtR"
    return b"\x80\x02}X\x01\0\0\0w" + rebuild.encode("latin-1") + b"s."


HOSTILE_PICKLES = {
    "expanded": tensor_pickle("J\xff\xff\xff\x7fJ\xff\xff\xff\x7f", "K\0K\0"),
    "beyond": tensor_pickle("K\x05", "K\x01"),
    "strides beyond": tensor_pickle("K\x02K\x02", "K\x03K\x01"),
    "negative": tensor_pickle("J\xff\xff\xff\xff", "K\x01"),
    "negative stride": tensor_pickle("K\x02", "J\xff\xff\xff\xff"),
    "rank": tensor_pickle("K\x01" * 65, "K\0" * 65),
    "text size": tensor_pickle("X\x01\0\0\0a", "K\x01"),
    "huge storage": tensor_pickle("K\x04", "K\x01", "J\xff\xff\xff\x7f"),
    "shared tuples": b"\x80\x02}()" + b"q\x00h\x00\x86" * 80 + b"Nu.",
    "deep lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "deep tuples": b"\x80\x02)" + b"\x85" * 200_000 + b".",
    "long integer": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "long text": b"\x80\x04\x8d" + b"\xff" * 8 + b".",
    "no end": b"\x80\x02}",
    "empty": b"",
    "empty stack": b"\x80\x02.",
    "mark": b"\x80\x02(.",
    "no mark": b"\x80\x02u.",
    "memo": b"\x80\x02h\x07.",
    "call a storage": b"\x80\x02ctorch\nFloatStorage\n)R.",
    "call a number": b"\x80\x02K\x01)R.",
    "call with too few": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
    "parameter of None": b"\x80\x02ctorch._utils\n_rebuild_parameter\n(N\x89NtR.",
    "persistent id": b"\x80\x02K\x01Q.",
    "attributes of a list": b"\x80\x02]}b.",
    "self": b"\x80\x02}q\0X\x01\0\0\0ah\0s.",
    "INST": b"\x80\x02(ios\nsystem\n.",
    "NEWOBJ": b"\x80\x02}}\x81.",
    "lines in a name": b"\x80\x04\x8c\x03a\nb\x8c\x01c\x93.",
    "EXT1": b"\x80\x02\x82\x01.",
    "too long": b"\x80\x02" + b"N" * 4_100_000 + b".",
    "name without end": b"\x80\x02c" + b"a" * 2000,
}


SAYS = {
    "beyond": ("expanded", "beyond", "strides beyond"),
    "out of range": ("negative", "negative stride", "text size"),
    "longer": ("too long",),
    "too long": ("long integer",),
}


@pytest.mark.parametrize("name", HOSTILE_PICKLES)
def test_hostile_pickles(tmp_path, name):
    data = archive(HOSTILE_PICKLES[name], data__0=b"\0" * 16)
    assert not attempt(tmp_path / "m.pt", data)
    with pytest.raises(Error) as e:
        torch_file.read(tmp_path / "m.pt")["w"].array()
    for part, names in SAYS.items():
        assert (part in str(e.value)) == (name in names)


def test_hostile_pickle_builder_is_sound(tmp_path):
    data = archive(tensor_pickle("K\x02K\x02", "K\x01K\x02"), data__0=struct.pack("4f", 1, 2, 3, 4))
    (tmp_path / "m.pt").write_bytes(data)
    got = torch_file.read(tmp_path / "m.pt")["w"].array()
    np.testing.assert_array_equal(got, [[1, 3], [2, 4]])


def test_compressed_and_doubled_records(tmp_path, sound):
    pkl = tensor_pickle("K\x04", "K\x01")
    with zipfile.ZipFile(tmp_path / "m.pt", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("archive/data.pkl", pkl + b" " * 10_000_000)
    with pytest.raises(FormatError, match="compressed"):
        convert(tmp_path / "m.pt")
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as z, pytest.warns(UserWarning):
        z.writestr("archive/data.pkl", pkl)
        z.writestr("archive/data.pkl", pkl)
    with pytest.raises(FormatError, match="same name"):
        convert(tmp_path / "m.pt")


def safetensors(header: object, body: bytes = b"\0" * 16) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(shape=(4,), offsets=(0, 16), dtype="F32", **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


HOSTILE_HEADERS = {
    "length": struct.pack("<Q", 2**63) + b"{}",
    "no object": safetensors(b"[]"),
    "not JSON": safetensors(b"{nonsense}"),
    "not text": safetensors(b'{"\xff\xfe": 1}'),
    "deep": safetensors(b'{"a":' + b"[" * 200_000),
    "hole": safetensors({"a": entry((2,), (0, 8)), "b": entry((1,), (12, 16))}),
    "overlap": safetensors({"a": entry((3,), (0, 12)), "b": entry((2,), (8, 16))}),
    "tail": safetensors({"a": entry((2,), (0, 8))}),
    "beyond": safetensors({"a": entry((8,), (0, 32))}),
    "backwards": safetensors({"a": entry((4,), (16, 0))}),
    "negative": safetensors({"a": entry((-4,), (0, -16))}),
    "size": safetensors({"a": entry((5,))}),
    "huge": safetensors({"a": entry((2**62, 2**62))}),
    "huge number": safetensors(b'{"a": {"dtype": "F32", "shape": [1' + b"0" * 5000 + b"]}}"),
    "fraction": safetensors({"a": entry((4.0,))}),
    "bool": safetensors({"a": entry((True, 4))}),
    "rank": safetensors({"a": entry((1,) * 70)}),
    "dtype": safetensors({"a": entry(dtype="F3")}),
    "dtype list": safetensors({"a": entry(dtype=["F32"])}),
    "more": safetensors({"a": entry(other=1)}),
    "less": safetensors({"a": {"dtype": "F32"}}),
    "number": safetensors({"a": 3}),
    "twice": safetensors(b'{"a": %s, "a": %s}' % ((json.dumps(entry()).encode(),) * 2)),
    "nothing": safetensors({}, b""),
}


@pytest.mark.parametrize("name", HOSTILE_HEADERS)
def test_hostile_safetensors(tmp_path, name):
    path = tmp_path / "m.safetensors"
    path.write_bytes(HOSTILE_HEADERS[name])
    with pytest.raises(FormatError):
        convert(path, arch=LINE)


def test_hostile_header_builder_is_sound(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors({"__metadata__": {"format": "pt"}, "a": entry((2, 2))}))
    assert safetensors_file.read(path)["a"].shape == (2, 2)
    keys = {f"k\n{i}" + "x" * 10_000: entry((1,), (4 * i, 4 * i + 4)) for i in range(4)}
    assert not attempt(path, safetensors(keys))
