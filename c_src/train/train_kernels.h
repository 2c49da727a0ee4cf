/* The kernels of training of one target: a const table of functions, and what each computes. As in
 * kernels/kernels.h every output is one chain of operations, whatever the target or the blocking. */
#ifndef LSTMC_TRAIN_KERNELS_H
#define LSTMC_TRAIN_KERNELS_H

#include "cell_kernels.h"
#include "../kernels/kernels.h"
#include "../lstmc_train.h"

/* c[i][n] = c[i][n] + sum over r of a[r][i] b[r][n]: for r ascending, c = fma(a, b, c).
 *
 * a's element (r, i) is at a + r * a_step + i * a_next. Columns n are `gates` groups of `units` in panels:
 * unit p * panel + l of gate g is at b + r * b_step + g * b_gate + p * panel + l, in c at
 * c + i * c_next + p * c_panel + g * c_gate + l. r goes from 0 to count - 1, for each of `blocks` blocks in
 * turn, whose a and b lie a_block and b_block floats apart: one chain over all of them. */
typedef struct lstmc_gemm_args {
    const float *a;
    ptrdiff_t a_step, a_block, a_next;
    const float *b;
    ptrdiff_t b_step, b_block;
    size_t b_gate;
    float *c;
    size_t c_next, c_panel, c_gate;
    uint32_t rows; /* of c */
    uint32_t count, blocks;
    uint32_t gates, units;
    uint32_t panel;  /* a multiple of the target's lanes */
    uint32_t padded; /* 1: c has room for whole vectors, and zeros or what else b has come there */
    uint32_t wide;   /* 1: whole vectors of b may be read, beyond units */
    uint32_t zero;   /* 1: c starts from zeros instead of what is there */
    uint32_t flush;  /* 1: c is flushed at the end */
} lstmc_gemm_args;

/* A step of a fused cell as in inference, that keeps its gates: gate g of a row's unit u at gates +
 * row * gates_stride + g * gate + u, LSTM i f g o, GRU r z n q. The old c is at step.c, the new one goes to
 * next_c; rows of both are step.state_stride apart. */
typedef struct lstmc_saving_args {
    lstmc_step_args step; /* first: what gate_tiles.h gets */
    float *next_c;
    float *gates;
    size_t gates_stride, gate;
} lstmc_saving_args;

/* A step of a fused cell, backward: gates in, gradients of pre-activations out, at the same places. */
typedef struct lstmc_back_args {
    float *gates; /* [row][4][units], rows gates_stride apart */
    size_t gates_stride;
    const float *c, *new_c; /* LSTM: before and after the step; GRU: c is h before it */
    size_t saved_stride;
    float *dh; /* [row], in: the gradient of h after the step; GRU, out: the part of h before */
    float *dc; /* LSTM, in and out */
    size_t state_stride;
    const float *dy; /* of the output, or NULL */
    size_t dy_stride;
    uint32_t rows, units;
    lstmc_fn gate, candidate, output;
    uint32_t plain;
} lstmc_back_args;
/* The loss of a vector of n features, and its gradient times scale added to dy, flushed; dy NULL: not
 * wanted. truth: n floats; sparse: one, the number of a class below n. The rest is lstmc_loss's. */
typedef struct lstmc_loss_args {
    const float *y, *truth;
    float *dy;
    size_t n;
    float scale;
    lstmc_loss_kind kind;
    float delta, smoothing;
    uint32_t from_logits;
} lstmc_loss_args;

/* A step of an optimizer over n weights, n a multiple of 16: optimizer_kernels.h has the formulas.
 * If clips is 1, gradients are multiplied with factor, then clipped; all become zero. */
typedef struct lstmc_update_args {
    float *w, *g;
    float *slot[3]; /* of n floats too; NULL: not in use */
    size_t n;
    lstmc_optimizer_kind kind;
    uint32_t nesterov, clips;
    float factor, clip;    /* clip: infinity for none */
    float rate;            /* what a direction is multiplied with */
    float decay;           /* the part of a weight that goes before */
    float keep_1, fresh_1; /* of the average of gradients: beta_1, 1 - beta_1 */
    float keep_2, fresh_2; /* of squares */
    float momentum, epsilon;
} lstmc_update_args;

/* y = fn(p), p = scale x + shift: with dp = flush(dy fn'(p)), dx = flush(dp scale), dscale = fma(dp, x, dscale),
 * dshift = dshift + dp. scale and shift may be NULL, as may dx, dscale and dshift. */
typedef struct lstmc_affine_back_args {
    const lstmc_fn *fn;
    const float *scale, *shift;
    const float *x, *y, *dy;
    float *dx, *dscale, *dshift;
    size_t n;
} lstmc_affine_back_args;

/* LayerNorm, with d = x - mean and root as in forward: hat = flush(d / root), g = flush(dy scale),
 * dx = flush((g - mean g - hat mean(g hat)) / root), the second product by fma, each mean one chain
 * divided by n; with rms mean g is 0. dscale = fma(dy, hat, dscale), dshift = dshift + dy. scale,
 * dx, dscale and dshift may be NULL. */
typedef struct lstmc_norm_back_args {
    const float *scale;
    const float *x, *dy;
    float *dx, *dscale, *dshift;
    float *work; /* n */
    size_t n;
    float epsilon;
    uint32_t rms;
} lstmc_norm_back_args;

/* r = p op q, spread as in forward: dp and dq from d, without what spreading asks for. dq may be NULL,
 * dp may be d. r is looked at in a division. */
