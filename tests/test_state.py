"""States bound: a stateful model is its source called again and again, bit for bit, in Python's
stream and predict, on every target, with every batch, cut and number of threads."""

import copy
import pickle

import hypothesis
import numpy as np
import pytest
from helpers import (
    BATCH,
    LONG,
    TIME,
    Net,
    assert_same,
    named,
    predict,
    random_inputs,
    stateful_graph,
    target,
)
from hypothesis import strategies as st
from lstmc.converters.state import bind
from state_nets import counting, random_call
from test_contract import check_graph
from test_oracle import assert_close

import lstmc
from lstmc import ConversionError, ShapeError, _core, inspect, layerwise, reference
from lstmc import graph as g
from lstmc.calls import one_after_another
from lstmc.model import from_graph

SEEDS = st.integers(0, 2**32 - 1)


def some(examples):
    return hypothesis.settings(
        max_examples=examples * (20 if LONG else 1), deadline=None, derandomize=not LONG,
        database=None, print_blob=True,
    )  # fmt: skip


def bound(call, pairs):
    """The bound graph of a copy of a call's, and the model."""
    graph = bind(copy.deepcopy(call), pairs)
    return graph, from_graph(graph)


def call_after_call(call, graph, pairs, inputs):
    """The unbound model in a loop."""
    model = from_graph(copy.deepcopy(call))
    return one_after_another(call, graph, pairs, lambda x: predict(model, x))(inputs)


# ----------------------------------------------------------------------- a call becomes a step


@some(60)
@hypothesis.given(seed=SEEDS, batch=st.integers(1, 6), time=st.integers(1, 7))
def test_bound_is_unbound_called_in_a_loop(seed, batch, time):
    call, pairs = random_call(seed)
    graph, model = bound(call, pairs)
    assert set(model.inputs) | set(model.states) == {v.name for v in call.inputs}
    assert set(model.states) == set(pairs.values())
    inputs = random_inputs(graph, seed, batch, time)
    want = call_after_call(call, graph, pairs, inputs)
    assert_same(predict(model, inputs), want)


@some(20)
@hypothesis.given(
    seed=SEEDS, batch=st.integers(1, 9), time=st.integers(1, 7),
    scale=st.sampled_from([1.0, 1e-20, 1e30]),
)  # fmt: skip
def test_the_contract_holds(seed, batch, time, scale):
    """Targets, panels, rows, batches, cuts, steps, lengths and states."""
    graph, _ = bound(*random_call(seed))
    check_graph(graph, seed, batch, time, scale)


@some(80)
@hypothesis.given(seed=SEEDS, batch=st.integers(1, 4), time=st.integers(1, 6), cut=st.booleans())
def test_the_oracle_agrees(seed, batch, time, cut):
    graph, model = bound(*random_call(seed, bounded=True))
    inputs = random_inputs(graph, seed, batch, time)
    lengths = np.random.default_rng(seed).integers(0, time + 1, batch) if cut else None
    want = reference.run(graph, inputs, lengths)
    assert_close(predict(model, inputs, lengths), want, floor=1e-3)


def test_the_oracle_has_no_steps_to_go():
    graph, model = bound(counting(), "next:state")
    assert reference.run(graph, {"x": np.zeros((3, 0, 4))})["y"].shape == (3, 0, 4)
    assert model.predict(np.zeros((3, 0, 4))).shape == (3, 0, 4)


@pytest.mark.parametrize("threads", [2, 3, 7])
@some(6)
@hypothesis.given(seed=SEEDS)
def test_rows_and_units_in_parts(seed, threads):
    call, pairs = random_call(seed)
    graph, model = bound(call, pairs)
    inputs = random_inputs(graph, seed, 29, 5)
    lengths = np.random.default_rng(seed).integers(0, 6, 29)
    want, short = predict(model, inputs), predict(model, inputs, lengths)
    before = lstmc.get_num_threads()
    try:
        lstmc.set_num_threads(threads)
        _core.set_grain(1)
        for batch in (29, 2, 1):
            rows = {v.name: np.take(inputs[v.name], range(batch), v.axes.index(BATCH))
                    for v in graph.inputs}  # fmt: skip
            given = from_graph(graph)
            got, cut = predict(given, rows), predict(given, rows, lengths[:batch])
            for v in graph.outputs:
                axis = v.axes.index(BATCH)
                assert_same({"y": got[v.name]}, {"y": want[v.name].take(range(batch), axis)})
                assert_same({"y": cut[v.name]}, {"y": short[v.name].take(range(batch), axis)})
            s = given.stream(batch)
            s.run(rows if len(rows) > 1 else next(iter(rows.values())))
            assert lstmc.set_num_threads(1) is None
            one = model.stream(batch)
            one.run(rows if len(rows) > 1 else next(iter(rows.values())))
            assert_same(s.state, one.state)
            lstmc.set_num_threads(threads)
    finally:
        lstmc.set_num_threads(before)
        _core.set_grain(0)


