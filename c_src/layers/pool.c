/* Pool1D: each window's maximum or mean, feature by feature.
 *
 * One chain over the steps that are there, padding left out: y = flush(y op flush(x[t])) for t
 * ascending, from -inf or 0; the mean is flush(sum / their number), or, with count_padding,
 * flush(sum / taps). Params: window, op, count_padding. A causal layer's state is its last steps, and
 * how many of them there have been. */
#include "steps.h"

#include <math.h> /* INFINITY only */

enum { POOL_MAXIMUM, POOL_MEAN, POOL_COUNT };

static int check(const lstmc_layer *l) {
    lstmc_window w;
    if (!lstmc_layer_counts(l, 1, 1, 0, LSTMC_WINDOW_PARAMS + 2)) return LSTMC_E_INVALID;
    const int status = lstmc_window_get(l, &w);
    if (status) return status;
    if (l->params[LSTMC_WINDOW_PARAMS] >= POOL_COUNT) return LSTMC_E_UNSUPPORTED;
    if (l->params[LSTMC_WINDOW_PARAMS + 1] > 1) return LSTMC_E_INVALID;
    const lstmc_value made = lstmc_window_steps(&w, lstmc_value_get(l->model, l->inputs[0]));
    return made.has_time == 1 && lstmc_layer_output(l, 0, made) ? LSTMC_OK : LSTMC_E_INVALID;
}

typedef struct pool {
    lstmc_window window;
    uint32_t x, y; /* value ids */
    uint32_t mean, count_padding;
} pool;

static void prepare(const lstmc_layer *l, void *prepared) {
    pool *p = (pool *)prepared;
    (void)lstmc_window_get(l, &p->window);
    p->x = l->inputs[0];
    p->y = l->outputs[0];
    p->mean = l->params[LSTMC_WINDOW_PARAMS] == POOL_MEAN;
    p->count_padding = l->params[LSTMC_WINDOW_PARAMS + 1];
}

static void plan(const lstmc_layer *l, uint32_t batch, uint32_t time, lstmc_need *need) {
    lstmc_window w;
    (void)time;
    (void)lstmc_window_get(l, &w);
    if (w.history) need->state = lstmc_size_mul(batch, (size_t)w.history * w.features + 1);
}

/* How many of the remembered steps there have been; users may write anything. */
static uint32_t steps_seen(const lstmc_window *w, const float *count) {
    if (!w->history || !(*count >= 1.0f)) return 0;
    return *count < (float)w->history ? (uint32_t)*count : w->history;
}

/* The taps of a window that starts at step start which lie in [from, to): the first and their number. */
static uint32_t taps_inside(const lstmc_window *w, int64_t start, int64_t from, int64_t to,
                            uint32_t *first) {
    const int64_t skip = from > start ? (from - start - 1) / w->dilation + 1 : 0;
    const int64_t end = to > start ? (to - start - 1) / w->dilation + 1 : 0;
    const int64_t last = end < w->taps ? end : w->taps;
    *first = (uint32_t)skip;
    return last > skip ? (uint32_t)(last - skip) : 0;
}

/* Window t of row b, of which n steps are valid, and seen ones before them remembered. */
static void one_window(const lstmc_node *node, const pool *p, const lstmc_view *x, uint32_t b,
                       uint32_t n, uint32_t seen, const float *memory, uint32_t t, float *y) {
    const lstmc_window *w = &p->window;
    const int64_t start = (int64_t)t * w->stride - lstmc_window_before(w, n);
    uint32_t first, total = 0;
    lstmc_reduce_args a;
    a.op = p->mean ? LSTMC_REDUCE_MEAN : LSTMC_REDUCE_MAXIMUM;
    a.y = y;
    a.n = w->features;
    for (uint32_t i = 0; i < w->features; i++) y[i] = p->mean ? 0.0f : -INFINITY;
    if (seen) {
        a.steps = taps_inside(w, start, -(int64_t)seen, 0, &first);
        a.stride = (size_t)w->dilation * w->features;
        if (a.steps) {
            const int64_t at = start + (int64_t)first * w->dilation + w->history;
            a.x = memory + (size_t)at * w->features;
            node->full->reduce_steps(&a);
            total += a.steps;
        }
    }
    a.steps = taps_inside(w, start, 0, n, &first);
    a.stride = w->dilation * x->time_stride;
    if (a.steps) {
        a.x = lstmc_at(x, b, (uint32_t)(start + (int64_t)first * w->dilation));
        node->full->reduce_steps(&a);
        total += a.steps;
    }
    if (!p->mean || (!total && !p->count_padding)) return;
    node->full->divide(y, (float)(p->count_padding ? w->taps : total), y, w->features);
}

static void run(lstmc_node *node, const lstmc_call *call) {
    const pool *p = (const pool *)node->prepared;
    const lstmc_window *w = &p->window;
    const size_t past = (size_t)w->history * w->features;
    const lstmc_view *x = call->views + p->x;
    const uint32_t steps = p->y == LSTMC_NONE ? 0 : lstmc_steps(call, p->y);
    for (uint32_t b = 0; b < call->batch; b++) {
        const uint32_t n = lstmc_row_steps(call, p->x, b);
        float *memory = node->state + b * node->state_stride, *count = memory + past;
        const uint32_t seen = steps_seen(w, count);
        if (steps) {
            const lstmc_view *y = call->views + p->y;
            const uint32_t most = lstmc_row_steps(call, p->y, b);
            uint32_t windows = lstmc_window_count(w, n);
            if (windows > most) windows = most;
            for (uint32_t t = 0; t < windows; t++) {
                one_window(node, p, x, b, n, seen, memory, t, lstmc_at(y, b, t));
            }
            lstmc_zero_steps(y, w->features, b, windows, steps);
        }
        if (!w->history) continue;
        lstmc_window_remember(w, node, x, b, n, memory);
        *count = (float)(n < w->history - seen ? seen + n : w->history);
    }
}

static void state(const lstmc_node *node, uint32_t index, lstmc_state_view *view) {
    const lstmc_window *w = &((const pool *)node->prepared)->window;
    const size_t past = (size_t)w->history * w->features;
    view->name = index ? "count" : "past";
    view->features = index ? w->history != 0 : (uint32_t)past;
    view->data = node->state + (index ? past : 0);
    view->stride = node->state_stride;
}

const lstmc_layer_ops lstmc_layer_pool1d = {
    .code = 24,
    .prepared_size = sizeof(pool),
    .check = check,
    .prepare = prepare,
    .plan = plan,
    .run = run,
    .whole = lstmc_window_whole,
    .state_count = 2,
    .state = state,
};
