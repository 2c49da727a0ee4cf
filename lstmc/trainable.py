"""What models have for training: compile, fit, evaluate and so on, with Keras's names and meanings.

Nothing of lstmc.training is imported before it is needed: a program that only predicts never is.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import graph as g
from .errors import Error, ShapeError
from .runtime import as_float32

if TYPE_CHECKING:
    from .optimizers import Optimizer
    from .training.calling import History
    from .training.specs import Dropout
    from .training.trainer import Trainer


@dataclass(frozen=True)
class Plan:
    """What training needs of a model: the graph to train, names of its layers that stay as they
    are, dropout, and whether states carry over from call to call. ``masks`` is a graph of the same
    inputs, and gives for each output in ``masked`` which of its steps count, [batch, time]."""

    graph: g.Graph
    frozen: frozenset[str]
    dropouts: list[Dropout]
    carry: bool
    masks: g.Graph | None = None
    masked: tuple[int, ...] = ()


class Trainable:
    """The part of :class:`lstmc.Model` that trains. docs/howto/train.md shows how to use it."""

    _trainer: Trainer | None = None
    _still: frozenset[str] = frozenset()  # layers that are not trained
    history: History | None = None  # of the last fit
    stop_training = False  # callbacks set it

    # ------------------------------------------------------------------------------------ compile

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        *,
        frozen: Collection[str] | str = (),
        on_nan: str = "stop",
        seed: int | None = None,
        truncate: int | None = None,
    ) -> None:
        """Say how to train. Optimizer and position start anew; weights stay.

        Args:
            optimizer: a name ("adam", "adamw", "rmsprop", "sgd") or one of
                :mod:`lstmc.optimizers`.
            loss: a name or one of :mod:`lstmc.losses`; for several outputs one for all, or a list
                or a dict by output, None for outputs that are not trained.
            loss_weights: numbers by which the losses of several outputs are added.
            metrics: names, functions of (y_true, y_pred), or :mod:`lstmc.metrics`; of several
                outputs a list or dict of such lists. Sample weights don't count here.
            weighted_metrics: the same, and they do.
            frozen: layers of :attr:`graph` that keep their weights, by name or pattern
                ("encoder*"); those that :attr:`trainable` says too.
            on_nan: what becomes of a NaN or infinite loss: "stop", with a
                :class:`lstmc.DivergenceError`, or "continue", as Keras does.
            seed: of the order of rows and of dropout; else one that follows from
                :func:`lstmc.set_random_seed`.
            truncate: cut sequences into windows of so many steps, each a step of the optimizer,
                with the state carried from one to the next (truncated backpropagation).

        Raises:
            UnknownNameError: a name that is not known, with those that are. RangeError: a setting
                out of its range.
        """
        from .training.trainer import Trainer

        self._settle()
        self._trainer = Trainer(
            self,  # type: ignore[arg-type]
            optimizer, loss, loss_weights, metrics, weighted_metrics, frozen, on_nan, seed,
            truncate,
        )  # fmt: skip

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer of :meth:`compile`; its learning_rate may be set at any time."""
        return self._compiled().optimizer

    @property
    def trainable(self) -> Any:
        """{layer of the graph: whether it is trained}, of layers with weights.

        May be set, before compile: to a bool for all, or to a dict of bools by name or pattern.
        UnknownNameError for a name that isn't there.
        """
        return {n: n not in self._still for n in self._weighty()}

    @trainable.setter
    def trainable(self, value: Any) -> None:
        from .training.trainer import matching

        names = self._weighty()
        still = set(self._still)
        for pattern, trained in ({"*": value} if isinstance(value, bool) else value).items():
            hits = matching([pattern], names) if names else set()
            still = still - hits if trained else still | hits
        self._still = frozenset(still)

    # ------------------------------------------------------------------------------------ training

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int | None = None,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Collection[int] = 1,
        *,
        lengths: Any = None,
    ) -> History:
        """Train.

        Args:
            x: an array, in the shape and axis order of the model's input; a dict by name or a list
                for several. Files mapped into memory, and arrays of h5py and the like, are read
                batch by batch, in any order. Or, without y, batches made by others: a generator or
                iterable of (x, y), (x, y, sample_weight) or (x, y, sample_weight, lengths), or an
                object with a length and such batches by number.
            y: targets, the same for outputs; numbers of classes for a sparse loss.
            batch_size: rows of a step, 32 if not given; the last batch may be smaller.
            epochs: where to end; with ``initial_epoch``, and after a checkpoint, some are done.
            verbose: 0 silent, 1 a line with losses and time left, 2 a line for each epoch.
            callbacks: see :mod:`lstmc.callbacks`.
            validation_split: the last part of the rows is kept out, and used as validation_data.
            validation_data: (x, y), with sample_weight and lengths if need be, or batches made by
                others.
            shuffle: a new order of rows in each epoch, a function of the seed; of batches, where
                they come by number.
            class_weight: {class: weight}, multiplied with the sample weights.
            sample_weight: [batch], or [batch, time] for an output with steps; of several outputs a
                dict or a list.
            initial_epoch: where to begin; also says that a checkpoint's place is of no interest.
            steps_per_epoch: batches of an epoch, for generators that don't end; arrays go on in the
                next epoch where the last one stopped.
            validation_steps: batches of each validation.
            validation_batch_size: rows of its batches; batch_size if not given.
            validation_freq: after each so many epochs, or a list of them, counted from 1.
            lengths: int [batch], valid steps of each row, as for predict. Steps beyond count for
                no loss and no metric.

        Returns:
            The history: a list for each loss and metric.

        Raises:
            ShapeError, DtypeError, RangeError: data that don't fit: shapes, numbers of rows, labels
                out of range, nothing at all. UnknownNameError: names of inputs and outputs.
            DivergenceError: the loss was NaN or infinite; the model has the last good weights.
            KeyboardInterrupt: after Ctrl-C; the model has the weights of the last finished step.
        """
        from .training.loop import Fit

        trainer = self._ready(x)
        return Fit(
            self,  # type: ignore[arg-type]
            trainer,
            (x, y, sample_weight, lengths),
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_split=validation_split,
            validation_data=validation_data,
            shuffle=shuffle,
            class_weight=class_weight,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
            validation_batch_size=validation_batch_size,
            validation_freq=validation_freq,
        ).run()

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        *,
        lengths: Any = None,
    ) -> Any:
        """The loss and the metrics of data, without dropout; arguments and errors as :meth:`fit`'s.

        Returns:
            The loss; with metrics, a list in the order of :attr:`metrics_names`, or a dict.
        """
        from .training.loop import run_evaluation

        trainer = self._ready(x)
        data = (x, y, sample_weight, lengths)
        found = run_evaluation(self, trainer, data, batch_size, steps, callbacks, verbose)  # type: ignore[arg-type]
        return _returned(found, return_dict)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: dict[int, float] | None = None,
        return_dict: bool = False,
        *,
        lengths: Any = None,
    ) -> Any:
        """One step with these rows. Returns the loss and the metrics of these rows, as
        :meth:`evaluate`; raises as :meth:`fit`."""
        from .training.interrupts import Interrupts

        trainer = self._ready(x)
        layout, tally = trainer.layout, trainer.test_tally
        batch = _one(trainer, x, y, sample_weight, lengths)
        if class_weight is not None:
            batch = layout.class_weighted(batch, class_weight)
        with Interrupts() as interrupts:
            interrupts.hold()
            result, good = trainer.step(batch)
            interrupts.release()
        if not good:
            raise trainer.diverged(batch, result.loss)
        tally.reset()
        tally.add(batch, result)
        return _returned(tally.logs(), return_dict)

    def test_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        return_dict: bool = False,
        *,
        lengths: Any = None,
    ) -> Any:
        """The loss and the metrics of these rows, as one batch."""
        trainer = self._ready(x)
        batch, tally = _one(trainer, x, y, sample_weight, lengths), trainer.test_tally
        tally.reset()
        tally.add(batch, trainer.evaluate(batch))
        return _returned(tally.logs(), return_dict)

    @property
    def metrics_names(self) -> list[str]:
        """Names of losses and metrics, in the order of what :meth:`evaluate` gives."""
        trainer = self._compiled()
        trainer.build()
        return trainer.tally.names

    def reset_states(self) -> None:
        """States that carry over from batch to batch, of stateful layers, to their beginning."""
        self._compiled().build().reset_states()

    # ------------------------------------------------------------------------------------- weights

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights, float32, in the order of :attr:`weight_names`."""
        return [a.copy() for _, _, a in _weights(self.graph)]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Replace all weights, in the order of :meth:`get_weights`.

        ShapeError, DtypeError: they don't fit; nothing has changed then.
        """
        graph = self._plan().graph
        places = _weights(graph)
        given = list(weights)
        if len(given) != len(places):
            raise ShapeError(f"{len(given)} weights, the model has {len(places)}")
        arrays = [
            as_float32(f"{layer.name}/{name}", a)
            for (layer, name, _), a in zip(places, given, strict=True)
        ]
        for (layer, name, old), new in zip(places, arrays, strict=True):
            if new.shape != old.shape:
                raise ShapeError(
                    f"weight {layer.name}/{name} has shape {new.shape}, expected {old.shape}"
                )
        for (layer, name, _), new in zip(places, arrays, strict=True):
            setattr(layer, name, new)
        self._adopt(graph)
        self._outdate()

    @property
    def weight_names(self) -> list[str]:
        """ "layer/field" of each weight of the graph, in its order."""
        return [f"{layer.name}/{name}" for layer, name, _ in _weights(self.graph)]

    # --------------------------------------------------------------------------------- checkpoints

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """All that training needs to go on, in one file: weights, optimizer, epoch and place in it,
        seed, history, callbacks. Written whole or not at all, and on the disk when this returns
        (docs/CHECKPOINTS.md describes every byte).

        Raises OSError; Error if the model is not compiled.
        """
        from .training.saving import save

        trainer = self._compiled()
        trainer.build()
        save(trainer, path)

    def load_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Take all of a checkpoint. The next :meth:`fit`, called as the one that was stopped, goes
        on to the very same bits; with ``initial_epoch`` it begins there instead.

        The model must be built and compiled as that of the checkpoint was. States that carry over
        from batch to batch (stateful layers) are not in it, and begin anew.

        Raises:
            FormatError: the file is damaged, or not a checkpoint of such a model and optimizer.
            OSError: as from open(). Nothing has changed then.
        """
        from .training.saving import load

        trainer = self._compiled()
        trainer.build()
        load(trainer, path)

    # ------------------------------------------------------------------------- for what is built on

    def _drop(self) -> None:
        raise NotImplementedError

    def _plan(self) -> Plan:
        raise NotImplementedError

    def _adopt(self, graph: g.Graph) -> None:
        raise NotImplementedError

    def _meet(self, x: Any) -> None:
        """Data are at hand, from which a model may learn the shape of its input."""

    def _settle(self) -> None:
        """Before weights are read: those of training come first."""
        if self._trainer is not None:
            self._trainer.settle()

    def _outdate(self) -> None:
        """After weights were set: training goes on from them."""
        if self._trainer is not None:
            self._trainer.ahead, self._trainer.outdated = False, True

    def _forget_training(self) -> None:
        """Before layers change: what has been trained is kept, the optimizer's memory is not."""
        if self._trainer is not None:
            self._trainer.settle()
            self._trainer.forget()

    # ----------------------------------------------------------------------------------- internals

    @property
    def graph(self) -> g.Graph:
        raise NotImplementedError

    def _compiled(self) -> Trainer:
        if self._trainer is None:
            raise Error("compile the model first: model.compile(optimizer='adam', loss='mse')")
        return self._trainer

    def _ready(self, x: Any) -> Trainer:
        """The trainer, with an engine."""
        trainer = self._compiled()
        if hasattr(x, "shape") or isinstance(x, list):
            self._meet(x)
        trainer.build()
        return trainer

    def _directions(self) -> dict[str, str | None]:
        """Which way metrics get better, by name."""
        return {name: m.direction for name, _, m, _ in self._compiled().tally.metrics}

    def _weighty(self) -> list[str]:
        layers = self.graph.layers
        return [x.name for x in layers if any(a is not None for _, _, a in x.tensors())]


def _weights(graph: g.Graph) -> list[tuple[g.Layer, str, np.ndarray]]:
    return [
        (layer, name, a)
        for layer in graph.layers
        for name, _, a in layer.tensors()
        if a is not None
    ]


def _one(trainer: Trainer, x: Any, y: Any, sample_weight: Any, lengths: Any) -> Any:
    from .training.feeds import unpacked

    return unpacked(trainer.layout, (x, y, sample_weight, lengths))


def _returned(logs: dict[str, float], as_dict: bool) -> Any:
    if as_dict:
        return logs
    values = list(logs.values())
    return values[0] if len(values) == 1 else values


__all__ = ["Plan", "Trainable"]
