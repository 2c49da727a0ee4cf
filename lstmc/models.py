"""Keras's Sequential, so that known code runs with its import lines changed.

    from lstmc.models import Sequential
    from lstmc.layers import LSTM, Dense

    model = Sequential()
    model.add(LSTM(50, activation="relu", input_shape=(timesteps, features)))
    model.add(Dense(1))

Layers are those of :mod:`lstmc.layers`; what is not said here is said in
docs/howto/keras-vocabulary.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from . import graph as g
from .converters import keras_grown as grown
from .errors import ConversionError, ShapeError
from .layers import Embedding, InputLayer, Layer
from .layers.base import matched
from .layers.recurrent import Recurrent
from .model import MADE, Model, from_graph
from .trainable import Plan

if TYPE_CHECKING:
    pass


class Sequential(Model):
    """Layers one after the other, as keras.Sequential; once its input's shape is known, a
    :class:`lstmc.Model` that can do all that one can.

    The shape comes from an Input, from the first layer's input_shape, from :meth:`build`, or from
    the first array that the model gets. The layers' weights are made then, in the order of the
    layers (:mod:`lstmc.random` says how).
    """

    def __init__(
        self,
        layers: Iterable[Layer] | None = None,
        trainable: bool = True,
        name: str = "sequential",
    ) -> None:
        """Raises as :meth:`add`."""
        self.name = str(name)
        self._layers: list[Layer] = []
        self._shape: tuple[int | None, ...] | None = None
        self._places: grown.Places | None = None
        self._built = False
        for layer in layers or ():
            self.add(layer)
        if not trainable:
            self.trainable = False

    # ------------------------------------------------------------------------------------ layers

    def add(self, layer: Layer) -> None:
        """Append a layer.

        Raises ConversionError for what is no layer, a name that is taken, an Input that is not the
        first, and for what the model can't be with it.
        """
        if not isinstance(layer, Layer):
            raise ConversionError(
                f"model '{self.name}': {layer!r:.60} is no layer; add layers of lstmc.layers"
            )
        if isinstance(layer, InputLayer) and self._layers:
            raise ConversionError(f"model '{self.name}': an Input must be the first of its layers")
        if any(layer is other for other in self._layers):
            raise ConversionError(f"model '{self.name}': layer '{layer.name}' is in it already")
        taken = {other.name for other in self._layers}
        if layer.name in taken and layer._auto_named and not layer._models:
            n = 1
            while f"{layer.name}_{n}" in taken:
                n += 1
            layer.name = f"{layer.name}_{n}"
        if layer.name in taken:
            raise ConversionError(
                f"model '{self.name}': two layers are named '{layer.name}'; names must be unique"
            )
        self._layers.append(layer)
        layer._models.add(self)
        self._restructured()
        if self._shape is None and len(self._layers) == 1:
            self._shape = layer._input_shape
        if self._shape is not None:
            try:
                self._build()
            except BaseException:
                self.pop()
                raise

    def pop(self) -> Layer:
        """Remove the last layer, and return it."""
        if not self._layers:
            raise ConversionError(f"model '{self.name}' has no layers")
        layer = self._layers.pop()
        layer._models.discard(self)
        self._restructured()
        if not self._layers:
            self._shape = None
        return layer

    @property
    def layers(self) -> list[Layer]:
        """The layers, without the Input."""
        return [layer for layer in self._layers if not isinstance(layer, InputLayer)]

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by its name or its place in :attr:`layers`."""
        found = self.layers
        if index is not None and name is None:
            if not -len(found) <= index < len(found):
                raise ConversionError(f"there is no layer {index}: the model has {len(found)}")
            return found[index]
        for layer in found:
            if layer.name == name and index is None:
                return layer
        names = ", ".join(layer.name for layer in found)
        raise ConversionError(f"there is no layer {name!r:.60}; the model has {names}")

    @property
    def trainable(self) -> bool:
        """Whether any layer is trained; setting it sets all of them."""
        return any(layer.trainable for layer in self.layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.layers:
            if layer._weight_names() or layer._inner():
                layer.trainable = value

    # ----------------------------------------------------------------------------------- building

    @property
    def built(self) -> bool:
        """Whether the input's shape is known and the layers have weights."""
        return self._built

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        """Make the weights, for inputs of a shape, the batch first: (None, time, features).

        A shape that the first layer gave must fit. Raises ConversionError, naming layer and option,
        where the layers don't fit together.
        """
        if input_shape is not None:
            sizes = tuple(None if n is None else int(n) for n in input_shape)
            if self._shape is not None and not _fits(sizes[1:], self._shape[1:]):
                raise ShapeError(
                    f"model '{self.name}' takes inputs of shape {self._shape}, not {sizes}"
                )
            self._shape = self._shape or sizes
        self._build()

    def _build(self) -> None:
        if self._built:
            return
        if not self.layers:
            if self._layers:
                return  # an Input alone: layers will follow
            raise ConversionError(f"model '{self.name}' has no layers: add some first")
        if self._shape is None:
            raise ConversionError(
                f"model '{self.name}' has no input shape: give its first layer "
                "input_shape=(steps, features), or call build((None, steps, features))"
            )
        found: dict[grown.Path, dict[str, tuple[int, ...]]] = {}

        def ask(path: grown.Path, shapes: grown.Shapes) -> list[np.ndarray]:
            found[path] = dict(shapes)
            return [np.zeros(shape, np.float32) for shape in shapes.values()]

        grown.inference_graph(self._root(), ask)  # all shapes, before the first random number
        self._check_states()
        leaves = dict(self._leaves())
        for path, shapes in found.items():
            leaves[path]._initialize(shapes)
            for (name, shape), array in zip(
                shapes.items(), leaves[path]._arrays.values(), strict=True
            ):
                if array.shape != shape:
                    raise ShapeError(
                        f"layer '{'/'.join(path)}': its weight '{name}' has shape {array.shape}, "
                        f"expected {shape}: it was made for another input"
                    )
        for layer in self.layers:
            layer._begin()
        self._built = True

    def _meet(self, x: Any) -> None:
        """Build for an array, if nothing else has said the shape. Steps are left open where the
        layers allow it."""
        if self._built or self._shape is not None:
            return
        shape: tuple[int | None, ...] = (None, *np.shape(x)[1:])
        opened = (None, None, *shape[2:])
        first = self.layers[0] if self.layers else None
        if len(shape) == 3 or isinstance(first, Embedding):
            try:
                self.build(opened)
                return
            except ConversionError:
                self._shape = None
        try:
            self.build(shape)
        except BaseException:
            self._shape = None
            raise

    def _root(self) -> dict[str, Any]:
        """The model as Keras's JSON has it."""
        entries = [layer._entry() for layer in self._layers]
        if not isinstance(self._layers[0], InputLayer):
            assert self._shape is not None
            head = InputLayer(batch_shape=self._shape)
            taken = {layer.name for layer in self._layers}
            while head.name in taken:
                head.name += "_1"
            entries.insert(0, head._entry())
        return {"class_name": "Sequential", "config": {"name": self.name, "layers": entries}}

    def _leaves(self) -> list[tuple[grown.Path, Layer]]:
        return [leaf for layer in self.layers for leaf in layer._by_path()]

    def _arrays_of(self, path: grown.Path, shapes: grown.Shapes) -> list[np.ndarray]:
        return list(self._by_path[path]._arrays.values())

    @property
    def _by_path(self) -> dict[grown.Path, Layer]:
        return dict(self._leaves())

    def _check_states(self) -> None:
        cells = [leaf for _, leaf in self._leaves() if isinstance(leaf, Recurrent)]
        kept = [leaf for leaf in cells if leaf.stateful]
        if kept and len(kept) < len(cells):
            other = next(leaf for leaf in cells if not leaf.stateful)
            raise ConversionError(
                f"layer '{other.name}' is not stateful, and '{kept[0].name}' is: give all "
                "recurrent layers of a model the same stateful"
            )

    # -------------------------------------------------------------------------------- as a Model

    def __getattr__(self, name: str) -> Any:
        if name in MADE:
            self._settle()
            self._build()
            made = from_graph(grown.inference_graph(self._root(), self._arrays_of))
            self.__dict__.update({k: v for k, v in made.__dict__.items() if k in MADE})
            return self.__dict__[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _drop(self) -> None:
        """Give up what was made of the weights."""
        for name in MADE:
            self.__dict__.pop(name, None)
        self._forget()

    def _restructured(self) -> None:
        self._forget_training()
        self._built = False
        self._places = None
        self._drop()

    def _weights_changed(self) -> None:
        self._drop()
        self._outdate()

    def _take(
        self, x: ArrayLike | Mapping[str, ArrayLike]
    ) -> tuple[list[np.ndarray], int, list[int]]:
        self._meet(x)
        return super()._take(x)

    def __reduce__(self) -> tuple[Any, ...]:
        self._settle()
        return _restored, (type(self), self.name, self._shape, self._layers)

    def __repr__(self) -> str:
        names = ", ".join(type(layer).__name__ for layer in self.layers)
        return f"<lstmc.models.Sequential '{self.name}': {names}>"

    # ------------------------------------------------------------------------------------ weights

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights, float32, layer by layer in Keras's order and layout."""
        self._settle()
        return [array for layer in self.layers for array in layer.get_weights()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Replace all weights, in the order of :meth:`get_weights`.

        Raises ShapeError, and changes nothing, if number or shapes differ; ConversionError for NaN
        and infinities, or if the model has no weights yet.
        """
        self._build()
        self._settle()
        places = [place for layer in self.layers for place in layer._places()]
        arrays = matched(f"model '{self.name}'", [a for _, _, a in places], weights)
        for (leaf, name, _), array in zip(places, arrays, strict=True):
            leaf._arrays[name] = array
        for layer in self.layers:
            layer._changed()

    @property
    def weights(self) -> list[np.ndarray]:
        """As :meth:`get_weights`."""
        return self.get_weights()

    def count_params(self) -> int:
        """Numbers in all weights."""
        self._build()
        return sum(layer.count_params() for layer in self.layers)

    # ----------------------------------------------------------------------------------- training

    def _plan(self) -> Plan:
        """The graph to train, of the present weights. ConversionError, naming the layer, for one
        whose weights can't be trained."""
        from .training.specs import Dropout

        self._build()
        config, leaves = self._root(), self._leaves()
        weights = {p: leaf._arrays for p, leaf in leaves}
        still = {p for p, _ in leaves if not self._trains(p)}
        hidden = {(p, n): a for p, leaf in leaves for n, a in leaf._absorbed().items()}
        places = self._places = grown.Places(config, weights, hidden, still)
        graph, drops = grown.training_graph(config, self._arrays_of)
        frozen = {n for n in places.with_numbers if n not in places.owners}
        for path, leaf in leaves:
            mixed = any(path in places.owners.get(n, ()) for n in places.constant)
            name = "" if path in still else places.untrainable(path)
            if name or (mixed and path not in still):
                raise ConversionError(
                    f"layer '{'/'.join(path)}' ({type(leaf).__name__}): its weight '{name}' is in "
                    "several places at once and can't be trained; set trainable=False"
                )
        dropouts = [Dropout(d.layer, d.kind, d.rate) for d in drops]
        carry = any(isinstance(leaf, Recurrent) and leaf.stateful for _, leaf in leaves)
        return Plan(graph, frozenset(frozen), dropouts, carry)

    def _trains(self, path: grown.Path) -> bool:
        """Whether a layer is trained: it and all that it is in."""
        layer = self.get_layer(path[0])
        return layer.trainable and all(leaf.trainable for p, leaf in layer._by_path() if p == path)

    def _adopt(self, graph: g.Graph) -> None:
        """Take the weights of the trained graph of :meth:`_plan`."""
        places, leaves = self._places, self._by_path
        assert places is not None
        fields = {
            layer.name: {n: a for n, _, a in layer.tensors() if a is not None}
            for layer in graph.layers
        }
        for (path, name), array in places.collect(fields).items():
            leaves[path]._arrays[name] = array
        for layer in self.layers:
            layer._changed()


def _restored(
    cls: type[Sequential], name: str, shape: tuple[int | None, ...] | None, layers: list[Layer]
) -> Sequential:
    """A model out of a pickle."""
    model = cls(name=name)
    model._shape = shape
    for layer in layers:
        model._layers.append(layer)
        layer._models.add(model)
    if shape is not None:
        model._build()
    return model


def _fits(given: tuple[int | None, ...], known: tuple[int | None, ...]) -> bool:
    return len(given) == len(known) and all(
        a is None or b is None or a == b for a, b in zip(given, known, strict=True)
    )


__all__ = ["Plan", "Sequential"]
