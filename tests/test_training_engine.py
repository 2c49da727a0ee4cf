"""The engine with states that go on, and with arrays that don't fit."""

import threading

import gradients
import numpy as np
import pytest

from lstmc import graph as g
from lstmc import layers, models
from lstmc.errors import ConversionError, DtypeError, Error, RangeError, ShapeError
from lstmc.training import specs
from lstmc.training.engine import Engine

RNG = np.random.default_rng(7)
ROWS, STEPS, INPUTS, OUTPUTS, UNITS = 4, 12, 3, 2, 5
X = RNG.standard_normal((ROWS, STEPS, INPUTS)).astype(np.float32)
Y = RNG.standard_normal((ROWS, STEPS, OUTPUTS)).astype(np.float32)


def weight(*shape):
    return (0.3 * RNG.standard_normal(shape)).astype(np.float32)


def recurrent():
    lstm = g.LSTM(
        name="lstm", inputs=("x",), outputs=("h", None, None), weight_ih=weight(4 * UNITS, INPUTS),
        weight_hh=weight(4 * UNITS, UNITS), bias=weight(4 * UNITS),
    )  # fmt: skip
    dense = g.Dense(name="dense", inputs=("h",), outputs=("y",), weight=weight(OUTPUTS, UNITS))
    return g.Graph(
        [g.Value("x", (g.BATCH, g.TIME, INPUTS))],
        [g.Value("y", (g.BATCH, g.TIME, OUTPUTS))],
        [lstm, dense],
    )


GRAPH = recurrent()


def engine(rate=0.1, **options):
    optimizer = specs.Optimizer("sgd", learning_rate=rate, momentum=0.5)
    return Engine(GRAPH, [specs.Loss("mse")], optimizer=optimizer, **options)


def same_weights(a, b):
    for layer, fields in a.read().items():
        for name, array in fields.items():
            np.testing.assert_array_equal(array, b.read()[layer][name])


@pytest.mark.parametrize("cuts", [(8, 4), (4, 8), (1, 2, 9)])
def test_states_go_on_as_windows_grow(cuts):
    whole = engine(carry=True).evaluate([X], [Y]).outputs[0]
    going, parts, at = engine(carry=True), [], 0
    for n in cuts:
        parts.append(going.evaluate([X[:, at : at + n]], [Y[:, at : at + n]]).outputs[0])
        at += n
    np.testing.assert_array_equal(np.concatenate(parts, 1), whole)


def test_a_batch_of_one_row_carries_its_states():
    going = engine(carry=True)
    going.evaluate([X[:1]], [Y[:1]])
    with pytest.raises(ShapeError, match="carry their states"):
        going.evaluate([X], [Y])
    going.reset_states()
    fresh = engine(carry=True).evaluate([X], [Y])
    np.testing.assert_array_equal(going.evaluate([X], [Y]).outputs[0], fresh.outputs[0])


def test_states_are_part_of_what_a_resume_needs():
    first = engine(carry=True)
    first.train([X], [Y])
    second = engine(carry=True)
    second.write(first.read())
    second.restore(first.slots())
    losses = [e.train([X], [Y]).loss for e in (first, second)]
    assert losses[0] == losses[1]
    same_weights(first, second)
    with pytest.raises(ShapeError, match="state/0"):
        second.restore(first.slots() | {"state/0": np.zeros((2, 3), np.float32)})


def test_windows_leave_no_states_to_other_calls():
    cut = engine(truncate=5, rate=0.0)
    before = cut.evaluate([X], [Y]).loss
    cut.train([X], [Y])
    assert cut.evaluate([X], [Y]).loss == before
    cut.train([X], [Y])
    cut.accumulate([X], [Y])
    assert cut.evaluate([X], [Y]).loss == before


