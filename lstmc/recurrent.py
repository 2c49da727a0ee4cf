"""LSTM, GRU and RNN as functions of arrays: what :mod:`lstmc.functional` offers of them.

One call runs one layer in the core, with the bits that the same layer gives inside a model. A call
packs the weights anew, so a model or a stream is faster where the same weights are used again.

Arrays are float32 or what :func:`lstmc.runtime.as_float32` accepts; results are new float32 arrays.
ShapeError, naming the argument, where sizes don't fit. An activation is a name of
:class:`lstmc.graph.Fn` or an Fn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _core, format
from . import graph as g
from .errors import ConversionError, RangeError, ShapeError
from .runtime import as_float32, row_lengths, target_code
from .threads import thread_count

Activation = str | g.Fn
State = tuple[np.ndarray, np.ndarray]


def lstm_forward(
    x: ArrayLike,
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    c0: ArrayLike | None = None,
    *,
    peephole: ArrayLike | None = None,
    weight_hr: ArrayLike | None = None,
    activations: Sequence[Activation] = ("sigmoid", "tanh", "tanh"),
    clip: float | None = None,
    coupled: bool = False,
    output_sees_old: bool = False,
    reverse: bool = False,
    lengths: ArrayLike | None = None,
    save: bool = False,
) -> Any:
    """An LSTM over a batch of sequences; gates in the order i f g o.

    i, f, o = gate(W x + R h + b), g = candidate(W x + R h + b), c' = f c + i g, h' = o output(c')

    Args:
        x: [batch, time, I].
        weight_ih, weight_hh: [4H, I] and [4H, P]; P is H, or the features of a projection.
        bias: [4H], or [2, 4H] for two that are added (in float32).
        h0, c0: [batch, P] and [batch, H]; zeros if None.
        peephole: [3, H], diagonal, of i f o (Gers and Schmidhuber 2000), or [4, H, H], full
            matrices of i f g o. i, f and g see the cell state before the step, o the one after.
        weight_hr: [P, H], a projection: h' = weight_hr (o output(c')) (Sak et al. 2014).
        activations: gate, candidate, output.
        clip: bounds every pre-activation to [-clip, clip].
        coupled: f = 1 - i.
        output_sees_old: with peepholes, o too sees the cell state before the step.
        reverse: from the last valid step to the first; outputs stay at their steps' places.
        lengths: int [batch], valid steps of each row; the output is zero beyond.
        save: also return what :func:`lstmc.functional.lstm_backward` needs. The arrays given must
            not change before.

    Returns:
        y [batch, time, P], (h [batch, P], c [batch, H]) after the last valid step; with ``save``,
        a :class:`lstmc.backward.Saved` besides.
    """
    ih, hh = as_float32("weight_ih", weight_ih), as_float32("weight_hh", weight_hh)
    fields: dict[str, Any] = {"coupled": coupled, "output_sees_old": output_sees_old}
    for name, fn in zip(("gate", "candidate", "output"), activations, strict=True):
        fields[name] = _fn(fn)
    if peephole is not None:
        p = as_float32("peephole", peephole)
        fields["weight_ch" if p.ndim == 3 else "peephole"] = _stacked("peephole", p, 3, 4)
    if weight_hr is not None:
        fields["weight_hr"] = as_float32("weight_hr", weight_hr)
    if bias is not None:
        fields["bias"] = _sum(bias)
    (y, h, c), saved = _run(g.LSTM, x, ih, hh, (h0, c0), lengths, clip, reverse, fields, save)
    return (y, (h, c), saved) if save else (y, (h, c))


def gru_forward(
    x: ArrayLike,
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    *,
    reset_after: bool = True,
    activations: Sequence[Activation] = ("sigmoid", "tanh"),
    clip: float | None = None,
    reverse: bool = False,
    lengths: ArrayLike | None = None,
    save: bool = False,
) -> Any:
    """A GRU over a batch of sequences; gates in the order r z n.

    r, z = gate(W x + R h + b), h' = (1 - z) n + z h, with n = candidate(W x + b + r (R h + b_R)),
    or with ``reset_after=False`` n = candidate(W x + b + R (r h)) (Cho et al. 2014)

    Args:
        x: [batch, time, I].
        weight_ih, weight_hh: [3H, I] and [3H, H].
        bias: [2, 3H], of the input's and of the recurrent product, or [3H], of the input's.
        h0: [batch, H]; zeros if None.
        activations: gate, candidate.
        clip, reverse, lengths, save: as in :func:`lstm_forward`.

    Returns:
        y [batch, time, H], h [batch, H] after the last valid step; with ``save``, a
        :class:`lstmc.backward.Saved` besides.
    """
    ih, hh = as_float32("weight_ih", weight_ih), as_float32("weight_hh", weight_hh)
    fields: dict[str, Any] = {"reset_after": reset_after}
    for name, fn in zip(("gate", "candidate"), activations, strict=True):
        fields[name] = _fn(fn)
    if bias is not None:
        b = as_float32("bias", bias)
        if b.ndim == 2 and len(b) == 2 and b.shape[1] == len(ih) and len(ih) % 3 == 0:
            hidden = len(ih) // 3
            both = b[0] + b[1]
            if reset_after:
                both[2 * hidden :] = b[0, 2 * hidden :]
                fields["recurrent_bias"] = b[1, 2 * hidden :]
            b = both
        fields["bias"] = b
    (y, h), saved = _run(g.GRU, x, ih, hh, (h0,), lengths, clip, reverse, fields, save)
    return (y, h, saved) if save else (y, h)


def rnn_forward(
    x: ArrayLike,
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    *,
    activation: Activation = "tanh",
    clip: float | None = None,
    reverse: bool = False,
    lengths: ArrayLike | None = None,
    save: bool = False,
) -> Any:
    """h' = activation(W x + R h + b) over a batch of sequences (Elman 1990).

    Args:
        x: [batch, time, I].
        weight_ih, weight_hh: [H, I] and [H, H].
        bias: [H], or [2, H] for two that are added (in float32).
        h0: [batch, H]; zeros if None.
        clip, reverse, lengths, save: as in :func:`lstm_forward`.

    Returns:
        y [batch, time, H], h [batch, H] after the last valid step; with ``save``, a
        :class:`lstmc.backward.Saved` besides.
    """
    ih, hh = as_float32("weight_ih", weight_ih), as_float32("weight_hh", weight_hh)
    fields: dict[str, Any] = {"activation": _fn(activation)}
    if bias is not None:
        fields["bias"] = _sum(bias)
    (y, h), saved = _run(g.RNN, x, ih, hh, (h0,), lengths, clip, reverse, fields, save)
    return (y, h, saved) if save else (y, h)


def _fn(fn: Activation) -> g.Fn:
    if isinstance(fn, g.Fn):
        return fn
    if fn == "hard_sigmoid":
        raise ConversionError(
            "hard_sigmoid has two meanings: give lstmc.graph.HARD_SIGMOID_ONNX or _KERAS3"
        )
    return g.Fn(fn)


def _sum(bias: ArrayLike) -> np.ndarray:
    b = as_float32("bias", bias)
    return b[0] + b[1] if b.ndim == 2 and len(b) == 2 else b


def _stacked(name: str, p: np.ndarray, *sizes: int) -> np.ndarray:
    """[gates, H] as [gates * H], [gates, H, H] as [gates * H, H]."""
    if p.ndim not in (2, 3) or len(p) != sizes[p.ndim - 2]:
        raise ShapeError(f"{name} has shape {p.shape}, expected (3, H) or (4, H, H)")
    return p.reshape(-1, *p.shape[2:])


def _run(
    kind: type[g.Recurrent],
    x: ArrayLike,
    ih: np.ndarray,
    hh: np.ndarray,
    initial: tuple[ArrayLike | None, ...],
    lengths: ArrayLike | None,
    clip: float | None,
    reverse: bool,
    fields: dict[str, Any],
    save: bool,
) -> tuple[list[np.ndarray], Any]:
    """[y, states ...] of one layer, and what backward needs if ``save``."""
    array = as_float32("x", x)
    if array.ndim != 3 or not array.shape[2]:
        raise ShapeError(f"x has shape {array.shape}, expected (batch, time, features)")
    batch, time, features = array.shape
    if clip is not None and not 0 < clip <= g.FLOAT32_MAX:
        raise RangeError(f"clip is {clip}, expected a positive number, or None for no bound")
    # Backward gives the gradients of initial states, whether they are zeros by themselves or not.
    names = [
        f"{s}0" if save or a is not None else None
        for s, a in zip(kind.states, initial, strict=True)
    ]
    try:
        layer = kind(
            name="layer", inputs=("x", None, *names), outputs=("y", *kind.states),
            weight_ih=ih, weight_hh=hh, clip=clip or 0.0, reverse=reverse, **fields,
        )  # fmt: skip
    except ConversionError as e:
        raise ShapeError(str(e).removeprefix("layer 'layer': ")) from None
    if layer.input_size != features:
        raise ShapeError(f"x has {features} features, weight_ih takes {layer.input_size}")
    inputs, arrays = [g.Value("x", (g.BATCH, g.TIME, features))], [array]
    states = [np.zeros((batch, n), np.float32) for n in layer.state_sizes]
    for i, (name, a) in enumerate(zip(names, initial, strict=True)):
        if name is None:
            continue
        given = states[i] if a is None else as_float32(name, a)
        if given.shape != states[i].shape:
            raise ShapeError(f"{name} has shape {given.shape}, expected {states[i].shape}")
        inputs.append(g.Value(name, (g.BATCH, given.shape[1])))
        arrays.append(given)
        states[i] = given.copy()
    outputs = [np.empty((batch, time, layer.output_size), np.float32), *states]
    limits = None if lengths is None else row_lengths(lengths, batch, time)
    if not batch or not time:
        if save:
            raise ShapeError(f"x has shape {array.shape}: there is nothing to go back through")
        return outputs, None
    values = [g.Value("y", (g.BATCH, g.TIME, layer.output_size))]
    values += [
        g.Value(s, (g.BATCH, n)) for s, n in zip(kind.states, layer.state_sizes, strict=True)
    ]
    graph = g.Graph(inputs, values, [layer])
    if save:
        from .backward import Saved

        return outputs, Saved(graph, arrays, outputs, limits)
    model = _core.Model(format.dumps(graph))
    session = _core.Session(model, batch, time, target_code(), thread_count())
    session.run(arrays, outputs, batch, [time], limits, False)
    return outputs, None


__all__ = ["gru_forward", "lstm_forward", "rnn_forward"]
