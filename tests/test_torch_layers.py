"""Modules and functions of torch around recurrent layers, against torch."""

from __future__ import annotations

import numpy as np
import pytest
from lstmc.converters import convert

from lstmc import ConversionError, graph

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch_nets import Fn, bold, matches  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(7)


def statistics(module):
    """Weights and statistics that all matter."""
    bold(module)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm1d):
            m.running_mean.normal_()
            m.running_var.uniform_(0.3, 3)
    return module


# ----------------------------------------------------------------------- activations, elementwise

ACTIVATIONS = [
    nn.ReLU(),
    nn.ReLU(inplace=True),
    nn.ReLU6(),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.Hardsigmoid(),
    nn.Hardswish(),
    nn.Hardtanh(),
    nn.Hardtanh(-0.3, 2.0),
    nn.LeakyReLU(),
    nn.LeakyReLU(0.3),
    nn.RReLU(0.1, 0.4),
    nn.ELU(),
    nn.ELU(0.4),
    nn.SELU(),
    nn.CELU(),
    nn.CELU(1.7),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.SiLU(),
    nn.Mish(),
    nn.Softplus(),
    nn.Softplus(2.5),
    nn.Softplus(0.5, 30),
    nn.Softsign(),
    nn.LogSigmoid(),
    nn.Tanhshrink(),
    nn.Softshrink(),
    nn.Softshrink(0.2),
    nn.Hardshrink(),
    nn.Hardshrink(1.2),
    nn.Threshold(0.4, 0),
    nn.Threshold(-0.4, 0),
    nn.PReLU(),
    nn.PReLU(4),
    nn.GLU(),
    nn.Softmax(-1),
    nn.LogSoftmax(1),
    nn.Softmin(dim=1),
    nn.Dropout(),
    nn.Dropout1d(),
    nn.AlphaDropout(),
    nn.FeatureAlphaDropout(),
    nn.Identity(),
]


@pytest.mark.parametrize("module", ACTIVATIONS, ids=str)
def test_activation_modules(module):
    matches(nn.Sequential(nn.Linear(3, 4), module), 2 * torch.randn(50, 3))


