"""Graphs of Keras models that no file holds: a config, and weights that are asked for.

:mod:`lstmc.models` builds its models here, by the parser, builder and handlers that read Keras's
own files; so a layer of lstmc.layers means what Keras's layer of that name means. Handlers ask for
weights with the shapes they must have, and that is how the layers learn them.

For training there is a graph of its own (:func:`training_graph`): dropout has a place in it, and
nothing is folded, so that each number of a weight is one number of a field. :class:`Places` says
which.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.errors import ConversionError

from . import simplify as rules
from .from_keras import LAYERS
from .keras_build import SEQUENCE, Builder, Tensor, activation
from .keras_config import Parser
from .keras_file import Source
from .keras_ops import OPERATIONS
from .keras_tree import Layer, Leaf, Model
from .keras_weights import check_shape

VERSION = (3, 15)  # of Keras, whose rules for masks and activations hold
CONVERTER = "keras_grown 1"  # in the provenance of graphs

Shapes = Mapping[str, tuple[int, ...]]
Path = tuple[str, ...]
# Given a layer's path and the shapes of its weights in Keras's order, the arrays.
Give = Callable[[Path, Shapes], Sequence[np.ndarray]]


class _Builder(Builder):
    """``cells``: the layer of Keras's that each recurrent layer of the graph comes from."""

    def __init__(self, give: Give) -> None:
        super().__init__(Source(None, ".".join(map(str, VERSION)), None), VERSION)
        self._ask = give
        self.cells: dict[str, Leaf] = {}
        self.outputs: list[Tensor] = []

    def run(self, model: Model, args: list[Tensor], prefix: tuple[str, ...]) -> list[Tensor]:
        """``outputs``: those of the whole model, with their masks."""
        made = super().run(model, args, prefix)
        if not prefix:
            self.outputs = made
        return made

    def weights(self, leaf: Layer, **shapes: tuple[int, ...]) -> dict[str, np.ndarray | None]:
        """As they are given: training may have made them NaN."""
        assert isinstance(leaf, Leaf)
        self._asked = leaf
        wanted = {n: shapes[n] for n in (w.partition("|")[0] for w in leaf.weights)}
        found = dict(zip(wanted, self._ask(leaf.path, wanted), strict=True))
        for name, array in found.items():
            check_shape(leaf, name, array.shape, wanted[name])
        return {name: found.get(name) for name in shapes}

    def add_all(
        self, layer: g.Layer, x: Sequence[Tensor | None], label: str, wanted: Sequence[int]
    ) -> list[Tensor]:
        made = super().add_all(layer, x, label, wanted)
        if isinstance(layer, g.Recurrent):  # its weights were asked for just before
            self.cells[layer.name] = self._asked
        return made


def tree(config: dict[str, Any], dropout: Callable[..., Any] | None = None) -> Model:
    """The checked tree of a model's config; ``dropout`` takes the place of the handlers that do
    nothing. ConversionError, naming layer and option, for what lstmc can't represent."""
    kinds = dict(LAYERS)
    if dropout is not None:
        for name in ("Dropout", "SpatialDropout1D"):
            kinds[name] = dataclasses.replace(LAYERS[name], build=dropout)
    return Parser(kinds, OPERATIONS, VERSION[0], False).parse(config)


@contextmanager
def _spoken() -> Iterator[None]:
    """Without advice that only a file's owner could follow."""
    try:
        yield
    except ConversionError as e:
        text = str(e)
        for advice in ("; save the model again", " in the source model"):
            text = text.removesuffix(advice)
        raise ConversionError(text) from None


def inference_graph(config: dict[str, Any], give: Give) -> g.Graph:
    """What the converter makes of the model, as if it came from a file."""
    with _spoken():
        graph = rules.simplify(_Builder(give).build(tree(config)))
    graph.provenance = {"source": "lstmc", "converter": CONVERTER}
    graph.infer()
    return graph


