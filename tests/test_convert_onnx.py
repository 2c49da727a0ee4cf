"""ONNX models against ONNX Runtime, onnx.reference and the node tests; refusals; hostile files."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lstmc.converters import convert, from_onnx, onnx_fold, onnx_layers, onnx_ops, onnx_values

from lstmc import errors, graph

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_nets import (  # noqa: E402
    FLOAT,
    NEWEST,
    OPSETS,
    Net,
    agree,
    close,
    data,
    kinds,
    onnx_reference,
    onnx_run,
    run,
)

# ---------------------------------------------------------------------------------- random models

ACTIVATIONS = [
    None,
    (["Sigmoid", "Tanh", "Tanh"], {}),
    (["HardSigmoid", "Tanh", "Relu"], {"activation_alpha": [0.3], "activation_beta": [0.4]}),
    (["Sigmoid", "Relu", "Tanh"], {}),
    (["HardSigmoid", "HardSigmoid", "Tanh"], {"activation_alpha": [0.1, 0.25]}),
    (
        ["Sigmoid", "Affine", "Tanh"],
        {"activation_alpha": [1.0], "activation_beta": [0.0]},
    ),
    (["Sigmoid", "Tanh", "HardSigmoid"], {"activation_alpha": [0.15], "activation_beta": [0.1]}),
]


def random_zeros(net: Net, x: str, hidden: int, batch: int, batch_axis: int) -> str:
    """An initial state as exporters write it: zeros, of the batch size of x."""
    how = net.rng.integers(3)
    if how == 0 or net.opset < 9:
        return net.const(np.zeros((1, batch, hidden), np.float32))
    size = net.node("Gather", net.node("Shape", x), net.const(np.int64(batch_axis)), axis=0)
    one, h = net.const(np.array([1])), net.const(np.array([hidden]))
    shape = net.node("Concat", one, net.axes_op("Unsqueeze", size, [0]), h, axis=0)
    if how == 1:
        return net.node("ConstantOfShape", shape)
    return net.node("Expand", net.const(np.zeros((1, 1, hidden), np.float32)), shape)


def random_net(opset: int, seed: int) -> tuple[Net, dict[str, np.ndarray]]:
    net = Net(opset, seed)
    rng = net.rng
    time, batch, features = (int(n) for n in rng.integers(1, 6, 3))
    batch_major, fixed = bool(rng.integers(2)), bool(rng.integers(2))
    sizes = (time, batch) if fixed else ("T", "N")
    shape = (*sizes, features)
    if batch_major:
        shape = (shape[1], shape[0], features)
    x = net.input("x", *shape)
    feed = data(*(batch, time, features) if batch_major else (time, batch, features), seed=seed)
    batch_axis = 0 if batch_major else 1
    y = net.node("Transpose", x, perm=[1, 0, 2]) if batch_major else x
    if rng.integers(2):
        y, features = dense(net, y, features, rank=3)
    for _ in range(rng.integers(1, 3)):
        hidden = int(rng.integers(1, 7))
        attrs: dict[str, Any] = {"bias": bool(rng.integers(2))}
        if (chosen := ACTIVATIONS[rng.integers(len(ACTIVATIONS))]) is not None:
            attrs.update(activations=chosen[0], **chosen[1])
        extra: tuple[str, ...] = ()
        if rng.integers(2):
            zeros = random_zeros(net, x, hidden, batch, batch_axis)
            extra = ("", zeros, zeros)
        sequence, h, c = net.lstm(y, features, hidden, extra, **attrs)
        y, features = net.axes_op("Squeeze", sequence, [1]), hidden
    rank = 3
    match rng.integers(5):
        case 0:
            y, rank = net.axes_op("Squeeze", h, [0]), 2
        case 1:
            y, rank = net.axes_op("Squeeze", c, [0]), 2
        case 2 if opset >= 11:
            y, rank = net.node("Gather", y, net.const(np.int64(-1)), axis=0), 2
        case 3:
            y = net.axes_op("Squeeze", net.slice(y, -1, 2**31 - 1, 0), [0])
            rank = 2
        case _:
            y = net.node("Transpose", y, perm=[1, 0, 2]) if batch_major else y
    for _ in range(rng.integers(3)):
        y, features = dense(net, y, features, rank)
    if rng.integers(3) == 0:
        y = net.node("Softmax", y, axis=rank - 1)
    net.output(y, *(n for n in (sequence, h, c) if rng.integers(3) == 0 and n != y))
    return net, {"x": feed}


def dense(net: Net, y: str, features: int, rank: int) -> tuple[str, int]:
    """Gemm or MatMul, with or without bias and activation."""
    rng, units = net.rng, int(net.rng.integers(1, 6))
    if rank == 2 and rng.integers(2):
        turned = bool(rng.integers(2))
        w = net.weight(units, features) if turned else net.weight(features, units)
        bias = [net.weight(*s) for s in [(units,), (1, units), (1,)]][rng.integers(3)]
        alpha, beta = rng.choice([1.0, 0.5, -2.0], 2).tolist()
        y = net.node("Gemm", y, w, bias, transB=int(turned), alpha=alpha, beta=beta)
    else:
        y = net.node("MatMul", y, net.weight(features, units))
        if rng.integers(3):
            pair = [y, net.weight(*[(units,), (1, units), (1,)][rng.integers(3)])]
            y = net.node("Add", *(pair if rng.integers(2) else pair[::-1]))
    if (op := rng.choice(["", "Relu", "Tanh", "Sigmoid", "HardSigmoid", "Identity"])) != "":
        y = net.node(str(op), y, **({"alpha": 0.3, "beta": 0.4} if op == "HardSigmoid" else {}))
    return y, units


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("opset", OPSETS)
def test_random_models(opset: int, seed: int) -> None:
    net, feeds = random_net(opset, 1000 * opset + seed)
    agree(net, **feeds)


@pytest.mark.parametrize("opset", [14, 22, NEWEST])
@pytest.mark.parametrize("activations", [None, *ACTIVATIONS[1:4]])
def test_layout_1(opset: int, activations: Any) -> None:
    """Against layout 0 with Transposes, as ONNX Runtime has no layout 1; onnx.reference has."""
    attrs = {} if activations is None else {"activations": activations[0], **activations[1]}
    net = Net(opset)
    y = net.lstm(net.input("x", "N", "T", 3), 3, 4, layout=1, **attrs)
    x = data(5, 7, 3)
    twin = Net(opset)
    z = twin.lstm(
        twin.node("Transpose", twin.input("x", "N", "T", 3), perm=[1, 0, 2]), 3, 4, **attrs
    )
    z = [twin.node("Transpose", n, perm=p) for n, p in zip(z, ([2, 0, 1, 3], *[[1, 0, 2]] * 2))]  # noqa: B905
    model = net.output(*y).model()
    g = from_onnx.convert(model)
    expected = onnx_run(twin.output(*z).model(), {"x": x})
    got = run(g, {"x": x})
    close(dict(zip(z, got.values(), strict=True)), expected)
    if activations is None:
        close(got, onnx_reference(model, {"x": x}))
    assert g.inputs == [graph.Value("x", ("batch", "time", 3))]
    assert [v.axes for v in g.outputs] == [
        ("batch", "time", 1, 4),
        ("batch", 1, 4),
        ("batch", 1, 4),
    ]


def test_onnx_reference_agrees_too() -> None:
    net = Net()
    net.output(*net.lstm(net.input("x", "T", "N", 3), 3, 4))
    agree(net, onnx_reference, x=data(6, 2, 3))


# ------------------------------------------------------------------------------------ names, axes


def test_names_axes_provenance(tmp_path: Path) -> None:
    net = Net(14)
    net.output(*net.lstm(net.input("x", 9, 4, 3), 3, 5))
    onnx.save(net.model(), tmp_path / "net.onnx")
    g = convert(tmp_path / "net.onnx")
    assert g.inputs == [graph.Value("x", ("time", "batch", 3), time=9)]
    y, h, c = g.outputs
    assert (y.name, y.axes, y.time) == (net.outputs[0], ("time", 1, "batch", 5), 9)
    assert h.axes == c.axes == (1, "batch", 5)
    assert g.layers[0].name == net.nodes[0].name
    p = g.provenance
    assert (p["source"], p["file"], p["opset"], p["producer"]) == (
        "onnx",
        "net.onnx",
        "14",
        "tests 1",
    )
    assert p["converter"].startswith("lstmc")
    batch_of_its_own = data(9, 7, 3)  # the batch size in the file is not enforced
    assert run(g, {"x": batch_of_its_own})[y.name].shape == (9, 1, 7, 5)


def test_unused_outputs_are_none() -> None:
    net = Net()
    net.output(net.lstm(net.input("x", "T", "N", 3), 3, 4)[2])
    assert from_onnx.convert(net.model()).layers[0].outputs == (None, None, net.outputs[0])


def test_one_value_under_several_names() -> None:
    net = Net()
    y = net.lstm(net.input("x", "T", "N", 3), 3, 4)[0]
    t = net.node("Transpose", y, perm=[2, 0, 1, 3])
    s = net.axes_op("Squeeze", y, [1])
    net.output(t, s, net.node("Identity", "x"))
    agree(net, x=data(5, 2, 3))
    net.outputs.insert(0, y)
    agree(net, x=data(5, 2, 3))


def test_empty_and_repeated_node_names() -> None:
    net = Net()
    x = net.input("x", "N", 3)
    for _ in range(3):
        x = net.node("MatMul", x, net.weight(3, 3))
    net.output(x)
    net.nodes[0].name = net.nodes[1].name = "same"
    net.nodes[2].name = ""
    g = agree(net, onnx_reference, x=data(2, 3))
    assert [layer.name for layer in g.layers] == ["same", "same_2", net.outputs[0]]


def test_initializers_that_are_inputs() -> None:
    """Before IR version 4 every initializer was an input as well."""
    net = Net(8)
    net.output(net.lstm(net.input("x", "T", "N", 3), 3, 4)[0])
    for name, a in net.initializers.items():
        net.input(name, *a.shape)
    g = agree(net.model(ir_version=3), x=data(5, 2, 3))
    assert [v.name for v in g.inputs] == ["x"]


def test_several_inputs_and_outputs() -> None:
    net = Net()
    a = net.lstm(net.input("a", "T", "N", 3), 3, 4)[1]
    b = net.node("MatMul", net.input("b", "N", 2), net.weight(2, 5))
    net.output(b, a)
    g = agree(net, a=data(4, 2, 3), b=data(2, 2))
    assert [v.axes for v in g.inputs] == [("time", "batch", 3), ("batch", 2)]


def test_features_without_a_declared_size() -> None:
    net = Net()
    net.output(net.lstm(net.input("x", "T", "N", "F"), 3, 4)[0])
    assert from_onnx.convert(net.model()).inputs[0].axes == ("time", "batch", 3)


def test_one_feature_from_unsqueeze() -> None:
    net = Net()
    x = net.axes_op("Unsqueeze", net.input("x", "N", "T"), [2])
    net.output(net.lstm(net.node("Transpose", x, perm=[1, 0, 2]), 1, 4)[0])
    g = agree(net, x=data(3, 6))
    assert g.inputs[0].axes == ("batch", "time")


# -------------------------------------------------------------------------------------- operators


def single(build: Any, *shape: int | str | None, opset: int = 21) -> Net:
    """x -> build(net, x) -> output"""
    net = Net(opset)
    return net.output(build(net, net.input("x", *shape)))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("op", ["Relu", "Sigmoid", "Tanh", "HardSigmoid", "Exp", "Softmax"])
def test_elementwise_alone_and_fused(op: str, opset: int) -> None:
    attrs = {"axis": 1} if op == "Softmax" else {}
    alone = single(lambda n, x: n.node(op, x, **attrs), "N", 3, opset=opset)
    agree(alone, x=data(4, 3))
    fused = single(
        lambda n, x: n.node(op, n.node("MatMul", x, n.weight(3, 5)), **attrs), "N", 3, opset=opset
    )
    g = agree(fused, x=data(4, 3))
    assert kinds(g) == (["Dense", "Softmax"] if op == "Softmax" else ["Dense"])


def test_not_fused_where_the_sum_is_used_too() -> None:
    net = Net()
    y = net.node("MatMul", net.input("x", "N", 3), net.weight(3, 5))
    z = net.node("Add", y, net.weight(5))
    net.output(net.node("Relu", z), z, y)
    g = agree(net, x=data(4, 3))
    assert kinds(g) == ["Dense", "Dense", "Activation"]


def test_two_biases() -> None:
    def build(n: Net, x: str) -> str:
        y = n.node("Gemm", x, n.weight(3, 5), n.weight(5))
        return n.node("Add", n.weight(1, 5), n.node("Add", y, n.weight()))

    assert kinds(agree(single(build, "N", 3), x=data(4, 3))) == ["Dense"]


@pytest.mark.parametrize("opset", [7, 11, 13])
def test_softmax_without_an_axis(opset: int) -> None:
    """Up to opset 12 it means all axes but the first, later the last one."""
    agree(single(lambda n, x: n.node("Softmax", x), "N", 3, opset=opset), x=data(4, 3))
    net = single(lambda n, x: n.node("Softmax", x), "N", 2, 3, opset=opset)
    g = agree(net, x=data(4, 2, 3))
    assert g.inputs[0].axes == ("batch", 2, 3)
    assert g.layers[0].size == (3 if opset >= 13 else 0)


def test_an_axis_may_be_time_and_then_features() -> None:
    """The steps of a sequence of a fixed number become features: a layer Flatten."""
    net = Net()
    x = net.input("x", "N", 2, 3)
    steps = net.node("MatMul", x, net.weight(3, 4))
    net.output(steps, net.node("Gemm", net.node("Flatten", x), net.weight(6, 2)))
    g = agree(net, x=data(4, 2, 3))
    assert kinds(g) == ["Dense", "Flatten", "Dense"]
    assert g.inputs[0].axes == ("batch", "time", 3)


def test_attributes_that_no_handler_reads() -> None:
    """onnx's checker knows the attributes of today's opsets; a handler must know them too."""
    dims = (onnx_values.Dim(None), onnx_values.Dim(3))
    x = onnx_values.Tracked("x", tuple((d,) for d in dims), dims)
    node = onnx_values.Node("n", "Relu", 21, [x], ["x"], ["y"], {"colour": 1})
    with pytest.raises(errors.ConversionError, match="attribute colour is not known"):
        onnx_ops.run(onnx_layers.Builder(), node)


@pytest.mark.parametrize("index", [0, 1, -1, -2, [1]], ids=str)
def test_one_of_several_states(index: Any) -> None:
    """torch's h_n[i] of stacked layers: their states joined, one of them picked."""
    net = Net()
    y, a, _ = net.lstm(net.input("x", "T", "N", 3), 3, 4)
    b = net.lstm(net.axes_op("Squeeze", y, [1]), 4, 4)[1]
    joined = net.node("Concat", a, b, axis=0)
    net.output(net.node("Gather", joined, net.const(np.int64(index)), axis=0))
    agree(net, x=data(5, 2, 3))


