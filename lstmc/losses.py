"""Losses by Keras's class names: what ``compile(loss=...)`` takes, beside their names as strings.

    model.compile(loss=lstmc.losses.Huber(delta=0.5))
    model.compile(loss="huber")

Each makes a plain value; formulas and options are Keras's. A loss is taken over the last axis of
an output and is the mean over rows and steps, of its products with the sample weights if there
are any (``sum_over_batch_size``).
"""

from __future__ import annotations

from .training.names import find
from .training.specs import LOSSES, Loss

ALIASES = {
    "meansquarederror": "mse",
    "meanabsoluteerror": "mae",
    "bce": "binarycrossentropy",
}


def MeanSquaredError() -> Loss:
    """mean((y - t)²)."""
    return Loss("mse")


def MeanAbsoluteError() -> Loss:
    """mean(|y - t|)."""
    return Loss("mae")


def Huber(delta: float = 1.0) -> Loss:
    """mean of d² / 2 where d = |y - t| is at most ``delta``, else of delta d - delta² / 2."""
    return Loss("huber", delta=delta)


def BinaryCrossentropy(from_logits: bool = False, label_smoothing: float = 0.0) -> Loss:
    """mean(-t log y - (1 - t) log(1 - y)); targets lie in 0 .. 1.

    ``from_logits``: the output is the logit, sigmoid's argument. ``label_smoothing``: targets are
    drawn towards 1/2 by this part.
    """
    return Loss("binary_crossentropy", label_smoothing=label_smoothing, from_logits=from_logits)


def CategoricalCrossentropy(from_logits: bool = False, label_smoothing: float = 0.0) -> Loss:
    """sum(-t log y) over the classes, the last axis; targets are one-hot, or probabilities.

    ``from_logits``: the output is softmax's argument. ``label_smoothing``: targets are drawn
    towards equal probabilities by this part.
    """
    return Loss(
        "categorical_crossentropy", label_smoothing=label_smoothing, from_logits=from_logits
    )


def SparseCategoricalCrossentropy(from_logits: bool = False) -> Loss:
    """As :func:`CategoricalCrossentropy`, with targets that are numbers of classes, from 0."""
    return Loss("sparse_categorical_crossentropy", from_logits=from_logits)


def get(loss: object) -> Loss:
    """The loss of a name, or the loss itself; UnknownNameError with the known names."""
    if isinstance(loss, Loss):
        return loss
    return find("loss", loss, {kind: Loss(kind) for kind in LOSSES}, ALIASES)


__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Huber",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "get",
]
