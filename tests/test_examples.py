"""The examples that hear, and the one that learns, run as a user runs them."""

from __future__ import annotations

import re
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
MODELS = ROOT.parent / "shared" / "models"

sys.path[:0] = [str(EXAMPLES / name) for name in ("audio", "weather")]
import audio  # noqa: E402
import weather  # noqa: E402

import lstmc  # noqa: E402

pytest.importorskip("onnx")
here = pytest.mark.skipif(not MODELS.is_dir(), reason="no shared models here")


def run(script: Path, *args: object) -> str:
    command = [sys.executable, "-P", script, *args]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@here
def test_vad(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("matplotlib")
    model, picture = MODELS / "silero-vad" / "silero_vad.onnx", tmp_path / "vad.png"
    said = run(EXAMPLES / "vad" / "vad.py", "--model", model, "-o", picture)
    spans = re.findall(r"^speech +([\d.]+) to +([\d.]+) s$", said, re.MULTILINE)
    heard = sum(float(end) - float(start) for start, end in spans)
    assert len(spans) >= 4 and 6 < heard < 8  # of ten seconds, two of them silent
    assert float(re.search(r"by ([\de.-]+) at most", said)[1]) <= 1e-5
    speeds = re.findall(r"^speed +(\d+) times real time, .*: (.*)$", said, re.MULTILINE)
    assert [name for _, name in speeds] == [
        "lstmc, frame by frame", "lstmc, all frames at once", "ONNX Runtime",
    ]  # fmt: skip
    assert all(int(times) > 1 for times, _ in speeds)
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 10_000


@here
def test_denoise(tmp_path):
    output = tmp_path / "clean.wav"
    said = run(EXAMPLES / "denoise" / "denoise.py", "--models", MODELS / "dtln", "-o", output)
    before, after = map(float, re.search(r"([\d.]+) dB before, ([\d.]+) dB after", said).groups())
    assert before == 5.0 and after > 14
    speech = audio.read(audio.SPEECH)
    assert audio.snr(speech, audio.read(output)) == pytest.approx(after, abs=0.1)
    assert audio.snr(speech, audio.read(tmp_path / "noisy.wav")) == pytest.approx(5, abs=0.1)
    again = tmp_path / "again.wav"
    script = EXAMPLES / "denoise" / "denoise.py"
    run(script, "--models", MODELS / "dtln", "--input", tmp_path / "noisy.wav", "-o", again)
    assert audio.snr(speech, audio.read(again)) == pytest.approx(after, abs=0.1)


def test_what_is_missing_is_said(tmp_path):
    script = EXAMPLES / "denoise" / "denoise.py"
    command = [sys.executable, "-P", script, "--models", tmp_path]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"there is no model_1.onnx in '{tmp_path}'" in done.stderr


def test_wav_files(tmp_path):
    samples = np.array([0, 0.5, -0.5, 2, -2], np.float32)
    audio.write(tmp_path / "a.wav", samples)
    got = audio.read(tmp_path / "a.wav")
    np.testing.assert_allclose(got, np.clip(samples, -1, 1), atol=1e-4)
    with wave.open(str(tmp_path / "b.wav"), "wb") as f:
        f.setnchannels(2)
        f.setsampwidth(2)
        f.setframerate(8000)
        f.writeframes(bytes(8))
    with pytest.raises(SystemExit, match=r"8000 Hz of 16 bits; the model takes 16000"):
        audio.read(tmp_path / "b.wav")


def test_noise_is_as_loud_as_asked_for():
    speech = audio.read(audio.SPEECH)
    for decibels in (0, 5, 20):
        assert audio.snr(speech, audio.noisy(speech, decibels)) == pytest.approx(decibels, abs=1e-3)
    noise = audio.pink_noise(1 << 16)
    power = np.abs(np.fft.rfft(noise)) ** 2
    octaves = [power[n : 2 * n].mean() for n in (1 << k for k in range(8, 15))]
    falls = 10 * np.log10(np.array(octaves[:-1]) / octaves[1:])
    np.testing.assert_allclose(falls, 3, atol=0.7)


def test_the_forecaster_is_taught_from_scratch(tmp_path):
    """As good as the Keras original (or teach.py exits with 1), and files that agree."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("vega_datasets")
    said = run(EXAMPLES / "weather" / "teach.py", "--out", tmp_path, "--quiet")
    assert "the Keras original" in said
    assert (tmp_path / "taught.png").read_bytes().startswith(b"\x89PNG")
    x = weather.windows(weather.load().features)
    y = lstmc.load(tmp_path / "forecaster.lstmc").predict(x)
    again = lstmc.convert(tmp_path / "forecaster.onnx").predict(x)
    assert lstmc.digest(y) == lstmc.digest(again)
