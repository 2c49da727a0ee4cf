"""The command ``lstmc``: convert, verify, info, plot, report, run, export, targets.

Errors are one line on stderr, ``lstmc: error: ...``. The exit status is 0 when all is well, 1 when
a conversion or a check failed or a file is damaged, 2 for bad use (an unknown option, a file that
is missing or can't be opened, a wrong ending), 130 after an interrupt.
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from . import __version__, presets, set_num_threads, set_target
from . import runtime as _runtime
from . import threads as _threads
from .commands import convert, export, info, list_targets, plot, report, run, verify
from .errors import Error, RangeError, TargetError
from .terminal import CheckError, UsageError, line
from .verify import LIMIT

STATUS = """exit status: 0 ok; 1 a conversion or check failed, or a file is damaged;
2 bad use, such as an unknown option, a missing file or a wrong ending"""


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
        name: str, call: Callable[[argparse.Namespace], None], example: str, *, chips: bool = False
    ) -> argparse.ArgumentParser:
        """``chips``: --target also takes a preset, which args.preset is then."""
        text = inspect.cleandoc(call.__doc__ or "")
        first = text.partition("\n")[0]
        p = commands.add_parser(
            name,
            help=first[0].lower() + first[1:].rstrip(".;"),
            description=text,
            epilog=f"example:\n  {example}\n\n{STATUS}",
            formatter_class=plain,
        )
        p.add_argument("--json", action="store_true", help="print one JSON object")
        target = "use one SIMD target (see lstmc targets)"
        if chips:
            chip = f"pack weights for a chip: {presets.listed()}"
            only = f"{chip} (the default); lstmc targets --presets says more"
            target = only if call is export else f"{chip}; or {target}"
        p.add_argument("--target", metavar="NAME", help=target)
        p.add_argument(
            "--threads", metavar="N", type=int, help="at most so many; never changes the result"
        )
        p.set_defaults(call=call, chips=chips, preset=None)
        return p

    def source_options(p: argparse.ArgumentParser, more: str = "") -> None:
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
            help=f"{more}the model keeps a state that the source takes and gives: output OUTPUT of "
            "one call is what input STATE takes in the next; N: time steps of a call, where open",
        )

    example = "lstmc convert forecaster.pt --arch forecaster.toml -o f.lstmc"
    example += "\n  lstmc convert f.lstmc --target m4f -o f-m4f.lstmc"
    example += "\n  lstmc convert f.lstmc -o f.onnx"
    p = command("convert", convert, example, chips=True)
    p.add_argument(
        "source",
        metavar="SRC",
        type=Path,
        help=".keras .h5 .pt .pth .safetensors .onnx, or with --target CHIP or -o OUT.onnx an "
        ".lstmc file",
    )
    p.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        type=Path,
        help="an .lstmc or .onnx file; default: SRC's name, .lstmc, in this folder",
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
    source_options(p)

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

    example = "lstmc export vad.lstmc -o firmware/ --name vad --target m4f"
    p = command("export", export, example, chips=True)
    p.add_argument("model", metavar="MODEL", type=Path, help=any_model)
    p.add_argument(
        "-o", "--output", metavar="DIR", type=Path, required=True, help="the directory of the files"
    )
    p.add_argument("--name", help="what all names of C begin with; default: the model's file name")
    p.add_argument(
        "--golden",
        choices=("on", "off"),
        default="on",
        help="off: no self-test, which saves the flash of its sample",
    )
    p.add_argument(
        "--time",
        metavar="N",
        type=int,
        help="steps of a call, if the model needs whole sequences; with --train, of a sequence",
    )
    p.add_argument(
        "--train",
        action="store_true",
        help="with what the chip needs to train the model further: docs/howto/train-on-chip.md",
    )
    p.add_argument(
        "--loss",
        metavar="LOSS",
        help="of all outputs: mse (the default), mae, huber, binary_crossentropy, "
        "categorical_crossentropy or sparse_categorical_crossentropy; with settings, as "
        "huber,delta=0.5 or binary_crossentropy,from_logits=1",
    )
    p.add_argument(
        "--optimizer",
        metavar="OPTIMIZER",
        help="adam (the default), sgd or rmsprop; with settings, as sgd,momentum=0.9 or "
        "adam,clipnorm=1",
    )
    p.add_argument("--learning-rate", metavar="RATE", type=float, help="default: 0.001")
    p.add_argument(
        "--freeze", metavar="LAYERS", help="names of layers whose weights stay, with commas between"
    )
    p.add_argument(
        "--recompute", action="store_true", help="less memory for training, which takes longer"
    )
    p.add_argument("--batch", metavar="N", type=int, help="sequences of an update; default: 1")
    source_options(
        p,
        "external: the caller of the C has the memory of each instance, so that there can be "
        "several of one model; internal: one, static (the default). Or, of a source, ",
    )

    p = command("plot", plot, "lstmc plot forecaster.lstmc --input x.npy -o gates.png")
    picture_options(p, ".png, .svg or .pdf")
    p.add_argument(
        "--layer",
        metavar="NAME",
        action="append",
        help="only this recurrent layer; may be repeated",
    )
    source_options(p)

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
    source_options(p)

    p = command("targets", list_targets, "lstmc targets")
    p.add_argument(
        "--presets",
        action="store_true",
        help="list the chips of convert and export instead; with --json, compilers' flags too",
    )
    return parser


def _run(argv: list[str] | None) -> None:
    args = _parser().parse_args(argv)
    if args.target:
        try:
            if args.chips and presets.known(args.target):
                args.preset, args.target = presets.find(args.target), None
            else:
                set_target(args.target)
        except TargetError as e:
            chips = f"chips are {presets.listed()}"
            if args.call is export:
                raise UsageError(f"there is no chip '{args.target}'; {chips}") from e
            raise UsageError(f"{e}{f'; {chips}' if args.chips else ''}") from e
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
        # Where a file is put in place, the second name is the one that is not our own.
        name = error.filename if error.filename2 is None else error.filename2
        where = f": '{name}'" if name is not None else ""
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
