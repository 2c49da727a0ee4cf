"""The rules of embedded C, as facts about objects, call graphs and text, of the core and of
exported firmware. docs/MISRA.md says them in words; its two tables are held to the truth here."""

import os
import re
import shutil

import call_graph
import pytest
from helpers import CORE, DATA, ROOT, compile_objects, random_graph, run_program
from lint_c import CORTEX_M4, CORTEX_M55, CPPCHECK, STRICT, TIDIED

import lstmc
from lstmc.export import export
from lstmc.export.items import code_only
from lstmc.model import from_graph

TEXTS = sorted((ROOT / "c_src").rglob("*.[ch]"))
MODELS = ("v1_stack", "v1_stateful", "v1_functions", "v1_directions", 0, 3, 5, 7)
DOC = (ROOT / "docs/MISRA.md").read_text()
CORTEX_M0 = ("arm-none-eabi-gcc", "-mcpu=cortex-m0", "-mthumb")
#: Of the compiler's own library: soft floats, divisions, switches.
RUNTIME = r"__(aeabi|gnu)_\w+|__\w+[sd][if]\d?"
#: Left out of -Weverything: C99 has declarations between statements, structs are padded by
#: different compilers differently, and a count's cast to float is meant.
NOT_EVERYTHING = ("-Wno-declaration-after-statement", "-Wno-padded", "-Wno-bad-function-cast",
                  "-Wno-unknown-warning-option", "-Wno-unsafe-buffer-usage")  # fmt: skip


def need(*tools):
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A function: the directory of a model's firmware."""
    made = {}

    def directory(model, state="internal"):
        if (model, state) not in made:
            loaded = (
                lstmc.load(DATA / f"{model}.lstmc")
                if isinstance(model, str)
                else from_graph(random_graph(model))
            )
            to = tmp_path_factory.mktemp("firmware")
            try:
                export(loaded, to, "net", "m4f", state=state)
            except lstmc.ShapeError:
                export(loaded, to, "net", "m4f", state=state, time=5)
            made[model, state] = to
        return made[model, state]

    return directory


def files(directory):
    return [directory / "net.c", directory / "net_weights.c"]


# ---------------------------------------------------------------------------- calls and the stack


def graph_of(directory, sources, texts):
    need("gcc")
    compile_objects(directory, sources, ["-std=c99", "-O0", "-fcallgraph-info"], ["gcc"])
    graph = call_graph.read(directory, texts)
    assert call_graph.cycle(graph) is None
    return graph


def test_core_has_no_recursion(tmp_path):
    """Every target's kernels, every layer, a host's threads."""
    graph = graph_of(tmp_path, CORE, TEXTS)
    names = {title.rsplit(":", 1)[-1] for title in graph}
    reached, todo = set(), ["lstmc_run"]
    while todo:
        for callee in graph.get(todo.pop(), ()):
            if callee not in reached:
                reached.add(callee)
                todo.append(callee)
    reached = {title.rsplit(":", 1)[-1] for title in reached}
    # Pointers are followed: layers, cells, parts of a step, kernels.
    assert {"dense_run", "lstm_advance", "lstm_kernel", "step_part", "matmul", "softmax"} <= reached
    assert len(names) > 400
    kernel = next(title for title in graph if title.endswith("scalar.c:matmul"))
    assert call_graph.cycle(graph | {kernel: graph[kernel] | {"lstmc_run"}})


@pytest.mark.parametrize("model", MODELS)
def test_firmware_has_no_recursion(exported, tmp_path, model):
    directory = exported(model)
    graph = graph_of(tmp_path, files(directory), sorted(directory.glob("*.[ch]")))
    assert "net_step" in graph


@pytest.mark.parametrize("compiler", [("gcc",), CORTEX_M4], ids=["host", "m4"])
def test_stack_frames_are_fixed(tmp_path, compiler):
    """No array whose length a variable says, no alloca; GCC calls those dynamic."""
    need(compiler[0])
    compile_objects(tmp_path, CORE, ["-std=c99", "-O2", "-fstack-usage"], compiler)
    usage = {}
    for path in tmp_path.glob("*.su"):
        for line in path.read_text().splitlines():
            name, size, kind = line.split("\t")
            assert kind in ("static", "dynamic,bounded"), line  # bounded: a frame that is aligned
            usage[path.stem, name.rsplit(":", 1)[-1]] = int(size)
    assert len(usage) > 200
    # Training on a PC with vectors of 8 copies what its products read.
    copying = {(f"train_{target}", "gemm_block") for target in ("avx2", "avx512")}
    assert all(usage.pop(name) < 40960 for name in copying & usage.keys())
    assert max(usage.values()) < 4096, max(usage, key=usage.get)


