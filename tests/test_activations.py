"""The activations of the core: their error bounds and bits on every target, by tests/c/sweep.c; and
what the oracle says of them against PyTorch and Keras.

`make sweep` takes a finer sample (docs/NUMERICS.md says how the bounds there were found).
"""

import inspect
import struct

import mpmath
import numpy as np
import pytest
from sweeping import (
    END,
    FULL,
    INF,
    MIN,
    NAN,
    NEEDS_QEMU,
    SIGN,
    STRIDE,
    SUB,
    TARGETS,
    bits_of,
    float_of,
    run_pieces,
)

import lstmc
from lstmc import functional, reference
from lstmc import graph as g

# What sweep.c is asked for: the bound in ULP, the hash of the sample (0, 2^32, STRIDE), which is a
# contract (golden digests of saved models depend on it), and where the formula changes.
CASES = {
    "affine,0.7,-0.3": (0.5, "913facfa71a3ae25", [3 / 7]),
    "leaky_relu,0.01": (0.5, "612d96e8cc7dd586", [0.0]),
    "leaky_relu,0.3,1.5": (1.15, "9e272b7e35e771cb", [1.5]),
    "thresholded_relu,1": (0, "f4b84a5dca03f765", [1.0]),
    "scaled_tanh,1.7159,0.6667": (3.10, "b2c009250a7e6a37", [0.625 / 0.6667, 9.02 / 0.6667]),
    "elu,1": (1.05, "b79fb1e4fe8b603f", [0.0, 0.34657359, 1.0397208, 17.33, 20.0]),
    "elu,0.7": (1.80, "2298e56b72d30826", [0.0, 0.34657359, 1.0397208, 17.33, 20.0]),
    "softsign": (1.55, "d2ea6d21b30224fc", [2.0**60]),
    "softplus": (1.90, "42af8701fd22e2d9", [0.0, 87.33654, 16.6, 0.34657359]),
    "selu,1.6732632,1.050701": (2.20, "c1327ef72a3f6638", [0.0, 0.34657359, 1.0397208, 20.0]),
    "gelu": (2.95, "fe61cfc04067dfe1", [0.9375, 13.2, 13.0, 5.5]),
    "gelu_tanh": (2.00, "a32550aec5ce8664", [0.0, 12.0, 10.2, 5.0, 8.0]),
    "silu,1": (2.05, "7c18c571f2695865", [0.0, 174.0, 30.0, 87.33654, 91.85, 0.34657359, 88.0]),
    "silu,1.702": (2.05, "ad058fca7f58bc63", [0.0, 174 / 1.702, 30 / 1.702, 87.33654 / 1.702]),
    "mish": (2.85, "89fc2073385b22cd", [0.0, 100.0, 110.0, 87.33654, 91.85, 0.34657359, 69.3]),
    "hard_silu,0.16666667,0.5": (1.55, "8de0a04044f031c3", [3.0, 2.9999998]),
    "log_sigmoid": (1.90, "eaa3c154e0d06cc2", [0.0, 87.33654, 16.6, 0.34657359]),
    "celu,0.7": (2.20, "39acf77bd46758f3", [0.0, 0.34657359 * 0.7, 1.0397208 * 0.7, 14.0]),
    "tanh_shrink": (1.55, "a473f5ab28b28924", [1.0, 10.0, 2.0**-42]),
    "soft_shrink,0.5": (0.5, "ac863678a4ec1912", [0.5]),
    "hard_shrink,0.5": (0, "be9ddcf6c56ada64", [0.5]),
    "squareplus,4": (2.80, "dcdd121cd0697c6d", [0.0, 2.0**62]),
    "sparse_plus": (1.95, "72d35afc72568490", [1.0]),
    "sparse_sigmoid": (0.5, "2802a337c6926848", [1.0]),
    "clip,0,6": (0, "cf92d4111e0a2a13", [0.0, 6.0]),
    "abs": (0, "22d681da96ebf2e6", [0.0]),
    "sqrt": (0.5, "aeff4b14a316a936", [0.0, 1.0, 2.0, 4.0]),
    "square": (0.5, "5813b8e7bda5439b", [2.0**-63, 2.0**64]),
    "reciprocal": (0.5, "9fef7ec2ff1dfa8c", [2.0**126, 2.0**127]),
    "log": (0.85, "c28480493e2426a7", [1.0, 0.70710678, 1.41421356, 2.0, 2.0**-126]),
    "erf": (1.40, "8e557c3667cab4e5", [0.75, 3.92, 4.0]),
    "sign": (0, "ada8088c76aad2e1", [0.0]),
    "not_equal,0.5": (0, "c2f938e82a610716", [0.5]),
    "not_equal,0": (0, "8a810a4c8cecd3b2", [0.0]),
    "not_equal,1e-40": (0, "c2f938e82a610716", [1e-40]),
}
# In the full sweep: primitives more finely than what is made of them.
PRIMITIVES = ("elu,1", "softplus", "log", "erf", "gelu", "gelu_tanh", "silu,1")
NANS = (NAN, NAN | SIGN, 0x7FC00001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0xFF8001FF)


