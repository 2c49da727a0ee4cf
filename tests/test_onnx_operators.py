"""ONNX operators around the recurrent ones, each against ONNX Runtime or onnx.reference.

ONNX's own tests (test_onnx_backend.py) and random models (test_random_onnx.py) try the same
operators; here are the options that those don't reach, and which layers come of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from lstmc.converters import from_onnx

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, numpy_helper
from onnx_nets import (
    Net,
    agree,
    close,
    data,
    kinds,
    onnx_reference,
    onnx_run,
    run,
)

import lstmc
from lstmc import errors

END = 2**31 - 1
Build = Callable[[Net, str], str]


def single(build: Build, *shape: int | str | None, opset: int = 21, dtype: int = 1) -> Net:
    """x -> build(net, x) -> output"""
    net = Net(opset)
    return net.output(build(net, net.input("x", *shape, dtype=dtype)))


def ints(n: Net, *values: int) -> str:
    return n.const(np.array(values))


# ------------------------------------------------------------------------ convolution and pooling

WINDOWS: dict[str, dict[str, Any]] = {
    "valid": {},
    "VALID": {"auto_pad": "VALID"},
    "same upper": {"auto_pad": "SAME_UPPER"},
    "same lower": {"auto_pad": "SAME_LOWER"},
    "causal": {"pads": [2, 0]},
    "uneven pads and stride": {"pads": [1, 2], "strides": [2]},
    "dilated": {"dilations": [2], "pads": [1, 0]},
}


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("how", WINDOWS)
@pytest.mark.parametrize("time", ["T", 9])
def test_conv(how: str, group: int, time: Any) -> None:
    def build(n: Net, x: str) -> str:
        w = n.weight(8, 4 // group, 3)
        return n.node("Conv", x, w, n.weight(8), group=group, **WINDOWS[how])

    g = agree(single(build, "N", 4, time), x=data(2, 4, 9))
    assert g.inputs[0].axes == ("batch", 4, "time")
    many = ["Select", "Conv1D"] * group + ["Concat"]
    expected = {1: ["Conv1D"], 4: ["Select", "DepthwiseConv1D"]}.get(group, many)
    assert sorted(kinds(g)) == sorted(expected)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("how", WINDOWS)
@pytest.mark.parametrize("time", ["T", 9])
def test_pool(how: str, op: str, time: Any) -> None:
    if op == "AveragePool" and how == "dilated":
        net = single(
            lambda n, x: n.node(op, x, kernel_shape=[3], **WINDOWS[how]), "N", 4, time, opset=22
        )
        agree(net, onnx_reference, x=data(2, 4, 9))
        return
    net = single(lambda n, x: n.node(op, x, kernel_shape=[3], **WINDOWS[how]), "N", 4, time)
    assert kinds(agree(net, x=data(2, 4, 9))) == ["Pool1D"]


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("steps", range(3, 9))
@pytest.mark.parametrize("pads", [[0, 0], [1, 1]], ids=str)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_ceil_mode(op: str, steps: int, pads: list[int], stride: int) -> None:
    """A last window that isn't full; not one that would begin in the padding at the end."""
    attrs: dict[str, Any] = {"kernel_shape": [3], "strides": [stride], "pads": pads}
    net = single(lambda n, x: n.node(op, x, ceil_mode=1, **attrs), "N", 2, steps)
    agree(net, x=data(2, 2, steps))
    if pads == [0, 0]:  # then it is clear for any number of steps
        net = single(lambda n, x: n.node(op, x, ceil_mode=1, **attrs), "N", 2, "T")
        agree(net, x=data(2, 2, steps))


def test_count_include_pad() -> None:
    def build(n: Net, x: str) -> str:
        return n.node("AveragePool", x, kernel_shape=[3], pads=[2, 1], count_include_pad=1)

    agree(single(build, "N", 2, "T"), x=data(2, 2, 5))


def test_conv_lstm_dense() -> None:
    """A common net: [N, T, F] turned for the convolution and back."""

    def build(n: Net, x: str) -> str:
        y = n.node("Transpose", x, perm=[0, 2, 1])
        y = n.node("Relu", n.node("Conv", y, n.weight(5, 3, 3), n.weight(5), pads=[1, 1]))
        y = n.node("MaxPool", y, kernel_shape=[2], strides=[2])
        _, h, _ = n.lstm(n.node("Transpose", y, perm=[2, 0, 1]), 5, 4)
        return n.node("Gemm", n.axes_op("Squeeze", h, [0]), n.weight(4, 2), n.weight(2))

    g = agree(single(build, "N", "T", 3), x=data(2, 8, 3))
    assert g.inputs[0].axes == ("batch", "time", 3)
    assert kinds(g) == ["Conv1D", "Pool1D", "LSTM", "Dense"]


