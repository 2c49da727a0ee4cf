"""ONNX's quantised operators with float32 weights: integers become the numbers they stand for.

A weight is (q - zero_point) * scale, one scale for all or one for each output. Activations that
the source quantises while it runs stay as they are: a tensor x between quantising and dequantising
is known as the value that it stands for, and a product of integers waits for its scales
(:class:`Product`), so that a weight is rounded once. Saturation of static quantisation is kept as
a clip. The provenance says what was left out.

Sources: https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html and its like; ONNX Runtime's
docs/ContribOperators.md for com.microsoft.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lstmc import graph as g

from . import onnx_conv
from .onnx_layers import Builder, Handler, weight
from .onnx_matrix import add, dense
from .onnx_recurrent import LSTM, recurrent
from .onnx_values import NEXT, Const, Inner, Kind, Node, Tracked

NOTE = (
    "quantised weights were dequantised to float32; activations are not quantised, so outputs "
    "differ from the source's by its own quantisation error"
)


@dataclass
class Quantised:
    """The integers of a value x, x / scale + zero_point; scale and zero point are its own, by
    identity where they are computed from x, by number where they are constant."""

    x: Tracked
    low: float = -np.inf
    high: float = np.inf
    fixed: tuple[float, int] | None = None  # scale and zero point


@dataclass
class Scale:
    """The scale of a quantised value, times a constant."""

    of: Quantised
    factor: np.ndarray


@dataclass
class ZeroPoint:
    of: Quantised


@dataclass
class Product:
    """A product of integers, x / scale times q - zero_point: what ``finish`` makes of the factor
    that is still to come, but for x's own scale. Without ``of``, x is integers of a table."""

    of: Quantised | None
    finish: Callable[[Builder, np.ndarray], list[Kind]]
    factor: np.ndarray


ONE = Const("scale", np.ones((), np.float32))


def part(node: Node, index: int) -> object:
    kind = node.input(index)
    return kind.part if isinstance(kind, Inner) else kind


# ---------------------------------------------------------------------------------------- weights


