"""Options of layers, checked when a layer is made: each is of the right kind, or refused by name.

What the converter of Keras models checks as well - paddings, axes, shapes - is left to it.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from .. import initializers
from ..converters.from_keras import LAYERS
from ..converters.keras_functions import KNOWN
from ..errors import ConversionError, OptionError, RangeError

# Options that Keras has in several places and that change nothing here: ways to compute the same.
NO_EFFECT = ("unroll", "use_cudnn", "implementation", "autocast")
# Keras 2's names of some, which known code may still use.
INPUT_OPTIONS = ("input_shape", "batch_input_shape", "batch_shape", "input_dim", "input_length")

ADVICE = {
    "regularizer": "use the optimizer's weight_decay",
    "constraint": "use the optimizer's clipping, or set_weights between calls of fit",
    "seed": "lstmc.set_random_seed says where all random numbers begin",
    "noise_shape": "use SpatialDropout1D for one mask over all steps",
    "dtype": "lstmc computes in float32",
    "lora_rank": "train the whole kernel, or freeze the layer",
}


class Options:
    """What a layer does with the options that it is made with."""

    name: str

    def _class_name(self) -> str:
        """Keras's name of the class."""
        return type(self).__name__

    def _entry(self) -> dict[str, Any]:
        """The layer as Keras's JSON has it, for the converter; JSON types only."""
        raise NotImplementedError

    def _refuse(self, option: str, value: Any, what: str) -> NoReturn:
        plain = isinstance(value, (str, int, float, list, tuple, type(None)))
        shown = repr(value) if plain else type(value).__name__
        raise ConversionError(
            f"layer '{self.name}' ({type(self).__name__}): option {option}={shown:.60} {what}"
        )

    def _others(self, options: dict[str, Any]) -> None:
        """Options that the signature doesn't have: Keras's others while they are off."""
        dtype = options.pop("dtype", None)
        if dtype not in (None, "float32"):
            self._refuse("dtype", dtype, f"is not supported; {ADVICE['dtype']}")
        for option in NO_EFFECT:
            options.pop(option, None)
        known = LAYERS[self._class_name()].options if self._class_name() in LAYERS else {}
        for option, value in options.items():
            if option in known or option == "activity_regularizer":
                if value is None or value is False:
                    continue
                advice = next((a for k, a in ADVICE.items() if option.endswith(k)), None)
                self._refuse(
                    option, value, f"is not supported{'; ' if advice else ''}{advice or ''}"
                )
            own = [*inspect.signature(type(self).__init__).parameters][1:-1]
            names = dict.fromkeys((*own, "name", "trainable", "input_shape"))
            raise OptionError(
                f"layer '{self.name}' ({type(self).__name__}): there is no option {option!s:.60}; "
                f"it has {', '.join(names)}"
            )

    def _shape_of(self, options: dict[str, Any]) -> tuple[int | None, ...] | None:
        """The shape of the input, the batch first, where options give one."""
        given = {k: options.pop(k) for k in INPUT_OPTIONS if options.get(k) is not None}
        batch = options.pop("batch_size", None)
        for name in INPUT_OPTIONS:
            options.pop(name, None)
        if not given:
            if batch is not None:
                self._refuse("batch_size", batch, "says nothing without an input_shape")
            return None
        for name in ("batch_input_shape", "batch_shape"):
            if name in given:
                return self._sizes(name, given[name])
        sizes = given.get("input_shape")
        if sizes is None:  # Keras 1: LSTM(8, input_dim=3, input_length=10)
            sizes = (given.get("input_length"), given.get("input_dim"))
            if sizes[1] is None:
                self._refuse("input_length", sizes[0], "says nothing without input_dim")
            if not self._takes_steps() and sizes[0] is None:
                sizes = sizes[1:]
        elif isinstance(sizes, (int, np.integer)):
            sizes = (sizes,)
        return self._sizes("input_shape", (batch, *self._sizes("input_shape", sizes)))

    def _takes_steps(self) -> bool:
        return False

    def _sizes(self, option: str, value: Any) -> tuple[int | None, ...]:
        """A shape: whole numbers from 1 on, None where it is open."""
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence | np.ndarray):
            self._refuse(option, value, "is not a shape")
        return tuple(None if n is None else self._count(option, n) for n in value)

    # ---- values of options

    def _checked(self, option: str, value: Any) -> Any:
        """An option's value as JSON has it; an initializer as the callable that it is."""
        if option.endswith("_initializer"):
            try:
                return initializers.get(value)
            except ConversionError as e:
                raise ConversionError(
                    f"layer '{self.name}' ({type(self).__name__}): option {option}: {e}"
                ) from None
        check = CHECKS.get(option)
        return check(self, option, value) if check else value

    def _count(self, option: str, value: Any) -> int:
        """A whole number from 1 on."""
        try:
            n = operator.index(value)
        except TypeError:
            n = 0
        if isinstance(value, bool) or not 1 <= n <= 1 << 24:
            self._refuse(option, value, "is not a size: use a whole number from 1 on")
        return n

    def _flag(self, option: str, value: Any) -> bool:
        if not isinstance(value, (bool, np.bool_)):
            self._refuse(option, value, "is neither True nor False")
        return bool(value)

    def _real(self, option: str, value: Any) -> float:
        kinds = (int, float, np.integer, np.floating)
        if not isinstance(value, kinds) or isinstance(value, bool) or not math.isfinite(value):
            self._refuse(option, value, "is not a finite number")
        return float(value)

    def _optional_real(self, option: str, value: Any) -> float | None:
        return None if value is None else self._real(option, value)

    def _rate(self, option: str, value: Any) -> float:
        rate = self._real(option, value)
        if not 0 <= rate < 1:
            raise RangeError(
                f"layer '{self.name}' ({type(self).__name__}): option {option}={value} is not a "
                "part: use 0 up to, not including, 1"
            )
        return rate

    def _activation(self, option: str, value: Any) -> Any:
        """A name, None, or a layer that is an activation, as its config is kept."""
        functions = ("ReLU", "LeakyReLU", "ELU", "Softmax")
        if isinstance(value, Options) and value._class_name() in functions:
            return value._entry()
        if value is not None and not (isinstance(value, str) and value in KNOWN):
            shown = value if isinstance(value, str) else getattr(value, "__name__", value)
            self._refuse(option, shown, f"is not known; use {', '.join(sorted(KNOWN))}")
        return value

    def _count_or_one(self, option: str, value: Any) -> int:
        """A size; Keras takes a list of one as well."""
        if isinstance(value, (list, tuple)) and len(value) == 1:
            value = value[0]
        return self._count(option, value)

    def _count_or_none(self, option: str, value: Any) -> int | None:
        return None if value is None else self._count_or_one(option, value)

    def _layout(self, option: str, value: Any) -> None:
        if value not in (None, "channels_last"):
            self._refuse(option, value, "is not supported; use channels_last")

    def _integers(self, option: str, value: Any) -> Any:
        """One whole number, or a list of them, None among them."""
        if value is None:
            return None
        if isinstance(value, (list, tuple, np.ndarray)):
            return [self._integers(option, v) for v in value]
        try:
            return operator.index(value)
        except TypeError:
            self._refuse(option, value, "is not a whole number")


