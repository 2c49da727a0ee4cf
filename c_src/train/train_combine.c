/* Combine, backward: from the last input to the first, as a chain of r[i] = r[i - 1] op x[i] with r[0] =
 * x[0]; its partial results are made again. What went with every feature, or with every step, gets the
 * sum of all that comes back from there: steps descending, in each the features ascending.
 *
 * Concat, backward: each input gets its part of dy. */
#include "train_layers.h"

typedef struct train_join {
    const uint32_t *x; /* value ids */
    uint32_t count, y;
    uint32_t features; /* of y */
    uint32_t op;
} train_join;

static void train_join_prepare(const lstmc_train_layer *l, void *prepared) {
    train_join *p = (train_join *)prepared;
    p->x = l->layer.inputs;
    p->count = l->layer.input_count;
    p->y = l->layer.outputs[0];
    p->features = lstmc_value_get(l->layer.model, p->y).features;
    p->op = lstmc_param(&l->layer, 0, 0);
}

/* Scratch: d, the gradient of r[i] on its way; what comes back from an input that is spread; and, but for
 * sums, r[1] and so on. */
static void train_combine_plan(const lstmc_train_layer *l, lstmc_train_need *need) {
    train_join p;
    train_join_prepare(l, &p);
    need->scratch = lstmc_size_mul(p.features, (size_t)p.count + 1);
}

/* One row and step of an input, and whether it is spread over the features. */
static const float *train_operand(const train_join *p, const lstmc_call *call, uint32_t i,
                                  uint32_t b, uint32_t t, uint32_t *one) {
    const uint32_t id = p->x[i];
    *one = lstmc_features(call, id) != p->features;
    return lstmc_at(&call->views[id], b, lstmc_has_time(call, id) ? t : 0);
}

/* r[1] .. r[count - 1] of a step. */
static void train_partial_results(const lstmc_train_node *node, const lstmc_call *call, uint32_t b,
                                  uint32_t t, float *results) {
    const train_join *p = (const train_join *)node->prepared;
    uint32_t one;
    const float *so_far = train_operand(p, call, 0, b, t, &one);
    uint32_t spread = one ? LSTMC_SPREAD_A : 0;
    for (uint32_t i = 1; i < p->count; i++, results += p->features) {
        const float *x = train_operand(p, call, i, b, t, &one);
        LSTMC_KERNEL(node->node->full, combine, p->op, so_far, x,
                     spread | (one ? LSTMC_SPREAD_B : 0), results, p->features);
        so_far = results;
        spread = 0;
    }
}

/* Where the gradient of input i is to be written: dx itself, or else e, whose sum it is. NULL: nowhere. */
static float *train_place(const lstmc_train_node *node, const lstmc_call *call, uint32_t i,
                          uint32_t b, uint32_t t, float *e) {
    const train_join *p = (const train_join *)node->prepared;
    const lstmc_view *dx = node->dx + i;
    if (!dx->data) return NULL;
    const int whole = lstmc_features(call, p->x[i]) == p->features;
    return whole && lstmc_has_time(call, p->x[i]) == lstmc_has_time(call, p->y) ? lstmc_at(dx, b, t)
                                                                                : e;
}

/* What has been written to e goes to where it belongs. */
static void train_gather(const lstmc_train_node *node, const lstmc_call *call, uint32_t i,
                         uint32_t b, uint32_t t, const float *e) {
    const train_join *p = (const train_join *)node->prepared;
    const int spread_time = lstmc_has_time(call, p->x[i]) != lstmc_has_time(call, p->y);
    float *dx = lstmc_at(node->dx + i, b, spread_time ? 0 : t);
    if (lstmc_features(call, p->x[i]) == p->features) {
        LSTMC_TRAIN_KERNEL(node->kernels, add, e, dx, p->features, 0);
        return;
    }
    const float sum =
        LSTMC_TRAIN_KERNEL(node->kernels, sum, e, spread_time ? *dx : 0.0f, p->features);
    *dx = spread_time ? sum : lstmc_flush(sum);
}

