"""Live Keras models for the tests: weights that matter, inputs with padding, and the comparison.

What a converted model gives is compared with what Keras gives twice: as the float64 oracle computes
it, and as the core does.
"""

from __future__ import annotations

import os

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras
import onnx_out
import torch
from lstmc.converters import convert

import lstmc
from lstmc import graph as g
from lstmc import reference

TOLERANCE = 1e-5  # relative to the largest value, or to 1; Keras computes in float32
STRICT = True  # the core must run every model


def randomize(model, seed=0, scale=0.5):
    """Every weight random: biases too, which Keras initializes to 0 or 1, and statistics."""
    rng = np.random.default_rng(seed)

    def value(w):
        if w.name == "moving_variance":
            return rng.uniform(0.5, 2.0, w.shape)
        return rng.uniform(-scale, scale, w.shape)

    for w in model.weights:
        w.assign(value(w).astype(np.float32))
    return model


def sequential(*layers, shape=(7, 3), seed=0, dtype=None):
    return randomize(keras.Sequential([keras.layers.Input(shape, dtype=dtype), *layers]), seed)


def functional(build, *shapes, seed=0):
    """A model of inputs x0, x1, ... of these shapes and of what ``build`` makes of them."""
    inputs = [keras.layers.Input(s, name=f"x{i}") for i, s in enumerate(shapes or [(7, 3)])]
    outputs = build(*inputs)
    outputs = list(outputs) if isinstance(outputs, (list, tuple)) else outputs
    return randomize(keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs), seed)


def keras_outputs(model, x):
    """What Keras gives for a list of inputs, as a flat list of float64."""
    with torch.no_grad():
        y = model(x if len(x) > 1 else x[0], training=False)
    y = list(y.values()) if isinstance(y, dict) else y if isinstance(y, (list, tuple)) else [y]
    return [keras.ops.convert_to_numpy(v).astype(float) for v in keras.tree.flatten(list(y))]


def difference(got, want):
    """The largest difference, relative to the largest value wanted, or to 1; inf if one is NaN."""
    assert got.shape == want.shape
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(got - want))
    apart = np.where(np.isnan(apart), np.inf, apart)
    largest = np.abs(want[np.isfinite(want)]).max(initial=1.0)
    return float(apart.max(initial=0.0) / largest)


def random_inputs(graph, seed=1, batch=3, time=5):
    rng = np.random.default_rng(seed)
    made = {}
    for v in graph.inputs:
        shape = v.shape(batch, v.time or time)
        whole = rng.integers(0, 5, shape).astype(v.dtype)
        made[v.name] = whole if v.dtype != "float32" else rng.normal(size=shape).astype(v.dtype)
    return made


def check(model, inputs=None, source=None, tolerance=TOLERANCE, **options):
    """Convert (from ``source``, a file of the model's, if given); the graph must give what Keras
    gives. Returns the graph."""
    graph = convert(model if source is None else source, **options)
    inputs = random_inputs(graph) if inputs is None else inputs
    if not isinstance(inputs, dict):
        inputs = {graph.inputs[0].name: inputs}
    want = keras_outputs(model, [inputs[v.name] for v in graph.inputs])
    got = reference.run(graph, inputs)
    assert len(want) == len(graph.outputs)
    for v, y in zip(graph.outputs, want, strict=True):
        error = difference(got[v.name], y)
        assert error <= tolerance, f"oracle, {v.name}: {error}"
    try:
        core = lstmc.convert(model if source is None else source, **options)
        made = core.predict(inputs)
    except lstmc.Error:
        if STRICT:
            raise
        return graph
    made = made if isinstance(made, dict) else {graph.outputs[0].name: made}
    onnx_out.also(graph, inputs, made)
    for v, y in zip(graph.outputs, want, strict=True):
        error = difference(made[v.name].astype(float), y)
        assert error <= tolerance, f"core, {v.name}: {error}"
    return graph


def layers_of(graph, kind):
    return [layer for layer in graph.layers if isinstance(layer, kind)]


__all__ = [
    "STRICT", "TOLERANCE", "check", "convert", "difference", "functional", "g", "keras",
    "keras_outputs", "layers_of", "random_inputs", "randomize", "sequential",
]  # fmt: skip
