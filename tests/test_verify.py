"""`lstmc verify`: a model held against its source in its own framework, layer by layer."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import lstmc.converters.gates as gates
import numpy as np
import pytest
from lstmc.converters import convert as convert_graph

import lstmc
from lstmc import cli, frameworks, layerwise, reference
from lstmc import graph as g
from lstmc.model import from_graph

onnx = pytest.importorskip("onnx")
from onnx_nets import Net, data  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def checked(capsys):
    """Run ``lstmc verify --json``: the exit status, the findings by name."""

    def call(*argv):
        status = cli.main(["verify", "--json", *map(str, argv)])
        out, err = capsys.readouterr()
        assert out, err
        facts = json.loads(out)
        assert facts["ok"] is (status == 0)
        return status, {c["name"]: c for c in facts["checks"]}

    return call


@pytest.fixture
def printed(capsys):
    """Run ``lstmc verify``: the exit status, what it prints, its error."""

    def call(*argv):
        status = cli.main(["verify", *map(str, argv)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return status, out, err

    return call


def two_lstms(batch="N", steps="T"):
    """net.onnx: two LSTMs, the second with explicit states, and a matrix; three outputs."""
    net = Net(seed=7)
    x = net.input("x", steps, batch, 3)
    states = [net.input(n, 1, batch, 5) for n in "hc"]
    y = net.axes_op("Squeeze", net.lstm(x, 3, 4)[0], [1])
    y, h, c = net.lstm(y, 4, 5, ("", *states))
    net.output(net.node("MatMul", net.axes_op("Squeeze", y, [1]), net.weight(5, 2)), h, c)
    onnx.save(net.model(), "net.onnx")
    return Path("net.onnx")


def converted(source):
    lstmc.convert(source).save("net.lstmc")
    return lstmc.load("net.lstmc").graph


# ---------------------------------------------------------------------------------- all is well


def test_short_when_all_is_well(printed):
    converted(two_lstms())
    status, out, _ = printed("net.lstmc", "--against", "net.onnx")
    assert status == 0
    names = [line.split("  ")[0].strip() for line in out.splitlines()]
    assert names == ["file", "golden sample", "weights", "oracle", "framework"]
    assert "4 inputs, onnxruntime" in out


def test_layers(checked, printed):
    """Each with the oracle's error and the framework's, where it has the value."""
    graph = converted(two_lstms())
    status, checks = checked("net.lstmc", "--against", "net.onnx", "--layers")
    found = checks["layers"]
    assert (status, found["ok"], found["begins"]) == (0, True, None)
    assert [r["layer"] for r in found["layers"]] == [x.name for x in graph.layers]
    for row in found["layers"]:
        assert 0 < row["core"] < 1e-6 and 0 < row["framework"] < 1e-6 and row["source"] is None
    assert set(checks["framework"]["errors"]) == {v.name for v in graph.outputs}
    assert checks["framework"]["error"] == max(checks["framework"]["errors"].values()) > 0
    status, out, _ = printed("net.lstmc", "--layers")  # no source: the file's own oracle
    assert status == 0 and out.count("LSTM") == 2 and "framework" not in out


def test_more_values_than_a_file_has_outputs(checked):
    layers, name = [], "x"
    for i in range(2 * layerwise.MAX_OUTPUTS + 1):
        fn = g.TANH if i % 2 else g.SIGMOID
        made = f"v{i}"
        layers.append(g.Activation(name=made, inputs=(name,), outputs=(made,), activation=fn))
        name = made
    ends = [g.Value("x", (g.BATCH, 3))], [g.Value(name, (g.BATCH, 3))]
    from_graph(g.Graph(*ends, layers)).save("deep.lstmc")
    _, checks = checked("deep.lstmc", "--layers")
    assert len(checks["layers"]["layers"]) == len(layers)
    assert all(r["core"] is not None for r in checks["layers"]["layers"])


# ------------------------------------------------------------------------- where it begins: three


def corrupted(graph, number):
    """net.lstmc with one weight of the layer changed."""
    layer = graph.layers[number]
    _, _, array = next(t for t in layer.tensors() if t[2] is not None)
    array.flat[0] += 0.5
    from_graph(graph).save("net.lstmc")
    return layer.name


@pytest.mark.parametrize("number", range(3))
def test_a_wrong_weight_is_found(checked, printed, number):
    name = corrupted(converted(two_lstms()), number)
    status, checks = checked("net.lstmc", "--against", "net.onnx")
    assert status == 1
    assert not any(checks[n]["ok"] for n in ("weights", "oracle", "framework", "layers"))
    assert checks["layers"]["begins"] == {"layer": name, "against": "source"}
    assert all(r["core"] < 1e-6 for r in checks["layers"]["layers"])
    _, out, err = printed("net.lstmc", "--against", "net.onnx")
    (here,) = [line for line in out.splitlines() if "<- begins here" in line]
    assert here.split()[0] == name and f"begins at '{name}'" in out and "layers" in err


def test_a_wrong_conversion_is_found(checked, monkeypatch):
    """Gates of one layer in another order: file and source agree, the framework doesn't."""
    right = gates.lstm

    def wrong(source, weight):
        w = right(source, weight)
        return np.concatenate([w[5:10], w[:5], w[10:]]) if weight.shape[0] == 20 else w

    monkeypatch.setattr(gates, "lstm", wrong)
    graph = converted(two_lstms())
    status, checks = checked("net.lstmc", "--against", "net.onnx")
    assert status == 1 and checks["weights"]["ok"] and checks["oracle"]["ok"]
    assert checks["framework"]["ok"] is False
    second = [x.name for x in graph.layers if isinstance(x, g.LSTM)][1]
    assert checks["layers"]["begins"] == {"layer": second, "against": "framework"}
    assert "conversion differs from onnxruntime" in checks["layers"]["text"]


