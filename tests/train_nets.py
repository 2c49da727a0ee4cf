"""Nets that are trained by exported code and by the laptop's Engine, to the same bits.

:func:`export_nets` writes them with the nets.h of tests/c/train_main.c, :func:`expected` is what
that program must print.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from helpers import Net

from lstmc import graph as g
from lstmc import presets
from lstmc.export import Exported, Train, export, pack_weights
from lstmc.export.freeze import freeze
from lstmc.model import Model, from_graph
from lstmc.training.engine import Engine
from lstmc.training.specs import Loss, Optimizer

UPDATES = 50
RATE = float(np.float32(0.01))


@dataclasses.dataclass(frozen=True)
class Case:
    """``model``: one input, one output. ``train``: with Loss and Optimizer."""

    model: Model
    train: Train

    @property
    def loss(self) -> Loss:
        assert isinstance(self.train.loss, Loss)
        return self.train.loss

    @property
    def classes(self) -> int:
        sparse = self.loss.kind == "sparse_categorical_crossentropy"
        return self.model.graph.outputs[0].spec.features if sparse else 0

    def engine(self) -> Engine:
        assert isinstance(self.train.optimizer, Optimizer)
        return Engine(
            self.model.graph, [self.loss], None, self.train.optimizer,
            frozen=self.train.frozen, recompute=self.train.recompute,
        )  # fmt: skip


class Draws:
    """The numbers of train_main.c."""

    def __init__(self) -> None:
        self.state = 1

    def fill(self, shape: Sequence[int], classes: int = 0) -> np.ndarray:
        made = np.empty(int(np.prod(shape)), np.float32)
        for i in range(made.size):
            self.state = (self.state * 1664525 + 1013904223) % 2**32
            drawn = self.state >> 8
            made[i] = (drawn >> 8) % classes if classes else (drawn - 2**23) * 2.0**-23
        return made.reshape(shape)


def bits(values: np.ndarray) -> list[str]:
    words = np.ascontiguousarray(values, np.float32).ravel().view(np.uint32).copy()
    words[(words & 0x7FFFFFFF) > 0x7F800000] = 0x7FC00000
    return [f"{word:08x}" for word in words]


def float_mean(values: Sequence[float]) -> np.float32:
    """As a chip takes the mean of a sequence's losses: one chain of float32."""
    total = np.float32(0)
    for value in values:
        total = np.float32(total + np.float32(value))
    return np.float32(total / np.float32(len(values)))


