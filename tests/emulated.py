"""Other CPUs under QEMU, and WebAssembly: how programs for them are compiled, linked and run.

A machine is a CPU with a compiler. QEMU gives its bits and the number of its instructions; cycles
it doesn't know.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers import INFERENCE, ROOT, WARNINGS, compile_c, compile_objects, run_program

PROGRAMS = ROOT / "tests/c"
EMBEDDED = ROOT / "tests/embedded"
INCLUDE = ("-I", str(ROOT / "c_src/kernels"))


@dataclasses.dataclass(frozen=True)
class Machine:
    """``run`` is the emulator's command line, with the program still to come; ``needs`` are other
    commands and directories."""

    name: str
    target: str
    compiler: tuple[str, ...]
    run: tuple[str, ...]
    needs: tuple[str, ...] = ()
    linking: tuple[str, ...] = ("-static",)

    @property
    def targets(self) -> list[str]:
        """Those to test: scalar, and the vector one if there is one."""
        return ["scalar"] if self.target == "scalar" else ["scalar", self.target]

    @property
    def leave_out(self) -> str:
        """The flag for a core without what is special to this machine."""
        return f"-DLSTMC_NO_{'CORTEXM' if self.target == 'scalar' else self.target.upper()}"

    def skip_without_tools(self) -> None:
        for tool in (self.compiler[0], self.run[0], *self.needs):
            if shutil.which(tool) is None and not Path(tool).is_dir():
                pytest.skip(f"no {tool} here")

    def link(self, output: Path, parts: Sequence[Path | str], flags: Sequence[str]) -> Path:
        return compile_c(output, parts, [*flags, *INCLUDE, *self.linking], self.compiler)

    def objects(self, directory: Path, flags: Sequence[str]) -> list[Path]:
        return compile_objects(directory, INFERENCE, flags, self.compiler)

    def command(
        self, program: Path, arguments: Sequence[object], options: Sequence[str] = ()
    ) -> list[str]:
        return [*self.run, *options, str(program), *map(str, arguments)]

    def version(self) -> str:
        """The compiler's."""
        return run_program([self.compiler[0], "--version"]).stdout.splitlines()[0]


@dataclasses.dataclass(frozen=True)
class Board(Machine):
    """A chip without an operating system: arguments, files and output go by semihosting.

    On a ``bare`` one a program has no C library but memcpy and its like; it is compiled with
    -DBARE, gets no arguments and prints by ``void say(const char *)``.
    """

    gcc: tuple[str, ...] = ()
    defines: tuple[str, ...] = ()
    bare: bool = False

    def link(self, output: Path, parts: Sequence[Path | str], flags: Sequence[str]) -> Path:
        """Linked by gcc, who knows where the library is, whatever the compiler."""
        where = output.parent / f"{output.name}-parts"
        sources = [p for p in parts if str(p).endswith(".c")]
        bare = ["-DBARE"] if self.bare else []
        made = compile_objects(where, sources, [*flags, *INCLUDE, *bare], self.compiler)
        code = EMBEDDED / ("start_bare.c" if self.bare else "start.c")
        start = compile_objects(where, [code], [*WARNINGS, "-O2"], self.gcc)
        others = [p for p in parts if p not in sources]
        layout = ["-nostartfiles", "-T", str(EMBEDDED / "link.ld"), *self.defines, "-Wl,-w"]
        return compile_c(output, [*made, *start, *others, "-lm"], layout, self.gcc)

    def command(
        self, program: Path, arguments: Sequence[object], options: Sequence[str] = ()
    ) -> list[str]:
        assert not any(" " in str(a) for a in arguments)  # the board gets them as one line
        given = (str(a).replace(",", ",,") for a in (program.name, *arguments))  # QEMU's escape
        words = "".join(f",arg={a}" for a in given)
        semihosting = ["-semihosting-config", f"enable=on,target=native{words}"]
        return [*self.run, *options, *semihosting, "-kernel", str(program)]


