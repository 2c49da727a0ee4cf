"""ONNX Loop and Scan as recurrent layers: spelled in many ways, as exporters write them, and wrong.

Nothing may be mis-converted: a body that is changed at random is refused, or gives what ONNX
Runtime gives.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from helpers import ROOT
from lstmc.converters import from_onnx

from lstmc import errors, graph

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from loop_nets import BOOL, INT64, ROWS, WRITERS, Speller, body_of, info, loop_net, scan  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_nets import FLOAT, NEWEST, Net, agree, close, data, kinds, onnx_reference, onnx_run, run  # noqa: E402

LAYERS = {"LSTM": graph.LSTM, "GRU": graph.GRU, "RNN": graph.RNN}


def feeds_of(net: Net, time: int, batch: int, sizes: tuple[int, int] = (3, 4)) -> Any:
    feeds = {"x": data(time, batch, sizes[0], seed=time)}
    return feeds | {i.name: data(batch, sizes[1], seed=9) for i in net.inputs[1:]}


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("writer", WRITERS)
def test_cells_in_many_spellings(writer: str, kind: str, seed: int) -> None:
    """The cell is found, one layer, for several lengths and batches."""
    net = loop_net(writer, kind, seed)
    g = from_onnx.convert(net.model())
    assert [k for k in kinds(g) if k != "Fill"] == [kind]
    for time, batch in ((6, 2), (1, 1), (2, 5)):
        feeds = feeds_of(net, time, batch)
        close(run(g, feeds), onnx_run(net.model(), feeds))


@pytest.mark.parametrize("opset", [11, 13, 16, 19, 21])
@pytest.mark.parametrize("writer", ["Loop", "Scan", "tf2onnx"])
def test_opsets(writer: str, opset: int) -> None:
    for kind in ROWS:
        net = loop_net(writer, kind, 3, opset=opset)
        model = net.model()
        close(
            run(from_onnx.convert(model), feeds_of(net, 5, 2)), onnx_run(model, feeds_of(net, 5, 2))
        )


# -------------------------------------------------------------------------------- exporters' files


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("keras_gru", ["GRU"]),
        ("keras_gru_before", ["GRU"]),
        ("keras_gru_relu", ["GRU"]),
        ("keras_rnn", ["RNN"]),
        ("keras_stacked", ["LSTM", "LSTM"]),
        ("torch_cell", ["LSTM"]),
        ("torch_gru", ["GRU", "Dense"]),
        ("torch_backwards", ["Reverse", "RNN"]),
        ("torch_joined", ["LSTM"]),
    ],
)
def test_recorded(name: str, layers: list[str]) -> None:
    """Files made by tests/tools/record_loops.py."""
    model = onnx.load(ROOT / f"tests/data/loops/{name}.onnx")
    g = from_onnx.convert(model)
    assert kinds(g) == layers
    for time, batch in ((7, 2), (1, 1), (3, 4)):
        sizes = {"time": time, "batch": batch}
        shapes = {v.name: [sizes.get(str(a), a) for a in v.axes] for v in g.inputs}
        feeds = {n: data(*(int(i) for i in s), seed=time) for n, s in shapes.items()}
        close(run(g, feeds), onnx_run(model, feeds))


# ----------------------------------------------------------------------------------- Scan, in full


@pytest.mark.parametrize("turned", [(0, 0), (1, 1), (1, 0), (0, 1)])
@pytest.mark.parametrize("axes", [(0, 0), (1, 1), (0, 2)])
@pytest.mark.parametrize("kind", ROWS)
def test_directions_and_axes(kind: str, turned: tuple[int, int], axes: tuple[int, int]) -> None:
    net = Net(17)
    x = net.input("x", *(("T", "N", 3) if axes[0] == 0 else ("N", "T", 3)))
    states = [net.input(f"state{i}", "N", 4) for i in range(2 if kind == "LSTM" else 1)]
    net.output(
        *scan(
            net, x, kind, states, (3, 4), 1,
            scan_input_directions=[turned[0]], scan_output_directions=[turned[1]],
            scan_input_axes=[axes[0]], scan_output_axes=[axes[1]],
        )
    )  # fmt: skip
    feeds = {"x": data(5, 2, 3) if axes[0] == 0 else data(2, 5, 3)}
    g = agree(net, **feeds, **{s: data(2, 4, seed=7) for s in states})
    (layer,) = [layer for layer in g.layers if isinstance(layer, LAYERS[kind])]
    assert layer.reverse == bool(turned[0])


def custom(body: Net, inputs: list[Any], outputs: list[Any]) -> Any:
    inner = [numpy_helper.from_array(a, k) for k, a in body.initializers.items()]
    return helper.make_graph(body.nodes, "body", inputs, outputs, inner)


def test_several_sequences_and_what_is_the_same_in_each_step() -> None:
    """Two sequences, a context of the batch, and layers before and behind the cell in the loop."""
    net = Net(17)
    x, y = net.input("x", "T", "N", 3), net.input("y", "T", "N", 2)
    context, h = net.input("context", "N", 2), net.input("h", "N", 4)
    body = body_of(net, 5)
    before = body.node("Relu", body.node("MatMul", "xt", body.weight(3, 3)))
    joined = body.node("Concat", before, context, "yt", axis=1)
    (after,) = Speller(body, body.rng).gru(joined, "before", 7, 4)
    behind = body.node("Softplus", body.node("MatMul", after, body.weight(4, 2)))
    mixed = body.node("Mul", behind, "yt")
    inputs = [info(n, FLOAT, [None, s]) for n, s in (("before", 4), ("xt", 3), ("yt", 2))]
    outputs = [info(after), info(mixed)]
    made = net.node(
        "Scan", h, x, y, outputs=2, num_scan_inputs=2, body=custom(body, inputs, outputs)
    )
    net.output(*made)
    feeds = {"x": data(5, 2, 3), "y": data(5, 2, 2), "context": data(2, 2), "h": data(2, 4)}
    g = agree(net, **feeds)
    assert kinds(g).count("GRU") == 1


@pytest.mark.parametrize("seed", range(6))
def test_cells_on_cells_in_one_loop(seed: int) -> None:
    net = Net(17, seed)
    x, states = net.input("x", "T", "N", 3), [net.input(f"s{i}", "N", 4) for i in range(4)]
    body = body_of(net, seed)
    speller = Speller(body, body.rng)
    h, c = speller.lstm("xt", "a", "b", 3, 4)
    (second,) = speller.gru(h, "c", 4, 4)
    (third,) = speller.rnn(second, "d", 4, 4)
    inputs = [info(n, FLOAT, [None, 4]) for n in "abcd"] + [info("xt", FLOAT, [None, 3])]
    twin = body.node("Identity", third)
    outputs = [info(n) for n in (h, c, second, third, twin)]
    graph_ = custom(body, inputs, outputs)
    net.output(*net.node("Scan", *states, x, outputs=5, num_scan_inputs=1, body=graph_))
    g = agree(net, x=data(5, 2, 3), **{s: data(2, 4, seed=i) for i, s in enumerate(states)})
    assert kinds(g) == ["LSTM", "GRU", "RNN"]


@pytest.mark.parametrize("whole", [1, 2])
def test_coupled_gates(whole: int) -> None:
    """f = 1 - i; what is 2 - i is no gate."""
    net = Net(17)
    x, states = net.input("x", "T", "N", 3), [net.input(s, "N", 4) for s in "hc"]
    body = body_of(net, 2)
    i, o, new = Speller(body, body.rng).sums("xt", "h0", 3, 4, 3)
    i, o, new = body.node("Sigmoid", i), body.node("Sigmoid", o), body.node("Tanh", new)
    f = body.node("Sub", body.const(np.float32(whole)), i)
    c = body.node("Add", body.node("Mul", f, "c0"), body.node("Mul", i, new))
    h = body.node("Mul", o, body.node("Tanh", c))
    inputs = [info("h0", FLOAT, [None, 4]), info("c0", FLOAT, [None, 4]), info("xt")]
    graph_ = custom(body, inputs, [info(h), info(c)])
    net.output(*net.node("Scan", *states, x, outputs=2, num_scan_inputs=1, body=graph_))
    if whole == 2:
        with pytest.raises(errors.ConversionError, match="not a recurrent cell lstmc knows"):
            from_onnx.convert(net.model())
        return
    g = agree(net, x=data(5, 2, 3), h=data(2, 4), c=data(2, 4, seed=3))
    assert g.layers[0].coupled


# ------------------------------------------------------------------------------- what must not pass

FUNCTIONS, PAIRS = ("Sigmoid", "Tanh", "Identity", "Relu", "Neg"), ("Mul", "Add", "Sub")


def mutate(model: Any, rng: np.random.Generator) -> bool:
    """Change something of the loop's body; False if there is nothing of that kind."""
    (loop,) = [n for n in model.graph.node if n.op_type in ("Loop", "Scan")]
    (body,) = [a.g for a in loop.attribute if a.name == "body"]
    names = [o for n in body.node for o in n.output] + [i.name for i in body.input]

    def one(*ops: str) -> Any:
        found = [n for n in body.node if n.op_type in ops]
        return found[rng.integers(len(found))] if found else None

    def other(options: Any, than: str) -> str:
        return str(rng.choice([o for o in options if o != than]))

    node: Any = True
    match rng.integers(6):
        case 0:
            if node := one("Sigmoid", "Tanh"):
                node.op_type = other(FUNCTIONS, node.op_type)
        case 1:
            if node := one(*PAIRS):
                node.op_type = other(PAIRS, node.op_type)
        case 2:
            if node := one(*PAIRS, "Sigmoid", "Tanh"):
                node.input[rng.integers(len(node.input))] = str(rng.choice(names))
        case 3:  # gates in another order, which is a cell again
            if node := one("Split"):
                i, j = rng.permutation(len(node.output))[:2]
                node.output[i], node.output[j] = node.output[j], node.output[i]
        case 4:
            at = rng.integers(len(body.output))
            # ONNX Runtime takes each output once, and gives garbage for an input as an output
            free = set(names) - {o.name for o in body.output} - {i.name for i in body.input}
            body.output[at].name = str(rng.choice(sorted(free)))
        case _:
            if node := one("MatMul", "Gemm", "Concat", "Sub"):
                node.input[0] = str(rng.choice(names))
    return bool(node)


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("writer", WRITERS)
def test_mutants_are_refused_or_equal(writer: str, kind: str) -> None:
    seen: Counter[str] = Counter()
    for seed in range(60):
        net = loop_net(writer, kind, seed, (4, 4))
        model = net.model()
        if not mutate(model, np.random.default_rng(1000 + seed)):
            continue
        try:
            g = from_onnx.convert(model)
        except (errors.ConversionError, errors.FormatError):
            seen["refused"] += 1
            continue
        feeds = feeds_of(net, 3, 4, (4, 4))
        try:
            expected = onnx_run(model, feeds)
        except Exception:  # a model that ONNX Runtime doesn't take either: nothing to compare
            seen["no oracle"] += 1
            continue
        close(run(g, {v.name: feeds[v.name] for v in g.inputs}), expected)
        seen["equal"] += 1
    assert seen["refused"] > 8
    assert seen["equal"] > 2
    assert seen["no oracle"] < 4


