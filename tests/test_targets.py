"""Vector targets of other machines: Helium on a Cortex-M55 and RISC-V vectors under QEMU,
WebAssembly. Each operation, each function and each model gives the bits that the host gives.
Instructions are counted. test_c_core.py has NEON."""

import json
import re
import subprocess

import numpy as np
import pytest
from count_instructions import TABLE, TOLERANCE, count_steps, ways
from emulated import (
    INCLUDE,
    MACHINES,
    MORE_MACHINES,
    NEON,
    PROGRAMS,
    QEMU_MACHINES,
    WASM,
    Machine,
    riscv,
)
from helpers import DATA, LONG, WARNINGS, Net, compile_c, random_graph, random_inputs, run_program
from sweeping import END, MIN, SIGN, bits_of
from test_activations import CASES
from test_c_core import MODELS, WAYS

import lstmc
from lstmc import format
from lstmc import graph as g
from lstmc.model import Model

STRICT = (*WARNINGS, "-O2")
CONTRACTING = ("-std=gnu99", "-O3", "-ffp-contract=fast")
TESTED = [*MACHINES, *(MORE_MACHINES if LONG else [])]
COUNTED = [*QEMU_MACHINES, *([*MORE_MACHINES, NEON] if LONG else [])]
each_machine = pytest.mark.parametrize("machine", TESTED, ids=lambda m: m.name)


def name_of(value):
    if isinstance(value, str):
        return value
    return value.name if isinstance(value, Machine) else " ".join(value)


