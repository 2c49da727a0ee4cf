"""The command lstmc: what it prints and writes, its exit statuses, hostile files."""

from __future__ import annotations

import io
import itertools
import json
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import lstmc
from lstmc import cli, commands, format, info, reference, terminal
from lstmc import graph as g
from lstmc.model import from_graph
from lstmc.scale.run import run_arrays

WEATHER = Path(__file__).parents[1] / "examples" / "weather"
GOLDEN = "01953f46"  # of the weather forecaster; a new one would be a breaking change


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def lstmc_run(capsys):
    """Run the command in this process: (exit status, stdout, stderr)."""

    def call(*argv):
        status = cli.main([str(a) for a in argv])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        if status:
            assert err.count("\n") == 1 and err.startswith("lstmc: "), err
        return status, out, err

    return call


def command(*argv, **options):
    """Run it as a program."""
    return subprocess.run(
        [sys.executable, "-m", "lstmc", *map(str, argv)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **options,
    )


@pytest.fixture(scope="session")
def forecaster(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "forecaster.lstmc"
    lstmc.convert(WEATHER / "forecaster.onnx").save(path)
    return path


def two_ends(path, time=None):
    """A model with two inputs and two outputs, one of them time-major; its names need care."""
    rng = np.random.default_rng(3)

    def w(*shape):
        return rng.uniform(-1, 1, shape).astype(np.float32)

    cells = [
        g.LSTM(
            name=f"lstm{i}",
            inputs=(name,),
            outputs=(f"seq{i}", None, None),
            weight_ih=w(20, features),
            weight_hh=w(20, 5),
            bias=w(20),
        )
        for i, (name, features) in enumerate((("file", 3), ("b/c:0", 2)))
    ]
    model = from_graph(
        g.Graph(
            [g.Value("file", (g.TIME, g.BATCH, 3)), g.Value("b/c:0", (g.BATCH, g.TIME, 2))],
            [g.Value("seq0", (g.TIME, g.BATCH, 5)), g.Value("seq1", (g.BATCH, g.TIME, 5))],
            cells,
        )
    )
    model.save(path)
    return model


# --------------------------------------------------------------------------------------- convert


@pytest.mark.parametrize("suffix", ["keras", "pt", "onnx"])
def test_convert_names_the_output_after_the_source(lstmc_run, suffix):
    status, out, err = lstmc_run("convert", WEATHER / f"forecaster.{suffix}")
    assert (status, err) == (0, "")
    assert out.count("\n") == 1 and "12,251 parameters" in out and GOLDEN in out
    assert all(name in out for name in lstmc.targets())
    model = lstmc.load("forecaster.lstmc", verify=True)
    assert [type(x) for x in model.graph.layers] == [g.LSTM, g.Dense]


def test_convert_json(lstmc_run):
    status, out, _ = lstmc_run("convert", WEATHER / "forecaster.onnx", "-o", "a.lstmc", "--json")
    facts = json.loads(out)
    assert status == 0
    assert facts["golden"] == {"y": GOLDEN}
    assert facts["bytes"] == Path("a.lstmc").stat().st_size
    assert facts["targets"] == lstmc.targets()


@pytest.mark.parametrize(
    "arch",
    [
        WEATHER / "forecaster.toml",
        "input batch time 10; lstm weights=lstm activation=relu last; dense weights=dense",
    ],
    ids=["file", "line"],
)
def test_convert_takes_an_architecture(lstmc_run, arch):
    Path("net.pt").write_bytes((WEATHER / "forecaster.pt").read_bytes())
    status, _, err = lstmc_run("convert", "net.pt")
    assert status == 1 and "arch" in err
    status, out, _ = lstmc_run("convert", "net.pt", "--arch", arch)
    assert status == 0 and GOLDEN in out
    assert lstmc_run("verify", "net.lstmc", "--against", "net.pt", "--arch", arch)[0] == 0


def test_convert_passes_constants_of_onnx(lstmc_run):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "k"], ["m"]), helper.make_node("Relu", ["m"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3]),
         helper.make_tensor_value_info("k", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
    )  # fmt: skip
    onnx.save(helper.make_model(graph), "net.onnx")
    np.save("k.npy", np.float32([1, 1, 1]))
    for option in ("--set", "--constant"):
        for value in ("k=[1, 1, 1]", "k=k.npy"):
            assert lstmc_run("convert", "net.onnx", option, value)[0] == 0
            assert lstmc_run("verify", "net.lstmc", "--against", "net.onnx", option, value)[0] == 0
        assert "'z' is not an input" in lstmc_run("convert", "net.onnx", option, "z=1")[2]
        for wrong in ("k=red", "k"):
            status, _, err = lstmc_run("convert", "net.onnx", option, wrong)
            assert status == 2 and "--set" in err
    assert lstmc_run("verify", "net.lstmc", "--set", "k=1")[0] == 2
    status, _, err = lstmc_run("convert", "net.onnx", "--set", "k=k.npy", "--constant", "k=k.npy")
    assert status == 2 and "--set gives 'k' two values" in err
    # What commands convert in passing takes the same options, as errors advise; a file has none.
    np.save("x.npy", np.ones((2, 3), np.float32))
    for argv, tail in (
        (("info",), ()), (("run",), ("--input", "x.npy", "--output", "y.npy")),
        (("report",), ("-o", "a.html")),
    ):  # fmt: skip
        assert lstmc_run(*argv, "net.onnx", *tail, "--set", "k=k.npy")[0] == 0
        status, _, err = lstmc_run(*argv, "net.lstmc", *tail, "--set", "k=k.npy")
        assert status == 2 and "--arch, --set and --state describe the source" in err
    assert (np.load("y.npy") == 1).all()


