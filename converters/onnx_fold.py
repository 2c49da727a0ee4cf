"""Constant expressions: which ones are evaluated, how much they may make, and by whom.

onnx's reference evaluator computes them, and onnx's shape inference says before how many elements
that makes. A few bytes of file must not ask for any amount of memory or time, so an operator whose
work is not known to go by the sizes of its inputs and outputs is taken for small ones only; and
none that is random or has a body of nodes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .onnx_edges import all_finite, constant
from .onnx_file import reason
from .onnx_shapes import zeros
from .onnx_sizes import known
from .onnx_values import Const, Kind, Node

LIMIT = 1 << 26  # elements that the constant expressions of one model may make
MATRIX = 1 << 34  # multiply-adds of one product of matrices
OTHER = 1 << 24  # bounds the work of operators that we know nothing of
READ = 1 << 10  # elements of an input whose values may decide on shapes

NEVER = {
    *("Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike"),
    *("RandomUniform", "RandomUniformLike", "ImageDecoder"),
    *("DequantizeLinear", "DynamicQuantizeLinear"),  # their handlers say that they were there
}

# Work goes by the elements read and made.
LINEAR = {
    *("Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh"),
    *("BatchNormalization", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"),
    *("Cast", "CastLike", "Ceil", "Clip", "Compress", "Concat", "ConstantOfShape", "Cos", "Cosh"),
    "CumSum",
    *("DepthToSpace", "Div", "Elu", "Equal", "Erf", "Exp", "Expand", "EyeLike"),
    *("Flatten", "Floor", "Gather", "GatherElements", "Greater", "GreaterOrEqual", "HardSigmoid"),
    *("Identity", "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "Max"),
    *("Mean", "Min", "Mod", "Mul", "Neg", "NonZero", "Not", "Or", "PRelu", "Pad", "Pow"),
    *("QuantizeLinear", "Range", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum"),
    *("ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"),
    *("ReduceSumSquare", "Relu", "Reshape", "Round", "Selu", "Shape", "Sigmoid", "Sign", "Sin"),
    *("Sinh", "Size", "Slice", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt"),
    *("Squeeze", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Tile", "Transpose"),
    *("Trilu", "Unique", "Unsqueeze", "Where", "Xor"),
}


class TooLarge(Exception):
    """A constant expression asks for more than we make."""


def elements(proto: Any, opset: int, arrays: list[np.ndarray]) -> int | None:
    """How many elements a node makes of these arrays, by onnx's shape inference.

    None if it can't say, or if the node is not one to evaluate. :class:`TooLarge` if its work is
    beyond all bounds; whatever onnx says of inputs that don't fit.
    """
    import onnx

    bodies = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    if proto.op_type in NEVER or any(a.type in bodies for a in proto.attribute):
        return None
    made = bounded(proto.op_type, arrays)
    if made is None:
        shapes = inferred(proto, opset, arrays)
        if shapes is None:
            return None
        made = sum(math.prod(s) for s in shapes)
    check(proto, arrays, made)
    return made


def bounded(op: str, arrays: list[np.ndarray]) -> int | None:
    """The most that an operator makes whose number of elements depends on values."""
    size = arrays[0].size
    most = {"NonZero": size * arrays[0].ndim, "Compress": size, "Unique": 4 * size}
    return most.get(op)


def inferred(proto: Any, opset: int, arrays: list[np.ndarray]) -> list[tuple[int, ...]] | None:
    """The shapes of a node's outputs, None if one is unknown."""
    import onnx

    names = [n for n in proto.input if n]
    given = dict(zip(names, arrays, strict=True))
    helper = onnx.helper
    model = single(
        proto,
        opset,
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in given.items()
        ],
        [onnx.numpy_helper.from_array(a, n) for n, a in given.items() if a.size <= READ],
    )
    # Not strict: old operators check less than the evaluator does, which says what doesn't fit.
    result = onnx.shape_inference.infer_shapes(model, data_prop=True)
    types = {v.name: v.type for v in result.graph.output}
    shapes = []
    for name in (n for n in proto.output if n):
        tensor = types[name].tensor_type
        dims = list(tensor.shape.dim)
        if not tensor.HasField("shape") or any(not d.HasField("dim_value") for d in dims):
            return None
        shapes.append(tuple(max(d.dim_value, 0) for d in dims))
    return shapes


def check(proto: Any, arrays: list[np.ndarray], made: int) -> None:
    """TooLarge if a node's work can't be bounded to what a conversion may take."""
    op = proto.op_type
    if op in LINEAR:
        return
    if op in ("MatMul", "Gemm"):
        if made * max(arrays[0].shape, default=1) > MATRIX:
            raise TooLarge
        return
    # Each element made may read all of the inputs, as often as attributes say.
    work = math.prod(max(a.size, 1) for a in arrays) * max(made, 1)
    for attribute in proto.attribute:
        for n in (attribute.i, *attribute.ints):
            work *= max(abs(n), 1)
    if work > OTHER:
        raise TooLarge


def evaluate(proto: Any, opset: int, arrays: list[np.ndarray]) -> list[Any] | None:
    """Run one node in onnx's reference evaluator, None if it can't; an output without a name is
    None."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    names = [n for n in proto.input if n]
    inputs = [onnx.helper.make_empty_tensor_value_info(n) for n in dict.fromkeys(names)]
    try:
        evaluator = ReferenceEvaluator(single(proto, opset, inputs))
    except Exception:  # an operator, or a version of one, that it doesn't have
        return None
    found = iter(evaluator.run(None, dict(zip(names, arrays, strict=True))))
    return [next(found) if n else None for n in proto.output]


def single(proto: Any, opset: int, inputs: list[Any], initializers: Any = ()) -> Any:
    """A model of one node."""
    import onnx

    helper = onnx.helper
    outputs = [helper.make_empty_tensor_value_info(n) for n in proto.output if n]
    graph = helper.make_graph([proto], "constants", inputs, outputs, list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


class Folder:
    """Evaluates the constant expressions of one model, within bounds for all of them."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.folded = 0

    def fold(self, node: Node, proto: Any) -> list[Kind] | None:
        """The outputs of a constant expression, None if it isn't one we may evaluate."""
        if node.op == "Constant":
            return [Const(node.outputs[0], constant(node))]
        consts = [known(k) for k in node.inputs if k is not None]
        arrays = [k.array for k in consts if k is not None]
        if node.domain or not consts or len(arrays) < len(consts):
            return None
        try:
            with np.errstate(all="ignore"):
                size = elements(proto, self.opset, arrays)
                if size is None:
                    return None
                if self.folded + size > LIMIT:
                    raise TooLarge
                results = evaluate(proto, self.opset, arrays)
                if results is None:
                    return None
        except TooLarge:
            if node.op == "ConstantOfShape" or zeros(node) is not None:
                return None  # an initial state, perhaps: zeros need not be made
            raise node.error(
                f"constant expressions make over {LIMIT} elements, or take long; "
                "simplify the model first (onnxslim, onnxsim)"
            ) from None
        except Exception as e:  # whatever numpy and onnx say about operands that don't fit
            raise node.error(f"this constant expression can't be evaluated: {reason(e)}") from e
        self.folded += size
        # messages about bad values should name the initializer they come from
        bad = (k.name for k in consts if k is not None and not all_finite(k.array))
        origin = next(bad, None)
        return [
            Const(origin or n, np.asarray(a)) for n, a in zip(node.outputs, results, strict=True)
        ]