def fn_of(case):
    """The graph's function for a case."""
    kind, *parameters = case.split(",")
    return g.Fn(kind, *(float(np.float32(v)) for v in parameters))


def exact(f, x):
    """f at x with 200 bits, written down as docs/NUMERICS.md has it."""
    mp = mpmath.mp
    mp.prec = 200
    x, a, b = mp.mpf(x), mp.mpf(float(np.float32(f.alpha))), mp.mpf(float(np.float32(f.beta)))

    def elu(v):
        return a * mp.expm1(v)

    def sigmoid(v):
        return 1 / (1 + mp.exp(-v))

    def inside(v):
        return min(mp.mpf(1), max(mp.mpf(0), v))

    return {
        "affine": lambda: a * x + b,
        "leaky_relu": lambda: x if x > b else a * (x - b),
        "scaled_tanh": lambda: a * mp.tanh(b * x),
        "elu": lambda: x if x >= 0 else elu(x),
        "softsign": lambda: x / (1 + abs(x)),
        "softplus": lambda: mp.log1p(mp.exp(x)),
        "selu": lambda: b * (x if x >= 0 else elu(x)),
        "gelu": lambda: x * mp.erfc(-x / mp.sqrt(2)) / 2,
        "gelu_tanh": lambda: x * sigmoid(mp.sqrt(8 / mp.pi) * (x + mp.mpf("0.044715") * x**3)),
        "silu": lambda: x * sigmoid(a * x),
        "mish": lambda: x * mp.tanh(mp.log1p(mp.exp(x))),
        "hard_silu": lambda: x * inside(a * x + b),
        "log_sigmoid": lambda: -mp.log1p(mp.exp(-x)),
        "celu": lambda: x if x >= 0 else elu(x / a),
        "tanh_shrink": lambda: x - mp.tanh(x),
        "soft_shrink": lambda: mp.sign(x) * max(abs(x) - a, mp.mpf(0)),
        "squareplus": lambda: (x + mp.sqrt(x * x + a)) / 2,
        "sparse_plus": lambda: x if x >= 1 else max(x + 1, mp.mpf(0)) ** 2 / 4,
        "sparse_sigmoid": lambda: inside((x + 1) / 2),
        "sqrt": lambda: mp.sqrt(x),
        "square": lambda: x * x,
        "reciprocal": lambda: 1 / x,
        "log": lambda: mp.log(x),
        "erf": lambda: mp.erf(x),
    }[f.kind]()


def pieces_of(case):
    """(start, stop, stride) over bit patterns: a sample, and every input near a change."""
    stride = (61 if case in PRIMITIVES else 257) if FULL else STRIDE
    step = END // 16
    pieces = [(start, start + step, stride) for start in range(0, END, step)]
    centres = {bits_of(v) for edge in CASES[case][2] for v in (edge, -edge)}
    centres |= {INF, INF | SIGN, NAN, NAN | SIGN, MIN, MIN | SIGN}
    return pieces + [(max(c - 2000, 0), min(c + 2000, END), 1) for c in sorted(centres)]


@pytest.mark.parametrize("case", CASES)
def test_bound_and_same_bits(sweep, case):
    best, bound, f = TARGETS[-1], CASES[case][0], fn_of(case)
    measured = run_pieces(sweep, case, best, pieces_of(case))
    worst = sorted((row for result in measured for row in result["worst"]), key=lambda row: -row[2])
    assert not worst or worst[0][2] <= bound, worst[:5]
    for x_bits, y_bits, error in worst[:8]:
        want = exact(f, float_of(int(x_bits, 16)))
        got = mpmath.mpf(float_of(int(y_bits, 16)))
        ulp = mpmath.mpf(2) ** (mpmath.floor(mpmath.log(abs(want), 2)) - 23)
        assert abs(abs(got - want) / ulp - error) < 1e-4, x_bits
    hashes = [result["hash"] for result in measured]
    for target in TARGETS[:-1]:
        others = [r["hash"] for r in run_pieces(sweep, case, target, pieces_of(case), "hash")]
        assert others == hashes, f"{target} and {best} differ"


