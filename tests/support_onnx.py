"""The ONNX rows of docs/SUPPORT.md as models (see test_support.py)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from loop_nets import WRITERS  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402
from onnx_nets import Net, data, onnx_reference, onnx_run  # noqa: E402

Arrays = dict[str, np.ndarray]
Case = Callable[[Any], tuple[Any, Arrays, Arrays]]
INT64 = TensorProto.INT64


def converts(build: Callable[[Net, str], Any], *shape: Any, opset: int = 21, **more: Any) -> Case:
    """x of a shape, in which N is 2 and T is 5 -> build(net, x) -> outputs."""
    oracle = more.pop("oracle", onnx_run)

    def case(folder: Any) -> tuple[Any, Arrays, Arrays]:
        net = Net(opset)
        made = build(net, net.input("x", *shape))
        net.output(*([made] if isinstance(made, str) else made))
        sizes = {"N": 2, "T": 5}
        feeds = {"x": data(*(sizes.get(n, n) for n in shape)), **more}
        model = net.model()
        return model, feeds, oracle(model, feeds)

    return case


def ints(n: Net, *values: int) -> str:
    return n.const(np.array(values))


GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(n: Net, x: str, kind: str, hidden: int = 4, features: int = 3, **attrs: Any) -> Any:
    """One operator with random weights: its outputs."""
    extra = attrs.pop("extra", ())
    d = 2 if attrs.get("direction") == "bidirectional" else 1
    rows = GATES[kind] * hidden
    names = [n.weight(d, rows, features), n.weight(d, rows, hidden), n.weight(d, 2 * rows)]
    count = 3 if kind == "LSTM" else 2
    return n.node(kind, x, *names, *extra, outputs=count, hidden_size=hidden, **attrs)


def every(n: Net, x: str, **attrs: Any) -> list[str]:
    return [y for kind in GATES for y in recurrent(n, x, kind, **attrs)]


def stacked(n: Net, x: str) -> str:
    y, features = x, 3
    for _ in range(2):
        y, *_ = recurrent(n, y, "LSTM", features=features, direction="bidirectional")
        y = n.node("Reshape", n.node("Transpose", y, perm=[0, 2, 1, 3]), ints(n, 0, 0, -1))
        features = 8
    return y


def zeros_of_the_batch(n: Net, x: str) -> str:
    size = n.node("Gather", n.node("Shape", x), ints(n, 1))
    zeros = n.node("ConstantOfShape", n.node("Concat", ints(n, 1), size, ints(n, 4), axis=0))
    return recurrent(n, x, "LSTM", extra=("", zeros, zeros))[0]


def constant_states(n: Net, x: str) -> list[str]:
    state = n.const(np.repeat(data(1, 1, 4), 2, axis=1))
    return recurrent(n, x, "LSTM", extra=("", state, state))


def state_inputs(n: Net, x: str) -> list[str]:
    h, c = n.input("h", 2, "N", 4), n.input("c", 2, "N", 4)
    return recurrent(n, x, "LSTM", extra=("", h, c), direction="bidirectional")


def lengths_input(n: Net, x: str) -> list[str]:
    return every(n, x, extra=(n.input("n", "N", dtype=TensorProto.INT32),))


def activations(n: Net, x: str) -> list[str]:
    names = ["HardSigmoid", "ScaledTanh", "Softsign", "Sigmoid", "LeakyRelu", "Elu"]
    return recurrent(
        n, x, "LSTM", direction="bidirectional", activations=names,
        activation_alpha=[0.25, 0.5, 0.125], activation_beta=[0.5, 1.5],
    )  # fmt: skip


def encoder_decoder(n: Net, x: str) -> list[str]:
    _, h = recurrent(n, x, "GRU")
    target = n.input("target", "U", "N", 3)
    return recurrent(n, target, "GRU", extra=("", h))


def joined_states(n: Net, x: str) -> list[str]:
    y, h, c = recurrent(n, x, "LSTM")
    both = n.node("Concat", h, c, axis=0)
    return [y, both, n.node("Gather", both, n.const(np.int64(1)), axis=0)]


def embedding(n: Net, x: str) -> str:
    y = n.node("Gather", n.weight(7, 3), n.input("i", "N", "T", dtype=INT64))
    return n.node("Add", x, y)


def matrices(n: Net, x: str) -> list[str]:
    y = n.node("Add", n.node("MatMul", x, n.weight(3, 4)), n.weight(4))
    last = n.node("Gather", y, ints(n, -1), axis=1)
    last = n.axes_op("Squeeze", last, [1])
    return [y, n.node("Gemm", last, n.weight(2, 4), n.weight(2), transB=1, alpha=0.5)]


def arithmetic(n: Net, x: str) -> list[str]:
    z = n.node("Tanh", x)
    one = n.node("ReduceMean", x, ints(n, 2))
    ops = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum")
    return [n.node(op, *pair) for op in ops for pair in ([x, z], [one, n.node("Exp", x)])]


def arithmetic_with_constants(n: Net, x: str) -> list[str]:
    c = n.const(np.float32([0.5, -2, 3]))
    return [n.node(op, x, c) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min")]


def functions(n: Net, x: str) -> list[str]:
    names = (
        "Abs", "Celu", "Elu", "Erf", "Exp", "HardSigmoid", "HardSwish", "LeakyRelu", "Neg", "Relu",
        "Selu", "Shrink", "Sigmoid", "Sign", "Softplus", "Softsign", "Tanh", "ThresholdedRelu",
        "Mish", "Gelu",
    )  # fmt: skip
    made = [n.node(name, x) for name in names]
    positive = n.node("Abs", x)
    return made + [n.node(name, positive) for name in ("Log", "Reciprocal", "Sqrt")]


def clips(n: Net, x: str) -> list[str]:
    low, high = n.const(np.float32(-0.5)), n.const(np.float32(0.75))
    return [n.node("Clip", x, low, high), n.node("Clip", x, low), n.node("Clip", x, "", high)]


def powers(n: Net, x: str) -> list[str]:
    positive = n.node("Abs", x)
    return [n.node("Pow", positive, n.const(np.float32(e))) for e in (-1, 0.5, 1, 2, 3)]


def softmaxes(n: Net, x: str) -> list[str]:
    return [
        n.node("Softmax", x, axis=2),
        n.node("Softmax", x, axis=1),
        n.node("LogSoftmax", x, axis=2),
    ]


def reductions(n: Net, x: str) -> list[str]:
    ops = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin")
    return [n.node(op, x, ints(n, axis)) for op in ops for axis in (1, 2)]


def batch_norm(n: Net, x: str) -> str:
    var = n.const(np.float32([0.5, 1, 2]))
    return n.node("BatchNormalization", x, n.weight(3), n.weight(3), n.weight(3), var)


def convolutions(n: Net, x: str) -> list[str]:
    return [
        n.node("Conv", x, n.weight(5, 4, 3), n.weight(5), pads=[1, 1]),
        n.node("Conv", x, n.weight(8, 1, 2), group=4, dilations=[2]),
        n.node("Conv", x, n.weight(4, 1, 2), group=4, auto_pad="SAME_LOWER"),
        n.node("Conv", x, n.weight(4, 2, 2), group=2, strides=[2]),
    ]


def pools(n: Net, x: str) -> list[str]:
    same = {"kernel_shape": [3], "auto_pad": "SAME_UPPER"}
    return [
        n.node("MaxPool", x, kernel_shape=[2], strides=[2], ceil_mode=1),
        n.node("AveragePool", x, **same),
        n.node("AveragePool", x, kernel_shape=[3], pads=[1, 1], count_include_pad=1),
        n.node("GlobalAveragePool", x),
        n.node("GlobalMaxPool", x),
    ]


def convolutions_2d(n: Net, x: str) -> list[str]:
    y = n.node("Conv", x, n.weight(6, 4, 3, 2), n.weight(6), pads=[1, 0, 1, 1])
    same = {"strides": [1, 2], "auto_pad": "SAME_UPPER", "kernel_shape": [2, 3]}
    by_channel = n.node("Conv", y, n.weight(6, 1, 2, 3), group=6, **same)
    by_group = n.node("Conv", y, n.weight(4, 3, 2, 3), group=2, dilations=[2, 1], pads=[2, 1, 0, 1])
    return [y, by_channel, n.node("Transpose", by_group, perm=[2, 0, 3, 1])]


def transposed(n: Net, x: str) -> list[str]:
    y = n.node("ConvTranspose", x, n.weight(4, 3, 2, 3), n.weight(3), strides=[1, 2],
               pads=[1, 0, 0, 1])  # fmt: skip
    attrs = {"strides": [1, 3], "output_padding": [0, 2], "dilations": [2, 1]}
    return [y, n.node("ConvTranspose", y, n.weight(3, 2, 2, 4), group=3, **attrs)]


def convolution_in_a_step(n: Net, x: str) -> str:
    """[T, N, 8] from an LSTM, whose features are convolved at each step."""
    y = n.axes_op("Squeeze", n.lstm(x, 3, 8)[0], [1])
    outer = n.slice(n.node("Shape", y), 0, 2, 0)
    y = n.node("Reshape", y, ints(n, -1, 2, 4))  # [T N, channels, positions]
    y = n.node("Conv", y, n.weight(3, 2, 3))
    return n.node("Reshape", y, n.node("Concat", outer, ints(n, 6), axis=0))


def image_in_a_step(n: Net, x: str) -> str:
    y = n.node("Reshape", n.lstm(x, 3, 18)[0], ints(n, -1, 2, 3, 3))
    return n.node("Conv", y, n.weight(4, 2, 2, 2))


def frame(n: Net, x: str) -> list[str]:
    """A frame and two before it, convolved; a GRU at each of 8 frequencies; the newer two."""
    y = n.node("Conv", x, n.weight(4, 3, 1, 3), pads=[0, 1, 0, 1])
    past = n.node("Concat", n.input("cache", 1, 4, 2, 8), y, axis=2)
    y = n.node("Conv", past, n.weight(4, 1, 3, 3), group=4, pads=[0, 1, 0, 1])
    y = n.node("Reshape", n.node("Transpose", y, perm=[0, 3, 2, 1]), ints(n, 8, 1, 4))
    y = n.node("Transpose", y, perm=[1, 0, 2])
    h = n.input("h", 1, 8, 5)
    _, h = recurrent(n, y, "GRU", 5, 4, extra=("", h), linear_before_reset=1)
    return [n.node("Tanh", h), n.slice(past, 1, 3, 2)]


def pools_2d(n: Net, x: str) -> list[str]:
    shape = {"kernel_shape": [2, 3], "strides": [2, 1]}
    return [
        n.node("MaxPool", x, **shape),
        n.node("AveragePool", x, pads=[1, 0, 1, 1], **shape),
        n.node("AveragePool", x, pads=[1, 0, 1, 1], count_include_pad=1, **shape),
        n.node("GlobalAveragePool", x),
        n.node("GlobalMaxPool", x),
    ]


def feature_moves(n: Net, x: str) -> list[str]:
    parts = n.node("Split", x, ints(n, 1, 3), outputs=2, axis=2)
    cut = n.node("Slice", x, ints(n, 3), ints(n, -9), ints(n, 2), ints(n, -2))
    picked = n.node("Gather", x, ints(n, 3, 0, 0), axis=2)
    return [n.node("Concat", parts[1], x, axis=2), parts[0], cut, picked]


def time_moves(n: Net, x: str) -> list[str]:
    y = n.node("Relu", n.node("MatMul", x, n.weight(4, 3)))
    cut = n.node("Slice", y, ints(n, 1), ints(n, 2**31), ints(n, 1), ints(n, 2))
    turned = n.node("Slice", y, ints(n, -1), ints(n, -(2**31)), ints(n, 1), ints(n, -1))
    steps = [n.node("Gather", y, n.const(np.int64(i)), axis=1) for i in (0, -1, -2)]
    return [cut, turned, *steps]


def paddings(n: Net, x: str) -> list[str]:
    half = n.const(np.float32(0.5))
    y = n.node("MatMul", x, n.weight(3, 3))
    return [n.node("Pad", y, ints(n, 0, 2, 0, 0, 0, 1), half)]


def mirrors(n: Net, x: str) -> list[str]:
    """Of time, whatever its length, and of features."""
    y = n.lstm(n.node("Transpose", x, perm=[1, 0, 2]), 3, 4)[0]
    modes = ("reflect", "edge")
    return [n.node("Pad", y, ints(n, 2, 0, 0, 1, 1, 0, 0, 2), mode=m) for m in modes]


def one_node(op: str) -> Any:
    return helper.make_graph(
        [helper.make_node(op, ["x"], ["z"])],
        "branch", [], [helper.make_tensor_value_info("z", 1, None)],
    )  # fmt: skip


def choice(n: Net, x: str) -> str:
    """A rank and sizes decide: Not(Size(Shape(x)) == 2), then 3 features."""
    rank = n.node("Equal", n.node("Size", n.node("Shape", x)), n.const(np.int64(2)))
    last = n.node("Gather", n.node("Shape", x), n.const(np.int64(2)), axis=0)
    both = n.node("And", n.node("Not", rank), n.node("Less", last, n.const(np.int64(4))))
    y = n.node("If", both, then_branch=one_node("Tanh"), else_branch=one_node("Sin"))
    return n.node("Neg", y)


def assembled(n: Net, x: str) -> str:
    """Weights made by arithmetic."""
    w = n.node("Transpose", n.node("Sin", n.node("Pow", n.weight(4, 3), n.const(np.float32(3)))))
    norm = n.node("ReduceL2", w, n.const(np.array([0])))
    return n.node("MatMul", x, n.node("Div", w, norm))


def steps_again(n: Net, x: str) -> str:
    """A fifth of the steps, of 15 features each, as five times as many of 3: as x has."""
    y = n.node("Conv", n.node("Transpose", x, perm=[0, 2, 1]), n.weight(15, 3, 5), strides=[5])
    size = n.node("Gather", n.node("Shape", x), ints(n, 1), axis=0)
    shape = n.node("Concat", ints(n, -1), size, ints(n, 3), axis=0)
    return n.node("Reshape", n.node("Transpose", y, perm=[0, 2, 1]), shape)


def fixed_steps(n: Net, x: str) -> list[str]:
    y = n.lstm(n.node("Transpose", x, perm=[1, 0, 2]), 3, 4)[0]
    y = n.node("Transpose", n.axes_op("Squeeze", y, [1]), perm=[1, 0, 2])
    wide = n.node("Reshape", y, ints(n, 0, -1))
    again = n.node("Reshape", n.node("Tanh", wide), ints(n, 0, 10, 2))
    return [wide, n.lstm(n.node("Transpose", again, perm=[1, 0, 2]), 2, 3)[1]]


def layouts(n: Net, x: str) -> str:
    y = n.node("Transpose", n.node("Reshape", x, ints(n, 0, 0, 2, 2)), perm=[0, 1, 3, 2])
    return n.node("Tanh", n.axes_op("Squeeze", n.axes_op("Unsqueeze", y, [0]), [0]))


def repeats(n: Net, x: str) -> list[str]:
    h = n.node("Transpose", recurrent(n, x, "GRU")[1], perm=[1, 0, 2])
    return [n.node("Expand", h, ints(n, 1, 4, 1)), n.node("Tile", h, ints(n, 1, 3, 2))]


def masks(n: Net, x: str) -> str:
    i = n.input("i", "N", "T", dtype=INT64)
    real = n.node("Not", n.node("Equal", i, n.const(np.int64(0))))
    mask = n.axes_op("Unsqueeze", n.node("Cast", real, to=TensorProto.FLOAT), [2])
    return n.node("Mul", x, mask)


def half(n: Net, x: str) -> str:
    """As converters to float16 write it: Cast at both ends, computed by onnx in float16."""
    w = n.const(data(4, 3).astype(np.float16))
    y = n.node("MatMul", n.node("Cast", x, to=TensorProto.FLOAT16), w)
    return n.node("Cast", y, to=TensorProto.FLOAT)


def halves_widened(model: Any, feeds: Arrays) -> Arrays:
    (name,) = [o.name for o in model.graph.output]
    return {name: feeds["x"] @ data(4, 3).astype(np.float16).astype(np.float32)}


def eight_bits(n: Net, x: str) -> str:
    whole = np.arange(-6, 6, dtype=np.int8).reshape(4, 3)
    scales = n.const(np.float32([0.5, 0.1, 2]))
    return n.node("MatMul", x, n.node("DequantizeLinear", n.const(whole), scales, axis=1))


def dynamically_quantised(n: Net, x: str) -> str:
    q, s, z = n.node("DynamicQuantizeLinear", x, outputs=3)
    whole, zero = n.const(np.arange(12, dtype=np.uint8).reshape(4, 3)), n.const(np.uint8(7))
    product = n.node("Cast", n.node("MatMulInteger", q, whole, z, zero), to=TensorProto.FLOAT)
    return n.node("Mul", product, n.node("Mul", s, n.const(np.float32(0.25))))


def quantisation_left_out(model: Any, feeds: Arrays) -> Arrays:
    (name,) = [o.name for o in model.graph.output]
    return {name: feeds["x"] @ ((np.arange(12).reshape(4, 3) - 7) * np.float32(0.25))}


def loops(n: Net, x: str) -> list[str]:
    """Each cell as a Loop that reads x[i], and as a Scan."""
    made = []
    for seed, (writer, kind) in enumerate(itertools.product(("Loop", "Scan"), GATES)):
        state = n.node("Expand", n.const(np.zeros((1, 1), np.float32)), batch_by(n, x, 4))
        states = [state] * (2 if kind == "LSTM" else 1)
        made.append(WRITERS[writer](n, x, kind, states, (3, 4), seed)[-1])
    return made


def batch_by(n: Net, x: str, size: int) -> str:
    batch = n.node("Gather", n.node("Shape", x), ints(n, 1))
    return n.node("Concat", batch, ints(n, size), axis=0)


INDICES = np.array([[3, 0, 6, 1, 2], [5, 5, 0, 0, 4]])
SEQUENCE = ("T", "N", 3)

CONVERTS: dict[str, Case] = {
    "`LSTM`, `GRU`, `RNN` of opsets 7, 14 and 22": converts(every, *SEQUENCE),
    "direction reverse": converts(lambda n, x: every(n, x, direction="reverse"), *SEQUENCE),
    "direction bidirectional": converts(
        lambda n, x: every(n, x, direction="bidirectional"), *SEQUENCE
    ),
    "stacked bidirectional layers": converts(stacked, *SEQUENCE),
    "layout 1": converts(
        lambda n, x: every(n, x, layout=1), "N", "T", 3, oracle=onnx_reference
    ),
    "initial states as inputs, or computed": converts(
        state_inputs, *SEQUENCE, h=data(2, 2, 4), c=data(2, 2, 4, seed=3)
    ),
    "initial states that are constant": converts(constant_states, *SEQUENCE),
    "initial states of zeros": converts(zeros_of_the_batch, *SEQUENCE),
    "sequence_lens as an input": converts(
        lengths_input, *SEQUENCE, n=np.array([5, 2], np.int32)
    ),
    "sequence_lens as a constant": converts(
        lambda n, x: every(n, x, extra=(n.const(np.int32([3, 3])),)), *SEQUENCE
    ),
    "P (peepholes)": converts(
        lambda n, x: recurrent(n, x, "LSTM", extra=("", "", "", n.weight(1, 12))), *SEQUENCE
    ),
    "input_forget": converts(lambda n, x: recurrent(n, x, "LSTM", input_forget=1), *SEQUENCE),
    "clip": converts(lambda n, x: every(n, x, clip=0.5), *SEQUENCE),
    "activations, activation_alpha, activation_beta": converts(activations, *SEQUENCE),
    "linear_before_reset": converts(
        lambda n, x: [y for i in (0, 1) for y in recurrent(n, x, "GRU", linear_before_reset=i)],
        *SEQUENCE,
    ),
    "an encoder's state for a decoder": converts(
        encoder_decoder, *SEQUENCE, target=data(7, 2, 3)
    ),
    "states joined and picked": converts(joined_states, *SEQUENCE),
    "`Gather` of a constant table": converts(embedding, "N", "T", 3, i=INDICES),
    "`MatMul`, `Gemm`": converts(matrices, "N", "T", 3),
    "a matrix at each place": converts(
        lambda n, x: n.node("MatMul", x, n.weight(3, 2)), "N", "T", 2, 3
    ),
    "`Add`, `Sub`, `Mul`, `Div`, `Max`, `Min`, `Mean`, `Sum`": converts(arithmetic, "N", "T", 3),
    "the same with constants": converts(arithmetic_with_constants, "N", "T", 3),
    "functions of one element": converts(functions, "N", "T", 3, opset=20),
    "`Swish`": converts(
        lambda n, x: n.node("Swish", x, alpha=0.5), "N", 3, opset=24, oracle=onnx_reference
    ),
    "`Clip`": converts(clips, "N", 3),
    "`Pow`": converts(powers, "N", 3),
    "`PRelu`": converts(lambda n, x: n.node("PRelu", x, n.weight(3)), "N", "T", 3),
    "`Softmax`, `LogSoftmax`": converts(softmaxes, "N", "T", 3),
    "`ReduceSum`, `ReduceMean`, `ReduceMax`, `ReduceMin`": converts(reductions, "N", "T", 3),
    "`LayerNormalization`": converts(
        lambda n, x: n.node("LayerNormalization", x, n.weight(3), n.weight(3)), "N", "T", 3
    ),
    "`RMSNormalization`": converts(
        lambda n, x: n.node("RMSNormalization", x, n.weight(3)),
        "N", "T", 3, opset=23, oracle=onnx_reference,
    ),
    "`BatchNormalization`": converts(batch_norm, "N", 3, "T"),
    "`Conv`": converts(convolutions, "N", 4, "T"),
    "`Conv` over time and frequency": converts(convolutions_2d, "N", 4, "T", 6),
    "`Conv` within a step": converts(convolution_in_a_step, *SEQUENCE),
    "`ConvTranspose`": converts(transposed, "N", 4, "T", 5),
    "`MaxPool`, `AveragePool`, `GlobalMaxPool`, `GlobalAveragePool`": converts(pools, "N", 4, "T"),
    "the same over time and frequency": converts(pools_2d, "N", 4, 6, "T"),
    "`Concat`, `Split`, `Slice`, `Gather` of features": converts(feature_moves, "N", "T", 4),
    "`Slice`, `Gather` of time": converts(time_moves, "N", "T", 4),
    "`ScatterND`": converts(
        lambda n, x: n.node("ScatterND", x, ints(n, [1], [0]), n.input("u", 2, 3, 2)),
        2, 3, 2, u=data(2, 3, 2, seed=2),
    ),
    "one frame a call": converts(
        frame, 1, 3, 1, 8, h=data(1, 8, 5, seed=2), cache=data(1, 4, 2, 8, seed=3)
    ),
    "`Pad`": converts(paddings, "N", "T", 3),
    "`Pad` reflect, edge": converts(mirrors, "N", "T", 3),
    "`If` on a condition that is known": converts(choice, "N", "T", 3),
    "weights assembled in the graph": converts(assembled, "N", "T", 3),
    "`Flatten`, `Reshape` across time": converts(fixed_steps, "N", 5, 3),
    "`Reshape` to the size of another time": converts(steps_again, "N", "T", 3),
    "`Transpose`, `Reshape`, `Squeeze`, `Unsqueeze`": converts(layouts, "N", "T", 4),
    "`Expand`, `Tile`": converts(repeats, *SEQUENCE),
    "`ReverseSequence`": converts(
        lambda n, x: n.node("ReverseSequence", x, ints(n, 5, 5)), 5, 2, 3
    ),
    "`Cast`, `Equal`, `Not`": converts(masks, "N", "T", 3, i=INDICES),
    "float16, bfloat16": converts(half, "N", "T", 4, oracle=halves_widened),
    "`DequantizeLinear` of weights": converts(eight_bits, "N", "T", 4, oracle=onnx_reference),
    "dynamic quantisation": converts(
        dynamically_quantised, "N", "T", 4, oracle=quantisation_left_out
    ),
    "`Loop`, `Scan`": converts(loops, *SEQUENCE),
    "`Identity`, `Dropout`": converts(
        lambda n, x: n.node("Tanh", n.node("Dropout", n.node("Identity", x))), "N", 3
    ),
}  # fmt: skip


# ------------------------------------------------------------------------------------------ refused


def refused(build: Callable[[Net, str], Any], *shape: Any, dtype: int = 1) -> Callable[..., Any]:
    def case(folder: Any) -> Any:
        net = Net()
        made = build(net, net.input("x", *(shape or ("N", "T", 4)), dtype=dtype))
        net.output(*([made] if isinstance(made, str) else made))
        for i, node in enumerate(net.nodes):
            node.name = node.op_type.lower() if i == len(net.nodes) - 1 else f"before{i}"
        return net.model()

    return case


def op(name: str, *consts: Any, shape: Any = (), dtype: int = 1, **attrs: Any) -> Any:
    """One node: x, then constants."""
    return refused(
        lambda n, x: n.node(name, x, *(n.const(np.array(c)) for c in consts), **attrs),
        *shape,
        dtype=dtype,
    )


def with_lstm(extra: Any = (), **attrs: Any) -> Any:
    def build(n: Net, x: str) -> Any:
        names = tuple(e if isinstance(e, str) else n.const(e, "value") for e in extra)
        return recurrent(n, x, "LSTM", extra=names, **attrs)[0]

    return refused(build, *SEQUENCE)


def control_flow(folder: Any) -> Any:
    net = Net()
    x = net.input("x", "N", 3)
    total = net.node("ReduceSum", x, keepdims=0)
    flag = net.node("Greater", total, net.const(np.float32(0)))
    y = net.node("If", flag, then_branch=one_node("Tanh"), else_branch=one_node("Relu"))
    net.nodes[-1].name = "if"
    net.initializers[net.fresh("unused")] = np.float32([0])
    net.nodes.append(helper.make_node("Add", ["x", y], ["sum"], name="add"))
    return net.output("sum").model()


def loop(folder: Any) -> Any:
    net = Net()
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Tanh", ["h"], ["z"])],
        "body",
        [helper.make_tensor_value_info("i", INT64, []),
         helper.make_tensor_value_info("go", TensorProto.BOOL, []),
         helper.make_tensor_value_info("h", 1, None)],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []),
         helper.make_tensor_value_info("z", 1, None)],
    )  # fmt: skip
    times, go = net.const(np.array(3)), net.const(np.array(True))
    net.output(net.node("Loop", times, go, net.input("x", "N", 3), body=body))
    net.nodes[-1].name = "loop"
    return net.model()


def looped(change: str) -> Callable[[Any], Any]:
    def case(folder: Any) -> Any:
        from test_onnx_loops import loop

        net, _ = loop(change)
        next(n for n in net.nodes if n.op_type == "Loop").name = "loop"
        return net.model()

    return case


def foreign(folder: Any) -> Any:
    net = Net()
    net.output(net.node("FusedMatMul", net.input("x", "N", 3), net.weight(3, 3), domain="mine"))
    net.nodes[-1].name = "fused"
    model = net.model()
    model.opset_import.append(helper.make_opsetid("mine", 1))
    return model


def quantised_product(folder: Any) -> Any:
    def build(n: Net, x: str) -> str:
        s, z = n.const(np.float32(0.1)), n.const(np.uint8(128))
        q, w = n.node("QuantizeLinear", x, s, z), n.const(np.ones((4, 3), np.uint8))
        return n.node("QLinearMatMul", q, s, z, w, s, z, s, z)

    return refused(build)(folder)


def old_opset(folder: Any) -> Any:
    net = Net()
    net.output(net.node("Relu", net.input("x", "N", 3)))
    model = net.model()
    model.opset_import[0].version = 6
    return model


def bfloat16(folder: Any) -> Any:
    return op("Relu", dtype=TensorProto.BFLOAT16)(folder)


def unused_input(folder: Any) -> Any:
    net = Net()
    net.output(net.node("Relu", net.input("x", "N", 3)))
    net.input("unused", "N", 3)
    return net.model()


def nan_weight(folder: Any) -> Any:
    net = Net()
    net.initializers["w"] = np.full((3, 2), np.nan, np.float32)
    net.output(net.node("MatMul", net.input("x", "N", 3), "w"))
    net.nodes[-1].name = "matmul"
    return net.model()


def swapped(n: Net, x: str) -> str:
    y = n.axes_op("Squeeze", n.lstm(x, 3, 4)[0], [1])
    return n.lstm(n.node("Transpose", y, perm=[1, 0, 2]), 4, 4)[0]


def flattened(n: Net, x: str) -> str:
    y = n.node("Transpose", n.lstm(x, 3, 4)[0], perm=[2, 0, 1, 3])
    return n.node("Gemm", n.node("Flatten", y), n.weight(20, 2))


DIFFERENT = np.int32([2, 3])
REFUSED: dict[str, Callable[..., Any]] = {
    "any other operator": op("Sin"),
    "`If` on the data": control_flow,
    "loops that are no recurrent layer": looped("extra state"),
    "loops over no sequence": loop,
    "loops that may end before the sequence": looped("stops at 3"),
    "loops that look at other steps": looped("next step"),
    "operators of other domains": foreign,
    "opsets below 7": old_opset,
    "products of quantised results": quantised_product,
    "inputs of other types": bfloat16,
    "inputs without effect": unused_input,
    "NaN or infinity in a weight": nan_weight,
    "direction of another name": with_lstm(direction="sideways"),
    "clip of 0 or less": with_lstm(clip=0.0),
    "activations of another name": with_lstm(activations=["Sigmoid", "Sine", "Tanh"]),
    "Affine or ScaledTanh without alpha and beta": with_lstm(
        activations=["Sigmoid", "Affine", "Tanh"]
    ),
    "more alphas or betas than functions that take them": with_lstm(
        activations=["Sigmoid", "Tanh", "HardSigmoid"], activation_alpha=[0.1, 0.2, 0.3]
    ),
    "constant sequence_lens that differ": with_lstm((DIFFERENT,)),
    "constant initial states that differ": with_lstm(("", data(1, 2, 4))),
    "the batch read as time": refused(swapped, *SEQUENCE),
    "products of computed matrices": refused(
        lambda n, x: n.node("MatMul", x, n.node("Transpose", x, perm=[0, 2, 1]))
    ),
    "constants for each step of a time left open": refused(
        lambda n, x: n.node("Add", n.lstm(x, 3, 4)[0], n.weight(5, 1, 1, 1)), *SEQUENCE
    ),
    "`Pow` with other exponents": op("Pow", np.float32(1.5)),
    "`Shrink` with bias other than 0 and lambd": op("Shrink", bias=0.25, lambd=0.5),
    "`LogSoftmax` over time": op("LogSoftmax", axis=1),
    "`Softmax` over the batch": refused(
        lambda n, x: n.node("Softmax", n.lstm(x, 3, 4)[0], axis=2), *SEQUENCE
    ),
    "reductions over the batch": refused(
        lambda n, x: n.node("ReduceSum", n.lstm(x, 3, 4)[0], ints(n, 2)), *SEQUENCE
    ),
    "`BatchNormalization` that trains": refused(
        lambda n, x: n.node(
            "BatchNormalization", x, *(n.const(np.ones(4, np.float32)) for _ in range(4)),
            outputs=3, training_mode=1,
        )[0],
        "N", 4,
    ),
    "images of open sizes": refused(
        lambda n, x: n.node("Conv", x, n.weight(2, 4, 3, 3)), "N", 4, "H", "W"
    ),
    "images at each step": refused(image_in_a_step, *SEQUENCE),
    "convolution in three dimensions": refused(
        lambda n, x: n.node("Conv", x, n.weight(2, 4, 3, 3, 3)), "N", 4, "T", 5, 5
    ),
    "`ConvTranspose` that makes more steps of an open time": refused(
        lambda n, x: n.node("ConvTranspose", x, n.weight(4, 2, 3), strides=[2]), "N", 4, "T"
    ),
    "`ConvTranspose` with auto_pad or output_shape": refused(
        lambda n, x: n.node("ConvTranspose", x, n.weight(4, 2, 3), auto_pad="SAME_UPPER"),
        "N", 4, "T",
    ),
    "`MaxPool` with indices": refused(
        lambda n, x: n.node("MaxPool", x, outputs=2, kernel_shape=[2])[0], "N", 4, "T"
    ),
    "`AveragePool` with ceil_mode and count_include_pad": refused(
        lambda n, x: n.node(
            "AveragePool", x, kernel_shape=[2], strides=[2], ceil_mode=1, count_include_pad=1
        ),
        "N", 4, "T",
    ),
    "`Concat` on a time left open": refused(
        lambda n, x: n.node("Concat", *[n.lstm(x, 3, 4)[0]] * 2, axis=0), *SEQUENCE
    ),
    "parts of the batch": refused(
        lambda n, x: n.slice(n.lstm(x, 3, 4)[0], 0, 1, 2), *SEQUENCE
    ),
    "`Slice` to a fixed step of an open time": refused(
        lambda n, x: n.slice(n.lstm(x, 3, 4)[0], 0, 2, 0), *SEQUENCE
    ),
    "`Pad` around a circle": op("Pad", np.array([0, 1, 0, 0, 1, 0]), mode="wrap"),
    "`ReverseSequence` of a part": refused(
        lambda n, x: n.node("ReverseSequence", x, ints(n, 5, 3)), 5, 2, 3
    ),
    "`Cast` that may change values": op("Cast", to=INT64),
    "`Where` among values": refused(
        lambda n, x: n.node("Where", n.const(np.array([True, False, True, True])), x, x)
    ),
    "`Dropout` that trains": op("Dropout", np.float32(0.5), np.bool_(True)),
    "flattening a time left open": refused(flattened, *SEQUENCE),
    "reshapes that split time or the batch": refused(
        lambda n, x: n.node("Reshape", x, ints(n, -1, 3))
    ),
    "outputs that merge the batch with time": refused(
        lambda n, x: n.node("Reshape", n.lstm(x, 3, 4)[0], ints(n, -1, 4)), *SEQUENCE
    ),
    "integer outputs": op("Identity", dtype=INT64),
}  # fmt: skip
