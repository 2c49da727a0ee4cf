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


def _cell(net: ExactNet, kind: type[g.Recurrent], name: str, *inputs: str | None, **fields):
    """A recurrent layer of 9 units on 3 features, all of its outputs wanted."""
    gates, out = kind.gates, fields.pop("out", 9)
    if kind is g.LSTM and out != 9:
        fields["weight_hr"] = net.weight(out, 9)
    outputs = tuple(f"{name}.{o}" for o in ("y", *kind.states))
    return kind(
        name=name, inputs=inputs, outputs=outputs, weight_ih=net.weight(gates * 9, 3),
        weight_hh=net.weight(gates * 9, out), bias=net.weight(gates * 9), **fields,
    )  # fmt: skip


def _graph(inputs: list[g.Value], layers: list[g.Layer]) -> g.Graph:
    """Every value that a layer makes is an output."""
    graph = g.Graph(inputs, [], layers)
    specs = {v.name: v.spec for v in inputs}
    for layer in layers:
        made = layer.infer(*(None if n is None else specs[n] for n in layer.inputs))
        for name, spec in zip(layer.outputs, made, strict=True):
            specs[name] = spec
            axes = (g.TIME, g.BATCH) if spec.time else (g.BATCH,)
            graph.outputs.append(g.Value(name, (*axes, spec.features)))
    return graph


def recurrent() -> tuple[g.Graph, int]:
    """Every option of the recurrent layers with which a model still goes step by step."""
    net = ExactNet()
    x, m = g.Value("x", (g.BATCH, g.TIME, 3)), g.Value("mask", (g.BATCH, g.TIME), "bool")
    start = [
        g.Fill(name=f"{s}0", inputs=("x",), outputs=(f"{s}0",), value=net.weight(9)) for s in "hc"
    ]
    layers = [
        _cell(net, g.LSTM, "peephole", "x", peephole=net.weight(27)),
        _cell(net, g.LSTM, "full", "x", weight_ch=net.weight(36, 9)),
        _cell(net, g.LSTM, "article", "x", weight_ch=net.weight(36, 9), output_sees_old=True),
        _cell(net, g.LSTM, "coupled", "x", "mask", coupled=True, clip=0.5, hold=True),
        _cell(net, g.LSTM, "projection", "x", "mask", out=4, gate=g.HARD_SIGMOID_KERAS3),
        *start,
        _cell(net, g.LSTM, "started", "x", None, "h0", "c0"),
        _cell(net, g.GRU, "gru", "x", "mask", recurrent_bias=net.weight(9), hold=True),
        _cell(net, g.GRU, "before", "x", reset_after=False, candidate=g.RELU, clip=1.0),
        _cell(net, g.GRU, "started gru", "x", "mask", "h0"),
        _cell(net, g.RNN, "rnn", "x", "mask", activation=g.RELU, clip=2.0),
    ]
    return _graph([x, m], layers), 16


def directions() -> tuple[g.Graph, int]:
    """What needs the whole sequence: both directions, states and lengths given, two clocks."""
    net = ExactNet()
    inputs = [
        g.Value("x", (g.BATCH, g.TIME, 3)), g.Value("n", (g.BATCH,), "int64"),
        g.Value("h0", (g.BATCH, 9)), g.Value("later", (g.BATCH, g.TIME, 3), clock="time1"),
    ]  # fmt: skip
    layers = [
        g.StepMask(name="mask", inputs=("n", "x"), outputs=("mask",)),
        _cell(net, g.LSTM, "forward", "x", "mask"),
        _cell(net, g.LSTM, "backward", "x", "mask", "h0", reverse=True),
        g.Concat(name="both", inputs=("forward.y", "backward.y"), outputs=("both",)),
        _cell(net, g.GRU, "gru", "x", None, "h0", reverse=True, reset_after=False),
        _cell(net, g.RNN, "rnn", "x", "mask", "h0", reverse=True, hold=True),
        _cell(net, g.LSTM, "decoder", "later", None, "forward.h", "forward.c"),
    ]
    return _graph(inputs, layers), 4


def stateful() -> tuple[g.Graph, int]:
    """A source's own states: with and without steps, of a size before the batch; layers that begin
    anew in every step, a convolution, both directions, several steps a call."""
    net = ExactNet()
    inputs = [
        g.Value("x", (g.BATCH, g.TIME, 3)), g.Value("chunk", (g.BATCH, g.TIME, 4, 3), call=4),
        g.Value("one", (g.TIME, g.BATCH, 2), call=1),
    ]  # fmt: skip
    h = g.Value("h", (2, g.BATCH, 9))
    cache = g.Value("cache", (g.BATCH, 2, g.TIME), time=3, clock=None)
    layers = [
        g.Conv1D(name="conv", inputs=("chunk",), outputs=("seen",), weight=net.weight(3, 6),
                 bias=None, taps=2, before=1, activation=g.RELU),
        g.Select(name="h0", inputs=("h",), outputs=("h0",), index=tuple(range(9))),
        g.Select(name="c0", inputs=("h",), outputs=("c0",), index=tuple(range(9, 18))),
        _cell(net, g.LSTM, "lstm", "seen", None, "h0", "c0"),
        _cell(net, g.GRU, "back", "seen", reverse=True),
        g.Concat(name="next h", inputs=("lstm.h", "lstm.c"), outputs=("next h",)),
        g.SliceTime(name="kept", inputs=("cache",), outputs=("kept",), start=1, drop=0),
        g.Flatten(name="old", inputs=("kept",), outputs=("old",)),
        g.LastStep(name="now", inputs=("one",), outputs=("now",)),
        g.Concat(name="row", inputs=("old", "now"), outputs=("row",)),
        g.Unflatten(name="next cache", inputs=("row",), outputs=("next cache",), count=3),
        g.Concat(name="all", inputs=("back.h", "row", "x", "next h"), outputs=("all",)),
        g.Dense(name="y", inputs=("all",), outputs=("y",), weight=net.weight(5, 36), bias=None),
    ]  # fmt: skip
    outputs = [g.Value("lstm.y", (g.BATCH, g.TIME, 4, 9)), g.Value("y", (g.TIME, g.BATCH, 5))]
    states = [
        g.Binding(h, g.Value("next h", (2, g.BATCH, 9))),
        g.Binding(cache, g.Value("next cache", (g.BATCH, 2, g.TIME))),
    ]
    layers[4].outputs = (None, "back.h")
    return g.Graph(inputs, outputs, layers, {"source": "onnx"}, bindings=states), 4


MAKERS = {
    "lstm": lstm, "stack": stack, "functions": functions, "names": names, "recurrent": recurrent,
    "directions": directions, "stateful": stateful,
}  # fmt: skip


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
