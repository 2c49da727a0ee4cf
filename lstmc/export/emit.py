"""The files of a firmware: NAME.h, NAME.c, NAME_core.h, NAME_weights.c and an example."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import __version__
from .. import graph as g
from ..errors import FormatError
from . import sources
from .freeze import Frozen, Pointer, Port
from .sample import Sample

#: SIMD targets that a preset's firmware may be compiled for, best first; the scalar one is always.
KERNELS = {
    "scalar": ("scalar",),
    "helium": ("helium", "scalar"),
    "auto": ("avx2", "neon", "scalar"),
}


@dataclass
class Firmware:
    """What the files are called and say."""

    frozen: Frozen
    name: str
    external: bool
    sample: Sample | None
    report: list[str]
    source: str

    @property
    def upper(self) -> str:
        return self.name.upper()

    def files(self) -> dict[str, str]:
        """The text of every file, by its path below the directory."""
        n = self.name
        return {
            f"{n}.h": self.header(),
            f"{n}.c": self.program(),
            f"{n}_core.h": self.core(),
            f"{n}_weights.c": self.weights(),
            "example/main.c": self.example(),
        }

    # ------------------------------------------------------------------------------------ header

    def header(self) -> str:
        n, u, f = self.name, self.upper, self.frozen
        lines = [
            f"/* {n}: made by lstmc {__version__} (`lstmc export`) from {self.source}",
            f" * for {f.preset.name}. Written by a program: change the model, not this file.",
            " *",
            *(f" * {line}".rstrip() for line in self.report),
            " *",
            *self._how(),
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
            f"#define {u}_INPUT_SIZE {sum(p.floats for p in f.inputs)}",
            f"#define {u}_OUTPUT_SIZE {sum(p.floats for p in f.outputs)}",
        ]
        if len(f.inputs) > 1 or len(f.outputs) > 1:
            for p in f.inputs + f.outputs:
                lines.append(f"#define {u}_{p.identifier.upper()}_SIZE {p.floats}")
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
        if self.sample:
            lines += [
                f"/* What {n}_selftest must return. */",
                f"#define {u}_GOLDEN_DIGEST 0x{self.sample.digest:08x}u",
                "",
            ]
        lines += self._memory()
        lines += self._declarations()
        lines += ["#ifdef __cplusplus", "}", "#endif", "", "#endif", ""]
        return "\n".join(lines)

    def _how(self) -> list[str]:
        f, said = self.frozen, []
        for title, ports in (("in ", f.inputs), ("out", f.outputs)):
            for p in ports:
                axes = [str(a) for a in p.axes]
                said.append(
                    f" * {title}: {p.identifier}, {p.floats} floats: '{_plain(p.name)}' "
                    f"[{', '.join(axes)}] ({p.dtype} in the source)"
                )
        if f.fresh:
            said.append(f" * A call takes the whole sequence, {_steps(f)}; it keeps nothing.")
        elif f.state:
            said.append(" * A call is one time step. The state is kept for the next.")
        return said

    def _memory(self) -> list[str]:
        """The type of the arena."""
        f, n = self.frozen, self.name
        what = "One instance of the model" if self.external else "The model's variables"
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
        floats = f.state + f.between + f.scratch
        lines.append(
            f"    float floats[{floats}]; /* state, values between layers, scratch */"
        ) if floats else None
        if f.parities:
            lines.append(f"    uint32_t parity[{len(f.parities)}];")
        return [*lines, f"}} {n}_memory;", ""]

    def _parameters(self) -> str:
        ports = [f"const float *{p.identifier}" for p in self.frozen.inputs]
        ports += [f"float *{p.identifier}" for p in self.frozen.outputs]
        return ", ".join([*([f"{self.name}_memory *memory"] if self.external else []), *ports])

    def _own(self) -> str:
        return f"{self.name}_memory *memory" if self.external else "void"

    def _declarations(self) -> list[str]:
        n = self.name
        zero = (
            f"/* Call it before the first step of each {n}_memory, and to begin anew. */"
            if self.external
            else "/* Put the state where it starts: before the first step, and to begin anew. */"
        )
        lines = [
            zero,
            f"void {n}_reset({self._own()});",
            "",
            "/* The outputs must not overlap the inputs. Nothing can fail. */",
            f"void {n}_step({self._parameters()});",
            "",
        ]
        if self.sample:
            lines += [
                f"/* Run the sample that was recorded at export, and {n}_reset before and after it: returns",
                " * the digest of what comes out. Another one than the macro says means another compiler,",
                " * FPU or memory than ours. */",
                f"uint32_t {n}_selftest({self._own()});",
                "",
            ]
        return lines

    # ----------------------------------------------------------------------------------- program

    def program(self) -> str:
        f, n = self.frozen, self.name
        parts = [
            f'/* The model "{n}": its layers as constants, and what runs them. See {n}.h. */\n',
            f'#include "{n}.h"\n#include "{n}_core.h"\n',
            f"extern const float {n}_weights[{max(len(f.weights), 1)}];\n",
        ]
        if f.words:
            parts.append(_array("static const uint32_t words", [f"{w}u" for w in f.words]))
        for i, layer in enumerate(f.layers):
            record = self._initialiser(layer.fields, 1)
            parts.append(
                f"/* {layer.kind} '{_plain(layer.name)}' */\n"
                f"static const {layer.record} layer{i} = {record};\n"
            )
        parts += [self._plan(), self._bind()]
        if not self.external:
            parts.append(f"static {n}_memory only;\n")
        parts += [self._reset(), self._step()]
        if self.sample:
            parts.append(self._selftest(self.sample))
        return "\n".join(parts)

    def _initialiser(self, fields: dict[str, Any], depth: int) -> str:
        pad = "    " * depth
        lines = [f"{pad}.{k} = {self._value(v, depth)}," for k, v in fields.items()]
        return "{\n" + "\n".join(lines) + "\n" + pad[4:] + "}"

    def _value(self, value: Any, depth: int) -> str:
        if isinstance(value, dict):
            return self._initialiser(value, depth + 1)
        if isinstance(value, list):
            return "{" + ", ".join(self._value(v, depth) for v in value) + "}"
        if isinstance(value, float):
            return _float(value)
        if isinstance(value, Pointer):
            if value.where == "weights":
                return f"{self.name}_weights + {value.at}"
            if value.where == "words":
                return f"words + {value.at}"
            return f"&{value.name}" if value.where == "cell" else "NULL"
        return f"{value}u"

    def _plan(self) -> str:
        """What stays the same of the values."""
        f = self.frozen
        places = ["CALLERS" if place is None else f"{place}u" for place, *_ in f.values]
        strides = [f"{features if has_time else 0}u" for _, features, _, has_time in f.values]
        made = ["#define CALLERS 0xffffffffu\n"]
        made.append(_array("static const uint32_t places", places))
        made.append(_array("static const uint32_t strides", strides))
        made.append(_array("static const uint32_t steps", [f"{s}u" for _, _, s, _ in f.values]))
        made.append(_array("static const uint32_t features", [f"{x}u" for _, x, _, _ in f.values]))
        return "\n".join(made)

    def _bind(self) -> str:
        f, n = self.frozen, self.name
        floats = f.state + f.between + f.scratch
        inner = "memory->floats + places[i]" if floats else "NULL"
        scratch = f"memory->floats + {f.state + f.between}" if f.scratch else "NULL"
        return f"""/* {self.upper}_ARENA_BYTES says how much memory there is. */
