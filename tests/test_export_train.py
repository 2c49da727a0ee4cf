"""Training on a chip: what `lstmc export --train` writes trains to the bits of the Engine."""

import functools
import re
import subprocess

import numpy as np
import pytest
import train_nets
from emulated import PROGRAMS
from helpers import (
    DATA,
    LONG,
    WARNINGS,
    compile_c,
    random_graph,
    random_inputs,
    run_program,
    stateful_graph,
)
from test_export import lstmc_command, sanitizers  # noqa: F401
from test_machines import CHIPS, EVERYWHERE, OTHERS

import lstmc
from lstmc import format, presets
from lstmc.export import Train, export, pack_weights, unpack_weights
from lstmc.export.freeze import freeze
from lstmc.export.train_header import truth_floats
from lstmc.model import from_graph
from lstmc.presets import known
from lstmc.training.arrays import inside
from lstmc.training.engine import Engine
from lstmc.training.specs import Loss, Optimizer


def program(directory, preset, cases, flags, compiler=("gcc",)):
    sources = train_nets.export_nets(directory, preset, cases)
    every = [*WARNINGS, "-Wshadow", "-I", str(directory), *flags]
    return compile_c(directory / "train", [PROGRAMS / "train_main.c", *sources], every, compiler)


def lines_of(cases, preset):
    return [line for n, case in cases.items() for line in train_nets.expected(n, case, preset)]


