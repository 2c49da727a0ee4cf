"""Heat maps and traces as SVG; the pixels of a map are a PNG of our own inside it."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

from ..inspect import GATE_NAMES, SIGNED, Recurrence
from ..palette import (
    DIVERGING,
    OVER,
    SEQUENTIAL,
    UNDER,
    leaves,
    paint,
    scales,
    thin,
    value_scale,
)
from .markup import element, picture, text

WIDTH, LEFT, RIGHT = 960.0, 132.0, 78.0
MAP, GAP, AXIS, TRACE = 64.0, 8.0, 36.0, 110.0
PIXELS = (1200, 400)  # of a map, at most
LINES = 12  # features that are drawn as lines
FEW = 8  # numbers that are written out


def png(pixels: np.ndarray) -> bytes:
    """The file of an image, uint8 [height, width, 3] (ISO/IEC 15948, colour type 2)."""
    height, width, _ = pixels.shape
    lines = np.zeros((height, 1 + 3 * width), np.uint8)  # each begins with its filter, none
    lines[:, 1:] = pixels.reshape(height, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines.tobytes(), 9))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def of_layer(layer: Recurrence, row: int) -> str:
    """Gates and states of a recurrent layer, one map below the other."""
    ranges, y = scales(layer), 6.0
    pictures = {n: a[row] for n, a in layer.pictures().items()}
    parts: list[str] = []
    for signed in (False, True):
        group = {n: a for n, a in pictures.items() if (n in SIGNED) == signed}
        if not group:
            continue
        palette, start, beyond = DIVERGING if signed else SEQUENTIAL, y, set()
        for name, a in group.items():
            parts.append(_map(a, *ranges[name], palette, y, MAP))
            parts += _name(name, GATE_NAMES[name], y + MAP / 2)
            parts += _units(a.shape[1], y, MAP)
            beyond.add(leaves(a, *ranges[name]))
            y += MAP + GAP
        low, high = ranges[next(iter(group))]
        parts += _bar(low, high, palette, start, y - start - GAP, beyond)
        y += 2 * GAP
    y -= 2 * GAP
    steps = len(pictures["h"])
    parts += _steps(steps, y - GAP)
    told = "; ".join(f"{GATE_NAMES[n]} {n}: {_range(a)}" for n, a in pictures.items())
    label = f"Heat maps of {layer.kind} '{layer.name}', {steps} steps. {told}"
    return picture(WIDTH, y + AXIS, label, *parts, class_="wide")


def of_value(value: np.ndarray, what: str) -> str:
    """An input or output, [time, features] or [features]: lines, a heat map, or the numbers."""
    label = f"{what}, {_range(value)}"
    if value.ndim == 1 and len(value) <= FEW:
        return element("p", text(",  ".join(f"{v:.6g}" for v in value)), class_="numbers")
    if value.ndim == 1 or value.shape[1] > LINES:
        table = value[None] if value.ndim == 1 else value
        low, high, palette = value_scale(value)
        parts = [_map(table, low, high, palette, 6, MAP), *_bar(low, high, palette, 6, MAP, set())]
        parts += _units(table.shape[1], 6, MAP)
        parts += _steps(len(table), 6 + MAP) if value.ndim == 2 else []
        parts += [element("text", "feature", x=LEFT - 40, y=6 + MAP / 2 + 4, class_="side")]
        return picture(WIDTH, MAP + 6 + AXIS, label, *parts, class_="wide")
    return picture(WIDTH, TRACE + 6 + AXIS, label, *_lines(value), class_="wide")


def _lines(value: np.ndarray) -> list[str]:
    finite = value[np.isfinite(value)].astype(float)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if high - low <= 1e-12 * max(abs(low), abs(high)):  # a level line, in the middle
        around = max(abs(low), 1.0) / 2
        low, high = low - around, high + around
    steps, room = len(value), WIDTH - LEFT - RIGHT
    drawn = thin(value, PIXELS[0], LINES)
    xs = LEFT + (np.arange(len(drawn)) + 0.5) * room / len(drawn)
    ys = 6 + TRACE * (1 - (drawn - low) / (high - low))
    parts = [element("rect", x=LEFT, y=6, width=room, height=TRACE, class_="frame")]
    for y in (low, high):
        place = 6 + TRACE * (1 - (y - low) / (high - low))
        parts.append(element("text", _number(y), x=LEFT - 8, y=place + 4, class_="tick end"))
    if low < 0 < high:
        zero = 6 + TRACE * high / (high - low)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=zero, y2=zero, class_="zero"))
    for i in range(drawn.shape[1]):
        good = np.isfinite(ys[:, i])
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs[good], ys[good, i], strict=True))
        parts.append(element("polyline", points=points, class_=f"line hue{i}"))
    return [*parts, *_steps(steps, 6 + TRACE)]


def _map(
    values: np.ndarray, low: float, high: float, palette: tuple[str, ...], y: float, height: float
) -> str:
    """[time, features] as an image, features upwards."""
    pixels = paint(thin(values, *PIXELS).T[::-1], low, high, palette)
    data = base64.b64encode(png(pixels)).decode()
    room = WIDTH - LEFT - RIGHT
    return element("image", x=LEFT, y=y, width=room, height=height, preserveAspectRatio="none",
                   href=f"data:image/png;base64,{data}", class_="map") + element(
        "rect", x=LEFT, y=y, width=room, height=height, class_="frame")  # fmt: skip


def _name(symbol: str, name: str, y: float) -> list[str]:
    return [
        element("text", symbol, x=LEFT - 34, y=y + 5, class_="symbol"),
        element("text", name, x=LEFT - 48, y=y + 4, class_="side"),
    ]


def _units(count: int, y: float, height: float) -> list[str]:
    places = [(0, y + height)] + ([(count - 1, y + 9)] if count > 1 else [])
    return [element("text", str(n), x=LEFT - 6, y=at, class_="tick end") for n, at in places]


def _steps(count: int, y: float) -> list[str]:
    """The time axis below y."""
    each = next(n * 10**p for p in range(12) for n in (1, 2, 5) if n * 10**p * 10 >= count)
    room = WIDTH - LEFT - RIGHT
    parts = []
    for step in range(0, count, each):
        x = LEFT + (step + 0.5) * room / count
        parts.append(element("line", x1=x, x2=x, y1=y, y2=y + 4, class_="mark"))
        parts.append(element("text", str(step), x=x, y=y + 15, class_="tick middle"))
    return [*parts, element("text", "time step", x=LEFT + room / 2, y=y + 30, class_="axis middle")]


def _bar(
    low: float, high: float, palette: tuple[str, ...], y: float, height: float, beyond: set[str]
) -> list[str]:
    """A colour bar, pointed where values leave the scale."""
    x, width = WIDTH - RIGHT + 14, 12.0
    bands = 64
    parts = [
        element("rect", x=x, y=y + height * i / bands, width=width, height=height / bands + 0.5,
                fill="#" + bytes(colour).hex())
        for i, colour in enumerate(paint(np.linspace(high, low, bands), low, high, palette))
    ]  # fmt: skip
    parts.append(element("rect", x=x, y=y, width=width, height=height, class_="frame"))
    for value, at in ((high, y + 9), ((low + high) / 2, y + height / 2 + 4), (low, y + height)):
        parts.append(element("text", _number(value), x=x + width + 5, y=at, class_="tick"))
    for side, colour, base, tip in (("max", OVER, y, y - 6), ("min", UNDER, y + height,
                                                              y + height + 6)):  # fmt: skip
        if beyond & {side, "both"}:
            points = f"{x},{base:.1f} {x + width},{base:.1f} {x + width / 2},{tip:.1f}"
            parts.append(element("polygon", points=points, fill=colour))
    return parts


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "\u2212")


def _range(values: np.ndarray) -> str:
    finite = values[np.isfinite(values)].astype(float)
    if not finite.size:
        return "no numbers"
    size = " x ".join(map(str, values.shape))
    return f"{size} values from {finite.min():.3g} to {finite.max():.3g}, mean {finite.mean():.3g}"