def output_masks(config: dict[str, Any], give: Give) -> tuple[g.Graph | None, tuple[int, ...]]:
    """A graph whose outputs are the masks that outputs of the model carry, [batch, time], 1 where a
    step counts; and the numbers of these outputs. Keras leaves masked steps out of the loss."""
    builder = _Builder(give)
    with _spoken():
        graph: g.Graph = builder.build(tree(config))
    masks = {i: t.mask for i, t in enumerate(builder.outputs) if t.mask and t.form == SEQUENCE}
    if not masks:
        return None, ()
    outputs: list[g.Value] = []
    copies: list[g.Layer] = []
    for i, mask in masks.items():  # several outputs may have one mask
        copy = activation(g.LINEAR)
        copy.name, copy.inputs, copy.outputs = f"mask {i}", (mask.name,), (f"mask {i}",)
        copies.append(copy)
        outputs.append(g.Value(copy.name, (g.BATCH, g.TIME), time=builder.steps(mask)))
    made = g.Graph(graph.inputs, outputs, [*graph.layers, *copies])
    rules.prune(made)
    made.infer()
    return made, tuple(masks)


# --------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class Drop:
    """Dropout of a rate at the first input of a layer of the graph; ``kind`` as
    lstmc.training.specs.Dropout has it."""

    layer: str
    kind: str
    rate: float


def training_graph(config: dict[str, Any], give: Give) -> tuple[g.Graph, list[Drop]]:
    """The model with nothing folded, and where dropout is in it."""
    marks: dict[str, Layer] = {}

    def mark(b: Builder, layer: Layer, given: dict[str, Any], label: str) -> list[Tensor]:
        x = b.tensor(layer, given["inputs"])
        if not layer.number("rate"):
            return [x]
        y = b.add(activation(g.LINEAR), x, label)
        marks[b.graph.layers[-1].name] = layer
        return [dataclasses.replace(y, form=x.form, mask=x.mask, doubt=x.doubt)]

    builder = _Builder(give)
    graph = builder.build(tree(config, mark))
    rules.prune(graph)
    rules.last_step_is_state(graph)
    drops = [
        Drop(name, kind, leaf.number(option))
        for name, leaf in builder.cells.items()
        for kind, option in (("steps", "dropout"), ("recurrent", "recurrent_dropout"))
        if leaf.number(option, 0.0)
    ]
    taken = {d.layer for d in drops if d.kind != "recurrent"} | {*marks}
    for name, layer in marks.items():
        kind = "steps" if layer.class_name == "SpatialDropout1D" else "element"
        drops.append(Drop(_place(graph, name, taken), kind, layer.number("rate")))
    rules.fuse_activations(graph, {d.layer for d in drops})
    graph.infer()
    return graph, drops


def _place(graph: g.Graph, name: str, taken: set[str]) -> str:
    """The layer whose first input is dropped: the one that reads the mark, if it alone does and has
    no other dropout there (``taken``), and the mark goes; else the mark."""
    mark = next(x for x in graph.layers if x.name == name)
    (value,) = mark.outputs
    reading = [x for x in graph.layers if value in x.inputs]
    if len(reading) != 1 or rules.readers(graph)[value or ""] != 1:
        return name
    (reader,) = reading
    if reader.inputs[0] != value or reader.name in taken:
        return name
    if mark.inputs[0] in reader.inputs:  # it would be dropped there too: x + dropout(x)
        return name
    taken.add(reader.name)
    reader.inputs = (mark.inputs[0], *reader.inputs[1:])
    graph.layers.remove(mark)
    return reader.name


