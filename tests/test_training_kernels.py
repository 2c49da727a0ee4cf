"""Kernels of losses and optimizers leave the same bits on every target and machine, by
tests/c/check_training.c."""

from __future__ import annotations

import shutil

import pytest
from emulated import MACHINES, NEON, PROGRAMS, Machine
from helpers import ROOT, WARNINGS, compile_c, compile_objects, run_program

CASES = 300
SOURCE = PROGRAMS / "check_training.c"
NAMES = (
    "mse", "mae", "huber", "binary", "categorical", "sparse", "sgd", "rmsprop", "adam", "squares",
)  # fmt: skip
#: What kernels need of the core: tables of functions, without the trainer that calls them.
TABLES = ("scalar", "sse2", "avx2", "avx512", "neon", "helium", "rvv", "wasm")


def sources() -> list[str]:
    kernels = sorted(str(p) for p in (ROOT / "c_src/kernels").glob("*.c"))
    train = [str(ROOT / f"c_src/train/train_{name}.c") for name in TABLES]
    return [*kernels, *train, str(ROOT / "c_src/digest.c")]


def digests(output: str) -> dict[str, dict[str, str]]:
    """By kernel and target."""
    found: dict[str, dict[str, str]] = {}
    for line in output.splitlines():
        name, target, digest = line.split()
        found.setdefault(name, {})[target] = digest
    return found


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> dict[str, dict[str, str]]:
    """All targets of this machine, compiled by clang: Python's core is gcc's."""
    if shutil.which("clang") is None:
        pytest.skip("no clang here")
    where = tmp_path_factory.mktemp("host")
    flags = [*WARNINGS, "-O2"]
    objects = compile_objects(where, sources(), flags, ["clang"])
    program = compile_c(where / "check", [SOURCE, *objects], flags, ["clang"])
    return digests(run_program([program, CASES]).stdout)


def test_every_target(host):
    assert tuple(host) == NAMES
    for name, of_targets in host.items():
        assert len(set(of_targets.values())) == 1, (name, of_targets)


@pytest.mark.parametrize("machine", [*MACHINES, NEON], ids=lambda m: m.name)
def test_every_machine(host, machine: Machine, tmp_path):
    machine.skip_without_tools()
    flags = [*WARNINGS, "-O2"]
    objects = compile_objects(tmp_path, sources(), flags, machine.compiler)
    program = machine.link(tmp_path / "check", [SOURCE, *objects], flags)
    out = digests(run_program(machine.command(program, [CASES]), timeout=120).stdout)
    for name, of_targets in out.items():
        assert set(of_targets) == set(machine.targets)
        assert set(of_targets.values()) == set(host[name].values()), name
    assert tuple(out) == NAMES
