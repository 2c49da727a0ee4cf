"""``make lint-c``: what compilers, cppcheck and clang-tidy say about the core; nothing, that is.

Needs no build and no package of Python's. test_embedded_rules.py holds exported firmware to the
same warnings.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "c_src").rglob("*.c"))

#: Not -Wfloat-equal: floats are compared with numbers that they hold exactly, and NaN counts.
STRICT = (
    "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wshadow",
    "-Wcast-qual", "-Wcast-align", "-Wdouble-promotion", "-Wmissing-prototypes",
    "-Wstrict-prototypes", "-Wold-style-definition", "-Wredundant-decls", "-Wpointer-arith",
    "-Wwrite-strings", "-Wundef", "-Wvla", "-Werror",
)  # fmt: skip
CORTEX_M4 = ("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16",
             "-mfloat-abi=hard")  # fmt: skip
CORTEX_M55 = ("arm-none-eabi-gcc", "-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard")
COMPILERS = (("gcc",), ("clang",), CORTEX_M4, CORTEX_M55)

#: What cppcheck would look for in system headers, and in a compiler.
CPPCHECK = (
    "cppcheck", "--std=c99", "--quiet", "--error-exitcode=1", "--max-configs=1", "-D__GNUC__=12",
    "-DFLT_EVAL_METHOD=0", "-DFLT_RADIX=2", "-DFLT_MANT_DIG=24", "-DFLT_MAX_EXP=128",
    "-DDBL_MANT_DIG=53",
    "-D__BYTE_ORDER__=1234", "-D__ORDER_LITTLE_ENDIAN__=1234", "-D__ORDER_BIG_ENDIAN__=4321",
)  # fmt: skip

#: The algorithms are the same text for every target: once is enough for clang-tidy.
TIDIED = [
    s
    for s in SOURCES
    if not s.startswith("c_src/kernels/") or s.endswith(("scalar.c", "dispatch.c"))
]

PACKAGES = {
    "gcc": "gcc", "clang": "clang",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "cppcheck": "cppcheck", "clang-tidy": "clang-tidy",
}  # fmt: skip


def run(command: Sequence[str]) -> str:
    """What a tool says if it fails, else nothing."""
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if not result.returncode:
        return ""
    said = "\n".join(
        x for x in (result.stdout + result.stderr).splitlines() if "generated" not in x
    )
    return said.strip() or f"{command[0]}: exit status {result.returncode}"


def main() -> int:
    missing = [name for tool, name in PACKAGES.items() if shutil.which(tool) is None]
    if missing:
        print(f"lint-c: missing; on Debian: apt-get install {' '.join(missing)}", file=sys.stderr)
        return 1
    commands = [
        ("clang-tidy", "--quiet", source, "--", "-std=c99")
        for source in sorted(TIDIED, key=lambda s: -(ROOT / s).stat().st_size)
    ]
    commands += [(*c, "-std=c99", *STRICT, "-fsyntax-only", *SOURCES) for c in COMPILERS]
    commands += [(*CPPCHECK, "--enable=warning,style,performance,portability", "c_src")]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        said = [x for x in pool.map(run, commands) if x]
    print("\n".join(said), end="\n" * bool(said))
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
