"""Random torch modules: what lstmc makes of them is what torch gives.

Each net is drawn piece by piece, so that a failure shrinks to the pieces it takes. Weights,
statistics and inputs come from a drawn seed. Functions that jump are left out, and what would blow
a rounding error up (a norm of nearly nothing) is drawn with an epsilon that doesn't.
"""

from __future__ import annotations

import numpy as np
import pytest
from cases import LARGEST_SEED, settings
from hypothesis import assume, given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402
from torch_nets import matches  # noqa: E402

SMALL = st.integers(1, 5)
FLAG = st.booleans()
DEPTH = st.integers(1, 3)


class Net(nn.Module):
    """Pieces that are called one after another; ``run`` has what forward does."""

    def __init__(self, run, parts):
        super().__init__()
        self.run = run
        self.parts = nn.ModuleList(parts)
        self.extra = nn.ParameterList()


class One(Net):
    def forward(self, x):
        return self.run(self, x)


class Two(Net):
    def forward(self, x, y):
        return self.run(self, x, y)


class Three(Net):
    def forward(self, x, y, z):
        return self.run(self, x, y, z)


def fill(module, seed):
    """Weights and statistics of all modules from a seed."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape) * (0.6 if p.ndim > 1 else 0.4))
        for m in module.modules():
            if isinstance(m, nn.BatchNorm1d) and m.running_mean is not None:
                m.running_mean.normal_()
                m.running_var.uniform_(0.2, 2)
    return module


def check(module, *inputs, **options):
    with torch.no_grad():
        y = module.eval()(*(x.clone() for x in inputs))
    largest = max(float(v.abs().max()) for v in every(y))
    assume(np.isfinite(largest) and largest < 1e3)
    return matches(module, *inputs, **options)


def every(y):
    return [v for part in y for v in every(part)] if isinstance(y, (tuple, list)) else [y]


# -------------------------------------------------------------------------------------- recurrent


@st.composite
def recurrent(draw, features, *, bidirectional=None, batch_first=None, layers=DEPTH):
    """A recurrent module and its number of output features."""
    kind = draw(st.sampled_from(["LSTM", "GRU", "tanh", "relu"]))
    hidden = draw(SMALL)
    options = {
        "num_layers": draw(layers),
        "bias": draw(FLAG),
        "bidirectional": draw(FLAG) if bidirectional is None else bidirectional,
        "batch_first": draw(FLAG) if batch_first is None else batch_first,
    }
    out = hidden
    if kind == "LSTM":
        if hidden > 1 and draw(st.integers(0, 3)) == 3:
            options["proj_size"] = out = draw(st.integers(1, hidden - 1))
        module = nn.LSTM(features, hidden, **options)
    elif kind == "GRU":
        module = nn.GRU(features, hidden, **options)
    else:
        module = nn.RNN(features, hidden, nonlinearity=kind, **options)
    return module, out * (2 if options["bidirectional"] else 1)


def state_sizes(module):
    count = module.num_layers * (2 if module.bidirectional else 1)
    sizes = [(count, module.proj_size or module.hidden_size)]
    return [*sizes, (count, module.hidden_size)] if isinstance(module, nn.LSTM) else sizes


def hidden_states(module, result):
    """(output, h_n, and c_n of an LSTM) of what a module gives."""
    out, state = result
    return (out, state[0], state[1]) if isinstance(module, nn.LSTM) else (out, state)


# How a part of h_n is taken; each of [layers * directions, batch, H].
TAKEN = [
    lambda h: h,
    lambda h: h[-1],
    lambda h: h[0],
    lambda h: h[-2:],
    lambda h: h[::2],
    lambda h: h.transpose(0, 1),
    lambda h: h.transpose(0, 1).reshape(h.size(1), -1),
    lambda h: h.permute(1, 2, 0).flatten(1),
    lambda h: torch.cat([h[-1], h[0]], dim=1),
    lambda h: h.sum(0),
    lambda h: h.mean(dim=0).tanh(),
    lambda h: torch.cat(h.unbind(0), -1),
    lambda h: h.flip(0),
]


@st.composite
def recurrent_nets(draw):
    """A stack with initial states of every kind; what is returned is any part of what it gives."""
    features, batch, time = draw(SMALL), draw(st.integers(1, 3)), draw(st.integers(1, 7))
    module, _ = draw(recurrent(features))
    sizes = state_sizes(module)
    initial = draw(st.sampled_from(["none", "zeros", "learned", "inputs", "ones"]))
    take = draw(st.lists(st.sampled_from(TAKEN), min_size=1, max_size=3))
    cells, whole = draw(FLAG), draw(FLAG)

    def run(m, x, *states):
        if initial == "zeros":
            states = [x.new_zeros(n, batch_of(x), size) for n, size in sizes]
        elif initial == "ones":
            states = [torch.ones(n, batch_of(x), size) for n, size in sizes]
        elif initial == "learned":
            states = [p.unsqueeze(1).expand(-1, batch_of(x), -1).contiguous() for p in m.extra]
        given = () if not states else (tuple(states) if len(states) > 1 else states[0],)
        out, *last = hidden_states(module, m.parts[0](x, *given))
        outputs = [f(last[-1] if cells else last[0]) for f in take]
        return (out, *outputs) if whole else tuple(outputs)

    def batch_of(x):
        return x.size(0 if module.batch_first else 1)

    inputs = [
        torch.randn((batch, time, features) if module.batch_first else (time, batch, features))
    ]
    if initial == "inputs":
        inputs += [torch.randn(n, batch, size) for n, size in sizes]
    net = (One, Two, Three)[len(inputs) - 1](run, [module])
    if initial == "learned":
        net.extra.extend(nn.Parameter(torch.zeros(size)) for size in sizes)
    return net, inputs


@settings(120)
@given(recurrent_nets(), st.integers(0, LARGEST_SEED))
def test_recurrent(drawn, seed):
    net, inputs = drawn
    fill(net, seed)
    check(net, *(torch.randn(x.shape) for x in inputs))


@st.composite
def packed_nets(draw):
    features, batch, time = draw(SMALL), draw(st.integers(1, 4)), draw(st.integers(1, 7))
    first, width = draw(recurrent(features))
    second = draw(st.none() | recurrent(width))
    first_order, last_order = draw(FLAG), draw(FLAG)
    take = draw(st.sampled_from(TAKEN))
    mode = draw(st.sampled_from(["cut", "total", "again"]))
    lengths = draw(st.lists(st.integers(1, time), min_size=batch, max_size=batch))
    if mode == "cut":  # torch cuts to the longest
        lengths[draw(st.integers(0, batch - 1))] = time
    parts = [first] + ([second[0]] if second else [])
    width = second[1] if second else width
    parts.append(nn.Linear(width, features))

    def run(m, x, n):
        packed = pack_padded_sequence(x, n.cpu(), first_order, enforce_sorted=False)
        for part in list(m.parts)[:-1]:
            result = part(packed)
            packed = result[0]
        state = hidden_states(second[0] if second else first, result)
        total = None if mode == "cut" else x.size(1 if first_order else 0)
        out, _ = pad_packed_sequence(packed, batch_first=last_order, total_length=total)
        y = torch.tanh(m.parts[-1](out))
        outputs = (out, y, take(state[1]), state[-1])
        if mode == "again":
            again = pack_padded_sequence(y, n, last_order, enforce_sorted=False)
            outputs = (
                *outputs,
                hidden_states(first, first(again))[1],
                y.mean(1 if last_order else 0),
            )
        return outputs

    x = torch.zeros((batch, time, features) if first_order else (time, batch, features))
    return Two(run, parts), x, torch.tensor(lengths)


@settings(100)
@given(packed_nets(), st.integers(0, LARGEST_SEED))
def test_packed(drawn, seed):
    net, x, lengths = drawn
    fill(net, seed)
    check(net, torch.randn(x.shape), lengths)


@st.composite
def encoder_decoders(draw):
    features, others, batch = draw(SMALL), draw(SMALL), draw(st.integers(1, 3))
    times = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    kind, hidden, layers = (
        draw(st.sampled_from(["LSTM", "GRU"])),
        draw(SMALL),
        draw(st.integers(1, 2)),
    )
    mode = draw(st.sampled_from(["whole", "bridge", "repeat", "unrolled", "cell", "attention"]))
    make = {"LSTM": nn.LSTM, "GRU": nn.GRU}[kind]
    one = mode in ("bridge", "unrolled", "cell")
    layers = 1 if one else layers
    encoder = make(features, hidden, layers, batch_first=True, bidirectional=mode == "bridge")
    sizes = {"repeat": hidden, "attention": hidden}
    decoder = make(sizes.get(mode, others), hidden, layers, batch_first=True)
    cell = {"LSTM": nn.LSTMCell, "GRU": nn.GRUCell}[kind](others, hidden)
    parts = [encoder, decoder, nn.Linear(hidden, others), nn.Linear(2 * hidden, hidden), cell]
    steps = draw(st.integers(1, 3))

    def run(m, x, *y):
        encoder, decoder, head, bridge, cell = m.parts
        out, state = encoder(x)
        if mode == "whole":
            return head(decoder(y[0], state)[0])
        if mode == "bridge":
            both = [
                torch.tanh(bridge(torch.cat([s[0], s[1]], 1))).unsqueeze(0)
                for s in (state if kind == "LSTM" else (state,))
            ]
            return head(decoder(y[0], tuple(both) if kind == "LSTM" else both[0])[0])
        h = state[0] if kind == "LSTM" else state
        if mode == "repeat":
            return head(decoder(h[-1].unsqueeze(1).repeat(1, steps + 1, 1), state)[0])
        if mode == "attention":
            score = torch.softmax((out * h[-1].unsqueeze(1)).sum(-1), dim=1)
            context = torch.bmm(score.unsqueeze(1), out)
            return head(decoder(context, state)[0]).squeeze(1), score
        outputs = []
        token = torch.zeros(x.size(0), 1, others)
        if mode == "unrolled":
            for _ in range(steps):
                z, state = decoder(token, state)
                token = head(z)
                outputs.append(token)
            return torch.cat(outputs, 1)
        token, s = token.squeeze(1), (state[0][0], state[1][0]) if kind == "LSTM" else state[0]
        for _ in range(steps):
            s = cell(token, s)
            token = head(s[0] if kind == "LSTM" else s)
            outputs.append(token)
        return torch.stack(outputs, dim=1)

    shapes = [(batch, times[0], features), (batch, times[1], others)]
    two = mode in ("whole", "bridge")
    return (Two if two else One)(run, parts), shapes[: 1 + two]


@settings(100)
@given(encoder_decoders(), st.integers(0, LARGEST_SEED))
def test_encoder_and_decoder(drawn, seed):
    net, shapes = drawn
    fill(net, seed)
    check(net, *(torch.randn(s) for s in shapes))


# ----------------------------------------------------------------------------- stacks of all kinds

SMOOTH = [
    nn.ReLU,
    nn.ReLU6,
    nn.Sigmoid,
    nn.Tanh,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Softplus,
    nn.Softsign,
    nn.LogSigmoid,
    nn.Tanhshrink,
    nn.Softshrink,
    lambda: nn.GELU("tanh"),
    lambda: nn.Hardtanh(-0.5, 1.5),
    lambda: nn.LeakyReLU(0.3),
    lambda: nn.ELU(0.5),
    lambda: nn.CELU(2.0),
    lambda: nn.Softplus(2.0),
    lambda: nn.ReLU(inplace=True),
    nn.PReLU,
    nn.Dropout,
    nn.Identity,
]

ARITHMETIC = [
    lambda x: x * 0.7 + 0.1,
    lambda x: 1 - x,
    lambda x: x / 3,
    lambda x: -x,
    lambda x: x + x.tanh(),
    lambda x: x * torch.sigmoid(x),
    lambda x: torch.maximum(x, x * 0.3),
    lambda x: x.clamp(-1, 0.5),
    lambda x: x - x.mean(-1, keepdim=True),
    lambda x: x * x[..., :1],
    lambda x: x.abs().sqrt(),
    lambda x: 1 / (x.square() + 1),
    lambda x: torch.cat([x, -x], -1),
    lambda x: x.flip(-1),
    lambda x: x.softmax(-1),
    lambda x: F.log_softmax(x, dim=-1),
    lambda x: x.repeat(1, 1, 2),
    lambda x: torch.stack([x, x * 2], -1).flatten(2),
    lambda x: torch.cat(x.chunk(2, -1), -1),
    lambda x: x[..., :1].expand_as(x) + x,
    lambda x: x.unsqueeze(1).squeeze(1) + 1,
    lambda x: torch.exp(-x.abs()),
    lambda x: x.amax(-1, keepdim=True) - x,
]

OVER_TIME = [
    (lambda x: x.flip(1), lambda t: t),
    (lambda x: x[:, 1:], lambda t: t - 1),
    (lambda x: x[:, :-1], lambda t: t - 1),
    (lambda x: x[:, ::2], lambda t: (t + 1) // 2),
    (lambda x: x[:, 1:] - x[:, :-1], lambda t: t - 1),
    (lambda x: x.softmax(1), lambda t: t),
    (lambda x: x - x.mean(1, keepdim=True), lambda t: t),
    (lambda x: x * x[:, -1:], lambda t: t),
    (lambda x: F.pad(x, (0, 0, 1, 2)), lambda t: t + 3),
    (lambda x: x + x[:, :1], lambda t: t),
    (lambda x: x.max(1, keepdim=True)[0] + x, lambda t: t),
]

ENDS = [
    lambda x: x,
    lambda x: x[:, -1],
    lambda x: x[:, 0],
    lambda x: x.mean(1),
    lambda x: x.sum(dim=1),
    lambda x: x.max(1)[0],
    lambda x: torch.amin(x, dim=1),
    lambda x: x.transpose(0, 1),
    lambda x: x.permute(0, 2, 1),
    lambda x: torch.cat([x.mean(1), x.amax(1)], 1),
    lambda x: x.mean(-1),
    lambda x: x[:, -1:].tanh(),
    lambda x: x.unsqueeze(-1),
    lambda x: F.adaptive_avg_pool1d(x.transpose(1, 2), 1).squeeze(-1),
]


@st.composite
def window(draw, time):
    """Options of a convolution, and how many steps it leaves."""
    taps, stride, dilation = (
        draw(st.integers(1, 4)),
        draw(st.integers(1, 3)),
        draw(st.integers(1, 2)),
    )
    padding = draw(st.integers(0, 3) | st.sampled_from(["same", "valid"]))
    if padding == "same":
        stride, left = 1, time
    else:
        p = 0 if padding == "valid" else padding
        left = (time + 2 * p - (taps - 1) * dilation - 1) // stride + 1
    options = {"kernel_size": taps, "stride": stride, "dilation": dilation, "padding": padding}
    return options, left


@st.composite
def stages(draw, features, time):
    """One stage on [batch, time, features]: a function of its modules and x, the modules, and the
    features and steps it gives."""
    kind = draw(
        st.sampled_from(
            [
                "rnn",
                "linear",
                "activation",
                "arithmetic",
                "over time",
                "norm",
                "batch norm",
                "conv",
                "pool",
                "residual",
                "glu",
            ]
        )
    )
    if kind == "rnn":
        module, out = draw(recurrent(features, batch_first=True, layers=st.integers(1, 2)))
        return lambda p, x: p[0](x)[0], [module], out, time
    if kind == "linear":
        out = draw(SMALL)
        return lambda p, x: p[0](x), [nn.Linear(features, out, bias=draw(FLAG))], out, time
    if kind == "activation":
        return lambda p, x: p[0](x), [draw(st.sampled_from(SMOOTH))()], features, time
    if kind == "arithmetic":
        f = draw(st.sampled_from(ARITHMETIC))
        return lambda p, x: f(x), [], f(torch.zeros(1, 1, features)).shape[2], time
    if kind == "over time":
        f, left = draw(st.sampled_from(OVER_TIME))
        if left(time) < 1:
            return lambda p, x: x, [], features, time
        return lambda p, x: f(x), [], features, left(time)
    if kind == "norm":
        make = draw(st.sampled_from([nn.LayerNorm, nn.RMSNorm]))
        return lambda p, x: p[0](x), [make(features, eps=0.1)], features, time
    if kind == "batch norm":
        module = nn.BatchNorm1d(features, affine=draw(FLAG))
        return lambda p, x: p[0](x.transpose(1, 2)).transpose(1, 2), [module], features, time
    if kind == "conv":
        options, left = draw(window(time))
        groups = draw(st.sampled_from([g for g in (1, 1, 2, features) if features % g == 0]))
        out = draw(st.integers(1, 3)) * groups
        if left < 1:
            options, left = {"kernel_size": 1}, time
        module = nn.Conv1d(features, out, groups=groups, bias=draw(FLAG), **options)
        return (
            lambda p, x: p[0](x.permute(0, 2, 1)).permute(0, 2, 1),
            [module],
            out,
            left,
        )
    if kind == "pool":
        taps, stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        padding, ceil = draw(st.integers(0, taps // 2)), draw(FLAG) and stride <= taps
        if ceil and stride + padding > taps:
            padding = 0
        if draw(FLAG):
            module = nn.MaxPool1d(taps, stride, padding, ceil_mode=ceil)
        else:
            counted = draw(FLAG) and not (ceil and padding)
            module = nn.AvgPool1d(taps, stride, padding, ceil, counted)
        if time + 2 * padding < taps:
            module = nn.MaxPool1d(1)
        left = module(torch.zeros(1, 1, time)).shape[2]
        return lambda p, x: p[0](x.transpose(1, 2)).transpose(1, 2), [module], features, left
    if kind == "residual":
        module = nn.Linear(features, features)
        return lambda p, x: x + torch.tanh(p[0](x)), [module], features, time
    module = nn.Linear(features, 2 * features)
    return lambda p, x: F.glu(p[0](x), -1), [module], features, time


@st.composite
def stacks(draw):
    features, batch, time = draw(SMALL), draw(st.integers(1, 3)), draw(st.integers(1, 9))
    start, plan, parts, width, steps = draw(FLAG), [], [], features, time
    for _ in range(draw(st.integers(1, 4))):
        f, modules, width, steps = draw(stages(width, steps))
        plan.append((f, len(parts), len(modules)))
        parts += modules
        assume(width <= 24)
    ends = draw(st.lists(st.sampled_from(ENDS), min_size=1, max_size=2))

    def run(m, x):
        x = x.transpose(0, 1) if start else x
        for f, at, n in plan:
            x = f([m.parts[i] for i in range(at, at + n)], x)
        results = tuple(f(x) for f in ends)
        return results if len(results) > 1 else results[0]

    return One(run, parts), (time, batch, features) if start else (batch, time, features)


@settings(150)
@given(stacks(), st.integers(0, LARGEST_SEED))
def test_stacks(drawn, seed):
    net, shape = drawn
    fill(net, seed)
    x = torch.randn(shape)
    with torch.no_grad():
        same = (
            torch.equal(net.eval()(x), x)
            if len(net.parts) == 0 and not every(net(x))[1:]
            else False
        )
    assume(not same)
    check(net, x, example=x)


# ------------------------------------------------------------------------------------ state_dicts


@st.composite
def described(draw):
    """A plain net, and the architecture of its state_dict."""
    features, batch, time = draw(SMALL), draw(st.integers(1, 3)), draw(st.integers(1, 8))
    parts, plan, entries, width, steps, timed = [], [], [], features, time, True
    for _ in range(draw(st.integers(1, 4))):
        kinds = ["linear", "activation", "norm", "batch norm"]
        kind = draw(st.sampled_from(kinds + ["rnn", "rnn", "conv", "pool"] * timed))
        entry = {"weights": f"parts.{len(parts)}"}
        f = lambda p, x: p(x)  # noqa: E731
        turned = lambda p, x: p(x.transpose(1, 2)).transpose(1, 2)  # noqa: E731
        if kind == "linear":
            out, activation = draw(SMALL), draw(st.sampled_from(["", "tanh", "gelu", "softmax"]))
            module = nn.Linear(width, out)
            entry |= {"type": draw(st.sampled_from(["Dense", "Linear"]))}
            if activation:
                entry["activation"] = activation
                own = {"tanh": torch.tanh, "gelu": F.gelu, "softmax": lambda x: x.softmax(-1)}
                f = lambda p, x, a=own[activation]: a(p(x))  # noqa: E731
            width = out
        elif kind == "activation":
            name, options = draw(
                st.sampled_from(
                    [
                        ("ReLU", {}),
                        ("Tanh", {}),
                        ("LeakyReLU", {"negative_slope": 0.2}),
                        ("SiLU", {}),
                        ("ELU", {"alpha": 0.5}),
                        ("Softplus", {"beta": 2.0}),
                        ("Hardtanh", {"max_val": 0.5}),
                        ("GELU", {"approximate": "tanh"}),
                        ("PReLU", {}),
                        ("Softsign", {}),
                        ("Mish", {}),
                    ]
                )
            )
            module = getattr(nn, name)(**options)
            entry = {"type": name, **options, **({} if name != "PReLU" else entry)}
        elif kind == "norm":
            name = draw(st.sampled_from(["LayerNorm", "RMSNorm"]))
            module = getattr(nn, name)(width, eps=0.1)
            entry |= {"type": name, "eps": 0.1}
        elif kind == "batch norm":
            module, entry = nn.BatchNorm1d(width), {**entry, "type": "BatchNorm1d"}
            f = turned if timed else f
        elif kind == "conv":
            options, left = draw(window(steps))
            if left < 1:
                options, left = {"kernel_size": 1}, steps
            module, steps = nn.Conv1d(width, 3, **options), left
            entry |= {"type": "Conv1d", **{k: v for k, v in options.items() if k != "kernel_size"}}
            f, width = turned, 3
        elif kind == "pool":
            name = draw(st.sampled_from(["MaxPool1d", "AvgPool1d"]))
            size = draw(st.integers(1, min(3, steps)))
            module, entry = getattr(nn, name)(size), {"type": name, "kernel_size": size}
            f, steps = turned, steps // size
        else:
            module, width = draw(recurrent(width, batch_first=True))
            entry |= {"type": {nn.LSTM: "LSTM", nn.GRU: "GRU", nn.RNN: "RNN"}[type(module)]}
            if getattr(module, "nonlinearity", "tanh") == "relu":
                entry["activation"] = "relu"
            take = draw(st.sampled_from(["sequence", "sequence", "last_step", "states"]))
            entry |= {"take": take} if take != "sequence" or draw(FLAG) else {}
            f = {
                "sequence": lambda p, x: p(x)[0],
                "last_step": lambda p, x: p(x)[0][:, -1],
                "states": lambda p, x: (
                    lambda h: torch.cat([h[-2], h[-1]], 1) if p.bidirectional else h[-1]
                )(hidden_states(p, p(x))[1]),
            }[take]
            timed = take == "sequence"
        plan.append(f)
        parts.append(module)
        entries.append(entry)

    def run(m, x):
        for f, part in zip(plan, m.parts, strict=True):
            x = f(part, x)
        return x

    model = {"input": ["batch", "time", features]}
    return One(run, parts), {"model": model, "layer": entries}, (batch, time, features)


@settings(80)
@given(described(), st.integers(0, LARGEST_SEED))
def test_state_dicts(tmp_path_factory, drawn, seed):
    net, arch, shape = drawn
    assume(net.state_dict())
    fill(net, seed)
    x = torch.randn(shape)
    with torch.no_grad():
        want = net.eval()(x)
    assume(torch.isfinite(want).all() and want.abs().max() < 1e3)
    path = tmp_path_factory.getbasetemp() / "drawn.pt"
    torch.save(net.state_dict(), path)
    matches(path, x, want=want, arch=arch)
