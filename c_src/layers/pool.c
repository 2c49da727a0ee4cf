/* Pool1D: each window's maximum or mean, feature by feature. PoolPositions: the same over the positions
 * of a step, whose features are [positions][channels]; sums and minima, too.
 *
 * One chain over the steps that are there, padding left out: y = flush(y op flush(x[t])) for t
 * ascending, from -inf or 0; the mean is flush(sum / their number), or, with count_padding,
 * flush(sum / taps). Params: window, op, count_padding. A causal layer's state is its last steps, and
 * how many of them there have been. PoolPositions has channels as one more parameter. */
#include "steps.h"

#include <math.h> /* INFINITY only */

enum { POOL_MAXIMUM, POOL_MEAN, POOL_SUM, POOL_MINIMUM, POOL_COUNT };

static int pool_check(const lstmc_layer *l) {
    lstmc_window w;
    if (!lstmc_layer_counts(l, 1, 1, 0, LSTMC_WINDOW_PARAMS + 2)) return LSTMC_E_INVALID;
    const int status = lstmc_window_get(l, &w);
    if (status) return status;
    if (l->params[LSTMC_WINDOW_PARAMS] > POOL_MEAN) return LSTMC_E_UNSUPPORTED;
    if (l->params[LSTMC_WINDOW_PARAMS + 1] > 1) return LSTMC_E_INVALID;
    const lstmc_value made = lstmc_window_steps(&w, lstmc_value_get(l->model, l->inputs[0]));
    return made.has_time == 1 && lstmc_layer_output(l, 0, made) ? LSTMC_OK : LSTMC_E_INVALID;
}

typedef struct pool {
    lstmc_window window;
    uint32_t x, y; /* value ids */
    uint32_t mean, count_padding;
} pool;

static void pool_prepare(const lstmc_layer *l, void *prepared) {
    pool *p = (pool *)prepared;
    (void)lstmc_window_get(l, &p->window);
    p->x = l->inputs[0];
    p->y = l->outputs[0];
    p->mean = l->params[LSTMC_WINDOW_PARAMS] == POOL_MEAN;
    p->count_padding = l->params[LSTMC_WINDOW_PARAMS + 1];
}

static void pool_plan(const lstmc_layer *l, uint32_t batch, uint32_t time, lstmc_need *need) {
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

/* A window on its way to y. */
typedef struct chain {
    const lstmc_node *node;
    const lstmc_window *w;
    int64_t start; /* of its first tap */
    uint32_t op;   /* LSTMC_REDUCE_... */
    uint32_t total;
    float *y;
} chain;

static void pool_begin(chain *c) {
    const float from = c->op == LSTMC_REDUCE_MAXIMUM   ? -INFINITY
                       : c->op == LSTMC_REDUCE_MINIMUM ? INFINITY
                                                       : 0.0f;
    for (uint32_t i = 0; i < c->w->features; i++) c->y[i] = from;
    c->total = 0;
}

/* The taps in [from, to); place `from` is at x, and a place has so many floats. */
static void pool_take(chain *c, const float *x, size_t place, int64_t from, int64_t to) {
    const lstmc_window *w = c->w;
    uint32_t first;
    lstmc_reduce_args a;
    a.op = c->op;
    a.y = c->y;
    a.n = w->features;
    a.steps = lstmc_window_taps(w, c->start, from, to, &first);
    a.stride = w->dilation * place;
    if (!a.steps) return;
    a.x = x + (size_t)(c->start + (int64_t)first * w->dilation - from) * place;
    LSTMC_KERNEL(c->node->full, reduce_steps, &a);
    c->total += a.steps;
}

static void pool_end(const chain *c, uint32_t count_padding) {
    if (c->op != LSTMC_REDUCE_MEAN || (!c->total && !count_padding)) return;
    const float by = (float)(count_padding ? c->w->taps : c->total);
    LSTMC_KERNEL(c->node->full, divide, c->y, by, c->y, c->w->features);
}

/* Window t of row b, of which n steps are valid, and seen ones before them remembered. */
static void pool_one_window(const lstmc_node *node, const pool *p, const lstmc_view *x, uint32_t b,
                            uint32_t n, uint32_t seen, const float *memory, uint32_t t, float *y) {
    const lstmc_window *w = &p->window;
    chain c = {node, w, (int64_t)t * w->stride - lstmc_window_before(w, n), 0, 0, y};
    c.op = p->mean ? LSTMC_REDUCE_MEAN : LSTMC_REDUCE_MAXIMUM;
    pool_begin(&c);
    if (seen) {
        pool_take(&c, memory + (size_t)(w->history - seen) * w->features, w->features,
                  -(int64_t)seen, 0);
    }
    if (n) pool_take(&c, lstmc_at(x, b, 0), x->time_stride, 0, n);
    pool_end(&c, p->count_padding);
}

static void pool_run(lstmc_node *node, const lstmc_call *call) {
    const pool *p = (const pool *)node->prepared;
    const lstmc_window *w = &p->window;
    const size_t past = (size_t)w->history * w->features;
    const lstmc_view *x = call->views + p->x;
    const uint32_t steps = p->y == LSTMC_NONE ? 0 : lstmc_steps(call, p->y);
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t n = lstmc_row_steps(call, p->x, b);
        float *memory = node->state + b * node->state_stride, *count = memory + past;
        const uint32_t seen = steps_seen(w, count);
        if (steps) {
            const lstmc_view *y = call->views + p->y;
            const uint32_t most = lstmc_row_steps(call, p->y, b);
            uint32_t windows = lstmc_window_count(w, n);
            if (windows > most) windows = most;
            for (uint32_t t = 0; t < windows; t++) {
                pool_one_window(node, p, x, b, n, seen, memory, t, lstmc_at(y, b, t));
            }
            lstmc_zero_steps(y, w->features, b, windows, steps);
        }
        if (!w->history) continue;
        lstmc_window_remember(w, node, x, b, n, memory);
        *count = (float)(n < w->history - seen ? seen + n : w->history);
    }
}

