"""Calls of a model that were recorded: inputs, and the outputs to expect.

A .npz file holds either one call, arrays named as the model's inputs and outputs, perhaps
'lengths', int [batch]; or several in turn: in0|NAME and out0|NAME, in1|NAME ... Of these, names
that the model hasn't are passed over, since conversion may have fixed an input, or bound a state.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import graph as g
from .arrays import Arrays, by_name, read, read_inputs
from .errors import FormatError
from .layerwise import Sample
from .terminal import UsageError

if TYPE_CHECKING:
    from .model import Model

CALL = re.compile(r"(in|out)(\d{1,9})\|(.*)", re.DOTALL)


@dataclass
class Recording:
    """``states``: inputs that the model hasn't, each with the output that was fed to it in the
    next call, from zeros on. A stream of the model keeps these, so the calls are one stream's."""

    calls: list[tuple[Sample, Arrays]]
    states: dict[str, str] = field(default_factory=dict)

    def outputs(self, model: Model) -> Iterator[Arrays]:
        """What the model gives for each call, in turn."""
        if not self.states:
            for sample, _ in self.calls:
                yield by_name(model, model.predict(sample.inputs, sample.lengths))
            return
        first = model.graph.inputs[0]
        shape = self.calls[0][0].inputs[first.name].shape
        stream = model.stream(shape[first.axes.index(g.BATCH)] if g.BATCH in first.axes else 1)
        for sample, wanted in self.calls:
            x = {v.name: as_step(v, sample.inputs[v.name]) for v in model.graph.inputs}
            made = by_name(model, stream.run(x))
            yield {
                v.name: made[v.name].reshape(wanted[v.name].shape)
                if as_step(v, wanted[v.name]).shape == made[v.name].shape
                else made[v.name]
                for v in model.graph.outputs
            }


def as_step(value: g.Value, array: np.ndarray) -> np.ndarray:
    """A call's array that has no time, as a step of a stateful model's."""
    short = g.TIME in value.axes and array.ndim == len(value.axes) - 1
    return np.expand_dims(array, value.axes.index(g.TIME)) if short else array


def recording(path: Path, model: Model, called: Mapping[str, str] | None = None) -> Recording:
    """``called``: the file's names of inputs and outputs that the model calls otherwise.

    Raises FormatError for a damaged file and for one that lacks an array.
    """
    names = called or {}
    arrays = read(path)
    if not isinstance(arrays, dict):
        raise UsageError("--recorded takes a .npz file")
    inputs, outputs = list(model.inputs), list(model.outputs)
    if any(CALL.fullmatch(n) for n in arrays):
        calls = _calls(arrays, path, inputs, outputs, names)
        own = [names.get(n, n) for n in inputs]
        return Recording(calls, _states(arrays, own) if model.graph.sequential else {})
    given, made = ({n: names.get(n, n) for n in each} for each in (inputs, outputs))
    x, y = _taken(path, arrays, given), _taken(path, arrays, made)
    return Recording([(Sample(path.name, x, arrays.get("lengths")), y)])


def given_samples(path: Path, model: Model) -> list[Sample]:
    """The user's inputs in a .npy or .npz file, as for ``lstmc run``; or those of recorded calls.

    Raises FormatError, ShapeError, UsageError.
    """
    found = read(path)
    if isinstance(found, dict) and any(CALL.fullmatch(n) for n in found):
        return [sample for sample, _ in _calls(found, path, list(model.inputs), [], {})]
    arrays = read_inputs(path, model)
    return [Sample(path.name, _taken(path, arrays, {n: n for n in arrays}))]


def _numbers(arrays: Arrays) -> list[int]:
    return sorted({int(m[2]) for n in arrays if (m := CALL.fullmatch(n))})


def _calls(
    arrays: Arrays, path: Path, inputs: list[str], outputs: list[str], called: Mapping[str, str]
) -> list[tuple[Sample, Arrays]]:
    calls = []
    for number in _numbers(arrays):
        given = {n: f"in{number}|{called.get(n, n)}" for n in inputs}
        made = {n: f"out{number}|{called.get(n, n)}" for n in outputs}
        sample = Sample(f"{path.name}, call {number}", _taken(path, arrays, given))
        calls.append((sample, _taken(path, arrays, made)))
    return calls


def _states(arrays: Arrays, inputs: list[str]) -> dict[str, str]:
    """Inputs that the model hasn't and that hold, in every call, an output of the one before."""
    numbers = _numbers(arrays)
    extra = [m[3] for n in arrays if (m := CALL.fullmatch(n)) and m[1] == "in"]
    made = [m[3] for n in arrays if (m := CALL.fullmatch(n)) and m[1] == "out"]

    def fed(name: str, output: str) -> bool:
        before = [arrays.get(f"out{n}|{output}") for n in numbers[:-1]]
        after = [arrays.get(f"in{n}|{name}") for n in numbers[1:]]
        return (
            f"in{numbers[0]}|{name}" in arrays
            and bool(before)
            and all(
                a is not None and b is not None and np.array_equal(a, b)
                for a, b in zip(before, after, strict=True)
            )
        )

    found = {}
    for name in dict.fromkeys(n for n in extra if n not in inputs):
        if output := next((o for o in dict.fromkeys(made) if fed(name, o)), None):
            found[name] = output
    zero = all(not np.any(arrays[f"in{numbers[0]}|{name}"]) for name in found)
    return found if zero else {}  # a stream begins with zeros


def _taken(path: Path, arrays: Arrays, keys: Mapping[str, str]) -> Arrays:
    """Arrays by the names that go with their keys in the file: there, of numbers, not empty."""
    for key in keys.values():
        if key not in arrays:
            wanted = ", ".join(f"'{k}'" for k in keys.values())
            raise FormatError(f"'{path}' has no array '{key}'; it needs {wanted}")
        if arrays[key].dtype.kind not in "biuf" or not arrays[key].size:
            kind = f"{arrays[key].dtype} {list(arrays[key].shape)}"
            raise FormatError(f"'{path}': '{key}' is {kind}, expected numbers, at least one")
    return {name: arrays[key] for name, key in keys.items()}
