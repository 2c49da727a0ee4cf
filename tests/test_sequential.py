"""lstmc.models.Sequential: what is built when, whose weights they are, and what is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from keras_nets import keras

import lstmc
from lstmc import graph as g
from lstmc import layers
from lstmc.model import MADE
from lstmc.models import Sequential


def test_the_article_s_program_builds():
    timesteps, features = 10, 2
    model = Sequential()
    model.add(layers.LSTM(50, activation="relu", input_shape=(timesteps, features)))
    model.add(layers.Dense(1))
    assert [w.shape for w in model.get_weights()] == [(2, 200), (50, 200), (200,), (50, 1), (1,)]
    bias = model.layers[0].get_weights()[2]
    assert (bias[50:100] == 1).all()
    assert (np.delete(bias, np.s_[50:100]) == 0).all()
    y = model.predict(np.zeros((3, 10, 2)))
    assert y.shape == (3, 1)
    assert isinstance(model, lstmc.Model)
    assert "lstm" in model.summary()


def test_seeds():
    def weights(seed):
        lstmc.set_random_seed(seed)
        return Sequential([layers.LSTM(4, input_shape=(3, 2)), layers.Dense(2)]).get_weights()

    for a, b in zip(weights(3), weights(3), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(weights(3), weights(4), strict=True))
    assert [lstmc.digest(w) for w in weights(3)] == SEEDED


SEEDED = [2785219816, 592714445, 1209885684, 1244848904, 1696784233]


def test_numbers_do_not_depend_on_how_a_model_is_built():
    def parts():
        lstmc.set_random_seed(3)
        return [layers.GRU(4, return_sequences=True), layers.LSTM(3), layers.Dense(2)]

    at_once = Sequential([layers.Input((5, 2)), *parts()])
    late = Sequential(parts())
    late.predict(np.zeros((1, 5, 2)))
    added = Sequential()
    added.add(layers.Input((5, 2)))
    for layer in parts():
        added.add(layer)
    for model in (late, added):
        for a, b in zip(model.get_weights(), at_once.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_dropout_has_a_place():
    """At the layer behind it; at one of its own where that has dropout itself, or there is none."""
    model = Sequential(
        [
            layers.Input((7, 3)),
            layers.Dropout(0.1),
            layers.LSTM(4, return_sequences=True, recurrent_dropout=0.2, name="a"),
            layers.SpatialDropout1D(0.3),
            layers.LSTM(4, dropout=0.4, name="b"),
            layers.Dropout(0.0),
            layers.Dense(4, name="c"),
            layers.Dropout(0.5, name="d"),
            layers.Activation("relu", name="e"),
            layers.Dropout(0.6, name="f"),
        ]
    )
    plan = model._plan()
    assert {(d.layer, d.kind, d.rate) for d in plan.dropouts} == {
        ("a", "element", 0.1),
        ("a", "recurrent", 0.2),
        ("spatial_dropout1d", "steps", 0.3),
        ("b", "steps", 0.4),
        ("e", "element", 0.5),
        ("f", "element", 0.6),
    }
    assert [x.name for x in plan.graph.layers] == ["a", "spatial_dropout1d", "b", "c", "e", "f"]
    assert [type(x) for x in model.graph.layers] == [g.LSTM, g.LSTM, g.Dense]


def test_frozen_layers():
    model = Sequential(
        [
            layers.LSTM(4, input_shape=(7, 3), trainable=False),
            layers.Dense(3),
            layers.PReLU(),
            layers.Dense(2, name="last"),
        ]
    )
    frozen = model._plan().frozen
    assert "lstm" in frozen
    assert not {"dense", "last"} & frozen
    assert len([n for n in frozen if n.startswith("p_re_lu")]) == 1  # the turned x, not the slopes
    model.trainable = False
    assert {"lstm", "dense", "last"} <= model._plan().frozen
    model.get_layer("last").trainable = True
    assert "last" not in model._plan().frozen


def test_a_weight_in_several_places_is_not_trained():
    model = Sequential([layers.Input((7, 3)), layers.PReLU(shared_axes=[1, 2])])
    with pytest.raises(lstmc.ConversionError, match=r"'p_re_lu' \(PReLU\): its weight 'alpha'"):
        model._plan()
    model.layers[0].trainable = False
    model._plan()


def test_pickle():
    model = Sequential([layers.GRU(4, input_shape=(7, 3)), layers.Dense(3)])
    again = pickle.loads(pickle.dumps(model))
    x = np.ones((2, 7, 3), np.float32)
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    assert [layer.name for layer in again.layers] == ["gru", "dense"]
    again.add(layers.Dense(1))
    assert again.predict(x).shape == (2, 1)


def test_a_shape_may_come_late():
    model = Sequential([layers.LSTM(4), layers.Dense(2)])
    assert model.get_weights() == []
    assert not model.built
    with pytest.raises(lstmc.ConversionError, match=r"no input shape: give its first layer input"):
        model.summary()
    assert model.predict(np.zeros((3, 5, 2))).shape == (3, 2)
    assert model.built
    assert model.inputs == {"input_layer": (None, None, 2)}  # any number of steps
    assert model.predict(np.zeros((3, 9, 2))).shape == (3, 2)
    with pytest.raises(lstmc.ShapeError, match=r"\(3, 9, 4\), expected"):
        model.predict(np.zeros((3, 9, 4)))
    # Where a layer needs a known number of steps, it is the first array's.
    model = Sequential([layers.Dense(2), layers.Flatten()])
    assert model.predict(np.zeros((3, 5, 2))).shape == (3, 10)
    assert model.inputs == {"input_layer": (None, 5, 2)}
    model = Sequential([layers.Dense(2)])
    model.build((None, 3))
    assert model.get_weights()[0].shape == (3, 2)
    words = Sequential([layers.Embedding(5, 3), layers.LSTM(2)])
    assert words.predict(np.array([[1, 2, 4]])).shape == (1, 2)
    assert words.predict(np.array([[1, 2, 4, 0]])).shape == (1, 2)


def test_ways_to_say_a_shape():
    def shape(*args, **options):
        return Sequential([layers.LSTM(*args, **options)]).inputs["input_layer"]

    assert shape(3, input_shape=(5, 2)) == (None, 5, 2)
    assert shape(3, input_shape=[None, 2]) == (None, None, 2)
    assert shape(3, batch_input_shape=(4, 5, 2)) == (None, 5, 2)
    assert shape(3, input_dim=2) == (None, None, 2)
    assert shape(3, input_dim=2, input_length=5) == (None, 5, 2)
    assert Sequential([layers.Dense(3, input_dim=2)]).inputs == {"input_layer": (None, 2)}
    assert Sequential([layers.Dense(3, input_shape=2)]).inputs == {"input_layer": (None, 2)}
    words = Sequential([layers.Embedding(9, 2, input_length=4)])
    assert words.inputs == {"input_layer": (None, 4)}
    named = Sequential([layers.Input((5, 2), name="x"), layers.GRU(3, name="y")])
    assert named.inputs == {"x": (None, 5, 2)}
    assert named.outputs == {"y": (None, 3)}


def test_add_pop_and_names():
    model = Sequential(name="m")
    for _ in range(3):
        model.add(layers.Dense(2))
    assert [layer.name for layer in model.layers] == ["dense", "dense_1", "dense_2"]
    assert model.get_layer("dense_1") is model.layers[1] is model.get_layer(index=1)
    model.build((None, 4))
    kept = model.get_weights()
    assert model.pop().name == "dense_2"
    assert len(model.get_weights()) == 4
    model.add(layers.Dense(3, "softmax"))
    assert model.predict(np.zeros((1, 4))).shape == (1, 3)
    for a, b in zip(kept[:4], model.get_weights(), strict=False):
        np.testing.assert_array_equal(a, b)
    # A layer that does not fit leaves the model as it was.
    with pytest.raises(lstmc.ConversionError, match=r"'lstm' \(LSTM\): its input has no time axis"):
        model.add(layers.LSTM(3))
    assert model.predict(np.zeros((1, 4))).shape == (1, 3)


def test_a_layer_in_two_models_has_one_set_of_weights():
    shared = layers.Dense(2, input_shape=(3,))
    one, two = Sequential([shared]), Sequential([shared, layers.Dense(1)])
    x = np.ones((1, 3), np.float32)
    before = two.predict(x)
    one.set_weights([w + 1 for w in one.get_weights()])
    assert (two.predict(x) != before).all()
    np.testing.assert_array_equal(two.get_weights()[0], one.get_weights()[0])
    before = one.predict(x)
    shared.set_weights([w + 1 for w in shared.get_weights()])
    assert (one.predict(x) != before).all()
    with pytest.raises(lstmc.ShapeError, match=r"its weight 'kernel' has shape \(3, 2\), expected"):
        Sequential([layers.Input((4,)), shared])


def test_weights_to_begin_with():
    table = np.arange(15, dtype=np.float32).reshape(5, 3)
    model = Sequential([layers.Embedding(5, 3, weights=[table], input_length=2, trainable=False)])
    np.testing.assert_array_equal(model.predict(np.array([[4, 0]]))[0], table[[4, 0]])
    inner = [np.ones((2, 4)), np.ones((1, 4)), np.zeros(4)]
    model = Sequential([layers.Bidirectional(layers.LSTM(1), weights=inner * 2, input_dim=2)])
    for a, b in zip(model.get_weights(), inner * 2, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_stateful(kind):
    """Against Keras, batch after batch and call after call."""

    def build(module, model):
        return model(
            [
                module.Input(batch_shape=(2, 3, 2)),
                getattr(module, kind)(4, stateful=True, return_sequences=True),
                getattr(module, kind)(3, stateful=True),
            ]
        )

    mine, theirs = build(layers, Sequential), build(keras.layers, keras.Sequential)
    theirs.set_weights(mine.get_weights())
    x = np.random.default_rng(1).normal(size=(6, 3, 2)).astype("f")
    for call in range(3):
        got, want = mine.predict(x, verbose=0), theirs.predict(x, batch_size=2, verbose=0)
        assert np.abs(got - want).max() < 1e-6
        if call == 1:
            mine.layers[0].reset_states()
            for layer in theirs.layers:
                layer.reset_states()
    with pytest.raises(lstmc.ShapeError, match="expected batches of 2 rows"):
        mine.predict(x[:3])
    with pytest.raises(lstmc.ShapeError, match="lengths"):
        mine.predict(x, lengths=[1] * 6)
    assert mine._plan().carry
    before = mine.predict(x)
    mine.set_weights(mine.get_weights())
    assert (mine.predict(x) != before).any()  # states begin anew with new weights


def test_all_that_a_model_sets_is_made_anew():
    """Model's fields are known to Network, so that none outlives a change of weights."""
    model = Sequential([layers.Dense(2, input_shape=(3,))])
    model.predict(np.zeros((1, 3)))
    plain = lstmc.model.from_graph(model.graph)
    assert set(vars(plain)) == MADE
    assert set(vars(model)) >= MADE
    model.set_weights(model.get_weights())
    assert not set(vars(model)) & MADE