FUNCTIONS = {
    "relu": F.relu,
    "relu6": F.relu6,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hardtanh": lambda x: F.hardtanh(x, -2, 1),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "rrelu": F.rrelu,
    "elu": lambda x: F.elu(x, 0.5),
    "selu": F.selu,
    "celu": F.celu,
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "logsigmoid": F.logsigmoid,
    "tanhshrink": F.tanhshrink,
    "softshrink": F.softshrink,
    "hardshrink": F.hardshrink,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "threshold": lambda x: F.threshold(x, 0.2, 0.0),
    "glu": F.glu,
    "prelu": lambda x: F.prelu(x, torch.tensor([0.1, 0.2, 0.3, -0.4])),
    "softmax": lambda x: F.softmax(x, dim=-1),
    "log_softmax": lambda x: x.log_softmax(-1),
    "softmin": lambda x: F.softmin(x, dim=-1),
    "exp": torch.exp,
    "abs": abs,
    "abs_": torch.abs,
    "neg": lambda x: -x,
    "negative": torch.negative,
    "sqrt": lambda x: x.abs().sqrt(),
    "log": lambda x: torch.log(x.abs() + 0.1),
    "square": torch.square,
    "pow": lambda x: x**2,
    "power": lambda x: torch.pow(x, 2),
    "half power": lambda x: x.square().pow(0.5),
    "reciprocal": lambda x: torch.reciprocal(x.abs() + 0.5),
    "power -1": lambda x: (x * x + 1) ** -1,
    "rsqrt": lambda x: (x * x + 1).rsqrt(),
    "erf": torch.erf,
    "sign": torch.sign,
    "clamp": lambda x: x.clamp(-0.5, 0.7),
    "clamp low": lambda x: torch.clamp(x, min=-0.5),
    "clamp zero": lambda x: x.clamp(min=0),
    "clamp high": lambda x: x.clamp(max=0.5),
    "times": lambda x: x * 0.3,
    "rtimes": lambda x: 3 * x,
    "plus": lambda x: x + 1,
    "rplus": lambda x: 1.5 + x,
    "minus": lambda x: x - 0.3,
    "rminus": lambda x: 1 - x,
    "over": lambda x: x / 3,
    "rover": lambda x: 2 / (x.abs() + 1),
    "over tiny": lambda x: x / 1e-35,
    "itself": lambda x: x + x,
    "squared": lambda x: x * x,
    "sigmoid gate": lambda x: x * x.sigmoid(),
    "max number": lambda x: torch.maximum(x, torch.tensor(0.2)),
    "min of two": lambda x: torch.minimum(x, -x),
    "max of two": lambda x: torch.max(x, 1 - x),
    "vector": lambda x: x + torch.tensor([1.0, 2.0, -1.0, 0.5]),
    "scale": lambda x: torch.tensor([1.0, 2.0, -1.0, 0.5]) * x,
    "vector first": lambda x: torch.tensor([1.0, 2.0, -1.0, 0.5]) - x,
    "minus vector": lambda x: x - torch.tensor([1.0, 2.0, -1.0, 0.5]),
    "over vector": lambda x: x / torch.tensor([1.0, 2.0, -1.0, 0.5]),
    "vector over": lambda x: torch.tensor([1.0, 2.0, -1.0, 0.5]) / (x.square() + 1),
    "whole number": lambda x: x * torch.tensor(3),
    "column": lambda x: x[..., :1] * torch.tensor([1.0, 2.0, -1.0]),
    "mask": lambda x: x * (x != 0),
    "float mask": lambda x: (x == 0).float() + x,
    "not": lambda x: (~(x != 0)).float() * x,
    "logic": lambda x: ((x != 0) & (x != 1) | (x == 2)).to(torch.float32),
    "added in place": lambda x: (x * 1).add_(1).mul_(2),
    "clamped": lambda x: x.tanh().clamp_(0, 1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    fc = bold(nn.Linear(3, 4))
    x = torch.randn(20, 3)
    matches(Fn(lambda m, x: FUNCTIONS[name](m.fc(x)), fc=fc), x)
    rnn = bold(nn.GRU(3, 4, batch_first=True))
    if name != "prelu":  # whose channels are axis 1
        matches(Fn(lambda m, x: FUNCTIONS[name](m.rnn(x)[0]), rnn=rnn), x.view(4, 5, 3))


def test_augmented_assignments():
    def residual(m, x):
        y = m.rnn(x)[0]
        y += x
        y *= 2
        y -= 1
        y /= 3
        return y

    matches(Fn(residual, rnn=bold(nn.GRU(3, 3, batch_first=True))), torch.randn(2, 4, 3))

    def aliased(m, x):
        y = z = m.fc(x)
        z += 1
        return y * z

    def view(m, x):
        y = m.fc(x)
        z = y[:, :1]
        z *= 2
        return y

    def counted(m, x):
        n = x.size(1)
        n -= 1
        return m.rnn(x)[0][:, n]

    matches(Fn(counted, rnn=bold(nn.GRU(3, 3, batch_first=True))), torch.randn(2, 4, 3))
    for body in (aliased, view, lambda m, x: (lambda y: (y, y.T.__iadd__(1)))(m.fc(x))):
        with pytest.raises(ConversionError, match=r"works in place.*\+="):
            convert(Fn(body, fc=nn.Linear(3, 3)))
    with pytest.raises(ConversionError, match="in place is not supported"):
        convert(Fn(lambda m, x: m.fc(x).__ipow__(2), fc=nn.Linear(3, 3)))


def test_a_buffer_that_forward_writes_to():
    def body(m, x):
        m.count += 1
        return m.fc(x) + m.count

    net = Fn(body, fc=nn.Linear(3, 3), count=torch.zeros(1))
    with pytest.raises(ConversionError, match=r"works in place|stores a computed"):
        convert(net)
    assert net.count == 0


# ------------------------------------------------------------------------------------ on channels

CONVOLUTIONS = [
    {"kernel_size": 1},
    {"kernel_size": 3},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": "same"},
    {"kernel_size": 4, "padding": "same", "dilation": 3},
    {"kernel_size": 3, "padding": "valid", "stride": 2},
    {"kernel_size": 5, "padding": 4, "stride": 3},
    {"kernel_size": 2, "dilation": 3, "bias": False},
    {"kernel_size": 3, "groups": 2},
    {"kernel_size": 3, "groups": 4},
    {"kernel_size": 2, "groups": 4, "out_channels": 8, "padding": 1},
    {"kernel_size": 1, "groups": 2, "bias": False, "stride": 2},
]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_conv1d(options):
    conv = bold(nn.Conv1d(**{"in_channels": 4, "out_channels": 4, **options}))
    g = matches(conv, torch.randn(3, 4, 11))
    assert g.inputs[0].axes == ("batch", 4, "time")
    given = {k: v for k, v in options.items() if k in ("stride", "padding", "dilation", "groups")}
    net = Fn(
        lambda m, x: F.conv1d(x, m.w, m.b, **given), w=conv.weight, b=torch.randn(len(conv.weight))
    )
    matches(net, torch.randn(3, 4, 11))


POOLS = [
    nn.MaxPool1d(2),
    nn.MaxPool1d(3, 2),
    nn.MaxPool1d(3, 1, 1),
    nn.MaxPool1d(2, dilation=3),
    nn.MaxPool1d(3, 2, ceil_mode=True),
    nn.MaxPool1d(4, 3, 1, ceil_mode=True),
    nn.MaxPool1d(2, 2, ceil_mode=True),
    nn.AvgPool1d(2),
    nn.AvgPool1d(3, 1, 1),
    nn.AvgPool1d(3, 2, 1, count_include_pad=False),
    nn.AvgPool1d(3, 2, ceil_mode=True),
    nn.AvgPool1d(4, 2, 1, True, False),
    nn.AdaptiveAvgPool1d(1),
    nn.AdaptiveMaxPool1d(1),
    nn.AdaptiveAvgPool1d((1,)),
    nn.ConstantPad1d((2, 1), 0.7),
    nn.ZeroPad1d(2),
    nn.ZeroPad1d((0, 3)),
    nn.Softmax(dim=2),
    nn.Softmax(dim=1),
    nn.BatchNorm1d(4),
    nn.BatchNorm1d(4, affine=False),
    nn.BatchNorm1d(4, eps=0.1),
    nn.PReLU(4),
    nn.GLU(1),
    nn.LogSoftmax(1),
    nn.Dropout1d(),
]


@pytest.mark.parametrize("module", POOLS, ids=str)
@pytest.mark.parametrize("time", [7, 8, 9])
def test_channels_over_time(module, time):
    net = statistics(nn.Sequential(nn.Conv1d(3, 4, 1), module))
    matches(net, torch.randn(2, 3, time))


def test_windows_that_torch_would_drop():
    for pool in (nn.MaxPool1d(1, 3, ceil_mode=True), nn.AvgPool1d(2, 3, 0, True, False)):
        with pytest.raises(ConversionError, match="stride longer than the kernel"):
            convert(nn.Sequential(nn.Conv1d(3, 4, 1), pool))


def test_functions_of_channels():
    def body(m, x):
        x = F.max_pool1d(F.pad(m.conv(x), (1, 2), value=-0.5), 2)
        x = F.avg_pool1d(x, 2, 1)
        x = F.batch_norm(x, m.mean, m.var, m.scale, m.shift)
        return F.adaptive_avg_pool1d(x, 1).squeeze(-1), F.adaptive_max_pool1d(x, 1)

    vectors = {k: torch.rand(4) + 0.5 for k in ("mean", "var", "scale", "shift")}
    matches(Fn(body, conv=nn.Conv1d(3, 4, 3), **vectors), torch.randn(2, 3, 12))


def test_batch_norm_of_vectors_and_far_means():
    for affine in (True, False):
        matches(
            statistics(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, affine=affine))),
            torch.randn(9, 3),
        )
    net = statistics(nn.BatchNorm1d(5))
    net.running_mean.mul_(1e4)
    net.running_var.mul_(1e-2)
    x = torch.randn(9, 5) * net.running_var.sqrt() + net.running_mean
    g = matches(net, x, want=net.double().eval()(x.double()).detach(), tolerance=1e-6)
    assert [type(layer) for layer in g.layers] == [graph.Affine] * 2


