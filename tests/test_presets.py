"""Presets of chips: their table, files packed for them, what `lstmc info` says of them, and blobs
that arrive at run time on chips under QEMU."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from emulated import PROGRAMS, boards
from helpers import (
    DATA,
    INFERENCE,
    ROOT,
    WARNINGS,
    Net,
    assert_same,
    compile_c,
    compile_objects,
    predict,
    random_graph,
    random_inputs,
    run_program,
)
from test_c_core import WAYS
from test_cli import lstmc_run  # noqa: F401

import lstmc
from lstmc import export, format, info, presets
from lstmc import graph as g
from lstmc.model import from_graph

NAMES = {
    "cortex-m0": "m0", "cortex-m3": "m3", "cortex-m4f": "m4f", "cortex-m7": "m7",
    "cortex-m33": "m33", "cortex-m55": "m55", "rv32imac": "", "rv32imafc": "", "esp32": "",
    "host": "",
}  # fmt: skip
WITH_FPU = {"cortex-m4f", "cortex-m7", "cortex-m33", "cortex-m55", "rv32imafc", "esp32", "host"}
CHIP_CPUS = {"cortex-m4f", "cortex-m33", "cortex-m55"}
PAGE = ROOT / "docs/howto/blob.md"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def net():
    """Every kind of padding: 20 units in panels of 16 and 8, 5 in panels of 2."""
    n = Net(1)
    x = n.input(3)
    out = n.dense(n.lstm(x, 20)["s"], 5)
    return from_graph(n.graph(out))


# ----------------------------------------------------------------------------------------- table


def test_names():
    assert list(presets.PRESETS) == list(NAMES)
    for name, short in NAMES.items():
        assert presets.find(name) is presets.PRESETS[name] and presets.known(name)
        assert not short or presets.find(short) is presets.PRESETS[name]
    simd = {"auto", "scalar", "sse2", "avx2", "avx512", "neon", "helium", "rvv", "wasm"}
    assert not any(presets.known(n) for n in simd), "--target takes either, so they must differ"


@pytest.mark.parametrize("name", ["", "m4", "cortex-m4", "M4F", "cortex-rv32imac", "avx2", "m4f "])
def test_unknown_names_are_refused_with_a_list(name):
    assert not presets.known(name)
    with pytest.raises(lstmc.Error, match=f"no preset '{name}'") as e:
        presets.find(name)
    assert isinstance(e.value, ValueError) and "\n" not in str(e.value)
    assert all(short or full in str(e.value) for full, short in NAMES.items())


def test_facts():
    for name, p in presets.PRESETS.items():
        assert p.name == name and p.panel in (1, 2, 4, 8, 16)
        assert (p.fpu != "none") == (name in WITH_FPU)
        assert p.fpu != "none" or ("slow" in p.about and "integers only" in p.about)
        assert (p.pointer_bytes, p.panel) == (8, 16) if name == "host" else p.pointer_bytes == 4
        with pytest.raises(dataclasses.FrozenInstanceError):
            p.panel = 3
    assert presets.find("m55").vector == "helium" and presets.find("m55").panel == 8
    assert {p.name for p in presets.PRESETS.values() if not p.tested} == {"esp32"}
    assert "NOT TESTED" in presets.find("esp32").about


@pytest.mark.parametrize("preset", presets.PRESETS.values(), ids=lambda p: p.name)
def test_compilers_take_the_flags(preset):
    """And what they then compile for has the FPU and the pointers that the preset says."""
    if shutil.which(preset.compiler) is None:
        pytest.skip(f"no {preset.compiler} here")
    command = [preset.compiler, *preset.flags, "-dM", "-E", "-x", "c", "/dev/null"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    macros = dict(line.split(" ", 2)[1:] for line in out.splitlines() if line.count(" ") > 1)
    assert int(macros["__SIZEOF_POINTER__"]) == preset.pointer_bytes
    if preset.name != "host":
        has_fpu = "__ARM_FP" in macros or "__riscv_flen" in macros
        assert has_fpu == (preset.fpu == "single")
        assert (int(macros.get("__ARM_FEATURE_MVE", "0")) & 2 != 0) == (preset.vector == "helium")


def test_the_command_lists_them(lstmc_run):  # noqa: F811
    status, out, _ = lstmc_run("targets", "--presets")
    assert status == 0 and [line.split()[0] for line in out.splitlines()[2:]] == list(NAMES)
    assert "NOT TESTED" in out
    assert max(map(len, out.splitlines())) <= 120
    facts = json.loads(lstmc_run("targets", "--presets", "--json")[1])
    assert list(facts["presets"]) == list(NAMES)
    assert facts["presets"]["cortex-m4f"]["flags"] == list(presets.find("m4f").flags)


# --------------------------------------------------------------------------------------- packing


def assert_repacked(model, blob, panel):
    """Other panels, the same everything else."""
    made = lstmc.Model(blob)
    assert made.panel == panel
    assert made.provenance == model.provenance and made.inputs == model.inputs
    assert made.outputs == model.outputs and made.golden.digests == model.golden.digests
    for name, x in model.golden.inputs.items():
        assert made.golden.inputs[name].tobytes() == x.tobytes()
    made.check_golden()
    graph, golden = format.loads(model.to_bytes())
    assert format.dumps(graph, golden, panel) == blob


@pytest.mark.parametrize("name", [*presets.PRESETS, *presets.ALIASES])
def test_packed(name):
    model, panel = net(), presets.find(name).panel
    assert model.panel == format.DEFAULT_PANEL
    made = model.packed(name)
    assert_repacked(model, made.to_bytes(), panel)
    assert made.packed("host").to_bytes() == model.to_bytes(), "there and back"
    model.save("a.lstmc", target=name)
    assert Path("a.lstmc").read_bytes() == made.to_bytes()
    x = random_inputs(model.graph, 0, 3, 5)
    assert_same(predict(made, x), predict(model, x))


@pytest.mark.parametrize("path", sorted(DATA.glob("v1_*.lstmc")), ids=lambda p: p.stem)
def test_old_files_are_packed(path):
    model = lstmc.load(path)
    for name in ("m0", "m4f", "m55", "host"):
        assert_repacked(model, model.packed(name).to_bytes(), presets.find(name).panel)


def test_a_graph_that_was_changed_is_not_packed():
    model = net()
    before = model.packed("m4f").to_bytes()
    model.graph.layers[0].weight_ih[...] = 7
    model.graph.provenance["source"] = "another"
    assert model.packed("m4f").to_bytes() == before


def test_nothing_is_written_for_an_unknown_chip():
    with pytest.raises(lstmc.errors.TargetError, match="no preset 'm5'"):
        net().save("a.lstmc", target="m5")
    assert not Path("a.lstmc").exists()


def test_no_weights_no_panels():
    n = Net(0)
    model = from_graph(n.graph(n.simple(lstmc.graph.LastStep, n.input(3))))
    assert model.panel == 0
    assert model.packed("m4f").to_bytes() == model.to_bytes()


@pytest.mark.parametrize("seed", range(20))
def test_any_graph_is_packed(seed):
    model = from_graph(random_graph(seed, sequential=seed % 4 != 0))
    for panel, name in ((2, "m4f"), (8, "m55")):
        if model.panel:
            assert_repacked(model, model.packed(name).to_bytes(), panel)


# --------------------------------------------------------------------------------------- convert


def test_convert_for_a_chip(lstmc_run):  # noqa: F811
    net().save("a.lstmc")
    status, out, _ = lstmc_run("convert", "a.lstmc", "--target", "m4f", "-o", "b.lstmc")
    assert status == 0 and "for cortex-m4f, panels of 2: LSTM + Dense" in out
    assert all(name in out for name in lstmc.targets())
    assert Path("b.lstmc").read_bytes() == net().packed("m4f").to_bytes()
    argv = ("convert", "b.lstmc", "--target", "host", "-o", "c.lstmc", "--json")
    facts = json.loads(lstmc_run(*argv)[1])
    assert (facts["preset"], facts["panel"], facts["notes"]) == ("host", 16, [])
    assert Path("c.lstmc").read_bytes() == net().to_bytes()


def test_convert_a_source_for_a_chip(lstmc_run):  # noqa: F811
    weather = ROOT / "examples/weather/forecaster.onnx"
    assert lstmc_run("convert", weather, "--target", "m33", "-o", "a.lstmc")[0] == 0
    assert Path("a.lstmc").read_bytes() == lstmc.convert(weather).packed("m33").to_bytes()
    assert lstmc_run("verify", "a.lstmc", "--against", weather)[0] == 0


def test_convert_still_takes_one_simd_target(lstmc_run):  # noqa: F811
    weather = ROOT / "examples/weather/forecaster.onnx"
    argv = ("convert", weather, "--target", "scalar", "-o", "a.lstmc", "--json")
    facts = json.loads(lstmc_run(*argv)[1])
    assert (facts["targets"], facts["preset"], facts["panel"]) == (["scalar"], None, 16)


def test_what_is_not_tested_says_so(lstmc_run):  # noqa: F811
    net().save("a.lstmc")
    argv = ("convert", "a.lstmc", "--target", "esp32", "-o", "b.lstmc")
    assert "NOT TESTED" in lstmc_run(*argv)[1]
    assert "NOT TESTED" in json.loads(lstmc_run(*argv, "--json")[1])["notes"][0]


def test_convert_refuses(lstmc_run):  # noqa: F811
    net().save("a.lstmc")
    before = Path("a.lstmc").read_bytes()
    for status, words, argv in (
        (2, "m55", ("--target", "m4x", "-o", "b.lstmc")),
        (2, "avx2" if "avx2" in lstmc.targets() else "scalar", ("--target", "m4x")),
        (2, "source itself", ("--target", "m4f")),
        (2, "--state", ("--target", "m4f", "-o", "b.lstmc", "--state", "a:b")),
        (1, "converted already", ("-o", "b.lstmc")),
        (1, "converted already", ("--target", "scalar", "-o", "b.lstmc")),
    ):
        got, _, err = lstmc_run("convert", "a.lstmc", *argv)
        assert got == status and words in err, err
    damaged = bytearray(before)
    damaged[-70] ^= 1
    Path("a.lstmc").write_bytes(damaged)
    got, _, err = lstmc_run("convert", "a.lstmc", "--target", "m4f", "-o", "b.lstmc")
    assert got == 1 and "checksum" in err
    for other in ("verify", "info", "run"):
        argv = ("--input", "x.npy", "--output", "y.npy") if other == "run" else ()
        assert lstmc_run(other, "a.lstmc", "--target", "m4f", *argv)[0] == 2
    assert [p.name for p in Path().iterdir()] == ["a.lstmc"]


def test_convert_checks_the_digests_of_the_file(lstmc_run):  # noqa: F811
    """One that no machine gives is not written again."""
    model = net()
    (name,) = model.golden.digests
    wrong = format.with_digests(model.golden, {name: model.golden.digests[name] ^ 1})
    Path("a.lstmc").write_bytes(format.dumps(model.graph, wrong))
    status, _, err = lstmc_run("convert", "a.lstmc", "--target", "m4f", "-o", "b.lstmc")
    assert status == 1 and "golden sample" in err and not Path("b.lstmc").exists()


def test_convert_without_a_golden_sample(lstmc_run):  # noqa: F811
    Path("a.lstmc").write_bytes(format.dumps(net().graph))
    status, out, _ = lstmc_run("convert", "a.lstmc", "--target", "m4f", "-o", "b.lstmc")
    assert status == 0 and "golden sample none" in out
    assert lstmc.load("b.lstmc").golden is None


def test_golden_samples_of_any_bits_are_kept():
    model = net()
    x = model.golden.inputs["x0"]
    x = np.arange(0x7F80_0000, 0x7F80_0000 + x.size, dtype=np.uint32).view(np.float32)
    inputs = {"x0": x.reshape(model.golden.inputs["x0"].shape)}
    golden = format.Golden(model.golden.batch, model.golden.time, inputs, model.golden.digests)
    odd = lstmc.Model(format.dumps(model.graph, golden))
    assert odd.packed("m4f").golden.inputs["x0"].tobytes() == x.tobytes()


# ------------------------------------------------------------------------------ blobs on chips

CHIPS = [b for b in boards() if b.name.endswith("gcc") and b.name.split(",")[0] in CHIP_CPUS]
FLAGS = ("-std=c99", "-Os", *WARNINGS)
each_chip = pytest.mark.parametrize("chip", CHIPS, ids=lambda m: m.name)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Compiles a program with the core for a chip, or for the host if that is None."""
    directory = tmp_path_factory.mktemp("chips")
    done = {}

    def build(chip, source, *flags):
        name = chip.name.replace(", ", "-") if chip else "host"
        if name not in done:
            if chip:
                chip.skip_without_tools()
            objects = chip.objects if chip else lambda d, f: compile_objects(d, INFERENCE, f)
            done[name] = objects(directory / name, FLAGS)
        path = directory / f"{source.stem}-{name}"
        if chip:
            return chip.link(path, [source, *done[name]], [*FLAGS, *flags])
        return compile_c(path, [source, *done[name]], [*FLAGS, *flags])

    return build


