"""LSTM, GRU and RNN with every option: the core against the oracle and against itself, the oracle
against PyTorch in float64."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from cases import settings
from helpers import assert_same, predict, target
from recurrent_nets import cases, weights
from test_contract import check_graph
from test_oracle import assert_close

import lstmc
from lstmc import graph as g
from lstmc import reference
from lstmc.model import from_graph


@settings(500)
@hypothesis.given(case=cases())
def test_core_agrees_with_the_oracle(case):
    want = reference.run(case.graph, case.inputs, case.lengths)
    assert_close(predict(from_graph(case.graph), case.inputs, case.lengths), want, floor=0.1)


@settings(150)
@hypothesis.given(case=cases())
def test_same_bits_everywhere(case):
    """Targets, panels, batches, chunks and steps, lengths."""
    check_graph(case.graph, 0, case.batch, case.time, inputs=case.inputs)


@settings(150)
@hypothesis.given(case=cases())
def test_same_bits_on_every_target_with_lengths(case):
    model = from_graph(case.graph)
    with target("scalar"):
        want = predict(model, case.inputs, case.lengths)
    for name in lstmc.targets():
        with target(name):
            assert_same(predict(model, case.inputs, case.lengths), want, name)


@settings(60)
@hypothesis.given(case=cases())
def test_files_keep_every_option(case):
    model = from_graph(case.graph)
    assert lstmc.Model(model.to_bytes()).to_bytes() == model.to_bytes()
    again = model.graph.layers[-1]
    for name, value in case.layer.params():
        if isinstance(value, g.Fn):  # files hold alpha and beta as float32
            value = g.Fn(value.kind, float(np.float32(value.alpha)), float(np.float32(value.beta)))
        assert getattr(again, name) == value
    for (name, _, a), (_, _, b) in zip(case.layer.tensors(), again.tensors(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


@pytest.mark.parametrize(("hidden", "batch"), [(200, 3), (9, 1), (200, 6), (40, 2)])
@pytest.mark.parametrize("kind", [g.LSTM, g.GRU])
def test_more_steps_than_the_call_has(kind, hidden, batch):
    """Padding makes a sequence longer than its clock; memory is planned for that."""
    rng = np.random.default_rng(hidden)
    n = kind.gates * hidden
    layers = [
        g.PadTime(name="pad", inputs=("x",), outputs=("p",), before=0, after=25),
        kind(
            name="layer", inputs=("p",), outputs=("y", *kind.states), weight_ih=weights(rng, n, 5),
            weight_hh=weights(rng, n, hidden),
        ),
    ]  # fmt: skip
    values = [g.Value("y", (g.BATCH, g.TIME, hidden)), g.Value("h", (g.BATCH, hidden))]
    layers[1].outputs = layers[1].outputs[:2] + (None,) * (len(kind.states) - 1)
    graph = g.Graph([g.Value("x", (g.BATCH, g.TIME, 5))], values, layers)
    inputs = {"x": rng.standard_normal((batch, 3, 5)).astype(np.float32)}
    assert_close(predict(from_graph(graph), inputs), reference.run(graph, inputs))


# ------------------------------------------------------------------ the oracle itself, by PyTorch


@settings(60)
@hypothesis.given(
    kind=st.sampled_from(["LSTM", "GRU", "RNN"]), features=st.integers(1, 6),
    hidden=st.integers(2, 9), bias=st.booleans(), proj=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_oracle_is_torch_in_float64(kind, features, hidden, bias, proj, seed):
    """Both directions, initial states, and lengths as packed sequences have them."""
    torch = pytest.importorskip("torch")
    options = {"proj_size": hidden - 1} if proj and kind == "LSTM" else {}
    torch.manual_seed(seed)
    m = getattr(torch.nn, kind)(
        features, hidden, bias=bias, batch_first=True, bidirectional=True, **options
    ).double()
    for p in m.parameters():  # what float32 holds exactly
        p.data = p.data.float().double()
    rng = np.random.default_rng(seed)
    batch, time = 3, 5
    x = rng.standard_normal((batch, time, features)).astype(np.float32)
    lengths = rng.integers(1, time + 1, batch)
    out = options.get("proj_size", hidden)
    sizes = [out, hidden][: 2 if kind == "LSTM" else 1]
    start = [rng.standard_normal((2, batch, n)).astype(np.float32) for n in sizes]
    hx = [torch.from_numpy(s.astype(float)) for s in start]
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.from_numpy(x.astype(float)), torch.from_numpy(lengths), True, enforce_sorted=False
    )
    with torch.no_grad():
        y, last = m(packed, tuple(hx) if kind == "LSTM" else hx[0])
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, True, total_length=time)
    last = last if kind == "LSTM" else (last,)
    classes = {"LSTM": g.LSTM, "GRU": g.GRU, "RNN": g.RNN}
    for d, suffix in enumerate(("", "_reverse")):

        def get(name, suffix=suffix):
            return getattr(m, f"{name}_l0{suffix}").detach().numpy()

        fields = {"weight_ih": get("weight_ih"), "weight_hh": get("weight_hh")}
        if "proj_size" in options:
            fields["weight_hr"] = get("weight_hr")
        if bias:
            b = np.stack([get("bias_ih"), get("bias_hh")])
            if kind == "GRU":
                fields["recurrent_bias"] = b[1, 2 * hidden :].copy()
                b[1, 2 * hidden :] = 0
            fields["bias"] = b[0] + b[1]
        layer = classes[kind](name="", inputs=("x",), outputs=("y",), reverse=bool(d), **fields)
        got = reference.LAYERS[classes[kind]](
            layer, x.astype(float), None, *(s[d].astype(float) for s in start), lengths=lengths
        )
        # The sum of two biases is rounded to float32, as converters do.
        bound = {"rtol": 0, "atol": 3e-7 if bias else 1e-12}
        np.testing.assert_allclose(got[0], y[..., d * out : (d + 1) * out].numpy(), **bound)
        for a, b in zip(got[1:], last, strict=True):
            np.testing.assert_allclose(a, b[d].numpy(), **bound)
