"""What compile makes of a model: optimizer, losses and metrics, and the engine that trains it.

The engine is made when it is first needed. From then on weights are in two places: the engine's
are those of now while ``ahead``; the model's are while ``outdated``, as somebody has set them.
"""

from __future__ import annotations

import copy
import fnmatch
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import losses as loss_names
from .. import metrics as metric_names
from .. import optimizers
from ..errors import DivergenceError, RangeError, ShapeError, UnknownNameError
from ..random import Numbers, checked_seed
from . import specs
from .batches import Batch, Layout
from .calling import Calls, History
from .engine import Engine, Result
from .gathering import Metric
from .tally import Tally

if TYPE_CHECKING:
    from ..model import Model
    from ..trainable import Plan

ON_NAN = ("stop", "continue")
KEEP_EVERY = 32  # steps between two copies of weights to go back to


@dataclass
class Position:
    """How far a run is: ``step`` batches of ``epoch`` are done, the last of them number ``at``
    (from 1) of pass ``turn`` over the data."""

    epoch: int = 0
    step: int = 0
    turn: int = 0
    at: int = 0


@dataclass
class Resume:
    """What a checkpoint says of the run that the next fit goes on with."""

    position: Position
    stopped: bool
    tally: dict[str, np.ndarray] = field(default_factory=dict)
    history: dict[str, np.ndarray] = field(default_factory=dict)
    callbacks: dict[str, np.ndarray] = field(default_factory=dict)