static void pool_state(const lstmc_node *node, uint32_t index, lstmc_state_view *view) {
    const lstmc_window *w = &((const pool *)node->prepared)->window;
    lstmc_window_past(w, node, view);
    if (!index) return;
    view->name = "count";
    view->data += view->features;
    view->features = w->history != 0;
}

const lstmc_layer_ops lstmc_layer_pool1d = {
    .code = 24,
    .prepared_size = sizeof(pool),
    .check = pool_check,
    .prepare = pool_prepare,
    .plan = pool_plan,
    .run = pool_run,
    .whole = lstmc_window_whole,
    .state_count = 2,
    .state = pool_state,
};

/* ------------------------------------------------------------------------------ PoolPositions -- */

typedef struct positions {
    lstmc_window window;  /* its features are channels */
    uint32_t x, y;        /* value ids */
    uint32_t count, made; /* positions of x, and of y */
    uint32_t op, count_padding;
} positions;

static int check_positions(const lstmc_layer *l) {
    lstmc_window w;
    if (!lstmc_layer_counts(l, 1, 1, 0, LSTMC_WINDOW_PARAMS + 3)) return LSTMC_E_INVALID;
    const uint32_t *more = l->params + LSTMC_WINDOW_PARAMS, channels = more[2];
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    if (!channels || x.features % channels) return LSTMC_E_INVALID;
    const int status = lstmc_window_read(l->params, channels, &w);
    if (status) return status;
    if (more[0] >= POOL_COUNT) return LSTMC_E_UNSUPPORTED;
    const uint64_t made = lstmc_window_count(&w, x.features / channels);
    if (more[1] > 1 || !made || made * channels > LSTMC_MAX_SIZE) return LSTMC_E_INVALID;
    const lstmc_value y = lstmc_with_features(x, (uint32_t)made * channels);
    return lstmc_layer_output(l, 0, y) ? LSTMC_OK : LSTMC_E_INVALID;
}

static void prepare_positions(const lstmc_layer *l, void *prepared) {
    static const uint32_t ops[POOL_COUNT] = {LSTMC_REDUCE_MAXIMUM, LSTMC_REDUCE_MEAN,
                                             LSTMC_REDUCE_SUM, LSTMC_REDUCE_MINIMUM};
    positions *p = (positions *)prepared;
    const uint32_t *more = l->params + LSTMC_WINDOW_PARAMS;
    (void)lstmc_window_read(l->params, more[2], &p->window);
    p->x = l->inputs[0];
    p->y = l->outputs[0];
    p->count = lstmc_value_get(l->model, p->x).features / more[2];
    p->made = lstmc_window_count(&p->window, p->count);
    p->op = ops[more[0]];
    p->count_padding = more[1];
}

static void run_positions(lstmc_node *node, const lstmc_call *call) {
    const positions *p = (const positions *)node->prepared;
    if (p->y == LSTMC_NONE) return;
    const lstmc_window *w = &p->window;
    const lstmc_view *x = call->views + p->x, *y = call->views + p->y;
    const uint32_t before = lstmc_window_before(w, p->count);
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        for (uint32_t t = 0; t < lstmc_steps(call, p->x); t++) {
            chain c = {node, w, -(int64_t)before, p->op, 0, lstmc_at(y, b, t)};
            for (uint32_t i = 0; i < p->made; i++) {
                pool_begin(&c);
                pool_take(&c, lstmc_at(x, b, t), w->features, 0, p->count);
                pool_end(&c, p->count_padding);
                c.start += w->stride;
                c.y += w->features;
            }
        }
    }
}

const lstmc_layer_ops lstmc_layer_pool_positions = {
    .code = 30,
    .prepared_size = sizeof(positions),
    .check = check_positions,
    .prepare = prepare_positions,
    .plan = lstmc_plan_nothing,
    .run = run_positions,
};
