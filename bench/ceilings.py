"""Figures that should stay below a goal: overhead in Python, time to import, cost of silence."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from measure import Effort, fastest, ratio_of, rounds
from ours import Lstmc
from peers import Form, Peer
from workloads import Case, network, sample

from lstmc import graph as g


@dataclass
class Ceiling:
    """The median of a figure, its quartiles, the most it should be, and the same of the peers."""

    case: str
    figure: float
    low: float
    high: float
    goal: float
    stretch: float | None = None
    unit: str = "x"
    peers: dict[str, float] = field(default_factory=dict)

    @property
    def behind(self) -> bool:
        return self.figure > self.goal


# ------------------------------------------------------------------------------ Python's overhead


def overhead(peers: Sequence[Peer], effort: Effort) -> Iterator[Ceiling]:
    """A stream's step beside the smallest call into numpy, and the import beside numpy's."""
    case = Case(1, 1, 1, 8)
    rng = np.random.default_rng(1)
    layers, x = network(case, rng), sample(case, rng)
    (step,) = Lstmc().forms(case, layers, x, 1)
    a, b, c = (np.zeros(case.hidden_size, np.float32) for _ in range(3))
    add = Form("np.add", lambda: np.add(a, b, out=c))
    times = rounds({"step": step, "add": add}, effort, keep=("step", "add"))
    yield Ceiling(
        f"stream.step(x, out), {case.name} / np.add(a, b, out=c)",
        *ratio_of(times["step"], times["add"]), goal=1.5, stretch=1.0,
    )  # fmt: skip
    yield importing(21 if effort.seconds else 3)


def importing(pairs: int) -> Ceiling:
    """Milliseconds that `import lstmc` adds to `import numpy`, in new processes by turns."""
    programs = {n: f"import numpy, {n}" for n in ("numpy", "lstmc")}
    times = {n: [_process(code) for _ in (0, 1)][1:] for n, code in programs.items()}
    for _ in range(pairs - 1):
        for n, code in programs.items():
            times[n].append(_process(code))
    added = [(b - a) * 1e3 for a, b in zip(times["numpy"], times["lstmc"], strict=True)]
    low, middle, high = statistics.quantiles(added, n=4)
    return Ceiling("import lstmc, beyond import numpy", middle, low, high, 15.0, unit="ms")


def _process(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
    return time.perf_counter() - start


# --------------------------------------------------------------------------- silence, denormals

DECAY = 0.9  # of the input a step, where it dies away
FAINTEST = 1e-41  # and stays at: a subnormal
SETTLED = 3000  # steps until the state of any engine no longer shrinks
TAILS: dict[str, Callable[[int], float]] = {
    "silent tail": lambda step: 0.0,
    "faint tail": lambda step: max(DECAY**step, FAINTEST),
}
DYING = (Case(1, 1, 16, 32), Case(1, 1, 128, 128), Case(1, 1, 16, 32, kind="gru"))


def denormals(peers: Sequence[Peer], effort: Effort) -> Iterator[Ceiling]:
    """Time of a stream's step long after the sound has gone / while it is loud.

    The network forgets slowly and feeds back little, so its state sinks into the subnormal numbers,
    which cost some CPUs a hundred cycles each. Peers run with their own defaults.
    """
    for case in DYING:
        for tail, gain in TAILS.items():
            forms: dict[str, Form] = {}
            for engine in (Lstmc(), *peers):
                pair = fading(engine, case, gain, effort)
                forms |= {f"{engine.name} {n}": f for n, f in pair.items()}
            times = rounds(forms, effort, keep=tuple(forms))
            costs = {
                e.name: ratio_of(times[f"{e.name} tail"], times[f"{e.name} loud"])
                for e in (Lstmc(), *peers)
                if f"{e.name} tail" in forms
            }
            own = costs.pop("lstmc")
            figures = {n: c[0] for n, c in costs.items()}
            yield Ceiling(f"{tail} / loud, {case.name}", *own, goal=1.1, peers=figures)


def fading(
    engine: Peer, case: Case, gain: Callable[[int], float], effort: Effort
) -> dict[str, Form]:
    """Two streams of an engine in its fastest form: one stays loud, one has settled in the tail."""
    rng = np.random.default_rng(1)
    layers = [forgetful(layer) for layer in network(case, rng)]
    loud = sample(case, rng)
    ways = engine.forms(case, layers, loud, 1)
    if not ways:
        return {}
    form, _ = fastest(ways, effort.sample)
    dying = loud.copy()
    tail = next(f for f in engine.forms(case, layers, dying, 1) if f.name == form.name)
    tail.call()
    for step in range(SETTLED):
        np.multiply(loud, np.float32(gain(step)), out=dying)
        tail.call()
    return {"loud": form, "tail": tail}


def forgetful(layer: g.Layer) -> g.Layer:
    """Without biases but one that keeps 88 % of the state a step; recurrent weights a quarter."""
    bias = np.zeros_like(layer.bias)
    h = layer.hidden_size
    bias[h : 2 * h] = 2.0  # the forget gate of an LSTM, z of a GRU
    changed = {"bias": bias, "weight_hh": layer.weight_hh / 4}
    if isinstance(layer, g.GRU):
        changed["recurrent_bias"] = np.zeros_like(layer.recurrent_bias)
    return replace(layer, **changed)
