"""From ONNX's nodes to layers: the builder, and what brings values into the form a layer takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.graph import BATCH, TIME

from .onnx_axes import LabelConflict, Preference, bare, bind, guess_input
from .onnx_values import FEATURES, NEXT, Axis, Const, Dim, Kind, Node, Tracked, axis_size
from .weights import float32


class Builder:
    """Collects layers; knows which one writes each value."""

    def __init__(
        self, reserved: set[str] | None = None, preference: Preference = (None, None)
    ) -> None:
        self.layers: list[g.Layer] = []
        self.makers: dict[str, g.Layer] = {}
        self.names: set[str] = set()
        self.values: set[str] = set(reserved or ())
        self.preference = preference
        self.inputs: list[Tracked] = []
        self.guessed = False
        self.masks: dict[tuple[str, str], str] = {}  # StepMasks by lengths and sequence
        self.timed: dict[Dim, Tracked] = {}  # a value with each time dim that Shape has read
        self.conversion: Any = None  # the one that it builds for
        self.notes: dict[str, None] = {}  # what the provenance is to say, each once
        self.assumed: set[str] = set()  # questions for an open size, to be answered with yes
        self.pins: list[tuple[Dim, int]] = []  # times that are to have so many steps from here on

    @staticmethod
    def _unique(name: str, used: set[str], join: str) -> str:
        candidate, n = name, 2
        while candidate in used:
            candidate, n = f"{name}{join}{n}", n + 1
        used.add(candidate)
        return candidate

    def reserve(self, name: str) -> str:
        """A name for a value that no layer makes."""
        return self._unique(name, self.values, "/")

    def add(
        self,
        kind: type[g.Layer],
        node: Node,
        *inputs: str | None,
        outputs: Any = None,
        **fields: Any,
    ) -> str:
        """Append a layer for a node; returns the name of its first output.

        outputs: the ONNX names to derive the values' names from, None for one that isn't needed.
        """
        made = tuple(
            n if n is None else self._unique(n, self.values, "/")
            for n in outputs or (next((n for n in node.outputs if n), node.name),)
        )
        name = self._unique(node.name, self.names, "_")
        layer = kind(name=name, inputs=inputs, outputs=made, **fields)
        self.layers.append(layer)
        self.makers.update({n: layer for n in made if n is not None})
        return next((n for n in made if n is not None), "")

    def decide(self, *values: Tracked) -> None:
        """Guess what the axes mean that nothing has decided."""
        for value in values:
            for dim in value.dims:
                if dim.label is None:
                    self.guessed = True
                    guess_input(dim.family or (dim,), self.preference)

    def one_row(self) -> bool:
        """The model takes one row: one of its inputs has the size 1 for the batch."""
        dims = [d for x in self.inputs for d in x.dims]
        return any(d.label == BATCH and d.is_one() for d in dims)

    def select(self, node: Node, name: str, index: np.ndarray, size: int) -> str:
        """Features of a value of ``size``, picked; all of them as they are is the value itself.

        A part of a Concat is the part itself.
        """
        index = np.asarray(index).reshape(-1)
        if np.array_equal(index, np.arange(size)):
            return name
        maker = self.makers.get(name)
        if isinstance(maker, g.Select):
            whole = np.asarray(maker.index)[index]
            return self._pick(node, maker.inputs[0] or "", whole)
        return self._pick(node, name, index)

    def _pick(self, node: Node, name: str, index: np.ndarray) -> str:
        maker = self.makers.get(name)
        if isinstance(maker, g.Concat):
            start = 0
            for part in maker.inputs:
                assert part is not None
                size = self.features(part)
                if size is None:
                    break
                if index.min() >= start and index.max() < start + size:
                    return self.select(node, part, index - start, size)
                start += size
        return self.add(g.Select, node, name, index=tuple(int(i) for i in index))

    def features(self, name: str) -> int | None:
        """How many a value has, where its maker says it."""
        maker = self.makers.get(name)
        if isinstance(maker, g.Recurrent):
            return (maker.output_size, *maker.state_sizes)[maker.outputs.index(name)]
        if isinstance(maker, g.Select):
            return len(maker.index)
        if isinstance(maker, g.Dense):
            return maker.weight.shape[0]
        if isinstance(maker, g.Concat):
            total = 0
            for part in maker.inputs:
                size = self.features(part or "")
                if size is None:
                    return None
                total += size
            return total
        return None


LARGEST = 1 << 24  # features that a value can have
Handler = Callable[[Builder, Node], list[Kind]]


def weight(const: Const) -> np.ndarray:
    """A constant as float32, exactly; bfloat16 and float8 widen without loss."""
    array = const.array
    if array.dtype.name.startswith(("bfloat16", "float8")):
        array = array.astype(np.float32)
    return float32(const.name, array)


def product(node: Node, dims: list[Dim]) -> int:
    size = axis_size(tuple(dims))
    if size is None:
        raise node.error("needs features of a fixed number, and the model leaves it open")
    if size > LARGEST:
        raise node.error(f"makes {size} features, more than 2^24")
    return size


def arranged(b: Builder, node: Node, x: Tracked, wanted: list[Dim]) -> Tracked:
    """x with its features in the order of ``wanted``, which holds all of them that aren't of size
    1; data move only where they must."""
    have = [d for d in x.order if d.label == FEATURES and not d.is_one()]
    want = [d for d in wanted if d.label == FEATURES and not d.is_one()]
    if have == want:
        return x
    if set(have) != set(want) or len(want) != len(have):
        raise node.error("needs features that lie on other axes")
    places = np.arange(product(node, have)).reshape([d.size or 0 for d in have])
    index = places.transpose([have.index(d) for d in want])
    name = b.select(node, x.name, index, places.size)
    return Tracked(name, x.axes, tuple(wanted), x.dtype)


def in_order(b: Builder, node: Node, x: Tracked) -> Tracked:
    """x with its features in the order of its axes; every axis has a meaning then."""
    b.decide(x)
    return arranged(b, node, x, x.labelled(FEATURES))


def replaced(x: Tracked, name: str, old: Dim, new: Axis, order: Axis) -> Tracked:
    """x with a dim replaced, now made by another layer."""
    axes = tuple(tuple(e for d in axis for e in (new if d is old else (d,))) for axis in x.axes)
    return Tracked(name, axes, order, x.dtype)


def last_step(b: Builder, node: Node, x: Tracked, dim: Dim, axes: tuple[Axis, ...]) -> Tracked:
    """The last time step of x, time being ``dim``; ``axes`` are the result's."""
    bind(node, dim, TIME)
    name = b.add(g.LastStep, node, x.name)
    return Tracked(name, axes, tuple(d for d in x.order if d is not dim), x.dtype)


