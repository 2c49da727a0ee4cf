"""Losses of training and their gradients, against live Keras and against torch in float64."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

import lstmc
from lstmc import _core, format
from lstmc import graph as g

keras = pytest.importorskip("keras")
torch = pytest.importorskip("torch")
functional = torch.nn.functional

MSE, MAE, HUBER, BINARY, CATEGORICAL, SPARSE = range(6)
#: (kind, delta, smoothing, from logits)
LOSSES = {
    "mse": (MSE, 1.0, 0.0, 0),
    "mae": (MAE, 1.0, 0.0, 0),
    "huber": (HUBER, 1.0, 0.0, 0),
    "huber delta": (HUBER, 0.3, 0.0, 0),
    "binary": (BINARY, 1.0, 0.0, 0),
    "binary smooth": (BINARY, 1.0, 0.2, 0),
    "binary logits": (BINARY, 1.0, 0.0, 1),
    "binary logits smooth": (BINARY, 1.0, 0.1, 1),
    "categorical": (CATEGORICAL, 1.0, 0.0, 0),
    "categorical smooth": (CATEGORICAL, 1.0, 0.3, 0),
    "categorical logits": (CATEGORICAL, 1.0, 0.0, 1),
    "categorical logits smooth": (CATEGORICAL, 1.0, 0.3, 1),
    "sparse": (SPARSE, 1.0, 0.0, 0),
    "sparse logits": (SPARSE, 1.0, 0.0, 1),
}
SIZES = (1, 2, 3, 4, 7, 8, 9, 16, 17, 33)


def identity(features: int) -> _core.Model:
    """A model that hands its only step on as it is, flushed."""
    graph = g.Graph(
        [g.Value("x", (g.BATCH, g.TIME, features))],
        [g.Value("y", (g.BATCH, features))],
        [g.LastStep(name="last", inputs=("x",), outputs=("y",))],
    )
    return _core.Model(np.frombuffer(format.dumps(graph), np.uint8).copy())


def steps(features: int) -> _core.Model:
    """The same with all steps: a product with the identity, of finite numbers."""
    graph = g.Graph(
        [g.Value("x", (g.BATCH, g.TIME, features))],
        [g.Value("y", (g.BATCH, g.TIME, features))],
        [
            g.Dense(
                name="d", inputs=("x",), outputs=("y",), weight=np.eye(features, dtype=np.float32)
            )
        ],
    )
    return _core.Model(np.frombuffer(format.dumps(graph), np.uint8).copy())


class Run(NamedTuple):
    values: np.ndarray
    gradient: np.ndarray

    def digest(self) -> tuple[int, int]:
        return lstmc.digest(self.values), lstmc.digest(self.gradient)


def run(
    loss, y, truth, weights=None, lengths=None, *, scale=None, target=0, rows=None, threads=1,
    model=None,
) -> Run:  # fmt: skip
    """Values and gradients of rows (or rows of steps) of y."""
    y, truth = np.asarray(y, np.float32), np.ascontiguousarray(truth, np.float32)
    batch, time = len(y), y.shape[1] if y.ndim == 3 else 1
    if model is None:
        model = steps(y.shape[-1]) if y.ndim == 3 else identity(y.shape[-1])
    x = np.ascontiguousarray(y.reshape(batch, time, -1))
    trainer = _core.Trainer(model, rows or batch, time, target, threads, None, 0, True)
    values = np.full(batch * time, 7, np.float32)
    gradient = np.full_like(x, 7)
    trainer.run(
        [x], batch, [time], None if lengths is None else np.asarray(lengths, np.int32),
        losses=[loss], truths=[truth], scales=[1 / values.size if scale is None else scale],
        weights=[weights], values=[values], input_gradients=[gradient],
    )  # fmt: skip
    return Run(values.reshape(y.shape[:-1]), gradient.reshape(y.shape))


def examples(loss, rows: int, features: int, seed: int = 0, edges: bool = True):
    """y and truth: what a layer may give, with the edges of clipping among them."""
    kind, _, _, logits = loss
    rng = np.random.default_rng([seed, rows, features])
    y = rng.normal(size=(rows, features)) * 3
    truth = rng.normal(size=(rows, features))
    if kind >= BINARY:
        truth = rng.random((rows, features))
        truth[: rows // 2] = np.rint(truth[: rows // 2])
    if kind >= BINARY and not logits:
        y = 1 / (1 + np.exp(-y * 2))
        if edges:
            y[rng.random(y.shape) < 0.1] = 0
            y[rng.random(y.shape) < 0.1] = 1
            y[rng.random(y.shape) < 0.1] *= 1e-6
    if kind >= CATEGORICAL and not logits:
        y[y.sum(1) == 0] = 0.5
        y[: rows // 3] /= y[: rows // 3].sum(1, keepdims=True)
    if kind == SPARSE:
        truth = rng.integers(0, features, rows)
    return y.astype(np.float32), truth.astype(np.float32)


def keras_loss(loss, y, truth):
    """Of torch tensors, one value a row."""
    kind, delta, smoothing, logits = loss
    if kind == HUBER:
        return keras.losses.huber(truth, y, delta=delta)
    if kind == BINARY:
        f = keras.losses.binary_crossentropy
        return f(truth, y, from_logits=bool(logits), label_smoothing=smoothing)
    if kind == CATEGORICAL:
        f = keras.losses.categorical_crossentropy
        return f(truth, y, from_logits=bool(logits), label_smoothing=smoothing)
    if kind == SPARSE:
        f = keras.losses.sparse_categorical_crossentropy
        return f(truth.long(), y, from_logits=bool(logits))
    f = keras.losses.mean_squared_error if kind == MSE else keras.losses.mean_absolute_error
    return f(truth, y)


def exact_loss(loss, y, truth):
    """The formulas of lstmc_train.h in float64, in torch's words where it has them."""
    kind, delta, smoothing, logits = loss
    n = y.shape[-1]
    if kind == MSE:
        return functional.mse_loss(y, truth, reduction="none").mean(-1)
    if kind == MAE:
        return functional.l1_loss(y, truth, reduction="none").mean(-1)
    if kind == HUBER:
        return functional.huber_loss(y, truth, reduction="none", delta=delta).mean(-1)
    epsilon, below = float(np.float32(1e-7)), float(np.float32(1 - 1e-7))
    if kind == BINARY:
        truth = truth * (1 - smoothing) + smoothing / 2
        if logits:
            f = functional.binary_cross_entropy_with_logits
            return f(y, truth, reduction="none").mean(-1)
        y = torch.clip(y, epsilon, below)
        return -(truth * torch.log(y) + (1 - truth) * torch.log1p(-y)).mean(-1)
    if kind == SPARSE:
        truth = functional.one_hot(truth.long(), n).double()
    truth = truth * (1 - smoothing) + smoothing / n
    if logits:
        return functional.cross_entropy(y, truth, reduction="none")
    y = torch.clip(y / y.sum(-1, keepdim=True), epsilon, below)
    return -(truth * torch.log(y)).sum(-1)


