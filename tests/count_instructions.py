"""Instructions of one LSTM step under QEMU, scalar against vector, on machines that aren't here.

    .venv/bin/python -P tests/count_instructions.py            # print the table of docs/TARGETS.md
    .venv/bin/python -P tests/count_instructions.py --write    # and put it into tests/data, docs

A step is lstmc_run with one row and one step, as firmware calls it. What is counted is the
difference of a run of 120 steps and one of 20, so that loading the model does not count.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from emulated import MORE_MACHINES, NEON, PROGRAMS, QEMU_MACHINES, Machine, count
from helpers import DATA, ROOT, lstm_graph

from lstmc.model import from_graph

TABLE = DATA / "instructions.json"
PAGE = ROOT / "docs/TARGETS.md"
FLAGS = ("-std=c99", "-O2")
SIZES = ((1, 20), (16, 32), (64, 64))
FEW, MANY = 20, 120
TOLERANCE = 0.02  # libraries that are linked in may be others


def count_steps(machine: Machine, program: Path, directory: Path) -> dict[str, dict[str, int]]:
    """{"16->32": {"scalar": n, "vector": n}, ...} of steps_main.c compiled for the machine."""
    steps = {}
    for inputs, units in SIZES:
        model = directory / f"lstm{inputs}x{units}.lstmc"
        from_graph(lstm_graph(inputs, units, outputs="s")).save(model)
        row, printed = {}, set()
        for key, target in (("scalar", "scalar"), ("vector", machine.target)):
            counts = []
            for n in (FEW, MANY):
                number, out = count(machine, directory, program, [model, target, n])
                counts.append(number)
                printed.add((n, out))
            row[key] = round((counts[1] - counts[0]) / (MANY - FEW))
        assert len(printed) == 2, printed  # the same digests from both targets
        steps[f"{inputs}->{units}"] = row
    return steps


def build_and_count(machine: Machine, directory: Path) -> dict[str, Any]:
    where = directory / machine.name.replace(" ", "-")
    objects = machine.objects(where, FLAGS)
    program = machine.link(where / "steps", [PROGRAMS / "steps_main.c", *objects], FLAGS)
    return {"compiler": machine.version(), "steps": count_steps(machine, program, directory)}


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
        tables = {machine.name: build_and_count(machine, where) for machine in machines}
    text = page_table(tables)
    print(text)
    if "--write" in sys.argv[1:]:
        TABLE.write_text(json.dumps(tables, indent=1) + "\n")
        page = PAGE.read_text()
        start, end = page.index("| CPU, compiler"), page.index("<!-- end of table -->")
        PAGE.write_text(page[:start] + text + "\n" + page[end:])


if __name__ == "__main__":
    main()
