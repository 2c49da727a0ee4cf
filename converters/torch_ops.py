"""What each function of torch and method of a tensor means as layers of the graph.

Two registries, one line an entry: :data:`FUNCTIONS` by function name (of torch,
torch.nn.functional, operator, builtins) and :data:`METHODS` by name of the tensor's method. A
handler gets the :class:`Context`, then the arguments as the user wrote them, with tensors replaced
by :class:`Sym`. An argument that its signature doesn't have is refused for it. Operations on
nothing but parameters are done by torch itself (:func:`torch_trace.fold`).

:mod:`torch_shapes` has the handlers of what moves axes, :mod:`torch_pointwise` those of functions
of elements, sums and reductions, :mod:`torch_layers` and :mod:`torch_recurrent` those of layers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from lstmc.graph import BATCH, TIME

from . import torch_arithmetic as ar
from . import torch_layers as layers
from . import torch_pointwise as p
from . import torch_recurrent as recurrent
from . import torch_reshape as reshape
from . import torch_shapes as shapes
from .torch_values import Const, Context, Missing, Opaque, Size, Sym

FLOATS = ("torch.float32", "torch.float")
INTEGERS = ("torch.int64", "torch.int32", "torch.long", "torch.int")
FORMATS = ("torch.contiguous_format", "torch.preserve_format", "torch.strided")


def dropout(
    ctx: Context, input: Any, p: float = 0.5, training: Any = True, inplace: bool = False
) -> Any:
    if training is not False and p:
        ctx.refuse("training=True drops in use, too; write training=self.training")
    return input


def attribute(ctx: Context, input: Any, name: str) -> Any:
    if isinstance(input, ar.Extremum):
        return input.values if name == "values" else Missing("the indices of a maximum or minimum")
    if name == "shape":
        return shapes.size(ctx, input)
    if name in ("T", "mT") and isinstance(input, Sym) and len(input.axes) == 2:
        return shapes.transpose(ctx, input, 0, 1)
    if name == "ndim" and isinstance(input, Sym):
        return len(input.axes)
    if name not in ("device", "dtype", "layout"):
        ctx.refuse(f"attribute '{name}' of a tensor is not supported")
    return Opaque()


def getitem(ctx: Context, input: Any, index: Any) -> Any:
    if isinstance(input, ar.Extremum):
        return attribute(ctx, input, ("values", "indices")[index])
    return shapes.getitem(ctx, input, index)


def same(ctx: Context, input: Any) -> Any:
    """Copies, memory order, gradients: nothing that changes a number."""
    return input


def to_float(ctx: Context, input: Any) -> Any:
    """Numbers as float32, which they are inside lstmc anyway."""
    return dataclasses.replace(ctx.any(input), kind="float") if isinstance(input, Sym) else input


def to_ints(ctx: Context, input: Any) -> Any:
    x = ctx.any(input)
    if x.kind == "bool":
        return dataclasses.replace(x, kind="int")
    if x.kind == "float":
        ctx.refuse("cuts floats to integers, which is not supported")
    return ctx.ints(x)


def to_bool(ctx: Context, input: Any) -> Any:
    x = ctx.any(input)
    return x if x.kind == "bool" else ar.not_equal(ctx, x, 0)


def to(ctx: Context, input: Any, *args: Any, **kwargs: Any) -> Any:
    for a in (*args, *(v for k, v in kwargs.items() if k not in ("non_blocking", "copy"))):
        name = str(a)
        if name in FLOATS:
            input = to_float(ctx, input)
        elif name in INTEGERS:
            input = to_ints(ctx, input)
        elif name == "torch.bool":
            input = to_bool(ctx, input)
        elif isinstance(a, Sym):
            input = type_as(ctx, input, a)
        elif name.startswith("torch.") and name not in FORMATS:
            ctx.refuse(f"conversion to {a} is not supported")
    return input


def type_as(ctx: Context, input: Any, other: Any) -> Any:
    if ctx.any(other).kind != "float":
        ctx.refuse("takes the type of a tensor that may hold no floats")
    return to_float(ctx, input)


def full(ctx: Context, sizes: Any, value: Any, **kwargs: Any) -> Const:
    """A constant of sizes that may be those of batch and time."""
    if not isinstance(value, (int, float)):
        ctx.refuse("its value is computed")
    dtype = kwargs.get("dtype")
    if dtype is not None and not isinstance(dtype, Opaque) and str(dtype) not in FLOATS:
        ctx.refuse(f"dtype={dtype} is not supported")
    axes: list[Any] = []
    like = ""
    for s in shapes.flat((sizes,)) if isinstance(sizes, (tuple, list)) else (sizes,):
        if isinstance(s, Size) and len(s.axes) == 1 and s.add == 0 and s.axes[0] in (BATCH, TIME):
            axes.append(s.axes[0])
            like = s.value if s.axes[0] == TIME else like
        elif type(s) is int and s > 0:
            axes.append(s)
        else:
            ctx.refuse("makes a tensor of a size that is not known")
    shape = [1 if isinstance(a, str) else a for a in axes]
    return Const(np.full(shape, value, np.float32), tuple(axes), like)


def filled(value: float) -> Callable[..., Any]:
    """torch.zeros and ones."""

    def handler(ctx: Context, *sizes: Any, **kwargs: Any) -> Const:
        given = kwargs.pop("size", None)
        return full(ctx, shapes.flat(sizes if given is None else (given,)), value, **kwargs)

    return handler


def filled_like(value: float) -> Callable[..., Any]:
    def handler(ctx: Context, input: Any, **kwargs: Any) -> Const:
        return full(ctx, shapes.size(ctx, input), value, **kwargs)

    return handler


def new_filled(value: float) -> Callable[..., Any]:
    def handler(ctx: Context, input: Any, *sizes: Any, **kwargs: Any) -> Const:
        return filled(value)(ctx, *sizes, **kwargs)

    return handler


def full_like(ctx: Context, input: Any, fill_value: Any, **kwargs: Any) -> Const:
    return full(ctx, shapes.size(ctx, input), fill_value, **kwargs)


def new_full(ctx: Context, input: Any, size: Any, fill_value: Any, **kwargs: Any) -> Const:
    return full(ctx, size, fill_value, **kwargs)


def requires_grad(ctx: Context, input: Any, requires_grad: bool = True) -> Any:
    return input


def matrix_transpose(ctx: Context, input: Any) -> Any:
    return shapes.transpose(ctx, input, 0, 1)


def dimension(ctx: Context, input: Any) -> int:
    return len(ctx.any(input).axes)


# ---------------------------------------------------------------------------------- registries

e = p.elementwise
POINTWISE: dict[str, Callable[..., Any]] = {  # functions that are methods, too
    "relu": e("relu"), "sigmoid": e("sigmoid"), "tanh": e("tanh"), "exp": e("exponential"),
    "abs": e("abs"), "sqrt": e("sqrt"), "square": e("square"), "reciprocal": e("reciprocal"),
    "log": e("log"), "erf": e("erf"), "sign": e("sign"), "rsqrt": p.rsqrt,
    "softmax": p.softmax, "log_softmax": p.log_softmax, "neg": p.negate, "pow": p.power,
    "clamp": p.clamp, "clip": p.clamp,
    "add": ar.add, "sub": ar.subtract, "mul": ar.multiply, "div": ar.divide,
    "maximum": ar.binary("maximum"), "minimum": ar.binary("minimum"),
    "max": ar.extremum("maximum"), "min": ar.extremum("minimum"),
    "sum": ar.reduction("sum"), "mean": ar.reduction("mean"),
    "amax": ar.reduction("maximum"), "amin": ar.reduction("minimum"),
    "ne": ar.not_equal, "eq": ar.equal, "logical_not": ar.logical_not,
    "logical_and": ar.logical("multiply"), "logical_or": ar.logical("maximum"),
    "matmul": ar.matmul, "bmm": ar.matmul, "prelu": p.prelu, "hardshrink": p.shrink("hard_shrink"),
}  # fmt: skip

SHAPES: dict[str, Callable[..., Any]] = {  # likewise
    "transpose": shapes.transpose, "swapaxes": shapes.transpose, "swapdims": shapes.transpose,
    "permute": shapes.permute, "squeeze": shapes.squeeze, "unsqueeze": shapes.unsqueeze,
    "select": shapes.select, "narrow": shapes.narrow, "reshape": reshape.reshape,
    "flatten": reshape.flatten, "unflatten": reshape.unflatten, "split": shapes.split,
    "chunk": shapes.chunk, "unbind": shapes.unbind, "flip": shapes.flip,
    "clone": same, "detach": same, "t": matrix_transpose,
}  # fmt: skip

FUNCTIONS: dict[str, Callable[..., Any]] = {
    **POINTWISE,
    **SHAPES,
    "truediv": ar.divide, "subtract": ar.subtract, "multiply": ar.multiply, "divide": ar.divide,
    "invert": ar.logical_not, "and_": ar.logical("multiply"), "or_": ar.logical("maximum"),
    "iadd": ar.add, "isub": ar.subtract, "imul": ar.multiply, "itruediv": ar.divide,
    "negative": p.negate, "absolute": e("abs"), "pos": same,
    "relu6": e("clip", 0.0, 6.0), "hardsigmoid": e("hard_sigmoid", 1 / 6, 0.5),
    "hardswish": e("hard_silu", 1 / 6, 0.5), "silu": e("silu", 1.0), "mish": e("mish"),
    "selu": e("selu", 1.6732632423543772, 1.0507009873554805), "softsign": e("softsign"),
    "log_sigmoid": e("log_sigmoid"), "logsigmoid": e("log_sigmoid"), "tanhshrink": e("tanh_shrink"),
    "softplus": p.softplus, "elu": p.elu, "celu": p.celu, "gelu": p.gelu, "rrelu": p.rrelu,
    "leaky_relu": p.leaky_relu, "hardtanh": p.hardtanh, "threshold": p.threshold,
    "_threshold": p.threshold,
    "softshrink": p.shrink("soft_shrink"), "softmin": p.softmin, "glu": p.glu,
    "dropout": dropout, "dropout1d": dropout, "alpha_dropout": dropout,
    "feature_dropout": dropout, "feature_alpha_dropout": dropout,
    "linear": layers.linear, "embedding": layers.embedding, "layer_norm": layers.layer_norm,
    "batch_norm": layers.batch_norm_function, "conv1d": layers.conv1d,
    "max_pool1d": layers.max_pool, "avg_pool1d": layers.avg_pool, "pad": layers.pad,
    "adaptive_avg_pool1d": layers.adaptive("mean"),
    "adaptive_max_pool1d": layers.adaptive("maximum"),
    "cat": reshape.cat, "concat": reshape.cat, "concatenate": reshape.cat, "stack": reshape.stack,
    "getitem": getitem, "getattr": attribute,
    "zeros": filled(0.0), "ones": filled(1.0), "full": full,
    "zeros_like": filled_like(0.0), "ones_like": filled_like(1.0), "full_like": full_like,
    "pack_padded_sequence": recurrent.pack_padded, "pad_packed_sequence": recurrent.pad_packed,
}  # fmt: skip

METHODS: dict[str, Callable[..., Any]] = {
    **POINTWISE,
    **SHAPES,
    "view": reshape.reshape, "size": shapes.size, "dim": dimension, "ndimension": dimension,
    "expand": reshape.expand, "expand_as": reshape.expand_as, "repeat": reshape.repeat,
    "view_as": lambda ctx, input, other: reshape.reshape(ctx, input, *shapes.size(ctx, other)),
    "contiguous": same, "cpu": same, "cuda": same, "tolist": to_ints,
    "float": to_float, "long": to_ints, "int": to_ints, "bool": to_bool, "to": to,
    "type_as": type_as, "requires_grad_": requires_grad,
    "new_zeros": new_filled(0.0), "new_ones": new_filled(1.0), "new_full": new_full,
    "relu_": e("relu"), "sigmoid_": e("sigmoid"), "tanh_": e("tanh"), "exp_": e("exponential"),
    "add_": ar.add, "sub_": ar.subtract, "mul_": ar.multiply, "div_": ar.divide,
    "clamp_": p.clamp, "neg_": p.negate, "abs_": e("abs"), "sqrt_": e("sqrt"),
}  # fmt: skip
