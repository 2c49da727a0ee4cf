"""The architecture that a state_dict lacks: what the user writes, and the graph made from it.

As TOML, in a file (``arch="net.toml"``, or a .toml of the same stem beside the weights, found by
itself), as TOML text, or as the dict that TOML gives::

    [model]
    input = ["batch", "time", 10]   # order of axes; the number of features last, or left out for 1
    time = 100                      # optional: steps, where Flatten leaves more than one answer
    input_name = "x"                # optional, "input"; likewise output_name, "output"
    ignore = ["optimizer.*"]        # optional: keys of the state_dict to leave unused (fnmatch)

    [[layer]]
    type = "LSTM"                   # any case; GRU and RNN likewise
    weights = "lstm"                # prefix of its keys: lstm.weight_ih_l0, lstm.bias_ih_l0, ...;
                                    # none for keys without prefix. lstm.weight_ih (LSTMCell) too
    num_layers = 2                  # optional: checked against the keys _l0, _l1, ...; likewise
    bidirectional = false           # _reverse, and
    proj_size = 0                   # weight_hr_l0
    activation = "tanh"             # optional: of the candidate and of the cell's output
    recurrent_activation = "sigmoid"  # optional: of the gates
    return_sequences = false        # optional, true: false hands on the last step only
    take = "states"                 # optional, instead: "sequence"; "last_step" (output[:, -1]);
                                    # "states" (h_n[-1], of both directions cat(h_n[-2], h_n[-1]))

    [[layer]]
    type = "Dense"                  # or Linear
    weights = "fc"
    activation = "softmax"          # optional

Other types, with torch's names and options: Embedding; Conv1d (stride, padding, dilation, groups,
and an activation); BatchNorm1d, LayerNorm, RMSNorm (eps); MaxPool1d, AvgPool1d (kernel_size,
stride, padding, ceil_mode, ...), AdaptiveAvgPool1d, AdaptiveMaxPool1d; ReLU, LeakyReLU
(negative_slope) and the other activations; PReLU; GLU, Softmax, LogSoftmax; Flatten (features of
all steps: the layer behind it says how many there are); Dropout and Identity (do nothing).
Besides: Activation (activation = ...), LastStep. All of them work on features and time, whatever
the order of axes: there is nothing to transpose for Conv1d. Every layer may have a ``name``.

Activations: those of :data:`weights.ACTIVATIONS`, with other parameters in parentheses, as in
``hard_sigmoid(0.2, 0.5)`` (PyTorch's slope is 1/6) and ``leaky_relu(0.3)``; and softmax where a
layer ends with it. An Embedding's input has no features: input = ["batch", "time"].

As one line, for the command line: clauses parted by ``;``, each a type and ``key=value`` words, the
keys being those above::

    line   = "input" axis... [ "name=" NAME ] [ "time=" NUMBER ] { ";" clause }
    axis   = "batch" | "time" | NUMBER
    clause = TYPE { KEY "=" VALUE | "last" }      ("last" is return_sequences=false)
           | "output" "name=" NAME
           | "ignore" PATTERN...

    input batch time 10; lstm weights=lstm last; dense weights=fc activation=softmax
"""

from __future__ import annotations

import dataclasses
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
from lstmc.graph import BATCH, TIME

from . import torch_shapes as shapes
from . import weights as w
from .architecture_text import Arch, load
from .torch_finish import Example, finish
from .torch_modules import MODULES
from .torch_values import Context, Sym, input_value

Tensors = Mapping[str, w.StoredTensor | None]


# --------------------------------------------------------------------------------- building it


class Described:
    """What an entry says about a module: its options, and its weights by the names of attributes.

    The handlers of :mod:`torch_modules` take it for the torch module itself.
    """

    def __init__(self, b: _Builder, prefix: str, **options: Any) -> None:
        self.__dict__.update(options)
        self.state_key: str = prefix
        self._builder = b

    def __getattr__(self, leaf: str) -> np.ndarray | None:
        if leaf.startswith("_") or leaf in ("functions", "cell_keys"):
            raise AttributeError(leaf)
        return self._builder.get(w.join(self.state_key, leaf))


