"""What each command of :mod:`lstmc.cli` does: its arguments checked, its result printed."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import stat
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import convert as convert_model
from . import format, get_target, load, presets, targets
from .arrays import read, read_inputs, write_bytes
from .errors import FormatError
from .presets import PRESETS, table
from .recordings import given_samples
from .terminal import CheckError, UsageError, printable
from .verify import check, check_golden, finding, in_hex, listed, wrong_digests

if TYPE_CHECKING:
    from .export import Train
    from .inspect import Trace
    from .model import Model

MOST_LAYERS = 16  # that convert names one by one


def convert(args: argparse.Namespace) -> None:
    """Write SRC as an .lstmc file, once its golden sample gives the same bits on every target.

    With --target CHIP its weights are packed for that kind of chip, which reads them in place at
    full speed then; SRC may be an .lstmc file, of which all else stays. No result depends on it.

    Where OUT ends with .onnx, an ONNX model for other runtimes is written instead, of an .lstmc
    file or of any source.
    """
    from .summary import notes

    output = args.output or Path(args.source.stem + ".lstmc")
    _check_ending(output, ".lstmc", ".onnx")
    to_onnx = output.suffix.lower() == ".onnx"
    if to_onnx and args.preset is not None:
        raise UsageError(f"an ONNX file is for no chip: leave --target {args.preset.name} out")
    _check_readable(args.source)
    if output.exists() and output.samefile(args.source):
        raise UsageError(f"'{output}' is the source itself; give another name with -o")
    _check_writable(output)
    start = time.perf_counter()
    given = options(args)
    if (args.preset is not None or to_onnx) and args.source.suffix.lower() == ".lstmc":
        if given:
            raise UsageError(
                f"--arch, --set and --state describe a source: '{args.source}' is none"
            )
        model = load(args.source)
    else:
        model = convert_model(args.source, **given)
    if args.preset is not None:
        model = model.packed(args.preset.name)
    seconds = time.perf_counter() - start
    names = _chosen_targets(args)
    # An .lstmc file without a golden sample stays without: nothing says what it should give.
    wrong = model.golden and wrong_digests(model, names)
    if wrong:
        raise FormatError(f"the golden sample gives other digests: {wrong}; nothing written")
    if to_onnx:
        model.save_onnx(output)
    else:
        model.save(output)
    size = output.stat().st_size
    digests = model.golden.digests if model.golden else {}
    said = notes(model.provenance)
    if args.preset is not None and not args.preset.tested:
        said = [f"note     {args.preset.name}: {args.preset.about}", *said]
    facts = {
        "output": str(output),
        "source": str(args.source),
        "layers": [{"name": x.name, "type": type(x).__name__} for x in model.graph.layers],
        "parameters": _parameters(model),
        "bytes": size,
        "preset": args.preset and args.preset.name,
        "panel": model.panel,
        "golden": in_hex(digests),
        "targets": names,
        "notes": said,
        "seconds": seconds,
    }
    kinds = [type(x).__name__ for x in model.graph.layers]
    layers = " + ".join(kinds)
    if len(kinds) > MOST_LAYERS:
        counts = ", ".join(f"{n} {kind}" for kind, n in Counter(kinds).items())
        layers = f"{len(kinds)} layers ({counts})"
    if args.preset is not None:
        layers = f"for {args.preset.name}, panels of {model.panel}: {layers}"
    sample = f"{listed(digests)} on {', '.join(names)}" if digests else "none"
    _report(
        args,
        facts,
        f"{output}: {layers}, {facts['parameters']:,} parameters, {size:,} bytes; "
        f"golden sample {sample}" + "\n".join(["", *said]),
    )


def verify(args: argparse.Namespace) -> None:
    """Check a file's records, CRC and golden sample and, if asked, compare it with its source."""
    _check_ending(args.model, ".lstmc")
    for path in args.input:
        _check_ending(path, ".npy", ".npz")
    for path in (args.model, args.against, args.recorded, *args.input):
        if path is not None:
            _check_readable(path)
    if args.against is None and (args.arch or args.set or args.state):
        raise UsageError("--arch, --set and --state describe the source: give --against SRC")
    model = load(args.model)
    checks = [finding("file", True, f"format {format.VERSION}, CRC and records are sound")]
    checks.append(check_golden(model, _chosen_targets(args)))
    checks += check(
        model,
        args.against,
        options(args),
        given=[sample for path in args.input for sample in given_samples(path, model)],
        recorded=args.recorded,
        layers=args.layers,
        limit=args.limit,
    )
    tables = {c["name"]: c.pop("table", []) for c in checks}
    failed = [c["name"] for c in checks if c["ok"] is False]
    facts = {"file": str(args.model), "ok": not failed, "checks": checks}
    marks = {True: "ok", False: "FAILED", None: "-"}
    width = max(len(c["name"]) for c in checks)
    lines = []
    for c in checks:
        lines.append(f"{c['name']:{width}}  {marks[c['ok']]:6}  {c['text']}")
        lines += tables[c["name"]]
    _report(args, facts, "\n".join(lines))
    if failed:
        raise CheckError(f"'{args.model}' failed: {', '.join(failed)}")


