"""Firmware as C: bits, hostile names, errors, what is in the files. test_machines.py has chips."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers import (
    DATA,
    LONG,
    WARNINGS,
    Net,
    compile_c,
    lstm_graph,
    pointwise_graph,
    random_graph,
    run_program,
    sequence_graph,
    stateful_graph,
)
from test_c_core import SANITIZE

import lstmc
from lstmc import format, presets
from lstmc import graph as g
from lstmc.arrays import by_name
from lstmc.export import export, memory, sources
from lstmc.export.freeze import freeze
from lstmc.format import Golden
from lstmc.model import Model, from_graph
from lstmc.samples import index_inputs, random_inputs

MAIN = """\
#include "{name}.h"
#include <stdio.h>
int main(void) {{
    printf("%08x %08x\\n", (unsigned){name}_selftest(), (unsigned){upper}_GOLDEN_DIGEST);
    return {name}_selftest() != {upper}_GOLDEN_DIGEST;
}}
"""


def put(model, directory, name="net", target="m4f", **options):
    """Exported; models that need whole sequences take 5 steps."""
    try:
        return export(model, directory, name, target, **options)
    except lstmc.ShapeError as e:
        if "--time" not in str(e):
            raise
        return export(model, directory, name, target, time=5, **options)


def compiled(directory, *names, main=None, flags=()):
    """A program of what was exported as ``names``, without a warning."""
    sources = [directory / f for n in names for f in (f"{n}.c", f"{n}_weights.c")]
    if main is not None:
        (directory / "main.c").write_text(main)
        sources.append(directory / "main.c")
    every = [*WARNINGS, "-Wshadow", "-O1", "-I", str(directory), *flags]
    return compile_c(directory / "program", sources, every)


def assert_runs(directory, name="net", flags=()):
    main = MAIN.format(name=name, upper=name.upper())
    out = run_program([compiled(directory, name, main=main, flags=flags)]).stdout
    got, want = out.split()
    assert got == want


# ----------------------------------------------------------------------------------------- bits

NETS = {
    "pointwise": pointwise_graph,
    "sequence": sequence_graph,
    "stateful": stateful_graph,
    "scattered": lambda: stateful_graph(scattered=True),
    **{f"random{i}": (lambda i=i: random_graph(i)) for i in range(200 if LONG else 45)},
}


@pytest.mark.parametrize("name", NETS)
def test_digests(tmp_path, name):
    """Any layers, several inputs and outputs, axes in any order: as the file says."""
    model = from_graph(NETS[name]())
    made = put(model, tmp_path, target=("m4f", "host", "m55", "m0")[len(name) % 4])
    golden = model.golden
    if golden.batch == 1 and len(golden.digests) == 1:
        assert [made.golden_digest] == list(golden.digests.values())
    assert_runs(tmp_path)


def test_every_layer_is_tried():
    """Above; so every record's declaration was read right, or export would have stopped."""
    tried = {layer.code for make in NETS.values() for layer in make().layers}
    assert tried == set(sources.layers())


@pytest.mark.parametrize("path", sorted(DATA.glob("v1_*.lstmc")), ids=lambda p: p.stem)
def test_old_files(tmp_path, path):
    put(lstmc.load(path), tmp_path)
    assert_runs(tmp_path)


@pytest.mark.parametrize(
    "flags", [["-O0"], ["-O3", "-ffp-contract=fast"], ["-Os", "-funsigned-char"]]
)
def test_flags(tmp_path, flags):
    """Whatever the compiler is told."""
    put(from_graph(random_graph(3)), tmp_path)
    assert_runs(tmp_path, flags=flags)


