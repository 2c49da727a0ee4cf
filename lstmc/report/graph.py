"""The graph as a picture: layers as boxes, values as edges."""

from __future__ import annotations

from typing import Any

from .. import graph as g
from ..summary import size_of
from .layout import BOX, Layout, lay_out
from .markup import element, fitted, picture, text

WEIGHTED = (g.Dense, g.Embedding, g.Conv1D, g.DepthwiseConv1D)


def draw(graph: g.Graph, rows: list[dict[str, Any]]) -> str:
    """An SVG; ``rows`` are the layers' facts, as of lstmc.info."""
    given = [("input", v) for v in graph.inputs] + [("state", b.input) for b in graph.bindings]
    ends = [("output", v) for v in graph.outputs]
    ends += [("next state", b.output) for b in graph.bindings]
    writer: dict[str, str] = {v.name: f"i{i}" for i, (_, v) in enumerate(given)}
    specs = graph.infer()
    boxes: dict[str, str] = {}
    edges: list[tuple[str, str]] = []
    nodes = [f"i{i}" for i in range(len(given))]
    for i, (what, v) in enumerate(given):
        boxes[f"i{i}"] = _box(what, v.name, _shape(v), "pill", f"{what} {v.name} {_shape(v)}")
    for i, (layer, row) in enumerate(zip(graph.layers, rows, strict=True)):
        node = f"l{i}"
        nodes.append(node)
        edges += [(writer[n], node) for n in layer.inputs if n is not None]
        writer.update({n: node for n in layer.outputs if n is not None})
        kind = "recurrent" if isinstance(layer, g.Recurrent) else "plain"
        kind = "weighted" if isinstance(layer, WEIGHTED) else kind
        hint = f"{layer.name}: {row['type']}, output {row['output']}, {row['parameters']:,} "
        hint += f"parameters, {row['multiply_adds']:,} multiply-adds a step; {row['options']}"
        made = next(specs[n] for n in layer.outputs if n is not None)
        boxes[node] = _box(row["type"], layer.name, size_of(made).replace(" x ", "×"), kind, hint)
    for i, (what, v) in enumerate(ends):
        node = f"o{i}"
        nodes.append(node)
        edges.append((writer[v.name], node))
        boxes[node] = _box(what, v.name, _shape(v), "pill", f"{what} {v.name} {_shape(v)}")
    found = lay_out(nodes, edges)
    label = f"Graph of {len(graph.layers)} layers, from inputs at the top to outputs below"
    drawn = [_edge(target, points) for _, target, points in found.paths]
    drawn += [
        element("g", boxes[n], transform=f"translate({x - BOX[0] / 2:.1f} {y - BOX[1] / 2:.1f})")
        for n, (x, y) in found.boxes.items()
    ]
    return _frame(found, label, drawn)


def _frame(found: Layout, label: str, drawn: list[str]) -> str:
    arrow = element("path", d="M0 0 L8 4 L0 8 z", class_="arrow")
    marker = element("marker", arrow, id="arrow", viewBox="0 0 8 8", refX=7, refY=4,
                     markerWidth=7, markerHeight=7, orient="auto")  # fmt: skip
    smallest = f"min-width:{min(found.width * 0.7, found.width):.0f}px"
    svg = picture(found.width, found.height, label, element("defs", marker), *drawn,
                  class_="graph", style=smallest)  # fmt: skip
    told = "Picture of the graph; the table of layers says the same"
    return element("div", svg, class_="scroll", tabindex=0, role="group", aria_label=told)


def _shape(value: g.Value) -> str:
    names = {g.BATCH: "B", g.TIME: str(value.time) if value.time else "T"}
    return "×".join(names[a] if isinstance(a, str) else str(a) for a in value.axes)


def _box(kind: str, name: str, size: str, look: str, hint: str) -> str:
    w, h = BOX
    return element(
        "g",
        element("title", text(hint)),
        element("rect", width=w, height=h, rx=h / 2 if look == "pill" else 6, class_="box"),
        element("text", text(kind), x=10, y=16, class_="kind"),
        element("text", text(fitted(size, 16)), x=w - 10, y=16, class_="size"),
        element("text", text(fitted(name, 23)), x=10, y=31, class_="name"),
        class_=look,
    )


def _edge(target: str, points: list[tuple[float, float]]) -> str:
    """Two points are joined by a curve that leaves and arrives upright."""
    (x, y), (u, v) = points[0], points[-1]
    if len(points) == 2 and x != u:
        bend = (v - y) * 0.55
        path = f"M{x:.1f} {y:.1f} C{x:.1f} {y + bend:.1f} {u:.1f} {v - bend:.1f} {u:.1f} {v:.1f}"
    else:
        path = "M" + " L".join(f"{a:.1f} {b:.1f}" for a, b in points)
    ends = {"marker_end": "url(#arrow)"} if target else {}
    return element("path", d=path, class_="edge", **ends)