@pytest.mark.parametrize(("kind", "seed"), [("LSTM", 2), ("GRU", 2), ("GRU", 3)])
def test_every_wrong_wire_is_refused_or_equal(kind: str, seed: int) -> None:
    """Each input of a function, a sum or a product in the body, replaced by each other tensor."""
    net = loop_net("Loop", kind, seed, (4, 4))
    feeds = feeds_of(net, 3, 4, (4, 4))
    plain = net.model()
    body_at = next(i for i, n in enumerate(plain.graph.node) if n.op_type == "Loop")
    wires = [(n.name, list(n.input)) for n in body(plain, body_at).node]
    small = [n.output[0] for n in body(plain, body_at).node if n.op_type in (*PAIRS, *FUNCTIONS)]
    small += [v.name for v in body(plain, body_at).input[2:]]
    seen: Counter[str] = Counter()
    for at, (_, inputs) in enumerate(wires):
        if body(plain, body_at).node[at].op_type not in (*PAIRS, *FUNCTIONS[:2]):
            continue
        for i, old in enumerate(inputs):
            for new in small if old in small else []:
                model = net.model()
                body(model, body_at).node[at].input[i] = new
                try:
                    g = from_onnx.convert(model)
                except (errors.ConversionError, errors.FormatError):
                    seen["refused"] += 1
                    continue
                got = run(g, {v.name: feeds[v.name] for v in g.inputs})
                close(got, onnx_run(model, feeds))
                seen["equal"] += 1
    assert seen["refused"] > 10
    assert seen["equal"] >= 1


