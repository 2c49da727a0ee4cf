"""Gradients of Dense, against torch.autograd and float64 differences."""

from __future__ import annotations

import numpy as np
import pytest
from gradients import check
from helpers import Net, random_inputs

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
