"""Training on a chip: what `lstmc export --train` writes trains to the bits of the laptop's Engine."""

import pytest
import train_nets
from emulated import PROGRAMS
from helpers import WARNINGS, compile_c, run_program


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
