"""Gradients of the layers on features, against torch.autograd and float64 differences."""

from __future__ import annotations

import cases
import hypothesis
import numpy as np
import pytest
from gradients import check, check_autograd, check_bits, random_dy, run
from helpers import (
    SIZES,
    TAME_FUNCTIONS,
    Net,
    assert_same,
    exact_fma,
    flush,
    random_inputs,
)
from hypothesis import strategies as st

from lstmc import graph as g

torch = pytest.importorskip("torch")
F = torch.nn.functional

OPS = ("add", "subtract", "multiply", "divide", "maximum", "minimum", "mean")
SEEDS = st.integers(0, cases.LARGEST_SEED)
LENGTHS = [4, 0, 2, 1, 3, 4, 2]


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# ------------------------------------------------------------------------------- layer by layer


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("size", [0, 1, 3, 6])
def test_softmax(size, log):
    net = Net(1)
    y = net.simple(g.Softmax, net.input(18), size=size, log=log)
    graph = net.graph(y)

    def transcription(x, w):
        parts = x["x0"].reshape(7, 4, -1, size or 18)
        return {y: (F.log_softmax if log else F.softmax)(parts, -1).reshape(7, 4, 18)}

    inputs = {"x0": 3 * numbers(1, 7, 4, 18)}
    check(graph, inputs, torch=transcription)
    check(graph, inputs, LENGTHS)


@pytest.mark.parametrize("fn", [g.LINEAR, g.TANH, g.RELU, g.Fn("gelu"), g.SILU], ids=str)
@pytest.mark.parametrize("given", ["scale", "shift", "scale shift", ""])
def test_affine(given, fn):
    net = Net(2)
    vectors = {n: net.weight(21) for n in given.split()}
    y = net.simple(g.Affine, net.dense(net.input(5), 21), **vectors, activation=fn)
    graph = net.graph(y)

    def transcription(x, w):
        p = x["x0"] @ w["dense0", "weight"].T + w["dense0", "bias"]
        p = p * w.get(("affine1", "scale"), 1) + w.get(("affine1", "shift"), 0)
        functions = {
            "linear": lambda v: v, "tanh": torch.tanh, "relu": torch.relu, "gelu": F.gelu,
            "silu": F.silu,
        }  # fmt: skip
        return {y: functions[fn.kind](p)}

    inputs = random_inputs(graph, 2, 7, 4)
    check(graph, inputs, torch=transcription)
    check(graph, inputs, LENGTHS)
    check(graph, inputs, LENGTHS, frozen=["affine1"])


def test_affine_without_anything_before():
    """x needs no gradient where nothing before it is trained."""
    net = Net(2)
    index = net.input(1)
    x = net.simple(g.Embedding, index, weight=net.weight(5, 3))
    graph = net.graph(net.simple(g.Affine, x, scale=net.weight(5), shift=net.weight(5)))
    check(graph, random_inputs(graph, 1, 3, 4), frozen=["embedding0"])


@pytest.mark.parametrize("rms", [False, True])
@pytest.mark.parametrize("given", ["scale", "shift", "scale shift", ""])
@pytest.mark.parametrize("n", [1, 2, 19])
def test_layer_norm(n, given, rms):
    net = Net(3)
    vectors = {name: net.weight(n) for name in given.split()}
    h = net.dense(net.input(5), n)
    y = net.simple(g.LayerNorm, h, **vectors, epsilon=1e-3, rms=rms)
    graph = net.graph(y)
    epsilon = float(np.float32(1e-3))

    def transcription(x, w):
        p = x["x0"] @ w["dense0", "weight"].T + w["dense0", "bias"]
        if rms:
            made = p / torch.sqrt((p * p).mean(-1, keepdim=True) + epsilon)
        else:
            made = F.layer_norm(p, (n,), eps=epsilon)
        made = made * w.get(("layernorm1", "scale"), 1) + w.get(("layernorm1", "shift"), 0)
        return {y: made}

    inputs = random_inputs(graph, 2, 7, 4)
    check(graph, inputs, torch=transcription)
    check(graph, inputs, LENGTHS)


