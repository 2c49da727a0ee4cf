"""docs/howto/train.md: its programs run, one after the other; docs/CHECKPOINTS.md: its bytes."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np

from lstmc.training import checkpoint

DOCS = Path(__file__).parent.parent / "docs"


def test_the_programs_of_the_page_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "howto/train.md").read_text(), re.S)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "train.md", "exec"), names)
    assert len(blocks) == 6
    said = capsys.readouterr().out
    assert "Epoch 3/3" in said and "{'lstm': True, 'dense': True}" in said
    written = {p.name for p in tmp_path.iterdir()}
    assert written == {"forecaster.lstmc", "x.npy", "y.npy", "best.lstmc", "training.csv", "run"}


def test_the_bytes_of_the_page():
    text = (DOCS / "CHECKPOINTS.md").read_text()
    lines = re.findall(r"^    ((?:(?:[0-9a-f]{2}|\.\.) {1,2}){8,16})", text + " ", re.M)
    shown = " ".join(lines).split()
    data = checkpoint.dumps({"place": np.array([2, 1], np.int64)})
    assert len(shown) == len(data) == 72
    hidden = range(24, 32)
    for i, (word, byte) in enumerate(zip(shown, data, strict=True)):
        assert word == (".." if i in hidden else f"{byte:02x}"), i
    assert struct.unpack_from("<Q", data, 16) == (72,)
