"""How near lstmc comes to what the machine can do: `python bench/roofline.py [--write]`.

Measures one core's fused multiply-adds a second and bytes read a second (roofline.c), and the LSTM
cases with 128 units and more through C, by turns; prints the bound of each case and the fraction
of it that is reached. --write puts the tables into ROOFLINE.md, which explains the bound.
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
import workloads
from report import cpu_name
from workloads import Case

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE / "ROOFLINE.md"
MARKS = ("<!-- measured: python bench/roofline.py --write -->\n", "<!-- end of measured -->\n")
SMALLEST = 128  # units
GOAL = 0.85
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
BUSY = 0.97  # of the peak
READ_BLOCK = 512  # bytes that roofline.c reads at once
SAMPLE = 0.002  # seconds
Rate = Callable[[int], float]  # bytes a second, from an array of so many bytes


class Machine:
    """One core's peak and bandwidth; the best of all that was measured so far."""

    def __init__(self, folder: Path, largest: int) -> None:
        self._library = _compiled(folder)
        self._data = ctypes.c_void_p(self._library.roofline_array(ctypes.c_size_t(largest)))
        if not self._data:
            raise SystemExit("roofline: no memory")
        self.flops = 0.0
        self._samples: list[float] = []
        self._rates: dict[int, float] = {}

    def measure(self, sizes: Sequence[int]) -> None:
        """Once more, a few milliseconds for each size in bytes."""
        self._samples.append(self._library.roofline_flops(10))
        self.flops = max(self._samples)
        for size in sizes:
            whole = -(-size // READ_BLOCK) * READ_BLOCK
            given = (self._data, ctypes.c_size_t(whole), ctypes.c_double(SAMPLE))
            self._rates[size] = max(self._rates.get(size, 0.0), self._library.roofline_read(*given))

    def rate(self, size: int) -> float:
        return self._rates[size]

    @property
    def busy(self) -> bool:
        """Something else was running half of the time: then the best may not be the machine's."""
        return statistics.median(self._samples) < BUSY * self.flops


def _compiled(folder: Path) -> ctypes.CDLL:
    made = folder / "roofline.so"
    compiler = os.environ.get("CC", "cc")
    flags = ["-std=c11", "-O2", "-march=native", "-fPIC", "-shared"]
    subprocess.run([compiler, *flags, str(HERE / "roofline.c"), "-o", str(made)], check=True)
    library = ctypes.CDLL(str(made))
    library.roofline_array.restype = ctypes.c_void_p
    library.roofline_flops.restype = library.roofline_read.restype = ctypes.c_double
    return library


# -------------------------------------------------------------------------------------- bounds


@dataclass(frozen=True)
class Phase:
    """Work that has to be done before the next phase can begin, times over."""

    flops: int
    weights: int  # bytes, read once
    times: int

    def seconds(self, peak: float, rate: Rate) -> float:
        return self.times * max(self.flops / peak, self.weights / rate(self.weights))


def phases(case: Case) -> list[Phase]:
    """Of an LSTM: the products with its inputs at all steps at once, then one step behind the
    other; of a single step both products are one phase."""
    t, b, i, h = case.time, case.batch, case.input_size, case.hidden_size
    if t == 1:
        return [Phase(8 * h * (i + h) * b, 16 * h * (i + h), 1)]
    return [Phase(8 * h * i * b * t, 16 * h * i, 1), Phase(8 * h * h * b, 16 * h * h, t)]


def bound(case: Case, peak: float, rate: Rate) -> float:
    """The least seconds that the multiply-adds and the reading of weights can take."""
    return sum(p.seconds(peak, rate) for p in phases(case))


# ------------------------------------------------------------------------------------ measuring


def cache_levels() -> list[tuple[str, int]]:
    """Name and bytes of the data caches that the first core sees, as Linux says; [] elsewhere."""
    levels = []
    for folder in sorted(CACHES.glob("index*")):
        kind, level, size = (
            (folder / name).read_text().strip() for name in ("type", "level", "size")
        )
        if kind != "Instruction":
            unit = {"K": 1 << 10, "M": 1 << 20}.get(size[-1], 1)
            levels.append((f"L{level}", int(size.rstrip("KM")) * unit))
    return levels


def places(levels: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Where bytes are read from, and how many are read over and over to find them just there."""
    made, below = [], 0
    for name, size in levels:
        made.append((name, max(4 * below, size // 4) if below else size // 2))
        below = size
    return [*made, ("memory", max(4 * below, 64 << 20))]


@dataclass
class Reached:
    case: Case
    seconds: float = float("inf")

    def fraction(self, machine: Machine) -> float:
        return bound(self.case, machine.flops, machine.rate) / self.seconds


def measure(seconds: float) -> tuple[Machine, list[tuple[str, int]], list[Reached]]:
    """Machine, places and cases; of each the best of runs that alternate for some seconds a case.

    The best and not the median: what a machine can do at most is a best by its nature, and what it
    is compared with must then be one too.
    """
    cases = [c for c in workloads.MAIN if c.hidden_size >= SMALLEST]
    where = places(cache_levels())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = {p.weights for c in cases for p in phases(c)}
        machine = Machine(folder, max([size for _, size in where] + list(sizes)))
        core = against.build(against.ROOT / "c_src", folder / "core.so")
        reached = [Reached(c) for c in cases]
        for r in reached:
            runner, x, y = against.prepared(core, r.case)
            own = [p.weights for p in phases(r.case)]
            times = max(1, int(SAMPLE / min(runner.run(x, y, 1) for _ in range(3))))
            end, rounds = time.perf_counter() + seconds, 0
            while rounds < 8 or time.perf_counter() < end:
                machine.measure(own)
                runner.run(x, y, 1)  # its weights take the cache over from the case before
                r.seconds = min(r.seconds, runner.run(x, y, times))
                rounds += 1
        for _ in range(20):
            machine.measure([size for _, size in where])
    return machine, where, reached


def tables(machine: Machine, where: list[tuple[str, int]], reached: list[Reached]) -> str:
    """Markdown."""
    lines = [
        f"{cpu_name()}, one core: **{machine.flops / 1e9:.0f} GFLOP/s** in fused multiply-adds.",
        "",
        "| read from | bytes read over and over | GB/s |",
        "|---|---:|---:|",
        *(f"| {n} | {_size(s)} | {machine.rate(s) / 1e9:.0f} |" for n, s in where),
        "",
        "| case | weights | bound, µs | by | lstmc, µs | reached |",
        "|---|---:|---:|---|---:|---:|",
    ]
    for r in reached:
        parts = phases(r.case)
        least = bound(r.case, machine.flops, machine.rate)
        last = parts[-1]
        computed = last.flops / machine.flops >= last.weights / machine.rate(last.weights)
        fraction = r.fraction(machine)
        shown = f"{fraction:.0%}" if fraction >= GOAL else f"**{fraction:.0%}**"
        lines.append(
            f"| {r.case.name} | {_size(sum(p.weights for p in parts))} | {least * 1e6:.1f} "
            f"| {'arithmetic' if computed else 'reading weights'} | {r.seconds * 1e6:.1f} "
            f"| {shown} |"
        )
    return "\n".join(lines) + "\n"


def _size(n: int) -> str:
    return f"{n / 2**20:.3g} MB" if n >= 1 << 20 else f"{n / 2**10:.3g} KB"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each case (default 3)")
    parser.add_argument("--write", action="store_true", help="put the tables into ROOFLINE.md")
    args = parser.parse_args(argv)
    machine, where, reached = measure(args.seconds)
    text = tables(machine, where, reached)
    print(text)
    if machine.busy:
        print("The machine was busy: these fractions mean little. Run it again.", file=sys.stderr)
        return 1 if args.write else 0
    if args.write:
        document = DOCUMENT.read_text()
        before, rest = document.split(MARKS[0])
        after = rest.split(MARKS[1])[1]
        DOCUMENT.write_text(before + MARKS[0] + text + MARKS[1] + after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