def test_layer_norm_far_from_zero():
    """A mean far from 0, and features that hardly differ: the gradient is as good as forward."""
    net = Net(3)
    y = net.simple(g.LayerNorm, net.input(12), scale=net.weight(12), epsilon=1e-5)
    graph = net.graph(y)
    inputs = {"x0": (1000 + numbers(3, 5, 3, 12)).astype(np.float32)}
    check(
        graph, inputs,
        torch=lambda x, w: {
            y: F.layer_norm(x["x0"], (12,), eps=float(np.float32(1e-5)))
            * w["layernorm0", "scale"]
        },
    )  # fmt: skip


def combine(op: str, arrays: list) -> object:
    """As the oracle, by torch."""
    fold = {"add": torch.add, "mean": torch.add, "subtract": torch.sub, "multiply": torch.mul,
            "divide": torch.div, "maximum": torch.maximum, "minimum": torch.minimum}  # fmt: skip
    y = arrays[0]
    for x in arrays[1:]:
        y = fold[op](y, x)
    return y / len(arrays) if op == "mean" else y


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("first", range(5))
def test_combine(op, first):
    """Every kind of input, in every place: all, one feature, without time, one number, itself
    again (where that does not cancel)."""
    net = Net(4)
    a, b, c, d = net.input(9), net.input(1), net.input(9, time=False), net.input(1, time=False)
    names = [a, b, c, d, net.input(9) if op == "divide" else a]
    names = names[first:] + names[:first]
    y = net.simple(g.Combine, names, op=op)
    graph = net.graph(y)
    rng = np.random.default_rng(first)
    inputs = {v.name: rng.uniform(0.5, 2, v.shape(7, 4)).astype(np.float32) for v in graph.inputs}

    def transcription(x, w):
        wide = x | {c: x[c][:, None], d: x[d][:, None]}
        return {y: combine(op, [wide[n] for n in names]) + 0 * wide[a]}

    check(graph, inputs, torch=transcription)
    check(graph, inputs, LENGTHS)


@pytest.mark.parametrize("op", OPS)
def test_combine_without_time(op):
    net = Net(4)
    a, b = net.input(17, time=False), net.input(1, time=False)
    last = net.dense(a, 6)
    if op == "divide":
        last = net.simple(g.Activation, last, activation=g.Fn("exponential"))
    again = (b,) if op != "divide" else ()
    y = net.simple(g.Combine, (b, net.dense(a, 6), *again, last), op=op)
    graph = net.graph(y)
    check(graph, random_inputs(graph, 4, 5, 1), each=20)


@pytest.mark.parametrize("op", ["maximum", "minimum"])
def test_ties(op):
    """Equal numbers share a gradient, as torch has it: two by two in Combine, all in Reduce. What
    forward takes for 0 is equal to 0."""
    net = Net(5)
    a, b = net.input(6), net.input(6)
    both = net.simple(g.Combine, (a, b, a), op=op)
    one = net.simple(g.Reduce, a, op=op)
    graph = net.graph(both, one)
    x = np.array([[1, 2, 3, 2, 1e-30, 0], [3, 3, -1, 3, 3, -1]], np.float32)[None]
    y = np.array([[1, 3, 2, 2, 0, -1e-30], [3, 1, 3, 3, 3, 0]], np.float32)[None]
    inputs = {a: x, b: y}
    dy = random_dy(graph, inputs)
    got = run(graph, inputs, dy)

    def transcription(x, w):
        extreme = torch.amax if op == "maximum" else torch.amin
        return {both: combine(op, [x[a], x[b], x[a]]), one: extreme(x[a], -1, keepdim=True)}

    zeroed = {n: np.where(abs(v) < 2.0**-64, 0, v) for n, v in inputs.items()}
    check_autograd(graph, zeroed, dy, got, transcription)
    check_bits(graph, inputs, dy, None, got)


