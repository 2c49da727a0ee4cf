"""A graph written as ONNX and run elsewhere: what tests of that compare."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lstmc
from lstmc import graph as g
from lstmc.model import from_graph
from lstmc.samples import random_inputs

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
from onnx.reference import ReferenceEvaluator  # noqa: E402

from lstmc.onnx_export import to_onnx  # noqa: E402

TOLERANCE = 1e-5
#: Of a float16 output, which lstmc gives as float32.
ROUNDED = 1e-3


def runtime(model: Any) -> Any:
    """A function of inputs by name that gives outputs by name, run by ONNX Runtime."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(names, feeds), strict=True))


def evaluator(model: Any) -> Any:
    """As :func:`runtime`, by onnx's own evaluator."""
    made = ReferenceEvaluator(model)
    names = [o.name for o in model.graph.output]
    return lambda feeds: dict(zip(names, made.run(names, feeds), strict=True))


def predicted(model: lstmc.Model, x: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    y = model.predict(x)
    return y if isinstance(y, dict) else {model.graph.outputs[0].name: y}


def feeds(graph: g.Graph, x: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {v.name: x[v.name].astype(v.dtype) for v in graph.inputs}


def error(got: np.ndarray, want: np.ndarray) -> float:
    """The largest difference, relative to the largest value, or to 1; inf where only one is NaN."""
    assert got.shape == want.shape
    got = got.astype(float)
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(got - want))
    scale = np.abs(want[np.isfinite(want)]).max(initial=1.0)
    return float(np.where(np.isnan(apart), np.inf, apart).max(initial=0) / scale)


def sizes(graph: g.Graph, batches: tuple[int, ...], times: tuple[int, ...]) -> list[tuple]:
    """Numbers of rows and steps that the graph takes, of these."""
    specs = graph.infer()
    times = times if graph.clocks else (1,)
    batches = (1,) if graph.one_row else batches
    return [
        (b, t) for b in batches for t in times
        if not graph.misfit(specs, dict.fromkeys(graph.clocks, t))
    ]  # fmt: skip


def agree(
    graph: g.Graph, batches: tuple[int, ...] = (1, 3), times: tuple[int, ...] = (1, 4, 9),
    run: Any = runtime, tolerance: float = TOLERANCE,
) -> Any:  # fmt: skip
    """Write the graph, run it there with several sizes, compare. The ONNX model."""
    model, made = from_graph(graph), to_onnx(graph)
    there = run(made)
    compared = 0
    for batch, time in sizes(graph, batches, times):
        x = random_inputs(graph, np.random.default_rng([batch, time]), batch, time)
        want, got = predicted(model, x), there(feeds(graph, x))
        assert list(got) == list(want)
        for v in graph.outputs:
            assert got[v.name].dtype == v.dtype
            limit = tolerance if v.dtype == "float32" else ROUNDED
            assert error(got[v.name], want[v.name]) <= limit, (v.name, batch, time)
        compared += 1
    assert compared
    return made


def back(graph: g.Graph, made: Any) -> g.Graph:
    """Convert what was written; it must give what the graph gives, to the bit where its layers are
    the same. The graph that came back."""
    first, again = from_graph(graph), lstmc.convert(made)
    assert [(v.name, v.dtype) for v in again.graph.inputs] == [
        (v.name, v.dtype) for v in graph.inputs
    ]
    alike = [type(x) for x in graph.layers] == [type(x) for x in again.graph.layers]
    for batch, time in sizes(graph, (2,), (5, 8))[:1]:
        x = random_inputs(graph, np.random.default_rng(7), batch, time)
        want, got = predicted(first, x), predicted(again, x)
        for name in want:
            assert error(got[name], want[name]) <= TOLERANCE, name
            assert not alike or lstmc.digest(got[name]) == lstmc.digest(want[name]), name
    return again.graph
