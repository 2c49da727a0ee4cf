"""Speed of lstmc against ONNX Runtime, side by side: `python bench/bench.py`.

Every case runs both engines alternately, one thread each, through their Python APIs, on the same
weights and inputs; the ratio is the median of the per-pair ratios (peer / lstmc: above 1 lstmc is
faster), its spread the quartiles. Outputs are compared first, so that a ratio is between equals.
Times on a shared machine are noise; ratios of interleaved runs much less so.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import lstmc
from lstmc import graph as g
from lstmc.model import from_graph


@dataclass(frozen=True)
class Case:
    """An LSTM returning its sequence. T=1 is measured as a stream's step."""

    time: int
    batch: int
    input_size: int
    hidden_size: int
    goal: float | None = None

    @property
    def name(self) -> str:
        return f"T={self.time} B={self.batch} I={self.input_size} H={self.hidden_size}"


CASES = (
    Case(1, 1, 1, 8, 12.0),
    Case(1, 1, 1, 20, 12.0),
    Case(1, 1, 16, 32, 12.0),
    Case(1, 1, 128, 128, 3.0),
    Case(100, 1, 10, 50, 1.4),
    Case(100, 1, 128, 128, 1.05),
    Case(100, 64, 10, 50, 1.2),
)


WIDTHS = (11, 11, 8, 16, 7)


@dataclass
class Result:
    case: str
    lstmc_us: float
    peer_us: float
    ratio: float
    low: float
    high: float
    goal: float | None
    difference: float


def layer(case: Case, rng: np.random.Generator) -> g.LSTM:
    """Weights as frameworks initialise them: uniform in +-1/sqrt(H)."""
    scale = case.hidden_size**-0.5

    def uniform(*shape: int) -> np.ndarray:
        return rng.uniform(-scale, scale, shape).astype(np.float32)

    h = case.hidden_size
    return g.LSTM(
        name="lstm",
        inputs=("x",),
        outputs=("y", None, None),
        weight_ih=uniform(4 * h, case.input_size),
        weight_hh=uniform(4 * h, h),
        bias=uniform(4 * h),
    )


def onnx_session(case: Case, cell: g.LSTM) -> Callable[[np.ndarray], Callable[[], np.ndarray]]:
    """ONNX Runtime on the same LSTM; for single steps with its state as inputs and outputs."""
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    h = case.hidden_size

    def gates(w: np.ndarray) -> np.ndarray:  # ONNX's order is i o f c
        i, f, c, o = np.split(w, 4)
        return np.concatenate([i, o, f, c])[None]

    bias = np.concatenate([gates(cell.bias), np.zeros((1, 4 * h), np.float32)], axis=1)
    weights = {"W": gates(cell.weight_ih), "R": gates(cell.weight_hh), "B": bias}
    states = ["h", "c"] if case.time == 1 else ["", ""]
    node = helper.make_node(
        "LSTM", ["x", "W", "R", "B", "", *states], ["y", "hn", "cn"], hidden_size=h
    )
    f32 = TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("x", f32, [case.time, case.batch, case.input_size])]
    outputs = [helper.make_tensor_value_info("y", f32, [case.time, 1, case.batch, h])]
    if case.time == 1:
        for n in ("h", "c"):
            inputs.append(helper.make_tensor_value_info(n, f32, [1, case.batch, h]))
            outputs.append(helper.make_tensor_value_info(n + "n", f32, [1, case.batch, h]))
    graph = helper.make_graph(
        [node], "lstm", inputs, outputs,
        [numpy_helper.from_array(w, n) for n, w in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])

    def bind(x: np.ndarray) -> Callable[[], np.ndarray]:
        if case.time > 1:
            return lambda: session.run(None, {"x": x})[0]
        state = [np.zeros((1, case.batch, h), np.float32) for _ in range(2)]

        def step() -> np.ndarray:
            y, state[0], state[1] = session.run(None, {"x": x, "h": state[0], "c": state[1]})
            return y

        return step

    return bind


def timed(call: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def measure(case: Case, seconds: float) -> Result:
    rng = np.random.default_rng(1)
    cell = layer(case, rng)
    graph = g.Graph(
        [g.Value("x", (g.TIME, g.BATCH, case.input_size))],
        [g.Value("y", (g.TIME, g.BATCH, case.hidden_size))],
        [cell],
    )
    model = from_graph(graph)
    x = rng.standard_normal((case.time, case.batch, case.input_size), dtype=np.float32)
    peer = onnx_session(case, cell)(x)
    if case.time == 1:
        stream = model.stream(case.batch)
        row = np.ascontiguousarray(x[0])
        out = np.empty((case.batch, case.hidden_size), np.float32)

        def ours() -> np.ndarray:
            return stream.step(row, out)
    else:

        def ours() -> np.ndarray:
            return model.predict(x)

    difference = float(np.abs(np.squeeze(ours()) - np.squeeze(peer())).max())
    if difference > 1e-5:
        raise SystemExit(f"{case.name}: outputs differ by {difference:g}")
    once = max(timed(peer, 3), timed(ours, 3))
    repeats = max(1, int(0.01 / once))
    pairs = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(pairs) < 5:
        pairs.append((timed(peer, repeats), timed(ours, repeats)))
    ratios = sorted(p / o for p, o in pairs)
    quarter = statistics.quantiles(ratios, n=4)
    return Result(
        case.name,
        statistics.median(o for _, o in pairs) * 1e6,
        statistics.median(p for p, _ in pairs) * 1e6,
        statistics.median(ratios),
        quarter[0],
        quarter[2],
        case.goal,
        difference,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each case (default 2)")
    parser.add_argument("--target", default="auto", help="SIMD target of lstmc")
    parser.add_argument("--json", metavar="FILE", help="also write the results there")
    args = parser.parse_args()
    lstmc.set_target(args.target)
    print(f"lstmc {lstmc.__version__} on {lstmc.get_target()}, one thread, against ONNX Runtime")
    titles = ("lstmc us", "peer us", "ratio", "quartiles", "goal")
    print(f"{'case':24}" + "".join(f"{t:>{w}}" for t, w in zip(titles, WIDTHS, strict=True)))
    results = []
    for case in CASES:
        r = measure(case, args.seconds)
        results.append(r)
        goal = f"{r.goal:g}" if r.goal else ""
        print(
            f"{r.case:24}{r.lstmc_us:11.2f}{r.peer_us:11.2f}{r.ratio:8.2f}"
            f"{r.low:8.2f} -{r.high:6.2f}{goal:>7}",
            flush=True,
        )
    mean = statistics.geometric_mean(r.ratio for r in results)
    print(f"{'geometric mean':46}{mean:8.2f}")
    if args.json:
        Path(args.json).write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
