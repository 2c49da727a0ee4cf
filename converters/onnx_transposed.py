"""ONNX's ConvTranspose as convolutions."""

from __future__ import annotations

import numpy as np

from .onnx_axes import bind
from .onnx_conv import Filters, bias_of, convolved, kernel, turned
from .onnx_layers import Builder, fixed_time, steps_as_features
from .onnx_values import FEATURES, NEXT, Kind, Node, Tracked, axis_size
from .onnx_windows import Fields, Roles, roles, window_fields


def conv_transpose(b: Builder, node: Node) -> list[Kind]:
    """ConvTranspose-1, -11, -22 with one or two spatial axes; W [C, M / group, k1, k2].

    y[p] = B + the sum of W[k] x[i] over all i and k with i stride + k dilation - pad = p.
    """
    w = kernel(node)
    inputs, each = w.shape[:2]
    group = node.attr("group", 1)
    if group < 1 or inputs % group:
        raise node.error(f"weight W {list(w.shape)} doesn't divide into {group} groups")
    # as a convolution has it: [M, C / group, ...]
    w = w.reshape(group, inputs // group, *w.shape[1:]).swapaxes(1, 2)
    w = w.reshape(group * each, inputs // group, *w.shape[3:])
    fields = window_fields(node, list(w.shape[2:]))
    more = list(node.attr("output_padding", [0] * len(fields)))
    if node.attr("output_shape") is not None or any(f["same"] for f in fields):
        raise node.error(f"its padding follows from the shape of the output; {NEXT}, pads are")
    if len(more) != len(fields) or min(more) < 0:
        raise node.error(f"attribute output_padding={more} is for {len(fields)} axes")
    f = Filters(w, bias_of(node, len(w)), group)
    x = within(b, node, node.value(0), fields)
    x, r = roles(b, node, x, fields)
    f.w = turned(w, r)
    if r.time is not None:
        over_time(node, f, r, more[r.time - 2])
    if r.positions is not None:
        size = axis_size(x.axes[r.positions])
        assert size is not None  # roles has made sure
        over_positions(node, f, r, size, more[r.positions - 2])
    return [convolved(b, node, x, r, f)]


def within(b: Builder, node: Node, x: Tracked, fields: list[Fields]) -> Tracked:
    """x; steps of a fixed number, which will be more, as features."""
    if len(fields) != 1 or len(x.axes) != 3 or fields[0]["stride"] == 1:
        return x
    if fixed_time(x, 2):
        return steps_as_features(b, node, x)
    for dim in x.axes[2]:
        if dim.label is None and dim.size is not None:
            bind(node, dim, FEATURES)
    return x


def over_time(node: Node, f: Filters, r: Roles, more: int) -> None:
    """Steps keep their number (but for padding): a convolution with the taps turned round."""
    own = dict(r.over_time)
    if own["stride"] != 1:
        raise node.error(
            f"makes {own['stride']} steps of each; {NEXT} where their number is open, or beside "
            "another axis that is convolved"
        )
    reach = (own["taps"] - 1) * own["dilation"]
    own["before"], own["after"] = reach - own["before"], reach - own["after"] + more
    if min(own["before"], own["after"]) < 0:
        raise node.error("its padding takes away more than its window adds")
    f.w, r.over_time = f.w[:, :, :, ::-1], own


def over_positions(node: Node, f: Filters, r: Roles, size: int, more: int) -> None:
    """Positions m stride + phase of the output lie together as channels of position m, each phase
    with the taps that reach it: tap k takes position m + (phase + pad - k dilation) / stride. What
    one phase takes and another doesn't has a weight of zero there."""
    own = r.over_positions
    taps, stride, dilation, pad = (own[k] for k in ("taps", "stride", "dilation", "before"))
    wanted = stride * (size - 1) + (taps - 1) * dilation + 1 - pad - own["after"] + more
    if wanted < 1:
        raise node.error("its padding leaves nothing")
    reached = [
        (phase, k, (phase + pad - k * dilation) // stride)
        for phase in range(stride)
        for k in range(taps)
        if (phase + pad - k * dilation) % stride == 0
    ]
    first = min(0, *(at for _, _, at in reached))
    width = max(0, *(at for _, _, at in reached)) - first + 1
    spread = np.zeros(
        (f.group, stride, len(f.w) // f.group, f.w.shape[1], width, f.w.shape[3]), "f4"
    )
    by_group = f.w.reshape(f.group, -1, *f.w.shape[1:])
    for phase, k, at in reached:
        spread[:, phase, :, :, at - first] = by_group[:, :, :, k]
    depthwise = f.group > 1 and f.w.shape[1] == 1
    if depthwise:  # phase by phase all channels
        spread = spread.swapaxes(0, 1)
    order = np.arange(len(f.w)).reshape(f.group, -1)
    if f.bias is not None:
        tiled = np.tile(f.bias[order][:, None], (1, stride, 1))
        f.bias = (tiled.swapaxes(0, 1) if depthwise else tiled).reshape(-1)
    f.w = spread.reshape(-1, f.w.shape[1], width, f.w.shape[3])
    f.phases, f.count = stride, wanted
    windows = -(-wanted // stride)
    after = max(windows - 1 - size + width + first, 0)
    r.over_positions = {
        "taps": width, "stride": 1, "dilation": 1, "before": -first, "after": after, "same": ""
    }  # fmt: skip
