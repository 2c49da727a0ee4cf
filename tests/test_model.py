"""lstmc.Model and the functions around it, as a user of the package meets them."""

from __future__ import annotations

import itertools
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import lstmc
from lstmc import graph as g
from lstmc import reference
from lstmc.model import from_graph


def weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(0, 0.4, shape).astype(np.float32)


def lstm(name: str, inputs: int, units: int, x: str, outputs: tuple, seed: int = 0, **options):
    rng = np.random.default_rng(seed)
    return g.LSTM(
        name=name,
        inputs=(x,),
        outputs=outputs,
        weight_ih=weights(rng, 4 * units, inputs),
        weight_hh=weights(rng, 4 * units, units),
        bias=weights(rng, 4 * units),
        **options,
    )


def dense(name: str, inputs: int, units: int, x: str, y: str, **options):
    rng = np.random.default_rng(7)
    return g.Dense(
        name=name,
        inputs=(x,),
        outputs=(y,),
        weight=weights(rng, units, inputs),
        bias=weights(rng, units),
        **options,
    )


def sequence_graph(time: int | None = None) -> g.Graph:
    """[batch, time, 3] -> LSTM 10 -> Dense 2, at every step."""
    return g.Graph(
        [g.Value("x", (g.BATCH, g.TIME, 3), time=time)],
        [g.Value("y", (g.BATCH, g.TIME, 2))],
        [lstm("lstm", 3, 10, "x", ("s", None, None)), dense("dense", 10, 2, "s", "y")],
    )


def forecast_graph() -> g.Graph:
    """[batch, time, 3] -> relu LSTM 10, last step -> Dense 1."""
    cell = lstm("lstm", 3, 10, "x", (None, "h", None), candidate=g.RELU, output=g.RELU)
    return g.Graph(
        [g.Value("x", (g.BATCH, g.TIME, 3))],
        [g.Value("y", (g.BATCH, 1))],
        [cell, dense("dense", 10, 1, "h", "y")],
    )


def states_graph() -> g.Graph:
    """PyTorch's nn.LSTM, time first: output, h_n and c_n."""
    return g.Graph(
        [g.Value("x", (g.TIME, g.BATCH, 3))],
        [
            g.Value("output", (g.TIME, g.BATCH, 5)),
            g.Value("h_n", (1, g.BATCH, 5)),
            g.Value("c_n", (1, g.BATCH, 5)),
        ],
        [lstm("lstm", 3, 5, "x", ("output", "h_n", "c_n"))],
    )


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((4, 9, 3), dtype=np.float32)


# ---------------------------------------------------------------------------- shapes and dtypes


def test_predict_gives_what_the_oracle_gives(x):
    for graph in (sequence_graph(), forecast_graph()):
        y = from_graph(graph).predict(x)
        want = reference.run(graph, {"x": x})["y"]
        assert y.dtype == np.float32 and y.shape == want.shape
        np.testing.assert_allclose(y, want, rtol=0, atol=2e-6)


def test_several_outputs_are_a_dict_in_the_source_order_of_axes(x):
    graph = states_graph()
    y = from_graph(graph).predict(x.transpose(1, 0, 2))
    want = reference.run(graph, {"x": x.transpose(1, 0, 2)})
    assert list(y) == ["output", "h_n", "c_n"]
    for name in y:
        assert y[name].shape == want[name].shape
        np.testing.assert_allclose(y[name], want[name], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(y["output"][-1], y["h_n"][0])


def test_one_input_by_name(x):
    model = from_graph(sequence_graph())
    np.testing.assert_array_equal(model.predict({"x": x}), model.predict(x))
    with pytest.raises(lstmc.ShapeError, match=r"got inputs \['z'\], expected \['x'\]"):
        model.predict({"z": x})


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((4, 9), r"\(4, 9\), expected \(batch, time, 3\)"),
        ((4, 9, 2), r"\(4, 9, 2\), expected \(batch, time, 3\)"),
        ((3,), r"\(3,\), expected"),
        ((4, 9, 3, 1), "expected"),
    ],
)
def test_wrong_shapes_name_both(shape, words):
    with pytest.raises(lstmc.ShapeError, match=words):
        from_graph(sequence_graph()).predict(np.zeros(shape, np.float32))


