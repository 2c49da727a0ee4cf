"""Fit the polynomials of c_src/kernels/vmath.h and print their coefficients as C constants.

    python tests/tools/fit_polynomials.py

Weighted minimax fits (Remez exchange, 40 digits). Coefficients are rounded to float32 one by one,
lowest degree first, and the rest is fitted again each time, so that the later ones make up for the
rounding of the earlier ones.
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
    lines = []
    for degree, c in enumerate(fixed):
        digits, exponent = c.hex().split("p")
        lines.append(f"#define {name}{degree} {digits.rstrip('0')}p{exponent}f")
    lines.append(f"/* {name}: error {mp.nstr(worst * 2**24, 3)} * 2^-24 */")
    return lines


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
    print("\n".join(fit_all()))
