"""What several tests share: small graphs, random ones, arrays cut along an axis, exact float32
arithmetic, C programs compiled with $CC."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from once import compile_once

import lstmc
from lstmc import graph as g
from lstmc.model import index_inputs

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests/data"
LONG = os.environ.get("LSTMC_LONG") == "1"

BATCH, TIME = g.BATCH, g.TIME
#: Nets of these can be compared with float64: continuous, defined everywhere, no steeper than 2.
TAME_FUNCTIONS = (
    g.SIGMOID, g.TANH, g.RELU, g.LINEAR, g.HARD_SIGMOID_ONNX, g.HARD_SIGMOID_KERAS3,
    g.Fn("affine", 0.7, -0.3), g.Fn("leaky_relu", 0.01), g.Fn("scaled_tanh", 1.7159, 0.6667),
    g.Fn("elu", 0.7), g.Fn("softsign"), g.Fn("softplus"), g.SELU, g.Fn("gelu"),
    g.Fn("gelu_tanh"), g.SILU, g.Fn("silu", 1.702), g.Fn("mish"), g.HARD_SILU,
    g.Fn("log_sigmoid"), g.Fn("celu", 0.7), g.Fn("tanh_shrink"), g.Fn("soft_shrink", 0.5),
    g.Fn("squareplus", 4), g.Fn("sparse_plus"), g.Fn("sparse_sigmoid"), g.RELU6, g.Fn("abs"),
    g.Fn("erf"),
)  # fmt: skip
FUNCTIONS = (
    *TAME_FUNCTIONS, g.Fn("leaky_relu", 0.3, 1.5), g.Fn("thresholded_relu", 1),
    g.Fn("hard_shrink", 0.5), g.Fn("sqrt"), g.Fn("square"), g.Fn("reciprocal"), g.Fn("log"),
    g.Fn("sign"), g.Fn("not_equal", 0.5), g.Fn("exponential"),
)  # fmt: skip
#: Around every lane count, panel width and half panel.
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 20, 24, 25, 31, 32, 33, 40)


# --------------------------------------------------------------------------------------- graphs


def layout(features: int, *, time: bool = True, order: str = "btf") -> tuple[g.Axis, ...]:
    """Axes of a value: "btf", "tbf"; a "1" is an axis of size 1, two f split the features."""
    if not time:
        order = order.replace("t", "")
    split = next((d for d in (2, 3, 5) if features % d == 0 and features > d), 1)
    axes: list[g.Axis] = []
    pieces = iter([features] if order.count("f") == 1 else [split, features // split])
    for c in order:
        axes.append({"b": BATCH, "t": TIME, "1": 1}.get(c) or next(pieces))
    return tuple(axes)


class Net:
    """Builds a graph layer by layer, with seeded weights; methods return names of values."""

    def __init__(self, seed: int = 0, scale: float = 1.0) -> None:
        self.rng = np.random.default_rng(seed)
        self.scale = scale
        self.inputs: list[g.Value] = []
        self.layers: list[g.Layer] = []
        self.specs: dict[str, g.Spec] = {}

    def weight(self, *shape: int) -> np.ndarray:
        bound = self.scale / np.sqrt(shape[-1] if len(shape) > 1 else 4)
        return self.rng.uniform(-bound, bound, shape).astype(np.float32)

    def input(self, features: int, *, time: bool = True, order: str = "btf") -> str:
        v = g.Value(f"x{len(self.inputs)}", layout(features, time=time, order=order))
        self.inputs.append(v)
        self.specs[v.name] = v.spec
        return v.name

    def add(
        self, kind: type[g.Layer], x: str | Sequence[str | None], outputs: Sequence[str | None],
        **fields,
    ) -> None:  # fmt: skip
        """x is the name of the input, or those of several; None stands for an absent one."""
        inputs = (x,) if isinstance(x, str) else tuple(x)
        layer = kind(
            name=f"{kind.__name__.lower()}{len(self.layers)}",
            inputs=inputs,
            outputs=tuple(o and f"v{len(self.layers)}{o}" for o in outputs),
            **fields,
        )
        self.layers.append(layer)
        specs = layer.infer(*(None if n is None else self.specs[n] for n in inputs))
        self.specs.update(
            {o: s for o, s in zip(layer.outputs, specs, strict=True) if o is not None}
        )

    def lstm(
        self, x: str, hidden: int, *, bias: bool = True, outputs: str = "shc",
        gate: g.Fn = g.SIGMOID, candidate: g.Fn = g.TANH, output: g.Fn = g.TANH,
    ) -> dict[str, str]:  # fmt: skip
        """Names of the outputs asked for: s the sequence, h and c the last states."""
        self.add(
            g.LSTM, x, [o if o in outputs else None for o in "shc"],
            weight_ih=self.weight(4 * hidden, self.specs[x].features),
            weight_hh=self.weight(4 * hidden, hidden),
            bias=self.weight(4 * hidden) if bias else None,
            gate=gate, candidate=candidate, output=output,
        )  # fmt: skip
        return {o: f"v{len(self.layers) - 1}{o}" for o in outputs}

    def gru(self, x: str, hidden: int, **options: object) -> str:
        """The name of its sequence; with all biases."""
        self.add(
            g.GRU, x, ["y", None],
            weight_ih=self.weight(3 * hidden, self.specs[x].features),
            weight_hh=self.weight(3 * hidden, hidden), bias=self.weight(3 * hidden),
            recurrent_bias=self.weight(hidden), **options,
        )  # fmt: skip
        return f"v{len(self.layers) - 1}y"

    def dense(self, x: str, units: int, *, bias: bool = True, activation: g.Fn = g.LINEAR) -> str:
        self.add(
            g.Dense, x, ["y"],
            weight=self.weight(units, self.specs[x].features),
            bias=self.weight(units) if bias else None, activation=activation,
        )  # fmt: skip
        return f"v{len(self.layers) - 1}y"

    def simple(self, kind: type[g.Layer], x: str | Sequence[str | None], **fields) -> str:
        """Any layer with one output: Activation(activation=...), Softmax, Combine(op=...)."""
        self.add(kind, x, ["y"], **fields)
        return f"v{len(self.layers) - 1}y"

    def graph(self, *outputs: str, order: str = "btf") -> g.Graph:
        values = [
            g.Value(n, layout(self.specs[n].features, time=self.specs[n].time, order=order))
            for n in outputs
        ]
        graph = g.Graph(self.inputs, values, self.layers, {"source": "tests"})
        graph.infer()
        return graph


def lstm_graph(
    features: int,
    hidden: int,
    *,
    seed: int = 0,
    outputs: str = "shc",
    order: str = "btf",
    **options,
) -> g.Graph:
    """One LSTM whose outputs are those of the graph."""
    net = Net(seed)
    names = net.lstm(net.input(features, order=order), hidden, outputs=outputs, **options)
    return net.graph(*names.values(), order=order)


def pointwise_graph() -> g.Graph:
    """Every layer on features, with and without its options; small, for files to be damaged."""
    net = Net(4)
    x, index = net.input(6), net.input(2)
    vectors = {"scale": net.weight(6), "shift": net.weight(6)}
    embedded = net.simple(g.Embedding, index, weight=net.weight(3, 7))
    fill = net.simple(g.Fill, index, value=net.weight(6))
    affine = net.simple(g.Affine, x, **vectors, activation=g.TANH)
    norm = net.simple(g.LayerNorm, affine, **vectors, epsilon=2.0**-10)
    product = net.simple(g.Combine, (norm, embedded, fill, x), op="multiply")
    joined = net.simple(g.Concat, (product, index, product))
    least = net.simple(g.Reduce, joined, op="minimum")
    return net.graph(
        net.simple(g.Affine, embedded, scale=vectors["scale"]),
        net.simple(g.LayerNorm, x, shift=vectors["shift"], epsilon=0.0, rms=True),
        net.simple(g.Combine, (least, joined), op="mean"),
        net.simple(g.Select, joined, index=(9, 0, 0, 13)),
        net.simple(g.Reduce, x, op="mean"),
        net.simple(g.Softmax, joined, size=7),
        net.simple(g.Softmax, x, size=0, log=True),
        fill,
    )


def sequence_graph() -> g.Graph:
    """Every layer on steps, with and without its options; small, for files to be damaged."""
    net = Net(5)
    x, n = net.input(3), net.input(1, time=False)
    net.inputs.append(g.Value("constant", (BATCH, TIME, 2), time=3, clock=None))
    net.specs["constant"] = net.inputs[-1].spec
    mask = net.simple(g.StepMask, (n, x))
    window = {"taps": 3, "stride": 2, "dilation": 2, "before": 3, "after": 1}
    conv = net.simple(g.Conv1D, x, weight=net.weight(5, 9), bias=net.weight(5), **window)
    causal = net.simple(g.Conv1D, x, weight=net.weight(2, 6), taps=2, before=1, activation=g.TANH)
    each = net.simple(g.DepthwiseConv1D, x, weight=net.weight(3, 2), taps=2, same="lower")
    past = {"weight": net.weight(3, 3), "bias": net.weight(3), "taps": 3, "before": 2}
    each = net.simple(g.DepthwiseConv1D, each, **past)
    flat = net.simple(g.Flatten, "constant")
    wide = {"taps": 2, "before": 1, "position_taps": 2, "position_before": 1}
    grid = net.simple(g.Conv2D, conv, weight=net.weight(2, 20), bias=net.weight(2), **wide)
    grid = net.simple(g.DepthwiseConv2D, grid, weight=net.weight(2, 4), **wide)
    last = net.simple(g.LastStep, conv)
    longer = net.lstm(net.simple(g.PadTime, x, before=20, after=0), 3, outputs="h")["h"]
    return net.graph(
        net.simple(g.ReduceTime, (x, mask), op="mean"),
        net.simple(g.ReduceTime, net.simple(g.Reverse, causal), op="maximum"),
        net.simple(g.SliceTime, net.simple(g.PadTime, x, before=1, after=4), start=1, drop=2,
                   step=2),
        net.simple(g.PadTime, each, before=1, after=0, value=-2.5),
        net.simple(g.PadTime, each, before=3, after=1, mode="reflect"),
        net.simple(g.Restep, "constant", features=1, count=6),
        net.simple(g.Restep, (x, each), features=3),
        net.simple(g.Repeat, (net.simple(g.Fill, x, value=net.weight(2)), conv)),
        net.simple(g.Repeat, last, count=3),
        net.simple(g.Unflatten, flat, count=2),
        net.simple(g.Pool1D, x, op="maximum", **window),
        net.simple(g.Pool1D, x, op="mean", taps=4, before=3),
        net.simple(g.Pool1D, x, op="mean", taps=2, same="upper", count_padding=True),
        net.simple(g.SoftmaxTime, x),
        net.simple(g.PoolPositions, grid, op="maximum", taps=2, stride=2, after=1, channels=2),
        longer,
    )  # fmt: skip


def stateful_graph(*, scattered: bool = False) -> g.Graph:
    """Every form of state, input and output that a stateful file knows; small, to be damaged.
    ``scattered``: sizes stand before the batch."""
    net = Net(6)
    net.inputs = [
        g.Value("x", (BATCH, TIME, 3)),
        g.Value("chunk", (2, BATCH, TIME, 2) if scattered else (BATCH, TIME, 2, 2), call=2),
        g.Value("one", (TIME, BATCH, 2), call=1),
    ]  # fmt: skip
    states = [
        g.Value("h", (1, BATCH, 4)), g.Value("cache", (BATCH, 2, TIME), time=3, clock=None),
    ]  # fmt: skip
    net.specs = {v.name: v.inside for v in net.inputs} | {v.name: v.spec for v in states}
    out = net.lstm("chunk", 3, outputs="sh")
    rows = (net.simple(g.LastStep, "one"), net.simple(g.Flatten, "cache"), out["h"], "x", "h")
    mixed = net.simple(g.Concat, rows)
    new = net.dense(mixed, 4, activation=g.TANH)
    kept = net.simple(g.SliceTime, "cache", start=1, drop=0, step=1)
    cache = net.simple(g.Concat, (net.simple(g.Flatten, kept), net.dense(new, 2)))
    bindings = [
        g.Binding(states[0], g.Value(new, (1, BATCH, 4))),
        g.Binding(states[1], g.Value(net.simple(g.Unflatten, cache, count=3), (BATCH, 2, TIME))),
    ]
    outputs = [
        g.Value(out["s"], (BATCH, TIME, 2, 3)),
        g.Value(net.dense(mixed, 3), (3, BATCH, TIME) if scattered else (TIME, BATCH, 1, 3)),
    ]
    graph = g.Graph(net.inputs, outputs, net.layers, {"source": "tests"}, bindings=bindings)
    graph.infer()
    return graph


class Growth:
    """A random graph while it grows: what may be drawn for its next layer.

    ``ends`` are the values that are outputs of the graph unless another layer takes them.
    """

    def __init__(self, net: Net, bounded: bool) -> None:
        self.net = net
        self.bounded = bounded
        self.whole = self.chance(0.4)  # layers that need the whole sequence, too
        self.ends: list[str] = []
        self.functions = TAME_FUNCTIONS if bounded else FUNCTIONS

    def pick(self, choices: Sequence):
        return choices[int(self.net.rng.integers(len(choices)))]

    def size(self) -> int:
        return int(self.pick(SIZES))

    def chance(self, probability: float) -> bool:
        return bool(self.net.rng.random() < probability)

    def weight(self, *shape: int, present: float = 1.0) -> np.ndarray | None:
        return self.net.weight(*shape) if self.chance(present) else None

    def spec(self, name: str) -> g.Spec:
        return self.net.specs[name]

    def partners(self, x: str, alike: Callable[[g.Spec], bool]) -> list[str]:
        """Other values for a layer that reads several: x, and those like it."""
        return [x, *(n for n, s in self.net.specs.items() if alike(s))]


def add_lstm(a: Growth, x: str) -> Iterable[str]:
    gates = (g.SIGMOID, g.HARD_SIGMOID_ONNX, g.HARD_SIGMOID_KERAS3)
    ends = "".join(o for o in "shc" if a.chance(0.6)) or "s"
    plain = a.chance(0.5)
    return a.net.lstm(
        x, a.size(), bias=a.chance(0.8), outputs=ends,
        gate=g.SIGMOID if plain else a.pick(gates),
        candidate=g.TANH if plain else a.pick((g.TANH, g.SIGMOID) if a.bounded else a.functions),
        output=g.TANH if plain else a.pick(a.functions),
    ).values()  # fmt: skip


def add_recurrent(a: Growth, x: str) -> Iterable[str]:
    """GRU, RNN, and the LSTM with options; backwards and from a value's state in whole graphs."""
    kind, size = a.pick((g.LSTM, g.GRU, g.RNN)), a.size()
    gates = (g.SIGMOID, g.HARD_SIGMOID_ONNX)
    candidate = a.pick((g.TANH, g.SIGMOID) if a.bounded else a.functions)
    fields: dict[str, object] = {"clip": a.pick((0.0, 0.5)), "hold": a.chance(0.3)}
    out = size
    if kind is g.LSTM:
        out = a.size() if a.chance(0.3) else size
        fields |= {"gate": a.pick(gates), "candidate": candidate, "coupled": a.chance(0.3)}
        fields["output_sees_old"] = a.chance(0.3)
        fields["peephole"] = a.weight(3 * size, present=0.3)
        if fields["peephole"] is None:
            fields["weight_ch"] = a.weight(4 * size, size, present=0.3)
        if out != size:
            fields["weight_hr"] = a.net.weight(out, size)
    elif kind is g.GRU:
        fields |= {"gate": a.pick(gates), "candidate": candidate, "reset_after": a.chance(0.5)}
        if fields["reset_after"]:
            fields["recurrent_bias"] = a.weight(size, present=0.5)
    else:
        fields["activation"] = candidate
    inputs: list[str | None] = [x]
    if a.chance(0.3):  # steps that don't count
        inputs.append(
            a.net.simple(g.Reduce, a.net.simple(g.Activation, x, activation=g.RELU), op="minimum")
        )
    if a.whole and a.chance(0.5):
        fields["reverse"] = a.chance(0.5)
        starts = [n for n, s in a.net.specs.items() if s == g.Spec(out)]
        if starts:
            inputs += [None] * (2 - len(inputs)) + [a.pick(starts)]
    ends = [o if a.chance(0.6) else None for o in ("s", *kind.states)]
    ends[0] = ends[0] or (None if any(ends) else "s")
    n, rows = len(a.net.layers), kind.gates * size
    a.net.add(
        kind, inputs, ends, weight_ih=a.net.weight(rows, a.spec(x).features),
        weight_hh=a.net.weight(rows, out), bias=a.weight(rows, present=0.7), **fields,
    )  # fmt: skip
    return [f"v{n}{o}" for o in ends if o]


