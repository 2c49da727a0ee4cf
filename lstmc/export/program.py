"""NAME.c: the layers' records as constants, and the calls that run them."""

from __future__ import annotations

from dataclasses import replace

from .. import graph as g
from .firmware import Firmware
from .freeze import Port
from .header import own, parameters
from .records import initialiser, uses_trained
from .sample import Sample
from .text import array, constant, plain
from .train_program import training


def program(w: Firmware) -> str:
    f, n = w.frozen, w.name
    parts = [
        f'/* The model "{n}": its layers as constants, and what runs them. See {n}.h. */\n',
        f'#include "{n}.h"\n#include "{n}_core.h"\n',
        f"extern const float {n}_weights[{max(len(f.weights), 1)}];\n",
    ]
    if f.words:
        parts.append(array("static const uint32_t words", [f"{w}u" for w in f.words]))
    for i, layer in enumerate(f.layers):
        if uses_trained(layer.fields):
            continue
        record = initialiser(w, layer.fields, 1)
        parts.append(
            f"/* {layer.kind} '{plain(layer.name)}' */\n"
            f"static const {layer.record} layer{i} = {record};\n"
        )
    parts += [_plan(w), _bind(w)]
    if not w.external:
        parts.append(f"static {n}_memory only;\n")
    parts += [_reset(w), _step(w)]
    if w.sample:
        parts.append(_selftest(w, w.sample))
    if f.training:
        parts += training(w, f.training)
    return "\n".join(parts)


def _plan(w: Firmware) -> str:
    """What stays the same of the values."""
    f = w.frozen
    places = ["CALLERS" if place is None else f"{place}u" for place, *_ in f.values]
    strides = [f"{features if has_time else 0}u" for _, features, _, has_time in f.values]
    made = ["#define CALLERS 0xffffffffu\n"]
    made.append(array("static const uint32_t places", places))
    made.append(array("static const uint32_t strides", strides))
    made.append(array("static const uint32_t value_steps", [f"{s}u" for _, _, s, _ in f.values]))
    made.append(array("static const uint32_t value_features", [f"{x}u" for _, x, _, _ in f.values]))
    return "\n".join(made)


def _bind(w: Firmware) -> str:
    f, n = w.frozen, w.name
    floats = f.floats
    inner = "memory->floats + places[i]" if floats else "NULL"
    scratch = f"memory->floats + {f.state + f.between}" if f.scratch else "NULL"
    state = "memory->floats + (at)" if floats else "NULL"
    return f"""/* {w.upper}_ARENA_BYTES says how much memory there is. */
typedef char arena_is_as_said[sizeof({n}_memory) == {w.upper}_ARENA_BYTES ? 1 : -1];

/* Where all values are but the caller's own. */
static void bind({n}_memory *memory, lstmc_call *call) {{
    for (uint32_t i = 0; i < {len(f.values)}; i++) {{
        memory->views[i].data = places[i] == CALLERS ? NULL : {inner};
        memory->views[i].batch_stride = 0;
        memory->views[i].time_stride = strides[i];
    }}
    call->views = memory->views;
    call->steps = value_steps;
    call->features = value_features;
    call->scratch = {scratch};
}}

/* Set up the node of layer i, whose state is at a place. */
#define NODE(i, at, stride) \\
    node.prepared = &layer##i; \\
    node.state = {state}; \\
    node.state_stride = (stride); \\
    node.parity = 0
"""


def _node(w: Firmware, i: int) -> str:
    layer = w.frozen.layers[i]
    made = f"    NODE({i}, {layer.state}, {layer.state_floats});\n"
    if uses_trained(layer.fields):
        made = f"    const {layer.record} layer{i} = {initialiser(w, layer.fields, 2)};\n" + made
    return made


def _block(w: Firmware, i: int, text: str) -> str:
    """Statements about layer i, whose record may be a variable."""
    return f"    {{\n{text}    }}\n" if uses_trained(w.frozen.layers[i].fields) else text


def _parity(w: Firmware, i: int) -> int | None:
    """The layer's place in memory->parity."""
    f = w.frozen
    return f.parities.index(i) if i in f.parities else None


def _restart(w: Firmware, layers_only: bool) -> str:
    """Statements that put states where they start."""
    f = w.frozen
    most = max((x.state + x.state_floats for x in f.layers), default=0)
    count = most if layers_only else f.state
    text = ""
    if count:
        text += f"    for (uint32_t i = 0; i < {count}; i++) memory->floats[i] = 0.0f;\n"
    if f.parities:
        text += f"    for (uint32_t i = 0; i < {len(f.parities)}; i++) memory->parity[i] = 0;\n"
    for i, layer in enumerate(f.layers):
        if layer.reset:
            text += _block(w, i, _node(w, i) + f"    {layer.reset}(&node, 1);\n")
    return text


def _resets(w: Firmware) -> bool:
    return any(x.reset for x in w.frozen.layers)


def _reset(w: Firmware) -> str:
    at = "" if w.external else f"    {w.name}_memory *memory = &only;\n"
    node = "    lstmc_node node;\n" if _resets(w) else ""
    body = _restart(w, layers_only=False) or "    (void)memory;\n"
    if w.frozen.training:
        given = "memory, memory->weights" if w.external else "&only, only.weights"
        return f"""/* From some weights on: those that are trained, or those in flash. */
static void lstmc_restart({w.name}_memory *memory, const float *lstmc_weights) {{
    (void)lstmc_weights;
{node}{body}}}

void {w.name}_reset({own(w)}) {{ lstmc_restart({given}); }}
"""
    return f"void {w.name}_reset({own(w)}) {{\n{at}{node}{body}}}\n"