def run_on(chip, path, arguments, cwd):
    command = chip.command(path, arguments) if chip else [path, *arguments]
    return run_program(list(map(str, command)), cwd=cwd).stdout


def test_the_chips_are_there():
    assert {c.name.split(",")[0] for c in CHIPS} == CHIP_CPUS


@pytest.mark.parametrize("chip", [None, *CHIPS], ids=lambda m: m.name if m else "host")
def test_damaged_blobs_are_refused_by_code(program, chip):
    """Every bit of the header, truncations, flips, odd addresses, records that lie: the status that
    docs/howto/blob.md names for each, and no fault."""
    files = sorted(p.name for p in DATA.glob("v1_*.lstmc"))
    lines = run_on(chip, program(chip, PROGRAMS / "damage_main.c"), files, DATA).splitlines()
    assert [line.split()[0] for line in lines] == files
    for line, name in zip(lines, files, strict=True):
        _, panel, tries = line.split()
        assert int(panel) == lstmc.load(DATA / name).panel
        assert int(tries) > 512 + 2000 + 2 * (DATA / name).stat().st_size / 64


@each_chip
def test_hostile_blobs_get_the_same_verdicts_as_on_the_host(program, chip, tmp_path):
    """Records changed at random behind a checksum that fits: refused for the same reason on every
    machine, or run without a fault."""
    few = "-DMOST_FLOATS=0x4000u"  # what fits into a board's memory
    n = Net(0)
    from_graph(n.graph(n.lstm(n.input(1), 2)["s"]), 2).save("lstm.lstmc")
    Path("names.lstmc").write_bytes((DATA / "v1_names.lstmc").read_bytes())
    arguments = ["1000", "1", "names.lstmc", "lstm.lstmc"]
    got, want = (
        run_on(c, program(c, PROGRAMS / "fuzz_model.c", few), arguments, tmp_path)
        for c in (chip, None)
    )
    opened, ran, *statuses = map(int, re.findall(r"\d+", got))
    assert opened == statuses[0] > 3000 and ran > 0.9 * opened
    assert min(statuses[5], statuses[7], statuses[8]) > 100
    assert re.sub(r"ran \d+", "", got) == re.sub(r"ran \d+", "", want)


