"""Tables through a model: Scorer on numpy, pandas and Arrow; `lstmc run` on Parquet files."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scaling import gru, kill_until_done, leftovers, lstmc_run

import lstmc
from lstmc import graph
from lstmc.model import from_graph
from lstmc.scale import parquet
from lstmc.scoring import Scorer

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

RUN = ["m.lstmc", "--input", "x.parquet", "--output", "y.parquet"]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys):
    return lstmc_run(capsys)


def dense(features=3, units=2):
    """Without time."""
    w = np.random.default_rng(2).standard_normal((units, features)).astype(np.float32)
    layer = graph.Dense(name="dense", inputs=("x",), outputs=("y",), weight=w)
    values = [graph.Value("x", ("batch", features))], [graph.Value("y", ("batch", units))]
    return from_graph(graph.Graph(*values, [layer]))


def sequences(seed=0, count=30, features=3):
    rng = np.random.default_rng(seed)
    sizes = [0, *rng.integers(1, 20, count - 1)]
    return [rng.standard_normal((n, features)).astype(np.float32) for n in sizes]


def alone(model, x):
    """What a row gives by itself; nothing for nothing."""
    return model.predict(x[None])[0] if len(x) else np.zeros((0, 2), np.float32)


def nested(cells):
    return pa.array([[list(step) for step in c] for c in cells], pa.list_(pa.list_(pa.float32())))


# ------------------------------------------------------------------------------------------- Scorer


def test_the_kinds_of_table_agree():
    model, x = gru(), sequences()
    want = [alone(model, a) for a in x]
    ids = np.arange(len(x)) * 7
    scorer = pickle.loads(pickle.dumps(Scorer(model)))
    frame = pd.DataFrame({"id": ids, "x": [list(a) for a in x]}, index=ids[::-1])
    table = pa.table({"id": ids, "x": nested(x)})
    of_frame, of_table = scorer(frame), scorer(table)
    of_batch = scorer(table.to_batches()[0])
    of_dict = scorer({"id": ids, "x": np.array([*x, None], object)[:-1]})
    assert list(of_frame.columns) == ["id", "x", "y"] and (of_frame.index == frame.index).all()
    assert of_table.schema.names == ["id", "x", "y"] and isinstance(of_batch, pa.RecordBatch)
    assert of_table.schema.field("y").type == pa.list_(pa.list_(pa.float32()))
    assert "y" not in frame.columns and list(of_dict) == ["id", "x", "y"]
    for got in (of_frame["y"], of_table["y"].to_pylist(), of_batch["y"].to_pylist(), of_dict["y"]):
        for a, b in zip(got, want, strict=True):
            assert np.array_equal(np.asarray(a, np.float32).reshape(-1, 2), b)
    for got in (of_frame["id"], of_table["id"].to_numpy(), of_dict["id"]):
        assert np.array_equal(got, ids)


def test_many_rows_as_chunks_and_slices():
    model, x = gru(), sequences(count=50)
    table = pa.table({"x": nested(x)})
    table = pa.concat_tables([table.slice(0, 7), table.slice(7, 20), table.slice(27)])
    batch = pa.record_batch({"x": nested(x)}).slice(5, 40)
    assert Scorer(model)(batch)["y"].equals(Scorer(model)(table.slice(5, 40))["y"].combine_chunks())
    got = Scorer(model)(table.slice(5, 40))["y"].to_pylist()
    for a, b in zip(got, x[5:45], strict=True):
        assert np.array_equal(np.asarray(a, np.float32).reshape(-1, 2), alone(model, b))


@pytest.mark.parametrize("units", [1, 2])
def test_forms_without_time(units):
    model = dense(units=units)
    x = np.random.default_rng(0).standard_normal((9, 3)).astype(np.float32)
    want = model.predict(x)
    cells = [pa.array(list(x)), pa.array(list(x), pa.list_(pa.float32(), 3)),
             pa.array(list(x.astype("f8")), pa.large_list(pa.float64()))]  # fmt: skip
    for cell in cells:
        y = Scorer(model)(pa.table({"x": cell}))["y"]
        assert y.type == (pa.float32() if units == 1 else pa.list_(pa.float32()))
        assert np.array_equal(np.array(y.to_pylist(), np.float32).reshape(9, -1), want)
    apart = Scorer(model, columns={"x": ["a", "b", "c"], "y": "out"}, keep=["b"])
    given = {"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "id": np.arange(9)}
    for table in (given, pd.DataFrame(given), pa.table(given)):
        got = apart(table)
        assert set(getattr(got, "columns", got) if table is not given and
                   isinstance(table, pd.DataFrame) else
                   got if table is given else got.schema.names) == {"b", "out"}  # fmt: skip
        y = got["out"].to_pylist() if isinstance(got, pa.Table) else list(got["out"])
        assert np.array_equal(np.array(y, np.float32).reshape(9, -1), want)
    assert Scorer(model)({"x": x})["y"].shape == ((9,) if units == 1 else (9, 2))


def test_forms_with_one_feature_and_features_apart():
    x = sequences(features=1)
    model = gru(features=1)
    got = Scorer(model)(pa.table({"x": pa.array([a[:, 0] for a in x], pa.list_(pa.float32()))}))
    assert all(
        np.array_equal(np.array(a, np.float32).reshape(-1, 2), alone(model, b))
        for a, b in zip(got["y"].to_pylist(), x, strict=True)
    )
    x = sequences(features=3)
    table = pa.table({n: pa.array([a[:, i] for a in x], pa.list_(pa.float32()))
                      for i, n in enumerate("abc")})  # fmt: skip
    got = Scorer(gru(), columns={"x": list("abc")})(table)
    assert all(
        np.array_equal(np.array(a, np.float32).reshape(-1, 2), alone(gru(), b))
        for a, b in zip(got["y"].to_pylist(), x, strict=True)
    )


def test_empty_tables_tell_the_schema():
    """As Dask asks for it."""
    scorer = Scorer(gru())
    assert list(scorer(pd.DataFrame({"id": [], "x": []})).columns) == ["id", "x", "y"]
    table = scorer(pa.table({"x": pa.array([], pa.null())}))
    assert table.schema.field("y").type == pa.list_(pa.list_(pa.float32()))
    assert scorer({"x": np.zeros((0, 4, 3))})["y"].shape == (0, 0, 2)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"z": np.zeros(3)}, "no column 'x' in ['z']"),
        ({"x": np.zeros((3, 4, 3)), "y": np.zeros(3)}, "a column 'y' already"),
        ({"x": np.zeros(3)}, "'x' holds numbers, expected lists of lists of 3"),
        ({"x": np.zeros((3, 4))}, "holds lists of numbers"),
        ({"x": np.zeros((3, 4, 5))}, "its inner lists have 5"),
        ({"x": np.zeros((3, 4, 3), complex)}, "complex"),
        ({"x": np.array(["a", "b"])}, "dtype"),
        ({"x": pd.Series([[[1, 2, 3]], [[1, 2]]])}, "lists of different lengths: [2, 3]"),
        ({"x": pd.Series([[[1, 2, 3]], [1, 2, 3]])}, "different forms"),
        ({"x": pd.Series([[[1, 2, 3]], None])}, "row 1: None is no number"),
        ({"x": pd.Series([[[1, 2, 3], [1, 2]]])}, "row 0"),
        ({"x": pd.Series(["a"])}, "'x'"),
        ({"x": pd.Series([{"a": 1}])}, "row 0"),
        ({"x": pd.Series([1, None], dtype="Int64")}, "nulls"),
        (pa.table({"x": pa.array([[[1.0, 2.0, 3.0]], None])}), "nulls"),
        (pa.table({"x": pa.array([[[1.0, None, 3.0]]])}), "nulls"),
        (pa.table({"x": pa.array([[[1.0, 2.0], [1.0]]])}), "lists of different lengths: [1, 2]"),
        (pa.table({"x": pa.array([[[[1.0]]]])}), "in lists of lists"),
        (pa.table({"x": pa.array(["a"])}), "holds string, expected numbers"),
        (pa.table({"x": pa.array([{"a": 1}])}), "expected numbers"),
        (pa.table({"x": pa.array([1, 2])}), "holds numbers, expected lists"),
        (pa.table({"x": pa.array([[[1 << 60, 1, 1 + (1 << 25)]]])}), "float32"),
    ],
    ids=str,
)  # fmt: skip
def test_tables_that_do_not_fit(table, words):
    scorer = Scorer(gru())
    if isinstance(table, dict) and isinstance(next(iter(table.values())), pd.Series):
        table = pd.DataFrame(table)
    with pytest.raises(lstmc.Error) as e:
        scorer(table)
    assert words in str(e.value) and "\n" not in str(e.value)


def test_scorers_that_can_not_be():
    for columns in ({"z": "x"}, {"y": ["a", "b"]}, {"x": []}):
        with pytest.raises(lstmc.ShapeError):
            Scorer(gru(), columns=columns)
    with pytest.raises(TypeError, match="list is no DataFrame"):
        Scorer(gru())([1, 2])
    with pytest.raises(FileNotFoundError):
        Scorer("missing.lstmc")


def test_another_process_gets_one_model_and_one_thread():
    gru().save("m.lstmc")
    blob = pickle.dumps([Scorer("m.lstmc"), Scorer("m.lstmc", keep=[])])
    before = lstmc.get_num_threads()
    here = pickle.loads(blob)
    assert here[0].model is here[1].model and lstmc.get_num_threads() == before
    Path("m.lstmc").unlink()
    Path("blob").write_bytes(blob)
    code = (
        "import pickle, lstmc; a, b = pickle.load(open('blob', 'rb'));"
        "c, _ = pickle.load(open('blob', 'rb')); assert a.model is b.model is c.model;"
        "print(lstmc.get_num_threads())"
    )
    for n in ("", "2"):
        env = {**os.environ, "LSTMC_NUM_THREADS": n}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert done.stdout.strip() == (n or "1"), done.stderr


def test_iterators_as_spark_has_them():
    model, x = gru(), sequences()
    frames = [pd.DataFrame({"x": [list(a) for a in x[i : i + 7]]}) for i in range(0, 30, 7)]
    got = pd.concat(list(Scorer(model).each(iter(frames))))
    assert all(np.array_equal(np.reshape(list(a), (-1, 2)), alone(model, b))
               for a, b in zip(got["y"], x, strict=True))  # fmt: skip


# ------------------------------------------------------------------------------------------ Parquet


@pytest.fixture
def want():
    """m.lstmc, x.parquet of 200 rows in groups of 30; what each row gives."""
    model, x = gru(), sequences(count=200)
    model.save("m.lstmc")
    table = pa.table({"id": np.arange(200), "x": nested(x), "name": [f"n{i}" for i in range(200)]})
    pq.write_table(table, "x.parquet", row_group_size=30)
    return [alone(model, a) for a in x]


def agree(want, path="y.parquet"):
    table = pq.read_table(path)
    assert table.schema.names[:3] == ["id", "x", "name"]
    assert table.select([0, 1, 2]).equals(pq.read_table("x.parquet"))
    for a, b in zip(table["y"].to_pylist(), want, strict=True):
        assert np.array_equal(np.asarray(a, np.float32).reshape(-1, 2), b)


@pytest.mark.parametrize("block", [[], ["--batch", 7]])
def test_parquet(run, want, block):
    status, facts, err = run(*RUN, *block)
    assert status == 0, err
    assert (facts["rows"], facts["columns"]) == (200, ["y"])
    agree(want)
    assert leftovers("m.lstmc", "x.parquet") == ["y.parquet"]
    assert run(*RUN, *block, "--keep", "id", "--column", "y=score")[0] == 0
    table = pq.read_table("y.parquet")
    assert table.schema.names == ["id", "score"] and table.num_rows == 200


def test_parquet_without_rows_or_groups(run, want):
    for name, table in (("x", pq.read_table("x.parquet").slice(0, 0)),):
        pq.write_table(table, f"{name}.parquet")
        assert run(*RUN)[0] == 0
        assert pq.read_table("y.parquet").schema.field("y").type == pa.list_(pa.list_(pa.float32()))


def test_parquet_killed_anywhere_and_resumed(run, want):
    pq.write_table(pq.read_table("x.parquet"), "x.parquet", row_group_size=50)
    assert run(*RUN)[0] == 0
    whole, killed = Path("y.parquet").read_bytes(), 0
    for seed in range(2):
        Path("y.parquet").unlink()
        killed += kill_until_done(seed, *RUN)
        assert Path("y.parquet").read_bytes() == whole
    assert killed > 2
    assert leftovers("m.lstmc", "x.parquet") == ["y.parquet"]


def test_parquet_stopped_and_resumed(run, want, monkeypatch):
    assert run(*RUN)[0] == 0
    whole = Path("y.parquet").read_bytes()
    call, left = Scorer.__call__, 5

    def full(self, table):
        nonlocal left
        left -= 1
        if not left:
            raise OSError(28, "No space left on device")
        return call(self, table)

    monkeypatch.setattr(Scorer, "__call__", full)
    status, _, err = run(*RUN)
    assert status == 1 and "No space left on device (90 of 200 rows kept, --resume goes on)" in err
    assert Path("y.parquet").read_bytes() == whole
    assert "block size was None, now it is 9" in run(*RUN, "--resume", "--batch", 9)[2]
    assert "columns to keep" in run(*RUN, "--resume", "--keep", "id")[2]
    folder = Path(".y.parquet.lstmc-part")
    shutil.copytree(folder, "copy")
    status, facts, _ = run(*RUN, "--resume")
    assert status == 0 and facts["resumed"] == "90 of 200 rows"
    assert Path("y.parquet").read_bytes() == whole
    Path("copy").rename(folder)
    (folder / "000001.parquet").unlink()
    status, facts, _ = run(*RUN, "--resume")
    assert status == 0 and facts["resumed"] == ""
    assert Path("y.parquet").read_bytes() == whole


def test_folder_of_parquet(run, want):
    Path("in").mkdir()
    for i in range(3):
        pq.write_table(pq.read_table("x.parquet").slice(i * 50, 50), f"in/{i}.parquet")
    Path("in/bad.parquet").write_bytes(b"PAR1" + bytes(99) + b"PAR1")
    go = ["m.lstmc", "--input", "in", "--output", "out"]
    status, facts, _ = run(*go)
    assert status == 1 and list(facts["failed"]) == ["bad.parquet"] and facts["done"] == 3
    got = pa.concat_tables([pq.read_table(f"out/{i}.parquet") for i in range(3)])
    assert got["id"].to_pylist() == list(range(150))
    assert "another options" in run(*go, "--keep", "id", "--resume")[2]


@pytest.mark.parametrize("seed", range(25))
def test_hostile_parquet(run, want, seed):
    rng = np.random.default_rng(seed)
    good = Path("x.parquet").read_bytes()
    bad = bytearray(good)
    if seed < 5:
        foreign = b"PAR1" + b"\xff" * 8 + b"PAR1"
        bad = [b"", b"PAR1", good[: len(good) // 2], good[:-9], foreign][seed]
    else:
        start = len(good) - 2500 if seed % 2 else 0  # the footer, and the data
        for at in rng.integers(start, len(good), 5):
            bad[at] ^= 1 << rng.integers(8)
    Path("x.parquet").write_bytes(bad)
    status, _, err = run(*RUN)
    assert status == 0 or (status == 1 and err.count("\n") == 1 and "internal" not in err), err
    assert seed >= 5 or "not a sound .parquet file" in err
    assert leftovers("m.lstmc", "x.parquet") == ([] if status else ["y.parquet"])


def test_parquet_names_the_rows(run, want):
    table = pq.read_table("x.parquet").to_pandas()
    table.at[170, "x"] = [[1.0, 2.0]]
    table.to_parquet("x.parquet", row_group_size=30)
    status, _, err = run(*RUN)
    assert status == 1 and "rows 150 to 179: column 'x' holds lists of different" in err


def test_parquet_bad_use(run, want, monkeypatch):
    assert run("m.lstmc", "--input", "x.parquet", "--output", "y.npy")[0] == 2
    np.save("x.npy", np.zeros((2, 2, 3), np.float32))
    assert run("m.lstmc", "--input", "x.npy", "--output", "y.parquet")[0] == 2
    assert run("m.lstmc", "--input", "x.npy", "--output", "y.npy", "--keep", "a")[0] == 2
    assert run(*RUN, "--lengths", "x.npy")[0] == 2
    for bad in ("x", "x=", "=a"):
        assert run(*RUN, "--column", bad)[0] == 2
    assert run(*RUN, "--column", "x=a", "--column", "x=b")[0] == 2
    assert "no column 'z'" in run(*RUN, "--column", "x=z")[2]
    assert "'z' is no input or output" in run(*RUN, "--column", "z=x")[2]
    assert "no column 'q'" in run(*RUN, "--keep", "q")[2]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    status, _, err = run(*RUN)
    assert status == 2 and "pip install 'lstmc[parquet]'" in err
    assert leftovers("m.lstmc", "x.parquet", "x.npy") == []


def test_a_row_group_is_not_read_whole(want):
    """By the sizes of the batches that it comes in; a run of zeros takes no room in the file."""
    x = np.zeros((3000, 1000), np.float32)
    pq.write_table(pa.table({"x": pa.array(list(x))}), "big.parquet")
    with pq.ParquetFile("big.parquet") as file:
        assert file.num_row_groups == 1 and Path("big.parquet").stat().st_size < 1 << 20
        sizes = [b.num_rows for b in parquet._batches(Path("big.parquet"), file, 0, None, None)]
    assert sum(sizes) == 3000 and max(sizes) * 8000 <= 1 << 24
