"""Quantised ONNX models: as ONNX Runtime's own tools write them, against their float twins.

What lstmc computes is the model with its weights dequantised and the quantisation of activations
left out. ``twin`` makes that model, and it must agree; the quantised model itself must be near.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lstmc.converters import from_onnx

import lstmc
from lstmc import errors

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_nets import NEWEST, Net, close, data, kinds, onnx_reference, onnx_run, run  # noqa: E402
from onnxruntime import quantization as q  # noqa: E402

FLOAT, INT8, UINT8, INT4 = (
    TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4
)  # fmt: skip
MS = "com.microsoft"
logging.getLogger().setLevel(logging.ERROR)  # the quantiser warns of every model


def tensors(model: Any) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def widen(weight: np.ndarray, scale: np.ndarray, zero: np.ndarray | None, axis: int) -> np.ndarray:
    """(q - zero) * scale, per tensor or along an axis."""
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    zero = np.zeros(1) if zero is None else zero
    whole = weight.astype(np.float32) - zero.astype(np.float32).reshape(
        shape if zero.size > 1 else -1
    )
    return whole * scale.reshape(shape if scale.size > 1 else -1)


def twin(model: Any) -> Any:
    """The float model that a dynamically quantised one stands for, node by node."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    consts = tensors(model)
    made: dict[str, np.ndarray] = {}
    new: list[Any] = []
    floats: dict[str, str] = {}  # the value that quantised integers stand for
    gone: set[str] = set()  # outputs of nodes that belong to a product of integers

    def get(node: Any, i: int) -> np.ndarray | None:
        return consts[node.input[i]] if len(node.input) > i and node.input[i] else None

    def reader(name: str) -> Any:
        return next(n for n in model.graph.node if name in n.input)

    for node in model.graph.node:
        if node.op_type == "DynamicQuantizeLinear":
            floats[node.output[0]] = node.input[0]
        elif node.op_type in ("MatMulInteger", "ConvInteger"):
            cast = reader(node.output[0])
            last = reader(cast.output[0])
            (scales,) = [n for n in model.graph.node if n.output[0] in last.input and n is not cast]
            gone |= {cast.output[0], last.output[0], scales.output[0]}
            axis = 1 if node.op_type == "MatMulInteger" else 0
            wide = node.input[1] + "/wide"
            made[wide] = widen(consts[node.input[1]], consts[scales.input[1]], get(node, 3), axis)
            op, inputs = node.op_type[: -len("Integer")], [floats[node.input[0]], wide]
            new.append(helper.make_node(op, inputs, [last.output[0]]))
            new[-1].attribute.extend(node.attribute)
        elif node.op_type == "DynamicQuantizeLSTM":
            inputs = list(node.input)[:8]
            for i, scale in ((1, 8), (2, 10)):
                w, s, z = consts[node.input[i]], get(node, scale), get(node, scale + 1)
                assert s is not None
                assert z is not None
                sides = [
                    widen(w[d], s.reshape(len(w), -1)[d], z.reshape(len(w), -1)[d], 1)
                    for d in range(len(w))
                ]
                inputs[i] += "/wide"
                made[inputs[i]] = np.stack(sides).transpose(0, 2, 1)
            new.append(helper.make_node("LSTM", inputs, list(node.output)))
            new[-1].attribute.extend(node.attribute)
        else:
            new.append(node)
    del copy.graph.node[:]
    ours = [n for n in new if n.op_type not in ("Cast", "Mul") or n.output[0] not in gone]
    copy.graph.node.extend(ours)
    copy.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in made.items())
    return copy


def quantise(net: Net, folder: Path, **options: Any) -> Any:
    onnx.save(net.model(), folder / "float.onnx")
    q.quantize_dynamic(folder / "float.onnx", folder / "quantised.onnx", **options)
    return onnx.load(folder / "quantised.onnx")


def ops(model: Any) -> set[str]:
    return {n.op_type for n in model.graph.node}


def check(model: Any, feeds: dict[str, np.ndarray], far: float, float_model: Any = None) -> Any:
    """Equal to the twin; no nearer to the quantised model than rounding can be, and not far."""
    g = from_onnx.convert(model)
    got = run(g, feeds)
    close(got, onnx_run(float_model or twin(model), feeds))
    distance = max(np.abs(got[n] - y).max() for n, y in onnx_run(model, feeds).items())
    print(f"largest distance to the quantised model's own outputs: {distance:.2g}")
    assert 1e-6 < distance < far
    assert g.provenance["note"].startswith("quantised weights were dequantised")
    return g


