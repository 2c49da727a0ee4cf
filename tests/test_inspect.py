"""lstmc.inspect: values, gates and states over time; and the memory of each layer."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import numpy as np
import pytest
from cases import LARGEST_SEED, settings
from helpers import bits, predict, random_graph, random_inputs
from hypothesis import strategies as st

import lstmc
from lstmc import _core, info
from lstmc import graph as g
from lstmc.inspect import rows, trace
from lstmc.model import from_graph

ROOT = Path(__file__).parents[1]
WEATHER = ROOT / "examples" / "weather"
SHARED = ROOT.parent / "shared" / "models"


@pytest.fixture(scope="module")
def forecaster():
    return lstmc.convert(WEATHER / "forecaster.onnx")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def net(layer: g.Layer, features: int, *, outputs=("y",), mask=False, time=None) -> lstmc.Model:
    inputs = [g.Value("x", (g.BATCH, g.TIME, features), time=time)]
    inputs += [g.Value("m", (g.BATCH, g.TIME, 1), time=time)] if mask else []
    made = [g.Value(n, (g.BATCH, *((g.TIME,) if n == "y" else ()), layer.output_size))
            for n in outputs]  # fmt: skip
    return from_graph(g.Graph(inputs, made, [layer]))


def weights(seed, *shape):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


# ------------------------------------------------------------------------------------------ trace


def test_gates_are_those_of_the_textbook(forecaster):
    x = np.random.default_rng(1).standard_normal((2, 9, 10), dtype=np.float32)
    t = trace(forecaster, x)
    layer, found = forecaster.graph.layers[0], t.recurrent["lstm"]
    assert list(found.gates) == ["i", "f", "o", "g"] and found.kind == "LSTM"
    assert list(found.pictures()) == ["i", "f", "o", "g", "c", "h"]
    h, c = np.zeros((2, 2, 50))
    for step in range(9):
        p = x[:, step] @ layer.weight_ih.T + h @ layer.weight_hh.T + layer.bias
        i, f, candidate, o = np.split(p.astype(float), 4, axis=1)
        candidate = np.maximum(candidate, 0)  # it was trained so
        c = sigmoid(f) * c + sigmoid(i) * candidate
        h = sigmoid(o) * c
        want = {"i": sigmoid(i), "f": sigmoid(f), "g": candidate, "o": sigmoid(o)}
        for name, a in want.items():
            np.testing.assert_allclose(found.gates[name][:, step], a, atol=2e-6)
        np.testing.assert_allclose(found.c[:, step], c, atol=2e-6)
        np.testing.assert_allclose(found.h[:, step], h, atol=2e-6)
    assert 0 < found.error < 1e-6
    assert found.h.dtype == np.float32 and found.gates["f"].dtype == np.float64


def test_gru_and_rnn():
    layer = g.GRU(name="gru", inputs=("x",), outputs=("y", None), weight_ih=weights(1, 12, 3),
                  weight_hh=weights(2, 12, 4), bias=weights(3, 12))  # fmt: skip
    x = weights(4, 1, 6, 3)
    found = trace(net(layer, 3), x).recurrent["gru"]
    r, z, n = (found.gates[name][0] for name in "rzn")
    assert found.c is None and list(found.gates) == ["r", "z", "n"]
    before = np.vstack([np.zeros(4), found.h[0, :-1]])
    np.testing.assert_allclose((1 - z) * n + z * before, found.h[0], atol=1e-6)
    p = x[0] @ layer.weight_ih.T + layer.bias
    hidden = before @ layer.weight_hh.T
    np.testing.assert_allclose(sigmoid(p[:, :4] + hidden[:, :4]), r, atol=1e-6)
    np.testing.assert_allclose(np.tanh(p[:, 8:] + r * hidden[:, 8:]), n, atol=1e-6)

    layer = g.RNN(name="rnn", inputs=("x",), outputs=("y", None), weight_ih=weights(1, 4, 3),
                  weight_hh=weights(2, 4, 4))  # fmt: skip
    found = trace(net(layer, 3), x).recurrent["rnn"]
    assert found.gates == {} and list(found.pictures()) == ["h"]


@settings(60)
@hypothesis.given(
    seed=st.integers(0, LARGEST_SEED), batch=st.integers(1, 3), time=st.integers(1, 7),
    some=st.booleans(),
)  # fmt: skip
def test_of_any_graph(seed, batch, time, some):
    """Outputs are predict's bits, all values are there, h is the oracle's."""
    graph = random_graph(seed, bounded=True, sequential=seed % 4 != 0)
    time = time if any(v.spec.time for v in graph.inputs) else 1
    x = random_inputs(graph, seed, batch, time)
    lengths = np.random.default_rng(seed).integers(0, time + 1, batch) if some else None
    if not graph.clocks:
        lengths = None
    model = from_graph(graph)
    t = trace(model, x, lengths)
    for name, y in predict(model, x, lengths).items():
        np.testing.assert_array_equal(bits(t.outputs[name]), bits(y))
    assert list(t.layers) == [layer.name for layer in graph.layers]
    specs = graph.infer()
    for name, spec in specs.items():
        assert t.values[name].shape[-1] == spec.features
        assert t.values[name].ndim == (3 if spec.time else 2)
    for layer in graph.layers:
        found = t.layers[layer.name]
        assert len(found.outputs) == len(layer.outputs)
        if not isinstance(layer, g.Recurrent):
            assert found not in t.recurrent.values()
            continue
        assert found.error <= 1e-5
        for a in found.pictures().values():
            assert a.shape[:2] == found.h.shape[:2]
        for i, state in enumerate(layer.states, 1):
            last = found.outputs[i]
            if last is None or lengths is not None or len(layer.inputs) > 1:
                continue
            at = 0 if layer.reverse else -1
            over_time = found.h if state == "h" else found.c
            np.testing.assert_allclose(over_time[:, at], last, atol=1e-5 * np.abs(last).max())


def test_more_values_than_one_run_hands_out(forecaster):
    layers, name = [], "x"
    for i in range(60):
        made = f"v{i}"
        layers.append(g.Affine(name=f"a{i}", inputs=(name,), outputs=(made,),
                               shift=np.full(3, i, np.float32)))  # fmt: skip
        name = made
    values = [g.Value(n, (g.BATCH, 3)) for n in ("x", name)]
    t = trace(from_graph(g.Graph(values[:1], values[1:], layers)), np.zeros((2, 3)))
    for i in range(60):
        assert t.layers[f"a{i}"].outputs[0].tolist() == [[sum(range(i + 1))] * 3] * 2


def test_masks_and_lengths_leave_gaps():
    layer = g.LSTM(name="lstm", inputs=("x", "m"), outputs=("y", "last", None),
                   weight_ih=weights(1, 8, 3), weight_hh=weights(2, 8, 2))  # fmt: skip
    model = net(layer, 3, outputs=("y", "last"), mask=True)
    x, mask = weights(3, 2, 5, 3), np.ones((2, 5, 1), np.float32)
    mask[0, 2] = 0
    found = trace(model, {"x": x, "m": mask}, [5, 3]).recurrent["lstm"]
    for a in found.gates.values():
        assert np.isnan(a[0, 2]).all() and np.isnan(a[1, 3:]).all()
        assert np.isfinite(a[0, [0, 1, 3, 4]]).all() and np.isfinite(a[1, :3]).all()
    np.testing.assert_array_equal(found.c[0, 2], found.c[0, 1])
    assert np.isnan(found.c[1, 3:]).all()
    assert not found.h[0, 2].any() and not found.h[1, 3:].any() and found.error < 1e-6
    blank = trace(model, {"x": x, "m": mask}, [0, 0]).recurrent["lstm"]
    assert np.isnan(blank.c).all() and blank.c.shape == (2, 5, 2) and blank.error == 0


def test_the_golden_sample_stands_in_for_an_input(forecaster):
    t = trace(forecaster)
    assert t.inputs["x"].shape == (2, 16, 10)
    assert lstmc.digest(t.outputs["y"]) == forecaster.golden.digests["y"]
    # It has its own number of steps, whatever the source insists on; an input has not.
    layer = forecaster.graph.layers[0]
    model = net(g.RNN(name="r", inputs=("x",), outputs=("y", None), weight_ih=weights(1, 2, 3),
                      weight_hh=weights(2, 2, 2)), 3, time=5)  # fmt: skip
    assert trace(model).layers["r"].h.shape == (2, 16, 2)
    with pytest.raises(lstmc.ShapeError, match=r"shape \(1, 6, 3\), expected \(batch, 5, 3"):
        trace(model, np.zeros((1, 6, 3)))
    bare = lstmc.Model(lstmc.format.dumps(forecaster.graph))
    with pytest.raises(lstmc.ShapeError, match="no golden sample"):
        trace(bare)
    assert layer.outputs[0] is None, "the model's own graph is as it was"


def test_rows():
    value = g.Value("x", (g.TIME, g.BATCH, 3))
    layer = g.RNN(name="r", inputs=("x",), outputs=("y", None), weight_ih=weights(1, 2, 3),
                  weight_hh=weights(2, 2, 2))  # fmt: skip
    model = from_graph(g.Graph([value], [g.Value("y", (g.BATCH, g.TIME, 2))], [layer]))
    x = weights(1, 4, 5, 3)
    np.testing.assert_array_equal(rows(model, {"x": x}, 4)["x"], x[:, 4:])
    for row in (-1, 5):
        with pytest.raises(lstmc.ShapeError, match=f"there is no row {row}: 'x' has 5"):
            rows(model, {"x": x}, row)
    with pytest.raises(lstmc.ShapeError, match="expected 3 axes"):
        rows(model, {"x": x[0]}, 0)


@pytest.mark.parametrize("name", ["dtln/model_1.onnx", "trafficflow/gru.h5", "trafficflow/lstm.h5"])
def test_of_real_models(name):
    if not (SHARED / name).exists():
        pytest.skip("the shared models are not here")
    t = trace(lstmc.convert(SHARED / name))
    assert len(t.recurrent) == 2
    for found in t.recurrent.values():
        assert found.error < 1e-5
        for gate in ("i", "f", "o") if found.kind == "LSTM" else ("r", "z"):
            assert 0 <= found.gates[gate].min() < found.gates[gate].max() <= 1


# ----------------------------------------------------------------------------------------- memory


@settings(40)
@hypothesis.given(
    seed=st.integers(0, LARGEST_SEED), batch=st.integers(1, 70), time=st.integers(1, 40)
)
def test_layers_add_up_to_the_arena(seed, batch, time):
    model = from_graph(random_graph(seed, bounded=True, sequential=seed % 4 != 0))
    whole, layers = info.memory(model, batch, time)
    assert whole["arena_bytes"] == _core.Session(model._core, batch, time, 0).arena_bytes
    for name in ("record", "state", "weights"):
        assert whole[name] == sum(use[name] for use in layers)
    assert whole["scratch"] == max(use["scratch"] for use in layers)
    assert all(use["tables"] == 0 for use in layers)
    golden = sum(a.nbytes for a in model.golden.inputs.values())
    assert whole["weights"] + golden < model.nbytes
    for layer, use in zip(model.graph.layers, layers, strict=True):
        plain = sum(a.nbytes for _, _, a in layer.tensors() if a is not None)
        assert plain <= use["weights"] and bool(plain) == bool(use["weights"])


def test_memory_of_a_known_net(forecaster):
    _, (cell, dense) = info.memory(forecaster, 3, 7)
    assert cell["state"] == 3 * 4 * 64 * 3, "h twice and c, of 50 units padded to 64 floats"
    assert cell["values"] == 3 * 4 * 64, "its last h"
    assert cell["weights"] == 4 * 4 * 56 * (10 + 50 + 1) and dense["values"] == dense["state"] == 0
    assert dense["weights"] == 4 * 8 * (50 + 1)
    with pytest.raises(lstmc.OutOfMemoryError, match="beyond any memory"):
        info.memory(forecaster, 1 << 29, 1 << 29)
