"""A trainer as constants: what the core lays out for one row, as ``freeze`` does with a session."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import _core
from .. import graph as g
from ..errors import ConversionError, RangeError, ShapeError, UnknownNameError
from ..model import Model
from ..training.specs import OPTIMIZERS, Loss, Optimizer
from . import sources

if TYPE_CHECKING:
    from .freeze import Frozen, Records

MOST_STEPS = 1 << 20  # of a sequence
MOST_FLOATS = 1 << 30  # of a call: places are numbers of 32 bits


@dataclass(frozen=True)
class Train:
    """What a firmware is to train, and how.

    Args:
        loss: of every output, or one for each; None where an output has none.
        optimizer: with its learning rate, which a call may replace.
        time: steps of a sequence; None only where no input has steps of its own.
        frozen: names of layers whose weights stay in flash.
        recompute: less memory and more computing, the same results.
        batch: sequences that make an update: gradients are those of their mean.
        loss_weights: of each output; 1 if None.
    """

    loss: str | Loss | Sequence[Loss | None] = "mse"
    optimizer: str | Optimizer = "adam"
    time: int | None = None
    frozen: Collection[str] = ()
    recompute: bool = False
    batch: int = 1
    loss_weights: Sequence[float] | None = None


@dataclass(frozen=True)
class Tensor:
    """One that is trained: where it is among all those, and its shape in panels."""

    layer: str
    field: str
    place: int
    floats: int
    gates: int
    k: int
    units: int
    panel: int


@dataclass(frozen=True)
class View:
    """Where floats of a value are in the memory of a call; place None: nowhere, or the caller's."""

    place: int | None
    features: int
    steps: int
    has_time: bool


NOWHERE = View(None, 0, 0, False)


@dataclass
class TrainLayer:
    """A layer in a trainer. ``run`` and ``record`` are the layer's own, for what takes its run;
    ``training`` None: no gradient comes here."""

    name: str
    kind: str
    file: str
    run: str
    reset: str | None
    record: str
    fields: dict[str, Any]
    state: int
    state_floats: int
    training: sources.TrainOperations | None = None
    train_fields: dict[str, Any] = field(default_factory=dict)
    saved: int | None = None
    packed: int | None = None
    dx: list[View] = field(default_factory=list)
    dy: list[View] = field(default_factory=list)
    #: Inputs whose gradient is added to what is there: (input, where it is).
    added: list[tuple[int, View]] = field(default_factory=list)
    #: Gradients that start from zeros before this layer's backward.
    zeroed: list[View] = field(default_factory=list)


@dataclass
class TrainOutput:
    """An output with a loss; ``gradient`` has no place if nothing that is trained leads there."""

    value: int
    gradient: View
    loss: Loss
    weight: float


@dataclass
class Training:
    """All that a firmware's training is made of. Sizes are in floats."""

    optimizer: Optimizer
    time: int
    batch: int
    tensors: list[Tensor]
    weights: int
    slots: int
    values: list[View]
    layers: list[TrainLayer]
    outputs: list[TrainOutput]
    zeroed: list[View]  # the gradients of all outputs: they start from zeros
    state: int
    scratch: int  # where it is
    work: int  # all memory of a call

    @property
    def kept(self) -> int:
        """Words that are kept from call to call: weights, gradients, the optimizer's."""
        return self.weights * (2 + self.slots) + 3

    @property
    def functions(self) -> set[str]:
        """The cases of switches that are taken, by their full names."""
        kinds = {f"LSTMC_LOSS_{o.loss.kind.upper()}" for o in self.outputs}
        found = {k.replace("SPARSE_CATEGORICAL", "SPARSE") for k in kinds}
        return found | {f"LSTMC_OPTIMIZER_{self.optimizer.kind.upper()}"}


def optimizer_words(o: Optimizer) -> tuple[Any, ...]:
    """As ``_core`` takes it."""
    return (
        OPTIMIZERS.index(o.kind), o.learning_rate, o.momentum, o.nesterov, o.rho, o.beta_1,
        o.beta_2, o.epsilon, o.weight_decay, o.centered, o.amsgrad, o.clipvalue or 0.0,
        o.clipnorm or 0.0, o.global_clipnorm or 0.0,
    )  # fmt: skip


