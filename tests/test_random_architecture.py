"""Random architectures with branches: a value may be read by any layer behind it, or by none.

Each description is drawn entry by entry beside the torch code that means the same. Values that no
layer reads are the outputs.
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
from torch_nets import matches  # noqa: E402

SMALL = st.integers(1, 4)
JOINS = {
    "Add": torch.add, "Subtract": torch.subtract, "Multiply": torch.mul,
    "Maximum": torch.maximum, "Minimum": torch.minimum,
}  # fmt: skip
FUNCTIONS = {
    "Abs": torch.abs, "Square": torch.square, "Tanh": torch.tanh, "Sigmoid": torch.sigmoid,
    "ReLU": torch.relu, "Exp": lambda x: torch.exp(torch.tanh(x)),
}  # fmt: skip


class Drawn:
    """An architecture as it is drawn: entries, modules, and the values so far by name.

    A value is [batch, features], [batch, time, features], and with positions [..., positions,
    channels]; its torch tensor says which.
    """

    def __init__(self, draw, seed):
        self.draw, self.entries = draw, []
        self.modules, self.values, self.read = nn.ModuleDict(), {}, set()
        torch.manual_seed(seed)

    def add(self, kind, y, *read, **options):
        """An entry, what torch makes of it, and the names of the values that it reads."""
        name = f"v{len(self.entries)}"
        self.entries.append({"type": kind, "name": name, **options})
        self.values[name] = y
        self.read |= set(read)
        return name

    def module(self, kind, make, x, **options):
        """A module with weights on the value ``x``, called by ``make``."""
        key = f"m{len(self.modules)}"
        module, call = make()
        with torch.no_grad():
            for p in module.parameters():
                p.copy_(torch.randn(p.shape) * 0.5)
        self.modules[key] = module
        self.add(kind, call(module.eval()), x, input=x, weights=key, **options)

    def choose(self, fits):
        """A value that a layer takes; None if there is none. The newest ones more often."""
        names = [n for n, v in self.values.items() if fits(v)]
        return self.draw(st.sampled_from(names[::-1])) if names else None


def timed(v):
    return v.ndim == 3 and not positioned(v)


def positioned(v):
    return getattr(v, "positioned", False)


def marked(v):
    v.positioned = True
    return v


def plain(v):
    return not positioned(v)


def along(f, v):
    """A torch function of [n, channels, length] along the positions of a value."""
    flat = v.reshape(-1, *v.shape[-2:]).transpose(1, 2)
    y = f(flat).transpose(1, 2)
    return marked(y.reshape(*v.shape[:-2], *y.shape[1:]))


def dense(d):
    x = d.choose(lambda v: True)
    v, out = d.values[x], d.draw(SMALL)
    keep = marked if positioned(v) else lambda y: y
    d.module("Dense", lambda: (nn.Linear(v.shape[-1], out), lambda m: keep(m(v))), x)


def recurrent(d):
    x = d.choose(timed)
    if x is None:
        return
    v, kind = d.values[x], d.draw(st.sampled_from(["LSTM", "GRU", "RNN"]))
    last, out = d.draw(st.booleans()), d.draw(SMALL)
    made = getattr(nn, kind)(v.shape[-1], out, batch_first=True)
    d.module(
        kind, lambda: (made, lambda m: m(v)[0][:, -1] if last else m(v)[0]), x,
        return_sequences=not last,
    )  # fmt: skip


def join(d):
    kind = d.draw(st.sampled_from([*JOINS, "Concat"]))
    first = d.choose(plain)
    a = d.values[first]
    same = kind == "Concat"
    second = d.choose(lambda v: plain(v) and (same or v.shape[-1] in (1, a.shape[-1])))
    xs = [a, d.values[second]]
    if any(v.ndim == 3 for v in xs):
        steps = max(v.shape[1] for v in xs if v.ndim == 3)
        xs = [v if v.ndim == 3 else v[:, None].expand(-1, steps, -1) for v in xs]
    y = torch.cat(xs, -1) if same else JOINS[kind](*xs)
    assume(y.shape[-1] <= 24)
    d.add(kind, y, first, second, inputs=[first, second])


def function(d):
    kind = d.draw(st.sampled_from(list(FUNCTIONS)))
    x = d.choose(lambda v: True)
    v = d.values[x]
    if kind == "Exp":  # of what can't be large
        x = d.add("Tanh", marked(torch.tanh(v)) if positioned(v) else torch.tanh(v), x, input=x)
    y = FUNCTIONS[kind](v)
    d.add(kind, marked(y) if positioned(v) else y, x, input=x)


def scale(d):
    x = d.choose(plain)
    factor, offset = d.draw(st.sampled_from([(2.0, 0.0), (-0.5, 1.0), (1.0, -3.0)]))
    d.add("Scale", d.values[x] * factor + offset, x, input=x, factor=factor, offset=offset)


def part(d):
    x = d.choose(lambda v: v.shape[-1] > 1)
    if x is None:
        return
    v = d.values[x]
    start = d.draw(st.integers(0, v.shape[-1] - 1))
    stop = d.draw(st.integers(start + 1, v.shape[-1]))
    y = v[..., start:stop]
    y = marked(y.clone()) if positioned(v) else y
    d.add("Slice", y, x, input=x, start=start, stop=stop)


def unflatten(d):
    x = d.choose(lambda v: plain(v) and v.shape[-1] > 2)
    if x is None:
        return
    v = d.values[x]
    n = d.draw(st.sampled_from([k for k in range(1, v.shape[-1] + 1) if v.shape[-1] % k == 0]))
    shape = [v.shape[-1] // n, n]
    d.add("Unflatten", marked(v.reshape(*v.shape[:-1], *shape)), x, input=x, shape=shape)


def flatten(d):
    x = d.choose(positioned)
    if x is not None:
        d.add("Flatten", d.values[x].flatten(-2), x, input=x)


def pad(d):
    x = d.choose(positioned)
    if x is None:
        return
    v, mode = d.values[x], d.draw(st.sampled_from(["constant", "reflect", "replicate", "circular"]))
    most = v.shape[-2] - (mode == "reflect")
    before, after = d.draw(st.integers(0, most)), d.draw(st.integers(0, most))
    if not before + after:
        return
    y = along(lambda f: F.pad(f, (before, after), mode), v)
    d.add("Pad", y, x, input=x, before=before, after=after, mode=mode)


def conv(d):
    x = d.choose(positioned)
    if x is None:
        return
    v, taps, out = d.values[x], d.draw(SMALL), d.draw(SMALL)
    depthwise = d.draw(st.booleans())
    out = v.shape[-1] if depthwise else out
    options = {
        "stride": d.draw(st.integers(1, 2)), "dilation": d.draw(st.integers(1, 2)),
        "padding": d.draw(st.integers(0, 2)), "groups": out if depthwise else 1,
    }  # fmt: skip
    assume(v.shape[-2] + 2 * options["padding"] > options["dilation"] * (taps - 1))
    made = nn.Conv1d(v.shape[-1], out, taps, bias=d.draw(st.booleans()), **options)
    activation = d.draw(st.sampled_from(["linear", "relu"]))
    f = {"linear": lambda y: y, "relu": lambda y: marked(torch.relu(y))}[activation]
    d.module(
        "Conv1d", lambda: (made, lambda m: f(along(m, v))), x, activation=activation, **options
    )


def channels(d):
    """What has numbers for each channel."""
    x = d.choose(positioned)
    if x is None:
        return
    v = d.values[x]
    if d.draw(st.booleans()):
        made = nn.PReLU(d.draw(st.sampled_from([1, v.shape[-1]])))
        d.module("PReLU", lambda: (made, lambda m: along(m, v)), x)
        return
    made = nn.BatchNorm1d(v.shape[-1])
    made.running_mean.normal_()
    made.running_var.uniform_(0.5, 2)
    d.module("BatchNorm1d", lambda: (made, lambda m: along(m, v)), x)


def pool(d):
    x = d.choose(positioned)
    if x is None:
        return
    v, kind = d.values[x], d.draw(st.sampled_from(["Max", "Avg"]))
    if d.draw(st.booleans()):
        f = getattr(F, f"adaptive_{kind.lower()}_pool1d")
        y = along(lambda t: f(t, 1), v)[..., 0, :].clone()
        d.add(f"Adaptive{kind}Pool1d", y, x, input=x)
        return
    taps, stride = d.draw(st.integers(1, v.shape[-2])), d.draw(st.integers(1, 3))
    padding, ceil = d.draw(st.integers(0, taps // 2)), d.draw(st.booleans())
    assume(not ceil or (stride + padding <= taps and (kind == "Max" or not padding)))
    f = getattr(F, f"{kind.lower()}_pool1d")
    y = along(lambda t: f(t, taps, stride, padding, ceil_mode=ceil), v)
    d.add(
        f"{kind}Pool1d", y, x, input=x, kernel_size=taps, stride=stride, padding=padding,
        ceil_mode=ceil,
    )  # fmt: skip


PIECES = [dense, recurrent, join, function, scale, part, unflatten, flatten, pad, conv, channels,
          pool]  # fmt: skip


ALONG = [pad, conv, channels, pool, dense, function, part]


@settings(60)
@given(st.data())
def test_branches(tmp_path_factory, data):
    pieces = data.draw(st.lists(st.sampled_from(PIECES), max_size=7))
    check(tmp_path_factory.mktemp("net") / "net.pt", data.draw, [dense, *pieces])


@settings(60)
@given(st.data())
def test_positions(tmp_path_factory, data):
    pieces = data.draw(st.lists(st.sampled_from(ALONG), min_size=1, max_size=5))
    check(
        tmp_path_factory.mktemp("net") / "net.pt",
        data.draw,
        [unflatten, conv, channels, *pieces, conv],
    )


def check(path, draw, pieces):
    """The pieces one after another, as a file of weights and a description."""
    d = Drawn(draw, draw(st.integers(0, LARGEST_SEED)))
    batch, steps = 2, draw(st.integers(1, 5))
    inputs = {"x": torch.randn(batch, steps, draw(st.integers(3, 12)))}
    axes = {"x": ["batch", "time", inputs["x"].shape[-1]]}
    if draw(st.booleans()):
        inputs["s"] = torch.randn(batch, draw(st.integers(3, 12)))
        axes["s"] = ["batch", inputs["s"].shape[-1]]
    d.values |= inputs
    with torch.no_grad():
        for piece in pieces:
            piece(d)
    inputs = {n: x for n, x in inputs.items() if n in d.read}
    outputs = [n for n in d.values if n not in d.read and n.startswith("v")]
    torch.save(d.modules.state_dict(), path)
    arch = {
        "model": {"inputs": {n: axes[n] for n in inputs}, "outputs": outputs},
        "layer": d.entries,
    }
    assume(list(d.modules))
    want = [d.values[n] for n in outputs]
    largest = max(float(v.abs().max()) for v in d.values.values())
    assume(np.isfinite(largest) and largest < 1e3)
    matches(path, *inputs.values(), want=want, tolerance=1e-5 * max(1, largest), arch=arch)
