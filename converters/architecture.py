"""The architecture that a state_dict lacks: what the user writes, and the graph made from it.

As TOML, in a file (``arch="net.toml"``, or a .toml of the same stem beside the weights, found by
itself), as TOML text, or as the dict that TOML gives::

    [model]
    input = ["batch", "time", 10]   # order of axes; the number of features last, or left out for 1
    input_name = "x"                # optional, "input"; likewise output_name, "output"
    ignore = ["optimizer.*"]        # optional: keys of the state_dict to leave unused (fnmatch)

    [[layer]]
    type = "LSTM"                   # any case
    weights = "lstm"                # prefix of its keys: lstm.weight_ih_l0, lstm.bias_ih_l0, ...;
                                    # none for keys without prefix. lstm.weight_ih (LSTMCell) too
    num_layers = 2                  # optional: checked against the keys _l0, _l1, ...
    activation = "tanh"             # optional: of the candidate and of the cell's output
    recurrent_activation = "sigmoid"  # optional: of the gates i, f, o
    return_sequences = false        # optional, true: false hands on the last step only

    [[layer]]
    type = "Dense"                  # or Linear
    weights = "fc"
    activation = "softmax"          # optional

Other types: Activation (activation = ...), Softmax, LastStep, Dropout (does nothing). Every layer
may have a ``name``. Activations: linear, sigmoid, tanh, relu, exponential, hard_sigmoid (PyTorch's
slope 1/6; ``hard_sigmoid(0.2, 0.5)`` gives another), and softmax where a layer ends with it.

As one line, for the command line: clauses parted by ``;``, each a type and ``key=value`` words, the
keys being those above::

    line   = "input" axis... [ "name=" NAME ] { ";" clause }
    axis   = "batch" | "time" | NUMBER
    clause = TYPE { KEY "=" VALUE | "last" }      ("last" is return_sequences=false)
           | "output" "name=" NAME
           | "ignore" PATTERN...

    input batch time 10; lstm weights=lstm last; dense weights=fc activation=softmax
"""

from __future__ import annotations

import fnmatch
import itertools
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.errors import ConversionError

from . import weights as w
from .architecture_text import Arch, load

Tensors = Mapping[str, w.StoredTensor | None]


# --------------------------------------------------------------------------------- building it


class _Builder:
    """Adds layers one after the other; remembers which keys of the state_dict were used."""

    def __init__(self, tensors: Tensors, value: g.Value, output: str) -> None:
        self.tensors, self.used = tensors, set[str]()
        self.layers: list[g.Layer] = []
        self.value, self.features, self.time = value.name, value.spec.features, value.spec.time
        self.names = set[str]()  # of layers
        self.reserved = {value.name, output}  # values that layers inside may not be called

    def get(self, key: str) -> np.ndarray | None:
        tensor = self.tensors.get(key)
        if tensor is None:
            return None
        self.used.add(key)
        return tensor.array()

    def prefix(self, entry: dict[str, Any], *keys: str) -> str:
        """The prefix of an entry's weights, if one of ``keys`` is there."""
        prefix = str(entry.get("weights", ""))
        if not any(self.tensors.get(w.join(prefix, k)) is not None for k in keys):
            raise ConversionError(
                f"architecture, layer {entry['type']}: the state_dict has no tensor "
                f"'{w.join(prefix, keys[0])}'; it holds {listing(self.tensors)}"
            )
        return prefix

    def name(self, entry: dict[str, Any], suffix: str = "") -> str:
        base = str(entry.get("name") or entry.get("weights") or entry["type"].lower())
        name, n = base + suffix, 1
        while name in self.names:
            name, n = f"{base}{suffix}_{n}", n + 1
        self.names.add(name)
        return name

    def add(self, cls: type[g.Layer], name: str, take: int = 0, **fields: Any) -> None:
        """Add a layer whose output number ``take`` is handed on."""
        value = f"{name}.value" if name in self.reserved else name
        outputs: list[str | None] = [None] * (3 if cls is g.LSTM else 1)
        outputs[take] = value
        layer = cls(name=name, inputs=(self.value,), outputs=tuple(outputs), **fields)
        spec = layer.infer(g.Spec(self.features, self.time))[take]
        self.layers.append(layer)
        self.value, self.features, self.time = value, spec.features, spec.time

    def activate(self, entry: dict[str, Any], name: str | None = None) -> None:
        kind = entry.get("activation")
        if kind == "softmax":
            self.add(g.Softmax, name or self.name(entry, "_softmax"))
        else:
            self.add(g.Activation, name or self.name(entry), activation=function(kind))


