"""LSTM, GRU and RNN as ONNX's operators; what those don't have is for :mod:`.scan`.

The operators take [time, batch, features], states [1, batch, features].
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmc.converters import gates

from .. import graph as g
from . import scan
from .functions import cell_attributes, in_cell
from .writer import Writer


def functions(layer: g.Recurrent) -> list[g.Fn]:
    """In the operators' order."""
    if isinstance(layer, g.LSTM):
        return [layer.gate, layer.candidate, layer.output]
    if isinstance(layer, g.GRU):
        return [layer.gate, layer.candidate]
    assert isinstance(layer, g.RNN)
    return [layer.activation]


def spelled_out(layer: g.Recurrent, lengths: str | None) -> bool:
    """Whether the operator can't say it; ``lengths`` is the value its mask is made from, if any."""
    mask = layer.optional(1)
    if not all(in_cell(f) for f in functions(layer)):
        return True
    if mask is not None and (lengths is None or layer.hold):
        return True
    if not isinstance(layer, g.LSTM):
        return False
    late = layer.output_sees_old and layer.peephole is not None
    return late or layer.weight_ch is not None or layer.weight_hr is not None


def lstm_weights(layer: g.LSTM) -> tuple[np.ndarray, ...]:
    """W [4H, I], R [4H, H], B [8H] or [], P [3H] or []."""
    empty = np.zeros(0, np.float32)
    bias = empty
    if layer.bias is not None:
        bias = gates.lstm_to("onnx", layer.bias)
        bias = np.concatenate([bias, np.zeros_like(bias)])
    peephole = empty if layer.peephole is None else gates.peephole_to(layer.peephole)
    return (
        gates.lstm_to("onnx", layer.weight_ih), gates.lstm_to("onnx", layer.weight_hh), bias,
        peephole,
    )  # fmt: skip


def gru_weights(layer: g.GRU) -> tuple[np.ndarray, ...]:
    bias = np.zeros(0, np.float32)
    h = layer.hidden_size
    if layer.bias is not None or layer.recurrent_bias is not None:
        own = np.zeros(3 * h, np.float32) if layer.bias is None else layer.bias
        recurrent = np.zeros(3 * h, np.float32)
        if layer.recurrent_bias is not None:
            recurrent[2 * h :] = layer.recurrent_bias
        bias = np.concatenate([gates.gru_to("onnx", own), gates.gru_to("onnx", recurrent)])
    return (
        gates.gru_to("onnx", layer.weight_ih), gates.gru_to("onnx", layer.weight_hh), bias,
        np.zeros(0, np.float32),
    )  # fmt: skip


def rnn_weights(layer: g.RNN) -> tuple[np.ndarray, ...]:
    empty = np.zeros(0, np.float32)
    bias = empty if layer.bias is None else np.concatenate([layer.bias, np.zeros_like(layer.bias)])
    return layer.weight_ih, layer.weight_hh, bias, empty


def operator(w: Writer, layer: g.Recurrent, weights: tuple[np.ndarray, ...], **more: Any) -> None:
    """One node, and what takes the axis of directions out of its outputs."""
    lengths = w.lengths.get(str(layer.optional(1)))
    w_, r, b, p = (w.weight(a[None], f) if a.size else ""
                   for a, f in zip(weights, "WRBP", strict=True))  # fmt: skip
    counts = ""
    if lengths is not None:
        counts = w.indices(lengths, "b", ("int32",))
    initial = [
        "" if n is None else initial_state(w, n)
        for n in (layer.optional(2 + i) for i in range(len(layer.states)))
    ]
    usual = [g.SIGMOID, g.TANH, g.TANH] if isinstance(layer, g.LSTM) else [g.SIGMOID, g.TANH]
    own = functions(layer)
    if own != (usual if len(own) > 1 else [g.TANH]):
        more |= cell_attributes(own)
    if layer.reverse:
        more["direction"] = "reverse"
    if layer.clip:
        more["clip"] = layer.clip
    made = w.nodes_of(
        type(layer).__name__,
        [w.get(layer.inputs[0], "tbf"), w_, r, b, counts, *initial, p],
        [n and f"{n}/{side}" for n, side in zip(layer.outputs, ("Y", "Y_h", "Y_c"), strict=False)],
        hidden_size=layer.hidden_size,
        **more,
    )
    for i, (value, y) in enumerate(zip(layer.outputs, made, strict=True)):
        if value is not None:
            squeezed = w.node("Squeeze", y, w.whole(0 if i else 1))
            w.made(value, squeezed, "bf" if i else "tbf")


def initial_state(w: Writer, value: str) -> str:
    """A state [1, batch, features]."""
    fixed = w.first(value)
    if fixed.axes != "f":
        return w.node("Unsqueeze", w.get(value, "bf"), w.whole(0))
    row = w.constant(w.constants[fixed.name][None, None], fixed.name)
    shape = w.join(w.whole(1), w.batch(), w.whole(w.spec(value).features))
    return w.node("Expand", row, shape)


def lstm(w: Writer, layer: g.LSTM) -> None:
    if spelled_out(layer, w.lengths.get(str(layer.optional(1)))):
        scan.recurrent(w, layer, scan.lstm)
    else:
        more = {"input_forget": 1} if layer.coupled else {}
        operator(w, layer, lstm_weights(layer), **more)


def gru(w: Writer, layer: g.GRU) -> None:
    if spelled_out(layer, w.lengths.get(str(layer.optional(1)))):
        scan.recurrent(w, layer, scan.gru)
    else:
        operator(w, layer, gru_weights(layer), linear_before_reset=int(layer.reset_after))


def rnn(w: Writer, layer: g.RNN) -> None:
    if spelled_out(layer, w.lengths.get(str(layer.optional(1)))):
        scan.recurrent(w, layer, scan.rnn)
    else:
        operator(w, layer, rnn_weights(layer))
