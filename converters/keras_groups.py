"""HDF5 files of weights without a model's config: what they hold, as torch would have it.

Keras 2's ``save_weights("x.h5")`` keeps a group for each layer, named as the layer, whose weights
have names too: ``lstm/lstm/kernel:0``. Keras 3's ``.weights.h5`` numbers the weights of a layer:
``layers/lstm/cell/vars/0``; later versions note the layer's own name beside them, earlier ones have
the name of its class only. Sources: keras/src/legacy/saving/legacy_h5_format.py,
save_weights_to_hdf5_group; keras/src/saving/saving_lib.py, _save_state.

A group is called as the layer that owns it; layers inside of others ``outer/inner``, and the two
directions of a Bidirectional ``outer/forward_layer`` and ``outer/backward_layer``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from lstmc.errors import ConversionError, FormatError

from . import gates
from . import weights as w
from .keras_file import Stored, WeightsOnly, child, group_at, names_in, readable, text_in

MAX_GROUPS = 1 << 16
MAX_DEPTH = 32
_SEED = "seed_generator"  # of a Dropout: means nothing to inference
_CELL = r"(lstm|gru|simple_rnn)_cell(_\d+)?"

# The weights of a type of layer in Keras's order, where a file only numbers them.
ORDER: dict[str, tuple[str, ...]] = {
    "lstm": ("kernel", "recurrent_kernel", "bias"),
    "gru": ("kernel", "recurrent_kernel", "bias"),
    "rnn": ("kernel", "recurrent_kernel", "bias"),
    "dense": ("kernel", "bias"),
    "linear": ("kernel", "bias"),
    "conv1d": ("kernel", "bias"),
    "embedding": ("embeddings",),
    "batchnorm1d": ("gamma", "beta", "moving_mean", "moving_variance"),
    "layernorm": ("gamma", "beta"),
    "rmsnorm": ("scale",),
    "prelu": ("alpha",),
}
# What torch calls those that both have.
TORCH = {
    "kernel": "weight", "bias": "bias", "embeddings": "weight", "gamma": "weight", "beta": "bias",
    "moving_mean": "running_mean", "moving_variance": "running_var", "scale": "weight",
    "alpha": "weight",
}  # fmt: skip
_RECURRENT = {"lstm": 4, "gru": 3, "rnn": 1}


class Ready:
    """A weight that has been read, by the interface of :class:`weights.StoredTensor`."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.shape = array, array.shape

    def array(self) -> np.ndarray:
        return self._array


