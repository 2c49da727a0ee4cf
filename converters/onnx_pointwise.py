"""ONNX's operators on elements and on the features of a step: arithmetic, functions, reductions,
normalisation, softmax, masks."""

from __future__ import annotations

import numpy as np

from lstmc import graph as g
from lstmc.graph import TIME

from .onnx_axes import not_batch
from .onnx_broadcast import Aligned
from .onnx_functions import OPERATORS, function
from .onnx_half import HALVES
from .onnx_layers import (
    Builder,
    Handler,
    arranged,
    fill,
    product,
    take_features,
    unmixed,
    weight,
)
from .onnx_matrix import add
from .onnx_sizes import arithmetic, is_open, sizes_equal
from .onnx_values import FEATURES, NEXT, Const, Kind, Node, Sizes, Tracked
from .weights import float32


def elementwise(b: Builder, node: Node) -> list[Kind]:
    """One function on each element; the table is :data:`.onnx_functions.OPERATORS`."""
    fn = OPERATORS[node.op](node)
    if fn.kind == "affine":
        return [apply(b, node, node.value(0), scale=fn.alpha)]
    return [activated(b, node, node.value(0), fn)]


def activated(b: Builder, node: Node, x: Tracked, fn: g.Fn) -> Tracked:
    name = b.add(g.Activation, node, x.name, activation=fn)
    return Tracked(name, x.axes, x.order)


def apply(b: Builder, node: Node, x: Tracked, scale: float, shift: float | None = None) -> Tracked:
    """scale x + shift."""
    constants: list[Kind] = [Const(node.name, np.array(scale, np.float32))]
    a = Aligned(b, node, [x, *constants])
    vector = np.full(a.features, scale, np.float32)
    return a.affine(vector, None if shift is None else np.full(a.features, shift, np.float32))


# ------------------------------------------------------------------------------------- arithmetic


def operands(node: Node) -> list[Kind]:
    found: list[Kind] = []
    for i in range(len(node.inputs)):
        kind = node.input(i)
        found.append(kind if isinstance(kind, Const) else node.value(i))
    if not any(isinstance(k, Tracked) for k in found):
        raise node.error("works on constants only; simplify the model first (onnxslim, onnxsim)")
    return found


def sum_(b: Builder, node: Node) -> list[Kind]:
    """Add-7, -13, -14; Sum-8, -13."""
    if len(node.inputs) == 1:
        return [node.value(0)]
    if len(node.inputs) == 2 and (sizes := arithmetic(b, node)) is not None:
        return sizes
    return [add(b, node, operands(node))]


def combined(op: str) -> Handler:
    """Max-8 on, Min-8 on, Mean-8, -13."""

    def handler(b: Builder, node: Node) -> list[Kind]:
        if len(node.inputs) == 1:
            return [node.value(0)]
        return [Aligned(b, node, operands(node)).combine(op)]

    return handler


def subtract(b: Builder, node: Node) -> list[Kind]:
    """Sub-7, -13, -14: x - c is x + (-c), c - x is -x + c, rounded once."""
    if (sizes := arithmetic(b, node)) is not None:
        return sizes
    first, second = operands(node)
    if isinstance(second, Const):
        return [add(b, node, [first, Const(second.name, -weight(second))])]
    a = Aligned(b, node, [first, second])
    if isinstance(first, Const):
        (shift,) = [p for p in a.parts if isinstance(p, np.ndarray)]
        return [a.affine(np.full_like(shift, -1), shift)]
    return [a.combine("subtract")]


def multiply(b: Builder, node: Node) -> list[Kind]:
    """Mul-7, -13, -14."""
    if (sizes := arithmetic(b, node)) is not None:
        return sizes
    a = Aligned(b, node, operands(node))
    arrays = [p for p in a.parts if isinstance(p, np.ndarray)]
    return [a.affine(arrays[0], None) if arrays else a.combine("multiply")]