# ------------------------------------------------------------------------------------- arithmetic


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min"])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 3), (1, 1, 3), (2, 3), (2, 1), (1, 2, 1)])
@pytest.mark.parametrize("swapped", [False, True])
def test_arithmetic_with_constants(op: str, shape: tuple[int, ...], swapped: bool) -> None:
    def build(n: Net, x: str) -> str:
        c = n.weight(*shape)
        n.initializers[c] = np.asarray(n.initializers[c] + 3, np.float32)
        return n.node(op, *([c, x] if swapped else [x, c]))

    agree(single(build, "N", 2, 3), x=data(4, 2, 3) + 5)


def test_constants_that_widen_a_value() -> None:
    g = agree(single(lambda n, x: n.node("Mul", x, n.weight(4)), "N", 1), x=data(3, 1))
    assert kinds(g) == ["Select", "Affine"]
    net = single(lambda n, x: n.node("Add", n.axes_op("Unsqueeze", x, [1]), n.weight(5, 1)), "N", 3)
    assert agree(net, x=data(2, 3)).outputs[0].axes == ("batch", 5, 3)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum"])
@pytest.mark.parametrize(
    "shapes",
    [
        (("N", "T", 3), ("N", "T", 3)),
        (("N", "T", 3), ("N", "T", 1)),
        (("N", "T", 1), ("N", "T", 3)),
        (("N", "T", 3), ("N", 1, 3)),
        (("N", 1, 3), ("N", 4, 1)),
        (("N", 2, 1, 3), ("N", 1, 4, 1)),
    ],
    ids=str,
)
def test_arithmetic_of_two_values(op: str, shapes: Any) -> None:
    net = Net()
    a, b = (net.input(n, *s) for n, s in zip("ab", shapes, strict=True))
    net.output(net.node("Tanh", net.node(op, a, b)))
    sizes = {"N": 2, "T": 5}
    feeds = {
        n: data(*(sizes.get(k, k) for k in s), seed=i) + 4
        for i, (n, s) in enumerate(zip("ab", shapes, strict=True))
    }
    agree(net, **feeds)


def test_a_value_without_time_goes_with_every_step() -> None:
    net = Net()
    y, h, _ = net.lstm(net.input("x", "T", "N", 3), 3, 4)
    y = net.axes_op("Squeeze", y, [1])
    net.output(net.node("Mul", y, h))  # [T, N, 4] and [1, N, 4]
    assert "Combine" in kinds(agree(net, x=data(5, 2, 3)))


def test_residual() -> None:
    def build(n: Net, x: str) -> str:
        y = n.node("Conv", n.node("Transpose", x, perm=[0, 2, 1]), n.weight(3, 3, 3), pads=[2, 0])
        return n.node("Add", x, n.node("Transpose", y, perm=[0, 2, 1]))

    assert kinds(agree(single(build, "N", "T", 3), x=data(2, 5, 3))) == ["Conv1D", "Combine"]


@pytest.mark.parametrize("exponent", [-1.0, 0.5, 1.0, 2.0, 3.0])
def test_pow(exponent: float) -> None:
    net = single(lambda n, x: n.node("Pow", x, n.const(np.float32(exponent))), "N", 3)
    agree(net, x=np.abs(data(4, 3)) + 0.1)


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 3), (2, 1), (2, 3)], ids=str)
def test_prelu(shape: tuple[int, ...]) -> None:
    agree(single(lambda n, x: n.node("PRelu", x, n.weight(*shape)), "N", 2, 3), x=data(4, 2, 3))


def test_layer_norm_written_out() -> None:
    """As older exporters write it."""

    def build(n: Net, x: str) -> str:
        mean = n.node("ReduceMean", x, axes=[-1])
        centred = n.node("Sub", x, mean)
        square = n.node("Pow", centred, n.const(np.float32(2)))
        variance = n.node("ReduceMean", square, axes=[-1])
        deviation = n.node("Sqrt", n.node("Add", variance, n.const(np.float32(1e-3))))
        y = n.node("Mul", n.node("Div", centred, deviation), n.weight(4))
        return n.node("Add", y, n.weight(4))

    agree(single(build, "N", "T", 4, opset=13), x=data(2, 5, 4))


