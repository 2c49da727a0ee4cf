"""A model to a directory of C files, and what memory they take."""

from __future__ import annotations

import re
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
from .costs import estimate
from .emit import files
from .firmware import Firmware
from .freeze import RESERVED, Frozen, Pointer, freeze
from .sample import Sample, sample_of
from .training import Train


@dataclass
class Exported:
    """What was written where, and the memory that it takes (see :func:`memory`)."""

    directory: Path
    name: str
    target: str
    files: list[str]
    memory: dict[str, Any]
    golden_digest: int | None
    report: list[str]


def memory(
    model: Model,
    preset: Preset | str,
    time: int | None = None,
    frozen: Frozen | None = None,
    sample: Sample | None = None,
) -> dict[str, Any]:
    """Bytes and multiply-adds of a call of a firmware for a preset, before it is compiled.

    weights_bytes, tables_bytes (records of layers) and sample_bytes (the self-test's) are constants
    in flash, ram_bytes is the arena, of which state_bytes and values_bytes are the state and what
    layers hand to one another. These are exact, if a compiler leaves no table out.

    training_bytes, with a trainer, is what of ram_bytes that takes; code and stack of such a
    firmware are not estimated.

    code_bytes, at -Os, library_bytes (the compiler's own functions: floats without an FPU) and
    stack_bytes, of NAME_step, are estimates (:mod:`.costs`), None for presets whose compiler was
    not measured.

    Raises ShapeError as :func:`freeze` does.
    """
    chip = presets.find(preset) if isinstance(preset, str) else preset
    f = frozen or freeze(model, chip, time)
    rows = layer_rows(f.model)
    ids = {name: i for i, name in enumerate(f.model.graph.written)}
    adds = 0
    for row, layer in zip(rows, f.model.graph.layers, strict=True):
        # A recurrent layer works at each step that it gets, others for each that they give.
        counted = layer.inputs if isinstance(layer, g.Recurrent) else layer.outputs
        steps = f.values[ids[counted[0]]][2] if counted[0] is not None else 1
        adds += row["multiply_adds"] * steps
    cost = None if f.training else estimate(f, sample is not None)
    training = {"training_bytes": f.ram() - f.ram_without_training()} if f.training else {}
    return {
        "weights_bytes": 4 * len(f.weights),
        "code_bytes": cost and cost.code,
        "library_bytes": cost and cost.library,
        "tables_bytes": _tables_bytes(f),
        "sample_bytes": 4 * sum(x.size for x in sample.inputs) if sample else 0,
        "ram_bytes": f.ram(),
        "state_bytes": 4 * f.state,
        "values_bytes": 4 * f.between,
        "scratch_bytes": 4 * f.scratch,
        "stack_bytes": cost and cost.stack,
        "multiply_adds": adds,
        **training,
    }


def _tables_bytes(f: Frozen) -> int:
    """Records of layers, what they point at, and four numbers of each value."""
    records = 0
    for layer in f.layers:
        size, align = _size(layer.fields, f.preset.pointer_bytes)
        records += -(-size // align) * align
    return records + 4 * len(f.words) + 16 * len(f.values)


def _size(value: Any, pointer: int) -> tuple[int, int]:
    """Of a field, and its alignment."""
    if isinstance(value, Pointer):
        return pointer, pointer
    if not isinstance(value, (dict, list)):
        return 4, 4
    at, widest = 0, 4
    for inner in value.values() if isinstance(value, dict) else value:
        size, align = _size(inner, pointer)
        at, widest = -(-at // align) * align + size, max(widest, align)
    return -(-at // widest) * widest, widest


_HEADERS = """
    alloca arm_acle arm_mve arm_neon assert complex config ctype endian errno features fenv float
    immintrin inttypes iso646 limits locale machine malloc math memory newlib pthread setjmp signal
    stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings tgmath
    threads time uchar unistd wchar wctype
"""
#: NAME.h of these would be found in place of a compiler's or a C library's own.
TAKEN = RESERVED | frozenset(_HEADERS.split())


def export(
    model: Model,
    directory: str | Path,
    name: str = "model",
    target: Preset | str = "host",
    *,
    state: str = "internal",
    golden: bool = True,
    time: int | None = None,
    train: Train | None = None,
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
        train: what is to be trained on the chip, and how; None: nothing.

    Raises what :func:`lstmc.export.training.find` does; Error for a name that is none, ShapeError
    where ``time`` is missing or does not fit, FormatError for weights that are not finite,
    TargetError for an unknown preset.
    """
    why = ""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,30}", name):
        why = "a letter first, then letters, digits and _, at most 31 in all"
    elif name.lower().startswith("lstmc"):
        why = "the core's own names begin with lstmc"
    elif name.lower() in TAKEN or re.match(r".*_(core|weights)$", name, re.I):
        why = "C, its headers, build tools or an export's own files have this name"
    if why:
        raise Error(f"'{name}' can't be the name of a C module: {why}")
    if train and name.lower() == "train":
        raise Error(
            "'train' can't be the name of a C module that trains: train_update is the core's"
        )
    if state not in ("internal", "external"):
        raise Error(f"state '{state}' is neither internal nor external")
    chip = presets.find(target) if isinstance(target, str) else target
    frozen = freeze(model, chip, time, train)
    sample = sample_of(model, frozen) if golden else None
    use = memory(model, frozen.preset, time, frozen, sample)
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
    parts = f"state {use['state_bytes']:,}, values {use['values_bytes']:,}"
    training = use.get("training_bytes", 0)
    kinds = ("state", "values", "scratch")
    other = use["ram_bytes"] - training - sum(use[f"{k}_bytes"] for k in kinds)
    parts += f", scratch {use['scratch_bytes']:,}, other {other:,}"
    parts += f"; training {training:,} more" if training else ""
    rows = [
        ("flash, weights", f"{use['weights_bytes']:,}", "bytes"),
        ("flash, code", _number(use["code_bytes"]), "bytes at -Os, about"),
        ("flash, helpers", _number(use["library_bytes"]), "bytes of the compiler's library, about"),
        ("flash, tables", f"{use['tables_bytes']:,}", "bytes"),
        ("flash, self-test", f"{use['sample_bytes']:,}", "bytes"),
        ("RAM, arena", f"{use['ram_bytes']:,}", f"bytes ({parts})"),
        ("stack", _number(use["stack_bytes"]), "bytes at -Os, about"),
        ("multiply-adds", f"{use['multiply_adds']:,}", "a call"),
    ]
    return [f"{what:<16} {number:>9} {unit}" for what, number, unit in rows if number]


def _number(number: int | None) -> str:
    return f"{number:,}" if number else ""
