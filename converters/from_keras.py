"""Keras models to graphs: `.keras` archives, `.h5` files of Keras 2 and 3, live models.

All of them take one path: :mod:`.keras_file` opens the container, :mod:`.keras_config` checks the
config and makes a tree of it, and the handlers here turn each layer into layers of the graph.
Keras itself is never imported; a file needs h5py, a live model nothing.

To add a layer of Keras: a handler, and a row in :data:`LAYERS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.errors import ConversionError, FormatError

from . import gates
from .keras_config import IGNORE, READ, Input, Kind, Layer, Leaf, Model, Only, Parser
from .keras_file import Source, open_source

# In the provenance of graphs; to be raised when the same source begins to give another graph.
CONVERTER = "from_keras 1"

# Nested models that call each other several times grow exponentially; nothing real comes close.
MAX_LAYERS = 10_000


def convert(source: Any, **options: Any) -> g.Graph:
    """Convert a path (`.keras`, `.h5`) or a live keras.Sequential or functional keras.Model.

    The graph keeps Keras's names of inputs (of the InputLayers) and outputs (of the layers that
    make them, as in model.output_names), or the keys where the model takes or gives dicts.
    FormatError if a file can't be read, ConversionError if lstmc can't represent what it holds.
    """
    if options:
        raise ConversionError(f"the Keras converter has no option '{min(options)}'")
    try:
        with open_source(source) as opened:
            return _convert(opened)
    except RecursionError as e:
        raise ConversionError("the model is nested too deeply to be converted") from e


def _convert(source: Source) -> g.Graph:
    major = int(source.version.partition(".")[0])
    model = Parser(LAYERS, major, source.partitioned).parse(source.root)
    unused = source.unused(model)
    if unused:
        raise ConversionError(
            f"there are weights of '{unused[0]}', but no such layer in the model's config; "
            "save the model again"
        )
    graph = Builder(source, major).build(model)
    graph.provenance = {
        "source": "keras",
        **({"file": source.file} if source.file else {}),
        "producer": f"keras {source.version}",
        "converter": CONVERTER,
    }
    graph.infer()
    return graph


# --------------------------------------------------------------------------------------- builder


@dataclass(frozen=True)
class Tensor:
    """A value of the graph in the making; ``time`` is its fixed number of steps, if any."""

    name: str
    spec: g.Spec
    time: int | None


class Builder:
    """Runs the calls of a model symbolically and collects the layers of the graph."""

    def __init__(self, source: Source, major: int) -> None:
        self.source = source
        self.hard_sigmoid = g.HARD_SIGMOID_KERAS2 if major == 2 else g.HARD_SIGMOID_KERAS3
        self.layers: list[g.Layer] = []
        self._names: set[str] = set()
        self._weights: dict[tuple[str, ...], list[np.ndarray]] = {}

    def build(self, model: Model) -> g.Graph:
        inputs = []
        for name, child in model.inputs:
            item = model.children[child]
            assert isinstance(item, Input)
            self._names.add(name)
            inputs.append(
                Tensor(name, g.Spec(item.features, g.Steps() if item.sequence else None), item.time)
            )
        steps = {t.time for t in inputs if t.time is not None}
        if len(steps) > 1:
            raise ConversionError(
                f"inputs of different lengths ({', '.join(map(str, sorted(steps)))} steps) are not "
                "supported; give all inputs the same number of time steps"
            )
        outputs = self.run(model, inputs, ())
        outputs = self._name_outputs([n for n, _ in model.outputs], outputs, inputs)
        return g.Graph(
            inputs=[_value(t) for t in inputs],
            outputs=[_value(t) for t in outputs],
            layers=self.layers,
        )

    def run(self, model: Model, args: list[Tensor], prefix: tuple[str, ...]) -> list[Tensor]:
        """The outputs of a model for the given inputs. ``prefix`` goes before its layers' names."""
        if len(args) != len(model.inputs):
            model.refuse(
                f"it gets {len(args)} tensors for {len(model.inputs)} inputs", "call it so"
            )
        values: dict[tuple[str, int], list[Tensor]] = {}
        for (_, child), tensor in zip(model.inputs, args, strict=True):
            item = model.children[child]
            assert isinstance(item, Input)
            if tensor.spec != g.Spec(item.features, g.Steps() if item.sequence else None):
                item.refuse(f"it gets {tensor.spec}", "feed it what its shape says")
            values[child, 0] = [tensor]
        order: TopologicalSorter[tuple[str, int]] = TopologicalSorter()
        for name, item in model.children.items():
            for i, call in enumerate(item.calls):
                order.add((name, i), *((r.layer, r.call) for r in call))
        try:
            nodes = list(order.static_order())
        except CycleError as e:
            raise FormatError(f"the model's config is corrupt: {model.label}: it loops") from e
        for name, i in nodes:
            item = model.children[name]
            if (name, i) in values:
                continue
            if isinstance(item, Input):
                item.refuse("it isn't among the model's inputs", "save the model again")
            got = [values[r.layer, r.call][r.tensor] for r in item.calls[i]]
            # Further calls of a shared layer are layers of their own with the same weights.
            label = (*prefix, name if i == 0 else f"{name}:{i}")
            if isinstance(item, Model):
                values[name, i] = self.run(item, got, label)
                continue
            assert isinstance(item, Layer)
            if len(got) != 1:
                item.refuse(
                    f"it is called with {len(got)} tensors", "only one tensor, and no initial state"
                )
            values[name, i] = [item.kind.build(self, item, got[0], "/".join(label))]
        missing = [r.layer for _, r in model.outputs if (r.layer, r.call) not in values]
        if missing:
            model.children[missing[0]].refuse("it isn't among the inputs", "save the model again")
        return [values[r.layer, r.call][r.tensor] for _, r in model.outputs]

    # ---- for handlers

    def fn(self, layer: Layer, option: str) -> g.Fn | None:
        """The function that an option names; None stands for softmax, a layer of its own."""
        value = layer.config.get(option, "")
        if value is None or value == "linear":  # Keras: "activation=None" means linear
            return g.LINEAR
        if value == "softmax":
            return None
        if value == "hard_sigmoid":
            return self.hard_sigmoid
        known = ("linear", "sigmoid", "tanh", "relu", "hard_sigmoid", "exponential", "softmax")
        if not isinstance(value, str) or value not in known:
            layer.refuse(
                f"option {option}={str(value)[:60]} is not supported", f"use {', '.join(known)}"
            )
        return g.Fn(value)

    def units(self, layer: Layer) -> int:
        units = layer.config.get("units")
        if type(units) is not int or units < 1:
            layer.refuse(f"option units={str(units)[:60]} is not a size", "save the model again")
        return units

    def weights(self, leaf: Layer, *shapes: tuple[int, ...]) -> list[np.ndarray | None]:
        """The layer's weights in Keras's own order and layout, None for a bias it hasn't got.

        Read once, checked for shape before that, for infinities and NaN after.
        """
        assert isinstance(leaf, Leaf)
        if leaf.path not in self._weights:
            stored = self.source.weights(leaf)
            if len(stored) != len(leaf.weights):
                leaf.refuse(
                    f"{len(stored)} weights are stored, expected {', '.join(leaf.weights)}",
                    "if it was never built, call the model on data once and save it again",
                )
            rows = zip(leaf.weights, stored, shapes[: len(stored)], strict=True)
            self._weights[leaf.path] = [_weight(leaf, *row) for row in rows]
        found: list[np.ndarray | None] = [*self._weights[leaf.path]]
        return found + [None] * (len(shapes) - len(found))

    def add(self, layer: g.Layer, x: Tensor, label: str, output: int = 0) -> Tensor:
        """Append a layer that reads ``x``; its output number ``output`` becomes a value."""
        if len(self.layers) >= MAX_LAYERS:
            raise ConversionError(f"the model has more than {MAX_LAYERS} layers")
        # Names of layers and values are kept equal, and unlike every other's.
        layer.name = name = self._unique(label)
        layer.inputs = (x.name,)
        spec = layer.infer(x.spec)
        layer.outputs = tuple(name if i == output else None for i in range(len(spec)))
        self.layers.append(layer)
        return Tensor(name, spec[output], x.time if spec[output].time else None)

    # ---- names

    def _unique(self, label: str) -> str:
        name, n = label, 0
        while name in self._names:
            n += 1
            name = f"{label}_{n}"
        self._names.add(name)
        return name

    def _name_outputs(
        self, names: list[str], outputs: list[Tensor], inputs: list[Tensor]
    ) -> list[Tensor]:
        """Give the outputs Keras's names, whatever their values were called until now."""
        wanted: dict[str, str] = {}  # value so far: its name as an output
        fixed = {t.name for t in inputs}
        result = []
        for i, (name, tensor) in enumerate(zip(names, outputs, strict=True)):
            n = 0
            while name in names[:i] or name in wanted.values():  # as Keras 2 does: dense, dense_1
                n += 1
                name = f"{names[i]}_{n}"
            if (tensor.name in fixed and tensor.name != name) or tensor.name in wanted:
                # An input handed on, or one value under two names: a layer that does nothing.
                identity = g.Activation(name="", inputs=(), outputs=(), activation=g.LINEAR)
                tensor = self.add(identity, tensor, name)
            wanted[tensor.name] = name
            result.append(dataclasses.replace(tensor, name=name))
        if any(old in fixed and old != new for old, new in wanted.items()) or any(
            new in fixed and old != new for old, new in wanted.items()
        ):
            raise ConversionError("an output has the name of an input; rename one of them")
        # Whoever has the name of an output without being it steps aside.
        values = {n for layer in self.layers for n in layer.outputs if n is not None}
        names_taken = set(wanted.values())
        self._names |= names_taken
        rename = {old: self._unique(old) for old in sorted(values & names_taken)} | wanted
        for layer in self.layers:
            layer.rename(rename)
        return result


