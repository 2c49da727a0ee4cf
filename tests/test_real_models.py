"""Models that other people trained, the table of bench/real_models.py: each converts and gives what
was recorded or published, or is refused by name. docs/MODELS.md says what the code gives."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import lstmc
from lstmc import cli
from lstmc import graph as g
from lstmc.errors import ConversionError

BENCH = Path(__file__).parents[1] / "bench"
sys.path.insert(0, str(BENCH))

import models as page  # noqa: E402
import real_models  # noqa: E402
from compare import WrongOutput  # noqa: E402
from measure import QUICK  # noqa: E402
from real_models import MODELS, Real  # noqa: E402

pytest.importorskip("onnx")
pytest.importorskip("h5py")

FOLDER = real_models.folder()
LIMIT = 1e-5
CONVERTED = [m for m in MODELS if not m.refused]

here = pytest.mark.skipif(not FOLDER.is_dir(), reason="no shared models here")
ids = [m.name for m in MODELS]
converted = pytest.mark.parametrize("real", CONVERTED, ids=[m.name for m in CONVERTED])
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def convert():
    """Models by row, each converted once."""
    made = {}

    def call(real):
        if real.name not in made:
            made[real.name] = real.convert(FOLDER)
        return made[real.name]

    return call


@here
def test_every_file_is_in_the_table():
    files = {
        str(p.relative_to(FOLDER))
        for p in FOLDER.glob("*/*")
        if p.suffix in (".onnx", ".h5", ".safetensors", ".pt", ".keras")
    }
    assert {m.path for m in MODELS} == files
    recorded = {str(p.relative_to(FOLDER)) for p in FOLDER.glob("*/*.npz")}
    assert {m.recorded for m in MODELS if m.recorded} == recorded
    assert len(set(ids)) == len(ids)


@here
@converted
def test_gives_what_was_recorded(real, convert):
    model = convert(real)
    absolute, relative = real_models.errors(real, FOLDER, model)
    assert 0 < relative <= LIMIT and absolute > 0


@here
@pytest.mark.parametrize("real", [m for m in MODELS if m.refused], ids=lambda m: m.name)
def test_refused_by_name(real):
    with pytest.raises(ConversionError) as caught:
        real.convert(FOLDER)
    assert real.refused in str(caught.value)


@here
@pytest.mark.parametrize("real", [m for m in MODELS if m.flow], ids=lambda m: m.name)
def test_published_errors(real, convert):
    """Its README: LSTM MAE 7.21, RMSE 9.90; GRU 7.20, 9.97. Keras 3's hard_sigmoid gives 7.68."""
    model = convert(real)
    kind = g.LSTM if "LSTM" in real.name else g.GRU
    assert [type(x) for x in model.graph.layers] == [kind, kind, g.Dense]
    assert real_models.traffic_errors(FOLDER, model) == real.flow


@here
@pytest.mark.parametrize("real", [m for m in MODELS if "ethnicolr" in m.path], ids=lambda m: m.name)
def test_ethnicolr_in_keras(real, convert):
    """Keras refuses the file; its weights in a live model of the same layers give the same."""
    keras = pytest.importorskip("keras")
    import h5py

    with h5py.File(FOLDER / real.path) as f:
        group = f["model_weights"]
        weights = [
            np.asarray(group[layer][n])
            for layer in ("embedding", "lstm", "dense")
            for n in group[layer].attrs["weight_names"]
        ]
    model = convert(real)
    ((sample, _),) = real_models.known(real, FOLDER, model).calls
    ((_, tokens),) = sample.inputs.items()
    L = keras.layers
    layers = [L.Embedding(*weights[0].shape), L.LSTM(128), L.Dense(weights[-1].size, "softmax")]
    live = keras.Sequential([L.Input(tokens.shape[1:]), *layers])
    live.set_weights(weights)
    want = keras.ops.convert_to_numpy(live(tokens))
    np.testing.assert_allclose(model.predict(tokens), want, rtol=1e-5, atol=1e-6)


@here
@converted
def test_by_command(real, tmp_path, capsys):
    """Converted and verified as a user does it: source, framework where it runs, recording."""
    source, output, more = FOLDER / real.path, tmp_path / "model.lstmc", real.arguments
    assert cli.main(["convert", str(source), "-o", str(output), *more]) == 0
    recorded = ["--recorded", str(FOLDER / real.recorded)]
    if not real.recorded or real.called:
        recorded = []
    capsys.readouterr()
    command = ["verify", str(output), "--against", str(source), *recorded, *more]
    slow = "gtcrn" in real.path  # 452 layers, five tensors each: a minute
    status = cli.main([*command, *([] if slow else ["--layers"]), "--json"])
    facts = json.loads(capsys.readouterr().out)
    checks = {c["name"]: c for c in facts["checks"]}
    assert status == 0 and checks["weights"]["ok"] and checks["oracle"]["ok"], facts
    assert slow or checks["layers"]["ok"] is not False
    if source.suffix == ".onnx":
        assert checks["framework"]["ok"] and checks["framework"]["inputs"] >= 2
    else:
        assert checks["framework"]["ok"] is None
        says = "did not load the source, written by keras 2."
        if "--arch" in real.flags:
            says = "has no code to run: the oracle stands for it"
        assert says in checks["framework"]["text"]
    if recorded:
        assert checks["recorded"]["ok"]


