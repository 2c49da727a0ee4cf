"""The Keras converter against live Keras 3 (torch backend) and hand-made Keras 2 files.

What is compared with is the float64 oracle, :mod:`lstmc.reference`, so that these tests need no C.
"""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import json
import os
import random
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")

from keras import layers as L  # noqa: E402
from keras2_files import keras2_dense, keras2_file, keras2_layer, keras2_lstm, named  # noqa: E402
from lstmc.converters import (  # noqa: E402
    convert,
    gates,
    keras_config,
    keras_layers,
    keras_merge,
    keras_ops,
    keras_recurrent,
    keras_steps,
)
from lstmc.converters import from_keras as module  # noqa: E402

from lstmc import graph as g  # noqa: E402
from lstmc import reference  # noqa: E402
from lstmc.errors import ConversionError, Error, FormatError  # noqa: E402

TOLERANCE = 1e-5  # relative; Keras computes in float32
FUNCTIONS = ("linear", "sigmoid", "tanh", "relu", "hard_sigmoid", "exponential")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


# --------------------------------------------------------------------------------------- helpers


def randomize(model, seed=0, scale=0.5):
    """Weights that matter: biases too, which Keras initializes to 0 or 1."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(-scale, scale, w.shape) for w in model.get_weights()])
    return model


def sequential(*layers, shape=(7, 3), seed=0):
    return randomize(keras.Sequential([L.Input(shape), *layers]), seed)


def containers(model, folder):
    """The model live, as .keras and as .h5."""
    paths = [folder / "model.keras", folder / "model.h5"]
    for path in paths:
        model.save(path)
    return [model, *paths]


def same(a, b):
    """Equal graphs, weights to the bit; provenance aside."""
    assert a.inputs == b.inputs
    assert a.outputs == b.outputs
    assert len(a.layers) == len(b.layers)
    for x, y in zip(a.layers, b.layers, strict=True):
        assert type(x) is type(y)
        assert (x.name, x.inputs, x.outputs) == (y.name, y.inputs, y.outputs)
        assert list(x.params()) == list(y.params())
        for (n, _, u), (_, _, v) in zip(x.tensors(), y.tensors(), strict=True):
            assert (u is None) == (v is None), n
            assert u is None or u.tobytes() == v.tobytes(), n


def random_inputs(graph, seed=1, batch=3, time=5):
    rng = np.random.default_rng(seed)
    shapes = {v.name: v.shape(batch, v.time or time) for v in graph.inputs}
    return {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}


def error(graph, model, seed=1):
    """The largest error of any output, relative to the largest value of that output."""
    x = random_inputs(graph, seed)
    flat = list(x.values())
    y = model(flat if len(flat) > 1 else flat[0], training=False)
    y = list(y.values()) if isinstance(y, dict) else y if isinstance(y, (list, tuple)) else [y]
    expected = [keras.ops.convert_to_numpy(v).astype(float) for v in y]
    got = reference.run(graph, x)
    assert [v.shape for v in expected] == [got[v.name].shape for v in graph.outputs]
    return max(
        np.abs(got[v.name] - e).max() / max(np.abs(e).max(), 1e-30)
        for v, e in zip(graph.outputs, expected, strict=True)
    )


def check(model, folder):
    """Convert from all containers: one graph, and it computes what Keras computes."""
    graph, *others = [convert(c) for c in containers(model, folder)]
    for other in others:
        same(graph, other)
    assert error(graph, model) <= TOLERANCE
    return graph


def edit(path, change):
    """Rewrite the config of a .keras or .h5 file."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as z:
            members = {n: z.read(n) for n in z.namelist()}
        config = json.loads(members["config.json"])
        members["config.json"] = json.dumps(change(config) or config).encode()
        write_zip(path, members)
    else:
        with h5py.File(path, "r+") as f:
            config = json.loads(f.attrs["model_config"])
            f.attrs["model_config"] = json.dumps(change(config) or config)
    return path


