"""Threads change no bit, delay nobody, and go when they are not needed.

`grain` makes the core cut nets of any size into parts, as many as it may; else only large ones are.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from helpers import (
    DATA,
    INFERENCE,
    ROOT,
    WARNINGS,
    Net,
    assert_same,
    bits,
    compile_c,
    compile_objects,
    lstm_graph,
    named,
    pointwise_graph,
    predict,
    random_graph,
    random_inputs,
    run_program,
    sequence_graph,
    stateful_graph,
)
from recurrent_nets import cases
from test_contract import TABLE, check_graph
from test_format import V1_FILES

import lstmc
from lstmc import _core
from lstmc import graph as g
from lstmc import threads as how_many
from lstmc.model import from_graph

MOST = _core.MAX_THREADS
LINUX = sys.platform.startswith("linux")


@pytest.fixture(autouse=True)
def restored():
    before = lstmc.get_num_threads()
    yield
    lstmc.set_num_threads(before)
    _core.set_grain(0)


@contextlib.contextmanager
def cut(threads, grain=1):
    """Sessions made in here have so many threads, and parts as small as can be."""
    before = lstmc.get_num_threads()
    lstmc.set_num_threads(threads)
    _core.set_grain(grain)
    try:
        yield
    finally:
        _core.set_grain(0)
        lstmc.set_num_threads(before)


# -------------------------------------------------------------------------------------- the bits


@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("case", TABLE)
def test_the_contract_holds_with_threads(case, threads):
    """The same digests over targets, panels, batches, cuts in time, lengths: all in small parts."""
    graph, batch, time = TABLE[case]
    with cut(1):
        model = from_graph(graph)
        inputs = random_inputs(graph, 1, batch, time)
        want = predict(model, inputs)
    with cut(threads):
        assert_same(predict(model, inputs), want, f"{threads} threads")
        if threads == 3:
            check_graph(graph, 1, batch, time)


@pytest.mark.parametrize("batch", [8, 9, 13, 27])
def test_rows_in_parts(batch):
    """Enough rows for parts of rows, with states that other rows keep meanwhile."""
    for seed in range(40):
        graph = random_graph(seed, sequential=seed % 4 != 0)
        timed = any(v.spec.time for v in graph.inputs + graph.outputs)
        inputs = random_inputs(graph, seed, batch, 7 if timed else 1)
        model = from_graph(graph)
        lengths = np.random.default_rng(seed).integers(0, 8, batch)
        ask = [None, lengths] if all(v.spec.time for v in graph.inputs) else [None]
        for limit in ask:
            with cut(1):
                want = predict(model, inputs, limit)
            for threads in (2, 3, 4):
                with cut(threads):
                    assert_same(predict(model, inputs, limit), want, (seed, threads))


@hypothesis.settings(max_examples=150, deadline=None, derandomize=True, database=None)
@hypothesis.given(case=cases())
def test_every_kind_of_recurrent_layer(case):
    model = from_graph(case.graph)
    with cut(1):
        want = named(case.graph, model.predict(case.inputs, case.lengths))
    for threads in (2, 4):
        with cut(threads):
            got = named(case.graph, model.predict(case.inputs, case.lengths))
            assert_same(got, want, f"{threads} threads")


def test_large_layers_in_parts_of_the_usual_size():
    """What is cut without being asked to: a step's units, a call's rows, a product's columns."""
    net = Net(3)
    x = net.input(200)
    s = net.lstm(x, 300, outputs="s")["s"]
    deep = net.dense(net.dense(s, 900), 130, activation=g.Fn("gelu"))
    graph = net.graph(deep, s)
    model = from_graph(graph)
    for batch in (1, 2, 5, 16):
        inputs = random_inputs(graph, 1, batch, 9)
        lstmc.set_num_threads(1)
        want = predict(model, inputs)
        for threads in (2, 3, 4, MOST):
            lstmc.set_num_threads(threads)
            assert_same(predict(model, inputs), want, (batch, threads))


