"""Timing engines side by side: the same work, the same minute, the same core.

Every round times each engine once, for 5 ms and more; the ratio of a case is the median over the
rounds of (best peer / lstmc), the best peer being the one with the lowest median. Times on a shared
machine are noise; ratios within a round much less so.
"""

from __future__ import annotations

import gc
import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from peers import Form

if TYPE_CHECKING:
    from workloads import Case

CLOSE, FAR = 1e-5, 1e-4  # outputs differ by no more, or by no more with a note
CHECKED_CALLS = 3  # a step that loses its state is wrong at the second
MIN_ROUNDS = 5
HOPELESS = 2.5  # times slower than the best peer: MIN_ROUNDS rounds say enough


class WrongOutput(Exception):
    """A peer doesn't compute what lstmc does."""


@dataclass
class Result:
    """A case measured. Times are medians in microseconds; ratio is best peer / lstmc."""

    case: str
    goal: float | None
    stretch: float | None
    lstmc_us: float
    peers_us: dict[str, float]  # an engine that can't run the case is not in it
    forms: dict[str, str]  # the fastest way found to call each
    trial_us: dict[str, dict[str, float]]  # of every way
    difference: dict[str, float]  # largest, from lstmc's output
    best: str | None = None
    ratio: float | None = None
    low: float | None = None  # quartiles of the ratio
    high: float | None = None
    rounds: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def behind(self) -> bool:
        return bool(self.goal and self.ratio and self.ratio < self.goal)


def seconds_of(form: Form, repeats: int) -> float:
    """A call, on average; a first one warms the caches up if there are several."""
    if form.before:
        form.before()
    call = form.call
    if repeats > 1:
        call()
    loop = itertools.repeat(None, repeats)
    start = time.perf_counter()
    for _ in loop:
        call()
    return (time.perf_counter() - start) / repeats


def repeats_for(form: Form, sample: float) -> int:
    """So many calls take sample seconds, or one does."""
    once = min(seconds_of(form, 1), seconds_of(form, 1))
    if once < sample / 20:
        once = seconds_of(form, max(1, int(sample / 10 / once)))
    return max(1, round(sample / once))


def outputs(form: Form) -> list[np.ndarray]:
    return [np.array(form.read(form.call())) for _ in range(CHECKED_CALLS)]


def difference(want: list[np.ndarray], got: list[np.ndarray]) -> float:
    """The largest; NaN if there is one. Shapes may differ in axes of size 1."""
    pairs = [(w, g) for w, g in zip(want, got, strict=True)]
    if any(w.size != g.size for w, g in pairs):
        raise WrongOutput(f"shape {pairs[0][1].shape} instead of {pairs[0][0].shape}")
    return float(np.max([np.abs(w.ravel() - g.ravel()).max() for w, g in pairs]))


def fastest(forms: Sequence[Form], sample: float) -> tuple[Form, dict[str, float]]:
    """The form with the lowest median of three samples, and those medians in microseconds."""
    if len(forms) == 1:
        return forms[0], {}
    counts = [repeats_for(f, sample) for f in forms]
    trials = [[seconds_of(f, n) for f, n in zip(forms, counts, strict=True)] for _ in range(3)]
    medians = [statistics.median(t) for t in zip(*trials, strict=True)]
    times = {f.name: m * 1e6 for f, m in zip(forms, medians, strict=True)}
    return forms[int(np.argmin(medians))], times


def rounds(
    forms: dict[str, Form], seconds: float, sample: float, keep: Sequence[str], pause: float = 0
) -> dict[str, list[float]]:
    """Seconds a call by engine, one entry for every round that it took part in.

    Engines take turns to begin. Those that keep doesn't name drop out when they are HOPELESS.
    pause is slept before every sample: the idle threads of another engine may spin so long.
    """
    counts = {name: repeats_for(form, sample) for name, form in forms.items()}
    times: dict[str, list[float]] = {name: [] for name in forms}
    order = list(forms)
    collecting = gc.isenabled()
    gc.disable()
    try:
        end = time.perf_counter() + seconds
        done = 0
        while done < MIN_ROUNDS or time.perf_counter() < end:
            for name in order:
                if pause:
                    time.sleep(pause)
                times[name].append(seconds_of(forms[name], counts[name]))
            done += 1
            if done == MIN_ROUNDS:
                medians = {n: statistics.median(t) for n, t in times.items() if n not in keep}
                limit = HOPELESS * min(medians.values(), default=0)
                order = [n for n in order if medians.get(n, 0) <= limit]
            order = order[1:] + order[:1]
    finally:
        if collecting:
            gc.enable()
    return times


def ratio_of(above: list[float], below: list[float]) -> tuple[float, float, float]:
    """Median and quartiles of the pairwise ratios."""
    pairs = [a / b for a, b in zip(above, below, strict=False)]
    low, middle, high = statistics.quantiles(pairs, n=4)
    return middle, low, high


def compare(
    case: Case, ours: Form, peers: dict[str, Sequence[Form]], seconds: float, sample: float
) -> Result:
    """Check every form of every peer, choose the fastest of each, time them against lstmc."""
    want = outputs(ours)
    differences: dict[str, float] = {}
    notes = []
    for name, forms in peers.items():
        for form in forms:
            try:
                d = difference(want, outputs(form))
            except WrongOutput as e:
                raise WrongOutput(f"{case.name}: {name} ({form.name}): {e}") from None
            if not d <= FAR:
                raise WrongOutput(f"{case.name}: {name} ({form.name}) differs by {d:g}")
            if d > CLOSE:
                notes.append(f"{name} ({form.name}) differs by {d:.1e}")
            differences[name] = max(d, differences.get(name, 0.0))
    chosen: dict[str, Form] = {"lstmc": ours}
    trials: dict[str, Any] = {}
    for name, forms in peers.items():
        if forms:
            chosen[name], trials[name] = fastest(forms, sample)
    times = rounds(chosen, seconds, sample, keep=("lstmc",))
    medians = {name: statistics.median(t) * 1e6 for name, t in times.items()}
    own = medians.pop("lstmc")
    result = Result(
        case.name, case.goal, case.stretch, own, medians,
        {n: f.name for n, f in chosen.items()}, trials, differences,
        rounds=len(times["lstmc"]), notes=notes,
    )  # fmt: skip
    if medians:
        result.best = min(medians, key=lambda n: medians[n])
        result.ratio, result.low, result.high = ratio_of(times[result.best], times["lstmc"])
    return result
