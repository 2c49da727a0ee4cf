"""The training of convolution and pooling over positions: gradients against float64 differences and
torch.autograd."""

import hypothesis
import numpy as np
import pytest
from cases import LARGEST_SEED, settings
from gradients import check
from helpers import Net
from hypothesis import strategies as st
from test_gradients_sequence import check_case, draw_of
from test_layers_positions import BOOL, CONVOLUTIONS, NO_TIME, put
from test_layers_sequence import Case, window

from lstmc import graph as g


@st.composite
def cases(draw):
    """Convolutions and pools one after another, and beside one another."""
    net = Net(draw(st.integers(0, LARGEST_SEED)))
    timed = draw(BOOL)
    channels, positions = draw(st.integers(1, 9)), draw(st.integers(1, 12))
    x = net.input(positions * channels, time=timed, order=draw(st.sampled_from(("btf", "tbf"))))
    if draw(BOOL):  # a value between layers, without tiny numbers
        x = net.dense(x, positions * channels)
    outputs = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from((*CONVOLUTIONS, *CONVOLUTIONS, g.PoolPositions)))
        over_time = window(draw_of(draw)) if timed else NO_TIME
        y, made = put(net, draw_of_any(draw), kind, x, channels, over_time)
        outputs.append(y)
        hypothesis.assume(net.specs[y].features < 1000)
        if kind is not g.PoolPositions and draw(BOOL):  # which may give infinity
            x, channels = y, made
    batch, time = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    lengths = None
    if timed and draw(BOOL):
        lengths = [draw(st.integers(0, time)) for _ in range(batch)]
    return Case(net.graph(*outputs), draw(st.integers(0, LARGEST_SEED)), batch, time, lengths)


def draw_of_any(draw):
    """What test_layers_positions draws with."""
    return lambda strategy, label="": draw(strategy)


@settings(60)
@hypothesis.given(case=cases())
def test_gradients(case):
    check_case(case)


def images(net, channels, positions, *, time=5, batch=3):
    """An input of steps of positions, and an array for it."""
    x = net.input(positions * channels)
    array = net.rng.standard_normal((batch, time, positions * channels)).astype(np.float32)
    return x, {x: array}


def as_torch(x, channels):
    """[batch, time, positions * channels] as [batch, channels, time, positions], and back."""
    return x.reshape(*x.shape[:2], -1, channels).permute(0, 3, 1, 2)


def as_steps(y):
    return y.permute(0, 2, 3, 1).flatten(2)


#: Of each axis, over time and over positions, as torch has them.
WINDOWS = [
    {"taps": (3, 3), "stride": (1, 1), "dilation": (1, 1), "before": (1, 1)},
    {"taps": (2, 3), "stride": (2, 1), "dilation": (1, 2), "before": (0, 2)},
    {"taps": (1, 4), "stride": (1, 2), "dilation": (1, 1), "before": (0, 0)},
    {"taps": (3, 1), "stride": (1, 1), "dilation": (2, 1), "before": (4, 0)},
    {"taps": (2, 2), "stride": (2, 3), "dilation": (3, 2), "before": (3, 1)},
]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_conv2d_agrees_with_torch(window):
    import torch

    net = Net(1)
    x, inputs = images(net, 5, 9, time=8)
    both = window | {"after": window["before"]}
    fields = {k: v[0] for k, v in both.items()} | {f"position_{k}": v[1] for k, v in both.items()}
    taps, across = window["taps"]
    y = net.simple(g.Conv2D, x, weight=net.weight(7, 5 * taps * across), bias=net.weight(7),
                   activation=g.TANH, **fields)  # fmt: skip
    z = net.simple(g.DepthwiseConv2D, x, weight=net.weight(5, taps * across), **fields)
    full, each = (layer.name for layer in net.layers)

    def transcription(x, w):
        conv, a = torch.nn.functional.conv2d, as_torch(x["x0"], 5)
        options = {"stride": window["stride"], "dilation": window["dilation"]}
        options["padding"] = window["before"]
        weights = w[full, "weight"].reshape(7, across, taps, 5).permute(0, 3, 2, 1).contiguous()
        alone = w[each, "weight"].reshape(5, 1, across, taps).transpose(2, 3).contiguous()
        return {
            y: as_steps(torch.tanh(conv(a, weights, w[full, "bias"], **options))),
            z: as_steps(conv(a, alone, groups=5, **options)),
        }

    check(net.graph(y, z), inputs, torch=transcription)


def test_pools_over_positions_agree_with_torch():
    import torch

    net = Net(1)
    x, inputs = images(net, 3, 10)
    own = {"taps": 3, "stride": 2, "before": 1, "after": 1, "channels": 3}
    outputs = [
        net.simple(g.PoolPositions, x, op="maximum", **own | {"dilation": 2}),
        net.simple(g.PoolPositions, x, op="minimum", **own),
        net.simple(g.PoolPositions, x, op="mean", **own),
        net.simple(g.PoolPositions, x, op="mean", count_padding=True, **own),
        net.simple(g.PoolPositions, x, op="sum", **own),
    ]

    def transcription(x, w):
        f, a = torch.nn.functional, as_torch(x["x0"], 3)
        window = {"kernel_size": (1, 3), "stride": (1, 2), "padding": (0, 1)}
        made = [
            f.max_pool2d(a, dilation=(1, 2), **window), -f.max_pool2d(-a, **window),
            f.avg_pool2d(a, count_include_pad=False, **window), f.avg_pool2d(a, **window),
            3 * f.avg_pool2d(a, **window),
        ]  # fmt: skip
        return dict(zip(outputs, map(as_steps, made), strict=True))

    check(net.graph(*outputs), inputs, torch=transcription)