def add_dense(a: Growth, x: str) -> Iterable[str]:
    bias = a.chance(0.7)
    return [a.net.dense(x, a.size(), bias=bias, activation=a.pick(a.functions))]


def add_activation(a: Growth, x: str) -> Iterable[str]:
    return [a.net.simple(g.Activation, x, activation=a.pick(a.functions))]


def add_softmax(a: Growth, x: str) -> Iterable[str]:
    features = a.spec(x).features
    parts = [0, *(n for n in range(1, features + 1) if features % n == 0)]
    return [a.net.simple(g.Softmax, x, size=a.pick(parts), log=a.chance(0.3))]


def add_last(a: Growth, x: str) -> Iterable[str]:
    return [a.net.simple(g.LastStep, x)]


def add_affine(a: Growth, x: str) -> Iterable[str]:
    n = a.spec(x).features
    scale, shift = a.weight(n, present=0.8), a.weight(n, present=0.7)
    return [a.net.simple(g.Affine, x, scale=scale, shift=shift, activation=a.pick(a.functions))]


def add_layer_norm(a: Growth, x: str) -> Iterable[str]:
    """``bounded``: small differences are not made large, and don't stand alone."""
    n = a.spec(x).features
    scale, shift = a.weight(n, present=0.7), a.weight(n, present=1.0 if a.bounded else 0.7)
    epsilon = 1.0 if a.bounded else a.pick((0.0, 1e-12, 1e-5, 1e-3))
    norm = {"epsilon": epsilon, "rms": a.chance(0.3)}
    return [a.net.simple(g.LayerNorm, x, scale=scale, shift=shift, **norm)]


