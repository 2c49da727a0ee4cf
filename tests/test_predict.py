"""Model.predict: compiled for arrays of a shape seen before, and nobody can tell."""

from __future__ import annotations

import copy
import gc
import inspect
import itertools
import pickle
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref
from functools import partial

import numpy as np
import pytest
from helpers import bits, random_graph, random_inputs
from test_step import GIVEN, INPUTS, UNITS, build

import lstmc
from lstmc import _core
from lstmc import graph as g
from lstmc.model import MAX_ROWS, from_graph

AXES = (g.BATCH, g.TIME)


def dense():
    layer = g.Dense(name="d", inputs=("x",), outputs=("y",), weight=np.eye(4)[:2], bias=np.ones(2))
    return from_graph(g.Graph([g.Value("x", (g.BATCH, 4))], [g.Value("y", (g.BATCH, 2))], [layer]))


def numbers(*shape, seed=5):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def slowly(model, x, lengths=None):
    """What the Python method gives: a dict never goes the short way."""
    return model.predict({model.graph.inputs[0].name: x}, lengths)


@pytest.fixture
def model():
    return build()


def watched(model, call):
    """What a call of predict gives, and whether it went the short way: the long one takes its
    arguments apart."""
    calls = []
    taken = model._take
    model._take = lambda x: calls.append(x) or taken(x)
    try:
        y = call()
    finally:
        del model._take
    return y, not calls


def went_short(model, call):
    return watched(model, call)[1]


def test_it_looks_like_a_method():
    parameters = inspect.signature(lstmc.Model.predict).parameters
    assert list(parameters) == ["self", "x", "lengths"] and parameters["lengths"].default is None
    assert lstmc.Model.predict.__doc__.startswith("Run the model from zero state.")
    assert "RangeError" in lstmc.Model.predict.__doc__
    assert lstmc.Model.predict.__name__ == "predict"
    assert lstmc.Model.predict.__qualname__ == "Model.predict"


def test_which_calls_go_the_short_way(model):
    x = numbers(2, 5, INPUTS)
    assert not went_short(model, lambda: model.predict(x))
    for call in (
        lambda: model.predict(x),
        lambda: model.predict(x + 1),
        lambda: model.predict(x, None),
        lambda: model.predict(x, lengths=None),
        lambda: lstmc.Model.predict(model, x),
    ):
        assert went_short(model, call)
    for call in (
        lambda: model.predict(x=x),
        lambda: model.predict(x, [5, 5]),
        lambda: model.predict(x, lengths=[5, 5]),
        lambda: model.predict(lengths=None, x=x),
        lambda: model.predict({"x": x}),
        lambda: model.predict(x.tolist()),
        lambda: model.predict(x[:1]),
        lambda: model.predict(x.reshape(5, 2, INPUTS)),
    ):
        assert not went_short(model, call)
    assert went_short(model, lambda: model.predict(x)), "none of those made it forget"


@pytest.mark.parametrize("name", GIVEN)
def test_inputs_of_all_kinds(model, name):
    x = numbers(2, 5, INPUTS)
    want = slowly(model, x).tobytes()
    given = GIVEN[name](x)
    model.predict(x)
    for _ in range(2):
        got = model.predict(given)
        assert type(got) is np.ndarray and got.shape == (2, 5, UNITS)
        assert got.flags.owndata and got.flags.writeable and got.tobytes() == want


@pytest.mark.parametrize("sequential", [True, False])
def test_all_kinds_of_models(sequential):
    """The same bits both ways, by turns on two inputs, with more rows than a session holds too."""
    short = 0
    for seed in range(200):
        graph = random_graph(seed, sequential=sequential)
        if len(graph.inputs) > 1 or len(graph.outputs) > 1:
            continue
        model, (value,) = from_graph(graph), graph.inputs
        for batch, steps in ((3, 9), (1, 20), (MAX_ROWS + 3, 8)):
            given = [random_inputs(graph, i, batch, steps)[value.name] for i in (0, 1)]
            want = [bits(slowly(model, x)) for x in given]
            for i in (0, 1, 0, 1):
                got, quick = watched(model, partial(model.predict, given[i]))
                np.testing.assert_array_equal(bits(got), want[i])
                short += quick
    assert short > 150


