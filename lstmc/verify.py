"""Checks of a model: its golden sample, its source converted again, the float64 oracle, the source
in its own framework, outputs recorded elsewhere. Each gives a finding, a dict with name, ok
(None: could not be checked), text and figures."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import convert, format, get_target, set_target
from . import graph as g
from .arrays import Arrays, by_name, read
from .errors import Error, FormatError
from .samples import enough_steps, random_inputs
from .terminal import UsageError, line

if TYPE_CHECKING:
    from .model import Model

LIMIT = 1e-5  # of relative errors


def golden_digests(model: Model, names: list[str]) -> dict[str, dict[str, int]]:
    """Digests of the golden sample's outputs on each target."""
    golden, before = model.golden, get_target()
    assert golden is not None
    try:
        found = {}
        for name in names:
            set_target(name)
            found[name] = model._run_golden(golden)
        return found
    finally:
        set_target(before)


def wrong_digests(model: Model, names: list[str]) -> str:
    """What differs from the digests stored in the model, or an empty string."""
    assert model.golden is not None
    return ", ".join(
        f"'{output}' is {value:08x} on {target}, {model.golden.digests[output]:08x} in the file"
        for target, digests in golden_digests(model, names).items()
        for output, value in digests.items()
        if value != model.golden.digests[output]
    )


def check_golden(model: Model, names: list[str]) -> dict[str, Any]:
    if model.golden is None:
        return finding("golden sample", None, "the file has none")
    wrong = wrong_digests(model, names)
    text = wrong or f"{listed(model.golden.digests)} on {', '.join(names)}"
    return finding("golden sample", not wrong, text, digests=in_hex(model.golden.digests))


def check_against(
    model: Model, path: Path, options: Mapping[str, Any], limit: float = LIMIT
) -> list[dict[str, Any]]:
    """The source converted again with these options, the oracle, and the source's framework."""
    source = convert(path, **options)
    difference = _difference(model.graph, source.graph)
    text = difference or f"bit-equal to '{path.name}' converted again"
    checks = [finding("weights", not difference, text)]
    if model.graph.inputs != source.graph.inputs:
        return checks  # nothing can be fed to both
    samples = list(_samples(source.graph))

    from . import reference

    def oracle(x: Arrays) -> Arrays:
        return reference.run(source.graph, x)

    checks.append(_compare("oracle", "lstmc.reference in float64", model, samples, oracle, limit))
    try:
        label, framework = _framework(path, source.graph, options)
    except ImportError as e:
        return [*checks, finding("framework", None, f"not installed: {e.name or e}")]
    except Exception as e:  # whatever a framework raises: it is not what is tested
        return [*checks, finding("framework", None, f"did not load the source: {line(e)}")]
    if framework is None:
        return [*checks, finding("framework", None, label)]
    return [*checks, _compare("framework", label, model, samples, framework, limit)]


def _difference(ours: g.Graph, theirs: g.Graph) -> str:
    """The first difference between two graphs, provenance left out; an empty string if none."""
    for what in ("inputs", "outputs"):
        a, b = getattr(ours, what), getattr(theirs, what)
        if a != b:
            return f"{what} are {a}, the source has {b}"
    kinds = [[f"{x.name}: {type(x).__name__}" for x in graph.layers] for graph in (ours, theirs)]
    if kinds[0] != kinds[1]:
        return f"layers are {kinds[0]}, the source has {kinds[1]}"
    for a, b in zip(ours.layers, theirs.layers, strict=True):
        if (a.inputs, a.outputs) != (b.inputs, b.outputs):
            return f"layer '{a.name}' is connected otherwise than in the source"
        for (name, _, x), (_, _, y) in zip(a.tensors(), b.tensors(), strict=True):
            if x is None or y is None:
                if x is not y:
                    return f"layer '{a.name}': one of file and source has no {name}"
            elif x.shape != y.shape:
                return f"layer '{a.name}': {name} is {x.shape}, in the source {y.shape}"
            elif n := np.count_nonzero(x.view(np.uint32) != y.view(np.uint32)):
                return f"layer '{a.name}': {n} of {x.size} values of {name} differ"
    bare = [g.Graph(x.inputs, x.outputs, x.layers) for x in (ours, theirs)]
    return "" if format.dumps(bare[0]) == format.dumps(bare[1]) else "a layer's options differ"


def _samples(graph: g.Graph) -> Iterator[Arrays]:
    """Random inputs of several batch sizes and lengths, as far as the model leaves them open."""
    rng = np.random.default_rng(1)
    timed = any(v.spec.time for v in graph.inputs)
    for batch, steps in ((1, 1), (2, 5), (3, 33), (1, 100)) if timed else ((1, 1), (3, 1), (17, 1)):
        yield random_inputs(graph, rng, batch, enough_steps(graph, steps))


