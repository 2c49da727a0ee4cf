"""Records of layers as initialisers of C."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .firmware import Firmware
from .freeze import Pointer, walk
from .text import constant


def uses_trained(fields: Mapping[str, Any]) -> bool:
    """Whether a record points at weights that are trained: it can't be a constant then."""
    return any(isinstance(x, Pointer) and x.where == "trained" for x in walk(fields))


def initialiser(w: Firmware, fields: dict[str, Any], depth: int) -> str:
    pad = "    " * depth
    lines = [f"{pad}.{k} = {value_text(w, v, depth)}," for k, v in fields.items()]
    return "{\n" + "\n".join(lines) + "\n" + pad[4:] + "}"


def value_text(w: Firmware, value: Any, depth: int) -> str:
    if isinstance(value, dict):
        return initialiser(w, value, depth + 1)
    if isinstance(value, list):
        return "{" + ", ".join(value_text(w, v, depth) for v in value) + "}"
    if isinstance(value, float):
        return constant(value)
    if isinstance(value, Pointer):
        if value.where == "weights":
            return f"{w.name}_weights + {value.at}"
        if value.where == "trained":
            return f"lstmc_weights + {value.at}"
        if value.where == "gradients":
            return f"memory->gradients + {value.at}"
        if value.where == "words":
            return f"words + {value.at}"
        return f"&{value.name}" if value.where == "cell" else "NULL"
    return f"{value}u"