def test_convert_of_a_converted_file_says_what_it_can_be(lstmc_run):
    path = Path(__file__).parent / "data/v1_lstm.lstmc"
    status, _, err = lstmc_run("convert", path, "-o", "a.lstmc")
    assert status == 1 and "converted already" in err and "convert --target CHIP" in err
    assert lstmc_run("convert", path, "-o", "a.lstmc", "--target", "m4f")[0] == 0


def test_convert_counts_the_layers_of_a_large_net(lstmc_run):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    for n, said in ((16, " + ".join(["Activation"] * 16)), (17, "17 layers (17 Activation)")):
        names = ["x", *(f"v{i}" for i in range(1, n)), "y"]
        pairs = enumerate(itertools.pairwise(names))
        nodes = [helper.make_node(("Exp", "Tanh")[i % 2], [a], [b]) for i, (a, b) in pairs]
        ends = [
            helper.make_tensor_value_info(end, TensorProto.FLOAT, ["n", 3]) for end in ("x", "y")
        ]
        graph = helper.make_graph(nodes, "net", ends[:1], ends[1:])
        onnx.save(helper.make_model(graph), "net.onnx")
        status, out, _ = lstmc_run("convert", "net.onnx")
        assert status == 0 and f": {said}, 0 parameters" in out


def test_convert_refuses_to_overwrite_its_source(lstmc_run, forecaster):
    Path("a.lstmc").write_bytes(forecaster.read_bytes())
    assert lstmc_run("convert", "a.lstmc", "-o", "a.lstmc")[0] == 2
    Path("net.onnx").write_bytes((WEATHER / "forecaster.onnx").read_bytes())
    Path("net.lstmc").symlink_to("net.onnx")
    assert lstmc_run("convert", "net.onnx")[0] == 2
    assert Path("net.onnx").read_bytes() == (WEATHER / "forecaster.onnx").read_bytes()


def test_convert_writes_nothing_if_targets_disagree(lstmc_run, monkeypatch):
    class Wrong(lstmc.Model):
        def _run_golden(self, golden):
            found = super()._run_golden(golden)
            return {n: d ^ (lstmc.get_target() == "scalar") for n, d in found.items()}

    monkeypatch.setattr("lstmc.model.Model", Wrong)
    status, _, err = lstmc_run("convert", WEATHER / "forecaster.onnx")
    assert status == 1 and "scalar" in err
    assert not list(Path().iterdir())


# ---------------------------------------------------------------------------------------- verify


