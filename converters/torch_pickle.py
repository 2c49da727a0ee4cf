"""A pickle machine that can build data and tensors, and nothing else.

Python's own unpickler calls whatever a pickle names. This one has a fixed list of opcodes, and a
fixed list of names that stand for functions in this file. It never imports, never looks an
attribute up, never calls anything it was given, and never hashes or prints an object that the file
built other than a string or a number, so that nested shared tuples can't make it hang.

Sources: Python's pickletools (opcodes), torch/_utils.py (``_rebuild_tensor_v2`` and its arguments),
torch/serialization.py (``persistent_id``: "storage", type, key, location, number of elements).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lstmc.errors import ConversionError, FormatError

from .weights import DTYPES, Storage, StoredTensor, printable

LoadStorage = Callable[[str, str, int], Storage]  # dtype, key, number of elements
_MAX_OPCODES = 4_000_000  # a tensor takes about 40; each opcode may cost us 100 bytes
_MAX_INT_BYTES = 16  # torch's magic number takes 10; longer ones are for exhausting us


@dataclass(frozen=True)
class _StorageType:
    dtype: str


@dataclass(frozen=True)
class _Inert:
    """A name that may be mentioned but not called, such as a dtype in a checkpoint's settings."""

    name: str


_MARK = object()

# torch/storage.py, _LegacyStorage subclasses; the last three are skipped unless asked for.
_STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> StoredTensor:
    if not isinstance(storage, Storage) or type(size) is not tuple or type(stride) is not tuple:
        raise FormatError("corrupt file: a tensor is malformed")
    return StoredTensor(storage, size, offset, stride)


def _parameter(data: Any, *_: Any) -> StoredTensor:
    if not isinstance(data, StoredTensor):
        raise FormatError("corrupt file: a parameter is malformed")
    return data


def _size(dims: Any = ()) -> tuple[Any, ...]:
    return dims if type(dims) is tuple else ()


def _device(*_: Any) -> _Inert:
    return _Inert("torch.device")


_NAMES: dict[str, Any] = {
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.Size": _size,
    "torch.device": _device,
    "collections.OrderedDict": None,  # handled by the machine, which checks keys
    **{f"torch.{k}": _StorageType(v) for k, v in _STORAGES.items()},
    **{f"torch.{k}": _Inert(k) for k in DTYPES},
}


