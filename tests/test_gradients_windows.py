"""The training of layers with windows, to the last bit: the rules of docs/TRAINING.md in loops of
Python; against torch.autograd; sequences that go on from call to call."""

import hypothesis
import numpy as np
import pytest
from cases import LARGEST_SEED, settings
from gradients import check, random_dy, run, weight_tensors
from helpers import TIME, Net, assert_same, exact_fma, flush, take
from hypothesis import strategies as st
from test_gradients_positions import draw_of_any
from test_gradients_sequence import add_layer
from test_layers_positions import NO_TIME, put
from test_layers_sequence import Case, Steps, runs, window

from lstmc import _core, format
from lstmc import graph as g

WINDOWS = (g.Conv1D, g.DepthwiseConv1D, g.Conv2D, g.DepthwiseConv2D, g.Pool1D, g.PoolPositions)


@st.composite
def cases(draw):
    """One layer, of the model's input or of another layer's output, with tiny numbers in it."""
    kind = draw(st.sampled_from(WINDOWS))
    net = Steps(draw(st.integers(0, LARGEST_SEED)))
    channels, positions = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    flat = kind in (g.Conv1D, g.DepthwiseConv1D, g.Pool1D)
    x = net.input(channels * (1 if flat else positions))
    if draw(st.booleans()):
        x = net.put(g.Activation, x, activation=g.LINEAR)
    if flat:
        names = {g.Conv1D: "conv", g.DepthwiseConv1D: "depthwise", g.Pool1D: "pool"}
        y = add_layer(net, draw, names[kind], x)
    else:
        over_time = NO_TIME if draw(st.booleans()) else window(draw_of_any(draw))
        y, _ = put(net, draw_of_any(draw), kind, x, channels, over_time)
    layer = net.layers[-1]
    if not isinstance(layer, g.Pool1D | g.PoolPositions):
        layer.activation = draw(st.sampled_from((g.LINEAR, g.TANH)))
    batch, time = draw(st.integers(1, 3)), draw(st.integers(1, 7))
    lengths = [draw(st.integers(0, time)) for _ in range(batch)]
    return Case(net.graph(y), draw(st.integers(0, LARGEST_SEED)), batch, time, lengths)


def with_tiny(rng, a):
    """Some numbers are scaled to around the threshold of flush, some far below it; sometimes all
    are around it, so that sums are on their way, too."""
    if rng.random() < 0.3:
        a = a * np.float32(2.0**-63)
    some = rng.random(a.shape)
    a = np.where(some < 0.3, a * np.float32(2.0**-64), a)
    return np.where(some < 0.1, a * np.float32(1e-20), a).astype(np.float32)


