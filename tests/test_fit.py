"""fit, evaluate and the rest: against Keras, and what they promise."""

from __future__ import annotations

import math
import pickle
import signal
import threading
import time
import warnings

import numpy as np
import pytest
from training_nets import compiled, regression, weights_equal

import lstmc
from lstmc import losses, optimizers
from lstmc.training.batches import Layout
from lstmc.training.engine import Engine
from lstmc.training.order import permutation

keras = pytest.importorskip("keras")
L = keras.layers


def sequence_data(rows: int = 37, seed: int = 1):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 6, 3)).astype(np.float32)
    return x, x.mean((1, 2))[:, None].astype(np.float32)


def lstm(features: int = 1, activation: str | None = None, **options):
    return keras.Sequential([
        keras.Input((6, 3)), L.LSTM(7, **options), L.Dense(features, activation=activation)
    ])  # fmt: skip


def both(net, x, y, *, fit=None, **compile_options):
    """Histories of Keras and of ours, of the same weights and order, and the models."""
    model = lstmc.convert(net)
    net.compile(**{k: theirs(v) for k, v in compile_options.items()})
    model.compile(**compile_options)
    options = {"epochs": 3, "batch_size": 8, "shuffle": False, "verbose": 0, **(fit or {})}
    wanted = net.fit(x, y, **options).history
    return wanted, model.fit(x, y, **options).history, model


def theirs(value):
    """Keras's object for one of ours."""
    if isinstance(value, optimizers.Optimizer):
        settings = {k: v for k, v in value.settings.items() if v}
        return getattr(keras.optimizers, type(value).__name__)(value.learning_rate, **settings)
    if isinstance(value, losses.Loss):
        name = "".join(w.capitalize() for w in value.kind.split("_"))
        return getattr(keras.losses, name)(from_logits=value.from_logits)
    return value


def assert_close(wanted, got, tolerance=1e-4):
    assert set(got) == set(wanted)
    for name, values in wanted.items():
        assert got[name] == pytest.approx(values, rel=tolerance, abs=1e-6), name


# ------------------------------------------------------------------------------------ against Keras


@pytest.mark.parametrize("optimizer", [
    "sgd", "adam", "adamw", "rmsprop", optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    optimizers.Adam(0.01, clipnorm=0.1),
], ids=str)  # fmt: skip
def test_history_of_an_lstm(optimizer):
    x, y = sequence_data()
    wanted, got, _ = both(
        lstm(), x, y, optimizer=optimizer, loss="mse", metrics=["mae", "mse"],
        fit={"validation_split": 0.3},
    )  # fmt: skip
    assert_close(wanted, got)


@pytest.mark.parametrize("loss, kind", [
    ("sparse_categorical_crossentropy", "number"), ("categorical_crossentropy", "one hot"),
    (losses.SparseCategoricalCrossentropy(from_logits=True), "number"),
    ("binary_crossentropy", "yes"),
], ids=str)  # fmt: skip
def test_history_of_a_classifier(loss, kind):
    x, y = sequence_data()
    numbers = np.digitize(y[:, 0], [-0.1, 0.1])
    logits = isinstance(loss, losses.Loss)
    if kind == "yes":
        net, target = lstm(1, "sigmoid"), (numbers > 0).astype(np.float32)[:, None]
    else:
        net = lstm(3, None if logits else "softmax")
        target = numbers if kind == "number" else np.eye(3, dtype=np.float32)[numbers]
    wanted, got, model = both(
        net, x, target, optimizer="sgd", loss=loss, metrics=["accuracy"],
        fit={"class_weight": {0: 2.0, 1: 0.5}, "validation_data": (x[:9], target[:9])},
    )  # fmt: skip
    assert_close(wanted, got)
    loss_, accuracy = model.evaluate(x, target, verbose=0)
    assert [loss_, accuracy] == pytest.approx(net.evaluate(x, target, verbose=0), rel=1e-4)


def test_several_inputs_and_outputs():
    rng = np.random.default_rng(2)
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    joined = L.Concatenate()([L.Dense(5, "tanh")(a), L.Dense(4, "tanh")(b)])
    p, q = L.Dense(2, name="p")(joined), L.Dense(1, name="q")(joined)
    net = keras.Model([a, b], [p, q])
    x = {"a": rng.standard_normal((20, 4)), "b": rng.standard_normal((20, 3))}
    y = {"p": rng.standard_normal((20, 2)), "q": rng.standard_normal((20, 1))}
    x, y = ({k: v.astype(np.float32) for k, v in d.items()} for d in (x, y))
    model = lstmc.convert(net)
    names = list(model.outputs)
    options = {"optimizer": "sgd", "loss_weights": [1.0, 0.25]}
    net.compile(loss=["mse", "mse"], metrics=[["mae"], ["mse", "mae"]], **options)
    model.compile(loss="mse", metrics=[["mae"], ["mse", "mae"]], **options)
    fit = {"epochs": 2, "batch_size": 8, "shuffle": False, "verbose": 0}
    wanted = net.fit([x["a"], x["b"]], [y["p"], y["q"]], **fit).history
    by_name = dict(zip(names, (y["p"], y["q"]), strict=True))
    got = model.fit(dict(zip(model.inputs, x.values(), strict=True)), by_name, **fit).history
    rename = {n: n.replace("p", names[0], 1) if n[0] == "p" else n.replace("q", names[1], 1)
              for n in wanted if n != "loss"}  # fmt: skip
    wanted = {rename.get(n, n): v for n, v in wanted.items()}
    assert set(got) == set(wanted)
    for name, values in wanted.items():
        assert got[name] == pytest.approx(values, rel=1e-4), name
    again = model.evaluate([x["a"], x["b"]], [y["p"], y["q"]], verbose=0, return_dict=True)
    assert list(again) == model.metrics_names
    assert again["loss"] == pytest.approx(
        again[f"{names[0]}_loss"] + 0.25 * again[f"{names[1]}_loss"], rel=1e-6
    )
    # One output alone.
    model.compile(optimizer="sgd", loss={names[1]: "mse"}, metrics={names[1]: "mae"})
    before = model.graph
    model.fit([x["a"], x["b"]], y["q"], verbose=0)
    kept = next(i for i, layer in enumerate(before.layers) if names[0] in layer.outputs)
    assert np.array_equal(before.layers[kept].weight, model.graph.layers[kept].weight)


