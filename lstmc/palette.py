"""Colours of heat maps, and what range they stand for: the same in figures and in reports."""

from __future__ import annotations

import math

import numpy as np

from .inspect import SIGNED, Recurrence

#: From low to high, lightness falling steadily: what is dark in colour is dark in grey.
SEQUENTIAL = ("#fbfaf3", "#d3e5d5", "#94c6bf", "#4c9cac", "#28718f", "#1b4568", "#0d1d38")
#: Blue below zero, red above, near white at zero.
DIVERGING = ("#0a2a5e", "#2c6aa8", "#8ab8da", "#f6f5f1", "#eda583", "#c4503a", "#6e141f")
#: Beyond the ends of the scale.
UNDER, OVER = "#000f2e", "#3a0009"
#: Where nothing was computed.
ABSENT = "#c9c9c9"


def channels(colour: str) -> tuple[int, int, int]:
    """Red, green, blue, 0 to 255, of a colour such as #0a2a5e."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def paint(values: np.ndarray, low: float, high: float, palette: tuple[str, ...]) -> np.ndarray:
    """uint8 [..., 3]: the colours of values on a scale from low to high."""
    anchors = np.array([channels(c) for c in palette], float)
    at = (np.asarray(values, float) - low) / (high - low) * (len(palette) - 1)
    clipped = np.clip(np.nan_to_num(at, nan=0.0), 0, len(palette) - 1)
    steps = np.arange(len(palette))
    mixed = np.stack([np.interp(clipped, steps, anchors[:, i]) for i in range(3)], axis=-1)
    colours = np.rint(mixed).astype(np.uint8)
    colours[at < -1e-9] = channels(UNDER)
    colours[at > len(palette) - 1 + 1e-9] = channels(OVER)
    colours[np.isnan(at)] = channels(ABSENT)
    return colours


def scales(layer: Recurrence) -> dict[str, tuple[float, float]]:
    """The range that each of a layer's pictures shows.

    Gates have one scale, from 0 to 1; candidate, c and h another, from -1 to 1. With activations
    that go further it is as wide as candidate and h are; c, which has no bounds, may leave it.
    """
    pictures = layer.pictures()
    signed = _reach([a for n, a in pictures.items() if n in SIGNED and n != "c"])
    gates = _reach([a for n, a in pictures.items() if n not in SIGNED])
    below = any(np.nanmin(a, initial=0) < 0 for n, a in pictures.items() if n not in SIGNED)
    return {
        n: (-signed, signed) if n in SIGNED else (-gates if below else 0.0, gates) for n in pictures
    }


def value_scale(values: np.ndarray) -> tuple[float, float, tuple[str, ...]]:
    """Low, high and colours for any values: from zero up if none is negative."""
    finite = values[np.isfinite(values)]
    reach = float(np.abs(finite).max(initial=0)) or 1.0
    return (-reach, reach, DIVERGING) if (finite < 0).any() else (0.0, reach, SEQUENTIAL)


def leaves(values: np.ndarray, low: float, high: float) -> str:
    """Which ends of a scale values lie beyond: neither, min, max or both."""
    found = values[np.isfinite(values)].astype(float)
    if not found.size:
        return "neither"
    below, above = found.min() < low - 1e-9, found.max() > high + 1e-9
    return ("both" if above else "min") if below else ("max" if above else "neither")


def thin(values: np.ndarray, steps: int, features: int) -> np.ndarray:
    """[time, features] with at most so many of each: means of neighbours where there are more.
    float64, so that a scale may reach further than float32."""
    values = np.asarray(values, float)
    for axis, most in ((0, steps), (1, features)):
        size = values.shape[axis]
        if size <= most:
            continue
        starts = np.arange(0, size, -(-size // most))
        counts = np.diff(np.append(starts, size))
        shape = (-1, 1) if axis == 0 else (1, -1)
        values = np.add.reduceat(values, starts, axis=axis) / counts.reshape(shape)
    return values


def _reach(arrays: list[np.ndarray]) -> float:
    """The largest magnitude, rounded up to 1, 2 or 5 times a power of ten; at least 1."""
    largest = 1.0
    for a in arrays:
        finite = np.abs(a[np.isfinite(a)])
        if finite.size:
            largest = max(largest, float(finite.max()))
    if largest <= 1 + 1e-6:
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    return next(n * power for n in (1, 2, 5, 10) if n * power >= largest * (1 - 1e-9))