@pytest.mark.parametrize("suffix", ["keras", "pt", "onnx"])
def test_verify_against_the_source(lstmc_run, suffix):
    source = WEATHER / f"forecaster.{suffix}"
    assert lstmc_run("convert", source)[0] == 0
    status, out, err = lstmc_run("verify", "forecaster.lstmc", "--against", source, "--json")
    assert status == 0, (out, err)
    checks = {c["name"]: c for c in json.loads(out)["checks"]}
    assert list(checks) == ["file", "golden sample", "weights", "oracle", "framework"]
    assert checks["weights"]["ok"] and checks["oracle"]["error"] < 1e-6
    assert checks["framework"]["ok"] is (None if suffix == "pt" else True)


def altered(path, change):
    """The forecaster with its graph changed, a sound file."""
    graph = lstmc.load(path).graph
    change(graph)
    from_graph(graph).save("altered.lstmc")


def swap_gates(graph):
    w = graph.layers[0].weight_ih
    w[:50], w[50:100] = w[50:100].copy(), w[:50].copy()


def one_bit(graph):
    graph.layers[0].weight_hh.view(np.uint32)[7, 7] ^= 1


def no_bias(graph):
    graph.layers[0].bias = None


def other_function(graph):
    graph.layers[0].candidate = g.TANH


def other_name(graph):
    graph.layers[1].name = "fc"


@pytest.mark.parametrize("change", [swap_gates, one_bit, no_bias, other_function, other_name])
def test_verify_sees_every_difference(lstmc_run, forecaster, change):
    altered(forecaster, change)
    status, out, err = lstmc_run("verify", "altered.lstmc")
    assert status == 0
    status, out, err = lstmc_run(
        "verify", "altered.lstmc", "--against", WEATHER / "forecaster.onnx", "--json"
    )
    checks = {c["name"]: c for c in json.loads(out)["checks"]}
    assert status == 1 and "weights" in err
    assert checks["weights"]["ok"] is False
    if change not in (one_bit, other_name):
        assert checks["oracle"]["ok"] is False and checks["framework"]["ok"] is False


def test_verify_against_another_model(lstmc_run, forecaster):
    status, out, _ = lstmc_run("verify", forecaster, "--against", WEATHER / "forecaster.keras")
    assert status == 1 and "FAILED" in out  # another input shape


