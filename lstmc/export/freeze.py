"""A session as constants: what the core lays out for one row, read and given names of C.

Everything comes from the core itself (``_core.freeze``): the records that its layers prepare are
read by the structs that its sources declare, so nothing here knows what a layer computes.
"""

from __future__ import annotations

import ctypes
import re
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .. import _core, format
from .. import graph as g
from ..errors import Error, ShapeError
from ..model import Model
from ..presets import Preset
from . import sources
from .training import Train, Training, find

MOST_STEPS = 1 << 24  # of a session (LSTMC_MAX_SIZE)
QUICK = "lstmc_quick_run"  # one step of a recurrent layer without options
POINTER = struct.calcsize("P")  # here, not on the chip
ADDRESS = {4: "I", 8: "Q"}[POINTER]
TYPES = {"uint32_t": ("I", 4), "float": ("f", 4), "size_t": (ADDRESS, POINTER), "int": ("i", 4)}


@dataclass(frozen=True)
class Pointer:
    """A pointer of a record: into the weights (floats), into those that are trained or their
    gradients, into the pool (words), at a constant of the core's text, or nowhere."""

    where: str  # "weights", "trained", "gradients", "words", "cell", "null"
    at: int = 0  # the place in all weights, or in all words
    name: str = ""


@dataclass(frozen=True)
class Port:
    """An input or output: ``floats`` of a call, steps of ``features``.

    ``outer`` > 1: so many sizes stand before time, and the steps are copied.
    """

    name: str
    identifier: str
    value: int
    features: int
    steps: int
    outer: int
    has_time: bool
    axes: tuple[g.Axis, ...]
    dtype: str

    @property
    def floats(self) -> int:
        return self.features * self.steps


@dataclass(frozen=True)
class Layer:
    """A layer: how it runs, its record, and its place in the state."""

    name: str
    kind: str
    file: str
    run: str
    reset: str | None
    record: str
    fields: dict[str, Any]
    state: int
    state_floats: int


