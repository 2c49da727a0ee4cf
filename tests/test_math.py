"""The core's fma, exp, tanh and sigmoid: the same bits on every target, within their error bounds.

By default each function runs over a sample of all float32 inputs and over every input near the
points where its formula changes. `make sweep` runs all 2^32 inputs on every target, which takes
some ten minutes on two cores. $CC names the compiler, gcc if unset.
"""

import itertools
import os
import platform
import random
import re
import shutil
import subprocess
import sys
from fractions import Fraction

import pytest
from helpers import LONG, WARNINGS, compile_c, run_program
from sweeping import (
    END,
    FULL,
    HALF,
    INF,
    MIN,
    NAN,
    NEEDS_QEMU,
    ONE,
    ROOT,
    SIGN,
    STRIDE,
    SUB,
    TARGETS,
    bits_of,
    float_of,
    run_pieces,
)

mpmath = pytest.importorskip("mpmath")

# As vmath.h states them. Measured over all 2^32 inputs: 1.030546, 1.197930, 1.695313.
BOUNDS = {"exp": 1.031, "tanh": 1.198, "sigmoid": 1.696}
# Of the sample (0, 2^32, STRIDE). The bits are a contract: golden digests of saved models depend on
# them, so a new hash here is a breaking change.
GOLDEN = {
    "exp": "8e442689e525bb06",
    "tanh": "9a637003ac24998c",
    "sigmoid": "ddc0492bd7e8fb5b",
    "flush": "0fdd53ddd64610fd",
}


# Where a formula changes, saturates, overflows, underflows or a reduction steps to the next n.
EDGES = {
    "exp": [0.0, -87.33654, 88.72283, 88.376, -87.68, 0.34657359, -0.34657359, 1.0397208],
    "tanh": [0.0, 2.0**-126, 0.625, 9.0109, 10.0, 0.51986, 0.866434, 2.0**-42, 2.0**-63],
    "sigmoid": [0.0, -87.33654, 17.33, 20.0, -16.63, -16.98, -17.3, 0.34657359, -0.34657359],
}


def ranges(function):
    """(start, stop, stride) over bit patterns."""
    if FULL:
        step = END // 64
        return [(start, start + step, 1) for start in range(0, END, step)]
    pieces = [(0, END, STRIDE)]
    centres = {bits_of(edge) for edge in EDGES[function]}
    centres |= {bits_of(-edge) for edge in EDGES[function]}
    centres |= {0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000, 0x00800000, 0x80800000}
    for centre in sorted(centres):
        pieces.append((max(centre - 3000, 0), min(centre + 3000, END), 1))
    pieces.append((0xFFFF0000, END, 1))
    return pieces


def exact_ulp(function, x_bits, y_bits):
    """The error in ULP, from 200 bits."""
    mpmath.mp.prec = 200
    x, y = mpmath.mpf(float_of(x_bits)), mpmath.mpf(float_of(y_bits))
    exact = {"exp": mpmath.exp, "tanh": mpmath.tanh, "sigmoid": lambda v: 1 / (1 + mpmath.exp(-v))}[
        function
    ](x)
    return abs(y - exact) / mpmath.mpf(2) ** (mpmath.floor(mpmath.log(abs(exact), 2)) - 23)


@pytest.mark.parametrize("function", BOUNDS)
def test_bound_and_same_bits(sweep, function):
    best = TARGETS[-1]
    measured = run_pieces(sweep, function, best, ranges(function))
    worst = sorted((row for result in measured for row in result["worst"]), key=lambda row: -row[2])
    assert worst[0][2] <= BOUNDS[function], worst[:5]
    for x_bits, y_bits, error in worst[:32]:
        exact = exact_ulp(function, int(x_bits, 16), int(y_bits, 16))
        assert abs(exact - error) < 1e-4
        assert exact <= BOUNDS[function]
    hashes = [result["hash"] for result in measured]
    for target in TARGETS[:-1]:
        others = [
            result["hash"]
            for result in run_pieces(sweep, function, target, ranges(function), "hash")
        ]
        assert others == hashes, f"{target} and {best} differ"


