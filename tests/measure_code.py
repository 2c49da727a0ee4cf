"""Bytes of code that each type of layer takes in firmware, for the estimates of lstmc info.

    .venv/bin/python -P tests/measure_code.py            # print
    .venv/bin/python -P tests/measure_code.py --write    # and put into lstmc/code_sizes.py
    .venv/bin/python -P tests/measure_code.py --write cortex-m4f    # only these presets

A firmware with that layer, and one with it and an LSTM, compiled with -Os for each preset and
linked with nothing but the compiler's own library.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from helpers import ROOT, Net, run_program

from lstmc import graph as g
from lstmc.code_sizes import OPTIONS, TABLE
from lstmc.export import export
from lstmc.model import Model, from_graph
from lstmc.presets import PRESETS, Preset

PAGE = ROOT / "lstmc/code_sizes.py"
# All that firmware may need from a C library, in its smallest form.
LIBRARY = """#include <stddef.h>
void *memcpy(void *to, const void *from, size_t n) {
    for (size_t i = 0; i < n; i++) ((char *)to)[i] = ((const char *)from)[i];
    return to;
}
void *memset(void *to, int value, size_t n) {
    for (size_t i = 0; i < n; i++) ((char *)to)[i] = (char)value;
    return to;
}
int memcmp(const void *a, const void *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const int d = ((const unsigned char *)a)[i] - ((const unsigned char *)b)[i];
        if (d) return d;
    }
    return 0;
}
void *memmove(void *to, const void *from, size_t n) {
    char *const t = to;
    const char *const f = from;
    if (t < f) return memcpy(to, from, n);
    while (n--) t[n] = f[n];
    return to;
}
"""


def _width(n: Net, x: str) -> int:
    return n.specs[x].features


def _recurrent(kind: type[g.Layer], gates: int, **options: object) -> Callable[[Net, str], str]:
    def add(n: Net, x: str) -> str:
        shape = {
            "weight_ih": n.weight(gates * 6, _width(n, x)),
            "weight_hh": n.weight(gates * 6, 6),
        }
        states = 2 if kind is g.LSTM else 1
        n.add(kind, x, ["s", *[None] * states], bias=n.weight(gates * 6), **shape, **options)
        return f"v{len(n.layers) - 1}s"

    return add


def _simple(kind: type[g.Layer], **fields: object) -> Callable[[Net, str], str]:
    return lambda n, x: n.simple(kind, x, **fields)


#: What adds a layer of each type to a net.
LAYERS: dict[str, Callable[[Net, str], str]] = {
    "LSTM": lambda n, x: n.lstm(x, 6)["s"],
    "GRU": _recurrent(g.GRU, 3),
    "RNN": _recurrent(g.RNN, 1),
    "LSTM" + OPTIONS: _recurrent(g.LSTM, 4, clip=3.0),
    "GRU" + OPTIONS: _recurrent(g.GRU, 3, clip=3.0),
    "RNN" + OPTIONS: _recurrent(g.RNN, 1, clip=3.0),
    "Dense": lambda n, x: n.dense(x, 6),
    "Activation": _simple(g.Activation, activation=g.RELU),
    "Softmax": _simple(g.Softmax),
    "LastStep": _simple(g.LastStep),
    "Embedding": lambda n, x: n.simple(g.Embedding, x, weight=n.weight(3, 7)),
    "Affine": lambda n, x: n.simple(g.Affine, x, scale=n.weight(_width(n, x)), shift=None),
    "Reduce": _simple(g.Reduce, op="mean"),
    "LayerNorm": lambda n, x: n.simple(g.LayerNorm, x, scale=n.weight(_width(n, x)), epsilon=1e-5),
    "Combine": lambda n, x: n.simple(g.Combine, [x, x], op="add"),
    "Concat": lambda n, x: n.simple(g.Concat, [x, x]),
    "Select": lambda n, x: n.simple(g.Select, x, index=(3, 1)),
    "Conv1D": lambda n, x: n.simple(
        g.Conv1D, x, weight=n.weight(6, 3 * _width(n, x)), taps=3, before=2
    ),
}  # fmt: skip


def model_of(kinds: Iterable[str]) -> Model:
    """A model with one layer of each of these types, one behind the other."""
    n = Net(0)
    x = n.input(4)
    for kind in kinds:
        x = LAYERS[kind](n, x)
    return from_graph(n.graph(x))


def code_bytes(model: Model, preset: Preset, directory: Path) -> int:
    """Bytes of code of the firmware, linked for the preset; what is linked there stays."""
    program = directory / "net.elf"
    if not program.exists():
        _link(model, preset, directory, program)
    tool = preset.compiler.removesuffix("gcc") + "size"
    sections = run_program([tool, "-A", str(program)]).stdout
    return sum(int(n) for n in re.findall(r"^\.text\S*\s+(\d+)", sections, re.M))


def _link(model: Model, preset: Preset, directory: Path, program: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    export(model, directory, "net", preset.name, golden=False)
    library = directory / "library.c"
    library.write_text(LIBRARY)
    sources = [*sorted(map(str, directory.glob("net*.c"))), str(library)]
    flags = ["-std=c99", "-Os", "-fno-builtin", "-ffunction-sections", "-fdata-sections"]
    linking = ["-nostdlib", "-static", "-Wl,--gc-sections,-e,net_step,-u,net_reset", "-lgcc"]
    headers = ["--specs=picolibc.specs"] if preset.name.startswith("rv32") else []  # of Debian
    command = [preset.compiler, *preset.flags, *headers, *flags, *sources, *linking]
    run_program([*command, "-o", str(program)])


def measure(
    preset: Preset, directory: Path, kinds: Iterable[str] = LAYERS
) -> dict[str, tuple[int, int]]:
    """The row of the table."""
    row = {}
    for kind in kinds:
        other = "GRU" if kind.startswith("LSTM") else "LSTM"
        alone, both, beside = (
            code_bytes(model_of(names), preset, directory / "-".join(names).replace(" ", "_"))
            for names in ([kind], [other, kind], [other])
        )
        row[kind] = alone, both - beside
    return row


def text(table: dict[str, dict[str, tuple[int, int]]]) -> str:
    """The rows as code_sizes.py has them."""
    lines = ""
    for name, row in table.items():
        items = textwrap.wrap(
            ", ".join(f'"{kind.replace(" ", "~")}":~({a},~{b})' for kind, (a, b) in row.items())
            + ",",
            width=90,
            break_long_words=False,
        )
        body = "".join(f"        {item}\n" for item in items).replace("~", " ")
        lines += f'    "{name}": {{\n{body}    }},\n'
    return lines


def main() -> None:
    names = [n for n in sys.argv[1:] if n != "--write"] or list(PRESETS)
    table = {}
    with tempfile.TemporaryDirectory() as directory:
        for preset in PRESETS.values():
            if preset.name not in names:
                table[preset.name] = TABLE.get(preset.name, {})
            elif shutil.which(preset.compiler) is not None:
                table[preset.name] = measure(preset, Path(directory) / preset.name)
                print(preset.name, table[preset.name], flush=True)
    if "--write" in sys.argv[1:]:
        page = PAGE.read_text()
        start = page.index("\n", page.index("TABLE: ")) + 1
        end = page.index("}\n# fmt: on", start)
        rows = {name: row for name, row in table.items() if row}
        PAGE.write_text(page[:start] + text(rows) + page[end:])


if __name__ == "__main__":
    main()
