"""What is in a model: the facts and the table that `lstmc info` prints and reports show."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import format, get_target
from .errors import Error, ShapeError
from .presets import PRESETS
from .summary import layer_rows, notes
from .terminal import printable
from .verify import in_hex, listed

if TYPE_CHECKING:
    from .export.freeze import Frozen
    from .model import Model

ARENA = ("tables", "record", "state", "scratch", "values")

NOTE = """Bytes: weights in the file, padded to panels; own is what the arena has of a layer alone,
its record and state; scratch it uses while it runs, memory that all layers share; values it
writes for others, memory that is used again once they are read. MACs: of a row and step of the
layer. k is 1000; --json has exact numbers."""

CHIPS_NOTE = """Bytes of `lstmc export --target CHIP`, without a self-test. Flash: weights in panels
of that width, tables, and about so much code (-Os, with the compiler's own functions); RAM: the
arena. The stack comes on top."""


def memory(
    model: Model, batch: int = 1, time: int = 1
) -> tuple[dict[str, int], list[dict[str, int]]]:
    """Bytes of a session for ``batch`` rows and ``time`` steps a call, and of each layer.

    The core's own numbers (lstmc_memory in lstmc.h): weights, tables, record, state, scratch and
    values; those of the session but for weights add up to its arena_bytes, which is there too.

    Raises OutOfMemoryError if no memory can hold such a session, ShapeError for several rows of a
    model that takes one.
    """
    if batch > 1 and model.graph.one_row:
        raise ShapeError(f"the model takes one row, not {batch}: a value has no batch axis")
    whole, *layers = model._core.memory(batch, time)
    whole["arena_bytes"] = sum(whole[k] for k in ARENA)
    return whole, layers


def facts(model: Model, batch: int = 1, time: int = 1) -> dict[str, Any]:
    """All there is to say, ready for JSON; all sizes are in bytes."""
    golden, blob = model.golden, model.to_bytes()
    whole, layers = memory(model, batch, time)
    rows = layer_rows(model)
    for row, layer, use in zip(rows, model.graph.layers, layers, strict=True):
        row["inputs"], row["outputs"] = list(layer.inputs), list(layer.outputs)
        row.update({f"{k}_bytes": use[k] for k in ("weights", "record", "state")})
        row.update({f"{k}_bytes": use[k] for k in ("scratch", "values")})
    return {
        "bytes": model.nbytes,
        "sha256": hashlib.sha256(blob).hexdigest(),
        "format_version": int.from_bytes(blob[8:12], "little"),
        "inputs": {name: list(shape) for name, shape in model.inputs.items()},
        "outputs": {name: list(shape) for name, shape in model.outputs.items()},
        "states": {name: list(shape) for name, shape in model.states.items()},
        "layers": rows,
        "parameters": sum(r["parameters"] for r in rows),
        "multiply_adds": sum(r["multiply_adds"] for r in rows),
        "weights_bytes": whole["weights"],
        "batch": batch,
        "time": time,
        "arena_bytes": whole["arena_bytes"],
        "arena": {f"{k}_bytes": whole[k] for k in ARENA},
        "golden": golden
        and {"batch": golden.batch, "time": golden.time, "digests": in_hex(golden.digests)},
        "provenance": model.provenance,
        "target": get_target(),
    }


def chips(model: Model, time: int = 1) -> list[dict[str, Any]]:
    """What the model takes as firmware of each preset, in bytes: one row and ``time`` steps a call.

    One dict a preset: ``name``, ``panel``, ``tested``; ``time``, the steps of a call if the model
    needs whole sequences, else None; ``weights_bytes`` (padded to its panels),
    ``tables_bytes`` and ``code_bytes`` in flash, ``ram_bytes``; ``reason``, empty unless it can't
    be exported. code_bytes, with the compiler's own functions, is an estimate, None for a chip that
    was not measured; tables and RAM are exact, None if there is a reason.
    """
    from .export import costs
    from .export import memory as exported
    from .export.freeze import freeze

    whole = bool(model.graph.clocks) and not (model._core.cuttable or model.graph.bindings)
    steps = time if whole else None  # others go step by step
    known: dict[tuple[int, int], tuple[Frozen | None, dict[str, Any]]] = {}  # freezing takes time
    rows = []
    for p in PRESETS.values():
        if (p.panel, p.pointer_bytes) not in known:
            use: dict[str, Any] = {"weights_bytes": _weights(model, p.panel)}
            use |= {"tables_bytes": None, "ram_bytes": None, "reason": ""}
            frozen = None
            try:
                frozen = freeze(model, p, steps)
                got = exported(model, p, steps, frozen)
                use |= {k: got[k] for k in ("weights_bytes", "tables_bytes", "ram_bytes")}
            except Error as e:
                use["reason"] = str(e)
            known[p.panel, p.pointer_bytes] = frozen, use
        frozen, use = known[p.panel, p.pointer_bytes]
        cost = frozen and costs.estimate(replace(frozen, preset=p), golden=False)
        row = {"name": p.name, "panel": p.panel, "tested": p.tested, "time": steps, **use}
        row["code_bytes"] = cost.code + cost.library if cost and not use["reason"] else None
        rows.append(row)
    return rows


def _weights(model: Model, panel: int) -> int:
    """Bytes of all tensors in panels of this width, one after another."""
    total = 0
    for layer in model.graph.layers:
        for _, meta, array in layer.tensors():
            if array is not None:
                units = array.shape[0] // meta["gates"]
                padded = sum(format.panel_widths(units, panel))
                total += 4 * array.size // units * padded
    return total


def chips_text(rows: list[dict[str, Any]]) -> str:
    """:func:`chips` as a table for people, of at most 80 columns."""
    titles = ("chip", "panel", "weights", "tables", "code", "RAM")
    cells = [titles]
    for r in rows:
        code = "?" if r["code_bytes"] is None else f"~{r['code_bytes']:,}"
        numbers = [r[f"{k}_bytes"] for k in ("weights", "tables", "ram")]
        weights, tables, ram = ("-" if n is None else f"{n:,}" for n in numbers)
        cells.append((r["name"], str(r["panel"]), weights, tables, code, ram))
    widths = [max(len(row[i]) for row in cells) for i in range(len(titles))]
    lines = [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in cells
    ]
    lines.insert(1, "  ".join("-" * w for w in widths))
    for r, i in zip(rows, range(2, len(lines)), strict=True):
        lines[i] += "" if r["tested"] else "  not tested"
    reasons = dict.fromkeys(r["reason"] for r in rows if r["reason"])
    lines += [*(f"- no firmware: {printable(r)}" for r in reasons), "", CHIPS_NOTE]
    if steps := rows[0]["time"]:
        lines.append(f"A call takes a whole sequence, here of {steps:,} steps: --time N.")
    return "\n".join(lines)


def text(found: dict[str, Any], columns: int = 100) -> str:
    """:func:`facts` for a terminal of so many columns (at least 80), names shortened to fit."""
    golden = found["golden"]
    sample = "none"
    if golden:
        digests = {n: int(d, 16) for n, d in golden["digests"].items()}
        sample = f"{golden['batch']} x {golden['time']} steps -> {listed(digests)}"
    arena = found["arena"]
    shown = " + ".join(f"{k} {arena[f'{k}_bytes']:,}" for k in ARENA)
    rows, steps = found["batch"], found["time"]
    sizes = f"{_count(rows, 'row')} and {_count(steps, 'step')}"
    out = [f"inputs   {_shapes(found['inputs'])}", f"outputs  {_shapes(found['outputs'])}"]
    if found["states"]:
        out.append(f"states   {_shapes(found['states'])}, kept from step to step")
    out.append("")
    out += table(found["layers"], max(columns, 80))
    out += [
        "",
        f"total    {found['parameters']:,} parameters, {found['multiply_adds']:,} multiply-adds",
        f"weights  {found['weights_bytes']:,} bytes of the file's {found['bytes']:,}",
        f"arena    {found['arena_bytes']:,} bytes for {sizes} a call, on {found['target']}:",
        f"         {shown}",
        f"format   {found['format_version']}",
        f"golden   {sample}",
        f"sha256   {found['sha256']}",
    ]
    if found["provenance"]:
        origin = {k: v for k, v in found["provenance"].items() if k != "note"}
        out.append("from     " + ", ".join(f"{k} {v}" for k, v in origin.items()))
        out += notes(found["provenance"])
    return "\n".join([*out, "", NOTE])


def table(rows: list[dict[str, Any]], columns: int) -> list[str]:
    """The layers, one line each, within ``columns``; their names give way first."""
    titles = ("layer", "type", "output", "params", "MACs", "weights", "own", "scratch", "values")
    cells: list[tuple[str, ...]] = [titles]
    for r in rows:
        own = r["record_bytes"] + r["state_bytes"]
        numbers = [r["parameters"], r["multiply_adds"], r["weights_bytes"], own]
        numbers += [r["scratch_bytes"], r["values_bytes"]]
        words = tuple(printable(r[k]) for k in ("name", "type", "output"))
        cells.append((*words, *map(short, numbers)))
    widths = [max(_width(row[i]) for row in cells) for i in range(len(titles))]
    widths[2] = min(widths[2], 22)  # a layer with many outputs
    gap = 2
    room = columns - sum(widths[1:]) - gap * (len(titles) - 1)
    if room < min(widths[0], 20):
        gap, room = 1, room + len(titles) - 1
    widths[0] = min(widths[0], max(room, 8))

    def line(row: tuple[str, ...]) -> str:
        fitted = [_fit(c, w) for c, w in zip(row, widths, strict=True)]
        spaces = [" " * (w - _width(c)) for c, w in zip(fitted, widths, strict=True)]
        parts = [
            c + s if i < 3 else s + c for i, (c, s) in enumerate(zip(fitted, spaces, strict=True))
        ]
        return (" " * gap).join(parts).rstrip()

    return [line(cells[0]), (" " * gap).join("-" * w for w in widths), *map(line, cells[1:])]


def short(n: int) -> str:
    """A number in at most five characters: 999, 1.23k, 45.6M, and - for nothing."""
    if n < 1000:
        return str(n) if n else "-"
    value, power = n / 1000, 0
    while value >= 999.5 and power < 3:
        value, power = value / 1000, power + 1
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}{'kMGT'[power]}"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' if n != 1 else ''}"


def _shapes(values: dict[str, list[int | None]]) -> str:
    return ", ".join(
        f"{n} [{', '.join('?' if d is None else str(d) for d in shape)}]"
        for n, shape in values.items()
    )


def _width(words: str) -> int:
    """Columns of a terminal: most of East Asia's characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in words)


def _fit(words: str, width: int) -> str:
    """The beginning and the end of a text, which tell more than its middle."""
    if _width(words) <= width:
        return words
    head, tail = words[:width], words[-width:]
    while _width(head) + _width(tail) > width - 1:
        if _width(head) >= _width(tail):
            head = head[:-1]
        else:
            tail = tail[1:]
    return f"{head}…{tail}"
