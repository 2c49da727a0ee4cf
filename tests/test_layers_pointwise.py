"""The layers on features in the core: every bit by its rule, the oracle, what files may say."""

import math
import struct

import hypothesis
import numpy as np
import pytest
from cases import LARGEST_SEED, settings
from helpers import (
    BATCH,
    FUNCTIONS,
    SIZES,
    TIME,
    Net,
    assert_same,
    bits,
    exact_fma,
    flush,
    join,
    pointwise_graph,
    predict,
    random_inputs,
    take,
    target,
)
from hypothesis import strategies as st
from test_format import aligned, assert_graphs_equal, set_word, with_crc, word

import lstmc
from lstmc import FormatError, _core, format, reference
from lstmc import functional as fn
from lstmc import graph as g
from lstmc.model import from_graph

TARGETS = lstmc.targets()
PANELS = (1, 2, 4, 8, 16)
F32 = np.float32

# ------------------------------------------------------------- the rules of docs/DESIGN.md, exactly


def row_sum(x):
    """Over the last axis, one chain in ascending order."""
    total = np.zeros(x.shape[:-1], F32)
    for k in range(x.shape[-1]):
        total = total + x[..., k]
    return total


def softmax(layer, x):
    parts = x.reshape(*x.shape[:-1], -1, layer.size or x.shape[-1])
    centred = parts - parts.max(axis=-1, keepdims=True)
    e = fn.exp(centred)
    total = row_sum(e)[..., None]
    y = centred - fn.log(total) if layer.log else e / total
    return flush(y.reshape(x.shape))


def embedding(layer, x):
    entries = layer.weight.shape[1]
    ok = (x >= 0) & (x < entries) & (x == np.floor(x))
    y = layer.weight.T[np.where(ok, x, 0).astype(int)]
    return flush(np.where(ok[..., None], y, F32(np.nan)).reshape(*x.shape[:-1], -1))


def or_else(vector, value, n):
    return np.full(n, value, F32) if vector is None else vector


def affine(layer, x):
    n = x.shape[-1]
    y = exact_fma(or_else(layer.scale, 1, n), x, or_else(layer.shift, 0, n))
    return flush(fn.apply(layer.activation, y))


def centre(x):
    return x - (row_sum(x) / F32(x.shape[-1]))[..., None]


def layer_norm(layer, x):
    n = x.shape[-1]
    d = x if layer.rms else centre(centre(x))
    part = np.where(np.abs(d) < F32(2.0**-50), F32(0), d)
    squares = np.zeros(x.shape[:-1], F32)
    for k in range(n):
        squares = exact_fma(part[..., k], part[..., k], squares)
    root = np.sqrt(squares / F32(n) + F32(layer.epsilon))[..., None]
    return flush(exact_fma(d / root, or_else(layer.scale, 1, n), or_else(layer.shift, 0, n)))


OPERATORS = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide,
    "maximum": np.maximum, "minimum": np.minimum, "mean": np.add,
}  # fmt: skip


def combine(layer, *xs):
    timed = any(x.ndim == 3 for x in xs)
    y, *rest = (x[:, None] if timed and x.ndim == 2 else x for x in xs)
    for x in rest:
        y = flush(OPERATORS[layer.op](y, x))
    return flush(y / F32(len(xs))) if layer.op == "mean" else y


def reduce(layer, x):
    if layer.op in ("sum", "mean"):
        y = row_sum(x) / F32(x.shape[-1] if layer.op == "mean" else 1)
    else:
        y = (np.max if layer.op == "maximum" else np.min)(x, axis=-1)
    return flush(y[..., None])


RULES = {
    g.Softmax: softmax, g.Embedding: embedding, g.Affine: affine, g.LayerNorm: layer_norm,
    g.Combine: combine, g.Reduce: reduce,
    g.Concat: lambda layer, *xs: flush(np.concatenate(xs, axis=-1)),
    g.Select: lambda layer, x: flush(x[..., list(layer.index)]),
    g.Fill: lambda layer, x: flush(np.tile(layer.value, (len(x), 1))),
}  # fmt: skip


