"""Models of which an input or output has no batch axis: they take one row."""

from __future__ import annotations

import pickle
import struct
import zlib

import numpy as np
import pytest
from lstmc.converters import from_onnx

import lstmc
from lstmc import _core, errors, info, reference
from lstmc import graph as g
from lstmc.model import Model, from_graph

pytest.importorskip("onnx")
from onnx_nets import OPSETS, Net, agree, onnx_run

RNG = np.random.default_rng(5)


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, dtype=np.float32)


def lstm(state: bool = False) -> g.LSTM:
    return g.LSTM(
        name="lstm",
        inputs=("x", None, "h") if state else ("x",),
        outputs=("y", "hn", None),
        weight_ih=numbers(16, 5),
        weight_hh=numbers(16, 4),
        bias=numbers(16),
    )


X = g.Value("x", (g.TIME, 5))
OUTPUTS = [g.Value("y", (4, g.TIME)), g.Value("hn", (2, 2))]


def test_as_the_oracle_with_states_that_have_a_batch():
    graph = g.Graph([X, g.Value("h", (1, g.BATCH, 4))], OUTPUTS, [lstm(state=True)])
    model = from_graph(graph)
    assert model.inputs == {"x": (None, 5), "h": (1, None, 4)}
    assert model.outputs == {"y": (4, None), "hn": (2, 2)}
    assert model.golden is not None and model.golden.batch == 1
    x = {"x": numbers(7, 5), "h": numbers(1, 1, 4)}
    got, want = model.predict(x), reference.run(graph, x)
    assert isinstance(got, dict)
    for name, y in want.items():
        assert got[name].shape == y.shape
        np.testing.assert_allclose(got[name], y, atol=1e-6)
    with pytest.raises(errors.ShapeError, match=r"'h' has shape \(1, 2, 4\).*batch size 1"):
        model.predict({**x, "h": numbers(1, 2, 4)})
    with pytest.raises(errors.ShapeError, match=r"'x' has shape \(1, 7, 5\), expected \(time, 5\)"):
        model.predict({**x, "x": x["x"][None]})


@pytest.mark.parametrize("rows", [1, 2])
def test_an_output_without_batch_takes_one_row(rows):
    wide = g.Value("x", (g.BATCH, g.TIME, 5))
    model = from_graph(g.Graph([wide], OUTPUTS, [lstm()]))
    for _ in range(2):  # the second call may go a shorter way
        if rows == 1:
            y = model.predict(numbers(1, 3, 5))
            assert isinstance(y, dict) and y["hn"].shape == (2, 2)
        else:
            with pytest.raises(errors.ShapeError, match="with the batch size 1"):
                model.predict(numbers(2, 3, 5))


def test_streams_and_files(tmp_path):
    model = from_graph(g.Graph([X], OUTPUTS, [lstm()]))
    path = tmp_path / "m.lstmc"
    model.save(path)
    model = pickle.loads(pickle.dumps(lstmc.load(path, verify=True)))
    x = numbers(100, 5)
    whole, stream = model.predict(x), model.stream()
    steps = [stream.step(row[None]) for row in x]
    np.testing.assert_array_equal(np.concatenate([s["y"] for s in steps]).T, whole["y"])
    np.testing.assert_array_equal(steps[-1]["hn"].reshape(2, 2), whole["hn"])
    stream.reset()
    chunks = [stream.run(part)["y"] for part in np.array_split(x, 7)]
    np.testing.assert_array_equal(np.concatenate(chunks, axis=1), whole["y"])
    with pytest.raises(errors.ShapeError, match="one row, not 2: a value has no batch axis"):
        model.stream(2)


def test_the_core_refuses_more_rows():
    model = from_graph(g.Graph([X], OUTPUTS, [lstm()]))
    _core.Session(model._core, 1, 1, 0)
    with pytest.raises(errors.Error):
        _core.Session(model._core, 2, 1, 0)


def test_no_memory_is_asked_for_more_rows():
    model = from_graph(g.Graph([X], OUTPUTS, [lstm()]))
    assert info.memory(model, 1, 3)[0]["arena_bytes"] > 0
    with pytest.raises(errors.ShapeError, match="one row, not 2"):
        info.memory(model, 2, 3)