def test_fixed_time_is_kept(x):
    model = from_graph(sequence_graph(time=9))
    assert model.inputs == {"x": (None, 9, 3)}
    assert model.predict(x).shape == (4, 9, 2)
    with pytest.raises(lstmc.ShapeError, match=r"expected \(batch, 9, 3\) with the time size 9"):
        model.predict(x[:, :5])


def test_arrays_that_are_not_dense_float32_are_taken_at_their_values(x):
    model = from_graph(sequence_graph())
    want = model.predict(x)
    reverse = np.asfortranarray(x[::-1])[::-1]
    strided = np.repeat(x, 2, axis=1)[:, ::2]
    for same in (x.astype(np.float64), reverse, strided, x.tolist(), x.astype(">f4")):
        np.testing.assert_array_equal(model.predict(same), want)
    read_only = x.copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(model.predict(read_only), want)
    whole = np.arange(12).reshape(1, 4, 3)
    np.testing.assert_array_equal(model.predict(whole), model.predict(whole.astype(np.float32)))


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((1, 2, 3), np.complex64),
        np.full((1, 2, 3), "1"),
        np.full((1, 2, 3), None),
        np.full((1, 2, 3), 2**24 + 1),
        np.full((1, 2, 3), 2**53 + 1),
        np.full((1, 2, 3), 2**63 - 1),
        np.full((1, 2, 3), 2**64 - 1, np.uint64),
        np.full((1, 2, 3), 1e300),
        np.zeros((1, 2, 3), "datetime64[s]"),
    ],
)
def test_casts_that_change_meaning_are_refused(bad):
    with pytest.raises(lstmc.DtypeError, match="'x'"):
        from_graph(sequence_graph()).predict(bad)
    assert issubclass(lstmc.DtypeError, TypeError)


def test_zero_rows_and_zero_steps():
    model = from_graph(sequence_graph())
    assert model.predict(np.zeros((0, 9, 3), np.float32)).shape == (0, 9, 2)
    assert model.predict(np.zeros((4, 0, 3), np.float32)).shape == (4, 0, 2)
    last = from_graph(forecast_graph())
    assert last.predict(np.zeros((0, 9, 3), np.float32)).shape == (0, 1)
    with pytest.raises(lstmc.ShapeError, match="zero time steps"):
        last.predict(np.zeros((4, 0, 3), np.float32))


def test_lengths(x):
    lengths = np.array([9, 4, 0, 1])
    for graph in (sequence_graph(), forecast_graph()):
        model = from_graph(graph)
        y = model.predict(x, lengths=lengths)
        want = reference.run(graph, {"x": x}, lengths)["y"]
        np.testing.assert_allclose(y, want, rtol=0, atol=2e-6)
        for row, n in enumerate(lengths):
            if n:
                alone = model.predict(x[row : row + 1, :n])[0]
                np.testing.assert_array_equal(y[row] if y.ndim == 2 else y[row, :n], alone)
    for bad in ([9, 4, 0], [9, 4, 0, 10], [9, 4, 0, -1], [9.0, 4, 0, 1], [[9, 4, 0, 1]]):
        with pytest.raises(lstmc.ShapeError, match="lengths"):
            model.predict(x, lengths=bad)


def test_nan_stays_in_its_row(x):
    model = from_graph(sequence_graph())
    clean = model.predict(x)
    x[2, 3, 1] = np.nan
    y = model.predict(x)
    assert np.isnan(y[2, 3:]).all()
    np.testing.assert_array_equal(y[2, :3], clean[2, :3])
    np.testing.assert_array_equal(y[[0, 1, 3]], clean[[0, 1, 3]])


