"""What layers of an architecture are built with: the values so far, and the weights of the file."""

from __future__ import annotations

import fnmatch
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from lstmc import graph as g
from lstmc.errors import ConversionError
from lstmc.graph import TIME

from . import torch_shapes as shapes
from . import weights as w
from .keras_groups import Groups
from .torch_modules import MODULES
from .torch_values import Context, Sym


class Tensor(Protocol):
    """A weight in a file: :class:`weights.StoredTensor`, :class:`keras_groups.Ready`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def array(self) -> np.ndarray: ...


Tensors = Mapping[str, Tensor | None]

#: What picks features one by one takes values of no more than so many: a few words of a description
#: could otherwise ask for any amount of memory.
MAX_FEATURES = 1 << 20


def listing(tensors: Tensors, limit: int = 12) -> str:
    """Keys with shapes, the first ones, for a message."""
    shown = [
        f"{w.printable(k)} {list(t.shape) if t else '(no tensor)'}"
        for k, t in itertools.islice(tensors.items(), limit)
    ]
    more = len(tensors) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


class Described:
    """What an entry says about a module: its options, and its weights by the names of attributes.

    The handlers of :mod:`torch_modules` take it for the torch module itself.
    """

    def __init__(self, b: Builder, prefix: str, **options: Any) -> None:
        self.__dict__.update(options)
        self.state_key: str = prefix
        self._builder = b

    def __getattr__(self, leaf: str) -> np.ndarray | None:
        if leaf.startswith("_") or leaf in ("functions", "cell_keys"):
            raise AttributeError(leaf)
        return self._builder.get(w.join(self.state_key, leaf))


class Builder:
    """Adds layers one after the other; remembers which weights of the file were used.

    x: what the layer before gives, [batch, (time,) features], or [..., positions, channels].
    values: what was named, inputs and layers, by name.
    """

    def __init__(self, tensors: Tensors, ctx: Context, groups: Groups | None = None) -> None:
        self.tensors, self.used = dict(tensors), set[str]()
        self.groups, self.opened = groups, set[str]()
        self.ctx, self.values = ctx, dict[str, Sym]()
        self.x = Sym("", ())
        self.keras = groups is not None
        self.source = "the file" if self.keras else "the state_dict"

    def get(self, key: str) -> np.ndarray | None:
        tensor = self.tensors.get(key)
        if tensor is None:
            return None
        self.used.add(key)
        return tensor.array()

    def shape(self, key: str) -> tuple[int, ...]:
        tensor = self.tensors.get(key)
        return () if tensor is None else tensor.shape

    def prefix(self, entry: dict[str, Any], *keys: str) -> str:
        """The prefix of an entry's weights, if one of ``keys`` is there."""
        prefix = str(entry.get("weights", ""))
        if self.groups is not None:
            self.tensors.update(self.groups.open(entry["type"].lower(), prefix))
            self.opened |= self.groups.members(prefix)
        if not any(self.tensors.get(w.join(prefix, k)) is not None for k in keys):
            if self.groups is None:
                what = f"tensor '{w.join(prefix, keys[0])}'; it holds {listing(self.tensors)}"
            else:
                what = f"group '{w.printable(prefix)}' for it; it holds {self.groups.listing()}"
            raise ConversionError(
                f"architecture, layer {entry['type']}: {self.source} has no {what}"
            )
        return prefix

    def unused(self, patterns: list[str]) -> str:
        """Weights that no layer has read and no pattern (fnmatch) names, for a message."""

        def rest(keys: Iterable[str], used: set[str]) -> list[str]:
            return [
                k
                for k in keys
                if k not in used and not any(fnmatch.fnmatchcase(k, p) for p in patterns)
            ]

        keys = rest(self.tensors, self.used)
        groups = [] if self.groups is None else rest(self.groups, self.opened)
        found = [listing({k: self.tensors[k] for k in keys})] if keys else []
        if self.groups is not None and groups:
            found.append(self.groups.listing(groups))
        return ", ".join(found)

    def exact(self, entry: dict[str, Any], key: str, default: Any) -> Any:
        """An option whose usual value is another in Keras: of a Keras file, it must be given."""
        if key not in entry and self.groups is not None:
            raise ConversionError(
                f"architecture, layer {entry['type']}: {key} is missing; torch's usual value is "
                f"{default}, Keras has another, so it must be given for weights of Keras"
            )
        return entry.get(key, default)

    def value(self, name: Any) -> Sym:
        """What an input or a layer of this name gives."""
        if name not in self.values:
            known = ", ".join(map(w.printable, self.values)) or "none"
            self.ctx.refuse(f"there is no value '{w.printable(str(name))}' so far; named: {known}")
        return self.values[name]

    def define(self, name: Any, x: Sym) -> None:
        """Give a value its name."""
        if name in self.values:
            self.ctx.refuse(f"two values are called '{w.printable(str(name))}'")
        self.values[name] = x

    def handle(self, module: str, m: Described, channels_first: bool = False) -> None:
        """One of torch's modules on what the layer before gives."""
        x = self.x
        at = len(x.axes) - 2
        turned = channels_first and TIME in x.axes
        if channels_first and positioned(x):
            self.ctx.refuse(f"works on steps, it gets positions: {shapes.show(x)}")
        if turned:
            x = shapes.transpose(self.ctx, x, at, at + 1)
        y = MODULES[module](self.ctx, m, x)
        y = y[0] if isinstance(y, tuple) else y
        if turned:
            y = shapes.transpose(self.ctx, y, at, at + 1)
        if turned and TIME not in y.axes:
            y = shapes.squeeze(self.ctx, y, at)  # what is left of time
        self.x = y

    def sized(self, count: int) -> None:
        """Refuse to pick features out of more than there ever are."""
        if count > MAX_FEATURES:
            self.ctx.refuse(f"{count} features are too many, up to {MAX_FEATURES} are supported")


