"""What is measured: the cases of every table, their networks and inputs.

A network is a list of lstmc's own graph layers with random weights; the peers translate it. Arrays
are laid out as lstmc takes them: x and y of recurrent layers [time, batch, features], of Conv1D
[batch, time, features], of Dense [batch, features].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from lstmc import graph as g
from lstmc.model import Model, from_graph

KINDS = {
    "lstm": "",
    "gru": "GRU ",
    "rnn": "RNN ",
    "bilstm": "BiLSTM ",
    "projected": "LSTM+proj ",
    "peephole": "LSTM+peep ",
    "conv1d": "Conv1D ",
    "dense": "Dense ",
}
TAPS = 3  # of Conv1D, which is padded to keep its number of steps


@dataclass(frozen=True)
class Case:
    """One layer returning its sequence; a recurrent one with time=1 is measured as a stream's step.

    hidden_size is the number of channels out of Conv1D and of units of Dense (whose time is 1). A
    projection goes to half the units. goal and stretch are ratios: best peer / lstmc.
    """

    time: int
    batch: int
    input_size: int
    hidden_size: int
    goal: float | None = None
    stretch: float | None = None
    kind: str = "lstm"

    @property
    def name(self) -> str:
        if self.kind == "dense":
            return f"Dense B={self.batch} I={self.input_size} O={self.hidden_size}"
        sizes = f"T={self.time} B={self.batch} I={self.input_size} H={self.hidden_size}"
        return KINDS[self.kind] + sizes

    @property
    def recurrent(self) -> bool:
        return self.kind not in ("conv1d", "dense")

    @property
    def step(self) -> bool:
        """State goes from call to call."""
        return self.recurrent and self.time == 1

    @property
    def features(self) -> int:
        """Of the output."""
        return {"bilstm": 2 * self.hidden_size, "projected": self.hidden_size // 2}.get(
            self.kind, self.hidden_size
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        if self.kind == "dense":
            return self.batch, self.input_size
        if self.kind == "conv1d":
            return self.batch, self.time, self.input_size
        return self.time, self.batch, self.input_size


MAIN = (
    Case(1, 1, 1, 8, 30, 80),
    Case(1, 1, 1, 20, 25, 50),
    Case(1, 1, 1, 40, 15, 29),
    Case(1, 1, 16, 32, 20, 39),
    Case(1, 1, 64, 128, 4, 4.5),
    Case(1, 1, 128, 128, 3.5, 4),
    Case(1, 1, 256, 256, 1.7, 2),
    Case(1, 1, 512, 512, 1.35, 1.57),
    Case(100, 1, 10, 50, 1.45, 1.7),
    Case(100, 1, 64, 64, 1.4, 1.57),
    Case(100, 1, 128, 128, 1.1),
    Case(100, 1, 256, 256, 1.15),
    Case(25, 1, 1024, 1024, 1.2),
    Case(100, 64, 10, 50, 1.25, 1.5),
    Case(100, 8, 128, 128, 1.08, 1.15),
    Case(50, 32, 256, 256, 1),
    Case(25, 64, 512, 512, 1),
    Case(10, 64, 1024, 1024, 1),
)

LAYERS = tuple(
    Case(*sizes, goal=1, kind=kind)
    for kind, rows in {
        "gru": ((1, 1, 1, 8), (1, 1, 128, 128), (100, 1, 10, 50), (100, 1, 128, 128),
                (100, 64, 10, 50), (50, 32, 256, 256)),
        "rnn": ((1, 1, 1, 8), (1, 1, 128, 128), (100, 1, 10, 50), (100, 1, 128, 128),
                (50, 32, 256, 256)),
        "bilstm": ((100, 1, 10, 50), (100, 1, 128, 128), (50, 32, 256, 256)),
        "projected": ((1, 1, 64, 128), (100, 1, 64, 128), (50, 32, 256, 256)),
        "peephole": ((1, 1, 1, 20), (100, 1, 64, 64), (50, 32, 256, 256)),
        "conv1d": ((100, 1, 8, 16), (100, 1, 64, 64), (100, 16, 128, 128)),
        "dense": ((1, 1, 16, 16), (1, 1, 128, 128), (1, 1, 512, 512), (1, 64, 16, 16),
                  (1, 64, 128, 128), (1, 64, 512, 512)),
    }.items()
    for sizes in rows
)  # fmt: skip

# With two threads. goal is that of lstmc's own ratio, one thread / two; beside the peers it is 1.
THREADS = (
    Case(1, 1, 512, 512, 1.6),
    Case(1, 1, 1024, 1024, 1.6),
    Case(25, 1, 512, 512, 1.6),
    Case(25, 1, 1024, 1024, 1.6),
    Case(50, 64, 256, 256, 1.8),
    Case(1, 1, 16, 32, 1),
    Case(100, 1, 64, 64, 1),
)


def uniform(rng: np.random.Generator, size: int) -> Callable[..., np.ndarray]:
    """Arrays as frameworks initialise weights: uniform in +-1/sqrt(size), float32."""
    scale = size**-0.5
    return lambda *shape: rng.uniform(-scale, scale, shape).astype(np.float32)


def network(case: Case, rng: np.random.Generator) -> list[g.Layer]:
    """The layers from "x" to "y"."""
    if case.kind in ("conv1d", "dense"):
        taps = TAPS if case.kind == "conv1d" else 1
        fan_in = taps * case.input_size
        make = uniform(rng, fan_in)
        ends = {"name": case.kind, "inputs": ("x",), "outputs": ("y",)}
        weights = {"weight": make(case.hidden_size, fan_in), "bias": make(case.hidden_size)}
        if case.kind == "dense":
            return [g.Dense(**ends, **weights)]
        pad = {"before": TAPS // 2, "after": TAPS // 2}
        return [g.Conv1D(**ends, **weights, taps=TAPS, **pad)]
    if case.kind == "bilstm":
        both = [layer(case, rng, f"y{i}", reverse=bool(i)) for i in range(2)]
        return [*both, g.Concat(name="both", inputs=("y0", "y1"), outputs=("y",))]
    return [layer(case, rng)]


def layer(
    case: Case, rng: np.random.Generator, y: str = "y", reverse: bool = False
) -> g.LSTM | g.GRU | g.RNN:
    """A recurrent layer from "x" to y."""
    make, h = uniform(rng, case.hidden_size), case.hidden_size
    cls = {"gru": g.GRU, "rnn": g.RNN}.get(case.kind, g.LSTM)
    fed_back = case.features if case.kind == "projected" else h
    rows = cls.gates * h
    more = {
        "gru": lambda: {"recurrent_bias": make(h)},
        "projected": lambda: {"weight_hr": make(fed_back, h)},
        "peephole": lambda: {"peephole": make(3 * h)},
    }.get(case.kind, dict)
    return cls(
        name=f"cell_{y}",
        inputs=("x",),
        outputs=(y,) + (None,) * len(cls.states),
        weight_ih=make(rows, case.input_size),
        weight_hh=make(rows, fed_back),
        bias=make(rows),
        reverse=reverse,
        **more(),
    )


def model(case: Case, layers: list[g.Layer]) -> Model:
    """The lstmc model of a network."""
    axes = {"dense": (g.BATCH,), "conv1d": (g.BATCH, g.TIME)}.get(case.kind, (g.TIME, g.BATCH))
    return from_graph(
        g.Graph(
            [g.Value("x", (*axes, case.input_size))],
            [g.Value("y", (*axes, case.features))],
            layers,
        )
    )


def sample(case: Case, rng: np.random.Generator) -> np.ndarray:
    """An input: standard normal float32."""
    return rng.standard_normal(case.input_shape, dtype=np.float32)


def chosen(cases: Iterable[Case], pattern: str | None) -> list[Case]:
    """Those whose name holds the pattern, upper and lower case alike."""
    return [c for c in cases if not pattern or pattern.lower() in c.name.lower()]