def add_combine(a: Growth, x: str) -> Iterable[str]:
    """``bounded``: without what cancels, or makes a small value's relative error larger."""
    spec = a.spec(x)

    def alike(s: g.Spec) -> bool:
        return s.features in (1, spec.features) and (not s.time or s.time == spec.time)

    inputs = [a.pick(a.partners(x, alike)) for _ in range(int(a.net.rng.integers(1, 4)))]
    if a.chance(0.4):
        inputs.append(a.net.simple(g.Fill, x, value=a.weight(a.pick((1, spec.features)))))
    inputs.insert(int(a.net.rng.integers(len(inputs) + 1)), x)
    ops = ("maximum", "minimum", "multiply", "add", "mean", "subtract", "divide")
    return [a.net.simple(g.Combine, inputs, op=a.pick(ops[:2] if a.bounded else ops))]


def add_concat(a: Growth, x: str) -> Iterable[str]:
    same = a.partners(x, lambda s: s.time == a.spec(x).time)
    inputs = [x, *(a.pick(same) for _ in range(int(a.net.rng.integers(3))))]
    return [a.net.simple(g.Concat, inputs)]


def add_select(a: Growth, x: str) -> Iterable[str]:
    n = a.spec(x).features
    start, count = int(a.net.rng.integers(n)), a.size()
    some = range(start, min(start + count, n))
    index = some if a.chance(0.5) else a.net.rng.integers(0, n, count)
    return [a.net.simple(g.Select, x, index=tuple(int(i) for i in index))]


