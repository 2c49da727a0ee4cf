"""Convolution and pooling over positions: the core against the oracle, by rules that decide every
bit, and against PyTorch; the same bits however rows and time are cut; records without sense."""

import pickle

import hypothesis
import numpy as np
import pytest
from cases import LARGEST_SEED, settings
from helpers import TIME, Net, assert_same, bits, cuts, flush, join, named, predict, take, target
from hypothesis import strategies as st
from test_format import aligned, set_word, with_crc, word
from test_layers_pointwise import one, places
from test_layers_sequence import (
    FUNCTIONS,
    START,
    TARGETS,
    TINY,
    Case,
    assert_close,
    chain,
    check_rows,
    exact_fma,
    runs,
    window,
)

import lstmc
from lstmc import _core, reference
from lstmc import functional as fn
from lstmc import graph as g
from lstmc.errors import FormatError
from lstmc.model import from_graph

OPS = ("maximum", "mean", "sum", "minimum")
CONVOLUTIONS = (g.Conv2D, g.DepthwiseConv2D)
NO_TIME = {"taps": 1}


# ---------------------------------------------------------------------------------- random graphs


def fits(fields, n):
    """There is at least one window over n places."""
    try:
        return g.Window(name="", inputs=(), outputs=(), **fields).count(n) > 0
    except lstmc.ConversionError:
        return False


def across(draw, n):
    """The fields of a window over n positions."""
    fields = window(draw)
    hypothesis.assume(fits(fields, n))
    return fields


def put(net, draw, kind, x, channels, over_time):
    """A layer behind x, of so many channels, and the channels of what it makes."""
    positions = net.specs[x].features // channels
    if kind is g.PoolPositions:
        fields = across(draw, positions) | {"channels": channels, "count_padding": draw(BOOL)}
        return net.simple(kind, x, op=draw(st.sampled_from(OPS)), **fields), channels
    units = channels if kind is g.DepthwiseConv2D else draw(st.integers(1, 20))
    fields = {f"position_{k}": v for k, v in across(draw, positions).items()}
    taps = over_time["taps"] * fields["position_taps"]
    y = net.simple(
        kind, x, weight=net.weight(units, taps * (1 if kind is g.DepthwiseConv2D else channels)),
        bias=net.weight(units) if draw(BOOL) else None,
        activation=draw(st.sampled_from(FUNCTIONS)), **over_time, **fields,
    )  # fmt: skip
    return y, units


BOOL = st.booleans()


@st.composite
def cases(draw, causal=False):
    """Convolutions and pools one after another, over time and positions or over positions alone."""
    net = Net(draw(st.integers(0, LARGEST_SEED)))
    timed = causal or draw(BOOL)
    channels, positions = draw(st.integers(1, 9)), draw(st.integers(1, 12))
    x = y = net.input(positions * channels, time=timed, order=draw(st.sampled_from(("btf", "tbf"))))
    if draw(BOOL):  # a value between layers, without tiny numbers
        y = net.simple(g.Activation, x, activation=g.LINEAR)
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from((*CONVOLUTIONS, *CONVOLUTIONS, g.PoolPositions)))

        def named_draw(strategy, label=""):
            return draw(strategy)

        kinds = ("causal",) if causal else ("none", "explicit", "upper", "lower", "causal")
        over_time = window(named_draw, kinds) if timed else NO_TIME
        y, channels = put(net, named_draw, kind, y, channels, over_time)
        hypothesis.assume(net.specs[y].features < 3000)
    graph = net.graph(y)
    batch, time = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    lengths = None
    if timed and draw(BOOL):
        lengths = [draw(st.integers(0, time)) for _ in range(batch)]
    return Case(graph, draw(st.integers(0, LARGEST_SEED)), batch, time, lengths)


@settings(600)
@hypothesis.given(case=cases(), panel=st.sampled_from((1, 2, 4, 8, 16)))
def test_core_agrees_with_the_oracle(case, panel):
    model, inputs = from_graph(case.graph, panel=panel), case.inputs()
    if not runs(case):
        with pytest.raises(lstmc.ShapeError, match="too few"):
            model.predict(inputs)
        return
    limits = None if case.lengths is None else np.array(case.lengths)
    with np.errstate(invalid="ignore"):
        want = reference.run(case.graph, inputs, limits)
    if all(np.isfinite(y).all() for y in want.values()):  # a maximum of padding alone is not
        assert_close(predict(model, inputs, case.lengths), want)


