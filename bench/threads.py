"""One thread against several: `python bench/threads.py`.

Calls of two sessions of the same model alternate in one process; the ratio is the median over
pairs (one thread / several: above 1 the several are faster), `best` that of the shortest times.
Outputs must have the same bits. With --busy N other processes keep N CPUs busy meanwhile; then
--block 0.3 is fairer: a system gives a thread that has just slept its CPU for some milliseconds,
and shorter turns measure whose turn came after a sleep.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import numpy as np
from workloads import Case, model, network, sample

import lstmc
from lstmc import _core
from lstmc.runtime import target_code

CASES = [
    Case(1, 1, 8, 8), Case(1, 1, 64, 64), Case(1, 1, 128, 128), Case(1, 1, 256, 256),
    Case(1, 1, 512, 512), Case(1, 1, 1024, 1024),
    Case(100, 1, 10, 50), Case(100, 1, 128, 128), Case(100, 1, 256, 256),
    Case(25, 1, 512, 512), Case(25, 1, 1024, 1024),
    Case(100, 8, 128, 128), Case(100, 64, 10, 50), Case(50, 64, 256, 256), Case(25, 64, 512, 512),
    Case(10, 64, 1024, 1024),
]  # fmt: skip


def measure(
    case: Case, threads: int, seconds: float, pause: float, block: float
) -> tuple[float, ...]:
    rng = np.random.default_rng(1)
    made = model(case, network(case, rng))
    x = sample(case, rng)
    size = made._session_size(case.batch, [case.time])
    sessions = [_core.Session(made._core, *size, target_code(), n) for n in (1, threads)]
    ys = [np.empty((*x.shape[:2], case.features), np.float32) for _ in sessions]

    def run(i: int, times: int) -> float:
        spent = 0.0
        for _ in range(times):
            if pause:
                time.sleep(pause)
            start = time.perf_counter()
            sessions[i].run([x], [ys[i]], case.batch, [case.time], None, False)
            spent += time.perf_counter() - start
        return spent / times

    for i in (0, 1):
        run(i, 3)
    if ys[0].tobytes() != ys[1].tobytes():
        raise SystemExit(f"{case.name}: the two give different bits")
    times = max(1, int(block / run(0, 3)))
    pairs = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(pairs) < 5:
        pairs.append((run(0, times), run(1, times)))
    low, middle, high = statistics.quantiles([a / b for a, b in pairs], n=4)
    one, several = (statistics.median(p) * 1e6 for p in zip(*pairs, strict=True))
    best = min(a for a, _ in pairs) / min(b for _, b in pairs)
    return one, several, middle, low, high, best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each case (default 2)")
    parser.add_argument("--busy", type=int, default=0, help="processes that compute meanwhile")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between calls")
    parser.add_argument("--block", type=float, default=0.003, help="seconds of each turn")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    args = parser.parse_args()
    lstmc.set_num_threads(args.threads)
    loop = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(loop) for _ in range(args.busy)]
    try:
        head = f"{'case':24}{'1 us':>10}{f'{args.threads} us':>10}{'ratio':>8}"
        print(f"{head}{'quartiles':>16}{'best':>8}")
        for case in CASES:
            if args.only not in case.name:
                continue
            one, several, ratio, low, high, best = measure(
                case, args.threads, args.seconds, args.pause, args.block
            )
            times = f"{case.name:24}{one:10.1f}{several:10.1f}"
            print(f"{times}{ratio:8.2f}{low:9.2f} -{high:6.2f}{best:8.2f}")
    finally:
        for other in others:
            other.kill()
            other.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
