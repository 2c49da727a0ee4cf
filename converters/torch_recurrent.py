"""nn.LSTM, nn.GRU, nn.RNN, their cells and packed sequences, as layers of the graph.

Sources: torch.nn.LSTM, GRU, RNN, "Inputs" and "Outputs"; torch/nn/modules/rnn.py for the order of
layers and directions in h_n, 0 forward, 0 reverse, 1 forward ...; torch/nn/utils/rnn.py.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.errors import ConversionError
from lstmc.graph import BATCH, TIME

from . import torch_shapes as shapes
from . import weights as w
from .torch_values import Const, Context, Free, LayoutError, Packed, Size, Sym, is_tensor, show

LAYERS: dict[str, type[g.Recurrent]] = {"LSTM": g.LSTM, "GRU": g.GRU, "RNN": g.RNN}


def state_key(ctx: Context, m: Any) -> str:
    """The prefix that a module's weights have in a state_dict."""
    return str(getattr(m, "state_key", ctx.path))


def getter(m: Any, base: str) -> w.Get:
    """Reads a module's effective weights by the keys they'd have in a state_dict."""
    flat = {id(t) for t in getattr(m, "_flat_weights", ())}
    kind = next((k.__name__ for k in type(m).__mro__ if "torch.nn.modules" in k.__module__), "")

    def get(key: str) -> np.ndarray | None:
        leaf = key.removeprefix(f"{base}.")
        tensor = getattr(m, leaf, None)
        if tensor is None:
            return None
        # nn.LSTM computes with this list, not with its attributes; a parametrization that
        # replaces the attributes alone would have no effect in torch.
        if flat and id(tensor) not in flat:
            raise ConversionError(
                f"parameter '{key}' is not the one the {kind} computes with (a parametrization, or "
                f"it was replaced); remove it, or load the weights into a plain nn.{kind}"
            )
        return w.torch_array(key, tensor) if is_tensor(tensor) else tensor

    return get


def recurrent_module(kind: str) -> Any:
    """The handler of torch.nn.LSTM, GRU or RNN. Gives what the module does."""

    def handler(ctx: Context, m: Any, input: Any, hx: Any = None) -> Any:
        count = m.num_layers * (2 if m.bidirectional else 1)
        initial = initial_states(ctx, kind, m, hx, count)
        if isinstance(input, Packed):
            mask = step_mask(ctx, input)
            x, states = stack(ctx, kind, m, input.x, initial, mask)
            result: Any = Packed(x, input.lengths, input.like, zeros=True)
        else:
            x = ctx.sym(input)
            if x.axes and isinstance(x.axes[-1], Free):
                ctx.tell(x.axes[-1], m.input_size, x)
                x = ctx.sym(x)
            order = (BATCH, TIME) if m.batch_first else (TIME, BATCH)
            at = order.index(TIME)
            if len(x.axes) == 3 and x.axes[order.index(BATCH)] == BATCH and x.axes[at] != TIME:
                x, n = shapes.as_time(ctx, x, at)
                y, states = stack(ctx, kind, m, x, initial, None)
                result = shapes.from_time(ctx, y, n)
            else:
                if len(x.axes) != 3 or x.axes[:2] != order:
                    raise LayoutError(
                        f"{ctx.where}: batch_first={m.batch_first} takes "
                        f"[{order[0]}, {order[1]}, {m.input_size}], gets {show(x)}"
                    )
                ctx.across(x)
                result, states = stack(ctx, kind, m, x, initial, None)
        h_n = stacked(ctx, [s[0] for s in states])
        if kind != "LSTM":
            return result, h_n
        return result, (h_n, stacked(ctx, [s[1] for s in states]))

    return handler