def function(name: Any) -> g.Fn:
    """An activation by name, with alpha and beta in parentheses if they're not the usual ones."""
    match = re.fullmatch(r"hard_sigmoid\(\s*([-+.\de]+)\s*,\s*([-+.\de]+)\s*\)", str(name))
    if match:
        try:
            alpha, beta = float(match[1]), float(match[2])
        except ValueError:
            alpha = beta = math.nan
        if not math.isfinite(alpha) or not math.isfinite(beta):
            raise ConversionError(f"architecture: activation '{name}' has a bad number")
        return g.Fn("hard_sigmoid", alpha, beta)
    if name not in w.ACTIVATIONS:
        known = ", ".join(w.ACTIVATIONS)
        raise ConversionError(f"architecture: activation '{name}' is not supported; known: {known}")
    return w.ACTIVATIONS[name]


def _lstm(b: _Builder, entry: dict[str, Any]) -> None:
    prefix = b.prefix(entry, "weight_ih_l0", "weight_ih")
    stacked = w.join(prefix, "weight_ih_l0") in b.tensors
    for option, key in (
        ("bidirectional=True", "weight_ih_l0_reverse"),
        ("proj_size", "weight_hr_l0"),
    ):
        if w.join(prefix, key) in b.tensors:
            raise ConversionError(f"LSTM '{prefix}': {option} is not supported yet")
    suffixes = [""]
    if stacked:
        suffixes = []
        while w.join(prefix, f"weight_ih_l{len(suffixes)}") in b.tensors:
            suffixes.append(f"_l{len(suffixes)}")
    if entry.get("num_layers", len(suffixes)) != len(suffixes):
        raise ConversionError(
            f"LSTM '{prefix}': num_layers = {entry['num_layers']}, "
            f"but the state_dict has {len(suffixes)}"
        )
    candidate = function(entry.get("activation", "tanh"))
    gate = function(entry.get("recurrent_activation", "sigmoid"))
    for i, suffix in enumerate(suffixes):
        last = i + 1 == len(suffixes) and not entry.get("return_sequences", True)
        b.add(
            g.LSTM,
            b.name(entry, suffix if len(suffixes) > 1 else ""),
            take=1 if last else 0,
            gate=gate,
            candidate=candidate,
            output=candidate,
            **dict[str, Any](w.lstm(b.get, prefix, suffix)),
        )


def _dense(b: _Builder, entry: dict[str, Any]) -> None:
    prefix = b.prefix(entry, "weight")
    kind = entry.get("activation", "linear")
    fused = g.LINEAR if kind == "softmax" else function(kind)
    weights = dict[str, Any](w.linear(b.get, prefix))
    b.add(g.Dense, b.name(entry), activation=fused, **weights)
    if kind == "softmax":
        b.activate(entry)


def _activation(b: _Builder, entry: dict[str, Any]) -> None:
    b.activate(entry, b.name(entry))


def _softmax(b: _Builder, entry: dict[str, Any]) -> None:
    b.add(g.Softmax, b.name(entry))


def _last_step(b: _Builder, entry: dict[str, Any]) -> None:
    b.add(g.LastStep, b.name(entry))


def _dropout(b: _Builder, entry: dict[str, Any]) -> None:
    """Does nothing when a model is used."""


# Type in lower case -> (what builds it, the keys it takes besides type and name).
LAYERS: dict[str, tuple[Callable[[_Builder, dict[str, Any]], None], dict[str, type]]] = {
    "lstm": (
        _lstm,
        {
            "weights": str,
            "num_layers": int,
            "activation": str,
            "recurrent_activation": str,
            "return_sequences": bool,
        },
    ),
    "dense": (_dense, {"weights": str, "activation": str}),
    "linear": (_dense, {"weights": str, "activation": str}),
    "activation": (_activation, {"activation": str}),
    "softmax": (_softmax, {}),
    "laststep": (_last_step, {}),
    "dropout": (_dropout, {"rate": float, "p": float}),
}
_MODEL_KEYS = {"input": list, "input_name": str, "output_name": str, "ignore": list}


def _check_keys(where: str, table: Any, known: Mapping[str, type]) -> dict[str, Any]:
    """A table whose keys are all known and whose values have the right types."""
    if not isinstance(table, Mapping):
        raise ConversionError(f"architecture: {where} must be a table")
    unknown = ", ".join(f"'{k}'" for k in table if k not in known)
    if unknown:
        raise ConversionError(
            f"architecture: {where} has unknown keys {unknown}; known: {', '.join(known)}"
        )
    for key, value in table.items():
        if known[key] is not float and type(value) is not known[key]:
            raise ConversionError(
                f"architecture: {where}: '{key}' must be a {known[key].__name__}, not {value!r}"
            )
    return dict(table)


