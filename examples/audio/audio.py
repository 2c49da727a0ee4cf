"""Sound for the examples: wav files by Python's own module, mixtures, decibels."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

RATE = 16000  # Hz, what the models here take
SPEECH = Path(__file__).resolve().parent / "speech.wav"


def read(path: str | Path) -> np.ndarray:
    """A 16 kHz, 16-bit wav file as float32 [samples] in -1 .. 1; of several channels the mean."""
    with wave.open(str(path)) as file:
        if file.getframerate() != RATE or file.getsampwidth() != 2:
            raise SystemExit(
                f"{path}: {file.getframerate()} Hz of {8 * file.getsampwidth()} bits; the model "
                f"takes {RATE} Hz of 16 bits: sox {path} -r {RATE} -b 16 -c 1 out.wav"
            )
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        channels = samples.reshape(-1, file.getnchannels()).mean(axis=1)
    return (channels / 32768).astype(np.float32)


def write(path: str | Path, samples: np.ndarray) -> None:
    """float32 [samples] in -1 .. 1, clipped there, as a 16 kHz, 16-bit mono wav file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())


def pink_noise(count: int, seed: int = 0) -> np.ndarray:
    """float32 [count], power falling by 3 dB an octave from 20 Hz on, as a fan or a street has."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    spectrum /= np.sqrt(np.maximum(np.fft.rfftfreq(count, 1 / RATE), 20))
    return np.fft.irfft(spectrum, count).astype(np.float32)


def noisy(clean: np.ndarray, decibels: float, seed: int = 0) -> np.ndarray:
    """Speech with pink noise, so loud that their ratio is ``decibels``."""
    noise = pink_noise(len(clean), seed)
    gain = np.sqrt(np.sum(clean**2) / np.sum(noise**2) / 10 ** (decibels / 10))
    return clean + np.float32(gain) * noise


def snr(clean: np.ndarray, heard: np.ndarray) -> float:
    """Signal to noise in dB: all that differs from the clean speech is noise."""
    wrong = heard.astype(np.float64) - clean
    return float(10 * np.log10(np.sum(clean.astype(np.float64) ** 2) / np.sum(wrong**2)))