def add_reduce(a: Growth, x: str) -> Iterable[str]:
    ops = ("maximum", "minimum", "sum", "mean")
    return [a.net.simple(g.Reduce, x, op=a.pick(ops[:2] if a.bounded else ops))]


def add_fill(a: Growth, x: str) -> Iterable[str]:
    return [x, a.net.simple(g.Fill, x, value=a.weight(a.size()))]


def add_reduce_time(a: Growth, x: str) -> Iterable[str]:
    """``bounded``: no maximum of nothing, which is infinite."""
    ops = ("sum", "mean", "maximum", "minimum")
    op, inputs = a.pick(ops[:2] if a.bounded else ops), [x]
    if a.chance(0.5):
        inputs.append(a.net.simple(g.Activation, a.net.dense(x, 1), activation=g.RELU))
    return [x, a.net.simple(g.ReduceTime, inputs, op=op)]


def window_fields(a: Growth, x: str) -> dict[str, Any]:
    """Fields of a Window, causal unless the graph may be whole; a window of any number of steps."""
    taps, dilation = int(a.net.rng.integers(1, 6)), int(a.net.rng.integers(1, 4))
    past = (taps - 1) * dilation
    if not a.whole or a.chance(0.3):
        return {"taps": taps, "dilation": dilation, "before": past}
    fields = {"taps": taps, "dilation": dilation, "stride": int(a.net.rng.integers(1, 4))}
    if a.chance(0.5):
        return fields | {"same": a.pick(("upper", "lower"))}
    before = int(a.net.rng.integers(past + 3))
    return fields | {"before": before, "after": max(past - before, 0) + int(a.net.rng.integers(3))}


