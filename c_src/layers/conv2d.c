/* Conv2D and DepthwiseConv2D: windows over time and over the positions of a step.
 *
 * Features are [positions][channels]. Conv2D: y[t][p][o] = flush(fn(s)), one chain: s = bias; for
 * position taps q ascending, in each for taps j ascending, in each for channels i ascending:
 * s = fma(w[o][q, j, i], flush(x[t stride + j dilation - before][p stride' + q dilation' - before'][i]),
 * s). Padding is zeros, multiplied like any other number. DepthwiseConv2D: the same for each channel
 * alone. x is flushed first for the reason that conv.c gives.
 * Tensors: weight [O, position taps * taps * I], or [C, position taps * taps]; bias [O] or none;
 * params: window over time, window over positions, fn.
 *
 * For each step a strip is made: of every position a column, all taps over time one after another, so
 * that a window over positions is one run of numbers and windows overlap in it. With one tap over
 * time, windows inside a step are read where they are, if x is flushed (no input of the model). */
#include "filters.h"
#include "steps.h"

/* Floats of a strip, where more than one window is in it. */
#define CONV2D_STRIP_FLOATS 8192u

enum { FN_PARAM = 2 * LSTMC_WINDOW_PARAMS };

typedef struct conv2d {
    lstmc_window time;   /* its features are those of a step */
    lstmc_window across; /* over positions; its features are channels */
    lstmc_filters filters;
    uint32_t x, y;            /* value ids */
    uint32_t flushed;         /* x holds no tiny values */
    uint32_t positions, made; /* of a step of x, and of y */
    uint32_t before;          /* positions of padding */
    uint32_t column;          /* floats: taps over time of all channels */
    uint32_t phases, hop;     /* window p + phases starts hop columns of the strip after window p */
} conv2d;

static int conv2d_check(const lstmc_layer *l, int depthwise) {
    lstmc_tensor weight;
    lstmc_window time, across;
    if (!lstmc_layer_counts(l, 1, 1, 2, FN_PARAM + 3)) return LSTMC_E_INVALID;
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    int status = lstmc_window_get(l, &time);
    if (status) return status;
    const int alone = !time.same && time.taps == 1 && time.stride == 1 && time.dilation == 1 &&
                      !time.before && !time.after;
    if (!x.has_time && !alone) return LSTMC_E_INVALID;
    if (!lstmc_tensor_get(l, 0, &weight) || weight.plain) return LSTMC_E_INVALID;
    status = lstmc_filters_check(l, weight.k, FN_PARAM);
    if (status) return status;
    const uint64_t taps = (uint64_t)time.taps * l->params[LSTMC_WINDOW_PARAMS];
    if (!taps || (depthwise ? weight.k != taps : weight.k % taps != 0)) return LSTMC_E_INVALID;
    const uint32_t channels = depthwise ? weight.units : (uint32_t)(weight.k / taps);
    if (x.features % channels) return LSTMC_E_INVALID;
    status = lstmc_window_read(l->params + LSTMC_WINDOW_PARAMS, channels, &across);
    if (status) return status;
    const uint64_t made = lstmc_window_count(&across, x.features / channels);
    if (!made || made * weight.units > LSTMC_MAX_SIZE) return LSTMC_E_INVALID;
    const lstmc_value y = lstmc_with_features(x, (uint32_t)made * weight.units);
    const lstmc_value steps = x.has_time ? lstmc_window_steps(&time, y) : y;
    return steps.has_time < 2 && lstmc_layer_output(l, 0, steps) ? LSTMC_OK : LSTMC_E_INVALID;
}

static int conv2d_check_conv(const lstmc_layer *l) { return conv2d_check(l, 0); }
static int conv2d_check_depthwise(const lstmc_layer *l) { return conv2d_check(l, 1); }