def test_sample_weights_and_weighted_metrics():
    x, y = sequence_data()
    w = np.linspace(0, 2, len(x)).astype(np.float32)
    wanted, got, _ = both(
        lstm(), x, y, optimizer="sgd", loss="mse", metrics=["mae"], weighted_metrics=["mae"],
        fit={"sample_weight": w, "validation_data": (x[:5], y[:5], w[5:10])},
    )  # fmt: skip
    assert_close(wanted, got)


def test_weights_of_steps():
    x, _ = sequence_data()
    net = keras.Sequential([keras.Input((6, 3)), L.LSTM(4, return_sequences=True), L.Dense(2)])
    y = np.stack([x[..., 0], x[..., 1]], -1)
    w = np.random.default_rng(0).random((len(x), 6)).astype(np.float32)
    wanted, got, model = both(
        net, x, y, optimizer="sgd", loss="mse", weighted_metrics=["mae"],
        fit={"sample_weight": w, "validation_split": 0.2},
    )  # fmt: skip
    assert_close(wanted, got)
    each = np.square(model.predict(x) - y).mean(-1)
    assert model.evaluate(x, y, sample_weight=w, batch_size=64, verbose=0)[0] == pytest.approx(
        float((each * w).mean()), rel=1e-5
    )


def test_steps_beyond_a_length_count_for_nothing():
    x, _ = sequence_data()
    net = keras.Sequential([keras.Input((None, 3)), L.LSTM(4, return_sequences=True), L.Dense(2)])
    model = lstmc.convert(net)
    y = np.stack([x[..., 0], x[..., 1]], -1)
    lengths = np.random.default_rng(0).integers(1, 7, len(x))
    model.compile(optimizer="sgd", loss="mse", metrics=["mae"], weighted_metrics=["mse"])
    valid = np.arange(6) < lengths[:, None]
    w = np.linspace(0.5, 1, len(x)).astype(np.float32)
    error = model.predict(x, lengths) - y
    loss, mae, mse = model.test_on_batch(x, y, w, lengths=lengths)
    square = np.square(error).mean(-1)
    assert loss == pytest.approx((square * w[:, None])[valid].sum() / valid.sum(), rel=1e-5)
    assert mae == pytest.approx(np.abs(error).mean(-1)[valid].mean(), rel=1e-5)
    full = (valid * w[:, None]).sum()
    assert mse == pytest.approx((square * w[:, None])[valid].sum() / full, rel=1e-5)
    # What stands beyond changes nothing, and a row of no step neither.
    other = model.graph
    garbage = np.where(valid[..., None], x, 1e3).astype(np.float32)
    a = model.train_on_batch(x, y, lengths=lengths)
    weights = model.get_weights()
    model.set_weights([a for layer in other.layers for _, _, a in layer.tensors() if a is not None])
    beyond = np.where(valid[..., None], y, -1e3).astype(np.float32)
    assert model.train_on_batch(garbage, beyond, lengths=lengths) == a
    assert weights_equal(weights, model.get_weights())
    model.fit(x, y, lengths=lengths, verbose=0, validation_data=(x, y, None, lengths))
    model.fit(x, y, lengths=np.where(lengths == 3, 0, lengths), verbose=0)


# --------------------------------------------------------------------------------------------- data


class Numbered:
    """Batches by number."""

    def __init__(self, x, y, size=8):
        self.x, self.y, self.size, self.ends = x, y, size, 0
        self.order = []

    def __len__(self):
        return math.ceil(len(self.x) / self.size)

    def __getitem__(self, i):
        if not 0 <= i < len(self):
            raise IndexError(i)
        self.order.append(i)
        return self.x[i * self.size : (i + 1) * self.size], self.y[
            i * self.size : (i + 1) * self.size
        ]

    def on_epoch_end(self):
        self.ends += 1


class Again:
    """Something that can be iterated again and again, as tf.data and torch's DataLoader."""

    def __init__(self, x, y):
        self.source = Numbered(x, y)

    def __iter__(self):
        return (list(self.source[i]) for i in range(len(self.source)))


class OnDisk:
    """As an h5py dataset: reads ascending rows, and tells how many."""

    def __init__(self, a):
        self.a, self.shape, self.dtype, self.most = a, a.shape, a.dtype, 0

    def __getitem__(self, cut):
        rows = cut[0] if isinstance(cut, tuple) else cut
        if not isinstance(rows, slice):
            assert np.all(np.diff(rows) > 0)
        found = self.a[cut]
        self.most = max(self.most, len(found))
        return found


def endless(x, y):
    while True:
        yield from Again(x, y)


