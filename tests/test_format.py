"""The .lstmc file: there and back, old files for ever, and nothing that a damaged one can do."""

import contextlib
import copy
import dataclasses
import itertools
import json
import os
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from helpers import (
    BATCH,
    DATA,
    LONG,
    TIME,
    Net,
    assert_same,
    lstm_graph,
    pointwise_graph,
    predict,
    random_graph,
    random_inputs,
    sequence_graph,
    stateful_graph,
)
from hypothesis import strategies as st

import lstmc
from lstmc import FormatError, _core, format
from lstmc import graph as g
from lstmc.model import from_graph

PANELS = (1, 2, 4, 8, 16)

# Made by the first release with tests/tools/make_v1_files.py: CRC-32 of the whole file, digests of
# the outputs of its golden sample. These lines and these files never change.
V1_FILES = {
    "v1_lstm.lstmc": (0x8965FA60, [0xCAAE603A]),
    "v1_stack.lstmc": (
        0x9903B524,
        [0x70AC7E0A, 0xBE4D694D, 0x278FDFC4, 0x283BAC4D, 0x27F6AA2B, 0x7BA0CDDC],
    ),
    "v1_functions.lstmc": (
        0x0BC87A1E,
        [0xF1002D5E, 0x0E377DCB, 0x14A6F080, 0x9436708F, 0xC3208143, 0xFFF0E9E3, 0x58D6EF0F,
         0xEBFFD782],
    ),
    "v1_names.lstmc": (0x074A0CFB, [0x076AB8C9]),
    "v1_recurrent.lstmc": (
        0xC29A3C42,
        [0x9BD6E241, 0xC5E5AEF4, 0x371ACFEC, 0x6D40FA78, 0xDE208A16, 0x9FF26759, 0x57CFA9E9,
         0xA61E2A34, 0x1B5790DD, 0xE8C01338, 0xE1CC70FE, 0x39AF34EA, 0xF887030A, 0x96C0AE1C,
         0x97C79DD0, 0xDDAAC8BC, 0x0AD53596, 0xCA0931A6, 0x3B2C0C82, 0x9BF9FF4D, 0x445CE844,
         0xB8D7238E, 0x0E31FBDE, 0xE75170F5, 0x5022C067, 0x8B079FFE, 0xFAC43BC3, 0xE3FC9FBA],
    ),
    "v1_directions.lstmc": (
        0x8FFFCD24,
        [0xC81BF4C8, 0x56F9954C, 0xE6B09CC1, 0x6AF5B404, 0x87C5EF0B, 0x9A7FFADC, 0xC73377A4,
         0xA76C4E11, 0x53714BB8, 0x6EDD4400, 0x87596AD2, 0xF6A372B4, 0x16CC2545, 0xA08B6DAD,
         0xBE0F6FAA],
    ),
    "v1_stateful.lstmc": (0x1AA71F4E, [0xA831A844, 0x1D64E718]),
}  # fmt: skip


def with_crc(blob):
    """The same bytes with the checksum that fits: word 3, of all that is behind it."""
    return bytes(blob[:12]) + struct.pack("<I", zlib.crc32(blob[16:])) + bytes(blob[16:])


def set_word(blob, index, value):
    changed = bytearray(blob)
    struct.pack_into("<I", changed, 4 * index, value & 0xFFFFFFFF)
    return bytes(changed)


def word(blob, index):
    return struct.unpack_from("<I", blob, 4 * index)[0]


def assert_graphs_equal(a, b):
    """Every field, weights bit for bit."""
    assert a.inputs == b.inputs
    assert a.outputs == b.outputs
    assert a.provenance == b.provenance
    assert a.bindings == b.bindings
    assert len(a.layers) == len(b.layers)
    for p, q in zip(a.layers, b.layers, strict=True):
        assert type(p) is type(q)
        for f in dataclasses.fields(p):
            x, y = getattr(p, f.name), getattr(q, f.name)
            if isinstance(x, np.ndarray):
                assert x.dtype == y.dtype == np.float32
                assert x.shape == y.shape
                assert x.tobytes() == y.tobytes(), f.name
            elif isinstance(x, g.Fn):
                assert x.kind == y.kind
                assert np.float32([x.alpha, x.beta]).tolist() == [y.alpha, y.beta]
            elif isinstance(x, float):
                assert np.float32(x) == y
            else:
                assert x == y


