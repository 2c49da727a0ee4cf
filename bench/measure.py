"""Timing forms side by side: the same work, the same minute, the same core.

Every round times each form once, for 7 ms and more; a ratio is the median over the rounds of their
pairwise ratios. Times on a shared machine are noise; ratios within a round much less so.
"""

from __future__ import annotations

import gc
import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from peers import Form

MIN_ROUNDS = 5
HOPELESS = 2.5  # times slower than the best peer: MIN_ROUNDS rounds say enough


@dataclass(frozen=True)
class Effort:
    """How long to measure: seconds a case, seconds a sample."""

    seconds: float = 3.0
    sample: float = 0.007


QUICK = Effort(0.0, 0.001)


def seconds_of(form: Form, repeats: int) -> float:
    """A call, on average; a first one warms caches and threads up, unless a call takes long."""
    call = form.call
    if form.before:
        form.before()
    if form.before or repeats > 1:
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


def fastest(forms: Sequence[Form], sample: float) -> tuple[Form, dict[str, float]]:
    """The form with the quickest of five samples, and those samples in microseconds.

    The quickest and not the median: there are few, and what disturbs one only ever adds.
    """
    if len(forms) == 1:
        return forms[0], {}
    counts = [repeats_for(f, sample) for f in forms]
    trials = [[seconds_of(f, n) for f, n in zip(forms, counts, strict=True)] for _ in range(5)]
    best = [min(t) for t in zip(*trials, strict=True)]
    times = {f.name: t * 1e6 for f, t in zip(forms, best, strict=True)}
    return forms[int(np.argmin(best))], times


def rounds(
    forms: dict[str, Form], effort: Effort, keep: Sequence[str], pause: float = 0.0
) -> dict[str, list[float]]:
    """Seconds a call by name, one entry for every round that the form took part in.

    Forms take turns to begin. Those that keep doesn't name drop out when they are HOPELESS. pause
    is slept before every sample: so long may idle threads of another engine spin.
    """
    counts = {name: repeats_for(form, effort.sample) for name, form in forms.items()}
    times: dict[str, list[float]] = {name: [] for name in forms}
    order = list(forms)
    collecting = gc.isenabled()
    gc.disable()
    try:
        end = time.perf_counter() + effort.seconds
        done = 0
        while done < MIN_ROUNDS or time.perf_counter() < end:
            for name in order:
                if pause:
                    time.sleep(pause)
                times[name].append(seconds_of(forms[name], counts[name]))
            done += 1
            if done == MIN_ROUNDS:
                medians = {n: statistics.median(t) for n, t in times.items() if n not in keep}
                limit = HOPELESS * min(medians.values(), default=0.0)
                order = [n for n in order if medians.get(n, 0.0) <= limit]
            order = order[1:] + order[:1]
    finally:
        if collecting:
            gc.enable()
    return times


def ratio_of(above: Sequence[float], below: Sequence[float]) -> tuple[float, float, float]:
    """Median and quartiles of the pairwise ratios: middle, low, high."""
    pairs = [a / b for a, b in zip(above, below, strict=False)]
    low, middle, high = statistics.quantiles(pairs, n=4)
    return middle, low, high
