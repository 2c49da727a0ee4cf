"""NAME.h: what the user of a firmware calls."""

from __future__ import annotations

from .. import __version__
from .firmware import Firmware
from .freeze import Frozen
from .text import plain
from .train_header import train_declarations, train_members


def header(w: Firmware) -> str:
    n, u, f = w.name, w.upper, w.frozen
    lines = [
        f"/* {n}: made by lstmc {__version__} (`lstmc export`) from {plain(w.source)}",
        f" * for {f.preset.name}. Written by a program: change the model, not this file.",
        " *",
        *(f" * {line}".rstrip() for line in w.report),
        " *",
        *_how(w),
        " */",
        f"#ifndef {u}_H",
        f"#define {u}_H",
        "",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        "/* Floats of a call. */",
        *_sizes(w),
    ]
    lines += [
        "",
        "/* Memory for variables, in bytes: all there is but the stack. */",
        "#if UINTPTR_MAX > 0xffffffffu",
        f"#define {u}_ARENA_BYTES {f.ram(8)}",
        "#else",
        f"#define {u}_ARENA_BYTES {f.ram(4)}",
        "#endif",
        "",
    ]
    if w.sample:
        lines += [
            f"/* What {n}_selftest must return. */",
            f"#define {u}_GOLDEN_DIGEST 0x{w.sample.digest:08x}u",
            "",
        ]
    lines += _memory(w)
    lines += _declarations(w)
    if f.training:
        lines += train_declarations(w, f.training)
    lines += ["#ifdef __cplusplus", "}", "#endif", "", "#endif", ""]
    return "\n".join(lines)


def _sizes(w: Firmware) -> list[str]:
    """A macro for the only input and the only output, or one for each that has a name."""
    made = []
    for only, ports in (("input", w.frozen.inputs), ("output", w.frozen.outputs)):
        for p in ports:
            name = only if len(ports) == 1 else p.identifier
            made.append(f"#define {w.upper}_{name.upper()}_SIZE {p.floats}")
    return made


def _how(w: Firmware) -> list[str]:
    f, said = w.frozen, []
    for title, ports in (("in ", f.inputs), ("out", f.outputs)):
        for p in ports:
            axes = [str(a) for a in p.axes]
            said.append(
                f" * {title}: {p.identifier}, {p.floats} floats: '{plain(p.name)}' "
                f"[{', '.join(axes)}] ({p.dtype} in the source)"
            )
    if f.fresh:
        said.append(f" * A call takes the whole sequence, {_steps(f)}; it keeps nothing.")
    elif f.state:
        said.append(" * A call is one time step. The state is kept for the next.")
    return said


def _memory(w: Firmware) -> list[str]:
    """The type of the arena."""
    f, n = w.frozen, w.name
    what = "One instance of the model" if w.external else "The model's variables"
    lines = [
        f"typedef struct {n}_view {{",
        "    float *data;",
        "    size_t batch_stride, time_stride;",
        f"}} {n}_view;",
        "",
        f"/* {what}. The fields are the library's own. */",
        f"typedef struct {n}_memory {{",
        f"    {n}_view views[{len(f.values)}];",
    ]
    floats = f.floats
    lines.append(
        f"    float floats[{floats}]; /* state, values between layers, scratch */"
    ) if floats else None
    if f.parities:
        lines.append(f"    uint32_t parity[{len(f.parities)}];")
    if f.training:
        lines += train_members(f.training)
    return [*lines, f"}} {n}_memory;", ""]


def parameters(w: Firmware) -> str:
    ports = [f"const float *{p.identifier}" for p in w.frozen.inputs]
    ports += [f"float *{p.identifier}" for p in w.frozen.outputs]
    return ", ".join([*([f"{w.name}_memory *memory"] if w.external else []), *ports])


def own(w: Firmware) -> str:
    return f"{w.name}_memory *memory" if w.external else "void"


def _declarations(w: Firmware) -> list[str]:
    n = w.name
    zero = (
        f"/* Call it before the first step of each {n}_memory, and to begin anew. */"
        if w.external
        else "/* Put the state where it starts: before the first step, and to begin anew. */"
    )
    lines = [
        zero,
        f"void {n}_reset({own(w)});",
        "",
        "/* The outputs must not overlap the inputs. Nothing can fail. */",
        f"void {n}_step({parameters(w)});",
        "",
    ]
    if w.sample:
        lines += [
            f"/* Run the sample recorded at export, {n}_reset before and after it. Returns the",
            " * digest of what comes out. Another one than the macro says means a compiler, an",
            " * FPU or a memory that can't be trusted. The outputs of a call lie on the stack:",
            f" * {4 * sum(p.floats for p in w.frozen.outputs):,} bytes besides {n}_step's. */",
            f"uint32_t {n}_selftest({own(w)});",
            "",
        ]
    return lines


def _steps(f: Frozen) -> str:
    return ", ".join(f"{p.steps} steps of {p.identifier}" for p in f.inputs if p.has_time)
