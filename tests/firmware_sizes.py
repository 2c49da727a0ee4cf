"""How much flash, RAM and stack exported models take, and how many instructions a step.

    .venv/bin/python -P tests/firmware_sizes.py            # print the tables of docs/FIRMWARE.md
    .venv/bin/python -P tests/firmware_sizes.py --write    # and put them there and into tests/data

Code is all that NAME.c becomes but its golden sample: functions, records, tables of the core. The
stack is the deepest path from NAME_step, without the compiler's own helpers for floats (without an
FPU) and memcpy. Both at -Os. Instructions are the difference of two runs under QEMU.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from emulated import BOARDS, PROGRAMS, Board, count
from firmware_build import ALLOWED, CHIPS, SMALL, compiled, library_bytes, version
from helpers import DATA, ROOT, Net

import lstmc
from lstmc import export
from lstmc import graph as g
from lstmc.export.freeze import freeze
from lstmc.export.sample import sample_of
from lstmc.model import Model, from_graph
from lstmc.presets import Preset

TABLE = DATA / "firmware.json"
PAGE, README = ROOT / "docs/FIRMWARE.md", ROOT / "README.md"
START, END = "<!-- {} -->\n", "<!-- end of {} -->\n"
TOLERANCE = 0.02  # of the same compiler
COUNTED = "LSTM 16->32"
FAST = ("-std=c99", "-O2")
FEW, MANY = 20, 120
#: Presets whose board has another name, or which two boards have.
BOARD_OF = {b.name.split(",")[0]: b for b in reversed(BOARDS) if b.compiler == b.gcc}


def _one_lstm() -> Model:
    net = Net(1)
    return from_graph(net.graph(net.lstm(net.input(16), 32, outputs="s")["s"]))


def _gru() -> Model:
    net = Net(2)
    net.add(
        g.GRU, net.input(16), ["s", None], weight_ih=net.weight(96, 16),
        weight_hh=net.weight(96, 32), bias=net.weight(96), recurrent_bias=net.weight(32),
        reset_after=True,
    )  # fmt: skip
    return from_graph(net.graph("v0s"))


def _stacked() -> Model:
    net = Net(3)
    x = net.lstm(net.input(16), 32, outputs="s")["s"]
    x = net.lstm(x, 16, outputs="s")["s"]
    return from_graph(net.graph(net.dense(x, 1, activation=g.SIGMOID)))


def _dense() -> Model:
    net = Net(4)
    return from_graph(net.graph(net.dense(net.input(16), 8, activation=g.RELU)))


def _conv() -> Model:
    net = Net(5)
    x = net.simple(
        g.Conv1D, net.input(8), weight=net.weight(16, 3 * 8), bias=net.weight(16), taps=3, before=2,
        activation=g.RELU,
    )  # fmt: skip
    return from_graph(net.graph(net.lstm(x, 32, outputs="s")["s"]))


def _embedding() -> Model:
    net = Net(6)
    x = net.simple(g.Embedding, net.input(1), weight=net.weight(16, 50))
    return from_graph(net.graph(net.lstm(x, 32, outputs="s")["s"]))


def _peephole() -> Model:
    net = Net(7)
    net.add(
        g.LSTM, net.input(16), ["s", None, None], weight_ih=net.weight(128, 16),
        weight_hh=net.weight(128, 32), bias=net.weight(128), peephole=net.weight(96),
    )  # fmt: skip
    return from_graph(net.graph("v0s"))


def _weather() -> Model:
    return lstmc.convert(ROOT / "examples/weather/forecaster.onnx")


MODELS: dict[str, Callable[[], Model]] = {
    COUNTED: _one_lstm,
    "GRU 16->32": _gru,
    "LSTM 16->32->16, Dense 1": _stacked,
    "Dense 16->8": _dense,
    "Conv1D 8->16, LSTM 32": _conv,
    "Embedding 50->16, LSTM 32": _embedding,
    "LSTM 16->32, peepholes": _peephole,
    "weather forecaster": _weather,
}


@cache
def model(name: str) -> Model:
    return MODELS[name]()


def measure(name: str, chip: Preset, directory: Path) -> dict[str, Any]:
    """The row of a model and a preset. AssertionError for a symbol that firmware may not use,
    ValueError for recursion."""
    made = export.export(model(name), directory, "net", chip)
    built = compiled(directory / "net.c", chip)
    foreign = {s for s in built.undefined if not re.fullmatch(rf"({ALLOWED})|net_weights", s)}
    assert not foreign, foreign
    sample = sum(n for s, (_, n) in built.symbols.items() if s.startswith("golden_"))
    frozen = freeze(model(name), chip)
    largest = max(4 * features * steps for _, features, steps, _ in frozen.values)
    activation = min(largest, made.memory["values_bytes"])  # others are the caller's
    return {
        "code": built.code + built.constants - sample,
        "library": library_bytes(directory / "net.o", chip),
        "ram": built.variables,
        "other_ram": built.variables - made.memory["state_bytes"] - activation,
        "stack": built.longest("net_step"),
        "calls": sorted(built.undefined - {"net_weights"}),
    }


def instructions(chip: Preset, directory: Path) -> dict[str, int]:
    """{"-Os": n, "-O2": n} of a step of the LSTM, with the firmware's self-test passed before."""
    board = board_of(chip)
    export.export(model(COUNTED), directory, "net", chip)
    found = {}
    parts = [PROGRAMS / "firmware_steps.c", directory / "net.c", directory / "net_weights.c"]
    for flags in (SMALL, FAST):
        counts = []
        for n in (FEW, MANY):
            options = [*flags, f"-DSTEPS={n}", f"-I{directory}"]
            program = board.link(directory / f"run{flags[-1]}{n}", parts, options)
            counts.append(count(board, directory, program, [])[0])
        found[flags[-1]] = round((counts[1] - counts[0]) / (MANY - FEW))
    return found


