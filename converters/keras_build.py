"""The builder: runs the calls of a Keras model symbolically and collects the layers of a graph.

A :class:`Tensor` is what Keras has as one: a value of the graph, how its axes are laid out, and
the mask it carries. Handlers (keras_layers.py and its neighbours) turn a layer and tensors into
layers of the graph and tensors.

Masks are sequences of one feature, 1 where a step counts and 0 where it is padding. What becomes of
them differs between versions of Keras: Keras 3 drops a mask at a layer that doesn't support masks,
Keras 2 did so in some versions and refused in others. So in a model of Keras 2 the tensor carries
the name of that layer as its ``doubt``, and whatever would read its mask refuses.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.errors import ConversionError, FormatError

from .clocks import own_clocks, settle
from .keras_calls import bound
from .keras_file import Source
from .keras_tree import Call, Input, Item, Layer, Leaf, Model, Ref
from .keras_weights import check_shape, checked

# Nested models that call each other several times grow exponentially; nothing real comes close.
MAX_LAYERS = 10_000

VECTOR = "vector"  # [batch, features]
SEQUENCE = "sequence"  # [batch, time, features]
STEPS = "steps"  # [batch, time]: one number a step


@dataclass(frozen=True)
class Tensor:
    """A value of the graph in the making; ``kind`` is "float", "int" or "bool"."""

    name: str
    form: str
    specs: dict[str, g.Spec] = field(repr=False, compare=False)  # the builder's
    kind: str = "float"
    mask: Tensor | None = None
    doubt: str = ""

    @property
    def spec(self) -> g.Spec:
        return self.specs[self.name]

    @property
    def features(self) -> int:
        return self.spec.features

    @property
    def rank(self) -> int:
        return 3 if self.form == SEQUENCE else 2

    def __str__(self) -> str:
        time, n = self.spec.time, self.features
        sizes = {VECTOR: f"{n}", SEQUENCE: f"{time}, {n}", STEPS: f"{time}"}[self.form]
        return f"a tensor [batch, {sizes}]"


class Growing(g.Graph):
    """A graph without outputs yet: only its layers are checked."""

    def infer(self) -> dict[str, g.Spec]:
        specs = {v.name: v.spec for v in self.inputs}
        for layer in self.layers:
            made = layer.infer(*(None if n is None else specs[n] for n in layer.inputs))
            specs.update({n: s for n, s in zip(layer.outputs, made, strict=True) if n is not None})
        return specs


class Builder:
    """``version`` is Keras's: (major, minor)."""

    def __init__(self, source: Source, version: tuple[int, int]) -> None:
        self.source, self.version = source, version
        self.graph = Growing()
        self.specs: dict[str, g.Spec] = {}
        self._names: set[str] = set()
        self._weights: dict[tuple[str, ...], dict[str, np.ndarray]] = {}
        self._origins: dict[str, g.Value] = {}

    @property
    def major(self) -> int:
        return self.version[0]

    def build(self, model: Model) -> g.Graph:
        inputs = []
        for name, child in model.inputs:
            item = model.children[child]
            assert isinstance(item, Input)
            self._names.add(name)
            steps = len(item.shape) == 1 and (item.shape == (None,) or model.reads_steps(child))
            form = STEPS if steps else VECTOR if len(item.shape) == 1 else SEQUENCE
            time = (g.TIME,) if form != VECTOR else ()
            sizes = () if form == STEPS else item.shape[-1:]
            if None in sizes:
                corrupt_shape = [None, *item.shape]
                item.refuse(f"an input of shape {corrupt_shape} is not supported", "fix the last")
            axes = (g.BATCH, *time, *(n for n in sizes if n is not None))
            known = item.shape[0] if time else None
            self.graph.inputs.append(g.Value(name, axes, item.dtype, known))
            kind = "float" if item.dtype == "float32" else "int"
            kind = "bool" if item.dtype == "bool" else kind
            inputs.append(Tensor(name, form, self.specs, kind))
        own_clocks(self.graph)
        self.specs.update(self.graph.infer())
        outputs = self.run(model, inputs, ())
        for (_, ref), tensor in zip(model.outputs, outputs, strict=True):
            if tensor.kind != "float":
                model.children[ref.layer].refuse(
                    f"an output of the model holds {tensor.kind}s", "only floats are given out"
                )
        named = self._name_outputs([n for n, _ in model.outputs], outputs)
        layout = [self._value(name, t) for name, t in named]
        return g.Graph(self.graph.inputs, layout, self.graph.layers, origins=self._origins)

    def run(self, model: Model, args: list[Tensor], prefix: tuple[str, ...]) -> list[Tensor]:
        """The outputs of a model for the given inputs. ``prefix`` goes before its layers' names."""
        if len(args) != len(model.inputs):
            model.refuse(
                f"it gets {len(args)} tensors for {len(model.inputs)} inputs", "call it so"
            )
        values: dict[tuple[str, int], list[Tensor]] = {}
        for (_, child), tensor in zip(model.inputs, args, strict=True):
            item = model.children[child]
            assert isinstance(item, Input)
            values[child, 0] = [self._fed(item, tensor)]
        order: TopologicalSorter[tuple[str, int]] = TopologicalSorter()
        for name, item in model.children.items():
            for i, call in enumerate(item.calls):
                order.add((name, i), *((r.layer, r.call) for r in call.refs()))
        try:
            nodes = list(order.static_order())
        except CycleError as e:
            raise FormatError(f"the model's config is corrupt: {model.label}: it loops") from e

        def value(ref: Ref) -> Tensor:
            made = values[ref.layer, ref.call]
            if ref.tensor >= len(made):
                raise FormatError(
                    f"the model's config is corrupt: a call of '{ref.layer[:60]}': there is no "
                    f"output {ref.tensor} of call {ref.call}"
                )
            return made[ref.tensor]

        for name, i in nodes:
            item = model.children[name]
            if (name, i) in values:
                continue
            if isinstance(item, Input):
                item.refuse("it isn't among the model's inputs", "save the model again")
            # Further calls of a shared layer are layers of their own with the same weights.
            label = (*prefix, name if i == 0 else f"{name}:{i}")
            values[name, i] = self.call(item, item.calls[i].replaced(value), label)
            if not prefix and i == 0 and isinstance(item, Layer):  # Keras can be asked for it
                for n, t in enumerate(values[name, i]):
                    self._origins.setdefault(t.name, self._value(f"{name}:{n}", t))
        missing = [r.layer for _, r in model.outputs if (r.layer, r.call) not in values]
        if missing:
            model.children[missing[0]].refuse("it isn't among the inputs", "save the model again")
        return [value(r) for _, r in model.outputs]

    def call(self, item: Item, call: Call, label: tuple[str, ...]) -> list[Tensor]:
        """What one call of a layer or nested model gives."""
        if isinstance(item, Model):
            given = bound(item, ("inputs", "training", "mask"), call)
            flat = _flat(given["inputs"])
            tensors = [self.tensor(item, t, ("float", "int", "bool")) for t in flat]
            for i, mask in enumerate(_flat(given.get("mask", []))[: len(tensors)]):
                explicit = None if mask is None else self.given_mask(item, {"mask": mask})
                tensors[i] = dataclasses.replace(tensors[i], mask=explicit, doubt="")
            return self.run(item, tensors, label)
        assert isinstance(item, Layer)
        given = bound(item, item.kind.params, call)
        made = item.kind.build(self, item, given, "/".join(label))
        return made if isinstance(made, list) else [made]

    def _fed(self, item: Input, x: Tensor) -> Tensor:
        """A tensor for an input of a nested model, checked against the input's shape."""
        shape = item.shape
        known: tuple[int | None, ...] = (self.steps(x), x.features)
        known = {VECTOR: known[1:], STEPS: known[:1], SEQUENCE: known}[x.form]
        fits = len(known) == len(shape) and all(
            a is None or b is None or a == b for a, b in zip(known, shape, strict=True)
        )
        if not fits:
            item.refuse(f"it gets {x}", "feed it what its shape says")
        return x

    # ---- for handlers

    def tensor(self, item: Item, x: Any, kinds: Sequence[str] = ("float",)) -> Tensor:
        """An argument that has to be one tensor, of numbers unless ``kinds`` says otherwise."""
        if isinstance(x, list) and len(x) == 1:
            x = x[0]
        if isinstance(x, list):
            item.refuse(f"it is called with {len(x)} tensors", "call it with one")
        if not isinstance(x, Tensor):
            item.refuse(f"it is called with {str(x)[:60]}", "call it with a tensor")
        if x.kind not in kinds:
            item.refuse(f"it gets {x.kind}s, '{x.name}'", "feed them as float32")
        return x

    def sequence(self, item: Item, x: Tensor) -> Tensor:
        """``x``, which has to be [batch, time, features]."""
        if x.form != SEQUENCE:
            item.refuse("its input has no time axis", "give it [batch, time, features]")
        return x

    def vector(self, x: Tensor) -> Tensor:
        """[batch, time] as the [batch, features] that it may as well be."""
        if x.form != STEPS:
            return x
        y = self.add(g.Flatten(name="", inputs=(), outputs=()), x, f"{x.name}/flat")
        return dataclasses.replace(y, kind=x.kind)

    def as_steps(self, x: Tensor) -> Tensor:
        """[batch, features] as the [batch, time] that it may as well be."""
        if x.form != VECTOR:
            return x
        cut = g.Unflatten(name="", inputs=(), outputs=(), count=x.features)
        y = self.add(cut, x, f"{x.name}/steps")
        return dataclasses.replace(y, kind=x.kind, form=STEPS)

    def steps(self, x: Tensor) -> int | None:
        """The number of steps, where it is known before the model runs."""
        time = x.spec.time
        if time is None:
            return None
        sizes = {v.clock: v.time for v in self.graph.inputs if v.clock and v.time}
        if time.clock is not None and time.clock not in sizes:
            return None
        return time.count({c: n for c, n in sizes.items() if c and n})

    def mask(self, item: Item, x: Tensor) -> Tensor | None:
        """The mask that ``x`` carries, for a layer that reads it."""
        if x.doubt:
            item.refuse(
                f"its mask went through '{x.doubt}', where versions of Keras 2 differ",
                "save the model with Keras 3, or give the mask to the layer",
            )
        return x.mask

    def given_mask(self, item: Item, given: dict[str, Any]) -> Tensor | None:
        """The mask that a call names explicitly, as one number a step."""
        if "mask" not in given:
            return None
        mask = self.tensor(item, given["mask"], ("bool", "float", "int"))
        if mask.form == SEQUENCE:
            item.refuse(f"its mask is {mask}", "give it [batch, time]")
        mask = self.as_steps(mask)
        if mask.kind == "bool":
            return mask
        name = f"{mask.name}/mask"
        made = self.add(activation(g.Fn("not_equal", 0.0)), mask, name)
        return dataclasses.replace(made, kind="bool")

    def passed(self, layer: Layer, x: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
        """``y`` with what becomes of the mask of ``x``, or of the one given explicitly."""
        if layer.kind.masks == "keep":
            kept = x.mask if mask is None else mask
            return dataclasses.replace(y, mask=kept, doubt="" if mask else x.doubt)
        lost = x.doubt or (layer.label if self.major == 2 and x.mask else "")
        return dataclasses.replace(y, mask=None, doubt=lost)

    def weights(self, leaf: Layer, **shapes: tuple[int, ...]) -> dict[str, np.ndarray | None]:
        """The layer's weights in Keras's own layout, by name; None for one that it hasn't got.

        Read once, checked for shape before that, for infinities and NaN after.
        """
        assert isinstance(leaf, Leaf)
        if leaf.path not in self._weights:
            stored = self.source.weights(leaf)
            names = [w.partition("|")[0] for w in leaf.weights]
            if len(stored) != len(names):
                leaf.refuse(
                    f"{len(stored)} weights are stored, expected {', '.join(names)}",
                    "if it was never built, call the model on data once and save it again",
                )
            rows = zip(names, stored, strict=True)
            self._weights[leaf.path] = {n: checked(leaf, n, w, shapes[n]) for n, w in rows}
        found = self._weights[leaf.path]
        for name, array in found.items():
            check_shape(leaf, name, array.shape, shapes[name])
        return {name: found.get(name) for name in shapes}

    def add(self, layer: g.Layer, x: Tensor | Sequence[Tensor | None], label: str) -> Tensor:
        """Append a layer that reads ``x``; its first output becomes a tensor.

        One number a step stays [batch, time] if that is what came in.
        """
        given = [x] if isinstance(x, Tensor) else list(x)
        (y,) = self.add_all(layer, given, label, (0,))
        forms = {t.form for t in given if t is not None and t.form != VECTOR}
        if y.form == SEQUENCE and forms == {STEPS} and y.features == 1:
            return dataclasses.replace(y, form=STEPS)
        return y

    def add_all(
        self, layer: g.Layer, x: Sequence[Tensor | None], label: str, wanted: Sequence[int]
    ) -> list[Tensor]:
        """Append a layer that reads all of ``x``; the outputs of these numbers become tensors."""
        if len(self.graph.layers) >= MAX_LAYERS:
            raise ConversionError(f"the model has more than {MAX_LAYERS} layers")
        given = list(x)
        while given and given[-1] is None:
            given.pop()
        # Names of layers and of their first values are kept equal, and unlike every other's.
        layer.name = self._unique(label)
        layer.inputs = tuple(None if t is None else t.name for t in given)
        names = [layer.name, *(self._unique(f"{label}/{i}") for i in wanted[1:])]
        try:
            made = layer.infer(*(None if t is None else t.spec for t in given))
            layer.outputs = (None,) * len(made)
        except (g.ClockConflict, g.OpenSteps):
            made = ()
        count = len(layer.states) + 1 if isinstance(layer, g.Recurrent) else 1
        by_number = dict(zip(wanted, names, strict=True))
        layer.outputs = tuple(by_number.get(i) for i in range(count))
        self.graph.layers.append(layer)
        if made:
            rows = zip(layer.outputs, made, strict=True)
            self.specs.update({n: s for n, s in rows if n is not None})
        else:  # joins inputs, or needs a known number of steps: everything before it may change
            self.specs.update(settle(self.graph))
        forms = (SEQUENCE if self.specs[n].time else VECTOR for n in names)
        return [Tensor(n, form, self.specs) for n, form in zip(names, forms, strict=True)]

    # ---- names

    def _unique(self, label: str) -> str:
        name, n = label, 0
        while name in self._names:
            n += 1
            name = f"{label}_{n}"
        self._names.add(name)
        return name

    def _name_outputs(self, names: list[str], outputs: list[Tensor]) -> list[tuple[str, Tensor]]:
        """Give the outputs Keras's names, whatever their values were called until now."""
        wanted: dict[str, str] = {}  # value so far: its name as an output
        fixed = {v.name for v in self.graph.inputs}
        result: list[tuple[str, Tensor]] = []
        for i, (name, tensor) in enumerate(zip(names, outputs, strict=True)):
            n = 0
            while name in names[:i] or name in wanted.values():  # as Keras 2 does: dense, dense_1
                n += 1
                name = f"{names[i]}_{n}"
            if (tensor.name in fixed and tensor.name != name) or tensor.name in wanted:
                # An input handed on, or one value under two names: a layer that does nothing.
                tensor = self.add(activation(g.LINEAR), tensor, name)
            wanted[tensor.name] = name
            result.append((name, tensor))
        if any(old in fixed and old != new for old, new in wanted.items()) or any(
            new in fixed and old != new for old, new in wanted.items()
        ):
            raise ConversionError("an output has the name of an input; rename one of them")
        # Whoever has the name of an output without being it steps aside.
        values = {n for layer in self.graph.layers for n in layer.outputs if n is not None}
        names_taken = set(wanted.values())
        self._names |= names_taken
        rename = {old: self._unique(old) for old in sorted(values & names_taken)} | wanted
        for layer in self.graph.layers:
            layer.rename(rename)
        self._origins = {rename.get(n, n): origin for n, origin in self._origins.items()}
        return result

    def _value(self, name: str, x: Tensor) -> g.Value:
        """How an output is laid out; ``x`` may have lost its name to it."""
        axes: dict[str, tuple[g.Axis, ...]] = {
            VECTOR: (g.BATCH, x.features),
            SEQUENCE: (g.BATCH, g.TIME, x.features),
            STEPS: (g.BATCH, g.TIME),
        }
        return g.Value(name, axes[x.form], time=self.steps(x))


def single(handler: Callable[..., Tensor]) -> Callable[..., list[Tensor]]:
    """A handler of a layer that takes one tensor of numbers, and perhaps a mask, and gives one.

    [batch, time] without a features axis is to it what [batch, features] is.
    """

    def build(b: Builder, layer: Layer, given: dict[str, Any], label: str) -> list[Tensor]:
        x = b.vector(b.tensor(layer, given[layer.kind.params[0]]))
        mask = b.given_mask(layer, given)
        return [b.passed(layer, x, handler(b, layer, x, label), mask)]

    return build


def activation(fn: g.Fn) -> g.Activation:
    """A layer still without inputs, as :meth:`Builder.add` takes them."""
    return g.Activation(name="", inputs=(), outputs=(), activation=fn)


def combine(op: str) -> g.Combine:
    return g.Combine(name="", inputs=(), outputs=(), op=op)


def affine(features: int, scale: float | None, shift: float | None) -> g.Affine:
    """scale x + shift, the same for every feature."""
    return g.Affine(
        name="",
        inputs=(),
        outputs=(),
        scale=None if scale is None else np.full(features, scale),
        shift=None if shift is None else np.full(features, shift),
    )


def fn(item: Item, kind: str, alpha: float = 0.0, beta: float = 0.0) -> g.Fn:
    """A function of the graph, or the layer refused if it hasn't got that one."""
    try:
        return g.Fn(kind, alpha, beta)
    except ConversionError as e:
        item.refuse(str(e), "use another activation")


def _flat(value: Any) -> list[Any]:
    return [f for v in value for f in _flat(v)] if isinstance(value, list) else [value]
