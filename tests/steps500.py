"""Nets whose outputs over 500 steps must have the same digest on every machine, what that digest
is, and the C sources of a program that says it: tests/c/steps500_main.c.

Of a net the program knows what a firmware export gives; the seam is described there.
:func:`write_library_nets` puts models read by the library behind it, :func:`export_nets` what
``lstmc export`` writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from helpers import BATCH, TIME, Net, random_inputs

import lstmc
from lstmc import format
from lstmc import graph as g
from lstmc.export import export
from lstmc.model import Model

STEPS = 500
GOLDEN_STEPS = 7
SILENT, QUIET = range(200, 350), range(350, 400)


class Case(NamedTuple):
    """A model with one input and one output. ``rows``: of the table that inputs are indices of."""

    graph: g.Graph
    rows: int = 0

    def model(self, panel: int = format.DEFAULT_PANEL) -> Model:
        """With a golden sample of one row."""
        inputs = random_inputs(self.graph, 5, 1, GOLDEN_STEPS)
        golden = format.Golden(1, GOLDEN_STEPS, inputs)
        draft = Model(format.dumps(self.graph, golden, panel))
        golden = format.with_digests(golden, draft._run_golden(golden))
        return Model(format.dumps(self.graph, golden, panel))

    def inputs(self) -> np.ndarray:
        """float32 [500, features], as make_input in steps500_main.c has them."""
        features = self.graph.inputs[0].spec.features
        x = np.empty((STEPS, features), np.float32)
        seed = 1
        for step in range(STEPS):
            for i in range(features):
                seed = (seed * 1664525 + 1013904223) % 2**32
                drawn = seed >> 8
                if self.rows:
                    x[step, i] = (drawn >> 8) % self.rows
                elif step in SILENT:
                    x[step, i] = 0
                else:
                    scale = 2.0**-52 if step in QUIET else 2.0**-22
                    x[step, i] = (drawn - 2**23) * scale
        return x

    def digest(self) -> int:
        """Of the outputs of all steps."""
        stream = self.model().stream()
        return lstmc.digest(np.stack([stream.step(x[None]) for x in self.inputs()]))

    def golden_digest(self) -> int:
        (digest,) = self.model().golden.digests.values()
        return digest


# ----------------------------------------------------------------------------------------- nets


def lstm() -> g.Graph:
    net = Net(11)
    return net.graph(net.lstm(net.input(3), 10, outputs="s")["s"])


def gru() -> g.Graph:
    net = Net(12)
    x = net.input(4)
    net.add(
        g.GRU, x, ["s", None], weight_ih=net.weight(27, 4), weight_hh=net.weight(27, 9),
        bias=net.weight(27), recurrent_bias=net.weight(9), reset_after=True,
    )  # fmt: skip
    return net.graph("v0s")


def stacked() -> g.Graph:
    """Two LSTMs with other functions, then a softmax."""
    net = Net(13)
    first = net.lstm(net.input(2), 7, outputs="s", gate=g.HARD_SIGMOID_ONNX)["s"]
    second = net.lstm(first, 5, outputs="s", candidate=g.Fn("softsign"))["s"]
    return net.graph(net.simple(g.Softmax, net.dense(second, 3)))


def dense() -> g.Graph:
    net = Net(14)
    x = net.input(5)
    norm = net.simple(g.LayerNorm, net.dense(x, 11, activation=g.TANH), epsilon=1e-5)
    return net.graph(net.dense(norm, 3, activation=g.Fn("gelu")))


def conv() -> g.Graph:
    """Causal convolutions, one with gaps, one over each channel."""
    net = Net(15)
    x = net.input(2)
    wide = net.simple(
        g.Conv1D, x, weight=net.weight(6, 6), bias=net.weight(6), taps=3, dilation=2, before=4,
        activation=g.RELU,
    )  # fmt: skip
    each = net.simple(g.DepthwiseConv1D, wide, weight=net.weight(6, 2), taps=2, before=1)
    return net.graph(net.dense(each, 3, activation=g.SIGMOID))


EMBEDDING_ROWS = 13


def embedding() -> g.Graph:
    net = Net(16)
    table = net.simple(g.Embedding, net.input(1), weight=net.weight(4, EMBEDDING_ROWS))
    return net.graph(net.dense(net.lstm(table, 6, outputs="s")["s"], 3))


def stateful() -> g.Graph:
    """A source's own state, outside of all layers."""
    net = Net(17)
    net.inputs = [g.Value("x", (BATCH, TIME, 3))]
    state = g.Value("h", (1, BATCH, 6))
    net.specs = {"x": net.inputs[0].inside, "h": state.spec}
    mixed = net.simple(g.Concat, ("x", "h"))
    new = net.dense(mixed, 6, activation=g.TANH)
    kept = net.simple(g.Affine, "h", scale=np.full(6, 0.5, np.float32))
    after = net.simple(g.Combine, (kept, new), op="add")
    y = net.dense(net.simple(g.Concat, ("x", after)), 2)
    bindings = [g.Binding(state, g.Value(after, (1, BATCH, 6)))]
    outputs = [g.Value(y, (BATCH, TIME, 2))]
    graph = g.Graph(net.inputs, outputs, net.layers, {"source": "tests"}, bindings=bindings)
    graph.infer()
    return graph


