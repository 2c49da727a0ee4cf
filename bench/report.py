"""Results as text, Markdown and JSON."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ceilings import Ceiling
from compare import Result

import lstmc

NAME, TIME = 46, 13  # widths
WIDE = 0.1


class Report:
    """Prints tables line by line while they are measured, and keeps them."""

    def __init__(self, versions: dict[str, str | None], peers: list[str]) -> None:
        self.versions, self.peers = versions, peers
        self.tables: dict[str, list[Result | Ceiling]] = {}
        print(f"lstmc {lstmc.__version__} ({lstmc.get_target()}) on {cpu_name()}, against")
        print(", ".join(f"{n} {v or 'ABSENT: not installed'}" for n, v in versions.items()))
        print("us: median of a call; *: the fastest peer; ratio: it / lstmc; <: below the goal;")
        print(
            f"?: half of the rounds differ by more than {WIDE:.0%}: run it again on a quiet machine"
        )

    def table(self, name: str, rows: Iterable[Result | Ceiling]) -> None:
        """Take the rows as they come."""
        kept = self.tables.setdefault(name, [])
        for row in rows:
            if not kept:
                print(f"\n{self._title(name, row)}")
            kept.append(row)
            line = self._result(row) if isinstance(row, Result) else self._ceiling(row)
            print(line + (" <" if row.behind else "") + (" ?" if wide(row) else ""), flush=True)
            for note in getattr(row, "notes", ()):
                print(f"    {note}")
        if (mean := geometric_mean(kept)) and len(kept) > 1:
            print(f"{'geometric mean':{NAME + TIME * (1 + len(self.peers))}}{mean:8.2f}")

    def _title(self, name: str, row: Result | Ceiling) -> str:
        names = "".join(f"{n:>{TIME}}" for n in self.peers)
        if isinstance(row, Ceiling):
            return f"{name:{NAME + TIME}}{names}{'lstmc':>8}{'quartiles':>15}{'at most':>9}"
        ours = "lstmc us" if row.threads == 1 else f"{row.threads} threads us"
        alone = "" if row.threads == 1 else f"{'one / two':>11}"
        return f"{name:{NAME}}{ours:>{TIME}}{names}{'ratio':>8}{'quartiles':>15}{alone}{'goal':>6}"

    def _result(self, r: Result) -> str:
        times = "".join(
            f"{r.peers_us[n]:{TIME - 1}.2f}{'*' if n == r.best else ' '}"
            if n in r.peers_us
            else f"{'-':>{TIME - 1}} "
            for n in self.peers
        )
        ratio = f"{r.ratio:8.2f}{r.low:7.2f} -{r.high:6.2f}" if r.ratio else " " * 23
        alone = f"{r.speedup:11.2f}" if r.speedup else ""
        goal = f"{r.goal:6g}" if r.goal else ""
        return f"{r.case:{NAME}}{r.lstmc_us:{TIME - 1}.2f} {times}{ratio}{alone}{goal}"

    def _ceiling(self, c: Ceiling) -> str:
        peers = "".join(
            f"{c.peers[n]:{TIME}.2f}" if n in c.peers else f"{'-':>{TIME}}" for n in self.peers
        )
        spread = f"{c.figure:8.2f}{c.low:7.2f} -{c.high:6.2f}"
        return f"{c.case:{NAME + TIME}}{peers}{spread}{f'{c.goal:g} {c.unit}':>9}"

    def document(self) -> dict[str, Any]:
        """What the JSON file holds."""
        return {
            "lstmc": lstmc.__version__,
            "target": lstmc.get_target(),
            "cpu": cpu_name(),
            "peers": self.versions,
            "tables": {n: [asdict(r) for r in rows] for n, rows in self.tables.items()},
            "geometric_mean": {n: geometric_mean(rows) for n, rows in self.tables.items()},
        }

    def as_json(self) -> str:
        return json.dumps(self.document(), indent=1) + "\n"


def wide(row: Result | Ceiling) -> bool:
    """The quartiles are far apart."""
    middle = row.ratio if isinstance(row, Result) else row.figure
    if not middle or row.low is None or row.high is None:
        return False
    return row.high - row.low > WIDE * middle


def geometric_mean(rows: Iterable[Result | Ceiling]) -> float | None:
    """Of the ratios; None if no row has one."""
    ratios = [r.ratio for r in rows if isinstance(r, Result) and r.ratio]
    return statistics.geometric_mean(ratios) if ratios else None


def markdown(document: dict[str, Any]) -> str:
    """The main table for README.md."""
    peers = [n for n, v in document["peers"].items() if v]
    lines = [
        "| case | lstmc, µs | "
        + " | ".join(f"{n}, µs" for n in peers)
        + " | ratio | quartiles | goal |",
        "|---|" + "---:|" * (len(peers) + 4),
    ]
    for r in document["tables"].get("main", []):
        times = [r["peers_us"].get(n) for n in peers]
        cells = [
            "-" if t is None else f"**{t:.2f}**" if n == r["best"] else f"{t:.2f}"
            for n, t in zip(peers, times, strict=True)
        ]
        spread = f"{r['low']:.2f} - {r['high']:.2f}" if r["ratio"] else ""
        ratio = f"{r['ratio']:.2f}" if r["ratio"] else ""
        own = [r["case"], f"{r['lstmc_us']:.2f}"]
        lines.append("| " + " | ".join([*own, *cells, ratio, spread, f"{r['goal']:g}"]) + " |")
    mean = document["geometric_mean"].get("main")
    if mean:
        lines.append("| geometric mean |" + " |" * (len(peers) + 1) + f" {mean:.2f} | | |")
    versions = ", ".join(f"{n} {v}" for n, v in document["peers"].items() if v)
    return "\n".join(lines) + f"\n\n{document['cpu']}, {document['target']}; {versions}."


def cpu_name() -> str:
    """As Linux says it, or what the platform knows."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
