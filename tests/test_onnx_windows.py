"""ONNX models that convolve and pool over time and frequency, or within a step, beside ONNX
Runtime; a real one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import LARGEST_SEED, settings
from hypothesis import given, note
from hypothesis import strategies as st

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from lstmc.converters import from_onnx
from onnx_nets import NEWEST, Net, agree, close, data, kinds, onnx_run, run

import lstmc
from lstmc import errors
from lstmc.model import from_graph

MODELS = Path(__file__).parents[1].parent / "shared" / "models"


class Image:
    """A net in the making over [batch, channels, time, frequency] or with those two swapped.

    What it has drawn is ``sizes``: of channels, and of both spatial axes.
    """

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.net = Net(
            draw(st.sampled_from([9, 13, 17, NEWEST])), draw(st.integers(0, LARGEST_SEED))
        )
        self.batch = draw(st.integers(1, 3))
        self.sizes = [draw(st.integers(1, 4)), draw(st.integers(2, 7)), draw(st.integers(2, 7))]
        self.time = draw(st.integers(0, 1))  # which of the spatial axes
        self.open = draw(st.booleans())
        said: list[Any] = [self.batch, *self.sizes]
        if self.open:
            said[0], said[2 + self.time] = "N", "T"
        self.y = self.net.input("x", *said)
        self.feeds = {"x": data(self.batch, *self.sizes, seed=draw(st.integers(0, 99)))}

    def flip(self) -> bool:
        return bool(self.draw(st.booleans()))

    def attributes(self) -> tuple[list[int], dict[str, Any]]:
        """The sizes after windows over both axes, and the windows' attributes."""
        found: dict[str, list[int]] = {"kernel_shape": [], "strides": [], "dilations": []}
        begin, end, sizes = [], [], []
        same = self.flip()
        for n in self.sizes[1:]:
            taps = self.draw(st.integers(1, min(3, n)))
            stride = self.draw(st.integers(1, taps if same else 2))
            dilation = 1 if same or (taps - 1) * 2 + 1 > n else self.draw(st.integers(1, 2))
            extent = (taps - 1) * dilation + 1
            found["kernel_shape"].append(taps)
            found["strides"].append(stride)
            found["dilations"].append(dilation)
            begin.append(self.draw(st.integers(0, taps - 1)))
            end.append(self.draw(st.integers(0, taps - 1)))
            padded = n + begin[-1] + end[-1] - extent
            sizes.append(-(-n // stride) if same else padded // stride + 1)
        if same:
            way = self.draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER"]))
            return sizes, {**found, "auto_pad": way}
        return sizes, {**found, "pads": begin + end}

    def convolution(self) -> None:
        sizes, attrs = self.attributes()
        n = self.sizes[0]
        group = self.draw(st.sampled_from([g for g in range(1, n + 1) if n % g == 0]))
        units = group * self.draw(st.integers(1, 3))
        names = [self.net.weight(units, n // group, *attrs["kernel_shape"])]
        if self.flip():
            names.append(self.net.weight(units))
        self.y = self.net.node("Conv", self.y, *names, group=group, **attrs)
        self.sizes = [units, *sizes]

    def transposed(self) -> None:
        """Of the steps as many as before, or fewer; of the others more."""
        net, n = self.net, self.sizes[0]
        attrs: dict[str, list[int]] = {k: [] for k in ("strides", "dilations", "output_padding")}
        shape, begin, end, sizes = [], [], [], []
        for i, size in enumerate(self.sizes[1:]):
            taps, dilation = self.draw(st.integers(1, 4)), self.draw(st.integers(1, 2))
            stride = 1 if i == self.time else self.draw(st.integers(1, 3))
            reach = (taps - 1) * dilation
            more = self.draw(st.integers(0, stride - 1))  # ONNX Runtime takes no more
            pads = [self.draw(st.integers(0, min(reach, 3))) for _ in range(2)]
            made = stride * (size - 1) + reach + 1 + more - sum(pads)
            if made < 1 or (i == self.time and self.open and made < size):
                return
            attrs["strides"].append(stride)
            attrs["dilations"].append(dilation)
            attrs["output_padding"].append(more)
            shape.append(taps)
            begin.append(pads[0])
            end.append(pads[1])
            sizes.append(made)
        group = self.draw(st.sampled_from([g for g in range(1, n + 1) if n % g == 0]))
        each = self.draw(st.integers(1, 3))
        names = [net.weight(n, each, *shape)]
        if self.flip():
            names.append(net.weight(group * each))
        self.y = net.node("ConvTranspose", self.y, *names, group=group, pads=begin + end, **attrs)
        self.sizes = [group * each, *sizes]

    def pool(self) -> None:
        sizes, attrs = self.attributes()
        op = self.draw(st.sampled_from(["MaxPool", "AveragePool"]))
        if op == "AveragePool":
            if max(attrs.pop("dilations")) > 1:
                return
            if "pads" in attrs and self.flip():
                attrs["count_include_pad"] = 1
        elif self.net.opset < 10 and max(attrs.pop("dilations")) > 1:
            return
        self.y = self.net.node(op, self.y, **attrs)
        self.sizes[1:] = sizes

    def swish(self) -> None:
        self.y = self.net.node("Mul", self.y, self.net.node("Sigmoid", self.y))

    def normalised(self) -> None:
        net, n = self.net, self.sizes[0]
        variance = net.const(net.rng.uniform(0.5, 2, n).astype(np.float32))
        names = [net.weight(n) for _ in range(3)]
        self.y = net.node("BatchNormalization", self.y, *names, variance)

    def prelu(self) -> None:
        self.y = self.net.node("PRelu", self.y, self.net.weight(self.sizes[0], 1, 1))

    def residual(self) -> None:
        n = self.sizes[0]
        other = self.net.node("Conv", self.y, self.net.weight(n, n, 1, 1))
        if self.flip():
            self.y = self.net.node("Add", self.y, other)
        else:
            self.y = self.net.node("Concat", self.y, other, axis=1)
            self.sizes[0] *= 2

    def scaled(self) -> None:
        """A number for each channel and place of frequency, or for each row."""
        shape = [self.sizes[0], 1, 1]
        shape[2 - self.time] = self.sizes[2 - self.time]
        self.y = self.net.node("Mul", self.y, self.net.weight(*shape))

    def gated(self) -> None:
        """Channels weighted by their means over the frequencies of a step."""
        mean = self.reduced("ReduceMean", 3 - self.time, 1)
        self.y = self.net.node("Mul", self.y, self.net.node("Sigmoid", mean))

    def reduced(self, op: str, axis: int, keep: int) -> str:
        if self.net.opset >= 18:
            axes = self.net.const(np.array([axis]))
            return self.net.node(op, self.y, axes, keepdims=keep)
        return self.net.node(op, self.y, axes=[axis], keepdims=keep)

    STEPS = (
        "convolution", "convolution", "convolution", "transposed", "transposed", "pool", "pool",
        "swish", "normalised", "prelu", "residual", "scaled", "gated",
    )  # fmt: skip

    def end(self) -> None:
        """As it is, over one axis or both, into a recurrent layer, or as one vector."""
        how = self.draw(st.sampled_from(["image", "reduced", "pooled", "recurrent", "flat"]))
        if how == "reduced":
            axis = 3 - self.time
            self.y = self.reduced(self.draw(st.sampled_from(["ReduceMax", "ReduceMean"])), axis, 0)
            if self.flip():
                self.y = self.reduced("ReduceMax", 2, 0)
        elif how == "pooled":
            op = self.draw(st.sampled_from(["GlobalMaxPool", "GlobalAveragePool"]))
            self.y = self.net.node(op, self.y)
        elif how == "flat" and not self.open:
            self.y = self.net.node("Flatten", self.y)
        elif how == "recurrent":
            perm = [2 + self.time, 0, 1, 3 - self.time]
            y = self.net.node("Transpose", self.y, perm=perm)
            n = self.sizes[0] * self.sizes[2 - self.time]
            y = self.net.node("Reshape", y, self.net.const(np.array([0, 0, n])))
            self.y = self.net.lstm(y, n, 3)[0]

    def build(self) -> Net:
        self.convolution()
        for step in self.draw(st.lists(st.sampled_from(self.STEPS), max_size=5)):
            getattr(self, step)()
        self.end()
        return self.net.output(self.y)


@settings(300)
@given(st.data())
def test_images(data: Any) -> None:
    image = Image(data.draw)
    model = image.build().model()
    note(", ".join(n.op_type for n in image.net.nodes))
    expected = onnx_run(model, image.feeds)
    close(run(from_onnx.convert(model), image.feeds), expected)


# ------------------------------------------------------------------------------- axes as they are


def test_time_is_the_axis_of_open_size() -> None:
    for shape, want in (
        (("N", 2, "T", 5), (None, 2, None, 5)), (("N", 2, 5, "T"), (None, 2, 5, None)),
    ):  # fmt: skip
        n = Net()
        y = n.node("Conv", n.input("x", *shape), n.weight(3, 2, 2, 2))
        x = data(2, 2, 6, 5) if shape[2] == "T" else data(2, 2, 5, 6)
        g = agree(n.output(y), x=x)
        assert from_graph(g).inputs == {"x": want}
        assert "Conv2D" in kinds(g)


def test_what_follows_says_which_axis_is_time() -> None:
    """All sizes fixed: the first would be time, but the LSTM takes the second."""
    n = Net()
    y = n.node("Conv", n.input("x", 2, 3, 4, 6), n.weight(2, 3, 2, 3))
    y = n.node("Transpose", y, perm=[3, 0, 1, 2])
    y = n.node("Reshape", y, n.const(np.array([0, 0, 6])))
    g = agree(n.output(n.lstm(y, 6, 3)[0]), x=data(2, 3, 4, 6))
    assert g.inputs[0].axes == ("batch", 3, 4, "time")
    assert "Unflatten" not in kinds(g)


def test_a_causal_net_streams() -> None:
    """Convolutions over the past, frequency padded and halved, a recurrent layer behind."""
    n = Net()
    x = n.input("x", 1, 1, "T", 9)
    y = n.node("Conv", x, n.weight(4, 1, 3, 3), n.weight(4), pads=[2, 1, 0, 1], strides=[1, 2])
    y = n.node("BatchNormalization", y, *(n.weight(4) for _ in range(3)), n.const(np.ones(4, "f4")))
    y = n.node("PRelu", y, n.weight(4, 1, 1))
    y = n.node("Conv", y, n.weight(4, 1, 2, 3), group=4, pads=[2, 1, 0, 1], dilations=[2, 1])
    y = n.node("MaxPool", y, kernel_shape=[1, 2], strides=[1, 2])
    y = n.node("Reshape", n.node("Transpose", y, perm=[2, 0, 1, 3]), n.const(np.array([0, 0, 8])))
    feeds = {"x": data(1, 1, 20, 9)}
    g = agree(n.output(n.lstm(y, 8, 5)[0]), **feeds)
    assert g.sequential
    model = from_graph(g)
    whole = model.predict(feeds["x"])
    stream = model.stream()
    steps = [stream.step(feeds["x"][:, 0, t]) for t in range(20)]
    np.testing.assert_array_equal(np.stack(steps).reshape(whole.shape), whole)


@pytest.mark.parametrize("what", ["Conv", "MaxPool", "AveragePool", "GlobalMaxPool"])
def test_within_the_steps_of_a_sequence(what: str) -> None:
    """[T, N, 2, 6] from an LSTM as [T N, 2, 6], or [T, 2, 6] of one row."""
    for one_row in (False, True):
        n = Net()
        y = n.lstm(n.input("x", "T", 1 if one_row else "N", 3), 3, 12)[0]
        y = n.axes_op("Squeeze", y, [1, 2] if one_row else [1])
        outer = n.slice(n.node("Shape", y), 0, 2, 0)
        y = n.node("Reshape", y, n.const(np.array([-1, 2, 6])))
        attrs: dict[str, Any] = {} if what.startswith("Global") else {"kernel_shape": [3]}
        if what == "Conv":
            y = n.node(what, y, n.weight(2, 2, 3), n.weight(2), pads=[1, 0], strides=[2])
        else:
            y = n.node(what, y, **attrs)
        y = n.node("Relu", y)
        if not one_row:
            rest = n.const(np.array([-1]))
            y = n.node("Reshape", y, n.node("Concat", outer, rest, axis=0))
        g = agree(n.output(y), x=data(5, 1 if one_row else 2, 3))
        assert not {"Unflatten", "Conv1D", "Pool1D"} & set(kinds(g))


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_sequence_of_frames_without_a_batch(mirrored: bool) -> None:
    """[T, 40], each step convolved, then an LSTM over the steps: no axis is moved, it streams."""
    n = Net()
    x = n.input("x", "T", 40)
    if mirrored:
        x = n.node("Gather", x, n.const(np.pad(np.arange(40), (4, 4), mode="reflect")), axis=1)
    y = n.node("Conv", n.axes_op("Unsqueeze", x, [1]), n.weight(6, 1, 8), strides=[4])
    y = n.node("Conv", n.node("Relu", y), n.weight(4, 6, 3), n.weight(4), pads=[1, 1], strides=[2])
    y = n.node("ReduceMean", y, n.const(np.array([-1])), keepdims=0)
    y = n.axes_op("Unsqueeze", y, [1])
    g = agree(n.output(n.lstm(y, 4, 3)[0]), x=data(7, 40))
    assert g.sequential
    assert kinds(g).count("Conv2D") == 2


def test_transposed_over_one_axis() -> None:
    """Steps of a fixed number become more, as features; of an open number they keep it."""
    for shape, attrs in (
        ((2, 3, 7), {"strides": [3], "pads": [2, 0]}), (("N", 3, 7), {"strides": [2], "group": 3}),
        (("N", 3, "T"), {"pads": [1, 1]}), (("N", 3, "T"), {"dilations": [2], "pads": [0, 3]}),
        ((2, 3, 7), {"strides": [4], "output_padding": [2]}), (("N", 3, 7), {"strides": [9]}),
    ):  # fmt: skip
        n = Net(11)
        x = n.input("x", *shape)
        y = n.node("ConvTranspose", x, n.weight(3, 2, 3), **attrs)
        agree(n.output(n.node("Relu", y)), x=data(2, 3, 7))
    n = Net()
    y = n.axes_op("Squeeze", n.lstm(n.input("x", 5, "N", 3), 3, 4)[0], [1])  # time, and it is 5
    y = n.node("Transpose", y, perm=[1, 2, 0])
    y = n.node("ConvTranspose", y, n.weight(4, 2, 3), n.weight(2), strides=[2])
    agree(n.output(n.lstm(n.node("Transpose", y, perm=[2, 0, 1]), 2, 3)[0]), x=data(5, 2, 3))


TRANSPOSED = {
    "makes 2 steps of each": {"strides": [2, 1]},
    "padding takes away more": {"pads": [3, 0, 0, 0]},
    "follows from the shape of the output": {"auto_pad": "SAME_UPPER"},
    "from the shape of the output": {"output_shape": [7, 7]},
    "is for 2 axes": {"output_padding": [1]},
    "leaves nothing": {"pads": [0, 9, 0, 9]},
    "into 3 groups": {"group": 3},
}


@pytest.mark.parametrize("says", TRANSPOSED)
def test_transposed_refusals(says: str) -> None:
    n = Net()
    y = n.node("ConvTranspose", n.input("x", "N", 4, "T", 5), n.weight(4, 2, 3, 3),
               **TRANSPOSED[says])  # fmt: skip
    with pytest.raises(
        errors.ConversionError, match=rf"^node 'node_3' \(ConvTranspose\): .*{says}"
    ):
        from_onnx.convert(n.output(y).model())


def test_data_stay_where_they_are() -> None:
    """Between convolutions features lie [positions][channels], whatever is done to each."""
    n = Net()
    y = n.input("x", "N", 1, "T", 12)
    for channels in (1, 4, 4):
        y = n.node("Conv", y, n.weight(4, channels, 3, 3), pads=[1, 1, 1, 1])
        scale = (n.weight(4) for _ in range(3))
        y = n.node("BatchNormalization", y, *scale, n.const(np.ones(4, "f4")))
        y = n.node("Mul", n.node("Sigmoid", y), n.node("PRelu", y, n.weight(4, 1, 1)))
        y = n.node("MaxPool", y, kernel_shape=[1, 2], strides=[1, 2])
    y = n.node("ReduceMax", y, n.const(np.array([3])), keepdims=0)
    assert "Select" not in kinds(agree(n.output(y), x=data(2, 1, 5, 12)))


def test_reductions_of_many_parts() -> None:
    """As positions: there may be any number."""
    n = Net()
    x = n.input("x", "N", "T", 300, 2)
    y = [n.node(op, x, n.const(np.array([2]))) for op in ("ReduceMax", "ReduceSum", "ReduceMean")]
    y.append(n.node("ReduceMin", x, n.const(np.array([3])), keepdims=0))
    agree(n.output(*y), x=data(2, 3, 300, 2))


def test_windows_that_do_not_fit_are_refused() -> None:
    n = Net()
    y = n.node("Conv", n.input("x", "N", 2, "T", 3), n.weight(2, 2, 1, 5))
    with pytest.raises(errors.ConversionError, match="windows of 5 don't fit 3 positions"):
        from_onnx.convert(n.output(y).model())
    n = Net()
    y = n.node("Conv", n.input("x", "N", 3, "T", 8), n.weight(2, 2, 1, 5))
    with pytest.raises(errors.ConversionError, match="gets 3 channels, its weights take 2"):
        from_onnx.convert(n.output(y).model())


def test_too_many_features_are_refused() -> None:
    n = Net()
    y = n.node("Conv", n.input("x", "N", 1, "T", 4096), n.weight(8192, 1, 1, 1))
    with pytest.raises(errors.ConversionError, match="makes 33554432 features, more than 2"):
        from_onnx.convert(n.output(y).model())


# --------------------------------------------------------------------------------- a model in use


def golden(path: Path) -> list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Inputs and outputs of each recorded call."""
    arrays = np.load(path)
    calls = sorted({int(k.partition("|")[0][2:]) for k in arrays if k.startswith("in")})
    return [
        tuple(
            {k.partition("|")[2]: arrays[k] for k in arrays if k.startswith(f"{way}{i}|")}
            for way in ("in", "out")
        )
        for i in calls
    ]  # type: ignore[misc]


def test_aecmos() -> None:
    """speechmos's: convolutions over time and frequency, two bidirectional GRUs, one row."""
    folder = MODELS / "speechmos-aecmos"
    if not folder.is_dir():
        pytest.skip("the shared models are not here")
    model = lstmc.convert(folder / "Run_1663829550_Stage_0.onnx")
    for inputs, want in golden(folder / "Run_1663829550_Stage_0.golden.npz"):
        (name,) = want
        got = model.predict(inputs)
        assert got.shape == want[name].shape
        assert np.abs(got - want[name]).max() <= 1e-5 * np.abs(want[name]).max()