@pytest.mark.parametrize("batch_axis", [0, 1, 2])
def test_a_state_in_the_shape_of_the_source(batch_axis):
    _, model = bound(counting(batch_axis), "x=next:state")
    assert model.inputs == {"x": (None, None, 4)}
    assert model.outputs == {"y": (None, None, 4)}
    shape = [2, 2]
    shape.insert(batch_axis, 3)
    assert model.states == {"state": tuple(None if n == 3 else n for n in shape)}
    x = np.arange(3 * 5 * 4, dtype=np.float32).reshape(3, 5, 4)
    want = np.cumsum(x, axis=1)
    np.testing.assert_array_equal(model.predict(x), 2 * want)
    s = model.stream(3)
    assert s.state["state"].shape == tuple(shape)
    assert not s.state["state"].any()
    for t in range(5):
        np.testing.assert_array_equal(s.step(x[:, t]), 2 * want[:, t])
        rows = np.moveaxis(s.state["state"], batch_axis, 0).reshape(3, 4)
        np.testing.assert_array_equal(rows, want[:, t])
    s.state = {"state": np.moveaxis(np.arange(12.0).reshape(3, 2, 2), 0, batch_axis)}
    np.testing.assert_array_equal(s.step(np.zeros((3, 4))), 2 * np.arange(12.0).reshape(3, 4))
    np.testing.assert_array_equal(s.run(x)[:, 0], 2 * (np.arange(12.0).reshape(3, 4) + x[:, 0]))
    again = pickle.loads(pickle.dumps(s))
    np.testing.assert_array_equal(again.state["state"], s.state["state"])
    s.reset()
    assert not s.state["state"].any()
    np.testing.assert_array_equal(s.run(x), 2 * want)


def test_a_state_that_does_not_fit_changes_nothing():
    _, model = bound(counting(), "next:state")
    s = model.stream(3)
    s.step(np.ones((3, 4)))
    before = s.state
    for wrong in (
        {}, {"x": before["state"]}, {"state": np.zeros((3, 2, 2))}, {"state": {"next": 1}},
        [1], {"state": before["state"], "other": 1},
    ):  # fmt: skip
        with pytest.raises((ShapeError, lstmc.DtypeError)):
            s.state = wrong
        assert_same(s.state, before)
    s.state = {"state": np.full((2, 3, 2), 1e-30)}  # kept states are never so small
    assert not s.state["state"].any()


def test_rows_that_a_call_leaves_out_stay_as_they_were():
    """In C a call may have fewer rows than its session."""
    _, model = bound(counting(), "next:state")
    session = _core.Session(model._core, 4, 3, 0)
    x, y = np.ones((4, 3, 4), np.float32), np.empty((4, 3, 4), np.float32)
    session.run([x], [y], 4, [3], None, True)
    session.run([x[:2]], [y[:2]], 2, [3], None, True)
    state = np.empty((4, 4), np.float32)
    session.state_read(0, state, 4)
    np.testing.assert_array_equal(state[:, 0], [6, 6, 3, 3])
    assert session.states() == [("state", "next", 4)]


def test_states_stand_still_beyond_a_row():
    """Seen in C, where a call with lengths may be followed by another."""
    _, model = bound(counting(), "next:state")
    session = _core.Session(model._core, 3, 5, 0)
    x, y = np.ones((3, 5, 4), np.float32), np.empty((3, 5, 4), np.float32)
    session.run([x], [y], 3, [5], np.array([5, 2, 0], np.int32), True)
    state = np.empty((3, 4), np.float32)
    session.state_read(0, state, 3)
    np.testing.assert_array_equal(state[:, 0], [5, 2, 0])
    session.run([x], [y], 3, [5], None, True)
    np.testing.assert_array_equal(y[:, -1, 0], [20, 14, 10])


