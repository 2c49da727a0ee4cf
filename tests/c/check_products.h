/* Checks of the kernels that multiply: lstm_row and its like, matmul, depthwise. */
#ifndef CHECK_PRODUCTS_H
#define CHECK_PRODUCTS_H

#include "check.h"

/* ------------------------------------------------------------------------------------- LSTM and GRU -- */

static struct {
    lstmc_step_args args;
    uint32_t gates; /* 4: LSTM, 3: GRU */
    buffer *w[2], *v[2], *init, *more, *before, *c, *h, *y, *part;
} fused;

static lstmc_step_args fused_args(int copy) {
    lstmc_step_args a = fused.args;
    for (int i = 0; i < 2; i++) {
        a.segment[i].w = copy_of(fused.w[i], copy);
        a.segment[i].v = copy_of(fused.v[i], copy);
    }
    a.init = copy_of(fused.init, copy);
    a.more = copy_of(fused.more, copy);
    a.before = copy_of(fused.before, copy);
    a.c = copy_of(fused.c, copy);
    a.h = copy_of(fused.h, copy);
    a.y = copy_of(fused.y, copy);
    a.part = copy_of(fused.part, copy);
    return a;
}

static uint32_t draw_fused(uint32_t gates, uint32_t rows, uint32_t panels, int init_rows) {
    static const char *const names[4] = {"weight_ih", "weight_hh", "x", "v"};
    lstmc_step_args *a = &fused.args;
    memset(&fused, 0, sizeof fused);
    fused.gates = gates;
    const uint32_t panel = draw_panel(), padded = panel * panels;
    a->panel = panel;
    a->panels = panels;
    a->rows = rows;
    a->units = between(1, padded + panel); /* further panels may follow */
    a->backwards = below(2);
    const size_t real = a->units < padded ? a->units : padded;
    for (int i = 0; i < 2; i++) {
        lstmc_segment *s = &a->segment[i];
        s->k = one_in(4) ? 0 : draw_k();
        while ((size_t)s->k * gates * padded > LARGEST) s->k /= 2;
        s->stride = s->k + (one_in(2) ? 0 : below(20));
        fused.w[i] = draw_buffer(names[i], (size_t)s->k * gates * padded);
        fused.v[i] = draw_buffer(names[2 + i], (rows - 1) * s->stride + s->k);
    }
    a->state_stride = padded + (one_in(2) ? 0 : below(20));
    a->y_stride = real + (one_in(2) ? 0 : below(20));
    a->init_stride = init_rows ? gates * padded + (one_in(2) ? 0 : below(20)) : 0;
    fused.init = draw_buffer("init", (rows - 1) * a->init_stride + gates * padded);
    if (gates == 4) {
        fused.c = draw_buffer("c", (rows - 1) * a->state_stride + padded);
    } else {
        fused.more = draw_buffer("more", padded);
        fused.before = draw_buffer("before", (rows - 1) * a->state_stride + padded);
    }
    fused.h = draw_buffer("h", (rows - 1) * a->state_stride + padded);
    if (!one_in(3)) fused.y = draw_buffer("y", (rows - 1) * a->y_stride + real);
    a->plain = below(2);
    a->gate = draw_fn(1);
    a->candidate = draw_fn(1);
    a->output = draw_fn(1);
    if (a->plain || one_in(4)) { /* these three also come without the mark */
        a->gate.kind = LSTMC_FN_SIGMOID;
        a->candidate.kind = a->output.kind = LSTMC_FN_TANH;
    }
    snprintf(sizes, sizeof sizes, "rows %lu, panels %lu of %lu, units %lu, k %lu + %lu, plain %lu",
             (unsigned long)rows, (unsigned long)panels, (unsigned long)panel,
             (unsigned long)a->units, (unsigned long)a->segment[0].k,
             (unsigned long)a->segment[1].k, (unsigned long)a->plain);
    return panel;
}

static uint32_t draw_fused_rows(uint32_t gates) {
    const uint32_t rows = one_in(6) ? between(1, 40) : between(1, 14);
    const uint32_t panel = draw_fused(gates, rows, 1, one_in(2));
    fused.part = draw_buffer("part", (size_t)rows * 4 * panel);
    fused.part->scratch = 1;
    return panel;
}

static uint32_t draw_lstm_row(void) { return draw_fused(4, 1, between(1, 5), 0); }
static uint32_t draw_gru_row(void) { return draw_fused(3, 1, between(1, 5), 0); }
static uint32_t draw_lstm_rows(void) { return draw_fused_rows(4); }
static uint32_t draw_gru_rows(void) { return draw_fused_rows(3); }

