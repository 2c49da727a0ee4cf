"""The core against the float64 oracle; the oracle against PyTorch and against a transcription."""

import math

import hypothesis
import numpy as np
import pytest
from helpers import (
    BATCH,
    FUNCTIONS,
    LONG,
    TIME,
    Net,
    lstm_graph,
    predict,
    random_graph,
    random_inputs,
    take,
)
from hypothesis import strategies as st

from lstmc import graph as g
from lstmc import reference
from lstmc.model import from_graph

SETTINGS = hypothesis.settings(
    max_examples=10000 if LONG else 300, deadline=None, derandomize=not LONG, database=None,
    print_blob=True,
)  # fmt: skip


def assert_close(got, want, bound=1e-5, floor=1e-30):
    """The largest difference over the largest value of each output; NaN in the same places.

    ``floor`` is the least that an output is measured by: what sums of terms around 1 cancel to
    says nothing about how well they were computed.
    """
    assert got.keys() == want.keys()
    for name, y in want.items():
        assert got[name].shape == y.shape
        if y.size:
            np.testing.assert_array_equal(np.isnan(got[name]), np.isnan(y))
            y = np.nan_to_num(y, nan=0.0, posinf=np.inf, neginf=-np.inf)
            got[name] = np.nan_to_num(got[name], nan=0.0, posinf=np.inf, neginf=-np.inf)
            error = np.abs(got[name] - y).max() / max(np.abs(y).max(), floor)
            assert error <= bound, (name, error)


@SETTINGS
@hypothesis.given(
    seed=st.integers(0, 2**32 - 1), batch=st.integers(1, 6), time=st.integers(1, 9),
    some=st.booleans(),
)  # fmt: skip
def test_core_agrees_with_the_oracle(seed, batch, time, some):
    graph = random_graph(seed, bounded=True, sequential=seed % 4 != 0)
    values = graph.inputs + graph.outputs
    time = time if any(v.spec.time for v in values) else 1
    inputs = random_inputs(graph, seed, batch, time)
    lengths = np.random.default_rng(seed).integers(0, time + 1, batch) if some else None
    want = reference.run(graph, inputs, lengths)
    assert_close(predict(from_graph(graph), inputs, lengths), want)


@pytest.mark.parametrize("hidden", [50, 200])
def test_core_agrees_over_long_sequences(hidden):
    """Rounding doesn't build up."""
    net = Net(hidden)
    s = net.lstm(net.input(10), hidden, outputs="s")["s"]
    graph = net.graph(net.dense(s, 3), *net.lstm(s, 30).values())
    inputs = random_inputs(graph, 0, 2, 300 if hidden == 50 else 60)
    assert_close(predict(from_graph(graph), inputs), reference.run(graph, inputs))


@pytest.mark.parametrize("f", FUNCTIONS, ids=str)
def test_every_function_agrees(f):
    net = Net(1)
    x = net.input(11)
    graph = net.graph(net.simple(g.Activation, x, activation=f), net.dense(x, 9, activation=f))
    inputs = random_inputs(graph, 0, 5, 7, 4.0)
    # 1 / x makes of the sum's absolute error a large one where the sum is near 0.
    bound = 1e-5 if f.kind == "reciprocal" else 2e-6
    assert_close(predict(from_graph(graph), inputs), reference.run(graph, inputs), bound)


def test_big_probabilities_and_steep_gates():
    """Saturation: sums of hundreds, where a naive softmax or sigmoid overflows."""
    net = Net(2, scale=300.0)
    s = net.lstm(net.input(6), 9, outputs="s")["s"]
    graph = net.graph(s, net.simple(g.Softmax, net.input(30)))
    inputs = random_inputs(graph, 0, 3, 8)
    inputs["x1"] *= 200
    got, want = predict(from_graph(graph), inputs), reference.run(graph, inputs)
    p = list(want)[1]
    assert np.isfinite(got[p]).all()
    assert_close({p: got[p]}, {p: want[p]})
    assert np.isfinite(got[s]).all()
    assert (np.abs(got[s]) <= 1).all()


def lengths_table():
    return [[0, 0, 0], [0, 1, 7], [7, 7, 7], [3, 0, 5], [1, 2, 3]]


@pytest.mark.parametrize("lengths", lengths_table(), ids=str)
@pytest.mark.parametrize("order", ["btf", "tbf"])
def test_lengths_in_the_oracle_and_the_core(lengths, order):
    """A row is what it would be alone; beyond, sequences are zero and states stand still."""
    net = Net(4)
    x = net.input(3, order=order)
    first = net.lstm(x, 6)
    last = net.simple(g.LastStep, first["s"])
    second = net.lstm(net.dense(first["s"], 4), 5)
    graph = net.graph(*first.values(), last, *second.values(), order=order)
    inputs = random_inputs(graph, 0, 3, 7)
    want = reference.run(graph, inputs, np.array(lengths))
    assert_close(predict(from_graph(graph), inputs, lengths), want)
    np.testing.assert_array_equal(want[last], want[first["h"]])
    for b, n in enumerate(lengths):
        row = take(graph.outputs, want, BATCH, [b])
        if n:
            x_b = take(graph.inputs, take(graph.inputs, inputs, BATCH, [b]), TIME, range(n))
            alone = reference.run(graph, x_b)
            for name, y in take(graph.outputs, row, TIME, range(n)).items():
                np.testing.assert_allclose(y, alone[name], rtol=0, atol=1e-14, err_msg=name)
        else:
            assert not row[last].any()
        for v in graph.outputs:
            if v.spec.time:
                assert not take([v], row, TIME, range(n, 7))[v.name].any()


