"""The graph: what converters make, what a file holds, what the core runs.

A :class:`Graph` is a list of layers in execution order. Layers read and write *values*, named by
strings. Inside the graph a value is abstract: per row of the batch it is one vector of ``features``
float32 numbers (time-less) or one such vector a time step. Only the graph's own inputs and outputs
have an order of axes, which is the source model's, kept as it was.

Nothing here computes: :mod:`lstmc.reference` says in float64 what every layer means, ``c_src/``
runs it in float32, :mod:`lstmc.format` stores it. Adding a layer means adding one dataclass here;
its fields carry enough metadata for the file format to store it without knowing it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .errors import ConversionError

BATCH = "batch"
TIME = "time"

Axis = str | int
FLOAT32_MAX = float(np.finfo(np.float32).max)


# --------------------------------------------------------------------------------------- values


@dataclass(frozen=True)
class Value:
    """An input or output of the graph: its name and the order of its axes.

    ``axes`` holds :data:`BATCH` at most once, :data:`TIME` at most once, and sizes. Sizes before
    the last symbolic axis must be 1; the product of the others is the number of features.
    ``time`` is the number of steps the source insists on, or None where any length goes.
    """

    name: str
    axes: tuple[Axis, ...]
    dtype: str = "float32"
    time: int | None = None

    def __post_init__(self) -> None:
        symbols = [a for a in self.axes if isinstance(a, str)]
        if sorted(symbols) != sorted(set(symbols)) or not set(symbols) <= {BATCH, TIME}:
            raise ConversionError(f"value '{self.name}': axes {self.axes} repeat or are unknown")
        if self.dtype != "float32":
            raise ConversionError(f"value '{self.name}': dtype {self.dtype} is not supported")
        last = max((i for i, a in enumerate(self.axes) if isinstance(a, str)), default=-1)
        for i, a in enumerate(self.axes):
            if not isinstance(a, str) and (a < 1 or (i < last and a != 1)):
                raise ConversionError(f"value '{self.name}': axes {self.axes} can't be laid out")

    @property
    def spec(self) -> Spec:
        """What the value is inside the graph."""
        sizes = [a for a in self.axes if not isinstance(a, str)]
        return Spec(math.prod(sizes), TIME in self.axes)

    def shape(self, batch: int | None = None, time: int | None = None) -> tuple[int | None, ...]:
        """The shape of an array for this value; None stands for a size left open."""
        sizes: dict[Axis, int | None] = {BATCH: batch, TIME: self.time if time is None else time}
        return tuple(sizes[a] if isinstance(a, str) else a for a in self.axes)


@dataclass(frozen=True)
class Spec:
    """A value inside the graph: ``features`` floats a row, once or at every time step."""

    features: int
    time: bool


# ---------------------------------------------------------------------------------- activations

# Codes of elementwise functions in files and in the core (enum lstmc_fn). Never renumber.
FN_CODES: dict[str, int] = {
    "linear": 0,
    "sigmoid": 1,
    "tanh": 2,
    "relu": 3,
    "hard_sigmoid": 4,
    "exponential": 5,
}


@dataclass(frozen=True)
class Fn:
    """An elementwise function.

    ==============  ===========================================================
    linear          x
    sigmoid         1 / (1 + exp(-x))
    tanh            tanh(x)
    relu            max(x, 0)
    hard_sigmoid    max(0, min(1, alpha x + beta)); ONNX and Keras 2: 0.2, 0.5;
                    Keras 3 and PyTorch: 1/6, 0.5
    exponential     exp(x)
    ==============  ===========================================================
    """

    kind: str
    alpha: float = 0.0
    beta: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in FN_CODES:
            raise ConversionError(
                f"activation '{self.kind}' is not supported; known: {', '.join(FN_CODES)}"
            )

        if self.kind != "hard_sigmoid" and (self.alpha or self.beta):
            raise ConversionError(f"activation '{self.kind}' has no alpha and beta")
        if not all(abs(v) <= FLOAT32_MAX for v in (self.alpha, self.beta)):
            raise ConversionError(f"activation '{self.kind}': {self.alpha}, {self.beta} as float32")

    def __str__(self) -> str:
        return f"{self.kind}({self.alpha:g}, {self.beta:g})" if self.alpha else self.kind


LINEAR, SIGMOID, TANH, RELU = Fn("linear"), Fn("sigmoid"), Fn("tanh"), Fn("relu")
HARD_SIGMOID_ONNX = HARD_SIGMOID_KERAS2 = Fn("hard_sigmoid", 0.2, 0.5)
HARD_SIGMOID_KERAS3 = HARD_SIGMOID_TORCH = Fn("hard_sigmoid", 1.0 / 6.0, 0.5)


# --------------------------------------------------------------------------------------- layers


def panels(gates: int, *, vector: bool = False) -> Any:
    """A weight matrix [gates * units, k] that files store packed; as a vector, an optional bias."""
    meta = {"tensor": {"gates": gates, "vector": vector}}
    return field(default=None, metadata=meta) if vector else field(metadata=meta)


def param(default: Any = dataclasses.MISSING) -> Any:
    """A parameter that files store in 32-bit words: int and bool one, :class:`Fn` three."""
    return field(default=default, metadata={"param": True})


@dataclass(kw_only=True)
class Layer:
    """One step of the graph: names of the values read and written, parameters, weights.

    An output that nobody reads may be None.
    """

    code: ClassVar[int]  # the layer's number in files and in the core; never renumber
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str | None, ...]

    def infer(self, *specs: Spec) -> tuple[Spec, ...]:
        """The specs of all outputs, from those of the inputs; ConversionError if they don't fit."""
        raise NotImplementedError

    def multiply_adds(self) -> int:
        """Multiply-adds for one row and one time step, elementwise work left out."""
        return 0

    @classmethod
    def tensor_fields(cls) -> Iterator[tuple[str, dict[str, Any]]]:
        """(name, storage metadata) of each weight, in file order."""
        for f in dataclasses.fields(cls):
            if "tensor" in f.metadata:
                yield f.name, f.metadata["tensor"]

    @classmethod
    def param_fields(cls) -> Iterator[tuple[str, bool]]:
        """(name, whether it is a :class:`Fn`) of each parameter, in file order."""
        for f in dataclasses.fields(cls):
            if "param" in f.metadata:
                yield f.name, f.type == "Fn"

    def tensors(self) -> Iterator[tuple[str, dict[str, Any], np.ndarray | None]]:
        """(name, storage metadata, array or None) of each weight, in file order."""
        for name, meta in self.tensor_fields():
            yield name, meta, getattr(self, name)

    def params(self) -> Iterator[tuple[str, Any]]:
        """(name, value) of each parameter, in file order."""
        for name, _ in self.param_fields():
            yield name, getattr(self, name)

    def __post_init__(self) -> None:
        for name, meta, array in self.tensors():
            if array is None:
                if not meta["vector"]:
                    raise ConversionError(f"layer '{self.name}': {name} is missing")
                continue
            setattr(self, name, np.ascontiguousarray(array, dtype=np.float32))

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        array = getattr(self, name)
        if array is not None and array.shape != shape:
            raise ConversionError(
                f"layer '{self.name}': {name} has shape {array.shape}, expected {shape}"
            )

    def _features(self, spec: Spec, expected: int) -> None:
        if spec.features != expected:
            raise ConversionError(
                f"layer '{self.name}': gets {spec.features} features, its weights take {expected}"
            )