class Groups:
    """The groups of a file; :meth:`open` gives the weights of one."""

    def __init__(self, source: WeightsOnly) -> None:
        file = source.file or ""
        with readable(file):
            legacy = any(name in source.h5.attrs for name in ("layer_names", "layer_names0"))
            found = _legacy(source.h5, file) if legacy else _numbered(source.h5, file)
        self._groups: dict[str, list[tuple[str, Stored]]] = {}
        for name, weights in found:
            if name in self._groups or len(self._groups) >= MAX_GROUPS:
                raise FormatError(f"'{file}' holds two groups '{w.printable(name)}', or too many")
            self._groups[name] = weights
        self.file = file
        #: Of every GRU that was opened: whether its bias says that it has reset_after; None: no
        #: bias, so nothing says.
        self.reset_after: dict[str, bool | None] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._groups

    def __iter__(self) -> Iterator[str]:
        return iter(self._groups)

    def shapes(self, name: str) -> dict[str, tuple[int, ...]]:
        """The shapes of a group's weights by name, or by number where they have none."""
        return {leaf: tuple(s.shape) for leaf, s in self._groups.get(name, ())}

    def kind(self, name: str) -> str:
        """The type of layer that a group's weights look like; "" if it could be several, or none.

        Called only to suggest an architecture, which says it by itself.
        """
        given = self.shapes(name)
        shapes, ranks = list(given.values()), [len(s) for s in given.values()]
        named = not any(leaf.isdigit() for leaf in given)
        if ranks[:2] == [2, 2] and ("recurrent_kernel" in given or not named):
            columns, hidden = shapes[0][1], shapes[1][0]
            same = (k for k, n in _RECURRENT.items() if columns == n * hidden == shapes[1][1])
            return next(same, "")
        if ranks[:1] == [1] and len(ranks) in (2, 4) and ranks == [1] * len(ranks):
            kind = "layernorm" if len(ranks) == 2 else "batchnorm1d"
            return kind if not named or set(given) == set(ORDER[kind]) else ""
        if "embeddings" in given:
            return "embedding"
        if not named and ranks == [2]:  # a Dense without bias, or an Embedding
            return ""
        kernel = {2: "dense", 3: "conv1d"}.get(ranks[0] if ranks else 0, "")
        return kernel if not named or set(given) <= set(ORDER["dense"]) else ""

    def listing(self, names: list[str] | None = None, limit: int = 12) -> str:
        """Groups with their weights' shapes, the first ones, for a message."""
        names = list(self) if names is None else names
        shown = []
        for name in names[:limit]:
            parts = (
                f"{'' if leaf.isdigit() else w.printable(leaf) + ' '}{list(shape)}"
                for leaf, shape in self.shapes(name).items()
            )
            shown.append(f"{w.printable(name)} ({', '.join(parts)})")
        more = len(names) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more > 0 else "")

    def open(self, kind: str, name: str) -> dict[str, Ready]:
        """The weights of group ``name``, which a layer of type ``kind`` (lower case) uses, by the
        keys that they would have in a state_dict; ConversionError if they don't fit the type.
        """
        if kind not in _RECURRENT:
            return self._renamed(kind, name)
        ends = [f"{name}/{d}_layer" for d in ("forward", "backward")]
        if name in self:
            return self._recurrent(kind, name, name, "_l0")
        if not all(end in self for end in ends):
            return {}
        both = self._recurrent(kind, name, ends[0], "_l0")
        forward = self.reset_after.get(name)
        both |= self._recurrent(kind, name, ends[1], "_l0_reverse")
        if forward != self.reset_after.get(name):
            raise ConversionError(f"'{name}': its two directions differ in reset_after")
        return both

    def members(self, name: str) -> set[str]:
        """The groups that :meth:`open` reads for ``name``."""
        return {name, f"{name}/forward_layer", f"{name}/backward_layer"} & set(self)

    def _named(self, kind: str, name: str) -> dict[str, np.ndarray]:
        """The weights of a group as float32, by Keras's names; those the type may have only."""
        stored = self._groups[name]
        order = ORDER[kind]
        numbers = any(leaf.isdigit() for leaf, _ in stored)
        if numbers and len(order) > 1 and "kernel" not in order and len(stored) != len(order):
            raise ConversionError(
                f"group '{w.printable(name)}' has {len(stored)} weights without names, expected "
                f"{', '.join(order)}: which of them it has can't be told; save the whole model"
            )
        out = {}
        for i, (leaf, weight) in enumerate(stored):
            own = (order[i] if i < len(order) else leaf) if numbers else leaf
            if own not in order:
                raise ConversionError(
                    f"group '{w.printable(name)}' holds a weight '{w.printable(leaf)}' "
                    f"{list(weight.shape)}, which no {kind} has: is it of another type?"
                )
            out[own] = w.float32(f"{name}/{leaf}", weight[()])
        return out

    def _renamed(self, kind: str, name: str) -> dict[str, Ready]:
        if name not in self:
            return {}
        if kind not in ORDER:
            raise ConversionError(
                f"the weights of a {kind} can't be read from a Keras file; known: "
                f"{', '.join(ORDER)}"
            )
        out = {}
        for leaf, array in self._named(kind, name).items():
            if leaf == "kernel":
                rank = 3 if kind == "conv1d" else 2
                if array.ndim != rank:
                    raise ConversionError(
                        f"group '{w.printable(name)}': its kernel has shape {list(array.shape)}, "
                        f"expected {rank} axes for a {kind}"
                    )
                array = array.T  # [K, N], and [taps, channels in, out]: torch's in both cases
            array = array.ravel() if leaf == "alpha" else array
            out[w.join(name, TORCH[leaf])] = Ready(np.ascontiguousarray(array))
        return out

    def _recurrent(self, kind: str, name: str, group: str, suffix: str) -> dict[str, Ready]:
        """One direction of a recurrent layer; the gates' order is :mod:`gates`' business."""
        given = self._named(kind, group)
        kernel, recurrent, bias = (given.get(leaf) for leaf in ORDER[kind])
        if kernel is None or recurrent is None:
            raise ConversionError(f"group '{w.printable(group)}' lacks a kernel: no {kind} is so")
        count, hidden = _RECURRENT[kind], len(recurrent)
        size = count * hidden
        shapes: list[tuple[int, ...]] = [(size,)]
        shapes += [(2, size)] if kind == "gru" else []
        if (
            (kernel.ndim, recurrent.shape) != (2, (hidden, size))
            or kernel.shape[1] != size
            or (bias is not None and bias.shape not in shapes)
        ):
            raise ConversionError(
                f"group '{w.printable(group)}': {self.listing([group])} is no {kind} of {hidden} "
                "units (CuDNN's layers, whose bias is twice as long, can't be read from weights "
                "alone)"
            )
        turn = {"lstm": gates.lstm, "gru": gates.gru}.get(kind, lambda _, weight: weight)
        out = {"weight_ih": turn("keras", kernel.T), "weight_hh": turn("keras", recurrent.T)}
        if kind == "gru":
            self.reset_after[name] = None if bias is None else bias.ndim == 2
        if bias is not None:
            both = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
            out |= {"bias_ih": turn("keras", both[0]), "bias_hh": turn("keras", both[1])}
        return {w.join(name, leaf + suffix): Ready(array) for leaf, array in out.items()}


