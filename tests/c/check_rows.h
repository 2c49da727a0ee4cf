/* Checks of the kernels that go over features or steps: map, softmax, affine, layer_norm, combine,
 * reduce, reduce_steps, divide, softmax_steps. */
#ifndef CHECK_ROWS_H
#define CHECK_ROWS_H

#include "check.h"

/* What these kernels take is little, and much the same. */
static struct {
    lstmc_fn fn;
    uint32_t option; /* flush, log, op, rms */
    uint32_t spread, steps;
    size_t n, x_stride, y_stride;
    float number; /* epsilon, divisor */
    buffer *x, *y, *a, *b;
} row;

#define X(copy) copy_of(row.x, copy)
#define Y(copy) copy_of(row.y, copy)

static uint32_t drawn_row(void) {
    snprintf(sizes, sizeof sizes, "n %lu, fn %lu, option %lu, spread %lu, steps %lu, number %.9g",
             (unsigned long)row.n, (unsigned long)row.fn.kind, (unsigned long)row.option,
             (unsigned long)row.spread, (unsigned long)row.steps, (double)row.number);
    return 0;
}

static void draw_n(void) {
    memset(&row, 0, sizeof row);
    row.n = skewed(300) + 1;
}

/* x and y of n floats; or, where a kernel may write where it reads, y alone. */
static void draw_x_y(int in_place) {
    row.y = draw_buffer("y", row.n);
    row.x = in_place && one_in(3) ? row.y : draw_buffer("x", row.n);
}

static float plain_sum(const float *x, size_t n) {
    float sum = 0.0f;
    for (size_t i = 0; i < n; i++) sum = sum + x[i];
    return sum;
}

/* ------------------------------------------------------------------------- map, affine, divide -- */

static uint32_t draw_map(void) {
    draw_n();
    draw_x_y(1);
    row.fn = draw_fn(one_in(3));
    row.option = below(2);
    return drawn_row();
}

static void call_map(const lstmc_kernels *kernels, int copy) {
    kernels->map(&row.fn, row.option, X(copy), Y(copy), row.n);
}

static void plain_map(int copy) {
    for (size_t i = 0; i < row.n; i++) {
        const float y = plain_fn(&row.fn, X(copy)[i]);
        Y(copy)[i] = row.option ? plain_flush(y) : y;
    }
}

static uint32_t draw_affine(void) {
    draw_n();
    draw_x_y(0);
    row.fn = draw_fn(one_in(2));
    if (one_in(2)) row.a = draw_buffer("scale", row.n);
    if (one_in(2)) row.b = draw_buffer("shift", row.n);
    return drawn_row();
}

static void call_affine(const lstmc_kernels *kernels, int copy) {
    kernels->affine(&row.fn, copy_of(row.a, copy), copy_of(row.b, copy), X(copy), Y(copy), row.n);
}

static void plain_affine(int copy) {
    for (size_t i = 0; i < row.n; i++) {
        const float scale = row.a ? row.a->at[copy][i] : 1.0f;
        const float shift = row.b ? row.b->at[copy][i] : 0.0f;
        Y(copy)[i] = plain_flush(plain_fn(&row.fn, plain_fma(scale, X(copy)[i], shift)));
    }
}

static uint32_t draw_divide(void) {
    draw_n();
    draw_x_y(1);
    row.number = one_in(2) ? (float)between(1, 100) : draw_value();
    return drawn_row();
}

static void call_divide(const lstmc_kernels *kernels, int copy) {
    kernels->divide(X(copy), row.number, Y(copy), row.n);
}

static void plain_divide(int copy) {
    for (size_t i = 0; i < row.n; i++) Y(copy)[i] = plain_flush(X(copy)[i] / row.number);
}

/* ------------------------------------------------------------------------- softmax, layer_norm -- */

static uint32_t draw_softmax(void) {
    draw_n();
    draw_x_y(0);
    row.option = below(2);
    return drawn_row();
}

static void call_softmax(const lstmc_kernels *kernels, int copy) {
    kernels->softmax(row.option, X(copy), Y(copy), row.n);
}

