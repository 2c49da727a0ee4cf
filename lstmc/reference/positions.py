"""Convolution and pooling over positions (and time), in float64.

Features are [positions][channels]; windows are those of :func:`.sequence.windows`, once over time
and once over positions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lstmc import graph as g

from .functions import REDUCTIONS, Array, fn
from .sequence import rows, window_count, windows


def conv2d(layer: g.Conv2D, x: Array, *, lengths: Array) -> tuple[Array]:
    weight = layer.weight.astype(float).reshape(-1, layer.position_taps, layer.taps, layer.channels)
    return convolution(layer, x, lengths, lambda taps: np.einsum("npqji,oqji->npo", taps, weight))


def depthwise_conv2d(layer: g.DepthwiseConv2D, x: Array, *, lengths: Array) -> tuple[Array]:
    weight = layer.weight.astype(float).reshape(-1, layer.position_taps, layer.taps)
    return convolution(layer, x, lengths, lambda taps: np.einsum("npqjc,cqj->npc", taps, weight))


def convolution(
    layer: g.Conv2D | g.DepthwiseConv2D, x: Array, lengths: Array, products: Callable[..., Array]
) -> tuple[Array]:
    """``products`` takes [steps, positions, position taps, taps, channels]."""
    bias = 0.0 if layer.bias is None else layer.bias.astype(float)

    def one(row: Array) -> Array:
        over_time, _ = windows(layer, row, 0.0)  # [steps, taps, features]
        n, places = len(over_time), layer.positions(row.shape[1])
        grid = over_time.reshape(n, layer.taps, places, layer.channels)
        columns = grid.transpose(2, 0, 1, 3).reshape(places, -1)  # a row for each position
        both, _ = windows(layer.across, columns, 0.0)
        both = both.reshape(*both.shape[:2], n, layer.taps, layer.channels)
        made = fn(layer.activation, products(both.transpose(2, 0, 1, 3, 4)) + bias)
        return made.reshape(n, layer.across.count(places) * len(layer.weight))

    if x.ndim == 2:
        return (np.concatenate([one(row[None]) for row in x]),)
    features = layer.across.count(layer.positions(x.shape[2])) * len(layer.weight)
    return (rows(x, lengths, window_count(layer, x.shape[1]), features, one),)


def pool_positions(layer: g.PoolPositions, x: Array, *, lengths: Array) -> tuple[Array]:
    columns = np.moveaxis(x.reshape(*x.shape[:-1], -1, layer.channels), -2, 0)
    flat = columns.reshape(len(columns), -1)
    extreme = {"maximum": -np.inf, "minimum": np.inf}
    if layer.op in extreme:
        taps, _ = windows(layer, flat, extreme[layer.op])
        made = REDUCTIONS[layer.op](taps, axis=1)
    else:
        taps, real = windows(layer, flat, 0.0)
        count = layer.taps if layer.count_padding else np.maximum(real.sum(axis=1), 1)[:, None]
        made = taps.sum(axis=1) / (count if layer.op == "mean" else 1)
    made = np.moveaxis(made.reshape(-1, *columns.shape[1:]), 0, -2)
    return (made.reshape(*x.shape[:-1], -1),)
