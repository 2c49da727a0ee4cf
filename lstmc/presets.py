"""Chips to pack and compile a model for: the names that ``--target`` takes beside SIMD targets.

A preset changes no bit of any result: a file packed for one chip runs on all others. It says how
wide the panels are that suit the chip (docs/SPEC.md, Tensor record), and how one would compile.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import TargetError


@dataclass(frozen=True)
class Preset:
    """A kind of chip.

    Attributes:
        name: as ``--target`` takes it; :data:`ALIASES` has the short ones.
        panel: units side by side in packed weights, 1, 2, 4, 8 or 16. Without vectors it is 2: the
            sums of two units' four gates stay in registers, and no unit is padded.
        pointer_bytes: size of a pointer, 4 or 8.
        vector: the strongest SIMD target of such a chip: "scalar", "helium", or "auto", which is
            for the core to find out.
        fpu: "none" (float32 in software: the same bits, slowly), "single" or "double": the widest
            numbers that the chip computes with itself.
        compiler: the GCC that one would use.
        flags: for that compiler. They choose the instructions and how floats are passed on, nothing
            else: bits depend on none of them.
        about: a line for people.
        tested: whether lstmc's own tests run code compiled with these flags.
    """

    name: str
    panel: int
    pointer_bytes: int
    vector: str
    fpu: str
    compiler: str
    flags: tuple[str, ...]
    about: str
    tested: bool = True


def _cortex(core: str, fpu: str, about: str) -> Preset:
    """A Cortex-M without vectors."""
    flags = ["-mthumb", f"-mcpu={core.removesuffix('f')}"]
    flags += ["-mfloat-abi=hard", f"-mfpu={fpu}"] if fpu else ["-mfloat-abi=soft"]
    unit = "single" if fpu else "none"
    return Preset(core, 2, 4, "scalar", unit, "arm-none-eabi-gcc", tuple(flags), about)


def _riscv(march: str, abi: str, fpu: str, about: str) -> Preset:
    flags = (f"-march={march}", f"-mabi={abi}")
    return Preset(march, 2, 4, "scalar", fpu, "riscv64-unknown-elf-gcc", flags, about)


#: By name, weakest first within a family.
PRESETS: dict[str, Preset] = {
    p.name: p
    for p in (
        _cortex("cortex-m0", "", "Armv6-M (M0, M0+): integers only, floats in software, slow"),
        _cortex("cortex-m3", "", "Armv7-M: integers only, floats in software, slow"),
        _cortex("cortex-m4f", "fpv4-sp-d16", "Armv7E-M with the single precision FPU"),
        _cortex("cortex-m7", "fpv5-sp-d16", "Armv7E-M with an FPU, of which single is used"),
        _cortex("cortex-m33", "fpv5-sp-d16", "Armv8-M with the single precision FPU"),
        Preset(
            "cortex-m55", 8, 4, "helium", "single", "arm-none-eabi-gcc",
            ("-mthumb", "-mcpu=cortex-m55", "-mfloat-abi=hard"), "Armv8.1-M with Helium vectors",
        ),
        _riscv("rv32imac", "ilp32", "none", "RISC-V: integers only, floats in software, slow"),
        _riscv("rv32imafc", "ilp32f", "single", "RISC-V with the single precision FPU"),
        Preset(
            "esp32", 2, 4, "scalar", "single", "xtensa-esp32-elf-gcc", ("-mlongcalls",),
            "Xtensa LX6 with an FPU. NOT TESTED: lstmc's tests have neither compiler nor emulator",
            tested=False,
        ),
        Preset(
            "host", 16, 8, "auto", "double", "gcc", (), "computers of 64 bits, any vectors"
        ),
    )
}  # fmt: skip
#: Short names: m4f for cortex-m4f.
ALIASES: dict[str, str] = {n.removeprefix("cortex-"): n for n in PRESETS if n.startswith("cortex-")}


def known(name: str) -> bool:
    """Whether :func:`find` finds it."""
    return name in PRESETS or name in ALIASES


def find(name: str) -> Preset:
    """The preset of this name or short name; TargetError, listing all, if there is none."""
    if not known(name):
        raise TargetError(f"there is no preset '{name}'; there are {listed()}")
    return PRESETS[ALIASES.get(name, name)]


def listed() -> str:
    """All names on one line, those of Cortex-M in short."""
    return ", ".join(n.removeprefix("cortex-") for n in PRESETS)


def table() -> list[str]:
    """A heading, and a line for each preset."""
    rows = [("name", "panel", "vectors", "FPU", "what")]
    rows += [(p.name, str(p.panel), p.vector, p.fpu, p.about) for p in PRESETS.values()]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
        "  ".join([*(w.ljust(n) for w, n in zip(r[:4], widths, strict=True)), r[4]]) for r in rows
    ]
    return [lines[0], "  ".join("-" * n for n in (*widths, 4)), *lines[1:]]
