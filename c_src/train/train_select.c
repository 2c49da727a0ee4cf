/* Select, backward: dx[index[i]] += dy[i], i ascending. Reduce: kernels say how. */
#include "train_layers.h"

typedef struct train_selection {
    uint32_t x;            /* value id */
    uint32_t features;     /* of x */
    uint32_t count;        /* of parameters */
    const uint32_t *param; /* in the model */
} train_selection;

static void train_select_prepare(const lstmc_train_layer *l, void *prepared) {
    train_selection *p = (train_selection *)prepared;
    p->x = l->layer.inputs[0];
    p->features = lstmc_value_get(l->layer.model, p->x).features;
    p->count = l->layer.param_count;
    p->param = l->layer.params;
}

static void train_select_backward(const lstmc_train_node *node, const lstmc_call *call) {
    const train_selection *p = (const train_selection *)node->prepared;
    const lstmc_view dx = node->dx[0], dy = node->dy[0];
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t valid = lstmc_row_steps(call, p->x, b);
        lstmc_zero_rest(&dx, b, 0, lstmc_steps(call, p->x), p->features);
        for (uint32_t t = 0; t < valid; t++) {
            float *to = lstmc_at(&dx, b, t);
            LSTMC_TRAIN_KERNEL(node->kernels, scatter, p->param, lstmc_at(&dy, b, t), to, p->count);
            LSTMC_KERNEL(node->node->full, map, &lstmc_linear, 1, to, to, p->features);
        }
    }
}

static void train_reduce_backward(const lstmc_train_node *node, const lstmc_call *call) {
    const train_selection *p = (const train_selection *)node->prepared;
    const lstmc_view x = call->views[p->x], dx = node->dx[0], dy = node->dy[0];
    const uint32_t steps = lstmc_steps(call, p->x);
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t valid = lstmc_row_steps(call, p->x, b);
        for (uint32_t t = 0; t < valid; t++) {
            LSTMC_TRAIN_KERNEL(node->kernels, reduce_back, p->param[0], lstmc_at(&x, b, t),
                               *lstmc_at(&dy, b, t), lstmc_at(&dx, b, t), p->features);
        }
        lstmc_zero_rest(&dx, b, valid, steps, p->features);
    }
}

const lstmc_train_ops lstmc_train_select = {
    .code = 13,
    .prepared_size = sizeof(train_selection),
    .prepare = train_select_prepare,
    .backward = train_select_backward,
};
const lstmc_train_ops lstmc_train_reduce = {
    .code = 14,
    .prepared_size = sizeof(train_selection),
    .prepare = train_select_prepare,
    .backward = train_reduce_backward,
};