def write_zip(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as z:
        for name, data in members.items():
            z.writestr(name, data)
    return path


def members_of(path):
    with zipfile.ZipFile(path) as z:
        return {n: z.read(n) for n in z.namelist()}


def edit_weights(path, change):
    """Rewrite the weights in a .keras file; ``change`` gets the open HDF5 file."""
    members = members_of(path)
    data = io.BytesIO(members["model.weights.h5"])
    with h5py.File(data, "r+") as f:
        change(f)
    members["model.weights.h5"] = data.getvalue()
    return write_zip(path, members)


def refused(source, *words, kind=ConversionError):
    with pytest.raises(kind) as caught:
        convert(source)
    message = str(caught.value)
    assert type(caught.value) is kind
    for word in words:
        assert word in message, message
    assert "\n" not in message
    return message


@pytest.fixture
def saved(tmp_path):
    """A small saved model, to be damaged."""
    model = sequential(L.LSTM(4, name="rnn"), L.Dense(2, name="head"))
    _, archive, h5 = containers(model, tmp_path)
    return archive, h5


# ------------------------------------------------------------------------- what Keras 3 can build


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("fixed", [True, False])
def test_lstm(tmp_path, bias, sequences, fixed):
    model = sequential(
        L.LSTM(5, use_bias=bias, return_sequences=sequences, name="rnn"),
        shape=(7 if fixed else None, 3),
    )
    graph = check(model, tmp_path)
    (layer,) = graph.layers
    assert layer.outputs == (("rnn", None, None) if sequences else (None, "rnn", None))
    assert (layer.bias is not None) == bias
    time = 7 if fixed else None
    assert graph.inputs == [g.Value("input_layer", ("batch", "time", 3), time=time)] or (
        graph.inputs[0].axes == ("batch", "time", 3) and graph.inputs[0].time == time
    )
    axes = ("batch", "time", 5) if sequences else ("batch", 5)
    assert graph.outputs == [g.Value("rnn", axes, time=time if sequences else None)]


@pytest.mark.parametrize("inner", FUNCTIONS)
@pytest.mark.parametrize("gate", FUNCTIONS)
def test_lstm_functions(tmp_path, inner, gate):
    layer = L.LSTM(4, activation=inner, recurrent_activation=gate)
    # Unbounded functions grow with every step, so few steps and small weights.
    model = randomize(keras.Sequential([L.Input((2, 3)), layer]), scale=0.1)
    graph = check(model, tmp_path)
    assert graph.layers[0].gate.kind == gate
    assert graph.layers[0].candidate.kind == graph.layers[0].output.kind == inner


@pytest.mark.parametrize("name", [*FUNCTIONS, "softmax"])
def test_other_functions(tmp_path, name):
    model = sequential(
        L.Dense(4, activation=name),
        L.Activation(name),
        L.TimeDistributed(L.Dense(5, activation=name)),
        L.Dense(2, activation=name, use_bias=False),
    )
    graph = check(randomize(model, scale=0.1), tmp_path)
    softmaxes = sum(type(layer) is g.Softmax for layer in graph.layers)
    assert softmaxes == (4 if name == "softmax" else 0)
    assert len({layer.name for layer in graph.layers}) == len(graph.layers)


def test_no_activation(tmp_path):
    graph = check(sequential(L.LSTM(3, activation=None), L.Dense(2, activation=None)), tmp_path)
    assert graph.layers[0].candidate == graph.layers[1].activation == g.LINEAR


def test_training_layers_vanish(tmp_path):
    graph = check(
        sequential(
            L.SpatialDropout1D(0.3),
            L.LSTM(4, dropout=0.2, recurrent_dropout=0.1, return_sequences=True),
            L.Dropout(0.5),
            L.TimeDistributed(L.Dropout(0.5)),
            L.LSTM(4),
            L.Dropout(0.5, name="last"),
        ),
        tmp_path,
    )
    assert [type(x) for x in graph.layers] == [g.LSTM, g.LSTM]
    assert [v.name for v in graph.outputs] == ["last"]


def test_rank_2(tmp_path):
    model = sequential(L.Dense(4, activation="relu"), L.ReLU(), L.Softmax(), shape=(6,))
    graph = check(model, tmp_path)
    assert graph.inputs[0].axes == ("batch", 6)


def test_softmax_axis_by_number(tmp_path):
    check(sequential(L.Softmax(axis=2)), tmp_path)
    check(sequential(L.LSTM(4), L.Softmax(axis=[-1])), tmp_path)


# ruff: noqa: B023 - the makers are called before the next turn of the loop
def random_layers(rng):
    fn = lambda: rng.choice(FUNCTIONS[:5])  # noqa: E731
    time, layers = True, []
    for _ in range(rng.randint(1, 6)):
        units, sequences = rng.randint(1, 9), rng.random() < 0.7
        makers = [
            lambda: L.Dense(units, activation=fn(), use_bias=rng.random() < 0.7),
            lambda: L.Activation(rng.choice([*FUNCTIONS[:5], "softmax"])),
            lambda: L.ReLU(),
            lambda: L.Softmax(),
            lambda: L.Dropout(0.5),
        ]
        if time:
            makers += [
                lambda: L.TimeDistributed(L.Dense(units, activation=fn())),
                lambda: L.SpatialDropout1D(0.5),
            ]
            makers += [
                lambda: L.LSTM(
                    units,
                    activation=rng.choice(["tanh", "relu", "sigmoid", "hard_sigmoid"]),
                    recurrent_activation=rng.choice(["sigmoid", "hard_sigmoid", "tanh"]),
                    use_bias=rng.random() < 0.8,
                    return_sequences=sequences,
                    unroll=False,
                    unit_forget_bias=rng.random() < 0.5,
                )
            ] * 4
        layer = rng.choice(makers)()
        time = time and getattr(layer, "return_sequences", True)
        layers.append(layer)
    return [*layers, L.Dense(2)]


@pytest.mark.parametrize("seed", range(24))
def test_random_models(tmp_path, seed):
    rng = random.Random(seed)
    layers = random_layers(rng)
    shape = (rng.choice([6, None]), rng.randint(1, 5))
    if seed % 3 == 0:
        x = y = L.Input(shape, name="signal")
        for layer in layers:
            y = layer(y)
        model = randomize(keras.Model(x, y), seed)
    elif seed % 3 == 1:
        model = sequential(*layers, shape=shape, seed=seed)
    else:
        inner = keras.Sequential([L.Input(shape), *layers[:-1]], name="inner")
        for layer in inner.layers:
            layer.trainable = rng.random() < 0.5
        model = randomize(keras.Sequential([L.Input(shape), inner, layers[-1]]), seed)
    check(model, tmp_path)


# ------------------------------------------------------------------------------ graphs of models


def test_several_inputs_and_outputs(tmp_path):
    x, y = L.Input((None, 3), name="signal"), L.Input((4,), name="static")
    h = L.LSTM(5, return_sequences=True, name="rnn")(x)
    last = L.LSTM(2, name="last")(h)
    side = L.Dense(3, activation="softmax", name="side")(y)
    model = randomize(keras.Model([x, y], [last, h, side]))
    graph = check(model, tmp_path)
    assert [v.name for v in graph.inputs] == ["signal", "static"]
    assert [v.name for v in graph.outputs] == model.output_names == ["last", "rnn", "side"]
    assert [v.axes for v in graph.outputs] == [("batch", 2), ("batch", "time", 5), ("batch", 3)]


def test_dicts_name_inputs_and_outputs(tmp_path):
    x, y = L.Input((4, 3), name="z_signal"), L.Input((4,), name="a_static")
    model = keras.Model({"z_signal": x, "a_static": y}, {"one": L.LSTM(2)(x), "all": L.Dense(3)(y)})
    graph, *others = [convert(c) for c in containers(randomize(model), tmp_path)]
    for other in others:
        same(graph, other)
    inputs = random_inputs(graph)
    expected, got = model.predict(inputs, verbose=0), reference.run(graph, inputs)
    assert set(got) == set(expected) == {"one", "all"}
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-6)


def test_nested_and_shared(tmp_path):
    frozen = L.Dense(4, name="frozen", trainable=False)
    inner = keras.Sequential(
        [L.Input((4,)), frozen, L.Dense(4, name="hot"), L.Dense(4, trainable=False)], name="inner"
    )
    i = L.Input((4,), name="i")
    functional = keras.Model(i, L.Dense(4, activation="tanh", name="deep")(i), name="functional")
    a, b, shared = L.Input((4,), name="a"), L.Input((4,), name="b"), L.Dense(4, name="shared")
    first = shared(functional(inner(a)))
    model = randomize(keras.Model([a, b], [first, functional(inner(functional(b))), shared(b)]))
    graph = check(model, tmp_path)
    assert [v.name for v in graph.outputs] == ["shared", "functional", "shared_1"]


def test_frozen_layers_and_models(tmp_path):
    def block(name, trainable):
        model = keras.Sequential([L.Input((6, 4)), L.LSTM(4, return_sequences=True), L.Dense(4)])
        model.name = name
        model.trainable = trainable
        return model

    two = keras.Sequential([L.Input((6, 4)), block("a", False), block("b", True)], name="two")
    two.layers[1].layers[0].trainable = False
    model = keras.Sequential([L.Input((6, 4)), two, block("c", True), block("d", False)])
    check(randomize(model), tmp_path)
    two.trainable = False
    check(model, tmp_path)
    two.layers[0].layers[1].trainable = True  # without effect on a model that is frozen as a whole
    check(model, tmp_path)


def test_nested_with_several_outputs(tmp_path):
    i, j = L.Input((5, 2), name="i"), L.Input((3,), name="j")
    h = L.LSTM(3, return_sequences=True)(i)
    inner = keras.Model([i, j], [h, L.Dense(2)(j), L.LSTM(4)(h)], name="inner")
    a, b = L.Input((5, 2), name="a"), L.Input((3,), name="b")
    one, two, three = inner([a, b])
    outer = keras.Model([b, a], [L.Dense(2, name="y")(three), two, L.LSTM(2)(one)])
    graph = check(randomize(outer), tmp_path)
    assert [v.name for v in graph.inputs] == ["b", "a"]
    assert [v.name for v in graph.outputs] == outer.output_names


