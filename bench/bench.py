"""Speed of lstmc beside PyTorch, ONNX Runtime, OpenVINO and LiteRT: `python bench/bench.py`.

All engines run the same network on the same input in one process, in turn, one thread each,
through their own Python APIs, each in the fastest form found for it (README.md beside this says
more). Outputs are compared first: wrong ones stop the run. Speed never does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from measure import Result, WrongOutput, compare
from ours import Lstmc
from peers import Peer, all_peers, version
from report import Report
from workloads import LAYERS, MAIN, Case, chosen, network, sample

import lstmc

TABLES = {"main": MAIN, "layers": LAYERS}


def measure(case: Case, peers: Sequence[Peer], seconds: float, sample_s: float) -> Result:
    rng = np.random.default_rng(1)
    layers = network(case, rng)
    x = sample(case, rng)
    (ours,) = Lstmc().forms(case, layers, x, 1)
    forms = {p.name: p.forms(case, layers, x, 1) for p in peers}
    return compare(case, ours, forms, seconds, sample_s)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="append", choices=TABLES, help="default: all")
    parser.add_argument("--only", metavar="TEXT", help="cases whose name holds it")
    parser.add_argument("--peers", metavar="TEXT", help="peers whose name holds it")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each case (default 3)")
    parser.add_argument("--quick", action="store_true", help="five short rounds, for a check")
    parser.add_argument("--target", default="auto", help="SIMD target of lstmc")
    parser.add_argument("--json", metavar="FILE", help="also write the results there")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None, peers: Sequence[Peer] | None = None) -> int:
    args = arguments(argv)
    lstmc.set_target(args.target)
    everyone = all_peers() if peers is None else peers
    here = [p for p in everyone if version(p) and (args.peers or "").lower() in p.name.lower()]
    report = Report(lstmc.get_target(), {p.name: version(p) for p in everyone})
    seconds, sample_s = (0.0, 0.001) if args.quick else (args.seconds, 0.007)
    try:
        for table in args.table or TABLES:
            cases = chosen(TABLES[table], args.only)
            report.begin(table, [p.name for p in here])
            for case in cases:
                report.add(measure(case, here, seconds, sample_s))
            report.end()
    except WrongOutput as e:
        print(f"bench: wrong output: {e}", file=sys.stderr)
        return 1
    if args.json:
        report.write_json(args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
