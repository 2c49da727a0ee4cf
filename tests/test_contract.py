"""The numerics contract: the same bits on every target, however rows are batched and time is cut.

Two kinds of test. Some compare the core with itself: one digest over all targets, batch splits,
chunks, panel widths. The others compute every bit in Python, with an exact fma and the chain that
docs/DESIGN.md prescribes: they notice when all targets change together.
"""

import ctypes
from fractions import Fraction

import hypothesis
import numpy as np
import pytest
from helpers import (
    BATCH,
    DATA,
    FUNCTIONS,
    LONG,
    MODE_SOURCE,
    TIME,
    Net,
    assert_same,
    bits,
    compile_c,
    cuts,
    exact_chain,
    exact_fma,
    flush,
    fp_modes,
    join,
    lstm_graph,
    named,
    predict,
    random_graph,
    random_inputs,
    take,
    target,
)
from hypothesis import strategies as st

import lstmc
from lstmc import functional as fn
from lstmc import graph as g
from lstmc import reference
from lstmc.model import from_graph, index_inputs

TARGETS = lstmc.targets()
PANELS = (1, 2, 4, 8, 16)
TINY = np.float32(2.0**-64)


def each_target(test):
    return pytest.mark.parametrize("name", TARGETS)(test)


# --------------------------------------------------------------------------- the core with itself


def run_stream(model, inputs, pieces, batch):
    """stream.run over pieces of time."""
    graph, s = model.graph, model.stream(batch)
    parts = []
    for piece in pieces:
        x = take(graph.inputs, inputs, TIME, piece)
        parts.append(named(graph, s.run(x if len(x) > 1 else next(iter(x.values())))))
    return join(graph.outputs, parts, TIME), s


def run_steps(model, inputs, time, batch):
    """stream.step for each step: arrays are [batch, features] whatever the axes."""
    graph, s = model.graph, model.stream(batch)
    outs = []
    for t in range(time):
        given = take(graph.inputs, inputs, TIME, [t])
        x = {
            v.name: reference.to_internal(v, given[v.name]).reshape(batch, -1).astype(np.float32)
            for v in graph.inputs
        }
        outs.append(named(graph, s.step(x if len(x) > 1 else next(iter(x.values())))))
    parts = [
        {
            v.name: reference.from_internal(
                v, out[v.name].reshape(batch, *[1] * v.axes.count(TIME), -1)
            )
            for v in graph.outputs
        }
        for out in outs
    ]
    return join(graph.outputs, parts, TIME), s


def assert_states_equal(got, want):
    for layer, states in want.state.items():
        if isinstance(states, np.ndarray):  # of a stateful model
            assert_same({layer: got.state[layer]}, {layer: states}, "state")
        else:
            assert_same(got.state[layer], states, f"state of {layer}")


def check_graph(graph, seed, batch, time, scale=1.0, inputs=None):
    """Everything the contract promises about one graph."""
    rng = np.random.default_rng([seed, 3])
    inputs = inputs or random_inputs(graph, seed, batch, time, scale)
    models = {p: from_graph(graph, panel=p) for p in PANELS}
    model = models[16]
    with target("scalar"):
        want = predict(model, inputs)
        if graph.sequential:
            wanted_stream = run_stream(model, inputs, [range(time)], batch)[1]
    for name in TARGETS:
        with target(name):
            assert_same(predict(model, inputs), want, name)
            for panel, other in models.items():
                assert_same(predict(other, inputs), want, f"{name}, panel {panel}")
            rows = [predict(model, take(graph.inputs, inputs, BATCH, [b])) for b in range(batch)]
            assert_same(join(graph.outputs, rows, BATCH), want, f"{name}, row by row")
            parts = [
                predict(model, take(graph.inputs, inputs, BATCH, piece))
                for piece in cuts(rng, batch)
            ]
            assert_same(join(graph.outputs, parts, BATCH), want, f"{name}, batches")
            panel = int(rng.choice(PANELS))
            if graph.sequential:
                for pieces in ([range(time)], cuts(rng, time), cuts(rng, time)):
                    got, s = run_stream(models[panel], inputs, pieces, batch)
                    what = f"{name}, panel {panel}, cut {[len(p) for p in pieces]}"
                    assert_same(got, want, what)
                    assert_states_equal(s, wanted_stream)
                got, s = run_steps(models[panel], inputs, time, batch)
                assert_same(got, want, f"{name}, panel {panel}, steps")
                assert_states_equal(s, wanted_stream)
            if all(v.spec.time for v in graph.inputs):
                check_lengths(models[panel], inputs, batch, time, rng, name)
            golden = model.golden
            assert model._run_golden(golden) == golden.digests


