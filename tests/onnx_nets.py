"""ONNX models for tests: a builder, the models' own outputs, and the comparison with lstmc's."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_out
import pytest
from lstmc.converters import from_onnx

from lstmc import format, graph, model, reference

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

#: Whether the C core has all layers, and must give the oracle's results too.
STRICT = True
NEWEST = onnx.defs.onnx_opset_version()
OPSETS = sorted({7, 11, 13, 14, 21, NEWEST})
FLOAT = TensorProto.FLOAT


class Net:
    """Nodes and initializers of a model in the making, in the spelling of its opset."""

    def __init__(self, opset: int = 21, seed: int = 0) -> None:
        self.opset = opset
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.initializers: dict[str, np.ndarray] = {}
        self.inputs: list[Any] = []
        self.outputs: list[str] = []
        self.count = 0

    def fresh(self, hint: str) -> str:
        self.count += 1
        return f"{hint}_{self.count}"

    def const(self, array: Any, hint: str = "const") -> str:
        name = self.fresh(hint)
        self.initializers[name] = np.asarray(array)
        return name

    def weight(self, *shape: int, hint: str = "w") -> str:
        array = self.rng.normal(0, 0.6, shape) if shape else self.rng.normal()
        return self.const(np.asarray(array, np.float32), hint)

    def input(self, name: str, *shape: int | str | None, dtype: int = FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def node(self, op: str, *inputs: str, outputs: int = 1, **attrs: Any) -> Any:
        names = [self.fresh(op.lower()) for _ in range(outputs)]
        self.nodes.append(
            helper.make_node(op, list(inputs), names, name=self.fresh("node"), **attrs)
        )
        return names[0] if outputs == 1 else names

    def axes_op(self, op: str, x: str, axes: list[int]) -> str:
        """Squeeze or Unsqueeze."""
        if self.opset < 13:
            return self.node(op, x, axes=axes)
        return self.node(op, x, self.const(np.array(axes)))

    def slice(self, x: str, start: int, stop: int, axis: int) -> str:
        if self.opset < 10:
            return self.node("Slice", x, starts=[start], ends=[stop], axes=[axis])
        return self.node("Slice", x, *(self.const(np.array([n])) for n in (start, stop, axis)))

    def lstm(
        self, x: str, features: int, hidden: int, extra: tuple[str, ...] = (), **attrs: Any
    ) -> list[str]:
        w = self.weight(1, 4 * hidden, features, hint="W")
        r = self.weight(1, 4 * hidden, hidden, hint="R")
        bias = attrs.pop("bias", True)
        b = self.weight(1, 8 * hidden, hint="B") if bias else ""
        return self.node("LSTM", x, w, r, b, *extra, outputs=3, hidden_size=hidden, **attrs)

    def output(self, name: str, *names: str) -> Net:
        self.outputs += [name, *names]
        return self

    def model(self, **options: Any) -> Any:
        g = helper.make_graph(
            self.nodes,
            "net",
            self.inputs,
            [helper.make_tensor_value_info(n, FLOAT, None) for n in self.outputs],
            [numpy_helper.from_array(a, n) for n, a in self.initializers.items()],
        )
        options.setdefault("ir_version", 8)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(
            g, opset_imports=opsets, producer_name="tests", producer_version="1", **options
        )


def onnx_run(model: Any, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options)
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


def onnx_reference(model: Any, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [o.name for o in model.graph.output]
    return dict(zip(names, ReferenceEvaluator(model).run(None, feeds), strict=True))


def close(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(got) == list(expected)
    for name, e in expected.items():
        assert got[name].shape == e.shape, name
        scale = max(1.0, float(np.abs(e).max(initial=0)))
        assert np.abs(got[name] - e).max(initial=0) <= 1e-5 * scale, name


def agree(net: Net | Any, oracle: Any = onnx_run, **feeds: np.ndarray) -> graph.Graph:
    """Convert, run in the float64 oracle, compare with the model's own outputs."""
    model = net.model() if isinstance(net, Net) else net
    g = from_onnx.convert(model)
    assert [v.name for v in g.outputs] == [o.name for o in model.graph.output]
    close(run(g, feeds), oracle(model, feeds))
    return g


def run(g: graph.Graph, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The oracle's results, or those of the core, which must be the same."""
    want = reference.run(g, feeds)
    if not STRICT:
        return want
    converted = model.Model(format.dumps(g))
    got = converted.predict(feeds)
    onnx_out.also(g, feeds, got)
    named = got if isinstance(got, dict) else {g.outputs[0].name: got}
    close(named, want)
    return named


def data(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def kinds(g: graph.Graph) -> list[str]:
    return [type(layer).__name__ for layer in g.layers]
