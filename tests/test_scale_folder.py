"""`lstmc run` on a folder: every file as by itself, whatever happens to the others."""

from __future__ import annotations

import shutil
from pathlib import Path

import helpers
import numpy as np
import pytest
from scaling import failing, gru, kill_until_done, lstmc_run

import lstmc
from lstmc import graph
from lstmc.model import from_graph
from lstmc.scale import folder, ragged
from lstmc.scale.ragged import Ragged, predict_rows

RUN = ["m.lstmc", "--input", "in", "--output", "out"]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys):
    return lstmc_run(capsys)


@pytest.fixture
def want():
    """m.lstmc, a folder "in"; the bytes of every output, each predicted by itself."""
    model = gru()
    model.save("m.lstmc")
    Path("in").mkdir()
    rng = np.random.default_rng(0)
    found = {}
    for i, shape in enumerate([*((n, 3) for n in rng.integers(1, 60, 40)), (4, 7, 3), (1, 900, 3)]):
        x = rng.standard_normal(shape, dtype=np.float32)
        x = [x, x.astype("f8"), np.asfortranarray(x)][i % 3]
        np.save(f"in/{i}.npy", x)
        found[f"{i}.npy"] = model.predict(x) if x.ndim == 3 else model.predict(x[None])[0]
    np.savez("in/z.npz", x=np.ones((2, 3, 3), np.float32))
    found["z.npz"] = model.predict(np.ones((2, 3, 3), np.float32))
    Path("in/notes.txt").write_text("not for us")
    Path("in/.hidden.npy").write_text("nor this")
    return found


def agree(want, where="out"):
    assert sorted(p.name for p in Path(where).iterdir() if p.name[0] != ".") == sorted(want)
    for name, y in want.items():
        got = np.load(Path(where) / name)
        got = got if isinstance(got, np.ndarray) else got["y"]
        assert got.shape == y.shape and got.tobytes() == y.tobytes(), name


def test_every_file_as_by_itself(run, want):
    status, facts, _ = run(*RUN)
    assert status == 0 and (facts["files"], facts["done"], facts["skipped"]) == (43, 43, 0)
    agree(want)
    for name in ("0.npy", "z.npz"):  # a group, or one by one: not even the header differs
        run("m.lstmc", "--input", Path("in", name), "--output", name)
        assert Path(name).read_bytes() == Path("out", name).read_bytes()


def test_resume_does_what_is_new(run, want, monkeypatch):
    assert run(*RUN)[1]["done"] == 43
    assert run(*RUN, "--resume")[1] | {"seconds": 0} == {
        "output": "out", "files": 43, "done": 0, "skipped": 43, "failed": {}, "seconds": 0,
        "target": lstmc.get_target(),
    }  # fmt: skip
    np.save("in/0.npy", np.load("in/1.npy"))  # has changed
    want["0.npy"] = want["1.npy"]
    Path("out/2.npy").unlink()  # is gone
    Path("out/3.npy").write_text("someone else's")
    np.save("in/new.npy", np.load("in/4.npy"))
    want["new.npy"] = want["4.npy"]
    assert run(*RUN, "--resume")[1]["done"] == 4
    agree(want)
    assert run(*RUN)[1]["done"] == 44


def test_resume_refuses_another_model(run, want):
    run(*RUN)
    gru(units=4).save("m.lstmc")
    status, _, err = run(*RUN, "--resume")
    assert status == 2 and "another model" in err
    assert run(*RUN)[0] == 0


@pytest.mark.parametrize("damage", [b"", b"{", b"[]\n", b'{"model": 3}\n', b"\0" * 99, b"[" * 9999])
def test_a_damaged_journal(run, want, damage):
    run(*RUN)
    journal = Path("out/.lstmc-run/journal")
    whole = journal.read_bytes()
    journal.write_bytes(whole + damage)  # torn at the end: what is before it holds
    assert run(*RUN, "--resume")[1]["skipped"] == 43
    journal.write_bytes(damage)
    status, facts, _ = run(*RUN, "--resume")
    assert status == 2 if damage.startswith(b'{"m') else facts["done"] == 43


def test_killed_anywhere_and_resumed(want):
    killed = 0
    for seed in range(2):
        killed += kill_until_done(seed, *RUN)
        agree(want)
        shutil.rmtree("out")
    assert killed > 5


def test_damaged_files_stop_no_other(run, want):
    good = Path("in/0.npy").read_bytes()
    bad = {
        "empty.npy": b"",
        "cut.npy": good[:-1],
        "foreign.npy": b"hello" * 99,
        "wrong.npz": b"PK\x03\x04" + bytes(99),
    }
    for name, data in bad.items():
        Path("in", name).write_bytes(data)
    np.save("in/nine.npy", np.zeros((5, 9), np.float32))
    np.save("in/big.npy", np.full((5, 3), 1e300))
    np.save("in/none.npy", np.zeros((0, 3), np.float32))
    Path("in/gone.npy").symlink_to("nowhere.npy")
    want["none.npy"] = np.zeros((0, 2), np.float32)
    status, facts, err = run(*RUN)
    assert status == 1
    assert sorted(facts["failed"]) == sorted([*bad, "nine.npy", "big.npy"])
    assert "(5, 9)" in facts["failed"]["nine.npy"] and "float32" in facts["failed"]["big.npy"]
    lines = err.splitlines()
    assert lines[-1] == "lstmc: error: 6 of 50 files failed" and len(lines) == 7
    assert all(x.startswith("lstmc: ") for x in lines)
    agree(want)
    Path("in/cut.npy").write_bytes(good)
    want["cut.npy"] = want["0.npy"]
    status, facts, _ = run(*RUN, "--resume")
    assert status == 1 and facts["done"] == 1 and len(facts["failed"]) == 5
    agree(want)


