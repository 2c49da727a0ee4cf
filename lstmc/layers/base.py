"""What the layers have in common: options checked at once, weights in Keras's layout.

A layer is its Keras config and its weights; the converter of Keras models makes the graph from both
(:mod:`lstmc.converters.keras_grown`). So what an option means is written down in one place, and a
layer here means what the same layer in a `.keras` file means.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

import numpy as np

from .. import initializers
from ..converters.from_keras import LAYERS
from ..converters.keras_config import snake_case
from ..converters.keras_tree import FLAGS
from ..errors import ConversionError, ShapeError
from ..runtime import as_float32
from .options import Options
from .symbols import Node, Symbol, flat

if TYPE_CHECKING:
    from ..network import Network

Shape = tuple[int, ...]
_numbers = itertools.count()


class Layer(Options):
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
        self._models: WeakSet[Network] = WeakSet()
        self._nodes: list[Node] = []
        self._number = next(_numbers)  # in the order in which layers are made
        self._given = options.pop("weights", None)
        self._input_shape = self._shape_of(options)
        self._others(options)
        self._config = {k: self._checked(k, v) for k, v in config.items()}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer in a functional model (:class:`lstmc.models.Model`): what it takes are
        outputs of other layers, or lists of them; it gives one, a recurrent layer with return_state
        a list of output and states. A layer may be called several times.

        Raises ConversionError for anything else, an array first of all.
        """
        if not args or not any(flat(args[0])):
            what = type(args[0]).__name__ if args else "nothing"
            raise ConversionError(
                f"layer '{self.name}' ({type(self).__name__}): it is called with {what}; call it "
                "with outputs of layers, beginning with an Input"
            )
        node = Node(self, len(self._nodes), list(args), dict(kwargs))
        self._nodes.append(node)
        outputs = [Symbol(self, node.call, i) for i in range(self._output_count())]
        return outputs if len(outputs) > 1 else outputs[0]

    def _output_count(self) -> int:
        return 1

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

        Raises ShapeError, and changes nothing, if number or shapes differ; DtypeError for what are
        no real numbers.
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

    def _weighty(self) -> bool:
        """Whether it has weights, or layers in it have."""
        return any(leaf._weight_names() for leaf in self._leaves())

    def _initialize(self, label: str, shapes: Mapping[str, Shape]) -> None:
        """Make its own weights, of these shapes in Keras's order, unless they are there: ShapeError
        if those are of other shapes."""
        if not self._arrays:
            made = {n: self._initial(n, shape) for n, shape in shapes.items()}
            if self._given is not None:
                given = self._matched(list(made.values()), self._given)
                made = dict(zip(made, given, strict=True))
            self._arrays = made
        for name, shape in shapes.items():
            if self._arrays[name].shape != shape:
                raise ShapeError(
                    f"layer '{label}': its weight '{name}' has shape {self._arrays[name].shape}, "
                    f"expected {shape}: it was made for another input"
                )

    def _begin(self) -> None:
        """Once the layers inside of this one have weights."""

    def _absorbed(self) -> dict[str, np.ndarray]:
        """By weight, which of its numbers a graph only holds in a sum with another."""
        return {}

    def _initial(self, name: str, shape: Shape) -> np.ndarray:
        option = self.initial.get(name, f"{name}_initializer")
        try:
            array = np.ascontiguousarray(self._config[option](shape), np.float32)
        except ShapeError as e:
            raise ShapeError(
                f"layer '{self.name}' ({type(self).__name__}): option {option}: {e}"
            ) from None
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


def own(names: dict[str, Any]) -> dict[str, Any]:
    """The options of a signature, from the locals() at the top of its __init__."""
    return {k: v for k, v in names.items() if k not in ("self", "options", "__class__")}


def matched(what: str, present: Sequence[np.ndarray], given: Any) -> list[np.ndarray]:
    """Arrays given for weights, as float32 of their shapes, copied."""
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
        made.append(array)
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, initializers.Initializer):
        return {"class_name": type(value).__name__, "config": value.get_config()}
    if isinstance(value, Layer):
        return value._entry() | {"config": value.get_config()}
    return value


__all__ = ["Layer", "Shape", "matched", "own"]
