"""Gradients of a graph by the core's trainer, and what they must be.

:func:`check` is what tests of training call: gradients as float64 differences of the oracle (or
torch.autograd in float64) say, and the same bits on every target, however rows are cut, with
threads, with frugal and recomputing trainers, whatever lay in the arena before.

Inside, arrays are [batch, time, features] or [batch, features], as in :mod:`lstmc.reference`.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from helpers import Arrays, assert_same, bits

import lstmc
from lstmc import _core, format, reference
from lstmc import graph as g
from lstmc.samples import index_inputs

#: (layer, field) of a weight.
Key = tuple[str, str]
#: Of float64 differences: small against where functions bend, large against rounding.
STEP = 2.0**-20


@dataclass
class Gradients:
    """What a trainer gave for one gradient of the outputs."""

    outputs: Arrays  # of forward, inside
    inputs: Arrays  # by input, inside
    weights: dict[Key, np.ndarray] = field(default_factory=dict)  # in the graph's shapes

    def all(self) -> Arrays:
        weights = {f"{layer}.{name}": a for (layer, name), a in self.weights.items()}
        return {f"output {n}": a for n, a in self.outputs.items()} | self.inputs | weights


def weight_tensors(graph: g.Graph) -> dict[Key, tuple[int, bool]]:
    """The number of each weight in the graph's file, and whether it is a vector."""
    present = [
        ((layer.name, name), meta["vector"])
        for layer in graph.layers
        for name, meta, array in layer.tensors()
        if array is not None
    ]
    return {key: (i, vector) for i, (key, vector) in enumerate(present)}


def clock_sizes(graph: g.Graph, inputs: Arrays) -> dict[str, int]:
    return {
        v.spec.time.clock: inputs[v.name].shape[v.axes.index(g.TIME)]
        for v in graph.inputs
        if v.spec.time and v.spec.time.clock
    }


def batch_of(graph: g.Graph, inputs: Arrays) -> int:
    first = graph.inputs[0]
    return inputs[first.name].shape[first.axes.index(g.BATCH)] if g.BATCH in first.axes else 1