def test_several_outputs_stay_several():
    layer = g.Dense(name="d", inputs=("x",), outputs=("y",), weight=np.eye(4)[:2])
    other = g.Dense(name="e", inputs=("x",), outputs=("z",), weight=np.eye(4)[2:])
    values = [g.Value(name, (g.BATCH, 2)) for name in "yz"]
    model = from_graph(g.Graph([g.Value("x", (g.BATCH, 4))], values, [layer, other]))
    for _ in range(3):
        got = model.predict(np.arange(4, dtype=np.float32)[None])
        assert {name: a.tolist() for name, a in got.items()} == {"y": [[0, 1]], "z": [[2, 3]]}


def test_sessions_are_looked_at_before_they_are_kept(model):
    sessions = _core.Sessions(model._core, 2, 5, 0, 1)
    x, y = numbers(2, 5, INPUTS), numbers(2, 5, UNITS)
    for batch, steps, core in ((3, 5, model._core), (2, 4, model._core), (2, 5, build()._core)):
        with pytest.raises(lstmc.Error, match="none of these"):
            sessions.give(_core.Session(core, batch, steps, 0))
        with pytest.raises(lstmc.Error, match="none of these"):
            model._remember(sessions, _core.Session(core, batch, steps, 0), x, y, 2, [5])
    session = sessions.take()
    for wrong in ((x, y[:1]), (x[:, :4].copy(), y)):
        with pytest.raises(lstmc.ShapeError, match="elements, expected"):
            model._remember(sessions, session, *wrong, 2, [5])
    sessions.give(session)
    two = [sessions.take(), sessions.take()]
    assert two[0] is session and two[1] is not session
    for one in two:
        sessions.give(one)
    sessions.give(sessions.take())
    assert {sessions.take(), sessions.take()} == set(two)


def test_long_calls_are_cut_as_ever(monkeypatch):
    """More rows and steps than a session holds."""
    monkeypatch.setattr(lstmc.model, "CHUNK_FLOATS", 400)
    model, x = build(), numbers(MAX_ROWS + 7, 50, INPUTS)
    assert model._session_size(*x.shape[:1], [50]) == (MAX_ROWS, 16)
    want = slowly(model, x)
    for _ in range(3):
        np.testing.assert_array_equal(model.predict(x), want)
    assert went_short(model, lambda: model.predict(x))


def test_errors_after_a_good_call(model):
    x = numbers(2, 5, INPUTS)
    for _ in range(2):
        model.predict(x)
    for given, error in {
        "rank": (x[0], lstmc.ShapeError),
        "features": (x[:, :, :2].copy(), lstmc.ShapeError),
        "no steps, more rows": (x.reshape(10, INPUTS), lstmc.ShapeError),
        "complex": (x.astype(complex), lstmc.DtypeError),
        "nothing": (None, lstmc.DtypeError),
        "masked": (np.ma.masked_less(x, 0), lstmc.DtypeError),
    }.values():
        with pytest.raises(error):
            model.predict(given)
    for d in range(1, 33):  # one of them in the slot of (2, 5, 3)
        with pytest.raises(lstmc.ShapeError):
            model.predict(numbers(2, 5, INPUTS, d))
    for call, message in {
        lambda: model.predict(): r"predict\(\) missing 1 required positional argument: 'x'",
        lambda: model.predict(lengths=None): "missing 1 required positional argument: 'x'",
        lambda: model.predict(x, None, 1): "takes from 2 to 3 positional arguments but 4",
        lambda: model.predict(x, length=None): "unexpected keyword argument 'length'",
        lambda: model.predict(x, x=x): "multiple values for argument 'x'",
        lambda: lstmc.Model.predict(): "needs an argument|argument",
        lambda: lstmc.Model.predict(7, x): "descriptor 'predict' for 'Model' objects doesn't apply",
    }.items():
        with pytest.raises(TypeError, match=message):
            call()
    with pytest.raises(AttributeError):
        lstmc.Model.__new__(lstmc.Model).predict(x)


