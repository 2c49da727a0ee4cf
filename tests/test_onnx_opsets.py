"""The same nets declared at every opset from 7 to the newest, against ONNX Runtime.

Operators that an opset spells in another way (axes as an attribute, Slice's inputs) are written so
by ``onnx_nets.Net``. Where ONNX Runtime does not know an opset yet, onnx's own evaluator stands in.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
from onnx_nets import NEWEST, Net, agree, data, kinds, onnx_reference, onnx_run  # noqa: E402
from support_onnx import recurrent  # noqa: E402

OPSETS = range(7, NEWEST + 1)


def cells(net: Net, x: str) -> list[str]:
    """LSTM, GRU and RNN, both directions and the last states."""
    made = []
    for kind in ("LSTM", "GRU", "RNN"):
        made += recurrent(net, x, kind, direction="bidirectional")[:2]
    return made


def stack(net: Net, x: str) -> list[str]:
    """An LSTM's sequence and its last step through MatMul, Add, Gemm and Softmax."""
    y = net.axes_op("Squeeze", recurrent(net, x, "LSTM")[0], [1])
    y = net.node("Tanh", net.node("Add", net.node("MatMul", y, net.weight(4, 5)), net.weight(5)))
    last = net.axes_op("Squeeze", net.slice(y, -1, 2**31 - 1, 0), [0])
    last = net.node("Gemm", last, net.weight(2, 5), net.weight(2), transB=1)
    return [y, net.node("Softmax", last, axis=1)]


def convolution(net: Net, x: str) -> list[str]:
    """Conv, BatchNormalization, Relu and pooling, then a GRU over what is left of time."""
    y = net.node("Conv", net.node("Transpose", x, perm=[1, 2, 0]), net.weight(6, 3, 3),
                 net.weight(6), pads=[1, 1])  # fmt: skip
    var = net.const(np.float32([0.5, 1, 2, 1, 1, 3]))
    y = net.node("BatchNormalization", y, *(net.weight(6) for _ in range(3)), var)
    y = net.node("MaxPool", net.node("Relu", y), kernel_shape=[2], strides=[2])
    z = net.node("GlobalAveragePool", y)
    return [*recurrent(net, net.node("Transpose", y, perm=[2, 0, 1]), "GRU", features=6), z]


def runs(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """ONNX Runtime, or onnx's evaluator for opsets and versions of operators that it lacks."""
    try:
        return onnx_run(model, feeds)
    except Exception as e:
        assert model.opset_import[0].version > 21, e  # all that came before, it knows
        return onnx_reference(model, feeds)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("build", [cells, stack, convolution])
def test_every_opset(build: Callable[[Net, str], list[str]], opset: int) -> None:
    net = Net(opset, seed=opset)
    net.output(*build(net, net.input("x", "T", "N", 3)))
    g = agree(net, runs, x=data(7, 2, 3))
    assert g.provenance["opset"] == str(opset)
    assert set(kinds(g)) & {"LSTM", "GRU"}
