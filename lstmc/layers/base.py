"""What the layers have in common: options checked at once, weights in Keras's layout.

A layer is its Keras config and its weights; the converter of Keras models makes the graph from both
(:mod:`lstmc.converters.keras_grown`). So what an option means is written down in one place, and a
layer here means what the same layer in a `.keras` file means.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn
from weakref import WeakSet

import numpy as np

from .. import initializers
from ..converters.from_keras import LAYERS
from ..converters.keras_config import snake_case
from ..converters.keras_functions import KNOWN
from ..converters.keras_tree import FLAGS
from ..errors import ConversionError, OptionError, RangeError, ShapeError
from ..runtime import as_float32

if TYPE_CHECKING:
    from ..models import Sequential

Shape = tuple[int, ...]

# Options that Keras has in several places and that change nothing here: ways to compute the same.
NO_EFFECT = ("unroll", "use_cudnn", "implementation", "autocast")
# Keras 2's names of some, which known code may still use.
INPUT_OPTIONS = ("input_shape", "batch_input_shape", "batch_shape", "input_dim", "input_length")

ADVICE = {
    "regularizer": "use the optimizer's weight_decay",
    "constraint": "use the optimizer's clipping, or set_weights between calls of fit",
    "seed": "lstmc.set_random_seed says where all random numbers begin",
    "return_state": "a Sequential hands on one tensor; streams and Model.stream keep states",
    "noise_shape": "use SpatialDropout1D for one mask over all steps",
    "dtype": "lstmc computes in float32",
    "lora_rank": "train the whole kernel, or freeze the layer",
}


class Layer:
    """A layer of Keras's. Subclasses say in their signature which options they take.

    Every layer also takes ``name``, ``trainable`` (default True), ``dtype`` ("float32"), and as the
    first of a model ``input_shape`` (without the batch) or ``batch_input_shape``; ``weights`` is a
    list of arrays to begin with instead of the initialisers' numbers.

    Raises:
        OptionError: an option that the layer does not have.
        ConversionError: one that lstmc does not support, or a value that is not known; the message
            names layer and option.
        RangeError: a number out of range.
    """

    # Initializers, by the name of the weight they are for; read from the options.
    initial: ClassVar[Mapping[str, str]] = {}
    # Options of this layer that are for training and that the config for the graph leaves out.
    for_training: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: dict[str, Any], options: dict[str, Any]) -> None:
        """``config``: the options of the subclass's signature; ``options``: all others given."""
        self._auto_named = options.get("name") is None
        name = snake_case(type(self).__name__) if self._auto_named else options.pop("name")
        options.pop("name", None)
        if not isinstance(name, str) or not name or "/" in name:
            raise ConversionError(
                f"{type(self).__name__}: option name={name!r:.60} is not a name: use a string "
                "without '/'"
            )
        self.name = name
        self._trainable = self._flag("trainable", options.pop("trainable", True))
        self._arrays: dict[str, np.ndarray] = {}
        self._models: WeakSet[Sequential] = WeakSet()
        self._given = options.pop("weights", None)
        self._input_shape = self._shape_of(options)
        self._others(options)
        self._config = {k: self._checked(k, v) for k, v in config.items()}

    # ----------------------------------------------------------------------------------- public

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights; what compile finds, counts."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = self._flag("trainable", value)
        for layer in self._inner():
            layer.trainable = value

    @property
    def built(self) -> bool:
        """Whether a model has given the layer its weights, if it has any."""
        return bool(self._arrays) or not self._weight_names()

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the weights, float32 in Keras's order and layout; empty before the model that
        the layer is in knows its input's shape."""
        self._settle()
        return [a.copy() for _, a in self._named_weights()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Replace all weights, in the order of :meth:`get_weights`.

        Raises ShapeError, and changes nothing, if number or shapes differ; ConversionError for NaN
        and infinities.
        """
        self._settle()
        places = list(self._places())
        rows = self._matched([array for _, _, array in places], weights)
        for (layer, name, _), array in zip(places, rows, strict=True):
            layer._arrays[name] = array
        self._changed()

    @property
    def weights(self) -> list[np.ndarray]:
        """As :meth:`get_weights`."""
        return self.get_weights()

    def count_params(self) -> int:
        """Numbers in the weights. ConversionError before there are any."""
        self._settle()
        if not all(leaf.built for leaf in self._leaves()):
            raise ConversionError(f"layer '{self.name}' has no weights yet: build its model first")
        return sum(a.size for _, a in self._named_weights())

    def get_config(self) -> dict[str, Any]:
        """All options by Keras's names."""
        own = {k: _plain(v) for k, v in self._config.items()}
        return {"name": self.name, "trainable": self.trainable, "dtype": "float32", **own}

    def __repr__(self) -> str:
        return f"<lstmc.layers.{type(self).__name__} '{self.name}'>"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_models": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._models = WeakSet()

    # --------------------------------------------------------------------------------- for models

    def _entry(self) -> dict[str, Any]:
        """The layer as Keras's JSON has it, for the converter; JSON types only."""
        left = {
            k: v
            for k, v in self._config.items()
            if k not in self.for_training and not k.endswith("_initializer")
        }
        left |= {"name": self.name, "trainable": self.trainable, "dtype": "float32"}
        return {"class_name": self._class_name(), "module": "keras.layers", "config": left}

    def _class_name(self) -> str:
        return type(self).__name__

    def _inner(self) -> list[Layer]:
        """The layers inside of this one, in Keras's order."""
        return []

    def _leaves(self) -> Iterator[Layer]:
        """The layers with weights of their own: this one, or those inside of it."""
        inner = self._inner()
        for layer in inner:
            yield from layer._leaves()
        if not inner:
            yield self

    def _by_path(self, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Layer]]:
        """Each layer with weights of its own, by the names of those that it is in."""
        path = (*prefix, self.name)
        inner = self._inner()
        for layer in inner:
            yield from layer._by_path(path)
        if not inner:
            yield path, self

    def _weight_names(self) -> list[str]:
        """Of its own weights, in Keras's order."""
        names = (w.partition("|")[0] for w in LAYERS[self._class_name()].weights)
        return [n for n in names if self._config.get(FLAGS.get(n, ""), True)]

    def _initialize(self, shapes: Mapping[str, Shape]) -> None:
        """Make its own weights, of these shapes in Keras's order, unless they are there."""
        if self._arrays:
            return
        made = {n: self._initial(n, shape) for n, shape in shapes.items()}
        if self._given is not None:
            given = self._matched(list(made.values()), self._given)
            made = dict(zip(made, given, strict=True))
        self._arrays = made

    def _begin(self) -> None:
        """Once the layers inside of this one have weights."""

    def _absorbed(self) -> dict[str, np.ndarray]:
        """By weight, which of its numbers a graph only holds in a sum with another."""
        return {}

    def _initial(self, name: str, shape: Shape) -> np.ndarray:
        option = self.initial.get(name, f"{name}_initializer")
        array = np.ascontiguousarray(self._config[option](shape), np.float32)
        if array.shape != shape:
            raise ShapeError(
                f"layer '{self.name}' ({type(self).__name__}): option {option} gives an array "
                f"{array.shape}, expected {shape}"
            )
        return array

    # ---------------------------------------------------------------------------------- internals

    def _settle(self) -> None:
        """Have the models that the layer is in write back what they have trained."""
        for model in self._models:
            model._settle()

    def _changed(self) -> None:
        for model in self._models:
            model._weights_changed()

    def _places(self) -> Iterator[tuple[Layer, str, np.ndarray]]:
        for leaf in self._leaves():
            for name in leaf._weight_names():
                if name in leaf._arrays:
                    yield leaf, name, leaf._arrays[name]

    def _named_weights(self) -> Iterator[tuple[str, np.ndarray]]:
        for _, name, array in self._places():
            yield name, array

    def _matched(self, present: Sequence[np.ndarray], given: Any) -> list[np.ndarray]:
        return matched(f"layer '{self.name}' ({type(self).__name__})", present, given)

    def _refuse(self, option: str, value: Any, what: str) -> NoReturn:
        shown = value if isinstance(value, (str, int, float, type(None))) else type(value).__name__
        raise ConversionError(
            f"layer '{self.name}' ({type(self).__name__}): option {option}={shown!s:.60} {what}"
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
            raise OptionError(
                f"layer '{self.name}' ({type(self).__name__}): there is no option {option!s:.60}; "
                f"it has {', '.join((*own, 'name', 'trainable', 'input_shape'))}"
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
        check = _CHECKS.get(option)
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
        if isinstance(value, Layer) and value._class_name() in ("ReLU", "LeakyReLU", "ELU"):
            return value._entry()
        if isinstance(value, Layer) and value._class_name() == "Softmax":
            return value._entry()
        if value is not None and value not in KNOWN:
            shown = getattr(value, "__name__", value)
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

    def _never(self, option: str, value: Any) -> bool:
        if self._flag(option, value):
            advice = ADVICE[option]
            self._refuse(option, value, f"is not supported; {advice}")
        return False

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


def own(names: dict[str, Any]) -> dict[str, Any]:
    """The options of a signature, from the locals() at the top of its __init__."""
    return {k: v for k, v in names.items() if k not in ("self", "options", "__class__")}


def matched(what: str, present: Sequence[np.ndarray], given: Any) -> list[np.ndarray]:
    """Arrays given for weights, as float32 of their shapes and finite, copied."""
    if isinstance(given, np.ndarray) and given.dtype != object:
        given = [given] if len(present) == 1 and given.shape == present[0].shape else list(given)
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)):
        raise ShapeError(f"{what}: weights are a list of arrays, not {type(given).__name__}")
    if len(given) != len(present):
        raise ShapeError(f"{what}: got {len(given)} weights, expected {len(present)}")
    made = []
    for i, (old, new) in enumerate(zip(present, given, strict=True)):
        array = np.array(as_float32(f"weight {i}", new))
        if array.shape != old.shape:
            raise ShapeError(f"{what}: weight {i} has shape {array.shape}, expected {old.shape}")
        if not np.isfinite(array).all():
            raise ConversionError(f"{what}: weight {i} holds NaN or infinity")
        made.append(array)
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, initializers.Initializer):
        return {"class_name": type(value).__name__, "config": value.get_config()}
    if isinstance(value, Layer):
        return value._entry() | {"config": value.get_config()}
    return value


