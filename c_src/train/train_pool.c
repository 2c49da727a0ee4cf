/* Pool1D and PoolPositions, backward: for windows descending, what each tap that is there gets is added,
 * dx = flush(dx + g). g is flush(dy) of a sum, flush(dy / number) of a mean, the number being forward's;
 * of a maximum or minimum the first tap that has it gets dy, as in PyTorch and Keras.
 *
 * A causal pool that goes on from an earlier call (carry) has the steps that it remembers in front of x:
 * they may have had the maximum, and a mean counts them. */
#include "../layers/steps.h"
#include "train_layers.h"

enum { TRAIN_POOL_MAXIMUM, TRAIN_POOL_MEAN, TRAIN_POOL_SUM, TRAIN_POOL_MINIMUM };

typedef struct train_pool {
    lstmc_window window; /* its features are those of a place */
    uint32_t x, y;       /* value ids */
    uint32_t op, count_padding;
    uint32_t positions; /* PoolPositions: of a step; 0: Pool1D */
    uint32_t past;      /* steps kept from before the call */
} train_pool;

static void train_pool_prepare(const lstmc_train_layer *l, void *prepared) {
    train_pool *d = (train_pool *)prepared;
    const uint32_t *more = l->layer.params + LSTMC_WINDOW_PARAMS;
    const int over_positions = l->layer.code == 30;
    d->x = l->layer.inputs[0];
    d->y = l->layer.outputs[0];
    const uint32_t features = lstmc_value_get(l->layer.model, d->x).features;
    const uint32_t channels = over_positions ? more[2] : features;
    (void)lstmc_window_read(l->layer.params, channels, &d->window);
    d->op = more[0];
    d->count_padding = more[1];
    d->positions = over_positions ? features / channels : 0;
    d->past = l->carry && !over_positions ? d->window.history : 0;
}

static size_t train_pool_state(const train_pool *d) {
    return (size_t)d->past * d->window.features + 1;
}

/* Scratch: what a tap gets; with a past, x and dx behind it. Saved: the state from before the call. */
static void train_pool_plan(const lstmc_train_layer *l, lstmc_train_need *need) {
    train_pool d;
    train_pool_prepare(l, &d);
    need->scratch = d.window.features;
    if (!d.past) return;
    const lstmc_value x = lstmc_value_get(l->layer.model, d.x);
    const size_t steps = (size_t)d.past + lstmc_value_steps(&x, l->time);
    need->scratch = lstmc_size_add(need->scratch, lstmc_size_mul(2 * steps, d.window.features));
    need->saved = lstmc_size_mul(l->batch, train_pool_state(&d));
}

static void train_pool_forward(const lstmc_train_node *node, const lstmc_call *call) {
    const train_pool *d = (const train_pool *)node->prepared;
    for (uint32_t b = 0; d->past && b < lstmc_batch(call); b++) {
        memcpy(node->saved + b * train_pool_state(d),
               node->node->state + b * node->node->state_stride,
               train_pool_state(d) * sizeof(float));
    }
    lstmc_train_run(node, call);
}

/* Places one after another, over which a window goes, and what came of it. */
typedef struct train_pool_line {
    const float *x;
    float *dx;
    size_t x_stride, dx_stride;
    int64_t before;   /* places of padding */
    int64_t from, to; /* places that are there */
    const float *y, *dy;
    size_t y_stride, dy_stride;
    uint32_t made;
} train_pool_line;

static void train_pool_window(const lstmc_train_node *node, const train_pool_line *l, uint32_t t,
                              float *share) {
    const train_pool *d = (const train_pool *)node->prepared;
    const lstmc_window *w = &d->window;
    const int64_t start = (int64_t)t * w->stride - l->before;
    const int extreme = d->op == TRAIN_POOL_MAXIMUM || d->op == TRAIN_POOL_MINIMUM;
    const float *y = l->y + t * l->y_stride, *dy = l->dy + t * l->dy_stride;
    uint32_t first;
    const uint32_t taps = lstmc_window_taps(w, start, l->from, l->to, &first);
    if (!taps) return;
    if (d->op == TRAIN_POOL_MEAN) {
        const float by = (float)(d->count_padding ? w->taps : taps);
        LSTMC_KERNEL(node->node->full, divide, dy, by, share, w->features);
    } else {
        LSTMC_KERNEL(node->node->full, map, &lstmc_linear, 1, dy, share, w->features);
    }
    for (uint32_t j = 0; j < taps; j++) {
        const size_t at = (size_t)(start + (int64_t)(first + j) * w->dilation);
        float *dx = l->dx + at * l->dx_stride;
        if (extreme) {
            LSTMC_TRAIN_KERNEL(node->kernels, take_extreme,
                               d->op == TRAIN_POOL_MAXIMUM ? LSTMC_REDUCE_MAXIMUM
                                                           : LSTMC_REDUCE_MINIMUM,
                               l->x + at * l->x_stride, y, share, dx, w->features);
        } else {
            LSTMC_TRAIN_KERNEL(node->kernels, add, share, dx, w->features, 1);
        }
    }
}