def body(model: Any, at: int) -> Any:
    return next(a.g for a in model.graph.node[at].attribute if a.name == "body")


def loop(
    change: str = "", trip: Any = None, going: Any = True, **options: Any
) -> tuple[Net, dict[str, np.ndarray]]:
    """A Loop of an RNN with a scan output, with one thing changed."""
    net = Net(17)
    x, h = net.input("x", "T", "N", 4), net.input("h", "N", 4)
    body = body_of(net, 3)
    at = "i"
    if change == "next step":
        at = body.node("Sub", "i", body.const(np.int64(1)))
    step = body.node("Gather", x, at, axis=0)
    if change == "every second":
        step = body.node("Gather", x, body.node("Add", "i", "i"), axis=0)
    if change == "gather of one":
        step = body.node("Gather", x, body.axes_op("Unsqueeze", "i", [0]), axis=0)
        step = body.axes_op("Squeeze", step, [0])
    (after,) = Speller(body, body.rng).rnn(step, "before", 4, 4)
    if change == "two products of x":
        products = [body.node("MatMul", step, body.weight(4, 4)) for _ in range(2)]
        both = body.node("Add", *products)
        own = body.node("MatMul", "before", body.weight(4, 4))
        after = body.node("Tanh", body.node("Add", both, own))
    result = body.node("Identity", after)
    if change == "c of each step":
        result = body.node("Identity", "before")
    if change == "sequence in a step":
        result = body.node("Add", result, body.node("ReduceMean", x, axes=[0], keepdims=0))
    if change == "all steps in a step":
        result = body.node("Add", result, x)
    if change == "early exit":
        most = body.node("ReduceMax", after, keepdims=0)
        cond = body.node("Less", most, body.const(np.float32(0.9)))
    elif change == "condition of data":
        cond = body.node("Equal", after, body.const(np.float32(0.5)))
    elif change == "stops at 3":
        cond = body.node("Less", "i", body.const(np.int64(2)))
    elif change == "stops one early":
        size = body.node("Gather", body.node("Shape", x), body.const(np.int64(0)), axis=0)
        cond = body.node("Less", body.node("Add", "i", body.const(np.int64(2))), size)
    elif change == "stops in time":
        size = body.node("Gather", body.node("Shape", x), body.const(np.int64(0)), axis=0)
        cond = body.node("Less", body.node("Add", "i", body.const(np.int64(1))), size)
    elif change == "inner loop":
        cond = body.node("Identity", "going")
        same = [info("go", BOOL, []), info("k")]
        nothing = helper.make_graph([], "in", [info("j", INT64, []), *same], same, [])
        two = body.const(np.int64(2))
        result = body.node("Loop", two, "", result, body=nothing)
    else:
        cond = body.node("Identity", "going")
    inputs = [info("i", INT64, []), info("going", BOOL, []), info("before", FLOAT, [None, 4])]
    outputs = [info(cond, BOOL, []), info(after), info(result)]
    count = net.node("Gather", net.node("Shape", x), net.const(np.int64(0)), axis=0)
    if change == "other length":
        count = net.node("Gather", net.node("Shape", x), net.const(np.int64(1)), axis=0)
    if change == "fixed length":
        count = net.const(np.int64(4))
    if change == "no trip count":
        count = ""
    states, made = [h], 2
    if change == "extra state":
        extra = body.node("Mul", "old", after)
        inputs.append(info("old", FLOAT, [None, 4]))
        outputs.insert(2, info(extra))
        states, made = [h, net.input("old0", "N", 4)], 3
    if change == "counts by two":
        outputs.insert(2, info(body.node("Add", "n", body.const(np.int64(2))), INT64, []))
        inputs.append(info("n", INT64, []))
        states, made = [h, net.const(np.int64(0))], 3
    start = "" if going is True else net.const(np.array(False))
    outs = net.node("Loop", count, start, *states, outputs=made, body=custom(body, inputs, outputs))
    net.output(outs[0], outs[-1])
    return net, {"x": data(4, 2, 4), "h": data(2, 4)}