def divide(b: Builder, node: Node) -> list[Kind]:
    """Div-7, -13, -14; a product where the divisors are powers of two."""
    if (sizes := arithmetic(b, node)) is not None:
        return sizes
    a = Aligned(b, node, operands(node))
    divisor = a.parts[1]
    if isinstance(divisor, np.ndarray):
        with np.errstate(divide="ignore", over="ignore"):
            factor = 1 / divisor
            normal = (np.abs(factor) >= 2.0**-126) & np.isfinite(factor)
            exact = normal & (np.abs(np.frexp(divisor)[0]) == 0.5)
        if np.all(exact):
            return [a.affine(factor, None)]
    return [a.combine("divide")]


def power(b: Builder, node: Node) -> list[Kind]:
    """Pow-7 on with a constant exponent of few."""
    exponent = node.scalar(1, "exponent")
    x = node.value(0)
    kinds = {2.0: "square", 0.5: "sqrt", -1.0: "reciprocal"}
    if exponent == 1:
        return [x]
    if exponent == 3:
        square = b.add(g.Activation, node, x.name, activation=function(node, "square"))
        cube = b.add(g.Combine, node, square, x.name, op="multiply")
        return [Tracked(cube, x.axes, x.order)]
    if exponent not in kinds:
        raise node.error(f"has the exponent {exponent:g}; supported are -1, 0.5, 1, 2 and 3")
    return [activated(b, node, x, function(node, kinds[exponent]))]


def prelu(b: Builder, node: Node) -> list[Kind]:
    """PRelu-7, -9, -16: relu(x) + slope min(x, 0), of which one term is 0."""
    x, slope = node.value(0), node.const(1, "slope")
    if slope.array.size == 1:
        return [activated(b, node, x, function(node, "leaky_relu", float(weight(slope).item())))]
    a = Aligned(b, node, [x, slope])
    if len(a.axes) != len(x.axes):
        raise node.error("its slope has more axes than its input")
    (name,) = [p for p in a.parts if isinstance(p, str)]
    (slopes,) = [p for p in a.parts if isinstance(p, np.ndarray)]
    zero = fill(b, node, x, np.zeros(1))
    below = b.add(g.Combine, node, name, zero, op="minimum")
    below = b.add(g.Affine, node, below, scale=slopes)
    above = b.add(g.Activation, node, name, activation=g.RELU)
    return [a.result(b.add(g.Combine, node, above, below, op="add"))]


# ------------------------------------------------------------------------------------------- masks


def cast(b: Builder, node: Node) -> list[Kind]:
    """Cast to float32 (TensorProto.FLOAT = 1) of anything, to float16 and bfloat16 without their
    rounding; of integers to wider ones; sizes stay integers. Integers up to 2^24 are exact."""
    to = node.attr("to")
    node.attr("saturate")
    node.attr("round_mode")
    kind = node.input(0)
    if isinstance(kind, Sizes) and (to in (6, 7) or (to == 1 and is_open(kind))):
        return [kind]  # as float32, which loops do to compare, only where nothing computes with it
    x = node.value(0, any_type=True)
    if to in (1, *HALVES):
        if to in HALVES:
            b.notes[HALVES[to]] = None
        return [Tracked(x.name, x.axes, x.order)]
    integers = {3: "int8", 5: "int16", 6: "int32", 7: "int64"}
    sizes = {"bool": 0, "uint8": 1, "int8": 1, "int16": 2, "int32": 3, "int64": 4}
    if to in integers and x.dtype in sizes:
        wanted = integers[to]
        wide = sizes[wanted] > sizes[x.dtype] or {wanted, x.dtype} == {"int32", "int64"}
        if wide or wanted == x.dtype:
            return [Tracked(x.name, x.axes, x.order, wanted)]
    raise node.error(f"attribute to={to} from {x.dtype} may change values; {NEXT}")


