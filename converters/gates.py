"""Every permutation of gates, and nothing else: the one place where gate orders are known.

lstmc's order is PyTorch's: LSTM i f g o (g is the candidate, Keras and the literature also write
c). Frameworks differ, and a wrong order gives plausible nonsense, so converters never reorder
weights themselves: they call :func:`lstm`.

========  =======  =====================================================================
source    LSTM     from
========  =======  =====================================================================
pytorch   i f g o  torch.nn.LSTM, "weight_ih_l[k]: (W_ii|W_if|W_ig|W_io)"
keras     i f c o  keras.layers.LSTMCell.call: z0..z3 are i, f, c, o
onnx      i o f c  operator LSTM, "W parameter weight matrix for ... iofc"
========  =======  =====================================================================
"""

from __future__ import annotations

import numpy as np

LSTM_ORDERS = {"pytorch": "ifgo", "keras": "ifgo", "onnx": "iofg"}
CANONICAL = "ifgo"


def lstm(source: str, weight: np.ndarray) -> np.ndarray:
    """Rows of an LSTM weight [4H, ...] or bias [4H] of ``source``, in the order i f g o."""
    order = LSTM_ORDERS[source]
    if weight.shape[0] % 4:
        raise ValueError(f"{weight.shape[0]} rows do not divide into four gates")
    blocks = np.split(weight, 4)
    return np.concatenate([blocks[order.index(gate)] for gate in CANONICAL])