def test_lengths():
    graph, model = bound(counting(), "next:state")
    x = np.random.default_rng(0).integers(-9, 9, (4, 6, 4)).astype(np.float32)
    x[1, 2:] = np.nan  # beyond the length: reaches nothing
    y = model.predict(x, lengths=[6, 2, 0, 5])
    for b, n in enumerate((6, 2, 0, 5)):
        np.testing.assert_array_equal(y[b, :n], 2 * np.cumsum(x[b, :n], axis=0))
        assert not y[b, n:].view(np.uint32).any()
    assert_same({"y": reference.run(graph, {"x": x}, np.array([6, 2, 0, 5]))["y"]}, {"y": y})


@pytest.mark.parametrize("turned", [False, True])
def test_a_state_that_is_given_in_another_order(turned):
    """[batch, 3, time] with two steps lies step by step inside, [batch, 3, 2] as it is written."""
    steps = g.Value("cache", (BATCH, 3, TIME), time=2, clock=None)
    flat = g.Value("cache", (BATCH, 3, 2))
    layers = [
        g.Reverse(name="r", inputs=("cache",), outputs=("back",)),
        g.LastStep(name="l", inputs=("back",), outputs=("row",)),
        g.Combine(name="c", inputs=("row", "x"), outputs=("y",), op="subtract"),
        g.Concat(name="new", inputs=("x", "y"), outputs=("next",)),
    ]
    if turned:  # what is given has steps, what is taken has none
        layers[0] = g.Select(name="r", inputs=("cache",), outputs=("row",), index=(1, 3, 5))
        layers[1] = g.Unflatten(name="u", inputs=("both",), outputs=("next",), count=2)
        layers = [layers[0], layers[2], layers[3], layers[1]]
        layers[2].outputs = ("both",)
    call = g.Graph(
        [g.Value("x", (BATCH, 3)), flat if turned else steps],
        [g.Value("y", (BATCH, 3)), g.Value("next", (BATCH, 3, TIME) if turned else (BATCH, 3, 2))],
        layers,
    )
    graph, model = bound(call, "next:cache")
    x = random_inputs(graph, 7, 3, 5)
    assert_same(predict(model, x), call_after_call(call, graph, {"next": "cache"}, x))
    s = model.stream(3)
    s.run(x["x"])
    last = from_graph(copy.deepcopy(call))
    state = np.zeros((3, 3, 2), np.float32)
    for t in range(5):
        state = last.predict({"x": x["x"][:, t], "cache": state})["next"]
    np.testing.assert_array_equal(s.state["cache"], state)


def test_layers_begin_anew_in_every_step():
    """A causal convolution and an LSTM remember nothing from one step to the next."""
    net = Net(0)
    net.inputs = [g.Value("x", (BATCH, TIME, 3), time=4, clock=None), g.Value("s", (BATCH, 5))]
    net.specs = {v.name: v.spec for v in net.inputs}
    conv = net.simple(g.Conv1D, "x", weight=net.weight(5, 6), taps=2, before=1)
    ends = net.lstm(conv, 5, outputs="sh")
    call = net.graph(ends["s"], net.simple(g.Combine, (ends["h"], "s"), op="add"))
    pairs = {call.outputs[1].name: "s"}
    graph, model = bound(call, pairs)
    assert model.inputs == {"x": (None, None, 4, 3)}
    x = np.repeat(random_inputs(graph, 0, 2, 1)["x"], 3, axis=1)
    y = model.predict(x)
    np.testing.assert_array_equal(y[:, 1], y[:, 0])
    np.testing.assert_array_equal(y[:, 2], y[:, 0])
    assert_same({graph.outputs[0].name: y}, call_after_call(call, graph, pairs, {"x": x}))


