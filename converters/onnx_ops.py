"""ONNX operators as layers: a handler each, and the registry :data:`HANDLERS`.

A handler takes the :class:`Builder` and a :class:`~.onnx_values.Node` and returns what the node's
outputs are, in order. It reads every attribute it knows with ``node.attr``; one that no handler
reads is refused. Specifications are those of https://onnx.ai/onnx/operators/, cited by operator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.errors import ConversionError
from lstmc.graph import BATCH, TIME

from . import gates
from .onnx_values import (
    FEATURES,
    MEANINGS,
    NEXT,
    Axis,
    Const,
    Dim,
    Joined,
    Kind,
    Node,
    Sizes,
    Tracked,
    Zeros,
    axis_size,
    bind,
    bind_axis,
    is_zeros,
    regroup,
    take_features,
)
from .weights import float32


class Builder:
    """Collects layers; knows which one writes each value."""

    def __init__(self) -> None:
        self.layers: list[g.Layer] = []
        self.makers: dict[str, g.Layer] = {}
        self.names: set[str] = set()

    def unique(self, name: str) -> str:
        """A layer name not used before."""
        candidate, n = name, 2
        while candidate in self.names:
            candidate, n = f"{name}_{n}", n + 1
        self.names.add(candidate)
        return candidate

    def add(
        self, kind: type[g.Layer], node: Node, inputs: tuple[str | None, ...], **fields: Any
    ) -> None:
        """Append a layer for a node, writing the node's outputs unless told otherwise."""
        outputs = fields.pop("outputs", None) or (node.outputs[0],)
        name = self.unique(node.name)
        layer = kind(name=name, inputs=inputs, outputs=outputs, **fields)
        self.layers.append(layer)
        self.makers.update({n: layer for n in layer.outputs if n is not None})


Handler = Callable[[Builder, Node], list[Kind]]


def weight(const: Const) -> np.ndarray:
    """A constant as float32, exactly; bfloat16 and float8 widen without loss."""
    array = const.array
    if array.dtype.name.startswith(("bfloat16", "float8")):
        array = array.astype(np.float32)
    return float32(const.name, array)


# ------------------------------------------------------------------------------------- recurrent

# LSTM, "Activation functions". Affine(x) = alpha x + beta is here for its identity only.
ACTIVATIONS = {
    "sigmoid": g.SIGMOID,
    "tanh": g.TANH,
    "relu": g.RELU,
    "hardsigmoid": g.HARD_SIGMOID_ONNX,
    "affine": g.LINEAR,
}
# Defaults of those that take alpha and beta. Affine has none for alpha: it must be given.
PARAMETERS = {"hardsigmoid": (0.2, 0.5), "affine": (0.0, 0.0)}
WITH_PARAMETERS = {"affine", "elu", "hardsigmoid", "leakyrelu", "scaledtanh", "thresholdedrelu"}


def activations(node: Node, default: list[str]) -> list[g.Fn]:
    """The functions of a recurrent operator.

    Its alphas and betas "are consumed in the order of activation functions": by those that take
    one, as in ONNX Runtime. More values than those may mean one for each function, taken or not;
    where the two readings differ we refuse.
    """
    names = node.attr("activations", default)
    if len(names) != len(default):
        raise node.error(f"attribute activations has {len(names)} names, expected {len(default)}")
    keys = [n.lower() for n in names]
    takers = [i for i, k in enumerate(keys) if k in WITH_PARAMETERS]
    parameters: list[list[float]] = []
    for name in ("activation_alpha", "activation_beta"):
        values = node.attr(name, [])
        if len(values) > len(takers) and takers != list(range(len(takers))):
            raise node.error(
                f"attribute {name} has {len(values)} values for {len(takers)} functions that take "
                f"one, {names}: it is not clear which is whose; give only those that are used"
            )
        parameters.append([float(v) for v in values])
    functions = []
    for name, key in zip(names, keys, strict=True):
        if key not in ACTIVATIONS:
            known = "Sigmoid, Tanh, Relu, HardSigmoid"
            raise node.error(f"activation '{name}' is not supported; known: {known}")
        fn = ACTIVATIONS[key]
        if key in PARAMETERS:
            if key == "affine" and not parameters[0]:
                raise node.error("activation Affine without alpha, which has no default")
            defaults = zip(parameters, PARAMETERS[key], strict=True)
            alpha, beta = (given.pop(0) if given else d for given, d in defaults)
            if key == "affine" and (alpha, beta) != (1.0, 0.0):
                raise node.error(f"activation Affine({alpha:g}, {beta:g}) is not supported yet")
            fn = g.LINEAR if key == "affine" else hard_sigmoid_fn(node, alpha, beta)
        functions.append(fn)
    return functions


