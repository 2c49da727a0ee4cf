"""Random ONNX models: lstmc against a transcription of the operators' text (onnx_spec.py), against
ONNX Runtime and onnx.reference where they support the case.

Where those differ from the text, and are not compared:

- ONNX Runtime has no layout=1; its ThresholdedRelu has alpha 0 by default instead of 1; the last
  states of a row of length 0 are zeros, where the text's are the initial ones.
- onnx.reference ignores sequence_lens, clip, activations and input_forget.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_spec
import pytest
from cases import LARGEST_SEED, settings
from hypothesis import example, given, note
from hypothesis import strategies as st

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from lstmc.converters import from_onnx
from lstmc.converters.onnx_ops import HANDLERS
from onnx import TensorProto, helper, numpy_helper
from onnx_nets import Net, close, onnx_reference, onnx_run, run

from lstmc import errors

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
PER_DIRECTION = {"LSTM": 3, "GRU": 2, "RNN": 1}
ALPHAS = {"LeakyRelu": 0.01, "ThresholdedRelu": 1.0, "HardSigmoid": 0.2, "Elu": 1.0}
TAKE_ALPHA = {*ALPHAS, "Affine", "ScaledTanh"}
TAKE_BETA = {"Affine", "ScaledTanh", "HardSigmoid"}
#: LSTM's gates may be anything, but products of unbounded ones blow up.
BOUNDED = ("Sigmoid", "Tanh", "HardSigmoid", "Softsign")


# ------------------------------------------------------------------------------ a single operator


@dataclass
class Case:
    """One LSTM, GRU or RNN with everything that the operator allows."""

    kind: str
    opset: int
    seed: int
    sizes: tuple[int, int, int, int]  # time, batch, features, hidden
    attrs: dict[str, Any]
    bias: bool
    peepholes: bool
    lens: str
    states: tuple[str, ...]
    outputs: tuple[bool, ...]
    symbolic: bool
    feeds: dict[str, np.ndarray] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def directions(self) -> int:
        return 2 if self.attrs.get("direction") == "bidirectional" else 1

    @property
    def layout(self) -> int:
        return self.attrs.get("layout", 0)

    def net(self) -> Net:
        net = Net(self.opset, self.seed)
        time, batch, features, hidden = self.sizes
        d, rows = self.directions, GATES[self.kind] * hidden
        open_time, open_batch = ("T", "N") if self.symbolic else (time, batch)
        order = (lambda t, b: (b, t)) if self.layout else (lambda t, b: (t, b))
        x = net.input("x", *order(open_time, open_batch), features)
        self.feeds["x"] = self.normal(net, *order(time, batch), features)
        names = [
            x,
            self.weight(net, "w", d, rows, features),
            self.weight(net, "r", d, rows, hidden),
        ]
        names.append(self.weight(net, "b", d, 2 * rows) if self.bias else "")
        names.append(self.lengths(net, open_batch))
        for i, how in enumerate(self.states):
            name = f"initial_{'hc'[i]}"
            names.append(self.state(net, name, how, (batch, open_batch), d, hidden))
        if self.peepholes:
            names.append(self.weight(net, "p", d, 3 * hidden))
        while not names[-1]:
            names.pop()
        made = net.node(self.kind, *names, outputs=len(self.outputs), **self.attrs)
        made = [made] if isinstance(made, str) else made
        wanted = [n for n, w in zip(made, self.outputs, strict=True) if w]
        if not all(self.outputs):  # those that aren't wanted get no name
            node = net.nodes[-1]
            for i, w in enumerate(self.outputs):
                node.output[i] = made[i] if w else ""
        return net.output(*wanted)

    def normal(self, net: Net, *shape: int) -> np.ndarray:
        return net.rng.normal(0, 0.8, shape).astype(np.float32)

    def weight(self, net: Net, name: str, *shape: int) -> str:
        self.arrays[name] = self.normal(net, *shape)
        return net.const(self.arrays[name], name)

    def lengths(self, net: Net, open_batch: Any) -> str:
        time, batch, *_ = self.sizes
        if self.lens == "none":
            return ""
        if self.lens == "whole":
            lens = np.full(batch, time, np.int32)
        elif self.lens == "equal":
            lens = np.full(batch, net.rng.integers(0, time + 1), np.int32)
        else:
            lens = net.rng.integers(0, time + 1, batch).astype(np.int32)
            self.feeds["lens"] = lens
            net.input("lens", open_batch, dtype=TensorProto.INT32)
        self.arrays["sequence_lens"] = lens
        return "lens" if self.lens == "input" else net.const(lens, "lens")

    def state(
        self, net: Net, name: str, how: str, batch: tuple[int, Any], d: int, hidden: int
    ) -> str:
        if how == "none":
            return ""
        shape = (d, batch[0], hidden)
        array = self.normal(net, *shape)
        if how == "equal":
            array[:] = array[:, :1]
        elif how == "zeros":
            array[:] = 0
        if self.layout:
            array = np.ascontiguousarray(array.swapaxes(0, 1))
        self.arrays[name] = array
        if how == "input":
            self.feeds[name] = array
            return net.input(name, *((batch[1], d) if self.layout else (d, batch[1])), hidden)
        return net.const(array, name)

    def expected(self) -> list[np.ndarray]:
        """By the operator's text."""
        named = {k: v for k, v in self.arrays.items() if k not in ("w", "r")}
        found = onnx_spec.operator(
            self.kind, self.feeds["x"], self.arrays["w"], self.arrays["r"], **named, **self.attrs
        )
        return [y for y, w in zip(found, self.outputs, strict=False) if w]

    @property
    def for_runtime(self) -> bool:
        names = self.attrs.get("activations", [])
        takers = [n for n in names if n in TAKE_ALPHA]
        alphas = self.attrs.get("activation_alpha", [])
        defaulted = takers[len(alphas) :]
        empty = np.any(self.arrays.get("sequence_lens", 1) == 0)
        begun = {"equal", "input"} & set(self.states)
        if "hidden_size" not in self.attrs:
            return False  # which the text allows and ONNX Runtime doesn't
        return self.layout == 0 and "ThresholdedRelu" not in defaulted and not (empty and begun)

    @property
    def for_reference(self) -> bool:
        ignored = {"activations", "clip", "input_forget"} & set(self.attrs)
        return not ignored and self.lens in ("none", "whole")


