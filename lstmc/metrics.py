"""Metrics by Keras's names: what ``compile(metrics=[...])`` takes, beside functions.

    model.compile(..., metrics=["mae", "accuracy", lstmc.metrics.Precision(0.7), my_function])

A metric gathers what it needs in float64 over the batches of an epoch, so that the cut into batches
makes no difference but of rounding. ``accuracy`` is the accuracy that fits the loss: of classes by
number, of one-hot classes, or of one yes or no. A function ``f(y_true, y_pred)`` of numpy arrays
gives a number, or one for each row (and step), of which the mean is taken.

Arrays are [batch, features] or [batch, time, features], y_true of classes by number without the
last axis; sample weights are [batch] or [batch, time].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .training.decisions import AUC, Precision, Recall
from .training.gathering import Array, Mean, MeanOf, Metric
from .training.names import find
from .training.specs import Loss, number

EPSILON = 1e-7  # Keras's, which keeps logarithms and quotients finite


class MeanSquaredError(Mean):
    """mean((y - t)²)."""

    direction, title = "down", "mean_squared_error"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.mean(np.square(_difference(y_true, y_pred)), -1)


class RootMeanSquaredError(MeanSquaredError):
    """The root of the mean squared error over all batches."""

    title = "root_mean_squared_error"

    def result(self) -> float:
        return float(np.sqrt(super().result()))


class MeanAbsoluteError(Mean):
    """mean(|y - t|)."""

    direction, title = "down", "mean_absolute_error"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.mean(np.abs(_difference(y_true, y_pred)), -1)


class MeanAbsolutePercentageError(Mean):
    """100 mean(|y - t| / |t|), |t| at least 1e-7."""

    direction, title = "down", "mean_absolute_percentage_error"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        size = np.maximum(np.abs(y_true), EPSILON, dtype=np.float64)
        return 100 * np.mean(np.abs(_difference(y_true, y_pred)) / size, -1)


class MeanSquaredLogarithmicError(Mean):
    """mean((log(1 + y) - log(1 + t))²), both at least 1e-7."""

    direction, title = "down", "mean_squared_logarithmic_error"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        t, y = (np.log1p(np.maximum(a, EPSILON, dtype=np.float64)) for a in (y_true, y_pred))
        return np.mean(np.square(y - t), -1)


class CosineSimilarity(Mean):
    """The cosine of the angle between target and output."""

    direction, title = "up", "cosine_similarity"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        t, y = np.asarray(y_true, np.float64), np.asarray(y_pred, np.float64)
        norms = [np.sqrt(np.maximum((a * a).sum(-1), EPSILON**2)) for a in (t, y)]
        return (t * y).sum(-1) / (norms[0] * norms[1])


class BinaryAccuracy(Mean):
    """How often target and output lie on the same side of ``threshold``."""

    direction, title = "up", "binary_accuracy"

    def __init__(self, name: str | None = None, threshold: float = 0.5) -> None:
        self.threshold = number("threshold", threshold, 0, up_to=1)
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.mean(y_true == (y_pred > self.threshold), -1)


class CategoricalAccuracy(Mean):
    """How often the largest output is that of the target's largest."""

    direction, title = "up", "categorical_accuracy"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.argmax(y_true, -1) == np.argmax(y_pred, -1)


class SparseCategoricalAccuracy(Mean):
    """How often the largest output is that of the class that the target says."""

    direction, title = "up", "sparse_categorical_accuracy"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return _numbers(y_true, y_pred) == np.argmax(y_pred, -1)


class TopKCategoricalAccuracy(Mean):
    """How often fewer than ``k`` outputs are larger than that of the target's largest."""

    direction, title = "up", "top_k_categorical_accuracy"

    def __init__(self, k: int = 5, name: str | None = None) -> None:
        self.k = int(number("k", k, 1))
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return self._within(np.argmax(y_true, -1), y_pred)

    def _within(self, classes: Array, y_pred: Array) -> Array:
        own = np.take_along_axis(y_pred, classes[..., None].astype(np.intp), -1)
        return np.isfinite(own[..., 0]) & ((y_pred > own).sum(-1) < self.k)


class SparseTopKCategoricalAccuracy(TopKCategoricalAccuracy):
    """The same of the class that the target says."""

    title = "sparse_top_k_categorical_accuracy"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return self._within(_numbers(y_true, y_pred), y_pred)


