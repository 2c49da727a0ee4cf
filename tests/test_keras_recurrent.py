"""Recurrent layers of Keras with all their options, each against live Keras."""

import itertools

import numpy as np
import pytest

pytest.importorskip("keras")

from keras_nets import check, convert, functional, g, keras, layers_of, randomize, sequential

L, ops = keras.layers, keras.ops
KINDS = {"LSTM": L.LSTM, "GRU": L.GRU, "SimpleRNN": L.SimpleRNN}

# Padding behind, in front, everywhere, in between, nowhere.
TOKENS = np.array(
    [[1, 2, 3, 0, 0], [0, 0, 1, 2, 4], [0, 0, 0, 0, 0], [4, 0, 3, 0, 1], [1, 2, 3, 4, 1]], np.int32
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

kinds = pytest.mark.parametrize("kind", KINDS)


def padded(seed=0, shape=(5, 5, 3)):
    """A sequence whose steps are zero where TOKENS are."""
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    x[TOKENS == 0] = 0
    return x


@kinds
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("backwards", [True, False])
def test_options(tmp_path, kind, bias, sequences, backwards):
    layer = KINDS[kind](4, use_bias=bias, return_sequences=sequences, go_backwards=backwards)
    model = sequential(layer)
    check(model)
    for path in (tmp_path / "m.keras", tmp_path / "m.h5"):
        model.save(path)
        check(model, source=path)


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_gru_biases(after, bias):
    check(sequential(L.GRU(4, reset_after=after, use_bias=bias)))


@kinds
def test_ways_to_compute_the_same(kind):
    check(sequential(KINDS[kind](4, unroll=True, dropout=0.3, recurrent_dropout=0.2)))


@kinds
@pytest.mark.parametrize("sequences", [True, False])
def test_states(kind, sequences):
    layer = KINDS[kind](4, return_state=True, return_sequences=sequences)
    graph = check(functional(lambda x: layer(x)))
    assert len(graph.outputs) == 3 if kind == "LSTM" else 2
    assert graph.sequential


@kinds
def test_stateful(kind):
    """predict starts from zero, as Keras does after reset_states(); a stream keeps the state."""
    model = keras.Sequential(
        [L.Input(batch_shape=(3, 7, 3)), KINDS[kind](4, stateful=True), L.Dense(2)]
    )
    assert check(randomize(model)).sequential


@kinds
@pytest.mark.parametrize("backwards", [True, False])
@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize("sequences", [True, False])
def test_masks(kind, backwards, zeros, sequences):
    layer = KINDS[kind](
        4,
        go_backwards=backwards,
        zero_output_for_mask=zeros,
        return_sequences=sequences,
        return_state=True,
    )
    for time in (5, None):
        model = functional(lambda x: layer(L.Embedding(5, 3, mask_zero=True)(x)), (time,))
        check(model, TOKENS.astype(np.float32))
    check(functional(lambda x: layer(L.Masking()(x)), (None, 3)), padded())


@pytest.mark.parametrize("value", [0.0, -1.5, 0.1])
def test_masking(value):
    x = padded()
    x[x == 0] = value
    x[0, 0] = [value, value, 1]  # not a masked step
    check(sequential(L.Masking(value), L.LSTM(4, return_sequences=True), shape=(5, 3)), x)
    check(sequential(L.Masking(value), shape=(5, 3)), x)  # masked steps become zero


@kinds
@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize("backwards", [True, False])
@pytest.mark.parametrize("sequences", [True, False])
def test_an_initial_state_and_a_mask(kind, zeros, backwards, sequences):
    """Before the first step that counts the output is zero, whatever the state is."""
    layer = KINDS[kind](
        4,
        zero_output_for_mask=zeros,
        go_backwards=backwards,
        return_sequences=sequences,
        return_state=True,
    )

    def build(x, h, c):
        mask = ops.any(ops.not_equal(x, 0.0), axis=-1)
        return layer(x, initial_state=[h, c] if kind == "LSTM" else [h], mask=mask)

    state = np.random.default_rng(1).normal(size=(2, 5, 4)).astype(np.float32)
    inputs = {"x0": padded(), "x1": state[0], "x2": state[1]}
    check(functional(build, (None, 3), (4,), (4,)), inputs)


@kinds
def test_an_initial_state_as_one_tensor(kind):
    if kind == "LSTM":
        return
    layer = KINDS[kind](4)
    check(functional(lambda x, h: layer(x, initial_state=h), (7, 3), (4,)))
    check(functional(lambda x, h: layer(x, h), (7, 3), (4,)))


def test_a_layer_with_an_initial_state_reads_no_mask_of_its_input():
    def build(x, h):
        y = L.GRU(4, return_sequences=True)(L.Masking()(x), initial_state=h)
        return [y, L.GRU(2)(y)]  # and yet hands it on

    inputs = {"x0": padded(), "x1": np.ones((5, 4), np.float32)}
    check(functional(build, (5, 3), (4,)), inputs)


@kinds
@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("state", [True, False])
def test_bidirectional(tmp_path, kind, mode, sequences, state):
    def build(x):
        inner = KINDS[kind](4, return_sequences=sequences, return_state=state)
        return L.Bidirectional(inner, merge_mode=mode)(x)

    model = functional(build)
    check(model)
    check(functional(lambda x: build(L.Masking()(x)), (5, 3)), padded())
    for path in (tmp_path / "m.keras", tmp_path / "m.h5"):
        model.save(path)
        check(model, source=path)


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("sequences", [True, False])
def test_bidirectional_of_two(turned, sequences):
    forward = L.GRU(4, go_backwards=turned, return_sequences=sequences)
    backward = L.LSTM(3, go_backwards=not turned, return_sequences=sequences)
    check(sequential(L.Masking(), L.Bidirectional(forward, backward_layer=backward), shape=(5, 3)),
          padded())  # fmt: skip


def test_bidirectional_with_states():
    def build(x, *states):
        inner = L.LSTM(4, return_sequences=True, return_state=True)
        return L.Bidirectional(inner)(x, initial_state=list(states))

    check(functional(build, (7, 3), *[(4,)] * 4))


def test_masks_flow_through_bidirectional():
    layers = [
        L.Embedding(5, 3, mask_zero=True),
        L.Bidirectional(L.LSTM(4, return_sequences=True)),
        L.Bidirectional(L.GRU(4)),
    ]
    check(sequential(*layers, shape=(5,), dtype="int32"), TOKENS)


CELLS = (L.LSTMCell, L.GRUCell, L.SimpleRNNCell)


@pytest.mark.parametrize(
    "cells", [*itertools.product(CELLS, repeat=1), *itertools.permutations(CELLS)]
)
@pytest.mark.parametrize("backwards", [True, False])
def test_cells(tmp_path, cells, backwards):
    made = [cell(3 + i) for i, cell in enumerate(cells)]

    def build(x):
        cell = made if len(made) > 1 else made[0]
        return L.RNN(cell, return_state=True, go_backwards=backwards)(L.Masking()(x))

    model = functional(build, (None, 3))
    check(model, padded())
    for path in (tmp_path / "m.keras", tmp_path / "m.h5"):
        model.save(path)
        check(model, padded(), path)


def test_stacked_cells_with_states():
    def build(x, *states):
        cells = [L.GRUCell(4), L.GRUCell(4)]
        return L.RNN(cells, return_sequences=True)(x, initial_state=list(states))

    check(functional(build, (7, 3), (4,), (4,)))


def test_bidirectional_of_cells():
    check(sequential(L.Bidirectional(L.RNN(L.GRUCell(4), return_sequences=True))))


# ---------------------------------------------------------------------------- encoder and decoder


@kinds
def test_encoder_and_decoder(tmp_path, kind):
    def build(x, y):
        _, *states = KINDS[kind](4, return_state=True)(x)
        made, *last = KINDS[kind](4, return_sequences=True, return_state=True)(
            y, initial_state=states
        )
        return [L.TimeDistributed(L.Dense(2, activation="softmax"))(made), *last]

    model = functional(build, (7, 3), (None, 2))
    graph = check(model)
    assert len(graph.clocks) == 2
    for path in (tmp_path / "m.keras", tmp_path / "m.h5"):
        model.save(path)
        check(model, source=path)


def test_encoder_and_decoder_of_tokens():
    def build(x, y):
        table = L.Embedding(5, 3, mask_zero=True)
        _, h, c = L.LSTM(4, return_state=True)(table(x))
        made = L.LSTM(4, return_sequences=True)(table(y), initial_state=[h, c])
        return L.GRU(3)(made)

    inputs = {"x0": TOKENS.astype(np.float32), "x1": TOKENS[::-1, :4].astype(np.float32)}
    check(functional(build, (5,), (None,)), inputs)


def test_repeated_last_output():
    """The other encoder and decoder: RepeatVector."""
    layers = [L.LSTM(4), L.RepeatVector(3), L.LSTM(4, return_sequences=True), L.Dense(2)]
    check(sequential(*layers))


def test_inputs_of_different_lengths():
    def build(x, y):
        return [
            L.LSTM(2)(x),
            L.GRU(2, return_sequences=True)(y),
            L.Add()([L.GRU(2)(x), L.GRU(2)(y)]),
        ]

    graph = check(functional(build, (7, 3), (6, 3)))
    assert [v.time for v in graph.inputs] == [7, 6]


def test_inputs_that_are_joined_have_one_length():
    graph = check(functional(lambda x, y: L.LSTM(2)(L.Concatenate()([x, y])), (None, 3), (None, 2)))
    assert len(graph.clocks) == 1


# ------------------------------------------------------------------------------ where masks go

PASSED_ON = {
    "dense": lambda: L.Dense(3),
    "dropout": lambda: L.Dropout(0.5),
    "spatial dropout": lambda: L.SpatialDropout1D(0.5),
    "gaussian noise": lambda: L.GaussianNoise(0.5),
    "activation": lambda: L.Activation("tanh"),
    "relu": lambda: L.ReLU(),
    "prelu": lambda: L.PReLU(shared_axes=[1]),
    "batch norm": lambda: L.BatchNormalization(),
    "layer norm": lambda: L.LayerNormalization(epsilon=0.1),
    "time distributed": lambda: L.TimeDistributed(L.Dense(3)),
    "identity": lambda: L.Identity(),
    "activity": lambda: L.ActivityRegularization(),
    "gru": lambda: L.GRU(3, return_sequences=True),
    "gru backwards": lambda: L.GRU(3, return_sequences=True, go_backwards=True),
}
DROPPED = {
    "rms norm": lambda: L.RMSNormalization(),
    "conv": lambda: L.Conv1D(3, 1),
    "pool": lambda: L.MaxPooling1D(1),
    "padding": lambda: L.ZeroPadding1D(1),
    "cropping": lambda: L.Cropping1D(1),
    "reshape": lambda: L.Reshape((5, 3)),
    "permute": lambda: L.Permute((1, 2)),
    "repeat": lambda: keras.Sequential([L.LSTM(3), L.RepeatVector(3)]),
}


@pytest.mark.parametrize("name", [*PASSED_ON, *DROPPED])
def test_what_becomes_of_a_mask(name):
    make = {**PASSED_ON, **DROPPED}[name]
    model = sequential(
        L.Masking(), make(), L.LSTM(3, return_sequences=True), L.GlobalAveragePooling1D(),
        shape=(5, 3),
    )  # fmt: skip
    graph = check(model, padded())
    held = [layer for layer in layers_of(graph, g.LSTM)[-1:] if layer.optional(1)]
    assert bool(held) == (name in PASSED_ON)


MERGES = (L.Add, L.Subtract, L.Multiply, L.Average, L.Maximum, L.Minimum, L.Concatenate)


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("which", ["both", "left", "right", "same", "vector"])
def test_masks_that_are_merged(tmp_path, merge, which):
    def build(x, tokens):
        masked = L.Masking()(x)
        other = L.Embedding(5, 3, mask_zero=which in ("both", "left"))(tokens)
        pairs = {
            "both": [masked, other],
            "left": [other, x],
            "right": [other, masked],
            "same": [masked, L.Dense(3)(masked)],
            "vector": [masked, L.LSTM(3)(masked)],
        }
        y = merge()(pairs[which])
        squared = L.Multiply()([y, y])  # which reads masks that no call was given
        return [y, L.LSTM(3, return_sequences=True)(y), L.GlobalAveragePooling1D()(y), squared]

    if merge is L.Concatenate and which == "vector":
        return
    model = functional(build, (5, 3), (5,))
    inputs = {"x0": padded(), "x1": TOKENS[::-1].astype(np.float32)}
    check(model, inputs)
    for path in (tmp_path / "m.keras", tmp_path / "m.h5"):
        model.save(path)
        check(model, inputs, path)


def test_three_masks():
    def build(x, y, z):
        masked = [L.Masking()(t) for t in (x, y, z)]
        made = [L.Maximum()(masked), L.Minimum()(masked), L.Multiply()(masked), L.Add()(masked)]
        return [*made, *(L.GRU(2, return_sequences=True)(y) for y in made)]

    x = {f"x{i}": np.roll(padded(i), i, axis=0) for i in range(3)}
    check(functional(build, (5, 3), (5, 3), (5, 3)), x)


def test_masks_in_nested_models():
    inner = keras.Sequential([L.Input((5, 3)), L.Dense(3), L.LSTM(3, return_sequences=True)])

    def build(x):
        y = inner(L.Masking()(x))
        return [y, L.GRU(2)(y), inner(y), inner(x)]

    check(functional(build, (5, 3)), padded())


def test_masks_in_nested_models_of_several_inputs():
    a, b = L.Input((5, 3)), L.Input((5, 3))
    inner = keras.Model([a, b], [L.LSTM(3)(a), L.LSTM(3, return_sequences=True)(b)])

    def build(x):
        y, z = inner([L.Masking()(x), L.Dense(3)(x)])
        return [y, z, L.GRU(2)(z)]

    check(functional(build, (5, 3)), padded())


def test_a_mask_as_an_input():
    """Booleans, or numbers of which 0 means padding."""
    for dtype in ("bool", "float32", "int32"):
        x, m = L.Input((5, 3), name="x"), L.Input((5,), name="m", dtype=dtype)
        model = randomize(keras.Model([x, m], L.LSTM(3, return_sequences=True)(x, mask=m)))
        graph = check(model, {"x": padded(), "m": TOKENS.astype(dtype)})
        assert graph.inputs[1].dtype == dtype


def test_an_unused_mask_leaves_nothing():
    graph = convert(sequential(L.Embedding(5, 3, mask_zero=True), L.Flatten(), shape=(5,)))
    assert [type(layer) for layer in graph.layers] == [g.Embedding, g.Flatten]


def test_a_nested_model_with_statistics_in_h5(tmp_path):
    """Trainable weights come before the others, across all layers of the nested model."""
    inner = keras.Sequential(
        [L.Input((7, 3)), L.BatchNormalization(), L.LSTM(3, return_sequences=True),
         L.BatchNormalization(), L.GRU(4, trainable=False), L.Dense(2)]
    )  # fmt: skip
    model = functional(lambda x: inner(x))
    for path in (tmp_path / "m.keras", tmp_path / "m.h5"):
        model.save(path)
        check(model, source=path)


@pytest.mark.parametrize("side", ["forward_layer", "backward_layer"])
def test_half_of_a_bidirectional_layer_frozen(tmp_path, side):
    """HDF5 files keep the trainable weights first."""
    layer = L.Bidirectional(L.GRU(3))
    model = functional(lambda x: layer(x))
    getattr(layer, side).trainable = False
    for path in (tmp_path / "m.keras", tmp_path / "m.h5"):
        model.save(path)
        check(model, source=path)


def test_a_mask_given_to_a_layer_that_hands_it_on():
    """It counts, not the one that the tensor has."""

    def build(x, other):
        mask = ops.any(ops.not_equal(other, 0.0), axis=-1)
        y = L.Masking()(x)
        return [
            L.GRU(3)(L.BatchNormalization()(y, mask=mask)),
            L.GRU(3)(L.TimeDistributed(L.Dense(3))(y, mask=mask)),
            keras.Sequential([L.Input((5, 3)), L.Dense(3), L.GRU(3)])(y, mask=mask),
            L.GlobalAveragePooling1D()(y, mask=mask),
            # Keras writes a mask that it knows into most calls; a merge has to find it.
            L.Multiply()([L.BatchNormalization()(y, mask=mask), y]),
        ]

    inputs = {"x0": padded(), "x1": np.roll(padded(1), 1, axis=0)}
    check(functional(build, (5, 3), (5, 3)), inputs)
