"""Handlers of layers that merge several tensors: Add, Multiply, Concatenate and their like.

A tensor [batch, features] goes with every step of a sequence. What becomes of masks changed in
Keras 3.4 (pull request 19685): since then the output's mask is the OR of all, and none if one
tensor has none; Multiply, Maximum and Minimum leave out what is masked. Keras 2 had AND, and takes
here only masks that are the same everywhere. Keras 3 before 3.4 lost masks, and is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from lstmc import graph as g

from .keras_build import SEQUENCE, STEPS, VECTOR, Builder, Tensor, affine, combine
from .keras_tree import Item, Kind, Layer, read


def tensors(b: Builder, layer: Item, x: Any) -> list[Tensor]:
    """A list of tensors that go together: [batch, time] only where all of them are."""
    if not isinstance(x, list) or len(x) < 2:
        layer.refuse("it is called with one tensor", "call it with a list of two or more")
    found = [b.tensor(layer, t) for t in x]
    return found if {t.form for t in found} == {STEPS} else [b.vector(t) for t in found]


def merged_mask(b: Builder, layer: Layer, x: list[Tensor], label: str) -> Tensor | None:
    """Whether a step counts in any of the tensors; None where one has no mask."""
    masks = [t.mask for t in x]
    if b.version < (3, 4) and any(masks):
        if b.major == 2 and all(m == masks[0] for m in masks):
            return masks[0]
        layer.refuse(
            "merges tensors with different masks: versions of Keras differ",
            "load and save the model with Keras 3.4 or later",
        )
    known = [m for m in masks if m is not None]
    return either(b, known, label) if len(known) == len(masks) else None


def either(b: Builder, masks: list[Tensor], label: str) -> Tensor:
    """The OR of masks."""
    unlike = list(dict.fromkeys(masks))
    if len(unlike) == 1:
        return unlike[0]
    made = b.add(combine("maximum"), unlike, f"{label}/mask")
    return dataclasses.replace(made, kind="bool")


def complement(b: Builder, mask: Tensor) -> Tensor:
    return b.add(affine(1, -1.0, 1.0), mask, f"{mask.name}/not")


def where(b: Builder, mask: Tensor, x: Tensor, other: Tensor, label: str) -> Tensor:
    """x where the mask is 1, other where it is 0."""
    kept = b.add(combine("multiply"), [x, mask], f"{label}/kept")
    rest = b.add(combine("multiply"), [other, complement(b, mask)], f"{label}/rest")
    return b.add(combine("add"), [kept, rest], label)


def _doubt(x: list[Tensor]) -> str:
    return next((t.doubt for t in x if t.doubt), "")


def elementwise(op: str) -> Callable[..., list[Tensor]]:
    def build(b: Builder, layer: Layer, given: dict[str, Any], label: str) -> list[Tensor]:
        x = tensors(b, layer, given["inputs"])
        if op == "subtract" and len(x) != 2:
            layer.refuse(f"it is called with {len(x)} tensors", "call it with two")
        mask = merged_mask(b, layer, x, label)
        y = b.add(combine(op), x, label)
        return [dataclasses.replace(y, mask=mask, doubt=_doubt(x))]

    return build


def multiply(b: Builder, layer: Layer, given: dict[str, Any], label: str) -> list[Tensor]:
    """A masked factor counts as 1; where all are masked, the product is 0."""
    x = tensors(b, layer, given["inputs"])
    mask = merged_mask(b, layer, x, label)
    factors = x
    if b.major > 2:
        factors = []
        for i, t in enumerate(x):
            if t.mask is not None:
                one = complement(b, t.mask)
                kept = b.add(combine("multiply"), [t, t.mask], f"{label}/kept{i}")
                t = b.add(combine("add"), [kept, one], f"{label}/factor{i}")
            factors.append(t)
    masked = b.major > 2 and mask is not None
    y = b.add(combine("multiply"), factors, f"{label}/product" if masked else label)
    if masked:
        y = b.add(combine("multiply"), [y, mask], label)
    return [dataclasses.replace(y, mask=mask, doubt=_doubt(x))]


def extreme(op: str) -> Callable[..., list[Tensor]]:
    """Maximum and Minimum: where one side is masked, the other side is taken.

    keras/src/layers/merging/base_merge.py, _apply_merge_op_and_or_mask, step by step.
    """

    def build(b: Builder, layer: Layer, given: dict[str, Any], label: str) -> list[Tensor]:
        x = tensors(b, layer, given["inputs"])
        kept = merged_mask(b, layer, x, label)
        if b.major == 2 or not any(t.mask for t in x):
            y = b.add(combine(op), x, label)
            return [dataclasses.replace(y, mask=kept, doubt=_doubt(x))]
        y, seen = x[0], x[0].mask
        for i, t in enumerate(x[1:]):
            mask = t.mask
            if mask is not None:
                t = where(b, mask, t, y, f"{label}/right{i}")
            if seen is not None:
                y = where(b, seen, y, t, f"{label}/left{i}")
            both = mask is not None and seen is not None
            seen = either(b, [seen, mask], label) if seen and mask and both else None
            y = b.add(combine(op), [y, t], label)
        return [dataclasses.replace(y, mask=kept, doubt="")]

    return build


def concatenate(b: Builder, layer: Layer, given: dict[str, Any], label: str) -> list[Tensor]:
    """Features side by side. A tensor without mask counts at every step."""
    x = tensors(b, layer, given["inputs"])
    y = joined(b, layer, x, layer.axis("axis", x[0].rank, -1), label)
    masks = [t.mask for t in x]
    if not any(masks) or y.form != SEQUENCE:
        return [dataclasses.replace(y, doubt=_doubt(x))]
    if b.version < (3, 4) or all(masks):
        mask = merged_mask(b, layer, x, label)
    else:  # every step counts, but there is a mask
        first = next(m for m in masks if m is not None)
        mask = dataclasses.replace(b.add(affine(1, 0.0, 1.0), first, f"{label}/mask"), kind="bool")
    return [dataclasses.replace(y, mask=mask, doubt=_doubt(x))]


def joined(b: Builder, layer: Layer, x: list[Tensor], axis: int, label: str) -> Tensor:
    """Concatenated along an axis, which has to be that of the features."""
    if len({t.form for t in x}) != 1:
        layer.refuse("it joins tensors of different rank", "give it tensors of one rank")
    if axis != x[0].rank - 1 or x[0].form not in (SEQUENCE, VECTOR):
        layer.refuse(
            f"option axis={axis} joins along the time or batch", "concatenate the features, axis=-1"
        )
    return b.add(g.Concat(name="", inputs=(), outputs=()), x, label)


LAYERS: dict[str, Kind] = {
    "Add": Kind(elementwise("add"), masks="own"),
    "Average": Kind(elementwise("mean"), masks="own"),
    "Concatenate": Kind(concatenate, read("axis"), masks="own"),
    "Maximum": Kind(extreme("maximum"), masks="own"),
    "Minimum": Kind(extreme("minimum"), masks="own"),
    "Multiply": Kind(multiply, masks="own"),
    "Subtract": Kind(elementwise("subtract"), masks="own"),
}
__all__ = ["LAYERS"]