# ------------------------------------------------------------------------------ files and pickles


def test_save_and_load(tmp_path, x):
    model = from_graph(sequence_graph())
    path = tmp_path / "a name.lstmc"
    model.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a name.lstmc"]
    again = lstmc.load(path, verify=True)
    assert again.to_bytes() == model.to_bytes() == path.read_bytes()
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    assert again.inputs == model.inputs and again.outputs == model.outputs


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.lstmc"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        from_graph(sequence_graph()).save(path)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_models_and_streams_pickle(x):
    model = from_graph(sequence_graph())
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(x), model.predict(x))
    stream = model.stream(4)
    stream.run(x[:, :4])
    again = pickle.loads(pickle.dumps(stream))
    np.testing.assert_array_equal(again.run(x[:, 4:]), stream.run(x[:, 4:]))


@pytest.mark.parametrize("content", [b"", b"LSTM", b"not a model" * 50, b"\0" * 4096])
def test_foreign_files(tmp_path, content):
    path = tmp_path / "bad.lstmc"
    path.write_bytes(content)
    with pytest.raises(lstmc.FormatError, match=r"bad\.lstmc"):
        lstmc.load(path)


def test_a_flipped_bit_anywhere_is_found(tmp_path):
    blob = bytearray(from_graph(forecast_graph()).to_bytes())
    for at in range(0, len(blob), 37):
        blob[at] ^= 0x10
        with pytest.raises(lstmc.FormatError):
            lstmc.Model(blob)
        blob[at] ^= 0x10
    lstmc.Model(blob)


def test_missing_and_odd_paths(tmp_path):
    with pytest.raises(FileNotFoundError):
        lstmc.load(tmp_path / "none.lstmc")
    with pytest.raises(FileNotFoundError, match=r"none\.onnx"):
        lstmc.convert(tmp_path / "none.onnx")
    (tmp_path / "m.xyz").write_bytes(b"")
    with pytest.raises(lstmc.ConversionError, match=r"known endings: \.keras"):
        lstmc.load(tmp_path / "m.xyz")
    (tmp_path / "d.lstmc").mkdir()
    with pytest.raises(IsADirectoryError):
        lstmc.load(tmp_path / "d.lstmc")
    from_graph(forecast_graph()).save(tmp_path / "m.lstmc")
    with pytest.raises(lstmc.ConversionError, match=r"lstmc\.load reads it"):
        lstmc.convert(tmp_path / "m.lstmc")
    with pytest.raises(lstmc.ConversionError, match=r"builtins\.int"):
        lstmc.convert(3)


def test_golden_sample_is_checked():
    model = from_graph(forecast_graph())
    model.check_golden()
    model.golden.digests["y"] ^= 1
    with pytest.raises(lstmc.FormatError, match="golden sample: the digest of 'y'"):
        model.check_golden()


# ------------------------------------------------------------------------------------- running


def test_threads_share_a_model(x):
    model = from_graph(sequence_graph())
    want = lstmc.digest(model.predict(x))
    wrong: list[int] = []

    def work() -> None:
        for rows in (4, 1, 3, 4) * 20:
            got = model.predict(x[:rows])
            if rows == 4 and lstmc.digest(got) != want:
                wrong.append(rows)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_targets():
    names = lstmc.targets()
    assert names[0] == "scalar" and lstmc.get_target() == names[-1]
    try:
        for name in names:
            lstmc.set_target(name)
            assert lstmc.get_target() == name
        with pytest.raises(lstmc.TargetError, match=r"'mmx' is not available here.*scalar"):
            lstmc.set_target("mmx")
        assert lstmc.get_target() == names[-1]
    finally:
        lstmc.set_target("auto")


