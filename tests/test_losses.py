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
    loss, y, truth, weights=None, lengths=None, *, scale=None, target="auto", rows=None, threads=1,
    model=None,
) -> Run:  # fmt: skip
    """Values and gradients of rows (or rows of steps) of y."""
    y, truth = np.asarray(y, np.float32), np.ascontiguousarray(truth, np.float32)
    batch, time = len(y), y.shape[1] if y.ndim == 3 else 1
    if model is None:
        model = steps(y.shape[-1]) if y.ndim == 3 else identity(y.shape[-1])
    x = np.ascontiguousarray(y.reshape(batch, time, -1))
    trainer = _core.Trainer(
        model, rows or batch, time, _core.target_code(target), threads, None, 0, True
    )
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


@pytest.mark.filterwarnings("ignore:In loss categorical_crossentropy")  # one class
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


def keras_mean(loss, truth, y, weights):
    """What fit calls the loss: Keras's own class, with its mean over the vectors."""
    kind, delta, smoothing, logits = loss
    named: dict = {}
    if kind == HUBER:
        named = {"delta": delta}
    if kind >= BINARY:
        named = {"from_logits": bool(logits)}
    if kind in (BINARY, CATEGORICAL):
        named["label_smoothing"] = smoothing
    names = (
        "MeanSquaredError", "MeanAbsoluteError", "Huber", "BinaryCrossentropy",
        "CategoricalCrossentropy", "SparseCategoricalCrossentropy",
    )  # fmt: skip
    return getattr(keras.losses, names[kind])(**named)(truth, y, sample_weight=weights)


@pytest.mark.parametrize("name", LOSSES)
def test_weights_are_those_of_keras(name):
    """One for each row, or for each step of one; the scale makes Keras's mean of it."""
    loss = LOSSES[name]
    rng = np.random.default_rng(2)
    y, truth = examples(loss, 20, 4, edges=False)
    y = y.reshape(5, 4, 4)
    truth = truth.reshape(5, 4, *truth.shape[1:])
    for by_step in (0, 1):
        weights = rng.random((5, 4) if by_step else 5).astype(np.float32)
        weights.flat[1] = 0
        leaf = torch.tensor(y, requires_grad=True)
        each = weights if by_step else np.repeat(weights[:, None], 4, 1)
        mean = keras_mean(loss, torch.tensor(truth), leaf, torch.tensor(each))
        mean.backward()
        ours = run(loss, y, truth, weights.ravel())
        assert np.isclose(ours.values.mean(), mean.item(), 2e-6)
        close(ours.gradient, leaf.grad.numpy(), 1e-5, 1 / 80)


def both(loss, features: int, time: int = 5, seed: int = 3):
    """y and truth of 6 rows of steps."""
    y, truth = examples(loss, 6 * time, features, seed)
    return y.reshape(6, time, features), truth.reshape(6, time, *truth.shape[1:])


@pytest.mark.parametrize("name", LOSSES)
def test_same_bits(name):
    """On every target, however rows are cut, with any number of threads."""
    loss = LOSSES[name]
    for features in SIZES:
        y, truth = both(loss, features)
        weights = np.random.default_rng(4).random((6, 5)).astype(np.float32).ravel()
        first = run(loss, y, truth, weights, target="scalar")
        assert first.gradient.any() or features == 1
        _core.set_grain(1)
        try:
            for target in lstmc.targets():
                for rows, threads in ((6, 1), (1, 1), (4, 1), (6, 2), (6, 5)):
                    again = run(loss, y, truth, weights, target=target, rows=rows, threads=threads)
                    assert again.digest() == first.digest(), (target, rows, threads)
        finally:
            _core.set_grain(0)


@pytest.mark.parametrize("name", LOSSES)
def test_lengths(name):
    """Steps beyond a row's length give nothing, whatever their truth is."""
    loss = LOSSES[name]
    y, truth = both(loss, 3)
    lengths = [5, 1, 3, 0, 4, 2]
    whole = run(loss, y, truth, scale=0.1)
    valid = np.arange(5) < np.array(lengths)[:, None]
    truth = truth.copy()
    truth[~valid] = np.nan if loss[0] != SPARSE else -1
    ours = run(loss, y, truth, lengths=lengths, scale=0.1)
    assert np.array_equal(ours.values, np.where(valid, whole.values, 0))
    assert np.array_equal(ours.gradient, np.where(valid[..., None], whole.gradient, 0))


