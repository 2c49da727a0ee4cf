"""ONNX's LSTM, GRU and RNN (opsets 7, 14, 22) as layers: one frame, three cells.

Source: https://onnx.ai/onnx/operators/onnx__LSTM.html and its like. Where the text is silent:
``input_forget`` means f = 1 - i, as in ONNX Runtime; a row of ``sequence_lens`` 0 keeps its initial
states and gives zeros; Y_h of a row is the state after its last valid step, backwards in time the
one after its first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.graph import FLOAT32_MAX, TIME

from . import gates
from .onnx_axes import as_batch, bind
from .onnx_functions import activations
from .onnx_layers import Builder, as_time, features, fill, take_features, weight
from .onnx_one_step import gru_step, refused, rows_within
from .onnx_values import (
    FEATURES,
    Axis,
    Const,
    Dim,
    Kind,
    Node,
    Sizes,
    Spread,
    Tracked,
    axis_size,
    is_zeros,
)
from .weights import float32


@dataclass(frozen=True)
class Cell:
    """What distinguishes the three operators."""

    kind: type[g.Recurrent]
    functions: tuple[str, ...]  # the default ones
    states: tuple[str, ...]  # names of the inputs that hold initial states, from input 5 on
    fields: Callable[[Weights, Node], dict[str, Any]]


@dataclass
class Weights:
    """The weights of one direction, as ONNX has them."""

    node: Node
    w: np.ndarray
    r: np.ndarray
    wb: np.ndarray | None
    rb: np.ndarray | None
    p: np.ndarray | None

    def bias(self) -> np.ndarray | None:
        """Both biases as one, rounded once."""
        if self.wb is None or self.rb is None:
            return None
        with np.errstate(over="ignore"):
            return float32(f"{self.node.input_names[3]}, Wb + Rb", self.wb + self.rb)


def lstm_fields(weights: Weights, node: Node) -> dict[str, Any]:
    bias = weights.bias()
    return {
        "weight_ih": gates.lstm("onnx", weights.w),
        "weight_hh": gates.lstm("onnx", weights.r),
        "bias": None if bias is None else gates.lstm("onnx", bias),
        "peephole": None if weights.p is None else gates.peephole(weights.p),
        "coupled": node.flag("input_forget"),
    }


def gru_fields(weights: Weights, node: Node) -> dict[str, Any]:
    """With linear_before_reset, the recurrent bias of the candidate is within r * (...)."""
    after = node.flag("linear_before_reset")
    bias, recurrent = weights.bias(), None
    if after and bias is not None and weights.wb is not None and weights.rb is not None:
        third = len(bias) // 3
        bias[2 * third :] = weights.wb[2 * third :]
        recurrent = weights.rb[2 * third :]
    return {
        "weight_ih": gates.gru("onnx", weights.w),
        "weight_hh": gates.gru("onnx", weights.r),
        "bias": None if bias is None else gates.gru("onnx", bias),
        "recurrent_bias": recurrent,
        "reset_after": after,
    }


def rnn_fields(weights: Weights, node: Node) -> dict[str, Any]:
    return {"weight_ih": weights.w, "weight_hh": weights.r, "bias": weights.bias()}


LSTM = Cell(g.LSTM, ("Sigmoid", "Tanh", "Tanh"), ("initial_h", "initial_c"), lstm_fields)
GRU = Cell(g.GRU, ("Sigmoid", "Tanh"), ("initial_h",), gru_fields)
RNN = Cell(g.RNN, ("Tanh",), ("initial_h",), rnn_fields)
FUNCTIONS: dict[type[g.Recurrent], tuple[str, ...]] = {
    g.LSTM: ("gate", "candidate", "output"),
    g.GRU: ("gate", "candidate"),
    g.RNN: ("activation",),
}
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def recurrent(cell: Cell) -> Callable[[Builder, Node], list[Kind]]:
    return lambda b, node: run(b, node, cell)


def run(b: Builder, node: Node, cell: Cell) -> list[Kind]:
    direction = node.attr("direction", "forward")
    if direction not in DIRECTIONS:
        raise node.error(f"attribute direction={direction} is unknown")
    directions = DIRECTIONS[direction]
    batch_first = node.flag("layout")
    functions = activations(node, list(cell.functions) * len(directions))
    weights = read_weights(node, cell, len(directions))
    input_size, hidden = weights[0].w.shape[1], weights[0].r.shape[1]

    x = node.value(0)
    if len(x.axes) != 3:
        raise node.error(f"its input X has rank {len(x.axes)}, expected 3")
    if rows_within(x, *((1, 0) if batch_first else (0, 1))):
        if cell.kind is not g.GRU or len(directions) > 1:
            raise refused(node, node.op)
        (only,) = weights
        after, batch_axis = node.flag("linear_before_reset"), 0 if batch_first else 1
        biases = only.wb, only.rb
        return gru_step(b, node, x, only.w, only.r, biases, functions, after, batch_axis)
    as_batch(node, x.axes[0 if batch_first else 1])
    before, x = x, as_time(b, node, x, 1 if batch_first else 0)
    folded = not before.labelled(TIME) and axis_size(x.axes[1 if batch_first else 0]) == 1
    x = features(b, node, x, 2, input_size)
    time, batch = x.axes[:2] if not batch_first else (x.axes[1], x.axes[0])

    mask = valid_steps(b, node, x, time[0])
    initial = [
        initial_state(b, node, 5 + i, x, len(directions), hidden, batch_first)
        for i in range(len(cell.states))
    ]
    clip = threshold(node)
    count = 1 + len(cell.states)
    wanted = [n or None for n in [*node.outputs, "", "", ""][:count]]
    made: list[tuple[str | None, ...]] = []
    each = len(cell.functions)
    for i, reverse in enumerate(directions):
        own = dict(zip(FUNCTIONS[cell.kind], functions[i * each :], strict=False))
        inputs = (x.name, mask, *(names[i] for names in initial))
        while inputs[-1] is None:
            inputs = inputs[:-1]
        suffix = "" if len(directions) == 1 else ("/forward", "/reverse")[i]
        b.add(
            cell.kind,
            node,
            *inputs,
            outputs=[n and n + suffix for n in wanted],
            **cell.fields(weights[i], node),
            **own,
            reverse=reverse,
            clip=clip,
        )
        made.append(b.layers[-1].outputs)

    # Y: [time, direction, batch, hidden] or [batch, time, direction, hidden];
    # Y_h and Y_c: [direction, batch, hidden] or [batch, direction, hidden]
    results: list[Kind] = []
    for at in range(count):
        h: Axis = (Dim(hidden, FEATURES),)
        sides: Axis = (Dim(2, FEATURES),) if len(directions) == 2 else ()
        axes: tuple[Axis, ...] = (sides, batch) if not batch_first else (batch, sides)
        if at == 0:
            axes = (batch, time, sides) if batch_first else (time, sides, batch)
        names = [outputs[at] for outputs in made]
        name = names[0] or ""
        if wanted[at] and len(directions) == 2:
            name = b.add(g.Concat, node, *names, outputs=(wanted[at],))
        if at == 0 and folded and name:  # one step, of a value without time: nor has Y
            name = b.add(g.LastStep, node, name)
            axes = tuple(() if axis is time else axis for axis in axes)
        results.append(Tracked(name, (*axes, h), (*sides, *h)))
    return results[: len(node.outputs)]


def read_weights(node: Node, cell: Cell, directions: int) -> list[Weights]:
    """W [D, nH, I], R [D, nH, H], B [D, 2nH], P [D, 3H], by direction."""
    w, r = weight(node.const(1, "weight W")), weight(node.const(2, "weight R"))
    hidden = node.attr("hidden_size", r.shape[-1] if r.ndim else 0)
    rows = cell.kind.gates * hidden
    if w.ndim != 3 or w.shape[:2] != (directions, rows) or r.shape != (directions, rows, hidden):
        raise node.error(
            f"weights W {list(w.shape)} and R {list(r.shape)} don't fit hidden_size={hidden}"
            + (" and two directions" if directions == 2 else "")
        )
    if 0 in w.shape:
        raise node.error(f"weight W is empty, {list(w.shape)}")
    biases: np.ndarray | None = None
    if node.has(3):
        biases = weight(node.const(3, "bias B"))
        if biases.shape != (directions, 2 * rows):
            raise node.error(
                f"bias B has shape {list(biases.shape)}, expected [{directions}, {2 * rows}]"
            )
    peepholes: np.ndarray | None = None
    if cell.kind is g.LSTM and node.has(7) and not is_zeros(node.input(7)):
        peepholes = weight(node.const(7, "peepholes P"))
        if peepholes.shape != (directions, 3 * hidden):
            raise node.error(
                f"peepholes P have shape {list(peepholes.shape)}, "
                f"expected [{directions}, {3 * hidden}]"
            )
    return [
        Weights(
            node,
            w[i],
            r[i],
            None if biases is None else biases[i, :rows],
            None if biases is None else biases[i, rows:],
            None if peepholes is None else peepholes[i],
        )
        for i in range(directions)
    ]


def threshold(node: Node) -> float:
    """Attribute clip; 0.0 if there is none, or one that bounds nothing."""
    clip = node.attr("clip")
    if clip is None or clip >= FLOAT32_MAX:
        return 0.0
    if not clip > 0:
        raise node.error(f"attribute clip={clip:g} is not above 0")
    return float(clip)


def valid_steps(b: Builder, node: Node, x: Tracked, time: Dim) -> str | None:
    """The mask that sequence_lens asks for, None where all steps count."""
    if not node.has(4):
        return None
    lengths = node.input(4)
    if isinstance(lengths, Const):
        array = lengths.array
        if array.dtype.kind not in "iu" or array.ndim != 1 or not array.size:
            raise node.error(f"input sequence_lens is {array.dtype} of rank {array.ndim}")
        n = int(array[0])
        if np.any(array != n):
            raise node.error(
                "input sequence_lens holds different lengths, which fixes the batch; make it an "
                "input of the model, or leave it out and use predict(x, lengths=...)"
            )
        if n < 0 or (time.size is not None and n > time.size):
            raise node.error(f"input sequence_lens is {n}, of {time.size} time steps")
        if n == time.size:
            return None
        return b.add(g.StepMask, node, fill(b, node, x, np.array([n])), x.name)
    if isinstance(lengths, Sizes):
        raise node.error("input sequence_lens is a shape; leave it out where all steps count")
    value = node.value(4, any_type=True)
    if value.dtype not in ("int32", "int64", "int16", "int8", "uint8") or len(value.axes) != 1:
        raise node.error(
            f"input sequence_lens is {value.dtype} of rank {len(value.axes)}, expected integers "
            "[batch]"
        )
    as_batch(node, value.axes[0])
    key = (value.name, x.name)
    if key not in b.masks:
        b.masks[key] = b.add(g.StepMask, node, value.name, x.name)
    return b.masks[key]


def initial_state(
    b: Builder, node: Node, at: int, x: Tracked, directions: int, hidden: int, batch_first: bool
) -> list[str | None]:
    """An initial state, by direction: None for zeros."""
    if not node.has(at) or is_zeros(node.input(at)):
        return [None] * directions
    kind = node.input(at)
    side, batch = (1, 0) if batch_first else (0, 1)
    where = f"its initial state ('{node.input_names[at]}')"
    if isinstance(kind, Const | Spread):
        array = weight(Const(kind.name, kind.array))
        shape = list(array.shape)
        if array.ndim != 3 or array.shape[side] != directions or array.shape[2] != hidden:
            raise node.error(f"{where} has shape {shape}, expected {directions} of {hidden}")
        rows = np.moveaxis(array, batch, 0)
        if not len(rows) or np.any(rows != rows[:1]):
            raise node.error(
                f"{where} is a constant with a different state for each row of the batch; make it "
                "an input of the model"
            )
        return [fill(b, node, x, row) if row.any() else None for row in rows[0]]
    state = node.value(at)
    if len(state.axes) != 3:
        raise node.error(f"{where} has rank {len(state.axes)}, expected 3")
    as_batch(node, state.axes[batch])
    for dim in state.axes[2]:
        if dim.size is None and len(state.axes[2]) == 1:
            bind(node, dim, FEATURES)
            dim.size = hidden
    state = take_features(b, node, state, [side, 2])
    if [axis_size(state.axes[side]), axis_size(state.axes[2])] != [directions, hidden]:
        raise node.error(f"{where} has other sizes than {directions} of {hidden}")
    index = np.arange(directions * hidden).reshape(directions, hidden)
    return [b.select(node, state.name, row, index.size) for row in index]
