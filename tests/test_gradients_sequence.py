"""The training of layers on steps: gradients against float64 differences and torch.autograd, rules
that decide every bit, states that go on from call to call."""

import hypothesis
import numpy as np
import pytest
from cases import LARGEST_SEED, settings
from gradients import check_bits, check_differences, random_dy, run
from helpers import assert_same, exact_fma, flush, predict
from hypothesis import strategies as st
from test_layers_sequence import ORDERS, Case, Steps, runs, window

from lstmc import graph as g
from lstmc import reference
from lstmc.model import from_graph

#: Derivatives from y, and from p, which forward keeps.
FUNCTIONS = (g.LINEAR, g.RELU, g.TANH, g.SIGMOID, g.Fn("gelu"), g.SILU, g.Fn("softplus"))
OPS = ("sum", "mean", "maximum", "minimum")
KINDS = ("reduce", "masked", "step mask", "reverse", "slice", "pad", "repeat", "repeat like",
         "repeat fixed", "flatten", "unflatten", "restep", "softmax", "last", "conv", "conv",
         "depthwise", "pool")  # fmt: skip
#: Of those, layers that may give infinity where there is nothing: nothing is put behind them.
ENDS = ("reduce", "masked", "step mask", "pool")
COUNT = st.integers(1, 5)


def add_layer(net, draw, kind, x):
    """A layer behind x, which has time; its output."""
    features = net.specs[x].features
    if kind in ("reduce", "masked"):
        inputs = (x,)
        if kind == "masked":  # a relu of x or of another input: about half of the steps count
            inputs += (net.dense(x, 1, activation=g.RELU),)
        return net.put(g.ReduceTime, *inputs, op=draw(st.sampled_from(OPS)))
    if kind == "step mask":
        n = net.put(g.Affine, net.input(1, time=False), scale=np.float32([5]))
        mask = net.put(g.StepMask, n, x)
        return net.put(g.ReduceTime, x, mask, op=draw(st.sampled_from(OPS)))
    if kind == "repeat fixed":
        return net.put(g.Repeat, net.put(g.Fill, x, value=net.weight(draw(COUNT))), x)
    if kind == "slice":
        start, drop = draw(st.integers(0, 3)), draw(st.integers(0, 3))
        return net.put(g.SliceTime, x, start=start, drop=drop, step=draw(COUNT))
    if kind == "pad":
        before, after = draw(st.integers(0, 6)), draw(st.integers(0, 6))
        mode = draw(st.sampled_from(g.sequence.PADDING))
        return net.put(g.PadTime, x, before=before, after=after, mode=mode,
                       value=1.5 if mode == "constant" else 0.0)  # fmt: skip
    if kind == "repeat":
        return net.put(g.Repeat, net.put(g.LastStep, x), count=draw(COUNT))
    if kind == "repeat like":
        return net.put(g.Repeat, net.put(g.LastStep, x), x)
    if kind in ("flatten", "restep"):
        count = draw(COUNT)
        y = net.put(g.LastStep, net.dense(x, count * draw(COUNT)))
        y = net.put(g.Unflatten, y, count=count)
        if kind == "flatten":
            return net.put(g.Flatten, y)
        numbers = count * net.specs[y].features
        made = draw(st.sampled_from([n for n in range(1, numbers + 1) if numbers % n == 0]))
        return net.put(g.Restep, y, features=numbers // made, count=made)
    if kind == "unflatten":
        count = draw(COUNT)
        return net.put(g.Unflatten, net.put(g.LastStep, net.dense(x, count * draw(COUNT))),
                       count=count)  # fmt: skip
    if kind == "pool":
        return net.put(g.Pool1D, x, op=draw(st.sampled_from(("maximum", "mean"))),
                       count_padding=draw(st.booleans()), **window(draw_of(draw)))  # fmt: skip
    if kind in ("conv", "depthwise"):
        fields = window(draw_of(draw))
        units = features if kind == "depthwise" else draw(st.integers(1, 40))
        k = fields["taps"] * (1 if kind == "depthwise" else features)
        return net.put(
            g.DepthwiseConv1D if kind == "depthwise" else g.Conv1D, x, weight=net.weight(units, k),
            bias=net.weight(units) if draw(st.booleans()) else None,
            activation=draw(st.sampled_from(FUNCTIONS)), **fields,
        )  # fmt: skip
    return net.put({"reverse": g.Reverse, "softmax": g.SoftmaxTime, "last": g.LastStep}[kind], x)


def draw_of(draw):
    """What test_layers_sequence draws with: a label goes with each number there."""
    return lambda strategy, label: draw(strategy)


@st.composite
def cases(draw, kinds=KINDS):
    """Up to three layers that read the input, or one another: values have several readers."""
    net = Steps(draw(st.integers(0, LARGEST_SEED)))
    x = net.input(draw(st.integers(1, 20)), order=draw(st.sampled_from(ORDERS)))
    if draw(st.booleans()):  # a value between layers
        x = net.dense(x, draw(st.integers(1, 20)))
    outputs = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(kinds))
        y = add_layer(net, draw, kind, x)
        outputs.append(y)
        made = net.specs[y].time
        if kind not in ENDS and made is not None and made.clock and draw(st.booleans()):
            x = y
    graph = net.graph(*outputs, order=draw(st.sampled_from(ORDERS)))
    batch, time = draw(st.integers(1, 5)), draw(st.integers(1, 14))
    lengths = None
    if draw(st.booleans()):
        lengths = [draw(st.integers(0, time)) for _ in range(batch)]
    return Case(graph, draw(st.integers(0, LARGEST_SEED)), batch, time, lengths)


