"""Metrics against Keras: each by its name, over batches, with weights, for rows and for steps."""

from __future__ import annotations

import numpy as np
import pytest

import lstmc
from lstmc import losses, metrics
from lstmc.training.specs import Loss

keras = pytest.importorskip("keras")

REAL, PART, YES, ONE_HOT, NUMBER = "real", "part", "yes", "one hot", "number"
# Our name and kind of data; Keras's class where its name is another.
CASES = [
    ("mse", REAL, None),
    ("mae", REAL, None),
    ("rmse", REAL, "RootMeanSquaredError"),
    ("mape", REAL, None),
    ("msle", REAL, None),
    ("cosine_similarity", REAL, None),
    ("binary_accuracy", YES, None),
    ("BinaryCrossentropy", YES, None),
    ("precision", YES, None),
    ("recall", YES, None),
    ("auc", YES, "AUC"),
    ("categorical_accuracy", ONE_HOT, None),
    ("categorical_crossentropy", ONE_HOT, None),
    ("TopKCategoricalAccuracy", ONE_HOT, None),
    ("sparse_categorical_accuracy", NUMBER, None),
    ("sparse_categorical_crossentropy", NUMBER, None),
    ("sparse_top_k_categorical_accuracy", NUMBER, None),
]


def drawn(kind: str, rng: np.random.Generator, shape: tuple[int, ...]):
    """Targets and outputs [*shape, 7]; numbers of classes without the last axis."""
    full = (*shape, 7)
    if kind == REAL:
        return (rng.standard_normal(full, np.float32) for _ in range(2))
    y = rng.random(full, np.float32)
    if kind == YES:
        return rng.integers(0, 2, full).astype(np.float32), y
    y /= y.sum(-1, keepdims=True)
    numbers = rng.integers(0, 7, shape)
    return (
        (numbers.astype(np.int32), y)
        if kind == NUMBER
        else (np.eye(7, dtype=np.float32)[numbers], y)
    )


@pytest.mark.parametrize("name, kind, theirs", CASES)
@pytest.mark.parametrize("shape", [(5,), (4, 3)])
@pytest.mark.parametrize("weighted", [False, True])
def test_what_keras_says(name, kind, theirs, shape, weighted):
    rng = np.random.default_rng(len(name) + len(shape))
    own = metrics.get(name)
    other = keras.metrics.get(theirs or name)
    for rows in (5, 2, 1):
        t, y = drawn(kind, rng, (rows, *shape[1:]))
        w = rng.random((rows, *shape[1:]), np.float32) if weighted else None
        own.update_state(t, y, w)
        other.update_state(t, y, w)
    assert own.name == name
    assert own.result() == pytest.approx(float(other.result()), rel=2e-6, abs=1e-7)
    direction = getattr(other, "_direction", own.direction)
    assert own.direction == direction


@pytest.mark.parametrize("own, theirs", [
    (metrics.BinaryCrossentropy(from_logits=True), {"from_logits": True}),
    (metrics.BinaryCrossentropy(label_smoothing=0.2), {"label_smoothing": 0.2}),
    (metrics.CategoricalCrossentropy(from_logits=True), {"from_logits": True}),
    (metrics.CategoricalCrossentropy(label_smoothing=0.3), {"label_smoothing": 0.3}),
    (metrics.SparseCategoricalCrossentropy(from_logits=True), {"from_logits": True}),
    (metrics.BinaryAccuracy(threshold=0.3), {"threshold": 0.3}),
    (metrics.TopKCategoricalAccuracy(k=2), {"k": 2}),
    (metrics.SparseTopKCategoricalAccuracy(k=3), {"k": 3}),
    (metrics.Precision(0.8), {"thresholds": 0.8}),
    (metrics.Recall(0.25, class_id=3), {"thresholds": 0.25, "class_id": 3}),
    (metrics.AUC(50), {"num_thresholds": 50}),
], ids=repr)  # fmt: skip
def test_options(own, theirs):
    kind = {"Sparse": NUMBER, "Catego": ONE_HOT, "TopKCa": ONE_HOT}
    rng = np.random.default_rng(1)
    own.reset_state()
    other = getattr(keras.metrics, type(own).__name__)(**theirs)
    for _ in range(3):
        t, y = drawn(kind.get(type(own).__name__[:6], YES), rng, (6,))
        y = 8 * y - 3 if "from_logits" in theirs else y
        own.update_state(t, y)
        other.update_state(t, y)
    assert own.result() == pytest.approx(float(other.result()), rel=2e-6)


def test_the_accuracy_that_fits():
    kinds = [
        (Loss("sparse_categorical_crossentropy"), 5, metrics.SparseCategoricalAccuracy),
        (Loss("categorical_crossentropy"), 5, metrics.CategoricalAccuracy),
        (Loss("binary_crossentropy"), 1, metrics.BinaryAccuracy),
        (Loss("mse"), 1, metrics.BinaryAccuracy),
        (Loss("mse"), 2, metrics.CategoricalAccuracy),
    ]
    for loss, features, kind in kinds:
        for name in ("accuracy", "acc"):
            found = metrics.get(name, loss, features)
            assert type(found) is kind and found.name == name


