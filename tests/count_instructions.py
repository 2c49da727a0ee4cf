"""Instructions of one LSTM step under QEMU, scalar against vector, on machines that aren't here.

    .venv/bin/python -P tests/count_instructions.py            # print the table of docs/TARGETS.md
    .venv/bin/python -P tests/count_instructions.py --write    # and put it into tests/data, docs

A step is lstmc_run with one row and one step, as firmware calls it. What is counted is the
difference of a run of 120 steps and one of 20, so that loading the model does not count.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from emulated import MORE_MACHINES, NEON, PROGRAMS, QEMU_MACHINES, Machine, count
from helpers import DATA, ROOT, lstm_graph

from lstmc.format import DEFAULT_PANEL
from lstmc.model import from_graph

TABLE = DATA / "instructions.json"
PAGE = ROOT / "docs/TARGETS.md"
SIZES = ((1, 20), (16, 32), (64, 64))
FEW, MANY = 20, 120
TOLERANCE = 0.02  # libraries that are linked in may be others


@dataclasses.dataclass(frozen=True)
class Way:
    """How a machine is counted: two programs, each with a target, over models with such panels."""

    machine: Machine
    optimise: str = "-O2"
    panel: int = DEFAULT_PANEL

    @property
    def name(self) -> str:
        """In the table."""
        narrow = "" if self.panel == DEFAULT_PANEL else f", {self.optimise}, panels of {self.panel}"
        return self.machine.name + narrow

    @property
    def programs(self) -> dict[str, tuple[tuple[str, ...], str]]:
        """{"scalar": (flags, target), "vector": ...}: where there are no vectors, that without
        the machine's own assembler and that with it."""
        if self.machine.target == "scalar":
            return {"scalar": ((self.machine.leave_out,), "scalar"), "vector": ((), "scalar")}
        return {"scalar": ((), "scalar"), "vector": ((), self.machine.target)}


def ways(machine: Machine) -> list[Way]:
    if machine.target == "scalar":
        return [Way(machine, optimise, 2) for optimise in ("-O2", "-Os")]
    return [Way(machine)]


def count_steps(way: Way, link: Callable[..., Path], directory: Path) -> dict[str, dict[str, int]]:
    """{"16->32": {"scalar": n, "vector": n}, ...} of steps_main.c; link(*flags) makes it."""
    steps = {}
    for inputs, units in SIZES:
        model = directory / f"lstm{inputs}x{units}.lstmc"
        from_graph(lstm_graph(inputs, units, outputs="s"), way.panel).save(model)
        row, printed = {}, set()
        for key, (flags, target) in way.programs.items():
            program = link(way.optimise, *flags)
            counts = []
            for n in (FEW, MANY):
                number, out = count(way.machine, directory, program, [model, target, n])
                counts.append(number)
                printed.add((n, out))
            row[key] = round((counts[1] - counts[0]) / (MANY - FEW))
        assert len(printed) == 2, printed  # the same digests from both
        steps[f"{inputs}->{units}"] = row
    return steps


def build_and_count(way: Way, directory: Path) -> dict[str, Any]:
    machine = way.machine
    made: dict[tuple[str, ...], Path] = {}

    def link(*flags: str) -> Path:
        if flags not in made:
            where = directory / f"{machine.name.replace(' ', '-')}{''.join(flags)}"
            objects = machine.objects(where, ("-std=c99", *flags))
            parts = [PROGRAMS / "steps_main.c", *objects]
            made[flags] = machine.link(where / "steps", parts, ("-std=c99", *flags))
        return made[flags]

    return {"compiler": machine.version(), "steps": count_steps(way, link, directory)}


def page_table(tables: dict[str, Any]) -> str:
    lines = ["| CPU, compiler | I->H | scalar | vector | ratio |", "|---|---|---|---|---|"]
    for name, table in tables.items():
        for sizes, row in table["steps"].items():
            ratio = row["scalar"] / row["vector"]
            lines.append(f"| {name} | {sizes} | {row['scalar']} | {row['vector']} | {ratio:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        where = Path(directory)
        machines = [*QEMU_MACHINES, *MORE_MACHINES, NEON]
        tables = {w.name: build_and_count(w, where) for m in machines for w in ways(m)}
    text = page_table(tables)
    print(text)
    if "--write" in sys.argv[1:]:
        TABLE.write_text(json.dumps(tables, indent=1) + "\n")
        page = PAGE.read_text()
        start, end = page.index("| CPU, compiler"), page.index("<!-- end of table -->")
        PAGE.write_text(page[:start] + text + "\n" + page[end:])


if __name__ == "__main__":
    main()