@pytest.mark.parametrize("axes", [[1], [2], [3], [1, 2], [2, 3], [1, 2, 3], [-1], [-1, 1]], ids=str)
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"])
def test_reductions(op: str, keep: int, axes: list[int]) -> None:
    """Over a part of the features, all of them, time, or both."""
    net = single(lambda n, x: n.node(op, x, ints(n, *axes), keepdims=keep), "N", "T", 2, 3)
    agree(net, x=data(2, 5, 2, 3))


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_softmax_over_each_axis(axis: int) -> None:
    agree(single(lambda n, x: n.node("Softmax", x, axis=axis), "N", "T", 2, 3), x=data(2, 5, 2, 3))


@pytest.mark.parametrize("axis", [2, 3])
def test_log_softmax(axis: int) -> None:
    net = single(lambda n, x: n.node("LogSoftmax", x, axis=axis), "N", "T", 2, 3)
    agree(net, x=data(2, 5, 2, 3))


@pytest.mark.parametrize("op", ["LayerNormalization", "RMSNormalization"])
def test_normalisation(op: str) -> None:
    opset = 23 if op.startswith("RMS") else 17
    oracle = onnx_reference if op.startswith("RMS") else onnx_run

    def build(n: Net, x: str) -> str:
        return n.node(op, x, n.weight(4), epsilon=0.5, axis=-1)

    assert kinds(agree(single(build, "N", "T", 4, opset=opset), oracle, x=data(2, 5, 4))) == [
        "LayerNorm"
    ]
    net = single(lambda n, x: n.node(op, x, n.weight(2, 3), axis=1), "N", 2, 3, opset=opset)
    agree(net, oracle, x=data(5, 2, 3))


@pytest.mark.parametrize("shape", [("N", 3), ("N", 3, "T"), ("N", 3, 4, "T")], ids=str)
def test_batch_norm(shape: Any) -> None:
    def build(n: Net, x: str) -> str:
        var = n.const(np.float32([0.5, 1, 2]))
        return n.node("BatchNormalization", x, *(n.weight(3) for _ in range(3)), var, epsilon=0.1)

    sizes = {"N": 2, "T": 5}
    agree(single(build, *shape), x=data(*(sizes.get(k, k) for k in shape)))


# ------------------------------------------------------------------------------------------ moving


@pytest.mark.parametrize("index", [0, 1, -1, -2, [1], [[0]]], ids=str)
@pytest.mark.parametrize("time", ["T", 5])
def test_one_step(index: Any, time: Any) -> None:
    def build(n: Net, x: str) -> str:
        y = n.axes_op("Squeeze", n.lstm(x, 3, 4)[0], [1])
        return n.node("Gather", y, n.const(np.array(index)), axis=0)

    agree(single(build, time, "N", 3), x=data(5, 2, 3))


@pytest.mark.parametrize(
    "cut", [(1, END, 1), (0, -1, 1), (1, -2, 1), (0, END, 2), (1, END, 3), (-1, -END, -1)], ids=str
)
@pytest.mark.parametrize("time", ["T", 7])
def test_slices_of_time(cut: tuple[int, int, int], time: Any) -> None:
    def build(n: Net, x: str) -> str:
        y = n.axes_op("Squeeze", n.lstm(x, 3, 4)[0], [1])
        return n.node("Slice", y, ints(n, cut[0]), ints(n, cut[1]), ints(n, 0), ints(n, cut[2]))

    agree(single(build, time, "N", 3), x=data(7, 2, 3))


@pytest.mark.parametrize("cut", [(2, 5, 1), (-4, -1, 1), (-4, END, 2), (3, 100, 1)], ids=str)
def test_slices_of_a_fixed_time(cut: tuple[int, int, int]) -> None:
    def build(n: Net, x: str) -> str:
        y = n.axes_op("Squeeze", n.lstm(x, 3, 4)[0], [1])
        return n.node("Slice", y, ints(n, cut[0]), ints(n, cut[1]), ints(n, 0), ints(n, cut[2]))

    g = agree(single(build, 7, "N", 3), x=data(7, 2, 3))
    assert g.outputs[0].axes == ("time", "batch", 4)


