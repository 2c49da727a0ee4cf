"""The files of a firmware: NAME.h, NAME.c, NAME_core.h, NAME_weights.c and an example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import __version__
from ..errors import FormatError
from ..presets import Preset
from . import sources
from .firmware import Firmware
from .freeze import Layer, Pointer, walk
from .header import header
from .manifests import manifests
from .program import program
from .text import array, constant
from .training import Training
from .unit import Unit

#: SIMD targets that a preset's firmware may be compiled for, best first; the scalar one is always.
KERNELS = {
    "scalar": ("scalar",),
    "helium": ("helium", "scalar"),
    "auto": ("avx2", "neon", "scalar"),
}


def files(w: Firmware) -> dict[str, str]:
    """The text of every file, by its path below the directory."""
    n = w.name
    made = {
        f"{n}.h": header(w),
        f"{n}.c": program(w),
        f"{n}_core.h": core(w),
        f"{n}_weights.c": weights(w),
        "example/main.c": example(w),
    }
    return made | manifests(n, made, __version__)


def core(w: Firmware) -> str:
    """NAME_core.h: what the layers refer to, for the kernels that the preset's chips have."""
    f = w.frozen
    used = {"LINEAR"} | f.functions
    quick = all(
        sources.functions().index(name) < sources.functions().index("AFFINE") for name in used
    )
    defined = ["LSTMC_FROZEN", "LSTMC_NO_THREADS"] + ["LSTMC_ONLY_QUICK"] * quick
    cells = f.cells or {"LSTM"}
    left = [f"LSTMC_NO_{x}" for x in ("LSTM", "GRU") if x not in cells]
    unit = Unit(
        [*defined, *left],
        [
            "LSTMC_ONLY_QUICK", "LSTMC_NO_LSTM", "LSTMC_NO_GRU", "LSTMC_HAVE_THREADS",
            "LSTMC_TRAINING",
            *([] if _is_cortex_with_fpu(f.preset) else ["LSTMC_HAVE_CORTEXM"]),
        ], used, f.training.functions if f.training else (),
    )  # fmt: skip
    fused = [x for x in f.layers if x.fields.get("fused")]
    widths = {w for x in fused for w in _widths(x)}
    panels = sum({1: 1, 2: 2}.get(width, 4) for width in {min(w, 4) for w in widths})
    unit.add_text(f"#define LSTMC_ROW_PANELS {panels}\n")
    unit.add_text(f"#define LSTMC_ROW_PLAIN {int(all(x.fields['plain'] for x in fused))}\n")
    unit.replace(
        "lstmc_kernels", "typedef struct lstmc_kernels lstmc_kernels; /* of no use here */\n"
    )
    unit.replace("lstmc_view", f"typedef {w.name}_view lstmc_view;\n")
    if f.training:
        unit.replace(
            "lstmc_train_kernels",
            "typedef struct lstmc_train_kernels lstmc_train_kernels; /* of no use here */\n",
        )
    unit.add("kernels/fpenv.h")
    unit.add_kernels(KERNELS[f.preset.vector], f.training is not None)
    roots = {"lstmc_fp_enter", "lstmc_fp_leave", "lstmc_node", "lstmc_call"}
    for layer in f.layers:
        roots |= {layer.run, layer.record, *([layer.reset] if layer.reset else [])}
        if isinstance(cell := layer.fields.get("cell"), Pointer) and cell.where == "cell":
            roots.add(cell.name)
    if w.sample:
        roots |= {"lstmc_digest", *(["lstmc_crc32_word"] if len(f.outputs) > 1 else [])}
    for layer in f.layers:
        unit.add(layer.file)
    if f.training:
        roots |= train_roots(f.training)
        for file in train_files(f.training):
            unit.add(file)
    return f"""/* What "{w.name}" uses of lstmc's core, all static: {w.name}.c includes it.
 *
 * SPDX-License-Identifier: MIT
 * Copyright (c) 2026 the lstmc authors
 */
{unit.complete(roots)}"""


