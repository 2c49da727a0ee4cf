"""One translation unit out of the core's files: all static, and only what is used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from . import sources
from .items import CONDITION, Item, code_only, make_item, split

#: What a compiler says when it may use a target's instructions.
_COMPILED_FOR = {
    "avx2": "defined(__AVX2__) && defined(__FMA__)",
    "neon": "defined(__aarch64__)",
    "helium": "defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)",
}

_NOT_STATIC = ("static", "typedef", "enum", "struct", "union", "extern")

#: Files whose functions are made by macros: taken whole or not at all, for the sake of these.
_WHOLE = {
    "kernels/matmul.h": ("matmul",),
    "kernels/fused.h": ("lstm_row", "lstm_rows", "gru_fused_row", "gru_fused_rows"),
    "train/gemm.h": ("train_gemm",),
}
_MADE_BY_MACROS = (*_WHOLE, "kernels/gate_tiles.h")


class Unit:
    """The text of one translation unit, put together from files of the core.

    ``defined``: macros whose conditions are decided here (a firmware always has LSTMC_FROZEN);
    ``undefined``: those that are not defined. ``functions``: the elementwise functions there are
    (as SIGMOID); cases of others are left out, and of losses and optimizers those that are not
    among ``kinds`` (as LSTMC_LOSS_MSE).
    """

    def __init__(
        self,
        defined: Iterable[str],
        undefined: Iterable[str] = (),
        functions: Iterable[str] = (),
        kinds: Iterable[str] = (),
    ) -> None:
        self.functions = frozenset(functions)
        self.cases = {f"LSTMC_FN_{name}" for name in functions} | set(kinds)
        self.decided = dict.fromkeys(undefined, False) | dict.fromkeys(defined, True)
        self.items: list[Item] = []
        self.included: set[str] = set()
        self.system: list[str] = []
        self.instead: dict[str, str] = {}
        self.depth = 0  # of conditions left to the compiler

    def add(self, name: str) -> None:
        """Append a file with all that it includes and that is not there yet."""
        text = sources.read(name)
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
            self.items[first:] = [
                _together(x, _WHOLE[name]) if x.file in _MADE_BY_MACROS else x
                for x in self.items[first:]
            ]

    def add_kernels(self, targets: Iterable[str], training: bool = False) -> None:
        """Append the kernels, over the vectors of the first of these targets that the compiler has.

        The last one is the scalar target, which every compiler has.
        """
        for name in ("soft_fma.h", "soft_sqrt.h", "kernels.h"):
            self.add(f"kernels/{name}")
        before, after = {}, {}
        for target in targets:
            text = sources.read(f"kernels/{target}.c")
            macro = f"LSTMC_HAVE_{target.upper()}"
            inner = re.search(rf"^#if {macro}\n(.*)^#else\n.*?^#endif\n", text, re.M | re.S)
            inside = inner[1] if inner else text
            before[target], after[target] = inside.split('#include "algorithms.h"\n')
        self._choose(before)
        self.add("kernels/algorithms.h")
        if training:
            self.add("train/train_algorithms.h")
        self._choose(after)

    def _choose(self, texts: Mapping[str, str]) -> None:
        word = "#if"
        for target, text in texts.items():
            if len(texts) > 1:
                asked = f"{word} {_COMPILED_FOR[target]}\n" if target != "scalar" else "#else\n"
                self.items.append(make_item(asked, "condition", ""))
                self.depth += word == "#if"
                word = "#elif"
            self._append_text(text, f"kernels/{target}.c")
        if len(texts) > 1:
            self.items.append(make_item("#endif\n", "condition", ""))
            self.depth -= 1

    def add_text(self, text: str) -> None:
        """Append C of the caller's, kept as it is."""
        item = make_item(text, "keep", "")
        self.items.append(item)

    def _append_text(self, text: str, name: str) -> None:
        for item in split(self._decide(text, name), name):
            if item.kind == "condition":
                self.depth += {"#if": 1, "#en": -1}.get(item.text[:3], 0)
            self._append(item, name)

    def _append(self, item: Item, name: str) -> None:
        if item.kind == "code":
            for other in item.names & self.instead.keys():
                item = make_item(self.instead[other], "code", name)
        if item.kind == "code" and re.search(
            r"LSTMC_(TRAIN_)?KERNEL\(|case LSTMC_(FN|LOSS|OPTIMIZER)_", item.text
        ):
            text = self._without_cases(_direct(item.text))
            item = make_item(_with_all_used(text), item.kind, name)
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
        if "||" not in rest and any(
            self.decided.get(name) is False for name in re.findall(r"(?<!\(|!|\w)(\w+)", rest)
        ):
            return False
        macro = re.fullmatch(r"\s*(?:defined\()?(\w+)\)?\s*(?:/\*.*)?", rest)
        return self.decided.get(macro[1]) if macro else None

    def _decide(self, text: str, name: str) -> str:
        """A file's text without what conditions on decided macros leave out."""
        stack: list[list[bool]] = []  # open conditions that are decided: [taken now, taken before]
        left: list[bool] = []  # of each open one: left to the compiler
        out = []
        for line in text.split("\n"):
            here = all(taken for taken, _ in stack)
            found = CONDITION.match(line)
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
        lines = text.split("\n")
        label = re.compile(r"    case (LSTMC_(?:FN|LOSS|OPTIMIZER)_\w+):")
        for i, line in enumerate(lines):
            if case := label.match(line):
                # One of several labels of the same statements stays as long as any of them does.
                joined = i > 0 and label.fullmatch(lines[i - 1])
                group, j = [case[1]], i
                while label.fullmatch(lines[j]) and (after := label.match(lines[j + 1])):
                    group.append(after[1])
                    j += 1
                kept = bool(self.cases & set(group)) or bool(joined and kept)
                block = line.endswith("{")
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
            here = self.inline()
            missing = {
                sources.definitions()[n] for n in seen - here if n in sources.definitions()
            } - self.included
            if not missing:
                return text
            for name in sorted(missing):
                self.add(name)

    def inline(self) -> set[str]:
        """The functions that are defined in headers."""
        return {
            name
            for item in self.items
            if item.kind == "code" and item.file.endswith(".h") and "{" in item.text
            for name in item.names
        }

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