CHECKS: dict[str, Callable[[Options, str, Any], Any]] = {
    **dict.fromkeys(("units", "input_dim", "output_dim", "n", "filters"), Options._count),
    **dict.fromkeys(("kernel_size", "strides", "pool_size"), Options._count_or_one),
    **dict.fromkeys(("dilation_rate", "groups", "depth_multiplier", "size"), Options._count_or_one),
    **dict.fromkeys(("activation", "recurrent_activation"), Options._activation),
    **dict.fromkeys(
        ("use_bias", "return_sequences", "return_state", "go_backwards", "stateful"), Options._flag
    ),
    **dict.fromkeys(("unit_forget_bias", "reset_after", "mask_zero", "keepdims"), Options._flag),
    **dict.fromkeys(("center", "scale", "zero_output_for_mask"), Options._flag),
    **dict.fromkeys(("rate", "dropout", "recurrent_dropout"), Options._rate),
    **dict.fromkeys(("negative_slope", "threshold", "alpha", "epsilon"), Options._real),
    **dict.fromkeys(("mask_value", "momentum"), Options._real),
    "max_value": Options._optional_real,
    "data_format": Options._layout,
    **dict.fromkeys(("axis", "dims", "target_shape", "shared_axes"), Options._integers),
}

__all__ = ["Options"]