# ------------------------------------------------------------------------------- there and back


@pytest.mark.parametrize("units", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 25, 33])
@pytest.mark.parametrize("panel", PANELS)
def test_pack_and_unpack(units, panel):
    rng = np.random.default_rng(units)
    for gates in (1, 4):
        for k in (1, 3):
            a = rng.integers(0, 2**32, (gates * units, k), np.uint32).view(np.float32)
            packed = format.pack(a, gates, panel)
            assert packed.size == gates * k * sum(format.panel_widths(units, panel))
            assert format.unpack(packed, gates, k, units, panel).tobytes() == a.tobytes()
            vector = format.pack(a[:, 0], gates, panel)
            assert format.unpack(vector, gates, 1, units, panel).tobytes() == a[:, 0].tobytes()
            assert np.count_nonzero(packed.view(np.uint32)) <= np.count_nonzero(a.view(np.uint32))


def test_panels_are_laid_out_as_specified():
    """[panel][k][gate][unit], the last panel half as wide where that suffices."""
    a = np.arange(4 * 6 * 2, dtype=np.float32).reshape(24, 2) + 1
    packed = format.pack(a, 4, 4)
    at = 0
    for start, width in ((0, 4), (4, 2)):
        for k in range(2):
            for gate in range(4):
                for unit in range(start, start + width):
                    assert packed[at] == a[gate * 6 + unit, k]
                    at += 1
    assert at == packed.size
    assert list(format.panel_widths(6, 4)) == [4, 2]
    assert list(format.panel_widths(7, 4)) == [4, 4]
    assert list(format.panel_widths(3, 1)) == [1, 1, 1]


@hypothesis.settings(
    max_examples=2000 if LONG else 100, deadline=None, derandomize=not LONG, database=None
)
@hypothesis.given(seed=st.integers(0, 2**32 - 1), panel=st.sampled_from(PANELS))
def test_round_trip(seed, panel):
    graph = random_graph(seed, sequential=seed % 4 != 0)
    rng = np.random.default_rng(seed)
    for layer in graph.layers:  # any bits are weights: NaN payloads, subnormals, -0
        for _, _, array in layer.tensors():
            if array is not None and rng.random() < 0.3:
                array[...] = rng.integers(0, 2**32, array.shape, np.uint32).view(np.float32)
    model = from_graph(graph, panel=panel)
    blob = model.to_bytes()
    back, golden = format.loads(blob)
    assert_graphs_equal(graph, back)
    assert golden.digests.keys() == {v.name for v in graph.outputs}
    assert format.dumps(back, golden, panel) == blob
    assert lstmc.Model(blob).to_bytes() == blob
    other = PANELS[seed % 5]
    again, _ = format.loads(format.dumps(back, golden, other))
    assert_graphs_equal(graph, again)
    assert format.dumps(again, golden, panel) == blob


@pytest.mark.parametrize("golden", [True, False])
def test_without_a_golden_sample(golden):
    graph = lstm_graph(2, 3)
    sample = from_graph(graph).golden if golden else None
    model = lstmc.Model(format.dumps(graph, sample))
    assert (model.golden is None) == (not golden)
    model.check_golden()
    assert model.predict(np.zeros((1, 2, 2), np.float32))


def test_writing_is_deterministic():
    blobs = {from_graph(random_graph(5)).to_bytes() for _ in range(3)}
    blobs.add(from_graph(copy.deepcopy(random_graph(5))).to_bytes())
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import zlib; from helpers import random_graph; from lstmc.model import from_graph;"
        "print(zlib.crc32(from_graph(random_graph(5)).to_bytes()))"
    )
    for seed in ("0", "1"):
        out = subprocess.run(
            [sys.executable, "-c", program, str(Path(__file__).parent)],
            check=True, capture_output=True, text=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        )  # fmt: skip
        assert int(out.stdout) == zlib.crc32(next(iter(blobs)))
    assert len(blobs) == 1


