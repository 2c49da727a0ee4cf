"""One step of an ONNX Loop or Scan: what its body reads and keeps, as exporters write it.

- sequences: inputs of a Scan; in a Loop ``Gather(x, i)`` by the loop's own counter (or from the
  other end, ``T - 1 - i``), or ``SequenceAt`` of what SplitToSequence made. tf2onnx counts in
  states of its own, from 0 on.
- how many steps: those of the sequences, and nothing that depends on data may end it before.
- results: last states, scan outputs, and lists that grow by SequenceInsert in each step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.graph import BATCH

from .onnx_axes import as_batch, same_axis, unify
from .onnx_branches import NOTHING
from .onnx_layers import Builder, as_time, fill, take_features, weight
from .onnx_loop_parts import Pieces
from .onnx_scopes import key
from .onnx_values import (
    FEATURES,
    NEXT,
    Axis,
    Const,
    Dim,
    Inner,
    Kind,
    Node,
    Spread,
    Tracked,
    Zeros,
    axis_size,
)  # fmt: skip


@dataclass(eq=False)
class Step:
    """A body on its way: outside it ``b`` and ``node``, inside it ``body``."""

    b: Builder
    node: Node
    body: Any  # the Conversion of the body's nodes
    backwards: bool = False
    sequences: dict[str, Tracked] = field(default_factory=dict)  # by the name of a step of each
    turned: dict[str, str] = field(default_factory=dict)  # sequences from their other end
    outside: dict[str, Tracked] = field(default_factory=dict)  # what the body may read of it
    leaves: dict[str, str] = field(default_factory=dict)  # by state: its name before the step
    states: dict[str, Tracked] = field(default_factory=dict)  # by that name
    lengths: list[Any] = field(default_factory=list)  # what has to be the number of steps
    time: Axis = ()

    def read(self, x: Tracked, axis: int, turned: bool = False, together: bool = False) -> Tracked:
        """One step of a sequence from outside: a value of the body. ``together``: it has as many
        steps as the others, or the model is not valid."""
        b, node = self.b, self.node
        x = as_time(b, node, x, axis)
        batch, rest = self.batch_axis(x.axes, axis)
        as_batch(node, x.axes[batch])
        x = take_features(b, node, x, rest)
        time = x.axes[axis]
        if self.time and together:
            unify(node, self.time[0], time[0])
        if self.time and not same_axis(self.time, time):
            raise node.error("reads sequences of different numbers of steps")
        self.time = self.time or time
        name = x.name
        if turned:
            name = self.turned[name] = self.turned.get(name) or b.add(g.Reverse, node, name)
        step = self.body.builder.reserve(f"{name}/step")
        order = tuple(d for d in x.order if d.label == FEATURES)
        self.sequences[step] = Tracked(name, x.axes, order)
        return Tracked(step, x.axes[:axis] + x.axes[axis + 1 :], order)

    def batch_axis(self, axes: tuple[Axis, ...], time: int | None) -> tuple[int, list[int]]:
        """Which axis is the batch, and which are features: the batch is what is known to be, else
        the first that is not of size 1, else the one before the last."""
        others = [i for i in range(len(axes)) if i != time]
        if len(others) < 2:
            raise self.node.error("works on a step without a batch axis")
        known = [i for i in others if any(d.label == BATCH for d in axes[i])]
        wide = [i for i in others[:-1] if axis_size(axes[i]) != 1]
        batch = (known or wide or others[-2:-1])[0]
        return batch, [i for i in others if i != batch]

    def look(self, name: str) -> Kind:
        """A tensor from outside, for the body."""
        kind = self.b.conversion.tensors[name]
        x = kind.part.x if isinstance(kind, Inner) and isinstance(kind.part, Pieces) else kind
        self.same(x)
        return kind

    def same(self, kind: Kind) -> Kind:
        """What no step changes, for the body."""
        if isinstance(kind, Tracked):
            self.outside[kind.name] = kind
        return kind

    def state(self, name: str, kind: Kind, declared: Any) -> Kind:
        """A state before the step, for the body."""
        node = self.node
        if isinstance(kind, Tracked):
            if kind.dtype != "float32":
                raise node.error(f"its state '{name}' is {kind.dtype}")
            batch, rest = self.batch_axis(kind.axes, None)
            as_batch(node, kind.axes[batch])
            kind = take_features(self.b, node, kind, rest)
            axes, order = kind.axes, tuple(d for d in kind.order if d.label == FEATURES)
        else:
            sizes: list[int | None] = [d.dim_value or None for d in declared.shape.dim]
            if isinstance(kind, Zeros):
                sizes = sizes or [None, None]
                sizes[-1] = sizes[-1] or kind.width
            elif isinstance(kind, Const | Spread):
                sizes = list(kind.array.shape)
            else:
                raise node.error(f"its state '{name}' is neither a value nor constant")
            if len(sizes) < 2 or any(n != 1 for n in sizes[:-2]) or 0 in sizes:
                raise node.error(f"its state '{name}' has shape {sizes}, expected [batch, size]")
            order = (Dim(sizes[-1], FEATURES),)
            axes = (*((),) * (len(sizes) - 2), (Dim(None, BATCH),), order)
        leaf = self.leaves[name] = self.body.builder.reserve(f"{name}/before")
        self.states[leaf] = Tracked(kind.name if isinstance(kind, Tracked) else "", axes, order)
        return Tracked(leaf, axes, order)

    def initial(self, leaf: str, kind: Kind, like: Tracked) -> str | None:
        """A state at the beginning as a value outside, None for zeros."""
        if isinstance(kind, Tracked):
            return self.states[leaf].name
        if isinstance(kind, Zeros):
            return None
        assert isinstance(kind, Const | Spread)
        array = weight(Const(kind.name, kind.array))
        rows = array.reshape(-1, array.shape[-1])
        if np.any(rows != rows[:1]):
            raise self.node.error(
                f"its state '{kind.name}' begins with a different constant for each row of the "
                "batch; make it an input of the model"
            )
        return fill(self.b, self.node, like, rows[0]) if rows[0].any() else None


def enter(b: Builder, node: Node, graph: Any) -> Step:
    """A conversion of a body's nodes, which sees what is outside."""
    from .from_onnx import Conversion  # which registers this module's handlers

    if b.conversion.outer is not None:
        raise node.error(f"is within another loop; {NEXT}")
    outer = b.conversion
    model = type(outer.model)()
    model.ir_version = outer.model.ir_version
    model.opset_import.extend(outer.model.opset_import)
    model.functions.extend(outer.model.functions)
    model.graph.node.extend(graph.node)
    model.graph.initializer.extend(graph.initializer)
    model.graph.sparse_initializer.extend(graph.sparse_initializer)
    model.graph.output.extend(graph.output)
    body = Conversion(model, {}, {}, b.preference, outer.decisions, outer)
    body.builder.values |= b.values
    origins = body.branches.origins
    origins.update(outer.branches.origins)
    for value, name in zip(graph.input, node.input_names, strict=False):  # both kinds: in order
        origins[value.name] = outer.branches.origins.get(name, NOTHING)
    body.branches.path = key(node.outputs, outer.branches.path)
    step = Step(b, node, body)
    body.tensors.around = step.look
    return step


def run(step: Step) -> None:
    """The body's nodes, each as what it makes of one step."""
    step.body.visit_all(step.body.model.graph)
    step.b.guessed |= step.body.builder.guessed
    step.b.notes |= step.body.builder.notes
