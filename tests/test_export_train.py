"""Training on a chip: what `lstmc export --train` writes trains to the bits of the laptop's Engine."""

import functools
import subprocess

import numpy as np
import pytest
import train_nets
from emulated import PROGRAMS
from helpers import LONG, WARNINGS, compile_c, random_graph, random_inputs, run_program
from test_export import sanitizers  # noqa: F401
from test_machines import CHIPS, EVERYWHERE, OTHERS

import lstmc
from lstmc import format, presets
from lstmc.export import Train, export
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
def test_random_models(tmp_path, sanitizers, seed):
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
        want.append((result.loss, np.concatenate([
            format.pack(weights[t.layer][t.field], t.gates, t.panel) for t in frozen.training.tensors
        ])))  # fmt: skip
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
