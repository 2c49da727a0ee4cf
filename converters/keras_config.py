"""The config of a Keras model, checked and made into a tree of layers and the calls between them.

Every option of every layer is either read by the layer's handler, known to have no effect on
inference, or has one value that lstmc supports; anything else is refused here, by name, before any
weight is looked at. What is understood is written down in the tables of kinds that the caller
passes (:data:`lstmc.converters.from_keras.LAYERS` and ``OPERATIONS``), one row a class.
"""

from __future__ import annotations

import copy
import re
from itertools import pairwise
from typing import Any

from lstmc import graph as g
from lstmc.errors import ConversionError

from .keras_calls import call_of, corrupt, named_refs
from .keras_file import PACKAGES
from .keras_tree import (
    FLAGS,
    IGNORE,
    READ,
    Call,
    Input,
    Item,
    Kind,
    Layer,
    Leaf,
    Model,
    Only,
    Ref,
)

OPERATION_MODULES = ("keras.src.ops", "keras.ops", "keras.src.activations")
MODELS = ("Sequential", "Functional", "Model")  # Keras 2 before 2.4 says Model for Functional


COMMON: dict[str, Any] = {
    "name": READ,
    "dtype": READ,
    "trainable": READ,
    "batch_input_shape": READ,
    "input_shape": IGNORE,  # Keras 2's ways to say the same
    "input_dim": IGNORE,
    "input_length": IGNORE,
}
INPUT_OPTIONS: dict[str, Any] = {
    "batch_shape": READ,
    "dtype": READ,
    "sparse": Only((False, None), "feed dense arrays"),
    "ragged": Only((False, None), "pad the rows and pass their lengths"),
    "optional": Only((False, None), "make the input mandatory"),
}
MODEL_OPTIONS: dict[str, Any] = {
    "layers": READ,
    "input_layers": READ,
    "output_layers": READ,
    "build_input_shape": READ,
}

# What people will try, and what to do instead. Other classes get a general answer.
ADVICE = {
    "Lambda": "it holds Python code, which lstmc never executes; replace it by layers",
    "Dot": "only sums of products with weights can be converted; leave it outside of the model",
    "Attention": "leave it outside of the model",
    "MultiHeadAttention": "leave it outside of the model",
    "UnitNormalization": "normalize outside of the model, or use LayerNormalization",
    "GroupNormalization": "use LayerNormalization, or BatchNormalization",
    "ConvLSTM1D": "use Conv1D layers before an LSTM",
    "ConvLSTM2D": "use Conv1D layers before an LSTM",
    "TFOpLambda": "it is a TensorFlow operation; use a layer instead",
    "TensorFlowOpLayer": "it is a TensorFlow operation; use a layer instead",
    "SlicingOpLambda": "it is a TensorFlow operation; use a layer instead",
}

# --------------------------------------------------------------------------------------- parsing


def _get(config: Any, key: str, types: Any, where: str) -> Any:
    if not isinstance(config, dict):
        corrupt(where, f"a dict was expected, not {str(config)[:60]!r}")
    value = config.get(key)
    if not isinstance(value, types) or isinstance(value, bool) != (types is bool):
        corrupt(where, f"'{key}' is {str(value)[:60]!r}")
    return value