def test_one_value_twice(tmp_path):
    """An output that is an input, or that a vanishing layer repeats, gets a layer that copies."""
    x = L.Input((5, 3), name="x")
    h = L.LSTM(3, return_sequences=True, name="h")(x)
    model = randomize(keras.Model(x, [h, L.Dropout(0.5, name="drop")(h), L.Dropout(0.1)(x)]))
    graph = check(model, tmp_path)
    assert [v.name for v in graph.outputs] == model.output_names


def test_output_steals_the_name_of_a_layer(tmp_path):
    x = L.Input((5, 3), name="x")
    h = L.LSTM(3, name="first")(x)
    model = randomize(keras.Model(x, {"first": L.Dense(2, name="second")(h), "second": h}))
    graph = check(model, tmp_path)
    assert [v.name for v in graph.outputs] == ["first", "second"]


def test_keyword_call(tmp_path):
    x = L.Input((5, 3), name="x")
    check(randomize(keras.Model(x, L.Dense(2)(inputs=L.LSTM(3)(sequences=x)))), tmp_path)


def test_names_of_a_reloaded_model(tmp_path):
    """The input is called as in the model that Keras makes of the file."""
    path = containers(sequential(L.LSTM(3), L.Dense(1)), tmp_path)[1]
    loaded = keras.models.load_model(path)
    graph = convert(path)
    assert [v.name for v in graph.inputs] == [v.name for v in loaded.inputs]
    assert [v.name for v in graph.outputs] == loaded._functional.output_names


def test_compiled_and_trained(tmp_path):
    model = sequential(L.LSTM(4, dropout=0.1), L.Dropout(0.1), L.Dense(1))
    model.compile("adam", "mse")
    model.fit(np.random.rand(8, 7, 3), np.random.rand(8, 1), verbose=0)
    check(model, tmp_path)


def test_provenance(tmp_path):
    live, archive, h5 = containers(sequential(L.LSTM(4)), tmp_path)
    expected = {
        "source": "keras",
        "producer": f"keras {keras.__version__}",
        "converter": module.CONVERTER,
    }
    assert convert(live).provenance == expected
    assert convert(archive).provenance == {**expected, "file": "model.keras"}
    assert convert(str(h5)).provenance == {**expected, "file": "model.h5"}


def test_container_is_told_by_content(tmp_path):
    """tf.keras before 2.12 wrote HDF5 whatever the ending was."""
    _, archive, h5 = containers(sequential(L.LSTM(4)), tmp_path)
    other = tmp_path / "hdf5.keras"
    other.write_bytes(h5.read_bytes())
    same(convert(other), convert(archive))


def test_float16_weights_are_widened(tmp_path):
    path = containers(sequential(L.LSTM(4)), tmp_path)[1]
    values = []

    def narrow(f):
        group = f["layers/lstm/cell/vars"]
        data = group["0"][()].astype(np.float16)
        del group["0"]
        group["0"] = data
        values.append(data)

    edit_weights(path, narrow)
    assert (convert(path).layers[0].weight_ih == values[0].T).all()