typedef struct lstmc_combine_back_args {
    uint32_t op; /* an lstmc_combine_op, but no mean */
    uint32_t spread;
    const float *p, *q, *r, *d;
    float *dp, *dq;
    size_t n;
} lstmc_combine_back_args;

/* c[i] = c[i] + sum over r of a[r][i] b[r][i]: for r ascending, c = fma(a, b, c); r is in blocks as above. */
typedef struct lstmc_dots_args {
    const float *a, *b;
    ptrdiff_t a_step, a_block;
    ptrdiff_t b_step, b_block;
    uint32_t count, blocks;
    float *c;
    size_t n;
    uint32_t zero, flush; /* as above */
} lstmc_dots_args;

typedef struct lstmc_train_kernels {
    uint32_t width; /* lanes: panels must be multiples of it */
    void (*gemm)(const lstmc_gemm_args *args);
    /* dx[i] = flush(dy[i] * fn'(x[i])), y[i] = fn(x[i]). Of quick functions fn' follows from y, and x is
     * not looked at; of the others from x. docs/TRAINING.md has the table. dx may be any of them. */
    void (*map_back)(const lstmc_fn *fn, const float *x, const float *y, const float *dy, float *dx,
                     size_t n);
    /* y[i] = y[i] + x[i], flushed if flush is 1. */
    void (*add)(const float *x, float *y, size_t n, uint32_t flush);
    /* start + x[0] + x[1] + ..., from left to right; y[index[i]] = y[index[i]] + x[i], i ascending. */
    float (*sum)(const float *x, float start, size_t n);
    void (*scatter)(const uint32_t *index, const float *x, float *y, size_t n);
    /* With s = sum of dy y (log: of dy): dx = flush(y (dy - s)); log: dx = flush(dy - exp(y) s). */
    void (*softmax_back)(uint32_t log, const float *y, const float *dy, float *dx, size_t n);
    void (*affine_back)(const lstmc_affine_back_args *args);
    void (*layer_norm_back)(const lstmc_norm_back_args *args);
    void (*combine_back)(const lstmc_combine_back_args *args);
    /* dx[i] = flush(dy), a mean flush(dy / n); of an extreme dy / (how often x has it), or 0. */
    void (*reduce_back)(uint32_t op, const float *x, float dy, float *dx, size_t n);
    /* Fused cells: one row and several panels, or several rows and one panel, of lstmc_saving_args. */
    void (*lstm_row)(const lstmc_step_args *args);
    void (*lstm_rows)(const lstmc_step_args *args);
    void (*gru_row)(const lstmc_step_args *args);
    void (*gru_rows)(const lstmc_step_args *args);
    void (*fused_lstm_back)(const lstmc_back_args *args);
    void (*fused_gru_back)(const lstmc_back_args *args);
    /* Recurrent cells: what forward keeps of a step, and a step of backward (cells_back.h). */
    void (*lstm_keep)(const lstmc_cell_train_args *args);
    void (*lstm_back)(const lstmc_cell_train_args *args);
    void (*gru_keep)(const lstmc_cell_train_args *args);
    void (*gru_back)(const lstmc_cell_train_args *args);
    void (*rnn_keep)(const lstmc_cell_train_args *args);
    void (*rnn_back)(const lstmc_cell_train_args *args);
    /* y[i] = flush(x[i] * mask[i] + add[i]), by fma, or flush(add[i]) where mask[i] is 0; add may be NULL
     * for zeros. y may be x or add. */
    void (*masked)(const float *x, const float *mask, const float *add, float *y, size_t n);
    void (*diagonal)(const lstmc_diagonal_args *args);
    float (*loss)(const lstmc_loss_args *args);
    void (*update)(const lstmc_update_args *args);
    /* sums[l] = sum over r ascending of x[r * width + l]^2, width a multiple of the target's lanes */
    void (*squares)(const float *x, size_t rows, uint32_t width, float *sums);
    void (*dots)(const lstmc_dots_args *args);
    /* Steps x of a sequence whose maximum or minimum (op: LSTMC_REDUCE_...) is y. "Has" means that
     * flush(x[i]) is y[i]; if y[i] is NaN every x[i] has it.
     * count[i] = count[i] + 1 if x[i] has it; */
    void (*count_extreme)(uint32_t op, const float *x, const float *y, float *count, size_t n);
    /* dx[i] = share[i] if x[i] has it, else 0; */
    void (*share_extreme)(uint32_t op, const float *x, const float *y, const float *share,
                          float *dx, size_t n);
    /* if x[i] has it, dx[i] = flush(dx[i] + rest[i]) and nothing is left: rest[i] = 0. */
    void (*take_extreme)(uint32_t op, const float *x, const float *y, float *rest, float *dx,
                         size_t n);
    /* s = 0; for t descending: s = fma(dy[t], y[t], s); dx[t] = flush(y[t] * (dy[t] - s)). */
    void (*softmax_steps_back)(const float *y, size_t y_stride, const float *dy, size_t dy_stride,
                               float *dx, size_t dx_stride, uint32_t steps, size_t n);
} lstmc_train_kernels;

#define LSTMC_DECLARE_TRAIN(NAME, name, have)                                                      \
    extern const lstmc_train_kernels lstmc_kernels_##name##_train;
LSTMC_TARGETS(LSTMC_DECLARE_TRAIN)

/* Those of the same target as kernels. */
const lstmc_train_kernels *lstmc_train_kernels_find(const lstmc_kernels *kernels);

#endif