#define CALL_FUSED(name)                                                                           \
    static void call_##name(const lstmc_kernels *kernels, int copy) {                              \
        const lstmc_step_args a = fused_args(copy);                                                \
        kernels->name(&a);                                                                         \
    }
CALL_FUSED(lstm_row)
CALL_FUSED(lstm_rows)
CALL_FUSED(gru_row)
CALL_FUSED(gru_rows)

/* The sum of a gate goes on from `start` over the segments [first, last). */
static float plain_chain(const lstmc_step_args *a, size_t unit, size_t row, size_t gate,
                         float start, int first, int last) {
    const size_t panel = a->panel, base = unit / panel * panel * fused.gates;
    for (int i = first; i < last; i++) {
        const lstmc_segment *s = &a->segment[i];
        const float *w = s->w + base * s->k + gate * panel + unit % panel;
        for (size_t k = 0; k < s->k; k++) {
            start = plain_fma(w[k * fused.gates * panel], s->v[row * s->stride + k], start);
        }
    }
    return start;
}

static float plain_lstm_unit(const lstmc_step_args *a, size_t row, size_t unit, const float *p) {
    float *c = a->c + row * a->state_stride + unit;
    const float in = plain_fn(&a->gate, p[0]) * plain_fn(&a->candidate, p[2]);
    *c = plain_flush(plain_fma(plain_fn(&a->gate, p[1]), *c, in));
    return plain_flush(plain_fn(&a->gate, p[3]) * plain_fn(&a->output, *c));
}

/* p is r z n, q the part of n that h is in */
static float plain_gru_unit(const lstmc_step_args *a, size_t row, size_t unit, const float *p,
                            float q) {
    const float r = plain_fn(&a->gate, p[0]), z = plain_fn(&a->gate, p[1]);
    const float n = plain_fn(&a->candidate, plain_fma(r, q, p[2]));
    const float rest = (1.0f - z) * n;
    return plain_flush(plain_fma(z, a->before[row * a->state_stride + unit], rest));
}

static void plain_fused(int copy) {
    const lstmc_step_args a = fused_args(copy);
    const size_t panel = a.panel, gates = fused.gates;
    for (size_t row = 0; row < a.rows; row++) {
        for (size_t unit = 0; unit < panel * a.panels; unit++) {
            float p[4], q = 0.0f, h;
            for (size_t gate = 0; gate < gates; gate++) {
                p[gate] = a.init[row * a.init_stride + unit / panel * panel * gates + gate * panel +
                                 unit % panel];
                p[gate] =
                    plain_chain(&a, unit, row, gate, p[gate], 0, gates == 3 && gate == 2 ? 1 : 2);
            }
            if (gates == 3) q = plain_chain(&a, unit, row, 2, a.more[unit], 1, 2);
            h = gates == 4 ? plain_lstm_unit(&a, row, unit, p)
                           : plain_gru_unit(&a, row, unit, p, q);
            a.h[row * a.state_stride + unit] = h;
            if (a.y && unit < a.units) a.y[row * a.y_stride + unit] = h;
        }
    }
}

/* -------------------------------------------------------------------------------------- matmul -- */

static struct {
    lstmc_matmul_args args;
    buffer *w, *x, *init, *y;
} product;

static lstmc_matmul_args matmul_args(int copy) {
    lstmc_matmul_args a = product.args;
    a.w = copy_of(product.w, copy);
    a.x = copy_of(product.x, copy);
    a.init = copy_of(product.init, copy);
    a.y = copy_of(product.y, copy);
    return a;
}

static uint32_t draw_matmul(void) {
    lstmc_matmul_args *a = &product.args;
    memset(&product, 0, sizeof product);
    const uint32_t panel = draw_panel() * (one_in(3) ? between(2, 4) : 1); /* gates in it, too */
    a->panel = panel;
    a->columns = between(1, panel * between(1, 4));
    a->rows = one_in(6) ? between(1, 40) : between(1, 14);
    a->k = one_in(12) ? 0 : draw_k();
    a->raw = below(3) == 0;
    a->fn = draw_fn(one_in(2));
    const size_t padded = (a->columns + (size_t)panel - 1) / panel * panel;
    while (a->k * padded > LARGEST) a->k /= 2;
    a->x_stride = a->k + (one_in(2) ? 0 : below(20));
    a->y_stride = a->columns + (one_in(2) ? 0 : below(20));
    product.w = draw_buffer("w", a->k * padded);
    product.x = draw_buffer("x", (a->rows - 1) * a->x_stride + a->k);
    product.y = draw_buffer("y", (a->rows - 1) * a->y_stride + a->columns);
    const uint32_t kind = below(4);
    if (kind == 0) { /* a sum goes on where it is */
        a->init_stride = a->y_stride;
        product.init = product.y;
    } else if (kind == 1) {
        a->init_stride = a->columns + (one_in(2) ? 0 : below(20));
        product.init = draw_buffer("init", (a->rows - 1) * a->init_stride + a->columns);
    } else {
        product.init = draw_buffer("init", padded);
    }
    snprintf(sizes, sizeof sizes, "rows %lu, columns %lu in panels of %lu, k %lu, init %lu, fn %lu",
             (unsigned long)a->rows, (unsigned long)a->columns, (unsigned long)panel,
             (unsigned long)a->k, (unsigned long)kind, a->raw ? 999 : (unsigned long)a->fn.kind);
    return panel;
}

