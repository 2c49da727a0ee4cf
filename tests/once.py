"""Objects that several tests ask for are compiled once in a run, whichever of its processes asks
first. The next run compiles all of them again."""

from __future__ import annotations

import atexit
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

VARIABLE = "LSTMC_OBJECTS"


@functools.cache
def folder() -> Path:
    """Of this run: the first process that asks makes it and removes it at its end; those that it
    starts have the name from the environment."""
    if VARIABLE not in os.environ:
        owner, made = os.getpid(), tempfile.mkdtemp(prefix="objects-")
        os.environ[VARIABLE] = made
        # Not in a child that was forked.
        atexit.register(lambda: os.getpid() == owner and shutil.rmtree(made, ignore_errors=True))
    return Path(os.environ[VARIABLE])


def compile_once(command: Sequence[str], source: str) -> Path:
    """A folder with all that ``command -c source`` writes: the object, and what flags ask for."""
    words = "\0".join([*command, source])
    place = folder() / hashlib.sha256(words.encode()).hexdigest()[:20]
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
        if not place.exists():
            attempt = Path(tempfile.mkdtemp(dir=folder()))
            done = subprocess.run(
                [*command, "-c", source], cwd=attempt, capture_output=True, text=True, check=False
            )
            assert not done.returncode, (done.stdout + done.stderr)[-8000:]
            attempt.rename(place)  # there is no half a folder, should the run be ended here
    return place