def test_empty_batches_and_no_steps(model):
    for shape in ((0, 5, INPUTS), (2, 0, INPUTS), (0, 0, INPUTS)):
        for _ in range(3):
            assert model.predict(numbers(*shape)).shape == (*shape[:2], UNITS)
            assert not went_short(model, lambda s=shape: model.predict(numbers(*s)))


def test_indices_are_looked_at_every_time():
    layer = g.Embedding(name="e", inputs=("x",), outputs=("y",), weight=np.eye(4))
    model = from_graph(g.Graph([g.Value("x", (*AXES, 1))], [g.Value("y", (*AXES, 4))], [layer]))
    good, bad = np.full((1, 2, 1), 3, np.float32), np.full((1, 2, 1), 4, np.float32)
    for _ in range(3):
        model.predict(good)
        with pytest.raises(lstmc.RangeError, match="indices 0 to 3"):
            model.predict(bad)


def test_shapes_that_share_a_slot(model):
    """Far more shapes than are known at once, each with the right answer."""
    for _ in range(2):
        for steps in range(1, 80):
            x = numbers(1, steps, INPUTS, seed=steps)
            want = slowly(model, x)
            for _ in range(2):
                np.testing.assert_array_equal(model.predict(x), want)


def test_targets_and_threads_hold_at_once(model):
    x = numbers(2, 5, INPUTS)
    used = []
    model._sessions_for = lambda *a: used.append(type(model)._sessions_for(model, *a)) or used[-1]
    before = lstmc.get_num_threads()
    try:
        for _ in range(2):
            for target in lstmc.targets():
                for threads in (1, 3):
                    lstmc.set_target(target)
                    lstmc.set_num_threads(threads)
                    used.clear()
                    for _ in range(3):
                        model.predict(x)
                    (sessions,) = used  # the first call of the three, the others knew it
                    assert (sessions.target, sessions.threads) == (
                        _core.target_code(target),
                        threads,
                    )
    finally:
        lstmc.set_target("auto")
        lstmc.set_num_threads(before)


def test_what_is_restored_holds_too(model, monkeypatch):
    """As the command line does it: back to a target and a number that nobody had asked for yet."""
    x, before = numbers(2, 5, INPUTS), lstmc.get_num_threads()
    try:
        lstmc.set_target("scalar")
        lstmc.set_num_threads(2)
        model.predict(x)
        assert went_short(model, lambda: model.predict(x))
        lstmc.runtime.restore("auto")
        assert not went_short(model, lambda: model.predict(x))
        assert went_short(model, lambda: model.predict(x))
        monkeypatch.setenv("LSTMC_NUM_THREADS", "3")
        lstmc.threads.restore(0)
        assert not went_short(model, lambda: model.predict(x))
        assert lstmc.get_num_threads() == 3
        assert went_short(model, lambda: model.predict(x))
    finally:
        lstmc.set_target("auto")
        lstmc.set_num_threads(before)


def test_a_call_allocates_its_output_only():
    model, x = dense(), numbers(1, 4)
    for _ in range(3):
        model.predict(x)
    turns = itertools.repeat(None, 1000)
    predict, kept = model.predict, [None]
    tracemalloc.start()
    try:
        kept[0] = predict(x)
        blocks = sys.getallocatedblocks()
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in turns:
            kept[0] = predict(x)
        _, peak = tracemalloc.get_traced_memory()
        assert sys.getallocatedblocks() - blocks < 10
    finally:
        tracemalloc.stop()
    assert peak - size < 1000  # the next output, while the last one is alive