def stack(
    ctx: Context, kind: str, m: Any, x: Sym, initial: list[list[str | None]], mask: str | None
) -> tuple[Sym, list[tuple[Sym, ...]]]:
    """All layers and directions: the sequence, and the states of each."""
    x = ctx.features(x, m.input_size)
    if mask is None and BATCH not in x.axes:
        ctx.refuse(f"gets {show(x)}")
    projected = getattr(m, "proj_size", 0)
    base, key = ctx.path, state_key(ctx, m)
    states: list[tuple[Sym, ...]] = []
    for k in range(m.num_layers):
        made = []
        for reverse in (False, True) if m.bidirectional else (False,):
            suffix = f"_l{k}" + ("_reverse" if reverse else "")
            suffix = "" if getattr(m, "cell_keys", False) else suffix
            own = base + (f"_l{k}" if m.num_layers > 1 else "") + ("_reverse" if reverse else "")
            parts: dict[str, Any] = w.recurrent(
                kind, getter(m, key), key, suffix, projection=bool(projected)
            )
            parts |= functions(kind, m)
            given = initial[len(states)] if initial else []
            layer = cell(ctx, kind, own, (x.value, mask, *given), reverse=reverse, **parts)
            sizes = (projected or m.hidden_size, m.hidden_size)
            states.append(
                tuple(
                    Sym(v, (BATCH, n)) for v, n in zip(layer.outputs[1:], sizes, strict=False) if v
                )
            )
            made.append((layer.outputs[0] or "", sizes[0]))
        ctx.path = f"{base}_l{k}_concat" if m.num_layers > 1 else f"{base}_concat"
        axes = (*x.axes[:-1], sum(n for _, n in made))
        x = dataclasses.replace(x, value=ctx.concat(made), axes=axes)
    ctx.path = base
    return x, states


def functions(kind: str, m: Any) -> dict[str, g.Fn]:
    """The functions of a cell; those of LSTM and GRU are torch's own, unless a state_dict's
    architecture says otherwise."""
    if kind == "RNN" and not hasattr(m, "functions"):
        return {"activation": {"tanh": g.TANH, "relu": g.RELU}[m.nonlinearity]}
    return getattr(m, "functions", {})


def cell(
    ctx: Context, kind: str, name: str, inputs: tuple[str | None, ...], **fields: Any
) -> g.Recurrent:
    """One recurrent layer, with all its outputs."""
    while inputs[-1] is None:
        inputs = inputs[:-1]
    name = ctx.unique(name)
    outputs = (name, f"{name}.h", f"{name}.c") if kind == "LSTM" else (name, f"{name}.h")
    layer = LAYERS[kind](name=name, inputs=inputs, outputs=outputs, **fields)
    ctx.layers.append(layer)
    return layer


def stacked(ctx: Context, states: list[Sym]) -> Sym:
    """h_n or c_n, [num_layers * directions, batch, features]."""
    features = states[0].axes[-1]
    base, ctx.path = ctx.path, f"{ctx.path}_states"
    value = ctx.concat([(s.value, features) for s in states])
    ctx.path = base
    return Sym(value, (len(states), BATCH, features))


# ------------------------------------------------------------------------------ initial states


def initial_states(ctx: Context, kind: str, m: Any, hx: Any, count: int) -> list[list[str | None]]:
    """The values of the initial states, h and c, of each layer and direction; [] if all are 0."""
    if hx is None:
        return []
    sizes = (getattr(m, "proj_size", 0) or m.hidden_size, m.hidden_size)
    if kind == "LSTM":
        if not isinstance(hx, tuple) or len(hx) != 2:
            ctx.refuse("hx must be a pair, (h_0, c_0)")
        given = [one_state(ctx, s, count, n) for s, n in zip(hx, sizes, strict=True)]
    else:
        given = [one_state(ctx, hx, count, sizes[0])]
    return [list(states) for states in zip(*given, strict=True)]


def one_state(ctx: Context, x: Any, count: int | None, features: int) -> list[str | None]:
    """An initial state [count, batch, features] taken apart; without ``count``, that of a cell."""
    n = 1 if count is None else count
    wanted = (BATCH, features) if count is None else (count, BATCH, features)
    if is_tensor(x) or isinstance(x, Const):
        return constant_state(ctx, shapes.lift(ctx, x), count, features)
    s = ctx.sym(x)
    for a, size in zip(s.axes, wanted, strict=False):
        if isinstance(a, Free) and isinstance(size, int) and len(s.axes) == len(wanted):
            ctx.tell(a, size, s)
    s = ctx.sym(s)
    if s.axes != wanted:
        raise LayoutError(f"{ctx.where}: its initial state must be {show(Sym('', wanted))}, "
                          f"gets {show(s)}")  # fmt: skip
    if count is None:
        return [s.value]
    return [shapes.getitem(ctx, s, k).value for k in range(n)]


def constant_state(ctx: Context, c: Const, count: int | None, features: int) -> list[str | None]:
    shape = (1 if count is None else count, c.array.shape[-2] if c.array.ndim > 1 else 0, features)
    array = c.array[None] if count is None else c.array
    if array.shape != shape or TIME in c.axes:
        wanted = (BATCH, features) if count is None else (count, BATCH, features)
        ctx.refuse(f"its initial state must be {show(Sym('', wanted))}, gets {show(c)}")
    if (array != array[:, :1]).any():
        ctx.refuse("its initial state differs from row to row of the batch; make it an input")
    rows = array[:, 0]
    return [
        ctx.constant(Const(row[None], (BATCH, features))).value if row.any() else None
        for row in rows
    ]