# WebAssembly has no floating-point modes, and nm does not read it.
each_real_machine = pytest.mark.parametrize(
    "machine", [m for m in TESTED if m is not WASM], ids=lambda m: m.name
)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Compiles the core and a test program for a machine, each way once."""
    directory = tmp_path_factory.mktemp("targets")
    done = {}

    def objects(machine, *flags):
        key = (machine.compiler, flags)
        if key not in done:
            machine.skip_without_tools()
            done[key] = machine.objects(directory / f"o{len(done)}", flags)
        return done[key]

    def program(name, machine, *flags, core=None, libraries=()):
        """``core``: flags for the core if they are others; False to leave it out."""
        key = (name, machine.compiler, flags)
        if key not in done:
            machine.skip_without_tools()
            parts = [PROGRAMS / f"{name}.c"]
            parts += [] if core is False else objects(machine, *(core or flags))
            path = directory / f"{name}{len(done)}"
            done[key] = machine.link(path, [*parts, *libraries], flags)
        return done[key]

    build = lambda: None  # noqa: E731
    build.objects, build.program, build.directory = objects, program, directory
    return build


# ----------------------------------------------------------------------------------- operations


@pytest.mark.parametrize(
    ("machine", "target"), [(m, t) for m in TESTED for t in m.targets], ids=name_of
)
def test_operations(build, machine, target):
    """Every operation of the header, special values, and tails, lane by lane."""
    define = f"-DSWEEP_TARGET_{target.upper()}"
    program = build.program("check_ops", machine, *STRICT, define, core=False)
    out = run_program(machine.command(program, [2000, 1])).stdout
    checks, failures = (int(word) for word in out.split()[0:3:2])
    assert checks > 2000 * 17 and failures == 0


@pytest.mark.parametrize("name", lstmc.targets())
def test_operations_of_the_host(name, tmp_path):
    """The same program sees the targets that need no emulator."""
    flags = [*STRICT, f"-DSWEEP_TARGET_{name.upper()}", *INCLUDE]
    program = compile_c(tmp_path / "check_ops", [PROGRAMS / "check_ops.c"], flags)
    assert run_program([program, "20000", "2"]).stdout.endswith(" 0 failures\n")


# ------------------------------------------------------------------------------------ functions


EXP_LOW = float.fromhex("-0x1.5d589ep+6")
#: Where functions that are in no case table change their formulas; the Cortex-M's own too.
EDGES = {
    "exp": (EXP_LOW, 88.7228),
    "tanh": (0.625, -0.625, 10, -10, 32, -32, np.inf, -np.inf),
    "sigmoid": (EXP_LOW, -EXP_LOW, 16, -16, 20, -20, np.inf, -np.inf),
    "flush": (2.0**-64, -(2.0**-64)),
}


def sweep_lines():
    """Runs of sweep.c: the whole range, around subnormals, where formulas change."""
    lines = []
    for case in [*CASES, "exp", "tanh", "sigmoid", "flush", "sqrt_ieee"]:
        hot = case in ("tanh", "sigmoid")  # the Cortex-M has its own
        pieces = [(0, END, 65537 if LONG or hot else 1048573)]
        pieces += [(0, 32, 1), (MIN - 32, MIN + 32, 1)]
        pieces += [(SIGN, SIGN + 32, 1), (SIGN + MIN - 32, SIGN + MIN + 32, 1)]
        edges = CASES[case][2] if case in CASES else EDGES.get(case, ())
        pieces += [(bits_of(edge) - 20, bits_of(edge) + 20, 1) for edge in edges if edge]
        lines += [f"{case} {start} {stop} {step} hash\n" for start, stop, step in pieces]
    return lines


@each_machine
def test_functions(build, tmp_path, machine):
    flags = [*STRICT, f"-DSWEEP_TARGET_{machine.target.upper()}"]
    program = build.program("sweep", machine, *flags, core=False, libraries=["-lm"])
    host = compile_c(tmp_path / "sweep", [PROGRAMS / "sweep.c", "-lm"], [*STRICT, *INCLUDE])
    lines = sweep_lines()
    (got, want) = (
        [
            json.loads(line)["hash"]
            for line in run_program(c, input="".join(lines)).stdout.split("\n")[:-1]
        ]
        for c in (machine.command(program, ["list"]), [host, "list"])
    )
    assert len(got) == len(want) == len(lines) > 150
    assert not [line for line, a, b in zip(lines, got, want, strict=True) if a != b]


@pytest.mark.parametrize(
    "machine", [m for m in TESTED if m.target != "scalar"], ids=lambda m: m.name
)
def test_row_kernels(build, machine):
    """Panels of every width that the lanes divide, any number of columns: as the scalar kernels."""
    program = build.program("rows_main", machine, *STRICT)
    out = run_program(machine.command(program, [machine.target])).stdout
    assert re.search(r"^[1-9]\d{2,} checks, 0 failures$", out)


# --------------------------------------------------------------------------------------- models


def with_sample(graph, batch, time, change=None, panel=format.DEFAULT_PANEL):
    """A model with a random golden sample, which ``change`` may change, and the host's digests."""
    graph.infer()
    time = next((v.time for v in graph.inputs if v.time), time)
    inputs = random_inputs(graph, 3, batch, time)
    if change:
        change(inputs)
    golden = format.Golden(batch, time, inputs)
    draft = Model(format.dumps(graph, golden))
    golden = format.with_digests(golden, draft._run_golden(golden))
    return Model(format.dumps(graph, golden, panel))


def subnormal(inputs):
    """Some of the inputs, and others small enough that their products are."""
    for x in inputs.values():
        flat = x.reshape(-1)
        flat[::3] *= np.float32(1e-39)
        flat[1::3] *= np.float32(1e-30)


