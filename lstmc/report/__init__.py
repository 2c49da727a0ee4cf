"""One self-contained page about a model: `lstmc report`.

No script, nothing fetched: style, pictures and pixels are in the page, which is well-formed XML
too. What comes from a file, names first of all, is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..info import ARENA, facts, short
from ..inspect import Trace
from . import graph, pictures
from .markup import element, picture, text
from .style import STYLE

if TYPE_CHECKING:
    from ..model import Model

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

PARTS = {
    "tables": "the session's own tables, and what alignment rounds up",
    "record": "what layers prepare once",
    "state": "states, kept between calls",
    "scratch": "shared by all layers while they run: that of the largest",
    "values": "between layers; those that are not alive together share memory",
}


def page(
    model: Model,
    name: str,
    *,
    checks: Sequence[Mapping[str, Any]] = (),
    against: str = "",
    trace: Trace | None = None,
    row: int = 0,
    sample: str = "",
) -> str:
    """The page as text, to be stored as UTF-8.

    Args:
        model: the model.
        name: what it is called, such as its file's name.
        checks: findings of :mod:`lstmc.verify`: dicts with name, ok (None: not checked) and text;
            perhaps ``layers``, rows with layer, type and errors by peer (None: not compared).
        against: the name of the source that they compare with; "" if none.
        trace: what :func:`lstmc.inspect.trace` gave; None leaves the pictures out.
        row: of the trace's batch.
        sample: what the row is, in a few words.
    """
    found = facts(model)
    sections = [
        ("graph", "Graph", _graph(model, found)),
        ("layers", "Layers", _layers(found)),
        ("memory", "Memory", _memory(found, facts(model, 1, 100))),
        ("checks", "Checks", _checks(checks, against)),
        ("inside", "Inside", _inside(trace, row, sample)),
    ]
    links = "".join(element("a", title, href=f"#{key}") for key, title, _ in sections)
    body = element("h1", text(name)) + element("p", text(_lead(model)), class_="lead")
    body += element("nav", links, aria_label="Sections") + _summary(found, checks)
    for key, title, inside in sections:
        heading = element("h2", title, id=f"h-{key}")
        body += element("section", heading, inside, id=key, aria_labelledby=f"h-{key}")
    made = (
        f"Made by lstmc {__version__} on target {found['target']}. Arenas hold pointers, so their "
    )
    made += "sizes are those of machines like this one; output bits are the same on every one."
    body += element("footer", text(made))
    head = element("meta", charset="utf-8")
    head += element("meta", name="viewport", content="width=device-width, initial-scale=1")
    head += element("meta", http_equiv="Content-Security-Policy", content=POLICY)
    head += element("title", text(f"{name} - lstmc report")) + element("style", STYLE)
    root = element("html", element("head", head), element("body", element("main", body)), lang="en")
    return f"<!DOCTYPE html>\n{root}\n"


def _lead(model: Model) -> str:
    kinds = [type(x).__name__ for x in model.graph.layers]
    chain = " + ".join(kinds) if len(kinds) <= 6 else f"{len(kinds)} layers"
    source = model.provenance.get("source", "")
    return f"{chain}{f', from {source}' if source else ''}"


def _summary(found: dict[str, Any], checks: Sequence[Mapping[str, Any]]) -> str:
    bad = sum(c["ok"] is False for c in checks)
    done = sum(c["ok"] is not None for c in checks)
    cards = [
        (f"{found['parameters']:,}", "parameters"),
        (f"{found['multiply_adds']:,}", "multiply-adds a step"),
        (f"{found['weights_bytes']:,}", "bytes of weights"),
        (f"{found['arena_bytes']:,}", "bytes of arena, one row and step"),
    ]
    cards += [(f"{done - bad} of {done}", "checks passed")] if done else []
    boxes = [element("div", element("b", text(n)), element("span", text(t))) for n, t in cards]
    golden = found["golden"]
    sample = "none"
    if golden:
        digests = ", ".join(f"{n} {d}" for n, d in golden["digests"].items())
        batch, steps = golden["batch"], golden["time"]
        sample = f"{batch} row{'s' * (batch > 1)}, {steps} step{'s' * (steps > 1)}: {digests}"
    rows = [("inputs", _shapes(found["inputs"])), ("outputs", _shapes(found["outputs"]))]
    if found["states"]:
        rows.append(("states", f"{_shapes(found['states'])}, kept from step to step"))
    rows += list(found["provenance"].items())
    rows += [("size", f"{found['bytes']:,} bytes, format {found['format_version']}")]
    rows += [("golden digests", sample), ("SHA-256", found["sha256"])]
    terms = "".join(element("dt", text(k)) + element("dd", text(v)) for k, v in rows)
    return element("div", *boxes, class_="cards") + element("dl", terms)


def _shapes(values: dict[str, list[int | None]]) -> str:
    return ", ".join(
        f"{n} [{', '.join('?' if d is None else str(d) for d in shape)}]"
        for n, shape in values.items()
    )


def _graph(model: Model, found: dict[str, Any]) -> str:
    note = "Recurrent layers are blue, others with weights that are multiplied brown. T is the "
    note += "number of time steps, B the batch."
    return graph.draw(model.graph, found["layers"]) + element("p", note, class_="note")


def _layers(found: dict[str, Any]) -> str:
    titles = ("layer", "type", "output", "parameters", "MACs a step", "weights",
              "record", "state", "scratch", "values")  # fmt: skip
    head = "".join(
        element("th", t, scope="col", **({"class_": "num"} if i > 2 else {}))
        for i, t in enumerate(titles)
    )
    rows = []
    largest = max((r["weights_bytes"] for r in found["layers"]), default=0)
    for r in found["layers"]:
        cells = element("th", text(r["name"]), scope="row")
        cells += element("td", text(r["type"])) + element("td", text(r["output"]), class_="long")
        cells += _number(r["parameters"]) + _number(r["multiply_adds"])
        bar = _share(r["weights_bytes"], largest)
        cells += element("td", text(_bytes(r["weights_bytes"])), bar, class_="num")
        for key in ARENA[1:]:
            cells += element("td", text(short(r[f"{key}_bytes"])), class_="num")
        rows.append(element("tr", cells, title=r["options"] or "no options"))
    arena, total = found["arena"], element("th", "total", scope="row", colspan=3)
    total += _number(found["parameters"]) + _number(found["multiply_adds"])
    total += element("td", text(_bytes(found["weights_bytes"])), class_="num")
    total += "".join(
        element("td", text(short(arena[f"{k}_bytes"])), class_="num") for k in ARENA[1:]
    )
    note = "Bytes: weights in the file, padded to panels; record and state, which a layer has for "
    note += "itself in the arena of one row and one step; scratch and values, which share memory: "
    note += "their totals are less than the sums. k is 1000."
    table = element(
        "table",
        element("thead", element("tr", head)),
        element("tbody", *rows),
        element("tfoot", element("tr", total)),
    )
    box = element("div", table, class_="scroll", tabindex=0, role="group", aria_label="Layers")
    return element("p", note, class_="note") + box


def _number(n: int) -> str:
    return element("td", f"{n:,}" if n else "\u2013", class_="num")


def _bytes(n: int) -> str:
    return f"{n:,}" if n else "\u2013"


def _share(part: float, whole: float) -> str:
    """A small bar: how much of the largest this is. The number stands beside it."""
    if not part:
        return ""
    inside = element("rect", width=100, height=8, class_="track")
    width = max(100.0 * min(part / whole, 1.0), 0.8)
    inside += element("rect", width=width, height=8, class_="amount")
    return element("svg", inside, viewBox="0 0 100 8", preserveAspectRatio="none", class_="bar",
                   aria_hidden="true")  # fmt: skip


def _memory(one: dict[str, Any], many: dict[str, Any]) -> str:
    parts = [("weights", one["weights_bytes"])]
    parts += [("rest", one["bytes"] - one["weights_bytes"])]
    names = {"weights": "weights", "rest": "records, names, golden sample"}
    out = element("h3", text(f"File: {one['bytes']:,} bytes, may stay in flash or a mapped file"))
    out += _stack([(names[k], n) for k, n in parts], "Bytes of the file")
    for found, what in ((one, "one row and one step"), (many, "one row and 100 steps")):
        arena = [(k, found["arena"][f"{k}_bytes"]) for k in ARENA]
        heading = f"Arena: {found['arena_bytes']:,} bytes for {what} a call"
        out += element("h3", text(heading)) + _stack(arena, heading)
    told = "".join(element("dt", k) + element("dd", text(v)) for k, v in PARTS.items())
    return out + element("dl", told)


def _stack(parts: list[tuple[str, int]], label: str) -> str:
    """One bar of several parts, and their names and sizes below it."""
    whole = sum(n for _, n in parts) or 1
    x, inside, keys = 0.0, "", ""
    for i, (name, n) in enumerate(parts):
        width = 1000.0 * n / whole
        inside += element("rect", x=x, width=width, height=26, class_=f"fill{i}")
        x += width
        mark = element("i", "", class_=f"fill{i}")
        keys += element("li", mark, text(f"{name} {n:,} ({100 * n / whole:.0f} %)"))
    told = "; ".join(f"{name} {n:,}" for name, n in parts)
    bar = picture(1000, 26, f"{label}: {told}", inside, class_="stack", preserveAspectRatio="none")
    return bar + element("ul", keys, class_="key")


def _checks(checks: Sequence[Mapping[str, Any]], against: str) -> str:
    note = f"Compared with the source {against}." if against else (
        "Not compared with the source: give it with --against."
    )  # fmt: skip
    marks = {True: ("ok", "ok"), False: ("FAILED", "failed"), None: ("not checked", "note")}
    rows = ""
    for c in checks:
        word, look = marks[c["ok"]]
        cells = element("th", text(c["name"]), scope="row")
        cells += element("td", element("span", word, class_=look))
        rows += element("tr", cells, element("td", text(c["text"]), class_="long"))
    head = "".join(element("th", t, scope="col") for t in ("check", "result", "what was found"))
    table = element("table", element("thead", element("tr", head)), element("tbody", rows))
    layers = "".join(_layer_errors(c["layers"]) for c in checks if c.get("layers"))
    return element("p", text(note), class_="note") + (table if rows else "") + layers


def _layer_errors(rows: Sequence[Mapping[str, Any]]) -> str:
    """Errors of each layer, where a finding has them: a column for each peer that has any."""
    peers = [
        k for k in rows[0] if k not in ("layer", "type") and any(r[k] is not None for r in rows)
    ]
    largest = max((float(r[k]) for r in rows for k in peers if r[k] is not None), default=0.0)
    head = element("th", "layer", scope="col") + element("th", "type", scope="col")
    head += "".join(element("th", text(k), scope="col", class_="num") for k in peers)
    lines = ""
    for r in rows:
        cells = element("th", text(r["layer"]), scope="row") + element("td", text(r["type"]))
        for k in peers:
            error = r[k]
            words = "\u2013" if error is None else f"{error:.2g}"
            bar = _share(error, largest) if error is not None and np.isfinite(error) else ""
            cells += element("td", words, bar, class_="num")
        lines += element("tr", cells)
    table = element("table", element("thead", element("tr", head)), element("tbody", lines))
    box = element("div", table, class_="scroll", tabindex=0, role="group", aria_label="Errors")
    return element("h3", "Largest relative error of each layer, against") + box


def _inside(trace: Trace | None, row: int, sample: str) -> str:
    if trace is None:
        note = "The file has no golden sample: give --input to see values, gates and states."
        return element("p", note, class_="note")
    note = f"Over time, from zero state: {sample}. Values and h are the core's own numbers; gates "
    note += "and cell states are computed from the layer's inputs by the float64 oracle. Units and "
    note += "features go upwards; grey is where nothing was computed."
    out = element("p", text(note), class_="note")
    for names, what in ((trace.inputs, "input"), (trace.outputs, "output")):
        for name in names:
            value = trace.values[name]
            out += _figure(what, name, "", pictures.of_value(
                value[min(row, len(value) - 1)], f"{what} {name}"))  # fmt: skip
        if what == "input":
            for layer in trace.recurrent.values():
                size = f"{layer.kind}, {layer.h.shape[2]} units; oracle and core differ by "
                size += f"{layer.error:.2g} of the largest h at most"
                out += _figure("", layer.name, size, pictures.of_layer(layer, row))
    if not trace.recurrent:
        out += element("p", "The model has no recurrent layer.", class_="note")
    return out


def _figure(what: str, name: str, more: str, inside: str) -> str:
    heading = text(f"{what} {name}".strip())
    small = element("small", text(f" {more}")) if more else ""
    box = element("div", inside, class_="scroll", tabindex=0, role="group", aria_label=name)
    return element("figure", element("h3", heading, small), box)


__all__ = ["page"]