def test_memory_is_given_back():
    """Sessions of forgotten sizes go, and those of a model with it."""
    model = build()
    x = [numbers(b, 3, INPUTS) for b in range(1, 40)]
    for a in x * 2:
        model.predict(a)
        model.predict(a)
    assert len(model._sessions) <= lstmc.model.CACHED_SESSIONS
    gc.collect()
    alive = [o for o in gc.get_objects() if type(o) is _core.Session]
    assert sum(s.model is model._core for s in alive) <= lstmc.model.CACHED_SESSIONS
    model.me = model
    gone = weakref.ref(model)
    core = model._core
    del model, alive
    gc.collect()
    assert gone() is None
    assert not any(type(o) is _core.Session and o.model is core for o in gc.get_objects())


def test_threads_hammer_one_model():
    """Long and short calls of several shapes at once: every answer is the right one."""
    model = build()
    given = [numbers(b, t, INPUTS, seed=b) for b, t in ((1, 1), (2, 5), (1, 300), (40, 200))]
    want = [slowly(model, x).tobytes() for x in given]
    wrong, start = [], threading.Barrier(6)

    def work(first):
        start.wait()
        for i in range(first, first + 300):
            k = i % 4 if i % 50 == 3 else i % 3
            if model.predict(given[k]).tobytes() != want[k]:
                wrong.append(k)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong


def test_a_long_call_releases_the_gil(model):
    """Another thread goes on counting while a call of a known shape computes."""
    x = numbers(64, 4000, INPUTS)
    model.predict(x)
    count, stop = [0], threading.Event()

    def work():
        while not stop.is_set():
            count[0] += 1
            time.sleep(1e-4)

    before = sys.getswitchinterval()
    thread = threading.Thread(target=work)
    thread.start()
    try:
        sys.setswitchinterval(60)  # nobody is asked to let go
        time.sleep(0.01)
        start = count[0]
        assert went_short(model, lambda: model.predict(x))
        counted = count[0] - start
    finally:
        sys.setswitchinterval(before)
        stop.set()
        thread.join()
    assert counted


def test_one_call_inside_another(model):
    """An output's allocation may collect garbage, whose finalizer predicts."""
    x = numbers(1, 3, INPUTS)
    want = slowly(model, x).tobytes()
    seen = []

    class Last:
        def __del__(self):
            seen.append(model.predict(x).tobytes())

    for _ in range(50):
        last = Last()
        last.me = last
        del last
        gc.collect(0)
        seen.append(model.predict(x).tobytes())
    assert len(seen) == 100 and set(seen) == {want}


def test_a_known_shape_can_be_interrupted(tmp_path):
    build().save(tmp_path / "m.lstmc")
    code = """
import numpy as np, lstmc, os, signal, sys, threading
model = lstmc.load(sys.argv[1])
lstmc.set_num_threads(1)
x = np.zeros((1, 2_000_000, 3), np.float32)
model.predict(x)
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
model._take = None  # the long way is closed
for done in range(20):
    try:
        model.predict(x)
    except KeyboardInterrupt:
        print("interrupted", done < 19)
        break
try:
    model.predict(x)
except TypeError:
    print("that session is used no more")  # it was in the middle of a call
del model._take
assert model.predict(x[:, :5]).shape == (1, 5, 10)
"""
    command = [sys.executable, "-P", "-c", code, str(tmp_path / "m.lstmc")]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.stdout == "interrupted True\nthat session is used no more\n", run.stderr


class Doubling(lstmc.Model):
    def predict(self, x, lengths=None):
        return 2 * super().predict(x, lengths)


def test_subclasses_pickles_and_copies(model):
    x = numbers(2, 5, INPUTS)
    want = slowly(model, x)
    model.predict(x)
    for version in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(model, version))
        assert type(again) is lstmc.Model
        for _ in range(2):
            np.testing.assert_array_equal(again.predict(x), want)
    for other in (copy.copy(model), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.predict(x), want)
    special = Doubling(model.to_bytes())
    special.note = "kept by Python"
    for _ in range(3):
        np.testing.assert_array_equal(special.predict(x), 2 * want)
