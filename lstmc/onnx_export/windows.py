"""Convolution and pooling as nodes, over steps, over positions, or over both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import graph as g
from ..graph.positions import Convolution2D
from .functions import fn
from .writer import Form, Writer

LOWEST = float(np.finfo(np.float32).min)


@dataclass
class Span:
    """A window along one axis of a tensor: ``size`` is that axis's, None where it is open."""

    window: g.Window
    size: int | None

    @property
    def open(self) -> bool:
        """How much padding there is depends on the size."""
        return bool(self.window.same) and self.size is None and self.window.stride > 1

    @property
    def pads(self) -> tuple[int, int]:
        """Padding in front and behind."""
        x = self.window
        if not x.same:
            return x.before, x.after
        size = 1 if self.size is None else self.size  # with stride 1 it does not matter
        total = max((-(-size // x.stride) - 1) * x.stride + x.extent - size, 0)
        small, large = total // 2, total - total // 2
        return (small, large) if x.same == "upper" else (large, small)


ONE = g.Window(name="", inputs=(), outputs=(), taps=1)


def _size(spec: g.Spec) -> int | None:
    assert spec.time is not None
    return spec.time.add if spec.time.clock is None else None


def attributes(spans: list[Span]) -> dict[str, Any]:
    """What operators call taps, stride and dilation."""
    found = {
        "kernel_shape": [s.window.taps for s in spans],
        "strides": [s.window.stride for s in spans],
        "dilations": [s.window.dilation for s in spans],
    }
    if all(d == 1 for d in found["dilations"]):
        del found["dilations"]
    return found


def padded(w: Writer, x: str, spans: list[Span], value: float) -> str:
    """x with its padding in front and behind, along its axes from 2 on."""
    if not any(s.open for s in spans):
        pads = w.whole(0, 0, *(s.pads[0] for s in spans), 0, 0, *(s.pads[1] for s in spans))
    else:
        amounts = [_amounts(w, x, axis, s) for axis, s in enumerate(spans, start=2)]
        none = w.whole(0, 0)
        pads = w.join(none, *(front for front, _ in amounts), none, *(back for _, back in amounts))
    return w.node("Pad", x, pads, w.number(value) if value else "")


def _amounts(w: Writer, x: str, axis: int, span: Span) -> tuple[str, str]:
    """int64 [1] each: the padding in front and behind."""
    if not span.open:
        front, behind = span.pads
        return w.whole(front), w.whole(behind)
    stride = w.whole(span.window.stride)
    size = w.node("Shape", x, start=axis, end=axis + 1)
    windows = w.node("Div", w.node("Add", size, w.whole(span.window.stride - 1)), stride)
    reach = w.node("Mul", w.node("Sub", windows, w.whole(1)), stride)
    reach = w.node("Add", reach, w.whole(span.window.extent))
    total = w.node("Max", w.node("Sub", reach, size), w.whole(0))
    small = w.node("Div", total, w.whole(2))
    large = w.node("Sub", total, small)
    return (small, large) if span.window.same == "upper" else (large, small)


def convolved(w: Writer, x: str, weight: str, bias: str, spans: list[Span], groups: int) -> str:
    more: dict[str, Any] = {"group": groups} if groups > 1 else {}
    if automatic(spans):
        more["auto_pad"] = f"SAME_{spans[0].window.same.upper()}"
    elif any(s.open for s in spans):
        x = padded(w, x, spans, 0.0)
    else:
        more |= padding(spans)
    return w.node("Conv", x, weight, bias, **attributes(spans), **more)


def automatic(spans: list[Span]) -> bool:
    """Whether auto_pad says how much padding there is, which ONNX Runtime takes without dilation,
    and where it is left open."""
    return (
        any(s.open for s in spans)
        and len({s.window.same for s in spans} | {""}) == 2
        and all(s.window.same and s.window.dilation == 1 for s in spans)
    )


def padding(spans: list[Span]) -> dict[str, list[int]]:
    """The attribute pads, where there is padding."""
    pads = [*(s.pads[0] for s in spans), *(s.pads[1] for s in spans)]
    return {"pads": pads} if any(pads) else {}


def conv1d(w: Writer, layer: g.Conv1D | g.DepthwiseConv1D) -> None:
    (x,) = layer.inputs
    features, depthwise = w.spec(x).features, isinstance(layer, g.DepthwiseConv1D)
    taps = layer.weight.reshape(len(layer.weight), layer.taps, 1 if depthwise else features)
    weight = w.weight(taps.transpose(0, 2, 1), "weight")
    bias = "" if layer.bias is None else w.weight(layer.bias, "bias")
    spans = [Span(layer, _size(w.spec(x)))]
    y = convolved(w, w.get(x, "bft"), weight, bias, spans, features if depthwise else 1)
    w.made(layer.outputs[0], fn(w, y, layer.activation), "bft")


def conv2d(w: Writer, layer: Convolution2D) -> None:
    """A tensor [batch, channels, time, positions], or without time [batch, channels, positions]."""
    (x,) = layer.inputs
    spec, depthwise = w.spec(x), isinstance(layer, g.DepthwiseConv2D)
    channels, made = layer.channels, len(layer.weight)
    shape = (made, layer.position_taps, layer.taps, 1 if depthwise else channels)
    kernel = layer.weight.reshape(shape).transpose(0, 3, 2, 1)
    spans = [Span(layer.across, layer.positions(spec.features))]
    axes = "bcp"
    if spec.time is not None:
        spans, axes = [Span(layer, _size(spec)), *spans], "bctp"
    else:
        kernel = kernel[:, :, 0]
    bias = "" if layer.bias is None else w.weight(layer.bias, "bias")
    y = convolved(
        w, w.get(x, axes, channels=channels), w.weight(kernel, "weight"), bias, spans,
        channels if depthwise else 1,
    )  # fmt: skip
    w.made(layer.outputs[0], fn(w, y, layer.activation), axes, channels=made)


def pooled(w: Writer, x: str, spans: list[Span], op: str, count_padding: bool) -> str:
    """Maximum, minimum, mean or sum of windows along the axes of x from 2 on.

    Padding is made by Pad where an operator would not take it, or would get it wrong: where it
    depends on the size, where it is as wide as a window, where a window may be nothing but padding.
    """
    if op == "minimum":
        return w.node("Neg", pooled(w, w.node("Neg", x), spans, "maximum", False))
    if op == "sum":
        taps = float(np.prod([s.window.taps for s in spans]))
        return w.node("Mul", pooled(w, x, spans, "mean", True), w.number(taps))
    more: dict[str, Any] = attributes(spans)
    apart = False
    if automatic(spans) and all(s.window.stride <= s.window.taps for s in spans):
        more["auto_pad"] = f"SAME_{spans[0].window.same.upper()}"
    else:
        apart = any(
            s.open or max(s.pads) >= s.window.taps or (max(s.pads) and s.window.dilation > 1)
            for s in spans
        )
        more |= {} if apart else padding(spans)
    if op == "maximum":
        if not apart:
            return w.node("MaxPool", x, **more)
        y = w.node("MaxPool", padded(w, x, spans, -np.inf), **more)
        empty = w.node("LessOrEqual", y, w.number(LOWEST))  # ONNX Runtime begins there
        return w.node("Where", empty, w.number(-np.inf), y)
    if not apart:
        return w.node("AveragePool", x, count_include_pad=int(count_padding), **more)
    y = w.node("AveragePool", padded(w, x, spans, 0.0), **more)
    if count_padding:
        return y
    ones = w.node("ConstantOfShape", w.node("Shape", x), value=_one())
    part = w.node("AveragePool", padded(w, ones, spans, 0.0), **more)
    none = w.node("Equal", part, w.number(0.0))
    return w.node("Div", y, w.node("Where", none, w.number(1.0), part))


def _one() -> Any:
    import onnx

    return onnx.numpy_helper.from_array(np.ones(1, np.float32))


def pool1d(w: Writer, layer: g.Pool1D) -> None:
    (x,) = layer.inputs
    spans = [Span(layer, _size(w.spec(x)))]
    y = pooled(w, w.get(x, "bft"), spans, layer.op, layer.count_padding)
    w.made(layer.outputs[0], y, "bft")


def pool_positions(w: Writer, layer: g.PoolPositions) -> None:
    (x,) = layer.inputs
    spec, channels = w.spec(x), layer.channels
    spans, axes = [Span(layer, spec.features // channels)], "bcp"
    if spec.time is not None:
        spans, axes = [Span(ONE, _size(spec)), *spans], "bctp"
    y = pooled(w, w.get(x, axes, channels=channels), spans, layer.op, layer.count_padding)
    w.put(layer.outputs[0], Form(y, axes, channels=channels))
