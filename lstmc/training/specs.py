"""What is to be trained and how, as plain values: what an Engine is made from.

A mistake in one of them is found here, when it is made, not in the middle of a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import RangeError, UnknownNameError

LOSSES = (
    "mse",
    "mae",
    "huber",
    "binary_crossentropy",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
)
OPTIMIZERS = ("sgd", "rmsprop", "adam")
DROPOUTS = ("element", "steps", "recurrent")


def number(
    what: str,
    value: object,
    low: float = -math.inf,
    below: float = math.inf,
    *,
    more: bool = False,
    up_to: float | None = None,
) -> float:
    """A finite number from ``low`` (with ``more``: above it) to ``up_to``, or under ``below``.

    RangeError, naming ``what``, for all else, and for what is no number.
    """
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    sound = math.isfinite(found) and (found > low if more else found >= low) and found < below
    if not sound or isinstance(value, (str, bytes)) or (up_to is not None and found > up_to):
        bounds = [f"{'above' if more else 'at least'} {low:g}"] if low > -math.inf else []
        bounds += [f"below {below:g}"] if below < math.inf else []
        bounds += [f"at most {up_to:g}"] if up_to is not None else []
        words = " and ".join(bounds)
        raise RangeError(f"{what} is {value!r}, expected a number{' ' if words else ''}{words}")
    return found


def known(what: str, name: object, names: tuple[str, ...] | list[str]) -> None:
    """UnknownNameError with the list of names, unless ``name`` is one of them."""
    if name not in names:
        raise UnknownNameError(f"unknown {what} {name!r}; known are {', '.join(sorted(names))}")


@dataclass(frozen=True)
class Loss:
    """The loss of one output.

    Of the elements (mse, mae, binary_crossentropy: means over the last axis; huber, the same) one
    number a step is made, and of the steps the mean; the formulas are those of Keras 3.

    Args:
        kind: one of :data:`LOSSES`.
        delta: huber only: where it turns from a square into a line; above 0.
        label_smoothing: cross-entropies of given distributions only; 0 to 1.
        from_logits: cross-entropies only: the output is not a probability yet.

    Raises:
        UnknownNameError: another kind. RangeError: a number outside its range.
    """

    kind: str
    delta: float = 1.0
    label_smoothing: float = 0.0
    from_logits: bool = False

    def __post_init__(self) -> None:
        known("loss", self.kind, LOSSES)
        number("delta", self.delta, 0, more=True)
        number("label_smoothing", self.label_smoothing, 0, up_to=1)


@dataclass(frozen=True)
class Optimizer:
    """How gradients become new weights; the formulas are those of Keras 3.

    Args:
        kind: one of :data:`OPTIMIZERS`. AdamW is adam with a weight_decay.
        learning_rate: at least 0; what a call of the engine gives takes its place.
        momentum: sgd and rmsprop; 0 up to, not including, 1.
        nesterov: sgd only.
        rho: rmsprop: how much of the old mean square is kept.
        beta_1, beta_2: adam: how much of the old means is kept.
        epsilon: rmsprop and adam: added to the root.
        weight_decay: decoupled: ``w -= learning_rate * weight_decay * w``, of every optimizer.
        centered: rmsprop: the mean gradient's square is taken off the mean square.
        amsgrad: adam: the largest mean square so far.
        clipnorm, clipvalue, global_clipnorm: at most one of them: the largest norm of each
            tensor's gradient, the largest element, the largest norm of all gradients together.

    Raises:
        UnknownNameError: another kind. RangeError: a number outside its range, two ways of
            clipping.
    """

    kind: str
    learning_rate: float = 0.001
    momentum: float = 0.0
    nesterov: bool = False
    rho: float = 0.9
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    weight_decay: float = 0.0
    centered: bool = False
    amsgrad: bool = False
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None

    def __post_init__(self) -> None:
        known("optimizer", self.kind, OPTIMIZERS)
        number("learning_rate", self.learning_rate, 0)
        for name in ("momentum", "rho", "beta_1", "beta_2"):
            number(name, getattr(self, name), 0, 1)
        number("epsilon", self.epsilon, 0)
        number("weight_decay", self.weight_decay, 0)
        clips = {n: getattr(self, n) for n in ("clipnorm", "clipvalue", "global_clipnorm")}
        given = {n: v for n, v in clips.items() if v is not None}
        if len(given) > 1:
            raise RangeError(f"{' and '.join(given)} given: gradients are clipped in one way only")
        for name, value in given.items():
            number(name, value, 0, more=True)


@dataclass(frozen=True)
class Dropout:
    """Numbers dropped in training, at the first input of a layer of the graph.

    Inverted: what is kept is divided by ``1 - rate``.

    Args:
        layer: the layer's name.
        kind: "element", a mask for each number; "steps", one mask [batch, features] for all steps;
            "recurrent", one mask [batch, units] of h in every step of a recurrent layer.
        rate: the part that is dropped, 0 up to, not including, 1.

    Raises:
        UnknownNameError: another kind. RangeError: a rate outside its range.
    """

    layer: str
    kind: str
    rate: float

    def __post_init__(self) -> None:
        known("kind of dropout", self.kind, DROPOUTS)
        number("rate", self.rate, 0, 1)


__all__ = ["DROPOUTS", "LOSSES", "OPTIMIZERS", "Dropout", "Loss", "Optimizer"]