static void call_matmul(const lstmc_kernels *kernels, int copy) {
    const lstmc_matmul_args a = matmul_args(copy);
    kernels->matmul(&a);
}

static void plain_matmul(int copy) {
    const lstmc_matmul_args a = matmul_args(copy);
    for (size_t row = 0; row < a.rows; row++) {
        for (size_t n = 0; n < a.columns; n++) {
            const float *w = a.w + n / a.panel * a.panel * a.k + n % a.panel;
            float p = a.init[row * a.init_stride + n];
            for (size_t k = 0; k < a.k; k++) {
                p = plain_fma(w[k * a.panel], a.x[row * a.x_stride + k], p);
            }
            a.y[row * a.y_stride + n] = a.raw ? p : plain_flush(plain_fn(&a.fn, p));
        }
    }
}

/* ----------------------------------------------------------------------------------- depthwise -- */

static struct {
    lstmc_depthwise_args args;
    buffer *w, *x, *init, *y;
} depthwise;

static lstmc_depthwise_args depthwise_args(int copy) {
    lstmc_depthwise_args a = depthwise.args;
    a.w = copy_of(depthwise.w, copy);
    a.x = copy_of(depthwise.x, copy);
    a.init = copy_of(depthwise.init, copy);
    a.y = copy_of(depthwise.y, copy);
    return a;
}

static uint32_t draw_depthwise(void) {
    lstmc_depthwise_args *a = &depthwise.args;
    memset(&depthwise, 0, sizeof depthwise);
    const uint32_t panel = draw_panel();
    a->panel = panel;
    a->columns = between(1, panel * between(1, 4));
    a->rows = between(1, 9);
    a->taps = skewed(40);
    a->fn = draw_fn(one_in(2));
    const size_t padded = (a->columns + (size_t)panel - 1) / panel * panel;
    a->tap_stride = a->columns + (one_in(2) ? 0 : below(20));
    a->x_stride = one_in(2) ? a->tap_stride : below(3) * a->tap_stride + below(20);
    a->y_stride = a->columns + (one_in(2) ? 0 : below(20));
    const size_t taps = a->taps ? (a->taps - 1) * a->tap_stride + a->columns : 0;
    depthwise.w = draw_buffer("w", padded * a->taps);
    depthwise.x = draw_buffer("x", taps ? (a->rows - 1) * a->x_stride + taps : 0);
    depthwise.init = draw_buffer("init", padded);
    depthwise.y = draw_buffer("y", (a->rows - 1) * a->y_stride + a->columns);
    snprintf(sizes, sizeof sizes, "rows %lu, columns %lu in panels of %lu, taps %lu, fn %lu",
             (unsigned long)a->rows, (unsigned long)a->columns, (unsigned long)panel,
             (unsigned long)a->taps, (unsigned long)a->fn.kind);
    return panel;
}

static void call_depthwise(const lstmc_kernels *kernels, int copy) {
    const lstmc_depthwise_args a = depthwise_args(copy);
    kernels->depthwise(&a);
}

static void plain_depthwise(int copy) {
    const lstmc_depthwise_args a = depthwise_args(copy);
    for (size_t row = 0; row < a.rows; row++) {
        for (size_t c = 0; c < a.columns; c++) {
            const float *w = a.w + c / a.panel * a.panel * a.taps + c % a.panel;
            float p = a.init[c];
            for (size_t k = 0; k < a.taps; k++) {
                const float x = a.x[row * a.x_stride + k * a.tap_stride + c];
                p = plain_fma(w[k * a.panel], plain_flush(x), p);
            }
            a.y[row * a.y_stride + c] = plain_flush(plain_fn(&a.fn, p));
        }
    }
}

#endif
