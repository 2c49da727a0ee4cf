"""Callbacks: which hooks are called when, and what each of them does, beside Keras's."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from training_nets import compiled, weights_equal

import lstmc
from lstmc import callbacks, optimizers
from lstmc.training.calling import HOOKS, Calls

keras = pytest.importorskip("keras")


class Scripted:
    """Stands for a model whose losses are known: fit's calls, without training."""

    def __init__(self, rate: float = 0.1, directions: dict[str, str] | None = None) -> None:
        self.optimizer = optimizers.SGD(rate)
        self.stop_training = False
        self.weights = [np.zeros(1)]
        self.directions = directions or {}

    def _directions(self):
        return self.directions

    def get_weights(self):
        return [w.copy() for w in self.weights]

    def set_weights(self, weights):
        self.weights = weights

    def run(self, callback, values, name="val_loss"):
        """(epochs run, learning rate of each) with these values of what is monitored."""
        callback.set_model(self)
        callback.on_train_begin({})
        rates = []
        for epoch, value in enumerate(values):
            callback.on_epoch_begin(epoch, {})
            rates.append(float(self.optimizer.learning_rate))
            self.weights = [np.full(1, float(epoch))]
            callback.on_epoch_end(epoch, {name: value})
            if self.stop_training:
                break
        callback.on_train_end({})
        return len(rates), rates


class Theirs(Scripted):
    """The same for Keras's callbacks."""

    def __init__(self, rate: float = 0.1) -> None:
        super().__init__(rate)
        self.optimizer = keras.optimizers.SGD(rate)
        self.metrics = []

    def run(self, callback, values, name="val_loss"):
        with np.errstate(all="ignore"):
            return super().run(callback, values, name)


def values(seed: int, count: int = 30) -> list[float]:
    rng = np.random.default_rng(seed)
    return (np.exp(-np.arange(count) / 8) + 0.1 * rng.standard_normal(count)).round(2).tolist()


@pytest.mark.parametrize("options", [
    {}, {"patience": 3}, {"patience": 2, "min_delta": 0.05}, {"patience": 2, "baseline": 0.5},
    {"patience": 4, "restore_best_weights": True}, {"start_from_epoch": 4, "patience": 1},
    {"patience": 1, "mode": "max", "restore_best_weights": True},
], ids=str)  # fmt: skip
def test_early_stopping_is_that_of_keras(options):
    for seed in range(20):
        own, other = Scripted(), Theirs()
        a = own.run(callbacks.EarlyStopping(**options), values(seed))
        b = other.run(keras.callbacks.EarlyStopping(**options), values(seed))
        assert a[0] == b[0]
        assert own.weights == other.weights


@pytest.mark.parametrize("options", [
    {}, {"patience": 2}, {"patience": 1, "factor": 0.5, "cooldown": 2},
    {"patience": 2, "min_lr": 0.03, "factor": 0.4}, {"patience": 0, "min_delta": 0.1},
    {"patience": 3, "mode": "max"},
], ids=str)  # fmt: skip
def test_reduce_lr_on_plateau_is_that_of_keras(options):
    for seed in range(20):
        a = Scripted().run(callbacks.ReduceLROnPlateau(**options), values(seed))
        b = Theirs().run(keras.callbacks.ReduceLROnPlateau(**options), values(seed))
        assert a[1] == pytest.approx(b[1], rel=1e-6)


def test_which_way_is_better():
    own = Scripted(directions={"accuracy": "up", "mae": "down", "mine": None})
    for name, stops in (("val_accuracy", 4), ("accuracy", 4), ("val_mae", 2), ("val_loss", 2)):
        own.stop_training = False
        found = own.run(callbacks.EarlyStopping(name), [1.0, 2.0, 3.0, 3.0, 3.0], name)
        assert found[0] == stops
    with pytest.raises(
        lstmc.UnknownNameError, match="which way 'val_mine' gets better is not know"
    ):
        own.run(callbacks.EarlyStopping("val_mine"), [1.0, 2.0], "val_mine")
    own.stop_training = False
    assert own.run(callbacks.EarlyStopping("val_mine", mode="max"), [1.0] * 3, "val_mine")[0] == 2
    with pytest.warns(UserWarning, match="EarlyStopping: there is no 'loss'; there are val_loss"):
        own.run(callbacks.EarlyStopping("loss"), [1.0])


