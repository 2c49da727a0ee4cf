"""The C core on its own: what a firmware engineer compiles. No warning from any compiler, nothing
undefined but memcpy and its like, no state (calls and the stack: test_embedded_rules.py); the same
bits from every compiler, flag and choice of targets; the C tests and the fuzzer under sanitizers.
"""

import atexit
import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from helpers import (
    CORE,
    DATA,
    INFERENCE,
    LONG,
    ROOT,
    WARNINGS,
    c_compiler,
    compile_c,
    compile_objects,
    pointwise_graph,
    sequence_graph,
    stateful_graph,
)
from helpers import run_program as run
from test_format import V1_FILES

import lstmc
from lstmc.model import from_graph


def write_models():
    """Old files and new ones, with the digests that their golden samples must give."""
    models = {DATA / name: V1_FILES[name][1] for name in sorted(V1_FILES)}
    directory = tempfile.TemporaryDirectory()
    atexit.register(directory.cleanup)
    made = [("pointwise", pointwise_graph(), 16), ("pointwise", pointwise_graph(), 2)]
    made += [("sequence", sequence_graph(), 16), ("sequence", sequence_graph(), 2)]
    made += [("stateful", stateful_graph(), 16), ("stateful", stateful_graph(), 2)]
    for name, graph, panel in made:
        model = from_graph(graph, panel)
        path = Path(directory.name) / f"{name}{panel}.lstmc"
        model.save(path)
        models[path] = list(model.golden.digests.values())
    return models


MODELS = write_models()
NEW_MODELS = [path for path in MODELS if path.name not in V1_FILES]
PROGRAMS = ROOT / "tests/c"
X86 = platform.machine() in ("x86_64", "AMD64")
SCALAR_ONLY = ["-DLSTMC_NO_SSE2", "-DLSTMC_NO_AVX2", "-DLSTMC_NO_NEON"]
WAYS = ["whole", "steps", "chunks", "rows"]


def compilers():
    """$CC, and gcc and clang where there are any."""
    return list(dict.fromkeys([os.environ.get("CC", "gcc"), "gcc", "clang"]))