@pytest.mark.parametrize(
    "cut", [(0, 2, 1), (-1, END, 1), (3, -END, -1), (-1, -4, -2), (1, END, 2)], ids=str
)
@pytest.mark.parametrize("axis", [2, 3])
def test_slices_of_features(cut: tuple[int, int, int], axis: int) -> None:
    def build(n: Net, x: str) -> str:
        y = n.node("Slice", x, ints(n, cut[0]), ints(n, cut[1]), ints(n, axis), ints(n, cut[2]))
        return n.node("Tanh", y)

    agree(single(build, "N", "T", 4, 5), x=data(2, 3, 4, 5))


def test_split_and_slices_of_several_axes() -> None:
    net = Net()
    x = net.input("x", "N", "T", 4, 6)
    parts = net.node("Split", x, ints(net, 1, 3, 2), outputs=3, axis=3)
    cut = net.node("Slice", x, ints(net, 1, 0), ints(net, 3, 2), ints(net, 2, 3))
    net.output(*parts, cut)
    agree(net, x=data(2, 3, 4, 6))
    net = Net(18)
    net.output(*net.node("Split", net.input("x", "N", 5), outputs=2, axis=1, num_outputs=2))
    agree(net, x=data(2, 5))
    net = Net(7)
    net.output(*net.node("Split", net.input("x", "N", 6), outputs=3, axis=1))
    agree(net, x=data(2, 6))
    net = Net()
    y = net.axes_op("Squeeze", net.lstm(net.input("x", 6, "N", 3), 3, 4)[0], [1])
    net.output(*net.node("Split", y, ints(net, 2, 3, 1), outputs=3, axis=0))
    agree(net, x=data(6, 2, 3))


def test_concat_of_values_and_constants() -> None:
    net = Net()
    x = net.input("x", "N", "T", 2, 3)
    y = net.node("Tanh", x)
    net.output(net.node("Concat", x, y, axis=2), net.node("Concat", y, x, axis=3))
    agree(net, x=data(2, 5, 2, 3))
    net = Net()
    x = net.input("x", "N", 1, 3)
    net.output(net.node("Concat", net.node("Tanh", x), net.weight(1, 1, 3), axis=1))
    with pytest.raises(errors.ConversionError, match="another or open size"):
        from_onnx.convert(net.model())


def test_states_joined_on_a_new_axis() -> None:
    """torch's h_n of stacked layers, as an output and taken apart again."""
    net = Net()
    y, a, c = net.lstm(net.input("x", "T", "N", 3), 3, 4)
    _, b, d = net.lstm(net.axes_op("Squeeze", y, [1]), 4, 4)
    h = net.node("Concat", a, b, axis=0)
    both = net.node("Gather", net.node("Concat", c, d, h, axis=0), ints(net, 3, 0), axis=0)
    net.output(h, both, net.node("Tanh", h))
    g = agree(net, x=data(5, 2, 3))
    assert g.outputs[0].axes == (2, "batch", 4)
    picked = net.node("Gather", h, net.const(np.int64(1)), axis=0)
    net.outputs = []
    g = agree(net.output(picked), x=data(5, 2, 3))
    assert kinds(g) == ["LSTM", "LSTM"]  # a part of what was joined is that part


@pytest.mark.parametrize(
    "pads", [[0, 0, 0, 0, 0, 0], [0, 2, 0, 0, 1, 0], [0, 0, 1, 0, 0, 2]], ids=str
)
@pytest.mark.parametrize("opset", [7, 13])
def test_pad(pads: list[int], opset: int) -> None:
    def build(n: Net, x: str) -> str:
        x = n.node("Tanh", x)
        if opset < 11:
            return n.node("Pad", x, pads=pads, value=0.5)
        return n.node("Pad", x, ints(n, *pads), n.const(np.float32(0.5)))

    agree(single(build, "N", "T", 3, opset=opset), x=data(2, 4, 3))


@pytest.mark.parametrize("order", [[0, 1, 2], [0, 2, 1]], ids=str)
def test_flatten_after_a_sequence(order: list[int]) -> None:
    """All steps of a fixed number as features, in either order."""

    def build(n: Net, x: str) -> str:
        y = n.axes_op("Squeeze", n.lstm(n.node("Transpose", x, perm=[1, 0, 2]), 3, 4)[0], [1])
        y = n.node("Transpose", n.node("Transpose", y, perm=[1, 0, 2]), perm=order)
        return n.node("Gemm", n.node("Flatten", y), n.weight(20, 2))

    g = agree(single(build, "N", 5, 3), x=data(2, 5, 3))
    assert kinds(g)[1:] == (
        ["Flatten", "Dense"] if order[1] == 1 else ["Flatten", "Select", "Dense"]
    )
    with pytest.raises(errors.ConversionError, match="takes a fixed number of steps"):
        from_onnx.convert(single(build, "N", "T", 3).model())