class Trainer:
    """Made by :meth:`lstmc.Model.compile`, which says what the arguments are."""

    def __init__(
        self,
        model: Model,
        optimizer: Any,
        loss: Any,
        loss_weights: Any,
        metrics: Any,
        weighted_metrics: Any,
        frozen: Collection[str],
        on_nan: str,
        seed: int | None,
        truncate: int | None,
    ) -> None:
        specs.known("on_nan", on_nan, ON_NAN)
        self.model = model
        self.optimizer = optimizers.get(optimizer)
        self.loss = _each(loss, loss_names.get)
        self.loss_weights, self.metrics = loss_weights, metrics
        self.weighted_metrics = weighted_metrics
        for entry in _leaves([metrics, weighted_metrics]):
            metric_names.get(entry)
        self.frozen = [frozen] if isinstance(frozen, str) else list(frozen)
        self.on_nan = on_nan
        self.seed = Numbers().seed() if seed is None else checked_seed(seed)
        if truncate is not None and (not isinstance(truncate, int) or truncate < 1):
            raise RangeError(f"truncate is {truncate!r}, expected a number of steps, at least 1")
        self.truncate = truncate
        self.ahead = self.outdated = False
        self.position = Position()
        self.resume: Resume | None = None
        self.history: History | None = None
        self.calls: Calls | None = None
        self._engine: Engine | None = None
        self._kept: tuple[Any, Any] | None = None
        self._left = 0  # steps until weights are kept again

    # ------------------------------------------------------------------------------------ making

    def build(self) -> Engine:
        """The engine, with the weights of now; made if need be."""
        if self._engine is None:
            self._make()
        elif self.outdated:
            slots = self._engine.slots()
            self._engine = self._engine_of(self.model._plan())
            self._engine.restore(slots)
            self._left = 0
        self.outdated = False
        assert self._engine is not None
        return self._engine

    def _make(self) -> None:
        from ..model import from_graph

        plan = self.model._plan()
        graph = plan.graph
        names = [v.name for v in graph.outputs]
        losses = _by_output(self.loss, names, "loss")
        if not any(losses):
            raise UnknownNameError("no output has a loss")
        weights = [
            1.0 if w is None else specs.number("a loss weight", w)
            for w in _by_output(self.loss_weights, names, "loss_weights", spread=False)
        ]
        masks = None if plan.masks is None else from_graph(plan.masks)
        self.layout = Layout(from_graph(graph), losses, masks, plan.masked)
        found = [*self._metrics(self.metrics, False), *self._metrics(self.weighted_metrics, True)]
        self.tally = Tally(self.layout, _named(self.layout, found))
        again = [(n, i, copy.deepcopy(m), w) for n, i, m, w in self.tally.metrics]
        self.test_tally = Tally(self.layout, again)
        self._losses, self._weights = losses, weights
        self._engine = self._engine_of(plan)

    def _engine_of(self, plan: Plan) -> Engine:
        graph = plan.graph
        return Engine(
            graph,
            self._losses,
            self._weights,
            self.optimizer.spec(),
            frozen={*plan.frozen, *matching(self.frozen, [x.name for x in graph.layers])},
            dropouts=plan.dropouts,
            seed=self.seed,
            carry=plan.carry,
            truncate=self.truncate,
        )

    def _metrics(self, given: Any, weighted: bool) -> list[tuple[int, Metric, bool]]:
        """(output, metric, weighted) each."""
        names = self.layout.names
        if given is None:
            return []
        if len(names) == 1 and not isinstance(given, Mapping):
            given = [list(_leaves([given]))]
        found = []
        for i, entry in enumerate(_by_output(given, names, "metrics", spread=False)):
            for metric in _leaves([entry]):
                loss = self.layout.losses[i]
                if loss is None:
                    raise ShapeError(f"metrics of '{names[i]}': it has no loss, and so no targets")
                features = self.layout.interface[names[i]].features
                found.append((i, metric_names.get(metric, loss, features), weighted))
        return found

    # ------------------------------------------------------------------------------------- steps

    def step(self, batch: Batch) -> tuple[Result, bool]:
        """One step of the optimizer. False: its loss is NaN or infinite, and the model has the
        weights from before it, unless it shall go on."""
        engine = self.build()
        rate = self.optimizer.learning_rate
        factors = self.factors(batch)
        careful = self.on_nan == "stop"
        if careful and self._left <= 0:
            self._keep()
        if self.truncate is not None:
            result = engine.train(
                batch.inputs, batch.targets, factors, batch.lengths, learning_rate=rate
            )
            good = math.isfinite(result.loss) or not careful
        else:
            result = engine.accumulate(batch.inputs, batch.targets, factors, batch.lengths)
            good = math.isfinite(result.loss) or not careful
            if good:
                engine.update(rate)
        if good:
            self._left -= 1
            self.optimizer.iterations = engine.iterations
            self.moved()
        else:
            self.recover()
        return result, good

    def evaluate(self, batch: Batch) -> Result:
        """The loss of a batch; nothing changes."""
        return self.build().evaluate(
            batch.inputs, batch.targets, self.factors(batch), batch.lengths
        )

    def factors(self, batch: Batch) -> list[np.ndarray | None]:
        """The weights of a batch for the engine: steps beyond a row's length weigh nothing, and the
        mean is that over those that count, as Keras has it of masks."""
        found = list(batch.weights)
        for i, mask in enumerate(self.layout.masks(batch)):
            if mask is None:
                continue
            factor = mask * np.float32(mask.size / max(int(mask.sum()), 1))
            given = found[i]
            if given is not None:
                factor = factor * (given[:, None] if given.ndim == 1 else given)
            found[i] = np.ascontiguousarray(factor, np.float32)
        return found

    # ------------------------------------------------------------------------------------ weights

    def moved(self) -> None:
        """The engine's weights are newer than the model's."""
        if not self.ahead:
            self.ahead = True
            self.model._drop()

    def settle(self) -> None:
        """Give the engine's weights to the model, if they are newer."""
        if self.ahead:
            assert self._engine is not None
            self.ahead = False
            self.model._adopt(self._engine.graph())
            self.outdated = False

    def forget(self) -> None:
        """The model's layers change: the engine is no more."""
        self._engine = self._kept = self.resume = None
        self.position, self._left = Position(), 0

    def finite(self) -> bool:
        """All weights are numbers; if not, and that matters, those kept are back."""
        if self.on_nan != "stop" or _finite(self.build().read()):
            return True
        self.recover()
        return False

    def recover(self) -> None:
        """Weights from before a step that went wrong. If its own weights were NaN already, as the
        gradient of the step before overflowed, those that were kept last."""
        engine = self.build()
        engine.clear()
        engine.reset_states()
        if not _finite(engine.read()) and self._kept is not None:
            weights, slots = self._kept
            engine.write(weights)
            engine.restore(slots)
            self.optimizer.iterations = engine.iterations
        self._left = 0
        self.moved()

    def _keep(self) -> None:
        engine = self.build()
        weights = engine.read()
        if _finite(weights):
            self._kept = weights, engine.slots()
            self._left = KEEP_EVERY

    def diverged(self, batch: Batch | None, loss: float) -> DivergenceError:
        """The error for a step whose loss was no number."""
        where = f"epoch {self.position.epoch + 1}, batch {self.position.step + 1}"
        if batch is None:
            what = f"weights are NaN or infinite after {where}"
        else:
            what = f"the loss is {loss} at {where}"
        arrays = [] if batch is None else [*batch.inputs, *batch.targets]
        if any(a is not None and not np.isfinite(a).all() for a in arrays):
            return DivergenceError(f"{what}: x or y of this batch hold NaN or infinity")
        return DivergenceError(
            f"{what}; the model has the last good weights. A smaller learning rate or "
            "clipnorm=1.0 may help; compile(on_nan='continue') goes on"
        )

    # ----------------------------------------------------------------------------------- a resume

    def restore(
        self, weights: dict[str, dict[str, np.ndarray]], slots: dict[str, np.ndarray]
    ) -> None:
        """Weights and optimizer of a checkpoint, frozen weights too. ShapeError, UnknownNameError
        if they are of another model or optimizer; nothing has changed then."""
        engine = self.build()
        graph, wanted = engine.graph(), engine.read()
        if {k: v.keys() for k, v in wanted.items()} != {k: v.keys() for k, v in weights.items()}:
            raise UnknownNameError("the checkpoint is of a model with other layers")
        for layer in graph.layers:
            for name, array in weights[layer.name].items():
                if array.shape != wanted[layer.name][name].shape:
                    raise ShapeError(
                        f"layer '{layer.name}': {name} has shape {array.shape} in the checkpoint, "
                        f"{wanted[layer.name][name].shape} in the model"
                    )
                setattr(layer, name, array)
        engine.restore(slots)
        self.ahead = False
        self.model._adopt(graph)
        self._engine = self._engine_of(self.model._plan())
        self._engine.restore(slots)
        self.outdated = False
        self.optimizer.iterations = self._engine.iterations
        self._kept, self._left = None, 0


