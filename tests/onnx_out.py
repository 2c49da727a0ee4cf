"""A graph written as ONNX and run elsewhere: what tests of that compare."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

import lstmc
from lstmc import graph as g
from lstmc import reference
from lstmc.model import from_graph
from lstmc.onnx_export import to_onnx
from lstmc.samples import random_inputs

try:
    import onnx
    import onnxruntime as ort
    from onnx.reference import ReferenceEvaluator
except ImportError:  # then `also` compares nothing
    onnx = None

Arrays = dict[str, np.ndarray]
Run = Callable[[Arrays], Arrays]
TOLERANCE = 1e-5
ROUNDED = 1e-3  # of a float16 output, which lstmc gives as float32


def runtime(model: Any) -> Run:
    """A function of inputs by name that gives outputs by name, run by ONNX Runtime."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(names, feeds), strict=True))


def evaluator(model: Any) -> Run:
    """As :func:`runtime`, by onnx's own evaluator."""
    made = ReferenceEvaluator(model)
    names = [o.name for o in model.graph.output]
    return lambda feeds: dict(zip(names, made.run(names, feeds), strict=True))


def nodes(made: Any) -> list[str]:
    """Operators, in order."""
    return [n.op_type for n in made.graph.node]


def shape(value: Any) -> list[int | str]:
    """Of an input or output, names for sizes that are open."""
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def by_name(graph: g.Graph, y: np.ndarray | Arrays) -> Arrays:
    return y if isinstance(y, dict) else {graph.outputs[0].name: y}


def predicted(model: lstmc.Model, x: Arrays) -> Arrays:
    return by_name(model.graph, model.predict(x))


def feeds(graph: g.Graph, x: Arrays) -> Arrays:
    return {v.name: np.asarray(x[v.name]).astype(v.dtype) for v in graph.inputs}


def error(got: np.ndarray, want: np.ndarray) -> float:
    """The largest difference, relative to the largest value, or to 1; inf where only one is NaN."""
    assert got.shape == want.shape
    got, want = got.astype(float), want.astype(float)
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(got - want))
    scale = np.abs(want[np.isfinite(want)]).max(initial=1.0)
    return float(np.where(np.isnan(apart), np.inf, apart).max(initial=0) / scale)


def same(graph: g.Graph, x: Arrays, got: Arrays, want: Arrays) -> None:
    """Within 1e-5; more where the core is itself that far from the float64 oracle, in a net whose
    rounding grows: a runtime that rounds in other places is as far from it then."""
    assert list(got) == list(want)
    exact = None
    for v in graph.outputs:
        assert got[v.name].dtype == v.dtype
        limit = TOLERANCE if v.dtype == "float32" else ROUNDED
        found = error(got[v.name], want[v.name])
        if found > limit:
            exact = reference.run(graph, x) if exact is None else exact
            limit = 20 * error(want[v.name], exact[v.name])
        assert found <= limit, (v.name, found)


def sizes(graph: g.Graph, batches: tuple[int, ...], times: tuple[int, ...]) -> list[tuple]:
    """Numbers of rows and steps that the graph takes, of these."""
    specs = graph.infer()
    times = times if graph.clocks else (1,)
    batches = (1,) if graph.one_row else batches
    return [
        (b, t)
        for b in batches
        for t in times
        if not graph.misfit(specs, dict.fromkeys(graph.clocks, t))
    ]


def agree(
    graph: g.Graph,
    batches: tuple[int, ...] = (1, 3),
    times: tuple[int, ...] = (1, 4, 9),
    run: Callable[[Any], Run] = runtime,
) -> Any:
    """Write the graph, run it there with several sizes, compare. The ONNX model."""
    model, made = from_graph(graph), to_onnx(graph)
    there = run(made)
    compared = sizes(graph, batches, times)
    assert compared
    for batch, time in compared:
        x = random_inputs(graph, np.random.default_rng([batch, time]), batch, time)
        same(graph, x, there(feeds(graph, x)), predicted(model, x))
    return made


def back(graph: g.Graph, made: Any, x: Arrays | None = None) -> g.Graph:
    """Convert what was written; it must give what the graph gives, to the bit where its layers are
    the same. The graph that came back."""
    again = lstmc.convert(made)
    for values, others in (
        (graph.inputs, again.graph.inputs),
        (graph.outputs, again.graph.outputs),
    ):
        assert [(v.name, v.dtype) for v in others] == [(v.name, v.dtype) for v in values]
    if x is None:
        batch, time = sizes(graph, (2,), (5, 8))[0]
        x = random_inputs(graph, np.random.default_rng(7), batch, time)
    want, got = predicted(from_graph(graph), x), predicted(again, x)
    alike = [type(a) for a in graph.layers] == [type(a) for a in again.graph.layers]
    for name in want:
        assert error(got[name], want[name]) <= TOLERANCE, name
        assert not alike or lstmc.digest(got[name]) == lstmc.digest(want[name]), name
    return again.graph


def calls(graph: g.Graph, made: Any, run: Callable[[Any], Run] = runtime, steps: int = 4) -> None:
    """Run a graph with bindings there, call after call, its states handed on."""
    model, there = from_graph(graph), run(made)
    rows = 1 if graph.one_row else 2
    x = random_inputs(graph, np.random.default_rng(3), rows, steps)
    want = predicted(model, x)
    shapes = {
        v.name: [d.dim_value or rows for d in v.type.tensor_type.shape.dim]
        for v in made.graph.input
    }
    dtypes = {b.input.name: b.input.dtype for b in graph.bindings}
    state = {n: np.zeros(shapes[n], dtype) for n, dtype in dtypes.items()}
    for t in range(steps):
        call = {
            v.name: x[v.name].take(t, v.axes.index(g.TIME)).reshape(shapes[v.name]).astype(v.dtype)
            for v in graph.inputs
        }
        got = there({**call, **state})
        for v in graph.outputs:
            step = want[v.name].take(t, v.axes.index(g.TIME))
            limit = TOLERANCE if v.dtype == "float32" else ROUNDED
            assert error(got[v.name].reshape(step.shape), step) <= limit, (v.name, t)
        state = {b.input.name: got[b.output.name] for b in graph.bindings}


def also(graph: g.Graph, x: Arrays, y: np.ndarray | Arrays) -> None:
    """What the core made of x is also what ONNX Runtime makes of it; and what is read back gives it
    too, if it is read: the converter need not know each formula that is written."""
    if onnx is None or begins_empty(graph, x):
        return
    made = to_onnx(graph)
    want = by_name(graph, y)
    same(graph, x, runtime(made)(feeds(graph, x)), want)
    with contextlib.suppress(lstmc.ConversionError):
        back(graph, made, x)


def begins_empty(graph: g.Graph, x: Arrays) -> bool:
    """A row without a step has its initial state as last state, of which ONNX Runtime makes zeros
    (docs/RECURRENT.md)."""
    counts = [layer.inputs[0] for layer in graph.layers if isinstance(layer, g.StepMask)]
    begun = any(
        isinstance(layer, g.Recurrent) and any(layer.inputs[2:]) and any(layer.outputs[1:])
        for layer in graph.layers
    )
    if not counts or not begun:
        return False
    values = reference.values(graph, x)
    return any((values[str(n)] < 1).any() for n in counts)
