"""Files of Keras 2 with what Keras 3 spells differently, made by hand."""

import copy

import numpy as np
import pytest

pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")

from keras2_files import keras2_dense, keras2_file, keras2_layer, keras2_lstm  # noqa: E402
from keras_nets import (  # noqa: E402
    check,
    convert,
    functional,
    g,
    keras,
    layers_of,
    sequential,
)

from lstmc.errors import ConversionError  # noqa: E402

L, ops = keras.layers, keras.ops

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

PLAIN = {"recurrent_activation": "sigmoid"}


def gru(name, units, **config):
    entry = keras2_lstm(name, units, **{**PLAIN, **config})
    return {**entry, "class_name": "GRU"}


def names(layer, weights, *parts):
    """Weights by the names Keras 2 gives them."""
    return {f"{layer}/{part}:0": w for part, w in zip(parts, weights, strict=True)}


GATED = ("kernel", "recurrent_kernel", "bias")


def model(path, layers, weights, version="2.8.0"):
    root = {"class_name": "Sequential", "config": {"name": "sequential", "layers": layers}}
    return keras2_file(path, root, weights, version)


SHAPE = {"batch_input_shape": [None, 7, 3]}


@pytest.mark.parametrize("option", [{}, {"reset_after": False}, {"reset_after": True}])
def test_gru(tmp_path, option):
    """Keras before 2.1.3 had no reset_after."""
    after = option.get("reset_after", False)
    live = sequential(L.GRU(4, reset_after=after))
    weights = {"gru": names("gru", live.get_weights(), *GATED)}
    path = model(tmp_path / "m.h5", [gru("gru", 4, **SHAPE, **option)], weights)
    check(live, source=path)


def cudnn(kernel, recurrent, gates):
    """What CuDNN's layers store of a kernel [I, n H] and a recurrent kernel [H, n H].

    The inverse of what Keras 2 does when it loads them (engine/saving.py, _convert_rnn_weights).
    """
    parts = [k.reshape(k.shape[::-1], order="F").T for k in np.split(kernel, gates, axis=1)]
    turned = [k.T for k in np.split(recurrent, gates, axis=1)]
    return np.concatenate(parts, axis=1), np.concatenate(turned, axis=1)


def test_cudnn_stores_its_kernels_transposed():
    """For each gate, element by element: input i and unit j are at place i units + j of the
    kernel's columns read one after another."""
    kernel, recurrent = np.arange(3 * 8.0).reshape(3, 8), np.arange(2 * 8.0).reshape(2, 8)
    stored, turned = cudnn(kernel, recurrent, 4)
    assert stored[:, :2].ravel(order="C").tolist() != kernel[:, :2].ravel().tolist()
    k = stored[:, 2:4]
    assert np.array_equal(k.T.reshape(k.shape, order="F"), kernel[:, 2:4])
    assert np.array_equal(turned[:, 2:4], recurrent[:, 2:4].T)


CUDNN = {
    "return_sequences": True,
    "return_state": False,
    "go_backwards": False,
    "stateful": False,
}


@pytest.mark.parametrize("kind", ["CuDNNLSTM", "CuDNNGRU"])
def test_cudnn(tmp_path, kind):
    lstm = kind == "CuDNNLSTM"
    live = sequential((L.LSTM if lstm else L.GRU)(4, return_sequences=True))
    kernel, recurrent, bias = live.get_weights()
    stored = [*cudnn(kernel, recurrent, 4 if lstm else 3)]
    if lstm:
        half = np.random.default_rng(0).integers(-4, 4, 16).astype(np.float32) / 8
        live.layers[0].set_weights([kernel, recurrent, bias := np.round(bias * 64) / 64])
        stored.append(np.concatenate([half, bias - half]).astype(np.float32))
    else:
        stored.append(bias.ravel())
    layer = keras2_layer(kind, "rnn", units=4, **SHAPE, **CUDNN)
    path = model(tmp_path / "m.h5", [layer], {"rnn": names("rnn", stored, *GATED)}, "2.2.4")
    check(live, source=path)


