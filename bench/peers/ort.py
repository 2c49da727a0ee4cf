"""ONNX Runtime: run() on a dict of arrays, and an I/O binding to arrays that stay where they are.

A step's states are outputs fed back. Bound, two bindings take turns: each reads the states that the
other wrote, so nothing is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from . import Form, onnx_file

if TYPE_CHECKING:
    from workloads import Case

    from lstmc import graph as g


class OnnxRuntime:
    name = "ONNX Runtime"
    package = "onnxruntime"

    def forms(
        self, case: Case, layers: list[g.Layer], x: np.ndarray, threads: int
    ) -> Sequence[Form]:
        import onnxruntime as ort

        if not onnx_file.expressible(case):
            return []
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        session = ort.InferenceSession(
            onnx_file.serialized(case, layers), options, ["CPUExecutionProvider"]
        )
        x = onnx_file.as_theirs(case, x)

        def read(y: np.ndarray) -> np.ndarray:
            return onnx_file.as_ours(case, y)

        make = _step_calls if case.step else _calls
        return [Form(name, call, read) for name, call in make(case, session, x).items()]


def _calls(case: Case, session: Any, x: np.ndarray) -> dict[str, Any]:
    names, feed = ["y"], {"x": x}
    y = np.empty(onnx_file.output_shape(case), np.float32)
    binding = held_binding(session, feed, {"y": y})

    def bound() -> np.ndarray:
        session.run_with_iobinding(binding)
        return y

    return {"run": lambda: session.run(names, feed)[0], "binding": bound}


def _step_calls(case: Case, session: Any, x: np.ndarray) -> dict[str, Any]:
    states = onnx_file.state_names(case)
    shape = (1, case.batch, case.hidden_size)
    feed = {"x": x} | {n: np.zeros(shape, np.float32) for n in states}
    names = ["y", *(n + "n" for n in states)]

    def run() -> np.ndarray:
        y, *after = session.run(names, feed)
        for n, a in zip(states, after, strict=True):
            feed[n] = a
        return y

    y = np.empty(onnx_file.output_shape(case), np.float32)
    sides = [{n: np.zeros(shape, np.float32) for n in states} for _ in range(2)]
    turns = cycle(
        held_binding(session, {"x": x} | a, {"y": y} | {n + "n": s for n, s in b.items()})
        for a, b in (sides, sides[::-1])
    )

    def bound() -> np.ndarray:
        session.run_with_iobinding(next(turns))
        return y

    return {"run": run, "binding": bound}


def held_binding(
    session: Any, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]
) -> Any:
    """A binding to the memory of arrays, which it keeps."""
    binding = session.io_binding()
    for bind, arrays in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
        for name, a in arrays.items():
            bind(name, "cpu", 0, a.dtype.type, a.shape, a.ctypes.data)
    binding.held = inputs, outputs  # the binding itself keeps no reference
    return binding