def test_save_load_and_pickle(tmp_path):
    graph = random_graph(3)
    model = from_graph(graph)
    model.save(tmp_path / "a b.lstmc")
    assert (tmp_path / "a b.lstmc").read_bytes() == model.to_bytes()
    assert list(tmp_path.iterdir()) == [tmp_path / "a b.lstmc"]
    inputs = random_inputs(graph, 0, 2, 3)
    loaded = lstmc.load(tmp_path / "a b.lstmc", verify=True)
    for other in (loaded, pickle.loads(pickle.dumps(model)), lstmc.Model(model.to_bytes())):
        assert_same(predict(other, inputs), predict(model, inputs))
        assert other.to_bytes() == model.to_bytes()


def test_header_is_as_specified():
    blob = from_graph(lstm_graph(3, 5)).to_bytes()
    assert blob[:8] == b"LSTMC\r\n\x1a"
    assert word(blob, 2) == 1
    assert word(blob, 3) == zlib.crc32(blob[16:])
    assert word(blob, 4) == len(blob)
    assert len(blob) % 64 == 0
    assert [word(blob, i) for i in range(5, 9)] == [1, 3, 4, 1]  # inputs outputs values layers
    assert [word(blob, i) for i in (13, 14, 15)] == [2, 16, 0]  # golden rows and steps, flags


# -------------------------------------------------------------------------------------- for ever


@pytest.mark.parametrize("name", V1_FILES)
def test_version_1_files_load_for_ever(name):
    crc, digests = V1_FILES[name]
    blob = (DATA / name).read_bytes()
    assert zlib.crc32(blob) == crc, "the file has been changed: it must stay as it was"
    model = lstmc.load(DATA / name, verify=True)
    assert list(model.golden.digests.values()) == digests
    for target in lstmc.targets():
        lstmc.set_target(target)
        assert list(model._run_golden(model.golden).values()) == digests, target
    graph, golden = format.loads(blob)
    again = format.loads(format.dumps(graph, golden))
    assert_graphs_equal(again[0], graph)


def test_every_version_1_file_is_listed():
    assert {p.name for p in DATA.glob("v1_*.lstmc")} == set(V1_FILES)


def test_what_version_1_files_hold():
    graph = lstmc.load(DATA / "v1_names.lstmc").graph
    assert graph.inputs == [g.Value("输入/x:0", (BATCH, TIME), time=7)]
    assert graph.layers[0].name == "слой"
    assert graph.provenance["file"] == "été.keras"
    assert graph.layers[0].weight_ih[:2].tolist() == [[-0.578125], [-0.234375]]
    kinds = [type(layer) for layer in lstmc.load(DATA / "v1_stack.lstmc").graph.layers]
    assert kinds == [g.LSTM, g.Dense, g.LSTM, g.LastStep, g.Dense, g.Softmax]


# --------------------------------------------------------------------------------------- damaged


def small_models():
    net = Net(1)
    x, y = net.input(2), net.input(3, time=False, order="bf")
    out = net.lstm(x, 3, outputs="sh", candidate=g.HARD_SIGMOID_ONNX)
    last = net.simple(g.LastStep, net.dense(out["s"], 2, bias=False))
    p = net.simple(g.Softmax, net.simple(g.Activation, y, activation=g.RELU))
    mixed = net.graph(out["h"], last, p)
    return [
        from_graph(mixed, panel=4).to_bytes(),
        (DATA / "v1_names.lstmc").read_bytes(),
        format.dumps(lstm_graph(1, 2, outputs="h", bias=False), None, 2),
        format.dumps(pointwise_graph(), None, 4),
        format.dumps(sequence_graph(), None, 4),
        from_graph(stateful_graph(scattered=True), panel=2).to_bytes(),
    ]


