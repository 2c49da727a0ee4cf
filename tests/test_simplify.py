"""Rewrites of graphs: cheaper, and the same."""

import numpy as np
import pytest
from lstmc.converters.simplify import simplify
from test_oracle import assert_close

from lstmc import graph as g
from lstmc import reference

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def run(layers, features=6):
    """What simplify leaves, checked to give what the layers gave."""
    out = layers[-1].outputs[0]
    inputs = [g.Value("x", (g.BATCH, g.TIME, features))]
    graph = g.Graph(inputs, [], layers)
    spec = graph_specs(graph)[out]
    axes = (g.BATCH, g.TIME, spec.features) if spec.time else (g.BATCH, spec.features)
    graph.outputs.append(g.Value(out, axes))
    x = {"x": normal(3, 8, features)}
    want = reference.run(graph, x)
    simplify(graph)
    assert_close(reference.run(graph, x), want, 1e-6)
    return graph.layers


def graph_specs(graph):
    specs = {v.name: v.spec for v in graph.inputs}
    for layer in graph.layers:
        made = layer.infer(*(specs[n] for n in layer.inputs))
        specs.update(zip(layer.outputs, made, strict=True))
    return specs


def dense(x="x", y="d", **fields):
    fields = {"weight": normal(5, 6), "bias": normal(5)} | fields
    return g.Dense(name=y, inputs=(x,), outputs=(y,), **fields)


def conv(x="x", y="d"):
    return g.Conv1D(
        name=y, inputs=(x,), outputs=(y,), weight=normal(5, 18), taps=3, same="upper", bias=None
    )


def depthwise(x="x", y="d"):
    return g.DepthwiseConv1D(
        name=y, inputs=(x,), outputs=(y,), weight=normal(6, 3), taps=3, bias=normal(6), before=2
    )


def conv2d(kind=g.Conv2D, rows=5, columns=9):
    return kind(
        name="d", inputs=("x",), outputs=("d",), weight=normal(rows, columns), taps=1,
        position_taps=columns // 3 if kind is g.Conv2D else columns,
    )  # fmt: skip


def affine(x="d", y="a", n=5, **fields):
    fields = {"scale": normal(n), "shift": normal(n)} | fields
    return g.Affine(name=y, inputs=(x,), outputs=(y,), **fields)


def activation(x, y="y", fn=g.TANH):
    return g.Activation(name=y, inputs=(x,), outputs=(y,), activation=fn)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [dense(), affine(), activation("a")],
        lambda: [dense(bias=None), affine(shift=None)],
        lambda: [conv(), affine(scale=None), activation("a")],
        lambda: [depthwise(), affine(n=6), activation("a", fn=g.RELU)],
        lambda: [dense(), activation("d")],
        lambda: [affine("x", n=6), activation("a")],
        lambda: [conv2d(columns=6), activation("d")],
        lambda: [conv2d(g.DepthwiseConv2D, 3, 2), activation("d", fn=g.RELU)],
        lambda: [dense(), affine(activation=g.SIGMOID)],
    ],
)
def test_one_layer_remains(layers):
    before = layers()
    last = before[-1].activation
    (layer,) = run(before)
    assert layer.activation == last


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [dense(activation=g.TANH), affine()],
        lambda: [dense(activation=g.TANH), activation("d")],
        lambda: [dense(), affine(scale=np.full(5, 1e-40, np.float32))],
        lambda: [dense(weight=normal(5, 6) * 1e20), affine(scale=np.full(5, 1e20, np.float32))],
    ],
)
def test_two_layers_remain(layers):
    before = layers()
    y = g.Value(before[-1].outputs[0], (g.BATCH, g.TIME, 5))
    graph = g.Graph([g.Value("x", (g.BATCH, g.TIME, 6))], [y], before)
    assert len(simplify(graph).layers) == 2


def test_a_value_that_others_read_stays():
    layers = [dense(), affine(), activation("d", "b")]
    values = [g.Value("a", (g.BATCH, g.TIME, 5)), g.Value("b", (g.BATCH, g.TIME, 5))]
    graph = g.Graph([g.Value("x", (g.BATCH, g.TIME, 6))], values, layers)
    assert len(simplify(graph).layers) == 3
