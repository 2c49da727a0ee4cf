"""Every row of docs/SUPPORT.md: what converts matches its source, what is refused says so.

The models are in support_SOURCE.py: ``CONVERTS`` and ``REFUSED`` have a key for each row of the
page. A value of CONVERTS is a function that returns what lstmc.convert takes, the inputs by name or
one array, the outputs expected by name or one array; one of REFUSED returns what lstmc.convert is
to refuse. Both get a folder to write to.
"""

import importlib
import re

import numpy as np
import pytest
from helpers import ROOT

import lstmc

SOURCES = {"Keras": "support_keras", "PyTorch": "support_pytorch", "ONNX": "support_onnx"}
PAGE = (ROOT / "docs/SUPPORT.md").read_text()


def rows(source: str, part: str) -> dict[str, str]:
    """The table of a part of the page: its first column to its second."""
    section = re.split(r"^## ", PAGE, flags=re.M)
    text = next(s for s in section if s.startswith(f"{source}\n"))
    text = next(s for s in re.split(r"^### ", text, flags=re.M) if s.startswith(f"{part}\n"))
    found = re.findall(r"^\| (.*?) \| (.*?) \|$", text, flags=re.M)
    table = [(a.replace("\\|", "|"), b.replace("\\|", "|")) for a, b in found if a != "what"]
    assert len(dict(table)) == len(table), "two rows have the same name"
    return dict(table)


def cases(part: str):
    return [
        pytest.param(source, what, id=f"{source}: {what}")
        for source in SOURCES
        for what in rows(source, part)
    ]


def functions(source: str, part: str):
    return getattr(importlib.import_module(SOURCES[source]), part.upper())


@pytest.mark.parametrize("part", ["Converts", "Refused"])
@pytest.mark.parametrize("source", SOURCES)
def test_page_and_tests_have_the_same_rows(source, part):
    assert set(rows(source, part)) == set(functions(source, part))


def by_name(y, names):
    return y if isinstance(y, dict) else dict(zip(names, [y], strict=True))


@pytest.mark.parametrize(("source", "what"), cases("Converts"))
def test_converts(source, what, tmp_path):
    model, inputs, want = functions(source, "Converts")[what](tmp_path)
    converted = lstmc.convert(model)
    got = by_name(converted.predict(inputs), converted.outputs)
    want = by_name(want, converted.outputs)
    assert got.keys() == want.keys()
    for name, y in want.items():
        assert got[name].shape == y.shape
        error = np.abs(got[name] - y).max(initial=0) / max(np.abs(y).max(initial=0), 1.0)
        assert error <= 1e-5, (name, error)


@pytest.mark.parametrize(("source", "what"), cases("Refused"))
def test_refused(source, what, tmp_path):
    message = rows(source, "Refused")[what].strip("`")
    pattern = ".*".join(re.escape(part) for part in message.split("..."))
    with pytest.raises(lstmc.ConversionError) as e:
        lstmc.convert(functions(source, "Refused")[what](tmp_path))
    assert re.fullmatch(pattern, str(e.value)), str(e.value)
