"""Which inputs go step by step together, and which have a fixed number of steps.

Converters give every input with time a clock of its own and let the layers decide: where a layer
joins two sequences their clocks become one, and where a layer needs a fixed number of steps (as
Flatten does) the one that the source fixed becomes a constant.
"""

from __future__ import annotations

import dataclasses

from lstmc import graph as g
from lstmc.errors import ConversionError


def own_clocks(graph: g.Graph) -> None:
    """Give each input with time a clock of its own: "time", "time1", ..."""
    timed = [i for i, v in enumerate(graph.inputs) if g.TIME in v.axes and v.clock is not None]
    for n, i in enumerate(timed):
        clock = g.TIME if n == 0 else f"{g.TIME}{n}"
        graph.inputs[i] = dataclasses.replace(graph.inputs[i], clock=clock)


def settle(graph: g.Graph) -> dict[str, g.Spec]:
    """Merge and fix clocks until the graph fits, in place; returns the spec of every value.

    Raises ConversionError where it can't.
    """
    while True:
        try:
            return graph.infer()
        except g.ClockConflict as e:
            _set(graph, e.second, clock=e.first)
        except g.OpenSteps as e:
            steps = {v.time for v in graph.inputs if v.clock == e.clock and v.time}
            if len(steps) != 1:
                raise ConversionError(
                    f"{e}; give the input a fixed number of steps in the source model"
                ) from None
            _set(graph, e.clock, clock=None, time=steps.pop())


def _set(graph: g.Graph, which: str, **changes: object) -> None:
    for i, v in enumerate(graph.inputs):
        if v.clock == which and g.TIME in v.axes:
            graph.inputs[i] = dataclasses.replace(v, **changes)  # type: ignore[arg-type]
