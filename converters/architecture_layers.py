"""The types of layers an architecture may have: :data:`LAYERS`, one line each.

The handlers are those of the modules of torch (:mod:`torch_modules`), which get an object with the
attributes that the torch module would have.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.errors import ConversionError
from lstmc.graph import TIME

from . import architecture_positions as along
from . import torch_reshape as reshape
from . import torch_shapes as shapes
from . import weights as w
from .architecture_build import Builder, Described, function, positioned
from .architecture_joins import JOINS, MOVES, Handler, Keys
from .torch_modules import MODULES, needed, weight


def _activate(b: Builder, entry: dict[str, Any]) -> None:
    """The activation that an entry ends with."""
    kind = entry.get("activation", "linear")
    if kind == "softmax":
        b.ctx.path += "_softmax" if "weights" in entry else ""
        b.handle("Softmax", Described(b, "", dim=-1))
    elif kind != "linear" or entry["type"].lower() == "activation":
        b.x = b.ctx.add(g.Activation, b.x, b.x.axes, activation=function(kind, b.keras))


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
                f"{kind} '{prefix}': {key} = {entry[key]}, but {b.source} has {value}"
            )
    shape = b.shape(w.join(prefix, first))
    if len(shape) != 2 or not shape[0] or shape[0] % gates:
        raise ConversionError(
            f"{kind} '{prefix}': '{w.join(prefix, first)}' has shape {list(shape)}, expected "
            f"[{gates} * hidden_size, input_size]"
        )
    if found["proj_size"] and kind != "LSTM":
        raise ConversionError(f"{kind} '{prefix}': proj_size is for an LSTM only")
    activation = function(entry.get("activation", "tanh"), b.keras)
    gate = function(entry.get("recurrent_activation", "sigmoid"), b.keras)
    functions: dict[str, Any] = {"activation": activation}
    if kind != "RNN":
        functions = {"gate": gate, "candidate": activation}
        functions |= {"output": activation} if kind == "LSTM" else {}
    if kind == "GRU":
        functions |= _reset_after(b, prefix, entry)
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
    x, one_step = b.x, TIME not in b.x.axes and not positioned(b.x)
    if one_step:
        x = shapes.unsqueeze(b.ctx, x, 1)
    sequence, states = MODULES[kind](b.ctx, m, x, _initial(b, kind, m, entry))
    if one_step:
        sequence = shapes.squeeze(b.ctx, sequence, 1)
    _final(b, kind, m, entry, states)
    b.ctx.path = f"{base}_last"
    b.x = sequence
    if take == "last_step":
        b.x = shapes.getitem(b.ctx, sequence, (slice(None), -1))
    elif take == "states":
        h_n = states[0] if isinstance(states, tuple) else states
        ends = (-2, -1) if found["bidirectional"] else (-1,)
        b.x = reshape.cat(b.ctx, tuple(shapes.getitem(b.ctx, h_n, k) for k in ends), -1)


def _reset_after(b: Builder, prefix: str, entry: dict[str, Any]) -> dict[str, Any]:
    """What a GRU's cell is told if it multiplies by r before the recurrent product."""
    known = True if b.groups is None else b.groups.reset_after.get(prefix)
    given = entry.get("reset_after", known)
    if given is None:
        raise ConversionError(
            f"GRU '{prefix}': it has no bias that would tell reset_after, so say it: Keras's usual "
            "value is true from TensorFlow 2 on, false before"
        )
    if known is not None and given != known:
        raise ConversionError(f"GRU '{prefix}': reset_after = {given}, but {b.source} has {known}")
    return {} if given else {"reset_after": False, "recurrent_bias": None}


def _single(kind: str, m: Described, entry: dict[str, Any], key: str) -> list[Any]:
    """The names of a layer's states, h or h and c, in an option."""
    names: list[Any] = entry[key]
    count = 2 if kind == "LSTM" else 1
    if m.num_layers != 1 or m.bidirectional or len(names) != count:
        raise ConversionError(
            f"{kind} '{m.state_key}': {key} takes the names of {count} states (h"
            f"{', c' if count == 2 else ''}) of a layer that has one direction and is not stacked"
        )
    return names