@pytest.mark.parametrize("case", CASES)
def test_bits_are_those_of_every_release(sweep, case):
    assert sweep.run(case, TARGETS[-1], 0, END, STRIDE, "hash")["hash"] == CASES[case][1]


@pytest.mark.parametrize("case", CASES)
def test_flush_modes_change_nothing(sweep, case):
    for target in TARGETS:
        pieces = [(0, END, 65537), (0, 0x2000, 1), (0x7FF000, 0x801000, 1)]
        pieces += [(SIGN, SIGN + 0x2000, 1), (SIGN | 0x7FF000, SIGN | 0x801000, 1)]
        for piece in pieces:
            plain = sweep.run(case, target, *piece, "hash")
            flushed = sweep.run(case, target, *piece, "hash", "ftz")
            assert flushed["hash"] == plain["hash"], (target, piece)


@pytest.mark.parametrize(
    "flags",
    [["-std=gnu99", "-O3", "-march=native"], ["-O0"], ["-O3", "-ffp-contract=fast", "-mfma"]],
    ids=["gnu99-native", "O0", "contract"],
)
def test_compiler_flags_change_nothing(sweep, flags):
    if "-mfma" in flags and "avx2" not in TARGETS:
        pytest.skip("no fma instruction here")
    for case in CASES:
        expected = sweep.run(case, "scalar", 0, END, 131071, "hash")["hash"]
        for target in TARGETS:
            got = sweep.run(case, target, 0, END, 131071, "hash", flags=flags)["hash"]
            assert got == expected, (case, target)


@NEEDS_QEMU
def test_neon_gives_the_same_bits(sweep):
    for case, (_, _, edges) in CASES.items():
        pieces = [(0, END, 131071), (0x7FF000, 0x801000, 8)]
        pieces += [(bits_of(edge) - 20, bits_of(edge) + 20, 1) for edge in edges if edge]
        for piece in pieces:
            expected = sweep.run(case, "scalar", *piece, "hash")["hash"]
            assert sweep.run(case, "neon", *piece, "hash")["hash"] == expected, case


@pytest.mark.parametrize("target", TARGETS)
def test_nan_gives_nan(target):
    lstmc.set_target(target)
    nans = np.array(NANS, np.uint32).view(np.float32)
    for case in CASES:
        got = functional.apply(fn_of(case), nans)
        if case.startswith("not_equal"):
            assert (got == 1).all()
        else:
            assert np.isnan(got).all(), case


# ----------------------------------------------------------------------------------- special values

