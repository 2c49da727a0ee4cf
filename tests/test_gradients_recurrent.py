"""Gradients of LSTM, GRU and RNN with every option: against torch.autograd in float64, that against
float64 differences of the oracle, and their bits however they are computed."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from cases import settings
from helpers import assert_same

from lstmc import _core, format
from lstmc import graph as g

torch = pytest.importorskip("torch")
import gradients  # noqa: E402
import recurrent_torch  # noqa: E402
from recurrent_nets import cases, weights  # noqa: E402

#: Of sizes that errors are relative to: terms of a sum are about 1, and may cancel.
FLOOR = 0.1
KINDS = {"LSTM": g.LSTM, "GRU": g.GRU, "RNN": g.RNN}


def gradients_of(case, seed=1, **how):
    """(gradients of the outputs, what the core makes of them)."""
    dy = gradients.random_dy(case.graph, case.inputs, case.lengths, seed)
    return dy, gradients.run(case.graph, case.inputs, dy, case.lengths, **how)


@settings(60)
@hypothesis.given(case=cases())
def test_every_option_as_torch(case):
    dy, got = gradients_of(case)
    gradients.check_autograd(
        case.graph, case.inputs, dy, got, recurrent_torch.graph(case.graph, case.lengths),
        floor=FLOOR,
    )  # fmt: skip


@settings(15)
@hypothesis.given(case=cases())
def test_every_option_as_differences_of_the_oracle(case):
    """So the transcription is what the layers mean."""
    gradients.check(case.graph, case.inputs, case.lengths, each=6, directions=1, same_bits=False)


@settings(25)
@hypothesis.given(case=cases())
def test_same_bits_however_computed(case):
    """Targets, panels, rows at a time, threads, frugal, with gates made again."""
    dy, got = gradients_of(case)
    gradients.check_bits(case.graph, case.inputs, dy, case.lengths, got)


@settings(25)
@hypothesis.given(case=cases())
def test_lengths_that_cut_nothing_change_no_bit(case):
    """The layers without options have kernels of their own, but not with lengths."""
    case.lengths = None
    _, got = gradients_of(case)
    case.lengths = np.full(case.batch, case.time)
    _, general = gradients_of(case)
    assert_same(general.all(), got.all())


PARAMETERS = {
    "hard_sigmoid": (0.2, 0.5), "affine": (0.7, 0.1), "leaky_relu": (0.1,), "elu": (0.8,),
    "thresholded_relu": (0.3,), "scaled_tanh": (1.2, 0.7), "selu": (1.67, 1.05), "silu": (1.3,),
    "hard_silu": (0.3, 0.5), "celu": (1.2,), "soft_shrink": (0.2,), "hard_shrink": (0.2,),
    "squareplus": (2.0,), "clip": (-0.5, 0.7), "not_equal": (0.3,),
}  # fmt: skip


@pytest.mark.parametrize("clip", [0.0, 0.6])
@pytest.mark.parametrize("kind", g.FN_CODES)
def test_every_function_as_a_gate(kind, clip):
    """As each function of each cell."""
    f = g.Fn(kind, *PARAMETERS.get(kind, ()))
    # These have no derivative at 0, or no value below.
    bias = np.float32(1.5 if kind in ("sqrt", "log", "reciprocal") else 0.1)
    roles = [(g.LSTM, r) for r in ("gate", "candidate", "output")] + [(g.RNN, "activation")]
    roles += [(g.GRU, r) for r in ("gate", "candidate")]
    rng = np.random.default_rng(g.FN_CODES[kind])
    hidden, features, batch, time = 11, 3, 3, 3
    for cell, role in roles:
        n = cell.gates
        layer = cell(
            name="layer", inputs=("x",), outputs=("y", *cell.states), clip=clip,
            weight_ih=weights(rng, n * hidden, features) * np.float32(0.4),
            weight_hh=weights(rng, n * hidden, hidden) * np.float32(0.4),
            bias=weights(rng, n * hidden) * np.float32(0.2) + bias, **{role: f},
        )  # fmt: skip
        values = [g.Value("y", (g.BATCH, g.TIME, hidden))]
        values += [g.Value(s, (g.BATCH, hidden)) for s in cell.states]
        graph = g.Graph([g.Value("x", (g.BATCH, g.TIME, features))], values, [layer])
        inputs = {"x": rng.uniform(-1, 1, (batch, time, features)).astype(np.float32)}
        dy = gradients.random_dy(graph, inputs)
        got = gradients.run(graph, inputs, dy)
        gradients.check_autograd(graph, inputs, dy, got, recurrent_torch.graph(graph), floor=FLOOR)
        again = gradients.run(graph, inputs, dy, target="scalar", recompute=True)
        assert_same(again.all(), got.all(), f"{cell.__name__} {role}")


@pytest.mark.parametrize("peephole", ["none", "diagonal", "full"])
@pytest.mark.parametrize("sees_old", [False, True])
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("projected", [False, True])
def test_options_of_an_lstm_together(peephole, sees_old, coupled, projected):
    """Each with each; 17 steps, so that gates made again come in two parts."""
    rng = np.random.default_rng(3)
    hidden, features, batch, time = 19, 3, 3, 17
    out = 10 if projected else hidden
    options = {"coupled": coupled, "output_sees_old": sees_old, "reverse": coupled}
    if peephole == "diagonal":
        options["peephole"] = weights(rng, 3 * hidden)
    if peephole == "full":
        options["weight_ch"] = weights(rng, 4 * hidden, hidden)
    if projected:
        options["weight_hr"] = weights(rng, out, hidden)
    layer = g.LSTM(
        name="layer", inputs=("x", None, "h0", "c0"), outputs=("y", "h", "c"),
        weight_ih=weights(rng, 4 * hidden, features), weight_hh=weights(rng, 4 * hidden, out),
        bias=weights(rng, 4 * hidden), **options,
    )  # fmt: skip
    states = [(g.BATCH, out), (g.BATCH, hidden)]
    inputs = [g.Value("x", (g.BATCH, g.TIME, features))]
    inputs += [g.Value(n, axes) for n, axes in zip(("h0", "c0"), states, strict=True)]
    values = [g.Value("y", (g.BATCH, g.TIME, out))]
    values += [g.Value(n, axes) for n, axes in zip(("h", "c"), states, strict=True)]
    graph = g.Graph(inputs, values, [layer])
    arrays = {"x": rng.standard_normal((batch, time, features)).astype(np.float32)}
    for v in inputs[1:]:
        arrays[v.name] = rng.standard_normal((batch, v.axes[1])).astype(np.float32)
    dy = gradients.random_dy(graph, arrays)
    got = gradients.run(graph, arrays, dy)
    gradients.check_autograd(graph, arrays, dy, got, recurrent_torch.graph(graph), floor=FLOOR)
    gradients.check_bits(graph, arrays, dy, None, got)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gates_made_again_in_several_parts(kind, reverse):
    """More steps than are made again at once, some of which don't count; with dropout, too."""
    rng = np.random.default_rng(5)
    hidden, features, batch, time = 12, 3, 4, 35
    n = KINDS[kind].gates
    for options in ({}, {"reset_after": False}) if kind == "GRU" else ({},):
        layer = KINDS[kind](
            name="layer", inputs=("x", "mask"), outputs=("y", *KINDS[kind].states), hold=True,
            weight_ih=weights(rng, n * hidden, features), reverse=reverse,
            weight_hh=weights(rng, n * hidden, hidden), bias=weights(rng, n * hidden), **options,
        )  # fmt: skip
        inputs = [g.Value("x", (g.BATCH, g.TIME, features)), g.Value("mask", (g.BATCH, g.TIME))]
        values = [g.Value("y", (g.BATCH, g.TIME, hidden))]
        values += [g.Value(s, (g.BATCH, hidden)) for s in layer.states]
        graph = g.Graph(inputs, values, [layer])
        arrays = {
            "x": rng.standard_normal((batch, time, features)).astype(np.float32),
            "mask": (rng.random((batch, time)) < 0.7).astype(np.float32),
        }
        arrays["mask"][1, :20] = 0
        lengths = np.array([35, 30, 16, 0])
        dy = gradients.random_dy(graph, arrays, lengths)
        for how in ({}, {"dropouts": ((0, 2, 0.5),), "dropout": (1, 2)}):
            got = gradients.run(graph, arrays, dy, lengths, **how)
            again = gradients.run(graph, arrays, dy, lengths, recompute=True, **how)
            assert_same(again.all(), got.all(), f"{options} {how}")
        got = gradients.run(graph, arrays, dy, lengths)
        transcription = recurrent_torch.graph(graph, lengths)
        gradients.check_autograd(graph, arrays, dy, got, transcription, floor=FLOOR)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_order_of_sums(reverse, masked):
    """Rows ascending, in each the steps in the reverse of the order in which they were taken."""
    rng = np.random.default_rng(4)
    hidden, batch, time = 5, 3, 40
    layer = g.RNN(
        name="layer", inputs=("x", "mask") if masked else ("x",), outputs=("y", None),
        weight_ih=np.zeros((hidden, 1)), weight_hh=np.zeros((hidden, hidden)),
        bias=np.zeros(hidden), activation=g.LINEAR, reverse=reverse,
    )  # fmt: skip
    inputs = [g.Value("x", (g.BATCH, g.TIME, 1)), g.Value("mask", (g.BATCH, g.TIME))]
    values = [g.Value("y", (g.BATCH, g.TIME, hidden))]
    graph = g.Graph(inputs[: 1 + masked], values, [layer])
    arrays = {"x": np.ones((batch, time, 1), np.float32)}
    if masked:
        arrays["mask"] = (rng.random((batch, time)) < 0.7).astype(np.float32)
    dy = gradients.random_dy(graph, arrays)
    counts = arrays.get("mask", np.ones((batch, time)))
    total = np.zeros(hidden, np.float32)
    for b in range(batch):
        for t in range(time) if reverse else reversed(range(time)):
            if counts[b, t]:
                total = total + dy["y"][b, t]
    got = gradients.run(graph, arrays, dy)
    np.testing.assert_array_equal(got.weights["layer", "bias"], total)
    np.testing.assert_array_equal(got.weights["layer", "weight_ih"][:, 0], total)


