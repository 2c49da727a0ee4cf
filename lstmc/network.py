"""What models of lstmc.layers have in common: a config, layers with weights, and what is made of
both when it is asked for - the Model's file, and the graph to train."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from . import graph as g
from .converters import keras_grown as grown
from .errors import ConversionError, OutOfMemoryError, RangeError, ShapeError
from .layers import Layer
from .layers.base import matched
from .layers.recurrent import Recurrent
from .model import MADE, Model, from_graph
from .runtime import as_float32
from .trainable import Plan

if TYPE_CHECKING:
    import os

    from .stream import Stream


class Network(Model):
    """A Model that is described by layers of lstmc.layers: see :mod:`lstmc.models`."""

    name: str
    _built: bool
    _carry: bool  # its recurrent layers are stateful
    _places: grown.Places | None = None
    _going: Stream | None = None  # what predict of a stateful model goes on with

    # ------------------------------------------------------------------------- for the subclasses

    def _all_layers(self) -> list[Layer]:
        """The layers in Keras's order, Inputs among them."""
        raise NotImplementedError

    def _root(self) -> dict[str, Any]:
        """The model as Keras's JSON has it."""
        raise NotImplementedError

    def _check_ready(self) -> None:
        """ConversionError if the model can't be built yet."""

    def _meet(self, x: Any) -> None:
        """Learn from an array what nothing else has said."""

    def _rows(self) -> int | None:
        """The batch, where the input's shape says it."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------- layers

    @property
    def layers(self) -> list[Layer]:
        """The layers in Keras's order."""
        return self._all_layers()

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by its name or its place in :attr:`layers`. ConversionError if there is none."""
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
        """Whether any layer is trained; setting it sets all that have weights."""
        return any(layer.trainable for layer in self.layers if layer._weighty())

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.layers:
            if layer._weighty():
                layer.trainable = value

    @property
    def built(self) -> bool:
        """Whether the layers have their weights."""
        return self._built

    def _leaves(self) -> dict[grown.Path, Layer]:
        return dict(leaf for layer in self._all_layers() for leaf in layer._by_path())

    def _build(self) -> None:
        """Make the weights that aren't there. All shapes are known before the first random number
        is drawn."""
        if self._built:
            return
        self._check_ready()
        found: dict[grown.Path, dict[str, tuple[int, ...]]] = {}

        def ask(path: grown.Path, shapes: grown.Shapes) -> list[np.ndarray]:
            found[path] = dict(shapes)
            return [np.zeros(shape, np.float32) for shape in shapes.values()]

        try:
            drawn = grown.inference_graph(self._root(), ask)
        except MemoryError:
            raise OutOfMemoryError(f"model '{self.name}': its weights exceed the memory") from None
        self._check_steps_of(drawn)
        leaves = self._leaves()
        self._carry = self._stateful([x for x in leaves.values() if isinstance(x, Recurrent)])
        for path in leaves:  # in Keras's order, whatever order the graph is made in
            if path in found:
                leaves[path]._initialize("/".join(path), found[path])
        for layer in self._all_layers():
            layer._begin()
        self._built = True

    def _check_steps_of(self, graph: g.Graph) -> None:
        """ShapeError if the steps that the input's shape says are too few for a layer."""
        sizes = {v.clock: v.time for v in graph.inputs if v.clock and v.time}
        if len(sizes) == len(graph.clocks) and (why := graph.misfit(graph.infer(), sizes)):
            steps = " and ".join(map(str, sizes.values()))
            raise ShapeError(f"model '{self.name}': {steps or 'these'} time steps don't fit: {why}")

    def _stateful(self, cells: list[Recurrent]) -> bool:
        kept = [cell for cell in cells if cell.stateful]
        if kept and len(kept) < len(cells):
            other = next(cell for cell in cells if not cell.stateful)
            raise ConversionError(
                f"layer '{other.name}' is not stateful, and '{kept[0].name}' is: give all "
                "recurrent layers of a model the same stateful"
            )
        if kept and self._rows() is None:
            raise ConversionError(
                f"layer '{kept[0].name}' is stateful, and the batch is not known: give "
                "batch_input_shape=(rows, steps, features)"
            )
        return bool(kept)

    # --------------------------------------------------------------------------------- as a Model

    def __getattr__(self, name: str) -> Any:
        if name not in MADE:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._settle()
        self._build()
        made = from_graph(grown.inference_graph(self._root(), self._arrays_of))
        self.__dict__.update({k: v for k, v in made.__dict__.items() if k in MADE})
        return self.__dict__[name]

    def _arrays_of(self, path: grown.Path, shapes: grown.Shapes) -> list[np.ndarray]:
        return [a.copy() for a in self._leaves()[path]._arrays.values()]

    def _drop(self) -> None:
        """Give up what was made of the weights."""
        for name in MADE:
            self.__dict__.pop(name, None)
        self._going = None
        self._forget()

    def _restructured(self) -> None:
        self._built = False
        self._places = None
        self._drop()

    def _weights_changed(self) -> None:
        """Somebody has set weights of a layer."""
        self._drop()
        self._outdate()

    def _take(
        self, x: ArrayLike | Mapping[str, ArrayLike]
    ) -> tuple[list[np.ndarray], int, list[int]]:
        self._meet(x)
        return super()._take(x)

    def predict(
        self,
        x: Any,
        lengths: ArrayLike | None = None,
        *,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> np.ndarray | dict[str, np.ndarray]:
        """As :meth:`lstmc.Model.predict`, with Keras's options beside it.

        batch_size and verbose change nothing: no result depends on how many rows run together, and
        nothing is printed. steps and callbacks are refused.

        A stateful model goes on where the call before ended, row i of a batch with row i of the one
        before, until :meth:`reset_states`, or until weights change. x then holds one batch of the
        input's shape, or several, one after the other.
        """
        if batch_size is not None:
            _size("batch_size", batch_size)
        if steps is not None or callbacks is not None:
            raise ConversionError(
                f"predict: option {'steps' if steps is not None else 'callbacks'} is not "
                "supported; give it the whole array"
            )
        self._meet(x)
        self._build()
        if not self._carry:
            return super().predict(x, lengths)
        if lengths is not None:
            raise ShapeError("lengths: a stateful model takes as many steps in every row")
        return self._go_on(x)

    def _go_on(self, x: Any) -> np.ndarray:
        rows = self._rows()
        assert rows is not None
        if self._going is None:
            self._going = self.stream(rows)
        name = next(iter(self.inputs))
        array = as_float32(name, x)
        if not array.ndim or not len(array) or len(array) % rows:
            raise ShapeError(
                f"'{name}' has shape {array.shape}, expected batches of {rows} rows: the model is "
                "stateful"
            )
        parts = [
            self._going.run(np.ascontiguousarray(array[i : i + rows]))
            for i in range(0, len(array), rows)
        ]
        return np.concatenate(parts)  # type: ignore[arg-type]

    def reset_states(self) -> None:
        """States of a stateful model to zero: those of predict, and those of training."""
        if self._going is not None:
            self._going.reset()
        if self._trainer is not None:
            super().reset_states()

    def save(self, path: str | os.PathLike[str], target: str | None = None) -> None:
        """As :meth:`lstmc.Model.save`; ConversionError for the names that Keras's files have."""
        import os

        if os.fspath(path).lower().endswith((".keras", ".h5", ".hdf5")):
            raise ConversionError(
                f"'{os.fspath(path)}': lstmc writes .lstmc files, not Keras's; name it so"
            )
        super().save(path, target)

    # ------------------------------------------------------------------------------------ weights

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights, float32, layer by layer in Keras's order and layout."""
        return [array for layer in self.layers for array in layer.get_weights()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Replace all weights, in the order of :meth:`get_weights`.

        Raises ShapeError, and changes nothing, if number or shapes differ; DtypeError for what are
        no real numbers, ConversionError if the model can't have weights yet.
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
    def weight_names(self) -> list[str]:
        """ "layer/weight" of each of :meth:`get_weights`, by Keras's names."""
        self._build()
        names = {id(leaf): "/".join(path) for path, leaf in self._leaves().items()}
        places = (place for layer in self.layers for place in layer._places())
        return [f"{names[id(leaf)]}/{name}" for leaf, name, _ in places]

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
        """The graph to train, of the present weights; :meth:`_adopt` takes what becomes of it.
        ConversionError, naming the layer, for one whose weights can't be trained."""
        from .training.specs import Dropout

        self._build()
        config, leaves = self._root(), self._leaves()
        weights = {path: leaf._arrays for path, leaf in leaves.items()}
        still = {path for path in leaves if not self._trains(path)}
        sums = {(p, n): a for p, leaf in leaves.items() for n, a in leaf._absorbed().items()}
        places = self._places = grown.Places(config, weights, sums, still)
        for path, leaf in leaves.items():
            if path not in still and (name := places.untrainable(path)):
                raise ConversionError(
                    f"layer '{'/'.join(path)}' ({type(leaf).__name__}): its weight '{name}' is in "
                    "several places at once and can't be trained; set trainable=False"
                )
        graph, drops = grown.training_graph(config, self._arrays_of)
        dropouts = [Dropout(d.layer, d.kind, d.rate) for d in drops]
        masks, masked = grown.output_masks(config, self._arrays_of)
        frozen = frozenset(places.untouched)
        return Plan(graph, frozen, dropouts, self._carry, masks, masked)

    def _trains(self, path: grown.Path) -> bool:
        """Whether a layer is trained: it, and what it is in."""
        outer = next(x for x in self._all_layers() if x.name == path[0])
        return outer.trainable and dict(outer._by_path())[path].trainable

    def _adopt(self, graph: g.Graph) -> None:
        """Take the weights of a graph of :meth:`_plan` that has been trained."""
        assert self._places is not None
        fields = {
            layer.name: {n: a for n, _, a in layer.tensors() if a is not None}
            for layer in graph.layers
        }
        leaves = self._leaves()
        for (path, name), array in self._places.collect(fields).items():
            leaves[path]._arrays[name] = array
        for layer in self._all_layers():
            layer._changed()


def _size(option: str, value: Any) -> int:
    try:
        n = operator.index(value)
    except TypeError:
        n = 0
    if n < 1 or isinstance(value, bool):
        raise RangeError(f"{option} is {value!r:.60}, expected a whole number from 1 on")
    return n


__all__ = ["Network"]
