"""500 steps of each kind of model have the digest that Python gives, on every machine.

Chips without an FPU and with one, 32 and 64 bits, big-endian, each compiler at each level of
optimisation; whatever floating-point mode the caller has set. tests/steps500.py has the nets.
"""

import functools
import os
import platform
import re

import pytest
import steps500
from emulated import BIG_ENDIAN, BOARDS, PROCESSES, PROGRAMS, Machine
from helpers import DATA, WARNINGS, run_program
from test_c_core import MODELS, SCALAR_ONLY, WAYS

from lstmc.presets import known

HOSTS = [
    (Machine(f"host, {compiler}", "best", (compiler,), ("env",), linking=()), level)
    for compiler in ("gcc", "clang")
    for level in ("-O0", "-O2", "-O3", "-Os")
]
#: test_targets.py has clang's Helium too.
CHIPS = [m for m in BOARDS if m.compiler == m.gcc] + PROCESSES
#: The others for size, as firmware often is.
FOR_SPEED = ("cortex-m4f", "cortex-m7", "cortex-m55", "i686", "s390x")
EVERYWHERE = [(m, "-O2" if m.name.split(",")[0] in FOR_SPEED else "-Os") for m in CHIPS] + HOSTS

#: Any panel width is right anywhere; what has vectors needs 16 for them.
PANELS = {"cortex-m0": 2, "cortex-m3": 1, "cortex-m33": 8, "rv32imac": 2, "i686": 2}
NO_MODES = ("cortex-m0", "cortex-m3", "rv32imac", "s390x")
#: Vectors take long to compile, and test_c_core.py has them all: here SSE2 at -O2.
NO_WIDE = ["-DLSTMC_NO_AVX2"]
ARENA = ("-DARENA_BYTES=6144",)  # the least memory that a board has


#: Presets to export for where the machine is none, and flags by which the best kernels are taken.
OTHERS = {"cortex-m55-without-helium": "m55", "armv7-a": "m7", "i686": "m3", "rv64gc": "rv32imafc"}
BEST = {"host, gcc": ("-mavx2", "-mfma")} if platform.machine() == "x86_64" else {}


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """The directory of a machine and a level, and there the library: flags, objects."""
    done = {}

    def build(machine, level):
        if (machine, level) not in done:
            machine.skip_without_tools()
            # At other levels GCC sees uninitialised values where there are none.
            flags = [*WARNINGS, level] if level == "-O2" else ["-std=c99", level]
            if machine.target == "best":
                flags += NO_WIDE if level == "-O2" else SCALAR_ONLY
            directory = tmp_path_factory.mktemp("machine")
            done[machine, level] = directory, flags, machine.objects(directory / "core", flags)
        return done[machine, level]

    return build


def library_program(build, machine, level):
    """steps500 with nets that the library reads. With exported code all of it but the main file is
    what the export gave, and its nets.h is steps500.write_list's."""
    directory, flags, core = build(machine, level)
    short = machine.name.split(",")[0]
    panel = PANELS.get(short, 4 if machine.target == "scalar" else 16)
    nets = steps500.write_library_nets(directory / "nets", panel)
    glue = [PROGRAMS / "steps500_library.c", *nets, *core]
    include = ["-I", str(directory / "nets"), "-I", str(PROGRAMS)]
    parts = [PROGRAMS / "steps500_main.c", *glue]
    return machine.link(directory / "steps500", parts, [*flags, *include, *ARENA])


each_machine = pytest.mark.parametrize(
    ("machine", "level"), EVERYWHERE, ids=[f"{m.name} {level}" for m, level in EVERYWHERE]
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The C files of all nets, exported for a preset once."""

    @functools.cache
    def exported(preset):
        return steps500.export_nets(tmp_path_factory.mktemp(preset), preset)

    return exported


@each_machine
def test_500_steps_of_exported_code(build, exported, machine, level):
    """What `lstmc export` writes: for the chip itself and, elsewhere, for one of the presets."""
    short = machine.name.split(",")[0]
    sources = exported(short if known(short) else OTHERS.get(short, "host"))
    directory, _, _ = build(machine, level)
    flags = ["-std=c99", level, "-Wall", "-Wextra", "-Werror", *BEST.get(machine.name, ())]
    include = ["-I", str(sources[0].parent), "-I", str(PROGRAMS)]
    parts = [PROGRAMS / "steps500_main.c", *sources]
    program = machine.link(directory / "exported", parts, [*flags, *include])
    modes = ("ieee",) if short in NO_MODES else ("ieee", "hostile")
    out = run_program(machine.command(program, []))
    assert out.stdout.splitlines() == steps500.expected(modes)


@each_machine
def test_500_steps(build, machine, level):
    program = library_program(build, machine, level)
    modes = ("ieee",) if machine.name.split(",")[0] in NO_MODES else ("ieee", "hostile")
    want = steps500.expected(modes)
    for target in ["auto"] if machine.target == "scalar" else ["auto", "scalar"]:
        out = run_program(machine.command(program, []), env={**os.environ, "LSTMC_TARGET": target})
        assert out.stdout.splitlines() == want, target


def undefined_names(objects):
    lines = run_program(["nm", "-u", *objects]).stdout.splitlines()
    return {line.split()[-1] for line in lines if line.startswith(" ")}


@pytest.mark.parametrize("machine", CHIPS, ids=lambda m: m.name)
def test_no_double_arithmetic_by_a_library(build, machine):
    """Neither where the FPU has none, nor where there is no FPU: libgcc's names of it."""
    level = dict(EVERYWHERE)[machine]
    names = undefined_names(build(machine, level)[2])
    assert "lstmc_crc32_word" in names
    assert not [n for n in names if re.fullmatch(r"__aeabi_(d\w+|\w+2d)|__\w*df\w*", n)]


def test_the_fma_of_a_chip_without_fpu(build):
    """The one in integers beside the one in doubles, where those are a library's."""
    machine = next(m for m in CHIPS if m.name.startswith("cortex-m3"))
    directory, flags, _ = build(machine, "-Os")
    source = [PROGRAMS / "check_fma.c"]
    program = machine.link(directory / "check_fma", source, [*flags, "-DNO_LIBM"])
    out = run_program(machine.command(program, [2000, 1])).stdout
    assert re.search(r"\d{6,} checks, 0 failures", out)


def test_the_steps_are_worth_it():
    """Outputs differ all the time, and states come to nothing in the silence."""
    digests = {case.digest() for case in steps500.CASES.values()}
    assert len(digests) == len(steps500.CASES)
    for name in ("lstm", "gru", "stacked", "stateful"):
        stream = steps500.CASES[name].model().stream()
        x = steps500.CASES[name].inputs()
        outputs = [stream.step(row[None]).tobytes() for row in x]
        assert len(set(outputs)) > 300, name


def test_big_endian(build):
    """The whole C interface, and every version 1 file, converted by lstmc_blob_to_native."""
    directory, flags, core = build(BIG_ENDIAN, "-O2")

    def program(name):
        return BIG_ENDIAN.link(directory / name, [PROGRAMS / f"{name}.c", *core, "-lm"], flags)

    out = run_program(BIG_ENDIAN.command(program("test_core"), [DATA])).stdout
    assert re.search(r"[1-9]\d{3,} checks, 0 failures", out)
    out = run_program(BIG_ENDIAN.command(program("digest_main"), MODELS)).stdout
    assert out.splitlines() == [
        " ".join([path.name, "scalar", way, *(f"{digest:08x}" for digest in digests)])
        for path, digests in MODELS.items()
        for way in WAYS
    ]