@pytest.mark.parametrize("given", [True, False])
def test_bidirectional(tmp_path, given):
    """The backward layer is kept only if it was given."""
    live = sequential(L.Bidirectional(L.LSTM(4, return_sequences=True)))
    inner = keras2_lstm("lstm", 4, return_sequences=True, **PLAIN)
    config = {"layer": inner, "merge_mode": "concat", **SHAPE}
    if given:
        config["backward_layer"] = copy.deepcopy(inner)
        config["backward_layer"]["config"].update(name="back", go_backwards=True)
    a, b = live.get_weights()[:3], live.get_weights()[3:]
    weights = names("b/forward_lstm/lstm_cell_1", a, *GATED)
    weights |= names("b/backward_lstm/lstm_cell_2", b, *GATED)
    path = model(tmp_path / "m.h5", [keras2_layer("Bidirectional", "b", **config)], {"b": weights})
    check(live, source=path)


def embedding(name, **config):
    return keras2_layer("Embedding", name, input_dim=5, output_dim=3, input_length=None, **config)


TOKENS = np.array([[1, 2, 0, 0], [0, 3, 0, 4], [0, 0, 0, 0]], np.float32)


@pytest.mark.parametrize("zeros", [None, True])
def test_masks(tmp_path, zeros):
    more = {} if zeros is None else {"zero_output_for_mask": zeros}
    live = sequential(
        L.Embedding(5, 3, mask_zero=True), L.Dense(3),
        L.LSTM(4, return_sequences=True, zero_output_for_mask=bool(zeros)), L.GRU(2),
        shape=(None,),
    )  # fmt: skip
    layers = [
        embedding("e", mask_zero=True, batch_input_shape=[None, None]),
        keras2_dense("d", 3),
        keras2_lstm("r", 4, return_sequences=True, **PLAIN, **more),
        gru("g", 2, reset_after=True),
    ]
    w = live.get_weights()
    weights = {
        "e": names("e", w[:1], "embeddings"),
        "d": names("d", w[1:3], "kernel", "bias"),
        "r": names("r", w[3:6], *GATED),
        "g": names("g", w[6:], *GATED),
    }
    check(live, TOKENS, model(tmp_path / "m.h5", layers, weights))


def refused(path, *words):
    with pytest.raises(ConversionError) as caught:
        convert(path)
    assert all(w in str(caught.value) for w in words), caught.value


def test_masks_where_versions_differ(tmp_path):
    """A layer without masks: dropped in some versions of Keras 2, an error in others."""
    live = sequential(L.Embedding(5, 3), L.GRU(2), shape=(None,))
    w = live.get_weights()
    front = embedding("e", mask_zero=True, batch_input_shape=[None, None])
    padding = keras2_layer("ZeroPadding1D", "z", padding=[1, 1])
    weights = {"e": names("e", w[:1], "embeddings"), "g": names("g", w[1:], *GATED)}
    path = tmp_path / "m.h5"
    model(path, [front, padding, gru("g", 2, reset_after=True)], weights)
    refused(path, "'g' (GRU)", "'z'", "Keras 3")
    # Where nobody reads it there is no doubt.
    pool = keras2_layer("GlobalMaxPooling1D", "p", data_format="channels_last")
    only = {"e": weights["e"]}
    assert len(convert(model(path, [front, padding, pool], only)).layers) == 3

    inner = keras2_lstm("l", 2, return_sequences=True, **PLAIN)
    both = keras2_layer("Bidirectional", "b", layer=inner, merge_mode="concat")
    a = [np.zeros((3, 8), "f"), np.zeros((2, 8), "f"), np.zeros(8, "f")]
    stored = names("b/forward", a, *GATED) | names("b/backward", a, *GATED)
    model(path, [front, both], {"e": weights["e"], "b": stored})
    refused(path, "'b' (Bidirectional)", "return_sequences", "Keras 3")
    both["config"]["layer"]["config"]["zero_output_for_mask"] = True
    both["config"]["backward_layer"] = copy.deepcopy(both["config"]["layer"])
    both["config"]["backward_layer"]["config"].update(name="k", go_backwards=True)
    model(path, [front, both], {"e": weights["e"], "b": stored})
    assert len(layers_of(convert(path), g.LSTM)) == 2


def inbound(entry, *tensors, **kwargs):
    """A layer of a functional model: called on [layer, call, tensor] each."""
    name = entry["config"]["name"]
    return {**entry, "name": name, "inbound_nodes": [[[*t, kwargs] for t in tensors]]}