def boards() -> list[Board]:
    """Each board in boards.toml, with gcc and, if there is a triple for it, with clang."""
    made = []
    for name, facts in tomllib.loads((EMBEDDED / "boards.toml").read_text()).items():
        gcc = (*facts.get("gcc", ("arm-none-eabi-gcc", "-mthumb")), *facts["flags"])
        compilers = [gcc]
        if "clang" in facts:
            clang = (
                "clang-16", f"--target={facts['clang']}", *facts["flags"], "-fshort-enums",
                "--sysroot=/usr/lib/arm-none-eabi", "-isystem", "/usr/include/newlib",
            )  # fmt: skip
            compilers.append(clang)
        pairs = zip(
            ("CODE", "CODE_SIZE", "DATA", "DATA_SIZE"),
            (*facts["code"], *facts["data"]),
            strict=True,
        )
        defines = tuple(f"-Wl,--defsym={symbol}={value:#x}" for symbol, value in pairs)
        run = (
            *facts.get("emulator", ("qemu-system-arm",)), "-M", facts["machine"],
            "-cpu", facts["cpu"], "-display", "none", "-monitor", "none", "-serial", "none",
        )  # fmt: skip
        made += [
            Board(f"{name}, {compiler[0]}", facts["target"], compiler, run, gcc[:1],
                  gcc=gcc, defines=defines, bare=facts.get("bare", False))
            for compiler in compilers
        ]  # fmt: skip
    return made


RISCV = ("clang-16", "--target=riscv64-linux-gnu")
RISCV_NEEDS = ("riscv64-linux-gnu-gcc",)


def riscv(vlen: int, march: str = "rv64gcv") -> Machine:
    run = ("qemu-riscv64", "-cpu", f"rv64,v=true,vext_spec=v1.0,vlen={vlen}")
    name = f"{march}, VLEN {vlen}, clang-16"
    return Machine(name, "rvv", (*RISCV, f"-march={march}"), run, RISCV_NEEDS)


NEON = Machine("aarch64, gcc", "neon", ("aarch64-linux-gnu-gcc",), ("qemu-aarch64",))
WASM = Machine(
    "wasm32, clang-16", "wasm", ("clang-16", "--target=wasm32-wasi", "-msimd128", "--sysroot=/usr"),
    ("node", "--no-warnings", "--experimental-wasi-unstable-preview1", str(EMBEDDED / "wasi.mjs")),
    ("/usr/include/wasm32-wasi", "wasm-ld-16"), (),
)  # fmt: skip
BOARDS = boards()
QEMU_MACHINES = [
    *(b for b in BOARDS if b.target != "scalar" or b.name.startswith("cortex-m4f")),
    riscv(128),
]
MACHINES = [*QEMU_MACHINES, WASM]
#: The same header with groups of other sizes; LSTMC_LONG=1 tests them too.
MORE_MACHINES = [riscv(256, "rv64gcv_zvl256b")]


def process(name: str, prefix: str, emulator: str, *flags: str) -> Machine:
    """A CPU with Linux, compiled by gcc: plain C there, no vectors of ours."""
    return Machine(f"{name}, gcc", "scalar", (f"{prefix}-gcc", *flags), (emulator,))


#: GCC computes floats as doubles there in ISO modes, as old systems did, unless it is told.
BIG_ENDIAN = process("s390x", "s390x-linux-gnu", "qemu-s390x", "-fexcess-precision=fast")
PROCESSES = [
    process("rv64gc", "riscv64-linux-gnu", "qemu-riscv64"),
    NEON,
    process("armv7-a", "arm-linux-gnueabihf", "qemu-arm"),
    process("i686", "i686-linux-gnu", "qemu-i386", "-msse2", "-mfpmath=sse"),
    BIG_ENDIAN,
]


# ------------------------------------------------------------------------------- instructions


def count(
    machine: Machine, directory: Path, program: Path, arguments: Sequence[object]
) -> tuple[int, str]:
    """Instructions from reset, or the first one of the process, to the end; and what it printed.

    tests/tools/count_plugin.c counts. Each QEMU takes one version of plugins or two.
    """
    for api in range(1, 6):
        plugin = directory / f"count{api}.so"
        if not plugin.exists():
            flags = [*WARNINGS, "-O2", "-shared", "-fPIC", f"-DAPI={api}"]
            compile_c(plugin, [ROOT / "tests/tools/count_plugin.c"], flags)
        command = machine.command(program, arguments, ["-plugin", str(plugin)])
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        if "ould not load plugin" in result.stderr:
            continue
        found = re.search(r"instructions: (\d+)", result.stderr)
        assert found and result.returncode == 0, (command, result.stderr[-2000:])
        return int(found[1]), result.stdout
    pytest.skip(f"{machine.run[0]} takes no such plugin")