def test_channels_and_recurrence():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.front = nn.Sequential(
                nn.Conv1d(3, 6, 3, padding=1), nn.BatchNorm1d(6), nn.ReLU(), nn.MaxPool1d(2)
            )
            self.rnn = nn.LSTM(6, 4, 2, batch_first=True, bidirectional=True)
            self.norm = nn.LayerNorm(8)
            self.head = nn.Linear(8, 2)

        def forward(self, x):
            y, _ = self.rnn(self.front(x.permute(0, 2, 1)).permute(0, 2, 1))
            return self.head(self.norm(y).mean(dim=1))

    matches(statistics(Net()), torch.randn(2, 9, 3))


# ------------------------------------------------------------------------------------ on features


def test_norms():
    for norm in (
        nn.LayerNorm(4),
        nn.LayerNorm((4,), eps=0.1),
        nn.LayerNorm(4, bias=False),
        nn.LayerNorm(4, elementwise_affine=False),
        nn.RMSNorm(4),
        nn.RMSNorm(4, eps=0.1),
    ):
        matches(statistics(nn.Sequential(nn.Linear(3, 4), norm)), torch.randn(5, 3))
        rnn = bold(nn.GRU(3, 4))
        matches(Fn(lambda m, x: m.norm(m.rnn(x)[0]), rnn=rnn, norm=norm), torch.randn(5, 2, 3))
    net = Fn(
        lambda m, x: F.layer_norm(m.fc(x), (4,), m.w, m.b, 1e-3),
        fc=nn.Linear(3, 4),
        w=torch.rand(4),
        b=torch.randn(4),
    )
    matches(net, torch.randn(5, 3))


