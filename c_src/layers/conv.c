/* Conv1D and DepthwiseConv1D.
 *
 * Conv1D: y[t][o] = flush(fn(p)), one chain: p = bias; for taps j ascending, in each for channels i
 * ascending: p = fma(w[o][j, i], flush(x[t stride + j dilation - before][i]), p). Padding is zeros,
 * multiplied like any other step. DepthwiseConv1D: the same for each channel alone.
 * Tensors: weight [O, taps * I], tap by tap, or [C, taps]; bias [O] or none; params: window, fn.
 *
 * x is flushed first because a causal layer remembers its last steps, flushed as all states are: in a
 * later call they must be the numbers that they were. Zeros in a fresh state are the padding.
 *
 * Windows that lie inside a row, without dilation, are rows of a matrix where they are, if x is dense
 * and flushed (no input of the model). All others are read from strips: every dilation-th step one
 * after another, padding and remembered steps included, where windows overlap as they do in x. */
#include "filters.h"
#include "steps.h"

/* Floats of a strip, where more than one window is in it: it stays in a small L1. */
#define CONV_STRIP_FLOATS 4096u

typedef struct conv {
    lstmc_window window;
    lstmc_filters filters;
    uint32_t x, y;        /* value ids */
    uint32_t flushed;     /* x holds no tiny values */
    uint32_t phases, hop; /* window t + phases starts hop steps of the strip after window t */
} conv;

static int conv_check(const lstmc_layer *l, int depthwise) {
    lstmc_tensor weight;
    lstmc_window w;
    if (!lstmc_layer_counts(l, 1, 1, 2, LSTMC_WINDOW_PARAMS + 3)) return LSTMC_E_INVALID;
    int status = lstmc_window_get(l, &w);
    if (status) return status;
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    /* A window's floats are at most those of its extent: the product fits. */
    status = lstmc_filters_check(l, depthwise ? w.taps : w.taps * x.features, LSTMC_WINDOW_PARAMS);
    if (status) return status;
    (void)lstmc_tensor_get(l, 0, &weight);
    if (depthwise && weight.units != x.features) return LSTMC_E_INVALID;
    const lstmc_value made = lstmc_window_steps(&w, lstmc_with_features(x, weight.units));
    return made.has_time == 1 && lstmc_layer_output(l, 0, made) ? LSTMC_OK : LSTMC_E_INVALID;
}

static int conv_check_conv(const lstmc_layer *l) { return conv_check(l, 0); }
static int conv_check_depthwise(const lstmc_layer *l) { return conv_check(l, 1); }

static void conv_prepare(const lstmc_layer *l, void *prepared) {
    conv *c = (conv *)prepared;
    (void)lstmc_window_get(l, &c->window);
    lstmc_filters_get(l, l->code == 23, LSTMC_WINDOW_PARAMS, &c->filters);
    c->x = l->inputs[0];
    c->y = l->outputs[0];
    c->flushed = c->x >= l->model->input_count;
    lstmc_window_phases(&c->window, &c->phases, &c->hop);
}

/* Steps of a strip with so many windows, of one phase, and how many windows go into one at most. */
static uint64_t strip_steps(const conv *c, uint32_t windows) {
    return (uint64_t)(windows - 1) * c->hop + c->window.taps;
}

static uint32_t conv_strip_windows(const conv *c) {
    const uint32_t room = CONV_STRIP_FLOATS / c->window.features;
    return room < c->window.taps ? 1 : 1 + (room - c->window.taps) / c->hop;
}

/* Rows whose windows go into the scratch together, where each row has one. */
static uint32_t strip_rows(const conv *c) {
    const uint32_t rows = CONV_STRIP_FLOATS / (c->window.taps * c->window.features);
    return rows ? rows : 1;
}