def by_rule(graph, inputs):
    """What the last layer gives, [batch, time, features], from inputs laid out like that."""
    values = {name: np.asarray(a, F32) for name, a in inputs.items()}
    with np.errstate(all="ignore"):
        for layer in graph.layers:
            args = [values[n] for n in layer.inputs]
            values[layer.outputs[0]] = RULES[type(layer)](layer, *args).astype(F32)
    return {v.name: values[v.name] for v in graph.outputs}


# ---------------------------------------------------------------------------------- random layers


@st.composite
def single_layers(draw):
    """A graph of one layer (with a Fill before it where it reads a fixed value); inputs are
    [batch, time, features] or [batch, features]."""
    net = Net(draw(st.integers(0, LARGEST_SEED)), scale=2.0)
    size = st.sampled_from(SIZES)
    kind = draw(st.sampled_from([k for k in RULES if k is not g.Fill] + [g.Combine]))
    timed = draw(st.booleans())

    def vector(n):
        return net.weight(n) if draw(st.booleans()) else None

    n = draw(size)
    x = net.input(n, time=timed)
    if kind is g.Softmax:
        parts = [0, *(d for d in range(1, n + 1) if n % d == 0)]
        y = net.simple(kind, x, size=draw(st.sampled_from(parts)), log=draw(st.booleans()))
    elif kind is g.Embedding:
        entries = draw(st.integers(1, 20))
        y = net.simple(kind, x, weight=net.weight(draw(size), entries))
    elif kind is g.Affine:
        activation = draw(st.sampled_from(FUNCTIONS))
        y = net.simple(kind, x, scale=vector(n), shift=vector(n), activation=activation)
    elif kind is g.LayerNorm:
        epsilon = draw(st.sampled_from([1e-5, 0.0, 1e-12, 1e-3, 1.0]))
        options = {"epsilon": epsilon, "rms": draw(st.booleans())}
        y = net.simple(kind, x, scale=vector(n), shift=vector(n), **options)
    elif kind is g.Combine:
        inputs = [x, *(
            net.input(draw(st.sampled_from([1, n])), time=timed and draw(st.booleans()))
            for _ in range(draw(st.integers(0, 3)))
        )]  # fmt: skip
        if draw(st.booleans()) or len(inputs) < 2:
            inputs.append(net.simple(g.Fill, x, value=net.weight(draw(st.sampled_from([1, n])))))
        inputs += draw(st.lists(st.sampled_from(inputs), max_size=2))
        op = draw(st.sampled_from(sorted(OPERATORS)))
        y = net.simple(kind, draw(st.permutations(inputs)), op=op)
    elif kind is g.Concat:
        inputs = [x, *(net.input(draw(size), time=timed) for _ in range(draw(st.integers(0, 3))))]
        y = net.simple(kind, inputs + draw(st.lists(st.sampled_from(inputs), max_size=2)))
    elif kind is g.Select:
        index = draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=40))
        y = net.simple(kind, x, index=tuple(index))
    else:
        y = net.simple(kind, x, op=draw(st.sampled_from(["sum", "mean", "maximum", "minimum"])))
    return net.graph(y)


SPECIAL = F32([
    np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 2.0**-64, -(2.0**-64), 2.0**-65, -1e-25,
    1e-30, 3e38, -3e38, 1.0, -1.0, 2.0**-50, 1e-12, -1e-10, 5e18,
])  # fmt: skip
FLAVOURS = ("plain", "plain", "far", "tiny", "special", "wide")


def values_of(graph, flavour, seed, batch, time):
    """Inputs by name: plain normal numbers, those far from zero, and worse."""
    rng = np.random.default_rng(seed)
    inputs = random_inputs(graph, seed, batch, time)
    if any(isinstance(layer, g.Embedding) for layer in graph.layers):
        return inputs
    for a in inputs.values():
        if flavour == "far":
            a += F32(rng.choice([100, -1000]))
        elif flavour == "tiny":
            a *= F32(rng.choice([1e-10, 1e-18, 1e-24, 1e-38]))
        elif flavour == "wide":
            a *= np.exp2(rng.integers(-60, 60, a.shape)).astype(F32)
        elif flavour == "special":
            places = rng.random(a.shape) < rng.choice([0.05, 0.5, 1.0])
            a[places] = rng.choice(SPECIAL, int(places.sum()))
    return inputs