def equal(b: Builder, node: Node) -> list[Kind]:
    """Equal-7 on: of sizes, or of a value and one constant number."""
    kinds = [node.input(0), node.input(1)]
    if isinstance(kinds[0], Sizes) or isinstance(kinds[1], Sizes):
        return [sizes_equal(b, node, kinds)]
    side = 0 if isinstance(kinds[0], Const) else 1
    number = node.scalar(side, "number to compare with")
    x = node.value(1 - side, any_type=True)
    if float(np.float32(number)) != number or (x.dtype != "float32" and abs(number) > 2**24):
        raise node.error(f"compares with {number!r}, which float32 can't hold")
    other = activated(b, node, x, function(node, "not_equal", number))
    same = apply(b, node, other, -1.0, 1.0)
    return [Tracked(same.name, same.axes, same.order, "bool")]


def not_(b: Builder, node: Node) -> list[Kind]:
    x = node.value(0, any_type=True)
    if x.dtype != "bool":
        raise node.error(f"works on {x.dtype}, expected bool")
    y = apply(b, node, Tracked(x.name, x.axes, x.order), -1.0, 1.0)
    return [Tracked(y.name, y.axes, y.order, "bool")]


# ------------------------------------------------------------------------------------- reductions


def reduced(b: Builder, node: Node, x: Tracked, axes: list[int], op: str, keep: bool) -> Tracked:
    """x reduced over axes of features, of time, or both."""
    b.decide(x)
    inner = [d for i in axes for d in x.axes[i]]
    not_batch(node, inner, "reduces over the batch, which lstmc keeps row by row")
    rest = [d for i, axis in enumerate(x.axes) if i not in axes for d in axis]
    gone = [d for d in inner if d.label == FEATURES and not d.is_one()]
    left = [d for d in x.order if d in rest and d.label == FEATURES and not d.is_one()]
    name = x.name
    if gone and not left:
        name = b.add(g.Reduce, node, name, op=op)
    elif gone:
        # what is reduced as positions, what is left as their channels
        n, m = product(node, gone), product(node, left)
        source = arranged(b, node, x, [*gone, *left])
        name = b.add(g.PoolPositions, node, source.name, op=op, taps=n, channels=m)
        x = Tracked(name, x.axes, tuple(left), x.dtype)
    if any(d.label == TIME for d in inner):
        name = b.add(g.ReduceTime, node, name, op=op)
    kept = [() if i in axes else axis for i, axis in enumerate(x.axes) if keep or i not in axes]
    return Tracked(name, tuple(kept), tuple(d for d in x.order if d in rest))


def reduction(op: str) -> Handler:
    """ReduceSum-1, -11, -13, ReduceMean, ReduceMax, ReduceMin-1 to -20."""

    def handler(b: Builder, node: Node) -> list[Kind]:
        keep, nothing = node.flag("keepdims", 1), node.flag("noop_with_empty_axes")
        axes = node.ints(1, "axes")
        x = node.value(0)
        if not axes and nothing:
            return [x]
        axes = [node.axis(a, len(x.axes)) for a in axes or range(len(x.axes))]
        return [reduced(b, node, x, axes, op, keep)]

    return handler


def global_pool(op: str) -> Handler:
    """GlobalAveragePool-1, -22, GlobalMaxPool-1, -22: over all axes but the first two."""

    def handler(b: Builder, node: Node) -> list[Kind]:
        x = node.value(0)
        if len(x.axes) < 3:
            raise node.error(f"its input has rank {len(x.axes)}, expected 3 or more")
        return [reduced(b, node, x, list(range(2, len(x.axes))), op, True)]

    return handler