def test_a_state_moves_between_streams_of_other_threads():
    graph = lstm_graph(5, 40, outputs="sc")
    model = from_graph(graph)
    rows = 12
    x = random_inputs(graph, 2, rows, 12)["x0"]
    axis = graph.inputs[0].axes.index(g.TIME)
    pieces = np.array_split(x, 6, axis)
    with cut(1):
        alone = model.stream(rows)
        want = [alone.run(p) for p in pieces]
    state = None
    for i, piece in enumerate(pieces):
        with cut(1 + i % 4):
            s = model.stream(rows)
            if state is not None:
                s.state = state
            got = s.run(piece)
            state = s.state
        assert_same(named(graph, got), named(graph, want[i]), f"piece {i}")
    for layer, states in alone.state.items():
        assert_same(state[layer], states, "the last state")


def test_streams_follow_a_lower_number_and_keep_their_own():
    graph = lstm_graph(5, 40)
    model = from_graph(graph)
    x = random_inputs(graph, 2, 9, 1)["x0"].reshape(9, -1)
    with cut(4):
        s, other = model.stream(9), model.stream(9)
        assert s._session.threads == 4
        for i in range(20):
            lstmc.set_num_threads(1 + i % 4)
            first = named(graph, s.step(x))
            lstmc.set_num_threads(4)
            assert_same(first, named(graph, other.step(x)), "step")


# -------------------------------------------------------------------------------------- the pool


def large():
    """A model whose steps go parallel by themselves, an input, and what it must give."""
    graph = lstm_graph(64, 256)
    model = from_graph(graph)
    x = random_inputs(graph, 4, 1, 20)["x0"]
    lstmc.set_num_threads(1)
    return model, x, digests(model, x)


def digests(model, x):
    y = named(model.graph, model.predict(x))
    return {name: lstmc.digest(a) for name, a in y.items()}


def other_threads():
    """Threads of this process besides those that Python knows."""
    return len(list(Path("/proc/self/task").iterdir()))


def test_two_python_threads_at_once():
    """The second finds the pool taken and computes by itself."""
    model, x, want = large()
    lstmc.set_num_threads(2)
    wrong = []

    def compute():
        for _ in range(40):
            if digests(model, x) != want:
                wrong.append(1)

    many = [threading.Thread(target=compute) for _ in range(3)]
    for t in many:
        t.start()
    for t in many:
        t.join(60)
        assert not t.is_alive()
    assert not wrong


def test_the_number_changes_while_others_compute():
    model, x, want = large()
    lstmc.set_num_threads(2)
    wrong, stop = [], threading.Event()

    def compute():
        while not stop.is_set():
            if digests(model, x) != want:
                wrong.append(1)

    many = [threading.Thread(target=compute) for _ in range(2)]
    for t in many:
        t.start()
    for i in range(300):
        lstmc.set_num_threads(1 + i * 7 % 5)
        time.sleep(0.002)
    stop.set()
    for t in many:
        t.join(60)
        assert not t.is_alive()
    assert not wrong


@pytest.mark.skipif(not LINUX, reason="looks into /proc")
def test_workers_come_when_needed_and_go_when_not():
    model, x, want = large()
    time.sleep(0.05)
    before = other_threads()
    lstmc.set_num_threads(4)
    assert other_threads() == before
    small = from_graph(lstm_graph(4, 8))
    small.predict(random_inputs(small.graph, 1, 1, 50)["x0"])
    assert other_threads() == before, "small work stays on one thread"
    assert digests(model, x) == want
    assert before < other_threads() <= before + 3
    lstmc.set_num_threads(1)
    for _ in range(100):
        if other_threads() == before:
            break
        time.sleep(0.02)
    assert other_threads() == before
    lstmc.set_num_threads(2)
    assert digests(model, x) == want
    assert other_threads() == before + 1


def test_idle_workers_take_no_time():
    model, x, want = large()
    lstmc.set_num_threads(4)
    for _ in range(5):
        assert digests(model, x) == want
    time.sleep(0.02)
    start = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - start < 0.02


