"""Training of models whose state comes from outside: gradients go from step to step through what
they give and take."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from cases import LARGEST_SEED, settings
from gradients import check, run
from helpers import BATCH, TIME, bits, random_inputs, stateful_graph
from hypothesis import strategies as st
from lstmc.converters.state import bind
from state_nets import random_call

import lstmc
from lstmc import graph as g
from lstmc.model import from_graph
from lstmc.training.engine import Engine
from lstmc.training.specs import Dropout, Loss, Optimizer


@pytest.mark.parametrize("scattered", [False, True])
@pytest.mark.parametrize("lengths", [None, [4, 0, 2]])
def test_every_form_of_state_input_and_output(scattered, lengths):
    graph = stateful_graph(scattered=scattered)
    check(graph, random_inputs(graph, 3, 3, 4), lengths)


@settings(25)
@hypothesis.example(seed=112978581, batch=2, time=2, cut=False)  # scratch for more rows than one
@hypothesis.example(seed=40, batch=2, time=3, cut=False)  # a mean's count
@hypothesis.given(
    seed=st.integers(0, LARGEST_SEED),
    batch=st.integers(1, 3),
    time=st.integers(1, 5),
    cut=st.booleans(),
)
def test_random_graphs(seed, batch, time, cut):
    graph = bind(*random_call(seed, bounded=True))
    lengths = np.random.default_rng(seed).integers(0, time + 1, batch) if cut else None
    check(graph, random_inputs(graph, seed, batch, time), lengths, seed=seed, directions=1)


def pair(seed: int, cell: str) -> tuple[g.Graph, g.Graph]:
    """The same net twice: a layer with a time axis, and steps that are given its state."""
    rng = np.random.default_rng(seed)

    def weights(*shape):
        return rng.uniform(-0.6, 0.6, shape).astype(np.float32)

    gates = {"lstm": 4, "gru": 3, "rnn": 1}[cell]
    kind = {"lstm": g.LSTM, "gru": g.GRU, "rnn": g.RNN}[cell]
    given = {"weight_ih": weights(gates * 5, 3), "weight_hh": weights(gates * 5, 5),
             "bias": weights(gates * 5)}  # fmt: skip
    head = {"weight": weights(2, 5), "bias": weights(2)}
    states = ["h", "c"][: 2 if cell == "lstm" else 1]
    whole = g.Graph(
        [g.Value("x", (BATCH, TIME, 3))], [g.Value("y", (BATCH, TIME, 2))],
        [kind(name="cell", inputs=("x",), outputs=("s", *[None] * len(states)), **given),
         g.Dense(name="head", inputs=("s",), outputs=("y",), **head)],
    )  # fmt: skip
    stepped = g.Graph(
        [g.Value("x", (BATCH, TIME, 3))], [g.Value("y", (BATCH, TIME, 2))],
        [
            g.Unflatten(name="step", inputs=("x",), outputs=("x1",), count=1),
            kind(
                name="cell", inputs=("x1", None, *(f"{n}0" for n in states)),
                outputs=(None, *states), **given,
            ),
            g.Dense(name="head", inputs=("h",), outputs=("y",), **head),
        ],
        bindings=[
            g.Binding(g.Value(f"{n}0", (BATCH, 5)), g.Value(n, (BATCH, 5))) for n in states
        ],
    )  # fmt: skip
    for graph in (whole, stepped):
        graph.infer()
    return whole, stepped


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("lengths", [None, [7, 3, 0]])
def test_the_same_bits_as_a_layer_with_a_time_axis(cell, lengths):
    whole, stepped = pair(4, cell)
    inputs = random_inputs(whole, 5, 3, 7)
    dy = {"y": np.random.default_rng(6).standard_normal((3, 7, 2)).astype(np.float32)}
    if lengths is not None:
        for b, n in enumerate(lengths):
            dy["y"][b, n:] = 0
    want, got = (run(graph, inputs, dy, lengths).all() for graph in (whole, stepped))
    for b, n in enumerate(lengths or []):  # a head of its own goes on where the layer repeats
        want["output y"][b, n:] = 0
    assert want.keys() == got.keys()
    for name in want:
        np.testing.assert_array_equal(bits(got[name]), bits(want[name]), name)


def engines(cell="lstm", **options):
    for graph in pair(4, cell):
        yield Engine(graph, [Loss("mse")], optimizer=Optimizer("adam", 0.01), **options)


def same_weights(one, other):
    mine, theirs = one.read(), other.read()
    for layer, fields in mine.items():
        for name, array in fields.items():
            np.testing.assert_array_equal(bits(array), bits(theirs[layer][name]), f"{layer} {name}")


@pytest.mark.parametrize(
    "options", [{}, {"carry": True}, {"truncate": 3}, {"truncate": 2, "carry": True}]
)
def test_steps_of_the_optimizer(options):
    """Losses and weights of a layer with a time axis; states carried over, windows."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((4, 6, 3)).astype(np.float32)
    y = rng.standard_normal((4, 6, 2)).astype(np.float32)
    whole, stepped = engines(**options)
    for k in range(6):
        lengths = np.array([6, 2, 5, 1], np.int32) if k == 2 and not options else None
        found = [e.train([x + k], [y], lengths=lengths) for e in (whole, stepped)]
        assert found[0].loss == found[1].loss
        ends = [6] * 4 if lengths is None else lengths
        for b, n in enumerate(ends):
            one, other = (f.outputs[0][b, :n] for f in found)
            np.testing.assert_array_equal(bits(one), bits(other))
    same_weights(whole, stepped)
    found = [e.evaluate([x], [y]).loss for e in (whole, stepped)]
    assert found[0] == found[1]


def test_frozen_layers_and_those_that_learn():
    _, engine = engines(frozen=("head",))
    before = engine.read()
    x = np.ones((2, 5, 3), np.float32)
    first = engine.train([x], [np.zeros((2, 5, 2), np.float32)]).loss
    for _ in range(20):
        last = engine.train([x], [np.zeros((2, 5, 2), np.float32)]).loss
    assert last < first
    np.testing.assert_array_equal(engine.read()["head"]["weight"], before["head"]["weight"])


def test_a_loaded_file_learns_and_streams_as_it_predicts(tmp_path):
    _, stepped = pair(4, "gru")
    path = tmp_path / "m.lstmc"
    from_graph(stepped).save(path)
    model = lstmc.load(path)
    model.compile("adam", "mse")
    rng = np.random.default_rng(2)
    x = rng.standard_normal((40, 8, 3)).astype(np.float32)
    y = np.cumsum(x[..., :2], 1).astype(np.float32) / 8
    history = model.fit(x, y, epochs=40, batch_size=8, verbose=0, validation_split=0.2)
    assert history.history["loss"][-1] < 0.8 * history.history["loss"][0]
    whole = model.predict(x[:2])
    model.save(path)
    again = lstmc.load(path, verify=True)
    assert again.graph.bindings == stepped.bindings
    np.testing.assert_array_equal(bits(again.predict(x[:2])), bits(whole))
    stream = again.stream(2)
    pieces = [stream.run(x[:2, i : i + 1]) for i in range(8)]
    np.testing.assert_array_equal(bits(np.concatenate(pieces, 1)), bits(whole))


def test_dropout_is_refused():
    _, stepped = pair(4, "rnn")
    with pytest.raises(lstmc.ConversionError, match="no dropout"):
        Engine(stepped, [Loss("mse")], dropouts=[Dropout("head", "element", 0.5)])