def check_case(case, *, same_bits=True):
    """As gradients.check; where an output is not finite, its gradient is zero."""
    hypothesis.assume(runs(case))
    inputs = case.inputs()
    lengths = None if case.lengths is None else np.array(case.lengths)
    dy = random_dy(case.graph, inputs, lengths, case.seed)
    with np.errstate(invalid="ignore"):
        made = reference.values(case.graph, inputs, lengths)
    dy = {n: np.where(np.isfinite(made[n]), a, 0).astype(np.float32) for n, a in dy.items()}
    got = run(case.graph, inputs, dy, lengths)
    want = predict(from_graph(case.graph), inputs, case.lengths if case.graph.clocks else None)
    of = {v.name: reference.from_internal(v, got.outputs[v.name]) for v in case.graph.outputs}
    assert_same(of, want, "forward")
    check_differences(case.graph, inputs, dy, lengths, got, seed=case.seed)
    if same_bits:
        check_bits(case.graph, inputs, dy, lengths, got)


@settings(100)
@hypothesis.given(case=cases())
def test_gradients(case):
    check_case(case)


@pytest.mark.parametrize("kind", sorted(set(KINDS)))
@settings(12)
@hypothesis.given(data=st.data())
def test_gradients_of_each_layer(kind, data):
    check_case(data.draw(cases((kind,))), same_bits=False)


# ------------------------------------------------------------------------------------ every bit


def single(kind, *, features=5, time=7, batch=3, **fields):
    """A graph of one layer, its output, and an input of small whole numbers: with ties."""
    net = Steps(1)
    y = net.put(kind, net.input(features), **fields)
    x = net.rng.integers(-2, 3, (batch, time, features)).astype(np.float32)
    return net.graph(y), y, {"x0": x}


@pytest.mark.parametrize("mode", g.sequence.PADDING)
def test_padding_adds_steps_descending(mode):
    graph, y, inputs = single(g.PadTime, before=9, after=8, mode=mode)
    lengths = np.array([7, 1, 3])
    dy = random_dy(graph, inputs, lengths)[y]
    dy[dy > 1] *= np.float32(2.0**-60)
    want = np.zeros_like(inputs["x0"])
    for b, n in enumerate(lengths):
        options = {"constant_values": -1} if mode == "constant" else {}
        shown = np.pad(np.arange(n), (9, 8), mode=mode, **options)
        for t in reversed(range(len(shown))):
            if shown[t] >= 0:
                want[b, shown[t]] = flush(want[b, shown[t]] + dy[b, t])
    assert_same(run(graph, inputs, {y: dy}, lengths).inputs, {"x0": want})


