"""Fit the polynomials of c_src/kernels/vmath*.h and print their coefficients as C.

    python tests/tools/fit_polynomials.py

Coefficients are rounded to float32 one by one, lowest degree first, and the rest is fitted again
each time, so that the later ones make up for the rounding of the earlier ones. exp and tanh are
weighted minimax fits (Remez exchange, 40 digits). The others are weighted least squares over
Chebyshev points: nearly as good, and they don't need the error to alternate, which it can't where
the variable passes zero once the constant term is fixed.
"""

import struct

import mpmath as mp

mp.mp.dps = 40
GRID = 1500
TANH_SPLIT = 0.625


def float32(value):
    """The float32 nearest to value, as a Python float."""
    return struct.unpack("<f", struct.pack("<f", float(value)))[0]


def remez(function, weight, low, high, degrees):
    """Coefficients of sum(c[d] * x**d) that minimise the largest |weight * (fit - function)|."""
    count = len(degrees) + 1
    # Chebyshev spacing, so that the ends of the interval are seen well.
    grid = [
        (low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * (k + mp.mpf(1) / 2) / GRID)
        for k in range(GRID)
    ]
    values = [(x, function(x), weight(x)) for x in grid]
    chosen = [round((k + 0.5) * GRID / count) for k in range(count)]
    for _ in range(60):
        rows = mp.matrix(count, count)
        right = mp.matrix(count, 1)
        for row, index in enumerate(chosen):
            x, f, w = values[index]
            for column, degree in enumerate(degrees):
                rows[row, column] = w * x**degree
            rows[row, count - 1] = (-1) ** row
            right[row] = w * f
        solution = mp.lu_solve(rows, right)
        errors = [
            w * (sum(solution[k] * x**d for k, d in enumerate(degrees)) - f) for x, f, w in values
        ]
        # One extreme of each run of equal sign.
        peaks = []
        for index, error in enumerate(errors):
            if peaks and (error > 0) == (errors[peaks[-1]] > 0):
                if abs(error) > abs(errors[peaks[-1]]):
                    peaks[-1] = index
            else:
                peaks.append(index)
        while len(peaks) > count:
            peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
        if len(peaks) < count or peaks == chosen:
            break
        chosen = peaks
    return [solution[k] for k in range(count - 1)], max(abs(e) for e in errors)


def fit(name, function, weight, low, high, terms):
    """Fit `terms` float32 coefficients; C lines that define them."""
    fixed = []
    for first in range(terms):

        def rest(x):
            return function(x) - sum(mp.mpf(c) * x**d for d, c in enumerate(fixed))

        coefficients, _ = remez(rest, weight, low, high, list(range(first, terms)))
        fixed.append(float32(coefficients[0]))
    worst = max(
        abs(weight(x) * (function(x) - sum(mp.mpf(c) * x**d for d, c in enumerate(fixed))))
        for x in mp.linspace(low, high, 2000)
    )
    lines = [f"#define {name}{degree} {literal(c)}" for degree, c in enumerate(fixed)]
    lines.append(f"/* {name}: error {mp.nstr(worst * 2**24, 3)} * 2^-24 */")
    return lines


def literal(value):
    digits, exponent = value.hex().split("p")
    return f"{digits.rstrip('0').rstrip('.')}p{exponent}f"


def fit_squares(name, function, weight, low, high, terms, points=240):
    """The same by least squares; C lines that define an array."""
    middle, half = (low + high) / 2, (high - low) / 2
    grid = [middle - half * mp.cos(mp.pi * (k + mp.mpf(1) / 2) / points) for k in range(points)]
    weights = [weight(x) for x in grid]
    rest = [function(x) for x in grid]
    rows = [[w * x**d for d in range(terms)] for x, w in zip(grid, weights, strict=True)]
    fixed = []
    for first in range(terms):
        columns = range(first, terms)
        left, right = mp.matrix(len(columns)), mp.matrix(len(columns), 1)
        for row, w, y in zip(rows, weights, rest, strict=True):
            for i, a in enumerate(columns):
                right[i] += row[a] * w * y
                for j, b in enumerate(columns):
                    left[i, j] += row[a] * row[b]
        fixed.append(float32(mp.lu_solve(left, right)[0]))
        rest = [y - fixed[-1] * x**first for x, y in zip(grid, rest, strict=True)]
    worst = max(abs(w * y) for w, y in zip(weights, rest, strict=True))
    return [
        f"/* error {mp.nstr(worst * 2**24, 3)} * 2^-24 */",
        f"static const float {name}[{terms}] = {{",
        *(f"    {literal(c)}," for c in fixed),
        "};",
    ]