def command(name):
    words = name.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"no {words[0]} here")
    return words


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Compiles the core and the test programs, each way once."""
    directory = tmp_path_factory.mktemp("core")
    done = {}

    def objects(compiler, *flags):
        key = (compiler, flags)
        if key not in done:
            where = directory / f"o{len(done)}"
            sources = CORE if flags == STRICT else INFERENCE
            done[key] = compile_objects(where, sources, flags, command(compiler))
        return done[key]

    def program(name, compiler, *flags, link=()):
        key = (name, compiler, flags)
        if key not in done:
            parts = [PROGRAMS / f"{name}.c", *objects(compiler, *flags)]
            path = directory / f"{name}{len(done)}"
            done[key] = compile_c(path, parts, [*flags, *link], command(compiler))
        return done[key]

    build = lambda: None  # noqa: E731
    build.objects, build.program, build.directory = objects, program, directory
    return build


STRICT = (*WARNINGS, "-O2")


def expected_lines(targets):
    """What digest_main must print, from the digests recorded in Python."""
    return [
        " ".join([path.name, target, way, *(f"{d:08x}" for d in digests)])
        for path, digests in MODELS.items()
        for target in targets
        for way in WAYS
    ]


def assert_digests(program, targets, *prefix):
    out = run([*prefix, program, *MODELS]).stdout.splitlines()
    assert out == expected_lines(targets)


# ------------------------------------------------------------------------------------ the sources


@pytest.mark.parametrize("compiler", compilers())
def test_compiles_without_a_warning(build, compiler):
    """-Werror is among the flags; the test programs are held to the same."""
    build.objects(compiler, *STRICT)
    for name in ("test_core", "fuzz_model", "digest_main"):
        build.program(name, compiler, *STRICT)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_clean_at_other_levels(compiler, tmp_path):
    """Some warnings come with optimisation only, others without; and C11, C17, GNU modes."""
    base = [*command(compiler), *WARNINGS[1:], "-I", ROOT / "c_src", "-fsyntax-only", *CORE]
    for flags in (["-std=c99", "-O0"], ["-std=c11"], ["-std=c17"], ["-std=gnu17"],
                  ["-std=c99", *SCALAR_ONLY], ["-std=c99", "-DLSTMC_FAST_MAC"]):  # fmt: skip
        run([*base, *flags], cwd=tmp_path)


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("standard", ["c++98", "c++17"])
def test_header_is_cpp_too(compiler, standard, tmp_path):
    source = tmp_path / "use.cpp"
    source.write_text(
        '#include "lstmc.h"\n#include "lstmc.h"\n'
        "int main() { lstmc_config c = lstmc_config(); return c.batch || !lstmc_status_text(0); }\n"
    )
    # C++98 has no stdint.h of its own, and long long is an extension there.
    flags = [f"-std={standard}", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-fsyntax-only"]
    if standard == "c++17":
        flags += ["-pedantic", "-Wconversion", "-Wold-style-cast"]
    run([*command(compiler), *flags, "-I", ROOT / "c_src", "-x", "c++", source])


def test_header_stands_alone_in_c(tmp_path):
    for header in (
        "lstmc.h",
        "lstmc_train.h",
        "internal.h",
        "layers/layers.h",
        "kernels/kernels.h",
        "train/trainer.h",
    ):
        source = tmp_path / "alone.c"
        source.write_text(f'#include "{header}"\ntypedef int something;\n')
        run([*c_compiler(), *WARNINGS, "-fsyntax-only", "-I", ROOT / "c_src", source])


def test_one_command_builds_it(tmp_path):
    """`cc c_src/*.c c_src/*/*.c`, as the README says: no flag, no include path."""
    main = tmp_path / "main.c"
    main.write_text(
        f'#include "{ROOT / "c_src/lstmc.h"}"\n'
        "int main(void) { return lstmc_digest(0, 0, 0) != 0 || !lstmc_target_available(1); }\n"
    )
    sources = " ".join(f"'{ROOT / 'c_src'}'/{pattern}" for pattern in ("*.c", "*/*.c"))
    compiler = " ".join(c_compiler())
    out = tmp_path / "a b"
    run(["sh", "-c", f"{compiler} -O0 '{main}' {sources} -o '{out}'"])
    run([out])


def test_what_kernel_files_define_is_prefixed(build):
    """All that the core exports starts with lstmc_."""
    for path in build.objects(compilers()[0], *STRICT):
        for line in run(["nm", "-g", "--defined-only", path]).stdout.splitlines():
            assert line.split()[-1].startswith("lstmc_"), (path.name, line)


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm")
@pytest.mark.parametrize("compiler", compilers())
@pytest.mark.parametrize("flags", [STRICT, ("-std=c99", "-Os", *SCALAR_ONLY)], ids=["all", "Os"])
def test_needs_nothing_and_keeps_nothing(build, compiler, flags):
    """No libc but memcpy, memset, memmove and memcmp; no writable memory of its own."""
    objects = build.objects(compiler, *flags)
    defined, undefined, written = set(), set(), {}
    for path in objects:
        for line in run(["nm", path]).stdout.splitlines():
            kind, name = line.split()[-2:]
            (undefined if kind in "Uw" else defined).add(name)
            assert kind not in "BbCGgSs", (path.name, line)
        for line in run(["size", "-A", path]).stdout.splitlines():
            # .data.rel.ro holds constants with addresses in them: relocated, never written.
            if re.match(r"\.t?(data|bss)(?!\.rel\.ro)", line) and int(line.split()[1]):
                written[path.name] = line
    assert not written
    missing = undefined - defined - {"_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail"}
    assert missing <= {"memcpy", "memset", "memmove", "memcmp"}, missing
    text = " ".join(run(["nm", "-u", path]).stdout for path in objects)
    assert not re.search(r"malloc|calloc|free|printf|expf?\b|tanhf?\b|fmaf?\b|sqrt|abort", text)


# ---------------------------------------------------------------------------------- the same bits


@pytest.mark.parametrize("compiler", compilers())
def test_c_interface(build, compiler):
    out = run([build.program("test_core", compiler, *STRICT), DATA, *NEW_MODELS]).stdout
    assert re.search(r"[1-9]\d{3,} checks, 0 failures", out)


@pytest.mark.parametrize("compiler", compilers())
def test_digests_of_every_target(build, compiler):
    assert_digests(build.program("digest_main", compiler, *STRICT), lstmc.targets())


OPTIONS = {
    "O0": ["-std=c99", "-O0"],
    "O1": ["-std=c99", "-O1"],
    "O2": ["-std=c99", "-O2"],
    "O3": ["-std=c99", "-O3"],
    "fma in integers": ["-std=c99", "-O2", "-DLSTMC_INTEGER_FMA"],
    "Os": ["-std=c99", "-Os"],
    "gnu99 contracts by itself": ["-std=gnu99", "-O2", "-march=native"],
    "native": ["-std=c99", "-O3", "-march=native"],
    "contract": ["-std=gnu99", "-O3", "-march=native", "-ffp-contract=fast"],
    "soft fma, contract": ["-std=gnu99", "-O3", "-ffp-contract=fast"],
    "unrolled": ["-std=c99", "-O3", "-funroll-loops", "-ftree-vectorize"],
    "rounding math": ["-std=c99", "-O2", "-frounding-math", "-fno-trapping-math"],
}


UNSAFE = ["-freciprocal-math", "-funsafe-math-optimizations", "-fassociative-math"]


@pytest.mark.parametrize("flag", UNSAFE)
@pytest.mark.parametrize("compiler", compilers())
def test_unsafe_flags_are_undone_or_stop_the_build(build, compiler, flag):
    """Clang has no macro to see them by, and a pragma that undoes them; GCC the other way round."""
    options = ["-std=c99", "-O3", flag, "-fno-signed-zeros", "-fno-trapping-math"]
    try:
        program = build.program("digest_main", compiler, *options)
    except (AssertionError, subprocess.CalledProcessError, RuntimeError) as e:
        assert "clang" not in compiler and "lstmc: compile without" in str(e)
    else:
        assert_digests(program, lstmc.targets())


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
@pytest.mark.parametrize("compiler", compilers())
def test_scalar_digests_whatever_the_flags(build, compiler, options):
    if "clang" in compiler and "-frounding-math" in options and platform.machine() != "x86_64":
        pytest.skip("clang has -frounding-math on x86 only")
    program = build.program("digest_main", compiler, *options, *SCALAR_ONLY)
    assert_digests(program, ["scalar"])


VECTOR_OPTIONS = ["contract", "O0"] + (["native", "soft fma, contract", "Os"] if LONG else [])


@pytest.mark.parametrize("options", VECTOR_OPTIONS)
@pytest.mark.parametrize("compiler", compilers() if LONG else ["gcc", "clang"])
def test_vector_digests_whatever_the_flags(build, compiler, options):
    if not LONG and (compiler == "clang") == (options == "O0"):
        pytest.skip("LSTMC_LONG=1 runs all of them")
    assert_digests(build.program("digest_main", compiler, *OPTIONS[options]), lstmc.targets())


@pytest.mark.skipif(not X86, reason="these leave out x86 targets")
@pytest.mark.parametrize(
    ("flags", "without"),
    [
        (["-DLSTMC_NO_AVX2"], {"avx2", "avx512"}),
        (["-DLSTMC_NO_SSE2", "-DLSTMC_NO_AVX512"], {"sse2", "avx512"}),
        (SCALAR_ONLY, {"sse2", "avx2", "avx512"}),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_targets_left_out(build, flags, without):
    targets = [t for t in lstmc.targets() if t not in without]
    program = build.program("digest_main", c_compiler()[0], "-std=c99", "-O1", *flags)
    assert_digests(program, targets)


@pytest.mark.skipif(
    platform.machine() in ("aarch64", "arm64")
    or not (shutil.which("aarch64-linux-gnu-gcc") and shutil.which("qemu-aarch64")),
    reason="needs aarch64-linux-gnu-gcc and qemu-aarch64, or is NEON anyway",
)
@pytest.mark.parametrize("flags", [STRICT, ("-std=gnu99", "-O3", "-ffp-contract=fast")], ids=str)
def test_neon_under_emulation(build, flags):
    compiler = "aarch64-linux-gnu-gcc"
    digests = build.program("digest_main", compiler, *flags, link=["-static"])
    assert_digests(digests, ["scalar", "neon"], "qemu-aarch64")
    if flags is STRICT:
        test = build.program("test_core", compiler, *flags, link=["-static"])
        assert " 0 failures" in run(["qemu-aarch64", test, DATA]).stdout


# ------------------------------------------------------------------------------------- sanitizers

SANITIZE = ["-std=c99", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
            "-fno-omit-frame-pointer"]  # fmt: skip
if not LONG:
    SANITIZE.append("-DLSTMC_NO_AVX512")  # its kernels take a minute to compile with sanitizers


@pytest.fixture(scope="module")
def sanitizer(build):
    """The compiler whose sanitizers work here."""
    source = build.directory / "sane.c"
    source.write_text("int main(int n, char **a) { int v[2] = {1, 0}; (void)a; return v[n]; }\n")
    for compiler in ("clang", "gcc"):
        if shutil.which(compiler):
            try:
                run([compile_c(build.directory / "sane", [source], SANITIZE, [compiler])])
            except AssertionError:
                continue
            return compiler
    pytest.skip("no compiler with working address and undefined behaviour sanitizers")


def test_c_interface_under_sanitizers(build, sanitizer):
    program = build.program("test_core", sanitizer, *SANITIZE)
    out = run(
        [program, DATA, *NEW_MODELS], env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    ).stdout
    assert " 0 failures" in out
    out = run(
        [build.program("digest_main", sanitizer, *SANITIZE), *MODELS],
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},
    ).stdout
    assert len(out.splitlines()) >= 4 * len(MODELS)


@pytest.mark.parametrize("seed", range(8 if LONG else 1))
def test_fuzzed_models_under_sanitizers(build, sanitizer, seed):
    """Hostile words behind a checksum that fits: refused, or run without a wild access."""
    program = build.program("fuzz_model", sanitizer, *SANITIZE)
    count = "250000" if LONG else "12000"
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1"}
    out = run([program, count, str(seed), *MODELS], env=environment, timeout=3600).stdout
    opened, ran, *statuses = (int(n) for n in re.findall(r"\d+", out))
    assert opened == statuses[0] > 10000
    assert ran > 0.9 * opened
    assert statuses[6] == statuses[4] == 0  # the checksum always fitted, the version too
    for status in (5, 7, 8):
        assert statuses[status] > 100


def test_fuzzer_is_deterministic(build):
    program = build.program("fuzz_model", compilers()[0], *STRICT)
    first, again, other = (
        run([program, "5000", s, DATA / "v1_names.lstmc"]).stdout for s in ("1", "1", "2")
    )
    assert first == again != other


def test_valgrind_finds_nothing(build):
    """Values that were never written: what address sanitizers don't see."""
    if not LONG:
        pytest.skip("LSTMC_LONG=1 runs valgrind")
    if shutil.which("valgrind") is None:
        pytest.skip("no valgrind here")
    program = build.program("digest_main", "gcc", "-std=c99", "-O1", "-DLSTMC_NO_AVX512")
    memcheck = ["valgrind", "-q", "--error-exitcode=9", "--undef-value-errors=yes"]
    command_line = [*memcheck, program, *list(MODELS)[:2], NEW_MODELS[0]]
    result = subprocess.run(command_line, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
