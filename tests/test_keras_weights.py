"""Files of Keras's weights without its config, with an architecture, against the live model."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest

pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")

from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group  # noqa: E402
from keras_nets import (  # noqa: E402
    check,
    convert,
    functional,
    g,
    keras,
    layers_of,
    random_inputs,
    sequential,
)

from lstmc.errors import ConversionError, FormatError  # noqa: E402

L = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


def files(model, tmp_path):
    """The model's weights as Keras 2 and as Keras 3 saves them."""
    model.save_weights(tmp_path / "new.weights.h5")
    with h5py.File(tmp_path / "old.h5", "w") as f:
        save_weights_to_hdf5_group(f, model)
    return tmp_path / "old.h5", tmp_path / "new.weights.h5"


GATES = {"activation": "softsign", "recurrent_activation": "hard_sigmoid"}
TIMED = "input batch time 3; "
LINES = {
    "lstm": (lambda: [L.LSTM(4, name="a"), L.Dense(2, name="b")],
             "lstm weights=a last; dense weights=b"),
    "lstm, options": (
        lambda: [L.LSTM(4, name="a", use_bias=False, return_sequences=True, **GATES)],
        "lstm weights=a activation=softsign recurrent_activation=hard_sigmoid(0.16666667,0.5)",
    ),
    "gru": (lambda: [L.GRU(4, name="a")], "gru weights=a last"),
    "gru, before": (lambda: [L.GRU(4, name="a", reset_after=False)],
                    "gru weights=a last reset_after=false"),
    "gru, no bias": (lambda: [L.GRU(4, name="a", use_bias=False, reset_after=False)],
                     "gru weights=a last reset_after=false"),
    "gru, no bias, after": (lambda: [L.GRU(4, name="a", use_bias=False)],
                            "gru weights=a last reset_after=true"),
    "rnn": (lambda: [L.SimpleRNN(4, name="a", activation="relu")],
            "rnn weights=a activation=relu last"),
    "both ways": (lambda: [L.Bidirectional(L.LSTM(4, return_sequences=True), name="a")],
                  "lstm weights=a"),
    "both ways, states": (lambda: [L.Bidirectional(L.GRU(4), name="a")],
                          "gru weights=a take=states"),
    "dropout": (
        lambda: [L.LSTM(4, name="a", dropout=0.5, recurrent_dropout=0.5), L.Dropout(0.5),
                 L.Dense(2, name="b", activation="softmax")],
        "lstm weights=a last; dropout; dense weights=b activation=softmax",
    ),
    "conv": (lambda: [L.Conv1D(4, 3, 2, dilation_rate=1, name="a", activation="relu")],
             "conv1d weights=a stride=2 activation=relu"),
    "conv, groups": (lambda: [L.Dense(6, name="b"), L.Conv1D(4, 2, groups=2, name="a")],
                     "dense weights=b; conv1d weights=a groups=2"),
    "conv, same": (lambda: [L.Conv1D(4, 4, padding="same", use_bias=False, name="a")],
                   "conv1d weights=a padding=same"),
    "conv, causal": (lambda: [L.Conv1D(4, 3, padding="causal", dilation_rate=2, name="a")],
                     "conv1d weights=a padding=causal dilation=2"),
    "norms": (
        lambda: [L.LayerNormalization(name="a", epsilon=1e-2), L.BatchNormalization(name="b"),
                 L.RMSNormalization(name="c")],
        "layernorm weights=a eps=1e-2; batchnorm1d weights=b eps=1e-3; rmsnorm weights=c eps=1e-6",
    ),
    "slopes": (lambda: [L.PReLU(name="a", shared_axes=[1]), L.LeakyReLU(0.2)],
               "prelu weights=a; leakyrelu negative_slope=0.2"),
    "wrapped": (lambda: [L.TimeDistributed(L.Dense(2, name="inner"), name="a")],
                "dense weights={a}"),
    "nested": (
        lambda: [keras.Sequential([L.Input((7, 3)), L.Dense(3, name="x"), L.LSTM(4, name="y")],
                                  name="a"), L.Dense(2, name="b")],
        "dense weights=a/x; lstm weights=a/y last; dense weights=b",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_types(tmp_path, name):
    build, line = LINES[name]
    live = sequential(*build())
    # What a wrapper holds is a layer of its own in files of Keras 3.
    for path, own in zip(files(live, tmp_path), ("a", "a/inner"), strict=True):
        check(live, source=path, arch=TIMED + line.format(a=own))


def test_embedding(tmp_path):
    live = sequential(L.Embedding(5, 3, name="e"), L.GRU(4, name="a"), shape=(7,), dtype="int32")
    x = np.random.default_rng(0).integers(0, 5, (3, 7)).astype("int64")
    for path in files(live, tmp_path):
        check(live, x, path, arch="input batch time; embedding weights=e; gru weights=a last")


def test_branches(tmp_path):
    """Several inputs, values read twice, outputs of the middle; one group in two layers."""

    def build(x, s):
        a = L.LSTM(4, return_sequences=True, name="a")(x)
        twice = L.Dense(4, name="d", activation="tanh")
        m = L.Multiply()([a, twice(a)])
        last = L.GRU(4, name="g")(L.Concatenate()([m, twice(m)]))
        return m, L.Add()([last, s])

    live = functional(build, (7, 3), (4,))
    entries = [
        {"type": "LSTM", "weights": "a", "name": "a"},
        {"type": "Dense", "weights": "d", "activation": "tanh", "name": "gate"},
        {"type": "Multiply", "inputs": ["a", "gate"], "name": "m"},
        {"type": "Dense", "weights": "d", "activation": "tanh", "name": "again"},
        {"type": "Concat", "inputs": ["m", "again"]},
        {"type": "GRU", "weights": "g", "return_sequences": False, "name": "last"},
        {"type": "Add", "inputs": ["last", "s"], "name": "sum"},
    ]
    model = {"inputs": {"x": ["batch", "time", 3], "s": ["batch", 4]}, "outputs": ["m", "sum"]}
    line = (
        "input batch time 3 name=x; input batch 4 name=s; lstm weights=a name=a input=x; "
        "dense weights=d activation=tanh name=gate; multiply inputs=a, gate name=m; "
        "dense weights=d activation=tanh name=again; concat inputs=m,again; "
        "gru weights=g name=last last; add inputs=last,s name=sum; output m sum"
    )
    for path in files(live, tmp_path):
        for arch in ({"model": model, "layer": entries}, line):
            graph = check(live, random_inputs(convert(path, arch=arch), time=7), path, arch=arch)
            assert [v.name for v in graph.inputs] == ["x", "s"]
            assert [v.name for v in graph.outputs] == ["m", "sum"]


def test_without_an_architecture(tmp_path):
    """The error lists what the file holds, and suggests a line that works if it can."""
    live = sequential(
        L.LSTM(4, name="a", return_sequences=True), L.Bidirectional(L.GRU(4), name="b"),
        L.Dense(2, name="c"),
    )  # fmt: skip
    for path in files(live, tmp_path):
        with pytest.raises(ConversionError, match="holds weights only, no architecture") as e:
            convert(path)
        assert "b/forward_layer (" in str(e.value) and "[3, 16]" in str(e.value)
        suggested = str(e.value).split('--arch "')[1].split('"')[0]
        if path.name.startswith("old"):  # others keep no order, but that of names
            want = "lstm weights=a; gru weights=b take=states; dense weights=c"
            assert suggested == TIMED + want
            check(live, source=path, arch=suggested)
        (path.with_suffix(".toml")).write_text(
            '[model]\ninput = ["batch", "time", 3]\n[[layer]]\ntype = "LSTM"\nweights = "a"\n'
        )
        with pytest.raises(ConversionError, match=r"groups of the file unused: b/\w+ward_layer"):
            convert(path)


def test_ignored_groups(tmp_path):
    live = sequential(L.LSTM(4, name="a", return_sequences=True), L.Dense(2, name="b_1"))
    path, _ = files(live, tmp_path)
    graph = convert(path, arch=TIMED + "lstm weights=a; ignore b*")
    assert len(graph.layers) == len(layers_of(graph, g.LSTM)) == 1
    assert graph.provenance["producer"] == f"keras {keras.__version__}"
    assert graph.provenance["file"] == "old.h5"


ERRORS = {
    "lstm weights=c": r"no group 'c' for it; it holds a \(kernel \[3, 16\], recurrent_kernel",
    "gru weights=a": r"'a'.*is no gru of 4 units",
    "dense weights=a": "holds a weight 'recurrent_kernel'.*no dense has: is it of another type",
    "lstm weights=b": "holds a weight 'gamma'|lacks a kernel",
    "conv1d weights=b": "holds a weight 'gamma'",
    "glu weights=a": "unknown keys 'weights'",
    "lstm weights=a; layernorm weights=b": "eps is missing; torch's usual value is 1e-05",
    "lstm weights=a recurrent_activation=hard_sigmoid": r"such as hard_sigmoid\(0.2, 0.5\) of Ker",
    "lstm weights=a activation=leaky_relu": r"such as leaky_relu\(0.2\)",
    "lstm weights=a; leakyrelu": "negative_slope is missing",
    "lstm weights=a num_layers=2": "num_layers = 2, but the file has 1",
    "lstm weights=a; conv1d weights=c": "no group 'c'",
    "lstm weights=a; layernorm weights=b eps=1": "unused: c \\(kernel \\[5, 3\\]\\)",
}


@pytest.mark.parametrize("line", ERRORS)
def test_errors(tmp_path, line):
    live = sequential(
        L.LSTM(4, name="a", return_sequences=True), L.LayerNormalization(name="b"),
    )  # fmt: skip
    path, _ = files(live, tmp_path)
    if "unused" in ERRORS[line] or "weights=c" in line:
        with h5py.File(path, "r+") as f:
            names = [*f.attrs["layer_names"]]
            if "unused" in ERRORS[line]:
                f.attrs["layer_names"] = [*names, "c"]
                f.create_dataset("c/c/kernel", data=np.ones((5, 3), "f"))
                f["c"].attrs["weight_names"] = ["c/kernel"]
    with pytest.raises(ConversionError, match=ERRORS[line]) as e:
        convert(path, arch=TIMED + line)
    assert "\n" not in str(e.value)


def test_weights_that_only_numbers_tell_apart(tmp_path):
    """Keras 3 keeps no names: a norm without one of its weights can't be told."""
    live = sequential(L.LayerNormalization(name="a", center=False))
    old, new = files(live, tmp_path)
    check(live, source=old, arch=TIMED + "layernorm weights=a eps=1e-3")
    with pytest.raises(ConversionError, match="1 weights without names, expected gamma, beta"):
        convert(new, arch=TIMED + "layernorm weights=a eps=1e-3")
    live = sequential(L.GRU(4, name="a", use_bias=False))
    for path in files(live, tmp_path):
        with pytest.raises(ConversionError, match="no bias that would tell reset_after"):
            convert(path, arch=TIMED + "gru weights=a")
    live = sequential(L.GRU(4, name="a"))
    for path in files(live, tmp_path):
        with pytest.raises(ConversionError, match="reset_after = False, but the file has True"):
            convert(path, arch=TIMED + "gru weights=a reset_after=false")


def test_layers_of_the_same_name(tmp_path):
    """Then groups of Keras 3 are called by their places."""
    inner = [keras.Sequential([L.Input((7, 3)), L.Dense(3, name="x")], name=n) for n in "ab"]
    live = sequential(*inner)
    _, path = files(live, tmp_path)
    check(live, source=path, arch=TIMED + "dense weights=a/x; dense weights=b/x")
    with h5py.File(path, "r+") as f:
        for part in ("sequential", "sequential_1"):
            f[f"layers/{part}/vars"].attrs["name"] = "same"
    line = "dense weights=sequential/dense; dense weights=sequential_1/dense"
    check(live, source=path, arch=TIMED + line)


def test_an_architecture_is_for_weights_only(tmp_path):
    live = sequential(L.LSTM(4, name="a"))
    live.save(tmp_path / "m.keras")
    live.save(tmp_path / "m.h5")
    for source in (live, tmp_path / "m.keras", tmp_path / "m.h5"):
        with pytest.raises(ConversionError, match="files of weights only; this model has its own"):
            convert(source, arch=TIMED + "lstm weights=a")


def test_conversion_imports_no_framework(tmp_path):
    import subprocess

    files(sequential(L.LSTM(4, name="a")), tmp_path)
    code = (
        "import sys; sys.modules['torch'] = sys.modules['keras'] = None\n"
        "from lstmc.converters import convert\n"
        "for n in ('old.h5', 'new.weights.h5'):\n"
        f"    convert(n, arch={TIMED + 'lstm weights=a last'!r})\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)


def test_hostile_files(tmp_path):
    """Broken layouts are refused in one line; none takes long."""

    def broken(change, message, kind=FormatError, number=0):
        path = files(sequential(L.LSTM(4, name="a"), L.Dense(2, name="b")), tmp_path)[number]
        with h5py.File(path, "r+") as f:
            change(f)
        with pytest.raises(kind, match=message) as e:
            convert(path, arch=TIMED + "lstm weights=a last; dense weights=b")
        assert "\n" not in str(e.value)

    def loop(f):
        for n in range(8):
            f[f"layers/lstm/again{n}"] = f["layers"]

    def rename(f):
        f["layers/dense/vars/7"] = f["layers/dense/vars/1"]

    def replace(f, leaf, data):
        """Put something else in the place of a weight, "a kernel"."""
        layer, _, leaf = leaf.rpartition(" ")
        if layer:
            (own,) = [n for n in f[layer].attrs["weight_names"] if n.rpartition("/")[2] == leaf]
            leaf = f"{layer}/{own}"
        del f[leaf]
        f[leaf] = data

    def bushy(f):
        """Few groups, many ways to each."""
        groups = [f.create_group(f"layers/g{n}") for n in range(25)]
        for a, b in itertools.pairwise(groups):
            a["left"] = a["right"] = b

    broken(bushy, "holds too many", number=1)
    broken(loop, "nested too deeply, or holds too many", number=1)
    broken(rename, "not 0, 1, 2", number=1)
    broken(lambda f: replace(f, "b kernel", h5py.ExternalLink("/etc/hostname", "x")), "is a link")
    broken(
        lambda f: f["b"].attrs.__setitem__("weight_names", [*f["b"].attrs["weight_names"]] * 2),
        "a weight twice",
    )
    broken(lambda f: f.attrs.__setitem__("layer_names", ["a", "a"]), "two groups 'a'")
    broken(lambda f: f.attrs.__setitem__("layer_names", ["a", "z"]), "no weights of layer 'z'")
    broken(lambda f: f.attrs.__setitem__("layer_names", []), "holds no weights")
    nan = np.full((4, 2), np.nan, "f")
    broken(lambda f: replace(f, "b kernel", nan), "NaN", ConversionError)
    flat = np.ones(8, "f")
    broken(lambda f: replace(f, "b kernel", flat), r"shape \[8\], expected 2", ConversionError)
    whole = np.ones((3, 16), "i4")
    broken(lambda f: replace(f, "a kernel", whole), "expected float32", ConversionError)
    long = np.ones(32, "f")
    broken(lambda f: replace(f, "a bias", long), "no lstm of 4.*CuDNN", ConversionError)
    broken(lambda f: replace(f, "a recurrent_kernel", flat), "no lstm", ConversionError)
    broken(lambda f: replace(f, "layers/dense/vars/0", flat), "expected 2", ConversionError, 1)