def hard_sigmoid_fn(node: Node, alpha: float, beta: float) -> g.Fn:
    if not np.isfinite([alpha, beta]).all():
        raise node.error(f"HardSigmoid with alpha {alpha:g} and beta {beta:g}")
    return g.Fn("hard_sigmoid", alpha, beta)


def lstm(b: Builder, node: Node) -> list[Kind]:
    """LSTM-7, -14, -22: one direction, from zero state. Gates iofc, B = [Wb, Rb]."""
    for name, default in (("direction", "forward"), ("input_forget", 0)):
        if (given := node.attr(name, default)) != default:
            raise node.error(f"attribute {name}={given} is not supported yet")
    if node.attr("clip") is not None:
        raise node.error("attribute clip is not supported yet")
    functions = activations(node, ["Sigmoid", "Tanh", "Tanh"])
    layout = node.attr("layout", 0)
    if layout not in (0, 1):
        raise node.error(f"attribute layout={layout} is unknown")

    w, r = weight(node.const(1, "weight W")), weight(node.const(2, "weight R"))
    hidden = node.attr("hidden_size", r.shape[-1] if r.ndim else 0)
    if w.ndim != 3 or w.shape[:2] != (1, 4 * hidden) or r.shape != (1, 4 * hidden, hidden):
        raise node.error(
            f"weights W {list(w.shape)} and R {list(r.shape)} don't fit hidden_size={hidden}"
        )
    bias = None
    if node.has(3):
        bias = weight(node.const(3, "bias B"))
        if bias.shape != (1, 8 * hidden):
            raise node.error(f"bias B has shape {list(bias.shape)}, expected [1, {8 * hidden}]")
        with np.errstate(over="ignore"):
            total = bias[0, : 4 * hidden] + bias[0, 4 * hidden :]
        bias = gates.lstm("onnx", float32(f"{node.input_names[3]}, Wb + Rb", total))
    if node.has(4):
        raise node.error("input sequence_lens is not supported yet; use predict(x, lengths=...)")
    for i, name in ((5, "initial_h"), (6, "initial_c")):
        if node.has(i) and not is_zeros(node.input(i)):
            why = "is not all zeros" if isinstance(node.input(i), Const) else "is no constant"
            raise node.error(
                f"input {name} ('{node.input_names[i]}') {why}; an initial state other than zeros "
                "is not supported yet. Export the model without one"
            )
    if node.has(7) and not is_zeros(node.input(7)):
        raise node.error("input P (peepholes) is not supported yet")

    x = node.value(0)
    if len(x.axes) != 3:
        raise node.error(f"its input X has rank {len(x.axes)}, expected 3")
    time, batch = (x.axes[0], x.axes[1]) if layout == 0 else (x.axes[1], x.axes[0])
    bind_axis(node, time, TIME)
    bind_axis(node, batch, BATCH)
    features(node, x, 2, w.shape[2])
    names = [*node.outputs, "", "", ""][:3]
    b.add(
        g.LSTM,
        node,
        (x.name,),
        outputs=tuple(n or None for n in names),
        weight_ih=gates.lstm("onnx", w[0]),
        weight_hh=gates.lstm("onnx", r[0]),
        bias=bias,
        gate=functions[0],
        candidate=functions[1],
        output=functions[2],
    )
    # Y: [time, direction, batch, hidden] or [batch, time, direction, hidden];
    # Y_h and Y_c: [direction, batch, hidden] or [batch, direction, hidden]
    h = (Dim(hidden, FEATURES),)
    sequence = (time, (), batch, h) if layout == 0 else (batch, time, (), h)
    state = ((), batch, h) if layout == 0 else (batch, (), h)
    return [Tracked(n, a, h) for n, a in zip(names, (sequence, state, state), strict=True)]


# ----------------------------------------------------------------------------------------- dense