def zero_sequences(graph):
    """Names of outputs that a layer writes as +0 beyond a row's valid steps."""
    kinds = (g.Recurrent, *reference.sequence.CUT)
    return {layer.outputs[0] for layer in graph.layers if isinstance(layer, kinds)}


def check_lengths(model, inputs, batch, time, rng, what):
    """A row with length n is the row alone for n steps; beyond, a recurrent layer gives +0."""
    graph = model.graph
    specs, outside = graph.infer(), graph.interface
    lengths = rng.integers(0, time + 1, batch)
    lengths[rng.integers(batch)] = 0
    got = predict(model, inputs, lengths)
    zero = zero_sequences(graph)
    for b, n in enumerate(int(n) for n in lengths):
        row = take(graph.outputs, got, BATCH, [b])
        valid = row.copy()
        for v in graph.outputs:
            if not outside[v.name].time:
                continue
            count = outside[v.name].time.count(dict.fromkeys(graph.clocks, n))
            steps = row[v.name].shape[v.axes.index(TIME)]
            valid |= take([v], row, TIME, range(count))
            beyond = take([v], row, TIME, range(count, steps))[v.name]
            if v.name in zero or graph.bindings:
                assert not bits(beyond).any(), (what, v.name, "not +0 beyond the length")
        if n == 0:
            fixed = {f.outputs[0]: f.value for f in graph.layers if isinstance(f, g.Fill)}
            for layer in (f for f in graph.layers if isinstance(f, g.Recurrent)):
                if specs[layer.inputs[0]].time.count(dict.fromkeys(graph.clocks, 0)):
                    continue  # padding is not nothing
                for i, o in enumerate(layer.outputs[1:]):
                    if o in row:  # the state of an empty row
                        first = fixed.get(layer.optional(2 + i), np.zeros(row[o].size))
                        np.testing.assert_array_equal(bits(row[o]).ravel(), bits(first), what)
            continue
        alone = predict(
            model, take(graph.inputs, take(graph.inputs, inputs, BATCH, [b]), TIME, range(n))
        )
        assert_same(valid, alone, f"{what}, length {n}")


def table():
    """Graphs that were each chosen for something the kernels do."""
    cases = {}

    def case(name, graph, batch, time):
        cases[name] = (graph, batch, time)

    # Every tail: half panels, lanes that stick out, one unit.
    for hidden in (1, 3, 8, 9, 16, 17, 24, 31, 50):
        case(f"lstm {hidden}", lstm_graph(3, hidden, bias=hidden % 2 == 0), 7, 5)
    # Batches around the tiles of 2, 3, 5 and 6 rows, and around the rows computed ahead (4).
    for batch in (1, 2, 3, 4, 5, 6, 11, 13):
        case(f"batch {batch}", lstm_graph(5, 20, order="tbf"), batch, 6)
    # Columns beyond one block of k: 192 is 1.5 * 128.
    case("k blocks", lstm_graph(70, 150), 7, 3)
    case("k blocks ahead", lstm_graph(300, 10), 3, 4)
    # More steps than one chunk of products ahead holds (lstm.c: AHEAD_FLOATS, AHEAD_INPUTS):
    # 65536 / (4 * 304 * 4) = 13 for four rows, 65536 / (4 * 96) = 170 for one.
    case("ahead chunks", lstm_graph(7, 300, outputs="sc"), 4, 30)
    case("ahead chunks of one row", lstm_graph(9, 90), 1, 400)
    for i, f in enumerate(FUNCTIONS):
        options = {"gate": g.HARD_SIGMOID_ONNX, "candidate": f, "output": FUNCTIONS[i - 3]}
        case(f"lstm {f}", lstm_graph(4, 13, **options), 4, 6)
        net = Net(i)
        case(f"dense {f}", net.graph(net.dense(net.input(9), 21, activation=f), order="tbf"), 5, 4)
    net = Net(1)
    wide = net.dense(net.input(300), 45, activation=g.Fn("gelu"))
    case("k blocks, then a function apart", net.graph(wide), 7, 3)
    net = Net(1)
    x = net.input(4, order="tbf")
    first = net.lstm(x, 12, outputs="s")["s"]
    second = net.lstm(net.dense(first, 6, activation=g.RELU), 9, bias=False, outputs="sh")
    last = net.simple(g.Softmax, net.dense(net.simple(g.LastStep, second["s"]), 11))
    case("stack", net.graph(last, second["h"], first, order="tbf"), 5, 7)
    net = Net(2)
    a = net.lstm(net.input(3), 5, outputs="c")["c"]
    b = net.dense(net.lstm(net.input(2, order="tbf"), 40, outputs="s")["s"], 250)
    case("two inputs", net.graph(a, net.dense(b, 33), net.simple(g.LastStep, b)), 4, 5)
    net = Net(3)
    x = net.input(1, order="bt")
    case("no feature axis", net.graph(net.lstm(x, 6, outputs="h")["h"]), 3, 5)
    net = Net(4)
    x = net.input(300, time=False, order="bf")
    case("no time", net.graph(net.dense(x, 35), net.simple(g.Softmax, x), order="bf"), 8, 1)
    net = Net(5)
    x = net.input(3)
    fan = [net.dense(x, 4 + i) for i in range(20)]
    ends = [net.lstm(d, 2, outputs="h")["h"] for d in fan]
    case("more live values than the plan tracks", net.graph(*ends), 2, 4)
    return cases


