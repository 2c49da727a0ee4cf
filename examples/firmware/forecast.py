#!/usr/bin/env python3
"""What the computer has to do for the forecasting firmware.

    python forecast.py embed days.h             # the last days of the weather example, for main.c
    python forecast.py compare MODEL SAID       # the firmware's forecasts with this computer's

Exit status 1 if one bit differs.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "weather"))
import weather

FORECASTS = 7


def array(declaration: str, rows: list[str]) -> str:
    return f"static const {declaration} = {{\n" + "".join(f"    {r},\n" for r in rows) + "};\n"


def numbers(values: np.ndarray) -> list[str]:
    """Constants of C that are exactly these float32."""
    return [f"{float(v).hex()}f" for v in values]


def embed(path: Path) -> None:
    """The windows of the last days overlap: days.h has each day once."""
    data = weather.load()
    days = weather.windows(data.features)[-FORECASTS:]
    rows = np.concatenate([days[0], days[1:, -1]])  # [STEPS + FORECASTS - 1, 10]
    count, size = rows.shape
    today, truth = data.persistence[-FORECASTS:], data.truth[-FORECASTS:]
    dates = data.target_dates[-FORECASTS:]
    path.write_text(
        "/* Written by forecast.py: days in Seattle, and what the forecaster gets of them. */\n"
        f"#define FORECASTS {FORECASTS}\n#define WINDOW {weather.STEPS}\n"
        f"#define DEGREES {float(np.float32(data.scale)).hex()}f /* an output of 1 */\n"
        + array(
            f"float features[{count}][{size}]",
            ["{" + ", ".join(numbers(row)) + "}" for row in rows],
        )
        + array(f"float today[{FORECASTS}]", numbers(today.astype(np.float32)))
        + array(f"float truth[{FORECASTS}]", numbers(truth.astype(np.float32)))
        + array(f"char *const dates[{FORECASTS}]", [f'"{d}"' for d in dates])
    )


def compare(model_path: Path, said: Path) -> None:
    import lstmc

    text = said.read_text()
    model = lstmc.load(model_path)
    y = model.predict(weather.windows(weather.load().features)[-FORECASTS:])
    bits = [int(b, 16) for b in re.findall(r"^\d{4}-.* ([0-9a-f]{8})$", text, re.M)]
    digest = re.search(r"^digest +([0-9a-f]{8})$", text, re.M)
    if bits != y.view(np.uint32).ravel().tolist() or not digest:
        sys.exit("forecast: NOT the bits that this computer computes")
    if int(digest[1], 16) != lstmc.digest(y):
        sys.exit(f"forecast: digest {digest[1]}, on this computer {lstmc.digest(y):08x}")
    print(
        f"the same bits on this computer ({lstmc.get_target()}): {len(bits)} forecasts, "
        f"digest {lstmc.digest(y):08x}"
    )


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "embed":
        embed(Path(sys.argv[2]))
    elif len(sys.argv) == 4 and sys.argv[1] == "compare":
        compare(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        sys.exit(__doc__)
