#!/usr/bin/env python3
"""Speech out of noise with DTLN (Westhausen and Meyer, Interspeech 2020), step by step.

    python denoise.py --models DTLN/pretrained_model [--input noisy.wav] [-o clean.wav]

DTLN's two networks work on blocks of 512 samples, 128 samples apart: the first gives a mask for the
block's magnitude spectrum, the second one for features of the block itself. Without --input, ten
seconds of speech with pink noise 5 dB below are made here, so that the signal to noise ratio can be
told before and after.

DIR is the folder pretrained_model of https://github.com/breizhn/DTLN (model_1.onnx, model_2.onnx).
Both take their LSTMs' states as an input and give them as an output; bound, the models keep them.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "audio"))

import audio
import numpy as np

import lstmc

BLOCK, SHIFT = 512, 128
DELAY = BLOCK - SHIFT  # a sample has gone through all its blocks then
MODELS = {
    "model_1.onnx": "input_2=tf_op_layer_stack_2:input_3",
    "model_2.onnx": "input_4=tf_op_layer_stack_5:input_5",
}


class Denoiser:
    """Both networks, going on from block to block."""

    def __init__(self, folder: Path) -> None:
        models = [lstmc.convert(folder / name, state=state) for name, state in MODELS.items()]
        self.mask, self.separate = (m.stream() for m in models)
        self.heard = np.zeros(BLOCK, np.float32)
        self.made = np.zeros(BLOCK, np.float32)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """The next 128 samples in, 128 cleaned ones out, those from 384 samples before."""
        self.heard = np.concatenate([self.heard[SHIFT:], samples])
        spectrum = np.fft.rfft(self.heard)
        magnitude = np.abs(spectrum).astype(np.float32)
        mask = self.mask.step(magnitude[None])[0]
        estimate = np.fft.irfft(spectrum * mask).astype(np.float32)
        self.made = np.concatenate([self.made[SHIFT:], np.zeros(SHIFT, np.float32)])
        self.made += self.separate.step(estimate[None])[0]
        return self.made[:SHIFT].copy()


def clean(denoiser: Denoiser, samples: np.ndarray) -> np.ndarray:
    """All of a recording, its delay taken back."""
    padded = np.concatenate([samples, np.zeros(DELAY + -len(samples) % SHIFT, np.float32)])
    blocks = [denoiser(block) for block in padded.reshape(-1, SHIFT)]
    return np.concatenate(blocks)[DELAY:][: len(samples)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True, metavar="DIR", help="DTLN's models")
    parser.add_argument("--input", type=Path, metavar="WAV", help="noisy speech, 16 kHz, 16 bits")
    parser.add_argument("-o", "--output", type=Path, default=Path("clean.wav"), metavar="WAV")
    args = parser.parse_args()
    for name in MODELS:
        if not (args.models / name).is_file():
            parser.error(f"there is no {name} in '{args.models}'")

    speech = None
    if args.input:
        heard = audio.read(args.input)
    else:
        speech = audio.read(audio.SPEECH)
        heard = audio.noisy(speech, decibels=5)
        audio.write(args.output.with_name("noisy.wav"), heard)
    denoiser = Denoiser(args.models)
    start = time.perf_counter()
    result = clean(denoiser, heard)
    seconds = time.perf_counter() - start
    audio.write(args.output, result)

    duration = len(heard) / audio.RATE
    if speech is not None:
        before, after = audio.snr(speech, heard), audio.snr(speech, result)
        print(f"signal to noise   {before:.1f} dB before, {after:.1f} dB after")
    block, taken = 1e6 * SHIFT / audio.RATE, 1e6 * seconds * SHIFT / len(heard)
    print(
        f"speed             {duration / seconds:.0f} times real time: {taken:.0f} of {block:.0f} us"
    )
    print(f"written           {args.output}")


if __name__ == "__main__":
    main()