static void plain_softmax(int copy) {
    const float *x = X(copy);
    float *y = Y(copy), top = x[0];
    for (size_t i = 1; i < row.n; i++) top = top < x[i] ? x[i] : top;
    for (size_t i = 0; i < row.n; i++) y[i] = plain_kind(LSTMC_FN_EXPONENTIAL, x[i] - top);
    const float sum = plain_sum(y, row.n), log = plain_kind(LSTMC_FN_LOG, sum);
    for (size_t i = 0; i < row.n; i++) {
        y[i] = plain_flush(row.option ? x[i] - top - log : y[i] / sum);
    }
}

static uint32_t draw_layer_norm(void) {
    draw_n();
    draw_x_y(0);
    row.option = below(2);
    row.number = one_in(4) ? 0.0f : 1e-5f;
    if (one_in(4)) { /* where a difference begins to count */
        for (size_t i = 0; i < row.n; i++) X(DRAWN)[i] *= 0x1p-50f;
    }
    if (one_in(2)) row.a = draw_buffer("scale", row.n);
    if (one_in(2)) row.b = draw_buffer("shift", row.n);
    return drawn_row();
}

static void call_layer_norm(const lstmc_kernels *kernels, int copy) {
    lstmc_norm_args a;
    a.x = X(copy);
    a.y = Y(copy);
    a.scale = copy_of(row.a, copy);
    a.shift = copy_of(row.b, copy);
    a.n = row.n;
    a.epsilon = row.number;
    a.rms = row.option;
    kernels->layer_norm(&a);
}

static void plain_layer_norm(int copy) {
    float *d = Y(copy);
    for (size_t i = 0; i < row.n; i++) d[i] = X(copy)[i];
    for (int twice = 0; twice < 2 && !row.option; twice++) {
        const float mean = plain_sum(d, row.n) / (float)row.n;
        for (size_t i = 0; i < row.n; i++) d[i] = d[i] - mean;
    }
    float squares = 0.0f;
    for (size_t i = 0; i < row.n; i++) {
        if (!(fabsf(d[i]) < 0x1p-50f)) squares = plain_fma(d[i], d[i], squares);
    }
    const float variance = squares / (float)row.n;
    const float root = plain_kind(LSTMC_FN_SQRT, variance + row.number);
    for (size_t i = 0; i < row.n; i++) {
        const float scale = row.a ? row.a->at[copy][i] : 1.0f;
        const float shift = row.b ? row.b->at[copy][i] : 0.0f;
        d[i] = plain_flush(plain_fma(d[i] / root, scale, shift));
    }
}

/* ---------------------------------------------------------------------------- combine, reduce -- */

static float plain_combine_two(uint32_t op, float a, float b) {
    switch (op) {
    case LSTMC_COMBINE_ADD: return a + b;
    case LSTMC_COMBINE_SUBTRACT: return a - b;
    case LSTMC_COMBINE_MULTIPLY: return a * b;
    case LSTMC_COMBINE_DIVIDE: return a / b;
    case LSTMC_COMBINE_MAXIMUM: return a != a || a > b ? a : b;
    default: return a != a || a < b ? a : b;
    }
}

static uint32_t draw_combine(void) {
    draw_n();
    row.option = below(LSTMC_COMBINE_MEAN);
    row.spread = below(4);
    row.y = draw_buffer("y", row.n);
    const uint32_t where = below(4); /* y may be an operand */
    row.a = row.spread & LSTMC_SPREAD_A ? draw_buffer("a", 1)
            : where == 0                ? row.y
                                        : draw_buffer("a", row.n);
    row.b = row.spread & LSTMC_SPREAD_B ? draw_buffer("b", 1)
            : where == 1                ? row.y
                                        : draw_buffer("b", row.n);
    return drawn_row();
}

static void call_combine(const lstmc_kernels *kernels, int copy) {
    kernels->combine(row.option, copy_of(row.a, copy), copy_of(row.b, copy), row.spread, Y(copy),
                     row.n);
}

