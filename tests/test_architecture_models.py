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


# -------------------------------------------------------------------------------------- silero-vad

SILERO = MODELS / "silero-vad"
VAD = ROOT / "examples" / "vad" / "silero_vad_16k.toml"


def audio(count):
    """Frames as silero-vad cuts them: 64 samples of the one before, then 512 new ones. Something
    like a voice, harmonics under two formants, comes and goes."""
    rng, t = np.random.default_rng(7), np.arange(count * 512) / 16000
    turns = np.cumsum(120 + 30 * np.sin(4 * np.pi * t)) / 16000
    x = 1e-3 * rng.normal(size=t.size)
    for k in range(1, 30):
        loud = sum(np.exp(-(((k * 120 - f) / w) ** 2)) for f, w in ((500, 150), (1500, 200)))
        x += 0.2 * loud * np.sin(2 * np.pi * k * turns) * np.clip(np.sin(3 * np.pi * t), 0, 1)
    x = np.concatenate([np.zeros(64), x])
    return np.stack([x[512 * k : 512 * k + 576] for k in range(count)])[None].astype(np.float32)


def in_torch(weights, frames):
    """What silero_vad.tinygrad_model computes with these weights, in float64."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    w = {k: torch.from_numpy(np.array(v)).double() for k, v in weights.items()}
    cell = torch.nn.LSTMCell(128, 128).double()
    cell.load_state_dict({k.split(".")[1]: v for k, v in w.items() if k.startswith("lstm_cell.")})
    state, out = None, []
    for x in torch.from_numpy(frames[0]).double():
        x = functional.pad(x[None, None], (0, 64), "reflect")
        x = functional.conv1d(x, w["stft_conv.weight"], stride=128)
        x = (x[:, :129] ** 2 + x[:, 129:] ** 2).sqrt()
        for k, stride in enumerate((1, 2, 2, 1), 1):
            x = functional.conv1d(x, w[f"conv{k}.weight"], w[f"conv{k}.bias"], stride, 1).relu()
        state = cell(x.squeeze(-1), state)
        h = state[0][..., None].relu()
        out.append(functional.conv1d(h, w["final_conv.weight"], w["final_conv.bias"]).sigmoid())
    return torch.stack(out).detach().numpy().reshape(1, -1, 1)


def test_silero_matches_torch():
    """The weights of the .safetensors file are not those of the ONNX files: torch has to do."""
    from lstmc.converters import safetensors_file

    path = SILERO / "silero_vad_16k.safetensors"
    weights = {k: t.array() for k, t in safetensors_file.read(path).items()}
    model = lstmc.convert(path, arch=VAD)
    frames = audio(40)
    want = in_torch(weights, frames)
    assert want.min() < 0.1 and want.max() > 0.5
    got = model.predict(frames)
    assert np.abs(got - want).max() <= TOLERANCE
    stream = model.stream()
    assert np.array_equal(np.stack([stream.step(x) for x in frames[0][:, None]], 1), got)
    rows = np.concatenate([frames, frames[:, ::-1]])
    assert np.array_equal(model.predict(rows)[:1], got)


def test_silero_matches_its_recordings(tmp_path):
    """The same description with the weights of an ONNX file, under the names of the .safetensors
    file; and ONNX Runtime on more frames."""
    onnx = pytest.importorskip("onnx")
    torch = pytest.importorskip("torch")
    source = SILERO / "silero_vad_16k_op15.onnx"
    names = {
        "model.stft.forward_basis_buffer": "stft_conv.weight",
        "model.decoder.rnn.": "lstm_cell.",
        "model.decoder.decoder.2.": "final_conv.",
    } | {f"model.encoder.{k}.reparam_conv.": f"conv{k + 1}." for k in range(4)}
    weights = {}
    for tensor in onnx.load(source).graph.initializer:
        for old, new in names.items():
            if tensor.name.startswith(old):
                array = onnx.numpy_helper.to_array(tensor)
                weights[tensor.name.replace(old, new)] = torch.from_numpy(array.copy())
    torch.save(weights, tmp_path / "op15.pt")
    model = lstmc.convert(tmp_path / "op15.pt", arch=VAD)

    calls = np.load(SILERO / "silero_vad_16k_op15.golden.npz")
    assert not calls["in0|state"].any()
    stream = model.stream()
    for n in range(4):
        got = stream.step(calls[f"in{n}|input"])
        np.testing.assert_allclose(got, calls[f"out{n}|output"], rtol=0, atol=TOLERANCE)

    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(source))
    frames, state = audio(40), np.zeros((2, 1, 128), np.float32)
    got = model.predict(frames)
    for t in range(frames.shape[1]):
        given = {"input": frames[:, t], "state": state, "sr": np.array(16000)}
        want, state = session.run(["output", "stateN"], given)
        np.testing.assert_allclose(got[:, t], want, rtol=0, atol=TOLERANCE)
    assert got.max() > 0.5
