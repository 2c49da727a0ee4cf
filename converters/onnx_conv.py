"""ONNX's convolution and pooling of sequences [batch, channels, time]."""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.graph import TIME

from .onnx_axes import as_batch
from .onnx_layers import Builder, Handler, as_time, features, take_features, weight
from .onnx_values import FEATURES, NEXT, Dim, Kind, Node, Tracked, axis_size

SAME = {"NOTSET": "", "VALID": "", "SAME_UPPER": "upper", "SAME_LOWER": "lower"}


def sequence(b: Builder, node: Node, x: Tracked) -> Tracked:
    """x [batch, channels, time], its axes read as such."""
    if len(x.axes) != 3:
        raise node.error(
            f"its input has {len(x.axes) - 2} spatial axes; only one, time, is supported: "
            "[batch, channels, time]"
        )
    as_batch(node, x.axes[0])
    x = as_time(b, node, x, 2)
    return take_features(b, node, x, [1])


def window(node: Node, taps: int) -> dict[str, Any]:
    """The fields of a Window, from the attributes that convolution and pooling share."""
    given = node.attr("kernel_shape")
    if given is not None and list(given) != [taps]:
        raise node.error(f"attribute kernel_shape={list(given)}, its weights have {taps} taps")
    strides, dilations = list(node.attr("strides", [1])), list(node.attr("dilations", [1]))
    pads, auto = list(node.attr("pads", [0, 0])), node.attr("auto_pad", "NOTSET")
    if len(strides) != 1 or len(dilations) != 1 or len(pads) != 2:
        raise node.error(f"strides {strides}, dilations {dilations} and pads {pads} are for 1 axis")
    if auto not in SAME:
        raise node.error(f"attribute auto_pad={auto} is unknown")
    if min(taps, *strides, *dilations) < 1 or min(pads) < 0:
        raise node.error(f"has taps {taps}, strides {strides}, dilations {dilations}, pads {pads}")
    before, after = pads if auto == "NOTSET" else (0, 0)
    return {
        "taps": taps,
        "stride": strides[0],
        "dilation": dilations[0],
        "before": before,
        "after": after,
        "same": SAME[auto],
    }


def windows(b: Builder, x: Tracked, name: str, channels: Dim) -> Tracked:
    """What a layer with windows has made of x: a new time."""
    layer = b.makers[name]
    assert isinstance(layer, g.Window)
    (old,) = x.axes[2]
    size = None
    if old.size is not None:
        size = layer.steps(g.Spec(1, g.Steps(None, old.size))).count({})
    time = old if layer.stride == 1 and size == old.size and size is not None else Dim(size, TIME)
    return Tracked(name, (x.axes[0], (channels,), (time,)), (channels,))


def conv(b: Builder, node: Node) -> list[Kind]:
    """Conv-1, -11, -22 with one spatial axis; W [M, C / group, k]."""
    w = weight(node.const(1, "weight W"))
    if w.ndim != 3 or 0 in w.shape:
        raise node.error(f"weight W has shape {list(w.shape)}; only one spatial axis is supported")
    out, each, taps = w.shape
    group = node.attr("group", 1)
    fields = window(node, taps)
    x = sequence(b, node, node.value(0))
    if group < 1 or out % group:
        raise node.error(f"weight W {list(w.shape)} doesn't divide into {group} groups")
    channels = each * group
    x = features(b, node, x, 1, channels)
    bias = None
    if node.has(2):
        bias = weight(node.const(2, "bias B"))
        if bias.shape != (out,):
            raise node.error(f"bias B has shape {list(bias.shape)}, expected [{out}]")
    if group > 1 and each == 1:  # channel by channel, each perhaps several times
        index = np.repeat(np.arange(channels), out // channels)
        source = b.select(node, x.name, index, channels)
        name = b.add(g.DepthwiseConv1D, node, source, weight=w[:, 0], bias=bias, **fields)
    else:
        parts = []
        for i in range(group):
            source = b.select(node, x.name, np.arange(i * each, (i + 1) * each), channels)
            rows = slice(i * out // group, (i + 1) * out // group)
            parts.append(
                b.add(
                    g.Conv1D,
                    node,
                    source,
                    weight=w[rows].transpose(0, 2, 1).reshape(out // group, taps * each),
                    bias=None if bias is None else bias[rows],
                    **fields,
                )
            )
        name = parts[0]
        made = windows(b, x, name, Dim(out, FEATURES))
        if group > 1:
            name = b.add(g.Concat, node, *parts)
        return [Tracked(name, made.axes, made.order)]
    return [windows(b, x, name, Dim(out, FEATURES))]


def pool(op: str) -> Handler:
    """MaxPool-1 to -22, AveragePool-1 to -22 with one spatial axis."""

    def handler(b: Builder, node: Node) -> list[Kind]:
        node.only_outputs(1)
        node.attr("storage_order")  # of the output of places
        shape = list(node.attr("kernel_shape", []))
        ceil = node.flag("ceil_mode")
        counted = node.flag("count_include_pad")
        if len(shape) != 1:
            raise node.error(f"attribute kernel_shape={shape}; only one axis, time, is supported")
        fields = window(node, shape[0])
        x = sequence(b, node, node.value(0))
        if ceil and not fields["same"]:
            fields["after"] += last_window(node, fields, x.axes[2][0].size, counted)
        if op == "mean":
            fields["count_padding"] = counted
        extent = (fields["taps"] - 1) * fields["dilation"] + 1
        if counted and fields["same"]:
            raise node.error(f"attributes auto_pad and count_include_pad together; {NEXT}")
        if not fields["same"] and max(fields["before"], fields["after"]) >= extent:
            raise node.error("its padding is as wide as its window")
        (channels,) = x.axes[1] if len(x.axes[1]) == 1 else (Dim(axis_size(x.axes[1]), FEATURES),)
        name = b.add(g.Pool1D, node, x.name, op=op, **fields)
        return [windows(b, x, name, channels)]

    return handler


def last_window(node: Node, fields: dict[str, Any], time: int | None, counted: bool) -> int:
    """Steps of padding that make room for one more window where the last steps don't fill one.

    Such a window must begin before the padding at the end does.
    """
    stride, before, after = fields["stride"], fields["before"], fields["after"]
    extent = (fields["taps"] - 1) * fields["dilation"] + 1
    if stride == 1:
        return 0
    if time is not None:
        room = time + before + after - extent
        more = -room % stride if room >= 0 else 0
        start = (room + more) // stride * stride
        if start >= time + before:
            more = 0
    elif extent >= after + stride:
        more = stride - 1
    else:
        raise node.error(
            "attribute ceil_mode=1 with windows that may begin in the padding; give the time axis "
            "a fixed size"
        )
    if more and counted:
        raise node.error(f"attributes ceil_mode and count_include_pad together; {NEXT}")
    return more