def _step(w: Firmware) -> str:
    f, n = w.frozen, w.name
    text = "" if w.external or f.training else f"    {n}_memory *memory = &only;\n"
    text += "    (void)lstmc_weights;\n" if f.training else ""
    text += "    lstmc_call call;\n    lstmc_node node;\n"
    text += "    const uint32_t mode = lstmc_fp_enter();\n    bind(memory, &call);\n"
    for p in f.inputs:
        if f.values[p.value][0] is None:
            given = f"(float *)(uintptr_t){p.identifier}; /* read only */"
            text += f"    memory->views[{p.value}].data = {given}\n"
        else:
            text += f"    copy_in({p.identifier}, memory->views[{p.value}].data, {_shape(p)});\n"
    for p in f.outputs:
        if f.values[p.value][0] is None:
            text += f"    memory->views[{p.value}].data = {p.identifier};\n"
    if f.fresh or f.bindings:
        text += _restart(w, layers_only=True)
    for i, layer in enumerate(f.layers):
        one = _node(w, i)
        place = _parity(w, i)
        if place is not None:
            # An index, also in memory that was never reset.
            one += f"    node.parity = memory->parity[{place}] & 1u;\n"
        one += f"    {layer.run}(&node, &call);\n"
        if place is not None:
            one += f"    memory->parity[{place}] = node.parity;\n"
        text += _block(w, i, one)
    for to, source, floats in f.bindings:
        text += (
            f"    memcpy(memory->views[{to}].data, memory->views[{source}].data, "
            f"{floats} * sizeof(float));\n"
        )
    for p in f.outputs:
        if f.values[p.value][0] is not None:
            text += f"    copy_out(memory->views[{p.value}].data, {p.identifier}, {_shape(p)});\n"
    text += "    lstmc_fp_leave(mode);\n"
    if f.training:
        ports = parameters(replace(w, external=False))
        given = "memory, memory->weights" if w.external else "&only, only.weights"
        names = ", ".join([given, *(p.identifier for p in f.inputs + f.outputs)])
        return (
            f"{_copies(w)}/* The same with some weights. */\n"
            f"static void lstmc_run_step({n}_memory *memory, const float *lstmc_weights, {ports}) "
            f"{{\n{text}}}\n\n"
            f"void {n}_step({parameters(w)}) {{ lstmc_run_step({names}); }}\n"
        )
    return _copies(w) + f"void {n}_step({parameters(w)}) {{\n{text}}}\n"


def _copies(w: Firmware) -> str:
    """Functions for arrays that have sizes before time."""
    f, text = w.frozen, ""
    for name, ports, a, b in (
        ("copy_in", f.inputs, "outer, t, inner", "t, outer, inner"),
        ("copy_out", f.outputs, "t, outer, inner", "outer, t, inner"),
    ):
        if any(f.values[p.value][0] is not None for p in ports):
            theirs, mine = "(i * count + t) * inner + j", "(t * outer + i) * inner + j"
            to, source = (mine, theirs) if name == "copy_in" else (theirs, mine)
            text += f"""/* [{a}] as [{b}]. */
static void {name}(const float *from, float *to, size_t outer, size_t count, size_t inner) {{
    for (size_t i = 0; i < outer; i++) {{
        for (size_t t = 0; t < count; t++) {{
            for (size_t j = 0; j < inner; j++) to[{to}] = from[{source}];
        }}
    }}
}}

"""
    return text


def _selftest(w: Firmware, sample: Sample) -> str:
    f, n = w.frozen, w.name
    text = ""
    for p, x in zip(f.inputs, sample.inputs, strict=True):
        text += array(f"static const float golden_{p.identifier}", [constant(v) for v in x.ravel()])
    given = "memory, " if w.external else ""
    step, reset = f"{n}_step", f"{n}_reset({'memory' if w.external else ''})"
    if f.training:  # with the weights in flash, whatever has been trained
        given = f"{'memory' if w.external else '&only'}, {n}_weights, "
        step, reset = "lstmc_run_step", f"lstmc_restart({given[:-2]})"
    ins = [f"golden_{p.identifier} + t * {p.floats}" for p in f.inputs]
    outs = [f"out_{p.identifier}" for p in f.outputs]
    body = "".join(f"    float out_{p.identifier}[{p.floats}];\n" for p in f.outputs)
    body += "".join(f"    uint32_t crc_{p.identifier} = 0;\n" for p in f.outputs)
    body += f"    {reset};\n"
    body += f"    for (uint32_t t = 0; t < {sample.calls}; t++) {{\n"
    body += f"        {step}({given}{', '.join([*ins, *outs])});\n"
    for p in f.outputs:
        seed = f"crc_{p.identifier}" if _sequence(p) else "0"
        body += (
            f"        crc_{p.identifier} = lstmc_digest({seed}, out_{p.identifier}, {p.floats});\n"
        )
    body += f"    }}\n    {reset};\n"
    if len(f.outputs) == 1:
        body += f"    return crc_{f.outputs[0].identifier};\n"
    else:
        body += "    uint32_t crc = 0xffffffffu;\n"
        body += "".join(
            f"    crc = lstmc_crc32_word(crc, crc_{p.identifier});\n" for p in f.outputs
        )
        body += "    return ~crc;\n"
    return text + f"\nuint32_t {n}_selftest({own(w)}) {{\n{body}}}\n"


def _shape(p: Port) -> str:
    return f"{p.outer}, {p.steps}, {p.features // p.outer}"


def _sequence(p: Port) -> bool:
    """Whether each call's output is a part of a sequence."""
    return g.TIME in p.axes
