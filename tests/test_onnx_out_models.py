"""Models that other people trained, converted, written as ONNX again and run there."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
pytest.importorskip("h5py")
sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

import real_models
from onnx_out import back, calls, error, feeds, predicted, runtime, same, sizes

import lstmc
from lstmc.onnx_export import to_onnx
from lstmc.samples import enough_steps, random_inputs

FOLDER = real_models.folder()
MODELS = [m for m in real_models.MODELS if not m.refused]
#: What the converter says of those that it doesn't read back, as they are written.
NOT_READ = {
    "ethnicolr, census": "from float32 may change values",  # Keras takes indices as floats
    "ethnicolr, wiki": "from float32 may change values",
    "silero-vad": "reshapes to sizes",  # a number of steps that is insisted on
    "silero-vad, 16 kHz": "reshapes to sizes",
}

pytestmark = [
    pytest.mark.skipif(not FOLDER.is_dir(), reason="no shared models here"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
]


@pytest.mark.parametrize("real", MODELS, ids=[m.name for m in MODELS])
def test_runs_there(real):
    model = real.convert(FOLDER)
    graph = model.graph
    made = to_onnx(graph)
    if graph.bindings:
        calls(graph, made)
        return
    there = runtime(made)
    time = enough_steps(graph, 5) if graph.clocks else 1
    for batch, steps in sizes(graph, (1, 3), (time, time + 1, 2 * time)):
        x = random_inputs(graph, np.random.default_rng([batch, steps]), batch, steps)
        same(graph, x, there(feeds(graph, x)), predicted(model, x))
    if real.name in NOT_READ:
        with pytest.raises(lstmc.ConversionError, match=NOT_READ[real.name]):
            lstmc.convert(made)
    else:
        back(graph, made, x)


RECORDED = [m for m in MODELS if m.recorded and not m.called and "--state" not in m.flags]


@pytest.mark.parametrize("real", RECORDED, ids=[m.name for m in RECORDED])
def test_gives_what_was_recorded(real):
    """As the source gave it, call after call, with states as it gave them."""
    made = to_onnx(real.convert(FOLDER).graph)
    there, takes = runtime(made), [v.name for v in made.graph.input]
    with np.load(FOLDER / real.recorded) as recorded:
        arrays = {tuple(k.split("|", 1)): recorded[k] for k in recorded.files}
    count = 0
    while (f"in{count}", takes[0]) in arrays:
        got = there({n: arrays[f"in{count}", n] for n in takes})
        for name, y in got.items():
            assert error(y, arrays[f"out{count}", name]) <= 1e-5, (name, count)
        count += 1
    assert count