def test_a_fixed_initial_state_is_that_of_every_step():
    net = Net(1)
    net.inputs = [g.Value("x", (BATCH, TIME, 3), time=1, clock=None), g.Value("s", (BATCH, 4))]
    net.specs = {v.name: v.spec for v in net.inputs}
    start = net.simple(g.Fill, "s", value=net.weight(4))
    net.add(
        g.GRU, ("x", None, start), (None, "h"), weight_ih=net.weight(12, 3),
        weight_hh=net.weight(12, 4), bias=None,
    )  # fmt: skip
    total = net.simple(g.Combine, ("v1h", "s"), op="add")
    call = net.graph("v1h", total)
    graph, model = bound(call, {total: "s"})
    x = random_inputs(graph, 3, 5, 6)
    assert_same(predict(model, x), call_after_call(call, graph, {total: "s"}, x))


def test_steps_are_sizes_of_a_step():
    """[batch, 4, 3] with 4 steps a call: [batch, time, 4, 3]; and in front of it, turned."""
    for axes, shape in (
        ((BATCH, TIME, 3), (None, None, 4, 3)),
        ((BATCH, 3, TIME), (None, None, 3, 4)),
        ((TIME, BATCH, 3), (4, None, None, 3)),
        ((3, TIME, BATCH), (3, 4, None, None)),
    ):
        call = g.Graph(
            [g.Value("x", axes, time=4, clock=None), g.Value("s", (BATCH, 3))],
            [g.Value("y", axes), g.Value("t", (BATCH, 3))],
            [
                g.Reverse(name="r", inputs=("x",), outputs=("y",)),
                g.ReduceTime(name="m", inputs=("x",), outputs=("mean",), op="mean"),
                g.Combine(name="c", inputs=("mean", "s"), outputs=("t",), op="add"),
            ],
        )
        graph, model = bound(call, "t:s")
        assert model.inputs == {"x": shape}
        assert model.outputs == {"y": shape}
        x = random_inputs(graph, 1, 3, 2)["x"]
        y = model.predict(x)
        steps = shape.index(4)
        np.testing.assert_array_equal(y, np.flip(x, steps))
        assert_same({"y": y}, call_after_call(call, graph, {"t": "s"}, {"x": x}))


def test_the_golden_sample_and_the_file(tmp_path):
    graph, model = bound(*random_call(5))
    path = tmp_path / "m.lstmc"
    model.save(path)
    loaded = lstmc.load(path, verify=True)
    assert loaded.graph.bindings == graph.bindings
    assert loaded.graph.inputs == graph.inputs
    assert loaded.graph.outputs == graph.outputs
    assert loaded.to_bytes() == model.to_bytes()
    assert loaded.golden.time == 16
    for name in lstmc.targets():
        with target(name):
            loaded.check_golden()
    assert loaded.graph.sequential


def test_an_old_reader_refuses_it_by_a_flag():
    """Word 15 counts states; it was a word of flags, of which there were none."""
    _, model = bound(counting(), "next:state")
    header = np.frombuffer(model.to_bytes(), "<u4", 16)
    assert header[2] == 1
    assert header[15] == 1


def test_the_arena_is_for_single_steps():
    """More steps a call need no more memory, since layers see one; but for an array that must be
    copied, as sizes stand before its batch."""
    for scattered, floats in ((False, 0), (True, 2 * (4 + 3))):
        model = from_graph(stateful_graph(scattered=scattered))
        sizes = [_core.Session(model._core, 2, n, 0).arena_bytes for n in (16, 160)]
        assert sizes[1] - sizes[0] == 4 * floats * 144


def test_summary_shows_states():
    _, model = bound(counting(), "next:state")
    assert "states   state [2, ?, 2], kept from step to step" in model.summary()


def test_a_state_may_be_an_output_too():
    """In a file; what gives it writes to the caller's memory then."""
    graph = bind(counting(), "next:state")
    graph.outputs.append(g.Value("next", (BATCH, TIME, 4)))
    model = from_graph(graph)
    x = np.random.default_rng(1).integers(-9, 9, (3, 5, 4)).astype(np.float32)
    y = model.predict(x, lengths=[5, 0, 2])
    sums = np.cumsum(x, axis=1)
    for b, n in enumerate((5, 0, 2)):
        np.testing.assert_array_equal(y["next"][b, :n], sums[b, :n])
        assert not y["next"][b, n:].any()
    s = model.stream(3)
    parts = [s.run(x[:, :2]), s.run(x[:, 2:])]
    got = {n: np.concatenate([p[n] for p in parts], 1) for n in ("y", "next")}
    assert_same(got, {"y": 2 * sums, "next": sums})
    assert_same(got, {n: a.astype(np.float32) for n, a in reference.run(graph, {"x": x}).items()})