@pytest.mark.parametrize("level", ["-O0", "-O2"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_on_the_host(tmp_path, compiler, level):
    cases = train_nets.cases()
    made = program(tmp_path, "m4f", cases, [level], (compiler,))
    assert run_program([made]).stdout.splitlines() == lines_of(cases, "m4f")


@functools.cache
def expected(preset):
    return lines_of(train_nets.cases(), preset)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The C files of all nets, exported for a preset once."""

    @functools.cache
    def exported(preset):
        directory = tmp_path_factory.mktemp(preset)
        return train_nets.export_nets(directory, preset, train_nets.cases())

    return exported


@pytest.mark.parametrize("machine", CHIPS, ids=lambda m: m.name)
def test_on_other_machines(tmp_path, exported, machine):
    """Chips with an FPU and without, 32 and 64 bits, big-endian: 50 updates, every bit."""
    machine.skip_without_tools()
    short = machine.name.split(",")[0]
    preset = short if known(short) else OTHERS.get(short, "host")
    sources = exported(preset)
    flags = ["-std=c99", dict(EVERYWHERE)[machine], "-Wall", "-Wextra", "-Werror"]
    include = ["-I", str(sources[0].parent)]
    parts = [PROGRAMS / "train_main.c", *sources]
    made = machine.link(tmp_path / "train", parts, [*flags, *include])
    out = run_program(machine.command(made, []))
    assert out.stdout.splitlines() == expected(preset)


# ------------------------------------------------------------------------------- any model at all


def stdin_program(frozen):
    """Reads the inputs and truths of a sequence and trains on it, again and again; writes the loss
    and what is saved after each update."""
    training = frozen.training
    sizes = [training.values[p.value] for p in frozen.inputs]
    floats = [v.steps * v.features for v in sizes]
    floats += [training.values[o.value].steps * truth_floats(training, i)
               for i, o in enumerate(training.outputs)]  # fmt: skip
    arrays = "".join(f"static float a{i}[{n}];\n" for i, n in enumerate(floats))
    reads = " && ".join(f"fread(a{i}, 4, {n}, stdin)" for i, n in enumerate(floats))
    names = ", ".join(f"a{i}" for i in range(len(floats)))
    return f"""
#include "net.h"
#include <stdio.h>
{arrays}static uint32_t saved[NET_SAVED_WORDS];
static net_memory memory;
int main(void) {{
    net_reset_weights(&memory);
    while ({reads}) {{
        const float loss = net_train(&memory, {names});
        if (net_update(&memory, NET_LEARNING_RATE)) return 1;
        net_weights_save(&memory, saved);
        fwrite(&loss, 4, 1, stdout);
        fwrite(saved, 4, NET_SAVED_WORDS, stdout);
    }}
    return 0;
}}
"""


OPTIMIZERS = [
    Optimizer("adam", 0.01),
    Optimizer("sgd", 0.05, momentum=0.9, nesterov=True, clipnorm=0.5),
    Optimizer("rmsprop", 0.01, momentum=0.5, centered=True, weight_decay=0.01),
    Optimizer("sgd", 0.1, global_clipnorm=1.0),
    Optimizer("adam", 0.01, amsgrad=True, clipvalue=0.1),
]


def assert_same_bits(got, want):
    got, want = (np.ascontiguousarray(a, np.float32).view(np.uint32) for a in (got, want))
    differs = (got != want) & ~(np.isnan(got.view("f4")) & np.isnan(want.view("f4")))
    assert not differs.any()


@pytest.mark.parametrize("seed", range(700, 780 if LONG else 716))
def test_random_models(tmp_path, sanitizers, seed):  # noqa: F811
    """Whatever has a gradient, several inputs and outputs, frozen layers: weights as the Engine has
    them after each of five updates."""
    rng = np.random.default_rng(seed)
    graph = random_graph(seed, bounded=True)
    names = [layer.name for layer in graph.layers]
    frozen_layers = tuple(n for n in names if rng.random() < 0.2)
    loss, optimizer = Loss(("mse", "mae", "huber")[seed % 3]), OPTIMIZERS[seed % len(OPTIMIZERS)]
    recompute = bool(seed % 2)
    time = 6
    if graph.misfit(graph.infer(), dict.fromkeys(graph.clocks, time)):
        pytest.skip("six steps are too few for it")
    model, train = from_graph(graph), Train(loss, optimizer, time, frozen_layers, recompute)
    target = ("m4f", "m55", "m0", "host")[seed % 4]
    try:
        export(model, tmp_path, "net", target, state="external", train=train)
    except lstmc.ConversionError as e:
        assert "no weight is left" in str(e)
        return
    frozen = freeze(model, presets.find(target), None, train)
    losses = [loss] * len(graph.outputs)
    engine = Engine(graph, losses, None, optimizer, frozen=frozen_layers, recompute=not recompute)
    specs, data, want = graph.infer(), b"", []
    for i in range(5):
        x = random_inputs(graph, seed * 10 + i, 1, time, scale=(1, 1, 0, 30, 1)[i])
        shapes = [v.shape(1, specs[v.name].time.count(dict.fromkeys(graph.clocks, time))
                          if specs[v.name].time else 1) for v in graph.outputs]  # fmt: skip
        truth = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
        data += b"".join(inside(v, x[v.name]).tobytes() for v in graph.inputs)
        data += b"".join(inside(v, a).tobytes() for v, a in zip(graph.outputs, truth, strict=True))
        result = engine.train([x[v.name] for v in graph.inputs], truth)
        weights = engine.read()
        floats = [
            format.pack(weights[t.layer][t.field], t.gates, t.panel)
            for t in frozen.training.tensors
        ]
        want.append((result.loss, np.concatenate(floats)))
    (tmp_path / "main.c").write_text(stdin_program(frozen))
    parts = [tmp_path / f for f in ("main.c", "net.c", "net_weights.c")]
    flags = [*WARNINGS, "-Wshadow", "-O1", "-I", str(tmp_path), *sanitizers]
    if sanitizers:
        flags.append("-Wno-sign-conversion")  # of a bool, says GCC of what it instruments
    made = compile_c(tmp_path / "program", parts, flags)
    done = subprocess.run([made], input=data, capture_output=True, check=False)
    assert not done.returncode, done.stderr.decode()[-3000:]
    rows = np.frombuffer(done.stdout, np.float32).reshape(5, -1)
    for row, (loss_value, weights) in zip(rows, want, strict=True):
        for t in frozen.training.tensors:
            part = slice(t.place, t.place + t.floats)
            assert_same_bits(row[2:-1][part], weights[part])
        assert abs(row[0] - loss_value) <= 1e-5 * abs(loss_value) or not np.isfinite(loss_value)


# ----------------------------------------------------------------------------- several instances


def test_two_instances_learn_apart(tmp_path):
    """--state external: one learns, the other stays; inference goes on from its own state."""
    case = train_nets.cases()["lstm_net"]
    export(case.model, tmp_path, "net", "m4f", state="external", train=case.train)
    main = """
#include "net.h"
#include <stdio.h>
#include <string.h>
static net_memory one, two;
static float x[3 * NET_TRAIN_TIME], y[2], z[2];
static uint32_t saved[NET_SAVED_WORDS], other[NET_SAVED_WORDS];
int main(void) {
    const float truth[2] = {1, -1};
    memset(&one, 0x5a, sizeof one); /* resetting needs nothing to be there */
    net_reset_weights(&one);
    net_reset_weights(&two);
    net_reset(&one);
    net_reset(&two);
    for (int i = 0; i < 3 * NET_TRAIN_TIME; i++) x[i] = (float)(i % 7 - 3) / 4;
    net_step(&one, x, y);
    net_step(&two, x, z);
    const float first = net_train(&one, x, truth);
    net_forget_gradients(&one);
    net_step(&one, x, y);
    net_step(&two, x, z);
    if (memcmp(y, z, sizeof y)) return 1; /* nothing was learned, and the state is its own */
    const float zero = 0;
    if (net_update(&one, zero / zero) != -1 || net_update(&one, 0x1p61f) != -1) return 2;
    for (int i = 0; i < 200; i++) {
        (void)net_train(&one, x, truth);
        if (net_update(&one, 0.01f)) return 3;
    }
    if (!(net_train(&one, x, truth) < first / 100)) return 4;
    net_weights_save(&one, saved);
    net_weights_save(&two, other);
    if (!memcmp(saved, other, sizeof saved)) return 5;
    if (net_selftest(&one) != NET_GOLDEN_DIGEST) return 6;
    net_reset_weights(&one);
    net_weights_save(&one, saved);
    if (memcmp(saved, other, sizeof saved)) return 7;
    saved[0]++; /* another model's */
    if (net_weights_load(&one, saved) != -1) return 8;
    return sizeof one != NET_ARENA_BYTES || NET_TRAIN_BYTES >= NET_ARENA_BYTES;
}
"""
    (tmp_path / "main.c").write_text(main)
    parts = [tmp_path / f for f in ("main.c", "net.c", "net_weights.c")]
    run_program([compile_c(tmp_path / "two", parts, [*WARNINGS, "-Wshadow", f"-I{tmp_path}"])])


def test_a_class_that_is_none(tmp_path):
    """NaN, and nothing is touched: the weights stay after an update."""
    case = train_nets.cases()["dense_net"]
    export(case.model, tmp_path, "net", "m4f", train=case.train)
    main = """
#include "net.h"
#include <string.h>
static uint32_t before[NET_SAVED_WORDS], after[NET_SAVED_WORDS];
int main(void) {
    const float x[4] = {1, 2, 3, 4}, bad[] = {3, -1, 0.5f, 1e9f, -1e30f};
    net_reset_weights();
    net_weights_save(before);
    for (int i = 0; i < 5; i++) {
        const float loss = net_train(x, bad + i);
        if (loss == loss) return 1;
    }
    if (net_update(0) != 0) return 2;
    net_weights_save(after);
    return memcmp(before, after, sizeof before) != 0;
}
"""
    (tmp_path / "main.c").write_text(main)
    parts = [tmp_path / f for f in ("main.c", "net.c", "net_weights.c")]
    run_program([compile_c(tmp_path / "none", parts, [*WARNINGS, "-Wshadow", f"-I{tmp_path}"])])


def test_saved_weights_come_home():
    case = train_nets.cases()["gru_net"]
    engine = case.engine()
    weights = engine.read()
    words = pack_weights(case.model, "m4f", case.train, weights)
    back = unpack_weights(case.model, "m4f", case.train, words)
    for layer, fields in back.items():
        for name, array in fields.items():
            assert (
                np.array_equal(array, weights[layer][name])
                and array.shape == weights[layer][name].shape
            )
    damaged = words.copy()
    damaged[5] ^= 4
    with pytest.raises(lstmc.FormatError, match="damaged"):
        unpack_weights(case.model, "m4f", case.train, damaged)
    for wrong in (words[:-1], words + np.eye(1, words.size, dtype=np.uint32)[0]):
        with pytest.raises(lstmc.FormatError, match="not the saved weights of this model"):
            unpack_weights(case.model, "m4f", case.train, wrong)
    with pytest.raises(lstmc.FormatError, match="not the saved weights"):
        unpack_weights(case.model, "m55", case.train, words)


# -------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("train", "error", "why"),
    [
        ({"time": None}, lstmc.ShapeError, "how many steps a sequence for training has, --time N"),
        ({"time": 0}, lstmc.ShapeError, "a sequence of 0 steps"),
        ({"time": 2**40}, lstmc.ShapeError, "from 1 to"),
        ({"time": 2**20 + 1}, lstmc.ShapeError, "from 1 to 1048576"),
        ({"frozen": ("nothing",)}, lstmc.UnknownNameError, "no layer 'nothing' to freeze"),
        ({"frozen": ("lstm0", "dense1")}, lstmc.ConversionError, "all layers are frozen"),
        ({"loss": "mean"}, lstmc.UnknownNameError, "unknown loss 'mean'"),
        ({"optimizer": "adagrad"}, lstmc.UnknownNameError, "unknown optimizer 'adagrad'"),
        ({"batch": 0}, lstmc.RangeError, "a batch of 0"),
        ({"loss": [Loss("mse"), Loss("mse")]}, lstmc.ShapeError, "2 losses for 1 outputs"),
        ({"loss": [None]}, lstmc.ShapeError, "no output has a loss"),
        ({"loss_weights": [1.0, 2.0]}, lstmc.ShapeError, "2 weights of losses"),
    ],
)  # fmt: skip
def test_bad_requests(tmp_path, train, error, why):
    model = train_nets.cases()["lstm_net"].model
    with pytest.raises(error, match=why):
        export(model, tmp_path, "net", "m4f", train=Train(**{"time": 4, **train}))
    assert not list(tmp_path.iterdir())


def test_models_that_cannot_be_trained(tmp_path):
    with pytest.raises(lstmc.ConversionError, match="trained on a chip"):
        export(from_graph(stateful_graph()), tmp_path, train=Train(time=4))
    with pytest.raises(lstmc.ShapeError, match="says nothing here"):
        export(train_nets.cases()["dense_net"].model, tmp_path, train=Train(time=4))
    with pytest.raises(lstmc.Error, match="'train' can't be the name"):
        export(train_nets.cases()["lstm_net"].model, tmp_path, "Train", train=Train(time=4))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--loss", "mse"], 2, "--loss says something about training: it wants --train"),
        (["--recompute"], 2, "--recompute says something about training"),
        (["--train"], 1, "say how many steps a sequence for training has, --time N"),
        (["--train", "--time", "4", "--loss", "mean"], 1, "unknown loss 'mean'; known are"),
        (["--train", "--time", "4", "--loss", "huber,delta"], 2, "has no setting 'delta'"),
        (["--train", "--time", "4", "--loss", "huber,size=1"], 2, "has no setting 'size=1'"),
        (["--train", "--time", "4", "--loss", "huber,delta=x"], 2, "delta is a number, not 'x'"),
        (["--train", "--time", "4", "--optimizer", "sgd,momentum=2"], 1, "momentum is 2.0"),
        (["--train", "--time", "4", "--learning-rate", "-1"], 1, "learning_rate is -1.0"),
        (["--train", "--time", "4", "--freeze", "a,b"], 1, "no layer 'a' to freeze"),
        (["--train", "--time", "4", "--batch", "-3"], 1, "a batch of -3"),
    ],
)
def test_bad_use(tmp_path, monkeypatch, arguments, status, said):
    monkeypatch.chdir(tmp_path)
    done = lstmc_command("export", DATA / "v1_lstm.lstmc", "-o", "d", *arguments)
    assert done.returncode == status and done.stderr.count("\n") <= 2 and said in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "d").exists()


def test_command(tmp_path):
    done = lstmc_command(
        "export", DATA / "v1_lstm.lstmc", "-o", tmp_path, "--name", "net", "--train", "--time", "4",
        "--loss", "huber,delta=0.5", "--optimizer", "rmsprop,momentum=0.5", "--learning-rate",
        "0.25", "--batch", "3", "--recompute", "--target", "m4f",
    )  # fmt: skip
    assert done.returncode == 0 and "more)" in done.stdout, done.stderr
    header = (tmp_path / "net.h").read_text()
    for line in ("NET_TRAIN_TIME 4", "NET_TRAIN_BATCH 3", "NET_LEARNING_RATE 0x1p-2f"):
        assert f"#define {line}\n" in header
    assert "huber" in header and "RMSprop" in header


def test_an_export_without_training_knows_nothing_of_it(tmp_path):
    export(train_nets.cases()["lstm_net"].model, tmp_path, "net", "m4f")
    for path in ("net.h", "net.c", "net_core.h"):
        text = (tmp_path / path).read_text()
        assert not re.search(r"train|gradient|lstmc_restart|optimi[sz]er", text), path
