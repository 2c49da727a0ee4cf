"""What metrics have in common: sums over batches, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ShapeError

Array = np.ndarray


class Metric:
    """Base class: sums over batches. A class of your own gives ``sums``, ``update_state`` and
    ``result``; ``direction`` ("up" or "down") tells callbacks what is better."""

    direction: ClassVar[str | None] = None
    sums: dict[str, Array]  # all that is gathered, float64

    def __init__(self, name: str) -> None:
        self.name = name
        self.reset_state()

    def reset_state(self) -> None:
        """Forget all batches."""
        self.sums = {"total": np.zeros(()), "count": np.zeros(())}

    def update_state(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> None:
        """Take a batch into account."""
        raise NotImplementedError

    def result(self) -> float:
        """The value over all batches since the last reset; 0 if there were none."""
        return quotient(self.sums["total"], self.sums["count"])

    def state(self) -> dict[str, Array]:
        """A copy of what has been gathered, for a checkpoint."""
        return {name: a.copy() for name, a in self.sums.items()}

    def restore(self, state: dict[str, Array]) -> None:
        """What :meth:`state` gave; ShapeError if it is another metric's."""
        if {n: a.shape for n, a in state.items()} != {n: a.shape for n, a in self.sums.items()}:
            raise ShapeError(f"the state is not one of the metric '{self.name}'")
        self.sums = {name: a.astype(np.float64) for name, a in state.items()}

    def __repr__(self) -> str:
        return f"<lstmc.metrics.{type(self).__name__} {self.name}>"


class Mean(Metric):
    """The weighted mean of ``values``, one number for each row (and step)."""

    title: ClassVar[str]

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name or self.title)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        raise NotImplementedError

    def update_state(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> None:
        self._add(np.asarray(self.values(y_true, y_pred), np.float64), sample_weight)

    def _add(self, values: Array, weight: Array | None) -> None:
        if weight is None:
            self.sums["total"] += values.sum()
            self.sums["count"] += values.size
        else:
            weights = spread(weight, values)
            self.sums["total"] += (values * weights).sum()
            self.sums["count"] += weights.sum()


class MeanOf(Mean):
    """The mean of what a function ``f(y_true, y_pred)`` gives."""

    def __init__(self, function: Callable[[Array, Array], ArrayLike], name: str | None = None):
        self.function = function
        super().__init__(name or getattr(function, "__name__", type(function).__name__))

    def values(self, y_true: Array, y_pred: Array) -> Array:
        found = np.asarray(self.function(y_true, y_pred))
        if found.dtype.kind not in "fiub" or found.shape != y_pred.shape[: found.ndim]:
            raise ShapeError(
                f"metric '{self.name}' gave {found.dtype} {found.shape} for outputs "
                f"{y_pred.shape}: expected a number, or one for each row (and step)"
            )
        return found

    def update_state(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> None:
        values = np.asarray(self.values(y_true, y_pred), np.float64)
        self._add(values, sample_weight if values.ndim else None)


def spread(weight: Array, values: Array) -> Array:
    """Weights with axes of one added until they broadcast over the values."""
    weight = np.asarray(weight, np.float64)
    if weight.shape != values.shape[: weight.ndim]:
        raise ShapeError(f"sample weights {weight.shape} don't fit values {values.shape}")
    return np.broadcast_to(
        weight.reshape(weight.shape + (1,) * (values.ndim - weight.ndim)), values.shape
    )


def quotient(total: Array, count: Array) -> float:
    total, count = np.sum(total), np.sum(count)
    return float(total / count) if count else 0.0


__all__ = ["Mean", "MeanOf", "Metric", "quotient", "spread"]