/* Put the past in front of x; dx of all of it begins with zeros. */
static void train_pool_extend(const lstmc_train_node *node, const lstmc_call *call, uint32_t b,
                              uint32_t n, train_pool_line *l) {
    const train_pool *d = (const train_pool *)node->prepared;
    const size_t features = d->window.features, past = d->past * features;
    const float *kept = node->saved + b * train_pool_state(d), count = kept[past];
    float *x = call->scratch + features, *dx = x + (d->past + (size_t)n) * features;
    memcpy(x, kept, past * sizeof *x);
    if (n) {
        lstmc_copy_steps(node->node, l->x, l->x_stride, x + past, features, d->window.features, n);
    }
    lstmc_zeros(dx, (d->past + (size_t)n) * features);
    const uint32_t some = count >= 1.0f ? d->past : 0;
    const uint32_t seen = some && count < (float)d->past ? (uint32_t)count : some;
    l->x = x;
    l->dx = dx;
    l->x_stride = l->dx_stride = features;
    l->before -= d->past;
    l->from = (int64_t)d->past - seen;
    l->to = (int64_t)d->past + n;
}

static void train_pool_backward(const lstmc_train_node *node, const lstmc_call *call) {
    const train_pool *d = (const train_pool *)node->prepared;
    const lstmc_window *w = &d->window;
    const lstmc_view *x = call->views + d->x, *y = call->views + d->y;
    const lstmc_view *dx = node->dx, *dy = node->dy;
    const uint32_t steps = lstmc_steps(call, d->x);
    if (!dx->data) return;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t n = lstmc_row_steps(call, d->x, b), most = lstmc_row_steps(call, d->y, b);
        const uint32_t count = lstmc_window_count(w, n);
        lstmc_zero_steps(dx, w->features, b, 0, steps);
        if (!count) continue;
        train_pool_line l = {.before = lstmc_window_before(w, n), .to = n};
        l.x = lstmc_at(x, b, 0);
        l.x_stride = x->time_stride;
        l.dx = lstmc_at(dx, b, 0);
        l.dx_stride = dx->time_stride;
        l.y = lstmc_at(y, b, 0);
        l.y_stride = y->time_stride;
        l.dy = lstmc_at(dy, b, 0);
        l.dy_stride = dy->time_stride;
        l.made = count < most ? count : most;
        if (d->past) train_pool_extend(node, call, b, n, &l);
        for (uint32_t t = l.made; t-- > 0;) train_pool_window(node, &l, t, call->scratch);
        for (uint32_t t = 0; d->past && t < n; t++) {
            memcpy(lstmc_at(dx, b, t), l.dx + (d->past + (size_t)t) * w->features,
                   w->features * sizeof(float));
        }
    }
}

const lstmc_train_ops lstmc_train_pool1d = {
    .code = 24,
    .prepared_size = sizeof(train_pool),
    .prepare = train_pool_prepare,
    .plan = train_pool_plan,
    .forward = train_pool_forward,
    .backward = train_pool_backward,
};

/* ------------------------------------------------------------------------------ PoolPositions -- */

static void train_positions_backward(const lstmc_train_node *node, const lstmc_call *call) {
    const train_pool *d = (const train_pool *)node->prepared;
    const lstmc_window *w = &d->window;
    const lstmc_view *x = call->views + d->x, *y = call->views + d->y;
    const lstmc_view *dx = node->dx, *dy = node->dy;
    const uint32_t features = d->positions * w->features;
    if (!dx->data) return;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t n = lstmc_row_steps(call, d->x, b);
        lstmc_zero_steps(dx, features, b, 0, lstmc_steps(call, d->x));
        for (uint32_t t = 0; t < n; t++) {
            train_pool_line l = {.before = lstmc_window_before(w, d->positions)};
            l.to = d->positions;
            l.x = lstmc_at(x, b, t);
            l.dx = lstmc_at(dx, b, t);
            l.y = lstmc_at(y, b, t);
            l.dy = lstmc_at(dy, b, t);
            l.x_stride = l.dx_stride = l.y_stride = l.dy_stride = w->features;
            l.made = lstmc_window_count(w, d->positions);
            for (uint32_t i = l.made; i-- > 0;) train_pool_window(node, &l, i, call->scratch);
        }
    }
}

const lstmc_train_ops lstmc_train_pool_positions = {
    .code = 30,
    .prepared_size = sizeof(train_pool),
    .prepare = train_pool_prepare,
    .plan = train_pool_plan,
    .backward = train_positions_backward,
};
