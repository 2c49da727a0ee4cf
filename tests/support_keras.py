"""Models for the Keras section of docs/SUPPORT.md (see test_support.py)."""

from __future__ import annotations

import h5py
import numpy as np
from keras2_files import keras2_file, keras2_layer, keras2_lstm
from keras_nets import functional, keras, keras_outputs, sequential

L, ops = keras.layers, keras.ops
TOKENS = np.array([[1, 2, 3, 0, 0], [0, 0, 4, 1, 2], [0, 0, 0, 0, 0]], np.float32)


def _padded(*shape):
    """Random numbers; of a sequence the ends, the beginnings or everything is zero."""
    x = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    if len(shape) == 2:
        x[0, -2:] = x[1, :2] = x[2] = 0
    return x


def _row(build, *shapes):
    def make(folder):
        model = functional(build, *shapes)
        inputs = {x.name: _padded(*(n or 5 for n in x.shape[1:])) for x in model.inputs}
        return model, inputs, keras_outputs(model, list(inputs.values()))[0]

    return make


def _tokens(build):
    def make(folder):
        model = functional(build, (5,))
        return model, {"x0": TOKENS}, keras_outputs(model, [TOKENS])[0]

    return make


def _file(name):
    def make(folder):
        model, x, y = _row(lambda x: L.LSTM(3)(x))(folder)
        model.save(folder / name)
        return folder / name, x, y

    return make


def _weights_described(folder):
    """The description beside it is found by itself."""
    model, x, y = _row(lambda x: L.LSTM(3, name="r")(x))(folder)
    model.save_weights(folder / "m.weights.h5")
    toml = '[model]\ninput = ["batch", "time", 3]\n[[layer]]\ntype = "LSTM"\nweights = "r"\n'
    (folder / "m.weights.toml").write_text(toml + "return_sequences = false\n")
    return folder / "m.weights.h5", x["x0"], y


def _keras2(folder):
    """hard_sigmoid of Keras 2 is not that of Keras 3."""

    def hard_sigmoid2(x):
        return ops.clip(0.2 * x + 0.5, 0, 1)

    live = sequential(L.LSTM(3, recurrent_activation=hard_sigmoid2))
    parts = ("kernel", "recurrent_kernel", "bias")
    weights = {f"r/{p}:0": w for p, w in zip(parts, live.get_weights(), strict=True)}
    layer = keras2_lstm("r", 3, batch_input_shape=[None, 7, 3])
    root = {"class_name": "Sequential", "config": [layer]}
    x = _padded(7, 3)
    return keras2_file(folder / "m.h5", root, {"r": weights}), x, keras_outputs(live, [x])[0]


def _sequential(folder):
    model, x = sequential(L.GRU(3), L.Dense(2)), _padded(7, 3)
    return model, x, keras_outputs(model, [x])[0]


def _states(x, y):
    _, *states = L.LSTM(4, return_state=True)(x)
    return L.LSTM(4, return_sequences=True)(y, initial_state=states)


def _nested(x):
    inner = keras.Sequential([L.Input((7, 3)), L.LSTM(3, return_sequences=True)])
    return L.GRU(2)(inner(inner(x)))


def _mask(x):
    return L.LSTM(3)(x, mask=ops.any(ops.not_equal(x, 0.0), axis=-1))


def _stateful(folder):
    model = keras.Sequential([L.Input(batch_shape=(4, 7, 3)), L.LSTM(3, stateful=True)])
    return model, _padded(7, 3), keras_outputs(model, [_padded(7, 3)])[0]


