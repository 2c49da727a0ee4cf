"""lstmc.layers and lstmc.models beside live Keras: the same options, the same weights, the same
outputs, and the graph that the converter makes of the Keras model."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from keras_nets import keras
from lstmc.converters import keras_grown

import lstmc
from lstmc import initializers, layers
from lstmc.models import Sequential

SEQ = (7, 3)
# id: the shape of an input without the batch, then (class, options) of each layer.
NETS = {
    "lstm": (SEQ, ("LSTM", {"units": 5})),
    "lstm article": (SEQ, ("LSTM", {"units": 5, "activation": "relu"}), ("Dense", {"units": 1})),
    "lstm options": (
        SEQ,
        (
            "LSTM",
            {
                "units": 4, "activation": "softsign", "recurrent_activation": "hard_sigmoid",
                "use_bias": False, "return_sequences": True, "go_backwards": True, "unroll": True,
            },
        ),
        ("LSTM", {"units": 3, "unit_forget_bias": False, "dropout": 0.2}),
    ),
    "gru": (SEQ, ("GRU", {"units": 5, "return_sequences": True}), ("GRU", {"units": 2})),
    "gru before": (SEQ, ("GRU", {"units": 5, "reset_after": False})),
    "gru no bias": (SEQ, ("GRU", {"units": 5, "use_bias": False, "recurrent_dropout": 0.1})),
    "rnn": (SEQ, ("SimpleRNN", {"units": 4, "activation": "relu", "return_sequences": True})),
    "repeat": (
        SEQ, ("LSTM", {"units": 4}), ("RepeatVector", {"n": 3}),
        ("LSTM", {"units": 4, "return_sequences": True}),
        ("TimeDistributed", ("Dense", {"units": 2, "activation": "tanh"})),
    ),
    "embedding": (
        (7,), ("Embedding", {"input_dim": 9, "output_dim": 4, "mask_zero": True}),
        ("SpatialDropout1D", {"rate": 0.3}), ("LSTM", {"units": 3}), ("Dropout", {"rate": 0.5}),
        ("Dense", {"units": 2, "activation": "softmax"}),
    ),
    "masking": (SEQ, ("Masking", {"mask_value": 0.5}), ("GRU", {"units": 3})),
    "activations": (
        SEQ, ("Dense", {"units": 4}), ("Activation", {"activation": "elu"}),
        ("LeakyReLU", {"negative_slope": 0.1}), ("ELU", {"alpha": 0.7}),
        ("ReLU", {"max_value": 0.6, "negative_slope": 0.1, "threshold": 0.05}),
        ("PReLU", {"shared_axes": [1], "alpha_initializer": "ones"}), ("Softmax", {}),
    ),
    "prelu": ((6,), ("Dense", {"units": 4}), ("PReLU", {"alpha_initializer": "ones"})),
    "conv": (
        (12, 4), ("Conv1D", {"filters": 6, "kernel_size": 3, "padding": "causal"}),
        ("MaxPooling1D", {"pool_size": 2}),
        ("Conv1D", {"filters": 4, "kernel_size": 2, "groups": 2, "activation": "relu"}),
        ("GlobalAveragePooling1D", {}),
    ),
    "depthwise": (
        (12, 2), ("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2}),
        ("AveragePooling1D", {"pool_size": 3, "strides": 1, "padding": "same"}),
        ("SeparableConv1D", {"filters": 3, "kernel_size": 2, "padding": "same"}),
        ("GlobalMaxPooling1D", {"keepdims": True}),
    ),
    "shapes": (
        (6, 2), ("ZeroPadding1D", {"padding": (1, 2)}), ("Cropping1D", {"cropping": 1}),
        ("UpSampling1D", {"size": 2}), ("Permute", {"dims": (2, 1)}), ("Flatten", {}),
        ("Reshape", {"target_shape": (4, -1)}), ("Dense", {"units": 2}),
    ),
    "norms": (
        SEQ, ("LayerNormalization", {"epsilon": 0.01}), ("LSTM", {"units": 4}),
        ("BatchNormalization", {"trainable": False}), ("Dense", {"units": 3}),
        ("LayerNormalization", {"center": False}),
    ),
}  # fmt: skip
for _mode in ("concat", "sum", "mul", "ave"):
    NETS[f"bidirectional {_mode}"] = (
        SEQ,
        ("Bidirectional", ("LSTM", {"units": 3, "return_sequences": True}), {"merge_mode": _mode}),
        ("Bidirectional", ("GRU", {"units": 2}), {"merge_mode": _mode}),
    )


def made(module, entry):
    name, *rest = entry
    if isinstance(rest[0], tuple):
        return getattr(module, name)(made(module, rest[0]), **(rest[1] if rest[1:] else {}))
    return getattr(module, name)(**rest[0])


def pair(net):
    """The net by lstmc and by Keras, both with lstmc's weights made a little less regular."""
    shape, *entries = NETS[net]
    lstmc.set_random_seed(7)
    mine = Sequential([layers.Input(shape), *(made(layers, e) for e in entries)])
    theirs = keras.Sequential(
        [keras.layers.Input(shape), *(made(keras.layers, e) for e in entries)]
    )
    rng = np.random.default_rng(3)
    weights = [w + rng.uniform(0, 0.2, w.shape).astype("f") for w in mine.get_weights()]
    mine.set_weights(weights)
    theirs.set_weights(weights)
    return mine, theirs, weights


