"""LSTM, GRU and RNN: one frame (direction, mask, lengths, initial state), three cells.

inputs (x, mask, h0, c0): x with time, I features. The others are optional, None or left out at the
end: mask has 1 feature and the steps of x, and where it is 0 the state stands still; h0 and c0
have no time, and are the state that each call starts from. A layer without them, or with ones that
are fixed (:class:`Fill`), starts from zero or from those, or goes on where the call before ended.

outputs (sequence, h, c): the hidden state of every step, and the last one (and the last cell
state). Where a step is masked, or lies beyond a row's length, the state stays as it was, and the
sequence is zero there; with ``hold`` a masked step instead repeats the output of the step before
it, zero if there is none (Keras).

``reverse`` goes through the steps from the last one to the first; a step's output stays at its own
place. ``clip`` bounds every pre-activation to [-clip, clip]; 0 is no bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .base import Layer, option, panels, param
from .functions import FLOAT32_MAX, SIGMOID, TANH, Fn
from .values import Spec


@dataclass(kw_only=True)
class Recurrent(Layer):
    """What the three have in common."""

    gates: ClassVar[int]
    states: ClassVar[tuple[str, ...]]
    if TYPE_CHECKING:  # fields of each cell, which says in what order a file stores them
        weight_ih: np.ndarray
        weight_hh: np.ndarray
        reverse: bool
        hold: bool
        clip: float

    def __post_init__(self) -> None:
        super().__post_init__()
        n = self.gates
        size = f"{n} * hidden_size" if n > 1 else "hidden_size"
        self._matrix("weight_ih", f"[{size}, input_size]", n)
        self._check("weight_hh", (n * self.hidden_size, self.output_size))
        if not 0 <= self.clip <= FLOAT32_MAX:
            raise self.error(f"clip is {self.clip}, expected a positive number, or 0 for none")

    @property
    def hidden_size(self) -> int:
        return self.weight_ih.shape[0] // self.gates

    @property
    def output_size(self) -> int:
        """Features of h: the hidden size, or what a projection makes of it."""
        return self.hidden_size

    @property
    def input_size(self) -> int:
        return self.weight_ih.shape[1]

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Features of each state: h, and c of an LSTM."""
        return (self.output_size, self.hidden_size)[: len(self.states)]

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        x, mask, *initial = (*specs, *(None,) * (2 + len(self.states)))[: 2 + len(self.states)]
        steps = self._timed(x)
        self._features(x, self.input_size)
        if mask is not None:
            if mask.features != 1:
                raise self.error(f"its mask has {mask.features} features, expected 1")
            self._same_steps(steps, self._timed(mask))
        for name, spec, size in zip(self.states, initial, self.state_sizes, strict=True):
            if spec is not None and spec != Spec(size):
                raise self.error(f"{name}0 is {spec}, expected {size} features without time")
        return Spec(self.output_size, steps), *(Spec(n) for n in self.state_sizes)

    def whole(self, *specs: Any) -> str:
        if self.reverse:
            return "it goes backwards in time"
        if any(s is not None and not s.fixed for s in specs[2:]):
            return "its initial state is an input"
        if self.hold and specs[1:2] != (None,) and any(s is not None for s in specs[2:]):
            return "its masked steps repeat the last output, which must not be its initial state"
        return ""

    def optional(self, i: int) -> str | None:
        """Input i by name, None if it is absent."""
        return self.inputs[i] if i < len(self.inputs) else None

    def multiply_adds(self, *specs: Any) -> int:
        return sum(a.size for _, meta, a in self.tensors() if a is not None and a.ndim == 2)