def test_a_wrong_core_is_found(checked, monkeypatch):
    """Here it is the oracle that is wrong, which looks the same."""
    right = reference.LAYERS[g.Dense]
    monkeypatch.setitem(
        reference.LAYERS, g.Dense, lambda *a, **k: tuple(1.001 * y for y in right(*a, **k))
    )
    graph = converted(two_lstms())
    status, checks = checked("net.lstmc", "--against", "net.onnx")
    assert status == 1 and checks["weights"]["ok"] and checks["framework"]["ok"]
    assert checks["oracle"]["ok"] is False
    assert checks["layers"]["begins"] == {"layer": graph.layers[2].name, "against": "core"}


def test_outputs_that_depend_on_what_is_kept(monkeypatch):
    """Memory shared by mistake shows when every value is kept."""
    model = lstmc.convert(two_lstms())
    sample = layerwise.Sample("", {n: data(2, 1, 3) if n == "x" else data(1, 1, 5) for n in "xhc"})
    assert layerwise.compare(model, [sample], 1e-5).overlap == []
    right = layerwise.core_values

    def other(graph, sample):
        found = right(graph, sample)
        name = graph.outputs[1].name
        return {**found, name: np.nextafter(found[name], np.float32(2))}

    monkeypatch.setattr(layerwise, "core_values", other)
    found = layerwise.compare(model, [sample, sample], 1e-5)
    assert found.overlap == [f"'{model.graph.outputs[1].name}'"] and "other bits" in found.text()


def test_inner_values_alone(checked):
    """A difference inside that the outputs don't show is told and fails nothing."""
    net = Net(seed=3)
    y = net.node("Add", net.node("MatMul", net.input("x", "N", 3), net.weight(3, 4)), net.weight(4))
    big = net.const(np.float32(1e5))
    net.output(net.node("Tanh", net.node("Sub", net.node("Add", net.node("Tanh", y), big), big)))
    onnx.save(net.model(), "net.onnx")
    converted("net.onnx")
    status, checks = checked("net.lstmc", "--layers", "--limit", "0.5")
    assert status == 0 and checks["layers"]["ok"] is True
    errors = [r["core"] for r in checks["layers"]["layers"]]
    assert max(errors) > 1e-3 > min(errors)  # digits lost against 1e5


# ---------------------------------------------------------------------------- inputs of all kinds


def test_frozen_batch(checked, printed):
    """What a framework refuses is counted and said; lstmc takes any batch."""
    converted(two_lstms(batch=1))
    status, checks = checked("net.lstmc", "--against", "net.onnx")
    assert status == 0
    assert (checks["framework"]["inputs"], checks["framework"]["refused"]) == (2, 2)
    assert checks["oracle"]["inputs"] == 4
    text = checks["framework"]["text"]
    assert "2 of 4 inputs" in text and "did not run 3 random rows of 33 steps" in text