def test_numbers_that_float32_cannot_hold():
    norms = (nn.LayerNorm(3, eps=1e300), nn.RMSNorm(3, eps=-1.0))
    for module in (
        *(nn.Sequential(nn.Linear(3, 3), n) for n in norms),
        nn.Sequential(nn.Conv1d(3, 4, 1), nn.ConstantPad1d(1, 1e300)),
    ):
        with pytest.raises(ConversionError, match=r"(eps|value)=\S+ is not supported"):
            convert(module)


def test_embeddings():
    table = bold(nn.Embedding(10, 3, padding_idx=2))
    x = torch.randint(0, 10, (4, 6))
    rnn = bold(nn.GRU(3, 4, batch_first=True))
    g = matches(Fn(lambda m, x: m.rnn(m.table(x))[1][-1], table=table, rnn=rnn), x)
    assert (g.inputs[0].axes, g.inputs[0].dtype) == (("batch", "time"), "int64")
    matches(
        Fn(lambda m, x: F.embedding(x, m.table.weight).tanh(), table=table),
        x[:, 0],
        example=x[:, 0],
    )
    matches(
        Fn(lambda m, x: m.table(x.long()).flatten(2), table=table),
        x[..., None].repeat(1, 1, 2),
        example=x[..., None].repeat(1, 1, 2),
    )


def test_masks_and_lengths_from_padding():
    def masked(m, x):
        mask = (x != 0).unsqueeze(-1)
        out = m.rnn(m.table(x) * mask)[0] * mask.float()
        return out.sum(1)

    def packed(m, x):
        n = (x != 0).sum(dim=1)
        y = nn.utils.rnn.pack_padded_sequence(m.table(x), n.cpu(), True, enforce_sorted=False)
        return m.rnn(y)[1][0]

    def averaged(m, x):
        mask = (x != 0).float()
        return (m.table(x) * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True)

    x = torch.tensor([[3, 4, 1, 0, 0], [5, 0, 0, 0, 0], [1, 2, 3, 4, 5]])
    parts = {"table": bold(nn.Embedding(6, 3)), "rnn": bold(nn.GRU(3, 4, batch_first=True))}
    for body in (masked, packed, averaged):
        matches(Fn(body, **parts), x)


def test_attention():
    def body(m, x):
        y = m.rnn(x)[0]
        a = torch.softmax(m.score(y), dim=1)
        context = (a * y).sum(dim=1)
        also = torch.bmm(a.transpose(1, 2), y).squeeze(1)
        return context, also, a.permute(0, 2, 1) @ y

    matches(
        Fn(body, rnn=bold(nn.LSTM(3, 4, batch_first=True)), score=nn.Linear(4, 1)),
        torch.randn(2, 6, 3),
    )


def test_products_with_parameters():
    x = torch.randn(2, 6, 3)
    bodies = {
        "matrix": lambda m, x: m.rnn(x)[0] @ m.w,
        "turned": lambda m, x: torch.matmul(m.rnn(x)[0], m.v.t()) + m.b,
        "T": lambda m, x: m.rnn(x)[0] @ m.v.T,
        "of steps": lambda m, x: m.rnn(x)[0] * m.s + m.p,
    }
    for body in bodies.values():
        net = Fn(
            body,
            rnn=bold(nn.GRU(3, 4, batch_first=True)),
            w=nn.Parameter(torch.randn(4, 5)),
            v=nn.Parameter(torch.randn(5, 4)),
            b=torch.randn(5),
            s=torch.randn(1, 1, 4),
            p=torch.randn(6, 4),
        )
        matches(net, x)