def features(node: Node, value: Tracked, axis: int, size: int) -> None:
    """Say that one axis holds all features, ``size`` of them."""
    take_features(node, value, [axis])
    dims = value.axes[axis]
    if len(dims) == 1 and dims[0].size is None:
        dims[0].size = size
    if axis_size(dims) != size:
        raise node.error(f"gets {axis_size(dims)} features, its weights take {size}")


def dense(
    b: Builder, node: Node, x: Tracked, axis: int, matrix: np.ndarray, bias: np.ndarray | None
) -> Tracked:
    """A Dense over one axis of x; matrix [units, features]."""
    if 0 in matrix.shape:
        raise node.error(f"its weight has shape {list(matrix.shape)}")
    features(node, x, axis, matrix.shape[1])
    b.add(g.Dense, node, (x.name,), weight=matrix, bias=bias)
    units = (Dim(matrix.shape[0], FEATURES),)
    return Tracked(node.outputs[0], (*x.axes[:axis], units, *x.axes[axis + 1 :]), units)


def matmul(b: Builder, node: Node) -> list[Kind]:
    """MatMul-1, -9, -13 (numpy.matmul) with a constant matrix on either side."""
    left = isinstance(node.input(0), Const)
    x = node.value(1 if left else 0)
    const = node.const(0 if left else 1, "matrix")
    matrix = weight(const)
    rank = len(x.axes)
    if matrix.ndim > 2 and matrix.ndim <= rank and set(matrix.shape[:-2]) == {1}:
        matrix = matrix.reshape(matrix.shape[-2:])  # broadcast over the leading axes
    if matrix.ndim != 2 or rank < (2 if left else 1):
        raise node.error(
            f"multiplies a constant of shape {list(const.array.shape)} and a value of rank {rank}; "
            "a constant matrix of rank 2 is expected"
        )
    if left:
        return [dense(b, node, x, rank - 2, matrix, None)]
    return [dense(b, node, x, rank - 1, matrix.T, None)]


def gemm(b: Builder, node: Node) -> list[Kind]:
    """Gemm-7 to -13: Y = alpha A' B' + beta C, A or B constant."""
    alpha, beta = node.attr("alpha", 1.0), node.attr("beta", 1.0)
    transposed = node.attr("transA", 0), node.attr("transB", 0)
    side = 0 if isinstance(node.input(0), Const) else 1  # that of the constant
    const, x = node.const(side, "matrix"), node.value(1 - side)
    matrix = weight(const)
    if matrix.ndim != 2 or len(x.axes) != 2:
        raise node.error(
            f"takes matrices, got a constant of rank {matrix.ndim}, a value of rank {len(x.axes)}"
        )
    if transposed[side]:
        matrix = matrix.T
    if transposed[1 - side]:
        x = x.moved(x.axes[::-1])
    matrix = matrix if side == 0 else matrix.T
    with np.errstate(over="ignore"):
        matrix = float32(f"{const.name}, times alpha", matrix * np.float32(alpha))
    y = dense(b, node, x, side, matrix, None)  # the features are rows of B or columns of A
    if node.has(2) and beta:
        c = node.const(2, "addend C")
        with np.errstate(over="ignore"):
            scaled = float32(f"{c.name}, times beta", weight(c) * np.float32(beta))
        y = add_bias(b, node, y, scaled)
    return [y]


def add(b: Builder, node: Node) -> list[Kind]:
    """Add-7, -13, -14 of a constant to what a Dense gives."""
    side = 0 if isinstance(node.input(0), Const) else 1
    if not isinstance(node.input(side), Const):
        raise node.error(f"adds two computed values; {NEXT}")
    return [add_bias(b, node, node.value(1 - side), weight(node.const(side, "addend")))]


