/* Flatten and Unflatten: a constant number of steps as features, and back.
 *
 * Flatten: y[t F + i] = x[t][i]. Unflatten: the inverse; params: count, the number of steps. */
#include "steps.h"

static int check_flatten(const lstmc_layer *l) {
    if (!lstmc_layer_counts(l, 1, 1, 0, 0)) return LSTMC_E_INVALID;
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    if (!x.has_time || x.clock != LSTMC_NONE) return LSTMC_E_INVALID;
    const uint64_t features = (uint64_t)x.features * (uint32_t)x.add; /* at least one step */
    if (features > LSTMC_MAX_SIZE) return LSTMC_E_INVALID;
    return lstmc_layer_output(l, 0, lstmc_without_time((uint32_t)features)) ? LSTMC_OK
                                                                            : LSTMC_E_INVALID;
}

static int check_unflatten(const lstmc_layer *l) {
    if (!lstmc_layer_counts(l, 1, 1, 0, 1)) return LSTMC_E_INVALID;
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    const uint32_t count = l->params[0];
    if (x.has_time || !count || x.features % count) return LSTMC_E_INVALID;
    const lstmc_value made = {x.features / count, 1, LSTMC_NONE, (int32_t)count, 1};
    return lstmc_layer_output(l, 0, made) ? LSTMC_OK : LSTMC_E_INVALID;
}

typedef struct flatten {
    uint32_t x, y;            /* value ids */
    uint32_t steps, features; /* of the sequence */
} flatten;

static void prepare_flatten(const lstmc_layer *l, void *prepared) {
    flatten *p = (flatten *)prepared;
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    p->x = l->inputs[0];
    p->y = l->outputs[0];
    p->steps = (uint32_t)x.add;
    p->features = x.features;
}

static void prepare_unflatten(const lstmc_layer *l, void *prepared) {
    flatten *p = (flatten *)prepared;
    p->x = l->inputs[0];
    p->y = l->outputs[0];
    p->steps = l->params[0];
    p->features = lstmc_value_get(l->model, p->x).features / p->steps;
}

static int flatten_yes(const lstmc_layer *l) {
    (void)l;
    return 1;
}

/* The value without time lies step after step. */
static void flatten_run(lstmc_node *node, const lstmc_call *call) {
    const flatten *p = (const flatten *)node->prepared;
    if (p->y == LSTMC_NONE) return;
    const lstmc_view *x = call->views + p->x, *y = call->views + p->y;
    const int back = lstmc_has_time(call, p->y);
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        lstmc_copy_steps(node, lstmc_at(x, b, 0), back ? p->features : x->time_stride,
                         lstmc_at(y, b, 0), back ? y->time_stride : p->features, p->features,
                         p->steps);
    }
}

const lstmc_layer_ops lstmc_layer_flatten = {
    .code = 20,
    .prepared_size = sizeof(flatten),
    .check = check_flatten,
    .prepare = prepare_flatten,
    .plan = lstmc_plan_nothing,
    .run = flatten_run,
    .whole = flatten_yes,
};
const lstmc_layer_ops lstmc_layer_unflatten = {
    .code = 21,
    .prepared_size = sizeof(flatten),
    .check = check_unflatten,
    .prepare = prepare_unflatten,
    .plan = lstmc_plan_nothing,
    .run = flatten_run,
    .whole = flatten_yes,
};
