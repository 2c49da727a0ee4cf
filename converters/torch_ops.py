"""What each function of torch and method of a tensor means as layers of the graph.

Two registries, one line an entry: :data:`FUNCTIONS` by function name (of torch,
torch.nn.functional, operator, builtins) and :data:`METHODS` by name of the tensor's method. A
handler gets the :class:`Context`, then the arguments as the user wrote them, with tensors replaced
by :class:`Sym`. An argument that its signature doesn't have is refused for it.

Whoever adds arithmetic (add, mul): fx records ``x += 1`` as operator.add, though torch writes into
x, which :mod:`torch_inplace` can't see.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.graph import TIME, Axis

from . import weights as w
from .torch_values import Context, Free, Opaque, Stack, Sym, Zeros, show


def dense(ctx: Context, input: Any, parts: dict[str, np.ndarray | None]) -> Sym:
    weight = parts["weight"]
    if weight is None or weight.ndim != 2:
        ctx.refuse("its weight must have two axes")
    x = ctx.features(input, weight.shape[1])
    return ctx.add(g.Dense, x, (*x.axes[:-1], weight.shape[0]), **parts)


def pointwise(fn: g.Fn) -> Callable[..., Sym]:
    """A handler for a function of each element, as module, function and method."""

    def handler(ctx: Context, input: Any, inplace: bool = False) -> Sym:
        x = ctx.sym(input)
        return ctx.add(g.Activation, x, x.axes, activation=fn)

    return handler


def softmax(
    ctx: Context, input: Any, dim: int | None = None, dtype: Any = None, _stacklevel: int = 3
) -> Sym:
    x = ctx.sym(input)
    if dim is None:
        ctx.refuse("dim=None is ambiguous; say dim=-1")
    if dtype is not None and str(dtype) != "torch.float32":
        ctx.refuse(f"dtype={dtype} is not supported")
    if axis(ctx, x, dim) != len(x.axes) - 1:
        ctx.refuse(f"dim={dim} of {show(x)} is not supported, only the features (dim=-1)")
    x = ctx.features(x)
    return ctx.add(g.Softmax, x, x.axes)


def dropout(
    ctx: Context, input: Any, p: float = 0.5, training: Any = True, inplace: bool = False
) -> Any:
    if training is not False and p:
        ctx.refuse("training=True drops in use, too; write training=self.training")
    return input


def linear(ctx: Context, input: Any, weight: Any, bias: Any = None) -> Sym:
    tensors = {"weight": weight, "bias": bias}
    for name, t in tensors.items():
        if t is not None and type(t).__module__.partition(".")[0] != "torch":
            ctx.refuse(f"its {name} is computed, not a parameter")
    get = {
        k: None if t is None else w.torch_array(f"{ctx.path}.{k}", t) for k, t in tensors.items()
    }
    return dense(ctx, input, w.linear(get.get, ""))


def axis(ctx: Context, x: Sym, dim: Any, extra: int = 0) -> int:
    """A dimension as a number from 0."""
    rank = len(x.axes) + extra
    if type(dim) is not int or not -rank <= dim < rank:
        ctx.refuse(f"dim={dim} doesn't fit {show(x)}")
    return dim % rank


def transpose(ctx: Context, input: Any, dim0: int, dim1: int) -> Sym:
    x = ctx.sym(input)
    a, b = axis(ctx, x, dim0), axis(ctx, x, dim1)
    axes = list(x.axes)
    axes[a], axes[b] = axes[b], axes[a]
    return Sym(x.value, tuple(axes))


def permute(ctx: Context, input: Any, *dims: Any) -> Sym:
    x = ctx.sym(input)
    order = [axis(ctx, x, d) for d in flat(dims)]
    if sorted(order) != list(range(len(x.axes))):
        ctx.refuse(f"{dims} is not an order of {show(x)}")
    return Sym(x.value, tuple(x.axes[d] for d in order))


def flat(sizes: tuple[Any, ...]) -> tuple[Any, ...]:
    """(2, 3) of f(2, 3), f((2, 3)) and f([2, 3])."""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


def squeeze(ctx: Context, input: Any, dim: Any = None) -> Sym:
    x = ctx.sym(input)
    if dim is None:
        ctx.refuse("squeeze() also drops a batch of one; name the axis, as in squeeze(-1)")
    drop = {axis(ctx, x, d) for d in flat((dim,))}
    if any(not isinstance(x.axes[d], int) for d in drop):
        ctx.refuse(f"squeeze({dim}) of {show(x)} depends on a size that is not fixed")
    return Sym(x.value, tuple(a for i, a in enumerate(x.axes) if i not in drop or a != 1))


def unsqueeze(ctx: Context, input: Any, dim: int) -> Sym:
    x = ctx.sym(input)
    at = axis(ctx, x, dim, 1)
    return Sym(x.value, (*x.axes[:at], 1, *x.axes[at:]))


def getitem(ctx: Context, input: Any, index: Any) -> Any:
    """x[...]: the last step, axes of size 1, and whole axes."""
    items = index if isinstance(index, tuple) else (index,)
    if isinstance(input, (tuple, dict)):
        return input[index]
    if isinstance(input, Stack):
        n = len(input.items)
        if type(items[0]) is int and -n <= items[0] < n:
            return getitem(ctx, input.items[items[0]], items[1:] or (Ellipsis,))
        ctx.refuse("only one layer of h_n or c_n can be taken, as in h_n[-1]")
    x = ctx.sym(input)
    given = sum(i is not None and i is not Ellipsis for i in items)
    if Ellipsis not in items:
        items = (*items, Ellipsis)
    at = items.index(Ellipsis)
    if given > len(x.axes) or Ellipsis in items[at + 1 :]:
        ctx.refuse(f"index {index} doesn't fit {show(x)}")
    whole = (slice(None),) * (len(x.axes) - given)
    rest, axes = list(x.axes), list[Axis | Free]()
    for item in (*items[:at], *whole, *items[at + 1 :]):
        if item is None:
            axes.append(1)
            continue
        if type(item) is not int and not isinstance(item, slice):
            ctx.refuse(f"an index of {show(x)} is computed; only numbers and ':' are supported")
        a = rest.pop(0)
        last_step = a == TIME and item in (-1, slice(-1, None))
        if last_step:
            x = ctx.add(g.LastStep, x, ())
        if item in (slice(None), slice(0, None)) or (a == 1 and item == slice(-1, None)):
            axes.append(a)
        elif last_step and isinstance(item, slice):
            axes.append(1)
        elif not last_step and not (a == 1 and item in (0, -1)):
            what = "time steps other than the last (-1)" if a == TIME else f"parts of axis {a}"
            ctx.refuse(f"index {index} of {show(ctx.sym(input))}: {what} can't be taken")
    return Sym(x.value, tuple(axes))


def select(ctx: Context, input: Any, dim: int, index: int) -> Any:
    return getitem(ctx, input, (slice(None),) * axis(ctx, ctx.sym(input), dim) + (index,))


def merge(ctx: Context, x: Sym, group: list[Axis | Free]) -> Axis | Free:
    """One axis for several that a reshape makes one."""
    group = [a for a in group if a != 1]
    if len(group) <= 1:
        return group[0] if group else 1
    sizes = [a for a in group if isinstance(a, int)]
    if len(sizes) != len(group):
        ctx.refuse(f"reshapes {show(x)} across batch or time, which is not supported")
    return math.prod(sizes)


def reshape(ctx: Context, input: Any, *shape: Any) -> Sym:
    """Only where the axes stay what they are, but for those of size 1."""
    x = ctx.sym(input)
    target = [ctx.size(t) for t in flat(shape)]
    source = [a for a in x.axes if a != 1]
    axes: list[Axis | Free] = []
    for i, t in enumerate(target):
        if t == -1 and type(t) is int:
            after = sum(u != 1 for u in target[i + 1 :])
            count = max(len(source) - after, 0)
            axes.append(merge(ctx, x, source[:count]))
            source = source[count:]
        elif t == 1:
            axes.append(1)
        elif source and t == source[0]:
            axes.append(source.pop(0))
        else:
            ctx.refuse(f"reshapes {show(x)} to {show(Sym('', tuple(target)))}: not supported")
    if source:
        ctx.refuse(f"reshapes {show(x)} to {show(Sym('', tuple(target)))}: not supported")
    return Sym(x.value, tuple(axes))


def flatten(ctx: Context, input: Any, start_dim: int = 0, end_dim: int = -1) -> Sym:
    x = ctx.sym(input)
    a, b = axis(ctx, x, start_dim), axis(ctx, x, end_dim)
    return Sym(x.value, (*x.axes[:a], merge(ctx, x, list(x.axes[a : b + 1])), *x.axes[b + 1 :]))


def size(ctx: Context, input: Any, dim: int | None = None) -> Any:
    if isinstance(input, Stack):
        axes: tuple[Any, ...] = (len(input.items), *input.items[0].axes)
        return axes if dim is None else axes[dim]
    x = ctx.sym(input)
    return x.axes if dim is None else x.axes[axis(ctx, x, dim)]


def attribute(ctx: Context, input: Any, name: str) -> Any:
    if name == "shape":
        return size(ctx, input)
    if name not in ("device", "dtype"):
        ctx.refuse(f"attribute '{name}' of a tensor is not supported")
    return Opaque()


def same(ctx: Context, input: Any) -> Any:
    """Copies, memory order, gradients: nothing that changes a number."""
    return input


def to(ctx: Context, input: Any, *args: Any, **kwargs: Any) -> Any:
    for a in (*args, *kwargs.values()):
        if str(a).startswith("torch.") and str(a) not in (
            "torch.float32",
            "torch.contiguous_format",
        ):
            ctx.refuse(f"conversion to {a} is not supported")
    return input


def zeros(ctx: Context, *args: Any, **kwargs: Any) -> Zeros:
    return Zeros()


def requires_grad(ctx: Context, input: Any, requires_grad: bool = True) -> Any:
    return input


# ---------------------------------------------------------------------------------- registries

relu, sigmoid, tanh = pointwise(g.RELU), pointwise(g.SIGMOID), pointwise(g.TANH)
hardsigmoid, exp = pointwise(g.HARD_SIGMOID_TORCH), pointwise(g.Fn("exponential"))

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "relu": relu,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "hardsigmoid": hardsigmoid,
    "exp": exp,
    "softmax": softmax,
    "dropout": dropout,
    "linear": linear,
    "transpose": transpose,
    "swapaxes": transpose,
    "permute": permute,
    "squeeze": squeeze,
    "unsqueeze": unsqueeze,
    "select": select,
    "reshape": reshape,
    "flatten": flatten,
    "clone": same,
    "getitem": getitem,
    "getattr": attribute,
    "zeros": zeros,
    "zeros_like": zeros,
}

METHODS: dict[str, Callable[..., Any]] = {
    **{k: FUNCTIONS[k] for k in ("relu", "sigmoid", "tanh", "exp", "softmax")},
    **{k: FUNCTIONS[k] for k in ("transpose", "swapaxes", "permute", "squeeze", "unsqueeze")},
    **{k: FUNCTIONS[k] for k in ("select", "reshape", "flatten", "clone")},
    "view": reshape,
    "size": size,
    "contiguous": same,
    "detach": same,
    "float": same,
    "cpu": same,
    "cuda": same,
    "to": to,
    "new_zeros": zeros,
    "requires_grad_": requires_grad,
    "relu_": relu,
    "sigmoid_": sigmoid,
    "tanh_": tanh,
}