def add_conv(a: Growth, x: str) -> Iterable[str]:
    fields, n = window_fields(a, x), a.spec(x).features
    kind, units, k = g.Conv1D, a.size(), fields["taps"] * n
    if a.chance(0.4):
        kind, units, k = g.DepthwiseConv1D, n, fields["taps"]
    bias = a.weight(units, present=0.7)
    activation = a.pick(a.functions)
    weight = a.net.weight(units, k)
    return [a.net.simple(kind, x, weight=weight, bias=bias, activation=activation, **fields)]


def add_pool(a: Growth, x: str) -> Iterable[str]:
    fields = window_fields(a, x)
    op, padding = a.pick(("maximum", "mean")), a.chance(0.3)
    causal = {"taps", "dilation", "before"} == fields.keys()
    if a.bounded and not causal:
        op = "mean"  # a maximum of padding alone is infinite
    return [a.net.simple(g.Pool1D, x, op=op, count_padding=padding, **fields)]


def add_grid(a: Growth, x: str) -> Iterable[str]:
    """A convolution or a pool over positions (and time)."""
    n = a.spec(x).features
    channels = a.pick([c for c in range(1, n + 1) if n % c == 0])
    fields = {"position_taps": int(a.net.rng.integers(1, 4)), "position_same": "lower"}
    fields["position_stride"] = int(a.net.rng.integers(1, 4))
    if a.chance(0.3):
        own = {k.removeprefix("position_"): v for k, v in fields.items()}
        ops = ("maximum", "mean", "minimum")
        return [a.net.simple(g.PoolPositions, x, op=a.pick(ops), channels=channels, **own)]
    fields |= window_fields(a, x) if a.spec(x).time else {"taps": 1}
    kind, units, k = g.Conv2D, a.size(), fields["taps"] * fields["position_taps"] * channels
    if a.chance(0.4):
        kind, units, k = g.DepthwiseConv2D, channels, k // channels
    bias = a.weight(units, present=0.7)
    weight, activation = a.net.weight(units, k), a.pick(a.functions)
    return [a.net.simple(kind, x, weight=weight, bias=bias, activation=activation, **fields)]


