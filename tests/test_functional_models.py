"""lstmc.models.Model beside Keras's functional models: the same calls, weights and outputs."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from keras_nets import keras

import lstmc
from lstmc import layers, models


def two_inputs(k, model):
    a, b = k.Input((7, 3), name="a"), k.Input((4,), name="b")
    x = k.LSTM(5)(a)
    y = k.Dense(5, activation="tanh")(b)
    z = k.Concatenate()([x, y])
    return model([a, b], k.Dense(2)(z))


def encoder_decoder(k, model):
    x = k.Input((7, 3))
    _, *state = k.LSTM(4, return_state=True)(x)
    y = k.RepeatVector(3)(state[0])
    y = k.LSTM(4, return_sequences=True)(y, initial_state=state)
    return model(x, [k.TimeDistributed(k.Dense(2))(y), state[1]])


def shared(k, model):
    a, b = k.Input((7, 3)), k.Input((5, 3))
    tower = k.GRU(4)
    both = [tower(a), tower(b)]
    return model([a, b], {"near": k.Multiply()(both), "far": k.Subtract()(both)})


def branches(k, model):
    x = k.Input((8, 3))
    one = k.Conv1D(4, 3, padding="same", activation="relu")(x)
    two = k.Bidirectional(k.GRU(2, return_sequences=True))(x)
    y = k.Add()([one, two, k.Dense(4)(x)])
    y = k.LayerNormalization()(y)
    y = k.Average()([y, k.Maximum()([one, two]), k.Minimum()([one, two])])
    return model(x, k.Dense(1)(k.GlobalAveragePooling1D()(k.Dropout(0.2)(y))))


def masked(k, model):
    x = k.Input((7,), dtype="int32")
    y = k.Embedding(9, 4, mask_zero=True)(x)
    y = k.LSTM(3, return_sequences=True)(y)
    return model(x, k.add([k.LSTM(2)(y), k.GRU(2)(y)]))


def cells(k, model):
    x = k.Input((7, 3))
    y = k.Bidirectional(k.LSTM(2, return_state=True))(x)
    return model(x, k.Dense(2)(k.concatenate(y)))


NETS = {f.__name__: f for f in (two_inputs, encoder_decoder, shared, branches, masked, cells)}


def data(net, model):
    rng = np.random.default_rng(3)
    if net == "masked":
        return [rng.integers(0, 9, (4, 7))]
    return [rng.normal(size=(4, *shape[1:])).astype("f") for shape in model.inputs.values()]


def flat(y):
    return list(y.values()) if isinstance(y, dict) else y if isinstance(y, list) else [y]


@pytest.mark.parametrize("net", NETS)
def test_a_model_is_keras_s(net):
    lstmc.set_random_seed(1)
    mine = NETS[net](layers, models.Model)
    theirs = NETS[net](keras.layers, keras.Model)
    rng = np.random.default_rng(0)
    weights = [w + rng.uniform(0, 0.2, w.shape).astype("f") for w in mine.get_weights()]
    assert [w.shape for w in weights] == [w.shape for w in theirs.get_weights()]
    mine.set_weights(weights)
    theirs.set_weights(weights)
    kinds = [type(x).__name__ for x in theirs.layers]
    assert [type(x).__name__ for x in mine.layers] == kinds
    x = data(net, mine)
    got, want = mine.predict(x if len(x) > 1 else x[0]), theirs.predict(x, verbose=0)
    assert type(got) is type(want)
    if isinstance(want, dict):
        assert set(got) == set(want)
        got = {k: got[k] for k in want}
    for a, b in zip(flat(got), flat(want), strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= 1e-6 * max(1, np.abs(b).max())
    # The graph is what the converter makes of Keras's model.
    converted = lstmc.convert(theirs)
    assert [type(x) for x in mine.graph.layers] == [type(x) for x in converted.graph.layers]
    again = pickle.loads(pickle.dumps(mine))
    for a, b in zip(flat(again.predict(x if len(x) > 1 else x[0])), flat(got), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("net", NETS)
def test_weights_go_through_the_training_graph(net):
    mine = NETS[net](layers, models.Model)
    if net == "shared":
        with pytest.raises(lstmc.ConversionError, match=r"'gru' .* several places at once"):
            mine._plan()
        return
    plan = mine._plan()
    rng = np.random.default_rng(1)
    for layer in plan.graph.layers:
        for _, _, array in layer.tensors():
            if array is not None and layer.name not in plan.frozen:
                array += rng.uniform(0.1, 0.2, array.shape).astype("f")
    before = mine.get_weights()
    mine._adopt(plan.graph)
    assert all((a != b).any() for a, b in zip(before, mine.get_weights(), strict=True))
    x = data(net, mine)
    got = flat(mine.predict(x if len(x) > 1 else x[0]))
    named = dict(zip(mine.inputs, x, strict=True))
    trained = lstmc.model.from_graph(plan.graph)
    want = flat(trained.predict(named if len(x) > 1 else x[0]))
    for a, b in zip(got, want, strict=True):
        assert np.abs(a - b).max() <= 1e-6


def test_inputs_by_list_tuple_and_name():
    model = two_inputs(layers, models.Model)
    a, b = data("two_inputs", model)
    want = model.predict([a, b])
    np.testing.assert_array_equal(model.predict((a, b)), want)
    np.testing.assert_array_equal(model.predict({"a": a, "b": b}, batch_size=2), want)
    x = layers.Input((3,))
    single = models.Model(x, {"y": layers.Dense(2)(x)}).predict(np.ones((1, 3)))
    assert set(single) == {"y"}


def test_models_are_refused_by_name():
    x, other = layers.Input((3,)), layers.Input((3,), name="other")
    y = layers.Dense(2, name="d")(x)
    cases = [
        (lambda: models.Model(x, layers.Add()([y, layers.Dense(2)(other)])), "depend on 'other'"),
        (lambda: models.Model(y, layers.Dense(2)(y)), "output 0 of layer 'd'> is an input; use"),
        (lambda: models.Model([], y), "has no inputs"),
        (lambda: models.Model(x, []), "has no outputs"),
        (lambda: models.Model(x, {1: y}), "must be names"),
        (lambda: models.Model(x, layers.Dense(2, name="d")(y)), "two layers are named 'd'"),
        (lambda: layers.Dense(2)(np.zeros((1, 3))), "it is called with ndarray; call it with"),
        (lambda: layers.Dense(2)(), "called with nothing"),
        (lambda: models.Model(x, layers.LSTM(2)(x)), "its input has no time axis"),
        (lambda: models.Model(x, layers.Add()([y, x])), "Add|add"),
        (lambda: models.Model(x, layers.Dense(2)(x, training=True)), "training=True"),
        (lambda: models.Model(x, layers.Dense(2)(x, foo=1)), "called with foo=1"),
        (lambda: models.Model(x, y).predict([np.zeros((1, 3)), np.zeros((1, 3))]), "has shape"),
        (lambda: np.asarray(y), "holds no numbers"),
        (lambda: x.layer(y), "it is not called"),
        (lambda: models.Sequential([x, y]), "is none of lstmc's"),
    ]
    for make, says in cases:
        with pytest.raises(lstmc.Error, match=says) as raised:
            make()
        assert "\n" not in str(raised.value)


def test_deep_models():
    """No recursion over layers."""
    x = y = layers.Input((3,))
    for i in range(1200):
        y = layers.Activation("tanh", name=f"a{i}")(y)
    model = models.Model(x, y)
    assert [layer.name for layer in model.layers][1:] == [f"a{i}" for i in range(1200)]