@settings(300)
@hypothesis.given(
    graph=single_layers(), flavour=st.sampled_from(FLAVOURS), seed=st.integers(0, LARGEST_SEED),
    batch=st.integers(1, 5), time=st.integers(1, 4), panel=st.sampled_from(PANELS),
)  # fmt: skip
def test_every_bit(graph, flavour, seed, batch, time, panel):
    """On every target, in any panels, all rows at once and one by one."""
    inputs = values_of(graph, flavour, seed, batch, time)
    want = by_rule(graph, inputs)
    model = from_graph(graph, panel=panel)
    for name in TARGETS:
        with target(name):
            assert_same(predict(model, inputs), want, f"{name}, {graph.layers[-1]}")
            rows = [predict(model, take(graph.inputs, inputs, BATCH, [b])) for b in range(batch)]
            assert_same(join(graph.outputs, rows, BATCH), want, f"{name}, row by row")


def size_of_terms(graph, inputs):
    """How large the numbers are that a result is a sum of: what its error is relative to."""
    layer = graph.layers[-1]
    largest = max(float(np.abs(a).max()) for a in inputs.values())
    if isinstance(layer, g.Reduce) and layer.op == "sum":
        return max(float(np.abs(a).sum(axis=-1).max()) for a in inputs.values())
    if isinstance(layer, g.LayerNorm):
        return float(np.abs(or_else(layer.scale, 1, 1)).max())
    if isinstance(layer, g.Affine) and layer.scale is not None:
        return largest * float(np.abs(layer.scale).max())
    if isinstance(layer, g.Combine) and layer.op in ("multiply", "divide"):
        return 0.0
    return 0.0 if isinstance(layer, (g.Softmax, g.Embedding)) else largest


@settings(300)
@hypothesis.given(
    graph=single_layers(), flavour=st.sampled_from(["plain", "far"]),
    seed=st.integers(0, LARGEST_SEED), batch=st.integers(1, 5), time=st.integers(1, 4),
)  # fmt: skip
def test_core_is_the_oracle(graph, flavour, seed, batch, time):
    layer = graph.layers[-1]
    hypothesis.assume(not (isinstance(layer, g.Affine) and layer.activation.kind == "exponential"))
    if isinstance(layer, g.LayerNorm):  # two equal features and no epsilon: 0 / 0 or a rounding
        hypothesis.assume(layer.epsilon >= 1e-5)
    inputs = values_of(graph, flavour, seed, batch, time)
    (want,) = reference.run(graph, inputs).values()
    (got,) = predict(from_graph(graph), inputs).values()
    scale = max(np.abs(want).max(), size_of_terms(graph, inputs), 1e-30)
    assert np.abs(got - want).max() <= 1e-6 * scale


# ------------------------------------------------------------------------------------ single facts


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_no_index_gives_nan(name):
    net = Net(1)
    y = net.simple(g.Embedding, net.input(1), weight=np.arange(21, dtype=F32).reshape(3, 7) + 1)
    model = from_graph(net.graph(y))
    with pytest.raises(ValueError, match="indices 0 to 6"):
        model.predict(F32([[[7]]]))
    model._tables = {}  # so that the core sees these
    x = F32([0, -0.0, 6, 7, -1, 5.5, 6.999, 1e-40, -1e-40, np.nan, np.inf, -np.inf, 2.0**31,
             2.0**32, -(2.0**32), 3e38])  # fmt: skip
    with target(name):
        y = model.predict(x[None, :, None])[0]
    assert y[:3].tolist() == [[1, 8, 15], [1, 8, 15], [7, 14, 21]]
    assert np.isnan(y[3:]).all()


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("op", ["maximum", "minimum"])
def test_a_nan_is_the_extreme_wherever_it_is(name, op):
    net = Net(1)
    x, y = net.input(19), net.input(19)
    graph = net.graph(net.simple(g.Combine, (x, y), op=op), net.simple(g.Reduce, x, op=op))
    model = from_graph(graph)
    for i in range(19):
        a, b = np.ones((2, 1, 1, 19), F32)
        a[0, 0, i] = np.nan
        with target(name):
            both, reduced = model.predict({"x0": a, "x1": b}).values()
            assert np.flatnonzero(np.isnan(both)).tolist() == [i]
            assert np.isnan(reduced).all()
            both, _ = model.predict({"x0": b, "x1": a}).values()
            assert np.flatnonzero(np.isnan(both)).tolist() == [i]


