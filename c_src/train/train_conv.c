/* Conv1D, Conv2D and both depthwise ones, backward: dp = dy fn'(p), as of Dense, and for each tap that a
 * place is under, dw = fma(x, dp, dw), dx = fma(w, dp, dx).
 *
 * Both kinds go over two axes, an outer and an inner one: of Conv2D steps and positions, of Conv1D one
 * place and steps. Orders: dw and db rows ascending, outer outputs descending, inner ones descending;
 * dx outer outputs descending, inner ones descending, units ascending, flushed at the end. Padding is no
 * place: nothing is multiplied with it. x is flushed, as forward does.
 *
 * With carry a causal layer's remembered steps are places in front of x: weights have gradients of
 * them, and no gradient goes there. */
#include "train_layers.h"
#include "train_conv.h"

#include <string.h>

/* Windows that forward copies at once where it keeps p. */
#define TRAIN_CONV_WINDOWS 16u
/* Floats behind the plain weights: vectors of the last tap's channels may reach there. */
#define TRAIN_CONV_WIDE 16u

static void train_conv_prepare(const lstmc_train_layer *l, void *prepared) {
    lstmc_train_conv *d = (lstmc_train_conv *)prepared;
    const lstmc_layer *layer = &l->layer;
    const int two = layer->code == 28 || layer->code == 29;
    d->flat = !two;
    d->x = layer->inputs[0];
    d->y = layer->outputs[0];
    (void)lstmc_window_get(layer, &d->time);
    lstmc_filters_get(layer, layer->code == 23 || layer->code == 29,
                      two ? 2 * LSTMC_WINDOW_PARAMS : LSTMC_WINDOW_PARAMS, &d->filters);
    d->channels = d->filters.depthwise ? d->filters.units : d->time.features;
    d->positions = d->made = 1;
    if (two) {
        const uint32_t *across = layer->params + LSTMC_WINDOW_PARAMS;
        if (!d->filters.depthwise) d->channels = d->filters.k / (d->time.taps * across[0]);
        (void)lstmc_window_read(across, d->channels, &d->across);
        d->positions = d->time.features / d->channels;
        d->made = lstmc_window_count(&d->across, d->positions);
    }
    d->dweight = lstmc_train_gradient(l, 0);
    d->dbias = lstmc_train_gradient(l, 1);
    d->keep = !lstmc_fn_is_quick(&d->filters.fn);
    d->past = l->carry ? d->time.history : 0;
    d->copied = d->past || d->x < layer->model->input_count;
    d->plain = lstmc_train_wants(l, 0) && !l->frugal && !d->filters.depthwise;
}

/* Saved: p, then the past. Scratch: forward has one row's copy of x, some windows and zeros for a bias;
 * backward copies of all rows and dp. */
static void train_conv_plan(const lstmc_train_layer *l, lstmc_train_need *need) {
    lstmc_train_conv d;
    train_conv_prepare(l, &d);
    const lstmc_model *m = l->layer.model;
    const lstmc_value x = lstmc_value_get(m, d.x), y = lstmc_value_get(m, d.y);
    const size_t outputs = lstmc_size_mul(
        l->batch, lstmc_size_mul(lstmc_value_steps(&y, l->time), lstmc_train_conv_width(&d)));
    const size_t row = lstmc_size_mul((size_t)d.past + lstmc_value_steps(&x, l->time),
                                      d.copied ? d.time.features : 0);
    need->saved =
        lstmc_size_add(d.keep ? outputs : 0, lstmc_size_mul(l->batch, lstmc_train_conv_past(&d)));
    need->scratch = lstmc_size_add(outputs, lstmc_size_mul(l->batch, row));
    const size_t windows = lstmc_size_mul(TRAIN_CONV_WINDOWS, lstmc_train_conv_window(&d));
    const size_t forward =
        lstmc_size_add(lstmc_size_add(row, windows), lstmc_filters_zeros(&d.filters));
    if (d.keep && forward > need->scratch) need->scratch = forward;
    lstmc_need own = {0, 0, 0, 0.0f}; /* of the layer's run */
    lstmc_layer_find(l->layer.code)->plan(&l->layer, l->batch, l->time, &own);
    if (own.scratch > need->scratch) need->scratch = own.scratch;
    if (d.plain) {
        need->packed =
            lstmc_size_add(lstmc_plain_size(1, d.filters.units, d.filters.k), TRAIN_CONV_WIDE);
    }
}

static void train_conv_refresh(const lstmc_train_node *node) {
    const lstmc_train_conv *d = (const lstmc_train_conv *)node->prepared;
    const lstmc_filters *f = &d->filters;
    if (!d->plain) return;
    lstmc_plain_weights(f->weight, 1, f->units, f->k, f->panel, node->packed);
    lstmc_zeros(node->packed + lstmc_plain_size(1, f->units, f->k), TRAIN_CONV_WIDE);
}

