/* Convolutions, backward: the orders are in train_conv.c. */
#include "../kernels/soft_fma.h"
#include "train_conv.h"

/* ----------------------------------------------------------------------------------- backward -- */

typedef struct train_conv_shared {
    const lstmc_train_node *node;
    const lstmc_call *call;
    float *dp, *x; /* of all rows */
    uint32_t panels, parts;
} train_conv_shared;

static lstmc_conv_row train_conv_shared_row(const train_conv_shared *s, uint32_t b) {
    const lstmc_train_conv *d = (const lstmc_train_conv *)s->node->prepared;
    const size_t x = ((size_t)d->past + lstmc_steps(s->call, d->x)) * d->time.features;
    const size_t dp = lstmc_steps(s->call, d->y) * lstmc_train_conv_width(d);
    return lstmc_train_conv_get(d, s->call, b, s->x + (d->copied ? b * x : 0), s->dp + b * dp);
}

/* Units from panel p on that are in panels of one width. */
typedef struct train_conv_panels {
    uint32_t first, units, width, end;
    uint32_t whole; /* 1: they are of full width */
} train_conv_panels;

static train_conv_panels train_conv_panels_from(const lstmc_filters *f, uint32_t p, uint32_t end) {
    train_conv_panels g;
    g.first = p * f->panel;
    g.width = lstmc_panel_width(f->units, f->panel, p);
    g.whole = g.width == f->panel;
    for (g.end = p + 1; g.end < end; g.end++) {
        if (lstmc_panel_width(f->units, f->panel, g.end) != g.width) break;
    }
    const uint32_t last = g.end * f->panel;
    g.units = (last < f->units ? last : f->units) - g.first;
    return g;
}

/* dw's rows from `row` on, `rows` of them: places from tap (j, q) on, of these outputs. NULL: the bias. */
static void train_conv_sums(const lstmc_train_node *node, const lstmc_conv_row *r,
                            const train_conv_panels *g, const uint32_t *tap, uint32_t rows,
                            lstmc_run_of outer, lstmc_run_of inner) {
    const lstmc_train_conv *d = (const lstmc_train_conv *)node->prepared;
    static const float one = 1.0f;
    if (!outer.count || !inner.count) return;
    const uint32_t t = outer.from + outer.count - 1, p = inner.from + inner.count - 1;
    const size_t row = tap ? (size_t)(tap[1] * r->outer.taps + tap[0]) : 0;
    const float *dp = r->dp + t * r->outer.y_stride + p * r->inner.y_stride + g->first;
    const float *x = &one;
    ptrdiff_t a_step = 0, a_block = 0;
    if (tap) {
        x = r->x + lstmc_axis_place(&r->outer, t, tap[0]) * r->outer.x_stride +
            lstmc_axis_place(&r->inner, p, tap[1]) * r->inner.x_stride;
        a_step = -(ptrdiff_t)(r->inner.stride * r->inner.x_stride);
        a_block = -(ptrdiff_t)(r->outer.stride * r->outer.x_stride);
    }
    const uint32_t k = tap ? d->filters.k : 1;
    float *dw = (tap ? d->dweight : d->dbias) + (size_t)g->first * k;
    if (tap && d->filters.depthwise) {
        const lstmc_diagonal_args a = {.x = x + g->first,
                                       .x_step = a_step,
                                       .x_block = a_block,
                                       .dy = dp,
                                       .dy_step = -(ptrdiff_t)r->inner.y_stride,
                                       .dy_block = -(ptrdiff_t)r->outer.y_stride,
                                       .dw = dw + row * g->width,
                                       .dw_panel = (size_t)k * g->width,
                                       .count = inner.count,
                                       .blocks = outer.count,
                                       .units = g->units,
                                       .panel = g->width};
        LSTMC_TRAIN_KERNEL(g->whole ? node->full : node->half, diagonal, &a);
        return;
    }
    const lstmc_gemm_args a = {.a = x,
                               .a_step = a_step,
                               .a_block = a_block,
                               .a_next = 1,
                               .b = dp,
                               .b_step = -(ptrdiff_t)r->inner.y_stride,
                               .b_block = -(ptrdiff_t)r->outer.y_stride,
                               .c = dw + row * d->channels * g->width,
                               .c_next = g->width,
                               .c_panel = (size_t)k * g->width,
                               .c_gate = g->width,
                               .rows = rows,
                               .count = inner.count,
                               .blocks = outer.count,
                               .gates = 1,
                               .units = g->units,
                               .panel = g->width,
                               .padded = 1};
    LSTMC_TRAIN_KERNEL(g->whole ? node->full : node->half, gemm, &a);
}

