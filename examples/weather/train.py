#!/usr/bin/env python3
"""Train the weather forecaster and write every file of this folder that is not written by hand.

What it does, from vega_datasets' seattle-weather.csv (NOAA, public domain) and nothing else:

 1. trains Sequential([LSTM(50, activation="relu"), Dense(1)]) with Keras' fit on 2012-2013 and
    scores it on 2014. The settings below were chosen by this score (and by how far from blowing up
    the cell state stays: relu has no upper bound); 2015 played no part.
 2. trains afresh with the same settings on 2012-2014.
 3. writes forecaster.keras, forecaster.pt and forecaster.onnx: the same weights three times.
 4. runs each file in its framework on all of 2015 and writes data.npz: the days, the
    normalisation, the three frameworks' outputs.
 5. prints the scores on 2015 against persistence (tomorrow = today) and two simple baselines, and
    how far the three outputs and a float64 evaluation in numpy are apart.

Needs Python 3.11 and: pip install numpy==2.4.6 torch==2.13.0 keras==3.15.1 h5py==3.16.0
onnx==1.23.2 onnxruntime==1.32.0 vega_datasets==0.9.0. Takes 2 min 40 s of CPU
time on one core (5 minutes on a busy 2-core machine).
Everything is seeded and runs on one thread, so the same machine and versions give the same
weights; another CPU or version may round differently and end at slightly other ones.
"""

import argparse
import csv
import importlib.metadata
import importlib.util
import itertools
import os
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # python -P leaves this folder out
import weather

HERE = Path(__file__).resolve().parent
HIDDEN = 50
SEED = 1
EPOCHS = 25
BATCH = 32
LEARNING_RATE = 1e-3  # falls to 0 along a cosine
WEIGHT_DECAY = 0.3
CLIP_NORM = 0.5
DROPOUT, RECURRENT_DROPOUT = 0.1, 0.2
RECURRENT_GAIN, RECURRENT_L2 = 0.2, 3e-3


def find_csv():
    """Path of seattle-weather.csv in the installed vega_datasets, without importing it."""
    spec = importlib.util.find_spec("vega_datasets")
    if spec is None:
        sys.exit("train.py: pip install vega_datasets==0.9.0, or give the file with --csv")
    return Path(spec.submodule_search_locations[0]) / "_data" / "seattle-weather.csv"


def read_csv(path):
    """(dates datetime64[D] [D], raw float64 [D, 4]) of the whole series.

    The column "weather" is left out: its meaning drifts ("rain" on 191 days of 2012, 3 of 2014).
    """
    with Path(path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    dates = np.array([row["date"].replace("/", "-") for row in rows], "datetime64[D]")
    raw = np.array([[float(row[name]) for name in weather.RAW] for row in rows])
    if not (np.diff(dates) == np.timedelta64(1, "D")).all() or not np.isfinite(raw).all():
        raise ValueError(f"{path}: a day is missing or twice, or a value is not a number")
    return dates, raw


def examples(dates, raw, until):
    """Windows and targets of the whole series, normalised by the days before `until` alone.

    Returns (target dates [N], x float32 [N, 100, 10], y float32 [N, 1], mean, std, scale).
    """
    known = dates < np.datetime64(until)
    features = weather.raw_features(dates, raw)
    mean, std = features[known].mean(axis=0), features[known].std(axis=0)
    change = np.diff(raw[:, 0])  # change[t] leads from day t to day t + 1
    scale = float(change[known[1:]].std())
    x = weather.windows(weather.standardise(features, mean, std))
    y = (change[weather.STEPS :, None] / scale).astype(np.float32)
    return dates[weather.STEPS + 1 :], x, y, mean, std, scale


def fit(x, y, verbose):
    """Train with Keras; returns the weights [kernel, recurrent, bias, kernel, bias]."""
    import keras

    keras.utils.set_random_seed(SEED)
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            keras.layers.LSTM(
                HIDDEN,
                activation="relu",
                dropout=DROPOUT,
                recurrent_dropout=RECURRENT_DROPOUT,
                recurrent_initializer=keras.initializers.Orthogonal(RECURRENT_GAIN),
                recurrent_regularizer=keras.regularizers.L2(RECURRENT_L2),
            ),
            keras.layers.Dense(1),
        ]
    )
    steps = EPOCHS * -(-len(x) // BATCH)
    model.compile(
        optimizer=keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps),
            weight_decay=WEIGHT_DECAY,
            clipnorm=CLIP_NORM,
        ),
        loss="mse",
    )
    model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=2 if verbose else 0)
    return [np.asarray(w) for w in model.get_weights()]