@pytest.mark.parametrize("name", ["v1_recurrent", "v1_stack", "v1_stateful"])
def test_a_step_without_a_reset_stays_in_its_memory(tmp_path, name):
    """What it gives then means nothing, but no index that lay in the memory leads out of it."""
    export(lstmc.load(DATA / f"{name}.lstmc"), tmp_path, "net", "m4f", state="external")
    step = re.search(r"net_step\((.*?)\);", (tmp_path / "net.h").read_text(), re.S)[1]
    ports = [f"net_{i}" for i in range(step.count("*") - 1)]
    main = f"""
#include "net.h"
#include <string.h>
static float {", ".join(f"{port}[4096]" for port in ports)};
int main(void) {{
    static net_memory memory;
    memset(&memory, 0x3f, sizeof memory);
    for (int t = 0; t < 3; t++) net_step(&memory, {", ".join(ports)});
    return 0;
}}
"""
    flags = [*SANITIZE, "-Wno-sign-conversion"]  # of a bool, says GCC of what it instruments
    run_program([compiled(tmp_path, "net", main=main, flags=flags)])


def test_steps_are_those_of_a_stream(tmp_path):
    """Output by output, and after a reset again; two instances of one model apart."""
    model = from_graph(lstm_graph(3, 9, outputs="s"))
    export(model, tmp_path, "net", "m4f", state="external")
    main = """
#include "net.h"
#include <stdio.h>
#include <string.h>
static net_memory memory[2];
int main(void) {
    float x[3], y[9];
    memset(memory, 0x5a, sizeof memory); /* reset needs nothing to be there */
    for (int again = 0; again < 2; again++) {
        net_reset(&memory[0]);
        net_reset(&memory[1]);
        for (int t = 0; t < 20; t++) {
            for (int who = 0; who < 2; who++) {
                for (int i = 0; i < 3; i++) x[i] = (float)((t * 5 + i * 3 + who * 7) % 11 - 5) / 4;
                net_step(&memory[who], x, y);
                for (int i = 0; i < 9; i++) printf("%a ", (double)y[i]);
                printf("\\n");
            }
        }
    }
    return 0;
}
"""
    out = run_program([compiled(tmp_path, "net", main=main)]).stdout.splitlines()
    got = np.array([[float.fromhex(word) for word in line.split()] for line in out])
    for who in range(2):
        stream = model.stream()
        for t in range(20):
            x = [(t * 5 + i * 3 + who * 7) % 11 - 5 for i in range(3)]
            want = stream.step(np.array([x], np.float32) / 4)
            for again in range(2):
                np.testing.assert_array_equal(got[again * 40 + 2 * t + who], want[0])


def steps_program(frozen):
    """Reads the inputs of each call, writes its outputs."""
    sides = ("in", frozen.inputs), ("out", frozen.outputs)
    arrays = "".join(
        f"static float {side}{i}[{p.floats}];\n"
        for side, ports in sides
        for i, p in enumerate(ports)
    )
    reads, writes = (
        [f"{call}({side}{i}, 4, {p.floats}, {file})" for i, p in enumerate(ports)]
        for (side, ports), call, file in zip(
            sides, ("fread", "fwrite"), ("stdin", "stdout"), strict=True
        )
    )
    names = [f"{side}{i}" for side, ports in sides for i in range(len(ports))]
    return f"""
#include "net.h"
#include <stdio.h>
{arrays}
int main(void) {{
    net_reset();
    while ({" && ".join(reads)}) {{
        net_step({", ".join(names)});
        {"; ".join(writes)};
    }}
    return 0;
}}
"""


@pytest.fixture(scope="module")
def sanitizers(tmp_path_factory):
    """Flags, or none where the compiler's sanitizers are not installed."""
    directory = tmp_path_factory.mktemp("sanitizers")
    source = directory / "sane.c"
    source.write_text("int main(void) { return 0; }\n")
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    try:
        run_program([compile_c(directory / "sane", [source], flags)])
    except AssertionError:
        return []
    return flags