def add_fixed_repeat(a: Growth, x: str) -> Iterable[str]:
    value = a.net.simple(g.Fill, x, value=a.weight(a.size()))
    return [x, a.net.simple(g.Repeat, (value, x))]


def add_move(a: Growth, x: str) -> Iterable[str]:
    """Steps in another order, fewer or more: one at least, whatever the number was."""
    before, after, step = (int(a.net.rng.integers(4)) for _ in range(3))
    padding = {"mode": a.pick(("reflect", "edge"))} if a.chance(0.3) else {"value": 0.75}
    padded = a.net.simple(g.PadTime, x, before=before, after=after, **padding)
    turned = a.net.simple(g.Reverse, padded)
    start = int(a.net.rng.integers(before + after + 1))
    drop = int(a.net.rng.integers(before + after + 1 - start))
    return [a.net.simple(g.SliceTime, turned, start=start, drop=drop, step=step + 1)]


def add_spread(a: Growth, x: str) -> Iterable[str]:
    """A value of the whole row at every step, or at some."""
    last = a.net.simple(g.LastStep, x)
    if a.chance(0.5):
        return [a.net.simple(g.Repeat, (last, x))]
    count = int(a.net.rng.integers(1, 6))
    if a.chance(0.5):
        return [a.net.simple(g.Repeat, last, count=count)]
    return [a.net.simple(g.Unflatten, a.net.dense(last, count * a.size()), count=count)]


def add_softmax_time(a: Growth, x: str) -> Iterable[str]:
    return [a.net.simple(g.SoftmaxTime, x)]