def test_the_last_batch_of_windows_may_be_smaller():
    cut, other = engine(truncate=5), engine(truncate=5)
    cut.train([X], [Y])
    other.train([X], [Y])
    other = restarted(other)
    cut.train([X[:3]], [Y[:3]])
    other.train([X[:3]], [Y[:3]])
    same_weights(cut, other)
    cut.train([X[[0, 1, 2, 3, 0]]], [Y[[0, 1, 2, 3, 0]]])


def restarted(before):
    after = engine(truncate=5)
    after.write(before.read())
    after.restore(before.slots())
    return after


def test_windows_with_lengths_and_weights():
    lengths, weights = np.array([12, 7, 5, 1]), RNG.random((ROWS, STEPS)).astype(np.float32)
    cut, by_hand = engine(truncate=5), engine(carry=True)
    cut.train([X], [Y], [weights], lengths)
    for start in range(0, STEPS, 5):
        part = slice(start, start + 5)
        n = len(range(STEPS)[part])
        by_hand.train(
            [X[:, part]], [Y[:, part]], [weights[:, part]], np.clip(lengths - start, 0, n)
        )
    same_weights(cut, by_hand)


def test_classes_of_an_output_with_time_first():
    w, classes = weight(OUTPUTS, INPUTS), RNG.integers(0, OUTPUTS, (ROWS, STEPS))
    loss = [specs.Loss("sparse_categorical_crossentropy", from_logits=True)]

    def made(*order):
        dense = g.Dense(name="dense", inputs=("x",), outputs=("y",), weight=w)
        x, y = g.Value("x", (*order, INPUTS)), g.Value("y", (*order, OUTPUTS))
        return Engine(g.Graph([x], [y], [dense]), loss)

    rows, steps = made(g.BATCH, g.TIME), made(g.TIME, g.BATCH)
    expected = rows.evaluate([X], [classes]).loss
    assert steps.evaluate([X.swapaxes(0, 1)], [classes.T]).loss == expected
    assert rows.evaluate([X], [classes[..., None]]).loss == expected
    for wrong in (classes.T, classes.reshape(-1), classes.reshape(2, -1), classes[None]):
        with pytest.raises(ShapeError, match="expected classes"):
            rows.evaluate([X], [wrong])


@pytest.mark.parametrize("truncate", [None, 5])
@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"inputs": [X, X]}, ShapeError),
        ({"inputs": [X[0]]}, ShapeError),
        ({"inputs": [X[:0]]}, ShapeError),
        ({"inputs": [X[:, :0]]}, ShapeError),
        ({"inputs": [X + 1j]}, DtypeError),
        ({"targets": []}, ShapeError),
        ({"targets": [Y, Y]}, ShapeError),
        ({"targets": [Y[:2]]}, ShapeError),
        ({"targets": [None]}, ShapeError),
        ({"weights": []}, ShapeError),
        ({"weights": [None, None]}, ShapeError),
        ({"weights": np.ones(ROWS, np.float32)}, ShapeError),
        ({"weights": [1.0]}, ShapeError),
        ({"lengths": [1, 2, 3]}, ShapeError),
        ({"lengths": np.array([1, 2])}, ShapeError),  # as many bytes as four int32
        ({"lengths": np.ones(ROWS, np.float32)}, ShapeError),
        ({"lengths": [1, 2, 3, STEPS + 1]}, ShapeError),
        ({"lengths": 5}, ShapeError),
        ({"learning_rate": float("nan")}, RangeError),
        ({"learning_rate": 1e30}, RangeError),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(given, error, truncate):
    e = engine(truncate=truncate)
    before = e.read()
    with pytest.raises(error):
        e.train(**{"inputs": [X], "targets": [Y]} | given)
    for layer, fields in e.read().items():
        for name, array in fields.items():
            np.testing.assert_array_equal(array, before[layer][name])
            assert not e.gradients()[layer][name].any()