def _value(tensor: Tensor) -> g.Value:
    time = (g.TIME,) if tensor.spec.time else ()
    return g.Value(tensor.name, (g.BATCH, *time, tensor.spec.features), time=tensor.time)


def _weight(leaf: Leaf, name: str, stored: Any, shape: tuple[int, ...]) -> np.ndarray:
    if tuple(stored.shape) != shape:
        leaf.refuse(
            f"its weight '{name}' has shape {tuple(stored.shape)}, expected {shape}",
            "the weights don't belong to this architecture",
        )
    if np.dtype(stored.dtype) not in (np.float16, np.float32, np.float64):
        leaf.refuse(f"its weight '{name}' is {stored.dtype}", "save it as float32")
    array = np.asarray(stored[()])
    if not np.isfinite(array).all():
        leaf.refuse(f"its weight '{name}' holds NaN or infinity", "train or load it again")
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    if (single != array).any():
        leaf.refuse(
            f"its weight '{name}' is {stored.dtype} and not exact in float32", "save it as float32"
        )
    return single


# -------------------------------------------------------------------------------------- handlers
# Each gets the layer, the tensor it is called on and a name for what it adds to the graph.


def lstm(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    """kernel [I, 4H], recurrent_kernel [H, 4H], bias [4H], gates i f c o in the columns."""
    if not x.spec.time:
        layer.refuse("its input has no time axis", "give it [batch, time, features]")
    n = 4 * b.units(layer)
    kernel, recurrent, bias = b.weights(layer, (x.spec.features, n), (n // 4, n), (n,))
    assert kernel is not None and recurrent is not None
    gate, activation = b.fn(layer, "recurrent_activation"), b.fn(layer, "activation")
    if gate is None or activation is None:
        layer.refuse("softmax inside of an LSTM is not supported", "use another activation")
    made = g.LSTM(
        name=label,
        inputs=(),
        outputs=(),
        weight_ih=gates.lstm("keras", kernel.T),
        weight_hh=gates.lstm("keras", recurrent.T),
        bias=None if bias is None else gates.lstm("keras", bias),
        gate=gate,
        candidate=activation,
        output=activation,
    )
    sequences = layer.config.get("return_sequences")
    if not isinstance(sequences, bool):
        layer.refuse(f"option return_sequences={str(sequences)[:60]}", "save the model again")
    return b.add(made, x, label, 0 if sequences else 1)


def dense(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    """kernel [K, N], bias [N]."""
    n = b.units(layer)
    kernel, bias = b.weights(layer, (x.spec.features, n), (n,))
    assert kernel is not None
    fn = b.fn(layer, "activation")
    made = g.Dense(
        name=label,
        inputs=(),
        outputs=(),
        weight=kernel.T,
        bias=bias,
        activation=g.LINEAR if fn is None else fn,
    )
    y = b.add(made, x, label)
    return _softmax(b, y, f"{label}/softmax") if fn is None else y


def activation(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    fn = b.fn(layer, "activation")
    return _softmax(b, x, label) if fn is None else _activation(b, fn, x, label)


def relu(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    return _activation(b, g.RELU, x, label)


def softmax(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    axis = layer.config.get("axis", -1)
    if isinstance(axis, list) and len(axis) == 1:  # Keras 2 may keep a list
        axis = axis[0]
    if axis not in (-1, 2 if x.spec.time else 1) or isinstance(axis, bool):
        layer.refuse(f"option axis={str(axis)[:60]} is not supported", "use the last axis, -1")
    return _softmax(b, x, label)


def nothing(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    """A layer that only acts in training."""
    return x


def time_distributed(b: Builder, layer: Layer, x: Tensor, label: str) -> Tensor:
    (inner,) = layer.wrapped
    if not inner.kind.stepwise:
        layer.refuse(f"around a {inner.class_name} it is not supported", "wrap a Dense")
    if not x.spec.time:
        layer.refuse("its input has no time axis", "give it [batch, time, features]")
    y: Tensor = inner.kind.build(b, inner, x, label)
    return y


def _activation(b: Builder, fn: g.Fn, x: Tensor, label: str) -> Tensor:
    return b.add(g.Activation(name=label, inputs=(), outputs=(), activation=fn), x, label)


def _softmax(b: Builder, x: Tensor, label: str) -> Tensor:
    return b.add(g.Softmax(name=label, inputs=(), outputs=()), x, label)


# --------------------------------------------------------------------------------------- registry


def _training(*names: str) -> Iterable[tuple[str, str]]:
    """Options of weights and of training, which mean nothing to inference."""
    for name in names:
        yield from ((f"{name}_{what}", IGNORE) for what in ("initializer", "regularizer"))
        yield f"{name}_constraint", IGNORE


_DROPOUT = dict.fromkeys(("rate", "seed", "noise_shape", "data_format"), IGNORE)
_DENSE = {
    **dict.fromkeys(("units", "activation", "use_bias"), READ),
    **dict(_training("kernel", "bias", "activity")),
    "lora_rank": Only((None,), "merge the LoRA weights into the kernel and build it without"),
    "lora_alpha": Only((None,), "merge the LoRA weights into the kernel and build it without"),
    "quantization_config": Only((None,), "convert the model before it is quantized"),
}
_RECURRENT = {
    **dict.fromkeys(("units", "activation", "recurrent_activation", "use_bias"), READ),
    "return_sequences": READ,
    **dict(_training("kernel", "recurrent", "bias", "activity")),
    # The mask that zero_output_for_mask is about comes from layers that are refused.
    **dict.fromkeys(("dropout", "recurrent_dropout", "seed", "zero_output_for_mask"), IGNORE),
    # Ways to compute the same.
    **dict.fromkeys(("unroll", "implementation", "use_cudnn", "unit_forget_bias"), IGNORE),
    "enable_caching_device": IGNORE,
    "return_state": Only((False,), "build it without; a stream's state can be read at any time"),
    "go_backwards": Only((False,), "reverse the input in time before the model"),
    "stateful": Only((False,), "build it with stateful=False; model.stream() keeps the state"),
    "time_major": Only((False,), "build it with [batch, time, features]"),
}
_RELU = {
    "max_value": Only((None,), "use a plain ReLU"),
    "negative_slope": Only((None, 0), "use a plain ReLU"),
    "threshold": Only((None, 0), "use a plain ReLU"),
}
_BIASED = ("kernel", "bias")
_GATED = ("kernel", "recurrent_kernel", "bias")

LAYERS: dict[str, Kind] = {
    "Activation": Kind(activation, {"activation": READ}, stepwise=True),
    "Dense": Kind(dense, _DENSE, _BIASED, stepwise=True),
    "Dropout": Kind(nothing, _DROPOUT, stepwise=True),
    "LSTM": Kind(lstm, _RECURRENT, _GATED, at="cell"),
    "ReLU": Kind(relu, _RELU, stepwise=True),
    "Softmax": Kind(softmax, {"axis": READ}),
    "SpatialDropout1D": Kind(nothing, _DROPOUT),
    "TimeDistributed": Kind(time_distributed, {"layer": READ}, wraps=(("layer", "layer"),)),
}