def _initial(b: Builder, kind: str, m: Described, entry: dict[str, Any]) -> Any:
    """The values that a layer's states begin with, as torch takes them; None if zero."""
    if "initial" not in entry:
        return None
    given = [b.ctx.sym(b.value(name)) for name in _single(kind, m, entry, "initial")]
    states = tuple(shapes.unsqueeze(b.ctx, s, 0) for s in given)
    return states if kind == "LSTM" else states[0]


def _final(b: Builder, kind: str, m: Described, entry: dict[str, Any], states: Any) -> None:
    """Names for the states after the last step."""
    if "final" in entry:
        both = states if isinstance(states, tuple) else (states,)
        for name, s in zip(_single(kind, m, entry, "final"), both, strict=True):
            b.define(name, shapes.getitem(b.ctx, s, 0))


def _dense(b: Builder, entry: dict[str, Any]) -> None:
    m = Described(b, b.prefix(entry, "weight"))
    if positioned(b.x):  # at each position: a convolution of one tap
        kernel, bias = needed(b.ctx, m, "weight"), weight(b.ctx, m, "bias")
        options = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        along.convolution(b, kernel[..., None], bias, options)
    else:
        b.handle("Linear", m)
    _activate(b, entry)


def _embedding(b: Builder, entry: dict[str, Any]) -> None:
    b.handle("Embedding", Described(b, b.prefix(entry, "weight"), max_norm=None))
    b.x = reshape.flatten(b.ctx, b.x, len(b.x.axes) - 2, -1)


@contextmanager
def _channelwise(b: Builder, m: Described, *leaves: str) -> Iterator[None]:
    """What has weights for each channel, meanwhile as if every position had channels of its own."""
    axes = b.x.axes
    if positioned(b.x):
        positions, channels = axes[-2:]
        for leaf in leaves:
            array = getattr(m, leaf)
            if array is not None and array.shape == (channels,):  # others are refused, or for all
                setattr(m, leaf, np.tile(array, positions))
        b.x = dataclasses.replace(b.x, axes=(*axes[:-2], positions * channels))
    yield
    b.x = dataclasses.replace(b.x, axes=axes)


def _norm(module: str) -> Handler:
    def handler(b: Builder, entry: dict[str, Any]) -> None:
        prefix = b.prefix(entry, "running_mean" if module == "BatchNorm1d" else "weight")
        eps = b.exact(entry, "eps", None if module == "RMSNorm" else 1e-5)
        shape = b.shape(w.join(prefix, "weight"))
        b.used.add(w.join(prefix, "num_batches_tracked"))
        m = Described(b, prefix, eps=eps, normalized_shape=shape)
        if module == "BatchNorm1d":
            with _channelwise(b, m, "running_mean", "running_var", "weight", "bias"):
                b.handle(module, m, channels_first=True)
        else:
            b.handle(module, m)

    return handler


def _conv1d(b: Builder, entry: dict[str, Any]) -> None:
    usual = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    options = {k: entry.get(k, v) for k, v in usual.items()}
    padding = options["padding"]
    if isinstance(padding, str) and padding not in ("same", "valid", "causal"):
        raise ConversionError(f"architecture: padding = '{padding}'; known: same, valid, causal")
    if padding == "same" and options["stride"] != 1:
        raise ConversionError(
            "architecture: padding = 'same' with a stride means different things in different "
            "frameworks: give the number of steps"
        )
    m = Described(b, b.prefix(entry, "weight"), padding_mode="zeros", **options)
    if positioned(b.x):
        kernel, bias = needed(b.ctx, m, "weight"), weight(b.ctx, m, "bias")
        along.convolution(b, kernel, bias, options)
    else:
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