def test_features_as_steps() -> None:
    """A vector reshaped to a sequence, in either order."""
    for perm in ([0, 1, 2], [0, 2, 1]):

        def build(n: Net, x: str, perm: list[int] = perm) -> str:
            y = n.node("Transpose", n.node("Reshape", x, ints(n, 0, 4, 3)), perm=perm)
            size = 3 if perm[1] == 1 else 4
            y = n.lstm(n.node("Transpose", y, perm=[1, 0, 2]), size, 2)[0]
            return n.node("Tanh", y)

        assert "Unflatten" in kinds(agree(single(build, "N", 12), x=data(2, 12)))


def test_features_in_another_order() -> None:
    def build(n: Net, x: str) -> str:
        y = n.node("Transpose", n.node("Reshape", x, ints(n, 0, 2, 3)), perm=[0, 2, 1])
        return n.node("MatMul", n.node("Reshape", y, ints(n, 0, -1)), n.weight(6, 2))

    assert kinds(agree(single(build, "N", 6), x=data(4, 6))) == ["Select", "Dense"]


@pytest.mark.parametrize("op", ["Expand", "Tile"])
def test_repeat_vector(op: str) -> None:
    """A decoder that sees the encoder's state at each of its steps."""

    def build(n: Net, x: str) -> str:
        h = n.axes_op("Squeeze", n.lstm(x, 3, 4)[1], [0])
        h = n.node(op, n.axes_op("Unsqueeze", h, [1]), ints(n, 1, 6, 1))
        y = n.lstm(n.node("Transpose", h, perm=[1, 0, 2]), 4, 2)[0]
        return n.node("Transpose", n.axes_op("Squeeze", y, [1]), perm=[1, 0, 2])

    g = agree(single(build, "T", "N", 3), x=data(5, 2, 3))
    assert kinds(g) == ["LSTM", "Repeat", "LSTM"]


def test_repeat_like_another_sequence() -> None:
    net = Net()
    x = net.input("x", "N", "T", 3)
    z = net.input("z", "N", 2)
    t = net.node("Gather", net.node("Shape", x), ints(net, 1))
    shape = net.node("Concat", ints(net, 1), t, ints(net, 1), axis=0)
    wide = net.node("Expand", net.axes_op("Unsqueeze", z, [1]), shape)
    net.output(net.node("Concat", x, wide, axis=2))
    assert "Repeat" in kinds(agree(net, x=data(2, 5, 3), z=data(2, 2)))


def test_tile_of_features() -> None:
    agree(single(lambda n, x: n.node("Tile", x, ints(n, 1, 2)), "N", 3), x=data(2, 3))


def test_reverse_sequence() -> None:
    def build(n: Net, x: str) -> str:
        return n.node("ReverseSequence", x, ints(n, 5, 5), batch_axis=1, time_axis=0)

    assert kinds(agree(single(build, 5, 2, 3), x=data(5, 2, 3))) == ["Reverse"]


# ------------------------------------------------------------------------------ indices and masks


@pytest.mark.parametrize("dtype", [TensorProto.INT32, TensorProto.INT64])
@pytest.mark.parametrize("shape", [("N",), ("N", "T"), ("N", "T", 2)], ids=str)
@pytest.mark.parametrize("table", [(5, 3), (5,), (5, 2, 2)], ids=str)
def test_embedding(shape: Any, dtype: int, table: Any) -> None:
    net = single(lambda n, x: n.node("Gather", n.weight(*table), x), *shape, dtype=dtype)
    sizes = {"N": 2, "T": 4}
    index = np.random.default_rng(0).integers(0, 5, [sizes.get(k, k) for k in shape])
    g = agree(net, x=index.astype(np.int32 if dtype == TensorProto.INT32 else np.int64))
    assert kinds(g) == ["Embedding"]
    assert g.inputs[0].dtype in ("int32", "int64")


def test_integers_are_cast() -> None:
    net = Net()
    x = net.input("x", "N", 3, dtype=TensorProto.INT64)
    small = net.input("s", "N", 3, dtype=TensorProto.UINT8)
    wide = net.node("Cast", small, to=TensorProto.INT64)
    net.output(net.node("Mul", *(net.node("Cast", n, to=TensorProto.FLOAT) for n in (x, wide))))
    agree(net, x=np.arange(-6, 6).reshape(4, 3), s=np.full((4, 3), 3, np.uint8))


