"""C text as its top-level items: functions, types, macros, conditions.

The core's files are laid out by clang-format, so a top-level item begins in the first column and
ends with a line whose brackets are closed.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

_COMMENT = re.compile(r'/\*.*?\*/|"(?:[^"\\\n]|\\.)*"', re.S)
WORD = re.compile(r"[A-Za-z_]\w*")
_PASTED = re.compile(r"([A-Za-z_]\w*)\s*##")
CONDITION = re.compile(r"#\s*(if|ifdef|ifndef|elif|else|endif)\b(.*)")


@dataclasses.dataclass
class Item:
    """A piece of C at the top level, with the comment before it."""

    text: str
    names: frozenset[str]
    refs: frozenset[str]
    prefixes: frozenset[str]
    kind: str  # "code", "define", "condition", "keep"
    file: str = ""


def code_only(text: str) -> str:
    return _COMMENT.sub(" ", text)


def make_item(text: str, kind: str, file: str) -> Item:
    code = code_only(text)
    words = frozenset(WORD.findall(code))
    pasted = frozenset(p for p in (*_PASTED.findall(code), *words) if len(p) > 2 and p[-1] == "_")
    names: frozenset[str] = frozenset()
    if kind == "define":
        names = frozenset(WORD.findall(code)[1:2])
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
    return [WORD.findall(part)[0] for part in inside.split(",") if part.strip()]


def split(text: str, file: str) -> Iterator[Item]:
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
            while lines[i].endswith("\\") or code_only("\n".join(lines[start : i + 1])).count("/*"):
                i += 1
            i += 1
            piece = "\n".join(lines[start:i]) + "\n"
            if CONDITION.match(line):
                yield make_item(piece, "condition", file)
            elif re.match(r"#\s*define\b", line):
                yield make_item(comment + piece, "define", file)
            else:
                yield make_item(piece, "keep", file)
            comment = ""
            continue
        depth = 0
        while True:
            code = code_only(lines[i])
            depth += code.count("{") - code.count("}") + code.count("(") - code.count(")")
            done = depth <= 0 and re.search(r"(;|\})\s*$", code.rstrip())
            call = i == start and re.fullmatch(r"[A-Z]\w*\([^;{]*\)\s*", code)
            i += 1
            if done or call:
                break
        yield make_item(comment + "\n".join(lines[start:i]) + "\n", "code", file)
        comment = ""
