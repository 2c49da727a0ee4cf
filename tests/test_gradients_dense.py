"""Gradients of Dense, against torch.autograd and float64 differences."""

from __future__ import annotations

import numpy as np
import pytest
from gradients import check, random_dy, run
from helpers import Net, assert_same, random_inputs

from lstmc import graph as g

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("time", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_as_torch(time, bias):
    net = Net(1)
    y = net.dense(net.input(13, time=time), 20, bias=bias, activation=g.TANH)
    graph = net.graph(y)

    def transcription(x, w):
        p = x["x0"] @ w["dense0", "weight"].T
        return {y: torch.tanh(p + w["dense0", "bias"] if bias else p)}

    check(graph, random_inputs(graph, 1, 7, 5), torch=transcription)


def test_weights_that_stay():
    """A frozen layer has no gradients, and passes one on only where something before it trains."""
    net = Net(2)
    first = net.dense(net.input(5), 9, activation=g.SIGMOID)
    graph = net.graph(net.dense(net.dense(first, 4), 3))
    inputs = random_inputs(graph, 2, 5, 4)
    want = check(graph, inputs)
    for frozen in (["dense0"], ["dense1"], ["dense0", "dense2"]):
        got = check(graph, inputs, frozen=frozen)
        assert {k[0] for k in got.weights} == {k[0] for k in want.weights} - set(frozen)
        for key, a in got.weights.items():
            np.testing.assert_array_equal(a, want.weights[key])


@pytest.mark.parametrize("fn", [g.LINEAR, g.RELU, g.Fn("gelu")], ids=str)
@pytest.mark.parametrize("units", [1, 8, 9, 16, 25])
@pytest.mark.parametrize("time", [True, False])
def test_shapes(time, units, fn):
    """Half panels, functions of y and of p, rows that lie evenly or not."""
    net = Net(3)
    x = net.input(11, time=time, order="tbf")
    graph = net.graph(net.dense(net.dense(x, units, activation=fn), 3))
    inputs = random_inputs(graph, 3, 7, 4)
    check(graph, inputs, each=20)
    if time:
        check(graph, inputs, [4, 0, 2, 1, 3, 4, 2])


@pytest.mark.parametrize("fn", [g.TANH, g.Fn("gelu")], ids=str)
def test_what_lies_beyond_a_length(fn):
    """It may be anything: nothing of it shows, in gradients of weights and of inputs."""
    net = Net(4)
    graph = net.graph(net.dense(net.dense(net.input(5), 9, activation=fn), 3, activation=fn))
    inputs, lengths = random_inputs(graph, 4, 5, 4), [4, 0, 2, 1, 3]
    dy = random_dy(graph, inputs, lengths)
    want = run(graph, inputs, dy, lengths)
    for b, n in enumerate(lengths):
        inputs["x0"][b, n:] = np.nan
    got = run(graph, inputs, dy, lengths)
    assert_same({"x": got.inputs["x0"]}, {"x": want.inputs["x0"]})
    for key, a in want.weights.items():
        assert_same({"w": got.weights[key]}, {"w": a})
