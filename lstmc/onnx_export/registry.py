"""The registry: which function writes a layer's nodes. A new layer is a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import graph as g
from . import pointwise, recurrent, sequence, windows
from .writer import Writer

LAYERS: dict[type[g.Layer], Callable[[Writer, Any], None]] = {
    g.LSTM: recurrent.lstm,
    g.GRU: recurrent.gru,
    g.RNN: recurrent.rnn,
    g.Dense: pointwise.dense,
    g.Activation: pointwise.activation,
    g.Softmax: pointwise.softmax,
    g.Embedding: pointwise.embedding,
    g.Affine: pointwise.affine,
    g.LayerNorm: pointwise.layer_norm,
    g.Combine: pointwise.combine,
    g.Concat: pointwise.concat,
    g.Select: pointwise.select,
    g.Reduce: pointwise.reduce,
    g.Fill: pointwise.fill,
    g.LastStep: sequence.last_step,
    g.ReduceTime: sequence.reduce_time,
    g.Reverse: sequence.reverse,
    g.SliceTime: sequence.slice_time,
    g.PadTime: sequence.pad_time,
    g.Repeat: sequence.repeat,
    g.Flatten: sequence.flatten,
    g.Unflatten: sequence.unflatten,
    g.Restep: sequence.restep,
    g.SoftmaxTime: sequence.softmax_time,
    g.StepMask: sequence.step_mask,
    g.Conv1D: windows.conv1d,
    g.DepthwiseConv1D: windows.conv1d,
    g.Pool1D: windows.pool1d,
    g.Conv2D: windows.conv2d,
    g.DepthwiseConv2D: windows.conv2d,
    g.PoolPositions: windows.pool_positions,
}
