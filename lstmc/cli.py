"""The command ``lstmc``: convert, verify, info, run, targets.

Errors are one line on stderr, ``lstmc: error: ...``. The exit status is 0 when all is well, 1 when
a conversion or a check failed or a file is damaged, 2 for bad use (an unknown option, a file that
is missing or can't be opened, a wrong ending), 130 after an interrupt.
"""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from . import __version__, _core, digest, format, get_target, load, set_target, targets
from . import graph as g
from . import runtime as _runtime
from .errors import Error, FormatError, ShapeError, TargetError

if TYPE_CHECKING:
    from .model import Model

LIMIT = 1e-5  # of relative errors in verify
BLOCK_BYTES = 1 << 24  # of input read at once by run
STATUS = """exit status: 0 ok; 1 a conversion or check failed, or a file is damaged;
2 bad use, such as an unknown option, a missing file or a wrong ending"""

Arrays = dict[str, np.ndarray]


class UsageError(Exception):
    """Arguments that make no sense: exit status 2."""


class CheckError(Exception):
    """A check that failed after its findings were printed: exit status 1."""


# ------------------------------------------------------------------------------------- commands


def convert(args: argparse.Namespace) -> None:
    """Write SRC as an .lstmc file, once its golden sample gives the same bits on every target."""
    output = args.output or Path(args.source.stem + ".lstmc")
    _check_ending(output, ".lstmc")
    _check_readable(args.source)
    if output.exists() and output.samefile(args.source):
        raise UsageError(f"'{output}' is the source itself; give another name with -o")
    _check_writable(output)
    start = time.perf_counter()
    model = _convert(args.source, _options(args))
    seconds = time.perf_counter() - start
    names = _chosen_targets(args)
    wrong = _check_golden(model, names)
    if wrong:
        raise FormatError(f"the golden sample differs between targets: {wrong}; nothing written")
    model.save(output)
    golden = model.golden
    assert golden is not None
    facts = {
        "output": str(output),
        "source": str(args.source),
        "layers": [{"name": x.name, "type": type(x).__name__} for x in model.graph.layers],
        "parameters": _parameters(model),
        "bytes": model.nbytes,
        "golden": _hex(golden.digests),
        "targets": names,
        "seconds": seconds,
    }
    layers = " + ".join(type(x).__name__ for x in model.graph.layers)
    _report(
        args,
        facts,
        f"{output}: {layers}, {facts['parameters']:,} parameters, {model.nbytes:,} bytes; "
        f"golden sample {_list(golden.digests)} on {', '.join(names)}",
    )


def verify(args: argparse.Namespace) -> None:
    """Check a file's records, CRC and golden sample and, if asked, compare it with its source."""
    _check_ending(args.model, ".lstmc")
    for path in (args.model, args.against, args.recorded):
        if path is not None:
            _check_readable(path)
    if args.against is None and (args.arch or args.constant):
        raise UsageError("--arch and --constant describe the source: give it with --against")
    model = load(args.model)
    checks = [_check("file", True, f"format {format.VERSION}, CRC and records are sound")]
    checks.append(_verify_golden(model, _chosen_targets(args)))
    if args.against:
        checks += _verify_against(model, args)
    if args.recorded:
        checks.append(_verify_recorded(model, args))
    failed = [c["name"] for c in checks if c["ok"] is False]
    facts = {"file": str(args.model), "ok": not failed, "checks": checks}
    marks = {True: "ok", False: "FAILED", None: "-"}
    width = max(len(c["name"]) for c in checks)
    lines = [f"{c['name']:{width}}  {marks[c['ok']]:6}  {c['text']}" for c in checks]
    _report(args, facts, "\n".join(lines))
    if failed:
        raise CheckError(f"'{args.model}' failed: {', '.join(failed)}")