def graph_model(path, layers, outputs, weights, inputs=("x", "y"), version="2.8.0"):
    for layer in layers[: len(inputs)]:
        layer["inbound_nodes"] = []
    config = {
        "name": "model",
        "layers": layers,
        "input_layers": [[n, 0, 0] for n in inputs],
        "output_layers": outputs,
    }
    return keras2_file(path, {"class_name": "Functional", "config": config}, weights, version)


def input_layer(name, *shape):
    return inbound(keras2_layer("InputLayer", name, batch_input_shape=[None, *shape], sparse=False))


@pytest.mark.parametrize("spelled", ["list", "keyword"])
def test_initial_states(tmp_path, spelled):
    """Behind the input in a list, or as a keyword argument."""

    def build(x, y):
        _, h, c = L.LSTM(4, return_state=True)(x)
        return L.LSTM(4, return_sequences=True)(y, initial_state=[h, c])

    live = functional(build, (7, 3), (5, 3))
    states = [["a", 0, 1], ["a", 0, 2]]
    decoder = keras2_lstm("b", 4, return_sequences=True, **PLAIN)
    if spelled == "list":
        second = inbound(decoder, ["y", 0, 0], *states)
    else:
        second = inbound(decoder, ["y", 0, 0], initial_state=states)
    layers = [
        input_layer("x", 7, 3), input_layer("y", 5, 3),
        inbound(keras2_lstm("a", 4, return_state=True, **PLAIN), ["x", 0, 0]), second,
    ]  # fmt: skip
    w = live.get_weights()
    weights = {"a": names("a", w[:3], *GATED), "b": names("b", w[3:], *GATED)}
    path = graph_model(tmp_path / "m.h5", layers, [["b", 0, 0]], weights)
    x = {n: np.random.default_rng(0).normal(size=s).astype("f")
         for n, s in (("x", (2, 7, 3)), ("y", (2, 5, 3)))}  # fmt: skip
    check(live, x, path)


@pytest.mark.parametrize("version", ["2.8.0", "3.3.3"])
def test_merged_masks_before_keras_3_4(tmp_path, version):
    mask = keras2_layer("Masking", "m", mask_value=0.0)
    add = keras2_layer("Add", "add")

    def convert_with(*tensors):
        layers = [
            input_layer("x", 7, 3), inbound(mask, ["x", 0, 0]), inbound(add, *tensors),
            inbound(keras2_layer("GlobalAveragePooling1D", "p"), ["add", 0, 0]),
        ]  # fmt: skip
        path = tmp_path / "m.h5"
        return graph_model(path, layers, [["p", 0, 0]], {}, ("x",), version)

    same, mixed = (["m", 0, 0], ["m", 0, 0]), (["m", 0, 0], ["x", 0, 0])
    refused(convert_with(*mixed), "'add' (Add)", "different masks", "3.4")
    if version.startswith("2"):
        graph = convert(convert_with(*same))
        assert any(layer.op == "divide" for layer in layers_of(graph, g.Combine))
    else:
        refused(convert_with(*same), "'add' (Add)")


def test_activation_layers_of_keras_2(tmp_path):
    layers = [
        keras2_layer("LeakyReLU", "l", alpha=0.1, **SHAPE),
        keras2_layer("ThresholdedReLU", "t", theta=0.2),
        keras2_layer("Softmax", "s", axis=[-1]),
    ]
    live = sequential(L.LeakyReLU(negative_slope=0.1), L.ReLU(threshold=0.2), L.Softmax())
    check(live, source=model(tmp_path / "m.h5", layers, {}))
    layers[0]["config"]["alpha"] = {"type": "ndarray", "value": 0.1}
    check(live, source=model(tmp_path / "m.h5", layers, {}))


def test_time_major(tmp_path):
    layer = keras2_lstm("r", 4, time_major=True, **SHAPE)
    refused(model(tmp_path / "m.h5", [layer], {}), "time_major=True", "[batch, time, features]")


def test_operations_of_tensorflow(tmp_path):
    layer = keras2_layer("TFOpLambda", "tf.math.add", function="math.add", **SHAPE)
    refused(model(tmp_path / "m.h5", [layer], {}), "TensorFlow operation", "layer instead")