def _together(item: Item, names: tuple[str, ...]) -> Item:
    """An item that is wanted for the sake of any of these names."""
    if item.kind == "condition":
        return item
    kind = "code" if item.kind == "code" else "define"
    prefixes = frozenset(p for p in item.prefixes if p.isupper())
    return Item(item.text, frozenset(names), item.refs, prefixes, kind, item.file)


def _direct(text: str) -> str:
    """Kernels called by name instead of through a table."""

    def name(match: re.Match[str]) -> str:
        return f"{sources.kernels()[match[1]]}("

    names = "|".join(sources.kernels())
    text = re.sub(rf"LSTMC_KERNEL\(.*?,\s+({names}),\s+", name, text, flags=re.S)
    if "LSTMC_TRAIN_KERNEL(" not in text:
        return text
    names = "|".join(sources.train_kernels())
    return re.sub(
        rf"LSTMC_TRAIN_KERNEL\(.*?,\s+({names}),\s+",
        lambda match: f"{sources.train_kernels()[match[1]]}(",
        text,
        flags=re.S,
    )


def _with_all_used(text: str) -> str:
    """A function of whose body parts were left out, so that no compiler warns of what is left:
    without constants that only those parts used; parameters of theirs are cast to void."""
    start = re.search(r"\) \{\n", text)
    if not start:
        return text
    head, body = text[: start.end()], text[start.end() :]

    def declared(match: re.Match[str]) -> str:
        kept = [x for x in re.split(r", (?=\w+ = )", match[2]) if uses(x.split(" = ")[0]) > 1]
        return f"{match[1]}{', '.join(kept)};\n" if kept else ""

    def uses(name: str) -> int:
        return len(re.findall(rf"(?<![.>])\b{name}\b", code_only(body)))

    body = re.sub(r"^(    const v_f32 )(\w+ = .*);\n", declared, body, flags=re.M)
    parameters = re.findall(r"(\w+)(?:,|\) \{)", code_only(head))
    unused = "".join(f"    (void){p};\n" for p in parameters if not uses(p))
    return head + unused + body


def _joined(name: str, given: str) -> str:
    """The file that ``name`` includes as ``given``."""
    path = (sources.C_SOURCES / name).parent / given
    return path.resolve().relative_to(sources.C_SOURCES).as_posix()


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
    if item.file in _MADE_BY_MACROS:
        return item.text
    if first in _NOT_STATIC or first.isupper() or not is_function:  # V_INLINE says static itself
        return comment + code
    return f"{comment}static {code}"