def lstm(n: Net, x: str, directions: int = 1) -> str:
    attrs = {"direction": "bidirectional"} if directions == 2 else {}
    names = [n.weight(directions, 32, 3), n.weight(directions, 32, 8), n.weight(directions, 64)]
    y, h, _ = n.node("LSTM", x, *names, outputs=3, hidden_size=8, **attrs)
    n.output(y)
    return h


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("kind", [q.QuantType.QInt8, q.QuantType.QUInt8])
@pytest.mark.parametrize("directions", [1, 2])
def test_lstm(per_channel: bool, kind: Any, directions: int, tmp_path: Path) -> None:
    net = Net(17)
    net.output(lstm(net, net.input("x", "T", "N", 3), directions))
    model = quantise(net, tmp_path, per_channel=per_channel, weight_type=kind)
    assert ops(model) == {"DynamicQuantizeLSTM"}
    g = check(model, {"x": data(6, 2, 3)}, 0.2)
    assert [k for k in kinds(g) if k != "Concat"] == ["LSTM"] * directions


def test_gru_and_rnn_stay_float(tmp_path: Path) -> None:
    """ONNX Runtime quantises no GRU and no RNN: there is nothing to say of them."""
    net = Net(17)
    x = net.input("x", "T", "N", 3)
    for op, rows in (("GRU", 12), ("RNN", 4)):
        names = [net.weight(1, rows, 3), net.weight(1, rows, 4), net.weight(1, 2 * rows)]
        net.output(net.node(op, x, *names, outputs=2, hidden_size=4)[0])
    model = quantise(net, tmp_path)
    assert ops(model) == {"GRU", "RNN"}
    g = from_onnx.convert(model)
    assert "note" not in g.provenance
    close(run(g, {"x": data(4, 2, 3)}), onnx_run(net.model(), {"x": data(4, 2, 3)}))


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("reduce_range", [False, True])
@pytest.mark.parametrize("kind", [q.QuantType.QInt8, q.QuantType.QUInt8])
def test_matmul_and_gemm(per_channel: bool, reduce_range: bool, kind: Any, tmp_path: Path) -> None:
    net = Net(17)
    y = net.node("MatMul", net.input("x", "N", 12), net.weight(12, 16))
    y = net.node("Tanh", net.node("Add", y, net.weight(16)))
    net.output(net.node("Gemm", y, net.weight(5, 16), net.weight(5), transB=1))
    options = {"per_channel": per_channel, "reduce_range": reduce_range, "weight_type": kind}
    model = quantise(net, tmp_path, **options)
    assert ops(model) == {"DynamicQuantizeLinear", "MatMulInteger", "Cast", "Mul", "Add", "Tanh"}
    g = check(model, {"x": data(3, 12)}, 0.3)
    assert kinds(g) == ["Dense", "Dense"]


def test_convolutions(tmp_path: Path) -> None:
    net = Net(17)
    net.output(net.node("Conv", net.input("x", "N", 4, "T"), net.weight(6, 4, 3), pads=[1, 1]))
    model = quantise(net, tmp_path, weight_type=q.QuantType.QUInt8)
    assert "ConvInteger" in ops(model)
    check(model, {"x": data(2, 4, 9)}, 0.3)


def test_embeddings_and_what_reads_them(tmp_path: Path) -> None:
    net = Net(17)
    rows = net.node("Gather", net.weight(9, 6), net.input("i", "N", "T", dtype=TensorProto.INT64))
    net.output(net.node("MatMul", rows, net.weight(6, 4)))
    model = quantise(net, tmp_path)
    g = from_onnx.convert(model)
    assert kinds(g) == ["Embedding", "Dense"]
    feeds = {"i": np.array([[3, 0, 8], [1, 1, 2]])}
    close(run(g, feeds), onnx_run(model, feeds))  # nothing is quantised while it runs
    (got,) = run(g, feeds).values()
    (exact,) = onnx_run(net.model(), feeds).values()
    assert 1e-4 < np.abs(got - exact).max() < 0.1  # the weights are those of 8 bits


def test_what_onnxruntime_fuses(tmp_path: Path) -> None:
    """DynamicQuantizeMatMul and MatMulIntegerToFloat, which its optimizer writes."""
    net = Net(17)
    x = net.input("x", "N", 12)
    shared = net.node("Tanh", x)
    both = [net.node("MatMul", shared, net.weight(12, 8)) for _ in range(2)]
    alone = net.node("MatMul", x, net.weight(12, 8))
    net.output(*[net.node("Add", y, net.weight(8)) for y in (*both, alone)])
    model = quantise(net, tmp_path)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(model.SerializeToString(), options)
    fused = onnx.load(tmp_path / "fused.onnx")
    assert {"DynamicQuantizeMatMul", "MatMulIntegerToFloat"} <= ops(fused)
    check(fused, {"x": data(3, 12)}, 0.3, twin(model))