# ----------------------------------------------------------------------------- torch's own modules


@settings(30)
@hypothesis.given(
    kind=st.sampled_from(["LSTM", "GRU", "RNN"]), features=st.integers(1, 9),
    hidden=st.integers(2, 40), bias=st.booleans(), proj=st.booleans(), packed=st.booleans(),
    start=st.booleans(), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_modules_of_torch(kind, features, hidden, bias, proj, packed, start, seed):
    """nn.LSTM, GRU and RNN in float64, both directions, projected, packed sequences."""
    rng = np.random.default_rng(seed)
    options = {"proj_size": max(hidden // 2, 1)} if proj and kind == "LSTM" else {}
    m = getattr(torch.nn, kind)(
        features, hidden, bias=bias, batch_first=True, bidirectional=True, **options
    ).double()
    for name, p in m.named_parameters():  # what float32 holds exactly; one bias, not two halves
        p.data = torch.tensor(weights(rng, *p.shape)).double()
        if name.startswith("bias_hh"):
            p.data[: 2 * hidden if kind == "GRU" else None] = 0
    batch, time = 4, 6
    out = options.get("proj_size", hidden)
    sizes = [out, hidden][: 2 if kind == "LSTM" else 1]
    names = ["h0", "c0"][: len(sizes)] if start else []
    layers, values, fields_of = [], [], {}
    for d, suffix in enumerate(("", "_reverse")):
        of = {f"weight_{k}": f"weight_{k}_l0{suffix}" for k in ("ih", "hh")}
        if options:
            of["weight_hr"] = f"weight_hr_l0{suffix}"
        params = dict(m.named_parameters())
        fields = {k: params[v].detach().numpy().astype(np.float32) for k, v in of.items()}
        if bias:
            of["bias"] = f"bias_ih_l0{suffix}"
            fields["bias"] = params[of["bias"]].detach().numpy().astype(np.float32)
            if kind == "GRU":
                of["recurrent_bias"] = f"bias_hh_l0{suffix}"
                both = params[of["recurrent_bias"]].detach().numpy()
                fields["recurrent_bias"] = both[2 * hidden :].astype(np.float32)
        states = KINDS[kind].states
        outputs = tuple(f"{n}{d}" for n in ("y", *states))
        inputs = ("x", *((None, *(f"{n}{d}" for n in names)) if names else ()))
        layers.append(
            KINDS[kind](name=f"l{d}", inputs=inputs, outputs=outputs, reverse=bool(d), **fields)
        )
        fields_of |= {(f"l{d}", k): v for k, v in of.items()}
        values.append(g.Value(f"y{d}", (g.BATCH, g.TIME, out)))
        values += [g.Value(f"{s}{d}", (g.BATCH, n)) for s, n in zip(states, sizes, strict=True)]
    starts = [g.Value(f"{n}{d}", (g.BATCH, k)) for d in (0, 1)
              for n, k in zip(names, sizes, strict=False)]  # fmt: skip
    graph = g.Graph([g.Value("x", (g.BATCH, g.TIME, features)), *starts], values, layers)
    arrays = {"x": rng.standard_normal((batch, time, features)).astype(np.float32)}
    arrays |= {v.name: rng.standard_normal((batch, v.axes[-1])).astype(np.float32) for v in starts}
    lengths = rng.integers(1, time + 1, batch) if packed else None
    dy = gradients.random_dy(graph, arrays, lengths, seed % 1000)
    got = gradients.run(graph, arrays, dy, lengths)

    given = {k: torch.tensor(a.astype(float), requires_grad=True) for k, a in arrays.items()}
    x, hx = given["x"], None
    if names:
        hx = tuple(torch.stack([given[f"{n}0"], given[f"{n}1"]]) for n in names)
        hx = hx if kind == "LSTM" else hx[0]
    if packed:
        x = torch.nn.utils.rnn.pack_padded_sequence(
            x, torch.from_numpy(lengths), True, enforce_sorted=False
        )
    y, last = m(x, hx)
    if packed:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, True, total_length=time)
    last = last if kind == "LSTM" else (last,)
    total = sum(
        (y[..., d * out : (d + 1) * out] * torch.tensor(dy[f"y{d}"])).sum()
        + sum((s[d] * torch.tensor(dy[f"{n}{d}"])).sum()
              for n, s in zip(KINDS[kind].states, last, strict=True))
        for d in (0, 1)
    )  # fmt: skip
    total.backward()
    params = dict(m.named_parameters())
    wanted = {k: params[v].grad.numpy() for k, v in fields_of.items()}
    wanted |= {k: t.grad.numpy() for k, t in given.items()}
    for key, have in (got.inputs | got.weights).items():
        want = wanted[key][2 * hidden :] if key[1:] == ("recurrent_bias",) else wanted[key]
        limit = 1e-5 * max(abs(want).max(), FLOOR)
        np.testing.assert_allclose(have, want, rtol=0, atol=limit, err_msg=str(key))


# ------------------------------------------------------------------------------------------- carry


def windows_of(case, cuts, carry=True, **how):
    """Outputs, weights' gradients and those of x of windows of a sequence, one after another."""
    graph = case.graph
    blob = np.frombuffer(format.dumps(graph), np.uint8).copy()
    trainer = _core.Trainer(
        _core.Model(blob), case.batch, case.time, _core.target_code("auto"), 1, None, 0, True,
        carry=carry, **how,
    )  # fmt: skip
    dy = gradients.random_dy(graph, case.inputs, None, 3)
    found = {v.name: [] for v in graph.outputs}
    dx, start = [], 0
    for end in [*cuts, case.time]:
        given = [
            np.ascontiguousarray(a[:, start:end] if v.spec.time else a)
            for v, a in ((v, case.inputs[v.name]) for v in graph.inputs)
        ]
        sent = [
            np.ascontiguousarray(dy[v.name][:, start:end] if v.spec.time else dy[v.name])
            for v in graph.outputs
        ]
        made = [np.zeros_like(a) for a in sent]
        back = [np.zeros_like(given[0])] + [None] * (len(given) - 1)
        limits = None
        if case.lengths is not None:
            limits = np.clip(case.lengths - start, 0, end - start).astype(np.int32)
        trainer.run(
            given, case.batch, [end - start], limits, outputs=made, gradients=sent,
            input_gradients=back,
        )  # fmt: skip
        for v, a in zip(graph.outputs, made, strict=True):
            found[v.name].append(a)
        dx.append(back[0])
        start = end
    made = gradients.Gradients({}, {"x": np.concatenate(dx, 1)})
    for v in graph.outputs:
        made.outputs[v.name] = (
            np.concatenate(found[v.name], 1) if v.spec.time else found[v.name][-1]
        )
    for key, (index, vector) in gradients.weight_tensors(graph).items():
        gates, k, units, panel, size = trainer.trained(index)
        packed = np.empty(size, np.float32)
        trainer.read(index, 1, packed)
        a = format.unpack(packed, gates, k, units, panel)
        made.weights[key] = a[:, 0] if vector else a
    return dy, made


@settings(30)
@hypothesis.given(case=cases(initial="nf"), data=st.data())
def test_states_carry_on(case, data):
    """Windows of a sequence give what the whole gives, and no gradient goes from one to the one
    before: each is as torch has it of the states it starts from."""
    hypothesis.assume(not case.layer.reverse and not case.layer.hold)
    cuts = sorted(data.draw(st.sets(st.integers(1, case.time), max_size=3)) - {case.time})
    _, whole = windows_of(case, [])
    dy, got = windows_of(case, cuts)
    assert_same(got.outputs, whole.outputs)

    params = {
        key: torch.tensor(
            getattr({layer.name: layer for layer in case.graph.layers}[key[0]], key[1]).astype(
                float
            ),
            requires_grad=True,
        )
        for key in got.weights
    }
    w = {field: t for (name, field), t in params.items() if name == "layer"}
    x = torch.tensor(case.inputs["x"].astype(float), requires_grad=True)
    fixed = {layer.outputs[0]: layer.value for layer in case.graph.layers[:-1]}
    states = [
        None if n is None else torch.tensor(np.tile(fixed[n], (case.batch, 1)).astype(float))
        for n in (*case.layer.inputs[2:], None, None)[: len(case.layer.states)]
    ]
    start = 0
    for end in [*cuts, case.time]:
        part = slice(start, end)
        mask = case.inputs["mask"][:, part, None] if "mask" in case.inputs else None
        lengths = None if case.lengths is None else np.clip(case.lengths - start, 0, end - start)
        y, *states = recurrent_torch.run(case.layer, w, x[:, part], mask, states, lengths)
        total = 0
        for name, value in zip(case.layer.outputs, (y, *states), strict=True):
            if name is not None:
                d = dy[name][:, part] if name == "y" else dy[name]
                total = total + (value * torch.tensor(d)).sum()
        total.backward()
        states = [s.detach() for s in states]
        start = end
    for key, have in (got.inputs | got.weights).items():
        t = x if key == "x" else params[key]
        want = np.zeros(have.shape) if t.grad is None else t.grad.numpy()
        limit = 1e-5 * max(abs(want).max(), FLOOR)
        np.testing.assert_allclose(have, want, rtol=0, atol=limit, err_msg=str(key))


# ----------------------------------------------------------------------------------------- dropout


def philox(row, place, key):
    """Philox2x32-10 of Salmon et al. 2011, as c_src/train/dropout.c takes it."""
    for _ in range(10):
        product = 0xD256D193 * row
        row, place = (product >> 32) ^ key ^ place, product & 0xFFFFFFFF
        key = (key + 0x9E3779B9) & 0xFFFFFFFF
    return row


def masks(seed, step, layer, rate, batch, units):
    key = philox(seed, step, layer * 3 + 2)
    drawn = [[philox(b, i, key) < rate * 2.0**32 for i in range(units)] for b in range(batch)]
    return np.where(drawn, np.float32(0), np.float32(1) / (np.float32(1) - np.float32(rate)))


@settings(40)
@hypothesis.given(case=cases(), rate=st.sampled_from([0.25, 0.5]), seed=st.integers(0, 2**32 - 1))
def test_recurrent_dropout(case, rate, seed):
    """h is multiplied by a mask where R multiplies it, and nowhere else."""
    graph = case.graph
    layer = len(graph.layers) - 1
    mask = masks(seed, 7, layer, rate, case.batch, case.layer.output_size)
    dy = gradients.random_dy(graph, case.inputs, case.lengths, 2)
    how = {"dropouts": ((layer, 2, rate),), "dropout": (seed, 7)}
    got = gradients.run(graph, case.inputs, dy, case.lengths, **how)
    gradients.check_autograd(
        graph, case.inputs, dy, got, recurrent_torch.graph(graph, case.lengths, mask), floor=FLOOR
    )
    for way in ({"rows": 2}, {"target": "scalar"}, {"frugal": True}, {"recompute": True}):
        again = gradients.run(graph, case.inputs, dy, case.lengths, **how, **way)
        assert_same(again.all(), got.all(), str(way))
    without = gradients.run(graph, case.inputs, dy, case.lengths, dropouts=how["dropouts"])
    assert_same(without.all(), gradients.run(graph, case.inputs, dy, case.lengths).all())
