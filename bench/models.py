"""Every real model converted, checked and timed beside ONNX Runtime: `python bench/models.py`.

Writes docs/MODELS.md. Timing is by turns in one process, one thread each, as in bench.py; one call
is what the model's users do for each of their frames, words or windows, one row. A source that is
no ONNX file is compared with the ONNX model that an exporter would write of it (onnx_twin.py).
"""

from __future__ import annotations

import argparse
import shlex
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx_twin
import real_models
from compare import WrongOutput, check
from measure import QUICK, Effort, fastest, ratio_of, rounds
from peers import Form
from peers.ort import held_binding
from real_models import MODELS, Real
from report import cpu_name

import lstmc
from lstmc import _core, runtime
from lstmc import graph as g
from lstmc.arrays import by_name
from lstmc.errors import ConversionError
from lstmc.layerwise import Sample
from lstmc.recordings import as_step

PAGE = Path(__file__).resolve().parents[1] / "docs" / "MODELS.md"
LIMIT = 1e-5
SHORT = 110  # characters of a refusal
HEAD = (
    "model", "layers", "parameters", "file bytes", "arena bytes", "error", "relative", "lstmc us",
    "ONNX Runtime us", "ratio", "quartiles",
)  # fmt: skip
TIMED = 4  # of these, at the end
PAGE_TEXT = """# Real models

Trained elsewhere, converted, checked and timed by one command, `make models` (`MODELS=DIR` says
where they are). This run: {machine}, one thread each.

{models}

Errors are the largest over all recorded calls and outputs: absolute, and relative to the largest
magnitude of the output in that call. Bytes are those of the .lstmc file, and of the arena for one
row, one step at a time, on a 64-bit machine. Times are medians of one call as the model's users
make it, one row, both engines by turns; the ratio is the median of ONNX Runtime / lstmc over the
rounds, above 1 lstmc is faster, and wide quartiles mean that the machine was busy. A source that is
no ONNX file runs there as the ONNX model that an exporter would write of it.

{sources}

What the authors of trafficflow publish, errors in cars in 5 minutes over all of test.csv (LSTM 7.21
and 9.90, GRU 7.20 and 9.97), beside what their weights give in float64:

{published}

{operators}
"""


@dataclass
class Facts:
    """What one model comes to; the same on every machine."""

    layers: str
    parameters: int
    file_bytes: int
    arena_bytes: int  # one row, one step at a time, where addresses have 64 bits
    absolute: float
    relative: float

    def cells(self) -> list[str]:
        numbers = [f"{n:,}" for n in (self.parameters, self.file_bytes, self.arena_bytes)]
        return [self.layers, *numbers, f"{self.absolute:.1e}", f"{self.relative:.1e}"]


@dataclass
class Times:
    """Microseconds a call, medians; ratio is ONNX Runtime / lstmc, with its quartiles."""

    ours: float
    theirs: float
    ratio: float
    low: float
    high: float

    def cells(self) -> list[str]:
        spread = f"{self.low:.2f} - {self.high:.2f}"
        return [f"{self.ours:.1f}", f"{self.theirs:.1f}", f"{self.ratio:.2f}", spread]


# ----------------------------------------------------------------------------------------- facts


def facts(real: Real, models: Path, model: lstmc.Model) -> Facts:
    session = _core.Session(model._core, 1, 1, runtime.target_code())
    arrays = [a for x in model.graph.layers for _, _, a in x.tensors() if a is not None]
    return Facts(
        layers(model.graph),
        sum(a.size for a in arrays),
        model.nbytes,
        session.arena_bytes,
        *real_models.errors(real, models, model),
    )


def layers(graph: g.Graph) -> str:
    """Those with weights, how many of each; the number of others."""
    counts: Counter[str] = Counter()
    others = 0
    for layer in graph.layers:
        name = type(layer).__name__
        if isinstance(layer, g.Recurrent):
            counts[f"{name} {layer.hidden_size}{' backwards' if layer.reverse else ''}"] += 1
        elif any(a is not None for _, _, a in layer.tensors()):
            counts[name] += 1
        else:
            others += 1
    parts = [name if n == 1 else f"{n} {name}" for name, n in counts.items()]
    return ", ".join([*parts, *([f"{others} without weights"] if others else [])])