def test_no_framework_is_imported(tmp_path):
    _, archive, h5 = containers(sequential(L.LSTM(4), L.Dense(1)), tmp_path)
    code = (
        "import sys; from lstmc.converters import convert\n"
        "assert not {'h5py', 'keras'} & set(sys.modules), 'imported too early'\n"
        "for path in sys.argv[1:]: convert(path)\n"
        "bad = {'keras', 'tf_keras', 'tensorflow', 'torch', 'jax'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    command = [sys.executable, "-c", code, str(archive), str(h5)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_h5py_missing(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    for path in saved:
        refused(path, "pip install lstmc[keras]")
    convert(sequential(L.LSTM(2)))  # a live model doesn't need it


# ------------------------------------------------------------------------------------- sensitivity


@pytest.mark.parametrize("order", ["".join(p) for p in itertools.permutations("ifgo")])
def test_wrong_gate_order_shows(monkeypatch, order):
    model = sequential(L.LSTM(5), L.Dense(2))
    monkeypatch.setitem(gates.LSTM_ORDERS, "keras", order)
    wrong = error(convert(model), model)
    assert wrong <= TOLERANCE if order == "ifgo" else wrong > 100 * TOLERANCE


@pytest.mark.parametrize("layer", [0, 1])
def test_lost_bias_shows(layer):
    model = sequential(L.LSTM(5), L.Dense(2))
    graph = convert(model)
    graph.layers[layer].bias = None
    assert error(graph, model) > 100 * TOLERANCE


def test_wrong_hard_sigmoid_shows():
    model = sequential(L.LSTM(5, recurrent_activation="hard_sigmoid"), L.Dense(2))
    graph = convert(model)
    assert graph.layers[0].gate == g.HARD_SIGMOID_KERAS3
    graph.layers[0].gate = g.HARD_SIGMOID_KERAS2
    assert error(graph, model) > 100 * TOLERANCE


# ----------------------------------------------------------------------------------- Keras 2 files


def keras2_model(path, version="2.1.4", bare=True, **options):
    """A Sequential of LSTM, LSTM, Dropout, Dense, and a live model that computes the same."""

    def hard_sigmoid2(x):
        return keras.ops.clip(0.2 * x + 0.5, 0, 1)

    live = sequential(
        L.LSTM(5, recurrent_activation=hard_sigmoid2, return_sequences=True),
        L.LSTM(4, recurrent_activation=hard_sigmoid2),
        L.Dense(2, activation="sigmoid"),
    )
    shape = {"batch_input_shape": [None, 7, 3]}
    layers = [
        keras2_lstm("lstm_1", 5, return_sequences=True, **shape, **options),
        keras2_lstm("lstm_2", 4),
        keras2_layer("Dropout", "dropout_1", rate=0.2, noise_shape=None, seed=None),
        keras2_dense("dense_1", 2, activation="sigmoid"),
    ]
    root = {"class_name": "Sequential", "config": layers if bare else {"layers": layers}}
    a, b, c = (layer.get_weights() for layer in live.layers)
    weights = {
        "lstm_1": named("lstm_1", a),
        "lstm_2": named("lstm_2/lstm_cell", b),
        "dropout_1": {},
        "dense_1": named("dense_1", c),
    }
    return keras2_file(path, root, weights, version), live


@pytest.mark.parametrize("version", ["2.0.0", "2.1.4", "2.2.4-tf", "2.15.0"])
@pytest.mark.parametrize("bare", [True, False])
def test_keras2_sequential(tmp_path, version, bare):
    path, live = keras2_model(tmp_path / "m.h5", version, bare)
    graph = convert(path)
    assert error(graph, live) <= TOLERANCE
    assert graph.layers[0].gate == g.HARD_SIGMOID_KERAS2
    assert graph.inputs == [g.Value("lstm_1_input", ("batch", "time", 3), time=7)]
    assert graph.provenance["producer"] == f"keras {version}"


def test_keras3_says_otherwise(tmp_path):
    path, live = keras2_model(tmp_path / "m.h5", "3.0.0")
    assert error(convert(path), live) > 30 * TOLERANCE


@pytest.mark.parametrize("version", [None, "1.2.2", "4.0.0", "", "x"])
def test_other_versions(tmp_path, version):
    path, _ = keras2_model(tmp_path / "m.h5")
    with h5py.File(path, "r+") as f:
        del f.attrs["keras_version"]
        if version is not None:
            f.attrs["keras_version"] = version
    refused(path, "Keras", version or "unknown version")


def test_version_in_the_weights(tmp_path):
    """Some Keras 2 files keep the version with the weights only."""
    path, live = keras2_model(tmp_path / "m.h5")
    with h5py.File(path, "r+") as f:
        del f.attrs["keras_version"]
        f["model_weights"].attrs["keras_version"] = "2.2.0"
    assert error(convert(path), live) <= TOLERANCE


def keras2_nested(path, trainable, order):
    """Functional with a nested Sequential of two Dense layers; weights in the given order."""
    rng = np.random.default_rng(5)
    arrays = {n: rng.normal(size=s) for n, s in (("k1", (3, 3)), ("k2", (3, 3)))}
    inner_layers = [
        keras2_layer("InputLayer", "inner_in", batch_input_shape=[None, 3], sparse=False),
        keras2_dense("one", 3, use_bias=False, trainable=trainable[0]),
        keras2_dense("two", 3, use_bias=False, activation="tanh", trainable=trainable[1]),
    ]
    inner = keras2_layer("Sequential", "inner", layers=inner_layers)
    x = keras2_layer("InputLayer", "x", batch_input_shape=[None, 3], ragged=False)
    head = keras2_dense("head", 3, use_bias=False)
    for entry, nodes in ((x, []), (inner, [[["x", 0, 0, {}]]]), (head, [[["inner", 1, 0, {}]]])):
        entry["name"], entry["inbound_nodes"] = entry["config"]["name"], nodes
    root = {
        "class_name": "Model",
        "config": {
            "name": "model_1",
            "layers": [x, inner, head],
            "input_layers": [["x", 0, 0]],
            "output_layers": [["head", 0, 0], ["inner", 1, 0]],
        },
    }
    kernels = {"one/kernel:0": arrays["k1"], "two/kernel:0": arrays["k2"]}
    weights = {
        "x": {},
        "inner": {n: kernels[n] for n in order},
        "head": {"head/kernel:0": np.eye(3)},
    }
    float32 = {n: a.astype(np.float32) for n, a in arrays.items()}
    weights["inner"] = {n: a.astype(np.float32) for n, a in weights["inner"].items()}
    return keras2_file(path, root, weights, "2.4.0"), float32


ONE, TWO = "one/kernel:0", "two/kernel:0"


@pytest.mark.parametrize(
    ("trainable", "order"),
    [((True, True), (ONE, TWO)), ((False, True), (TWO, ONE)), ((True, False), (ONE, TWO))],
)
def test_keras2_nested(tmp_path, trainable, order):
    path, k = keras2_nested(tmp_path / "m.h5", trainable, order)
    graph = convert(path)
    x = np.random.default_rng(0).normal(size=(2, 3))
    got = reference.run(graph, {"x": x})
    expected = np.tanh(x @ k["k1"].astype(float) @ k["k2"].astype(float))
    np.testing.assert_allclose(got["head"], expected, rtol=1e-12)
    np.testing.assert_allclose(got["inner"], expected, rtol=1e-12)


def test_keras2_nested_in_unexpected_order(tmp_path):
    path, _ = keras2_nested(tmp_path / "m.h5", (False, True), (ONE, TWO))
    refused(path, "inner/", "save the model again")


def test_keras2_nested_called_twice(tmp_path):
    path, _ = keras2_nested(tmp_path / "m.h5", (True, True), (ONE, TWO))

    def twice(root):
        root["config"]["layers"][1]["inbound_nodes"] *= 2

    refused(edit(path, twice), "inner", "called more than once")


def test_keras2_names_split_over_attributes(tmp_path):
    path, live = keras2_model(tmp_path / "m.h5")
    with h5py.File(path, "r+") as f:
        attrs = f["model_weights"].attrs
        names = attrs["layer_names"]
        del attrs["layer_names"]
        attrs["layer_names0"], attrs["layer_names1"] = names[:1], names[1:]
    assert error(convert(path), live) <= TOLERANCE


def test_keras2_arguments(tmp_path):
    for options, words in (
        ({"time_major": True}, ["lstm_1", "time_major=True"]),
        ({"initial_state": "x"}, ["initial_state=x", "unknown"]),
    ):
        refused(keras2_model(tmp_path / "m.h5", **options)[0], *words)
    path, live = keras2_model(tmp_path / "m.h5", time_major=False, someday=None, input_dim=3)
    assert error(convert(path), live) <= TOLERANCE


# --------------------------------------------------------------------------------------- refusals


class Custom(L.Layer):
    def call(self, x):
        return x


@keras.saving.register_keras_serializable("mine")
class Registered(L.LSTM):
    pass


LSTM = type("LSTM", (L.LSTM,), {})  # a class of one's own with a name of Keras's


def functional(build, *shapes):
    inputs = [L.Input(s, name=f"x{i}") for i, s in enumerate(shapes or [(7, 3)])]
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], build(*inputs))


def quantized():
    model = sequential(L.LSTM(4), L.Dense(4, name="d"))
    model.quantize("int8")
    return model


def lora():
    model = sequential(L.LSTM(4), L.Dense(4, name="d"))
    model.layers[1].enable_lora(2)
    return model


