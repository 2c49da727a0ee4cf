"""Scoring on a cluster: two Dask workers, one killed at work. And the page that says how."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scaling import gru

import lstmc
from lstmc.scoring import Scorer

pd = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")
distributed = pytest.importorskip("dask.distributed")

ROOT = Path(__file__).parents[1]


def test_a_worker_killed_at_work(tmp_path):
    import dask
    import dask.dataframe as dd

    rng = np.random.default_rng(0)
    x = [list(rng.standard_normal((n, 3)).astype(np.float32)) for n in rng.integers(1, 9, 600)]
    frame = pd.DataFrame({"id": np.arange(600), "x": x})
    scorer = Scorer(gru())

    def marked(table):  # leaves a file for each call, named after its process, and takes its time
        if len(table):
            first, threads = table["id"].iloc[0], lstmc.get_num_threads()
            (tmp_path / f"{os.getpid()}-{first}-{threads}").touch()
            time.sleep(0.05)
        return scorer(table)

    with (
        dask.config.set({"dataframe.convert-string": False}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        table = dd.from_pandas(frame, npartitions=30, sort=False)
        future = client.compute(table.map_partitions(marked, meta=scorer(table._meta)))
        deadline = time.monotonic() + 60
        while len(marks := sorted(tmp_path.iterdir(), key=lambda p: p.stat().st_mtime_ns)) < 8:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        victim = int(marks[-1].name.split("-")[0])  # it has just begun with a partition
        os.kill(victim, signal.SIGKILL)
        got = future.result(timeout=60)
    calls = [p.name.split("-") for p in tmp_path.iterdir()]
    assert len({first for _, first, _ in calls}) == 30 < len(calls)  # some were done again
    assert {threads for _, _, threads in calls} == {"1"}
    want = scorer(frame)
    assert np.array_equal(got["id"], frame["id"])
    for a, b in zip(got["y"], want["y"], strict=True):
        assert np.array_equal(np.array(a), np.array(b))


def pieces():
    """(language, text) of the page's pieces that are to be run."""
    text = (ROOT / "docs" / "howto" / "scale.md").read_text()
    text = re.sub(r"<!-- not run -->\n```.*?```", "", text, flags=re.S)
    return re.findall(r"```(python|sh)\n(.*?)```", text, flags=re.S)


def test_the_page_does_what_it_says(tmp_path, monkeypatch):
    """Commands in a shell; Python in one session, but for a piece that is a script."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    Path("examples").symlink_to(ROOT / "examples")
    session: dict[str, object] = {}

    def program(*command):
        done = subprocess.run(command, capture_output=True, timeout=120, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    for language, text in pieces():
        if language == "sh":
            said = program("sh", "-e", "-c", text)
            if "scores --resume" in text:
                assert "0 files, 50 skipped, 0 failed" in said
        elif text.startswith("# score.py"):
            Path("score.py").write_text(text)
            program(sys.executable, "score.py")
        else:
            exec(text, session)
    import pyarrow.parquet as pq

    y = lstmc.load(tmp_path / "forecaster.lstmc").predict(np.load(tmp_path / "x.npy"))[:, 0]
    assert np.array_equal(np.load(tmp_path / "y.npy")[:, 0], y)
    table = pq.read_table(tmp_path / "y.parquet")
    assert table.schema.names == ["id", "forecast"] and np.array_equal(table["forecast"], y)
    table = pq.read_table(tmp_path / "scores.parquet").to_pandas().sort_values("id")
    assert list(table.columns) == ["id", "y"] and np.array_equal(table["y"], y)
    for path in (tmp_path / "sequences").iterdir():
        alone = lstmc.load(tmp_path / "forecaster.lstmc").predict(np.load(path)[None])[0]
        assert np.array_equal(np.load(tmp_path / "scores" / path.name), alone)


def test_the_parts_of_the_page_that_are_not_run_are_python():
    text = (ROOT / "docs" / "howto" / "scale.md").read_text()
    found = re.findall(r"<!-- not run -->\n```python\n(.*?)```", text, flags=re.S)
    assert len(found) == 2
    for code in found:
        compile(code, "scale.md", "exec")
