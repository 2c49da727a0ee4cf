"""Rewrites of a graph that change what it costs and not what it computes.

Converters emit layers as the source spells them; sources spell the same net in different ways, and
these rules bring them together. Each keeps every value of the graph's outputs as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from lstmc import graph as g


def simplify(graph: g.Graph) -> g.Graph:
    """Apply all rules, in place; returns the graph."""
    prune(graph)
    last_step_is_state(graph)
    fold_affine(graph)
    fuse_activations(graph)
    return graph


def readers(graph: g.Graph) -> Counter[str]:
    """How many layers and graph outputs read each value."""
    counts = Counter(n for layer in graph.layers for n in layer.inputs if n is not None)
    counts.update(v.name for v in graph.outputs)
    return counts


def prune(graph: g.Graph) -> None:
    """Drop outputs that nobody reads, and layers left with none."""
    for layer in reversed(list(graph.layers)):
        used = readers(graph)
        layer.outputs = tuple(n if n is not None and used[n] else None for n in layer.outputs)
        if not any(layer.outputs):
            graph.layers.remove(layer)


def last_step_is_state(graph: g.Graph) -> None:
    """The last step of a recurrent layer's sequence is its last h: no need to keep the sequence.

    Not so backwards in time; where a masked step gives zero; and where a row without valid steps
    gives its initial state as h, but zero as its last step.
    """
    by_sequence = {
        layer.outputs[0]: layer
        for layer in graph.layers
        if isinstance(layer, g.Recurrent)
        and layer.outputs[0] is not None
        and not layer.reverse
        and (layer.hold or layer.optional(1) is None)
        and layer.optional(2) is None
    }
    for last in [layer for layer in graph.layers if isinstance(layer, g.LastStep)]:
        maker = by_sequence.get(last.inputs[0] or "")
        if maker is not None and maker.outputs[1] is None:
            maker.outputs = (maker.outputs[0], last.outputs[0], *maker.outputs[2:])
            graph.layers.remove(last)
    prune(graph)


def fold_affine(graph: g.Graph) -> None:
    """A linear Dense or convolution, then an Affine that alone reads it: one layer.

    That is what BatchNormalization becomes. The products are rounded once from float64, as closely
    as float32 weights can say it; where a weight would overflow or lose bits as a subnormal, the
    Affine stays and is run.
    """
    for layer, maker in _pairs(graph, g.Affine):
        if maker.activation != g.LINEAR:
            continue
        units = maker.weight.shape[0]
        scale = _each_unit(layer.scale, np.ones(units))
        shift = _each_unit(layer.shift, np.zeros(units))
        if scale is None or shift is None:
            continue
        bias = np.zeros(units) if maker.bias is None else maker.bias.astype(float)
        exact = maker.weight.astype(float) * scale[:, None], bias * scale + shift
        with np.errstate(over="ignore", under="ignore"):
            weight, bias = (a.astype(np.float32) for a in exact)
        if not all(_faithful(a, b) for a, b in zip(exact, (weight, bias), strict=True)):
            continue
        maker.weight, maker.bias, maker.activation = weight, bias, layer.activation
        _replace(graph, layer, maker)


def _each_unit(vector: np.ndarray | None, without: np.ndarray) -> np.ndarray | None:
    """A number for each unit, of a vector for all features: None if it is not the same at every
    position of what a convolution makes."""
    if vector is None:
        return without
    rows = vector.astype(float).reshape(-1, len(without))
    return rows[0] if np.all(rows == rows[0]) else None


def _faithful(exact: np.ndarray, rounded: np.ndarray) -> bool:
    """Finite, and every value that is not zero is a normal number."""
    normal = np.abs(rounded) >= np.finfo(np.float32).tiny
    return bool(np.all(np.isfinite(rounded) & (normal | (exact == 0))))


def fuse_activations(graph: g.Graph, kept: Collection[str] = ()) -> None:
    """A linear layer, then an activation that alone reads it: one layer with that activation.

    ``kept``: names of activations that stay layers of their own.
    """
    for layer, maker in _pairs(graph, g.Activation):
        if layer.name not in kept and maker.activation == g.LINEAR:
            maker.activation = layer.activation
            _replace(graph, layer, maker)


def _pairs(graph: g.Graph, kind: type[Any]) -> Iterator[tuple[Any, Any]]:
    """Layers of a kind, each with the layer whose only reader it is, if that has an activation."""
    for layer in [layer for layer in graph.layers if isinstance(layer, kind)]:
        x = layer.inputs[0]
        maker = next((m for m in graph.layers if x in m.outputs), None)
        linear = (g.Dense, g.Conv1D, g.DepthwiseConv1D, g.Conv2D, g.DepthwiseConv2D)
        fits = linear if kind is g.Affine else (*linear, g.Affine)
        if isinstance(maker, fits) and readers(graph)[x] == 1:
            yield layer, maker


def _replace(graph: g.Graph, layer: g.Layer, maker: g.Layer) -> None:
    maker.outputs = layer.outputs
    graph.layers.remove(layer)
