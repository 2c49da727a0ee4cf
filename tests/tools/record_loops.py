"""Writes tests/data/loops/*.onnx: what tf2onnx makes of Keras, and PyTorch of scripted loops.

Needs tensorflow and tf2onnx ("keras"), or torch ("torch"); the tests need neither.

    python tests/tools/record_loops.py keras
    python tests/tools/record_loops.py torch
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import onnx

FOLDER = Path(__file__).parents[1] / "data" / "loops"


def save(name: str, model: Any) -> None:
    """Without the traces that exporters leave of the machine."""
    FOLDER.mkdir(exist_ok=True)
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        graph.doc_string = ""
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
            graphs += [a.g for a in node.attribute if a.HasField("g")]
    model.doc_string = ""
    onnx.save(model, FOLDER / f"{name}.onnx")


def keras_nets() -> None:
    import keras
    import tensorflow as tf
    import tf2onnx

    layers = keras.layers
    nets = {
        "gru": layers.GRU(4, return_sequences=True),
        "gru_before": layers.GRU(4, reset_after=False),
        "gru_relu": layers.GRU(4, activation="relu", return_sequences=True),
        "rnn": layers.SimpleRNN(4, return_sequences=True),
        "stacked": layers.RNN([layers.LSTMCell(4), layers.LSTMCell(5)], return_sequences=True),
    }
    for name, layer in nets.items():
        keras.utils.set_random_seed(1)
        x = layers.Input((None, 3))
        net = keras.Model(x, layer(x))
        net.set_weights([w + 0.1 for w in net.get_weights()])  # biases begin as zeros
        spec = [tf.TensorSpec([None, None, 3], tf.float32, name="x")]
        call = tf.function(net, input_signature=spec)
        model, _ = tf2onnx.convert.from_function(call, input_signature=spec, opset=17)
        save(f"keras_{name}", model)


def torch_nets() -> None:
    import torch
    from torch import Tensor, nn

    class Cell(nn.Module):
        """torch's own cell, which is an operator of one step in the body."""

        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTMCell(3, 4)

        def forward(self, x: Tensor):
            h = torch.zeros(x.size(1), 4)
            c = torch.zeros(x.size(1), 4)
            outs: list[Tensor] = []
            for i in range(x.size(0)):
                h, c = self.cell(x[i], (h, c))
                outs.append(h)
            return torch.stack(outs), h, c

    class Gru(nn.Module):
        """A GRU by hand, batch first, with a layer behind it in the loop."""

        def __init__(self) -> None:
            super().__init__()
            self.wi, self.wh, self.out = nn.Linear(3, 12), nn.Linear(4, 12), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.zeros(x.size(0), 4)
            outs: list[Tensor] = []
            for i in range(x.size(1)):
                gi, gh = self.wi(x[:, i]), self.wh(h)
                r = torch.sigmoid(gi[:, :4] + gh[:, :4])
                z = torch.sigmoid(gi[:, 4:8] + gh[:, 4:8])
                n = torch.tanh(gi[:, 8:] + r * gh[:, 8:])
                h = n + z * (h - n)
                outs.append(self.out(h))
            return torch.stack(outs, 1)

    class Backwards(nn.Module):
        """From the last step to the first, with a state as an input."""

        def __init__(self) -> None:
            super().__init__()
            self.wi, self.wh = nn.Linear(3, 4), nn.Linear(4, 4, bias=False)

        def forward(self, x: Tensor, h: Tensor):
            outs: list[Tensor] = []
            steps = x.size(0)
            for i in range(steps):
                h = torch.tanh(self.wi(x[steps - 1 - i]) + self.wh(h))
                outs.append(h)
            return torch.stack(outs, 0), h

    class Joined(nn.Module):
        """An LSTM by hand on [x, h], whose last state is all that counts."""

        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Linear(7, 16)

        def forward(self, x: Tensor) -> Tensor:
            h, c = x.new_zeros([x.size(0), 4]), x.new_zeros([x.size(0), 4])
            for t in range(x.size(1)):
                i, f, g, o = torch.chunk(self.w(torch.cat([x[:, t], h], 1)), 4, 1)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
            return h

    time_first, batch_first = {0: "T", 1: "N"}, {0: "N", 1: "T"}
    nets = {
        "cell": (Cell, (torch.zeros(5, 2, 3),), time_first),
        "gru": (Gru, (torch.zeros(2, 5, 3),), batch_first),
        "backwards": (Backwards, (torch.zeros(5, 2, 3), torch.zeros(2, 4)), time_first),
        "joined": (Joined, (torch.zeros(2, 5, 3),), batch_first),
    }
    for name, (kind, args, axes) in nets.items():
        torch.manual_seed(1)
        file = io.BytesIO()
        torch.onnx.export(
            torch.jit.script(kind()), args, file, dynamo=False, opset_version=17,
            input_names=["x", "h"][: len(args)], dynamic_axes={"x": axes, "h": {0: "N"}},
        )  # fmt: skip
        save(f"torch_{name}", onnx.load_from_string(file.getvalue()))


if __name__ == "__main__":
    {"keras": keras_nets, "torch": torch_nets}[sys.argv[1]]()
