"""One step of a recurrent layer over rows that are features, as models of one frame a call have it.

There X is [1, rows, I], rows being such as the frequencies of a spectrum, each with a state of its
own: not the batch, so no recurrent layer. Products at every row are convolutions of one tap.
"""

from __future__ import annotations

import numpy as np

from lstmc import graph as g
from lstmc.errors import ConversionError

from .onnx_layers import Builder, product, take_features
from .onnx_values import FEATURES, Axis, Kind, Node, Tracked, axis_size


def rows_within(x: Tracked, time: int, batch: int) -> bool:
    """X has one step and, where the batch should be, features for sure."""
    rows = [d for d in x.axes[batch] if not d.is_one()]
    alone = axis_size(x.axes[time]) == 1 and all(d.label == FEATURES for d in x.axes[time])
    return bool(rows) and alone and all(d.label == FEATURES and not d.guess for d in rows)


def gru_step(
    b: Builder,
    node: Node,
    x: Tracked,
    w: np.ndarray,
    r: np.ndarray,
    biases: tuple[np.ndarray | None, np.ndarray | None],
    functions: list[g.Fn],
    after: bool,
    batch: int,
) -> list[Kind]:
    """GRU-7, -14, -22: w [3H, I], r [3H, H], biases Wb and Rb [3H] in ONNX's order z r h; ``after``
    is linear_before_reset, ``batch`` the axis of the rows in X."""
    hidden = r.shape[1]
    if node.attr("clip") is not None or node.has(4) or not node.has(5):
        raise node.error("has one step of rows that are features, and a clip, lengths or no state")
    state = node.value(5)
    x = take_features(b, node, x, [batch, 2])
    if len(state.axes) != 3:
        raise node.error(f"its initial state has rank {len(state.axes)}, expected 3")
    state = take_features(b, node, state, [batch, 2])
    rows = product(node, list(x.axes[batch]))
    sizes = [axis_size(a) for a in (x.axes[2], state.axes[batch], state.axes[2])]
    if sizes != [w.shape[1], rows, hidden]:
        raise node.error(f"its X and state have sizes {sizes}, not {[w.shape[1], rows, hidden]}")
    zeros = np.zeros(3 * hidden, np.float32)
    wb, rb = (zeros if a is None else a for a in biases)

    def part(name: str, weights: np.ndarray, gate: int, bias: np.ndarray) -> str:
        own = slice(gate * hidden, (gate + 1) * hidden)
        fields = {"weight": weights[own], "bias": bias[own]}
        return b.add(g.Conv2D, node, name, taps=1, position_taps=1, **fields)

    def combined(op: str, *names: str) -> str:
        return b.add(g.Combine, node, *names, op=op)

    def applied(fn: g.Fn, name: str) -> str:
        return b.add(g.Activation, node, name, activation=fn)

    def gate(i: int) -> str:
        both = combined("add", part(x.name, w, i, wb), part(state.name, r, i, rb))
        return applied(functions[0], both)

    z, reset = gate(0), gate(1)
    if after:
        inner = combined("multiply", reset, part(state.name, r, 2, rb))
    else:
        inner = part(combined("multiply", reset, state.name), r, 2, rb)
    n = applied(functions[1], combined("add", part(x.name, w, 2, wb), inner))
    kept = combined("multiply", z, state.name)
    fresh = combined("multiply", applied(g.Fn("affine", -1.0, 1.0), z), n)
    name = combined("add", kept, fresh)
    order: Axis = (*state.axes[batch], *state.axes[2])
    own = state.axes[batch], state.axes[2]
    last: tuple[Axis, ...] = ((), *own) if batch == 1 else (own[0], (), own[1])
    whole: tuple[Axis, ...] = ((), (), *own) if batch == 1 else (own[0], (), (), own[1])
    made: list[Kind] = [Tracked(name, whole, order), Tracked(name, last, order)]
    return made[: len(node.outputs)]


def refused(node: Node, kind: str) -> ConversionError:
    return node.error(
        f"has one step of rows that are features, each with a state; that is supported for a GRU "
        f"in one direction, not for this {kind}"
    )
