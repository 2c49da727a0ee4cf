"""Graph <-> the bytes of an .lstmc file, format version 1. docs/SPEC.md describes every byte.

Writing is deterministic: the same graph gives the same bytes. Reading checks only what it needs to
stay safe in Python; the C core's ``lstmc_model_open`` checks everything and is always run first.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from . import graph as g
from .errors import ConversionError, FormatError

MAGIC = b"LSTMC\r\n\x1a"
VERSION = 1
ALIGN = 64
NONE = 0xFFFFFFFF
BATCH_CODE = 0xFFFFFFFF
TIME_CODE = 0xFFFFFFFE
DEFAULT_PANEL = 16
SIZE_LIMIT = 1 << 32
MAX_SIZE = 1 << 24
DTYPE_CODES = {name: code for code, name in enumerate(g.DTYPES)}

_FN_NAMES = {code: name for name, code in g.FN_CODES.items()}


@dataclass
class Golden:
    """A sample to check a machine with: inputs by name, and the digest of each output by name."""

    batch: int
    time: int
    inputs: dict[str, np.ndarray]
    digests: dict[str, int] = field(default_factory=dict)


# --------------------------------------------------------------------------------------- panels


def panel_widths(units: int, panel: int) -> Iterator[int]:
    """Width of each panel: the last is half as wide if at most half a panel's units remain."""
    for start in range(0, units, panel):
        rest = units - start
        yield panel // 2 if panel > 1 and rest <= panel // 2 else panel


def pack(array: np.ndarray, gates: int, panel: int) -> np.ndarray:
    """[gates * units, k] (or [gates * units], k being 1) as panels, flat float32.

    Each panel is [k][gates][width]; units beyond the real ones are zero.
    """
    k = array.shape[1] if array.ndim > 1 else 1
    matrix = array.reshape(gates, -1, k)
    units = matrix.shape[1]
    parts, start = [], 0
    for width in panel_widths(units, panel):
        block = np.zeros((k, gates, width), np.float32)
        real = matrix[:, start : start + width]
        block[:, :, : real.shape[1]] = real.transpose(2, 0, 1)
        parts.append(block.ravel())
        start += width
    return np.concatenate(parts)


def unpack(data: np.ndarray, gates: int, k: int, units: int, panel: int) -> np.ndarray:
    """The inverse of :func:`pack`: [gates * units, k] float32."""
    matrix = np.empty((gates, units, k), np.float32)
    start = at = 0
    for width in panel_widths(units, panel):
        block = data[at : at + k * gates * width].reshape(k, gates, width)
        real = min(width, units - start)
        matrix[:, start : start + real] = block[:, :, :real].transpose(1, 2, 0)
        start += width
        at += block.size
    return matrix.reshape(gates * units, k)


# -------------------------------------------------------------------------------------- writing


class _Strings:
    """The string table: each text once, zero-terminated; offset 0 is the empty one."""

    def __init__(self) -> None:
        self.bytes = bytearray(b"\0")
        self.offsets: dict[str, int] = {"": 0}

    def __call__(self, text: str) -> int:
        if text not in self.offsets:
            if "\0" in text:
                raise ConversionError(f"the name {text!r} holds a zero byte")
            self.offsets[text] = len(self.bytes)
            try:
                self.bytes += text.encode("utf-8", "surrogateescape") + b"\0"
            except UnicodeEncodeError:
                raise ConversionError(f"the name {text!r} can't be written as UTF-8") from None
        return self.offsets[text]


def _words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def _float_bits(value: float) -> int:
    return struct.unpack("<I", struct.pack("<f", value))[0]


def _param_words(layer: g.Layer) -> list[int]:
    """All parameters; options at the end that have their defaults are left out."""
    fields = list(layer.param_fields())
    while fields and "option" in fields[-1].metadata:
        if getattr(layer, fields[-1].name) != fields[-1].default:
            break
        fields.pop()
    words: list[int] = []
    for f in fields:
        value = getattr(layer, f.name)
        if isinstance(value, g.Fn):
            words += [g.FN_CODES[value.kind], _float_bits(value.alpha), _float_bits(value.beta)]
        elif f.metadata["choices"]:
            words.append(f.metadata["choices"].index(value))
        elif f.type == "float":
            words.append(_float_bits(value))
        elif isinstance(value, tuple):
            words += value
        else:
            words.append(int(value))
    if any(not 0 <= w < 1 << 32 for w in words):
        raise ConversionError(f"layer '{layer.name}': a parameter is not of 32 bits")
    return words


def _read_params(kind: type[g.Layer], words: list[int]) -> dict[str, object]:
    """The inverse of :func:`_param_words`."""
    found: dict[str, object] = {}
    at = 0
    for f in kind.param_fields():
        if at == len(words) and "option" in f.metadata:
            continue
        if f.type == "Fn":
            alpha, beta = struct.unpack("<2f", _words(*words[at + 1 : at + 3]))
            found[f.name] = g.Fn(_FN_NAMES[words[at]], alpha, beta)
            at += 3
            continue
        if f.type == "tuple[int, ...]":
            found[f.name] = tuple(words[at:])
            at = len(words)
            continue
        word = words[at]
        at += 1
        if f.metadata["choices"]:
            found[f.name] = f.metadata["choices"][word]
        elif f.type == "float":
            (found[f.name],) = struct.unpack("<f", _words(word))
        elif f.type == "bool":
            found[f.name] = bool(word)
        else:
            found[f.name] = word
    if at != len(words):
        raise ConversionError(f"{len(words)} parameter words instead of {at}")
    return found


