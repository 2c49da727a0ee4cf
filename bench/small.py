"""Small LSTMs a step at a time through C: `python bench/small.py [--rtneural DIR]`.

Nanoseconds a step through lstmc_run, everything counted. With --rtneural, a folder that holds
RTNeural's sources, its compile-time LSTM on Eigen runs by turns on the same weights, built in the
ways below of which the fastest counts; outputs are compared first. Without, and for engines that
are not at hand, there are figures measured on another day on the same kind of machine: a hint, no
more. Debian carries the sources in guitarix (src/RTNeural/RTNeural), Eigen in libeigen3-dev.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import against
import numpy as np
import workloads
from compare import FAR, WrongOutput
from measure import ratio_of
from workloads import Case

from lstmc import graph as g

HERE = Path(__file__).resolve().parent
SIZES = ((1, 8), (1, 16), (1, 20), (1, 24), (1, 40), (16, 32), (10, 50), (64, 64))
# Measured before, on AVX-512: RTNeural as here; NeuralAudio's compile-time LSTM, built with -Ofast,
# whose tanh is off by 4e-4.
GIVEN = {
    "RTNeural": (55, None, 149, None, 248, 192, 753, 1302),
    "NeuralAudio": (40, 58, 109, 97, 206, 169, 580, 1244),
}
BUILDS = {  # RTNeural's own cmake sets the first
    "avx2": ["-O3", "-mavx2", "-mfma", "-DRTNEURAL_DEFAULT_ALIGNMENT=32"],
    "native": ["-O3", "-march=native", "-DRTNEURAL_DEFAULT_ALIGNMENT=32"],
    "fast": ["-Ofast", "-march=native", "-DRTNEURAL_DEFAULT_ALIGNMENT=32"],
}
GOAL, GOAL_EACH = 1.0, 0.9  # RTNeural / lstmc: in the geometric mean, in every size
SAMPLE = 0.003  # seconds
CHECKED_STEPS = 20
Run = Callable[[int], None]  # so many steps


@dataclass
class Row:
    size: tuple[int, int]
    ours: float  # nanoseconds a step, medians
    theirs: float | None = None
    build: str = ""
    ratio: float | None = None
    low: float = 0.0
    high: float = 0.0


def rtneural(sources: Path, folder: Path) -> dict[str, ctypes.CDLL]:
    """Every build of it that the compiler can make."""
    compiler = os.environ.get("CXX", "c++")
    sizes = "-DSIZES=" + "".join(f"SIZE({i}, {h})" for i, h in SIZES)
    eigen = sources / "modules/Eigen"
    include = eigen if (eigen / "Eigen/Dense").exists() else Path("/usr/include/eigen3")
    common = [
        "-std=c++17",
        "-DNDEBUG",
        "-DRTNEURAL_USE_EIGEN=1",
        "-DRTNEURAL_NAMESPACE=RTNeural",
        "-DEIGEN_STACK_ALLOCATION_LIMIT=0",
        "-fPIC",
        "-shared",
        "-w",
    ]
    made = {}
    for name, flags in BUILDS.items():
        output = folder / f"rtneural_{name}.so"
        command = [compiler, *common, *flags, sizes, f"-I{sources}", f"-I{include}"]
        done = subprocess.run([*command, str(HERE / "rtneural.cpp"), "-o", str(output)])
        if done.returncode == 0:
            library = ctypes.CDLL(str(output))
            library.rt_open.restype = ctypes.c_void_p
            made[name] = library
    if not made:
        raise SystemExit(f"small: RTNeural in {sources} can't be compiled")
    return made


def theirs(library: ctypes.CDLL, layer: g.LSTM, x: np.ndarray, y: np.ndarray) -> Run:
    weights = [layer.weight_ih, layer.weight_hh, layer.bias]
    given = [ctypes.c_void_p(w.ctypes.data) for w in weights]
    sizes = layer.weight_ih.shape[1], layer.hidden_size
    net = ctypes.c_void_p(library.rt_open(*sizes, *given))
    ends = ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data)
    return lambda steps: library.rt_run(net, *ends, steps)


def timed(run: Run, steps: int) -> float:
    """Nanoseconds a step."""
    start = time.perf_counter()
    run(steps)
    return (time.perf_counter() - start) / steps * 1e9


def measure(
    core: ctypes.CDLL, others: dict[str, ctypes.CDLL], size: tuple[int, int], seconds: float
) -> Row:
    case = Case(1, 1, *size)
    runner, x, y = against.prepared(core, case)
    layer = workloads.layer(case, np.random.default_rng(1))  # the same as in prepared
    runs: dict[str, Run] = {"lstmc": lambda steps: runner.run(x, y, steps)}
    runs["lstmc"](CHECKED_STEPS)
    for name, library in others.items():
        out = np.empty_like(y)
        runs[name] = theirs(library, layer, x, out)
        runs[name](CHECKED_STEPS)
        off = float(np.abs(out - y).max())
        if not off <= FAR:
            raise WrongOutput(f"{case.name}: RTNeural ({name}) differs by {off:g}")
    steps = {n: max(1, int(SAMPLE / (timed(r, 1000) * 1e-9))) for n, r in runs.items()}
    times: dict[str, list[float]] = {n: [] for n in runs}
    end = time.perf_counter() + seconds
    while len(times["lstmc"]) < 5 or time.perf_counter() < end:
        for n, r in runs.items():
            times[n].append(timed(r, steps[n]))
    medians = {n: statistics.median(t) for n, t in times.items()}
    row = Row(size, medians.pop("lstmc"))
    if medians:
        row.build = min(medians, key=lambda n: medians[n])
        row.theirs = medians[row.build]
        row.ratio, row.low, row.high = ratio_of(times[row.build], times["lstmc"])
    return row


def printed(row: Row, given: Sequence[int | None]) -> str:
    i, h = row.size
    others = "".join(f"{'-' if n is None else f'{n} given':>14}" for n in given)
    line = f"I={i:<3} H={h:<6}{row.ours:10.1f}"
    if row.ratio is None or row.theirs is None:
        return line + others
    mark = "" if row.ratio >= GOAL_EACH else " <"
    spread = f"{row.low:.2f} - {row.high:.2f}"
    return f"{line}{row.theirs:12.1f} {row.build:8}{row.ratio:6.2f}{spread:>15}{mark:3}{others}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rtneural", metavar="DIR", type=Path, help="where RTNeural/ is in")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each size (default 2)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        core = against.build(against.ROOT / "c_src", folder / "core.so")
        others = rtneural(args.rtneural, folder) if args.rtneural else {}
        live = f"{'RTNeural':>12} {'built':8}{'ratio':>6}{'quartiles':>15}   " if others else ""
        print(f"{'ns a step':14}{'lstmc':>10}{live}" + "".join(f"{n:>14}" for n in GIVEN))
        rows = []
        try:
            for k, size in enumerate(SIZES):
                rows.append(measure(core, others, size, args.seconds))
                print(printed(rows[-1], [figures[k] for figures in GIVEN.values()]), flush=True)
        except WrongOutput as e:
            print(f"small: wrong output: {e}", file=sys.stderr)
            return 1
    if ratios := [r.ratio for r in rows if r.ratio]:
        mean = statistics.geometric_mean(ratios)
        print(f"{'geometric mean':24}{'':21}{mean:6.2f}{'' if mean >= GOAL else ' <'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