def info(args: argparse.Namespace) -> None:
    """Say what is in a model: shapes, layers, provenance, golden sample, memory."""
    import hashlib

    from .summary import layer_rows

    _check_readable(args.model)
    model = load(args.model)
    golden = model.golden
    blob = model.to_bytes()
    facts = {
        "file": str(args.model),
        "bytes": model.nbytes,
        "sha256": hashlib.sha256(blob).hexdigest(),
        "format_version": int.from_bytes(blob[8:12], "little"),
        "inputs": {name: list(shape) for name, shape in model.inputs.items()},
        "outputs": {name: list(shape) for name, shape in model.outputs.items()},
        "layers": layer_rows(model),
        "parameters": _parameters(model),
        "arena_bytes": _core.Session(model._core, 1, 1, _runtime.target_code()).arena_bytes,
        "golden": golden
        and {"batch": golden.batch, "time": golden.time, "digests": _hex(golden.digests)},
        "provenance": model.provenance,
        "target": get_target(),
    }
    sample = "none"
    if golden is not None:
        sample = f"{golden.batch} x {golden.time} steps -> {_list(golden.digests)}"
    text = f"""{model.summary()}

format   {facts["format_version"]}
golden   {sample}
arena    {facts["arena_bytes"]:,} bytes for one row, one step at a time, on {get_target()}
sha256   {facts["sha256"]}"""
    _report(args, facts, text)


def run(args: argparse.Namespace) -> None:
    """Run a model on the arrays of a file."""
    _check_ending(args.output, ".npy", ".npz")
    _check_ending(args.input, ".npy", ".npz")
    for path in (args.model, args.input, args.lengths):
        if path is not None:
            _check_readable(path)
    _check_writable(args.output)
    for path in (args.model, args.input, args.lengths):
        if path is not None and args.output.exists() and args.output.samefile(path):
            raise UsageError(f"'{args.output}' is also an input")
    if args.batch is not None and args.batch < 1:
        raise UsageError("--batch must be at least 1")
    model = load(args.model)
    if len(model.outputs) > 1 and args.output.suffix.lower() == ".npy":
        names = ", ".join(f"'{n}'" for n in model.outputs)
        raise UsageError(f"the model has several outputs ({names}): give --output a .npz file")
    arrays = _read_inputs(args.input, model)
    lengths = None if args.lengths is None else _read(args.lengths)
    if isinstance(lengths, dict):
        raise UsageError("--lengths takes a .npy file")
    start = time.perf_counter()
    outputs = _predict(model, arrays, lengths, args.batch)
    seconds = time.perf_counter() - start
    _write(args.output, outputs)
    facts = {
        "output": str(args.output),
        "shapes": {name: list(y.shape) for name, y in outputs.items()},
        "digest": {name: f"{digest(y):08x}" for name, y in outputs.items()},
        "seconds": seconds,
        "target": get_target(),
    }
    shapes = ", ".join(f"{n} {list(y.shape)} {digest(y):08x}" for n, y in outputs.items())
    _report(args, facts, f"{args.output}: {shapes} in {seconds:.3g} s on {get_target()}")


def list_targets(args: argparse.Namespace) -> None:
    """List the SIMD targets that this build has and this CPU runs, weakest first."""
    _report(
        args,
        {"targets": targets(), "current": get_target()},
        "\n".join(f"{name}{' (in use)' if name == get_target() else ''}" for name in targets()),
    )


# --------------------------------------------------------------------------------------- golden


def _golden_digests(model: Model, names: list[str]) -> dict[str, dict[str, int]]:
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


def _check_golden(model: Model, names: list[str]) -> str:
    """What differs from the digests stored in the model, or an empty string."""
    assert model.golden is not None
    return ", ".join(
        f"'{output}' is {value:08x} on {target}, {model.golden.digests[output]:08x} in the file"
        for target, digests in _golden_digests(model, names).items()
        for output, value in digests.items()
        if value != model.golden.digests[output]
    )


def _verify_golden(model: Model, names: list[str]) -> dict[str, Any]:
    if model.golden is None:
        return _check("golden sample", None, "the file has none")
    wrong = _check_golden(model, names)
    text = wrong or f"{_list(model.golden.digests)} on {', '.join(names)}"
    return _check("golden sample", not wrong, text, digests=_hex(model.golden.digests))


# -------------------------------------------------------------------------------------- against


