"""Who calls whom in C: GCC's call graph, with calls through pointers resolved by the sources."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from lstmc.export import sources
from lstmc.export.items import code_only

# What calls that begin so can't reach, though a member of that name points there elsewhere.
NOT_BEHIND = {
    # A layer's own record has its own cell; the copy that has another one is called by way of r.
    "t->m.cell->step(": r"keeping_advance",
    # The operations of layers; those of training have a member of this name too.
    "lstmc_layer_find(": r"train_\w+",
}


def read(compiled: Path, texts: Iterable[Path]) -> dict[str, set[str]]:
    """From the .ci files of -fcallgraph-info in a directory: callers with what they call, functions
    by name, those of one file as file:name. An AssertionError names a call through a pointer that
    no table, initialiser or argument explains."""
    edges: list[tuple[str, str, str]] = []
    for path in compiled.glob("*.ci"):
        edges += re.findall(
            r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)" label: "([^"]+)"',
            path.read_text(),
        )
        edges += [(n, "", "") for n in re.findall(r'node: \{ title: "([^"]+)"', path.read_text())]
    graph: dict[str, set[str]] = {}
    for caller, _, _ in edges:
        graph.setdefault(caller, set())
    by_name: dict[str, set[str]] = {}
    for title in graph:
        by_name.setdefault(title.rsplit(":", 1)[-1], set()).add(title)
    pointers = _pointers([code_only(p.read_text()) for p in texts], by_name)
    for caller, callee, where in edges:
        if callee == "__indirect_call":
            for name in _behind(where, pointers, by_name):
                graph[caller] |= by_name[name]
        elif callee:
            graph[caller].add(callee)
    return graph


def _pointers(texts: list[str], functions: dict[str, set[str]]) -> dict[str, set[str]]:
    """The functions that members and parameters of a name point to."""
    found: dict[str, set[str]] = {}
    for member, kernel in sources.kernels().items():
        if kernel in functions:
            found.setdefault(member, set()).add(kernel)
    members = {
        name: re.findall(r"\(\*(\w+)\)", body)
        for text in texts
        for body, name in re.findall(r"typedef struct \w+ \{([^{}]*)\} (\w+);", text)
    }
    for text in texts:
        for kind, values in re.findall(r"\b(\w+) \w+ = \{([^{}.]*)\}", text):
            named = [word for word in re.findall(r"\w+", values) if word in functions]
            for member, function in zip(members.get(kind, ()), named, strict=False):
                found.setdefault(member, set()).add(function)
        given = re.findall(r"\.(\w+) = &?(\w+)\b", text)
        for call in re.findall(r"\blstmc_(?:for|run)_parts\(([^;{]*)\)", text):
            given += [("body", word) for word in re.findall(r"\w+", call)]
        for member, function in given:
            if function in functions:
                found.setdefault(member, set()).add(function)
    return found


def _behind(where: str, pointers: dict[str, set[str]], functions: dict[str, set[str]]) -> set[str]:
    """What the call at file:line:column through a pointer may reach."""
    file, line, column = re.sub(r"\w+/\.\./", "", where).rsplit(":", 2)
    rest = "\n".join(Path(file).read_text().split("\n")[int(line) - 1 :])[int(column) - 1 :]
    call = rest[: rest.index(";")]
    if "parallel->run(" in call:  # a host runs what it is given
        names = {word for word in re.findall(r"\w+", call) if word in functions}
    elif kernel := re.match(r"LSTMC_(?:TRAIN_)?KERNEL\(.*?,\s+(\w+),\s", call, re.S):
        names = pointers.get(kernel[1], set())
    else:
        called = [word for word in re.findall(r"(\w+)\(", call) if word in pointers]
        names = pointers[called[0]] if called else set()
    for start, others in NOT_BEHIND.items():
        if call.startswith(start):
            names = {name for name in names if not re.fullmatch(others, name)}
    assert names, f"{where}: what does this call? {call}"
    return names


def cycle(graph: dict[str, set[str]]) -> list[str] | None:
    """A path that comes back, or None."""
    done: set[str] = set()
    for start in sorted(graph):
        path, stack = [start], [iter(sorted(graph[start]))]
        while stack and start not in done:
            following = next(stack[-1], None)
            if following is None:
                done.add(path.pop())
                stack.pop()
            elif following in path:
                return [*path[path.index(following) :], following]
            elif following not in done:
                path.append(following)
                stack.append(iter(sorted(graph.get(following, ()))))
    return None
