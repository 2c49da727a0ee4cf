"""Which tensor of an ONNX model is the same as a value of the graph, and how it is laid out.

So a runtime's inner tensors can be held against lstmc's values (``lstmc verify --layers``). Only
what is certain is told: a tensor whose axes are a batch, perhaps time, and features in order.
"""

from __future__ import annotations

from collections.abc import Mapping

from lstmc import graph as g
from lstmc.errors import ConversionError

from .onnx_axes import bare
from .onnx_edges import layout
from .onnx_values import FEATURES, Kind, Tracked


def origins(
    graph: g.Graph, tensors: Mapping[str, Kind], renamed: Mapping[str, str]
) -> dict[str, g.Value]:
    """By the name of each value that layers make: the first tensor that is the same.

    ``renamed``: names of values that changed after ``tensors`` were made.
    """
    made = {n for layer in graph.layers for n in layer.outputs if n is not None}
    found = {v.name: v for v in graph.outputs}
    for tensor, kind in tensors.items():
        if not isinstance(kind, Tracked) or kind.dtype != "float32":
            continue
        name = renamed.get(kind.name, kind.name)
        if name in made and name not in found and (value := _laid_out(tensor, kind)):
            found[name] = value
    return found


def _laid_out(tensor: str, x: Tracked) -> g.Value | None:
    x = x.moved(tuple(bare(axis) for axis in x.axes))
    features = tuple(x.labelled(FEATURES))
    if features != x.order or any(d.label is None for d in x.dims):
        return None
    try:
        return layout(tensor, tensor, x)
    except ConversionError:
        return None