def _verify_against(model: Model, args: argparse.Namespace) -> list[dict[str, Any]]:
    source = _convert(args.against, _options(args))
    difference = _difference(model.graph, source.graph)
    text = difference or f"bit-equal to '{args.against.name}' converted again"
    checks = [_check("weights", not difference, text)]
    if model.graph.inputs != source.graph.inputs:
        return checks  # nothing can be fed to both
    samples = list(_samples(source.graph))

    from . import reference

    def oracle(x: Arrays) -> Arrays:
        return reference.run(source.graph, x)

    checks.append(_compare("oracle", "lstmc/reference.py in float64", model, samples, oracle, args))
    try:
        label, framework = _framework(args.against, source.graph, _options(args))
    except ImportError as e:
        return [*checks, _check("framework", None, f"not installed: {e.name or e}")]
    except Exception as e:  # whatever a framework raises: it is not what is tested
        return [*checks, _check("framework", None, f"did not load the source: {_line(e)}")]
    if framework is None:
        return [*checks, _check("framework", None, label)]
    return [*checks, _compare("framework", label, model, samples, framework, args)]


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
    fixed = next((v.time for v in graph.inputs if v.time), None)
    for batch, steps in ((1, 1), (2, 5), (3, 33), (1, 100)) if timed else ((1, 1), (3, 1), (17, 1)):
        yield {
            v.name: rng.standard_normal(
                tuple(int(n or 0) for n in v.shape(batch, fixed or steps)), dtype=np.float32
            )
            for v in graph.inputs
        }


