#!/usr/bin/env python3
"""What the computer has to do for the firmware that hears.

    python hear.py model                                # where silero_vad.onnx is
    python hear.py embed WAV SECONDS samples.h          # the beginning of a wav file, for main.c
    python hear.py compare MODEL WAV SECONDS SAID       # the same bits here?

Exit status 1 if one bit differs.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np

EXAMPLES = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(EXAMPLES / "vad"), str(EXAMPLES / "audio")]


def beginning(wav: str, seconds: str) -> np.ndarray:
    """float32 [samples], at least one frame."""
    import audio
    import vad

    samples = audio.read(wav)
    try:
        count = round(float(seconds) * audio.RATE)
    except (ValueError, OverflowError):
        count = 0
    if min(count, len(samples)) < vad.FRAME:
        sys.exit(f"hear: {seconds} s of {wav} are not one frame of {vad.FRAME} samples")
    return samples[:count]


def model() -> None:
    import vad

    print(vad.find_model())


def embed(wav: str, seconds: str, path: str) -> None:
    """16-bit samples again: of a file with one channel those that it has."""
    samples = np.rint(beginning(wav, seconds) * 32768).astype(int)
    rows = (samples[i : i + 16] for i in range(0, len(samples), 16))
    lines = "".join("    " + ", ".join(map(str, row)) + ",\n" for row in rows)
    Path(path).write_text(
        "/* Written by hear.py. */\n#include <stdint.h>\n\n"
        f"static const int16_t samples[{len(samples)}] = {{\n{lines}}};\n"
    )


def compare(model_path: str, wav: str, seconds: str, said: str) -> None:
    import vad

    import lstmc

    text = Path(said).read_text()
    found = [int(b, 16) for b in re.findall(r"^bits ([0-9a-f]{8})$", text, re.M)]
    y = vad.by_lstmc(lstmc.load(model_path), vad.frames_of(beginning(wav, seconds)))
    here = y.view(np.uint32).tolist()
    if found != here:
        wrong = sum(a != b for a, b in zip(found, here, strict=False)) + abs(len(found) - len(here))
        sys.exit(f"hear: {wrong} of {len(here)} probabilities are NOT those of this computer")
    digest = re.search(r"^digest +([0-9a-f]{8})$", text, re.M)
    if not digest or int(digest[1], 16) != lstmc.digest(y):
        sys.exit(f"hear: the digest is not {lstmc.digest(y):08x}, as on this computer")
    print(
        f"the same bits on this computer ({lstmc.get_target()}): {len(here)} probabilities, "
        f"digest {lstmc.digest(y):08x}"
    )


COMMANDS = {"model": (model, 0), "embed": (embed, 3), "compare": (compare, 4)}

if __name__ == "__main__":
    command, count = COMMANDS.get(sys.argv[1] if len(sys.argv) > 1 else "", (None, 0))
    if command is None or len(sys.argv) != 2 + count:
        sys.exit(__doc__)
    command(*sys.argv[2:])
