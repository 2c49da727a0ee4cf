"""LSTM, GRU, SimpleRNN, and what goes round them: Bidirectional, TimeDistributed."""

from __future__ import annotations

import copy
from typing import Any, ClassVar
from weakref import WeakSet

import numpy as np

from ..converters.from_keras import LAYERS
from ..errors import ConversionError
from .base import Layer, Shape, own


class Recurrent(Layer):
    """What the three have in common.

    Input [batch, time, features]; output [batch, units], or [batch, time, units] with
    return_sequences. ``unroll`` and ``use_cudnn`` have no effect. ``dropout`` drops the same
    features of the input in every step, ``recurrent_dropout`` the same of h.
    """

    initial: ClassVar[dict[str, str]] = {"recurrent_kernel": "recurrent_initializer"}
    for_training = ("unit_forget_bias",)
    states: ClassVar[tuple[str, ...]] = ("h",)

    def _takes_steps(self) -> bool:
        return True

    @property
    def units(self) -> int:
        return int(self._config["units"])

    @property
    def stateful(self) -> bool:
        return bool(self._config["stateful"])

    @property
    def returns_state(self) -> bool:
        return bool(self._config["return_state"])

    def _output_count(self) -> int:
        return 1 + len(self.states) if self.returns_state else 1

    def reset_states(self) -> None:
        """States of the stateful models that the layer is in to zero."""
        for model in self._models:
            model.reset_states()


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997), as keras.layers.LSTM.

    Weights: kernel [features, 4 units], recurrent_kernel [units, 4 units], bias [4 units], gates
    i f c o. ``unit_forget_bias`` begins with a bias of 1 at the forget gate.
    """

    states = ("h", "c")

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        *,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        zero_output_for_mask: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(own(locals()), options)

    def _initial(self, name: str, shape: Shape) -> np.ndarray:
        if name != "bias" or not self._config["unit_forget_bias"]:
            return super()._initial(name, shape)
        h = self.units  # i and the rest by the initializer, f ones, as Keras does it
        parts = [super()._initial(name, (h,)), np.ones(h, np.float32)]
        return np.concatenate([*parts, super()._initial(name, (2 * h,))])


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014), as keras.layers.GRU.

    Weights: kernel [features, 3 units], recurrent_kernel [units, 3 units], gates z r h; bias
    [2, 3 units], of the input and recurrent, or [3 units] without ``reset_after``.

    The graph adds the two biases of z and r, where only their sum counts. After training the sum is
    in the first row and the second row's part is 0. Keras trains both rows, each with the whole
    gradient, so that the sum moves twice as far in each step there.
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        *,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        reset_after: bool = True,
        zero_output_for_mask: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(own(locals()), options)

    def _absorbed(self) -> dict[str, np.ndarray]:
        if not self._config["reset_after"] or "bias" not in self._arrays:
            return {}
        hidden = np.zeros((2, 3 * self.units), bool)
        hidden[1, : 2 * self.units] = True
        return {"bias": hidden}


class SimpleRNN(Recurrent):
    """A plain recurrent layer (Elman 1990), as keras.layers.SimpleRNN.

    Weights: kernel [features, units], recurrent_kernel [units, units], bias [units].
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        *,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        zero_output_for_mask: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(own(locals()), options)


class Wrapper(Layer):
    """A layer around others, whose weights are its own."""

    wrapped: list[Layer]

    def __init__(self, wrapped: list[Layer], config: dict[str, Any], options: dict[str, Any]):
        self.wrapped = []
        super().__init__(config, options)
        self.wrapped = wrapped
        for layer in wrapped:
            if not self._trainable:
                layer.trainable = False
            if self._input_shape is None:
                self._input_shape = layer._input_shape

    def _inner(self) -> list[Layer]:
        return self.wrapped

    def _weight_names(self) -> list[str]:
        return []

    def _takes_steps(self) -> bool:
        return True

    def _begin(self) -> None:
        if self._given is not None:
            self.set_weights(self._given)
            self._given = None

    @property
    def built(self) -> bool:
        return all(layer.built for layer in self.wrapped)

    def _wraps(self, layer: Any) -> Layer:
        if not isinstance(layer, Layer):
            raise ConversionError(
                f"{type(self).__name__}: it wraps {layer!r:.60}; give it a layer of lstmc.layers"
            )
        return layer


class Bidirectional(Wrapper):
    """A recurrent layer forwards and one backwards over the same input, merged: "concat", "sum",
    "mul" or "ave". The backward one is made as the forward one, unless it is given."""

    MODES = ("concat", "sum", "mul", "ave")

    def __init__(
        self,
        layer: Layer,
        merge_mode: str = "concat",
        weights: Any = None,
        backward_layer: Layer | None = None,
        **options: Any,
    ) -> None:
        forward = self._wraps(layer)
        if not isinstance(forward, Recurrent):
            raise ConversionError(
                f"Bidirectional around a {type(forward).__name__} is not supported; wrap an LSTM, "
                "GRU or SimpleRNN"
            )
        backward = turned(forward) if backward_layer is None else self._wraps(backward_layer)
        if merge_mode not in self.MODES:
            raise ConversionError(
                f"Bidirectional: option merge_mode={merge_mode!r:.60} is not supported; use "
                + ", ".join(self.MODES)
            )
        super().__init__(
            [forward, backward], {"merge_mode": merge_mode}, {**options, "weights": weights}
        )
        forward.name, backward.name = f"forward_{forward.name}", f"backward_{backward.name}"

    def _entry(self) -> dict[str, Any]:
        entry = super()._entry()
        forward, backward = (layer._entry() for layer in self.wrapped)
        entry["config"] |= {"layer": forward, "backward_layer": backward}
        return entry

    def _output_count(self) -> int:
        return 1 + sum(side._output_count() - 1 for side in self.wrapped)


class TimeDistributed(Wrapper):
    """A layer on each step of a sequence."""

    def __init__(self, layer: Layer, **options: Any) -> None:
        inner = self._wraps(layer)
        if not LAYERS[inner._class_name()].stepwise:
            raise ConversionError(
                f"TimeDistributed around a {type(inner).__name__} is not supported; wrap a Dense"
            )
        super().__init__([inner], {}, options)

    def _entry(self) -> dict[str, Any]:
        entry = super()._entry()
        entry["config"]["layer"] = self.wrapped[0]._entry()
        return entry


def turned(layer: Recurrent) -> Recurrent:
    """A layer of the same options that goes the other way, without weights."""
    made = copy.copy(layer)
    made._config = {**layer._config, "go_backwards": not layer._config["go_backwards"]}
    made._arrays, made._models, made._nodes = {}, WeakSet(), []
    return made


__all__ = ["GRU", "LSTM", "Bidirectional", "Recurrent", "SimpleRNN", "TimeDistributed"]
