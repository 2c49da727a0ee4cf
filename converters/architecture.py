"""The architecture that a file of weights lacks: what the user writes, and the graph made from it.

As TOML, in a file (``arch="net.toml"``, or a .toml of the same stem beside the weights, found by
itself), as TOML text, or as the dict that TOML gives::

    [model]
    input = ["batch", "time", 10]   # order of axes; the number of features last, or left out for 1
    time = 100                      # optional: steps, where Flatten leaves more than one answer
    input_name = "x"                # optional, "input"; likewise output_name, "output"
    ignore = ["optimizer.*"]        # optional: keys or groups of the file to leave unused (fnmatch)

    [[layer]]
    type = "LSTM"                   # any case; GRU and RNN likewise
    weights = "lstm"                # prefix of its keys: lstm.weight_ih_l0, lstm.bias_ih_l0, ...;
                                    # none for keys without prefix. lstm.weight_ih (LSTMCell) too.
                                    # Of a Keras file, the name of a group
    num_layers = 2                  # optional: checked against the keys _l0, _l1, ...; likewise
    bidirectional = false           # _reverse, and
    proj_size = 0                   # weight_hr_l0
    activation = "tanh"             # optional: of the candidate and of the cell's output
    recurrent_activation = "sigmoid"  # optional: of the gates
    return_sequences = false        # optional, true: false hands on the last step only
    take = "states"                 # optional, instead: "sequence"; "last_step" (output[:, -1]);
                                    # "states" (h_n[-1], of both directions cat(h_n[-2], h_n[-1]))
    initial = ["h", "c"]            # optional: names of values to begin with, and
    final = ["hn", "cn"]            # names for the states after the last step

    [[layer]]
    type = "Dense"                  # or Linear
    weights = "fc"
    activation = "softmax"          # optional
    name = "mask"                   # optional: what other layers and outputs call it

    [[layer]]
    type = "Multiply"               # or Add, Subtract, Divide, Maximum, Minimum, Concat
    inputs = ["lstm", "mask"]       # names of layers and inputs; others read what is before them,
                                    # or ``input``, one name

Instead of input and input_name, ``inputs`` may be a table of several, ``{ x = [axes], ... }``;
``outputs``, instead of output_name, lists the names of the values that are outputs.

Other types, with torch's names and options: Embedding; Conv1d (stride, padding, dilation, groups,
and an activation); BatchNorm1d, LayerNorm, RMSNorm (eps); MaxPool1d, AvgPool1d (kernel_size,
stride, padding, ceil_mode, ...), AdaptiveAvgPool1d, AdaptiveMaxPool1d; ReLU, LeakyReLU
(negative_slope) and the other activations; PReLU; GLU, Softmax, LogSoftmax; Flatten (features of
all steps: the layer behind it says how many there are); Dropout and Identity (do nothing). Besides:
Activation (activation = ...), LastStep; Abs, Exp, Log, Reciprocal, Sqrt, Square; Scale (factor,
offset); Slice (start, stop) of features; Pad (before, after, mode, value); Unflatten (shape =
[positions, channels]), behind which Conv1d, pools and Pad go along the positions of each step, and
Flatten makes features of them again. All of them work on features and time, whatever the order of
axes: there is nothing to transpose for Conv1d.

Activations: those of :data:`weights.ACTIVATIONS`, with other parameters in parentheses, as in
``hard_sigmoid(0.2, 0.5)`` (PyTorch's slope is 1/6) and ``leaky_relu(0.3)``; and softmax where a
layer ends with it. An Embedding's input has no features: input = ["batch", "time"].

As one line, for the command line: clauses parted by ``;``, each a type and ``key=value`` words, the
keys being those above::

    line   = "input" axis... [ "name=" NAME ] [ "time=" NUMBER ] { ";" clause }
    axis   = "batch" | "time" | NUMBER
    clause = TYPE { KEY "=" VALUE { "," VALUE } | "last" }  ("last" is return_sequences=false)
           | "input" as above, with a name, for several
           | "output" "name=" NAME | "output" NAME...   (the latter are outputs)
           | "ignore" PATTERN...

    input batch time 10; lstm weights=lstm last; dense weights=fc activation=softmax
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lstmc import graph as g
from lstmc.errors import ConversionError
from lstmc.graph import BATCH, TIME

from . import weights as w
from .architecture_build import Builder, Tensors, positioned
from .architecture_joins import Keys
from .architecture_layers import LAYERS, TIMED
from .architecture_text import Arch, load
from .keras_groups import Groups
from .torch_finish import Example, finish
from .torch_values import Context, Sym, input_value

_MODEL_KEYS: Keys = {
    "input": list,
    "inputs": dict,
    "outputs": list,
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


def build(arch: Arch, tensors: Tensors, groups: Groups | None = None) -> Result:
    """Inputs, outputs by name and layers of an architecture with the weights of a file: those of a
    state_dict, or groups of Keras. All of them must be used."""
    spec = _check_keys("the description", load(arch), {"model": dict, "layer": list})
    model = _check_keys("[model]", spec.get("model", {}), _MODEL_KEYS)
    for key in ("ignore", "outputs"):
        _check_names(f"[model]: '{key}'", model.get(key, []))
    sources = _inputs(model)
    first = input_value(sources[0].name)
    b = Builder(tensors, Context(first=first, lenient=True), groups)
    for v in sources:
        inside = (BATCH, TIME) if TIME in v.axes else (BATCH,)
        x = Sym(input_value(v.name), (*inside, v.spec.features), kind=f"?{v.name}")
        b.define(v.name, x)
    b.x = b.values[sources[0].name]
    unread = _layers(b, spec.get("layer", []))
    results = _outputs(b, model, sources)
    unread -= {value for value, _ in results.values()}
    if unread:
        name = min(unread).strip("<>")
        raise ConversionError(
            f"architecture: nothing reads '{w.printable(name)}'; name it in outputs of [model], or "
            "leave it out"
        )
    unused = b.unused([str(p) for p in model.get("ignore", [])])
    if unused:
        what = "keys of the state_dict" if groups is None else "groups of the file"
        raise ConversionError(
            f"the architecture leaves {what} unused: {unused}; describe "
            "the layers they belong to, or list them as ignore in [model]"
        )
    values, steps = [], {}
    for v in sources:
        dtype = "int64" if b.ctx.kinds.get(v.name) == "int" else "float32"
        values.append(dataclasses.replace(v, name=input_value(v.name), dtype=dtype))
        if "time" in model and TIME in v.axes:
            steps[input_value(v.name)] = model["time"]
    inputs = finish(b.ctx, values, Example(steps, "say how many in [model]: time = 100"))
    inputs = [dataclasses.replace(v, name=s.name) for v, s in zip(inputs, sources, strict=True)]
    return inputs, results, b.ctx.layers


def _inputs(model: dict[str, Any]) -> list[g.Value]:
    """The inputs of the model, by their names."""
    named = model.get("inputs", {})
    if "inputs" in model and ("input" in model or "input_name" in model or not named):
        raise ConversionError(
            "architecture: [model] takes input, or inputs, a table of several: "
            '{ x = ["batch", "time", 10], h = ["batch", 4] }'
        )
    if not named:
        named = {model.get("input_name", "input"): model.get("input", ())}
    out = []
    for name, axes in named.items():
        if not isinstance(axes, (list, tuple)) or any(type(a) not in (str, int) for a in axes):
            raise ConversionError(f"architecture: input '{name}' must be a list of axes")
        if any(type(a) is int for a in axes[:-1]):
            raise ConversionError(
                f"architecture: input = {list(axes)}: the number of features is last"
            )
        if g.BATCH not in axes:
            raise ConversionError(
                'architecture: [model] needs input, the order of axes: input = ["batch", "time", '
                "10]"
            )
        out.append(g.Value(name, tuple(axes)))
    if model.get("time", 1) < 1:
        raise ConversionError(f"architecture: time = {model['time']}, expected at least 1")
    return out


def _layers(b: Builder, entries: list[Any]) -> set[str]:
    """All layers, in their order. The values that no layer has read."""
    unread = {x.value for x in b.values.values()}
    for n, entry in enumerate(entries):
        kind = str(entry.get("type", "")) if isinstance(entry, Mapping) else ""
        if kind.lower() not in LAYERS:
            raise ConversionError(
                f"architecture: layer {n} has type '{kind}'; known: {', '.join(LAYERS)}"
            )
        handler, known = LAYERS[kind.lower()]
        known = {"type": str, "name": str, **known, **({} if "inputs" in known else {"input": str})}
        entry = _check_keys(f"layer {n} ({kind})", entry, known)
        for key in ("inputs", "initial", "final"):
            _check_names(f"layer {n} ({kind}): '{key}'", entry.get(key, []))
        b.ctx.where = f"architecture, layer {n} ({kind})"
        b.ctx.path = str(entry.get("name") or entry.get("weights") or kind.lower())
        if "input" in entry:
            b.x = b.value(entry["input"])
        read = [b.value(v) for v in (*entry.get("inputs", ()), *entry.get("initial", ()))]
        unread -= {x.value for x in (read if "inputs" in known else [b.x, *read])}
        stepless = TIME not in b.x.axes and not positioned(b.x) and "initial" not in entry
        if kind.lower() in TIMED and stepless:
            b.ctx.refuse("its input has no time axis")
        handler(b, entry)
        unread.add(b.x.value)
        if "name" in entry:
            b.define(entry["name"], b.x)
    if not b.ctx.layers:
        raise ConversionError("architecture: it has no layers")
    return unread


def _outputs(
    b: Builder, model: dict[str, Any], sources: list[g.Value]
) -> dict[str, tuple[str, tuple[g.Axis, ...]]]:
    """The values that are outputs, batch and time in the order that the inputs have them in."""
    b.ctx.where = "architecture, [model]: outputs"
    if "outputs" in model and ("output_name" in model or not model["outputs"]):
        b.ctx.refuse("takes the names of values, and no output_name beside it")
    named = {str(n): b.value(n) for n in model["outputs"]} if "outputs" in model else {}
    named = named or {model.get("output_name", "output"): b.x}
    order = next((v.axes for v in sources if TIME in v.axes), sources[0].axes)
    results: dict[str, tuple[str, tuple[g.Axis, ...]]] = {}
    for name, x in named.items():
        x = b.ctx.any(x)
        if not all(isinstance(a, (int, str)) for a in x.axes):
            raise ConversionError("architecture: no layer tells how many steps Flatten takes")
        symbols = [a for a in order if isinstance(a, str) and a in x.axes]
        results[name] = (x.value, (*symbols, *(a for a in x.axes if isinstance(a, int))))
    return results


def _check_names(where: str, names: list[Any]) -> None:
    if not all(isinstance(n, str) for n in names):
        raise ConversionError(f"architecture: {where} must hold names, not {names!r}"[:300])
