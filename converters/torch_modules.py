"""What each module of torch.nn means as layers of the graph: :data:`MODULES`, one line each.

A handler gets the :class:`Context`, the module, and the arguments of the call as the user wrote
them, with tensors replaced by :class:`Sym`. An argument that its signature doesn't have is refused
for it. The state_dict route (:mod:`architecture`) calls the same handlers with objects that have
the same attributes; so nothing here may ask more of a module than that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import torch_layers as layers
from . import torch_ops as ops
from . import torch_pointwise as p
from . import torch_reshape as reshape
from . import weights as w
from .torch_recurrent import cell_module, getter, recurrent_module, state_key
from .torch_values import Const, Context, Sym


def as_module(name: str, *options: str, **fixed: Any) -> Callable[..., Any]:
    """A function's handler as that of the module whose attributes are its options."""
    handler = ops.FUNCTIONS[name]

    def module_handler(ctx: Context, m: Any, input: Any) -> Any:
        return handler(ctx, input, **{o: getattr(m, o) for o in options}, **fixed)

    return module_handler


def identity_module(ctx: Context, m: Any, input: Any) -> Any:
    return input


def weight(ctx: Context, m: Any, name: str) -> np.ndarray | None:
    """A module's weight as float32, None if it has none."""
    base = state_key(ctx, m)
    key = w.join(base, name)
    array = getter(m, base)(key)
    return None if array is None else w.float32(key, array)


def needed(ctx: Context, m: Any, name: str) -> np.ndarray:
    array = weight(ctx, m, name)
    if array is None:
        ctx.refuse(f"its {name} is missing")
    return array


def linear_module(ctx: Context, m: Any, input: Any) -> Sym:
    base = state_key(ctx, m)
    return layers.dense(ctx, input, w.linear(getter(m, base), base))


def embedding_module(ctx: Context, m: Any, input: Any) -> Sym:
    if m.max_norm is not None:
        ctx.refuse("max_norm changes the weights while the model is used: not supported")
    return layers.lookup(ctx, input, needed(ctx, m, "weight"))


def layer_norm_module(ctx: Context, m: Any, input: Any) -> Sym:
    scale, shift = weight(ctx, m, "weight"), weight(ctx, m, "bias")
    return layers.norm(ctx, input, m.normalized_shape, scale, shift, m.eps)


def rms_norm_module(ctx: Context, m: Any, input: Any) -> Sym:
    eps = float(np.finfo(np.float32).eps) if m.eps is None else m.eps
    return layers.norm(
        ctx, input, m.normalized_shape, weight(ctx, m, "weight"), None, eps, rms=True
    )


def batch_norm_module(ctx: Context, m: Any, input: Any) -> Sym:
    mean, var = weight(ctx, m, "running_mean"), weight(ctx, m, "running_var")
    if mean is None or var is None:
        ctx.refuse("track_running_stats=False normalizes by the statistics of each batch")
    scale, shift = weight(ctx, m, "weight"), weight(ctx, m, "bias")
    return layers.batch_norm(ctx, input, mean, var, scale, shift, m.eps)


def conv1d_module(ctx: Context, m: Any, input: Any) -> Sym:
    if m.padding_mode != "zeros":
        ctx.refuse(f"padding_mode={m.padding_mode!r} is not supported, only 'zeros'")
    kernel, bias = needed(ctx, m, "weight"), weight(ctx, m, "bias")
    return layers.convolution(ctx, input, kernel, bias, m.stride, m.padding, m.dilation, m.groups)


def prelu_module(ctx: Context, m: Any, input: Any) -> Sym:
    slope = needed(ctx, m, "weight")
    return p.prelu(ctx, input, Const(slope, slope.shape))


def pad_module(ctx: Context, m: Any, input: Any) -> Sym:
    return layers.pad(ctx, input, m.padding, value=getattr(m, "value", 0.0))


def unflatten_module(ctx: Context, m: Any, input: Any) -> Sym:
    return reshape.unflatten(ctx, input, m.dim, m.unflattened_size)


MODULES: dict[str, Callable[..., Any]] = {
    "LSTM": recurrent_module("LSTM"),
    "GRU": recurrent_module("GRU"),
    "RNN": recurrent_module("RNN"),
    "LSTMCell": cell_module("LSTM"),
    "GRUCell": cell_module("GRU"),
    "RNNCell": cell_module("RNN"),
    "Linear": linear_module,
    "Embedding": embedding_module,
    "BatchNorm1d": batch_norm_module,
    "LayerNorm": layer_norm_module,
    "RMSNorm": rms_norm_module,
    "Conv1d": conv1d_module,
    "MaxPool1d": as_module(
        "max_pool1d", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"
    ),
    "AvgPool1d": as_module(
        "avg_pool1d", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"
    ),
    "AdaptiveAvgPool1d": as_module("adaptive_avg_pool1d", "output_size"),
    "AdaptiveMaxPool1d": as_module("adaptive_max_pool1d", "output_size", "return_indices"),
    "ConstantPad1d": pad_module,
    "ZeroPad1d": pad_module,
    "ReLU": as_module("relu"),
    "ReLU6": as_module("relu6"),
    "Sigmoid": as_module("sigmoid"),
    "Tanh": as_module("tanh"),
    "Hardsigmoid": as_module("hardsigmoid"),
    "Hardswish": as_module("hardswish"),
    "Hardtanh": as_module("hardtanh", "min_val", "max_val"),
    "LeakyReLU": as_module("leaky_relu", "negative_slope"),
    "RReLU": as_module("rrelu", "lower", "upper"),
    "ELU": as_module("elu", "alpha"),
    "SELU": as_module("selu"),
    "CELU": as_module("celu", "alpha"),
    "GELU": as_module("gelu", "approximate"),
    "SiLU": as_module("silu"),
    "Mish": as_module("mish"),
    "Softplus": as_module("softplus", "beta", "threshold"),
    "Softsign": as_module("softsign"),
    "LogSigmoid": as_module("logsigmoid"),
    "Tanhshrink": as_module("tanhshrink"),
    "Softshrink": as_module("softshrink", "lambd"),
    "Hardshrink": as_module("hardshrink", "lambd"),
    "Threshold": as_module("threshold", "threshold", "value"),
    "PReLU": prelu_module,
    "GLU": as_module("glu", "dim"),
    "Softmax": as_module("softmax", "dim"),
    "LogSoftmax": as_module("log_softmax", "dim"),
    "Softmin": as_module("softmin", "dim"),
    "Flatten": as_module("flatten", "start_dim", "end_dim"),
    "Unflatten": unflatten_module,
    "Identity": identity_module,
    "Dropout": identity_module,
    "Dropout1d": identity_module,
    "AlphaDropout": identity_module,
    "FeatureAlphaDropout": identity_module,
}