TABLE = table()


@pytest.mark.parametrize("case", TABLE)
def test_one_digest(case):
    graph, batch, time = TABLE[case]
    check_graph(graph, 1, batch, time)


@hypothesis.settings(
    max_examples=4000 if LONG else 150, deadline=None, derandomize=not LONG, database=None,
    print_blob=True,
)  # fmt: skip
@hypothesis.given(
    seed=st.integers(0, 2**32 - 1), batch=st.integers(1, 13), time=st.integers(1, 9),
    scale=st.sampled_from([1.0, 1.0, 1e-20, 30.0, 1e30]),
)  # fmt: skip
def test_one_digest_of_random_graphs(seed, batch, time, scale):
    graph = random_graph(seed, sequential=seed % 4 != 0)
    time_of_all = time if any(v.spec.time for v in graph.inputs + graph.outputs) else 1
    check_graph(graph, seed, batch, time_of_all, scale)


@pytest.mark.skipif(not LONG, reason="LSTMC_LONG=1 runs large shapes")
@pytest.mark.parametrize("seed", range(12))
def test_one_digest_of_large_graphs(seed):
    rng = np.random.default_rng(seed)
    net = Net(seed)
    x = net.input(int(rng.integers(1, 400)), order="tbf" if seed % 2 else "btf")
    s = net.lstm(x, int(rng.integers(100, 350)), outputs="s")["s"]
    s = net.lstm(net.dense(s, int(rng.integers(1, 300))), int(rng.integers(1, 300)))
    check_graph(net.graph(*s.values()), seed, int(rng.integers(1, 20)), int(rng.integers(2, 10)))


def test_the_golden_digest_is_of_every_target_and_panel():
    graph = random_graph(11)
    digests = set()
    for name in TARGETS:
        with target(name):
            for panel in PANELS:
                digests.add(tuple(from_graph(graph, panel=panel).golden.digests.items()))
    assert len(digests) == 1


# ------------------------------------------------------------------------- every bit by its rule


def test_exact_fma_is_exact():
    """The fma these tests rely on, against rationals."""
    rng = np.random.default_rng(5)
    n = 4000
    a, b, c = (rng.integers(0, 2**32, n, np.uint32).view(np.float32) for _ in range(3))
    with np.errstate(invalid="ignore", over="ignore"):
        near = (a.astype(float) * b).astype(np.float32)  # cancellation, and ties of all kinds
    c[::2] = -np.nextafter(near, np.float32(rng.choice([-1, 1])))[::2]
    one = np.float32(1)
    u = np.float32(2.0**-12)
    a[:64], b[:64] = one + u, one - u  # 1 - 2^-24: a tie but for the last term
    c[:64] = np.ldexp(one, np.arange(-32, 32, dtype=np.int32))
    with np.errstate(invalid="ignore", over="ignore"):
        got = exact_fma(a, b, c)
    for x, y, z, r in zip(a, b, c, got, strict=True):
        if not np.isfinite([x, y, z, r]).all() or abs(r) > 1e38:
            continue
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        error = abs(exact - Fraction(float(r)))
        for side in (-np.inf, np.inf):
            other = abs(exact - Fraction(float(np.nextafter(r, np.float32(side)))))
            assert error < other or (error == other and not int(r.view(np.uint32)) & 1)