def test_positions():
    """A parameter with a number for each step says how many there are."""
    net = Fn(
        lambda m, x: m.rnn(x + m.p)[0],
        rnn=bold(nn.GRU(3, 4, batch_first=True)),
        p=nn.Parameter(torch.randn(1, 6, 3)),
    )
    g = matches(net, torch.randn(2, 6, 3))
    assert g.inputs[0].time == 6


# ---------------------------------------------------------------------------------------- shapes

SHAPES = {
    "slice": lambda x: x[..., 1:3],
    "every other": lambda x: x[:, :, ::2],
    "one": lambda x: x[..., 2],
    "list": lambda x: x[..., [2, 0, 0]],
    "tensor": lambda x: x[:, :, torch.tensor([3, 1])],
    "new axis": lambda x: x[:, None],
    "narrow": lambda x: x.narrow(2, 1, 2),
    "chunk": lambda x: x.chunk(2, dim=-1)[1],
    "split": lambda x: torch.split(x, [1, 3], 2)[1],
    "uneven": lambda x: x.split(3, -1)[1],
    "unbind": lambda x: x.unbind(-1)[1],
    "cat": lambda x: torch.cat((x, x * 2), dim=2),
    "stack": lambda x: torch.stack([x, -x], dim=2),
    "stack last": lambda x: torch.stack([x, -x], -1),
    "flip": lambda x: x.flip(-1),
    "flip time": lambda x: torch.flip(x, [1]),
    "flip both": lambda x: x.flip(1, 2),
    "tail": lambda x: x[:, 1:],
    "front": lambda x: x[:, :-1],
    "thinned": lambda x: x[:, ::2],
    "middle": lambda x: x[:, 2:-1:2],
    "first": lambda x: x[:, 0],
    "third": lambda x: x[:, 2],
    "kept first": lambda x: x[:, :1],
    "kept last": lambda x: x[:, -1:],
    "kept 2": lambda x: x[:, 2:3],
    "front by size": lambda x: x[:, : x.size(1) - 1],
    "last by size": lambda x: x[:, x.size(1) - 1],
    "narrow time": lambda x: x.narrow(1, 1, x.size(1) - 1),
    "differences": lambda x: x[:, 1:] - x[:, :-1],
    "sum": lambda x: x.sum(1),
    "mean": lambda x: x.mean(dim=1),
    "max": lambda x: x.max(1)[0],
    "max values": lambda x: torch.max(x, dim=1).values,
    "min": lambda x: x.min(dim=1)[0],
    "amax": lambda x: torch.amax(x, 1),
    "amin": lambda x: x.amin(dim=(1,), keepdim=True),
    "sum of features": lambda x: x.sum(-1, keepdim=True),
    "mean of features": lambda x: x.mean(-1),
    "mean of both": lambda x: x.mean(dim=(1, 2)),
    "max of features": lambda x: x.amax(-1),
    "centred": lambda x: x - x.mean(-1, keepdim=True),
    "centred in time": lambda x: x - x.mean(1, keepdim=True),
    "spread": lambda x: x.mean(1, keepdim=True).expand_as(x) * x,
    "split features": lambda x: x.view(x.size(0), x.size(1), 2, 2),
    "turned features": lambda x: x.view(x.size(0), -1, 2, 2).transpose(2, 3).flatten(2),
    "half sums": lambda x: x.unflatten(2, (2, 2)).sum(-1),
    "half maxima": lambda x: x.unflatten(2, (2, 2)).amax(2),
    "half softmax": lambda x: x.unflatten(-1, (2, 2)).softmax(2),
    "half softmax 2": lambda x: x.view(x.size(0), x.size(1), 2, 2).softmax(-1),
    "outer": lambda x: x.unsqueeze(-1) * x.unsqueeze(-2),
    "repeat": lambda x: x.repeat(1, 1, 2),
    "expand": lambda x: x[..., :1].expand(-1, -1, 3),
    "time first": lambda x: x.permute(1, 0, 2),
    "features first": lambda x: x.permute(2, 0, 1),
    "transposed": lambda x: x.transpose(1, 2),
    "squeezed": lambda x: x.unsqueeze(1).squeeze(1),
    "sum of parts": lambda x: x[..., :2] + x[..., 2:],
    "by its last": lambda x: x * x[:, -1:],
    "by one": lambda x: x * x[..., 3:],
    "batch and time": lambda x: x.reshape(-1, 4).tanh().view(x.size(0), x.size(1), 4),
    "batch times time": lambda x: (
        x.reshape(x.size(0) * x.size(1), 4).tanh().reshape(x.size(0), x.size(1), -1)
    ),
    "like": lambda x: x + torch.zeros_like(x) + x.new_ones(1),
    "last sum": lambda x: x[:, -1] + x[:, 0],
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name):
    net = Fn(lambda m, x: SHAPES[name](m.rnn(x)[0]), rnn=bold(nn.GRU(3, 4, batch_first=True)))
    matches(net, torch.randn(2, 6, 3))


