"""Nets that take their state as inputs and give it as outputs: random graphs of one call."""

from __future__ import annotations

import numpy as np
from helpers import BATCH, KINDS, TIME, Growth, Net, layout

from lstmc import graph as g

#: Axes of a value of a call: without time, and with a constant number of steps.
ORDERS = ("bf", "b1f", "bff", "fb", "fbf", "1bf")
TIMED = ("btf", "tbf", "bft", "b1tf", "bftf", "fbt")


def add_value(net: Net, name: str, features: int, steps: int, order: str) -> g.Value:
    """A value that a call takes; ``steps`` 0: it has no time."""
    axes = layout(features, time=steps > 0, order=order)
    v = g.Value(name, axes, time=steps or None, clock=None if steps else TIME)
    net.specs[name] = v.spec
    return v


def random_call(seed: int, *, bounded: bool = False) -> tuple[g.Graph, dict[str, str]]:
    """A random graph of one call, and its states: inputs by the outputs that they take."""
    net = Net(seed, scale=1.0 if bounded else 1.5)
    a = Growth(net, bounded)
    a.whole = True  # within a call any layer may be
    inputs, states = [], []
    for i in range(int(net.rng.integers(1, 3))):
        steps = a.pick((0, 0, 1, 1, 2, 3))
        order = a.pick(TIMED if steps else ORDERS)
        inputs.append(add_value(net, f"x{i}", a.size(), steps, order))
    for i in range(int(net.rng.integers(1, 4))):
        steps = a.pick((0, 0, 1, 2))
        order = a.pick(TIMED if steps else ORDERS)
        states.append(add_value(net, f"s{i}", a.size(), steps, order))
    # Everything meets everything: what has steps is taken whole, or its last one.
    rows = []
    for v in [*inputs, *states]:
        name = v.name
        if net.specs[name].time:
            name = net.simple(a.pick((g.Flatten, g.LastStep)), name)
        rows.append(name)
    mixed = net.simple(g.Concat, rows)
    x = net.dense(mixed, a.size(), activation=g.TANH)
    if a.chance(0.7):
        x = net.simple(g.Unflatten, net.dense(x, 3 * a.size()), count=3)
    ends = [x]
    for _ in range(int(net.rng.integers(1, 5))):
        x = ends.pop(int(net.rng.integers(len(ends))))
        kinds = [k for k in KINDS if net.specs[x].time or not k.timed]
        weights = np.array([k.weight for k in kinds], float)
        ends += kinds[int(net.rng.choice(len(kinds), p=weights / weights.sum()))].add(a, x)
    read = {n for layer in net.layers for n in layer.inputs}
    ends = [n for n in dict.fromkeys(ends) if n not in read] or [net.dense(mixed, 3)]
    outputs = [add_output(a, n) for n in ends]
    pairs = {}
    for v in states:
        new = new_state(a, v, a.pick([*ends, mixed]), inputs[0].name)
        outputs.append(g.Value(new, v.axes, time=None))
        pairs[new] = v.name
    names = [*inputs, *states]
    graph = g.Graph([names[i] for i in net.rng.permutation(len(names))], outputs, net.layers)
    graph.infer()
    return graph, pairs


def add_output(a: Growth, name: str) -> g.Value:
    spec = a.net.specs[name]
    order = a.pick(TIMED if spec.time else ORDERS)
    return g.Value(name, layout(spec.features, time=spec.time is not None, order=order))


def new_state(a: Growth, v: g.Value, x: str, first: str) -> str:
    """The next value of a state: of all that there is, the old one plus something, or the last
    steps of it and something."""
    net, spec = a.net, a.net.specs[v.name]
    steps = spec.time.add if spec.time else 0
    if net.specs[x].time:
        x = net.simple(g.LastStep, x)
    if steps > 1 and a.chance(0.5):  # a cache of steps
        kept = net.simple(g.Flatten, net.simple(g.SliceTime, v.name, start=1, drop=0, step=1))
        new = net.dense(x, spec.features, activation=g.TANH)
        return net.simple(g.Unflatten, net.simple(g.Concat, (kept, new)), count=steps)
    new = net.dense(x, spec.features * max(steps, 1), activation=g.TANH)
    if not steps and a.chance(0.3):
        half = net.simple(g.Affine, v.name, scale=np.full(spec.features, 0.5, np.float32))
        return net.simple(g.Combine, (half, new), op="add")
    return net.simple(g.Unflatten, new, count=steps) if steps else new


def counting(batch_axis: int = 1) -> g.Graph:
    """state' = state + x, y = 2 state'; the state is [2, batch, 2]. Every number is exact."""
    axes: list[g.Axis] = [2, 2]
    axes.insert(batch_axis, BATCH)
    return g.Graph(
        [g.Value("x", (BATCH, 4)), g.Value("state", tuple(axes))],
        [g.Value("y", (BATCH, 4)), g.Value("next", tuple(axes))],
        [
            g.Combine(name="sum", inputs=("state", "x"), outputs=("next",), op="add"),
            g.Combine(name="twice", inputs=("next", "next"), outputs=("y",), op="add"),
        ],
    )
