"""Checkpoints: resumed runs have the bits of those that never stopped; a writer that is killed at
any moment leaves a whole file; hostile files are refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_nets import compiled, regression, weights_equal

import lstmc
from lstmc import callbacks, optimizers
from lstmc.models import Sequential
from lstmc.training import checkpoint
from lstmc.training.saving import held

OPTIMIZERS = [
    "sgd",
    optimizers.SGD(0.05, momentum=0.9),
    "rmsprop",
    "adam",
    optimizers.Adam(optimizers.schedules.CosineDecay(0.01, 30), amsgrad=True),
]


class Stop(Exception):
    pass


def outcome(model, x):
    """All that must be the same."""
    history = {k: list(map(float, v)) for k, v in model.history.history.items()}
    arrays = held(model._trainer)
    return (
        model.history.epoch, history, model.predict(x).tobytes(),
        {k: (a.dtype, a.shape, a.tobytes()) for k, a in arrays.items() if k[:5] != "histo"},
    )  # fmt: skip


def again(optimizer):
    """A new one with the settings of one that has been used."""
    if isinstance(optimizer, str):
        return optimizer
    made = type(optimizer)(**optimizer.settings)
    made._rate = optimizer._rate
    return made


def named(optimizer):
    """The same in every process, unlike a schedule's address."""
    if isinstance(optimizer, str):
        return optimizer
    rate = optimizer._rate
    return f"{type(optimizer).__name__} {type(rate).__name__ if callable(rate) else rate}"


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=named)
@pytest.mark.parametrize("stop", [1, 6, 7, 8, 20, 27])
def test_a_resumed_run_has_the_same_bits(tmp_path, optimizer, stop):
    """Stopped after any batch, in the middle of an epoch (of 7) or at its end."""
    path = tmp_path / "run"
    fit = {"batch_size": 6, "epochs": 4, "verbose": 0, "validation_split": 0.2}
    options = {"metrics": ["mae", "rmse"], "weighted_metrics": ["mse"]}

    def watchers():
        return [
            callbacks.EarlyStopping(patience=3, restore_best_weights=True),
            callbacks.EarlyStopping("loss", patience=30, min_delta=0.5),
        ] + ([] if not isinstance(optimizer, str) else [callbacks.ReduceLROnPlateau(patience=0)])

    whole, x, y = compiled(optimizer=again(optimizer), **options)
    w = np.linspace(0.1, 1, 50)
    whole.fit(x, y, sample_weight=w, callbacks=watchers(), **fit)

    stopped, _, _ = compiled(optimizer=again(optimizer), **options)
    count = iter(range(1, 1000))

    def save(batch, logs):
        if next(count) == stop:
            stopped.save_checkpoint(path)
            raise Stop

    hook = callbacks.LambdaCallback(on_train_batch_end=save)
    with pytest.raises(Stop):
        stopped.fit(x, y, sample_weight=w, callbacks=[*watchers(), hook], **fit)

    other, _, _ = compiled(seed=0, optimizer=again(optimizer), **options)
    other.set_weights([a + 1 for a in other.get_weights()])
    other.compile(again(optimizer), "mse", seed=77, **options)  # its own seed is of no account
    other.load_checkpoint(path)
    copy = tmp_path / "copy"
    other.save_checkpoint(copy)  # before it goes on
    assert copy.read_bytes() == path.read_bytes()
    other.fit(x, y, sample_weight=w, callbacks=watchers(), **fit)
    assert outcome(other, x) == outcome(whole, x)