def test_fixed_steps(checked):
    converted(two_lstms(steps=6))
    status, checks = checked("net.lstmc", "--against", "net.onnx", "--layers")
    assert status == 0 and checks["framework"]["inputs"] == 4 and checks["layers"]["ok"]


def test_indices(checked):
    net = Net(seed=2)
    ids = net.input("ids", "N", "T", dtype=onnx.TensorProto.INT64)
    x = net.node("Gather", net.weight(9, 3), ids)
    net.output(net.lstm(net.node("Transpose", x, perm=[1, 0, 2]), 3, 4)[1])
    onnx.save(net.model(), "net.onnx")
    graph = converted("net.onnx")
    assert isinstance(graph.layers[0], g.Embedding)
    _, checks = checked("net.lstmc", "--against", "net.onnx", "--layers")
    assert checks["framework"]["ok"] and checks["layers"]["ok"]
    name = corrupted(graph, 0)
    _, checks = checked("net.lstmc", "--against", "net.onnx")
    assert checks["layers"]["begins"]["layer"] == name


def calls(graph, count):
    """Calls recorded in turn, states going on."""
    arrays, states = {}, {n: np.zeros((1, 2, 5), np.float32) for n in "hc"}
    names = [v.name for v in graph.outputs]
    for i in range(count):
        x = {"x": data(i + 1, 2, 3, seed=i), **states}
        y = reference.run(graph, x)
        arrays |= {f"in{i}|{n}": a for n, a in x.items()}
        arrays |= {f"out{i}|{n}": a for n, a in y.items()}
        states = {"h": y[names[1]], "c": y[names[2]]}
    return arrays


def test_recorded_calls(checked, printed):
    graph = converted(two_lstms())
    arrays = calls(graph, 12)
    np.savez("good.npz", **arrays, **{"in0|rate": np.int64(16000)})
    status, checks = checked("net.lstmc", "--recorded", "good.npz")
    assert status == 0 and checks["recorded"]["text"].endswith("12 calls")
    assert set(checks["recorded"]["errors"]) == {v.name for v in graph.outputs}
    wrong = graph.outputs[2].name
    np.savez("bad.npz", **{**arrays, f"out11|{wrong}": arrays[f"out11|{wrong}"] + 1e-3})
    status, checks = checked("net.lstmc", "--recorded", "bad.npz")
    errors = checks["recorded"]["errors"]
    assert status == 1 and [n for n, e in errors.items() if e > 1e-5] == [wrong]
    assert checks["layers"]["ok"] is True  # the core is right: it is the recording
    del arrays["out3|" + wrong]
    np.savez("lacking.npz", **arrays)
    status, _, err = printed("net.lstmc", "--recorded", "lacking.npz")
    assert status == 1 and f"no array 'out3|{wrong}'" in err


def test_given_inputs(checked, printed):
    graph = converted(two_lstms())
    x = {"x": data(7, 4, 3), "h": data(1, 4, 5, seed=2), "c": data(1, 4, 5, seed=3)}
    np.savez("x.npz", **x)
    np.savez("calls.npz", **calls(graph, 3))
    given = ("--input", "x.npz", "--input", "calls.npz")
    _, checks = checked("net.lstmc", "--against", "net.onnx", *given)
    assert checks["framework"]["inputs"] == checks["oracle"]["inputs"] == 4 + 1 + 3
    status, checks = checked("net.lstmc", *given)
    assert status == 0 and checks["oracle"]["inputs"] == 8 and "framework" not in checks
    for name, words in (("x.npy", "several inputs"), ("y.npz", "'c', 'h'"), ("z.npz", "shape")):
        if name == "x.npy":
            np.save(name, x["x"])
        else:
            np.savez(name, **({**x, "h": x["c"][:, :1]} if name[0] == "z" else {"x": x["x"]}))
        status, _, err = printed("net.lstmc", "--input", name)
        assert status in (1, 2) and words in err, err
    assert printed("net.lstmc", "--input", "missing.npy")[0] == 2
    assert printed("net.lstmc", "--input", "net.onnx")[0] == 2
    np.savez("odd.npz", **{"in0|x": x["x"]})
    status, _, err = printed("net.lstmc", "--input", "odd.npz")
    assert status == 1 and "no array 'in0|h'" in err


