"""Random graphs written as ONNX: what ONNX Runtime makes of them is what the core makes of them."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from cases import LARGEST_SEED, settings
from hypothesis import strategies as st

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
import recurrent_nets
import test_layers_pointwise as pointwise
import test_layers_positions as positions
import test_layers_sequence as sequence
from lstmc.converters.state import bind
from onnx_out import also, calls, evaluator, feeds, predicted, same
from state_nets import random_call

from lstmc import graph as g
from lstmc.model import from_graph
from lstmc.onnx_export import to_onnx
from lstmc.samples import random_inputs


def short_of_mirrors(graph: g.Graph, time: int) -> bool:
    """A mirror further away than there are steps, which runtimes refuse."""
    specs, counts = graph.infer(), dict.fromkeys(graph.clocks, time)
    return any(
        isinstance(layer, g.PadTime)
        and layer.mode == "reflect"
        and max(layer.before, layer.after) >= specs[layer.inputs[0]].time.count(counts)
        for layer in graph.layers
    )


def compare(graph: g.Graph, seed: int, batch: int, time: int) -> None:
    time = time if graph.clocks else 1
    hypothesis.assume(not graph.misfit(graph.infer(), dict.fromkeys(graph.clocks, time)))
    hypothesis.assume(not short_of_mirrors(graph, time))
    x = random_inputs(graph, np.random.default_rng(seed), batch, time)
    also(graph, x, predicted(from_graph(graph), x))


seeds, rows, steps = st.integers(0, LARGEST_SEED), st.integers(1, 4), st.integers(1, 14)


@settings(250)
@hypothesis.given(case=recurrent_nets.cases())
def test_recurrent_layers(case):
    also(case.graph, case.inputs, predicted(from_graph(case.graph), case.inputs))


@settings(60)
@hypothesis.given(case=recurrent_nets.cases())
def test_recurrent_layers_in_a_second_runtime(case):
    """onnx's evaluator knows no Scan backwards, and of the operators few attributes."""
    made = to_onnx(case.graph)
    hypothesis.assume(any(n.op_type == "Scan" for n in made.graph.node) and not case.layer.reverse)
    x = case.inputs
    got = evaluator(made)(feeds(case.graph, x))
    same(case.graph, x, got, predicted(from_graph(case.graph), x))


@settings(120)
@hypothesis.given(graph=pointwise.single_layers(), seed=seeds, batch=rows, time=steps)
def test_layers_on_features(graph, seed, batch, time):
    compare(graph, seed, batch, time)


@settings(150)
@hypothesis.given(case=sequence.cases(), seed=seeds)
def test_layers_on_steps(case, seed):
    compare(case.graph, seed, case.batch, case.time)


@settings(100)
@hypothesis.given(case=positions.cases(), seed=seeds)
def test_layers_on_positions(case, seed):
    compare(case.graph, seed, case.batch, case.time)


@settings(60)
@hypothesis.given(seed=seeds)
def test_states_from_outside(seed):
    graph, pairs = random_call(seed, bounded=True)
    bound = bind(graph, pairs)
    hypothesis.assume(not short_of_mirrors(bound, 1))
    if bound.bindings:
        calls(bound, to_onnx(bound))
    else:  # its layers keep the states
        compare(bound, seed, 2, 3)