def _compare(
    name: str,
    label: str,
    model: Model,
    samples: list[Arrays],
    peer: Callable[[Arrays], Arrays],
    args: argparse.Namespace,
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
        largest = max(largest, _error(_by_name(model, model.predict(x)), want))
    if not ran and problem is not None:
        return _check(name, None, f"{label} did not run: {_line(problem)}")
    ok = largest <= args.limit
    text = f"largest relative error {largest:.2g} (limit {args.limit:g}), {ran} inputs, {label}"
    return _check(name, ok, text, error=largest, limit=args.limit)


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
    kinds = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(double)": np.float64}
    fixed = {
        i.name: np.asarray(constants[i.name]).astype(kinds.get(i.type, np.float32))
        for i in session.get_inputs()
        if i.name in constants
    }
    names = [o.name for o in session.get_outputs()]

    def call(x: Arrays) -> Arrays:
        return dict(zip(names, session.run(names, {**x, **fixed}), strict=True))

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


def _verify_recorded(model: Model, args: argparse.Namespace) -> dict[str, Any]:
    """Outputs recorded elsewhere: arrays by the names of inputs and outputs, perhaps 'lengths'."""
    arrays = _read(args.recorded)
    if not isinstance(arrays, dict):
        raise UsageError("--recorded takes a .npz file")
    missing = [n for n in (*model.inputs, *model.outputs) if n not in arrays]
    if missing:
        raise FormatError(
            f"'{args.recorded}' has no array '{missing[0]}'; it needs "
            + ", ".join(f"'{n}'" for n in (*model.inputs, *model.outputs))
        )
    got = model.predict({n: arrays[n] for n in model.inputs}, arrays.get("lengths"))
    error = _error(_by_name(model, got), {n: arrays[n] for n in model.outputs})
    text = f"largest relative error {error:.2g} (limit {args.limit:g})"
    return _check("recorded", error <= args.limit, text, error=error, limit=args.limit)


# ---------------------------------------------------------------------------------------- arrays


def _read(path: Path) -> np.ndarray | Arrays:
    """The array of a .npy file, mapped, or the arrays of a .npz; nothing is ever unpickled."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = np.load(path, mmap_mode="r", allow_pickle=False)
            if isinstance(found, np.ndarray):
                return found
            with found:
                return {name: found[name] for name in found.files}
    except (OSError, MemoryError):
        raise
    except Exception as e:  # zipfile, zlib, struct, tokenize, ...: a damaged file raises them all
        raise FormatError(f"'{path}' is not a sound {path.suffix} file: {_line(e)}") from e


def _read_inputs(path: Path, model: Model) -> Arrays:
    found = _read(path)
    names = list(model.inputs)
    if isinstance(found, np.ndarray):
        if len(names) > 1:
            wanted = ", ".join(f"'{n}'" for n in names)
            raise UsageError(f"the model has several inputs ({wanted}): give --input a .npz file")
        return {names[0]: found}
    if len(names) == 1 and list(found) == ["arr_0"]:  # as numpy.savez(path, x) names it
        return {names[0]: found["arr_0"]}
    if set(found) != set(names):
        raise ShapeError(f"'{path}' holds {sorted(found)}, the model's inputs are {sorted(names)}")
    return found


def _write(path: Path, outputs: Arrays) -> None:
    """Whole or not at all: a temporary file, then a rename."""
    import zipfile

    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".lstmc-") as directory:
        temporary = Path(directory) / "output"
        with temporary.open("wb") as f:
            if path.suffix.lower() == ".npy":
                np.save(f, next(iter(outputs.values())))
            else:
                with zipfile.ZipFile(f, "w", allowZip64=True) as archive:
                    for name, y in outputs.items():
                        with archive.open(name + ".npy", "w", force_zip64=True) as member:
                            np.lib.format.write_array(member, y, allow_pickle=False)
        temporary.replace(path)


def _predict(model: Model, arrays: Arrays, lengths: np.ndarray | None, block: int | None) -> Arrays:
    """Predict in blocks of rows, so that a mapped input is never in memory as a whole."""
    values = {v.name: v for v in model.graph.inputs}
    axes = {name: v.axes.index(g.BATCH) for name, v in values.items()}
    sound = all(len(v.axes) == arrays[n].ndim for n, v in values.items())
    rows = {arrays[n].shape[axes[n]] for n in values} if sound else {0}
    batch = max(rows)
    bytes_a_row = sum(a.nbytes for a in arrays.values()) // max(batch, 1)
    block = block or max(1, BLOCK_BYTES // max(bytes_a_row, 1))
    fits = sound and len(rows) == 1 and all(_fits(v, arrays[n]) for n, v in values.items())
    if lengths is not None:
        fits = fits and lengths.shape == (batch,)
    if not fits or batch <= block:  # predict says what doesn't fit
        return _by_name(model, model.predict(arrays, lengths))
    outputs: Arrays = {}
    progress = _Progress(batch)
    for start in range(0, batch, block):
        part = slice(start, start + block)
        x = {n: a[(slice(None),) * axes[n] + (part,)] for n, a in arrays.items()}
        y = _by_name(model, model.predict(x, None if lengths is None else lengths[part]))
        for v in model.graph.outputs:
            axis = v.axes.index(g.BATCH)
            if v.name not in outputs:
                shape = list(y[v.name].shape)
                shape[axis] = batch
                outputs[v.name] = np.empty(shape, np.float32)
            outputs[v.name][(slice(None),) * axis + (part,)] = y[v.name]
        progress.show(min(start + block, batch))
    progress.end()
    return outputs


def _fits(value: g.Value, array: np.ndarray) -> bool:
    return all(n in (None, m) for n, m in zip(value.shape(), array.shape, strict=True))


class _Progress:
    """Rows done, on one line of a terminal's stderr, once the work has taken a second."""

    def __init__(self, total: int) -> None:
        self.total, self.start, self.last = total, time.monotonic(), 0.0
        self.terminal = sys.stderr is not None and sys.stderr.isatty()

    def show(self, done: int) -> None:
        now = time.monotonic()
        if self.terminal and now - self.start > 1 and now - self.last > 0.1:
            left = (now - self.start) * (self.total - done) / done
            text = (
                f"{done:,} of {self.total:,} rows, {100 * done // self.total} %, {left:.0f} s left"
            )
            print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)
            self.last = now

    def end(self) -> None:
        if self.last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


# --------------------------------------------------------------------------------------- helpers


