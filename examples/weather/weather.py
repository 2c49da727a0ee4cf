"""The weather example's data: windows, degrees Celsius, the persistence baseline, scores.

Pure numpy. train.py and the demo share it, so what the network was trained on and what the demo
feeds it come from the same few lines.

    import weather
    data = weather.load()                  # data.npz beside this file
    x = weather.windows(data.features)     # float32 [365, 100, 10], C-contiguous
    y = model.predict(x)                   # [365, 1], the change from today in units of data.scale
    forecast = data.forecast(y)            # degrees C, float64 [365], for data.target_dates
    weather.scores(forecast, data.truth)              # {"mae": .., "rmse": ..}
    weather.scores(data.persistence, data.truth)      # tomorrow = today

The network sees 100 days and says how much warmer or colder (daily maximum temperature) the next
day will be than the last of the hundred:

    forecast[t + 1] = temp_max[t] + scale * y
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

STEPS = 100  # days in a window
LIMIT = 3.0  # standardised features are clipped to [-LIMIT, LIMIT]
RAW = ("temp_max", "temp_min", "precipitation", "wind")  # degrees C, degrees C, mm, m/s
FEATURES = (
    "temp_max",
    "temp_min",
    "log1p(precipitation)",
    "wind",
    "sin(season)",
    "cos(season)",
    "temp_max - yesterday's",
    "temp_min - yesterday's",
    "temp_max - temp_min",
    "precipitation > 0",
)
DATA = Path(__file__).resolve().parent / "data.npz"


@dataclass(frozen=True)
class Data:
    """The slice of data.npz: D days, of which days STEPS + 1 and later are forecast (N of them)."""

    dates: np.ndarray  # datetime64[D] [D], consecutive
    raw: np.ndarray  # float64 [D, 4], columns as in RAW
    features: np.ndarray  # float32 [D, 10], columns as in FEATURES, standardised
    mean: np.ndarray  # float64 [10], of the training years
    std: np.ndarray  # float64 [10], of the training years
    scale: float  # degrees C for an output of 1
    recorded: dict  # "keras", "torch", "onnx" -> float32 [N, 1]: the framework's own outputs
    versions: dict  # framework -> version that recorded them

    @property
    def target_dates(self):
        """datetime64[D] [N]: the days that are forecast."""
        return self.dates[STEPS + 1 :]

    @property
    def truth(self):
        """float64 [N]: the daily maximum on the target dates, degrees C."""
        return self.raw[STEPS + 1 :, 0]

    @property
    def persistence(self):
        """float64 [N]: the forecast "tomorrow = today", degrees C."""
        return self.raw[STEPS:-1, 0]

    def forecast(self, y):
        """Network outputs [N, 1] or [N] -> float64 [N] degrees C."""
        y = np.asarray(y, np.float64).reshape(-1)
        if y.shape != self.persistence.shape:
            raise ValueError(f"{self.persistence.size} outputs expected, got {y.size}")
        return self.persistence + self.scale * y


def load(path=DATA):
    """Read data.npz; nothing in it is pickled. Returns a Data."""
    with np.load(path, allow_pickle=False) as z:
        return Data(
            dates=z["dates"],
            raw=z["raw"],
            features=z["features"],
            mean=z["mean"],
            std=z["std"],
            scale=float(z["scale"]),
            recorded={name: z[name + "_y"] for name in ("keras", "torch", "onnx")},
            versions=dict(entry.split(" ") for entry in z["versions"].tolist()),
        )


def raw_features(dates, raw):
    """Ten numbers a day, not yet standardised: float64 [D, 10], columns as in FEATURES.

    The first day has no yesterday: its two differences are 0.
    """
    high, low, rain, wind = raw.T
    day = (dates - dates.astype("datetime64[Y]")).astype(np.int64)  # 0 on 1 January
    season = 2 * np.pi * day / 365.25
    return np.stack(
        [
            high,
            low,
            np.log1p(rain),
            wind,
            np.sin(season),
            np.cos(season),
            np.diff(high, prepend=high[0]),
            np.diff(low, prepend=low[0]),
            high - low,
            (rain > 0).astype(np.float64),
        ],
        axis=1,
    )


def standardise(features, mean, std):
    """(features - mean) / std, clipped to [-LIMIT, LIMIT], as float32."""
    return np.clip((features - mean) / std, -LIMIT, LIMIT).astype(np.float32)


def windows(features):
    """Every run of STEPS days that is followed by a day to forecast: float32 [N, STEPS, F].

    Day 0 is left out (it has no yesterday), so D days give N = D - STEPS - 1 windows, and window k
    is days k + 1 .. k + STEPS, forecasting day k + STEPS + 1.
    """
    view = np.lib.stride_tricks.sliding_window_view(features[1:-1], STEPS, axis=0)  # [N, F, STEPS]
    return np.ascontiguousarray(view.transpose(0, 2, 1), dtype=np.float32)


def scores(forecast, truth):
    """Mean absolute and root mean square error, degrees C: {"mae": .., "rmse": ..}."""
    error = np.asarray(forecast, np.float64) - truth
    return {"mae": float(np.abs(error).mean()), "rmse": float(np.sqrt((error**2).mean()))}


def improvement(forecast, baseline, truth):
    """How much smaller the forecast's errors are than the baseline's, in %: {"mae", "rmse"}."""
    ours, theirs = scores(forecast, truth), scores(baseline, truth)
    return {name: 100 * (1 - ours[name] / theirs[name]) for name in ours}