REFUSED = {
    "next step": "reads another step of a sequence than the one that the loop is at",
    "every second": "computes with the number of the step in a way that is not supported",
    "c of each step": "a recurrent cell lstmc knows: it gives 'before/before' of each step",
    "early exit": "reduces over the batch, which lstmc keeps row by row",
    "condition of data": "its condition depends on what it computes",
    "stops at 3": "does not run once for every step of its sequences",
    "stops one early": "may end the loop before its sequence ends",
    "two products of x": "a recurrent cell lstmc knows: 'before' becomes tanh((W ['x/step'",
    "other length": "does not run once for every step of its sequences",
    "fixed length": "does not run once for every step of its sequences",
    "no trip count": "has no trip count: how long it runs depends on the data",
    "extra state": "a recurrent cell lstmc knows: 'old' becomes ('old/before' * ",
    "counts by two": "is an integer that doesn't count the steps",
    "inner loop": "is within another loop; it is not supported",
    "all steps in a step": "a recurrent cell lstmc knows: it computes Combine",
    "sequence in a step": "a recurrent cell lstmc knows: it",
}


@pytest.mark.parametrize("change", ["", "gather of one", "stops in time"])
def test_the_net_of_the_refusals_converts(change: str) -> None:
    net, feeds = loop(change)
    agree(net, **feeds)