static void conv_plan(const lstmc_layer *l, uint32_t batch, uint32_t time, lstmc_need *need) {
    conv c;
    conv_prepare(l, &c);
    const lstmc_value y = lstmc_window_steps(&c.window, lstmc_value_get(l->model, l->inputs[0]));
    const uint32_t steps = lstmc_value_steps(&y, time);
    /* Zeros where a bias is absent, then a strip. */
    uint32_t windows = steps / c.phases + (steps % c.phases != 0), rows = strip_rows(&c);
    if (windows > conv_strip_windows(&c)) windows = conv_strip_windows(&c);
    if (rows > batch) rows = batch;
    size_t strip = (size_t)strip_steps(&c, windows ? windows : 1) * c.window.features;
    const size_t together = (size_t)rows * c.window.taps * c.window.features;
    if (together > strip) strip = together;
    need->scratch = lstmc_size_add(lstmc_filters_zeros(&c.filters), strip);
    need->work = (float)c.filters.k * (float)c.filters.units;
    need->state = lstmc_size_mul(batch, (size_t)c.window.history * c.window.features);
}

/* A call on its way. */
typedef struct conv_frame {
    const conv *c;
    const lstmc_node *node;
    const lstmc_call *call;
    lstmc_view x, y;
    const float *init;
    float *strip;
} conv_frame;

static float *conv_memory_of(const conv_frame *f, uint32_t b) {
    return f->node->state + b * f->node->state_stride;
}

/* Steps start, start + dilation, ... of row b, of which n are valid. */
static void conv_fill_strip(const conv_frame *f, float *strip, uint32_t b, uint32_t n,
                            int64_t start, uint32_t steps) {
    const lstmc_window *w = &f->c->window;
    const int64_t end = n;
    for (uint32_t j = 0; j < steps;) {
        const int64_t t = start + (int64_t)j * w->dilation;
        float *to = strip + (size_t)j * w->features;
        if (t >= 0 && t < end) { /* as many as there are */
            const uint64_t left = ((uint64_t)(end - t) - 1) / w->dilation + 1;
            const uint32_t some = left < steps - j ? (uint32_t)left : steps - j;
            lstmc_copy_steps(f->node, lstmc_at(&f->x, b, (uint32_t)t),
                             w->dilation * f->x.time_stride, to, w->features, w->features, some);
            j += some;
            continue;
        }
        const float *past = t < 0 && w->history
                                ? conv_memory_of(f, b) + (size_t)(t + w->history) * w->features
                                : NULL;
        for (uint32_t i = 0; i < w->features; i++) to[i] = past ? past[i] : 0.0f;
        j++;
    }
}

/* rows windows at x, x_stride floats apart, their taps tap_stride. */
static void conv_multiply(const conv_frame *f, const float *x, size_t x_stride, size_t tap_stride,
                          float *y, size_t y_stride, uint32_t rows) {
    const lstmc_windows w = {f->init, x, x_stride, tap_stride, y, y_stride, rows};
    lstmc_filters_run(&f->c->filters, f->node, f->call, &w);
}

/* Windows [from, to) of row b by way of strips. */
static void conv_windows_in_strips(const conv_frame *f, uint32_t b, uint32_t n, uint32_t from,
                                   uint32_t to) {
    const conv *c = f->c;
    const lstmc_window *w = &c->window;
    const int64_t before = lstmc_window_before(w, n);
    const uint32_t most = conv_strip_windows(c);
    for (uint32_t phase = 0; phase < c->phases && phase < to - from; phase++) {
        uint32_t left = (to - from - phase - 1) / c->phases + 1;
        for (uint32_t t = from + phase; left;) {
            const uint32_t some = left < most ? left : most;
            conv_fill_strip(f, f->strip, b, n, (int64_t)t * w->stride - before,
                            (uint32_t)strip_steps(c, some));
            conv_multiply(f, f->strip, (size_t)c->hop * w->features, w->features,
                          lstmc_at(&f->y, b, t), c->phases * f->y.time_stride, some);
            left -= some;
            if (left) t += some * c->phases;
        }
    }
}