def test_verify_works_without_the_framework(lstmc_run, forecaster, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    status, out, _ = lstmc_run("verify", forecaster, "--against", WEATHER / "forecaster.onnx")
    assert status == 0 and "not installed" in out


def test_verify_golden_sample(lstmc_run, forecaster):
    model = lstmc.load(forecaster)
    wrong = format.with_digests(model.golden, {"y": 1})
    Path("wrong.lstmc").write_bytes(format.dumps(model.graph, wrong))
    status, out, err = lstmc_run("verify", "wrong.lstmc")
    assert status == 1 and "golden" in err and GOLDEN in out
    Path("none.lstmc").write_bytes(format.dumps(model.graph))
    status, out, _ = lstmc_run("verify", "none.lstmc")
    assert status == 0 and "none" in out


def test_verify_recorded(lstmc_run, forecaster):
    model = lstmc.load(forecaster)
    x = np.random.default_rng(1).standard_normal((3, 9, 10), dtype=np.float32)
    n = np.array([9, 1, 4], np.int32)
    y = reference.run(model.graph, {"x": x}, n)["y"]
    np.savez("good.npz", x=x, y=y, lengths=n)
    np.savez("bad.npz", x=x, y=y + 1e-4, lengths=n)
    np.savez("nan.npz", x=x, y=np.where(y == y[0], np.nan, y), lengths=n)
    np.savez("lacking.npz", x=x)
    assert lstmc_run("verify", forecaster, "--recorded", "good.npz")[0] == 0
    assert lstmc_run("verify", forecaster, "--recorded", "bad.npz")[0] == 1
    assert lstmc_run("verify", forecaster, "--recorded", "bad.npz", "--limit", "1")[0] == 0
    assert lstmc_run("verify", forecaster, "--recorded", "nan.npz", "--json")[0] == 1
    assert "'y'" in lstmc_run("verify", forecaster, "--recorded", "lacking.npz")[2]


# ---------------------------------------------------------------------------------- info, targets


def test_info(lstmc_run, forecaster):
    status, out, _ = lstmc_run("info", forecaster)
    assert status == 0
    for text in ("x [?, ?, 10]", "12,251 parameters", GOLDEN, "arena", "sha256", "onnx"):
        assert text in out
    facts = json.loads(lstmc_run("info", forecaster, "--json")[1])
    assert facts["bytes"] == forecaster.stat().st_size
    assert facts["format_version"] == 1
    assert facts["inputs"] == {"x": [None, None, 10]}
    assert 500 < facts["arena_bytes"] < 5000 and (facts["batch"], facts["time"]) == (1, 1)
    assert facts["layers"][0]["parameters"] == 12200
    assert facts["layers"][0]["inputs"] == ["x"] and facts["layers"][1]["outputs"] == ["y"]


def test_info_of_a_session(lstmc_run, forecaster):
    status, out, _ = lstmc_run("info", forecaster, "--batch", 64, "--time", 100)
    facts = json.loads(lstmc_run("info", forecaster, "--batch", 64, "--time", 100, "--json")[1])
    want = lstmc._core.Session(lstmc.load(forecaster)._core, 64, 100, 0).arena_bytes
    assert status == 0 and f"{want:,} bytes for 64 rows and 100 steps a call" in out
    assert facts["arena_bytes"] == want == sum(facts["arena"].values())
    assert facts["weights_bytes"] == sum(r["weights_bytes"] for r in facts["layers"])
    lstm, dense = facts["layers"]
    own = [lstm[f"{n}_bytes"] + dense[f"{n}_bytes"] for n in ("record", "state")]
    assert own == [facts["arena"]["record_bytes"], facts["arena"]["state_bytes"]]
    row = next(line for line in out.splitlines() if line.startswith("lstm ")).split()
    shorts = [info.short(lstm[f"{n}_bytes"]) for n in ("weights", "scratch", "values")]
    assert row[:5] == ["lstm", "LSTM", "50", "12.2k", "12.0k"]
    assert [row[5], *row[7:]] == shorts
    assert row[6] == info.short(lstm["record_bytes"] + lstm["state_bytes"])
    for wrong in ("0", "-1", "1073741824", "x"):
        assert lstmc_run("info", forecaster, "--batch", wrong)[0] == 2
        assert lstmc_run("info", forecaster, "--time", wrong)[0] == 2
    status, _, err = lstmc_run("info", forecaster, "--batch", 1 << 29, "--time", 1 << 29)
    assert status == 1 and "beyond any memory" in err


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_info_of_a_long_model_fits_a_terminal(lstmc_run, monkeypatch, columns):
    """Sixty layers with long names, and one with names of wide characters."""
    layers, before = [], "x"
    for i in range(60):
        name = f"encoder/block_{i // 10}/normalisation/multiply_and_add_{i}"
        name = f"編碼器層{i}" * 9 if i == 7 else name
        layers.append(g.Affine(name=name, inputs=(before,), outputs=(f"v{i}",),
                               scale=np.ones(700, np.float32)))  # fmt: skip
        before = f"v{i}"
    ends = [g.Value(n, (g.BATCH, 700)) for n in ("x", before)]
    from_graph(g.Graph(ends[:1], ends[1:], layers)).save("long.lstmc")
    monkeypatch.setenv("COLUMNS", str(columns))
    out = lstmc_run("info", "long.lstmc")[1].splitlines()
    table = out[out.index("") + 1 :]
    table = table[: table.index("")]
    assert len(table) == 62 and {len(line.split()) for line in table} == {9}
    assert max(map(info._width, table)) <= columns
    for i, line in enumerate(table[2:]):
        assert info._width(line) == info._width(table[2])
        assert f"{i} " in line and ("encoder" in line or i == 7)
    assert ("…" in table[2]) == (columns < 200)


def test_short_numbers():
    numbers = {0: "-", 999: "999", 1000: "1.00k", 9994: "9.99k", 9996: "10.0k", 99949: "99.9k",
               99951: "100k", 999499: "999k", 999501: "1.00M", 123456789: "123M",
               10**12: "1.00T", 10**15: "1000T"}  # fmt: skip
    assert {n: info.short(n) for n in numbers} == numbers


def test_info_shows_names_without_obeying_them(lstmc_run):
    graph = lstmc.convert(WEATHER / "forecaster.onnx").graph
    graph.layers[0].name = "\x1b[2Jlstm\x07\udc80"
    from_graph(graph).save("odd.lstmc")
    status, out, _ = lstmc_run("info", "odd.lstmc")
    assert status == 0 and "\x1b" not in out and "\\x1b[2Jlstm\\x07\\udc80" in out


def test_targets(lstmc_run):
    assert lstmc_run("targets")[1].split()[0] == "scalar"
    facts = json.loads(lstmc_run("targets", "--target", "scalar", "--json")[1])
    assert facts == {"targets": lstmc.targets(), "current": "scalar"}
    assert lstmc.get_target() == lstmc.targets()[-1]
    assert lstmc.runtime.target_code() == 0, "calls choose for themselves again"
    assert lstmc_run("targets", "--target", "mmx")[0] == 2


# ------------------------------------------------------------------------------------------- run


def test_run_gives_the_same_bits_on_every_target_and_block_size(lstmc_run, forecaster):
    x = np.random.default_rng(2).standard_normal((23, 12, 10), dtype=np.float32)
    np.save("x.npy", x)
    want = lstmc.load(forecaster).predict(x)
    for target in lstmc.targets():
        for block in (1, 7, 100):
            status, out, _ = lstmc_run(
                "run", forecaster, "--input", "x.npy", "--output", "y.npy",
                "--batch", block, "--target", target, "--json",
            )  # fmt: skip
            facts = json.loads(out)
            assert status == 0 and facts["digest"] == {"y": f"{lstmc.digest(want):08x}"}
            assert facts["shapes"] == {"y": [23, 1]} and facts["target"] == target
            y = np.load("y.npy")
            assert y.dtype == np.float32 and y.tobytes() == want.tobytes()
    assert sorted(p.name for p in Path().iterdir()) == ["x.npy", "y.npy"]
    assert stat.S_IMODE(Path("y.npy").stat().st_mode) == stat.S_IMODE(Path("x.npy").stat().st_mode)


def test_threads_are_for_one_command(lstmc_run, forecaster):
    np.save("x.npy", np.zeros((40, 12, 10), np.float32))
    before, digests = lstmc.get_num_threads(), set()
    for n in (1, 2, 5):
        status, out, _ = lstmc_run(
            "run", forecaster, "--input", "x.npy", "--output", "y.npy", "--threads", n, "--json"
        )
        assert status == 0
        digests.add(json.loads(out)["digest"]["y"])
        assert lstmc.get_num_threads() == before
    assert len(digests) == 1


def test_run_takes_several_inputs_and_lengths(lstmc_run):
    model = two_ends("two.lstmc")
    rng = np.random.default_rng(4)
    x = {"file": rng.standard_normal((6, 9, 3)).astype(np.float32),
         "b/c:0": rng.standard_normal((9, 6, 2)).astype(np.float32)}  # fmt: skip
    n = rng.integers(0, 7, 9)
    with Path("x.npz").open("wb") as f:
        wrong = {"file_": x["file"], "b/c:0": x["b/c:0"]}
        np.savez(f, **wrong)
    status, _, err = lstmc_run("run", "two.lstmc", "--input", "x.npz", "--output", "y.npz")
    assert status == 1 and "file_" in err
    with zipfile.ZipFile("x.npz", "w") as archive:  # numpy.savez takes no array called "file"
        for name, array in x.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array)
    np.save("n.npy", n)
    for block in (2, 9):
        status, _, err = lstmc_run(
            "run", "two.lstmc", "--input", "x.npz", "--output", "y.npz", "--lengths", "n.npy",
            "--batch", block,
        )  # fmt: skip
        assert status == 0, err
        want = model.predict(x, n)
        with np.load("y.npz", allow_pickle=False) as y:
            assert sorted(y.files) == ["seq0", "seq1"]
            assert all(y[name].tobytes() == want[name].tobytes() for name in y.files)
    assert lstmc_run("run", "two.lstmc", "--input", "x.npz", "--output", "y.npy")[0] == 2
    np.save("x.npy", x["file"])
    assert lstmc_run("run", "two.lstmc", "--input", "x.npy", "--output", "y.npz")[0] == 2


