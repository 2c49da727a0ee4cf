"""What is shipped: the source archive holds everything a wheel is built from."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_source_archive_is_complete(tmp_path):
    copy = tmp_path / "tree"
    ignore = shutil.ignore_patterns(".git", ".venv*", "build", "dist", "*.egg-info", "*.so")
    shutil.copytree(ROOT, copy, ignore=ignore)
    command = [sys.executable, "setup.py", "-q", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {n.partition("/")[2] for n in tar.getnames()}
    needed = [
        "lstmc/_core.pyx",
        "lstmc/_step.pxi",
        "lstmc/_core.pyi",
        "lstmc/py.typed",
        "LICENSE",
        "Makefile",
    ]
    needed += ["converters/gates.py", "tests/helpers.py", "examples/weather/forecaster.pt"]
    core = [p for p in (ROOT / "c_src").rglob("*") if p.is_file() and p.suffix != ".pyc"]
    needed += [str(p.relative_to(ROOT)) for p in core]
    assert not set(needed) - names
