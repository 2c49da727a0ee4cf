"""What an engine holds: a trainer of the core and, in it, weights, gradients, slots and states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _core, format
from .. import graph as g
from ..errors import RangeError, ShapeError, UnknownNameError
from ..runtime import target_code
from . import specs


@dataclass(frozen=True)
class _Place:
    """Where a field of a layer is: its tensor in the core, and its shapes."""

    layer: str
    field: str
    tensor: int
    shape: tuple[int, ...]
    gates: int
    k: int
    units: int
    panel: int
    size: int


class Holder:
    """The part of :class:`lstmc.training.engine.Engine` that knows where everything lies."""

    _graph: g.Graph
    _optimizer: specs.Optimizer
    _opened: _core.Model
    _frozen: bytes
    _dropouts: tuple[tuple[int, int, float], ...]
    _seed: int
    _carry: bool
    _stateful: bool
    _recompute: bool
    _threads: int  # of the time it was made
    _trainer: _core.Trainer
    _places: list[_Place]
    _held = 0  # rows whose states go on to the next call; 0: none

    # ------------------------------------------------------------------------------------ weights

    def _make(self, rows: int, time: int) -> None:
        """A trainer for so many rows and steps, with what the one before has come to."""
        before = getattr(self, "_trainer", None)
        kept = self._everything() if before else {}
        states = self._states() if before else []
        self._trainer = trainer = _core.Trainer(
            self._opened, rows, time, target_code(), self._threads, self._frozen,
            _core.optimizer_slots(self._words(0.0)), False, self._carry, self._recompute, False,
            self._dropouts,
        )  # fmt: skip
        if before is None:
            self._places = self._find_places()
            return
        for (index, what), array in kept.items():
            trainer.write(index, what, array)
        trainer.optimizer = before.optimizer
        if self._carry and before.batch == rows:
            self._set_states(states)

    def _find_places(self) -> list[_Place]:
        """Of all that is trained, in the file's order of tensors."""
        stored = (
            (layer.name, name, array.shape)
            for layer in self._graph.layers
            for name, _, array in layer.tensors()
            if array is not None
        )
        found = ((i, x, self._trainer.trained(i)) for i, x in enumerate(stored))
        return [_Place(layer, name, i, shape, *t) for i, (layer, name, shape), t in found if t]

    def _everything(self) -> dict[tuple[int, int], np.ndarray]:
        """What a trainer keeps, in panels: 0 the weight, 1 its gradient, 2 and on its slots."""
        count = 2 + _core.optimizer_slots(self._words(0.0))
        return {(p.tensor, what): self._raw(p, what) for p in self._places for what in range(count)}

    def _raw(self, place: _Place, what: int) -> np.ndarray:
        array = np.empty(place.size, np.float32)
        self._trainer.read(place.tensor, what, array)
        return array

    def _get(self, place: _Place, what: int) -> np.ndarray:
        p = place
        return format.unpack(self._raw(p, what), p.gates, p.k, p.units, p.panel).reshape(p.shape)

    def _set(self, place: _Place, what: int, array: np.ndarray) -> None:
        given = np.ascontiguousarray(array, np.float32)
        if given.shape != place.shape:
            raise ShapeError(
                f"layer '{place.layer}': {place.field} has shape {given.shape}, expected "
                f"{place.shape}"
            )
        self._trainer.write(place.tensor, what, format.pack(given, place.gates, place.panel))

    @property
    def trained(self) -> dict[str, list[str]]:
        """The fields that are trained, by layer."""
        found: dict[str, list[str]] = {}
        for p in self._places:
            found.setdefault(p.layer, []).append(p.field)
        return found

    def read(self) -> dict[str, dict[str, np.ndarray]]:
        """All weights, by layer and field, float32 in the graph's shapes; frozen ones too."""
        found = {
            layer.name: {n: a.copy() for n, _, a in layer.tensors() if a is not None}
            for layer in self._graph.layers
        }
        for p in self._places:
            found[p.layer][p.field] = self._get(p, 0)
        return found

    def write(self, values: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Set weights, as :meth:`read` gives them; those left out stay.

        A frozen one must be what it is: RangeError. ShapeError, UnknownNameError: as they say.
        """
        places = {(p.layer, p.field): p for p in self._places}
        fixed = {layer.name: layer for layer in self._graph.layers}
        for layer, fields in values.items():
            for name, array in fields.items():
                if (layer, name) in places:
                    self._set(places[layer, name], 0, array)
                    continue
                if layer not in fixed or getattr(fixed[layer], name, None) is None:
                    raise UnknownNameError(f"there is no weight {name} of a layer '{layer}'")
                if not np.array_equal(getattr(fixed[layer], name), array, equal_nan=True):
                    raise RangeError(f"layer '{layer}' is frozen: its {name} can't be set")

    def gradients(self) -> dict[str, dict[str, np.ndarray]]:
        """The gradients accumulated so far, by layer and field."""
        found: dict[str, dict[str, np.ndarray]] = {}
        for p in self._places:
            found.setdefault(p.layer, {})[p.field] = self._get(p, 1)
        return found

    def graph(self) -> g.Graph:
        """A copy of the graph with the weights of now."""
        now, weights = copy(self._graph), self.read()
        now.layers = [copy(layer) for layer in self._graph.layers]
        for layer in now.layers:
            for name, array in weights[layer.name].items():
                setattr(layer, name, array)
        return now

    # --------------------------------------------------------------------------------- resuming

    @property
    def iterations(self) -> int:
        """Steps of the optimizer so far."""
        return int(self._trainer.optimizer[0])

    def slots(self) -> dict[str, np.ndarray]:
        """All that a resume needs besides weights, by name; give it to :meth:`restore`."""
        steps, *powers = self._trainer.optimizer
        found = {
            "iterations": np.array(steps, np.uint32),
            "powers": np.array(powers, np.float32),
            "seed": np.array(self._seed, np.uint32),
        }
        for p in self._places:
            for what in range(2, 2 + _core.optimizer_slots(self._words(0.0))):
                found[f"{p.layer}/{p.field}/{what - 2}"] = self._get(p, what)
        if self._stateful:
            found |= {f"state/{i}": array for i, array in enumerate(self._states())}
        return found

    def _states(self) -> list[np.ndarray]:
        """Those that calls carry on, [batch, features] each."""
        trainer = self._trainer
        assert trainer is not None
        found = []
        for i, (_, _, features) in enumerate(trainer.states()):
            found.append(np.empty((trainer.batch, features), np.float32))
            trainer.state(i, found[-1], False)
        return found

    def _set_states(self, states: Sequence[np.ndarray]) -> None:
        for i, array in enumerate(states):
            self._trainer.state(i, np.ascontiguousarray(array, np.float32), True)

    def restore(self, slots: Mapping[str, np.ndarray]) -> None:
        """What :meth:`slots` gave. ShapeError, UnknownNameError: it is of another net or
        optimizer; nothing has changed then."""
        expected = self.slots()
        if missing := sorted(expected.keys() ^ slots.keys()):
            raise UnknownNameError(f"slots of another net or optimizer: {', '.join(missing[:3])}")
        states = [slots[name] for name in expected if name.startswith("state/")]
        batch = len(states[0]) if states and np.ndim(states[0]) == 2 else self._trainer.batch
        for name, array in slots.items():
            shape = expected[name].shape
            if name.startswith("state/"):  # of as many rows as the run had
                shape = (batch, *shape[1:])
            if np.shape(array) != shape or not batch:
                raise ShapeError(f"'{name}' has shape {np.shape(array)}, expected {shape}")
        if batch != self._trainer.batch:
            self._make(batch, self._trainer.time)
        self._set_states(states)
        self._held = batch if states and batch > 1 else 0
        for p in self._places:
            for what in range(2, 2 + _core.optimizer_slots(self._words(0.0))):
                self._set(p, what, slots[f"{p.layer}/{p.field}/{what - 2}"])
        self._seed = int(slots["seed"])
        first, second = map(float, slots["powers"])
        self._trainer.optimizer = int(slots["iterations"]), first, second

    def reset_states(self) -> None:
        """States to where the model starts (``carry``)."""
        self._trainer.reset()
        self._held = 0

    def _words(self, learning_rate: float) -> tuple[Any, ...]:
        o = self._optimizer
        return (
            specs.OPTIMIZERS.index(o.kind), learning_rate, o.momentum, o.nesterov, o.rho, o.beta_1,
            o.beta_2, o.epsilon, o.weight_decay, o.centered, o.amsgrad, o.clipvalue or 0.0,
            o.clipnorm or 0.0, o.global_clipnorm or 0.0,
        )  # fmt: skip


__all__ = ["Holder"]