@dataclass(kw_only=True)
class LSTM(Layer):
    """Long short-term memory; gates in the order i f g o.

    inputs (x,): x with time, I features. outputs (sequence, h, c): h of every step (time, H
    features), and the last h and c (no time, H features).

    weight_ih [4H, I], weight_hh [4H, H], bias [4H] float32. ``gate`` is the function of i, f and
    o, ``candidate`` that of g, ``output`` the one between the cell state and h:
    c' = f * c + i * g, h' = o * output(c').
    """

    code: ClassVar[int] = 1
    weight_ih: np.ndarray = panels(4)
    weight_hh: np.ndarray = panels(4)
    bias: np.ndarray | None = panels(4, vector=True)
    gate: Fn = param(SIGMOID)
    candidate: Fn = param(TANH)
    output: Fn = param(TANH)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight_ih.ndim != 2 or self.weight_ih.shape[0] % 4 or 0 in self.weight_ih.shape:
            raise ConversionError(
                f"layer '{self.name}': weight_ih has shape {self.weight_ih.shape}, "
                "expected [4 * hidden_size, input_size]"
            )
        h = self.hidden_size
        self._check("weight_hh", (4 * h, h))
        self._check("bias", (4 * h,))

    @property
    def hidden_size(self) -> int:
        return self.weight_ih.shape[0] // 4

    @property
    def input_size(self) -> int:
        return self.weight_ih.shape[1]

    def infer(self, *specs: Spec) -> tuple[Spec, ...]:
        (x,) = specs
        if not x.time:
            raise ConversionError(f"layer '{self.name}': its input has no time axis")
        self._features(x, self.input_size)
        h = self.hidden_size
        return Spec(h, True), Spec(h, False), Spec(h, False)

    def multiply_adds(self) -> int:
        return self.weight_ih.size + self.weight_hh.size


