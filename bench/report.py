"""Results as text, Markdown and JSON."""

from __future__ import annotations

import json
import platform
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

from measure import Result

import lstmc


class Report:
    """Prints tables line by line while they are measured, and keeps them."""

    def __init__(self, target: str, versions: dict[str, str | None]) -> None:
        self.target, self.versions = target, versions
        self.tables: dict[str, list[Result]] = {}
        self._peers: list[str] = []
        print(f"lstmc {lstmc.__version__} ({target}) on {cpu_name()}, one thread")
        print(
            "against "
            + ", ".join(f"{n} {v or 'ABSENT: not installed'}" for n, v in versions.items())
        )

    def begin(self, table: str, peers: list[str]) -> None:
        self._rows = self.tables.setdefault(table, [])
        self._peers = peers
        titles = "".join(f"{n:>13}" for n in ["lstmc us", *peers])
        print(f"\n{table:38}{titles}{'ratio':>8}{'quartiles':>15}{'goal':>6}")

    def add(self, r: Result) -> None:
        self._rows.append(r)
        times = "".join(
            f"{r.peers_us[n]:12.2f}{'*' if n == r.best else ' '}"
            if n in r.peers_us
            else f"{'-':>12} "
            for n in self._peers
        )
        ratio = f"{r.ratio:8.2f}{r.low:7.2f} -{r.high:6.2f}" if r.ratio else " " * 23
        goal = f"{r.goal:6g}" if r.goal else ""
        print(f"{r.case:38}{r.lstmc_us:12.2f} {times}{ratio}{goal}{mark(r)}", flush=True)
        for note in r.notes:
            print(f"    {note}")

    def end(self) -> None:
        if mean := geometric_mean(self._rows):
            print(f"{'geometric mean':51}{'':{13 * len(self._peers)}}{mean:8.2f}")

    def write_json(self, path: str) -> None:
        document: dict[str, Any] = {
            "lstmc": lstmc.__version__,
            "target": self.target,
            "cpu": cpu_name(),
            "peers": self.versions,
            "tables": {n: [asdict(r) for r in rows] for n, rows in self.tables.items()},
            "geometric_mean": {n: geometric_mean(rows) for n, rows in self.tables.items()},
        }
        Path(path).write_text(json.dumps(document, indent=1) + "\n")


def mark(r: Result) -> str:
    return " <" if r.behind else ""


def geometric_mean(results: list[Result]) -> float | None:
    ratios = [r.ratio for r in results if r.ratio]
    return statistics.geometric_mean(ratios) if ratios else None


def cpu_name() -> str:
    """As Linux says it, or what the platform knows."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
