"""Activations: what Keras's names and serialized objects mean.

Most are elementwise functions of the graph, :class:`lstmc.graph.Fn`. The others (softmax, a ReLU
with all its options) become layers of their own; inside a recurrent cell they are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lstmc import graph as g

from .keras_build import STEPS, Builder, Tensor, activation, affine, combine, fn
from .keras_tree import Item, Layer

# name: kind and parameters, as keras/src/activations/activations.py and Keras 2's activations.py
# have them by default. hard_sigmoid is not here: it depends on the version.
NAMES: dict[str, tuple[Any, ...]] = {
    "linear": ("linear",),
    "sigmoid": ("sigmoid",),
    "tanh": ("tanh",),
    "relu": ("relu",),
    "exponential": ("exponential",),
    "relu6": ("clip", 0.0, 6.0),
    "leaky_relu": ("leaky_relu", 0.2),
    "elu": ("elu", 1.0),
    "celu": ("celu", 1.0),
    "selu": ("selu", 1.6732632423543772, 1.0507009873554805),
    "softplus": ("softplus",),
    "softsign": ("softsign",),
    "silu": ("silu", 1.0),
    "swish": ("silu", 1.0),
    "gelu": ("gelu",),
    "mish": ("mish",),
    "hard_silu": ("hard_silu", 1.0 / 6.0, 0.5),
    "hard_swish": ("hard_silu", 1.0 / 6.0, 0.5),
    "hard_tanh": ("clip", -1.0, 1.0),
    "log_sigmoid": ("log_sigmoid",),
    "tanh_shrink": ("tanh_shrink",),
    "soft_shrink": ("soft_shrink", 0.5),
    "hard_shrink": ("hard_shrink", 0.5),
    "squareplus": ("squareplus", 4.0),
    "sparse_plus": ("sparse_plus",),
    "sparse_sigmoid": ("sparse_sigmoid",),
}
KNOWN = (*NAMES, "hard_sigmoid", "softmax", "log_softmax")

Apply = Callable[[Builder, Item, Tensor, str], Tensor]


@dataclass(frozen=True)
class Function:
    """An activation: ``fn`` where it is one function of the graph, else what ``apply`` adds."""

    fn: g.Fn | None
    apply: Apply


def plain(f: g.Fn) -> Function:
    def apply(b: Builder, item: Item, x: Tensor, label: str) -> Tensor:
        return b.add(activation(f), x, label)

    return Function(f, apply)


def function(b: Builder, layer: Layer, option: str = "activation") -> Function:
    """The function that an option names; None means linear."""
    value = layer.config.get(option, "")
    if value is None:
        return plain(g.LINEAR)
    if isinstance(value, dict):
        return _object(b, layer, option, value)
    return named(b, layer, option, value)


def scalar(b: Builder, layer: Layer, option: str) -> g.Fn:
    """The function that an option names, which has to be one of the graph's: inside of a cell."""
    found = function(b, layer, option).fn
    if found is None:
        value = str(layer.config.get(option))[:60]
        layer.refuse(
            f"option {option}={value} is not supported inside of a recurrent layer",
            "use an elementwise activation",
        )
    return found


def named(b: Builder, layer: Layer, option: str, value: Any) -> Function:
    if value == "softmax":
        return SOFTMAX
    if value == "log_softmax":
        return LOG_SOFTMAX
    if value == "hard_sigmoid":
        return plain(g.HARD_SIGMOID_KERAS2 if b.major == 2 else g.HARD_SIGMOID_KERAS3)
    if not isinstance(value, str) or value not in NAMES:
        layer.refuse(
            f"option {option}={str(value)[:60]} is not supported", f"use {', '.join(KNOWN)}"
        )
    return plain(fn(layer, *NAMES[value]))


def _object(b: Builder, layer: Layer, option: str, value: dict[str, Any]) -> Function:
    """A layer of Keras's used as an activation, as its config is kept."""
    name, config = value.get("class_name"), value.get("config")
    module = str(value.get("module") or "keras")
    custom = value.get("registered_name") not in (None, name) or not module.startswith("keras")
    makers = {"ReLU": relu, "LeakyReLU": leaky_relu, "ELU": elu, "Softmax": _softmax_object}
    if custom or name not in makers or not isinstance(config, dict):
        layer.refuse(
            f"option {option}={name or value} is not supported"[:120],
            f"use {', '.join(makers)}, or the name of an activation",
        )
    inner = Layer(
        class_name=name,
        path=(*layer.path, name),
        config=config,
        kind=layer.kind,
        trainable=False,
    )
    return makers[name](b, inner)


def _softmax_object(b: Builder, layer: Layer) -> Function:
    if layer.config.get("axis", -1) != -1:
        layer.refuse("only the last axis is supported", "use axis=-1")
    return SOFTMAX


def leaky_relu(b: Builder, layer: Layer) -> Function:
    """negative_slope, which Keras 2 calls alpha."""
    old = "alpha" in layer.config and "negative_slope" not in layer.config
    slope = layer.number("alpha" if old else "negative_slope")
    return plain(fn(layer, "leaky_relu", slope))


def elu(b: Builder, layer: Layer) -> Function:
    return plain(fn(layer, "elu", layer.number("alpha")))


def thresholded_relu(b: Builder, layer: Layer) -> Function:
    return plain(fn(layer, "thresholded_relu", layer.number("theta")))


def relu(b: Builder, layer: Layer) -> Function:
    """x above the threshold, at most max_value; below it, negative_slope (x - threshold)."""
    most = layer.config.get("max_value")
    most = None if most is None else layer.number("max_value")
    slope, threshold = layer.number("negative_slope", 0.0), layer.number("threshold", 0.0)
    if threshold:
        above = fn(layer, "thresholded_relu", threshold)
    else:
        above = g.RELU if most is None else fn(layer, "clip", 0.0, most)
    if not slope and (not threshold or most is None):
        return plain(above)
    if not threshold and most is None:
        return plain(fn(layer, "leaky_relu", slope))

    def apply(b: Builder, item: Item, x: Tensor, label: str) -> Tensor:
        y = b.add(activation(above), x, f"{label}/above" if slope else label)
        if threshold and most is not None:
            y = b.add(activation(fn(layer, "clip", 0.0, most)), y, f"{label}/most")
        if not slope:
            return y
        below = affine(x.features, -1.0, threshold)
        below.activation = g.RELU
        low = b.add(below, x, f"{label}/below")
        low = b.add(affine(x.features, slope, None), low, f"{label}/slope")
        return b.add(combine("subtract"), [y, low], label)

    return Function(None, apply)


def softmax_features(b: Builder, x: Tensor, label: str, log: bool = False) -> Tensor:
    return b.add(g.Softmax(name="", inputs=(), outputs=(), log=log), x, label)


def softmax_steps(b: Builder, x: Tensor, label: str) -> Tensor:
    return b.add(g.SoftmaxTime(name="", inputs=(), outputs=()), x, label)


def _softmax(b: Builder, item: Item, x: Tensor, label: str) -> Tensor:
    """Over the last axis."""
    return softmax_steps(b, x, label) if x.form == STEPS else softmax_features(b, x, label)


def _log_softmax(b: Builder, item: Item, x: Tensor, label: str) -> Tensor:
    return softmax_features(b, b.vector(x), label, log=True)


SOFTMAX = Function(None, _softmax)
LOG_SOFTMAX = Function(None, _log_softmax)