def test_nan_among_extremes():
    """Where an extreme is NaN, so are the gradients of all that it is of."""
    net = Net(5)
    x = net.input(4)
    graph = net.graph(net.simple(g.Reduce, x, op="maximum"))
    for row in ([1, np.nan, 2, 3], [np.nan, 1, 2, 3], [1, 2, 3, np.nan]):
        inputs = {x: np.array([[row]], np.float32)}
        got = run(graph, inputs, random_dy(graph, inputs))
        assert np.isnan(got.inputs[x]).all()


@pytest.mark.parametrize("time", [True, False])
def test_concat(time):
    net = Net(6)
    x = net.input(3, time=time)
    wide = net.dense(x, 17)
    graph = net.graph(net.simple(g.Concat, (wide, x, wide, net.dense(x, 1), wide)), wide)
    inputs = random_inputs(graph, 6, 7, 4)
    check(graph, inputs)
    if time:
        check(graph, inputs, LENGTHS)


def test_many_inputs():
    """More than a word has bits."""
    net = Net(6)
    x = net.input(2)
    parts = [net.dense(x, 2) for _ in range(40)]
    graph = net.graph(net.simple(g.Concat, parts), net.simple(g.Combine, parts, op="maximum"))
    got = check(graph, random_inputs(graph, 6, 3, 2), each=4, directions=1, same_bits=False)
    assert len(got.weights) == 80


@pytest.mark.parametrize("index", [(4,), (0, 1, 2, 3, 4), (4, 0, 0, 2, 0, 4)])
def test_select(index):
    net = Net(7)
    y = net.simple(g.Select, net.input(5), index=index)
    graph = net.graph(y)
    inputs = random_inputs(graph, 7, 7, 4)
    check(graph, inputs, torch=lambda x, w: {y: x["x0"][..., list(index)]})
    check(graph, inputs, LENGTHS)


@pytest.mark.parametrize("op", ["sum", "mean", "maximum", "minimum"])
def test_reduce(op):
    net = Net(8)
    y = net.simple(g.Reduce, net.input(19), op=op)
    graph = net.graph(y)
    made = {"sum": torch.sum, "mean": torch.mean, "maximum": torch.amax, "minimum": torch.amin}[op]
    inputs = random_inputs(graph, 8, 7, 4)
    check(graph, inputs, torch=lambda x, w: {y: made(x["x0"], -1, keepdim=True)})
    check(graph, inputs, LENGTHS)


@pytest.mark.parametrize("units", [1, 8, 9, 21])
def test_embedding(units):
    """Entries add up; the index has no gradient, and what is none sends nothing anywhere."""
    net = Net(9)
    y = net.simple(g.Embedding, net.input(3), weight=net.weight(units, 7))
    graph = net.graph(y)
    inputs = random_inputs(graph, 9, 7, 4)

    def transcription(x, w):
        index = x["x0"].detach().long()
        return {y: F.embedding(index, w["embedding0", "weight"].T).reshape(7, 4, -1)}

    check(graph, inputs, torch=transcription)
    got = check(graph, inputs, LENGTHS)
    assert not got.inputs["x0"].any()
    for wrong in (np.nan, -1, 0.5, 7, np.inf, 1e-40):
        inputs["x0"][2, 1, 1] = wrong
        dy = random_dy(graph, inputs)
        got = run(graph, inputs, dy)
        part = dy[y][2, 1, units : 2 * units]
        assert np.isfinite(got.weights["embedding0", "weight"]).all()
        inputs["x0"][2, 1, 1] = 6
        with_it = run(graph, inputs, dy).weights["embedding0", "weight"]
        more = with_it - got.weights["embedding0", "weight"]
        np.testing.assert_allclose(more[:, 6], part, atol=1e-5)
        assert not more[:, :6].any()