def _without_tail(refs: list[int], keep: int) -> list[int]:
    """References without those to nothing at the end, but at least ``keep``."""
    refs = refs.copy()
    while len(refs) > keep and refs[-1] == NONE:
        refs.pop()
    return refs


def dumps(graph: g.Graph, golden: Golden | None = None, panel: int = DEFAULT_PANEL) -> bytes:
    """The file's bytes. ``panel`` is 16 on machines with vector units, 1, 2 or 4 on small chips."""
    if panel not in (1, 2, 4, 8, 16):
        raise ValueError(f"panel width {panel} is not 1, 2, 4, 8 or 16")
    specs = graph.infer()
    strings = _Strings()
    pool: list[int] = []
    tensors: list[tuple[list[int], np.ndarray]] = []

    def add_tensor(data: np.ndarray, *shape: int) -> int:
        tensors.append(([int(bool(shape)), *(shape or (0, 0, 0, 0))], data.astype("<f4")))
        return len(tensors) - 1

    written = graph.written
    ids = {name: i for i, name in enumerate(written)}
    # No layer sees the clock of a graph with bindings.
    clocks = {} if graph.bindings else {name: i for i, name in enumerate(graph.clocks)}

    def steps(spec: g.Spec) -> list[int]:
        """Words 2 and 3 of a value record."""
        time = spec.time
        if time is None:
            return [0, 0]
        if time == g.Steps(time.clock) and clocks.get(time.clock or "") == 0:
            return [1, 0]
        pool.extend([NONE if time.clock is None else clocks[time.clock], time.add % 2**32])
        pool.append(time.every)
        return [2, len(pool) - 3]

    values = b"".join(_words(strings(n), specs[n].features, *steps(specs[n])) for n in written)

    layers = b""
    for layer in graph.layers:
        inputs = _without_tail([NONE if n is None else ids[n] for n in layer.inputs], 1)
        refs = inputs + [NONE if n is None else ids[n] for n in layer.outputs]
        stored: list[int] = []
        for _, meta, array in layer.tensors():
            if array is None:
                stored.append(NONE)
                continue
            gates = meta["gates"]
            k = array.shape[1] if array.ndim > 1 else 1
            packed = pack(array, gates, panel)
            stored.append(add_tensor(packed, gates, k, array.shape[0] // gates, panel))
        stored = _without_tail(stored, sum(not m["extra"] for _, m in layer.tensor_fields()))
        params = _param_words(layer)
        layers += _words(
            layer.code, strings(layer.name), len(inputs), len(layer.outputs),
            len(stored), len(params), len(pool), 0,
        )  # fmt: skip
        pool += refs + stored + params

    io = b""
    bound = [v for b in graph.bindings for v in (b.input, b.output)]
    for v in graph.inputs + graph.outputs + bound:
        sample, digest, own = NONE, 0, 0
        if v in graph.inputs:
            own = clocks.get(v.clock or "", 0)
            if golden is not None:
                sample = add_tensor(golden.inputs[v.name].astype(np.float32).ravel())
        elif golden is not None and v in graph.outputs:
            digest = golden.digests.get(v.name, 0)
        codes = {g.BATCH: BATCH_CODE, g.TIME: TIME_CODE - own}
        dims = [codes[a] if isinstance(a, str) else a for a in v.axes]
        io += _words(strings(v.name), ids[v.name], DTYPE_CODES[v.dtype], len(dims), len(pool))
        io += _words(v.time or 0, sample, digest)
        pool += dims

    origin = b"".join(_words(strings(k), strings(v)) for k, v in graph.provenance.items())
    table = bytes(strings.bytes) + bytes(-len(strings.bytes) % 4)

    front = 64 + len(io) + len(values) + len(layers) + 32 * len(tensors)
    front += 4 * len(pool) + len(origin) + len(table)
    at = front + -front % ALIGN
    padding = bytes(at - front)
    records, chunks = b"", list[bytes]()
    for shape, data in tensors:
        records += _words(at, data.nbytes, *shape, 0)
        chunk = data.tobytes()
        chunks.append(chunk + bytes(-len(chunk) % ALIGN))
        at += len(chunks[-1])
        if at >= SIZE_LIMIT:
            raise ConversionError("the model is larger than 4 GiB, the format's limit")

    rest = _words(
        at, len(graph.inputs), len(graph.outputs), len(written), len(graph.layers), len(tensors),
        len(pool), len(graph.provenance), len(table),
        golden.batch if golden else 0, golden.time if golden else 0, len(graph.bindings),
    )  # fmt: skip
    parts = [rest, io, values, layers, records, _words(*pool), origin, table, padding, *chunks]
    body = b"".join(parts)
    return MAGIC + _words(VERSION, zlib.crc32(body)) + body


# -------------------------------------------------------------------------------------- reading


def loads(blob: bytes | memoryview | np.ndarray) -> tuple[g.Graph, Golden | None]:
    """The graph and the golden sample of a file's bytes, which the core has opened before.

    Raises FormatError if the records make no sense all the same.
    """
    try:
        return _loads(blob)
    except (IndexError, ValueError, KeyError, struct.error, ConversionError) as e:
        raise FormatError(f"the model's records are invalid: {e}") from e


def _loads(blob: bytes | memoryview | np.ndarray) -> tuple[g.Graph, Golden | None]:
    view = memoryview(blob).cast("B")  # type: ignore[arg-type]
    if bytes(view[:8]) != MAGIC:
        raise FormatError("not an lstmc model")
    words = np.frombuffer(view, "<u4")
    n_inputs, n_outputs, n_values, n_layers, n_tensors, n_pool, n_meta, n_strings = (
        int(w) for w in words[5:13]
    )
    at = 16

    def section(count: int, size: int) -> list[list[int]]:
        nonlocal at
        rows = words[at : at + count * size].reshape(count, size).tolist()
        at += count * size
        return rows

    n_ports, n_bindings = n_inputs + n_outputs, int(words[15])
    io = section(n_ports + 2 * n_bindings, 8)
    values = section(n_values, 4)
    layers = section(n_layers, 8)
    tensors = section(n_tensors, 8)
    pool = [row[0] for row in section(n_pool, 1)]
    meta = section(n_meta, 2)
    table = bytes(view[4 * at : 4 * at + n_strings])

    def text(offset: int) -> str:
        return table[offset : table.index(b"\0", offset)].decode("utf-8", "surrogateescape")

    def tensor(index: int) -> np.ndarray:
        offset, size, layout, gates, k, units, panel, _ = tensors[index]
        data = np.frombuffer(view[offset : offset + size], "<f4")
        return unpack(data, gates, k, units, panel) if layout else data

    names = [text(v[0]) for v in values]
    graph = g.Graph(provenance={text(k): text(v) for k, v in meta})
    bound: list[g.Value] = []
    for i, (name, value, dtype, rank, dims, time, _, _) in enumerate(io):
        if text(name) != names[value]:
            raise FormatError("an input or output is named unlike its value")
        axes: list[g.Axis] = []
        clock = g.TIME
        for d in pool[dims : dims + rank]:
            if d <= MAX_SIZE:
                axes.append(d)
            else:
                axes.append(g.BATCH if d == BATCH_CODE else g.TIME)
                if d < TIME_CODE:
                    clock = f"{g.TIME}{TIME_CODE - d}"
        into = graph.inputs if i < n_inputs else graph.outputs if i < n_ports else bound
        constant = 0  # steps
        given = into is graph.inputs or (into is bound and len(bound) % 2 == 0)
        if given and values[value][2] == 2 and pool[values[value][3]] == NONE:
            constant = pool[values[value][3] + 1]
        call = constant if n_bindings and into is graph.inputs else 0
        into.append(
            g.Value(
                text(name), tuple(axes), g.DTYPES[dtype], time or None,
                None if constant and not call else clock, call,
            )
        )  # fmt: skip
    graph.bindings = [g.Binding(*pair) for pair in zip(bound[::2], bound[1::2], strict=True)]

    for code, name, inputs, outputs, stored, n_params, start, _ in layers:
        kind = g.LAYERS[code]
        refs = pool[start : start + inputs + outputs]
        fields: dict[str, object] = {}
        start += inputs + outputs
        for (field_name, field_meta), ref in zip(
            kind.tensor_fields(), pool[start : start + stored], strict=False
        ):
            if ref != NONE:
                array = tensor(ref)
                fields[field_name] = array[:, 0] if field_meta["vector"] else array
        start += stored
        fields.update(_read_params(kind, pool[start : start + n_params]))
        graph.layers.append(
            kind(
                name=text(name),
                inputs=tuple(None if r == NONE else names[r] for r in refs[:inputs]),
                outputs=tuple(None if r == NONE else names[r] for r in refs[inputs:]),
                **fields,
            )
        )
    graph.infer()

    batch, time = (int(w) for w in words[13:15])
    if not batch:
        return graph, None
    golden = Golden(batch, time, {}, {})
    for i, v in enumerate(graph.inputs):
        sizes = [int(n or 0) for n in v.shape(batch, v.time if v.clock is None else time)]
        golden.inputs[v.name] = tensor(io[i][6]).reshape(sizes)
    golden.digests = {v.name: io[n_inputs + i][7] for i, v in enumerate(graph.outputs)}
    return graph, golden


def with_digests(golden: Golden, digests: Mapping[str, int]) -> Golden:
    """The same sample with the digests of the outputs that it gave."""
    return Golden(golden.batch, golden.time, golden.inputs, dict(digests))
