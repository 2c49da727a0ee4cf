"""Recurrent layers spelled out: a Scan whose body is one step of the cell.

The equations are those of docs/RECURRENT.md. The body reads weights from the graph around it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import graph as g
from .functions import fn
from .writer import Form, Writer

Cell = Callable[..., list[str]]


def recurrent(w: Writer, layer: g.Recurrent, cell: Cell) -> None:
    """The frame around a cell, which gets the tensors of x and of the states of one step, all
    [batch, features], and gives those of the new states, h first.

    Where a step is masked, Where keeps the states. With ``hold`` the last output is a state more.
    """
    import onnx

    x, mask = layer.inputs[0], layer.optional(1)
    held = layer.hold and mask is not None
    sizes = [*layer.state_sizes, *([layer.output_size] if held else [])]
    initial = [layer.optional(2 + i) for i in range(len(layer.states))] + [None] * held
    before = [w.fresh(f"{layer.name}/{s}") for s in (*layer.states, "held")[: len(sizes)]]
    step = w.fresh(f"{layer.name}/x")
    counts = w.fresh(f"{layer.name}/mask")
    with w.body() as nodes:
        after = cell(w, layer, step, *before[: len(layer.states)])
        output = after[0]
        if mask is not None:
            keep = w.cast(counts, "bool")
            rest = before[-1] if held else w.number(0.0)
            output = w.node("Where", keep, output, rest)
            pairs = zip(after, before, strict=False)
            after = [w.node("Where", keep, a, b) for a, b in pairs]
        after += [output] * held
        results = [w.node("Identity", a) for a in (*after, output)]
    takes = [(n, size) for n, size in zip(before, sizes, strict=True)]
    scanned = [(step, layer.input_size), *([(counts, 1)] if mask is not None else [])]
    gives = [*zip(results, [*sizes, layer.output_size], strict=True)]
    rows = None if w.one_row else "batch"
    body = onnx.helper.make_graph(
        nodes,
        w.fresh(f"{layer.name}/step"),
        [_info(n, rows, size) for n, size in (*takes, *scanned)],
        [_info(n, rows, size) for n, size in gives],
    )
    sequences = [w.get(x, "tbf"), *([w.get(mask, "tbf")] if mask is not None else [])]
    states = [
        _zeros(w, size) if n is None else w.get(n, "bf")
        for n, size in zip(initial, sizes, strict=True)
    ]
    way = int(layer.reverse)
    turned: dict[str, Any] = (
        {"scan_input_directions": [way] * len(sequences), "scan_output_directions": [way]}
        if way
        else {}
    )
    sequence, *last = layer.outputs
    made = w.nodes_of(  # all outputs get a name: a Scan's are not optional
        "Scan",
        [*states, *sequences],
        [*(f"{layer.name}/last" for _ in sizes), f"{layer.name}/sequence"],
        body=body,
        num_scan_inputs=len(sequences),
        **turned,
    )
    for value, y in zip(last, made, strict=False):
        w.made(value, y, "bf")
    w.put(sequence, Form(made[-1], "tbf"))


def _info(name: str, rows: Any, size: int) -> Any:
    import onnx

    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [rows, size])


def _zeros(w: Writer, size: int) -> str:
    return w.node("Expand", w.number(0.0), w.join(w.batch(), w.whole(size)))


def product(w: Writer, x: str, matrix: Any, field: str) -> str:
    return w.node("MatMul", x, w.weight(matrix.T, field))


def split(w: Writer, x: str, names: str) -> list[str]:
    return w.nodes_of(
        "Split", [x], [f"{w.layer}/{n}" for n in names], axis=-1, num_outputs=len(names)
    )


def applied(w: Writer, layer: g.Recurrent, x: str, function: g.Fn) -> str:
    """The function of a pre-activation, which ``clip`` bounds."""
    if layer.clip:
        x = w.node("Clip", x, w.number(-layer.clip), w.number(layer.clip))
    return fn(w, x, function)


def inputs(w: Writer, layer: Any, x: str) -> str:
    """weight_ih x + bias."""
    y = product(w, x, layer.weight_ih, "weight_ih")
    return y if layer.bias is None else w.node("Add", y, w.weight(layer.bias, "bias"))


def lstm(w: Writer, layer: g.LSTM, x: str, h: str, c: str) -> list[str]:
    hidden = layer.hidden_size
    p = w.node("Add", inputs(w, layer, x), product(w, h, layer.weight_hh, "weight_hh"))
    i, f, candidate, o = split(w, p, "ifgo")
    if layer.weight_ch is not None:
        cell = product(w, c, layer.weight_ch[: 3 * hidden], "weight_ch_ifg")
        to_i, to_f, to_g = split(w, cell, "ifg")
        i, f, candidate = (
            w.node("Add", a, b) for a, b in ((i, to_i), (f, to_f), (candidate, to_g))
        )
    if layer.peephole is not None:
        p_i, p_f, p_o = (
            w.weight(layer.peephole[k * hidden : (k + 1) * hidden], f"peephole_{gate}")
            for k, gate in enumerate("ifo")
        )
        i = w.node("Add", i, w.node("Mul", c, p_i))
        f = w.node("Add", f, w.node("Mul", c, p_f))
    i = applied(w, layer, i, layer.gate)
    if layer.coupled:
        f = w.node("Sub", w.number(1.0), i)
    else:
        f = applied(w, layer, f, layer.gate)
    candidate = applied(w, layer, candidate, layer.candidate)
    new = w.node("Add", w.node("Mul", f, c), w.node("Mul", i, candidate))
    seen = c if layer.output_sees_old else new
    if layer.weight_ch is not None:
        o = w.node("Add", o, product(w, seen, layer.weight_ch[3 * hidden :], "weight_ch_o"))
    if layer.peephole is not None:
        o = w.node("Add", o, w.node("Mul", seen, p_o))
    made = w.node("Mul", applied(w, layer, o, layer.gate), fn(w, new, layer.output))
    if layer.weight_hr is not None:
        made = product(w, made, layer.weight_hr, "weight_hr")
    return [made, new]


def gru(w: Writer, layer: g.GRU, x: str, h: str) -> list[str]:
    hidden = layer.hidden_size
    of_x = split(w, inputs(w, layer, x), "rzn")
    if layer.reset_after:
        of_h = split(w, product(w, h, layer.weight_hh, "weight_hh"), "rzn")
    else:
        gate_weights = layer.weight_hh[: 2 * hidden]
        of_h = split(w, product(w, h, gate_weights, "weight_hh_rz"), "rz")
    r, z = (
        applied(w, layer, w.node("Add", a, b), layer.gate)
        for a, b in zip(of_x[:2], of_h, strict=False)
    )
    if layer.reset_after:
        own = of_h[2]
        if layer.recurrent_bias is not None:
            own = w.node("Add", own, w.weight(layer.recurrent_bias, "recurrent_bias"))
        own = w.node("Mul", r, own)
    else:
        own = product(w, w.node("Mul", r, h), layer.weight_hh[2 * hidden :], "weight_hh_n")
    n = applied(w, layer, w.node("Add", of_x[2], own), layer.candidate)
    left = w.node("Mul", w.node("Sub", w.number(1.0), z), n)
    return [w.node("Add", left, w.node("Mul", z, h))]


def rnn(w: Writer, layer: g.RNN, x: str, h: str) -> list[str]:
    p = w.node("Add", inputs(w, layer, x), product(w, h, layer.weight_hh, "weight_hh"))
    return [applied(w, layer, p, layer.activation)]