# ---------------------------------------------------------------------------------- by output


def _by_output(given: Any, names: Sequence[str], what: str, *, spread: bool = True) -> list[Any]:
    """What belongs to each output, of one for all, a list or a dict by name."""
    if isinstance(given, Mapping):
        if unknown := sorted(map(str, set(given) - set(names))):
            raise UnknownNameError(
                f"{what}: no output is called {unknown[0]!r}; there are {', '.join(names)}"
            )
        return [given.get(n) for n in names]
    if isinstance(given, list | tuple):
        if len(given) != len(names):
            raise ShapeError(
                f"{what}: {len(given)} entries for {len(names)} outputs ({', '.join(names)})"
            )
        return list(given)
    if given is not None and not spread and len(names) > 1:
        raise ShapeError(f"{what}: give a list or a dict, for the outputs {', '.join(names)}")
    return [given] * len(names)


def _each(given: Any, make: Any) -> Any:
    if isinstance(given, Mapping):
        return {k: None if v is None else make(v) for k, v in given.items()}
    if isinstance(given, list | tuple):
        return [None if v is None else make(v) for v in given]
    return make(given)


def _leaves(given: Any) -> Any:
    if isinstance(given, Mapping):
        given = list(given.values())
    for entry in given:
        if isinstance(entry, list | tuple | Mapping):
            yield from _leaves(entry)
        elif entry is not None:
            yield entry


def _named(
    layout: Layout, metrics: Sequence[tuple[int, Metric, bool]]
) -> list[tuple[str, int, Metric, bool]]:
    """Metrics with the names that logs have them by: the output's in front if there are several,
    and no name twice."""
    taken = {"loss", *(f"{n}_loss" for n in layout.names)}
    found = []
    for i, metric, weighted in metrics:
        base = f"{layout.names[i]}_{metric.name}" if len(layout.names) > 1 else metric.name
        if base in taken and weighted:
            prefix = f"{layout.names[i]}_" if len(layout.names) > 1 else ""
            base = f"{prefix}weighted_{metric.name}"
        name, n = base, 0
        while name in taken:
            n += 1
            name = f"{base}_{n}"
        taken.add(name)
        found.append((name, i, metric, weighted))
    return found


def matching(patterns: Sequence[str], names: Sequence[str]) -> set[str]:
    """The names that are given, or match a pattern ("encoder*"); UnknownNameError if none does."""
    found: set[str] = set()
    for pattern in patterns:
        hits = [n for n in names if n == pattern] or fnmatch.filter(names, str(pattern))
        if not hits:
            raise UnknownNameError(f"there is no layer {pattern!r}; there are {', '.join(names)}")
        found.update(hits)
    return found


def weights_of(graph: Any) -> dict[str, dict[str, np.ndarray]]:
    """All weights of a graph, by layer and field."""
    return {
        layer.name: {n: a for n, _, a in layer.tensors() if a is not None} for layer in graph.layers
    }


def _finite(weights: Mapping[str, Mapping[str, np.ndarray]]) -> bool:
    return all(np.isfinite(a).all() for fields in weights.values() for a in fields.values())


__all__ = ["Position", "Resume", "Trainer", "matching", "weights_of"]
