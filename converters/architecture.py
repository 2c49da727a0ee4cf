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
all steps: the layer behind it says how many there are); Dropout and Identity (do nothing). Besides:
Activation (activation = ...), LastStep. All of them work on features and time, whatever the order
of axes: there is nothing to transpose for Conv1d. Every layer may have a ``name``.

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
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lstmc import graph as g
from lstmc.errors import ConversionError
from lstmc.graph import BATCH, TIME

from . import weights as w
from .architecture_layers import LAYERS, TIMED, Builder, Keys, Tensors, listing
from .architecture_text import Arch, load
from .torch_finish import Example, finish
from .torch_values import Context, Sym, input_value

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
    if model.get("time", 1) < 1:
        raise ConversionError(f"architecture: time = {model['time']}, expected at least 1")
    source = g.Value(model.get("input_name", "input"), axes)
    value = input_value(source.name)
    inside = (BATCH, TIME) if TIME in axes else (BATCH,)
    x = Sym(value, (*inside, source.spec.features), kind=f"?{source.name}")
    b = Builder(tensors, Context(first=value), x)
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
        if kind.lower() in TIMED and TIME not in b.x.axes:
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
