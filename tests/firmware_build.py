"""Exported models as compiled: how big their code is, who calls whom, how deep their stack goes.

GCC says who calls whom and what each function takes of the stack (-fcallgraph-info=su), after it
has inlined what it inlines; `nm` and `size` say the bytes.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from helpers import run_program

from lstmc import presets
from lstmc.export.items import code_only, split
from lstmc.presets import Preset

#: The presets whose compilers the tests have.
CHIPS = tuple(p for p in presets.PRESETS.values() if p.tested and p.name != "host")
SMALL = ("-std=c99", "-Os")
INDIRECT = "__indirect_call"
#: Where a C library's headers are, for compilers without one of their own.
LIBRARY = {"riscv64-unknown-elf-gcc": ("--specs=picolibc.specs",)}
#: What an exported model may call that it does not define, without an FPU too.
ALLOWED = r"memcpy|memset|memmove|__\w+"


def skip_without(preset: Preset) -> None:
    if shutil.which(preset.compiler) is None:
        pytest.skip(f"no {preset.compiler} here")


def version(preset: Preset) -> str:
    return run_program([preset.compiler, "--version"]).stdout.splitlines()[0]


@dataclasses.dataclass
class Function:
    """``size`` of its code, ``stack`` of its frame, in bytes; ``calls``: the names of functions."""

    size: int = 0
    stack: int = 0
    calls: set[str] = dataclasses.field(default_factory=set)


@dataclasses.dataclass
class Object:
    """A compiled file. Sizes in bytes: ``code`` is what can be run, ``constants`` what is read
    only, ``variables`` the rest. ``symbols``: {name: (kind of nm, size)}."""

    code: int
    constants: int
    variables: int
    symbols: dict[str, tuple[str, int]]
    undefined: set[str]
    functions: dict[str, Function]

    def longest(self, root: str) -> int:
        """Bytes of stack from a function on, at most. What is undefined counts nothing."""
        return longest({n: (f.stack, f.calls) for n, f in self.functions.items()}, root)

    def reached(self, root: str) -> set[str]:
        """Functions that run when this one does, itself among them."""
        found, todo = set[str](), [root]
        while todo:
            name = todo.pop()
            if name not in found and name in self.functions:
                found.add(name)
                todo += self.functions[name].calls
        return found


def longest(graph: Mapping[str, tuple[int, Iterable[str]]], root: str) -> int:
    """The heaviest path; ValueError, with the path, if a function calls itself."""
    known: dict[str, int] = {}
    path: list[str] = []

    def walk(name: str) -> int:
        if name in path:
            raise ValueError(f"recursion: {' -> '.join([*path[path.index(name) :], name])}")
        if name not in known:
            path.append(name)
            stack, calls = graph.get(name, (0, ()))
            known[name] = stack + max(map(walk, sorted(calls)), default=0)
            path.pop()
        return known[name]

    return walk(root)


def compiled(
    source: Path, preset: Preset, flags: Sequence[str] = SMALL, text: str | None = None
) -> Object:
    """``source`` as an object. ``text``: what may take addresses of functions, else the file and
    NAME_core.h beside it."""
    skip_without(preset)
    built = source.with_suffix(".o")
    measure = ("-fcallgraph-info=su", "-dumpdir", f"{source.parent}/")
    command = [preset.compiler, *LIBRARY.get(preset.compiler, ()), *preset.flags, *flags, *measure]
    run_program([*command, "-c", str(source), "-o", str(built)])
    graph = next(source.parent.glob(f"{source.stem}*.ci"))
    if text is None:
        core = source.with_name(f"{source.stem}_core.h")
        text = core.read_text() + source.read_text()
    functions = _functions(graph.read_text(), text)
    graph.unlink()
    prefix = preset.compiler.removesuffix("gcc")
    sections = _sections(run_program([f"{prefix}size", "-A", str(built)]).stdout)
    symbols, undefined = _symbols(run_program([f"{prefix}nm", "-S", str(built)]).stdout)
    for name, (kind, size) in symbols.items():
        if kind in "tT" and name in functions:
            functions[name].size = size
    return Object(**sections, symbols=symbols, undefined=undefined, functions=functions)


def library_bytes(built: Path, preset: Preset) -> int:
    """What the compiler's own helpers take, floats without an FPU and the like, of an object.

    Less by what RISC-V's linker makes shorter."""
    program, prefix = built.with_suffix(".elf"), preset.compiler.removesuffix("gcc")
    linking = ("-nostdlib", "-Wl,--entry=net_step", "-Wl,--unresolved-symbols=ignore-all")
    command = [preset.compiler, *LIBRARY.get(preset.compiler, ()), *preset.flags, *linking]
    run_program([*command, "-Wl,-w", str(built), "-lgcc", "-o", str(program)])
    whole, own = (
        _sections(run_program([f"{prefix}size", "-A", str(path)]).stdout)
        for path in (program, built)
    )
    return max(sum(whole[key] - own[key] for key in ("code", "constants")), 0)


