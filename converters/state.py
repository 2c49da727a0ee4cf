"""States bound: what a source gives as an output of one call is what it takes in the next.

A source that carries its state outside, as inputs and outputs, becomes a model that keeps it. There
are two ways:

- A call becomes a time step. The graph stays as it is, and gets bindings (:class:`g.Binding`); its
  other inputs and outputs get a time axis: [batch, 576] becomes [batch, time, 576]; where a call
  has one step of its own, [batch, 1, 257], that axis becomes time; where it has several,
  [batch, 10, 40], they stay sizes: [batch, time, 10, 40].
- A call continues the one before. Where states are those of recurrent layers and nothing else, and
  steps otherwise do not see one another, many calls are one long call, and the layers keep their
  states themselves (:mod:`.state_layers`). A number of steps that is left open can be bound in
  no other way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.errors import ConversionError

from .state_layers import Unbound, continued

MOST = 2048  # steps that are tried for a message
State = str | Sequence[str] | Mapping[str, str]


def bind(graph: g.Graph, state: State) -> g.Graph:
    """The graph with states bound.

    ``state`` is "[SEQUENCE[@N]=]OUTPUT:STATE[,OUTPUT:STATE ...]", several of those, or a dict of
    the inputs by the outputs that they take. SEQUENCE names an input that goes on from call to
    call, as all do that are not bound; N is how many time steps of its own a call of the source
    has, where the source leaves that open. States begin at zero.

    Raises ConversionError for names that do not exist, shapes or dtypes that differ, and states
    that can't be bound, naming the layer.
    """
    pairs = state_pairs(graph, state)
    _fix(graph, state)
    takes = {v.name: v for v in graph.inputs}
    gives = {v.name: v for v in graph.outputs}
    bound = g.Graph(
        [v for v in graph.inputs if v.name not in pairs.values()],
        [v for v in graph.outputs if v.name not in pairs],
        graph.layers,
        {**graph.provenance, "state": ", ".join(f"{o}:{i}" for o, i in pairs.items())},
    )
    if not bound.inputs or not bound.outputs:
        what = "input" if not bound.inputs else "output"
        raise ConversionError(f"state: all {what}s are bound, none is left for the model")
    given = graph.infer()
    bindings = []
    for name, to in pairs.items():
        _check(takes[to], gives[name], given[name], graph)
        # Its steps are a constant number, whatever a converter has left open.
        clock = None if g.TIME in takes[to].axes else takes[to].clock
        bindings.append(g.Binding(replace(takes[to], clock=clock), gives[name]))
        if takes[to].dtype != "float32":
            note = f"state '{to}' is kept in float32, not rounded to {takes[to].dtype}"
            notes = [bound.provenance["note"]] if "note" in bound.provenance else []
            bound.provenance["note"] = "\n".join([*notes, note])

    fixed = all(v.time for v in bound.inputs if g.TIME in v.axes)
    open_ends = [v.name for v in bound.inputs if g.TIME in v.axes and not v.time]
    try:
        return continued(bound, bindings, steps_only=fixed)
    except Unbound as e:
        if open_ends:
            output, to = next(iter(pairs.items()))
            raise ConversionError(
                f"state: {e}, and the number of time steps of a call is open: give it, as in "
                f"{open_ends[0]}@N={output}:{to}{_fitting(graph)}, then each call becomes a time "
                "step"
            ) from None
    return _stepped(bound, bindings)


def _fitting(graph: g.Graph) -> str:
    """Which numbers of steps a graph takes, of those that are easily tried."""
    specs, clocks = graph.infer(), graph.clocks
    good = [n for n in range(1, MOST) if not graph.misfit(specs, dict.fromkeys(clocks, n))]
    if not good or good[-1] == MOST - 1 or len(good) != good[-1] - good[0] + 1:
        return ""
    return f" (it takes {good[0]} to {good[-1]})"


# ---------------------------------------------------------------------------------- what is given


def state_pairs(graph: g.Graph, state: State) -> dict[str, str]:
    """The inputs by the outputs that they take."""
    takes, gives = [v.name for v in graph.inputs], [v.name for v in graph.outputs]
    found: list[tuple[str, str]] = []
    sequences: list[str] = []
    if isinstance(state, Mapping):
        found = [(str(o), str(i)) for o, i in state.items()]
    else:
        for text in [state] if isinstance(state, str) else state:
            sequence, rest = _sequence(text)
            if sequence:
                sequences.append(_steps(sequence, takes)[0])
            found += [_pair(part.strip(), gives, takes) for part in rest.split(",")]
    if not found:
        raise ConversionError("state: nothing is bound; give OUTPUT:STATE")
    for what, names, given in (
        ("output", gives, [o for o, _ in found]),
        ("input", takes, [i for _, i in found] + sequences),
    ):
        for name in given:
            if name not in names:
                raise ConversionError(
                    f"state: there is no {what} '{name}'; {what}s are {_listed(names)}"
                )
    for what, names in (("output", [o for o, _ in found]), ("input", [i for _, i in found])):
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ConversionError(f"state: {what} '{twice[0]}' is bound twice")
    for name in sequences:
        if name in [i for _, i in found]:
            raise ConversionError(f"state: input '{name}' is bound, so it is no sequence")
    return dict(found)


def _sequence(text: str) -> tuple[str, str]:
    """What stands before "=", and what behind it."""
    sequence, equals, rest = str(text).rpartition("=")
    return (sequence.strip() or "''" if equals else ""), rest


def _steps(sequence: str, takes: Sequence[str]) -> tuple[str, int | None]:
    """INPUT or INPUT@N."""
    name, at, number = sequence.rpartition("@")
    if sequence in takes or not at:
        return sequence, None
    if not (number.isascii() and number.isdigit() and 0 < len(number) < 9 and int(number)):
        raise ConversionError(f"state: '{sequence}' gives no number of time steps behind '@'")
    return name, int(number)


def _fix(graph: g.Graph, state: State) -> None:
    """Give inputs the number of time steps that a call has."""
    texts = [] if isinstance(state, Mapping) else [state] if isinstance(state, str) else state
    for text in texts:
        name, steps = _steps(_sequence(text)[0], [v.name for v in graph.inputs])
        for i, v in enumerate(graph.inputs):
            if v.name != name or steps is None:
                continue
            if g.TIME not in v.axes or v.time not in (None, steps):
                has = f"has {v.time}" if v.time else "has none"
                raise ConversionError(
                    f"state: {steps} time steps for '{name}', which {has}; leave '@{steps}' out"
                )
            open_steps = dict.fromkeys(graph.clocks, steps)
            if v.time is None and graph.misfit(graph.infer(), open_steps):
                raise ConversionError(
                    f"state: {steps} time steps for '{name}' don't fit the model{_fitting(graph)}"
                )
            graph.inputs[i] = replace(v, time=steps)


def _pair(text: str, gives: list[str], takes: list[str]) -> tuple[str, str]:
    """OUTPUT:STATE; names may hold colons themselves."""
    cuts = [(text[:i], text[i + 1 :]) for i, c in enumerate(text) if c == ":"]
    if not cuts:
        raise ConversionError(f"state: '{text}' is not [SEQUENCE[@N]=]OUTPUT:STATE")
    return next(((o, i) for o, i in cuts if o in gives and i in takes), cuts[0])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{n}'" for n in names)


def _check(to: g.Value, source: g.Value, spec: g.Spec, graph: g.Graph) -> None:
    """An output can be what the input takes next."""
    if to.dtype != source.dtype or not to.dtype.startswith("float"):
        raise ConversionError(
            f"state: '{source.name}' is {source.dtype} and '{to.name}' {to.dtype}; "
            "states are float32"
        )
    fixed = {v.clock: v.time for v in graph.inputs if v.clock and v.time}
    steps = None
    if spec.time is not None and (spec.time.clock is None or spec.time.clock in fixed):
        steps = spec.time.count({c: n or 0 for c, n in fixed.items() if c})
    row = 1 if graph.one_row else "batch"
    given = [row if a == g.BATCH else steps if a == g.TIME else a for a in source.axes]
    taken = [row if a == g.BATCH else to.time if a == g.TIME else a for a in to.axes]
    for name, shape in ((to.name, taken), (source.name, given)):
        if None in shape:
            raise ConversionError(f"state: '{name}' has an open number of time steps")
    if given != taken:
        raise ConversionError(
            f"state: output '{source.name}' has shape {_shape(given)}, "
            f"input '{to.name}' takes {_shape(taken)}"
        )


def _shape(sizes: list[Any]) -> str:
    return f"[{', '.join(map(str, sizes))}]"


# ------------------------------------------------------------------------- a call becomes a step


def _stepped(graph: g.Graph, bindings: list[g.Binding]) -> g.Graph:
    """The graph of one call, whose calls are the steps of the model."""
    graph.inputs = [v if g.TIME not in v.axes else replace(v, clock=None) for v in graph.inputs]
    call = g.Graph([*graph.inputs, *(b.input for b in bindings)], graph.outputs, graph.layers)
    specs = call.infer()
    inputs, before = [], []
    for v in graph.inputs:
        steps = v.time if g.TIME in v.axes else None
        into, cut = _reorder_input(v, specs)
        inputs.append(_with_time(v, steps, 0 if cut else steps or 0))
        before += cut
        for layer in graph.layers:
            layer.rename({v.name: into})
    outputs, behind = [], []
    for v in graph.outputs:
        time = specs[v.name].time
        outputs.append(_with_time(v, time.add if time else None, 0))
        if time and time.add > 1:
            behind += _reorder(graph, v, specs, np.argsort(_order(v, time.add)))
    bound = []
    for b in bindings:
        time = specs[b.output.name].time
        steps = time.add if time else 1
        place = np.argsort(_order(b.output, steps))[_order(b.input, b.input.time or 1)]
        turned = _reorder(graph, b.output, specs, place)
        behind += turned
        # Once reordered it has no time. In which order its floats are, no layer asks.
        axes = tuple(steps if a == g.TIME and turned else a for a in b.output.axes)
        bound.append(replace(b, output=replace(b.output, axes=axes, clock=g.TIME, time=None)))
    layers = [*before, *graph.layers, *behind]
    made = g.Graph(inputs, outputs, layers, graph.provenance, bindings=bound)
    made.infer()
    return made


def _with_time(v: g.Value, steps: int | None, call: int) -> g.Value:
    """A value with the time of the model, which had some steps of its own or None."""
    axes = list(v.axes)
    if steps != 1:
        axes = [steps or 0 if a == g.TIME else a for a in axes]
        axes.insert(axes.index(g.BATCH) + 1 if g.BATCH in axes else 0, g.TIME)
    return replace(v, axes=tuple(axes), time=None, clock=g.TIME, call=call)


def _order(v: g.Value, steps: int) -> np.ndarray:
    """For each float of a row as layers see it, step by step: its place in the source's array."""
    sizes = [steps if a == g.TIME else int(a) for a in v.axes if a != g.BATCH]
    axes = [a for a in v.axes if a != g.BATCH]
    first = [i for i, a in enumerate(axes) if a == g.TIME]
    rest = [i for i in range(len(axes)) if i not in first]
    return np.arange(int(np.prod(sizes))).reshape(sizes).transpose(first + rest).ravel()