def info(args: argparse.Namespace) -> None:
    """Say what is in a model: layers, shapes, multiply-adds, memory, provenance, golden sample;
    and what it takes as firmware of each kind of chip."""
    import shutil

    from .info import chips, chips_text, facts, text

    _check_readable(args.model)
    for name in ("batch", "time"):
        if not 1 <= getattr(args, name) < 1 << 30:
            raise UsageError(f"--{name} must be at least 1 and less than 2^30")
    model = _model(args)
    found = facts(model, args.batch, args.time)
    columns = shutil.get_terminal_size((100, 24)).columns
    rows = chips(model, args.time)
    _report(
        args,
        {"file": str(args.model), **found, "chips": rows},
        f"{text(found, columns)}\n\n{chips_text(rows)}",
    )


def export(args: argparse.Namespace) -> None:
    """Write a model as C99 that compiles with nothing else, and say what memory it takes."""
    from .export import export as export_model

    _check_readable(args.model)
    if args.output.exists() and not args.output.is_dir():
        raise UsageError(f"'{args.output}' is a file: -o wants a directory for several files")
    if args.preset is None and args.target is not None:
        raise UsageError(f"a firmware is for a chip, not for '{args.target}': {presets.listed()}")
    for s in args.state:
        if ":" not in s and s not in ("internal", "external"):
            raise UsageError(f"--state is internal, external or OUTPUT:STATE, not '{s}'")
    where = [s for s in args.state if s in ("internal", "external")]
    args.state = [s for s in args.state if s not in where]
    name = args.name or re.sub(r"\W", "_", args.model.stem, flags=re.A).lstrip("_0123456789")
    train = _training(args)
    made = export_model(
        _model(args),
        args.output,
        name or "model",
        args.preset or "host",
        state=where[-1] if where else "internal",
        golden=args.golden == "on",
        time=None if train else args.time,
        train=train,
    )
    facts = {
        "directory": str(made.directory),
        "name": made.name,
        "target": made.target,
        "files": made.files,
        "golden": made.golden_digest if made.golden_digest is None else f"{made.golden_digest:08x}",
        **made.memory,
    }
    lines = [f"{args.output}: {', '.join(made.files)}, for {made.target}", *made.report]
    _report(args, facts, "\n".join(lines))


def _training(args: argparse.Namespace) -> Train | None:
    """What export is to train, of its options."""
    from .export import Train
    from .training.specs import Loss, Optimizer

    given = {
        "--loss": args.loss, "--optimizer": args.optimizer, "--learning-rate": args.learning_rate,
        "--freeze": args.freeze, "--recompute": args.recompute or None, "--batch": args.batch,
    }  # fmt: skip
    if not args.train:
        for option, value in given.items():
            if value is not None:
                raise UsageError(f"{option} says something about training: it wants --train")
        return None
    loss = _with_settings("--loss", Loss, args.loss or "mse")
    rate = {} if args.learning_rate is None else {"learning_rate": args.learning_rate}
    optimizer = _with_settings("--optimizer", Optimizer, args.optimizer or "adam", **rate)
    frozen = tuple(n for n in (args.freeze or "").split(",") if n)
    batch = 1 if args.batch is None else args.batch
    return Train(loss, optimizer, args.time, frozen, args.recompute, batch)


def _with_settings(option: str, kind: Callable[..., Any], text: str, **more: float) -> Any:
    """A dataclass from its kind and settings, as huber,delta=0.5."""
    name, *settings = text.split(",")
    known = {f.name for f in dataclasses.fields(kind)} - {"kind"}  # type: ignore[arg-type]
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or key not in known:
            raise UsageError(
                f"{option} {name} has no setting '{setting}'; there are, as NAME=NUMBER, "
                f"{', '.join(sorted(known))}"
            )
        try:
            more[key] = float(value)
        except ValueError:
            raise UsageError(f"{option}: {key} is a number, not '{value}'") from None
    return kind(name, **more)