REFUSALS = {
    "softmax_in_lstm": (
        lambda: sequential(L.LSTM(4, activation="softmax", name="r")),
        ["'r'", "softmax"],
    ),
    "softmax_axes": (lambda: sequential(L.Softmax(axis=[1, 2], name="s")), ["'s'", "axis=[1, 2]"]),
    "time_distributed_model": (
        lambda: sequential(
            L.TimeDistributed(keras.Sequential([L.Input((3,)), L.Dense(2)]), name="t")
        ),
        ["'t' (TimeDistributed)", "Sequential"],
    ),
    "training": (
        lambda: functional(lambda x: L.Dropout(0.5, name="mc")(x, training=True)),
        ["'mc' (Dropout)", "training=True"],
    ),
    "training_lstm": (
        lambda: functional(lambda x: L.LSTM(4, dropout=0.5, name="mc")(x, training=True)),
        ["'mc' (LSTM)", "training=True"],
    ),
    "mixed_float16": (
        lambda: sequential(L.LSTM(4, dtype="mixed_float16", name="r")),
        ["'r'", "mixed_float16", "float32"],
    ),
    "bfloat16": (
        lambda: sequential(L.Dense(4, dtype="bfloat16", name="d")),
        ["'d'", "bfloat16"],
    ),
    "float64": (lambda: sequential(L.Dense(4, dtype="float64", name="d")), ["'d'", "float64"]),
    "integer_input": (
        lambda: keras.Sequential([L.Input((7, 3), dtype="int32", name="ids"), L.Dense(2)]),
        ["ints", "'ids'", "float32"],
    ),
    "rank_4": (
        lambda: sequential(L.Dense(2), shape=(7, 3, 2)),
        ["InputLayer", "[None, 7, 3, 2]"],
    ),
    "rank_1": (lambda: functional(lambda x: L.Activation("relu")(x), ()), ["x0", "[None]"]),
    "open_features": (
        lambda: functional(lambda x: L.Activation("relu")(x), (7, None)),
        ["x0", "fixed features"],
    ),
    "only_an_input": (lambda: keras.Sequential([L.Input((7, 3))]), ["layers"]),
    "output_named_as_an_input": (
        lambda: functional(lambda x: {"x0": L.LSTM(2)(x)}),
        ["name of an input"],
    ),
    "quantized": (quantized, ["'d' (Dense)", "quantiz"]),
    "lora": (lora, ["'d' (Dense)", "lora_rank=2", "merge"]),
    "custom": (lambda: sequential(Custom(name="c")), ["'c' (Custom)"]),
    "registered": (lambda: sequential(Registered(4, name="c")), ["'c'", "custom"]),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(tmp_path, case):
    build, words = REFUSALS[case]
    model = build()
    refused(model, *words)
    for path in (tmp_path / "m.keras", tmp_path / "m.h5"):
        try:
            model.save(path)
        except Exception:  # Keras can't save it either
            continue
        refused(path, *words)


def test_class_with_a_familiar_name(tmp_path):
    model = sequential(LSTM(4, name="mine"))
    refused(model, "'mine' (LSTM)", "custom")
    model.save(tmp_path / "m.keras")
    refused(tmp_path / "m.keras", "'mine' (LSTM)", "custom")


def test_function_with_a_familiar_name():
    def relu(x):
        return x * 2

    refused(sequential(L.Dense(4, activation=relu, name="d")), "'d'", "activation", "named Keras")
    lstm = L.LSTM(4, recurrent_activation=relu, name="r")
    refused(sequential(lstm), "'r'", "recurrent_activation")


def test_functions_of_keras_ops_are_fine():
    model = sequential(L.Dense(4, activation=keras.ops.relu))
    assert error(convert(model), model) <= TOLERANCE


def test_lambda_is_never_executed(tmp_path):
    model = sequential(L.Lambda(lambda x: 1 / 0 if False else x, name="code"))
    words = ["'code' (Lambda)", "never executes"]
    refused(model, *words)
    for path in (tmp_path / "m.keras", tmp_path / "m.h5"):
        model.save(path)
        refused(path, *words)


class Subclassed(keras.Model):
    def call(self, x):
        return x


class SubclassedSequential(keras.Sequential):
    pass


def test_live_objects_that_are_not_models():
    refused(Subclassed(), "Subclassed", "not subclasses")
    refused(SubclassedSequential([L.Input((3,)), L.Dense(1)]), "SubclassedSequential")
    refused(L.LSTM(4), "LSTM", "keras.Sequential")


def test_saved_subclass(tmp_path):
    model = SubclassedSequential([L.Input((3,)), L.Dense(1)])
    model.save(tmp_path / "m.keras")
    refused(tmp_path / "m.keras", "SubclassedSequential", "keras.Sequential")


def test_config_that_raises():
    def get_config():
        raise OSError("secret\nreason")

    model = sequential(L.Dense(2))
    model.layers[-1].get_config = get_config
    refused(model, "config can't be read", "secret reason")


def test_call_replaced_on_the_instance():
    model = sequential(L.Dense(2, name="d"))
    model.layers[-1].call = lambda x: x
    refused(model, "'d' (Dense)", "replaced on the instance")


def test_unregistered_class_with_a_familiar_name_in_a_file(tmp_path):
    class Dense(L.Dense):
        def call(self, inputs, training=None):
            return super().call(inputs) * 2

    model = sequential(Dense(2, name="d"))
    refused(model, "'d' (Dense)", "custom class")
    model.save(tmp_path / "m.keras")  # an .h5 holds the bare name, and Keras loads its own class
    refused(tmp_path / "m.keras", "'d' (Dense)", "custom class")


def test_unbuilt():
    refused(keras.Sequential([L.LSTM(4)]), "build")


def test_built_on_data(tmp_path):
    model = keras.Sequential([L.LSTM(4), L.Dense(1)])
    model(np.zeros((2, 5, 3), np.float32))
    check(randomize(model), tmp_path)


def test_options():
    with pytest.raises(ConversionError, match="no option 'speed'"):
        convert(sequential(L.LSTM(2)), speed=1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layer", [0, 1])
def test_weights_not_finite(tmp_path, value, layer):
    model = sequential(L.LSTM(4, name="rnn"), L.Dense(2, name="head"))
    weights = model.layers[layer].get_weights()
    weights[-1][1] = value
    model.layers[layer].set_weights(weights)
    for source in containers(model, tmp_path):
        refused(source, ("'rnn'", "'head'")[layer], "'bias'", "NaN")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"peephole": True}, ["peephole=True", "unknown"]),
        ({"peephole": False}, None),
        ({"peephole": None}, None),
        ({"activation": None}, None),
        ({"units": "4"}, ["units"]),
        ({"units": True}, ["units"]),
        ({"units": -4}, ["units"]),
        ({"units": 5}, ["'kernel'", "(3, 16)", "(3, 20)"]),
        ({"return_sequences": None}, ["return_sequences"]),
        ({"activation": ["tanh"]}, ["activation"]),
        ({"activation": "<lambda>"}, ["activation=<lambda>"]),
        ({"dtype": {"class_name": "QuantizedDTypePolicy"}}, ["Quantized"]),
        ({"dtype": {"class_name": "DTypePolicy", "config": {"name": "float16"}}}, ["float16"]),
    ],
)
def test_edited_options(saved, change, words):
    for path in saved:
        edit(path, lambda c: c["config"]["layers"][1]["config"].update(change))
        if words is None:
            convert(path)
        else:
            refused(path, "rnn", *words)


@pytest.mark.parametrize("option", ["recurrent_activation", "activation", "units"])
def test_missing_options_are_not_guessed(saved, option):
    """Their defaults changed between versions of Keras."""
    for path in saved:
        edit(path, lambda c: c["config"]["layers"][1]["config"].pop(option) and None)
        refused(path, "rnn", option)


def test_use_bias_missing(saved):
    for path in saved:
        edit(path, lambda c: c["config"]["layers"][1]["config"].pop("use_bias") and None)
        refused(path, "rnn", "use_bias", kind=FormatError)


# ------------------------------------------------------------------------------------ broken files


def test_weights_only(tmp_path):
    model = sequential(L.LSTM(4), L.Dense(1))
    model.save_weights(tmp_path / "m.weights.h5")
    refused(tmp_path / "m.weights.h5", "weights only", "architecture", "model.save")


