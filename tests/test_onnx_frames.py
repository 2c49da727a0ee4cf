"""ONNX models of one frame a call, all sizes fixed, with a state for each frequency; what such
models are made of: matrices at each place, ScatterND, a step of a GRU over rows."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from lstmc.converters import from_onnx
from onnx_nets import Net, agree, data, kinds
from test_onnx_windows import MODELS, golden

import lstmc
from lstmc import errors


def ints(n: Net, *values: Any) -> str:
    return n.const(np.array(values))


def test_a_matrix_at_each_place() -> None:
    """Features on two axes, the product over either; time is known, or all sizes are fixed."""
    for shape in (("N", "T", 3, 4), (2, 5, 3, 4)):
        n = Net()
        x = n.input("x", *shape)
        y = n.node("Add", n.node("MatMul", x, n.weight(4, 2)), n.weight(2))
        y = n.node("MatMul", n.weight(5, 3), n.node("Tanh", y))
        g = agree(n.output(y), x=data(2, 5, 3, 4))
        assert kinds(g).count("Conv2D") == 2
        assert "time" in g.inputs[0].axes
    n = Net()
    y = n.node("MatMul", n.input("x", "N", "T", 3, 4), n.weight(3, 2))
    with pytest.raises(errors.ConversionError, match="gets 4 features, its weights take 3"):
        from_onnx.convert(n.output(y).model())


def test_batch_norm_goes_into_a_convolution() -> None:
    n = Net()
    y = n.node("Conv", n.input("x", "N", 2, "T", 6), n.weight(3, 2, 2, 3), n.weight(3))
    scale = (n.weight(3) for _ in range(3))
    y = n.node("BatchNormalization", y, *scale, n.const(np.float32([0.5, 1, 2])))
    y = n.node("Relu", y)
    depthwise = n.node("Conv", y, n.weight(3, 1, 1, 2), group=3)
    y = n.node("Sigmoid", n.node("Mul", depthwise, n.weight(3, 1, 1)))
    g = agree(n.output(y), x=data(2, 2, 5, 6))
    assert [k for k in kinds(g) if k != "Select"] == ["Conv2D", "DepthwiseConv2D"]


def test_a_scale_for_each_position_does_not() -> None:
    n = Net()
    y = n.node("Conv", n.input("x", "N", 2, "T", 6), n.weight(3, 2, 2, 3), n.weight(3))
    y = n.node("Mul", y, n.weight(3, 1, 4))
    assert "Affine" in kinds(agree(n.output(y), x=data(2, 2, 5, 6)))


@pytest.mark.parametrize(
    ("index", "updates"),
    [
        ([[1]], (1, 3, 2)), ([[0], [-1]], (2, 3, 2)), ([[0, 1], [1, 2], [0, 0]], (3, 2)),
        ([[[0, 2, 1]], [[1, 0, 0]]], (2, 1)),
    ],
)  # fmt: skip
def test_scatter(index: list[Any], updates: tuple[int, ...]) -> None:
    n = Net()
    x, u = n.input("x", 2, 3, 2), n.input("u", *updates)
    y = n.node("ScatterND", x, ints(n, *index), n.node("Tanh", u))
    agree(n.output(y), x=data(2, 3, 2), u=data(*updates, seed=2))


def test_scatter_refusals() -> None:
    for index, updates, attrs, says in (
        ([[2]], (1, 3, 2), {}, "out of range"), ([[1], [1]], (2, 3, 2), {}, "place twice"),
        ([[1]], (3, 2), {}, "writes 2 axes"), ([[1]], (1, 3, 2), {"reduction": "add"}, "=add"),
        ([[0, 0, 0, 0]], (1,), {}, "indices are int64"),
    ):  # fmt: skip
        n = Net(16)
        x, u = n.input("x", 2, 3, 2), n.input("u", *updates)
        y = n.node("ScatterND", x, ints(n, *index), u, **attrs)
        with pytest.raises(errors.ConversionError, match=says):
            from_onnx.convert(n.output(y).model())


def rows(n: Net, kind: str, **attrs: Any) -> list[str]:
    """One step of [1, 6 frequencies, 4] with a state for each."""
    gates = {"GRU": 3, "LSTM": 4}[kind]
    x = n.node("Conv", n.input("x", 1, 2, 1, 6), n.weight(4, 2, 1, 3), pads=[0, 1, 0, 1])
    x = n.node("Reshape", n.node("Transpose", x, perm=[0, 3, 2, 1]), ints(n, 6, 1, 4))
    x = n.node("Transpose", x, perm=[1, 0, 2])
    h = n.node("Tanh", n.input("h", 1, 6, 5))
    names = [n.weight(1, gates * 5, 4), n.weight(1, gates * 5, 5), n.weight(1, gates * 10)]
    return n.node(kind, x, *names, "", h, outputs=2, hidden_size=5, **attrs)


@pytest.mark.parametrize("after", [0, 1])
def test_a_step_of_many_rows(after: int) -> None:
    n = Net()
    y, last = rows(n, "GRU", linear_before_reset=after)
    y = n.axes_op("Squeeze", y, [1])
    g = agree(n.output(n.node("Relu", y), last), x=data(1, 2, 1, 6), h=data(1, 6, 5, seed=2))
    assert "GRU" not in kinds(g)
    assert all("batch" not in v.axes for v in g.inputs)


def test_a_time_of_one_step_is_time() -> None:
    """An input's own time axis, of size 1, stays; one made for the operator alone goes again."""
    n = Net()
    g = agree(n.output(n.lstm(n.input("x", 1, "N", 3), 3, 4)[0]), x=data(1, 2, 3))
    assert g.outputs[0].axes == ("time", 1, "batch", 4)
    n = Net()
    x = n.axes_op("Unsqueeze", n.input("x", "N", 3), [0])
    g = agree(n.output(n.lstm(x, 3, 4)[0]), x=data(2, 3))
    assert g.outputs[0].axes == (1, 1, "batch", 4)


def test_steps_of_many_rows_that_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By any reading; by the last one, which takes all axes as features, for what it lacks."""
    for kind, attrs, says in (
        ("LSTM", {}, "not for this LSTM"), ("GRU", {"clip": 1.0}, "a clip, lengths or no state"),
    ):  # fmt: skip
        n = Net()
        model = n.output(*rows(n, kind, **attrs)).model()
        with pytest.raises(errors.ConversionError):
            from_onnx.convert(model)
        with monkeypatch.context() as m:
            m.setattr(from_onnx, "PREFERENCES", from_onnx.PREFERENCES[-1:])
            with pytest.raises(errors.ConversionError, match=says):
                from_onnx.convert(model)


def test_gtcrn() -> None:
    """Speech enhancement: 2-D convolutions and their transposes, GRUs over frequencies in both
    directions, and over time with a state for each frequency; explicit caches."""
    folder = MODELS / "gtcrn"
    if not folder.is_dir():
        pytest.skip("the shared models are not here")
    model = lstmc.convert(folder / "gtcrn_simple.onnx")
    for inputs, want in golden(folder / "gtcrn_simple.golden.npz"):
        got = model.predict(inputs)
        assert list(got) == list(want)
        for name, y in want.items():
            assert got[name].shape == y.shape
            assert np.abs(got[name] - y).max() <= 1e-5 * np.abs(y).max(), name
