"""The config of a Keras model, checked and made into a tree of layers and the calls between them.

Every option of every layer is either read by the layer's handler, known to have no effect on
inference, or has one value that lstmc supports; anything else is refused here, by name, before any
weight is looked at. What is understood is written down in the table of kinds that the caller
passes (:data:`lstmc.converters.from_keras.LAYERS`), so that it stays one row a layer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NoReturn

from lstmc.errors import ConversionError, FormatError

from .keras_file import PACKAGES

MODELS = ("Sequential", "Functional", "Model")  # Keras 2 before 2.4 says Model for Functional


# -------------------------------------------------------------------------------------- options


@dataclass(frozen=True)
class Only:
    """An option of which only the first value is supported, or others that mean the same."""

    values: tuple[Any, ...]
    advice: str


READ = "read"  # an option that the handler reads
IGNORE = "ignore"  # an option without effect on inference

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
    "Masking": "pass lengths= to predict instead",
    "Embedding": "look the vectors up before the model and feed them as float32",
    "Bidirectional": "run one model forwards and one backwards",
    "CuDNNLSTM": "load the weights into an LSTM layer and save that",
}


@dataclass(frozen=True)
class Kind:
    """What lstmc knows about a class of layers.

    ``weights`` are the names of its weights in Keras's order ("bias" counts only if use_bias);
    ``at`` is where in a `.keras` archive the variables are, below the layer's own group. A wrapper
    has ``wraps``: the config key of each wrapped layer and its place in an archive. ``stepwise``
    layers treat each time step alone, so that TimeDistributed around them changes nothing.
    """

    build: Callable[..., Any]
    options: dict[str, Any] = field(default_factory=dict)
    weights: tuple[str, ...] = ()
    at: str = ""
    wraps: tuple[tuple[str, str], ...] = ()
    stepwise: bool = False


# ----------------------------------------------------------------------------------------- tree


@dataclass(frozen=True)
class Ref:
    """A tensor: output number ``tensor`` of call number ``call`` of a layer."""

    layer: str
    call: int
    tensor: int


@dataclass(kw_only=True)
class Item:
    """What layers, inputs and nested models have in common. ``path`` is its names, outer first."""

    class_name: str
    path: tuple[str, ...]
    calls: list[list[Ref]] = field(default_factory=list)

    @property
    def label(self) -> str:
        return "/".join(self.path)

    def refuse(self, what: str, advice: str) -> NoReturn:
        raise ConversionError(f"layer '{self.label}' ({self.class_name}): {what}; {advice}")


@dataclass(kw_only=True)
class Input(Item):
    """An InputLayer: features, and whether there is time and of which fixed length."""

    features: int
    sequence: bool
    time: int | None


@dataclass(kw_only=True)
class Layer(Item):
    """A layer of a known kind. A wrapper has the layers inside of it as ``wrapped``."""

    config: dict[str, Any]
    kind: Kind
    trainable: bool
    wrapped: list[Leaf] = field(default_factory=list)

    def leaves(self) -> Iterator[Leaf]:
        yield from self.wrapped


@dataclass(kw_only=True)
class Leaf(Layer):
    """A layer with weights of its own.

    In an archive they are in ``group``; ``owner`` is the group of the layer that ``group`` belongs
    to. Elsewhere all weights of a top-level layer, which may be a whole model, are one flat list of
    ``total``, and these begin at ``start``. ``mixed``: only some of that list are trainable.
    """

    weights: tuple[str, ...]
    owner: str
    owner_name: str
    group: str
    start: int = 0
    total: int = 0
    mixed: bool = False

    def leaves(self) -> Iterator[Leaf]:
        yield self


@dataclass(kw_only=True)
class Model(Item):
    """A Sequential or functional model; ``inputs`` and ``outputs`` by the names Keras gives."""

    children: dict[str, Item]
    inputs: list[tuple[str, str]]
    outputs: list[tuple[str, Ref]]
    trainable: bool
    group: str
    child_groups: dict[str, str]

    def leaves(self) -> Iterator[Leaf]:
        for child in self.children.values():
            if isinstance(child, (Layer, Model)):
                yield from child.leaves()

    def groups(self) -> Iterator[tuple[str, set[str]]]:
        """Each group of an archive that holds layers, and the names that belong into it."""
        yield self.group, set(self.child_groups.values())
        for child in self.children.values():
            if isinstance(child, Model):
                yield from child.groups()


# --------------------------------------------------------------------------------------- parsing


def _corrupt(where: str, what: str) -> NoReturn:
    raise FormatError(f"the model's config is corrupt: {where}: {what}")


def _get(config: Any, key: str, types: Any, where: str) -> Any:
    if not isinstance(config, dict):
        _corrupt(where, f"a dict was expected, not {str(config)[:60]!r}")
    value = config.get(key)
    if not isinstance(value, types) or isinstance(value, bool) != (types is bool):
        _corrupt(where, f"'{key}' is {str(value)[:60]!r}")
    return value


def snake_case(name: str) -> str:
    """Keras's name of a class in archives (keras/src/utils/naming.py, to_snake_case)."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