def test_predict_after_a_change_is_new():
    model = Sequential([layers.LSTM(4, input_shape=(5, 2)), layers.Dense(1)])
    x = np.ones((2, 5, 2), np.float32)
    first = model.predict(x)
    np.testing.assert_array_equal(first, model.predict(x, batch_size=1, verbose=0))
    stream = model.stream(2)
    model.set_weights([2 * w for w in model.get_weights()])
    assert (model.predict(x) != first).all()
    np.testing.assert_array_equal(stream.run(x), first)  # it has the model as it was


def test_weights_that_are_no_numbers_any_more():
    """Training may lead there, as in Keras; nothing hides it."""
    model = Sequential([layers.LSTM(2, input_shape=(5, 2)), layers.Dense(1)])
    weights = model.get_weights()
    weights[0][0, 0] = np.nan
    model.set_weights(weights)
    assert np.isnan(model.predict(np.ones((1, 5, 2)))).all()
    model._adopt(model._plan().graph)
    np.testing.assert_array_equal(model.get_weights()[0], weights[0])


def test_save(tmp_path):
    model = Sequential([layers.LSTM(4, input_shape=(5, 2)), layers.Dense(1)])
    model.save(tmp_path / "m.lstmc")
    x = np.ones((2, 5, 2), np.float32)
    loaded = lstmc.load(tmp_path / "m.lstmc", verify=True)
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert loaded.provenance["source"] == "lstmc"
    with pytest.raises(lstmc.ConversionError, match=r"lstmc writes \.lstmc files"):
        model.save(tmp_path / "m.keras")


