"""A model's inputs and outputs: tensors as the source had them, to forms and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .. import graph as g
from ..errors import ConversionError
from .writer import Writer

LETTERS = {g.BATCH: "b", g.TIME: "t"}


@dataclass(frozen=True)
class Port:
    """An input or output of the ONNX model; ``inner`` is what layers see of it, ``steps`` how many
    its time axis has: a number, or a name where that is open."""

    value: g.Value
    inner: g.Spec
    steps: int | str | None = None

    @property
    def name(self) -> str:
        return self.value.name

    @property
    def axes(self) -> tuple[g.Axis, ...]:
        return self.value.axes


def ports(graph: g.Graph, specs: Mapping[str, g.Spec]) -> tuple[list[Port], list[Port]]:
    """All inputs and outputs. A graph with bindings is one call of its source: its inputs and
    outputs lose the time axis that binding gave them, and states stand behind them."""
    takes, gives = list(graph.inputs), list(graph.outputs)
    if graph.bindings:
        takes = [_one_call(v, v.call == 1) for v in takes]
        gives = [_one_call(v, specs[v.name].time == g.Steps(None, 1)) for v in gives]
    fixed = {v.clock: v.time for v in takes if v.clock and v.time and g.TIME in v.axes}

    def port(v: g.Value, inner: g.Spec) -> Port:
        time = inner.time
        if time is None:
            return Port(v, inner)
        if time.clock is None or time.clock in fixed:
            return Port(v, inner, time.count({c: n for c, n in fixed.items() if n}))
        # A clock called as the axis of rows is would be taken for that.
        return Port(v, inner, str(time) if time.clock != g.BATCH else f"steps of {time}")

    into, out = ([port(v, specs[v.name]) for v in values] for values in (takes, gives))
    for b in graph.bindings:
        into.append(port(b.input, b.input.spec))
        # What is given has the shape of what is taken, and its floats lie in the order of that.
        state = port(replace(b.input, name=b.output.name), b.input.spec)
        same = [p for p in out if p.name == state.name]
        if not same:
            out.append(state)
        elif same[0].value.shape(1) != state.value.shape(1):
            raise ConversionError(f"output '{state.name}' is also a state, laid out in another way")
    return into, out


def _one_call(v: g.Value, single: bool) -> g.Value:
    """The value as the source has it in one call: its time axis, where a call has one step, stood
    there before with that size; else it was put in."""
    if single:
        return replace(v, time=1, clock=None, call=0)
    return replace(v, axes=tuple(a for a in v.axes if a != g.TIME), call=0)


def take(w: Writer, port: Port) -> None:
    """A form of an input."""
    v, name = port.value, port.name
    axes = [LETTERS.get(str(a), a) for a in v.axes]
    for i, a in enumerate(axes):
        if a == "b":
            w.source("", name, i)
    if "b" not in axes:
        name = w.node("Unsqueeze", name, w.whole(0))
        axes.insert(0, "b")
    steps = [a for a in axes if a in ("b", "t")]
    rest = [a for a in axes if a not in steps]
    if len(rest) <= 1 and not _hidden(port):  # any order will do
        letters = "".join(a if a in steps else "f" for a in map(str, axes))
        w.made(v.name, name, letters, dtype=v.dtype)
        return
    order = [axes.index(a) for a in steps] + [i for i, a in enumerate(axes) if a not in steps]
    if order != sorted(order):
        name = w.node("Transpose", name, perm=order)
    time = port.inner.time
    if _hidden(port) and time is not None:
        steps = ["b", "t"]
        shape = w.whole(0, time.add, port.inner.features)
    else:
        shape = w.whole(*(0 for _ in steps), port.inner.features)
    name = w.node("Reshape", name, shape)
    w.made(v.name, name, "".join(map(str, steps)) + "f", dtype=v.dtype)


def _hidden(port: Port) -> bool:
    """Layers see steps that no axis of the tensor counts."""
    return port.inner.time is not None and g.TIME not in port.axes


def give(w: Writer, port: Port) -> str:
    """The tensor of an output, by any name."""
    v, name = port.value, _seen_as(w, port)
    axes = [LETTERS.get(str(a), a) for a in v.axes]
    steps = [a for a in axes if a in ("b", "t")]
    sizes = [int(a) for a in axes if a not in steps]
    if "b" not in steps:
        steps.insert(0, "b")
        axes.insert(0, "b")
    if len(sizes) <= 1 and not _hidden(port):
        letters = "".join(a if a in steps else "f" for a in map(str, axes))
        made = w.get(name, letters)
    else:
        order = "".join(map(str, steps))
        if _hidden(port):
            made, order = w.get(name, "btf"), "b"
        else:
            made = w.get(name, f"{order}f")
        made = w.node("Reshape", made, w.whole(*(0 for _ in order), *sizes))
        have = [*order, *range(len(sizes))]
        rest = iter(range(len(sizes)))
        wanted = [a if a in steps else next(rest) for a in axes]
        perm = [have.index(a) for a in wanted]
        if perm != sorted(perm):
            made = w.node("Transpose", made, perm=perm)
    if g.BATCH not in v.axes:
        made = w.node("Squeeze", made, w.whole(0))
    if v.dtype != "float32":
        made = w.cast(made, v.dtype)
    return made


def _seen_as(w: Writer, port: Port) -> str:
    """The value of an output; for a state, one that has the steps of the input that takes it."""
    made, wanted = w.spec(port.name), port.inner
    if made.features == wanted.features and (made.time is None) == (wanted.time is None):
        return port.name
    floats = made.features * (made.time.add if made.time else 1)
    y = w.get(port.name, "btf" if made.time else "bf")
    y = w.node("Reshape", y, w.whole(0, floats)) if made.time else y
    if wanted.time:
        y = w.node("Reshape", y, w.whole(0, wanted.time.add, wanted.features))
    alias = w.fresh(port.name)
    w.specs[alias] = wanted
    w.made(alias, y, "btf" if wanted.time else "bf")
    return alias


def info(port: Port, one_row: bool) -> Any:
    """Name, type and shape of an input or output."""
    import numpy as np
    import onnx

    v = port.value
    sizes = {g.BATCH: 1 if one_row else "batch", g.TIME: port.steps}
    shape = [sizes[a] if isinstance(a, str) else a for a in v.axes]
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(v.dtype))
    return onnx.helper.make_tensor_value_info(v.name, kind, shape)
