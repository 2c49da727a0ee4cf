"""ONNX's operators with windows, Conv and the pools: what their axes and attributes mean.

Of the spatial axes of [batch, channels, ...] one may be time, and one positions: features of each
step that a window moves over (see :mod:`lstmc.graph.positions`). Either may be missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lstmc import graph as g
from lstmc.graph import TIME

from .onnx_axes import as_batch, bare
from .onnx_layers import Builder, as_time, product
from .onnx_values import FEATURES, Axis, Dim, Node, Tracked, axis_size

SAME = {"NOTSET": "", "VALID": "", "SAME_UPPER": "upper", "SAME_LOWER": "lower"}
Fields = dict[str, Any]  # of a graph.Window
ONE: Fields = {"taps": 1, "stride": 1, "dilation": 1, "before": 0, "after": 0, "same": ""}


def window_fields(node: Node, taps: list[int]) -> list[Fields]:
    """The fields of a Window for each spatial axis, from the attributes that all share."""
    n = len(taps)
    given = node.attr("kernel_shape")
    if given is not None and list(given) != taps:
        raise node.error(f"attribute kernel_shape={list(given)}, its weights have {taps} taps")
    strides, dilations = list(node.attr("strides", [1] * n)), list(node.attr("dilations", [1] * n))
    pads, auto = list(node.attr("pads", [0] * 2 * n)), node.attr("auto_pad", "NOTSET")
    if (len(strides), len(dilations), len(pads)) != (n, n, 2 * n):
        axes = "1 axis" if n == 1 else f"{n} axes"
        raise node.error(f"strides {strides}, dilations {dilations} and pads {pads} are for {axes}")
    if auto not in SAME:
        raise node.error(f"attribute auto_pad={auto} is unknown")
    if min(*taps, *strides, *dilations) < 1 or min(pads) < 0:
        raise node.error(f"has taps {taps}, strides {strides}, dilations {dilations}, pads {pads}")
    if auto != "NOTSET":
        pads = [0] * 2 * n
    return [
        {
            "taps": taps[i],
            "stride": strides[i],
            "dilation": dilations[i] if taps[i] > 1 else 1,
            "before": pads[i],
            "after": pads[i + n],
            "same": SAME[auto] if taps[i] > 1 or strides[i] > 1 else "",
        }
        for i in range(n)
    ]


def window(node: Node, fields: Fields) -> g.Window:
    """For what can be asked of it: how many windows there are."""
    return g.Window(name=node.name, inputs=(), outputs=(), **fields)


@dataclass
class Roles:
    """Which axes of a tensor are time and positions, None where there is none, and the windows'
    fields over them: of a missing one a single tap."""

    time: int | None
    positions: int | None
    over_time: Fields
    over_positions: Fields
    folded: bool = False  # time was made for the windows, of features


def roles(b: Builder, node: Node, x: Tracked, fields: list[Fields]) -> tuple[Tracked, Roles]:
    """x [batch, channels, ...] with its axes read as what they are."""
    spatial = list(range(2, len(x.axes)))
    if len(fields) != len(spatial) or not 1 <= len(spatial) <= 2:
        raise node.error(
            f"its input has {len(spatial)} spatial axes, its window {len(fields)}; one or two are "
            "supported: [batch, channels, time], [batch, channels, time, positions]"
        )
    time = time_axis(b, node, x, spatial, fields)
    folded = False
    if time is not None:
        as_batch(node, x.axes[0], guess=True)
        before, x = x, as_time(b, node, x, time)
        folded = not before.labelled(TIME)
    rest = [i for i in spatial if i != time]
    if len(spatial) == 2:  # a size of 1 with a single tap is nothing to move over
        rest = [i for i in rest if axis_size(x.axes[i]) != 1 or fields[i - 2] != ONE]
    if len(rest) > 1:
        raise node.error(
            "has windows over two axes at each step of a sequence; only one of its spatial axes "
            "can lie within a step"
        )
    positions = rest[0] if rest else None
    if positions is not None and axis_size(x.axes[positions]) is None:
        raise node.error(
            "both of its spatial axes are of open size; one, time, may be: give the other a fixed "
            "size in the model"
        )
    over_time, over_positions = (ONE if i is None else fields[i - 2] for i in (time, positions))
    return x, Roles(time, positions, over_time, over_positions, folded)


def time_axis(
    b: Builder, node: Node, x: Tracked, spatial: list[int], fields: list[Fields]
) -> int | None:
    """The spatial axis that is time, if any."""
    known = {i for i, axis in enumerate(x.axes) for d in axis if d.label == TIME and not d.guess}
    if known - set(spatial):  # x is one step of many, or has them as its channels
        b.decide(x)
        return None
    if len(spatial) == 1:
        dims = bare(x.axes[2])
        within = dims and all(d.label == FEATURES and not d.guess for d in dims)
        return None if within and not x.labelled(TIME) else 2
    for _ in range(2):
        for i in spatial:
            if any(d.label == TIME for d in x.axes[i]):
                return i
        for i in spatial:
            if axis_size(x.axes[i]) is None:
                return i
        b.decide(x)
    moved = [i for i in spatial if axis_size(x.axes[i]) != 1 or fields[i - 2] != ONE]
    if len(moved) < 2 and not any(d.guess for i in spatial for d in x.axes[i]):
        return None  # all are features for sure, and there is but one to move over
    return next((i for i in spatial if axis_size(x.axes[i]) != 1), 2)


def steps(node: Node, old: Axis, fields: Fields) -> Dim:
    """The time that windows over a time make."""
    (dim,) = old
    made = window(node, fields)
    if made.steps(g.Spec(1, g.Steps())) == g.Steps():
        return dim  # as many, whatever their number
    if dim.size is None:
        return Dim(None, TIME)
    return Dim(made.steps(g.Spec(1, g.Steps(None, dim.size))).count({}), TIME)


POSITIONS = Dim(None, FEATURES)  # stands in an order of dims for the positions of what is made


def made(
    b: Builder,
    node: Node,
    x: Tracked,
    r: Roles,
    name: str,
    channels: Axis,
    order: Axis,
    count: int | None = None,
) -> Tracked:
    """What a layer has made of x: new time, new channels and, in the order at POSITIONS, new
    positions, ``count`` if not as many as there are windows."""
    axes = list(x.axes)
    axes[1] = channels
    new: Axis = ()
    if r.positions is not None:
        if count is None:
            count = window(node, r.over_positions).count(axis_size(x.axes[r.positions]) or 0)
        new = axes[r.positions] = (Dim(count, FEATURES),)
    order = tuple(e for d in order for e in (new if d is POSITIONS else (d,)))
    product(node, list(order))  # says if these are too many
    if r.time is not None:
        time = steps(node, x.axes[r.time], r.over_time)
        axes[r.time] = (time,)
        if r.folded and time.is_one():  # no time is left
            axes[r.time] = ()
            name = b.add(g.LastStep, node, name)
    return Tracked(name, tuple(axes), order)
