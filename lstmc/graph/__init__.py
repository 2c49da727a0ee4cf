"""The graph: what converters make, what a file holds, what the core runs.

A :class:`Graph` is a list of layers in execution order. Layers read and write *values*, named by
strings. Inside the graph a value is abstract: per row of the batch it is one vector of ``features``
float32 numbers (time-less), or one such vector at each of its time steps. Only the graph's own
inputs and outputs have an order of axes, which is the source model's, kept as it was.

    values.py      Value, Spec, Steps       functions.py   Fn, the elementwise functions
    base.py        Layer                    recurrent.py   LSTM, GRU, RNN
    pointwise.py   layers on features       sequence.py    layers on steps
    positions.py   convolution and pooling over a part of the features, and time

Nothing here computes: :mod:`lstmc.reference` says in float64 what every layer means, ``c_src/``
runs it in float32, :mod:`lstmc.format` stores it. Adding a layer means adding one dataclass; its
fields carry enough metadata for the file format to store it without knowing it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..errors import ConversionError
from .base import ClockConflict, Layer, OpenSteps
from .functions import (
    FLOAT32_MAX,
    FN_CODES,
    HARD_SIGMOID_KERAS2,
    HARD_SIGMOID_KERAS3,
    HARD_SIGMOID_ONNX,
    HARD_SIGMOID_TORCH,
    HARD_SILU,
    LINEAR,
    PARAMETERS,
    RELU,
    RELU6,
    SELU,
    SIGMOID,
    SILU,
    TANH,
    Fn,
)
from .pointwise import (
    Activation,
    Affine,
    Combine,
    Concat,
    Dense,
    Embedding,
    Fill,
    LayerNorm,
    Reduce,
    Select,
    Softmax,
)
from .positions import Conv2D, DepthwiseConv2D, PoolPositions
from .recurrent import GRU, LSTM, RNN, Recurrent
from .sequence import (
    Conv1D,
    DepthwiseConv1D,
    Flatten,
    LastStep,
    PadTime,
    Pool1D,
    ReduceTime,
    Repeat,
    Restep,
    Reverse,
    SliceTime,
    SoftmaxTime,
    StepMask,
    Unflatten,
    Window,
)
from .values import BATCH, DTYPES, TIME, Axis, Binding, Spec, Steps, Value

LAYERS: dict[int, type[Layer]] = {
    c.code: c
    for c in (
        LSTM, Dense, Activation, Softmax, LastStep, GRU, RNN, Embedding, Affine, LayerNorm, Combine,
        Concat, Select, Reduce, ReduceTime, Reverse, SliceTime, PadTime, Repeat, Flatten, Unflatten,
        Conv1D, DepthwiseConv1D, Pool1D, SoftmaxTime, Fill, StepMask, Conv2D, DepthwiseConv2D,
        PoolPositions, Restep,
    )
}  # fmt: skip


@dataclass
class Graph:
    """Layers in execution order between named inputs and outputs.

    ``provenance`` says where the graph comes from: keys such as "source" (keras, pytorch, onnx),
    "file", "producer", "converter"; "note", in a line each, says where the graph is not the source
    to the letter (its 8-bit weights widened, say). Each value is written once, before it is read.

    ``origins`` says, as far as a converter knows, which of the source's own tensors is the same
    as a value inside, by the value's name: the tensor's name and axes. Files don't hold them.

    With ``bindings`` the graph is *stateful*: it is one call of a source that took its state as
    inputs and gave the new one as outputs, and a time step is such a call. Inputs and outputs all
    have time, on one clock that no layer sees; layers see one step, and begin anew in each.
    """

    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)
    origins: dict[str, Value] = field(default_factory=dict, compare=False)
    bindings: list[Binding] = field(default_factory=list)

    @property
    def written(self) -> list[str]:
        """All values in the order they are written: inputs, what takes states, then each layer's
        outputs. In files and in the core a value is known by its place here."""
        names = [v.name for v in self.inputs] + [b.input.name for b in self.bindings]
        return names + [n for layer in self.layers for n in layer.outputs if n is not None]

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
            define(v.name, v.inside if self.bindings else v.spec, "inputs")
        for b in self.bindings:
            define(b.input.name, b.input.spec, "states")
        seen: set[str] = set()
        for layer in self.layers:
            if layer.name in seen:
                raise ConversionError(f"two layers are named '{layer.name}'")
            seen.add(layer.name)
            for name in layer.inputs:
                if name is not None and name not in specs:
                    raise ConversionError(f"layer '{layer.name}': value '{name}' does not exist")
            if not layer.inputs or layer.inputs[0] is None:
                raise ConversionError(f"layer '{layer.name}': has no input")
            out = layer.infer(*(None if n is None else specs[n] for n in layer.inputs))
            for made, spec in zip(layer.outputs, out, strict=True):
                if made is not None:
                    # The core doesn't follow what a fixed value becomes: only Fill makes one.
                    spec = replace(spec, fixed=isinstance(layer, Fill))
                    define(made, spec, f"layer '{layer.name}'")
        self._check_outputs(specs)
        return specs

    def _check_outputs(self, specs: dict[str, Spec]) -> None:
        for v in self.outputs:
            if v.name not in specs:
                raise ConversionError(f"output '{v.name}' does not exist")
            if v.name in {i.name for i in self.inputs}:
                raise ConversionError(f"output '{v.name}' is an input: there is nothing to run")
            made, laid = specs[v.name], v.spec
            if self.bindings:
                made = Spec(_floats(v.name, made), Steps(TIME))
            if made.features != laid.features or (made.time is None) != (laid.time is None):
                raise ConversionError(f"output '{v.name}': {made} laid out as {v.axes}")
        fixed: dict[str, int] = {}
        for v in self.inputs:
            if v.spec.time and v.time and v.clock and fixed.setdefault(v.clock, v.time) != v.time:
                raise ConversionError("two inputs insist on different numbers of time steps")
        self._check_bindings(specs)
        for group, values in (("input", self.inputs), ("output", self.outputs)):
            if len({v.name for v in values}) != len(values):
                raise ConversionError(f"two {group}s have the same name")

    def _check_bindings(self, specs: dict[str, Spec]) -> None:
        given: set[str] = set()
        for b in self.bindings:
            name = b.output.name
            if name not in specs or name in {v.name for v in self.inputs}:
                raise ConversionError(f"state '{name}' is not made by a layer")
            if name in given or name in {other.input.name for other in self.bindings}:
                raise ConversionError(f"state '{name}' is also another state")
            given.add(name)
            made, laid = specs[name], b.output.spec
            if made.features != laid.features or (made.time is None) != (laid.time is None):
                raise ConversionError(f"state '{name}': {made} laid out as {b.output.axes}")
            if _floats(name, made) != _floats(b.input.name, b.input.spec):
                raise ConversionError(f"state '{name}': {made} is not {b.input.spec}")
        if self.bindings and not all(
            TIME in v.axes and v.clock == TIME and v.time is None
            for v in self.inputs + self.outputs
        ):
            raise ConversionError("a graph with bindings needs an open time axis everywhere")

    @property
    def interface(self) -> dict[str, Spec]:
        """The specs of inputs and outputs, as users see them: a step is a time step."""
        if self.bindings:
            return {v.name: v.spec for v in self.inputs + self.outputs}
        specs = self.infer()
        return {v.name: specs[v.name] for v in self.inputs + self.outputs}

    def plain(self, name: str, spec: Spec) -> Value:
        """Any value of the graph as an output of it: [batch, (time,) features]; of a graph with
        bindings [batch, time, all floats of a step]."""
        if self.bindings:
            return Value(name, (BATCH, TIME, _floats(name, spec)))
        return Value(name, (BATCH, *((TIME,) if spec.time else ()), spec.features))

    @property
    def one_row(self) -> bool:
        """An input or output has no batch axis: the graph takes one row, a batch of 1."""
        bound = [v for b in self.bindings for v in (b.input, b.output)]
        return any(BATCH not in v.axes for v in (*self.inputs, *self.outputs, *bound))

    @property
    def clocks(self) -> list[str]:
        """The clocks of the inputs, in the order in which they first appear."""
        found = (v.spec.time.clock for v in self.inputs if v.spec.time)
        return list(dict.fromkeys(c for c in found if c is not None))

    def misfit(self, specs: Mapping[str, Spec], sizes: Mapping[str, int]) -> str:
        """Why a call with these steps of the clocks is refused, "" if it isn't; specs as
        :meth:`infer` gives them."""
        for name, spec in specs.items():
            if spec.time is not None and spec.time.count(sizes) < 1:
                return f"they are too few: none is left for '{name}'"
        for layer in self.layers:
            given = tuple(None if n is None else specs[n] for n in layer.inputs)
            if reason := layer.misfit(given, sizes):
                return f"layer '{layer.name}': {reason}"
        return ""

    def whole(self) -> str:
        """Why the graph can't go step by step, naming the layer or input; "" if it can.

        Such a graph takes the whole sequence in one call, and starts from its initial state in
        every one.
        """
        if self.bindings:
            return ""
        specs = self.infer()
        for layer in self.layers:
            if reason := layer.whole(*(None if n is None else specs[n] for n in layer.inputs)):
                return f"layer '{layer.name}': {reason}"
        return ""

    @property
    def sequential(self) -> bool:
        """True if steps can be fed one by one: every input has a clock, all layers are causal."""
        return all(v.spec.time and v.clock for v in self.inputs) and not self.whole()


def _floats(name: str, spec: Spec) -> int:
    """Floats of a row of a value inside a graph with bindings."""
    if spec.time is None:
        return spec.features
    if spec.time.clock is not None:
        raise ConversionError(f"value '{name}': a graph with bindings knows all numbers of steps")
    return spec.features * spec.time.add


__all__ = [
    "BATCH", "DTYPES", "FLOAT32_MAX", "FN_CODES", "GRU", "HARD_SIGMOID_KERAS2",
    "HARD_SIGMOID_KERAS3", "HARD_SIGMOID_ONNX", "HARD_SIGMOID_TORCH", "HARD_SILU", "LAYERS",
    "LINEAR", "LSTM", "PARAMETERS", "RELU", "RELU6", "RNN", "SELU", "SIGMOID", "SILU", "TANH",
    "TIME", "Activation", "Affine", "Axis", "Binding", "ClockConflict", "Combine", "Concat",
    "Conv1D", "Conv2D", "Dense", "DepthwiseConv1D", "DepthwiseConv2D", "Embedding", "Fill",
    "Flatten", "Fn", "Graph", "LastStep", "Layer", "LayerNorm", "OpenSteps", "PadTime", "Pool1D",
    "PoolPositions", "Recurrent", "Reduce", "ReduceTime", "Repeat", "Restep", "Reverse", "Select",
    "SliceTime", "Softmax", "SoftmaxTime", "Spec", "StepMask", "Steps", "Unflatten", "Value",
    "Window",
]  # fmt: skip