def _shape(spec: g.Spec, batch: int, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return (batch, *([] if spec.time is None else [spec.time.count(sizes)]), spec.features)


def specs_of(graph: g.Graph) -> Mapping[str, g.Spec]:
    """Of inputs and outputs: where a step is a call of a source, with all that it has."""
    return graph.interface if graph.bindings else graph.infer()


def random_dy(graph: g.Graph, inputs: Arrays, lengths=None, seed: int = 0) -> Arrays:
    """A gradient for every output, inside; zero beyond the steps that a row has of it."""
    rng = np.random.default_rng([seed, 11])
    specs, sizes = specs_of(graph), clock_sizes(graph, inputs)
    batch = batch_of(graph, inputs)
    found = {}
    for v in graph.outputs:
        spec = specs[v.name]
        dy = rng.standard_normal(_shape(spec, batch, sizes)).astype(np.float32)
        if spec.time is not None and lengths is not None:
            for b, n in enumerate(lengths):
                dy[b, spec.time.count({**sizes, graph.clocks[0]: int(n)}) :] = 0
        found[v.name] = dy
    return found


def run(
    graph: g.Graph, inputs: Arrays, dy: Arrays, lengths=None, *, frozen: Collection[str] = (),
    rows: int | None = None, target: str = "auto", threads: int = 1, panel: int = 16,
    frugal: bool = False, recompute: bool = False, used: bool = False,
    dropouts: tuple[tuple[int, int, float], ...] = (), dropout: tuple[int, int] | None = None,
) -> Gradients:  # fmt: skip
    """The gradients by the core. ``rows`` at a time; ``used``: the trainer has been at work;
    ``dropouts``: (layer, kind, rate); ``dropout``: their seed and step, None: all passes."""
    specs, sizes = specs_of(graph), clock_sizes(graph, inputs)
    batch = batch_of(graph, inputs)
    blob = np.frombuffer(format.dumps(graph, panel=panel), np.uint8).copy()
    model = _core.Model(blob)
    times = [sizes[c] for c in graph.clocks] or [1]
    trainer = _core.Trainer(
        model, rows or batch, max(times), _core.target_code(target), threads,
        bytes(layer.name in frozen for layer in graph.layers), 0, True,
        frugal=frugal, recompute=recompute, dropouts=dropouts,
    )  # fmt: skip
    given = [np.ascontiguousarray(inputs[v.name], np.float32) for v in graph.inputs]
    limits = None if lengths is None else np.ascontiguousarray(lengths, np.int32)
    made = Gradients(
        {v.name: np.zeros(_shape(specs[v.name], batch, sizes), np.float32) for v in graph.outputs},
        {v.name: np.zeros(_shape(v.spec, batch, sizes), np.float32) for v in graph.inputs},
    )
    sent = [np.ascontiguousarray(dy[v.name], np.float32) for v in graph.outputs]
    into: dict[str, Any] = {
        "outputs": list(made.outputs.values()), "input_gradients": list(made.inputs.values()),
    }  # fmt: skip
    if used:
        other = [np.ascontiguousarray(3 - a) for a in given]
        trainer.run(other, batch, times, None, gradients=[a + 1 for a in sent], **into)
        trainer.clear()
        for a in (*made.outputs.values(), *made.inputs.values()):
            a[...] = 0
    if dropout is not None:
        into |= {"seed": dropout[0], "step": dropout[1]}
    trainer.run(given, batch, times, limits, gradients=sent, **into)
    for key, (index, vector) in weight_tensors(graph).items():
        shape = trainer.trained(index)
        if shape is None:
            continue
        packed = np.empty(shape[4], np.float32)
        trainer.read(index, 1, packed)
        array = format.unpack(packed, *shape[:4])
        again = format.pack(array, shape[0], shape[3])
        np.testing.assert_array_equal(bits(packed), bits(again), f"{key}: padding has a gradient")
        made.weights[key] = array[:, 0] if vector else array
    return made


@contextlib.contextmanager
def small_parts(threads: int) -> Iterator[None]:
    """Threads, and work cut as small as can be."""
    before = lstmc.get_num_threads()
    lstmc.set_num_threads(threads)
    _core.set_grain(1)
    try:
        yield
    finally:
        _core.set_grain(0)
        lstmc.set_num_threads(before)


# ------------------------------------------------------------------------------------- the truth


def with_weights(graph: g.Graph, weights: Mapping[Key, np.ndarray]) -> g.Graph:
    """A copy with other weights, which may be float64."""
    found = copy.copy(graph)
    found.layers = [copy.copy(layer) for layer in graph.layers]
    by_name = {layer.name: layer for layer in found.layers}
    for (layer, name), array in weights.items():
        setattr(by_name[layer], name, array)
    return found


class Oracle:
    """The sum of dy times outputs in float64, as a function of inputs and weights."""

    def __init__(self, graph: g.Graph, inputs: Arrays, dy: Arrays, lengths) -> None:
        self.graph, self.dy, self.lengths = graph, dy, lengths
        weights = {(layer.name, n): a for layer in graph.layers for n, _, a in layer.tensors()}
        self.point: dict[Any, np.ndarray] = {
            k: a.astype(float) for k, a in weights.items() if a is not None
        }
        self.point |= {n: np.asarray(a, float) for n, a in inputs.items()}

    def value(self, changed: Mapping[Any, np.ndarray]) -> float:
        at = self.point | dict(changed)
        graph = with_weights(self.graph, {k: a for k, a in at.items() if isinstance(k, tuple)})
        found = reference.values(graph, {v.name: at[v.name] for v in graph.inputs}, self.lengths)
        # What doesn't count may be anything, NaN too.
        terms = (np.where(d == 0, 0.0, found[n] * d.astype(float)) for n, d in self.dy.items())
        return float(sum(t.sum() for t in terms))

    def along(self, key: Any, direction: np.ndarray) -> float:
        """The derivative at the point in this direction."""
        a = self.point[key]
        above, below = ({key: a + s * STEP * direction} for s in (1, -1))
        return (self.value(above) - self.value(below)) / (2 * STEP)

    def moved(self, rng: np.random.Generator) -> Oracle:
        """A little beside: as far as float32 is from float64."""
        other = copy.copy(self)
        fixed = index_inputs(self.graph)
        other.point = {
            k: a if k in fixed else a + 1e-5 * rng.standard_normal(a.shape) * (1e-2 + abs(a))
            for k, a in self.point.items()
        }
        return other


def _directions(
    oracle: Oracle, key: Any, each: int, count: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Every number by itself where there are few, else random signs."""
    shape = oracle.point[key].shape
    size = int(np.prod(shape))
    if size <= each:
        yield from np.eye(size).reshape(size, *shape)
    else:
        for _ in range(count):
            yield rng.choice([-1.0, 1.0], shape)


def check_differences(
    graph: g.Graph, inputs: Arrays, dy: Arrays, lengths, got: Gradients, *,
    tolerance: float = 2e-5, each: int = 12, directions: int = 2, seed: int = 0,
) -> None:  # fmt: skip
    """Gradients against float64 differences of the oracle. Errors are relative to the largest in
    the array; at a kink, what differs lies between the derivatives on both its sides."""
    rng = np.random.default_rng([seed, 13])
    oracle = Oracle(graph, inputs, dy, lengths)
    named: dict[Any, np.ndarray] = dict(got.weights)
    for v in graph.inputs:
        if v.name not in index_inputs(graph):
            named[v.name] = reference.from_internal(v, got.inputs[v.name])
    for key, gradient in named.items():
        for d in _directions(oracle, key, each, directions, rng):
            have, want = float((gradient * d).sum()), oracle.along(key, d)
            scale = 0.1 + max(abs(want), np.abs(gradient).max() * np.sqrt(abs(d).sum()))
            if abs(have - want) <= tolerance * scale:
                continue
            beside = [oracle.moved(rng).along(key, d) for _ in range(10)]
            low, high = min(want, *beside), max(want, *beside)
            assert low - tolerance * scale <= have <= high + tolerance * scale, (
                f"gradient of {key}: {have} instead of {want}; beside it {low} to {high}"
            )


#: Outputs by name, of inputs by name and weights by (layer, field): float64 tensors of torch, in
#: the axes of the graph's inputs and outputs.
Transcription = Callable[[dict[str, Any], dict[Key, Any]], dict[str, Any]]


def check_autograd(
    graph: g.Graph, inputs: Arrays, dy: Arrays, got: Gradients, transcription: Transcription,
    tolerance: float = 1e-5, floor: float = 0.01,
) -> None:  # fmt: skip
    """Gradients against torch.autograd, relative to the largest in the array, or to ``floor``:
    what a sum over rows and steps nearly cancels to has the error of its terms."""
    import torch

    def leaf(a: np.ndarray) -> torch.Tensor:
        return torch.tensor(np.asarray(a, float), requires_grad=True)

    x = {v.name: leaf(inputs[v.name]) for v in graph.inputs}
    by_layer = {layer.name: layer for layer in graph.layers}
    w = {k: leaf(getattr(by_layer[k[0]], k[1])) for k in weight_tensors(graph)}
    made = transcription(x, w)
    parts = []
    for v in graph.outputs:
        d = torch.tensor(np.ascontiguousarray(reference.from_internal(v, dy[v.name])))
        parts.append(torch.where(d == 0, 0.0, made[v.name] * d.double()).sum())
    torch.stack(parts).sum().backward()
    pairs = {v.name: (reference.from_internal(v, got.inputs[v.name]), x[v.name].grad)
             for v in graph.inputs}  # fmt: skip
    pairs |= {".".join(k): (a, w[k].grad) for k, a in got.weights.items()}
    for name, (have, grad) in pairs.items():
        want = np.zeros(have.shape) if grad is None else grad.numpy()
        np.testing.assert_array_equal(np.isnan(have), np.isnan(want), f"NaN in {name}")
        limit = tolerance * max(np.nanmax(abs(want), initial=0.0), floor)
        np.testing.assert_allclose(have, want, rtol=0, atol=limit, err_msg=f"gradient of {name}")


# ------------------------------------------------------------------------------------------ bits


def check_bits(
    graph: g.Graph, inputs: Arrays, dy: Arrays, lengths, want: Gradients,
    frozen: Collection[str] = (),
) -> None:  # fmt: skip
    """The same gradients, to the bit, in every way of computing them."""
    ways: list[dict[str, Any]] = [{"target": t} for t in lstmc.targets()]
    ways += [{"rows": 1}, {"rows": 3}, {"frugal": True}, {"recompute": True}, {"used": True}]
    ways += [{"panel": p} for p in (1, 2, 4, 8)]
    ways += [{"threads": 2}, {"threads": 3, "rows": 3}, {"threads": 2, "frugal": True}]
    for way in ways:
        with small_parts(way.get("threads", 1)):
            got = run(graph, inputs, dy, lengths, frozen=frozen, **way)
        assert_same(got.all(), want.all(), str(way))


def check(
    graph: g.Graph, inputs: Arrays, lengths=None, *, frozen: Collection[str] = (), seed: int = 0,
    torch: Transcription | None = None, tolerance: float | None = None, each: int = 12,
    directions: int = 2, same_bits: bool = True,
) -> Gradients:  # fmt: skip
    """All that this module knows to check, for random gradients of the outputs; returns what the
    core gave. ``torch``: compare with it too (it is not told lengths); ``tolerance``: of the
    comparison with float64; ``each``, ``directions``: arrays up to so many numbers are checked one
    number at a time, larger ones in so many random directions."""
    limits = None if lengths is None else np.asarray(lengths)
    dy = random_dy(graph, inputs, limits, seed)
    got = run(graph, inputs, dy, limits, frozen=frozen)
    held = {key for key in weight_tensors(graph) if key[0] in frozen}
    assert not held & got.weights.keys(), "a frozen layer has gradients"
    options = {} if tolerance is None else {"tolerance": tolerance}
    if torch is not None:
        check_autograd(graph, inputs, dy, got, torch, **options)
    check_differences(
        graph, inputs, dy, limits, got, each=each, directions=directions, seed=seed, **options
    )
    if same_bits:
        check_bits(graph, inputs, dy, limits, got, frozen)
    return got