def float64_outputs(weights, x):
    """The network in float64 numpy, slow and obvious: (outputs [N, 1], largest cell state)."""
    kernel, recurrent, bias, dense, dense_bias = (w.astype(np.float64) for w in weights)
    h = c = np.zeros((len(x), HIDDEN))
    largest = 0.0
    for t in range(x.shape[1]):
        z = x[:, t].astype(np.float64) @ kernel + h @ recurrent + bias
        i, f, g, o = np.split(z, 4, axis=1)  # Keras' gate order, i f c o
        i, f, o = (1 / (1 + np.exp(-v)) for v in (i, f, o))
        c = f * c + i * np.maximum(g, 0)
        h = o * np.maximum(c, 0)
        largest = max(largest, float(c.max()))
    return h @ dense + dense_bias, largest


def save_keras(weights, path):
    """The article's network, plainly built (nothing that only training needs), as .keras."""
    import keras

    model = keras.Sequential(
        [
            keras.Input((weather.STEPS, weights[0].shape[0]), name="x"),
            keras.layers.LSTM(HIDDEN, activation="relu", name="lstm"),
            keras.layers.Dense(1, name="dense"),
        ],
        name="forecaster",
    )
    model.set_weights(weights)
    model.save(path)


def save_torch(weights, path):
    """A state_dict under torch.nn.LSTM's names. Keras' one bias becomes two equal halves."""
    import torch
    from torch_model import Forecaster

    kernel, recurrent, bias, dense, dense_bias = weights
    arrays = {
        "lstm.weight_ih_l0": kernel.T,  # Keras i f c o is PyTorch i f g o
        "lstm.weight_hh_l0": recurrent.T,
        "lstm.bias_ih_l0": bias / 2,
        "lstm.bias_hh_l0": bias / 2,
        "dense.weight": dense.T,
        "dense.bias": dense_bias,
    }
    model = Forecaster(kernel.shape[0], HIDDEN)
    model.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in arrays.items()})
    torch.save(model.state_dict(), path)


