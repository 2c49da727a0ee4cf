"""Exported models as compiled: within the bounds that are promised, as big as the table says, and
what `lstmc export` estimates of it beforehand."""

import json
import re

import pytest
from firmware_build import CHIPS, compiled, longest, plain, skip_without, version
from firmware_sizes import (
    COUNTED,
    MODELS,
    PAGE,
    README,
    TABLE,
    TOLERANCE,
    about_code,
    board_of,
    instructions,
    measure,
    model,
    pages,
    readme,
)
from helpers import LONG, Net, lstm_graph

from lstmc import export, presets
from lstmc import graph as g
from lstmc.export import costs, sources
from lstmc.export.build import report_lines
from lstmc.export.freeze import freeze
from lstmc.model import from_graph

TABLES = json.loads(TABLE.read_text())
SOME = [
    ("cortex-m4f", "LSTM 16->32"), ("cortex-m4f", "Conv1D 8->16, LSTM 32"),
    ("cortex-m0", "Dense 16->8"), ("cortex-m55", "GRU 16->32"), ("rv32imac", "weather forecaster"),
]  # fmt: skip
ALL = [(chip.name, name) for chip in CHIPS for name in MODELS]
KIB = 1024


def check_version(chip, what):
    """Whether the table is of this compiler; if it is not, what was measured is just printed."""
    if version(chip) == TABLES[chip.name]["compiler"]:
        return True
    print(f"{chip.name}, {version(chip)}: {what}")
    return False


def assert_near(got, want, what):
    assert abs(got - want) <= TOLERANCE * want, (
        f"{what}: {got}, the table says {want}: run tests/firmware_sizes.py --write if it is meant"
    )


def test_an_lstm_on_a_cortex_m4f_is_small(tmp_path):
    row = measure(COUNTED, presets.find("m4f"), tmp_path)
    assert 500 < row["code"] <= 6 * KIB
    assert 0 <= row["other_ram"] <= 256
    assert 0 < row["stack"] <= 512
    assert set(row["calls"]) <= {"memcpy", "memset"}


@pytest.mark.parametrize("preset, name", ALL if LONG else SOME)
def test_sizes_are_those_of_the_table(preset, name, tmp_path):
    chip = presets.find(preset)
    row = measure(name, chip, tmp_path)
    want = TABLES[preset]["models"][name]
    assert row["ram"] == want["ram"] and row["other_ram"] == want["other_ram"]
    if check_version(chip, row):
        assert row["calls"] == want["calls"]
        for key in ("code", "stack"):
            assert_near(row[key], want[key], f"{preset}, {name}, {key}")


@pytest.mark.parametrize(
    "preset", [c.name for c in CHIPS] if LONG else ["cortex-m4f", "cortex-m55"]
)
def test_instructions_are_those_of_the_table(preset, tmp_path):
    chip = presets.find(preset)
    skip_without(chip)
    board_of(chip).skip_without_tools()
    got = instructions(chip, tmp_path)
    if check_version(chip, got):
        for flag, want in TABLES[preset]["instructions"].items():
            assert_near(got[flag], want, f"{preset} {flag}")


def test_the_page_shows_the_table():
    text = PAGE.read_text()
    assert pages(text, TABLES) == text
    text = README.read_text()
    assert readme(text, TABLES) == text


def test_the_table_is_whole():
    assert set(TABLES) == {c.name for c in CHIPS} == set(costs.table())
    for chip in CHIPS:
        assert set(TABLES[chip.name]["models"]) == set(MODELS)
        for row in TABLES[chip.name]["models"].values():
            assert all(re.fullmatch(r"memcpy|memset|memmove|__\w+", s) for s in row["calls"])
            if chip.fpu != "none":
                assert not any("aeabi_f" in s or s.endswith("sf3") for s in row["calls"])