def test_run_reads_what_numpy_writes(lstmc_run, forecaster):
    model = lstmc.load(forecaster)
    x = np.random.default_rng(5).standard_normal((4, 3, 10))
    for array in (
        x,
        np.asfortranarray(x),
        x[:0],
        x.astype(np.float16),
        np.arange(40).reshape(2, 2, 10),
    ):
        np.save("x.npy", array)
        np.savez("x.npz", array)
        for name in ("x.npy", "x.npz"):
            status, _, err = lstmc_run("run", forecaster, "--input", name, "--output", "y.npy")
            assert status == 0, err
            assert np.load("y.npy").tobytes() == model.predict(array).tobytes()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(10), "(10,)"),
        (np.zeros((5, 9)), "(5, 9)"),
        (np.zeros((5, 3, 9)), "(5, 3, 9)"),
        (np.zeros((5, 0, 10)), "zero time steps"),
        (np.zeros((5, 3, 10), complex), "complex128"),
        (np.full((5, 3, 10), "1.0"), "dtype"),
        (np.full((5, 3, 10), 1e300), "float32"),
        (np.full((5, 3, 10), {}, object), "x.npy"),
        (np.float32(1), "shape"),
    ],
)
def test_run_refuses_arrays_that_do_not_fit(lstmc_run, forecaster, array, words):
    np.save("x.npy", array, allow_pickle=True)
    for block in ([], ["--batch", 2]):
        status, _, err = lstmc_run(
            "run", forecaster, "--input", "x.npy", "--output", "y.npy", *block
        )
        assert status == 1 and words in err
        assert not Path("y.npy").exists()