def test_any_flipped_bit_is_found():
    blob = small_models()[1]
    for i in range(8 * len(blob)):
        damaged = bytearray(blob)
        damaged[i // 8] ^= 1 << i % 8
        with pytest.raises(FormatError):
            lstmc.Model(bytes(damaged))


@pytest.mark.parametrize("fixed", [False, True])
def test_truncated_at_every_length(fixed):
    """Also with the size and the checksum corrected, so that only the records can show it."""
    blob = small_models()[0]
    for n in range(len(blob)):
        short = blob[:n]
        if fixed and n >= 64:
            short = with_crc(set_word(short, 4, n))
        with pytest.raises(FormatError):
            lstmc.Model(short)
        if not fixed and any(blob[n:]):
            with pytest.raises(FormatError):
                lstmc.Model(short + bytes(len(blob) - n))


def test_longer_than_it_says():
    blob = small_models()[0]
    for more in (1, 4, 64, 128):
        with pytest.raises(FormatError):
            lstmc.Model(blob + bytes(more))
        with pytest.raises(FormatError):
            lstmc.Model(with_crc(set_word(blob + bytes(more), 4, len(blob) + more)))


def test_random_bytes():
    rng = np.random.default_rng(0)
    blob = small_models()[0]
    for n in range(500):
        junk = rng.bytes(int(rng.integers(0, 700)))
        with pytest.raises(FormatError):
            lstmc.Model(junk)
        size = 64 * int(rng.integers(1, 20))
        junk = blob[: 16 + 8 * (n % 60)] + rng.bytes(size)
        junk = junk[: len(junk) // 64 * 64]
        with pytest.raises(FormatError):
            lstmc.Model(with_crc(set_word(junk, 4, len(junk))))


@pytest.mark.parametrize(
    ("index", "value", "says"),
    [
        (0, 0x04034B50, "not an lstmc model"), (1, 0x0A0D430A, "not an lstmc model"),
        (2, 0, "version"), (2, 2, "version"), (2, 0xFFFFFFFF, "version"),
        (3, 0, "checksum"), (4, 0xFFFFFFC0, "truncated"),
        (15, 0x10000, "unknown"), (15, 0x80000000, "unknown"), (15, 1, "invalid"),
        (15, 257, "invalid"), (15, 0xFFFF, "invalid"),
    ],
)  # fmt: skip
def test_header_errors_say_what_is_wrong(index, value, says):
    blob = set_word(small_models()[0], index, value)
    with pytest.raises(FormatError, match=says):
        lstmc.Model(blob if index == 3 else with_crc(blob))


def test_unknown_layers_and_functions_are_named():
    blob = small_models()[2]
    layer = 16 + 8 * 2 + 4 * 2  # behind the header, two io records, two values
    assert word(blob, layer) == 1
    for code in (0, 99, 0xFFFFFFFF):
        with pytest.raises(FormatError, match=r"unknown.*layer 0"):
            lstmc.Model(with_crc(set_word(blob, layer, code)))
    params = 16 + 8 * 2 + 4 * 2 + 8 + 8 * word(blob, 9) + word(blob, layer + 6) + 1 + 3 + 3
    assert [word(blob, params + i) for i in (0, 3, 6)] == [1, 2, 2]
    for i in (0, 3, 6):
        for code in (len(g.FN_CODES), 0xFFFFFFFF):
            with pytest.raises(FormatError, match=r"unknown.*layer 0"):
                lstmc.Model(with_crc(set_word(blob, params + i, code)))


def test_the_core_takes_the_parameters_that_the_graph_takes():
    """Every kind with every kind of number, asked of the core and of g.Fn."""
    net = Net(1)
    name = net.simple(g.Activation, net.input(2), activation=g.Fn("affine", 0.25, -0.75))
    blob = format.dumps(net.graph(name), None, 1)
    marks = [i for i in range(16, len(blob) // 4) if word(blob, i) == 0xBF400000]  # -0.75
    assert len(marks) == 1 and word(blob, marks[0] - 2) == g.FN_CODES["affine"]
    at = marks[0] - 2
    numbers = (0.0, -0.0, 1.0, -1.0, 1e-45, 2.0**60, 2.0**61, 3.4e38, np.inf, -np.inf, np.nan)
    allowed = 0
    for (kind, code), alpha, beta in itertools.product(g.FN_CODES.items(), numbers, numbers):
        values = np.float32([alpha, beta])
        count = len(g.PARAMETERS.get(kind, ()))
        good = not values[count:].view(np.uint32).any()  # in a file what is not taken is +0
        try:
            g.Fn(kind, *map(float, values[:count]))
        except lstmc.ConversionError:
            good = False
        changed = set_word(blob, at, code)
        for i, bits in enumerate(values.view(np.uint32)):
            changed = set_word(changed, at + 1 + i, int(bits))
        if good:
            lstmc.Model(with_crc(changed))
        else:
            with pytest.raises(FormatError, match=r"unknown.*layer 0"):
                lstmc.Model(with_crc(changed))
        allowed += good
    assert allowed > 500


def test_states_that_make_no_sense_are_refused():
    """Word by word, behind a checksum that fits: what a state's records must be."""
    model = from_graph(stateful_graph(), panel=2)
    blob = model.to_bytes()
    n_in, n_out, states = word(blob, 5), word(blob, 6), word(blob, 15)
    assert (n_in, n_out, states) == (3, 2, 2)
    io = 16
    first = io + 8 * (n_in + n_out)  # takes h, gives h, takes the cache, gives it
    values = first + 8 * 2 * states
    pool = values + 4 * word(blob, 7) + 8 * word(blob, 8) + 8 * word(blob, 9)

    def record(value):
        return values + 4 * value

    def dims(at):
        return pool + word(blob, at + 4)

    takes = [word(blob, first + 16 * i + 1) for i in range(states)]
    gives = [word(blob, first + 16 * i + 9) for i in range(states)]
    assert takes == [n_in, n_in + 1]
    assert word(blob, record(takes[0]) + 1) == 4
    cases = {
        "no states": {15: 0}, "one": {15: 1}, "three": {15: 3}, "too many": {15: 257},
        "takes an input": {first + 1: 0}, "takes the other": {first + 1: takes[1]},
        "both swapped": {first + 1: takes[1], first + 17: takes[0]},
        "takes what a layer makes": {first + 1: gives[0]},
        "takes nothing": {first + 1: 0xFFFFFFFF},
        "gives itself": {first + 9: takes[0]}, "gives the other": {first + 9: takes[1]},
        "gives an input": {first + 9: 0}, "gives what there is not": {first + 9: word(blob, 7)},
        "gives nothing": {first + 9: 0xFFFFFFFF},
        "two give the same": {first + 25: gives[0]},
        "more floats than are given": {record(takes[0]) + 1: 8, dims(first) + 2: 8},
        "fewer than are given": {record(takes[0]) + 1: 2, dims(first) + 2: 2},
        "very many": {record(takes[0]) + 1: 1 << 24, dims(first) + 2: 1 << 24},
        "axes of another size": {dims(first) + 2: 5},
        "no batch axis, but many rows": {dims(first) + 1: 1},
        "has the time of the file": {dims(first): 0xFFFFFFFE},
        "a time of its own": {record(takes[0]) + 2: 1},
        "a sample": {first + 6: 0}, "a digest": {first + 15: 1},
        "steps insisted on": {first + 5: 3},
        "a dtype": {first + 2: 99},
        "its steps are not its own": {first + 16 + 5: 2},
        "an input without time": {dims(io) + 1: 1},
        "an input with two times": {dims(io) + 2: 0xFFFFFFFE},
        "an input on another clock": {dims(io) + 1: 0xFFFFFFFD},
        "an input with fixed time": {io + 5: 4},
        "an output with fixed time": {io + 8 * n_in + 5: 4},
        "an output is a state's input": {io + 8 * n_in + 1: takes[0]},
        "a value with the file's clock": {record(gives[0]) + 2: 1},
    }  # fmt: skip
    for name, changes in cases.items():
        changed = blob
        for index, value in changes.items():
            assert word(changed, index) != value, name
            changed = set_word(changed, index, value)
        with pytest.raises(FormatError) as e:
            lstmc.Model(with_crc(changed))
        assert "unknown" in str(e.value) if name == "a dtype" else "invalid" in str(e.value), name


def test_names_of_states_may_be_any_bytes():
    """They come from the file, as other names do."""
    blob = from_graph(stateful_graph(), panel=2).to_bytes()
    n_in, n_out, states = word(blob, 5), word(blob, 6), word(blob, 15)
    io = 16 + 8 * (n_in + n_out)
    strings = io + 16 * states + 4 * word(blob, 7) + 8 * word(blob, 8) + 8 * word(blob, 9)
    strings = 4 * (strings + word(blob, 10) + 2 * word(blob, 11))
    for i in range(2):  # what takes the first state, and what gives it
        at = strings + word(blob, io + 8 * i)
        blob = blob[:at] + b"\xff" + blob[at + 1 :]
    (taken, given, _), _ = lstmc.Model(with_crc(blob)).stream()._states
    assert taken.startswith("\udcff") and given.startswith("\udcff")


def aligned(blob):
    """The same bytes where the core takes them without a copy."""
    room = np.zeros(len(blob) + 64, np.uint8)
    start = -room.ctypes.data % 64
    room[start : start + len(blob)] = np.frombuffer(blob, np.uint8)
    return room[start : start + len(blob)]


def test_tensors_are_as_large_as_their_shape():
    """By the core alone: format.loads would notice, too. The last weights end early, and the file
    and the record agree about it."""
    blob = format.dumps(lstm_graph(5, 8, outputs="h"), None, 8)
    record = (16 + 8 * 2 + 4 * 2 + 8) + 8 * (word(blob, 9) - 1)
    offset, size = word(blob, record), word(blob, record + 1)
    assert offset + size == len(blob)
    _core.Model(aligned(blob))
    for less in range(4, size, 4):
        end = offset + (size - less + 63) // 64 * 64
        short = blob[: offset + size - less].ljust(end, b"\0")
        short = set_word(set_word(short, 4, end), record + 1, size - less)
        with pytest.raises(FormatError):
            _core.Model(aligned(with_crc(short)))
    for i in range(1, 8):
        old = word(blob, record + i)
        for value in {0, 1, 2, 4, 16, old + 1, old - 1, 2 * old, old // 2} - {old}:
            with pytest.raises(FormatError):
                _core.Model(aligned(with_crc(set_word(blob, record + i, value))))


def test_golden_samples_of_more_floats_than_64_bits_count():
    """By the core alone: rows * steps * features is 2**64 + 26, and the tensor has 26 floats."""
    net = Net(1)
    net.inputs = [g.Value("x", (BATCH, TIME, 2), time=13, clock=None)]
    net.specs = {"x": net.inputs[0].spec}
    model = from_graph(net.graph(net.simple(g.Reverse, "x")), panel=2)
    golden = format.Golden(1, 1, {"x": np.zeros((1, 13, 2), np.float32)})
    blob = format.dumps(model.graph, golden, 2)
    values = 16 + 8 * 2
    pool = values + 4 * word(blob, 7) + 8 * word(blob, 8) + 8 * word(blob, 9)
    rows, steps, features = 460321, 3528238, 11357979
    assert rows * steps * features == 2**64 + 26 and word(blob, values + 1) == 2
    _core.Model(aligned(blob))
    for index in (values + 1, values + 5, *(pool + word(blob, 16 + 8 * i + 4) + 2 for i in (0, 1))):
        blob = set_word(blob, index, features)
    for value in (0, 1):
        blob = set_word(blob, pool + word(blob, values + 4 * value + 3) + 1, steps)
    blob = set_word(set_word(blob, 16 + 5, steps), 13, rows)
    with pytest.raises(FormatError, match="invalid"):
        _core.Model(aligned(with_crc(blob)))


def test_unaligned_blob():
    blob = small_models()[0]
    room = np.zeros(len(blob) + 64, np.uint8)
    start = -room.ctypes.data % 64
    want = lstmc.Model(blob)
    for offset in (0, 1, 2, 3, 4, 16):
        view = room[start + offset : start + offset + len(blob)]
        view[:] = np.frombuffer(blob, np.uint8)
        if offset % 4:
            with pytest.raises(FormatError, match="aligned"):
                _core.Model(view)
        else:
            _core.Model(view)
        assert lstmc.Model(view.data).to_bytes() == want.to_bytes()  # copied
        inputs = random_inputs(want.graph, 0, 1, 2)
        assert_same(predict(lstmc.Model(view), inputs), predict(want, inputs))


def test_foreign_files(tmp_path):
    for content in (b"", b"\0", b"PK\3\4" + bytes(100), b"\x89HDF\r\n\x1a\n" + bytes(100),
                    b"LSTMC\n\x1a" + bytes(100), b"LSTMC\r\n\x1a"):  # fmt: skip
        path = tmp_path / "m.lstmc"
        path.write_bytes(content)
        with pytest.raises(FormatError, match=r"m\.lstmc"):
            lstmc.load(path)
    with pytest.raises(FileNotFoundError):
        lstmc.load(tmp_path / "none.lstmc")
    with pytest.raises(IsADirectoryError):
        (tmp_path / "d.lstmc").mkdir()
        lstmc.load(tmp_path / "d.lstmc")


# Run apart: what gets past the checks must not take the tests along.
HOSTILE = """
import contextlib, json, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import lstmc
from test_format import set_word, small_models, with_crc, word
counts = {"refused": 0, "accepted": 0, "ran": 0}
blob = small_models()[int(sys.argv[2])]
values = (0, 1, 2, 0xffffffff, 0xfffffffe, 0x7fffffff, 0x80000000, 0x7f800001, len(blob))
for i in range(4, len(blob) // 4):
    old = word(blob, i)
    tries = {*values, old + 1 & 0xffffffff, old - 1 & 0xffffffff, old + 4 & 0xffffffff,
             old + 64 & 0xffffffff, old * 2 & 0xffffffff} - {old}
    for value in sorted(tries):
        print(i, hex(value), file=sys.stderr, flush=True)
        try:
            model = lstmc.Model(with_crc(set_word(blob, i, value)))
        except lstmc.FormatError:
            counts["refused"] += 1
            continue
        counts["accepted"] += 1
        model.summary()
        try:
            model.check_golden()
        except lstmc.FormatError:
            pass
        time = next((v.time for v in model.graph.inputs if v.time and v.clock), 20)
        shapes = [v.shape(2, time) for v in model.graph.inputs + model.graph.outputs]
        if max(np.prod(s, dtype=float) for s in shapes) > 1e6:
            continue
        steps = lambda v: v.time if v.clock is None else time
        x = {v.name: np.ones(v.shape(2, steps(v)), np.float32) for v in model.graph.inputs}
        # A table of one entry: 1 is no index. Or a layer that leaves no steps of so few.
        with contextlib.suppress(lstmc.errors.RangeError, lstmc.ShapeError):
            model.predict(x, lengths=[time, 1])
            counts["ran"] += 1
print(json.dumps(counts))
"""


@pytest.mark.parametrize("which", range(6))
def test_every_word_with_hostile_values(which):
    """The checksum fits, so all that stands between these and a crash are the checks."""
    out = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HOSTILE, str(Path(__file__).parent), str(which)],
        check=False, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert out.returncode == 0, (out.returncode, out.stderr[-1500:])
    counts = json.loads(out.stdout)
    assert counts["refused"] > 300
    assert counts["accepted"] > 300  # weights, names, samples
    assert counts["ran"] > 0.9 * counts["accepted"]


@hypothesis.settings(
    max_examples=20000 if LONG else 1500, deadline=None, derandomize=not LONG, database=None
)
@hypothesis.given(
    which=st.integers(0, 5),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 2**32 - 1)), max_size=4),
    near=st.lists(st.tuples(st.integers(0, 400), st.integers(-3, 3)), max_size=3),
)
def test_random_changes_give_format_errors_only(which, changes, near):
    blob = SMALL[which]
    n = len(blob) // 4 - 4
    for i, value in changes:
        blob = set_word(blob, 4 + i % n, value)
    for i, step in near:
        blob = set_word(blob, 4 + i % n, word(blob, 4 + i % n) + step)
    with contextlib.suppress(FormatError):
        lstmc.Model(with_crc(blob))


SMALL = small_models()
