"""Speed of training beside PyTorch and Keras: `python bench/training.py`.

One step of Adam - forward, backward, update - of LSTM + Dense on the last step, mean squared error,
the same weights and batch, by turns in one process, one thread each unless said; PyTorch in the
fastest of its forms (Adam as it comes, fused, foreach). Gradients and the losses of three steps are
compared first: different ones stop the run with status 1. Speed never does.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import statistics
import sys
from dataclasses import dataclass

import numpy as np
from measure import QUICK, Effort, fastest, ratio_of, rounds
from peers import Form

import lstmc
from lstmc import graph as g
from lstmc.training.engine import Engine
from lstmc.training.specs import Loss, Optimizer

RATE, EPSILON = 1e-3, 1e-7
CLOSE = 1e-5  # gradients, relative to the largest
NEAR = 0.1  # losses: PyTorch adds epsilon at another place, so small gradients move weights more


@dataclass(frozen=True)
class Case:
    time: int
    batch: int
    input_size: int
    hidden_size: int
    goal: float  # torch / lstmc

    @property
    def name(self) -> str:
        return f"T={self.time} B={self.batch} I={self.input_size} H={self.hidden_size}"


CASES = [
    Case(100, 64, 10, 50, 1.6), Case(100, 1, 10, 50, 4.5), Case(50, 32, 128, 128, 1.3),
    Case(25, 64, 512, 512, 1.2),
]  # fmt: skip


def network(case: Case) -> tuple[g.Graph, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    h, n = case.hidden_size, case.input_size

    def uniform(*shape: int) -> np.ndarray:
        return rng.uniform(-(h**-0.5), h**-0.5, shape).astype(np.float32)

    layers: list[g.Layer] = [
        g.LSTM(
            name="lstm", inputs=("x",), outputs=("s", None, None), weight_ih=uniform(4 * h, n),
            weight_hh=uniform(4 * h, h), bias=uniform(4 * h),
        ),
        g.LastStep(name="last", inputs=("s",), outputs=("z",)),
        g.Dense(name="dense", inputs=("z",), outputs=("y",), weight=uniform(1, h), bias=uniform(1)),
    ]  # fmt: skip
    graph = g.Graph([g.Value("x", (g.BATCH, g.TIME, n))], [g.Value("y", (g.BATCH, 1))], layers)
    x = rng.standard_normal((case.batch, case.time, n), dtype=np.float32)
    return graph, x, rng.standard_normal((case.batch, 1), dtype=np.float32)


def ours(graph: g.Graph, x: np.ndarray, t: np.ndarray, threads: int) -> Form:
    """An Engine keeps the number of threads that it was made with."""
    before = lstmc.get_num_threads()
    lstmc.set_num_threads(threads)
    engine = Engine(graph, [Loss("mse")], optimizer=Optimizer("adam", RATE, epsilon=EPSILON))
    engine.evaluate([x], [t])
    lstmc.set_num_threads(before)

    def gradient(_: object) -> np.ndarray:
        engine.accumulate([x], [t])
        found = engine.gradients()["lstm"]["weight_hh"]
        engine.clear()
        return found

    return Form("lstmc", lambda: engine.train([x], [t]).loss, gradient)


def torch_forms(graph: g.Graph, x: np.ndarray, t: np.ndarray, threads: int) -> list[Form]:
    import torch

    torch.set_num_threads(threads)
    lstm, _, dense = graph.layers
    assert isinstance(lstm, g.LSTM) and isinstance(dense, g.Dense) and lstm.bias is not None

    def form(name: str, **options: bool) -> Form:
        layer = torch.nn.LSTM(lstm.input_size, lstm.hidden_size, batch_first=True)
        head = torch.nn.Linear(lstm.hidden_size, 1)
        with torch.no_grad():
            for to, a in (
                (layer.weight_ih_l0, lstm.weight_ih), (layer.weight_hh_l0, lstm.weight_hh),
                (layer.bias_ih_l0, lstm.bias), (layer.bias_hh_l0, np.zeros_like(lstm.bias)),
                (head.weight, dense.weight), (head.bias, dense.bias),
            ):  # fmt: skip
                to.copy_(torch.tensor(a))
        layer.bias_hh_l0.requires_grad_(False)  # one bias, as here
        trained = [p for p in (*layer.parameters(), *head.parameters()) if p.requires_grad]
        optimizer = torch.optim.Adam(trained, RATE, eps=EPSILON, **options)
        tx, tt = torch.tensor(x), torch.tensor(t)

        def back() -> torch.Tensor:
            optimizer.zero_grad(set_to_none=True)
            loss = torch.nn.functional.mse_loss(head(layer(tx)[0][:, -1]), tt)
            loss.backward()
            return loss

        def call() -> float:
            loss = back()
            optimizer.step()
            return loss.item()

        def gradient(_: object) -> np.ndarray:
            back()
            return layer.weight_hh_l0.grad.numpy().copy()

        return Form(name, call, gradient)

    return [form("Adam"), form("fused", fused=True), form("foreach", foreach=True)]


def keras_form(x: np.ndarray, t: np.ndarray, hidden: int) -> Form:
    """train_on_batch of the same net, weights of its own."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    model = keras.Sequential(
        [keras.Input(x.shape[1:]), keras.layers.LSTM(hidden), keras.layers.Dense(1)]
    )
    model.compile("adam", "mse")
    return Form("train_on_batch", lambda: model.train_on_batch(x, t))


