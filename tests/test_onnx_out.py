"""Models written as ONNX: run by ONNX Runtime and onnx's evaluator, and converted back."""

from __future__ import annotations

import pytest
from helpers import Net, lstm_graph, pointwise_graph, sequence_graph
from onnx_out import agree, back, evaluator

from lstmc import graph as g
from lstmc.onnx_export.functions import FUNCTIONS
from lstmc.onnx_export.registry import LAYERS


def test_every_layer_and_every_function_has_its_nodes():
    assert set(LAYERS) == set(g.LAYERS.values())
    assert set(FUNCTIONS) == set(g.FN_CODES)


@pytest.mark.parametrize("order", ["btf", "tbf", "bft"])
def test_axes_stay_where_the_source_had_them(order):
    graph = lstm_graph(3, 5, order=order)
    made = agree(graph)
    dims = {"b": "batch", "t": "time"}
    for value, features in ((made.graph.input[0], 3), (made.graph.output[0], 5)):
        shape = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        assert shape == [dims.get(a, features) for a in order]
    back(graph, made)


def test_a_first_slice_of_layers():
    net = Net(1)
    x = net.input(3)
    net.inputs.append(g.Value("words", (g.BATCH, g.TIME), "int64"))
    net.specs["words"] = net.inputs[-1].spec
    words = net.simple(g.Embedding, "words", weight=net.weight(4, 11))
    both = net.simple(g.Concat, (x, words))
    y = net.gru(both, 6)
    y = net.lstm(y, 5, outputs="s")["s"]
    y = net.simple(g.LayerNorm, y, scale=net.weight(5), shift=net.weight(5), epsilon=1e-5)
    y = net.simple(g.Affine, y, shift=net.weight(5), activation=g.RELU)
    y = net.simple(g.LastStep, net.dense(y, 7, activation=g.TANH))
    graph = net.graph(net.simple(g.Softmax, net.dense(y, 4)))
    made = agree(graph)
    again = back(graph, made)
    assert [type(x) for x in again.layers] == [type(x) for x in graph.layers]
    agree(graph, run=evaluator)


@pytest.mark.parametrize("graph", [pointwise_graph(), sequence_graph()])
def test_every_layer_with_and_without_its_options(graph):
    agree(graph, times=(5, 8, 11))