def test_saved_by_callbacks_at_the_end_of_epochs(tmp_path):
    def fit(model, x, y, epochs, more=()):
        stop = callbacks.EarlyStopping("loss", patience=2, min_delta=0.2)
        reduce = callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=0.2)
        return model.fit(
            x, y, batch_size=16, epochs=epochs, verbose=0, callbacks=[stop, reduce, *more]
        )

    whole, x, y = compiled(metrics=["mae"])
    fit(whole, x, y, 12)
    assert 2 < len(whole.history.epoch) < 12  # it stops early
    one, _, _ = compiled(metrics=["mae"])
    saver = callbacks.ModelCheckpoint(tmp_path / "run-{epoch}")
    fit(one, x, y, 12, [saver])
    for epoch in range(1, len(whole.history.epoch) + 1):
        other, _, _ = compiled(metrics=["mae"])
        other.load_checkpoint(tmp_path / f"run-{epoch}")
        # ModelCheckpoint is not among these, and the others find what is theirs.
        fit(other, x, y, 12)
        assert outcome(other, x) == outcome(whole, x), epoch


def test_steps_per_epoch_and_generators(tmp_path):
    def source(x, y):
        for i in range(10**6):
            rows = (np.arange(6) * 7 + i) % 50
            yield x[rows], y[rows]

    for make, options in (
        (lambda x, y: (source(x, y),), {"steps_per_epoch": 4}),
        (lambda x, y: (x, y), {"steps_per_epoch": 4, "batch_size": 9}),
    ):
        whole, x, y = compiled()
        whole.fit(*make(x, y), epochs=5, verbose=0, **options)
        one, _, _ = compiled()
        count = iter(range(1000))

        def save(batch, logs, model=one, count=count):
            if next(count) == 9:
                model.save_checkpoint(tmp_path / "run")
                raise Stop

        with pytest.raises(Stop):
            one.fit(*make(x, y), epochs=5, verbose=0, **options,
                    callbacks=[callbacks.LambdaCallback(on_train_batch_end=save)])  # fmt: skip
        other, _, _ = compiled()
        other.load_checkpoint(tmp_path / "run")
        other.fit(*make(x, y), epochs=5, verbose=0, **options)
        assert outcome(other, x) == outcome(whole, x)


def test_after_ctrl_c(tmp_path):
    whole, x, y = compiled(optimizer="adam")
    whole.fit(x, y, epochs=3, batch_size=8, verbose=0)
    one, _, _ = compiled(optimizer="adam")
    engine, count = one._ready(x).build(), iter(range(100))

    def interrupted(rate, kept=engine.update):
        if next(count) == 9:
            signal.raise_signal(signal.SIGINT)
        kept(rate)

    engine.update = interrupted
    with pytest.raises(KeyboardInterrupt):
        one.fit(x, y, epochs=3, batch_size=8, verbose=0)
    one.save_checkpoint(tmp_path / "run")
    other, _, _ = compiled(optimizer="adam")
    other.load_checkpoint(tmp_path / "run")
    other.fit(x, y, epochs=3, batch_size=8, verbose=0)
    assert outcome(other, x) == outcome(whole, x)


class Epochs(callbacks.Callback):
    """Notes which epochs begin."""

    def __init__(self):
        self.seen = []

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append(epoch)


def test_backup_and_restore(tmp_path):
    path = tmp_path / "backup"
    whole, x, y = compiled(optimizer="adam")
    whole.fit(x, y, epochs=6, batch_size=8, verbose=0)
    for frequency in ("epoch", 3):

        def die(epoch, logs):
            if epoch == 2:
                raise Stop

        one, _, _ = compiled(optimizer="adam")
        with pytest.raises(Stop):
            one.fit(x, y, epochs=6, batch_size=8, verbose=0,
                    callbacks=[callbacks.BackupAndRestore(path, frequency), die])  # fmt: skip
        assert path.exists()
        other, _, _ = compiled(optimizer="adam")
        begun = Epochs()
        other.fit(x, y, epochs=6, batch_size=8, verbose=0,
                  callbacks=[callbacks.BackupAndRestore(path, frequency), begun])  # fmt: skip
        assert begun.seen == [2, 3, 4, 5] and not path.exists()
        a, b = outcome(other, x), outcome(whole, x)
        assert a[:3] == b[:3]