def test_lists_views_and_read_only_arrays_are_the_same():
    frozen = X.copy()
    frozen.flags.writeable = False
    wide = np.repeat(X, 2, 2)[:, :, ::2]
    losses = {
        engine().train([x], [Y], None, [12, 7, 5, 1]).loss
        for x in (X, X.tolist(), np.asfortranarray(X), frozen, wide, X.astype(float))
    }
    assert len(losses) == 1


def test_several_clocks_are_not_cut():
    dense = [
        g.Dense(name=f"d{i}", inputs=(f"x{i}",), outputs=(f"y{i}",), weight=weight(2, 3))
        for i in range(2)
    ]
    graph = g.Graph(
        [g.Value(f"x{i}", (g.BATCH, g.TIME, 3), clock=f"c{i}") for i in range(2)],
        [g.Value(f"y{i}", (g.BATCH, g.TIME, 2), clock=f"c{i}") for i in range(2)],
        dense,
    )
    e = Engine(graph, [specs.Loss("mse")] * 2, truncate=4)
    with pytest.raises(ConversionError, match="truncate"):
        e.train([X, X[:, :5]], [Y, Y[:, :5]])


def test_one_engine_in_one_thread_at_a_time():
    """What a callback of another thread does to an engine at work is an error, no torn weights."""
    big = np.zeros((64, 400, INPUTS), np.float32)
    truth = np.zeros((64, 400, OUTPUTS), np.float32)
    e = engine()
    e.train([big], [truth])
    done, found = threading.Event(), []

    def train():
        while not done.is_set():
            e.train([big], [truth])

    thread = threading.Thread(target=train)
    thread.start()
    try:
        for _ in range(10**6):
            for act in (e.read, e.clear, e.reset_states):
                try:
                    act()
                except Error as error:
                    found.append((act, str(error)))
            if {a for a, _ in found} == {e.read, e.clear, e.reset_states}:
                break
    finally:
        done.set()
        thread.join()
    assert all("another thread" in text for _, text in found)
    assert len({a for a, _ in found}) == 3


def test_dropout_of_an_input_that_is_read_twice():
    """Both places have the mask, and so has what both send back."""
    add = g.Combine(name="add", inputs=("x", "x"), outputs=("y",), op="add")
    spec = (g.BATCH, g.TIME, INPUTS)
    graph = g.Graph([g.Value("x", spec)], [g.Value("y", spec)], [add])
    ones = np.ones((ROWS, STEPS, INPUTS), np.float32)
    got = gradients.run(graph, {"x": ones}, {"y": ones}, dropouts=((0, 0, 0.5),), dropout=(3, 0))
    assert set(got.outputs["y"].ravel()) == {0.0, 4.0}
    np.testing.assert_array_equal(got.inputs["x"], got.outputs["y"])


def test_dropout_beside_its_own_input():
    """x + dropout(x): x itself is whole."""
    x = layers.Input((50,))
    model = models.Model(x, layers.Add()([layers.Dropout(0.5)(x), x]))
    model.compile("sgd", "mse")
    plan = model._plan()
    e = Engine(plan.graph, [specs.Loss("mse")], dropouts=plan.dropouts)
    ones = np.ones((ROWS, 50), np.float32)
    assert set(e.accumulate([ones], [ones]).outputs[0].ravel()) == {1.0, 3.0}


@pytest.mark.parametrize(
    "layer,kinds,words",
    [("dense", ["recurrent"], "recurrent dropout of one that is not"),
     ("lstm", ["element", "steps"], "two dropouts for one input")],
)  # fmt: skip
def test_dropouts_that_can_not_be(layer, kinds, words):
    dropouts = [specs.Dropout(layer, kind, 0.5) for kind in kinds]
    with pytest.raises(ConversionError, match=f"layer '{layer}': {words}"):
        engine(dropouts=dropouts)


def test_a_backward_is_of_the_weights_of_its_forward():
    e = engine()
    e.evaluate([X], [Y])
    e.update()
    with pytest.raises(Error):
        e._trainer.back([np.ones_like(Y)], [None])