# ----------------------------------------------------------------------------------------- cells


def cell_module(kind: str) -> Any:
    """The handler of torch.nn.LSTMCell, GRUCell or RNNCell: a sequence of one step."""

    def handler(ctx: Context, m: Any, input: Any, hx: Any = None) -> Any:
        x = ctx.sym(input)
        if len(x.axes) != 2 or x.axes[0] != BATCH:
            raise LayoutError(f"{ctx.where}: takes [batch, {m.input_size}], gets {show(x)}")
        x = ctx.features(x, m.input_size)
        given: list[str | None] = []
        if hx is not None:
            if kind == "LSTM" and (not isinstance(hx, tuple) or len(hx) != 2):
                ctx.refuse("hx must be a pair, (h_0, c_0)")
            for s in hx if kind == "LSTM" else (hx,):
                given += one_state(ctx, s, None, m.hidden_size)
        base = ctx.path
        ctx.path = f"{base}_step"
        sequence = ctx.add(g.Unflatten, x, (BATCH, TIME, m.input_size), count=1)
        ctx.path = base
        parts: dict[str, Any] = w.recurrent(kind, getter(m, base), base)
        parts |= functions(kind, m)
        layer = cell(ctx, kind, base, (sequence.value, None, *given), **parts)
        states = tuple(Sym(v, (BATCH, m.hidden_size)) for v in layer.outputs[1:] if v)
        return states if kind == "LSTM" else states[0]

    return handler


# ------------------------------------------------------------------------------ packed sequences


def pack_padded(
    ctx: Context, input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> Packed:
    """torch.nn.utils.rnn.pack_padded_sequence. Rows need not be sorted, whatever it insists on."""
    if not isinstance(lengths, Sym):
        ctx.refuse("its lengths are constant; make them an input of forward")
    n = ctx.ints(lengths)
    if n.axes != (BATCH,):
        raise LayoutError(f"{ctx.where}: its lengths are {show(n)}, expected [batch]")
    x = ctx.sym(input)
    order = (BATCH, TIME) if batch_first else (TIME, BATCH)
    if len(x.axes) != 3 or x.axes[:2] != order:
        raise LayoutError(
            f"{ctx.where}: batch_first={batch_first} takes [{order[0]}, {order[1]}, features], "
            f"gets {show(x)}"
        )
    if x.cut and x.cut != n.value:
        ctx.across(x)
    return Packed(dataclasses.replace(x, axes=(BATCH, TIME, x.axes[2]), cut=""), n, x.value)


def step_mask(ctx: Context, p: Packed) -> str:
    """1 where a step of a packed sequence is one of its row, else 0."""
    key = ("mask", p.lengths.value, p.like)
    if key not in ctx.made:
        base, ctx.path = ctx.path, f"{ctx.path}_mask"
        ctx.made[key] = ctx.add(g.StepMask, (p.lengths, p.x), (BATCH, TIME)).value
        ctx.path = base
    return ctx.made[key]


def pad_packed(
    ctx: Context,
    sequence: Any,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: Any = None,
) -> tuple[Sym, Sym]:
    """torch.nn.utils.rnn.pad_packed_sequence: all steps, zero from each row's length on."""
    if not isinstance(sequence, Packed):
        ctx.refuse("gets no packed sequence")
    if not sequence.zeros:
        ctx.refuse("unpacks a sequence that no layer has read since it was packed")
    if padding_value != 0:
        ctx.refuse(f"padding_value={padding_value} is not supported, only 0")
    x, cut = sequence.x, sequence.lengths.value
    if isinstance(total_length, Size) and (total_length.axes, total_length.add) == ((TIME,), 0):
        ctx.alike.append((total_length.value, x.value, ctx.where))
        cut = ""
    elif type(total_length) is int:
        ctx.counts.append((x.value, total_length, ctx.where))
        cut = ""
    elif total_length is not None:
        ctx.refuse("total_length must be the number of time steps, as in x.size(1)")
    axes = (BATCH, TIME, x.axes[2]) if batch_first else (TIME, BATCH, x.axes[2])
    return dataclasses.replace(x, axes=axes, cut=cut), sequence.lengths
