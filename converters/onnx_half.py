"""ONNX models in float16 or bfloat16: their weights and inputs widened, all arithmetic in float32.

Weights are widened without loss wherever they are used (:func:`.onnx_layers.weight`); expressions
of constants alone are computed in the type that the source has. What depends on inputs is float32
from the first layer to the last, and the provenance says so.
"""

from __future__ import annotations

from typing import Any

from .onnx_layers import Builder
from .onnx_values import Tracked

NOTE = (
    "{} weights widened to float32, and so is the arithmetic: sums are more exact than the source's"
)
HALVES = {10: NOTE.format("float16"), 16: NOTE.format("bfloat16")}  # by TensorProto.DataType


def is_half(value: Any) -> bool:
    """An input or output is declared float16."""
    return bool(value.type.tensor_type.elem_type == 10)


def widened(b: Builder, x: Tracked) -> Tracked:
    """What the graph reads of an input: a float16 one is float32 there, exactly."""
    if x.dtype != "float16":
        return x
    b.notes[HALVES[10]] = None
    return Tracked(x.name, x.axes, x.order)
