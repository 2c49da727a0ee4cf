"""What each module of torch.nn means as layers of the graph: :data:`MODULES`, one line each.

A handler gets the :class:`Context`, the module, and the arguments of the call as the user wrote
them, with tensors replaced by :class:`Sym`. An argument that its signature doesn't have is refused
for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.errors import ConversionError
from lstmc.graph import BATCH, TIME

from . import torch_ops as ops
from . import weights as w
from .torch_values import Context, LayoutError, Stack, Sym, Zeros, show


def lstm_module(ctx: Context, m: Any, input: Any, hx: Any = None) -> Any:
    """torch.nn.LSTM. Gives (output, (h_n, c_n)) as torch does."""
    if m.bidirectional:
        ctx.refuse("bidirectional=True is not supported yet")
    if m.proj_size:
        ctx.refuse("proj_size is not supported yet")
    if hx is not None and not (isinstance(hx, tuple) and all(is_zero(s) for s in hx)):
        ctx.refuse(
            "gets an initial state that is not zero; leave it out (lstmc keeps state between "
            "calls itself: model.stream())"
        )
    x = ctx.sym(input)
    order = (BATCH, TIME) if m.batch_first else (TIME, BATCH)
    if len(x.axes) != 3 or x.axes[:2] != order:
        raise LayoutError(
            f"{ctx.where}: batch_first={m.batch_first} takes "
            f"[{order[0]}, {order[1]}, {m.input_size}], gets {show(x)}"
        )
    x = ctx.features(x, m.input_size)
    axes = (*order, m.hidden_size)
    states: list[tuple[Sym, Sym]] = []
    base = ctx.path
    for k in range(m.num_layers):
        name = ctx.unique(f"{base}_l{k}" if m.num_layers > 1 else base)
        outputs = (name, f"{name}.h", f"{name}.c")
        parts = w.lstm(getter(m, base), base, f"_l{k}")
        ctx.layers.append(g.LSTM(name=name, inputs=(x.value,), outputs=outputs, **parts))  # type: ignore[arg-type]
        x = Sym(name, axes)
        state = (BATCH, m.hidden_size)
        states.append((Sym(outputs[1], state), Sym(outputs[2], state)))
    if m.num_layers == 1:
        return x, tuple(Sym(s.value, (1, *s.axes)) for s in states[0])
    return x, (Stack(tuple(s[0] for s in states)), Stack(tuple(s[1] for s in states)))


def is_zero(x: Any) -> bool:
    if isinstance(x, Zeros):
        return True
    return type(x).__module__.partition(".")[0] == "torch" and not bool(x.count_nonzero())


def linear_module(ctx: Context, m: Any, input: Any) -> Sym:
    return ops.dense(ctx, input, w.linear(getter(m, ctx.path), ctx.path))


def as_module(handler: Callable[..., Any], *options: str) -> Callable[..., Any]:
    """A function's handler as that of the module whose attributes are its options."""

    def module_handler(ctx: Context, m: Any, input: Any) -> Any:
        return handler(ctx, input, **{o: getattr(m, o) for o in options})

    return module_handler


def identity_module(ctx: Context, m: Any, input: Any) -> Any:
    return input


def getter(m: Any, base: str) -> w.Get:
    """Reads a module's effective weights by the keys they'd have in a state_dict."""
    flat = {id(t) for t in getattr(m, "_flat_weights", ())}

    def get(key: str) -> np.ndarray | None:
        leaf = key.removeprefix(f"{base}.")
        tensor = getattr(m, leaf, None)
        if tensor is None:
            return None
        # nn.LSTM computes with this list, not with its attributes; a parametrization that
        # replaces the attributes alone would have no effect in torch.
        if flat and id(tensor) not in flat:
            raise ConversionError(
                f"parameter '{key}' is not the one the LSTM computes with (a parametrization, or "
                "it was replaced); remove it, or load the weights into a plain nn.LSTM"
            )
        return w.torch_array(key, tensor)

    return get


MODULES: dict[str, Callable[..., Any]] = {
    "LSTM": lstm_module,
    "Linear": linear_module,
    "ReLU": as_module(ops.relu),
    "Sigmoid": as_module(ops.sigmoid),
    "Tanh": as_module(ops.tanh),
    "Hardsigmoid": as_module(ops.hardsigmoid),
    "Softmax": as_module(ops.softmax, "dim"),
    "Flatten": as_module(ops.flatten, "start_dim", "end_dim"),
    "Identity": identity_module,
    "Dropout": identity_module,
}