def add_bias(b: Builder, node: Node, x: Tracked, c: np.ndarray) -> Tracked:
    """x + c with numpy's broadcasting, where x comes from a Dense without an activation.

    Makes a second Dense that gives the sum. Gemm calls it for a Dense of its own, whose output is
    the node's too, so the first one is always replaced in place if it is this node's.
    """
    maker = b.makers.get(x.name)
    if not isinstance(maker, g.Dense) or maker.activation != g.LINEAR:
        raise node.error(f"adds a constant to what is no matrix product; {NEXT}")
    axes = ((),) * (c.ndim - len(x.axes)) + x.axes
    c = c.reshape((1,) * (len(axes) - c.ndim) + c.shape)
    where = [i for i, n in enumerate(c.shape) if n != 1]
    if any(axis_size(axes[i]) != c.shape[i] for i in where):
        raise node.error(f"adds a constant of shape {list(c.shape)} that doesn't fit the value")
    x = x.moved(axes)
    everywhere = [i for i, axis in enumerate(axes) if any(d in x.order for d in axis)]
    take_features(node, x, where or everywhere)
    bias = np.broadcast_to(c.reshape(-1), maker.weight.shape[:1]).copy()
    if maker.bias is not None:
        with np.errstate(over="ignore"):
            bias = float32(f"{node.name}, the sum of two biases", maker.bias + bias)
    if maker.outputs == (node.outputs[0],):
        maker.bias = bias
        return x
    b.add(g.Dense, node, maker.inputs, weight=maker.weight, bias=bias)
    return Tracked(node.outputs[0], axes, x.order)


# ------------------------------------------------------------------------------------ elementwise


def elementwise(fn: g.Fn | Callable[[Node], g.Fn]) -> Handler:
    def handler(b: Builder, node: Node) -> list[Kind]:
        x = node.value(0)
        b.add(g.Activation, node, (x.name,), activation=fn if isinstance(fn, g.Fn) else fn(node))
        return [Tracked(node.outputs[0], x.axes, x.order)]

    return handler


def hard_sigmoid(node: Node) -> g.Fn:
    """HardSigmoid-6, -22: alpha 0.2, beta 0.5 unless given."""
    return hard_sigmoid_fn(node, node.attr("alpha", 0.2), node.attr("beta", 0.5))


def softmax(b: Builder, node: Node) -> list[Kind]:
    """Softmax-13: over one axis. Softmax-1, -11: over all axes from ``axis`` on, as one."""
    x = node.value(0)
    rank = len(x.axes)
    axis = node.axis(node.attr("axis", -1 if node.opset >= 13 else 1), rank)
    take_features(node, x, [axis] if node.opset >= 13 else list(range(axis, rank)))
    b.add(g.Softmax, node, (x.name,))
    return [Tracked(node.outputs[0], x.axes, x.order)]


def identity(b: Builder, node: Node) -> list[Kind]:
    return [node.input(0)]


def dropout(b: Builder, node: Node) -> list[Kind]:
    """Dropout-7 to -22: the identity at inference. From 12 on input 2 may ask for training."""
    node.only_outputs(1)
    node.attr("ratio")
    node.attr("seed")
    if node.has(2) and np.any(node.const(2, "training_mode").array):
        raise node.error("training_mode is true; export the model for inference (model.eval())")
    return [node.input(0)]


def cast(b: Builder, node: Node) -> list[Kind]:
    """Cast to float32 (TensorProto.FLOAT = 1) of what is float32; sizes stay integers."""
    to = node.attr("to")
    node.attr("saturate")
    node.attr("round_mode")
    kind = node.input(0)
    if isinstance(kind, Zeros) or (isinstance(kind, Sizes) and to in (6, 7)):
        return [kind]
    if to != 1:
        raise node.error(f"attribute to={to} is another type than float32 (1); {NEXT}")
    return [node.value(0)]


# --------------------------------------------------------------------------------------- movement


def last_step(b: Builder, node: Node, x: Tracked, dim: Dim, axes: tuple[Axis, ...]) -> Tracked:
    """The last time step of x, time being ``dim``; ``axes`` are the result's."""
    bind(node, dim, TIME)
    b.add(g.LastStep, node, (x.name,))
    return Tracked(node.outputs[0], axes, tuple(d for d in x.order if d is not dim))


def transpose(b: Builder, node: Node) -> list[Kind]:
    x = node.value(0)
    perm = node.attr("perm", list(range(len(x.axes)))[::-1])
    if sorted(perm) != list(range(len(x.axes))):
        raise node.error(f"attribute perm={perm} doesn't fit a tensor of rank {len(x.axes)}")
    return [x.moved(tuple(x.axes[i] for i in perm))]


