"""What ``import lstmc`` costs, told by the modules it loads, and that nobody need know."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lstmc

# Beside numpy, what numpy.typing needs, and inspect: see lstmc/__init__.py.
LOADED = {
    "__future__",
    "lstmc",
    "lstmc._core",
    "lstmc.errors",
    "lstmc.runtime",
    "lstmc.threads",
}


def fresh(code: str) -> list[str]:
    """The words that a new interpreter prints."""
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def test_import_loads_little():
    """No dataclasses, tempfile, pathlib, zlib: they took 25 ms. The list is to stay short."""
    code = "import sys, inspect, numpy.typing; before = set(sys.modules); import lstmc; "
    found = fresh(code + "print(*set(sys.modules) - before)")
    assert {n for n in found if "cython" not in n} <= LOADED


def test_what_is_loaded_later_is_there_all_the_same():
    listed = fresh("import lstmc; print(*dir(lstmc))")
    modules = {"format", "graph", "model", "recurrent", "samples", "stream"}
    modules |= {"initializers", "layers", "models", "random"}
    assert {*lstmc.__all__, *modules, "runtime", "errors"} <= set(listed)
    # each asked for first, in an interpreter of its own
    names = ("Model", "Stream", "convert", "functional", "graph", "load", "set_random_seed")
    names += ("callbacks", "initializers", "layers", "losses", "metrics", "models", "optimizers")
    for name in (*names, "random"):
        fresh(f"import lstmc; lstmc.{name}")
        fresh(f"from lstmc import {name}")
    star = fresh("from lstmc import *; print(*sorted(k for k in globals() if k[0] != '_'))")
    assert star == sorted(n for n in lstmc.__all__ if n[0] != "_")
    fresh("import lstmc; lstmc.graph.LSTM, lstmc.functional.tanh, lstmc.format.dumps")
    fresh("import lstmc; help(lstmc)")


def test_predicting_loads_nothing_of_training():
    code = (
        "import sys, numpy, lstmc; from lstmc import graph as g; "
        "v = [g.Value(n, ('batch', 2)) for n in 'xy']; w = numpy.eye(2); "
        "d = g.Dense(name='d', inputs=('x',), outputs=('y',), weight=w); "
        "m = lstmc.model.from_graph(g.Graph(v[:1], v[1:], [d])); m.predict(numpy.ones((1, 2))); "
        "m = lstmc.model.Model(m.to_bytes()); m.get_weights(); m.trainable; m.predict([[1, 2]]); "
        "print(*[n for n in sys.modules if n.startswith('lstmc.tr') or 'optimizers' in n]); "
        "m.compile('sgd', 'mse'); m.fit([[1, 2]], [[3, 4]], verbose=0); print(type(m).__name__)"
    )
    assert fresh(code) == ["lstmc.trainable", "Model"]


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'lstmc' has no attribute 'Modle'"):
        _ = lstmc.Modle
    with pytest.raises(ImportError, match="cannot import name 'Modle'"):
        from lstmc import Modle  # noqa: F401


def test_what_is_loaded_later_is_loaded_once():
    assert lstmc.Model is lstmc.model.Model is lstmc.load.__globals__["Model"]
    assert "Model" in vars(lstmc)