@pytest.mark.parametrize("name", TARGETS)
def test_weights_are_flushed_like_all_that_is_handed_on(name):
    net = Net(1)
    tiny = F32([1e-25, -1e-40, -0.0, 1.0, 2.0**-64])
    x, index = net.input(5), net.input(1)
    embedded = net.simple(g.Embedding, index, weight=np.tile(tiny[:, None], (1, 3)))
    fill = net.simple(g.Fill, x, value=tiny)
    shifted = net.simple(g.Affine, x, shift=tiny)
    graph = net.graph(embedded, fill, shifted)
    inputs = {"x0": np.zeros((1, 1, 5), F32), "x1": np.zeros((1, 1, 1), F32)}
    with target(name):
        for value in predict(from_graph(graph), inputs).values():
            assert bits(value.ravel()).tolist() == bits(F32([0, 0, 0, 1, 2.0**-64])).tolist()


def test_values_around_every_threshold():
    """Of 2^-64, below which nothing is handed on, and of 2^-50, below which a variance sees
    nothing; functions that are tiny of arguments that are not."""
    net = Net(5)
    x = net.input(17, time=False)
    two = net.simple(g.Concat, (x, x))
    names = [two, net.simple(g.Select, x, index=(3, 16, 0, 3))]
    names += [net.simple(g.Reduce, x, op=op) for op in ("sum", "mean", "maximum", "minimum")]
    names += [net.simple(g.Combine, (x, x), op=op) for op in sorted(OPERATORS)]
    for f in (g.LINEAR, g.SIGMOID, g.TANH, g.Fn("exponential")):
        names += [net.simple(g.Affine, x, scale=net.weight(17), activation=f)]
    for epsilon in (0.0, 1e-38, 1e-30, 1e-20):
        for rms in (False, True):
            names += [net.simple(g.LayerNorm, x, epsilon=epsilon, rms=rms)]
    names += [net.simple(g.Softmax, x, log=log) for log in (False, True)]
    graph = net.graph(*names, order="bf")
    rng = np.random.default_rng(1)
    sizes = np.exp2(-rng.uniform(40, 70, (60, 1)) - rng.uniform(0, 6, (60, 17)))
    values = np.concatenate([sizes * rng.choice([1, -1], sizes.shape), sizes,
                             -rng.uniform(20, 200, (30, 17))]).astype(F32)  # fmt: skip
    want = by_rule(graph, {x: values})
    model = from_graph(graph)
    for name in TARGETS:
        with target(name):
            assert_same(predict(model, {x: values}), want, name)


def log_softmax(x):
    net = Net(1)
    graph = net.graph(net.simple(g.Softmax, net.input(x.shape[-1], time=False), log=True))
    return from_graph(graph).predict(x)


def test_log_softmax_of_very_different_values():
    """Each entry is as exact as its own size allows, however small its exponential is."""
    rng = np.random.default_rng(3)
    x = (rng.standard_normal((200, 50)) * 10.0 ** rng.integers(-3, 30, (200, 1))).astype(F32)
    x[0] = -1e30
    x[1, 1:] = -3e38
    x[1, 0] = 0
    got, (want,) = log_softmax(x), reference.run(
        g.Graph([g.Value("x", (BATCH, 50))], [g.Value("y", (BATCH, 50))],
                [g.Softmax(name="s", inputs=("x",), outputs=("y",), log=True)]), {"x": x},
    ).values()  # fmt: skip
    assert np.isfinite(got).all()
    assert (np.abs(got - want) <= 3e-7 * np.maximum(np.abs(want), 1)).all()