@st.composite
def activations(draw: st.DrawFn, kind: str, directions: int) -> dict[str, Any]:
    """A list of functions, with as many alphas and betas as they take, or fewer."""
    names: list[str] = []
    for _ in range(directions):
        gate = draw(st.sampled_from(sorted(onnx_spec.FUNCTIONS)))
        rest = [draw(st.sampled_from(BOUNDED)) for _ in range(PER_DIRECTION[kind] - 1)]
        own = [*rest, gate] if draw(st.booleans()) else [gate, *rest]
        names += own
    attrs: dict[str, Any] = {"activations": names}
    for name, takers in (("activation_alpha", TAKE_ALPHA), ("activation_beta", TAKE_BETA)):
        taking = [n for n in names if n in takers]
        needed = [i for i, n in enumerate(taking) if n in ("Affine", "ScaledTanh")]
        least = needed[-1] + 1 if needed else 0
        count = draw(st.integers(least, len(taking)))
        if count:
            value = st.floats(0.125, 1.5, width=16)
            attrs[name] = draw(st.lists(value, min_size=count, max_size=count))
    return attrs


@st.composite
def operators(draw: st.DrawFn) -> Case:
    kind = draw(st.sampled_from(sorted(GATES)))
    opset = draw(st.sampled_from([7, 14, 22]))
    sizes = tuple(draw(st.integers(1, n)) for n in (5, 3, 4, 5))
    attrs: dict[str, Any] = {"hidden_size": sizes[3]} if draw(st.integers(0, 7)) else {}
    direction = draw(st.sampled_from(["", "forward", "reverse", "bidirectional"]))
    if direction:
        attrs["direction"] = direction
    if opset >= 14 and draw(st.booleans()):
        attrs["layout"] = 1
    if draw(st.booleans()):
        directions = 2 if direction == "bidirectional" else 1
        attrs.update(draw(activations(kind, directions)))
    if draw(st.booleans()):
        attrs["clip"] = draw(st.floats(0.125, 2.0, width=16))
    if kind == "LSTM" and draw(st.booleans()):
        attrs["input_forget"] = 1
    if kind == "GRU" and draw(st.booleans()):
        attrs["linear_before_reset"] = draw(st.integers(0, 1))
    states = st.sampled_from(["none", "zeros", "equal", "input"])
    count = 2 if kind == "LSTM" else 1
    outputs = draw(st.lists(st.booleans(), min_size=count + 1, max_size=count + 1).filter(any))
    return Case(
        kind,
        opset,
        draw(st.integers(0, LARGEST_SEED)),
        sizes,
        attrs,
        draw(st.booleans()),
        kind == "LSTM" and draw(st.booleans()),
        draw(st.sampled_from(["none", "whole", "equal", "input"])),
        tuple(draw(states) for _ in range(count)),
        tuple(outputs),
        draw(st.booleans()),
    )


