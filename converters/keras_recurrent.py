"""Handlers of recurrent layers: LSTM, GRU, SimpleRNN, RNN around cells, Bidirectional.

All of them become one or more :class:`lstmc.graph.Recurrent` layers. What Keras's frame
(keras/src/layers/rnn/rnn.py and backend/*/rnn.py) does with masks and directions:

- A masked step leaves the state as it was and repeats the output of the step before it, zero if
  there is none; with zero_output_for_mask its output is zero.
- go_backwards gives the sequence in the order in which it was made, last step first; the mask that
  goes with it stays as it was. Bidirectional turns its backward sequence round again.
- A layer called with an initial state reads no mask but one given explicitly.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstmc import graph as g

from . import gates
from .keras_build import Builder, Tensor, combine
from .keras_functions import scalar
from .keras_tree import Kind, Layer, Only, ignored, read, training

# ------------------------------------------------------------------------------------------ cells


def lstm_cell(b: Builder, cell: Layer, features: int) -> g.Recurrent:
    """kernel [I, 4H], recurrent_kernel [H, 4H], bias [4H], gates i f c o in the columns."""
    h = cell.size("units")
    n = 4 * h
    w = b.weights(cell, kernel=(features, n), recurrent_kernel=(h, n), bias=(n,))
    kernel, recurrent, bias = w["kernel"], w["recurrent_kernel"], w["bias"]
    assert kernel is not None and recurrent is not None
    inner = scalar(b, cell, "activation")
    return g.LSTM(
        name="",
        inputs=(),
        outputs=(),
        weight_ih=gates.lstm("keras", kernel.T),
        weight_hh=gates.lstm("keras", recurrent.T),
        bias=None if bias is None else gates.lstm("keras", bias),
        gate=scalar(b, cell, "recurrent_activation"),
        candidate=inner,
        output=inner,
    )


def gru_cell(b: Builder, cell: Layer, features: int) -> g.Recurrent:
    """kernel [I, 3H], recurrent_kernel [H, 3H], gates z r h; bias [3H], or [2, 3H] (of the input,
    recurrent) with reset_after, which Keras before 2.1.3 didn't have."""
    h = cell.size("units")
    n = 3 * h
    after = cell.flag("reset_after", False if b.major == 2 else None)
    shape = (2, n) if after else (n,)
    w = b.weights(cell, kernel=(features, n), recurrent_kernel=(h, n), bias=shape)
    kernel, recurrent, bias = w["kernel"], w["recurrent_kernel"], w["bias"]
    assert kernel is not None and recurrent is not None
    made = g.GRU(
        name="",
        inputs=(),
        outputs=(),
        weight_ih=gates.gru("keras", kernel.T),
        weight_hh=gates.gru("keras", recurrent.T),
        gate=scalar(b, cell, "recurrent_activation"),
        candidate=scalar(b, cell, "activation"),
        reset_after=after,
    )
    _gru_bias(made, bias)
    return made


def _gru_bias(made: g.GRU, bias: np.ndarray | None) -> None:
    """The bias of the candidate's recurrent part stands alone, the others are added once."""
    if bias is None:
        return
    if not made.reset_after:
        made.bias = gates.gru("keras", bias)
        return
    h = made.hidden_size
    outer, inner = (gates.gru("keras", row) for row in bias)
    made.bias = outer.copy()
    made.bias[: 2 * h] += inner[: 2 * h]
    made.recurrent_bias = inner[2 * h :].copy()


def rnn_cell(b: Builder, cell: Layer, features: int) -> g.Recurrent:
    """kernel [I, H], recurrent_kernel [H, H], bias [H]."""
    h = cell.size("units")
    w = b.weights(cell, kernel=(features, h), recurrent_kernel=(h, h), bias=(h,))
    kernel, recurrent = w["kernel"], w["recurrent_kernel"]
    assert kernel is not None and recurrent is not None
    return g.RNN(
        name="",
        inputs=(),
        outputs=(),
        weight_ih=kernel.T,
        weight_hh=recurrent.T,
        bias=w["bias"],
        activation=scalar(b, cell, "activation"),
    )