class BinaryCrossentropy(Mean):
    """The loss of this name, as a metric."""

    direction, title = "down", "binary_crossentropy"

    def __init__(
        self, name: str | None = None, from_logits: bool = False, label_smoothing: float = 0.0
    ) -> None:
        self.from_logits = from_logits
        self.smoothing = number("label_smoothing", label_smoothing, 0, up_to=1)
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        t = np.asarray(y_true, np.float64) * (1 - self.smoothing) + 0.5 * self.smoothing
        y = np.asarray(y_pred, np.float64)
        if self.from_logits:  # log(1 + e^-y) + (1 - t) y, without overflow
            return np.mean(np.maximum(y, 0) - y * t + np.log1p(np.exp(-np.abs(y))), -1)
        y = np.clip(y, EPSILON, 1 - EPSILON)
        return -np.mean(t * np.log(y) + (1 - t) * np.log1p(-y), -1)


class CategoricalCrossentropy(Mean):
    """The loss of this name, as a metric."""

    direction, title = "down", "categorical_crossentropy"

    def __init__(
        self, name: str | None = None, from_logits: bool = False, label_smoothing: float = 0.0
    ) -> None:
        self.from_logits = from_logits
        self.smoothing = number("label_smoothing", label_smoothing, 0, up_to=1)
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        smooth = self.smoothing
        t = np.asarray(y_true, np.float64) * (1 - smooth) + smooth / y_pred.shape[-1]
        return -(t * _logarithms(y_pred, self.from_logits)).sum(-1)


class SparseCategoricalCrossentropy(Mean):
    """The loss of this name, as a metric."""

    direction, title = "down", "sparse_categorical_crossentropy"

    def __init__(self, name: str | None = None, from_logits: bool = False) -> None:
        self.from_logits = from_logits
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        classes = _numbers(y_true, y_pred)[..., None].astype(np.intp)
        logarithms = _logarithms(y_pred, self.from_logits)
        return -np.take_along_axis(logarithms, classes, -1)[..., 0]


METRICS: dict[str, Callable[[], Metric]] = {
    "mean_squared_error": MeanSquaredError,
    "root_mean_squared_error": RootMeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "mean_absolute_percentage_error": MeanAbsolutePercentageError,
    "mean_squared_logarithmic_error": MeanSquaredLogarithmicError,
    "cosine_similarity": CosineSimilarity,
    "binary_accuracy": BinaryAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "top_k_categorical_accuracy": TopKCategoricalAccuracy,
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy,
    "binary_crossentropy": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "precision": Precision,
    "recall": Recall,
    "auc": AUC,
}
ALIASES = {
    "mse": "meansquarederror",
    "rmse": "rootmeansquarederror",
    "mae": "meanabsoluteerror",
    "mape": "meanabsolutepercentageerror",
    "msle": "meansquaredlogarithmicerror",
    "bce": "binarycrossentropy",
}


def get(metric: object, loss: Loss | None = None, features: int = 0) -> Metric:
    """A metric by name or of a function, or the metric itself.

    Args:
        metric: a name, called so in logs too; a function; a :class:`Metric`.
        loss, features: those of the output, which say what "accuracy" is.

    Raises:
        UnknownNameError: with the known names.
    """
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, type) and issubclass(metric, Metric):
        made: Metric = metric()  # type: ignore[call-arg]
        return made
    if callable(metric):
        return MeanOf(metric)
    kinds = METRICS
    if isinstance(metric, str) and metric.lower() in ("accuracy", "acc"):
        metric_class: type[Mean] = CategoricalAccuracy
        if loss is not None and loss.kind == "sparse_categorical_crossentropy":
            metric_class = SparseCategoricalAccuracy
        elif features == 1:
            metric_class = BinaryAccuracy
        kinds = {"accuracy": metric_class, "acc": metric_class}
    made = find("metric", metric, kinds, {"acc": "acc", "accuracy": "accuracy", **ALIASES})()
    made.name = str(metric)
    return made


def _difference(y_true: Array, y_pred: Array) -> Array:
    return np.subtract(y_pred, y_true, dtype=np.float64)


def _numbers(y_true: Array, y_pred: Array) -> Array:
    """Targets that are numbers of classes, without a last axis of one."""
    return y_true[..., 0] if y_true.ndim == y_pred.ndim else y_true


def _logarithms(y_pred: Array, from_logits: bool) -> Array:
    y = np.asarray(y_pred, np.float64)
    if from_logits:
        y = y - y.max(-1, keepdims=True)
        return y - np.log(np.exp(y).sum(-1, keepdims=True))
    return np.log(np.clip(y / y.sum(-1, keepdims=True), EPSILON, 1 - EPSILON))


__all__ = [*sorted(c.__name__ for c in METRICS.values()), "Mean", "MeanOf", "Metric", "get"]  # type: ignore[attr-defined]
