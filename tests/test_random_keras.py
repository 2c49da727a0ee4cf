"""Random Keras models: what is converted gives what live Keras gives, or is refused by name.

A model is drawn layer by layer, each layer from those that fit what is there: recurrent layers of
every kind with all their options, what stands around them, masks, several inputs and outputs,
states handed on. Weights and inputs come from a drawn seed.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from cases import LARGEST_SEED, settings

pytest.importorskip("keras")

import hypothesis
from hypothesis import strategies as st
from keras_nets import check, keras, randomize

from lstmc.errors import ConversionError

L, ops = keras.layers, keras.ops

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

CELLS = {"LSTM": L.LSTM, "GRU": L.GRU, "SimpleRNN": L.SimpleRNN}
TIMES = (1, 2, 4, 7)


class Draw:
    """A model in the making: ``pool`` holds its tensors so far."""

    def __init__(self, data):
        self.data = data
        self.inputs, self.pool, self.count = [], [], 0

    def one(self, *values):
        return self.data.draw(st.sampled_from(values))

    def flag(self):
        return self.data.draw(st.booleans())

    def size(self, least=1, most=4):
        return self.data.draw(st.integers(least, most))

    def any(self, rank=None):
        """The newest tensor of a rank, or an older one."""
        fits = [t for t in self.pool if rank is None or len(t.shape) == rank]
        return self.one(*reversed(fits[-3:])) if fits else None

    # ---- inputs

    def add_input(self, kind):
        name = f"x{len(self.inputs)}"
        time = self.one(None, *TIMES)
        if kind == "vector":
            x = y = L.Input((self.size(),), name=name)
        elif kind == "tokens":
            dtype = self.one("float32", "int32")
            x = L.Input((time,), name=name, dtype=dtype)
            y = L.Embedding(5, self.size(), mask_zero=self.flag())(x)
        else:
            x = L.Input((time, self.size()), name=name)
            y = L.Masking(self.one(0.0, -1.5))(x) if kind == "masked" else x
        self.inputs.append(x)
        self.pool.append(y)

    # ---- recurrent layers

    def cell_options(self, kind):
        options = {
            "units": self.size(1, 5),
            "activation": self.one("tanh", "tanh", "relu", "sigmoid", "linear", "hard_sigmoid"),
            "use_bias": self.flag(),
        }
        if kind != "SimpleRNN":
            options["recurrent_activation"] = self.one("sigmoid", "hard_sigmoid", "tanh")
        if kind == "GRU":
            options["reset_after"] = self.flag()
        return options

    def frame_options(self):
        return {
            "return_sequences": self.flag(),
            "return_state": self.flag(),
            "zero_output_for_mask": self.flag(),
        }

    def recurrent(self):
        x = self.any(3)
        if x is None:
            return
        frame = self.frame_options()
        kind = self.one(*CELLS, "RNN", "stacked")
        if kind in CELLS:
            options = self.cell_options(kind)
            layer = CELLS[kind](**options, **frame, go_backwards=self.flag())
            sizes = [options["units"]] * (2 if kind == "LSTM" else 1)
        else:
            kinds = [self.one(*CELLS) for _ in range(1 if kind == "RNN" else self.size(2, 3))]
            makers = {"LSTM": L.LSTMCell, "GRU": L.GRUCell, "SimpleRNN": L.SimpleRNNCell}
            given = [self.cell_options(k) for k in kinds]
            cells = [makers[k](**o) for k, o in zip(kinds, given, strict=True)]
            cell = cells[0] if kind == "RNN" else cells
            layer = L.RNN(cell, **frame, go_backwards=self.flag())
            sizes = None
        self.run(layer, x, sizes)

    def bidirectional(self):
        x = self.any(3)
        if x is None:
            return
        kind, frame = self.one(*CELLS), self.frame_options()
        options = self.cell_options(kind)
        forward = CELLS[kind](**options, **frame, go_backwards=False)
        backward, merge = None, self.one("concat", "sum", "mul", "ave", None)
        if self.flag():
            other = self.one(*CELLS) if not frame["return_state"] else kind
            more = {**self.cell_options(other), "units": options["units"]}
            forward.go_backwards = self.flag()
            backwards = not forward.go_backwards
            backward = CELLS[other](**more, **frame, go_backwards=backwards)
        layer = L.Bidirectional(forward, merge_mode=merge, backward_layer=backward)
        sizes = [options["units"]] * (4 if kind == "LSTM" else 2)
        self.run(layer, x, sizes if backward is None or other == kind else None)

    def run(self, layer, x, sizes):
        """Call it, perhaps with a mask or an initial state from what is there."""
        given = {}
        states = [t for t in self.pool if len(t.shape) == 2]
        if sizes is not None and states and self.flag():
            made = [self.one(*states) for _ in sizes]
            fit = [
                s if s.shape[-1] == n else L.Dense(n)(s) for s, n in zip(made, sizes, strict=True)
            ]
            given["initial_state"] = fit if len(fit) > 1 or self.flag() else fit[0]
        if self.one(False, False, True):
            like = self.one(*(t for t in self.pool if t.shape[:-1] == x.shape[:-1]))
            given["mask"] = ops.any(ops.not_equal(ops.relu(like), 0.0), axis=-1)
        made = layer(x, **given)
        self.pool += keras.tree.flatten(made)

    # ---- other layers

    def on_any(self):
        x = self.any()
        layer = self.one(
            lambda: L.Dense(self.size(), activation=self.one("relu", "tanh", "softmax", None)),
            lambda: L.Activation(self.one("sigmoid", "relu", "softmax", "tanh")),
            lambda: L.ReLU(max_value=self.one(None, 0.5)),
            lambda: L.Dropout(0.5),
            lambda: L.BatchNormalization(center=self.flag(), scale=self.flag()),
            lambda: L.LayerNormalization(epsilon=0.1, center=self.flag(), scale=self.flag()),
            lambda: L.RMSNormalization(epsilon=0.1),
            lambda: L.Flatten(),
            lambda: L.Identity(),
        )()
        if isinstance(layer, L.Flatten) and None in x.shape[1:]:
            return
        self.pool.append(layer(x))

    def on_sequence(self):
        x = self.any(3)
        if x is None:
            return
        time, n = x.shape[1:]
        layer = self.one(
            lambda: L.Masking(self.one(0.0, 0.5)),
            lambda: L.TimeDistributed(L.Dense(self.size())),
            lambda: L.SpatialDropout1D(0.3),
            lambda: L.Conv1D(
                self.size(), self.size(1, 3), padding=self.one("same", "causal"),
                dilation_rate=self.size(1, 2), activation=self.one("relu", None),
            ),
            lambda: L.Conv1D(n * self.size(1, 2), 1, groups=n, strides=self.size(1, 2)),
            lambda: L.DepthwiseConv1D(
                self.size(1, 3), padding="same", depth_multiplier=self.size(1, 2)
            ),
            lambda: L.SeparableConv1D(self.size(), self.size(1, 2), padding="same"),
            lambda: L.MaxPooling1D(self.size(1, 2), padding=self.one("valid", "same")),
            lambda: L.AveragePooling1D(self.one(1, 3), strides=1, padding="same"),
            lambda: L.GlobalMaxPooling1D(),
            lambda: L.GlobalAveragePooling1D(keepdims=self.flag()),
            lambda: L.ZeroPadding1D((self.size(0, 2), self.size(0, 2))),
            lambda: L.Cropping1D((self.size(0, 1), self.size(0, 1))),
            lambda: L.PReLU(shared_axes=[1]),
            lambda: L.UpSampling1D(2),
            lambda: L.Permute((2, 1)),
            lambda: L.Reshape((-1, n)),
        )()  # fmt: skip
        fixed = (L.UpSampling1D, L.Permute)
        if isinstance(layer, fixed) and (time is None or time * n > 30):
            return
        shrinks = (L.MaxPooling1D, L.Cropping1D, L.Conv1D)
        if isinstance(layer, shrinks) and (time is None or time < 4):
            return
        self.pool.append(layer(x))

    def on_vector(self):
        x = self.any(2)
        if x is None:
            return
        n = x.shape[-1]
        layer = self.one(
            lambda: L.RepeatVector(self.size()), lambda: L.Reshape((n, 1)), lambda: L.PReLU(),
            lambda: L.Reshape((1, n)),
        )()  # fmt: skip
        self.pool.append(layer(x))

    def merge(self):
        x = self.any()
        fits = [t for t in self.pool if t.shape[:-1] == x.shape[:-1]]
        others = [self.one(*fits) for _ in range(self.size(1, 2))]
        layer = self.one(
            L.Add, L.Subtract, L.Multiply, L.Average, L.Maximum, L.Minimum, L.Concatenate
        )()
        if not isinstance(layer, L.Concatenate):
            others = [t if t.shape == x.shape else L.Dense(x.shape[-1])(t) for t in others]
        if isinstance(layer, L.Subtract):
            others = others[:1]
        vectors = [t for t in self.pool if t.shape[1:] == x.shape[2:]]
        if len(x.shape) == 3 and vectors and not isinstance(layer, L.Concatenate) and self.flag():
            others[-1] = self.one(*vectors)
        self.pool.append(layer([x, *others] if self.flag() else [*others, x]))

    def operation(self):
        x = self.any()
        time = x.shape[1] if len(x.shape) == 3 else None
        make = self.one(
            lambda: x + self.one(*(t for t in self.pool if t.shape == x.shape)),
            lambda: x * 0.5,
            lambda: 1.0 - x,
            lambda: ops.tanh(x),
            lambda: x[..., : self.size(1, x.shape[-1])],
            lambda: x[:, -1] if len(x.shape) == 3 else x,
            lambda: x[:, 0] if len(x.shape) == 3 else x,
            lambda: x[:, 1:] if len(x.shape) == 3 and (time or 0) > 1 else x,
            lambda: x[:, ::2] if len(x.shape) == 3 else x,
            lambda: ops.mean(x, axis=1) if len(x.shape) == 3 else x,
            lambda: ops.flip(x, axis=1),
            lambda: ops.softmax(x, axis=self.one(-1, 1)),
        )
        self.pool.append(make())

    def nested(self):
        """A model as a layer, called perhaps twice."""
        x = self.any(3)
        if x is None:
            return
        inner = keras.Sequential(
            [
                L.Input(x.shape[1:]),
                L.GRU(self.size(), return_sequences=True),
                L.BatchNormalization(trainable=self.flag()),
                L.Dense(x.shape[-1]),
            ]
        )
        y = inner(x)
        self.pool.append(inner(y) if self.flag() else y)

    def model(self):
        for kind in self.data.draw(
            st.lists(
                st.sampled_from(["sequence", "tokens", "masked", "vector"]), min_size=1, max_size=3
            )
        ):
            self.add_input(kind)
        steps = [
            self.recurrent, self.recurrent, self.bidirectional, self.on_any, self.on_sequence,
            self.on_sequence, self.on_vector, self.merge, self.operation, self.nested,
        ]  # fmt: skip
        for _ in range(self.size(1, 6)):
            self.one(*steps)()
        made = [t for t in self.pool if not any(t is i for i in self.inputs)]
        outputs = made[-self.size(1, 3) :] or [L.Dense(2)(self.pool[0])]
        return keras.Model(self.inputs, outputs)


def inputs_of(model, seed, time):
    """Random inputs; sequences end, begin or are sprinkled with padding."""
    rng = np.random.default_rng(seed)
    made = {}
    for x in model.inputs:
        tokens = len(x.shape) == 2 and x.dtype == "int32"
        shape = [3 if i == 0 else n or time for i, n in enumerate(x.shape)]
        tokens |= any(isinstance(n.operation, L.Embedding) for n in consumers(model, x))
        if tokens:
            value = rng.integers(1, 5, shape)
        else:
            value = rng.normal(size=shape)
        if len(shape) == 3 or tokens:
            pad = rng.random(shape[:2]) < rng.choice([0.0, 0.4])
            pad[0] = np.arange(shape[1]) >= rng.integers(0, shape[1] + 1)
            pad[1] = np.arange(shape[1]) < rng.integers(0, shape[1] + 1)
            value[pad] = 0 if tokens else rng.choice([0.0, -1.5])
        made[x.name] = value.astype(x.dtype)
    return made


def consumers(model, x):
    nodes = (n for op in model.operations for n in op._inbound_nodes)
    return [n for n in nodes if any(t is x for t in n.input_tensors)]


def test_random_models(tmp_path):
    seen = Counter()

    @settings(60)
    @hypothesis.given(
        st.data(),
        st.integers(0, LARGEST_SEED),
        st.sampled_from(["live", "live", ".keras", ".h5"]),
        st.sampled_from(TIMES),
    )
    def run(data, seed, form, time):
        try:
            model = Draw(data).model()
        except ValueError as e:  # Keras refuses some combinations itself
            hypothesis.note(str(e))
            seen["not built"] += 1
            hypothesis.reject()
        randomize(model, seed, scale=0.7)
        source = None
        if form != "live":
            source = tmp_path / f"model{form}"
            model.save(source)
        seen["built"] += 1
        inputs = inputs_of(model, seed, time)
        try:
            check(model, inputs, source)
        except ConversionError as e:
            hypothesis.note(str(e))
            seen["refused"] += 1
            print(e)
            seen[str(e).partition(":")[2][:60]] += 1

    run()
    print(dict(seen))
    assert seen["refused"] <= 0.1 * seen["built"], seen
    assert seen["not built"] <= 0.3 * seen["built"], seen
