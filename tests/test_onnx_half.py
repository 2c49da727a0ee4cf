"""float16 and bfloat16 in ONNX models: exact weights, float32 arithmetic, a note that says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lstmc.converters import convert, from_onnx

import lstmc
from lstmc import format, graph

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_nets import Net, close, data, kinds, onnx_reference, onnx_run, run  # noqa: E402
from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: E402

HALF, BFLOAT, FLOAT = TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.FLOAT


def recurrent_net(kind: str, opset: int = 17) -> Net:
    """x [T, N, 3] -> Y without its directions, through a Gemm and a Softmax as well."""
    net = Net(opset)
    x = net.input("x", "T", "N", 3)
    rows = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind] * 5
    names = [net.weight(1, rows, 3), net.weight(1, rows, 5), net.weight(1, 2 * rows)]
    outputs = 3 if kind == "LSTM" else 2
    y, h, *_ = net.node(kind, x, *names, outputs=outputs, hidden_size=5)
    y = net.node("MatMul", net.axes_op("Squeeze", y, [1]), net.weight(5, 4))
    y = net.node("Add", y, net.weight(4))
    last = net.node(
        "Gemm", net.axes_op("Squeeze", h, [0]), net.weight(2, 5), net.weight(2), transB=1
    )
    net.output(net.node("Tanh", y), net.node("Softmax", last, axis=1))
    return net


def halved(model: Any, keep: bool = False) -> Any:
    """By ONNX Runtime's converter, which puts the Casts of the inputs it keeps at the end."""
    made = convert_float_to_float16(model, keep_io_types=keep)
    nodes = sorted(made.graph.node, key=lambda n: not set(n.input) & {"x"})
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


def widened(model: Any) -> Any:
    """The same model in float32: every tensor widened, every type and Cast changed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    g = copy.graph
    for t in g.initializer:
        if t.data_type in (HALF, BFLOAT):
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float32), t.name))
    for node in g.node:
        for a in node.attribute:
            if node.op_type == "Cast" and a.name == "to" and a.i in (HALF, BFLOAT):
                a.i = FLOAT
            if a.HasField("t") and a.t.data_type in (HALF, BFLOAT):
                wide = numpy_helper.to_array(a.t).astype(np.float32)
                a.t.CopyFrom(numpy_helper.from_array(wide, a.t.name))
    for v in (*g.input, *g.output, *g.value_info):
        if v.type.tensor_type.elem_type in (HALF, BFLOAT):
            v.type.tensor_type.elem_type = FLOAT
    return copy


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("keep", [False, True], ids=["float16 inputs", "Cast at the ends"])
def test_converted_by_onnxruntime(kind: str, keep: bool) -> None:
    """Equal to the widened model; near what the source gives with its rounding."""
    model = halved(recurrent_net(kind).model(), keep)
    x = data(6, 3, 3).astype(np.float16)
    given = x.astype(np.float32) if keep else x
    g = from_onnx.convert(model)
    assert [v.dtype for v in g.inputs] == ["float32" if keep else "float16"]
    assert [v.dtype for v in g.outputs] == ["float32" if keep else "float16"] * 2
    assert "float16 weights widened" in g.provenance["note"]
    got = run(g, {"x": given})
    close(got, onnx_run(widened(model), {"x": x.astype(np.float32)}))
    for name, y in onnx_run(model, {"x": given}).items():
        assert got[name].dtype == np.float32
        assert np.abs(got[name] - y).max() < 1e-2


def test_files_keep_the_type() -> None:
    model = halved(recurrent_net("GRU").model())
    converted = lstmc.convert(model)
    again = format.loads(converted.to_bytes())[0]
    assert again.inputs[0].dtype == again.outputs[0].dtype == "float16"
    assert "\nnote     float16 weights widened to float32" in converted.summary()
    x = data(4, 2, 3).astype(np.float16)
    for a, b in zip(
        converted.predict(x).values(), converted.predict(x.astype(np.float32)).values(), strict=True
    ):
        assert np.array_equal(a, b)


def test_weights_alone_are_exact_and_need_no_note() -> None:
    """float16 initializers and Constants that the graph itself casts to float32."""
    net = Net(17)
    x = net.input("x", "N", 4)
    w = net.rng.normal(size=(4, 3)).astype(np.float16)
    w[0, 0], w[1, 1] = np.float16(6e-8), np.float16(65504)  # the smallest and the largest
    b = np.float16([0.1, -2, 3])
    constant = net.fresh("constant")
    net.nodes.append(helper.make_node("Constant", [], [constant], value=numpy_helper.from_array(b)))
    wide = [net.node("Cast", n, to=FLOAT) for n in (net.const(w), constant)]
    net.output(net.node("Add", net.node("MatMul", x, wide[0]), wide[1]))
    g = from_onnx.convert(net.model())
    assert kinds(g) == ["Dense"]
    np.testing.assert_array_equal(g.layers[0].weight, w.T.astype(np.float32))
    np.testing.assert_array_equal(g.layers[0].bias, b.astype(np.float32))
    assert "note" not in g.provenance
    close(run(g, {"x": data(2, 4)}), onnx_run(net.model(), {"x": data(2, 4)}))


@pytest.mark.parametrize("to", [HALF, BFLOAT])
def test_casts_of_values_lose_their_rounding(to: int) -> None:
    net = Net(17)
    w = numpy_helper.from_array(net.rng.normal(size=(4, 3)).astype(np.float32), "w")
    w = helper.make_tensor("w", to, [4, 3], numpy_helper.to_array(w).reshape(-1))
    half = net.node("Cast", net.input("x", "N", 4), to=to)
    net.output(net.node("Cast", net.node("Tanh", net.node("MatMul", half, "w")), to=FLOAT))
    model = net.model()
    model.graph.initializer.append(w)
    g = from_onnx.convert(model)
    assert kinds(g) == ["Dense"]
    name = "float16" if to == HALF else "bfloat16"
    assert g.provenance["note"].startswith(f"{name} weights widened")
    close(run(g, {"x": data(2, 4)}), onnx_run(widened(model), {"x": data(2, 4)}))


def test_constants_are_computed_in_their_own_type() -> None:
    """2048 + 1 is 2048 in float16."""
    net = Net(17)
    total = net.node("Add", net.const(np.float16([2048] * 3)), net.const(np.float16([1] * 3)))
    wide = net.node("Cast", total, to=FLOAT)
    net.output(net.node("Add", net.input("x", "N", 3), wide))
    close(
        run(from_onnx.convert(net.model()), {"x": data(2, 3)}),
        onnx_reference(net.model(), {"x": data(2, 3)}),
    )


def test_random_inputs_are_what_the_source_can_take() -> None:
    from lstmc.samples import random_inputs

    g = convert(halved(recurrent_net("RNN").model()))
    x = random_inputs(g, np.random.default_rng(0), 2, 5)["x"]
    assert x.dtype == np.float32
    assert np.array_equal(x, x.astype(np.float16))
    assert len(np.unique(x)) > 20
    assert graph.Value("x", ("batch", 3), "float16").dtype == "float16"
