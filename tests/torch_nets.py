"""Torch modules for tests, and what it means that a conversion of one is right."""

from __future__ import annotations

import copy

import numpy as np
import onnx_out
import torch
from lstmc.converters import convert
from torch import nn

from lstmc import reference
from lstmc.model import from_graph

torch.set_num_threads(1)

STRICT = True  # also compare what the compiled core gives, not the oracle alone


class Net(nn.Module):
    """An LSTM, what the test does with its result, and a Linear."""

    def __init__(self, body, features=3, hidden=4, out=2, **options):
        super().__init__()
        self.lstm = nn.LSTM(features, hidden, **{"batch_first": True, **options})
        self.fc = nn.Linear(hidden, out)
        self.body = body
        self.act = nn.ReLU(inplace=True)
        self.act.register_buffer("state", torch.zeros(3, 4), persistent=False)

    def forward(self, x):
        return self.body(self, x)


def bold(module):
    """Weights large enough for every gate to matter, and biases that all differ."""
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape) * (0.7 if p.ndim > 1 else 0.5))
    return module


def flat(result):
    """A module's outputs in the converter's order."""
    if isinstance(result, dict):
        return list(result.values())
    if isinstance(result, (tuple, list)):
        return [y for r in result for y in flat(r)]
    return [result]


def agree(module, *shapes, **options):
    """Convert; compare with torch in float32 and, closer, in float64. The graph."""
    bold(module)
    g = convert(module, **options)
    xs = [torch.randn(s) for s in shapes]
    got = reference.run(g, {v.name: x.numpy() for v, x in zip(g.inputs, xs, strict=True)})
    was_training = module.training
    module.eval()
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 5e-7)):
        module.to(dtype)  # float64: what is left is b_ih + b_hh, rounded to float32
        with torch.no_grad():
            want = flat(module(*(x.to(dtype) for x in xs)))
        for v, y in zip(g.outputs, want, strict=True):
            assert got[v.name].shape == tuple(y.shape)
            error = np.abs(got[v.name] - y.numpy()).max()
            assert error <= tolerance * max(1e-3, float(y.abs().max())), (v.name, error)
    module.float().train(was_training)
    return g


class Fn(nn.Module):
    """A forward written as a function of the module and its inputs, and the submodules it uses."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, torch.Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)
        names = forward.__code__.co_varnames[1 : forward.__code__.co_argcount]
        self._body = forward
        self.__class__ = type("Fn", (Fn,), {"forward": _forwards[len(names)](names)})


def _forward(names):
    scope = {}
    exec(f"def forward(self, {names}): return self._body(self, {names})", scope)
    return scope["forward"]


_forwards = {n: lambda names: _forward(", ".join(names)) for n in range(1, 6)}


def matches(module, *inputs, want=None, tolerance=1e-5, **options):
    """Convert; what the oracle (and the core) make of the inputs is what torch gives. The graph.

    inputs: arrays or tensors, in forward's order. The error is relative to the largest output, or
    to 1 if that is larger. Where rounding grows, as in a recurrent net with large weights, torch is
    no nearer to the truth than its own float32 is to its float64: some of that is allowed as well.
    """
    graph = convert(module, **options)
    xs = [torch.as_tensor(x) for x in inputs]
    sensitivity = [0.0] * len(flat(want)) if want is not None else None
    if want is None:
        module.eval()
        with torch.no_grad():
            want = module(*(x.clone() for x in xs))
        sensitivity = _rounding(module, xs, want)
    given = {v.name: x.numpy() for v, x in zip(graph.inputs, xs, strict=True)}
    for v, x in zip(graph.inputs, xs, strict=True):
        assert v.dtype == str(x.dtype).removeprefix("torch."), (v, x.dtype)
    results = [reference.run(graph, given)]
    if STRICT:
        model = from_graph(graph)
        y = model.predict(given)
        onnx_out.also(graph, given, y)
        results.append(y if isinstance(y, dict) else {graph.outputs[0].name: y})
    for got in results:
        for v, y, grown in zip(graph.outputs, flat(want), sensitivity, strict=True):
            assert got[v.name].shape == tuple(y.shape), (v, tuple(y.shape))
            error = np.abs(got[v.name] - y.numpy()).max(initial=0)
            allowed = tolerance * max(1.0, float(y.abs().max())) + 4 * grown
            assert error <= allowed, (v.name, error)
    return graph


def _rounding(module, xs, want):
    """How far each output is from what the module gives in float64; 0 where it can't run so.

    More than a thousandth is no rounding: 0 again, and the comparison is strict.
    """
    try:
        double = copy.deepcopy(module).double().eval()
        with torch.no_grad():
            exact = double(*(x.double() if x.is_floating_point() else x.clone() for x in xs))
    except (RuntimeError, ValueError):  # forward makes float32 tensors of its own
        return [0.0] * len(flat(want))
    found = [float((a - b).abs().max()) if a.numel() else 0.0
             for a, b in zip(flat(want), flat(exact), strict=True)]  # fmt: skip
    return [d if d < 1e-3 * max(1.0, float(y.abs().max())) else 0.0
            for d, y in zip(found, flat(want), strict=True)]  # fmt: skip


def wiring(g):
    """Which value each layer reads and writes, values numbered as they come up."""
    names = [n for x in g.layers for n in (*x.inputs, *x.outputs) if n is not None]
    numbers = {n: i for i, n in enumerate(dict.fromkeys(names))} | {None: None}
    return [[numbers[n] for n in (*layer.inputs, *layer.outputs)] for layer in g.layers]


def same_weights(a, b):
    """Equal graphs, bit for bit, but for the names of layers."""
    pairs = list(zip(a.layers, b.layers, strict=True))
    return wiring(a) == wiring(b) and all(
        type(p) is type(q)
        and list(p.params()) == list(q.params())
        and all(
            (x is None and y is None) or (x.tobytes() == y.tobytes() and x.shape == y.shape)
            for (_, _, x), (_, _, y) in zip(p.tensors(), q.tensors(), strict=True)
        )
        for p, q in pairs
    )
