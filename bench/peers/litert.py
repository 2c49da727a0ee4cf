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


def _fused(case: Case, layers: list[g.Layer]) -> bytes:
    (cell,) = layers
    w = Writer()
    x = w.tensor(case.time, case.batch, case.input_size)
    y = w.tensor(case.time, case.batch, case.features)

    def gates(array: np.ndarray, n: int = 4) -> list[int | None]:
        return [w.constant(np.ascontiguousarray(a)) for a in np.split(array, n)]

    peepholes: list[int | None] = [None] * 3
    if case.kind == "peephole":
        peepholes = gates(cell.peephole, 3)
    projection = [w.constant(cell.weight_hr), None] if case.kind == "projected" else [None, None]
    states = [w.tensor(case.batch, n, variable=True) for n in (case.features, case.hidden_size)]
    w.operator(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        [x, *gates(cell.weight_ih), *gates(cell.weight_hh), *peepholes, *gates(cell.bias),
         *projection, *states, None, None, None, None],
        [y],
        "UnidirectionalSequenceLSTMOptions",
        fusedActivationFunction=w.schema.ActivationFunctionType.TANH,
        timeMajor=True,
    )  # fmt: skip
    return w.finish([x], [y])


def _basic(case: Case, cell: Any) -> tuple[bytes, int]:
    """The file, and the number of states that go in and out (none for a sequence)."""
    w = Writer()
    b, h, gates = case.batch, case.hidden_size, cell.gates
    rows = case.time * b
    x = w.tensor(rows, case.input_size)
    bias = cell.bias
    second = np.zeros_like(bias)
    if case.kind == "gru":
        second[-h:] = cell.recurrent_bias
    product = _fully(w, x, rows, cell.weight_ih, bias)
    if case.time == 1:
        products = [product]
        states = [w.tensor(b, h) for _ in cell.states]
    else:
        products = [w.tensor(b, gates * h) for _ in range(case.time)]
        axis = w.constant(np.zeros((), np.int32))
        w.operator("SPLIT", [axis, product], products, "SplitOptions", numSplits=case.time)
        zero = np.zeros((b, h), np.float32)
        states = [w.constant(zero) for _ in cell.states]
    given, steps = states, []
    cells = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}
    for p in products:
        q = _fully(w, states[0], b, cell.weight_hh, second)
        states = cells[case.kind](w, p, q, states, (b, h))
        steps.append(states[0])
    if case.time == 1:
        return w.finish([x, *given], [steps[0], *states]), len(states)
    y = w.tensor(rows, h)
    w.operator("CONCATENATION", steps, [y], "ConcatenationOptions", axis=0)
    return w.finish([x], [y]), 0


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


def _lstm(w: Writer, p: int, q: int, states: list[int], shape: tuple[int, int]) -> list[int]:
    total = _two(w, "add", p, q, shape[0], 4 * shape[1])
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


def _rnn(w: Writer, p: int, q: int, states: list[int], shape: tuple[int, int]) -> list[int]:
    return [_one(w, "TANH", _two(w, "add", p, q, *shape), *shape)]


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