big = np.float32(3e38)
#: At inf, -inf, 3e38, -3e38.
LIMITS = {
    "affine,0.7,-0.3": [np.inf, -np.inf, np.float32(0.7) * big, -(np.float32(0.7) * big)],
    "affine,0,-0.3": [-0.3, -0.3, -0.3, -0.3],
    "leaky_relu,0": [np.inf, 0, big, 0],
    "leaky_relu,0.5": [np.inf, -np.inf, big, -1.5e38],
    "thresholded_relu,1": [np.inf, 0, big, 0],
    "thresholded_relu,-1": [np.inf, 0, big, 0],
    "scaled_tanh,1.7159,0.6667": [1.7159, -1.7159, 1.7159, -1.7159],
    "scaled_tanh,1.7159,0": [0, 0, 0, 0],
    "elu,0.7": [np.inf, -0.7, big, -0.7],
    "softsign": [1, -1, 1, -1],
    "softplus": [np.inf, 0, big, 0],
    "selu,1.5,2": [np.inf, -3, np.inf, -3],
    "gelu": [np.inf, 0, big, 0],
    "gelu_tanh": [np.inf, 0, big, 0],
    "silu,1": [np.inf, 0, big, 0],
    "silu,0": [np.inf, -np.inf, big / 2, -big / 2],
    "silu,-1": [0, -np.inf, 0, -big],
    "silu,1e30": [np.inf, 0, big, 0],
    "mish": [np.inf, 0, big, 0],
    "hard_silu,0.16666667,0.5": [np.inf, 0, big, 0],
    "hard_silu,0,0": [0, 0, 0, 0],
    "log_sigmoid": [0, -np.inf, 0, -big],
    "celu,0.7": [np.inf, -0.7, big, -0.7],
    "celu,1e-30": [np.inf, -1e-30, big, -1e-30],
    "tanh_shrink": [np.inf, -np.inf, big, -big],
    "soft_shrink,0.5": [np.inf, -np.inf, big, -big],
    "hard_shrink,0.5": [np.inf, -np.inf, big, -big],
    "hard_shrink,-1": [np.inf, -np.inf, big, -big],
    "squareplus,4": [np.inf, 0, big, 0],
    "squareplus,0": [np.inf, 0, big, 0],
    "sparse_plus": [np.inf, 0, big, 0],
    "sparse_sigmoid": [1, 0, 1, 0],
    "clip,0,6": [6, 0, 6, 0],
    "clip,-1,inf": [np.inf, -1, big, -1],
    "clip,-inf,2": [2, -np.inf, 2, -big],
    "clip,3,1": [1, 1, 1, 1],
    "abs": [np.inf, np.inf, big, big],
    "sqrt": [np.inf, np.nan, np.sqrt(big), np.nan],
    "square": [np.inf, np.inf, np.inf, np.inf],
    "reciprocal": [0, 0, 0, 0],
    "log": [np.inf, np.nan, np.log(3e38), np.nan],
    "erf": [1, -1, 1, -1],
    "sign": [1, -1, 1, -1],
    "not_equal,0.5": [1, 1, 1, 1],
}
#: At 0, -0, a subnormal and minus it.
ZEROS = {
    "affine,0.7,-0.3": -0.3, "softplus": np.log(2), "log_sigmoid": -np.log(2),
    "squareplus,4": 1, "sparse_plus": 0.25, "sparse_sigmoid": 0.5, "log": -np.inf,
    "not_equal,0.5": 1, "not_equal,1e-40": 1,
    "leaky_relu,0.3,1.5": np.float32(0.3) * np.float32(-1.5),
}  # fmt: skip


def assert_bits(got, want, what):
    got, want = np.asarray(got, np.float32), np.asarray(want, np.float32)
    same = (got.view(np.uint32) == want.view(np.uint32)) | (np.isnan(got) & np.isnan(want))
    assert same.all(), (what, got, want)


@pytest.mark.parametrize("target", TARGETS)
def test_limits_and_zeros(target):
    assert {c.split(",")[0] for c in LIMITS} == {c.split(",")[0] for c in CASES}
    lstmc.set_target(target)
    wide = np.float32([np.inf, -np.inf, 3e38, -3e38])
    for case, want in LIMITS.items():
        assert_bits(functional.apply(fn_of(case), wide), want, case)
        # and the oracle says so too
        with np.errstate(over="ignore"):
            oracle = np.float32(reference.fn(fn_of(case), wide.astype(float)))
        np.testing.assert_allclose(oracle, want, rtol=1e-6, atol=1e-37)
    small = np.array([0, SIGN, SUB, SUB | SIGN, 1, SIGN | 1], np.uint32).view(np.float32)
    for case in CASES:
        if case == "sign":
            want = [0, 0, 1, -1, 1, -1]
        elif case == "reciprocal":
            want = [np.inf, -np.inf] * 3
        elif case == "not_equal,0":
            want = [0, 0, 1, 1, 1, 1]
        else:
            want = [ZEROS.get(case, 0.0)] * 6
        assert_bits(functional.apply(fn_of(case), small), want, case)
    for v in (0.5, -3.0, 2.0**-100, 1e-40, 1e-45):
        around = np.float32([v, np.nextafter(np.float32(v), 9), np.nextafter(np.float32(v), -9)])
        assert_bits(functional.not_equal(around, v), [0, 1, 1], "not_equal")
        if v > 2.0**-126 or v < 0:
            assert_bits(functional.thresholded_relu(around, v), [0, around[1], 0], "threshold")


# --------------------------------------------------------------------------------------- the oracle

X = np.concatenate(
    [np.linspace(-9, 9, 1201), np.geomspace(1e-12, 100, 200), -np.geomspace(1e-12, 80, 200), [0.0]]
)


def assert_oracle(f, want, atol=0.0, rtol=2e-12):
    np.testing.assert_allclose(reference.fn(f, X), np.asarray(want), rtol, atol, err_msg=str(f))


