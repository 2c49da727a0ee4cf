"""A case on lstmc and its peers: outputs compared, the fastest forms chosen, all of them timed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from measure import Effort, fastest, ratio_of, rounds
from ours import Lstmc
from peers import Form, Peer
from workloads import Case, network, sample

CLOSE, FAR = 1e-5, 1e-4  # outputs differ by no more; by no more, with a note
CHECKED_CALLS = 3  # a step that loses its state is wrong at the second
OURS, ALONE = "lstmc", "lstmc with one thread"
PAUSE = 0.03  # seconds that pools of threads are given to fall asleep


class WrongOutput(Exception):
    """A peer doesn't compute what lstmc does."""


@dataclass
class Result:
    """A case measured. Times are medians in microseconds; ratio is best peer / lstmc."""

    case: str
    goal: float | None
    stretch: float | None
    threads: int
    lstmc_us: float
    peers_us: dict[str, float]  # an engine that can't run the case is not in it
    forms: dict[str, str]  # the fastest way found to call each
    trial_us: dict[str, dict[str, float]]  # of every way
    difference: dict[str, float]  # largest, from lstmc's output
    rounds: int
    best: str | None = None  # the peer with the lowest median
    ratio: float | None = None
    low: float | None = None  # quartiles of the ratio
    high: float | None = None
    alone_us: float | None = None  # lstmc with one thread, where there are more
    speedup: float | None = None  # lstmc with one thread / with so many
    notes: list[str] = field(default_factory=list)

    @property
    def behind(self) -> bool:
        """Below its goal: that of the ratio, or of the speed-up while the ratio's is 1."""
        if self.threads == 1:
            return bool(self.goal and self.ratio and self.ratio < self.goal)
        slower = bool(self.ratio and self.ratio < 1)
        return slower or bool(self.goal and self.speedup and self.speedup < self.goal)


def compare(case: Case, peers: Sequence[Peer], effort: Effort, threads: int = 1) -> Result:
    """Measure one case; WrongOutput if a peer's is not lstmc's."""
    rng = np.random.default_rng(1)
    layers = network(case, rng)
    x = sample(case, rng)
    theirs = {p.name: p.forms(case, layers, x, threads) for p in peers}
    forms: dict[str, Form] = {}
    if threads > 1:
        (forms[ALONE],) = Lstmc().forms(case, layers, x, 1)
    (forms[OURS],) = Lstmc().forms(case, layers, x, threads)
    own = list(forms)
    differences, notes = check(case.name, forms[OURS], theirs)
    trials = {}
    for name, ways in theirs.items():
        if ways:
            forms[name], trials[name] = fastest(ways, effort.sample)
    times = rounds(forms, effort, own, PAUSE if threads > 1 else 0.0)
    medians = {name: statistics.median(t) * 1e6 for name, t in times.items()}
    result = Result(
        case.name, case.goal, case.stretch, threads, medians[OURS],
        {n: m for n, m in medians.items() if n not in own},
        {n: f.name for n, f in forms.items()}, trials, differences, len(times[OURS]),
        alone_us=medians.get(ALONE), notes=notes,
    )  # fmt: skip
    if result.peers_us:
        best = result.best = min(result.peers_us, key=lambda n: medians[n])
        result.ratio, result.low, result.high = ratio_of(times[best], times[OURS])
    if ALONE in times:
        result.speedup, *_ = ratio_of(times[ALONE], times[OURS])
    return result


def check(
    case: str, ours: Form, peers: dict[str, Sequence[Form]]
) -> tuple[dict[str, float], list[str]]:
    """The largest difference of each peer from ours in any form, and notes on those not CLOSE."""
    want = outputs(ours)
    differences: dict[str, float] = {}
    notes = []
    for name, forms in peers.items():
        for form in forms:
            who = f"{name} ({form.name})"
            try:
                d = difference(want, outputs(form))
            except WrongOutput as e:
                raise WrongOutput(f"{case}: {who}: {e}") from None
            if not d <= FAR:  # NaN too
                raise WrongOutput(f"{case}: {who} differs by {d:g}")
            if d > CLOSE:
                notes.append(f"{who} differs by {d:.1e}")
            differences[name] = max(d, differences.get(name, 0.0))
    return differences, notes


def outputs(form: Form) -> list[np.ndarray]:
    """Of the first calls, copied."""
    if form.before:
        form.before()
    return [np.array(form.read(form.call())) for _ in range(CHECKED_CALLS)]


def difference(want: list[np.ndarray], got: list[np.ndarray]) -> float:
    """The largest, NaN if there is one. Axes of size 1 may be missing."""
    pairs = [(np.squeeze(w), np.squeeze(g)) for w, g in zip(want, got, strict=True)]
    for w, g in pairs:
        if w.shape != g.shape:
            raise WrongOutput(f"shape {g.shape} instead of {w.shape}")
    return float(np.max([np.abs(w - g).max() for w, g in pairs]))
