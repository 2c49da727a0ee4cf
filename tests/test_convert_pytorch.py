"""Live torch modules against the float64 oracle, and against their own state_dict files."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from lstmc.converters import convert, gates

from lstmc import ConversionError, graph, reference

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.utils import parametrizations, weight_norm  # noqa: E402
from torch_nets import Net, agree, bold, same_weights  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(7)


# ------------------------------------------------------------------- what users write, one by one

BODIES = {
    "sequence": lambda m, x: m.lstm(x)[0],
    "index": lambda m, x: m.fc(m.lstm(x)[0][:, -1]),
    "index all": lambda m, x: m.fc(m.lstm(x)[0][:, -1, :]),
    "ellipsis": lambda m, x: m.fc(m.lstm(x)[0][..., -1, :]),
    "slice": lambda m, x: m.fc(m.lstm(x)[0][:, -1:]),
    "select": lambda m, x: m.fc(m.lstm(x)[0].select(1, -1)),
    "every step": lambda m, x: torch.sigmoid(m.fc(m.lstm(x)[0])),
    "h[-1]": lambda m, x: m.fc(m.lstm(x)[1][0][-1]),
    "h[0]": lambda m, x: m.fc(m.lstm(x)[1][0][0]),
    "h.squeeze": lambda m, x: m.fc(m.lstm(x)[1][0].squeeze(0)),
    "c": lambda m, x: m.fc(m.lstm(x)[1][1][-1]),
    "h": lambda m, x: m.lstm(x)[1][0],
    "h.view": lambda m, x: m.fc(m.lstm(x)[1][0].view(-1, 4)),
    "h transposed": lambda m, x: m.lstm(x)[1][0].transpose(0, 1),
    "whole result": lambda m, x: m.lstm(x),
    "tuple": lambda m, x: (m.fc(m.lstm(x)[0]), x.relu()),
    "dict": lambda m, x: {"a": m.lstm(x)[0], "b": m.lstm(x)[1][0][-1]},
    "relu": lambda m, x: F.relu(m.fc(m.lstm(x)[0][:, -1])),
    "before and after relu": lambda m, x: (lambda y: (F.relu(y), y))(m.fc(m.lstm(x)[0])),
    "relu method": lambda m, x: m.fc(m.lstm(x)[0][:, -1].relu()),
    "tanh": lambda m, x: torch.tanh(m.lstm(x)[0]),
    "hardsigmoid": lambda m, x: F.hardsigmoid(m.fc(m.lstm(x)[0])),
    "exp": lambda m, x: m.fc(m.lstm(x)[0]).exp(),
    "softmax": lambda m, x: torch.softmax(m.fc(m.lstm(x)[0][:, -1]), dim=1),
    "softmax steps": lambda m, x: F.softmax(m.fc(m.lstm(x)[0]), dim=-1),
    "unsqueeze": lambda m, x: m.fc(m.lstm(x)[0][:, -1]).unsqueeze(1),
    "time first": lambda m, x: m.lstm(x)[0].transpose(0, 1),
    "time first index": lambda m, x: m.fc(m.lstm(x)[0].permute(1, 0, 2)[-1]),
    "dropout": lambda m, x: m.fc(F.dropout(m.lstm(x)[0], 0.5, m.training)),
    "reshape": lambda m, x: m.fc(m.lstm(x)[0].contiguous().reshape(x.size(0), x.shape[1], -1)),
    "flatten": lambda m, x: m.fc(m.lstm(x)[0][:, -1].flatten(1)),
    "functional": lambda m, x: F.linear(m.lstm(x)[0], m.fc.weight, m.fc.bias),
    "input first": lambda m, x: m.fc(m.lstm(F.relu(x))[0]),
    "zero state": lambda m, x: m.lstm(
        x, (x.new_zeros(1, x.size(0), 4), torch.zeros(1, x.shape[0], 4, dtype=x.dtype).to(x.device))
    )[0],
    "in place": lambda m, x: m.fc(m.lstm(x)[0]).relu_(),
    "first step": lambda m, x: m.fc(m.lstm(x)[0][:, 0]),
    "step 2": lambda m, x: m.fc(m.lstm(x)[0][:, 2]),
    "step -2": lambda m, x: m.fc(m.lstm(x)[0][:, -2]),
    "features": lambda m, x: m.lstm(x)[0][:, -1, :2],
    "state": lambda m, x: m.lstm(x, m.lstm(x)[1])[0],
    "ones": lambda m, x: m.lstm(x, (x.new_ones(1, x.size(0), 4),) * 2)[0],
    "softmax time": lambda m, x: m.lstm(x)[0].softmax(1),
    "log_softmax": lambda m, x: F.log_softmax(m.lstm(x)[0], -1),
    "merged and back": lambda m, x: m.fc(m.lstm(x)[0].reshape(-1, 4)).view(
        x.size(0), x.size(1), -1
    ),
    "twice the same": lambda m, x: (lambda y: (y, y, x))(m.lstm(x)[0]),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies(name):
    agree(Net(BODIES[name]), (3, 5, 3))


STACKED = ["index", "h[-1]", "h[0]", "c", "every step", "h", "whole result"]


@pytest.mark.parametrize("name", STACKED)
def test_stacked(name):
    agree(Net(BODIES[name], num_layers=3), (2, 6, 3))


def test_stacked_state_takes_the_right_layer():
    for k in (0, 1, 2, -1, -2, -3):
        agree(Net(lambda m, x, k=k: m.lstm(x)[1][0][k], num_layers=3), (2, 4, 3))


COMBINATIONS = list(itertools.product((1, 2), (True, False), (True, False), (1, 3, 7), (1, 5)))


@pytest.mark.parametrize("layers, bias, batch_first, features, hidden", COMBINATIONS)
def test_lstm_options(layers, bias, batch_first, features, hidden):
    def body(m, x):
        out, (h, _) = m.lstm(x)
        return m.fc(out), m.fc(out[:, -1] if batch_first else out[-1]), h[-1]

    options = {"num_layers": layers, "bias": bias, "batch_first": batch_first, "dropout": 0.0}
    net = Net(body, features, hidden, 3, **options)
    g = agree(net, (4, 6, features))
    order = ("batch", "time") if batch_first else ("time", "batch")
    assert g.inputs[0].axes == (*order, features)
    assert g.outputs[0].axes == (*order, 3)


def test_bare_modules():
    g = agree(nn.LSTM(3, 4), (6, 2, 3))
    assert [v.name for v in g.outputs] == ["output", "h_n", "c_n"]
    assert [v.axes for v in g.outputs] == [("time", "batch", 4), (1, "batch", 4), (1, "batch", 4)]
    agree(nn.LSTM(3, 4, batch_first=True, bias=False), (6, 2, 3))
    agree(nn.Linear(3, 4), (6, 3))
    agree(nn.Linear(3, 4), (6, 2, 3), example=np.zeros((1, 2, 3)))
    agree(nn.Softmax(dim=-1), (6, 3), example=torch.zeros(6, 3))
    g = convert(nn.LSTM(3, 4, 2), outputs=["output"])
    assert [v.name for v in g.outputs] == ["output"]
    modules = [nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 8), nn.Tanh()]
    modules += [nn.Identity(), nn.Linear(8, 4), nn.Hardsigmoid(), nn.Flatten(), nn.Softmax(dim=1)]
    agree(nn.Sequential(*modules, nn.Sequential(nn.Linear(4, 4), nn.Sigmoid())), (6, 3))


def test_names_inputs_and_provenance():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.output = nn.LSTM(2, 3, batch_first=True)
            self.x = nn.LSTM(5, 3)

        def forward(self, x, output, hidden=None, *, scale: float = 1.0):
            if hidden is None and scale == 1.0:
                return self.output(x)[0], self.x(output)[1][0][-1]
            return x

    g = agree(Two(), (3, 4, 2), (4, 3, 5))
    assert [v.name for v in g.inputs] == ["x", "output"]
    assert [v.name for v in g.outputs] == ["output_0", "output_1"]
    assert g.provenance["source"] == "pytorch"
    assert g.provenance["producer"] == f"torch {torch.__version__}"
    g = agree(Net(lambda m, output: m.fc(m.lstm(output)[0])), (3, 4, 3))
    assert (g.inputs[0].name, g.outputs[0].name) == ("x", "output")


def test_training_mode_and_module_are_left_as_they_were():
    net = Net(BODIES["dropout"], num_layers=2, dropout=0.5)
    agree(net, (2, 4, 3))
    before = {k: dict(vars(m)) for k, m in net.named_modules()}
    net.train()
    convert(net)
    assert all(m.training for m in net.modules())
    assert {k: set(vars(m)) for k, m in net.named_modules()} == {
        k: set(v) for k, v in before.items()
    }


def test_simplified():
    g = agree(Net(BODIES["relu"]), (2, 4, 3))
    assert [type(layer) for layer in g.layers] == [graph.LSTM, graph.Dense]
    assert g.layers[1].activation == graph.RELU


def test_effective_weights():
    agree(parametrizations.weight_norm(nn.Linear(3, 4)), (2, 3))

    class Sub(nn.LSTM):
        def __init__(self):
            super().__init__(3, 4, batch_first=True)

    agree(Sub(), (2, 5, 3))
    net = nn.Sequential(nn.Linear(3, 4))
    assert same_weights(convert(torch.compile(net)), convert(net))
    shared = nn.Linear(3, 3)
    agree(nn.Sequential(shared, nn.Tanh(), shared), (2, 3))
    agree(Net(lambda m, x: m.act(m.fc(m.lstm(x)[0]))), (2, 4, 3))


def test_squeezed_features():
    def body(m, x):  # [batch, time] in, one feature; one number a row out
        return m.fc(m.lstm(x.unsqueeze(-1))[0][:, -1]).squeeze(-1)

    g = agree(Net(body, 1, 4, 1), (3, 5))
    assert (g.inputs[0].axes, g.outputs[0].axes) == (("batch", "time"), ("batch",))


def test_several_recurrent_layers():
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.LSTM(3, 4), nn.LSTM(4, 5)])
            self.head = nn.Sequential(nn.Linear(5, 6), nn.ReLU(inplace=True), nn.Linear(6, 1))

        def forward(self, x):
            x = x.transpose(0, 1)
            for layer in self.layers:
                x, (h, c) = layer(x)
                x = torch.tanh(x)
            return self.head(x[-1]), h, c[0]

    g = agree(Deep(), (3, 5, 3))
    assert g.inputs[0].axes == ("batch", "time", 3)


def test_narrow_and_wide_dtypes():
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        net = Net(BODIES["index"]).to(torch.bfloat16).to(dtype)
        g = convert(net)
        want = convert(net.float())
        assert same_weights(g, want)
    net = Net(BODIES["index"]).double()
    with torch.no_grad():
        net.fc.bias += 1e-12
    with pytest.raises(ConversionError, match=r"fc\.bias.*float64.*model\.float\(\)"):
        convert(net)


# --------------------------------------------------------------------------------------- refusals


class Stateful(Net):
    def __init__(self):
        super().__init__(None)
        self.hidden = None

    def forward(self, x):
        out, self.hidden = self.lstm(x, self.hidden)
        return out


class Override(nn.Linear):
    def extra_repr(self):
        return ""

    def forward(self, input):
        return super().forward(input).cumsum(-1)


class OverrideGates(nn.LSTM):
    def permute_hidden(self, hx, permutation):
        return hx


def replaced():
    m = nn.Sequential(nn.Linear(3, 4))
    forward = m[0].forward
    m[0].forward = lambda x: forward(x) * 2
    return m


class Called(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(3, 4))

    def __call__(self, x):
        return super().__call__(x) * 2


def hooked():
    m = nn.Sequential(nn.Linear(3, 4))
    m[0].register_forward_hook(lambda *a: None)
    return m


def poisoned(value):
    m = Net(BODIES["index"])
    with torch.no_grad():
        m.lstm.weight_hh_l0[1, 2] = value
    return m


REFUSED = {
    "unknown": (lambda: Net(lambda m, x: m.lstm(x)[0].cumsum(1)), "cumsum.*not supported.*ONNX"),
    "control flow": (lambda: Net(lambda m, x: x if x.sum() > 0 else -x), "can't follow.*simplify"),
    "one row": (lambda: Net(lambda m, x: m.lstm(x)[0][0]), "rows can't be taken"),
    "states of rows": (lambda: Net(lambda m, x: m.lstm(x, (torch.eye(4)[None],) * 2)[0]),
                       "differs from row to row"),
    "no pair": (lambda: Net(lambda m, x: m.lstm(x, torch.ones(1, 1, 4))[0]), r"pair, .h_0, c_0."),
    "state sizes": (lambda: Net(lambda m, x: m.lstm(x, (torch.ones(1, 1, 3),) * 2)[0]),
                    r"must be .1, batch, 4., gets .1, 1, 3."),
    "noise": (lambda: Net(lambda m, x: m.fc(x + torch.randn(3))), "draws random numbers"),
    "noise of a weight": (lambda: Net(lambda m, x: F.linear(x, torch.rand_like(m.fc.weight))),
                          "draws random numbers"),
    "random": (lambda: Net(lambda m, x: m.lstm(x, (torch.zeros(1, x.size(0), 4).normal_(),) * 2)),
               "normal_"),
    "softmax None": (lambda: nn.Sequential(nn.Linear(2, 3), nn.Softmax()), "dim=None"),
    "dropout": (lambda: Net(lambda m, x: F.dropout(m.lstm(x)[0])), "training=self.training"),
    "squeeze": (lambda: Net(lambda m, x: m.lstm(x)[1][0].squeeze()), r"squeeze\(-1\)"),
    "squeeze batch": (lambda: Net(lambda m, x: m.lstm(x)[0].squeeze(0)), "not fixed"),
    "merged": (lambda: Net(lambda m, x: m.fc(m.lstm(x)[0].reshape(-1, 4))),
               r"batch \* time.*laid out"),
    "flatten": (lambda: Net(lambda m, x: m.lstm(x)[0].flatten(1)), r"time \* 4.*laid out"),
    "flatten, time first": (lambda: Net(lambda m, x: m.lstm(x)[0].flatten(1), batch_first=False),
                            "batch or time"),
    "double": (lambda: Net(lambda m, x: m.lstm(x)[0].to(torch.float64)), "float64"),
    "packed": (lambda: Net(lambda m, x: nn.utils.rnn.pack_sequence([x])), "can't follow forward"),
    "tuple": (lambda: nn.Sequential(nn.LSTM(2, 3), nn.Linear(3, 1)), "layer '1'.*tuple"),
    "sizes": (lambda: nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 3)), "'1'.*3 features.*take 4"),
    "time-first h": (lambda: Net(BODIES["index"], batch_first=False), "rows can't be taken"),
    "in place": (lambda: Net(lambda m, x: (lambda y: (y[:, -1].relu_(), y))(m.lstm(x)[0])),
                 "works in place"),
    "in place, unused": (lambda: Net(lambda m, x: (lambda y: (y.relu_(), y)[1])(m.lstm(x)[0])),
                         "works in place"),
    "in place, a part": (lambda: Net(lambda m, x: (lambda y: (y[:, -1].relu_(), y))(x.tanh())),
                         "works in place"),
    "in place module": (lambda: Net(lambda m, x: (m.act(x), m.lstm(x)[0])[1]), "'act'.*in place"),
    "buffer": (lambda: Net(lambda m, x: (lambda y: (m.act.state.copy_(y), y)[1])(m.lstm(x)[0])),
               "in place"),
    "new module": (lambda: Net(lambda m, x: nn.ReLU()(m.lstm(x)[0])), "not installed as a sub"),
    "stateful": (Stateful, "stores a computed tensor in 'hidden'"),
    "override": (lambda: nn.Sequential(Override(3, 4)), "cumsum.*not supported"),
    "override part": (lambda: OverrideGates(3, 4), "OverrideGates overrides permute_hidden"),
    "hook": (hooked, "layer '0'.*hooks"),
    "replaced": (replaced, "layer '0': its forward was replaced"),
    "called": (Called, "class Called overrides __call__"),
    "weight_norm": (lambda: weight_norm(nn.Linear(2, 3)), "remove_weight_norm"),
    "parametrized": (lambda: parametrizations.weight_norm(nn.LSTM(2, 3), "weight_hh_l0"),
                     "weight_hh_l0.*parametrization"),
    "NaN": (lambda: poisoned(float("nan")), r"'lstm\.weight_hh_l0' holds NaN"),
    "inf": (lambda: poisoned(float("inf")), r"'lstm\.weight_hh_l0' holds NaN or inf"),
    "script": (lambda: torch.jit.script(nn.Linear(2, 3)), "TorchScript"),
    "meta": (lambda: nn.Linear(2, 3, device="meta"), "linear.weight"),
    "size unknown": (nn.ReLU, "example="),
    "constant": (lambda: Net(lambda m, x: (m.lstm(x)[0], m.fc.weight)), "output_1.*depends on"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    make, message = REFUSED[name]
    module = make()
    with pytest.raises(ConversionError, match=message) as e:
        convert(module)
    assert "\n" not in str(e.value)


def test_options_are_checked():
    for options in ({"arch": "x"}, {"bogus": 1}, {"outputs": ["nope"]}, {"example": 3}):
        with pytest.raises(ConversionError):
            convert(nn.Linear(2, 3), **options)
    with pytest.raises(ConversionError, match="3 features, its weights take 2"):
        convert(nn.Linear(2, 3), example=np.zeros((1, 3)))


# ---------------------------------------------------------------------------- the tests' own teeth


@pytest.mark.parametrize("order", ["".join(p) for p in itertools.permutations("ifgo")][1:])
def test_wrong_gate_order_is_seen(monkeypatch, order):
    monkeypatch.setitem(gates.LSTM_ORDERS, "pytorch", order)
    with pytest.raises(AssertionError):
        agree(Net(BODIES["sequence"]), (2, 4, 3))


def test_lost_bias_is_seen(monkeypatch):
    module = bold(Net(BODIES["sequence"]))
    g = convert(module)
    x = torch.randn(2, 4, 3)
    want = module(x).detach().numpy()
    g.layers[0].bias = None
    assert np.abs(reference.run(g, {"x": x.numpy()})["output"] - want).max() > 1e-3


def test_hooks_on_all_modules():
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *a: None)
    try:
        with pytest.raises(ConversionError, match="hooks on all modules"):
            convert(nn.Sequential(nn.Linear(3, 4)))
    finally:
        handle.remove()