def test_target_by_environment():
    code = "import lstmc; print(lstmc.get_target())"
    env = {**os.environ, "LSTMC_TARGET": "scalar"}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert run.stdout.strip() == "scalar"
    env["LSTMC_TARGET"] = "nonsense"
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert run.returncode and "target 'nonsense' is not available here" in run.stderr


def test_importing_needs_numpy_only():
    code = "import sys, lstmc; print({'torch', 'keras', 'onnx', 'h5py'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "set()"


def test_an_interrupt_while_importing_does_not_crash():
    code = "import sys; sys.modules['inspect'] = None\nimport lstmc"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1 and "Error" in run.stderr


def test_predict_can_be_interrupted(tmp_path):
    from_graph(forecast_graph()).save(tmp_path / "m.lstmc")
    code = """
import numpy as np, lstmc, os, signal, sys, threading, time
model = lstmc.load(sys.argv[1])
x = np.zeros((1, 20_000_000, 3), np.float32)
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    model.predict(x)
except KeyboardInterrupt:
    print("interrupted")
"""
    command = [sys.executable, "-c", code, str(tmp_path / "m.lstmc")]
    start = time.monotonic()
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.stdout == "interrupted\n", run.stderr
    assert time.monotonic() - start < 4  # the whole call takes longer


def test_masked_arrays_are_refused(x):
    with pytest.raises(lstmc.DtypeError, match="masked"):
        from_graph(sequence_graph()).predict(np.ma.masked_less(x, 0))


def test_digest():
    import zlib

    y = np.array([1.0, -0.0, 3.5], np.float32)
    assert lstmc.digest(y) == zlib.crc32(y.astype("<f4").tobytes())
    quiet, other = np.array([0x7FC00000, 0xFFC12345], np.uint32).view(np.float32)[:, None]
    assert lstmc.digest(quiet) == lstmc.digest(other)
    assert lstmc.digest(np.zeros((0,), np.float32)) == 0
    assert lstmc.digest(y.reshape(3, 1)[::-1]) != lstmc.digest(y)


def test_functional():
    x = np.linspace(-6, 6, 1001, dtype=np.float32).reshape(7, 11, 13)
    f = lstmc.functional
    x64 = x.astype(float)
    np.testing.assert_allclose(f.tanh(x), np.tanh(x64), rtol=2e-7)
    np.testing.assert_allclose(f.sigmoid(x), 1 / (1 + np.exp(-x64)), rtol=2.5e-7)
    np.testing.assert_allclose(f.exp(x), np.exp(x64), rtol=2e-7)
    np.testing.assert_array_equal(f.relu(x), np.maximum(x, 0))
    np.testing.assert_allclose(f.hard_sigmoid(x), np.clip(0.2 * x64 + 0.5, 0, 1), atol=1e-7)
    assert f.tanh(0.5).shape == () and f.relu([1, -2]).tolist() == [1, 0]
    with pytest.raises(lstmc.DtypeError):
        f.exp("1")


def test_summary_and_repr():
    model = from_graph(forecast_graph())
    text = model.summary()
    for words in ("x [?, ?, 3]", "y [?, 1]", "LSTM", "560", "571 parameters", "output=relu"):
        assert words in text, words
    assert "LSTM, Dense" in repr(model)


def test_graph_errors_name_the_layer():
    cell = lstm("cell", 3, 10, "x", ("s", None, None))
    x = g.Value("x", (g.BATCH, g.TIME, 4))
    with pytest.raises(lstmc.ConversionError, match=r"layer 'cell': gets 4 features.*take 3"):
        from_graph(g.Graph([x], [g.Value("s", (g.BATCH, g.TIME, 10))], [cell]))
    with pytest.raises(lstmc.ConversionError, match="weight_hh has shape"):
        g.LSTM(
            name="cell",
            inputs=("x",),
            outputs=("s", None, None),
            weight_ih=np.zeros((8, 3)),
            weight_hh=np.zeros((8, 3)),
        )
    with pytest.raises(lstmc.ConversionError, match="activation 'swishy' is not supported"):
        g.Fn("swishy")
    with pytest.raises(lstmc.ConversionError, match="as float32"):
        g.Fn("hard_sigmoid", 1e39, 0.5)
    with pytest.raises(lstmc.ConversionError, match="'tanh' has no alpha"):
        g.Fn("tanh", 1.0)
    graph = sequence_graph()
    graph.layers[0].name = "\ud800"
    with pytest.raises(lstmc.ConversionError, match="can't be written as UTF-8"):
        from_graph(graph)