def expected_lstm(layer, x, h=None, c=None):
    """[batch, time, H], and the last h and c, to the bit: [batch, time, I] in."""
    batch, time, _ = x.shape
    hidden = layer.hidden_size
    h = np.zeros((batch, hidden), np.float32) if h is None else h
    c = np.zeros((batch, hidden), np.float32) if c is None else c
    bias = np.zeros(4 * hidden, np.float32) if layer.bias is None else layer.bias
    sequence = np.empty((batch, time, hidden), np.float32)
    with np.errstate(all="ignore"):
        for t in range(time):
            p = np.broadcast_to(bias, (batch, 4 * hidden))
            p = exact_chain(layer.weight_ih, x[:, t], p)
            p = exact_chain(layer.weight_hh, h, p)
            i, f, candidate, o = np.split(p, 4, axis=1)
            i, f, o = (fn.apply(layer.gate, v) for v in (i, f, o))
            candidate = fn.apply(layer.candidate, candidate)
            c = flush(exact_fma(f, c, i * candidate))
            h = flush(o * fn.apply(layer.output, c))
            sequence[:, t] = h
    return sequence, h, c


def expected_dense(layer, x):
    """[rows, units] to the bit."""
    bias = np.zeros(len(layer.weight), np.float32) if layer.bias is None else layer.bias
    with np.errstate(all="ignore"):
        p = exact_chain(layer.weight, x, np.broadcast_to(bias, (len(x), len(bias))))
        return flush(fn.apply(layer.activation, p))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("features", "hidden", "units"),
    [(3, 5, 4), (10, 16, 1), (1, 24, 17), (16, 50, 10), (33, 130, 40), (20, 300, 7), (260, 9, 33)],
)
def test_every_bit_of_lstm_and_dense(features, hidden, units, bias):
    """A sum in another order, an unfused product, a missing flush: each changes some bit here."""
    net = Net(hidden)
    x = net.input(features)
    out = net.lstm(x, hidden, bias=bias)
    y = net.dense(out["s"], units, bias=bias, activation=g.TANH)
    wide = net.dense(y, units + 1, bias=bias)
    graph = net.graph(*out.values(), y, wide)
    batch, time = 8, 4 if hidden < 200 else 3
    inputs = random_inputs(graph, hidden, batch, time)
    s, h, c = expected_lstm(graph.layers[0], inputs[x])
    dense = expected_dense(graph.layers[1], s.reshape(-1, hidden))
    want = {out["s"]: s, out["h"]: h, out["c"]: c, y: dense.reshape(batch, time, -1)}
    want[wide] = expected_dense(graph.layers[2], dense).reshape(batch, time, -1)
    for panel in (16, 4, 1):
        model = from_graph(graph, panel=panel)
        for name in TARGETS:
            with target(name):
                # All at once: tiles of rows. Few rows: products ahead. One row, step by step.
                for rows in ([range(8)], [range(3), range(3, 7), range(7, 8)]):
                    parts = [predict(model, take(graph.inputs, inputs, BATCH, r)) for r in rows]
                    what = f"{name}, panel {panel}, {len(rows)} parts"
                    assert_same(join(graph.outputs, parts, BATCH), want, what)
                first = take(graph.inputs, inputs, BATCH, [0])
                got, _ = run_steps(model, first, time, 1)
                assert_same(got, take(graph.outputs, want, BATCH, [0]), f"{name}, steps")


@pytest.mark.parametrize("f", FUNCTIONS, ids=str)
def test_every_bit_of_other_functions(f):
    net = Net(9, scale=2.0)
    out = net.lstm(net.input(4), 11, gate=g.HARD_SIGMOID_KERAS3, candidate=f, output=f)
    y = net.dense(out["s"], 6, activation=f)
    z = net.simple(g.Activation, y, activation=f)
    graph = net.graph(*out.values(), y, z)
    inputs = random_inputs(graph, 1, 5, 6)
    s, h, c = expected_lstm(graph.layers[0], inputs["x0"])
    dense = expected_dense(graph.layers[1], s.reshape(-1, 11)).reshape(5, 6, 6)
    want = {out["s"]: s, out["h"]: h, out["c"]: c, y: dense, z: flush(fn.apply(f, dense))}
    for name in TARGETS:
        with target(name):
            assert_same(predict(from_graph(graph), inputs), want, name)


