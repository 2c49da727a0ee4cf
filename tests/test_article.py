"""The cell of the background article: every gate and the candidate see [h, x] and, through a full
matrix, the cell state before the step; so does the output gate. Its equations, line by line:

    i = sigmoid(W_ii [h, x] + b_ii + W_ic c + b_ic)        c' = f c + i h~
    f = sigmoid(W_ff [h, x] + b_ff + W_fc c + b_fc)        h' = o tanh(c')
    o = sigmoid(W_oo [h, x] + b_oo + W_oc c + b_oc)
    h~ = tanh(W_hh [h, x] + b_hh + W_hc c + b_hc)

The article also computes an update gate g, which enters no later equation; it is left out here.
"""

import numpy as np
import pytest

from lstmc import functional as fn
from lstmc import graph as g
from lstmc.model import from_graph

GATES = ("ii", "ff", "hh", "oo")  # in lstmc's order: i f g o, g being the article's candidate
CELLS = ("ic", "fc", "hc", "oc")


def parameters(features, hidden, seed):
    """W and b of each name, float32 values in float64."""
    rng = np.random.default_rng(seed)
    p = {}
    for name in (*GATES, *CELLS):
        columns = hidden + features if name in GATES else hidden
        # Larger ones make the cell chaotic: float32 and float64 part after some steps.
        w = rng.uniform(-1, 1, (hidden, columns)).astype(np.float32) / np.float32(columns**0.5)
        p[f"W_{name}"] = w.astype(float)
        p[f"b_{name}"] = rng.uniform(-0.5, 0.5, hidden).astype(np.float32).astype(float)
    return p


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def article(p, x, hidden):
    """Straight from the equations, in float64, for one sequence [time, features]."""
    h, c, out = np.zeros(hidden), np.zeros(hidden), []
    for x_t in x.astype(float):
        hx = np.concatenate([h, x_t])
        i = sigmoid(p["W_ii"] @ hx + p["b_ii"] + p["W_ic"] @ c + p["b_ic"])
        f = sigmoid(p["W_ff"] @ hx + p["b_ff"] + p["W_fc"] @ c + p["b_fc"])
        o = sigmoid(p["W_oo"] @ hx + p["b_oo"] + p["W_oc"] @ c + p["b_oc"])
        candidate = np.tanh(p["W_hh"] @ hx + p["b_hh"] + p["W_hc"] @ c + p["b_hc"])
        c = f * c + i * candidate
        h = o * np.tanh(c)
        out.append(h)
    return np.array(out), h, c


def fields(p, hidden):
    """The same parameters as lstmc's LSTM takes them."""
    return {
        "weight_ih": np.concatenate([p[f"W_{n}"][:, hidden:] for n in GATES]),
        "weight_hh": np.concatenate([p[f"W_{n}"][:, :hidden] for n in GATES]),
        "bias": np.concatenate(
            [p[f"b_{a}"] + p[f"b_{b}"] for a, b in zip(GATES, CELLS, strict=True)]
        ),
        "weight_ch": np.concatenate([p[f"W_{n}"] for n in CELLS]),
    }


@pytest.mark.parametrize(("features", "hidden"), [(1, 1), (3, 5), (10, 50), (7, 33)])
def test_the_article_s_cell(features, hidden):
    p = parameters(features, hidden, hidden)
    x = np.random.default_rng(1).standard_normal((2, 20, features)).astype(np.float32)
    weights = fields(p, hidden)
    layer = g.LSTM(
        name="lstm", inputs=("x",), outputs=("y", "h", "c"), output_sees_old=True, **weights
    )
    values = [
        g.Value("y", (g.BATCH, g.TIME, hidden)), g.Value("h", (g.BATCH, hidden)),
        g.Value("c", (g.BATCH, hidden)),
    ]  # fmt: skip
    model = from_graph(g.Graph([g.Value("x", (g.BATCH, g.TIME, features))], values, [layer]))
    got = model.predict(x)
    y, (h, c) = fn.lstm_forward(
        x, weights["weight_ih"], weights["weight_hh"], weights["bias"],
        peephole=weights["weight_ch"].reshape(4, hidden, hidden), output_sees_old=True,
    )  # fmt: skip
    for name, a in (("y", y), ("h", h), ("c", c)):
        np.testing.assert_array_equal(got[name], a)
    for b in range(2):
        want = dict(zip("yhc", article(p, x[b], hidden), strict=True))
        for name, value in want.items():
            error = np.abs(got[name][b] - value).max() / np.abs(value).max()
            assert error <= 1e-5, (name, error)
    # It is another cell than one whose output gate reads the new state, or has none.
    for other in ({"output_sees_old": False}, {"peephole": None}):
        options = {"peephole": weights["weight_ch"].reshape(4, hidden, hidden)}
        options |= {"output_sees_old": True} | other
        z, _ = fn.lstm_forward(
            x, weights["weight_ih"], weights["weight_hh"], weights["bias"], **options
        )
        assert np.abs(z - y).max() > 1e-3