@pytest.mark.parametrize("seed", range(500, 620 if LONG else 512))
def test_every_output_of_every_step(tmp_path, sanitizers, seed):
    """Random models against a stream, or against predict for whole sequences: 30 calls, silence,
    large and tiny numbers among them; what is read or written elsewhere ends the program."""
    graph = random_graph(seed)
    model = from_graph(graph)
    target = ("m4f", "m55", "m0", "host")[seed % 4]
    put(model, tmp_path, target=target)
    time = None if model._core.cuttable else 5
    frozen = freeze(model, presets.find(target), time)
    rng, tables = np.random.default_rng(seed), index_inputs(graph)
    calls = [random_inputs(graph, rng, 1, time or 1) for _ in range(30)]
    for i, x in enumerate(calls):
        for name in x.keys() - tables.keys():
            x[name] *= np.float32((1, 1, 0, 1e4, 1, 1e-42)[i % 6])
    data = b"".join(x[v.name].tobytes() for x in calls for v in graph.inputs)
    program = compiled(tmp_path, "net", main=steps_program(frozen), flags=["-O0", *sanitizers])
    done = subprocess.run([program], input=data, capture_output=True, check=False)
    assert not done.returncode, done.stderr.decode()
    got = np.frombuffer(done.stdout, np.uint32).reshape(len(calls), -1)
    run = model.predict if frozen.fresh else model.stream().run
    for x, bits in zip(calls, got, strict=True):
        y = by_name(model, run(x))
        want = np.concatenate([y[v.name].ravel() for v in graph.outputs]).view(np.uint32)
        differs = (bits != want) & ~(np.isnan(bits.view("f4")) & np.isnan(want.view("f4")))
        assert not differs.any()


def test_two_models_in_one_program(tmp_path):
    """Their names can't clash: all that isn't static begins with the model's."""
    for name, seed in (("one", 4), ("two", 12)):
        put(from_graph(random_graph(seed)), tmp_path, name)
    main = """
#include "one.h"
#include "two.h"
int main(void) {
    return one_selftest() != ONE_GOLDEN_DIGEST || two_selftest() != TWO_GOLDEN_DIGEST;
}
"""
    program = compiled(tmp_path, "one", "two", main=main)
    run_program([program])
    names = run_program(["nm", "-g", "--defined-only", program]).stdout
    ours = [n for n in re.findall(r" [TDBR] (\w+)", names) if "lstm" in n or "golden" in n]
    assert not ours


def test_the_state_starts_where_the_model_says(tmp_path):
    """An initial state that is not zero: in the first step and after a reset."""
    net = Net(3)
    x = net.input(2)
    start = [net.simple(g.Fill, x, value=net.weight(4)) for _ in range(2)]
    net.add(
        g.LSTM, (x, None, *start), ["s", None, None], weight_ih=net.weight(16, 2),
        weight_hh=net.weight(16, 4), bias=net.weight(16),
    )  # fmt: skip
    made = put(from_graph(net.graph(net.layers[-1].outputs[0])), tmp_path)
    assert "lstmc_recurrent_reset" in (tmp_path / "net.c").read_text()
    assert made.golden_digest
    assert_runs(tmp_path)


def test_no_name_of_the_core_can_be_the_models():
    """What an export called NAME defines, NAME_step and so on, is no name of the core's."""
    ours = r"(?!lstmc_)\w+_(?:step|reset|selftest|memory|view|weights)"
    for path in sources.C_SOURCES.rglob("*.[ch]"):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
        assert not re.findall(rf"\b{ours}\(", text), path.name
        assert not re.findall(rf"^}} {ours};", text, re.M), path.name


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn", "conv", "dense", "kernel", "block", "live"])
def test_names_like_the_cores(tmp_path, name):
    net = Net(1)
    x = net.input(3)
    ends = [net.lstm(x, 4, gate=g.Fn("softsign"))["s"], net.gru(x, 3)]
    put(from_graph(net.graph(*ends)), tmp_path, name)
    assert_runs(tmp_path, name)


# ----------------------------------------------------------------------------- what is in there


def test_the_same_model_gives_the_same_files(tmp_path):
    model = from_graph(random_graph(5))
    for directory in ("a", "b"):
        put(model, tmp_path / directory)
    files = [p for p in (tmp_path / "a").rglob("*") if p.is_file()]
    assert len(files) == 9
    for path in files:
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == other.read_bytes()
        text = path.read_text()
        assert str(tmp_path) not in text and "c_src" not in text


def test_only_what_is_used(tmp_path):
    """An LSTM brings no Dense, no GRU, no other function than its own."""
    put(from_graph(lstm_graph(3, 8, outputs="s")), tmp_path)
    core = re.sub(r"/\*.*?\*/", "", (tmp_path / "net_core.h").read_text(), flags=re.S)
    assert "lstm_row" in core and "v_tanh" in core
    for absent in ("gru", "dense_", "conv", "v_exp(", "v_erf", "v_log(", "matmul(", "lstmc_model"):
        assert absent not in core, absent


