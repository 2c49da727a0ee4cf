"""Constants and comments of C."""

from __future__ import annotations

import math


def plain(text: str) -> str:
    """For a comment."""
    shown = "".join(c if 32 <= ord(c) < 127 and c not in "\\?" else "_" for c in text)
    return shown.replace("*/", "*_").replace("/*", "/_")[:60]


def constant(value: float) -> str:
    """A constant of C that is exactly this float32; of <math.h> where it is no finite number."""
    value = float(value)
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "-INFINITY" if value < 0 else "INFINITY"
    if value == 0:
        return "-0.0f" if math.copysign(1, value) < 0 else "0.0f"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value)}.0f"
    mantissa, exponent = value.hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{exponent}f"


def array(declaration: str, values: list[str]) -> str:
    lines, line = [], "   "
    for value in values:
        if len(line) + len(value) + 2 > 99:
            lines.append(line)
            line = "   "
        line += f" {value},"
    lines.append(line)
    return f"{declaration}[{len(values)}] = {{\n" + "\n".join(lines) + "\n};\n"
