"""States bound in models of ONNX, PyTorch and Keras: the source itself, called again and again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_same, named, predict
from lstmc.converters import convert
from onnx_nets import Net, data, onnx_run
from test_cli import lstmc_run  # noqa: F401

import lstmc
from lstmc import ConversionError
from lstmc.calls import one_after_another

MODELS = Path(__file__).parents[1].parent / "shared" / "models"


def close(got, want, limit=1e-5):
    assert got.shape == want.shape
    scale = max(float(np.abs(want).max()), 1e-3)
    assert np.abs(got - want).max() <= limit * scale


def named_node(net, op, inputs, name, **attrs):
    from onnx import helper

    net.nodes.append(helper.make_node(op, inputs, [name], **attrs))


def check(net, pairs, x, *, state=None, **options):
    """Bound, against ONNX Runtime and against the unbound model, in loops: one step a call."""
    source = net.model()
    model = lstmc.convert(source, state=state or pairs, **options)
    unbound = lstmc.convert(source, **options)
    takes, gives = model.graph.inputs[0], model.graph.outputs[0]
    loops = [
        one_after_another(unbound.graph, model.graph, pairs, lambda feeds: onnx_run(source, feeds)),
        one_after_another(unbound.graph, model.graph, pairs, lambda f: predict(unbound, f)),
    ]
    inputs = {takes.name: x}
    close(predict(model, inputs)[gives.name], loops[0](inputs)[gives.name])
    assert_same(predict(model, inputs), loops[1](inputs))
    stream = model.stream(x.shape[takes.axes.index("batch")])
    assert_same(named(model.graph, stream.run(x)), predict(model, inputs))
    return model


def test_one_step_lstm_with_h_and_c():
    """As vad models have it: state [2, batch, H], of which h and c are the halves."""
    net = Net()
    x, state = net.input("input", "batch", 1, 6), net.input("state", 2, "batch", 5)
    h, c = net.slice(state, 0, 1, 0), net.slice(state, 1, 2, 0)
    turned = net.node("Transpose", x, perm=[1, 0, 2])
    y, h, c = net.lstm(turned, 6, 5, ("", h, c))
    named_node(net, "Concat", [h, c], "stateN", axis=0)
    row = net.axes_op("Squeeze", net.axes_op("Squeeze", y, [1]), [0])
    named_node(net, "MatMul", [row, net.weight(5, 1)], "output")
    net.output("output", "stateN")
    model = check(net, {"stateN": "state"}, data(3, 7, 6), state="input=stateN:state")
    assert model.inputs == {"input": (None, None, 6)}
    assert model.outputs == {"output": (None, None, 1)}
    assert model.states == {"state": (2, None, 5)}
    assert model.provenance["state"] == "stateN:state"


def test_open_lstm_and_gru_go_on():
    for op, gates, n in (("LSTM", 4, 2), ("GRU", 3, 1), ("RNN", 1, 1)):
        net = Net()
        x = net.input("x", "time", "batch", 3)
        starts = [net.input(f"s{i}", 1, "batch", 4) for i in range(n)]
        outs = net.node(
            op, x, net.weight(1, gates * 4, 3), net.weight(1, gates * 4, 4),
            net.weight(1, 2 * gates * 4), "", *starts, outputs=1 + n, hidden_size=4,
            **({"linear_before_reset": 1} if op == "GRU" else {}),
        )  # fmt: skip
        named_node(net, "Squeeze", [outs[0], net.const(np.array([1]))], "y")
        for i in range(n):
            named_node(net, "Identity", [outs[1 + i]], f"n{i}")
        net.output("y", *(f"n{i}" for i in range(n)))
        pairs = {f"n{i}": f"s{i}" for i in range(n)}
        model = check(
            net, pairs, data(9, 2, 3), state=",".join(f"{o}:{i}" for o, i in pairs.items())
        )
        assert [type(layer).__name__ for layer in model.graph.layers] == [op]
        assert not model.states


def test_a_cache_of_the_last_inputs_and_a_sum():
    """cache_out = concat(cache[1:], x), and a state through plain Add."""
    net = Net()
    x = net.input("x", "batch", 3)
    cache, total = net.input("cache", "batch", 4, 3), net.input("total", "batch", 3)
    kept = net.slice(cache, 1, 4, 1)
    named_node(net, "Concat", [kept, net.axes_op("Unsqueeze", x, [1])], "cache_out", axis=1)
    named_node(net, "Add", [total, x], "total_out")
    flat = net.node("Flatten", "cache_out")
    dense = net.node("Gemm", flat, net.weight(12, 5), net.weight(5))
    joined = net.node("Concat", dense, "total_out", axis=1)
    named_node(net, "Tanh", [joined], "y")
    net.output("y", "cache_out", "total_out")
    pairs = {"cache_out": "cache", "total_out": "total"}
    model = check(net, pairs, data(3, 9, 3))
    assert model.states == {"cache": (None, 4, 3), "total": (None, 3)}
    s = model.stream(2)
    x = data(2, 6, 3)
    s.run(x)
    np.testing.assert_array_equal(s.state["cache"], x[:, 2:])


def test_convolution_over_a_cache():
    """Streaming convolutions as exporters write them: [batch, channels, time]."""
    net = Net()
    x, cache = net.input("x", "batch", 3, 1), net.input("cache", "batch", 3, 2)
    window = net.node("Concat", cache, x, axis=2)
    named_node(net, "Conv", [window, net.weight(4, 3, 3), net.weight(4)], "y")
    named_node(net, "Slice", [window, *(net.const(np.array([n])) for n in (1, 3, 2))], "cache_out")
    net.output("y", "cache_out")
    model = check(net, {"cache_out": "cache"}, data(2, 8, 3, 1))
    assert model.inputs == {"x": (None, None, 3, 1)}
    assert model.states == {"cache": (None, 3, 2)}


def test_several_inputs_go_on_together():
    net = Net()
    a, b = net.input("a", "batch", 3), net.input("b", "batch", 3)
    state = net.input("s", "batch", 3)
    named_node(net, "Add", [net.node("Mul", a, b), state], "next")
    named_node(net, "Tanh", ["next"], "y")
    net.output("y", "next")
    model = lstmc.convert(net.model(), state="b=next:s")
    x, w = data(2, 5, 3), data(2, 5, 3, seed=2)
    y = model.predict({"a": x, "b": w})
    close(y, np.tanh(np.cumsum(x * w, axis=1, dtype=float)))
    s = model.stream(2)
    steps = [s.step({"a": x[:, t], "b": w[:, t]}) for t in range(5)]
    np.testing.assert_array_equal(np.stack(steps, 1), y)


# ------------------------------------------------------------------------------------- PyTorch


def test_torch_modules():
    torch = pytest.importorskip("torch")
    torch.manual_seed(3)

    class Cell(torch.nn.Module):
        """One step: x [batch, 3]."""

        def __init__(self):
            super().__init__()
            self.cell, self.fc = torch.nn.LSTMCell(3, 6), torch.nn.Linear(6, 2)

        def forward(self, x, h, c):
            h, c = self.cell(x, (h, c))
            return self.fc(h), h, c

    class Sequence(torch.nn.Module):
        """Any number of steps, two layers."""

        def __init__(self):
            super().__init__()
            self.lstm, self.fc = torch.nn.LSTM(3, 6, 2, batch_first=True), torch.nn.Linear(6, 2)

        def forward(self, x, h, c):
            y, (h, c) = self.lstm(x, (h, c))
            return self.fc(y), h, c

    x = data(4, 7, 3)
    for module, shape in ((Cell(), (4, 6)), (Sequence(), (2, 4, 6))):
        model = lstmc.convert(module, state="x=output_1:h,output_2:c")
        assert list(model.inputs) == ["x"]
        assert list(model.outputs) == ["output_0"]
        h = c = torch.zeros(shape)
        want = []
        with torch.no_grad():
            for t in range(7):
                part = torch.from_numpy(x[:, t] if len(shape) == 2 else x[:, t : t + 1])
                y, h, c = module(part, h, c)
                want.append(y.numpy().reshape(4, 2))
        close(model.predict(x), np.stack(want, 1))
        s = model.stream(4)
        np.testing.assert_array_equal(
            np.stack([s.step(x[:, t]) for t in range(7)], 1), model.predict(x)
        )
        if len(shape) == 2:
            close(s.state["h"], h.numpy())
            close(s.state["c"], c.numpy())
        else:
            close(s.state["lstm_l1"]["c"], c.numpy()[1])
    with pytest.raises(ConversionError, match="outputs are 'output_0', 'output_1', 'output_2'"):
        lstmc.convert(Cell(), state="h:h")


# --------------------------------------------------------------------------------------- Keras


@pytest.mark.parametrize("time", [None, 1, 5])
def test_keras_functional_models(time, tmp_path, lstmc_run):  # noqa: F811
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(4)
    x = keras.Input((time, 3), name="x")
    h, c = keras.Input((5,), name="h"), keras.Input((5,), name="c")
    layer = keras.layers.LSTM(5, return_sequences=True, return_state=True, name="l")
    y, last_h, last_c = layer(x, initial_state=[h, c])
    net = keras.Model([x, h, c], [keras.layers.Dense(2, name="y")(y), last_h, last_c])
    outputs = [v.name for v in convert(net).outputs]
    state = {outputs[1]: "h", outputs[2]: "c"}
    model = lstmc.convert(net, state=state)
    assert model.inputs == {"x": (None, None, 3)}
    a = data(2, 10, 3)
    states, want = [np.zeros((2, 5), np.float32)] * 2, []
    for start in range(0, 10, time or 2):
        part, *states = (
            np.asarray(keras.ops.convert_to_numpy(v))
            for v in net([a[:, start : start + (time or 2)], *states])
        )
        want.append(part)
    close(model.predict(a), np.concatenate(want, 1))
    np.testing.assert_array_equal(model.stream(2).run(a), model.predict(a))
    net.save(tmp_path / "m.keras")
    text = ",".join(f"{o}:{i}" for o, i in state.items())
    status, out, _ = lstmc_run("convert", "m.keras", "--state", text, "-o", "m.lstmc")
    assert status == 0, out
    status, out, _ = lstmc_run("verify", "m.lstmc", "--against", "m.keras", "--state", text)
    assert status == 0, out
    assert "call after call" in out


# --------------------------------------------------------------------------------- the command


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def summing(path):
    net = Net()
    x, s = net.input("x", "batch", 3), net.input("s", "batch", 3)
    named_node(net, "Add", [x, s], "next")
    named_node(net, "Tanh", ["next"], "y")
    net.output("y", "next")
    Path(path).write_bytes(net.model().SerializeToString())


def test_the_command(lstmc_run):  # noqa: F811
    summing("m.onnx")
    assert lstmc_run("convert", "m.onnx", "--state", "x=next:s")[0] == 0
    status, out, _ = lstmc_run(
        "verify", "m.lstmc", "--against", "m.onnx", "--state", "next:s", "--json"
    )
    assert status == 0
    checks = {c["name"]: c for c in json.loads(out)["checks"]}
    assert all(c["ok"] for c in checks.values())
    assert "onnxruntime" in checks["framework"]["text"]
    assert "call after call" in checks["framework"]["text"]
    status, out, _ = lstmc_run("info", "m.lstmc", "--json")
    facts = json.loads(out)
    assert facts["states"] == {"s": [None, 3]}
    assert facts["provenance"]["state"] == "next:s"
    assert "states   s [?, 3]" in lstmc_run("info", "m.lstmc")[1]
    np.save("x.npy", data(2, 4, 3))
    assert lstmc_run("run", "m.lstmc", "--input", "x.npy", "--output", "y.npy")[0] == 0
    close(np.load("y.npy"), np.tanh(np.cumsum(np.load("x.npy"), axis=1, dtype=float)))


def test_verify_finds_a_state_bound_otherwise(lstmc_run):  # noqa: F811
    """The file was made with other states than verify is told."""
    net = Net()
    x, a, b = (net.input(n, "batch", 3) for n in "xab")
    named_node(net, "Add", [x, a], "p")
    named_node(net, "Sub", [x, b], "q")
    named_node(net, "Concat", ["p", "q"], "y", axis=1)
    net.output("y", "p", "q")
    Path("m.onnx").write_bytes(net.model().SerializeToString())
    assert lstmc_run("convert", "m.onnx", "--state", "p:a,q:b")[0] == 0
    status, out, _ = lstmc_run("verify", "m.lstmc", "--against", "m.onnx", "--state", "p:b,q:a")
    assert status == 1
    assert "bindings are" in out
    status, out, _ = lstmc_run("verify", "m.lstmc", "--against", "m.onnx")
    assert status == 1
    assert "inputs are" in out


def test_errors_of_the_command(lstmc_run):  # noqa: F811
    summing("m.onnx")
    for state, says in (
        ("next", "'next' is not [SEQUENCE[@N]=]OUTPUT:STATE"),
        ("next:t", "there is no input 't'; inputs are 'x', 's'"),
        ("y:s,next:x", "all inputs are bound"),
    ):
        status, _, err = lstmc_run("convert", "m.onnx", "--state", state)
        assert status == 1
        assert says in err
        assert not Path("m.lstmc").exists()
    lstmc_run("convert", "m.onnx", "--state", "next:s")
    status, _, err = lstmc_run("verify", "m.lstmc", "--state", "next:s")
    assert status == 2
    assert "--against" in err


# ---------------------------------------------------------------------------------- real models

SILERO = (
    ("silero_vad", "input@576=stateN:state", ["state"]),
    ("silero_vad_16k_op15", "input@576=stateN:state", ["state"]),
    ("silero_vad_16k_sequence", "hn:h,cn:c", []),
)


@pytest.mark.skipif(not (MODELS / "silero-vad").is_dir(), reason="needs the real models")
@pytest.mark.parametrize(("name", "state", "states"), SILERO)
def test_silero(name, state, states, lstmc_run):  # noqa: F811
    """Frames one after another; or the sequence form, whose LSTM keeps the state itself."""
    folder = MODELS / "silero-vad"
    source, recorded = folder / f"{name}.onnx", folder / f"{name}.golden.npz"
    told = ["--state", state, *([] if "sequence" in name else ["--set", "sr=16000"])]
    assert lstmc_run("convert", source, *told, "-o", "m.lstmc")[0] == 0
    status, out, _ = lstmc_run(
        "verify", "m.lstmc", "--against", source, *told, "--recorded", recorded, "--json"
    )
    assert status == 0, out
    checks = {c["name"]: c for c in json.loads(out)["checks"]}
    assert checks["framework"]["ok"], checks["framework"]
    assert "keeps" in checks["recorded"]["text"]
    model = lstmc.load("m.lstmc")
    assert list(model.states) == states
    if states:
        assert model.inputs == {"input": (None, None, 576)}
        assert model.outputs == {"output": (None, None, 1)}
        calls = np.load(recorded)
        s = model.stream()
        for i in range(4):
            close(s.step(calls[f"in{i}|input"]), calls[f"out{i}|output"])
            close(s.state["state"], calls[f"out{i}|stateN"])


def test_silero_needs_its_frames():
    if not (MODELS / "silero-vad").is_dir():
        pytest.skip("needs the real models")
    with pytest.raises(ConversionError, match="give it, as in input@N=stateN:"):
        lstmc.convert(MODELS / "silero-vad" / "silero_vad_16k_op15.onnx", state="stateN:state",
                      constants={"sr": 16000})  # fmt: skip
    for n in (191, 704):
        with pytest.raises(ConversionError, match=rf"^state: {n} .* \(it takes 192 to 703\)$"):
            lstmc.convert(MODELS / "silero-vad" / "silero_vad_16k_op15.onnx",
                          state=f"input@{n}=stateN:state", constants={"sr": 16000})  # fmt: skip


DTLN = {
    "model_1": ("input_2=tf_op_layer_stack_2:input_3", 0),
    "model_2": ("input_4=tf_op_layer_stack_5:input_5", 1),
}


@pytest.mark.skipif(not (MODELS / "dtln").is_dir(), reason="needs the real models")
@pytest.mark.parametrize("name", DTLN)
def test_dtln(name):
    """The recorded calls of ONNX Runtime, each with the state of that before, as one sequence."""
    state, stateful = DTLN[name]
    recorded = np.load(MODELS / "dtln" / f"{name}.golden.npz")
    model = lstmc.convert(MODELS / "dtln" / f"{name}.onnx", state=state)
    (takes,), (gives,) = model.inputs, model.outputs
    calls = sum(k.startswith("in") and k.endswith(f"|{takes}") for k in recorded)
    assert calls >= 4
    x = np.concatenate([recorded[f"in{i}|{takes}"] for i in range(calls)], 1)
    want = np.concatenate([recorded[f"out{i}|{gives}"] for i in range(calls)], 1)
    close(model.predict(x), want)
    s = model.stream()
    steps = [s.step(x[:, t]) for t in range(calls)]
    np.testing.assert_array_equal(np.stack(steps, 1), model.predict(x))
    assert len(model.states) == stateful
    output, taken = state.partition("=")[2].split(":")
    if stateful:
        close(s.state[taken], recorded[f"out{calls - 1}|{output}"])
    # And the unbound model in a loop, bit for bit, for more rows than the exporter had.
    unbound = lstmc.convert(MODELS / "dtln" / f"{name}.onnx")
    loop = one_after_another(
        unbound.graph, model.graph, {output: taken}, lambda f: predict(unbound, f)
    )
    long = {takes: data(3, 20, x.shape[2])}
    assert_same(predict(model, long), loop(long))
