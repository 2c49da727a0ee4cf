"""Models written as ONNX: each layer, function and option run by ONNX Runtime (and by onnx's own
evaluator), and converted back. Random nets are compared where they are made: torch_nets.py,
keras_nets.py and onnx_nets.py run each there too."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import DATA, Net, lstm_graph, pointwise_graph, sequence_graph

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
from onnx_out import agree, back, evaluator, nodes, runtime, shape, sizes  # noqa: E402

import lstmc  # noqa: E402
from lstmc import cli, onnx_export  # noqa: E402
from lstmc import graph as g  # noqa: E402
from lstmc.model import from_graph  # noqa: E402
from lstmc.onnx_export.functions import FUNCTIONS as WRITTEN  # noqa: E402
from lstmc.onnx_export.registry import LAYERS  # noqa: E402


def dtype(value):
    return onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name


def test_every_layer_and_every_function_has_its_nodes():
    assert set(LAYERS) == set(g.LAYERS.values())
    assert set(WRITTEN) == set(g.FN_CODES)


# ------------------------------------------------------------------------------- inputs and outputs


@pytest.mark.parametrize("order", ["btf", "tbf", "bft", "ftb", "fbt", "tfb"])
def test_axes_stay_where_the_source_had_them(order):
    graph = lstm_graph(3, 5, order=order, outputs="s")
    made = agree(graph)
    dims = {"b": "batch", "t": "time"}
    for value, features in ((made.graph.input[0], 3), (made.graph.output[0], 5)):
        assert shape(value) == [dims.get(a, features) for a in order]
    again = back(graph, made)
    assert again.inputs == graph.inputs and again.outputs == graph.outputs


def test_no_transposes_where_the_source_had_time_first():
    net = Net(1)
    y = net.lstm(net.input(3, order="tbf"), 5, outputs="s")["s"]
    y = net.lstm(net.dense(y, 4, activation=g.RELU), 6, outputs="s")["s"]
    assert "Transpose" not in nodes(agree(net.graph(net.dense(y, 2), order="tbf")))


def test_no_transposes_between_convolutions():
    net = Net(2)
    y = net.simple(g.Conv1D, net.input(3, order="bft"), weight=net.weight(4, 9), taps=3)
    y = net.simple(g.Affine, y, scale=net.weight(4), shift=net.weight(4), activation=g.RELU)
    y = net.simple(g.Pool1D, y, taps=2, op="maximum")
    graph = net.graph(net.simple(g.Conv1D, y, weight=net.weight(5, 8), taps=2), order="bft")
    made = agree(graph, times=(6, 9))
    assert "Transpose" not in nodes(made)
    again = back(graph, made)
    assert [type(x) for x in again.layers] == [g.Conv1D, g.Pool1D, g.Conv1D]  # Affine folded


@pytest.mark.parametrize("each_position", [False, True])
def test_scales_of_positions(each_position):
    """BatchNormalization knows channels alone."""
    net = Net(19)
    y = net.simple(
        g.Conv2D, net.input(8), weight=net.weight(3, 4), taps=1, position_taps=2, position_before=1
    )
    scale, shift = (net.weight(12) if each_position else np.tile(net.weight(3), 4) for _ in "ab")
    y = net.simple(g.Affine, y, scale=scale, shift=shift)
    y = net.simple(g.PoolPositions, y, taps=2, op="maximum", channels=3)
    made = agree(net.graph(y))
    assert ("BatchNormalization" in nodes(made)) != each_position
    back(net.graph(y), made)


@pytest.mark.parametrize(
    "axes",
    [
        (g.BATCH, 2, g.TIME, 3),
        (2, g.TIME, 3, g.BATCH),
        (g.TIME, g.BATCH, 2, 3),
        (g.BATCH, g.TIME, 1, 6),
        (g.TIME, 6),
        (3, g.TIME, 2),
    ],
)
def test_several_axes_of_features_or_no_batch(axes):
    net = Net(3)
    net.inputs.append(g.Value("x", axes))
    net.specs["x"] = net.inputs[0].spec
    graph = net.graph(net.gru("x", 6))
    graph.outputs[0] = g.Value(graph.outputs[0].name, axes)
    made = agree(graph)
    wanted = {g.BATCH: "batch", g.TIME: "time"}
    for value in (made.graph.input[0], made.graph.output[0]):
        assert shape(value) == [wanted.get(a, a) for a in axes]


def test_values_of_one_feature_without_an_axis_for_it():
    net = Net(4)
    net.inputs += [g.Value("x", (g.TIME, g.BATCH)), g.Value("h", (g.BATCH,))]
    net.specs.update({v.name: v.spec for v in net.inputs})
    net.add(
        g.RNN, ("x", None, "h"), ("y", "h"), weight_ih=net.weight(1, 1), weight_hh=net.weight(1, 1)
    )
    graph = net.graph("v0y", "v0h")
    graph.outputs = [g.Value("v0y", (g.BATCH, g.TIME)), g.Value("v0h", (g.BATCH,))]
    agree(graph)


def test_numbers_of_steps_are_named_by_clock_or_fixed():
    net = Net(5)
    net.inputs += [
        g.Value("x", (g.BATCH, g.TIME, 3), clock="words"),
        g.Value("w", (g.BATCH, g.TIME, 3), clock="batch"),
        g.Value("y", (g.BATCH, g.TIME, 3), time=6, clock="frames"),
        g.Value("z", (g.BATCH, g.TIME, 3), time=4, clock=None),
    ]
    net.specs.update({v.name: v.spec for v in net.inputs})
    made = [net.simple(g.Pool1D, n, taps=2, stride=2, op="mean") for n in "xwyz"]
    model = onnx_export.to_onnx(net.graph(*made))
    assert [shape(v)[1] for v in model.graph.input] == ["words", "steps of batch", 6, 4]
    assert [shape(v)[1] for v in model.graph.output] == ["(words)/2", "steps of (batch)/2", 3, 2]
    agree(net.graph(*made), times=(6,))


@pytest.mark.parametrize("kind", g.DTYPES)
def test_inputs_keep_their_types(kind):
    net = Net(6)
    net.inputs += [g.Value("x", (g.BATCH, g.TIME, 2), kind)]
    net.specs["x"] = net.inputs[0].spec
    graph = net.graph(net.gru("x", 3))
    made = agree(graph)
    assert dtype(made.graph.input[0]) == kind
    assert back(graph, made).inputs == graph.inputs


def test_a_float16_output_is_rounded():
    graph = lstm_graph(3, 4, outputs="s")
    graph.outputs[0] = g.Value(graph.outputs[0].name, graph.outputs[0].axes, "float16")
    assert dtype(agree(graph).graph.output[0]) == "float16"


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8", "float32"])
def test_indices_are_whole_numbers_as_they_come(kind):
    """They go through layers that only move them."""
    net = Net(7)
    net.inputs += [g.Value("words", (g.BATCH, g.TIME, 3), kind)]
    net.specs["words"] = net.inputs[0].spec
    x = net.simple(g.Select, "words", index=(2, 0))
    x = net.simple(g.Reverse, net.simple(g.Concat, (x, x)))
    y = net.simple(g.Embedding, x, weight=net.weight(3, 8))
    z = net.simple(g.Embedding, net.simple(g.LastStep, "words"), weight=net.weight(2, 8))
    graph = net.graph(y, z)
    made = agree(graph)
    assert ("Cast" in nodes(made)) == (kind not in ("int32", "int64"))
    if kind in ("int32", "int64"):
        back(graph, made)


def test_an_output_that_is_another_one_or_a_constant():
    net = Net(8)
    x = net.input(3, time=False)
    y = net.dense(x, 4)
    copy = net.simple(g.Activation, y, activation=g.LINEAR)
    start = net.simple(g.Activation, x, activation=g.LINEAR)
    fill = net.simple(g.Fill, x, value=net.weight(4))
    agree(net.graph(copy, y, start, fill, net.simple(g.Combine, (fill, y), op="add")))


def test_names_that_nodes_would_like_to_have():
    net = Net(9)
    x = net.input(3)
    y = net.dense(x, 4, activation=g.RELU)
    graph = net.graph(net.dense(y, 4))
    graph.layers[0].name = "a"
    graph.layers[1].name = "b"
    names = {x: "a/MatMul", y: "a/weight", graph.outputs[0].name: "whole"}
    for layer in graph.layers:
        layer.rename(names)
    graph.inputs = [g.Value("a/MatMul", graph.inputs[0].axes)]
    graph.outputs = [g.Value("whole", graph.outputs[0].axes)]
    back(graph, agree(graph))


# ------------------------------------------------------------------------------------------- layers


def test_layers_come_back_as_they_were():
    net = Net(1)
    x = net.input(3)
    net.inputs.append(g.Value("words", (g.BATCH, g.TIME), "int64"))
    net.specs["words"] = net.inputs[-1].spec
    words = net.simple(g.Embedding, "words", weight=net.weight(4, 11))
    both = net.simple(g.Concat, (x, words))
    y = net.gru(both, 6)
    y = net.lstm(y, 5, outputs="s")["s"]
    y = net.simple(g.LayerNorm, y, scale=net.weight(5), shift=net.weight(5), epsilon=2.0**-17)
    y = net.simple(g.Affine, y, shift=net.weight(5), activation=g.RELU)
    y = net.simple(g.LastStep, net.dense(y, 7, activation=g.TANH))
    graph = net.graph(net.simple(g.Softmax, net.dense(y, 4)))
    made = agree(graph)
    again = back(graph, made)
    assert [type(x) for x in again.layers] == [type(x) for x in graph.layers]
    for before, after in zip(graph.layers, again.layers, strict=True):
        assert list(before.params()) == list(after.params())
        for (_, _, a), (_, _, b) in zip(before.tensors(), after.tensors(), strict=True):
            assert (a is None and b is None) or np.array_equal(a, b)
    agree(graph, run=evaluator)


@pytest.mark.parametrize("run", [runtime, evaluator])
@pytest.mark.parametrize("make", [pointwise_graph, sequence_graph])
def test_every_layer_with_and_without_its_options(make, run):
    agree(make(), times=(5, 8, 11), run=run)


@pytest.mark.parametrize("op", ["add", "subtract", "multiply", "divide", "maximum", "minimum"])
@pytest.mark.parametrize("order", ["btf", "tbf", "bft"])
def test_combine_spreads_features_steps_and_constants(op, order):
    net = Net(10)
    x, one, row = net.input(3, order=order), net.input(1), net.input(3, time=False)
    fill = net.simple(g.Fill, row, value=np.float32([2, -3, 0.5]))
    scalar = net.simple(g.Fill, row, value=np.float32([1.5]))
    made = [
        net.simple(g.Combine, names, op=op)
        for names in ((x, fill), (one, x, scalar), (row, x), (fill, row), (scalar, one), (x, x))
    ]
    agree(net.graph(*made, order=order))


@pytest.mark.parametrize("op", ["sum", "mean", "maximum", "minimum"])
def test_masks_of_a_reduction(op):
    net = Net(11)
    x, mask = net.input(3), net.input(1)
    mask = net.simple(g.Activation, mask, activation=g.Fn("thresholded_relu", 0.3))
    made = [net.simple(g.ReduceTime, names, op=op) for names in ((x,), (x, mask), (mask, mask))]
    agree(net.graph(*made), (1, 8), (1, 2, 7))


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_padding(mode):
    net = Net(12)
    value = {"value": 0.5} if mode == "constant" else {}
    made = [
        net.simple(g.PadTime, net.input(2, order=order), before=3, after=1, mode=mode, **value)
        for order in ("btf", "tbf")
    ]
    agree(net.graph(*made), times=(4, 5, 9))


def test_a_mirror_behind_the_first_step_is_written_out():
    """Where the number of steps is known; where it is open, a runtime refuses fewer."""
    net = Net(13)
    net.inputs.append(g.Value("x", (g.BATCH, g.TIME, 2), time=2, clock=None))
    net.specs["x"] = net.inputs[0].spec
    agree(net.graph(net.simple(g.PadTime, "x", before=5, after=4, mode="reflect")))


WINDOWS = [
    {"taps": 3},
    {"taps": 3, "stride": 2, "before": 1, "after": 2},
    {"taps": 2, "dilation": 3, "before": 3},
    {"taps": 2, "before": 4, "after": 3},
    {"taps": 3, "stride": 3, "dilation": 2, "before": 5, "after": 5},
    *({"taps": 3, "same": same} for same in ("upper", "lower")),
    *({"taps": 4, "stride": 3, "same": same} for same in ("upper", "lower")),
    *({"taps": 2, "stride": 3, "same": same} for same in ("upper", "lower")),
    *({"taps": 3, "stride": 2, "dilation": 2, "same": same} for same in ("upper", "lower")),
]
TIMES = (7, 8, 9, 10, 11)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_windows_over_steps(window):
    net = Net(14)
    x = net.input(4)
    fields = {"bias": net.weight(4), "activation": g.TANH, **window}
    made = [
        net.simple(g.Conv1D, x, weight=net.weight(4, 4 * window["taps"]), **fields),
        net.simple(g.DepthwiseConv1D, x, weight=net.weight(4, window["taps"]), **fields),
        net.simple(g.Pool1D, x, op="maximum", **window),
        net.simple(g.Pool1D, x, op="mean", **window),
        net.simple(g.Pool1D, x, op="mean", count_padding=True, **window),
    ]
    agree(net.graph(*made), times=TIMES)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("timed", [True, False])
def test_windows_over_positions(window, timed):
    """The same over steps where there are some; there a window over positions is a plain one."""
    net = Net(15)
    x = net.input(27, time=timed)
    across = {f"position_{k}": v for k, v in window.items()}
    plain = {"position_taps": 2, "position_stride": 2, "position_same": "upper"}
    for fields in ({"taps": 1, **across}, *([{**window, **plain}] if timed else [])):
        size = fields["taps"] * fields["position_taps"]
        net.simple(g.Conv2D, x, weight=net.weight(2, 3 * size), bias=net.weight(2), **fields)
        net.simple(g.DepthwiseConv2D, x, weight=net.weight(3, size), activation=g.RELU, **fields)
    for op in ("maximum", "minimum", "sum", "mean"):
        net.simple(g.PoolPositions, x, op=op, channels=3, **window)
    net.simple(g.PoolPositions, x, op="mean", count_padding=True, channels=3, **window)
    agree(net.graph(*(layer.outputs[0] for layer in net.layers)), times=TIMES if timed else (1,))


# --------------------------------------------------------------------------------- files and errors


@pytest.mark.parametrize("path", sorted(DATA.glob("*.lstmc")), ids=lambda p: p.stem)
def test_files_of_old(path):
    graph = lstmc.load(path).graph
    if not graph.bindings:
        agree(graph, times=(4, 9))


def test_the_file_says_what_it_is(tmp_path):
    model = from_graph(lstm_graph(3, 5))
    model.save_onnx(tmp_path / "m.onnx")
    made = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(made, full_check=True)
    assert made.producer_name == "lstmc" and made.producer_version == lstmc.__version__
    assert [(o.domain, o.version) for o in made.opset_import] == [("", onnx_export.OPSET)]
    first = (tmp_path / "m.onnx").read_bytes()
    model.save_onnx(tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == first  # the same bytes every time
    model.graph.layers[0].weight_ih[:] = 0  # which does not change the model
    model.save_onnx(tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "m.onnx").stat().st_mode) == 0o666 & ~umask


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        from_graph(lstm_graph(3, 5)).save_onnx(path)
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_refusals(monkeypatch):
    graph = lstm_graph(3, 5)
    with monkeypatch.context() as patch:
        patch.setattr(onnx_export, "LARGEST", 100)
        with pytest.raises(lstmc.ConversionError, match="bytes, an ONNX file 100 at most"):
            onnx_export.to_onnx(graph)
    net = Net(1)
    net.inputs.append(g.Value("", (g.BATCH, 3)))
    net.specs[""] = net.inputs[0].spec
    with pytest.raises(lstmc.ConversionError, match="has no name, which ONNX needs"):
        onnx_export.to_onnx(net.graph(net.dense("", 2)))
    wrong = lstm_graph(3, 5)
    with monkeypatch.context() as patch:
        patch.setitem(LAYERS, g.LSTM, lambda w, layer: w.made(layer.outputs[0], "nowhere", "btf"))
        wrong.outputs = wrong.outputs[:1]
        with pytest.raises(lstmc.ConversionError, match="onnx refuses what was written"):
            onnx_export.to_onnx(wrong)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(lstmc.ConversionError, match="pip install lstmc"):
        onnx_export.to_onnx(graph)


def test_by_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = from_graph(lstm_graph(3, 5))
    model.save("m.lstmc")
    assert cli.main(["convert", "m.lstmc", "-o", "m.onnx"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("m.onnx: LSTM, ") and "golden sample" in said
    assert cli.main(["convert", "m.onnx", "-o", "again.onnx", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["output"] == "again.onnx" and facts["bytes"] == Path("again.onnx").stat().st_size
    assert cli.main(["convert", "again.onnx", "-o", "again.lstmc"]) == 0
    assert lstmc.load("again.lstmc").golden.digests == model.golden.digests
    assert cli.main(["verify", "again.lstmc", "--against", "m.onnx"]) == 0
    for wrong, why in (
        (["m.lstmc", "-o", "m.onnx", "--target", "m4f"], "an ONNX file is for no chip"),
        (["m.lstmc", "-o", "n.onnx", "--arch", "lstm"], "describe a source"),
        (["m.onnx", "-o", "m.onnx"], "is the source itself"),
        (["m.lstmc", "-o", "no/m.onnx"], "there is no folder"),
    ):
        capsys.readouterr()
        assert cli.main(["convert", *wrong]) == 2
        assert why in capsys.readouterr().err
    assert not Path("n.onnx").exists()


def test_sizes_are_tried():
    """The comparison would find a wrong time axis only in calls of several sizes."""
    assert sizes(lstm_graph(3, 4), (1, 3), (1, 4)) == [(1, 1), (1, 4), (3, 1), (3, 4)]