def test_one_row():
    """A source that takes one row, since nothing of it has a batch axis."""
    call = g.Graph(
        [g.Value("x", (TIME, 4), time=1, clock=None), g.Value("state", (2, 2))],
        [g.Value("y", (4,)), g.Value("next", (2, 2))],
        counting().layers,
    )
    call.layers.insert(0, g.LastStep(name="last", inputs=("x",), outputs=("row",)))
    call.layers[1].inputs = ("state", "row")
    graph, model = bound(call, "next:state")
    assert model.inputs == {"x": (None, 4)}
    assert model.outputs == {"y": (None, 4)}
    assert model.states == {"state": (2, 2)}
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    want = 2 * np.cumsum(x, axis=0)
    np.testing.assert_array_equal(model.predict(x), want)
    s = model.stream()
    np.testing.assert_array_equal(np.concatenate([s.step(x[t : t + 1]) for t in range(3)]), want)
    np.testing.assert_array_equal(s.state["state"], want[-1].reshape(2, 2) / 2)
    s.state = {"state": np.ones((2, 2))}
    np.testing.assert_array_equal(s.run(x), want + 2)
    assert_same({"y": model.predict(x)}, call_after_call(call, graph, {"next": "state"}, {"x": x}))


def test_memory_is_what_an_arena_is_made_of():
    model = from_graph(stateful_graph())
    for batch in (1, 3):
        whole, *layers = model._core.memory(batch, 5)
        assert sum(whole.values()) - whole["weights"] == (
            _core.Session(model._core, batch, 5, 0).arena_bytes
        )
        states = [16 * -(-batch * n // 16) for n in (4, 6)]
        assert whole["state"] == sum(x["state"] for x in layers) + 4 * sum(states)


@some(15)
@hypothesis.given(seed=SEEDS, batch=st.integers(1, 3), time=st.integers(1, 4))
def test_what_happens_inside(seed, batch, time):
    """A trace has the core's values of every step, and verify compares them layer by layer."""
    call, pairs = random_call(seed, bounded=True)
    graph, model = bound(call, pairs)
    inputs = random_inputs(graph, seed, batch, time)
    t = inspect.trace(model, inputs)
    assert_same({n: np.float32(a) for n, a in t.outputs.items()}, predict(model, inputs))
    values = reference.values(graph, inputs)
    assert set(t.values) >= set(values)  # and the h of layers that hand on none
    for name, a in values.items():
        assert t.values[name].shape == a.shape
    for r in t.recurrent.values():
        assert r.error < 1e-5
        assert all(a.shape[:2] == r.h.shape[:2] for a in r.pictures().values())
    found = layerwise.compare(model, [layerwise.Sample("here", inputs)], 1e-3)
    assert not found.overlap
    assert [row["layer"] for row in found.rows] == [layer.name for layer in graph.layers]


def test_gates_over_time():
    """Of two steps in each of three: six steps, the states those of the call before."""
    graph, model = bound(*recurrent_call(9, 2, kind=g.GRU, layers=1, tail=True))
    x = random_inputs(graph, 4, 2, 3)
    t = inspect.trace(model, x, lengths=[3, 1])
    (r,) = t.recurrent.values()
    assert r.h.shape == (2, 6, 5)
    assert r.error < 1e-6
    assert np.isfinite(r.gates["z"][0]).all()
    assert np.isfinite(r.gates["z"][1, :2]).all()
    assert np.isnan(r.gates["z"][1, 2:]).all()
    before = t.values["state"][0]
    assert not before[0].any()
    np.testing.assert_array_equal(before[1:], t.values[graph.bindings[0].output.name][0, :-1])


# ------------------------------------------------------------------- a call continues the other


def recurrent_call(seed, time, *, kind=g.LSTM, axes=(BATCH, TIME), layers=2, tail=False):
    """Layers whose states are one input, stacked, and one output; time None: open. ``tail``: the
    output is the last step's."""
    net = Net(seed)
    size = 5
    n = layers * len(kind.states) * size
    net.inputs = [
        g.Value("x", (*axes, 3), time=time), g.Value("state", (BATCH, n)),
    ]  # fmt: skip
    net.specs = {v.name: v.spec for v in net.inputs}
    order = net.rng.permutation(n)
    parts = [
        net.simple(g.Select, "state", index=tuple(int(i) for i in order[k * size : (k + 1) * size]))
        for k in range(n // size)
    ]
    x, ends = "x", []
    for i in range(layers):
        own = parts[i * len(kind.states) : (i + 1) * len(kind.states)]
        at, rows = len(net.layers), kind.gates * size
        net.add(
            kind, (x, None, *own), ("s", *kind.states),
            weight_ih=net.weight(rows, net.specs[x].features), weight_hh=net.weight(rows, size),
            bias=net.weight(rows),
        )  # fmt: skip
        x = net.dense(f"v{at}s", 4, activation=g.TANH)
        ends += [f"v{at}{o}" for o in kind.states]
    joined = net.simple(g.Concat, ends)
    back = net.simple(g.Select, joined, index=tuple(int(i) for i in np.argsort(order)))
    values = [
        g.Value(x, (*axes, 4), time=time),
        g.Value(back, (BATCH, n)),
    ]
    if tail:
        values[0] = g.Value(net.simple(g.LastStep, x), (BATCH, 4))
    graph = g.Graph(net.inputs, values, net.layers)
    graph.infer()
    return graph, {back: "state"}


@pytest.mark.parametrize("kind", [g.LSTM, g.GRU, g.RNN])
@pytest.mark.parametrize("time", [None, 1, 4])
@pytest.mark.parametrize("axes", [(BATCH, TIME), (TIME, BATCH)])
def test_recurrent_layers_keep_their_own_states(kind, time, axes):
    call, pairs = recurrent_call(1, time, kind=kind, axes=axes)
    graph, model = bound(call, pairs)
    assert not model.states
    assert [type(x) for x in graph.layers] == [kind, g.Dense, kind, g.Dense]
    assert all(len(x.inputs) == 1 for x in graph.layers)
    assert graph.sequential
    assert graph.inputs == [g.Value("x", (*axes, 3))]
    x = random_inputs(graph, 2, 3, 12)
    want = call_after_call(call, graph, pairs, x)
    assert_same(predict(model, x), want)
    s = model.stream(3)
    axis = axes.index(TIME)
    parts = [s.run(np.ascontiguousarray(p)) for p in np.split(x["x"], [1, 5, 6], axis)]
    assert_same(named(graph, np.concatenate(parts, axis)), want)


def test_a_last_step_that_goes_on():
    """An open sequence whose output is the last step's: predict gives that of the whole."""
    call, pairs = recurrent_call(3, None, tail=True)
    graph, model = bound(call, pairs)
    assert list(model.outputs.values()) == [(None, 4)]
    x = random_inputs(graph, 2, 3, 9)
    assert_same(predict(model, x), call_after_call(call, graph, pairs, x))


def test_a_call_of_several_steps_with_one_answer_is_a_step():
    """Of a fixed number of steps each call has its own answer, so none may be lost."""
    call, pairs = recurrent_call(3, 4, tail=True)
    graph, model = bound(call, pairs)
    assert model.inputs == {"x": (None, None, 4, 3)}
    assert list(model.outputs.values()) == [(None, None, 4)]
    x = random_inputs(graph, 2, 3, 5)
    assert_same(predict(model, x), call_after_call(call, graph, pairs, x))


def changed(time, change):
    call, pairs = recurrent_call(4, time)
    change(call)
    call.infer()
    return call, pairs


def convolved(call):
    call.layers.insert(
        0,
        g.DepthwiseConv1D(
            name="conv", inputs=("x",), outputs=("xc",), weight=np.ones((3, 2)), bias=None,
            taps=2, before=1,
        ),
    )  # fmt: skip
    first = next(x for x in call.layers if isinstance(x, g.LSTM))
    first.inputs = ("xc", *first.inputs[1:])


def scaled(call):
    state = next(x for x in call.layers if isinstance(x, g.Select))
    call.layers.insert(
        0, g.Affine(name="half", inputs=("state",), outputs=("h",), scale=np.full(20, 0.5),
                    shift=None),
    )  # fmt: skip
    state.inputs = ("h",)


def crossed(call):
    """Each layer goes on from where the other ended."""
    a, b = (x for x in call.layers if isinstance(x, g.LSTM))
    a.inputs, b.inputs = (*a.inputs[:2], *b.inputs[2:]), (*b.inputs[:2], *a.inputs[2:])


def half_bound(call):
    """The cell of one layer begins at zero in each call."""
    a = next(x for x in call.layers if isinstance(x, g.LSTM))
    a.inputs = a.inputs[:3]


def backwards(call):
    next(x for x in call.layers if isinstance(x, g.LSTM)).reverse = True


def unbound_layer(call):
    call.layers.insert(
        0,
        g.RNN(name="rnn", inputs=("x",), outputs=("xr", None), weight_ih=np.ones((3, 3)),
              weight_hh=np.ones((3, 3)), bias=None),
    )  # fmt: skip
    first = next(x for x in call.layers if isinstance(x, g.LSTM))
    first.inputs = ("xr", *first.inputs[1:])


def read_elsewhere(call):
    """The state is also an input of a layer."""
    size = call.infer()["state"].features
    last = call.layers[-3]
    assert isinstance(last, g.Dense)
    call.layers.append(
        g.Dense(name="seen", inputs=("state",), outputs=("seen",), weight=np.ones((4, size)),
                bias=None)
    )  # fmt: skip
    call.outputs.append(g.Value("seen", (BATCH, 4)))


CHANGES = {
    convolved: "layer 'conv' (DepthwiseConv1D) sees several steps",
    scaled: "layer 'half' (Affine) does more with a state than keep it",
    crossed: "is not what it gave",
    half_bound: "state c of layer 'lstm4' is not bound",
    backwards: "goes backwards in time",
    unbound_layer: "layer 'rnn' (RNN) begins anew in each call",
    read_elsewhere: "layer 'seen' (Dense) does more with a state than keep it",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.__name__)
def test_what_does_more_than_go_on_is_refused_by_name(change):
    """Where a call has any number of steps; of a known number, a call becomes a step."""
    call, pairs = changed(None, change)
    before = pickle.dumps(call)
    with pytest.raises(ConversionError) as e:
        bind(call, pairs)
    assert CHANGES[change] in str(e.value)
    assert "the number of time steps of a call is open: give it, as in x@N=" in str(e.value)
    assert pickle.dumps(call) == before
    for time in (1, 4):
        call, pairs = changed(time, change)
        graph, model = bound(call, pairs)
        assert model.states
        x = random_inputs(graph, 5, 3, 4)
        assert_same(predict(model, x), call_after_call(freeze(call), graph, pairs, x))


def freeze(call):
    """Its inputs' number of steps is constant, as in a bound graph."""
    call.inputs = [
        v if v.time is None else g.Value(v.name, v.axes, v.dtype, v.time, None) for v in call.inputs
    ]
    return call


def test_masks_that_hold():
    call, pairs = recurrent_call(6, None, layers=1)
    layer = next(x for x in call.layers if isinstance(x, g.LSTM))
    call.layers.insert(0, g.Reduce(name="mask", inputs=("x",), outputs=("mask",), op="maximum"))
    layer.inputs = ("x", "mask", *layer.inputs[2:])
    graph, model = bound(call, pairs)
    assert graph.layers[1].inputs == ("x", "mask")
    x = {"x": np.maximum(random_inputs(graph, 1, 3, 8)["x"] - 0.5, 0)}
    assert_same(predict(model, x), call_after_call(call, graph, pairs, x))
    layer.hold = True
    with pytest.raises(ConversionError, match="repeats its output where a step is masked"):
        bind(call, pairs)


# ------------------------------------------------------------------------------------ what is given


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("nothing", "'nothing' is not [SEQUENCE[@N]=]OUTPUT:STATE"),
        ("nxt:state", "there is no output 'nxt'; outputs are 'y', 'next'"),
        ("next:stat", "there is no input 'stat'; inputs are 'x', 'state'"),
        ("z=next:state", "there is no input 'z'; inputs are 'x', 'state'"),
        ("state=next:state", "input 'state' is bound, so it is no sequence"),
        ("next:state,next:x", "output 'next' is bound twice"),
        ("next:state,y:state", "input 'state' is bound twice"),
        ({"y": "state"}, "output 'y' has shape [batch, 4], input 'state' takes [2, batch, 2]"),
        (["y:x", "next:state"], "all inputs are bound"),
        ({}, "nothing is bound"), ([], "nothing is bound"), ("", "'' is not"),
        (":", "there is no output ''"),
    ],
)  # fmt: skip
def test_errors_name_what_exists(state, says):
    with pytest.raises(ConversionError) as e:
        bind(counting(), state)
    assert str(e.value).startswith("state: ")
    assert says in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "state",
    ["next:state", "x=next:state", " x = next:state ", ["next:state"], {"next": "state"},
     ("x=next:state",)],
)  # fmt: skip
def test_ways_to_say_it(state):
    graph = bind(counting(), state)
    assert [b.input.name for b in graph.bindings] == ["state"]
    assert graph.provenance["state"] == "next:state"


