"""What the tests of `lstmc run` at scale share."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import helpers
import numpy as np

from lstmc import cli, graph
from lstmc.model import from_graph
from lstmc.scale import arrayfile
from lstmc.scale.arrayfile import ArrayFile

HERE = Path(__file__).parent


def lstmc_run(capsys):
    """A function that runs `lstmc run` in this process: (exit status, facts or None, stderr)."""

    def call(*argv):
        status = cli.main(["run", *map(str, argv), "--json"])
        out, err = capsys.readouterr()
        assert "Traceback" not in err and (status == 0 or err), err
        return status, json.loads(out) if out else None, err

    return call


def gru(features=3, units=5, last=False, order="btf", reverse=False):
    """GRU and Dense, on any number of steps."""
    rng = np.random.default_rng(1)

    def w(*shape):
        return rng.uniform(-0.6, 0.6, shape).astype(np.float32)

    layers = [
        graph.GRU(name="gru", inputs=("x",), outputs=("seq", None), reverse=reverse,
                  weight_ih=w(3 * units, features), weight_hh=w(3 * units, units),
                  bias=w(3 * units), recurrent_bias=w(units)),
        graph.Dense(name="dense", inputs=("end" if last else "seq",), outputs=("y",),
                    weight=w(2, units), bias=w(2)),
    ]  # fmt: skip
    if last:
        layers.insert(1, graph.LastStep(name="last", inputs=("seq",), outputs=("end",)))
    value = graph.Value("x", helpers.layout(features, order=order))
    out = graph.Value("y", helpers.layout(2, time=not last, order=order))
    return from_graph(graph.Graph([value], [out], layers))


def leftovers(*keep):
    return sorted(p.name for p in Path().iterdir() if p.name not in keep)


def kill_until_done(seed, *argv):
    done = subprocess.run(
        [sys.executable, HERE / "killing.py", str(seed), "500", "run", *map(str, argv), "--resume"],
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


@contextmanager
def failing(error, after=3):
    """The disk takes so many blocks and no more."""
    put, left = ArrayFile.__setitem__, after

    def putting(self, cut, block):
        nonlocal left
        left -= 1
        if left < 0:
            raise error
        put(self, cut, block)

    ArrayFile.__setitem__ = putting
    try:
        yield
    finally:
        ArrayFile.__setitem__ = put


def sparse(path, shape):
    """A .npy file of zeros that takes no room."""
    arrayfile.create_npy(Path(path), shape, shape)
