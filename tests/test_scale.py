"""`lstmc run` on big arrays: cut, interrupted, killed, resumed; always the same bytes."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import helpers
import numpy as np
import pytest
from scaling import HERE, failing, gru, kill_until_done, leftovers, lstmc_run, sparse

import lstmc
from lstmc import cli, graph, terminal
from lstmc.model import from_graph
from lstmc.scale import blocks, work
from lstmc.scale.arrayfile import ArrayFile, open_npy


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys):
    return lstmc_run(capsys)


# ---------------------------------------------------------------------------------- arrays in files


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f4", ">f8", "u1"])
def test_cuts_of_a_file_are_cuts_of_the_array(order, dtype):
    rng = np.random.default_rng(0)
    a = np.asarray(rng.integers(0, 100, (4, 5, 3)), dtype=dtype, order=order)
    np.save("a.npy", a)
    np.save("b.npy", np.zeros_like(a))
    with Path("a.npy").open("rb", buffering=0) as f, Path("b.npy").open("r+b", buffering=0) as out:
        file, copy = open_npy(f), open_npy(out)
        assert file.shape == a.shape and file.dtype == a.dtype and file.fortran == (order == "F")
        for _ in range(50):
            ends = [sorted(rng.integers(0, n + 1, 2)) for n in a.shape]
            cut = tuple(slice(int(i), int(j)) for i, j in ends)
            assert file[cut].dtype == a.dtype and np.array_equal(file[cut], a[cut])
            copy[cut] = a[cut]
            assert np.array_equal(copy[cut], a[cut])
        copy[(slice(None),) * 3] = a
    assert Path("a.npy").read_bytes() == Path("b.npy").read_bytes()


def test_numbers_and_empty_arrays_in_files():
    for a in (np.float32(3), np.zeros((0, 4), "f4"), np.zeros((4, 0, 2), "f4")):
        np.save("a.npy", a)
        with Path("a.npy").open("rb", buffering=0) as f:
            assert np.array_equal(open_npy(f)[(slice(None),) * np.ndim(a)], a)


def test_the_digest_of_a_file_is_that_of_the_array():
    a = np.arange(12, dtype=np.float32).reshape(3, 4)
    a.view(np.uint32)[1, 2] = 0xFFC12345  # a NaN of another kind
    np.save("a.npy", a)
    with Path("a.npy").open("rb", buffering=0) as f:
        assert blocks._digest(open_npy(f)) == lstmc.digest(a)


def test_progress_counts_from_where_it_goes_on(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    clock = iter([0.0, 10.0])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(sys, "stderr", Terminal())
    terminal.Progress(100_000, "rows", 50_000).show(60_000)
    assert "60,000 of 100,000 rows, 60 %, 1,000 rows/s, 40 s left" in sys.stderr.getvalue()
    assert terminal._duration(3601) == "60 min" and terminal._duration(36000) == "10 h 00 min"


# ----------------------------------------------------------------------------- cutting and resuming


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("form", ["rows", "long"])
def test_any_cut_gives_the_same_bytes(run, monkeypatch, seed, form):
    """Random models; rows in blocks, and, where the model can, time in chunks; any axis order."""
    net = helpers.random_graph(seed)
    model = from_graph(net)
    model.save("m.lstmc")
    rng = np.random.default_rng(seed)
    x = helpers.random_inputs(net, seed, 7, 23)
    want = helpers.named(net, model.predict(x))
    np.savez("x.npz", **x)
    if form == "long":
        monkeypatch.setattr(blocks, "LONG_BYTES", 0)
        monkeypatch.setattr(blocks, "BLOCK_BYTES", 2000)
    run("m.lstmc", "--input", "x.npz", "--output", "y.npz", "--batch", rng.integers(1, 8))
    with np.load("y.npz") as y:
        helpers.assert_same(dict(y), want)
    assert leftovers() == ["m.lstmc", "x.npz", "y.npz"]


def test_chunks_of_time_are_used_where_they_can_be(monkeypatch):
    x = np.zeros((2, 1000, 3), np.float32)
    assert not blocks._Plan(gru(), [x], None, None).chunk
    monkeypatch.setattr(blocks, "LONG_BYTES", 1000)
    assert blocks._Plan(gru(), [x], None, None).chunk
    assert not blocks._Plan(gru(), [x], np.ones(2, int), None).chunk
    assert not blocks._Plan(gru(reverse=True), [x], None, None).chunk


@pytest.mark.parametrize("last", [False, True])
def test_one_sequence_without_a_batch_axis(run, monkeypatch, last):
    model = gru(last=last)
    model.save("m.lstmc")
    x = np.random.default_rng(0).standard_normal((301, 3), dtype=np.float32)
    np.save("y1.npy", model.predict(x[None])[0])
    for array in (x, np.asfortranarray(x), x.astype("f8")):
        np.save("x.npy", array)
        for long in (1 << 26, 0):
            monkeypatch.setattr(blocks, "LONG_BYTES", long)
            monkeypatch.setattr(blocks, "BLOCK_BYTES", 300)
            status, facts, _ = run("m.lstmc", "--input", "x.npy", "--output", "y.npy")
            assert status == 0 and facts["shapes"] == {"y": [2] if last else [301, 2]}
            assert Path("y.npy").read_bytes() == Path("y1.npy").read_bytes()


@pytest.mark.parametrize("form", ["rows", "time first", "npz"])
def test_killed_anywhere_and_resumed(form):
    model = gru(order="tbf" if form == "time first" else "btf")
    model.save("m.lstmc")
    x = np.random.default_rng(0).standard_normal((28, 40, 3), dtype=np.float32)
    np.save("x.npy", x)
    suffix = "npz" if form == "npz" else "npy"
    argv = ["m.lstmc", "--input", "x.npy", "--batch", 4]
    assert cli.main(["run", *map(str, argv), "--output", f"want.{suffix}"]) == 0
    killed = 0
    for seed in range(3):
        killed += kill_until_done(seed, *argv, "--output", f"y.{suffix}")
        assert Path(f"y.{suffix}").read_bytes() == Path(f"want.{suffix}").read_bytes()
        Path(f"y.{suffix}").unlink()
    assert killed > 5
    assert leftovers("m.lstmc", "x.npy") == [f"want.{suffix}"]
    if form != "npz":
        assert np.load("want.npy").tobytes() == model.predict(x).tobytes()


def test_a_long_sequence_killed_anywhere_and_resumed():
    model = gru()
    model.save("m.lstmc")
    np.save("x.npy", np.random.default_rng(0).standard_normal((3, 400, 3), dtype=np.float32))
    code = (HERE / "killing.py").read_text()
    code = code.replace("import lstmc\n", "import lstmc\nimport lstmc.scale.blocks as blocks\n"
                        "blocks.LONG_BYTES, blocks.BLOCK_BYTES = 0, 1500\n", 1)  # fmt: skip
    killed = 0
    for seed in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code, str(seed), "500", "run", "m.lstmc", "--input", "x.npy",
             "--output", "y.npy", "--batch", "2", "--resume"],
            capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        killed += int(done.stdout.split()[-1])
        assert np.load("y.npy").tobytes() == model.predict(np.load("x.npy")).tobytes()
        Path("y.npy").unlink()
    assert killed > 5


def test_kill_9_from_outside():
    """The program itself, at moments that it doesn't know of."""
    model = gru(units=64)
    model.save("m.lstmc")
    x = np.random.default_rng(0).standard_normal((1600, 50, 3), dtype=np.float32)
    np.save("x.npy", x)
    code = (
        "import sys; from lstmc import cli; from lstmc.scale import work; work.SYNC_SECONDS = 0;"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    argv = [sys.executable, "-c", code, "run", "m.lstmc", "--input", "x.npy", "--output", "y.npy",
            "--batch", "20", "--threads", "1", "--resume"]  # fmt: skip
    rng, killed = random.Random(0), 0
    journal = Path(".y.npy.lstmc-part/journal")
    for attempt in range(40):
        before = journal.read_bytes() if journal.exists() else b""
        with subprocess.Popen([*argv, "--json"], stdout=subprocess.PIPE, text=True) as p:
            deadline = time.monotonic() + 60
            while p.poll() is None and time.monotonic() < deadline and attempt < 5:
                if journal.exists() and journal.read_bytes() != before:  # it is at work
                    time.sleep(rng.uniform(0, 0.05))
                    p.send_signal(signal.SIGKILL)
                    break
                time.sleep(0.001)
            out, _ = p.communicate(timeout=60)
        if p.returncode == 0:
            break
        assert p.returncode == -signal.SIGKILL
        killed += 1
    assert killed >= 3 and "rows" in json.loads(out)["resumed"]
    assert np.load("y.npy").tobytes() == model.predict(x).tobytes()


# ----------------------------------------------------------------------------- what stops a run


@pytest.fixture
def ready():
    """m.lstmc, x.npy of 20 rows, want.npy; the arguments of a run."""
    model = gru()
    model.save("m.lstmc")
    x = np.random.default_rng(0).standard_normal((20, 9, 3), dtype=np.float32)
    np.save("x.npy", x)
    np.save("want.npy", model.predict(x))
    return ["m.lstmc", "--input", "x.npy", "--output", "y.npy", "--batch", 4]


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (OSError(28, "No space left on device"), 1, "No space left on device (12 of 20 rows"),
        (OSError(5, "Input/output error", "x.npy"), 1, "'x.npy'"),
        (KeyboardInterrupt(), 130, "lstmc: interrupted; 12 of 20 rows kept, --resume goes on"),
        (MemoryError(), 1, "out of memory: (12 of 20 rows"),
    ],
)
def test_what_passes_keeps_what_is_done(run, ready, error, status, words):
    Path("y.npy").write_text("old")
    with failing(error):
        got, _, err = run(*ready)
    assert got == status and words in err and err.count("\n") == 1
    assert Path("y.npy").read_text() == "old"
    with failing(error, after=0):  # before it gets further: the word is the same
        got, _, err = run(*ready, "--resume")
    assert got == status and words in err
    status, facts, _ = run(*ready, "--resume", "--batch", 3)  # no bit depends on the block
    assert status == 0 and facts["resumed"] == "12 of 20 rows"
    assert Path("y.npy").read_bytes() == Path("want.npy").read_bytes()
    assert leftovers("m.lstmc", "x.npy", "want.npy") == ["y.npy"]