/* Steps of y's row b that are made of x. */
uint32_t lstmc_train_conv_steps(const lstmc_train_conv *d, const lstmc_call *call, uint32_t b) {
    const uint32_t made = lstmc_window_count(&d->time, lstmc_row_steps(call, d->x, b));
    const uint32_t most = lstmc_row_steps(call, d->y, b);
    return made < most ? made : most;
}

/* x: the copy, if there is one. dp: [steps][made][units] */
lstmc_conv_row lstmc_train_conv_get(const lstmc_train_conv *d, const lstmc_call *call, uint32_t b,
                                    const float *x, const float *dp) {
    lstmc_conv_row r;
    const lstmc_view *view = call->views + d->x;
    const uint32_t n = lstmc_row_steps(call, d->x, b), made = lstmc_train_conv_steps(d, call, b);
    const size_t step = d->copied ? d->time.features : view->time_stride;
    r.n = n;
    r.x = d->copied ? x : lstmc_at(view, b, 0);
    r.dp = dp;
    lstmc_axis time = lstmc_axis_get(&d->time, n, made, step, lstmc_train_conv_width(d));
    time.places += d->past;
    time.before -= d->past;
    if (d->flat) {
        r.outer = lstmc_axis_none();
        r.inner = time;
    } else {
        r.outer = time;
        r.inner = lstmc_axis_get(&d->across, d->positions, d->made, d->channels, d->filters.units);
    }
    return r;
}

/* Row b of x, the past in front. */
void lstmc_train_conv_copy(const lstmc_train_node *node, const lstmc_call *call, uint32_t b,
                           const float *past, float *to) {
    const lstmc_train_conv *d = (const lstmc_train_conv *)node->prepared;
    const lstmc_view *x = call->views + d->x;
    const uint32_t n = lstmc_row_steps(call, d->x, b);
    const size_t floats = lstmc_train_conv_past(d);
    for (size_t i = 0; i < floats; i++) to[i] = past[i];
    if (n) {
        lstmc_copy_steps(node->node, lstmc_at(x, b, 0), x->time_stride, to + floats,
                         d->time.features, d->time.features, n);
    }
}

float *lstmc_train_conv_kept(const lstmc_train_node *node, const lstmc_call *call) {
    const lstmc_train_conv *d = (const lstmc_train_conv *)node->prepared;
    const size_t rows = (size_t)lstmc_batch(call) * lstmc_steps(call, d->y);
    const size_t outputs = rows * lstmc_train_conv_width(d);
    return node->saved + (d->keep ? outputs : 0);
}

/* ------------------------------------------------------------------------------------ forward -- */

/* Copy the window of outputs (t, p). */
static void train_conv_gather(const lstmc_train_conv *d, const lstmc_conv_row *r, uint32_t t,
                              uint32_t p, float *to) {
    for (uint32_t q = 0; q < r->inner.taps; q++) {
        const lstmc_run_of inner = lstmc_axis_outputs(&r->inner, q);
        for (uint32_t j = 0; j < r->outer.taps; j++, to += d->channels) {
            const lstmc_run_of outer = lstmc_axis_outputs(&r->outer, j);
            if (p - inner.from >= inner.count || t - outer.from >= outer.count) {
                lstmc_zeros(to, d->channels);
                continue;
            }
            memcpy(to,
                   r->x + lstmc_axis_place(&r->outer, t, j) * r->outer.x_stride +
                       lstmc_axis_place(&r->inner, p, q) * r->inner.x_stride,
                   d->channels * sizeof *to);
        }
    }
}

/* p of `rows` windows at x. */
static void train_conv_multiply(const lstmc_train_node *node, const lstmc_call *call,
                                const float *init, const float *x, float *p, uint32_t rows) {
    const lstmc_train_conv *d = (const lstmc_train_conv *)node->prepared;
    const lstmc_filters *f = &d->filters;
    for (uint32_t half = 0; half < 2; half++) {
        if (!(half ? f->half : f->full)) continue;
        const uint32_t skip = half ? f->full : 0, panel = half ? f->half : f->panel;
        const uint32_t columns = half || f->units < f->full ? f->units - skip : f->full;
        const float *w = f->weight + (size_t)skip * f->k;
        if (!f->depthwise) {
            const lstmc_matmul_args a = {.w = w,
                                         .x = x,
                                         .init = init + skip,
                                         .y = p + skip,
                                         .x_stride = f->k,
                                         .y_stride = f->units,
                                         .rows = rows,
                                         .k = f->k,
                                         .panel = panel,
                                         .columns = columns,
                                         .raw = 1,
                                         .fn = f->fn};
            lstmc_matmul(call, lstmc_kernels_for(node->node, half), &a);
            continue;
        }
        for (uint32_t i = 0; i < rows * ((columns + panel - 1) / panel); i++) {
            const uint32_t row = i % rows, from = i / rows * panel;
            lstmc_dots_args a = {
                .a_step = (ptrdiff_t)d->channels, .b_step = (ptrdiff_t)panel, .blocks = 1};
            a.a = x + row * lstmc_train_conv_window(d) + skip + from;
            a.b = w + (size_t)from * f->k;
            a.c = p + (size_t)row * f->units + skip + from;
            a.n = columns - from < panel ? columns - from : panel;
            a.count = f->k;
            memcpy(a.c, init + skip + from, a.n * sizeof *a.c);
            LSTMC_TRAIN_KERNEL(node->kernels, dots, &a);
        }
    }
}

