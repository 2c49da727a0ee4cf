"""A model to a directory of C files, and what memory they take."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import graph as g
from .. import presets
from ..arrays import write_bytes
from ..errors import Error
from ..model import Model
from ..presets import Preset
from ..summary import layer_rows
from .emit import files
from .firmware import Firmware
from .freeze import RESERVED, Frozen, freeze
from .sample import sample_of


@dataclass
class Exported:
    """What was written where, and the memory that it takes (see :func:`memory`; sample_bytes, in
    flash too, are the self-test's inputs)."""

    directory: Path
    name: str
    target: str
    files: list[str]
    memory: dict[str, Any]
    golden_digest: int | None
    report: list[str]


def memory(
    model: Model, preset: Preset | str, time: int | None = None, frozen: Frozen | None = None
) -> dict[str, Any]:
    """Bytes and multiply-adds of a call of a firmware for a preset, before it is compiled.

    weights_bytes and tables_bytes are constants in flash, ram_bytes is the arena, of which
    state_bytes and values_bytes are the state and what layers hand to one another. Exact, but for
    code and stack, which a compiler decides. Raises ShapeError as :func:`freeze` does.
    """
    chip = presets.find(preset) if isinstance(preset, str) else preset
    f = frozen or freeze(model, chip, time)
    rows = layer_rows(f.model)
    adds = 0
    for row, layer in zip(rows, f.model.graph.layers, strict=True):
        # A recurrent layer works at each step that it gets, others for each that they give.
        counted = layer.inputs if isinstance(layer, g.Recurrent) else layer.outputs
        steps = [f.values[i][2] for i in _ids(f, counted[:1])] or [1]
        adds += row["multiply_adds"] * steps[0]
    return {
        "weights_bytes": 4 * len(f.weights),
        "tables_bytes": 16 * len(f.values) + sum(_record_bytes(x.fields) for x in f.layers),
        "ram_bytes": f.ram(),
        "state_bytes": 4 * f.state,
        "values_bytes": 4 * f.between,
        "scratch_bytes": 4 * f.scratch,
        "multiply_adds": adds,
    }


def _ids(f: Frozen, names: Iterable[str | None]) -> list[int]:
    graph = f.model.graph
    all_names = [v.name for v in graph.inputs] + [b.input.name for b in graph.bindings]
    all_names += [n for layer in graph.layers for n in layer.outputs if n is not None]
    return [all_names.index(n) for n in names if n is not None]


def _record_bytes(fields: Any) -> int:
    if isinstance(fields, dict):
        return sum(_record_bytes(v) for v in fields.values())
    if isinstance(fields, list):
        return sum(_record_bytes(v) for v in fields)
    return 4


def export(
    model: Model,
    directory: str | Path,
    name: str = "model",
    target: Preset | str = "host",
    *,
    state: str = "internal",
    golden: bool = True,
    time: int | None = None,
) -> Exported:
    """Write a model as C99 files that compile with nothing else.

    Args:
        directory: made if it is not there. Files of another export with this name are replaced.
        name: a name of C, which all that the files define begins with.
        target: a preset (:mod:`lstmc.presets`): how weights are packed.
        state: "internal": one instance, its memory static. "external": the caller's, so that there
            can be several.
        golden: whether there is a self-test; its sample takes flash.
        time: steps of a call, for models that need a whole sequence.

    Raises Error for a name that is none, ShapeError where ``time`` is missing or does not fit,
    FormatError for weights that are not finite, TargetError for an unknown preset.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,30}", name) or name.lower() in RESERVED:
        raise Error(f"'{name}' can't be the name of a C module: letters, digits and _, up to 31")
    if state not in ("internal", "external"):
        raise Error(f"state '{state}' is neither internal nor external")
    chip = presets.find(target) if isinstance(target, str) else target
    frozen = freeze(model, chip, time)
    sample = sample_of(model, frozen) if golden else None
    use = memory(model, frozen.preset, time, frozen)
    use["sample_bytes"] = 4 * sum(x.size for x in sample.inputs) if sample else 0
    report = report_lines(use)
    source = model.provenance.get("file") or model.provenance.get("source") or "a model"
    texts = files(Firmware(frozen, name, state == "external", sample, report, source))
    root = Path(directory)
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(root / path, text.encode("ascii"))
    digest = sample.digest if sample else None
    return Exported(root, name, chip.name, sorted(texts), use, digest, report)


def report_lines(use: dict[str, Any]) -> list[str]:
    """The memory report for people."""
    return [
        f"flash, weights   {use['weights_bytes']:>9,} bytes",
        f"flash, tables    {use['tables_bytes']:>9,} bytes",
        f"flash, self-test {use['sample_bytes']:>9,} bytes",
        f"RAM, arena       {use['ram_bytes']:>9,} bytes (state {use['state_bytes']:,}, values "
        f"{use['values_bytes']:,}, scratch {use['scratch_bytes']:,})",
        f"multiply-adds    {use['multiply_adds']:>9,} a call",
    ]
