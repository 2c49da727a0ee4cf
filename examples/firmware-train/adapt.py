#!/usr/bin/env python3
"""What the computer has to do for the forecaster that learns.

    python adapt.py embed days.h                             # the days, for main.c
    python adapt.py compare TARGET MODEL SAID [--freeze N]   # learn the same here, compare all bits

Exit status 1 if one bit differs.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "weather"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "firmware"))
import weather
from forecast import array, numbers

STEPS, BATCH, RATE = 30, 5, 0.001
TEST = 100  # days, the last ones; the others are learned from


def days() -> tuple[np.ndarray, np.ndarray, float]:
    """What the model gets, float32 [days, 10], standardised as it was trained; the change to the
    next day from each window of STEPS days on, in units of so many degrees."""
    data = weather.load()
    raw = data.raw.copy()
    raw[:, 0] = 1.3 * raw[:, 0] + 4  # the sun on the roof
    raw[:, 1] += 2
    features = weather.standardise(weather.raw_features(data.dates, raw), data.mean, data.std)
    change = (raw[weather.STEPS + 1 :, 0] - raw[weather.STEPS : -1, 0]) / data.scale
    rows = features[weather.STEPS - STEPS + 1 : -1].astype(np.float32)
    return rows, change.astype(np.float32), float(np.float32(data.scale))


def embed(path: Path) -> None:
    rows, change, scale = days()
    learn = (len(change) - TEST) // BATCH * BATCH
    first = len(change) - TEST - learn  # so that the tests come right behind
    path.write_text(
        "/* Written by adapt.py: days on a roof, and what the forecaster is to say of them. */\n"
        f"#define LEARN {learn}\n#define TEST {TEST}\n#define DEGREES {scale.hex()}f\n"
        + array(
            f"float features[{len(rows) - first}][{rows.shape[1]}]",
            ["{" + ", ".join(numbers(row)) + "}" for row in rows[first:]],
        )
        + array(f"float change[{len(change) - first}]", numbers(change[first:]))
    )


def compare(target: str, path: Path, said: Path, freeze: tuple[str, ...]) -> None:
    import lstmc
    from lstmc.export import Train, pack_weights
    from lstmc.training.engine import Engine
    from lstmc.training.specs import Loss, Optimizer

    model, text = lstmc.load(path), said.read_text()
    loss, optimizer = Loss("mse"), Optimizer("sgd", RATE)
    engine = Engine(model.graph, [loss], None, optimizer, frozen=freeze)
    rows, change, _ = days()
    learn = (len(change) - TEST) // BATCH * BATCH
    first = len(change) - TEST - learn
    windows = np.stack([rows[i : i + STEPS] for i in range(len(change))])
    tests, truth = windows[-TEST:], change[-TEST:, None]
    losses = []
    before = engine.evaluate([tests], [truth]).outputs[0]
    for i in range(first, first + learn):
        given = [windows[i : i + 1]], [change[i : i + 1, None]]
        losses.append(engine.accumulate(*given, scale=1 / BATCH).loss)
        if len(losses) % BATCH == 0:
            engine.update()
    after = engine.evaluate([tests], [truth]).outputs[0]
    train = Train(loss, optimizer, STEPS, freeze, batch=BATCH)
    want = {
        "forecasts before": lstmc.digest(before),
        "forecasts after": lstmc.digest(after),
        "losses": lstmc.digest(np.array(losses, np.float32)),
        "weights": int(pack_weights(model, target, train, engine.read())[-1]),
    }
    for name, number in want.items():
        found = re.search(rf"^{name} +([0-9a-f]{{8}})$", text, re.M)
        if not found or int(found[1], 16) != number:
            sys.exit(f"adapt: {name} are NOT those of this computer ({number:08x})")
    print(f"the same bits on this computer ({lstmc.get_target()}): {', '.join(want)}")


if __name__ == "__main__":
    command, *given = sys.argv[1:] or [""]
    if command == "embed" and len(given) == 1:
        embed(Path(given[0]))
    elif command == "compare" and len(given) in (3, 5) and given[3:4] in ([], ["--freeze"]):
        layers = tuple(given[4].split(",")) if len(given) == 5 else ()
        compare(given[0], Path(given[1]), Path(given[2]), layers)
    else:
        sys.exit(__doc__)