def squeeze(b: Builder, node: Node) -> list[Kind]:
    """Squeeze-1, -11 (attribute axes), -13 on (input axes).

    A time axis of size 1 that is dropped means its last step.
    """
    axes = node.ints(1, "axes")
    kind = node.input(0)
    if isinstance(kind, Sizes):
        if len(kind.items) != 1:
            raise node.error(f"squeezes {len(kind.items)} sizes to none")
        return [Sizes(kind.items, scalar=True)]
    x = node.value(0)
    sizes = [axis_size(a) for a in x.axes]
    if axes is None:
        if None in sizes:
            raise node.error(
                "has no axes given, and an axis of the value is of open size: what it drops "
                "depends on the data. Name the axes in the model"
            )
        axes = [i for i, n in enumerate(sizes) if n == 1]
    axes = [node.axis(a, len(x.axes)) for a in axes]
    dropped = [d for i in axes for d in x.axes[i]]
    for i in axes:
        if sizes[i] != 1:
            raise node.error(f"drops axis {i}, which is not known to be of size 1")
    kept = tuple(a for i, a in enumerate(x.axes) if i not in axes)
    time = [d for d in dropped if d.label == TIME]
    for dim in dropped:
        if dim.label == BATCH:
            raise node.error("drops the batch axis, which lstmc always keeps")
        if dim not in time:
            bind(node, dim, FEATURES)
    return [last_step(b, node, x, time[0], kept) if time else x.moved(kept)]


def unsqueeze(b: Builder, node: Node) -> list[Kind]:
    """Unsqueeze-1, -11 (attribute axes), -13 on (input axes)."""
    new = node.ints(1, "axes") or []
    kind = node.input(0)
    if isinstance(kind, Sizes):
        if not kind.scalar or new not in ([0], [-1]):
            raise node.error(f"makes a matrix of sizes; {NEXT}")
        return [Sizes(kind.items)]
    x = node.value(0)
    rank = len(x.axes) + len(new)
    new = [node.axis(a, rank) for a in new]
    if len(set(new)) != len(new):
        raise node.error(f"axes {new} repeat")
    old = iter(x.axes)
    return [x.moved(tuple(() if i in new else next(old) for i in range(rank)))]


def reshape(b: Builder, node: Node) -> list[Kind]:
    """Reshape-5 to -25: 0 copies an axis unless allowzero."""
    if node.attr("allowzero", 0):
        raise node.error("attribute allowzero=1 is not supported")
    shape = node.input(1)
    if isinstance(node.input(0), Sizes):
        raise node.error(f"reshapes the result of Shape; {NEXT}")
    x = node.value(0)
    items: list[int | Axis]
    if isinstance(shape, Sizes):
        items = list(shape.items)
    else:
        items = list(node.ints(1, "shape") or [])
    if any(isinstance(n, int) and n < -1 for n in items):
        raise node.error(f"its shape {items} holds a negative size")
    for i, item in enumerate(items):
        if item == 0:
            items[i] = x.axes[node.axis(i, len(x.axes))]
    return [settle(b, node, regroup(node, x, items))]


def settle(b: Builder, node: Node, x: Tracked, final: bool = False) -> Tracked:
    """A reshape may merge a time axis of size 1 into the features: that is its last step.

    Merged with the batch only, it may well be split off again.
    """
    for i, axis in enumerate(x.axes):
        time = [d for d in axis if d.label == TIME and d.is_one()]
        if time and (final or any(d.label == FEATURES for d in axis)) and len(axis) > 1:
            rest = tuple(d for d in axis if d is not time[0])
            return last_step(b, node, x, time[0], (*x.axes[:i], rest, *x.axes[i + 1 :]))
    return x


def flatten(b: Builder, node: Node) -> list[Kind]:
    """Flatten-1 to -25: to a matrix, split before ``axis``."""
    x = node.value(0)
    axis = node.attr("axis", 1)
    axis = axis if axis == len(x.axes) else node.axis(axis, len(x.axes))
    parts = x.axes[:axis], x.axes[axis:]
    return [settle(b, node, x.moved(tuple(tuple(d for a in p for d in a) for p in parts)))]