def _plain(place: np.ndarray) -> bool:
    return bool(np.array_equal(place, np.arange(place.size)))


def _reorder_input(v: g.Value, specs: Mapping[str, g.Spec]) -> tuple[str, list[g.Layer]]:
    """Layers that make steps of an input whose steps do not lie one behind the other."""
    if g.TIME not in v.axes or v.time == 1 or _plain(order := _order(v, v.time or 1)):
        return v.name, []
    row, steps = _free(f"{v.name}/row", specs), _free(f"{v.name}/steps", specs)
    index = tuple(int(i) for i in order)
    return steps, [
        g.Select(name=row, inputs=(v.name,), outputs=(row,), index=index),
        g.Unflatten(name=steps, inputs=(row,), outputs=(steps,), count=v.time or 1),
    ]


def _reorder(
    graph: g.Graph, v: g.Value, specs: Mapping[str, g.Spec], place: np.ndarray
) -> list[g.Layer]:
    """Layers that put a row's floats in another order; the value itself becomes what they make."""
    if _plain(place):
        return []
    inner = _free(f"{v.name}/made", specs)
    for layer in graph.layers:
        layer.rename({v.name: inner})
    layers: list[g.Layer] = []
    row = inner
    if specs[v.name].time is not None:
        row = _free(f"{v.name}/row", specs)
        layers.append(g.Flatten(name=row, inputs=(inner,), outputs=(row,)))
    index = tuple(int(i) for i in place)
    name = _free(f"{v.name}/order", specs)
    layers.append(g.Select(name=name, inputs=(row,), outputs=(v.name,), index=index))
    return layers


def _free(name: str, specs: Mapping[str, g.Spec]) -> str:
    while name in specs:
        name += "'"
    return name