def steps_as_features(b: Builder, node: Node, x: Tracked) -> Tracked:
    """x, which has time, without: all steps, one after another, as features."""
    times = x.labelled(TIME)
    if len(times) != 1:
        raise node.error(f"reads {len(times)} axes as time")
    time = times[0]
    if time.is_one():
        axes = tuple(tuple(d for d in axis if d is not time) for axis in x.axes)
        return last_step(b, node, x, time, axes)
    if time.size is None:
        error = node.error(
            "reads time as features, which takes a fixed number of steps; the model leaves it open"
        )
        if time.guess and time.source is not None:
            raise LabelConflict(str(error), time.source, FEATURES)
        raise error
    name = b.add(g.Flatten, node, x.name)
    steps = Dim(time.size, FEATURES)
    order = (steps, *(d for d in x.order if d.label == FEATURES))
    return replaced(x, name, time, (steps,), order)


def unmixed(b: Builder, node: Node, x: Tracked) -> Tracked:
    """x, of whose axes none is made of time and features both, where time has a fixed size."""
    b.decide(x)
    for axis in x.axes:
        found = {d.label for d in bare(axis)}
        if found == {TIME, FEATURES} and all(d.size is not None for d in axis):
            return steps_as_features(b, node, x)
    return x


def fixed_time(x: Tracked, axis: int) -> bool:
    """Time of a fixed number of steps is on an axis, and no guess: it may be read as features."""
    dims = x.axes[axis]
    known = all(d.size is not None and not d.guess for d in dims)
    return known and any(d.label == TIME for d in dims)


def take_features(b: Builder, node: Node, x: Tracked, where: list[int]) -> Tracked:
    """x, all features of which are on the axes ``where``, in the order of those."""

    def inner() -> list[Dim]:
        return [d for i in where for d in x.axes[i]]

    if any(d.label is None and d.outer for d in inner()):
        b.decide(x)
    for dim in inner():
        if dim.label != TIME:
            bind(node, dim, FEATURES)
    if any(d.label == TIME for d in inner()):
        x = steps_as_features(b, node, x)
    for dim in (d for i, axis in enumerate(x.axes) if i not in where for d in axis):
        if dim.label == FEATURES and not dim.is_one():
            error = node.error(
                "works on a part of the features only, the rest being on another axis; "
                "lstmc keeps all features of a step together"
            )
            if dim.guess and dim.source is not None:
                raise LabelConflict(str(error), dim.source, TIME)
            raise error
        dim.outer = dim.outer or not (dim.label or dim.is_one())
    return arranged(b, node, x, inner())


def features(b: Builder, node: Node, x: Tracked, axis: int, size: int) -> Tracked:
    """x, all features of which are on one axis, ``size`` of them."""
    x = take_features(b, node, x, [axis])
    dims = x.axes[axis]
    if len(dims) == 1 and dims[0].size is None:
        dims[0].size = size
    if axis_size(dims) != size:
        raise node.error(f"gets {axis_size(dims)} features, its weights take {size}")
    return x


def as_time(b: Builder, node: Node, x: Tracked, axis: int) -> Tracked:
    """x with time on an axis; features of a value without time become its steps."""
    dims = bare(x.axes[axis])
    x = x.moved((*x.axes[:axis], dims, *x.axes[axis + 1 :]))
    if len(dims) == 1 and (dims[0].label in (None, TIME) or dims[0].guess):
        bind(node, dims[0], TIME)
        return x
    b.decide(x)
    if len(dims) > 1 and {d.label for d in dims} == {TIME, FEATURES}:
        return as_time(b, node, steps_as_features(b, node, x), axis)
    if x.labelled(TIME) or any(d.label != FEATURES for d in dims):
        how = "is made of several" if dims else "is not one that the model's inputs have"
        if len(dims) == 1:
            bind(node, dims[0], TIME)  # says what it is
        raise node.error(f"the axis it reads as time {how}; {NEXT}")
    rest = [d for d in x.labelled(FEATURES) if d not in dims]
    x = arranged(b, node, x, [*dims, *rest])
    time = Dim(product(node, list(dims)), TIME)
    name = b.add(g.Unflatten, node, x.name, count=time.size)
    axes = (*x.axes[:axis], (time,), *x.axes[axis + 1 :])
    return Tracked(name, axes, tuple(rest), x.dtype)


def fill(b: Builder, node: Node, like: Tracked, value: np.ndarray, timed: bool = False) -> str:
    """A constant as a value, where there is one that it goes with; with its steps if ``timed``."""
    name = b.add(g.Fill, node, like.name, value=np.asarray(value, np.float32).reshape(-1))
    return b.add(g.Repeat, node, name, like.name) if timed else name
