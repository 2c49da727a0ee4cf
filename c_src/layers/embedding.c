/* Embedding: for every feature of x, the weight's column of that number; NaN where it is none.
 *
 * Tensors: weight [units, k], k being the number of entries. */
#include "embedding.h"
#include "layers.h"

static int embedding_check(const lstmc_layer *l) {
    lstmc_tensor weight;
    if (!lstmc_layer_counts(l, 1, 1, 1, 0)) return LSTMC_E_INVALID;
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    if (!lstmc_tensor_get(l, 0, &weight) || weight.plain || weight.gates != 1) {
        return LSTMC_E_INVALID;
    }
    const uint64_t features = (uint64_t)x.features * weight.units;
    if (features > LSTMC_MAX_SIZE) return LSTMC_E_INVALID;
    return lstmc_layer_output(l, 0, lstmc_with_features(x, (uint32_t)features)) ? LSTMC_OK
                                                                                : LSTMC_E_INVALID;
}

typedef struct embedding {
    uint32_t x, y; /* value ids */
    uint32_t features, entries, units, panel;
    const float *weight;
} embedding;

static void embedding_prepare(const lstmc_layer *l, void *prepared) {
    embedding *p = (embedding *)prepared;
    lstmc_tensor weight;
    (void)lstmc_tensor_get(l, 0, &weight);
    p->x = l->inputs[0];
    p->y = l->outputs[0];
    p->features = lstmc_value_get(l->model, p->x).features;
    p->entries = weight.k;
    p->units = weight.units;
    p->panel = weight.panel;
    p->weight = weight.data;
}

static void look_up(const lstmc_node *node, const embedding *p, float x, float *y) {
    const uint32_t entry = lstmc_entry_of(p->entries, x);
    if (entry == p->entries) {
        const uint32_t nan = 0x7fc00000u;
        for (uint32_t i = 0; i < p->units; i++) memcpy(y + i, &nan, sizeof nan);
        return;
    }
    const float *panel = p->weight; /* [k][width] */
    for (uint32_t i = 0; i < p->units; i += p->panel) {
        const uint32_t width = lstmc_panel_width(p->units, p->panel, i / p->panel);
        const uint32_t rest = p->units - i;
        const float *column = panel + (size_t)entry * width;
        LSTMC_KERNEL(node->full, map, &lstmc_linear, 1, column, y + i, rest < width ? rest : width);
        panel += (size_t)p->entries * width;
    }
}

static void embedding_run(lstmc_node *node, const lstmc_call *call) {
    const embedding *p = (const embedding *)node->prepared;
    if (p->y == LSTMC_NONE) return;
    const lstmc_view x = call->views[p->x], y = call->views[p->y];
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        for (uint32_t t = 0; t < lstmc_steps(call, p->x); t++) {
            const float *from = lstmc_at(&x, b, t);
            float *to = lstmc_at(&y, b, t);
            for (uint32_t i = 0; i < p->features; i++) {
                look_up(node, p, from[i], to + (size_t)i * p->units);
            }
        }
    }
}

const lstmc_layer_ops lstmc_layer_embedding = {
    .code = 8,
    .prepared_size = sizeof(embedding),
    .check = embedding_check,
    .prepare = embedding_prepare,
    .plan = lstmc_plan_nothing,
    .run = embedding_run,
};
