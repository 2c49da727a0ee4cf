/* The kernels of one target: a const table of functions, and what each of them computes.
 *
 * Every kernel computes each output with the same chain of operations, whatever the target, the tile
 * or the blocking: p = init; for k ascending: p = fma(w[k], v[k], p). A partial sum that is stored
 * as float32 in between loses nothing. SIMD lanes run over units, never over k.
 *
 * Weights come in panels (docs/SPEC.md): [k][gates][panel width], the panels one after another.
 */
#ifndef LSTMC_KERNELS_H
#define LSTMC_KERNELS_H

#include "../lstmc.h"
#include "../lstmc_config.h"

#include <string.h>

/* A product's part: k columns of weights, times the vectors v (row r at v + r * stride). */
typedef struct lstmc_segment {
    const float *w; /* of the first panel; the next is k * gates * panel floats on */
    const float *v;
    size_t stride;
    uint32_t k;
} lstmc_segment;

/* Steps of an LSTM: i f g o = init + segment 0 + segment 1, then
 * c = flush(fma(gate(f), c, gate(i) * candidate(g))), h = flush(gate(o) * output(c)).
 * Steps of a GRU with reset_after: r z = init + segment 0 + segment 1, n = init + segment 0,
 * q = more + segment 1, n = candidate(fma(gate(r), q, n)),
 * h = flush(fma(gate(z), before, (1 - gate(z)) * n)). */
typedef struct lstmc_step_args {
    lstmc_segment segment[2]; /* the input's product (k may be 0) and the recurrent one */
    const float *init;        /* [row][gate][panel]: a bias (stride 0) or products from before */
    size_t init_stride;
    const float *more;   /* GRU: [unit], the recurrent bias of n */
    const float *before; /* GRU: [row][unit], what the recurrent product is of */
    float *part;         /* several rows only: rows * 4 * panel floats of scratch */
    float *c;            /* LSTM: [row][unit], padded to whole panels */
    float *h;            /* likewise; must not overlap the vectors read */
    size_t state_stride;
    float *y; /* [row][unit], not padded, gets what h gets; or NULL */
    size_t y_stride;
    lstmc_fn gate, candidate, output; /* quick ones */
    uint32_t plain;                   /* 1 if these are sigmoid, tanh, tanh */
    uint32_t rows;                    /* lstm_rows, gru_rows only */
    uint32_t panel;                   /* its width */
    uint32_t panels;                  /* lstm_row, gru_row only: how many, all of this width */
    uint32_t units;                   /* real units in all of them */
    uint32_t backwards;               /* lstm_row, gru_row only: take the last panel first */
} lstmc_step_args;

/* y[row][n] = fn(init[n] + sum over k of w[n][k] x[row][k]), for all panels of one width.
 * The panel width is any number of columns here: 4 * units for an LSTM's input product. */
typedef struct lstmc_matmul_args {
    const float *w;
    const float *x;
    const float *init; /* [n], padded to whole panels */
    float *y;
    size_t x_stride;
    size_t y_stride;
    size_t init_stride; /* 0: the same for all rows, else that of rows with `columns` floats */
    uint32_t rows;
    uint32_t k;
    uint32_t panel;
    uint32_t columns; /* real columns in all panels */
    uint32_t raw;     /* 1: store the sums as they are; 0: flush(fn(sum)) */
    lstmc_fn fn;
} lstmc_matmul_args;

/* What the cells behind the products do, all panels of one width of one row. Pre-activations come
 * as [panel][gate][width], everything else as [unit], padded to whole panels. Options are in
 * lstmc/graph/recurrent.py. */
typedef struct lstmc_cell_args {
    const float *pre;
    const float *peephole; /* LSTM: [panel][i f o][width], or NULL */
    float *buffer;         /* GRU: R n, or r h; see gru_cell */
    float *c;              /* LSTM */
    const float *h;        /* GRU: the state before */
    float *to;             /* h, or what a projection takes */
    float *y;              /* [unit], real units only, gets what `to` gets; or NULL */
    lstmc_fn fn[3];        /* gate, candidate, output; or the RNN's activation */
    float clip;            /* of the pre-activations; 0: none */
    uint32_t coupled, sees_old;
    uint32_t reset_after;
    uint32_t part;   /* LSTMC_CELL_...: which parts to do */
    uint32_t panel;  /* width */
    uint32_t panels; /* how many */
    uint32_t units;  /* real ones in all of them */
} lstmc_cell_args;

/* LSTM: the new c; h from it. GRU: r h into buffer; h. */
enum { LSTMC_CELL_FIRST = 1, LSTMC_CELL_SECOND = 2 };

/* One row of LayerNorm, y apart from x. d = x - sum(x) / n, then d = d - sum(d) / n; or d = x with rms.
 * s = 0; for i ascending: s = fma(d[i], d[i], s), without those below 2^-50 in magnitude.
 * y[i] = flush(fma(d[i] / sqrt(s / n + epsilon), scale[i], shift[i])). */
typedef struct lstmc_norm_args {
    const float *x, *scale, *shift; /* NULL stands for ones and zeros */
    float *y;
    size_t n;
    float epsilon;
    uint32_t rms;
} lstmc_norm_args;

/* In the order of files. A mean of several values is their sum, divided by their number. If one of
 * two operands of maximum or minimum is NaN, so is the result. */
