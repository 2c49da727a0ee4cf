"""What test_math.py and test_activations.py share: tests/c/sweep.c on every target.

`make sweep` makes both go, by LSTMC_FULL_SWEEP=1, over far more inputs. $CC names the
compiler, gcc if unset.
"""

import concurrent.futures
import json
import os
import platform
import shlex
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FULL = os.environ.get("LSTMC_FULL_SWEEP") == "1"
FLAGS = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
STRIDE = 4099
END = 1 << 32
INF, NAN, MIN, SUB = 0x7F800000, 0x7FC00000, 0x00800000, 0x007FFFFF
SIGN, ONE, HALF = 0x80000000, 0x3F800000, 0x3F000000


def bits_of(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def float_of(bits):
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def cpu_flags():
    try:
        return set(Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n")[0].split())
    except (OSError, IndexError):
        return set()


def native_targets():
    if platform.machine() not in ("x86_64", "AMD64"):
        return ["scalar"] + (["neon"] if platform.machine() in ("aarch64", "arm64") else [])
    flags = cpu_flags()
    targets = ["scalar", "sse2"]
    if {"avx2", "fma"} <= flags:
        targets.append("avx2")
    if {"avx512f", "avx512dq", "avx512vl", "avx512bw"} <= flags:
        targets.append("avx512")
    return targets


TARGETS = native_targets()


class Sweep:
    """The sweep program for each target, compiled when first asked for."""

    def __init__(self, directory):
        self.directory = directory
        self.commands = {}

    def command(self, target, flags=()):
        key = (target, *flags)
        if key not in self.commands:
            compiler = shlex.split(os.environ.get("CC", "gcc"))
            prefix = []
            extra = list(flags)
            if target == "neon" and "neon" not in TARGETS:
                compiler, prefix = ["aarch64-linux-gnu-gcc"], ["qemu-aarch64"]
                extra.append("-static")
            program = self.directory / f"sweep{len(self.commands)}"
            subprocess.run(
                [
                    *compiler,
                    *FLAGS,
                    *extra,
                    f"-DSWEEP_TARGET_{target.upper()}",
                    "-I",
                    str(ROOT / "c_src/kernels"),
                    str(ROOT / "tests/c/sweep.c"),
                    "-o",
                    str(program),
                    "-lm",
                ],
                check=True,
            )
            self.commands[key] = [*prefix, str(program)]
        return self.commands[key]

    def run(self, function, target, start, stop, stride, *modes, flags=()):
        command = [*self.command(target, flags), function, str(start), str(stop), str(stride)]
        result = subprocess.run([*command, *modes], check=True, capture_output=True, text=True)
        return json.loads(result.stdout)

    def apply(self, function, target, values):
        """The results for single inputs, as bits."""
        return [int(self.run(function, target, x, x + 1, 1, "hash")["last"], 16) for x in values]

    def fma(self, triples, target="scalar", flags=()):
        """One list for each implementation: lstmc_fmaf, soft scalar, soft SSE2 (two lanes)."""
        text = "\n".join(f"{a:x} {b:x} {c:x}" for a, b, c in triples)
        result = subprocess.run(
            [*self.command(target, flags), "fma"],
            input=text,
            check=True,
            capture_output=True,
            text=True,
        )
        rows = [[int(word, 16) for word in line.split()] for line in result.stdout.splitlines()]
        assert len(rows) == len(triples)
        return list(zip(*rows, strict=True))


NEEDS_QEMU = pytest.mark.skipif(
    "neon" in TARGETS
    or not (shutil.which("aarch64-linux-gnu-gcc") and shutil.which("qemu-aarch64")),
    reason="needs aarch64-linux-gnu-gcc and qemu-aarch64",
)


def run_pieces(sweep, function, target, pieces, *modes):
    """What the program says of each (start, stop, stride), on all cores."""
    sweep.command(target)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda piece: sweep.run(function, target, *piece, *modes), pieces))