def test_masks_by_comparison() -> None:
    """Steps of index 0 don't count."""
    net = Net()
    x = net.input("x", "N", "T", dtype=TensorProto.INT64)
    padding = net.node("Equal", x, net.const(np.int64(0)))
    mask = net.node("Cast", net.node("Not", padding), to=TensorProto.FLOAT)
    y = net.node("Gather", net.weight(5, 3), x)
    net.output(net.node("Mul", y, net.axes_op("Unsqueeze", mask, [2])))
    agree(net, x=np.array([[1, 2, 0, 0], [4, 0, 3, 0]]))


# ------------------------------------------------------------------------------- several inputs


def encoder_decoder() -> tuple[Net, dict[str, np.ndarray]]:
    net = Net()
    source = net.input("source", "S", "N", 3)
    target = net.input("target", "T", "N", 2)
    _, h, c = net.lstm(source, 3, 4)
    net.output(net.lstm(target, 2, 4, ("", h, c))[0])
    return net, {"source": data(6, 2, 3), "target": data(4, 2, 2)}


def test_encoder_and_decoder_of_different_lengths() -> None:
    net, feeds = encoder_decoder()
    g = agree(net, **feeds)
    assert [v.clock for v in g.inputs] == ["time", "time1"]


def test_inputs_that_go_step_by_step_together() -> None:
    net = Net()
    net.output(net.node("Concat", net.input("a", "N", "A", 2), net.input("b", "N", "B", 3), axis=2))
    g = agree(net, a=data(2, 4, 2), b=data(2, 4, 3))
    assert len({v.clock for v in g.inputs}) == 1


def test_a_guess_that_turns_out_wrong() -> None:
    """What is read first as features of a fixed size is time to the LSTM behind it."""

    def build(n: Net, x: str) -> str:
        y = n.node("Mul", n.node("Softmax", x, axis=2), n.weight(1, 1, 3))
        return n.lstm(n.node("Transpose", y, perm=[1, 0, 2]), 3, 4)[1]

    g = agree(single(build, 4, 5, 3), x=data(4, 5, 3))
    assert g.inputs[0].axes == ("batch", "time", 3)
    g = agree(single(lambda n, x: n.lstm(n.node("Softmax", x), 3, 4)[1], 5, 4, 3), x=data(5, 4, 3))
    assert g.inputs[0].axes == ("time", "batch", 3)


def test_names_of_sizes_tell_what_they_are() -> None:
    g = agree(single(lambda n, x: n.node("Tanh", x), "seq_len", "batch", 3), x=data(5, 4, 3))
    assert g.inputs[0].axes == ("time", "batch", 3)


# ------------------------------------------------------------------------- states and shapes


def learned_state(n: Net, x: str, pattern: bool) -> str:
    """h0.expand(-1, batch, -1), as torch.onnx writes it: -1 replaced by 1 with Where."""
    size = n.node("Gather", n.node("Shape", x), n.const(np.int64(1)), axis=0)
    sizes = [ints(n, -1 if pattern else 1), n.axes_op("Unsqueeze", size, [0])]
    shape = n.node("Concat", *sizes, ints(n, -1 if pattern else 4), axis=0)
    if pattern:
        ones = n.node("ConstantOfShape", ints(n, 3), value=numpy_helper.from_array(np.array([1])))
        minus = n.node("Mul", ones, n.const(np.int64(-1)))
        shape = n.node("Where", n.node("Equal", shape, minus), ones, shape)
    return n.node("Expand", n.weight(1, 1, 4), shape)


@pytest.mark.parametrize("pattern", [False, True])
def test_an_initial_state_that_was_trained(pattern: bool) -> None:
    def build(n: Net, x: str) -> str:
        h, c = learned_state(n, x, pattern), learned_state(n, x, False)
        return n.lstm(x, 3, 4, ("", h, c))[0]

    g = agree(single(build, "T", "N", 3), x=data(5, 2, 3))
    assert sorted(kinds(g)) == ["Fill", "Fill", "LSTM"]


def test_the_order_of_the_oracle() -> None:
    """The helpers of these tests do tell a wrong result."""
    net, feeds = encoder_decoder()
    model = net.model()
    got = run(from_onnx.convert(model), feeds)
    wrong = onnx_run(model, {**feeds, "source": feeds["source"][::-1]})
    with pytest.raises(AssertionError):
        close(got, wrong)