def _compare(
    name: str,
    label: str,
    model: Model,
    samples: list[Arrays],
    peer: Callable[[Arrays], Arrays],
    limit: float,
) -> dict[str, Any]:
    """The largest relative error of the model's outputs against a peer's, over the samples."""
    largest, ran, problem = 0.0, 0, None
    for x in samples:
        try:
            want = peer(x)
        except Error:
            raise
        except Exception as e:  # a framework's: a graph of fixed batch size, say
            problem = e
            continue
        ran += 1
        largest = max(largest, _error(by_name(model, model.predict(x)), want))
    if not ran and problem is not None:
        return finding(name, None, f"{label} did not run: {line(problem)}")
    ok = largest <= limit
    text = f"largest relative error {largest:.2g} (limit {limit:g}), {ran} inputs, {label}"
    return finding(name, ok, text, error=largest, limit=limit)


def _error(got: Arrays, want: Arrays) -> float:
    """The largest difference of any output, relative to its largest magnitude; inf if one is NaN
    or infinite where the other is not."""
    largest = 0.0
    if set(got) != set(want):
        return float("inf")
    for name, a in got.items():
        with np.errstate(over="ignore"):
            b = np.asarray(want[name], np.float64)
            finite = np.isfinite(b.astype(np.float32))
        if a.shape != b.shape or not np.array_equal(np.isfinite(a), finite):
            return float("inf")
        if finite.any():
            scale = float(np.abs(b[finite]).max()) or 1.0
            largest = max(largest, float(np.abs(a[finite] - b[finite]).max()) / scale)
    return largest


def _framework(
    path: Path, graph: g.Graph, options: Mapping[str, Any]
) -> tuple[str, Callable[[Arrays], Arrays] | None]:
    """The source's own framework: what it is, and a function that runs the source in it."""
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        return _onnxruntime(path, options.get("constants") or {})
    if suffix in (".keras", ".h5", ".hdf5"):
        return _keras(path, graph)
    return "a state_dict has no code to run: the oracle stands for it", None


def _onnxruntime(
    path: Path, constants: Mapping[str, Any]
) -> tuple[str, Callable[[Arrays], Arrays]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(os.fspath(path), options, ["CPUExecutionProvider"])
    kinds = {
        f"tensor({name})": dtype
        for name, dtype in (
            ("int64", np.int64), ("int32", np.int32), ("int16", np.int16), ("int8", np.int8),
            ("uint8", np.uint8), ("bool", np.bool_), ("float16", np.float16),
            ("double", np.float64),
        )
    }  # fmt: skip
    dtypes = {i.name: kinds.get(i.type, np.float32) for i in session.get_inputs()}
    fixed = {n: np.asarray(a).astype(dtypes[n]) for n, a in constants.items() if n in dtypes}
    names = [o.name for o in session.get_outputs()]

    def call(x: Arrays) -> Arrays:
        given = {n: a.astype(dtypes[n]) for n, a in x.items()}
        return dict(zip(names, session.run(names, {**given, **fixed}), strict=True))

    return f"onnxruntime {onnxruntime.__version__}", call


def _keras(path: Path, graph: g.Graph) -> tuple[str, Callable[[Arrays], Arrays]]:
    import importlib.util

    if "KERAS_BACKEND" not in os.environ:
        for backend, module in (("tensorflow",) * 2, ("torch",) * 2, ("jax",) * 2):
            if importlib.util.find_spec(module):
                os.environ["KERAS_BACKEND"] = backend
                break
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = keras.models.load_model(path, compile=False, safe_mode=True)

    def call(x: Arrays) -> Arrays:
        given = [x[t.name] if t.name in x else x[v.name]
                 for t, v in zip(model.inputs, graph.inputs, strict=True)]  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            y = model(given[0] if len(given) == 1 else given, training=False)
            if not isinstance(y, dict):
                found = keras.tree.flatten(y)
                y = {v.name: a for v, a in zip(graph.outputs, found, strict=True)}
            return {name: keras.ops.convert_to_numpy(a) for name, a in y.items()}

    return f"keras {keras.__version__} on {keras.backend.backend()}", call


def check_recorded(model: Model, path: Path, limit: float = LIMIT) -> dict[str, Any]:
    """Outputs recorded elsewhere: arrays by the names of inputs and outputs, perhaps 'lengths'."""
    arrays = read(path)
    if not isinstance(arrays, dict):
        raise UsageError("--recorded takes a .npz file")
    missing = [n for n in (*model.inputs, *model.outputs) if n not in arrays]
    if missing:
        raise FormatError(
            f"'{path}' has no array '{missing[0]}'; it needs "
            + ", ".join(f"'{n}'" for n in (*model.inputs, *model.outputs))
        )
    got = model.predict({n: arrays[n] for n in model.inputs}, arrays.get("lengths"))
    error = _error(by_name(model, got), {n: arrays[n] for n in model.outputs})
    text = f"largest relative error {error:.2g} (limit {limit:g})"
    return finding("recorded", error <= limit, text, error=error, limit=limit)


def in_hex(digests: Mapping[str, int]) -> dict[str, str]:
    return {name: f"{value:08x}" for name, value in digests.items()}


def listed(digests: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {value:08x}" for name, value in digests.items())


def finding(name: str, ok: bool | None, text: str, **facts: Any) -> dict[str, Any]:
    return {"name": name, "ok": ok, "text": text, **facts}
