"""Handlers of layers that work on the features: Dense, activations, Embedding, normalization."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from lstmc import graph as g

from . import keras_functions as functions
from .keras_build import (
    SEQUENCE,
    STEPS,
    VECTOR,
    Builder,
    Tensor,
    activation,
    affine,
    combine,
    fn,
    single,
)
from .keras_tree import IGNORE, Kind, Layer, Only, ignored, read, training


def activate(
    b: Builder, layer: Layer, made: g.Dense | g.Conv1D | g.DepthwiseConv1D, x: Tensor, label: str
) -> Tensor:
    """``made`` with the layer's activation, within it or behind it."""
    f = functions.function(b, layer)
    if f.fn is not None:
        made.activation = f.fn
        return b.add(made, x, label)
    y = b.add(made, x, label)
    return f.apply(b, layer, y, f"{label}/activation")


def dense(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    """kernel [K, N], bias [N]."""
    n = layer.size("units")
    w = b.weights(layer, kernel=(x.features, n), bias=(n,))
    assert w["kernel"] is not None
    made = g.Dense(name="", inputs=(), outputs=(), weight=w["kernel"].T, bias=w["bias"])
    return activate(b, layer, made, x, label)


def _function(make: Any) -> Any:
    """A handler of a layer that is an activation; ``make`` gives the function."""

    def build(b: Builder, layer: Layer, given: dict[str, Any], label: str) -> list[Tensor]:
        x = b.tensor(layer, given["inputs"])
        return [b.passed(layer, x, make(b, layer).apply(b, layer, x, label))]

    return build


def prelu(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    """max(x, 0) - alpha max(-x, 0), alpha one number a feature, or one for all."""
    shared = layer.config.get("shared_axes") or []
    if not isinstance(shared, list) or not all(type(i) is int for i in shared):
        layer.bad("shared_axes")
    last = x.rank - 1
    if x.form == SEQUENCE and 1 not in shared:
        layer.refuse(
            f"option shared_axes={str(shared)[:60]} gives each time step its own slopes",
            "use shared_axes=[1]",
        )
    n = 1 if last in shared else x.features
    w = b.weights(layer, alpha=(1, n) if x.form == SEQUENCE else (n,))["alpha"]
    assert w is not None
    slopes = np.broadcast_to(w.ravel(), (x.features,))
    over = b.add(activation(g.RELU), x, f"{label}/over")
    turned = affine(x.features, -1.0, None)
    turned.activation = g.RELU
    under = b.add(turned, x, f"{label}/under")
    scaled = b.add(
        g.Affine(name="", inputs=(), outputs=(), scale=-slopes), under, f"{label}/slopes"
    )
    return b.add(combine("add"), [over, scaled], label)


def softmax(b: Builder, layer: Layer, given: dict[str, Any], label: str) -> list[Tensor]:
    """Over one axis; where the mask is 0, the input counts as -1e9 and the output is 0."""
    x = b.tensor(layer, given["inputs"])
    axis = layer.axis("axis", x.rank if layer.rank is None else layer.rank, -1)
    over_time = x.form == STEPS or (x.form == SEQUENCE and axis == 1 and layer.rank is None)
    if axis == 0:
        layer.refuse("option axis=0 is not supported", "use the last axis, -1")
    mask = b.given_mask(layer, given) or b.mask(layer, x)
    if mask is not None:
        # Keras broadcasts the mask against the input from the last axis on.
        x = b.as_steps(x)
        over_time = True
        if x.form != STEPS or b.version < (3, 15):
            layer.refuse(
                "a mask in a Softmax is not supported here",
                "give it [batch, time] and save the model with Keras 3.15, or drop the mask",
            )
        away = b.add(affine(1, 1e9, -1e9), mask, f"{label}/away")
        kept = b.add(combine("multiply"), [x, mask], f"{label}/kept")
        x = b.add(combine("add"), [kept, away], f"{label}/masked")
    name = label if mask is None else f"{label}/softmax"
    make = functions.softmax_steps if over_time else functions.softmax_features
    y = make(b, x, name)
    if mask is not None:
        y = b.add(combine("multiply"), [y, mask], label)
    return [dataclasses.replace(y, mask=mask, doubt=x.doubt)]


def nothing(b: Builder, layer: Layer, given: dict[str, Any], label: str) -> list[Tensor]:
    """A layer that only acts in training."""
    x = b.tensor(layer, given["inputs"], ("float", "int", "bool"))
    return [x]


def time_distributed(b: Builder, layer: Layer, given: dict[str, Any], label: str) -> list[Tensor]:
    """The wrapped layer on each step, with the step's part of the mask."""
    (inner,) = layer.wrapped
    x = b.tensor(layer, given["inputs"])
    if not inner.kind.stepwise:
        layer.refuse(f"around a {inner.class_name} it is not supported", "wrap a Dense")
    if x.form != SEQUENCE:
        layer.refuse("its input has no time axis", "give it [batch, time, features]")
    mask = b.given_mask(layer, given) or x.mask
    if mask is not None and "mask" in inner.kind.params and inner.class_name == "Softmax":
        layer.refuse("around a Softmax it can't have a mask", "use the Softmax without it")
    bare = dataclasses.replace(x, mask=None)
    inner = dataclasses.replace(inner, rank=2)
    (y,) = inner.kind.build(b, inner, {"inputs": bare}, label)
    return [dataclasses.replace(y, mask=mask, doubt=x.doubt)]


def embedding(b: Builder, layer: Layer, given: dict[str, Any], label: str) -> list[Tensor]:
    """embeddings [N, D]; with mask_zero, entry 0 means padding."""
    x = b.as_steps(b.tensor(layer, given["inputs"], ("float", "int")))
    if x.form != STEPS:
        layer.refuse(f"it gets {x}", "give it [batch, time]")
    n, d = layer.size("input_dim"), layer.size("output_dim")
    table = b.weights(layer, embeddings=(n, d))["embeddings"]
    assert table is not None
    made = g.Embedding(name="", inputs=(), outputs=(), weight=table.T)
    y = dataclasses.replace(b.add(made, x, label), form=SEQUENCE)
    if not layer.flag("mask_zero"):
        return [y]
    mask = b.add(activation(fn(layer, "not_equal", 0.0)), x, f"{label}/mask")
    return [dataclasses.replace(y, mask=dataclasses.replace(mask, kind="bool"))]


def masking(b: Builder, layer: Layer, given: dict[str, Any], label: str) -> list[Tensor]:
    """Steps whose features all equal mask_value count as padding, and become 0."""
    x = b.tensor(layer, given["inputs"])
    if x.form != SEQUENCE:
        layer.refuse("its input has no time axis", "give it [batch, time, features]")
    value = float(np.float32(layer.number("mask_value")))
    mask = b.add(activation(fn(layer, "not_equal", value)), x, f"{label}/unequal")
    any_ = g.Reduce(name="", inputs=(), outputs=(), op="maximum")
    mask = dataclasses.replace(b.add(any_, mask, f"{label}/mask"), kind="bool", form=STEPS)
    y = b.add(combine("multiply"), [x, mask], label)
    return [dataclasses.replace(y, form=SEQUENCE, mask=mask)]


def batch_normalization(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    """gamma (x - moving_mean) / sqrt(moving_variance + epsilon) + beta, one scale and shift."""
    rank = x.rank if layer.rank is None else layer.rank
    if layer.axis("axis", rank, -1) != rank - 1:
        layer.refuse(
            f"option axis={layer.config['axis']} is not supported", "normalize the last axis, -1"
        )
    n = (x.features,)
    w = b.weights(layer, gamma=n, beta=n, moving_mean=n, moving_variance=n)
    mean, variance = w["moving_mean"], w["moving_variance"]
    assert mean is not None and variance is not None
    spread = variance.astype(float) + layer.number("epsilon")
    if not (spread > 0).all():
        layer.refuse("its moving_variance is negative", "train the model again")
    scale = (1.0 if w["gamma"] is None else w["gamma"].astype(float)) / np.sqrt(spread)
    shift = (0.0 if w["beta"] is None else w["beta"].astype(float)) - mean.astype(float) * scale
    if not (np.abs([scale, shift]) <= g.FLOAT32_MAX).all():
        layer.refuse("its statistics don't fit into float32", "train the model again")
    made = g.Affine(name="", inputs=(), outputs=(), scale=scale, shift=shift)
    return b.add(made, x, label)


def _last_axis(layer: Layer, x: Tensor) -> None:
    rank = x.rank if layer.rank is None else layer.rank
    if layer.axis("axis", rank, -1) != rank - 1:
        layer.refuse(
            f"option axis={layer.config['axis']} is not supported", "normalize the last axis, -1"
        )


def layer_normalization(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta over the features."""
    _last_axis(layer, x)
    w = b.weights(layer, gamma=(x.features,), beta=(x.features,))
    made = g.LayerNorm(
        name="",
        inputs=(),
        outputs=(),
        scale=w["gamma"],
        shift=w["beta"],
        epsilon=_epsilon(layer),
    )
    return b.add(made, x, label)


def rms_normalization(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    """scale x / sqrt(mean x^2 + epsilon) over the features."""
    _last_axis(layer, x)
    scale = b.weights(layer, scale=(x.features,))["scale"]
    made = g.LayerNorm(
        name="", inputs=(), outputs=(), scale=scale, epsilon=_epsilon(layer), rms=True
    )
    return b.add(made, x, label)


def _epsilon(layer: Layer) -> float:
    epsilon = layer.number("epsilon")
    return epsilon if epsilon >= 0 else layer.bad("epsilon")


# --------------------------------------------------------------------------------------- registry

NO_LORA = Only((None,), "merge the LoRA weights into the kernel and build it without")
NOT_QUANTIZED = Only((None,), "convert the model before it is quantized")
WITH_KERNEL = {
    **training("kernel", "bias"),
    "activity_regularizer": IGNORE,
    "lora_rank": NO_LORA,
    "lora_alpha": NO_LORA,
    "quantization_config": NOT_QUANTIZED,
}
_DROPOUT = ignored("rate", "seed", "noise_shape", "data_format", "stddev")
_BATCH_NORM = {
    **read("axis", "epsilon", "center", "scale"),
    **training("beta", "gamma"),
    **ignored("momentum", "moving_mean_initializer", "moving_variance_initializer"),
    **ignored("synchronized", "renorm_momentum", "renorm_clipping", "fused"),
    "renorm": Only((False, None), "train it without renorm"),
}
_LAYER_NORM = {
    **read("axis", "epsilon", "center", "scale"),
    **training("beta", "gamma"),
    "rms_scaling": Only((False,), "use RMSNormalization: rms_scaling divides by another number"),
}
_EMBEDDING = {
    **read("input_dim", "output_dim", "mask_zero"),
    **training("embeddings"),
    "activity_regularizer": IGNORE,
    "lora_rank": NO_LORA,
    "lora_alpha": NO_LORA,
    "quantization_config": NOT_QUANTIZED,
}
_DROPPED = Kind(nothing, _DROPOUT, stepwise=True)


def _is(make: Any, *options: str) -> Kind:
    return Kind(_function(make), read(*options), stepwise=True, masks="keep")


LAYERS: dict[str, Kind] = {
    "Activation": _is(functions.function, "activation"),
    "ActivityRegularization": Kind(nothing, ignored("l1", "l2"), stepwise=True),
    "AlphaDropout": _DROPPED,
    "BatchNormalization": Kind(
        single(batch_normalization),
        _BATCH_NORM,
        ("gamma", "beta", "moving_mean", "moving_variance"),
        frozen=("moving_mean", "moving_variance"),
        params=("inputs", "training", "mask"),
        stepwise=True,
        masks="keep",
    ),
    "Dense": Kind(
        single(dense),
        {**read("units", "activation", "use_bias"), **WITH_KERNEL},
        ("kernel", "bias"),
        stepwise=True,
        masks="keep",
    ),
    "Dropout": _DROPPED,
    "ELU": _is(functions.elu, "alpha"),
    "Embedding": Kind(embedding, _EMBEDDING, ("embeddings",), masks="own"),
    "GaussianDropout": _DROPPED,
    "GaussianNoise": _DROPPED,
    "Identity": Kind(nothing, stepwise=True),
    "LayerNormalization": Kind(
        single(layer_normalization), _LAYER_NORM, ("gamma", "beta"), stepwise=True, masks="keep"
    ),
    "LeakyReLU": _is(functions.leaky_relu, "negative_slope", "alpha"),
    "Masking": Kind(masking, read("mask_value"), masks="own"),
    "PReLU": Kind(
        single(prelu), {**read("shared_axes"), **training("alpha")}, ("alpha",), masks="keep"
    ),
    "RMSNormalization": Kind(
        single(rms_normalization), read("axis", "epsilon"), ("scale",), stepwise=True
    ),
    "ReLU": _is(functions.relu, "max_value", "negative_slope", "threshold"),
    "Softmax": Kind(softmax, read("axis"), params=("inputs", "mask"), stepwise=True, masks="own"),
    "SpatialDropout1D": Kind(nothing, _DROPOUT),
    "ThresholdedReLU": _is(functions.thresholded_relu, "theta"),
    "TimeDistributed": Kind(
        time_distributed,
        read("layer"),
        wraps=(("layer", "layer"),),
        params=("inputs", "training", "mask"),
        masks="own",
    ),
}
__all__ = ["LAYERS", "NOT_QUANTIZED", "NO_LORA", "VECTOR", "WITH_KERNEL", "activate"]
