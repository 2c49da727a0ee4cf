"""Backward of LSTM, GRU and RNN as functions of arrays: what :mod:`lstmc.functional` offers of it.

The other half of :mod:`lstmc.recurrent`: a forward with ``save=True`` gives a :class:`Saved`, from
which and from the gradients of its outputs these give the gradients of all its arrays. Formulas and
their order are in docs/TRAINING.md. Results are new float32 arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import _core, format
from . import graph as g
from .errors import ShapeError
from .runtime import as_float32, target_code
from .threads import thread_count


class LSTMGradients(NamedTuple):
    """Each of the shape of the argument it belongs to; None where that was None.

    dbias: [4H]; of two biases that were added, each has this one. dpeephole: [3, H] or [4, H, H].
    """

    dx: np.ndarray
    dweight_ih: np.ndarray
    dweight_hh: np.ndarray
    dbias: np.ndarray | None
    dh0: np.ndarray
    dc0: np.ndarray
    dpeephole: np.ndarray | None
    dweight_hr: np.ndarray | None


class GRUGradients(NamedTuple):
    """As :class:`LSTMGradients`. dbias: [2, 3H], of the input's and of the recurrent product."""

    dx: np.ndarray
    dweight_ih: np.ndarray
    dweight_hh: np.ndarray
    dbias: np.ndarray | None
    dh0: np.ndarray


class RNNGradients(NamedTuple):
    """As :class:`LSTMGradients`. dbias: [H]."""

    dx: np.ndarray
    dweight_ih: np.ndarray
    dweight_hh: np.ndarray
    dbias: np.ndarray | None
    dh0: np.ndarray


class Saved:
    """A forward pass that can be gone back through, any number of times.

    It holds the forward's arrays, not copies of them, and memory in proportion to batch and time.
    """

    def __init__(
        self,
        graph: g.Graph,
        arrays: list[np.ndarray],
        outputs: list[np.ndarray],
        lengths: np.ndarray | None,
    ) -> None:
        self._arrays, self._lengths = arrays, lengths
        self._batch, self._time = arrays[0].shape[:2]
        self._shapes = [y.shape for y in outputs]
        self.layer = graph.layers[0]
        model = _core.Model(format.dumps(graph))
        self._trainer = _core.Trainer(
            model, self._batch, self._time, target_code(), thread_count(), input_gradients=True
        )
        self._forward(outputs)
        self._ready = True

    def _forward(self, outputs: list[np.ndarray] | None) -> None:
        self._trainer.run(
            self._arrays, self._batch, [self._time], self._lengths, outputs=outputs, backward=False
        )

    def back(self, *dy: ArrayLike | None) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
        """The gradients of the inputs, in their order, and of the layer's fields by name."""
        given = [
            None if d is None else as_float32(name, d)
            for name, d in zip(("dy", "dh", "dc"), dy, strict=False)
        ]
        for name, d, shape in zip(("dy", "dh", "dc"), given, self._shapes, strict=False):
            if d is not None and d.shape != shape:
                raise ShapeError(f"{name} has shape {d.shape}, expected {shape}")
        if not self._ready:  # backward has written over what forward kept
            self._forward(None)
        self._ready = False
        self._trainer.clear()
        inputs = [np.empty_like(a) for a in self._arrays]
        self._trainer.back(given, inputs)
        fields: dict[str, np.ndarray] = {}
        stored = [(n, a.shape) for n, _, a in self.layer.tensors() if a is not None]
        for i, (name, shape) in enumerate(stored):
            found = self._trainer.trained(i)
            assert found is not None
            gates, k, units, panel, size = found
            data = np.empty(size, np.float32)
            self._trainer.read(i, 1, data)
            fields[name] = format.unpack(data, gates, k, units, panel).reshape(shape)
        return inputs, fields


def _check(saved: Saved, kind: type[g.Recurrent]) -> None:
    if not isinstance(saved, Saved) or not isinstance(saved.layer, kind):
        raise ShapeError(f"saved is not what {kind.__name__.lower()}_forward(save=True) gave")


def lstm_backward(
    dy: ArrayLike | None,
    saved: Saved,
    dh: ArrayLike | None = None,
    dc: ArrayLike | None = None,
) -> LSTMGradients:
    """Gradients of an LSTM's arrays by backpropagation through time (Hochreiter, Schmidhuber 1997).

    Args:
        dy: [batch, time, P], the gradient of the sequence; None for zeros.
        saved: what :func:`lstmc.functional.lstm_forward` gave with ``save=True``.
        dh, dc: [batch, P] and [batch, H], of the last states; None for zeros.

    Raises:
        ShapeError: another shape, or saved of another function.
    """
    _check(saved, g.LSTM)
    inputs, d = saved.back(dy, dh, dc)
    layer = saved.layer
    assert isinstance(layer, g.LSTM)
    peephole = d.get("peephole", d.get("weight_ch"))
    if peephole is not None:
        shape = (3, -1) if layer.peephole is not None else (4, layer.hidden_size, -1)
        peephole = peephole.reshape(shape)
    return LSTMGradients(
        inputs[0], d["weight_ih"], d["weight_hh"], d.get("bias"), inputs[1], inputs[2], peephole,
        d.get("weight_hr"),
    )  # fmt: skip


def gru_backward(dy: ArrayLike | None, saved: Saved, dh: ArrayLike | None = None) -> GRUGradients:
    """The same of a GRU (Cho et al. 2014)."""
    _check(saved, g.GRU)
    inputs, d = saved.back(dy, dh)
    bias = d.get("bias")
    if bias is not None:
        bias = np.stack([bias, bias])
        if "recurrent_bias" in d:
            bias[1, -len(d["recurrent_bias"]) :] = d["recurrent_bias"]
    return GRUGradients(inputs[0], d["weight_ih"], d["weight_hh"], bias, inputs[1])


def rnn_backward(dy: ArrayLike | None, saved: Saved, dh: ArrayLike | None = None) -> RNNGradients:
    """The same of an RNN (Elman 1990)."""
    _check(saved, g.RNN)
    inputs, d = saved.back(dy, dh)
    return RNNGradients(inputs[0], d["weight_ih"], d["weight_hh"], d.get("bias"), inputs[1])


__all__ = [
    "GRUGradients", "LSTMGradients", "RNNGradients", "Saved", "gru_backward", "lstm_backward",
    "rnn_backward",
]  # fmt: skip