def test_oracle_is_torchs():
    torch = pytest.importorskip("torch")
    nn, t = torch.nn.functional, torch.from_numpy(X)
    f32 = lambda v: float(np.float32(v))  # noqa: E731
    pairs = {
        g.Fn("elu", 0.7): nn.elu(t, f32(0.7)),
        g.Fn("leaky_relu", 0.01): nn.leaky_relu(t, f32(0.01)),
        g.Fn("thresholded_relu", 0.5): nn.threshold(t, 0.5, 0.0),
        g.Fn("softsign"): nn.softsign(t),
        g.Fn("silu"): nn.silu(t),
        g.Fn("celu", 0.7): nn.celu(t, f32(0.7)),
        g.Fn("soft_shrink", 0.3): nn.softshrink(t, f32(0.3)),
        g.Fn("hard_shrink", 0.3): nn.hardshrink(t, f32(0.3)),
        g.RELU6: nn.relu6(t),
        g.Fn("clip", -1, 1): nn.hardtanh(t),
        g.Fn("abs"): t.abs(), g.Fn("square"): t.square(), g.Fn("reciprocal"): t.reciprocal(),
        g.Fn("sign"): t.sign(), g.Fn("erf"): t.erf(), g.Fn("not_equal", 0): (t != 0).double(),
        g.Fn("sqrt"): t.sqrt(), g.Fn("log"): t.log(),
    }  # fmt: skip
    for f, want in pairs.items():
        assert_oracle(f, want)
    # PyTorch cancels near 0, is linear from 20 on, or has constants beyond float32.
    assert_oracle(g.Fn("gelu"), nn.gelu(t), 1e-15)
    assert_oracle(g.Fn("gelu_tanh"), nn.gelu(t, approximate="tanh"), 1e-15)
    assert_oracle(g.Fn("mish"), nn.mish(t), 1e-8)
    assert_oracle(g.Fn("softplus"), nn.softplus(t), 1e-8)
    assert_oracle(g.Fn("log_sigmoid"), nn.logsigmoid(t), 1e-15)
    assert_oracle(g.Fn("tanh_shrink"), nn.tanhshrink(t), 1e-15)
    assert_oracle(g.SELU, nn.selu(t), rtol=1e-7)
    assert_oracle(g.HARD_SILU, nn.hardswish(t), 1e-7, 1e-7)


def test_oracle_is_keras():
    keras = pytest.importorskip("keras")
    pairs = {
        g.Fn("sparse_plus"): "sparse_plus", g.Fn("sparse_sigmoid"): "sparse_sigmoid",
        g.Fn("squareplus", 4): "squareplus", g.Fn("celu", 1): "celu", g.Fn("elu", 1): "elu",
        g.Fn("soft_shrink", 0.5): "soft_shrink", g.Fn("hard_shrink", 0.5): "hard_shrink",
        g.Fn("tanh_shrink"): "tanh_shrink", g.Fn("softsign"): "softsign", g.Fn("silu"): "silu",
        g.RELU6: "relu6", g.HARD_SILU: "hard_silu", g.SELU: "selu", g.Fn("gelu"): "gelu",
        g.Fn("gelu_tanh"): "gelu", g.Fn("clip", -1, 1): "hard_tanh", g.Fn("mish"): "mish",
        g.Fn("log_sigmoid"): "log_sigmoid", g.Fn("softplus"): "softplus",
    }  # fmt: skip
    x = keras.ops.convert_to_tensor(X, "float64")
    for f, name in pairs.items():
        options = {"approximate": f.kind == "gelu_tanh"} if name == "gelu" else {}
        want = keras.ops.convert_to_numpy(getattr(keras.activations, name)(x, **options))
        # Its constants are float32 in part, and it cancels where the oracle does not.
        np.testing.assert_allclose(reference.fn(f, X), want, rtol=3e-7, atol=1e-7, err_msg=name)
    want = keras.ops.convert_to_numpy(keras.layers.ReLU(negative_slope=0.25, threshold=1.5)(x))
    np.testing.assert_allclose(reference.fn(g.Fn("leaky_relu", 0.25, 1.5), X), want, atol=1e-6)


def test_oracle_is_exact():
    """Against 200 bits: relative accuracy near zeros and on tails too."""
    for case in CASES:
        f = fn_of(case)
        if f.kind in ("thresholded_relu", "hard_shrink", "clip", "abs", "sign", "not_equal"):
            continue
        for x in X[::7]:
            if (x <= 0 and f.kind in ("log", "sqrt")) or (x == 0 and f.kind == "reciprocal"):
                continue
            want = exact(f, x)
            if abs(want) < 1e-300:
                continue
            got = float(reference.fn(f, np.float64(x)))
            assert abs(got - want) <= 1e-12 * abs(want), (case, x)