def data(net):
    rng = np.random.default_rng(5)
    shape = (4, *NETS[net][0])
    if net == "embedding":
        return rng.integers(0, 9, shape)
    x = rng.normal(size=shape).astype("f")
    x[1, -2:] = 0.5  # what "masking" masks
    return x


@pytest.mark.parametrize("net", NETS)
def test_a_layer_is_what_keras_has_by_that_name(net):
    mine, theirs, weights = pair(net)
    got, want = mine.predict(data(net)), theirs.predict(data(net), verbose=0)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 1e-6 * max(1, np.abs(want).max())
    for held in (mine.get_weights(), theirs.get_weights()):
        for a, b in zip(held, weights, strict=True):
            np.testing.assert_array_equal(a, b)
    assert mine.count_params() == theirs.count_params()
    # layer by layer, too
    for layer, other in zip(mine.layers, theirs.layers, strict=True):
        for a, b in zip(layer.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        assert layer.count_params() == other.count_params()


@pytest.mark.parametrize("net", NETS)
def test_the_graph_is_the_converter_s(net):
    mine, theirs, _ = pair(net)
    converted = lstmc.convert(theirs)
    assert [type(x) for x in mine.graph.layers] == [type(x) for x in converted.graph.layers]
    for a, b in zip(mine.graph.layers, converted.graph.layers, strict=True):
        assert list(a.params()) == list(b.params())
        for (name, _, one), (_, _, two) in zip(a.tensors(), b.tensors(), strict=True):
            np.testing.assert_array_equal(one, two, err_msg=f"{a.name} {name}")
    x = data(net)
    np.testing.assert_array_equal(mine.predict(x), converted.predict(x))


@pytest.mark.parametrize("net", NETS)
def test_weights_go_through_the_training_graph_and_back(net):
    mine, _, weights = pair(net)
    x = data(net)
    plan = mine._plan()
    trained = lstmc.model.from_graph(plan.graph)
    # Without dropout it computes the same; what simplify folds is rounded otherwise.
    assert np.abs(trained.predict(x) - mine.predict(x)).max() <= 1e-6
    moved = {n: a for n, a in fields(plan.graph) if n[0] not in plan.frozen}
    rng = np.random.default_rng(1)
    for array in moved.values():
        array += rng.uniform(0.1, 0.2, array.shape).astype("f")
    mine._adopt(plan.graph)
    new = mine.get_weights()
    for layer in mine.layers:
        for leaf in layer._leaves():
            rows = zip(weights[: len(leaf._arrays)], leaf._arrays.items(), strict=True)
            for old, (name, now) in rows:
                if not leaf.trainable:
                    np.testing.assert_array_equal(now, old)
                    continue
                hidden = leaf._absorbed().get(name, np.zeros(now.shape, bool))
                assert np.all((now != old) & (hidden == (now == 0)))
            weights = weights[len(leaf._arrays) :]
    y = lstmc.model.from_graph(plan.graph).predict(x)
    assert np.abs(mine.predict(x) - y).max() <= 1e-6
    # The next plan's graph is the trained one, bit for bit.
    again = mine._plan()
    for (name, a), (_, b) in zip(fields(again.graph), fields(plan.graph), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=str(name))
    assert len(new) == len(mine.get_weights())


def fields(graph):
    return [((x.name, n), a) for x in graph.layers for n, _, a in x.tensors() if a is not None]


def test_the_page_names_every_layer_and_option():
    page = (Path(__file__).parent.parent / "docs/howto/keras-vocabulary.md").read_text()
    words = set(re.findall(r"\w+", page))
    assert set(layers.__all__) <= words
    lower = {n for n in initializers.NAMES if "_" in n or n in ("zeros", "ones", "orthogonal")}
    assert lower <= words
    for name in layers.__all__:
        options = inspect.signature(getattr(layers, name)).parameters
        known = {"options", "weights", "data_format", "config", "inputs"}
        assert set(options) - known <= words, name


@pytest.mark.parametrize("net", ["embedding", "bidirectional sum", "gru", "conv"])
def test_weights_of_more_numbers_than_one_digit_counts(net, monkeypatch):
    """As in models of more than 8 million numbers."""
    monkeypatch.setattr(keras_grown, "BASE", 5)
    mine, _, weights = pair(net)
    graph = mine._plan().graph
    for _, array in fields(graph):
        array *= np.float32(2)
    mine._adopt(graph)
    for leaf in (leaf for layer in mine.layers for leaf in layer._leaves()):
        for name, array in leaf._arrays.items():
            old, hidden = weights.pop(0), leaf._absorbed().get(name)
            if hidden is not None:
                old = np.stack([old[0] + np.where(hidden[1], old[1], 0), old[1] * ~hidden[1]])
            np.testing.assert_array_equal(array, 2 * old)