def test_a_golden_sample_of_two_rows_is_not_sound():
    blob = bytearray(from_graph(g.Graph([X], OUTPUTS, [lstm()])).to_bytes())
    assert struct.unpack_from("<I", blob, 4 * 13) == (1,)
    Model(blob)
    struct.pack_into("<2I", blob, 4 * 13, 2, 8)  # as many numbers: 2 x 8 for 1 x 16 steps
    struct.pack_into("<I", blob, 12, zlib.crc32(blob[16:]))
    with pytest.raises(errors.FormatError):
        Model(blob)


# ------------------------------------------------------------------------------------------- ONNX


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("states", [False, True])
def test_a_sequence_without_batch(opset, states):
    """As PyTorch exports an LSTM that was traced with [time, features]."""
    net = Net(opset, 1)
    x = net.axes_op("Unsqueeze", net.input("x", "T", 3), [1])
    feeds = {"x": numbers(6, 3)}
    extra: tuple[str, ...] = ()
    if states:
        extra = ("", net.input("h", 1, 1, 4), net.input("c", 1, 1, 4))
        feeds |= {"h": numbers(1, 1, 4), "c": numbers(1, 1, 4)}
    y, h, _ = net.lstm(x, 3, 4, extra)
    net.output(net.axes_op("Squeeze", y, [1, 2]), net.axes_op("Squeeze", h, [0, 1]))
    graph = agree(net, **feeds)
    assert graph.one_row
    assert graph.inputs[0].axes == (g.TIME, 3)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("named", [False, True])
def test_a_frozen_batch_is_dropped(opset, named):
    """Squeeze without axes also drops a batch of 1; parts of the rest are features then."""
    net = Net(opset, 2)
    x, h = net.input("x", "N", "T", 3), net.input("h", 1, 1, 4)
    _, h, _ = net.lstm(net.node("Transpose", x, perm=[1, 0, 2]), 3, 4, ("", h, h))
    y = net.axes_op("Squeeze", h, [0, 1]) if named else net.node("Squeeze", h)
    first, rest = net.slice(y, 0, 1, 0), net.slice(y, 1, 4, 0)
    net.output(net.node("Concat", net.node("Relu", rest), first, axis=0))
    graph = agree(net, x=numbers(1, 5, 3), h=numbers(1, 1, 4))
    assert graph.outputs[0].axes == (4,)


def test_an_open_batch_is_not_dropped():
    net = Net(13, 3)
    h = net.lstm(net.input("x", "T", "N", 3), 3, 4)[1]
    net.output(net.node("Squeeze", h))
    with pytest.raises(errors.ConversionError, match="an axis of the value is of open size"):
        from_onnx.convert(net.model())


def test_a_batch_beside_a_sequence_without():
    """Exact where both are one row, and more rows are refused: ONNX would broadcast."""
    net = Net(13, 4)
    x = net.axes_op("Unsqueeze", net.input("x", "T", 3), [1])
    h = net.axes_op("Squeeze", net.lstm(x, 3, 4)[1], [0])
    net.output(net.node("Add", h, net.input("a", "N", 4)))
    feeds = {"x": numbers(5, 3), "a": numbers(1, 4)}
    agree(net, **feeds)
    model = lstmc.convert(net.model())
    want = onnx_run(net.model(), {**feeds, "a": numbers(2, 4)})
    assert next(iter(want.values())).shape == (2, 4)
    with pytest.raises(errors.ShapeError, match="batch size 1"):
        model.predict({**feeds, "a": numbers(2, 4)})


def test_several_rows_are_no_row():
    """A sequence without a batch, and one with a batch of 3: no number of rows is both."""
    net = Net(13, 4)
    rows = net.lstm(net.input("x", "T", 3, 3), 3, 4)[0]
    one = net.lstm(net.axes_op("Unsqueeze", net.input("a", 5, 3), [1]), 3, 4)[0]
    net.output(net.node("Tanh", rows), net.node("Tanh", net.axes_op("Squeeze", one, [2])))
    text = "'a' has no batch axis, so the model takes one row, but input 'x' has a batch of 3"
    with pytest.raises(errors.ConversionError, match=text):
        from_onnx.convert(net.model())
