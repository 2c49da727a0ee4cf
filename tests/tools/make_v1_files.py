#!/usr/bin/env python3
"""Make tests/data/v1_*.lstmc: files of format version 1, which every later release must load.

They are committed and never made anew: a file written by today's library is what people have. Run
this only to add one, with a new name, and then only that one:

    python tests/tools/make_v1_files.py NAME [DIRECTORY]

It prints the line for V1_FILES in tests/test_format.py.
"""

import sys
import zlib
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from helpers import DATA, Net, layout

from lstmc import graph as g
from lstmc.model import from_graph


class ExactNet(Net):
    """Weights are small integers over 64: no generator of a later numpy can change them."""

    def __init__(self) -> None:
        super().__init__()
        self.state = 12345

    def weight(self, *shape: int) -> np.ndarray:
        out = np.empty(shape, np.float32).ravel()
        for i in range(out.size):
            self.state = (self.state * 1103515245 + 12345) % 2**31
            out[i] = ((self.state >> 16) % 81 - 40) / 64
        return out.reshape(shape)


def lstm() -> tuple[g.Graph, int]:
    """The usual forecaster: an LSTM with relu over any number of steps, then a Dense."""
    net = ExactNet()
    last = net.lstm(net.input(3), 12, outputs="h", candidate=g.RELU, output=g.RELU)["h"]
    return net.graph(net.dense(last, 1)), 16


def stack() -> tuple[g.Graph, int]:
    """Two layers, time-major, every output, no bias, softmax, axes of size 1, three widths."""
    net = ExactNet()
    first = net.lstm(net.input(2, order="1tbf"), 9, bias=False)
    second = net.lstm(net.dense(first["s"], 5, activation=g.TANH), 17, outputs="sc")
    p = net.simple(g.Softmax, net.dense(net.simple(g.LastStep, second["s"]), 4, bias=False))
    return net.graph(*first.values(), *second.values(), p, order="tbf"), 8


def functions() -> tuple[g.Graph, int]:
    """Every function, panels of 4, two inputs of which one has no time and a split axis."""
    net = ExactNet()
    x, y = net.input(4), net.input(6, time=False, order="bff")
    ends = []
    for f in (g.HARD_SIGMOID_ONNX, g.HARD_SIGMOID_KERAS3):
        ends += net.lstm(x, 5, outputs="s", gate=f, candidate=g.LINEAR, output=g.TANH).values()
    for f in (g.LINEAR, g.SIGMOID, g.TANH, g.RELU, g.HARD_SIGMOID_ONNX, g.Fn("exponential")):
        ends.append(net.simple(g.Activation, net.dense(y, 3, activation=f), activation=f))
    return net.graph(*ends), 4


def names() -> tuple[g.Graph, int]:
    """Text in other scripts, a fixed number of steps, provenance, panels of 1."""
    net = ExactNet()
    graph = net.graph(net.lstm(net.input(1, order="bt"), 3, outputs="s")["s"])
    graph.inputs[0] = g.Value("输入/x:0", layout(1, order="bt"), time=7)
    graph.layers[0].inputs = (graph.inputs[0].name,)
    graph.layers[0].name = "слой"
    graph.provenance = {"source": "keras", "file": "été.keras", "converter": "0.1.0", "": ""}
    return graph, 1


MAKERS = {"lstm": lstm, "stack": stack, "functions": functions, "names": names}


def main() -> None:
    graph, panel = MAKERS[sys.argv[1]]()
    directory = Path(sys.argv[2]) if len(sys.argv) > 2 else DATA
    directory.mkdir(exist_ok=True)
    path = directory / f"v1_{sys.argv[1]}.lstmc"
    if path.exists() and directory == DATA:
        raise SystemExit(f"{path} exists, and must stay as it is")
    model = from_graph(graph, panel=panel)
    model.save(path)
    crc = zlib.crc32(path.read_bytes())
    digests = ", ".join(f"0x{d:08x}" for d in model.golden.digests.values())
    print(f'    "{path.name}": (0x{crc:08x}, [{digests}]),')


if __name__ == "__main__":
    main()
