"""Stream.step: compiled for the usual call, in Python for all others, and nobody can tell."""

from __future__ import annotations

import array
import copy
import gc
import inspect
import itertools
import pickle
import sys
import tracemalloc
import weakref

import numpy as np
import pytest

import lstmc
from lstmc import _core
from lstmc import graph as g
from lstmc.model import from_graph

INPUTS, UNITS, BATCH = 3, 10, 2


def build(inputs=INPUTS):
    rng = np.random.default_rng(4)
    cell = g.LSTM(
        name="cell",
        inputs=("x",),
        outputs=("y", None, None),
        weight_ih=rng.normal(0, 0.4, (4 * UNITS, inputs)),
        weight_hh=rng.normal(0, 0.4, (4 * UNITS, UNITS)),
        bias=rng.normal(0, 0.4, 4 * UNITS),
    )
    axes = (g.BATCH, g.TIME)
    return from_graph(
        g.Graph([g.Value("x", (*axes, inputs))], [g.Value("y", (*axes, UNITS))], [cell])
    )


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture
def x():
    return np.random.default_rng(5).standard_normal((BATCH, INPUTS)).astype(np.float32)


@pytest.fixture
def want(model, x):
    return model.predict(x[:, None])[:, 0]


def blank():
    return np.full((BATCH, UNITS), np.nan, np.float32)


def test_the_layout_of_arrays_is_known():
    """If it were not, steps would be right and slower: this numpy is one that we know."""
    assert _core.reads_arrays


def test_it_looks_like_a_method():
    parameters = inspect.signature(lstmc.Stream.step).parameters
    assert list(parameters) == ["self", "x", "out"] and parameters["out"].default is None
    assert lstmc.Stream.step.__doc__.startswith("One time step.")
    assert "allocates nothing" in lstmc.Stream.step.__doc__
    assert lstmc.Stream.step.__name__ == "step"
    assert lstmc.Stream.step.__qualname__ == "Stream.step"


def test_every_way_of_calling(model, x, want):
    ways = [
        lambda s, y: s.step(x),
        lambda s, y: s.step(x, None),
        lambda s, y: s.step(x=x),
        lambda s, y: s.step(x, out=None),
        lambda s, y: s.step(x, y),
        lambda s, y: s.step(x, out=y),
        lambda s, y: s.step(x=x, out=y),
        lambda s, y: s.step(out=y, x=x),
        lambda s, y: s.step(x, **{"".join(["o", "ut"]): y}),
        lambda s, y: s.step({"x": x}, out=y),
        lambda s, y: lstmc.Stream.step(s, x, y),
        lambda s, y: getattr(s, "step")(*[x, y]),  # noqa: B009
    ]
    for i, way in enumerate(ways):
        y = blank()
        got = way(model.stream(BATCH), y)
        assert got.dtype == np.float32 and got.tobytes() == want.tobytes(), i
        assert (got is y) == (i > 3), i


def test_names_in_any_order():
    """Where x and out have one shape, nothing but their names tells them apart."""
    x, y = np.ones((BATCH, UNITS), np.float32), blank()
    want = build(UNITS).stream(BATCH).step(x)
    assert build(UNITS).stream(BATCH).step(out=y, x=x) is y
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(x, 1)


def test_the_core_writes_to_no_read_only_array(model, x):
    session = _core.Session(model._core, BATCH, 1, 0)
    y = read_only(blank())
    with pytest.raises((BufferError, ValueError)):
        session.run([x], [y], BATCH, [1], None, True)
    assert np.isnan(y).all()


