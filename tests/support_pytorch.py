"""Every row of the PyTorch part of docs/SUPPORT.md; see test_support.py for the protocol."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch_nets import Fn, bold

X = (2, 6, 3)


def row(module, *inputs):
    """A row of CONVERTS: a module, and shapes or arrays that it takes."""

    def make(_):
        torch.manual_seed(7)
        net = bold(module() if callable(module) and not isinstance(module, nn.Module) else module)
        for m in net.modules():
            if isinstance(m, nn.BatchNorm1d):
                m.running_mean.normal_()
                m.running_var.uniform_(0.5, 2)
        xs = [torch.randn(x) if isinstance(x, tuple) else torch.as_tensor(x) for x in inputs]
        with torch.no_grad():
            want = named(net.eval()(*(x.clone() for x in xs)))
        names = net.forward.__code__.co_varnames[1 : 1 + len(xs)]
        given = {n: x.numpy() for n, x in zip(names, xs, strict=True)}
        return net, given if len(xs) > 1 else xs[0].numpy(), want

    return make


def named(y):
    if isinstance(y, torch.Tensor):
        return y.numpy()
    if len(y) == 2 and isinstance(y[1], tuple):
        return {"output": y[0].numpy(), "h_n": y[1][0].numpy(), "c_n": y[1][1].numpy()}
    return {f"output_{i}": v.numpy() for i, v in enumerate(y)}


def gru(*args, **options):
    return nn.GRU(*args, **{"batch_first": True, **options})


def packed(m, x, n):
    p = pack_padded_sequence(x, n.cpu(), batch_first=True, enforce_sorted=False)
    y, h = m.rnn(p)
    return pad_packed_sequence(y, batch_first=True, total_length=x.size(1))[0], h


def padded(m, x):
    n = (x != 0).sum(dim=1)
    p = pack_padded_sequence(m.table(x), n.cpu(), batch_first=True, enforce_sorted=False)
    return m.rnn(p)[1][-1]


def masked(m, x):
    mask = (x != 0).float().unsqueeze(-1)
    return (m.rnn(m.table(x))[0] * mask).sum(1) / mask.sum(1)


def unrolled(m, x):
    h, y = m.rnn(x)[1][0], []
    for _ in range(3):
        h = m.cell(h, h)
        y.append(h)
    return torch.stack(y, dim=1)


def attention(m, x):
    y = m.rnn(x)[0]
    a = torch.softmax(m.score(y), dim=1)
    return torch.bmm(a.transpose(1, 2), y).squeeze(1), (a * y).sum(1)


def in_place(m, x):
    y = m.rnn(x)[0]
    y += x
    return y


INDICES = np.array([[1, 4, 2, 0, 0], [3, 0, 0, 0, 0], [1, 2, 3, 4, 1]])
CONVERTS = {
    "nn.LSTM": row(lambda: nn.LSTM(3, 4, 2, bidirectional=True), X),
    "nn.LSTM, proj_size": row(lambda: nn.LSTM(3, 4, batch_first=True, proj_size=2), X),
    "nn.GRU": row(
        lambda: Fn(lambda m, x: m.rnn(x)[0], rnn=gru(3, 4, 2, bidirectional=True, bias=False)), X
    ),
    "nn.RNN": row(lambda: Fn(lambda m, x: m.rnn(x)[0], rnn=nn.RNN(3, 4, nonlinearity="relu")), X),
    "nn.LSTMCell, GRUCell, RNNCell": row(
        lambda: Fn(lambda m, x, h: m.b(m.a(x, h), h), a=nn.GRUCell(3, 4), b=nn.RNNCell(4, 4)),
        (2, 3),
        (2, 4),
    ),
    "initial states: zeros, trained ones": row(
        lambda: Fn(
            lambda m, x: m.rnn(x, m.h.expand(-1, x.size(0), -1))[0],
            rnn=gru(3, 4),
            h=nn.Parameter(torch.zeros(1, 1, 4)),
        ),
        X,
    ),
    "initial states that are inputs": row(
        lambda: Fn(lambda m, x, h: m.rnn(x, h), rnn=gru(3, 4, 2)), X, (2, 2, 4)
    ),
    "states of an encoder handed to a decoder": row(
        lambda: Fn(lambda m, x, y: m.dec(y, m.enc(x)[1])[0], enc=gru(3, 4), dec=gru(2, 4)),
        X,
        (2, 4, 2),
    ),
    "a decoder unrolled a fixed number of steps": row(
        lambda: Fn(unrolled, rnn=gru(3, 4), cell=nn.GRUCell(4, 4)), X
    ),
    "h_n and c_n, whole or in parts": row(
        lambda: Fn(
            lambda m, x: (lambda h: (h, h[-1], torch.cat([h[-2], h[-1]], 1)))(m.rnn(x)[1]),
            rnn=gru(3, 4, 2, bidirectional=True),
        ),
        X,
    ),
    "pack_padded_sequence, pad_packed_sequence": row(
        lambda: Fn(packed, rnn=gru(3, 4, 2, bidirectional=True)), X, np.array([4, 6])
    ),
    "lengths counted from padding": row(
        lambda: Fn(padded, table=nn.Embedding(5, 3), rnn=gru(3, 4)), INDICES
    ),
    "masks of padding, as numbers": row(
        lambda: Fn(masked, table=nn.Embedding(5, 3), rnn=gru(3, 4)), INDICES
    ),
    "attention over steps": row(lambda: Fn(attention, rnn=gru(3, 4), score=nn.Linear(4, 1)), X),
    "nn.Linear, nn.Embedding": row(
        lambda: Fn(lambda m, x: m.fc(m.table(x)), table=nn.Embedding(5, 3), fc=nn.Linear(3, 2)),
        INDICES,
    ),
    "nn.Conv1d": row(lambda: nn.Conv1d(4, 6, 3, 2, 1, 2, groups=2), (2, 4, 9)),
    "nn.MaxPool1d, AvgPool1d": row(
        lambda: nn.Sequential(
            nn.Conv1d(3, 4, 1), nn.MaxPool1d(3, 2, ceil_mode=True), nn.AvgPool1d(2, 1, 1)
        ),
        (2, 3, 8),
    ),
    "nn.AdaptiveAvgPool1d(1), AdaptiveMaxPool1d(1)": row(
        lambda: nn.Sequential(nn.Conv1d(3, 4, 1), nn.AdaptiveMaxPool1d(1)), (2, 3, 8)
    ),
    "nn.ConstantPad1d, ZeroPad1d, F.pad": row(
        lambda: nn.Sequential(nn.Conv1d(3, 4, 1), nn.ConstantPad1d((1, 2), 0.5)), (2, 3, 8)
    ),
    "nn.BatchNorm1d": row(
        lambda: nn.Sequential(nn.BatchNorm1d(3), nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)), (2, 3, 8)
    ),
    "nn.LayerNorm, RMSNorm": row(
        lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.RMSNorm(4, 0.1)), (5, 3)
    ),
    "activations": row(
        lambda: nn.Sequential(
            nn.Linear(3, 4), nn.GELU(), nn.PReLU(4), nn.Softplus(2), nn.CELU(0.5)
        ),
        (5, 3),
    ),
    "softmax and log_softmax over features, softmax over time": row(
        lambda: Fn(
            lambda m, x: (lambda y: (y.softmax(1), F.log_softmax(y, -1)))(m.rnn(x)[0]),
            rnn=gru(3, 4),
        ),
        X,
    ),
    "nn.GLU, F.glu": row(lambda: nn.Sequential(nn.Linear(3, 4), nn.GLU()), (5, 3)),
    "dropout of all kinds": row(lambda: nn.Sequential(nn.Linear(3, 4), nn.AlphaDropout()), (5, 3)),
    "+ - * / of tensors, numbers and parameters": row(
        lambda: Fn(
            lambda m, x: (1 - m.rnn(x)[0]) * m.s / 3 + x[..., :1],
            rnn=gru(3, 4),
            s=nn.Parameter(torch.ones(4)),
        ),
        X,
    ),
    "in place: += and the trailing _": row(lambda: Fn(in_place, rnn=gru(3, 3)), X),
    "x @ parameter": row(
        lambda: Fn(lambda m, x: m.rnn(x)[0] @ m.w, rnn=gru(3, 4), w=nn.Parameter(torch.ones(4, 2))),
        X,
    ),
    "abs, sqrt, exp, log, pow, clamp, maximum ...": row(
        lambda: Fn(
            lambda m, x: torch.maximum(m.fc(x).abs().sqrt(), m.fc(x).clamp(-1, 0.5) ** 2),
            fc=nn.Linear(3, 4),
        ),
        (5, 3),
    ),
    "sum, mean, max, min over features or time": row(
        lambda: Fn(
            lambda m, x: (lambda y: (y.mean(1), y.max(1)[0], y.sum(-1)))(m.rnn(x)[0]), rnn=gru(3, 4)
        ),
        X,
    ),
    "cat, stack, chunk, split, indices of features": row(
        lambda: Fn(
            lambda m, x: torch.stack(torch.cat([m.rnn(x)[0], x], -1)[..., 1:].chunk(2, -1), 2),
            rnn=gru(3, 4),
        ),
        X,
    ),
    "time: first, last, [1:], [:-1], [::2], flip": row(
        lambda: Fn(
            lambda m, x: (lambda y: (y[:, 0], y[:, -1], y[:, 1:] - y[:, :-1], y.flip(1)))(
                m.rnn(x)[0]
            ),
            rnn=gru(3, 4),
        ),
        X,
    ),
    "view, reshape, permute, transpose, flatten": row(
        lambda: nn.Sequential(nn.Conv1d(3, 4, 3), nn.Flatten(), nn.Linear(24, 2)), (2, 3, 8)
    ),
    "expand and repeat of a vector over time": row(
        lambda: Fn(
            lambda m, x: m.dec(m.enc(x)[1][-1].unsqueeze(1).expand(-1, x.size(1), -1))[0],
            enc=gru(3, 4),
            dec=gru(4, 3),
        ),
        X,
    ),
}


def loop(m, x):
    h = torch.zeros(x.size(0), 4)
    for t in range(x.size(1)):
        h = m.cell(x[:, t], h)
    return h


def aliased(m, x):
    y = m.fc(x)
    z = y[:, :1]
    z += 1
    return y


def cut(m, x, n):
    p = pack_padded_sequence(x, n, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(m.rnn(p)[0], batch_first=True)[0][:, -1]


class Remembers(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.hidden = gru(3, 4), None

    def forward(self, x):
        y, self.hidden = self.rnn(x, self.hidden)
        return y


def body(f, **parts):
    """A row of REFUSED: a GRU from 3 to 4 features, and what forward does."""
    return lambda _: Fn(f, **{"rnn": gru(3, 4), **parts})


def module(make):
    return lambda _: make()


REFUSED = {
    "a loop over the steps of an input": body(loop, cell=nn.GRUCell(3, 4)),
    "control flow that depends on numbers": body(lambda m, x: x if x.sum() > 0 else -x),
    "state that the module keeps itself": module(Remembers),
    "noise": body(lambda m, x: m.rnn(x + torch.randn(3))[0]),
    "dropout that is on in use": body(lambda m, x: F.dropout(m.rnn(x)[0])),
    "an initial state for each row": body(lambda m, x: m.rnn(x, torch.eye(4)[None])[0]),
    "lengths that are constant": body(lambda m, x: m.rnn(pack_padded_sequence(x, [2, 1], True))[1]),
    "padding_value other than 0": body(
        lambda m, x, n: pad_packed_sequence(m.rnn(pack_padded_sequence(x, n, True))[0], True, -1.0)[
            0
        ]
    ),
    "looking across steps that pad_packed_sequence cuts": body(cut),
    "the data of a packed sequence": body(lambda m, x, n: pack_padded_sequence(x, n, True).data),
    "a tensor read after a view of it was written": body(aliased, fc=nn.Linear(3, 4)),
    "hooks": module(lambda: (lambda m: (m.register_forward_hook(print), m)[1])(nn.Linear(3, 4))),
    "a parametrization of a recurrent weight": module(
        lambda: Fn(
            lambda m, x: m.rnn(x)[0], rnn=parametrizations.weight_norm(gru(3, 4), "weight_hh_l0")
        )
    ),
    "a weight that is NaN": module(
        lambda: (lambda m: (nn.init.constant_(m.weight, float("nan")), m)[1])(nn.Linear(3, 4))
    ),
    "float64 that float32 can't hold": module(
        lambda: (lambda m: (m.weight.data.add_(1e-12), m)[1])(nn.Linear(3, 4).double())
    ),
    "a number of features that nothing tells": body(
        lambda m, x: F.relu(x).unsqueeze(-1).squeeze(-1) + 0
    ),
    "nn.Bilinear": body(lambda m, x: m.pair(x, x), pair=nn.Bilinear(3, 3, 2)),
    "nn.EmbeddingBag": body(lambda m, x: m.bag(x), bag=nn.EmbeddingBag(5, 3)),
    "nn.Embedding, max_norm": body(lambda m, x: m.table(x), table=nn.Embedding(5, 3, max_norm=1.0)),
    "nn.GroupNorm": module(lambda: nn.Sequential(nn.Conv1d(3, 4, 1), nn.GroupNorm(2, 4))),
    "nn.InstanceNorm1d": module(lambda: nn.Sequential(nn.Conv1d(3, 4, 1), nn.InstanceNorm1d(4))),
    "nn.BatchNorm1d, track_running_stats=False": module(
        lambda: nn.BatchNorm1d(3, track_running_stats=False)
    ),
    "nn.LayerNorm over several axes": body(lambda m, x: m.norm(x), norm=nn.LayerNorm((6, 3))),
    "nn.Conv1d, padding_mode": module(
        lambda: nn.Conv1d(3, 4, 3, padding=1, padding_mode="circular")
    ),
    "nn.MaxPool1d, return_indices": module(
        lambda: nn.Sequential(nn.Conv1d(3, 4, 1), nn.MaxPool1d(2, return_indices=True))
    ),
    "nn.AdaptiveAvgPool1d to more than 1": module(
        lambda: nn.Sequential(nn.Conv1d(3, 4, 1), nn.AdaptiveAvgPool1d(2))
    ),
    "nn.AvgPool1d, ceil_mode that counts padding": module(
        lambda: nn.Sequential(nn.Conv1d(3, 4, 1), nn.AvgPool1d(2, 2, 1, ceil_mode=True))
    ),
    "nn.Threshold, value other than 0": module(
        lambda: nn.Sequential(nn.Linear(3, 4), nn.Threshold(0.1, 20.0))
    ),
    "nn.Softplus, low threshold": module(
        lambda: nn.Sequential(nn.Linear(3, 4), nn.Softplus(threshold=2.0))
    ),
    "nn.Softmax without dim": module(lambda: nn.Sequential(nn.Linear(3, 4), nn.Softmax())),
    "log_softmax over time": body(lambda m, x: m.rnn(x)[0].log_softmax(1)),
    "nn.MultiheadAttention": body(
        lambda m, x: m.attend(x, x, x)[0], attend=nn.MultiheadAttention(3, 1)
    ),
    "other functions of torch": body(lambda m, x: m.rnn(x)[0].cumsum(1)),
    "sums over everything": body(lambda m, x: m.rnn(x)[0].sum()),
    "a row of the batch": body(lambda m, x: m.rnn(x)[0][0]),
    "joining along time": body(lambda m, x: torch.cat([x, x], 1)),
    "steps from the beginning, in number": body(lambda m, x: m.rnn(x)[0][:, :5]),
    "squeeze() without an axis": body(lambda m, x: m.rnn(x)[1].squeeze()),
    "powers but 2, 1/2, -1, -1/2": body(lambda m, x: m.rnn(x)[0] ** 3),
    "indices of a maximum": body(lambda m, x: m.rnn(x)[0].max(1)[1] + 1.0),
    "conversion to float64": body(lambda m, x: m.rnn(x)[0].double()),
    "TorchScript": module(lambda: torch.jit.script(nn.Linear(3, 4))),
}
