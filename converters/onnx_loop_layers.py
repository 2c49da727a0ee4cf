"""A loop whose body is one step of recurrent cells, as layers on whole sequences."""

from __future__ import annotations

import numpy as np

from lstmc import graph as g
from lstmc.graph import BATCH, TIME

from . import onnx_cells as cells
from .onnx_layers import in_order, product
from .onnx_loop_parts import Grown, Stacked, inner
from .onnx_steps import Step
from .onnx_terms import Apply, Cat, Leaf, Linear, Op, Scaled, Term, Terms, describe, selects
from .onnx_values import FEATURES, Axis, Inner, Kind, Refused, Tracked, axis_size

KNOWN = "its body is not a recurrent cell lstmc knows: "


class Layers:
    """Terms of a step as layers outside."""

    def __init__(
        self, step: Step, initial: list[Kind], names: list[str], results: list[str]
    ) -> None:
        self.step, self.b, self.node = step, step.b, step.node
        self.terms = Terms()
        self.like = next(iter(step.sequences.values()))
        self.values: dict[str, Term] = {}
        self.known: dict[Term, str] = {}  # terms that are sequences outside
        self.lasts: dict[str, Tracked] = {}
        self.able: dict[Term, bool] = {}
        self.states: dict[Leaf, Kind] = {}
        for name, x in step.sequences.items():
            self.known[self.leaf(name, x)] = x.name
        carried = [
            (step.leaves[n], k, r)
            for n, k, r in zip(names, initial, results, strict=True)
            if n in step.leaves
        ]
        for leaf_name, kind, _ in carried:
            self.states[self.leaf(leaf_name, step.states[leaf_name])] = kind
        layers = step.body.builder.layers
        made = {n for layer in layers for n in layer.outputs}
        for name in {n for layer in layers for n in layer.inputs if n and n not in made}:
            same_always = self.constant_in_time(name) if name not in self.values else None
            if same_always is not None:
                timed = self.b.add(g.Repeat, self.node, name, self.like.name)
                self.known[self.leaf(name, same_always)] = timed
        self.count = 0  # of the body's layers that are read
        self.read()
        after: dict[Leaf, Term] = {}
        for leaf_name, _, result in carried:
            leaf = self.values[leaf_name]
            assert isinstance(leaf, Leaf)
            after[leaf] = self.term(step.body.tensors[result], step.states[leaf_name])
        self.match(after)

    def read(self) -> None:
        """The terms of the body's layers that are new."""
        layers = self.step.body.builder.layers
        self.terms.read(layers[self.count :], self.values)
        self.count = len(layers)

    def leaf(self, name: str, x: Tracked) -> Leaf:
        made = self.terms.leaf(
            name, product(self.node, [d for d in x.order if d.label == FEATURES])
        )
        self.values[name] = made
        return made

    def constant_in_time(self, name: str) -> Tracked | None:
        """A value from outside that is the same in every step, if it is one."""
        kind = self.step.outside.get(name)
        if kind is None or kind.dtype != "float32":
            return None
        kind = in_order(self.b, self.node, kind)
        return None if kind.labelled(TIME) or kind.name != name else kind

    def term(self, kind: Kind, like: Tracked | None = None) -> Term:
        """A tensor of the body as a term; its axes must be ``like``'s."""
        node = self.node
        if isinstance(kind, Refused):
            raise kind.error
        if not isinstance(kind, Tracked):
            raise node.error(f"{KNOWN}a result does not depend on its inputs")
        x = in_order(self.step.body.builder, node, kind)
        if like is not None:
            fits = len(x.axes) == len(like.axes) and all(
                (axis_size(a), BATCH in {d.label for d in a})
                == (axis_size(c), BATCH in {d.label for d in c})
                for a, c in zip(x.axes, like.axes, strict=True)
            )
            if not fits:
                raise node.error(f"{KNOWN}a state changes its shape")
        self.read()
        if x.name not in self.values:
            layer = self.step.body.builder.makers.get(x.name)
            what = f"{type(layer).__name__} '{layer.name}'" if layer else f"'{x.name}'"
            raise node.error(f"{KNOWN}it computes {what}")
        return self.values[x.name]

    def match(self, after: dict[Leaf, Term]) -> None:
        """Cells of all states, one that others read before those."""
        left = dict(after)
        while left:
            found = next(
                (
                    f
                    for f in cells.match(self.terms, left)
                    if f.inputs and all(self.ready(p) for p in f.inputs)
                ),
                None,
            )
            if found is None:
                leaf, now = next(iter(left.items()))
                name = next(n for n, before in self.step.leaves.items() if before == leaf.name)
                raise self.node.error(f"{KNOWN}'{name}' becomes {describe(now)}")
            self.add(found, after)
            for leaf in found.states:
                del left[leaf]
            self.able.clear()

    def add(self, found: cells.Found, after: dict[Leaf, Term]) -> None:
        """A cell as a layer."""
        b, node, step = self.b, self.node, self.step
        names = [self.emit(p) for p in found.inputs]
        x = names[0] if len(names) == 1 else b.add(g.Concat, node, *names)
        begin = [step.initial(leaf.name, self.states[leaf], self.like) for leaf in found.states]
        inputs: list[str | None] = [x, None, *begin]
        while inputs[-1] is None:
            inputs.pop()
        outputs = [f"{node.name}/{n}" for n in ("sequence", *found.kind.states)]
        b.add(found.kind, node, *inputs, outputs=outputs, reverse=step.backwards, **found.fields)
        made = b.layers[-1].outputs
        self.known[after[found.states[0]]] = made[0] or ""
        for leaf, last in zip(found.states, made[1:], strict=True):
            whole = step.states[leaf.name]
            self.lasts[leaf.name] = Tracked(last or "", whole.axes, whole.order)

    def grown(self, at: int, after: Kind) -> Kind:
        """A list that a value is added to in each step."""
        if isinstance(after, Refused):
            raise after.error
        grown = after.part if isinstance(after, Inner) else None
        if not isinstance(grown, Grown) or grown.value is None or grown.at != at:
            raise self.node.error("a list doesn't grow by one value in each step")
        value, axes = self.sequence(grown.value, False)
        return inner(Stacked(None, value, axes, self.step.time))

    def sequence(self, kind: Kind, turned: bool) -> tuple[Tracked, tuple[Axis, ...]]:
        """What the body makes in each step, as a sequence; the axes of one step."""
        term = self.term(kind)
        if not self.ready(term):
            raise self.node.error(f"{KNOWN}it gives {describe(term)} of each step")
        name = self.emit(term)
        assert isinstance(kind, Tracked)
        x = in_order(self.step.body.builder, self.node, kind)
        if turned:
            name = self.b.add(g.Reverse, self.node, name)
        return Tracked(name, x.axes, x.order), x.axes

    def ready(self, x: Term) -> bool:
        """It can be computed from sequences that are there."""
        if x not in self.able:
            self.able[x] = x in self.known or (
                isinstance(x, Op | Cat | Scaled | Linear | Apply)
                and bool(x.parts)
                and all(self.ready(p) for p in x.parts)
            )
        return self.able[x]

    def emit(self, x: Term) -> str:
        """A term as layers on sequences."""
        if x not in self.known:
            b, node = self.b, self.node
            names = [self.emit(p) for p in x.parts]
            if isinstance(x, Op):
                made = b.add(g.Combine, node, *names, op=x.op)
            elif isinstance(x, Cat):
                made = b.add(g.Concat, node, *names)
            elif isinstance(x, Scaled):
                made = b.add(g.Affine, node, *names, scale=x.scale, shift=x.shift)
            elif isinstance(x, Apply):
                made = b.add(g.Activation, node, *names, activation=x.fn)
            else:
                assert isinstance(x, Linear)
                matrix = np.hstack(x.matrices)
                whole = names[0] if len(names) == 1 else b.add(g.Concat, node, *names)
                if x.bias is None and selects(matrix):
                    made = b.select(node, whole, matrix.argmax(1), matrix.shape[1])
                else:
                    made = b.add(g.Dense, node, whole, weight=matrix, bias=x.bias)
            self.known[x] = made
        return self.known[x]