@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("bias", [(5, 1), (1,), None])
def test_gemm_with_the_constant_on_the_left(turned: int, bias: Any) -> None:
    def build(n: Net, x: str) -> str:
        w = n.weight(3, 5) if turned else n.weight(5, 3)
        c = [] if bias is None else [n.weight(*bias)]
        y = n.node("Gemm", w, x, *c, transA=turned, transB=1, alpha=0.5, beta=2.0)
        return n.node("Transpose", y)

    agree(single(build, "N", 3), x=data(4, 3))


def test_matmul_with_the_constant_on_the_left() -> None:
    def build(n: Net, x: str) -> str:
        y = n.node("MatMul", n.weight(5, 3), n.node("Transpose", x, perm=[0, 2, 1]))
        return n.node("Transpose", n.node("Add", y, n.weight(5, 1)), perm=[0, 2, 1])

    agree(single(build, "N", "T", 3), x=data(4, 2, 3))


def test_matmul_with_leading_ones() -> None:
    agree(single(lambda n, x: n.node("MatMul", x, n.weight(1, 3, 5)), "N", "T", 3), x=data(4, 2, 3))


@pytest.mark.parametrize("opset", [7, 12, 13, 22])
def test_dropout_is_the_identity(opset: int) -> None:
    def build(n: Net, x: str) -> str:
        extra = [n.const(np.float32(0.5)), n.const(np.bool_(False))] if opset >= 12 else []
        return n.node("Tanh", n.node("Dropout", x, *extra))

    assert kinds(agree(single(build, "N", 3, opset=opset), x=data(4, 3))) == ["Activation"]


