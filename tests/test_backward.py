"""lstmc.functional.*_backward: against PyTorch's autograd and float64 differences of the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lstmc
from lstmc import functional as fn
from lstmc import graph as g
from lstmc import reference
from lstmc.errors import ShapeError

B, T, INPUT, H = 3, 6, 4, 20


def draw(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (0.4 * rng.standard_normal(shape)).astype(np.float32)


def close(ours: np.ndarray | None, theirs: torch.Tensor | None) -> None:
    assert ours is not None and theirs is not None
    expected = theirs.numpy()
    assert ours.shape == expected.shape and ours.dtype == np.float32
    assert np.abs(ours - expected).max() <= 1e-5 * np.abs(expected).max()


def twin(kind: str, arrays: list[np.ndarray]) -> torch.nn.RNNBase:
    layer = getattr(torch.nn, kind)(INPUT, H, batch_first=True)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    with torch.no_grad():
        for name, a in zip(names, arrays, strict=True):
            getattr(layer, name).copy_(torch.tensor(a))
    return layer


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind,gates", [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_torch(kind: str, gates: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, w, r = draw(rng, B, T, INPUT), draw(rng, gates * H, INPUT), draw(rng, gates * H, H)
    bias, h0, dy, dh = draw(rng, 2, gates * H), draw(rng, B, H), draw(rng, B, T, H), draw(rng, B, H)
    layer = twin(kind, [w, r, *bias])
    states = [torch.tensor(h0[None], requires_grad=True)]
    c0, dc = draw(rng, B, H), draw(rng, B, H)
    if kind == "LSTM":
        states.append(torch.tensor(c0[None], requires_grad=True))
    tx = torch.tensor(x, requires_grad=True)
    ty, last = layer(tx, tuple(states) if kind == "LSTM" else states[0])
    total = (ty * torch.tensor(dy)).sum()
    for s, d in zip(last if kind == "LSTM" else [last], (dh, dc), strict=False):
        total = total + (s[0] * torch.tensor(d)).sum()
    total.backward()

    if kind == "LSTM":
        _, _, saved = fn.lstm_forward(x, w, r, bias, h0, c0, save=True)
        d = fn.lstm_backward(dy, saved, dh, dc)
        again = fn.lstm_backward(dy, saved, dh, dc)
        close(d.dc0, states[1].grad[0])
        assert d.dpeephole is None and d.dweight_hr is None
    else:
        _, _, saved = getattr(fn, f"{kind.lower()}_forward")(x, w, r, bias, h0, save=True)
        d = getattr(fn, f"{kind.lower()}_backward")(dy, saved, dh)
        again = getattr(fn, f"{kind.lower()}_backward")(dy, saved, dh)
    close(d.dx, tx.grad)
    close(d.dweight_ih, layer.weight_ih_l0.grad)
    close(d.dweight_hh, layer.weight_hh_l0.grad)
    close(d.dh0, states[0].grad[0])
    if kind == "GRU":
        close(d.dbias[0], layer.bias_ih_l0.grad)
        close(d.dbias[1], layer.bias_hh_l0.grad)
    else:
        close(d.dbias, layer.bias_hh_l0.grad)
    for a, b in zip(d, again, strict=True):  # saved can be gone back through again
        assert a is b is None or np.array_equal(a, b)


# What torch has no layer for. Full peepholes are [4, H, H].
OPTIONS = {
    "peephole": {"peephole": (3, H)},
    "full": {"peephole": (4, H, H)},
    "full, old": {"peephole": (4, H, H), "output_sees_old": True},
    "projection": {"weight_hr": (7, H)},
    "coupled": {"coupled": True, "peephole": (3, H)},
    "clip": {"clip": 0.3},
    "functions": {"activations": ("sigmoid", "softsign", "relu")},
    "reverse": {"reverse": True, "lengths": np.array([6, 0, 3])},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_against_differences(name: str) -> None:
    rng = np.random.default_rng(7)
    options = {k: draw(rng, *v) if isinstance(v, tuple) and isinstance(v[0], int) else v
               for k, v in OPTIONS[name].items()}  # fmt: skip
    out = 7 if "weight_hr" in options else H
    arrays = {"x": draw(rng, B, T, INPUT), "weight_ih": draw(rng, 4 * H, INPUT),
              "weight_hh": draw(rng, 4 * H, out), "bias": draw(rng, 4 * H),
              "h0": draw(rng, B, out), "c0": draw(rng, B, H)}  # fmt: skip
    arrays |= {k: options.pop(k) for k in ("peephole", "weight_hr") if k in options}
    dy, dh, dc = draw(rng, B, T, out), draw(rng, B, out), draw(rng, B, H)
    _, _, saved = fn.lstm_forward(**arrays, **options, save=True)
    found = fn.lstm_backward(dy, saved, dh, dc)

    def total(change: dict[str, np.ndarray]) -> float:
        now = {k: a.astype(float) + change[k] for k, a in arrays.items()}
        layer = saved.layer
        fields = {n: now[n] for n in ("weight_ih", "weight_hh", "bias")}
        if "peephole" in now:
            p = now["peephole"]
            fields["peephole" if p.ndim == 2 else "weight_ch"] = p.reshape(-1, *p.shape[2:])
        if "weight_hr" in now:
            fields["weight_hr"] = now["weight_hr"]
        exact = g.LSTM(
            name="l", inputs=("x", None, "h0", "c0"), outputs=("y", "h", "c"), gate=layer.gate,
            candidate=layer.candidate, output=layer.output, reverse=layer.reverse, clip=layer.clip,
            coupled=layer.coupled, output_sees_old=layer.output_sees_old, **fields,
        )  # fmt: skip
        for field, a in fields.items():
            setattr(exact, field, a)  # the layer itself rounds to float32
        lengths = options.get("lengths", np.full(B, T))
        y, h, c = reference.LAYERS[g.LSTM](
            exact, now["x"], None, now["h0"], now["c0"], lengths=lengths
        )
        return float((y * dy).sum() + (h * dh).sum() + (c * dc).sum())

    for key in arrays:  # along a random direction of each argument
        way = {k: np.zeros(a.shape) for k, a in arrays.items()}
        way[key] = rng.standard_normal(arrays[key].shape)
        step = 1e-6
        expected = (total({k: step * a for k, a in way.items()})
                    - total({k: -step * a for k, a in way.items()})) / (2 * step)  # fmt: skip
        gradient = getattr(found, f"d{key}")
        assert gradient.shape == arrays[key].shape
        size = np.abs(gradient * way[key]).sum()
        assert abs((gradient * way[key]).sum() - expected) <= 1e-5 * size, key


def test_bits_do_not_depend_on_the_target_or_threads() -> None:
    rng = np.random.default_rng(0)
    x, w, r = draw(rng, 9, 11, 5), draw(rng, 4 * 23, 5), draw(rng, 4 * 23, 23)
    dy = draw(rng, 9, 11, 23)
    found = set()
    before, threads = lstmc.get_target(), lstmc.get_num_threads()
    try:
        for target in lstmc.targets():
            for n in (1, 2):
                lstmc.set_target(target)
                lstmc.set_num_threads(n)
                lstmc._core.set_grain(1)
                _, _, saved = fn.lstm_forward(x, w, r, save=True)
                d = fn.lstm_backward(dy, saved)
                found.add(tuple(lstmc.digest(a) for a in d if a is not None))
    finally:
        lstmc._core.set_grain(0)
        lstmc.set_target(before)
        lstmc.set_num_threads(threads)
    assert len(found) == 1


def test_what_does_not_fit() -> None:
    rng = np.random.default_rng(0)
    x, w, r = draw(rng, B, T, INPUT), draw(rng, 3 * H, INPUT), draw(rng, 3 * H, H)
    _, _, saved = fn.gru_forward(x, w, r, save=True)
    with pytest.raises(ShapeError, match=r"dy has shape \(3, 6, 19\), expected \(3, 6, 20\)"):
        fn.gru_backward(np.zeros((B, T, H - 1)), saved)
    with pytest.raises(ShapeError, match="lstm_forward"):
        fn.lstm_backward(None, saved)
    with pytest.raises(ShapeError, match="gru_forward"):
        fn.gru_backward(None, None)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="nothing to go back through"):
        fn.gru_forward(x[:, :0], w, r, save=True)
    assert not fn.gru_backward(None, saved).dx.any()
