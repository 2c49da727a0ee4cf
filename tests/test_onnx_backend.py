"""ONNX's own conformance tests, driven by ONNX's own runner.

A model that lstmc refuses counts for that runner as one that doesn't concern it. So the names of
the tests that lstmc runs, and passes, are kept in data/onnx_node_tests.txt: none can vanish unseen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import DATA

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402
from onnx.backend.test import BackendTest  # noqa: E402
from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt  # noqa: E402
from onnx_nets import Net, data  # noqa: E402

from lstmc import Model, onnx_backend  # noqa: E402

PASSES = (DATA / "onnx_node_tests.txt").read_text().split()
KINDS = ("test_lstm", "test_gru", "test_rnn", "test_simple_rnn")
RECURRENT = [n for n in PASSES if n.startswith(KINDS)]


class Noting(onnx_backend.Backend):
    """The backend, which notes what has come to its end."""

    finished = 0

    @classmethod
    def prepare(cls, *args: Any, **options: Any) -> Any:
        prepared = super().prepare(*args, **options)
        run = prepared.run

        def noting(inputs: Any, **more: Any) -> Any:
            found = run(inputs, **more)
            cls.finished += 1
            return found

        prepared.run = noting
        return prepared


@pytest.fixture(scope="module")
def tests() -> dict[str, Any]:
    """ONNX's tests of operators, by name; those that only CUDA would run left out."""
    case = BackendTest(Noting, __name__).test_cases["OnnxBackendNodeModelTest"]
    return {n.removesuffix("_cpu"): f for n, f in vars(case).items() if n.endswith("_cpu")}


def finishes(test: Any) -> bool:
    """Whether a test passes; False if the backend refuses it, and an exception if it fails."""
    before = Noting.finished
    test(None)  # returns where the backend has refused
    return Noting.finished > before


@pytest.mark.filterwarnings("ignore")
def test_exactly_these_pass(tests: dict[str, Any]) -> None:
    """No other test fails: it is refused."""
    assert sorted(name for name, test in tests.items() if finishes(test)) == PASSES
    assert len(PASSES) == 404


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_operators(name: str, tests: dict[str, Any]) -> None:
    assert finishes(tests[name])


def test_all_18_are_there() -> None:
    assert len(RECURRENT) == 18
    assert sum("batchwise" in n for n in RECURRENT) == 3


def result(run: Any, *args: Any, **options: Any) -> Any:
    """What a call gives; a refusal, which pytest would take for a test to skip, fails."""
    try:
        return run(*args, **options)
    except BackendIsNotSupposedToImplementIt as e:
        raise AssertionError(str(e)) from e


# ------------------------------------------------------------------------------ the backend itself


def two_inputs() -> tuple[Any, np.ndarray, np.ndarray]:
    net = Net()
    net.output(net.node("MatMul", net.input("x", "N", 3), net.input("w", 3, 2)))
    return net.model(), data(4, 3), data(3, 2, seed=2)


def test_a_conversion_is_kept_while_the_weights_stay() -> None:
    model, x, w = two_inputs()
    prepared = onnx_backend.prepare(model)
    np.testing.assert_allclose(result(prepared.run, [x, w])[0], x @ w, rtol=1e-5)
    first = prepared.model
    assert isinstance(first, Model)
    assert list(first.inputs) == ["x"]
    named = result(prepared.run, {"x": x[:2], "w": w})
    np.testing.assert_allclose(named["matmul_1"], x[:2] @ w, rtol=1e-5)
    assert prepared.model is first
    np.testing.assert_allclose(result(prepared.run, [x, 2 * w])[0], 2 * x @ w, rtol=1e-5)
    assert prepared.model is not first


def test_the_weights_may_come_first() -> None:
    net = Net()
    names = [net.input("w", 1, 16, 3), net.input("r", 1, 16, 4)]
    net.output(net.node("LSTM", net.input("x", "T", "N", 3), *names, hidden_size=4))
    prepared = onnx_backend.prepare(net.model())
    w, r, x = data(1, 16, 3), data(1, 16, 4), data(5, 2, 3)
    (y,) = result(prepared.run, [w, r, x])
    assert list(prepared.model.inputs) == ["x"]
    assert y.shape == (5, 1, 2, 4)


def test_run_node_and_one_array() -> None:
    x = data(4, 3)
    (y,) = result(onnx_backend.run_node, helper.make_node("Relu", ["x"], ["y"]), [x])
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    node = helper.make_node("Softmax", ["x"], ["y"])
    (y,) = result(onnx_backend.run_node, node, [data(2, 3, 4)], opset_version=11)
    np.testing.assert_allclose(y.sum(axis=(1, 2)), 1, rtol=1e-6)
    net = Net()
    net.output(net.node("Tanh", net.input("x", "N", 3)))
    (y,) = result(onnx_backend.prepare(net.model()).run, x)
    np.testing.assert_allclose(y, np.tanh(x), rtol=1e-6)


def test_what_is_refused() -> None:
    net = Net()
    net.output(net.node("Sin", net.input("x", "N", 3)))
    model = net.model()
    assert not onnx_backend.is_compatible(model)
    with pytest.raises(BackendIsNotSupposedToImplementIt, match="operator Sin is not supported"):
        onnx_backend.prepare(model)
    model, x, w = two_inputs()
    assert onnx_backend.is_compatible(model)
    assert not onnx_backend.is_compatible(model, "CUDA")
    assert not onnx_backend.supports_device("CUDA:0")
    assert onnx_backend.supports_device("CPU")
    with pytest.raises(BackendIsNotSupposedToImplementIt, match="device CUDA is not supported"):
        onnx_backend.prepare(model, "CUDA")
    prepared = onnx_backend.prepare(model)
    with pytest.raises(BackendIsNotSupposedToImplementIt, match="an input is empty"):
        prepared.run([x[:0], w])
    with pytest.raises(ValueError, match="got 1 inputs, expected"):
        prepared.run([x])
    net = Net()
    net.output(net.lstm(net.input("x", "T", "N", 3), 3, 4, clip=-1.0)[0])
    with pytest.raises(BackendIsNotSupposedToImplementIt, match="clip=-1 is not above 0"):
        onnx_backend.run_model(net.model(), [data(2, 2, 3)])
    net = Net()
    index = net.input("i", "N", dtype=TensorProto.INT64)
    net.output(net.node("Gather", net.weight(5, 2), index))
    with pytest.raises(BackendIsNotSupposedToImplementIt, match="something else than indices"):
        onnx_backend.run_model(net.model(), [np.array([-1])])


def test_is_compatible_with_functions_and_domains() -> None:
    net = Net()
    net.output(net.node("Relu", net.input("x", "N", 3), domain="mine"))
    assert not onnx_backend.is_compatible(net.model())
    model, *_ = two_inputs()
    body = [helper.make_node("Relu", ["a"], ["b"])]
    opsets = [helper.make_opsetid("", 21)]
    model.functions.append(helper.make_function("", "MatMul", ["a"], ["b"], body, opsets))
    assert not onnx_backend.is_compatible(model)