def add_flatten(a: Growth, x: str) -> Iterable[str]:
    """Constant steps as features, or cut anew; others turned round, or insisted on."""
    steps, n = a.spec(x).time, a.spec(x).features
    if steps is None or steps.clock:
        if steps and a.chance(0.3):
            return [a.net.simple(g.Restep, (x, x), features=n)]
        return [a.net.simple(g.Reverse, x)]
    if a.chance(0.5):
        counts = [k for k in range(1, n * steps.add + 1) if n * steps.add % k == 0]
        count = int(a.pick(counts))
        return [a.net.simple(g.Restep, x, features=n * steps.add // count, count=count)]
    return [a.net.simple(g.Flatten, x)]


class Kind(NamedTuple):
    """A layer that random graphs have: how often, whether its input must have time, and whether it
    needs the whole sequence."""

    add: Callable[[Growth, str], Iterable[str]]  # behind value x; gives the new ends
    weight: int
    timed: bool = False
    whole: bool = False


KINDS = (
    Kind(add_lstm, 12, timed=True), Kind(add_recurrent, 8, timed=True),
    Kind(add_last, 2, timed=True), Kind(add_dense, 4),
    Kind(add_activation, 2), Kind(add_softmax, 2), Kind(add_affine, 1), Kind(add_layer_norm, 1),
    Kind(add_combine, 2), Kind(add_concat, 1), Kind(add_select, 1), Kind(add_reduce, 1),
    Kind(add_fill, 1), Kind(add_reduce_time, 1, timed=True), Kind(add_conv, 3, timed=True),
    Kind(add_pool, 1, timed=True), Kind(add_grid, 2), Kind(add_fixed_repeat, 1, timed=True),
    Kind(add_move, 2, timed=True, whole=True), Kind(add_spread, 2, timed=True, whole=True),
    Kind(add_softmax_time, 1, timed=True, whole=True), Kind(add_flatten, 2, timed=True, whole=True),
)  # fmt: skip


def random_graph(seed: int, *, bounded: bool = False, sequential: bool = True) -> g.Graph:
    """A seeded random graph: LSTM stacks and what may stand around them, one or two inputs, any
    axes and any number of outputs. ``bounded``: nothing in it can blow up with time or cancel, for
    comparisons with float64. Without ``sequential``, an input may have no time axis."""
    net = Net(seed, scale=1.0 if bounded else 1.5)
    a = Growth(net, bounded)
    orders = ("btf", "tbf", "b1tf", "btff", "1tbff")
    outputs: list[str] = []
    for _ in range(int(net.rng.integers(1, 3))):
        timed = sequential or a.chance(0.8)
        x = net.input(a.size(), time=timed, order=a.pick(orders))
        if a.chance(0.1):
            x = net.simple(g.Embedding, x, weight=net.weight(int(net.rng.integers(1, 20)), 30))
        a.ends = [x]
        for depth in range(int(net.rng.integers(1, 5))):
            x = a.ends.pop(int(net.rng.integers(len(a.ends))))
            kinds = [
                k for k in KINDS if (net.specs[x].time or not k.timed) and (a.whole or not k.whole)
            ]
            weights = np.array([k.weight for k in kinds], float)
            if depth == 0:
                weights *= [3 if k.add is add_lstm else 1 for k in kinds]
            kind = kinds[int(net.rng.choice(len(kinds), p=weights / weights.sum()))]
            a.ends += kind.add(a, x)
            if a.chance(0.2):
                a.ends.append(a.ends[-1])  # a value that several layers read
        outputs += a.ends
    names = {v.name for v in net.inputs}
    return net.graph(*dict.fromkeys(n for n in outputs if n not in names), order=a.pick(orders))


def random_inputs(
    graph: g.Graph, seed: int, batch: int, time: int, scale: float = 1.0
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([seed, 7])
    tables = index_inputs(graph)
    return {
        v.name: rng.integers(0, tables[v.name], v.shape(batch, time)).astype(np.float32)
        if v.name in tables
        else (rng.standard_normal(v.shape(batch, time)) * scale).astype(np.float32)
        for v in graph.inputs
    }


# --------------------------------------------------------------------------------------- arrays

Arrays = dict[str, np.ndarray]


def take(values: Sequence[g.Value], arrays: Arrays, axis: str, index) -> Arrays:
    """Those rows or steps of all arrays; an array without that axis as it is."""
    out = {}
    for v in values:
        a = arrays[v.name]
        if axis in v.axes:
            a = np.take(a, index, axis=v.axes.index(axis))
        out[v.name] = np.ascontiguousarray(a)
    return out


def join(values: Sequence[g.Value], parts: Sequence[Arrays], axis: str) -> Arrays:
    """Parts put together along an axis; where a value hasn't got it, the last part's array."""
    return {
        v.name: np.concatenate([p[v.name] for p in parts], axis=v.axes.index(axis))
        if axis in v.axes
        else parts[-1][v.name]
        for v in values
    }


def cuts(rng: np.random.Generator, n: int) -> list[range]:
    """0 .. n in random pieces of at least one."""
    at, pieces = 0, []
    while at < n:
        size = int(rng.integers(1, min(n - at, 1 + n // 2) + 1))
        pieces.append(range(at, at + size))
        at += size
    return pieces


def named(graph: g.Graph, result) -> Arrays:
    """What predict gave, always as a dict."""
    return result if isinstance(result, dict) else {graph.outputs[0].name: result}


def predict(model: lstmc.Model, inputs: Arrays, lengths=None) -> Arrays:
    return named(model.graph, model.predict(inputs, lengths=lengths))


def bits(a: np.ndarray) -> np.ndarray:
    """The bits of float32, every NaN made the same: its payload is outside the contract."""
    a = np.ascontiguousarray(a, np.float32)
    return np.where(np.isnan(a), np.uint32(0x7FC00000), a.view(np.uint32))


def assert_same(got: Arrays, want: Arrays, what: str = "") -> None:
    """Bit for bit."""
    assert got.keys() == want.keys()
    for name, a in got.items():
        assert a.shape == want[name].shape, (what, name, a.shape, want[name].shape)
        wrong = np.argwhere(bits(a) != bits(want[name]))
        if len(wrong):
            at = tuple(int(i) for i in wrong[0])
            raise AssertionError(
                f"{what}: '{name}' differs in {len(wrong)} of {a.size}, first at {at}: "
                f"{a[at]!r} instead of {want[name][at]!r}"
            )
        assert lstmc.digest(a) == lstmc.digest(want[name])


@contextlib.contextmanager
def target(name: str) -> Iterator[None]:
    """Run on one target inside the block."""
    before = lstmc.get_target()
    lstmc.set_target(name)
    try:
        yield
    finally:
        lstmc.set_target(before)


# ----------------------------------------------------------------------------- exact arithmetic


def exact_fma(a, b, c) -> np.ndarray:
    """a * b + c of float32 rounded once, by way of float64 rounded to odd (Boldo, Melquiond)."""
    with np.errstate(invalid="ignore", over="ignore"):
        p = np.float64(a) * np.float64(b)  # exact
        d = np.float64(c)
        s = np.asarray(p + d)
        v = s - p
        e = (p - (s - v)) + (d - v)  # s + e = p + c exactly
        even = (s.view(np.int64) & 1) == 0
        inexact = (e < 0) | (e > 0)
        s = np.where(inexact & even, np.nextafter(s, np.copysign(np.inf, e)), s)
        return s.astype(np.float32)


def exact_chain(weight: np.ndarray, x: np.ndarray, start: np.ndarray) -> np.ndarray:
    """p = start; for k ascending: p = fma(weight[:, k], x[:, k], p): the contract's only sum."""
    for k in range(x.shape[1]):
        start = exact_fma(weight[None, :, k], x[:, k, None], start)
    return start


def flush(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < np.float32(2.0**-64), np.float32(0), x)


# -------------------------------------------------------------------------------------------- C

WARNINGS = [
    "-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wvla", "-pedantic", "-Werror",
]  # fmt: skip
CORE = sorted(str(p) for p in (ROOT / "c_src").rglob("*.c"))
# Who only infers leaves train/ out; the kernels there take most of a compiler's time.
INFERENCE = [source for source in CORE if "/c_src/train/" not in source]


def c_compiler() -> list[str]:
    """$CC as a command, gcc if unset; skips the test where there is none."""
    import pytest

    command = shlex.split(os.environ.get("CC", "gcc"))
    if shutil.which(command[0]) is None:
        pytest.skip(f"no C compiler {command[0]}")
    return command


def run_program(command: Sequence[str | Path], **options) -> subprocess.CompletedProcess[str]:
    """Run it, with its output in the error if it fails."""
    result = subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, check=False, **options
    )
    assert result.returncode == 0, (
        f"{' '.join(map(str, command))}: status {result.returncode}\n"
        f"{result.stdout[-4000:]}\n{result.stderr[-8000:]}"
    )
    return result


def compile_c(
    output: Path, sources: Sequence[str | Path], flags: Sequence[str] = ("-std=c99", "-O2"),
    compiler: Sequence[str] | None = None,
) -> Path:  # fmt: skip
    """A program (or, by its flags, a library) of C sources and objects; returns its path."""
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [*(compiler or c_compiler()), *flags, "-I", str(ROOT / "c_src"), *map(str, sources)]
    run_program([*command, "-o", output])
    return output


def compile_objects(
    directory: Path, sources: Sequence[str | Path], flags: Sequence[str] = ("-std=c99", "-O2"),
    compiler: Sequence[str] | None = None,
) -> list[Path]:  # fmt: skip
    """Objects of sources with different names. Those of the core, which is the same for the whole
    run, are compiled at most once in it (once.py) and copied."""
    directory.mkdir(parents=True, exist_ok=True)
    base = [*(compiler or c_compiler()), *flags, "-I", str(ROOT / "c_src")]
    # The slow ones first: the kernels.
    order = sorted(map(str, sources), key=lambda s: ("kernels" not in s, "train" not in s, s))

    def make(source: str) -> None:
        if source in CORE:
            shutil.copytree(compile_once(base, source), directory, dirs_exist_ok=True)
        else:
            run_program([*base, "-c", source], cwd=directory)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(make, order))
    return [directory / (Path(s).stem + ".o") for s in order]


MODE_SOURCE = r"""
#include <stdint.h>
#if defined(__SSE2__)
#include <xmmintrin.h>
uint64_t get_mode(void) { return _mm_getcsr(); }
void set_mode(uint64_t mode) { _mm_setcsr((unsigned)mode); }
#elif defined(__aarch64__)
uint64_t get_mode(void) { uint64_t m; __asm__ volatile("mrs %0, fpcr" : "=r"(m)); return m; }
void set_mode(uint64_t m) { __asm__ volatile("msr fpcr, %0" : : "r"(m)); }
#endif
"""


def fp_modes() -> dict[str, int]:
    """Bits to set in this machine's floating-point control word, by name: the modes that audio
    programs and careless libraries leave behind. Empty where we don't know them."""
    if platform.machine() in ("x86_64", "AMD64"):
        return {
            "ftz": 0x8000,
            "daz": 0x0040,
            "ftz+daz": 0x8040,
            "up": 0x4000,
            "towards zero": 0x6000,
            "ftz+daz, down": 0xA040,
        }
    if platform.machine() in ("aarch64", "arm64"):
        return {"fz": 1 << 24, "up": 1 << 22, "fz, towards zero": 7 << 22}
    return {}