def test_hooks_are_called_in_keras_order():
    def noting(base):
        class Noting(base):
            def __init__(self):
                super().__init__()
                self.seen = []

        for hook in HOOKS:

            def note(self, *arguments, logs=None, hook=hook):
                numbers = [a for a in arguments if isinstance(a, int)]
                given = [a for a in (*arguments, logs) if isinstance(a, dict)]
                self.seen.append((hook, *numbers, sorted(given[0]) if given else []))

            setattr(Noting, hook, note)
        return Noting()

    model, x, y = compiled(metrics=["mae"])
    net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    net.compile("sgd", "mse", metrics=["mae"])
    own, other = noting(callbacks.Callback), noting(keras.callbacks.Callback)
    options = {"batch_size": 20, "epochs": 2, "validation_split": 0.4, "verbose": 0}
    model.fit(x, y, callbacks=[own], **options)
    net.fit(x, y, callbacks=[other], **options)
    assert own.seen == other.seen
    assert own.params == {"epochs": 2, "steps": 2, "verbose": 0} and own.model is model


def test_any_function_and_any_object_with_hooks():
    model, x, y = compiled()
    seen = []

    class Plain:
        def set_model(self, model):
            self.model = model

        def set_params(self, params):
            self.params = params

        def on_train_batch_end(self, batch, logs):
            seen.append(("batch", batch))
            if batch == 1:
                self.model.stop_training = True

    hooks = callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append(("begin", epoch))
    )
    model.fit(
        x, y, batch_size=10, epochs=4, verbose=0,
        callbacks=[Plain(), hooks, lambda epoch, logs: seen.append(("end", epoch, list(logs)))],
    )  # fmt: skip
    assert seen == [("begin", 0), ("batch", 0), ("batch", 1), ("end", 0, ["loss"])]
    model.fit(x, y, verbose=0, callbacks=lambda epoch, logs: logs.update(more=1.5))
    assert model.history.history["more"] == [1.5]
    with pytest.raises(
        lstmc.UnknownNameError, match="unknown hook 'on_epoch'; known are on_train_"
    ):
        callbacks.LambdaCallback(on_epoch=print)
    assert "1 epochs: loss, more" in repr(model.history)

    class One:
        def on_epoch_end(self, epoch, logs=None):
            seen.append(("one", epoch))

    model.fit(x, y, verbose=0, callbacks=[One()])
    assert seen[-1] == ("one", 0)


def test_keras_callbacks_may_be_used():
    model, x, y = compiled()
    stop = keras.callbacks.EarlyStopping("loss", mode="min", patience=0, min_delta=100)
    history = model.fit(x, y, epochs=9, verbose=0, callbacks=[stop])
    assert len(history.epoch) == 2


def test_early_stopping_brings_the_best_weights_back():
    model, x, y = compiled()
    copies = {}
    script = iter([3.0, 1.0, 2.0, 2.5, 9.0])

    def value(epoch, logs):
        copies[epoch] = model.get_weights()
        logs["val_loss"] = next(script)

    stop = callbacks.EarlyStopping(patience=2, restore_best_weights=True, verbose=1)
    history = model.fit(x, y, epochs=9, verbose=0, callbacks=[value, stop])
    assert len(history.epoch) == 4 and stop.stopped_epoch == 3 and stop.best_epoch == 1
    assert weights_equal(model.get_weights(), copies[1])
    assert not weights_equal(model.get_weights(), copies[3])


def test_learning_rates():
    model, x, y = compiled()
    seen = []
    note = callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(model.optimizer.learning_rate)
    )
    by_epoch = callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    model.fit(x, y, batch_size=25, epochs=3, verbose=0, callbacks=[by_epoch, note])
    assert seen == [0.005] * 2 + [0.0025] * 2 + [0.00125] * 2
    assert model.history.history["learning_rate"] == [0.005, 0.0025, 0.00125]
    model.fit(x, y, verbose=0, callbacks=[callbacks.LearningRateScheduler(lambda e: 0.5 + e)])
    assert model.optimizer.learning_rate == 0.5
    # A schedule counts steps; what the engine gets is the rate of each.
    schedule = optimizers.schedules.PiecewiseConstantDecay([1], [0.25, 0.5])
    model.compile(optimizers.SGD(schedule), "mse")
    rates, engine = [], model._ready(x).build()
    engine.update = lambda rate, kept=engine.update: (rates.append(rate), kept(rate))
    model.fit(x, y, batch_size=13, verbose=0)
    assert rates == [0.25, 0.25, 0.5, 0.5] and model.optimizer.iterations == 4
    for callback in (by_epoch, callbacks.ReduceLROnPlateau()):
        with pytest.raises(lstmc.RangeError, match="has a schedule for it: use one of them"):
            model.fit(x, y, verbose=0, callbacks=[callback])


def test_a_rate_that_is_no_number():
    model, x, y = compiled(optimizer=optimizers.SGD(lambda step: float("nan")))
    with pytest.raises(lstmc.RangeError, match="the learning rate of step 0 is nan"):
        model.fit(x, y, verbose=0)


