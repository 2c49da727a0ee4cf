#!/usr/bin/env python3
"""Where somebody speaks: silero-vad over a wav file, frame by frame, beside ONNX Runtime.

    pip install --no-deps silero-vad        # its models; the package's own code is not used
    python vad.py [--input speech.wav] [-o vad.png]

The model takes 512 samples and the 64 before them, 32 ms at 16 kHz, and gives the probability
that they hold speech. Its ONNX file has a rate among its inputs, which decides what half of the
network runs, and the state of its LSTM, which the caller must hand on: here the rate is set and the
state bound when the file is converted: a step takes a frame and gives a probability.

The picture needs matplotlib, the comparison onnxruntime; without them the rest works.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "audio"))

import audio
import numpy as np

import lstmc

FRAME, BEFORE = 512, 64
THRESHOLD = 0.5
ROUNDS = 5  # of timing, the two in turn; the fastest counts


def find_model() -> Path:
    """silero_vad.onnx of the package silero-vad, which is not imported: it would want torch."""
    package = importlib.util.find_spec("silero_vad")
    if package is None or package.origin is None:
        raise SystemExit("vad: the model comes with: pip install --no-deps silero-vad")
    return Path(package.origin).parent / "data" / "silero_vad.onnx"


def frames_of(samples: np.ndarray) -> np.ndarray:
    """float32 [frames, 64 + 512]: each frame behind the last samples of the one before."""
    padded = np.concatenate([np.zeros(BEFORE, np.float32), samples])
    starts = np.arange(0, len(samples) - FRAME + 1, FRAME)
    return np.stack([padded[i : i + BEFORE + FRAME] for i in starts])


def by_lstmc(model: lstmc.Model, frames: np.ndarray) -> np.ndarray:
    stream = model.stream()
    return np.array([stream.step(frame)[0, 0] for frame in frames[:, None]])


def by_onnxruntime(session, frames: np.ndarray) -> np.ndarray:
    state, rate = np.zeros((2, 1, 128), np.float32), np.array(audio.RATE)
    found = []
    for frame in frames[:, None]:
        y, state = session.run(None, {"input": frame, "state": state, "sr": rate})
        found.append(y[0, 0])
    return np.array(found)


def onnxruntime_session(path: Path):
    """On one thread; None if it isn't installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def fastest(runs: dict, frames: np.ndarray) -> dict[str, float]:
    """The least seconds that each took, all in turn: what else the machine does hits all alike."""
    best = dict.fromkeys(runs, np.inf)
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start = time.perf_counter()
            run(frames)
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def spoken(probability: np.ndarray) -> list[tuple[float, float]]:
    """From when to when, in seconds, the probability is above the threshold."""
    on = np.concatenate([[0], probability >= THRESHOLD, [0]]).astype(int)
    edges = np.flatnonzero(np.diff(on)) * FRAME / audio.RATE
    return list(zip(edges[::2], edges[1::2], strict=True))


def draw(path: Path, samples: np.ndarray, probability: np.ndarray) -> None:
    """The sound above, the probability below, what counts as speech shaded in both."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (top, bottom) = pyplot.subplots(
        2, 1, sharex=True, figsize=(10, 4), height_ratios=[1, 1], layout="constrained"
    )
    top.plot(np.arange(len(samples)) / audio.RATE, samples, color="#33485e", linewidth=0.4)
    top.set(ylabel="sound", ylim=(-1, 1), xlim=(0, len(samples) / audio.RATE))
    times = (np.arange(len(probability)) + 1) * FRAME / audio.RATE  # when a frame is complete
    bottom.step(times, probability, where="pre", color="#b3392f", linewidth=1.4)
    bottom.axhline(THRESHOLD, color="grey", linewidth=0.8, linestyle=":")
    bottom.set(ylabel="speech probability", ylim=(0, 1.02), xlabel="seconds")
    for start, end in spoken(probability):
        for axes in (top, bottom):
            axes.axvspan(start, end, color="#e9b44c", alpha=0.25, linewidth=0)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, metavar="ONNX", help="default: that of silero-vad")
    parser.add_argument("--input", type=Path, default=audio.SPEECH, metavar="WAV")
    parser.add_argument("-o", "--output", type=Path, default=Path("vad.png"), metavar="PNG")
    args = parser.parse_args()

    path = args.model or find_model()
    samples = audio.read(args.input)
    frames = frames_of(samples)
    model = lstmc.convert(path, constants={"sr": audio.RATE}, state="input@576=stateN:state")
    probability = by_lstmc(model, frames)
    for start, end in spoken(probability):
        print(f"speech   {start:6.2f} to {end:6.2f} s")

    whole = model.predict(frames[None])[0, :, 0]
    assert np.array_equal(whole, probability)  # the same bits, step by step and all at once
    print(f"digest   {lstmc.digest(probability):08x} on {lstmc.get_target()}")

    lstmc.set_num_threads(1)
    runs = {
        "lstmc, frame by frame": lambda x: by_lstmc(model, x),
        "lstmc, all frames at once": lambda x: model.predict(x[None]),
    }
    session = onnxruntime_session(path)
    if session is not None:
        runs["ONNX Runtime"] = lambda x: by_onnxruntime(session, x)
        difference = np.abs(probability - runs["ONNX Runtime"](frames)).max()
        print(f"differs  from ONNX Runtime by {difference:.1g} at most")
    seconds = len(frames) * FRAME / audio.RATE
    for name, taken in fastest(runs, frames).items():
        a_frame = 1e6 * taken / len(frames)
        print(f"speed    {seconds / taken:6.0f} times real time, {a_frame:4.0f} us a frame: {name}")
    try:
        draw(args.output, samples, probability)
    except ImportError:
        print("picture  none: it needs matplotlib")
    else:
        print(f"picture  {args.output}")


if __name__ == "__main__":
    main()