# -------------------------------------------------------------------------------------- refusals

KNOWN = "softmax, softplus, softsign"
REFUSED = {
    "unknown option": (
        lambda: layers.LSTM(4, foo=1), lstmc.OptionError, "no option foo; it has units"
    ),
    "regularizer": (
        lambda: layers.LSTM(4, kernel_regularizer="l2"), lstmc.ConversionError,
        r"'lstm' \(LSTM\): option kernel_regularizer='l2' is not supported; use the optimizer",
    ),
    "constraint": (
        lambda: layers.Dense(4, bias_constraint=object()), lstmc.ConversionError,
        r"\(Dense\): option bias_constraint=object is not supported",
    ),
    "activity": (
        lambda: layers.Dense(4, activity_regularizer="l1"), lstmc.ConversionError, "weight_decay"
    ),
    "seed": (lambda: layers.Dropout(0.5, seed=3), lstmc.ConversionError, "set_random_seed"),
    "noise": (
        lambda: layers.Dropout(0.5, noise_shape=(1, 2)), lstmc.ConversionError,
        r"noise_shape=\(1, 2\) is not supported; use SpatialDropout1D",
    ),
    "units": (lambda: layers.LSTM(0), lstmc.ConversionError, "units=0 is not a size"),
    "text units": (lambda: layers.GRU("4"), lstmc.ConversionError, "units='4' is not a size"),
    "float units": (lambda: layers.Dense(4.0), lstmc.ConversionError, "units=4.0 is not a size"),
    "activation": (
        lambda: layers.LSTM(4, "foo"), lstmc.ConversionError, f"activation='foo' is not .*{KNOWN}"
    ),
    "function": (
        lambda: layers.Dense(4, activation=np.tanh), lstmc.ConversionError, f"not known.*{KNOWN}"
    ),
    "array": (lambda: layers.Dense(4, np.zeros(3)), lstmc.ConversionError, "activation=ndarray"),
    "flag": (lambda: layers.LSTM(4, use_bias=1), lstmc.ConversionError, "use_bias=1 is neither"),
    "rate": (lambda: layers.LSTM(4, dropout=1.0), lstmc.RangeError, r"dropout=1.0 is not a part"),
    "initializer": (
        lambda: layers.LSTM(4, kernel_initializer="glorot"), lstmc.ConversionError,
        r"'lstm' \(LSTM\): option kernel_initializer: initializer 'glorot' is not known.*zeros",
    ),
    "dtype": (lambda: layers.LSTM(4, dtype="float16"), lstmc.ConversionError, "dtype='float16'"),
    "name": (lambda: layers.LSTM(4, name="a/b"), lstmc.ConversionError, "name='a/b' is not a name"),
    "trainable": (lambda: layers.LSTM(4, trainable=None), lstmc.ConversionError, "trainable=None"),
    "no size": (
        lambda: layers.LSTM(4, input_shape=(3, 0)), lstmc.ConversionError, "input_shape=0 is not"
    ),
    "no shape": (lambda: layers.LSTM(4, input_shape="a"), lstmc.ConversionError, "not a shape"),
    "length": (lambda: layers.LSTM(4, input_length=3), lstmc.ConversionError, "without input_dim"),
    "batch": (lambda: layers.Dense(4, batch_size=3), lstmc.ConversionError, "without an input_sh"),
    "layout": (
        lambda: layers.Conv1D(2, 3, data_format="channels_first"), lstmc.ConversionError,
        "data_format='channels_first' is not supported; use channels_last",
    ),
    "taps": (lambda: layers.Conv1D(2, (3, 3)), lstmc.ConversionError, r"kernel_size=\(3, 3\)"),
    "batch statistics": (
        lambda: layers.BatchNormalization(), lstmc.ConversionError,
        "trainable=True is not supported: the statistics of a batch",
    ),
    "bidirectional": (
        lambda: layers.Bidirectional(layers.Dense(3)), lstmc.ConversionError, "around a Dense"
    ),
    "merge mode": (
        lambda: layers.Bidirectional(layers.LSTM(3), merge_mode="foo"), lstmc.ConversionError,
        "merge_mode='foo' is not supported; use concat, sum, mul, ave",
    ),
    "wrapped": (lambda: layers.TimeDistributed(3), lstmc.ConversionError, "it wraps 3"),
    "stepwise": (
        lambda: layers.TimeDistributed(layers.LSTM(3)), lstmc.ConversionError, "around a LSTM"
    ),
    "input": (lambda: layers.Input(), lstmc.ConversionError, "it has no shape"),
    "sparse": (lambda: layers.Input((3,), sparse=True), lstmc.OptionError, "no option sparse"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_options_are_refused_by_name(case):
    make, error, says = REFUSED[case]
    with pytest.raises(error, match=says) as raised:
        make()
    assert "\n" not in str(raised.value)


def test_option_errors_are_type_errors():
    with pytest.raises(TypeError):
        layers.LSTM(4, foo=1)
    with pytest.raises(TypeError):
        layers.LSTM()


# A layer behind [batch, 7, 3], and what is said of it.
MISFITS = {
    "softmax inside": ([layers.LSTM, 4, {"activation": "softmax"}], "not supported inside of a"),
    "padding": ([layers.Conv1D, 4, 3, {"padding": "foo"}], "use valid, same, causal$"),
    "groups": ([layers.Conv1D, 4, 3, {"groups": 2}], "groups=2 doesn't divide its channels$"),
    "too few": ([layers.Conv1D, 4, 9], "7 time steps don't fit"),
    "crop": ([layers.Cropping1D, 4], "7 time steps don't fit"),
    "reshape": ([layers.Reshape, (5,)], r"target_shape=\[5\] doesn't fit"),
    "permute": ([layers.Permute, (2, 3)], r"use \(2, 1\)"),
    "pad": ([layers.ZeroPadding1D, (1, 2, 3)], r"padding=\[1, 2, 3\] is not supported$"),
    "axis": ([layers.LayerNormalization, 1], "normalize the last axis"),
    "repeat": ([layers.RepeatVector, 3], "its input has a time axis"),
    "embedding": ([layers.Embedding, 3, 4], "Embedding"),
    "state": ([layers.LSTM, 4, {"return_state": True}], "hands on one tensor"),
    "stateful": ([layers.GRU, 4, {"stateful": True}], "the batch is not known"),
    "given": ([layers.Dense, 4, {"weights": [np.zeros((2, 4)), np.zeros(4)]}], r"\(2, 4\), exp"),
    "vector": ([layers.Dense, 4, {"bias_initializer": "orthogonal"}], "bias_initializer: Orth"),
    "callable": (
        [layers.Dense, 4, {"kernel_initializer": lambda s: np.zeros(5)}],
        r"kernel_initializer gives an array \(5,\), expected \(3, 4\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MISFITS)
def test_layers_that_do_not_fit_are_refused_by_name(case):
    (cls, *args), says = MISFITS[case]
    options = args.pop() if isinstance(args[-1], dict) else {}
    model = Sequential([layers.Input((7, 3)), layers.Dense(3)])
    with pytest.raises(lstmc.Error, match=says) as raised:
        model.add(cls(*args, **options))
    assert "\n" not in str(raised.value)
    assert len(model.layers) == 1


def test_models_are_refused_by_name():
    small = Sequential([layers.Dense(2, input_shape=(3,))])
    dense = layers.Dense(2)
    cases = [
        (lambda: Sequential().predict(np.zeros((1, 2))), "has no layers: add some first"),
        (lambda: Sequential([dense]).save("x.lstmc"), "has no input shape"),
        (lambda: Sequential([dense]).count_params(), "has no input shape"),
        (lambda: Sequential([dense]).predict("foo"), "gets str, expected an array"),
        (lambda: Sequential([dense]).predict(np.zeros(3)), "shape .* is not supported"),
        (lambda: Sequential([dense, dense]), "'dense' is in it already"),
        (lambda: Sequential([layers.Dense(2, name="a"), layers.Dense(2, name="a")]), "unique"),
        (lambda: Sequential([dense, layers.Input((3,))]), "an Input must be the first"),
        (lambda: Sequential([small]), "a model in a model"),
        (lambda: Sequential(["Dense"]), "'Dense' is none of lstmc's"),
        (lambda: Sequential([keras.layers.Dense(3)]), "a layer of keras is none of lstmc's"),
        (lambda: Sequential([layers.Input((3, None)), dense]), "not supported"),
        (lambda: Sequential([layers.Input((3,), dtype="complex64"), dense]), "complex64"),
        (lambda: Sequential([layers.Input((2, 3, 4)), dense]), "not supported"),
        (lambda: Sequential().pop(), "has no layers"),
        (lambda: small.build((None, 4)), r"takes inputs of shape \(None, 3\), not \(None, 4\)"),
        (lambda: small.build(3), "batch_shape=3 is not a shape"),
        (lambda: small.get_layer("x"), "no layer 'x'; the model has dense"),
        (lambda: small.get_layer(index=4), "no layer 4: the model has 1"),
        (lambda: small.set_weights([1]), "got 1 weights, expected 2"),
        (lambda: small.set_weights(3), "a list of arrays, not int"),
        (lambda: small.set_weights([np.zeros((3, 3)), np.zeros(2)]), r"\(3, 3\), expected \("),
        (lambda: small.set_weights([np.zeros((3, 2), complex), np.zeros(2)]), "complex128"),
        (lambda: small.layers[0].set_weights([np.zeros((3, 2))]), r"'dense' \(Dense\): got 1"),
        (lambda: small.predict(np.zeros((1, 3)), steps=3), "option steps"),
        (lambda: small.predict(np.zeros((1, 3)), callbacks=[]), "option callbacks"),
        (lambda: small.predict(np.zeros((1, 3)), batch_size=0), "batch_size is 0"),
        (lambda: Sequential([layers.Input((1 << 24,)), layers.Dense(1 << 24)]), "memory"),
        (
            lambda: Sequential(
                [layers.GRU(2, stateful=True, return_sequences=True, batch_input_shape=(2, 3, 2)),
                 layers.GRU(2)]
            ), "give all recurrent layers of a model the same stateful",
        ),
    ]  # fmt: skip
    kept = small.get_weights()
    for make, says in cases:
        with pytest.raises(lstmc.Error, match=says) as raised:
            make()
        assert "\n" not in str(raised.value)
    for a, b in zip(kept, small.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# -------------------------------------------------------------------------------------- training

TRAINED = {
    "lstm": lambda k: [k.LSTM(4, return_sequences=True), k.LSTM(3, "relu"), k.Dense(2)],
    "rnn": lambda k: [k.SimpleRNN(4), k.Dense(3, "tanh"), k.Dense(2)],
    "gru": lambda k: [k.GRU(4, reset_after=False), k.Dense(2)],
    "no bias": lambda k: [k.LSTM(3, use_bias=False), k.Dense(2, use_bias=False)],
    "frozen": lambda k: [k.LSTM(4, trainable=False, return_sequences=True), k.LSTM(3), k.Dense(2)],
}


@pytest.mark.parametrize("net", TRAINED)
def test_a_step_of_training_is_keras_s(net):
    """Gradients come back to the weights that they are of, in Keras's layout."""
    from lstmc.training import specs
    from lstmc.training.engine import Engine

    lstmc.set_random_seed(2)
    mine = Sequential([layers.Input((6, 3)), *TRAINED[net](layers)])
    theirs = keras.Sequential([keras.layers.Input((6, 3)), *TRAINED[net](keras.layers)])
    start = mine.get_weights()
    theirs.set_weights(start)
    theirs.compile(keras.optimizers.SGD(0.5), "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 6, 3)).astype("f"), rng.normal(size=(8, 2)).astype("f")
    plan = mine._plan()
    engine = Engine(
        plan.graph, [specs.Loss("mse")], None, specs.Optimizer("sgd", 0.5), frozen=plan.frozen
    )
    for _ in range(3):
        theirs.train_on_batch(x, y)
        engine.train([x], [y])
    mine._adopt(engine.graph())
    for a, b, before in zip(mine.get_weights(), theirs.get_weights(), start, strict=True):
        assert np.abs(a - b).max() < 2e-6
        if net != "frozen":
            assert np.abs(a - before).max() > 1e-3
    np.testing.assert_array_equal(mine.predict(x), engine.evaluate([x], [y]).outputs[0])


def test_a_gru_s_two_biases_become_one():
    """Keras trains both rows of z and r; the graph has their sum, which takes one gradient."""
    from lstmc.training import specs
    from lstmc.training.engine import Engine

    model = Sequential([layers.GRU(3, input_shape=(6, 2), bias_initializer="normal")])
    before = model.layers[0].get_weights()[2]
    theirs = keras.Sequential([keras.layers.Input((6, 2)), keras.layers.GRU(3)])
    theirs.set_weights(model.get_weights())
    theirs.compile(keras.optimizers.SGD(0.5), "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 6, 2)).astype("f"), rng.normal(size=(8, 3)).astype("f")
    plan = model._plan()
    np.testing.assert_array_equal(model.layers[0].get_weights()[2], before)
    engine = Engine(plan.graph, [specs.Loss("mse")], None, specs.Optimizer("sgd", 0.5))
    engine.train([x], [y])
    theirs.train_on_batch(x, y)
    model._adopt(engine.graph())
    after, other = model.layers[0].get_weights()[2], theirs.layers[0].get_weights()[2]
    assert (after[1, :6] == 0).all()
    assert np.abs(after[:, 6:] - other[:, 6:]).max() < 1e-6  # the candidate's two are Keras's
    mine, keras_s = after.sum(0)[:6] - before.sum(0)[:6], other.sum(0)[:6] - before.sum(0)[:6]
    assert np.abs(2 * mine - keras_s).max() < 1e-6


def article(**options):
    lstmc.set_random_seed(4)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(48, 6, 2)).astype("f")
    model = Sequential()
    model.add(layers.LSTM(8, activation="relu", input_shape=(6, 2), **options))
    model.add(layers.Dense(1))
    model.compile(optimizer="adam", loss="mse")
    return model, x, x[:, -2:].sum((1, 2))[:, None]


def test_the_article_s_program_trains():
    model, x, y = article()
    before, loss = model.predict(x), model.evaluate(x, y, verbose=0)
    stream = model.stream(48)
    history = model.fit(x, y, epochs=4, batch_size=16, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    after = model.evaluate(x, y, verbose=0)
    assert after < loss
    assert abs(np.mean((model.predict(x) - y) ** 2) - after) < 1e-6
    np.testing.assert_array_equal(stream.run(x), before)  # it has the weights it was made with
    # The layers have what was trained, and training has what is set in a layer.
    dense = model.layers[1]
    assert (dense.get_weights()[0] != 0).all()
    dense.set_weights([np.zeros((8, 1)), np.ones(1)])
    assert abs(model.evaluate(x, y, verbose=0) - np.mean((1 - y) ** 2)) < 1e-6
    model.fit(x, y, epochs=1, verbose=0)
    assert (dense.get_weights()[0] != 0).any()
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_the_same_seed_trains_to_the_same_bits():
    def weights():
        model, x, y = article(dropout=0.2, recurrent_dropout=0.1)
        model.fit(x, y, epochs=2, batch_size=16, verbose=0)
        return model.get_weights()

    for a, b in zip(weights(), weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_layers_change_after_training():
    model, x, y = article()
    model.fit(x, y, epochs=1, verbose=0)
    kept = model.layers[0].get_weights()
    model.pop()
    model.add(layers.Dense(2))
    for a, b in zip(kept, model.layers[0].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    model.layers[0].trainable = False
    model.compile("sgd", "mae")
    model.fit(x, np.hstack([y, y]), epochs=1, verbose=0)
    for a, b in zip(kept, model.layers[0].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (model.layers[1].get_weights()[1] != 0).all()


def test_what_is_trained_is_kept_when_layers_change():
    for change in (lambda m: m.pop(), lambda m: m.add(layers.Dense(1))):
        model, x, y = article()
        start = model.layers[0].get_weights()
        model.fit(x, y, epochs=1, verbose=0)
        wanted = lstmc.model.from_graph(model._trainer.build().graph()).graph.layers[0].weight_hh
        change(model)
        assert (model.layers[0].get_weights()[0] != start[0]).any()
        np.testing.assert_array_equal(model.graph.layers[0].weight_hh, wanted)


def test_the_shape_comes_with_the_data_of_fit():
    model = Sequential([layers.GRU(4), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 5, 2)), np.ones((4, 1)), epochs=1, verbose=0)
    assert model.inputs == {"input_layer": (None, None, 2)}


def test_stateful_training():
    model = Sequential(
        [layers.LSTM(4, stateful=True, batch_input_shape=(2, 3, 2)), layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    x = np.ones((4, 3, 2), np.float32)
    start = model.get_weights()
    model.fit(x, np.ones((4, 1)), batch_size=2, epochs=1, shuffle=False, verbose=0)
    model.reset_states()
    assert (model.get_weights()[0] != start[0]).any()
    y = model.predict(x)
    assert (y[:2] != y[2:]).all()  # the second batch goes on where the first ended


def test_masked_steps_are_not_in_the_loss():
    """As in Keras: padding of an Embedding or of Masking."""

    def build(k, model):
        return model(
            [
                k.Input((6, 2)),
                k.Masking(),
                k.LSTM(4, return_sequences=True),
                k.Dropout(0.0),
                k.Dense(2),
            ]
        )

    mine, theirs = build(layers, Sequential), build(keras.layers, keras.Sequential)
    theirs.set_weights(mine.get_weights())
    theirs.compile(keras.optimizers.SGD(0.5), "mse")
    mine.compile(lstmc.optimizers.SGD(0.5), "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 6, 2)).astype("f"), rng.normal(size=(8, 6, 2)).astype("f")
    x[:3, 4:] = 0
    x[5, 1:] = 0
    want = theirs.evaluate(x, y, verbose=0)
    assert abs(mine.evaluate(x, y, verbose=0) - want) < 1e-6
    assert abs(np.mean((mine.predict(x) - y) ** 2) - want) > 1e-3
    theirs.train_on_batch(x, y)
    mine.train_on_batch(x, y)
    for a, b in zip(mine.get_weights(), theirs.get_weights(), strict=True):
        assert np.abs(a - b).max() < 1e-6
    short = mine.evaluate(x, y, lengths=[6, 6, 6, 2, 6, 6, 6, 6], verbose=0)
    x[3, 2:] = 0
    assert abs(short - theirs.evaluate(x, y, verbose=0)) < 1e-6


def test_weight_names():
    model = Sequential([layers.Bidirectional(layers.LSTM(2), input_shape=(3, 2)), layers.Dense(1)])
    names = model.weight_names
    assert names[0] == "bidirectional/forward_lstm/kernel"
    assert names[3:] == [
        "bidirectional/backward_lstm/kernel", "bidirectional/backward_lstm/recurrent_kernel",
        "bidirectional/backward_lstm/bias", "dense/kernel", "dense/bias",
    ]  # fmt: skip
    assert len(names) == len(model.get_weights())
