"""The layers on steps: the core against the oracle, by rules that decide every bit, and against
PyTorch; the same bits however rows and time are cut; records that make no sense are refused."""

import pickle
from dataclasses import dataclass

import hypothesis
import numpy as np
import pytest
from cases import LARGEST_SEED, settings
from helpers import (
    BATCH,
    TIME,
    Net,
    assert_same,
    bits,
    cuts,
    exact_fma,
    flush,
    join,
    named,
    predict,
    take,
    target,
)
from hypothesis import strategies as st

import lstmc
from lstmc import functional as fn
from lstmc import graph as g
from lstmc import reference
from lstmc.model import from_graph

TARGETS = lstmc.targets()
ORDERS = ("btf", "tbf", "b1tf", "btff", "1tbff", "fbt")
FUNCTIONS = (g.LINEAR, g.RELU, g.TANH, g.SIGMOID)
OPS = ("sum", "mean", "maximum", "minimum")
TINY = np.float32(2.0**-64)


# ---------------------------------------------------------------------------------- random graphs


class Steps(Net):
    """A net whose inputs may have a constant number of steps."""

    def put(self, kind, *inputs, **fields):
        return self.simple(kind, inputs, **fields)

    def constant(self, features, steps, order="btf"):
        """An input of a constant number of steps."""
        name = self.input(features, order=order)
        v = self.inputs[-1]
        self.inputs[-1] = g.Value(v.name, v.axes, time=steps, clock=None)
        self.specs[name] = self.inputs[-1].spec
        return name


@dataclass
class Case:
    """A graph, and the steps and rows it is run with."""

    graph: g.Graph
    seed: int
    batch: int
    time: int
    lengths: list[int] | None

    def inputs(self, odd=False):
        """``odd``: with numbers that are tiny, infinite, NaN or -0 among the others."""
        rng = np.random.default_rng([self.seed, 1])
        arrays = {}
        for v in self.graph.inputs:
            a = rng.standard_normal(v.shape(self.batch, v.time or self.time)).astype(np.float32)
            if odd:
                some = rng.random(a.shape)
                a = np.where(some < 0.3, a * np.float32(2.0**-64), a)
                a = np.where(some < 0.1, a * np.float32(1e-20), a).astype(np.float32)
                for i, value in enumerate((np.nan, np.inf, -np.inf, -0.0, 3e38)):
                    a[(some > 0.99 - i / 100) & (some < 1 - i / 100)] = value
            arrays[v.name] = a
        return arrays


def window(draw, kinds=("none", "explicit", "upper", "lower", "causal")):
    """Fields of a Window."""
    taps = draw(st.integers(1, 6), "taps")
    dilation = draw(st.integers(1, 3), "dilation")
    kind = draw(st.sampled_from(kinds), "padding")
    extent = (taps - 1) * dilation + 1
    if kind == "causal":
        return {"taps": taps, "dilation": dilation, "before": extent - 1}
    fields = {"taps": taps, "dilation": dilation, "stride": draw(st.integers(1, 4), "stride")}
    if kind in g.sequence.SAME:
        return fields | {"same": kind}
    if kind == "explicit":
        fields["before"] = draw(st.integers(0, extent + 2), "before")
        fields["after"] = draw(st.integers(0, extent + 2), "after")
    return fields


def windowed(net, draw, kind, x, **fields):
    """A layer with a window of some shape."""
    c = net.specs[x].features
    if kind is g.Pool1D:
        return net.put(
            kind, x, op=draw(st.sampled_from(("maximum", "mean")), "op"),
            count_padding=draw(st.booleans(), "count padding"), **fields,
        )  # fmt: skip
    units = c if kind is g.DepthwiseConv1D else draw(st.integers(1, 40), "units")
    k = fields["taps"] * (1 if kind is g.DepthwiseConv1D else c)
    return net.put(
        kind, x, weight=net.weight(units, k),
        bias=net.weight(units) if draw(st.booleans(), "bias") else None,
        activation=draw(st.sampled_from(FUNCTIONS), "activation"), **fields,
    )  # fmt: skip


WINDOWS = (g.Conv1D, g.DepthwiseConv1D, g.Pool1D)
CAUSAL = ("reduce", "masked", "repeat fixed", "window")
WHOLE = (*CAUSAL, "reverse", "slice", "pad", "softmax", "mask", "repeat like", "flatten",
         "unflatten", "repeat", "restep")  # fmt: skip


