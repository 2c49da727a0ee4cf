"""NAME.c: the calls that train. See train_header for what they are."""

from __future__ import annotations

import zlib

import numpy as np

from .firmware import Firmware
from .records import initialiser
from .text import array, constant, plain
from .train_header import targets, train_parameters, truth_floats
from .training import Training, TrainLayer, View

#: The least and the largest exponent of what optimizers.c lets pass.
LARGEST_RATE = 2.0**60


def training(w: Firmware, t: Training) -> list[str]:
    """The parts of the text."""
    return [
        _bind(w, t),
        *(_layer(w, t, i) for i in range(len(t.layers))),
        _losses(),
        _train(w, t),
        _update(w, t),
        _weights(w, t),
    ]


def _own(w: Firmware) -> str:
    return "" if w.external else f"    {w.name}_memory *memory = &only;\n"


def _parameters(w: Firmware, *more: str) -> str:
    return ", ".join([*([f"{w.name}_memory *memory"] if w.external else []), *more]) or "void"


def _bind(w: Firmware, t: Training) -> str:
    n, base = w.name, w.frozen.state
    places = ["CALLERS" if v.place is None else f"{base + v.place}u" for v in t.values]
    strides = [f"{v.features if v.has_time else 0}u" for v in t.values]
    return "\n".join(
        [
            "/* ----------------------------------------------------------------- training -- */\n",
            array("static const uint32_t lstmc_places", places),
            array("static const uint32_t lstmc_strides", strides),
            array("static const uint32_t lstmc_value_steps", [f"{v.steps}u" for v in t.values]),
            f"""/* Where the values of a sequence are. */
static void lstmc_bind_train({n}_memory *memory, lstmc_call *call) {{
    for (uint32_t i = 0; i < {len(t.values)}; i++) {{
        const uint32_t place = lstmc_places[i];
        memory->views[i].data = place == CALLERS ? NULL : memory->floats + place;
        memory->views[i].batch_stride = 0;
        memory->views[i].time_stride = lstmc_strides[i];
    }}
    call->views = memory->views;
    call->steps = lstmc_value_steps;
    call->features = value_features;
    call->scratch = memory->floats + {base + t.scratch};
}}
""",
        ]
    )


def _at(w: Firmware, place: int | None) -> str:
    return "NULL" if place is None else f"memory->floats + {w.frozen.state + place}"


def _view(w: Firmware, v: View) -> str:
    if v.place is None:
        return "{NULL, 0, 0}"
    stride = v.features if v.has_time else 0
    return f"{{{_at(w, v.place)}, {v.features * v.steps}, {stride}}}"


def _layer(w: Firmware, t: Training, i: int) -> str:
    """Forward of a layer, and its backward if gradients come there."""
    layer, n = t.layers[i], w.name
    ops = layer.training
    text = f"""/* {layer.kind} '{plain(layer.name)}' */
static void lstmc_layer{i}_train({n}_memory *memory, const lstmc_call *call, int back) {{
    const float *lstmc_weights = memory->weights;
    lstmc_node node;
"""
    if ops is None or ops.runs or layer.reset:
        text += f"    const {layer.record} record = {initialiser(w, layer.fields, 2)};\n"
        text += "    node.prepared = &record;\n"
    else:
        text += "    node.prepared = NULL;\n"
    text += (
        f"    node.state = {_at(w, layer.state)};\n    node.state_stride = {layer.state_floats};\n"
    )
    text += "    node.parity = 0;\n    (void)lstmc_weights;\n"
    if layer.reset:
        text += f"    if (!back) {layer.reset}(&node, 1);\n"
    if ops is None:
        return text + f"    (void)back;\n    {layer.run}(&node, call);\n}}\n"
    text += _trained(w, t, layer)
    return text + "}\n"


