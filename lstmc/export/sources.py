"""The core's C files, read so that a firmware gets just what it uses of them.

A firmware is one translation unit: every function of the core is static there, and what nothing
refers to is not in its text at all. Nothing in ``c_src`` has to be registered for that: the files
are laid out by clang-format, so top-level items (functions, types, macros) are easily told apart.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

C_SOURCES = Path(__file__).resolve().parent.parent / "c_src"

_COMMENT = re.compile(r'/\*.*?\*/|"(?:[^"\\\n]|\\.)*"', re.S)
_WORD = re.compile(r"[A-Za-z_]\w*")
_PASTED = re.compile(r"([A-Za-z_]\w*)\s*##")
_CONDITION = re.compile(r"#\s*(if|ifdef|ifndef|elif|else|endif)\b(.*)")
#: Macros that say how an item is linked; they and ``static`` are not put before again.
_INTERNAL = ("static", "V_INLINE", "V_FLAT", "V_APART")


@dataclasses.dataclass
class Item:
    """A piece of C at the top level, with the comment before it."""

    text: str
    names: frozenset[str]
    refs: frozenset[str]
    prefixes: frozenset[str]
    kind: str  # "code", "define", "condition", "keep"
    file: str = ""


def _code_only(text: str) -> str:
    return _COMMENT.sub(" ", text)


def _item(text: str, kind: str, file: str) -> Item:
    code = _code_only(text)
    words = frozenset(_WORD.findall(code))
    pasted = frozenset(p for p in (*_PASTED.findall(code), *words) if len(p) > 2 and p[-1] == "_")
    names: frozenset[str] = frozenset()
    if kind == "define":
        names = frozenset(_WORD.findall(code)[1:2])
    elif kind == "code":
        names = frozenset(_names(code))
        if code.lstrip().startswith("typedef struct"):  # members are no references
            words -= set(re.findall(r"(\w+)\s*[;,\[\)]", code)) - names
    return Item(text, names, words, pasted, kind, file)


def _names(code: str) -> Iterator[str]:
    """What an item declares or defines."""
    code = code.strip()
    if found := re.match(
        r"typedef\s+(?:struct|union|enum)\s*(\w*)\s*\{.*\}\s*(\w+)\s*;$", code, re.S
    ):
        yield from filter(None, found.groups())
        if code.startswith("typedef enum"):
            yield from _enumerators(code)
    elif found := re.match(r"typedef\b.*?(\w+)(?:\[\w*\])?;$", code, re.S):
        yield found[1]
    elif code.startswith("enum"):
        yield from _enumerators(code)
    elif (found := re.match(r"(?:struct|union)\s+(\w+)", code)) or (
        found := re.match(r"[\w\s\*]*?\b(\w+)\s*(?:\(|\[|=|;)", code)
    ):
        yield found[1]


def _enumerators(code: str) -> list[str]:
    inside = code[code.index("{") + 1 : code.rindex("}")]
    return [_WORD.findall(part)[0] for part in inside.split(",") if part.strip()]


def _split(text: str, file: str) -> Iterator[Item]:
    """The top-level items of a file, in order."""
    lines = text.split("\n")
    comment = ""
    i = 0
    while i < len(lines):
        line = lines[i]
        if not line.strip():
            comment = ""  # it stands alone
            i += 1
            continue
        start = i
        if line.startswith("/*"):
            while "*/" not in lines[i]:
                i += 1
            i += 1
            if re.search(r"\*/\s*$", lines[i - 1]):
                said = "\n".join(lines[start:i]) + "\n"
                comment = "" if re.match(r"/\* -{5,}", said) else comment + said
                continue
        if line.startswith("#"):
            while lines[i].endswith("\\") or _code_only("\n".join(lines[start : i + 1])).count(
                "/*"
            ):
                i += 1
            i += 1
            piece = "\n".join(lines[start:i]) + "\n"
            if _CONDITION.match(line):
                yield _item(piece, "condition", file)
            elif re.match(r"#\s*define\b", line):
                yield _item(comment + piece, "define", file)
            else:
                yield _item(piece, "keep", file)
            comment = ""
            continue
        depth = 0
        while True:
            code = _code_only(lines[i])
            depth += code.count("{") - code.count("}") + code.count("(") - code.count(")")
            done = depth <= 0 and re.search(r"(;|\})\s*$", code.rstrip())
            call = i == start and re.fullmatch(r"[A-Z]\w*\([^;{]*\)\s*", code)
            i += 1
            if done or call:
                break
        yield _item(comment + "\n".join(lines[start:i]) + "\n", "code", file)
        comment = ""


@cache
def _read(name: str) -> str:
    """A file of the core, as C alone sees it."""
    text = (C_SOURCES / name).read_text(encoding="utf-8")
    return re.sub(r"#ifdef __cplusplus\n.*?#endif\n", "", text, flags=re.S)


@cache
def _files() -> tuple[str, ...]:
    found = (p.relative_to(C_SOURCES).as_posix() for p in C_SOURCES.rglob("*.[ch]"))
    return tuple(sorted(found))


class Unit:
    """The text of one translation unit, put together from files of the core.

    ``defined``: macros whose conditions are decided here (a firmware always has LSTMC_FROZEN);
    ``undefined``: those that are not defined. ``functions``: the elementwise functions there are
    (as SIGMOID); cases of others are left out.
    """

    def __init__(
        self, defined: Iterable[str], undefined: Iterable[str] = (), functions: Iterable[str] = ()
    ) -> None:
        self.functions = frozenset(functions)
        self.decided = dict.fromkeys(undefined, False) | dict.fromkeys(defined, True)
        self.items: list[Item] = []
        self.included: set[str] = set()
        self.system: list[str] = []
        self.instead: dict[str, str] = {}
        self.depth = 0  # of conditions left to the compiler

    def add(self, name: str) -> None:
        """Append a file with all that it includes and that is not there yet."""
        text = _read(name)
        guard = re.search(r"^#ifndef (LSTMC_(?:\w+_)?H)\n#define \1\n", text, re.M)
        if name in self.included and (guard or name.endswith(".c")):
            return
        self.included.add(name)
        if guard:
            text = text.replace(guard[0], "", 1)
            text = text[: text.rindex("#endif")]
        first = len(self.items)
        self._append_text(text, name)
        if name in _WHOLE:
            self.items[first:] = [_together(self.items[first:], _WHOLE[name])]

    def add_kernels(self, targets: Iterable[str]) -> None:
        """Append the kernels, over the vectors of the first of these targets that the compiler has.

        The last one is the scalar target, which every compiler has.
        """
        for name in ("soft_fma.h", "soft_sqrt.h", "kernels.h"):
            self.add(f"kernels/{name}")
        before, after = {}, {}
        for target in targets:
            text = _read(f"kernels/{target}.c")
            macro = f"LSTMC_HAVE_{target.upper()}"
            inner = re.search(rf"^#if {macro}\n(.*)^#else\n.*?^#endif\n", text, re.M | re.S)
            inside = inner[1] if inner else text
            before[target], after[target] = inside.split('#include "algorithms.h"\n')
        self._choose(before)
        self.add("kernels/algorithms.h")
        self._choose(after)

    def _choose(self, texts: Mapping[str, str]) -> None:
        word = "#if"
        for target, text in texts.items():
            if len(texts) > 1:
                asked = f"{word} {_COMPILED_FOR[target]}\n" if target != "scalar" else "#else\n"
                self.items.append(_item(asked, "condition", ""))
                self.depth += word == "#if"
                word = "#elif"
            self._append_text(text, f"kernels/{target}.c")
        if len(texts) > 1:
            self.items.append(_item("#endif\n", "condition", ""))
            self.depth -= 1

    def add_text(self, text: str) -> None:
        """Append C of the caller's, kept as it is."""
        item = _item(text, "keep", "")
        self.items.append(item)

    def _append_text(self, text: str, name: str) -> None:
        for item in _split(self._decide(text, name), name):
            if item.kind == "condition":
                self.depth += {"#if": 1, "#en": -1}.get(item.text[:3], 0)
            self._append(item, name)

    def _append(self, item: Item, name: str) -> None:
        if item.kind == "code":
            for other in item.names & self.instead.keys():
                item = _item(self.instead[other], "code", name)
        if item.kind == "code" and ("LSTMC_KERNEL(" in item.text or "case LSTMC_FN_" in item.text):
            item = _item(self._without_cases(_direct(item.text)), item.kind, name)
        if item.kind == "keep" and item.text.startswith("#include"):
            given = item.text.split()[1]
            if given.startswith("<"):
                if self.depth:
                    self.items.append(item)
                elif given not in self.system:
                    self.system.append(given)
                return
            self.add(_joined(name, given.strip('"')))
        else:
            self.items.append(item)

    def _known(self, rest: str) -> bool | None:
        """Whether the macro that a condition asks for is defined; None: the compiler knows."""
        macro = re.fullmatch(r"\s*(?:defined\()?(\w+)\)?\s*(?:/\*.*)?", rest)
        return self.decided.get(macro[1]) if macro else None

    def _decide(self, text: str, name: str) -> str:
        """A file's text without what conditions on decided macros leave out."""
        stack: list[list[bool]] = []  # open conditions that are decided: [taken now, taken before]
        left: list[bool] = []  # of each open one: left to the compiler
        out = []
        for line in text.split("\n"):
            here = all(taken for taken, _ in stack)
            found = _CONDITION.match(line)
            if not found:
                if here:
                    out.append(line)
                continue
            word, rest = found.groups()
            if word in ("if", "ifdef", "ifndef"):
                known = self._known(rest)
                left.append(known is None)
                if known is not None:
                    taken = known == (word != "ifndef")
                    stack.append([taken, taken])
                elif here:
                    out.append(line)
            elif left[-1]:
                if word == "endif":
                    left.pop()
                if here:
                    out.append(line)
            elif word == "endif":
                left.pop()
                stack.pop()
            else:
                known = True if word == "else" else self._known(rest)
                if known is None:
                    raise AssertionError(f"{name}: #elif asks what can't be decided: {line}")
                stack[-1][0] = known and not stack[-1][1]
                stack[-1][1] |= stack[-1][0]
        return "\n".join(out)

    def _without_cases(self, text: str) -> str:
        """A switch over functions without those that are not there."""
        kept, block, out = True, False, []
        for line in text.split("\n"):
            if case := re.match(r"    case LSTMC_FN_(\w+):", line):
                kept, block = case[1] in self.functions, line.endswith("{")
            elif re.match(r"    (default:|\})", line) and not block:
                kept = True
            if kept:
                out.append(line)
            if line.startswith("    }"):
                block = False
        return "\n".join(out)

    def replace(self, name: str, text: str) -> None:
        """Have ``name`` declared by another text."""
        self.instead[name] = text

    def complete(self, roots: Iterable[str]) -> str:
        """:meth:`used`, with all files that define what is used."""
        while True:
            text, seen = self.used(roots)
            missing = {_definitions()[n] for n in seen if n in _definitions()} - self.included
            if not missing:
                return text
            for name in sorted(missing):
                self.add(name)

    def used(self, roots: Iterable[str]) -> tuple[str, set[str]]:
        """The text of what the roots and all kept items refer to, and the names of that.

        Everything is static.
        """
        by_name: dict[str, list[Item]] = {}
        for item in self.items:
            for name in item.names:
                by_name.setdefault(name, []).append(item)
        wanted: set[int] = set()
        seen: set[str] = set()
        todo = list(roots)
        for item in self.items:
            if item.kind in ("keep", "condition") or not item.names:
                todo += item.refs
        prefixes: set[str] = set()
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            for item in by_name.get(name, ()):
                if id(item) in wanted:
                    continue
                wanted.add(id(item))
                todo += item.refs
                for prefix in item.prefixes - prefixes:
                    prefixes.add(prefix)
                    todo += [n for n in by_name if n.startswith(prefix)]
        kept = [
            x
            for x in self.items
            if id(x) in wanted or (x.kind != "code" and x.kind != "define") or not x.names
        ]
        kept = _without_empty(kept)
        text = "".join(f"#include {x}\n" for x in self.system) + "".join(
            "\n" + _static(x) if x.kind == "code" else x.text for x in kept
        )
        return text, seen