def test_one_bad_row_of_a_group(run):
    """An index beyond the table: only the file that holds it fails."""
    w = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    layer = graph.Embedding(name="e", inputs=("x",), outputs=("y",), weight=w)
    values = [graph.Value("x", ("batch", "time"))], [graph.Value("y", ("batch", "time", 3))]
    model = from_graph(graph.Graph(*values, [layer]))
    model.save("m.lstmc")
    Path("in").mkdir()
    for i in range(9):
        np.save(f"in/{i}.npy", np.arange(i + 1) % 5 + (i == 4))
    status, facts, _ = run(*RUN)
    assert status == 1 and list(facts["failed"]) == ["4.npy"] and facts["done"] == 8
    assert np.array_equal(np.load("out/8.npy"), w.T[np.arange(9) % 5])


def test_a_full_disk_stops_it_all(run, want, monkeypatch):
    write, left = folder._write, 5

    def full(*args):
        nonlocal left
        left -= 1
        if not left:
            raise OSError(28, "No space left on device")
        write(*args)

    with failing(OSError(28, "No space left on device"), after=0):  # in a file by itself
        status, _, err = run(*RUN)
    assert status == 1 and err.count("\n") == 1
    assert "No space left on device (0 of 43 files done, --resume goes on)" in err
    monkeypatch.setattr(folder, "GROUP_FILES", 3)
    monkeypatch.setattr(folder, "_write", full)
    status, _, err = run(*RUN)
    assert status == 1 and "No space left on device (3 of 43 files done, --resume goes on)" in err
    monkeypatch.setattr(folder, "_write", write)
    assert run(*RUN, "--resume")[1]["skipped"] == 3
    agree(want)


def test_interrupted(run, want, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "predict_rows", interrupt)
    status, _, err = run(*RUN)
    assert (status, err) == (130, "lstmc: interrupted; 3 of 43 files done, --resume goes on\n")


def test_bad_use(run, want):
    Path("empty").mkdir()
    assert "holds no .npy" in run("m.lstmc", "--input", "empty", "--output", "out")[2]
    assert run("m.lstmc", "--input", "in", "--output", "in")[0] == 2
    assert run("m.lstmc", "--input", "in", "--output", "no/such")[0] == 2
    assert run("m.lstmc", "--input", "in", "--output", "m.lstmc")[0] == 2
    assert run(*RUN, "--lengths", "in/0.npy")[0] == 2
    with folder.locked(Path("out/.lstmc-run"), Path("out")):
        status, _, err = run(*RUN)
        assert status == 2 and "another run is writing 'out'" in err


def test_several_outputs_become_npz(run):
    seed = next(s for s in range(99) if len((n := helpers.random_graph(s)).outputs) > 1
                and len(n.inputs) == 1)  # fmt: skip
    net = helpers.random_graph(seed)
    model = from_graph(net)
    model.save("m.lstmc")
    Path("in").mkdir()
    x = helpers.random_inputs(net, seed, 2, 6)
    (name,) = x
    np.save("in/a.npy", x[name])
    assert run(*RUN)[0] == 0
    with np.load("out/a.npz") as y:
        helpers.assert_same(dict(y), model.predict(x))
    np.savez("in/a.npz", **x)
    assert "of one name" in run(*RUN)[2]


# ------------------------------------------------------------------------- rows of many lengths


@pytest.mark.parametrize("seed", range(60))
def test_rows_together_give_the_bits_they_give_alone(seed):
    """Random models, lengths 0 to 11; several clocks, fixed steps, values without time."""
    net = helpers.random_graph(seed, sequential=bool(seed % 2))
    model = from_graph(net)
    rng = np.random.default_rng(seed)
    steps = {c: rng.integers(0 if seed % 3 else 3, 12, 9) for c in net.clocks}
    singles = []
    for b in range(9):
        full = helpers.random_inputs(net, 100 * seed + b, 1, 11)
        singles.append({
            v.name: np.take(full[v.name], range(steps[v.clock][b]), v.axes.index(graph.TIME))
            if graph.TIME in v.axes and v.clock and not v.time else full[v.name]
            for v in net.inputs
        })  # fmt: skip
    rows = {}
    for v in net.inputs:
        parts = [ragged._rows_first(v, s[v.name])[0] for s in singles]
        rows[v.name] = np.stack(parts) if graph.TIME not in v.axes else Ragged(
            np.concatenate(parts), np.array([len(p) for p in parts]))  # fmt: skip
    wanted = []
    for s in singles:
        try:
            wanted.append(helpers.named(net, model.predict(s)))
        except lstmc.ShapeError:
            wanted.append(None)
    try:
        got = predict_rows(model, rows)
    except lstmc.ShapeError:
        assert None in wanted
        return
    for b, y in enumerate(wanted):
        if y is None:
            assert any(s[b] == 0 for s in steps.values())
            continue
        for v in net.outputs:
            found = got[v.name]
            row = found.rows()[b] if isinstance(found, Ragged) else found[b]
            alone = ragged.alone(v, row)
            expected = y[v.name].squeeze(v.axes.index(graph.BATCH))
            assert alone.shape == expected.shape
            assert np.array_equal(helpers.bits(alone), helpers.bits(expected))


def test_rows_that_do_not_fit():
    model = gru()
    with pytest.raises(lstmc.DtypeError):
        predict_rows(model, {"x": Ragged(np.zeros((3, 3), complex), np.array([3]))})
    with pytest.raises(lstmc.ShapeError, match="different numbers of rows"):
        predict_rows(model, {"x": Ragged(np.zeros((3, 3)), np.array([3])), "z": np.zeros((2, 1))})
