"""The end of a conversion: steps and features of every value, once all layers are there.

Layers get their clocks as :mod:`clocks` says. What forward tells about numbers of steps comes in:
that Flatten and then Linear take so many numbers, or that two sequences are equally long.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from lstmc import graph as g
from lstmc.errors import ConversionError

from .torch_values import Context

Fixed = dict[str | None, int]  # the steps of clocks, as far as they are known


@dataclasses.dataclass(frozen=True)
class Example:
    """The time steps of an example by input; and how to give one, where it is missing."""

    steps: dict[str, int]
    advice: str = "pass example=, an array that the module takes"


class _Again(Exception):
    """Something about the inputs was learned: go through the layers again."""


def finish(ctx: Context, inputs: list[g.Value], example: Example) -> list[g.Value]:
    """The inputs with their clocks and fixed numbers of steps; fills in what layers lack.

    example: says how many steps there are where a layer needs to know that.
    """
    values, timed = [], 0
    for v in inputs:
        if g.TIME in v.axes:
            clock = f"{g.TIME}{timed}" if timed else g.TIME
            v, timed = dataclasses.replace(v, clock=clock), timed + 1
        values.append(v)
    while True:
        try:
            _walk(ctx, values, example)
            return values
        except g.ClockConflict as e:
            _merge(values, e)
        except g.OpenSteps as e:
            _from_example(values, e.clock, example, str(e))
        except _Again:
            pass


def _walk(ctx: Context, inputs: list[g.Value], example: Example) -> None:
    # A clock whose steps are known counts as constant while walking, so that all layers are
    # reached; whether it has to be is for clocks.settle.
    specs = {v.name: v.spec for v in inputs}
    fixed: Fixed = {v.clock: v.time for v in inputs if v.clock and v.time}
    named = {v.name: v for v in inputs}

    def check(value: str) -> None:
        for name, count, where in ctx.counts:
            if name == value:
                _count(inputs, specs[value], fixed, count, where, example)

    for name in named:
        check(name)
    for layer in ctx.layers:
        given = [None if n is None else specs[n] for n in layer.inputs]
        if layer.name in ctx.fills:
            ctx.fills[layer.name](layer, [_known(s, fixed) for s in given if s is not None])
        try:
            out = layer.infer(*given)
        except g.OpenSteps:
            out = layer.infer(*(s if s is None else _known(s, fixed) for s in given))
        for made, spec in zip(layer.outputs, out, strict=True):
            if made is not None:
                specs[made] = spec
                check(made)
    for a, b, where in ctx.alike:
        if _known(specs[a], fixed).time != _known(specs[b], fixed).time:
            raise ConversionError(f"{where}: two sequences have different numbers of time steps")


def _known(spec: g.Spec, fixed: Fixed) -> g.Spec:
    """A spec with its number of steps as a constant, where that is known."""
    steps = spec.time
    if steps is None or not fixed.get(steps.clock):
        return spec
    count = steps.count({str(steps.clock): fixed[steps.clock]})
    return dataclasses.replace(spec, time=g.Steps(None, count))


def _count(
    inputs: list[g.Value],
    spec: g.Spec,
    fixed: Fixed,
    count: int,
    where: str,
    example: Example,
) -> None:
    """A value has ``count`` steps: learn from that how many its clock has."""
    known = _known(spec, fixed).time
    assert known is not None
    if known.clock is None:
        if known.add != count:
            raise ConversionError(f"{where}: gets {known.add} time steps, expected {count}")
        return
    if known.every > 1:
        what = f"{where}: takes {count} time steps, which several lengths of the input give"
        _from_example(inputs, known.clock, example, what)
        raise _Again
    if count - known.add < 1:
        raise ConversionError(f"{where}: takes {count} time steps, fewer than there can be")
    _set(inputs, known.clock, time=count - known.add)
    raise _Again


def _from_example(inputs: list[g.Value], clock: str, example: Example, what: str) -> None:
    """The steps of a clock are those of the example."""
    steps = {example.steps[v.name] for v in inputs if v.clock == clock and v.name in example.steps}
    if len(steps) != 1:
        raise ConversionError(f"{what}; {example.advice}") from None
    _set(inputs, clock, time=steps.pop())


def _merge(inputs: list[g.Value], e: g.ClockConflict) -> None:
    """Two clocks are one."""
    times = {v.time for v in inputs if v.clock in (e.first, e.second) and v.time}
    if len(times) > 1:
        raise ConversionError(f"{e}, which have different numbers of time steps") from None
    time = times.pop() if times else None
    _set(inputs, e.first, time=time)
    _set(inputs, e.second, clock=e.first, time=time)


def _set(inputs: list[g.Value], which: str, **changes: Any) -> None:
    for i, v in enumerate(inputs):
        if v.clock == which and g.TIME in v.axes:
            inputs[i] = dataclasses.replace(v, **changes)
