"""Real models whose files hold weights alone, with the descriptions of examples/, against their
recordings, their ONNX files in ONNX Runtime, and their ONNX files converted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lstmc

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT.parent / "shared" / "models"
TOLERANCE = 1e-5

pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason="no shared models here")

# Stage: names in the ONNX file of its input, its state, its output and its state after the step.
DTLN = {
    1: ("input_2", "input_3", "activation_2", "tf_op_layer_stack_2"),
    2: ("input_4", "input_5", "conv1d_3", "tf_op_layer_stack_5"),
}


def dtln(stage):
    pytest.importorskip("h5py")
    arch = ROOT / "examples" / "denoise" / f"dtln_{stage}.toml"
    return lstmc.convert(MODELS / "dtln" / "model.h5", arch=arch)


def frames(stage, count):
    """What the stages get: magnitudes of spectra, and frames; a quiet and a loud part."""
    rng = np.random.default_rng(stage)
    x = rng.normal(size=(1, count, 512)) * np.linspace(1e-3, 1.0, count)[:, None]
    x = np.abs(np.fft.rfft(x)) if stage == 1 else x
    return x.astype(np.float32)


@pytest.mark.parametrize("stage", DTLN)
def test_dtln_matches_its_recordings(stage):
    x, state, y, _ = DTLN[stage]
    model = dtln(stage)
    calls = np.load(MODELS / "dtln" / f"model_{stage}.golden.npz")
    assert not calls[f"in0|{state}"].any()
    stream, largest = model.stream(), 0.0
    for n in range(4):
        want = calls[f"out{n}|{y}"][:, 0]
        largest = max(largest, float(np.abs(want).max()))
        got = stream.step(calls[f"in{n}|{x}"][:, 0])
        np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE)
    assert largest > 0.1


@pytest.mark.parametrize("stage", DTLN)
def test_dtln_matches_onnx_runtime(stage):
    """The states too, which ONNX keeps as [1, layer, 128, h or c]."""
    runtime = pytest.importorskip("onnxruntime")
    x, state, y, after = DTLN[stage]
    model = dtln(stage)
    session = runtime.InferenceSession(str(MODELS / "dtln" / f"model_{stage}.onnx"))
    inputs, states = frames(stage, 60), np.zeros((1, 2, 128, 2), np.float32)
    made = model.predict(inputs)
    stream = model.stream()
    for t in range(inputs.shape[1]):
        want, states = session.run([y, after], {x: inputs[:, t : t + 1], state: states})
        np.testing.assert_allclose(made[:, t : t + 1], want, rtol=0, atol=TOLERANCE)
        assert np.array_equal(stream.step(inputs[:, t]), made[:, t])
    layers = [s for s in stream.state.values() if "h" in s]
    assert len(layers) == 2
    for own, want in zip(layers, states[0], strict=True):
        for k, key in enumerate("hc"):
            error = np.abs(own[key][0] - want[:, k]).max()
            assert error <= TOLERANCE * max(1.0, np.abs(want).max())  # |c| reaches 56


def test_dtln_by_command(tmp_path):
    arch = ROOT / "examples" / "denoise" / "dtln_2.toml"
    out = tmp_path / "dtln_2.lstmc"
    source = MODELS / "dtln" / "model.h5"
    command = [sys.executable, "-m", "lstmc", "convert", source, "--arch", arch, "-o", out]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    x = frames(2, 5)
    assert np.array_equal(lstmc.load(out).predict(x), dtln(2).predict(x))


def test_dtln_in_one_line():
    pytest.importorskip("h5py")
    line = (
        "input batch time 512 name=frame; conv1d weights=conv1d name=encoded; "
        "layernorm weights=layer_normalization eps=1e-7; lstm weights=lstm_2; lstm weights=lstm_3; "
        "dense weights=dense_1 activation=sigmoid name=mask; multiply inputs=encoded,mask; "
        "conv1d weights=conv1d_1 padding=causal; output name=clean; ignore lstm lstm_1 dense"
    )
    model = lstmc.convert(MODELS / "dtln" / "model.h5", arch=line)
    x = frames(2, 5)
    assert np.array_equal(model.predict(x), dtln(2).predict(x))