# ---------------------------------------------------------------------------------------- layouts

Found = Iterator[tuple[str, list[tuple[str, Stored]]]]


def _legacy(h5: Any, file: str) -> Found:
    """Groups of a file of Keras 2; a layer that holds others is a single one there."""
    for layer in names_in(h5, "layer_names"):
        group = group_at(h5, layer)
        if group is None:
            raise FormatError(f"'{file}' has no weights of layer '{w.printable(layer)}'")
        inner: dict[tuple[tuple[str, ...], str], list[tuple[str, Stored]]] = {}
        for name in names_in(group, "weight_names"):
            *parts, leaf = name.split("/")
            leaf = re.sub(r":\d+$", "", leaf)
            if leaf.startswith(_SEED) or _SEED in parts:
                continue
            stored = Stored(child(group, name), file, name)
            parts = [p for p in parts if not re.fullmatch(_CELL, p)]
            side = re.match("(forward|backward)_", parts[-1]) if len(parts) > 1 else None
            end = f"/{side[1]}_layer" if side else ""
            path = tuple(parts[:-1] if side else parts)
            inner.setdefault((path, end), []).append((leaf, stored))
        single = len({path for path, _ in inner}) == 1
        for (path, end), weights in inner.items():
            leaves = [leaf for leaf, _ in weights]
            if len(set(leaves)) != len(leaves):
                raise FormatError(f"'{file}': layer '{w.printable(layer)}' names a weight twice")
            rest = () if single else path[1:] if path[:1] == (layer,) else path
            yield "/".join((layer, *rest)) + end, weights


def _numbered(h5: Any, file: str) -> Found:
    """Groups of a file of Keras 3, called by the layers' names if all are known, else by path."""
    found: list[tuple[list[tuple[str, str]], list[tuple[str, Stored]]]] = []
    seen = 0

    def walk(group: Any, path: list[tuple[str, str]], depth: int) -> None:
        nonlocal seen  # a group may be linked to from several places, or from below itself
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_GROUPS:
            raise FormatError(f"'{file}' is nested too deeply, or holds too many groups")
        own = group_at(group, "vars")
        if own is not None and len(own):
            keys = sorted(own, key=lambda k: (len(k), k))
            if keys != [str(i) for i in range(len(keys))]:
                raise FormatError(f"'{file}': {own.name} holds {keys[:8]}, not 0, 1, 2 ...")
            where = f"{group.name}/vars"
            found.append((path, [(k, Stored(child(own, k), file, f"{where}/{k}")) for k in keys]))
        for key in group:
            inner = None if key in ("vars", _SEED, "optimizer") else group_at(group, key)
            if inner is None:
                continue
            if key in ("layers", "cell"):  # what holds layers, and what an RNN is made of
                walk(inner, path, depth + 1)
                continue
            kept = group_at(inner, "vars")
            name = None if kept is None or key.endswith("ward_layer") else text_in(kept, "name")
            walk(inner, [*path, (key, name or "")], depth + 1)

    walk(h5, [], 0)
    by_name = ["/".join(name or key for key, name in path) for path, _ in found]
    keep = len(set(by_name)) == len(by_name)
    for (path, weights), name in zip(found, by_name, strict=True):
        yield name if keep else "/".join(key for key, _ in path), weights
