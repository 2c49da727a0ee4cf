"""What an epoch has come to so far: losses and metrics over its batches, in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import ShapeError
from .batches import Batch, Layout
from .engine import Result
from .gathering import Metric

Logs = dict[str, float]


class Tally:
    """Losses and metrics by their names in logs.

    ``metrics``: (name, output, metric, weighted) each. The loss is the mean over batches by their
    rows, as Keras has it; with several losses each has its own entry ``<output>_loss``.
    """

    def __init__(self, layout: Layout, metrics: Sequence[tuple[str, int, Metric, bool]]) -> None:
        self.layout = layout
        self.metrics = list(metrics)
        self.loss_names = ["loss"]
        if len(layout.wanted) > 1:
            self.loss_names += [f"{layout.names[i]}_loss" for i in layout.wanted]
        self.reset()

    @property
    def names(self) -> list[str]:
        """Of all entries, in the order of logs."""
        return self.loss_names + [name for name, _, _, _ in self.metrics]

    def reset(self) -> None:
        """Begin an epoch."""
        self.losses = np.zeros(len(self.loss_names))
        self.rows = 0
        for _, _, metric, _ in self.metrics:
            metric.reset_state()

    def add(self, batch: Batch, result: Result) -> None:
        """Take a batch into account."""
        found = [result.loss, *(result.losses[i] for i in self.layout.wanted)]
        self.losses += batch.rows * np.array(found[: len(self.losses)], np.float64)
        self.rows += batch.rows
        if not self.metrics:
            return
        masks = self.layout.masks(batch)
        for name, i, metric, weighted in self.metrics:
            target = batch.targets[i]
            assert target is not None
            weight = batch.weights[i] if weighted else None
            mask = masks[i]
            if mask is not None:
                weight = mask * (np.float32(1) if weight is None else _by_step(weight))
            try:
                metric.update_state(
                    self.layout.seen_target(i, target),
                    self.layout.seen_output(i, result.outputs[i]),
                    weight,
                )
            except (ValueError, IndexError) as e:
                if isinstance(e, ShapeError):
                    raise
                raise ShapeError(f"metric '{name}' doesn't fit its output: {e}") from e

    def logs(self) -> Logs:
        """The values so far, by name."""
        means = self.losses / max(self.rows, 1)
        found = dict(zip(self.loss_names, map(float, means), strict=True))
        for name, _, metric, _ in self.metrics:
            found[name] = float(metric.result())
        return found

    def state(self) -> dict[str, np.ndarray]:
        """All of it, for a checkpoint."""
        found = {"losses": self.losses.copy(), "rows": np.array(self.rows, np.int64)}
        for name, _, metric, _ in self.metrics:
            found.update({f"{name}/{key}": a for key, a in metric.state().items()})
        return found

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """What :meth:`state` gave; ShapeError if other metrics gave it."""
        mine = self.state()
        if {n: a.shape for n, a in mine.items()} != {n: a.shape for n, a in state.items()}:
            raise ShapeError("the checkpoint has other losses and metrics than the model")
        self.losses = state["losses"].astype(np.float64)
        self.rows = int(state["rows"])
        for name, _, metric, _ in self.metrics:
            own = [key for key in mine if key.startswith(f"{name}/")]
            metric.restore({key[len(name) + 1 :]: state[key] for key in own})


def _by_step(weight: np.ndarray) -> np.ndarray:
    return weight[:, None] if weight.ndim == 1 else weight


__all__ = ["Logs", "Tally"]
