"""The forms in which an architecture is written, TOML and one line, as one dict.

:mod:`architecture` documents both forms and gives them meaning.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lstmc import graph as g
from lstmc.errors import ConversionError

Arch = str | os.PathLike[str] | Mapping[str, Any]


def load(arch: Arch) -> dict[str, Any]:
    """An architecture in any of its forms as the dict that TOML gives."""
    if isinstance(arch, Mapping):
        return dict(arch)
    if isinstance(arch, str) and re.match(r"\s*input\s", arch):
        return _parse_line(arch)
    if isinstance(arch, str) and re.search(r"^\s*\[", arch, re.MULTILINE):
        return _parse_toml(arch, "architecture")
    path = Path(arch)
    try:
        return _parse_toml(path.read_bytes().decode("utf-8"), f"architecture '{path.name}'")
    except UnicodeDecodeError as e:
        raise ConversionError(f"architecture '{path.name}' is not a TOML file") from e
    except (OSError, ValueError) as e:  # ValueError: a null character
        if isinstance(e, ConversionError):
            raise
        if isinstance(arch, str):
            raise ConversionError(
                f"architecture {arch[:200]!r} is neither a readable .toml file nor a description "
                'such as "input batch time 10; lstm weights=lstm last; dense weights=fc"'
            ) from e
        raise


def _parse_toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise ConversionError(f"{where} is not valid TOML: {e}") from e


_TEXT = (
    "weights", "name", "activation", "recurrent_activation", "take", "approximate", "input", "mode",
)  # fmt: skip
_LISTS = ("inputs", "initial", "final", "shape")  # written a,b,c


def _typed(value: str) -> Any:
    """A value of the short form as TOML would have it."""
    if re.fullmatch(r"[-+]?\d{1,9}", value, re.ASCII):
        return int(value)
    if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", value, re.ASCII | re.IGNORECASE):
        return float(value)
    return {"true": True, "false": False}.get(value.lower(), value)


def _value(key: str, value: str) -> Any:
    if key in _LISTS:
        parts = value.split(",")
        return [_typed(v) for v in parts] if key == "shape" else parts
    return value if key in _TEXT else _typed(value)


def _parse_line(text: str) -> dict[str, Any]:
    model: dict[str, Any] = {}
    inputs: list[tuple[Any, list[str | int]]] = []
    layers: list[dict[str, Any]] = []
    for clause in text.split(";"):
        words = re.sub(r",\s+", ",", clause).split()
        if not words:
            continue
        head, rest = words[0].lower(), words[1:]
        if head == "ignore":
            model.setdefault("ignore", []).extend(rest)
            continue
        entry: dict[str, Any] = {}
        axes: list[str | int] = []
        for word in rest:
            key, equals, value = word.partition("=")
            if equals:
                entry[key] = _value(key, value)
            elif head == "input" and (
                word in (g.BATCH, g.TIME) or re.fullmatch("[0-9]{1,9}", word)
            ):
                axes.append(word if word in (g.BATCH, g.TIME) else int(word))
            elif head == "output":
                model.setdefault("outputs", []).append(word)
            elif word == "last":
                entry["return_sequences"] = False
            else:
                raise ConversionError(f"architecture: '{word}' in '{clause.strip()}' is unknown")
        if head in ("input", "output"):
            if set(entry) - ({"name", "time"} if head == "input" else {"name"}):
                raise ConversionError(f"architecture: '{clause.strip()}' takes name= only")
            if "time" in entry:
                model["time"] = entry["time"]
            if head == "input":
                inputs.append((entry.get("name"), axes))
            elif "name" in entry:
                model["output_name"] = entry["name"]
        else:
            layers.append({"type": words[0], **entry})
    names = [name for name, _ in inputs]
    if len(inputs) > 1:
        if None in names or len(set(names)) < len(names):
            raise ConversionError("architecture: each of several inputs needs a name= of its own")
        model["inputs"] = dict(inputs)
    elif inputs:
        model["input"] = inputs[0][1]
        model |= {} if names == [None] else {"input_name": names[0]}
    return {"model": model, "layer": layers}
