/* Embedding, backward: dw[column x] += dy, for rows and in each row steps in the order of training, in a
 * step the features of x ascending. The index has no gradient. Where x is no index, nothing goes
 * anywhere. Fill: dvalue += dy, rows ascending. */
#include "../layers/embedding.h"
#include "train_layers.h"

typedef struct train_embedding {
    uint32_t x; /* value id */
    uint32_t features, entries, units, panel;
    float *dweight; /* NULL: frozen */
} train_embedding;

static void train_embedding_prepare(const lstmc_train_layer *l, void *prepared) {
    train_embedding *p = (train_embedding *)prepared;
    lstmc_tensor weight;
    (void)lstmc_tensor_get(&l->layer, 0, &weight);
    p->x = l->layer.inputs[0];
    p->features = lstmc_value_get(l->layer.model, p->x).features;
    p->entries = weight.k;
    p->units = weight.units;
    p->panel = weight.panel;
    p->dweight = lstmc_train_gradient(l, 0);
}

static void train_embedding_entry(const lstmc_train_node *node, uint32_t entry, const float *dy) {
    const train_embedding *p = (const train_embedding *)node->prepared;
    float *panel = p->dweight; /* [k][width] */
    for (uint32_t i = 0; i < p->units; i += p->panel) {
        const uint32_t width = lstmc_panel_width(p->units, p->panel, i / p->panel);
        const uint32_t rest = p->units - i;
        LSTMC_TRAIN_KERNEL(node->kernels, add, dy + i, panel + (size_t)entry * width,
                           rest < width ? rest : width, 0);
        panel += (size_t)p->entries * width;
    }
}

static void train_embedding_backward(const lstmc_train_node *node, const lstmc_call *call) {
    const train_embedding *p = (const train_embedding *)node->prepared;
    const lstmc_view x = call->views[p->x], dy = node->dy[0];
    if (!p->dweight) return;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        for (uint32_t t = lstmc_row_steps(call, p->x, b); t-- > 0;) {
            for (uint32_t i = 0; i < p->features; i++) {
                const uint32_t entry = lstmc_entry_of(p->entries, lstmc_at(&x, b, t)[i]);
                if (entry == p->entries) continue;
                train_embedding_entry(node, entry, lstmc_at(&dy, b, t) + (size_t)i * p->units);
            }
        }
    }
}

typedef struct train_fill {
    uint32_t units;
    float *dvalue; /* NULL: frozen */
} train_fill;

static void train_fill_prepare(const lstmc_train_layer *l, void *prepared) {
    train_fill *p = (train_fill *)prepared;
    lstmc_tensor value;
    (void)lstmc_tensor_get(&l->layer, 0, &value);
    p->units = value.units;
    p->dvalue = lstmc_train_gradient(l, 0);
}

static void train_fill_backward(const lstmc_train_node *node, const lstmc_call *call) {
    const train_fill *p = (const train_fill *)node->prepared;
    for (uint32_t b = 0; p->dvalue && b < lstmc_batch(call); b++) {
        LSTMC_TRAIN_KERNEL(node->kernels, add, lstmc_at(node->dy, b, 0), p->dvalue, p->units, 0);
    }
}

const lstmc_train_ops lstmc_train_embedding = {
    .code = 8,
    .prepared_size = sizeof(train_embedding),
    .blocks = 1,
    .prepare = train_embedding_prepare,
    .backward = train_embedding_backward,
};
const lstmc_train_ops lstmc_train_fill = {
    .code = LSTMC_CODE_FILL,
    .prepared_size = sizeof(train_fill),
    .blocks = 1,
    .prepare = train_fill_prepare,
    .backward = train_fill_backward,
};
