"""Linear, embedding, convolution, pooling, padding and normalization, as layers of the graph.

The handlers of functions; :mod:`torch_modules` has those of the modules, which hand their weights
and options on to these. Sources: the documentation of torch.nn's modules of the same names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.graph import BATCH, TIME

from . import torch_shapes as shapes
from . import weights as w
from .torch_arithmetic import reduce_axis
from .torch_shapes import lift
from .torch_values import Const, Context, Free, LayoutError, Merged, Sym, is_tensor, show


def known(ctx: Context, name: str, t: Any) -> np.ndarray | None:
    """A weight that a function gets, which must be a parameter."""
    if t is None:
        return None
    if not is_tensor(t):
        ctx.refuse(f"its {name} is computed, not a parameter")
    return w.float32(f"{ctx.path}.{name}", w.torch_array(f"{ctx.path}.{name}", t))


# ------------------------------------------------------------------------------------ on features


def on_last(ctx: Context, x: Sym, expected: int | None, layer: Callable[[Sym], Sym]) -> Sym:
    """A layer on the last axis. Other axes of features are taken for time meanwhile."""
    last = x.axes[-1] if x.axes else None
    others = [i for i, a in enumerate(x.axes[:-1]) if isinstance(a, int) and a != 1]
    if TIME in x.axes or not isinstance(last, int) or not others or not ctx.lenient:
        return layer(ctx.features(x, expected))
    if expected not in (None, last):
        ctx.refuse(f"gets {last} features, its weights take {expected}")
    before = [a for a in x.axes[:-1] if isinstance(a, int)]
    rows = Sym(x.value, (BATCH, int(np.prod(before)), last), x.kind)
    y = shapes.on_time(ctx, rows, 1, lambda s: layer(ctx.features(s, last)))
    return Sym(y.value, (*x.axes[:-1], y.axes[-1]))


def dense(ctx: Context, input: Any, parts: dict[str, np.ndarray | None]) -> Sym:
    weight = parts["weight"]
    if weight is None or weight.ndim != 2:
        ctx.refuse("its weight must have two axes")
    units, size = weight.shape
    return on_last(
        ctx, ctx.sym(input), size,
        lambda x: ctx.add(g.Dense, x, (*x.axes[:-1], units), **dict[str, Any](parts)),
    )  # fmt: skip


def linear(ctx: Context, input: Any, weight: Any, bias: Any = None) -> Sym:
    return dense(
        ctx, input, {"weight": known(ctx, "weight", weight), "bias": known(ctx, "bias", bias)}
    )


def embedding(
    ctx: Context, input: Any, weight: Any, padding_idx: Any = None, max_norm: Any = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Sym:  # fmt: skip
    """Rows of a table. What padding_idx does is done in training."""
    if max_norm is not None:
        ctx.refuse("max_norm changes the weights while the model is used: not supported")
    table = known(ctx, "weight", weight)
    assert table is not None
    return lookup(ctx, input, table)


def lookup(ctx: Context, input: Any, table: np.ndarray) -> Sym:
    x = ctx.ints(input)
    return ctx.add(g.Embedding, x, (*x.axes, table.shape[1]), weight=np.ascontiguousarray(table.T))


def layer_norm(
    ctx: Context, input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None,
    eps: float = 1e-5,
) -> Sym:  # fmt: skip
    return norm(
        ctx, input, normalized_shape, known(ctx, "weight", weight), known(ctx, "bias", bias), eps
    )


def norm(
    ctx: Context, input: Any, shape: Any, scale: np.ndarray | None, shift: np.ndarray | None,
    eps: float, rms: bool = False,
) -> Sym:  # fmt: skip
    size = shapes.flat((shape,))
    if len(size) != 1:
        ctx.refuse(f"normalizes over several axes, {list(size)}; only the last is supported")
    if not 0 <= eps <= g.FLOAT32_MAX:
        ctx.refuse(f"eps={eps} is not supported")
    options: dict[str, Any] = {"epsilon": float(eps), **({"rms": True} if rms else {})}
    return on_last(
        ctx, ctx.sym(input), size[0],
        lambda x: ctx.add(g.LayerNorm, x, x.axes, scale=scale, shift=shift, **options),
    )  # fmt: skip


def batch_norm(
    ctx: Context, input: Any, mean: Any, var: Any, scale: Any, shift: Any, eps: float
) -> Sym:
    """(x - mean) / sqrt(var + eps) * scale + shift for each channel, axis 1; all float32 arrays.

    One product and sum, unless the mean is so far from zero that the sum would cancel: then the
    mean is subtracted first.
    """
    x = ctx.sym(input)
    count = len(mean)
    if len(x.axes) not in (2, 3):
        raise LayoutError(
            f"{ctx.where}: takes [batch, channels] or [batch, channels, time], gets {show(x)}"
        )
    if isinstance(x.axes[1], Free):
        ctx.tell(x.axes[1], count, x)
        x = ctx.sym(x)
    others = [a for i, a in enumerate(x.axes) if i != 1]
    if not isinstance(x.axes[1], int) or isinstance(others[-1], Free):
        raise LayoutError(f"{ctx.where}: takes channels as axis 1, gets {show(x)}")
    if x.axes[1] != count:
        ctx.refuse(f"gets {x.axes[1]} channels, its weights take {count}")
    factor = np.ones(count) if scale is None else scale.astype(float)
    with np.errstate(all="ignore"):
        factor = factor / np.sqrt(var.astype(float) + eps)
        offset = (0.0 if shift is None else shift.astype(float)) - mean * factor
    repeated = int(np.prod([a for a in others if isinstance(a, int)]))
    inner = int(np.prod([a for a in x.axes[2:] if isinstance(a, int)]))
    if repeated != inner:
        ctx.refuse(f"gets {show(x)}")

    def spread(a: np.ndarray) -> np.ndarray:
        return np.repeat(w.float32(f"statistics of {ctx.where}", np.asarray(a, np.float32)), inner)

    if np.abs(mean * factor).max(initial=0) > 16:
        x = ctx.add(g.Affine, x, x.axes, shift=spread(-mean))
        offset = np.zeros(count) if shift is None else shift
    return ctx.add(g.Affine, x, x.axes, scale=spread(factor), shift=spread(offset))


def batch_norm_function(
    ctx: Context, input: Any, running_mean: Any, running_var: Any, weight: Any = None,
    bias: Any = None, training: Any = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Sym:  # fmt: skip
    if training or running_mean is None or running_var is None:
        ctx.refuse("normalizes by the statistics of the batch; write training=self.training")
    given = {"mean": running_mean, "var": running_var, "weight": weight, "bias": bias}
    mean, var, scale, shift = (known(ctx, k, t) for k, t in given.items())
    return batch_norm(ctx, input, mean, var, scale, shift, eps)


# ---------------------------------------------------------------------------------------- windows


def one(ctx: Context, name: str, value: Any) -> int:
    """An option of a window on one axis: a number, or a tuple of one."""
    n = value[0] if isinstance(value, (tuple, list)) and len(value) == 1 else value
    if type(n) is not int:
        ctx.refuse(f"{name}={value} is not supported")
    return n


def channels_first(ctx: Context, input: Any, count: int | None) -> tuple[Sym, int]:
    """x as [batch, channels, time], its channels counted."""
    x = ctx.sym(input)
    if len(x.axes) != 3 or x.axes[0] != BATCH:
        raise LayoutError(f"{ctx.where}: takes [batch, channels, time], gets {show(x)}")
    if isinstance(x.axes[1], Free) and count is not None:
        ctx.tell(x.axes[1], count, x)
        x = ctx.sym(x)
    channels = x.axes[1]
    if x.axes[2] != TIME and not (ctx.lenient and isinstance(x.axes[2], int)):
        raise LayoutError(f"{ctx.where}: takes [batch, channels, time], gets {show(x)}")
    if isinstance(channels, (str, Merged)):
        raise LayoutError(f"{ctx.where}: takes [batch, channels, time], gets {show(x)}")
    if count is not None and channels != count:
        ctx.refuse(f"gets {channels} channels, its weights take {count}")
    return x, channels if isinstance(channels, int) else 0


def conv1d(
    ctx: Context, input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Sym:  # fmt: skip
    kernel = known(ctx, "weight", weight)
    assert kernel is not None
    return convolution(
        ctx, input, kernel, known(ctx, "bias", bias), stride, padding, dilation, groups
    )


def convolution(
    ctx: Context, input: Any, weight: np.ndarray, bias: np.ndarray | None, stride: Any,
    padding: Any, dilation: Any, groups: int,
) -> Sym:  # fmt: skip
    """weight [channels out, channels in / groups, taps]."""
    if weight.ndim != 3:
        ctx.refuse(f"its weight has shape {list(weight.shape)}, expected 3 axes")
    out, per_group, taps = weight.shape
    x, count = channels_first(ctx, input, per_group * groups)
    window = convolution_window(ctx, taps, stride, padding, dilation)

    def layer(x: Sym) -> Sym:
        axes = (BATCH, out, TIME)
        if groups == count and groups > 1:  # each output channel sees one input channel
            source = np.repeat(np.arange(count), out // groups)
            y = ctx.select(x, source, axes)
            return ctx.add(g.DepthwiseConv1D, y, axes, weight=weight[:, 0], bias=bias, **window)
        parts = []
        rows = out // groups
        for k in range(groups):
            mine = slice(k * rows, (k + 1) * rows)
            own = ctx.select(
                x, np.arange(k * per_group, (k + 1) * per_group), (BATCH, per_group, TIME)
            )
            matrix = weight[mine].transpose(0, 2, 1).reshape(rows, -1)
            y = ctx.add(
                g.Conv1D,
                own,
                axes,
                weight=matrix,
                bias=None if bias is None else bias[mine],
                **window,
            )
            parts.append((y.value, rows))
        return Sym(ctx.concat(parts), axes)

    return shapes.on_time(ctx, x, 2, layer)


def convolution_window(
    ctx: Context, taps: int, stride: Any, padding: Any, dilation: Any
) -> dict[str, Any]:
    """The fields of a g.Window that slides as a convolution's does."""
    window: dict[str, Any] = {
        "taps": taps,
        "stride": one(ctx, "stride", stride),
        "dilation": one(ctx, "dilation", dilation),
    }
    if padding == "same":
        total = window["dilation"] * (taps - 1)
        window |= {"before": total // 2, "after": total - total // 2}
    elif padding == "causal":  # Keras's, by way of an architecture: torch has no such padding
        window |= {"before": window["dilation"] * (taps - 1), "after": 0}
    elif padding != "valid":
        p = one(ctx, "padding", padding)
        window |= {"before": p, "after": p}
    return window


def max_pool(
    ctx: Context, input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
    dilation: Any = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Sym:  # fmt: skip
    if return_indices:
        ctx.refuse("return_indices=True is not supported")
    return pool(ctx, input, "maximum", kernel_size, stride, padding, dilation, ceil_mode)


def avg_pool(
    ctx: Context, input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True,
) -> Sym:  # fmt: skip
    count = bool(count_include_pad) and one(ctx, "padding", padding) > 0
    if count and ceil_mode:
        ctx.refuse("ceil_mode=True together with count_include_pad=True is not supported")
    return pool(ctx, input, "mean", kernel_size, stride, padding, 1, ceil_mode, count)


def pool(
    ctx: Context, input: Any, op: str, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
    ceil_mode: bool, count_padding: bool = False,
) -> Sym:  # fmt: skip
    window = pool_window(ctx, kernel_size, stride, padding, dilation, ceil_mode)
    x, _ = channels_first(ctx, input, None)
    return shapes.on_time(
        ctx, x, 2,
        lambda s: ctx.add(g.Pool1D, s, s.axes, op=op, count_padding=count_padding, **window),
    )  # fmt: skip


def pool_window(
    ctx: Context, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> dict[str, Any]:
    """The fields of a g.Window that slides as a pool's does."""
    taps = one(ctx, "kernel_size", kernel_size)
    step = taps if stride is None or stride == () else one(ctx, "stride", stride)
    pad, apart = one(ctx, "padding", padding), one(ctx, "dilation", dilation)
    extent = (taps - 1) * apart + 1
    if 2 * pad > taps:
        ctx.refuse(f"padding={pad} is more than half of the kernel")
    after = pad
    if ceil_mode:
        # A window that begins beyond the padded input is dropped by torch; there is none unless
        # windows are further apart than they are long.
        if step + pad > extent:
            ctx.refuse("ceil_mode=True with a stride longer than the kernel is not supported")
        after += step - 1
    return {"taps": taps, "stride": step, "dilation": apart, "before": pad, "after": after}


def adaptive(op: str) -> Callable[..., Sym]:
    """AdaptiveAvgPool1d(1), AdaptiveMaxPool1d(1): over all of time."""

    def handler(ctx: Context, input: Any, output_size: Any, return_indices: bool = False) -> Sym:
        if return_indices:
            ctx.refuse("return_indices=True is not supported")
        if one(ctx, "output_size", output_size) != 1:
            ctx.refuse(f"output_size={output_size} is not supported, only 1")
        x, _ = channels_first(ctx, input, None)
        return reduce_axis(ctx, x, op, 2)

    return handler


def pad(ctx: Context, input: Any, pad: Any, mode: str = "constant", value: Any = None) -> Sym:
    """Steps of a constant before and after; torch counts axes from the last."""
    x = ctx.sym(input)
    if mode != "constant":
        ctx.refuse(f"mode={mode!r} is not supported, only 'constant'")
    widths = (pad, pad) if type(pad) is int else tuple(pad)
    if any(type(n) is not int for n in widths) or len(widths) % 2 or len(widths) > 2 * len(x.axes):
        ctx.refuse(f"pad={pad} is not supported")
    number = float(value or 0)
    if not abs(number) <= g.FLOAT32_MAX:
        ctx.refuse(f"value={number} is not supported")
    for i in range(0, len(widths), 2):
        before, after = widths[i], widths[i + 1]
        at = len(x.axes) - 1 - i // 2
        if (before, after) == (0, 0):
            continue
        if x.axes[at] != TIME:
            raise LayoutError(
                f"{ctx.where}: pads {x.axes[at]} of {show(x)}; only time is supported"
            )
        if before < 0 or after < 0:
            ctx.refuse(f"pad={pad} cuts; write it as a slice")
        ctx.across(x)
        x = ctx.add(g.PadTime, x, x.axes, before=before, after=after, value=number)
    return x


def constant(ctx: Context, c: Any) -> Const:
    return lift(ctx, c)