/* Outputs [from, to) of the inner axis, each tap by itself. */
static void train_conv_taps(const lstmc_train_node *node, const lstmc_conv_row *r,
                            const train_conv_panels *g, uint32_t from, uint32_t to) {
    const lstmc_train_conv *d = (const lstmc_train_conv *)node->prepared;
    for (uint32_t q = 0; q < r->inner.taps; q++) {
        lstmc_run_of inner = lstmc_axis_outputs(&r->inner, q);
        const uint32_t end = inner.from + inner.count < to ? inner.from + inner.count : to;
        if (inner.from < from) inner.from = from;
        inner.count = end > inner.from ? end - inner.from : 0;
        for (uint32_t j = 0; j < r->outer.taps; j++) {
            const uint32_t tap[2] = {j, q};
            train_conv_sums(node, r, g, tap, d->channels, lstmc_axis_outputs(&r->outer, j), inner);
        }
    }
}

/* The gradients of some panels of one row. Where windows are runs of numbers those of the inner outputs
 * that have no padding are one product for all taps. */
static void train_conv_row_taps(const lstmc_train_node *node, const lstmc_conv_row *r,
                                const train_conv_panels *g) {
    const lstmc_train_conv *d = (const lstmc_train_conv *)node->prepared;
    const lstmc_axis *in = &r->inner;
    const lstmc_run_of all_outer = {0, r->outer.made}, all_inner = {0, in->made};
    if (d->dbias) train_conv_sums(node, r, g, NULL, 1, all_outer, all_inner);
    if (!d->dweight || !in->made) return;
    uint32_t from = 0, to = 0;
    if (!d->filters.depthwise && in->taps > 1 && r->outer.taps == 1 && in->dilation == 1 &&
        in->x_stride == d->channels) {
        const lstmc_run_of first = lstmc_axis_outputs(in, 0);
        const lstmc_run_of last = lstmc_axis_outputs(in, in->taps - 1);
        from = first.from;
        to = last.from + last.count;
        /* One order for all: with several outer outputs, edges would come before their turn. */
        if (from >= to || (r->outer.made > 1 && (from || to < in->made))) from = to = 0;
    }
    train_conv_taps(node, r, g, to, in->made);
    if (from < to) {
        const uint32_t tap[2] = {0, 0};
        const lstmc_run_of inside = {from, to - from};
        train_conv_sums(node, r, g, tap, d->filters.k, lstmc_axis_outputs(&r->outer, 0), inside);
        train_conv_taps(node, r, g, 0, from);
    }
}

static void train_conv_weight_part(void *argument, uint32_t part) {
    const train_conv_shared *s = (const train_conv_shared *)argument;
    const lstmc_train_conv *d = (const lstmc_train_conv *)s->node->prepared;
    const uint32_t end = lstmc_part_start(s->panels, s->parts, part + 1);
    for (uint32_t b = 0; b < lstmc_batch(s->call); b++) {
        const lstmc_conv_row r = train_conv_shared_row(s, b);
        train_conv_panels g;
        for (uint32_t p = lstmc_part_start(s->panels, s->parts, part); p < end; p = g.end) {
            g = train_conv_panels_from(&d->filters, p, end);
            train_conv_row_taps(s->node, &r, &g);
        }
    }
}