def step_losses(case: Case, y: np.ndarray, truth: np.ndarray) -> np.float32:
    """The loss of a sequence from the losses of each of its steps, by an engine for one vector."""
    if case.model.graph.outputs[0].spec.time is None:
        raise AssertionError("one step: the engine's own loss is it")
    features = y.shape[-1]
    net = Net(0)
    x = net.input(features, time=False)
    identity = net.simple(g.Affine, x, scale=np.ones(features, np.float32))
    engine = Engine(net.graph(identity), [case.loss], None, case.train.optimizer)
    values = []
    for one, want in zip(
        y.reshape(-1, features), truth.reshape(y.size // features, -1), strict=True
    ):
        target = want if case.classes else want[None]
        values.append(engine.evaluate([one[None]], [target]).loss)
    return float_mean(values)


def expected(name: str, case: Case, preset: str, updates: int = UPDATES) -> list[str]:
    """The lines of the program."""
    engine, draws, graph = case.engine(), Draws(), case.model.graph
    chip = presets.find(preset)
    frozen = freeze(case.model, chip, None if case.model._core.cuttable else case.train.time,
                    case.train)  # fmt: skip
    training = frozen.training
    assert training is not None
    steps = 1 if graph.outputs[0].spec.time is None else training.time
    features = graph.outputs[0].spec.features
    lines = []
    for _ in range(updates):
        losses = []
        for _ in range(case.train.batch):
            x = draws.fill(_shape(graph.inputs[0], training.time))
            truth = draws.fill((1, steps) if case.classes else (1, steps, features), case.classes)
            if not graph.outputs[0].spec.time:
                truth = truth[:, 0]
            result = engine.accumulate([x], [truth], scale=1 / (case.train.batch * steps))
            if steps == 1:
                losses.append(np.float32(result.loss))
            else:
                losses.append(step_losses(case, result.outputs[0], truth))
        engine.update(RATE)
        lines.append(" ".join([name, *bits(np.array(losses)), f"{_crc(case, preset, engine):08x}"]))
    stream = from_graph(engine.graph())
    digest = _golden(case.model, frozen)
    outputs = []
    run = stream.stream() if case.model._core.cuttable and graph.clocks else None
    for _ in range(3):
        x = draws.fill(_shape(graph.inputs[0], 1 if run else training.time))
        outputs += bits(run.step(x[:, 0] if x.ndim == 3 else x) if run else stream.predict(x))
    lines.append(f"{name} selftest {digest:08x} {digest:08x} {' '.join(outputs)}")
    return lines


def _golden(model: Model, frozen: object) -> int:
    from lstmc.export.sample import sample_of

    sample = sample_of(model, frozen)
    assert sample is not None
    return sample.digest


def _shape(value: g.Value, steps: int) -> tuple[int, ...]:
    features = value.spec.features
    return (1, features) if value.spec.time is None else (1, steps, features)


def _crc(case: Case, preset: str, engine: Engine) -> int:
    words = pack_weights(case.model, preset, case.train, engine.read())
    return int(words[-1])


def export_nets(directory: Path, preset: str, cases: dict[str, Case]) -> list[Path]:
    """The C files of all, and nets.h beside them."""
    lists = []
    for name, case in cases.items():
        graph = case.model.graph
        time = None if case.model._core.cuttable or not graph.clocks else case.train.time
        made: Exported = export(case.model, directory, name, preset, time=time, train=case.train)
        assert made.golden_digest is not None
        out = graph.outputs[0].spec
        steps = 1 if out.time is None else case.train.time
        lists.append(
            f"X({name}, {name.upper()}, {graph.inputs[0].spec.features}, {out.features}, {steps}, "
            f"{case.classes})"
        )
    text = "".join(f'#include "{name}.h"\n' for name in cases)
    (directory / "nets.h").write_text(f"{text}#define NETS(X) {' '.join(lists)}\n")
    return [directory / f for name in cases for f in (f"{name}.c", f"{name}_weights.c")]


# ----------------------------------------------------------------------------------------- nets


def _case(
    net: Net, output: str, loss: Loss, optimizer: Optimizer, time: int | None, **more: object
):
    return Case(from_graph(net.graph(output)), Train(loss, optimizer, time, **more))


@functools.cache
def cases() -> dict[str, Case]:
    """For every machine: small ones."""
    net = Net(1)
    h = net.lstm(net.input(3), 5, outputs="h")["h"]
    lstm = _case(net, net.dense(h, 2), Loss("mse"), Optimizer("adam"), 6)
    net = Net(2)
    net.add(
        g.GRU, net.input(2), ["s", None], weight_ih=net.weight(18, 2), weight_hh=net.weight(18, 6),
        bias=net.weight(18), recurrent_bias=net.weight(6), reset_after=True,
    )  # fmt: skip
    gru = _case(net, net.dense("v0s", 1), Loss("huber", delta=0.5), Optimizer("adam"), 5)
    net = Net(3)
    x = net.dense(net.input(4, time=False), 7, activation=g.RELU)
    dense = _case(
        net, net.dense(x, 3), Loss("sparse_categorical_crossentropy", from_logits=True),
        Optimizer("adam", weight_decay=0.01), None, batch=2,
    )  # fmt: skip
    return {"lstm_net": lstm, "gru_net": gru, "dense_net": dense}