# ----------------------------------------------------------------- the oracle itself, by others


def transcription(layer, x):
    """An LSTM in scalar Python, straight from the equations; nothing shared with the oracle."""

    def sigmoid(v):
        return 1 / (1 + math.exp(-v))

    n = layer.hidden_size
    bias = [0.0] * (4 * n) if layer.bias is None else [float(v) for v in layer.bias]
    rows = []
    for row in x:
        h, c, steps = [0.0] * n, [0.0] * n, []
        for step in row:
            sums = []
            for r in range(4 * n):
                total = bias[r]
                total += math.fsum(
                    float(w) * float(v) for w, v in zip(layer.weight_ih[r], step, strict=True)
                )
                total += math.fsum(float(w) * v for w, v in zip(layer.weight_hh[r], h, strict=True))
                sums.append(total)
            for u in range(n):
                i, f = sigmoid(sums[u]), sigmoid(sums[n + u])
                o, candidate = sigmoid(sums[3 * n + u]), math.tanh(sums[2 * n + u])
                c[u] = f * c[u] + i * candidate
                h[u] = o * math.tanh(c[u])
            steps.append(list(h))
        rows.append((steps, list(h), list(c)))
    return [np.array(part) for part in zip(*rows, strict=True)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("features", "hidden"), [(1, 1), (3, 5), (7, 4)])
def test_oracle_is_the_equations(features, hidden, bias):
    graph = lstm_graph(features, hidden, bias=bias, seed=3)
    inputs = random_inputs(graph, 0, 3, 6)
    got = reference.run(graph, inputs).values()
    for a, b in zip(got, transcription(graph.layers[0], inputs["x0"]), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-14)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize(("features", "hidden"), [(1, 1), (5, 8), (10, 33)])
def test_oracle_is_torch_in_float64(features, hidden, layers, bias):
    torch = pytest.importorskip("torch")
    torch.manual_seed(hidden)
    module = torch.nn.LSTM(features, hidden, layers, bias=bias, batch_first=True).double()
    net = Net(0)
    x, last = net.input(features), []
    for i in range(layers):
        # Weights that float32 holds exactly, in both.
        weights = {}
        for key in ("weight_ih", "weight_hh") + (("bias_ih", "bias_hh") if bias else ()):
            p = getattr(module, f"{key}_l{i}")
            p.data = p.data.float().double()
            if key == "bias_hh":
                p.data = torch.zeros_like(p.data)
            weights[key] = p.detach().numpy()
        out = net.lstm(x, hidden, bias=bias)
        layer = net.layers[-1]
        layer.weight_ih = weights["weight_ih"].astype(np.float32)
        layer.weight_hh = weights["weight_hh"].astype(np.float32)
        layer.bias = weights["bias_ih"].astype(np.float32) if bias else None
        x = out["s"]
        last.append(out)
    graph = net.graph(x, *(o[n] for o in last for n in "hc"))
    inputs = random_inputs(graph, 1, 4, 12)
    got = reference.run(graph, inputs)
    with torch.no_grad():
        y, (h, c) = module(torch.from_numpy(inputs["x0"].astype(float)))
    np.testing.assert_allclose(got[x], y.numpy(), rtol=0, atol=1e-12)
    for i, out in enumerate(last):
        np.testing.assert_allclose(got[out["h"]], h[i].numpy(), rtol=0, atol=1e-12)
        np.testing.assert_allclose(got[out["c"]], c[i].numpy(), rtol=0, atol=1e-12)


def test_oracle_functions_are_torchs():
    torch = pytest.importorskip("torch")
    x = np.concatenate([np.linspace(-8, 8, 1001), [0.0, -0.0, 40.0, -40.0, 700.0, -700.0]])
    t = torch.from_numpy(x)
    pairs = {
        g.LINEAR: t, g.SIGMOID: torch.sigmoid(t), g.TANH: torch.tanh(t), g.RELU: torch.relu(t),
        g.Fn("exponential"): torch.exp(t),
    }  # fmt: skip
    for f, want in pairs.items():
        np.testing.assert_allclose(reference.fn(f, x), want.numpy(), rtol=1e-14, atol=0)
    # 1/6 as float32, since that is what files hold.
    want = torch.nn.functional.hardsigmoid(t).numpy()
    np.testing.assert_allclose(reference.fn(g.HARD_SIGMOID_TORCH, x), want, rtol=0, atol=1e-7)
    softmax = reference.LAYERS[g.Softmax](
        g.Softmax(name="", inputs=("x",), outputs=("y",)), x[None, None], lengths=None
    )[0][0, 0]
    np.testing.assert_allclose(softmax, torch.softmax(t, 0).numpy(), rtol=1e-12, atol=1e-300)


def test_axes_there_and_back():
    rng = np.random.default_rng(0)
    for axes in [
        (BATCH, TIME, 6), (TIME, BATCH, 6), (BATCH, 1, TIME, 2, 3), (1, TIME, BATCH, 6, 1),
        (BATCH, TIME), (BATCH, 2, 3), (1, BATCH),
    ]:  # fmt: skip
        v = g.Value("v", axes)
        a = rng.standard_normal(v.shape(4, 5))
        inside = reference.to_internal(v, a)
        assert inside.shape == ((4, 5) if TIME in axes else (4,)) + (v.spec.features,)
        np.testing.assert_array_equal(reference.from_internal(v, inside), a)
        if axes == (TIME, BATCH, 6):
            np.testing.assert_array_equal(inside[1, 2], a[2, 1])