def _traced(
    args: argparse.Namespace, *, needed: bool = True
) -> tuple[Model, Trace | None, int, str]:
    """The model of a command, its trace, the row to show, and what that is a row of. There is no
    trace, unless it is needed, of a file without a golden sample."""
    from .inspect import rows, trace

    if args.row < 0:
        raise UsageError("--row must be at least 0")
    model = _model(args)
    if args.input is not None:
        x = rows(model, read_inputs(args.input, model), args.row)
        return model, trace(model, x), 0, f"row {args.row} of {args.input.name}"
    if model.golden is None:
        if not needed:
            return model, None, 0, ""
        raise UsageError(f"'{args.model}' has no golden sample: give --input")
    if args.row >= model.golden.batch:
        raise UsageError(f"the golden sample has {model.golden.batch} rows, there is no {args.row}")
    return model, trace(model), args.row, f"row {args.row} of the golden sample"


def _check_picture(args: argparse.Namespace, *endings: str) -> Path:
    """Where plot and report write: UsageError if that can't be."""
    output: Path = args.output or Path(args.model.stem + endings[0])
    _check_ending(output, *endings)
    given = [p for p in (args.model, args.input) if p is not None]
    for path in given:
        _check_readable(path)
    if args.input is not None:
        _check_ending(args.input, ".npy", ".npz")
    _check_writable(output)
    if any(output.exists() and output.samefile(p) for p in given):
        raise UsageError(f"'{output}' is also an input")
    return output


def plot(args: argparse.Namespace) -> None:
    """Draw gates, cell and hidden states of recurrent layers over time as heat maps.

    Input and output are drawn too. h is what the core computes; gates and cell states are
    computed from the layer's inputs by the float64 oracle. What goes beyond a colour scale has
    its own, darkest colours. Needs matplotlib: pip install 'lstmc[plot]'.
    """
    from . import plot as figures

    output = _check_picture(args, ".png", ".svg", ".pdf")
    figures.require()
    _, found, row, label = _traced(args)
    assert found is not None
    layers = args.layer or list(found.recurrent)
    if not found.recurrent:
        raise UsageError(f"'{args.model}' has no recurrent layer")
    for name in layers:
        if name not in found.recurrent:
            known = ", ".join(f"'{n}'" for n in found.recurrent)
            raise UsageError(f"there is no recurrent layer '{name}', only {known}")
    figure = figures.draw(found, layers, row, f"{args.model.name}, {label}")
    write_bytes(output, figures.render(figure, output.suffix.lower()[1:]))
    errors = {n: found.recurrent[n].error for n in layers}
    _report(
        args,
        {"output": str(output), "layers": errors, "bytes": output.stat().st_size},
        f"{output}: {', '.join(layers)}; {label}; oracle and core differ by "
        f"{max(errors.values()):.2g} of the largest h at most",
    )


def report(args: argparse.Namespace) -> None:
    """Write one self-contained page: graph, layers, memory, checks, gates and states over time.

    No script in it and nothing to fetch. With --against, errors against the source are in it,
    as `lstmc verify` finds them; a check that fails is exit status 1, the page is written.
    """
    from .report import page

    output = _check_picture(args, ".html", ".htm")
    if args.against is not None:
        _check_readable(args.against)
        if output.exists() and output.samefile(args.against):
            raise UsageError(f"'{output}' is the source itself; give another name with -o")
    model, found, row, label = _traced(args, needed=False)
    checks = [check_golden(model, _chosen_targets(args))]
    if args.against is not None:
        checks += check(model, args.against, options(args), layers=True)
    source = args.against.name if args.against else ""
    made = page(
        model, args.model.name, checks=checks, against=source, trace=found, row=row, sample=label
    )
    write_bytes(output, made.encode())
    failed = [c["name"] for c in checks if c["ok"] is False]
    facts = {"output": str(output), "bytes": output.stat().st_size, "checks": checks}
    _report(args, facts, f"{output}: {facts['bytes']:,} bytes; {len(failed)} checks failed")
    if failed:
        raise CheckError(f"'{args.model}' failed: {', '.join(failed)}")


