"""Graphs within graphs: what a name means there, and what a graph takes from the one around it.

Nodes of a branch or of a loop's body see the tensors of the graph around it; a name of their own
hides an outer one. Source: https://onnx.ai/onnx/repo-docs/IR.html.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lstmc.errors import ConversionError, FormatError

from .onnx_file import bodies, to_array
from .onnx_values import Const, Dim, Kind, Refused, Tracked

DEEPEST = 24  # branches within branches


class Scopes:
    """Tensors by name, those of the innermost graph first.

    ``around`` says what a name is that none of these graphs has: in the body of a loop, a tensor of
    the graph that the loop is in.
    """

    def __init__(self, graph: Any) -> None:
        self.around: Callable[[str], Kind] | None = None
        self.tensors: list[dict[str, Kind]] = []
        self.initializers: list[dict[str, Any]] = []
        self.enter(graph)

    def enter(self, graph: Any) -> None:
        self.tensors.append({})
        self.initializers.append({t.name: t for t in graph.initializer})
        for sparse in graph.sparse_initializer:
            name = sparse.values.name
            text = f"initializer '{name}' is sparse, which is not supported; store it dense"
            self[name] = Refused(ConversionError(text))

    def leave(self) -> None:
        self.tensors.pop()
        self.initializers.pop()

    @property
    def depth(self) -> int:
        return len(self.tensors) - 1

    def __setitem__(self, name: str, kind: Kind) -> None:
        self.tensors[-1][name] = kind

    def __getitem__(self, name: str) -> Kind:
        for known, stored in zip(self.tensors[::-1], self.initializers[::-1], strict=True):
            if name not in known and name in stored:
                known[name] = Const(name, to_array(stored[name], name))
            if name in known:
                return known[name]
        if self.around is not None:
            return self.around(name)
        raise FormatError(f"not a valid ONNX model: tensor '{name}' is used but never made")

    def rewrite(self, dim: Dim, change: Callable[[Tracked], Tracked]) -> None:
        """Change every value that has a dim."""
        for known in self.tensors:
            for name, kind in known.items():
                if isinstance(kind, Tracked) and dim in kind.dims:
                    known[name] = change(kind)


# ----------------------------------------------------------------------------- what graphs read


def key(outputs: Iterable[str], path: str) -> str:
    """What tells a node with bodies from others, within the bodies that ``path`` says."""
    return f"{path}\0{next((n for n in outputs if n), '')}"


def branch(node: Any, taken: bool) -> Any:
    """A branch of an If, None if it lacks it."""
    name = "then_branch" if taken else "else_branch"
    return next((a.g for a in node.attribute if a.name == name and a.HasField("g")), None)


def reads(node: Any, taken: Mapping[str, bool], path: str, depth: int = 0) -> set[str]:
    """What a node takes from the graph it is in: its inputs, and what its bodies take.

    Of an If whose branch is known only that one counts.
    """
    if depth > DEEPEST:
        return set()  # refused where it is visited
    found = {n for n in node.input if n}
    inner = bodies(node)
    path = key(node.output, path) if inner else path
    if node.op_type == "If" and path in taken:
        inner = [b for b in [branch(node, taken[path])] if b is not None]
    for body in inner:
        own = {v.name for v in body.input} | {t.name for t in body.initializer}
        own |= {t.values.name for t in body.sparse_initializer}
        for each in body.node:
            found |= reads(each, taken, path, depth + 1) - own
            own |= set(each.output)
        found |= {v.name for v in body.output} - own
    return found


def needed(graph: Any, taken: Mapping[str, bool], path: str) -> set[str]:
    """Names of the tensors of a graph that its outputs depend on."""
    found = {v.name for v in graph.output}
    for node in reversed(graph.node):
        if any(n in found for n in node.output if n):
            found |= reads(node, taken, path)
    return found