@pytest.mark.parametrize("opset", [9, 12, 13])
def test_cast_to_float_and_flatten(opset: int) -> None:
    def build(n: Net, x: str) -> str:
        return n.node("Tanh", n.node("Flatten", n.node("Cast", x, to=1), axis=1))

    g = agree(single(build, "N", 2, 3, opset=opset), x=data(4, 2, 3))
    assert g.inputs[0].axes == ("batch", 2, 3)
    assert g.outputs[0].axes == ("batch", 6)


def lstm_then(build: Any, *shape: int | str | None, opset: int = 21) -> Net:
    def whole(n: Net, x: str) -> str:
        return build(n, n.lstm(x, 3, 4)[0], x)

    return single(whole, *(shape or ("T", "N", 3)), opset=opset)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    "shape",
    [[0, 0, -1], [0, -1, 4], [-1, 1, 4], [-1, 4], [0, 1, -1, 2, 2], [0, -1, 1, 2, 2]],
    ids=str,
)
def test_reshape_regroups(shape: list[int], opset: int) -> None:
    """To the target and back to [time, batch, 4], so that merged axes come apart again."""

    def build(n: Net, y: str, x: str) -> str:
        y = n.axes_op("Squeeze", y, [1])
        old = n.node("Shape", y)
        y = n.node("Reshape", y, n.const(np.array(shape)))
        return n.node("Tanh", n.node("Reshape", y, old))

    agree(lstm_then(build, opset=opset), x=data(5, 2, 3))


def test_reshape_with_fixed_sizes() -> None:
    def build(n: Net, y: str, x: str) -> str:
        flat = n.node("Reshape", y, n.const(np.array([10, 4])))
        y = n.node("Gemm", flat, n.weight(4, 6), n.weight(6))
        return n.node("Reshape", y, n.const(np.array([5, 2, 3, 2])))

    g = agree(lstm_then(build, 5, 2, 3), x=data(5, 2, 3))
    assert g.outputs[0].axes == ("time", "batch", 3, 2)
    assert g.outputs[0].time == 5


def last_steps() -> dict[str, Any]:
    def gather(index: Any) -> Any:
        return lambda n, y, x: n.node("Gather", y, n.const(np.int64(index)), axis=0)

    big = 2**31 - 1
    return {
        "gather -1": gather(-1),
        "gather [-1]": gather([-1]),
        "gather T-1": gather(4),
        "slice -1:": lambda n, y, x: n.slice(y, -1, big, 0),
        "slice -1:2**63-1": lambda n, y, x: n.slice(y, -1, 2**63 - 1, 0),
        "slice T-1:T": lambda n, y, x: n.slice(y, 4, 5, 0),
        "slice all, then -1": lambda n, y, x: n.slice(n.slice(y, 0, big, 2), -1, big, 0),
    }