enum {
    LSTMC_COMBINE_ADD,
    LSTMC_COMBINE_SUBTRACT,
    LSTMC_COMBINE_MULTIPLY,
    LSTMC_COMBINE_DIVIDE,
    LSTMC_COMBINE_MAXIMUM,
    LSTMC_COMBINE_MINIMUM,
    LSTMC_COMBINE_MEAN,
    LSTMC_COMBINE_COUNT
};
enum {
    LSTMC_REDUCE_SUM,
    LSTMC_REDUCE_MEAN,
    LSTMC_REDUCE_MAXIMUM,
    LSTMC_REDUCE_MINIMUM,
    LSTMC_REDUCE_COUNT
};
enum { LSTMC_SPREAD_A = 1, LSTMC_SPREAD_B = 2 };

/* y[i] = y[i] op x[0][i] op x[1][i] ..., step t at x + t * stride. Every x and every result on the way
 * is flushed. LSTMC_REDUCE_MEAN: the sum, who calls divides. */
typedef struct lstmc_reduce_args {
    const float *x;
    size_t stride;
    uint32_t steps;
    uint32_t op; /* LSTMC_REDUCE_... */
    float *y;
    size_t n;
} lstmc_reduce_args;

/* y[row][c] = flush(fn(init[c] + sum over k of w[c][k] flush(x[row][k][c]))), for all panels of one
 * width; row r's tap k at x + r * x_stride + k * tap_stride. */
typedef struct lstmc_depthwise_args {
    const float *w;
    const float *x;
    const float *init; /* [c], padded to whole panels */
    float *y;
    size_t x_stride;
    size_t tap_stride;
    size_t y_stride;
    uint32_t rows;
    uint32_t taps;
    uint32_t panel;
    uint32_t columns; /* real columns in all panels */
    lstmc_fn fn;
} lstmc_depthwise_args;

typedef struct lstmc_kernels {
    lstmc_target target;
    uint32_t width;                                 /* lanes: panels must be multiples of it */
    void (*lstm_row)(const lstmc_step_args *args);  /* one row, several panels */
    void (*lstm_rows)(const lstmc_step_args *args); /* several rows, one panel */
    void (*gru_row)(const lstmc_step_args *args);
    void (*gru_rows)(const lstmc_step_args *args);
    void (*matmul)(const lstmc_matmul_args *args);
    void (*lstm_cell)(const lstmc_cell_args *args);
    void (*gru_cell)(const lstmc_cell_args *args);
    void (*rnn_cell)(const lstmc_cell_args *args);
    /* y[i] = fn(x[i]), flushed if flush is 1. x and y may be the same. */
    void (*map)(const lstmc_fn *fn, uint32_t flush, const float *x, float *y, size_t n);
    /* One row, y apart from x: y[i] = flush(exp(x[i] - max) / sum), the sum taken for i ascending;
     * or flush(x[i] - max - log(sum)) if log is 1. */
    void (*softmax)(uint32_t log, const float *x, float *y, size_t n);
    /* y[i] = flush(fn(fma(scale[i], x[i], shift[i]))); NULL stands for ones and zeros. */
    void (*affine)(const lstmc_fn *fn, const float *scale, const float *shift, const float *x,
                   float *y, size_t n);
    void (*layer_norm)(const lstmc_norm_args *args);
    /* y[i] = flush(a[i] op b[i]); spread says which of them is one number. y may be an operand that
     * is not spread. */
    void (*combine)(uint32_t op, const float *a, const float *b, uint32_t spread, float *y,
                    size_t n);
    /* flush(x[0] op x[1] ...), in ascending order; a mean is the sum divided by n. */
    float (*reduce)(uint32_t op, const float *x, size_t n);
    void (*reduce_steps)(const lstmc_reduce_args *args);
    /* y[i] = flush(x[i] / by). x and y may be the same. */
    void (*divide)(const float *x, float by, float *y, size_t n);
    /* Over the steps: y[t][i] = flush(exp(x[t][i] - max) / sum), the sum taken for t ascending. */
    void (*softmax_steps)(const float *x, size_t x_stride, float *y, size_t y_stride,
                          uint32_t steps, size_t n);
    void (*depthwise)(const lstmc_depthwise_args *args);
} lstmc_kernels;

/* Whether the kernel lstm_row and its like compute it; lstm_cell and the others compute all. */
static inline int lstmc_fn_is_quick(const lstmc_fn *fn) { return fn->kind < LSTMC_FN_AFFINE; }

/* Those that are not compiled in are declared too, and never named. */
#define LSTMC_DECLARE(NAME, name, have) extern const lstmc_kernels lstmc_kernels_##name;
LSTMC_TARGETS(LSTMC_DECLARE)

/* The best target, or LSTMC_TARGET_AUTO resolved; LSTMC_TARGET_COUNT if it is not available. */
lstmc_target lstmc_target_resolve(lstmc_target target);

/* Kernels of an available target for panels of a width: the target's own, or those of the widest
 * weaker one whose lanes fit. Never NULL: the scalar ones take every width. */
const lstmc_kernels *lstmc_kernels_find(lstmc_target target, uint32_t panel);

/* A value below 2^-64 in magnitude becomes +0 wherever a layer keeps it or hands it on. */
#define LSTMC_TINY_BITS 0x1f800000u

/* On bits, since a mode or a compiler may be wrong about comparisons: Clang 16 says yes to NaN < x where
 * it makes Helium instructions of a loop. */
static inline float lstmc_flush(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits & 0x7fffffffu) < LSTMC_TINY_BITS ? 0.0f : x;
}

#endif
