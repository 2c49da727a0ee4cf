"""numpy's broadcasting of values and constants."""

from __future__ import annotations

import math

import numpy as np

from lstmc import graph as g
from lstmc.graph import BATCH, TIME

from .onnx_axes import MEANINGS, alike, bind, unify
from .onnx_layers import (
    Builder,
    fill,
    fixed_time,
    in_order,
    last_step,
    product,
    steps_as_features,
    unmixed,
    weight,
)
from .onnx_values import FEATURES, Axis, Const, Dim, Kind, Node, Tracked, axis_size


def labels(dims: set[Dim]) -> set[str | None]:
    return {d.label for d in dims}


class Aligned:
    """Operands brought together by numpy's broadcasting.

    ``parts`` are values by name, with all features or one, or arrays of constants of all features;
    ``axes`` and ``order`` are the result's.
    """

    def __init__(self, b: Builder, node: Node, operands: list[Kind]) -> None:
        self.b, self.node = b, node
        self.unmixed = False  # no axis is made of time and features both
        self.alone = False  # a part has one feature, which goes with all of the others
        for i, x in enumerate(operands):
            if not isinstance(x, Tracked | Const):
                node.value(i)  # says what it is
        rank = max(len(x.axes) if isinstance(x, Tracked) else x.array.ndim for x in operands)  # type: ignore[union-attr]
        values = {
            i: x.moved(((),) * (rank - len(x.axes)) + x.axes)
            for i, x in enumerate(operands)
            if isinstance(x, Tracked)
        }
        arrays = {
            i: weight(x).reshape((1,) * (rank - x.array.ndim) + x.array.shape)
            for i, x in enumerate(operands)
            if isinstance(x, Const)
        }
        if any(0 in a.shape for a in arrays.values()):
            raise node.error("one of its constants is empty")
        wide = [at for at in range(rank) if any(a.shape[at] > 1 for a in arrays.values())]
        if any(fixed_time(x, at) for x in values.values() for at in wide):
            # a constant for each step: all steps, one after another, as features
            for i, x in values.items():
                values[i] = steps_as_features(b, node, x) if x.labelled(TIME) else x
        self._read(rank, values, arrays)
        for i, x in values.items():
            values[i] = unmixed(b, node, x)
        self.unmixed = True
        axes = self._read(rank, values, arrays)
        self.axes = self._distinct(axes)
        inner = [[d for d in axis if d.label == FEATURES] for axis in self.axes]
        where = [i for i, dims in enumerate(inner) if dims]
        in_axes: Axis = tuple(d for dims in inner for d in dims)
        self.order = self._own_order(list(values.values()), in_axes)
        sizes = [product(node, inner[i]) for i in where]
        self.features = product(node, list(in_axes))
        self.like = next(iter(values.values()))
        # Where each feature of the result is, counted in the order of the axes.
        index = np.arange(self.features).reshape([d.size or 1 for d in in_axes])
        self.index = index.transpose([in_axes.index(d) for d in self.order]).reshape(-1)
        self.parts: list[str | np.ndarray] = []
        for i in range(len(operands)):
            if i in values:
                self.parts.append(self._spread(values[i], where, sizes, in_axes))
            else:
                some = arrays[i].reshape([arrays[i].shape[j] for j in where])
                self.parts.append(np.broadcast_to(some, sizes).reshape(-1)[self.index])

    def _read(
        self, rank: int, values: dict[int, Tracked], arrays: dict[int, np.ndarray]
    ) -> list[Axis]:
        """The axes of the result, every one with a meaning; values may lose an axis of size 1."""
        axes = [self._axis(at, values, arrays) for at in range(rank)]
        self.b.decide(*values.values())
        return axes

    def _distinct(self, axes: list[Axis]) -> tuple[Axis, ...]:
        """The result's axes, in which no dim stands twice: not one time against another."""
        found: list[Axis] = []
        seen: set[Dim] = set()
        for axis in axes:
            own = []
            for dim in axis:
                again = dim.root() in seen or (dim.label != FEATURES and dim.label in labels(seen))
                if again and dim.label != FEATURES:
                    what = MEANINGS[dim.label or FEATURES]
                    raise self.node.error(f"combines {what} of one value with {what} of another")
                seen.add(dim.root())
                own.append(Dim(dim.size, FEATURES) if again else dim)
            found.append(tuple(own))
        return tuple(found)

    def _axis(self, at: int, values: dict[int, Tracked], arrays: dict[int, np.ndarray]) -> Axis:
        """One axis of the result; says what its dims are."""
        node, b = self.node, self.b
        base: Axis = next((x.axes[at] for x in values.values() if axis_size(x.axes[at]) != 1), ())
        if not base:  # all of size 1: dims of one, if any, are those of the result
            base = next((x.axes[at] for x in values.values() if x.axes[at]), ())
        for i, x in values.items():
            axis = x.axes[at]
            if axis is base or not axis:
                continue
            if axis_size(axis) == 1 and axis_size(base) != 1:
                values[i] = self._single(x, at)
            elif alike(axis, base):
                for one, other in zip(base, axis, strict=True):
                    if one.label is None and other.label is None:
                        b.decide(next(iter(values.values())))
                        b.decide(Tracked("", (base,), base))
                    unify(node, one, other)
            elif self.unmixed or not any(d.label == TIME for d in (*base, *axis)):
                for dim in (*base, *axis):
                    bind(node, dim, FEATURES)
                if axis_size(axis) != axis_size(base):
                    raise node.error(
                        f"joins axes of {axis_size(base)} and {axis_size(axis)}, which don't fit"
                    )
        for size in {a.shape[at] for a in arrays.values()} - {1}:
            if not base:
                base = (Dim(size, FEATURES),)
            if len(base) > 1 and any(d.label == TIME for d in base) and not self.unmixed:
                continue
            for dim in base:
                bind(node, dim, FEATURES)
            if len(base) == 1 and base[0].size is None:
                base[0].size = size
            if axis_size(base) == 1:
                base = (Dim(size, FEATURES),)
            if axis_size(base) != size:
                raise node.error(f"joins axes of {axis_size(base)} and {size}, which don't fit")
        return base

    def _single(self, x: Tracked, at: int) -> Tracked:
        """x, of size 1 on an axis where another value isn't: as a value without that axis."""
        axes = (*x.axes[:at], (), *x.axes[at + 1 :])
        time = [d for d in x.axes[at] if d.label == TIME]
        for dim in x.axes[at]:
            if dim.label == BATCH:
                raise self.node.error("repeats a value over the batch; give it the batch's size")
            if dim not in time:
                bind(self.node, dim, FEATURES)
        return last_step(self.b, self.node, x, time[0], axes) if time else x.moved(axes)

    def _order(self, x: Tracked, in_axes: Axis) -> Axis | None:
        """The dims of the result in the order in which x has them; None if x hasn't all."""
        own = x.labelled(FEATURES)
        if [d.size for d in own] != [d.size for d in in_axes] or not set(own) <= set(x.order):
            return None
        return tuple(in_axes[own.index(d)] for d in x.order if d in own)

    def _own_order(self, values: list[Tracked], in_axes: Axis) -> Axis:
        """The order of the result's features: that which the values have already, if it is one,
        else that of the axes."""
        found = {self._order(x, in_axes) for x in values} - {None}
        return (found.pop() if len(found) == 1 else None) or in_axes

    def _spread(self, x: Tracked, where: list[int], sizes: list[int], in_axes: Axis) -> str:
        """x's value with the result's features, or with one."""
        if self._order(x, in_axes) == self.order and self.features > 1:
            return x.name
        x = in_order(self.b, self.node, x)
        own = [product(self.node, [d for d in x.axes[i] if d.label == FEATURES]) for i in where]
        places = np.arange(math.prod(own)).reshape(own)
        if places.size == 1:
            self.alone = True
            return x.name
        index = np.broadcast_to(places, sizes).reshape(-1)[self.index]
        return self.b.select(self.node, x.name, index, places.size)

    def names(self) -> list[str]:
        """All parts as values, constants made such."""
        if all(isinstance(p, np.ndarray) for p in self.parts):
            raise self.node.error("has no input that is computed")
        return [
            p if isinstance(p, str) else fill(self.b, self.node, self.like, p) for p in self.parts
        ]

    def combine(self, op: str) -> Tracked:
        names = self.names()
        if len(names) == 1:
            return self.result(names[0])
        return self.result(self.b.add(g.Combine, self.node, *names, op=op))

    def affine(self, scale: np.ndarray | None, shift: np.ndarray | None) -> Tracked:
        """The one part that is computed, scaled and shifted by arrays of all features."""
        (name,) = [p for p in self.parts if isinstance(p, str)]
        if self.alone and self.features > 1:
            name = self.b.select(self.node, name, np.zeros(self.features, int), 1)
        scales = np.ones(1, np.float32) if scale is None else scale
        shifts = np.zeros(1, np.float32) if shift is None else shift
        if np.all(scales == scales[0]) and np.all(shifts == shifts[0]):
            fn = g.Fn("affine", float(scales[0]), float(shifts[0]))
            return self.result(self.b.add(g.Activation, self.node, name, activation=fn))
        return self.result(self.b.add(g.Affine, self.node, name, scale=scale, shift=shift))

    def result(self, name: str) -> Tracked:
        """What a layer has made of the parts."""
        return Tracked(name, self.axes, self.order)