class Machine:
    """Runs one pickle after the other over ``data``; ``position`` is where the next begins."""

    def __init__(self, name: str, data: memoryview, load: LoadStorage) -> None:
        self.name, self.data, self.load, self.position = name, data, load, 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def bad(self, what: str) -> FormatError:
        return FormatError(f"'{self.name}' is a truncated or corrupt torch file: {what}")

    def run(self) -> Any:
        """The object of the next pickle."""
        self.stack, self.memo = [], {}
        for _ in range(_MAX_OPCODES):
            op = self.take(1)[0]
            if op == 0x2E:  # STOP
                return self.pop()
            handler = _OPCODES.get(op)
            if handler is None:
                raise self.bad(f"pickle opcode {op:#04x} is not one that tensors need")
            handler(self)
        raise self.bad("its pickle is longer than weights need")

    # ---------------------------------------------------------------------------- the machine

    def take(self, n: int) -> memoryview:
        out = self.data[self.position : self.position + n]
        if len(out) != n:
            raise self.bad("it ends inside its pickle")
        self.position += n
        return out

    def skip(self, n: int) -> None:
        self.take(n)

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        window = bytes(self.data[self.position : self.position + 512])
        end = window.find(b"\n")
        if end < 0:
            raise self.bad("a name in its pickle has no end")
        self.position += end + 1
        return window[:end].decode("utf-8", "replace")

    def text(self, form: str, encoding: str = "utf-8") -> None:
        raw = bytes(self.take(self.number(form)))
        try:
            self.push(raw.decode(encoding, "surrogatepass" if encoding == "utf-8" else "strict"))
        except UnicodeDecodeError as e:
            raise self.bad("a string in its pickle is not text") from e

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise self.bad("its pickle takes from an empty stack")
        return self.stack.pop()

    def top(self) -> Any:
        value = self.pop()
        self.push(value)
        return value

    def items(self) -> list[Any]:
        """Everything above the last mark."""
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                out = self.stack[i + 1 :]
                del self.stack[i:]
                return out
        raise self.bad("its pickle misses a mark")

    # ------------------------------------------------------------------------------- opcodes

    def get(self, form: str) -> None:
        key = self.number(form)
        if key not in self.memo:
            raise self.bad("its pickle refers to what it didn't build")
        self.push(self.memo[key])

    def put(self, form: str) -> None:
        self.memo[self.number(form)] = self.top()

    def memoize(self) -> None:
        self.memo[len(self.memo)] = self.top()

    def pack(self, n: int) -> None:
        values = [self.pop() for _ in range(n)]
        self.push(tuple(reversed(values)))

    def integer(self, form: str) -> None:
        size = self.number(form)
        if not 0 <= size <= _MAX_INT_BYTES:
            raise self.bad("an integer in its pickle is too long")
        self.push(int.from_bytes(self.take(size), "little", signed=True))

    def extend(self, values: list[Any]) -> None:
        target = self.top()
        if type(target) is not list:
            raise self.bad("its pickle appends to what is not a list")
        target.extend(values)

    def set_items(self, values: list[Any]) -> None:
        self.fill(self.top(), values)

    def fill(self, target: Any, values: list[Any]) -> dict[Any, Any]:
        if type(target) is not dict or len(values) % 2:
            raise self.bad("its pickle fills what is not a dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if type(key) not in (str, int, float, bool, type(None)):
                raise self.bad("a dict in its pickle has a key that is not a string or number")
            target[key] = value
        return target

    def find(self, module: str, name: str) -> None:
        full = f"{module}.{name}"
        if full not in _NAMES:
            raise ConversionError(
                f"'{self.name}' is more than weights, loading it would run code: "
                f"{printable(full)}; "
                "save only the weights, torch.save(model.state_dict(), path), or pass the live "
                "torch.nn.Module"
            )
        self.push(_Name(full))

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise self.bad("a name in its pickle is not text")
        self.find(module, name)

    def reduce(self) -> None:
        args, function = self.pop(), self.pop()
        if type(function) is not _Name or type(args) is not tuple:
            raise self.bad("its pickle calls what can't be called")
        if function.full == "collections.OrderedDict":
            pairs = args[0] if args else []
            if type(pairs) is not list or any(type(p) is not list or len(p) != 2 for p in pairs):
                raise self.bad("an OrderedDict in its pickle is malformed")
            self.push(self.fill({}, [x for pair in pairs for x in pair]))
            return
        target = _NAMES[function.full]
        if not callable(target):
            raise self.bad(f"its pickle calls {function.full}")
        try:
            self.push(target(*args))
        except TypeError as e:
            raise self.bad(f"wrong arguments of {function.full}") from e

    def build(self) -> None:
        """Attributes of an object. Only a state_dict's _metadata (versions of layers) comes up."""
        self.pop()
        if type(self.top()) is not dict:
            raise self.bad("its pickle sets attributes of what has none")

    def persistent(self) -> None:
        pid = self.pop()
        if type(pid) is not tuple or len(pid) not in (5, 6) or pid[0] != "storage":
            raise self.bad("a storage in its pickle is malformed")
        kind, key, numel = pid[1], pid[2], pid[4]
        kind = _NAMES[kind.full] if type(kind) is _Name else None
        if type(kind) is not _StorageType or type(key) is not str or type(numel) is not int:
            raise self.bad("a storage in its pickle is malformed")
        if not 0 <= numel < 2**60 or pid[5:] not in ((), (None,)):
            raise self.bad("a storage in its pickle is malformed")
        self.push(self.load(kind.dtype, key, numel))


@dataclass(frozen=True)
class _Name:
    full: str


_OPCODES: dict[int, Callable[[Machine], None]] = {
    0x80: lambda m: m.skip(1),  # PROTO
    0x95: lambda m: m.skip(8),  # FRAME
    ord("("): lambda m: m.push(_MARK),
    ord("}"): lambda m: m.push({}),
    ord("]"): lambda m: m.push([]),
    ord(")"): lambda m: m.push(()),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("K"): lambda m: m.push(m.number("<B")),
    ord("M"): lambda m: m.push(m.number("<H")),
    ord("J"): lambda m: m.push(m.number("<i")),
    0x8A: lambda m: m.integer("<B"),  # LONG1
    0x8B: lambda m: m.integer("<i"),  # LONG4
    ord("G"): lambda m: m.push(m.number(">d")),
    ord("X"): lambda m: m.text("<I"),  # BINUNICODE
    0x8C: lambda m: m.text("<B"),  # SHORT_BINUNICODE
    0x8D: lambda m: m.text("<Q"),  # BINUNICODE8
    ord("U"): lambda m: m.text("<B", "latin-1"),  # SHORT_BINSTRING, Python 2
    ord("T"): lambda m: m.text("<I", "latin-1"),  # BINSTRING, Python 2
    ord("t"): lambda m: m.push(tuple(m.items())),
    0x85: lambda m: m.pack(1),
    0x86: lambda m: m.pack(2),
    0x87: lambda m: m.pack(3),
    ord("a"): lambda m: m.extend([m.pop()]),
    ord("e"): lambda m: m.extend(m.items()),
    ord("s"): lambda m: m.set_items([m.pop(), m.pop()][::-1]),
    ord("u"): lambda m: m.set_items(m.items()),
    ord("q"): lambda m: m.put("<B"),
    ord("r"): lambda m: m.put("<I"),
    0x94: lambda m: m.memoize(),
    ord("h"): lambda m: m.get("<B"),
    ord("j"): lambda m: m.get("<I"),
    ord("c"): lambda m: m.find(m.line(), m.line()),
    0x93: lambda m: m.stack_global(),
    ord("R"): lambda m: m.reduce(),
    ord("b"): lambda m: m.build(),
    ord("Q"): lambda m: m.persistent(),
}
