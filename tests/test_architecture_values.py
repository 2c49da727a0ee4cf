"""What descriptions with names, several inputs, states and positions may and may not say."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest
from lstmc.converters import convert

import lstmc
from lstmc import ConversionError, graph

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch_nets import bold, matches  # noqa: E402


@pytest.fixture
def path(tmp_path):
    torch.manual_seed(3)
    parts = {
        "rnn": nn.LSTM(3, 4), "cell": nn.GRUCell(3, 4), "fc": nn.Linear(4, 2),
        "conv": nn.Conv1d(1, 2, 3), "deep": nn.LSTM(3, 4, 2),
    }  # fmt: skip
    torch.save(bold(nn.ModuleDict(parts)).state_dict(), tmp_path / "net.pt")
    return tmp_path / "net.pt"


X = "input batch time 3 name=x; "
REST = "; ignore *"

REFUSED = {
    X + "lstm weights=rnn; add inputs=x,z": "no value 'z' so far; named: x",
    X + "lstm weights=rnn; add inputs=x": "takes inputs, a list of the names of two values or more",
    X + "lstm weights=rnn name=a; add": "takes inputs",
    X + "lstm weights=rnn name=a; add inputs=x,a": "don't fit together|features",
    X + "lstm weights=rnn name=a; add inputs=x,x input=a": "unknown keys 'input'",
    X + "lstm weights=rnn input=y": "no value 'y' so far",
    X + "lstm weights=rnn name=x": "two values are called 'x'",
    X + "lstm weights=rnn name=a; dense weights=fc name=a": "two values are called 'a'",
    X + "lstm weights=rnn name=a; dense input=a weights=fc; tanh input=a": "nothing reads 'fc'",
    X + "lstm weights=rnn name=a; tanh input=x": "nothing reads 'a'",
    X + "input batch 4 name=s; lstm weights=rnn": "nothing reads 's'",
    X + "input batch 4; lstm weights=rnn": "each of several inputs needs a name= of its own",
    X + "input batch 4 name=x; lstm weights=rnn": "each of several inputs needs a name= of its own",
    X + "lstm weights=rnn; output b": "outputs.*no value 'b' so far",
    X + "lstm weights=rnn name=a; output a name=b": "takes the names of values, and no output_name",
    X + "lstm weights=rnn initial=x": "initial takes the names of 2 states .h, c. of a layer that",
    X + "lstm weights=deep initial=x,x": "one direction and is not stacked",
    X + "lstm weights=rnn initial=x,x": r"initial state must be \[1, batch, 4\]|initial state",
    X + "lstm weights=rnn final=h": "final takes the names of 2 states",
    X + "lstm weights=rnn final=x,c": "two values are called 'x'",
    X + "lstm weights=rnn reset_after=true": "unknown keys 'reset_after'",
    X + "gru weights=cell reset_after=false": "reset_after = False, but the state_dict has True",
    X + "slice start=3; lstm weights=rnn": "index .* is not supported",
    X + "slice start=a; lstm weights=rnn": "'start' must be a int",
    X + "scale factor=1e39": "float32 can't hold",
    X + "unflatten shape=2,2": r"gets \[batch, time, 3\], can't make \[2, 2\] of it",
    X + "unflatten shape=3": r"shape must be \[positions, channels\]",
    X + "unflatten shape=-3,-1": r"shape must be \[positions, channels\]",
    X + "unflatten shape=3,x": r"shape must be \[positions, channels\]",
    X + "unflatten shape=3,1; unflatten shape=3,1": "can't make",
    X + "unflatten shape=3,1; pad after=3 mode=reflect": "can't add 3 to 3 positions",
    X + "unflatten shape=3,1; pad after=4 mode=circular": "can't add 4 to 3 positions",
    X + "unflatten shape=3,1; pad after=1 mode=mirror": "mode = 'mirror'; known: constant, reflect",
    X
    + "unflatten shape=3,1; pad after=1 mode=reflect value=1": "value goes with mode = 'constant'",
    X + "unflatten shape=3,1; pad": "before and after say how many",
    X + "unflatten shape=3,1; pad before=-1 after=2": "before and after say how many",
    X + "unflatten shape=3,1; pad after=999999999": "1000000002 features are too many",
    X + "unflatten shape=3,1; conv1d weights=conv padding=999999999": "features are too many",
    X + "unflatten shape=3,1; conv1d weights=conv dilation=2": "don't fit 3 positions",
    X + "unflatten shape=3,1; conv1d weights=conv stride=0": "at least 1",
    X + "unflatten shape=3,1; conv1d weights=conv groups=2": "its weights take 2 channels",
    X + "unflatten shape=1,3; conv1d weights=conv": "its weights take 1 channels",
    X + "unflatten shape=3,1; maxpool1d kernel_size=4": "don't fit 3 positions",
    X + "unflatten shape=3,1; adaptivemaxpool1d output_size=2": "output_size must be 1",
    X + "unflatten shape=3,1; lstm weights=rnn": "takes|gets",
    X + "pad after=1 mode=reflect": "of time is not supported, only of positions",
    "input batch 3; pad after=1": "neither time nor positions",
    "input batch 3; lstm weights=rnn": "no time axis",
    X + "conv1d weights=conv stride=2 padding=same": "means different things",
    "input batch time 1; conv1d weights=conv padding=full": "known: same, valid, causal",
    "input batch 99999999 name=x; slice start=1": "features are too many",
    X
    + "; ".join(f"concat inputs=a{k},a{k} name=a{k + 1}" for k in range(-1, 40))
    .replace("-1", "x")
    .replace("ax", "x"): "features are too many",
}


@pytest.mark.parametrize("arch", REFUSED, ids=lambda a: a[:60])
def test_refused(path, arch):
    with pytest.raises(ConversionError, match=REFUSED[arch]) as e:
        convert(path, arch=arch + REST)
    assert "\n" not in str(e.value) and len(str(e.value)) < 2000


TOML = {
    '{inputs = {x = ["batch", "time", 3]}, input = ["batch", 3]}': "takes input, or inputs",
    "{inputs = {}}": "takes input, or inputs",
    "{inputs = {x = 3}}": "input 'x' must be a list of axes",
    '{inputs = {x = ["batch", 1.5]}}': "input 'x' must be a list of axes",
    '{inputs = {x = ["batch", 3, "time"]}}': "the number of features is last",
    '{inputs = {x = ["time", 3]}}': "order of axes",
    '{input = ["batch", "time", 3], outputs = []}': "takes the names of values",
    '{input = ["batch", "time", 3], outputs = [3]}': "'outputs' must hold names",
    '{input = ["batch", "time", 3], ignore = [3]}': "'ignore' must hold names",
    '{input = ["batch", "time", 3], outputs = "a"}': "'outputs' must be a list",
    '{input = ["batch", "time", -3]}': "can't be laid out",
}


@pytest.mark.parametrize("model", TOML)
def test_refused_models(path, model):
    with pytest.raises(ConversionError, match=TOML[model]):
        text = f'model = {model}\n[[layer]]\ntype = "LSTM"\nweights = "rnn"\n'
        convert(path, arch=tomllib.loads(text))


def test_states_are_inputs_and_outputs(path):
    weights = torch.load(path)
    lstm, cell = nn.LSTM(3, 4), nn.GRUCell(3, 4)
    for module, prefix in ((lstm, "rnn."), (cell, "cell.")):
        module.load_state_dict(
            {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        )
    x, h, c = torch.randn(5, 2, 3), torch.randn(2, 4), torch.randn(2, 4)
    with torch.no_grad():
        y, (hn, cn) = lstm(x, (h[None], c[None]))
        one = cell(x[0], h)
    line = (
        "input time batch 3 name=x; input batch 4 name=h; input batch 4 name=c; "
        "lstm weights=rnn initial=h,c final=hn,cn name=y; output y hn cn; ignore *"
    )
    g = matches(path, x, h, c, want=(y, hn[0], cn[0]), arch=line)
    assert [v.axes for v in g.outputs] == [("time", "batch", 4), ("batch", 4), ("batch", 4)]
    line = "input batch 3 name=x; input batch 4 name=h; gru weights=cell initial=h name=y"
    matches(path, x[0], h, want=one, arch=f"{line}; output y; ignore *")


def test_a_value_without_time_goes_with_every_step(path):
    x, s = torch.randn(2, 5, 3), torch.randn(2, 3)
    line = "input batch time 3 name=x; input batch 3 name=s; "
    for kind, want in {
        "multiply": x * s[:, None],
        "concat": torch.cat([x, s[:, None].expand(-1, 5, -1)], -1),
    }.items():
        matches(path, x, s, want=want, arch=f"{line}{kind} inputs=x,s; ignore *")


def test_causal_convolutions_stream(path):
    line = "input batch time 1; conv1d weights=conv padding=causal dilation=2 activation=relu"
    model = lstmc.convert(path, arch=line + REST)
    x = np.random.default_rng(0).normal(size=(1, 9, 1)).astype("f")
    stream, whole = model.stream(), model.predict(x)
    assert np.array_equal(np.stack([stream.step(x[:, t]) for t in range(9)], 1), whole)
    w, b = (torch.load(path)[f"conv.{k}"] for k in ("weight", "bias"))
    padded = nn.functional.pad(torch.from_numpy(x).transpose(1, 2), (4, 0))
    want = torch.relu(nn.functional.conv1d(padded, w, b, dilation=2)).transpose(1, 2)
    np.testing.assert_allclose(whole, want.numpy(), rtol=0, atol=1e-6)


def test_positions_are_apart_from_time(path):
    """A convolution along positions is one layer, and the model streams."""
    line = "input batch time 6; unflatten shape=6,1; conv1d weights=conv activation=relu"
    g = convert(path, arch=line + REST)
    (layer,) = g.layers
    assert isinstance(layer, graph.Conv2D) and layer.activation == graph.RELU
    assert g.outputs[0].axes == ("batch", "time", 4, 2)
    model = lstmc.convert(path, arch=line + REST)
    x = np.random.default_rng(0).normal(size=(3, 4, 6)).astype("f")
    stream = model.stream(batch=3)
    steps = np.stack([stream.step(x[:, t]) for t in range(4)], 1)
    assert np.array_equal(steps.reshape(3, 4, 4, 2), model.predict(x))