static void plain_combine(int copy) {
    const float *a = row.a->at[copy], *b = row.b->at[copy];
    for (size_t i = 0; i < row.n; i++) {
        const float p = row.spread & LSTMC_SPREAD_A ? *a : a[i];
        const float q = row.spread & LSTMC_SPREAD_B ? *b : b[i];
        Y(copy)[i] = plain_flush(plain_combine_two(row.option, p, q));
    }
}

static uint32_t combine_of(uint32_t reduce) {
    return reduce == LSTMC_REDUCE_MAXIMUM   ? LSTMC_COMBINE_MAXIMUM
           : reduce == LSTMC_REDUCE_MINIMUM ? LSTMC_COMBINE_MINIMUM
                                            : LSTMC_COMBINE_ADD;
}

static uint32_t draw_reduce(void) {
    draw_n();
    row.option = below(LSTMC_REDUCE_COUNT);
    row.x = draw_buffer("x", row.n);
    row.y = draw_buffer("result", 1);
    return drawn_row();
}

static void call_reduce(const lstmc_kernels *kernels, int copy) {
    *Y(copy) = kernels->reduce(row.option, X(copy), row.n);
}

static void plain_reduce(int copy) {
    const float *x = X(copy);
    float r = x[0];
    for (size_t i = 1; i < row.n; i++) r = plain_combine_two(combine_of(row.option), r, x[i]);
    if (row.option == LSTMC_REDUCE_MEAN) r = r / (float)row.n;
    *Y(copy) = plain_flush(r);
}

/* --------------------------------------------------------------------------------------- steps -- */

static void draw_steps(uint32_t least) {
    draw_n();
    row.steps = skewed(30) + least;
    row.x_stride = row.n + (one_in(2) ? 0 : below(20));
    row.y_stride = row.n + (one_in(2) ? 0 : below(20));
    row.x = draw_buffer("x", row.steps ? (row.steps - 1) * row.x_stride + row.n : 0);
}

static uint32_t draw_reduce_steps(void) {
    draw_steps(0);
    row.y = draw_buffer("y", row.n);
    row.option = below(LSTMC_REDUCE_COUNT);
    return drawn_row();
}

static void call_reduce_steps(const lstmc_kernels *kernels, int copy) {
    lstmc_reduce_args a;
    a.x = X(copy);
    a.stride = row.x_stride;
    a.steps = row.steps;
    a.op = row.option;
    a.y = Y(copy);
    a.n = row.n;
    kernels->reduce_steps(&a);
}

static void plain_reduce_steps(int copy) {
    for (size_t i = 0; i < row.n; i++) {
        float y = Y(copy)[i];
        for (size_t t = 0; t < row.steps; t++) {
            const float x = plain_flush(X(copy)[t * row.x_stride + i]);
            y = plain_flush(plain_combine_two(combine_of(row.option), y, x));
        }
        Y(copy)[i] = y;
    }
}

static uint32_t draw_softmax_steps(void) {
    draw_steps(1);
    row.y = draw_buffer("y", (row.steps - 1) * row.y_stride + row.n);
    return drawn_row();
}

static void call_softmax_steps(const lstmc_kernels *kernels, int copy) {
    kernels->softmax_steps(X(copy), row.x_stride, Y(copy), row.y_stride, row.steps, row.n);
}

static void plain_softmax_steps(int copy) {
    for (size_t i = 0; i < row.n; i++) {
        const float *x = X(copy) + i;
        float *y = Y(copy) + i, top = x[0], sum = 0.0f;
        for (size_t t = 1; t < row.steps; t++) {
            const float next = x[t * row.x_stride];
            top = top > next ? top : next; /* after a NaN, all results are NaN */
        }
        for (size_t t = 0; t < row.steps; t++) {
            const float e = plain_kind(LSTMC_FN_EXPONENTIAL, x[t * row.x_stride] - top);
            y[t * row.y_stride] = e;
            sum = sum + e;
        }
        for (size_t t = 0; t < row.steps; t++) {
            y[t * row.y_stride] = plain_flush(y[t * row.y_stride] / sum);
        }
    }
}

#undef X
#undef Y

#endif
