"""Small nets and data for tests of training: ours beside the Keras model they come from."""

from __future__ import annotations

import numpy as np

import lstmc
from lstmc import graph as g


def regression(seed: int = 0, hidden: int = 5) -> tuple[lstmc.Model, np.ndarray, np.ndarray]:
    """A model of two dense layers, 4 features to 2, without a framework; 50 rows of data."""
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> np.ndarray:
        return rng.uniform(-0.5, 0.5, shape).astype(np.float32)

    layers = [
        g.Dense(
            name="first", inputs=("x",), outputs=("a",), weight=drawn(hidden, 4),
            bias=drawn(hidden), activation=g.TANH,
        ),
        g.Dense(
            name="second", inputs=("a",), outputs=("y",), weight=drawn(2, hidden), bias=drawn(2)
        ),
    ]  # fmt: skip
    graph = g.Graph([g.Value("x", (g.BATCH, 4))], [g.Value("y", (g.BATCH, 2))], layers)
    x = rng.standard_normal((50, 4)).astype(np.float32)
    y = np.stack([x.sum(1), x[:, 0] * x[:, 1]], 1)
    return lstmc.model.from_graph(graph), x, y


def compiled(seed: int = 0, **options) -> tuple[lstmc.Model, np.ndarray, np.ndarray]:
    """The same, ready to train with plain steps."""
    model, x, y = regression(seed)
    given = {"optimizer": "sgd", "loss": "mse", "seed": 3, **options}
    model.compile(**given)
    return model, x, y


def weights_equal(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    """The same bits."""
    return all(
        np.array_equal(x.view(np.uint32), y.view(np.uint32)) for x, y in zip(a, b, strict=True)
    )