def _convert(source: Path, options: Mapping[str, Any]) -> Model:
    from . import convert as convert_model

    return convert_model(source, **options)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of converters that were given."""
    options: dict[str, Any] = {}
    if args.arch is not None:
        if args.arch.lower().endswith(".toml"):
            _check_readable(Path(args.arch))
        options["arch"] = args.arch
    for item in args.constant:
        name, equals, text = item.partition("=")
        if not name or not equals:
            raise UsageError(f"--constant takes NAME=VALUE, got '{item}'")
        options.setdefault("constants", {})[name] = _constant(text)
    return options


def _constant(text: str) -> np.ndarray:
    if text.lower().endswith(".npy"):
        _check_readable(Path(text))
        array = _read(Path(text))
        assert isinstance(array, np.ndarray)
        return array
    try:
        array = np.asarray(json.loads(text))
        if array.dtype.kind not in "biuf":
            raise ValueError
    except (ValueError, RecursionError):
        raise UsageError(
            f"--constant: '{text}' is neither a number, a JSON list of numbers nor a .npy file"
        ) from None
    return array


def _chosen_targets(args: argparse.Namespace) -> list[str]:
    return [get_target()] if args.target else targets()


def _by_name(model: Model, y: np.ndarray | dict[str, np.ndarray]) -> Arrays:
    return y if isinstance(y, dict) else {next(iter(model.outputs)): y}


def _parameters(model: Model) -> int:
    return sum(a.size for x in model.graph.layers for _, _, a in x.tensors() if a is not None)


def _hex(digests: Mapping[str, int]) -> dict[str, str]:
    return {name: f"{value:08x}" for name, value in digests.items()}


def _list(digests: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {value:08x}" for name, value in digests.items())


def _check(name: str, ok: bool | None, text: str, **facts: Any) -> dict[str, Any]:
    return {"name": name, "ok": ok, "text": text, **facts}


def _check_ending(path: Path, *endings: str) -> None:
    if path.suffix.lower() not in endings:
        raise UsageError(f"'{path}' must end with {' or '.join(endings)}")


def _check_readable(path: Path) -> None:
    """OSError if a file can't be opened; UsageError for what isn't one, such as a pipe."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode) and path.suffix:
        raise UsageError(f"'{path}' is a directory")
    if not stat.S_ISREG(mode):
        raise UsageError(f"'{path}' is not a file")
    with path.open("rb"):
        pass


def _check_writable(path: Path) -> None:
    """UsageError before any work if the result could not be put there."""
    if path.is_dir():
        raise UsageError(f"'{path}' is a directory")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder '{path.parent}'")


def _printable(text: str) -> str:
    """Names come from files: what would steer a terminal is shown as an escape."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _line(error: object) -> str:
    return _printable(" ".join(str(error).split()) or type(error).__name__)


def _strict(value: Any) -> Any:
    """JSON has no infinity and no NaN."""
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: _strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(v) for v in value]
    return value


def _report(args: argparse.Namespace, facts: Mapping[str, Any], text: str) -> None:
    """The result: one JSON object with --json, else text."""
    print(json.dumps(_strict(dict(facts)), allow_nan=False) if args.json else _printable(text))


# ---------------------------------------------------------------------------------------- parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} ({self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog="lstmc",
        description="Recurrent networks with the same output bits on every machine.",
        epilog=f"""example:
  lstmc convert forecaster.keras
  lstmc run forecaster.lstmc --input x.npy --output y.npy