@settings(300)
@hypothesis.given(case=cases(), odd=BOOL, panel=st.sampled_from((1, 2, 4, 8, 16)))
def test_one_digest(case, odd, panel):
    """Every target, every width of panels, each row alone and cut to its length."""
    hypothesis.assume(runs(case))
    graph, inputs = case.graph, case.inputs(odd)
    models = [from_graph(graph), from_graph(graph, panel=panel)]
    with target("scalar"):
        want = predict(models[0], inputs, case.lengths)
    for name in TARGETS:
        with target(name):
            for model in models:
                assert_same(predict(model, inputs, case.lengths), want, name)
            if graph.clocks:
                check_rows(models[1], case, inputs, want, name)


@settings(300)
@hypothesis.given(case=cases(causal=True), odd=BOOL, data=st.data())
def test_time_may_be_cut_anywhere(case, odd, data):
    graph, inputs = case.graph, case.inputs(odd)
    assert graph.sequential
    model = from_graph(graph)
    assert model._core.cuttable
    want = predict(model, inputs)
    rng = np.random.default_rng(case.seed)
    states = None
    for pieces in ([range(case.time)], [[t] for t in range(case.time)], cuts(rng, case.time)):
        with target(data.draw(st.sampled_from(TARGETS))):
            stream, parts = model.stream(case.batch), []
            for piece in pieces:
                x = take(graph.inputs, inputs, TIME, piece)
                parts.append(named(graph, stream.run(next(iter(x.values())))))
                if rng.random() < 0.3:
                    stream = pickle.loads(pickle.dumps(stream))
            assert_same(join(graph.outputs, parts, TIME), want, f"{len(pieces)} pieces")
            states = states or stream.state
            for layer, values in stream.state.items():
                assert_same(values, states[layer], layer)
                for a in values.values():
                    assert not ((np.abs(a) < TINY) & (bits(a) != 0)).any()


# ---------------------------------------------------------------------------- every bit by its rule


def expected_conv(layer, x):
    """x [steps, features]. One chain: position taps, in each taps over time, in each channels."""
    depthwise = isinstance(layer, g.DepthwiseConv2D)
    c, n = layer.channels, layer.positions(x.shape[1])
    steps, _ = reference.sequence.windows(layer, flush(x), 0.0)
    columns = steps.reshape(len(steps), layer.taps, n, c).transpose(2, 0, 1, 3).reshape(n, -1)
    taps, _ = reference.sequence.windows(layer.across, columns, 0.0)
    taps = taps.reshape(*taps.shape[:2], len(steps), layer.taps, c).transpose(2, 0, 1, 3, 4)
    flat = taps.reshape(len(steps) * len(taps[0]), -1, c).astype(np.float32)
    start = np.zeros(len(layer.weight), np.float32) if layer.bias is None else layer.bias
    p = np.broadcast_to(start, (len(flat), len(start)))
    for k in range(flat.shape[1]):
        if depthwise:
            p = exact_fma(layer.weight[None, :, k], flat[:, k], p)
            continue
        for i in range(c):
            p = exact_fma(layer.weight[None, :, k * c + i], flat[:, k, i, None], p)
    return flush(fn.apply(layer.activation, p)).reshape(len(steps), -1)


def expected_pool(layer, x):
    made = []
    for step in x:
        taps, real = reference.sequence.windows(layer, step.reshape(-1, layer.channels), 0.0)
        for window_taps, there in zip(taps.astype(np.float32), real, strict=True):
            y = chain(layer.op, window_taps[there], START[layer.op])
            if layer.op == "mean":
                count = layer.taps if layer.count_padding else max(there.sum(), 1)
                y = flush(y / np.float32(count))
            made.append(y)
    return np.stack(made).reshape(len(x), -1)