static void conv2d_prepare(const lstmc_layer *l, void *prepared) {
    conv2d *c = (conv2d *)prepared;
    (void)lstmc_window_get(l, &c->time);
    lstmc_filters_get(l, l->code == 29, FN_PARAM, &c->filters);
    const uint32_t taps = c->time.taps * l->params[LSTMC_WINDOW_PARAMS];
    const uint32_t channels = c->filters.depthwise ? c->filters.units : c->filters.k / taps;
    (void)lstmc_window_read(l->params + LSTMC_WINDOW_PARAMS, channels, &c->across);
    c->x = l->inputs[0];
    c->y = l->outputs[0];
    c->flushed = c->x >= l->model->input_count;
    c->positions = c->time.features / channels;
    c->made = lstmc_window_count(&c->across, c->positions);
    c->before = lstmc_window_before(&c->across, c->positions);
    c->column = c->time.taps * channels;
    lstmc_window_phases(&c->across, &c->phases, &c->hop);
}

/* Columns of a strip with so many windows, of one phase, and how many windows go into one at most. */
static uint64_t strip_columns(const conv2d *c, uint32_t windows) {
    return (uint64_t)(windows - 1) * c->hop + c->across.taps;
}

static uint32_t conv2d_strip_windows(const conv2d *c) {
    const uint32_t room = CONV2D_STRIP_FLOATS / c->column;
    return room < c->across.taps ? 1 : 1 + (room - c->across.taps) / c->hop;
}

/* Scratch: zeros where a bias is absent, then a strip. */
static void conv2d_plan(const lstmc_layer *l, uint32_t batch, uint32_t time, lstmc_need *need) {
    conv2d c;
    (void)time;
    conv2d_prepare(l, &c);
    uint32_t windows = c.made / c.phases + (c.made % c.phases != 0);
    if (windows > conv2d_strip_windows(&c)) windows = conv2d_strip_windows(&c);
    const size_t strip = lstmc_size_mul((size_t)strip_columns(&c, windows), c.column);
    need->scratch = lstmc_size_add(lstmc_filters_zeros(&c.filters), strip);
    need->work = (float)c.filters.k * (float)c.filters.units * (float)c.made;
    need->state = lstmc_size_mul(batch, (size_t)c.time.history * c.time.features);
}

/* A step that is being made. */
typedef struct conv2d_frame {
    const conv2d *c;
    const lstmc_node *node;
    const lstmc_call *call;
    lstmc_view x, y;
    const float *init;
    float *strip;
    uint32_t b, n; /* the row and its valid steps */
    int64_t start; /* the step of the window's first tap */
    float *to;     /* positions of y */
} conv2d_frame;

static float *conv2d_memory_of(const conv2d_frame *f) {
    return f->node->state + f->b * f->node->state_stride;
}

/* The step under tap j of the window over time; NULL where it is zeros. */
static const float *step_at(const conv2d_frame *f, uint32_t j) {
    const lstmc_window *w = &f->c->time;
    const int64_t t = f->start + (int64_t)j * w->dilation;
    if (t >= 0) return t < (int64_t)f->n ? lstmc_at(&f->x, f->b, (uint32_t)t) : NULL;
    return w->history ? conv2d_memory_of(f) + (size_t)(t + w->history) * w->features : NULL;
}

/* Columns of positions start, start + dilation, ... */
static void conv2d_fill_strip(const conv2d_frame *f, int64_t start, uint32_t columns) {
    const conv2d *c = f->c;
    const uint32_t channels = c->across.features;
    for (uint32_t j = 0; j < c->time.taps; j++) {
        const float *step = step_at(f, j);
        float *to = f->strip + (size_t)j * channels;
        int64_t p = start;
        for (uint32_t m = 0; m < columns; m++, p += c->across.dilation, to += c->column) {
            if (step && p >= 0 && p < (int64_t)c->positions) {
                const float *from = step + (size_t)p * channels;
                for (uint32_t i = 0; i < channels; i++) to[i] = from[i];
            } else {
                for (uint32_t i = 0; i < channels; i++) to[i] = 0.0f;
            }
        }
    }
    if (!c->flushed) {
        const size_t floats = (size_t)columns * c->column;
        LSTMC_KERNEL(f->node->full, map, &lstmc_linear, 1, f->strip, f->strip, floats);
    }
}

/* Windows p, p + every, ...: the first at x, x_stride floats from one to the next. */
static void conv2d_multiply(const conv2d_frame *f, const float *x, size_t x_stride, uint32_t p,
                            uint32_t every, uint32_t rows) {
    const uint32_t units = f->c->filters.units;
    const lstmc_windows w = {.init = f->init,
                             .x = x,
                             .x_stride = x_stride,
                             .tap_stride = f->c->across.features,
                             .y = f->to + (size_t)p * units,
                             .y_stride = (size_t)every * units,
                             .rows = rows};
    lstmc_filters_run(&f->c->filters, f->node, f->call, &w);
}

