"""ONNX's If: the branch that is taken, inlined, and what is said where that isn't known.

Source: https://onnx.ai/onnx/operators/onnx__If.html. A condition must be known before the model
runs: constant, or a question of sizes that are fixed. One that asks whether a number of steps that
the model leaves open is a certain one is taken for true if that makes the model convertible; the
graph then refuses any other number (layer Restep).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lstmc import graph as g
from lstmc.errors import ConversionError
from lstmc.graph import TIME

from .onnx_layers import product
from .onnx_scopes import DEEPEST, branch, key
from .onnx_values import FEATURES, Const, Dim, Kind, Node, OpenSize, Refused, Tracked

if TYPE_CHECKING:
    from .from_onnx import Conversion

Origin = tuple[str, str]  # an input of the model, and what of it something depends on:
VALUE, SIZE = "value", "size"
NOTHING: frozenset[Origin] = frozenset()


FIX = "fix its value:"
MOST = 64  # attempts at one model because of its control flow


class Again(Exception):
    """More is known now of which branches are taken: begin again."""


@dataclass
class Decisions:
    """What attempts at one model have found out about its control flow.

    ``assumed``: tensors that ask whether an axis of open size has a certain one, to be answered
    with yes: the graph then refuses other sizes. That is tried where a branch depends on it;
    ``open`` is the error if it doesn't help.
    """

    taken: dict[str, bool] = field(default_factory=dict)
    assumed: set[str] = field(default_factory=set)
    open: ConversionError | None = None
    attempts: int = 0

    def assume(self, question: str, error: ConversionError) -> None:
        """Begin again with an assumption; the error if it is made already."""
        if question in self.assumed:
            raise error
        self.assumed.add(question)
        self.open = self.open or error
        self.again()

    def again(self) -> None:
        self.attempts += 1
        if self.attempts < MOST:
            raise Again

    def failed(self, error: ConversionError) -> ConversionError:
        """What to say of an attempt's error: where it tells how to go on, that alone."""
        if self.open is None or str(error) == str(self.open) or FIX in str(error):
            return error
        return ConversionError(f"{self.open} (taken for true: {error})")


def condition(node: Node) -> bool | None:
    """Which branch an If takes, None if that isn't known before the model runs."""
    kind = node.inputs[0] if node.inputs else None
    if kind is None:
        raise node.error("has no condition")
    if not isinstance(kind, Const):
        return None
    if kind.array.size != 1 or kind.array.dtype.kind != "b":
        raise node.error(
            f"its condition is {kind.array.dtype} of shape {list(kind.array.shape)}, expected one "
            "bool"
        )
    return bool(kind.array.reshape(-1)[0])


def fix(name: str) -> str:
    """How users give an input a value for good."""
    return f"{FIX} --set {name}=VALUE, in Python constants={{'{name}': value}}"


def data(x: Tracked) -> bool:
    """Whether an input is more than an option of the model: one number, or a flag."""
    return x.dtype == "float32" and any(not d.is_one() for d in x.dims)


def undecided(
    node: Node, origins: frozenset[Origin], inputs: Mapping[str, Tracked]
) -> ConversionError:
    """Why an If is refused whose condition is not known, and what to do about it.

    ``inputs``: those that may be data, by name.
    """
    name = node.input_names[0]
    text = f"its condition ('{name}') is not known before the model runs: it depends on"
    values = sorted(name for name, what in origins if what == VALUE)
    sizes = sorted(name for name, what in origins if what == SIZE)
    kind = node.inputs[0]
    if not values and isinstance(kind, Refused) and not isinstance(kind.error, OpenSize):
        return kind.error
    if not values and not sizes:
        return node.error(f"{text} nothing that could be fixed")
    listed = [f"input '{n}'" for n in values] + [f"the sizes of input '{n}'" for n in sizes]
    advice = []
    options = [n for n in values if n not in inputs or not data(inputs[n])]
    if options:
        advice.append(fix(options[0]))
    elif values:
        advice.append("a model must do the same whatever its data; take the If out of it")
    if sizes:
        advice.append("give the axes a fixed size in the model")
    return node.error(f"{text} {' and '.join(listed)}; {', or '.join(advice)}")


class Branches:
    """What one attempt at a model knows of its control flow."""

    def __init__(self, conversion: Conversion) -> None:
        self.conversion = conversion
        self.origins: dict[str, frozenset[Origin]] = {}
        self.guards: list[set[str]] = []  # names of layers, one of which must stay
        self.path = ""

    def trace(self, proto: Any) -> None:
        """What a node's outputs depend on, for messages."""
        if proto.op_type == "If" and proto.output[0] in self.origins:
            return
        found = NOTHING.union(*(self.origins.get(n, NOTHING) for n in proto.input if n))
        if proto.op_type in ("Shape", "Size"):
            found = frozenset((name, SIZE) for name, _ in found)
        self.origins.update({n: found for n in proto.output if n})

    def taken(self, node: Node, proto: Any) -> list[Kind]:
        """The outputs of an If whose condition is known: those of the branch."""
        which = condition(node)
        if which is None:
            error = undecided(
                node, self.origins.get(proto.input[0], NOTHING), self.conversion.inputs
            )
            kind = node.inputs[0]
            if isinstance(kind, Refused) and isinstance(kind.error, OpenSize):
                self.conversion.decisions.assume(kind.error.question, error)
            raise error
        path = key(proto.output, self.path)
        self.conversion.decisions.taken[path] = which
        body = branch(proto, which)
        where = "then_branch" if which else "else_branch"
        if body is None:
            raise node.error(f"has no {where}")
        if body.input or len(body.output) != len(node.outputs):
            raise node.error(
                f"its {where} has {len(body.input)} inputs and {len(body.output)} outputs, "
                f"expected none and {len(node.outputs)}"
            )
        if self.conversion.tensors.depth >= DEEPEST:
            raise node.error(f"is nested in more than {DEEPEST} others")
        self.conversion.tensors.enter(body)
        path, self.path = self.path, path
        try:
            self.conversion.visit_all(body)
            names = [v.name for v in body.output]
            found = [self.conversion.tensors[n] for n in names]
        finally:
            self.conversion.tensors.leave()
            self.path = path
        for outer, inner in zip(proto.output, names, strict=True):
            self.origins[outer] = self.origins.get(inner, NOTHING)
        return found

    def pin(self, dim: Dim, size: int) -> None:
        """Give an open time a number of steps, which the graph is to insist on: every value with
        that time goes through a layer that does."""
        fixed = Dim(size, TIME)
        made: dict[str, str] = {}
        guards = set()

        def insist(x: Tracked) -> Tracked:
            b = self.conversion.builder
            if x.name not in made:
                where = f"{x.name}/{size} steps"
                node = Node(where, "", self.conversion.opset, [x], [x.name], [x.name], {})
                features = product(node, [d for d in x.dims if d.label == FEATURES])
                made[x.name] = b.add(g.Restep, node, x.name, features=features, count=size)
                guards.add(b.layers[-1].name)
            axes = tuple(tuple(fixed if d is dim else d for d in axis) for axis in x.axes)
            return Tracked(made[x.name], axes, x.order, x.dtype)

        self.conversion.tensors.rewrite(dim, insist)
        self.guards.append(guards)

    def check(self, graph: g.Graph) -> None:
        """The finished graph still refuses what was assumed away."""
        left = {layer.name for layer in graph.layers}
        if any(not guard & left for guard in self.guards) and self.conversion.decisions.open:
            raise self.conversion.decisions.open
