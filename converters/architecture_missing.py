"""What to say when a file of weights comes without its architecture: what it holds, and a guess."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lstmc.errors import ConversionError

from . import weights as w
from .architecture_build import Tensors, listing
from .keras_groups import Groups


def suggestion(tensors: Tensors) -> str | None:
    """A one-line architecture that would use all keys, if they look like recurrent and Linear
    layers only."""
    if len(tensors) > 200:  # each key looks at all others
        return None
    clauses: list[str] = []
    features, rest, both = 0, dict(tensors), False
    for key, tensor in tensors.items():
        if key not in rest or tensor is None or len(tensor.shape) != 2:
            continue
        prefix, _, leaf = key.rpartition(".")
        weights = f" weights={prefix}" if prefix else ""
        if leaf in ("weight_ih_l0", "weight_ih"):
            own = re.compile(
                re.escape(w.join(prefix, ""))
                + r"((weight|bias)_[ih]h|weight_hr)(_l\d+)?(_reverse)?"
            )
            kind = _cell(rest, w.join(prefix, leaf))
            if kind is None:
                return None
            clauses.append(f"{kind}{weights}")
            both = w.join(prefix, "weight_ih_l0_reverse") in rest
        elif leaf == "weight":
            own = re.compile(re.escape(w.join(prefix, "")) + "(weight|bias)")
            if clauses and not clauses[-1].startswith("dense"):
                clauses[-1] += " take=states" if both else " last"
            clauses.append(f"dense{weights}")
        else:
            return None
        features = features or tensor.shape[1]
        rest = {k: t for k, t in rest.items() if not own.fullmatch(k)}
    if rest or not clauses:
        return None
    time = "time " if any(not c.startswith("dense") for c in clauses) else ""
    return "; ".join([f"input batch {time}{features}", *clauses])


def _cell(tensors: Mapping[str, Any], key: str) -> str | None:
    """Which cell an input weight is of: as many gates as its recurrent weight has."""
    first, recurrent = tensors[key], tensors.get(key.replace("_ih", "_hh"))
    projection = tensors.get(key.replace("_ih", "_hr"))
    if recurrent is None or len(recurrent.shape) != 2 or not all(recurrent.shape):
        return None
    if recurrent.shape[0] != first.shape[0]:
        return None
    hidden = recurrent.shape[1] if projection is None else projection.shape[-1]
    for kind, gates in w.GATE_COUNTS.items():
        if recurrent.shape[0] == gates * hidden:
            return kind.lower()
    return None


def missing(name: str, tensors: Tensors) -> ConversionError:
    """What to say when a state_dict comes without its architecture."""
    line = suggestion(tensors) or "input batch time 10; lstm weights=lstm last; dense weights=fc"
    stem = Path(name).stem
    return ConversionError(
        f"'{name}' is a state_dict: it has weights but no architecture. It holds "
        f'{listing(tensors)}. Say what they belong to: --arch "{line}" (arch=... in Python), or '
        f"--arch FILE.toml, or a file '{stem}.toml' beside it"
    )


# ------------------------------------------------------------------------------- groups of Keras


def suggestion_of_groups(groups: Groups) -> str | None:
    """A one-line architecture that would use all groups, if each layer fits the one before."""
    clauses: list[str] = []
    first, features, ended = 0, 0, False
    for name in groups:
        own, _, end = name.rpartition("/")
        if end == "backward_layer":
            continue
        both = end == "forward_layer"
        kind, shapes = groups.kind(name), list(groups.shapes(name).values())
        if not kind or kind == "embedding" or len(clauses) > 200:
            return None
        clause = f"{kind} weights={own if both else name}"
        if kind in ("layernorm", "batchnorm1d"):
            size = width = shapes[0][0]
            clause += " eps=1e-3"
        elif kind in ("dense", "conv1d"):
            size, width = shapes[0][-2:]
            recurrent = clauses and clauses[-1].partition(" ")[0] in ("lstm", "gru", "rnn")
            if kind == "dense" and recurrent:
                clauses[-1] += " take=states" if ended else " last"
        else:
            size, width = shapes[0][0], shapes[1][0] * (2 if both else 1)
            ended = both
        if features not in (0, size):
            return None
        first, features = first or size, width
        clauses.append(clause)
    if not clauses:
        return None
    time = "time " if any(not c.startswith("dense") for c in clauses) else ""
    return "; ".join([f"input batch {time}{first}", *clauses])


def missing_of_groups(name: str, groups: Groups) -> ConversionError:
    """What to say when a Keras file of weights comes without its architecture."""
    kept = next((n for n in groups if groups.kind(n)), "")
    kind = groups.kind(kept) or "lstm"
    line = suggestion_of_groups(groups) or (
        f"input batch time 10; {kind} weights={kept or 'lstm'}; ...; ignore GROUP..."
    )
    return ConversionError(
        f"'{name}' holds weights only, no architecture: {groups.listing()}. Say what they belong "
        f'to: --arch "{line}" (arch=... in Python), or --arch FILE.toml, or a file '
        f"'{Path(name).stem}.toml' beside it; or save the whole model with "
        "model.save('model.keras') and convert that"
    )