def test_without_resume_it_starts_over(run, ready):
    with failing(KeyboardInterrupt()):
        run(*ready)
    folder = work.folder_of(Path("y.npy"))
    with (folder / "0.npy").open("r+b") as f:  # nobody is to use this
        f.seek(200)
        f.write(b"\xff" * 100)
    status, facts, _ = run(*ready)
    assert status == 0 and facts["resumed"] == ""
    assert Path("y.npy").read_bytes() == Path("want.npy").read_bytes()


def test_errors_that_come_again_leave_nothing(run, ready):
    x = np.load("x.npy").astype("f8")
    x[17] = 1e300
    np.save("x.npy", x)
    status, _, err = run(*ready)
    assert status == 1 and "float32" in err
    assert leftovers("m.lstmc", "x.npy", "want.npy") == []


def other_input():
    x = np.load("x.npy")
    np.save("x.npy", np.concatenate([x, x]))


def touched_input():
    os.utime("x.npy", ns=(1, 1))


def other_dtype():
    before = Path("x.npy").stat()
    np.save("x.npy", np.load("x.npy").view("i4"))
    os.utime("x.npy", ns=(before.st_atime_ns, before.st_mtime_ns))


def other_model():
    gru(units=6).save("m.lstmc")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_input, "shape of 'x' was [20, 9, 3], now it is [40, 9, 3]"),
        (touched_input, "input's mtime"),
        (other_dtype, "dtype of 'x' was <f4, now it is <i4"),
        (other_model, "model was"),
    ],
)
def test_resume_refuses_what_has_changed(run, ready, change, words):
    with failing(KeyboardInterrupt()):
        run(*ready)
    change()
    status, _, err = run(*ready, "--resume")
    assert status == 2 and words in err and "without --resume it starts over" in err
    assert work.folder_of(Path("y.npy")).exists() and not Path("y.npy").exists()


