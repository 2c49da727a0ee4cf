#!/usr/bin/env python3
"""What `make demo` shows: three trained files in, one forecast out, the same bits every way.

Converts forecaster.keras, .pt and .onnx (without Keras or PyTorch), checks each against what its
framework computed, shows forecast against truth, speed, and the output's digest on every SIMD
target, batch size and as a stream. Exit status 1 if anything is not as promised.
"""

import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402
import weather  # noqa: E402

import lstmc  # noqa: E402

LIMIT = 2e-6  # absolute, between lstmc and a framework
FILES = {"keras": "forecaster.keras", "torch": "forecaster.pt", "onnx": "forecaster.onnx"}
RUNS_IN = {"keras": "keras", "torch": "torch", "onnx": "onnxruntime"}
HEAVY = ("torch", "keras", "tensorflow", "onnxruntime", "jax", "pandas", "matplotlib")
CHART_DAYS, CHART_ROWS = 60, 12
DAYS = 14

UNICODE = "utf" in (sys.stdout.encoding or "").lower()
DEGREES, BAR, DASH, TRUTH, FORECAST, BOTH = (
    ("°C", "│", "─", "·", "●", "◉") if UNICODE else ("C", "|", "-", ".", "o", "@")
)
problems = []


def title(text):
    print(f"\n{text} {DASH * max(0, 76 - len(text))}")


def check(ok, problem):
    """'ok' or 'WRONG'; what is wrong decides the exit status."""
    if not ok:
        problems.append(problem)
    return "ok" if ok else "WRONG"


# ------------------------------------------------------------------------------------- the parts


def convert_all(x, data):
    """Convert the three files and compare each with its framework's recorded outputs."""
    title("Convert, and compare with what each framework computed on all of 2015")
    models = {}
    for name, file in FILES.items():
        start = time.perf_counter()
        model = lstmc.convert(HERE / file)
        milliseconds = 1e3 * (time.perf_counter() - start)
        y = model.predict(x)
        largest = float(np.abs(y.astype(np.float64) - data.recorded[name]).max())
        verdict = check(largest <= LIMIT, f"{file} is {largest:.2g} from its framework")
        framework = f"{RUNS_IN[name]} {data.versions[RUNS_IN[name]]}"
        print(
            f"  {file:17}{milliseconds:6.0f} ms   {framework:20}"
            f"differs by {largest:.1e} {verdict}   digest {lstmc.digest(y):08x}"
        )
        models[name] = model
    first = models["keras"]
    layers = " + ".join(type(layer).__name__ for layer in first.graph.layers)
    print(f"  {layers}, {first.nbytes:,} bytes as .lstmc; a difference above {LIMIT:g} would fail")
    return models


def show_forecast(data, forecast):
    title(f"Tomorrow's maximum temperature in Seattle: the last {DAYS} days of 2015, {DEGREES}")
    print("  day          truth  forecast   error   today's    error")
    for i in range(-DAYS, 0):
        truth, ours, today = data.truth[i], forecast[i], data.persistence[i]
        print(
            f"  {data.target_dates[i]}  {truth:6.1f}  {ours:8.1f}  {ours - truth:+6.1f}"
            f"  {today:8.1f}  {today - truth:+7.1f}"
        )
    chart(data, forecast)
    ours, theirs = (weather.scores(f, data.truth) for f in (forecast, data.persistence))
    gain = weather.improvement(forecast, data.persistence, data.truth)
    title("All of 2015, which no setting or weight was chosen on")
    for name in ("mae", "rmse"):
        beaten = check(gain[name] > 0, f"{name} does not beat persistence")
        print(
            f"  {name.upper():4}  lstmc {ours[name]:.3f} {DEGREES}   tomorrow = today "
            f"{theirs[name]:.3f} {DEGREES}   {gain[name]:.1f} % smaller  {beaten}"
        )