def refusal(error: ConversionError) -> list[str]:
    """The cells of a model that doesn't convert: what it says, in short."""
    text = textwrap.shorten(str(error).partition(";")[0], SHORT, placeholder=" ...")
    return [f"refused: {text}", *["-"] * (len(HEAD) - 2 - TIMED)]


# ---------------------------------------------------------------------------------------- timing


def ours(model: lstmc.Model, sample: Sample, streamed: bool) -> Form:
    x: Any = sample.inputs
    if len(x) == 1:
        (x,) = x.values()

    def read(y: Any) -> np.ndarray:
        return np.concatenate([a.ravel() for a in by_name(model, y).values()])

    if streamed:
        stream = model.stream()
        steps = {v.name: as_step(v, sample.inputs[v.name]) for v in model.graph.inputs}
        if all(
            a.shape[v.axes.index(g.TIME)] > 1
            for v, a in zip(model.graph.inputs, steps.values(), strict=True)
        ):
            return Form("stream", lambda: stream.run(steps), read)
        rows = {n: a.reshape(1, -1) for n, a in steps.items()}
        step = next(iter(rows.values())) if len(rows) == 1 else rows
        return Form("stream", lambda: stream.step(step), read)
    return Form("predict", lambda: model.predict(x), read)


def theirs(
    source: str | bytes, feed: dict[str, np.ndarray], states: dict[str, str], wanted: list[str]
) -> Sequence[Form]:
    """Ways to call ONNX Runtime. states: inputs, each fed from an output of the call before."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(source, options, ["CPUExecutionProvider"])
    kinds = {"tensor(int64)": np.int64, "tensor(uint8)": np.uint8}
    feed = {
        i.name: np.array(feed[i.name], kinds.get(i.type, np.float32), order="C")
        for i in session.get_inputs()
    }
    names = [o.name for o in session.get_outputs()]
    first = dict(zip(names, session.run(names, feed), strict=True))

    def read(y: dict[str, np.ndarray]) -> np.ndarray:
        return np.concatenate([y[n].ravel() for n in wanted])

    fed = dict(feed)

    def run() -> dict[str, np.ndarray]:
        y = dict(zip(names, session.run(names, fed), strict=True))
        fed.update({i: y[o] for i, o in states.items()})
        return y

    sides = [{n: np.array(feed[n]) for n in states} for _ in range(2)]  # read and written by turns
    turns = []
    for a, b in (sides, sides[::-1]):
        outputs = {n: np.empty_like(y) for n, y in first.items()}
        outputs |= {o: b[i] for i, o in states.items()}
        turns.append((held_binding(session, feed | a, outputs), outputs))
    turn = cycle(turns)

    def bound() -> dict[str, np.ndarray]:
        binding, outputs = next(turn)
        session.run_with_iobinding(binding)
        return outputs

    return [Form("run", run, read), Form("binding", bound, read)]


def times(real: Real, models: Path, model: lstmc.Model, effort: Effort) -> Times | None:
    """None if there is nothing for ONNX Runtime to run. Raises WrongOutput if the two differ."""
    path = real.onnx or (real.path if real.path.endswith(".onnx") else "")
    try:
        source = str(models / path) if path else onnx_twin.serialized(model.graph)
    except ValueError:
        return None
    found = real_models.known(real, models, model)
    sample, _ = found.calls[0]
    if real.recorded:  # all that the source takes, more than the converted model perhaps
        arrays = np.load(models / real.recorded)
        feed = {k.removeprefix("in0|"): arrays[k] for k in arrays if k.startswith("in0|")}
    else:
        values = model.graph.inputs
        one = {v.name: sample.inputs[v.name].take([0], v.axes.index(g.BATCH)) for v in values}
        sample, feed = Sample("", one), one
    own = ours(model, sample, bool(found.states))
    called = dict(real.called)
    wanted = [called.get(v.name, v.name) for v in model.graph.outputs]
    ways = theirs(source, feed, found.states, wanted)
    check(real.name, own, {"ONNX Runtime": ways})
    best, _ = fastest(ways, effort.sample)
    made = rounds({"lstmc": own, "theirs": best}, effort, ["lstmc", "theirs"])
    ratios = ratio_of(made["theirs"], made["lstmc"])
    return Times(median(made["lstmc"]) * 1e6, median(made["theirs"]) * 1e6, *ratios)


# -------------------------------------------------------------------------------------- the page


def row(real: Real, models: Path, effort: Effort | None) -> list[str]:
    """The cells behind a model's name; timed ones are - without an effort."""
    try:
        model = real.convert(models)
    except ConversionError as e:
        return [*refusal(e), *["-"] * TIMED]
    taken = times(real, models, model, effort) if effort else None
    return [*facts(real, models, model).cells(), *(taken.cells() if taken else ["-"] * TIMED)]