CASES = {
    "lstm": Case(lstm()),
    "gru": Case(gru()),
    "stacked": Case(stacked()),
    "dense": Case(dense()),
    "conv": Case(conv()),
    "embedding": Case(embedding(), EMBEDDING_ROWS),
    "stateful": Case(stateful()),
}


# --------------------------------------------------------------------------------------- sources


def write_list(directory: Path) -> None:
    """nets.h, the list of nets that steps500_main.c takes."""
    lines = [f'#include "{name}.h"\n' for name in CASES]
    entries = " ".join(f"X({name}, {name.upper()}, {case.rows})" for name, case in CASES.items())
    (directory / "nets.h").write_text("".join([*lines, f"#define NETS(X) {entries}\n"]))


def write_library_nets(directory: Path, panel: int) -> list[Path]:
    """nets.h, and for each net NAME.h and NAME.c with its model file; returns the C files.

    They want steps500_library.c and the library.
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_list(directory)
    sources = []
    for name, case in CASES.items():
        model, macro = case.model(panel), name.upper()
        (inputs,), (outputs,) = model.graph.inputs, model.graph.outputs
        (digest,) = model.golden.digests.values()
        blob = bytes(model._blob)
        (directory / f"{name}.h").write_text(
            "#include <stdint.h>\n"
            f"#define {macro}_INPUT_SIZE {inputs.spec.features}u\n"
            f"#define {macro}_OUTPUT_SIZE {outputs.spec.features}u\n"
            f"#define {macro}_GOLDEN_DIGEST {digest:#x}u\n"
            f"void {name}_reset(void);\n"
            f"void {name}_step(const float *x, float *y);\n"
            f"uint32_t {name}_selftest(void);\n"
        )
        source = directory / f"{name}.c"
        source.write_text(
            f'#include "{name}.h"\n#include "steps500_library.h"\n'
            "static const union {\n"
            f"    unsigned char bytes[{len(blob)}];\n    uint32_t word;\n"
            f"}} blob = {{{{{','.join(map(str, blob))}}}}};\n"
            f"void {name}_reset(void) {{ library_reset(&blob, sizeof blob); }}\n"
            f"void {name}_step(const float *x, float *y) {{ library_step(x, y); }}\n"
            f"uint32_t {name}_selftest(void) {{ return library_selftest(&blob, sizeof blob); }}\n"
        )
        sources.append(source)
    return sources


def export_nets(directory: Path, preset: str) -> list[Path]:
    """nets.h and each net as exported for a preset; returns the C files: they want nothing else."""
    directory.mkdir(parents=True, exist_ok=True)
    write_list(directory)
    for name, case in CASES.items():
        export(case.model(), directory, name, preset)
    return sorted(directory.glob("*.c"))


def expected(modes: tuple[str, ...]) -> list[str]:
    """What steps500_main.c prints, line by line."""
    lines = []
    for name, case in CASES.items():
        golden = case.golden_digest()
        lines += [f"{name} {mode} {case.digest():08x} {golden:08x} {golden:08x}" for mode in modes]
    return lines