def chart(data, forecast):
    """Truth and forecast, a column a day."""
    truth, ours = data.truth[-CHART_DAYS:], forecast[-CHART_DAYS:]
    low, high = np.floor(min(truth.min(), ours.min())), np.ceil(max(truth.max(), ours.max()))

    def row(value):
        return round(float((high - value) / (high - low)) * (CHART_ROWS - 1))

    grid = [[" "] * CHART_DAYS for _ in range(CHART_ROWS)]
    for day, (a, b) in enumerate(zip(truth, ours, strict=True)):
        grid[row(a)][day] = TRUTH
        grid[row(b)][day] = BOTH if row(a) == row(b) else FORECAST
    print(f"\n  the last {CHART_DAYS} days: {FORECAST} forecast  {TRUTH} truth  {BOTH} both")
    for i, line in enumerate(grid):
        print(f"  {high - (high - low) * i / (CHART_ROWS - 1):5.1f} {BAR}{''.join(line).rstrip()}")
    first, last = (str(data.target_dates[i]) for i in (-CHART_DAYS, -1))
    print(f"        {first}{last.rjust(CHART_DAYS - len(first))}")


def seconds(call, budget=0.25):
    """Of one call: the least of several means, so that other programs count little."""
    start = time.perf_counter()
    call()
    repeats = max(1, int(budget / 10 / max(time.perf_counter() - start, 1e-7)))
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        best = min(best, (time.perf_counter() - start) / repeats)
    return best


def show_speed(model, x):
    title(f"Speed on {lstmc.get_target()}, one thread, called from Python")
    one, batch, row = x[:1], np.ascontiguousarray(x[:64]), np.ascontiguousarray(x[0, :1])
    stream = model.stream()
    out = np.empty((1, 1), np.float32)
    forecast = seconds(lambda: model.predict(one))
    step = seconds(lambda: stream.step(row, out))
    many = seconds(lambda: model.predict(batch))
    print(f"  a forecast from 100 days  {1e6 * forecast:9.1f} us")
    print(f"  a day more in a stream    {1e6 * step:9.2f} us")
    print(f"  in batches of 64          {64 / many:9,.0f} forecasts a second")


def show_digests(model, stream_model, x):
    """Every way to compute the year must give the same bits."""
    title("The year's output, computed every way: equal digests are equal bits")
    columns = ("batch 365", "batch 7", "batch 1", "stream", "days 31+69")
    print(f"  {'target':8}" + "".join(f"{c:>12}" for c in columns))
    chosen, digests = lstmc.get_target(), set()
    for target in lstmc.targets():
        lstmc.set_target(target)
        ways = [batched(model, x, n) for n in (365, 7, 1)]
        ways += [streamed(stream_model, x, cut) for cut in (range(1, 100), (31,))]
        found = [lstmc.digest(y) for y in ways]
        digests.update(found)
        print(f"  {target:8}" + "".join(f"    {d:08x}" for d in found))
    lstmc.set_target(chosen)
    verdict = check(len(digests) == 1, "digests differ")
    print(f"  {verdict}: {'all equal' if verdict == 'ok' else f'{len(digests)} different ones'}")


def batched(model, x, rows):
    return np.concatenate([model.predict(x[i : i + rows]) for i in range(0, len(x), rows)])


def streamed(model, x, cuts):
    """All windows as one stream each, fed in chunks."""
    stream = model.stream(batch=len(x))
    for chunk in np.split(x, list(cuts), axis=1):
        y = stream.run(chunk)
    return y


def main():
    start = time.perf_counter()
    print(f"lstmc {lstmc.__version__}, numpy {np.__version__}, targets {' '.join(lstmc.targets())}")
    data = weather.load()
    x = weather.windows(data.features)
    models = convert_all(x, data)
    model = models["keras"]
    show_forecast(data, data.forecast(model.predict(x)))
    show_speed(model, x)
    show_digests(model, models["onnx"], x)
    loaded = [name for name in HEAVY if name in sys.modules]
    verdict = check(not loaded, f"imported: {', '.join(loaded)}")
    print(f"\n  {verdict}: none of {', '.join(HEAVY[:4])} was imported")
    for problem in problems:
        print(f"demo: WRONG: {problem}", file=sys.stderr)
    print(f"  done in {time.perf_counter() - start:.1f} s")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