@settings(500)
@hypothesis.given(
    kind=st.sampled_from((*CONVOLUTIONS, g.PoolPositions)), channels=st.integers(1, 20),
    positions=st.integers(1, 14), time=st.integers(0, 6), inner=BOOL, odd=BOOL,
    seed=st.integers(0, LARGEST_SEED), data=st.data(),
)  # fmt: skip
def test_every_bit(kind, channels, positions, time, inner, odd, seed, data):
    """time 0: a value without time."""

    def draw(strategy, label=""):
        return data.draw(strategy)

    net = Net(seed)
    x = y = net.input(positions * channels, time=time > 0)
    if inner:
        y = net.simple(g.Activation, x, activation=g.LINEAR)
    over_time = window(draw) if time else NO_TIME
    hypothesis.assume(fits(over_time, max(time, 1)))
    y, _ = put(net, draw, kind, y, channels, over_time)
    layer = net.layers[-1]
    if kind is not g.PoolPositions and odd:
        layer.weight[0, 0] = (np.inf, np.nan, -0.0, 1e-30)[seed % 4]
    graph = net.graph(y)
    inputs = Case(graph, seed, 2, time, None).inputs(odd)
    rule = expected_pool if kind is g.PoolPositions else expected_conv
    with np.errstate(all="ignore"):
        rows = inputs[x] if not inner else flush(inputs[x])
        rows = rows if time else rows[:, None]
        want = np.stack([rule(layer, row) for row in rows])
    for name in TARGETS:
        with target(name):
            got = predict(from_graph(graph), inputs)[y]
            assert_same({y: got if time else got[:, None]}, {y: want}, name)


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@pytest.mark.parametrize("time", [False, True])
def test_tiny_inputs_are_zero(kind, time):
    """Before they are multiplied: 8 * 2^-65 would not be tiny."""
    net = Net()
    x = net.input(3, time=time)
    weight = np.full((1, 1), 8, np.float32)
    graph = net.graph(net.simple(kind, x, weight=weight, taps=1, position_taps=1))
    a = np.array([[2.0**-65, 2.0**-64, -(2.0**-70)]], np.float32)
    for name in TARGETS:
        with target(name):
            (y,) = predict(from_graph(graph), {x: a[:, None] if time else a}).values()
            assert y.reshape(3).tolist() == [0.0, 2.0**-61, 0.0]


def test_long_steps_in_strips():
    """More windows than one strip holds, with phases; more floats in a window than a strip has."""
    for channels, taps, position, positions in (
        (7, 1, {"taps": 5, "stride": 3, "dilation": 4}, 1500),
        (40, 2, {"taps": 3, "dilation": 2}, 400), (40, 3, {"taps": 3, "stride": 2}, 200),
        (100, 2, {"taps": 50, "stride": 2}, 70), (3, 1, {"taps": 2, "stride": 200, "dilation": 7},
        3000), (1, 1, {"taps": 9}, 10000),
    ):  # fmt: skip
        for inner in (False, True):
            net = Net(taps)
            x = y = net.input(channels * positions)
            if inner:
                y = net.simple(g.Activation, x, activation=g.LINEAR)
            fields = {f"position_{k}": v for k, v in (position | {"same": "upper"}).items()}
            weight = net.weight(3, taps * position["taps"] * channels)
            y = net.simple(g.Conv2D, y, weight=weight, bias=net.weight(3), taps=taps,
                           before=taps - 1, **fields)  # fmt: skip
            graph = net.graph(y)
            inputs = Case(graph, 0, 1, 2, None).inputs()
            want = np.stack([expected_conv(net.layers[-1], row) for row in inputs[x]])
            assert_same(predict(from_graph(graph), inputs), {y: want})


def test_threads_share_the_products():
    """A layer large enough that its products are cut in parts."""
    net = Net(3)
    x = net.input(60 * 32)
    y = net.simple(g.Conv2D, x, weight=net.weight(64, 9 * 32), bias=net.weight(64), taps=3,
                   before=2, position_taps=3, position_same="upper")  # fmt: skip
    model = from_graph(net.graph(y))
    inputs = Case(model.graph, 0, 1, 4, None).inputs()
    before = lstmc.get_num_threads()
    try:
        found = []
        for n in (1, 2):
            lstmc.set_num_threads(n)
            found.append(predict(model, inputs))
    finally:
        lstmc.set_num_threads(before)
    assert_same(found[1], found[0])
    want = np.stack([expected_conv(net.layers[-1], row) for row in inputs[x]])
    assert_same(found[0], {y: want})


# ------------------------------------------------------------------------------------------ PyTorch


