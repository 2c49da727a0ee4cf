"""ONNX's matrix products with a constant as Dense."""

from __future__ import annotations

import numpy as np

from lstmc import graph as g
from lstmc.graph import TIME

from .onnx_broadcast import Aligned
from .onnx_layers import Builder, features, take_features, weight
from .onnx_values import FEATURES, GIVEN, NEXT, Const, Dim, Kind, Node, Tracked, axis_size
from .weights import float32

TWO = (
    f"multiplies two computed matrices, as attention does; {NEXT}. A weight that is an input of "
    f"the model {GIVEN}"
)


def dense(b: Builder, node: Node, x: Tracked, axis: int, matrix: np.ndarray) -> Tracked:
    """A Dense over one axis of x; matrix [units, features]."""
    if 0 in matrix.shape:
        raise node.error(f"its weight has shape {list(matrix.shape)}")
    units = (Dim(matrix.shape[0], FEATURES),)
    if places := elsewhere(b, x, axis):
        x = take_features(b, node, x, [*places, axis])
        if axis_size(x.axes[axis]) != matrix.shape[1]:
            raise node.error(
                f"gets {axis_size(x.axes[axis])} features, its weights take {matrix.shape[1]}"
            )
        name = b.add(g.Conv2D, node, x.name, weight=matrix, taps=1, position_taps=1)
        order = tuple(d for i in places for d in x.axes[i])
        axes = (*x.axes[:axis], units, *x.axes[axis + 1 :])
        return Tracked(name, axes, (*order, *units))
    x = features(b, node, x, axis, matrix.shape[1])
    name = b.add(g.Dense, node, x.name, weight=matrix)
    return Tracked(name, (*x.axes[:axis], units, *x.axes[axis + 1 :]), units)


def elsewhere(b: Builder, x: Tracked, axis: int) -> list[int]:
    """The other axes that hold features, where it is sure that they can't be time: the product is
    taken at each place of those then."""
    if len(x.axes) > 3:
        b.decide(x)
    others = [i for i, a in enumerate(x.axes) if i != axis and any(is_features(d) for d in a)]
    timed = any(not d.guess or d.size is None for d in x.labelled(TIME))
    guessed = any(d.guess for i in others for d in x.axes[i] if is_features(d))
    whole = all(d.label == FEATURES for i in (axis, *others) for d in x.axes[i])
    return others if whole and (timed or not guessed) else []


def is_features(dim: Dim) -> bool:
    return dim.label == FEATURES and not dim.is_one()


def matmul(b: Builder, node: Node) -> list[Kind]:
    """MatMul-1, -9, -13 (numpy.matmul) with a constant matrix on either side."""
    if isinstance(node.input(0), Tracked) and isinstance(node.input(1), Tracked):
        raise node.error(TWO)
    left = isinstance(node.input(0), Const)
    x = node.value(1 if left else 0)
    const = node.const(0 if left else 1, "matrix")
    matrix = weight(const)
    rank = len(x.axes)
    if matrix.ndim > 2 and matrix.ndim <= rank and set(matrix.shape[:-2]) == {1}:
        matrix = matrix.reshape(matrix.shape[-2:])  # broadcast over the leading axes
    if matrix.ndim != 2 or rank < (2 if left else 1):
        raise node.error(
            f"multiplies a constant of shape {list(const.array.shape)} and a value of rank {rank}; "
            "a constant matrix of rank 2 is expected"
        )
    if left:
        return [dense(b, node, x, rank - 2, matrix)]
    return [dense(b, node, x, rank - 1, matrix.T)]


def gemm(b: Builder, node: Node) -> list[Kind]:
    """Gemm-7 to -13: Y = alpha A' B' + beta C, A or B constant."""
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    transposed = node.flag("transA"), node.flag("transB")
    if isinstance(node.input(0), Tracked) and isinstance(node.input(1), Tracked):
        raise node.error(TWO)
    side = 0 if isinstance(node.input(0), Const) else 1  # that of the constant
    const, x = node.const(side, "matrix"), node.value(1 - side)
    matrix = weight(const)
    if matrix.ndim != 2 or len(x.axes) != 2:
        raise node.error(
            f"takes matrices, got a constant of rank {matrix.ndim}, a value of rank {len(x.axes)}"
        )
    if transposed[side]:
        matrix = matrix.T
    if transposed[1 - side]:
        x = x.moved(x.axes[::-1])
    matrix = matrix if side == 0 else matrix.T
    with np.errstate(over="ignore"):
        matrix = float32(f"{const.name}, times alpha", matrix * np.float32(alpha))
    y = dense(b, node, x, side, matrix)  # the features are rows of B or columns of A
    if node.has(2) and beta:
        c = node.input(2)
        if isinstance(c, Const):
            with np.errstate(over="ignore"):
                scaled = float32(f"{c.name}, times beta", weight(c) * np.float32(beta))
            return [add(b, node, [y, Const(c.name, scaled)])]
        if beta != 1:
            raise node.error(f"adds a computed value times beta={beta:g}; {NEXT}")
        return [add(b, node, [y, node.value(2)])]
    return [y]


def add(b: Builder, node: Node, operands: list[Kind]) -> Tracked:
    """The sum; a constant that is added to what a Dense gives becomes a bias.

    Makes a second Dense that gives the sum: the first one goes if nobody reads it.
    """
    a = Aligned(b, node, operands)
    arrays = [p for p in a.parts if isinstance(p, np.ndarray)]
    names = [p for p in a.parts if isinstance(p, str)]
    if len(names) != 1 or len(arrays) != 1:
        return a.combine("add")
    maker = b.makers.get(names[0])
    if (
        not isinstance(maker, g.Dense)
        or maker.activation != g.LINEAR
        or maker.weight.shape[0] != a.features
    ):
        return a.affine(None, arrays[0])
    bias = arrays[0]
    if maker.bias is not None:
        with np.errstate(over="ignore"):
            bias = float32(f"{node.name}, the sum of two biases", maker.bias + bias)
    return a.result(b.add(g.Dense, node, *maker.inputs, weight=maker.weight, bias=bias))