@pytest.mark.parametrize("opset", [9, 11, 21])
@pytest.mark.parametrize("how", last_steps())
def test_last_step(how: str, opset: int) -> None:
    if opset < 11 and how.startswith("gather -1"):
        pytest.skip("negative indices came with opset 11")
    g = agree(lstm_then(last_steps()[how], 5, "N", 3, opset=opset), x=data(5, 2, 3))
    assert kinds(g) == ["LSTM"]  # the last step of a sequence is the last h
    if "T" not in how and opset >= 11:
        g = agree(lstm_then(last_steps()[how], opset=opset), x=data(6, 2, 3))
    g = agree(
        single(lambda n, x: n.node("Tanh", last_steps()[how](n, x, x)), 5, "N", 3, opset=opset),
        x=data(5, 2, 3),
    )
    assert kinds(g) == ["LastStep", "Activation"]
    assert g.inputs[0].axes == ("time", "batch", 3)


@pytest.mark.parametrize("opset", [11, 13])
def test_a_time_axis_of_one_step_may_be_dropped(opset: int) -> None:
    def squeeze(n: Net, y: str, x: str) -> str:
        return n.axes_op("Squeeze", y, [0, 1])

    def reshape(n: Net, y: str, x: str) -> str:
        return n.node("Reshape", y, n.const(np.array([-1, 4])))

    def flatten(n: Net, y: str, x: str) -> str:
        y = n.node("Transpose", y, perm=[2, 0, 1, 3])
        return n.node("Gemm", n.node("Flatten", y, axis=1), n.weight(4, 2))

    for build in (squeeze, reshape, flatten):
        g = agree(lstm_then(build, 1, "N", 3, opset=opset), x=data(1, 5, 3))
        assert kinds(g)[0] == "LSTM"
        assert g.outputs[0].axes[0] == "batch"
    net = lstm_then(lambda n, y, x: n.node("Squeeze", y), 1, 5, 3, opset=opset)
    agree(net, x=data(1, 5, 3))


def test_constants_are_folded() -> None:
    """Weights assembled in the graph: transposed, joined, cast, scaled."""
    net = Net()
    rng = np.random.default_rng(3)
    halves = [net.const(rng.normal(size=(3, 8)).astype(np.float16)) for _ in range(2)]
    w = net.node("Cast", net.node("Concat", *halves, axis=1), to=FLOAT)
    w = net.node("Unsqueeze", net.node("Transpose", w), net.const(np.array([0])))
    w = net.node("Mul", w, net.const(np.float32(0.5)))
    b = net.node("ConstantOfShape", net.const(np.array([1, 32])))
    y = net.node("LSTM", net.input("x", "T", "N", 3), w, net.weight(1, 16, 4), b, hidden_size=4)
    net.output(y)
    assert kinds(agree(net, x=data(5, 2, 3))) == ["LSTM"]


@pytest.mark.parametrize(
    "attrs",
    [
        {"value": numpy_helper.from_array(np.float32([1, 2, 3]))},
        {"value_floats": [1.0, 2.0, 3.0]},
        {"value_float": 2.5},
    ],
)
def test_constant_nodes(attrs: dict[str, Any]) -> None:
    def build(n: Net, x: str) -> str:
        return n.node("Add", n.node("MatMul", x, n.weight(4, 3)), n.node("Constant", **attrs))

    agree(single(build, "N", 4), x=data(2, 4))


def test_nodes_that_lead_nowhere_are_no_error() -> None:
    net = Net()
    y = net.lstm(net.input("x", "T", "N", 3), 3, 4)[0]
    net.node("Sin", y)
    agree(net.output(y), x=data(5, 2, 3))


def test_zero_peepholes_are_none() -> None:
    net = Net()
    p = net.const(np.zeros((1, 12), np.float32))
    net.output(net.lstm(net.input("x", "T", "N", 3), 3, 4, ("", "", "", p))[0])
    agree(net, x=data(5, 2, 3))


# ------------------------------------------------------------------------------ gates, by their own


@pytest.mark.parametrize("part", ["W", "R", "Wb", "Rb"])
@pytest.mark.parametrize("gate", range(4))
def test_each_gate_is_told_apart(gate: int, part: str) -> None:
    """Weights of one gate only: any two gates exchanged would show. ONNX's order is i o f c."""
    hidden = 2
    base = np.random.default_rng(5).normal(size=4)
    net = Net()
    w, r = np.full((1, 8, 1), 0.3), np.full((1, 8, hidden), 0.2)
    b = np.tile(np.repeat(base, hidden), 2)[None] / 2
    rows = slice(gate * hidden, (gate + 1) * hidden)
    if part == "W":
        w[0, rows] = -1.5
    elif part == "R":
        r[0, rows] = 1.4
    else:
        b[0, 4 * hidden * (part == "Rb") :][rows] += 1.1
    names = [net.const(a.astype(np.float32)) for a in (w, r, b)]
    net.output(*net.node("LSTM", net.input("x", "T", "N", 1), *names, outputs=3, hidden_size=2))
    agree(net, x=data(4, 3, 1))


def test_gate_order_by_hand() -> None:
    """With zero recurrence and one step: c = sigmoid(bi) tanh(bc), h = sigmoid(bo) tanh(c)."""
    net = Net()
    i, o, f, c = 0.3, -0.7, 1.9, 0.8
    names = [net.const(np.zeros(s, np.float32)) for s in ((1, 4, 1), (1, 4, 1))]
    names.append(net.const(np.float32([[i, o, f, c, 0, 0, 0, 0]])))
    net.output(*net.node("LSTM", net.input("x", 2, "N", 1), *names, outputs=3, hidden_size=1))
    got = run(from_onnx.convert(net.model()), {"x": np.zeros((2, 1, 1))})
    s = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    c1 = s(i) * np.tanh(c)
    c2 = s(f) * c1 + s(i) * np.tanh(c)
    y, h, last_c = got.values()
    np.testing.assert_allclose(y.ravel(), [s(o) * np.tanh(c1), s(o) * np.tanh(c2)], rtol=1e-6)
    np.testing.assert_allclose([h.item(), last_c.item()], [s(o) * np.tanh(c2), c2], rtol=1e-6)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("sizes", [(2, 1, 1), (2, 2, 3), (1, 1, 1)])