@each_chip
def test_blobs_of_every_width_run_on_every_chip(program, chip, tmp_path):
    """In place, whole, in steps, in chunks and row by row: the digests of the host."""
    model = net()
    digests = [f"{d:08x}" for d in model.golden.digests.values()]
    for name in ("m3", "m4f", "m55", "host"):
        model.save(f"{name}.lstmc", target=name)
    files = ["m3.lstmc", "m4f.lstmc", "m55.lstmc", "host.lstmc"]
    out = run_on(chip, program(chip, PROGRAMS / "digest_main.c"), files, tmp_path)
    rows = [line.split() for line in out.splitlines()]
    targets = {"scalar", chip.target}
    assert len(rows) == len(files) * len(targets) * len(WAYS)
    assert {row[0] for row in rows} == set(files) and {row[1] for row in rows} == targets
    assert all(row[3:] == digests for row in rows)


PAGE_MAIN = """
#include "model_file.h"
%s
int main(int argc, char **argv) {
    static double memory[2048];
    char *arena = (char *)memory + (16 - (uintptr_t)memory %% 16) %% 16;
    for (int i = 1; i < argc; i++) {
        size_t size;
        const void *blob = read_file(argv[i], &size);
        const size_t room = i == 1 ? 16 : sizeof memory - 16;
        const int status = take_model(blob, size, arena, room);
        printf("%%d %%lu\\n", status, (unsigned long)lstmc_model_panel(&model));
    }
    return 0;
}
"""