def positioned(x: Sym) -> bool:
    """Whether a row, or a step of it, has positions and channels instead of plain features."""
    return len([a for a in x.axes if not isinstance(a, str)]) > 1


def function(name: Any, keras: bool = False) -> g.Fn:
    """An activation by name, with alpha and beta in parentheses if they're not the usual ones.

    keras: the weights are Keras's, whose own usual ones differ for two functions.
    """
    match = re.fullmatch(r"(\w+)\(\s*([-+.\de]+)\s*(?:,\s*([-+.\de]+)\s*)?\)", str(name))
    kind, *numbers = match.groups() if match else (name,)
    if kind not in w.ACTIVATIONS:
        known = ", ".join(w.ACTIVATIONS)
        raise ConversionError(f"architecture: activation '{name}' is not supported; known: {known}")
    if keras and not match and kind in ("hard_sigmoid", "leaky_relu"):
        example = "(0.2, 0.5) of Keras 2" if kind == "hard_sigmoid" else "(0.2)"
        raise ConversionError(
            f"architecture: activation '{name}': for weights of Keras, say its numbers, such as "
            f"{kind}{example}: torch's differ from Keras's"
        )
    own, *usual = w.ACTIVATIONS[kind]
    try:
        given = [float(n) for n in numbers if n is not None]
    except ValueError:
        given = [math.nan]
    # So many numbers as torch's function has parameters; hard_sigmoid's slope is fixed there.
    count = {"hard_sigmoid": 2, "leaky_relu": 1, "elu": 1, "celu": 1, "soft_shrink": 1,
             "hard_shrink": 1, "silu": 1}.get(kind, 0)  # fmt: skip
    if match and len(given) != count:
        raise ConversionError(f"architecture: activation '{name}': {kind} takes {count} numbers")
    if not all(math.isfinite(n) for n in given):
        raise ConversionError(f"architecture: activation '{name}' has a bad number")
    return w.function(own, *(*given, *usual[len(given) :]))
