/* Products of backward, over rows and steps. */
#include "train.h"

#include "../kernels/soft_fma.h"

/* Inputs of a tile of a weight's gradient at most, of all targets: a part has whole ones. */
#define WEIGHT_TILE 6u
/* These come once a call, when another thread may be asleep: a part must be worth waking it. */
#define ONCE 8.0f
#define FETCHED 8.0f

/* ------------------------------------------------------------------------------ weight gradients -- */

/* Where a step is that lies in the order of time, or in its reverse. */
static const float *step_of(const lstmc_view *v, uint32_t b, uint32_t t, uint32_t steps,
                            uint32_t back) {
    return lstmc_at(v, b, back ? steps - 1 - t : t);
}

/* The same of a view that has only some steps of one row. */
static const float *some_of(const lstmc_weight_args *w, const lstmc_view *v, uint32_t some,
                            uint32_t b, uint32_t t, uint32_t steps, uint32_t back) {
    if (!some) return step_of(v, b, t, steps, back);
    return lstmc_at(v, 0, (back ? steps - 1 - t : t) - w->first);
}

/* The panels [from, end), all of one width. */
static void diagonal_panels(const lstmc_train_node *node, const lstmc_weight_args *w,
                            const lstmc_gemm_args *g, uint32_t width, const float *x) {
    lstmc_diagonal_args d;
    d.x = x;
    d.x_step = g->a_step;
    d.x_block = g->a_block;
    d.dy = g->b;
    d.dy_step = g->b_step;
    d.dy_block = g->b_block;
    d.dw = g->c;
    d.dw_panel = g->c_panel;
    d.count = g->count;
    d.blocks = g->blocks;
    d.units = g->units;
    d.panel = width;
    LSTMC_TRAIN_KERNEL(width == w->panel ? node->full : node->half, diagonal, &d);
}

/* What a thread takes of a weight: the panels [from, end), of each the inputs [k0, k1). */
typedef struct weight_range {
    uint32_t from, end, k0, k1;
} weight_range;

/* dw of `blocks` rows from b on, of the times [t0, t0 + count) of `steps`. */
static void weight_block(const lstmc_train_node *node, const lstmc_weight_args *w, uint32_t steps,
                         uint32_t b, uint32_t blocks, uint32_t t0, uint32_t count,
                         const weight_range *range) {
    lstmc_gemm_args g;
    const uint32_t first = w->ascending ? t0 : t0 + count - 1, of = w->of ? w->of : w->gates;
    const ptrdiff_t sign = w->ascending ? 1 : -1;
    g.a = some_of(w, &w->x, w->some && w->x_some, b, first, steps, w->x_back) + range->k0;
    g.a_step = (w->x_back ? -sign : sign) * (ptrdiff_t)w->x.time_stride;
    g.a_block = (ptrdiff_t)w->x.batch_stride;
    g.a_next = 1;
    g.b_step = (w->dy_back ? -sign : sign) * (ptrdiff_t)w->dy.time_stride;
    g.b_block = (ptrdiff_t)w->dy.batch_stride;
    g.b_gate = w->dy_gate;
    g.rows = range->k1 - range->k0;
    g.count = count;
    g.blocks = blocks;
    g.gates = w->gates;
    g.padded = 1;
    g.wide = 0;
    g.zero = g.flush = 0;
    const float *dy = some_of(w, &w->dy, w->some, b, first, steps, w->dy_back);
    for (uint32_t p = range->from, end = range->end; p < end;) { /* panels of one width */
        const uint32_t width = lstmc_panel_width(w->units, w->panel, p);
        uint32_t last = p + 1;
        while (last < end && lstmc_panel_width(w->units, w->panel, last) == width) last++;
        g.panel = width;
        g.units = last == lstmc_panel_count(w->units, w->panel) ? w->units - p * w->panel
                                                                : (last - p) * w->panel;
        g.b = dy + (size_t)p * w->panel;
        g.c = w->dw + (size_t)p * w->panel * of * w->k + ((size_t)range->k0 * of + w->at) * width;
        g.c_panel = (size_t)of * w->k * width;
        g.c_gate = width;
        g.c_next = (size_t)of * width;
        if (w->diagonal) {
            diagonal_panels(node, w, &g, width, g.a + (size_t)p * w->panel);
        } else {
            LSTMC_TRAIN_KERNEL(width == w->panel ? node->full : node->half, gemm, &g);
        }
        p = last;
    }
}

/* A mask cuts a row into runs of steps that count. */
static int counts(const lstmc_weight_args *w, uint32_t b, uint32_t t) {
    return !w->mask || w->mask[b * w->mask_batch_stride + t * w->mask_time_stride] != 0.0f;
}

/* Of the times [t0, t1) of a row. */
static void weight_row(const lstmc_train_node *node, const lstmc_weight_args *w, uint32_t steps,
                       uint32_t b, uint32_t t0, uint32_t t1, const weight_range *range) {
    const uint32_t all = t1 - t0;
    for (uint32_t i = 0; i < all;) {
        uint32_t n = 0; /* steps of a run, in the order of the sum */
        while (i < all && !counts(w, b, w->ascending ? t0 + i : t1 - 1 - i)) i++;
        while (i + n < all && counts(w, b, w->ascending ? t0 + i + n : t1 - 1 - i - n)) n++;
        if (n) {
            const uint32_t first = w->ascending ? t0 + i : t1 - i - n;
            weight_block(node, w, steps, b, 1, first, n, range);
        }
        i += n;
    }
}

