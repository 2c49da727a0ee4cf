"""ONNX's LSTM, GRU and RNN in float64, written down from the operators' text: plain loops over
rows and steps, nothing shared with what it checks.

Source: https://onnx.ai/onnx/operators/onnx__LSTM.html, and the pages of GRU and RNN. What the text
leaves open, and what is taken here:

- ``clip`` bounds the input of the gates' and the candidate's activations (h of LSTM sees all of c);
- ``input_forget`` makes f = 1 - i;
- Y is zero beyond a row's length; its last states are those after its last valid step (backwards:
  after its first), and the initial states where there is none;
- alpha and beta go to the functions that take them, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Array = np.ndarray
Function = Callable[[Array], Array]

# name: (f(x, alpha, beta), default alpha, default beta); no default: the function takes none
FUNCTIONS: dict[str, tuple[Callable[..., Array], tuple[float | None, ...]]] = {
    "Relu": (lambda x: np.where(x > 0, x, 0.0), ()),
    "Tanh": (lambda x: np.tanh(x), ()),
    "Sigmoid": (lambda x: 0.5 * (1 + np.tanh(x / 2)), ()),
    "Affine": (lambda x, a, b: a * x + b, (None, None)),
    "LeakyRelu": (lambda x, a: np.where(x >= 0, x, a * x), (0.01,)),
    "ThresholdedRelu": (lambda x, a: np.where(x > a, x, 0.0), (1.0,)),
    "ScaledTanh": (lambda x, a, b: a * np.tanh(b * x), (None, None)),
    "HardSigmoid": (lambda x, a, b: np.minimum(np.maximum(a * x + b, 0), 1), (0.2, 0.5)),
    "Elu": (lambda x, a: np.where(x >= 0, x, a * (np.exp(np.minimum(x, 0)) - 1)), (1.0,)),
    "Softsign": (lambda x: x / (1 + np.abs(x)), ()),
    "Softplus": (lambda x: np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0), ()),
}


def functions(
    names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]
) -> list[Function]:
    """Each name with its own alpha and beta."""
    alphas, betas = list(alphas), list(betas)
    made: list[Function] = []
    for name in names:
        f, defaults = FUNCTIONS[name]
        values = []
        for given, default in zip((alphas, betas), defaults, strict=False):
            values.append(np.float64(np.float32(given.pop(0) if given else default)))
        made.append(lambda x, f=f, values=tuple(values): f(x, *values))
    return made


def operator(
    kind: str,
    x: Array,
    w: Array,
    r: Array,
    b: Array | None = None,
    sequence_lens: Array | None = None,
    initial_h: Array | None = None,
    initial_c: Array | None = None,
    p: Array | None = None,
    *,
    direction: str = "forward",
    activations: Sequence[str] | None = None,
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    clip: float | None = None,
    input_forget: int = 0,
    linear_before_reset: int = 0,
    layout: int = 0,
    hidden_size: int | None = None,
) -> list[Array]:
    """Y, Y_h and, of an LSTM, Y_c."""
    x, w, r = (np.asarray(a, np.float64) for a in (x, w, r))
    directions, rows, hidden = r.shape
    assert hidden_size in (None, hidden)
    default = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
    names = list(activations or default[kind] * directions)
    chosen = functions(names, activation_alpha, activation_beta)
    each = len(default[kind])
    if layout == 1:
        x = x.swapaxes(0, 1)
    time, batch = x.shape[:2]
    lens = [time] * batch if sequence_lens is None else [int(n) for n in sequence_lens]

    def start(given: Array | None) -> Array:
        if given is None:
            return np.zeros((directions, batch, hidden))
        state = np.array(given, np.float64)
        return state.swapaxes(0, 1) if layout == 1 else state

    h, c = start(initial_h), start(initial_c)
    y = np.zeros((time, directions, batch, hidden))
    b = np.zeros((directions, 2 * rows)) if b is None else np.asarray(b, np.float64)
    p = np.zeros((directions, 3 * hidden)) if p is None else np.asarray(p, np.float64)

    def bounded(value: Array) -> Array:
        if clip is None:
            return value
        limit = np.float64(np.float32(clip))
        return np.minimum(np.maximum(value, -limit), limit)

    for d in range(directions):
        backwards = direction == "reverse" or d == 1
        own = chosen[d * each : (d + 1) * each]
        wb, rb = b[d, :rows], b[d, rows:]
        for n in range(batch):
            steps = range(lens[n])
            for t in reversed(steps) if backwards else steps:
                if kind == "LSTM":
                    h[d, n], c[d, n] = lstm_step(
                        x[t, n], h[d, n], c[d, n], w[d], r[d], wb, rb, p[d], own, bounded,
                        input_forget,
                    )  # fmt: skip
                elif kind == "GRU":
                    h[d, n] = gru_step(
                        x[t, n], h[d, n], w[d], r[d], wb, rb, own, bounded, linear_before_reset
                    )
                else:
                    h[d, n] = own[0](bounded(w[d] @ x[t, n] + r[d] @ h[d, n] + wb + rb))
                y[t, d, n] = h[d, n]
    if layout == 1:
        y, h, c = y.transpose(2, 0, 1, 3), h.swapaxes(0, 1), c.swapaxes(0, 1)
    return [y, h, c] if kind == "LSTM" else [y, h]


def lstm_step(
    x: Array, h: Array, c: Array, w: Array, r: Array, wb: Array, rb: Array, p: Array,
    own: list[Function], bounded: Function, input_forget: int,
) -> tuple[Array, Array]:  # fmt: skip
    """it = f(Xt*(Wi^T) + Ht-1*(Ri^T) + Pi (.) Ct-1 + Wbi + Rbi), and so on."""
    f, g, out = own
    wi, wo, wf, wc = np.split(w, 4)
    ri, ro, rf, rc = np.split(r, 4)
    wbi, wbo, wbf, wbc = np.split(wb, 4)
    rbi, rbo, rbf, rbc = np.split(rb, 4)
    pi, po, pf = np.split(p, 3)
    it = f(bounded(wi @ x + ri @ h + pi * c + wbi + rbi))
    ft = f(bounded(wf @ x + rf @ h + pf * c + wbf + rbf))
    if input_forget:
        ft = 1 - it
    ct = g(bounded(wc @ x + rc @ h + wbc + rbc))
    new = ft * c + it * ct
    ot = f(bounded(wo @ x + ro @ h + po * new + wbo + rbo))
    return ot * out(new), new


def gru_step(
    x: Array, h: Array, w: Array, r: Array, wb: Array, rb: Array,
    own: list[Function], bounded: Function, linear_before_reset: int,
) -> Array:  # fmt: skip
    """zt = f(Xt*(Wz^T) + Ht-1*(Rz^T) + Wbz + Rbz), and so on."""
    f, g = own
    wz, wr, wh = np.split(w, 3)
    rz, rr, rh = np.split(r, 3)
    wbz, wbr, wbh = np.split(wb, 3)
    rbz, rbr, rbh = np.split(rb, 3)
    zt = f(bounded(wz @ x + rz @ h + wbz + rbz))
    rt = f(bounded(wr @ x + rr @ h + wbr + rbr))
    if linear_before_reset:
        ht = g(bounded(wh @ x + rt * (rh @ h + rbh) + wbh))
    else:
        ht = g(bounded(wh @ x + rh @ (rt * h) + rbh + wbh))
    return (1 - zt) * ht + zt * h
