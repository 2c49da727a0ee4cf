"""LSTM, GRU and RNN with every option in float64 torch, for its gradients: what
lstmc/reference/recurrent.py says, line by line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lstmc import graph as g


def _shrink(x: Tensor, limit: float, by: float) -> Tensor:
    return torch.where(abs(x) > limit, x - by * torch.sign(x), 0 * x)


FUNCTIONS: dict[str, Callable[[Tensor, float, float], Tensor]] = {
    "linear": lambda x, a, b: x,
    "sigmoid": lambda x, a, b: torch.sigmoid(x),
    "tanh": lambda x, a, b: torch.tanh(x),
    "relu": lambda x, a, b: torch.relu(x),
    "hard_sigmoid": lambda x, a, b: torch.clamp(a * x + b, 0, 1),
    "exponential": lambda x, a, b: torch.exp(x),
    "affine": lambda x, a, b: a * x + b,
    "leaky_relu": lambda x, a, b: torch.where(x > b, x, a * (x - b)),
    "thresholded_relu": lambda x, a, b: torch.where(x > a, x, 0 * x),
    "scaled_tanh": lambda x, a, b: a * torch.tanh(b * x),
    "elu": lambda x, a, b: torch.where(x < 0, a * torch.expm1(x), x),
    "softsign": lambda x, a, b: F.softsign(x),
    "softplus": lambda x, a, b: F.softplus(x, threshold=1e3),
    "selu": lambda x, a, b: b * torch.where(x < 0, a * torch.expm1(x), x),
    "gelu": lambda x, a, b: F.gelu(x),
    "gelu_tanh": lambda x, a, b: F.gelu(x, approximate="tanh"),
    "silu": lambda x, a, b: x * torch.sigmoid(a * x),
    "mish": lambda x, a, b: F.mish(x),
    "hard_silu": lambda x, a, b: x * torch.clamp(a * x + b, 0, 1),
    "log_sigmoid": lambda x, a, b: F.logsigmoid(x),
    "celu": lambda x, a, b: torch.where(x < 0, a * torch.expm1(x / a), x),
    "tanh_shrink": lambda x, a, b: x - torch.tanh(x),
    "soft_shrink": lambda x, a, b: _shrink(x, a, a),
    "hard_shrink": lambda x, a, b: _shrink(x, a, 0.0),
    "squareplus": lambda x, a, b: (x + torch.sqrt(x * x + a)) / 2,
    "sparse_plus": lambda x, a, b: torch.where(x < 1, torch.clamp(x + 1, min=0) ** 2 / 4, x),
    "sparse_sigmoid": lambda x, a, b: torch.clamp((x + 1) / 2, 0, 1),
    "clip": lambda x, a, b: torch.clamp(x, a, b),
    "abs": lambda x, a, b: abs(x),
    "sqrt": lambda x, a, b: torch.sqrt(x),
    "square": lambda x, a, b: x * x,
    "reciprocal": lambda x, a, b: 1 / x,
    "log": lambda x, a, b: torch.log(x),
    "erf": lambda x, a, b: torch.erf(x),
    "sign": lambda x, a, b: torch.sign(x),
    "not_equal": lambda x, a, b: (x != a).double() + 0 * x,
}


def fn(f: g.Fn, x: Tensor) -> Tensor:
    return FUNCTIONS[f.kind](x, float(np.float32(f.alpha)), float(np.float32(f.beta)))


def _clip(layer: g.Recurrent, p: Tensor) -> Tensor:
    bound = float(np.float32(layer.clip))
    return torch.clamp(p, -bound, bound) if bound else p


Weights = dict[str, Tensor]
States = tuple[Tensor, ...]


def _lstm(layer: g.LSTM, w: Weights, x: Tensor, seen: Tensor, states: States) -> States:
    _, c = states
    p = w["weight_ih"] @ x + w["weight_hh"] @ seen + w.get("bias", 0.0)
    i, f, candidate, o = p.reshape(4, -1)
    zero = torch.zeros_like(c)
    if "weight_ch" in w:
        w_ci, w_cf, w_cg, w_co = w["weight_ch"].reshape(4, len(c), len(c))
        terms = w_ci @ c, w_cf @ c, w_cg @ c, lambda c: w_co @ c
    elif "peephole" in w:
        p_i, p_f, p_o = w["peephole"].reshape(3, -1)
        terms = p_i * c, p_f * c, zero, lambda c: p_o * c
    else:
        terms = zero, zero, zero, lambda c: zero
    i = fn(layer.gate, _clip(layer, i + terms[0]))
    f = 1 - i if layer.coupled else fn(layer.gate, _clip(layer, f + terms[1]))
    candidate = fn(layer.candidate, _clip(layer, candidate + terms[2]))
    new = f * c + i * candidate
    o = fn(layer.gate, _clip(layer, o + terms[3](c if layer.output_sees_old else new)))
    m = o * fn(layer.output, new)
    return (w["weight_hr"] @ m if "weight_hr" in w else m), new


def _gru(layer: g.GRU, w: Weights, x: Tensor, seen: Tensor, states: States) -> States:
    (h,) = states
    r, z, n = (w["weight_ih"] @ x + w.get("bias", 0.0)).reshape(3, -1)
    r_r, r_z, r_n = w["weight_hh"].reshape(3, len(h), len(h))
    r = fn(layer.gate, _clip(layer, r + r_r @ seen))
    z = fn(layer.gate, _clip(layer, z + r_z @ seen))
    if layer.reset_after:
        n = n + r * (r_n @ seen + w.get("recurrent_bias", 0.0))
    else:
        n = n + r_n @ (r * seen)
    n = fn(layer.candidate, _clip(layer, n))
    return ((1 - z) * n + z * h,)


def _rnn(layer: g.RNN, w: Weights, x: Tensor, seen: Tensor, states: States) -> States:
    p = w["weight_ih"] @ x + w["weight_hh"] @ seen + w.get("bias", 0.0)
    return (fn(layer.activation, _clip(layer, p)),)


CELLS: dict[type, Callable[..., States]] = {g.LSTM: _lstm, g.GRU: _gru, g.RNN: _rnn}


def run(
    layer: g.Recurrent, weights: Weights, x: Tensor, mask: np.ndarray | None,
    states: list[Tensor | None], lengths: np.ndarray | None = None, dropped: Tensor | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """(sequence, last states ...); ``dropped`` [batch, units] multiplies h before R does."""
    batch, time, _ = x.shape
    nothing = 0 * weights["weight_ih"].sum()  # so that torch has a graph where no step counts
    sequence, last = [], []
    for b in range(batch):
        now = [
            torch.zeros(n, dtype=torch.double) if s is None else s[b]
            for s, n in zip(states, layer.state_sizes, strict=True)
        ]
        n = time if lengths is None else int(lengths[b])
        held = torch.zeros(layer.output_size, dtype=torch.double) + nothing
        steps = {t: torch.zeros_like(held) + nothing for t in range(time)}
        for t in reversed(range(n)) if layer.reverse else range(n):
            if mask is not None and mask[b, t, 0] == 0:
                if layer.hold:
                    steps[t] = held
                continue
            seen = now[0] if dropped is None else now[0] * dropped[b]
            now = list(CELLS[type(layer)](layer, weights, x[b, t], seen, tuple(now)))
            held = steps[t] = now[0]
        sequence.append(torch.stack([steps[t] for t in range(time)]))
        last.append([s + nothing for s in now])
    return torch.stack(sequence), *(torch.stack(s) for s in zip(*last, strict=True))


def graph(
    g_: g.Graph, lengths: np.ndarray | None = None, dropped: np.ndarray | None = None
) -> Callable[[dict[str, Tensor], dict[Any, Tensor]], dict[str, Tensor]]:
    """The transcription of a graph of :func:`recurrent_nets.cases`, for :mod:`gradients`."""

    def outputs(inputs: dict[str, Tensor], weights: dict[Any, Tensor]) -> dict[str, Tensor]:
        values = dict(inputs)
        batch = len(inputs["x"])
        for layer in g_.layers:
            w = {field: t for (name, field), t in weights.items() if name == layer.name}
            if isinstance(layer, g.Fill):
                values[layer.outputs[0]] = w["value"].expand(batch, -1)
                continue
            given = [*(None if i is None else values[i] for i in layer.inputs), *[None] * 4]
            mask = None if given[1] is None else given[1].detach().numpy()
            if mask is not None and mask.ndim == 2:
                mask = mask[:, :, None]
            made = run(
                layer, w, given[0], mask, given[2 : 2 + len(layer.states)], lengths,
                None if dropped is None else torch.tensor(dropped, dtype=torch.double),
            )  # fmt: skip
            values |= {n: v for n, v in zip(layer.outputs, made, strict=True) if n is not None}
        return {v.name: values[v.name] for v in g_.outputs}

    return outputs
