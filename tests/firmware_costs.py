"""What lstmc/export/costs.py knows of each preset: measured on firmware that uses every layer.

    .venv/bin/python -P tests/firmware_costs.py --write    # lstmc/export/code_sizes.json

Functions are measured in firmware compiled so that they aren't inlined where they are called once;
a function of x is what a layer of it takes more than one of tanh. How that adds up when all is
inlined that would be, is fitted to the same models.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from firmware_build import CHIPS, SMALL, Object, compiled, library_bytes, plain, version
from firmware_sizes import MODELS, model
from helpers import FUNCTIONS, ROOT, Net, pointwise_graph, random_graph, sequence_graph

from lstmc import graph as g
from lstmc.errors import ShapeError
from lstmc.export import costs, sources
from lstmc.export.build import memory
from lstmc.export.emit import files
from lstmc.export.firmware import Firmware
from lstmc.export.freeze import Frozen, freeze
from lstmc.export.sample import Sample
from lstmc.model import Model, from_graph
from lstmc.presets import Preset

APART = (*SMALL, "-fno-inline-functions-called-once")
NOINLINE = "__attribute__((noinline))"
SEEDS = range(40)
STEPS = 5  # of a call, where that has to be said


def frozen_for(chip: Preset, made: Model) -> Frozen:
    try:
        return freeze(made, chip)
    except ShapeError:
        return freeze(made, chip, STEPS)


def corpus() -> list[Model]:
    """The models of the tables, then as many random ones as have something new."""
    models = [model(name) for name in MODELS]
    chip, seen = CHIPS[0], set[str]()
    graphs = [pointwise_graph(), sequence_graph(), *map(random_graph, SEEDS)]
    for made in (*models[:], *map(from_graph, graphs)):
        found = {costs.key_of(x) for x in frozen_for(chip, made).layers}
        if made not in models and not found <= seen:
            models.append(made)
        seen |= found
    missing = {x.run for x in sources.layers().values()} - {key.split()[1] for key in seen}
    assert not missing, f"no model of the corpus runs {missing}"
    return models


def build(
    frozen: Frozen,
    directory: Path,
    flags: tuple[str, ...] = SMALL,
    sample: Sample | None = None,
    apart: bool = False,
) -> Object:
    """The firmware of a model, by itself or with a self-test. ``apart``: no layer is inlined."""
    runs = "|".join({x.run for x in frozen.layers}) if apart else "$"
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files(Firmware(frozen, "net", False, sample, [], "a test")).items():
        if name in ("net.c", "net.h", "net_core.h"):
            runner = rf"^(static void (?:{runs})\(lstmc_node)"
            text = re.sub(runner, rf"{NOINLINE} \1", text, flags=re.M)
            (directory / name).write_text(text)
    return compiled(directory / "net.c", frozen.preset, flags)


def flash(built: Object) -> int:
    """Bytes but for the golden sample."""
    samples = (n for s, (_, n) in built.symbols.items() if s.startswith("golden_"))
    return built.code + built.constants - sum(samples)


class Seen(NamedTuple):
    """A model as compiled for a preset: bytes of flash and of stack. ``layers``: {key: (functions
    that a layer runs, bytes of stack)}; ``sizes`` of functions not inlined where called once."""

    keys: list[str]
    flash: int
    deep: int
    step: int
    sizes: dict[str, int]
    layers: dict[str, tuple[set[str], int]]


def look(made: Model, chip: Preset, directory: Path) -> Seen:
    frozen = costs.quick_only(frozen_for(chip, made))
    apart = build(frozen, directory / "apart", APART, apart=True)
    sizes: dict[str, int] = defaultdict(int)
    for name, function in apart.functions.items():
        sizes[plain(name)] += function.size
    layers: dict[str, tuple[set[str], int]] = {}
    for layer in frozen.layers:
        roots = [n for n in apart.functions if plain(n) == layer.run]
        reached = {plain(n) for root in roots for n in apart.reached(root)}
        layers[costs.key_of(layer)] = (reached, max(map(apart.longest, roots)))
    tables = memory(made, chip, frozen=frozen)["tables_bytes"]
    whole = build(frozen, directory / "whole")
    keys = [costs.key_of(x) for x in frozen.layers]
    step = apart.functions["net_step"].stack
    return Seen(keys, flash(whole) - tables, whole.longest("net_step"), step, sizes, layers)


def measure(chip: Preset, models: list[Model], directory: Path) -> dict[str, Any]:
    """The preset's part of the table."""
    looks = [look(made, chip, directory / str(i)) for i, made in enumerate(models)]
    return {
        "compiler": version(chip),
        **derive(looks),
        "library": library_bytes(directory / "0/whole/net.o", chip),
        "selftest": selftest(chip, models[0], directory),
        "others": dict(others(chip, directory)),
    }


