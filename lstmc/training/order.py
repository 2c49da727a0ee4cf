"""The order in which rows are read: a function of the seed and the number of the pass alone.

So a run that is resumed reads the rows as one that was never stopped would have, and skips to its
place at once. Pass k (counted from 0 over all calls of fit since compile) with seed s sorts the
rows by the first raw 64-bit numbers of NumPy's Philox of SeedSequence((2, s, k)), one for each row;
the same numbers on every machine.
"""

from __future__ import annotations

import numpy as np


def permutation(seed: int, turn: int, rows: int) -> np.ndarray:
    """int64 [rows]: the rows in the order of pass ``turn``."""
    bits = np.random.Philox(np.random.SeedSequence((2, seed, turn)))
    return np.argsort(bits.random_raw(rows), kind="stable").astype(np.int64, copy=False)


__all__ = ["permutation"]
