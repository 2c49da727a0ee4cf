"""lstmc.functional: recurrent layers as functions, against PyTorch, the oracle and the model."""

import hypothesis
import numpy as np
import pytest
from cases import settings
from hypothesis import strategies as st
from recurrent_nets import cases, weights

import lstmc
from lstmc import functional as fn
from lstmc import graph as g
from lstmc import reference


def rng_weights(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [weights(rng, *s) for s in shapes]


def close(got, want):
    assert got.dtype == np.float32
    assert got.shape == want.shape
    error = np.abs(got - want).max(initial=0) / max(np.abs(want).max(initial=0), 0.1)
    assert error <= 1e-5, error


@settings(300)
@hypothesis.given(case=cases(initial="ni"))
def test_the_functions_are_the_layers(case):
    """Every option, through the function's own arguments."""
    layer, inputs = case.layer, case.inputs
    hypothesis.assume("mask" not in inputs and not layer.hold)
    start = [inputs.get(f"{s}0") for s in layer.states]
    common = {"clip": layer.clip or None, "reverse": layer.reverse, "lengths": case.lengths}
    args = (inputs["x"], layer.weight_ih, layer.weight_hh)
    hidden = layer.hidden_size
    if isinstance(layer, g.LSTM):
        peephole = None
        if layer.peephole is not None:
            peephole = layer.peephole.reshape(3, hidden)
        if layer.weight_ch is not None:
            peephole = layer.weight_ch.reshape(4, hidden, hidden)
        y, states = fn.lstm_forward(
            *args, layer.bias, *start, peephole=peephole, weight_hr=layer.weight_hr,
            activations=(layer.gate, layer.candidate, layer.output), coupled=layer.coupled,
            output_sees_old=layer.output_sees_old, **common,
        )  # fmt: skip
    elif isinstance(layer, g.GRU):
        bias = layer.bias
        if layer.recurrent_bias is not None:
            bias = np.zeros((2, 3 * hidden), np.float32)
            bias[0] = 0 if layer.bias is None else layer.bias
            bias[1, 2 * hidden :] = layer.recurrent_bias
        y, h = fn.gru_forward(
            *args, bias, *start, reset_after=layer.reset_after,
            activations=(layer.gate, layer.candidate), **common,
        )  # fmt: skip
        states = (h,)
    else:
        y, h = fn.rnn_forward(*args, layer.bias, *start, activation=layer.activation, **common)
        states = (h,)
    layer.outputs = ("y", *layer.states)
    valid = np.full(case.batch, case.time) if case.lengths is None else case.lengths
    given = [None if a is None else a.astype(float) for a in start]
    want = reference.LAYERS[type(layer)](
        layer, inputs["x"].astype(float), None, *given, lengths=valid
    )
    for got, expected in zip((y, *states), want, strict=True):
        close(got, expected)


@pytest.mark.parametrize("reset_after", [True, False])
def test_both_biases_of_a_gru(reset_after):
    w, r, b, x = rng_weights(1, (15, 4), (15, 5), (2, 15), (3, 7, 4))
    y, h = fn.gru_forward(x, w, r, b, reset_after=reset_after)
    both = b[0] + b[1]
    if reset_after:
        both[10:] = b[0, 10:]
    layer = g.GRU(
        name="", inputs=("x",), outputs=("y", "h"), weight_ih=w, weight_hh=r, bias=both,
        recurrent_bias=b[1, 10:] if reset_after else None, reset_after=reset_after,
    )  # fmt: skip
    want = reference.LAYERS[g.GRU](layer, x.astype(float), lengths=np.full(3, 7))
    close(y, want[0])
    close(h, want[1])


def test_torch_agrees():
    torch = pytest.importorskip("torch")
    for name in ("LSTM", "GRU", "RNN"):
        m = getattr(torch.nn, name)(3, 6, batch_first=True)
        x = torch.randn(2, 5, 3)
        p = {k: v.detach().numpy() for k, v in m.named_parameters()}
        bias = np.stack([p["bias_ih_l0"], p["bias_hh_l0"]])
        run = getattr(fn, f"{name.lower()}_forward")
        got = run(x.numpy(), p["weight_ih_l0"], p["weight_hh_l0"], bias)
        with torch.no_grad():
            y, state = m(x)
        close(got[0], y.numpy())
        if name == "LSTM":
            close(got[1][0], state[0][0].numpy())
            close(got[1][1], state[1][0].numpy())
        else:
            close(got[1], state[0].numpy())


@hypothesis.given(st.integers(0, 3), st.integers(0, 3))
@settings(20)
def test_nothing_to_do(batch, time):
    w, r = rng_weights(0, (8, 3), (8, 2))
    h0 = np.ones((batch, 2), np.float32)
    x = np.zeros((batch, time, 3), np.float32)
    y, (h, c) = fn.lstm_forward(x, w, r, h0=h0)
    assert y.shape == (batch, time, 2)
    if not time:
        np.testing.assert_array_equal(h, h0)
        assert not c.any()


W, R, X = rng_weights(2, (8, 3), (8, 2), (1, 4, 3))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": X[0]}, lstmc.ShapeError, r"x has shape \(4, 3\)"),
        ({"x": X[:, :, :2]}, lstmc.ShapeError, "x has 2 features, weight_ih takes 3"),
        ({"weight_ih": W[:7]}, lstmc.ShapeError, "weight_ih has shape"),
        ({"weight_hh": R[:7]}, lstmc.ShapeError, "weight_hh has shape"),
        ({"bias": W[:5, 0]}, lstmc.ShapeError, "bias has shape"),
        ({"h0": X[0, :1]}, lstmc.ShapeError, r"h0 has shape \(1, 3\), expected \(1, 2\)"),
        ({"c0": X[0]}, lstmc.ShapeError, "c0 has shape"),
        ({"peephole": W[:2, :2]}, lstmc.ShapeError, "peephole has shape"),
        ({"peephole": W[:3, :3]}, lstmc.ShapeError, "peephole has shape"),
        ({"weight_hr": W[:3, :3]}, lstmc.ShapeError, "weight_h"),
        ({"clip": -1.0}, lstmc.RangeError, "clip is -1.0"),
        ({"clip": float("nan")}, lstmc.RangeError, "clip is nan"),
        ({"lengths": [5]}, lstmc.ShapeError, "lengths lie in"),
        ({"lengths": [1, 2]}, lstmc.ShapeError, "lengths"),
        ({"activations": ("sigmoid", "tanh")}, ValueError, "zip"),
        ({"activations": ("sigmoid", "tanh", "wave")}, lstmc.Error, "'wave' is not supported"),
        ({"activations": ("hard_sigmoid", "tanh", "tanh")}, lstmc.Error, "two meanings"),
        ({"x": X.astype(complex)}, lstmc.DtypeError, "x"),
    ],
)
def test_what_does_not_fit_is_named(change, error, message):
    with pytest.raises(error, match=message):
        fn.lstm_forward(**({"x": X, "weight_ih": W, "weight_hh": R} | change))
