"""Graphs of one recurrent layer with any options, for several tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from lstmc import graph as g

SIZES = st.one_of(st.integers(1, 9), st.sampled_from([15, 16, 17, 20, 24, 25, 31, 32, 33, 40]))
GATES = st.sampled_from([g.SIGMOID, g.HARD_SIGMOID_ONNX, g.HARD_SIGMOID_KERAS3])
BOUNDED = st.sampled_from([g.TANH, g.SIGMOID, g.HARD_SIGMOID_KERAS3])
ANY = st.sampled_from([g.TANH, g.SIGMOID, g.RELU, g.LINEAR, g.HARD_SIGMOID_KERAS3])


@dataclass
class Case:
    """One layer with inputs that fit it."""

    graph: g.Graph
    layer: g.Recurrent
    inputs: dict[str, np.ndarray]
    batch: int
    time: int
    lengths: np.ndarray | None = None
    options: dict[str, Any] = field(default_factory=dict)


def weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    bound = 1.2 / np.sqrt(shape[-1] if len(shape) > 1 else 4)
    return rng.uniform(-bound, bound, shape).astype(np.float32)


@st.composite
def cases(draw: st.DrawFn, kinds: str = "LGR", initial: str = "nif") -> Case:
    """``initial``: of what kinds the initial state may be: none, input, fixed."""
    kind = draw(st.sampled_from(kinds))
    size, features = draw(SIZES), draw(SIZES)
    batch, time = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    flag = st.booleans()

    def maybe(*shape: int, chance: st.SearchStrategy[bool] = flag) -> np.ndarray | None:
        return weights(rng, *shape) if draw(chance) else None

    options: dict[str, Any] = {
        "reverse": draw(flag),
        "hold": draw(flag),
        "clip": draw(st.sampled_from([0.0, 0.0, 0.25, 3.0])),
    }
    gates = {"L": 4, "G": 3, "R": 1}[kind]
    out = size
    if kind == "L":
        peephole = draw(st.sampled_from(["none", "none", "diagonal", "full"]))
        options |= {"gate": draw(GATES), "candidate": draw(BOUNDED), "output": draw(ANY)}
        options |= {"coupled": draw(flag), "output_sees_old": draw(flag)}
        if peephole == "diagonal":
            options["peephole"] = weights(rng, 3 * size)
        if peephole == "full":
            options["weight_ch"] = weights(rng, 4 * size, size)
        if draw(st.integers(0, 3)) == 0:
            out = draw(SIZES)
            options["weight_hr"] = weights(rng, out, size)
        if draw(flag):  # the LSTM that has kernels of its own
            plain = {"coupled": False, "clip": 0.0, "peephole": None, "weight_ch": None}
            options |= plain
            if draw(flag):
                options["weight_hr"], out = None, size
            if draw(flag):
                options |= {"gate": g.SIGMOID, "candidate": g.TANH, "output": g.TANH}
    elif kind == "G":
        options |= {"gate": draw(GATES), "candidate": draw(BOUNDED), "reset_after": draw(flag)}
        if options["reset_after"]:
            options["recurrent_bias"] = maybe(size)
    else:
        options |= {"activation": draw(BOUNDED)}
    classes = {"L": g.LSTM, "G": g.GRU, "R": g.RNN}
    states = ("h", "c") if kind == "L" else ("h",)
    sizes = (out, size)

    x = g.Value("x", (g.BATCH, g.TIME, features))
    inputs = [x]
    arrays = {"x": rng.standard_normal((batch, time, features)).astype(np.float32)}
    names: list[str | None] = ["x", None]
    layers: list[g.Layer] = []
    if draw(flag):
        inputs.append(g.Value("mask", (g.BATCH, g.TIME)))
        arrays["mask"] = rng.integers(0, 2, (batch, time)).astype(np.float32)
        names[1] = "mask"
    start = draw(st.sampled_from(initial))
    for state, n in zip(states, sizes, strict=False):
        if start == "n" or draw(st.integers(0, 4)) == 0:
            names.append(None)
        elif start == "i":
            names.append(f"{state}0")
            inputs.append(g.Value(f"{state}0", (g.BATCH, n)))
            arrays[f"{state}0"] = rng.standard_normal((batch, n)).astype(np.float32)
        else:
            names.append(f"{state}0")
            layers.append(
                g.Fill(
                    name=f"{state}0", inputs=("x",), outputs=(f"{state}0",), value=weights(rng, n)
                )
            )
    wanted = [draw(flag) for _ in range(1 + len(states))]
    if not any(wanted):
        wanted[0] = True
    outputs = tuple(o if w else None for o, w in zip(("y", *states), wanted, strict=True))
    layer = classes[kind](
        name="layer", inputs=tuple(names), outputs=outputs,
        weight_ih=weights(rng, gates * size, features), weight_hh=weights(rng, gates * size, out),
        bias=maybe(gates * size), **options,
    )  # fmt: skip
    spec = dict(zip(("y", *states), (out, *sizes), strict=False))
    values = [
        g.Value(o, (g.BATCH, g.TIME, spec[o]) if o == "y" else (g.BATCH, spec[o]))
        for o in outputs
        if o is not None
    ]
    graph = g.Graph(inputs, values, [*layers, layer], {"source": "tests"})
    graph.infer()
    lengths = rng.integers(0, time + 1, batch) if draw(flag) else None
    return Case(graph, layer, arrays, batch, time, lengths, options)
