"""Rewrites of a graph that change what it costs and not what it computes.

Converters emit layers as the source spells them; sources spell the same net in different ways, and
these rules bring them together. Each keeps every value of the graph's outputs as it was.
"""

from __future__ import annotations

from collections import Counter

from lstmc import graph as g


def simplify(graph: g.Graph) -> g.Graph:
    """Apply all rules, in place; returns the graph."""
    prune(graph)
    last_step_is_state(graph)
    fuse_activations(graph)
    return graph


def readers(graph: g.Graph) -> Counter[str]:
    """How many layers and graph outputs read each value."""
    counts = Counter(n for layer in graph.layers for n in layer.inputs)
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
    """The last step of an LSTM's sequence is its last h, so the sequence needn't be kept."""
    by_sequence = {
        layer.outputs[0]: layer
        for layer in graph.layers
        if isinstance(layer, g.LSTM) and layer.outputs[0] is not None
    }
    for last in [layer for layer in graph.layers if isinstance(layer, g.LastStep)]:
        lstm = by_sequence.get(last.inputs[0])
        if lstm is not None and lstm.outputs[1] is None:
            lstm.outputs = (lstm.outputs[0], last.outputs[0], lstm.outputs[2])
            graph.layers.remove(last)
    prune(graph)


def fuse_activations(graph: g.Graph) -> None:
    """Dense, then an activation that alone reads it: one Dense with that activation."""
    used = readers(graph)
    makers = {n: layer for layer in graph.layers for n in layer.outputs if n is not None}
    for layer in [layer for layer in graph.layers if isinstance(layer, g.Activation)]:
        dense = makers.get(layer.inputs[0])
        if not isinstance(dense, g.Dense) or dense.activation != g.LINEAR:
            continue
        if used[layer.inputs[0]] == 1:
            dense.activation, dense.outputs = layer.activation, layer.outputs
            graph.layers.remove(layer)