typedef char arena_is_as_said[sizeof({n}_memory) == {self.upper}_ARENA_BYTES ? 1 : -1];

/* Where all values are but the caller's own. */
static void bind({n}_memory *memory, lstmc_call *call) {{
    for (uint32_t i = 0; i < {len(f.values)}; i++) {{
        memory->views[i].data = places[i] == CALLERS ? NULL : {inner};
        memory->views[i].batch_stride = 0;
        memory->views[i].time_stride = strides[i];
    }}
    call->views = memory->views;
    call->steps = steps;
    call->features = features;
    call->scratch = {scratch};
}}

/* Set up the node of layer i. */
#define NODE(i, at, stride)                                                                        \\
    node.prepared = &layer##i;                                                                     \\
    node.state = {"memory->floats + (at)" if floats else "NULL"};                                                             \\
    node.state_stride = (stride);                                                                  \\
    node.parity = 0
"""

    def _node(self, i: int) -> str:
        layer = self.frozen.layers[i]
        return f"    NODE({i}, {layer.state}, {layer.state_floats});\n"

    def _parity(self, i: int) -> int | None:
        """The layer's place in memory->parity."""
        f = self.frozen
        return f.parities.index(i) if i in f.parities else None

    def _restart(self, layers_only: bool) -> str:
        """Statements that put states where they start."""
        f = self.frozen
        most = max((x.state + x.state_floats for x in f.layers), default=0)
        count = most if layers_only else f.state
        text = ""
        if count:
            text += f"    memset(memory->floats, 0, {count} * sizeof(float));\n"
        if f.parities:
            text += "    memset(memory->parity, 0, sizeof memory->parity);\n"
        for i, layer in enumerate(f.layers):
            if layer.reset:
                text += self._node(i) + f"    {layer.reset}(&node, 1);\n"
        return text

    def _resets(self) -> bool:
        return any(x.reset for x in self.frozen.layers)

    def _reset(self) -> str:
        own = "" if self.external else f"    {self.name}_memory *memory = &only;\n"
        node = "    lstmc_node node;\n" if self._resets() else ""
        body = self._restart(layers_only=False) or "    (void)memory;\n"
        return f"void {self.name}_reset({self._own()}) {{\n{own}{node}{body}}}\n"

    def _step(self) -> str:
        f, n = self.frozen, self.name
        text = "" if self.external else f"    {n}_memory *memory = &only;\n"
        text += "    lstmc_call call;\n    lstmc_node node;\n"
        text += "    const uint32_t mode = lstmc_fp_enter();\n    bind(memory, &call);\n"
        for p in f.inputs:
            if f.values[p.value][0] is None:
                text += f"    memory->views[{p.value}].data = (float *)(uintptr_t){p.identifier}; /* read only */\n"
            else:
                text += (
                    f"    copy_in({p.identifier}, memory->views[{p.value}].data, {_shape(p)});\n"
                )
        for p in f.outputs:
            if f.values[p.value][0] is None:
                text += f"    memory->views[{p.value}].data = {p.identifier};\n"
        if f.fresh or f.bindings:
            text += self._restart(layers_only=True)
        for i, layer in enumerate(f.layers):
            text += self._node(i)
            place = self._parity(i)
            if place is not None:
                text += f"    node.parity = memory->parity[{place}];\n"
            text += f"    {layer.run}(&node, &call);\n"
            if place is not None:
                text += f"    memory->parity[{place}] = node.parity;\n"
        for to, source, floats in f.bindings:
            text += (
                f"    memcpy(memory->views[{to}].data, memory->views[{source}].data, "
                f"{floats} * sizeof(float));\n"
            )
        for p in f.outputs:
            if f.values[p.value][0] is not None:
                text += (
                    f"    copy_out(memory->views[{p.value}].data, {p.identifier}, {_shape(p)});\n"
                )
        text += "    lstmc_fp_leave(mode);\n"
        return self._copies() + f"void {n}_step({self._parameters()}) {{\n{text}}}\n"

    def _copies(self) -> str:
        """Functions for arrays that have sizes before time."""
        f, text = self.frozen, ""
        for name, ports, a, b in (
            ("copy_in", f.inputs, "outer, t, inner", "t, outer, inner"),
            ("copy_out", f.outputs, "t, outer, inner", "outer, t, inner"),
        ):
            if any(f.values[p.value][0] is not None for p in ports):
                theirs, mine = "(i * steps_ + t) * inner + j", "(t * outer + i) * inner + j"
                to, source = (mine, theirs) if name == "copy_in" else (theirs, mine)
                text += f"""/* [{a}] as [{b}]. */
static void {name}(const float *from, float *to, size_t outer, size_t steps_, size_t inner) {{
    for (size_t i = 0; i < outer; i++) {{
        for (size_t t = 0; t < steps_; t++) {{
            for (size_t j = 0; j < inner; j++) to[{to}] = from[{source}];
        }}
    }}
}}

"""
        return text

    def _selftest(self, sample: Sample) -> str:
        f, n = self.frozen, self.name
        text = ""
        for p, x in zip(f.inputs, sample.inputs, strict=True):
            text += _array(
                f"static const float golden_{p.identifier}", [_float(v) for v in x.ravel()]
            )
        given = "memory, " if self.external else ""
        ins = [f"golden_{p.identifier} + t * {p.floats}" for p in f.inputs]
        outs = [f"out_{p.identifier}" for p in f.outputs]
        body = "".join(f"    float out_{p.identifier}[{p.floats}];\n" for p in f.outputs)
        body += "".join(f"    uint32_t crc_{p.identifier} = 0;\n" for p in f.outputs)
        body += f"    {n}_reset({'memory' if self.external else ''});\n"
        body += f"    for (uint32_t t = 0; t < {sample.calls}; t++) {{\n"
        body += f"        {n}_step({given}{', '.join([*ins, *outs])});\n"
        for p in f.outputs:
            seed = f"crc_{p.identifier}" if _sequence(p) else "0"
            body += f"        crc_{p.identifier} = lstmc_digest({seed}, out_{p.identifier}, {p.floats});\n"
        body += f"    }}\n    {n}_reset({'memory' if self.external else ''});\n"
        if len(f.outputs) == 1:
            body += f"    return crc_{f.outputs[0].identifier};\n"
        else:
            body += "    uint32_t crc = 0xffffffffu;\n"
            body += "".join(
                f"    crc = lstmc_crc32_word(crc, crc_{p.identifier});\n" for p in f.outputs
            )
            body += "    return ~crc;\n"
        return text + f"\nuint32_t {n}_selftest({self._own()}) {{\n{body}}}\n"

    # -------------------------------------------------------------------------- core and weights

    def core(self) -> str:
        f = self.frozen
        used = {"LINEAR"} | f.functions
        quick = all(
            sources.functions().index(name) < sources.functions().index("AFFINE") for name in used
        )
        defined = ["LSTMC_FROZEN", "LSTMC_NO_THREADS"] + ["LSTMC_ONLY_QUICK"] * quick
        cells = f.cells or {"LSTM"}
        left = [f"LSTMC_NO_{x}" for x in ("LSTM", "GRU") if x not in cells]
        unit = sources.Unit(
            [*defined, *left],
            ["LSTMC_ONLY_QUICK", "LSTMC_NO_LSTM", "LSTMC_NO_GRU", "LSTMC_HAVE_THREADS"], used,
        )  # fmt: skip
        unit.replace("lstmc_view", f"typedef {self.name}_view lstmc_view;\n")
        unit.add("kernels/fpenv.h")
        unit.add_kernels(KERNELS[f.preset.vector])
        roots = {"lstmc_fp_enter", "lstmc_fp_leave", "lstmc_node", "lstmc_call"}
        for layer in f.layers:
            roots |= {layer.run, layer.record, *([layer.reset] if layer.reset else [])}
            if isinstance(cell := layer.fields.get("cell"), Pointer) and cell.where == "cell":
                roots.add(cell.name)
        if self.sample:
            roots |= {"lstmc_digest", *(["lstmc_crc32_word"] if len(f.outputs) > 1 else [])}
        for layer in f.layers:
            unit.add(layer.file)
        text = unit.complete(roots)
        return (
            f'/* What "{self.name}" uses of lstmc\'s core, all of it static. Included by {self.name}.c only. */\n'
            "#if defined(__GNUC__) || defined(__clang__)\n"
            "/* Of functions that serve other models too, a part is used. */\n"
            + "".join(
                f'#pragma GCC diagnostic ignored "-Wunused-{what}"\n'
                for what in ("function", "parameter", "variable")
            )
            + ""
            "#endif\n\n" + text
        )

    def weights(self) -> str:
        n, values = self.name, self.frozen.weights
        if not np.isfinite(values).all():
            raise FormatError("a weight is not a finite number: C has no constant for it")
        aligned = ""
        if self.frozen.preset.vector == "auto":
            aligned = "#if defined(__GNUC__)\n__attribute__((aligned(64)))\n#endif\n"
        text = [_float(v) for v in values.tolist()] or ["0.0f"]
        return (
            f"/* The weights of {n}, in panels of {self.frozen.preset.panel} units, as its layers read them. */\n"
            f"extern const float {n}_weights[{len(text)}];\n"
            + aligned
            + _array(f"const float {n}_weights", text)
        )

    def example(self) -> str:
        n, u, f = self.name, self.upper, self.frozen
        arrays = "".join(
            f"    static float {p.identifier}[{p.floats}];\n" for p in f.inputs + f.outputs
        )
        names = ", ".join(
            [*(["&memory"] if self.external else []), *(p.identifier for p in f.inputs + f.outputs)]
        )
        own = f"    static {n}_memory memory;\n" if self.external else ""
        reset = f"    {n}_reset({'&memory' if self.external else ''});\n"
        test = ""
        if self.sample:
            given = "&memory" if self.external else ""
            test = f"""    const uint32_t digest = {n}_selftest({given});
    printf("selftest %08x, {"%08x"} expected\\n", (unsigned)digest, (unsigned){u}_GOLDEN_DIGEST);
    if (digest != {u}_GOLDEN_DIGEST) return 1;
"""
        y = f.outputs[0]
        return f"""/* Runs {n} on this computer: cc -I.. main.c ../{n}.c ../{n}_weights.c */
#include "{n}.h"

#include <stdio.h>

int main(void) {{
{own}{arrays}{test}{reset}    for (int t = 0; t < 3; t++) {{
        {n}_step({names});
        printf("%d: %.9g\\n", t, (double){y.identifier}[0]);
    }}
    return 0;
}}
"""