def test_other_files(tmp_path):
    path = tmp_path / "m.keras"
    for data, words in (
        (b"", ["empty"]),
        (b"hello", ["neither"]),
        (b"version https://git-lfs.github.com/spec/v1\n", ["git"]),
        (b"PK\x03\x04", ["corrupt"]),
        (b"\x89HDF\r\n\x1a\n", ["m.keras"]),
        (os.urandom(5000), ["neither"]),
    ):
        path.write_bytes(data)
        if data.startswith(b"version"):
            refused(path, "LFS", kind=FormatError)
        else:
            refused(path, *words, kind=FormatError)
    write_zip(path, {"something": b"else"})
    refused(path, "not a Keras model", kind=FormatError)
    with h5py.File(path, "w") as f:
        f["data"] = 1
    refused(path, "not a Keras model", kind=FormatError)
    with h5py.File(path, "w") as f:
        f.attrs["model_config"] = "{}"
    refused(path, "model_weights", kind=FormatError)


def test_unreadable_paths(tmp_path):
    folder = tmp_path / "dir.keras"
    folder.mkdir()
    refused(folder, "dir.keras", kind=FormatError)
    with pytest.raises(FileNotFoundError):
        convert(tmp_path / "none.keras")
    with pytest.raises(FileNotFoundError):
        module.convert(tmp_path / "none.keras")
    locked = tmp_path / "locked.keras"
    locked.write_bytes(b"PK")
    locked.chmod(0)
    if not os.access(locked, os.R_OK):  # root reads everything
        refused(locked, "ermission", kind=FormatError)


@pytest.mark.parametrize("member", ["config.json", "metadata.json", "model.weights.h5"])
def test_missing_member(saved, member):
    members = members_of(saved[0])
    del members[member]
    refused(write_zip(saved[0], members), member, kind=FormatError)


def test_weights_in_another_form(saved):
    members = members_of(saved[0])
    members["model.weights.npz"] = members.pop("model.weights.h5")
    refused(write_zip(saved[0], members), "another way")


def test_draft_of_keras_2_12(saved):
    edit_weights(saved[0], lambda f: f.move("layers", "_layer_checkpoint_dependencies"))
    refused(saved[0], "2.12")


def test_archive_of_keras_2(saved):
    members = members_of(saved[0])
    members["metadata.json"] = b'{"keras_version": "2.15.0"}'
    text = members["config.json"].replace(b'"sigmoid"', b'"hard_sigmoid"')
    members["config.json"] = text
    assert convert(write_zip(saved[0], members)).layers[0].gate == g.HARD_SIGMOID_KERAS2


@pytest.mark.parametrize("metadata", [b"{}", b"[]", b'{"keras_version": 3}', b'"3.0"'])
def test_no_version_in_an_archive(saved, metadata):
    members = {**members_of(saved[0]), "metadata.json": metadata}
    refused(write_zip(saved[0], members), "Keras")


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (b"", FormatError),
        (b"{", FormatError),
        (b"\xff\xfe", FormatError),
        (b"[]", FormatError),
        (b"null", FormatError),
        (b"3", FormatError),
        (b"{}", FormatError),
        (b"[" * 200_000, ConversionError),
        (b'{"a":' * 200_000, ConversionError),
        (b'{"n": ' + b"9" * 10_000 + b"}", FormatError),
        (b'{"class_name": "Sequential"}', FormatError),
        (b'{"class_name": "Sequential", "config": {"layers": []}}', FormatError),
        (b'{"class_name": "LSTM", "config": {"name": "x"}}', ConversionError),
        (b'{"class_name": "Dropout", "config": {"name": "x"}}', ConversionError),
        (b'{"class_name": "InputLayer", "config": {"batch_shape": [null, 3]}}', ConversionError),
    ],
    ids=lambda v: v.decode("latin1")[:20] if isinstance(v, bytes) else "",
)
def test_bad_configs(saved, config, kind):
    archive, h5 = saved
    refused(write_zip(archive, {**members_of(archive), "config.json": config}), kind=kind)
    if len(config) < 60_000 and b"\xff" not in config:
        with h5py.File(h5, "r+") as f:
            f.attrs["model_config"] = config.decode()
        refused(h5, kind=kind)


def test_models_nested_too_deeply(saved):
    members = members_of(saved[0])
    opening = b'{"class_name": "Sequential", "config": {"name": "m", "layers": ['
    for depth in (100, 300, 100_000):
        config = opening * depth + members["config.json"] + b"]}}" * depth
        with pytest.raises(Error):
            convert(write_zip(saved[0], {**members, "config.json": config}))


def test_models_that_multiply(saved):
    """Each model calls the one inside twice: 2^30 layers of a few kilobytes."""

    def multiply(root):
        def tensor(layer, call):
            history = {"keras_history": [layer, call, 0]}
            return {"class_name": "__keras_tensor__", "config": history}

        entry = {"class_name": "ReLU", "config": {"name": "r"}, "name": "r"}
        for i in range(30):
            x = {
                "class_name": "InputLayer",
                "config": {"name": "x", "batch_shape": [None, 3]},
                "inbound_nodes": [],
            }
            entry["inbound_nodes"] = [
                {"args": [tensor("x", 0)]},
                {"args": [tensor(entry["name"], 0)]},
            ]
            out = [[entry["name"], 1 if i == 0 else 2, 0]]
            config = {"name": f"m{i}", "layers": [x, entry], "input_layers": [["x", 0, 0]]}
            config["output_layers"] = out
            entry = {"class_name": "Functional", "config": config, "name": f"m{i}"}
        return entry

    edit_weights(saved[0], lambda f: f.__delitem__("layers"))
    refused(edit(saved[0], multiply), "more than")


def test_loops(saved):
    model = functional(lambda x: L.Dense(3, name="b")(L.Dense(3, name="a")(x)))
    model.save(saved[0])

    def loop(root):
        node = root["config"]["layers"][1]["inbound_nodes"][0]
        node["args"][0]["config"]["keras_history"] = ["b", 0, 0]

    refused(edit(saved[0], loop), "loops", kind=FormatError)