/* dx of `rows` places, inner stride apart, which these taps see. */
static void train_conv_places(const lstmc_train_node *node, const lstmc_conv_row *r, float *dx,
                              uint32_t rows, lstmc_seen_by outer, lstmc_seen_by inner) {
    const lstmc_train_conv *d = (const lstmc_train_conv *)node->prepared;
    const lstmc_filters *f = &d->filters;
    const size_t next = (size_t)r->inner.stride * d->channels;
    const ptrdiff_t back = -(ptrdiff_t)(r->inner.phases * r->inner.y_stride);
    const size_t hop = (size_t)r->inner.hop * r->outer.taps;
    const float *dp = r->dp + outer.output * r->outer.y_stride + inner.output * r->inner.y_stride;
    const size_t tap = (size_t)inner.tap * r->outer.taps + outer.tap;
    const ptrdiff_t outer_back = -(ptrdiff_t)(r->outer.phases * r->outer.y_stride);
    if (!outer.count || !inner.count) {
        for (uint32_t i = 0; i < rows; i++) lstmc_zeros(dx + i * next, d->channels);
    } else if (f->depthwise) {
        for (uint32_t i = 0; i < f->units; i += f->panel) {
            const uint32_t width = lstmc_panel_width(f->units, f->panel, i / f->panel);
            for (uint32_t row = 0; row < rows; row++) {
                const lstmc_dots_args a = {.a = dp + row * r->inner.y_stride + i,
                                           .a_step = back,
                                           .a_block = outer_back,
                                           .b = f->weight + (size_t)i * f->k + tap * width,
                                           .b_step = (ptrdiff_t)(hop * width),
                                           .b_block = (ptrdiff_t)(r->outer.hop * width),
                                           .count = inner.count,
                                           .blocks = outer.count,
                                           .c = dx + row * next + i,
                                           .n = f->units - i < width ? f->units - i : width,
                                           .zero = 1,
                                           .flush = 1};
                LSTMC_TRAIN_KERNEL(node->kernels, dots, &a);
            }
        }
    } else {
        const size_t stride = lstmc_plain_stride(f->k);
        for (uint32_t m = 0; m < outer.count; m++) {
            const size_t column = (tap + (size_t)m * r->outer.hop) * d->channels;
            const lstmc_gemm_args a = {.a = dp + (ptrdiff_t)m * outer_back,
                                       .a_step = 1,
                                       .a_block = back,
                                       .a_next = (ptrdiff_t)r->inner.y_stride,
                                       .b = node->packed + column,
                                       .b_step = (ptrdiff_t)stride,
                                       .b_block = (ptrdiff_t)(hop * d->channels),
                                       .c = dx,
                                       .c_next = next,
                                       .c_panel = 16,
                                       .rows = rows,
                                       .count = f->units,
                                       .blocks = inner.count,
                                       .gates = 1,
                                       .units = d->channels,
                                       .panel = 16,
                                       .wide = 1,
                                       .zero = m == 0,
                                       .flush = m + 1 == outer.count};
            LSTMC_TRAIN_KERNEL(node->kernels, gemm, &a);
        }
    }
}

/* The same without a plain copy of the weights, for one place: one number after another. */
static void train_conv_direct(const lstmc_train_conv *d, const lstmc_conv_row *r, float *dx,
                              lstmc_seen_by outer, lstmc_seen_by inner) {
    const lstmc_filters *f = &d->filters;
    for (uint32_t i = 0; i < d->channels; i++) {
        float sum = 0.0f;
        for (uint32_t m = 0; m < outer.count * inner.count; m++) {
            const uint32_t o = m / inner.count, n = m % inner.count;
            const size_t t = outer.output - (size_t)o * r->outer.phases;
            const size_t p = inner.output - (size_t)n * r->inner.phases;
            const size_t tap = (inner.tap + (size_t)n * r->inner.hop) * r->outer.taps + outer.tap +
                               (size_t)o * r->outer.hop;
            const float *dp = r->dp + t * r->outer.y_stride + p * r->inner.y_stride;
            for (uint32_t u = 0; u < f->units; u++) {
                const uint32_t panel = u / f->panel;
                const uint32_t width = lstmc_panel_width(f->units, f->panel, panel);
                const float *w = f->weight + (size_t)panel * f->panel * f->k + u % f->panel;
                sum = lstmc_fmaf(w[(tap * d->channels + i) * width], dp[u], sum);
            }
        }
        dx[i] = lstmc_flush(sum);
    }
}

static int train_conv_alike(const lstmc_seen_by *a, const lstmc_seen_by *b, uint32_t further) {
    return a->count == b->count &&
           (!a->count || (a->tap == b->tap && a->output + further == b->output));
}

