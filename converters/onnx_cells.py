"""Which recurrent cells a step's terms are: LSTM, GRU in both forms, RNN, in any gate order.

A gate is known by what is done with it, never by its place: the forget gate is the one that
multiplies the old cell state. The equations are those of docs/RECURRENT.md; of what is the same by
algebra, the spellings that exporters and people write are known: ``(1 - z) n + z h``,
``n + z (h - n)``, ``n - z n + z h``, and each with z for 1 - z.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lstmc import graph as g

from . import gates
from .onnx_terms import Apply, Cell, Leaf, Linear, Op, Term, Terms, is_complement, is_minus


@dataclass
class Found:
    """A cell: its states before the step in lstmc's order, its inputs side by side, its fields."""

    kind: type[g.Recurrent]
    states: tuple[Leaf, ...]
    inputs: list[Term]
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass
class Gate:
    """function(W inputs + U h + b), before it is known what else reads the inputs."""

    fn: g.Fn
    inputs: dict[Term, np.ndarray]
    own: np.ndarray
    bias: np.ndarray


def gate(x: Term, own: Term) -> Gate | None:
    """A gate that may see the term ``own`` (h, or r * h) beside inputs."""
    fn, total = (x.fn, x.parts[0]) if isinstance(x, Apply) else (g.LINEAR, x)
    if not isinstance(total, Linear):
        return None
    inputs = dict(zip(total.parts, total.matrices, strict=True))
    zeros = np.zeros((total.width, own.width), np.float32)
    bias = np.zeros(total.width, np.float32) if total.bias is None else total.bias
    return Gate(fn, inputs, inputs.pop(own, zeros), bias)


def splits(parts: tuple[Term, ...]) -> Iterator[tuple[Term, Term]]:
    """Both ways round, where there are two."""
    if len(parts) == 2:
        yield parts
        yield parts[::-1]


def product(x: Term) -> tuple[Term, ...]:
    return x.parts if isinstance(x, Op) and x.op == "multiply" and len(x.parts) == 2 else ()


def addends(x: Term) -> tuple[Term, ...]:
    return x.parts if isinstance(x, Op) and x.op == "add" else ()


def joined(order: str, found: dict[str, Gate]) -> tuple[list[Term], dict[str, Any]]:
    """The gates' inputs, each once, and weights with the gates in an order."""
    inputs = list(dict.fromkeys(p for gate in found.values() for p in gate.inputs))
    rows = {}
    for name, one in found.items():
        zeros = {p: np.zeros((len(one.bias), p.width), np.float32) for p in inputs}
        rows[name] = np.hstack([one.inputs.get(p, zeros[p]) for p in inputs] or [one.own[:, :0]])
    own = {name: one.own for name, one in found.items()}
    bias = {name: one.bias for name, one in found.items()}
    return inputs, {
        "weight_ih": gates.joined(order, rows),
        "weight_hh": gates.joined(order, own),
        "bias": gates.joined(order, bias),
    }


# -------------------------------------------------------------------------------------------- LSTM


def lstm(terms: Terms, after: dict[Leaf, Term], h: Leaf, c: Leaf) -> Found | None:
    """c' = f c + i g, h' = o output(c')."""
    if not h.width == c.width == after[h].width:
        return None
    for kept, new in splits(addends(after[c])):
        for f, old in splits(product(kept)):
            for i, candidate in splits(product(new)):
                for o, seen in splits(product(after[h])):
                    shows = seen.parts[0] if isinstance(seen, Apply) else seen
                    if old is not c or shows is not after[c]:
                        continue
                    output = seen.fn if isinstance(seen, Apply) else g.LINEAR
                    made = _lstm((f, i, candidate, o), h, c, output)
                    if made is not None:
                        return made
    return None


def _lstm(found: tuple[Term, ...], h: Leaf, c: Leaf, output: g.Fn) -> Found | None:
    coupled = is_complement(found[0]) and found[0].parts[0] is found[1]
    roles = ("i" if coupled else "f", "i", "g", "o")
    named = {}
    for role, x in zip(roles, (found[1] if coupled else found[0], *found[1:]), strict=True):
        one = gate(x, h)
        if one is None:
            return None
        named[role] = one
    if coupled:  # f is computed from i
        named["f"] = named["i"]
    if named["i"].fn != named["f"].fn or named["o"].fn != named["i"].fn:
        return None
    inputs, fields = joined("ifgo", named)
    fields |= {"gate": named["i"].fn, "candidate": named["g"].fn, "output": output}
    return Found(g.LSTM, (h, c), inputs, {**fields, "coupled": coupled})


# ---------------------------------------------------------------------------------------- GRU, RNN


