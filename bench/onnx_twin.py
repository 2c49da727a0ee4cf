"""An ONNX model of a converted one that has no ONNX file: what an exporter would write of a chain
of Embedding, LSTM, GRU, Dense and Softmax, batch first."""

from __future__ import annotations

from typing import Any

import numpy as np
from peers.onnx_file import GATES

from lstmc import graph as g

FUNCTIONS = {"sigmoid": "Sigmoid", "tanh": "Tanh", "hard_sigmoid": "HardSigmoid"}


def serialized(graph: g.Graph) -> bytes:
    """One row, under the graph's own names of input and output; ValueError for other layers."""
    return _Writer(graph).model()


class _Writer:
    def __init__(self, graph: g.Graph) -> None:
        self.graph = graph
        self.nodes: list[Any] = []
        self.weights: dict[str, np.ndarray] = {}

    def model(self) -> bytes:
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        (x,), (y,) = self.graph.inputs, self.graph.outputs
        indices = isinstance(self.graph.layers[0], g.Embedding)
        made = self.chain(x.name)
        self.node("Identity", made, to=y.name)
        kind = TensorProto.INT64 if indices else TensorProto.FLOAT
        ends = [
            [helper.make_tensor_value_info(x.name, kind, x.shape(1))],
            [helper.make_tensor_value_info(y.name, TensorProto.FLOAT, y.shape(1))],
        ]
        constants = [numpy_helper.from_array(np.ascontiguousarray(a), n)
                     for n, a in self.weights.items()]  # fmt: skip
        proto = helper.make_model(
            helper.make_graph(self.nodes, "twin", *ends, constants),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=9,
        )
        onnx.checker.check_model(proto)
        return proto.SerializeToString()

    def chain(self, x: str) -> str:
        """The layers, each reading the one before."""
        timed = self.graph.inputs[0].spec.time is not None
        inner = False  # [time, batch, features], as ONNX's recurrent operators have it
        for layer in self.graph.layers:
            if isinstance(layer, g.Embedding):
                x = self.node("Gather", self.weight(layer.weight.T), x)
            elif isinstance(layer, g.LSTM | g.GRU):
                x = x if inner else self.node("Transpose", x, perm=[1, 0, 2])
                x, timed = self.recurrent(layer, x)
                inner = timed
            elif isinstance(layer, g.Dense) and not timed:
                weights = self.weight(layer.weight), self.weight(layer.bias)
                x = self.node("Gemm", x, *weights, transB=1)
                if layer.activation != g.LINEAR:
                    x = self.node(FUNCTIONS[layer.activation.kind], x)
            elif isinstance(layer, g.Softmax) and not timed and not layer.size:
                x = self.node("Softmax", x, axis=-1)
            else:
                raise ValueError(f"{type(layer).__name__} has no twin here")
        return x

    def recurrent(self, layer: Any, x: str) -> tuple[str, bool]:
        """The sequence, or the last state where the layer gives only that."""
        operator = type(layer).__name__
        names = [FUNCTIONS[f.kind] for f in (layer.gate, layer.candidate)]
        more: dict[str, Any] = {"activations": names}
        second = np.zeros_like(layer.bias)
        if operator == "GRU":
            more["linear_before_reset"] = int(layer.reset_after)
            if layer.recurrent_bias is not None:
                second[-layer.hidden_size :] = layer.recurrent_bias
        else:
            more["activations"] = [*names, FUNCTIONS[layer.output.kind]]
        bias = np.concatenate([self.gates(operator, a) for a in (layer.bias, second)])
        arrays = [self.gates(operator, layer.weight_ih), self.gates(operator, layer.weight_hh)]
        weights = [self.weight(a[None]) for a in (*arrays, bias)]
        sequence = layer.outputs[0] is not None
        outputs = [f"y{len(self.nodes)}", "" if sequence else f"h{len(self.nodes)}"]
        self.node(operator, x, *weights, to=outputs, hidden_size=layer.hidden_size, **more)
        axis = self.weight(np.array([1 if sequence else 0]))
        return self.node("Squeeze", outputs[0 if sequence else 1], axis), sequence

    @staticmethod
    def gates(operator: str, w: np.ndarray) -> np.ndarray:
        blocks = np.split(w, len(GATES[operator]))
        return np.concatenate([blocks[i] for i in GATES[operator]])

    def weight(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = array
        return name

    def node(self, operator: str, *inputs: str, to: Any = None, **attributes: Any) -> str:
        from onnx import helper

        outputs = to if isinstance(to, list) else [to or f"v{len(self.nodes)}"]
        self.nodes.append(helper.make_node(operator, list(inputs), outputs, **attributes))
        return outputs[0]