@settings(100)
@hypothesis.given(data=st.data(), depthwise=BOOL, seed=st.integers(0, LARGEST_SEED))
def test_convolution_is_torchs(data, depthwise, seed):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)

    def pair(low, high):
        return tuple(data.draw(st.integers(low, high)) for _ in range(2))

    taps, stride, dilation, padding, size = pair(1, 4), pair(1, 3), pair(1, 2), pair(0, 3), (6, 9)
    channels, units = pair(1, 9)
    units = channels if depthwise else units
    each = zip(size, taps, dilation, padding, strict=True)
    hypothesis.assume(all(n + 2 * p >= (k - 1) * d + 1 for n, k, d, p in each))
    w = rng.standard_normal((units, 1 if depthwise else channels, *taps)).astype(np.float32)
    bias = rng.standard_normal(units).astype(np.float32)
    x = rng.standard_normal((2, channels, *size)).astype(np.float32)
    want = torch.nn.functional.conv2d(
        *(torch.from_numpy(a.astype(float)) for a in (x, w, bias)), stride, padding, dilation,
        channels if depthwise else 1,
    )  # fmt: skip
    fields = {}
    for i, prefix in enumerate(("", "position_")):
        of = {"taps": taps, "stride": stride, "dilation": dilation, "before": padding,
              "after": padding}  # fmt: skip
        fields |= {prefix + k: v[i] for k, v in of.items()}
    net = Net()
    y = net.simple(
        g.DepthwiseConv2D if depthwise else g.Conv2D, net.input(size[1] * channels),
        weight=w.transpose(0, 3, 2, 1).reshape(units, -1), bias=bias, **fields,
    )  # fmt: skip
    steps = x.transpose(0, 2, 3, 1).reshape(2, size[0], -1)
    got = from_graph(net.graph(y)).predict(steps)
    want = want.permute(0, 2, 3, 1).numpy()
    assert_close({y: got}, {y: want.reshape(2, want.shape[1], -1)}, 3e-6)


# ----------------------------------------------------------------------------------------- refusals


def refused(kind, features=12, time=True, **fields):
    net = Net()
    with pytest.raises(lstmc.ConversionError, match=r"^layer '\w+': ") as e:
        net.simple(kind, net.input(features, time=time), **fields)
    return str(e.value)


def test_what_the_graph_refuses():
    w = np.ones((2, 12))
    conv = {"weight": w, "taps": 2, "position_taps": 3}
    assert "12 features, its weights take 4" not in refused(g.Conv2D, 13, **conv)
    assert "gets 13 features, its weights take 2 channels" in refused(g.Conv2D, 13, **conv)
    assert "no time axis" in refused(g.Conv2D, time=False, **conv)
    assert "weight has shape (2, 12), in each 5" in refused(g.Conv2D, **conv | {"taps": 5,
                                                            "position_taps": 1})  # fmt: skip
    assert "windows of 31 don't fit 6 positions" in refused(g.Conv2D, position_dilation=15, **conv)
    assert "at least 1" in refused(g.Conv2D, position_stride=0, **conv)
    assert "pads 1 and 0, and 'upper'" in refused(
        g.Conv2D, position_same="upper", position_before=1, **conv
    )
    assert "expected (2, 6)" in refused(g.DepthwiseConv2D, **conv)
    assert "bias has shape" in refused(g.Conv2D, bias=np.ones(3), **conv)
    pool = {"op": "mean", "taps": 2}
    assert "not whole 5 channels" in refused(g.PoolPositions, channels=5, **pool)
    assert "not whole 0 channels" in refused(g.PoolPositions, channels=0, **pool)
    assert "op is 'median'" in refused(g.PoolPositions, **pool | {"op": "median", "channels": 3})


NOT_CAUSAL = {
    "reach ahead": {"taps": 3, "before": 1, "after": 1},
    "skip steps": {"taps": 1, "stride": 2},
    "windows": {"taps": 2, "same": "upper"},
}


@pytest.mark.parametrize("says", NOT_CAUSAL)
def test_streams_are_refused_by_name(says):
    net = Net()
    over_time = NOT_CAUSAL[says]
    weight = net.weight(4, 2 * over_time["taps"])
    y = net.simple(g.Conv2D, net.input(6), weight=weight, position_taps=2, **over_time)
    model = from_graph(net.graph(y))
    with pytest.raises(lstmc.ShapeError, match=f"layer 'conv2d0': .*{says}"):
        model.stream()
    assert not model._core.cuttable


# ------------------------------------------------------------------------------------------- files