def test_wrong_calls(model, x):
    stream = model.stream(BATCH)
    for call, message in {
        lambda: stream.step(): r"step\(\) missing 1 required positional argument: 'x'",
        lambda: stream.step(out=blank()): "missing 1 required positional argument: 'x'",
        lambda: stream.step(x, blank(), 1): "takes from 2 to 3 positional arguments but 4",
        lambda: stream.step(x, ouch=1): "unexpected keyword argument 'ouch'",
        lambda: stream.step(x, x=x): "multiple values for argument 'x'",
        lambda: stream.step(x, blank(), out=1): "multiple values for argument 'out'",
        lambda: lstmc.Stream.step(): "needs an argument|argument",
        lambda: lstmc.Stream.step(7, x): "descriptor 'step' for 'Stream' objects doesn't apply",
    }.items():
        with pytest.raises(TypeError, match=message):
            call()
    with pytest.raises(TypeError):
        stream._session = 7
    assert not any(a.any() for a in stream.state["cell"].values())
    stream._session = None
    with pytest.raises(AttributeError):
        stream.step(x)
    with pytest.raises(AttributeError):
        lstmc.Stream.__new__(lstmc.Stream).step(x, blank())


class Special(np.ndarray):
    pass


def misaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)
    out = raw[1:].view(np.float32).reshape(a.shape)
    out[...] = a
    return out


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


# What x may be: all of them give the bits that a plain array gives.
GIVEN = {
    "plain": lambda a: a,
    "read-only": read_only,
    "strided": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "column-major": np.asfortranarray,
    "misaligned": misaligned,
    "swapped bytes": lambda a: a.astype(a.dtype.newbyteorder()),
    "annotated": lambda a: a.astype(np.dtype(np.float32, metadata={"of": "x"})),
    "float64": lambda a: a.astype(np.float64),
    "subclass": lambda a: a.view(Special),
    "list": lambda a: a.tolist(),
    "memoryview": memoryview,
    "array": lambda a: memoryview(array.array("f", a.ravel())).cast("B").cast("f", a.shape),
    "dict": lambda a: {"x": a},
}


@pytest.mark.parametrize("name", GIVEN)
def test_inputs_of_all_kinds(model, x, want, name):
    given = GIVEN[name](x)
    for y in (None, blank(), blank().view(Special), memoryview(bytearray(blank().tobytes()))):
        if isinstance(y, memoryview):
            y = y.cast("f", (BATCH, UNITS))
            if name not in ("plain", "read-only", "annotated", "subclass", "memoryview", "array"):
                continue  # only what is an array of float32 goes to what isn't an array
        got = model.stream(BATCH).step(given, y)
        assert np.asarray(got).tobytes() == want.tobytes()
        assert y is None or got is y


# What x and out may not be: an error, and neither the state nor out has changed.
BAD_X = {
    "rows": lambda a: a[:1],
    "features": lambda a: a[:, :2].copy(),
    "transposed": lambda a: np.ascontiguousarray(a.T),
    "rank": lambda a: a[None],
    "flat": lambda a: a.ravel(),
    "scalar": lambda a: a[0, 0],
    "empty": lambda a: a[:0],
    "complex": lambda a: a.astype(complex),
    "bytes": lambda a: a.tobytes(),
    "none": lambda a: None,
    "same size": lambda a: a.view(np.int32).astype("S4"),
}
BAD_OUT = {
    "read-only": read_only,
    "strided": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "column-major": np.asfortranarray,
    "float64": lambda a: a.astype(np.float64),
    "int32": lambda a: a.view(np.int32),
    "swapped bytes": lambda a: a.astype(a.dtype.newbyteorder()),
    "rows": lambda a: a[:1],
    "features": lambda a: a[:, 1:].copy(),
    "flat": lambda a: a.ravel(),
    "rank": lambda a: a[None],
    "list": lambda a: a.tolist(),
    "bytes": lambda a: a.tobytes(),
}


def test_bad_arguments_change_nothing(model, x):
    stream = model.stream(BATCH)
    stream.step(x)
    before = pickle.dumps(stream.state)
    bad = [(f(x), blank()) for f in BAD_X.values()]
    bad += [(x, f(blank())) for f in BAD_OUT.values()]
    bad += [(f(x), f2(blank())) for f, f2 in zip(BAD_X.values(), BAD_OUT.values(), strict=False)]
    for a, y in bad:
        old = copy.deepcopy(y)
        with pytest.raises((lstmc.ShapeError, lstmc.DtypeError)):
            stream.step(a, y)
        np.testing.assert_array_equal(y, old)
        assert pickle.dumps(stream.state) == before


