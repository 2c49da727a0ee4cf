"""The ratios as an SVG: a bar a case on a logarithmic axis, readable on a light and a dark page."""

from __future__ import annotations

import math
from html import escape
from typing import Any

NAME, BARS, VALUE, ROW, BAR, HEAD = 250, 470, 70, 20, 12, 54  # pixels
TABLES = {"main": "LSTM", "layers": "Other layers"}

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f; }
.title { font-weight: 600; }
.axis { stroke: #8c959f; stroke-width: 1; }
.grid { stroke: #d0d7de; stroke-width: 1; }
.bar { fill: #2da44e; }
.behind { fill: #bf8700; }
.goal { stroke: #24292f; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .grid { stroke: #30363d; }
  .bar { fill: #3fb950; }
  .behind { fill: #d29922; }
  .goal { stroke: #e6edf3; }
}
"""


def drawn(document: dict[str, Any]) -> str:
    """The SVG of the tables that have ratios, from what Report.document gives."""
    tables = {
        title: rows
        for name, title in TABLES.items()
        if (rows := [r for r in document["tables"].get(name, []) if r["ratio"]])
    }
    values = [v for rows in tables.values() for r in rows for v in (r["ratio"], r["goal"]) if v]
    low = min([0.5, *values])
    high = max([2.0, *values]) * 1.3

    def at(value: float) -> float:
        return NAME + BARS * math.log(value / low) / math.log(high / low)

    marks = [m for m in (0.5, 1, 2, 5, 10, 20, 50, 100, 200) if low <= m <= high]
    height = HEAD + ROW * sum(len(rows) + 2 for rows in tables.values()) + 10
    parts = [
        _tag("text", "lstmc's speed as a multiple of its fastest peer's; "
             "the mark is the goal", x=10, y=18, cls="title"),
        *(_line(at(m), HEAD - 8, at(m), height - 10, "axis" if m == 1 else "grid") for m in marks),
        *(_tag("text", f"{m:g}x", x=round(at(m) - 8, 1), y=HEAD - 10) for m in marks),
    ]  # fmt: skip
    y = HEAD
    for title, rows in tables.items():
        parts.append(_tag("text", title, x=10, y=y + 15, cls="title"))
        y += ROW
        for r in rows:
            parts += _row(r, y, at)
            y += ROW
        y += ROW
    width = NAME + BARS + VALUE
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )


def _row(r: dict[str, Any], y: int, at: Any) -> list[str]:
    a, b = sorted((at(1), at(r["ratio"])))
    behind = r["goal"] and r["ratio"] < r["goal"]
    top = y + (ROW - BAR) // 2
    label = f"{r['ratio']:.2f}x {r['best']}"
    parts = [
        _tag("text", r["case"], x=10, y=y + 14),
        _tag("text", f"{r['ratio']:.2f}x", x=NAME + BARS + 15, y=y + 14),
        f'<rect class="{"behind" if behind else "bar"}" x="{a:.1f}" y="{top}" '
        f'width="{max(b - a, 1):.1f}" height="{BAR}"><title>{escape(label)}</title></rect>',
    ]
    if r["goal"]:
        parts.append(_line(at(r["goal"]), top - 2, at(r["goal"]), top + BAR + 2, "goal"))
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, cls: str) -> str:
    return f'<line class="{cls}" x1="{x1:.1f}" y1="{y1}" x2="{x2:.1f}" y2="{y2}"/>'


def _tag(name: str, text: str, cls: str = "", **attributes: float) -> str:
    given = "".join(f' {k}="{v}"' for k, v in attributes.items())
    return f"<{name}{given}" + (f' class="{cls}"' if cls else "") + f">{escape(text)}</{name}>"
