"""Random numbers for initialisers, shuffling and dropout: the same ones on every machine.

:func:`set_random_seed` says where they begin. Whatever then draws random numbers, draws them from
a stream of its own: the k-th to ask (counted from 0) gets NumPy's Philox of
SeedSequence((0, seed, k)), and one with a seed of its own gets that of SeedSequence((1, seed)). So
what one takes never shifts what another gets. A Sequential asks once for each random weight, in the
order of its layers and of Keras's list of a layer's weights; training asks when it begins.

NumPy promises the raw 64-bit numbers of a bit generator for ever, and not what its distributions
make of them. So those are made here, in float64 from additions, products, quotients and square
roots, which IEEE 754 rounds the same everywhere; no libm, no BLAS.
"""

from __future__ import annotations

import operator
import os
from threading import Lock

import numpy as np

from .errors import RangeError

_LN2 = 0.6931471805599453
_SQRT_HALF = 0.7071067811865476

_lock = Lock()
_seed: int | None = None
_asked = 0


def checked_seed(seed: object) -> int:
    """A seed as an int from 0 to 2^64 - 1; RangeError for all else."""
    try:
        value = operator.index(seed)  # type: ignore[arg-type]
    except TypeError:
        value = -1
    if isinstance(seed, bool) or not 0 <= value < 1 << 64:
        raise RangeError(f"seed is {seed!r:.60}, expected a whole number from 0 to 2^64 - 1")
    return value


def set_random_seed(seed: int) -> None:
    """Begin the random numbers of initialisers, shuffling and dropout anew.

    A program that calls it first gets the same bits in every run and on every machine. Without it
    the seed is one of the operating system's. Python's and NumPy's own generators are left alone.

    Raises:
        RangeError: seed is not a whole number from 0 to 2^64 - 1.
    """
    global _seed, _asked
    value = checked_seed(seed)
    with _lock:
        _seed, _asked = value, 0


class Numbers:
    """One stream of random numbers, the next of all or that of a seed of its own."""

    def __init__(self, seed: int | None = None) -> None:
        """Raises RangeError if the seed is not a whole number from 0 to 2^64 - 1."""
        global _seed, _asked
        if seed is not None:
            key: tuple[int, ...] = (1, checked_seed(seed))
        else:
            with _lock:
                if _seed is None:
                    _seed = int.from_bytes(os.urandom(8), "little")
                key = (0, _seed, _asked)
                _asked += 1
        self._bits = np.random.Philox(np.random.SeedSequence(key))

    def seed(self) -> int:
        """A whole number from 0 to 2^63 - 1, for a generator elsewhere."""
        return int(self._bits.random_raw(1)[0] >> np.uint64(1))

    def uniform(self, count: int) -> np.ndarray:
        """float64 [count], multiples of 2^-53 from 0 up to, not including, 1."""
        raw = self._bits.random_raw(count)
        return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def normal(self, count: int, bound: float = np.inf) -> np.ndarray:
        """float64 [count] of mean 0 and deviation 1; those not below ``bound`` in magnitude are
        drawn again.

        The polar method (Marsaglia and Bray 1964): of points in the square those within the unit
        circle, s their distance from its centre squared, give both coordinates times
        sqrt(-2 log(s) / s).
        """
        found, parts = 0, []
        while found < count:
            pairs = 2.0 * self.uniform(2 * (count - found)).reshape(-1, 2) - 1.0
            s = pairs[:, 0] * pairs[:, 0] + pairs[:, 1] * pairs[:, 1]
            inside = (s > 0) & (s < 1)
            s = s[inside]
            made = (pairs[inside] * np.sqrt(-2.0 * _log(s) / s)[:, None]).ravel()
            parts.append(made[np.abs(made) < bound])
            found += parts[-1].size
        return np.concatenate([*parts, np.empty(0)])[:count]

    def permutation(self, count: int) -> np.ndarray:
        """The numbers 0 to count - 1 in random order, int64."""
        return np.argsort(self._bits.random_raw(count), kind="stable").astype(np.int64, copy=False)


def _log(x: np.ndarray) -> np.ndarray:
    """The natural logarithm of positive normal numbers, to about 1e-16.

    x = 2^e m with m around 1: log x = e log 2 + 2 artanh((m - 1) / (m + 1)), as a power series.
    """
    m, e = np.frexp(x)
    low = m < _SQRT_HALF
    m = np.where(low, 2.0 * m, m)
    f = (m - 1.0) / (m + 1.0)
    z = f * f  # at most 0.0295
    total = np.full_like(z, 1 / 23)
    for n in range(21, 0, -2):
        total = total * z + 1 / n
    return (e - low) * _LN2 + 2.0 * f * total


__all__ = ["Numbers", "checked_seed", "set_random_seed"]