def run(source, *more, epochs=3, **options):
    model, _, _ = compiled()
    given = {"shuffle": False, "verbose": 0, "epochs": epochs, **options}
    history = model.fit(source, *more, **given).history
    return history, model.get_weights()


def test_all_kinds_of_data_are_the_same_data():
    _, x, y = compiled()
    wanted, weights = run(x, y, batch_size=8)
    assert len(wanted["loss"]) == 3 and wanted["loss"][2] < wanted["loss"][0]
    numbered = Numbered(x, y)
    kinds = {
        "float64": run(x.astype(np.float64), y.astype(np.float64), batch_size=8),
        "lists": run(x.tolist(), y.tolist(), batch_size=8),
        "dict": run({"x": x}, {"y": y}, batch_size=8),
        "numbered": run(numbered),
        "again": run(Again(x, y)),
        "generator": run(endless(x, y), steps_per_epoch=7),
        "on disk": run(OnDisk(x), OnDisk(y), batch_size=8),
        "Fortran": run(np.asfortranarray(x), y, batch_size=8),
        "mixed": run(x, OnDisk(y), batch_size=8),
    }
    for kind, (history, found) in kinds.items():
        assert history == wanted, kind
        assert weights_equal(found, weights), kind
    shuffled = {"batch_size": 8, "shuffle": True}
    wanted, weights = run(x, y, **shuffled)
    for a, b in ((OnDisk(x), OnDisk(y)), (x, OnDisk(y))):
        history, found = run(a, b, **shuffled)
        assert history == wanted and weights_equal(found, weights)
    assert numbered.ends == 3 and numbered.order == [*range(7)] * 3


def test_a_torch_data_loader():
    torch = pytest.importorskip("torch")
    _, x, y = compiled()
    data = torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))
    loader = torch.utils.data.DataLoader(data, batch_size=8)
    wanted, weights = run(x, y, batch_size=8)
    history, found = run(loader)
    assert history == wanted and weights_equal(found, weights)
    history, found = run(torch.tensor(x), torch.tensor(y), batch_size=8)
    assert history == wanted and weights_equal(found, weights)