def test_hostile_recordings(printed):
    """One line, whatever the arrays are."""
    graph = converted(two_lstms())
    good = calls(graph, 2)
    y = graph.outputs[0].name
    bad = {
        f"out1|{y}": [np.array(["a"]), np.array([1j]), np.zeros((0, 2, 2), np.float32)],
        "in1|x": [np.zeros((0, 2, 3)), np.zeros((2, 3)), np.array(["b"]), np.float32(1)],
        "in0|h": [np.zeros((1, 9, 5)), np.zeros((1, 2, 6))],
    }
    for key, arrays in bad.items():
        for a in arrays:
            np.savez("bad.npz", **{**good, key: a})
            for more in ((), ("--layers",)):
                status, _, err = printed("net.lstmc", "--recorded", "bad.npz", *more)
                assert status == 1 and "internal" not in err and err.count("\n") == 1, err
                if key.startswith("in"):
                    status, _, err = printed("net.lstmc", "--input", "bad.npz", *more)
                    assert status == 1 and "internal" not in err and err.count("\n") == 1, err
    np.savez("bad.npz", **{**good, f"out1|{y}": np.zeros((9, 9))})  # another shape: no match
    status, out, _ = printed("net.lstmc", "--recorded", "bad.npz")
    assert status == 1 and "inf" in out


def test_a_given_input_that_fails_is_looked_into(checked):
    """A difference that random inputs don't reach: only steps above 9 see it."""
    net = Net(seed=5)
    y = net.node("Clip", net.input("x", "N", 3), "", net.const(np.float32(9)))
    net.output(net.node("MatMul", y, net.weight(3, 2)))
    onnx.save(net.model(), "net.onnx")
    graph = converted("net.onnx")
    graph.layers[0].activation = g.LINEAR
    from_graph(graph).save("net.lstmc")
    _, checks = checked("net.lstmc", "--against", "net.onnx")
    assert checks["oracle"]["ok"] and "layers" not in checks and not checks["weights"]["ok"]
    np.save("x.npy", np.full((1, 3), 20, np.float32))
    _, checks = checked("net.lstmc", "--against", "net.onnx", "--input", "x.npy")
    assert checks["layers"]["begins"] == {"layer": graph.layers[0].name, "against": "source"}


