"""This tree's core against that of another revision: `python bench/against.py REVISION`.

Both are compiled with the same flags and run in turn on the same file, through C; the ratio is the
median over pairs (other / this: above 1 this one is faster). Outputs must have the same bits.
The file is written by the installed lstmc, so REVISION must read the format of today.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import workloads
from workloads import Case

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["-std=c99", "-fPIC", "-shared", "-D_ISOC11_SOURCE"]
if sys.platform.startswith("linux"):
    FLAGS.append("-Wl,-Bsymbolic")  # calls within the core are direct, as in a program


def build(c_src: Path, output: Path, optimize: str = "-O2") -> ctypes.CDLL:
    sources = [str(p) for p in sorted(c_src.rglob("*.c"))]
    driver = str(ROOT / "bench/revision.c")
    compiler = os.environ.get("CC", "cc")
    subprocess.run(
        [compiler, optimize, *FLAGS, f"-I{c_src}", *sources, driver, "-o", str(output)], check=True
    )
    library = ctypes.CDLL(str(output))
    library.runner_open.restype = ctypes.c_void_p
    return library


class Runner:
    def __init__(self, library: ctypes.CDLL, blob: np.ndarray, case: Case) -> None:
        self.library, self.case, self.blob = library, case, blob  # the core borrows the blob
        size, sizes = ctypes.c_size_t(blob.nbytes), (case.batch, case.time)
        self.handle = library.runner_open(ctypes.c_void_p(blob.ctypes.data), size, *sizes)
        if not self.handle:
            raise SystemExit(f"{case.name}: the core refuses the file")

    def run(self, x: np.ndarray, y: np.ndarray, times: int) -> float:
        """Seconds a call."""
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (x, y)]
        start = time.perf_counter()
        status = self.library.runner_run(
            ctypes.c_void_p(self.handle), *pointers, self.case.batch, self.case.time, times
        )
        if status:
            raise SystemExit(f"{self.case.name}: status {status}")
        return (time.perf_counter() - start) / times


def prepared(library: ctypes.CDLL, case: Case) -> tuple[Runner, np.ndarray, np.ndarray]:
    """The case in one library, an input and an output for it."""
    rng = np.random.default_rng(1)
    raw = workloads.model(case, workloads.network(case, rng)).to_bytes()
    space = np.empty(len(raw) + 64, np.uint8)
    blob = space[-space.ctypes.data % 64 :][: len(raw)]
    blob[:] = np.frombuffer(raw, np.uint8)
    x = workloads.sample(case, rng)
    y = np.empty((*case.input_shape[:-1], case.features), np.float32)
    return Runner(library, blob, case), x, y


def measure(libraries: list[ctypes.CDLL], case: Case, seconds: float) -> tuple[float, ...]:
    (this, x, y), (other, _, y2) = (prepared(library, case) for library in libraries)
    ys = y, y2
    times = max(1, int(0.005 / this.run(x, ys[0], 1)))
    other.run(x, ys[1], 1)
    if ys[0].tobytes() != ys[1].tobytes():
        raise SystemExit(f"{case.name}: the two give different bits")
    pairs = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(pairs) < 5:
        pairs.append((this.run(x, ys[0], times), other.run(x, ys[1], times)))
    ratios = sorted(o / t for t, o in pairs)
    low, middle, high = statistics.quantiles(ratios, n=4)
    times_us = [statistics.median(p) * 1e6 for p in zip(*pairs, strict=True)]
    return *times_us, middle, low, high


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("revision", help="anything that git knows")
    parser.add_argument("--only", metavar="TEXT", help="cases whose name holds it")
    parser.add_argument("--all", action="store_true", help="GRU, RNN and all other layers too")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each case (default 2)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder)
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", args.revision, "c_src"],
            check=True, capture_output=True,
        ).stdout  # fmt: skip
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(there, filter="data")
        libraries = [
            build(ROOT / "c_src", there / "this.so"),
            build(there / "c_src", there / "other.so"),
        ]
        print(f"{'case':34}{'this us':>10}{'other us':>10}{'ratio':>8}{'quartiles':>16}")
        ratios = []
        cases = workloads.MAIN + tuple(c for c in workloads.LAYERS if args.all or c.kind == "gru")
        for case in workloads.chosen(cases, args.only):
            this, other, ratio, low, high = measure(libraries, case, args.seconds)
            ratios.append(ratio)
            print(f"{case.name:34}{this:10.2f}{other:10.2f}{ratio:8.3f}{low:9.3f} -{high:6.3f}")
        print(f"{'geometric mean':54}{statistics.geometric_mean(ratios):8.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
