"""What a Keras model is once its config is understood: a tree of layers, and calls between them.

A :class:`Kind` says what lstmc knows about a class of layers; the tables of kinds are beside the
handlers, in keras_layers.py, keras_recurrent.py, keras_steps.py, keras_merge.py and keras_ops.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from lstmc.errors import ConversionError


@dataclass(frozen=True)
class Only:
    """An option of which only the first value is supported, or others that mean the same."""

    values: tuple[Any, ...]
    advice: str


READ = "read"  # an option that the handler reads
IGNORE = "ignore"  # an option without effect on inference

# Weights that a layer has only if an option says so.
FLAGS = {"bias": "use_bias", "gamma": "scale", "beta": "center"}


def read(*names: str) -> dict[str, Any]:
    """Options that the handler reads."""
    return dict.fromkeys(names, READ)


def ignored(*names: str) -> dict[str, Any]:
    """Options without effect on inference."""
    return dict.fromkeys(names, IGNORE)


def training(*weights: str) -> dict[str, Any]:
    """Options of weights that mean nothing to inference."""
    kinds = ("initializer", "regularizer", "constraint")
    return ignored(*(f"{name}_{kind}" for name in weights for kind in kinds))


@dataclass(frozen=True)
class Kind:
    """What lstmc knows about a class of layers, or of operations (keras.ops).

    ``build`` is the handler: it gets the builder, the layer, the arguments of the call by name and
    a label for what it adds, and gives the tensors that the call gives. ``params`` are the names of
    the arguments it takes, in Keras's order.

    ``weights`` are the names of its weights in Keras's order ("kernel|depthwise_kernel" where
    versions of Keras differ), ``frozen`` those that never train. ``at`` is where in a `.keras`
    archive the variables are, below the layer's own group. A wrapper has ``wraps``: the config key
    of each wrapped layer, or list of layers, and its place in an archive.

    ``stepwise`` layers treat each time step alone, so that TimeDistributed around them changes
    nothing. ``masks``: what becomes of the mask of its input. "keep": the output has it
    (supports_masking, and Keras's own compute_mask); "drop": the output has none; "own": the
    handler says.
    """

    build: Callable[..., Any]
    options: dict[str, Any] = field(default_factory=dict)
    weights: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    at: str = ""
    wraps: tuple[tuple[str, str], ...] = ()
    params: tuple[str, ...] = ("inputs",)
    stepwise: bool = False
    masks: str = "drop"


# ----------------------------------------------------------------------------------------- tree


@dataclass(frozen=True)
class Ref:
    """A tensor: output number ``tensor`` of call number ``call`` of a layer."""

    layer: str
    call: int
    tensor: int


@dataclass
class Call:
    """One call of a layer: :class:`Ref`, plain values, slices and lists of these."""

    args: list[Any]
    kwargs: dict[str, Any]

    def refs(self) -> Iterator[Ref]:
        """Every tensor that the call gets."""
        yield from _refs([self.args, list(self.kwargs.values())])

    def replaced(self, change: Callable[[Ref], Any]) -> Call:
        """The call with something else in the place of each :class:`Ref`."""
        args = [_replaced(a, change) for a in self.args]
        return Call(args, {k: _replaced(v, change) for k, v in self.kwargs.items()})


def _refs(value: Any) -> Iterator[Ref]:
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, list):
        for v in value:
            yield from _refs(v)


def _replaced(value: Any, change: Callable[[Ref], Any]) -> Any:
    if isinstance(value, list):
        return [_replaced(v, change) for v in value]
    return change(value) if isinstance(value, Ref) else value


@dataclass(kw_only=True)
class Item:
    """What layers, inputs and nested models have in common. ``path`` is its names, outer first."""

    class_name: str
    path: tuple[str, ...]
    calls: list[Call] = field(default_factory=list)

    @property
    def label(self) -> str:
        return "/".join(self.path)

    def refuse(self, what: str, advice: str) -> NoReturn:
        raise ConversionError(f"layer '{self.label}' ({self.class_name}): {what}; {advice}")


@dataclass(kw_only=True)
class Input(Item):
    """An InputLayer: its shape without the batch, None where it is open."""

    shape: tuple[int | None, ...]
    dtype: str


@dataclass(kw_only=True)
class Layer(Item):
    """A layer of a known kind. A wrapper has the layers inside of it as ``wrapped``.

    ``rank`` is that of the tensors it works on where that isn't its input's own: 2 in
    TimeDistributed.
    """

    config: dict[str, Any]
    kind: Kind
    trainable: bool
    wrapped: list[Layer] = field(default_factory=list)
    rank: int | None = None

    def leaves(self) -> Iterator[Leaf]:
        for layer in self.wrapped:
            yield from layer.leaves()

    # ---- options, checked

    def bad(self, option: str) -> NoReturn:
        value = str(self.config.get(option))[:60]
        self.refuse(f"option {option}={value} is not supported", "save the model again")

    def flag(self, option: str, default: bool | None = None) -> bool:
        """A bool; ``default`` where older versions of Keras don't keep it."""
        value = self.config.get(option, default)
        return value if isinstance(value, bool) else self.bad(option)

    def size(self, option: str, default: int | None = None) -> int:
        """A whole number from 1 on, which Keras may keep as a list of one."""
        value = self.config.get(option, default)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if type(value) is not int or not 1 <= value <= 1 << 24:
            self.refuse(f"option {option}={str(value)[:60]} is not a size", "save the model again")
        return value

    def number(self, option: str, default: float | None = None) -> float:
        """A finite number."""
        value = self.config.get(option, default)
        if isinstance(value, dict) and value.get("class_name") == "__numpy__":
            value = value.get("config")
        if isinstance(value, dict):  # Keras 2 may keep {"type": "ndarray", "value": 0.3}
            value = value.get("value")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.bad(option)
        if not math.isfinite(value) or abs(value) > 3e38:
            self.bad(option)
        return float(value)

    def choice(self, option: str, values: Iterable[Any], default: Any = None) -> Any:
        """One of ``values``."""
        value = self.config.get(option, default)
        known = list(values)
        if value not in known or isinstance(value, bool):
            self.refuse(
                f"option {option}={str(value)[:60]} is not supported",
                f"use {', '.join(map(str, known))}",
            )
        return value

    def pair(self, option: str) -> tuple[int, int]:
        """Two numbers from 0 on; Keras 2 may keep one for both."""
        value = self.config.get(option)
        both = [value, value] if isinstance(value, int) else value
        if not isinstance(both, list) or len(both) != 2:
            self.bad(option)
        if any(type(n) is not int or not 0 <= n <= 1 << 24 for n in both):
            self.bad(option)
        return both[0], both[1]

    def axis(self, option: str, rank: int, default: Any = None) -> int:
        """An axis counted from 0, the batch; of a list of one in Keras 2. -1 is the last."""
        value = self.config.get(option, default)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if type(value) is not int or not -rank <= value < rank:
            self.refuse(
                f"option {option}={str(value)[:60]} is not supported", "use the last axis, -1"
            )
        return value % rank


@dataclass(kw_only=True)
class Leaf(Layer):
    """A layer with weights of its own.

    In an archive they are in ``group``; ``owner`` is the group of the layer that ``group`` belongs
    to. Elsewhere all weights of a top-level layer, which may be a whole model, are one flat list of
    ``total``, and these are at ``places`` in it. ``mixed``: only some of that list are trainable.
    """

    weights: tuple[str, ...]
    owner: str
    owner_name: str
    group: str
    places: list[int] = field(default_factory=list)
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

    def reads_steps(self, name: str) -> bool:
        """Whether the [batch, n] that this input or layer gives is a sequence of n numbers.

        It is to an Embedding and as a mask; comparisons hand it on.
        """
        for item, call in self.readers(name):
            if isinstance(item, Model):
                first = call.args[0] if call.args else next(iter(call.kwargs.values()), None)
                flat = first if isinstance(first, list) else [first]
                for r, (_, child) in zip(flat, item.inputs, strict=False):
                    if isinstance(r, Ref) and r.layer == name and item.reads_steps(child):
                        return True
                continue
            if item.class_name == "Embedding":
                return True
            compares = item.class_name in ("NotEqual", "Equal", "LogicalNot")
            if compares and self.reads_steps(item.path[-1]):
                return True
            mask = call.kwargs.get("mask")
            if isinstance(item, Layer) and "mask" in item.kind.params:
                place = item.kind.params.index("mask")
                mask = call.args[place] if len(call.args) > place else mask
            if isinstance(mask, Ref) and mask.layer == name and item.class_name != "Softmax":
                return True
        return False

    def readers(self, name: str) -> Iterator[tuple[Item, Call]]:
        """Each call that gets what the layer of this name makes."""
        for child in self.children.values():
            for call in child.calls:
                if any(r.layer == name for r in call.refs()):
                    yield child, call