def _trained(w: Firmware, t: Training, layer: TrainLayer) -> str:
    ops = layer.training
    assert ops is not None
    text = ""
    if ops.record:
        text += f"    const {ops.record} train = {initialiser(w, layer.train_fields, 2)};\n"
    for name, views in (("dx", layer.dx), ("dy", layer.dy)):
        inner = ", ".join(_view(w, v) for v in views) or "{NULL, 0, 0}"
        text += f"    const lstmc_view {name}[] = {{{inner}}};\n"
    text += f"""    lstmc_train_node n;
    n.run = {layer.run if ops.forward and ops.runs else "NULL"};
    n.node = &node;
    n.prepared = {"&train" if ops.record else "NULL"};
    n.saved = {_at(w, layer.saved)};
    n.packed = {_at(w, layer.packed)};
    n.dx = dx;
    n.dy = dy;
    n.mask = NULL;
    if (!back) {{
"""
    if ops.refresh and layer.packed is not None:
        text += f"        {ops.refresh}(&n);\n"
    text += (
        f"        {ops.forward}(&n, call);\n"
        if ops.forward
        else (f"        {layer.run}(&node, call);\n")
    )
    text += "        return;\n    }\n"
    for v in layer.zeroed:
        text += f"    lstmc_zeros({_at(w, v.place)}, {v.features * v.steps});\n"
    text += f"    {ops.backward}(&n, call);\n"
    for j, v in layer.added:
        text += f"    train_add(dx[{j}].data, {_at(w, v.place)}, {v.features * v.steps}, 1);\n"
    return text


def _losses() -> str:
    return """/* The mean of an output's losses over its steps; dy gets their gradients. */
static float lstmc_output_loss(lstmc_loss_args *a, const lstmc_view *y, float *dy,
                               const float *truth, uint32_t truths, uint32_t steps) {
    float sum = 0.0f;
    for (uint32_t t = 0; t < steps; t++) {
        a->y = y->data + t * y->time_stride;
        a->truth = truth + (size_t)t * truths;
        a->dy = dy ? dy + (size_t)t * a->n : NULL;
        sum += train_loss(a);
    }
    return sum / (float)steps;
}
"""


def _train(w: Firmware, t: Training) -> str:
    n, f, inputs = w.name, w.frozen, w.frozen.inputs
    text = f"""/* given: the inputs, then the truths. */
static float lstmc_train_call({n}_memory *memory, const float *const *given) {{
    lstmc_call call;
    lstmc_loss_args a;
    float loss = 0.0f;
"""
    for i, o in enumerate(t.outputs):
        if o.loss.kind.startswith("sparse"):
            v = t.values[o.value]
            text += (
                f"    if (!lstmc_are_classes(given[{len(inputs) + i}], {v.steps}, {v.features})) "
                "return lstmc_nan();\n"
            )
    text += "    const uint32_t mode = lstmc_fp_enter();\n    lstmc_bind_train(memory, &call);\n"
    for i, p in enumerate(inputs):
        text += (
            f"    memory->views[{p.value}].data = (float *)(uintptr_t)given[{i}]; /* read only */\n"
        )
    states = [(x.state, x.state_floats) for x in t.layers if x.state_floats]
    if states:
        first = min(at for at, _ in states)
        text += f"    lstmc_zeros({_at(w, first)}, {t.state});\n"
    for i in range(len(t.layers)):
        text += f"    lstmc_layer{i}_train(memory, &call, 0);\n"
    for v in t.zeroed:
        text += f"    lstmc_zeros({_at(w, v.place)}, {v.features * v.steps});\n"
    for i, o in enumerate(t.outputs):
        v, loss = t.values[o.value], o.loss
        scale = np.float32(o.weight / (t.batch * v.steps))
        text += f"""    a.n = {v.features};
    a.kind = LSTMC_LOSS_{_kind(loss.kind)};
    a.delta = {constant(_f32(loss.delta))};
    a.smoothing = {constant(_f32(loss.label_smoothing))};
    a.from_logits = {int(loss.from_logits)};
    a.scale = {constant(float(scale))};
"""
        call = (
            f"lstmc_output_loss(&a, &memory->views[{o.value}], {_at(w, o.gradient.place)}, "
            f"given[{len(inputs) + i}], {truth_floats(t, i)}, {v.steps})"
        )
        if o.weight == 1 and len(t.outputs) == 1:
            text += f"    loss = {call};\n"
        else:
            text += f"    loss = lstmc_fmaf({constant(_f32(o.weight))}, {call}, loss);\n"
    for i in reversed(range(len(t.layers))):
        if t.layers[i].training:
            text += f"    lstmc_layer{i}_train(memory, &call, 1);\n"
    text += "    lstmc_fp_leave(mode);\n    return loss;\n}\n"
    names = [p.identifier for p in f.inputs] + targets(w, t)
    memory = "memory" if w.external else "&only"
    text += f"""
float {n}_train({", ".join(train_parameters(w, t))}) {{
    return lstmc_train_call({memory}, (const float *const[]){{{", ".join(names)}}});
}}
"""
    return _classes(t) + text


