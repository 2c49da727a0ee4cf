"""ONNX's convolution and pooling over time, over positions, or both: see :mod:`.onnx_windows`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lstmc import graph as g
from lstmc.graph import TIME

from .onnx_axes import bind
from .onnx_layers import Builder, Handler, arranged, features, product, take_features, weight
from .onnx_values import FEATURES, NEXT, Axis, Dim, Kind, Node, Tracked, axis_size
from .onnx_windows import ONE, POSITIONS, Fields, Roles, made, roles, window, window_fields


@dataclass
class Filters:
    """w [channels out, channels in / group, position taps, taps over time], bias or None.

    With ``phases`` above 1, channels are those of so many positions that lie next to one another
    in what is made, of which only the first ``count`` are wanted.
    """

    w: np.ndarray
    bias: np.ndarray | None
    group: int
    phases: int = 1
    count: int | None = None


def conv(b: Builder, node: Node) -> list[Kind]:
    """Conv-1, -11, -22 with one or two spatial axes; W [M, C / group, k1, k2]."""
    w = kernel(node)
    group = node.attr("group", 1)
    fields = window_fields(node, list(w.shape[2:]))
    if group < 1 or w.shape[0] % group:
        raise node.error(f"weight W {list(w.shape)} doesn't divide into {group} groups")
    f = Filters(w, bias_of(node, w.shape[0]), group)
    x, r = roles(b, node, node.value(0), fields)
    f.w = turned(w, r)
    return [convolved(b, node, x, r, f)]


def kernel(node: Node) -> np.ndarray:
    w = weight(node.const(1, "weight W"))
    if w.ndim not in (3, 4) or 0 in w.shape:
        raise node.error(
            f"weight W has shape {list(w.shape)}; only one or two spatial axes are supported"
        )
    return w


def bias_of(node: Node, out: int) -> np.ndarray | None:
    if not node.has(2):
        return None
    bias = weight(node.const(2, "bias B"))
    if bias.shape != (out,):
        raise node.error(f"bias B has shape {list(bias.shape)}, expected [{out}]")
    return bias


def turned(w: np.ndarray, r: Roles) -> np.ndarray:
    """W, whose last axes are as x has them, as [M, C / group, position taps, taps over time]."""
    shape = [r.over_positions["taps"], r.over_time["taps"]]
    if r.time is not None and r.positions is not None and r.time < r.positions:
        return w.reshape(*w.shape[:2], *shape[::-1]).swapaxes(2, 3)
    return w.reshape(*w.shape[:2], *shape)


def convolved(b: Builder, node: Node, x: Tracked, r: Roles, f: Filters) -> Tracked:
    """The filters over what :func:`.roles` has found."""
    out, each = f.w.shape[:2]
    inputs = each * f.group
    x, size = grid(b, node, x, r, inputs)
    fields = dict(r.over_time)
    if r.positions is not None:
        fields |= {f"position_{k}": v for k, v in r.over_positions.items()}
    index = np.arange(size * inputs).reshape(size, inputs)
    if f.group > 1 and each == 1:  # channel by channel, each perhaps several times
        chosen = np.tile(np.repeat(np.arange(inputs), out // f.phases // inputs), f.phases)
        kind: type[g.Layer] = g.DepthwiseConv1D if r.positions is None else g.DepthwiseConv2D
        parts = [(chosen, np.arange(out))]
    else:
        kind = g.Conv1D if r.positions is None else g.Conv2D
        parts = list(
            zip(
                np.split(np.arange(inputs), f.group), np.split(np.arange(out), f.group), strict=True
            )
        )
    names = []
    for chosen, rows in parts:
        source = b.select(node, x.name, index[:, chosen], index.size)
        w = f.w[rows].transpose(0, 2, 3, 1).reshape(len(rows), -1)
        bias = None if f.bias is None else f.bias[rows]
        name = b.add(kind, node, source, weight=w, bias=bias, **fields)
        if f.count is not None:
            channels = len(rows) // f.phases
            total = window(node, r.over_positions).count(size) * len(rows)
            name = b.select(node, name, np.arange(f.count * channels), total)
        names.append(name)
    name = b.add(g.Concat, node, *names) if len(names) > 1 else names[0]
    sizes = (len(parts), out // f.phases // len(parts))
    dims: Axis = tuple(Dim(n, FEATURES) for n in sizes[len(parts) == 1 :])
    return made(b, node, x, r, name, dims, (*dims[:-1], POSITIONS, dims[-1]), f.count)


def grid(b: Builder, node: Node, x: Tracked, r: Roles, channels: int) -> tuple[Tracked, int]:
    """x with features [positions][channels], and how many positions there are."""
    if r.positions is None:
        return features(b, node, x, 1, channels), 1
    x = take_features(b, node, x, [r.positions, 1])
    if len(x.axes[1]) == 1 and x.axes[1][0].size is None:
        x.axes[1][0].size = channels
    if axis_size(x.axes[1]) != channels:
        raise node.error(f"gets {axis_size(x.axes[1])} channels, its weights take {channels}")
    return x, product(node, list(x.axes[r.positions]))


def pool(op: str) -> Handler:
    """MaxPool-1 to -22, AveragePool-1 to -22 with one or two spatial axes.

    Windows are rectangles, so a maximum of maxima and a mean of means over the two axes are those
    of the whole.
    """

    def handler(b: Builder, node: Node) -> list[Kind]:
        node.only_outputs(1)
        node.attr("storage_order")  # of the output of places
        shape = list(node.attr("kernel_shape", []))
        ceil = node.flag("ceil_mode")
        counted = node.flag("count_include_pad")
        if not shape:
            raise node.error("attribute kernel_shape is missing")
        fields = window_fields(node, shape)
        x, r = roles(b, node, node.value(0), fields)
        for axis, own in ((r.positions, r.over_positions), (r.time, r.over_time)):
            if axis is None or own == ONE:
                continue
            if ceil and not own["same"]:
                own["after"] += last_window(node, own, axis_size(x.axes[axis]), counted)
            extent = (own["taps"] - 1) * own["dilation"] + 1
            if counted and own["same"]:
                raise node.error(f"attributes auto_pad and count_include_pad together; {NEXT}")
            if not own["same"] and max(own["before"], own["after"]) >= extent:
                raise node.error("its padding is as wide as its window")
        padding = {"count_padding": counted} if op == "mean" else {}
        where = [i for i in (1, r.positions) if i is not None]
        for dim in (d for i in where for d in x.axes[i]):
            if dim.label != TIME or r.time is not None:
                bind(node, dim, FEATURES)
        b.decide(x)
        name = x.name
        order = tuple(d for d in x.order if d.label == FEATURES)
        if r.positions is not None and r.over_positions != ONE:
            rest = tuple(d for d in order if d not in x.axes[r.positions])
            source = arranged(b, node, x, [*x.axes[r.positions], *rest])
            name = b.add(
                g.PoolPositions, node, source.name, op=op, channels=product(node, list(rest)),
                **r.over_positions, **padding,
            )  # fmt: skip
            order = (POSITIONS, *rest)
        else:
            r.positions = None
        if r.time is not None and r.over_time != ONE:
            name = b.add(g.Pool1D, node, name, op=op, **r.over_time, **padding)
        return [made(b, node, x, r, name, x.axes[1], order)]

    return handler


def last_window(node: Node, fields: Fields, time: int | None, counted: bool) -> int:
    """Places of padding that make room for one more window where the last steps don't fill one.

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