@pytest.mark.parametrize("function", GOLDEN)
def test_bits_are_those_of_every_release(sweep, function):
    assert sweep.run(function, "scalar", 0, END, STRIDE, "hash")["hash"] == GOLDEN[function]


@pytest.mark.parametrize("function", GOLDEN)
@pytest.mark.parametrize("target", [target for target in TARGETS if target != "scalar"])
def test_flush_modes_change_nothing(sweep, function, target):
    plain = sweep.run(function, target, 0, END, STRIDE, "hash")
    flushed = sweep.run(function, target, 0, END, STRIDE, "hash", "ftz")
    assert flushed["hash"] == plain["hash"]
    for start in (0x00000000, 0x007FF000, 0x80000000, 0x807FF000):
        piece = (start, start + 0x2000, 1)
        plain = sweep.run(function, target, *piece, "hash")
        assert sweep.run(function, target, *piece, "hash", "ftz")["hash"] == plain["hash"]


@pytest.mark.parametrize(
    "flags",
    [
        ["-std=gnu99", "-O3", "-march=native"],
        ["-O0"],
        ["-O3", "-ffp-contract=fast", "-march=native"],
    ],
    ids=["gnu99-native", "O0", "contract"],
)
@pytest.mark.parametrize("function", BOUNDS)
def test_compiler_flags_change_nothing(sweep, function, flags):
    stride = 65537
    expected = sweep.run(function, "scalar", 0, END, stride, "hash")["hash"]
    for target in TARGETS:
        result = sweep.run(function, target, 0, END, stride, "hash", flags=flags)
        assert result["hash"] == expected, target


@pytest.mark.parametrize("flag", ["-ffast-math", "-Ofast", "-ffinite-math-only"])
def test_fast_math_stops_the_build(sweep, flag, capfd):
    for target in TARGETS:
        with pytest.raises(subprocess.CalledProcessError):
            sweep.command(target, [flag])
        assert "lstmc: compile without" in capfd.readouterr().err


@NEEDS_QEMU
@pytest.mark.parametrize("function", GOLDEN)
def test_neon_gives_the_same_bits(sweep, function):
    for piece in [(0, END, 65537), (0x7F000, 0x81000, 1), (0x807FF000, 0x80801000, 1)]:
        expected = sweep.run(function, "scalar", *piece, "hash")["hash"]
        assert sweep.run(function, "neon", *piece, "hash")["hash"] == expected
        assert sweep.run(function, "neon", *piece, "hash", "ftz")["hash"] == expected


def test_header_has_the_fitted_coefficients():
    path = ROOT / "tests/tools/fit_polynomials.py"
    lines = subprocess.run([sys.executable, str(path)], check=True, capture_output=True, text=True)
    headers = "".join(p.read_text() for p in sorted((ROOT / "c_src/kernels").glob("vmath*.h")))
    constants = [x for x in lines.stdout.splitlines() if x and not x.startswith("/*")]
    text = "\n".join(constants)
    assert text.count("#define") == 10
    arrays = text[text.index("static") :].split(";\n")
    assert len(arrays) == 6
    for constant in [x for x in constants if x.startswith("#define")] + arrays:
        assert "".join(constant.split()) in "".join(headers.split()), constant


@pytest.mark.parametrize("function", ["sqrt_ieee", "sqrt_soft"])
def test_sqrt_is_correctly_rounded(sweep, function):
    """Every instruction, and the integers that stand in for it: all exponents, both parities."""
    # Subnormals, zeros, powers of four and their neighbours, infinities, NaNs, negative numbers.
    pieces = [(0, END, STRIDE if not FULL else 17), (0, 3000, 1), (SIGN + 1, SIGN + 5, 1)]
    for centre in (0x00800000, 0x3F800000, 0x40000000, 0x40800000, 0x7F800000, 0xFF800000):
        pieces.append((centre - 3000, centre + 3000, 1))
    for piece in pieces:
        # Nothing is nearer. A root is 2^-26 ULP away from any midpoint, which double can see.
        expected = sweep.run(function, "scalar", *piece)
        assert expected["max_ulp"] <= 0.5, expected["worst"][:3]
        for target in TARGETS[1:]:
            assert sweep.run(function, target, *piece, "hash")["hash"] == expected["hash"], target
    assert sweep.apply(function, TARGETS[-1], [0, SIGN, INF, 1, MIN | 0x400000]) == [
        0, SIGN, INF, bits_of(2.0**-74.5), bits_of((1.5 * 2.0**-126) ** 0.5)
    ]  # fmt: skip