{STATUS}""",
        formatter_class=plain,
    )
    parser.add_argument("--version", action="version", version=f"lstmc {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    any_model = "an .lstmc file, or a model to convert in passing"

    def command(
        name: str, call: Callable[[argparse.Namespace], None], example: str
    ) -> argparse.ArgumentParser:
        text = (call.__doc__ or "").strip()
        p = commands.add_parser(
            name,
            help=text[0].lower() + text[1:].rstrip("."),
            description=text,
            epilog=f"example:\n  {example}\n\n{STATUS}",
            formatter_class=plain,
        )
        p.add_argument("--json", action="store_true", help="print one JSON object")
        p.add_argument("--target", metavar="NAME", help="use one SIMD target (see lstmc targets)")
        p.set_defaults(call=call)
        return p

    def source_options(p: argparse.ArgumentParser) -> None:
        p.add_argument(
            "--arch",
            metavar="ARCH",
            help="what a PyTorch state_dict doesn't say: a .toml file, or one line such as "
            "'input batch time 10; lstm weights=lstm last; dense weights=fc'",
        )
        p.add_argument(
            "--constant",
            metavar="NAME=VALUE",
            action="append",
            default=[],
            help="fix an input of an ONNX model: a number, a JSON list or a .npy file",
        )

    p = command("convert", convert, "lstmc convert forecaster.pt --arch forecaster.toml -o f.lstmc")
    p.add_argument(
        "source", metavar="SRC", type=Path, help=".keras .h5 .pt .pth .safetensors .onnx"
    )
    p.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        type=Path,
        help="default: SRC's name, .lstmc, in this folder",
    )
    source_options(p)

    p = command("verify", verify, "lstmc verify forecaster.lstmc --against forecaster.keras")
    p.add_argument("model", metavar="OUT", type=Path, help="the .lstmc file")
    p.add_argument(
        "--against",
        metavar="SRC",
        type=Path,
        help="convert SRC again and compare weights; run random inputs through the float64 "
        "oracle and, if it is installed, through SRC's own framework (which loads SRC)",
    )
    p.add_argument(
        "--recorded",
        metavar="NPZ",
        type=Path,
        help="compare with recorded arrays, named as the model's inputs and outputs",
    )
    p.add_argument(
        "--limit", type=float, default=LIMIT, help="largest relative error allowed (%(default)g)"
    )
    source_options(p)

    p = command("info", info, "lstmc info forecaster.lstmc --json")
    p.add_argument("model", metavar="OUT", type=Path, help=any_model)

    p = command("run", run, "lstmc run forecaster.lstmc --input x.npy --output y.npy")
    p.add_argument("model", metavar="OUT", type=Path, help=any_model)
    p.add_argument(
        "--input", metavar="FILE", type=Path, required=True, help=".npy, or .npz by input name"
    )
    p.add_argument(
        "--output", metavar="FILE", type=Path, required=True, help=".npy, or .npz by output name"
    )
    p.add_argument(
        "--lengths", metavar="NPY", type=Path, help="valid steps of each row, int [batch]"
    )
    p.add_argument("--batch", metavar="N", type=int, help="rows at once; never changes the result")

    command("targets", list_targets, "lstmc targets")
    return parser


def _run(argv: list[str] | None) -> None:
    args = _parser().parse_args(argv)
    if args.target:
        try:
            set_target(args.target)
        except TargetError as e:
            raise UsageError(str(e)) from e
    args.call(args)
    if sys.stdout is not None:
        sys.stdout.flush()


def _failure(error: BaseException) -> tuple[int, str]:
    """Exit status and message for what ended a command."""
    if isinstance(error, UsageError | FileNotFoundError | IsADirectoryError | NotADirectoryError
                  | PermissionError):  # fmt: skip
        status = 2
    else:
        status = 1
    if isinstance(error, OSError) and error.strerror:
        where = f": '{error.filename}'" if error.filename is not None else ""
        return status, f"{error.strerror}{where}"
    if isinstance(error, MemoryError) and not isinstance(error, Error):
        return status, f"out of memory: {error}" if str(error) else "out of memory"
    if isinstance(error, UsageError | CheckError | Error | OSError):
        return status, str(error)
    return status, f"internal error, please report it: {type(error).__name__}: {error}"


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status; ``argv`` is sys.argv[1:] if None."""
    before = _runtime._target
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal can't show is no error
            stream.reconfigure(errors="backslashreplace")
    try:
        _run(argv)
        return 0
    except SystemExit as e:  # --help, --version
        return e.code if isinstance(e.code, int) else 0
    except BrokenPipeError:  # the reader of our output has gone; keep the exit from noticing
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("lstmc: interrupted", file=sys.stderr)
        return 130
    except Exception as e:
        status, message = _failure(e)
        print(f"lstmc: error: {_line(message)}", file=sys.stderr)
        return status
    finally:
        _runtime._target = before
