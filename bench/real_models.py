"""Trained models from elsewhere: what there is, how each is converted, what it must give.

One row a model; ``tests/test_real_models.py`` tests it and ``bench/models.py`` measures it. The
files are not part of the project: :func:`folder` says where they are looked for. To add a model, a
row in :data:`MODELS`.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import lstmc
from lstmc import cli, commands, reference
from lstmc.layerwise import Sample, error
from lstmc.recordings import Recording, recording
from lstmc.samples import enough_steps, random_inputs

ROWS, STEPS = 64, 16  # of inputs held against the oracle, where nothing was recorded


@dataclass(frozen=True)
class Real:
    """A model. ``path`` and ``recorded`` are in the folder of models.

    flags: what the command line needs for it; a .toml file is one beside this.
    recorded: a .npz of calls in turn, in0|NAME and out0|NAME, as ONNX Runtime gave them.
    called: what the recording calls inputs and outputs that the model calls otherwise.
    onnx: what ONNX Runtime is timed on, of a model that is no ONNX file but has such a twin.
    refused: what the refusal says, of a model that doesn't convert.
    flow: mean absolute error and root mean square error on the traffic of trafficflow's test.csv.
    """

    name: str
    path: str
    origin: str
    licence: str
    flags: tuple[str, ...] = ()
    recorded: str = ""
    called: tuple[tuple[str, str], ...] = ()
    onnx: str = ""
    refused: str = ""
    flow: tuple[str, str] | None = None

    @property
    def arguments(self) -> list[str]:
        """The flags, files found."""
        here = Path(__file__).parent
        return [str(here / f) if f.endswith(".toml") else f for f in self.flags]

    def convert(self, models: Path) -> lstmc.Model:
        """As the command line does it."""
        path = models / self.path
        args = cli._parser().parse_args(["convert", str(path), *self.arguments])
        return lstmc.convert(path, **commands.options(args))


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
    Real(
        "DTLN, first stage, state kept", "dtln/model_1.onnx", *DTLN,
        flags=("--state", "input_2=tf_op_layer_stack_2:input_3"),
        recorded="dtln/model_1.golden.npz",
    ),
    Real(
        "DTLN, second stage, state kept", "dtln/model_2.onnx", *DTLN,
        flags=("--state", "input_4=tf_op_layer_stack_5:input_5"),
        recorded="dtln/model_2.golden.npz",
    ),
    *(
        Real(
            f"DTLN, {name} stage, weights only", "dtln/model.h5", *DTLN,
            flags=("--arch", f"../examples/denoise/dtln_{i}.toml"),
            recorded=f"dtln/model_{i}.golden.npz", onnx=f"dtln/model_{i}.onnx", called=called,
        )
        for i, name, called in (
            (1, "first", (("magnitude", "input_2"), ("mask", "activation_2"))),
            (2, "second", (("frame", "input_4"), ("clean", "conv1d_3"))),
        )
    ),
    Real("trafficflow LSTM", "trafficflow/lstm.h5", *TRAFFIC, flow=("7.2164", "9.9022")),
    Real("trafficflow GRU", "trafficflow/gru.h5", *TRAFFIC, flow=("7.2021", "9.9657")),
    Real("ethnicolr, census", "ethnicolr/census2010_ln_lstm.h5", *ETHNICOLR),
    Real("ethnicolr, wiki", "ethnicolr/wiki_name_lstm.h5", *ETHNICOLR),
    Real(
        "silero-vad", "silero-vad/silero_vad.onnx", *SILERO,
        flags=("--set", "sr=16000"), recorded="silero-vad/silero_vad.golden.npz",
    ),
    Real(
        "silero-vad, state kept", "silero-vad/silero_vad.onnx", *SILERO,
        flags=("--set", "sr=16000", "--state", "input@576=stateN:state"),
        recorded="silero-vad/silero_vad.golden.npz",
    ),
    Real(
        "silero-vad, 16 kHz", "silero-vad/silero_vad_16k_op15.onnx", *SILERO,
        flags=("--set", "sr=16000"), recorded="silero-vad/silero_vad_16k_op15.golden.npz",
    ),
    Real(
        "silero-vad, sequence", "silero-vad/silero_vad_16k_sequence.onnx", *SILERO,
        recorded="silero-vad/silero_vad_16k_sequence.golden.npz",
    ),
    Real(
        "silero-vad, weights only", "silero-vad/silero_vad_16k.safetensors", *SILERO,
        flags=("--arch", "../examples/vad/silero_vad_16k.toml"),  # other weights than the rest's
    ),
    Real(
        "nnsplit", "nnsplit/en.onnx", *NNSPLIT,
        recorded="nnsplit/en.golden.npz",
    ),
    Real(
        "speechmos AECMOS", "speechmos-aecmos/Run_1663829550_Stage_0.onnx", *AECMOS,
        recorded="speechmos-aecmos/Run_1663829550_Stage_0.golden.npz",
    ),
    Real(
        "GTCRN", "gtcrn/gtcrn_simple.onnx", *GTCRN,
        recorded="gtcrn/gtcrn_simple.golden.npz",
    ),
    Real(
        "GTCRN, states kept", "gtcrn/gtcrn_simple.onnx", *GTCRN,
        flags=(
            "--state",
            "mix=conv_cache_out:conv_cache,tra_cache_out:tra_cache,inter_cache_out:inter_cache",
        ),
        recorded="gtcrn/gtcrn_simple.golden.npz",
    ),
)  # fmt: skip


def folder() -> Path:
    """Where the models are: LSTMC_MODELS, or shared/models beside the project."""
    given = os.environ.get("LSTMC_MODELS")
    return Path(given) if given else Path(__file__).parents[2] / "shared" / "models"


# ------------------------------------------------------------------------------ what it must give


def known(real: Real, models: Path, model: lstmc.Model) -> Recording:
    """Inputs and the outputs to expect: recorded ones, or the float64 oracle's."""
    if real.recorded:
        return recording(models / real.recorded, model, dict(real.called))
    rng, steps = np.random.default_rng(0), enough_steps(model.graph, STEPS)
    inputs = random_inputs(model.graph, rng, ROWS, steps)
    if real.flow:
        (name,) = inputs
        inputs = {name: traffic(models)[0][:ROWS].astype(np.float32)}
    return Recording([(Sample("", inputs), reference.run(model.graph, inputs))])


def errors(real: Real, models: Path, model: lstmc.Model) -> tuple[float, float]:
    """The largest error of any call and output: absolute, and relative to the output's largest
    magnitude in that call."""
    found = known(real, models, model)
    both = zip(found.calls, found.outputs(model), strict=True)
    pairs = [(a[n], want[n]) for (_, want), a in both for n in a]
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
