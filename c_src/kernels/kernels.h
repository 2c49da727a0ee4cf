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

/* A product's part: k columns of weights, times the vectors v (row r at v + r * stride). */
typedef struct lstmc_segment {
    const float *w; /* of the first panel; the next is k * 4 * panel floats on */
    const float *v;
    size_t stride;
    uint32_t k;
} lstmc_segment;

/* LSTM steps: i f g o = init + segment 0 + segment 1, then
 * c = flush(fma(gate(f), c, gate(i) * candidate(g))), h = flush(gate(o) * output(c)). */
typedef struct lstmc_lstm_args {
    lstmc_segment segment[2]; /* the input's product (k may be 0) and the recurrent one */
    const float *init;        /* [row][4][panel]: a bias (stride 0) or products from before */
    size_t init_stride;
    float *part; /* rows * 4 * panel floats of scratch */
    float *c;    /* [row][unit], padded to whole panels */
    float *h;    /* likewise; must not overlap the vectors read */
    size_t state_stride;
    float *y; /* [row][unit], not padded, gets what h gets; or NULL */
    size_t y_stride;
    lstmc_fn gate, candidate, output;
    uint32_t plain;     /* 1 if these are sigmoid, tanh, tanh */
    uint32_t rows;      /* lstm_rows only */
    uint32_t panel;     /* its width */
    uint32_t panels;    /* lstm_row only: how many, all of this width */
    uint32_t units;     /* real units in all of them */
    uint32_t backwards; /* lstm_row only: take the last panel first */
} lstmc_lstm_args;

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

typedef struct lstmc_kernels {
    lstmc_target target;
    uint32_t width;                                 /* lanes: panels must be multiples of it */
    void (*lstm_row)(const lstmc_lstm_args *args);  /* one row, several panels */
    void (*lstm_rows)(const lstmc_lstm_args *args); /* several rows, one panel */
    void (*matmul)(const lstmc_matmul_args *args);
    void (*lstm_cell)(const lstmc_cell_args *args);
    void (*gru_cell)(const lstmc_cell_args *args);
    void (*rnn_cell)(const lstmc_cell_args *args);
    /* y[i] = fn(x[i]), flushed if flush is 1. x and y may be the same. */
    void (*map)(const lstmc_fn *fn, uint32_t flush, const float *x, float *y, size_t n);
    /* One row: y[i] = flush(exp(x[i] - max) / sum), the sum taken for i ascending. */
    void (*softmax)(const float *x, float *y, size_t n);
} lstmc_kernels;

extern const lstmc_kernels lstmc_kernels_scalar;
#ifdef LSTMC_HAVE_SSE2
extern const lstmc_kernels lstmc_kernels_sse2;
#endif
#ifdef LSTMC_HAVE_AVX2
extern const lstmc_kernels lstmc_kernels_avx2;
#endif
#ifdef LSTMC_HAVE_AVX512
extern const lstmc_kernels lstmc_kernels_avx512;
#endif
#ifdef LSTMC_HAVE_NEON
extern const lstmc_kernels lstmc_kernels_neon;
#endif

/* The best target, or LSTMC_TARGET_AUTO resolved; LSTMC_TARGET_COUNT if it is not available. */
lstmc_target lstmc_target_resolve(lstmc_target target);

/* Kernels of an available target for panels of a width: the target's own, or those of the widest
 * weaker one whose lanes fit. Never NULL: the scalar ones take every width. */
const lstmc_kernels *lstmc_kernels_find(lstmc_target target, uint32_t panel);

/* A value below 2^-64 in magnitude becomes +0 wherever a layer keeps it or hands it on. */
#define LSTMC_TINY 5.421010862427522e-20f

#endif