def blends(terms: Terms, x: Term, h: Leaf) -> Iterator[tuple[Term, Term, bool]]:
    """x as z h + (1 - z) n: z and n; True where z stands for 1 - z."""
    parts = addends(x)
    for one, other in splits(parts):
        for z, kept in splits(product(one)):
            for rest, n in splits(product(other)):
                if kept is h and is_complement(rest) and rest.parts[0] is z:
                    yield z, n, False  # z h + (1 - z) n
                if n is h and is_complement(rest) and rest.parts[0] is z:
                    yield z, kept, True  # z n + (1 - z) h
        for z, difference in splits(product(other)):
            for plus, minus in splits(addends(difference)):
                if is_minus(minus) and minus.parts[0] is one and plus is h and one is not h:
                    yield z, one, False  # n + z (h - n)
                if one is h and is_minus(minus) and minus.parts[0] is h:
                    yield z, plus, True  # h + z (n - h)
    for i, minus in enumerate(parts if len(parts) == 3 else ()):
        for one, other in splits(parts[:i] + parts[i + 1 :]):
            taken = product(minus.parts[0]) if is_minus(minus) else ()
            for z, kept in splits(product(other)):
                if one in taken and z in taken and one is not z and kept is h and one is not h:
                    yield z, one, False  # n - z n + z h
                if one is h and h in taken and z in taken and z is not h:
                    yield z, kept, True  # h - z h + z n


def candidates(n: Term, h: Leaf) -> Iterator[tuple[Term, Gate, np.ndarray | None]]:
    """n = function(...) of a GRU: r, the gate, and the bias within r (...) if it is reset_after."""
    fn, total = (n.fn, n.parts[0]) if isinstance(n, Apply) else (g.LINEAR, n)
    if isinstance(total, Linear):
        for part in total.parts:
            for r, old in splits(product(part)):
                one = gate(n, part)
                if old is h and one is not None and h not in one.inputs:
                    yield r, one, None
    for outside, reset in splits(addends(total)):
        one = gate(outside, h)
        for r, inner in splits(product(reset)):
            recurrent = gate(inner, h)
            if (
                one is not None
                and one.fn == g.LINEAR
                and recurrent is not None
                and recurrent.fn == g.LINEAR
                and not recurrent.inputs
                and not one.own.any()
            ):
                yield r, Gate(fn, one.inputs, recurrent.own, one.bias), recurrent.bias


def gru(terms: Terms, after: dict[Leaf, Term], h: Leaf) -> Found | None:
    """h' = (1 - z) n + z h, with the reset gate before or after n's recurrent product."""
    for z, n, flipped in blends(terms, after[h], h):
        for r, new, bias in candidates(n, h):
            named = {"r": gate(r, h), "z": gate(z, h), "n": new}
            gates_ = {name: one for name, one in named.items() if one is not None}
            if len(gates_) < 3 or gates_["r"].fn != gates_["z"].fn:
                continue
            if flipped:  # 1 - sigmoid(v) is sigmoid(-v)
                if gates_["z"].fn != g.SIGMOID:
                    continue
                old = gates_["z"]
                inputs = {p: -m for p, m in old.inputs.items()}
                gates_["z"] = Gate(old.fn, inputs, -old.own, -old.bias)
            parts, fields = joined("rzn", gates_)
            fields |= {"gate": gates_["r"].fn, "candidate": new.fn}
            fields |= {"reset_after": bias is not None, "recurrent_bias": bias}
            return Found(g.GRU, (h,), parts, fields)
    return None


def rnn(terms: Terms, after: dict[Leaf, Term], h: Leaf) -> Found | None:
    """h' = function(W x + U h + b)."""
    one = gate(after[h], h)
    if one is None:
        return None
    inputs, fields = joined("h", {"h": one})
    return Found(g.RNN, (h,), inputs, {**fields, "activation": one.fn})


def whole(terms: Terms, after: dict[Leaf, Term], h: Leaf) -> Found | None:
    """A layer of one step in the body, all states of which the loop carries."""
    cell = after[h]
    if not isinstance(cell, Cell) or cell.layer is None or cell.at:
        return None
    x, *states = cell.parts
    for at, s in enumerate(states):
        now = after.get(s) if isinstance(s, Leaf) else None
        if not isinstance(now, Cell) or (now.layer, now.parts, now.at) != (
            cell.layer,
            cell.parts,
            at,
        ):
            return None
    own = [s for s in states if isinstance(s, Leaf)]
    skipped = {"name", "inputs", "outputs", "reverse"}
    fields = {k: v for k, v in vars(cell.layer).items() if k not in skipped}
    return Found(type(cell.layer), tuple(own), [x], fields) if own[0] is h else None


ONE_STATE: tuple[Callable[[Terms, dict[Leaf, Term], Leaf], Found | None], ...] = (whole, gru, rnn)


def match(terms: Terms, after: dict[Leaf, Term]) -> Iterator[Found]:
    """Every cell that some of the states make; ``after`` is what the step makes of each."""
    for h in after:
        for matcher in ONE_STATE:
            found = matcher(terms, after, h)
            if found is not None:
                yield found
        for c in after:
            if c is not h and (found := lstm(terms, after, h, c)) is not None:
                yield found