def snake_case(name: str) -> str:
    """Keras's name of a class in archives (keras/src/utils/naming.py, to_snake_case)."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


class Parser:
    """Makes a tree of :class:`Model` from a config; ``major`` is the version of Keras, 2 or 3.

    ``kinds`` and ``operations`` are the classes known, ``partitioned`` says how weights are counted
    (see :class:`lstmc.converters.keras_file.Source`).
    """

    def __init__(
        self, kinds: dict[str, Kind], operations: dict[str, Kind], major: int, partitioned: bool
    ) -> None:
        self.kinds, self.operations = kinds, operations
        self.major, self.partitioned = major, partitioned

    def parse(self, root: Any) -> Model:
        class_name = _get(root, "class_name", str, "model")
        if class_name not in MODELS:
            raise ConversionError(
                f"a {class_name[:60]} is not a model lstmc can convert; "
                "save a keras.Sequential or a functional keras.Model"
            )
        model = self._item(root, (), "", "")
        assert isinstance(model, Model)
        for child in model.children.values():
            if isinstance(child, (Layer, Model)):
                self._number(child)
        return model

    def _number(self, child: Layer | Model) -> None:
        """Give each weight of a top-level layer its place in that layer's flat list of weights."""
        trains: list[tuple[Leaf, bool]] = []
        for leaf in child.leaves():
            trains += [(leaf, leaf.trainable and w not in leaf.kind.frozen) for w in leaf.weights]
        mixed = len({t for _, t in trains}) > 1
        natural = order = list(range(len(trains)))
        if mixed and self.partitioned and child.trainable:
            order = [i for i in order if trains[i][1]] + [i for i in order if not trains[i][1]]
        for place, i in enumerate(order):
            trains[i][0].places.append(place)
        for leaf in child.leaves():
            leaf.total = len(trains)
            leaf.mixed = mixed and (isinstance(child, Model) or order != natural)

    # ---- one entry of a list of layers

    def _item(self, entry: Any, path: tuple[str, ...], name: str, group: str) -> Item:
        where = f"layer '{'/'.join((*path, name))}'" if name else "model"
        class_name = _get(entry, "class_name", str, where)
        config = entry.get("config")
        # Keras 2 before 2.2.3: a Sequential's config is the bare list of its layers.
        if class_name == "Sequential" and isinstance(config, list):
            config = {"layers": config}
        if not isinstance(config, dict):
            corrupt(where, f"its config is {str(config)[:60]!r}")
        item = Item(class_name=class_name, path=(*path, name) if name else ())
        operation = self._is_operation(entry)
        self._known_class(item, entry, operation)
        if class_name in MODELS:
            return self._model(item, config, group)
        if class_name == "InputLayer":
            return self._input(item, config)
        kind = (self.operations if operation else self.kinds)[class_name]
        return self._layer(item, config, kind, group)

    def _is_operation(self, entry: dict[str, Any]) -> bool:
        """Whether it is an operation of keras.ops: some have a layer's name.

        HDF5 files keep no modules, but an operation has no weights that could be trainable.
        """
        module = entry.get("module")
        if isinstance(module, str):
            return module.startswith(OPERATION_MODULES)
        config = entry.get("config")
        bare = isinstance(config, dict) and "trainable" not in config
        return self.major > 2 and bare and entry.get("class_name") in self.operations

    def _known_class(self, item: Item, entry: dict[str, Any], operation: bool) -> None:
        """Refuse every class that isn't Keras's own and in the tables."""
        module = entry.get("module")
        registered = str(entry.get("registered_name") or "")
        custom = ">" in item.class_name or ">" in registered
        # Keras 3 writes a user's class that isn't registered under its bare name, without a module.
        custom = custom or ("module" in entry and not module)
        if custom or (module and str(module).partition(".")[0] not in PACKAGES):
            item.refuse("it is a custom class", "only Keras's own layers can be converted")
        known = (*self.operations,) if operation else (*MODELS, "InputLayer", *self.kinds)
        if item.class_name not in known:
            advice = ADVICE.get(item.class_name)
            what = "operation" if operation else "class"
            item.refuse(
                f"this {what} is not supported" if advice is None else "not supported",
                advice or f"use only {', '.join(sorted(known[not operation :]))}",
            )

    def _options(self, item: Item, config: dict[str, Any], options: dict[str, Any]) -> None:
        for key, value in config.items():
            rule = options.get(key, COMMON.get(key))
            if rule is None:
                # Options of later versions are accepted while they are switched off.
                if value not in (None, False):
                    item.refuse(
                        f"option {key}={str(value)[:60]} is unknown to lstmc",
                        "convert a model without it",
                    )
            elif isinstance(rule, Only) and not any(
                value == v and isinstance(value, bool) == isinstance(v, bool) for v in rule.values
            ):
                item.refuse(f"option {key}={str(value)[:60]} is not supported", rule.advice)
        dtype = _dtype(config)
        if dtype not in (None, "float32") and "dtype" not in options:
            item.refuse(
                f"dtype policy {str(dtype)[:60]} is not supported, float32 is",
                "build the model again in float32 and copy the weights into it",
            )

    def _input(self, item: Item, config: dict[str, Any]) -> Input:
        self._options(item, config, INPUT_OPTIONS)
        shape = config.get("batch_shape", config.get("batch_input_shape"))
        return self._input_of_shape(item, shape, _dtype(config))

    def _input_of_shape(self, item: Item, shape: Any, dtype: str | None) -> Input:
        sizes = shape if isinstance(shape, list) else []
        if any(n is not None and (type(n) is not int or n < 1) for n in sizes):
            corrupt(f"layer '{item.label}'", f"its shape is {str(shape)[:60]}")
        if len(sizes) not in (2, 3) or (len(sizes) == 3 and sizes[-1] is None):
            item.refuse(
                f"an input of shape {str(shape)[:60]} is not supported",
                "use [batch, time, features] or [batch, features] with fixed features",
            )
        dtype = dtype or "float32"
        if dtype not in g.DTYPES:
            item.refuse(
                f"an input of dtype {dtype[:60]} is not supported", f"use {', '.join(g.DTYPES)}"
            )
        return Input(
            class_name=item.class_name, path=item.path, shape=tuple(sizes[1:]), dtype=dtype
        )

    def _layer(self, item: Item, config: dict[str, Any], kind: Kind, group: str) -> Layer:
        self._options(item, config, kind.options)
        common: dict[str, Any] = {
            "class_name": item.class_name,
            "path": item.path,
            "config": config,
            "kind": kind,
            "trainable": config.get("trainable") is not False,
        }
        if kind.wraps:
            layer = Layer(**common)
            for key, place in kind.wraps:
                layer.wrapped += self._wrapped(layer, key, f"{group}/{place}")
            return layer
        where = f"layer '{item.label}'"
        weights = (
            w
            for w in kind.weights
            if FLAGS.get(w) not in kind.options or _get(config, FLAGS[w], bool, where)
        )
        return Leaf(
            **common,
            weights=tuple(weights),
            owner=group,
            owner_name=item.path[-1],
            group=f"{group}/{kind.at}" if kind.at else group,
        )

    def _wrapped(self, item: Layer, key: str, group: str) -> list[Layer]:
        """The layer, or the list of layers, that a wrapper keeps under a key of its config."""
        where = f"layer '{item.label}'"
        if key == "backward_layer" and item.config.get(key) is None:
            # Keras 2 keeps it only if it was given. Otherwise it is the other one, turned round.
            entry = copy.deepcopy(_get(item.config, "layer", dict, where))
            config = _get(entry, "config", dict, where)
            config["go_backwards"] = not _get(config, "go_backwards", bool, where)
            config["name"] = f"backward_{_get(config, 'name', str, where)}"
            entries: list[Any] = [entry]
        elif key == "cells":
            entries = _get(item.config, key, list, where)
        else:
            entries = [_get(item.config, key, dict, where)]
        found: list[Layer] = []
        used: dict[str, int] = {}
        for entry in entries:
            config = _get(entry, "config", dict, where)
            name = _get(config, "name", str, f"the layer in '{item.label}'")
            if not name:
                corrupt(where, "the layer in it has no name")
            place = group
            if key == "cells":
                place += f"/{_place(_get(entry, 'class_name', str, where), used)}"
            inner = self._item(entry, item.path, name, place)
            if not isinstance(inner, Layer):
                item.refuse(f"it wraps a {inner.class_name}", "wrap plain layers only")
            found.append(inner)
        return found

    # ---- models

    def _model(self, item: Item, config: dict[str, Any], group: str) -> Model:
        self._options(item, config, MODEL_OPTIONS)
        where = f"model '{item.label}'" if item.path else "model"
        model = Model(
            class_name=item.class_name,
            path=item.path,
            children={},
            inputs=[],
            outputs=[],
            trainable=config.get("trainable") is not False,
            group=f"{group}/layers" if group else "layers",
            child_groups={},
        )
        entries = _get(config, "layers", list, where)
        used: dict[str, int] = {}
        for entry in entries:
            # Names first, so that whatever is refused can be named.
            class_name = _get(entry, "class_name", str, where)
            inner = entry.get("config")
            name = entry.get("name") or (inner.get("name") if isinstance(inner, dict) else None)
            name = name or (f"{snake_case(class_name)}_{len(model.children) + 1}")
            if not isinstance(name, str) or name in model.children:
                corrupt(where, f"two layers are named {str(name)[:60]!r}")
            # Operations have no variables, and no groups.
            place = "" if self._is_operation(entry) else _place(class_name, used)
            if place:
                model.child_groups[name] = place
            child = self._item(entry, model.path, name, f"{model.group}/{place}")
            model.children[name] = child
        if not model.children:
            corrupt(where, "it has no layers")
        if model.class_name == "Sequential":
            self._connect_sequence(model, config, entries)
        else:
            self._connect_graph(model, config, entries, where)
        return model

    def _connect_sequence(self, model: Model, config: dict[str, Any], entries: list[Any]) -> None:
        names = list(model.children)
        first = model.children[names[0]]
        if not isinstance(first, Input):
            # Keras 2 keeps the shape in the first layer and names the input after that layer.
            inner = entries[0]["config"]
            shape = inner.get("batch_input_shape") if isinstance(inner, dict) else None
            shape = shape or config.get("build_input_shape")
            if shape is None and isinstance(first, Model) and len(first.inputs) == 1:
                head = first.children[first.inputs[0][1]]
            elif shape is None:
                raise ConversionError(
                    f"model '{config.get('name', 'sequential')}' has no input shape: put a "
                    "keras.Input first, or call model.build(shape), before converting or saving"
                )
            else:
                item = Item(class_name="InputLayer", path=(*model.path, f"{names[0]}_input"))
                dtype = _dtype(inner) if isinstance(inner, dict) else None
                head = self._input_of_shape(item, shape, dtype)
            names.insert(0, f"{names[0]}_input")
            if names[0] in model.children:
                corrupt(f"layer '{names[0]}'", "its name is taken")
            model.children[names[0]] = head
        if len(names) < 2:
            raise ConversionError("a model without layers can't be converted")
        model.inputs = [(names[0], names[0])]
        for before, name in pairwise(names):
            if isinstance(model.children[name], Input):
                corrupt(f"layer '{name}'", "an input in the middle of a Sequential")
            model.children[name].calls = [Call([Ref(before, 0, 0)], {})]
        model.outputs = [(names[-1], Ref(names[-1], 0, 0))]

    def _connect_graph(
        self, model: Model, config: dict[str, Any], entries: list[Any], where: str
    ) -> None:
        for entry, child in zip(entries, model.children.values(), strict=True):
            nodes = _get(entry, "inbound_nodes", list, f"layer '{child.label}'")
            if not isinstance(child, Input):
                child.calls = [call_of(child, node) for node in nodes]
        for child in model.children.values():
            child.calls = [
                c.replaced(lambda r: self._resolve(model, r, False)) for c in child.calls
            ]
        for key, ref in named_refs(config.get("input_layers"), where):
            if not isinstance(model.children.get(ref.layer), Input):
                corrupt(where, f"its input '{ref.layer[:60]}' is not an InputLayer")
            model.inputs.append((key, ref.layer))
        for key, ref in named_refs(config.get("output_layers"), where):
            model.outputs.append((key, self._resolve(model, ref, True)))
        if not model.inputs or not model.outputs:
            corrupt(where, "it has no inputs or no outputs")

    def _resolve(self, model: Model, ref: Ref, output: bool) -> Ref:
        """Count calls from zero, whatever Keras did.

        Of a nested functional model, Keras 3 counts calls from 1 in a model's outputs and from 0
        elsewhere (models/functional.py: "Functional models start out with a built-in node").
        Keras 2 counts from 1 nearly always; one call is unambiguous, more are refused.
        """
        child = model.children.get(ref.layer)
        where = f"a call of '{ref.layer[:60]}'"
        if child is None:
            corrupt(where, "there is no such layer")
        calls = 1 if isinstance(child, Input) else len(child.calls)
        call = ref.call
        if isinstance(child, Model):
            if calls > 1 and self.major < 3:
                child.refuse("a nested model is called more than once", "save it with Keras 3")
            if calls == 1:
                call = 0
            elif output and child.class_name != "Sequential":
                call -= 1
        if not 0 <= call < calls or ref.tensor < 0:
            corrupt(where, f"there is no output {ref.tensor} of call {ref.call}")
        return Ref(ref.layer, call, ref.tensor)


def _dtype(config: dict[str, Any]) -> str | None:
    """The dtype, or the name of the dtype policy, in a config."""
    dtype = config.get("dtype")
    if isinstance(dtype, dict):
        policy = dtype.get("config")
        name = policy.get("name") if isinstance(policy, dict) else None
        dtype = name if dtype.get("class_name") in ("DTypePolicy", "Policy") else str(dtype)
    return None if dtype is None else str(dtype)


def _place(class_name: str, used: dict[str, int]) -> str:
    """The group of the next layer of a class in an archive: lstm, lstm_1, ..."""
    place = snake_case(class_name)
    used[place] = used.get(place, -1) + 1
    return f"{place}_{used[place]}" if used[place] else place