class Places:
    """Where each number of a model's weights is in the fields of its training graph.

    Found by building the graph of weights that are their own numbers: a field then shows which
    weight each of its numbers is, and by its sign whether it is the negative. So no permutation is
    written down twice. ``absorbed`` are numbers that a field holds in a sum with others, and that
    are counted as 0 in it: an array of bools by (path, name).
    """

    def __init__(
        self,
        config: dict[str, Any],
        weights: Mapping[Path, Mapping[str, np.ndarray]],
        absorbed: Mapping[tuple[Path, str], np.ndarray],
        fixed: set[Path],
    ) -> None:
        """``fixed``: layers that are never trained; they keep their weights."""
        self._keys = [(p, n) for p, named in weights.items() if p not in fixed for n in named]
        arrays = [weights[p][n] for p, n in self._keys]
        starts = np.cumsum([0, *(a.size for a in arrays)])
        self._shapes = [a.shape for a in arrays]
        self._starts = dict(zip(self._keys, starts.tolist(), strict=False))
        self._total = int(starts[-1])

        def tags(digits: Callable[[np.ndarray], np.ndarray]) -> g.Graph:
            def give(path: Path, shapes: Shapes) -> list[np.ndarray]:
                if path in fixed:
                    return list(weights[path].values())
                made = []
                for name, shape in shapes.items():
                    start = self._starts[path, name]
                    count = math.prod(shape)
                    tag = digits(np.arange(start, start + count)).astype(np.float32).reshape(shape)
                    if (path, name) in absorbed:
                        tag[absorbed[path, name]] = 0
                    made.append(tag)
                return made

            return training_graph(config, give)[0]

        # float32 counts to 2^24; the second build also tells weights from constants, by its sign.
        low, high = tags(lambda i: i % BASE + 1), tags(lambda i: -(i // BASE + 1))
        self.fields: dict[str, dict[str, _Numbers]] = {}
        self.constant: set[str] = set()  # layers of the graph with numbers that no weight is
        self.owners: dict[str, set[Path]] = {}
        counts = np.zeros(self._total, np.int64)
        for a, b in zip(low.layers, high.layers, strict=True):
            for (field, _, first), (_, _, second) in zip(a.tensors(), b.tensors(), strict=True):
                if first is None or second is None:
                    continue
                one, two = first.ravel().astype(np.int64), second.ravel().astype(np.int64)
                if np.any(first == second):
                    self.constant.add(a.name)
                if np.all(first == second):
                    continue
                index = (np.abs(two) - 1) * BASE + np.abs(one) - 1
                index[one == two] = -1
                self.fields.setdefault(a.name, {})[field] = _Numbers(index, np.sign(one))
                counts += np.bincount(index[index >= 0], minlength=self._total)
                there = np.zeros(self._total, bool)
                there[index[index >= 0]] = True
                self.owners.setdefault(a.name, set()).update(
                    key[0] for key, part in self._parts(there) if part.any()
                )
        self._counts = counts
        numbers = {x.name for x in low.layers if any(t is not None for _, _, t in x.tensors())}
        self.untouched = numbers - {*self.owners}  # layers of the graph that stay as they are
        self._absorbed = dict(absorbed)

    def untrainable(self, path: Path) -> str:
        """Why a layer can't be trained: the name of a weight of which a number is not one number
        of a field, all of whose numbers are weights; "" if it can."""
        if any(path in self.owners.get(name, ()) for name in self.constant):
            return next(name for p, name in self._keys if p == path)
        for key, found in self._parts(self._counts):
            hidden = self._absorbed.get(key, np.zeros(found.shape, bool))
            if key[0] == path and not np.all(found[~hidden] == 1):
                return key[1]
        return ""

    def collect(
        self, fields: Mapping[str, Mapping[str, np.ndarray]]
    ) -> dict[tuple[Path, str], np.ndarray]:
        """The weights in Keras's layout, from the fields of a training graph's layers; of absorbed
        numbers the field has the sum, which goes to the number that is there, and they are 0."""
        flat = np.zeros(self._total, np.float32)
        for layer, named in self.fields.items():
            for field, numbers in named.items():
                numbers.into(flat, np.asarray(fields[layer][field], np.float32))
        return dict(self._parts(flat))

    def _parts(self, flat: np.ndarray) -> Iterator[tuple[tuple[Path, str], np.ndarray]]:
        """What belongs to each weight of an array of all numbers, in the weight's shape."""
        start = 0
        for key, shape in zip(self._keys, self._shapes, strict=True):
            end = start + math.prod(shape)
            yield key, flat[start:end].reshape(shape)
            start = end


class _Numbers:
    """Which numbers of the weights a field consists of, and which of these are negated."""

    def __init__(self, index: np.ndarray, sign: np.ndarray) -> None:
        small = index.size == 0 or index.max() < 1 << 31
        index = index.astype(np.int32) if small else index
        self._known = None if np.all(index >= 0) else index >= 0
        self._index = index if self._known is None else index[self._known]
        sign = sign if self._known is None else sign[self._known]
        self._sign = None if np.all(sign > 0) else sign.astype(np.int8)

    def into(self, flat: np.ndarray, field: np.ndarray) -> None:
        """Write the numbers of a field to their places."""
        values = field.ravel() if self._known is None else field.ravel()[self._known]
        flat[self._index] = values if self._sign is None else values * self._sign


BASE = 1 << 23

__all__ = ["Drop", "Places", "inference_graph", "output_masks", "training_graph", "tree"]