def save_onnx(weights, path):
    """Transpose, LSTM, Squeeze, Gemm: what exporters write. Input x, output y."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kernel, recurrent, bias, dense, dense_bias = weights

    def gates(array):  # Keras' i f c o on the last axis -> ONNX' i o f c on the first
        i, f, c, o = np.split(array, 4, axis=-1)
        return np.concatenate([i, o, f, c], axis=-1).T

    half = gates(bias / 2)
    constants = {
        "lstm.W": gates(kernel)[None],
        "lstm.R": gates(recurrent)[None],
        "lstm.B": np.concatenate([half, half])[None],
        "squeeze.axes": np.array([0], np.int64),
        "dense.weight": dense.T,
        "dense.bias": dense_bias,
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["x_time_major"], name="transpose", perm=[1, 0, 2]),
        helper.make_node(
            "LSTM",
            ["x_time_major", "lstm.W", "lstm.R", "lstm.B"],
            ["", "h_last"],
            name="lstm",
            hidden_size=HIDDEN,
            activations=["Sigmoid", "Relu", "Relu"],
        ),
        helper.make_node("Squeeze", ["h_last", "squeeze.axes"], ["h"], name="squeeze"),
        helper.make_node(
            "Gemm", ["h", "dense.weight", "dense.bias"], ["y"], name="dense", transB=1
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "forecaster",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "time", len(kernel)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(
        graph,
        producer_name="lstmc examples/weather",
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def run_keras(path, x):
    import keras

    return np.asarray(keras.saving.load_model(path).predict(x, batch_size=len(x), verbose=0))


def run_torch(path, x):
    import torch
    from torch_model import Forecaster

    model = Forecaster(x.shape[2], HIDDEN)
    model.load_state_dict(torch.load(path, weights_only=True))
    with torch.inference_mode():
        return model(torch.from_numpy(x)).numpy()


def run_onnx(path, x):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x})[0]


def simple_baselines(dates, raw, target, x, y, scale, known, chosen):
    """Forecasts in degrees C for the `chosen` targets, both fitted on the `known` ones."""
    today = raw[weather.STEPS : -1, 0]

    def season(days):
        angle = (days - days.astype("datetime64[Y]")).astype(np.int64) * 2 * np.pi / 365.25
        return np.stack([np.ones(len(days)), np.sin(angle), np.cos(angle)], axis=1)

    def least_squares(a, b):
        return a[chosen] @ np.linalg.lstsq(a[known], b[known])[0]

    last_day = np.concatenate([x[:, -1].astype(np.float64), np.ones((len(x), 1))], axis=1)
    # 2012-2014 in full for the season's mean: the windows' first 100 days belong to it as well
    train = dates < target[chosen][0]
    mean_curve = np.linalg.lstsq(season(dates[train]), raw[train, 0])[0]
    return {
        "season's mean": season(target[chosen]) @ mean_curve,
        "linear, today's 10 numbers": today[chosen] + scale * least_squares(last_day, y[:, 0]),
    }


def report(title, forecasts, persistence, truth):
    print(f"\n{title}, {len(truth)} days, degrees C    MAE    RMSE   against persistence")
    for name, forecast in {"persistence": persistence, **forecasts}.items():
        score = weather.scores(forecast, truth)
        gain = weather.improvement(forecast, persistence, truth)
        print(
            f"  {name:28} {score['mae']:.4f}  {score['rmse']:.4f}"
            f"   {-gain['mae']:+z.2f} % MAE  {-gain['rmse']:+z.2f} % RMSE"
        )


def validate(dates, raw, quiet):
    """Step 1: train on all but the last year of the series, score that one."""
    target, x, y, _, _, scale = examples(dates, raw, "2014-01-01")
    known = target < np.datetime64("2014-01-01")
    weights = fit(x[known], y[known], not quiet)
    outputs, largest = float64_outputs(weights, x)
    today, truth = raw[weather.STEPS : -1, 0][~known], raw[weather.STEPS + 1 :, 0][~known]
    forecasts = simple_baselines(dates, raw, target, x, y, scale, known, ~known)
    forecasts["LSTM"] = today + scale * outputs[~known, 0]
    report("2014 (validation; trained on 2012-2013)", forecasts, today, truth)
    for factor in (1.5, 2.0):
        _, wild = float64_outputs(weights, np.clip(factor * x, -weather.LIMIT, weather.LIMIT))
        print(f"largest cell state {largest:.2f}, inputs {factor} times as large {wild:.2f}")


def version(module):
    return f"{module} {importlib.metadata.version(module)}"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--csv", type=Path, help="seattle-weather.csv (default: vega_datasets')")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: here)")
    parser.add_argument("--validate", action="store_true", help="stop after step 1, write nothing")
    parser.add_argument("--quiet", action="store_true", help="do not print every epoch")
    args = parser.parse_args()

    os.environ["KERAS_BACKEND"] = "torch"
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    started = time.perf_counter()
    dates, raw = read_csv(args.csv or find_csv())

    # 1. The settings, seen on 2014. The series is cut at 2015 first: nothing of it is in reach.
    validate(
        dates[dates < np.datetime64("2015-01-01")],
        raw[dates < np.datetime64("2015-01-01")],
        args.quiet,
    )
    if args.validate:
        return

    # 2. The network, from all three years.
    args.out.mkdir(parents=True, exist_ok=True)
    target, x, y, mean, std, scale = examples(dates, raw, "2015-01-01")
    known = target < np.datetime64("2015-01-01")
    clock = time.perf_counter()
    weights = fit(x[known], y[known], not args.quiet)
    print(f"\ntrained on {known.sum()} windows in {time.perf_counter() - clock:.0f} s")

    # 3. Three files.
    names = ("keras", "torch", "onnx")
    files = [args.out / f"forecaster.{suffix}" for suffix in ("keras", "pt", "onnx")]
    for save, path in zip((save_keras, save_torch, save_onnx), files, strict=True):
        save(weights, path)

    # 4. What the frameworks make of them on 2015, and the days to try it with. The slice starts one
    #    day before the first window, which needs it for the differences to yesterday.
    days = slice(len(dates) - np.count_nonzero(~known) - weather.STEPS - 1, None)
    features = weather.standardise(weather.raw_features(dates[days], raw[days]), mean, std)
    test_x = weather.windows(features)
    if not np.array_equal(test_x, x[~known]):
        raise AssertionError("the windows of the slice are not those of the whole series")
    outputs = {
        name: run(path, test_x)
        for name, run, path in zip(names, (run_keras, run_torch, run_onnx), files, strict=True)
    }
    np.savez_compressed(
        args.out / "data.npz",
        dates=dates[days],
        raw=raw[days],
        features=features,
        mean=mean,
        std=std,
        scale=np.float64(scale),
        versions=np.array([version(m) for m in ("numpy", "keras", "torch", "onnx", "onnxruntime")]),
        **{name + "_y": y for name, y in outputs.items()},
    )

    # 5. The scores.
    data = weather.load(args.out / "data.npz")
    forecasts = simple_baselines(dates, raw, target, x, y, scale, known, ~known)
    forecasts["LSTM"] = data.forecast(data.recorded["keras"])
    report("2015 (test; trained on 2012-2014)", forecasts, data.persistence, data.truth)
    exact, largest = float64_outputs(weights, test_x)
    print(f"largest cell state {largest:.2f}, outputs {exact.min():.2f} .. {exact.max():.2f}")
    print("largest difference between outputs:")
    outputs["float64 numpy"] = exact
    for a, b in itertools.combinations(outputs, 2):
        print(f"  {a:5} - {b:13} {np.abs(outputs[a].astype(np.float64) - outputs[b]).max():.2e}")
    print()
    for path in [*files, args.out / "data.npz"]:
        print(f"{path.stat().st_size:7} bytes  {path.name}")
    print(f"all done in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