def board_of(chip: Preset) -> Board:
    return BOARD_OF[chip.name]


def tables(directory: Path) -> dict[str, Any]:
    """{preset: {"compiler": ..., "models": {name: row}, "instructions": {flag: n}}}."""
    made: dict[str, Any] = {}
    for chip in CHIPS:
        rows = {}
        for i, name in enumerate(MODELS):
            rows[name] = measure(name, chip, directory / f"{chip.name}-{i}")
        steps = instructions(chip, directory / f"{chip.name}-steps")
        made[chip.name] = {"compiler": version(chip), "models": rows, "instructions": steps}
    return made


# ---------------------------------------------------------------------------------------- pages


def size_table(made: dict[str, Any]) -> str:
    """Code and its estimate, RAM beyond the state and the largest activation, stack."""
    lines = [
        "| model | preset | code | estimate | helpers | other RAM | stack |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in MODELS:
        for chip in CHIPS:
            row = made[chip.name]["models"][name]
            about = about_code(name, chip)
            error = 100 * (about - row["code"]) / row["code"]
            lines.append(
                f"| {name} | {chip.name} | {row['code']} | {about} ({error:+.0f} %) "
                f"| {row['library']} | {row['other_ram']} | {row['stack']} |"
            )
    return "\n".join(lines) + "\n"


def about_code(name: str, chip: Preset) -> int:
    """What `lstmc export` says beforehand of what ``measure`` calls code."""
    frozen = freeze(model(name), chip)
    use = export.memory(model(name), chip, frozen=frozen, sample=sample_of(model(name), frozen))
    return int(use["code_bytes"] + use["tables_bytes"])


def step_table(made: dict[str, Any]) -> str:
    lines = ["| preset | board | -Os | -O2 |", "|---|---|---|---|"]
    for chip in CHIPS:
        n, board = made[chip.name]["instructions"], board_of(chip)
        machine = board.run[board.run.index("-M") + 1]
        lines.append(f"| {chip.name} | {machine} | {n['-Os']:,} | {n['-O2']:,} |")
    return "\n".join(lines) + "\n"


def pages(text: str, made: dict[str, Any]) -> str:
    """docs/FIRMWARE.md with its tables as they are now."""
    for title, table in (("sizes", size_table(made)), ("instructions", step_table(made))):
        start, end = START.format(title), END.format(title)
        before, after = text[: text.index(start) + len(start)], text[text.index(end) :]
        text = f"{before}\n{table}\n{after}"
    return text


def short_table(made: dict[str, Any]) -> str:
    """README.md's: one LSTM on every chip."""
    lines = [
        "| chip | code, bytes | RAM beyond the state | stack | instructions a step |",
        "|---|---:|---:|---:|---:|",
    ]
    for chip in CHIPS:
        row, steps = made[chip.name]["models"][COUNTED], made[chip.name]["instructions"]["-Os"]
        about = "" if chip.fpu != "none" else " (floats in software)"
        lines.append(
            f"| {chip.name}{about} | {row['code'] + row['library']:,} | {row['other_ram']} "
            f"| {row['stack']} | {steps:,} |"
        )
    return "\n".join(lines) + "\n"


def readme(text: str, made: dict[str, Any]) -> str:
    """README.md with its table as it is now."""
    start, end = START.format("firmware table"), END.format("firmware table")
    before, after = text[: text.index(start) + len(start)], text[text.index(end) :]
    return f"{before}\n{short_table(made)}\n{after}"


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        made = tables(Path(directory))
    print(size_table(made), step_table(made), sep="\n")
    if "--write" in sys.argv[1:]:
        TABLE.write_text(json.dumps(made, indent=1) + "\n")
        PAGE.write_text(pages(PAGE.read_text(), made))
        README.write_text(readme(README.read_text(), made))


if __name__ == "__main__":
    main()