def _pool(module: str, **usual: Any) -> Handler:
    """Along time; or along positions, which must be handled apart: there is time beside them."""
    plain = _plain(module, True, **usual)
    op = "maximum" if "Max" in module else "mean"

    def handler(b: Builder, entry: dict[str, Any]) -> None:
        if not positioned(b.x) or ("kernel_size" in usual and "kernel_size" not in entry):
            plain(b, entry)
            return
        given = {**usual, **entry}
        if module.startswith("Adaptive"):
            if given["output_size"] != 1:
                b.ctx.refuse("output_size must be 1")
            along.global_pool(b, op)
            return
        padding = given.get("count_include_pad", False) and given["padding"] > 0
        if padding and given["ceil_mode"]:
            b.ctx.refuse("ceil_mode together with count_include_pad is not supported")
        window = (given.get(k, 1) for k in ("kernel_size", "stride", "padding", "dilation"))
        along.pool(b, op, padding, *window, given["ceil_mode"])

    return handler


def _prelu(b: Builder, entry: dict[str, Any]) -> None:
    m = Described(b, b.prefix(entry, "weight"))
    with _channelwise(b, m, "weight"):
        b.handle("PReLU", m, channels_first=True)


def _leaky_relu(b: Builder, entry: dict[str, Any]) -> None:
    slope = b.exact(entry, "negative_slope", 0.01)
    b.handle("LeakyReLU", Described(b, "", negative_slope=slope))


def _last_step(b: Builder, entry: dict[str, Any]) -> None:
    b.x = shapes.getitem(b.ctx, b.x, (slice(None), -1))


def _flatten(b: Builder, entry: dict[str, Any]) -> None:
    """Positions and channels, where there are any, else all steps."""
    b.x = reshape.flatten(b.ctx, b.x, len(b.x.axes) - 2 if positioned(b.x) else 1, -1)


def _nothing(b: Builder, entry: dict[str, Any]) -> None:
    """Does nothing when a model is used."""


_NUMBER = (int, float)
_RECURRENT: Keys = {
    "weights": str, "num_layers": int, "bidirectional": bool, "proj_size": int, "activation": str,
    "recurrent_activation": str, "return_sequences": bool, "take": str,
    "initial": list, "final": list,
}  # fmt: skip
_DENSE: Keys = {"weights": str, "activation": str}
_POOL: Keys = {"kernel_size": int, "stride": int, "padding": int, "ceil_mode": bool}

# Type in lower case -> (what builds it, the keys it takes besides type and name).
LAYERS: dict[str, tuple[Handler, Keys]] = {
    "lstm": (_recurrent, _RECURRENT),
    "gru": (_recurrent, {**_RECURRENT, "reset_after": bool}),
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
        _pool("MaxPool1d", kernel_size=..., stride=None, padding=0, dilation=1,
               ceil_mode=False, return_indices=False),
        {**_POOL, "dilation": int},
    ),
    "avgpool1d": (
        _pool("AvgPool1d", kernel_size=..., stride=None, padding=0, ceil_mode=False,
               count_include_pad=True),
        {**_POOL, "count_include_pad": bool},
    ),
    "adaptiveavgpool1d": (_pool("AdaptiveAvgPool1d", output_size=1), {"output_size": int}),
    "adaptivemaxpool1d": (
        _pool("AdaptiveMaxPool1d", output_size=1, return_indices=False),
        {"output_size": int},
    ),
    "activation": (_activate, {"activation": str}),
    "relu": (_plain("ReLU"), {}),
    "sigmoid": (_plain("Sigmoid"), {}),
    "tanh": (_plain("Tanh"), {}),
    "leakyrelu": (_leaky_relu, {"negative_slope": _NUMBER}),
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
    **JOINS,
    **MOVES,
}  # fmt: skip
#: Those that need a time axis.
TIMED = {
    "lstm", "gru", "rnn", "conv1d", "maxpool1d", "avgpool1d", "adaptiveavgpool1d",
    "adaptivemaxpool1d", "laststep", "flatten",
}  # fmt: skip