def test_repeating_adds_steps_descending():
    net = Steps(1)
    x = net.input(4, time=False)
    y = net.put(g.Repeat, x, count=50)
    graph, inputs = net.graph(y), {x: net.rng.standard_normal((3, 4)).astype(np.float32)}
    dy = random_dy(graph, inputs)[y]
    want = np.zeros((3, 4), np.float32)
    for t in reversed(range(50)):
        want = want + dy[:, t]
    assert_same(run(graph, inputs, {y: dy}).inputs, {x: want})


@pytest.mark.parametrize("op", ["maximum", "minimum"])
def test_equal_extremes_share(op):
    """As in Keras's GlobalMaxPooling1D and torch.amax; what is below the threshold is zero."""
    import torch

    graph, y, inputs = single(g.ReduceTime, op=op)
    x = inputs["x0"]
    dy = random_dy(graph, inputs)[y]
    a = torch.tensor(x, requires_grad=True)
    ((a.amax(1) if op == "maximum" else a.amin(1)) * torch.tensor(dy)).sum().backward()
    assert_same(run(graph, inputs, {y: dy}).inputs, {"x0": a.grad.numpy() + np.float32(0)})
    x[:] = np.where(np.arange(7)[:, None] % 2, np.float32(2e-20), np.float32(-3e-25))
    want = np.broadcast_to((dy / np.float32(7))[:, None], x.shape)
    assert_same(run(graph, inputs, {y: dy}).inputs, {"x0": want})


def test_softmax_over_time_by_its_rule():
    graph, y, inputs = single(g.SoftmaxTime)
    lengths = np.array([7, 0, 4])
    dy = random_dy(graph, inputs, lengths)[y]
    got = run(graph, inputs, {y: dy}, lengths)
    made, want = got.outputs[y], np.zeros_like(dy)
    for b, n in enumerate(lengths):
        s = np.zeros(5, np.float32)
        for t in reversed(range(n)):
            s = exact_fma(dy[b, t], made[b, t], s)
        want[b, :n] = flush(made[b, :n] * (dy[b, :n] - s))
    assert_same(got.inputs, {"x0": want})


@pytest.mark.parametrize("op", OPS)
def test_steps_that_a_mask_leaves_out_get_nothing(op):
    """Nor does the mask, whatever it is."""
    net = Steps(1)
    x, m = net.input(3), net.input(1)
    y = net.put(g.ReduceTime, x, m, op=op)
    graph = net.graph(y)
    inputs = {x: net.rng.standard_normal((4, 6, 3)).astype(np.float32)}
    inputs[m] = net.rng.integers(0, 2, (4, 6, 1)).astype(np.float32) * 3
    inputs[m][3] = 0
    got = run(graph, inputs, random_dy(graph, inputs)).inputs
    assert not got[x][np.broadcast_to(inputs[m] == 0, got[x].shape)].any()
    assert got[x].any(axis=(1, 2)).tolist() == [True, True, True, False]
    assert not got[m].any()


def test_a_mask_of_steps_has_no_derivative():
    """What lies before it gets no gradient from there, and needs none."""
    net = Steps(1)
    x, n = net.input(3), net.input(1, time=False)
    y = net.put(g.StepMask, net.put(g.Affine, n, scale=np.float32([2])), x)
    graph = net.graph(y)
    inputs = {x: np.ones((2, 4, 3), np.float32), n: np.float32([[1], [2]])}
    got = run(graph, inputs, random_dy(graph, inputs))
    assert not got.inputs[x].any() and not got.inputs[n].any()
    np.testing.assert_array_equal(got.outputs[y][..., 0], [[1, 1, 0, 0], [1, 1, 1, 1]])


@pytest.mark.parametrize("kind", sorted(set(KINDS)))
@settings(8)
@hypothesis.given(data=st.data())
def test_what_comes_back_beyond_a_length_shows_nowhere(kind, data):
    """A gradient of the outputs that is more than zero there."""
    case = data.draw(cases((kind,)))
    hypothesis.assume(runs(case) and case.lengths is not None)
    inputs = {n: np.abs(a) for n, a in case.inputs().items()}
    dy = random_dy(case.graph, inputs, case.lengths, case.seed)
    other = random_dy(case.graph, inputs, None, case.seed)  # the same, and more beyond
    want = run(case.graph, inputs, dy, case.lengths)
    assert_same(run(case.graph, inputs, other, case.lengths).all(), want.all())
