"""Handlers of layers that work on the steps: convolution, pooling, and what changes the shape."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from lstmc import graph as g

from .keras_build import SEQUENCE, STEPS, Builder, Tensor, combine, single
from .keras_functions import function
from .keras_layers import WITH_KERNEL, activate
from .keras_tree import Kind, Layer, Only, ignored, read, training

# ---------------------------------------------------------------------------- convolution, pooling


def _window(b: Builder, layer: Layer, taps: int, paddings: tuple[str, ...]) -> dict[str, Any]:
    """The fields of :class:`lstmc.graph.Window` that the layer's options give."""
    stride, dilation = layer.size("strides"), layer.size("dilation_rate", 1)
    padding = layer.choice("padding", paddings)
    found = {"taps": taps, "stride": stride, "dilation": dilation}
    if padding == "same":
        return {**found, "same": "upper"}
    return {**found, "before": (taps - 1) * dilation if padding == "causal" else 0}


def conv1d(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    """kernel [taps, channels in / groups, channels out], bias [channels out]."""
    b.sequence(layer, x)
    taps, out, groups = layer.size("kernel_size"), layer.size("filters"), layer.size("groups", 1)
    window = _window(b, layer, taps, ("valid", "same", "causal"))
    if x.features % groups or out % groups:
        layer.refuse(f"option groups={groups} doesn't divide its channels", "save the model again")
    per = x.features // groups
    w = b.weights(layer, kernel=(taps, per, out), bias=(out,))
    kernel, bias = w["kernel"], w["bias"]
    assert kernel is not None
    rows = kernel.transpose(2, 0, 1).reshape(out, taps * per)  # tap by tap
    if groups == 1:
        made = g.Conv1D(name="", inputs=(), outputs=(), weight=rows, bias=bias, **window)
        return activate(b, layer, made, x, label)
    parts: list[Tensor | None] = []
    for i in range(groups):
        mine = slice(i * out // groups, (i + 1) * out // groups)
        index = tuple(range(i * per, (i + 1) * per))
        part = b.add(g.Select(name="", inputs=(), outputs=(), index=index), x, f"{label}/in{i}")
        part_bias = None if bias is None else bias[mine]
        made = g.Conv1D(name="", inputs=(), outputs=(), weight=rows[mine], bias=part_bias, **window)
        # A softmax would be over all groups: it follows them.
        parts.append(b.add(made, part, f"{label}/group{i}"))
    joined = b.add(g.Concat(name="", inputs=(), outputs=()), parts, f"{label}/groups")
    return function(b, layer).apply(b, layer, joined, label)


def _depthwise(
    b: Builder, layer: Layer, x: Tensor, kernel: np.ndarray, window: dict[str, Any], label: str
) -> tuple[Tensor, g.DepthwiseConv1D]:
    """The input with each channel once for each of its kernels, and the convolution of that.

    kernel [taps, channels, multiplier]; the channels out are channel by channel.
    """
    taps, channels, multiplier = kernel.shape
    if multiplier > 1:
        index = tuple(c for c in range(channels) for _ in range(multiplier))
        x = b.add(g.Select(name="", inputs=(), outputs=(), index=index), x, f"{label}/channels")
    rows = kernel.transpose(1, 2, 0).reshape(channels * multiplier, taps)
    return x, g.DepthwiseConv1D(name="", inputs=(), outputs=(), weight=rows, **window)


def depthwise_conv1d(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    """kernel [taps, channels, depth_multiplier], bias [channels * depth_multiplier]."""
    b.sequence(layer, x)
    taps, multiplier = layer.size("kernel_size"), layer.size("depth_multiplier")
    window = _window(b, layer, taps, ("valid", "same"))
    w = b.weights(layer, kernel=(taps, x.features, multiplier), bias=(x.features * multiplier,))
    assert w["kernel"] is not None
    x, made = _depthwise(b, layer, x, w["kernel"], window, label)
    made.bias = w["bias"]
    return activate(b, layer, made, x, label)


def separable_conv1d(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    """Each channel by itself, then all channels of a step: pointwise_kernel [1, C M, filters]."""
    b.sequence(layer, x)
    taps, multiplier = layer.size("kernel_size"), layer.size("depth_multiplier")
    out, channels = layer.size("filters"), x.features * multiplier
    window = _window(b, layer, taps, ("valid", "same", "causal"))
    w = b.weights(
        layer,
        depthwise_kernel=(taps, x.features, multiplier),
        pointwise_kernel=(1, channels, out),
        bias=(out,),
    )
    deep, wide = w["depthwise_kernel"], w["pointwise_kernel"]
    assert deep is not None and wide is not None
    x, made = _depthwise(b, layer, x, deep, window, label)
    y = b.add(made, x, f"{label}/depthwise")
    mix = g.Dense(name="", inputs=(), outputs=(), weight=wide[0].T, bias=w["bias"])
    return activate(b, layer, mix, y, label)


def _pool(b: Builder, layer: Layer, x: Tensor, op: str) -> g.Pool1D:
    b.sequence(layer, x)
    taps = layer.size("pool_size")
    if layer.config.get("strides") is None:
        layer = dataclasses.replace(layer, config={**layer.config, "strides": taps})
    window = _window(b, layer, taps, ("valid", "same"))
    return g.Pool1D(name="", inputs=(), outputs=(), op=op, **window)


def max_pooling1d(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    return b.add(_pool(b, layer, x, "maximum"), x, label)


def average_pooling1d(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    """The mean of the steps that are there. Backends of Keras agree on it where padding="same"
    pads as much in front as behind; elsewhere PyTorch's repeats the last step."""
    made = _pool(b, layer, x, "mean")
    if made.same:
        n, even = b.steps(x), made.taps % 2 == 1 and made.stride == 1
        if n is not None:
            count = -(-n // made.stride)
            even = max((count - 1) * made.stride + made.taps - n, 0) % 2 == 0
        if not even:
            layer.refuse(
                "option padding=same pads unevenly, where Keras's backends differ",
                "use padding='valid', or an odd pool_size with strides=1",
            )
    return b.add(made, x, label)


def _kept(b: Builder, layer: Layer, y: Tensor, label: str) -> Tensor:
    """keepdims: [batch, features] as a sequence of one step."""
    if not layer.flag("keepdims", False):
        return y
    return b.add(g.Unflatten(name="", inputs=(), outputs=(), count=1), y, f"{label}/kept")


def reduce_time(op: str) -> g.ReduceTime:
    return g.ReduceTime(name="", inputs=(), outputs=(), op=op)


def global_max_pooling1d(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    b.sequence(layer, x)
    return _kept(b, layer, b.add(reduce_time("maximum"), x, label), label)


def global_average_pooling1d(
    b: Builder, layer: Layer, given: dict[str, Any], label: str
) -> list[Tensor]:
    """The mean over the steps; with a mask, over those that count: NaN if none does."""
    x = b.sequence(layer, b.tensor(layer, given["inputs"]))
    mask = b.given_mask(layer, given) or b.mask(layer, x)
    if mask is None:
        y = b.add(reduce_time("mean"), x, label)
    else:
        total = b.add(reduce_time("sum"), [x, mask], f"{label}/total")
        count = b.add(reduce_time("sum"), [mask, mask], f"{label}/count")
        y = b.add(combine("divide"), [total, count], label)
    return [_kept(b, layer, y, label)]


# ------------------------------------------------------------------------------------------ shapes


def flat(b: Builder, x: Tensor, label: str) -> Tensor:
    """[batch, everything else]."""
    if x.form == STEPS:
        return b.vector(x)
    if x.form != SEQUENCE:
        return x
    return b.add(g.Flatten(name="", inputs=(), outputs=()), x, label)


def select(b: Builder, x: Tensor, index: tuple[int, ...], label: str) -> Tensor:
    return b.add(g.Select(name="", inputs=(), outputs=(), index=index), x, label)


def unflat(b: Builder, x: Tensor, count: int, label: str) -> Tensor:
    """[batch, count, the rest]."""
    return b.add(g.Unflatten(name="", inputs=(), outputs=(), count=count), x, label)


def flatten(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    return flat(b, x, label)


def known_steps(b: Builder, layer: Layer, x: Tensor) -> int:
    steps = b.steps(x)
    if steps is None:
        layer.refuse(
            "needs a fixed number of time steps, and the model leaves it open",
            "give the input a fixed number of steps",
        )
    return steps


def reshape(b: Builder, layer: Layer, given: dict[str, Any], label: str) -> list[Tensor]:
    x = b.tensor(layer, given["inputs"])
    shape = layer.config.get("target_shape")
    sizes = shape if isinstance(shape, list) else [shape]
    if len(sizes) not in (1, 2) or any(
        n is not None and (type(n) is not int or n == 0 or n < -1) for n in sizes
    ):
        layer.refuse(
            f"option target_shape={str(shape)[:60]} is not supported",
            "reshape to [time, features] or [features]",
        )
    wanted: list[int] = [-1 if n is None else int(n) for n in sizes]
    if x.form == SEQUENCE and wanted == [-1, x.features]:
        return [b.passed(layer, x, x)]
    if x.form == STEPS and wanted == [-1, 1]:
        return [b.passed(layer, x, dataclasses.replace(x, form=SEQUENCE))]
    if x.form == SEQUENCE and x.features == 1 and wanted == [-1]:
        return [b.passed(layer, x, dataclasses.replace(x, form=STEPS))]
    total = x.features * (1 if x.spec.time is None else known_steps(b, layer, x))
    rest = 1
    for n in wanted:
        rest *= n if n > 0 else 1
    if wanted.count(-1) > 1 or total % rest or (-1 not in wanted and total != rest):
        layer.refuse(f"option target_shape={shape} doesn't fit {x}", "save the model again")
    wanted = [total // rest if n == -1 else n for n in wanted]
    y = flat(b, x, f"{label}/flat")
    return [b.passed(layer, x, y if len(wanted) == 1 else unflat(b, y, wanted[0], label))]


def transposed(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    """[batch, features, time]: every feature becomes a step."""
    steps, n = known_steps(b, layer, x), x.features
    y = flat(b, x, f"{label}/flat")
    y = select(b, y, tuple(t * n + f for f in range(n) for t in range(steps)), f"{label}/turned")
    return unflat(b, y, n, label)


def permute(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    dims = layer.config.get("dims")
    if x.form == SEQUENCE and dims == [2, 1]:
        return transposed(b, layer, x, label)
    if dims != list(range(1, x.rank)):
        layer.refuse(f"option dims={str(dims)[:60]} is not supported", "use (2, 1)")
    return x


def repeat_vector(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    if x.form == SEQUENCE:
        layer.refuse("its input has a time axis", "give it [batch, features]")
    return b.add(g.Repeat(name="", inputs=(), outputs=(), count=layer.size("n")), x, label)


def zero_padding1d(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    before, after = layer.pair("padding")
    made = g.PadTime(name="", inputs=(), outputs=(), before=before, after=after)
    return b.add(made, b.sequence(layer, x), label)


def cropping1d(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    before, after = layer.pair("cropping")
    made = g.SliceTime(name="", inputs=(), outputs=(), start=before, drop=after)
    return b.add(made, b.sequence(layer, x), label)


def up_sampling1d(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    size, n = layer.size("size"), b.sequence(layer, x).features
    steps = known_steps(b, layer, x)
    y = flat(b, x, f"{label}/flat")
    index = (t * n + f for t in range(steps) for _ in range(size) for f in range(n))
    return unflat(b, select(b, y, tuple(index), f"{label}/repeated"), steps * size, label)


# --------------------------------------------------------------------------------------- registry

_LAST = {"data_format": Only(("channels_last", None), "build it with channels_last")}
_WINDOW = {**read("strides", "padding"), **_LAST}
_CONV = {
    **_WINDOW,
    **read("filters", "kernel_size", "dilation_rate", "groups", "activation", "use_bias"),
    **WITH_KERNEL,
}
_DEPTH = {
    **_WINDOW,
    **read("kernel_size", "dilation_rate", "activation", "use_bias", "depth_multiplier"),
    **training("depthwise", "bias", "kernel"),
    **ignored("activity_regularizer"),
    "filters": Only((None,), "save the model again"),
    "groups": Only((1, None), "build it with groups=1"),
}
_SEPARABLE = {**_DEPTH, **read("filters"), **training("pointwise")}
_POOL = {**_WINDOW, **read("pool_size")}
_GLOBAL = {**_LAST, **read("keepdims")}

LAYERS: dict[str, Kind] = {
    "AveragePooling1D": Kind(single(average_pooling1d), _POOL),
    "Conv1D": Kind(single(conv1d), _CONV, ("kernel", "bias")),
    "Cropping1D": Kind(single(cropping1d), read("cropping")),
    "DepthwiseConv1D": Kind(single(depthwise_conv1d), _DEPTH, ("kernel|depthwise_kernel", "bias")),
    "Flatten": Kind(single(flatten), _LAST),
    "GlobalAveragePooling1D": Kind(
        global_average_pooling1d, _GLOBAL, params=("inputs", "mask"), masks="own"
    ),
    "GlobalMaxPooling1D": Kind(single(global_max_pooling1d), _GLOBAL),
    "MaxPooling1D": Kind(single(max_pooling1d), _POOL),
    "Permute": Kind(single(permute), read("dims")),
    "RepeatVector": Kind(single(repeat_vector), read("n")),
    "Reshape": Kind(reshape, read("target_shape")),
    "SeparableConv1D": Kind(
        single(separable_conv1d), _SEPARABLE, ("depthwise_kernel", "pointwise_kernel", "bias")
    ),
    "UpSampling1D": Kind(single(up_sampling1d), read("size")),
    "ZeroPadding1D": Kind(single(zero_padding1d), {**read("padding"), **_LAST}),
}
__all__ = ["LAYERS"]
