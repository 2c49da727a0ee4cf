#!/usr/bin/env python3
"""Train the weather forecaster from scratch with lstmc alone, and see what it is worth.

From vega_datasets' seattle-weather.csv (NOAA, public domain; pip install vega_datasets==0.9.0):

 1. trains Sequential([LSTM(50, activation="relu"), Dense(1)]) on 2012-2014, as train.py does with
    Keras, on the same windows. The settings below were chosen by training on 2012-2013 and scoring
    2014 (--validate); nothing was chosen on 2015.
 2. scores 2015 beside persistence and the Keras original, whose outputs are in data.npz. Exit
    status 1 if it is less accurate than the original.
 3. writes forecaster.lstmc, forecaster.onnx and taught.png (loss and forecast; needs matplotlib).

`make train` does this, and then runs the result on a Cortex-M4F in QEMU. The same seed gives the
same weights, to the bit, on every machine.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # python -P leaves this folder out
import train
import weather

import lstmc
from lstmc.initializers import Orthogonal
from lstmc.layers import LSTM, Dense
from lstmc.models import Sequential
from lstmc.optimizers import AdamW
from lstmc.optimizers.schedules import CosineDecay

SEED = 1
EPOCHS, BATCH = 25, 32
LEARNING_RATE = 2e-3  # falls to 0 along a cosine
WEIGHT_DECAY, CLIP_NORM = 0.3, 0.5
DROPOUT, RECURRENT_DROPOUT, RECURRENT_GAIN = 0.05, 0.2, 0.2


def fit(x, y, verbose):
    """(model, history) of a network trained on x [N, 100, 10] and y [N, 1]."""
    lstmc.set_random_seed(SEED)
    model = Sequential(
        [
            LSTM(
                train.HIDDEN,
                activation="relu",
                dropout=DROPOUT,
                recurrent_dropout=RECURRENT_DROPOUT,
                recurrent_initializer=Orthogonal(RECURRENT_GAIN),
                input_shape=x.shape[1:],
                name="lstm",
            ),
            Dense(1, name="dense"),
        ]
    )
    steps = EPOCHS * -(-len(x) // BATCH)
    model.compile(
        optimizer=AdamW(
            CosineDecay(LEARNING_RATE, steps), weight_decay=WEIGHT_DECAY, clipnorm=CLIP_NORM
        ),
        loss="mse",
    )
    return model, model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=verbose)


def taught(dates, raw, until, verbose):
    """Train on the days before `until`: (model, history, dates, forecast, truth, today) of the
    days from then on, degrees C."""
    target, x, y, _, _, scale = train.examples(dates, raw, until)
    known = target < np.datetime64(until)
    start = time.perf_counter()
    model, history = fit(x[known], y[known], verbose)
    print(f"trained on {known.sum()} windows in {time.perf_counter() - start:.1f} s")
    today, truth = raw[weather.STEPS : -1, 0][~known], raw[weather.STEPS + 1 :, 0][~known]
    forecast = today + scale * model.predict(x[~known])[:, 0].astype(np.float64)
    return model, history, target[~known], forecast, truth, today


def draw(path, history, dates, forecast, truth):
    """Loss by epoch, and the last 120 days' forecast beside the truth, to a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    loss, days = figure.subplots(2, 1)
    loss.plot(range(1, len(history.history["loss"]) + 1), history.history["loss"], marker=".")
    loss.set(title="Training", xlabel="epoch", ylabel="mean squared error")
    days.plot(dates[-120:], truth[-120:], color="#6b6f78", label="truth")
    days.plot(dates[-120:], forecast[-120:], color="#c4503a", label="forecast")
    days.set(title="Tomorrow's maximum temperature in Seattle, 2015", ylabel="degrees C")
    days.legend(frameon=False)
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--csv", type=Path, help="seattle-weather.csv (default: vega_datasets')")
    parser.add_argument("--out", type=Path, default=Path(), help="folder to write to")
    parser.add_argument("--validate", action="store_true", help="only score 2014")
    parser.add_argument("--quiet", action="store_true", help="do not print every epoch")
    args = parser.parse_args()
    dates, raw = train.read_csv(args.csv or train.find_csv())
    verbose = 0 if args.quiet else 2

    if args.validate:  # nothing of 2015 is in reach
        past = dates < np.datetime64("2015-01-01")
        _, _, _, forecast, truth, today = taught(dates[past], raw[past], "2014-01-01", verbose)
        train.report("2014 (validation)", {"lstmc": forecast}, today, truth)
        return 0

    model, history, days, forecast, truth, today = taught(dates, raw, "2015-01-01", verbose)
    data = weather.load()
    original = data.forecast(data.recorded["keras"])
    train.report("2015", {"lstmc": forecast, "the Keras original": original}, today, truth)

    args.out.mkdir(parents=True, exist_ok=True)
    model.save(args.out / "forecaster.lstmc")
    model.save_onnx(args.out / "forecaster.onnx")
    try:
        draw(args.out / "taught.png", history, days, forecast, truth)
    except ImportError:
        print("no matplotlib here: no picture", file=sys.stderr)
    print(f"\nweights {lstmc.digest(np.concatenate([w.ravel() for w in model.get_weights()])):08x}")
    ours, theirs = weather.scores(forecast, truth), weather.scores(original, truth)
    worse = [name for name in ours if ours[name] > theirs[name]]
    for name in worse:
        print(f"teach: {name} is larger than the Keras original's", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