def finite(arrays: dict[str, np.ndarray]) -> bool:
    return all(np.isfinite(a).all() for a in arrays.values())


@settings(400)
@given(operators())
@example(
    Case("GRU", 7, 0, (5, 2, 4, 4), {"hidden_size": 4, "activations": ["Softplus", "Sigmoid"]},
         True, False, "none", ("none",), (False, True), False)
)  # fmt: skip
def test_operators(case: Case) -> None:
    net = case.net()
    model = net.model()
    expected = dict(zip(net.outputs, case.expected(), strict=True))
    got = run(from_onnx.convert(model), case.feeds)
    close(got, expected)
    if case.for_runtime:
        peer = onnx_run(model, case.feeds)
        # Its Softplus of a large number overflows and gives NaN; the text's equation doesn't.
        if "Softplus" not in case.attrs.get("activations", []) or finite(peer):
            close(got, peer)
    if case.for_reference:
        close(got, onnx_reference(model, case.feeds))


# ------------------------------------------------------------------------------------ whole models


class Sketch:
    """A model in the making: one current value, its layout, and the steps that can follow.

    Layouts: "tbf" and "btf" sequences, "bct" what convolutions take, "bf" without time.
    """

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.opset = draw(st.sampled_from([13, 14, 17, 21, 22]))
        self.net = Net(self.opset, draw(st.integers(0, LARGEST_SEED)))
        self.time, self.batch = draw(st.integers(2, 6)), draw(st.integers(1, 3))
        self.symbolic = draw(st.booleans())
        self.feeds: dict[str, np.ndarray] = {}
        self.more: list[str] = []  # outputs beside the last value
        self.features = draw(st.integers(1, 4))
        self.steps: int | None = self.time  # None once the number is not that of the input
        self.layout = draw(st.sampled_from(["tbf", "btf"]))
        if draw(st.integers(0, 4)):
            self.y = self.input("x", self.layout, self.features)
        else:
            self.y = self.embedding()

    def size(self) -> int:
        return int(self.draw(st.integers(1, 5)))

    def flip(self) -> bool:
        return bool(self.draw(st.booleans()))

    def input(self, name: str, layout: str, features: int, dtype: int = TensorProto.FLOAT) -> str:
        real = {"t": self.time, "b": self.batch, "f": features}
        said: dict[str, Any] = {"t": "T", "b": "N", "f": features} if self.symbolic else real
        shape = [real[c] for c in layout]
        if dtype == TensorProto.FLOAT:
            self.feeds[name] = self.net.rng.normal(size=shape).astype(np.float32)
        else:
            self.feeds[name] = self.net.rng.integers(0, features, shape)
        return self.net.input(name, *(said[c] for c in layout), dtype=dtype)

    def embedding(self) -> str:
        rows = self.size() + 1
        index = self.input("ids", self.layout[:2], rows, TensorProto.INT64)
        # the number of rows is not a size of the input
        self.feeds["ids"] %= rows
        return self.net.node("Gather", self.net.weight(rows, self.features), index)

    def const(self, *values: int) -> str:
        return self.net.const(np.array(values))

    # -------------------------------------------------------------------------------------- moves

    def to(self, layout: str) -> None:
        """Another order of the axes of a sequence."""
        if self.layout != layout:
            names = {"tbf": "tbf", "btf": "btf", "bct": "bft"}
            perm = [names[self.layout].index(c) for c in names[layout]]
            self.y = self.net.node("Transpose", self.y, perm=perm)
            self.layout = layout

    def axis(self, what: str) -> int:
        return {"tbf": "tbf", "btf": "btf", "bct": "bft", "bf": "bf"}[self.layout].index(what)

    # -------------------------------------------------------------------------------------- steps

    def recurrent(self) -> None:
        if self.layout == "bf":
            return
        net, kind, hidden = self.net, self.draw(st.sampled_from(sorted(GATES))), self.size()
        self.to("tbf")
        both = self.flip()
        d, rows = 2 if both else 1, GATES[kind] * hidden
        names = [self.y, net.weight(d, rows, self.features), net.weight(d, rows, hidden)]
        names.append(net.weight(d, 2 * rows) if self.flip() else "")
        count = 2 if kind == "LSTM" else 1
        if self.flip() and f"h{hidden}{d}0" not in self.feeds:
            names += ["", *(self.state(f"h{hidden}{d}{i}", d, hidden) for i in range(count))]
        attrs: dict[str, Any] = {"hidden_size": hidden}
        if both:
            attrs["direction"] = "bidirectional"
        elif self.flip():
            attrs["direction"] = "reverse"
        if kind == "GRU":
            attrs["linear_before_reset"] = int(self.flip())
        y, *last = net.node(kind, *names, outputs=1 + count, **attrs)
        if self.flip():
            self.more += last
        how = self.draw(st.sampled_from(["sequence", "sequence", "last", "joined"]))
        if how == "sequence" and both:
            y = net.node("Transpose", y, perm=[0, 2, 1, 3])
            self.y = net.node("Reshape", y, self.const(0, 0, -1))
        elif how == "sequence":
            self.y = net.axes_op("Squeeze", y, [1])
        else:
            state = last[0]
            if how == "joined" and count == 2:
                state, d = net.node("Concat", *last, axis=0), 2 * d
            state = net.node("Transpose", state, perm=[1, 0, 2])
            self.y = net.node("Reshape", state, self.const(0, d * hidden))
            self.layout = "bf"
        self.features = d * hidden

    def state(self, name: str, d: int, hidden: int) -> str:
        shape = (d, self.batch, hidden)
        self.feeds[name] = self.net.rng.normal(size=shape).astype(np.float32)
        return self.net.input(name, d, "N" if self.symbolic else self.batch, hidden)

    def dense(self) -> None:
        if self.layout == "bct":
            self.to("btf")
        units = self.size()
        self.y = self.net.node("MatMul", self.y, self.net.weight(self.features, units))
        self.features = units
        if self.flip():
            self.y = self.net.node("Add", self.y, self.net.weight(units))

    def elementwise(self) -> None:
        ops = ["Relu", "Tanh", "Sigmoid", "HardSigmoid", "Identity", "Abs", "Elu", "Erf", "Neg"]
        ops += ["LeakyRelu", "Selu", "Softplus", "Softsign", "ThresholdedRelu", "Celu", "Exp"]
        if self.opset >= 20:
            ops += ["Gelu", "Mish", "HardSwish"]
        op = self.draw(st.sampled_from(ops))
        if op == "Exp":  # of something that is bounded
            self.y = self.net.node("Tanh", self.y)
        self.y = self.net.node(op, self.y)

    def scaled(self) -> None:
        """Arithmetic with a constant: a number, or one for each feature."""
        op = self.draw(st.sampled_from(["Add", "Sub", "Mul", "Div", "Max", "Min"]))
        shape = [1] * len(self.layout)
        if self.flip():
            shape[self.axis("f")] = self.features
        c = self.net.weight(*shape)
        self.net.initializers[c] += np.float32(np.copysign(0.5, self.net.initializers[c]))
        pair = [self.y, c] if op == "Div" or self.flip() else [c, self.y]
        self.y = self.net.node(op, *pair)

    def combined(self) -> None:
        """Two computed values of the same layout, or one of a single feature."""
        op = self.draw(st.sampled_from(["Add", "Sub", "Mul", "Max", "Min", "Mean", "Sum"]))
        other = self.net.node("Tanh", self.y)
        if self.flip():
            axes = self.const(self.axis("f"))
            if self.opset >= 18:
                other = self.net.node("ReduceMean", other, axes)
            else:
                other = self.net.node("ReduceMean", other, axes=[self.axis("f")])
        self.y = self.net.node(op, *([self.y, other] if self.flip() else [other, self.y]))

    def joined(self) -> None:
        other = self.net.node("Relu", self.y)
        parts = [self.y, other] if self.flip() else [other, self.y, other]
        self.y = self.net.node("Concat", *parts, axis=self.axis("f"))
        self.features *= len(parts)

    def part(self) -> None:
        """Some of the features."""
        axis, n = self.axis("f"), self.features
        start = self.draw(st.integers(0, n - 1))
        stop = self.draw(st.integers(start + 1, n))
        if self.flip():
            self.y = self.net.slice(self.y, start, stop, axis)
            self.features = stop - start
        elif self.flip():
            index = self.draw(st.lists(st.integers(-n, n - 1), min_size=1, max_size=4))
            self.y = self.net.node("Gather", self.y, self.const(*index), axis=axis)
            self.features = len(index)
        elif start:
            sizes = self.const(start, n - start)
            pieces = self.net.node("Split", self.y, sizes, outputs=2, axis=axis)
            self.y, self.features = pieces[1], n - start

    def reshaped(self) -> None:
        """Features on two axes, worked on there, and merged again, perhaps in another order."""
        factor = next((n for n in (2, 3) if self.features % n == 0 and n < self.features), 0)
        if self.layout not in ("btf", "bf") or not factor:
            return
        net, axis = self.net, self.axis("f")
        y = net.node("Reshape", self.y, self.const(*[0] * axis, factor, self.features // factor))
        how = self.draw(st.sampled_from(["turn", "scale", "softmax", "reduce", "slice"]))
        if how == "turn":
            y = net.node("Transpose", y, perm=[*range(axis), axis + 1, axis])
        elif how == "scale":
            y = net.node("Mul", y, net.weight(factor, 1) if self.flip() else net.weight(1))
        elif how == "softmax":
            y = net.node("Softmax", y, axis=axis + int(self.flip()))
        elif how == "slice":
            y = net.slice(y, 1, 2**31 - 1, axis)
            self.features -= self.features // factor
        else:
            which = axis + int(self.flip())
            y = net.node("ReduceSum", y, self.const(which), keepdims=1)
            self.features = self.features // factor if which == axis else factor
        self.y = net.node("Reshape", y, self.const(*[0] * axis, -1))

    def softmax(self) -> None:
        axis = self.axis("f")
        if self.layout != "bf" and self.flip():
            axis = self.axis("t")
        self.y = self.net.node("Softmax", self.y, axis=axis)

    def normalised(self) -> None:
        net, n = self.net, self.features
        if self.opset >= 17 and self.layout != "bct" and self.flip():
            self.y = net.node(
                "LayerNormalization", self.y, net.weight(n), net.weight(n), epsilon=0.1
            )
        elif self.layout in ("bf", "bct"):
            variance = net.const(net.rng.uniform(0.5, 2, n).astype(np.float32))
            names = [net.weight(n) for _ in range(3)]
            self.y = net.node("BatchNormalization", self.y, *names, variance)

    def last(self) -> None:
        if self.layout == "bf":
            return
        how = self.draw(st.integers(-1, min(self.steps or 1, 2) - 1))
        self.y = self.net.node("Gather", self.y, self.net.const(np.int64(how)), axis=self.axis("t"))
        self.layout = "bf"

    def over_time(self) -> None:
        if self.layout == "bf":
            return
        op = self.draw(st.sampled_from(["ReduceMean", "ReduceMax", "ReduceSum", "ReduceMin"]))
        axis = self.axis("t")
        old = self.opset < (13 if op == "ReduceSum" else 18)
        names = [self.y] if old else [self.y, self.const(axis)]
        self.y = self.net.node(op, *names, keepdims=0, **({"axes": [axis]} if old else {}))
        self.layout = "bf"

    def windows(self) -> None:
        """A convolution or a pooling that keeps at least one step."""
        if self.layout == "bf" or self.steps is None:
            return
        self.to("bct")
        taps = self.draw(st.integers(1, min(3, self.steps)))
        stride = self.draw(st.integers(1, 2))
        attrs: dict[str, Any] = {"kernel_shape": [taps], "strides": [stride]}
        if taps >= stride and self.flip():  # ONNX Runtime fails where steps are skipped
            attrs["auto_pad"] = self.draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER"]))
        else:
            attrs["pads"] = [self.draw(st.integers(0, taps - 1)) for _ in range(2)]
        op = self.draw(st.sampled_from(["Conv", "Conv", "MaxPool", "AveragePool"]))
        if op == "Conv":
            group = self.features if self.flip() else 1
            each = self.draw(st.integers(1, 2)) if group > 1 else self.size()
            units = group * each
            weight = self.net.weight(units, self.features // group, taps)
            bias = [self.net.weight(units)] if self.flip() else []
            self.y = self.net.node("Conv", self.y, weight, *bias, group=group, **attrs)
            self.features = units
        else:
            if "pads" in attrs and op == "AveragePool" and self.flip():
                attrs["count_include_pad"] = 1
            self.y = self.net.node(op, self.y, **attrs)
        before, after = attrs.get("pads", [0, 0])
        length = -(-self.steps // stride)
        if "pads" in attrs:
            length = (self.steps + before + after - taps) // stride + 1
        self.steps = length

    def cut(self) -> None:
        """Some of the steps."""
        if self.layout == "bf" or self.steps is None or self.steps < 3:
            return
        axis = self.axis("t")
        if self.flip():
            self.y = self.net.slice(self.y, 1, 2**31 - 1, axis)
        elif self.flip():
            self.y = self.net.slice(self.y, 0, -1, axis)
        else:
            index = [self.const(n) for n in (-1, -(2**31), axis, -1)]
            self.y = self.net.node("Slice", self.y, *index)
            return
        self.steps -= 1

    def padded(self) -> None:
        axis = self.axis("t") if self.layout != "bf" and self.flip() else self.axis("f")
        rank = len(self.layout)
        pads = [0] * 2 * rank
        pads[axis], pads[axis + rank] = self.draw(st.integers(0, 2)), self.draw(st.integers(0, 1))
        value = self.net.const(np.float32(0.5))
        self.y = self.net.node("Pad", self.y, self.const(*pads), value)
        if axis == self.axis("f"):
            self.features += sum(pads)
        elif self.steps is not None:
            self.steps += sum(pads)

    def flattened(self) -> None:
        """All steps of a fixed number as features."""
        if self.layout == "bf" or self.symbolic or self.steps is None:
            return
        if self.layout == "tbf":
            self.to("btf")
        self.y = self.net.node("Flatten", self.y)
        self.features *= self.steps
        self.layout = "bf"

    def repeated(self) -> None:
        """A value without time as a sequence."""
        if self.layout != "bf":
            return
        count = self.draw(st.integers(1, 4))
        y = self.net.axes_op("Unsqueeze", self.y, [1])
        if self.flip():
            self.y = self.net.node("Tile", y, self.const(1, count, 1))
        else:
            self.y = self.net.node("Expand", y, self.const(1, count, 1))
        self.layout, self.steps = "btf", count

    STEPS = (
        "recurrent", "recurrent", "dense", "elementwise", "scaled", "combined", "joined", "part",
        "softmax", "normalised", "last", "over_time", "windows", "cut", "padded", "flattened",
        "repeated", "reshaped",
    )  # fmt: skip

    def build(self) -> Net:
        for step in self.draw(st.lists(st.sampled_from(self.STEPS), min_size=1, max_size=7)):
            getattr(self, step)()
        if self.y in self.feeds:  # nothing to run
            self.dense()
        return self.net.output(*dict.fromkeys([self.y, *self.more]))


COUNTS = {"all": 0, "refused": 0}


@settings(400)
@given(st.data())
def test_models(data: Any) -> None:
    sketch = Sketch(data.draw)
    net = sketch.build()
    model = net.model()
    note(", ".join(n.op_type for n in net.nodes))
    expected = onnx_run(model, sketch.feeds)
    COUNTS["all"] += 1
    try:
        graph = from_onnx.convert(model)
    except errors.ConversionError as e:
        # Where nothing says what an axis is and steps become features, a reading may be missed.
        assert str(e).startswith("node '"), e
        assert not {n.op_type for n in net.nodes} & {"LSTM", "GRU", "RNN"}, e
        COUNTS["refused"] += 1
        return
    close(run(graph, sketch.feeds), expected)


def test_hardly_any_model_was_refused() -> None:
    """Hypothesis draws similar models after one another: a few may come at once."""
    print(COUNTS)
    assert COUNTS["refused"] <= COUNTS["all"] / 50


# ------------------------------------------------------------------------------- models gone wrong

ATTRIBUTES = ("axis", "perm", "group", "strides", "pads", "kernel_shape", "keepdims", "layout")


def damage(data: Any, model: Any) -> None:
    """One node does something else, reads something else, or counts otherwise."""
    node = data.draw(st.sampled_from(list(model.graph.node)))
    names = [n for other in model.graph.node for n in (*other.input, *other.output) if n]
    how = data.draw(st.sampled_from(["op", "input", "attribute", "constant", "shape"]))
    if how == "op":
        node.op_type = data.draw(st.sampled_from(sorted(HANDLERS)))
    elif how == "input" and node.input:
        at = data.draw(st.integers(0, len(node.input) - 1))
        node.input[at] = data.draw(st.sampled_from(names))
    elif how == "attribute":
        del node.attribute[:]
        value: Any = data.draw(st.integers(-3, 9))
        name = data.draw(st.sampled_from(ATTRIBUTES))
        if name not in ("axis", "group", "keepdims", "layout"):
            value = data.draw(st.lists(st.integers(-2, 4), max_size=4))
        kind = 7 if isinstance(value, list) else 2  # INTS, INT
        node.attribute.append(helper.make_attribute(name, value, attr_type=kind))
    elif how == "constant":
        ints = [t for t in model.graph.initializer if t.data_type == TensorProto.INT64]
        if ints:
            tensor = data.draw(st.sampled_from(ints))
            shape = list(tensor.dims)
            size = int(np.prod(shape))
            values = data.draw(st.lists(st.integers(-9, 9), min_size=size, max_size=size))
            made = numpy_helper.from_array(np.array(values).reshape(shape), tensor.name)
            tensor.CopyFrom(made)
    else:
        value_info = data.draw(st.sampled_from(list(model.graph.input)))
        dims = value_info.type.tensor_type.shape.dim
        if dims:
            dims[data.draw(st.integers(0, len(dims) - 1))].dim_value = data.draw(st.integers(0, 7))


@settings(400)
@given(st.data())
def test_damaged_models(data: Any) -> None:
    """They are refused in one line, or do what ONNX Runtime does, if that takes them."""
    sketch = Sketch(data.draw)
    model = sketch.build().model()
    for _ in range(data.draw(st.integers(1, 3))):
        damage(data, model)
    note(", ".join(n.op_type for n in model.graph.node))
    try:
        converted = from_onnx.convert(model)
    except errors.Error as e:
        assert "\n" not in str(e)
        return
    try:
        expected = onnx_run(model, sketch.feeds)
    except Exception as e:
        assert type(e).__module__.startswith("onnxruntime") or isinstance(e, ValueError)
        return
    if not all(np.isfinite(e).all() for e in expected.values()):
        return
    with contextlib.suppress(errors.ShapeError, errors.RangeError):
        close(run(converted, sketch.feeds), expected)