# Near the middle of the interval, where the constant term happens to be close to a float32.
ERFC_SHIFT, ERFC_CENTRE = 3.0, float.fromhex("0x1.797efap-3")


def fit_arrays():
    """What is in vmath_log.h and vmath_erf.h. The error is always relative to the whole result."""
    zero, one = mp.mpf(0), mp.mpf(1)
    root = mp.sqrt(mp.mpf(2))
    # log(1 + f) = f - f^2 / 2 + f^3 P(f)
    lines = fit_squares(
        "lstmc_log_p",
        lambda f: (mp.log1p(f) - f + f**2 / 2) / f**3,
        lambda f: f**3 / mp.log1p(f),
        1 / root - 1,
        root - 1,
        9,
    )
    # log(1 + w) = w + w^2 P(w)
    lines += fit_squares(
        "lstmc_log1p_p",
        lambda w: (mp.log1p(w) - w) / w**2,
        lambda w: w**2 / mp.log1p(w),
        zero,
        one,
        10,
    )

    # x - tanh(x) = x z P(z), z = x^2
    def shrunk(z):
        return (1 - mp.tanh(mp.sqrt(z)) / mp.sqrt(z)) / z

    lines += fit_squares("lstmc_shrink_p", shrunk, lambda z: 1 / shrunk(z), zero, one, 8)

    # erf(x) = x + x P(z)
    def erf_rest(z):
        return mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1

    lines += fit_squares(
        "lstmc_erf_p", erf_rest, lambda z: 1 / (1 + erf_rest(z)), zero, mp.mpf(0.75) ** 2, 6
    )

    # The normal distribution function: 1/2 + x P(z); relative to its value at -x, the smaller.
    def phi_rest(z):
        return mp.erf(mp.sqrt(z) / root) / 2 / mp.sqrt(z)

    lines += fit_squares(
        "lstmc_phi_p",
        phi_rest,
        lambda z: mp.sqrt(z) / (0.5 - mp.sqrt(z) * phi_rest(z)),
        zero,
        mp.mpf(0.9375) ** 2,
        6,
    )

    # e^(z^2) erfc(z) = u P(u - centre), u = 1 / (z + 3), 0.65 <= z <= 9.4
    def erfc_scaled(v):
        u = v + ERFC_CENTRE
        z = 1 / u - ERFC_SHIFT
        return mp.exp(z**2) * mp.erfc(z) / u

    return lines + fit_squares(
        "lstmc_erfc_p",
        erfc_scaled,
        lambda v: 1 / erfc_scaled(v),
        1 / mp.mpf(9.4 + ERFC_SHIFT) - ERFC_CENTRE,
        1 / mp.mpf(0.65 + ERFC_SHIFT) - ERFC_CENTRE,
        9,
    )


def fit_all():
    # e^r = 1 + r + r^2 C(r); the error is taken relative to e^r. r goes a little beyond ln2 / 2.
    half = mp.log(2) / 2 * (1 + mp.mpf(2) ** -16)
    lines = fit(
        "LSTMC_EXP_C",
        lambda r: (mp.expm1(r) - r) / r**2 if r else mp.mpf(1) / 2,
        lambda r: r**2 / mp.exp(r),
        -half,
        half,
        5,
    )

    # tanh(x) = x + x z P(z), z = x^2; the error is taken relative to tanh(x).
    def tanh_rest(z):
        return (mp.tanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z

    def tanh_weight(z):
        return mp.sqrt(z) * z / mp.tanh(mp.sqrt(z))

    low, high = mp.mpf(2) ** -20, mp.mpf(TANH_SPLIT) ** 2
    return lines + fit("LSTMC_TANH_P", tanh_rest, tanh_weight, low, high, 5)


if __name__ == "__main__":
    print("\n".join(fit_all() + fit_arrays()))