@pytest.mark.parametrize("name", LOSSES)
def test_weight_zero_is_left_out(name):
    """As a mask: NaN in a truth that has the weight 0 shows nowhere, nor does a class."""
    loss = LOSSES[name]
    y, truth = both(loss, 3)
    weights = (np.random.default_rng(5).random((6, 5)) < 0.5).astype(np.float32)
    whole = run(loss, y, truth, scale=0.1)
    truth = truth.copy()
    truth[weights == 0] = np.nan if loss[0] != SPARSE else 77
    ours = run(loss, y, truth, weights.ravel(), scale=0.1)
    assert np.array_equal(ours.values, whole.values * weights)
    assert np.array_equal(ours.gradient, whole.gradient * weights[..., None])


@pytest.mark.parametrize("name", LOSSES)
def test_nan_and_infinity(name):
    """A NaN gives NaN in its vector and nowhere else; nothing hangs on infinity."""
    loss = LOSSES[name]
    for features in (1, 3, 17):
        y, truth = examples(loss, 6, features)
        before = run(loss, y, truth)
        y[1, features // 2] = np.nan
        y[3, features - 1] = np.inf
        y[4, 0] = -np.inf
        if loss[0] != SPARSE:
            truth[5, 0] = np.nan
        else:
            truth[1] = features // 2
        ours = run(loss, y, truth)
        assert np.isnan(ours.values[1])
        assert np.isnan(ours.gradient[1, features // 2])
        if loss[0] != SPARSE:
            assert np.isnan(ours.values[5])
        assert np.array_equal(ours.values[[0, 2]], before.values[[0, 2]])
        assert np.array_equal(ours.gradient[[0, 2]], before.gradient[[0, 2]])
        for target in lstmc.targets():
            assert run(loss, y, truth, target=target).digest() == ours.digest()


def test_clipped_probabilities():
    """Keras's epsilon: the loss stays finite, and the derivative is 0 where y is clipped."""
    one, epsilon = np.float32(1), np.float32(1e-7)
    edges = [0, 1e-8, epsilon, 2e-7, 0.5, one - 2 * epsilon, np.nextafter(one, 0), 1, -1, 2]
    y = np.array(edges, np.float32)[:, None]
    for truth in (0.0, 1.0, 0.3):
        ours = run(LOSSES["binary"], y, np.full_like(y, truth), scale=1)
        leaf = torch.tensor(y, requires_grad=True)
        theirs = keras_loss(LOSSES["binary"], leaf, torch.full_like(leaf, truth))
        theirs.sum().backward()
        np.testing.assert_allclose(ours.values, theirs.detach().numpy(), 1e-6)
        np.testing.assert_allclose(ours.gradient, leaf.grad.numpy(), 1e-6)
        clipped = [0, 1, 6, 7, 8, 9]
        assert not ours.gradient[clipped].any()
        assert ours.gradient[[2, 3, 4, 5]].all()


def test_probabilities_are_divided_by_their_sum():
    y = np.array([[1, 2, 5], [0, 0, 3], [0.2, 0.3, 0.5]], np.float32)
    truth = np.array([[0, 0, 1], [1, 0, 0], [0.5, 0.5, 0]], np.float32)
    values = run(LOSSES["categorical"], y, truth).values
    expected = [-np.log(5 / 8), -np.log(np.float32(1e-7)), -0.5 * np.log(0.06)]
    np.testing.assert_allclose(values, expected, 1e-6)


@pytest.mark.parametrize("logits", [0, 1])
def test_sparse_is_categorical_with_a_one(logits):
    """To the bit."""
    for features in SIZES:
        loss = (SPARSE, 1.0, 0.0, logits)
        y, truth = examples(loss, 12, features)
        hot = np.eye(features, dtype=np.float32)[truth.astype(int)]
        ours = run(loss, y, truth)
        assert ours.digest() == run((CATEGORICAL, 1.0, 0.0, logits), y, hot).digest()


def test_logits_far_from_zero():
    """Nothing overflows, and nothing that is small is lost."""
    z = np.array([[100], [-100], [30], [-30], [1e30], [-1e30]], np.float32)
    for truth, expected in (
        (0.0, [100, 0, 30, 9.357623e-14, 1e30, 0]),
        (1.0, [0, 100, 9.357623e-14, 30, 0, 1e30]),
    ):
        ours = run(LOSSES["binary logits"], z, np.full_like(z, truth))
        np.testing.assert_allclose(ours.values, expected, 1e-6, 1e-37)
        assert np.isfinite(ours.gradient).all()
    y = np.array([[1000, -1000, 0]], np.float32)
    for index, expected in enumerate((0, 2000, 1000)):
        assert run(LOSSES["sparse logits"], y, [index]).values[0] == expected


def test_gradients_are_flushed():
    """Below 2^-64 in magnitude they are 0, and so are differences and scales."""
    y = np.array([[2.0**-64], [2.0**-63], [1], [1], [1024]], np.float32)
    truth = np.array([[0], [0], [1], [1 - 2.0**-24], [0]], np.float32)
    for scale in (1.0, 2.0**-41, 2.0**-42, 2.0**-65):
        gradient = run(LOSSES["mse"], y, truth, scale=scale).gradient[:, 0]
        exact = 2 * scale * (y - truth)[:, 0].astype(np.float64) * (scale >= 2.0**-64)
        assert np.array_equal(gradient, np.where(abs(exact) < 2.0**-64, 0, exact))


@pytest.mark.parametrize("bad", [-1, 3, 0.5, np.nan, np.inf, -np.inf, 4e9, 2**32])
def test_classes_out_of_range(bad):
    """Refused before anything is written."""
    y, _ = examples(LOSSES["sparse"], 5, 3)
    for logits in (0, 1):
        trainer = _core.Trainer(identity(3), 5, 1, 0, 1, None, 0, True)
        values = np.full(5, 7, np.float32)
        gradient = np.full((5, 1, 3), 7, np.float32)
        with pytest.raises(lstmc.Error):
            trainer.run(
                [y[:, None]], 5, [1], None, losses=[(SPARSE, 1.0, 0.0, logits)],
                truths=[np.array([0, 1, 2, 0, bad], np.float32)], scales=[1.0], values=[values],
                input_gradients=[gradient],
            )  # fmt: skip
        assert (values == 7).all()
        assert (gradient == 7).all()
    truth = np.array([0, 1, 2, 2, 1], np.float32)
    assert np.isfinite(run(LOSSES["sparse"], y, truth).values).all()


@pytest.mark.parametrize(
    "bad",
    [
        (6, 1.0, 0.0, 0), (99, 1.0, 0.0, 0), (HUBER, 0.0, 0.0, 0), (HUBER, -1.0, 0.0, 0),
        (HUBER, np.nan, 0.0, 0), (HUBER, np.inf, 0.0, 0), (BINARY, 1.0, -0.1, 0),
        (BINARY, 1.0, 1.1, 0), (BINARY, 1.0, np.nan, 1), (BINARY, 1.0, 0.0, 2),
        (MSE, 1.0, 0.1, 0), (SPARSE, 1.0, 0.1, 0), (MSE, 1.0, 0.0, 1), (MAE, 1.0, 0.0, 1),
    ],
)  # fmt: skip
def test_losses_that_are_none(bad):
    y = np.zeros((2, 3), np.float32)
    with pytest.raises(lstmc.Error):
        run(bad, y, np.zeros(2 if bad[0] == SPARSE else (2, 3)))


def test_losses_add_up():
    """A loss adds to the gradient that is there, which may come from outside."""
    y, truth = examples(LOSSES["mse"], 4, 3)
    given = np.random.default_rng(6).normal(size=(4, 3)).astype(np.float32)
    trainer = _core.Trainer(identity(3), 4, 1, 0, 1, None, 0, True)
    gradient = np.empty((4, 1, 3), np.float32)
    trainer.run(
        [y[:, None]], 4, [1], None, losses=[LOSSES["mse"]], truths=[truth], scales=[0.25],
        gradients=[given], input_gradients=[gradient],
    )  # fmt: skip
    alone = run(LOSSES["mse"], y, truth, scale=0.25).gradient
    np.testing.assert_allclose(gradient[:, 0], given + alone, 1e-6)