def special(value):
    def change(inputs):
        for x in inputs.values():
            x.reshape(-1)[:: max(1, x.size // 3)] = value

    return change


def wide_net():
    """Panels of 16 and of 8, products ahead and not, a tail in every tile."""
    net = Net(1)
    x = net.input(5)
    out = net.lstm(x, 37)["s"]
    out = net.lstm(out, 20, gate=g.HARD_SIGMOID_ONNX)["s"]
    norm = net.simple(g.LayerNorm, out, scale=net.weight(20), epsilon=1e-5)
    return net.graph(net.simple(g.Softmax, net.dense(norm, 11)), out)


def narrow_net():
    """For panels of 2: odd and even units, functions of all kinds, few inputs and none."""
    net = Net(2)
    x = net.input(3)
    out = net.lstm(x, 9)["s"]
    out = net.lstm(out, 8, gate=g.HARD_SIGMOID_ONNX)["s"]
    out = net.gru(out, 7)
    out = net.gru(net.dense(out, 1), 6, candidate=g.RELU)
    return net.graph(net.lstm(out, 1)["s"], net.dense(out, 5), out)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Model files with what digest_main must say of each: its digests."""
    directory = tmp_path_factory.mktemp("models")
    files = {}

    def add(name, model):
        model.save(directory / name)
        files[directory / name] = list(model.golden.digests.values())

    for path, digests in MODELS.items():
        (directory / path.name).write_bytes(path.read_bytes())
        files[directory / path.name] = digests
    for panel in (1, 2):
        add(f"narrow{panel}.lstmc", with_sample(narrow_net(), 1, 40, panel=panel))
    for value in (np.nan, np.inf, -3e38):
        add(f"narrow{value}.lstmc", with_sample(narrow_net(), 2, 4, special(value), 2))
    add("narrow.lstmc", with_sample(narrow_net(), 1, 40, subnormal, 2))
    for batch in (1, 2, 7):
        add(f"wide{batch}.lstmc", with_sample(wide_net(), batch, 9))
    add("small.lstmc", with_sample(wide_net(), 3, 6, subnormal))
    for value in (np.nan, np.inf, -3e38):
        add(f"{value}.lstmc", with_sample(wide_net(), 3, 4, special(value)))
    for seed in range(40 if LONG else 12):
        change = (None, None, None, special(np.nan), special(-np.inf))[seed % 5]
        add(f"random{seed}.lstmc", with_sample(random_graph(seed), 4, 5, change))
    return files


def assert_digests(machine, program, samples, targets, names=None):
    """The files' names alone, since a board takes no long command line."""
    chosen = [path for path in samples if not names or path.name in names]
    out = run_program(machine.command(program, [p.name for p in chosen]), cwd=chosen[0].parent)
    assert out.stdout.splitlines() == [
        " ".join([path.name, target, way, *(f"{digest:08x}" for digest in samples[path])])
        for path in chosen
        for target in targets
        for way in WAYS
    ]


@each_machine
def test_models(build, samples, machine):
    """Whole, step by step, in chunks and row by row; scalar and vector."""
    program = build.program("digest_main", machine, *STRICT)
    assert_digests(machine, program, samples, machine.targets)


@each_real_machine
def test_the_callers_float_mode_changes_nothing(build, samples, machine):
    """Flushing of subnormals, rounding towards zero: undone by lstmc_run, and given back."""
    define = "-DHOSTILE_MODE"
    program = build.program("digest_main", machine, *STRICT, define, core=STRICT)
    names = ["small.lstmc", "narrow.lstmc", "wide7.lstmc", "v1_functions.lstmc", "random1.lstmc"]
    assert_digests(machine, program, samples, machine.targets, names)


def dense_sample(weight, x, bias):
    """Sixteen times fma(weight, x, bias)."""
    net = Net(0)
    net.dense(net.input(1, time=False), 16)
    layer = net.layers[0]
    layer.weight[:], layer.bias[:] = weight, bias

    def change(inputs):
        inputs["x0"][:] = x

    return with_sample(net.graph(layer.outputs[0]), 1, 1, change)


@each_machine
def test_what_a_flushing_unit_cannot_see(build, tmp_path, machine):
    """As docs/NUMERICS.md says: a subnormal with a large weight, and only that."""
    program = build.program("digest_main", machine, *STRICT)
    for weight, x, bias in ((2.0**36, 2.0**-127, 2.0**-64), (2.0**61, 2.0**-127, 0.0)):
        model = dense_sample(weight, x, bias)
        model.save(tmp_path / "unseen.lstmc")
        digests = list(model.golden.digests.values())
        samples = {tmp_path / "unseen.lstmc": digests}
        assert_digests(machine, program, samples, machine.targets)
    model = dense_sample(2.0**100, 2.0**-127, 0.0)
    (want,) = model.golden.digests.values()
    assert want == lstmc.digest(np.full(16, 2.0**-27, np.float32))
    model.save(tmp_path / "seen.lstmc")
    command = machine.command(program, ["seen.lstmc"])
    out = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path).stdout
    got = {line.split()[1]: int(line.split()[3], 16) for line in out.splitlines()}
    zeros = lstmc.digest(np.zeros(16, np.float32))
    vector = zeros if machine.target == "helium" else want
    assert got == {"scalar": want, machine.target: vector}


# LSTMC_LONG=1 tries the others.
BUILDS = [(m, f) for m in (TESTED if LONG else MACHINES[:1]) for f in (CONTRACTING, ("-Os",))]


@pytest.mark.parametrize(("machine", "flags"), BUILDS if LONG else BUILDS[:1], ids=name_of)
def test_whatever_the_flags(build, samples, machine, flags):
    program = build.program("digest_main", machine, *flags)
    assert_digests(machine, program, samples, machine.targets)


@pytest.mark.parametrize("machine", TESTED if LONG else MACHINES[:1], ids=lambda m: m.name)
def test_left_out(build, samples, machine):
    program = build.program("digest_main", machine, *STRICT, machine.leave_out)
    assert_digests(machine, program, samples, ["scalar"], ["v1_lstm.lstmc", "wide2.lstmc"])


@pytest.mark.parametrize("vlen", [256, 512, 1024])
def test_longer_riscv_registers(build, samples, vlen):
    """A program for registers of 128 bits runs on any."""
    machine = riscv(vlen, "rv64gcv")
    program = build.program("digest_main", machine, *STRICT)
    names = ["wide2.lstmc", "wide7.lstmc", "random1.lstmc", "v1_recurrent.lstmc"]
    assert_digests(machine, program, samples, ["scalar", "rvv"], names)


@each_machine
def test_c_interface(build, machine):
    program = build.program("test_core", machine, *STRICT)
    out = run_program(machine.command(program, ["."]), cwd=DATA).stdout
    assert re.search(r"[1-9]\d{3,} checks, 0 failures", out)


@each_real_machine
def test_needs_no_library(build, machine):
    """Nothing but memcpy and its like, and what compilers call by themselves: no fmaf, no sqrtf."""
    defined, undefined = set(), set()
    for path in build.objects(machine, *STRICT):
        for line in run_program(["nm", path]).stdout.splitlines():
            kind, name = line.split()[-2:]
            (undefined if kind in "Uw" else defined).add(name)
    missing = undefined - defined
    own = {n for n in missing if re.fullmatch(r"__aeabi_(mem\w+|u?ldivmod|ul2f|u?i?divmod)", n)}
    assert missing - own <= {"memcpy", "memset", "memmove", "memcmp"}, missing


# --------------------------------------------------------------------------------- instructions


@pytest.mark.parametrize("way", [w for m in COUNTED for w in ways(m)], ids=lambda w: w.name)
def test_instructions_a_step(build, way, tmp_path, capsys):
    """As the committed table says, if it was made with this compiler; fewer than scalar always."""
    machine = way.machine

    def link(optimise, *flags):
        return build.program("steps_main", machine, *WARNINGS, optimise, *flags)

    got = count_steps(way, link, tmp_path)
    for sizes, row in got.items():
        assert row["vector"] < 0.6 * row["scalar"], sizes
    want = json.loads(TABLE.read_text())[way.name]
    if machine.version() != want["compiler"]:
        with capsys.disabled():
            print(f"\n{way.name}, {machine.version()}: {got}")
        return
    for sizes, row in want["steps"].items():
        for target, number in row.items():
            assert abs(got[sizes][target] / number - 1) <= TOLERANCE, (
                f"{sizes} {target}: {got[sizes][target]} instructions, the table says {number}: "
                "run tests/count_instructions.py --write if this is meant"
            )
