"""Keras's Sequential and Model, so that known code runs with its import lines changed.

    from lstmc.models import Sequential
    from lstmc.layers import LSTM, Dense

    model = Sequential()
    model.add(LSTM(50, activation="relu", input_shape=(timesteps, features)))
    model.add(Dense(1))

Layers are those of :mod:`lstmc.layers`; what is not said here is said in
docs/howto/keras-vocabulary.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .errors import ConversionError, ShapeError
from .layers import Embedding, Input, InputLayer, Layer
from .layers.recurrent import Recurrent
from .layers.symbols import Node, Symbol, flat, ordered
from .network import Network

Shape = tuple[int | None, ...]


class Sequential(Network):
    """Layers one after the other, as keras.Sequential; once its input's shape is known, a
    :class:`lstmc.Model` that can do all that one can.

    The shape comes from an Input, from the first layer's input_shape, from :meth:`build`, or from
    the first array that the model gets. The layers' weights are made then, in the order of the
    layers (:mod:`lstmc.random` says how).
    """

    def __init__(
        self,
        layers: Iterable[Layer | Symbol] | None = None,
        trainable: bool = True,
        name: str = "sequential",
    ) -> None:
        """Raises as :meth:`add`."""
        self.name = str(name)
        self._layers: list[Layer] = []
        self._shape: Shape | None = None
        self._restructured()
        for layer in layers or ():
            self.add(layer)
        if not trainable:
            self.trainable = False

    def add(self, layer: Layer | Symbol) -> None:
        """Append a layer.

        Raises ConversionError for what is no layer, a name that is taken, an Input that is not the
        first, and for what the model can't be with it; it has not changed then.
        """
        self._append(self._checked(layer))

    def _append(self, layer: Layer) -> None:
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
        self._forget_training()
        self._layers.append(layer)
        layer._models.add(self)
        self._restructured()
        if self._shape is None and len(self._layers) == 1:
            self._shape = layer._input_shape
        if self._shape is not None and self.layers:
            try:
                self._build()
            except BaseException:
                self.pop()
                raise

    def _checked(self, layer: Any) -> Layer:
        """A layer that may be added."""
        if isinstance(layer, Symbol) and isinstance(layer.layer, InputLayer):
            layer = layer.layer  # what Input gives
        where = f"model '{self.name}'"
        if isinstance(layer, Network):
            raise ConversionError(f"{where}: a model in a model is not supported; add its layers")
        if not isinstance(layer, Layer):
            what = f"a layer of {type(layer).__module__.partition('.')[0]}"
            what = what if "keras" in type(layer).__module__ else f"{layer!r:.60}"
            raise ConversionError(f"{where}: {what} is none of lstmc's; use those of lstmc.layers")
        if isinstance(layer, InputLayer) and self._layers:
            raise ConversionError(f"{where}: an Input must be the first of its layers")
        if any(layer is other for other in self._layers):
            raise ConversionError(f"{where}: layer '{layer.name}' is in it already")
        for leaf in layer._leaves():
            if isinstance(leaf, Recurrent) and leaf.returns_state:
                raise ConversionError(
                    f"layer '{leaf.name}' ({type(leaf).__name__}): option return_state=True is not "
                    "supported in a Sequential, which hands on one tensor"
                )
        return layer

    def pop(self) -> Layer:
        """Remove the last layer, and return it. ConversionError if there is none."""
        if not self._layers:
            raise ConversionError(f"model '{self.name}' has no layers")
        self._forget_training()
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

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        """Make the weights, for inputs of a shape, the batch first: (None, time, features).

        Raises ShapeError where the first layer has said another shape; ConversionError, naming
        layer and option, where layers don't fit together.
        """
        if input_shape is None:
            self._build()
            return
        shape = InputLayer(batch_shape=input_shape).shape
        if self._shape is not None and not _fits(shape[1:], self._shape[1:]):
            raise ShapeError(
                f"model '{self.name}' takes inputs of shape {self._shape}, not {shape}"
            )
        before, self._shape = self._shape, self._shape or shape
        try:
            self._build()
        except BaseException:
            self._shape = before
            raise

    # -------------------------------------------------------------------------------- as a Network

    def _all_layers(self) -> list[Layer]:
        return self._layers

    def _rows(self) -> int | None:
        return self._shape[0] if self._shape else None

    def _check_ready(self) -> None:
        if not self.layers:
            raise ConversionError(f"model '{self.name}' has no layers: add some first")
        if self._shape is None:
            raise ConversionError(
                f"model '{self.name}' has no input shape: give its first layer "
                "input_shape=(steps, features), or call build((None, steps, features))"
            )

    def _meet(self, x: Any) -> None:
        """Steps are left open where the layers allow it."""
        if self._shape is not None or not self.layers:
            return
        sizes = np.shape(x)
        if not sizes:
            raise ShapeError(f"model '{self.name}' gets {type(x).__name__}, expected an array")
        cells = [leaf for leaf in self._leaves().values() if isinstance(leaf, Recurrent)]
        rows = sizes[0] if any(cell.stateful for cell in cells) else None
        if len(sizes) == 3 or isinstance(self.layers[0], Embedding):
            try:
                self.build((rows, None, *sizes[2:]))
                return
            except ConversionError:  # a layer needs a known number of steps
                pass
        self.build((rows, *sizes[1:]))

    def _root(self) -> dict[str, Any]:
        entries = [layer._entry() for layer in self._layers]
        if not isinstance(self._layers[0], InputLayer):
            head = InputLayer(batch_shape=self._shape)
            while head.name in {layer.name for layer in self._layers}:
                head.name += "_1"
            entries.insert(0, head._entry())
        return {"class_name": "Sequential", "config": {"name": self.name, "layers": entries}}

    def __reduce__(self) -> tuple[Any, ...]:
        self._settle()
        return _restored, (type(self), self.name, self._shape, self._layers)

    def __repr__(self) -> str:
        names = ", ".join(type(layer).__name__ for layer in self.layers)
        return f"<lstmc.models.Sequential '{self.name}': {names}>"


class Model(Network):
    """A functional model, as keras.Model(inputs, outputs): layers called with what others give.

        x = Input((steps, features))
        h, *state = LSTM(32, return_state=True)(x)
        model = Model(x, Dense(1)(h))

    inputs and outputs are one, a list, or a dict by name. :meth:`predict` takes arrays as the
    inputs were given (or a dict by the Inputs' names), and gives them as the outputs were.
    """

    def __init__(
        self, inputs: Any, outputs: Any, trainable: bool = True, name: str = "functional"
    ) -> None:
        """Raises ConversionError for inputs that are not made by Input, outputs that don't depend
        on them alone, and layers that don't fit together or that lstmc can't run."""
        self.name = str(name)
        self._ins, self._outs = inputs, outputs
        for names in (inputs, outputs):
            if isinstance(names, dict) and not all(isinstance(n, str) for n in names):
                raise ConversionError(f"model '{self.name}': the keys of a dict must be names")
        given, wanted = list(flat(inputs)), list(flat(outputs))
        for s in given:
            if not isinstance(s.layer, InputLayer):
                raise ConversionError(f"model '{self.name}': {s!r} is an input; use Input")
        if not given or not wanted:
            raise ConversionError(f"model '{self.name}' has no {'outputs' if given else 'inputs'}")
        self._nodes = ordered(wanted)
        found = dict.fromkeys(n.layer for n in self._nodes)
        missing = [
            x for x in found if isinstance(x, InputLayer) and x not in {s.layer for s in given}
        ]
        if missing:
            raise ConversionError(
                f"model '{self.name}': its outputs depend on '{missing[0].name}', which is not "
                "among its inputs"
            )
        unused = [s.layer for s in given if s.layer not in found]
        self._layers = list(dict.fromkeys([*unused, *found]))
        self._name_layers()
        for layer in self._layers:
            layer._models.add(self)
        self._restructured()
        self._build()
        if not trainable:
            self.trainable = False

    def _name_layers(self) -> None:
        """Layers without a name of their own get one that no other has."""
        fresh = [x for x in self._layers if x._auto_named and not x._models]
        taken = [x.name for x in self._layers if x not in fresh]
        for layer in sorted(fresh, key=lambda x: x._number):
            name, n = layer.name, 0
            while layer.name in taken:
                n += 1
                layer.name = f"{name}_{n}"
            taken.append(layer.name)
        for name in taken:
            if taken.count(name) > 1:
                raise ConversionError(
                    f"model '{self.name}': two layers are named '{name}'; names must be unique"
                )

    def predict(self, x: Any, lengths: ArrayLike | None = None, **options: Any) -> Any:
        """As :meth:`lstmc.models.Sequential.predict`, in the form of inputs and outputs."""
        made = super().predict(x, lengths, **options)
        if isinstance(self._outs, Symbol) or not isinstance(made, dict):
            return {next(iter(self._outs)): made} if isinstance(self._outs, dict) else made
        return made if isinstance(self._outs, dict) else type(self._outs)(made.values())

    # -------------------------------------------------------------------------------- as a Network

    def _all_layers(self) -> list[Layer]:
        return self._layers

    def _rows(self) -> int | None:
        first = next(flat(self._ins)).layer
        assert isinstance(first, InputLayer)
        return first.shape[0]

    def _take(self, x: Any) -> tuple[list[np.ndarray], int, list[int]]:
        names = [s.layer.name for s in flat(self._ins)]
        if isinstance(x, (list, tuple)) and len(x) == len(names) > 1:
            x = dict(zip(names, x, strict=True))
        return super()._take(x)

    def _root(self) -> dict[str, Any]:
        calls: dict[Node, int] = {}
        mine: dict[Layer, list[Node]] = {layer: [] for layer in self._layers}
        for node in sorted(self._nodes, key=lambda n: n.call):
            calls[node] = len(mine[node.layer])
            mine[node.layer].append(node)

        def ref(s: Symbol) -> list[Any]:
            return [s.layer.name, calls.get(s.node(), 0), s.tensor]

        def plain(value: Any) -> Any:
            if isinstance(value, Symbol):
                config = {"shape": None, "dtype": "float32", "keras_history": ref(value)}
                return {"class_name": "__keras_tensor__", "config": config}
            return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value

        def ends(value: Any) -> Any:
            if isinstance(value, dict):
                return {k: ref(s) for k, s in value.items()}
            return [ref(s) for s in flat(value)]

        entries = []
        for layer, nodes in mine.items():
            inbound = [
                {"args": plain(n.args), "kwargs": {k: plain(v) for k, v in n.kwargs.items()}}
                for n in nodes
            ]
            bare = isinstance(layer, InputLayer)
            entries.append(
                {**layer._entry(), "name": layer.name, "inbound_nodes": [] if bare else inbound}
            )
        config = {
            "name": self.name,
            "layers": entries,
            "input_layers": ends(self._ins),
            "output_layers": ends(self._outs),
        }
        return {"class_name": "Functional", "config": config}

    def __reduce__(self) -> tuple[Any, ...]:
        self._settle()
        return type(self), (self._ins, self._outs, True, self.name)

    def __repr__(self) -> str:
        names = ", ".join(type(layer).__name__ for layer in self._layers)
        return f"<lstmc.models.Model '{self.name}': {names}>"


def _restored(
    cls: type[Sequential], name: str, shape: Shape | None, layers: list[Layer]
) -> Sequential:
    """A model out of a pickle."""
    model = cls(name=name)
    model._layers, model._shape = layers, shape
    for layer in layers:
        layer._models.add(model)
    if shape is not None:
        model._build()
    return model


def _fits(given: Shape, known: Shape) -> bool:
    return len(given) == len(known) and all(
        a is None or b is None or a == b for a, b in zip(given, known, strict=True)
    )


__all__ = ["Input", "InputLayer", "Model", "Sequential"]