@pytest.mark.parametrize("off", [0.0, 0.5])
def test_a_source_that_computes_otherwise(checked, off):
    """ONNX Runtime quantises activations, lstmc doesn't and says so: no failure, unless it is far
    more than that."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    net = Net(seed=6)
    net.output(net.node("Tanh", net.node("MatMul", net.input("x", "N", 8), net.weight(8, 4))))
    onnx.save(net.model(), "plain.onnx")
    quantization.quantize_dynamic("plain.onnx", "net.onnx")
    graph = converted("net.onnx")
    if off:
        graph.layers[0].weight += off
        from_graph(graph).save("net.lstmc")
    status, checks = checked("net.lstmc", "--against", "net.onnx")
    assert status == (1 if off else 0), checks
    assert checks["framework"]["ok"] is (False if off else None)
    assert off or "layers" not in checks
    assert off or "the model's note says why" in checks["framework"]["text"]


# ------------------------------------------------------------------------- what has which origin


def supported(source):
    """The rows of docs/SUPPORT.md that are models of a framework; none if it is not installed."""
    try:
        return list(importlib.import_module(f"support_{source}").CONVERTS)
    except pytest.skip.Exception:
        return []


@pytest.mark.parametrize(
    ("source", "what"), [(s, what) for s in ("onnx", "keras") for what in supported(s)]
)
def test_origins_are_the_same_values(source, what, tmp_path):
    """Every tensor that a converter calls a value's origin is that in the framework: a table of a
    model that is well has no difference."""
    model, x, _ = importlib.import_module(f"support_{source}").CONVERTS[what](tmp_path)
    path = model if isinstance(model, str | Path) else tmp_path / f"net.{source}"
    if path is not model:
        onnx.save(model, path) if source == "onnx" else model.save(path)
    graph = convert_graph(path)
    model = from_graph(graph)
    if what in ("layout 1", "`.h5` files of Keras 2"):
        with pytest.raises(Exception, match=r"layout|pop"):  # what they no longer, or not yet, do
            frameworks.of_source(Path(path), graph, {})
        return
    if what == "`.weights.h5` and `.h5` files of weights only" or "note" in graph.provenance:
        return  # no model to run, or one that is announced to compute otherwise
    framework = frameworks.of_source(Path(path), graph, {})
    sample = layerwise.Sample("", x if isinstance(x, dict) else {graph.inputs[0].name: x})
    made = layerwise.compare(model, [sample], 1e-5, None, framework, graph.origins)
    assert made.begins is None and not made.problem and not made.overlap, made.text()
    outputs = {v.name for v in graph.outputs}
    for layer, row in zip(graph.layers, made.rows, strict=True):
        assert row["framework"] is not None or not outputs & set(layer.outputs)
    if what in ("stacked layers", "`TimeDistributed` around any of these"):
        assert all(r["framework"] is not None for r in made.rows)


def test_errors_are_relative_to_all_samples():
    """One sample with tiny values says nothing about the layer: outputs are judged so, too."""
    net = Net(seed=3)
    big = net.const(np.float32(64))
    x = net.node("Sub", net.node("Add", net.input("x", "N", 3), big), big)
    net.output(net.node("MatMul", x, net.weight(3, 2)))
    model = lstmc.convert(net.model())
    tiny, usual = (layerwise.Sample("", {"x": data(4, 3) * k}) for k in (1e-4, 100))
    alone = layerwise.compare(model, [tiny], 1e-5)
    assert alone.begins is not None and alone.begins[0] == "core"
    both = layerwise.compare(model, [tiny, usual], 1e-5)
    assert both.begins is None and 0 < max(r["core"] for r in both.rows) < 1e-5
    assert both.rows == layerwise.compare(model, [usual, tiny], 1e-5).rows


def test_a_difference_inside_where_outputs_agree(checked):
    """Nothing is blamed for it: the text says that the outputs agree."""
    net = Net(seed=3)
    x = net.input("x", "N", 3)
    big = net.const(np.float32(1e5))
    lossy = net.node("Tanh", net.node("Sub", net.node("Add", x, big), big))
    small = net.node("Mul", lossy, net.const(np.float32(1e-7)))
    net.output(net.node("Add", net.node("Tanh", x), small))
    onnx.save(net.model(), "net.onnx")
    graph = converted("net.onnx")
    status, checks = checked("net.lstmc", "--against", "net.onnx", "--layers")
    assert status == 0 and checks["oracle"]["ok"] and checks["framework"]["ok"]
    assert checks["layers"]["ok"] is None
    assert checks["layers"]["text"].startswith("outputs agree; inside, beyond 1e-05 first at '")
    assert checks["layers"]["begins"]["layer"] in [layer.name for layer in graph.layers]


def test_another_net_is_told_by_its_first_other_layer(checked):
    for name, functions in (("net", ("Tanh", "Exp")), ("other", ("Tanh", "Softmax", "Exp"))):
        net = Net(seed=3)
        y = net.node("MatMul", net.input("x", "N", 3), net.weight(3, 2))
        for function in functions:
            y = net.node(function, y)
        net.output(y)
        made = net.model()
        made.graph.node[-1].output[0] = made.graph.output[0].name = "y"
        onnx.save(made, f"{name}.onnx")
    for ours, theirs, said in (
        ("net", "other", r"layer 2 is '.*: Activation', in the source '.*: Softmax'"),
        ("other", "net", r"layer 2 is '.*: Softmax', in the source '.*: Activation'"),
    ):
        n = len(converted(f"{ours}.onnx").layers)
        of = len(lstmc.convert(f"{theirs}.onnx").graph.layers)
        status, checks = checked("net.lstmc", "--against", f"{theirs}.onnx")
        text = checks["weights"]["text"]
        assert status == 1
        assert re.fullmatch(f"{said}; the file has {n} layers, the source {of}", text), text


# ------------------------------------------------------------------------------ other frameworks


def test_keras_layers(checked):
    """A functional model with a shared layer, a mask, a dropout and two inputs."""
    keras = pytest.importorskip("keras")
    pytest.importorskip("h5py")
    L = keras.layers
    a, b = L.Input((7,), name="a"), L.Input((7, 3), name="b")
    shared = L.Dense(4, name="shared")
    x = shared(L.Embedding(6, 3, mask_zero=True, name="table")(a))
    y = L.Dropout(0.5)(L.Add(name="sum")([x, shared(b)]))
    y = L.LSTM(5, return_sequences=True, name="first")(y)
    y = L.Dense(2, activation="softmax", name="head")(L.GRU(4, name="second")(y))
    keras.Model([a, b], y).save("net.keras")
    graph = converted("net.keras")
    status, checks = checked("net.lstmc", "--against", "net.keras", "--layers")
    assert status == 0 and checks["layers"]["ok"], checks
    seen = {r["layer"] for r in checks["layers"]["layers"] if r["framework"] is not None}
    assert {"table", "first", "second", "head/activation"} <= seen
    number = next(i for i, x in enumerate(graph.layers) if x.name == "second")
    corrupted(graph, number)
    _, checks = checked("net.lstmc", "--against", "net.keras")
    assert checks["layers"]["begins"] == {"layer": "second", "against": "source"}


def test_a_wrong_conversion_from_keras_is_found(checked, monkeypatch):
    keras = pytest.importorskip("keras")
    pytest.importorskip("h5py")
    L = keras.layers
    layers = [L.LSTM(4, return_sequences=True, name="one"), L.GRU(5, name="two"), L.Dense(2)]
    keras.Sequential([L.Input((6, 3)), *layers]).save("net.keras")
    monkeypatch.setitem(gates.GRU_ORDERS, "keras", "rzn")
    converted("net.keras")
    _, checks = checked("net.lstmc", "--against", "net.keras")
    assert checks["weights"]["ok"] and checks["oracle"]["ok"]
    assert checks["layers"]["begins"] == {"layer": "two", "against": "framework"}


def test_stateful_keras(checked):
    """Each comparison from zero state, though Keras would go on."""
    keras = pytest.importorskip("keras")
    pytest.importorskip("h5py")
    L = keras.layers
    ends = L.Input(batch_shape=(1, None, 3)), L.LSTM(4, return_sequences=True, stateful=True)
    inner = keras.Sequential([L.Input(batch_shape=(1, None, 4)), L.GRU(3, stateful=True)])
    keras.Sequential([*ends, inner]).save("net.keras")
    converted("net.keras")
    status, checks = checked("net.lstmc", "--against", "net.keras", "--layers")
    assert status == 0 and checks["framework"]["inputs"] >= 2


def test_what_keras_no_longer_loads(checked, tmp_path):
    pytest.importorskip("keras")
    pytest.importorskip("h5py")
    from keras2_files import keras2_file, keras2_lstm, named

    rng = np.random.default_rng(1)
    w = [rng.normal(size=s).astype("f") for s in ((3, 16), (4, 16), (16,))]
    layer = keras2_lstm("r", 4, batch_input_shape=[None, None, 3], time_major=False)
    root = {"class_name": "Sequential", "config": [layer]}
    keras2_file(tmp_path / "old.h5", root, {"r": named("r", w)}, "2.1.4")
    converted("old.h5")
    status, checks = checked("net.lstmc", "--against", "old.h5", "--layers")
    assert status == 0 and checks["framework"]["ok"] is None and checks["oracle"]["ok"]
    assert "did not load the source, written by keras 2.1.4: " in checks["framework"]["text"]
    assert checks["layers"]["ok"]


def test_torchscript(checked, printed):
    """A program is not converted; but the file made from its state_dict is held against it."""
    torch = pytest.importorskip("torch")
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.LSTM(3, 5, batch_first=True), nn.Linear(5, 2)

        def forward(self, x):
            y, (h, _) = self.rnn(x)
            return self.head(y), h[0]

    torch.manual_seed(0)
    net = Net().eval()
    lstmc.convert(net).save("net.lstmc")
    torch.jit.script(net).save("net.pt")
    status, checks = checked("net.lstmc", "--against", "net.pt", "--layers")
    assert status == 0 and checks["weights"]["ok"] is None and "TorchScript" in str(checks)
    assert checks["framework"]["ok"] and checks["framework"]["inputs"] == 4
    assert len(checks["framework"]["errors"]) == 2
    with torch.no_grad():
        net.head.bias[1] += 0.1
    torch.jit.script(net).save("net.pt")
    status, checks = checked("net.lstmc", "--against", "net.pt")
    errors = list(checks["framework"]["errors"].values())
    assert status == 1 and errors[0] > 1e-3 and errors[1] < 1e-6
    Path("broken.pt").write_bytes(Path("net.pt").read_bytes()[:-300])
    assert printed("net.lstmc", "--against", "broken.pt")[0] == 1
    torch.save(net.state_dict(), "state.pt")
    status, _, err = printed("net.lstmc", "--against", "state.pt")
    assert status == 1 and "--arch" in err
