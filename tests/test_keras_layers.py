"""The layers that stand around recurrent ones, each against live Keras."""

import numpy as np
import pytest

pytest.importorskip("keras")

from keras_nets import check, functional, keras, sequential

L, ops = keras.layers, keras.ops

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

ACTIVATIONS = (
    "linear", "sigmoid", "tanh", "relu", "hard_sigmoid", "exponential", "relu6", "leaky_relu",
    "elu", "celu", "selu", "softplus", "softsign", "silu", "swish", "gelu", "mish", "hard_silu",
    "hard_swish", "hard_tanh", "log_sigmoid", "tanh_shrink", "soft_shrink", "hard_shrink",
    "squareplus", "sparse_plus", "sparse_sigmoid", "softmax", "log_softmax",
)  # fmt: skip

SEQUENCE = {  # on [batch, 7, 3]
    "relu": lambda: L.ReLU(),
    "relu most": lambda: L.ReLU(max_value=0.5),
    "relu slope": lambda: L.ReLU(negative_slope=0.2),
    "relu threshold": lambda: L.ReLU(threshold=0.3),
    "relu threshold most": lambda: L.ReLU(threshold=0.3, max_value=0.7),
    "relu slope most": lambda: L.ReLU(negative_slope=0.2, max_value=0.7),
    "relu all": lambda: L.ReLU(negative_slope=0.2, max_value=0.7, threshold=0.3),
    "leaky relu": lambda: L.LeakyReLU(negative_slope=0.1),
    "elu": lambda: L.ELU(alpha=0.7),
    "prelu": lambda: L.PReLU(shared_axes=[1]),
    "prelu of one": lambda: L.PReLU(shared_axes=[1, 2]),
    "softmax": lambda: L.Softmax(),
    "softmax over time": lambda: L.Softmax(axis=1),
    "softmax axis 2": lambda: L.Softmax(axis=2),
    "softmax list": lambda: L.Softmax(axis=[1]),
    "batch norm": lambda: L.BatchNormalization(),
    "batch norm bare": lambda: L.BatchNormalization(center=False, scale=False, epsilon=0.1),
    "batch norm axis 2": lambda: L.BatchNormalization(axis=2, scale=False),
    "layer norm": lambda: L.LayerNormalization(),
    "layer norm bare": lambda: L.LayerNormalization(center=False, scale=False, epsilon=0.1),
    "layer norm axis 2": lambda: L.LayerNormalization(axis=2, center=False),
    "layer norm list": lambda: L.LayerNormalization(axis=[-1], scale=False),
    "rms norm": lambda: L.RMSNormalization(),
    "dense": lambda: L.Dense(4, activation="relu"),
    "dense, no bias": lambda: L.Dense(4, use_bias=False),
    "time distributed": lambda: L.TimeDistributed(L.Dense(4, activation="softmax")),
    "time distributed norm": lambda: L.TimeDistributed(L.BatchNormalization(axis=1)),
    "time distributed softmax": lambda: L.TimeDistributed(L.Softmax(axis=1)),
    "dropout": lambda: L.Dropout(0.5),
    "spatial dropout": lambda: L.SpatialDropout1D(0.5),
    "gaussian noise": lambda: L.GaussianNoise(0.5),
    "gaussian dropout": lambda: L.GaussianDropout(0.5),
    "alpha dropout": lambda: L.AlphaDropout(0.5),
    "activity": lambda: L.ActivityRegularization(l2=0.5),
    "identity": lambda: L.Identity(),
    "conv valid": lambda: L.Conv1D(4, 3),
    "conv same": lambda: L.Conv1D(4, 4, padding="same", activation="relu"),
    "conv causal": lambda: L.Conv1D(4, 3, padding="causal", dilation_rate=2),
    "conv stride": lambda: L.Conv1D(4, 3, strides=2, use_bias=False),
    "conv same stride": lambda: L.Conv1D(4, 4, strides=3, padding="same"),
    "conv same dilation": lambda: L.Conv1D(4, 3, padding="same", dilation_rate=2),
    "conv groups": lambda: L.Conv1D(6, 2, groups=3, activation="tanh"),
    "conv softmax": lambda: L.Conv1D(6, 2, groups=3, activation="softmax"),
    "depthwise": lambda: L.DepthwiseConv1D(3),
    "depthwise 2": lambda: L.DepthwiseConv1D(3, depth_multiplier=2, activation="tanh"),
    "depthwise same": lambda: L.DepthwiseConv1D(2, padding="same", use_bias=False, strides=2),
    "separable": lambda: L.SeparableConv1D(4, 3, depth_multiplier=2, activation="relu"),
    "separable same": lambda: L.SeparableConv1D(4, 2, padding="same", use_bias=False),
    "max pool": lambda: L.MaxPooling1D(2),
    "max pool same": lambda: L.MaxPooling1D(3, strides=2, padding="same"),
    "average pool": lambda: L.AveragePooling1D(3, strides=2),
    "average pool same": lambda: L.AveragePooling1D(3, strides=1, padding="same"),
    "average pool same 2": lambda: L.AveragePooling1D(3, strides=2, padding="same"),
    "global max": lambda: L.GlobalMaxPooling1D(),
    "global max kept": lambda: L.GlobalMaxPooling1D(keepdims=True),
    "global average": lambda: L.GlobalAveragePooling1D(),
    "global average kept": lambda: L.GlobalAveragePooling1D(keepdims=True),
    "flatten": lambda: L.Flatten(),
    "reshape": lambda: L.Reshape((3, 7)),
    "reshape open": lambda: L.Reshape((-1, 1)),
    "reshape flat": lambda: L.Reshape((21,)),
    "reshape same": lambda: L.Reshape((7, 3)),
    "permute": lambda: L.Permute((2, 1)),
    "permute nothing": lambda: L.Permute((1, 2)),
    "zero padding": lambda: L.ZeroPadding1D((1, 2)),
    "zero padding 1": lambda: L.ZeroPadding1D(2),
    "cropping": lambda: L.Cropping1D((1, 2)),
    "up sampling": lambda: L.UpSampling1D(2),
    "masking": lambda: L.Masking(0.5),
}
VECTOR = {  # on [batch, 6]
    "dense": lambda: L.Dense(4, activation="softmax"),
    "batch norm": lambda: L.BatchNormalization(axis=1),
    "layer norm": lambda: L.LayerNormalization(axis=1),
    "rms norm": lambda: L.RMSNormalization(),
    "prelu": lambda: L.PReLU(),
    "prelu of one": lambda: L.PReLU(shared_axes=[1]),
    "softmax": lambda: L.Softmax(axis=1),
    "repeat": lambda: L.RepeatVector(4),
    "reshape": lambda: L.Reshape((3, 2)),
    "reshape flat": lambda: L.Reshape((6,)),
    "reshape open": lambda: L.Reshape((-1, 2)),
    "flatten": lambda: L.Flatten(),
    "permute": lambda: L.Permute((1,)),
}