def test_an_index_that_is_computed():
    """Gradients end at a table: what makes its index has none, and is no reason to refuse."""
    net = Net(9)
    x = net.input(4)
    hot = net.simple(g.Activation, net.simple(g.Reduce, x, op="maximum"), activation=g.Fn("sign"))
    index = net.simple(g.Activation, hot, activation=g.RELU)
    graph = net.graph(net.simple(g.Embedding, index, weight=net.weight(3, 2)))
    got = run(graph, inputs := random_inputs(graph, 9, 3, 2), random_dy(graph, inputs))
    assert not got.inputs[x].any() and got.weights["embedding3", "weight"].any()


def test_fill():
    net = Net(10)
    x = net.input(5)
    start = net.simple(g.Fill, x, value=net.weight(11))
    y = net.simple(g.Combine, (net.dense(x, 11), start), op="multiply")
    graph = net.graph(y, start)
    inputs = random_inputs(graph, 10, 7, 4)

    def transcription(x, w):
        made = x["x0"] @ w["dense1", "weight"].T + w["dense1", "bias"]
        value = w["fill0", "value"]
        return {y: made * value, start: value.expand(7, 11)}

    check(graph, inputs, torch=transcription)
    check(graph, inputs, LENGTHS)
    check(graph, inputs, frozen=["fill0"])


# --------------------------------------------------------------------------------- what is around


def test_outputs_that_nobody_reads():
    """A layer whose output leads nowhere has no gradients, and is in nobody's way."""
    net = Net(11)
    x = net.input(5)
    h = net.dense(x, 6, activation=g.TANH)
    plain = net.graph(net.simple(g.Softmax, h))
    inputs = random_inputs(plain, 11, 5, 3)
    want = check(plain, inputs)
    for kind, fields in (
        (g.Affine, {"scale": net.weight(6)}), (g.LayerNorm, {"shift": net.weight(6)}),
        (g.Reduce, {"op": "sum"}), (g.Activation, {"activation": g.SILU}), (g.Softmax, {}),
        (g.Fill, {"value": net.weight(4)}), (g.Select, {"index": (0, 5)}),
        (g.Dense, {"weight": net.weight(2, 6)}),
    ):  # fmt: skip
        net.add(kind, h, ["y"], **fields)
    net.add(g.Concat, (h, h), [None])
    net.add(g.Combine, (h, h), [None], op="multiply")
    graph = net.graph(*(v.name for v in plain.outputs))
    got = check(graph, inputs)
    idle = {k for k in got.weights if k not in want.weights}
    assert not idle
    assert_same(got.all(), want.all())


def test_a_value_that_many_read():
    """Gradients of all its readers, of the model's output, and of a layer that has it twice."""
    net = Net(12)
    h = net.dense(net.input(5), 6)
    ends = [
        h, net.simple(g.Combine, (h, h), op="multiply"), net.simple(g.Concat, (h, h, h)),
        net.simple(g.Activation, h, activation=g.TANH), net.dense(h, 3),
        net.simple(g.LayerNorm, h, epsilon=1e-3), net.simple(g.Reduce, h, op="sum"),
    ]  # fmt: skip
    graph = net.graph(*ends)
    inputs = random_inputs(graph, 12, 7, 4)
    check(graph, inputs)
    check(graph, inputs, LENGTHS)
    check(graph, inputs, LENGTHS, frozen=["dense0"])


def test_inputs_of_any_axes():
    net = Net(13)
    x, c = net.input(6, order="1tbff"), net.input(6, time=False, order="b1ff")
    graph = net.graph(net.simple(g.Combine, (x, c), op="multiply"), net.dense(x, 4), order="tbf")
    check(graph, random_inputs(graph, 13, 5, 4), [4, 1, 0, 3, 2])


# ----------------------------------------------------------------------------------------- order


def backwards(lengths: list[int]) -> list[tuple[int, int]]:
    """(row, step) in the order of sums: rows ascending, in each the steps descending."""
    return [(b, t) for b, n in enumerate(lengths) for t in reversed(range(n))]