def test_a_run_that_is_done_is_done_unless_it_begins_anew(tmp_path):
    model, x, y = compiled()
    model.fit(x, y, epochs=2, verbose=0)
    model.save_checkpoint(tmp_path / "run")
    other, _, _ = compiled()
    other.load_checkpoint(tmp_path / "run")
    assert weights_equal(other.get_weights(), model.get_weights())
    assert np.array_equal(other.predict(x), model.predict(x))
    history = other.fit(x, y, epochs=2, verbose=0)
    assert history.history == model.history.history
    assert other.fit(x, y, epochs=1, verbose=0).epoch == [0]  # the place is used up
    other.load_checkpoint(tmp_path / "run")
    assert other.fit(x, y, epochs=4, verbose=0).epoch == [0, 1, 2, 3]
    other.load_checkpoint(tmp_path / "run")
    assert other.fit(x, y, epochs=4, initial_epoch=3, verbose=0).epoch == [3]


def test_frozen_layers_and_layers_of_a_sequential(tmp_path):
    model, x, y = compiled(frozen=["first"], optimizer="adam")
    model.fit(x, y, epochs=2, verbose=0)
    model.save_checkpoint(tmp_path / "run")
    other, _, _ = compiled(frozen=["first"], optimizer="adam")
    other.set_weights([w + 1 for w in other.get_weights()])
    other.load_checkpoint(tmp_path / "run")
    assert weights_equal(other.get_weights(), model.get_weights())
    layers = lstmc.layers

    def made():
        net = Sequential([layers.Input((5, 3)), layers.LSTM(4), layers.Dense(1)])
        net.compile("adam", "mse", seed=4)
        return net

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 5, 3)), rng.standard_normal((20, 1))
    whole, one, rest = made(), made(), made()
    one.set_weights(whole.get_weights())
    whole.fit(x, y, epochs=4, batch_size=8, verbose=0)
    one.fit(x, y, epochs=2, batch_size=8, verbose=0)
    one.save_checkpoint(tmp_path / "run")
    rest.load_checkpoint(tmp_path / "run")
    rest.fit(x, y, epochs=4, batch_size=8, verbose=0)
    assert weights_equal(rest.get_weights(), whole.get_weights())
    assert rest.history.history == whole.history.history


def test_carried_states_go_on(tmp_path):
    """From epoch to epoch too, where nobody resets them; and in the middle of one."""
    layers = lstmc.layers
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 5, 3)), rng.standard_normal((20, 1))

    class Stop(lstmc.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                self.model.save_checkpoint(tmp_path / "run")
                raise KeyboardInterrupt

    def made():
        lstmc.set_random_seed(1)
        net = Sequential(
            [layers.LSTM(4, stateful=True, batch_input_shape=(4, 5, 3)), layers.Dense(1)]
        )
        net.compile("adam", "mse")
        return net

    def fit(net, callbacks=()):
        net.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=list(callbacks))
        return net

    whole = fit(made())
    with pytest.raises(KeyboardInterrupt):
        fit(made(), [Stop()])
    rest = made()
    rest.load_checkpoint(tmp_path / "run")
    fit(rest)
    assert weights_equal(rest.get_weights(), whole.get_weights())
    assert rest.history.history == whole.history.history


def test_carried_states_that_are_reset(tmp_path):
    layers = lstmc.layers
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 5, 3)), rng.standard_normal((20, 1))

    def trained(epochs, resume=None):
        lstmc.set_random_seed(1)
        net = Sequential(
            [layers.LSTM(4, stateful=True, batch_input_shape=(4, 5, 3)), layers.Dense(1)]
        )
        net.compile("adam", "mse")
        if resume:
            net.load_checkpoint(resume)
        net.fit(
            x, y, batch_size=4, epochs=epochs, shuffle=False, verbose=0,
            callbacks=[lambda epoch, logs: net.reset_states()],
        )  # fmt: skip
        return net

    trained(2).save_checkpoint(tmp_path / "run")
    whole, rest = trained(4), trained(4, tmp_path / "run")
    assert weights_equal(rest.get_weights(), whole.get_weights())
    assert rest.history.history == whole.history.history


# ---------------------------------------------------------------------------------------- the file


