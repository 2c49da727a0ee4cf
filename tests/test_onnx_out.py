"""Models written as ONNX: each layer, function and option run by ONNX Runtime (and by onnx's own
evaluator), and converted back. Random nets are compared where they are made: torch_nets.py,
keras_nets.py and onnx_nets.py run each there too."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from helpers import DATA, FUNCTIONS, Net, lstm_graph, pointwise_graph, sequence_graph

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
from onnx_out import agree, back, begins_empty, calls, evaluator, runtime, same, sizes  # noqa: E402

import lstmc  # noqa: E402
from lstmc import cli, onnx_export  # noqa: E402
from lstmc import graph as g  # noqa: E402
from lstmc.model import from_graph  # noqa: E402
from lstmc.onnx_export.functions import FUNCTIONS as WRITTEN  # noqa: E402
from lstmc.onnx_export.registry import LAYERS  # noqa: E402

KINDS = {"LSTM": g.LSTM, "GRU": g.GRU, "RNN": g.RNN}


def nodes(made):
    return [n.op_type for n in made.graph.node]


def shape(value):
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


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
        g.Value("y", (g.BATCH, g.TIME, 3), time=6, clock="frames"),
        g.Value("z", (g.BATCH, g.TIME, 3), time=4, clock=None),
    ]
    net.specs.update({v.name: v.spec for v in net.inputs})
    made = [net.simple(g.Pool1D, n, taps=2, stride=2, op="mean") for n in "xyz"]
    model = onnx_export.to_onnx(net.graph(*made))
    assert [shape(v)[1] for v in model.graph.input] == ["words", 6, 4]
    assert [shape(v)[1] for v in model.graph.output] == ["(words)/2", 3, 2]
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


# ---------------------------------------------------------------------------------------- functions


#: A net of such cells says nothing: it jumps, or grows without end.
WILD = ("exponential", "reciprocal", "log", "sqrt", "square", "sign", "not_equal")


@pytest.mark.parametrize("function", [*FUNCTIONS, g.Fn("clip", -np.inf, 1), g.Fn("affine", -1, 0)],
                         ids=str)  # fmt: skip
@pytest.mark.parametrize("run", [runtime, evaluator])
def test_functions(function, run):
    """Of numbers large and small, and as a cell's, by the operator or by a Scan."""
    net = Net(16)
    graph = net.graph(net.simple(g.Activation, net.input(7), activation=function))
    made = onnx_export.to_onnx(graph)
    edges = [0.0, 0.5, -0.5, 1.0, -1.0, 1.5, 6.0, 100.0, -100.0]
    x = np.float32([*edges, *np.linspace(-9, 9, 7 * 13 - len(edges))]).reshape(1, 13, 7)
    want = from_graph(graph).predict(x)
    with np.errstate(all="ignore"):
        got = run(made)({"x0": x})
    same(graph, {"x0": x}, got, {graph.outputs[0].name: want})
    if run is runtime and made.graph.node[-1].op_type not in ("Where", "Cast"):
        again = lstmc.convert(made).predict(x)
        np.testing.assert_allclose(again, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if f.kind not in WILD], ids=str)
def test_functions_of_cells(function):
    for kind, field in ((g.LSTM, "output"), (g.GRU, "candidate"), (g.RNN, "activation")):
        net = Net(17, scale=0.7)
        size = 4 * kind.gates
        net.add(
            kind, net.input(3), ("y", *kind.states), weight_ih=net.weight(size, 3),
            weight_hh=net.weight(size, 4), bias=net.weight(size), **{field: function},
        )  # fmt: skip
        made = agree(net.graph(*(o for o in net.layers[0].outputs if o)))
        assert ("Scan" in nodes(made)) != (kind.__name__ in nodes(made))


def test_softplus_of_large_numbers():
    """ONNX Runtime's recurrent operators make NaN of them."""
    net = Net(18)
    net.add(
        g.RNN, net.input(2), ("y", None), weight_ih=np.float32([[100, 100]]),
        weight_hh=np.float32([[0.5]]), activation=g.Fn("softplus"),
    )  # fmt: skip
    assert "Scan" in nodes(agree(net.graph("v0y")))


# --------------------------------------------------------------------------------- recurrent layers

