"""Layers on the steps of a sequence, in float64: row by row, each cut to its valid steps.

``lengths`` are those of the input. Whatever these functions give beyond the valid steps of the
output becomes zero in :func:`lstmc.reference.run`, which knows them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lstmc import graph as g

from .functions import REDUCTIONS, Array, fn

#: Their sequences are zero beyond a row's valid steps.
CUT = (
    g.Reverse, g.SliceTime, g.PadTime, g.Repeat, g.Conv1D, g.DepthwiseConv1D, g.Pool1D,
    g.SoftmaxTime, g.StepMask, g.Conv2D, g.DepthwiseConv2D, g.Restep,
)  # fmt: skip


def rows(x: Array, lengths: Array, steps: int, features: int, one: Callable[..., Array]) -> Array:
    """``one(row)`` of each row's valid steps, filled up with zeros to ``steps``."""
    y = np.zeros((len(x), steps, features))
    for b, n in enumerate(lengths):
        made = one(x[b, :n])[:steps]
        y[b, : len(made)] = made
    return y


def last_step(layer: g.LastStep, x: Array, *, lengths: Array) -> tuple[Array]:
    y = np.zeros((x.shape[0], x.shape[2]))
    for b, n in enumerate(lengths):
        if n:
            y[b] = x[b, n - 1]
    return (y,)


def reduce_time(
    layer: g.ReduceTime, x: Array, mask: Array | None = None, *, lengths: Array
) -> tuple[Array]:
    y = np.zeros((x.shape[0], x.shape[2]))
    empty = {"sum": 0.0, "mean": 0.0, "maximum": -np.inf, "minimum": np.inf}[layer.op]
    op = REDUCTIONS[layer.op]
    for b, n in enumerate(lengths):
        valid = x[b, :n] if mask is None else x[b, :n][mask[b, :n, 0] != 0]
        y[b] = op(valid, axis=0) if len(valid) else empty
    return (y,)


def reverse(layer: g.Reverse, x: Array, *, lengths: Array) -> tuple[Array]:
    return (rows(x, lengths, x.shape[1], x.shape[2], lambda row: row[::-1]),)


def slice_time(layer: g.SliceTime, x: Array, *, lengths: Array) -> tuple[Array]:
    def one(row: Array) -> Array:
        return row[layer.start : max(len(row) - layer.drop, 0) : layer.step]

    return (rows(x, lengths, len(one(x[0])), x.shape[2], one),)


def pad_time(layer: g.PadTime, x: Array, *, lengths: Array) -> tuple[Array]:
    value = float(np.float32(layer.value))

    def one(row: Array) -> Array:
        edges = ((layer.before, layer.after), (0, 0))
        if layer.mode == "constant":
            return np.pad(row, edges, constant_values=value)
        if not len(row):
            return np.zeros((layer.before + layer.after, row.shape[1]))
        # reflect goes to and fro where the row is shorter
        return np.pad(row, edges, mode=layer.mode)  # type: ignore[call-overload]

    return (rows(x, lengths, x.shape[1] + layer.before + layer.after, x.shape[2], one),)


def repeat(layer: g.Repeat, x: Array, like: Array | None = None, *, lengths: Array) -> tuple[Array]:
    steps = layer.count if like is None else like.shape[1]
    return (np.repeat(x[:, None], steps, axis=1),)


def flatten(layer: g.Flatten, x: Array, *, lengths: Array) -> tuple[Array]:
    return (x.reshape(len(x), -1),)


def unflatten(layer: g.Unflatten, x: Array, *, lengths: Array) -> tuple[Array]:
    return (x.reshape(len(x), layer.count, -1),)


def restep(layer: g.Restep, x: Array, like: Array | None = None, *, lengths: Array) -> tuple[Array]:
    steps = layer.count if like is None else like.shape[1]

    def one(row: Array) -> Array:
        whole = row.size // layer.features
        return row.reshape(-1)[: whole * layer.features].reshape(whole, layer.features)

    return (rows(x, lengths, steps, layer.features, one),)


def windows(layer: g.Window, row: Array, padding: float) -> tuple[Array, Array]:
    """[windows, taps, features], and whether each tap is a step of the row: [windows, taps]."""
    before, after = layer.before, layer.after
    if layer.same:
        count = -(-len(row) // layer.stride)
        total = max((count - 1) * layer.stride + layer.extent - len(row), 0)
        small, large = total // 2, total - total // 2
        before, after = (small, large) if layer.same == "upper" else (large, small)
    full = np.pad(row, ((before, after), (0, 0)), constant_values=padding)
    real = np.pad(np.ones(len(row), bool), (before, after))
    starts = range(0, len(full) - layer.extent + 1, layer.stride)
    at = np.array([[s + j * layer.dilation for j in range(layer.taps)] for s in starts], int)
    at = at.reshape(-1, layer.taps)
    return full[at], real[at]


def window_count(layer: g.Window, time: int) -> int:
    return layer.steps(g.Spec(1, g.Steps(None, time))).add


def conv1d(layer: g.Conv1D, x: Array, *, lengths: Array) -> tuple[Array]:
    weight = layer.weight.astype(float)
    bias = 0.0 if layer.bias is None else layer.bias.astype(float)

    def one(row: Array) -> Array:
        taps, _ = windows(layer, row, 0.0)
        return fn(layer.activation, taps.reshape(len(taps), weight.shape[1]) @ weight.T + bias)

    return (rows(x, lengths, window_count(layer, x.shape[1]), len(weight), one),)


def depthwise_conv1d(layer: g.DepthwiseConv1D, x: Array, *, lengths: Array) -> tuple[Array]:
    weight = layer.weight.astype(float)
    bias = 0.0 if layer.bias is None else layer.bias.astype(float)

    def one(row: Array) -> Array:
        taps, _ = windows(layer, row, 0.0)
        return fn(layer.activation, np.einsum("njc,cj->nc", taps, weight) + bias)

    return (rows(x, lengths, window_count(layer, x.shape[1]), len(weight), one),)


def pool1d(layer: g.Pool1D, x: Array, *, lengths: Array) -> tuple[Array]:
    def one(row: Array) -> Array:
        if layer.op == "maximum":
            return windows(layer, row, -np.inf)[0].max(axis=1, initial=-np.inf)
        taps, real = windows(layer, row, 0.0)
        count = np.maximum(real.sum(axis=1), 1)[:, None]
        return taps.sum(axis=1) / (layer.taps if layer.count_padding else count)

    return (rows(x, lengths, window_count(layer, x.shape[1]), x.shape[2], one),)


def softmax_time(layer: g.SoftmaxTime, x: Array, *, lengths: Array) -> tuple[Array]:
    def one(row: Array) -> Array:
        e = np.exp(row - row.max(axis=0, initial=-np.inf))
        return e / e.sum(axis=0)

    return (rows(x, lengths, x.shape[1], x.shape[2], one),)


def step_mask(layer: g.StepMask, lengths_in: Array, like: Array, *, lengths: Array) -> tuple[Array]:
    return ((np.arange(like.shape[1])[None, :, None] < lengths_in[:, :, None]).astype(float),)