def test_numbers_go_into_the_file_as_they_are(tmp_path):
    arrays = {
        "a": np.array([1.5, -0.0, np.nan, np.inf], np.float32), "b/c": np.zeros((0, 3)),
        "d": np.array(7, np.int64), "é": np.arange(5, dtype=np.uint8),
        "f": np.array([[2**32 - 1]], np.uint32), "g": np.array(2**64 - 1, np.uint64),
        "h": np.asfortranarray(np.arange(6.0).reshape(2, 3)).astype(">f8"),
    }  # fmt: skip
    checkpoint.write(tmp_path / "x", arrays)
    found = checkpoint.read(tmp_path / "x")
    assert list(found) == sorted(arrays)
    for name, a in arrays.items():
        assert found[name].shape == a.shape and found[name].dtype == a.dtype.newbyteorder("=")
        assert np.array_equal(found[name], a, equal_nan=a.dtype.kind == "f")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x"]


def test_the_bytes_are_those_of_the_documentation():
    """docs/CHECKPOINTS.md shows this file."""
    data = checkpoint.dumps({"place": np.array([2, 1], np.int64)})
    body = struct.pack("<HBBI Q 5s3x 2q", 5, 2, 1, 0, 2, b"place", 2, 1)
    head = struct.pack("<8sIIQI", b"lstmcckp", 1, 1, 32 + len(body), zlib.crc32(body))
    assert data == head + struct.pack("<I", zlib.crc32(head)) + body and len(data) == 72


def sealed(body: bytes, *, magic=b"lstmcckp", version=1, count=1, size=None) -> bytes:
    """A file with right checksums, whatever else is wrong."""
    total = 32 + len(body) if size is None else size
    head = struct.pack("<8sIIQI", magic, version, count, total, zlib.crc32(body))
    return head + struct.pack("<I", zlib.crc32(head)) + body


def entry(name=b"a", dtype=1, axes=(3,), zero=0, data=b"abc", length=None) -> bytes:
    length = len(name) if length is None else length
    parts = struct.pack(f"<HBBI{len(axes)}Q", length, dtype, len(axes), zero, *axes)
    return parts + name + bytes(-len(name) % 8) + data + bytes(-len(data) % 8)


def test_hostile_files():
    good = sealed(entry())
    assert checkpoint.loads(good)["a"].tobytes() == b"abc"
    assert checkpoint.loads(sealed(entry() + entry(b"b"), count=2)).keys() == {"a", "b"}
    for text, data in (
        ("not a checkpoint", b""),
        ("not a checkpoint", b"lstmcckp"),
        ("not a checkpoint", sealed(entry(), magic=b"lstmcckq")),
        ("a checkpoint of version 2, this lstmc reads 1", sealed(entry(), version=2)),
        ("damaged checkpoint", sealed(entry(), size=10**15)),
        ("entries don't fit", sealed(entry(), count=2)),
        ("entries don't fit", sealed(b"", count=2**32 - 1)),
        ("bytes behind its last entry", sealed(entry() + b"12345678")),
        ("not known", sealed(entry(dtype=0))),
        ("not known", sealed(entry(dtype=7))),
        ("not known", sealed(entry(zero=1))),
        ("not known", sealed(entry(axes=(1,) * 9))),
        ("entries don't fit", sealed(entry(axes=(2**63, 2**63)))),
        ("entries don't fit", sealed(entry(axes=(2**64 - 1,)))),
        ("entries don't fit|not known", sealed(entry(axes=(2**64 - 1, 0), data=b""))),
        ("entries don't fit", sealed(entry(length=60000))),
        ("entries don't fit", sealed(entry(name=b"a\xff", data=b"abc"))),
        ("entries don't fit", sealed(entry(data=b"abcd", axes=(3,)))),
        ("not in order", sealed(entry(b"b") + entry(b"a"), count=2)),
        ("not in order", sealed(entry(b"a") * 2, count=2)),
        ("not in order", sealed(entry(b""))),
    ):
        with pytest.raises(lstmc.FormatError, match=text):
            checkpoint.loads(data)