def derive(looks: list[Seen]) -> dict[str, Any]:
    """What the estimate takes from the models. Of each layer, functions as they are in the model
    that has it and the fewest others: in that, they are compiled for it."""
    made: dict[str, Any] = {}
    for key in sorted({key for seen in looks for key in seen.layers}):
        users = [seen for seen in looks if key in seen.layers]
        purest = min(users, key=lambda seen: len(seen.keys))
        sizes = {name: purest.sizes[name] for name in sorted(purest.layers[key][0])}
        made[key] = {"stack": purest.layers[key][1], "functions": sizes}
    step = sorted(seen.step for seen in looks)[len(looks) // 2]
    several = max(
        seen.deep - step - max(made[key]["stack"] for key in seen.keys)
        for seen in looks[: len(MODELS)]
        if len(seen.keys) > 1
    )
    return {"fit": fit(made, looks), "step": step, "several": max(several, 0), "layers": made}


def fit(known: dict[str, Any], looks: list[Seen]) -> dict[str, float]:
    """The factors whose errors, in parts of the size, are least."""
    rows = [costs.features(known, seen.keys) for seen in looks]
    real = np.array([[seen.flash] for seen in looks], float)
    numbers = np.array([list(row.values()) for row in rows], float)
    found, *_ = np.linalg.lstsq(numbers / real, np.ones(len(looks)), rcond=None)
    return {k: round(float(v), 3) for k, v in zip(rows[0], found, strict=True)}


def selftest(chip: Preset, made: Model, directory: Path) -> int:
    frozen = freeze(made, chip)
    sample = Sample(1, [np.ones((1, p.floats), np.float32) for p in frozen.inputs], 1)
    tested = flash(build(frozen, directory / "with", sample=sample))
    return tested - flash(build(frozen, directory / "without"))


def others(chip: Preset, directory: Path) -> Iterator[tuple[str, list[int]]]:
    """(function, [bytes of flash, bytes of stack]) of each that is not in every firmware."""

    def of(fn: g.Fn) -> tuple[Frozen, Object]:
        net = Net()
        made = from_graph(net.graph(net.simple(g.Activation, net.input(2), activation=fn)))
        frozen = freeze(made, chip)
        return frozen, build(frozen, directory / fn.kind)

    _, base = of(g.TANH)
    for fn in {fn.kind: fn for fn in (*FUNCTIONS, g.Fn("clip", 0, 6))}.values():
        frozen, built = of(fn)
        for name in costs.other_functions(frozen):
            deeper = built.longest("net_step") - base.longest("net_step")
            yield name, [max(flash(built) - flash(base), 0), max(deeper, 0)]


def main() -> None:
    models = corpus()
    with tempfile.TemporaryDirectory() as directory:
        found = {c.name: measure(c, models, Path(directory) / c.name) for c in CHIPS}
    for name, facts in found.items():
        print(name, len(facts["layers"]), "layers,", facts["fit"])
    if "--write" in sys.argv[1:]:
        lines = [f'"{name}": {json.dumps(facts)}' for name, facts in found.items()]
        (ROOT / "lstmc/export" / costs.TABLE.name).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