def test_steps_that_become_features(sizes: tuple[int, int, int], bias: bool) -> None:
    """Nothing before the Concat says that the first axis is time."""
    net = Net()
    y = net.node("MatMul", net.input("x", *sizes), net.weight(sizes[2], 2))
    y = net.node("Add", y, net.weight(2)) if bias else y
    y = net.node("Flatten", net.node("Transpose", y, perm=[1, 0, 2]))
    net.output(net.node("Concat", y, net.node("Relu", y), axis=1))
    agree(net, x=data(*sizes))


# --------------------------------------------------------------------------------------- constants


def test_constants_are_checked() -> None:
    net = Net()
    net.input("w", 3, 5)
    net.output(net.node("MatMul", net.input("x", "N", 3), "w"))
    model = net.model()
    w = data(3, 5)
    g = from_onnx.convert(model, constants={"w": w.astype(np.float64)})
    close(run(g, {"x": data(2, 3)}), onnx_run(model, {"x": data(2, 3), "w": w}))
    refuse(model, "constants={name: array}", "multiplies two computed matrices")
    refuse(model, "'q' is not an input of the model; its inputs: w, x", constants={"q": w})
    refuse(model, "'w' has shape [5, 3], expected [3, 5]", constants={"w": w.T})
    refuse(model, "'w' is float64 with values", constants={"w": np.full((3, 5), 0.1)})
    refuse(model, "'w' can't be made an array", constants={"w": "text"})
    refuse(model, "option 'weights' is not known", weights=1)


# ------------------------------------------------------------------------------------- torch models


def torch_export(module: Any, x: Any, **options: Any) -> Any:
    torch = pytest.importorskip("torch")
    out = io.BytesIO()
    try:
        torch.onnx.export(
            module.eval(), (x,), out, dynamo=False, input_names=["x"], output_names=["y"], **options
        )
    except ImportError as e:
        pytest.skip(f"torch can't export: {e}")
    return onnx.load_from_string(out.getvalue())


def torch_net(batch_first: bool, layers: int, how: str) -> Any:
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(3, 5, layers, batch_first=batch_first, dropout=0.2)
            self.linear = torch.nn.Linear(5, 2)

        def forward(self, x: Any) -> Any:
            batch = x.shape[0 if batch_first else 1]
            state = None
            if how == "zeros":
                state = (torch.zeros(layers, batch, 5), torch.zeros(layers, batch, 5))
            elif how == "expand":
                state = (torch.zeros(layers, 1, 5).expand(-1, batch, -1),) * 2
            y, (h, c) = self.lstm(x, state)
            if how == "last":
                y = y[:, -1] if batch_first else y[-1]
            elif how == "h":
                y = h[-1]
            elif how == "c, relu":
                return torch.relu(self.linear(c[-1]))
            elif how == "view":
                return self.linear(y.reshape(-1, 5)).view(x.shape[0], -1, 2)
            return self.linear(y)

    torch.manual_seed(3)
    return Net()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("how", ["sequence", "last", "h", "c, relu", "zeros", "expand", "view"])
def test_torch_exports(how: str, batch_first: bool, layers: int, dynamic: bool) -> None:
    torch = pytest.importorskip("torch")
    module = torch_net(batch_first, layers, how)
    x = torch.randn(4, 4, 3)
    options = {"dynamic_axes": {"x": {0: "a", 1: "b"}}} if dynamic else {}
    model = torch_export(module, x, **options)
    if dynamic:
        x = torch.randn(6, 3, 3)
    g = agree(model, x=x.numpy())
    with torch.no_grad():
        close(run(g, {"x": x.numpy()}), {"y": module(x).numpy()})
    assert g.inputs[0].axes == (("batch", "time", 3) if batch_first else ("time", "batch", 3))
    assert g.inputs[0].time == (None if dynamic else 4)
    assert kinds(g) == ["LSTM"] * layers + ["Dense"]
    assert g.provenance["producer"].startswith("pytorch")


# ----------------------------------------------------------------------------------------- refusals