# ------------------------------------------------------------------------------------- estimates


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_estimates_are_near_what_was_measured(chip):
    for name in MODELS:
        row = TABLES[chip.name]["models"][name]
        about = about_code(name, chip)
        assert abs(about - row["code"]) <= 0.16 * row["code"], (name, about, row["code"])
        cost = costs.estimate(freeze(model(name), chip), False)
        assert row["stack"] <= cost.stack <= 2 * row["stack"], (name, cost, row["stack"])


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_every_layer_and_function_has_a_cost(chip):
    facts = costs.table()[chip.name]
    runs = {key.split()[1] for key in facts["layers"]}
    assert {x.run for x in sources.layers().values()} <= runs
    order = sources.functions()
    others = order[order.index(costs.FIRST_OTHER) :]
    assert set(others) == set(facts["others"])


def test_the_report():
    small = from_graph(lstm_graph(16, 32, outputs="s"))
    use = export.memory(small, "m4f")
    assert use["tables_bytes"] == 42 * 4 + 3 * 4 + 2 * 16  # a record, of 45 words; two values
    lines = report_lines(use)
    assert any(re.fullmatch(r"flash, code +[\d,]+ bytes at -Os, about", line) for line in lines)
    assert any(re.fullmatch(r"stack +[\d,]+ bytes at -Os, about", line) for line in lines)
    (arena,) = (line for line in lines if line.startswith("RAM, arena"))
    total, *parts = (int(n.replace(",", "")) for n in re.findall(r"[\d,]*\d", arena))
    assert "other" in arena and total == sum(parts) == use["ram_bytes"]
    for unknown in ("esp32", "host"):
        use = export.memory(small, unknown)
        assert use["code_bytes"] is None and use["stack_bytes"] is None
        assert not any("about" in line for line in report_lines(use))


def test_tables_are_exact(tmp_path):
    """Records as large as the compiler makes them, pointers of both sizes, lists of words."""
    net = Net(0)
    x = net.input(4)
    joined = net.simple(g.Concat, (net.dense(x, 3), net.lstm(x, 5, outputs="s")["s"], x))
    several = from_graph(net.graph(joined))
    for preset, one in (("m4f", several), ("host", several), ("rv32imafc", model(COUNTED))):
        chip = presets.find(preset)
        made = export.export(one, tmp_path / preset, "net", chip)
        built = compiled(tmp_path / preset / "net.c", chip, ("-std=c99", "-O0"))
        tables = r"layer\d+|words|places|strides|value_steps|value_features"
        real = sum(n for s, (_, n) in built.symbols.items() if re.fullmatch(tables, s))
        assert made.memory["tables_bytes"] == real
        sample = sum(n for s, (_, n) in built.symbols.items() if s.startswith("golden_"))
        assert made.memory["sample_bytes"] == sample


# -------------------------------------------------------------------------------- the measurement

POINTERS = """
#define APART __attribute__((noinline))
typedef struct args { int n; } args;
static volatile int told;
%s
static APART void leaf(args *a) { volatile int big[64]; big[a->n] = a->n; told = big[3]; }
static APART void other(int a, int b) { volatile int large[999]; large[a] = b; told = large[b]; }
typedef struct cell { void (*kernel)(args *a); } cell;
static const cell cells[2] = {{leaf}, {%s}};
void net_step(args *a) { cells[a->n & 1].kernel(a); other(1, 2); told++; }
"""


def test_calls_through_pointers_count(tmp_path):
    chip = presets.find("m4f")
    source = tmp_path / "net.c"
    source.write_text(POINTERS % ("", "leaf"))
    built = compiled(source, chip, text=source.read_text())
    assert {plain(n) for n in built.functions["net_step"].calls} == {"leaf", "other"}
    assert 999 * 4 < built.longest("net_step") < 1100 * 4


def test_recursion_is_found_through_pointers_too(tmp_path):
    chip = presets.find("m4f")
    source = tmp_path / "net.c"
    again = "void net_step(args *a);\nstatic void again(args *a) { net_step(a); told = 1; }"
    source.write_text(POINTERS % (again, "again"))
    built = compiled(source, chip, text=source.read_text())
    with pytest.raises(ValueError, match="recursion: "):
        built.longest("net_step")


def test_the_longest_path():
    graph = {"a": (8, ["b", "c"]), "b": (16, ["d"]), "c": (4, []), "d": (1, ["memcpy"])}
    assert longest(graph, "a") == 25
    graph["d"] = (1, ["b"])
    with pytest.raises(ValueError, match="b -> d -> b"):
        longest(graph, "a")
