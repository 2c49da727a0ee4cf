"""What a firmware's code and stack will take, before it is compiled: an estimate.

``code_sizes.json`` says for each preset which functions of the core a layer runs, what they take at
-Os and how deep the stack goes; tests/firmware_costs.py measures it. A model's code is

    base + layer * layers + ratio * (sum over the functions that these run) + its functions of x

and its stack is that of NAME_step and of the layer that goes deepest; ``several`` is what NAME_step
takes more, at most, where it runs several.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from . import sources
from .freeze import Frozen, Layer, Pointer

TABLE = Path(__file__).with_name("code_sizes.json")
#: Functions of x before this one are in every firmware that can have them.
FIRST_OTHER = "AFFINE"


@dataclass(frozen=True)
class Cost:
    """Bytes, about: of code with its constants but the records, of the compiler's own functions
    (floats without an FPU), and of stack from NAME_step on, without that of these."""

    code: int
    library: int
    stack: int


@cache
def table() -> dict[str, Any]:
    """By preset."""
    found: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return found


def estimate(frozen: Frozen, golden: bool) -> Cost | None:
    """None for presets whose compiler was not measured. ``golden``: with a self-test."""
    facts = table().get(frozen.preset.name)
    if facts is None:
        return None
    known, keys = facts["layers"], [key_of(x) for x in frozen.layers]
    others = [facts["others"].get(n, [0, 0]) for n in other_functions(frozen)]
    code = dot(facts["fit"], features(known, keys))
    code += sum(flash for flash, _ in others) + facts["selftest"] * golden
    depth = max((known[key]["stack"] for key in keys if key in known), default=0)
    deeper = max((stack for _, stack in others), default=0)
    stack = facts["step"] + depth + deeper + facts["several"] * (len(keys) > 1)
    return Cost(round(code), facts["library"], stack)


def dot(fit: Mapping[str, float], numbers: Mapping[str, float]) -> float:
    return sum(fit[name] * number for name, number in numbers.items())


def features(known: Mapping[str, Any], keys: Sequence[str]) -> dict[str, float]:
    """What code is estimated from, of layers that have these keys. One alone is compiled for its
    record, as ``alone`` says; ``ratio`` goes with the bytes of functions."""
    sizes: dict[str, int] = {}
    for key in keys:
        for name, size in known[key]["functions"].items() if key in known else ():
            sizes[name] = max(sizes.get(name, 0), size)
    alone = len(keys) == 1
    return {"base": 1, "layer": len(keys), "ratio": sum(sizes.values()), "alone": alone}


def quick_only(frozen: Frozen) -> Frozen:
    """The same without the functions of x whose cost is counted one by one."""
    return replace(frozen, functions=frozen.functions - set(other_functions(frozen)))


def other_functions(frozen: Frozen) -> list[str]:
    order = sources.functions()
    return [n for n in order[order.index(FIRST_OTHER) :] if n in frozen.functions]


def key_of(layer: Layer) -> str:
    """What decides which functions a layer runs."""
    cell = layer.fields.get("cell")
    inner = cell.name if isinstance(cell, Pointer) else ""
    return " ".join(filter(None, (layer.kind, layer.run, inner)))
