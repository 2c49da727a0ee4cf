"""The core's C files, and what their text says: records, layers, kernels, functions.

Nothing in ``c_src`` has to be registered for an export: what it needs to know is in the sources.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from .items import WORD, code_only, split

C_SOURCES = Path(__file__).resolve().parent.parent / "c_src"


@cache
def read(name: str) -> str:
    """A file of the core, as C alone sees it."""
    text = (C_SOURCES / name).read_text(encoding="utf-8")
    return re.sub(r"#ifdef __cplusplus\n.*?#endif\n", "", text, flags=re.S)


@cache
def files() -> tuple[str, ...]:
    found = (p.relative_to(C_SOURCES).as_posix() for p in C_SOURCES.rglob("*.[ch]"))
    return tuple(sorted(found))


@cache
def kernels() -> dict[str, str]:
    """The function behind each member of a target's table (lstmc_kernels)."""
    table = re.search(
        r"const lstmc_kernels LSTMC_KERNELS = \{(.*?)\};", read("kernels/algorithms.h"), re.S
    )
    functions = WORD.findall(table[1])  # type: ignore[index]
    body = re.search(
        r"typedef struct lstmc_kernels \{(.*?)\} lstmc_kernels;", read("kernels/kernels.h"), re.S
    )
    members = re.findall(r"\b(\w+);|\(\*(\w+)\)", code_only(body[1]))  # type: ignore[index]
    return dict(zip((a or b for a, b in members), functions, strict=True))


@cache
def definitions() -> dict[str, str]:
    """The file of every function that other files may call."""
    found = {}
    for file in files():
        if file.endswith(".c") and not file.startswith("kernels/"):
            for name in re.findall(
                r"^(?!static)\w[\w \*]*?\b(lstmc_\w+)\([^;{]*\{", read(file), re.M
            ):
                found[name] = file
    return found


@dataclasses.dataclass(frozen=True)
class Field:
    """A member of a struct. ``count``: of an array, else 0. ``frozen``: firmware has it too."""

    name: str
    type: str
    pointer: bool
    count: int
    frozen: bool


@cache
def structs() -> dict[str, tuple[Field, ...]]:
    """The members of every struct of the core."""
    found = {}
    for file in files():
        for item in split(read(file), file):
            code = code_only(item.text)
            match = re.search(r"typedef struct \w*\s*\{(.*)\}\s*(\w+);", code, re.S)
            if item.kind == "code" and match:
                found[match[2]] = tuple(_members(match[1]))
    return found


def _members(body: str) -> Iterator[Field]:
    frozen = True
    for line in re.split(r";|^(#.*)$", body, flags=re.M):
        line = " ".join((line or "").split())
        if line.startswith("#"):
            frozen = not line.startswith("#ifndef LSTMC_FROZEN")
        declared = re.match(r"((?:const |struct )*\w+) (.*)", line)
        if not declared or "(" in line or "#" in line:
            continue
        for name in declared[2].split(","):
            shape = re.match(r"(\**)\s*(\w+)(?:\[(\d+)\])?$", name.strip())
            if shape:
                yield Field(shape[2], declared[1], bool(shape[1]), int(shape[3] or 0), frozen)


@dataclasses.dataclass(frozen=True)
class Operations:
    """What the table of a layer (lstmc_layer_ops) names."""

    file: str
    record: str  # its struct
    run: str
    reset: str | None


@cache
def layers() -> dict[int, Operations]:
    """The operations of each layer, by its code in a file."""
    found = {}
    for file in files():
        if not file.startswith("layers/") or not file.endswith(".c"):
            continue
        for body in re.findall(r"const lstmc_layer_ops \w+ = \{(.*?)\};", read(file), re.S):
            facts = dict(re.findall(r"\.(\w+) = (?:sizeof\()?(\w+)", body))
            found[_code(facts["code"])] = Operations(
                file, facts["prepared_size"], facts["run"], facts.get("reset")
            )
    return found


@dataclasses.dataclass(frozen=True)
class TrainOperations:
    """What the table of a layer's training (lstmc_train_ops) names. ``forward`` None: the layer's
    own run; ``runs``: its forward takes that too."""

    file: str
    record: str | None
    forward: str | None
    backward: str
    refresh: str | None
    runs: bool


@cache
def trainings() -> dict[int, TrainOperations]:
    """The operations of each layer's training, by the layer's code."""
    found = {}
    for file in files():
        if not file.startswith("train/") or not file.endswith(".c"):
            continue
        text = read(file)
        for body in re.findall(r"const lstmc_train_ops \w+ = \{(.*?)\};", text, re.S):
            facts = dict(re.findall(r"\.(\w+) = (?:sizeof\()?(\w+)", body))
            if "backward" not in facts:
                continue
            forward = facts.get("forward")
            runs = forward is None or "lstmc_train_run(" in text
            found[_code(facts["code"])] = TrainOperations(
                file, facts.get("prepared_size"), forward, facts["backward"], facts.get("refresh"),
                runs,
            )  # fmt: skip
    return found


def _code(word: str) -> int:
    if word.isdigit():
        return int(word)
    return int(re.search(rf"#define {word} (\d+)u", read("internal.h"))[1])  # type: ignore[index]


@cache
def train_kernels() -> dict[str, str]:
    """The function behind each member of a target's table for training (lstmc_train_kernels)."""
    table = re.search(
        r"const lstmc_train_kernels CAT.*?\{(.*?)\};", read("train/train_algorithms.h"), re.S
    )
    return dict(re.findall(r"\.(\w+) = (\w+)", table[1]))  # type: ignore[index]


def cells(files: tuple[str, ...]) -> dict[tuple[int, int, int], str]:
    """The recurrent cells that files have: {(gates, states, buffers): name}."""
    text = "".join(map(read, files))
    found = re.findall(r"const lstmc_cell (\w+) = \{(\d+), (\d+), (\d+),", text)
    return {(int(a), int(b), int(c)): name for name, a, b, c in found}


def constant(kind: str, files: tuple[str, ...]) -> str:
    """The only constant of that type that files define."""
    plain = kind.replace("struct ", "").removeprefix("const ")
    found = re.findall(rf"^(?:static )?const {plain} (\w+) = ", "".join(map(read, files)), re.M)
    if len(found) != 1:
        raise AssertionError(f"{len(found)} constants of type {plain} in {files}")
    name: str = found[0]
    return name


@cache
def functions() -> list[str]:
    """The elementwise functions by their kinds, as SIGMOID (lstmc_fn_kind)."""
    body = re.search(r"typedef enum lstmc_fn_kind \{(.*?)\}", read("lstmc.h"), re.S)
    return re.findall(r"LSTMC_FN_(\w+) = \d+", code_only(body[1]))[:-1]  # type: ignore[index]