def run(args: argparse.Namespace) -> None:
    """Run a model on a file, or on every file of a folder."""
    from .scale.run import ARRAYS, TABLES, run_file, run_files

    folder = args.input.is_dir()
    for path in (args.model, args.lengths) if folder else (args.model, args.input, args.lengths):
        if path is not None:
            _check_readable(path)
    if args.batch is not None and args.batch < 1:
        raise UsageError("--batch must be at least 1")
    options: dict[str, Any] = {"block": args.batch, "resume": args.resume}
    options["columns"] = _columns(args.column)
    options["keep"] = None if args.keep is None else [n for n in args.keep.split(",") if n]
    if folder:
        if args.lengths is not None:
            raise UsageError("--lengths is for one file: the sequences of a folder have their own")
        if args.output.exists() and not args.output.is_dir():
            raise UsageError(f"'{args.output}' is not a folder, as the input is")
    else:
        options["lengths"] = args.lengths
        _check_ending(args.output, *ARRAYS, *TABLES)
        _check_ending(args.input, *ARRAYS, *TABLES)
        _check_writable(args.output)
        for path in (args.model, args.input, args.lengths):
            if path is not None and args.output.exists() and args.output.samefile(path):
                raise UsageError(f"'{args.output}' is also an input")
    model = _model(args)
    start = time.perf_counter()
    result = (run_files if folder else run_file)(model, args.input, args.output, **options)
    facts = {
        "output": str(args.output),
        **result.facts(),
        "seconds": time.perf_counter() - start,
        "target": get_target(),
    }
    took = f"in {facts['seconds']:.3g} s on {get_target()}"
    _report(args, facts, f"{args.output}: {result.text()} {took}")
    if wrong := facts.get("failed"):
        raise CheckError(f"{len(wrong):,} of {facts['files']:,} files failed")


def list_targets(args: argparse.Namespace) -> None:
    """List the SIMD targets that this build has and this CPU runs, weakest first."""
    if args.presets:
        _report(
            args,
            {"presets": {name: asdict(preset) for name, preset in PRESETS.items()}},
            "\n".join(table()),
        )
        return
    _report(
        args,
        {"targets": targets(), "current": get_target()},
        "\n".join(f"{name}{' (in use)' if name == get_target() else ''}" for name in targets()),
    )


# --------------------------------------------------------------------------------------- helpers


def _model(args: argparse.Namespace) -> Model:
    """The model of a command: an .lstmc file, or a source with the options that it needs."""
    given = options(args)
    if args.model.suffix.lower() != ".lstmc":
        return convert_model(args.model, **given)
    if given and getattr(args, "against", None) is None:
        how = ": give --against SRC" if hasattr(args, "against") else f", '{args.model}' is none"
        raise UsageError(f"--arch, --set and --state describe the source{how}")
    return load(args.model)


def options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of converters that were given."""
    options: dict[str, Any] = {}
    if args.arch is not None:
        if args.arch.lower().endswith(".toml"):
            _check_readable(Path(args.arch))
        options["arch"] = args.arch
    for item in args.set:
        name, equals, text = item.partition("=")
        if not name or not equals:
            raise UsageError(f"--set takes NAME=VALUE, got '{item}'")
        constants = options.setdefault("constants", {})
        if name in constants:
            raise UsageError(f"--set gives '{name}' two values")
        constants[name] = _constant(text)
    if args.state:
        options["state"] = args.state
    return options


def _columns(items: list[str]) -> dict[str, list[str]]:
    columns = {}
    for item in items:
        name, _, of = item.partition("=")
        if not name or not of or name in columns:
            raise UsageError(f"--column takes NAME=COLUMN, once for each name, got '{item}'")
        columns[name] = of.split(",")
    return columns


def _constant(text: str) -> np.ndarray:
    if text.lower().endswith(".npy"):
        _check_readable(Path(text))
        array = read(Path(text))
        assert isinstance(array, np.ndarray)
        return array
    try:
        array = np.asarray(json.loads(text))
        if array.dtype.kind not in "biuf":
            raise ValueError
    except (ValueError, RecursionError):
        raise UsageError(
            f"--set: '{text}' is neither a number, a JSON list of numbers nor a .npy file"
        ) from None
    return array


def _chosen_targets(args: argparse.Namespace) -> list[str]:
    return [get_target()] if args.target else targets()


def _parameters(model: Model) -> int:
    return sum(a.size for x in model.graph.layers for _, _, a in x.tensors() if a is not None)


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
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"the folder '{path.parent}' is not writable")


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
    print(json.dumps(_strict(dict(facts)), allow_nan=False) if args.json else printable(text))