def along(array: np.ndarray, like: np.ndarray, axis: int, block: int) -> np.ndarray:
    """A scale or zero point as an array that goes with ``like``; ValueError if it doesn't."""
    if array.size == 1:
        return array.reshape(())
    if block:
        if array.shape[axis] != -(-like.shape[axis] // block):
            raise ValueError
        return np.repeat(array, block, axis)[tuple(slice(n) for n in like.shape)]
    if array.ndim != 1:
        raise ValueError
    return array.reshape([-1 if i == axis else 1 for i in range(like.ndim)])


def dequantised(
    node: Node, q: Const, scale: Const, zero: Const | None, axis: int, block: int = 0
) -> np.ndarray:
    """(q - zero_point) * scale in float32; the difference is exact."""
    shapes = [list(a.array.shape) for a in (q, scale, zero) if a is not None]
    unfit = node.error(f"its weight, scale and zero point don't fit: {', '.join(map(str, shapes))}")
    if not q.array.dtype.name.startswith(("int", "uint", "float8", "float4")):
        raise node.error(f"dequantises {q.array.dtype}; {NEXT}")
    axis = node.axis(axis, max(q.array.ndim, 1))
    factor = weight(scale)
    try:
        whole = q.array.astype(np.float64)
        if zero is not None:
            whole = whole - along(zero.array.astype(np.float64), q.array, axis, block)
        with np.errstate(over="ignore"):
            result = whole.astype(np.float32) * along(factor, q.array, axis, block)
    except ValueError as e:
        raise unfit from e
    if result.shape != q.array.shape:
        raise unfit
    return np.asarray(result)


def constants(node: Node, *where: int) -> list[Const | None]:
    """Weight, scale and zero point (None where there is none) at these inputs."""
    names = ("weight", "scale", "zero point")
    return [node.const(i, n) if node.has(i) else None for i, n in zip(where, names, strict=False)]


def needed(node: Node, const: Const | None, what: str) -> Const:
    if const is None:
        raise node.error(f"its {what} is missing")
    return const


# ------------------------------------------------------------- QuantizeLinear, DequantizeLinear


def dequantize_linear(b: Builder, node: Node) -> list[Kind]:
    """DequantizeLinear-10 to -25: of a constant; of rows that a table of integers gives; of what
    QuantizeLinear made with the same constants."""
    axis, block = node.attr("axis", 1), node.attr("block_size", 0)
    node.attr("output_dtype")
    kind = part(node, 0)
    q, scale, zero = constants(node, 0, 1, 2) if isinstance(kind, Const) else (
        None, *constants(node, 1, 2)
    )  # fmt: skip
    scale = needed(node, scale, "scale")
    if q is not None:
        b.notes[NOTE] = None
        if scale.array.size == 1 and not block:
            axis = 0  # of no account then, and 1 doesn't fit a vector
        return [Const(q.name, dequantised(node, q, scale, zero, axis, block))]
    if isinstance(kind, Quantised):
        if kind.fixed != fixed(node, scale, zero):
            raise node.error("its scale or zero point is not the one that the value has")
        return [clipped(b, node, kind)]
    return [rows(b, node, scale, zero)]


def rows(b: Builder, node: Node, scale: Const, zero: Const | None) -> Tracked:
    """What integers that a table gives (input 0) stand for: those rows, dequantised."""
    x = node.value(0, any_type=True)
    maker = b.makers.get(x.name)
    if not isinstance(maker, g.Embedding) or x.dtype not in ("int8", "uint8"):
        raise node.error(f"works on {x.dtype} that the model computes; {NEXT}")
    if scale.array.size != 1 or (zero is not None and zero.array.size != 1):
        raise node.error("dequantises rows of a table with several scales; one for all is expected")
    b.notes[NOTE] = None
    table = dequantised(node, Const(node.name, maker.weight.astype(np.int32)), scale, zero, 0)
    return Tracked(b.add(g.Embedding, node, *maker.inputs, weight=table), x.axes, x.order)


def fixed(node: Node, scale: Const, zero: Const | None) -> tuple[float, int]:
    if scale.array.size != 1 or (zero is not None and zero.array.size != 1):
        raise node.error("quantises a value with several scales; only one for all is supported")
    point = 0 if zero is None else int(zero.array.reshape(-1)[0])
    return float(weight(scale).reshape(-1)[0]), point


RANGES = {2: "uint8", 3: "int8", 4: "uint16", 5: "int16"}  # by TensorProto.DataType


def quantize_linear(b: Builder, node: Node) -> list[Kind]:
    """QuantizeLinear-10 to -25 of a value, to 8 or 16 bits with one constant scale."""
    node.attr("axis")
    node.attr("saturate")
    if node.attr("block_size", 0) or node.attr("precision", 0):
        raise node.error("quantises in blocks, or in another precision; only as a whole")
    to = RANGES.get(node.attr("output_dtype", 0) or 2, "other integers")
    x = node.value(0)
    scale, zero = constants(node, 1, 2)
    scale = needed(node, scale, "scale")
    step, shift = fixed(node, scale, zero)
    name = to if zero is None else zero.array.dtype.name
    if name not in RANGES.values() or not step > 0:
        raise node.error(f"quantises to {name} with the scale {step:g}; {NEXT}")
    limits = np.iinfo(name)
    low, high = ((n - shift) * step for n in (limits.min, limits.max))
    return [Inner(Quantised(x, low, high, (step, shift)))]


def clipped(b: Builder, node: Node, of: Quantised) -> Tracked:
    """The value without its rounding to integers, yet within what those can say."""
    b.notes[NOTE] = None
    bound = g.Fn("clip", float(np.float32(of.low)), float(np.float32(of.high)))
    name = b.add(g.Activation, node, of.x.name, activation=bound)
    return Tracked(name, of.x.axes, of.x.order)


# ---------------------------------------------------------------------------- products of integers


def dynamic_quantize_linear(b: Builder, node: Node) -> list[Kind]:
    """DynamicQuantizeLinear-11: the integers, their scale, their zero point. Its range is that of
    the data, so nothing saturates."""
    of = Quantised(node.value(0))
    return [Inner(of), Inner(Scale(of, np.ones((), np.float32))), Inner(ZeroPoint(of))]


def quantised(node: Node, index: int, scale: int | None, zero: int) -> Quantised:
    """An operand that DynamicQuantizeLinear made, with its own zero point (and scale)."""
    of = part(node, index)
    if not isinstance(of, Quantised) or of.fixed is not None:
        raise node.error(
            "multiplies integers that are not made by DynamicQuantizeLinear; "
            "quantise dynamically, or export the float model"
        )
    point = part(node, zero) if node.has(zero) else None
    if not isinstance(point, ZeroPoint) or point.of is not of:
        raise node.error("its zero point is not that of the value it multiplies")
    if scale is not None:
        own = part(node, scale)
        if not isinstance(own, Scale) or own.of is not of or np.any(own.factor != 1):
            raise node.error("its scale is not that of the value it multiplies")
    return of


def matrix(node: Node, q: int, scale: Const | None, zero: int) -> Const:
    """A matrix [features, units] of integers as float32."""
    const, point = node.const(q, "matrix"), constants(node, zero)[0]
    if const.array.ndim != 2:
        raise node.error(f"multiplies by integers of rank {const.array.ndim}, expected a matrix")
    return Const(const.name, dequantised(node, const, scale or ONE, point, 1))


def product(b: Builder, node: Node, x: Tracked, w: Const) -> Tracked:
    b.notes[NOTE] = None
    return dense(b, node, x, len(x.axes) - 1, weight(w).T)


def matmul_integer(b: Builder, node: Node) -> list[Kind]:
    """MatMulInteger-10 of a value and a constant matrix."""
    whole = matrix(node, 1, None, 3)
    if isinstance(part(node, 0), Tracked):
        x = rows(b, node, ONE, constants(node, 2)[0])
        return [Inner(Product(None, lambda b, _: [product(b, node, x, whole)], ONE.array))]
    of = quantised(node, 0, None, 2)

    def finish(b: Builder, factor: np.ndarray) -> list[Kind]:
        scale = Const(f"{node.name}, its scale", np.asarray(factor).reshape(-1))
        return [product(b, node, of.x, Const(whole.name, scaled(node, whole.array, scale, 1)))]

    return [Inner(Product(of, finish, ONE.array))]


def scaled(node: Node, whole: np.ndarray, scale: Const, axis: int) -> np.ndarray:
    """Integers as float32 times a scale for all, or one for each place of an axis."""
    try:
        result = whole * along(weight(scale), whole, axis, 0)
    except ValueError as e:
        result = np.zeros(0)
        cause: Exception | None = e
    else:
        cause = None
    if result.shape != whole.shape:
        shape = list(scale.array.shape)
        raise node.error(f"its scale {shape} doesn't fit its weight {list(whole.shape)}") from cause
    return np.asarray(result)


def conv_integer(b: Builder, node: Node) -> list[Kind]:
    """ConvInteger-10 of a value and constant filters; its padding is the zero point, which is 0."""
    of = quantised(node, 0, None, 2)
    const, zero = node.const(1, "weight W"), constants(node, 3)[0]
    whole = dequantised(node, const, ONE, zero, 0)

    def finish(b: Builder, factor: np.ndarray) -> list[Kind]:
        b.notes[NOTE] = None
        scale = Const(f"{node.name}, its scale", np.asarray(factor).reshape(-1))
        w = Const(const.name, scaled(node, whole, scale, 0))
        names = node.input_names[:2]
        return onnx_conv.conv(b, replace(node, op="Conv", inputs=[of.x, w], input_names=names))

    node.seen.update(node.attrs)  # they are Conv's, which reads them in the end
    return [Inner(Product(of, finish, ONE.array))]


def cast(b: Builder, node: Node) -> list[Kind]:
    """Cast of a product to float32."""
    this = part(node, 0)
    if node.attr("to") != 1 or not isinstance(this, Product):
        raise node.error(f"attribute to={node.attr('to')} of a quantised value; {NEXT}")
    node.attr("saturate")
    node.attr("round_mode")
    return [node.input(0)] if this.of is not None else this.finish(b, this.factor)


def multiply(b: Builder, node: Node) -> list[Kind]:
    """Scales with scales, and a product with the scales that it waits for."""
    for this, other in ((part(node, 0), part(node, 1)), (part(node, 1), part(node, 0))):
        if isinstance(this, Scale | Product) and isinstance(other, Const):
            with np.errstate(over="ignore"):
                return [Inner(replace(this, factor=this.factor * weight(other)))]
        if isinstance(this, Product) and isinstance(other, Scale) and this.of is other.of:
            return this.finish(b, this.factor * other.factor)
    raise node.error("multiplies quantised values in a way that is not supported")


def identity(b: Builder, node: Node) -> list[Kind]:
    return [node.input(0)]


# Operators that take an Inner among their inputs.
HANDLERS: dict[str, Handler] = {
    "Cast": cast,
    "ConvInteger": conv_integer,
    "Identity": identity,
    "MatMulInteger": matmul_integer,
    "Mul": multiply,
}


# ------------------------------------------------------------------------------------ com.microsoft


def biased(b: Builder, node: Node, y: Tracked, index: int) -> list[Kind]:
    return [add(b, node, [y, node.const(index, "bias")]) if node.has(index) else y]


def dynamic_quantize_matmul(b: Builder, node: Node) -> list[Kind]:
    """DynamicQuantizeMatMul: A, B, b_scale, b_zero_point, bias."""
    w = matrix(node, 1, node.const(2, "scale"), 3)
    return biased(b, node, product(b, node, node.value(0), w), 4)


def matmul_integer_to_float(b: Builder, node: Node) -> list[Kind]:
    """MatMulIntegerToFloat: A, B, a_scale, b_scale, a_zero_point, b_zero_point, bias."""
    of = quantised(node, 0, 2, 4)
    w = matrix(node, 1, node.const(3, "scale"), 5)
    return biased(b, node, product(b, node, of.x, w), 6)


def dynamic_quantize_lstm(b: Builder, node: Node) -> list[Kind]:
    """DynamicQuantizeLSTM: LSTM's inputs, W [D, I, 4H] and R [D, H, 4H], then their scales and zero
    points, [D] or [D, 4H]."""
    for index, name, scale in ((1, "W", 8), (2, "R", 10)):
        q, factor = node.const(index, name), node.const(scale, f"scale of {name}")
        zero = node.const(scale + 1, f"zero point of {name}") if node.has(scale + 1) else None
        if q.array.ndim != 3:
            raise node.error(f"its weight {name} has rank {q.array.ndim}, expected 3")
        sides = range(len(q.array))
        arrays = [factor.array, *([] if zero is None else [zero.array])]
        if any(a.ndim not in (1, 2) or len(a) != len(sides) for a in arrays):
            raise node.error(f"the scale or zero point of {name} doesn't fit two directions or one")
        whole = [
            dequantised(
                node,
                Const(q.name, q.array[i]),
                Const(factor.name, factor.array[i].reshape(-1)),
                None if zero is None else Const(zero.name, zero.array[i].reshape(-1)),
                1,
            )
            for i in sides
        ]
        node.inputs[index] = Const(q.name, np.stack(whole).transpose(0, 2, 1))
    node.inputs[8:] = []
    b.notes[NOTE] = None
    return recurrent(LSTM)(b, node)
