"""Every kernel of every target against plain loops, by tests/c/check_kernels.c; and that it would
notice what may go wrong in a kernel.

LSTMC_CASES=10000 runs as many cases of each kernel, with a seed of its own (see cases.py). Times
are no test's business: ``check_kernels --bench`` prints them.
"""

import os
import platform
import random
import re
import shutil
import subprocess

import pytest
from cases import COUNT, LARGEST_SEED
from emulated import boards
from helpers import ROOT, WARNINGS, compile_c, compile_objects
from helpers import run_program as run

import lstmc

KERNELS = sorted(str(p) for p in (ROOT / "c_src/kernels").glob("*.c"))
SOURCE = ROOT / "tests/c/check_kernels.c"
STRICT = [*WARNINGS, "-O2"]
TABLE = (ROOT / "c_src/kernels/kernels.h").read_text().split("typedef struct lstmc_kernels {")[1]
NAMES = re.findall(r"\(\*(\w+)\)\(", TABLE.split("} lstmc_kernels;")[0])


def random_cases():
    """Options that choose the cases: always the same ones in `make test`."""
    if not COUNT:
        return []
    seed = os.environ.get("LSTMC_SEED") or random.randrange(LARGEST_SEED)
    return ["--cases", COUNT, "--seed", seed]


def check(program, targets, *options, prefix=()):
    """All kernels agree on all these targets."""
    out = run([*prefix, program, *options], timeout=None if COUNT else 300).stdout
    found = re.findall(r"^(\w+) +(\w+) +ok +[1-9]\d* cases +\d+ ns a call", out, re.MULTILINE)
    assert found == [(name, target) for name in NAMES for target in targets]


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The program by compiler, and the objects of the kernels it is linked with."""
    done = {}

    def build(compiler, *flags, link=()):
        key = (compiler, flags)
        if key not in done:
            if shutil.which(compiler) is None:
                pytest.skip(f"no {compiler} here")
            where = tmp_path_factory.mktemp("kernels")
            objects = compile_objects(where, KERNELS, flags, [compiler])
            program = compile_c(where / "check", [SOURCE, *objects], [*flags, *link], [compiler])
            done[key] = program, objects
        return done[key]

    return build


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_every_kernel_on_every_target(programs, compiler):
    program, _ = programs(compiler, *STRICT)
    check(program, lstmc.targets(), *random_cases())


def test_neon_under_emulation(programs):
    if platform.machine() in ("aarch64", "arm64") or not shutil.which("qemu-aarch64"):
        pytest.skip("needs qemu-aarch64, or is NEON anyway")
    program, _ = programs("aarch64-linux-gnu-gcc", *STRICT, link=["-static"])
    check(program, ["scalar", "neon"], "--cases", 100, prefix=["qemu-aarch64"])


BOARD = ("-DREGION=0x40000", "-I", str(ROOT / "c_src"))
NARROW = "-DPANELS=2,2,2,1,8,16"


@pytest.fixture(scope="module")
def narrow_program(tmp_path_factory):
    """check_kernels for a board, most of its panels being those that *_cortexm.h take."""
    board = next(b for b in boards() if b.name.startswith("cortex-m4f, arm-none-eabi-gcc"))
    board.skip_without_tools()

    def build(*flags, core=ROOT / "c_src"):
        where = tmp_path_factory.mktemp("narrow")
        kernels = sorted((core / "kernels").glob("*.c"))
        objects = compile_objects(where, kernels, flags, board.compiler)
        return board, board.link(where / "check", [SOURCE, *objects], [*flags, *BOARD])

    return build


@pytest.mark.parametrize(
    "flags",
    [("-O2", NARROW), ("-Os", "-DLSTMC_ROW_PANELS=3", "-DPANELS=2,1")],
    ids=["-O2", "-Os, no others"],
)
def test_assembler_of_the_cortex_m(narrow_program, flags):
    board, program = narrow_program(*WARNINGS, *flags)
    for kernel in ("lstm_row", "gru_row", "matmul"):
        out = run(board.command(program, ["--only", kernel, "--cases", COUNT or 600])).stdout
        assert re.match(rf"{kernel} +scalar +ok +\d+ cases", out)


NARROW_WRONG = {
    "a weight goes to another sum": ("lstm_row", "M_FMA(6, W4, X)", "M_FMA(4, W4, X)"),
    "the last k is left out": ("lstm_row", "adds %[k], #8", "adds %[k], #7"),
    "h's part of n goes to x's": ("gru_row", "M_GRU_SEGMENT_2(6, 7)", "M_GRU_SEGMENT_2(4, 5)"),
    "o and g of one unit change places": ("lstm_row", "M_FMA(3, 10, 24)", "M_FMA(2, 10, 24)"),
    "y has units that are not real": ("lstm_row", "if (a->y && unit < a->units)", "if (a->y)"),
    "h is not flushed": ("lstm_row", "h = lstmc_flush(h);", ""),
    "a column of the other panel": ("matmul", "(6, 12, 13, 20, 21)", "(6, 12, 13, 21, 20)"),
    "a column's third k": ("matmul", "(6, 16, 17, 18, 19)", "(6, 16, 17, 18, 18)"),
    "too many columns": ("matmul", "a->columns / 4 * 4", "(a->columns + 3) / 4 * 4"),
}


@pytest.mark.parametrize("name", NARROW_WRONG)
def test_wrong_assembler_is_noticed(narrow_program, tmp_path, name):
    kernel, right, wrong = NARROW_WRONG[name]
    shutil.copytree(ROOT / "c_src", tmp_path / "c_src")
    file = "matmul_cortexm.h" if kernel == "matmul" else "row_cortexm.h"
    header = tmp_path / "c_src/kernels" / file
    assert right in header.read_text()
    header.write_text(header.read_text().replace(right, wrong, 1))
    board, program = narrow_program("-std=c99", "-O1", NARROW, core=tmp_path / "c_src")
    command = board.command(program, ["--only", kernel, "--cases", 600])
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1 and re.search("DIFFERS from plain|wrote beside", result.stdout)


def test_undefined_behaviour(programs):
    """Scalar kernels and the program itself; those of the targets are the same sources."""
    flags = ["-std=c99", "-O1", "-g", "-fsanitize=undefined", "-fno-sanitize-recover=all"]
    flags += ["-DLSTMC_NO_SSE2", "-DLSTMC_NO_AVX2", "-DLSTMC_NO_NEON"]
    program, _ = programs("gcc", *flags)
    check(program, ["scalar"], "--cases", 300)


def test_times(programs):
    program, _ = programs("gcc", *STRICT)
    out = run([program, "--bench", "--cases", "2", "--only", "map"]).stdout
    assert [line.split()[1] for line in out.splitlines()] == lstmc.targets()


@pytest.mark.parametrize(
    "options",
    [["--only", "nothing"], ["--target", "nothing"], ["--cases"], ["--cases", "x"], ["--faster"]],
    ids=" ".join,
)
def test_bad_use(programs, options):
    program, _ = programs("gcc", *STRICT)
    result = subprocess.run([program, *options], capture_output=True, text=True)
    assert result.returncode == 2 and result.stderr.startswith("check_kernels: bad")


# What a kernel may get wrong: where, and what the program must say of it.
WRONG = {
    "one lane too many is written": (
        "if (n & 1) _mm_store_ss(p, rest)",
        "_mm_store_ss(p, rest)",
        "wrote beside|FAULT",
    ),
    "lanes behind the end are read": (
        "return _mm256_maskload_ps(p, v_first(n))",
        "(void)n; return _mm256_loadu_ps(p)",
        "FAULT",
    ),
    "a product is rounded": (
        "_mm256_fmadd_ps(a, b, c)",
        "_mm256_add_ps(_mm256_mul_ps(a, b), c)",
        "DIFFERS from scalar",
    ),
    "a NaN is lost": ("_mm256_max_ps(a, b)", "_mm256_max_ps(b, a)", "DIFFERS from scalar"),
}


@pytest.mark.skipif("avx2" not in lstmc.targets(), reason="the mistakes are in AVX2's kernels")
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_kernel_is_noticed(programs, tmp_path, name):
    right, wrong, message = WRONG[name]
    _, objects = programs("gcc", *STRICT)
    shutil.copytree(ROOT / "c_src", tmp_path / "c_src")
    header = tmp_path / "c_src/kernels/vec_avx2.h"
    assert right in header.read_text()
    header.write_text(header.read_text().replace(right, wrong))
    (spoilt,) = compile_objects(tmp_path, [tmp_path / "c_src/kernels/avx2.c"], ["-std=c99", "-O0"])
    others = [o for o in objects if o.name != "avx2.o"]
    program = compile_c(tmp_path / "check", [SOURCE, *others, spoilt])
    result = subprocess.run([program], capture_output=True, text=True)
    assert result.returncode == 1 and re.search(message, result.stdout)
    # what it says repeats the failure
    last = result.stdout.splitlines()[-1]
    options = last.removeprefix("  repeat it with ").split()
    again = subprocess.run([program, *options], capture_output=True, text=True)
    assert again.returncode == 1 and again.stdout.splitlines()[-1] == last