FORK = """
import os, sys, threading, time
import numpy as np
import lstmc
from test_threads import digests, large
model, x, want = large()
lstmc.set_num_threads(3)
assert digests(model, x) == want
stop = threading.Event()
def compute():
    while not stop.is_set():
        assert digests(model, x) == want
busy = [threading.Thread(target=compute) for _ in range(2)] if sys.argv[1] == "busy" else []
for t in busy:
    t.start()
children = []
for i in range(20):
    pid = os.fork()
    if pid == 0:
        good = all(digests(model, x) == want for _ in range(3))
        alone = len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 3
        os._exit(0 if good and alone == 3 else 1)
    children.append(pid)
    time.sleep(0.003)
stop.set()
for t in busy:
    t.join()
assert digests(model, x) == want
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("how", ["busy", "idle"])
def test_a_child_has_workers_of_its_own(how):
    """Even if it was born while another thread was in the pool."""
    assert run_python(FORK, how) == "done\n"


EXIT = """
import sys, threading, time
import lstmc
from test_threads import digests, large
model, x, want = large()
lstmc.set_num_threads(4)
def compute():
    while True:
        digests(model, x)
for _ in range(2):
    threading.Thread(target=compute, daemon=True).start()
time.sleep(0.1)
print("done")
"""


def test_the_interpreter_ends_while_threads_compute():
    assert run_python(EXIT) == "done\n"


INTERRUPT = """
import _thread, threading
import numpy as np
import lstmc
from helpers import lstm_graph
from lstmc.model import from_graph
model = from_graph(lstm_graph(64, 256))
x = np.zeros(model.graph.inputs[0].shape(64, 3000), np.float32)
lstmc.set_num_threads(2)
threading.Timer(0.3, _thread.interrupt_main).start()
try:
    for _ in range(5):
        model.predict(x)
except KeyboardInterrupt:
    print("interrupted")
assert len(model.predict(x[:, :1])) == 3
"""


def test_ctrl_c_ends_a_long_call():
    assert run_python(INTERRUPT) == "interrupted\n"


ALIVE = """
import lstmc
from test_threads import digests, large
model, x, want = large()
lstmc.set_num_threads(4)
for _ in range(50):
    assert digests(model, x) == want
print("done")
"""


def test_it_goes_on_where_all_cpus_are_taken():
    """A worker that has no CPU must not be waited for for long, let alone for ever."""
    loop = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(loop) for _ in range(2)]
    try:
        assert run_python(ALIVE) == "done\n"
    finally:
        for other in others:
            other.kill()
            other.wait()


def run_python(program, *args, **env):
    result = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, *args],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), **env},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


# -------------------------------------------------------------------------------------- in C

POOL = ROOT / "lstmc/pool.c"
PROGRAM = ROOT / "tests/c/threads_main.c"
MODELS = [DATA / name for name in sorted(V1_FILES)]


def threads_main(directory, *flags):
    """tests/c/threads_main.c and all it tests."""
    flags = ["-std=c99", "-DLSTMC_NO_AVX512", *flags]
    parts = [*compile_objects(directory, INFERENCE, flags), POOL, PROGRAM]
    return compile_c(directory / "threads_main", parts, [*flags, "-pthread"])


def wide_graph():
    """Sums in several blocks of columns, products of many columns and of many rows."""
    net = Net(5)
    s = net.lstm(net.input(70), 130, outputs="s")["s"]
    tall = net.dense(net.dense(s, 200), 20, activation=g.TANH)
    return net.graph(tall, net.dense(net.simple(g.LastStep, s), 90))


def new_models(directory):
    graphs = pointwise_graph(), sequence_graph(), stateful_graph(), wide_graph()
    for i, graph in enumerate(graphs):
        path = directory / f"new{i}.lstmc"
        from_graph(graph).save(path)
        yield path


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_pool_compiles_without_a_warning(compiler):
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    run_program([compiler, *WARNINGS, "-O2", "-c", "-o", os.devnull, POOL])
    run_program([compiler, *WARNINGS, "-I", ROOT / "c_src", "-fsyntax-only", PROGRAM])


def test_threads_of_any_kind_in_c(tmp_path):
    """In order, backwards, a thread for each part, the pool: all give what one thread gives."""
    program = threads_main(tmp_path, "-O2")
    out = run_program([program, *MODELS, *new_models(tmp_path)]).stdout
    assert re.search(r"[1-9]\d{3,} checks, 0 failures", out)


def test_no_race(tmp_path):
    """The same under ThreadSanitizer, which sees two threads at one place even if all went well."""
    flags = ["-O1", "-g", "-fsanitize=thread"]
    probe = tmp_path / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    try:
        run_program([compile_c(tmp_path / "probe", [probe], flags)])
    except AssertionError:
        pytest.skip("no compiler with a working thread sanitizer")
    program = threads_main(tmp_path, *flags)
    out = run_program([program, *MODELS, *new_models(tmp_path)])
    assert re.search(r"[1-9]\d{3,} checks, 0 failures", out.stdout)
    assert "WARNING" not in out.stdout + out.stderr


# ------------------------------------------------------------------------------------ the number


def test_numbers():
    for n in (1, 2, MOST, np.int64(3), True):
        lstmc.set_num_threads(n)
        assert lstmc.get_num_threads() == n
    for n in (None, 0):
        lstmc.set_num_threads(n)
        assert 1 <= lstmc.get_num_threads() <= MOST
    lstmc.set_num_threads(3)
    for bad in (-1, MOST + 1, 2**70, 1.5, "2", [2]):
        with pytest.raises(lstmc.RangeError, match="threads, not"):
            lstmc.set_num_threads(bad)
        assert lstmc.get_num_threads() == 3


def test_the_environment_says_what_to_begin_with():
    program = "import lstmc\nprint(lstmc.get_num_threads())"
    for text in ("1", "7", " 2 "):
        assert run_python(program, LSTMC_NUM_THREADS=text) == f"{int(text)}\n"
    assert 1 <= int(run_python(program, LSTMC_NUM_THREADS="")) <= MOST


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "99999999999999999999", "²", "33"])
def test_a_bad_environment_is_an_error_where_it_is_first_needed(text):
    program = """