/* Windows [0, count) of row b. */
static void all_windows(const conv_frame *f, uint32_t b, uint32_t n, uint32_t count) {
    const conv *c = f->c;
    const lstmc_window *w = &c->window;
    const uint32_t before = lstmc_window_before(w, n);
    uint32_t first = 0, last = 0; /* those that are computed where they are */
    const int together = w->taps == 1 || (w->dilation == 1 && f->x.time_stride == w->features);
    if (c->filters.depthwise || (c->flushed && together)) {
        lstmc_window_inside(w, n, count, &first, &last);
    }
    if (first) conv_windows_in_strips(f, b, n, 0, first);
    if (last) {
        conv_multiply(f, lstmc_at(&f->x, b, first * w->stride - before),
                      w->stride * f->x.time_stride, w->dilation * f->x.time_stride,
                      lstmc_at(&f->y, b, first), f->y.time_stride, last - first);
    }
    if (last < count) conv_windows_in_strips(f, b, n, last, count);
}

/* One window in every row: those of several rows together. */
static void conv_one_window(const conv_frame *f) {
    const conv *c = f->c;
    const lstmc_window *w = &c->window;
    const size_t k = (size_t)w->taps * w->features;
    const uint32_t most = strip_rows(c);
    for (uint32_t b = 0; b < lstmc_batch(f->call);) {
        const uint32_t rows = lstmc_batch(f->call) - b < most ? lstmc_batch(f->call) - b : most;
        for (uint32_t i = 0; i < rows; i++) {
            const uint32_t n = lstmc_row_steps(f->call, c->x, b + i);
            conv_fill_strip(f, f->strip + i * k, b + i, n, -(int64_t)lstmc_window_before(w, n),
                            w->taps);
        }
        conv_multiply(f, f->strip, k, w->features, lstmc_at(&f->y, b, 0), f->y.batch_stride, rows);
        b += rows;
    }
}

static void conv_run(lstmc_node *node, const lstmc_call *call) {
    const conv *c = (const conv *)node->prepared;
    conv_frame f;
    f.c = c;
    f.node = node;
    f.call = call;
    f.x = call->views[c->x];
    f.init = lstmc_filters_init(&c->filters, call->scratch);
    f.strip = call->scratch + lstmc_filters_zeros(&c->filters);
    const uint32_t steps = c->y == LSTMC_NONE ? 0 : lstmc_steps(call, c->y);
    if (steps) f.y = call->views[c->y];
    if (steps == 1) conv_one_window(&f);
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t n = lstmc_row_steps(call, c->x, b);
        if (steps) {
            const uint32_t most = lstmc_row_steps(call, c->y, b);
            uint32_t count = lstmc_window_count(&c->window, n);
            if (count > most) count = most;
            if (count && steps > 1) all_windows(&f, b, n, count);
            lstmc_zero_steps(&f.y, c->filters.units, b, count, steps);
        }
        if (c->window.history) {
            lstmc_window_remember(&c->window, node, &f.x, b, n, conv_memory_of(&f, b));
        }
    }
}

static void conv_state(const lstmc_node *node, uint32_t index, lstmc_state_view *view) {
    (void)index;
    lstmc_window_past(&((const conv *)node->prepared)->window, node, view);
}

const lstmc_layer_ops lstmc_layer_conv1d = {
    .code = 22,
    .prepared_size = sizeof(conv),
    .check = conv_check_conv,
    .prepare = conv_prepare,
    .plan = conv_plan,
    .run = conv_run,
    .whole = lstmc_window_whole,
    .state_count = 1,
    .state = conv_state,
};
const lstmc_layer_ops lstmc_layer_depthwise_conv1d = {
    .code = 23,
    .prepared_size = sizeof(conv),
    .check = conv_check_depthwise,
    .prepare = conv_prepare,
    .plan = conv_plan,
    .run = conv_run,
    .whole = lstmc_window_whole,
    .state_count = 1,
    .state = conv_state,
};