# -------------------------------------------------------------------------------------- streams


def test_stream_is_predict_in_pieces(x):
    for graph in (sequence_graph(), forecast_graph()):
        model = from_graph(graph)
        want = model.predict(x)
        stream = model.stream(batch=4)
        steps = [stream.step(x[:, t].copy()) for t in range(9)]
        if want.ndim == 3:
            np.testing.assert_array_equal(np.stack(steps, 1), want)
            stream.reset()
            pieces = [stream.run(x[:, :4]), stream.run(x[:, 4:5]), stream.run(x[:, 5:])]
            np.testing.assert_array_equal(np.concatenate(pieces, 1), want)
        else:
            np.testing.assert_array_equal(steps[-1], want)


def test_stream_state_is_readable_settable_and_whole(x):
    model = from_graph(sequence_graph())
    stream = model.stream(4)
    stream.run(x[:, :5])
    state = stream.state
    assert {k: v.shape for k, v in state["lstm"].items()} == {"h": (4, 10), "c": (4, 10)}
    first = stream.run(x[:, 5:])
    other = model.stream(4)
    other.state = pickle.loads(pickle.dumps(state))
    np.testing.assert_array_equal(other.run(x[:, 5:]), first)
    stream.reset()
    assert not stream.state["lstm"]["h"].any()
    for bad in (
        {},
        {"lstm": {"h": state["lstm"]["h"]}},
        {"lstm": {"h": state["lstm"]["h"], "c": np.zeros((4, 9))}},
        {"other": state["lstm"]},
        None,
        {"lstm": None},
    ):
        with pytest.raises(lstmc.ShapeError):
            other.state = bad
    tiny = {"lstm": {"h": np.full((4, 10), 2.0**-65), "c": np.full((4, 10), -(2.0**-64))}}
    other.state = tiny
    assert not other.state["lstm"]["h"].any() and other.state["lstm"]["c"].all()


def test_stream_step_out_and_errors(x):
    stream = from_graph(sequence_graph()).stream(4)
    out = np.empty((4, 2), np.float32)
    assert stream.step(x[:, 0].copy(), out) is out
    before = stream.state
    for bad in (np.zeros((4, 3, 1)), np.zeros((3, 3)), np.zeros(3)):
        with pytest.raises(lstmc.ShapeError, match="for a step"):
            stream.step(bad)
    for bad_out in (np.empty((4, 3), np.float32), np.empty((4, 2)), np.empty((2, 4), np.float32).T):
        with pytest.raises(lstmc.ShapeError, match="out is"):
            stream.step(x[:, 1].copy(), bad_out)
    with pytest.raises(lstmc.DtypeError):
        stream.step(np.full((4, 3), "a"))
    for name in ("h", "c"):
        np.testing.assert_array_equal(stream.state["lstm"][name], before["lstm"][name])
    with pytest.raises(lstmc.ShapeError, match="out is a list"):
        stream.step(x[:, 1].copy(), [1])
    # lists, float64 and strided rows take the slow way to the same bits
    a, b = (from_graph(sequence_graph()).stream(4) for _ in range(2))
    want = a.step(x[:, 0].copy())
    np.testing.assert_array_equal(b.step(x[:, 0]), want)
    np.testing.assert_array_equal(b.step(x[:, 1].tolist()), a.step(x[:, 1].astype(float)))