/* Windows [from, to) by way of strips. */
static void conv2d_windows_in_strips(const conv2d_frame *f, uint32_t from, uint32_t to) {
    const conv2d *c = f->c;
    const uint32_t most = conv2d_strip_windows(c);
    for (uint32_t phase = 0; phase < c->phases && phase < to - from; phase++) {
        uint32_t left = (to - from - phase - 1) / c->phases + 1;
        for (uint32_t p = from + phase; left;) {
            const uint32_t some = left < most ? left : most;
            conv2d_fill_strip(f, (int64_t)p * c->across.stride - c->before,
                              (uint32_t)strip_columns(c, some));
            conv2d_multiply(f, f->strip, (size_t)c->hop * c->column, p, c->phases, some);
            left -= some;
            if (left) p += some * c->phases;
        }
    }
}

static void step_alone(const conv2d_frame *f) {
    const conv2d *c = f->c;
    const lstmc_window *w = &c->across;
    uint32_t first = 0, last = 0; /* windows that are computed where they are */
    const float *step = c->time.taps == 1 && c->flushed ? step_at(f, 0) : NULL;
    if (step && (w->taps == 1 || w->dilation == 1)) {
        lstmc_window_inside(w, c->positions, c->made, &first, &last);
    }
    if (first) conv2d_windows_in_strips(f, 0, first);
    if (last) {
        const size_t at = (size_t)first * w->stride - c->before;
        conv2d_multiply(f, step + at * w->features, (size_t)w->stride * w->features, first, 1,
                        last - first);
    }
    if (last < c->made) conv2d_windows_in_strips(f, last, c->made);
}

static void conv2d_run(lstmc_node *node, const lstmc_call *call) {
    const conv2d *c = (const conv2d *)node->prepared;
    conv2d_frame f;
    f.c = c;
    f.node = node;
    f.call = call;
    f.x = call->views[c->x];
    f.init = lstmc_filters_init(&c->filters, call->scratch);
    f.strip = call->scratch + lstmc_filters_zeros(&c->filters);
    const uint32_t steps = c->y == LSTMC_NONE ? 0 : lstmc_steps(call, c->y);
    if (steps) f.y = call->views[c->y];
    for (f.b = 0; f.b < lstmc_batch(call); f.b++) {
        f.n = lstmc_row_steps(call, c->x, f.b);
        if (steps) {
            const uint32_t most = lstmc_row_steps(call, c->y, f.b);
            uint32_t count = lstmc_window_count(&c->time, f.n);
            if (count > most) count = most;
            const uint32_t before = lstmc_window_before(&c->time, f.n);
            for (uint32_t t = 0; t < count; t++) {
                f.start = (int64_t)t * c->time.stride - before;
                f.to = lstmc_at(&f.y, f.b, t);
                step_alone(&f);
            }
            lstmc_zero_steps(&f.y, c->made * c->filters.units, f.b, count, steps);
        }
        if (c->time.history) {
            lstmc_window_remember(&c->time, node, &f.x, f.b, f.n, conv2d_memory_of(&f));
        }
    }
}

static void conv2d_state(const lstmc_node *node, uint32_t index, lstmc_state_view *view) {
    (void)index;
    lstmc_window_past(&((const conv2d *)node->prepared)->time, node, view);
}

const lstmc_layer_ops lstmc_layer_conv2d = {
    .code = 28,
    .prepared_size = sizeof(conv2d),
    .check = conv2d_check_conv,
    .prepare = conv2d_prepare,
    .plan = conv2d_plan,
    .run = conv2d_run,
    .whole = lstmc_window_whole,
    .state_count = 1,
    .state = conv2d_state,
};
const lstmc_layer_ops lstmc_layer_depthwise_conv2d = {
    .code = 29,
    .prepared_size = sizeof(conv2d),
    .check = conv2d_check_depthwise,
    .prepare = conv2d_prepare,
    .plan = conv2d_plan,
    .run = conv2d_run,
    .whole = lstmc_window_whole,
    .state_count = 1,
    .state = conv2d_state,
};
