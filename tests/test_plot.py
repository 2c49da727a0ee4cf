"""Figures: what `lstmc plot` draws, writes and refuses; and the colours that reports share."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lstmc
from lstmc import cli, palette, plot
from lstmc import graph as g
from lstmc.inspect import Recurrence, trace
from lstmc.model import from_graph

matplotlib = pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")  # it comes with matplotlib

WEATHER = Path(__file__).parents[1] / "examples" / "weather"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def forecaster(tmp_path_factory):
    path = tmp_path_factory.mktemp("plot") / "forecaster.lstmc"
    lstmc.convert(WEATHER / "forecaster.onnx").save(path)
    return path


def weights(seed, *shape):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def two_layers(names=("gru", "rnn")) -> lstmc.Model:
    layers = [
        g.GRU(name=names[0], inputs=("x",), outputs=("s", None), weight_ih=weights(1, 12, 3),
              weight_hh=weights(2, 12, 4)),
        g.RNN(name=names[1], inputs=("s",), outputs=("y", None), weight_ih=weights(3, 5, 4),
              weight_hh=weights(4, 5, 5)),
    ]  # fmt: skip
    values = [g.Value("x", (g.BATCH, g.TIME, 3)), g.Value("y", (g.BATCH, g.TIME, 5))]
    return from_graph(g.Graph(values[:1], values[1:], layers))


def run(capsys, *argv):
    status = cli.main(["plot", *map(str, argv)])
    out, err = capsys.readouterr()
    assert "Traceback" not in err and err.count("\n") == (1 if status else 0)
    return status, out, err


def texts(figure):
    return [t.get_text() for t in figure.texts]


# ----------------------------------------------------------------------------------- the command


def test_plot_writes_a_picture_of_each_kind(capsys, forecaster):
    np.save("x.npy", np.random.default_rng(1).standard_normal((4, 30, 10), dtype=np.float32))
    for name, start in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")):
        status, out, _ = run(capsys, forecaster, "--input", "x.npy", "--row", 3, "-o", name)
        assert status == 0 and out.startswith(f"{name}: lstm; row 3 of x.npy")
        assert Path(name).read_bytes().startswith(start)
    status, out, _ = run(capsys, forecaster, "-o", "b.PNG", "--json")
    facts = json.loads(out)
    assert facts["output"] == "b.PNG" and facts["bytes"] == Path("b.PNG").stat().st_size
    assert 0 < facts["layers"]["lstm"] < 1e-6
    assert run(capsys, forecaster)[0] == 0 and Path("forecaster.png").exists()


def test_the_same_input_gives_the_same_file(capsys, forecaster):
    for name in ("a.png", "b.png", "a.svg", "b.svg", "a.pdf", "b.pdf"):
        assert run(capsys, forecaster, "-o", name)[0] == 0
    for kind in ("png", "svg", "pdf"):
        assert Path(f"a.{kind}").read_bytes() == Path(f"b.{kind}").read_bytes()
    assert run(capsys, forecaster, "-o", "c.png", "--row", 1)[0] == 0
    assert Path("a.png").read_bytes() != Path("c.png").read_bytes()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["MODEL", "-o", "a.jpg"], "must end with .png or .svg or .pdf"),
        (["MODEL", "--layer", "dense_2"], "there is no recurrent layer 'dense_2', only 'lstm'"),
        (["MODEL", "--row", "2"], "the golden sample has 2 rows, there is no 2"),
        (["MODEL", "--row", "-1"], "--row must be at least 0"),
        (["MODEL", "--input", "x.txt"], "No such file"),
        (["MODEL", "--input", "none.npy"], "No such file"),
        (["MODEL", "-o", "none/a.png"], "there is no folder 'none'"),
        (["flat.lstmc"], "'flat.lstmc' has no recurrent layer"),
        (["bare.lstmc"], "'bare.lstmc' has no golden sample: give --input"),
        (["none.lstmc"], "No such file"),
    ],
)  # fmt: skip
def test_bad_use(capsys, forecaster, argv, message):
    model = lstmc.load(forecaster)
    Path("bare.lstmc").write_bytes(lstmc.format.dumps(model.graph))
    flat = g.Dense(name="d", inputs=("x",), outputs=("y",), weight=np.ones((1, 1)))
    ends = [g.Value(n, (g.BATCH, 1)) for n in "xy"]
    from_graph(g.Graph(ends[:1], ends[1:], [flat])).save("flat.lstmc")
    before = sorted(Path().iterdir())
    status, _, err = run(capsys, *(str(forecaster) if a == "MODEL" else a for a in argv))
    assert status == 2 and message in err and sorted(Path().iterdir()) == before


def test_inputs_that_do_not_fit(capsys, forecaster):
    np.save("x.npy", np.zeros((2, 5, 9), np.float32))
    status, _, err = run(capsys, forecaster, "--input", "x.npy")
    assert status == 1 and "'x' has shape (1, 5, 9)" in err
    status, _, err = run(capsys, forecaster, "--input", "x.npy", "--row", 2)
    assert status == 1 and "there is no row 2: 'x' has 2" in err


def test_without_matplotlib(forecaster):
    """One clear line, and nothing else of lstmc needs it."""
    code = (
        "import sys; sys.modules['matplotlib'] = None; import lstmc.cli, lstmc.plot; "
        "sys.exit(lstmc.cli.main(['plot', sys.argv[1], '-o', 'a.png']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, forecaster], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "lstmc: error: figures need matplotlib: pip install 'lstmc[plot]' "
        "(or pip install matplotlib)\n"
    )
    assert not Path("a.png").exists()


# ------------------------------------------------------------------------------------ the figure


def test_what_is_in_the_figure():
    found = trace(two_layers(), weights(7, 2, 9, 3))
    figure = plot.draw(found, row=1, title="title")
    words = texts(figure)
    for word in ("title", "input x", "gru", "rnn", "output y", "r", "z", "n", "h", "update gate",
                 "GRU, 4 units", "RNN, 5 units"):  # fmt: skip
        assert word in words
    assert words.count("h") == 2 and "c" not in words
    images = [a.get_images()[0] for a in figure.axes if a.get_images()]
    shown = {i.get_array().shape: np.asarray(i.get_array()) for i in images}
    np.testing.assert_array_equal(shown[5, 9], found.recurrent["rnn"].h[1].T)
    gates = [i for i in images if i.get_clim() == (0.0, 1.0)]
    assert len(gates) == 2 and len([i for i in images if i.get_clim() == (-1.0, 1.0)]) == 3
    np.testing.assert_array_equal(gates[1].get_array(), found.recurrent["gru"].gates["z"][1].T)
    lines = [a.get_lines() for a in figure.axes if len(a.get_lines()) == 3]
    np.testing.assert_array_equal(lines[0][2].get_ydata(), found.values["x"][1, :, 2])
    assert "rnn" not in texts(plot.draw(found, ["gru"]))


def test_names_are_not_obeyed():
    """No mathematics, no control characters, no endless lines, glyphs or not."""
    names = ("$\\frac{1}{$", "\x1b[2J名前\udc80" + "x" * 500)
    figure = plot.draw(trace(two_layers(names)), title="$a$_^{")
    for kind in plot.FORMATS:
        assert plot.render(figure, kind)
    assert "$\\frac{1}{$" in texts(figure) and "$a$_^{" in texts(figure)
    assert all(len(t) < 80 and t.isprintable() for t in texts(figure))


def test_a_users_settings_stay_and_change_nothing():
    found = trace(two_layers())
    plain = plot.render(plot.draw(found), "png")
    theirs = {"font.size": 30, "axes.facecolor": "red", "text.usetex": True, "savefig.dpi": 10,
              "axes.grid": True, "lines.linestyle": "--"}  # fmt: skip
    with matplotlib.rc_context(theirs):
        before = dict(matplotlib.rcParams)
        assert plot.render(plot.draw(found), "png") == plain
        assert dict(matplotlib.rcParams) == before


def test_nothing_global_is_loaded_or_chosen(forecaster):
    code = (
        "import sys, lstmc.cli; lstmc.cli.main(['plot', sys.argv[1], '-o', 'a.png']); "
        "import matplotlib; print('matplotlib.pyplot' in sys.modules); "
        "print(matplotlib.rcParams._get_backend_or_none())"
    )
    done = subprocess.run([sys.executable, "-c", code, forecaster], capture_output=True, text=True,
                          check=True)  # fmt: skip
    assert done.stdout.splitlines()[1:] == ["False", "None"], done


def test_pixels():
    """The figure isn't blank: gates that stand open are dark, shut ones are pale."""

    def of(bias):
        layer = g.LSTM(name="l", inputs=("x",), outputs=("y", None, None),
                       weight_ih=np.zeros((16, 1)), weight_hh=np.zeros((16, 4)),
                       bias=np.full(16, bias))  # fmt: skip
        ends = [g.Value("x", (g.BATCH, g.TIME, 1)), g.Value("y", (g.BATCH, g.TIME, 4))]
        figure = plot.draw(trace(from_graph(g.Graph(ends[:1], ends[1:], [layer]))))
        pixels = np.asarray(Image.open(io.BytesIO(plot.render(figure, "png"))).convert("RGB"))
        height, width, _ = pixels.shape
        # within the input gate's map, found by its colour bar's neighbour: the first block's middle
        return pixels[int(height * 0.32), width // 2].tolist()

    near = np.array([of(9.0), of(-9.0)], int)
    want = np.array([palette.channels(palette.SEQUENTIAL[i]) for i in (-1, 0)], int)
    assert np.abs(near - want).max() < 6, near


def test_empty_and_odd_arrays():
    h = np.zeros((1, 1, 1), np.float32)
    odd = Recurrence("l", "LSTM", (h,), dict.fromkeys("ifog", np.full((1, 1, 1), np.nan)), h,
                     np.full((1, 1, 1), np.inf))  # fmt: skip
    found = trace(two_layers(), np.zeros((1, 1, 3)))
    found.layers["l"] = odd
    found.values["x"] = np.full((1, 1, 300), np.nan, np.float32)
    assert plot.render(plot.draw(found), "png")
    found.layers["l"].h = np.full((1, 1, 1), 3e38, np.float32)  # its scale is beyond float32
    assert palette.scales(odd)["h"] == (-5e38, 5e38)
    assert plot.render(plot.draw(found), "svg")


# ---------------------------------------------------------------------------------- the palettes


def test_paint():
    values = np.array([-1, -0.5, 0, 1, 1.01, -1.01, np.nan])
    colours = palette.paint(values, -1, 1, palette.DIVERGING)
    ends = [palette.DIVERGING[0], palette.DIVERGING[3], palette.DIVERGING[6], palette.OVER,
            palette.UNDER, palette.ABSENT]  # fmt: skip
    assert colours[[0, 2, 3, 4, 5, 6]].tolist() == [list(palette.channels(c)) for c in ends]
    red, _, blue = colours[1]
    assert blue > red and colours.dtype == np.uint8
    grey = palette.paint(np.linspace(0, 1, 200), 0, 1, palette.SEQUENTIAL) @ [0.3, 0.59, 0.11]
    assert (np.diff(grey) < 0).all(), "darker all the way"


def test_scales():
    def layer(h, g_, c, i):
        arrays = {n: np.array([[[v]]], float) for n, v in (("i", i), ("g", g_))}
        return Recurrence("l", "LSTM", (), arrays, np.array([[[h]]], np.float32),
                          np.array([[[c]]], float))  # fmt: skip

    plain = palette.scales(layer(0.5, -0.9, 7.0, 0.3))
    assert plain == {"i": (0, 1), "g": (-1, 1), "c": (-1, 1), "h": (-1, 1)}
    assert palette.scales(layer(-13.0, 0, 700.0, 0.3))["c"] == (-20, 20)
    assert palette.scales(layer(1, 1, 1, -3.0))["i"] == (-5, 5)
    assert palette.scales(layer(np.inf, np.nan, 1, 0))["h"] == (-1, 1)
    assert palette.leaves(np.array([0.0, 7]), -1, 1) == "max"
    assert palette.leaves(np.array([-3.0, 7]), -1, 1) == "both"
    assert palette.leaves(np.array([-3.0, np.nan]), -1, 1) == "min"
    assert palette.leaves(np.array([np.nan]), -1, 1) == "neither"


def test_thin():
    a = np.arange(20.0).reshape(10, 2)
    np.testing.assert_array_equal(palette.thin(a, 10, 2), a)
    assert palette.thin(a, 4, 1)[:, 0].tolist() == [2.5, 8.5, 14.5, 18.5]
    assert palette.value_scale(-a)[:2] == (-19, 19) and palette.value_scale(a)[:2] == (0, 19)
