"""ONNX's operators on the sizes of values: numbers where they are fixed, else the axes' own.

What is computed of fixed sizes alone is folded as any constant expression is; here is what may stay
open. An open size is the axis it belongs to, so that Reshape, Expand and ConstantOfShape find it
again, and a product of such is an axis of several dims.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lstmc.graph import TIME

from .onnx_layers import Builder
from .onnx_values import (
    FEATURES,
    NEXT,
    Axis,
    Const,
    Dim,
    Kind,
    Node,
    OpenSize,
    Sizes,
    axis_size,
)


def shape(b: Builder, node: Node) -> list[Kind]:
    """Shape-1 to -25; start and end from 15 on."""
    start, end = node.attr("start", 0), node.attr("end")
    kind = node.input(0)
    if isinstance(kind, Sizes):
        sizes = Sizes(() if kind.scalar else (len(kind.items),))
    else:
        x = node.value(0, any_type=True)
        for dim in x.dims:
            b.timed.setdefault(dim.root(), x)
        sizes = Sizes(tuple(x.axes))
    # features and axes of size 1 are the same whatever the input
    fixed = (
        axis_size(a) if not isinstance(a, int) and all(d.label == FEATURES for d in a) else a
        for a in sizes.items[start:end]
    )
    return [Sizes(tuple(1 if a is None else a for a in fixed))]


def known(kind: Kind) -> Const | None:
    """A constant, or sizes that are numbers, as a constant."""
    if isinstance(kind, Sizes):
        numbers = [n if isinstance(n, int) else axis_size(n) for n in kind.items]
        if None not in numbers:
            array = np.array(numbers, np.int64)
            return Const("a shape", array.reshape(()) if kind.scalar else array)
    return kind if isinstance(kind, Const) else None


def is_open(kind: Sizes) -> bool:
    """One size, which the model leaves open."""
    return len(kind.items) == 1 and known(kind) is None


def size(b: Builder, node: Node) -> list[Kind]:
    """Size-1 to -25: how many numbers a tensor has, the product of its sizes."""
    kind = node.input(0)
    if isinstance(kind, Sizes):
        return [Const(node.name, np.array(1 if kind.scalar else len(kind.items), np.int64))]
    (sizes,) = shape(b, node)
    assert isinstance(sizes, Sizes)
    return [Sizes((multiplied(node, sizes.items),), scalar=True)]


def multiplied(node: Node, sizes: Iterable[int | Axis]) -> int | Axis:
    """A product of sizes: of numbers, or of axes and ones; an axis is that of dims already."""
    number = 1
    dims: list[Dim] = []
    for n in sizes:
        if isinstance(n, int):
            number *= n
        else:
            dims += n
    if not dims or not number:
        return number
    if number != 1:
        whole = axis_size(tuple(dims))
        if whole is None:
            raise node.error(f"multiplies a size that is left open by {number}; {NEXT}")
        return number * whole
    return tuple(dims)


def arithmetic(b: Builder, node: Node) -> list[Kind] | None:
    """Mul, Add, Sub and Div of sizes that stay open, as far as the result is one of the sizes or a
    product; None if no input is a size."""
    kinds = [node.input(0), node.input(1)]
    if not any(isinstance(k, Sizes) for k in kinds):
        return None
    items = []
    for k in kinds:
        if isinstance(k, Const) and k.array.dtype.kind in "iu" and k.array.ndim < 2:
            items.append(tuple(k.array.reshape(-1).tolist()))
        elif isinstance(k, Sizes):
            items.append(k.items)
        else:
            raise node.error(f"computes with a shape and other values; {NEXT}")
    length = max(len(i) for i in items)
    if any(len(i) not in (1, length) for i in items):
        raise node.error(f"computes with shapes of {len(items[0])} and {len(items[1])} sizes")
    pairs = zip(*(i * (length // len(i)) for i in items), strict=True)
    neutral = 1 if node.op in ("Mul", "Div") else 0
    made: list[int | Axis] = []
    for one, other in pairs:
        if node.op == "Mul":
            made.append(multiplied(node, (one, other)))
        elif other == neutral or (node.op == "Add" and one == neutral):
            made.append(one if other == neutral else other)
        else:
            raise node.error(f"computes a size from one that is left open; {NEXT}, a product is")
    scalar = all(
        k.scalar if isinstance(k, Sizes) else k.array.ndim == 0  # type: ignore[union-attr]
        for k in kinds
    )
    return [Sizes(tuple(made), scalar=scalar)]


def sizes_equal(b: Builder, node: Node, kinds: list[Kind]) -> Kind:
    """Which sizes are the same. No size is below 0: so exporters write Expand."""
    items = [
        k.items if isinstance(k, Sizes) else tuple(k.array.reshape(-1).tolist())
        for k in kinds
        if isinstance(k, Sizes) or (isinstance(k, Const) and k.array.dtype.kind in "iu")
    ]
    if len(items) != 2 or len(items[0]) != len(items[1]):
        raise node.error(f"compares a shape; {NEXT}")
    found = []
    for one, other in zip(*items, strict=True):
        a, c = (n if isinstance(n, int) else axis_size(n) for n in (one, other))
        if a is not None and c is not None:
            found.append(a == c)
        elif one == other:
            found.append(True)
        elif min(n for n in (a, c, 0) if n is not None) < 0:
            found.append(False)
        else:
            found.append(assumed(b, node, one if a is None else other, c if a is None else a))
    scalar = all(
        k.scalar if isinstance(k, Sizes) else k.array.ndim == 0  # type: ignore[union-attr]
        for k in kinds
    )
    return Const(node.name, np.array(found[0] if scalar else found))


def assumed(b: Builder, node: Node, size: int | Axis, number: int | None) -> bool:
    """Whether an open size is a number: to be assumed, where that is what is tried."""
    question = node.outputs[0]
    error = OpenSize(str(node.error(f"compares a size that is left open; {NEXT}")), question)
    if not isinstance(size, tuple) or len(size) != 1 or number is None or number < 1:
        raise error
    (dim,) = size
    value = b.timed.get(dim.root())
    # An input's own sizes are for the user to fix, and other axes than time for nobody.
    if question not in b.assumed or dim.source is not None or value is None:
        raise error
    b.decide(value)
    if dim.label != TIME:
        raise error
    b.pins.append((dim, number))
    return True


def where(b: Builder, node: Node) -> list[Kind]:
    """Where-9, -16: of sizes only."""
    chosen, kinds = node.input(0), [node.input(1), node.input(2)]
    if not isinstance(chosen, Const) or not all(isinstance(k, Const | Sizes) for k in kinds):
        raise node.error(f"chooses among computed values; {NEXT}")
    items = [
        k.items if isinstance(k, Sizes) else tuple(k.array.reshape(-1).tolist())  # type: ignore[union-attr]
        for k in kinds
    ]
    flags = chosen.array.reshape(-1).tolist()
    if {len(items[0]), len(items[1])} != {len(flags)}:
        raise node.error(f"chooses among sizes of different number; {NEXT}")
    return [Sizes(tuple(a if f else c for f, a, c in zip(flags, *items, strict=True)))]
