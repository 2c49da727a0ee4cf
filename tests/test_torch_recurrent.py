"""torch.nn.LSTM, GRU, RNN and their cells in every variant, against torch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from lstmc.converters import convert, gates

from lstmc import ConversionError, graph

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402
from torch_nets import Fn, bold, matches  # noqa: E402

KINDS = {
    "LSTM": nn.LSTM,
    "GRU": nn.GRU,
    "tanh": nn.RNN,
    "relu": lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(7)


def make(kind, *sizes, **options):
    module = bold(KINDS[kind](*sizes, **options))
    if kind == "relu":  # would grow without end
        with torch.no_grad():
            for p in module.parameters():
                p.mul_(0.5)
    return module


OPTIONS = list(itertools.product(KINDS, (1, 3), (True, False), (True, False), (True, False)))


@pytest.mark.parametrize("kind, layers, bidirectional, bias, batch_first", OPTIONS)
def test_whole_results(kind, layers, bidirectional, bias, batch_first):
    """A bare module: output, h_n and c_n as torch lays them out."""
    options = {"num_layers": layers, "bidirectional": bidirectional, "bias": bias}
    module = make(kind, 3, 4, batch_first=batch_first, dropout=0.5 * (layers > 1), **options)
    module.train()
    g = matches(module, torch.randn(5, 2, 3))
    names = ["output", "h_n", "c_n"] if kind == "LSTM" else ["output", "h_n"]
    assert [v.name for v in g.outputs] == names
    directions = 2 if bidirectional else 1
    assert g.outputs[1].axes == (layers * directions, "batch", 4)
    assert g.outputs[0].axes[2] == 4 * directions


@pytest.mark.parametrize("layers, bidirectional", itertools.product((1, 2), (True, False)))
def test_projections(layers, bidirectional):
    options = {"num_layers": layers, "bidirectional": bidirectional, "batch_first": True}
    g = matches(make("LSTM", 3, 5, proj_size=2, **options), torch.randn(2, 6, 3))
    assert g.outputs[1].axes[2] == 2
    assert g.outputs[2].axes[2] == 5


PARTS = {
    "last layer": lambda m, x: m.rnn(x)[1][-1],
    "both directions": lambda m, x: m.rnn(x)[1][-2:],
    "joined": lambda m, x: (lambda h: torch.cat((h[-2], h[-1]), dim=1))(m.rnn(x)[1]),
    "joined sideways": lambda m, x: (lambda h: torch.cat([h[0], h[3]], -1))(m.rnn(x)[1]),
    "stacked": lambda m, x: (lambda h: torch.stack([h[2], h[1]], 1))(m.rnn(x)[1]),
    "view": lambda m, x: m.rnn(x)[1].view(2, 2, x.size(0), 4)[-1],
    "view of one": lambda m, x: m.rnn(x)[1].view(2, 2, -1, 4)[1, 0],
    "view transposed": lambda m, x: (
        m.rnn(x)[1].view(2, 2, x.size(0), 4)[-1].transpose(0, 1).reshape(x.size(0), -1)
    ),
    "flattened": lambda m, x: m.rnn(x)[1].transpose(0, 1).reshape(x.shape[0], -1),
    "permuted": lambda m, x: m.rnn(x)[1].permute(1, 2, 0),
    "permuted, flattened": lambda m, x: m.rnn(x)[1].permute(1, 2, 0).flatten(1),
    "a part of each": lambda m, x: (lambda h: torch.cat([h[0], h[3]], -1)[:, [0, 4, 5]])(
        m.rnn(x)[1]
    ),
    "every other": lambda m, x: m.rnn(x)[1][::2],
    "unbound": lambda m, x: m.rnn(x)[1].unbind(0)[3],
    "chunks": lambda m, x: m.rnn(x)[1].chunk(2)[1],
    "sum of directions": lambda m, x: (lambda y: y[..., :4] + y[..., 4:])(m.rnn(x)[0]),
    "mean of directions": lambda m, x: m.rnn(x)[0].view(x.size(0), x.size(1), 2, 4).mean(2),
    "forward last": lambda m, x: m.rnn(x)[0][:, -1, :4],
    "backward first": lambda m, x: m.rnn(x)[0][:, 0, 4:],
}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_parts_of_states(kind, name):
    first = {"LSTM": lambda r: (r[0], r[1][0]), "GRU": lambda r: r}[kind]

    class Rnn(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = make(kind, 3, 4, num_layers=2, bidirectional=True, batch_first=True)

        def forward(self, x):
            return first(self.rnn(x))

    matches(Fn(PARTS[name], rnn=Rnn()), torch.randn(2, 5, 3))


def test_a_part_that_is_a_state_needs_no_layer():
    net = Fn(lambda m, x: m.rnn(x)[1][-1], rnn=make("GRU", 3, 4, num_layers=2, bidirectional=True))
    assert {type(layer) for layer in convert(net).layers} == {graph.GRU, graph.Concat}
    net = Fn(lambda m, x: m.rnn(x)[1][-1], rnn=make("GRU", 3, 4, num_layers=2))
    assert {type(layer) for layer in convert(net).layers} == {graph.GRU}


# ------------------------------------------------------------------------------- initial states

LEARNED = {
    "as it is": (lambda m, x: m.rnn(x, m.h)[0], (2, 1, 4)),
    "expanded": (lambda m, x: m.rnn(x, m.h.expand(-1, x.size(0), -1))[0], (2, 1, 4)),
    "expanded, contiguous": (
        lambda m, x: m.rnn(x, m.h.expand(2, x.size(0), 4).contiguous())[0], (2, 1, 4)),
    "unsqueezed": (lambda m, x: m.rnn(x, m.h.unsqueeze(1).expand(-1, x.shape[0], -1))[0], (2, 4)),
    "repeated": (lambda m, x: m.rnn(x, m.h.unsqueeze(1).repeat(1, x.size(0), 1))[0], (2, 4)),
    "computed": (
        lambda m, x: m.rnn(x, torch.tanh(m.h * 2).unsqueeze(1).repeat(1, len_of(x), 1))[0], (2, 4)),
    "the same for both": (lambda m, x: m.rnn(x, m.h.repeat(2, x.size(0), 1))[0], (1, 1, 4)),
    "ones": (lambda m, x: m.rnn(x, torch.ones(2, x.size(0), 4))[0], (1,)),
    "full": (lambda m, x: m.rnn(x, x.new_full((2, x.size(0), 4), 0.3))[0], (1,)),
    "zeros plus": (lambda m, x: m.rnn(x, torch.zeros(2, x.size(0), 4) + m.h)[0], (2, 1, 4)),
}  # fmt: skip


def len_of(x):
    return x.size(0)


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("buffer", [True, False])
def test_learned_states(name, buffer):
    body, shape = LEARNED[name]
    h = torch.randn(shape)
    rnn = make("GRU", 3, 4, bidirectional=True, batch_first=True)
    net = Fn(body, rnn=rnn, h=h if buffer else nn.Parameter(h))
    x = torch.randn(1 if name == "as it is" else 3, 5, 3)
    g = matches(net, x)
    assert len([layer for layer in g.layers if isinstance(layer, graph.Fill)]) in (1, 2)


def test_learned_h_and_zero_c():
    def body(m, x):
        h = m.h.expand(-1, x.size(0), -1)
        return m.rnn(x, (h, torch.zeros_like(h)))

    net = Fn(body, rnn=make("LSTM", 3, 4, batch_first=True), h=nn.Parameter(torch.randn(1, 1, 4)))
    g = matches(net, torch.randn(2, 5, 3))
    (lstm,) = (layer for layer in g.layers if isinstance(layer, graph.LSTM))
    assert (lstm.optional(2) is not None, lstm.optional(3)) == (True, None)


def test_states_of_which_one_is_zero():
    h = torch.randn(2, 1, 4)
    h[0] = 0
    rnn = make("GRU", 3, 4, bidirectional=True, batch_first=True)
    net = Fn(lambda m, x: m.rnn(x, m.h.expand(-1, x.size(0), -1))[0], rnn=rnn, h=h)
    g = matches(net, torch.randn(2, 5, 3))
    assert len([layer for layer in g.layers if isinstance(layer, graph.Fill)]) == 1


def test_zero_states_are_none():
    def body(m, x):
        zeros = torch.zeros(2, x.size(0), 4, device=x.device)
        return m.rnn(x, (zeros, zeros.clone()))[0]

    net = Fn(body, rnn=make("LSTM", 3, 4, num_layers=2, batch_first=True))
    g = matches(net, torch.randn(2, 5, 3))
    assert g.sequential
    assert all(isinstance(layer, graph.LSTM) for layer in g.layers)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers, bidirectional", [(1, False), (2, True)])
def test_states_are_inputs(kind, layers, bidirectional):
    n = layers * (2 if bidirectional else 1)
    rnn = make(kind, 3, 4, num_layers=layers, bidirectional=bidirectional, batch_first=True)
    states = [torch.randn(n, 2, 4) for _ in range(2 if kind == "LSTM" else 1)]
    if kind == "LSTM":
        net = Fn(lambda m, x, h, c: m.rnn(x, (h, c)), rnn=rnn)
    else:
        net = Fn(lambda m, x, h: m.rnn(x, h), rnn=rnn)
    g = matches(net, torch.randn(2, 5, 3), *states)
    assert [v.axes for v in g.inputs[1:]] == [(n, "batch", 4)] * len(states)


@pytest.mark.parametrize("kind", KINDS)
def test_encoder_and_decoder(kind):
    """Two sequences of different lengths; the states go over whole."""
    parts = {"enc": make(kind, 3, 4, num_layers=2), "dec": make(kind, 2, 4, num_layers=2)}
    g = matches(Fn(lambda m, x, y: m.dec(y, m.enc(x)[1])[0], **parts),
                torch.randn(7, 2, 3), torch.randn(4, 2, 2))  # fmt: skip
    assert len(g.clocks) == 2


def test_bidirectional_encoder_bridged_to_decoder():
    def body(m, x, y):
        _, h = m.enc(x)
        h = torch.tanh(m.bridge(torch.cat([h[0], h[1]], dim=1))).unsqueeze(0)
        return m.out(m.dec(y, h)[0])

    parts = {
        "enc": make("GRU", 3, 4, bidirectional=True, batch_first=True),
        "dec": make("GRU", 2, 5, batch_first=True),
        "bridge": nn.Linear(8, 5),
        "out": nn.Linear(5, 2),
    }
    matches(Fn(body, **parts), torch.randn(2, 7, 3), torch.randn(2, 4, 2))


def test_states_taken_apart_by_iteration():
    def body(m, x, y):
        _, state = m.enc(x)
        return m.dec(y, tuple(torch.tanh(s) for s in state))[0]

    matches(Fn(body, enc=make("LSTM", 3, 4), dec=make("LSTM", 2, 4)),
            torch.randn(5, 2, 3), torch.randn(4, 2, 2))  # fmt: skip


def test_one_step_decoder():
    """A decoder that is fed [batch, 1, features] and its own states, as users unroll it."""

    def body(m, x, h, c):
        out, (h, c) = m.rnn(x.unsqueeze(1), (h, c))
        return m.fc(out.squeeze(1)), h, c

    net = Fn(body, rnn=make("LSTM", 3, 4, num_layers=2, batch_first=True), fc=nn.Linear(4, 3))
    g = matches(net, torch.randn(2, 3), torch.randn(2, 2, 4), torch.randn(2, 2, 4))
    assert [v.axes for v in g.inputs] == [("batch", 3), (2, "batch", 4), (2, "batch", 4)]


def test_unrolled_decoder():
    def body(m, x):
        _, state = m.enc(x)
        token, tokens = torch.zeros(x.size(0), 1, 2), []
        for _ in range(3):
            y, state = m.dec(token, state)
            token = m.fc(y)
            tokens.append(token)
        return torch.cat(tokens, dim=1)

    parts = {
        "enc": make("LSTM", 3, 4, batch_first=True),
        "dec": make("LSTM", 2, 4, batch_first=True),
    }
    g = matches(Fn(body, **parts, fc=nn.Linear(4, 2)), torch.randn(2, 5, 3))
    assert g.outputs[0].axes == ("batch", 3, 2)


def test_autoencoder_repeats_the_last_state():
    def fixed(m, x):
        h = m.enc(x)[1][-1]
        return m.dec(h.unsqueeze(1).repeat(1, 5, 1))[0]

    def open_(m, x):
        h = m.enc(x)[1][-1]
        return m.dec(h.unsqueeze(1).expand(-1, x.size(1), -1))[0]

    parts = {"enc": make("GRU", 3, 4, batch_first=True), "dec": make("GRU", 4, 3, batch_first=True)}
    assert matches(Fn(fixed, **parts), torch.randn(2, 5, 3)).outputs[0].axes == ("batch", 5, 3)
    for time in (5, 8):
        g = matches(Fn(open_, **parts), torch.randn(2, time, 3))
    assert g.outputs[0].axes == ("batch", "time", 3)


# ----------------------------------------------------------------------------------------- cells

CELLS = {"LSTM": nn.LSTMCell, "GRU": nn.GRUCell, "tanh": nn.RNNCell,
         "relu": lambda *a, **k: nn.RNNCell(*a, nonlinearity="relu", **k)}  # fmt: skip


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("bias", [True, False])
def test_cells(kind, bias):
    cell = bold(CELLS[kind](3, 4, bias=bias))
    x, h, c = torch.randn(2, 3), torch.randn(2, 4), torch.randn(2, 4)
    g = matches(cell, x)
    assert [v.name for v in g.outputs] == (["h_1", "c_1"] if kind == "LSTM" else ["output"])
    if kind == "LSTM":
        g = matches(Fn(lambda m, x, h, c: m.cell(x, (h, c)), cell=cell), x, h, c)
    else:
        g = matches(Fn(lambda m, x, h: m.cell(x, h), cell=cell), x, h)
    assert all(v.axes[0] == "batch" and len(v.axes) == 2 for v in (*g.inputs, *g.outputs))


def test_cells_over_steps_of_a_number_that_is_known():
    def body(m, x):
        h, hs = torch.zeros(x.size(0), 4), []
        for t in range(3):
            h = m.cell(x[:, t], h)
            hs.append(h)
        return torch.stack(hs, dim=1)

    matches(Fn(body, cell=bold(nn.GRUCell(2, 4))), torch.randn(2, 5, 2))


# ------------------------------------------------------------------------------ packed sequences

LENGTHS = [torch.tensor([4, 6, 1, 3]), torch.tensor([6, 6, 2, 1])]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers, bidirectional", [(1, False), (1, True), (3, False), (2, True)])
@pytest.mark.parametrize("batch_first", [True, False])
def test_packed(kind, layers, bidirectional, batch_first):
    def body(m, x, lengths):
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first, enforce_sorted=False)
        out, state = m.rnn(packed)
        out = pad_packed_sequence(out, batch_first=batch_first)[0]
        return out, state

    rnn = make(kind, 3, 4, num_layers=layers, bidirectional=bidirectional)
    x = torch.randn((4, 6, 3) if batch_first else (6, 4, 3))
    for lengths in LENGTHS:
        g = matches(Fn(body, rnn=rnn), x, lengths)
    assert [(v.axes, v.dtype) for v in g.inputs][1] == (("batch",), "int64")


def test_packed_output_keeps_all_steps():
    """Where torch cuts the result to the longest row, lstmc gives zeros."""

    def body(m, x, n):
        return pad_packed_sequence(m.rnn(pack_padded_sequence(x, n, True))[0], batch_first=True)[0]

    net = Fn(body, rnn=make("LSTM", 3, 4, batch_first=True))
    x, n = torch.randn(2, 6, 3), torch.tensor([4, 2])
    want = net(x, n).detach()
    assert want.shape[1] == 4
    matches(net, x, n, want=nn.functional.pad(want, (0, 0, 0, 2)))
    g = convert(net)
    assert g.outputs[0].axes == ("batch", "time", 4)


def test_packed_twice_and_what_may_follow():
    def body(m, x, n):
        packed = pack_padded_sequence(x, n, batch_first=True, enforce_sorted=False)
        packed, _ = m.a(packed)
        packed, (h2, _) = m.b(packed)
        out = pad_packed_sequence(packed, batch_first=True, total_length=x.size(1))[0]
        again = pack_padded_sequence(m.fc(out), n, batch_first=True, enforce_sorted=False)
        return m.a2(again)[1], out[:, -1], out.sum(1), h2

    parts = {
        "a": make("GRU", 3, 4, bidirectional=True), "b": make("LSTM", 8, 5), "fc": nn.Linear(5, 3),
        "a2": make("tanh", 3, 2, bidirectional=True),
    }  # fmt: skip
    matches(Fn(body, **parts), torch.randn(4, 6, 3), torch.tensor([4, 3, 1, 5]))


def test_two_lengths_of_one_sequence():
    def body(m, x, n, k):
        results = []
        for lengths in (n, k):
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            results.append(m.rnn(packed)[1])
        return tuple(results)

    def repacked(m, x, n, k):
        out = pad_packed_sequence(m.rnn(pack_padded_sequence(x, n, True))[0], batch_first=True)[0]
        return m.rnn(pack_padded_sequence(out, k, True))[1]

    x, n, k = torch.randn(3, 6, 4), torch.tensor([4, 3, 1]), torch.tensor([6, 1, 5])
    matches(Fn(body, rnn=make("GRU", 4, 4)), x, n, k)
    with pytest.raises(ConversionError, match="total_length"):
        convert(Fn(repacked, rnn=make("GRU", 4, 4)))


def test_total_length_is_that_of_the_sequence():
    def body(m, x, n, y):
        out = m.rnn(pack_padded_sequence(x, n, True))[0]
        return pad_packed_sequence(out, batch_first=True, total_length=y.size(1))[0] + m.rnn2(y)[0]

    parts = {"rnn": make("GRU", 3, 4), "rnn2": make("GRU", 3, 4, batch_first=True)}
    g = matches(Fn(body, **parts), torch.randn(2, 5, 3), torch.tensor([4, 2]), torch.randn(2, 5, 3))
    assert len(g.clocks) == 1
    fixed = Fn(
        lambda m, x, n: pad_packed_sequence(
            m.rnn(pack_padded_sequence(x, n, True))[0], batch_first=True, total_length=5
        )[0].sum(1),
        rnn=make("GRU", 3, 4),
    )
    assert matches(fixed, torch.randn(2, 5, 3), torch.tensor([4, 2])).inputs[0].time == 5

    def wrong(m, x, n):
        out = m.rnn(pack_padded_sequence(x, n, True))[0]
        return pad_packed_sequence(out, batch_first=True, total_length=x[:, 1:].size(1))[0]

    with pytest.raises(ConversionError, match="different numbers of time steps"):
        convert(Fn(wrong, rnn=make("GRU", 3, 4)))


def test_packed_with_states():
    def body(m, x, n, h, c):
        packed = pack_padded_sequence(x, n, batch_first=True, enforce_sorted=False)
        return m.rnn(packed, (h, c))[1]

    net = Fn(body, rnn=make("LSTM", 3, 5, num_layers=2, bidirectional=True, proj_size=2))
    h, c = torch.randn(4, 3, 2), torch.randn(4, 3, 5)
    matches(net, torch.randn(3, 6, 3), torch.tensor([2, 6, 1]), h, c)


def unpacked(m, x, n):
    packed = pack_padded_sequence(x, n, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(m.rnn(packed)[0], batch_first=True)[0]


# What would look at steps that torch doesn't have.
ACROSS = {
    "last step": lambda m, x, n: unpacked(m, x, n)[:, -1],
    "sum": lambda m, x, n: unpacked(m, x, n).sum(1),
    "max": lambda m, x, n: unpacked(m, x, n).max(1)[0],
    "another layer": lambda m, x, n: m.again(unpacked(m, x, n))[0],
    "reversed": lambda m, x, n: m.fc(unpacked(m, x, n)).flip(1),
    "after a sum": lambda m, x, n: (x + unpacked(m, x, n)).mean(1),
    "joined": lambda m, x, n: torch.cat([x, unpacked(m, x, n)], -1)[:, 1:],
    "convolved": lambda m, x, n: m.conv(unpacked(m, x, n).transpose(1, 2)),
    "softmax": lambda m, x, n: torch.softmax(unpacked(m, x, n), 1),
    "padded": lambda m, x, n: nn.functional.pad(unpacked(m, x, n), (0, 0, 1, 0)),
    "flattened": lambda m, x, n: unpacked(m, x, n).flatten(1),
    "packed by others": lambda m, x, n: m.rnn(
        pack_padded_sequence(unpacked(m, x, n), n + 0, True))[0].data,
}  # fmt: skip


@pytest.mark.parametrize("name", ACROSS)
def test_nothing_looks_at_steps_that_torch_has_cut(name):
    net = Fn(ACROSS[name], rnn=make("GRU", 4, 4), again=make("GRU", 4, 4, batch_first=True),
             fc=nn.Linear(4, 4), conv=nn.Conv1d(4, 4, 2))  # fmt: skip
    with pytest.raises(ConversionError, match=r"total_length|int numbers"):
        convert(net)


def test_packing_is_checked():
    rnn = make("GRU", 3, 4)
    for body, message in {
        lambda m, x: m.rnn(pack_padded_sequence(x, [3, 2]))[1]: "lengths are constant",
        lambda m, x, n: m.rnn(pack_padded_sequence(x, n))[0]: "packed sequence",
        lambda m, x, n: m.rnn(pack_padded_sequence(x, n))[0].data: "packed|attribute 'data'",
        lambda m, x, n: pad_packed_sequence(pack_padded_sequence(x, n))[0]: "no layer has read",
        lambda m, x, n: m.fc(pack_padded_sequence(x, n)): "gets a packed sequence",
        lambda m, x, n: pad_packed_sequence(
            m.rnn(pack_padded_sequence(x, n))[0], padding_value=-1.0)[0]: "padding_value=-1",
        lambda m, x, n: m.rnn(pack_padded_sequence(x, m.fc(n)[:, 0]))[1]: "float numbers",
    }.items():  # fmt: skip
        with pytest.raises(ConversionError, match=message):
            convert(Fn(body, rnn=rnn, fc=nn.Linear(3, 3)))


# ------------------------------------------------------------------------------- the tests' teeth


@pytest.mark.parametrize("order", ["".join(p) for p in itertools.permutations("rzn")][1:])
def test_wrong_gate_order_is_seen(monkeypatch, order):
    monkeypatch.setitem(gates.GRU_ORDERS, "pytorch", order)
    with pytest.raises(AssertionError):
        matches(make("GRU", 3, 4), torch.randn(5, 2, 3))


def test_biases_of_the_candidate_stay_apart():
    module = make("GRU", 3, 4)
    layer = convert(module).layers[0]
    np.testing.assert_array_equal(layer.recurrent_bias, module.bias_hh_l0[8:].detach())
    np.testing.assert_array_equal(layer.bias[8:], module.bias_ih_l0[8:].detach())
    both = (module.bias_ih_l0 + module.bias_hh_l0).detach().numpy()
    np.testing.assert_array_equal(layer.bias[:8], both[:8])
