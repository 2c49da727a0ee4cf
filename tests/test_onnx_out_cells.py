"""Functions, recurrent layers with each option, and states from outside, written as ONNX and run
there; beside test_onnx_out.py."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from helpers import DATA, FUNCTIONS, Net

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
from lstmc.converters.state import bind
from onnx_out import agree, back, begins_empty, calls, evaluator, nodes, runtime, same, shape

import lstmc
from lstmc import graph as g
from lstmc import onnx_export
from lstmc.model import from_graph

KINDS = {"LSTM": g.LSTM, "GRU": g.GRU, "RNN": g.RNN}


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


def test_squareplus_far_below_zero():
    """Where x and the root of its square cancel."""
    net = Net(22)
    graph = net.graph(net.simple(g.Activation, net.input(4), activation=g.Fn("squareplus", 4)))
    x = -np.geomspace(1, 1e18, 60, dtype=np.float32).reshape(1, 15, 4)
    (y,) = runtime(onnx_export.to_onnx(graph))({"x0": x}).values()
    np.testing.assert_allclose(y, from_graph(graph).predict(x), rtol=1e-5)


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


# ------------------------------------------------------------------------------- state from outside


def test_states_go_in_and_out_as_they_did():
    """A state of two steps, whose floats lie step by step inside and otherwise in the source."""
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
    bound = bind(copy.deepcopy(call), "next:cache")
    made = onnx_export.to_onnx(bound)
    for group in ("input", "output"):
        before, after = (getattr(m.graph, group) for m in (source, made))
        assert [(v.name, shape(v)) for v in after] == [(v.name, shape(v)) for v in before]
    calls(bound, made)
    calls(bound, made, evaluator)
    rng = np.random.default_rng(2)
    x = {v.name: rng.standard_normal(v.shape(2), np.float32) for v in call.inputs}
    same(call, x, runtime(made)(x), runtime(source)(x))


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
