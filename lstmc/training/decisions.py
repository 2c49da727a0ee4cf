"""Metrics of outputs above a threshold or not: precision, recall, the area under a curve."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..errors import RangeError, ShapeError
from .gathering import Array, Metric, quotient, spread
from .specs import number

EPSILON = 1e-7  # what Keras's first and last threshold lie beyond 0 and 1


class Decisions(Metric):
    """Counts of what is told by comparing outputs with ``thresholds``."""

    direction = "up"

    def __init__(self, name: str, thresholds: Iterable[float], class_id: int | None) -> None:
        self.thresholds = np.array(list(thresholds), np.float64)
        self.class_id = None if class_id is None else int(number("class_id", class_id, 0))
        super().__init__(name)

    def reset_state(self) -> None:
        names = ("true_positives", "false_positives", "positives", "negatives")
        self.sums = {n: np.zeros(self.thresholds.size) for n in names}

    def update_state(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> None:
        if y_true.shape != y_pred.shape:
            raise ShapeError(
                f"metric '{self.name}': targets are {y_true.shape}, outputs {y_pred.shape}: give "
                "targets of 0 and 1 for each output"
            )
        if self.class_id is not None:
            if self.class_id >= y_pred.shape[-1]:
                raise RangeError(
                    f"metric '{self.name}': there is no class {self.class_id} in "
                    f"{y_pred.shape[-1]} outputs"
                )
            kept = slice(self.class_id, self.class_id + 1)
            y_true, y_pred = y_true[..., kept], y_pred[..., kept]
        weights = np.ones(y_pred.shape)
        if sample_weight is not None:
            weights = np.broadcast_to(spread(sample_weight, y_pred), y_pred.shape)
        actual, scores = y_true.astype(bool).ravel(), y_pred.astype(np.float64).ravel()
        kinds = {"true_positives": actual, "false_positives": ~actual}
        for name, kind in kinds.items():
            # All outputs of a kind that are above each threshold: of the sorted, those from its
            # place on.
            order = np.argsort(scores[kind], kind="stable")
            above = np.cumsum(weights.ravel()[kind][order][::-1])[::-1]
            places = np.searchsorted(scores[kind][order], self.thresholds, side="right")
            self.sums[name] += np.append(above, 0.0)[places]
            total = "positives" if kind is actual else "negatives"
            self.sums[total] += weights.ravel()[kind].sum()


class Precision(Decisions):
    """Of the outputs above the threshold, the part whose target is 1."""

    def __init__(
        self, thresholds: float = 0.5, class_id: int | None = None, name: str | None = None
    ) -> None:
        threshold = number("thresholds", thresholds, 0, up_to=1)
        super().__init__(name or "precision", [threshold], class_id)

    def result(self) -> float:
        right = self.sums["true_positives"]
        return quotient(right, right + self.sums["false_positives"])


class Recall(Decisions):
    """Of the targets that are 1, the part whose output is above the threshold."""

    def __init__(
        self, thresholds: float = 0.5, class_id: int | None = None, name: str | None = None
    ) -> None:
        threshold = number("thresholds", thresholds, 0, up_to=1)
        super().__init__(name or "recall", [threshold], class_id)

    def result(self) -> float:
        return quotient(self.sums["true_positives"], self.sums["positives"])


class AUC(Decisions):
    """The area under the ROC curve, by trapezoids over ``num_thresholds`` thresholds."""

    def __init__(self, num_thresholds: int = 200, name: str | None = None) -> None:
        n = int(number("num_thresholds", num_thresholds, 2, up_to=1 << 20))
        inner = [i / (n - 1) for i in range(1, n - 1)]
        super().__init__(name or "auc", [-EPSILON, *inner, 1 + EPSILON], None)

    def result(self) -> float:
        s = self.sums
        hits = s["true_positives"] / np.maximum(s["positives"], np.finfo(np.float64).tiny)
        alarms = s["false_positives"] / np.maximum(s["negatives"], np.finfo(np.float64).tiny)
        return float(((alarms[:-1] - alarms[1:]) * (hits[:-1] + hits[1:]) / 2).sum())


__all__ = ["AUC", "Precision", "Recall"]