@pytest.mark.parametrize("chip", [None, *CHIPS], ids=lambda m: m.name if m else "host")
def test_the_pages_code(program, chip, tmp_path):
    """A good file, one for which the arena is too small, a damaged one, one with a wrong digest,
    one that is cut; a model that gives its last step alone, as forecasters do, right and wrong."""
    (code,) = re.findall(r"```c\n(.*?)```", PAGE.read_text(), re.S)
    Path("page.c").write_text(PAGE_MAIN % code)
    model = net()
    good = model.packed("m4f").to_bytes()
    flipped = bytearray(good)
    flipped[len(flipped) // 2] ^= 4
    (name,) = model.golden.digests
    lies = format.with_digests(model.golden, {name: model.golden.digests[name] ^ 1})
    blobs = [good, good, bytes(flipped), format.dumps(model.graph, lies, 8), good[:-64]]
    n = Net(2)
    x = n.input(3)
    last = from_graph(n.graph(n.dense(n.simple(g.LastStep, n.lstm(x, 20)["s"]), 5)))
    (name,) = last.golden.digests
    lies = format.with_digests(last.golden, {name: last.golden.digests[name] ^ 1})
    blobs += [last.packed("m4f").to_bytes(), format.dumps(last.graph, lies, 8)]
    for i, blob in enumerate(blobs):
        Path(f"{i}.lstmc").write_bytes(blob)
    path = program(chip, tmp_path / "page.c", "-I", PROGRAMS)
    out = run_on(chip, path, [f"{i}.lstmc" for i in range(len(blobs))], tmp_path)
    arena, ok, checksum, invalid, truncated = -10, 0, -6, -7, -5
    assert [tuple(map(int, line.split())) for line in out.splitlines()] == [
        (arena, 2), (ok, 2), (checksum, 0), (invalid, 8), (truncated, 0), (ok, 2), (invalid, 8),
    ]  # fmt: skip


def test_the_page_names_all_statuses_and_no_others():
    names = set(re.findall(r"LSTMC_E_\w+", PAGE.read_text()))
    header = (ROOT / "c_src/lstmc.h").read_text()
    assert names <= set(re.findall(r"(LSTMC_E_\w+) = -", header))
    assert {"LSTMC_E_CHECKSUM", "LSTMC_E_VERSION", "LSTMC_E_TRUNCATED"} < names


# ------------------------------------------------------------------------------------- info


def test_info_of_chips(lstmc_run):  # noqa: F811
    """Weights padded to each preset's panels, as the exporter packs them; its tables and RAM."""
    model = net()
    model.save("a.lstmc")
    status, out, _ = lstmc_run("info", "a.lstmc")
    rows = json.loads(lstmc_run("info", "a.lstmc", "--json")[1])["chips"]
    assert status == 0 and [r["name"] for r in rows] == list(NAMES)
    shown = {line.split()[0]: line for line in out.splitlines() if line.split()}
    for r in rows:
        p = presets.find(r["name"])
        lstm, dense = 4 * 20 * (3 + 20 + 1), 5 * (20 + 1)
        padded = {2: (20, 5), 8: (20, 8), 16: (24, 8)}[p.panel]
        assert r["panel"] == p.panel and r["reason"] == ""
        assert r["weights_bytes"] == 4 * (lstm * padded[0] // 20 + dense * padded[1] // 5)
        use = export.memory(model, p)
        for key in ("weights_bytes", "tables_bytes", "ram_bytes"):
            assert r[key] == use[key]
            assert f"{r[key]:,}" in shown[p.name]
        if p.tested and p.name != "host":
            assert r["code_bytes"] == use["code_bytes"] + use["library_bytes"] > 1000
            assert f"~{r['code_bytes']:,}" in shown[p.name]
        else:
            assert r["code_bytes"] is None and "?" in shown[p.name]
            assert p.tested or "not tested" in shown[p.name]
    code = {r["name"]: r["code_bytes"] for r in rows}
    assert code["cortex-m0"] > 2 * code["cortex-m4f"], "floats in software are code"


def test_info_of_chips_for_whole_sequences(lstmc_run):  # noqa: F811
    """The steps of a call are those of --time."""
    path = DATA / "v1_directions.lstmc"
    for time in (3, 9):
        argv = ("info", path, "--time", time, "--json")
        rows = json.loads(lstmc_run(*argv)[1])["chips"]
        assert rows[2]["ram_bytes"] == export.memory(lstmc.load(path), "m4f", time)["ram_bytes"]
        assert {r["time"] for r in rows} == {time}
        assert f"a whole sequence, here of {time} steps: --time" in lstmc_run(*argv[:-1])[1]
    net().save("a.lstmc")
    assert "whole sequence" not in lstmc_run("info", "a.lstmc", "--time", 9)[1]
    assert {r["time"] for r in info.chips(net(), 9)} == {None}


def test_info_of_what_can_not_be_exported(lstmc_run, monkeypatch):  # noqa: F811
    """The weights are known all the same, and the reason is said once."""

    def refuse(*given):
        raise lstmc.ShapeError("not\x1b[31m now")

    net().save("a.lstmc")
    rows = json.loads(lstmc_run("info", "a.lstmc", "--json")[1])["chips"]
    monkeypatch.setattr("lstmc.export.memory", refuse)
    status, out, _ = lstmc_run("info", "a.lstmc")
    assert status == 0 and out.count("no firmware: not") == 1 and "\x1b" not in out
    found = json.loads(lstmc_run("info", "a.lstmc", "--json")[1])["chips"]
    assert [r["weights_bytes"] for r in found] == [r["weights_bytes"] for r in rows]
    assert {(r["ram_bytes"], r["tables_bytes"], r["code_bytes"]) for r in found} == {
        (None, None, None)
    }


@pytest.mark.parametrize("seed", range(12))
def test_weights_are_padded_as_the_exporter_does(seed):
    model = from_graph(random_graph(seed, sequential=seed % 4 != 0))
    for row in info.chips(model, 9):
        packed = model.packed(row["name"])._core.memory(1, 1)[0]["weights"]
        assert row["weights_bytes"] == packed
