/* Activation: y = flush(fn(x)). Softmax over every `size` features in turn; kernels.h says how.
 *
 * Params: fn; size (0: all features) and log, options. */
#include "layers.h"

static int check_activation(const lstmc_layer *l) {
    lstmc_fn fn;
    if (!lstmc_layer_counts(l, 1, 1, 0, 3)) return LSTMC_E_INVALID;
    if (!lstmc_fn_get(l->params, &fn)) return LSTMC_E_UNSUPPORTED;
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    return lstmc_layer_output(l, 0, x) ? LSTMC_OK : LSTMC_E_INVALID;
}

static int elementwise_check_softmax(const lstmc_layer *l) {
    if (l->param_count > 2 || !lstmc_layer_counts(l, 1, 1, 0, l->param_count)) {
        return LSTMC_E_INVALID;
    }
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    const uint32_t size = lstmc_param(l, 0, 0);
    if ((size && x.features % size) || lstmc_param(l, 1, 0) > 1) return LSTMC_E_INVALID;
    return lstmc_layer_output(l, 0, x) ? LSTMC_OK : LSTMC_E_INVALID;
}

typedef struct elementwise {
    uint32_t x, y; /* value ids */
    uint32_t features;
    uint32_t size, log; /* Softmax */
    lstmc_fn fn;        /* Activation */
} elementwise;

static void elementwise_prepare(const lstmc_layer *l, elementwise *p) {
    p->x = l->inputs[0];
    p->y = l->outputs[0];
    p->features = lstmc_value_get(l->model, p->x).features;
}

static void prepare_activation(const lstmc_layer *l, void *prepared) {
    elementwise *p = (elementwise *)prepared;
    elementwise_prepare(l, p);
    (void)lstmc_fn_get(l->params, &p->fn);
}

static void prepare_softmax(const lstmc_layer *l, void *prepared) {
    elementwise *p = (elementwise *)prepared;
    elementwise_prepare(l, p);
    p->size = lstmc_param(l, 0, 0);
    p->log = lstmc_param(l, 1, 0);
    if (!p->size) p->size = p->features;
}

static void run_activation(lstmc_node *node, const lstmc_call *call) {
    const elementwise *p = (const elementwise *)node->prepared;
    if (p->y == LSTMC_NONE) return;
    const lstmc_view x = call->views[p->x], y = call->views[p->y];
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        for (uint32_t t = 0; t < lstmc_steps(call, p->x); t++) {
            LSTMC_KERNEL(node->full, map, &p->fn, 1, lstmc_at(&x, b, t), lstmc_at(&y, b, t),
                         p->features);
        }
    }
}

static void elementwise_run_softmax(lstmc_node *node, const lstmc_call *call) {
    const elementwise *p = (const elementwise *)node->prepared;
    if (p->y == LSTMC_NONE) return;
    const lstmc_view x = call->views[p->x], y = call->views[p->y];
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        for (uint32_t t = 0; t < lstmc_steps(call, p->x); t++) {
            const float *from = lstmc_at(&x, b, t);
            float *to = lstmc_at(&y, b, t);
            for (uint32_t i = 0; i < p->features; i += p->size) {
                LSTMC_KERNEL(node->full, softmax, p->log, from + i, to + i, p->size);
            }
        }
    }
}

const lstmc_layer_ops lstmc_layer_activation = {
    .code = 3,
    .prepared_size = sizeof(elementwise),
    .check = check_activation,
    .prepare = prepare_activation,
    .plan = lstmc_plan_nothing,
    .run = run_activation,
};
const lstmc_layer_ops lstmc_layer_softmax = {
    .code = 4,
    .prepared_size = sizeof(elementwise),
    .check = elementwise_check_softmax,
    .prepare = prepare_softmax,
    .plan = lstmc_plan_nothing,
    .run = elementwise_run_softmax,
};
