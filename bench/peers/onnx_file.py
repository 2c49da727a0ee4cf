"""The ONNX model of a network, for the two peers that read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from workloads import Case

    from lstmc import graph as g

GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}  # ONNX's i o f c, z r h of lstmc's
STATES = {"LSTM": ("h", "c"), "GRU": ("h",), "RNN": ("h",)}


def expressible(case: Case) -> bool:
    """ONNX's LSTM has no projection."""
    return case.kind != "projected"


def serialized(case: Case, layers: list[g.Layer]) -> bytes:
    """x -> y; for a step also h (and c) -> hn (and cn). y of recurrent layers is [T, D, B, H]."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    make = _recurrent if case.recurrent else _plain
    node, weights, shapes = make(helper, case, layers)
    infos = [
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in side.items()]
        for side in shapes
    ]
    constants = [numpy_helper.from_array(np.ascontiguousarray(w), n) for n, w in weights.items()]
    graph = helper.make_graph([node], case.kind, *infos, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def output_shape(case: Case) -> tuple[int, ...]:
    if case.kind == "dense":
        return case.batch, case.features
    if case.kind == "conv1d":
        return case.batch, case.features, case.time
    directions = case.features // case.hidden_size
    return case.time, directions, case.batch, case.hidden_size


def as_ours(case: Case, y: np.ndarray) -> np.ndarray:
    """y in lstmc's layout."""
    if case.kind == "conv1d":
        return y.swapaxes(1, 2)
    if case.recurrent:
        y = y.swapaxes(1, 2).reshape(case.time, case.batch, case.features)
    return y


def as_theirs(case: Case, x: np.ndarray) -> np.ndarray:
    """x in ONNX's layout: a view, but for Conv1D."""
    return np.ascontiguousarray(x.swapaxes(1, 2)) if case.kind == "conv1d" else x


def state_names(case: Case) -> tuple[str, ...]:
    """Of the inputs; those of the outputs have an n behind them."""
    return STATES[_operator(case)] if case.step else ()


def _operator(case: Case) -> str:
    return {"gru": "GRU", "rnn": "RNN"}.get(case.kind, "LSTM")


def _recurrent(helper: Any, case: Case, layers: list[g.Layer]) -> tuple[Any, dict, list[dict]]:
    operator = _operator(case)
    cells = [layer for layer in layers if hasattr(layer, "weight_ih")]
    order = GATES[operator]

    def gates(w: np.ndarray) -> np.ndarray:
        blocks = np.split(w, len(order))
        return np.concatenate([blocks[i] for i in order])

    def bias(cell: Any) -> np.ndarray:
        second = np.zeros_like(cell.bias)
        if operator == "GRU":
            second[-case.hidden_size :] = cell.recurrent_bias
        return np.concatenate([gates(cell.bias), gates(second)])

    weights = {
        "W": np.stack([gates(c.weight_ih) for c in cells]),
        "R": np.stack([gates(c.weight_hh) for c in cells]),
        "B": np.stack([bias(c) for c in cells]),
    }
    states = state_names(case)
    inputs = ["x", "W", "R", "B", "", *(states or [""] * len(STATES[operator]))]
    if case.kind == "peephole":
        i, f, o = np.split(cells[0].peephole, 3)
        weights["P"] = np.concatenate([i, o, f])[None]
        inputs.append("P")
    more = {"linear_before_reset": 1} if operator == "GRU" else {}
    if case.kind == "bilstm":
        more["direction"] = "bidirectional"
    node = helper.make_node(
        operator, inputs, ["y", *(n + "n" for n in STATES[operator])],
        hidden_size=case.hidden_size, **more,
    )  # fmt: skip
    state = (len(cells), case.batch, case.hidden_size)
    given = {"x": case.input_shape} | dict.fromkeys(states, state)
    made = {"y": output_shape(case)} | {n + "n": state for n in states}
    return node, weights, [given, made]


def _plain(helper: Any, case: Case, layers: list[g.Layer]) -> tuple[Any, dict, list[dict]]:
    (layer,) = layers
    shape: tuple[int, ...] = case.input_shape
    if case.kind == "dense":
        weights = {"W": layer.weight, "B": layer.bias}
        node = helper.make_node("Gemm", ["x", "W", "B"], ["y"], transB=1)
    else:
        kernel = layer.weight.reshape(case.hidden_size, layer.taps, case.input_size)
        weights = {"W": kernel.swapaxes(1, 2), "B": layer.bias}
        pads = [layer.before, layer.after]
        node = helper.make_node("Conv", ["x", "W", "B"], ["y"], pads=pads)
        shape = case.batch, case.input_size, case.time
    return node, weights, [{"x": shape}, {"y": output_shape(case)}]
