"""The types of layers an architecture may have: :data:`LAYERS`, one line each.

The handlers are those of the modules of torch (:mod:`torch_modules`), which get an object with the
attributes that the torch module would have.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.errors import ConversionError
from lstmc.graph import TIME

from . import torch_reshape as reshape
from . import torch_shapes as shapes
from . import weights as w
from .torch_modules import MODULES
from .torch_values import Context, Sym

Tensors = Mapping[str, w.StoredTensor | None]


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
        if turned and TIME not in y.axes:
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


def _activate(b: Builder, entry: dict[str, Any]) -> None:
    """The activation that an entry ends with."""
    kind = entry.get("activation", "linear")
    if kind == "softmax":
        b.ctx.path += "_softmax" if "weights" in entry else ""
        b.handle("Softmax", Described(b, "", dim=-1))
    elif kind != "linear" or entry["type"].lower() == "activation":
        b.x = b.ctx.add(g.Activation, b.x, b.x.axes, activation=function(kind))


def _recurrent(b: Builder, entry: dict[str, Any]) -> None:
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
        b.x = reshape.cat(b.ctx, tuple(shapes.getitem(b.ctx, h_n, k) for k in ends), -1)


def _dense(b: Builder, entry: dict[str, Any]) -> None:
    b.handle("Linear", Described(b, b.prefix(entry, "weight")))
    _activate(b, entry)


def _embedding(b: Builder, entry: dict[str, Any]) -> None:
    b.handle("Embedding", Described(b, b.prefix(entry, "weight"), max_norm=None))
    b.x = reshape.flatten(b.ctx, b.x, len(b.x.axes) - 2, -1)


def _norm(module: str) -> Handler:
    def handler(b: Builder, entry: dict[str, Any]) -> None:
        prefix = b.prefix(entry, "running_mean" if module == "BatchNorm1d" else "weight")
        eps = entry.get("eps", None if module == "RMSNorm" else 1e-5)
        shape = b.shape(w.join(prefix, "weight"))
        b.used.add(w.join(prefix, "num_batches_tracked"))
        m = Described(b, prefix, eps=eps, normalized_shape=shape)
        b.handle(module, m, channels_first=module == "BatchNorm1d")

    return handler


def _conv1d(b: Builder, entry: dict[str, Any]) -> None:
    usual = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    options = {k: entry.get(k, v) for k, v in usual.items()}
    if isinstance(options["padding"], str) and options["padding"] not in ("same", "valid"):
        raise ConversionError(f"architecture: padding = '{options['padding']}'; known: same, valid")
    m = Described(b, b.prefix(entry, "weight"), padding_mode="zeros", **options)
    b.handle("Conv1d", m, channels_first=True)
    _activate(b, entry)


def _plain(module: str, channels_first: bool = False, **usual: Any) -> Handler:
    """A module without weights; an option whose usual value is ... must be given."""

    def handler(b: Builder, entry: dict[str, Any]) -> None:
        missing = [k for k, v in usual.items() if v is ... and k not in entry]
        if missing:
            raise ConversionError(f"architecture, layer {entry['type']}: {missing[0]} is missing")
        options = {k: entry.get(k, v) for k, v in usual.items()}
        b.handle(module, Described(b, "", **options), channels_first=channels_first)

    return handler


def _prelu(b: Builder, entry: dict[str, Any]) -> None:
    b.handle("PReLU", Described(b, b.prefix(entry, "weight")), channels_first=True)


def _last_step(b: Builder, entry: dict[str, Any]) -> None:
    b.x = shapes.getitem(b.ctx, b.x, (slice(None), -1))


def _flatten(b: Builder, entry: dict[str, Any]) -> None:
    b.x = reshape.flatten(b.ctx, b.x, 1, -1)


def _nothing(b: Builder, entry: dict[str, Any]) -> None:
    """Does nothing when a model is used."""


Handler = Callable[[Builder, dict[str, Any]], None]
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
#: Those that need a time axis.
TIMED = {
    "lstm", "gru", "rnn", "conv1d", "maxpool1d", "avgpool1d", "adaptiveavgpool1d",
    "adaptivemaxpool1d", "laststep", "flatten",
}  # fmt: skip
