"""What layers give when they are called before there are numbers: edges of a functional model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import ConversionError

if TYPE_CHECKING:
    from .base import Layer


@dataclass(frozen=True, eq=False)
class Symbol:
    """Output number ``tensor`` of call number ``call`` of a layer."""

    layer: Layer
    call: int
    tensor: int

    def node(self) -> Node:
        """The call that gives it."""
        return self.layer._nodes[self.call]

    def __repr__(self) -> str:
        return f"<output {self.tensor} of layer '{self.layer.name}'>"

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise ConversionError(f"{self!r} holds no numbers: make a Model of it and call predict")


@dataclass(eq=False)
class Node:
    """One call of a layer: symbols, plain values, and lists and dicts of these."""

    layer: Layer
    call: int
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)

    def symbols(self) -> list[Symbol]:
        """All that the call gets, in order."""
        return list(flat([self.args, list(self.kwargs.values())]))


def flat(value: Any) -> Iterator[Symbol]:
    """The symbols in lists, tuples and dicts, these in the order of their keys."""
    if isinstance(value, Symbol):
        yield value
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from flat(v)
    elif isinstance(value, dict):
        for key in sorted(value):
            yield from flat(value[key])


def ordered(outputs: list[Symbol]) -> list[Node]:
    """The calls that outputs depend on, so that the layers are in Keras's order: those furthest
    from the outputs first, and of the same distance the one that is met first on the way back from
    them. Of a layer's calls the furthest counts."""
    met: dict[Layer, int] = {}
    done: dict[Node, None] = {}  # each after those before it
    for output in outputs:
        stack = [(output.node(), False)]
        while stack:
            node, left = stack.pop()
            if left:
                done[node] = None
            elif node not in done:
                met.setdefault(node.layer, len(met))
                stack.append((node, True))
                stack += [(s.node(), False) for s in reversed(node.symbols())]
    depths: dict[Node, int] = {}
    furthest: dict[Layer, int] = {}
    for node in reversed(done):
        depth = max(depths.get(node, 0), furthest.get(node.layer, 0))
        depths[node] = furthest[node.layer] = depth
        for s in node.symbols():
            before = s.node()
            depths[before] = max(depths.get(before, 0), depth + 1)
    return sorted(done, key=lambda n: (-furthest[n.layer], met[n.layer], n.call))


__all__ = ["Node", "Symbol", "flat", "ordered"]