#: An option, and whether the operator has it.
OPTIONS = {
    "peephole": ("LSTM", {"peephole": (12,)}, True),
    "coupled": ("LSTM", {"coupled": True}, True),
    "coupled, peephole, clip": ("LSTM", {"coupled": True, "peephole": (12,), "clip": 0.5}, True),
    "full peepholes": ("LSTM", {"weight_ch": (16, 4)}, False),
    "the article's cell": ("LSTM", {"weight_ch": (16, 4), "output_sees_old": True}, False),
    "an old cell state": ("LSTM", {"peephole": (12,), "output_sees_old": True}, False),
    "an old cell state that nothing sees": ("LSTM", {"output_sees_old": True}, True),
    "projection": ("LSTM", {"weight_hr": (3, 4)}, False),
    "projection, clip": ("LSTM", {"weight_hr": (3, 4), "clip": 0.5, "coupled": True}, False),
    "reset before": ("GRU", {"reset_after": False}, True),
    "recurrent bias": ("GRU", {"recurrent_bias": (4,)}, True),
    "no bias": ("GRU", {"bias": None}, True),
    "recurrent bias alone": ("GRU", {"bias": None, "recurrent_bias": (4,)}, True),
    **{f"clip, {k}": (k, {"clip": 0.3}, True) for k in KINDS},
    **{f"reverse, {k}": (k, {"reverse": True}, True) for k in KINDS},
    "functions": (
        "LSTM",
        {"gate": g.HARD_SIGMOID_KERAS3, "candidate": g.Fn("elu", 0.7), "output": g.LINEAR},
        True,
    ),
    "alphas in turn": ("GRU", {"gate": g.Fn("leaky_relu", 0.3), "candidate": g.RELU}, True),
    "a function of its own": ("GRU", {"candidate": g.Fn("gelu")}, False),
    "a leak that begins elsewhere": ("RNN", {"activation": g.Fn("leaky_relu", 0.3, 1.5)}, False),
}


def cell(kind, fields, inputs=("x0",), seed=20, outputs=None):
    """A layer with 3 features in and 4 units; a tuple of sizes is a weight."""
    net = Net(seed)
    x = net.input(3)
    rows = 4 * KINDS[kind].gates
    given = {k: net.weight(*v) if isinstance(v, tuple) else v for k, v in fields.items()}
    size = 3 if "weight_hr" in fields else 4
    for name in inputs[1:]:
        if name is None:
            continue
        features = {"mask": 1, "n": 1, "h0": size, "c0": 4}[name]
        axes = (g.BATCH, g.TIME, 1) if name == "mask" else (g.BATCH, features)
        net.inputs.append(g.Value(name, axes, "int64" if name == "n" else "float32"))
        net.specs[name] = net.inputs[-1].spec
    inputs = list(inputs)
    if "n" in inputs:
        inputs[1] = net.simple(g.StepMask, ("n", x))
    base = {"weight_ih": net.weight(rows, 3), "weight_hh": net.weight(rows, size)}
    net.add(
        KINDS[kind], inputs, outputs or ("y", *KINDS[kind].states),
        **{**base, "bias": net.weight(rows), **given},
    )  # fmt: skip
    return net.graph(*(o for o in net.layers[-1].outputs if o))


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("outputs", ["yhc", "h", "y"])
def test_options_of_cells(option, outputs):
    kind, fields, by_operator = OPTIONS[option]
    wanted = [o if o in outputs else None for o in ("y", *KINDS[kind].states)]
    graph = cell(kind, fields, outputs=wanted)
    made = agree(graph)
    assert [n for n in nodes(made) if n in (*KINDS, "Scan")] == [kind if by_operator else "Scan"]
    if by_operator:
        back(graph, made)
    if not by_operator and not fields.get("reverse"):
        agree(graph, run=evaluator)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", ["h", "c", "hc"])
def test_initial_states(kind, given, reverse):
    names = ["h0" if "h" in given else None, "c0" if "c" in given else None]
    names = names[: len(KINDS[kind].states)]
    for fields in ({}, {"bias": None}, *([{"weight_hr": (3, 4)}] if kind == "LSTM" else [])):
        graph = cell(kind, {"reverse": reverse, **fields}, ("x0", None, *names))
        made = agree(graph)
        if "weight_hr" not in fields:
            back(graph, made)


@pytest.mark.parametrize("kind", KINDS)
def test_learned_states_stay_constants(kind):
    net = Net(21)
    x = net.input(3)
    rows = 4 * KINDS[kind].gates
    fills = [net.simple(g.Fill, x, value=net.weight(4)) for _ in KINDS[kind].states]
    net.add(
        KINDS[kind], (x, None, *fills), ("y", *KINDS[kind].states),
        weight_ih=net.weight(rows, 3), weight_hh=net.weight(rows, 4),
    )  # fmt: skip
    graph = net.graph(*(o for o in net.layers[-1].outputs if o))
    again = back(graph, agree(graph))
    assert [type(x) for x in again.layers] == [type(x) for x in graph.layers]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("begun", [False, True])
