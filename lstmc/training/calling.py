"""Callbacks: what fit and evaluate call on their way, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import FormatError, UnknownNameError

if TYPE_CHECKING:
    from ..model import Model

Logs = dict[str, Any]
State = dict[str, np.ndarray]

HOOKS = (
    "on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end", "on_train_batch_begin",
    "on_train_batch_end", "on_test_begin", "on_test_end", "on_test_batch_begin",
    "on_test_batch_end",
)  # fmt: skip


class Callback:
    """Base class, with Keras's hooks. ``self.model`` is the model; ``self.params`` has epochs,
    steps (None if not known) and verbose.

    ``logs`` is a dict of losses and metrics by name; what ``on_epoch_end`` adds to it goes into the
    history. Set ``self.model.stop_training = True`` to stop after the batch.
    """

    late: ClassVar[bool] = False  # called after the history has been written
    model: Model
    params: dict[str, Any]

    def set_model(self, model: Model) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """fit begins."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """fit ends; logs are those of the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """An epoch begins; they count from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """An epoch has ended; with validation, logs have val_loss and so on."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of the epoch begins; they count from 0."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """A step is done; logs are the means of the epoch so far."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Validation or evaluate begins."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Validation or evaluate has ended."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of it begins."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """A batch of it is done."""

    def state(self) -> State:
        """What a checkpoint must keep, so that a resumed run goes on as if it had not stopped."""
        return {}

    def restore(self, state: State) -> None:
        """What :meth:`state` gave, after ``on_train_begin``."""


class LambdaCallback(Callback):
    """Functions as hooks: ``LambdaCallback(on_epoch_end=lambda epoch, logs: print(logs))``."""

    def __init__(self, **hooks: Callable[..., Any] | None) -> None:
        for name, function in hooks.items():
            if name not in HOOKS:
                raise UnknownNameError(f"unknown hook {name!r}; known are {', '.join(HOOKS)}")
            if function is not None:
                setattr(self, name, function)


class History(Callback):
    """What fit returns: ``epoch``, the numbers of the epochs, and ``history``, a list of values for
    each loss and metric."""

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}
        self._last: set[str] = set()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.epoch[-1:] == [epoch]:  # noted once already: callbacks may have added something
            for name in self._last:
                self.history[name].pop()
        else:
            self.epoch.append(epoch)
        self._last = set(logs or ())
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)

    def state(self) -> State:
        values = {f"log/{k}": np.array(v, np.float64) for k, v in self.history.items()}
        return {"epoch": np.array(self.epoch, np.int64), **values}

    def restore(self, state: State) -> None:
        self.epoch = [int(e) for e in state["epoch"]]
        self.history = {k[4:]: list(map(float, v)) for k, v in state.items() if k != "epoch"}

    def __repr__(self) -> str:
        return f"<lstmc.callbacks.History of {len(self.epoch)} epochs: {', '.join(self.history)}>"


class Calls:
    """All callbacks of a run: those given, the history, then those that come late."""

    def __init__(
        self, callbacks: Any, model: Model, params: dict[str, Any], more: Iterable[Callback] = ()
    ) -> None:
        given = callbacks if isinstance(callbacks, list | tuple) else [callbacks]
        own = [_callback(c) for c in given if c is not None]
        self.given = own
        everything = [*own, *more]
        self.all = sorted(everything, key=lambda c: bool(getattr(c, "late", False)))
        self.hooks = {name: [f for c in self.all if (f := _hook(c, name))] for name in HOOKS}
        for c in self.all:
            for name, value in (("set_model", model), ("set_params", params)):
                if callable(f := getattr(c, name, None)):
                    f(value)

    def watches(self, name: str) -> bool:
        """Somebody listens."""
        return bool(self.hooks[name])

    def call(self, name: str, *arguments: Any) -> None:
        for hook in self.hooks[name]:
            hook(*arguments)

    def state(self) -> State:
        """What the callbacks keep, by class and its number among its like."""
        return {
            f"{key}/{name}": np.asarray(a)
            for key, c in self._keyed()
            for name, a in c.state().items()
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """What :meth:`state` gave. Callbacks that were not there begin anew."""
        for key, c in self._keyed():
            found = {k[len(key) + 1 :]: v for k, v in state.items() if k.startswith(f"{key}/")}
            if not found:
                continue
            try:
                c.restore(found)
            except (KeyError, ValueError, TypeError, IndexError) as e:
                raise FormatError(f"the checkpoint's state of {key} is not one: {e!r:.80}") from e

    def _keyed(self) -> list[tuple[str, Callback]]:
        counts: dict[str, int] = {}
        found = []
        for c in self.given:
            if not isinstance(c, Callback):
                continue
            name = type(c).__name__
            counts[name] = counts.get(name, 0) + 1
            found.append((f"{name}.{counts[name] - 1}", c))
        return found


def _callback(given: Any) -> Callback:
    """A callback, or a function of epoch and logs as one."""
    if isinstance(given, type) or not (callable(given) or _hooked(given)):
        raise UnknownNameError(
            f"{given!r} is no callback: give objects with Keras's hooks ({', '.join(HOOKS)}) or "
            "functions of epoch and logs"
        )
    return given if _hooked(given) else LambdaCallback(on_epoch_end=given)


def _hooked(given: Any) -> bool:
    return any(hasattr(given, name) for name in HOOKS)


def _hook(callback: Any, name: str) -> Callable[..., Any] | None:
    """A hook, unless it is the base class's, which does nothing."""
    found = getattr(callback, name, None)
    nothing = getattr(Callback, name)
    return None if getattr(found, "__func__", None) is nothing else found


__all__ = ["Callback", "Calls", "History", "LambdaCallback"]
