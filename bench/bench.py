"""Speed of lstmc beside PyTorch, ONNX Runtime, OpenVINO and LiteRT: `python bench/bench.py`.

All engines run the same network on the same input in one process, by turns, one thread each unless
said, through their own Python APIs, each in the fastest form found for it (README.md beside this
says more). Outputs are compared first: wrong ones stop the run with status 1. Speed never does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ceilings import Ceiling, denormals, overhead
from chart import drawn
from compare import Result, WrongOutput, compare
from measure import QUICK, Effort
from ours import CAN_THREAD
from peers import Form, Peer, all_peers, version
from report import Report, markdown
from workloads import LAYERS, MAIN, THREADS, Case

import lstmc

if TYPE_CHECKING:
    import numpy as np

    from lstmc import graph as g


def cases(
    rows: Sequence[Case], peers: Sequence[Peer], effort: Effort, only: str = "", threads: int = 1
) -> Iterator[Result]:
    for case in rows:
        if only.lower() in case.name.lower():
            yield compare(case, peers, effort, threads)


TABLES = {
    "main": partial(cases, MAIN),
    "layers": partial(cases, LAYERS),
    "threads": partial(cases, THREADS, threads=2),
}
CEILINGS = {"denormals": denormals, "overhead": overhead}


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    names = [*TABLES, *CEILINGS]
    add("--table", action="append", choices=names, help="one of them (default: all); repeatable")
    add("--only", metavar="TEXT", default="", help="cases whose name holds it")
    add("--peers", metavar="TEXT", default="", help="peers whose name holds it")
    add("--forms", metavar="TEXT", default="", help="ways to call a peer whose name holds it")
    add("--seconds", type=float, default=3.0, help="for each case (default 3)")
    add("--quick", action="store_true", help="five short rounds: a check, not a measurement")
    add("--target", default="auto", help="SIMD target of lstmc")
    add("--json", metavar="FILE", type=Path, help="also write the results there")
    add("--chart", metavar="FILE.svg", type=Path, help="also draw the ratios")
    add("--markdown", action="store_true", help="print the main table once more, for README.md")
    return parser.parse_args(argv)


class OnlyForms:
    """A peer with those of its forms whose name holds a text."""

    def __init__(self, peer: Peer, text: str) -> None:
        self.name, self.package = peer.name, peer.package
        self._peer, self._text = peer, text

    def forms(
        self, case: Case, layers: list[g.Layer], x: np.ndarray, threads: int
    ) -> Sequence[Form]:
        made = self._peer.forms(case, layers, x, threads)
        return [f for f in made if self._text.lower() in f.name.lower()]


def main(argv: Sequence[str] | None = None, peers: Sequence[Peer] | None = None) -> int:
    args = arguments(argv)
    lstmc.set_target(args.target)
    everyone = all_peers() if peers is None else peers
    here = [p for p in everyone if version(p) and args.peers.lower() in p.name.lower()]
    if args.forms:
        here = [OnlyForms(p, args.forms) for p in here]
    effort = QUICK if args.quick else Effort(args.seconds)
    report = Report({p.name: version(p) for p in everyone}, [p.name for p in here])
    try:
        for name in args.table or [*TABLES, *CEILINGS]:
            if name == "threads" and not CAN_THREAD:
                print("\nthreads: this lstmc has none")
                continue
            rows: Iterator[Result | Ceiling]
            if name in TABLES:
                rows = TABLES[name](here, effort, only=args.only)
            elif args.only:
                continue
            else:
                rows = CEILINGS[name](here, effort)
            report.table(name, rows)
    except WrongOutput as e:
        print(f"bench: wrong output: {e}", file=sys.stderr)
        return 1
    document = report.document()
    if args.json:
        args.json.write_text(report.as_json())
    if args.chart:
        args.chart.write_text(drawn(document))
    if args.markdown:
        print("\n" + markdown(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
