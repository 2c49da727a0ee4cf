"""The benchmark: it runs, its numbers hang together, and a peer that computes something else stops
it. How fast anything is decides nothing here."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lstmc

BENCH = Path(__file__).parents[1] / "bench"
sys.path.insert(0, str(BENCH))

import against  # noqa: E402
import ours  # noqa: E402
import roofline  # noqa: E402
import workloads  # noqa: E402
from compare import Result, compare  # noqa: E402
from measure import MIN_ROUNDS, QUICK, Effort, fastest, rounds  # noqa: E402
from ours import Lstmc  # noqa: E402
from peers import Form, all_peers, version  # noqa: E402
from report import Report, geometric_mean, markdown, wide  # noqa: E402
from workloads import Case  # noqa: E402

import bench  # noqa: E402

# What an engine can't express.
GAPS = {
    "PyTorch": {"peephole"},
    "ONNX Runtime": {"projected"},
    "OpenVINO": {"projected", "peephole"},
    "LiteRT": set(),
}


def script(*arguments, name="bench.py"):
    """What a script prints, started as make does: its own folder is where it imports from."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
    command = [sys.executable, str(BENCH / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The quick form of the tables, single rows: the printed text, the JSON, the chart."""
    folder = tmp_path_factory.mktemp("bench")
    files = [str(folder / name) for name in ("results.json", "chart.svg")]
    wanted = ["--markdown", "--only", "B=1 ", "--table", "main", "--table", "layers"]
    printed = script("--quick", *wanted, "--json", files[0], "--chart", files[1])
    return printed, json.loads(Path(files[0]).read_text()), Path(files[1]).read_text()


def test_quick_form_measures_every_case_on_every_peer_installed(quick):
    printed, results, _ = quick
    here = {p.name: version(p) for p in all_peers()}
    assert results["peers"] == here
    for name, number in here.items():
        assert f"{name} {number or 'ABSENT'}" in printed
    for table, cases in (("main", workloads.MAIN), ("layers", workloads.LAYERS)):
        wanted = [c for c in cases if "B=1 " in c.name]
        assert [r["case"] for r in results["tables"][table]] == [c.name for c in wanted]
        for case, row in zip(wanted, results["tables"][table], strict=True):
            able = {n for n, v in here.items() if v and case.kind not in GAPS[n]}
            assert set(row["peers_us"]) == set(row["difference"]) == able
            assert case.name in printed


def test_numbers_of_a_row_hang_together(quick):
    _, results, _ = quick
    for table, rows in results["tables"].items():
        ratios = []
        for row in rows:
            times = row["peers_us"]
            assert row["rounds"] >= MIN_ROUNDS and row["lstmc_us"] > 0
            assert set(row["forms"]) == {"lstmc", *times}
            assert all(d <= 1e-4 for d in row["difference"].values())
            if times:
                assert times[row["best"]] == min(times.values()) > 0
                assert row["low"] <= row["ratio"] <= row["high"]
                ratios.append(row["ratio"])
        if ratios:
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            assert results["geometric_mean"][table] == pytest.approx(mean)


def test_chart_has_a_bar_for_every_ratio(quick):
    _, results, chart = quick
    root = ElementTree.fromstring(chart)
    space = "{http://www.w3.org/2000/svg}"
    rows = [r for rows in results["tables"].values() for r in rows if r["ratio"]]
    bars = root.findall(f"{space}rect")
    assert len(bars) == len(rows)
    assert {b.get("class") for b in bars} <= {"bar", "behind"}
    ends = [(float(b.get("x")), float(b.get("width"))) for b in bars]
    assert all(x > 0 and x + width <= float(root.get("width")) for x, width in ends)
    labels = [t.text for t in root.findall(f"{space}text")]
    assert all(r["case"] in labels for r in rows)


def test_markdown_is_a_table_with_every_case(quick):
    printed, results, _ = quick
    table = markdown(results).split("\n\n")[0].splitlines()
    assert table[0].startswith("| case | lstmc, µs |")
    assert len({line.count("|") for line in table}) == 1
    assert sum(line.startswith("| T=") for line in table) == len(results["tables"]["main"])
    assert "\n".join(table) in printed


def test_ceilings_run():
    printed = script("--quick", "--peers", "ONNX", "--table", "denormals", "--table", "overhead")
    for words in ("silent tail / loud", "faint tail / loud", "stream.step", "import lstmc"):
        assert words in printed


# ------------------------------------------------------------------------------ wrong outputs


class Fake(Lstmc):
    """lstmc under another name, its output changed by a function of it and the call's number."""

    name, package = "Fake", "numpy"

    def __init__(self, change):
        self.change = change

    def forms(self, case, layers, x, threads):
        (form,) = super().forms(case, layers, x, threads)
        calls = iter(range(1 << 30))
        return [Form("fake", lambda: self.change(np.array(form.call()), next(calls)))]


def holding():
    """The first call's output, whatever comes later: a step that loses its state."""
    kept = []

    def change(y, call):
        if not kept:
            kept.append(y)
        return kept[0]

    return change


RUN = ["--quick", "--table", "main", "--only", "I=1 H=8"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y, call: y + np.float32(2e-4), "differs by 0.0002"),
        (lambda y, call: np.where(np.arange(8) == 5, np.nan, y), "differs by nan"),
        (lambda y, call: y[:, :7], "shape (7,) instead of (8,)"),
        (holding(), "differs by"),
    ],
)
def test_a_wrong_peer_stops_the_run(change, words, capsys):
    assert bench.main(RUN, [Fake(change)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("bench: wrong output: T=1 B=1 I=1 H=8: Fake (fake)") and words in error


def test_a_peer_that_is_a_little_off_is_noted(capsys):
    assert bench.main(RUN, [Fake(lambda y, call: y + np.float32(3e-5))]) == 0
    assert "Fake (fake) differs by 3.0e-05" in capsys.readouterr().out


def test_forms_chooses_among_the_ways_to_call_a_peer(capsys):
    wrong = Fake(lambda y, call: y + 1)  # its only form is called "fake"
    assert bench.main([*RUN, "--forms", "FAK"], [wrong]) == 1
    assert bench.main([*RUN, "--forms", "other"], [wrong]) == 0
    assert " - " in capsys.readouterr().out


def test_an_absent_peer_is_named(capsys):
    absent = Fake(lambda y, call: y)
    absent.package = "no-such-package"
    assert bench.main(RUN, [absent]) == 0
    assert "Fake ABSENT" in capsys.readouterr().out


# ----------------------------------------------------------------------------------- arithmetic


def row(ratio):
    return Result("case", None, None, 1, 1.0, {}, {}, {}, {}, 5, ratio=ratio)


def test_geometric_mean():
    assert geometric_mean([row(2.0), row(None), row(8.0)]) == pytest.approx(4)
    assert geometric_mean([row(None)]) is None


def test_the_fastest_form_is_found():
    forms = [Form(str(ms), lambda ms=ms: time.sleep(ms / 1e3)) for ms in (20, 2, 8)]
    found, times = fastest(forms, sample=0.001)
    assert found.name == "2" and list(times) == ["20", "2", "8"] and times["8"] >= 8000


def test_rounds_that_disagree_are_marked():
    assert wide(replace(row(2.0), low=1.8, high=2.1)) and not wide(row(None))
    assert not wide(replace(row(2.0), low=1.95, high=2.1))


def test_two_threads_are_measured_beside_one_and_the_peers(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(ours, "CAN_THREAD", True)
    monkeypatch.setattr(lstmc, "set_num_threads", asked.append, raising=False)
    made = compare(Case(1, 1, 1, 8, 1000.0), [Fake(lambda y, call: y)], QUICK, threads=2)
    assert set(asked) == {1, 2} and made.threads == 2
    assert made.speedup > 0 and made.alone_us > 0 and set(made.peers_us) == {"Fake"}
    assert made.behind  # no speed-up of a thousand
    Report({"Fake": "1"}, ["Fake"]).table("threads", [made])
    printed = capsys.readouterr().out
    assert "2 threads us" in printed and "one / two" in printed


def test_peers_far_behind_drop_out_and_others_stay():
    forms = {
        "ours": Form("slow too", lambda: time.sleep(0.004)),
        "near": Form("quick", lambda: time.sleep(0.001)),
        "far": Form("slow", lambda: time.sleep(0.02)),
    }
    times = rounds(forms, Effort(seconds=0.5, sample=0.001), keep=["ours"])
    assert len(times["far"]) == MIN_ROUNDS < len(times["near"]) == len(times["ours"])


def test_bound_of_known_cases():
    peak, rate = 100e9, lambda size: 50e9
    # 128 inputs and units: 8 * 128 * 256 operations, 16 * 128 * 256 bytes.
    assert roofline.bound(Case(1, 1, 128, 128), peak, rate) == pytest.approx(524288 / 50e9)
    # 64 rows share the bytes; now arithmetic takes longer.
    batch = roofline.bound(Case(1, 64, 128, 128), peak, rate)
    assert batch == pytest.approx(64 * 262144 / peak)
    # Ten steps: the input product at once, bound by arithmetic; ten times the hidden weights.
    ten = roofline.bound(Case(10, 1, 128, 128), peak, rate)
    assert ten == pytest.approx(10 * 8 * 128 * 128 / peak + 10 * 16 * 128 * 128 / 50e9)


def test_places_lie_inside_their_cache():
    levels = [("L1", 32 << 10), ("L2", 1 << 20), ("L3", 32 << 20)]
    places = roofline.places(levels)
    assert [name for name, _ in places] == ["L1", "L2", "L3", "memory"]
    sizes = [size for _, size in places]
    below = [0] + [size for _, size in levels]
    assert all(b < s for b, s in zip(below, sizes, strict=True))
    assert all(s < size for s, (_, size) in zip(sizes, levels, strict=False))


# --------------------------------------------------------------------------------------- in C


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler cc")
def test_cases_through_c_have_the_bits_of_python(tmp_path):
    core = against.build(against.ROOT / "c_src", tmp_path / "core.so", "-O0")
    for case in (Case(1, 1, 1, 8), Case(5, 3, 4, 9, kind="gru"), Case(4, 2, 3, 5, kind="bilstm")):
        runner, x, y = against.prepared(core, case)
        runner.run(x, y, 1)
        layers = workloads.network(case, np.random.default_rng(1))
        assert y.tobytes() == workloads.model(case, layers).predict(x).tobytes()


def test_roofline_compiles_without_warnings_and_measures(tmp_path):
    source = str(BENCH / "roofline.c")
    flags = ["-O2", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror", "-c"]
    builds = ["gcc", "clang", "aarch64-linux-gnu-gcc"]
    if platform.machine() == "x86_64":
        builds[:2] = ["gcc -mavx2 -mfma", "gcc -mavx512f -mfma", "clang -mavx512f -mfma"]
    for compiler, *own in map(str.split, builds):
        if shutil.which(compiler):
            output = str(tmp_path / "roofline.o")
            subprocess.run([compiler, "-std=c11", *own, *flags, source, "-o", output], check=True)
    if shutil.which("cc"):
        machine = roofline.Machine(tmp_path, 1 << 20)
        machine.measure([1000, 1 << 20])
        assert machine.flops > 0 and machine.rate(1000) > 0 and machine.rate(1 << 20) > 0


def test_training():
    """A step of training beside the peers: gradients agree, and a row has its ratio."""
    pytest.importorskip("torch")
    printed = script("--quick", "--only", "B=1 ", name="training.py")
    (row,) = (x for x in printed.splitlines() if x.startswith("| T=100 B=1 I=10 H=50 |"))
    _, _, mine, theirs, _, ratio, *_ = row.split("|")
    assert float(mine) > 0 and float(theirs) > 0 and float(ratio) > 0