class Trainer:
    """What the core has laid out, until a firmware's memory is."""

    def __init__(self, model: Model, train: Train) -> None:
        self.model = model
        self.train = train
        graph = model.graph
        names = [layer.name for layer in graph.layers]
        if graph.bindings:
            raise ConversionError(
                "a model whose state comes from outside (--state) can't be trained on a chip: "
                "train it here, or convert its source without state"
            )
        for name in train.frozen:
            if name not in names:
                raise UnknownNameError(
                    f"there is no layer '{name}' to freeze; there are {', '.join(names)}"
                )
        if not 1 <= train.batch <= 1 << 20:
            raise RangeError(f"a batch of {train.batch} sequences: from 1 to {1 << 20}")
        self.time = self._time()
        self.losses = self._losses()
        frozen = bytes(name in train.frozen for name in names)
        try:
            self.found = _core.freeze_training(model._core, self.time, frozen, train.recompute)
        except ConversionError:
            raise ConversionError(
                "gradients can't pass a layer of this model: freeze the layers before it"
            ) from None
        self.trained = [i for i, (at, _) in enumerate(self.found["tensors"]) if at]
        if not self.trained:
            raise ConversionError("no weight is left to be trained: all layers are frozen")

    def _time(self) -> int:
        clocks, time = self.model.graph.clocks, self.train.time
        if time is None:
            if clocks:
                raise ShapeError("say how many steps a sequence for training has, --time N")
            return 1
        if not clocks and time != 1:
            raise ShapeError("no input has steps of its own: --time says nothing here")
        if not 1 <= time <= MOST_STEPS:
            raise ShapeError(f"a sequence of {time} steps: from 1 to {MOST_STEPS}")
        return time

    def _losses(self) -> list[Loss | None]:
        given, outputs = self.train.loss, self.model.graph.outputs
        if isinstance(given, str):
            given = Loss(given)
        losses: list[Loss | None] = list(given) if not isinstance(given, Loss) else []
        if isinstance(given, Loss):
            losses = [given for _ in outputs]
        if len(losses) != len(outputs):
            raise ShapeError(f"{len(losses)} losses for {len(outputs)} outputs")
        if not any(losses):
            raise ShapeError("no output has a loss")
        weights = self.train.loss_weights
        if weights is not None and len(weights) != len(outputs):
            raise ShapeError(f"{len(weights)} weights of losses for {len(outputs)} outputs")
        return losses

    # ----------------------------------------------------------------------------------- freezing

    def freeze(self, frozen: Frozen, reader: Records) -> Training:
        """With the places of a firmware's memory."""
        from .freeze import Pointer

        weights, train = reader.weights, self.train
        optimizer = train.optimizer
        if isinstance(optimizer, str):
            optimizer = Optimizer(optimizer)
        tensors = self._tensors(reader)
        for i, tensor in zip(self.trained, tensors, strict=True):
            at, gradient = self.found["tensors"][i]
            reader.moved.append((at, tensor.floats, Pointer("trained", tensor.place)))
            reader.moved.append((gradient, tensor.floats, Pointer("gradients", tensor.place)))
        made = Training(
            optimizer, self.time, train.batch, tensors, weights.trained_floats,
            _core.optimizer_slots(optimizer_words(optimizer)), self._values(), [], [], [],
            self.found["state"], 0, 0,
        )  # fmt: skip
        layers = self.model.graph.layers
        for layer, facts in zip(layers, self.found["layers"], strict=True):
            made.layers.append(self._layer(layer, facts, reader))
        for one in made.layers:
            if one.fields.get("fused") and (not one.training or one.training.runs):
                frozen.cells.add("LSTM" if one.fields["gates"] == 4 else "GRU")
        _Planner(self, made).plan()
        return made

    def _tensors(self, reader: Records) -> list[Tensor]:
        fields = [
            (layer.name, name)
            for layer in self.model.graph.layers
            for name, _, array in layer.tensors()
            if array is not None
        ]
        made = []
        for i in self.trained:
            _, size, _, gates, k, units, panel, *_ = map(int, reader.weights.records[i])
            place = reader.weights.places[i]
            made.append(Tensor(*fields[i], place, size // 4, gates, k, units, panel))
        return made

    def _values(self) -> list[View]:
        graph = self.model.graph
        specs, clocks = graph.infer(), dict.fromkeys(graph.clocks, self.time)
        if reason := graph.misfit(specs, clocks):
            raise ShapeError(f"sequences of {self.time} steps don't fit: {reason}")
        made = []
        for name in graph.written:
            spec = specs[name]
            steps = 1 if spec.time is None else spec.time.count(clocks)
            if not steps:
                raise ShapeError(f"with {self.time} steps nothing is left of the value '{name}'")
            made.append(View(None, spec.features, steps, spec.time is not None))
        return made

    def _layer(self, layer: g.Layer, facts: tuple[Any, ...], reader: Records) -> TrainLayer:
        code, record, state, floats, training = facts
        ops = sources.layers()[code]
        fields = reader.read(ops.record, record, ops.file)
        reset = ops.reset
        if ops.record == "lstmc_recurrent":
            starts = fields["start_h"], fields["start_c"]
            reset = ops.reset if any(p.where != "null" for p in starts) else None
        made = TrainLayer(
            layer.name, type(layer).__name__, ops.file, ops.run, reset, ops.record, fields, state,
            floats,
        )  # fmt: skip
        if training:
            made.training = found = sources.trainings()[code]
            if found.record:
                made.train_fields = reader.read(found.record, training[0], found.file, ops.file)
        return made


def find(model: Model, train: Train) -> Trainer:
    """The trainer of a packed model.

    Raises ConversionError where gradients can't go or nothing is trained, ShapeError for steps or
    losses that don't fit, UnknownNameError for layers, losses, optimizers that are not there,
    RangeError for numbers.
    """
    return Trainer(model, train)


class _Planner:
    """Where all floats of a call are: what is not needed at the same time may share memory.

    Forward of layer i is at time i, the losses at L, the number of layers, backward at 2 L - i.
    """

    def __init__(self, trainer: Trainer, training: Training) -> None:
        self.trainer = trainer
        self.training = training
        self.graph = trainer.model.graph
        self.ids = {name: i for i, name in enumerate(self.graph.written)}
        self.end = 2 * len(self.graph.layers)
        self.blocks: list[tuple[int, int, int, Any]] = []  # floats, first, last, who gets the place

    def plan(self) -> None:
        t, found = self.training, self.trainer.found
        places: dict[Any, int] = {}
        if t.state:
            self._block(t.state, 0, self.end, "state")
        if found["scratch"]:
            self._block(found["scratch"], 0, self.end, "scratch")
        for i, view in enumerate(t.values):
            if i >= len(self.graph.inputs):
                first, last = self._life(i)
                self._block(view.features * view.steps, first, last, ("value", i))
            if found["wanted"][i]:
                first, last = self._gradient_life(i)
                self._block(view.features * view.steps, first, last, ("gradient", i))
        for i, (layer, facts) in enumerate(zip(t.layers, found["layers"], strict=True)):
            if not layer.training:
                continue
            _, saved, packed, _ = facts[4]
            for floats, what in ((saved, "saved"), (packed, "packed")):
                if floats:
                    self._block(floats, i, self.end - i, (what, i))
            for j, name in enumerate(self.graph.layers[i].inputs):
                if found["extra"][i][j] and name is not None:
                    view = t.values[self.ids[name]]
                    self._block(view.features * view.steps, self.end - i, self.end - i,
                                ("extra", i, j))  # fmt: skip
        t.work = self._place(places)
        if t.work > MOST_FLOATS:
            raise ShapeError(f"a sequence of {t.time} steps takes more memory than a chip can have")
        t.scratch = places.get("scratch", 0)
        self._set(places)

    def _block(self, floats: int, first: int, last: int, who: Any) -> None:
        self.blocks.append((floats, first, last, who))

    def _life(self, value: int) -> tuple[int, int]:
        """When a value is made, and when it is looked at for the last time."""
        first, last = 0, 0
        for i, layer in enumerate(self.graph.layers):
            uses = [self.ids[n] for n in layer.inputs if n is not None]
            made = [self.ids[n] for n in layer.outputs if n is not None]
            if value in made:
                first = i
            if value in uses or value in made:
                last = max(last, i)
                if self.training.layers[i].training:
                    last = max(last, self.end - i)
        if value in (self.ids[v.name] for v in self.graph.outputs):
            last = max(last, len(self.graph.layers))
        return first, last

    def _gradient_life(self, value: int) -> tuple[int, int]:
        """From the first that writes it, the loss or the last reader's backward, to its maker's."""
        first, last = self.end, 0
        for i, layer in enumerate(self.graph.layers):
            if value in [self.ids[n] for n in layer.inputs if n is not None]:
                first = min(first, self.end - i)
            if value in [self.ids[n] for n in layer.outputs if n is not None]:
                last = max(last, self.end - i)
        if value in (self.ids[v.name] for v in self.graph.outputs):
            first = len(self.graph.layers)
        return first, max(first, last)

    def _place(self, places: dict[Any, int]) -> int:
        """Large ones first, each as low as it can be."""
        put: list[tuple[int, int, int, int]] = []  # place, end, first, last
        for floats, first, last, who in sorted(self.blocks, key=lambda b: -b[0]):
            at = 0
            for start, end, a, b in sorted(put):
                if a <= last and first <= b and start < at + floats and at < end:
                    at = end
            put.append((at, at + floats, first, last))
            places[who] = at
        return max((end for _, end, *_ in put), default=0)

    def _set(self, places: dict[Any, int]) -> None:
        t, found = self.training, self.trainer.found

        def view(value: int, who: Any) -> View:
            v = t.values[value]
            return View(places.get(who), v.features, v.steps, v.has_time)

        gradients = [
            view(i, ("gradient", i)) if found["wanted"][i] else NOWHERE
            for i in range(len(t.values))
        ]
        t.values = [view(i, ("value", i)) for i in range(len(t.values))]
        outputs = [self.ids[v.name] for v in self.graph.outputs]
        zeroed = set(outputs)
        for i in reversed(range(len(t.layers))):
            layer, facts = t.layers[i], found["layers"][i][4]
            layer.state += places.get("state", 0)
            if not layer.training:
                continue
            layer.saved, layer.packed = places.get(("saved", i)), places.get(("packed", i))
            node = self.graph.layers[i]
            layer.dy = [NOWHERE if n is None else gradients[self.ids[n]] for n in node.outputs]
            for j, name in enumerate(node.inputs):
                value = None if name is None else self.ids[name]
                blocked = j < 32 and facts[3] >> j & 1
                if value is None or blocked or not found["wanted"][value]:
                    layer.dx.append(NOWHERE)
                elif found["extra"][i][j]:
                    layer.dx.append(view(value, ("extra", i, j)))
                    layer.added.append((j, gradients[value]))
                    if value not in zeroed:
                        layer.zeroed.append(gradients[value])
                        zeroed.add(value)
                else:
                    layer.dx.append(gradients[value])
        weights = self.trainer.train.loss_weights or [1.0] * len(outputs)
        for value, loss, weight in zip(outputs, self.trainer.losses, weights, strict=True):
            if loss is not None:
                t.outputs.append(TrainOutput(value, gradients[value], loss, float(weight)))
        t.zeroed = [gradients[v] for v in dict.fromkeys(outputs) if found["wanted"][v]]


__all__ = ["NOWHERE", "Tensor", "Train", "TrainLayer", "TrainOutput", "Trainer", "Training",
           "View", "find", "optimizer_words"]  # fmt: skip