def test_the_logarithm_of_a_sum():
    """Of n equal values: -log n. Of two, anything between log 1 and log 2."""
    for n in [*range(1, 70), 1000, 4096, 100000]:
        got = float(log_softmax(np.zeros((1, n), F32))[0, 0])
        assert abs(got + math.log(n)) <= 1.5 * np.spacing(F32(math.log(n))), n
    t = np.linspace(-20, 0, 20001).astype(F32)
    got = log_softmax(np.stack([np.zeros_like(t), t], axis=1))[:, 0]
    total = (F32(1) + fn.exp(t)).astype(float)
    error = np.abs(got + np.log(total)) / np.spacing(np.log(total).astype(F32))
    assert error[total > 1].max() <= 1.5


def test_layer_norm_far_from_zero():
    """The mean's own rounding error doesn't stay: rows of 512 values around 1000."""
    net = Net(1)
    graph = net.graph(net.simple(g.LayerNorm, net.input(512, time=False)))
    x = (1000 + np.random.default_rng(0).standard_normal((20, 512))).astype(F32)
    (want,) = reference.run(graph, {"x0": x}).values()
    np.testing.assert_allclose(from_graph(graph).predict(x), want, rtol=1e-6, atol=1e-6)
    constant = np.full((3, 512), F32(0.1)) * F32([[1], [1e5], [-7]])
    assert not bits(from_graph(graph).predict(constant)).any()


# ------------------------------------------------------------------------- by steps, or as a whole


def whole_cases():
    def case(build):
        net = Net(2)
        x = net.input(3)
        return net, x, build(net, x)

    def combined(*inputs):
        return lambda net, x: net.simple(g.Combine, [i(net, x) for i in inputs], op="add")

    def itself(net, x):
        return x

    def last(net, x):
        return net.simple(g.LastStep, x)

    def fill(net, x):
        return net.simple(g.Fill, x, value=net.weight(3))

    def moved(net, x):
        return net.simple(g.Activation, fill(net, x), activation=g.TANH)

    def weighed(net, x):
        return net.dense(last(net, x), 3)

    return {
        "both with time": (case(combined(itself, itself)), False),
        "none with time": (case(combined(last, last)), False),
        "a fixed value": (case(combined(fill, itself)), False),
        "two fixed values": (case(combined(itself, fill, fill)), False),
        "fixed, and none with time": (case(combined(last, fill)), False),
        "the last step": (case(combined(itself, last)), True),
        "the last step first": (case(combined(last, fill, itself)), True),
        "of a layer with weights": (case(combined(itself, weighed)), True),
        "made of a fixed value": (case(combined(itself, moved)), True),
    }


@pytest.mark.parametrize("name", whole_cases())
def test_core_and_graph_agree_on_what_needs_the_whole_sequence(name):
    (net, _, y), whole = whole_cases()[name]
    graph = net.graph(y)
    model = from_graph(graph)
    assert bool(graph.whole()) == whole
    assert model._core.cuttable == (not whole)
    inputs = random_inputs(graph, 1, 2, 6)
    if whole:
        with pytest.raises(lstmc.ShapeError, match="spreads a value without time"):
            model.stream(2)
        return
    stream = model.stream(2)
    parts = [
        {y: stream.run(take(graph.inputs, inputs, TIME, piece)["x0"])}
        for piece in (range(1), range(1, 4), range(4, 6))
    ]
    assert_same(join(graph.outputs, parts, TIME), predict(model, inputs), name)


