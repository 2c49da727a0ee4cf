"""Constant expressions: which ones are evaluated, how much they may make, and by whom.

onnx's reference evaluator computes them. A few bytes of file must not ask for any amount of memory
or time, so only operators are taken whose result's size is known before, and none with a loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

LIMIT = 1 << 26  # elements that the constant expressions of one model may make


def broadcast(arrays: list[np.ndarray], attrs: dict[str, Any]) -> int:
    return math.prod(np.broadcast_shapes(*(a.shape for a in arrays)))


def total(arrays: list[np.ndarray], attrs: dict[str, Any]) -> int:
    return sum(a.size for a in arrays)


def gathered(arrays: list[np.ndarray], attrs: dict[str, Any]) -> int:
    data, index = arrays
    return data.size // max(1, data.shape[attrs.get("axis", 0)]) * index.size


def expanded(arrays: list[np.ndarray], attrs: dict[str, Any]) -> int:
    return math.prod(np.broadcast_shapes(arrays[0].shape, tuple(arrays[1].tolist())))


def filled(arrays: list[np.ndarray], attrs: dict[str, Any]) -> int:
    return math.prod(arrays[0].tolist())


def tiled(arrays: list[np.ndarray], attrs: dict[str, Any]) -> int:
    return arrays[0].size * math.prod(arrays[1].tolist())


# Operators that may be evaluated, each with the number of elements it makes.
SIZES: dict[str, Callable[[list[np.ndarray], dict[str, Any]], int]] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Equal", "Where"), broadcast),
    **dict.fromkeys(("Cast", "Concat", "Flatten", "Identity", "Neg", "Reshape", "Shape"), total),
    **dict.fromkeys(("Slice", "Split", "Sqrt", "Squeeze", "Transpose", "Unsqueeze"), total),
    "Gather": gathered,
    "Expand": expanded,
    "ConstantOfShape": filled,
    "Tile": tiled,
}


def evaluate(proto: Any, opset: int, arrays: list[np.ndarray]) -> list[Any]:
    """Run one node in onnx's reference evaluator."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    helper = onnx.helper
    names = [n for n in proto.input if n]
    inputs = [helper.make_empty_tensor_value_info(n) for n in dict.fromkeys(names)]
    outputs = [helper.make_empty_tensor_value_info(n) for n in proto.output]
    model = helper.make_model(
        helper.make_graph([proto], "constants", inputs, outputs),
        opset_imports=[helper.make_opsetid("", opset)],
    )
    return list(ReferenceEvaluator(model).run(None, dict(zip(names, arrays, strict=True))))