def test_run_lengths_that_do_not_fit(lstmc_run, forecaster):
    np.save("x.npy", np.zeros((5, 3, 10), np.float32))
    np.savez("n.npz", np.ones(5, int))
    run = ("run", forecaster, "--input", "x.npy", "--output", "y.npy", "--batch", 2)
    for lengths in (
        np.ones(4, int),
        np.full(5, 4),
        np.full(5, -1),
        np.ones(5),
        np.ones((5, 1), int),
    ):
        np.save("n.npy", lengths)
        assert lstmc_run(*run, "--lengths", "n.npy")[0] == 1
    assert lstmc_run(*run, "--lengths", "n.npz")[0] == 2
    assert not Path("y.npy").exists()


def test_run_shows_progress_on_a_terminal_only(forecaster, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    clock = iter(np.arange(0, 100, 0.7))
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    model = lstmc.load(forecaster)
    np.save("x.npy", np.zeros((8, 2, 10), np.float32))
    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        run_arrays(model, Path("x.npy"), Path("y.npy"), block=2)
        assert ("4 of 8 rows, 50 %, " in stream.getvalue()) is shown
        assert ("rows/s, " in stream.getvalue()) is shown
    assert stream.getvalue() == ""


def test_run_leaves_the_old_result_when_writing_fails(lstmc_run, forecaster, monkeypatch):
    np.save("x.npy", np.zeros((2, 3, 10), np.float32))
    Path("y.npy").write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    status, _, err = lstmc_run("run", forecaster, "--input", "x.npy", "--output", "y.npy")
    assert status == 1 and "No space left" in err
    assert Path("y.npy").read_text() == "old"
    assert sorted(p.name for p in Path().iterdir()) == ["x.npy", "y.npy"]


# ----------------------------------------------------------------------------------- bad use, files

USES = [
    ["info"],
    ["verify"],
    ["convert"],
    ["run", "--input", "x.npy", "--output", "y.npy"],
]


def hostile(kind, good):
    """Bytes of a file that is not what its name says."""
    return {
        "empty": b"",
        "byte": b"\0",
        "truncated": good[: len(good) // 2],
        "short": good[:40],
        "longer": good + b"\0",
        "flipped": good[:500] + bytes([good[500] ^ 1]) + good[501:],
        "foreign": b"#!/bin/sh\necho hello\n" * 99,
        "zip": b"PK\x03\x04" + bytes(200),
        "pickle": b"cos\nsystem\n(S'touch owned'\ntR.",
        "huge": b"\x93NUMPY\x01\0v\0"
        + b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 100, 10), }".ljust(117)
        + b"\n"
        + bytes(64),
    }[kind]