def test_a_long_sequence_is_not_cut_where_it_must_not_be():
    net = Net(1)
    x = net.input(200)
    y = net.simple(g.Combine, (x, net.simple(g.LastStep, x)), op="subtract")
    graph = net.graph(net.simple(g.Reduce, y, op="maximum"))
    inputs = random_inputs(graph, 1, 4, 3000)
    (want,) = reference.run(graph, inputs).values()
    np.testing.assert_allclose(predict(from_graph(graph), inputs)[graph.outputs[0].name], want,
                               rtol=0, atol=1e-6)  # fmt: skip


# ------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("panel", PANELS)
def test_every_layer_there_and_back(panel):
    graph = pointwise_graph()
    blob = format.dumps(graph, None, panel)
    back, _ = format.loads(lstmc.Model(blob)._blob)
    assert_graphs_equal(graph, back)
    assert format.dumps(back, None, panel) == blob


@settings(100)
@hypothesis.given(graph=single_layers(), panel=st.sampled_from(PANELS))
def test_any_layer_there_and_back(graph, panel):
    blob = format.dumps(graph, None, panel)
    back, _ = format.loads(lstmc.Model(blob)._blob)
    assert_graphs_equal(graph, back)
    assert format.dumps(back, None, panel) == blob


def places(blob):
    """Indices of words: of the last layer's record, its inputs, outputs, tensors and parameters,
    and of the first value's and first tensor's record."""
    values = 16 + 8 * (word(blob, 5) + word(blob, 6))
    layers = values + 4 * word(blob, 7)
    tensors = layers + 8 * word(blob, 8)
    record = tensors - 8
    at = tensors + 8 * word(blob, 9) + word(blob, record + 6)
    found = {"record": record, "values": values, "tensor_records": tensors}
    for i, key in enumerate(("inputs", "outputs", "tensors", "params")):
        found[key] = at
        at += word(blob, record + 2 + i)
    return found


