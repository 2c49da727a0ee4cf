"""OpenVINO on the same ONNX file: an infer request whose tensors are shared with numpy.

float32 is asked for: by default the plugin computes in bfloat16 where the CPU has it, and is then
wrong in the third digit. A step's states go to and fro between two requests, or stay inside the
model (ReadValue and Assign). start_async and wait take 60 us longer than infer.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from . import Form, onnx_file

if TYPE_CHECKING:
    from workloads import Case

    from lstmc import graph as g


class OpenVINO:
    name = "OpenVINO"
    package = "openvino"

    def forms(
        self, case: Case, layers: list[g.Layer], x: np.ndarray, threads: int
    ) -> Sequence[Form]:
        import openvino as ov

        if case.kind in ("projected", "peephole"):  # its ONNX reader ignores P without a word
            return []
        core = ov.Core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
        }
        raw = onnx_file.serialized(case, layers)

        def compiled(stateful: bool) -> Any:
            network = core.read_model(io.BytesIO(raw))
            if stateful:
                from openvino._offline_transformations import (
                    apply_make_stateful_transformation as keep,
                )

                keep(network, {n: n + "n" for n in onnx_file.state_names(case)})
            return core.compile_model(network, "CPU", settings)

        x = onnx_file.as_theirs(case, x)
        y = np.empty(onnx_file.output_shape(case), np.float32)

        def read(y: np.ndarray) -> np.ndarray:
            return onnx_file.as_ours(case, y)

        def request(network: Any, inputs: dict, outputs: dict) -> Any:
            made = network.create_infer_request()
            for n, a in inputs.items():
                made.set_tensor(n, ov.Tensor(a, shared_memory=True))
            for n, a in outputs.items():
                made.set_tensor(n, ov.Tensor(a, shared_memory=True))
            made.held = inputs, outputs
            return made

        def shared(requests: list[Any]) -> Any:
            turns = cycle(requests)

            def call() -> np.ndarray:
                next(turns).infer(share_inputs=True, share_outputs=True)
                return y

            return call

        if not case.step:
            return [Form("infer", shared([request(compiled(False), {"x": x}, {"y": y})]), read)]
        shape = (1, case.batch, case.hidden_size)
        states = onnx_file.state_names(case)
        sides = [{n: np.zeros(shape, np.float32) for n in states} for _ in range(2)]
        network = compiled(False)
        pair = [
            request(network, {"x": x} | a, {"y": y} | {n + "n": s for n, s in b.items()})
            for a, b in (sides, sides[::-1])
        ]
        inside = request(compiled(True), {"x": x}, {"y": y})
        return [
            Form("state in and out", shared(pair), read),
            Form("state inside", shared([inside]), read),
        ]
