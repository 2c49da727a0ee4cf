"""ONNX operators as layers: the registry :data:`HANDLERS`.

A handler takes the :class:`.onnx_layers.Builder` and a :class:`.onnx_values.Node` and returns what
the node's outputs are, in order. It reads every attribute it knows with ``node.attr``; one that no
handler reads is refused. Specifications are those of https://onnx.ai/onnx/operators/, cited by
operator.
"""

from __future__ import annotations

from lstmc.errors import ConversionError

from . import onnx_conv as conv
from . import onnx_loop_parts as loop_parts
from . import onnx_loops as loops
from . import onnx_moves as moves
from . import onnx_parts as parts
from . import onnx_pointwise as pointwise
from . import onnx_quantised as quantised
from . import onnx_shapes as shapes
from . import onnx_sizes as sizes
from .onnx_axes import LabelConflict
from .onnx_functions import OPERATORS
from .onnx_layers import Builder, Handler
from .onnx_matrix import gemm, matmul
from .onnx_recurrent import GRU, LSTM, RNN, recurrent
from .onnx_transposed import conv_transpose
from .onnx_values import Inner, Kind, Node

HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(OPERATORS, pointwise.elementwise),
    "Add": loop_parts.of_length(pointwise.sum_),
    "And": loop_parts.both,
    "AveragePool": conv.pool("mean"),
    "BatchNormalization": pointwise.batch_norm,
    "Cast": pointwise.cast,
    "Concat": moves.concat,
    "ConcatFromSequence": loop_parts.concat,
    "ConstantOfShape": shapes.constant_of_shape,
    "Conv": conv.conv,
    "ConvTranspose": conv_transpose,
    "DequantizeLinear": quantised.dequantize_linear,
    "Div": pointwise.divide,
    "Dropout": shapes.dropout,
    "DynamicQuantizeLinear": quantised.dynamic_quantize_linear,
    "Equal": pointwise.equal,
    "Expand": moves.expand,
    "Flatten": shapes.flatten,
    "GRU": recurrent(GRU),
    "Gather": parts.gather,
    "Gemm": gemm,
    "GlobalAveragePool": pointwise.global_pool("mean"),
    "GlobalMaxPool": pointwise.global_pool("maximum"),
    "Identity": shapes.identity,
    "LSTM": recurrent(LSTM),
    "LayerNormalization": pointwise.normalisation(rms=False),
    "Less": loop_parts.compare,
    "LogSoftmax": pointwise.softmax,
    "Loop": loops.loop,
    "MatMul": matmul,
    "MatMulInteger": quantised.matmul_integer,
    "Max": pointwise.combined("maximum"),
    "MaxPool": conv.pool("maximum"),
    "Mean": pointwise.combined("mean"),
    "Min": pointwise.combined("minimum"),
    "Mul": pointwise.multiply,
    "Not": pointwise.not_,
    "PRelu": pointwise.prelu,
    "Pad": moves.pad,
    "Pow": pointwise.power,
    "QuantizeLinear": quantised.quantize_linear,
    "RMSNormalization": pointwise.normalisation(rms=True),
    "RNN": recurrent(RNN),
    "ReduceMax": pointwise.reduction("maximum"),
    "ReduceMean": pointwise.reduction("mean"),
    "ReduceMin": pointwise.reduction("minimum"),
    "ReduceSum": pointwise.reduction("sum"),
    "Reshape": shapes.reshape,
    "ReverseSequence": moves.reverse_sequence,
    "ScatterND": moves.scatter_nd,
    "Shape": sizes.shape,
    "Size": sizes.size,
    "Scan": loops.scan,
    **dict.fromkeys(("SequenceAt", "SequenceInsert", "SequenceLength"), loop_parts.lists),
    "SequenceEmpty": loop_parts.sequence_empty,
    "Slice": parts.slice_,
    "Softmax": pointwise.softmax,
    "Split": parts.split,
    "SplitToSequence": loop_parts.split_to_sequence,
    "Squeeze": shapes.squeeze,
    "Sub": loop_parts.of_length(pointwise.subtract),
    "Sum": pointwise.sum_,
    "Tile": moves.tile,
    "Transpose": shapes.transpose,
    "Unsqueeze": shapes.unsqueeze,
    "Where": sizes.where,
}

# Operators of other domains, by domain and name.
FOREIGN: dict[tuple[str, str], Handler] = {
    ("com.microsoft", "DequantizeLinear"): quantised.dequantize_linear,
    ("com.microsoft", "DynamicQuantizeLSTM"): quantised.dynamic_quantize_lstm,
    ("com.microsoft", "DynamicQuantizeMatMul"): quantised.dynamic_quantize_matmul,
    ("com.microsoft", "MatMulIntegerToFloat"): quantised.matmul_integer_to_float,
    ("com.microsoft", "QuantizeLinear"): quantised.quantize_linear,
}


def run(b: Builder, node: Node) -> list[Kind]:
    """What a node's outputs are; ConversionError if that can't be represented."""
    handler = FOREIGN[node.domain, node.op] if node.domain else HANDLERS.get(node.op)
    inner = next((k.part for k in node.inputs if isinstance(k, Inner)), None)
    if inner is not None and not node.domain:
        table = loop_parts.HANDLERS if isinstance(inner, loop_parts.Part) else quantised.HANDLERS
        handler = table.get(node.op, handler)
    if (result := shapes.zeros(node)) is not None:
        return result
    if handler is None:
        known = ", ".join(sorted(HANDLERS))
        raise node.error(f"this operator is not supported; known: {known}")
    try:
        result = handler(b, node)
    except LabelConflict:
        raise
    except ConversionError as e:
        if (earlier := loop_parts.misused(node)) is not None:
            raise earlier from e
        if str(e).startswith("node "):
            raise
        raise node.error(str(e)) from e
    if unknown := set(node.attrs) - node.seen:
        raise node.error(f"attribute {sorted(unknown)[0]} is not known for this operator")
    return result
