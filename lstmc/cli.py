"""The command ``lstmc``: convert, verify, info, plot, report, run, targets.

Errors are one line on stderr, ``lstmc: error: ...``. The exit status is 0 when all is well, 1 when
a conversion or a check failed or a file is damaged, 2 for bad use (an unknown option, a file that
is missing or can't be opened, a wrong ending), 130 after an interrupt.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from . import (
    __version__,
    format,
    get_target,
    load,
    set_num_threads,
    set_target,
    targets,
)
from . import convert as convert_model
from . import runtime as _runtime
from . import threads as _threads
from .arrays import read, read_inputs, write_bytes
from .errors import Error, FormatError, RangeError, TargetError
from .recordings import given_samples
from .terminal import CheckError, UsageError, line, printable
from .verify import (
    LIMIT,
    check,
    check_golden,
    finding,
    in_hex,
    listed,
    wrong_digests,
)

if TYPE_CHECKING:
    from .inspect import Trace
    from .model import Model

STATUS = """exit status: 0 ok; 1 a conversion or check failed, or a file is damaged;
2 bad use, such as an unknown option, a missing file or a wrong ending"""


# ------------------------------------------------------------------------------------- commands


def convert(args: argparse.Namespace) -> None:
    """Write SRC as an .lstmc file, once its golden sample gives the same bits on every target."""
    from .summary import notes

    output = args.output or Path(args.source.stem + ".lstmc")
    _check_ending(output, ".lstmc")
    _check_readable(args.source)
    if output.exists() and output.samefile(args.source):
        raise UsageError(f"'{output}' is the source itself; give another name with -o")
    _check_writable(output)
    start = time.perf_counter()
    model = convert_model(args.source, **_options(args))
    seconds = time.perf_counter() - start
    names = _chosen_targets(args)
    wrong = wrong_digests(model, names)
    if wrong:
        raise FormatError(f"the golden sample differs between targets: {wrong}; nothing written")
    model.save(output)
    golden = model.golden
    assert golden is not None
    said = notes(model.provenance)
    facts = {
        "output": str(output),
        "source": str(args.source),
        "layers": [{"name": x.name, "type": type(x).__name__} for x in model.graph.layers],
        "parameters": _parameters(model),
        "bytes": model.nbytes,
        "golden": in_hex(golden.digests),
        "targets": names,
        "notes": said,
        "seconds": seconds,
    }
    layers = " + ".join(type(x).__name__ for x in model.graph.layers)
    _report(
        args,
        facts,
        f"{output}: {layers}, {facts['parameters']:,} parameters, {model.nbytes:,} bytes; "
        f"golden sample {listed(golden.digests)} on {', '.join(names)}" + "\n".join(["", *said]),
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
        _options(args),
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
    """Say what is in a model: layers, shapes, multiply-adds, memory, provenance, golden sample."""
    import shutil

    from .info import facts, text

    _check_readable(args.model)
    for name in ("batch", "time"):
        if not 1 <= getattr(args, name) < 1 << 30:
            raise UsageError(f"--{name} must be at least 1 and less than 2^30")
    found = facts(load(args.model), args.batch, args.time)
    columns = shutil.get_terminal_size((100, 24)).columns
    _report(args, {"file": str(args.model), **found}, text(found, columns))


def _traced(
    args: argparse.Namespace, *, needed: bool = True
) -> tuple[Model, Trace | None, int, str]:
    """The model of a command, its trace, the row to show, and what that is a row of. There is no
    trace, unless it is needed, of a file without a golden sample."""
    from .inspect import rows, trace

    if args.row < 0:
        raise UsageError("--row must be at least 0")
    model = load(args.model)
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
    elif args.arch or args.set or args.state:
        raise UsageError("--arch, --set and --state describe the source: give --against SRC")
    model, found, row, label = _traced(args, needed=False)
    checks = [check_golden(model, _chosen_targets(args))]
    if args.against is not None:
        checks += check(model, args.against, _options(args))
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
    model = load(args.model)
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
    _report(
        args,
        {"targets": targets(), "current": get_target()},
        "\n".join(f"{name}{' (in use)' if name == get_target() else ''}" for name in targets()),
    )


# --------------------------------------------------------------------------------------- helpers


def _options(args: argparse.Namespace) -> dict[str, Any]:
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
        options.setdefault("constants", {})[name] = _constant(text)
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
        text = inspect.cleandoc(call.__doc__ or "")
        first = text.partition("\n")[0]
        p = commands.add_parser(
            name,
            help=first[0].lower() + first[1:].rstrip("."),
            description=text,
            epilog=f"example:\n  {example}\n\n{STATUS}",
            formatter_class=plain,
        )
        p.add_argument("--json", action="store_true", help="print one JSON object")
        p.add_argument("--target", metavar="NAME", help="use one SIMD target (see lstmc targets)")
        p.add_argument(
            "--threads", metavar="N", type=int, help="at most so many; never changes the result"
        )
        p.set_defaults(call=call)
        return p

    def source_options(p: argparse.ArgumentParser) -> None:
        p.add_argument(
            "--arch",
            metavar="ARCH",
            help="what a file of weights alone (PyTorch, Keras) doesn't say: a .toml file, or one "
            "line such as 'input batch time 10; lstm weights=lstm last; dense weights=fc'",
        )
        p.add_argument(
            "--set",
            "--constant",
            metavar="NAME=VALUE",
            action="append",
            default=[],
            help="fix an input of an ONNX model: a number, a JSON list or a .npy file",
        )
        p.add_argument(
            "--state",
            metavar="[SEQUENCE[@N]=]OUTPUT:STATE",
            action="append",
            default=[],
            help="the model keeps a state that the source takes and gives: output OUTPUT of one "
            "call is what input STATE takes in the next; N: time steps of a call, if it is open",
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
        "oracle and, if it is installed, through SRC's own framework (which loads SRC, and runs "
        "the code of a TorchScript file)",
    )
    p.add_argument(
        "--input",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="inputs to compare on besides random ones: .npy, .npz by input name, or recorded "
        "calls; repeatable",
    )
    p.add_argument(
        "--recorded",
        metavar="NPZ",
        type=Path,
        help="compare with recorded arrays, named as the model's inputs and outputs, or "
        "in0|NAME, out0|NAME, in1|NAME ... for several calls",
    )
    p.add_argument(
        "--layers",
        action="store_true",
        help="compare all layers; without it, where a comparison failed, the first that is wrong",
    )
    p.add_argument(
        "--limit", type=float, default=LIMIT, help="largest relative error allowed (%(default)g)"
    )
    source_options(p)

    p = command("info", info, "lstmc info forecaster.lstmc --batch 64 --time 100")
    p.add_argument("model", metavar="MODEL", type=Path, help=any_model)
    p.add_argument("--batch", metavar="N", type=int, default=1, help="rows of the arena's sizes")
    p.add_argument("--time", metavar="N", type=int, default=1, help="steps a call, likewise")

    def picture_options(p: argparse.ArgumentParser, endings: str) -> None:
        p.add_argument("model", metavar="MODEL", type=Path, help=any_model)
        p.add_argument(
            "--input",
            metavar="FILE",
            type=Path,
            help=".npy, or .npz by input name; default: the golden sample stored in the file",
        )
        p.add_argument("--row", metavar="N", type=int, default=0, help="of the batch, from 0 on")
        p.add_argument(
            "-o", "--output", metavar="OUT", type=Path, help=f"{endings}; default: MODEL's name"
        )

    p = command("plot", plot, "lstmc plot forecaster.lstmc --input x.npy -o gates.png")
    picture_options(p, ".png, .svg or .pdf")
    p.add_argument(
        "--layer",
        metavar="NAME",
        action="append",
        help="only this recurrent layer; may be repeated",
    )

    p = command("report", report, "lstmc report forecaster.lstmc --against forecaster.keras")
    picture_options(p, ".html")
    p.add_argument("--against", metavar="SRC", type=Path, help="compare with it, as verify does")
    source_options(p)

    p = command("run", run, "lstmc run forecaster.lstmc --input x.npy --output y.npy")
    p.add_argument("model", metavar="OUT", type=Path, help=any_model)
    p.add_argument(
        "--input",
        metavar="PATH",
        type=Path,
        required=True,
        help=".npy, .npz by input name, .parquet, or a folder of such files",
    )
    p.add_argument(
        "--output",
        metavar="PATH",
        type=Path,
        required=True,
        help=".npy, .npz by output name, .parquet, or a folder for a folder",
    )
    p.add_argument(
        "--lengths", metavar="NPY", type=Path, help="valid steps of each row, int [batch]"
    )
    p.add_argument("--batch", metavar="N", type=int, help="rows at once; never changes the result")
    p.add_argument(
        "--column",
        metavar="NAME=COLUMN",
        action="append",
        default=[],
        help=".parquet: the column of an input or output, or COLUMN,COLUMN,... as its features",
    )
    p.add_argument("--keep", metavar="COLUMN,...", help=".parquet: the other columns to write")
    p.add_argument(
        "--resume", action="store_true", help="go on where an interrupted run of this kind stopped"
    )

    command("targets", list_targets, "lstmc targets")
    return parser


def _run(argv: list[str] | None) -> None:
    args = _parser().parse_args(argv)
    if args.target:
        try:
            set_target(args.target)
        except TargetError as e:
            raise UsageError(str(e)) from e
    if args.threads is not None:
        try:
            if args.threads < 1:
                raise RangeError("--threads must be at least 1")
            set_num_threads(args.threads)
        except RangeError as e:
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
    before, threads = _runtime._target, _threads._count
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
    except KeyboardInterrupt as e:
        print(f"lstmc: {line(e) if e.args else 'interrupted'}", file=sys.stderr)
        return 130
    except Exception as e:
        status, message = _failure(e)
        print(f"lstmc: error: {line(message)}", file=sys.stderr)
        return status
    finally:
        _runtime.restore(before)
        _threads.restore(threads)