@dataclass
class Frozen:
    """All that a firmware is made of. Sizes are in floats."""

    model: Model
    preset: Preset
    time: int
    fresh: bool  # every call begins anew
    inputs: list[Port]
    outputs: list[Port]
    #: Of each value: its place (state, then values between layers) or None for the caller's
    #: arrays; its features; its steps; whether it has time.
    values: list[tuple[int | None, int, int, bool]]
    layers: list[Layer]
    bindings: list[tuple[int, int, int]]  # value that takes a state, value that gives it, floats
    state: int
    between: int
    scratch: int
    weights: np.ndarray
    words: list[int] = field(default_factory=list)
    functions: set[str] = field(default_factory=set)
    cells: set[str] = field(default_factory=set)  # "LSTM", "GRU": those of fused layers
    training: Training | None = None

    @property
    def parities(self) -> list[int]:
        """The layers that have two buffers for their state, which take turns."""
        return [i for i, x in enumerate(self.layers) if x.record == "lstmc_recurrent"]

    @property
    def floats(self) -> int:
        """State, values and scratch: a step and a sequence of training share what is not kept."""
        work = self.between + self.scratch
        return self.state + max(work, self.training.work if self.training else 0)

    def ram(self, pointer: int | None = None) -> int:
        """Bytes of the arena, where a pointer has so many."""
        pointer = pointer or self.preset.pointer_bytes
        tables = len(self.values) * 3 * pointer
        floats = self.floats + len(self.parities)
        if self.training:
            floats += self.training.kept
        return -(-(tables + 4 * floats) // pointer) * pointer

    def ram_without_training(self, pointer: int | None = None) -> int:
        return replace(self, training=None).ram(pointer)


def identifier(name: str, taken: set[str], otherwise: str) -> str:
    """A name of C like ``name``, that is not taken yet."""
    word = re.sub(r"\W+", "_", name, flags=re.A).strip("_").lower() or otherwise
    if word[0].isdigit() or word in RESERVED or _OURS.fullmatch(word):
        word = f"{otherwise}_{word}"
    base, n = word, 2
    while word in taken:
        word, n = f"{base}{n}", n + 1
    taken.add(word)
    return word


_WORDS = """
    auto bool break case catch char class const continue default delete do double else enum export
    extern false float for friend goto if inline int long namespace new operator private protected
    public register restrict return short signed sizeof static struct switch template this throw
    true try typedef typename union unsigned virtual void volatile while and or not xor asm
    memory state call node mode main reset step selftest view views
    all clean install test help package
"""
#: Words of C and C++, and those that the generated files use themselves.
RESERVED = frozenset(_WORDS.split())

#: Names of parameters that would hide what NAME.c and the example use: their own variables and
#: functions, the core's, the standard headers'.
_OURS = re.compile(
    r"lstmc\w*|layer\d+|\w+_(run|reset|step|selftest|memory|view|weights)|[a-z0-9]*(int|size)\d*_t"
    r"|bind|copy_(in|out)|digest|memcpy|only|places|printf|strides|value_(features|steps)|words|[it]"
)


def freeze(
    model: Model, preset: Preset, time: int | None = None, train: Train | None = None
) -> Frozen:
    """The session of a firmware for a preset: one row, and the steps of one call.

    ``time``: steps of a call, for models that need a whole sequence; others take one step.
    ``train``: with a trainer for one row. Raises ShapeError where steps are missing or can't go,
    and what :func:`lstmc.export.training.find` does.
    """
    graph = model.graph
    packed = Model(format.dumps(graph, None, preset.panel))
    trainer = find(packed, train) if train else None
    if train and time is None and not packed._core.cuttable:
        time = train.time  # a call takes what a sequence for training is
    steps = _steps_of_a_call(packed, time)
    try:
        found = _core.freeze(packed._core, steps)
    except Error as e:
        raise ShapeError(f"a call of {steps} steps can't be laid out: {e}") from e
    blob = packed.to_bytes()
    weights = Weights(blob, trainer.trained if trainer else ())
    frozen = Frozen(
        packed, preset, steps, not packed._core.cuttable and not graph.bindings,
        [], [], [], [], [], found["state"], found["values"], found["scratch"], weights.floats,
    )  # fmt: skip
    _add_values(frozen, found["places"])
    reader = Records(found["blob"], weights, frozen)
    for layer, (code, record, state, floats) in zip(graph.layers, found["layers"], strict=True):
        ops = sources.layers()[code]
        fields = reader.read(ops.record, record, ops.file)
        run, file, reset = ops.run, ops.file, ops.reset
        if ops.record == "lstmc_recurrent":
            quick = fields["fused"] and fields["quick"] and frozen.values[fields["x"]][2] == 1
            if fields["fused"]:
                frozen.cells.add("LSTM" if fields["gates"] == 4 else "GRU")
            if quick:
                run, file = QUICK, "layers/fused.c"
            if quick:
                fields["cell"] = Pointer("null")
            starts = fields["start_h"], fields["start_c"]
            reset = ops.reset if any(p.where != "null" for p in starts) else None
        frozen.layers.append(
            Layer(
                layer.name,
                type(layer).__name__,
                file,
                run,
                reset,
                ops.record,
                fields,
                state,
                floats,
            )
        )
    if trainer:
        frozen.training = trainer.freeze(frozen, reader)
    return frozen


def _steps_of_a_call(model: Model, time: int | None) -> int:
    graph = model.graph
    if model._core.cuttable or graph.bindings:
        if time not in (None, 1):
            raise ShapeError(
                "this model goes step by step: a call takes 1 step, state is kept; leave out the "
                "number of steps (--time)"
            )
        return 1
    if not graph.clocks:
        if time is not None:
            raise ShapeError("every input has a constant number of steps: --time says nothing here")
        return 1
    if time is None:
        raise ShapeError(
            "this model needs whole sequences: say how many steps a call takes, --time N"
        )
    if time < 1:
        raise ShapeError(f"a call of {time} steps is none")
    if time > MOST_STEPS:
        raise ShapeError(f"a call of {time} steps is beyond any memory: at most {MOST_STEPS}")
    return time


def _add_values(frozen: Frozen, places: list[int | None]) -> None:
    graph = frozen.model.graph
    specs = graph.infer()
    names = graph.written
    ids = {name: i for i, name in enumerate(names)}
    ports = [ids[v.name] for v in graph.inputs + graph.outputs]
    clocks = dict.fromkeys([] if graph.bindings else graph.clocks, frozen.time)
    for i, (name, place) in enumerate(zip(names, places, strict=True)):
        spec = specs[name]
        steps = 1 if spec.time is None else spec.time.count(clocks)
        if not steps:
            raise ShapeError(f"with {frozen.time} steps nothing is left of the value '{name}'")
        if place is not None:
            place = -1 - place if place < 0 else frozen.state + place
        if i in ports and (steps == 1 or graph.bindings):
            place = None  # the caller's array as it is: sizes lie in order within a step
        frozen.values.append((place, spec.features, steps, spec.time is not None))
    taken = {k for k, v in (("input", graph.inputs), ("output", graph.outputs)) if len(v) == 1}
    for values, made, kind in (
        (graph.inputs, frozen.inputs, "x"),
        (graph.outputs, frozen.outputs, "y"),
    ):
        for v in values:
            i = ids[v.name]
            place, features, steps, has_time = frozen.values[i]
            outer = 1
            if place is not None:
                before = v.axes[: v.axes.index(g.TIME)]
                outer = int(np.prod([a for a in before if not isinstance(a, str)], dtype=np.int64))
            if len(values) == 1:
                taken.add(kind)
            name = kind if len(values) == 1 else identifier(v.name, taken, kind)
            made.append(Port(v.name, name, i, features, steps, outer, has_time, v.axes, v.dtype))
    for b in graph.bindings:
        to, source = ids[b.input.name], ids[b.output.name]
        frozen.bindings.append((to, source, frozen.values[to][1] * frozen.values[to][2]))


class Weights:
    """The tensors of a file in panels, one after another, and where each of them was.

    Those of ``trained`` (numbers of tensors) come first.
    """

    def __init__(self, blob: bytes, trained: Collection[int] = ()) -> None:
        words = np.frombuffer(blob, "<u4")
        ports = int(words[5] + words[6] + 2 * (words[15] & 0xFFFF))
        at = 16 + 8 * ports + 4 * int(words[7]) + 8 * int(words[8])
        self.pool = at + 8 * int(words[9])
        self.trained = frozenset(trained)
        self.records = words[at : self.pool].reshape(-1, 8)
        self.places: dict[int, int] = {}  # of each tensor, in floats
        pieces, place = [], 0
        for i in sorted(range(len(self.records)), key=lambda i: i not in self.trained):
            offset, size, packed = (int(word) for word in self.records[i, :3])
            if packed:
                self.places[i] = place
                pieces.append(np.frombuffer(blob, "<f4", size // 4, offset))
                place += size // 4
        self.words = words
        self.floats = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)

    @property
    def trained_floats(self) -> int:
        return sum(int(self.records[i, 1]) // 4 for i in self.trained)

    def pointer(self, offset: int) -> Pointer:
        """To the float at this offset in the file."""
        for i, place in self.places.items():
            start = int(self.records[i, 0])
            if start <= offset < start + int(self.records[i, 1]):
                where = "trained" if i in self.trained else "weights"
                return Pointer(where, place + (offset - start) // 4)
        raise AssertionError(f"{offset} is in no tensor")


class Records:
    """Prepared records, read by the structs of the core's sources.

    ``moved`` has, for records of a trainer, where else floats are: (address, floats, pointer to
    the first).
    """

    def __init__(self, blob: tuple[int, int], weights: Weights, frozen: Frozen) -> None:
        self.start, self.size = blob
        self.weights = weights
        self.frozen = frozen
        self.kinds = sources.functions()
        self.moved: list[tuple[int, int, Pointer]] = []
        self.files: tuple[str, ...] = ()

    def read(self, record: str, data: bytes, *files: str) -> dict[str, Any]:
        """The fields of a record of a layer whose operations are in these files."""
        self.files = files
        fields, size = self._struct(record, data, 0)
        if size != len(data):
            raise AssertionError(f"{record}: {size} bytes by its declaration, {len(data)} in fact")
        return fields

    def _struct(self, record: str, data: bytes, at: int) -> tuple[dict[str, Any], int]:
        """A struct's fields that firmware has, and its size."""
        start, widest = at, 1
        made: dict[str, Any] = {}
        pointers = []
        for member in sources.structs()[record]:
            size, align = self._size(member)
            widest = max(widest, align)
            at += -at % align
            count = member.count or 1
            if member.frozen:
                values = [self._value(member, data, at + i * size) for i in range(count)]
                made[member.name] = values if member.count else values[0]
                if member.pointer and member.type == "const uint32_t":
                    pointers.append(member.name)
            at += size * count
        for name in pointers:  # so many words as the record's count says
            made[name] = self._words(made[name], made["count"])
        at += -(at - start) % widest
        return made, at - start

    def _size(self, member: sources.Field) -> tuple[int, int]:
        if member.pointer:
            return POINTER, POINTER
        if member.type in TYPES:
            return (TYPES[member.type][1],) * 2
        inner = sources.structs()[member.type]
        at, widest = 0, 1
        for m in inner:
            size, align = self._size(m)
            widest = max(widest, align)
            at += -at % align + size * (m.count or 1)
        return at + -at % widest, widest

    def _value(self, member: sources.Field, data: bytes, at: int) -> Any:
        if member.pointer:
            (address,) = struct.unpack_from("=" + ADDRESS, data, at)
            return self._pointer(member.type, address)
        if member.type in TYPES:
            return struct.unpack_from("=" + TYPES[member.type][0], data, at)[0]
        made, _ = self._struct(member.type, data, at)
        if member.type == "lstmc_fn":
            self.frozen.functions.add(self.kinds[made["kind"]])
        return made

    def _pointer(self, kind: str, address: int) -> Any:
        if not address:
            return Pointer("null")
        if kind == "const uint32_t":
            return address
        if kind == "const lstmc_cell":  # static in the core: it says itself which one it is
            cell = struct.unpack("=3I", ctypes.string_at(address, 12))
            return Pointer("cell", name=sources.cells(self.files)[cell])
        if kind in ("float", "const float"):
            for start, floats, first in self.moved:
                if start <= address < start + 4 * floats:
                    return Pointer(first.where, first.at + (address - start) // 4)
            return self.weights.pointer(address - self.start)
        return Pointer("cell", name=sources.constant(kind, self.files))

    def _words(self, address: Any, count: int) -> Pointer:
        if isinstance(address, Pointer):
            return address
        first = (address - self.start) // 4
        place = len(self.frozen.words)
        self.frozen.words += [int(w) for w in self.weights.words[first : first + count]]
        return Pointer("words", place)


def walk(fields: Mapping[str, Any]) -> Iterator[Any]:
    """Every value in a record, nested ones too."""
    for value in fields.values():
        if isinstance(value, dict):
            yield from walk(value)
        elif isinstance(value, list):
            yield from (x for v in value for x in (walk(v) if isinstance(v, dict) else [v]))
        else:
            yield value