def test_names_with_colons():
    call = counting()
    for layer in call.layers:
        layer.rename({"state": "s:0", "next": "n:1:0"})
    call.inputs[1] = g.Value("s:0", call.inputs[1].axes)
    call.outputs[1] = g.Value("n:1:0", call.outputs[1].axes)
    graph = bind(call, "n:1:0:s:0")
    assert (graph.bindings[0].output.name, graph.bindings[0].input.name) == ("n:1:0", "s:0")


def test_states_are_float32():
    call = counting()
    call.inputs[1] = g.Value("state", call.inputs[1].axes, dtype="int64")
    with pytest.raises(ConversionError, match="'next' is float32 and 'state' int64; states are f"):
        bind(call, "next:state")


def test_all_outputs_bound():
    call = counting()
    del call.outputs[0]
    with pytest.raises(ConversionError, match="all outputs are bound, none is left"):
        bind(call, "next:state")


def test_the_steps_of_a_call_are_given():
    call, pairs = changed(None, convolved)
    (output,) = pairs
    graph = bind(copy.deepcopy(call), f"x@4={output}:state")
    assert graph.inputs[0].axes == (BATCH, TIME, 4, 3)
    model, x = from_graph(graph), random_inputs(graph, 5, 3, 4)
    four = g.Graph(
        [g.Value("x", (BATCH, TIME, 3), time=4), call.inputs[1]], call.outputs, call.layers
    )
    assert_same(predict(model, x), call_after_call(freeze(four), graph, pairs, x))
    for text, says in (
        ("x@", "'x@' gives no number of time steps behind '@'"),
        ("x@0", "gives no number"), ("x@-1", "gives no number"), ("x@1e3", "gives no number"),
        ("x@" + "9" * 40, "gives no number"), ("y@4", "there is no input 'y'"),
        ("state@4", "input 'state' is bound"),
    ):  # fmt: skip
        with pytest.raises(ConversionError) as e:
            bind(copy.deepcopy(call), f"{text}={output}:state")
        assert says in str(e.value)
    call.inputs[0] = g.Value("x", (BATCH, TIME, 3), time=3)
    with pytest.raises(ConversionError, match="4 time steps for 'x', which has 3"):
        bind(call, f"x@4={output}:state")
    with pytest.raises(ConversionError, match="for 'x', which has none; leave '@4' out"):
        bind(counting(), "x@4=next:state")


def test_float16_states_are_kept_in_float32():
    call = counting()
    call.inputs[1] = g.Value("state", call.inputs[1].axes, dtype="float16")
    call.outputs[1] = g.Value("next", call.outputs[1].axes, dtype="float16")
    call.provenance["note"] = "weights widened"
    graph = bind(call, "next:state")
    want = "weights widened\nstate 'state' is kept in float32, not rounded to float16"
    assert graph.provenance["note"] == want


def test_a_state_of_any_length_is_refused():
    call, _ = recurrent_call(1, None)
    names = [v.name for v in call.outputs]
    with pytest.raises(ConversionError, match="has an open number of time steps"):
        bind(call, {names[1]: "x"})
