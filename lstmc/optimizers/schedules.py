"""Learning rates that change with the step, by Keras's names and formulas.

Each is a function of the number of steps done, in float64. Any other function of it will do as
well: ``Adam(lambda step: 1e-3 / (1 + step))``.

Roots and cosines are our own, not libm's: a learning rate, and with it the weights, must have the
same bits on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Context, Decimal, Overflow

from ..errors import RangeError
from ..training.specs import number


class LearningRateSchedule:
    """Base class: ``schedule(step)`` is the rate of the step after ``step`` steps."""

    def __call__(self, step: int) -> float:
        raise NotImplementedError


class ExponentialDecay(LearningRateSchedule):
    """``initial * decay_rate ** (step / decay_steps)``; ``staircase``: the exponent is whole."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
    ) -> None:
        self.initial = number("initial_learning_rate", initial_learning_rate, 0)
        self.steps = number("decay_steps", decay_steps, 0, more=True)
        self.rate = number("decay_rate", decay_rate, 0, more=True)
        self.staircase = staircase

    def __call__(self, step: int) -> float:
        passed = step / self.steps
        return self.initial * power(self.rate, math.floor(passed) if self.staircase else passed)


class InverseTimeDecay(LearningRateSchedule):
    """``initial / (1 + decay_rate * step / decay_steps)``; ``staircase``: the quotient is whole."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
    ) -> None:
        self.initial = number("initial_learning_rate", initial_learning_rate, 0)
        self.steps = number("decay_steps", decay_steps, 0, more=True)
        self.rate = number("decay_rate", decay_rate, 0)
        self.staircase = staircase

    def __call__(self, step: int) -> float:
        passed = step / self.steps
        return self.initial / (1 + self.rate * (math.floor(passed) if self.staircase else passed))


class PolynomialDecay(LearningRateSchedule):
    """From ``initial`` to ``end`` in ``decay_steps``: ``(initial - end) * (1 - p) ** power + end``.

    p is the part of the steps that is done, at most 1; with ``cycle`` the steps grow to their next
    multiple instead.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
    ) -> None:
        self.initial = number("initial_learning_rate", initial_learning_rate, 0)
        self.steps = number("decay_steps", decay_steps, 0, more=True)
        self.end = number("end_learning_rate", end_learning_rate, 0)
        self.power = number("power", power, 0, more=True)
        self.cycle = cycle

    def __call__(self, step: int) -> float:
        steps = self.steps
        if self.cycle:
            steps *= max(math.ceil(step / steps), 1)
        left = 1 - min(step / steps, 1.0)
        return (self.initial - self.end) * power(left, self.power) + self.end


class PiecewiseConstantDecay(LearningRateSchedule):
    """``values[i]`` up to and including step ``boundaries[i]``, then the next; one value more than
    boundaries."""

    def __init__(self, boundaries: Sequence[int], values: Sequence[float]) -> None:
        self.boundaries = [number("a boundary", b) for b in boundaries]
        self.values = [number("a value", v, 0) for v in values]
        if len(self.values) != len(self.boundaries) + 1:
            raise RangeError(
                f"{len(self.boundaries)} boundaries and {len(self.values)} values: expected one "
                "value more than boundaries"
            )
        if any(a >= b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise RangeError(f"the boundaries {list(boundaries)} do not ascend")

    def __call__(self, step: int) -> float:
        return self.values[sum(step > b for b in self.boundaries)]


class CosineDecay(LearningRateSchedule):
    """Half a cosine from ``initial`` to ``alpha`` times it in ``decay_steps``, then constant.

    With a ``warmup_target`` the rate first rises to it in a line, in ``warmup_steps``, and the
    cosine goes down from there (Loshchilov and Hutter 2016).
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        warmup_target: float | None = None,
        warmup_steps: float = 0,
    ) -> None:
        self.initial = number("initial_learning_rate", initial_learning_rate, 0)
        self.steps = number("decay_steps", decay_steps, 0, more=True)
        self.alpha = number("alpha", alpha, 0, up_to=1)
        self.target = None if warmup_target is None else number("warmup_target", warmup_target, 0)
        self.warmup = 0.0 if self.target is None else number("warmup_steps", warmup_steps, 0)

    def __call__(self, step: int) -> float:
        top = self.initial if self.target is None else self.target
        if step < self.warmup:
            return (top - self.initial) * (step / self.warmup) + self.initial
        part = min((step - self.warmup) / self.steps, 1.0)
        return top * ((1 - self.alpha) * 0.5 * (1 + half_turn_cosine(part)) + self.alpha)


_POWERS = Context(prec=25, traps=[Overflow])


def power(base: float, exponent: float) -> float:
    """``base ** exponent`` for base >= 0, the same on every machine: in decimals, then rounded."""
    if base == 0:
        return 0.0 if exponent else 1.0
    try:
        return float(_POWERS.power(Decimal(base), Decimal(exponent)))
    except Overflow:
        return math.inf


def half_turn_cosine(part: float) -> float:
    """cos(pi * part) for part in 0 .. 1, the same on every machine: sin of a quarter at most, by
    its series. Within 1e-15."""
    if part > 0.5:
        return -half_turn_cosine(1 - part)
    if part > 0.25:
        return _series(math.pi * (0.5 - part), 1)
    return _series(math.pi * part, 0)


def _series(x: float, first: int) -> float:
    """sin (first 1) or cos (first 0) of 0 <= x <= pi / 4."""
    term = x if first else 1.0
    total, n = 0.0, first
    while total + term != total:
        total += term
        term *= -x * x / ((n + 1) * (n + 2))
        n += 2
    return total


__all__ = [
    "CosineDecay",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
]