class _Builder:
    """Adds layers one after the other; remembers which keys of the state_dict were used."""

    def __init__(self, tensors: Tensors, ctx: Context, x: Sym) -> None:
        self.tensors, self.used = tensors, set[str]()
        self.ctx, self.x = ctx, x  # what the layer before gives, [batch, (time,) features]

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
        if not any(self.tensors.get(w.join(prefix, k)) is not None for k in keys):
            raise ConversionError(
                f"architecture, layer {entry['type']}: the state_dict has no tensor "
                f"'{w.join(prefix, keys[0])}'; it holds {listing(self.tensors)}"
            )
        return prefix

    def handle(self, module: str, m: Described, channels_first: bool = False) -> None:
        """One of torch's modules on what the layer before gives."""
        x = self.x
        turned = channels_first and TIME in x.axes
        if turned:
            x = shapes.transpose(self.ctx, x, 1, 2)
        y = MODULES[module](self.ctx, m, x)
        y = y[0] if isinstance(y, tuple) else y
        if turned:
            y = shapes.transpose(self.ctx, y, 1, 2)
        if len(y.axes) == 3 and TIME not in y.axes:
            y = shapes.squeeze(self.ctx, y, 1)  # what is left of time
        self.x = y


def function(name: Any) -> g.Fn:
    """An activation by name, with alpha and beta in parentheses if they're not the usual ones."""
    match = re.fullmatch(r"(\w+)\(\s*([-+.\de]+)\s*(?:,\s*([-+.\de]+)\s*)?\)", str(name))
    kind, *numbers = match.groups() if match else (name,)
    if kind not in w.ACTIVATIONS:
        known = ", ".join(w.ACTIVATIONS)
        raise ConversionError(f"architecture: activation '{name}' is not supported; known: {known}")
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


def _activate(b: _Builder, entry: dict[str, Any]) -> None:
    """The activation that an entry ends with."""
    kind = entry.get("activation", "linear")
    if kind == "softmax":
        b.ctx.path += "_softmax" if "weights" in entry else ""
        b.handle("Softmax", Described(b, "", dim=-1))
    elif kind != "linear" or entry["type"].lower() == "activation":
        b.x = b.ctx.add(g.Activation, b.x, b.x.axes, activation=function(kind))


def _recurrent(b: _Builder, entry: dict[str, Any]) -> None:
    kind = entry["type"].upper()
    gates = w.GATE_COUNTS[kind]
    prefix = b.prefix(entry, "weight_ih_l0", "weight_ih")
    cell = w.join(prefix, "weight_ih_l0") not in b.tensors
    first = "weight_ih" if cell else "weight_ih_l0"
    found = {
        "num_layers": 1,
        "bidirectional": w.join(prefix, "weight_ih_l0_reverse") in b.tensors,
        "proj_size": (b.shape(w.join(prefix, "weight_hr_l0")) or (0,))[0],
    }
    while w.join(prefix, f"weight_ih_l{found['num_layers']}") in b.tensors:
        found["num_layers"] += 1
    for key, value in found.items():
        if entry.get(key, value) != value:
            raise ConversionError(
                f"{kind} '{prefix}': {key} = {entry[key]}, but the state_dict has {value}"
            )
    shape = b.shape(w.join(prefix, first))
    if len(shape) != 2 or not shape[0] or shape[0] % gates:
        raise ConversionError(
            f"{kind} '{prefix}': '{w.join(prefix, first)}' has shape {list(shape)}, expected "
            f"[{gates} * hidden_size, input_size]"
        )
    if found["proj_size"] and kind != "LSTM":
        raise ConversionError(f"{kind} '{prefix}': proj_size is for an LSTM only")
    activation = function(entry.get("activation", "tanh"))
    gate = function(entry.get("recurrent_activation", "sigmoid"))
    functions: dict[str, g.Fn] = {"activation": activation}
    if kind != "RNN":
        functions = {"gate": gate, "candidate": activation}
        functions |= {"output": activation} if kind == "LSTM" else {}
    m = Described(
        b, prefix, **found, cell_keys=cell, functions=functions, batch_first=True,
        input_size=shape[1], hidden_size=shape[0] // gates,
    )  # fmt: skip
    take = entry.get("take")
    if take not in (None, "sequence", "last_step", "states"):
        raise ConversionError(
            f"{kind} '{prefix}': take = '{take}'; known: sequence, last_step, states"
        )
    if take is None and not entry.get("return_sequences", True):
        if found["bidirectional"]:
            raise ConversionError(
                f"{kind} '{prefix}': it is bidirectional, so say which last step: take = "
                "'last_step' is output[:, -1], 'states' is torch.cat([h_n[-2], h_n[-1]], 1)"
            )
        take = "last_step"
    base = b.ctx.path
    sequence, states = MODULES[kind](b.ctx, m, b.x)
    b.ctx.path = f"{base}_last"
    b.x = sequence
    if take == "last_step":
        b.x = shapes.getitem(b.ctx, sequence, (slice(None), -1))
    elif take == "states":
        h_n = states[0] if isinstance(states, tuple) else states
        ends = (-2, -1) if found["bidirectional"] else (-1,)
        b.x = shapes.cat(b.ctx, tuple(shapes.getitem(b.ctx, h_n, k) for k in ends), -1)


