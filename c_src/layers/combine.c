/* Combine: y = flush(flush(x0 op x1) op x2) ..., feature by feature; a mean is the flushed sum,
 * divided by the number of inputs and flushed. Concat: the features of all inputs, flushed.
 *
 * An input of 1 feature goes with every feature of the others, one without time with every step.
 * Params of Combine: op. */
#include "layers.h"

/* The features that Combine makes, 0 if its inputs don't fit; and the first of them that has time,
 * or that has none if none has. */
static uint32_t combined(const lstmc_layer *l, lstmc_value *first) {
    uint32_t features = 1;
    *first = lstmc_value_get(l->model, l->inputs[0]);
    for (uint32_t i = 0; i < l->input_count; i++) {
        const lstmc_value x = lstmc_value_get(l->model, l->inputs[i]);
        if (x.features != 1 && features != 1 && x.features != features) return 0;
        if (x.features != 1) features = x.features;
        if (!x.has_time) continue;
        if (!first->has_time) *first = x;
        if (!lstmc_same_steps(&x, first)) return 0;
    }
    return features;
}

static int check_combine(const lstmc_layer *l) {
    lstmc_value first;
    if (l->input_count < 2 || !lstmc_layer_counts(l, l->input_count, 1, 0, 1)) {
        return LSTMC_E_INVALID;
    }
    if (l->params[0] >= LSTMC_COMBINE_COUNT) return LSTMC_E_UNSUPPORTED;
    const uint32_t features = combined(l, &first);
    return features && lstmc_layer_output(l, 0, lstmc_with_features(first, features))
               ? LSTMC_OK
               : LSTMC_E_INVALID;
}

/* A value without time that is spread over steps, unless it is the same in every call. */
static int combine_whole(const lstmc_layer *l) {
    lstmc_tensor t;
    uint32_t timed = 0;
    for (uint32_t i = 0; i < l->input_count; i++) {
        timed |= lstmc_value_get(l->model, l->inputs[i]).has_time;
    }
    for (uint32_t i = 0; timed && i < l->input_count; i++) {
        if (!lstmc_value_get(l->model, l->inputs[i]).has_time &&
            !lstmc_value_fixed(l->model, l->inputs[i], &t)) {
            return 1;
        }
    }
    return 0;
}

static int check_concat(const lstmc_layer *l) {
    uint64_t features = 0;
    if (!lstmc_layer_counts(l, l->input_count, 1, 0, 0)) return LSTMC_E_INVALID;
    const lstmc_value first = lstmc_value_get(l->model, l->inputs[0]);
    for (uint32_t i = 0; i < l->input_count; i++) {
        const lstmc_value x = lstmc_value_get(l->model, l->inputs[i]);
        if (first.has_time ? !lstmc_same_steps(&x, &first) : x.has_time) return LSTMC_E_INVALID;
        features += x.features;
    }
    if (features > LSTMC_MAX_SIZE) return LSTMC_E_INVALID;
    return lstmc_layer_output(l, 0, lstmc_with_features(first, (uint32_t)features))
               ? LSTMC_OK
               : LSTMC_E_INVALID;
}

typedef struct join {
    const uint32_t *x; /* value ids */
    uint32_t count, y;
    uint32_t features; /* of y */
    uint32_t op;
} join;

static void combine_prepare(const lstmc_layer *l, void *prepared) {
    join *p = (join *)prepared;
    p->x = l->inputs;
    p->count = l->input_count;
    p->y = l->outputs[0];
    p->features = p->y == LSTMC_NONE ? 0 : lstmc_value_get(l->model, p->y).features;
    p->op = lstmc_param(l, 0, 0);
}

/* One row and step of input i, and whether it is spread over the features. */
static const float *operand(const join *p, const lstmc_call *call, uint32_t i, uint32_t b,
                            uint32_t t, uint32_t *one) {
    const uint32_t id = p->x[i];
    *one = lstmc_features(call, id) != p->features;
    return lstmc_at(&call->views[id], b, lstmc_has_time(call, id) ? t : 0);
}

static void run_combine(lstmc_node *node, const lstmc_call *call) {
    const join *p = (const join *)node->prepared;
    if (p->y == LSTMC_NONE) return;
    const lstmc_view y = call->views[p->y];
    const float number = (float)p->count;
    const uint32_t op = p->op == LSTMC_COMBINE_MEAN ? (uint32_t)LSTMC_COMBINE_ADD : p->op;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        for (uint32_t t = 0; t < lstmc_steps(call, p->y); t++) {
            float *to = lstmc_at(&y, b, t);
            uint32_t one;
            const float *so_far = operand(p, call, 0, b, t, &one);
            uint32_t spread = one ? LSTMC_SPREAD_A : 0;
            for (uint32_t i = 1; i < p->count; i++) {
                const float *x = operand(p, call, i, b, t, &one);
                LSTMC_KERNEL(node->full, combine, op, so_far, x,
                             spread | (one ? LSTMC_SPREAD_B : 0), to, p->features);
                so_far = to;
                spread = 0;
            }
            if (p->op == LSTMC_COMBINE_MEAN) {
                LSTMC_KERNEL(node->full, combine, LSTMC_COMBINE_DIVIDE, to, &number, LSTMC_SPREAD_B,
                             to, p->features);
            }
        }
    }
}

static void run_concat(lstmc_node *node, const lstmc_call *call) {
    const join *p = (const join *)node->prepared;
    if (p->y == LSTMC_NONE) return;
    const lstmc_view y = call->views[p->y];
    uint32_t at = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        const uint32_t features = lstmc_features(call, p->x[i]);
        const lstmc_view x = call->views[p->x[i]];
        for (uint32_t b = 0; b < lstmc_batch(call); b++) {
            for (uint32_t t = 0; t < lstmc_steps(call, p->y); t++) {
                LSTMC_KERNEL(node->full, map, &lstmc_linear, 1, lstmc_at(&x, b, t),
                             lstmc_at(&y, b, t) + at, features);
            }
        }
        at += features;
    }
}

const lstmc_layer_ops lstmc_layer_combine = {
    .code = 11,
    .prepared_size = sizeof(join),
    .check = check_combine,
    .prepare = combine_prepare,
    .plan = lstmc_plan_nothing,
    .run = run_combine,
    .whole = combine_whole,
};
const lstmc_layer_ops lstmc_layer_concat = {
    .code = 12,
    .prepared_size = sizeof(join),
    .check = check_concat,
    .prepare = combine_prepare,
    .plan = lstmc_plan_nothing,
    .run = run_concat,
};