@pytest.mark.parametrize("name", SEQUENCE)
def test_on_a_sequence(name):
    check(sequential(SEQUENCE[name]()))


OPEN = [n for n in SEQUENCE if n not in (
    "average pool same 2", "flatten", "reshape", "reshape open", "reshape flat", "permute",
    "reshape same", "up sampling",
)]  # fmt: skip


@pytest.mark.parametrize("name", OPEN)
def test_on_a_sequence_of_any_length(name):
    check(sequential(SEQUENCE[name](), shape=(None, 3)))


@pytest.mark.parametrize("name", VECTOR)
def test_on_a_vector(name):
    check(sequential(VECTOR[name](), shape=(6,)))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    x = np.linspace(-4, 4, 2 * 7 * 3).reshape(2, 7, 3).astype(np.float32)
    check(sequential(L.Activation(name)), x)
    check(sequential(L.Dense(4, activation=name)), x)
    check(sequential(L.Activation(name), shape=(6,)))


@pytest.mark.parametrize("name", [n for n in ACTIVATIONS if "softmax" not in n])
def test_activations_in_a_cell(name):
    check(sequential(L.GRU(4, activation=name, recurrent_activation="sigmoid")))
    check(sequential(L.LSTM(4, activation="tanh", recurrent_activation=name), shape=(3, 3)))