#: What a compiler says when it may use a target's instructions.
_COMPILED_FOR = {
    "avx2": "defined(__AVX2__) && defined(__FMA__)",
    "neon": "defined(__aarch64__)",
    "helium": "defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)",
}

#: Files whose functions are made by macros: taken whole or not at all, for the sake of these.
_WHOLE = {
    "kernels/matmul.h": ("matmul",),
    "kernels/fused.h": ("lstm_row", "lstm_rows", "gru_fused_row", "gru_fused_rows"),
}


def _together(items: list[Item], names: Iterable[str]) -> Item:
    """Items as one, which defines these names."""
    refs = frozenset[str]().union(*(x.refs for x in items))
    prefixes = frozenset(p for x in items for p in x.prefixes if p.isupper())
    text = "".join("\n" + x.text if x.kind == "code" else x.text for x in items)
    return Item(text, frozenset(names), refs, prefixes, "code", items[0].file)


@cache
def kernels() -> dict[str, str]:
    """The function behind each member of a target's table (lstmc_kernels)."""
    table = re.search(
        r"const lstmc_kernels LSTMC_KERNELS = \{(.*?)\};", _read("kernels/algorithms.h"), re.S
    )
    functions = _WORD.findall(table[1])  # type: ignore[index]
    body = re.search(
        r"typedef struct lstmc_kernels \{(.*?)\} lstmc_kernels;", _read("kernels/kernels.h"), re.S
    )
    members = re.findall(r"\b(\w+);|\(\*(\w+)\)", _code_only(body[1]))  # type: ignore[index]
    return dict(zip((a or b for a, b in members), functions, strict=True))