@settings(deadline=None)
@given(st.data())
def test_damaged_files(data):
    """A flipped bit, a cut, something behind: all are found."""
    model, x, y = regression()
    model.compile("adam", "mse", metrics=["mae"], seed=1)
    model.fit(x, y, verbose=0)
    whole = checkpoint.dumps(held(model._trainer))
    place = data.draw(st.integers(0, len(whole) - 1))
    bit = data.draw(st.integers(0, 7))
    flipped = bytearray(whole)
    flipped[place] ^= 1 << bit
    for bad in (bytes(flipped), whole[:place], whole + b"\0"):
        with pytest.raises(lstmc.FormatError):
            checkpoint.loads(bad)


def changed(arrays, path, **changes):
    """A checkpoint with some entries exchanged, None: left out."""
    kept = {**arrays, **{k: v for k, v in changes.items() if v is not None}}
    for name in [k for k, v in changes.items() if v is None]:
        del kept[name]
    checkpoint.write(path, kept)


def test_files_with_right_checksums_and_wrong_contents(tmp_path):
    path = tmp_path / "run"
    model, x, y = compiled(optimizer="adam", metrics=["mae"])
    stop = callbacks.EarlyStopping("loss", patience=9)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[stop])
    before, arrays = model.get_weights(), held(model._trainer)
    i64, u8 = np.int64, np.uint8
    for text, changes in (
        ("without its optimizer", {"optimizer": None}),
        ("of the optimizer 'sgd', the model has 'adam'", {"optimizer": np.frombuffer(b"sgd", u8)}),
        ("without its rate", {"rate": np.zeros(3)}),
        ("with the learning rate nan", {"rate": np.array(np.nan)}),
        ("without its seed", {"seed": np.array(1, i64)}),
        ("nothing sensible of its place", {"place": np.array([1, 2, 3, -1], i64)}),
        ("nothing sensible of its place", {"place": np.array([1], i64)}),
        ("without its place", {"place": None}),
        ("without its stopped", {"stopped": np.array(0.5)}),
        ("other losses and metrics", {"place": np.array([0, 1, 0, 1], i64)}),
        ("a history that is none", {"history/log/loss": np.zeros((2, 2))}),
        ("a history that is none", {"history/epoch": None}),
        ("a history that is none", {"history/other": np.zeros(2)}),
        ("of another model: .* other layers", {"weight/third/weight": np.zeros(2, np.float32)}),
        ("of another model: .* other layers", {"weight/first/weight": None}),
        ("first.*weight has shape", {"weight/first/weight": np.zeros((4, 5), np.float32)}),
        ("a weight of another type", {"weight/first/weight": np.zeros((5, 4))}),
        ("of another model: .*slots", {"slot/more": np.zeros(2)}),
        ("of another model: .*slots", {"slot/iterations": None}),
        ("of another model", {"slot/first/weight/0": np.zeros(3, np.float32)}),
        ("of another model", {"slot/iterations": np.zeros(3, np.uint32)}),
    ):
        changed(arrays, path, **changes)
        with pytest.raises(lstmc.FormatError, match=text) as caught:
            model.load_checkpoint(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        assert weights_equal(model.get_weights(), before)
        assert model._trainer.resume is None
    changed(arrays, path, **{"callback/EarlyStopping.0/counts": np.zeros(1, i64)})
    model.load_checkpoint(path)
    with pytest.raises(lstmc.FormatError, match=r"state of EarlyStopping.0 is not one"):
        model.fit(x, y, epochs=3, verbose=0, callbacks=[callbacks.EarlyStopping("loss")])
    path.write_bytes(b"PK\3\4" * 20)
    with pytest.raises(lstmc.FormatError, match="not a checkpoint"):
        model.load_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        model.load_checkpoint(tmp_path / "none")
    fresh, _, _ = regression()
    with pytest.raises(lstmc.Error, match="compile the model first"):
        fresh.load_checkpoint(path)
    sgd, _, _ = compiled()
    model.save_checkpoint(path)
    with pytest.raises(lstmc.FormatError, match="of the optimizer 'adam', the model has 'sgd'"):
        sgd.load_checkpoint(path)


# ------------------------------------------------------------------------------------------- kills

KILLED = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
import killing
from lstmc.training import checkpoint

path = Path(sys.argv[2])
rng = np.random.default_rng(0)
old, new = ({"a": rng.random(3000), "b": rng.random(5)} for _ in range(2))
found = []
for events in range(1, 100):
    checkpoint.write(path, old)
    killed = killing.killed_after(events, lambda: checkpoint.write(path, new))
    arrays = checkpoint.read(path)
    kinds = [k for k, a in (("old", old), ("new", new))
             if all(np.array_equal(arrays[n], a[n]) for n in a)]
    found.append(kinds)
    if not killed:
        break
print(json.dumps([killed, found, [p.name for p in path.parent.iterdir()]]))
"""


def test_a_writer_that_is_killed_at_any_moment_leaves_a_whole_file(tmp_path):
    """At each write, sync and rename, before and after it; what was not synced is garbage then."""
    run = subprocess.run(
        [sys.executable, "-P", "-c", KILLED, str(Path(__file__).parent), str(tmp_path / "run")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    killed, found, names = json.loads(run.stdout)
    assert not killed and all(len(kinds) == 1 for kinds in found)
    kinds = [kinds[0] for kinds in found]
    assert kinds == sorted(kinds, reverse=True) and kinds[0] == "old" and kinds[-1] == "new"
    assert kinds.count("old") >= 4 and kinds.count("new") >= 2
    assert names == ["run"]


WRITER = """
import sys
import numpy as np
from lstmc.training import checkpoint

rng = np.random.default_rng(0)
old, new = ({"a": rng.random(3000), "b": rng.random(5)} for _ in range(2))
checkpoint.write(sys.argv[1], {"old": old, "new": new}[sys.argv[2]])
"""


def test_a_writer_that_is_killed_in_any_system_call_leaves_a_whole_file(tmp_path):
    """Before each of the calls that have to do with the file, its new one or their folder."""
    if shutil.which("strace") is None:
        pytest.skip("no strace")
    path = tmp_path / "run"
    write = [sys.executable, "-P", "-c", WRITER, str(path)]
    kept = {}
    for kind in ("new", "old"):
        subprocess.run([*write, kind], check=True)
        kept[path.read_bytes()] = kind
    log = tmp_path.parent / f"{tmp_path.name}.log"
    touching = [word for p in (path, tmp_path / "run.new", tmp_path) for word in ("-P", str(p))]
    trace = ["strace", "-f", "-qq", "-o", str(log), *touching]
    subprocess.run([*trace, *write, "new"], check=True)
    calls = re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.M)
    assert {"write", "fsync", "rename"} <= set(calls)
    found = []
    for i, name in enumerate(calls):
        path.write_bytes(next(data for data, kind in kept.items() if kind == "old"))
        when = f"inject={name}:signal=KILL:when={calls[: i + 1].count(name)}"
        run = subprocess.run([*trace, "-e", when, *write, "new"], capture_output=True, text=True)
        assert run.returncode == -signal.SIGKILL, run.stderr
        found.append(kept[path.read_bytes()])
        checkpoint.read(path)
    renamed = calls.index("rename")
    assert found == ["old"] * renamed + [found[renamed]] + ["new"] * (len(calls) - renamed - 1)


def test_a_disk_that_is_full_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run"
    model, x, y = compiled()
    model.fit(x, y, verbose=0)
    model.save_checkpoint(path)
    kept = path.read_bytes()
    model.fit(x, y, verbose=0)
    for place in ("fsync", "replace"):
        target = os if place == "fsync" else Path

        def full(*arguments):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as m:
            m.setattr(target, place, full)
            with pytest.raises(OSError, match="No space left"):
                model.save_checkpoint(path)
        assert path.read_bytes() == kept
        assert [p.name for p in tmp_path.iterdir()] == ["run"]
    with pytest.raises(FileNotFoundError):
        model.save_checkpoint(tmp_path / "none" / "run")
    with pytest.raises(OSError):
        model.save_checkpoint(tmp_path)
