"""Trained models from elsewhere: what there is, how each is converted, what it must give.

One row a model; ``tests/test_real_models.py`` tests it and ``bench/models.py`` measures it. The
files are not part of the project: :func:`folder` says where they are looked for. To add a model, a
row in :data:`MODELS`.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import lstmc
from lstmc import reference
from lstmc.arrays import by_name
from lstmc.layerwise import Sample, error
from lstmc.verify import recorded_calls

ROWS = 64  # of inputs held against the oracle, where nothing was recorded


@dataclass(frozen=True)
class Real:
    """A model. ``path`` and ``recorded`` are in the folder of models.

    recorded: a .npz of calls in turn, in0|NAME and out0|NAME, as ONNX Runtime gave them.
    stream: the calls go through one stream, which carries the states that the file has bound.
    refused: what the refusal says, of a model that doesn't convert.
    flow: mean absolute error and root mean square error on the traffic of trafficflow's test.csv.
    """

    name: str
    path: str
    origin: str
    licence: str
    options: Mapping[str, Any] = field(default_factory=dict)  # of lstmc.convert
    recorded: str = ""
    stream: bool = False
    refused: str = ""
    flow: tuple[str, str] | None = None


SILERO = ("PyPI silero-vad 6.2.3", "MIT")
DTLN = ("GitHub breizhn/DTLN 1de1f15", "MIT")
TRAFFIC = ("GitHub xiaochus/TrafficFlowPrediction dec8243", "MIT")
ETHNICOLR = ("GitHub appeler/ethnicolr 40b5674", "MIT")
GTCRN = ("GitHub Xiaobin-Rong/gtcrn 3862c44", "MIT")
NNSPLIT = ("GitHub bminixhofer/nnsplit cac5552", "MIT")
AECMOS = ("PyPI speechmos 0.0.1.1", "MIT")

MODELS = (
    Real("DTLN, first stage", "dtln/model_1.onnx", *DTLN, recorded="dtln/model_1.golden.npz"),
    Real("DTLN, second stage", "dtln/model_2.onnx", *DTLN, recorded="dtln/model_2.golden.npz"),
    Real("DTLN, weights only", "dtln/model.h5", *DTLN, refused="weights only, no architecture"),
    Real("trafficflow LSTM", "trafficflow/lstm.h5", *TRAFFIC, flow=("7.2164", "9.9022")),
    Real("trafficflow GRU", "trafficflow/gru.h5", *TRAFFIC, flow=("7.2021", "9.9657")),
    Real("ethnicolr, census", "ethnicolr/census2010_ln_lstm.h5", *ETHNICOLR),
    Real("ethnicolr, wiki", "ethnicolr/wiki_name_lstm.h5", *ETHNICOLR),
    Real(
        "silero-vad", "silero-vad/silero_vad.onnx", *SILERO,
        recorded="silero-vad/silero_vad.golden.npz", refused="(If)",
    ),
    Real(
        "silero-vad, 16 kHz", "silero-vad/silero_vad_16k_op15.onnx", *SILERO,
        recorded="silero-vad/silero_vad_16k_op15.golden.npz", refused="(If)",
    ),
    Real(
        "silero-vad, sequence", "silero-vad/silero_vad_16k_sequence.onnx", *SILERO,
        recorded="silero-vad/silero_vad_16k_sequence.golden.npz", refused="(Pad)",
    ),
    Real(
        "silero-vad, weights only", "silero-vad/silero_vad_16k.safetensors", *SILERO,
        refused="no architecture",
    ),
    Real(
        "nnsplit", "nnsplit/en.onnx", *NNSPLIT,
        recorded="nnsplit/en.golden.npz", refused="(Reshape)",
    ),
    Real(
        "speechmos AECMOS", "speechmos-aecmos/Run_1663829550_Stage_0.onnx", *AECMOS,
        recorded="speechmos-aecmos/Run_1663829550_Stage_0.golden.npz", refused="(MaxPool)",
    ),
    Real(
        "GTCRN", "gtcrn/gtcrn_simple.onnx", *GTCRN,
        recorded="gtcrn/gtcrn_simple.golden.npz", refused="(ConvTranspose)",
    ),
)  # fmt: skip


def folder() -> Path:
    """Where the models are: LSTMC_MODELS, or shared/models beside the project."""
    given = os.environ.get("LSTMC_MODELS")
    return Path(given) if given else Path(__file__).parents[2] / "shared" / "models"


# ------------------------------------------------------------------------------ what it must give


def calls(real: Real, models: Path, model: lstmc.Model) -> list[tuple[Sample, dict]]:
    """Inputs and the outputs to expect: recorded ones, or the float64 oracle's."""
    if real.recorded:
        return recorded_calls(models / real.recorded, model)
    (value,) = model.graph.inputs
    if real.flow:
        x, *_ = traffic(models)
        x = x[:ROWS].astype(np.float32)
    else:  # indices into the only table
        table = next(x for x in model.graph.layers if isinstance(x, lstmc.graph.Embedding))
        shape = value.shape(ROWS)
        x = np.random.default_rng(0).integers(0, table.weight.shape[1], shape).astype(np.float32)
    inputs = {value.name: x}
    return [(Sample("", inputs), reference.run(model.graph, inputs))]


