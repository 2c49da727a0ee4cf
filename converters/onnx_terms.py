"""What the body of a loop computes in a step, as an expression that can be compared with a cell.

The body's nodes become layers as any others do; here those layers become terms over the step's
inputs and the states before it. Each layer's features are one term, and taking a part of them goes
through it down to the weights: ``Slice(Sigmoid(MatMul(x, W)))`` and ``Sigmoid(MatMul(x, W[:4]))``
are the same. Sums of products with constants are one :class:`Linear`, whatever they were spelled
as. Nothing here rounds a weight: a product of two matrices stays two. Biases are added once.

Terms that are equal are the same object (:class:`Terms` keeps one of each).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.errors import ConversionError

from .weights import float32

DEEPEST = 150  # of terms in terms: a stack of some ten cells


@dataclass(frozen=True, eq=False)
class Term:
    """``width`` is how many features it has; ``serial`` gives parts of a sum their order."""

    width: int
    parts: tuple[Term, ...] = ()
    depth: int = 0
    serial: int = 0


@dataclass(frozen=True, eq=False)
class Leaf(Term):
    """A state before the step, a sequence's step, or a value that is the same in every step."""

    name: str = ""


@dataclass(frozen=True, eq=False)
class Linear(Term):
    """The sum of matrices [width, part's width] times the parts, and a bias [width]."""

    matrices: tuple[np.ndarray, ...] = ()
    bias: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Apply(Term):
    """A function of each feature."""

    fn: g.Fn = g.LINEAR


@dataclass(frozen=True, eq=False)
class Scaled(Term):
    """scale x + shift, for each feature its own."""

    scale: np.ndarray | None = None
    shift: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Op(Term):
    """Features combined one by one; a part of width 1 goes with all. Sums are flat."""

    op: str = ""


@dataclass(frozen=True, eq=False)
class Cat(Term):
    """Parts side by side."""


@dataclass(frozen=True, eq=False)
class Cell(Term):
    """State ``at`` after one step of a recurrent layer; parts are its input and its states."""

    layer: g.Recurrent | None = None
    at: int = 0


def is_minus(x: Term) -> bool:
    """-1 times its part."""
    return isinstance(x, Scaled) and x.shift is None and x.scale is not None and _all(x.scale, -1)


def is_complement(x: Term) -> bool:
    """1 minus its part."""
    return (
        isinstance(x, Scaled)
        and x.shift is not None
        and x.scale is not None
        and _all(x.scale, -1)
        and _all(x.shift, 1)
    )


def _all(a: np.ndarray, value: float) -> bool:
    return bool(np.all(a == value))


def selects(matrix: np.ndarray) -> bool:
    """Each row takes one column as it is, and none is taken twice."""
    ones = (matrix == 1).sum(1)
    return bool(
        np.all((matrix == 0) | (matrix == 1)) and np.all(ones == 1) and matrix.sum(0).max() <= 1
    )