@each_target
@pytest.mark.parametrize("which", ["gate", "candidate", "output"])
def test_one_slow_function_is_enough(name, which):
    """The LSTM's fastest kernels know six functions; any other one needs the general cell."""
    net = Net(9)
    out = net.lstm(net.input(4), 21, **{which: g.Fn("softsign")})
    graph = net.graph(*out.values())
    inputs = random_inputs(graph, 1, 5, 6)
    s, h, c = expected_lstm(graph.layers[0], inputs["x0"])
    with target(name):
        got = predict(from_graph(graph), inputs)
    assert_same(got, {out["s"]: s, out["h"]: h, out["c"]: c}, which)


@each_target
def test_every_bit_of_softmax(name):
    """exp(x - max) / sum, the sum for ascending k."""
    net = Net(3)
    graph = net.graph(net.simple(g.Softmax, net.input(37, time=False, order="bf")), order="bf")
    x = random_inputs(graph, 2, 6, 1, 30.0)["x0"]
    e = fn.exp(x - x.max(axis=1, keepdims=True))
    total = np.zeros(6, np.float32)
    for k in range(37):
        total = total + e[:, k]
    with target(name):
        got = from_graph(graph).predict(x)
    assert_same({"y": got}, {"y": flush(e / total[:, None])})


def test_going_on_from_a_given_state():
    graph = lstm_graph(3, 21)
    model = from_graph(graph)
    rng = np.random.default_rng(8)
    x, h, c = (rng.standard_normal(s).astype(np.float32) for s in ((4, 5, 3), (4, 21), (4, 21)))
    s, last_h, last_c = expected_lstm(graph.layers[0], x, h, c)
    for name in TARGETS:
        with target(name):
            stream = model.stream(4)
            stream.state = {graph.layers[0].name: {"h": h, "c": c}}
            got = list(stream.run(x).values())
        assert_same(dict(enumerate(got)), {0: s, 1: last_h, 2: last_c}, name)


# ------------------------------------------------------------------------ modes, tails, NaN, inf


@pytest.fixture(scope="module")
def mode(tmp_path_factory):
    """Get and set the calling thread's floating-point control word."""
    if not fp_modes():
        pytest.skip("no way to set the floating-point mode of this machine")
    path = tmp_path_factory.mktemp("mode") / "mode.c"
    path.write_text(MODE_SOURCE)
    library = ctypes.CDLL(str(compile_c(path.with_suffix(".so"), [path], ["-shared", "-fPIC"])))
    library.get_mode.restype = ctypes.c_uint64
    library.set_mode.argtypes = [ctypes.c_uint64]
    return library


@pytest.mark.parametrize("set_bits", fp_modes().values(), ids=list(fp_modes()))
def test_the_callers_float_mode_changes_nothing(mode, set_bits):
    sticky = 0x3F
    graph = TABLE["stack"][0]
    model = from_graph(graph)
    inputs = random_inputs(graph, 4, 5, 9)
    for a in inputs.values():
        a[::2] *= np.float32(1e-38)  # subnormals among the inputs and products
        a[1::4] *= np.float32(1e-42)
    x = np.concatenate([a.ravel() for a in inputs.values()] + [np.float32([-90, -87.3, 1e-40])])
    want = predict(model, inputs)
    want["map"] = fn.tanh(x) + fn.sigmoid(x)
    step = np.ascontiguousarray(inputs["x0"][0])
    stream = model.stream(5)
    want |= {f"step {n}": a for n, a in stream.step(step).items()}
    saved = mode.get_mode()
    for name in TARGETS:
        with target(name):
            stream = model.stream(5)
            mode.set_mode(saved | set_bits)
            try:
                got = predict(model, inputs)
                after_predict = mode.get_mode()
                tanh, sigmoid = fn.tanh(x), fn.sigmoid(x)
                steps = stream.step(step)
                after = mode.get_mode()
            finally:
                mode.set_mode(saved)
        assert after_predict & ~sticky == (saved | set_bits) & ~sticky
        assert after & ~sticky == (saved | set_bits) & ~sticky
        got["map"] = tanh + sigmoid
        assert_same(got | {f"step {n}": a for n, a in steps.items()}, want, name)
    assert mode.get_mode() & ~sticky == saved & ~sticky