def _dense(b: _Builder, entry: dict[str, Any]) -> None:
    b.handle("Linear", Described(b, b.prefix(entry, "weight")))
    _activate(b, entry)


def _embedding(b: _Builder, entry: dict[str, Any]) -> None:
    b.handle("Embedding", Described(b, b.prefix(entry, "weight"), max_norm=None))
    b.x = shapes.flatten(b.ctx, b.x, len(b.x.axes) - 2, -1)


def _norm(module: str) -> Handler:
    def handler(b: _Builder, entry: dict[str, Any]) -> None:
        prefix = b.prefix(entry, "running_mean" if module == "BatchNorm1d" else "weight")
        eps = entry.get("eps", None if module == "RMSNorm" else 1e-5)
        shape = b.shape(w.join(prefix, "weight"))
        b.used.add(w.join(prefix, "num_batches_tracked"))
        m = Described(b, prefix, eps=eps, normalized_shape=shape)
        b.handle(module, m, channels_first=module == "BatchNorm1d")

    return handler


def _conv1d(b: _Builder, entry: dict[str, Any]) -> None:
    usual = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    options = {k: entry.get(k, v) for k, v in usual.items()}
    if isinstance(options["padding"], str) and options["padding"] not in ("same", "valid"):
        raise ConversionError(f"architecture: padding = '{options['padding']}'; known: same, valid")
    m = Described(b, b.prefix(entry, "weight"), padding_mode="zeros", **options)
    b.handle("Conv1d", m, channels_first=True)
    _activate(b, entry)


def _plain(module: str, channels_first: bool = False, **usual: Any) -> Handler:
    """A module without weights; an option whose usual value is ... must be given."""

    def handler(b: _Builder, entry: dict[str, Any]) -> None:
        missing = [k for k, v in usual.items() if v is ... and k not in entry]
        if missing:
            raise ConversionError(f"architecture, layer {entry['type']}: {missing[0]} is missing")
        options = {k: entry.get(k, v) for k, v in usual.items()}
        b.handle(module, Described(b, "", **options), channels_first=channels_first)

    return handler


def _prelu(b: _Builder, entry: dict[str, Any]) -> None:
    b.handle("PReLU", Described(b, b.prefix(entry, "weight")), channels_first=True)


def _last_step(b: _Builder, entry: dict[str, Any]) -> None:
    b.x = shapes.getitem(b.ctx, b.x, (slice(None), -1))


def _flatten(b: _Builder, entry: dict[str, Any]) -> None:
    b.x = shapes.flatten(b.ctx, b.x, 1, -1)


def _nothing(b: _Builder, entry: dict[str, Any]) -> None:
    """Does nothing when a model is used."""


Handler = Callable[[_Builder, dict[str, Any]], None]
Keys = dict[str, Any]
_NUMBER = (int, float)
_RECURRENT: Keys = {
    "weights": str, "num_layers": int, "bidirectional": bool, "proj_size": int, "activation": str,
    "recurrent_activation": str, "return_sequences": bool, "take": str,
}  # fmt: skip
_DENSE: Keys = {"weights": str, "activation": str}
_POOL: Keys = {"kernel_size": int, "stride": int, "padding": int, "ceil_mode": bool}