def window_count(layer, n):
    """Of n places."""
    if layer.same:
        return -(-n // layer.stride)
    return max((n + layer.before + layer.after - layer.extent) // layer.stride + 1, 0)


def places(layer, j, t, n):
    """The place of output t's tap j among n, or None."""
    count = window_count(layer, n)
    before = layer.before
    if layer.same:
        total = max((count - 1) * layer.stride + layer.extent - n, 0)
        before = total // 2 if layer.same == "upper" else total - total // 2
    at = t * layer.stride + j * layer.dilation - before
    return at if 0 <= at < n else None


def convolution_rule(layer, x, dy, y, dw, db):
    """dx of one row, x [n, features]; adds to dw and db."""
    two = isinstance(layer, g.Conv2D | g.DepthwiseConv2D)
    depthwise = isinstance(layer, g.DepthwiseConv1D | g.DepthwiseConv2D)
    units = len(layer.weight)
    channels = layer.channels if two else x.shape[1]
    x = flush(x).reshape(len(x), x.shape[1] // channels, channels)
    dx = np.zeros_like(x)
    dp = dy if layer.activation == g.LINEAR else dy * exact_fma(-y, y, np.float32(1))
    dp = flush(dp).reshape(len(dy), dy.shape[1] // units, units)
    across = layer.across if two else None
    weight = layer.weight.reshape(units, across.taps if two else 1, layer.taps, -1)
    dw = dw.reshape(weight.shape)
    for t in reversed(range(len(dp))):
        for p in reversed(range(dp.shape[1])):
            d = dp[t, p]
            if db is not None:
                db += d
            for q in range(weight.shape[1]):
                at = places(across, q, p, x.shape[1]) if two else 0
                for j in range(layer.taps):
                    s = places(layer, j, t, len(x))
                    if s is None or at is None:
                        continue
                    if depthwise:
                        dw[:, q, j, 0] = exact_fma(x[s, at], d, dw[:, q, j, 0])
                        dx[s, at] = exact_fma(weight[:, q, j, 0], d, dx[s, at])
                        continue
                    dw[:, q, j] = exact_fma(x[s, at][None], d[:, None], dw[:, q, j])
                    for u in range(units):
                        dx[s, at] = exact_fma(weight[u, q, j], d[u], dx[s, at])
    return flush(dx).reshape(len(x), dx.shape[1] * channels)


def pool_rule(window_of, op, count_padding, x, dy, y):
    """dx of one line of places [n, channels]."""
    x, dx = flush(x), np.zeros_like(x)
    for t in reversed(range(len(dy))):
        taps = [places(window_of, j, t, len(x)) for j in range(window_of.taps)]
        there = [s for s in taps if s is not None]
        share = dy[t].copy()
        if op == "mean" and there:
            share = share / np.float32(len(taps) if count_padding else len(there))
        share = flush(share)
        for s in there:
            has = x[s] == y[t] if op in ("maximum", "minimum") else np.full(len(share), True)
            dx[s] = flush(dx[s] + np.where(has, share, 0))
            if op in ("maximum", "minimum"):
                share = np.where(has, np.float32(0), share)
    return dx


def by_rule(graph, x, dy, y, lengths):
    """The gradients of the input and the weights, rows ascending."""
    layer = graph.layers[-1]
    dx = np.zeros_like(x)
    weights = {key: np.zeros_like(getattr(layer, key[1])) for key in weight_tensors(graph)}
    made = graph.infer()[graph.outputs[0].name].time
    for b, n in enumerate(lengths):
        count = made.count({TIME: n})
        if isinstance(layer, g.PoolPositions):
            for t in range(n):
                line, d, out = (a[b, t].reshape(-1, layer.channels) for a in (x, dy, y))
                dx[b, t] = pool_rule(
                    layer, layer.op, layer.count_padding, line, d, out
                ).reshape(-1)  # fmt: skip
        elif isinstance(layer, g.Pool1D):
            dx[b, :n] = pool_rule(
                layer, layer.op, layer.count_padding, x[b, :n], dy[b, :count], y[b, :count]
            )  # fmt: skip
        else:
            dx[b, :n] = convolution_rule(
                layer, x[b, :n], dy[b, :count], y[b, :count], weights[layer.name, "weight"],
                weights.get((layer.name, "bias")),
            )  # fmt: skip
    return {"x0": dx} | {f"{layer}.{name}": a for (layer, name), a in weights.items()}


@settings(400)
@hypothesis.given(case=cases())
def test_one_order(case):
    hypothesis.assume(runs(case))
    rng = np.random.default_rng(case.seed)
    inputs = {n: with_tiny(rng, a) for n, a in case.inputs().items()}
    (name,) = (v.name for v in case.graph.outputs)
    dy = with_tiny(rng, random_dy(case.graph, inputs, case.lengths)[name])
    got = run(case.graph, inputs, {name: dy}, case.lengths)
    want = by_rule(case.graph, inputs["x0"], dy, got.outputs[name], case.lengths)
    made = got.all()
    assert_same({n: made[n] for n in want}, want)


def test_what_overlaps_is_added_windows_descending():
    """With so many windows over each place that another order would show."""
    net = Net(1)
    x = net.input(20)
    one = net.simple(g.Pool1D, x, op="mean", taps=7, before=3, after=3)
    two = net.simple(g.PoolPositions, x, op="sum", taps=5, channels=2)
    for y in (one, two):
        graph = g.Graph(net.inputs, net.graph(y).outputs, [m for m in net.layers if y in m.outputs])
        inputs = {x: net.rng.standard_normal((2, 15, 20)).astype(np.float32)}
        dy = random_dy(graph, inputs)[y]
        got = run(graph, inputs, {y: dy})
        want = by_rule(graph, inputs[x], dy, got.outputs[y], [15, 15])
        assert_same(got.inputs, want)


def test_windows_at_the_edges_take_their_turn():
    """Step by step, also where those inside are one product."""
    net = Net(1)
    x = net.input(20)
    y = net.simple(g.Conv2D, x, taps=1, weight=net.weight(5, 6), position_taps=3,
                   position_before=1, position_after=1)  # fmt: skip
    graph, inputs = net.graph(y), {x: net.rng.standard_normal((2, 15, 20)).astype(np.float32)}
    dy = random_dy(graph, inputs)[y]
    made = run(graph, inputs, {y: dy}).all()
    want = by_rule(graph, inputs[x], dy, made[f"output {y}"], [15, 15])
    assert_same({n: made[n] for n in want}, want)


# ------------------------------------------------------------------------------------------ torch


@pytest.mark.parametrize("taps, stride, dilation, pad", [
    (3, 1, 1, 1), (4, 2, 1, 0), (3, 1, 2, 2), (1, 3, 1, 0), (5, 3, 2, 4), (2, 2, 3, 3),
])  # fmt: skip
def test_convolutions_over_time_agree_with_torch(taps, stride, dilation, pad):
    import torch

    net = Net(taps)
    x = net.input(6)
    own = {"taps": taps, "stride": stride, "dilation": dilation, "before": pad, "after": pad}
    full = net.simple(g.Conv1D, x, weight=net.weight(19, 6 * taps), bias=net.weight(19),
                      activation=g.Fn("gelu"), **own)  # fmt: skip
    each = net.simple(g.DepthwiseConv1D, x, weight=net.weight(6, taps), bias=net.weight(6), **own)
    inputs = {x: net.rng.standard_normal((3, 11, 6)).astype(np.float32)}
    names = [layer.name for layer in net.layers]

    def transcription(x, w):
        f, a = torch.nn.functional, x["x0"].transpose(1, 2)
        options = {"stride": stride, "dilation": dilation, "padding": pad}
        weight = w[names[0], "weight"].reshape(19, taps, 6).transpose(1, 2).contiguous()
        some = f.gelu(f.conv1d(a, weight, w[names[0], "bias"], **options))
        alone = w[names[1], "weight"][:, None]
        other = f.conv1d(a, alone, w[names[1], "bias"], groups=6, **options)
        return {full: some.transpose(1, 2), each: other.transpose(1, 2)}

    check(net.graph(full, each), inputs, torch=transcription)


def test_pools_over_time_agree_with_torch():
    import torch

    net = Net(1)
    x = net.input(7)
    own = {"taps": 3, "stride": 2, "before": 1, "after": 1}
    outputs = [
        net.simple(g.Pool1D, x, op="maximum", **own | {"dilation": 2}),
        net.simple(g.Pool1D, x, op="mean", **own),
        net.simple(g.Pool1D, x, op="mean", count_padding=True, **own),
    ]
    inputs = {x: net.rng.standard_normal((3, 10, 7)).astype(np.float32)}

    def transcription(x, w):
        f, a = torch.nn.functional, x["x0"].transpose(1, 2)
        made = [
            f.max_pool1d(a, 3, 2, 1, 2), f.avg_pool1d(a, 3, 2, 1, count_include_pad=False),
            f.avg_pool1d(a, 3, 2, 1),
        ]  # fmt: skip
        return {n: y.transpose(1, 2) for n, y in zip(outputs, made, strict=True)}

    check(net.graph(*outputs), inputs, torch=transcription)


# ------------------------------------------------------------------------------------------ ties


def test_the_first_of_equal_maxima_gets_it_all():
    """As PyTorch's and Keras's pools do."""
    import torch

    net = Net(2)
    x = net.input(4)
    y = net.simple(g.Pool1D, x, op="maximum", taps=4, stride=2)
    array = net.rng.integers(0, 3, (5, 12, 4)).astype(np.float32)

    def transcription(x, w):
        return {y: torch.nn.functional.max_pool1d(x["x0"].transpose(1, 2), 4, 2).transpose(1, 2)}

    graph = net.graph(y)
    dy = random_dy(graph, {x: array})
    a = torch.tensor(array.astype(float), requires_grad=True)
    (transcription({"x0": a}, {})[y] * torch.tensor(dy[y])).sum().backward()
    got = run(graph, {x: array}, dy).inputs[x]
    np.testing.assert_allclose(got, a.grad.numpy(), rtol=0, atol=1e-6)


# ------------------------------------------------------------------------- from call to call


CAUSAL = [
    (g.Conv1D, {"taps": 3, "before": 4, "dilation": 2}),
    (g.DepthwiseConv1D, {"taps": 4, "before": 3}),
    (g.Conv2D, {"taps": 3, "before": 2, "position_taps": 2, "position_before": 1}),
    (g.DepthwiseConv2D, {"taps": 2, "before": 1, "position_taps": 3, "position_same": "upper"}),
    (g.Pool1D, {"taps": 4, "before": 3, "op": "maximum"}),
    (g.Pool1D, {"taps": 3, "before": 4, "dilation": 2, "op": "mean"}),
    (g.Pool1D, {"taps": 3, "before": 2, "op": "mean", "count_padding": True}),
    (g.ReduceTime, {"op": "mean"}),
    (g.ReduceTime, {"op": "sum"}),
]  # fmt: skip


@pytest.mark.parametrize("kind, fields", CAUSAL)
@pytest.mark.parametrize("activation", [g.TANH, g.SILU], ids=lambda f: f.kind)
def test_sequences_that_go_on(kind, fields, activation):
    """What the second half of a sequence gives after the first: as all of it, where only the second
    half's outputs have a gradient; none of it goes back into the first."""
    if kind in (g.Pool1D, g.ReduceTime) and activation != g.TANH:
        return
    net = Net(3)
    x = net.input(6)
    shapes = {g.Conv1D: (9, 18), g.DepthwiseConv1D: (6, 4), g.Conv2D: (5, 18),
              g.DepthwiseConv2D: (3, 6)}  # fmt: skip
    if kind in shapes:
        fields = fields | {"weight": net.weight(*shapes[kind]), "bias": net.weight(shapes[kind][0]),
                           "activation": activation}  # fmt: skip
    y = net.simple(kind, x, **fields)
    graph = net.graph(y)
    whole = net.rng.integers(-4, 4, (3, 8, 6)).astype(np.float32) / 4  # with ties
    dy = random_dy(graph, {x: whole})[y]
    parts = [take(graph.inputs, {x: whole}, TIME, r)[x] for r in (range(5), range(5, 8))]
    if graph.infer()[y].time is not None:
        dy[:, :5] = 0
    want = run(graph, {x: whole}, {y: dy})
    got = carried(graph, parts, dy if dy.ndim == 2 else dy[:, 5:])
    np.testing.assert_array_equal(got.pop(x), want.inputs[x][:, 5:])
    for name, a in got.items():
        np.testing.assert_array_equal(a, want.weights[name])


def carried(graph, parts, dy):
    """Gradients of the input's last part and of the weights for it, after all parts."""
    model = _core.Model(np.frombuffer(format.dumps(graph), np.uint8).copy())
    trainer = _core.Trainer(
        model, len(dy), max(a.shape[1] for a in parts), _core.target_code("auto"), 1, None, 0,
        True, carry=True,
    )  # fmt: skip
    dx = np.zeros(parts[-1].shape, np.float32)
    for a in parts[:-1]:
        trainer.run([np.ascontiguousarray(a)], len(a), [a.shape[1]], None)
    trainer.clear()
    last = np.ascontiguousarray(parts[-1])
    trainer.run([last], len(last), [last.shape[1]], None, gradients=[np.ascontiguousarray(dy)],
                input_gradients=[dx])  # fmt: skip
    made = {graph.inputs[0].name: dx}
    for key, (index, vector) in weight_tensors(graph).items():
        gates, k, units, panel, size = trainer.trained(index)
        packed = np.empty(size, np.float32)
        trainer.read(index, 1, packed)
        array = format.unpack(packed, gates, k, units, panel)
        made[key] = array[:, 0] if vector else array
    return made