def test_inputs_that_do_not_fit(saved):
    """Configs that Keras itself would not have made."""
    two = functional(lambda x, y: [L.Dense(2, name="d")(x), L.Dense(2)(y)], (3,), (3,))

    def case(change, *words, kind=FormatError):
        two.save(saved[0])
        refused(edit(saved[0], lambda root: change(root["config"])), *words, kind=kind)

    def node(config):
        config["layers"][2]["inbound_nodes"][0]["args"][0]["config"]["keras_history"][0] = "no"

    case(node, "'no'", "no such layer")
    case(lambda c: c.update(input_layers=["d", 0, 0]), "'d'", "not an InputLayer")
    case(lambda c: c.update(input_layers=[]), "no inputs")
    case(lambda c: c.update(output_layers=["d", 0, 1]), "no output 1")
    case(lambda c: c.update(output_layers=["d", 2, 0]), "call 2")
    short = ["x0", 0, 0]
    case(lambda c: c.update(input_layers=short), "'x1'", "inputs", kind=ConversionError)

    for first, words in (
        ({"batch_shape": [None, 3]}, ["'rnn'", "no time axis"]),
        ({"batch_shape": [None, 7, 4]}, ["'rnn'", "'kernel'", "(4, 16)"]),
        ({"batch_shape": [None, 7, 0]}, ["shape"]),
        ({"batch_shape": [None, 7, 3.0]}, ["shape"]),
        ({"batch_shape": 3}, ["shape 3"]),
        ({"sparse": True}, ["sparse=True", "dense"]),
    ):
        sequential(L.LSTM(4, name="rnn")).save(saved[0])
        edit(saved[0], lambda r, first=first: r["config"]["layers"][0]["config"].update(first))
        with pytest.raises(Error) as caught:
            convert(saved[0])
        assert all(w in str(caught.value) for w in words), caught.value
    sequential(L.TimeDistributed(L.Dense(2), name="t")).save(saved[0])

    def flat(root):
        root["config"]["layers"][0]["config"]["batch_shape"] = [None, 3]

    refused(edit(saved[0], flat), "'t' (TimeDistributed)", "no time axis")

    def middle(root):
        root["config"]["layers"].insert(
            1, {"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [None, 3]}}
        )

    refused(edit(saved[0], middle), "'i'", "in the middle", kind=FormatError)


def test_too_large_for_what_is_stored(saved):
    archive, h5 = saved
    members = members_of(archive)
    bomb = {**members, "config.json": b" " * (1 << 25)}
    refused(write_zip(archive, bomb, zipfile.ZIP_DEFLATED), "declares", kind=FormatError)
    bomb = {**members, "model.weights.h5": bytes(1 << 25)}
    refused(write_zip(archive, bomb, zipfile.ZIP_DEFLATED), "declares", kind=FormatError)

    # A size that isn't true: patch it in the central directory.
    write_zip(archive, members)
    data = bytearray(archive.read_bytes())
    where = data.rindex(b"model.weights.h5") - 46 + 24
    data[where : where + 4] = struct.pack("<I", 0xFFFFFFF0)
    archive.write_bytes(data)
    refused(archive, kind=FormatError)

    # A data set of a terabyte of which nothing is stored.
    with h5py.File(h5, "r+") as f:
        names = []
        f["model_weights/head"].visit(names.append)
        group = f["model_weights/head"][next(n for n in names if n.endswith("/kernel"))].parent
        del group["kernel"]
        group.create_dataset("kernel", (4, 1 << 38), "f4", chunks=(4, 1024))
    refused(h5, "declares", kind=FormatError)


def test_members_twice(saved):
    with zipfile.ZipFile(saved[0], "a") as z, pytest.warns(UserWarning):
        z.writestr("config.json", "{}")
    refused(saved[0], "same name", kind=FormatError)


def kernel_of(f):
    return f["layers/lstm/cell/vars"]


def test_wrong_weights_in_an_archive(saved):
    path = saved[0]
    good = path.read_bytes()

    def case(change, *words, kind=ConversionError):
        path.write_bytes(good)
        refused(edit_weights(path, change), *words, kind=kind)

    def replace(value):
        def change(f):
            del kernel_of(f)["0"]
            kernel_of(f)["0"] = value

        return change

    case(replace(np.zeros((4, 16), "f4")), "'rnn'", "'kernel'", "(4, 16)", "(3, 16)")
    case(replace(np.zeros(48, "f4")), "'rnn'", "'kernel'", "(48,)")
    case(replace(np.zeros((3, 16), "i4")), "'rnn'", "'kernel'", "int32")
    case(replace(np.full((3, 16), 0.1)), "'rnn'", "'kernel'", "not exact")
    case(replace(np.full((3, 16), 1e300)), "'rnn'", "'kernel'", "not exact")
    case(replace(np.full((3, 16), b"x")), "'rnn'", "'kernel'")
    case(lambda f: f.__delitem__("layers"), "'rnn'", "0 weights")
    case(lambda f: f.__delitem__("layers/dense"), "'head'", "0 weights")
    case(lambda f: kernel_of(f).__delitem__("2"), "'rnn'", "2 weights", "bias")
    case(lambda f: kernel_of(f).__delitem__("0"), "vars", kind=FormatError)
    case(lambda f: kernel_of(f).__setitem__("3", 1.0), "'rnn'", "4 weights")
    case(lambda f: f.__setitem__("layers/gru/vars/0", 1.0), "layers/gru")
    case(lambda f: f["layers/dense/vars"].attrs.__setitem__("name", "x"), "'head'", "'x'")


def test_weights_of_one_shape_swapped_in_h5(tmp_path):
    """Only their names tell kernel and recurrent kernel apart where I = H."""
    path = containers(sequential(L.LSTM(3, name="rnn")), tmp_path)[2]
    with h5py.File(path, "r+") as f:
        attrs = f["model_weights/rnn"].attrs
        a, b, c = attrs["weight_names"]
        attrs["weight_names"] = [b, a, c]
    refused(path, "'rnn'", "recurrent_kernel", "'kernel' should be")


def test_what_would_hang_or_crash_the_hdf5_library(saved):
    path = saved[1]
    good = path.read_bytes()
    heap = good.index(b"GCOL")
    end = heap + int.from_bytes(good[heap + 8 : heap + 16], "little")
    for place, value in (
        (heap + 8, 0),
        (heap + 8, 1 << 40),
        (heap + 16 + 8, 1 << 40),  # the first object's size
        (heap + 16, 0),  # its index: free space of a few bytes, the rest misread
    ):
        data = bytearray(good)
        data[place : place + 8] = value.to_bytes(8, "little")
        path.write_bytes(data)
        with contextlib.suppress(FormatError):
            convert(path)
    at = heap + 16  # empty the free space behind the last object
    while int.from_bytes(good[at : at + 2], "little"):
        at += 16 + (int.from_bytes(good[at + 8 : at + 16], "little") + 7) // 8 * 8
    assert at < end
    path.write_bytes(good[: at + 8] + bytes(8) + good[at + 16 :])
    refused(path, "heap", kind=FormatError)
    path.write_bytes(good)
    with h5py.File(path, "r+") as f:
        del f.attrs["keras_version"]
        numbers = np.empty(1, object)
        numbers[0] = np.arange(3)
        f.attrs.create("keras_version", numbers, dtype=h5py.vlen_dtype(int))
    refused(path, "keras_version", "not text", kind=FormatError)


def test_links_are_not_followed(saved, tmp_path):
    archive, h5 = saved
    with h5py.File(tmp_path / "other.h5", "w") as f:
        f["secret"] = np.zeros((3, 16), "f4")
    good = archive.read_bytes()
    for link in (
        h5py.ExternalLink(str(tmp_path / "other.h5"), "secret"),
        h5py.SoftLink("/layers/lstm/cell/vars/1"),
    ):

        def change(f, link=link):
            del kernel_of(f)["0"]
            kernel_of(f)["0"] = link

        archive.write_bytes(good)
        refused(edit_weights(archive, change), "link", kind=FormatError)

    raw = tmp_path / "raw"
    raw.write_bytes(bytes(192))

    def outside(f):
        del kernel_of(f)["0"]
        kernel_of(f).create_dataset("0", (3, 16), "f4", external=[(str(raw), 0, 192)])

    archive.write_bytes(good)
    refused(edit_weights(archive, outside), "outside", kind=FormatError)

    with h5py.File(h5, "r+") as f:
        f["model_weights/elsewhere"] = f["model_weights/rnn"]
        del f["model_weights/rnn"]
        f["model_weights/rnn"] = h5py.SoftLink("/model_weights/elsewhere")
    refused(h5, "link", kind=FormatError)


def test_wrong_weights_in_h5(tmp_path):
    path, _ = keras2_model(tmp_path / "m.h5")
    good = path.read_bytes()

    def case(change, *words, kind=ConversionError):
        path.write_bytes(good)
        with h5py.File(path, "r+") as f:
            change(f["model_weights"])
        refused(path, *words, kind=kind)

    def names(layer, change):
        def apply(group):
            attrs = group[layer].attrs
            attrs["weight_names"] = np.array(change(list(attrs["weight_names"])))

        return apply

    case(names("lstm_1", lambda n: n[:2]), "'lstm_1'", "2 weights", "expected 3")
    case(names("lstm_1", lambda n: [n[2], n[1], n[0]]), "'lstm_1'", "'kernel'")
    case(names("dense_1", lambda n: [*n, n[0]]), "'dense_1'", "3 weights")
    case(names("lstm_1", lambda n: [b"none", *n[1:]]), "none", "missing", kind=FormatError)
    case(lambda w: w.__delitem__("lstm_2"), "lstm_2", kind=FormatError)
    case(lambda w: w.attrs.__delitem__("layer_names"), "layer_names", kind=FormatError)
    case(lambda w: w.attrs.__setitem__("layer_names", [b"lstm_1"]), "'lstm_2'", "0 weights")

    def add(group):
        group["gru_1/kernel:0"] = np.zeros(3)
        group["gru_1"].attrs["weight_names"] = [b"kernel:0"]
        group.attrs["layer_names"] = np.append(group.attrs["layer_names"], b"gru_1")

    case(add, "gru_1", "no such layer")


def plain_model():
    a, b = L.Input((5, 3), name="a"), L.Input((4,), name="b")
    inner = keras.Sequential([L.Input((4,)), L.Dense(4)], name="inner")
    out = [L.TimeDistributed(L.Dense(2))(L.LSTM(3, return_sequences=True)(a)), inner(inner(b))]
    return keras.Model([a, b], out)


def recurrent_model():
    a, b = L.Input((5,), name="a"), L.Input((None, 2), name="b")
    x = L.Embedding(5, 3, mask_zero=True)(a)
    x, *states = L.Bidirectional(L.GRU(2, return_sequences=True, return_state=True))(x)
    y = L.RNN([L.GRUCell(2), L.LSTMCell(2)], return_sequences=True)(L.Masking()(b))
    y = L.GRU(2)(y, initial_state=states[0])
    return keras.Model([a, b], [L.Add()([y, states[1]]), L.GlobalAveragePooling1D()(x)])


def layered_model():
    a = L.Input((6, 4), name="a")
    x = L.BatchNormalization()(L.Conv1D(4, 2, padding="same", groups=2, activation="elu")(a))
    x = L.PReLU(shared_axes=[1])(L.DepthwiseConv1D(2, depth_multiplier=2)(x))
    x = L.LayerNormalization()(L.SeparableConv1D(3, 2)(L.AveragePooling1D(3, 1, "same")(x)))
    x = L.Reshape((3, 4))(L.Permute((2, 1))(x) * 2.0 + 1)[:, :-1]
    x = L.Softmax(axis=1)(L.ReLU(max_value=1)(L.Cropping1D(0)(L.ZeroPadding1D(1)(x))))
    return keras.Model(a, [keras.ops.mean(x, axis=1), L.Concatenate()([x, x]), x[:, 0, 1:]])


@pytest.mark.parametrize("make", [plain_model, recurrent_model, layered_model])
def test_any_config_gives_an_answer_or_an_error(saved, make):
    """Damage the config in a thousand ways: nothing but lstmc's own errors may come out."""
    archive, _ = saved
    make().save(archive)
    members = members_of(archive)
    root = json.loads(members["config.json"])
    values = [
        None,
        True,
        0,
        -1,
        2,
        1e9,
        "",
        "a",
        "LSTM",
        "inner",
        [],
        {},
        [[]],
        ["a", 0, 0],
        [None],
    ]
    rng = random.Random(0)

    def places(node):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in list(items):
            yield node, key
            if isinstance(value, (dict, list)):
                yield from places(value)

    outcomes = {"fine": 0, "refused": 0}
    for _ in range(1000):
        damaged = copy.deepcopy(root)
        for _ in range(rng.randint(1, 3)):
            skipped = ("initializer", "regularizer", "constraint", "seed", "registered_name")
            where = [p for p in places(damaged) if not any(w in str(p[1]) for w in skipped)]
            node, key = rng.choice(where)
            if rng.random() < 0.25 and isinstance(node, dict):
                del node[key]
            elif rng.random() < 0.1 and isinstance(node, list):
                node.append(copy.deepcopy(node[key]))
            else:
                node[key] = copy.deepcopy(rng.choice(values))
        metadata = json.dumps({"keras_version": rng.choice(["2.4.0", "3.1.0", "3.15.1"])}).encode()
        config = json.dumps(damaged).encode()
        write_zip(archive, {**members, "config.json": config, "metadata.json": metadata})
        try:
            convert(archive)
            outcomes["fine"] += 1
        except Error:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 50, outcomes


@pytest.mark.parametrize("which", [0, 1])
def test_any_bytes_give_an_answer_or_an_error(saved, which):
    path = saved[which]
    good = path.read_bytes()
    rng = random.Random(which)
    for i in range(150):
        data = bytearray(good)
        if i % 3 == 0:
            del data[rng.randrange(len(data)) :]
        for _ in range(rng.choice([0, 1, 20]) if i % 3 == 0 else rng.choice([1, 5, 50])):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        with contextlib.suppress(Error):
            convert(path)


def test_every_refused_class_is_named():
    """The table of layers and the advice don't contradict each other."""
    assert not set(keras_config.ADVICE) & set(module.LAYERS)
    for part in (keras_layers, keras_merge, keras_recurrent, keras_steps):
        assert list(part.LAYERS) == sorted(part.LAYERS)
    assert list(keras_ops.OPERATIONS) == sorted(keras_ops.OPERATIONS)
    total = (keras_layers, keras_merge, keras_recurrent, keras_steps)
    assert len(module.LAYERS) == sum(len(part.LAYERS) for part in total)