def test_stream_out_must_not_overlap():
    cell = lstm("cell", 20, 20, "x", ("y", None, None))
    axes = (g.BATCH, g.TIME, 20)
    model = from_graph(g.Graph([g.Value("x", axes)], [g.Value("y", axes)], [cell]))
    both = np.zeros((3, 20), np.float32)
    for a, b in ((both[:2], both[1:]), (both, both), (both[1:], both[:2])):
        stream = model.stream(len(a))
        with pytest.raises(lstmc.ShapeError, match="out overlaps the input"):
            stream.step(a, b)
        assert stream.step(a.astype(float), b) is b  # a copy is read
    model.stream(1).step(both[:1], both[1:2])  # side by side


def test_a_model_owns_its_bytes(x):
    model = from_graph(sequence_graph())
    blob = np.frombuffer(model.to_bytes(), np.uint8).copy()
    again = lstmc.Model(blob)
    blob[:] = 0
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    with pytest.raises(ValueError, match="read-only"):
        model.golden.inputs["x"][...] = 0
    with pytest.raises(ValueError, match="read-only"):
        model._blob[0] = 0


def test_too_many_layers():
    x = g.Value("x", (g.BATCH, g.TIME, 1))
    names = ["x", *(f"v{i}" for i in range(4097))]
    layers = [
        g.Activation(name=b, inputs=(a,), outputs=(b,), activation=g.RELU)
        for a, b in itertools.pairwise(names)
    ]
    with pytest.raises(lstmc.ConversionError, match="can't be stored"):
        from_graph(g.Graph([x], [g.Value(names[-1], x.axes)], layers))


def test_stream_of_several_outputs(x):
    stream = from_graph(states_graph()).stream(4)
    whole = from_graph(states_graph()).predict(x.transpose(1, 0, 2))
    for t in range(9):
        y = stream.step({"x": x[:, t]})
    np.testing.assert_array_equal(y["output"], whole["output"][-1])
    np.testing.assert_array_equal(y["c_n"], whole["c_n"][0])


def test_stream_needs_time():
    graph = g.Graph(
        [g.Value("x", (g.BATCH, 3))],
        [g.Value("y", (g.BATCH, 2))],
        [dense("dense", 3, 2, "x", "y")],
    )
    model = from_graph(graph)
    assert model.predict(np.zeros((5, 3))).shape == (5, 2)
    with pytest.raises(lstmc.ShapeError, match="no time axis"):
        model.stream()
    for bad in (0, -1, 2**40):
        with pytest.raises(lstmc.ShapeError, match="at least one row"):
            from_graph(sequence_graph()).stream(bad)
    with pytest.raises(lstmc.ShapeError, match="number of rows, not '1'"):
        from_graph(sequence_graph()).stream("1")
    assert from_graph(sequence_graph()).stream(np.int64(2)).batch == 2


def test_package_has_types():
    assert (Path(lstmc.__file__).parent / "py.typed").exists()
    assert (Path(lstmc.__file__).parent / "_core.pyi").exists()


def test_a_file_without_an_ending_is_read_by_what_it_is(tmp_path):
    model = from_graph(forecast_graph())
    model.save(tmp_path / "model")
    assert lstmc.load(tmp_path / "model", verify=True).to_bytes() == model.to_bytes()
    (tmp_path / "other").write_bytes(b"LSTM?" * 9)
    with pytest.raises(lstmc.ConversionError, match="known endings"):
        lstmc.load(tmp_path / "other")
    with pytest.raises(lstmc.ConversionError, match="known endings"):
        lstmc.load(tmp_path / "none")


def test_batches_by_number_are_no_array():
    """numpy would ask for items until there is an IndexError, or for ever."""

    class Batches:
        def __len__(self):
            return 3

        def __getitem__(self, i):
            return np.zeros((2, 3), np.float32)

    with pytest.raises(lstmc.DtypeError, match="is a Batches, expected an array"):
        from_graph(forecast_graph()).predict(Batches())
