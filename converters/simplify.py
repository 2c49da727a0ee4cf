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


def fuse_activations(graph: g.Graph) -> None:
    """Dense, then an activation that alone reads it: one Dense with that activation."""
    used = readers(graph)
    makers = {n: layer for layer in graph.layers for n in layer.outputs if n is not None}
    for layer in [layer for layer in graph.layers if isinstance(layer, g.Activation)]:
        x = layer.inputs[0]
        assert x is not None
        dense = makers.get(x)
        if not isinstance(dense, g.Dense) or dense.activation != g.LINEAR:
            continue
        if used[x] == 1:
            dense.activation, dense.outputs = layer.activation, layer.outputs
            graph.layers.remove(layer)