def _classes(t: Training) -> str:
    if not any(o.loss.kind.startswith("sparse") for o in t.outputs):
        return ""
    return """static float lstmc_nan(void) {
    const uint32_t bits = 0x7fc00000u;
    float nan;
    memcpy(&nan, &bits, sizeof nan);
    return nan;
}

static int lstmc_are_classes(const float *truth, uint32_t steps, uint32_t classes) {
    for (uint32_t t = 0; t < steps; t++) {
        if (!(truth[t] >= 0.0f && truth[t] < (float)classes)) return 0;
        if ((float)(uint32_t)truth[t] != truth[t]) return 0;
    }
    return 1;
}

"""


def _kind(kind: str) -> str:
    return kind.upper().replace("SPARSE_CATEGORICAL", "SPARSE")


def _f32(value: float) -> float:
    return float(np.float32(value))


def _update(w: Firmware, t: Training) -> str:
    n, o = w.name, t.optimizer
    slots = ", ".join(f"memory->slots[{i}]" for i in range(t.slots)) or "NULL"
    fields = {
        "momentum": o.momentum, "rho": o.rho, "beta_1": o.beta_1, "beta_2": o.beta_2,
        "epsilon": o.epsilon, "weight_decay": o.weight_decay, "clip_value": o.clipvalue or 0.0,
        "clip_norm": o.clipnorm or 0.0, "global_clip_norm": o.global_clipnorm or 0.0,
    }  # fmt: skip
    flags = {"nesterov": o.nesterov, "centered": o.centered, "amsgrad": o.amsgrad}
    made = "".join(f"        .{k} = {constant(_f32(v))},\n" for k, v in fields.items()) + "".join(
        f"        .{k} = {int(v)},\n" for k, v in flags.items()
    )
    table = ""
    if o.clipnorm or o.global_clipnorm:
        rows = "".join(
            f"    {{{x.place}, {x.floats}, {x.gates * x.k}, {x.units}, {x.panel}}},\n"
            for x in t.tensors
        )
        table = f"""/* The tensors that are trained. */
static const struct {{
    uint32_t at, floats, rows, units, panel;
}} lstmc_tensors[] = {{
{rows}}};

static float lstmc_squares(const float *gradients, uint32_t i) {{
    return gradient_squares(LSTMC_TARGET_AUTO, gradients + lstmc_tensors[i].at,
                            lstmc_tensors[i].rows, lstmc_tensors[i].units,
                            lstmc_tensors[i].panel);
}}

"""
    count = len(t.tensors)
    if o.global_clipnorm:
        step = f"""    float all = 0.0f;
    for (uint32_t i = 0; i < {count}; i++) all += lstmc_squares(memory->gradients, i);
    a.clips = 1;
    a.factor = norm_factor(all, o.global_clip_norm, 1);
    lstmc_update_some(memory, &a, 0, {t.weights});
"""
    elif o.clipnorm:
        step = f"""    a.clips = 1;
    for (uint32_t i = 0; i < {count}; i++) {{
        a.factor = norm_factor(lstmc_squares(memory->gradients, i), o.clip_norm, 0);
        lstmc_update_some(memory, &a, lstmc_tensors[i].at, lstmc_tensors[i].floats);
    }}
"""
    else:
        step = f"    lstmc_update_some(memory, &a, 0, {t.weights});\n"
    given = "memory" if w.external else "&only"
    return f"""{table}/* Weights [at, at + count). */
static void lstmc_update_some({n}_memory *memory, const lstmc_update_args *args, uint32_t at,
                              uint32_t count) {{
    lstmc_update_args a = *args;
    a.w = memory->weights + at;
    a.g = memory->gradients + at;
    for (uint32_t i = 0; i < 3; i++) a.slot[i] = a.slot[i] ? a.slot[i] + at : NULL;
    a.n = count;
    train_update(&a);
}}

int {n}_update({_parameters(w, "float learning_rate")}) {{
{_own(w)}    lstmc_optimizer o = {{
        .kind = LSTMC_OPTIMIZER_{o.kind.upper()},
{made}    }};
    float *const slots[3] = {{{slots}}};
    lstmc_optimizer_state state;
    lstmc_update_args a;
    if (!(learning_rate >= -0x1p60f && learning_rate <= 0x1p60f)) return -1;
    const uint32_t mode = lstmc_fp_enter();
    o.learning_rate = learning_rate;
    state.steps = memory->steps;
    state.beta_1_power = state.steps ? memory->beta_1_power : 1.0f;
    state.beta_2_power = state.steps ? memory->beta_2_power : 1.0f;
    update_constants(&state, slots, &o, &a);
{step}    memory->steps = state.steps + 1;
    memory->beta_1_power = state.beta_1_power;
    memory->beta_2_power = state.beta_2_power;
    lstmc_fp_leave(mode);
    return 0;
}}

void {n}_forget_gradients({_parameters(w)}) {{
    lstmc_zeros({given.removeprefix("&") + ("->" if w.external else ".")}gradients, {t.weights});
}}
"""