@pytest.mark.parametrize("change", REFUSED)
def test_loops_refused(change: str) -> None:
    net, _ = loop(change)
    with pytest.raises(errors.ConversionError) as e:
        from_onnx.convert(net.model())
    assert REFUSED[change] in str(e.value), str(e.value)
    assert str(e.value).startswith("node '")


def test_a_state_that_no_step_changes() -> None:
    """It is a constant of the batch. (ONNX Runtime gives garbage for it.)"""
    net = Net(17)
    x, h, s = net.input("x", "T", "N", 3), net.input("h", "N", 4), net.input("s", "N", 4)
    body = body_of(net, 1)
    both = body.node("Concat", "xt", "s0", axis=1)
    (after,) = Speller(body, body.rng).gru(both, "h0", 7, 4)
    inputs = [info("h0", FLOAT, [None, 4]), info("s0", FLOAT, [None, 4]), info("xt")]
    graph_ = custom(body, inputs, [info(after), info("s0")])
    made = net.node("Scan", h, s, x, outputs=2, num_scan_inputs=1, body=graph_)
    net.output(*made)
    agree(net, onnx_reference, x=data(4, 2, 3), h=data(2, 4), s=data(2, 4, seed=5))


def test_a_condition_that_is_false_is_refused() -> None:
    net, _ = loop(going=False)
    with pytest.raises(errors.ConversionError, match="its condition is not constant"):
        from_onnx.convert(net.model())


def test_constant_states_that_differ_by_row_are_refused() -> None:
    net = Net(17)
    x = net.input("x", "T", "N", 3)
    net.output(*scan(net, x, "RNN", [net.const(data(2, 4))], (3, 4), 1))
    with pytest.raises(errors.ConversionError, match="a different constant for each row"):
        from_onnx.convert(net.model())


def test_scan_of_opset_8_is_refused() -> None:
    net = loop_net("Scan", "RNN", 0)
    model = net.model()
    (node,) = [n for n in model.graph.node if n.op_type == "Scan"]
    node.input.insert(0, "")
    model.opset_import[0].version = 8
    with pytest.raises(errors.Error):
        from_onnx.convert(model)


def test_deep_bodies_are_an_error() -> None:
    """However long a chain of operations: a message, no recursion without end."""
    net = Net(17)
    x, h = net.input("x", "T", "N", 4), net.input("h", "N", 4)
    body = body_of(net, 1)
    y = body.node("Add", "xt", "h0")
    for _ in range(2000):
        y = body.node("Tanh", body.node("Mul", y, y))
    graph_ = custom(body, [info("h0", FLOAT, [None, 4]), info("xt")], [info(y)])
    net.output(net.node("Scan", h, x, num_scan_inputs=1, body=graph_))
    with pytest.raises(errors.ConversionError, match="over 150 operations one after the other"):
        from_onnx.convert(net.model())


def test_wide_bodies_take_no_time() -> None:
    """Each of 100 values is read twice by the next, and then cut in two: no work may double."""
    net = Net(17)
    x, h = net.input("x", "T", "N", 4), net.input("h", "N", 4)
    body = body_of(net, 1)
    y = body.node("Add", "xt", "h0")
    for _ in range(100):
        y = body.node("Mul", y, y)
    y = body.node("Concat", body.slice(y, 2, 4, 1), body.slice(y, 0, 2, 1), axis=1)
    graph_ = custom(body, [info("h0", FLOAT, [None, 4]), info("xt")], [info(y)])
    net.output(net.node("Scan", h, x, num_scan_inputs=1, body=graph_))
    with pytest.raises(errors.ConversionError, match="not a recurrent cell lstmc knows"):
        from_onnx.convert(net.model())


def test_newest_opset_checks() -> None:
    """Loop and Scan declared at the newest opset convert too; ONNX Runtime may not have it yet."""
    for writer in ("Loop", "Scan"):
        g = from_onnx.convert(loop_net(writer, "GRU", 0, opset=NEWEST).model())
        assert kinds(g) == ["GRU"]
    assert TensorProto.FLOAT == FLOAT
