"""The table that Model.summary and `lstmc info` show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from . import graph as g

if TYPE_CHECKING:
    from .model import Model


def _options(layer: g.Layer) -> Iterator[str]:
    """Parameters, but for options that have their defaults."""
    for f in layer.param_fields():
        value = getattr(layer, f.name)
        if "option" in f.metadata and value == f.default:
            continue
        if isinstance(value, tuple) and len(value) > 8:
            value = f"({', '.join(map(str, value[:6]))}, ... {len(value)} in all)"
        yield f"{f.name}={value}"


def size_of(spec: g.Spec) -> str:
    """Steps times features, T being the steps of the first input."""
    return (
        f"{spec.time} x {spec.features}".replace(g.TIME, "T") if spec.time else f"{spec.features}"
    )


def layer_rows(model: Model) -> list[dict[str, Any]]:
    """One dict a layer: name, type, output (features and whether it is a sequence), numbers."""
    specs = model.graph.infer()
    rows = []
    for layer in model.graph.layers:
        inputs = [None if n is None else specs[n] for n in layer.inputs]
        outputs = [specs[n] for n in layer.outputs if n is not None]
        rows.append(
            {
                "name": layer.name,
                "type": type(layer).__name__,
                "options": ", ".join(_options(layer)),
                "output": " ".join(map(size_of, outputs)),
                "parameters": sum(a.size for _, _, a in layer.tensors() if a is not None),
                "multiply_adds": layer.multiply_adds(*inputs),
            }
        )
    return rows


def notes(provenance: Mapping[str, str]) -> list[str]:
    """Lines that say where a model is not its source to the letter, such as weights of 8 bits."""
    return [f"note     {text}" for text in provenance.get("note", "").splitlines()]


def summary(model: Model) -> str:
    """Inputs, layers, outputs, size and provenance as text."""
    rows = layer_rows(model)
    columns = ("name", "type", "output", "parameters", "multiply_adds", "options")
    titles = ("layer", "type", "output", "parameters", "MACs/step", "options")
    cells: list[tuple[str, ...]] = [titles]
    for r in rows:
        cells.append(tuple(f"{r[c]:,}" if isinstance(r[c], int) else r[c] for c in columns))
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]

    def line(row: tuple[str, ...]) -> str:
        right = {"parameters", "multiply_adds"}
        parts = [
            c.rjust(w) if name in right else c.ljust(w)
            for c, w, name in zip(row, widths, columns, strict=True)
        ]
        return "  ".join(parts).rstrip()

    def shapes(values: dict[str, tuple[int | None, ...]]) -> str:
        return ", ".join(
            f"{n} [{', '.join('?' if d is None else str(d) for d in shape)}]"
            for n, shape in values.items()
        )

    total = sum(r["parameters"] for r in rows)
    out = [f"inputs   {shapes(model.inputs)}", f"outputs  {shapes(model.outputs)}"]
    if model.states:
        out.append(f"states   {shapes(model.states)}, kept from step to step")
    out.append("")
    out += [line(cells[0]), "  ".join("-" * w for w in widths)]
    out += [line(row) for row in cells[1:]]
    out += ["", f"{total:,} parameters, {model.nbytes:,} bytes in the file"]
    if model.provenance:
        origin = {k: v for k, v in model.provenance.items() if k != "note"}
        out.append("from " + ", ".join(f"{k} {v}" for k, v in origin.items()))
        out += notes(model.provenance)
    return "\n".join(out)