def test_resume_refuses_other_lengths(run, ready):
    np.save("n.npy", np.full(20, 9))
    with failing(KeyboardInterrupt()):
        run(*ready, "--lengths", "n.npy")
    assert "its lengths was True" in run(*ready, "--resume")[2]
    np.save("n.npy", np.full(20, 8))
    assert "its lengths's mtime" in run(*ready, "--lengths", "n.npy", "--resume")[2]


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"identity": {}}', "[" * 100000, "gone"])
def test_a_damaged_journal_is_no_journal(run, ready, damage):
    with failing(KeyboardInterrupt()):
        run(*ready)
    folder = work.folder_of(Path("y.npy"))
    if damage == "gone":
        (folder / "0.npy").unlink()
    else:
        (folder / "journal").write_text(damage)
    status, facts, _ = run(*ready, "--resume")
    assert status == 0 and facts["resumed"] == ""
    assert Path("y.npy").read_bytes() == Path("want.npy").read_bytes()


@pytest.mark.parametrize("how", ["shorter", "touched"])
def test_an_input_that_changes_meanwhile(run, ready, how):
    put, left = ArrayFile.__setitem__, 2

    def putting(self, cut, block):
        nonlocal left
        left -= 1
        if not left:
            if how == "shorter":
                os.truncate("x.npy", 1000)
            else:
                os.utime("x.npy", ns=(1, 1))
        put(self, cut, block)

    ArrayFile.__setitem__ = putting
    try:
        status, _, err = run(*ready)
    finally:
        ArrayFile.__setitem__ = put
    assert (status, err) == (
        1,
        "lstmc: error: 'x.npy' changed while it was read; nothing is kept\n",
    )
    assert leftovers("m.lstmc", "x.npy", "want.npy") == []