static void train_combine_vector(const lstmc_train_node *node, const lstmc_call *call, uint32_t b,
                                 uint32_t t) {
    const train_join *p = (const train_join *)node->prepared;
    const float number = (float)p->count;
    float *d = call->scratch, *e = d + p->features, *results = e + p->features;
    const float *dy = lstmc_at(node->dy, b, t);
    const int sums = p->op == LSTMC_COMBINE_ADD || p->op == LSTMC_COMBINE_SUBTRACT ||
                     p->op == LSTMC_COMBINE_MEAN;
    if (!sums) train_partial_results(node, call, b, t, results);
    if (p->op == LSTMC_COMBINE_MEAN) {
        LSTMC_KERNEL(node->node->full, combine, LSTMC_COMBINE_DIVIDE, dy, &number, LSTMC_SPREAD_B,
                     d, p->features);
        dy = d;
    }
    lstmc_combine_back_args a;
    a.op = p->op == LSTMC_COMBINE_MEAN ? (uint32_t)LSTMC_COMBINE_ADD : p->op;
    a.n = p->features;
    for (uint32_t i = p->count - 1; i > 0; i--, dy = d) {
        uint32_t one, first;
        float *place = train_place(node, call, i, b, t, e);
        a.q = train_operand(p, call, i, b, t, &one);
        a.p = train_operand(p, call, 0, b, t, &first);
        a.r = results + (size_t)(i - 1) * p->features;
        if (i > 1) {
            a.p = a.r - p->features;
            first = 0;
        }
        if (sums) { /* only d counts */
            a.p = a.q = a.r = dy;
            first = one = 0;
        }
        a.spread = (first ? LSTMC_SPREAD_A : 0) | (one ? LSTMC_SPREAD_B : 0);
        a.d = dy;
        a.dp = d;
        a.dq = place;
        LSTMC_TRAIN_KERNEL(node->kernels, combine_back, &a);
        if (place == e) train_gather(node, call, i, b, t, e);
    }
    float *place = train_place(node, call, 0, b, t, d);
    if (place == d) {
        train_gather(node, call, 0, b, t, d);
    } else if (place) {
        LSTMC_KERNEL(node->node->full, map, &lstmc_linear, 1, d, place, p->features);
    }
}

static void train_combine_backward(const lstmc_train_node *node, const lstmc_call *call) {
    const train_join *p = (const train_join *)node->prepared;
    const uint32_t steps = lstmc_steps(call, p->y);
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t valid = lstmc_row_steps(call, p->y, b);
        for (uint32_t i = 0; i < p->count; i++) {
            const int timed = lstmc_has_time(call, p->x[i]);
            const uint32_t from = timed ? valid : 0, end = timed ? steps : 1;
            if (!node->dx[i].data) continue;
            lstmc_zero_rest(node->dx + i, b, from, end, lstmc_features(call, p->x[i]));
        }
        for (uint32_t t = valid; t-- > 0;) train_combine_vector(node, call, b, t);
        for (uint32_t i = 0; i < p->count; i++) { /* sums over steps are complete now */
            if (!node->dx[i].data || lstmc_has_time(call, p->x[i])) continue;
            float *dx = lstmc_at(node->dx + i, b, 0);
            LSTMC_KERNEL(node->node->full, map, &lstmc_linear, 1, dx, dx,
                         lstmc_features(call, p->x[i]));
        }
    }
}

static void train_concat_backward(const lstmc_train_node *node, const lstmc_call *call) {
    const train_join *p = (const train_join *)node->prepared;
    const uint32_t steps = lstmc_steps(call, p->y);
    const lstmc_view *dy = node->dy;
    uint32_t at = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        const uint32_t features = lstmc_features(call, p->x[i]);
        const lstmc_view *dx = node->dx + i;
        for (uint32_t b = 0; dx->data && b < lstmc_batch(call); b++) {
            const uint32_t valid = lstmc_row_steps(call, p->y, b);
            for (uint32_t t = 0; t < valid; t++) {
                LSTMC_KERNEL(node->node->full, map, &lstmc_linear, 1, lstmc_at(dy, b, t) + at,
                             lstmc_at(dx, b, t), features);
            }
            lstmc_zero_rest(dx, b, valid, steps, features);
        }
        at += features;
    }
}

const lstmc_train_ops lstmc_train_combine = {
    .code = 11,
    .prepared_size = sizeof(train_join),
    .prepare = train_join_prepare,
    .plan = train_combine_plan,
    .backward = train_combine_backward,
};
const lstmc_train_ops lstmc_train_concat = {
    .code = 12,
    .prepared_size = sizeof(train_join),
    .prepare = train_join_prepare,
    .backward = train_concat_backward,
};