def test_static_qdq_keeps_what_saturates(tmp_path: Path) -> None:
    """QuantizeLinear and DequantizeLinear of a value: only the rounding goes, the range stays."""
    net = Net(17)
    scale, zero = net.const(np.float32(0.01)), net.const(np.uint8(0))
    x = net.node("QuantizeLinear", net.input("x", "N", 6), scale, zero)
    net.output(net.node("DequantizeLinear", x, scale, zero))
    twin_net = Net(17)
    low, high = twin_net.const(np.float32(0)), twin_net.const(np.float32(2.55))
    twin_net.output(twin_net.node("Clip", twin_net.input("x", "N", 6), low, high))
    g = from_onnx.convert(net.model())
    x = 3 * data(4, 6)
    (got,), (want,) = run(g, {"x": x}).values(), onnx_run(twin_net.model(), {"x": x}).values()
    assert np.abs(got - want).max() < 1e-6
    assert np.abs(got - next(iter(onnx_run(net.model(), {"x": x}).values()))).max() < 0.0051
    assert "activations are not quantised" in g.provenance["note"]


@pytest.mark.parametrize("symmetric", [True, False])
def test_static_quantisation(symmetric: bool, tmp_path: Path) -> None:
    class Reader(q.CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = iter([{"x": data(8, 6, seed=s)} for s in range(8)])

        def get_next(self) -> Any:
            return next(self.rows, None)

    net = Net(17)
    y = net.node("Gemm", net.input("x", "N", 6), net.weight(10, 6), net.weight(10), transB=1)
    net.output(net.node("Gemm", net.node("Relu", y), net.weight(3, 10), net.weight(3), transB=1))
    onnx.save(net.model(), tmp_path / "float.onnx")
    q.quantize_static(
        tmp_path / "float.onnx", tmp_path / "static.onnx", Reader(), quant_format=q.QuantFormat.QDQ,
        per_channel=True, extra_options={"ActivationSymmetric": symmetric},
    )  # fmt: skip
    model = onnx.load(tmp_path / "static.onnx")
    assert {"QuantizeLinear", "DequantizeLinear"} <= ops(model)
    g = from_onnx.convert(model)
    (got,) = run(g, {"x": data(5, 6)}).values()
    (want,) = onnx_run(model, {"x": data(5, 6)}).values()
    assert 1e-6 < np.abs(got - want).max() < 0.2


# --------------------------------------------------------------------- DequantizeLinear of weights


def weights_net(opset: int, array: Any, scale: Any, zero: Any, **attrs: Any) -> Any:
    net = Net(opset)
    names = [net.const(scale, "scale")] + ([] if zero is None else ["zero"])
    wide = net.node("DequantizeLinear", "q", *names, **attrs)
    net.output(net.node("MatMul", net.input("x", "N", 4), wide))
    model = net.model(ir_version=10)
    model.graph.initializer.append(array)
    if zero is not None:
        model.graph.initializer.append(zero)
    return model


def plain(model: Any, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """ONNX Runtime without its optimizer, which quantises what a dequantised weight multiplies."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options)
    return {model.graph.output[0].name: session.run(None, feeds)[0]}


RUNS = 25  # the newest opset whose DequantizeLinear ONNX Runtime has


@pytest.mark.parametrize(
    ("opset", "axis"),
    [(10, None), *((n, axis) for n in (13, 19, 21, 23, NEWEST) for axis in (None, 0, 1, -1))],
)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_dequantised_weights(opset: int, dtype: Any, axis: int | None) -> None:
    """Per tensor and along an axis, opset 10 to the newest; the product: bit for bit."""
    rng = np.random.default_rng(5)
    limits = np.iinfo(dtype)
    whole = rng.integers(limits.min, limits.max + 1, (4, 6)).astype(dtype)
    count = () if axis is None else (whole.shape[axis],)
    scale = rng.uniform(0.01, 0.1, count).astype(np.float32)
    zero = rng.integers(limits.min, limits.max + 1, count).astype(dtype)
    attrs = {} if axis is None else {"axis": axis}
    model = weights_net(
        opset,
        numpy_helper.from_array(whole, "q"),
        scale,
        numpy_helper.from_array(zero, "zero"),
        **attrs,
    )
    g = from_onnx.convert(model)
    want = widen(whole, np.asarray(scale), np.asarray(zero), 0 if axis is None else axis % 2)
    np.testing.assert_array_equal(g.layers[0].weight, want.T)
    close(
        run(g, {"x": data(3, 4)}),
        (plain if opset <= RUNS else onnx_reference)(model, {"x": data(3, 4)}),
    )


@pytest.mark.parametrize("block", [0, 2, 4])
@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4])
def test_four_bits_and_blocks(block: int, kind: int) -> None:
    rng = np.random.default_rng(6)
    whole = rng.integers(-8, 8, 24) if kind == TensorProto.INT4 else rng.integers(0, 16, 24)
    shape = (4 // block, 6) if block else ()
    scale = rng.uniform(0.01, 0.1, shape).astype(np.float32)
    points = rng.integers(0, 8, scale.size)
    model = weights_net(
        21,
        helper.make_tensor("q", kind, [4, 6], whole),
        scale,
        helper.make_tensor("zero", kind, shape, points),
        **({"axis": 0, "block_size": block} if block else {}),
    )
    g = from_onnx.convert(model)
    close(run(g, {"x": data(3, 4)}), onnx_reference(model, {"x": data(3, 4)}))
    assert "dequantised" in g.provenance["note"]


# ----------------------------------------------------------------------------------------- refused


def integer_net(**changes: Any) -> Any:
    """x -> DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul, with something changed."""
    net = Net(17)
    x = net.input("x", "N", 4)
    quantised, scale, zero = net.node("DynamicQuantizeLinear", x, outputs=3)
    other = net.node("DynamicQuantizeLinear", net.node("Tanh", x), outputs=3)
    names = {"q": quantised, "s": scale, "z": zero, "oq": other[0], "os": other[1], "oz": other[2]}
    whole = net.const(changes.get("w", np.arange(12, dtype=np.int8).reshape(4, 3)))
    point = net.const(np.int8(0))
    product = net.node("MatMulInteger", quantised, whole, names[changes.get("zero", "z")], point)
    cast = net.node("Cast", product, to=FLOAT)
    factor = net.node("Mul", names[changes.get("scale", "s")], net.const(np.float32(0.1)))
    y = net.node("Mul", cast, factor)
    net.output(cast if changes.get("unscaled") else y)
    return net.model()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"zero": "oz"}, "(MatMulInteger): its zero point is not that of the value it multiplies"),
        ({"scale": "os"}, "(Mul): multiplies quantised values in a way that is not supported"),
        ({"unscaled": True}, "is quantised; dequantise it in the model"),
        ({"w": np.ones((2, 4, 3), np.int8)}, "multiplies by integers of rank 3"),
    ],
)
def test_patterns_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    assert from_onnx.convert(integer_net()).layers[0].weight.shape == (3, 4)
    with pytest.raises(errors.ConversionError) as e:
        from_onnx.convert(integer_net(**changes))
    assert message in str(e.value)


def test_scales_that_do_not_fit() -> None:
    whole = numpy_helper.from_array(np.ones((4, 6), np.int8), "q")
    for scale, attrs in (
        (np.ones(5, np.float32), {"axis": 1}),
        (np.ones((3, 6), np.float32), {"axis": 0, "block_size": 2}),
        (np.ones((2, 5), np.float32), {"axis": 0, "block_size": 2}),
        (np.ones((2, 6), np.float32), {"axis": 0, "block_size": 2**40}),
    ):
        with pytest.raises(errors.ConversionError, match="scale and zero point don't fit"):
            from_onnx.convert(weights_net(21, whole, scale, None, **attrs))
    with pytest.raises(errors.ConversionError, match="NaN or infinite"):
        from_onnx.convert(weights_net(21, whole, np.float32(np.inf), None))


def test_products_of_the_integers_themselves_are_refused() -> None:
    net = Net(17)
    x, scale, zero = net.input("x", "N", 4), net.const(np.float32(0.1)), net.const(np.uint8(128))
    whole = [net.node("QuantizeLinear", x, scale, zero), scale, zero]
    weight = [net.const(np.ones((4, 3), np.uint8)), scale, zero]
    y = net.node("QLinearMatMul", *whole, *weight, scale, zero)
    net.output(net.node("DequantizeLinear", y, scale, zero))
    with pytest.raises(errors.ConversionError, match=r"\(QLinearMatMul\): this operator is not"):
        from_onnx.convert(net.model())
    net = Net(17)
    net.output(net.node("QGemm", net.input("x", "N", 4), net.weight(4, 3), domain=MS))
    model = net.model()
    model.opset_import.append(helper.make_opsetid(MS, 1))
    with pytest.raises(errors.ConversionError, match=r"operators of domain 'com\.microsoft'"):
        from_onnx.convert(model)


def test_the_note_is_shown(tmp_path: Path, capsys: Any) -> None:
    from lstmc.cli import main

    net = Net(17)
    net.output(lstm(net, net.input("x", "T", "N", 3)))
    quantise(net, tmp_path)
    path = str(tmp_path / "quantised.onnx")
    note = "note     quantised weights were dequantised to float32; activations are not quantised"
    assert note in lstmc.convert(path).summary()
    for command in (
        ["convert", path, "-o", str(tmp_path / "m.lstmc")],
        ["info", str(tmp_path / "m.lstmc")],
    ):
        assert main(command) == 0
        assert note in capsys.readouterr().out