def build(arch: Arch, tensors: Tensors) -> g.Graph:
    """The graph of an architecture with the weights of a state_dict; every key must be used."""
    spec = _check_keys("the description", load(arch), {"model": dict, "layer": list})
    model = _check_keys("[model]", spec.get("model", {}), _MODEL_KEYS)
    axes = tuple(model.get("input", ()))
    if any(type(a) not in (str, int) for a in axes) or any(type(a) is int for a in axes[:-1]):
        raise ConversionError(f"architecture: input = {list(axes)}: the number of features is last")
    if g.BATCH not in axes:
        raise ConversionError(
            'architecture: [model] needs input, the order of axes: input = ["batch", "time", 10]'
        )
    source = g.Value(model.get("input_name", "input"), axes)
    name = model.get("output_name", "output")
    b = _Builder(tensors, source, name)
    entries = spec.get("layer", [])
    for n, entry in enumerate(entries):
        kind = str(entry.get("type", "")) if isinstance(entry, Mapping) else ""
        if kind.lower() not in LAYERS:
            raise ConversionError(
                f"architecture: layer {n} has type '{kind}'; known: {', '.join(LAYERS)}"
            )
        handler, known = LAYERS[kind.lower()]
        handler(b, _check_keys(f"layer {n} ({kind})", entry, {"type": str, "name": str, **known}))
    if not b.layers:
        raise ConversionError("architecture: it has no layers")
    patterns = [str(p) for p in model.get("ignore", [])]
    unused = {
        k: t
        for k, t in tensors.items()
        if k not in b.used and not any(fnmatch.fnmatchcase(k, p) for p in patterns)
    }
    if unused:
        raise ConversionError(
            f"the architecture leaves keys of the state_dict unused: {listing(unused)}; describe "
            "the layers they belong to, or list them as ignore in [model]"
        )
    symbols = [a for a in axes if isinstance(a, str) and (a != g.TIME or b.time)]
    target = g.Value(name, (*symbols, b.features))
    last = b.layers[-1]
    last.outputs = tuple(name if o == b.value else o for o in last.outputs)
    return g.Graph([source], [target], b.layers)


# ----------------------------------------------------------------------------- when it's missing


def listing(tensors: Tensors, limit: int = 12) -> str:
    """Keys with shapes, the first ones, for a message."""
    shown = [
        f"{w.printable(k)} {list(t.shape) if t else '(no tensor)'}"
        for k, t in itertools.islice(tensors.items(), limit)
    ]
    more = len(tensors) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def suggestion(tensors: Tensors) -> str | None:
    """A one-line architecture that would use all keys, if they look like LSTM and Linear only."""
    if len(tensors) > 200:  # each key looks at all others
        return None
    clauses: list[str] = []
    features, rest = 0, dict(tensors)
    for key, tensor in tensors.items():
        if key not in rest or tensor is None or len(tensor.shape) != 2:
            continue
        prefix, _, leaf = key.rpartition(".")
        weights = f" weights={prefix}" if prefix else ""
        if leaf in ("weight_ih_l0", "weight_ih"):
            own = re.compile(re.escape(w.join(prefix, "")) + r"(weight|bias)_[ih]h(_l\d+)?")
            clauses.append(f"lstm{weights}")
            hidden = rest.get(w.join(prefix, leaf.replace("ih", "hh")))
            if hidden is None or hidden.shape[:1] != tuple(4 * n for n in hidden.shape[1:]):
                return None
        elif leaf == "weight":
            own = re.compile(re.escape(w.join(prefix, "")) + "(weight|bias)")
            if clauses and clauses[-1].startswith("lstm"):
                clauses[-1] += " last"
            clauses.append(f"dense{weights}")
        else:
            return None
        features = features or tensor.shape[1]
        rest = {k: t for k, t in rest.items() if not own.fullmatch(k)}
    if rest or not clauses:
        return None
    time = "time " if any(c.startswith("lstm") for c in clauses) else ""
    return "; ".join([f"input batch {time}{features}", *clauses])


def missing(name: str, tensors: Tensors) -> ConversionError:
    """What to say when a state_dict comes without its architecture."""
    line = suggestion(tensors) or "input batch time 10; lstm weights=lstm last; dense weights=fc"
    stem = Path(name).stem
    return ConversionError(
        f"'{name}' is a state_dict: it has weights but no architecture. It holds "
        f'{listing(tensors)}. Say what they belong to: --arch "{line}" (arch=... in Python), or '
        f"--arch FILE.toml, or a file '{stem}.toml' beside it"
    )