@pytest.mark.parametrize("progress", [{"row": "x"}, {"row": 21}, {"row": 4, "step": 1}])
def test_a_journal_that_can_not_be(run, ready, progress):
    with failing(KeyboardInterrupt()):
        run(*ready)
    path = work.folder_of(Path("y.npy")) / "journal"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"progress": progress}))
    status, facts, _ = run(*ready, "--resume")
    assert status == 0 and facts["resumed"] == ""
    assert Path("y.npy").read_bytes() == Path("want.npy").read_bytes()


def test_the_journal_goes_before_what_it_vouches_for(run, ready, monkeypatch):
    """Killed in between, it would vouch for data that come after."""
    with failing(KeyboardInterrupt()):
        run(*ready)
    gone, unlink = [], Path.unlink

    def unlinking(self, missing_ok=False):
        gone.append(self.name)
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlinking)
    assert run(*ready)[0] == 0
    assert gone[:2] == ["journal", "0.npy"]


def test_two_runs_at_once(run, ready):
    with failing(KeyboardInterrupt()):
        run(*ready)
    with work.working(Path("y.npy"), {}, False):
        for more in ([], ["--resume"]):
            status, _, err = run(*ready, *more)
            assert status == 2 and "another run is writing 'y.npy'" in err
    assert run(*ready)[0] == 0


def test_a_disk_too_small_is_told_at_once(run, ready):
    """By the room on the disk, and by a limit of the process."""
    disk = Path("disk")
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=False)
    if done.returncode:
        pytest.skip("may not mount")
    try:
        np.save("x.npy", np.zeros((3000, 9, 3), np.float32))
        status, _, err = run("m.lstmc", "--input", "x.npy", "--output", "disk/y.npy")
        assert status == 1 and "bytes are needed" in err and "'disk/y.npy'" in err
        assert not list(disk.iterdir())
        # It is full only later: fsync and journal are part of what may fail then.
        np.save("x.npy", np.zeros((600, 9, 3), np.float32))
        assert run("m.lstmc", "--input", "x.npy", "--output", "disk/y.npy")[0] == 0
        (disk / "y.npy").unlink()
        before = ArrayFile.__setitem__

        def filling(self, cut, block):
            if not (disk / "other").exists():
                with pytest.raises(OSError), (disk / "other").open("wb", buffering=0) as f:
                    for _ in range(64):
                        f.write(bytes(1 << 10))
            before(self, cut, block)

        run_it = ["m.lstmc", "--input", "x.npy", "--output", "disk/y.npy", "--batch", 10]
        old, work.SYNC_SECONDS = work.SYNC_SECONDS, 0
        ArrayFile.__setitem__ = filling
        try:
            status, _, err = run(*run_it)
        finally:
            ArrayFile.__setitem__ = before
            work.SYNC_SECONDS = old
        assert status == 1 and "No space left on device" in err and err.count("\n") == 1
        (disk / "other").unlink()
        assert run(*run_it, "--resume")[0] == 0
        assert not np.load("disk/y.npy").tobytes().strip(np.load("disk/y.npy")[0].tobytes())
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_limit_on_files(ready):
    import resource

    np.save("x.npy", np.zeros((3000, 9, 3), np.float32))
    done = subprocess.run(
        [sys.executable, "-m", "lstmc", "run", *map(str, ready)],
        capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000)),
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr.startswith("lstmc: error: File too large")
    assert leftovers("m.lstmc", "x.npy", "want.npy") == []


# ----------------------------------------------------------------------------------- memory

PEAK = """
import re, sys
from pathlib import Path
from lstmc import cli
status = cli.main(sys.argv[1:])
print(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1], file=sys.stderr)
sys.exit(status)
"""


def peak(*argv):
    """Megabytes of memory that a run needs at most."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, "run", *map(str, argv)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks /proc")
def test_memory_is_bounded():
    """Half a gigabyte as rows, and as one sequence, in less than a third of it."""
    w = np.full((1, 4096), 0.5, np.float32)
    dense = graph.Dense(name="dense", inputs=("x",), outputs=("y",), weight=w)
    values = [graph.Value("x", (graph.BATCH, 4096))], [graph.Value("y", (graph.BATCH, 1))]
    from_graph(graph.Graph(*values, [dense])).save("rows.lstmc")
    sparse("x.npy", (1 << 15, 4096))
    assert peak("rows.lstmc", "--input", "x.npy", "--output", "y.npy") < 160
    assert np.load("y.npy").shape == (1 << 15, 1)
    gru(1024, 1).save("long.lstmc")
    Path("x.npy").unlink()
    sparse("x.npy", (1 << 17, 1024))
    assert peak("long.lstmc", "--input", "x.npy", "--output", "y.npy") < 160
    assert np.load("y.npy").shape == (1 << 17, 2)