import lstmc
from lstmc.errors import Error
try:
    lstmc.get_num_threads()
except Error as e:
    print(e)
lstmc.set_num_threads(2)
print(lstmc.get_num_threads())
"""
    out = run_python(program, LSTMC_NUM_THREADS=text, PYTHONIOENCODING="utf-8")
    assert out == f"LSTMC_NUM_THREADS is '{text}', expected a number from 1 to {MOST}\n2\n"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_the_default_is_what_the_system_allows():
    one = min(os.sched_getaffinity(0))
    program = f"import os\nos.sched_setaffinity(0, [{one}])\nimport lstmc\n"
    assert run_python(program + "print(lstmc.get_num_threads())") == "1\n"


def test_quotas_of_cgroups(tmp_path):
    root = tmp_path / "cgroup"

    def put(path, text):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def quota(own):
        (tmp_path / "own").write_text(own)
        return how_many._quota(str(root), str(tmp_path / "own"))

    assert quota("0::/a/b\n") == MOST  # nothing is mounted
    put("a/b/cpu.max", "max 100000\n")
    assert quota("0::/a/b\n") == MOST
    put("a/cpu.max", "250000 100000\n")
    assert quota("0::/a/b\n") == 3  # of a group further out, rounded up
    put("a/b/cpu.max", "5000 100000\n")
    assert quota("0::/a/b\n") == 1
    put("cpu.max", "200000 100000\n")
    assert quota("0::/gone/away\n") == 2  # the path of another namespace
    assert quota("0::/../../x\n") == 2
    put("a/b/cpu.max", "junk\n")
    assert quota("0::/a/b\n") == 2
    put("cpu/c/cpu.cfs_quota_us", "150000\n")
    put("cpu/c/cpu.cfs_period_us", "100000\n")
    assert quota("5:cpuset:/\n4:cpu,cpuacct:/c\n") == 2
    put("cpu/c/cpu.cfs_quota_us", "-1\n")
    assert quota("4:cpu,cpuacct:/c\n") == MOST
    assert quota("nonsense\n\n") == 2
    assert how_many._quota(str(root), str(tmp_path / "none")) == MOST
    assert 1 <= how_many._quota() <= MOST


def test_small_work_is_left_alone():
    """One thread's bits come from one thread's code: sessions of small nets lend nothing."""
    model = from_graph(lstm_graph(3, 8))
    x = random_inputs(model.graph, 1, 1, 5)["x0"]
    lstmc.set_num_threads(1)
    want = bits(next(iter(named(model.graph, model.predict(x)).values())))
    lstmc.set_num_threads(MOST)
    got = bits(next(iter(named(model.graph, model.predict(x)).values())))
    np.testing.assert_array_equal(got, want)