def add_layer(net, draw, kind, x):
    """A layer behind x (with time), and what it takes besides; its output."""
    count = st.integers(1, 5)
    if kind in ("reduce", "masked"):
        mask = ()
        if kind == "masked":
            own = net.specs[x].time != g.Steps()
            m = (
                net.dense(x, 1)
                if own
                else net.input(1, order=draw(st.sampled_from(ORDERS), "axes"))
            )
            mask = (net.put(g.Activation, m, activation=g.RELU),)
        return net.put(g.ReduceTime, x, *mask, op=draw(st.sampled_from(OPS), "op"))
    if kind == "window":
        causal = ("causal",) if net.causal else ("none", "explicit", "upper", "lower", "causal")
        layer = draw(st.sampled_from(WINDOWS), "window")
        return windowed(net, draw, layer, x, **window(draw, causal))
    if kind == "repeat fixed":
        value = net.put(g.Fill, x, value=net.weight(draw(count, "features")))
        return net.put(g.Repeat, value, x)
    if kind == "slice":
        small = st.integers(0, 4)
        start, drop = draw(small, "start"), draw(small, "drop")
        return net.put(g.SliceTime, x, start=start, drop=drop, step=draw(count, "step"))
    if kind == "pad":
        small = st.integers(0, 4)
        value = draw(st.sampled_from((0.0, 1.5, 1e-30, -3.0)), "value")
        before, after = draw(small, "before"), draw(small, "after")
        mode = draw(st.sampled_from(g.sequence.PADDING), "mode")
        value = value if mode == "constant" else 0.0
        return net.put(g.PadTime, x, before=before, after=after, value=value, mode=mode)
    if kind == "restep":
        if draw(st.booleans(), "insist"):
            return net.put(g.Restep, x, x, features=net.specs[x].features)
        features, steps = draw(count, "features"), draw(count, "steps")
        y = net.constant(features, steps, draw(st.sampled_from(ORDERS), "order"))
        counts = [n for n in range(1, features * steps + 1) if features * steps % n == 0]
        n = draw(st.sampled_from(counts), "made")
        return net.put(g.Restep, y, features=features * steps // n, count=n)
    if kind == "mask":
        n = net.input(1, time=False)
        return net.put(g.StepMask, net.put(g.Affine, n, scale=np.float32([3])), x)
    if kind in ("repeat", "repeat like"):
        v = net.put(g.LastStep, x)
        if kind == "repeat like":
            return net.put(g.Repeat, v, x)
        return net.put(g.Repeat, v, count=draw(count, "count"))
    if kind == "flatten":
        features, steps = draw(count, "features"), draw(count, "steps")
        return net.put(
            g.Flatten, net.constant(features, steps, draw(st.sampled_from(ORDERS), "order"))
        )
    if kind == "unflatten":
        steps = draw(count, "steps")
        v = net.put(g.LastStep, net.dense(x, steps * draw(count, "features")))
        return net.put(g.Unflatten, v, count=steps)
    return net.put({"reverse": g.Reverse, "softmax": g.SoftmaxTime}[kind], x)


@st.composite
def cases(draw_one, causal=False):
    def draw(strategy, label):
        del label  # names the number in the code; hypothesis prints the graph
        return draw_one(strategy)

    net = Steps(draw(st.integers(0, LARGEST_SEED), "seed"))
    net.causal = causal
    x = net.input(draw(st.integers(1, 20), "features"), order=draw(st.sampled_from(ORDERS), "axes"))
    if draw(st.booleans(), "inner"):  # a value between layers, without tiny numbers
        x = net.dense(x, draw(st.integers(1, 20), "units"))
    outputs = []
    for _ in range(draw(st.integers(1, 3), "layers")):
        kind = draw(st.sampled_from(CAUSAL if causal else WHOLE), "kind")
        y = add_layer(net, draw, kind, x)
        outputs.append(y)
        if net.specs[y].time is not None and net.specs[y].time.clock:
            x = y
    graph = net.graph(*outputs, order=draw(st.sampled_from(ORDERS), "order"))
    batch, time = draw(st.integers(1, 7), "batch"), draw(st.integers(1, 14), "time")
    lengths = None
    if draw(st.booleans(), "lengths"):
        lengths = [draw(st.integers(0, time), "length") for _ in range(batch)]
    return Case(graph, net.rng.integers(2**32), batch, time, lengths)


def runs(case):
    """Every value has at least one step, which predict checks."""
    sizes = dict.fromkeys(case.graph.clocks, case.time)
    return all(s.time is None or s.time.count(sizes) for s in case.graph.infer().values())


def assert_close(got, want, bound=1e-5, cancelled=0.0):
    """``cancelled``: the size of terms that a sum which is small may be made of."""
    assert got.keys() == want.keys()
    for name, y in want.items():
        a = got[name].astype(float)
        assert a.shape == y.shape
        finite = np.isfinite(y)
        np.testing.assert_array_equal(a[~finite], y[~finite], err_msg=name)
        a, y = np.where(finite, a, 0), np.where(finite, y, 0)
        error, largest = np.abs(a - y), np.abs(y).max()
        allowed = max(bound * largest, bound * cancelled, 2.0**-64)  # tiny values are 0 by rule
        assert error.max() <= allowed, (name, error.max(), largest)


@settings(1000)
@hypothesis.given(case=cases(), panel=st.sampled_from((1, 2, 4, 8, 16)))
def test_core_agrees_with_the_oracle(case, panel):
    model, inputs = from_graph(case.graph, panel=panel), case.inputs()
    if not runs(case):
        with pytest.raises(lstmc.ShapeError, match="too few"):
            model.predict(inputs)
        return
    limits = case.lengths if case.graph.clocks else None
    want = reference.run(case.graph, inputs, None if limits is None else np.array(limits))
    assert_close(predict(model, inputs, limits), want, cancelled=0.05)


# ------------------------------------------------------------------------------------ the same bits


def check_rows(model, case, inputs, want, what):
    """Each row alone, cut to its length; zeros behind it."""
    graph = case.graph
    specs = graph.infer()
    for b in range(case.batch):
        n = case.time if case.lengths is None else case.lengths[b]
        row = take(graph.inputs, inputs, BATCH, [b])
        sizes = dict.fromkeys(graph.clocks, case.time) | {graph.clocks[0]: n}
        alone = Case(graph, 0, 1, n, None)
        for v in graph.inputs:
            if v.clock == graph.clocks[0]:
                row |= take([v], row, TIME, range(n))
        got = take(graph.outputs, want, BATCH, [b])
        if n and runs(alone):
            alone = predict(model, row)
        else:
            alone = None
        for v in graph.outputs:
            steps = specs[v.name].time
            count = steps.count(sizes) if steps else 0
            cut = got[v.name]
            if steps:
                axis = v.axes.index(TIME)
                beyond = np.take(cut, range(count, cut.shape[axis]), axis)
                made = next(m for m in graph.layers if v.name in m.outputs)
                if isinstance(made, reference.sequence.CUT):
                    assert not bits(beyond).any(), (what, b, v.name)
                cut = np.take(cut, range(count), axis)
            if alone is not None:
                assert_same({v.name: cut}, {v.name: alone[v.name]}, f"{what}, row {b} alone")


@settings(500)
@hypothesis.given(case=cases(), odd=st.booleans(), panel=st.sampled_from((1, 2, 4, 8, 16)))
def test_one_digest(case, odd, panel):
    hypothesis.assume(runs(case) and case.graph.clocks)
    graph, inputs = case.graph, case.inputs(odd)
    models = [from_graph(graph), from_graph(graph, panel=panel)]
    with target("scalar"):
        want = predict(models[0], inputs, case.lengths)
    for name in TARGETS:
        with target(name):
            for model in models:
                assert_same(predict(model, inputs, case.lengths), want, name)
            check_rows(models[1], case, inputs, want, name)


@settings(500)
@hypothesis.given(case=cases(causal=True), odd=st.booleans(), data=st.data())
def test_time_may_be_cut_anywhere(case, odd, data):
    """predict = step by step = chunks, on any target; states go on, also through a pickle."""
    graph, inputs = case.graph, case.inputs(odd)
    assert graph.sequential
    model = from_graph(graph)
    want = predict(model, inputs)
    rng = np.random.default_rng(case.seed)
    states = None
    for pieces in ([range(case.time)], [[t] for t in range(case.time)], cuts(rng, case.time)):
        with target(data.draw(st.sampled_from(TARGETS))):
            stream, parts = model.stream(case.batch), []
            for piece in pieces:
                x = take(graph.inputs, inputs, TIME, piece)
                y = stream.run(x if len(x) > 1 else next(iter(x.values())))
                parts.append(named(graph, y))
                if rng.random() < 0.3:
                    stream = pickle.loads(pickle.dumps(stream))
            assert_same(join(graph.outputs, parts, TIME), want, f"{len(pieces)} pieces")
            states = states or stream.state
            for layer, values in stream.state.items():
                assert_same(values, states[layer], layer)
                for a in values.values():
                    assert not ((np.abs(a) < TINY) & (bits(a) != 0)).any()


def test_predict_in_chunks_of_time_with_lengths():
    """Sequences that are longer than the session that predict makes."""
    net = Steps(1)
    x = net.input(400)
    y = net.put(g.Pool1D, x, op="mean", taps=5, before=8, dilation=2)
    y = net.put(g.DepthwiseConv1D, y, taps=3, before=2, weight=net.weight(400, 3))
    y = net.put(g.Conv1D, y, taps=3, before=2, weight=net.weight(6, 1200))
    outputs = [y, *(net.put(g.ReduceTime, y, op=op) for op in OPS)]
    graph = net.graph(*outputs)
    inputs = {x: np.random.default_rng(0).standard_normal((3, 900, 400)).astype(np.float32)}
    model = from_graph(graph)
    assert model._session_size(3, [900])[1] < 300
    got = predict(model, inputs, [900, 0, 431])
    assert_close(got, reference.run(graph, inputs, np.array([900, 0, 431])))
    alone = predict(model, {x: inputs[x][2:, :431]})
    assert_same({n: alone[n] for n in outputs[1:]}, {n: got[n][2:] for n in outputs[1:]})


# ---------------------------------------------------------------------------- every bit by its rule


def tap_rows(layer, x):
    """[windows, taps, features] of one row, padding as zeros, and which steps are there."""
    taps, real = reference.sequence.windows(layer, x, 0.0)
    return taps.astype(np.float32), real


def expected_conv(layer, x):
    """One chain: tap by tap, channel by channel; padding multiplied like any other step."""
    depthwise = isinstance(layer, g.DepthwiseConv1D)
    taps, _ = tap_rows(layer, flush(x))
    start = np.zeros(len(layer.weight), np.float32) if layer.bias is None else layer.bias
    p = np.broadcast_to(start, (len(taps), len(start)))
    for j in range(layer.taps):
        for i in range(1 if depthwise else x.shape[1]):
            w = layer.weight[:, j if depthwise else j * x.shape[1] + i]
            v = taps[:, j] if depthwise else taps[:, j, i, None]
            p = exact_fma(w[None], v, p)
    return flush(fn.apply(layer.activation, p))


def chain(op, x, start):
    """flush(y op flush(x[t])), step by step."""
    y = np.full(x.shape[1], start, np.float32)
    for step in flush(x):
        y = flush({"maximum": np.maximum, "minimum": np.minimum}.get(op, np.add)(y, step))
    return y


START = {"maximum": -np.inf, "minimum": np.inf, "sum": 0.0, "mean": 0.0}


def expected_pool(layer, x):
    taps, real = tap_rows(layer, x)
    rows = []
    for window_taps, there in zip(taps, real, strict=True):
        y = chain(layer.op, window_taps[there], START[layer.op])
        if layer.op == "mean":
            y = flush(y / np.float32(layer.taps if layer.count_padding else max(there.sum(), 1)))
        rows.append(y)
    return np.stack(rows)


def expected_reduce(layer, x):
    y = chain(layer.op, x, START[layer.op])
    return flush(y / np.float32(len(x))) if layer.op == "mean" else y


def expected_softmax(layer, x):
    e = fn.exp(x - x.max(axis=0))
    total = np.zeros(x.shape[1], np.float32)
    for step in e:
        total = total + step
    return flush(e / total)


RULES = {g.Conv1D: expected_conv, g.DepthwiseConv1D: expected_conv, g.Pool1D: expected_pool,
         g.ReduceTime: expected_reduce, g.SoftmaxTime: expected_softmax}  # fmt: skip


@settings(800)
@hypothesis.given(
    kind=st.sampled_from(list(RULES)), features=st.integers(1, 35), time=st.integers(1, 40),
    inner=st.booleans(), odd=st.booleans(), seed=st.integers(0, LARGEST_SEED), data=st.data(),
)  # fmt: skip
def test_every_bit(kind, features, time, inner, odd, seed, data):
    def draw(strategy, label):
        return data.draw(strategy, label)

    net = Steps(seed)
    x = y = net.input(features)
    if inner:
        y = net.put(g.Activation, x, activation=g.LINEAR)
    if kind in WINDOWS:
        fields = window(draw)
        hypothesis.assume(g.Window(name="", inputs=(), outputs=(), **fields).steps(
            g.Spec(1, g.Steps(g.TIME))).count({g.TIME: time}))  # fmt: skip
        y = windowed(net, draw, kind, y, **fields)
        if kind is not g.Pool1D and odd:
            net.layers[-1].weight[0, 0] = (np.inf, np.nan, -0.0, 1e-30)[seed % 4]
    else:
        y = net.put(kind, y, **({"op": draw(st.sampled_from(OPS), "op")} if kind is g.ReduceTime
                                else {}))  # fmt: skip
    graph = net.graph(y)
    case = Case(graph, seed, 3, time, None)
    inputs = case.inputs(odd)
    with np.errstate(all="ignore"):
        rows = inputs[x] if not inner else flush(inputs[x])
        want = {y: np.stack([RULES[kind](net.layers[-1], row) for row in rows])}
    for name in TARGETS:
        with target(name):
            assert_same(predict(from_graph(graph), inputs), want, name)


def test_long_convolutions_in_strips():
    """More windows than one strip holds, with phases; more floats in a window than a strip has."""
    for features, taps, stride, dilation, time in (
        (7, 5, 3, 4, 1500), (40, 3, 1, 2, 400), (40, 3, 2, 1, 400), (100, 50, 2, 1, 70),
        (3, 2, 200, 7, 2000), (1, 9, 1, 1, 5000),
    ):  # fmt: skip
        for inner in (False, True):
            net = Steps(taps)
            x = y = net.input(features)
            if inner:
                y = net.put(g.Activation, x, activation=g.LINEAR)
            fields = {"taps": taps, "stride": stride, "dilation": dilation, "same": "upper"}
            weight = net.weight(3, taps * features)
            y = net.put(g.Conv1D, y, weight=weight, bias=net.weight(3), **fields)
            graph = net.graph(y)
            inputs = Case(graph, 0, 2, time, None).inputs()
            rows = [expected_conv(net.layers[-1], row) for row in inputs[x]]
            assert_same(predict(from_graph(graph), inputs), {y: np.stack(rows)})


def test_nan_is_the_maximum_and_the_minimum():
    for name in TARGETS:
        for at in (0, 1, 4):
            net = Steps(0)
            x = net.input(17)
            pool = {"op": "maximum", "taps": 5}
            outputs = [net.put(g.ReduceTime, x, op=op) for op in OPS]
            graph = net.graph(*outputs, net.put(g.Pool1D, x, **pool))
            a = np.random.default_rng(at).standard_normal((1, 5, 17)).astype(np.float32)
            a[0, at, 3] = np.nan
            with target(name):
                for y in predict(from_graph(graph), {x: a}).values():
                    nan = np.isnan(y.reshape(17))
                    assert nan[3]
                    assert nan.sum() == 1


# ------------------------------------------------------------------------------------------ PyTorch


@settings(100)
@hypothesis.given(
    taps=st.integers(1, 5), stride=st.integers(1, 3), dilation=st.integers(1, 3),
    padding=st.integers(0, 6), groups=st.booleans(), features=st.integers(1, 9),
    units=st.integers(1, 20), time=st.integers(1, 20), seed=st.integers(0, LARGEST_SEED),
)  # fmt: skip
def test_convolution_is_torchs(
    taps, stride, dilation, padding, groups, features, units, time, seed
):
    torch = pytest.importorskip("torch")
    hypothesis.assume(time + 2 * padding >= (taps - 1) * dilation + 1)
    rng = np.random.default_rng(seed)
    channels = 1 if groups else features
    units = features if groups else units
    w = rng.standard_normal((units, channels, taps)).astype(np.float32)
    bias = rng.standard_normal(units).astype(np.float32)
    x = rng.standard_normal((2, time, features)).astype(np.float32)
    want = torch.nn.functional.conv1d(
        torch.from_numpy(x.astype(float)).transpose(1, 2), torch.from_numpy(w.astype(float)),
        torch.from_numpy(bias.astype(float)), stride, padding, dilation,
        features if groups else 1,
    )  # fmt: skip
    net = Steps()
    y = net.put(
        g.DepthwiseConv1D if groups else g.Conv1D, net.input(features),
        weight=w.transpose(0, 2, 1).reshape(units, -1), bias=bias, taps=taps, stride=stride,
        dilation=dilation, before=padding, after=padding,
    )  # fmt: skip
    got = from_graph(net.graph(y)).predict(x)
    assert_close({y: got}, {y: want.transpose(1, 2).numpy()}, 3e-6)


@settings(100)
@hypothesis.given(
    taps=st.integers(1, 6), stride=st.integers(1, 4), padding=st.integers(0, 3),
    dilation=st.integers(1, 3), kind=st.sampled_from(("maximum", "mean", "mean of all taps")),
    time=st.integers(1, 20), seed=st.integers(0, LARGEST_SEED),
)  # fmt: skip
def test_pooling_is_torchs(taps, stride, padding, dilation, kind, time, seed):
    torch = pytest.importorskip("torch")
    dilation = dilation if kind == "maximum" else 1  # torch's mean has none
    hypothesis.assume(padding <= taps // 2 and time + 2 * padding >= (taps - 1) * dilation + 1)
    x = np.random.default_rng(seed).standard_normal((2, time, 5)).astype(np.float32)
    t = torch.from_numpy(x.astype(float)).transpose(1, 2)
    if kind == "maximum":
        want = torch.nn.functional.max_pool1d(t, taps, stride, padding, dilation)
    else:
        want = torch.nn.functional.avg_pool1d(
            t, taps, stride, padding, count_include_pad=kind != "mean"
        )
    net = Steps()
    y = net.put(
        g.Pool1D, net.input(5), op="maximum" if kind == "maximum" else "mean",
        count_padding=kind == "mean of all taps", taps=taps, stride=stride, dilation=dilation,
        before=padding, after=padding,
    )  # fmt: skip
    got = from_graph(net.graph(y)).predict(x)
    assert_close({y: got}, {y: want.transpose(1, 2).numpy()}, 1e-6)


# ---------------------------------------------------------------------------------- odds and ends


def test_step_mask_takes_any_number():
    net = Steps()
    n, x = net.input(1, time=False), net.input(2)
    model = from_graph(net.graph(net.put(g.StepMask, n, x)))
    numbers = np.float32([0, 1, 2.5, 3, 4, 9, -1, np.nan, np.inf, -np.inf, 1e-40])
    counts = [0, 1, 3, 3, 4, 4, 0, 0, 4, 0, 1]
    got = model.predict({n: numbers[:, None], x: np.zeros((11, 4, 2), np.float32)})
    want = np.arange(4)[None] < np.array(counts)[:, None]
    np.testing.assert_array_equal(got[:, :, 0], want)


def test_masked_steps_do_not_count():
    """Nothing at all, then something: before, between and after calls."""
    net = Steps()
    x, mask = net.input(3), net.input(1)
    outputs = [net.put(g.ReduceTime, x, mask, op=op) for op in OPS]
    graph = net.graph(*outputs)
    assert graph.sequential
    stream = from_graph(graph).stream(1)
    a = np.float32([[[-5, 7, 1e-30]], [[9, 9, 9]], [[-1, 3, 2]]])
    on = np.float32([0, 1, np.nan])
    nothing = stream.step({x: a[0], mask: on[None, :1]})
    start = [START[op] for op in OPS]
    assert [np.unique(y).tolist() for y in nothing.values()] == [[s] for s in start]
    stream.step({x: a[0], mask: on[None, 1:2]})
    stream.step({x: a[1], mask: on[None, :1]})
    got = stream.step({x: a[2], mask: on[None, 2:]})  # NaN is not 0
    np.testing.assert_array_equal(
        np.concatenate(list(got.values())),
        np.float32([[-6, 10, 2], [-3, 5, 1], [-1, 7, 2], [-5, 3, 0]]),
    )


def test_counts_beyond_what_a_float_counts():
    net = Steps()
    x = net.input(1)
    model = from_graph(net.graph(net.put(g.ReduceTime, x, op="mean")))
    stream = model.stream()
    name = model.graph.layers[0].name
    stream.state = {name: {"value": np.float32([[1.0]]), "count": np.float32([[2**24 - 2, 5]])}}
    stream.step(np.zeros((1, 1), np.float32))
    assert stream.state[name]["count"].tolist() == [[2**24 - 1, 5]]
    stream.step(np.zeros((1, 1), np.float32))
    got = stream.step(np.zeros((1, 1), np.float32))
    assert stream.state[name]["count"].tolist() == [[1, 6]]
    assert got[0, 0] == np.float32(1 / np.float32(6 * 2**24 + 1))


def halved(features=3, each=2, stride=2):
    """Half as many steps, of which each becomes two, as many as x has again."""
    net = Steps(1)
    x = net.input(features)
    y = net.put(g.Conv1D, x, taps=2, stride=stride, weight=net.weight(5, 2 * features))
    y = net.dense(y, stride * each)
    return net.graph(net.put(g.Restep, y, x, features=each))


@pytest.mark.parametrize("name", TARGETS)
def test_steps_are_cut(name):
    graph = halved()
    model = from_graph(graph)
    rng = np.random.default_rng(2)
    for batch, time in ((1, 2), (3, 8), (2, 40)):
        x = rng.standard_normal((batch, time, 3)).astype(np.float32)
        with target(name):
            y = model.predict(x)
        assert y.shape == (batch, time, 2)
        assert_close({"y": y}, {"y": next(iter(reference.run(graph, {"x0": x}).values()))})
    x = rng.standard_normal((3, 8, 3)).astype(np.float32)
    with target(name):
        y = model.predict(x, lengths=[4, 0, 8])
        for b, n in ((0, 4), (2, 8)):
            assert_same({"y": y[b, :n]}, {"y": model.predict(x[b : b + 1, :n])[0]})
    assert not y[0, 4:].any() and not y[1].any()


def test_steps_that_do_not_fit_are_refused():
    """By predict, for the call and for each row, and by the core; also after a call that did."""
    model = from_graph(halved())
    assert model.golden.time == 16
    says = "layer 'restep2': 3 steps of 4 are not 7 steps of 2"
    for _ in range(2):
        with pytest.raises(lstmc.ShapeError, match=f"^7 time steps don't fit: {says}$"):
            model.predict(np.zeros((1, 7, 3), np.float32))
        model.predict(np.zeros((1, 6, 3), np.float32))
    with pytest.raises(lstmc.ShapeError, match=f"lengths: a row of 7 steps: {says}"):
        model.predict(np.zeros((2, 8, 3), np.float32), lengths=[8, 7])
    session = lstmc._core.Session(model._core, 1, 16, 0)
    for time, fits in ((7, False), (6, True), (9, False), (6, True)):
        x, y = np.zeros((1, time, 3), np.float32), np.zeros((1, time, 2), np.float32)
        if fits:
            session.run([x], [y], 1, [time], None, False)
        else:
            with pytest.raises(lstmc.ShapeError):
                session.run([x], [y], 1, [time], None, False)


def test_a_number_of_steps_may_be_insisted_on():
    net = Steps(3)
    y = net.put(g.Pool1D, net.input(2), op="mean", taps=4, stride=4)
    graph = net.graph(net.put(g.Flatten, net.put(g.Restep, y, features=1, count=4)))
    model = from_graph(graph)
    for time in range(1, 20):
        x = np.random.default_rng(time).standard_normal((2, time, 2)).astype(np.float32)
        if time // 4 == 2:
            (want,) = reference.run(graph, {"x0": x}).values()
            assert_close({"y": model.predict(x)}, {"y": want})
        else:
            with pytest.raises(lstmc.ShapeError, match="time steps don't fit"):
                model.predict(x)
    with pytest.raises(lstmc.ConversionError, match="'restep0': 3 steps of 2 are not 4 steps of 2"):
        net = Steps()
        net.put(g.Restep, net.constant(2, 3), features=2, count=4)
    with pytest.raises(lstmc.ConversionError, match="no number of time steps"):
        from_graph(halved_never())


def halved_never():
    """6 steps from one input's number, 4 from the same: no number is both."""
    net = Steps()
    x = net.input(2)
    a = net.put(g.Restep, x, features=2, count=6)
    b = net.put(g.Restep, x, features=2, count=4)
    return net.graph(net.put(g.Flatten, a), net.put(g.Flatten, b))


@pytest.mark.parametrize("mode", ["reflect", "edge"])
def test_padding_repeats_what_is_there(mode):
    """As numpy has it, to and fro where a row is shorter than its padding."""
    net = Steps()
    model = from_graph(net.graph(net.put(g.PadTime, net.input(2), before=5, after=3, mode=mode)))
    x = np.random.default_rng(0).standard_normal((2, 4, 2)).astype(np.float32)
    for n in range(1, 5):
        want = np.pad(x[:, :n], ((0, 0), (5, 3), (0, 0)), mode=mode)
        assert_same({"y": model.predict(x[:, :n])}, {"y": want})
        assert_same({"y": model.predict(x, lengths=[4, n])[1, : n + 8]}, {"y": want[1]})
    assert not model.predict(x, lengths=[4, 0])[1].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -3.0, 0.5, 1e9, 2.0])