@dataclass(kw_only=True)
class LSTM(Recurrent):
    """Long short-term memory; gates in the order i f g o.

    i, f, o = gate(W x + R h + b), g = candidate(W x + R h + b)
    c' = f c + i g, h' = o output(c')

    weight_ih [4H, I], weight_hh [4H, P], bias [4H] float32; P, the features of h, is H unless there
    is a projection.

    Peepholes (Gers and Schmidhuber 2000), added to the pre-activations: ``peephole`` [3H],
    diagonal, of the gates i f o; or ``weight_ch`` [4H, H], a full matrix, of i f g o. i, f and g
    see the cell state before the step; o sees the one after it, or with ``output_sees_old`` also
    the one before.

    ``coupled``: f = 1 - i (CIFG, Greff et al. 2017; ONNX input_forget). weight_hr [P, H] is a
    projection: h' = weight_hr (o output(c')) (Sak et al. 2014; PyTorch proj_size).
    """

    code: ClassVar[int] = 1
    gates: ClassVar[int] = 4
    states: ClassVar[tuple[str, ...]] = ("h", "c")
    weight_ih: np.ndarray = panels(4)
    weight_hh: np.ndarray = panels(4)
    bias: np.ndarray | None = panels(4, vector=True)
    peephole: np.ndarray | None = panels(3, vector=True, extra=True)
    weight_ch: np.ndarray | None = panels(4, extra=True)
    weight_hr: np.ndarray | None = panels(1, extra=True)
    gate: Fn = param(SIGMOID)
    candidate: Fn = param(TANH)
    output: Fn = param(TANH)
    reverse: bool = option(False)
    hold: bool = option(False)
    clip: float = option(0.0)
    coupled: bool = option(False)
    output_sees_old: bool = option(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        h = self.hidden_size
        self._check("bias", (4 * h,))
        self._check("peephole", (3 * h,))
        self._check("weight_ch", (4 * h, h))
        self._check("weight_hr", (self.output_size, h))
        if self.peephole is not None and self.weight_ch is not None:
            raise self.error("peepholes are diagonal or full, not both")

    @property
    def output_size(self) -> int:
        return self.hidden_size if self.weight_hr is None else self.weight_hr.shape[0]


@dataclass(kw_only=True)
class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014); gates in the order r z n.

    r, z = gate(W x + R h + b)
    n = candidate(W x + b + r (R h + recurrent_bias)) with ``reset_after`` (cuDNN, PyTorch, ONNX
    linear_before_reset), else n = candidate(W x + b + R (r h))
    h' = (1 - z) n + z h

    weight_ih [3H, I], weight_hh [3H, H], bias [3H] float32. recurrent_bias [H] is that of n; those
    of r and z are part of bias, where it makes no difference.
    """

    code: ClassVar[int] = 6
    gates: ClassVar[int] = 3
    states: ClassVar[tuple[str, ...]] = ("h",)
    weight_ih: np.ndarray = panels(3)
    weight_hh: np.ndarray = panels(3)
    bias: np.ndarray | None = panels(3, vector=True)
    recurrent_bias: np.ndarray | None = panels(1, vector=True)
    gate: Fn = param(SIGMOID)
    candidate: Fn = param(TANH)
    reset_after: bool = param(True)
    reverse: bool = option(False)
    hold: bool = option(False)
    clip: float = option(0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("bias", (3 * self.hidden_size,))
        self._check("recurrent_bias", (self.hidden_size,))
        if self.recurrent_bias is not None and not self.reset_after:
            raise self.error("recurrent_bias is for reset_after; add it to the bias of n")


@dataclass(kw_only=True)
class RNN(Recurrent):
    """h' = activation(W x + R h + b) (Elman 1990).

    weight_ih [H, I], weight_hh [H, H], bias [H] float32.
    """

    code: ClassVar[int] = 7
    gates: ClassVar[int] = 1
    states: ClassVar[tuple[str, ...]] = ("h",)
    weight_ih: np.ndarray = panels(1)
    weight_hh: np.ndarray = panels(1)
    bias: np.ndarray | None = panels(1, vector=True)
    activation: Fn = param(TANH)
    reverse: bool = option(False)
    hold: bool = option(False)
    clip: float = option(0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("bias", (self.hidden_size,))


__all__ = ["GRU", "LSTM", "RNN", "Recurrent"]