# ---------------------------------------------------------------------------------------- symbols


def sections(path):
    """Bytes of the sections that are written: constants with addresses in them are not."""
    found = {}
    for line in run_program([size_of(path), "-A", path]).stdout.splitlines():
        if re.match(r"\.t?(data|bss)(?!\.rel\.ro)", line) and int(line.split()[1]):
            name = re.sub(r"\.t?(data|bss).*", r"\1", line.split()[0])
            found[name] = found.get(name, 0) + int(line.split()[1])
    return found


def size_of(path):
    return "arm-none-eabi-size" if path.parent.name.startswith("arm") else "size"


def undefined(paths, nm):
    wanted, given = set(), set()
    for path in paths:
        for line in run_program([nm, path]).stdout.splitlines():
            kind, name = line.split()[-2:]
            (wanted if kind in "Uw" else given).add(name)
    return {n for n in wanted - given if not re.fullmatch(RUNTIME, n)}


@pytest.mark.parametrize("machine", [CORTEX_M4, CORTEX_M0], ids=["m4", "m0"])
def test_core_keeps_nothing_on_arm(tmp_path, machine):
    need(machine[0])
    objects = compile_objects(tmp_path / "arm", CORE, ["-std=c99", "-Os"], machine)
    for path in objects:
        assert not sections(path), path.name
    assert undefined(objects, "arm-none-eabi-nm") <= {"memcpy", "memset", "memmove", "memcmp"}


@pytest.mark.parametrize("machine", [("gcc",), CORTEX_M4, CORTEX_M0], ids=["host", "m4", "m0"])
@pytest.mark.parametrize("model", MODELS)
def test_firmware_keeps_its_arena_alone(exported, tmp_path, machine, model):
    need(machine[0])
    arm = machine[0].startswith("arm")
    word = "4" if arm else "8"
    for state in ("internal", "external"):
        to = tmp_path / f"{'arm' if arm else 'host'}-{state}"
        directory = exported(model, state)
        flags = ["-std=c99", "-Os"]
        objects = compile_objects(to, files(directory), flags, machine)
        written = [sections(path) for path in objects if sections(path)]
        said = re.findall(r"ARENA_BYTES (\d+)", (directory / "net.h").read_text())
        arena = int(said[0 if word == "8" else 1])
        assert written == ([{"bss": arena}] if state == "internal" else []), (state, written)
        missing = undefined(objects, "arm-none-eabi-nm" if arm else "nm")
        assert missing - {"_GLOBAL_OFFSET_TABLE_"} <= {"memcpy", "memset", "memmove"}, missing


# --------------------------------------------------------------------------------------- warnings


@pytest.mark.parametrize(
    "compiler",
    [
        ("gcc", "-std=c99", *STRICT, "-Wunused-macros", "-O1"),
        ("clang", "-std=c99", "-Weverything", *NOT_EVERYTHING, "-Werror"),
        (*CORTEX_M4, "-std=c99", *STRICT, "-Os"),
        (*CORTEX_M55, "-std=c99", *STRICT, "-Os"),
        (*CORTEX_M0, "-std=c99", *STRICT, "-Os"),
        ("g++", "-std=c++17", "-x", "c++", "-Wall", "-Wextra", "-Werror",
         "-Wno-missing-field-initializers"),
        ("clang++", "-std=c++17", "-x", "c++", "-Wall", "-Wextra", "-Werror"),
    ],
    ids=["gcc", "clang", "m4", "m55", "m0", "g++", "clang++"],
)  # fmt: skip
def test_firmware_compiles_without_a_warning(exported, tmp_path, compiler):
    """NAME.c is C++17 too, but for -Wpedantic: it names the members that it initialises."""
    need(compiler[0])
    for model in MODELS:
        for source in files(exported(model)):
            run_program([*compiler, "-c", "-o", tmp_path / "object.o", source])


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("state", ["internal", "external"])
def test_firmware_header_is_cpp(exported, tmp_path, compiler, state):
    need(compiler)
    (tmp_path / "main.cpp").write_text(
        '#include "net.h"\nint main() { return NET_ARENA_BYTES % 4; }\n'
    )
    for model in MODELS:
        strict = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wold-style-cast"]
        run_program([compiler, "-std=c++17", *strict, "-Werror", "-fsyntax-only",
                     "-I", exported(model, state), tmp_path / "main.cpp"])  # fmt: skip