def test_states_may_hold_anything(value):
    net = Steps()
    x = net.input(3)
    y = net.put(g.Pool1D, x, op="mean", taps=3, before=2)
    y = net.put(g.Conv1D, y, taps=3, dilation=2, before=4, weight=net.weight(2, 9))
    model = from_graph(net.graph(y, net.put(g.ReduceTime, y, op="mean")))
    stream = model.stream(2)
    assert {n: {k: a.shape for k, a in s.items()} for n, s in stream.state.items()} == {
        "pool1d0": {"past": (2, 6), "count": (2, 1)}, "conv1d1": {"past": (2, 12)},
        "reducetime2": {"value": (2, 2), "count": (2, 2)},
    }  # fmt: skip
    stream.state = {
        n: {k: np.full(a.shape, value, np.float32) for k, a in s.items()}
        for n, s in stream.state.items()
    }
    for _ in range(4):
        stream.step(np.ones((2, 3), np.float32))
    assert stream.state["pool1d0"]["count"].tolist() == [[2], [2]]


NOT_CAUSAL = {
    "goes backwards": (g.Reverse, {}),
    "number of steps": (g.SliceTime, {"start": 1, "drop": 0}),
    "changes the number": (g.PadTime, {"before": 1, "after": 0}),
    "a certain number": (g.Restep, {"features": 2, "count": 3}),
    "whole sequence": (g.SoftmaxTime, {}),
    "reach ahead": (g.Pool1D, {"op": "mean", "taps": 2, "after": 1}),
    "skip steps": (g.Pool1D, {"op": "mean", "taps": 1, "stride": 2}),
    "windows reach": (g.Pool1D, {"op": "mean", "taps": 3, "same": "upper"}),
    "or skip": (g.Conv1D, {"weight": np.ones((1, 6)), "taps": 3, "before": 1, "after": 1}),
    "ahead": (g.DepthwiseConv1D, {"weight": np.ones((2, 3)), "taps": 3, "before": 3}),
}