def gather(b: Builder, node: Node) -> list[Kind]:
    """Gather-1, -11, -13: sizes out of a shape; the last step out of a sequence."""
    kind = node.input(0)
    index = node.const(1, "indices").array
    if index.dtype.kind not in "iu":
        raise node.error(f"its indices are {index.dtype}, expected integers")
    if isinstance(kind, Sizes):
        node.attr("axis")
        if kind.scalar or index.ndim > 1:
            raise node.error("gathers sizes into a matrix")
        picked = [kind.items[node.axis(i, len(kind.items))] for i in index.reshape(-1).tolist()]
        return [Sizes(tuple(picked), scalar=index.ndim == 0)]
    if isinstance(kind, Joined):
        return [pick_part(node, kind, index, node.attr("axis", 0))]
    x = node.value(0)
    axis = node.axis(node.attr("axis", 0), len(x.axes))
    if index.size != 1:
        raise node.error(f"picks {index.size} places of an axis; {NEXT}")
    n = int(index.reshape(-1)[0])
    return [pick(b, node, x, axis, n, n + 1 or None, keep=((),) * index.ndim)]


def pick_part(node: Node, joined: Joined, index: np.ndarray, axis: int) -> Tracked:
    """One of the joined values."""
    first = joined.parts[0]
    if node.axis(axis, len(first.axes)) != joined.axis or index.size != 1:
        raise node.error(f"takes more than one of several joined values; {NEXT}")
    x = joined.parts[node.axis(int(index.reshape(-1)[0]), len(joined.parts))]
    keep: tuple[Axis, ...] = ((),) * index.ndim
    return x.moved((*x.axes[: joined.axis], *keep, *x.axes[joined.axis + 1 :]))


def pick(
    b: Builder, node: Node, x: Tracked, axis: int, start: int, stop: int | None, keep: Any = ((),)
) -> Tracked:
    """x[start:stop] on one axis, of which one place is left; ``keep`` replaces the axis."""
    dims = x.axes[axis]
    axes = (*x.axes[:axis], *keep, *x.axes[axis + 1 :])
    size = axis_size(dims)
    if size == 1 and all(d.label == FEATURES for d in dims) and len(range(1)[start:stop]):
        return x.moved(axes)
    last = start == -1 and (stop is None or stop >= (size or 2**31 - 1))
    if size is not None:
        last = range(size)[start:stop] == range(size - 1, size)
    if len(dims) == 1 and last and dims[0].label in (None, TIME):
        return last_step(b, node, x, dims[0], axes)
    label = dims[0].label if len(dims) == 1 else None
    what = "an axis" if label is None else MEANINGS[label]
    raise node.error(
        f"takes [{start}:{'' if stop is None else stop}] of {what}; only the last time step can "
        "be taken (index -1, or T - 1 where the time axis has the fixed size T)"
    )


def slice_(b: Builder, node: Node) -> list[Kind]:
    """Slice-1 (attributes), -10, -11, -13 (inputs): all of an axis, or its last step."""
    kind = node.input(0)
    starts, ends = node.ints(1, "starts") or [], node.ints(2, "ends") or []
    axes = node.ints(3, "axes", list(range(len(starts)))) or []
    steps = node.ints(4, "steps", [1] * len(starts)) or []
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise node.error("its starts, ends, axes and steps differ in length")
    if isinstance(kind, Sizes):
        if kind.scalar or len(starts) != 1 or steps[0] == 0:
            raise node.error("slices a shape in more than one dimension or in steps of 0")
        return [Sizes(kind.items[starts[0] : ends[0] : steps[0]])]
    x = node.value(0)
    axes = [node.axis(a, len(x.axes)) for a in axes]
    if len(set(axes)) != len(axes):
        raise node.error(f"axes {axes} repeat")
    partial = []
    for start, stop, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = axis_size(x.axes[axis])
        whole = start == 0 and stop >= 2**31 - 1
        if size is not None and step == 1:
            whole = range(size)[start:stop] == range(size)
        if step != 1:
            raise node.error(f"has a step of {step}; {NEXT}")
        if not whole:
            partial.append((axis, start, stop))
    if len(partial) > 1:
        raise node.error(f"cuts several axes at once; {NEXT}")
    return [pick(b, node, x, *partial[0]) if partial else x]


# ----------------------------------------------------------------------------------------- shapes