def test_outer_products() -> None:
    """Features of one value against those of the same value."""

    def build(n: Net, x: str) -> str:
        wide = n.node("Mul", n.axes_op("Unsqueeze", x, [1]), n.axes_op("Unsqueeze", x, [2]))
        wide = n.node("Add", wide, n.weight(4, 1))
        return n.node("Reshape", n.node("Transpose", wide, perm=[0, 2, 1]), ints(n, 0, -1))

    agree(single(build, "N", 4), x=data(3, 4))


def test_times_of_two_values_are_not_one_against_the_other() -> None:
    net = Net()
    a = net.axes_op("Squeeze", net.lstm(net.input("a", "A", "N", 3), 3, 4)[0], [1])
    b = net.axes_op("Squeeze", net.lstm(net.input("b", "B", "N", 3), 3, 4)[0], [1])
    a, b = net.axes_op("Unsqueeze", a, [1]), net.axes_op("Unsqueeze", b, [0])
    net.output(net.node("Add", a, b))  # [A, B, N, 4]
    with pytest.raises(errors.ConversionError, match="combines time of one value with time of an"):
        from_onnx.convert(net.model())


@pytest.mark.parametrize("size", [1 << 25, 1 << 40])
def test_sizes_that_would_take_all_memory(size: int) -> None:
    def expand(n: Net, x: str) -> str:
        y = n.axes_op("Unsqueeze", n.lstm(x, 3, 4)[0], [4])
        return n.node("Expand", y, ints(n, 1, 1, 1, 1, size))

    def tile(n: Net, x: str) -> str:
        return n.node("Tile", n.lstm(x, 3, 4)[0], ints(n, 1, 1, 1, size))

    def pad(n: Net, x: str) -> str:
        return n.node("Pad", n.lstm(x, 3, 4)[0], ints(n, 0, 0, 0, 0, 0, 0, 0, size))

    for build in (expand, tile, pad):
        with pytest.raises(errors.ConversionError, match="features, more than 2"):
            from_onnx.convert(single(build, "T", "N", 3).model())
    for wide in (
        lambda n, x: n.node("MaxPool", x, kernel_shape=[size], auto_pad="SAME_UPPER"),
        lambda n, x: n.node("Pad", n.node("GlobalMaxPool", x), ints(n, 0, 0, size, 0, 0, 0)),
        lambda n, x: n.node("Tile", n.node("GlobalMaxPool", x), ints(n, 1, 1, size)),
    ):
        with pytest.raises(errors.ConversionError):
            lstmc.convert(single(wide, "N", 3, "T").model())


@pytest.mark.parametrize(
    "op", ["Mul", "Softmax", "Slice", "Concat", "Split", "Pad", "Tile", "Relu"]
)
def test_steps_and_features_on_one_axis(op: str) -> None:
    """What is behind a Flatten of a sequence sees one axis of features."""

    def build(n: Net, x: str) -> Any:
        y = n.axes_op("Squeeze", n.lstm(n.node("Transpose", x, perm=[1, 0, 2]), 3, 4)[0], [1])
        y = n.node("Flatten", n.node("Transpose", y, perm=[1, 0, 2]))
        match op:
            case "Slice":
                return n.slice(y, 3, 18, 1)
            case "Mul":
                return n.node("Mul", n.node("Add", y, n.const(np.float32(2))), n.weight(20))
            case "Concat":
                return n.node("Concat", y, n.node("Relu", y), axis=1)
            case "Split":
                return n.node("Split", y, ints(n, 3, 17), outputs=2, axis=1)[1]
            case "Pad":
                return n.node("Pad", y, ints(n, 0, 1, 0, 2))
            case "Tile":
                return n.node("Tile", y, ints(n, 1, 2))
        return n.node(op, y)

    agree(single(build, "N", 5, 3), x=data(2, 5, 3))


@pytest.mark.parametrize("time", [2, "T"])
def test_a_product_of_time_and_features_scaled(time: Any) -> None:
    """Found by random models: an axis of time and features counted as features twice."""

    def build(n: Net, x: str) -> str:
        y = n.axes_op("Unsqueeze", n.node("Flatten", n.node("Transpose", x, perm=[1, 0, 2])), [1])
        y = n.node("Add", n.node("Expand", y, ints(n, 1, 2, 1)), n.const(np.float32(0.25)))
        return n.node("Div", n.node("Flatten", y), n.const(np.float32(3)))

    net = single(build, time, 1, 2)
    if time == "T":
        with pytest.raises(errors.ConversionError):
            from_onnx.convert(net.model())
    else:
        agree(net, x=data(2, 1, 2))


