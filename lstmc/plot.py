"""Figures of gates, cell and hidden states over time; needs matplotlib (pip install lstmc[plot]).

matplotlib is imported when a figure is drawn and its global state is left alone: no pyplot, no
backend is chosen, and a user's matplotlibrc changes nothing.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import Error
from .inspect import GATE_NAMES, SIGNED, Recurrence, Trace
from .palette import (
    ABSENT,
    DIVERGING,
    OVER,
    SEQUENTIAL,
    UNDER,
    leaves,
    scales,
    thin,
    value_scale,
)
from .terminal import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
LINES = 12  # features that are drawn as lines; more are a heat map
INK, FAINT = "#1d1f24", "#6b6f78"
HUES = ("#28718f", "#c4503a", "#5a8f3c", "#8a5aa8", "#c08a1e", "#3d4f6b",
        "#b04a78", "#2f9c86", "#7a5a3a", "#6b6f78", "#a0b030", "#30619c")  # fmt: skip

# Inches.
WIDTHS = {1: 5.6, 2: 4.0, 3: 3.2}
LEFT, RIGHT, TOP, BOTTOM = 1.35, 0.75, 0.52, 0.16
TITLE, AXIS, GAP, BETWEEN = 0.3, 0.42, 0.06, 0.14
LINE_HEIGHT, MAP_HEIGHT = 0.85, 0.62


class PlotError(Error):
    """matplotlib is not installed."""


def require() -> Any:
    """matplotlib; PlotError if it is not installed."""
    try:
        import matplotlib
    except ImportError as e:
        raise PlotError(
            "figures need matplotlib: pip install 'lstmc[plot]' (or pip install matplotlib)"
        ) from e
    return matplotlib


def draw(
    found: Trace, layers: Sequence[str] | None = None, row: int = 0, title: str = ""
) -> Figure:
    """A figure: inputs, then each recurrent layer's gates and states, then outputs, over time.

    Args:
        found: what :func:`lstmc.inspect.trace` gave.
        layers: names of recurrent layers; all if None.
        row: of the batch.
        title: above it all.

    Raises:
        PlotError: no matplotlib.
        KeyError: no such recurrent layer.
    """
    with _style(require()):
        chosen = [found.recurrent[n] for n in (found.recurrent if layers is None else layers)]
        return _Page(found, chosen, row, title).figure


def render(figure: Figure, kind: str) -> bytes:
    """The bytes of a file: kind is png, svg or pdf. The same figure gives the same bytes."""
    out = io.BytesIO()
    metadata: dict[str, Any] = {"png": {"Software": None}, "svg": {"Date": None}}.get(
        kind, {"CreationDate": None}
    )
    with _style(require()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name in a script that the font lacks
        figure.savefig(out, format=kind, dpi=200, metadata=metadata)
    return out.getvalue()


def _style(matplotlib: Any) -> Any:
    """A context in which matplotlib has its own defaults and ours, not the user's."""
    ours = {
        "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 8,
        "axes.linewidth": 0.5, "axes.edgecolor": FAINT, "axes.labelcolor": INK,
        "text.color": INK, "xtick.color": FAINT, "ytick.color": FAINT, "xtick.labelsize": 7,
        "ytick.labelsize": 7, "xtick.major.width": 0.5, "ytick.major.width": 0.5,
        "xtick.major.size": 2.5, "ytick.major.size": 2.5, "svg.hashsalt": "lstmc",
        "svg.fonttype": "path", "pdf.fonttype": 42, "text.usetex": False,
    }  # fmt: skip
    return matplotlib.rc_context({**_quiet(matplotlib), **ours})


def _quiet(matplotlib: Any) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated settings
        defaults = dict(matplotlib.rcParamsDefault)
    return {k: v for k, v in defaults.items() if not k.startswith(("backend", "interactive"))}