def test_csv_logger(tmp_path):
    path = tmp_path / "log.csv"
    model, x, y = compiled(metrics=["mae"])
    history = model.fit(
        x, y, epochs=4, validation_split=0.2, validation_freq=2, verbose=0,
        callbacks=[callbacks.CSVLogger(path)],
    ).history  # fmt: skip
    rows = list(csv.DictReader(path.open()))
    assert [r["epoch"] for r in rows] == ["0", "1", "2", "3"]
    assert [float(r["loss"]) for r in rows] == history["loss"]
    assert [r["val_mae"] for r in rows][::2] == ["NA", "NA"]
    assert [float(r["val_mae"]) for r in rows[1::2]] == history["val_mae"]
    model.fit(x, y, verbose=0, callbacks=[callbacks.CSVLogger(path, append=True)])
    assert len(path.read_text().splitlines()) == 6
    model.fit(x, y, verbose=0, callbacks=[callbacks.CSVLogger(path, separator=";")])
    assert path.read_text().splitlines()[0] == "epoch;loss;mae;val_loss;val_mae"


def test_model_checkpoint(tmp_path):
    model, x, y = compiled()
    script = [0.5, 0.7, 0.4, 0.4]

    def value(epoch, logs):
        logs["val_loss"] = script[epoch]

    every = callbacks.ModelCheckpoint(tmp_path / "all-{epoch:02d}-{val_loss:.1f}.lstmc")
    best = callbacks.ModelCheckpoint(tmp_path / "best-{epoch}.lstmc", save_best_only=True)
    started = callbacks.ModelCheckpoint(
        tmp_path / "under-{epoch}.lstmc", save_best_only=True, initial_value_threshold=0.45
    )
    steps = callbacks.ModelCheckpoint(tmp_path / "step-{epoch}-{batch}.checkpoint", save_freq=3)
    model.fit(
        x, y, epochs=4, batch_size=25, verbose=0, callbacks=[value, every, best, started, steps]
    )
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == [
        "all-01-0.5.lstmc", "all-02-0.7.lstmc", "all-03-0.4.lstmc", "all-04-0.4.lstmc",
        "best-1.lstmc", "best-3.lstmc", "step-2-1.checkpoint", "step-3-2.checkpoint",
        "under-3.lstmc",
    ]  # fmt: skip
    last = lstmc.load(tmp_path / "all-04-0.4.lstmc", verify=True)
    assert np.array_equal(last.predict(x), model.predict(x))
    first = lstmc.load(tmp_path / "all-01-0.5.lstmc", verify=True)
    assert np.array_equal(first.predict(x), lstmc.load(tmp_path / "best-1.lstmc").predict(x))
    other, _, _ = compiled()
    other.load_checkpoint(tmp_path / "step-3-2.checkpoint")
    third = lstmc.load(tmp_path / "all-03-0.4.lstmc")
    assert np.array_equal(other.predict(x), third.predict(x))
    for bad, text in (("{val_mae}.lstmc", "can't be filled in; there are epoch, loss"),):
        with pytest.raises(lstmc.UnknownNameError, match=text):
            model.fit(x, y, verbose=0, callbacks=[callbacks.ModelCheckpoint(bad)])
    for name in ("best.keras", "best.H5"):
        with pytest.raises(lstmc.OptionError, match="doesn't write Keras's files"):
            callbacks.ModelCheckpoint(name)
    with pytest.raises(lstmc.RangeError, match="save_freq is 0, expected 'epoch' or a number"):
        callbacks.ModelCheckpoint("x", save_freq=0)
    with pytest.raises(FileNotFoundError):
        model.fit(x, y, verbose=0, callbacks=[callbacks.ModelCheckpoint(tmp_path / "no" / "x")])


def test_settings():
    for make in (
        lambda: callbacks.EarlyStopping(patience=-1),
        lambda: callbacks.EarlyStopping(min_delta=float("nan")),
        lambda: callbacks.ReduceLROnPlateau(factor=1.0),
        lambda: callbacks.ReduceLROnPlateau(factor=0),
        lambda: callbacks.ReduceLROnPlateau(min_lr=-1),
        lambda: callbacks.BackupAndRestore("x", save_freq="batch"),
    ):
        with pytest.raises(lstmc.RangeError):
            make()
    with pytest.raises(
        lstmc.UnknownNameError, match="unknown mode 'best'; known are auto, max, min"
    ):
        callbacks.EarlyStopping(mode="best")
    model, _, _ = compiled()
    assert Calls([None, callbacks.TerminateOnNaN()], model, {}).given[0].model is model