def autograd(function, loss, y, truth, factors, dtype) -> Run:
    leaf = torch.tensor(y, dtype=dtype, requires_grad=True)
    values = function(loss, leaf, torch.tensor(truth, dtype=dtype))
    (values * torch.tensor(factors, dtype=dtype)).sum().backward()
    return Run(values.detach().numpy(), leaf.grad.numpy())


def close(a, b, relative: float, terms: float = 0.0) -> None:
    """Within `relative` of each number, of the largest of its row or of terms that cancel."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    size = np.maximum(np.maximum(abs(b), abs(b).max(-1, keepdims=True) * 0.1), terms)
    assert (abs(a - b) <= relative * size + 1e-30).all(), (abs(a - b) / (size + 1e-300)).max()


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient(name):
    """As Keras's live, and within 1e-6 of float64."""
    loss = LOSSES[name]
    for features in SIZES:
        y, truth = examples(loss, 24, features)
        factors = np.full(24, 1 / 24)
        ours = run(loss, y, truth)
        exact = autograd(exact_loss, loss, y, truth, factors, torch.float64)
        theirs = autograd(keras_loss, loss, y, truth, factors, torch.float32)
        # -log p, where p near 1 has been rounded
        close(ours.values[:, None], exact.values[:, None], 1e-6, loss[0] >= CATEGORICAL)
        terms = factors[0] / (features if loss[0] == BINARY else 1) if loss[0] >= BINARY else 0
        close(ours.gradient, exact.gradient, 1e-6, terms)
        np.testing.assert_allclose(ours.values, theirs.values, 1e-5, 1e-6)
        close(ours.gradient, theirs.gradient, 1e-5, terms)