def _sections(text: str) -> dict[str, int]:
    found = {"code": 0, "constants": 0, "variables": 0}
    for name, size in re.findall(r"^(\.\S+)\s+(\d+)\s+\d+$", text, re.M):
        if name.startswith(".text"):
            found["code"] += int(size)
        elif re.match(r"\.(s?rodata|ARM\.ex)", name):
            found["constants"] += int(size)
        elif re.match(r"\.s?(data|bss)", name):
            found["variables"] += int(size)
        else:
            assert re.match(r"\.(comment|note|\w+\.|debug|eh_|persist|noinit|tbss|stack)", name), (
                name
            )
    return found


def _symbols(text: str) -> tuple[dict[str, tuple[str, int]], set[str]]:
    defined = {
        name: (kind, int(size, 16))
        for size, kind, name in re.findall(r"^\w+ (\w+) (\w) ([\w.]+)$", text, re.M)
    }
    return defined, set(re.findall(r"^ +U (\S+)$", text, re.M))


def _functions(graph: str, text: str) -> dict[str, Function]:
    made: dict[str, Function] = {}
    for title, label in re.findall(r'^node: \{ title: "([^"]+)" label: "([^"]*)"', graph, re.M):
        stack = re.search(r"(\d+) bytes \((\w+)\)", label)
        if stack:
            assert stack[2] == "static", label  # a frame of constant size
            made[_name(title)] = Function(stack=int(stack[1]))
    for source, target in re.findall(r'sourcename: "([^"]+)" targetname: "([^"]+)"', graph):
        made[_name(source)].calls.add(_name(target))
    by_type = dict(_by_type(text))
    for name, function in made.items():
        if INDIRECT in function.calls:
            function.calls.remove(INDIRECT)
            function.calls |= _callees(text, name, made, by_type)
    return made


def _name(title: str) -> str:
    return title.rsplit(":", 1)[-1]


def plain(name: str) -> str:
    """A function's name without what GCC appends to those of copies."""
    return name.split(".")[0]


def _parameters(text: str) -> str:
    """The types of parameters, as one string."""
    plain = text.replace("struct ", "")
    return ",".join(re.sub(r"\s*\b\w+$", "", " ".join(p.split())) for p in plain.split(","))


def _by_type(text: str) -> Iterator[tuple[str, set[str]]]:
    """The functions whose addresses are taken, by the types of their parameters."""
    defined = dict(
        re.findall(r"^(?!typedef)\w[\w \*]*?\b(\w+)\(([^()]*)\) \{", code_only(text), re.M)
    )
    found: dict[str, set[str]] = {}
    for name, given in defined.items():
        if re.search(rf"(?<![\w.>])(?:&\s*)?{name}\b(?!\s*\()", code_only(text)):
            found.setdefault(_parameters(given), set()).add(name)
    yield from found.items()


def _callees(
    text: str, name: str, made: Mapping[str, Function], by_type: Mapping[str, set[str]]
) -> set[str]:
    """Where a function's calls through pointers may go: to functions of a pointer's type whose
    addresses are taken. The pointers' types are those of all pointers declared in the text."""
    pointers = {
        pointer: _parameters(" ".join(given.split()))
        for pointer, given in re.findall(r"\(\*(\w+)\)\(([^()]*)\)", code_only(text))
    }
    bodies = {}
    for item in split(text, ""):
        for n in item.names:
            if item.kind == "code" and re.search(rf"\b{n}\([^;]*?\) \{{", code_only(item.text)):
                bodies[n] = code_only(item.text)
    # What was inlined into it calls too: take every pointer that it or the functions that are
    # gone name in calls.
    gone = [b for n, b in bodies.items() if n not in {plain(m) for m in made}]
    calling = [bodies.get(plain(name), ""), *gone]
    types = {
        t
        for pointer, t in pointers.items()
        if any(re.search(rf"(?:->|\.|\b){pointer}\(", body) for body in calling)
    }
    targets = {f for t in types for f in by_type.get(t, ())}
    found = {m for m in made if plain(m) in targets}
    assert found, f"{name} calls through a pointer, but nothing is known of where to"
    return found