class Parser:
    """Makes a tree of :class:`Model` from a config; ``major`` is the version of Keras, 2 or 3."""

    def __init__(self, kinds: dict[str, Kind], major: int, partitioned: bool) -> None:
        self.kinds, self.major, self.partitioned = kinds, major, partitioned

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
        """Give each leaf of a top-level layer its place in that layer's flat list of weights."""
        leaves = list(child.leaves())
        frozen = [leaf for leaf in leaves if not leaf.trainable]
        mixed = isinstance(child, Model) and 0 < len(frozen) < len(leaves)
        if mixed and self.partitioned and child.trainable:
            leaves = [leaf for leaf in leaves if leaf.trainable] + frozen
        total = sum(len(leaf.weights) for leaf in leaves)
        start = 0
        for leaf in leaves:
            leaf.start, leaf.total, leaf.mixed = start, total, mixed
            start += len(leaf.weights)

    # ---- one entry of a list of layers

    def _item(self, entry: Any, path: tuple[str, ...], name: str, group: str) -> Item:
        where = f"layer '{'/'.join((*path, name))}'" if name else "model"
        class_name = _get(entry, "class_name", str, where)
        config = entry.get("config")
        # Keras 2 before 2.2.3: a Sequential's config is the bare list of its layers.
        if class_name == "Sequential" and isinstance(config, list):
            config = {"layers": config}
        if not isinstance(config, dict):
            _corrupt(where, f"its config is {str(config)[:60]!r}")
        item = Item(class_name=class_name, path=(*path, name) if name else ())
        self._known_class(item, entry)
        if class_name in MODELS:
            return self._model(item, config, group)
        if class_name == "InputLayer":
            return self._input(item, config)
        return self._layer(item, config, group)

    def _known_class(self, item: Item, entry: dict[str, Any]) -> None:
        """Refuse every class that isn't Keras's own and in the table."""
        module = entry.get("module")
        registered = str(entry.get("registered_name") or "")
        custom = ">" in item.class_name or ">" in registered
        # Keras 3 writes a user's class that isn't registered under its bare name, without a module.
        custom = custom or ("module" in entry and not module)
        if custom or (module and str(module).partition(".")[0] not in PACKAGES):
            item.refuse("it is a custom class", "only Keras's own layers can be converted")
        known = (*MODELS, "InputLayer", *self.kinds)
        if item.class_name not in known:
            advice = ADVICE.get(item.class_name)
            item.refuse(
                "this class is not supported" if advice is None else "not supported",
                advice or f"use only {', '.join(sorted(known[1:]))}",
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
            elif isinstance(rule, Only) and value not in rule.values:
                item.refuse(f"option {key}={str(value)[:60]} is not supported", rule.advice)
        dtype = config.get("dtype")
        if isinstance(dtype, dict):  # a serialised policy
            policy = dtype.get("config")
            name = policy.get("name") if isinstance(policy, dict) else None
            dtype = name if dtype.get("class_name") in ("DTypePolicy", "Policy") else str(dtype)
        if dtype not in (None, "float32"):
            item.refuse(
                f"dtype policy {str(dtype)[:60]} is not supported, float32 is",
                "build the model again in float32 and copy the weights into it",
            )

    def _input(self, item: Item, config: dict[str, Any]) -> Input:
        self._options(item, config, INPUT_OPTIONS)
        shape = config.get("batch_shape", config.get("batch_input_shape"))
        return self._input_of_shape(item, shape)

    def _input_of_shape(self, item: Item, shape: Any) -> Input:
        sizes = shape if isinstance(shape, list) else []
        if any(n is not None and (type(n) is not int or n < 1) for n in sizes):
            _corrupt(f"layer '{item.label}'", f"its shape is {str(shape)[:60]}")
        if len(sizes) not in (2, 3) or sizes[-1] is None:
            item.refuse(
                f"an input of shape {str(shape)[:60]} is not supported",
                "use [batch, time, features] or [batch, features] with fixed features",
            )
        sequence = len(sizes) == 3
        return Input(
            class_name=item.class_name,
            path=item.path,
            features=sizes[-1],
            sequence=sequence,
            time=sizes[1] if sequence else None,
        )

    def _layer(self, item: Item, config: dict[str, Any], group: str) -> Layer:
        kind = self.kinds[item.class_name]
        self._options(item, config, kind.options)
        common: dict[str, Any] = {
            "class_name": item.class_name,
            "path": item.path,
            "config": config,
            "kind": kind,
            "trainable": config.get("trainable") is not False,
        }
        if kind.wraps:
            return Layer(**common, wrapped=list(self._wrapped(item, config, kind, group)))
        bias = "use_bias" not in kind.options
        bias = bias or _get(config, "use_bias", bool, f"layer '{item.label}'")
        return Leaf(
            **common,
            weights=tuple(w for w in kind.weights if bias or w != "bias"),
            owner=group,
            owner_name=item.path[-1],
            group=f"{group}/{kind.at}" if kind.at else group,
        )

    def _wrapped(
        self, item: Item, config: dict[str, Any], kind: Kind, group: str
    ) -> Iterator[Leaf]:
        for key, place in kind.wraps:
            entry = _get(config, key, dict, f"layer '{item.label}'")
            inner_config = _get(entry, "config", dict, f"layer '{item.label}'")
            name = _get(inner_config, "name", str, f"the layer in '{item.label}'")
            inner = self._item(entry, item.path, name, f"{group}/{place}")
            if not isinstance(inner, Leaf):
                item.refuse(f"it wraps a {inner.class_name}", "wrap plain layers only")
            yield inner

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
                _corrupt(where, f"two layers are named {str(name)[:60]!r}")
            place = snake_case(class_name)
            used[place] = used.get(place, -1) + 1
            if used[place]:
                place += f"_{used[place]}"
            model.child_groups[name] = place
            child = self._item(entry, model.path, name, f"{model.group}/{place}")
            model.children[name] = child
        if not model.children:
            _corrupt(where, "it has no layers")
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
                head = self._input_of_shape(item, shape)
            names.insert(0, f"{names[0]}_input")
            if names[0] in model.children:
                _corrupt(f"layer '{names[0]}'", "its name is taken")
            model.children[names[0]] = head
        if len(names) < 2:
            raise ConversionError("a model without layers can't be converted")
        model.inputs = [(names[0], names[0])]
        for before, name in pairwise(names):
            if isinstance(model.children[name], Input):
                _corrupt(f"layer '{name}'", "an input in the middle of a Sequential")
            model.children[name].calls = [[Ref(before, 0, 0)]]
        model.outputs = [(names[-1], Ref(names[-1], 0, 0))]

    def _connect_graph(
        self, model: Model, config: dict[str, Any], entries: list[Any], where: str
    ) -> None:
        for entry, child in zip(entries, model.children.values(), strict=True):
            nodes = _get(entry, "inbound_nodes", list, f"layer '{child.label}'")
            if not isinstance(child, Input):
                child.calls = [self._node(child, node) for node in nodes]
        for child in model.children.values():
            child.calls = [[self._resolve(model, r, False) for r in c] for c in child.calls]
        for key, ref in _named_refs(config.get("input_layers"), where):
            if not isinstance(model.children.get(ref.layer), Input):
                _corrupt(where, f"its input '{ref.layer[:60]}' is not an InputLayer")
            model.inputs.append((key, ref.layer))
        for key, ref in _named_refs(config.get("output_layers"), where):
            model.outputs.append((key, self._resolve(model, ref, True)))
        if not model.inputs or not model.outputs:
            _corrupt(where, "it has no inputs or no outputs")

    def _node(self, item: Item, node: Any) -> list[Ref]:
        """The tensors that one call of a layer gets."""
        refs: list[Ref] = []

        def argument(value: Any) -> None:
            if isinstance(value, list):
                for v in value:
                    argument(v)
            elif isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
                history = _get(value, "config", dict, f"layer '{item.label}'").get("keras_history")
                refs.append(_ref(history, f"layer '{item.label}'"))
            elif value is not None:
                item.refuse(
                    f"it is called with {str(value)[:60]}", "call it with one tensor or a list"
                )

        def keywords(values: Any) -> None:
            for key, value in values.items() if isinstance(values, dict) else ():
                if key in ("inputs", "sequences") and not refs:
                    argument(value)
                elif not _off(value):
                    item.refuse(
                        f"it is called with {key}={str(value)[:60]}", f"call it without {key}"
                    )

        if isinstance(node, dict):  # Keras 3
            argument(node.get("args"))
            keywords(node.get("kwargs"))
        elif isinstance(node, list):  # Keras 2: [name, call, tensor, keyword arguments] each
            for n in [node] if node and isinstance(node[0], str) else node:
                if isinstance(n, list) and len(n) == 4:
                    keywords(n[3])
                    n = n[:3]
                refs.append(_ref(n, f"layer '{item.label}'"))
        else:
            _corrupt(f"layer '{item.label}'", f"a call is {str(node)[:60]!r}")
        return refs

    def _resolve(self, model: Model, ref: Ref, output: bool) -> Ref:
        """Count calls from zero, whatever Keras did.

        Of a nested functional model, Keras 3 counts calls from 1 in a model's outputs and from 0
        elsewhere (models/functional.py: "Functional models start out with a built-in node").
        Keras 2 counts from 1 nearly always; one call is unambiguous, more are refused.
        """
        child = model.children.get(ref.layer)
        where = f"a call of '{ref.layer[:60]}'"
        if child is None:
            _corrupt(where, "there is no such layer")
        calls = 1 if isinstance(child, Input) else len(child.calls)
        call = ref.call
        if isinstance(child, Model):
            if calls > 1 and self.major < 3:
                child.refuse("a nested model is called more than once", "save it with Keras 3")
            if calls == 1:
                call = 0
            elif output and child.class_name != "Sequential":
                call -= 1
        count = len(child.outputs) if isinstance(child, Model) else 1
        if not 0 <= call < calls or not 0 <= ref.tensor < count:
            _corrupt(where, f"there is no output {ref.tensor} of call {ref.call}")
        return Ref(ref.layer, call, ref.tensor)


def _off(value: Any) -> bool:
    """Whether a keyword argument says nothing: Keras keeps mask=[None, None] for two inputs."""
    if isinstance(value, list):
        return all(v is None for v in value)
    return value is None or value is False


def _ref(value: Any, where: str) -> Ref:
    if isinstance(value, list) and len(value) == 3:
        name, call, tensor = value
        if isinstance(name, str) and type(call) is int and type(tensor) is int:
            return Ref(name, call, tensor)
    _corrupt(where, f"{str(value)[:60]!r} is not a tensor")


def _named_refs(value: Any, where: str) -> list[tuple[str, Ref]]:
    """The inputs or outputs of a model: one, a list, or a dict whose keys are then their names.

    Keras flattens a dict in the order of its keys, and calls the others after their layers.
    """
    if isinstance(value, dict):
        return [(k, _ref(value[k], where)) for k in sorted(value)]
    if isinstance(value, list) and value and isinstance(value[0], str):
        value = [value]
    if not isinstance(value, list):
        _corrupt(where, f"its inputs or outputs are {str(value)[:60]!r}")
    refs = [_ref(v, where) for v in value]
    return [(r.layer, r) for r in refs]