/* dx of all inner places of an outer one, dx at the first; the first `skip` are the past. */
static void train_conv_line(const lstmc_train_node *node, const lstmc_conv_row *r, float *dx,
                            lstmc_seen_by outer, uint32_t skip) {
    const lstmc_train_conv *d = (const lstmc_train_conv *)node->prepared;
    const lstmc_axis *in = &r->inner;
    const size_t each = d->channels;
    for (uint32_t phase = 0; phase < in->stride && skip + phase < in->places; phase++) {
        for (uint32_t at = skip + phase; at < in->places;) {
            const lstmc_seen_by seen = lstmc_axis_seen(in, at);
            uint32_t rows = 1;
            float *to = dx + (size_t)(at - skip) * each;
            while (in->places - at > rows * in->stride) { /* as many as have the same taps */
                const lstmc_seen_by next = lstmc_axis_seen(in, at + rows * in->stride);
                if (!train_conv_alike(&seen, &next, rows)) break;
                rows++;
            }
            if (d->plain || d->filters.depthwise) {
                train_conv_places(node, r, to, rows, outer, seen);
            } else {
                for (uint32_t i = 0; i < rows; i++) {
                    lstmc_seen_by one = seen;
                    one.output += i;
                    train_conv_direct(d, r, to + (size_t)i * in->stride * each, outer, one);
                }
            }
            if (in->places - at <= rows * in->stride) break;
            at += rows * in->stride;
        }
    }
}

static void train_conv_input_part(void *argument, uint32_t part) {
    const train_conv_shared *s = (const train_conv_shared *)argument;
    const lstmc_train_conv *d = (const lstmc_train_conv *)s->node->prepared;
    const lstmc_view *dx = s->node->dx;
    const uint32_t batch = lstmc_batch(s->call), steps = lstmc_steps(s->call, d->x);
    const uint32_t end = lstmc_part_start(batch, s->parts, part + 1);
    for (uint32_t b = lstmc_part_start(batch, s->parts, part); b < end; b++) {
        const lstmc_conv_row r = train_conv_shared_row(s, b);
        if (d->flat) {
            const lstmc_seen_by outer = {0, 0, 1};
            train_conv_line(s->node, &r, lstmc_at(dx, b, 0), outer, d->past);
        } else {
            for (uint32_t t = 0; t < r.n; t++) {
                train_conv_line(s->node, &r, lstmc_at(dx, b, t),
                                lstmc_axis_seen(&r.outer, t + d->past), 0);
            }
        }
        lstmc_zero_steps(dx, d->time.features, b, r.n, steps);
    }
}

/* Scratch: dp, copies of x. */
void lstmc_train_conv_backward(const lstmc_train_node *node, const lstmc_call *call) {
    const lstmc_train_conv *d = (const lstmc_train_conv *)node->prepared;
    const lstmc_filters *f = &d->filters;
    const lstmc_view *y = call->views + d->y, *dy = node->dy;
    const uint32_t batch = lstmc_batch(call), steps = lstmc_steps(call, d->y);
    const size_t width = lstmc_train_conv_width(d), past = lstmc_train_conv_past(d);
    const size_t row = past + (size_t)lstmc_steps(call, d->x) * d->time.features;
    const float *kept = lstmc_train_conv_kept(node, call);
    train_conv_shared s = {.node = node, .call = call, .dp = call->scratch};
    s.x = s.dp + (size_t)batch * steps * width;
    for (uint32_t b = 0; b < batch; b++) {
        const uint32_t made = lstmc_train_conv_steps(d, call, b);
        float *dp = s.dp + (size_t)b * steps * width;
        for (uint32_t t = 0; t < made; t++) {
            const float *p = d->keep ? node->saved + ((size_t)b * steps + t) * width : NULL;
            LSTMC_TRAIN_KERNEL(node->kernels, map_back, &f->fn, p, lstmc_at(y, b, t),
                               lstmc_at(dy, b, t), dp + t * width, width);
        }
        if (d->copied) lstmc_train_conv_copy(node, call, b, kept + b * past, s.x + b * row);
    }
    const float work = (float)batch * (float)steps * (float)width * (float)f->k;
    s.panels = lstmc_panel_count(f->units, f->panel);
    if (d->dweight || d->dbias) {
        s.parts = lstmc_parts(call, work, s.panels);
        lstmc_for_parts(call, s.parts, train_conv_weight_part, &s);
    }
    if (!node->dx[0].data) return;
    s.parts = lstmc_parts(call, work, batch);
    lstmc_for_parts(call, s.parts, train_conv_input_part, &s);
}