def float_word(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def one(kind, features=6, *, inputs=1, outputs=("y",), **fields):
    """The file of a graph of one such layer. Its name and its values' are the same in all."""
    net = Net(0)
    names = [net.input(features) for _ in range(inputs)]
    net.add(kind, names, list(outputs), **fields)
    return format.dumps(net.graph(*(n for n in net.layers[-1].outputs if n)), None, 4)


VECTOR = np.ones(6, F32)
ONE_OF_EACH = {
    "softmax": one(g.Softmax),
    "softmax of parts": one(g.Softmax, size=3),
    "log softmax": one(g.Softmax, size=2, log=True),
    "embedding": one(g.Embedding, weight=np.ones((3, 5), F32)),
    "affine": one(g.Affine, scale=VECTOR, shift=VECTOR),
    "layer norm": one(g.LayerNorm, scale=VECTOR, shift=VECTOR),
    "rms norm": one(g.LayerNorm, scale=VECTOR, rms=True),
    "combine": one(g.Combine, inputs=2, op="add"),
    "concat": one(g.Concat, inputs=3),
    "select": one(g.Select, index=(5, 0, 1)),
    "reduce": one(g.Reduce, op="mean"),
    "fill": one(g.Fill, value=VECTOR),
}
INVALID, UNKNOWN = "invalid", "unknown"
# What is changed: layer, group of words, offset there, new value; and what the error says.
DAMAGES = [
    ("softmax", "record", 5, 1, INVALID),  # a parameter, which happens to be the number 1 x 6
    ("softmax of parts", "params", 0, 4, INVALID),
    ("softmax of parts", "params", 0, 7, INVALID),
    ("softmax of parts", "params", 0, 0xFFFFFFFD, INVALID),
    ("log softmax", "params", 1, 2, INVALID),
    ("log softmax", "record", 5, 3, INVALID),
    ("embedding", "record", 4, 0, INVALID),
    ("embedding", "tensors", 0, 0xFFFFFFFF, INVALID),
    ("embedding", "tensors", 0, 1, INVALID),
    ("embedding", "values", 1, 5, INVALID),
    ("affine", "params", 0, 99, UNKNOWN),
    ("affine", "params", 1, 1, UNKNOWN),  # an alpha where there is none
    ("affine", "values", 1, 7, INVALID),
    ("affine", "record", 4, 1, INVALID),
    ("affine", "record", 5, 2, INVALID),
    ("layer norm", "params", 0, float_word(-1e-5), INVALID),
    ("layer norm", "params", 0, float_word(-0.0), INVALID),
    ("layer norm", "params", 0, float_word(math.inf), INVALID),
    ("layer norm", "params", 0, float_word(math.nan), INVALID),
    ("layer norm", "record", 5, 0, INVALID),
    ("layer norm", "record", 5, 3, INVALID),
    ("rms norm", "params", 1, 2, INVALID),
    ("combine", "params", 0, 7, UNKNOWN),
    ("combine", "params", 0, 0xFFFFFFFF, UNKNOWN),
    ("combine", "values", 1, 5, INVALID),  # the features of one input
    ("combine", "values", 2, 0, INVALID),  # no time any more
    ("combine", "inputs", 1, 0xFFFFFFFF, INVALID),
    ("combine", "inputs", 1, 2, INVALID),  # its own output
    ("combine", "record", 5, 0, INVALID),
    ("concat", "inputs", 2, 0xFFFFFFFF, INVALID),
    ("concat", "values", 1, 5, INVALID),
    ("concat", "values", 2, 0, INVALID),
    ("concat", "record", 5, 1, INVALID),
    ("select", "params", 0, 6, INVALID),
    ("select", "params", 2, 0xFFFFFFFF, INVALID),
    ("select", "record", 5, 2, INVALID),
    ("select", "record", 5, 0, INVALID),
    ("reduce", "params", 0, 4, UNKNOWN),
    ("reduce", "record", 5, 2, INVALID),
    ("fill", "tensors", 0, 0xFFFFFFFF, INVALID),
    ("fill", "record", 4, 0, INVALID),
]


@pytest.mark.parametrize(("layer", "group", "offset", "value", "says"), DAMAGES)
def test_records_that_make_no_sense_are_refused(layer, group, offset, value, says):
    blob = ONE_OF_EACH[layer]
    _core.Model(aligned(blob))
    at = places(blob)[group] + offset
    assert word(blob, at) != value
    with pytest.raises(FormatError, match=says):
        _core.Model(aligned(with_crc(set_word(blob, at, value))))


@pytest.mark.parametrize(
    ("layer", "gates", "k", "made"),
    [("embedding", 2, 5, 12), ("embedding", 1, 10, 12), ("fill", 3, 1, 2), ("fill", 1, 3, 2)],
)
def test_weights_of_another_shape(layer, gates, k, made):
    """As many floats as before, of 2 units now; the rest of the file agrees with that."""
    blob = ONE_OF_EACH[layer]
    at = places(blob)
    output_io, pool = 16 + 8, at["tensor_records"] + 8 * word(blob, 9)
    features = pool + word(blob, output_io + 4) + word(blob, output_io + 3) - 1
    for place, value in (
        (at["tensor_records"] + 3, gates), (at["tensor_records"] + 4, k),
        (at["tensor_records"] + 5, 2), (at["values"] + 4 + 1, made), (features, made),
    ):  # fmt: skip
        blob = set_word(blob, place, value)
    damaged = aligned(with_crc(blob))
    if (layer, gates) == ("embedding", 1):
        _core.Model(damaged)  # ten entries of two units: that is a table, too
        return
    with pytest.raises(FormatError, match="invalid"):
        _core.Model(damaged)


@pytest.mark.parametrize("kind", [g.Combine, g.Concat])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("other", ["clock", "constant", "none"])
def test_what_goes_together_has_the_same_steps(kind, other, first):
    """A value with other steps where the file had one with the same."""
    more = {
        "clock": g.Value("z", (BATCH, TIME, 6), clock="other"),
        "constant": g.Value("z", (BATCH, TIME, 6), time=4, clock=None),
        "none": g.Value("z", (BATCH, 6)),
    }[other]
    inputs = [g.Value("x", (BATCH, TIME, 6)), more]
    options = {"op": "add"} if kind is g.Combine else {}
    layers = [
        g.Activation(name="a", inputs=("z",), outputs=("b",), activation=g.TANH),
        kind(name="k", inputs=("x", "x"), outputs=("y",), **options),
    ]
    outputs = [g.Value("y", (BATCH, TIME, 6 if kind is g.Combine else 12))]
    blob = format.dumps(g.Graph(inputs, outputs, layers))
    _core.Model(aligned(blob))
    at = places(blob)["inputs"] + (not first)
    assert word(blob, at) == 0
    damaged = aligned(with_crc(set_word(blob, at, 1)))
    if other == "none" and kind is g.Combine:
        assert not _core.Model(damaged).cuttable
        return
    with pytest.raises(FormatError, match="invalid"):
        _core.Model(damaged)


@pytest.mark.parametrize("layer", ONE_OF_EACH)
def test_output_records_are_checked(layer):
    """Other features than the layer makes, or time where there is none, and the other way."""
    blob = ONE_OF_EACH[layer]
    record = places(blob)["values"] + 4 * (word(blob, 7) - 1)
    for offset, value in ((1, word(blob, record + 1) + 1), (2, 1 - word(blob, record + 2))):
        with pytest.raises(FormatError):
            _core.Model(aligned(with_crc(set_word(blob, record + offset, value))))


@pytest.mark.parametrize("layer", ONE_OF_EACH)
def test_what_the_core_accepts_means_something(layer):
    """Any word of the records changed: refused, or a model that Python reads, too, and that gives
    what the oracle gives."""
    blob = ONE_OF_EACH[layer]
    places_of = places(blob)
    start, end = places_of["values"], places_of["tensor_records"] + 8 * word(blob, 9)
    names = {*range(start, places_of["record"], 4), places_of["record"] + 1}
    refused = 0
    for at in sorted({*range(start, end + word(blob, 10))} - names):
        old = word(blob, at)
        near = {old + 1, old - 1, 2 * old, old // 2, 0, 1, 2, 3, 6, 7, 0xFFFFFFFF, 0x3F800000}
        for value in sorted(v & 0xFFFFFFFF for v in near - {old}):
            damaged = aligned(with_crc(set_word(blob, at, value)))
            try:
                _core.Model(damaged)
            except FormatError:
                refused += 1
                continue
            model = lstmc.Model(damaged)
            rows = 1 if model.graph.one_row else 2
            inputs = {
                v.name: np.round(3 * np.random.default_rng(at).random(v.shape(rows, v.time or 3)))
                for v in model.graph.inputs
            }
            model._tables = {}
            with np.errstate(all="ignore"):
                want = reference.run(model.graph, inputs)
            for name, y in predict(model, inputs).items():
                np.testing.assert_allclose(y, want[name], rtol=1e-5, atol=1e-5)
    assert refused > 100


def with_two_records_again(blob):
    """The first layer's record twice more (64 bytes, so that padding stays), behind all others."""
    at = places(blob)
    front = set_word(set_word(blob, 8, word(blob, 8) + 2), 4, len(blob) + 64)
    for i in range(word(blob, 9)):
        record = at["tensor_records"] + 8 * i
        front = set_word(front, record, word(blob, record) + 64)
    first = 4 * (at["values"] + 4 * word(blob, 7))
    end = 4 * at["tensor_records"]
    return with_crc(front[:end] + 2 * blob[first : first + 32] + front[end:])


@pytest.mark.parametrize(("inputs", "sound"), [(1, True), (9, False)])
def test_layers_have_pool_words_of_their_own(inputs, sound):
    """A few records can't name the same very many inputs again and again."""
    net = Net(0)
    x = net.input(2)
    net.add(g.Concat, (x,) * inputs, [None])
    blob = format.dumps(net.graph(net.dense(x, 3)))
    _core.Model(aligned(blob))
    again = aligned(with_two_records_again(blob))
    if sound:
        _core.Model(again)
        return
    with pytest.raises(FormatError, match="invalid"):
        _core.Model(again)