def saved_id(t: Training, weights: np.ndarray) -> int:
    """What tells the weights of one export from those of another: where and what they were."""
    text = repr([(x.layer, x.field, x.place, x.gates, x.k, x.units, x.panel) for x in t.tensors])
    start = weights[: t.weights].astype("<f4").tobytes()
    return zlib.crc32(start, zlib.crc32(text.encode()))


def _weights(w: Firmware, t: Training) -> str:
    n, count = w.name, t.weights
    slots = "    memset(memory->slots, 0, sizeof memory->slots);\n" if t.slots else ""
    given = "memory" if w.external else "&only"
    return f"""/* Weights from somewhere; gradients and the optimizer's memory anew. */
static void lstmc_begin_with({n}_memory *memory, const void *weights) {{
    memcpy(memory->weights, weights, sizeof memory->weights);
    lstmc_zeros(memory->gradients, {count});
{slots}    memory->steps = 0;
    memory->beta_1_power = memory->beta_2_power = 1.0f;
}}

void {n}_reset_weights({_parameters(w)}) {{ lstmc_begin_with({given}, {n}_weights); }}

#define SAVED_ID 0x{saved_id(t, w.frozen.weights):08x}u

static uint32_t lstmc_saved_crc(const uint32_t *saved) {{
    uint32_t crc = 0xffffffffu;
    for (uint32_t i = 0; i < {count + 1}; i++) crc = lstmc_crc32_word(crc, saved[i]);
    return ~crc;
}}

void {n}_weights_save({_parameters(w, "uint32_t *saved")}) {{
{_own(w)}    saved[0] = SAVED_ID;
    memcpy(saved + 1, memory->weights, sizeof memory->weights);
    saved[{count + 1}] = lstmc_saved_crc(saved);
}}

int {n}_weights_load({_parameters(w, "const uint32_t *saved")}) {{
    if (saved[0] != SAVED_ID || saved[{count + 1}] != lstmc_saved_crc(saved)) return -1;
    lstmc_begin_with({given}, saved + 1);
    return 0;
}}
"""