@pytest.mark.parametrize(
    "layer",
    [lambda: L.LeakyReLU(0.1), lambda: L.ELU(0.5), lambda: L.ReLU(max_value=0.5)],
)
def test_layers_as_activations(layer):
    check(sequential(L.SimpleRNN(4, activation=layer())))
    check(sequential(L.Dense(4, activation=layer())))


def test_softmax_layer_as_activation():
    check(sequential(L.Dense(4, activation=L.Softmax())))


MERGES = {
    "add": lambda a, b: L.Add()([a, b]),
    "add three": lambda a, b: L.Add()([a, b, a]),
    "subtract": lambda a, b: L.Subtract()([a, b]),
    "multiply": lambda a, b: L.Multiply()([a, b]),
    "average": lambda a, b: L.Average()([a, b, b]),
    "maximum": lambda a, b: L.Maximum()([a, b]),
    "minimum": lambda a, b: L.Minimum()([a, b, a]),
    "concatenate": lambda a, b: L.Concatenate()([a, b]),
    "concatenate by number": lambda a, b: L.Concatenate(axis=2)([a, b, a]),
    "one feature": lambda a, b: L.Multiply()([a, L.Dense(1)(b)]),
    "a vector": lambda a, b: L.Add()([a, L.LSTM(3)(b)]),
    "vectors": lambda a, b: L.Concatenate()([L.LSTM(3)(a), L.LSTM(2)(b)]),
}


@pytest.mark.parametrize("name", MERGES)
def test_merges(name):
    check(functional(MERGES[name], (7, 3), (7, 3)))
    check(functional(MERGES[name], (None, 3), (None, 3)))