KINDS = [
    "empty",
    "byte",
    "truncated",
    "short",
    "longer",
    "flipped",
    "foreign",
    "zip",
    "pickle",
    "huge",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".lstmc", ".keras", ".h5", ".pt", ".safetensors", ".onnx"])
def test_hostile_models(lstmc_run, forecaster, suffix, kind):
    source = WEATHER / f"forecaster{suffix}"
    good = source.read_bytes() if source.exists() else forecaster.read_bytes()
    path = Path(f"model{suffix}")
    path.write_bytes(hostile(kind, good))
    np.save("x.npy", np.zeros((1, 2, 10), np.float32))
    for use in USES:
        if use[0] == "convert" and suffix == ".lstmc":
            continue
        status, out, _ = lstmc_run(use[0], path, *use[1:])
        if use[0] == "verify" and suffix != ".lstmc":
            assert status == 2
        else:
            assert status == 1 or (kind in ("longer", "flipped") and suffix != ".lstmc"), out
    assert not Path("owned").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_hostile_arrays(lstmc_run, forecaster, suffix, kind):
    np.save("good.npy", np.zeros((5, 3, 10), np.float32))
    np.savez("good.npz", x=np.zeros((5, 3, 10), np.float32), y=np.zeros((5, 1)))
    path = Path(f"x{suffix}")
    path.write_bytes(hostile(kind, Path(f"good{suffix}").read_bytes()))
    status, _, _ = lstmc_run("run", forecaster, "--input", path, "--output", "y.npy")
    assert status == 1 or kind in ("longer", "flipped")
    if suffix == ".npy":
        run = ("run", forecaster, "--input", "good.npy", "--output", "z.npy")
        assert lstmc_run(*run, "--lengths", path)[0] == 1
    else:
        assert lstmc_run("verify", forecaster, "--recorded", path)[0] == 1
    assert not Path("owned").exists()


@pytest.mark.parametrize("use", USES, ids=lambda use: use[0])
def test_files_that_can_not_be_opened(lstmc_run, use):
    np.save("x.npy", np.zeros((1, 2, 10), np.float32))
    Path("folder.lstmc").mkdir()
    Path("loop.lstmc").symlink_to("loop.lstmc")
    os.mkfifo("pipe.lstmc")
    for name in (
        "missing.lstmc",
        "folder.lstmc",
        "pipe.lstmc",
        "no/such/folder.lstmc",
        "x.npy/a.lstmc",
    ):
        status, _, err = lstmc_run(use[0], name, *use[1:])
        assert status == 2 and name in err
    assert lstmc_run(use[0], "loop.lstmc", *use[1:])[0] in (1, 2)
    assert lstmc_run(use[0], "a\0b.lstmc", *use[1:])[0] in (1, 2)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(lstmc_run, forecaster):
    Path("secret.lstmc").write_bytes(forecaster.read_bytes())
    Path("secret.lstmc").chmod(0)
    assert lstmc_run("info", "secret.lstmc")[0] == 2