def of_sequence(n: Net, x: str) -> str:
    """[T, N, 4], whose time the converter knows as such."""
    return n.axes_op("Squeeze", n.lstm(x, 3, 4)[0], [1])


FIXED: dict[str, Callable[[Net, str], Any]] = {
    "a constant for each step": lambda n, y: n.node("Add", y, n.weight(5, 1, 4)),
    "scaled step by step": lambda n, y: n.node("Mul", n.weight(5, 1, 1), y),
    "joined in time": lambda n, y: n.node("Concat", y, n.node("Tanh", y), axis=0),
    "steps picked": lambda n, y: n.node("Gather", y, ints(n, 3, 0, 0, -1), axis=0),
    "repeated": lambda n, y: n.node("Tile", y, ints(n, 2, 1, 1)),
    "then a layer": lambda n, y: n.lstm(n.node("Concat", y, y, axis=0), 4, 2)[0],
}


@pytest.mark.parametrize("how", FIXED)
def test_steps_of_a_fixed_number_one_by_one(how: str) -> None:
    """They become features, and steps again where a layer needs them."""
    agree(single(lambda n, x: FIXED[how](n, of_sequence(n, x)), 5, "N", 3), x=data(5, 2, 3))
    with pytest.raises(errors.ConversionError):
        from_onnx.convert(
            single(lambda n, x: FIXED[how](n, of_sequence(n, x)), "T", "N", 3).model()
        )


def test_features_cut_in_other_places() -> None:
    """[N, 2, 3] to [N, 3, 2]; steps and features of a sequence likewise."""

    def turned(n: Net, x: str) -> str:
        y = n.node("Transpose", n.node("Reshape", x, ints(n, 0, 2, 3)), perm=[0, 2, 1])
        return n.node("Softmax", n.node("Reshape", y, ints(n, 0, 2, 3)), axis=2)

    agree(single(turned, "N", 6), x=data(4, 6))

    def steps(n: Net, x: str) -> str:
        y = n.node("Transpose", of_sequence(n, x), perm=[1, 0, 2])
        return n.node("Softmax", n.node("Reshape", y, ints(n, 0, 4, 5)), axis=2)

    agree(single(steps, 5, "N", 3), x=data(5, 2, 3))


@pytest.mark.parametrize("pads", [[0, 1, 0, 0, 2, 0], [0, 0, 2, 0, 0, 1]], ids=str)
def test_pad_of_features_on_two_axes(pads: list[int]) -> None:
    net = single(lambda n, x: n.node("Tanh", n.node("Pad", x, ints(n, *pads))), "N", 2, 3)
    agree(net, x=data(4, 2, 3))


def test_the_shape_of_another_input() -> None:
    """Two sequences that are added have one number of steps: the shape of either will do."""
    net = Net()
    a, b = net.input("a", "A", "N", 3), net.input("b", "B", "N", 3)
    y = net.axes_op("Squeeze", net.lstm(net.node("Add", a, b), 3, 3)[0], [1])
    flat = net.node("Reshape", y, ints(net, -1, 3))
    net.output(net.node("Reshape", net.node("Tanh", flat), net.node("Shape", b)))
    agree(net, a=data(5, 2, 3), b=data(5, 2, 3, seed=2))


@pytest.mark.parametrize("how", ["same upper", "same lower"])
def test_an_even_window_is_padded_unevenly(how: str) -> None:
    def build(n: Net, x: str) -> list[str]:
        pool = n.node("MaxPool", x, kernel_shape=[4], **WINDOWS[how])
        return [pool, n.node("Conv", x, n.weight(2, 3, 2), **WINDOWS[how])]

    net = Net()
    net.output(*build(net, net.input("x", "N", 3, "T")))
    agree(net, x=data(2, 3, 7))


@pytest.mark.parametrize("op", ["Add", "Concat"])
def test_more_open_axes_than_batch_and_time(op: str) -> None:
    net = Net()
    x, y = net.input("x", "A", "B", "C"), net.input("y", "A", "B", "C")
    net.output(net.node(op, x, y, **({"axis": 1} if op == "Concat" else {})))
    with pytest.raises(errors.ConversionError):
        from_onnx.convert(net.model())