@dataclass(kw_only=True)
class Dense(Layer):
    """y = activation(weight x + bias) over the features, at each time step if there are any.

    inputs (x,): K features. outputs (y,): N features. weight [N, K], bias [N] float32.
    """

    code: ClassVar[int] = 2
    weight: np.ndarray = panels(1)
    bias: np.ndarray | None = panels(1, vector=True)
    activation: Fn = param(LINEAR)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight.ndim != 2 or 0 in self.weight.shape:
            raise ConversionError(
                f"layer '{self.name}': weight has shape {self.weight.shape}, "
                "expected [units, input_size]"
            )
        self._check("bias", self.weight.shape[:1])

    def infer(self, *specs: Spec) -> tuple[Spec, ...]:
        (x,) = specs
        self._features(x, self.weight.shape[1])
        return (Spec(self.weight.shape[0], x.time),)

    def multiply_adds(self) -> int:
        return self.weight.size


@dataclass(kw_only=True)
class Activation(Layer):
    """y = activation(x), element by element."""

    code: ClassVar[int] = 3
    activation: Fn = param()

    def infer(self, *specs: Spec) -> tuple[Spec, ...]:
        return specs


@dataclass(kw_only=True)
class Softmax(Layer):
    """y = exp(x - max x) / sum exp(x - max x) over the features."""

    code: ClassVar[int] = 4

    def infer(self, *specs: Spec) -> tuple[Spec, ...]:
        return specs


@dataclass(kw_only=True)
class LastStep(Layer):
    """The last valid time step of x: y[b] = x[b, lengths[b] - 1]; zeros where the length is 0."""

    code: ClassVar[int] = 5

    def infer(self, *specs: Spec) -> tuple[Spec, ...]:
        (x,) = specs
        if not x.time:
            raise ConversionError(f"layer '{self.name}': its input has no time axis")
        return (Spec(x.features, False),)


LAYERS: dict[int, type[Layer]] = {c.code: c for c in (LSTM, Dense, Activation, Softmax, LastStep)}


# ---------------------------------------------------------------------------------------- graph


@dataclass
class Graph:
    """Layers in execution order between named inputs and outputs.

    ``provenance`` says where the graph comes from: keys such as "source" (keras, pytorch, onnx),
    "file", "producer", "converter". Each value is written once, before it is read.
    """

    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)

    def infer(self) -> dict[str, Spec]:
        """Check the whole graph and return the spec of every value by name."""
        if not self.inputs or not self.outputs or not self.layers:
            raise ConversionError("a graph needs at least one input, one layer and one output")
        specs: dict[str, Spec] = {}

        def define(name: str, spec: Spec, where: str) -> None:
            if name in specs:
                raise ConversionError(f"{where}: value '{name}' is written twice")
            specs[name] = spec

        for v in self.inputs:
            if BATCH not in v.axes:
                raise ConversionError(f"input '{v.name}' has no batch axis")
            define(v.name, v.spec, "inputs")
        seen: set[str] = set()
        for layer in self.layers:
            if layer.name in seen:
                raise ConversionError(f"two layers are named '{layer.name}'")
            seen.add(layer.name)
            for name in layer.inputs:
                if name not in specs:
                    raise ConversionError(f"layer '{layer.name}': value '{name}' does not exist")
            out = layer.infer(*(specs[n] for n in layer.inputs))
            for made, spec in zip(layer.outputs, out, strict=True):
                if made is not None:
                    define(made, spec, f"layer '{layer.name}'")
        for v in self.outputs:
            if v.name not in specs:
                raise ConversionError(f"output '{v.name}' does not exist")
            if v.name in {i.name for i in self.inputs}:
                raise ConversionError(f"output '{v.name}' is an input: there is nothing to run")
            if specs[v.name] != v.spec:
                raise ConversionError(f"output '{v.name}': {specs[v.name]} laid out as {v.axes}")
        if len({v.time for v in self.inputs if v.spec.time and v.time}) > 1:
            raise ConversionError("two inputs insist on different numbers of time steps")
        for group, values in (("input", self.inputs), ("output", self.outputs)):
            if len({v.name for v in values}) != len(values):
                raise ConversionError(f"two {group}s have the same name")
        return specs

    @property
    def sequential(self) -> bool:
        """True if every input has a time axis, so that steps can be fed one by one."""
        return all(v.spec.time for v in self.inputs)