typedef struct weight_shared {
    const lstmc_train_node *node;
    const lstmc_call *call;
    const lstmc_weight_args *args;
    uint32_t panels, parts;
    uint32_t tiles; /* 0: parts are of panels; else all take all panels, and some tiles of inputs */
} weight_shared;

static void weight_part(void *argument, uint32_t part) {
    const weight_shared *s = (const weight_shared *)argument;
    const lstmc_call *call = s->call;
    const lstmc_weight_args *w = s->args;
    const uint32_t count = s->tiles ? s->tiles : s->panels;
    const uint32_t first = lstmc_part_start(count, s->parts, part);
    const uint32_t last = lstmc_part_start(count, s->parts, part + 1);
    weight_range range = {first, last, 0, w->k};
    if (s->tiles) {
        range.from = 0;
        range.end = s->panels;
        range.k0 = first * WEIGHT_TILE;
        if (last < count) range.k1 = last * WEIGHT_TILE;
    }
    const uint32_t steps = lstmc_steps(call, w->id);
    if (w->some) {
        const uint32_t t0 = w->dy_back ? steps - w->first - w->count : w->first;
        const uint32_t valid = lstmc_row_steps(call, w->id, w->row);
        const uint32_t t1 = t0 + w->count < valid ? t0 + w->count : valid;
        if (t0 < t1) weight_row(s->node, w, steps, w->row, t0, t1, &range);
    } else if (!lstmc_lengths(call) && !w->mask) {
        weight_block(s->node, w, steps, 0, lstmc_batch(call), 0, steps, &range);
    } else {
        for (uint32_t b = 0; b < lstmc_batch(call); b++) {
            weight_row(s->node, w, steps, b, 0, lstmc_row_steps(call, w->id, b), &range);
        }
    }
}

/* Whether a few panels, the last of them narrow, leave a thread idle for an eighth of the time. Parts of
 * inputs don't, but each reads all of dy. */
static int uneven(const lstmc_call *call, const lstmc_weight_args *w, uint32_t panels) {
    const uint64_t threads = lstmc_threads(call);
    const uint64_t turns = (panels - 1) / threads + 1;
    return 8 * turns * threads * w->panel > (uint64_t)9 * w->units;
}

void lstmc_weight_gradient(const lstmc_train_node *node, const lstmc_call *call,
                           const lstmc_weight_args *args) {
    weight_shared s = {node, call, args, lstmc_panel_count(args->units, args->panel), 1, 0};
    const float rows = args->some ? (float)args->count
                                  : (float)lstmc_batch(call) * (float)lstmc_steps(call, args->id);
    /* A number of dy that is fetched takes as long as some products of it. */
    const float each = (float)args->k + FETCHED;
    const float work = rows * each * (float)args->units * (float)args->gates;
    const uint32_t tiles = (args->k + WEIGHT_TILE - 1) / WEIGHT_TILE;
    if (!args->diagonal && tiles > 1 && uneven(call, args, s.panels)) s.tiles = tiles;
    s.parts = lstmc_even_parts(call, work / ONCE, s.tiles ? tiles : s.panels);
    lstmc_for_parts(call, s.parts, weight_part, &s);
}

void lstmc_bias_gradient(const lstmc_train_node *node, const lstmc_call *call,
                         const lstmc_weight_args *args) {
    float one = 1.0f;
    lstmc_weight_args w = *args;
    w.x.data = &one;
    w.x.batch_stride = w.x.time_stride = 0;
    w.k = 1;
    lstmc_weight_gradient(node, call, &w);
}

/* ------------------------------------------------------------------------------- input gradients -- */

void lstmc_plain_weights(const float *w, uint32_t gates, uint32_t units, uint32_t k, uint32_t panel,
                         float *plain) {
    const size_t stride = lstmc_plain_stride(k);
    for (uint32_t g = 0; g < gates; g++) {
        for (uint32_t u = 0; u < units; u++) {
            const uint32_t p = u / panel, width = lstmc_panel_width(units, panel, p);
            const float *from = w + (size_t)p * panel * gates * k + (size_t)g * width + u % panel;
            float *to = plain + ((size_t)g * units + u) * stride;
            for (uint32_t i = 0; i < k; i++) to[i] = from[(size_t)i * gates * width];
            lstmc_zeros(to + k, stride - k);
        }
    }
}

/* Without a plain copy: four numbers of dx side by side, from number i on. Where there are fewer, the last
 * one is computed again. */