@NEEDS_QEMU
def test_sqrt_on_neon(sweep):
    for piece in [(0, END, 65537), (0, 3000, 1)]:
        expected = sweep.run("sqrt_soft", "scalar", *piece, "hash")["hash"]
        assert sweep.run("sqrt_ieee", "neon", *piece, "hash")["hash"] == expected


def test_what_the_cortex_m_leaves_out_shows_nowhere(tmp_path):
    """c_src/kernels/vmath_cortexm.h has fewer operations: the same in C, all floats."""
    flags = ["-std=c99", "-O2", "-I", str(ROOT / "c_src/kernels")]
    program = compile_c(tmp_path / "check_clamps", [ROOT / "tests/c/check_clamps.c"], flags)
    step = 1 if FULL else 1009
    tried = 2 * 2 * (0x7F800000 // step + 1)
    assert run_program([program, step], timeout=None).stdout == f"{tried} tried, 0 differ\n"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x87 is x86 only")
def test_x87_stops_the_build(sweep, capfd):
    if "clang" in os.environ.get("CC", "gcc"):
        pytest.skip("Clang has no -mfpmath=387 on x86-64")
    with pytest.raises(subprocess.CalledProcessError):
        sweep.command("scalar", ["-mfpmath=387"])
    assert "wider type" in capfd.readouterr().err


LOW, HIGH = bits_of(-87.33654022216797), bits_of(88.72283172607422)
SPECIAL = {
    "exp": {
        0: ONE,
        SIGN: ONE,
        1: ONE,
        SIGN | 1: ONE,
        SUB: ONE,
        INF: INF,
        INF | SIGN: 0,
        HIGH + 1: INF,
        LOW + 1: 0,
        bits_of(-1e30): 0,
        bits_of(1e30): INF,
        bits_of(-200.0): 0,
    },
    "tanh": {
        0: 0,
        SIGN: 0,
        1: 0,
        SIGN | 1: 0,
        SUB: 0,
        SIGN | SUB: 0,
        MIN: MIN,
        SIGN | MIN: SIGN | MIN,
        INF: ONE,
        INF | SIGN: ONE | SIGN,
        bits_of(1e30): ONE,
        bits_of(-1e30): ONE | SIGN,
    },
    "sigmoid": {
        0: HALF,
        SIGN: HALF,
        1: HALF,
        SIGN | SUB: HALF,
        INF: ONE,
        INF | SIGN: 0,
        LOW + 1: 0,
        bits_of(1e30): ONE,
        bits_of(-1e30): 0,
        bits_of(-200.0): 0,
    },
    "flush": {
        0: 0,
        SIGN: 0,
        1: 0,
        SIGN | SUB: 0,
        INF: INF,
        INF | SIGN: INF | SIGN,
        bits_of(2.0**-64): bits_of(2.0**-64),
        bits_of(2.0**-64) - 1: 0,
        SIGN | (bits_of(2.0**-64) - 1): 0,
    },
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("function", SPECIAL)
def test_special_values(sweep, function, target):
    cases = dict(SPECIAL[function])
    # Payloads in the low bits would upset the integer arithmetic of v_scale2 if they got there.
    for nan in (NAN, NAN | SIGN, 0x7FC00001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0xFF8001FF):
        cases[nan] = NAN
    results = sweep.apply(function, target, cases)
    assert dict(zip(cases, results, strict=True)) == cases


@pytest.mark.parametrize("target", TARGETS)
def test_thresholds_of_exp_are_tight(sweep, target):
    high, low = sweep.apply("exp", target, [HIGH, LOW])
    assert 0x7F7F0000 < high < INF
    assert MIN <= low < MIN + 0x100
    assert sweep.apply("sigmoid", target, [LOW])[0] >= MIN


@pytest.mark.parametrize("target", TARGETS)
def test_tanh_is_odd(sweep, target):
    inputs = [random.Random(7).randrange(MIN, INF) for _ in range(40)]
    inputs += [bits_of(x) for x in (0.1, 0.6249999, 0.625, 0.7, 3.0, 9.0, 2.0**-126)]
    positive = sweep.apply("tanh", target, inputs)
    assert sweep.apply("tanh", target, [x | SIGN for x in inputs]) == [y | SIGN for y in positive]


def round_to_float(value):
    """The float32 bits nearest to a Fraction, ties to even; the sign of zero is the caller's."""
    sign, value = (SIGN, -value) if value < 0 else (0, value)
    if value == 0:
        return 0
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    if Fraction(2) ** exponent > value:
        exponent -= 1
    exponent = max(exponent, -126)
    scaled = round(value / Fraction(2) ** (exponent - 23))  # Fraction rounds ties to even
    # A carry to 2^24 moves into the exponent by itself.
    bits = scaled + ((exponent + 126) << 23)
    return sign | min(bits, INF)


def exact_fma(triple):
    """What IEEE 754 says, as bits; NAN for any NaN."""
    a, b, c = triple
    if any((v & ~SIGN) > INF for v in triple):
        return NAN
    product_sign = (a ^ b) & SIGN
    a0, b0, c0 = (v & ~SIGN for v in triple)
    if a0 == INF or b0 == INF:
        if a0 == 0 or b0 == 0 or (c0 == INF and (c & SIGN) != product_sign):
            return NAN
        return INF | product_sign
    if c0 == INF:
        return c
    total = Fraction(float_of(a)) * Fraction(float_of(b)) + Fraction(float_of(c))
    if total == 0:
        exact_zero = (a0 == 0 or b0 == 0) and c0 == 0
        return SIGN if exact_zero and product_sign and c & SIGN else 0
    return round_to_float(total)


def adversarial_triples():
    """Triples near the places where rounding a double to float goes wrong."""
    rng = random.Random(20240607)
    special = [
        0,
        1,
        SUB,
        MIN,
        MIN + 1,
        ONE,
        ONE + 1,
        ONE - 1,
        0x7F7FFFFF,
        0x7F7FFFFE,
        INF,
        NAN,
        0x33800000,
        0x33800001,
        0x34000000,
        0x00000002,
        0x4B800000,
        0x0B800000,
    ]
    special += [v | SIGN for v in special]
    triples = list(itertools.product(special, repeat=3))

    def random_float(low, high):
        return rng.getrandbits(1) << 31 | rng.randrange(low, high) << 23 | rng.getrandbits(23)

    for _ in range(20000):
        triples.append(tuple(rng.getrandbits(32) for _ in range(3)))
        # c near the size of a * b, and near minus a * b: carries and cancellation
        a, b = random_float(90, 160), random_float(90, 160)
        near = round_to_float(Fraction(float_of(a)) * Fraction(float_of(b)))
        triples.append((a, b, (near ^ rng.getrandbits(1) << 31) + rng.randrange(-2, 3)))
        # A tie that a tiny product breaks: c + half an ULP of c needs two parts, so that a * b is
        # 2^k (1 + d) with d far below double's last bit: (1 + u)(1 - u) = 1 - u^2.
        exponent = rng.randrange(60, 200)
        c = rng.getrandbits(1) << 31 | exponent << 23 | rng.getrandbits(23)
        step = rng.randrange(1, 9)
        scale = (exponent - 24 - 127) << 23
        u = [
            (ONE + step + scale, ONE - 2 * step),
            (ONE + step + scale, ONE - 2 * step + 1),
            (ONE + scale, ONE),
            (ONE + 1 + scale, ONE),
            (ONE - 1 + scale, ONE),
        ]
        a, b = rng.choice(u)
        triples.append((a | rng.getrandbits(1) << 31, b, c))
        # The same among subnormal results: the tie is at 2^-150, a * b = 2^-150 (1 +- tiny).
        shift = rng.randrange(-8, 8)
        pair = rng.choice(
            [
                (ONE + step, ONE - 2 * step),
                (ONE + step, ONE - 2 * step + 1),
                (ONE + step, ONE + step),
                (ONE, ONE),
                (ONE - step, ONE + step),
                (ONE + (step << 10), ONE - (step << 11)),
            ]
        )
        a = pair[0] - (75 + shift << 23) | rng.getrandbits(1) << 31
        b = pair[1] - (75 - shift << 23)
        triples.append((a, b, rng.getrandbits(1) << 31 | rng.getrandbits(24)))
        # Overflow and nearly so.
        a, b = random_float(180, 200), random_float(180, 202)
        triples.append((a, b, rng.getrandbits(1) << 31 | 0x7F7FFFFF - rng.getrandbits(2)))
        # Subnormal operands and products.
        triples.append((random_float(0, 80), random_float(60, 130), random_float(0, 4)))
    for k in range(-3, 4):
        for top in (0x7F7FFFFF, 0xFF7FFFFF):
            # FLT_MAX + 2^103 is the tie between FLT_MAX and infinity.
            triples += [(0x59800000 + k, 0x59800000 + j, top) for j in range(-3, 4)]
            triples += [(0x73000000 + k, ONE + j, top) for j in range(-3, 4)]
    return [tuple(v & 0xFFFFFFFF for v in triple) for triple in triples]


INTEGERS = [["-DLSTMC_INTEGER_FMA"], ["-DLSTMC_INTEGER_FMA", "-DLSTMC_NARROW_MULTIPLY"]]


@pytest.mark.parametrize(
    "flags", [[], ["-march=native"], *INTEGERS], ids=["soft", "native", "integers", "narrow"]
)
def test_fma_is_exact(sweep, flags):
    triples = adversarial_triples()
    expected = [exact_fma(triple) for triple in triples]
    assert sum(0 < (v & ~SIGN) < MIN for v in expected) > 10000
    for name, results in zip(
        ("lstmc_fmaf", "soft scalar", "SSE2 lane 1", "SSE2 lane 3"),
        sweep.fma(triples, flags=flags),
        strict=False,
    ):
        results = [NAN if (v & ~SIGN) > INF else v for v in results]
        wrong = [
            (triple, got, want)
            for triple, got, want in zip(triples, results, expected, strict=True)
            if got != want
        ]
        assert not wrong, (name, len(wrong), [[f"{v:08x}" for v in t] for t, _, _ in wrong[:3]])


@pytest.mark.parametrize("flags", INTEGERS, ids=["integers", "narrow"])
def test_fma_in_integers_is_that_in_doubles(tmp_path, flags):
    """And libm's: six kinds of triples, and all triples of special values."""
    source = ROOT / "tests/c/check_fma.c"
    program = compile_c(tmp_path / "check_fma", [source, "-lm"], [*WARNINGS, "-O2", *flags])
    out = run_program([program, 30_000_000 if LONG else 300_000, 1]).stdout
    assert re.search(r"\d{7,} checks, 0 failures", out)


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm")
@pytest.mark.parametrize("flags", [["-O0"], ["-O2"], ["-O0", "-march=native"]], ids=str)
def test_no_call_of_libm_in_float(sweep, flags):
    for target in TARGETS:
        program = sweep.command(target, flags)[-1]
        symbols = subprocess.run(["nm", "-u", program], check=True, capture_output=True, text=True)
        names = {line.split()[-1].split("@")[0] for line in symbols.stdout.splitlines()}
        assert "exp" in names  # of double, which the program compares with
        assert not names & {"fma", "fmaf", "sqrtf", "expf", "logf", "tanhf", "erff", "fabsf"}