_CHECKS: dict[str, Callable[[Layer, str, Any], Any]] = {
    **dict.fromkeys(("units", "input_dim", "output_dim", "n", "filters"), Layer._count),
    **dict.fromkeys(("kernel_size", "strides", "pool_size"), Layer._count_or_one),
    **dict.fromkeys(("dilation_rate", "groups", "depth_multiplier", "size"), Layer._count_or_one),
    **dict.fromkeys(("activation", "recurrent_activation"), Layer._activation),
    **dict.fromkeys(("use_bias", "return_sequences", "go_backwards", "stateful"), Layer._flag),
    **dict.fromkeys(("unit_forget_bias", "reset_after", "mask_zero", "keepdims"), Layer._flag),
    **dict.fromkeys(("center", "scale", "zero_output_for_mask"), Layer._flag),
    **dict.fromkeys(("rate", "dropout", "recurrent_dropout"), Layer._rate),
    **dict.fromkeys(("negative_slope", "threshold", "alpha", "epsilon"), Layer._real),
    **dict.fromkeys(("mask_value", "momentum"), Layer._real),
    "max_value": Layer._optional_real,
    "return_state": Layer._never,
    "data_format": Layer._layout,
    **dict.fromkeys(("axis", "dims", "target_shape", "shared_axes"), Layer._integers),
}

__all__ = ["Layer", "Shape", "matched", "own"]