def agree(case: Case, mine: Form, others: list[Form]) -> None:
    """Exit unless all have the same gradient, and about the same losses in three steps."""
    gradient = mine.read(None)
    losses = [mine.call() for _ in range(3)]
    for form in others:
        apart = np.abs(form.read(None) - gradient).max() / np.abs(gradient).max()
        theirs = [form.call() for _ in range(3)]
        if not np.allclose(losses, theirs, rtol=NEAR) or not apart <= CLOSE:
            sys.exit(
                f"training: {case.name}: {form.name} has losses {theirs}, lstmc {losses}; "
                f"gradients {apart:.1e} apart"
            )


def measure(case: Case, effort: Effort, keras: bool) -> tuple[str, bool]:
    graph, x, t = network(case)
    forms = torch_forms(graph, x, t, 1)
    agree(case, ours(graph, x, t, 1), forms)
    best, _ = fastest(forms, effort.sample)
    lstmc.set_num_threads(2)
    running = {"lstmc": ours(graph, x, t, 1), "torch": best}
    running["lstmc, 2 threads"] = ours(graph, x, t, 2)
    if keras:
        running["Keras"] = keras_form(x, t, case.hidden_size)
    times = rounds(running, effort, ["lstmc", "torch", "lstmc, 2 threads", "Keras"], 0.002)
    one, torch_ms = (1e3 * statistics.median(times[n]) for n in ("lstmc", "torch"))
    ratio, low, high = ratio_of(times["torch"], times["lstmc"])
    faster, _, _ = ratio_of(times["lstmc"], times["lstmc, 2 threads"])
    shown = f"{1e3 * statistics.median(times['Keras']):.2f}" if keras else "-"
    row = (f"| {case.name} | {one:.3f} | {torch_ms:.3f} | {shown} | {ratio:.2f} | "
           f"{low:.2f} - {high:.2f} | {case.goal} | {faster:.2f} |")  # fmt: skip
    return row, ratio < case.goal


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--seconds", type=float, default=5.0, help="for each case (default 5)")
    add("--only", default="", help="cases whose name has this in it")
    add("--quick", action="store_true", help="five short rounds: a check, not a measurement")
    args = parser.parse_args()
    try:
        name = f"PyTorch {importlib.metadata.version('torch')}"
    except importlib.metadata.PackageNotFoundError:
        print("training: no torch here to compare with")
        return 0
    keras = importlib.util.find_spec("keras") is not None
    if keras:
        name += f", Keras {importlib.metadata.version('keras')} on it"
    effort = QUICK if args.quick else Effort(args.seconds, 0.02)
    print("| case | lstmc, ms | PyTorch, ms | Keras, ms | ratio | quartiles | goal | 2 threads |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    behind = []
    for case in CASES:
        if args.only.lower() in case.name.lower():
            row, late = measure(case, effort, keras)
            print(row, flush=True)
            behind += [case.name] if late else []
    print(f"\nOne step of Adam on {lstmc.get_target()}; {name}; 2 threads: of lstmc, one / two.")
    if behind:
        print(f"behind their goals: {', '.join(behind)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