# Type in lower case -> (what builds it, the keys it takes besides type and name).
LAYERS: dict[str, tuple[Handler, Keys]] = {
    "lstm": (_recurrent, _RECURRENT),
    "gru": (_recurrent, _RECURRENT),
    "rnn": (_recurrent, {k: v for k, v in _RECURRENT.items() if k != "recurrent_activation"}),
    "dense": (_dense, _DENSE),
    "linear": (_dense, _DENSE),
    "embedding": (_embedding, {"weights": str}),
    "conv1d": (
        _conv1d,
        {**_DENSE, "stride": int, "padding": (int, str), "dilation": int, "groups": int},
    ),
    "batchnorm1d": (_norm("BatchNorm1d"), {"weights": str, "eps": _NUMBER}),
    "layernorm": (_norm("LayerNorm"), {"weights": str, "eps": _NUMBER}),
    "rmsnorm": (_norm("RMSNorm"), {"weights": str, "eps": _NUMBER}),
    "prelu": (_prelu, {"weights": str}),
    "maxpool1d": (
        _plain("MaxPool1d", True, kernel_size=..., stride=None, padding=0, dilation=1,
               ceil_mode=False, return_indices=False),
        {**_POOL, "dilation": int},
    ),
    "avgpool1d": (
        _plain("AvgPool1d", True, kernel_size=..., stride=None, padding=0, ceil_mode=False,
               count_include_pad=True),
        {**_POOL, "count_include_pad": bool},
    ),
    "adaptiveavgpool1d": (_plain("AdaptiveAvgPool1d", True, output_size=1), {"output_size": int}),
    "adaptivemaxpool1d": (
        _plain("AdaptiveMaxPool1d", True, output_size=1, return_indices=False),
        {"output_size": int},
    ),
    "activation": (_activate, {"activation": str}),
    "relu": (_plain("ReLU"), {}),
    "sigmoid": (_plain("Sigmoid"), {}),
    "tanh": (_plain("Tanh"), {}),
    "leakyrelu": (_plain("LeakyReLU", negative_slope=0.01), {"negative_slope": _NUMBER}),
    "elu": (_plain("ELU", alpha=1.0), {"alpha": _NUMBER}),
    "celu": (_plain("CELU", alpha=1.0), {"alpha": _NUMBER}),
    "hardtanh": (
        _plain("Hardtanh", min_val=-1.0, max_val=1.0), {"min_val": _NUMBER, "max_val": _NUMBER}
    ),
    "softplus": (
        _plain("Softplus", beta=1.0, threshold=20.0), {"beta": _NUMBER, "threshold": _NUMBER}
    ),
    "softshrink": (_plain("Softshrink", lambd=0.5), {"lambd": _NUMBER}),
    "hardshrink": (_plain("Hardshrink", lambd=0.5), {"lambd": _NUMBER}),
    "gelu": (_plain("GELU", approximate="none"), {"approximate": str}),
    **{
        name.lower(): (_plain(name), {})
        for name in ("ReLU6", "Hardsigmoid", "Hardswish", "SELU", "SiLU", "Mish", "Softsign",
                     "LogSigmoid", "Tanhshrink")
    },
    "glu": (_plain("GLU", dim=-1), {}),
    "softmax": (_plain("Softmax", dim=-1), {}),
    "logsoftmax": (_plain("LogSoftmax", dim=-1), {}),
    "laststep": (_last_step, {}),
    "flatten": (_flatten, {}),
    "dropout": (_nothing, {"rate": _NUMBER, "p": _NUMBER}),
    "identity": (_nothing, {}),
}  # fmt: skip
_TIMED = {
    "lstm", "gru", "rnn", "conv1d", "maxpool1d", "avgpool1d", "adaptiveavgpool1d",
    "adaptivemaxpool1d", "laststep", "flatten",
}  # fmt: skip
_MODEL_KEYS: Keys = {
    "input": list,
    "time": int,
    "input_name": str,
    "output_name": str,
    "ignore": list,
}


def _check_keys(where: str, table: Any, known: Keys) -> dict[str, Any]:
    """A table whose keys are all known and whose values have the right types."""
    if not isinstance(table, Mapping):
        raise ConversionError(f"architecture: {where} must be a table")
    unknown = ", ".join(f"'{k}'" for k in table if k not in known)
    if unknown:
        raise ConversionError(
            f"architecture: {where} has unknown keys {unknown}; known: {', '.join(known)}"
        )
    for key, value in table.items():
        types = known[key] if isinstance(known[key], tuple) else (known[key],)
        if type(value) not in types:
            names = " or ".join(t.__name__ for t in types)
            raise ConversionError(
                f"architecture: {where}: '{key}' must be a {names}, not {value!r}"
            )
    return dict(table)


Result = tuple[list[g.Value], dict[str, tuple[str, tuple[g.Axis, ...]]], list[g.Layer]]


