/* Activation, backward: dx = dy fn'(x). Softmax: kernels say how. */
#include "train_layers.h"

typedef struct train_elementwise {
    uint32_t x, y; /* value ids */
    uint32_t features;
    uint32_t size, log; /* Softmax */
    lstmc_fn fn;        /* Activation */
} train_elementwise;

static void train_elementwise_values(const lstmc_train_layer *l, train_elementwise *p) {
    p->x = l->layer.inputs[0];
    p->y = l->layer.outputs[0];
    p->features = lstmc_value_get(l->layer.model, p->x).features;
}

static void train_activation_prepare(const lstmc_train_layer *l, void *prepared) {
    train_elementwise *p = (train_elementwise *)prepared;
    train_elementwise_values(l, p);
    (void)lstmc_fn_get(l->layer.params, &p->fn);
}

static void train_softmax_prepare(const lstmc_train_layer *l, void *prepared) {
    train_elementwise *p = (train_elementwise *)prepared;
    train_elementwise_values(l, p);
    p->size = lstmc_param(&l->layer, 0, 0);
    p->log = lstmc_param(&l->layer, 1, 0);
    if (!p->size) p->size = p->features;
}

static void train_activation_backward(const lstmc_train_node *node, const lstmc_call *call) {
    const train_elementwise *p = (const train_elementwise *)node->prepared;
    const lstmc_view x = call->views[p->x], y = call->views[p->y];
    const lstmc_view dx = node->dx[0], dy = node->dy[0];
    const uint32_t steps = lstmc_steps(call, p->x);
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t valid = lstmc_row_steps(call, p->x, b);
        const uint32_t n = p->features, all = lstmc_together(&y, valid, n);
        const uint32_t each = lstmc_together(&x, valid, n) < all ? 1 : all;
        for (uint32_t t = 0; t < valid; t += each) {
            LSTMC_TRAIN_KERNEL(node->kernels, map_back, &p->fn, lstmc_at(&x, b, t),
                               lstmc_at(&y, b, t), lstmc_at(&dy, b, t), lstmc_at(&dx, b, t),
                               (size_t)each * n);
        }
        lstmc_zero_rest(&dx, b, valid, steps, p->features);
    }
}

static void train_softmax_backward(const lstmc_train_node *node, const lstmc_call *call) {
    const train_elementwise *p = (const train_elementwise *)node->prepared;
    const lstmc_view y = call->views[p->y], dx = node->dx[0], dy = node->dy[0];
    const uint32_t steps = lstmc_steps(call, p->x);
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t valid = lstmc_row_steps(call, p->x, b);
        for (uint32_t t = 0; t < valid; t++) {
            for (uint32_t i = 0; i < p->features; i += p->size) {
                LSTMC_TRAIN_KERNEL(node->kernels, softmax_back, p->log, lstmc_at(&y, b, t) + i,
                                   lstmc_at(&dy, b, t) + i, lstmc_at(&dx, b, t) + i, p->size);
            }
        }
        lstmc_zero_rest(&dx, b, valid, steps, p->features);
    }
}

const lstmc_train_ops lstmc_train_activation = {
    .code = 3,
    .prepared_size = sizeof(train_elementwise),
    .prepare = train_activation_prepare,
    .backward = train_activation_backward,
};
const lstmc_train_ops lstmc_train_softmax = {
    .code = 4,
    .prepared_size = sizeof(train_elementwise),
    .prepare = train_softmax_prepare,
    .backward = train_softmax_backward,
};