OPERATIONS = {
    "x + y": lambda x, y: x + y,
    "x - y": lambda x, y: x - y,
    "x * y": lambda x, y: x * y,
    "x / y": lambda x, y: x / (ops.exp(y) + 1.0),
    "numbers": lambda x, y: [x + 1.5, x - 1.5, x * 1.5, x / 1.5, -x],
    "numbers first": lambda x, y: [1.5 + x, 1 - x, 2 * x, 2.0 / (ops.square(x) + 1.0)],
    "maximum": lambda x, y: [ops.maximum(x, y), ops.minimum(x, 0.3), ops.maximum(0.3, x)],
    "last step": lambda x, y: x[:, -1, :],
    "steps": lambda x, y: [x[:, -1], x[:, -2], x[:, 0], x[:, 3]],
    "slices": lambda x, y: [x[:, 1:], x[:, :-1], x[:, 1:-2], x[:, ::2], x[:, 1::3]],
    "features": lambda x, y: [x[..., :2], x[:, :, 1:], x[:, :, 1], x[..., -1], x[:, 1:, 2:]],
    "a step of a feature": lambda x, y: x[:, -1, 1:],
    "concatenate": lambda x, y: ops.concatenate([x, y], axis=-1),
    "stack": lambda x, y: ops.stack([x[:, 0], y[:, -1], x[:, -1]], axis=1),
    "mean over time": lambda x, y: [ops.mean(x, axis=1), ops.sum(x, axis=1, keepdims=True)],
    "over features": lambda x, y: [ops.max(x, axis=-1), ops.min(x, axis=2, keepdims=True)],
    "max over time": lambda x, y: [ops.max(x, axis=1), ops.min(x, axis=1)],
    "unary": lambda x, y: [ops.relu(x), ops.tanh(x), ops.sigmoid(x), ops.exp(x), ops.abs(x)],
    "unary 2": lambda x, y: [ops.square(x), ops.sqrt(ops.abs(x)), ops.log(ops.abs(x) + 1.0)],
    "unary 3": lambda x, y: [ops.silu(x), ops.selu(x), ops.softplus(x), ops.clip(x, -0.5, 0.5)],
    "unary 4": lambda x, y: [ops.leaky_relu(x, 0.1), ops.elu(x, 0.5), ops.gelu(x, False)],
    "activations": lambda x, y: [keras.activations.relu(x), keras.activations.gelu(x)],
    "relu with options": lambda x, y: keras.activations.relu(x, max_value=0.5),
    "softmax": lambda x, y: [ops.softmax(x, axis=-1), ops.softmax(x, axis=1)],
    "log softmax": lambda x, y: ops.log_softmax(x, axis=-1),
    "expand and squeeze": lambda x, y: ops.squeeze(ops.expand_dims(x[:, :, 0], -1), -1),
    "flip": lambda x, y: [ops.flip(x, axis=1), ops.flip(x, axis=-1)],
    "attention": lambda x, y: ops.sum(x * ops.softmax(L.Dense(1)(y), axis=1), axis=1),
    "a mask as numbers": lambda x, y: x * ops.cast(ops.not_equal(x, 0.0), "float32"),
    "mask": lambda x, y: L.LSTM(3)(y, mask=ops.any(ops.not_equal(ops.relu(x - 0.5), 0), axis=-1)),
    "all": lambda x, y: L.GRU(3)(y, mask=ops.all(ops.not_equal(ops.relu(x), 0), axis=-1)),
    "equal": lambda x, y: L.GRU(3)(y, mask=ops.any(ops.equal(ops.relu(x), 0), axis=-1)),
    "logic": lambda x, y: L.GRU(3)(
        y,
        mask=ops.logical_or(
            ops.logical_not(ops.not_equal(ops.relu(x[:, :, 0]), 0)),
            ops.logical_and(
                ops.not_equal(ops.relu(x[:, :, 1]), 0), ops.not_equal(ops.relu(y[:, :, 1]), 0)
            ),
        ),
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name):
    check(functional(OPERATIONS[name], (7, 3), (7, 3)))


FIXED = {
    "from the end": lambda x: [x[:, -3:], x[:, :3], x[:, -4:-1], x[:, 2:5]],
    "transpose": lambda x: ops.transpose(x, (0, 2, 1)),
}


@pytest.mark.parametrize("name", FIXED)
def test_operations_on_known_steps(name):
    check(functional(FIXED[name], (7, 3)))


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n not in ("expand and squeeze",)])
def test_operations_on_any_length(name):
    check(functional(OPERATIONS[name], (None, 3), (None, 3)))


def test_attention_weights_with_a_mask():
    """Softmax over the steps leaves out padding."""

    def build(x, y):
        scores = L.Reshape((7,))(L.Dense(1)(y))
        mask = ops.any(ops.not_equal(ops.relu(x - 0.7), 0), axis=-1)
        return L.Softmax()(scores, mask=mask)

    check(functional(build, (7, 3), (7, 3)))


def test_one_number_a_step():
    """[batch, time] is a sequence to an Embedding and features to a Dense."""

    def build(x):
        return [L.LSTM(3)(L.Embedding(5, 2)(x)), L.Dense(2)(x), L.Activation("tanh")(x)]

    tokens = np.random.default_rng(0).integers(0, 5, (4, 6)).astype(np.float32)
    graph = check(functional(build, (6,)), tokens)
    assert graph.inputs[0].axes == ("batch", "time")


def test_an_embedding_of_features():
    """Where something else made them."""
    check(functional(lambda x: L.Embedding(9, 2)(ops.abs(ops.sign(x))), (6,)))


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float32"])
def test_tokens(dtype):
    tokens = np.random.default_rng(0).integers(0, 5, (4, 6)).astype(dtype)
    graph = check(sequential(L.Embedding(5, 3), L.LSTM(2), shape=(6,), dtype=dtype), tokens)
    assert graph.inputs[0].dtype == dtype
    assert graph.inputs[0].time == 6
