"""NAME.h: what the user of a firmware that trains calls besides."""

from __future__ import annotations

from .firmware import Firmware
from .freeze import identifier
from .text import constant, plain
from .training import Training


def train_members(t: Training) -> list[str]:
    """Of the memory: what is kept from call to call."""
    n = t.weights
    return [
        f"    float weights[{n}], gradients[{n}];",
        *([f"    float slots[{t.slots}][{n}]; /* the optimizer's */"] if t.slots else []),
        "    uint32_t steps; /* of the optimizer, and its powers of beta */",
        "    float beta_1_power, beta_2_power;",
    ]


def targets(w: Firmware, t: Training) -> list[str]:
    """The parameters of NAME_train for the truths."""
    f = w.frozen
    if len(t.outputs) == 1:
        taken = {p.identifier for p in f.inputs}
        return [identifier("target", taken, "truth")]
    taken = {p.identifier for p in f.inputs + f.outputs}
    ports = {p.value: p for p in f.outputs}
    return [identifier(f"target_{ports[o.value].identifier}", taken, "truth") for o in t.outputs]


def train_parameters(w: Firmware, t: Training) -> list[str]:
    names = [p.identifier for p in w.frozen.inputs] + targets(w, t)
    memory = [f"{w.name}_memory *memory"] if w.external else []
    return memory + [f"const float *{n}" for n in names]


def truth_floats(t: Training, i: int) -> int:
    """Of a step of an output."""
    o = t.outputs[i]
    sparse = o.loss.kind == "sparse_categorical_crossentropy"
    return 1 if sparse else t.values[o.value].features


def _own(w: Firmware, *more: str) -> str:
    return ", ".join([*([f"{w.name}_memory *memory"] if w.external else []), *more]) or "void"


def train_declarations(w: Firmware, t: Training) -> list[str]:
    n, u = w.name, w.upper
    shapes = [
        f" * {p.identifier} [{v.steps}][{v.features}]"
        for p in w.frozen.inputs
        for v in (t.values[p.value],)
    ]
    shapes += [
        f" * {name} [{t.values[o.value].steps}][{truth_floats(t, i)}]: {_loss(t, i)}"
        for i, (name, o) in enumerate(zip(targets(w, t), t.outputs, strict=True))
    ]
    tensors = [
        f" * {plain(f'{x.layer}.{x.field}'):<40} {x.place:>8} {x.floats:>8}   "
        f"{x.gates} x {x.units} x {x.k}"
        for x in t.tensors
    ]
    panel = t.tensors[0].panel
    batch = (
        "a sequence"
        if t.batch == 1
        else f"the mean of {t.batch} sequences: call it as often before each {n}_update"
    )
    return [
        "/* ---------------------------------------------------------------------- training -- */",
        "",
        "/* Steps of a sequence, sequences of an update, the learning rate of the export. */",
        f"#define {u}_TRAIN_TIME {t.time}",
        f"#define {u}_TRAIN_BATCH {t.batch}",
        f"#define {u}_LEARNING_RATE {constant(_float32(t.optimizer.learning_rate))}",
        "",
        f"/* Of {u}_ARENA_BYTES, what training alone takes; and what the weights take to store. */",
        "#if UINTPTR_MAX > 0xffffffffu",
        f"#define {u}_TRAIN_BYTES {w.frozen.ram(8) - w.frozen.ram_without_training(8)}",
        "#else",
        f"#define {u}_TRAIN_BYTES {w.frozen.ram(4) - w.frozen.ram_without_training(4)}",
        "#endif",
        f"#define {u}_SAVED_WORDS {t.weights + 2}",
        "",
        "/* Put the weights where they were at export, and forget gradients and the optimizer's",
        f" * memory. Call it (or {n}_weights_load) once, before anything else: {n}_step takes the",
        f" * weights that are trained. {n}_selftest always takes those of the export. */",
        f"void {n}_reset_weights({_own(w)});",
        "",
        "/* Forward, loss and backward of a sequence, step by step, from a fresh state;",
        f" * {n}_step's own state stays. Adds to the gradients those of the loss of {batch}.",
        *shapes,
        " * A step of an input is as a call takes it. Returns the loss, the mean over all steps;",
        f" * if that is not finite, nor are the gradients: {n}_forget_gradients.",
        *(
            [" * A class that there is none of: NaN, and nothing has been done. */"]
            if any(o.loss.kind.startswith("sparse") for o in t.outputs)
            else [" */"]
        ),
        f"float {n}_train({', '.join(train_parameters(w, t))});",
        "",
        f"/* A step of {_optimizer(t)} with the gradients so far, which become zeros.",
        " * Returns 0; -1, and nothing has been done, for a rate beyond 2^60 or that is NaN. */",
        f"int {n}_update({_own(w, 'float learning_rate')});",
        "",
        "/* Gradients to zero, without an update. */",
        f"void {n}_forget_gradients({_own(w)});",
        "",
        f"/* The weights as {u}_SAVED_WORDS words, for flash: a number that tells models apart,",
        " * floats, and the CRC-32 of all that (as zlib's, of little-endian words). The floats,",
        f" * in panels of {panel} units (docs/SPEC.md, Panels):",
        " *",
        f" * {'layer and field':<40} {'from':>8} {'floats':>8}   gates x units x inputs",
        *tensors,
        " */",
        f"void {n}_weights_save({_own(w, 'uint32_t *saved')});",
        "",
        "/* Weights from there, also from memory that can only be read. Gradients and the",
        " * optimizer's memory are forgotten. Returns 0; -1, and nothing has been done, if they",
        " * are another model's or damaged. */",
        f"int {n}_weights_load({_own(w, 'const uint32_t *saved')});",
        "",
    ]


def _float32(value: float) -> float:
    import numpy as np

    return float(np.float32(value))


def _loss(t: Training, i: int) -> str:
    kind = t.outputs[i].loss.kind.replace("_", " ")
    return f"{kind}, the number of the class" if truth_floats(t, i) == 1 < _features(t, i) else kind


def _features(t: Training, i: int) -> int:
    return t.values[t.outputs[i].value].features


def _optimizer(t: Training) -> str:
    return {"sgd": "SGD", "rmsprop": "RMSprop", "adam": "Adam"}[t.optimizer.kind]