def train_roots(t: Training) -> set[str]:
    """What the calls that train refer to."""
    roots = {
        "lstmc_train_node", "lstmc_loss_args", "lstmc_update_args", "lstmc_optimizer",
        "lstmc_optimizer_state", "train_loss", "train_update", "update_constants", "lstmc_zeros",
        "lstmc_crc32_word",
    }  # fmt: skip
    if t.optimizer.clipnorm or t.optimizer.global_clipnorm:
        roots |= {"gradient_squares", "norm_factor"}
    if len(t.outputs) > 1 or t.outputs[0].weight != 1:
        roots.add("lstmc_fmaf")
    for layer in t.layers:
        ops = layer.training
        if ops is None or ops.runs:
            roots |= {layer.run, layer.record, *_constants(layer.fields)}
        if layer.reset:
            roots |= {layer.reset, layer.record, *_constants(layer.fields)}
        if ops is None:
            continue
        roots |= {
            ops.backward,
            *([ops.record] if ops.record else []),
            *_constants(layer.train_fields),
        }
        roots |= {ops.forward} if ops.forward else set()
        roots |= {ops.refresh} if ops.refresh and layer.packed is not None else set()
        roots |= {"train_add"} if layer.added else set()
    return roots


def _constants(fields: Mapping[str, Any]) -> set[str]:
    """The core's that a record points at."""
    return {x.name for x in walk(fields) if isinstance(x, Pointer) and x.where == "cell"}


def train_files(t: Training) -> list[str]:
    layers = {layer.file for layer in t.layers}
    own = {layer.training.file for layer in t.layers if layer.training}
    return [*sorted(layers), "train/train.h", *sorted(own), "train/optimizers.c"]


def _is_cortex_with_fpu(preset: Preset) -> bool:
    return preset.name.startswith("cortex-m") and preset.fpu != "none"


def _widths(layer: Layer) -> set[int]:
    """Of the panels of a recurrent layer."""
    panel, full = layer.fields["panel"], layer.fields["full"]
    half = layer.fields["padded"] % panel
    return {w for w in (panel if full else 0, half) if w}


def weights(w: Firmware) -> str:
    """NAME_weights.c; FormatError for one that is not finite."""
    n, values = w.name, w.frozen.weights
    if not np.isfinite(values).all():
        raise FormatError("a weight is not a finite number")
    aligned = ""
    if w.frozen.preset.vector == "auto":
        aligned = "#if defined(__GNUC__)\n__attribute__((aligned(64)))\n#endif\n"
    text = [constant(v) for v in values.tolist()] or ["0.0f"]
    return (
        f"/* The weights of {n}, in panels of {w.frozen.preset.panel} units. */\n"
        f"extern const float {n}_weights[{len(text)}];\n"
        + aligned
        + array(f"const float {n}_weights", text)
    )


def example(w: Firmware) -> str:
    """example/main.c, for this computer."""
    n, u, f = w.name, w.upper, w.frozen
    arrays = "".join(
        f"    static float {p.identifier}[{p.floats}];\n" for p in f.inputs + f.outputs
    )
    names = ", ".join(
        [*(["&memory"] if w.external else []), *(p.identifier for p in f.inputs + f.outputs)]
    )
    memory = f"    static {n}_memory memory;\n" if w.external else ""
    reset = f"    {n}_reset({'&memory' if w.external else ''});\n"
    test = ""
    if w.sample:
        given = "&memory" if w.external else ""
        test = f"""    const uint32_t digest = {n}_selftest({given});
    printf("selftest %08x, %08x expected\\n", (unsigned)digest, (unsigned){u}_GOLDEN_DIGEST);
    if (digest != {u}_GOLDEN_DIGEST) return 1;
"""
    y = f.outputs[0]
    return f"""/* Runs {n} on this computer: cc -I.. main.c ../{n}.c ../{n}_weights.c */
#include "{n}.h"

#include <stdio.h>

int main(void) {{
{memory}{arrays}{test}{reset}    for (int t = 0; t < 3; t++) {{
        {n}_step({names});
        printf("%d: %.9g\\n", t, (double){y.identifier}[0]);
    }}
    return 0;
}}
"""