def softmax(b: Builder, node: Node) -> list[Kind]:
    """Softmax-13, LogSoftmax-13: over one axis. -1, -11: over all from ``axis`` on, as one."""
    x = node.value(0)
    rank, log = len(x.axes), node.op == "LogSoftmax"
    axis = node.axis(node.attr("axis", -1 if node.opset >= 13 else 1), rank)
    where = [axis] if node.opset >= 13 else list(range(axis, rank))
    x = unmixed(b, node, x)
    dims = [d for i in where for d in x.axes[i]]
    not_batch(node, dims, "is over the batch, which lstmc keeps row by row")
    if any(d.label == TIME and not d.is_one() for d in dims):
        if len([d for d in dims if not d.is_one()]) > 1:
            raise node.error("is over time and features at once")
        if log:
            raise node.error(f"is over time; {NEXT}, Softmax is")
        name = b.add(g.SoftmaxTime, node, x.name)
        return [Tracked(name, x.axes, x.order)]
    own = [d for d in dims if d.label == FEATURES]
    outside = [d for d in x.labelled(FEATURES) if d not in own]
    x = arranged(b, node, x, [*outside, *own])
    size = product(node, own) if any(not d.is_one() for d in outside) else 0
    name = b.add(g.Softmax, node, x.name, size=size, log=log)
    return [Tracked(name, x.axes, x.order)]


# ---------------------------------------------------------------------------------- normalisation


def normalisation(rms: bool) -> Handler:
    """LayerNormalization-17, RMSNormalization-23: over the axes from ``axis`` on."""

    def handler(b: Builder, node: Node) -> list[Kind]:
        node.only_outputs(1)
        if node.attr("stash_type", 1) != 1:
            raise node.error(f"attribute stash_type={node.attr('stash_type')}; {NEXT}, float32 is")
        epsilon = node.number("epsilon", 1e-5)
        x = node.value(0)
        axis = node.axis(node.attr("axis", -1), len(x.axes))
        where = list(range(axis, len(x.axes)))
        x = take_features(b, node, x, where)
        vectors = {}
        for i, name in ((1, "scale"), (2, "shift")):
            if i == 2 and (rms or not node.has(2)):
                continue
            const = node.const(i, name)
            a = Aligned(b, node, [x, Const(const.name, weight(const))])
            if len(a.axes) != len(x.axes) or a.order != tuple(x.labelled(FEATURES)):
                raise node.error(f"its {name} has shape {list(const.array.shape)}")
            vectors[name] = next(p for p in a.parts if isinstance(p, np.ndarray))
        name = b.add(g.LayerNorm, node, x.name, epsilon=epsilon, rms=rms, **vectors)
        return [Tracked(name, x.axes, x.order)]

    return handler


def batch_norm(b: Builder, node: Node) -> list[Kind]:
    """BatchNormalization-7 to -15 at inference: (x - mean) / sqrt(var + epsilon) scale + B."""
    node.only_outputs(1)
    node.attr("momentum")
    node.attr("spatial")
    if node.flag("training_mode"):
        raise node.error("training_mode is 1; export the model for inference (model.eval())")
    if node.attr("spatial", 1) != 1:
        raise node.error(f"attribute spatial=0; {NEXT}")
    epsilon = node.number("epsilon", 1e-5)
    x = node.value(0)
    names = ("scale", "B", "mean", "var")
    consts = [node.const(i, name) for i, name in enumerate(names, start=1)]
    arrays = [weight(c) for c in consts]
    if len(x.axes) < 2 or any(a.ndim != 1 or a.shape != arrays[0].shape for a in arrays):
        raise node.error(f"its constants have shapes {[list(a.shape) for a in arrays]}")
    scale, shift, mean, var = (a.astype(np.float64) for a in arrays)
    if np.any(var + epsilon <= 0):
        raise node.error("its variance is not above 0")
    factor = scale / np.sqrt(var + epsilon)
    found = []
    tail = (1,) * (len(x.axes) - 2)
    for name, array in (("scale", factor), ("shift", shift - mean * factor)):
        with np.errstate(over="ignore"):
            vector = float32(f"{node.name}, its {name}", array.astype(np.float32))
        a = Aligned(b, node, [x, Const(name, vector.reshape(-1, *tail))])
        found.append(next(p for p in a.parts if isinstance(p, np.ndarray)))
    return [a.affine(*found)]