def assert_no_small(a, what):
    small = (np.abs(a) < TINY) & (bits(a) != 0)
    assert not small.any(), (what, a[small][:3])


@each_target
@pytest.mark.parametrize("seed", range(4))
def test_decaying_tails_become_zero(name, seed):
    """A silent input: states decay below 2^-64 and are +0 then, never subnormal, never -0."""
    net = Net(seed)
    out = net.lstm(net.input(3), 13, bias=False, output=g.LINEAR if seed % 2 else g.TANH)
    y = net.dense(out["s"], 4, bias=False, activation=g.LINEAR)
    model = from_graph(net.graph(*out.values(), y))
    x = random_inputs(model.graph, seed, 3, 400)["x0"]
    x[:, 4:] = (0.0, -0.0, 1e-39, -1e-25)[seed]
    with target(name):
        stream = model.stream(3)
        smallest = np.inf
        for t in range(x.shape[1]):
            outs = stream.step(np.ascontiguousarray(x[:, t]))
            for array in (*outs.values(), *stream.state["lstm0"].values()):
                assert_no_small(array, t)
                if array.any():
                    smallest = min(smallest, np.abs(array[array != 0]).min())
        assert smallest < 2.0**-60  # it did decay that far
        assert not bits(stream.state["lstm0"]["c"]).any()
        assert not bits(outs[y]).any()


@each_target
def test_states_are_never_small(name):
    """Whatever a layer keeps, and whatever is written into a state."""
    net = Net(6)
    x = net.input(4)
    out = net.lstm(x, 5, outputs="s")["s"]
    model = from_graph(net.graph(net.simple(g.LastStep, out), net.simple(g.LastStep, x)))
    tiny = np.float32([[1e-20, -1e-20, 1e-40, -0.0]])
    with target(name):
        s = model.stream()
        s.step(tiny)
        for layer, states in s.state.items():
            for state, array in states.items():
                assert_no_small(array, (layer, state))
        shapes = {n: {k: a.shape for k, a in d.items()} for n, d in s.state.items()}
        for value in (1e-20, -1e-20, 1e-40, -0.0, -(2.0**-64) * (1 - 2.0**-24)):
            s.state = {
                n: {k: np.full(shape, value, np.float32) for k, shape in d.items()}
                for n, d in shapes.items()
            }
            assert not any(bits(a).any() for d in s.state.values() for a in d.values())
        for value in (2.0**-64, -(2.0**-64), np.inf, np.nan):
            s.state = {
                n: {k: np.full(shape, value, np.float32) for k, shape in d.items()}
                for n, d in shapes.items()
            }
            want = bits(np.float32(value))
            assert all((bits(a) == want).all() for d in s.state.values() for a in d.values())


@each_target
def test_what_layers_hand_on_is_never_small(name):
    models = []
    for start in range(0, len(FUNCTIONS), 15):  # a model has at most 32 outputs
        net = Net(7)
        x = net.input(6)
        some = FUNCTIONS[start : start + 15]
        names = [net.simple(g.Activation, x, activation=f) for f in some]
        names += [net.simple(g.LastStep, x), net.simple(g.Softmax, x)]
        names += [net.dense(x, 6, bias=False, activation=f) for f in some]
        models.append(from_graph(net.graph(*names)))
    values = np.float32([1e-20, -1e-20, 1e-40, -1e-40, -0.0, -1e-19])
    inputs = np.stack(
        [values, values[::-1], -90 + values, np.float32([0, -60, -87, -88, -80, -50])]
    )
    with target(name):
        for model in models:
            for value, array in model.predict(inputs[:, None]).items():
                assert_no_small(array, value)