def refuse(model: Any, *parts: str, error: Any = errors.ConversionError, **options: Any) -> None:
    """Conversion must fail with one line that holds each part."""
    with pytest.raises(error) as e:
        from_onnx.convert(model.model() if isinstance(model, Net) else model, **options)
    message = str(e.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def lstm_with(extra: tuple[Any, ...] = (), **attrs: Any) -> Net:
    def build(n: Net, x: str) -> str:
        names = [a if isinstance(a, str) else n.const(a) for a in extra]
        return n.lstm(x, 3, 4, tuple(names), **attrs)[0]

    return single(build, "T", "N", 3)


NAMED = {"activations": ["Sigmoid", "Tanh", "HardSigmoid"], "activation_alpha": [0.1, 0.2, 0.3]}


@pytest.mark.parametrize(
    ("extra", "attrs", "message"),
    [
        ((), {"direction": "sideways"}, "attribute direction=sideways is unknown"),
        ((), {"direction": "bidirectional"}, "don't fit hidden_size=4 and two directions"),
        ((), {"clip": 0.0}, "attribute clip=0 is not above 0"),
        ((), {"clip": float("nan")}, "attribute clip=nan is not above 0"),
        ((), {"input_forget": 2}, "attribute input_forget=2 is unknown"),
        ((), {"layout": 2}, "attribute layout=2 is unknown"),
        ((), {"activations": ["Sigmoid", "Tanh"]}, "activations has 2 names, expected 3"),
        ((), {"activations": ["Sigmoid", "Tanh", "Sine"]}, "activation 'Sine' is not supported"),
        (
            (),
            {"activations": ["Sigmoid", "Affine", "Tanh"], "activation_alpha": [2.0]},
            "activation Affine without beta, which has no default",
        ),
        ((), {"activations": ["Sigmoid", "Affine", "Tanh"]}, "Affine without alpha"),
        ((), NAMED, "attribute activation_alpha has 3 values for 1 functions that take one"),
        (
            (),
            {"activations": ["HardSigmoid", "Tanh", "Tanh"], "activation_alpha": [float("nan")]},
            "activation 'hard_sigmoid' cannot have alpha nan and beta 0.5",
        ),
        ((np.array([2, 3], np.int32),), {}, "input sequence_lens holds different lengths"),
        ((np.array([-1, -1], np.int32),), {}, "input sequence_lens is -1, of None time steps"),
        ((np.array([[2, 2]], np.int32),), {}, "input sequence_lens is int32 of rank 2"),
        (("", np.arange(8.0).reshape(1, 2, 4)), {}, "is a constant with a different state for"),
        (("", "", np.ones((1, 2, 3), np.float32)), {}, "has shape [1, 2, 3], expected 1 of 4"),
        (("", "", "", np.ones((1, 11), np.float32)), {}, "peepholes P have shape [1, 11]"),
    ],
)
def test_lstm_refusals(extra: Any, attrs: dict[str, Any], message: str) -> None:
    refuse(lstm_with(extra, **attrs), "(LSTM): ", message)


def test_weights_that_dont_fit() -> None:
    for shapes, message in (
        (((1, 16, 3), (1, 16, 5)), "W [1, 16, 3] and R [1, 16, 5] don't fit hidden_size=4"),
        (((2, 16, 3), (2, 16, 4)), "don't fit hidden_size=4"),
        (((1, 16, 3), (1, 16, 4), (1, 16)), "bias B has shape [1, 16], expected [1, 32]"),
        (((1, 16, 2), (1, 16, 4)), "gets 3 features, its weights take 2"),
    ):
        net = Net()
        names = [net.weight(*s) for s in shapes]
        net.output(net.node("LSTM", net.input("x", "T", "N", 3), *names, hidden_size=4))
        refuse(net, "(LSTM): ", message)


def shape_of(n: Net, *sizes: int) -> str:
    return n.const(np.array(sizes))


def test_matrix_on_a_part_of_the_features() -> None:
    """The same at each of the others, which are positions then."""

    def parts(n: Net, y: str, x: str) -> str:
        return n.node("MatMul", n.node("Reshape", y, shape_of(n, 0, 1, -1, 2, 2)), n.weight(2, 3))

    assert kinds(agree(lstm_then(parts), x=data(4, 2, 3))) == ["LSTM", "Conv2D"]


REFUSED: dict[str, tuple[Any, str]] = {
    "operator": (lambda n, y, x: n.node("Sin", y), "(Sin): this operator is not supported; known"),
    "a row": (
        lambda n, y, x: n.slice(y, -1, 2**31 - 1, 2),
        "(Slice): takes a part of the batch, which lstmc keeps whole",
    ),
    "steps backwards": (
        lambda n, y, x: n.node("Slice", y, *(n.const(np.array([i])) for i in (-1, -9, 0, -1))),
        "(Slice): takes [-1:-9:-1] of time",
    ),
    "the first of any number of steps": (
        lambda n, y, x: n.slice(y, 0, 2, 0),
        "(Slice): takes [0:2] of a sequence of any length",
    ),
    "cast": (lambda n, y, x: n.node("Cast", y, to=11), "(Cast): attribute to=11 from float32"),
    "dropout mask": (
        lambda n, y, x: n.node("Dropout", y, outputs=2)[1],
        "(Dropout): its output 1 is used",
    ),
    "training": (
        lambda n, y, x: n.node("Dropout", y, n.const(np.float32(0.5)), n.const(np.bool_(True))),
        "(Dropout): training_mode is true",
    ),
    "flatten time": (
        lambda n, y, x: n.node("MatMul", n.node("Flatten", y, axis=0), n.weight(4, 2)),
        "(MatMul): reads an axis as the features that is",
    ),
    "reshape across": (
        lambda n, y, x: n.node("Reshape", y, shape_of(n, -1, 3)),
        "(Reshape): reshapes to sizes that don't regroup",
    ),
    "allowzero": (
        lambda n, y, x: n.node("Reshape", y, shape_of(n, 0, 4), allowzero=1),
        "(Reshape): attribute allowzero=1",
    ),
    "squeeze anything": (
        lambda n, y, x: n.node("Squeeze", y),
        "(Squeeze): has no axes given, and an axis of the value is of open size",
    ),
    "squeeze batch": (lambda n, y, x: n.axes_op("Squeeze", y, [2]), "(Squeeze): drops axis 2"),
    "swapped time and batch": (
        lambda n, y, x: n.lstm(
            n.node("Transpose", n.axes_op("Squeeze", y, [1]), perm=[1, 0, 2]), 4, 4
        )[0],
        "(LSTM): reads an axis as the batch that is time elsewhere",
    ),
    "attention": (
        lambda n, y, x: n.node("MatMul", y, n.node("Transpose", y, perm=[0, 1, 3, 2])),
        "(MatMul): multiplies two computed matrices",
    ),
    "time joined": (
        lambda n, y, x: n.node("Concat", y, y, axis=0),
        "(Concat): joins values on the axis of time",
    ),
    "batch joined": (
        lambda n, y, x: n.node("Concat", y, y, axis=2),
        "(Concat): joins values on the axis of the batch",
    ),
    "no such state": (
        lambda n, y, x: n.node(
            "Gather", n.node("Concat", *n.lstm(x, 3, 4)[1:], axis=0), n.const(np.int64(2))
        ),
        "(Gather): axis 2 is out of range",
    ),
    "expanded features": (
        lambda n, y, x: n.node("Expand", y, shape_of(n, 1, 1, 1, 8)),
        "(Expand): repeats an axis of size 4 to 8",
    ),
    "ones of a shape": (
        lambda n, y, x: n.node(
            "MatMul",
            n.node(
                "ConstantOfShape",
                n.node("Shape", x),
                value=numpy_helper.from_array(np.float32([1])),
            ),
            n.weight(3, 2),
        ),
        "(ConstantOfShape): its shape depends on the inputs or is huge, and its value is not",
    ),
    "constant input": (
        lambda n, y, x: n.node("Relu", n.weight(2, 3)),
        "does not depend on the model's inputs",
    ),
    "part of the features": (
        lambda n, y, x: n.node(
            "LayerNormalization", n.node("Reshape", y, shape_of(n, 0, 1, -1, 2, 2)), n.weight(2)
        ),
        "(LayerNormalization): works on a part of the features only",
    ),
    "merged axes": (
        lambda n, y, x: n.node("Reshape", y, shape_of(n, -1, 4)),
        "one of its axes is a product of the batch and others",
    ),
    "zeros": (
        lambda n, y, x: n.node("ConstantOfShape", n.node("Shape", x)),
        "does not depend on the model's inputs",
    ),
    "constant of time": (
        lambda n, y, x: n.node("Add", y, n.weight(5, 1, 1, 1)),
        "(Add): reads an axis as the features that is time",
    ),
    "over the batch": (
        lambda n, y, x: n.node("ReduceSum", y, shape_of(n, 2)),
        "(ReduceSum): reduces over the batch",
    ),
    "a power": (
        lambda n, y, x: n.node("Pow", y, n.const(np.float32(1.5))),
        "(Pow): has the exponent 1.5; supported are -1, 0.5, 1, 2 and 3",
    ),
    "where": (
        lambda n, y, x: n.node("Where", n.const(np.array([True, False, True, True])), y, y),
        "(Where): chooses among computed values",
    ),
    "indices of floats": (
        lambda n, y, x: n.node("Gather", n.weight(5, 3), y),
        "(Gather): its indices are float32, expected integers",
    ),
    "two axes to pool": (
        lambda n, y, x: n.node("MaxPool", y, kernel_shape=[2, 2]),
        "(MaxPool): has windows over two axes at each step of a sequence; only one of its spatial "
        "axes can lie within a step",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(what: str) -> None:
    build, message = REFUSED[what]
    refuse(lstm_then(build), message)


def test_inputs_refused() -> None:
    for dtype, message in (
        (TensorProto.INT64, "output 'identity_1' is int64, only float32"),
        (TensorProto.BFLOAT16, "input 'x' is bfloat16; supported are float32, int32"),
        (TensorProto.DOUBLE, "input 'x' is float64; supported are float32, int32"),
    ):
        net = Net()
        net.output(net.node("Identity", net.input("x", "N", 3, dtype=dtype)))
        refuse(net, message)
    net = Net()
    net.output(net.node("Tanh", net.input("x", "N", 3)))
    net.input("rate", 1, dtype=TensorProto.INT64)
    refuse(net, "input 'rate' has no effect on the outputs")
    assert from_onnx.convert(net.model(), constants={"rate": [16000]}).inputs[0].name == "x"
    net = Net()
    net.output(net.node("Tanh", net.input("x", "N", 3)))
    net.input("unused", "N", 3)
    refuse(net, "input 'unused' has no effect on the outputs")
    net = Net()
    net.output(net.node("Tanh", net.input("x")))
    refuse(net, "input 'x' is one number without axes; fix its value: --set x=VALUE")
    model = net.model()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    refuse(model, "Field 'shape' of 'type' is required", error=errors.FormatError)
    net = Net()
    net.output(net.node("Tanh", net.input("x", "A", "B", "C", 2)))
    refuse(net, "input 'x': more axes than batch, time and features")


def test_declared_rank_is_checked() -> None:
    net = single(lambda n, x: n.node("Tanh", x), "N", 3)
    model = net.model()
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(net.outputs[0], FLOAT, [1, 1, 1]))
    refuse(model, "is declared with rank 3 but has 2 axes")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", range(3))
def test_nan_weights(where: int, bad: float) -> None:
    net = single(lambda n, x: n.lstm(x, 3, 4)[0], "T", "N", 3)
    name = list(net.initializers)[where]
    net.initializers[name].flat[5] = bad
    refuse(net, f"'{name}'", "NaN or infinite")


def test_nan_in_a_folded_weight_names_the_initializer() -> None:
    net = Net()
    w = net.const(np.float32([[np.nan, 1, 2]]), "bad")
    net.output(net.node("MatMul", net.input("x", "N", 3), net.node("Transpose", w)))
    refuse(net, "'bad_1'", "NaN or infinite")


def test_biases_whose_sum_overflows() -> None:
    net = single(lambda n, x: n.lstm(x, 3, 4)[0], "T", "N", 3)
    net.initializers[list(net.initializers)[2]].flat[:] = 3e38
    refuse(net, "Wb + Rb", "NaN or infinite")


def test_dtypes_of_weights() -> None:
    """The checker doesn't compare types: float16 widens, float64 must be exact."""
    net = single(lambda n, x: n.node("MatMul", x, n.weight(3, 2)), "N", 3)
    name = next(iter(net.initializers))
    exact = net.initializers[name].astype(np.float16)
    for dtype in (np.float16, np.float64):
        net.initializers[name] = exact.astype(dtype)
        layer = from_onnx.convert(net.model()).layers[0]
        np.testing.assert_array_equal(layer.weight, exact.astype(np.float32).T)
    net.initializers[name] = np.full((3, 2), 0.1)
    refuse(net, f"'{name}' is float64 with values that float32 can't hold")
    net.initializers[name] = np.ones((3, 2), np.int32)
    refuse(net, f"'{name}' has dtype int32")
    model = net.model()
    model.graph.initializer[0].CopyFrom(
        helper.make_tensor(name, TensorProto.BFLOAT16, [3, 2], [1.5, -2, 0.25, 3, 4, 5])
    )
    assert from_onnx.convert(model).layers[0].weight[0].tolist() == [1.5, 0.25, 4]


def test_other_domains_and_functions() -> None:
    net = single(
        lambda n, x: n.node("FusedMatMul", x, n.weight(3, 3), domain="com.microsoft"), 2, 3
    )
    model = net.model()
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    refuse(model, "(FusedMatMul): operators of domain 'com.microsoft' are not supported")
    net = single(lambda n, x: n.node("Twice", x, domain="mine"), "N", 3)
    model = net.model()
    model.opset_import.append(helper.make_opsetid("mine", 1))
    body = [helper.make_node("Relu", ["a"], ["b"])]
    opsets = [helper.make_opsetid("", 21)]
    model.functions.append(helper.make_function("mine", "Twice", ["a"], ["b"], body, opsets))
    refuse(model, "(Twice): this operator is a function defined in the model; inline it first")


def test_opsets_refused() -> None:
    net = single(lambda n, x: n.node("Relu", x), "N", 3)
    model = net.model()
    model.opset_import[0].version = 6
    refuse(model, "uses opset 6, lstmc reads 7 and newer", "version_converter")
    model.opset_import[0].version = NEWEST + 1
    refuse(model, f"uses opset {NEWEST + 1}", "update onnx")
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("mine", 1))
    refuse(model, "imports no opset of the default domain")


def test_checker_errors_are_format_errors() -> None:
    net = single(lambda n, x: n.node("Relu", x, colour=1), "N", 3)
    refuse(net, "is not a valid ONNX model", "colour", error=errors.FormatError)
    net = single(lambda n, x: n.node("Relu", "nowhere"), "N", 3)
    refuse(net, "is not a valid ONNX model", "nowhere", error=errors.FormatError)


def test_sparse_initializers() -> None:
    net = single(lambda n, x: n.node("MatMul", x, "s"), "N", 3)
    model = net.model(ir_version=10)
    values = numpy_helper.from_array(np.float32([1, 2]), "s")
    indices = numpy_helper.from_array(np.array([0, 4]))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3, 2]))
    refuse(model, "initializer 's' is sparse")