CONVERTS = {
    "live `keras.Sequential`": _sequential,
    "live functional `keras.Model`": _row(lambda x: L.LSTM(3)(x)),
    "`.keras` files": _file("model.keras"),
    "`.h5` files of Keras 3": _file("model.h5"),
    "`.h5` files of Keras 2": _keras2,
    "`.weights.h5` and `.h5` files of weights only": _weights_described,
    "nested and shared models": _row(_nested),
    "several inputs, each with its own number of steps": _row(_states, (7, 3), (None, 2)),
    "`LSTM`": _row(lambda x: L.LSTM(3)(x)),
    "`GRU`": _row(lambda x: L.GRU(3, reset_after=False)(x)),
    "`SimpleRNN`": _row(lambda x: L.SimpleRNN(3)(x)),
    "`RNN` around cells": _row(lambda x: L.RNN([L.LSTMCell(3), L.GRUCell(2)])(x)),
    "`Bidirectional`": _row(lambda x: L.Bidirectional(L.GRU(3), merge_mode="ave")(x)),
    "`return_sequences`": _row(lambda x: L.GRU(3, return_sequences=True)(x)),
    "`return_state`, `initial_state`": _row(_states, (7, 3), (None, 2)),
    "`go_backwards`": _row(lambda x: L.GRU(3, return_sequences=True, go_backwards=True)(x)),
    "`stateful`": _stateful,
    "`zero_output_for_mask`": _row(
        lambda x: L.GRU(3, return_sequences=True, zero_output_for_mask=True)(L.Masking()(x))
    ),
    "activations by name": _row(lambda x: L.LSTM(3, activation="mish")(x)),
    "`ReLU`, `LeakyReLU`, `ELU` as an activation": _row(
        lambda x: L.LSTM(3, activation=L.LeakyReLU(0.1))(x)
    ),
    "`Masking`": _row(lambda x: L.LSTM(3)(L.Masking()(x))),
    "`Embedding`": _tokens(lambda x: L.LSTM(3)(L.Embedding(5, 2)(x))),
    "`Embedding(mask_zero=True)`": _tokens(
        lambda x: L.LSTM(3)(L.Embedding(5, 2, mask_zero=True)(x))
    ),
    "`mask=` given to a layer": _row(_mask),
    "`TimeDistributed`": _row(lambda x: L.TimeDistributed(L.Dense(2))(x)),
    "`Dense`": _row(lambda x: L.Dense(2, activation="softmax")(x)),
    "`Activation`": _row(lambda x: L.Activation("gelu")(x)),
    "`ReLU`, `LeakyReLU`, `ELU`, `PReLU`": _row(
        lambda x: L.PReLU(shared_axes=[1])(L.ReLU(max_value=1, negative_slope=0.1)(x))
    ),
    "`Softmax`": _row(lambda x: L.Softmax(axis=1)(x)),
    "`Dropout` and its like": _row(lambda x: L.GaussianNoise(0.1)(L.Dropout(0.5)(x))),
    "`BatchNormalization`": _row(lambda x: L.BatchNormalization()(x)),
    "`LayerNormalization`": _row(lambda x: L.LayerNormalization()(x)),
    "`RMSNormalization`": _row(lambda x: L.RMSNormalization(epsilon=0.1)(x)),
    "`Conv1D`": _row(lambda x: L.Conv1D(6, 3, padding="same", dilation_rate=2, groups=3)(x)),
    "`DepthwiseConv1D`": _row(lambda x: L.DepthwiseConv1D(3, depth_multiplier=2)(x)),
    "`SeparableConv1D`": _row(lambda x: L.SeparableConv1D(4, 3)(x)),
    "`MaxPooling1D`": _row(lambda x: L.MaxPooling1D(2, padding="same")(x)),
    "`AveragePooling1D`": _row(lambda x: L.AveragePooling1D(2)(x)),
    "`GlobalMaxPooling1D`": _row(lambda x: L.GlobalMaxPooling1D()(x)),
    "`GlobalAveragePooling1D`": _row(lambda x: L.GlobalAveragePooling1D(keepdims=True)(x)),
    "`Flatten`": _row(lambda x: L.Flatten()(x)),
    "`Reshape`": _row(lambda x: L.Reshape((3, 7))(x)),
    "`Permute`": _row(lambda x: L.Permute((2, 1))(x)),
    "`RepeatVector`": _row(lambda x: L.RepeatVector(4)(x), (3,)),
    "`ZeroPadding1D`, `Cropping1D`": _row(lambda x: L.Cropping1D((2, 0))(L.ZeroPadding1D(1)(x))),
    "`UpSampling1D`": _row(lambda x: L.UpSampling1D(2)(x)),
    "`Add`, `Subtract`, `Multiply`, `Average`, `Maximum`, `Minimum`": _row(
        lambda x: L.Multiply()([L.Add()([x, L.LSTM(3)(x)]), x])
    ),
    "`Concatenate`": _row(lambda x: L.Concatenate()([x, L.Dense(2)(x)])),
    "arithmetic, `x + y`, `2 * x`": _row(lambda x: 1 - 2 * x / 3 + x * x),
    "slices, `x[:, -1]`, `x[:, 1:, :2]`": _row(lambda x: x[:, 1:, :2]),
    "operations of `keras.ops`": _row(lambda x: ops.mean(ops.tanh(x), axis=1)),
}


class Custom(L.Layer):
    def call(self, x):
        return x


def _refused(build, *shapes):
    return lambda folder: functional(build, *shapes)


def _one(make, **options):
    return lambda folder: sequential(make(), **options)


def _quantized(folder):
    model = sequential(L.Dense(4, name="d"))
    model.quantize("int8")
    return model


def _lora(folder):
    model = sequential(L.Dense(4, name="d"))
    model.layers[0].enable_lora(2)
    return model


def _weights_only(folder):
    sequential(L.LSTM(3, name="lstm")).save_weights(folder / "m.weights.h5")
    return folder / "m.weights.h5"


def _keras2_layers(*layers):
    def make(folder):
        root = {"class_name": "Sequential", "config": {"name": "m", "layers": list(layers)}}
        return keras2_file(folder / "m.h5", root, {}, "2.8.0")

    return make


