/* Select: y[i] = flush(x[index[i]]). Reduce: one feature out of all; kernels.h says how.
 *
 * Params: the indices, at least one; op. */
#include "layers.h"

static int check_select(const lstmc_layer *l) {
    if (!l->param_count || !lstmc_layer_counts(l, 1, 1, 0, l->param_count)) return LSTMC_E_INVALID;
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    for (uint32_t i = 0; i < l->param_count; i++) {
        if (l->params[i] >= x.features) return LSTMC_E_INVALID;
    }
    return lstmc_layer_output(l, 0, lstmc_with_features(x, l->param_count)) ? LSTMC_OK
                                                                            : LSTMC_E_INVALID;
}

static int select_check_reduce(const lstmc_layer *l) {
    if (!lstmc_layer_counts(l, 1, 1, 0, 1)) return LSTMC_E_INVALID;
    if (l->params[0] >= LSTMC_REDUCE_COUNT) return LSTMC_E_UNSUPPORTED;
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    return lstmc_layer_output(l, 0, lstmc_with_features(x, 1)) ? LSTMC_OK : LSTMC_E_INVALID;
}

typedef struct selection {
    uint32_t x, y;         /* value ids */
    uint32_t features;     /* of x */
    uint32_t count;        /* of parameters */
    const uint32_t *param; /* in the model */
} selection;

static void select_prepare(const lstmc_layer *l, void *prepared) {
    selection *p = (selection *)prepared;
    p->x = l->inputs[0];
    p->y = l->outputs[0];
    p->features = lstmc_value_get(l->model, p->x).features;
    p->count = l->param_count;
    p->param = l->params;
}

static void run_select(lstmc_node *node, const lstmc_call *call) {
    const selection *p = (const selection *)node->prepared;
    if (p->y == LSTMC_NONE) return;
    const lstmc_view x = call->views[p->x], y = call->views[p->y];
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        for (uint32_t t = 0; t < lstmc_steps(call, p->x); t++) {
            const float *from = lstmc_at(&x, b, t);
            float *to = lstmc_at(&y, b, t);
            for (uint32_t i = 0; i < p->count; i++) to[i] = from[p->param[i]];
            LSTMC_KERNEL(node->full, map, &lstmc_linear, 1, to, to, p->count);
        }
    }
}

static void select_run_reduce(lstmc_node *node, const lstmc_call *call) {
    const selection *p = (const selection *)node->prepared;
    if (p->y == LSTMC_NONE) return;
    const lstmc_view x = call->views[p->x], y = call->views[p->y];
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        for (uint32_t t = 0; t < lstmc_steps(call, p->x); t++) {
            *lstmc_at(&y, b, t) =
                LSTMC_KERNEL(node->full, reduce, p->param[0], lstmc_at(&x, b, t), p->features);
        }
    }
}

const lstmc_layer_ops lstmc_layer_select = {
    .code = 13,
    .prepared_size = sizeof(selection),
    .check = check_select,
    .prepare = select_prepare,
    .plan = lstmc_plan_nothing,
    .run = run_select,
};
const lstmc_layer_ops lstmc_layer_reduce = {
    .code = 14,
    .prepared_size = sizeof(selection),
    .check = select_check_reduce,
    .prepare = select_prepare,
    .plan = lstmc_plan_nothing,
    .run = select_run_reduce,
};
