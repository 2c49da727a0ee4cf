"""Optimizers by Keras's class names: what ``compile(optimizer=...)`` takes, beside their names.

    model.compile(optimizer=lstmc.optimizers.Adam(1e-3, clipnorm=1.0), loss="mse")
    model.compile(optimizer="adam", loss="mse")

Formulas and defaults are those of Keras 3. A learning rate is a number, a schedule
(:mod:`lstmc.optimizers.schedules`) or any function of the number of steps done; it can be set at
any time, also while fit runs. What all take: ``weight_decay`` (decoupled: weights shrink by
``learning_rate * weight_decay`` of themselves in each step) and one of ``clipnorm``,
``clipvalue`` and ``global_clipnorm``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from ..training.names import find
from ..training.specs import Optimizer as Spec
from ..training.specs import number
from . import schedules

Rate = float | Callable[[int], float]


class Optimizer:
    """Base class: a rate that may change, settings that don't."""

    kind: ClassVar[str]

    def __init__(
        self,
        learning_rate: Rate,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
        **settings: Any,
    ) -> None:
        self.name = name or type(self).__name__.lower()
        self.iterations = 0  # steps done
        self.learning_rate = learning_rate
        self.settings = {
            "weight_decay": 0.0 if weight_decay is None else weight_decay,
            "clipnorm": clipnorm,
            "clipvalue": clipvalue,
            "global_clipnorm": global_clipnorm,
            **settings,
        }
        self.spec()  # a setting out of its range is found now

    @property
    def learning_rate(self) -> float:
        """The rate of the next step. May be set to a number, a schedule, a function of the step."""
        if not callable(self._rate):
            return self._rate
        return number(
            f"the learning rate of step {self.iterations}", self._rate(self.iterations), 0
        )

    @learning_rate.setter
    def learning_rate(self, rate: Rate) -> None:
        self._rate = rate if callable(rate) else number("learning_rate", rate, 0)

    lr = learning_rate

    @property
    def scheduled(self) -> bool:
        """The rate is a function of the step."""
        return callable(self._rate)

    def spec(self) -> Spec:
        """What an engine takes."""
        rate = 0.0 if callable(self._rate) else self._rate
        return Spec(self.kind, rate, **self.settings)

    def __repr__(self) -> str:
        rate = self._rate if callable(self._rate) else f"{self._rate:g}"
        return f"<lstmc.optimizers.{type(self).__name__} learning_rate={rate}>"


class SGD(Optimizer):
    """``w -= rate * g``; with ``momentum`` ``v = momentum * v - rate * g, w += v``, with
    ``nesterov`` ``w += momentum * v - rate * g`` instead."""

    kind = "sgd"

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, momentum=momentum, nesterov=nesterov, **options)


class RMSprop(Optimizer):
    """``v = rho * v + (1 - rho) * g²``, ``w -= rate * g / sqrt(v + epsilon)``; ``centered`` takes
    the square of the mean gradient off v (Hinton 2012)."""

    kind = "rmsprop"

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(
            learning_rate, rho=rho, momentum=momentum, epsilon=epsilon, centered=centered, **options
        )


class Adam(Optimizer):
    """Means of gradients and of their squares, unbiased (Kingma and Ba 2014); ``amsgrad`` divides
    by the largest mean square so far (Reddi et al. 2018)."""

    kind = "adam"

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(
            learning_rate,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            amsgrad=amsgrad,
            **options,
        )


class AdamW(Adam):
    """Adam with a weight decay of 0.004 (Loshchilov and Hutter 2017)."""

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **options
        )


def get(optimizer: object) -> Optimizer:
    """A new optimizer by name, or the optimizer itself; UnknownNameError with the known names."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    known: dict[str, type[Any]] = {"adam": Adam, "adamw": AdamW, "rmsprop": RMSprop, "sgd": SGD}
    made: Optimizer = find("optimizer", optimizer, known, {})()
    return made


__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "get", "schedules"]