def test_time_first():
    """The batch axis need not be the first."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.LSTM(3, 4)
    x, _ = sequence_data()
    models = []
    for turn in (True, False):
        net.batch_first = not turn
        model = lstmc.convert(net)
        assert model.inputs
        name = next(iter(model.outputs))
        model.compile(optimizer="sgd", loss={name: "mse"}, seed=1)
        y = np.repeat(x.mean(-1, keepdims=True), 4, -1)
        a, b = (np.swapaxes(v, 0, 1) if turn else v for v in (x, y))
        history = model.fit(a, b, batch_size=5, epochs=2, verbose=0, validation_split=0.2).history
        models.append((history, model.get_weights()))
    assert models[0][0] == models[1][0] and weights_equal(models[0][1], models[1][1])


def test_files_are_read_batch_by_batch(tmp_path):
    x, y = OnDisk(np.ones((999, 4), np.float32)), OnDisk(np.ones((999, 2), np.float32))
    model, _, _ = compiled()
    model.fit(x, y, batch_size=16, verbose=0, validation_split=0.5, validation_batch_size=20)
    assert x.most == y.most == 20
    # A file of 64 GB, nearly all of it a hole; whoever reads it whole needs as much memory.
    rows, width = 1 << 12, 1 << 22
    path = tmp_path / "big.npy"
    big = np.lib.format.open_memmap(path, "w+", np.float32, (rows, width))
    del big
    big = np.load(path, mmap_mode="r")[:, :: width // 4]
    assert isinstance(big, np.memmap) and big.shape == (rows, 4)
    history = model.fit(big, np.zeros((rows, 2)), steps_per_epoch=3, batch_size=8, verbose=0)
    assert len(history.epoch) == 1


def noting(accumulate, seen):
    def noted(inputs, *more):
        seen.append((inputs[0][:, 0] * 64).astype(int))
        return accumulate(inputs, *more)

    return noted


def test_rows_come_in_the_documented_order():
    model, x, y = compiled(seed=0)
    seen = []
    numbers = np.arange(50.0)
    x[:, 0] = numbers / 64
    x[:, 1:] = 0
    for option in (True, False):
        model.compile(optimizer=optimizers.SGD(0.0), loss="mse", seed=9)
        seen.clear()
        engine = model._ready(x).build()
        engine.accumulate = noting(engine.accumulate, seen)
        model.fit(x, y, batch_size=16, epochs=2, shuffle=option, verbose=0)
        model.fit(x, y, batch_size=16, epochs=1, shuffle=option, verbose=0)
        assert [len(s) for s in seen] == [16, 16, 16, 2] * 3
        rows = np.concatenate(seen).reshape(3, 50)
        for turn in range(3):
            expected = permutation(9, turn, 50) if option else np.arange(50)
            assert np.array_equal(rows[turn], expected)
            assert np.array_equal(np.sort(rows[turn]), np.arange(50))
    # The numbers of docs: they must never change.
    assert permutation(9, 0, 6).tolist() == [4, 3, 5, 2, 1, 0]
    assert permutation(9, 1, 6).tolist() != permutation(9, 0, 6).tolist()


def test_seeds():
    def trained(seed, explicit=None):
        lstmc.set_random_seed(seed)
        model, x, y = compiled(seed=0)
        model.compile(optimizer="sgd", loss="mse", seed=explicit)
        model.fit(x, y, batch_size=4, verbose=0)
        return model.get_weights()

    assert weights_equal(trained(1), trained(1))
    assert not weights_equal(trained(1), trained(2))
    assert weights_equal(trained(1, 5), trained(2, 5))
    with pytest.raises(lstmc.RangeError, match="seed"):
        compiled()[0].compile("sgd", "mse", seed=-1)


def test_shuffled_batches_by_number():
    _, x, y = compiled()
    numbered = Numbered(x, y)
    run(numbered, shuffle=True)
    passes = np.reshape(numbered.order, (3, 7))
    assert [p.tolist() for p in passes] == [permutation(3, t, 7).tolist() for t in range(3)]


def test_steps_per_epoch_goes_on_in_the_data():
    """Ten batches in epochs of 4 are 40 batches in one pass after another."""
    _, x, y = compiled()
    _, weights = run(x, y, batch_size=5, epochs=2, shuffle=True)
    history, found = run(x, y, batch_size=5, epochs=5, steps_per_epoch=4, shuffle=True)
    assert weights_equal(found, weights) and len(history["loss"]) == 5


def test_data_that_run_out():
    _, x, y = compiled()
    one = iter(list(Again(x, y)))
    with pytest.warns(UserWarning, match="there are none for epoch 2, training stops"):
        history, _ = run(one, epochs=3)
    assert len(history["loss"]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(iter(list(Again(x, y))), epochs=1)
    with pytest.warns(UserWarning, match="epoch 2"):
        history, _ = run(iter(list(Again(x, y))), epochs=3, steps_per_epoch=100)
    assert len(history["loss"]) == 1


def test_the_last_batch_is_smaller():
    model, x, y = compiled()
    sizes = []
    trainer = model._ready(x)
    kept = trainer.step
    trainer.step = lambda batch: (sizes.append(batch.rows), kept(batch))[1]
    model.fit(x, y, batch_size=20, verbose=0)
    model.fit(x, y, verbose=0)
    assert sizes == [20, 20, 10, 32, 18]


def test_validation():
    model, x, y = compiled()
    history = model.fit(x, y, epochs=5, validation_split=0.3, validation_freq=2, verbose=0).history
    assert len(history["loss"]) == 5 and len(history["val_loss"]) == 2
    history = model.fit(
        x, y, epochs=5, validation_data=(x[:9], y[:9]), validation_freq=[1, 5], verbose=0,
        validation_batch_size=4,
    ).history  # fmt: skip
    assert len(history["val_loss"]) == 2
    assert history["val_loss"][-1] == pytest.approx(
        model.evaluate(x[:9], y[:9], verbose=0), rel=1e-6
    )
    numbered = Numbered(x, y)
    model.fit(x, y, validation_data=numbered, validation_steps=3, verbose=0)
    assert numbered.order == [0, 1, 2]
    # The last rows are kept out, before any shuffling.
    x[35:] = np.nan
    with pytest.raises(lstmc.DivergenceError):
        model.fit(x, y, verbose=0)
    found = model.fit(x, y, validation_split=0.3, verbose=0).history
    assert math.isfinite(found["loss"][0]) and math.isnan(found["val_loss"][0])


def test_a_batch_is_a_step_of_fit():
    model, x, y = compiled(metrics=["mae"])
    other, _, _ = compiled(metrics=["mae"])
    history = model.fit(x, y, batch_size=64, shuffle=False, verbose=0).history
    assert other.train_on_batch(x, y, return_dict=True) == {k: v[0] for k, v in history.items()}
    assert weights_equal(model.get_weights(), other.get_weights())
    assert other.test_on_batch(x, y) == other.evaluate(x, y, batch_size=64, verbose=0)
    before = other.get_weights()
    loss = other.test_on_batch(x, y, sample_weight=np.zeros(50), return_dict=True)["loss"]
    assert loss == 0 and weights_equal(before, other.get_weights())
    compiled_only, _, _ = compiled()
    assert isinstance(compiled_only.train_on_batch(x, y), float)


# ----------------------------------------------------------------------------- what a model becomes


def test_whatever_is_asked_of_a_trained_model_has_the_new_weights(tmp_path):
    x, y = sequence_data()
    net = keras.Sequential([keras.Input((None, 3)), L.LSTM(4, return_sequences=True), L.Dense(2)])
    model = lstmc.convert(net)
    y = np.stack([x[..., 0], x[..., 1]], -1)
    old, opened, unused = model.predict(x), model.stream(2), model.stream(2)
    graph, golden, panel = model.graph, model.golden, model.panel
    untrained = lstmc.model.Model(model.to_bytes())
    opened.run(x[:2, :3])
    model.compile(optimizer="sgd", loss="mse")
    model.fit(x, y, epochs=2, verbose=0)
    new = model.predict(x)
    assert np.abs(new - old).max() > 1e-4
    assert np.array_equal(model._trainer.build().evaluate([x], [y]).outputs[0], new)
    stream = model.stream(2)
    assert np.array_equal(stream.run(x[:2]), new[:2])
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(x), new)
    model.save(tmp_path / "m.lstmc")
    loaded = lstmc.load(tmp_path / "m.lstmc", verify=True)
    assert np.array_equal(loaded.predict(x), new) and loaded.panel == panel
    assert loaded.provenance == model.provenance == untrained.provenance
    assert model.golden.digests.keys() == golden.digests.keys()
    assert model.golden.digests != golden.digests
    model.check_golden()
    assert model.graph is not graph and "LSTM" in model.summary()
    # What was opened before has what it was opened with, also when it grows or is pickled.
    assert np.array_equal(unused.run(x[:2]), old[:2])
    assert np.array_equal(opened.run(x[:2, 3:]), old[:2, 3:])
    opened.reset()
    assert np.array_equal(opened.run(np.tile(x[:2], (1, 30, 1)))[:, :6], old[:2])
    opened.reset()
    again = pickle.loads(pickle.dumps(opened))
    assert np.array_equal(again.run(x[:2]), old[:2])
    assert np.array_equal(untrained.predict(x), old)
    # And step by step, where a session is known by its shape.
    for _ in range(3):
        a = model.predict(x[:1])
        model.train_on_batch(x, y)
        assert not np.array_equal(model.predict(x[:1]), a)


def test_a_graph_that_somebody_changed_is_not_trained():
    model, x, y = compiled()
    model.graph.layers[0].weight[:] = 7
    model.fit(x, y, verbose=0)
    other, _, _ = compiled()
    other.fit(x, y, verbose=0)
    assert weights_equal(model.get_weights(), other.get_weights())


def test_weights_that_are_set_are_trained():
    model, x, y = compiled()
    assert model.weight_names == ["first/weight", "first/bias", "second/weight", "second/bias"]
    start = model.get_weights()
    model.fit(x, y, verbose=0)
    trained = model.get_weights()
    assert not any(np.array_equal(a, b) for a, b in zip(start, trained, strict=True))
    out = model.predict(x)
    model.set_weights(start)
    assert weights_equal(model.get_weights(), start)
    assert not np.array_equal(model.predict(x), out)
    model.compile("sgd", "mse", seed=3)
    model.fit(x, y, verbose=0)
    assert weights_equal(model.get_weights(), trained)
    model.set_weights(start)
    with pytest.raises(lstmc.ShapeError, match="3 weights, the model has 4"):
        model.set_weights(start[:3])
    bad = [start[0].T, *start[1:]]
    with pytest.raises(
        lstmc.ShapeError, match=r"first/weight has shape \(4, 5\), expected \(5, 4\)"
    ):
        model.set_weights(bad)
    assert weights_equal(model.get_weights(), start)


def test_setting_weights_leaves_the_optimizer_as_it_is():
    found = []
    for set_them in (False, True):
        model, x, y = compiled(optimizer="adam")
        model.fit(x, y, epochs=2, verbose=0)
        if set_them:
            model.set_weights(model.get_weights())
        model.fit(x, y, epochs=1, verbose=0)
        assert model.optimizer.iterations == 6
        found.append(model.get_weights())
    assert weights_equal(*found)


def test_frozen_layers():
    def changed(model, x, y):
        before = model.get_weights()
        model.fit(x, y, verbose=0)
        return [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]

    for options in ({"frozen": ["first"]}, {"frozen": "fi*"}):
        model, x, y = compiled(**options)
        assert changed(model, x, y) == [False, False, True, True]
        model.set_weights([w + 1 for w in model.get_weights()])  # frozen ones too
        assert changed(model, x, y) == [False, False, True, True]
        model.evaluate(x, y, verbose=0)
    model, x, y = regression()
    model.trainable = {"second": False}
    assert model.trainable == {"first": True, "second": False}
    model.compile("sgd", "mse")
    assert changed(model, x, y) == [True, True, False, False]
    model.trainable = False
    model.trainable = {"sec*": True}
    model.compile("sgd", "mse")
    assert changed(model, x, y) == [False, False, True, True]
    model.trainable = True
    model.compile("sgd", "mse")
    assert changed(model, x, y) == [True] * 4
    with pytest.raises(lstmc.UnknownNameError, match="no layer 'third'; there are first, second"):
        model.trainable = {"third": True}
    model.compile("sgd", "mse", frozen=["third"])
    with pytest.raises(lstmc.UnknownNameError, match="no layer 'third'; there are first, second"):
        model.fit(x, y, verbose=0)


# ------------------------------------------------------------------------------------- NaN, Ctrl-C


def test_a_nan_loss_stops_and_changes_nothing():
    model, x, y = compiled()
    model.fit(x, y, verbose=0)
    before, trainer = model.get_weights(), model._trainer
    y[3, 1] = np.inf
    with pytest.raises(lstmc.DivergenceError, match="epoch 1, batch 1: x or y of this batch hold"):
        model.fit(x, y, batch_size=50, epochs=5, verbose=0)
    assert weights_equal(model.get_weights(), before)
    assert isinstance(lstmc.DivergenceError(), ArithmeticError)
    y[3, 1] = 0
    iterations = trainer.build().iterations
    model.fit(x, y, batch_size=50, verbose=0)  # no gradient of the bad step is left
    other, _, _ = compiled()
    other.set_weights(before)
    other.fit(x, y, batch_size=50, shuffle=False, verbose=0)
    assert trainer.build().iterations == iterations + 1
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        assert a == pytest.approx(b, rel=1e-5)


def test_what_blows_up_leaves_the_last_good_weights():
    """Steps far too large: weights grow until the loss is infinite, or are themselves."""
    model, x, y = compiled(optimizer=optimizers.SGD(1e6))
    losses_seen = []

    def note(epoch, logs):
        losses_seen.append(logs["loss"])

    with pytest.raises(lstmc.DivergenceError, match=r"the loss is (nan|inf) at epoch .*clipnorm"):
        model.fit(x * 100, y, epochs=60, verbose=0, callbacks=[note])
    assert losses_seen == [] or np.isfinite(losses_seen).all()
    weights = model.get_weights()
    assert all(np.isfinite(w).all() for w in weights)
    assert model.optimizer.iterations == model._trainer.build().iterations
    assert np.isfinite(model.predict(x)).all()
    model.optimizer.learning_rate = 0.0
    history = model.evaluate(x[:1], y[:1], verbose=0)
    assert not math.isnan(history)


def test_weights_that_are_no_numbers_are_found_though_the_loss_was_one():
    model, x, y = compiled()
    trainer = model._ready(x)
    engine = trainer.build()
    kept, count = engine.update, iter(range(100))

    def overflow(rate):
        kept(rate)
        if next(count) == 40:
            weights = engine.read()
            weights["first"]["weight"][0, 0] = np.nan
            engine.write(weights)

    engine.update = overflow
    copies = []
    engine_step = trainer.step
    trainer.step = lambda batch: (copies.append(engine.read()), engine_step(batch))[1]
    with pytest.raises(lstmc.DivergenceError):
        model.fit(x, y, batch_size=1, shuffle=False, verbose=0)
    found = engine.read()
    assert np.array_equal(found["first"]["weight"], copies[32]["first"]["weight"])
    assert engine.iterations == model.optimizer.iterations == 32
    # In the last step of an epoch, too.
    count = iter([40])
    with pytest.raises(lstmc.DivergenceError, match="weights are NaN or infinite after epoch 1"):
        model.fit(x, y, batch_size=50, verbose=0)
    assert np.isfinite(engine.read()["first"]["weight"]).all()


def test_truncated_backpropagation():
    """Windows of 4 of 6 steps: each is a step, with the state of the one before."""
    x, _ = sequence_data(8)
    y = np.stack([x[..., 0], x[..., 1]], -1)
    net = keras.Sequential([keras.Input((None, 3)), L.LSTM(4, return_sequences=True), L.Dense(2)])
    model = lstmc.convert(net)
    model.compile(optimizers.SGD(0.05), "mse", truncate=4, seed=1)
    start = model.get_weights()
    graph = model.graph
    losses_seen = model.fit(x, y, epochs=3, batch_size=4, shuffle=False, verbose=0).history["loss"]
    engine = Engine(
        graph, [losses.get("mse")], None, optimizers.SGD(0.05).spec(), carry=True, truncate=None
    )
    wanted = []
    for _ in range(3):
        found = []
        for rows in (slice(0, 4), slice(4, 8)):
            engine.reset_states()
            parts = []
            for steps in (slice(0, 4), slice(4, 6)):
                result = engine.train([x[rows, steps]], [y[rows, steps]])
                parts.append(result.loss * (steps.stop - steps.start))
            found.append(sum(parts) / 6)
        wanted.append(np.mean(found))
    assert losses_seen == pytest.approx(wanted, rel=1e-6)
    assert model.optimizer.iterations == 12
    trained = engine.read()
    for layer in model.graph.layers:
        for name, array in trained[layer.name].items():
            assert np.array_equal(getattr(layer, name), array)
    y[0, 5] = np.nan  # the second window: the first has been a step already
    model.set_weights(start)
    with pytest.raises(lstmc.DivergenceError):
        model.fit(x, y, batch_size=4, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_on_nan_continue():
    model, x, y = compiled(on_nan="continue")
    y[0] = np.nan
    history = model.fit(x, y, epochs=2, verbose=0).history
    assert np.isnan(history["loss"]).all()
    assert np.isnan(model.predict(x)).all()
    with pytest.raises(lstmc.UnknownNameError, match="unknown on_nan 'ignore'; known are continue"):
        model.compile("sgd", "mse", on_nan="ignore")


def test_terminate_on_nan(capsys):
    model, x, y = compiled()
    before = model.get_weights()
    y[0] = np.nan
    history = model.fit(
        x, y, batch_size=50, epochs=9, verbose=0, callbacks=[lstmc.callbacks.TerminateOnNaN()]
    ).history
    assert len(history["loss"]) == 1 and math.isnan(history["loss"][0])
    assert weights_equal(before, model.get_weights())
    assert "Batch 0: the loss is nan, training stops" in capsys.readouterr().out


def test_ctrl_c_leaves_the_weights_of_the_last_finished_step():
    model, x, y = compiled()
    other, _, _ = compiled()
    engine = model._ready(x).build()
    kept, count = engine.update, iter(range(100))

    def interrupted(rate):
        if next(count) == 9:
            signal.raise_signal(signal.SIGINT)  # in the middle of a step
        kept(rate)

    engine.update = interrupted
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=10, epochs=5, verbose=0)
    assert engine.iterations == 10 and model._trainer.position.step == 5
    assert len(model.history.history["loss"]) == 1
    other.fit(x, y, batch_size=10, epochs=2, verbose=0)
    assert weights_equal(model.get_weights(), other.get_weights())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    model.fit(x, y, epochs=2, verbose=0)  # usable

    def callback(batch, logs):
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, callbacks=[lstmc.callbacks.LambdaCallback(on_train_batch_end=callback)],
                  verbose=0)  # fmt: skip


def test_ctrl_c_at_any_moment():
    """A signal from outside, again and again: weights and step counter agree each time."""
    model, x, y = compiled()
    reference, _, _ = compiled()
    engine, wanted = reference._ready(x).build(), {0: reference.get_weights()}
    caught = 0
    for attempt in range(12):
        timer = threading.Timer(0.002 + 0.003 * attempt, signal.raise_signal, [signal.SIGINT])
        main = threading.main_thread().ident
        timer.function, timer.args = signal.pthread_kill, (main, signal.SIGINT)
        timer.start()
        try:
            model.fit(x, y, batch_size=50, epochs=10**6, shuffle=False, verbose=0)
        except KeyboardInterrupt:
            caught += 1
        timer.join()
        steps = model._trainer.build().iterations
        while max(wanted) < steps:
            reference.fit(x, y, batch_size=50, shuffle=False, verbose=0)
            wanted = {engine.iterations: reference.get_weights()}
        assert weights_equal(model.get_weights(), wanted[steps])
    assert caught == 12


def test_fit_in_a_thread_leaves_signals_alone():
    model, x, y = compiled()
    results = []
    handler = signal.getsignal(signal.SIGINT)

    def work():
        results.append(model.fit(x, y, verbose=0).history)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(results) == 1 and signal.getsignal(signal.SIGINT) is handler
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        model.fit(x, y, verbose=0)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, handler)


# --------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("change, error, text", [
    (lambda x, y: (x[:, :3], y), lstmc.ShapeError, r"'x' has shape \(50, 3\), expected \(batch"),
    (lambda x, y: (x[:40], y), lstmc.ShapeError, "'x' has 40 rows and y of 'y' 50"),
    (lambda x, y: (x, y[:, :1]), lstmc.ShapeError, r"y of 'y' has shape \(50, 1\), expected \(50"),
    (lambda x, y: (x, None), lstmc.ShapeError, "y is missing"),
    (lambda x, y: (x[:0], y[:0]), lstmc.ShapeError, "the data are empty"),
    (lambda x, y: (x[0, 0], y), lstmc.ShapeError, "there is no axis of rows"),
    (lambda x, y: ([[1, 2], [3]], y), lstmc.ShapeError, "'x' is ragged"),
    (lambda x, y: (x.astype(complex), y), lstmc.DtypeError, "'x' has dtype complex128"),
    (lambda x, y: (x, y.astype(str)), lstmc.DtypeError, "'y of y' has dtype <U"),
    (lambda x, y: ({"z": x}, y), lstmc.UnknownNameError, r"no input is called 'z'; there are \['x"),
    (lambda x, y: ({}, y), lstmc.ShapeError, "nothing is given for the input 'x'"),
    (lambda x, y: (x, {"z": y}), lstmc.UnknownNameError, "no output is called 'z'"),
    (lambda x, y: (iter([]), None), lstmc.ShapeError, "there are no batches"),
    (lambda x, y: (iter([x]), None), lstmc.ShapeError, "a batch is a ndarray, expected"),
    (lambda x, y: (iter([(x, y[:9])]), None), lstmc.ShapeError, "y of 'y' has shape"),
    (lambda x, y: (Numbered(x[:0], y[:0]), None), lstmc.ShapeError, "there are no batches"),
], ids=range(16))  # fmt: skip
def test_data_that_do_not_fit(change, error, text):
    model, x, y = compiled()
    before = model.get_weights()
    with pytest.raises(error, match=text):
        model.fit(*change(x, y), verbose=0)
    assert weights_equal(before, model.get_weights())


@pytest.mark.parametrize("options, error, text", [
    ({"batch_size": 0}, lstmc.RangeError, "batch_size is 0, expected a number at least 1"),
    ({"epochs": -1}, lstmc.RangeError, "epochs is -1"),
    ({"epochs": 1.5}, lstmc.RangeError, "epochs is 1.5, expected a whole number"),
    ({"validation_split": 1.0}, lstmc.RangeError, "validation_split is 1.0, .* below 1"),
    ({"validation_split": 0.999}, lstmc.RangeError, "of 50 rows none would be left"),
    ({"validation_data": 3}, lstmc.ShapeError, r"validation_data: expected \(x, y\)"),
    ({"validation_data": (np.zeros((2, 9)), np.zeros((2, 2)))}, lstmc.ShapeError, "'x' has shape"),
    ({"validation_freq": 0}, lstmc.RangeError, "validation_freq is 0"),
    ({"sample_weight": np.ones(49)}, lstmc.ShapeError, "sample_weight 49"),
    ({"sample_weight": np.ones((50, 2))}, lstmc.ShapeError, r"expected \(50,\) for 'y'"),
    ({"sample_weight": np.full(50, np.nan)}, lstmc.RangeError, "sample_weight holds NaN"),
    ({"sample_weight": {"z": np.ones(50)}}, lstmc.UnknownNameError, "no output is called 'z'"),
    ({"class_weight": {2: 1.0}}, lstmc.RangeError, "2 is none of the classes 0 to 1"),
    ({"class_weight": [1.0, 2.0]}, lstmc.DtypeError, "class_weight is a dict"),
    ({"class_weight": "balanced"}, lstmc.DtypeError, "class_weight is a dict"),
    ({"class_weight": {0: "x"}}, lstmc.RangeError, "class_weight of class 0 is 'x'"),
    ({"lengths": np.full(50, 2)}, lstmc.ShapeError, "lengths lie in 2 .. 2"),
    ({"callbacks": [3]}, lstmc.UnknownNameError, "3 is no callback: give objects with Keras's"),
    ({"callbacks": [lstmc.callbacks.TerminateOnNaN]}, lstmc.UnknownNameError, "is no callback"),
    ({"verbose": -1}, lstmc.RangeError, "verbose is -1"),
], ids=range(20))  # fmt: skip
def test_settings_that_make_no_sense(options, error, text):
    model, x, y = compiled()
    before = model.get_weights()
    with pytest.raises(error, match=text):
        model.fit(x, y, **{"verbose": 0, **options})
    assert weights_equal(before, model.get_weights())


def test_generators_take_no_settings_of_arrays():
    model, x, y = compiled()
    for options, error in (
        ({"batch_size": 3}, lstmc.RangeError),
        ({"validation_split": 0.5}, lstmc.RangeError),
        ({"sample_weight": np.ones(50)}, lstmc.ShapeError),
    ):
        with pytest.raises(error):
            model.fit(Again(x, y), verbose=0, **options)


@pytest.mark.parametrize("labels, text", [
    (np.full(37, 3), "something else than the classes 0 to 2"),
    (np.full(37, -1), "something else than the classes 0 to 2"),
    (np.full(37, 0.5), "something else than the classes 0 to 2"),
    (np.zeros((37, 3)), r"has shape \(37, 3\), expected \(37,\): .* numbers of classes"),
])  # fmt: skip
def test_labels_out_of_range(labels, text):
    x, _ = sequence_data()
    model = lstmc.convert(lstm(3, "softmax"))
    model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match=text):
        model.fit(x, labels, verbose=0)
    model.compile(optimizer="sgd", loss="categorical_crossentropy")
    with pytest.raises(lstmc.RangeError, match="something else than 0 to 1"):
        model.fit(x, np.full((37, 3), 1.5), verbose=0)


def test_compile_says_what_it_does_not_know():
    model, x, y = regression()
    with pytest.raises(lstmc.Error, match="compile the model first"):
        model.fit(x, y)
    with pytest.raises(lstmc.UnknownNameError, match="unknown optimizer 'adagrad'"):
        model.compile("adagrad", "mse")
    with pytest.raises(lstmc.UnknownNameError, match="unknown loss 'mses'"):
        model.compile("sgd", "mses")
    with pytest.raises(lstmc.UnknownNameError, match="unknown metric 'maes'"):
        model.compile("sgd", "mse", metrics=["maes"])
    with pytest.raises(lstmc.UnknownNameError, match="unknown loss None"):
        model.compile("sgd")
    for bad in (0, 1.5, "3"):
        with pytest.raises(lstmc.RangeError, match="truncate"):
            model.compile("sgd", "mse", truncate=bad)
    model.compile("sgd", {"z": "mse"})
    with pytest.raises(lstmc.UnknownNameError, match="loss: no output is called 'z'; there are y"):
        model.fit(x, y)
    model.compile("sgd", ["mse", "mse"])
    with pytest.raises(lstmc.ShapeError, match=r"loss: 2 entries for 1 outputs \(y\)"):
        model.fit(x, y)
    model.compile("sgd", "mse", metrics=[lambda y_true, y_pred: y_pred[:3]])
    with pytest.raises(lstmc.ShapeError, match="metric '<lambda>'"):
        model.fit(x, y, verbose=0)


def test_targets_may_lack_a_last_axis_of_one():
    model, x, y = regression()
    net = keras.Sequential([keras.Input((4,)), L.Dense(1)])
    model = lstmc.convert(net)
    model.compile("sgd", "mse", seed=1)
    start = model.get_weights()
    found = []
    for target in (y[:, 0], y[:, :1], y[:, :1, None]):
        model.set_weights(start)
        model.compile("sgd", "mse", seed=1)
        found.append(model.fit(x, target, verbose=0).history)
    assert found[0] == found[1] == found[2]


def test_names_of_metrics_that_come_twice():
    model, x, y = compiled(metrics=["mae", "mae"], weighted_metrics=["mae", "mse"])
    assert model.metrics_names == ["loss", "mae", "mae_1", "weighted_mae", "mse"]
    logs = model.fit(x, y, sample_weight=np.linspace(0, 1, 50), verbose=0).history
    assert logs["mae"] == logs["mae_1"] != logs["weighted_mae"]


def test_a_layout_reads_what_the_engine_reads():
    """Outputs in other orders of axes are for metrics as [batch, steps, features]."""
    torch = pytest.importorskip("torch")
    model = lstmc.convert(torch.nn.LSTM(3, 4))
    layout = Layout(model, [None] * len(model.outputs))
    y = np.arange(6 * 5 * 4, dtype=np.float32).reshape(6, 5, 4)
    assert np.array_equal(layout.seen_output(0, y), y.swapaxes(0, 1))
    assert isinstance(Engine, type)


def test_progress(capsys, monkeypatch):
    model, x, y = compiled(metrics=["mae"])
    model.fit(x, y, epochs=2, validation_split=0.2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("Epoch 2/2  0 s  loss ") and "val_mae" in lines[1]
    model.fit(x, y, verbose=0)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("lstmc.training.progress.EVERY", 0)
    model.fit(x, y, epochs=1, batch_size=10)
    parts = capsys.readouterr().out.split("\r")
    assert len(parts) == 7 and parts[1].startswith("Epoch 1/1  1 of 5  loss ")
    assert parts[2].rstrip().endswith("0 s left\x1b[K") and parts[-1].endswith("\x1b[K\n")
    model.fit(x, y, epochs=1, batch_size=10, verbose=2)
    assert "\r" not in capsys.readouterr().out
    started = time.monotonic()
    assert model.evaluate(x, y)[0] > 0 and capsys.readouterr().out.startswith("loss ")
    assert time.monotonic() > started


def test_a_generator_that_ends_within_an_epoch_is_told():
    model, x, y = compiled()

    def three():
        for i in range(3):
            yield x[10 * i : 10 * i + 10], y[10 * i : 10 * i + 10]

    with pytest.warns(UserWarning, match="in epoch 1, after 3 of 5 batches"):
        model.fit(three(), steps_per_epoch=5, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(three(), steps_per_epoch=3, verbose=0)
        model.fit(three(), verbose=0)