class Angry:
    """An exporter whose error is not one of those that objects without a buffer raise."""

    def __init__(self, error):
        self.error = error

    def __buffer__(self, flags):
        raise self.error

    def __array__(self, dtype=None, copy=None):
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, BufferError])
def test_errors_of_strange_objects_come_through(model, x, error):
    stream = model.stream(BATCH)
    with pytest.raises(error):
        stream.step(Angry(error()))
    assert stream.step(x) is not None


def test_overlap_by_a_byte(model, x):
    """x and out may touch, and not share a byte, whichever lies first."""
    raw = np.zeros(4 * (BATCH * (INPUTS + UNITS) + 1) * 2, np.uint8)
    nx, ny = 4 * BATCH * INPUTS, 4 * BATCH * UNITS
    at = 64 - raw.ctypes.data % 64
    want = model.stream(BATCH).step(np.zeros((BATCH, INPUTS), np.float32)).tobytes()
    for shift in range(-4, 5, 4):
        for first, second in ((nx, ny), (ny, nx)):
            raw[:] = 0
            a, b = raw[at : at + first], raw[at + first + shift : at + first + shift + second]
            x_in, y = (a, b) if first == nx else (b, a)
            x_in, y = x_in.view(np.float32), y.view(np.float32)
            x_in, y = x_in.reshape(BATCH, INPUTS), y.reshape(BATCH, UNITS)
            stream = model.stream(BATCH)
            for given, out in ((x_in, y), (memoryview(x_in), memoryview(y))):
                if shift < 0:
                    with pytest.raises(lstmc.ShapeError, match="out overlaps the input"):
                        stream.step(given, out)
                else:
                    stream.reset()
                    assert np.asarray(stream.step(given, out)).tobytes() == want


def test_a_step_into_out_allocates_nothing(model, x):
    stream, y = model.stream(BATCH), blank()
    step = stream.step
    for _ in range(3):
        step(x, y)
        stream.step(x, out=y)
    turns = itertools.repeat(None, 1000)
    tracemalloc.start()
    try:
        blocks = sys.getallocatedblocks()
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in turns:
            step(x, y)
        for _ in itertools.repeat(None, 1000):
            stream.step(x, out=y)
        _, peak = tracemalloc.get_traced_memory()
        assert sys.getallocatedblocks() - blocks < 10
    finally:
        tracemalloc.stop()
    assert peak - size < 500  # the loop's own


class Doubling(lstmc.Stream):
    def step(self, x, out=None):
        return 2 * super().step(x, out)


def test_subclasses_pickles_copies_and_weak_references(model, x, want):
    stream = Doubling(model, BATCH)
    np.testing.assert_array_equal(stream.step(x), 2 * want)
    stream.note = "kept by Python"
    stream = model.stream(BATCH)
    stream.step(x)
    second = stream.step(x)
    for version in range(pickle.HIGHEST_PROTOCOL + 1):
        for kind in (lstmc.Stream, Doubling):
            one = kind(model, BATCH)
            one.step(x)
            again = pickle.loads(pickle.dumps(one, version))
            assert type(again) is kind
            factor = 2 if kind is Doubling else 1
            np.testing.assert_array_equal(again.step(x), factor * second)
    first = model.stream(BATCH)
    first.step(x)
    for other in (copy.copy(first), copy.deepcopy(first)):
        np.testing.assert_array_equal(other.step(x), second)
    gone = weakref.ref(other)
    del other
    assert gone() is None


def test_a_stream_in_a_circle_is_collected(model):
    stream = model.stream(BATCH)
    stream.me = stream
    gone = weakref.ref(stream)
    del stream
    gc.collect()
    assert gone() is None
