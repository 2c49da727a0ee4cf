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
from helpers import ROOT, WARNINGS, compile_c, compile_objects
from helpers import run_program as run

import lstmc

KERNELS = sorted(str(p) for p in (ROOT / "c_src/kernels").glob("*.c"))
SOURCE = ROOT / "tests/c/check_kernels.c"
STRICT = [*WARNINGS, "-Wvla", "-O2"]
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
