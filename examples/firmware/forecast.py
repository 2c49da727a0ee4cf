#!/usr/bin/env python3
"""What the computer has to do for the forecasting firmware.

    python forecast.py embed COUNT days.h           # the weather example's last days, for main.c
    python forecast.py compare COUNT MODEL SAID     # the firmware's forecasts with this computer's

Exit status 1 if one bit differs.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "weather"))
import weather


def array(declaration: str, rows: list[str]) -> str:
    return f"static const {declaration} = {{\n" + "".join(f"    {r},\n" for r in rows) + "};\n"


def numbers(values: np.ndarray) -> list[str]:
    """Constants of C that are exactly these float32."""
    return [f"{float(v).hex()}f" for v in values]


def windows(count: str) -> np.ndarray:
    """float32 [count, STEPS, 10], for the last days."""
    found = weather.windows(weather.load().features)
    if not count.isascii() or not count.isdigit() or not 1 <= int(count) <= len(found):
        sys.exit(f"forecast: {count} forecasts? It can be 1 to {len(found)}")
    return found[-int(count) :]


def embed(number: str, path: Path) -> None:
    """The windows of the last days overlap: days.h has each day once."""
    data, days = weather.load(), windows(number)
    count = len(days)
    rows = np.concatenate([days[0], days[1:, -1]])  # [STEPS + count - 1, 10]
    today, truth = data.persistence[-count:], data.truth[-count:]
    dates = data.target_dates[-count:]
    path.write_text(
        "/* Written by forecast.py: days in Seattle, and what the forecaster gets of them. */\n"
        f"#define FORECASTS {count}\n#define WINDOW {weather.STEPS}\n"
        f"#define DEGREES {float(np.float32(data.scale)).hex()}f /* an output of 1 */\n"
        + array(
            f"float features[{len(rows)}][{rows.shape[1]}]",
            ["{" + ", ".join(numbers(row)) + "}" for row in rows],
        )
        + array(f"float today[{count}]", numbers(today.astype(np.float32)))
        + array(f"float truth[{count}]", numbers(truth.astype(np.float32)))
        + array(f"char *const dates[{count}]", [f'"{d}"' for d in dates])
    )


def compare(number: str, model_path: Path, said: Path) -> None:
    import lstmc

    text = said.read_text()
    model = lstmc.load(model_path)
    y = model.predict(windows(number))
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
    command, *given = sys.argv[1:] or [""]
    if command == "embed" and len(given) == 2:
        embed(given[0], Path(given[1]))
    elif command == "compare" and len(given) == 3:
        compare(given[0], Path(given[1]), Path(given[2]))
    else:
        sys.exit(__doc__)