def _direct(text: str) -> str:
    """Kernels called by name instead of through a table."""

    def name(match: re.Match[str]) -> str:
        return f"{kernels()[match[1]]}("

    names = "|".join(kernels())
    return re.sub(rf"LSTMC_KERNEL\(.*?,\s+({names}),\s+", name, text, flags=re.S)


@cache
def _definitions() -> dict[str, str]:
    """The file of every function that other files may call."""
    found = {}
    for file in _files():
        if file.endswith(".c") and not file.startswith("kernels/"):
            for name in re.findall(
                r"^(?!static)\w[\w \*]*?\b(lstmc_\w+)\([^;{]*\{", _read(file), re.M
            ):
                found[name] = file
    return found


def _joined(name: str, given: str) -> str:
    """The file that ``name`` includes as ``given``."""
    path = (C_SOURCES / name).parent / given
    return path.resolve().relative_to(C_SOURCES).as_posix()


def _without_empty(items: list[Item]) -> list[Item]:
    """Without conditions that have nothing left in them."""
    while True:
        kept: list[Item] = []
        for item in items:
            closing = item.kind == "condition" and item.text.startswith("#endif")
            if closing:
                back = len(kept) - 1
                while (
                    back >= 0
                    and kept[back].kind == "condition"
                    and not kept[back].text.startswith(("#if", "#endif"))
                ):
                    back -= 1
                if (
                    back >= 0
                    and kept[back].kind == "condition"
                    and kept[back].text.startswith("#if")
                ):
                    del kept[back:]
                    continue
            kept.append(item)
        if len(kept) == len(items):
            return kept
        items = kept