def test_constants_of_any_size_are_not_made() -> None:
    def build(n: Net, x: str) -> str:
        huge = n.node("Expand", n.weight(1, 1), n.const(np.array([1 << 20, 1 << 20])))
        return n.node("MatMul", x, huge)

    refuse(single(build, "N", 3), "(Expand): constant expressions make over")

    def many(n: Net, x: str) -> str:
        w = n.const(np.ones((1024, 1024), np.float32))
        for _ in range(onnx_fold.LIMIT // 1024**2 + 1):
            w = n.node("Neg", w)
        return n.node("MatMul", x, w)

    refuse(single(many, "N", 1024), "(Neg): constant expressions make over")


def test_huge_zeros_cost_nothing() -> None:
    def build(n: Net, x: str) -> str:
        zeros = n.node("ConstantOfShape", n.const(np.array([1, 1 << 40, 4])))
        return n.lstm(x, 3, 4, ("", zeros, zeros))[0]

    assert from_onnx.convert(single(build, "T", "N", 3).model())


def test_constant_expressions_that_fail() -> None:
    net = single(
        lambda n, x: n.node("MatMul", x, n.node("Reshape", n.weight(3), n.const(np.array([7])))),
        "N",
        3,
    )
    refuse(net, "(Reshape): this constant expression can't be evaluated")


def test_sources_refused() -> None:
    refuse(42, "expected a path or an onnx.ModelProto, got int")


def test_without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(errors.ConversionError, match=r"pip install lstmc\[onnx\]"):
        from_onnx.convert("model.onnx")


# ------------------------------------------------------------------------------------ external data


def external_model(folder: Path, location: str) -> Path:
    """A Dense whose weight lies in another file; the file's name is then set to ``location``."""
    net = single(lambda n, x: n.node("MatMul", x, n.weight(3, 2)), "N", 3)
    model = net.model()
    folder.mkdir(exist_ok=True)
    path = folder / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = location
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a folder"
    path = external_model(folder, "w.bin")
    expected = np.frombuffer((folder / "w.bin").read_bytes(), np.float32).reshape(3, 2)
    np.testing.assert_array_equal(from_onnx.convert(path).layers[0].weight, expected.T)
    monkeypatch.chdir(folder)
    assert from_onnx.convert("net.onnx")
    model = onnx.load(path, load_external_data=False)
    refuse(model, "initializer 'w_1' is stored in another file; give the model's path")
    assert from_onnx.convert(onnx.load(path))
    (folder / "w.bin").write_bytes(b"short")
    refuse(path, "can't be read", "w_1")
    (folder / "w.bin").unlink()
    refuse(path, "initializer 'w_1': its external data file 'w.bin' is missing")


def test_external_data_stays_in_its_folder(tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(24))
    path = external_model(tmp_path / "models", "../secret.bin")
    refuse(path, "'../secret.bin' lies outside the model's folder")
    refuse(external_model(tmp_path / "models", str(secret)), "must be named relative")
    refuse(external_model(tmp_path / "models", ""), "must be named relative")
    link = tmp_path / "models" / "link.bin"
    link.symlink_to(secret)
    refuse(external_model(tmp_path / "models", "link.bin"), "lies outside the model's folder")
    refuse(external_model(tmp_path / "models", "."), "is missing")


# ------------------------------------------------------------------------------------ hostile files


@pytest.fixture(scope="module")
def whole() -> bytes:
    net, _ = random_net(13, 4242)
    return net.model().SerializeToString()


def attempt(path: Path, content: bytes) -> bool:
    """Convert; True if that gave a graph. Anything but lstmc's own errors fails the test."""
    path.write_bytes(content)
    try:
        from_onnx.convert(path).infer()
    except errors.Error as e:
        assert "\n" not in str(e)
        return False
    return True


def test_truncated_files(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "net.onnx"
    assert attempt(path, whole)
    for n in range(0, len(whole) - 1, max(1, len(whole) // 300)):
        attempt(path, whole[:n])
    with pytest.raises(errors.FormatError):
        path.write_bytes(whole[: len(whole) // 2])
        from_onnx.convert(path)


def test_flipped_bytes(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "net.onnx"
    rng = np.random.default_rng(11)
    survived = 0
    for _ in range(250):
        content = bytearray(whole)
        for at in rng.integers(0, len(content), rng.integers(1, 4)):
            content[at] ^= int(rng.integers(1, 256))
        survived += attempt(path, bytes(content))
    assert 0 < survived < 250  # flips within weights do no harm


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is not an ONNX"),
        (b"PK\x03\x04" + bytes(100), "is not an ONNX"),
        (b"\x80\x04cos\nsystem\n", "is not an ONNX"),
        (b"hello, this is text\n" * 20, "is not an ONNX"),
        (bytes(64), "is not an ONNX"),
    ],
)
def test_foreign_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    refuse(path, "net.onnx", message, error=errors.FormatError)


def test_folders_and_missing_files(tmp_path: Path) -> None:
    refuse(tmp_path, "is a folder", error=errors.FormatError)
    with pytest.raises(FileNotFoundError):
        convert(tmp_path / "nothing.onnx")


def test_the_model_is_left_as_it_was() -> None:
    net, _ = random_net(21, 5)
    model = net.model()
    before = model.SerializeToString()
    from_onnx.convert(model)
    assert model.SerializeToString() == before


def test_no_framework_is_imported(tmp_path: Path) -> None:
    """Converting takes onnx alone."""
    net, _ = random_net(13, 7)
    y = net.node("Constant", value=numpy_helper.from_array(np.float32([1])))
    net.node("Neg", y)
    onnx.save(net.model(), tmp_path / "net.onnx")
    code = (
        "import sys\n"
        "from lstmc.converters import convert\n"
        "assert 'onnx' not in sys.modules\n"
        "g = convert(sys.argv[1])\n"
        "bad = {'torch', 'tensorflow', 'keras', 'onnxruntime', 'h5py'} & set(sys.modules)\n"
        "assert 'onnx' in sys.modules and not bad, bad\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "net.onnx")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
