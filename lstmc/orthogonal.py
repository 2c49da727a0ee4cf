"""Random orthogonal matrices, the same bits on every machine.

LAPACK's depend on the library that NumPy is built with: on its order of additions, its blocks and
its choice of signs. Here columns are made orthogonal by the modified Gram-Schmidt process, in
float64, and every sum has one order, or none that could matter.
"""

from __future__ import annotations

import numpy as np

BLOCK = 16  # columns at a time: those before them come off by matrix products


def orthogonal(normal: np.ndarray) -> np.ndarray:
    """Orthonormal columns that span those of a float64 matrix [n, m], m <= n, of random numbers.

    They are what a QR decomposition gives whose R has a positive diagonal: uniformly distributed
    among all such matrices (Mezzadri 2007). Everything is done twice ("twice is enough", Giraud
    et al. 2005), so that they are orthogonal to about 1e-12.
    """
    a = normal / np.sqrt(_sum(normal * normal))
    q = np.zeros_like(a)
    for start in range(0, a.shape[1], BLOCK):
        part = a[:, start : start + BLOCK]
        for _ in range(2):
            if start:
                done = np.ascontiguousarray(q[:, :start])
                part = part - _product(done, _product(np.ascontiguousarray(done.T), part))
            part = _orthonormal(part)
        q[:, start : start + BLOCK] = part
    return q


def _orthonormal(a: np.ndarray) -> np.ndarray:
    """The modified Gram-Schmidt process on a few columns."""
    rest = a.copy()
    for j in range(a.shape[1]):
        v = rest[:, j : j + 1] / np.sqrt(_sum(rest[:, j : j + 1] * rest[:, j : j + 1]))
        rest[:, j : j + 1] = v
        rest[:, j + 1 :] -= v * _sum(v * rest[:, j + 1 :])
    return rest


def _sum(a: np.ndarray) -> np.ndarray:
    """The sum over the rows, halves added to each other until one row is left: numpy's own order
    is no promise."""
    while len(a) > 1:
        half, odd = divmod(len(a), 2)
        top = a[:half] + a[half : 2 * half]
        if odd:
            top[0] += a[-1]
        a = top
    return a[0]


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a b to about 2^-40, for rows of a and columns of b of length 2 at most.

    Each number is cut into two of 20 bits. Products of these, and sums of as many as such lengths
    allow, are exact in float64, so that no order in which BLAS adds them can show.
    """
    (ah, al), (bh, bl) = _cut(a), _cut(b)
    return ah @ bh + (ah @ bl + al @ bh)


def _cut(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    high = np.rint(a * 2.0**20) * 2.0**-20
    return high, np.rint((a - high) * 2.0**40) * 2.0**-40


__all__ = ["orthogonal"]