def test_lengths_and_masks(kind, reverse, hold, begun):
    """Numbers of steps are sequence_lens, unless masked steps repeat the last output."""
    states = [f"{s}0" for s in KINDS[kind].states] if begun else []
    fields = {"reverse": reverse, "hold": hold}
    made = agree(cell(kind, fields, ("x0", "n", *states)))
    assert ("Scan" in nodes(made)) == hold
    if not hold:
        assert next(n for n in made.graph.node if n.op_type == kind).input[4]
        back(cell(kind, fields, ("x0", "n", *states)), made)

    graph = cell(kind, fields, ("x0", "mask", *states))
    there, model = runtime(onnx_export.to_onnx(graph)), from_graph(graph)
    rng = np.random.default_rng(5)
    for batch, time in ((1, 1), (4, 9)):
        x = {v.name: rng.standard_normal(v.shape(batch, time), np.float32) for v in graph.inputs}
        x["mask"] = rng.integers(0, 2, x["mask"].shape).astype(np.float32)
        x["mask"][0, :2] = 0
        same(graph, x, there(x), model.predict(x))


def test_a_row_without_a_step():
    """Zeros, but for an initial state, of which ONNX Runtime makes zeros too."""
    graph = cell("LSTM", {}, ("x0", "n"))
    x = {"x0": np.ones((2, 3, 3), np.float32), "n": np.int64([[0], [2]])}
    want = from_graph(graph).predict(x)
    same(graph, x, runtime(onnx_export.to_onnx(graph))(x), want)
    assert not begins_empty(graph, x)
    begun = cell("LSTM", {}, ("x0", "n", "h0", "c0"))
    x |= {n: np.ones((2, 4), np.float32) for n in ("h0", "c0")}
    got = runtime(onnx_export.to_onnx(begun))(x)
    assert begins_empty(begun, x) and not got["v1h"][0].any()
    assert from_graph(begun).predict(x)["v1h"][0].all()


def test_sequences_of_no_rows():
    graph = lstm_graph(3, 4)
    there = runtime(onnx_export.to_onnx(graph))
    assert there({"x0": np.zeros((1, 1, 3), np.float32)})["v0s"].shape == (1, 1, 4)


# ------------------------------------------------------------------------------- state from outside


def test_states_go_in_and_out_as_they_did():
    state = g.Value("cache", (g.BATCH, 3, g.TIME), time=2, clock=None)
    layers = [
        g.Reverse(name="r", inputs=("cache",), outputs=("back",)),
        g.LastStep(name="l", inputs=("back",), outputs=("row",)),
        g.Combine(name="c", inputs=("row", "x"), outputs=("y",), op="subtract"),
        g.Concat(name="new", inputs=("x", "y"), outputs=("next",)),
    ]
    call = g.Graph(
        [g.Value("x", (g.BATCH, 3)), state],
        [g.Value("y", (g.BATCH, 3)), g.Value("next", (g.BATCH, 3, 2))],
        layers,
    )
    source = onnx_export.to_onnx(call)
    bound = lstmc.convert(source, state="next:cache").graph
    assert bound.bindings
    made = onnx_export.to_onnx(bound)
    for group in ("input", "output"):
        before, after = (getattr(m.graph, group) for m in (source, made))
        assert [(v.name, shape(v)) for v in after] == [(v.name, shape(v)) for v in before]
    calls(bound, made)
    calls(bound, made, evaluator)


def test_a_stateful_file_is_one_call_of_its_source():
    graph = lstmc.load(DATA / "v1_stateful.lstmc").graph
    made = onnx_export.to_onnx(graph)
    calls(graph, made)
    assert [v.name for v in made.graph.input][-len(graph.bindings) :] == [
        b.input.name for b in graph.bindings
    ]
    state = {b.output.name: b.input.name for b in graph.bindings}
    again = lstmc.convert(made, state=state)
    assert list(again.outputs) == [v.name for v in graph.outputs]
    assert list(again.states) == list(state.values())


@pytest.mark.parametrize("path", sorted(DATA.glob("*.lstmc")), ids=lambda p: p.stem)
def test_files_of_old(path):
    graph = lstmc.load(path).graph
    if not graph.bindings:
        agree(graph, times=(4, 9))


# --------------------------------------------------------------------------------- files and errors


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
    monkeypatch.setattr(onnx_export, "LARGEST", 100)
    with pytest.raises(lstmc.ConversionError, match="bytes, an ONNX file 100 at most"):
        onnx_export.to_onnx(graph)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(lstmc.ConversionError, match="pip install onnx"):
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