def _static(item: Item) -> str:
    """A function's declaration or definition with internal linkage; anything else as it is."""
    comment, code = "", item.text
    while code.startswith("/*"):
        end = code.index("*/") + 2
        end = code.index("\n", end) + 1
        comment, code = comment + code[:end], code[end:]
    first = code.split(None, 1)[0]
    is_function = re.match(r"[\w\s\*]+?\b\w+\s*\(", code) and not re.match(r"[A-Z]\w*\(", code)
    if item.names >= {"matmul"} or "lstm_row" in item.names:
        return item.text.lstrip("\n")
    if (
        first in _INTERNAL
        or first in ("typedef", "enum", "struct", "union", "extern")
        or not is_function
    ):
        return comment + code
    return f"{comment}static {code}"


# ---------------------------------------------------------------------------------------- records


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
    for file in _files():
        for item in _split(_read(file), file):
            code = _code_only(item.text)
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
    for file in _files():
        if not file.startswith("layers/") or not file.endswith(".c"):
            continue
        for body in re.findall(r"const lstmc_layer_ops \w+ = \{(.*?)\};", _read(file), re.S):
            facts = dict(re.findall(r"\.(\w+) = (?:sizeof\()?(\w+)", body))
            code = facts["code"]
            if not code.isdigit():
                code = re.search(rf"#define {code} (\d+)u", _read("internal.h"))[1]  # type: ignore[index]
            found[int(code)] = Operations(
                file, facts["prepared_size"], facts["run"], facts.get("reset")
            )
    return found


def cells(file: str) -> dict[tuple[int, int, int], str]:
    """The recurrent cells that a layer's file has: {(gates, states, buffers): name}."""
    found = re.findall(r"const lstmc_cell (\w+) = \{(\d+), (\d+), (\d+),", _read(file))
    return {(int(a), int(b), int(c)): name for name, a, b, c in found}


@cache
def functions() -> list[str]:
    """The elementwise functions by their kinds, as SIGMOID (lstmc_fn_kind)."""
    body = re.search(r"typedef enum lstmc_fn_kind \{(.*?)\}", _read("lstmc.h"), re.S)
    return re.findall(r"LSTMC_FN_(\w+) = \d+", _code_only(body[1]))[:-1]  # type: ignore[index]