def test_no_permission(lstmc_run, forecaster, monkeypatch):
    def denied(self, *_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)
    status, _, err = lstmc_run("info", forecaster)
    assert status == 2 and "Permission denied" in err


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["fly"],
        ["info"],
        ["info", "a", "b"],
        ["info", "--colour", "a"],
        ["convert", "MODEL", "-o", "model.txt"],
        ["convert", "MODEL", "-o", "no/such/model.lstmc"],
        ["convert", "MODEL", "--arch", "missing.toml"],
        ["verify", "MODEL"],
        ["verify", "GOOD", "--against", "missing.onnx"],
        ["verify", "GOOD", "--recorded", "missing.npz"],
        ["verify", "GOOD", "--arch", "a.toml"],
        ["verify", "GOOD", "--limit", "small"],
        ["run", "GOOD", "--input", "x.npy"],
        ["run", "GOOD", "--input", "x.npy", "--output", "y.csv"],
        ["run", "GOOD", "--input", "x.csv", "--output", "y.npy"],
        ["run", "GOOD", "--input", "x.npy", "--output", "x.npy"],
        ["run", "GOOD", "--input", "x.npy", "--output", "y.npy", "--batch", "0"],
        ["run", "GOOD", "--input", "x.npy", "--output", "y.npy", "--target", "mmx"],
        ["run", "GOOD", "--input", "x.npy", "--output", "y.npy", "--threads", "0"],
        ["run", "GOOD", "--input", "x.npy", "--output", "y.npy", "--threads", "1000"],
        ["run", "GOOD", "--input", "x.npy", "--output", "y.npy", "--threads", "all"],
        ["run", "GOOD", "--input", "missing.npy", "--output", "y.npy"],
        ["run", "GOOD", "--input", "x.npy", "--output", "y.npy", "--lengths", "missing.npy"],
        ["run", "GOOD", "--input", "x.npy", "--output", "no/such/y.npy"],
    ],
    ids=" ".join,
)
def test_bad_use(lstmc_run, forecaster, argv):
    np.save("x.npy", np.zeros((1, 2, 10), np.float32))
    names = {"MODEL": WEATHER / "forecaster.onnx", "GOOD": forecaster}
    status, out, _ = lstmc_run(*(names.get(a, a) for a in argv))
    assert (status, out) == (2, "")
    assert sorted(p.name for p in Path().iterdir()) == ["x.npy"]


def test_help(lstmc_run):
    status, out, _ = lstmc_run("--help")
    assert status == 0 and "exit status" in out
    for name in ("convert", "verify", "info", "plot", "report", "run", "targets"):
        assert name in out
        status, text, _ = lstmc_run(name, "--help")
        assert status == 0 and "example:" in text and f"  lstmc {name}" in text
    assert lstmc_run("--version")[1].strip() == f"lstmc {lstmc.__version__}"


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt(), 130), (MemoryError(), 1), (RuntimeError("two\nlines"), 1),
     (RecursionError(), 1), (OSError(5, "Input/output error"), 1)],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_whatever_happens_is_one_line(lstmc_run, forecaster, monkeypatch, error, status):
    def fail(_):
        raise error

    monkeypatch.setattr(commands, "load", fail)
    assert lstmc_run("info", forecaster)[0] == status


# ----------------------------------------------------------------------------------- as a program


def test_the_program(forecaster):
    done = command("info", forecaster, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["parameters"] == 12251
    done = command("info", "missing.lstmc")
    assert done.returncode == 2
    assert done.stderr == "lstmc: error: No such file or directory: 'missing.lstmc'\n"
    done = command("convert", WEATHER / "forecaster.pt", "-o", "a.lstmc")
    assert done.returncode == 0
    np.save("x.npy", np.zeros((2, 100, 10), np.float32))
    assert command("run", "a.lstmc", "--input", "x.npy", "--output", "y.npy").returncode == 0
    assert command("verify", "a.lstmc").returncode == 0
    assert command("targets").stdout.startswith("scalar\n")
    ascii_only = command("info", "a.lstmc", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert ascii_only.returncode == 0


def test_the_entry_point_is_installed():
    program = Path(sys.executable).with_name("lstmc")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"lstmc {lstmc.__version__}\n"


def test_a_reader_that_leaves(forecaster):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "lstmc", "info", forecaster],
        stdout=write, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_interrupt(forecaster):
    np.save("x.npy", np.zeros((2, 3, 10), np.float32))
    code = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from lstmc import Model, cli\n"
        "Model.predict = lambda *_: (os.kill(os.getpid(), signal.SIGINT), time.sleep(60))\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", forecaster, "--input", "x.npy", "--output", "y.npy"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "lstmc: interrupted\n")
    assert sorted(p.name for p in Path().iterdir()) == ["x.npy"]


def test_it_starts_without_frameworks(forecaster):
    code = (
        "import sys, lstmc.cli; lstmc.cli.main(['info', sys.argv[1]]);"
        "heavy = {'torch', 'keras', 'tensorflow', 'onnx', 'onnxruntime', 'h5py', 'scipy'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, forecaster], check=True, timeout=60)