ONE_OF_EACH = {
    "conv": one(g.Conv2D, 12, weight=np.ones((5, 12)), bias=np.ones(5), taps=2, before=1,
                position_taps=3, position_stride=2, position_before=1),
    "same": one(g.Conv2D, 12, weight=np.ones((3, 8)), taps=2, same="lower", position_taps=2,
                position_dilation=2, position_same="upper"),
    "depthwise": one(g.DepthwiseConv2D, 12, weight=np.ones((3, 4)), taps=2, stride=2,
                     position_taps=2),
    "pool": one(g.PoolPositions, 12, op="mean", taps=2, stride=2, after=1, channels=3),
    "wide": one(g.Conv2D, 1, weight=np.ones((256, 1)), taps=1, position_taps=1),
    "wide pool": one(g.PoolPositions, 256, op="sum", taps=1, channels=256),
}  # fmt: skip
# What is changed: layer, group of words, offset there, new value; and what the error says.
DAMAGES = [
    ("conv", "params", 0, 0, "invalid"), ("conv", "params", 0, 4, "invalid"),
    ("conv", "params", 0, 0x80000000, "invalid"), ("conv", "params", 1, 0, "invalid"),
    ("conv", "params", 5, 3, "unknown"), ("conv", "params", 6, 0, "invalid"),
    ("conv", "params", 6, 5, "invalid"), ("conv", "params", 6, 0x80000000, "invalid"),
    ("conv", "params", 7, 0, "invalid"), ("conv", "params", 8, 0, "invalid"),
    ("conv", "params", 8, 1 << 23, "invalid"), ("conv", "params", 9, 1 << 25, "invalid"),
    ("conv", "params", 9, 1 << 24, "invalid"), ("conv", "params", 11, 3, "unknown"),
    ("conv", "params", 11, 1, "invalid"), ("conv", "params", 12, 99, "unknown"),
    ("conv", "record", 5, 14, "invalid"), ("conv", "record", 4, 1, "invalid"),
    ("conv", "tensors", 0, 0xFFFFFFFF, "invalid"), ("conv", "tensors", 0, 1, "invalid"),
    ("conv", "tensors", 1, 0, "invalid"), ("conv", "values", 1, 13, "invalid"),
    ("depthwise", "params", 0, 4, "invalid"), ("depthwise", "params", 6, 1, "invalid"),
    ("pool", "params", 6, 4, "unknown"), ("pool", "params", 7, 2, "invalid"),
    ("pool", "params", 8, 0, "invalid"), ("pool", "params", 8, 5, "invalid"),
    ("pool", "params", 0, 9, "invalid"), ("pool", "params", 3, 1 << 24, "invalid"),
    ("pool", "record", 5, 8, "invalid"),
    # 2^24 + 1 positions of 256 channels, which is 256 in 32 bits
    ("wide", "params", 9, 1 << 24, "invalid"), ("wide pool", "params", 3, 1 << 24, "invalid"),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "group", "offset", "value", "says"), DAMAGES)
def test_records_that_make_no_sense_are_refused(layer, group, offset, value, says):
    blob = ONE_OF_EACH[layer]
    _core.Model(aligned(blob))
    at = places(blob)[group] + offset
    assert word(blob, at) != value
    with pytest.raises(FormatError, match=says):
        _core.Model(aligned(with_crc(set_word(blob, at, value))))


@pytest.mark.parametrize("layer", ["conv", "same", "depthwise", "pool"])
def test_what_the_core_accepts_means_something(layer):
    """Any parameter changed: refused, or a model that Python reads, too, and that gives what the
    oracle gives."""
    blob = ONE_OF_EACH[layer]
    first = places(blob)["params"]
    count = word(blob, places(blob)["record"] + 5)
    refused = 0
    for at in range(first, first + count):
        old = word(blob, at)
        for value in sorted({old + 1, 2 * old, old // 2, 0, 1, 2, 3, 6, 12, 1 << 24} - {old}):
            damaged = aligned(with_crc(set_word(blob, at, value)))
            try:
                _core.Model(damaged)
            except FormatError:
                refused += 1
                continue
            model = lstmc.Model(damaged)
            name = model.graph.inputs[0].name
            inputs = {name: np.random.default_rng(at).random((2, 5, 12)).astype(np.float32)}
            want = reference.run(model.graph, inputs)
            for name, y in predict(model, inputs).items():
                np.testing.assert_allclose(y, want[name], rtol=1e-5, atol=1e-5)
    assert refused > 20


def test_a_value_without_time_has_no_window_over_it():
    net = Net()
    y = net.simple(g.Conv2D, net.input(6, time=False), weight=np.ones((2, 4)), taps=1,
                   position_taps=2)  # fmt: skip
    blob = from_graph(net.graph(y)).to_bytes()
    _core.Model(aligned(blob))
    at = places(blob)["params"]
    for offset, value in ((0, 2), (1, 2), (2, 2), (3, 1), (4, 1), (5, 1), (5, 2)):
        with pytest.raises(FormatError, match="invalid"):
            _core.Model(aligned(with_crc(set_word(blob, at + offset, value))))
