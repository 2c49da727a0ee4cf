"""Every type of layer of an architecture, in TOML and in one line, against the torch module."""

from __future__ import annotations

import pytest
from lstmc.converters import architecture, convert

from lstmc import ConversionError, graph

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch_nets import bold, matches  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(7)


class Along(nn.Module):
    """Modules on [batch, time, features]; those that want channels first get them so."""

    def __init__(self, *modules):
        super().__init__()
        for i, m in enumerate(modules):
            self.add_module(str(i), m)

    def forward(self, x):
        for m in self.children():
            first = isinstance(m, (nn.Conv1d, nn.BatchNorm1d, nn.PReLU)) or "Pool" in str(m)
            x = m(x.transpose(1, 2)).transpose(1, 2) if first and x.ndim == 3 else m(x)
            x = x[0] if isinstance(x, tuple) else x
            x = x.squeeze(1) if "Adaptive" in str(m) else x
        return x


def saved(module, tmp_path):
    bold(module)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm1d):
            m.running_mean.normal_()
            m.running_var.uniform_(0.5, 2)
    torch.save(module.state_dict(), tmp_path / "net.pt")
    return tmp_path / "net.pt"


FIRST = nn.Linear(3, 4), "linear weights=0"
LINES = {
    "gru": ([nn.GRU(3, 4, batch_first=True)], "gru weights=0"),
    "gru, all options": (
        [nn.GRU(3, 4, 2, False, True, bidirectional=True)],
        "gru weights=0 num_layers=2 bidirectional=true",
    ),
    "rnn": ([nn.RNN(3, 4, batch_first=True)], "rnn weights=0"),
    "rnn relu": (
        [nn.RNN(3, 4, batch_first=True, nonlinearity="relu")],
        "rnn weights=0 activation=relu",
    ),
    "projected": (
        [nn.LSTM(3, 4, 2, batch_first=True, proj_size=2, bidirectional=True)],
        "lstm weights=0 proj_size=2",
    ),
    "conv1d": ([nn.Conv1d(3, 4, 3), nn.ReLU()], "conv1d weights=0 activation=relu"),
    "conv1d, options": (
        [nn.Conv1d(3, 6, 3, 2, 1, 2, 3)],
        "conv1d weights=0 stride=2 padding=1 dilation=2 groups=3",
    ),
    "conv1d same": (
        [nn.Conv1d(3, 4, 2, padding="same", bias=False)],
        "conv1d weights=0 padding=same",
    ),
    "batch norm": (
        [FIRST[0], nn.BatchNorm1d(4, eps=1e-3)],
        f"{FIRST[1]}; batchnorm1d weights=1 eps=1e-3",
    ),
    "layer norm": ([FIRST[0], nn.LayerNorm(4)], f"{FIRST[1]}; layernorm weights=1"),
    "rms norm": ([FIRST[0], nn.RMSNorm(4)], f"{FIRST[1]}; rmsnorm weights=1"),
    "prelu": ([FIRST[0], nn.PReLU(4)], f"{FIRST[1]}; prelu weights=1"),
    "max pool": (
        [FIRST[0], nn.MaxPool1d(3, 2, 1)],
        f"{FIRST[1]}; maxpool1d kernel_size=3 stride=2 padding=1",
    ),
    "avg pool": (
        [FIRST[0], nn.AvgPool1d(2, ceil_mode=True)],
        f"{FIRST[1]}; avgpool1d kernel_size=2 ceil_mode=true",
    ),
    "adaptive": (
        [FIRST[0], nn.AdaptiveAvgPool1d(1), nn.Linear(4, 2)],
        f"{FIRST[1]}; adaptiveavgpool1d; linear weights=2",
    ),
    "adaptive max": ([FIRST[0], nn.AdaptiveMaxPool1d(1)], f"{FIRST[1]}; adaptivemaxpool1d"),
    "flatten": (
        [nn.GRU(3, 4, batch_first=True), nn.Flatten(), nn.Linear(28, 2)],
        "gru weights=0; flatten; dense weights=2",
    ),
    "leaky": ([FIRST[0], nn.LeakyReLU(0.3)], f"{FIRST[1]}; leakyrelu negative_slope=0.3"),
    "hardtanh": ([FIRST[0], nn.Hardtanh(-2, 0.5)], f"{FIRST[1]}; hardtanh min_val=-2 max_val=.5"),
    "softplus": ([FIRST[0], nn.Softplus(2)], f"{FIRST[1]}; softplus beta=2"),
    "gelu": ([FIRST[0], nn.GELU("tanh")], f"{FIRST[1]}; gelu approximate=tanh"),
    "glu": ([FIRST[0], nn.GLU()], f"{FIRST[1]}; glu"),
    "elu": ([FIRST[0], nn.ELU(0.5)], f"{FIRST[1]} activation=elu(0.5)"),
    "log softmax": ([FIRST[0], nn.LogSoftmax(-1)], f"{FIRST[1]}; logsoftmax"),
    "dropout": (
        [FIRST[0], nn.Dropout(0.5), nn.Identity(), nn.Tanh()],
        f"{FIRST[1]}; dropout p=0.5; identity; tanh",
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_types(tmp_path, name):
    modules, line = LINES[name]
    net = Along(*modules)
    path = saved(net, tmp_path)
    x = torch.randn(2, 7, 3)
    with torch.no_grad():
        want = net.eval()(x)
    arch = f"input batch time 3; {line}"
    matches(path, x, want=want, arch=arch)
    matches(path, x, want=want, arch=architecture.load(arch))
    turned = matches(
        path,
        x.transpose(0, 1),
        arch=f"input time batch 3; {line}",
        want=want.transpose(0, 1) if want.ndim == 3 else want,
    )
    assert turned.inputs[0].axes == ("time", "batch", 3)


NAMES = [
    "ReLU6",
    "Sigmoid",
    "Hardsigmoid",
    "Hardswish",
    "SELU",
    "SiLU",
    "Mish",
    "Softsign",
    "LogSigmoid",
    "Tanhshrink",
    "CELU",
    "Softshrink",
    "Hardshrink",
    "Softmax",
]


@pytest.mark.parametrize("name", NAMES)
def test_activations(tmp_path, name):
    module = nn.Softmax(-1) if name == "Softmax" else getattr(nn, name)()
    net = nn.Sequential(nn.Linear(3, 4), module)
    path = saved(net, tmp_path)
    x = torch.randn(9, 3)
    matches(path, x, want=net(x).detach(), arch=f"input batch 3; dense weights=0; {name}")


FUSED = {
    "relu6": nn.ReLU6(),
    "hard_tanh": nn.Hardtanh(),
    "hard_swish": nn.Hardswish(),
    "leaky_relu": nn.LeakyReLU(),
    "leaky_relu(0.3)": nn.LeakyReLU(0.3),
    "elu": nn.ELU(),
    "celu(2)": nn.CELU(2.0),
    "selu": nn.SELU(),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU("tanh"),
    "silu": nn.SiLU(),
    "swish": nn.SiLU(),
    "mish": nn.Mish(),
    "softplus": nn.Softplus(),
    "softsign": nn.Softsign(),
    "log_sigmoid": nn.LogSigmoid(),
    "tanh_shrink": nn.Tanhshrink(),
    "soft_shrink(0.2)": nn.Softshrink(0.2),
    "hard_shrink": nn.Hardshrink(),
    "softmax": nn.Softmax(-1),
    "hard_sigmoid": nn.Hardsigmoid(),
    "sigmoid": nn.Sigmoid(),
    "linear": nn.Identity(),
}


@pytest.mark.parametrize("name", FUSED)
def test_activation_names(tmp_path, name):
    net = nn.Sequential(nn.Linear(3, 4), FUSED[name])
    path = saved(net, tmp_path)
    x = torch.randn(9, 3)
    matches(path, x, want=net(x).detach(), arch=f"input batch 3; dense weights=0 activation={name}")


def test_embedding(tmp_path):
    net = nn.Sequential(nn.Embedding(9, 3), nn.GRU(3, 4, batch_first=True))
    path = saved(net, tmp_path)
    x = torch.randint(0, 9, (2, 5))
    g = matches(
        path,
        x,
        want=net(x)[0].detach(),
        arch="input batch time; embedding weights=0; gru weights=1",
    )
    assert (g.inputs[0].axes, g.inputs[0].dtype) == (("batch", "time"), "int64")
    x = torch.randint(0, 9, (2, 5, 2))
    net = Along(nn.Embedding(9, 3), nn.Flatten(2), nn.Linear(6, 2))
    path = saved(net, tmp_path)
    line = "input batch time 2; embedding weights=0; dense weights=2"
    matches(path, x, want=net(x).detach(), arch=line)
    path = saved(nn.Sequential(nn.Embedding(9, 3)), tmp_path)
    g = convert(path, arch="input batch; embedding weights=0")
    assert (g.inputs[0].axes, g.outputs[0].axes) == (("batch",), ("batch", 3))


def test_steps_are_given_where_layers_leave_them_open(tmp_path):
    net = Along(nn.MaxPool1d(2), nn.GRU(3, 4, batch_first=True), nn.Flatten(), nn.Linear(12, 2))
    path = saved(net, tmp_path)
    layers = "maxpool1d kernel_size=2; gru weights=1; flatten; linear weights=3"
    with pytest.raises(ConversionError, match=r"several lengths.*in \[model\]: time = 100"):
        convert(path, arch=f"input batch time 3; {layers}")
    with pytest.raises(ConversionError, match="gets 4 time steps, expected 3"):
        convert(path, arch=f"input batch time 3 time=8; {layers}")
    for steps in (6, 7):
        x = torch.randn(2, steps, 3)
        g = matches(
            path, x, want=net(x).detach(), arch=f"input batch time 3 time={steps}; {layers}"
        )
        assert g.inputs[0].time == steps


def test_which_last_step(tmp_path):
    rnn = nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True)
    path = saved(rnn, tmp_path)
    x = torch.randn(2, 6, 3)
    out, (h, _) = rnn(x)
    line = "input batch time 3; lstm"
    matches(path, x, want=out[:, -1].detach(), arch=f"{line} take=last_step")
    matches(path, x, want=torch.cat([h[-2], h[-1]], 1).detach(), arch=f"{line} take=states")
    matches(path, x, want=out.detach(), arch=f"{line} take=sequence")
    with pytest.raises(ConversionError, match=r"say which last step.*take = 'last_step'.*'states'"):
        convert(path, arch=f"{line} last")
    with pytest.raises(ConversionError, match="take = 'both'; known: sequence"):
        convert(path, arch=f"{line} take=both")


def test_functions_of_cells(tmp_path):
    path = saved(nn.GRU(3, 4), tmp_path)
    g = convert(
        path, arch="input time batch 3; gru activation=softsign recurrent_activation=hard_sigmoid"
    )
    (gru,) = g.layers
    assert (gru.gate, gru.candidate) == (graph.HARD_SIGMOID_TORCH, graph.Fn("softsign"))
    path = saved(nn.GRUCell(3, 4), tmp_path)
    assert isinstance(convert(path, arch="input time batch 3; gru").layers[0], graph.GRU)
    path = saved(nn.RNNCell(3, 4), tmp_path)
    g = convert(path, arch="input time batch 3; rnn activation=elu(0.5)")
    assert g.layers[0].activation == graph.Fn("elu", 0.5)


def test_errors(tmp_path):
    path = saved(nn.GRU(3, 4, 2, bidirectional=True), tmp_path)
    line = "input batch time 3; "
    for arch, message in {
        "gru num_layers=3": "num_layers = 3, but the state_dict has 2",
        "gru bidirectional=false": "bidirectional = False, but the state_dict has True",
        "gru proj_size=2": "proj_size = 2, but the state_dict has 0",
        "lstm": "weight_hh has shape",
        "gru; maxpool1d": "layer maxpool1d: kernel_size is missing",
        "gru; maxpool1d kernel_size=two": "'kernel_size' must be a int, not 'two'",
        "gru; elu alpha=big": "'alpha' must be a int or float, not 'big'",
        "gru; threshold": "type 'threshold'; known: lstm, gru, rnn, dense",
        "gru take=states; laststep": "layer 1 .laststep.: its input has no time axis",
        "gru; flatten": "no layer tells how many steps Flatten takes",
        "gru activation=elu(1,2)": r"elu takes 1 numbers",
        "gru activation=elu(1e)": "bad number|not supported",
        "gru; conv1d weights=x": "no tensor 'x.weight'",
    }.items():
        with pytest.raises(ConversionError, match=message):
            convert(path, arch=line + arch)
    path = saved(nn.Sequential(nn.Conv1d(3, 4, 3)), tmp_path)
    with pytest.raises(ConversionError, match="time = 0, expected at least 1"):
        convert(path, arch="input batch time 3 time=0; conv1d weights=0")
    with pytest.raises(ConversionError, match="padding = 'full'; known: same, valid"):
        convert(path, arch=line + "conv1d weights=0 padding=full")
    with pytest.raises(ConversionError, match="gets 3 channels, its weights take 6"):
        convert(path, arch=line + "conv1d weights=0 groups=2")


SUGGESTED = [
    (nn.Sequential(nn.GRU(3, 4), nn.Linear(4, 2)), "gru weights=0 last; dense weights=1"),
    (nn.RNN(3, 4, 2), "rnn"),
    (nn.LSTM(3, 5, bidirectional=True, proj_size=2), "lstm"),
    (
        nn.Sequential(nn.GRU(3, 4, bidirectional=True), nn.Linear(8, 2)),
        "gru weights=0 take=states; dense weights=1",
    ),
    (nn.GRUCell(3, 4), "gru"),
]


@pytest.mark.parametrize("module, line", SUGGESTED, ids=[line for _, line in SUGGESTED])
def test_suggestions(tmp_path, module, line):
    path = saved(module, tmp_path)
    with pytest.raises(ConversionError, match="no architecture") as e:
        convert(path)
    suggested = str(e.value).split('--arch "')[1].split('"')[0]
    assert suggested == f"input batch time 3; {line}"
    convert(path, arch=suggested)