@here
def test_recorded_operators():
    """ONNX's own tests of the recurrent operators, recorded with other random numbers."""
    found = real_models.node_tests(FOLDER)
    assert len(found) == 18 and sum("batchwise" in name for name in found) == 3
    assert max(found.values()) <= LIMIT, found


# ------------------------------------------------------------------------------- docs/MODELS.md


def tables():
    """The tables of the page: a dict of cells by the first one, each."""
    found, lines = [], []
    for line in [*page.PAGE.read_text(encoding="utf-8").splitlines(), ""]:
        if line.startswith("| "):
            lines.append([c.strip() for c in line[2:-2].split(" | ")])
        elif lines:
            found.append({first: cells for first, *cells in lines[2:]})
            lines = []
    return found


def test_page_has_every_model():
    results, sources, published = tables()
    assert list(results) == list(sources) == ids
    assert list(published) == [m.name for m in MODELS if m.flow]
    for m in MODELS:
        assert sources[m.name] == page.source(m)
        timed = results[m.name][-page.TIMED :]
        if m.refused:
            assert m.refused in results[m.name][0] and timed == ["-"] * page.TIMED
        elif timed[0] != "-":
            ours, theirs, ratio, low, high = map(float, " ".join(timed).replace(" - ", " ").split())
            assert min(ours, theirs, low) > 0 and low <= ratio <= high


@here
@pytest.mark.parametrize("real", MODELS, ids=ids)
def test_page_says_what_the_code_gives(real):
    """All but the times: errors and bytes are the same on every machine."""
    results, *_ = tables()
    assert results[real.name][: -page.TIMED] == page.row(real, FOLDER, None)[: -page.TIMED]


@here
def test_page_says_what_was_published():
    *_, published = tables()
    assert published == {name: cells for name, *cells in page.published(FOLDER)}
    assert page.operators(FOLDER) in page.PAGE.read_text(encoding="utf-8")


@here
def test_the_command(tmp_path, capsys, monkeypatch):
    """It times a few, writes no page of a part, and stops where the two engines differ."""
    pytest.importorskip("onnxruntime")
    output = tmp_path / "page.md"
    command = ["--models", str(FOLDER), "--quick", "--output", str(output)]
    assert page.main([*command, "--only", "trafficflow"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and not output.exists()
    times = [line.split("  ")[-page.TIMED : -1] for line in lines]
    assert all(float(n) > 0 for row in times for n in row)
    right = page.theirs
    monkeypatch.setattr(page, "theirs", lambda *a: [wrong(f) for f in right(*a)])
    assert page.main([*command, "--only", "trafficflow GRU"]) == 1
    assert "wrong output" in capsys.readouterr().err
    assert page.main(["--models", str(tmp_path / "none")]) == 2


def wrong(form):
    return page.Form(form.name, form.call, lambda y: form.read(y) + 1e-3)


# --------------------------------------------------------------------- states that a stream keeps


@pytest.fixture
def stateful(tmp_path):
    """A recording of a model with explicit states, and lstmc's model that has none of them."""
    onnx = pytest.importorskip("onnx")
    from onnx_nets import Net, data, onnx_run

    models = []
    for explicit in (True, False):
        net = Net(seed=4)
        x = net.input("x", "T", 1, 3)
        states = [net.input(n, 1, 1, 5) for n in "hc"] if explicit else []
        y, *after = net.lstm(x, 3, 5, ("", *states) if explicit else ())
        net.output(net.axes_op("Squeeze", y, [1]), *(after if explicit else []))
        models.append(net.model())
    source, plain = models
    onnx.save(source, tmp_path / "net.onnx")
    y, h, c = (o.name for o in source.graph.output)
    arrays, fed = {}, {n: np.zeros((1, 1, 5), np.float32) for n in "hc"}
    for i in range(4):
        x = {"x": data(2, 1, 3, seed=i), **fed}
        made = onnx_run(source, x)
        arrays |= {f"in{i}|{n}": a for n, a in x.items()}
        arrays |= {f"out{i}|{n}": a for n, a in made.items()}
        fed = {"h": made[h], "c": made[c]}
    np.savez(tmp_path / "net.npz", **arrays)
    return tmp_path, Real("net", "net.onnx", "", "", recorded="net.npz"), lstmc.convert(plain)


def test_recorded_states_are_one_stream(stateful, capsys):
    folder, real, model = stateful
    found = real_models.known(real, folder, model)
    assert set(found.states) == {"h", "c"}
    assert real_models.errors(real, folder, model)[1] < LIMIT
    model.save(folder / "net.lstmc")
    command = ["verify", str(folder / "net.lstmc"), "--recorded", str(folder / "net.npz")]
    assert cli.main(command) == 0
    assert "4 calls of one stream, which keeps h, c" in capsys.readouterr().out
    arrays = dict(np.load(folder / "net.npz"))
    np.savez(folder / "net.npz", **{**arrays, "in0|h": np.ones((1, 1, 5), np.float32)})
    assert cli.main(command) == 1  # doesn't begin as a stream does
    np.savez(folder / "net.npz", **{**arrays, "in3|x": arrays["in2|x"]})
    assert cli.main(command) == 1


def test_states_are_fed_back_in_turn(stateful, monkeypatch):
    """Both ways to call ONNX Runtime carry them, as the stream does."""
    folder, real, model = stateful
    assert page.times(real, folder, model, QUICK).ratio > 0
    right = page.theirs
    monkeypatch.setattr(page, "theirs", lambda s, f, states, w: right(s, f, {}, w))
    with pytest.raises(WrongOutput):
        page.times(real, folder, model, QUICK)