# ------------------------------------------------------------------------------------ the interface


def test_parameters_are_checked():
    for kind in g.FN_CODES:
        taken = g.PARAMETERS.get(kind, ())
        for values in ((1.0,), (1.0, 2.0)):
            if len(values) > len(taken):
                with pytest.raises(lstmc.ConversionError, match=f"'{kind}' has no (alpha|beta)"):
                    g.Fn(kind, *values)
        if any(v is g.functions.MISSING for v in taken):
            with pytest.raises(lstmc.ConversionError, match=f"'{kind}' needs alpha"):
                g.Fn(kind)
        else:
            g.Fn(kind)
        # A NaN that somebody computed is no missing parameter.
        for bad in (float("nan"), 1e39, -1e300):
            with pytest.raises(lstmc.ConversionError, match=r"as float32|has no alpha"):
                g.Fn(kind, bad, 1.0) if len(taken) > 1 else g.Fn(kind, bad)
    bad_ones = [("celu", 0.0), ("celu", -1.0), ("celu", 1e-60), ("soft_shrink", -0.1)]
    bad_ones += [("squareplus", -1.0), ("squareplus", 1e19), ("elu", float("inf"))]
    for kind, bad in bad_ones:
        with pytest.raises(
            lstmc.ConversionError, match=f"'{kind}' cannot have alpha .* as float32"
        ):
            g.Fn(kind, bad)
    assert g.Fn("silu") == g.SILU and g.Fn("leaky_relu", 0.1).beta == 0
    assert str(g.RELU6) == "clip(0, 6)" and str(g.Fn("elu", 0.5)) == "elu(0.5)"
    assert struct.pack("<f", g.Fn("tanh", -0.0).alpha) == bytes(4)
    # ONNX has these as float32 values, Keras and PyTorch in double.
    assert np.float32(g.SELU.alpha) == np.float32(1.67326319217681884765625)
    assert np.float32(g.SELU.beta) == np.float32(1.05070102214813232421875)


def test_functional_has_every_function():
    """By name, with a signature and a formula; the defaults are those of Keras and PyTorch."""
    others = {"apply", "exp", "relu6"}
    others |= {
        f"{cell}_{way}" for cell in ("lstm", "gru", "rnn") for way in ("forward", "backward")
    }
    names = set(functional.__all__) - others
    assert names == set(g.FN_CODES) - {"linear", "exponential"}
    x = np.float32([[-2.5, -0.75, 0.25], [0.5, 1.5, 7.0]])
    given = {
        "affine": (0.5, 2.0), "clip": (-1.0, 1.0), "not_equal": (0.5,), "scaled_tanh": (1.5, 0.5)
    }  # fmt: skip
    defaults = {
        "celu": (1.0,), "elu": (1.0,), "hard_shrink": (0.5,), "hard_sigmoid": (0.2, 0.5),
        "hard_silu": (1 / 6, 0.5), "leaky_relu": (0.01, 0.0), "silu": (1.0,),
        "selu": (g.SELU.alpha, g.SELU.beta), "soft_shrink": (0.5,), "squareplus": (4.0,),
        "thresholded_relu": (1.0,),
    }  # fmt: skip
    for name in sorted(names):
        function = getattr(functional, name)
        assert function.__name__ == name and function.__doc__
        parameters = list(inspect.signature(function).parameters.values())
        assert parameters[0].name == "x"
        assert len(parameters) - 1 == len(g.PARAMETERS.get(name, ()))
        values = given.get(name, defaults.get(name, ()))
        if name not in given:
            assert tuple(p.default for p in parameters[1:]) == values, name
        y = function(x, *given.get(name, ()))
        assert y.shape == x.shape and y.dtype == np.float32
        with np.errstate(invalid="ignore"):
            want = reference.fn(g.Fn(name, *values), x.astype(float))
        np.testing.assert_allclose(y, want, rtol=5e-7, err_msg=name)
        with pytest.raises(lstmc.DtypeError):
            function("1", *given.get(name, ()))
    np.testing.assert_array_equal(functional.relu6(x), np.clip(x, 0, 6))
    with pytest.raises(lstmc.ConversionError, match="celu"):
        functional.celu(x, 0.0)