@each_target
def test_nan_and_infinity_stay_in_their_row(name):
    net = Net(2)
    out = net.lstm(net.input(5), 19)
    y = net.dense(out["s"], 7, activation=g.RELU)
    z = net.simple(g.Softmax, y)
    graph = net.graph(*out.values(), y, z)
    model = from_graph(graph)
    clean = random_inputs(graph, 1, 9, 6)
    want = predict(model, clean)
    for value in (np.nan, np.inf, -np.inf):
        for row in (0, 4, 8):
            x = clean["x0"].copy()
            x[row, 2, 3] = value
            s, _, c = expected_lstm(graph.layers[0], x)
            with target(name):
                got = predict(model, {"x0": x})
            others = [b for b in range(9) if b != row]
            assert_same(
                take(graph.outputs, got, BATCH, others), take(graph.outputs, want, BATCH, others),
                f"{value} in row {row}",
            )  # fmt: skip
            before = take(graph.outputs[:1] + graph.outputs[3:], got, TIME, range(2))
            for n, a in before.items():
                assert_same({n: a}, {n: want[n][:, :2]}, f"before {value}")
            # Gates of an infinite sum saturate; a NaN takes everything that depends on it.
            assert_same({"s": got[out["s"]], "c": got[out["c"]]}, {"s": s, "c": c}, f"{value}")
            dense = expected_dense(graph.layers[1], s.reshape(-1, 19)).reshape(9, 6, 7)
            assert_same({"y": got[y]}, {"y": dense})
            if np.isnan(value):
                for n in (*out.values(), y, z):
                    a = got[n][row, 2:] if got[n].ndim == 3 else got[n][row]
                    assert np.isnan(a).all(), n


@each_target
def test_nan_goes_through_every_function(name):
    nan = np.float32([np.nan, -np.nan, 0.5, np.nan] * 9)
    wide = np.float32([np.inf, -np.inf, 3e38, -3e38] * 9)
    # The others' limits are in test_activations.py.
    want_wide = {
        "linear": wide, "sigmoid": [1, 0, 1, 0] * 9, "tanh": [1, -1, 1, -1] * 9,
        "relu": [np.inf, 0, 3e38, 0] * 9, "hard_sigmoid": [1, 0, 1, 0] * 9,
        "exponential": [np.inf, 0, np.inf, 0] * 9,
    }  # fmt: skip
    with target(name):
        for f in FUNCTIONS:
            if f.kind == "not_equal":  # nothing is equal to NaN
                assert_same({"y": fn.apply(f, nan)}, {"y": np.isnan(nan).astype(np.float32)})
                continue
            got = fn.apply(f, nan)
            assert (np.isnan(got) == np.isnan(nan)).all(), f
            # and in a layer, at every place of a vector
            net = Net(1)
            graph = net.graph(net.simple(g.Activation, net.input(36), activation=f))
            got = from_graph(graph).predict(nan[None, None])
            assert (np.isnan(got) == np.isnan(nan)).all(), f
            if f.kind in want_wide:
                assert_same({"y": fn.apply(f, wide)}, {"y": np.float32(want_wide[f.kind])}, str(f))
        assert np.isnan(fn.relu(np.float32([np.nan]))).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_extreme_values_are_the_same_everywhere(value):
    for seed in range(6):
        graph = random_graph(seed)
        inputs = random_inputs(graph, seed, 4, 5)
        for name in inputs.keys() - index_inputs(graph).keys():
            inputs[name].reshape(-1)[:: max(1, inputs[name].size // 3)] = value
        model = from_graph(graph)
        with target("scalar"):
            want = predict(model, inputs)
        for name in TARGETS[1:]:
            with target(name):
                assert_same(predict(model, inputs), want, f"seed {seed}, {name}")
                for b in range(4):
                    row = predict(model, take(graph.inputs, inputs, BATCH, [b]))
                    assert_same(row, take(graph.outputs, want, BATCH, [b]), f"{name}, row {b}")


def test_nan_weights_are_allowed_and_deterministic():
    graph = lstm_graph(3, 9)
    graph.layers[0].weight_hh[5, 2] = np.nan
    model = from_graph(graph)
    inputs = random_inputs(graph, 0, 3, 4)
    s, h, c = expected_lstm(graph.layers[0], inputs["x0"])
    for name in TARGETS:
        with target(name):
            got = list(predict(model, inputs).values())
        assert_same(dict(enumerate(got)), {0: s, 1: h, 2: c}, name)


def test_old_files_on_every_target_and_split():
    for path in sorted(DATA.glob("v1_*.lstmc")):
        model = lstmc.load(path, verify=True)
        graph = model.graph
        time = next((v.time for v in graph.inputs if v.time), 6)
        inputs = random_inputs(graph, 1, 3, time)
        with target("scalar"):
            want = predict(model, inputs)
        for name in TARGETS:
            with target(name):
                model.check_golden()
                assert_same(predict(model, inputs), want, f"{path.name}, {name}")