static void input_four(const lstmc_input_args *n, const float *dy, float *dx, uint32_t i) {
    const size_t of = n->of ? n->of : n->gates, first = i * of + n->at;
    const uint32_t last = n->k - i < 4 ? n->k - i - 1 : 3;
    const uint32_t at1 = last < 1 ? last : 1, at2 = last < 2 ? last : 2;
    float sum0 = 0.0f, sum1 = 0.0f, sum2 = 0.0f, sum3 = 0.0f;
    if (n->add) {
        sum0 = dx[0];
        sum1 = dx[at1];
        sum2 = dx[at2];
        sum3 = dx[last];
    }
    for (uint32_t g = 0; g < n->gates; g++) {
        const float *d = dy + (size_t)g * n->dy_gate, *panel = n->w;
        for (uint32_t p = 0, left = n->units; left; p++) {
            const uint32_t width = lstmc_panel_width(n->units, n->panel, p);
            const uint32_t units = left < width ? left : width;
            const float *w0 = panel + (first + g) * width, *w1 = w0 + at1 * of * width;
            const float *w2 = w0 + at2 * of * width, *w3 = w0 + last * of * width;
            for (uint32_t u = 0; u < units; u++) {
                sum0 = lstmc_fmaf(w0[u], d[u], sum0);
                sum1 = lstmc_fmaf(w1[u], d[u], sum1);
                sum2 = lstmc_fmaf(w2[u], d[u], sum2);
                sum3 = lstmc_fmaf(w3[u], d[u], sum3);
            }
            panel += (size_t)width * of * n->k;
            d += units;
            left -= units;
        }
    }
    dx[last] = n->raw ? sum3 : lstmc_flush(sum3);
    dx[at2] = n->raw ? sum2 : lstmc_flush(sum2);
    dx[at1] = n->raw ? sum1 : lstmc_flush(sum1);
    dx[0] = n->raw ? sum0 : lstmc_flush(sum0);
}

void lstmc_input_rows(const lstmc_train_node *node, const lstmc_input_args *args, const float *dy,
                      ptrdiff_t dy_stride, float *dx, size_t dx_stride, uint32_t rows) {
    const lstmc_input_args *n = args;
    if (!n->plain) {
        for (uint32_t r = 0; r < rows; r++) {
            for (uint32_t i = 0; i < n->k; i += 4) {
                input_four(n, dy + (ptrdiff_t)r * dy_stride, dx + r * dx_stride + i, i);
            }
        }
        return;
    }
    lstmc_gemm_args g;
    g.a = dy;
    g.a_step = 1;
    g.a_block = (ptrdiff_t)n->dy_gate;
    g.a_next = dy_stride;
    g.b_step = (ptrdiff_t)lstmc_plain_stride(n->k);
    g.b_block = g.b_step * (ptrdiff_t)n->units;
    g.b = n->plain + (ptrdiff_t)n->at * g.b_block;
    g.b_gate = 0;
    g.c = dx;
    g.c_next = dx_stride;
    g.c_gate = 0;
    g.c_panel = g.panel = 16;
    g.rows = rows;
    g.count = n->units;
    g.blocks = n->gates;
    g.gates = 1;
    g.units = n->k;
    g.padded = 0;
    g.wide = 1;
    g.zero = !n->add;
    g.flush = !n->raw;
    LSTMC_TRAIN_KERNEL(node->kernels, gemm, &g);
}

typedef struct input_shared {
    const lstmc_train_node *node;
    const lstmc_input_args *args;
    uint32_t rows, parts, even;
} input_shared;

static void input_part(void *argument, uint32_t part) {
    const input_shared *s = (const input_shared *)argument;
    const lstmc_input_args *n = s->args;
    const uint32_t from = lstmc_part_start(s->rows, s->parts, part);
    const uint32_t end = lstmc_part_start(s->rows, s->parts, part + 1);
    if (s->even) {
        const size_t dy = n->steps == 1 ? n->dy.batch_stride : n->dy.time_stride;
        const size_t dx = n->steps == 1 ? n->dx.batch_stride : n->dx.time_stride;
        lstmc_input_rows(s->node, n, n->dy.data + from * dy, (ptrdiff_t)dy, n->dx.data + from * dx,
                         dx, end - from);
        return;
    }
    for (uint32_t b = from; b < end; b++) {
        const ptrdiff_t stride = (ptrdiff_t)n->dy.time_stride;
        lstmc_input_rows(s->node, n, step_of(&n->dy, b, 0, n->steps, n->dy_back),
                         n->dy_back ? -stride : stride, n->dx.data + b * n->dx.batch_stride,
                         n->dx.time_stride, n->steps);
    }
}

void lstmc_input_gradient(const lstmc_train_node *node, const lstmc_call *call,
                          const lstmc_input_args *args) {
    const lstmc_input_args *n = args;
    input_shared s = {node, args, n->rows, 1, 0};
    s.even = n->steps == 1 || (!n->dy_back && n->dx.batch_stride == n->steps * n->dx.time_stride &&
                               n->dy.batch_stride == n->steps * n->dy.time_stride);
    if (s.even) s.rows *= n->steps;
    const float work =
        (float)n->rows * (float)n->steps * (float)n->k * (float)n->units * (float)n->gates;
    s.parts = lstmc_even_parts(call, work / ONCE, s.rows);
    lstmc_for_parts(call, s.parts, input_part, &s);
}