def _cudnn(kernel: np.ndarray, recurrent: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """CuDNN's [I, n H] and [H, n H], each gate's part laid out transposed, as LSTM and GRU have it.

    Keras 2, keras/engine/saving.py, _convert_rnn_weights.
    """
    inner = [k.T.reshape(k.shape, order="F") for k in np.split(kernel, n, axis=1)]
    turned = [k.T for k in np.split(recurrent, n, axis=1)]
    return np.concatenate(inner, axis=1), np.concatenate(turned, axis=1)


def cudnn_lstm_cell(b: Builder, cell: Layer, features: int) -> g.Recurrent:
    """As :func:`lstm_cell` with sigmoid and tanh, bias [8H]: of the input, recurrent."""
    h = cell.size("units")
    n = 4 * h
    w = b.weights(cell, kernel=(features, n), recurrent_kernel=(h, n), bias=(2 * n,))
    assert w["kernel"] is not None and w["recurrent_kernel"] is not None and w["bias"] is not None
    kernel, recurrent = _cudnn(w["kernel"], w["recurrent_kernel"], 4)
    return g.LSTM(
        name="",
        inputs=(),
        outputs=(),
        weight_ih=gates.lstm("keras", kernel.T),
        weight_hh=gates.lstm("keras", recurrent.T),
        bias=gates.lstm("keras", w["bias"][:n] + w["bias"][n:]),
    )


def cudnn_gru_cell(b: Builder, cell: Layer, features: int) -> g.Recurrent:
    """As :func:`gru_cell` with reset_after, sigmoid, tanh; bias [6H]: of the input, recurrent."""
    h = cell.size("units")
    n = 3 * h
    w = b.weights(cell, kernel=(features, n), recurrent_kernel=(h, n), bias=(2 * n,))
    assert w["kernel"] is not None and w["recurrent_kernel"] is not None and w["bias"] is not None
    kernel, recurrent = _cudnn(w["kernel"], w["recurrent_kernel"], 3)
    made = g.GRU(
        name="",
        inputs=(),
        outputs=(),
        weight_ih=gates.gru("keras", kernel.T),
        weight_hh=gates.gru("keras", recurrent.T),
    )
    _gru_bias(made, w["bias"].reshape(2, n))
    return made


CELLS = {
    "LSTM": lstm_cell,
    "LSTMCell": lstm_cell,
    "GRU": gru_cell,
    "GRUCell": gru_cell,
    "SimpleRNN": rnn_cell,
    "SimpleRNNCell": rnn_cell,
    "CuDNNLSTM": cudnn_lstm_cell,
    "CuDNNGRU": cudnn_gru_cell,
}


def cells_of(layer: Layer) -> list[Layer]:
    """The cells of a recurrent layer, lowest first."""
    if layer.class_name != "RNN":
        return [layer]
    (cell,) = layer.wrapped
    cells = cell.wrapped if cell.class_name == "StackedRNNCells" else [cell]
    for c in cells:
        if c.class_name not in CELLS or not c.class_name.endswith("Cell"):
            layer.refuse(f"around a {c.class_name} it is not supported", "use LSTMCell or GRUCell")
    if not cells:
        layer.refuse("it has no cells", "save the model again")
    return cells


# ------------------------------------------------------------------------------------------ frame


@dataclass
class Lane:
    """What one recurrent layer makes: ``sequence`` has every step at its own place (or isn't
    there), ``last`` is the output of the step that came last, ``states`` those after it."""

    sequence: Tensor | None
    last: Tensor | None
    states: list[Tensor]


def lane(
    b: Builder,
    layer: Layer,
    x: Tensor,
    mask: Tensor | None,
    initial: list[Tensor] | None,
    zeros: bool,
    label: str,
) -> Lane:
    """Run a recurrent layer. ``zeros``: masked steps give zeros."""
    sequences, with_state = layer.flag("return_sequences"), layer.flag("return_state", False)
    backwards, cells = layer.flag("go_backwards"), cells_of(layer)
    stacked = len(cells) > 1 or layer.class_name == "RNN"
    if b.major == 2 and stacked and (mask or initial or with_state) and len(cells) > 1:
        layer.refuse(
            "stacked cells with a mask or states: versions of Keras 2 differ",
            "save the model with Keras 3",
        )
    # The last output is the last h, unless masked steps can put something else in its place.
    as_output = mask is not None and (zeros or initial is not None)
    states: list[Tensor] = []
    given = list(initial or [])
    y: Tensor | None = x
    for i, cell in enumerate(cells):
        assert y is not None
        made = CELLS[cell.class_name](b, cell, y.features)
        made.reverse, made.hold = backwards, mask is not None and not zeros
        top = i == len(cells) - 1
        wanted = [0] if not top or sequences or as_output else []
        if with_state or not wanted:
            wanted += range(1, len(made.states) + 1) if with_state else [1]
        count = len(made.states)
        start, given = given[:count], given[count:]
        sizes = list(made.state_sizes)
        if initial is not None and [s.spec for s in start] != [g.Spec(n) for n in sizes]:
            got = ", ".join(map(str, start)) or "nothing"
            layer.refuse(f"its initial state is {got}", f"give it states of {sizes} features")
        name = label if top else f"{label}/{i}"
        out = dict(zip(wanted, b.add_all(made, [y, mask, *start], name, wanted), strict=True))
        states += [out[n] for n in range(1, count + 1)] if with_state else []
        y = out.get(0)
        h = out.get(1)
    if given:
        layer.refuse(f"it gets {len(given)} initial states too many", "give it its own only")
    if sequences:
        return Lane(y, None, states)
    if as_output:
        assert y is not None
        h = b.add(_last(), _reversed(b, y, label) if backwards else y, f"{label}/last")
    return Lane(None, h, states)


def _last() -> g.LastStep:
    return g.LastStep(name="", inputs=(), outputs=())


def _reversed(b: Builder, x: Tensor, label: str) -> Tensor:
    return b.add(g.Reverse(name="", inputs=(), outputs=()), x, f"{label}/reversed")


def arguments(
    b: Builder, layer: Layer, given: dict[str, Any]
) -> tuple[Tensor, Tensor | None, Tensor | None, list[Tensor] | None]:
    """x, the mask it is run with, the mask it hands on, and the initial state."""
    x, initial = given["sequences"], given.get("initial_state")
    if isinstance(x, list) and len(x) > 1 and b.major == 2 and initial is None:
        x, *initial = x  # Keras 2 puts the initial state behind the input
    x = b.tensor(layer, x)
    b.sequence(layer, x)
    states: list[Tensor] | None = None
    if initial is not None:
        flat: list[Any] = []
        for s in initial if isinstance(initial, list) else [initial]:
            flat += s if isinstance(s, list) else [s]
        states = [b.vector(b.tensor(layer, s)) for s in flat]
    explicit = b.given_mask(layer, given)
    if b.major == 2 and states is not None and (explicit or x.mask or x.doubt):
        layer.refuse(
            "an initial state with a mask: versions of Keras 2 differ", "save it with Keras 3"
        )
    if explicit is not None:
        return x, explicit, explicit, states
    return x, b.mask(layer, x) if states is None else None, x.mask, states


def recurrent(b: Builder, layer: Layer, given: dict[str, Any], label: str) -> list[Tensor]:
    x, mask, kept, initial = arguments(b, layer, given)
    zeros = layer.flag("zero_output_for_mask", False)
    made = lane(b, layer, x, mask, initial, zeros, label)
    if made.sequence is None:
        assert made.last is not None
        return [made.last, *made.states]
    y = made.sequence
    if layer.flag("go_backwards"):
        y = _reversed(b, y, label)
    return [dataclasses.replace(y, mask=kept, doubt=x.doubt), *made.states]


def bidirectional(b: Builder, layer: Layer, given: dict[str, Any], label: str) -> list[Tensor]:
    """Two layers over the same input; the sequence of the backward one is turned round."""
    forward, backward = layer.wrapped
    for side in (forward, backward):
        if side.kind.build is not recurrent:
            layer.refuse(f"around a {side.class_name} it is not supported", "wrap an LSTM or GRU")
    for option in ("return_sequences", "return_state"):
        if forward.flag(option, False) != backward.flag(option, False):
            layer.refuse(f"its two layers differ in {option}", "give both the same")
    if forward.flag("go_backwards") == backward.flag("go_backwards"):
        layer.refuse("its two layers go in the same direction", "give one go_backwards=True")
    mode = layer.choice("merge_mode", ("concat", "sum", "mul", "ave", None))
    sequences = forward.flag("return_sequences")
    x, mask, kept, initial = arguments(b, layer, given)
    starts: list[list[Tensor] | None] = [None, None]
    if initial is not None:
        half = len(initial) // 2
        starts = [initial[:half], initial[half:]]
    lanes = []
    for side, start in zip((forward, backward), starts, strict=True):
        zeros = sequences  # Keras 3 sees to that, whatever the wrapped layer says
        if b.major == 2:
            zeros = side.flag("zero_output_for_mask", False)
            if mask is not None and sequences and not zeros:
                layer.refuse(
                    "a mask with return_sequences: versions of Keras 2 differ",
                    "save the model with Keras 3",
                )
        lanes.append(lane(b, side, x, mask, start, zeros, f"{label}/{side.path[-1]}"))
    if sequences:
        # In Keras the forward sequence is as it was made, and the backward one turned round.
        ways = (forward.flag("go_backwards"), not backward.flag("go_backwards"))
        outputs = []
        for made, turned in zip(lanes, ways, strict=True):
            assert made.sequence is not None
            outputs.append(_reversed(b, made.sequence, label) if turned else made.sequence)
    else:
        outputs = [made.last for made in lanes if made.last is not None]
    if mode is not None:
        ops = {"sum": "add", "mul": "multiply", "ave": "mean"}
        if mode == "concat":
            merge: g.Layer = g.Concat(name="", inputs=(), outputs=())
        else:
            merge = combine(ops[mode])
        outputs = [b.add(merge, outputs, label)]
    if sequences:
        outputs = [dataclasses.replace(y, mask=kept, doubt=x.doubt) for y in outputs]
    return [*outputs, *lanes[0].states, *lanes[1].states]


def cell_alone(b: Builder, layer: Layer, given: dict[str, Any], label: str) -> list[Tensor]:
    layer.refuse("a cell by itself is not supported", "put it into an RNN layer")


# --------------------------------------------------------------------------------------- registry

_CELL = {
    **read("units", "activation", "use_bias"),
    **training("kernel", "recurrent", "bias"),
    **ignored("dropout", "recurrent_dropout", "seed", "implementation"),
}
_GATED = {**_CELL, **read("recurrent_activation")}
_FRAME = {
    **read("return_sequences", "return_state", "go_backwards", "zero_output_for_mask"),
    # A stream keeps the state; predict starts from zero.
    **ignored("stateful", "activity_regularizer"),
    # Ways to compute the same.
    **ignored("unroll", "implementation", "use_cudnn", "enable_caching_device"),
    "time_major": Only((False,), "build it with [batch, time, features]"),
}
_LSTM = {**_GATED, **ignored("unit_forget_bias")}
_GRU = {**_GATED, **read("reset_after")}
_CUDNN = {
    **_FRAME,
    **read("units"),
    **training("kernel", "recurrent", "bias"),
    **ignored("unit_forget_bias"),
}
_WEIGHTS = ("kernel", "recurrent_kernel", "bias")
_PARAMS = ("sequences", "initial_state", "mask", "training")


def _layer(options: dict[str, Any], at: str = "cell") -> Kind:
    return Kind(recurrent, {**options, **_FRAME}, _WEIGHTS, at=at, params=_PARAMS, masks="own")


def _cell(options: dict[str, Any]) -> Kind:
    return Kind(cell_alone, options, _WEIGHTS, params=("inputs", "states", "training"))


LAYERS: dict[str, Kind] = {
    "Bidirectional": Kind(
        bidirectional,
        read("merge_mode", "layer", "backward_layer"),
        wraps=(("layer", "forward_layer"), ("backward_layer", "backward_layer")),
        params=_PARAMS,
        masks="own",
    ),
    "CuDNNGRU": _layer(_CUDNN, at=""),
    "CuDNNLSTM": _layer(_CUDNN, at=""),
    "GRU": _layer(_GRU),
    "GRUCell": _cell(_GRU),
    "LSTM": _layer(_LSTM),
    "LSTMCell": _cell(_LSTM),
    "RNN": Kind(
        recurrent,
        {**_FRAME, **read("cell")},
        wraps=(("cell", "cell"),),
        params=_PARAMS,
        masks="own",
    ),
    "SimpleRNN": _layer(_CELL),
    "SimpleRNNCell": _cell(_CELL),
    "StackedRNNCells": Kind(
        cell_alone, read("cells"), wraps=(("cells", "cells"),), params=("inputs",)
    ),
}
__all__ = ["LAYERS"]