def _old_masks(folder):
    path = folder / "m.h5"
    functional(lambda x: L.Add(name="a")([L.Masking()(x), x])).save(path)
    with h5py.File(path, "r+") as f:
        f.attrs["keras_version"] = "3.3.0"
    return path


_SHAPE = {"batch_input_shape": [None, 7, 3]}
_MASKED = keras2_layer("Masking", "m", mask_value=0.0, **_SHAPE)

REFUSED = {
    "a class of one's own": _one(lambda: Custom(name="c")),
    "a subclassed model": lambda folder: type("Mine", (keras.Model,), {})(),
    "a file with weights only and no description": _weights_only,
    "`Lambda`": _one(lambda: L.Lambda(lambda x: x * 2, name="l")),
    "`Dot`": _refused(lambda x: L.Dot(1, name="d")([x, x])),
    "`MultiHeadAttention`": _refused(lambda x: L.MultiHeadAttention(2, 2, name="a")(x, x)),
    "`UnitNormalization`": _one(lambda: L.UnitNormalization(name="u")),
    "`GroupNormalization`": _one(lambda: L.GroupNormalization(1, name="g")),
    "`ConvLSTM1D`": lambda folder: keras.Sequential(
        [L.Input((2, 3)), L.Reshape((2, 3, 1)), L.ConvLSTM1D(2, 2, name="c")]
    ),
    "other layers": _one(lambda: L.Rescaling(2.0, name="r")),
    "other operations": _refused(lambda x: ops.cumsum(x, axis=1)),
    "operations of TensorFlow": _keras2_layers(
        keras2_layer("TFOpLambda", "t", function="math.add", **_SHAPE)
    ),
    "softmax inside of a recurrent layer": _one(lambda: L.LSTM(3, activation="softmax", name="r")),
    "other activations": _one(lambda: L.Dense(3, activation="sparsemax", name="d")),
    "a layer with weights as an activation": _one(
        lambda: L.Dense(3, activation=L.PReLU(shared_axes=[1]), name="d")
    ),
    "`TimeDistributed` around other layers": _one(lambda: L.TimeDistributed(L.PReLU(), name="t")),
    "`training=True`": _refused(lambda x: L.Dropout(0.5, name="mc")(x, training=True)),
    "a mask in `Softmax` of [batch, time, features]": _refused(
        lambda x: L.Softmax(name="s")(L.Masking()(x)), (3, 3)
    ),
    "`BatchNormalization` over another axis": _one(lambda: L.BatchNormalization(axis=1, name="b")),
    "`BatchNormalization(renorm=True)`": _one(lambda: L.BatchNormalization(renorm=True, name="b")),
    "`LayerNormalization` over other axes": _one(
        lambda: L.LayerNormalization(axis=[1, 2], name="n")
    ),
    "`LayerNormalization(rms_scaling=True)`": _one(
        lambda: L.LayerNormalization(rms_scaling=True, name="n")
    ),
    "`PReLU` with slopes for each step": _one(lambda: L.PReLU(name="p")),
    "`data_format='channels_first'`": _one(
        lambda: L.Flatten(data_format="channels_first", name="f")
    ),
    "`AveragePooling1D(padding='same')` that pads unevenly": _one(
        lambda: L.AveragePooling1D(2, padding="same", name="p")
    ),
    "`Concatenate` of steps": _refused(lambda x: L.Concatenate(axis=1, name="c")([x, x])),
    "`Flatten` of any number of steps": _one(lambda: L.Flatten(name="f"), shape=(None, 3)),
    "`Permute`, `UpSampling1D` of any number of steps": _one(
        lambda: L.UpSampling1D(2, name="u"), shape=(None, 3)
    ),
    "`Reshape` to more than two axes": _one(lambda: L.Reshape((7, 3, 1), name="r")),
    "slices from the end of any number of steps": _refused(lambda x: x[:, -2:], (None, 3)),
    "new axes in slices": _refused(lambda x: x[:, None]),
    "inputs of more than three axes": _one(lambda: L.Flatten(), shape=(7, 3, 2)),
    "integers where floats are expected": _one(lambda: L.LSTM(2, name="r"), dtype="int32"),
    "float16, bfloat16, float64": _one(lambda: L.LSTM(2, dtype="mixed_float16", name="r")),
    "quantized layers": _quantized,
    "layers with LoRA": _lora,
    "`time_major=True` (Keras 2)": _keras2_layers(keras2_lstm("r", 2, time_major=True, **_SHAPE)),
    "masks behind layers without masks (Keras 2)": _keras2_layers(
        _MASKED,
        keras2_layer("ZeroPadding1D", "z", padding=[1, 1]),
        keras2_layer("GlobalAveragePooling1D", "p"),
    ),
    "masks that are merged (before Keras 3.4)": _old_masks,
}