def _shape(p: Port) -> str:
    return f"{p.outer}, {p.steps}, {p.features // p.outer}"


def _steps(f: Frozen) -> str:
    return ", ".join(f"{p.steps} steps of {p.identifier}" for p in f.inputs if p.has_time)


def _sequence(p: Port) -> bool:
    """Whether each call's output is a part of a sequence."""
    return g.TIME in p.axes


def _plain(text: str) -> str:
    """For a comment."""
    shown = "".join(c if 32 <= ord(c) < 127 and c not in "\\?" else "_" for c in text)
    return shown.replace("*/", "*_").replace("/*", "/_")[:60]


def _float(value: float) -> str:
    """A constant of C that is exactly this float32."""
    value = float(value)
    if math.isinf(value):
        return "-INFINITY" if value < 0 else "INFINITY"
    if value == 0:
        return "-0.0f" if math.copysign(1, value) < 0 else "0.0f"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value)}.0f"
    mantissa, exponent = value.hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{exponent}f"


def _array(declaration: str, values: list[str]) -> str:
    lines, line = [], "   "
    for value in values:
        if len(line) + len(value) + 2 > 99:
            lines.append(line)
            line = "   "
        line += f" {value},"
    lines.append(line)
    return f"{declaration}[{len(values)}] = {{\n" + "\n".join(lines) + "\n};\n"