# ------------------------------------------------------------------------------------------- text


def code(path):
    return code_only(re.sub(r"\\\n", "\n", path.read_text()))


def test_no_jumps_and_no_heap(exported):
    for path in [*TEXTS, *exported("v1_stack").glob("*.[ch]")]:
        found = re.findall(r"\b(goto|\w*jmp|alloca|\w*alloc|free|abort|exit)\b", code(path))
        assert not found, (path.name, found)


COUNTING = re.compile(
    r"for \([^;]*; (?:[^;]*[^\w.])?([\w.]+)(?: \+ [^;<>]*)? (?:<|<=|>|>=) [^;]*; "
    r"(?:\1(?:\+\+|--| [+-]= .*)|\+\+\1|--\1|\1 = [^;]*\(\1 - 1\))(?:, .*)?\)$"
)


def loops(text):
    """The heads of loops that don't count up or down to a bound."""
    for found in re.finditer(r"\b(?:for|while) \(", text):
        end, depth = found.end(), 1
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        head = re.sub(r"\s+", " ", text[found.start() : end])
        if not COUNTING.match(head):
            yield head


def documented_loops():
    table = DOC[DOC.index("| File | Loop |") :]
    return sorted(re.findall(r"^\| (\S+\.[ch]) \| `(.*?)` \| \w", table, re.M))


def test_every_loop_ends():
    """Loops count to a bound, or docs/MISRA.md says why they end."""
    found = [
        (path.relative_to(ROOT / "c_src").as_posix(), head)
        for path in TEXTS
        for head in loops(code(path))
    ]
    assert sorted(set(found)) == documented_loops()


def test_loops_that_count_are_told_from_others():
    counting = ("for (uint32_t i = 0; i < n; i++)", "for (; lane + 2 <= end; lane += 2, p++)",
                "for (int i = n - 2; i >= 0; i--)", "for (i = 0; timed && i < n; i++)")  # fmt: skip
    assert not [x for text in counting for x in loops(text)]
    for text in ("for (;;)", "while (more)", "for (i = 0; i < n; j++)", "for (i = 0; i < n;)"):
        assert list(loops(text)) == [text]


# ------------------------------------------------------------------------------------------ MISRA

MANDATORY = {"9.1", "12.5", "13.6", "17.3", "17.4", "17.6", "19.1", "21.13", "21.17", "21.18",
             "21.19", "21.20", "22.2", "22.4", "22.5", "22.6"}  # fmt: skip


def misra(*sources):
    """Violations by rule, as cppcheck's addon sees them."""
    need("cppcheck")
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}  # the addon's own
    command = [c for c in CPPCHECK if not c.startswith("--error")]
    said = run_program([*command, "--addon=misra", "--enable=style", *sources], cwd=ROOT, env=env)
    found = {}
    for line in {x for x in said.stderr.splitlines() if "misra violation" in x}:
        rule = re.search(r"\[misra-c2012-([\d.]+)\]", line)[1]
        found[rule] = found.get(rule, 0) + 1
    assert len(found) > 10 and "preprocessorErrorDirective" not in said.stderr, said.stderr[-2000:]
    return found


def documented_rules(column):
    rows = re.findall(r"^\| ([\d.]+) \| \w+ \| (\d*) \| (\d*) \|", DOC, re.M)
    return {rule: int(counts[column]) for rule, *counts in rows if counts[column]}


def check_rules(found, said):
    assert not MANDATORY & found.keys()
    assert found.keys() == said.keys(), (found, said)
    far = {r: n for r, n in found.items() if abs(n - said[r]) > max(6, said[r] // 4)}
    assert not far, f"docs/MISRA.md counts otherwise: {far}"


def test_misra_in_the_core():
    check_rules(misra(*TIDIED), documented_rules(0))


def test_misra_in_firmware(exported):
    check_rules(misra(*files(exported("v1_stack"))), documented_rules(1))