class Terms:
    """Makes terms, one of each."""

    def __init__(self) -> None:
        self.made: dict[Any, Term] = {}
        self.picked: dict[Any, Term] = {}

    def _one(self, kind: type[Term], width: int, parts: Iterable[Term] = (), **fields: Any) -> Any:
        parts = tuple(parts)
        key: list[Any] = [kind, width, *(id(p) for p in parts)]
        for value in fields.values():
            arrays = value if isinstance(value, tuple) else (value,)
            for a in arrays:
                whole = isinstance(a, np.ndarray)
                key.append(hashlib.sha256(a.tobytes()).digest() if whole else a)
        if kind is Cell:
            key = [kind, width, *(id(p) for p in parts), id(fields["layer"]), fields["at"]]
        depth = 1 + max((p.depth for p in parts), default=0)
        if depth > DEEPEST:
            raise ConversionError(f"it computes over {DEEPEST} operations one after the other")
        name = tuple(key)
        if name not in self.made:
            self.made[name] = kind(width, parts, depth, len(self.made), **fields)
        return self.made[name]

    def leaf(self, name: str, width: int) -> Leaf:
        return self._one(Leaf, width, name=name)

    def cell(self, layer: g.Recurrent, parts: Iterable[Term], at: int) -> Cell:
        return self._one(
            Cell, (layer.output_size, *layer.state_sizes[1:])[at], parts, layer=layer, at=at
        )

    def cat(self, parts: Iterable[Term]) -> Term:
        flat: list[Term] = []
        for p in parts:
            flat += p.parts if isinstance(p, Cat) else (p,)
        return flat[0] if len(flat) == 1 else self._one(Cat, sum(p.width for p in flat), flat)

    def apply(self, fn: g.Fn, x: Term) -> Term:
        if fn.kind == "affine":
            scale, shift = (np.full(x.width, a, np.float32) for a in (fn.alpha, fn.beta))
            return self.scaled(x, scale, shift)
        return x if fn == g.LINEAR else self._one(Apply, x.width, (x,), fn=fn)

    def constant(self, value: np.ndarray) -> Term:
        return self._one(Linear, len(value), bias=np.asarray(value, np.float32))

    # ------------------------------------------------------------------------------------ linear

    def _sum(self, width: int, terms: list[tuple[Term, np.ndarray]], bias: Any) -> Term | None:
        """A Linear, or None where two matrices of the same part would have to be added."""
        merged: dict[Term, np.ndarray] = {}
        for part, matrix in terms:
            if part in merged:
                if np.any((merged[part] != 0) & (matrix != 0)):
                    return None
                matrix = merged[part] + matrix
            merged[part] = np.asarray(matrix, np.float32)
        if bias is not None and not np.any(bias):
            bias = None
        if len(merged) == 1 and bias is None:
            ((part, matrix),) = merged.items()
            if matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(width)):
                return part
        ordered = sorted((p for p, m in merged.items() if m.any()), key=lambda p: p.serial)
        return self._one(
            Linear, width, ordered, matrices=tuple(merged[p] for p in ordered), bias=bias
        )

    def linear(self, matrix: np.ndarray, bias: np.ndarray | None, x: Term) -> Term:
        width = matrix.shape[0]
        terms: list[tuple[Term, np.ndarray]] = []
        at = 0
        for part in x.parts if isinstance(x, Cat) else (x,):
            columns = matrix[:, at : at + part.width]
            at += part.width
            if isinstance(part, Linear) and part.bias is None and all(map(selects, part.matrices)):
                terms += [(p, columns @ m) for p, m in zip(part.parts, part.matrices, strict=True)]
            else:
                terms.append((part, columns))
        made = self._sum(width, terms, bias)
        return (
            made
            if made is not None
            else self._one(Linear, width, (x,), matrices=(matrix,), bias=bias)
        )

    def scaled(self, x: Term, scale: np.ndarray | None, shift: np.ndarray | None) -> Term:
        if scale is not None and _all(scale, 1):
            scale = None
        if shift is not None and not np.any(shift):
            shift = None
        if scale is None and shift is None:
            return x
        if scale is not None and shift is None and _all(scale, -1):
            if is_minus(x):
                return x.parts[0]
            if isinstance(x, Op) and x.op == "add":
                return self.op("add", [self.scaled(p, scale, None) for p in x.parts])
        if isinstance(x, Linear) and (scale is None or _all(np.abs(scale), 1)):
            factor = np.ones(x.width, np.float32) if scale is None else scale
            bias = None if x.bias is None else x.bias * factor
            if shift is not None:
                bias = shift if bias is None else float32("a sum of biases", bias + shift)
            matrices = [m * factor[:, None] for m in x.matrices]
            made = self._sum(x.width, list(zip(x.parts, matrices, strict=True)), bias)
            assert made is not None
            return made
        return self._one(Scaled, x.width, (x,), scale=scale, shift=shift)

    def op(self, op: str, parts: list[Term]) -> Term:
        width = max(p.width for p in parts)
        if op == "subtract" and len(parts) == 2:
            minus = np.full(parts[1].width, -1, np.float32)
            return self.op("add", [parts[0], self.scaled(parts[1], minus, None)])
        if op != "add":
            return self._one(Op, width, parts, op=op)
        flat: list[Term] = []
        for p in parts:
            flat += p.parts if isinstance(p, Op) and p.op == "add" else (p,)
        sums = [p for p in flat if isinstance(p, Linear) and p.width == width]
        if len(sums) > 1:
            biases = [s.bias for s in sums if s.bias is not None]
            bias = biases[0] if len(biases) == 1 else None
            if len(biases) > 1:
                with np.errstate(over="ignore"):
                    total = np.sum(biases, axis=0, dtype=np.float32)
                bias = float32("a sum of biases", np.asarray(total))
            terms = [t for s in sums for t in zip(s.parts, s.matrices, strict=True)]
            merged = self._sum(width, terms, bias)
            if merged is not None:
                flat = [p for p in flat if p not in sums] + [merged]
        return flat[0] if len(flat) == 1 else self._one(Op, width, flat, op="add")

    # -------------------------------------------------------------------------------------- parts

    def pick(self, x: Term, index: np.ndarray) -> Term:
        """Features of a term."""
        if np.array_equal(index, np.arange(x.width)):
            return x
        key = (id(x), index.tobytes())
        if key not in self.picked:
            self.picked[key] = self._pick(x, index)
        return self.picked[key]

    def _pick(self, x: Term, index: np.ndarray) -> Term:
        def some(a: np.ndarray | None) -> np.ndarray | None:
            return None if a is None else a[index]

        if isinstance(x, Linear):
            rows = [(p, m[index]) for p, m in zip(x.parts, x.matrices, strict=True)]
            made = self._sum(len(index), rows, some(x.bias))
            assert made is not None
            return made
        if isinstance(x, Apply):
            return self.apply(x.fn, self.pick(x.parts[0], index))
        if isinstance(x, Scaled):
            return self.scaled(self.pick(x.parts[0], index), some(x.scale), some(x.shift))
        if isinstance(x, Op):
            return self.op(x.op, [p if p.width == 1 else self.pick(p, index) for p in x.parts])
        if isinstance(x, Cat):
            ends = np.cumsum([p.width for p in x.parts])
            part = np.searchsorted(ends, index, side="right")
            cuts = [0, *(np.flatnonzero(np.diff(part)) + 1), len(index)]
            runs = []
            for start, stop in pairwise(cuts):
                p = x.parts[part[start]]
                runs.append(self.pick(p, index[start:stop] - (ends[part[start]] - p.width)))
            return self.cat(runs)
        matrix = np.eye(x.width, dtype=np.float32)[index]
        made = self._sum(len(index), [(x, matrix)], None)
        assert made is not None
        return made

    # ------------------------------------------------------------------------------------- layers

    def read(self, layers: list[g.Layer], values: dict[str, Term]) -> None:
        """The terms of what layers make, added to those of what they read."""
        steps: dict[str, Term] = {}  # sequences of one step
        for layer in layers:
            try:
                self._layer(layer, values, steps)
            except KeyError:
                continue  # something before it has no term; who needs it says so

    def _layer(self, layer: g.Layer, values: dict[str, Term], steps: dict[str, Term]) -> None:
        names = [n for n in layer.inputs if n is not None]
        out = layer.outputs[0] or ""
        if isinstance(layer, g.Unflatten) and layer.count == 1:
            steps[out] = values[names[0]]
            return
        if isinstance(layer, g.LastStep):
            values[out] = steps[names[0]]
            return
        if isinstance(layer, g.Recurrent):
            x, mask, *states = (*layer.inputs, None, None, None)[: 2 + len(layer.states)]
            if mask is not None or None in states:
                raise KeyError
            parts = [steps[x or ""], *(values[s or ""] for s in states)]
            for i, name in enumerate(layer.outputs):
                if name is not None:
                    made = self.cell(layer, parts, max(i - 1, 0))
                    (values if i else steps)[name] = made
            return
        parts = [values[n] for n in names]
        if isinstance(layer, g.Dense):
            sum_ = self.linear(layer.weight, layer.bias, parts[0])
            values[out] = self.apply(layer.activation, sum_)
        elif isinstance(layer, g.Affine):
            sum_ = self.scaled(parts[0], layer.scale, layer.shift)
            values[out] = self.apply(layer.activation, sum_)
        elif isinstance(layer, g.Activation):
            values[out] = self.apply(layer.activation, parts[0])
        elif isinstance(layer, g.Combine):
            values[out] = self.op(layer.op, parts)
        elif isinstance(layer, g.Concat):
            values[out] = self.cat(parts)
        elif isinstance(layer, g.Select):
            values[out] = self.pick(parts[0], np.asarray(layer.index))
        elif isinstance(layer, g.Fill) and layer.value is not None:
            values[out] = self.constant(layer.value)


def describe(x: Term, depth: int = 3) -> str:
    """A term in a few words."""
    if isinstance(x, Leaf):
        return f"'{x.name}'"
    if not depth:
        return "..."
    parts = [describe(p, depth - 1) for p in x.parts]
    if isinstance(x, Apply):
        return f"{x.fn.kind}({parts[0]})"
    if isinstance(x, Linear):
        return f"W [{', '.join(parts)}]"
    if isinstance(x, Op):
        return f"({f' {SIGNS.get(x.op, x.op)} '.join(parts)})"
    if is_complement(x):
        return f"(1 - {parts[0]})"
    if is_minus(x):
        return f"-{parts[0]}"
    if isinstance(x, Scaled):
        return f"(a {parts[0]} + b)"
    if isinstance(x, Cell):
        return f"{type(x.layer).__name__}({', '.join(parts)})"
    return f"[{', '.join(parts)}]"


SIGNS = {"add": "+", "multiply": "*", "divide": "/"}
