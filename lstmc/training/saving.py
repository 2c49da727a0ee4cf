"""A run as named arrays: what a checkpoint holds of it, and back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from ..errors import FormatError, ShapeError, UnknownNameError
from . import checkpoint
from .checkpoint import Arrays
from .trainer import Position, Resume

if TYPE_CHECKING:
    from .trainer import Trainer

MOST = 1 << 62  # of any count


def save(trainer: Trainer, path: str | os.PathLike[str]) -> None:
    """Write a checkpoint of the run that goes on, has been stopped or is to be resumed."""
    checkpoint.write(path, held(trainer))


def held(trainer: Trainer) -> Arrays:
    """All of a run, by name."""
    engine, optimizer = trainer.build(), trainer.optimizer
    found: Arrays = {
        f"weight/{layer}/{name}": a
        for layer, fields in engine.read().items()
        for name, a in fields.items()
    }
    found.update({f"slot/{name}": a for name, a in engine.slots().items()})
    found["optimizer"] = np.frombuffer(optimizer.kind.encode(), np.uint8)
    found["rate"] = np.array(0.0 if optimizer.scheduled else optimizer.learning_rate)
    found["scheduled"] = np.array(optimizer.scheduled, np.uint8)
    found["seed"] = np.array(trainer.seed, np.uint64)
    waiting = trainer.resume
    place = trainer.position if waiting is None else waiting.position
    found["place"] = np.array([place.epoch, place.step, place.turn, place.at], np.int64)
    if waiting is not None:  # loaded, and not gone on with yet
        groups = [waiting.tally, waiting.history, waiting.callbacks]
        stopped = waiting.stopped
    else:
        history = {} if trainer.history is None else trainer.history.state()
        calls = {} if trainer.calls is None else trainer.calls.state()
        groups = [trainer.tally.state() if place.step else {}, history, calls]
        stopped = trainer.model.stop_training
    found["stopped"] = np.array(stopped, np.uint8)
    for group, arrays in zip(("tally", "history", "callback"), groups, strict=True):
        found.update({f"{group}/{name}": a for name, a in arrays.items()})
    return found


def load(trainer: Trainer, path: str | os.PathLike[str]) -> None:
    """Take a checkpoint; FormatError if it is not one of such a model. Nothing has changed then."""
    arrays = checkpoint.read(path)
    try:
        _take(trainer, arrays)
    except FormatError as e:
        raise FormatError(f"'{path}': {e}") from None


def _take(trainer: Trainer, arrays: Arrays) -> None:
    kind = _one(arrays, "optimizer", np.uint8, 1).tobytes().decode("ascii", "replace")
    if kind != trainer.optimizer.kind:
        raise FormatError(
            f"a checkpoint of the optimizer {kind!r}, the model has '{trainer.optimizer.kind}'"
        )
    rate = float(_one(arrays, "rate", np.float64, 0))
    seed = int(_one(arrays, "seed", np.uint64, 0))
    scheduled = bool(_one(arrays, "scheduled", np.uint8, 0))
    resume = _resume(trainer, arrays)
    if not 0 <= rate < np.inf:
        raise FormatError(f"a checkpoint with the learning rate {rate}")
    weights: dict[str, dict[str, np.ndarray]] = {}
    for name, a in _group(arrays, "weight", np.float32).items():
        layer, _, field = name.rpartition("/")
        weights.setdefault(layer, {})[field] = a
    slots = _group(arrays, "slot", None)
    try:
        trainer.restore(weights, slots)
    except (UnknownNameError, ShapeError) as e:
        raise FormatError(f"a checkpoint of another model: {e}") from None
    if not scheduled and not trainer.optimizer.scheduled:
        trainer.optimizer.learning_rate = rate
    trainer.seed, trainer.resume = seed, resume


def _resume(trainer: Trainer, arrays: Arrays) -> Resume:
    place = _one(arrays, "place", np.int64, 1)
    if place.shape != (4,) or place.min() < 0 or place.max() > MOST:
        raise FormatError("a checkpoint that says nothing sensible of its place")
    position = Position(*map(int, place))
    tally = _group(arrays, "tally", None)
    known = trainer.tally.state()
    if position.step and {n: a.shape for n, a in tally.items()} != {
        n: a.shape for n, a in known.items()
    }:
        raise FormatError("a checkpoint with other losses and metrics than the model's")
    history = _group(arrays, "history", None)
    if history and not (
        "epoch" in history
        and all(a.ndim == 1 for a in history.values())
        and all(n == "epoch" or n.startswith("log/") for n in history)
    ):
        raise FormatError("a checkpoint with a history that is none")
    stopped = bool(_one(arrays, "stopped", np.uint8, 0))
    return Resume(position, stopped, tally, history, _group(arrays, "callback", None))


def _one(arrays: Arrays, name: str, dtype: type, axes: int) -> np.ndarray:
    found = arrays.get(name)
    if found is None or found.dtype != dtype or found.ndim != axes:
        raise FormatError(f"a checkpoint without its {name}")
    return found


def _group(arrays: Arrays, group: str, dtype: type | None) -> Arrays:
    found = {k[len(group) + 1 :]: a for k, a in arrays.items() if k.startswith(f"{group}/")}
    if dtype is not None and any(a.dtype != dtype for a in found.values()):
        raise FormatError(f"a checkpoint with a {group} of another type")
    return found


__all__ = ["held", "load", "save"]