def test_golden_off(tmp_path):
    made = export(from_graph(lstm_graph(3, 8)), tmp_path, "net", "m4f", golden=False)
    assert made.golden_digest is None
    for path in ("net.h", "net.c", "net_core.h"):
        text = (tmp_path / path).read_text()
        assert "golden" not in text.lower() and "selftest" not in text and "digest" not in text
    compiled(tmp_path, "net", main='#include "net.h"\nint main(void) { net_reset(); return 0; }\n')


def test_the_header_says_what_the_selftest_takes(tmp_path):
    """The outputs of a whole sequence are more than the stack of many chips."""
    export(bidirectional(), tmp_path, "net", "m4f", time=700)
    header = (tmp_path / "net.h").read_text()
    assert f"{700 * 3 * 4:,} bytes besides net_step's" in header
    assert "    float out_y[2100];\n" in (tmp_path / "net.c").read_text()


def test_sizes_in_the_header(tmp_path):
    """Several inputs and outputs: a pointer and a size for each, named after it."""
    net = Net(0)
    x = net.input(3)
    late = net.input(2)
    out = net.lstm(net.simple(g.Concat, (x, late)), 5)
    graph = net.graph(out["s"], out["c"])
    graph.inputs[1] = g.Value(graph.inputs[1].name, graph.inputs[1].axes)
    export(from_graph(graph), tmp_path, "net", "m4f")
    header = (tmp_path / "net.h").read_text()
    names = [v.name.lower() for v in graph.inputs + graph.outputs]
    for name, size in zip(names, (3, 2, 5, 5), strict=True):
        assert f"#define NET_{name.upper()}_SIZE {size}\n" in header
    assert "NET_INPUT_SIZE" not in header and "NET_OUTPUT_SIZE" not in header
    parameters = ", ".join(
        [f"const float *{n}" for n in names[:2]] + [f"float *{n}" for n in names[2:]]
    )
    assert f"void net_step({parameters});" in header


def test_ports_called_input_and_output(tmp_path):
    """As exporters often do, beside others or alone."""
    net = Net(0)
    x, late = net.input(3), net.input(2)
    out = net.lstm(net.simple(g.Concat, (x, late)), 5)
    graph = net.graph(out["s"], out["c"])
    swapped = {x: "output", late: "input"}
    graph.inputs = [g.Value(swapped[v.name], v.axes) for v in graph.inputs]
    graph.layers[0].inputs = ("output", "input")
    export(from_graph(graph), tmp_path, "net", "m4f")
    assert_runs(tmp_path)
    header = (tmp_path / "net.h").read_text()
    assert "NET_OUTPUT_SIZE 3\n" in header and "NET_INPUT_SIZE 2\n" in header


@pytest.mark.parametrize(
    "port",
    [
        "layer0", "bind", "copy_in", "dense_run", "lstmc_quick_run", "only", "places", "words", "t",
        "i", "digest", "printf", "memcpy", "uint32_t", "size_t", "net_step", "net_memory",
    ],
)  # fmt: skip
def test_ports_called_as_what_is_in_the_files(tmp_path, port):
    """A parameter of NAME_step, or a variable of the example's, would hide it there."""
    net = Net(0)
    x, late = net.input(3), net.input(2)
    out = net.lstm(net.simple(g.Concat, (x, late)), 5, outputs="sh")
    graph = net.graph(out["s"], net.dense(out["h"], 2))
    graph.inputs[0] = g.Value(port, graph.inputs[0].axes)
    graph.layers[0].inputs = (port, late)
    for state in ("internal", "external"):
        export(from_graph(graph), tmp_path, "net", "m4f", state=state)
        example = (tmp_path / "example/main.c").read_text()
        run_program([compiled(tmp_path, "net", main=example)])


HOSTILE = [
    "*/ int",
    "/* a",
    "a\\",
    "??/",
    'b"',
    "ctrl\n\x01",
    "für",
    "\u202e",
    "int",
    "1",
    "",
    "x" * 300,
]