def outputs(real: Real, model: lstmc.Model, samples: list[Sample]) -> list[dict]:
    """What lstmc gives for each call, in turn."""
    if not real.stream:
        return [by_name(model, model.predict(s.inputs)) for s in samples]
    stream = model.stream()
    return [by_name(model, stream.run(s.inputs)) for s in samples]


def errors(real: Real, models: Path, model: lstmc.Model) -> tuple[float, float]:
    """The largest error of any call and output: absolute, and relative to the output's largest
    magnitude in that call."""
    known = calls(real, models, model)
    made = outputs(real, model, [sample for sample, _ in known])
    pairs = [(a[n], w[n]) for a, (_, w) in zip(made, known, strict=True) for n in a]
    absolute = max(float(np.abs(a.astype(float) - w).max()) for a, w in pairs)
    return absolute, max(error(a, w) for a, w in pairs)


# ---------------------------------------------------------------------------------- published ones


def traffic(models: Path) -> tuple[np.ndarray, np.ndarray, float, float]:
    """The windows of 12 scaled counts, [N, 12, 1]; the counts that follow; least and most cars.

    As the authors do it: scaled to [0, 1] by the training file's least and most.
    """

    def flow(name: str) -> np.ndarray:
        with (models / "trafficflow" / name).open(encoding="utf-8-sig") as f:
            return np.array([float(r["Lane 1 Flow (Veh/5 Minutes)"]) for r in csv.DictReader(f)])

    train, test = flow("train.csv"), flow("test.csv")
    low, high = float(train.min()), float(train.max())
    windows = np.lib.stride_tricks.sliding_window_view((test - low) / (high - low), 12)[:-1]
    return windows[..., None], test[12:], low, high


def traffic_errors(models: Path, model: lstmc.Model) -> tuple[str, str]:
    """Mean absolute and root mean square error in cars, to four digits."""
    x, want, low, high = traffic(models)
    y = np.asarray(model.predict(x), float)[:, 0]
    miss = y * (high - low) + low - want
    return f"{np.abs(miss).mean():.4f}", f"{np.sqrt((miss**2).mean()):.4f}"


def node_tests(models: Path) -> dict[str, float]:
    """ONNX's recorded operator tests of LSTM, GRU and RNN: the largest error of each, inf if it is
    refused. Their weights are inputs, which :mod:`lstmc.onnx_backend` binds.
    """
    import onnx

    from lstmc import onnx_backend

    found = {}
    for model in sorted((models / "onnx-node-tests").glob("*/model.onnx")):
        proto = onnx.load(model)

        def read(kind: str, count: int, there: Path = model.parent) -> list[np.ndarray]:
            files = [there / "test_data_set_0" / f"{kind}_{i}.pb" for i in range(count)]
            return [onnx.numpy_helper.to_array(onnx.load_tensor(f)) for f in files]

        want = read("output", len(proto.graph.output))
        try:
            got = onnx_backend.run_model(proto, read("input", len(proto.graph.input)))
        except onnx_backend.BackendIsNotSupposedToImplementIt:
            got = [np.nan] * len(want)
        pairs = zip(got, want, strict=True)
        found[model.parent.name] = max(error(np.asarray(a), w) for a, w in pairs)
    return found