SIZES = {
    "end": lambda m, x: m.rnn(x)[0][:, : m.rnn(x)[0][:, 1:].size(1)],
    "before the end": lambda m, x: m.rnn(x)[0][:, : m.rnn(x)[0][:, 1:].size(1) - 1],
    "index": lambda m, x: m.rnn(x)[0][:, m.rnn(x)[0][:, 1:].size(1) - 1],
    "narrow": lambda m, x: m.rnn(x)[0].narrow(1, 0, m.rnn(x)[0][:, 1:].size(1)),
    "of another input": lambda m, x, y: (m.rnn(x)[0][:, : y.size(1)], m.rnn(y)[0]),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_of_another_sequence(name):
    net = Fn(SIZES[name], rnn=nn.GRU(3, 4, batch_first=True))
    with pytest.raises(ConversionError, match="different numbers of time steps"):
        convert(net)


def test_flatten_tells_the_number_of_steps():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(24, 2))
    g = matches(
        Fn(lambda m, x: m.flat(m.rnn(x)[0]), rnn=nn.GRU(3, 4, batch_first=True), flat=flat),
        torch.randn(2, 6, 3),
    )
    assert g.inputs[0].time == 6
    g = matches(nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), flat), torch.randn(2, 3, 8))
    assert g.inputs[0].time == 8
    halved = Fn(
        lambda m, x: m.fc(F.max_pool1d(m.conv(x), 2).view(x.size(0), -1)),
        conv=nn.Conv1d(3, 4, 3),
        fc=nn.Linear(12, 2),
    )
    with pytest.raises(ConversionError, match=r"12|several lengths.*example="):
        convert(halved)
    for time in (8, 9):
        x = torch.randn(2, 3, time)
        assert matches(halved, x, example=x).inputs[0].time == time
    with pytest.raises(ConversionError, match=r"gets .* time steps, expected 3"):
        convert(halved, example=torch.randn(2, 3, 11))


def test_features_as_a_sequence():
    """[batch, 12] seen as 4 steps of 3, and an axis of features beside time."""
    rnn = bold(nn.GRU(3, 5, batch_first=True))
    g = matches(Fn(lambda m, x: m.rnn(x.view(-1, 4, 3))[0], rnn=rnn), torch.randn(2, 12))
    assert g.outputs[0].axes == ("batch", 4, 5)
    net = Fn(lambda m, x: m.conv(x.view(x.size(0), 3, 4)).flatten(1), conv=nn.Conv1d(3, 2, 3))
    matches(net, torch.randn(2, 12))
    net = Fn(lambda m, x: m.norm(m.fc(x.view(-1, 4, 3))), fc=nn.Linear(3, 2), norm=nn.LayerNorm(2))
    matches(net, torch.randn(2, 12))


def test_several_inputs():
    def body(m, x, y, s):
        a, b = m.a(x)[0], m.b(y)[0]
        return torch.cat([a, b], -1), a[:, -1] + s, b * s.unsqueeze(1)

    parts = {"a": nn.GRU(3, 4, batch_first=True), "b": nn.GRU(2, 4, batch_first=True)}
    s = torch.randn(2, 4)
    g = matches(
        Fn(body, **parts),
        torch.randn(2, 6, 3),
        torch.randn(2, 6, 2),
        s,
        example={"x": np.zeros((1, 6, 3)), "y": np.zeros((1, 6, 2)), "s": s},
    )
    assert len(g.clocks) == 1
    matches(Fn(body, **parts), torch.randn(2, 6, 3), torch.randn(2, 6, 2), s)