def source(real: Real) -> list[str]:
    """The cells of the second table behind the name."""
    compared = "ONNX Runtime 1.32, recorded" if real.recorded else "the float64 oracle"
    flags = f"`{shlex.join(real.flags)}`" if real.flags else "none"
    known = "-" if real.refused else compared
    return [f"`{real.path}`", real.origin, real.licence, flags, known]


def published(models: Path) -> list[list[str]]:
    """Errors in cars that the authors of trafficflow print, and ours."""
    found = []
    for real in MODELS:
        if real.flow:
            model = real.convert(models)
            found.append([real.name, *real_models.traffic_errors(models, model), *real.flow])
    return found


def operators(models: Path) -> str:
    found = real_models.node_tests(models)
    passed = [e for e in found.values() if e <= LIMIT]
    return (
        f"ONNX's recorded tests of LSTM, GRU and RNN: {len(passed)} of {len(found)} within "
        f"{LIMIT:g}, the largest relative error {max(found.values()):.1e}."
    )


def table(head: Sequence[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(c.replace('|', chr(92) + '|') for c in line)} |" for line in lines
    )


def page(rows: list[list[str]], models: Path) -> str:
    import onnxruntime

    engines = f"lstmc {lstmc.__version__} on {lstmc.get_target()}, ONNX Runtime"
    sources = [[m.name, *source(m)] for m in MODELS]
    return PAGE_TEXT.format(
        machine=f"{cpu_name()}, {engines} {onnxruntime.__version__}",
        models=table(HEAD, rows),
        sources=table(("model", "file", "from", "licence", "options", "errors against"), sources),
        published=table(
            ("model", "MAE", "RMSE", "MAE in float64", "RMSE in float64"), published(models)
        ),
        operators=operators(models),
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--models", type=Path, default=real_models.folder(), help="the folder of models")
    add("--only", metavar="TEXT", default="", help="models whose name holds it; writes no page")
    add("--seconds", type=float, default=3.0, help="for each model (default 3)")
    add("--quick", action="store_true", help="five short rounds: a check, not a measurement")
    add("--output", type=Path, default=PAGE, help="the page (default docs/MODELS.md)")
    args = parser.parse_args(argv)
    if not args.models.is_dir():
        print(f"models: there is no folder '{args.models}': give MODELS=DIR", file=sys.stderr)
        return 2
    lstmc.set_num_threads(1)
    effort = QUICK if args.quick else Effort(args.seconds)
    rows = []
    for real in MODELS:
        if args.only.lower() not in real.name.lower():
            continue
        try:
            rows.append([real.name, *row(real, args.models, effort)])
        except WrongOutput as e:
            print(f"models: wrong output: {e}", file=sys.stderr)
            return 1
        print("  ".join(rows[-1]), flush=True)
    if not args.only:
        args.output.write_text(page(rows, args.models), encoding="utf-8")
        print(f"written: {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
