"""Training on a chip: what `lstmc export --train` writes trains to the bits of the laptop's Engine."""

import functools

import pytest
import train_nets
from emulated import PROGRAMS
from helpers import WARNINGS, compile_c, run_program
from test_machines import CHIPS, EVERYWHERE, OTHERS

from lstmc.presets import known


def program(directory, preset, cases, flags, compiler=("gcc",)):
    sources = train_nets.export_nets(directory, preset, cases)
    every = [*WARNINGS, "-Wshadow", "-I", str(directory), *flags]
    return compile_c(directory / "train", [PROGRAMS / "train_main.c", *sources], every, compiler)


def lines_of(cases, preset):
    return [line for n, case in cases.items() for line in train_nets.expected(n, case, preset)]


@pytest.mark.parametrize("level", ["-O0", "-O2"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_on_the_host(tmp_path, compiler, level):
    cases = train_nets.cases()
    made = program(tmp_path, "m4f", cases, [level], (compiler,))
    assert run_program([made]).stdout.splitlines() == lines_of(cases, "m4f")


@functools.cache
def expected(preset):
    return lines_of(train_nets.cases(), preset)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The C files of all nets, exported for a preset once."""

    @functools.cache
    def exported(preset):
        directory = tmp_path_factory.mktemp(preset)
        return train_nets.export_nets(directory, preset, train_nets.cases())

    return exported


@pytest.mark.parametrize("machine", CHIPS, ids=lambda m: m.name)
def test_on_other_machines(tmp_path, exported, machine):
    """Chips with an FPU and without, 32 and 64 bits, big-endian: 50 updates, every bit."""
    machine.skip_without_tools()
    short = machine.name.split(",")[0]
    preset = short if known(short) else OTHERS.get(short, "host")
    sources = exported(preset)
    flags = ["-std=c99", dict(EVERYWHERE)[machine], "-Wall", "-Wextra", "-Werror"]
    include = ["-I", str(sources[0].parent)]
    parts = [PROGRAMS / "train_main.c", *sources]
    made = machine.link(tmp_path / "train", parts, [*flags, *include])
    out = run_program(machine.command(made, []))
    assert out.stdout.splitlines() == expected(preset)