/* Row b, p kept. */
static void train_conv_keep(const lstmc_train_node *node, const lstmc_call *call, uint32_t b,
                            const float *init, const lstmc_conv_row *r, float *windows) {
    const lstmc_train_conv *d = (const lstmc_train_conv *)node->prepared;
    const lstmc_view *y = call->views + d->y;
    const size_t width = lstmc_train_conv_width(d);
    float *p = node->saved + (size_t)b * lstmc_steps(call, d->y) * width;
    const uint32_t all = r->outer.made * r->inner.made;
    for (uint32_t first = 0; first < all; first += TRAIN_CONV_WINDOWS) {
        uint32_t some = TRAIN_CONV_WINDOWS;
        if (all - first < some) some = all - first;
        for (uint32_t i = 0; i < some; i++) {
            train_conv_gather(d, r, (first + i) / r->inner.made, (first + i) % r->inner.made,
                              windows + i * lstmc_train_conv_window(d));
        }
        train_conv_multiply(node, call, init, windows, p + (size_t)first * d->filters.units, some);
    }
    const uint32_t steps = lstmc_train_conv_steps(d, call, b);
    for (uint32_t t = 0; t < steps; t++) {
        LSTMC_KERNEL(node->node->full, map, &d->filters.fn, 1, p + t * width, lstmc_at(y, b, t),
                     width);
    }
    lstmc_zero_steps(y, (uint32_t)width, b, steps, lstmc_steps(call, d->y));
}

static void train_conv_forward(const lstmc_train_node *node, const lstmc_call *call) {
    const lstmc_train_conv *d = (const lstmc_train_conv *)node->prepared;
    const size_t past = lstmc_train_conv_past(d), state = node->node->state_stride;
    float *kept = lstmc_train_conv_kept(node, call);
    for (uint32_t b = 0; past && b < lstmc_batch(call); b++) {
        memcpy(kept + b * past, node->node->state + b * state, past * sizeof *kept);
    }
    if (!d->keep) {
        lstmc_train_run(node, call);
        return;
    }
    float *x = call->scratch + lstmc_filters_zeros(&d->filters);
    float *windows = x;
    if (d->copied) windows += ((size_t)d->past + lstmc_steps(call, d->x)) * d->time.features;
    const float *init = lstmc_filters_init(&d->filters, call->scratch);
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        if (d->copied) lstmc_train_conv_copy(node, call, b, kept + b * past, x);
        const lstmc_conv_row r = lstmc_train_conv_get(d, call, b, x, NULL);
        train_conv_keep(node, call, b, init, &r, windows);
        if (d->time.history) {
            lstmc_window_remember(&d->time, node->node, call->views + d->x, b, r.n,
                                  node->node->state + b * state);
        }
    }
}

const lstmc_train_ops lstmc_train_conv1d = {
    .code = 22,
    .prepared_size = sizeof(lstmc_train_conv),
    .prepare = train_conv_prepare,
    .plan = train_conv_plan,
    .forward = train_conv_forward,
    .backward = lstmc_train_conv_backward,
    .refresh = train_conv_refresh,
};
const lstmc_train_ops lstmc_train_depthwise_conv1d = {
    .code = 23,
    .prepared_size = sizeof(lstmc_train_conv),
    .prepare = train_conv_prepare,
    .plan = train_conv_plan,
    .forward = train_conv_forward,
    .backward = lstmc_train_conv_backward,
    .refresh = train_conv_refresh,
};
const lstmc_train_ops lstmc_train_conv2d = {
    .code = 28,
    .prepared_size = sizeof(lstmc_train_conv),
    .prepare = train_conv_prepare,
    .plan = train_conv_plan,
    .forward = train_conv_forward,
    .backward = lstmc_train_conv_backward,
    .refresh = train_conv_refresh,
};
const lstmc_train_ops lstmc_train_depthwise_conv2d = {
    .code = 29,
    .prepared_size = sizeof(lstmc_train_conv),
    .prepare = train_conv_prepare,
    .plan = train_conv_plan,
    .forward = train_conv_forward,
    .backward = lstmc_train_conv_backward,
    .refresh = train_conv_refresh,
};
