/* ReduceTime and SoftmaxTime: what becomes of all steps together.
 *
 * ReduceTime: one chain over the steps that count, y = flush(y op flush(x[t])) for t ascending, from 0
 * for sum and mean, from -inf or inf for maximum and minimum; the mean is flush(sum / count). Inputs:
 * x, mask or none; params: op. The chain and the count of its steps are the state: where time is cut
 * into calls shows in no bit.
 *
 * SoftmaxTime: y[t] = flush(exp(x[t] - max) / s), s the sum of the exponentials for t ascending. */
#include "steps.h"

#include <math.h> /* INFINITY only */
#include <string.h>

static int reduce_time_check_reduce(const lstmc_layer *l) {
    if (!l->input_count || l->input_count > 2 || l->output_count != 1 || l->tensor_count ||
        l->param_count != 1) {
        return LSTMC_E_INVALID;
    }
    if (l->params[0] >= LSTMC_REDUCE_COUNT) return LSTMC_E_UNSUPPORTED;
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    if (!x.has_time) return LSTMC_E_INVALID;
    if (lstmc_input(l, 1) != LSTMC_NONE) {
        const lstmc_value mask = lstmc_value_get(l->model, l->inputs[1]);
        if (mask.features != 1 || !lstmc_same_steps(&x, &mask)) return LSTMC_E_INVALID;
    }
    return lstmc_layer_output(l, 0, lstmc_without_time(x.features)) ? LSTMC_OK : LSTMC_E_INVALID;
}

typedef struct reducing {
    uint32_t x, mask, y; /* value ids */
    uint32_t features;
    uint32_t op;
} reducing;

static void reduce_time_prepare(const lstmc_layer *l, void *prepared) {
    reducing *p = (reducing *)prepared;
    p->x = l->inputs[0];
    p->mask = lstmc_input(l, 1);
    p->y = l->outputs[0];
    p->features = lstmc_value_get(l->model, p->x).features;
    p->op = lstmc_param(l, 0, 0);
}

static void plan_reduce(const lstmc_layer *l, uint32_t batch, uint32_t time, lstmc_need *need) {
    (void)time;
    need->state =
        lstmc_size_mul(batch, (size_t)lstmc_value_get(l->model, l->inputs[0]).features + 2);
}

/* The steps of row b that count, as runs: the end of the one that starts at or behind *from. */
static uint32_t next_run(const reducing *p, const lstmc_call *call, uint32_t b, uint32_t n,
                         uint32_t *from) {
    if (p->mask == LSTMC_NONE) return n;
    const lstmc_view *mask = call->views + p->mask;
    while (*from < n && *lstmc_at(mask, b, *from) == 0.0f) ++*from;
    uint32_t end = *from;
    while (end < n && *lstmc_at(mask, b, end) != 0.0f) end++;
    return end;
}

static void reduce_time_run_reduce(lstmc_node *node, const lstmc_call *call) {
    const reducing *p = (const reducing *)node->prepared;
    const lstmc_view *x = call->views + p->x;
    const float empty = p->op == LSTMC_REDUCE_MAXIMUM   ? -INFINITY
                        : p->op == LSTMC_REDUCE_MINIMUM ? INFINITY
                                                        : 0.0f;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t n = lstmc_row_steps(call, p->x, b);
        float *sums = node->state + b * node->state_stride, *count = sums + p->features;
        if (count[0] == 0.0f && count[1] == 0.0f) {
            for (uint32_t i = 0; i < p->features; i++) sums[i] = empty;
        }
        for (uint32_t t = 0; t < n;) {
            const uint32_t end = next_run(p, call, b, n, &t);
            if (end == t) break; /* the rest is masked */
            const lstmc_reduce_args a = {.x = lstmc_at(x, b, t),
                                         .stride = x->time_stride,
                                         .steps = end - t,
                                         .op = p->op,
                                         .y = sums,
                                         .n = p->features};
            LSTMC_KERNEL(node->full, reduce_steps, &a);
            for (; t < end; t++) {
                count[0] += 1.0f;
                if (count[0] < LSTMC_COUNT_UNIT) continue;
                count[0] = 0.0f;
                count[1] += 1.0f;
            }
        }
        if (p->y == LSTMC_NONE) continue;
        float *y = lstmc_at(call->views + p->y, b, 0);
        const float upper =
            count[1] * LSTMC_COUNT_UNIT; /* exact: added to or contracted, it is the same */
        const float steps = upper + count[0];
        if (p->op == LSTMC_REDUCE_MEAN && steps != 0.0f) {
            LSTMC_KERNEL(node->full, divide, sums, steps, y, p->features);
        } else {
            memcpy(y, sums, p->features * sizeof *y);
        }
    }
}

static void reduce_time_state(const lstmc_node *node, uint32_t index, lstmc_state_view *view) {
    const reducing *p = (const reducing *)node->prepared;
    view->name = index ? "count" : "value";
    view->features = index ? 2 : p->features;
    view->data = node->state + (index ? p->features : 0);
    view->stride = node->state_stride;
}

const lstmc_layer_ops lstmc_layer_reduce_time = {
    .code = 15,
    .prepared_size = sizeof(reducing),
    .check = reduce_time_check_reduce,
    .prepare = reduce_time_prepare,
    .plan = plan_reduce,
    .run = reduce_time_run_reduce,
    .state_count = 2,
    .state = reduce_time_state,
};

/* ------------------------------------------------------------------------------- SoftmaxTime -- */

static int reduce_time_check_softmax(const lstmc_layer *l) {
    if (!lstmc_layer_counts(l, 1, 1, 0, 0)) return LSTMC_E_INVALID;
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    return x.has_time && lstmc_layer_output(l, 0, x) ? LSTMC_OK : LSTMC_E_INVALID;
}

static int whole_softmax(const lstmc_layer *l) {
    (void)l;
    return 1;
}

static void reduce_time_run_softmax(lstmc_node *node, const lstmc_call *call) {
    const reducing *p = (const reducing *)node->prepared;
    if (p->y == LSTMC_NONE) return;
    const lstmc_view *x = call->views + p->x, *y = call->views + p->y;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t n = lstmc_row_steps(call, p->x, b);
        if (n) {
            LSTMC_KERNEL(node->full, softmax_steps, lstmc_at(x, b, 0), x->time_stride,
                         lstmc_at(y, b, 0), y->time_stride, n, p->features);
        }
        lstmc_zero_steps(y, p->features, b, n, lstmc_steps(call, p->y));
    }
}

const lstmc_layer_ops lstmc_layer_softmax_time = {
    .code = 25,
    .prepared_size = sizeof(reducing),
    .check = reduce_time_check_softmax,
    .prepare = reduce_time_prepare,
    .plan = lstmc_plan_nothing,
    .run = reduce_time_run_softmax,
    .whole = whole_softmax,
};
