/* ReduceTime and SoftmaxTime, backward.
 *
 * ReduceTime: dx[t] = flush(dy) of a sum, flush(dy / count) of a mean at each step that counted, and 0 at
 * all others; of a maximum or minimum y, flush(dy / ties) at each step that has it, as in Keras. Of a
 * sequence that goes on from an earlier call (carry), count is that of all steps, ties those of this
 * call.
 * SoftmaxTime: s = 0; for t descending: s = fma(dy[t], y[t], s); dx[t] = flush(y[t] * (dy[t] - s)). */
#include "../layers/steps.h"
#include "train_layers.h"

typedef struct train_reducing {
    uint32_t x, mask, y; /* value ids */
    uint32_t features;
    uint32_t op;
} train_reducing;

static void train_reducing_prepare(const lstmc_train_layer *l, void *prepared) {
    train_reducing *d = (train_reducing *)prepared;
    d->x = l->layer.inputs[0];
    d->mask = lstmc_input(&l->layer, 1);
    d->y = l->layer.outputs[0];
    d->features = lstmc_value_get(l->layer.model, d->x).features;
    d->op = lstmc_param(&l->layer, 0, 0);
}

/* Scratch: what each step gets, and how many there are. Saved: the count of a mean, as forward's state has
 * it, which may go on before backward (unrolled.c). */
static void train_reducing_plan(const lstmc_train_layer *l, lstmc_train_need *need) {
    need->scratch = 2 * (size_t)lstmc_value_get(l->layer.model, l->layer.inputs[0]).features;
    need->saved = lstmc_size_mul(l->batch, 2);
}

static void train_reducing_forward(const lstmc_train_node *node, const lstmc_call *call) {
    const train_reducing *d = (const train_reducing *)node->prepared;
    lstmc_train_run(node, call);
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const float *state = node->node->state + b * node->node->state_stride;
        memcpy(node->saved + (size_t)b * 2, state + d->features, 2 * sizeof *state);
    }
}

static int train_reducing_counts(const train_reducing *d, const lstmc_call *call, uint32_t b,
                                 uint32_t t) {
    return d->mask == LSTMC_NONE || *lstmc_at(call->views + d->mask, b, t) != 0.0f;
}

/* The share of dy of each step of row b, of which n are valid. */
static void train_reducing_share(const lstmc_train_node *node, const lstmc_call *call, uint32_t b,
                                 uint32_t n, float *share) {
    const train_reducing *d = (const train_reducing *)node->prepared;
    const float *dy = lstmc_at(node->dy, b, 0), *y = lstmc_at(call->views + d->y, b, 0);
    if (d->op == LSTMC_REDUCE_SUM) {
        LSTMC_KERNEL(node->node->full, map, &lstmc_linear, 1, dy, share, d->features);
    } else if (d->op == LSTMC_REDUCE_MEAN) {
        const float *count = node->saved + (size_t)b * 2;
        const float upper = count[1] * LSTMC_COUNT_UNIT; /* as forward has it */
        LSTMC_KERNEL(node->node->full, divide, dy, upper + count[0], share, d->features);
    } else {
        float *ties = share + d->features;
        lstmc_zeros(ties, d->features);
        for (uint32_t t = 0; t < n; t++) {
            if (!train_reducing_counts(d, call, b, t)) continue;
            LSTMC_TRAIN_KERNEL(node->kernels, count_extreme, d->op,
                               lstmc_at(call->views + d->x, b, t), y, ties, d->features);
        }
        LSTMC_KERNEL(node->node->full, combine, LSTMC_COMBINE_DIVIDE, dy, ties, 0, share,
                     d->features);
    }
}

static void train_reducing_backward(const lstmc_train_node *node, const lstmc_call *call) {
    const train_reducing *d = (const train_reducing *)node->prepared;
    const lstmc_view *x = call->views + d->x, *y = call->views + d->y, *dx = node->dx;
    const int extreme = d->op == LSTMC_REDUCE_MAXIMUM || d->op == LSTMC_REDUCE_MINIMUM;
    float *share = call->scratch;
    if (!dx->data) return;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t n = lstmc_row_steps(call, d->x, b);
        lstmc_zero_steps(dx, d->features, b, 0, lstmc_steps(call, d->x));
        if (n) train_reducing_share(node, call, b, n, share);
        for (uint32_t t = 0; t < n; t++) {
            float *to = lstmc_at(dx, b, t);
            if (!train_reducing_counts(d, call, b, t)) continue;
            if (extreme) {
                LSTMC_TRAIN_KERNEL(node->kernels, share_extreme, d->op, lstmc_at(x, b, t),
                                   lstmc_at(y, b, 0), share, to, d->features);
            } else {
                memcpy(to, share, d->features * sizeof *to);
            }
        }
    }
}

const lstmc_train_ops lstmc_train_reduce_time = {
    .code = 15,
    .prepared_size = sizeof(train_reducing),
    .blocks = 2, /* its mask */
    .prepare = train_reducing_prepare,
    .plan = train_reducing_plan,
    .forward = train_reducing_forward,
    .backward = train_reducing_backward,
};

/* ------------------------------------------------------------------------------- SoftmaxTime -- */

static void train_softmax_time_backward(const lstmc_train_node *node, const lstmc_call *call) {
    const train_reducing *d = (const train_reducing *)node->prepared;
    const lstmc_view *y = call->views + d->y, *dx = node->dx, *dy = node->dy;
    if (!dx->data) return;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t n = lstmc_row_steps(call, d->x, b);
        if (n) {
            LSTMC_TRAIN_KERNEL(node->kernels, softmax_steps_back, lstmc_at(y, b, 0), y->time_stride,
                               lstmc_at(dy, b, 0), dy->time_stride, lstmc_at(dx, b, 0),
                               dx->time_stride, n, d->features);
        }
        lstmc_zero_steps(dx, d->features, b, n, lstmc_steps(call, d->x));
    }
}

const lstmc_train_ops lstmc_train_softmax_time = {
    .code = 25,
    .prepared_size = sizeof(train_reducing),
    .prepare = train_reducing_prepare,
    .backward = train_softmax_time_backward,
};
