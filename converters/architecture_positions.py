"""Layers of an architecture along the positions of each step: convolutions and pools.

A value with positions has axes [batch, (time,) positions, channels]; what stands beside time is
never mixed with it, so a model of frames is a sequence model still.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from lstmc import graph as g

from . import torch_layers as layers
from .architecture_build import Builder
from .torch_values import Sym, show


def convolution(
    b: Builder, weight: np.ndarray, bias: np.ndarray | None, options: dict[str, Any]
) -> None:
    """weight [channels out, channels in / groups, taps], as torch's Conv1d has it.

    options: stride, padding, dilation, groups.
    """
    positions, channels = b.x.axes[-2:]
    if weight.ndim != 3:
        b.ctx.refuse(f"its weight has shape {list(weight.shape)}, expected 3 axes")
    out, per_group, taps = weight.shape
    window = layers.convolution_window(
        b.ctx, taps, *(options[k] for k in ("stride", "padding", "dilation"))
    )
    groups = options["groups"]
    if per_group * groups != channels:
        b.ctx.refuse(f"gets {show(b.x)}, its weights take {per_group * groups} channels")
    if groups == 1:
        kind: type[g.Layer] = g.Conv2D
        matrix = weight.transpose(0, 2, 1).reshape(out, -1)
    elif groups == channels == out:
        kind, matrix = g.DepthwiseConv2D, weight[:, 0]
    else:
        b.ctx.refuse(f"groups = {groups} of {channels} channels along positions is not supported")
    y = b.ctx.add(
        kind, b.ctx.sym(b.x), (*b.x.axes[:-2], out), taps=1, bias=bias,
        weight=np.ascontiguousarray(matrix), **{f"position_{k}": v for k, v in window.items()},
    )  # fmt: skip
    made: Any = b.ctx.layers[-1]
    _moved(b, y, made.across.count(positions))


def pool(b: Builder, op: str, count_padding: bool, *window: Any) -> None:
    """window: kernel_size, stride, padding, dilation, ceil_mode."""
    positions, channels = b.x.axes[-2:]
    fields = layers.pool_window(b.ctx, *window)
    count = g.Window(name=b.ctx.path, inputs=(), outputs=(), **fields).count(positions)
    y = b.ctx.add(
        g.PoolPositions, b.ctx.sym(b.x), (*b.x.axes[:-2], channels), op=op, channels=channels,
        count_padding=count_padding, **fields,
    )  # fmt: skip
    _moved(b, y, count)


def global_pool(b: Builder, op: str) -> None:
    """Over all positions: plain features are left, one a channel."""
    pool(b, op, False, b.x.axes[-2], None, 0, 1, False)
    b.x = dataclasses.replace(b.x, axes=(*b.x.axes[:-2], b.x.axes[-1]))


def _moved(b: Builder, y: Sym, count: int) -> None:
    """What comes next reads ``y``, which has so many positions."""
    b.sized(count * y.axes[-1])
    b.x = dataclasses.replace(y, axes=(*y.axes[:-1], count, y.axes[-1]))
