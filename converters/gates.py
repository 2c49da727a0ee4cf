"""Every permutation of gates, and nothing else: the one place where gate orders are known.

lstmc's orders are PyTorch's: LSTM i f g o (g is the candidate, Keras and the literature also write
c), GRU r z n (n is the candidate, elsewhere h). Frameworks differ, and a wrong order gives
plausible nonsense, so converters never reorder weights themselves: they call these functions.

========  =======  =====  ==============================================================
source    LSTM     GRU    from
========  =======  =====  ==============================================================
pytorch   i f g o  r z n  torch.nn.LSTM, "(W_ii|W_if|W_ig|W_io)"; GRU, "(W_ir|W_iz|W_in)"
keras     i f c o  z r h  keras.layers.LSTMCell.call: z0..z3 are i, f, c, o; GRUCell: z, r, h
onnx      i o f c  z r h  operator LSTM, "W parameter weight matrix ... iofc"; GRU, "... zrh"
========  =======  =====  ==============================================================

ONNX's peepholes are P[iof].
"""

from __future__ import annotations

import numpy as np

LSTM_ORDERS = {"pytorch": "ifgo", "keras": "ifgo", "onnx": "iofg"}
GRU_ORDERS = {"pytorch": "rzn", "keras": "zrn", "onnx": "zrn"}


def lstm(source: str, weight: np.ndarray) -> np.ndarray:
    """Rows of an LSTM weight [4H, ...] or bias [4H] of ``source``, in the order i f g o."""
    return _reordered(weight, LSTM_ORDERS[source], "ifgo")


def gru(source: str, weight: np.ndarray) -> np.ndarray:
    """Rows of a GRU weight [3H, ...] or bias [3H] of ``source``, in the order r z n."""
    return _reordered(weight, GRU_ORDERS[source], "rzn")


def peephole(weight: np.ndarray) -> np.ndarray:
    """ONNX's P [3H] in the order i f o."""
    return _reordered(weight, "iof", "ifo")


def lstm_to(target: str, weight: np.ndarray) -> np.ndarray:
    """The inverse of :func:`lstm`."""
    return _reordered(weight, "ifgo", LSTM_ORDERS[target])


def gru_to(target: str, weight: np.ndarray) -> np.ndarray:
    """The inverse of :func:`gru`."""
    return _reordered(weight, "rzn", GRU_ORDERS[target])


def peephole_to(weight: np.ndarray) -> np.ndarray:
    """The inverse of :func:`peephole`."""
    return _reordered(weight, "ifo", "iof")


def joined(order: str, found: dict[str, np.ndarray]) -> np.ndarray:
    """Gates by name, one after the other in an order such as "ifgo"."""
    return np.concatenate([found[gate] for gate in order])


def _reordered(weight: np.ndarray, order: str, wanted: str) -> np.ndarray:
    if weight.shape[0] % len(order):
        raise ValueError(f"{weight.shape[0]} rows do not divide into {len(order)} gates")
    blocks = np.split(weight, len(order))
    return np.concatenate([blocks[order.index(gate)] for gate in wanted])
