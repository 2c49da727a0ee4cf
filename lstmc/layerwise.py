"""Where two computations of a model part: every value inside it, layer by layer.

Three comparisons with the core's value of the same name: the float64 oracle on the same graph (is
the core right?), the oracle on the source converted again (is the file the source's?), and the
framework's own tensor (is the conversion right?). Errors are relative to a value's largest
magnitude in any sample, as those of outputs are: a probability of 1e-9 in one of them tells
nothing. Layers stand in the order they run, so the first that is wrong is where it begins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from . import format
from . import graph as g
from .arrays import Arrays
from .terminal import line

if TYPE_CHECKING:
    from .frameworks import Framework
    from .model import Model

COLUMNS = ("core", "source", "framework")
MAX_OUTPUTS = 32  # of a file
AROUND = 2  # rows shown on each side of the first wrong one


@dataclass
class Sample:
    """One call: arrays by input name, valid steps of each row or None, what to call it."""

    where: str
    inputs: Arrays
    lengths: np.ndarray | None = None


def magnitude(array: np.ndarray) -> float:
    """The largest finite one, 0 if there is none."""
    a = np.abs(np.asarray(array, np.float64))
    return float(a.max(where=np.isfinite(a), initial=0.0))


def error(got: np.ndarray, want: np.ndarray, scale: float | None = None) -> float:
    """The largest difference, relative to ``scale``, by default the largest magnitude wanted; inf
    if shapes differ, or one is NaN or infinite where the other is not."""
    with np.errstate(over="ignore"):
        b = np.asarray(want, np.float64)
        finite = np.isfinite(b.astype(np.float32))
    if got.shape != b.shape or not np.array_equal(np.isfinite(got), finite):
        return float("inf")
    if not finite.any():
        return 0.0
    scale = (magnitude(b) if scale is None else scale) or 1.0
    return float(np.abs(got[finite] - b[finite]).max()) / scale


def core_values(graph: g.Graph, sample: Sample) -> Arrays:
    """What the core computes for every value that a layer makes, [batch, (time,) features].

    The graph is run with them as its outputs, on which no bit may depend.
    """
    from .arrays import by_name
    from .model import Model

    specs = graph.infer()
    names = [n for layer in graph.layers for n in layer.outputs if n is not None]
    found: Arrays = {}
    for i in range(0, len(names), MAX_OUTPUTS):
        values = [graph.plain(n, specs[n]) for n in names[i : i + MAX_OUTPUTS]]
        opened = Model(format.dumps(dataclasses.replace(graph, outputs=values)))
        found |= by_name(opened, opened.predict(sample.inputs, sample.lengths))
    return found


@dataclass
class Layerwise:
    """Errors by layer and column, the largest over all samples; a column without any is absent.

    ``overlap``: outputs that have other bits when all values are kept, which blames the core's use
    of memory.
    """

    limit: float
    rows: list[dict[str, Any]]
    label: str = ""
    problem: str = ""
    overlap: list[str] = field(default_factory=list)

    def first(self, column: str) -> int | None:
        """The row where a column first exceeds the limit."""
        wrong = (i for i, r in enumerate(self.rows) if (r[column] or 0) > self.limit)
        return next(wrong, None)

    @property
    def begins(self) -> tuple[str, int] | None:
        """Where the difference begins: the column to blame and the row."""
        for column in COLUMNS:
            if (row := self.first(column)) is not None:
                return column, row
        return None

    def text(self, agree: bool = False) -> str:
        """The finding in words; ``agree``: the outputs are within their limits all the same."""
        if self.overlap:
            return f"{', '.join(self.overlap)}: other bits when all values are kept, report it"
        if self.begins is None:
            return f"none beyond {self.limit:g}, {self._seen()}"
        column, i = self.begins
        row = self.rows[i]
        if agree and column != "source":  # another file is another file, whatever its outputs
            peer = "the oracle" if column == "core" else self.label
            return (
                f"outputs agree; inside, beyond {self.limit:g} first at '{row['layer']}' "
                f"({row['type']}), {row[column]:.2g} from {peer}"
            )
        what = {
            "core": "the core differs from the oracle, which runs the same file",
            "source": "the file's layer differs from the source's, the core runs it right",
            "framework": f"the conversion differs from {self.label}, the core runs it right",
        }[column]
        text = f"begins at '{row['layer']}' ({row['type']}), error {row[column]:.2g}: {what}"
        unseen: list[str] = []
        for before in reversed(self.rows[:i]):
            if before[column] is not None:
                break
            unseen.insert(0, f"'{before['layer']}'")
        if unseen:
            text += f"; not seen there: {', '.join(unseen[:4])}{' ...' if unseen[4:] else ''}"
        return text

    def _seen(self) -> str:
        n = sum(r["framework"] is not None for r in self.rows)
        if self.label:
            text = f"{n} of {len(self.rows)} layers seen in {self.label}"
            return text + (f"; {self.problem}" if self.problem else "")
        return f"{len(self.rows)} layers"

    def table(self, whole: bool) -> list[str]:
        """Lines: all layers, or those around where it begins."""
        columns = [c for c in COLUMNS if any(r[c] is not None for r in self.rows)]
        begins = self.begins
        first, last = 0, len(self.rows)
        if not whole:
            if begins is None:
                return []
            first, last = max(0, begins[1] - AROUND), begins[1] + AROUND + 1
        cells = [("layer", "type", *columns)]
        for r in self.rows[first:last]:
            errors = ("-" if r[c] is None else f"{r[c]:.2g}" for c in columns)
            cells.append((r["layer"], r["type"], *errors))
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        lines = []
        for i, row in enumerate(cells):
            text = "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True))
            here = begins is not None and first + i - 1 == begins[1]
            lines.append(f"  {text.rstrip()}{'  <- begins here' if i and here else ''}")
        return lines


def compare(
    model: Model,
    samples: list[Sample],
    limit: float,
    source: g.Graph | None = None,
    framework: Framework | None = None,
    origins: Mapping[str, g.Value] | None = None,
) -> Layerwise:
    """All comparisons over the samples; ``source`` is the source's graph where it is another."""
    from . import reference
    from .arrays import by_name

    graph = model.graph
    offs: dict[tuple[str, str, str], float] = {}  # by layer, column and value: largest difference
    scales: dict[tuple[str, str, str], float] = {}  # likewise: largest magnitude in any sample
    found = Layerwise(limit, [])
    overlap: dict[str, None] = {}
    for sample in samples:
        ours = core_values(graph, sample)
        peers = {"core": reference.values(graph, sample.inputs, sample.lengths)}
        if source is not None:
            peers["source"] = reference.values(source, sample.inputs, sample.lengths)
        if framework is not None and sample.lengths is None:
            found.label = framework.label
            peers["framework"] = theirs = {}
            try:
                y = framework.run(sample.inputs)
                theirs.update({v.name: reference.to_internal(v, y[v.name]) for v in graph.outputs})
                theirs.update(_inner(framework, origins or {}, sample))
            except Exception as e:  # whatever a framework raises
                found.problem = f"of inner values it says: {line(e)}"
        for key, off, scale in _errors(graph, ours, peers):
            offs[key] = max(off, offs.get(key, 0.0))
            scales[key] = max(scale, scales.get(key, 0.0))
        outputs = by_name(model, model.predict(sample.inputs, sample.lengths))
        for v in graph.outputs:
            kept = reference.to_internal(v, outputs[v.name]).astype(np.float32)
            if not np.array_equal(kept, ours[v.name], equal_nan=True):
                overlap[f"'{v.name}'"] = None
    found.overlap = list(overlap)
    worst: dict[str, dict[str, float]] = {layer.name: {} for layer in graph.layers}
    for (layer, column, name), off in offs.items():
        relative = off / (scales[layer, column, name] or 1.0)
        worst[layer][column] = max(relative, worst[layer].get(column, 0.0))
    found.rows = [
        {
            "layer": layer.name,
            "type": type(layer).__name__,
            **{c: worst[layer.name].get(c) for c in COLUMNS},
        }
        for layer in graph.layers
    ]
    return found


def _inner(framework: Framework, origins: Mapping[str, g.Value], sample: Sample) -> Arrays:
    """The framework's tensors by the graph's names, laid out as values are inside."""
    from . import reference

    given = framework.inner([v.name for v in origins.values()], sample.inputs)
    theirs = {}
    for name, v in origins.items():
        a = given.get(v.name)
        if a is not None and a.ndim == len(v.axes):
            theirs[name] = reference.to_internal(v, a)
    return theirs


def _errors(
    graph: g.Graph, ours: Arrays, peers: Mapping[str, Arrays]
) -> Iterator[tuple[tuple[str, str, str], float, float]]:
    """((layer, column, value), largest difference, magnitude) of what both have in one shape."""
    for layer in graph.layers:
        for name in layer.outputs:
            for column, values in peers.items():
                if name is None or name not in values:
                    continue
                want = values[name]
                if want.shape == ours[name].shape or column == "core":
                    off = error(ours[name], want, 1.0)
                    yield (layer.name, column, name), off, magnitude(want)
