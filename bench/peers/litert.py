"""LiteRT (TensorFlow Lite): its fused sequence LSTM, and networks of basic operators in XNNPACK.

The fused operator keeps its state in variables of the model. Of basic operators a step is written
out once; a sequence takes its input product at once, then every step one behind the other.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import Form
from .tflite_file import Writer

if TYPE_CHECKING:
    from workloads import Case

    from lstmc import graph as g

# The weights are packed anew for each step that is written out: beyond this there is no point.
LARGEST_UNROLLED = 128 << 20


class LiteRT:
    name = "LiteRT"
    package = "ai-edge-litert"

    def forms(
        self, case: Case, layers: list[g.Layer], x: np.ndarray, threads: int
    ) -> Sequence[Form]:
        def read(y: np.ndarray) -> np.ndarray:
            return y.reshape(*case.input_shape[:-1], case.features)

        if not case.recurrent:
            raw = (_dense if case.kind == "dense" else _conv)(case, layers)
            return [Form("operator", _caller(raw, x, threads), read)]
        made = []
        if case.kind in ("lstm", "projected", "peephole"):
            fused = _caller(_fused(case, layers), x, threads, afresh=not case.step)
            made.append(Form("fused", fused, read))
        if case.kind == "bilstm":
            both = _caller(_bidirectional(case, layers), x, threads, afresh=True)
            made.append(Form("fused", both, read))
        if case.kind in ("lstm", "gru", "rnn"):
            (cell,) = layers
            if cell.weight_hh.nbytes * case.time <= LARGEST_UNROLLED:
                raw, states = _basic(case, cell)
                made.append(Form("basic", _caller(raw, x, threads, states), read))
        return made


def _caller(
    raw: bytes, x: np.ndarray, threads: int, states: int = 0, afresh: bool = False
) -> Callable[[], np.ndarray]:
    """Input 0 is x and output 0 y; the next ones are states, which go round. afresh: every call
    starts from zero variables."""
    from ai_edge_litert.interpreter import Interpreter

    with _quiet():
        made = Interpreter(model_content=raw, num_threads=threads)
        made.allocate_tensors()
    ins = [d["index"] for d in made.get_input_details()]
    outs = [d["index"] for d in made.get_output_details()]
    for i in ins[1:]:
        made.set_tensor(i, np.zeros_like(made.get_tensor(i)))
    pairs = list(zip(ins[1 : 1 + states], outs[1 : 1 + states], strict=True))
    x = x.reshape(made.get_input_details()[0]["shape"])
    (into, out) = ins[0], outs[0]

    def call() -> np.ndarray:
        if afresh:
            made.reset_all_variables()
        made.set_tensor(into, x)
        made.invoke()
        for i, o in pairs:
            made.set_tensor(i, made.get_tensor(o))
        return made.get_tensor(out)

    return call


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing from C++ on stderr: the first interpreter announces XNNPACK, amid the table."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _gates(w: Writer, array: np.ndarray, n: int = 4) -> list[int | None]:
    """One tensor for each of n gates, in LiteRT's order, which is lstmc's."""
    return [w.constant(np.ascontiguousarray(a)) for a in np.split(array, n)]


def _fused(case: Case, layers: list[g.Layer]) -> bytes:
    (cell,) = layers
    w = Writer()
    x = w.tensor(case.time, case.batch, case.input_size)
    y = w.tensor(case.time, case.batch, case.features)
    peepholes: list[int | None] = [None] * 3
    if case.kind == "peephole":
        peepholes = _gates(w, cell.peephole, 3)
    projection = [w.constant(cell.weight_hr), None] if case.kind == "projected" else [None, None]
    states = [w.tensor(case.batch, n, variable=True) for n in (case.features, case.hidden_size)]
    weights = [*_gates(w, cell.weight_ih), *_gates(w, cell.weight_hh)]
    w.operator(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        [x, *weights, *peepholes, *_gates(w, cell.bias), *projection, *states, *[None] * 4],
        [y],
        "UnidirectionalSequenceLSTMOptions",
        fusedActivationFunction=w.schema.ActivationFunctionType.TANH,
        timeMajor=True,
    )
    return w.finish([x], [y])


def _bidirectional(case: Case, layers: list[g.Layer]) -> bytes:
    w = Writer()
    x = w.tensor(case.time, case.batch, case.input_size)
    y = w.tensor(case.time, case.batch, case.features)
    inputs: list[int | None] = [x]
    for cell in layers[:2]:
        inputs += [*_gates(w, cell.weight_ih), *_gates(w, cell.weight_hh), *[None] * 3]
        inputs += [*_gates(w, cell.bias), None, None]
    inputs += [w.tensor(case.batch, case.hidden_size, variable=True) for _ in range(4)]
    w.operator(
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        inputs + [None] * 9,
        [y],
        "BidirectionalSequenceLSTMOptions",
        fusedActivationFunction=w.schema.ActivationFunctionType.TANH,
        mergeOutputs=True,
        timeMajor=True,
    )
    return w.finish([x], [y])


def _basic(case: Case, cell: Any) -> tuple[bytes, int]:
    """The file, and the number of states that go in and out (none for a sequence)."""
    w = Writer()
    shape = b, h = case.batch, case.hidden_size
    x = w.tensor(case.time * b, case.input_size)
    zero = np.zeros(shape, np.float32)
    given = [w.tensor(*shape) if case.step else w.constant(zero) for _ in cell.states]
    second = np.zeros_like(cell.bias)
    if case.step and case.kind != "gru":
        both = w.tensor(b, case.input_size + h)
        w.operator("CONCATENATION", [x, given[0]], [both], "ConcatenationOptions", axis=1)
        weight = np.concatenate([cell.weight_ih, cell.weight_hh], axis=1)
        states = _cell(w, case.kind, [_fully(w, both, b, weight, cell.bias)], given, shape)
        return w.finish([x, *given], [states[0], *states]), len(states)
    if case.kind == "gru":
        second[-h:] = cell.recurrent_bias
    product = _fully(w, x, case.time * b, cell.weight_ih, cell.bias)
    products = [product]
    if not case.step:
        products = [w.tensor(b, cell.gates * h) for _ in range(case.time)]
        axis = w.constant(np.zeros((), np.int32))
        w.operator("SPLIT", [axis, product], products, "SplitOptions", numSplits=case.time)
    states, steps = given, []
    for p in products:
        q = _fully(w, states[0], b, cell.weight_hh, second)
        states = _cell(w, case.kind, [p, q], states, shape)
        steps.append(states[0])
    if case.step:
        return w.finish([x, *given], [states[0], *states]), len(states)
    y = w.tensor(case.time * b, h)
    w.operator("CONCATENATION", steps, [y], "ConcatenationOptions", axis=0)
    return w.finish([x], [y]), 0


def _cell(
    w: Writer, kind: str, products: list[int], states: list[int], shape: tuple[int, int]
) -> list[int]:
    """The next states, from the product with inputs and that with the state, or from their sum."""
    if kind == "gru":
        return _gru(w, *products, states, shape)
    gates = 4 if kind == "lstm" else 1
    total = products[0]
    if len(products) == 2:
        total = _two(w, "add", *products, shape[0], gates * shape[1])
    return _lstm(w, total, states, shape) if kind == "lstm" else [_one(w, "TANH", total, *shape)]


def _fully(w: Writer, x: int, rows: int, weight: np.ndarray, bias: np.ndarray) -> int:
    out = w.tensor(rows, weight.shape[0])
    ins: list[int | None] = [x, w.constant(weight), w.constant(bias)]
    return w.operator("FULLY_CONNECTED", ins, [out], "FullyConnectedOptions")


def _split(w: Writer, x: int, n: int, shape: tuple[int, int]) -> list[int]:
    outs = [w.tensor(*shape) for _ in range(n)]
    axis = w.constant(_ONE)
    w.operator("SPLIT", [axis, x], outs, "SplitOptions", numSplits=n)
    return outs


_ONE = np.ones((), np.int32)


def _two(w: Writer, name: str, a: int, b: int, *shape: int) -> int:
    return w.operator(name.upper(), [a, b], [w.tensor(*shape)], name.capitalize() + "Options")


def _one(w: Writer, name: str, a: int, *shape: int) -> int:
    return w.operator(name, [a], [w.tensor(*shape)])


def _lstm(w: Writer, total: int, states: list[int], shape: tuple[int, int]) -> list[int]:
    i, f, g, o = _split(w, total, 4, shape)
    i, f, o = (_one(w, "LOGISTIC", a, *shape) for a in (i, f, o))
    kept = _two(w, "mul", f, states[1], *shape)
    new = _two(w, "mul", i, _one(w, "TANH", g, *shape), *shape)
    c = _two(w, "add", kept, new, *shape)
    return [_two(w, "mul", o, _one(w, "TANH", c, *shape), *shape), c]


def _gru(w: Writer, p: int, q: int, states: list[int], shape: tuple[int, int]) -> list[int]:
    (pr, pz, pn), (qr, qz, qn) = (_split(w, a, 3, shape) for a in (p, q))
    r, z = (
        _one(w, "LOGISTIC", _two(w, "add", a, b, *shape), *shape) for a, b in ((pr, qr), (pz, qz))
    )
    n = _one(w, "TANH", _two(w, "add", pn, _two(w, "mul", r, qn, *shape), *shape), *shape)
    kept = _two(w, "mul", z, _two(w, "sub", states[0], n, *shape), *shape)
    return [_two(w, "add", n, kept, *shape)]


def _dense(case: Case, layers: list[g.Layer]) -> bytes:
    (layer,) = layers
    w = Writer()
    x = w.tensor(case.batch, case.input_size)
    return w.finish([x], [_fully(w, x, case.batch, layer.weight, layer.bias)])


def _conv(case: Case, layers: list[g.Layer]) -> bytes:
    """As a convolution of images that are one row high."""
    (layer,) = layers
    w = Writer()
    x = w.tensor(case.batch, 1, case.time, case.input_size)
    y = w.tensor(case.batch, 1, case.time, case.features)
    kernel = layer.weight.reshape(case.features, 1, layer.taps, case.input_size)
    w.operator(
        "CONV_2D", [x, w.constant(np.ascontiguousarray(kernel)), w.constant(layer.bias)], [y],
        "Conv2DOptions", padding=w.schema.Padding.SAME, strideW=1, strideH=1,
    )  # fmt: skip
    return w.finish([x], [y])
