"""state_dict files: the same graph as the live module's, once the architecture is given."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lstmc.converters import architecture, convert

from lstmc import ConversionError, graph, reference

torch = pytest.importorskip("torch")
st = pytest.importorskip("safetensors.torch")
from torch import nn  # noqa: E402
from torch_nets import Net, bold, same_weights  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(7)


def net(**options):
    return bold(Net(lambda m, x: torch.softmax(m.fc(m.lstm(x)[0][:, -1]), dim=1), **options))


TOML = """
[model]
input = ["batch", "time", 3]
input_name = "x"
[[layer]]
type = "LSTM"
weights = "lstm"
num_layers = 2
return_sequences = false
[[layer]]
type = "Linear"
weights = "fc"
activation = "softmax"
"""
LINE = "input batch time 3 name=x; lstm weights=lstm last; dense weights=fc activation=softmax"


def save(module, path, kind):
    if kind == "safetensors":
        st.save_file(module.state_dict(), path)
    else:
        torch.save(
            {"epoch": 3, "state_dict": module.state_dict()} if kind == "checkpoint" else
            module.state_dict(), path, _use_new_zipfile_serialization=kind != "legacy",
        )  # fmt: skip


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["pt", "pth", "safetensors", "legacy", "checkpoint"])
def test_state_dict_is_the_live_module(tmp_path, kind, dtype, bias):
    module = net(num_layers=2, bias=bias).to(dtype)
    path = tmp_path / f"net.{kind if kind in ('pth', 'safetensors') else 'pt'}"
    save(module, path, kind)
    live = convert(module)
    (tmp_path / "a.toml").write_text(TOML)
    for arch in (
        TOML,
        LINE,
        tmp_path / "a.toml",
        str(tmp_path / "a.toml"),
        architecture.load(LINE),
    ):
        g = convert(path, arch=arch)
        assert same_weights(g, live)
        assert (g.inputs, g.outputs) == (live.inputs, live.outputs)
        assert g.provenance["file"] == path.name
    with pytest.raises(ConversionError, match="no architecture"):
        convert(path)
    (tmp_path / "net.toml").write_text(TOML)
    assert same_weights(convert(path), live)


def test_file_conversion_imports_no_framework(tmp_path):
    save(net(), tmp_path / "net.pt", "pt")
    save(net(), tmp_path / "net.safetensors", "safetensors")
    code = (
        "import sys; sys.modules['torch'] = sys.modules['safetensors'] = None\n"
        "from lstmc.converters import convert\n"
        f"for n in ('net.pt', 'net.safetensors'): convert(n, arch={LINE!r})\n"
        "assert not {'keras', 'onnx', 'h5py'} & set(sys.modules)\n"
        "assert sys.modules['torch'] is None\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)


def test_relu_lstm_and_cell_keys(tmp_path):
    """Functions that torch's LSTM doesn't have come with the architecture; LSTMCell keys work."""
    cell = bold(nn.LSTMCell(3, 4))
    torch.save(cell.state_dict(), tmp_path / "cell.pt")
    line = "input time batch 3; lstm activation=relu recurrent_activation=hard_sigmoid"
    g = convert(tmp_path / "cell.pt", arch=line)
    (layer,) = g.layers
    assert (layer.gate, layer.candidate, layer.output) == (
        graph.HARD_SIGMOID_TORCH,
        graph.RELU,
        graph.RELU,
    )
    assert g.outputs[0].axes == ("time", "batch", 4)
    g = convert(tmp_path / "cell.pt", arch="input time batch 3; lstm")
    x, h, c = torch.randn(5, 2, 3), torch.zeros(2, 4), torch.zeros(2, 4)
    for t in range(5):
        h, c = cell(x[t], (h, c))
    np.testing.assert_allclose(
        reference.run(g, {"input": x.numpy()})["output"][-1], h.detach().numpy(), rtol=1e-5
    )


def test_architecture_errors(tmp_path):
    path = tmp_path / "net.pt"
    save(net(), path, "pt")
    head = "input batch time 3; "
    for arch, message in {
        head + "lstm weights=lstm last": r"unused: fc\.weight \[2, 4\], fc\.bias \[2\]",
        head + "lstm weights=lstm num_layers=2; dense weights=fc": "num_layers = 2.*has 1",
        head + "lstm weights=lstn": r"no tensor 'lstn\.weight_ih_l0'; it holds lstm\.weight_ih_l0",
        head + "lstm weights=lstm units=4": "unknown keys 'units'; known: type, name, weights",
        head + "gru weights=lstm": r"shape \[16, 3\], expected \[3 \* hidden_size, input_size\]",
        head + "bilinear weights=lstm": "type 'bilinear'; known: lstm",
        head + "lstm weights=lstm activation=gelo": "activation 'gelo'",
        head + "lstm weights=lstm frist": "'frist'",
        "input batch time 4; lstm weights=lstm; dense weights=fc": "gets 4 features.*take 3",
        "input batch time; lstm weights=lstm; dense weights=fc": "gets 1 features",
        "input time 3; lstm weights=lstm": "order of axes",
        "input batch 3; lstm weights=lstm": "no time axis",
        head: "no layers",
        "nonsense": "neither a readable .toml file nor",
        "[model]\ninput = 3": "'input' must be a list",
        "[model": "not valid TOML",
        "[model]\ninput = ['batch', 'time', 3]\n[[layers]]": "unknown keys 'layers'",
    }.items():
        with pytest.raises(ConversionError, match=message):
            convert(path, arch=arch)
    g = convert(path, arch=head + "lstm weights=lstm last; ignore fc.*")
    assert len(g.layers) == 1
    with pytest.raises(ConversionError) as e:
        convert(path)
    suggested = str(e.value).split('--arch "')[1].split('"')[0]
    assert suggested == head + "lstm weights=lstm last; dense weights=fc"
    convert(path, arch=suggested)


def test_silero_is_readable():
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "models" / "silero-vad"
    path = folder / "silero_vad_16k.safetensors"
    if not path.exists():
        pytest.skip("shared models are not here")
    arch = "input batch time 128; lstm weights=lstm_cell; ignore stft_conv* conv* final_conv*"
    g = convert(path, arch=arch)
    assert g.layers[0].weight_hh.shape == (512, 128)
    y = reference.run(g, {"input": np.ones((1, 3, 128))})["output"]
    cell = nn.LSTMCell(128, 128)
    weights = {k.removeprefix("lstm_cell."): v for k, v in st.load_file(path).items()}
    cell.load_state_dict({k: v for k, v in weights.items() if k in cell.state_dict()})
    state = None
    for _ in range(3):
        state = cell(torch.ones(1, 128), state)
    np.testing.assert_allclose(y[:, -1], state[0].detach().numpy(), rtol=1e-4, atol=1e-5)