def build(arch: Arch, tensors: Tensors) -> Result:
    """Inputs, output by name and layers of an architecture with the weights of a state_dict;
    every key must be used."""
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
    value = input_value(source.name)
    inside = (BATCH, TIME) if TIME in axes else (BATCH,)
    x = Sym(value, (*inside, source.spec.features), kind=f"?{source.name}")
    b = _Builder(tensors, Context(first=value), x)
    for n, entry in enumerate(spec.get("layer", [])):
        kind = str(entry.get("type", "")) if isinstance(entry, Mapping) else ""
        if kind.lower() not in LAYERS:
            raise ConversionError(
                f"architecture: layer {n} has type '{kind}'; known: {', '.join(LAYERS)}"
            )
        handler, known = LAYERS[kind.lower()]
        entry = _check_keys(f"layer {n} ({kind})", entry, {"type": str, "name": str, **known})
        b.ctx.where = f"architecture, layer {n} ({kind})"
        b.ctx.path = str(entry.get("name") or entry.get("weights") or kind.lower())
        if kind.lower() in _TIMED and TIME not in b.x.axes:
            b.ctx.refuse("its input has no time axis")
        handler(b, entry)
    if not b.ctx.layers:
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
    dtype = "int64" if b.ctx.kinds.get(source.name) == "int" else "float32"
    steps = {value: model["time"]} if "time" in model else {}
    advice = "say how many in [model]: time = 100"
    result = b.ctx.any(b.x)
    if not all(isinstance(a, (int, str)) for a in result.axes):
        raise ConversionError("architecture: no layer tells how many steps Flatten takes")
    inputs = finish(b.ctx, [g.Value(value, axes, dtype)], Example(steps, advice))
    symbols = [a for a in axes if isinstance(a, str) and a in result.axes]
    results = {model.get("output_name", "output"): (result.value, (*symbols, result.axes[-1]))}
    return [dataclasses.replace(inputs[0], name=source.name)], results, b.ctx.layers


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
    """A one-line architecture that would use all keys, if they look like recurrent and Linear
    layers only."""
    if len(tensors) > 200:  # each key looks at all others
        return None
    clauses: list[str] = []
    features, rest, both = 0, dict(tensors), False
    for key, tensor in tensors.items():
        if key not in rest or tensor is None or len(tensor.shape) != 2:
            continue
        prefix, _, leaf = key.rpartition(".")
        weights = f" weights={prefix}" if prefix else ""
        if leaf in ("weight_ih_l0", "weight_ih"):
            own = re.compile(
                re.escape(w.join(prefix, ""))
                + r"((weight|bias)_[ih]h|weight_hr)(_l\d+)?(_reverse)?"
            )
            kind = _cell(rest, w.join(prefix, leaf))
            if kind is None:
                return None
            clauses.append(f"{kind}{weights}")
            both = w.join(prefix, "weight_ih_l0_reverse") in rest
        elif leaf == "weight":
            own = re.compile(re.escape(w.join(prefix, "")) + "(weight|bias)")
            if clauses and not clauses[-1].startswith("dense"):
                clauses[-1] += " take=states" if both else " last"
            clauses.append(f"dense{weights}")
        else:
            return None
        features = features or tensor.shape[1]
        rest = {k: t for k, t in rest.items() if not own.fullmatch(k)}
    if rest or not clauses:
        return None
    time = "time " if any(not c.startswith("dense") for c in clauses) else ""
    return "; ".join([f"input batch {time}{features}", *clauses])


def _cell(tensors: Mapping[str, Any], key: str) -> str | None:
    """Which cell an input weight is of: as many gates as its recurrent weight has."""
    first, recurrent = tensors[key], tensors.get(key.replace("_ih", "_hh"))
    projection = tensors.get(key.replace("_ih", "_hr"))
    if recurrent is None or len(recurrent.shape) != 2 or not all(recurrent.shape):
        return None
    if recurrent.shape[0] != first.shape[0]:
        return None
    hidden = recurrent.shape[1] if projection is None else projection.shape[-1]
    for kind, gates in w.GATE_COUNTS.items():
        if recurrent.shape[0] == gates * hidden:
            return kind.lower()
    return None


def missing(name: str, tensors: Tensors) -> ConversionError:
    """What to say when a state_dict comes without its architecture."""
    line = suggestion(tensors) or "input batch time 10; lstm weights=lstm last; dense weights=fc"
    stem = Path(name).stem
    return ConversionError(
        f"'{name}' is a state_dict: it has weights but no architecture. It holds "
        f'{listing(tensors)}. Say what they belong to: --arch "{line}" (arch=... in Python), or '
        f"--arch FILE.toml, or a file '{stem}.toml' beside it"
    )
