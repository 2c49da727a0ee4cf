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

import real_models  # noqa: E402
from real_models import MODELS  # noqa: E402

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
            made[real.name] = lstmc.convert(FOLDER / real.path, **real.options)
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
        lstmc.convert(FOLDER / real.path, **real.options)
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
    (((sample, _),)) = real_models.calls(real, FOLDER, model)
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
    if set(real.options) - {"constants"}:
        pytest.skip("its options are tested where they are made")
    source, output = FOLDER / real.path, tmp_path / "model.lstmc"
    constants = real.options.get("constants", {}).items()
    more = [f"--constant={name}={json.dumps(value)}" for name, value in constants]
    assert cli.main(["convert", str(source), "-o", str(output), *more]) == 0
    recorded = ["--recorded", str(FOLDER / real.recorded)] if real.recorded else []
    capsys.readouterr()
    command = ["verify", str(output), "--against", str(source), *recorded, *more]
    status = cli.main([*command, "--layers", "--json"])
    facts = json.loads(capsys.readouterr().out)
    checks = {c["name"]: c for c in facts["checks"]}
    assert status == 0 and checks["weights"]["ok"] and checks["oracle"]["ok"], facts
    assert checks["layers"]["ok"] is not False
    if source.suffix == ".onnx":
        assert checks["framework"]["ok"] and checks["framework"]["inputs"] >= 2
    else:  # Keras 2's
        assert checks["framework"]["ok"] is None
        assert "did not load the source, written by keras 2." in checks["framework"]["text"]
    if real.recorded:
        assert checks["recorded"]["ok"]


@here
def test_recorded_operators():
    """ONNX's own tests of the recurrent operators, recorded with other random numbers."""
    found = real_models.node_tests(FOLDER)
    assert len(found) == 18 and sum("batchwise" in name for name in found) == 3
    assert max(found.values()) <= LIMIT, found