def test_hostile_names(tmp_path):
    """A model's names are comments and identifiers of C, whatever they are."""
    net = Net(0)
    ends = [net.lstm(net.input(2), 3)["s"] for _ in HOSTILE]
    graph = net.graph(*ends)
    renamed = {}
    for i, value in enumerate(graph.inputs):
        renamed[value.name] = HOSTILE[i] or f"empty{i}"
        graph.inputs[i] = g.Value(renamed[value.name], value.axes)
    for layer, name in zip(graph.layers, HOSTILE, strict=True):
        layer.inputs = tuple(renamed.get(n, n) for n in layer.inputs)
        layer.name = name or "empty"
    graph.provenance["file"] = '*/ #error "\n#error\\'
    graph.infer()
    export(from_graph(graph), tmp_path, "net", "m4f")
    for path in tmp_path.rglob("*.[ch]"):
        assert path.read_bytes().isascii()
    assert_runs(tmp_path)


def test_weights_are_exact(tmp_path):
    """Also the smallest and the largest."""
    net = Net(0)
    net.dense(net.input(4, time=False), 4)
    layer = net.layers[0]
    layer.weight[:] = np.array(
        [[1e-45, -1.1754942e-38, 3.4028235e38, -0.0], [1 / 3, 1e-30, 16777217.0, 1e7],
         [-1.0, 2.0, 0.5, 123456.0], [np.pi, -np.e, 1e20, -1e-20]], np.float32,
    )  # fmt: skip
    export(from_graph(net.graph(layer.outputs[0])), tmp_path, "net", "m0")
    assert_runs(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(tmp_path, value):
    """In a sample and in a layer's record: a file may hold both."""
    net = Net(0)
    x = net.input(3)
    padded = net.simple(g.PadTime, x, before=2, after=0, value=float(value))
    graph = net.graph(net.lstm(padded, 4, outputs="s")["s"])
    golden = from_graph(graph).golden
    inputs = {name: np.array(v) for name, v in golden.inputs.items()}
    inputs["x0"].ravel()[7] = value
    made = from_graph(graph)._run_sample(Golden(golden.batch, golden.time, inputs))
    digests = {name: lstmc.digest(y) for name, y in made.items()}
    sample = Golden(golden.batch, golden.time, inputs, digests)
    put(Model(format.dumps(graph, sample)), tmp_path)
    assert_runs(tmp_path)


def test_memory_is_what_the_compiler_says(tmp_path):
    """The header checks it too: the arena would not compile otherwise."""
    for seed in (0, 7, 9):
        directory = tmp_path / str(seed)
        model = from_graph(random_graph(seed))
        made = put(model, directory, target="host")
        program = compiled(directory, "net", main=MAIN.format(name="net", upper="NET"))
        sizes = run_program(["nm", "-S", program]).stdout
        (size,) = re.findall(r"\w+ (\w+) b only\n", sizes)
        assert int(size, 16) == made.memory["ram_bytes"]


# --------------------------------------------------------------------------------------- errors


def bidirectional():
    net = Net(0)
    x = net.input(2)
    return from_graph(net.graph(net.lstm(net.simple(g.Reverse, x), 3)["s"]))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *((n, "a letter first") for n in ("", "1a", "a b", "a-b", "a" * 40, "ü")),
        *((n, "have this name") for n in ("int", "class", "step", "all", "INT", "string")),
        *((n, "have this name") for n in ("Stdint", "features", "net_core", "net_weights")),
        *((n, "begin with lstmc") for n in ("lstmc_x", "LSTMC")),
    ],
)
def test_bad_names(tmp_path, name, why):
    with pytest.raises(lstmc.Error, match=f"can't be the name of a C module: .*{why}"):
        export(from_graph(lstm_graph(1, 2)), tmp_path / "d", name)
    assert not (tmp_path / "d").exists()


