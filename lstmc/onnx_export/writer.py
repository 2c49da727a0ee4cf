"""An ONNX graph in the making: nodes, constants, and the tensors that hold the graph's values.

A value of the graph is, for a row, one vector or one at each step; an ONNX tensor has an order of
axes. Which one suits depends on the operator: LSTM takes [time, batch, features], Conv [batch,
features, time]. So a value may have several tensors, its *forms*: a layer puts the one it makes and
asks for the one it needs, and a Transpose is written where none has that order, once.

A form's axes are a word: b batch, t time, f features; c and p are the features as [positions]
[channels], which are the axes of two-dimensional operators. Without b it is the same in every row,
without f it has one feature.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..graph import Spec

OPSET = 20  # the first with Gelu; ONNX Runtime has it since 1.17
IR_VERSION = 9
LAST = np.iinfo(np.int64).max
#: Operators that hold a layer's weights: such a node has the layer's own name.
MAIN = ("LSTM", "GRU", "RNN", "Scan", "Gemm", "MatMul", "Conv", "LayerNormalization")
WHOLE = ("int64", "int32")  # kept as they are where numbers only move


@dataclass(frozen=True)
class Form:
    """A tensor that holds a value; ``channels`` where its axes are b, t, c and p."""

    name: str
    axes: str
    dtype: str = "float32"
    channels: int = 0

    def at(self, axis: str) -> int:
        return self.axes.index(axis)


class Writer:
    """``layer`` is the name of the layer that is being written, which names its nodes; ``lengths``
    are, by the values that are masks of steps, the values that say how many steps count."""

    def __init__(self, specs: dict[str, Spec], taken: set[str], one_row: bool) -> None:
        self.specs = specs
        self.one_row = one_row
        self.lengths: dict[str, str] = {}
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.layer = ""
        self.forms: dict[str, list[Form]] = {}
        self._taken = set(taken)
        self._named: set[str] = set()  # nodes
        self._inside = False
        self._known: dict[tuple[Any, ...], str] = {}
        self._sources: dict[str, tuple[str, int]] = {}  # where sizes of the batch and clocks are

    # ---------------------------------------------------------------------------------- the graph

    def fresh(self, hint: str) -> str:
        """A name for a tensor that nothing else has."""
        return self._free(hint, self._taken)

    @staticmethod
    def _free(hint: str, taken: set[str]) -> str:
        name, n = hint, 1
        while name in taken or not name:
            name, n = f"{hint}_{n}", n + 1
        taken.add(name)
        return name

    def node(self, op: str, *inputs: str, hint: str = "", **attributes: Any) -> str:
        """A node with one output; the name of that."""
        (made,) = self.nodes_of(op, inputs, [hint or f"{self.layer}/{op}"], **attributes)
        return made

    def nodes_of(
        self, op: str, inputs: Any, hints: list[str | None], **attributes: Any
    ) -> list[str]:
        """A node; the names of its outputs, "" for those whose hint is None."""
        import onnx

        given = list(inputs)
        while given and not given[-1]:
            given.pop()
        outputs = ["" if h is None else self.fresh(h) for h in hints]
        own = op in MAIN and not self._inside and self.layer not in self._named
        name = self._free(self.layer if own else f"{self.layer}/{op}", self._named)
        made = list(outputs)
        while made and not made[-1]:
            made.pop()
        self.nodes.append(onnx.helper.make_node(op, given, made, name=name, **attributes))
        return outputs

    def constant(self, array: np.ndarray, hint: str = "constant") -> str:
        """An array as a tensor; equal ones are one."""
        array = np.asarray(array, order="C")
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = self.fresh(hint)
            self.constants[self._known[key]] = array
        return self._known[key]

    def weight(self, array: np.ndarray, field: str) -> str:
        return self.constant(np.asarray(array, np.float32), f"{self.layer}/{field}")

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32), "number")

    def whole(self, *values: int) -> str:
        """int64 [values]."""
        return self.constant(np.array(values, np.int64), "whole")

    @contextmanager
    def body(self) -> Iterator[list[Any]]:
        """What is written goes to the list, which becomes the body of a Scan."""
        outside, self.nodes, self._inside = self.nodes, [], True
        try:
            yield self.nodes
        finally:
            self.nodes, self._inside = outside, False

    # ---------------------------------------------------------------------------------- the values

    def put(self, value: str | None, form: Form) -> None:
        if value is not None:
            self.forms.setdefault(value, []).append(form)

    def made(self, value: str | None, name: str, axes: str, **more: Any) -> None:
        self.put(value, Form(name, axes, **more))

    def spec(self, value: str | None) -> Spec:
        assert value is not None
        return self.specs[value]

    def first(self, value: str | None, *, numbers: bool = True) -> Form:
        """The tensor of a value that is there anyway; ``numbers``: as float32."""
        assert value is not None
        return self._cast(value, self.forms[value][0]) if numbers else self.forms[value][0]

    def get(self, value: str | None, axes: str, *, channels: int = 0) -> str:
        """The float32 tensor of a value in an order of axes."""
        assert value is not None
        return self.form(value, axes, channels=channels).name

    def form(self, value: str, axes: str, *, channels: int = 0, numbers: bool = True) -> Form:
        """As :meth:`get`; without ``numbers`` of whatever type it has."""
        wanted = channels if "c" in axes else 0
        dtype = "float32" if numbers else self.forms[value][0].dtype
        for f in self.forms[value]:
            if (f.axes, f.dtype, f.channels) == (axes, dtype, wanted):
                return f
        base = min(self.forms[value], key=lambda f: (f.dtype != dtype, f.axes != axes))
        if base.dtype != dtype:
            base = self._cast(value, base)
        made = self._turned(base, axes, wanted, self.specs[value].features)
        self.put(value, made)
        return made

    def _cast(self, value: str, form: Form) -> Form:
        if form.dtype == "float32":
            return form
        for f in self.forms[value]:
            if (f.axes, f.dtype, f.channels) == (form.axes, "float32", form.channels):
                return f
        made = replace(form, name=self.cast(form.name, "float32"), dtype="float32")
        self.put(value, made)
        return made

    def cast(self, name: str, dtype: str) -> str:
        import onnx

        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.node("Cast", name, hint=f"{name}/{dtype}", to=kind)

    def _turned(self, form: Form, axes: str, channels: int, features: int) -> Form:
        """A form in another order of axes."""
        name, have = form.name, form.axes
        if "b" not in have:  # the same in every row
            shape = self.join(self.batch(), self.whole(features))
            name, have = self.node("Expand", name, shape), "bf"
        if "c" in have and (axes.find("c") < 0 or form.channels != channels):
            steps = "bt" if "t" in have else "b"
            name = self.transpose(name, have, f"{steps}pc")
            shape = self.whole(*(0 for _ in steps), features)
            name, have = self.node("Reshape", name, shape), f"{steps}f"
        if "f" not in have and "c" not in have:
            name = self.node("Unsqueeze", name, self.whole(len(have)))
            have += "f"
        if "c" in axes and "c" not in have:
            steps = "bt" if "t" in have else "b"
            name = self.transpose(name, have, f"{steps}f")
            shape = self.whole(*(0 for _ in steps), features // channels, channels)
            name, have = self.node("Reshape", name, shape), f"{steps}pc"
        if "f" in have and "f" not in axes and "c" not in axes:
            name = self.node("Squeeze", name, self.whole(have.index("f")))
            have = have.replace("f", "")
        return Form(self.transpose(name, have, axes), axes, form.dtype, channels)

    def transpose(self, name: str, have: str, axes: str) -> str:
        if have == axes:
            return name
        return self.node("Transpose", name, perm=[have.index(a) for a in axes])

    def indices(self, value: str, axes: str, kinds: tuple[str, ...] = WHOLE) -> str:
        """A value of whole numbers as a tensor of one of these types."""
        form = self.form(value, axes, numbers=False)
        return form.name if form.dtype in kinds else self.cast(form.name, kinds[0])

    def features_last(self, value: str | None) -> str:
        """The order of axes, of those with the features last, that a value has or is nearest to."""
        assert value is not None
        if self.specs[value].time is None:
            return "bf"
        return "tbf" if self.forms[value][0].axes.startswith("tb") else "btf"

    # ----------------------------------------------------------------------------------- its sizes

    def source(self, what: str, tensor: str, axis: int) -> None:
        """The size of the batch or of a value's steps is that of a tensor's axis."""
        self._sources.setdefault(what, (tensor, axis))

    def batch(self) -> str:
        """int64 [1], the number of rows."""
        if "" not in self._sources:
            return self.whole(1)
        return self._size(*self._sources[""])

    def steps(self, value: str | None) -> str:
        """int64 [1], the number of a value's steps."""
        time = self.spec(value).time
        assert time is not None
        if time.clock is None:
            return self.whole(time.add)
        form = next(f for f in self.forms[str(value)] if "t" in f.axes)
        return self._size(form.name, form.at("t"))

    def _size(self, tensor: str, axis: int) -> str:
        key = ("size", tensor, axis)
        if key not in self._known:
            self._known[key] = self.node("Shape", tensor, start=axis, end=axis + 1)
        return self._known[key]

    def join(self, *parts: str) -> str:
        """Sizes as one shape."""
        return self.node("Concat", *parts, axis=0)

    # ------------------------------------------------------------------------------- at the end

    def rename(self, names: dict[str, str]) -> None:
        """Give tensors other names, which nothing else has."""
        for node in self.nodes:
            for group in (node.input, node.output):
                for i, name in enumerate(group):
                    group[i] = names.get(name, name)

    def prune(self, wanted: set[str]) -> None:
        """Drop nodes and constants that none of these tensors needs."""
        kept = []
        needed = set(wanted)
        for node in reversed(self.nodes):
            if needed.isdisjoint(node.output):
                continue
            kept.append(node)
            needed |= _read(node)
        self.nodes = kept[::-1]
        self.constants = {n: a for n, a in self.constants.items() if n in needed}


def _read(node: Any) -> set[str]:
    """The tensors that a node reads, and its body from around it."""
    found = set(node.input)
    for attribute in node.attribute:
        for inner in attribute.g.node:
            found |= _read(inner)
    return found - {""}