def shape(b: Builder, node: Node) -> list[Kind]:
    """Shape-1 to -25; start and end from 15 on."""
    start, end = node.attr("start", 0), node.attr("end")
    kind = node.input(0)
    if isinstance(kind, Sizes):
        sizes = Sizes(() if kind.scalar else (len(kind.items),))
    else:
        sizes = Sizes(tuple(node.value(0).axes))
    # features and axes of size 1 are the same whatever the input
    fixed = (
        axis_size(a) if not isinstance(a, int) and all(d.label == FEATURES for d in a) else a
        for a in sizes.items[start:end]
    )
    return [Sizes(tuple(1 if a is None else a for a in fixed))]


def constant_of_shape(b: Builder, node: Node) -> list[Kind]:
    """ConstantOfShape-9 on: zero (the default) of any shape."""
    value = node.attr("value")
    if value is None or is_zeros(Const("", value)):
        return [Zeros()]
    raise node.error(
        "its shape depends on the inputs or is huge, and its value is not 0.0; only zero is known"
    )


def concat(b: Builder, node: Node) -> list[Kind]:
    """Concat-4 on, of sizes, or of values of which one is picked again."""
    axis = node.attr("axis")
    parts = [node.input(i) for i in range(len(node.inputs))]
    values = tuple(p for p in parts if isinstance(p, Tracked))
    if values and len(values) == len(parts):
        at = node.axis(axis, len(values[0].axes))
        if all(len(v.axes) == len(values[0].axes) and v.axes[at] == () for v in values):
            return [Joined(values, at)]
    items: list[int | Axis] = []
    for i in range(len(node.inputs)):
        kind = node.input(i)
        if isinstance(kind, Const) and kind.array.ndim == 1 and kind.array.dtype.kind in "iu":
            items += kind.array.tolist()
        elif isinstance(kind, Sizes) and not kind.scalar:
            items += kind.items
        else:
            raise node.error(f"joins values; {NEXT}")
    if axis not in (0, -1):
        raise node.error(f"joins sizes on axis {axis}")
    return [Sizes(tuple(items))]


def expand(b: Builder, node: Node) -> list[Kind]:
    raise node.error(f"repeats a value; {NEXT}, but for an initial state of zeros")


# Whatever the shape, these make zeros of zeros: an initial state of any batch size.
KEEP_ZEROS = {
    *("Cast", "Concat", "Expand", "Gather", "Identity", "Reshape"),
    *("Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
}


def zeros(node: Node) -> list[Kind] | None:
    """The outputs of a node that only moves zeros, None if it isn't one.

    Attributes and further inputs say where the zeros go, so they need not be understood.
    """
    sources = node.inputs if node.op == "Concat" else node.inputs[:1]
    if node.op not in KEEP_ZEROS or not sources or not all(is_zeros(k) for k in sources):
        return None
    node.seen.update(node.attrs)
    return [Zeros() for _ in node.outputs]


# ---------------------------------------------------------------------------------------- registry

HANDLERS: dict[str, Handler] = {
    "Add": add,
    "Cast": cast,
    "Concat": concat,
    "ConstantOfShape": constant_of_shape,
    "Dropout": dropout,
    "Exp": elementwise(g.Fn("exponential")),
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "Gemm": gemm,
    "HardSigmoid": elementwise(hard_sigmoid),
    "Identity": identity,
    "LSTM": lstm,
    "MatMul": matmul,
    "Relu": elementwise(g.RELU),
    "Reshape": reshape,
    "Shape": shape,
    "Sigmoid": elementwise(g.SIGMOID),
    "Slice": slice_,
    "Softmax": softmax,
    "Squeeze": squeeze,
    "Tanh": elementwise(g.TANH),
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}


def run(b: Builder, node: Node) -> list[Kind]:
    """What a node's outputs are; ConversionError if that can't be represented."""
    handler = HANDLERS.get(node.op)
    if (result := zeros(node)) is not None:
        return result
    if handler is None:
        known = ", ".join(sorted(HANDLERS))
        raise node.error(f"this operator is not supported; known: {known}")
    try:
        result = handler(b, node)
    except ConversionError as e:
        if str(e).startswith("node "):
            raise
        raise node.error(str(e)) from e
    if unknown := set(node.attrs) - node.seen:
        raise node.error(f"attribute {sorted(unknown)[0]} is not known for this operator")
    return result
