"""LSTM, GRU and RNN in float64: one frame, three cells."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lstmc import graph as g

from .functions import Array, fn


def recurrent(
    layer: g.Recurrent,
    x: Array,
    lengths: Array,
    mask: Array | None,
    states: tuple[Array, ...],
    cell: Callable[..., tuple[tuple[Array, ...], dict[str, Array]]],
    record: dict[str, Array] | None = None,
) -> tuple[Array, ...]:
    """The frame around every cell: (sequence, last states ...).

    ``cell(x_t, *states)`` gives the new states of one row, h first, and its gates by name;
    ``lengths`` are those of x. ``record`` gets, by the names of gates and states, [batch, time,
    features] arrays of every step: gates are NaN where a mask stops the cell, and all is NaN beyond
    a row's length.
    """
    batch, time, _ = x.shape
    last = [s.copy() for s in states]
    sequence = np.zeros((batch, time, layer.output_size))

    def note(name: str, b: int, t: int, value: Array) -> None:
        if record is None:
            return
        if name not in record:
            record[name] = np.full((batch, time, len(value)), np.nan)
        record[name][b, t] = value

    for b in range(batch):
        output = np.zeros(layer.output_size)
        for t in reversed(range(lengths[b])) if layer.reverse else range(lengths[b]):
            if mask is not None and mask[b, t, 0] == 0:
                if layer.hold:
                    sequence[b, t] = output
                for name, s in zip(layer.states, last, strict=True):
                    note(name, b, t, s[b])
                continue
            new, gates = cell(x[b, t], *(s[b] for s in last))
            for s, value in zip(last, new, strict=True):
                s[b] = value
            output = sequence[b, t] = new[0]
            for name, value in (*gates.items(), *zip(layer.states, new, strict=True)):
                note(name, b, t, value)
    return sequence, *last


def _initial(layer: g.Recurrent, batch: int, given: tuple[Array | None, ...]) -> tuple[Array, ...]:
    """The states a call starts from."""
    sizes = layer.state_sizes
    padded = (*given, *(None,) * len(sizes))[: len(sizes)]
    return tuple(
        np.zeros((batch, n)) if s is None else np.asarray(s, float)
        for s, n in zip(padded, sizes, strict=True)
    )


def _bias(bias: Array | None, size: int) -> Array:
    return np.zeros(size) if bias is None else bias.astype(float)


def _clip(layer: g.Recurrent, p: Array) -> Array:
    return np.clip(p, -np.float32(layer.clip), np.float32(layer.clip)) if layer.clip else p


def lstm(
    layer: g.LSTM,
    x: Array,
    mask: Array | None = None,
    *initial: Array | None,
    lengths: Array,
    record: dict[str, Array] | None = None,
) -> tuple[Array, ...]:
    """h of every step [batch, time, P], last h [batch, P] and c [batch, H]; records i f g o h c.

    Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000; options as in
    :class:`lstmc.graph.LSTM`.
    """
    hidden = layer.hidden_size
    w_ih, w_hh = layer.weight_ih.astype(float), layer.weight_hh.astype(float)
    bias = _bias(layer.bias, 4 * hidden)
    w_ci, w_cf, w_cg, w_co = np.zeros((4, hidden, hidden))
    if layer.weight_ch is not None:
        w_ci, w_cf, w_cg, w_co = np.split(layer.weight_ch.astype(float), 4)
    if layer.peephole is not None:
        w_ci, w_cf, w_co = (np.diag(p) for p in np.split(layer.peephole.astype(float), 3))

    def cell(x_t: Array, h: Array, c: Array) -> tuple[tuple[Array, ...], dict[str, Array]]:
        i, f, candidate, o = np.split(w_ih @ x_t + w_hh @ h + bias, 4)
        i = fn(layer.gate, _clip(layer, i + w_ci @ c))
        f = 1 - i if layer.coupled else fn(layer.gate, _clip(layer, f + w_cf @ c))
        candidate = fn(layer.candidate, _clip(layer, candidate + w_cg @ c))
        new = f * c + i * candidate
        seen = c if layer.output_sees_old else new
        o = fn(layer.gate, _clip(layer, o + w_co @ seen))
        m = o * fn(layer.output, new)
        h = m if layer.weight_hr is None else layer.weight_hr.astype(float) @ m
        return (h, new), {"i": i, "f": f, "g": candidate, "o": o}

    return recurrent(layer, x, lengths, mask, _initial(layer, len(x), initial), cell, record)


def gru(
    layer: g.GRU,
    x: Array,
    mask: Array | None = None,
    *initial: Array | None,
    lengths: Array,
    record: dict[str, Array] | None = None,
) -> tuple[Array, ...]:
    """h of every step and the last h [batch, H]; records r z n h.

    Cho et al. 2014; see :class:`lstmc.graph.GRU`.
    """
    hidden = layer.hidden_size
    w_ih, w_hh = layer.weight_ih.astype(float), layer.weight_hh.astype(float)
    bias = _bias(layer.bias, 3 * hidden)
    b_rn = _bias(layer.recurrent_bias, hidden)
    r_r, r_z, r_n = np.split(w_hh, 3)

    def cell(x_t: Array, h: Array) -> tuple[tuple[Array], dict[str, Array]]:
        r, z, n = np.split(w_ih @ x_t + bias, 3)
        r = fn(layer.gate, _clip(layer, r + r_r @ h))
        z = fn(layer.gate, _clip(layer, z + r_z @ h))
        n = n + r * (r_n @ h + b_rn) if layer.reset_after else n + r_n @ (r * h)
        n = fn(layer.candidate, _clip(layer, n))
        return ((1 - z) * n + z * h,), {"r": r, "z": z, "n": n}

    return recurrent(layer, x, lengths, mask, _initial(layer, len(x), initial), cell, record)


def rnn(
    layer: g.RNN,
    x: Array,
    mask: Array | None = None,
    *initial: Array | None,
    lengths: Array,
    record: dict[str, Array] | None = None,
) -> tuple[Array, ...]:
    """h of every step and the last h [batch, H]; records h. Elman 1990."""
    w_ih, w_hh = layer.weight_ih.astype(float), layer.weight_hh.astype(float)
    bias = _bias(layer.bias, layer.hidden_size)

    def cell(x_t: Array, h: Array) -> tuple[tuple[Array], dict[str, Array]]:
        return (fn(layer.activation, _clip(layer, w_ih @ x_t + w_hh @ h + bias)),), {}

    return recurrent(layer, x, lengths, mask, _initial(layer, len(x), initial), cell, record)
