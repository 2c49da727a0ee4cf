"""Models that others trained, with control flow or shapes of their own: silero-vad and nnsplit,
against recordings and ONNX Runtime. They lie beside the project, and where they don't, this is
skipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lstmc

pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
errors = ort.capi.onnxruntime_pybind11_state

SHARED = Path(__file__).parents[1].parent / "shared" / "models"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the models are not here")
BOUND = 1e-5


def by_name(y: Any, model: Any) -> dict[str, np.ndarray]:
    return y if isinstance(y, dict) else {next(iter(model.outputs)): y}


def agree(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    assert got.keys() == want.keys()
    for name, y in want.items():
        assert got[name].shape == y.shape
        assert np.abs(got[name] - y).max() <= BOUND * max(1.0, np.abs(y).max()), name


def recorded(path: Path, model: Any) -> int:
    """Compare with all calls of a recording; how many there are."""
    with np.load(path) as file:
        arrays = {k: file[k] for k in file}
    count = len({k.split("|")[0] for k in arrays if k.startswith("in")})
    for n in range(count):
        x = {name: arrays[f"in{n}|{name}"] for name in model.inputs}
        want = {name: arrays[f"out{n}|{name}"] for name in model.outputs}
        agree(by_name(model.predict(x), model), want)
    return count


def session(path: Path) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(str(path), options)


SILERO = ("silero_vad", "silero_vad_16k_op15")


@pytest.mark.parametrize("name", SILERO)
def test_silero(name: str) -> None:
    """The rate is fixed, of the length of a frame the model only says what it can't be."""
    path = SHARED / "silero-vad" / f"{name}.onnx"
    model = lstmc.convert(path, constants={"sr": 16000})
    assert model.inputs == {"input": (None, None), "state": (2, None, 128)}
    assert recorded(path.with_suffix(".golden.npz"), model) == 4


@pytest.mark.parametrize(("name", "rate"), [(SILERO[0], 8000), (SILERO[0], 16000), (SILERO[1], 0)])
def test_silero_beside_onnxruntime(name: str, rate: int) -> None:
    """Rows in a batch, and every length that it takes: others it fails on, and we refuse."""
    path = SHARED / "silero-vad" / f"{name}.onnx"
    model, theirs = lstmc.convert(path, constants={"sr": rate}), session(path)
    rng = np.random.default_rng(0)
    state = np.zeros((2, 3, 128), np.float32)
    half = 2 if rate == 8000 else 1
    for n in (576, 576, 200, 384, 512, 703):
        x = {"input": rng.normal(0, 0.1, (3, n // half)).astype(np.float32), "state": state}
        y, after = theirs.run(None, {**x, "sr": np.array(rate)})
        agree(model.predict(x), {"output": y, "stateN": after})
        state = after
    for n in (150, 191, 704, 1000):
        x = {"input": np.zeros((3, n // half), np.float32), "state": state}
        with pytest.raises(lstmc.ShapeError, match="time steps don't fit"):
            model.predict(x)
        with pytest.raises((errors.Fail, errors.InvalidArgument)):
            theirs.run(None, {**x, "sr": np.array(rate)})


def test_silero_without_a_rate() -> None:
    with pytest.raises(lstmc.ConversionError, match=r"depends on input 'sr'; .*--set sr=VALUE"):
        lstmc.convert(SHARED / "silero-vad" / "silero_vad.onnx")


def test_silero_sequence() -> None:
    """A frame is a step, its samples are positions; one row, whose states go in and out."""
    path = SHARED / "silero-vad" / "silero_vad_16k_sequence.onnx"
    model, theirs = lstmc.convert(path), session(path)
    assert recorded(path.with_suffix(".golden.npz"), model) == 2
    rng = np.random.default_rng(0)
    for frames in (1, 2, 31):
        x = {"input": rng.normal(0, 0.1, (frames, 576)).astype(np.float32)}
        x |= {n: rng.normal(0, 0.3, (1, 1, 128)).astype(np.float32) for n in "hc"}
        names = [o.name for o in theirs.get_outputs()]
        agree(model.predict(x), dict(zip(names, theirs.run(None, x), strict=True)))


def test_nnsplit() -> None:
    """Of an odd length ONNX Runtime's Reshape makes other rows, or none."""
    path = SHARED / "nnsplit" / "en.onnx"
    model, theirs = lstmc.convert(path), session(path)
    assert recorded(path.with_suffix(".golden.npz"), model) == 1
    for batch, length in ((1, 2), (3, 10), (2, 64), (1, 301), (4, 7)):
        x = np.random.default_rng(length).integers(0, 256, (batch, length)).astype(np.uint8)
        if length % 2 == 0:
            agree({"output": model.predict(x)}, {"output": theirs.run(None, {"input": x})[0]})
        else:
            with pytest.raises(lstmc.ShapeError, match="time steps don't fit"):
                model.predict(x)
    rows = np.random.default_rng(9).integers(0, 256, (2, 12)).astype(np.uint8)
    y = model.predict(rows, lengths=[12, 8])
    np.testing.assert_array_equal(y[1, :8], model.predict(rows[1:, :8])[0])
    with pytest.raises(lstmc.ShapeError, match="a row of 7 steps"):
        model.predict(rows, lengths=[12, 7])


@pytest.mark.parametrize("name", SILERO)
def test_a_rate_that_is_not_set_is_asked_for(name: str) -> None:
    """First of all: what else a branch depends on is told when that is known."""
    with pytest.raises(lstmc.ConversionError) as caught:
        lstmc.convert(SHARED / "silero-vad" / f"{name}.onnx")
    assert "fix its value: --set sr=VALUE" in str(caught.value)
    assert "taken for true" not in str(caught.value)