class _Page:
    """The figure in the making. Places are in inches from the top left corner."""

    def __init__(self, found: Trace, layers: list[Recurrence], row: int, title: str) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.row = row
        columns = min(len(layers), 2 if len(layers) < 7 else 3) or 1
        self.map_width = WIDTHS[columns]
        self.step = LEFT + self.map_width + RIGHT
        self.width = columns * self.step
        ends = [self._ends(found.inputs, found), self._ends(found.outputs, found)]
        rows = [layers[i : i + columns] for i in range(0, len(layers), columns)]
        heights = [max(map(self._block_height, r)) for r in rows]
        lines = [self._end_height(v) for end in ends for _, v in end]
        self.height = TOP + BOTTOM + sum(lines) + sum(heights)
        self.figure = Figure(figsize=(self.width, self.height), facecolor="white")
        FigureCanvasAgg(self.figure)
        self._write(title, 0.2, 0.3, size=11, weight="bold")
        y = TOP
        for name, value in ends[0]:
            y = self._end(f"input {name}", value, y)
        for blocks, height in zip(rows, heights, strict=True):
            for i, layer in enumerate(blocks):
                self._block(layer, i * self.step, y)
            y += height
        for name, value in ends[1]:
            y = self._end(f"output {name}", value, y)

    def _axes(self, x: float, y: float, width: float, height: float) -> Axes:
        w, h = self.width, self.height
        axes = self.figure.add_axes((x / w, 1 - (y + height) / h, width / w, height / h))
        axes.set_facecolor("white")
        return axes

    def _write(self, text: str, x: float, y: float, **options: Any) -> None:
        """Names come from files: no mathematics in them, nothing unprintable."""
        self.figure.text(
            x / self.width, 1 - y / self.height, _short(text), parse_math=False, **options
        )

    def _ends(self, arrays: dict[str, np.ndarray], found: Trace) -> list[tuple[str, np.ndarray]]:
        """Inputs or outputs of the row: [time, features], or [features] without time."""
        values = [(n, found.values[n]) for n in arrays]
        return [(n, v[min(self.row, len(v) - 1)]) for n, v in values][:6]

    def _end_height(self, value: np.ndarray) -> float:
        return TITLE + 0.3 if _is_few(value) else TITLE + LINE_HEIGHT + AXIS

    def _end(self, name: str, value: np.ndarray, y: float) -> float:
        """An input or output, across the page; returns where the next thing goes."""
        width = self.width - LEFT - RIGHT
        size = " x ".join(map(str, value.shape)) + (", no time" if value.ndim == 1 else "")
        self._write(name, LEFT, y + TITLE - 0.1, weight="bold", size=8.5)
        self._write(size, LEFT + width, y + TITLE - 0.1, ha="right", color=FAINT, size=7)
        if _is_few(value):
            self._write(",  ".join(f"{v:.5g}" for v in value), LEFT, y + TITLE + 0.1, size=8)
            return y + self._end_height(value)
        axes = self._axes(LEFT, y + TITLE, width, LINE_HEIGHT)
        axes.set_xlabel("feature" if value.ndim == 1 else "time step", labelpad=1)
        if value.ndim == 2 and value.shape[1] > LINES:
            low, high, palette = value_scale(value)
            image = self._map(axes, value, low, high, palette)
            self._bar(image, LEFT + width, y + TITLE, LINE_HEIGHT, "neither")
            self._write("feature", LEFT - 0.34, y + TITLE + LINE_HEIGHT / 2, ha="right",
                        va="center", size=7, color=FAINT)  # fmt: skip
            return y + self._end_height(value)
        if value.ndim == 1:
            axes.bar(np.arange(len(value)), np.nan_to_num(value), width=0.8, color=HUES[0])
            axes.axhline(0, color=FAINT, linewidth=0.5)
        else:
            dots = "o" if len(value) < 40 else None
            for i in range(value.shape[1]):
                axes.plot(value[:, i], color=HUES[i], linewidth=0.9, marker=dots, markersize=1.8)
            axes.margins(y=0.1)
        axes.set_xlim(-0.5, len(value) - 0.5)
        _whole_ticks(axes, len(value))
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="y", labelsize=6.5)
        axes.yaxis.set_major_locator(_few_ticks())
        return y + self._end_height(value)

    def _block_height(self, layer: Recurrence) -> float:
        maps = len(layer.pictures())
        return TITLE + maps * (MAP_HEIGHT + GAP) + (BETWEEN if layer.gates else 0) + AXIS + 0.08

    def _block(self, layer: Recurrence, x: float, y: float) -> None:
        """A layer's heat maps below each other, one colour bar for each scale."""
        left, units = x + LEFT, next(iter(layer.pictures().values())).shape[2]
        self._write(layer.name, left, y + TITLE - 0.1, weight="bold", size=8.5)
        self._write(f"{layer.kind}, {units} units", left + self.map_width, y + TITLE - 0.1,
                    ha="right", color=FAINT, size=7)  # fmt: skip
        y += TITLE
        ranges, axes, pictures = scales(layer), None, layer.pictures()
        for signed in (False, True):
            group = {n: a[self.row] for n, a in pictures.items() if (n in SIGNED) == signed}
            start, image, beyond = y, None, set()
            for name, a in group.items():
                axes = self._axes(left, y, self.map_width, MAP_HEIGHT)
                image = self._map(axes, a, *ranges[name], DIVERGING if signed else SEQUENTIAL)
                beyond.add(leaves(a, *ranges[name]))
                axes.tick_params(labelbottom=False)
                middle = y + MAP_HEIGHT / 2
                self._write(name, left - 0.34, middle, ha="right", va="center", size=11,
                            style="italic", family="DejaVu Serif")  # fmt: skip
                self._write(GATE_NAMES[name], left - 0.52, middle, ha="right", va="center",
                            size=7, color=FAINT)  # fmt: skip
                y += MAP_HEIGHT + GAP
            if image is not None:
                self._bar(image, left + self.map_width, start, y - start - GAP, _both(beyond))
                y += BETWEEN if not signed else 0
        if axes is not None:
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("time step", labelpad=1)

    def _map(self, axes: Axes, values: np.ndarray, low: float, high: float,
             palette: tuple[str, ...]) -> Any:  # fmt: skip
        """[time, features] as an image, features upwards."""
        from matplotlib.colors import LinearSegmentedColormap

        plain = LinearSegmentedColormap.from_list("lstmc", palette, 512)
        colours = plain.with_extremes(bad=ABSENT, under=UNDER, over=OVER)
        steps, features = values.shape
        pixels = np.ma.masked_invalid(thin(values, 1200, 400).T)
        image = axes.imshow(pixels, aspect="auto", origin="lower", cmap=colours, vmin=low,
                            vmax=high, interpolation="nearest",
                            extent=(-0.5, steps - 0.5, -0.5, features - 0.5))  # fmt: skip
        _whole_ticks(axes, steps)
        axes.set_yticks([0, features - 1] if features > 1 else [0])
        if features > 1:  # what stands above is as near as what stands below
            bottom, top = axes.get_yticklabels()
            bottom.set_verticalalignment("bottom")
            top.set_verticalalignment("top")
        return image

    def _bar(self, image: Any, x: float, y: float, height: float, extend: str) -> None:
        trim = min(0.12, height / 8)
        axes = self._axes(x + 0.1, y + trim, 0.1, height - 2 * trim)
        bar = self.figure.colorbar(image, cax=axes, extend=extend, extendfrac=0.08)
        low, high = image.get_clim()
        ticks = [low, (low + high) / 2, high]
        bar.set_ticks(ticks, labels=[f"{v:.3g}".replace("-", "−") for v in ticks])
        bar.outline.set_linewidth(0.4)
        axes.tick_params(labelsize=6.5)


def _both(beyond: set[str]) -> str:
    """The ends of a scale that any of several pictures leaves."""
    if "both" in beyond or {"min", "max"} <= beyond:
        return "both"
    return next((x for x in ("min", "max") if x in beyond), "neither")


def _is_few(value: np.ndarray) -> bool:
    """Numbers without time that one line holds."""
    return value.ndim == 1 and len(value) <= 8


def _short(text: str) -> str:
    text = printable(" ".join(text.split()))
    return text if len(text) <= 60 else f"{text[:28]}…{text[-31:]}"


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(3)


def _whole_ticks(axes: Axes, count: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(8 if count > 1 else 1, integer=True))
    if count == 1:
        axes.set_xticks([0])


__all__ = ["FORMATS", "PlotError", "draw", "render", "require"]