def test_bad_requests(tmp_path):
    causal, whole = from_graph(lstm_graph(1, 2)), bidirectional()
    with pytest.raises(lstmc.ShapeError, match="--time N"):
        export(whole, tmp_path)
    with pytest.raises(lstmc.ShapeError, match=r"goes step by step.*leave out .*--time"):
        export(causal, tmp_path, time=7)
    for time in (0, -1):
        with pytest.raises(lstmc.ShapeError, match="is none"):
            export(whole, tmp_path, time=time)
    for time in (2**24 + 1, 2**32, 2**64):
        with pytest.raises(lstmc.ShapeError, match="beyond any memory"):
            export(whole, tmp_path, time=time)
    with pytest.raises(lstmc.Error, match="m4f"):
        export(causal, tmp_path, target="z80")
    with pytest.raises(lstmc.Error, match="internal nor external"):
        export(causal, tmp_path, state="shared")
    assert not list(tmp_path.iterdir())


def test_a_sample_beyond_any_flash(tmp_path):
    """Refused before it is made; without a self-test such a sequence is the user's business."""
    with pytest.raises(lstmc.ShapeError, match="--golden off"):
        export(bidirectional(), tmp_path, time=1 << 24)
    assert not list(tmp_path.iterdir())
    made = export(bidirectional(), tmp_path, time=1 << 20, golden=False)
    assert made.memory["ram_bytes"] > 1 << 22


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers(tmp_path, value):
    """A file may hold them; C has no constant for them."""
    graph = lstm_graph(2, 3)
    graph.layers[0].weight_ih[0, 0] = value
    model = Model(format.dumps(graph))
    with pytest.raises(lstmc.FormatError, match="finite"):
        export(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_memory_of_every_preset():
    model = lstmc.load(DATA / "v1_lstm.lstmc")
    for name in presets.PRESETS:
        use = memory(model, name)
        assert use["ram_bytes"] > use["state_bytes"] > 0
        assert use["weights_bytes"] > 0 and use["multiply_adds"] > 0


# ------------------------------------------------------------------------------------------ CLI


def lstmc_command(*arguments):
    command = [sys.executable, "-P", "-m", "lstmc", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command(tmp_path):
    path = DATA / "v1_lstm.lstmc"
    done = lstmc_command("export", path, "-o", tmp_path / "a b", "--target", "m4f")
    assert done.returncode == 0 and "RAM" in done.stdout and "cortex-m4f" in done.stdout
    assert_runs(tmp_path / "a b", "v1_lstm")
    done = lstmc_command(
        "export", path, "-o", tmp_path / "b", "--name", "vad", "--state", "external", "--golden",
        "off", "--json",
    )  # fmt: skip
    facts = json.loads(done.stdout)
    assert facts["name"] == "vad" and facts["target"] == "host" and facts["golden"] is None
    assert "vad.h" in facts["files"] and facts["ram_bytes"] > 0
    assert "vad_memory *memory" in (tmp_path / "b/vad.h").read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["-o", "d", "--target", "m99"], 2, "there is no chip 'm99'; chips are m0, m3, m4f"),
        (["-o", "d", "--target", "scalar"], 2, "is for a chip, not for 'scalar': m0, m3, m4f"),
        (["-o", "d", "--name", "a b"], 1, "a letter first"),
        (["-o", "d", "--time", "3"], 1, "leave out the number of steps (--time)"),
        (["-o", "d", "--state", "extern"], 2, "internal, external or OUTPUT:STATE, not 'extern'"),
        ([], 2, "-o/--output"),
        (["-o", str(DATA / "v1_lstm.lstmc")], 2, "is a file: -o wants a directory"),
    ],
)
def test_bad_use(tmp_path, monkeypatch, arguments, status, said):
    monkeypatch.chdir(tmp_path)
    done = lstmc_command("export", DATA / "v1_lstm.lstmc", *arguments)
    assert done.returncode == status and done.stderr.count("\n") <= 2 and said in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "d").exists()


def test_a_directory_where_a_file_goes(tmp_path):
    (tmp_path / "net.c").mkdir()
    done = lstmc_command("export", DATA / "v1_lstm.lstmc", "-o", tmp_path, "--name", "net")
    assert done.returncode == 2
    assert done.stderr == f"lstmc: error: Is a directory: '{tmp_path / 'net.c'}'\n"
