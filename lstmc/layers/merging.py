"""Layers that take a list of tensors, for functional models."""

from __future__ import annotations

from typing import Any

from .base import Layer, own
from .symbols import Symbol


class Merging(Layer):
    """What they have in common: called with a list of two or more."""

    def __init__(self, **options: Any) -> None:
        super().__init__({}, options)


class Add(Merging):
    """The sum."""


class Subtract(Merging):
    """The first without the second."""


class Multiply(Merging):
    """The product."""


class Average(Merging):
    """The mean."""


class Maximum(Merging):
    """The largest."""


class Minimum(Merging):
    """The smallest."""


class Concatenate(Layer):
    """Features side by side."""

    def __init__(self, axis: int = -1, **options: Any) -> None:
        super().__init__(own(locals()), options)


def add(inputs: Any, **options: Any) -> Symbol:
    """``Add()(inputs)``."""
    return Add(**options)(inputs)


def subtract(inputs: Any, **options: Any) -> Symbol:
    """``Subtract()(inputs)``."""
    return Subtract(**options)(inputs)


def multiply(inputs: Any, **options: Any) -> Symbol:
    """``Multiply()(inputs)``."""
    return Multiply(**options)(inputs)


def average(inputs: Any, **options: Any) -> Symbol:
    """``Average()(inputs)``."""
    return Average(**options)(inputs)


def maximum(inputs: Any, **options: Any) -> Symbol:
    """``Maximum()(inputs)``."""
    return Maximum(**options)(inputs)


def minimum(inputs: Any, **options: Any) -> Symbol:
    """``Minimum()(inputs)``."""
    return Minimum(**options)(inputs)


def concatenate(inputs: Any, axis: int = -1, **options: Any) -> Symbol:
    """``Concatenate(axis)(inputs)``."""
    return Concatenate(axis, **options)(inputs)


__all__ = [
    "Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract", "add", "average",
    "concatenate", "maximum", "minimum", "multiply", "subtract",
]  # fmt: skip