def test_functions():
    def largest(y_true, y_pred):
        return np.abs(y_true - y_pred).max(-1)

    t, y = np.zeros((3, 2)), np.array([[1, 2], [3, -4], [0, 0.5]])
    own = metrics.get(largest)
    own.update_state(t, y)
    assert own.name == "largest" and own.result() == 6.5 / 3
    own.reset_state()
    own.update_state(t, y, np.array([1, 0, 3]))
    assert own.result() == 3.5 / 4
    number = metrics.get(lambda t, y: y.max())
    number.update_state(t, y, np.array([1, 0, 3]))
    number.update_state(t, y + 1)
    assert number.result() == 3.5
    for bad in (lambda t, y: "text", lambda t, y: y[:2], lambda t, y: y.sum(0)[:, None]):
        with pytest.raises(lstmc.ShapeError, match=r"metric '<lambda>' gave .* for outputs \(3, 2"):
            metrics.get(bad).update_state(t, y)


def test_nothing_is_lost_over_many_batches():
    """float32 sums would stand still at 2^24."""
    own = metrics.MeanAbsoluteError()
    own.sums["total"], own.sums["count"] = np.array(2.0**40), np.array(2.0**40)
    own.update_state(np.zeros((1, 1), np.float32), np.full((1, 1), 0.125, np.float32))
    assert own.sums["total"] == 2.0**40 + 0.125


def test_gathered_sums_go_to_a_checkpoint_and_back():
    rng = np.random.default_rng(2)
    for name, kind, _ in CASES:
        own, same = metrics.get(name), metrics.get(name)
        own.update_state(*drawn(kind, rng, (9,)))
        same.restore(own.state())
        assert same.result() == own.result() != 0
        more = tuple(drawn(kind, rng, (4,)))
        kept = own.state()
        own.update_state(*more)
        same.update_state(*more)
        assert same.result() == own.result()
        same.restore(kept)
        assert same.result() != own.result() or kind in (ONE_HOT, NUMBER)
        own.reset_state()
        assert own.result() == 0
    with pytest.raises(lstmc.ShapeError, match="not one of the metric 'auc'"):
        metrics.AUC().restore(metrics.AUC(50).state())


def test_bad_input():
    with pytest.raises(
        lstmc.UnknownNameError, match="unknown metric 'f2'; known are acc, accuracy, auc, bce"
    ):
        metrics.get("f2")
    with pytest.raises(lstmc.UnknownNameError):
        metrics.get(3)
    for make in (
        lambda: metrics.Precision(1.5),
        lambda: metrics.BinaryAccuracy(threshold=np.nan),
        lambda: metrics.TopKCategoricalAccuracy(0),
        lambda: metrics.AUC(1),
        lambda: metrics.Recall(class_id=-1),
    ):
        with pytest.raises(lstmc.RangeError):
            make()
    t, y = np.zeros((3, 2)), np.zeros((3, 2))
    with pytest.raises(lstmc.RangeError, match="there is no class 2 in 2 outputs"):
        metrics.Recall(class_id=2).update_state(t, y)
    with pytest.raises(lstmc.ShapeError, match=r"targets are \(3,\), outputs \(3, 2\)"):
        metrics.Recall().update_state(t[:, 0], y)
    with pytest.raises(lstmc.ShapeError, match=r"weights \(2,\) don't fit values \(3,\)"):
        metrics.MeanSquaredError().update_state(t, y, np.ones(2))


@pytest.mark.parametrize("kind", ["mse", "MSE", "mean_squared_error", "MeanSquaredError"])
def test_losses_by_any_name(kind):
    assert losses.get(kind) == losses.MeanSquaredError() == Loss("mse")


def test_losses():
    assert losses.get("bce") == losses.BinaryCrossentropy()
    assert losses.get("Huber") == losses.Huber(1.0) != losses.Huber(0.5)
    assert losses.CategoricalCrossentropy(True, 0.1) == Loss(
        "categorical_crossentropy", label_smoothing=0.1, from_logits=True
    )
    assert losses.SparseCategoricalCrossentropy(from_logits=True).from_logits
    assert losses.MeanAbsoluteError() == losses.get("mae")
    kept = losses.Huber(3)
    assert losses.get(kept) is kept
    for bad in ("hinge", None, keras.losses.MeanSquaredError()):
        with pytest.raises(lstmc.UnknownNameError, match=r"unknown loss .*; known are .*mse"):
            losses.get(bad)
    with pytest.raises(lstmc.UnknownNameError):
        Loss("rmse")
    for bad in (-1, 0, np.inf, "1", None):
        with pytest.raises(lstmc.RangeError, match=r"delta is .*, expected a number above 0"):
            losses.Huber(bad)
    with pytest.raises(
        lstmc.RangeError, match=r"label_smoothing is 2, .* at least 0 and at most 1"
    ):
        losses.BinaryCrossentropy(label_smoothing=2)