def chain(terms: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """fma after fma."""
    total = np.zeros(np.broadcast(*terms[0]).shape, np.float32)
    for a, b in terms:
        total = exact_fma(a, b, total)
    return total


def test_the_order_of_sums():
    """Gradients of weights are to the bit what exact fma give in the order of docs/TRAINING.md."""
    net = Net(14)
    x, index = net.input(9), net.input(2)
    made = [
        net.dense(x, 5), net.simple(g.Affine, x, scale=net.weight(9), shift=net.weight(9)),
        net.simple(g.LayerNorm, x, shift=net.weight(9), epsilon=1e-3),
        net.simple(g.Embedding, index, weight=net.weight(4, 3)), net.simple(g.Fill, x,
                                                                         value=net.weight(6)),
    ]  # fmt: skip
    graph = net.graph(*made)
    inputs, lengths = random_inputs(graph, 14, 7, 4), LENGTHS
    dy = random_dy(graph, inputs, lengths)
    got = run(graph, inputs, dy, lengths).weights
    at, one = backwards(lengths), np.float32(1)
    dense, affine, norm, embedding, fill = (dy[n] for n in made)
    want = {
        ("dense0", "weight"): chain([(dense[i][:, None], inputs[x][i][None]) for i in at]),
        ("dense0", "bias"): chain([(dense[i], one) for i in at]),
        ("affine1", "scale"): chain([(affine[i], inputs[x][i]) for i in at]),
        ("affine1", "shift"): chain([(affine[i], one) for i in at]),
        ("layernorm2", "shift"): chain([(norm[i], one) for i in at]),
        ("fill4", "value"): chain([(row, one) for row in fill]),
    }
    table = np.zeros((4, 3), np.float32)
    for i in at:
        for entry, part in zip(inputs[index][i], embedding[i].reshape(2, 4), strict=True):
            table[:, int(entry)] += part
    want["embedding3", "weight"] = table
    for key, a in want.items():
        assert_same({"w": got[key]}, {"w": a}, str(key))


def test_the_order_of_what_is_spread():
    """Steps descending, in each the features ascending; terms are flushed, and so is the sum."""
    net = Net(15)
    x, one = net.input(9), net.input(1, time=False)
    y = net.simple(g.Combine, (x, one), op="multiply")
    graph = net.graph(y)
    inputs = random_inputs(graph, 15, 7, 4)
    dy = random_dy(graph, inputs, LENGTHS)
    got = run(graph, inputs, dy, LENGTHS).inputs[one]
    want = np.zeros((7, 1), np.float32)
    for b, t in backwards(LENGTHS):
        for term in flush(dy[y][b, t] * inputs[x][b, t]):
            want[b, 0] += term
    assert_same({"dx": got}, {"dx": flush(want)})


#: Every layer alone: what it is, of which inputs: a has 4 features, b one, c and d are the same
#: without time, i is an index.
ALONE = {
    **{f"combine {op}": (g.Combine, "abcda"[op == "divide" :], {"op": op}) for op in OPS},
    **{f"reduce {op}": (g.Reduce, "a", {"op": op}) for op in ("sum", "mean", "maximum")},
    "concat": (g.Concat, "aba", {}),
    "select": (g.Select, "a", {"index": (0, 1, 1)}),
    "softmax": (g.Softmax, "a", {"size": 2}),
    "log softmax": (g.Softmax, "a", {"log": True}),
    "affine": (g.Affine, "a", {"scale": numbers(1, 4), "shift": numbers(2, 4)}),
    "affine of p": (g.Affine, "a", {"scale": numbers(3, 4), "activation": g.SILU}),
    "norm": (g.LayerNorm, "a", {"scale": numbers(4, 4), "shift": numbers(5, 4), "epsilon": 1.0}),
    "rms norm": (g.LayerNorm, "a", {"epsilon": 1.0, "rms": True}),
    "of y": (g.Activation, "a", {"activation": g.SIGMOID}),
    "of x": (g.Activation, "a", {"activation": g.SILU}),
    "linear": (g.Activation, "a", {"activation": g.LINEAR}),
    "dense": (g.Dense, "a", {"weight": numbers(6, 9, 4), "activation": g.TANH}),
    "dense of p": (g.Dense, "a", {"weight": numbers(7, 3, 4), "activation": g.SILU}),
    "table": (g.Embedding, "i", {"weight": numbers(8, 5, 3)}),
}  # fmt: skip


def alone(name: str) -> tuple[g.Graph, dict[str, np.ndarray]]:
    """Outputs and inputs lie step after step, not row after row."""
    kind, reads, fields = ALONE[name]
    net = Net(16)
    sizes = {"a": (4, True), "b": (1, True), "c": (4, False), "d": (1, False), "i": (2, True)}
    names = {k: net.input(n, time=t, order="tbf") for k, (n, t) in sizes.items() if k in reads}
    graph = net.graph(net.simple(kind, [names[k] for k in reads], **fields), order="tbf")
    inputs = random_inputs(graph, 16, 7, 4)
    if "divide" in name:
        inputs = {n: abs(a) + np.float32(0.5) for n, a in inputs.items()}
    return graph, inputs


@pytest.mark.parametrize("name", ALONE)
def test_what_is_handed_on_is_flushed(name):
    """No gradient of a value is below 2^-64 in magnitude, but 0."""
    graph, inputs = alone(name)
    dy = {n: d * np.float32(2.0**-66) for n, d in random_dy(graph, inputs).items()}
    got = run(graph, inputs, dy)
    for dx in got.inputs.values():
        assert not ((dx != 0) & (abs(dx) < 2.0**-64)).any()
    check_bits(graph, inputs, dy, None, got)


def test_flushed_on_the_way():
    """What Combine hands from input to input, and sums that nearly cancel."""
    net = Net(17)
    x, y, z = (net.input(1) for _ in range(3))
    graph = net.graph(net.simple(g.Combine, (x, y, z), op="multiply"))
    one, dy = np.ones((1, 1, 1), np.float32), np.full((1, 1, 1), 2.0**-30, np.float32)
    inputs = {x: one, y: one * np.float32(2.0**50), z: one * np.float32(2.0**-40)}
    got = run(graph, inputs, {graph.outputs[0].name: dy}).inputs
    assert [got[n].item() for n in (x, y, z)] == [0.0, 0.0, 2.0**20]

    net = Net(18)
    wide, one_each, lone = net.input(2), net.input(1), net.input(1, time=False)
    each = net.simple(g.Combine, (wide, one_each), op="add")
    all_steps = net.simple(g.Combine, (wide, lone), op="add")
    graph = net.graph(each, all_steps)
    inputs = random_inputs(graph, 18, 1, 2)
    near = np.array([[[2.0**-60 * (1 + 2.0**-23), -(2.0**-60)]] * 2], np.float32)
    got = run(graph, inputs, {each: near, all_steps: near}).inputs
    assert not got[one_each].any() and not got[lone].any()


@pytest.mark.parametrize("name", ALONE)
def test_steps_beyond_a_length(name):
    """Whatever their values and gradients are, they add nothing, and send zeros."""
    graph, inputs = alone(name)
    dy = random_dy(graph, inputs, LENGTHS)
    want = check(graph, inputs, LENGTHS)
    for b, n in enumerate(LENGTHS):
        for v in graph.inputs:
            if v.spec.time and name != "table":  # NaN would be no index
                inputs[v.name][n:, b] = np.nan
        for v in graph.outputs:
            dy[v.name][b, n:] = np.nan
    got = run(graph, inputs, dy, LENGTHS, used=True)
    assert_same(got.inputs, want.inputs)
    for key, a in want.weights.items():
        assert_same({"w": got.weights[key]}, {"w": a}, str(key))
    for v in graph.inputs:
        for b, n in enumerate(LENGTHS):
            assert not (v.spec.time and got.inputs[v.name][b, n:].any())


# ---------------------------------------------------------------------------------------- random


def grow(net: Net, rng: np.random.Generator, ends: list[str]) -> None:
    """One more layer behind one of the values, or several."""
    x = ends[int(rng.integers(len(ends)))]
    spec = net.specs[x]
    n = spec.features
    alike = [e for e in net.specs if net.specs[e].time in (None, spec.time)]
    timed = [e for e in net.specs if net.specs[e].time == spec.time]

    def weight(*shape: int) -> np.ndarray | None:
        return net.weight(*shape) if rng.random() < 0.7 else None

    def pick(choices):
        return choices[int(rng.integers(len(choices)))]

    fn = pick(TAME_FUNCTIONS)
    match int(rng.integers(10)):
        case 0:
            y = net.simple(g.Activation, x, activation=fn)
        case 1:
            size = pick([0, *(k for k in range(1, n + 1) if n % k == 0)])
            y = net.simple(g.Softmax, x, size=size, log=bool(rng.random() < 0.3))
        case 2:
            y = net.simple(g.Affine, x, scale=weight(n), shift=weight(n), activation=fn)
        case 3:
            y = net.simple(
                g.LayerNorm, x, scale=weight(n), shift=weight(n), epsilon=pick((0.1, 1.0)),
                rms=bool(rng.random() < 0.4),
            )  # fmt: skip
        case 4 | 5:
            fit = [e for e in alike if net.specs[e].features in (1, n)]
            some = [x, *(pick(fit) for _ in range(int(rng.integers(1, 4))))]
            rng.shuffle(some)
            op = pick([o for o in OPS if o != "divide"])
            if op == "multiply":
                some = [net.simple(g.Activation, e, activation=g.TANH) for e in some[:3]]
            y = net.simple(g.Combine, some, op=op)
        case 6:
            y = net.simple(g.Concat, [x, *(pick(timed) for _ in range(int(rng.integers(3))))])
        case 7:
            index = tuple(int(i) for i in rng.integers(0, n, int(rng.integers(1, 9))))
            y = net.simple(g.Select, x, index=index)
        case 8:
            y = net.simple(g.Reduce, x, op=pick(("sum", "mean", "maximum", "minimum")))
        case _:
            bias = bool(rng.random() < 0.7)
            y = net.dense(x, int(pick(SIZES[:12])), bias=bias, activation=fn)
    ends.append(y)


def random_pointwise(seed: int) -> tuple[g.Graph, np.random.Generator]:
    """Up to eight layers on features, one or two inputs, tables, values of the whole row."""
    rng = np.random.default_rng(seed)
    net = Net(seed, scale=1.5)
    x = net.input(int(rng.integers(1, 20)), time=bool(rng.random() < 0.8))
    ends = [x]
    if rng.random() < 0.3:
        ends.append(net.input(int(rng.integers(1, 20)), time=False))
    if rng.random() < 0.3:
        index = net.input(int(rng.integers(1, 3)))
        table = net.weight(int(rng.integers(1, 20)), 6)
        ends.append(net.simple(g.Embedding, index, weight=table))
    if rng.random() < 0.3:
        ends.append(net.simple(g.Fill, x, value=net.weight(int(rng.integers(1, 20)))))
    given = {v.name for v in net.inputs}
    for _ in range(int(rng.integers(1, 9))):
        grow(net, rng, ends)
    made = [e for e in ends if e not in given]
    read = {n for layer in net.layers for n in layer.inputs}
    outputs = [e for e in made if e not in read or rng.random() < 0.2]
    return net.graph(*dict.fromkeys(outputs)), rng


@cases.settings(40)
@hypothesis.given(seed=SEEDS)
def test_random(seed):
    graph, rng = random_pointwise(seed)
    timed = any(v.spec.time for v in graph.inputs)
    batch, time = int(rng.integers(1, 8)), int(rng.integers(1, 6)) if timed else 1
    inputs = random_inputs(graph, seed, batch, time)
    lengths = rng.integers(0, time + 1, batch) if timed and rng.random() < 0.5 else None
    names = [layer.name for layer in graph.layers]
    frozen = [n for n in names if rng.random() < 0.2]
    check(graph, inputs, lengths, frozen=frozen, seed=seed % 1000, each=5, directions=1)