@pytest.mark.parametrize("says", NOT_CAUSAL)
def test_streams_are_refused_by_name(says):
    kind, fields = NOT_CAUSAL[says]
    net = Steps()
    model = from_graph(net.graph(net.put(kind, net.input(2), **fields)))
    with pytest.raises(lstmc.ShapeError, match=f"layer '{net.layers[0].name}': .*{says}"):
        model.stream()
    assert not model._core.cuttable  # the core thinks the same


@settings(150)
@hypothesis.given(case=cases())
def test_the_core_knows_which_layers_are_causal(case):
    core = from_graph(case.graph)._core
    open_ends = len(case.graph.clocks) <= 1 and all(v.clock for v in case.graph.inputs)
    assert core.cuttable == (not case.graph.whole() and open_ends)


def test_which_repeats_are_causal():
    """Only a fixed value may stand at every step of an open sequence."""
    net = Steps()
    x = net.input(2)
    last, fixed = net.put(g.LastStep, x), net.put(g.Fill, x, value=net.weight(2))
    for value, like, fields, causal in (
        (fixed, [x], {}, True), (last, [x], {}, False), (fixed, [], {"count": 3}, False),
        (last, [], {"count": 3}, False),
    ):  # fmt: skip
        graph = net.graph(net.put(g.Repeat, value, *like, **fields))
        graph.layers = [*net.layers[:2], net.layers[-1]]
        assert (graph.whole() == "") is causal
        assert from_graph(graph)._core.cuttable is causal
        if not causal:
            with pytest.raises(lstmc.ShapeError, match=f"'{net.layers[-1].name}'"):
                from_graph(graph).stream()


def test_constant_steps_beside_open_ones_are_not_cut():
    """predict may not cut a long sequence: the constant one would be read again, and beyond."""
    net = Steps()
    x, k = net.input(2000), net.constant(3, 4)
    total, last = net.put(g.ReduceTime, k, op="sum"), net.put(g.LastStep, x)
    model = from_graph(net.graph(total, last))
    assert not model.graph.sequential
    inputs = {x: np.zeros((1, 1000, 2000), np.float32), k: np.ones((1, 4, 3), np.float32)}
    assert predict(model, inputs)[total].tolist() == [[4, 4, 4]]
    with pytest.raises(lstmc.ShapeError, match="fixed number of steps"):
        model.stream()
