/* The algorithms, once, over the vector operations of whichever vec_*.h was included before.
 *
 * The including file defines
 *   LSTMC_KERNELS      the name of the table to define
 *   LSTMC_TARGET_ID    its lstmc_target
 *   V_TILE_ROWS        rows of a batch tile, 1 to 6: rows * 4 accumulators and 4 weights in registers
 *   V_ROW_VECTORS      vectors of units at once for a single row, 1 or 2: 4 accumulators each, which
 *                      must cover the latency of fma; smaller strides keep more of a cache's lines
 *   V_K_BLOCK          columns of k between stores of partial sums: a block of weights fits in L1
 *
 * Accumulators are named variables made by macros, since compilers spill arrays of vectors.
 */
#include "kernels.h"
#include "vmath.h"
#include "activations.h"

/* X-macros over the rows of a tile and over the vectors of a row. */
#define ROWS_1(M) M(0)
#define ROWS_2(M) ROWS_1(M) M(1)
#define ROWS_3(M) ROWS_2(M) M(2)
#define ROWS_4(M) ROWS_3(M) M(3)
#define ROWS_5(M) ROWS_4(M) M(4)
#define ROWS_6(M) ROWS_5(M) M(5)
#define VECS_1(M, r) M(r, 0)
#define VECS_2(M, r) VECS_1(M, r) M(r, 1)
#define VECS_3(M, r) VECS_2(M, r) M(r, 2)
#define VECS_4(M, r) VECS_3(M, r) M(r, 3)

#define T_LOAD_WEIGHT(r, j) const v_f32 w##j = v_load(weight##j + at);
#define T_MULTIPLY(r, j) a##r##j = v_fma(w##j, x##r, a##r##j);

/* --------------------------------------------------------------------------------- row by row -- */

static void map(const lstmc_fn *fn, uint32_t flush, const float *x, float *y, size_t n) {
    size_t i = 0;
    for (; i + V_WIDTH <= n; i += V_WIDTH) {
        const v_f32 a = v_fn(fn, v_load(x + i));
        v_store(y + i, flush ? v_flush(a) : a);
    }
    if (i < n) {
        const v_f32 a = v_fn(fn, v_load_n(x + i, n - i));
        v_store_n(y + i, flush ? v_flush(a) : a, n - i);
    }
}

/* -------------------------------------------------------------------------------------- LSTM -- */

/* The cell behind the products: V_WIDTH units of one row, `valid` of them real. */
V_INLINE void lstm_cell(const lstmc_lstm_args *a, uint32_t plain, v_f32 i, v_f32 f, v_f32 g,
                        v_f32 o, float *c, float *h, float *y, size_t valid) {
    v_f32 cell = v_load(c);
    if (plain) {
        cell = v_fma(v_sigmoid(f), cell, v_mul(v_sigmoid(i), v_tanh(g)));
    } else {
        cell = v_fma(v_fn_quick(&a->gate, f), cell,
                     v_mul(v_fn_quick(&a->gate, i), v_fn_quick(&a->candidate, g)));
    }
    cell = v_flush(cell);
    v_store(c, cell);
    const v_f32 out = plain ? v_mul(v_sigmoid(o), v_tanh(cell))
                            : v_mul(v_fn_quick(&a->gate, o), v_fn_quick(&a->output, cell));
    const v_f32 flushed = v_flush(out);
    v_store(h, flushed);
    if (!y) return;
    if (valid >= V_WIDTH) {
        v_store(y, flushed);
    } else if (valid) {
        v_store_n(y, flushed, valid);
    }
}

/* How many of the V_WIDTH units from `unit` on are real. */
V_INLINE size_t lstm_valid(const lstmc_lstm_args *a, size_t unit) {
    return unit >= a->units ? 0 : a->units - unit;
}

/* One row, V_WIDTH units from unit0 on: 4 accumulators; or as many from unit1 on too, where 4 don't
 * cover the latency of fma. */
#define ROW_INIT(u, j) v_f32 a##u##j = v_load(init##u + (size_t)j * panel);
#define ROW_STEP(u, j) a##u##j = v_fma(v_load(w##u + at + (size_t)j * panel), x, a##u##j);
#define ROW_PLACE(u)                                                                               \
    const size_t base##u = unit##u / panel * panel, lane##u = unit##u % panel;                     \
    const float *init##u = a->init + base##u * 4 + lane##u;
#define ROW_SEGMENT(u) const float *w##u = s->w + base##u * 4 * s->k + lane##u;
#define ROW_ALL(u) VECS_4(ROW_STEP, u)
#define ROW_START(u) VECS_4(ROW_INIT, u)
#define ROW_CELL(u)                                                                                \
    lstm_cell(a, plain, a##u##0, a##u##1, a##u##2, a##u##3, a->c + unit##u, a->h + unit##u,        \
              a->y ? a->y + unit##u : NULL, lstm_valid(a, unit##u));
#define ROW_BODY(N)                                                                                \
    const size_t panel = a->panel;                                                                 \
    ROWS_##N(ROW_PLACE) ROWS_##N(ROW_START) for (int part = 0; part < 2; part++) {                 \
        const lstmc_segment *s = &a->segment[part];                                                \
        ROWS_##N(ROW_SEGMENT) size_t at = 0;                                                       \
        for (uint32_t k = 0; k < s->k; k++, at += 4 * panel) {                                     \
            const v_f32 x = v_set1(s->v[k]);                                                       \
            ROWS_##N(ROW_ALL)                                                                      \
        }                                                                                          \
    }                                                                                              \
    ROWS_##N(ROW_CELL)

V_INLINE void lstm_row_1(const lstmc_lstm_args *a, uint32_t plain, size_t unit0) { ROW_BODY(1) }

#if V_ROW_VECTORS == 2
V_INLINE void lstm_row_2(const lstmc_lstm_args *a, uint32_t plain, size_t unit0, size_t unit1) {
    ROW_BODY(2)
}
#endif

/* Steps that alternate in direction find the weights read last still in the cache: with weights of
 * one and a half times the cache, half of the misses go. */
V_INLINE void lstm_row_any(const lstmc_lstm_args *a, uint32_t plain) {
    const size_t end = (size_t)a->panel * a->panels;
    const size_t single = V_ROW_VECTORS == 2 && end % (2 * V_WIDTH) == 0 ? end : end - V_WIDTH;
    if (a->backwards && single < end) lstm_row_1(a, plain, single);
#if V_ROW_VECTORS == 2
    for (size_t i = 0; i < single; i += 2 * V_WIDTH) {
        const size_t unit = a->backwards ? single - 2 * V_WIDTH - i : i;
        lstm_row_2(a, plain, unit, unit + V_WIDTH);
    }
#else
    for (size_t i = 0; i < single; i += V_WIDTH) {
        lstm_row_1(a, plain, a->backwards ? single - V_WIDTH - i : i);
    }
#endif
    if (!a->backwards && single < end) lstm_row_1(a, plain, single);
}

static void lstm_row(const lstmc_lstm_args *a) {
    if (a->plain) {
        lstm_row_any(a, 1);
    } else {
        lstm_row_any(a, 0);
    }
}

/* Several rows, V_WIDTH units: a block [k0, k1) of the columns of both segments together. */
typedef struct block {
    uint32_t k0, k1, last;
    const float *init; /* of these units, in the first row */
    size_t init_stride;
    float *part;
    size_t lane;
} block;

#define TILE_INIT(r, j)                                                                            \
    v_f32 a##r##j = v_load(b->init + (size_t)r * b->init_stride + (size_t)j * panel);
#define TILE_ROW(r) const float *v##r = s->v + (row + (size_t)r) * s->stride;
#define TILE_STEP(r)                                                                               \
    {                                                                                              \
        const v_f32 x##r = v_set1(v##r[k]);                                                        \
        VECS_4(T_MULTIPLY, r)                                                                      \
    }
#define TILE_STORE(r, j)                                                                           \
    v_store(b->part + (row + (size_t)r) * 4 * panel + (size_t)j * panel, a##r##j);
#define TILE_START(r) VECS_4(TILE_INIT, r)
#define TILE_END(r) VECS_4(TILE_STORE, r)
#define TILE_CELL(r)                                                                               \
    lstm_cell(a, plain, a##r##0, a##r##1, a##r##2, a##r##3,                                        \
              a->c + (row + (size_t)r) * a->state_stride + b->lane,                                \
              a->h + (row + (size_t)r) * a->state_stride + b->lane,                                \
              a->y ? a->y + (row + (size_t)r) * a->y_stride + b->lane : NULL, valid);
#define LSTM_TILE(N)                                                                               \
    V_INLINE void lstm_tile_##N(const lstmc_lstm_args *a, uint32_t plain, const block *b,          \
                                size_t row) {                                                      \
        const size_t panel = a->panel, valid = lstm_valid(a, b->lane);                             \
        ROWS_##N(TILE_START) uint32_t from = 0;                                                    \
        for (int part = 0; part < 2; part++) {                                                     \
            const lstmc_segment *s = &a->segment[part];                                            \
            const uint32_t k0 = b->k0 > from ? b->k0 - from : 0;                                   \
            const uint32_t k1 = b->k1 > from ? b->k1 - from : 0;                                   \
            const float *weight0 = s->w + b->lane, *weight1 = weight0 + panel;                     \
            const float *weight2 = weight1 + panel, *weight3 = weight2 + panel;                    \
            ROWS_##N(TILE_ROW) size_t at = (size_t)k0 * 4 * panel;                                 \
            for (uint32_t k = k0; k < k1 && k < s->k; k++, at += 4 * panel) {                      \
                VECS_4(T_LOAD_WEIGHT, 0)                                                           \
                ROWS_##N(TILE_STEP)                                                                \
            }                                                                                      \
            from += s->k;                                                                          \
        }                                                                                          \
        if (b->last) {                                                                             \
            ROWS_##N(TILE_CELL)                                                                    \
        } else {                                                                                   \
            ROWS_##N(TILE_END)                                                                     \
        }                                                                                          \
    }

LSTM_TILE(1)
#if V_TILE_ROWS >= 2
LSTM_TILE(2)
#endif
#if V_TILE_ROWS >= 3
LSTM_TILE(3)
#endif
#if V_TILE_ROWS >= 4
LSTM_TILE(4)
#endif
#if V_TILE_ROWS >= 5
LSTM_TILE(5)
#endif
#if V_TILE_ROWS >= 6
LSTM_TILE(6)
#endif

#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)

V_INLINE void lstm_rows_any(const lstmc_lstm_args *a, uint32_t plain) {
    const uint32_t k = a->segment[0].k + a->segment[1].k;
    for (size_t lane = 0; lane < a->panel; lane += V_WIDTH) {
        block b = {0, 0, 0, a->init + lane, a->init_stride, a->part + lane, lane};
        do {
            b.k1 = k - b.k0 > V_K_BLOCK + V_K_BLOCK / 2 ? b.k0 + V_K_BLOCK : k;
            b.last = b.k1 == k;
            const float *init = b.init;
            size_t row = 0;
            for (; row + V_TILE_ROWS <= a->rows; row += V_TILE_ROWS) {
                b.init = init + row * b.init_stride;
                CAT(lstm_tile_, V_TILE_ROWS)(a, plain, &b, row);
            }
            b.init = init + row * b.init_stride;
            switch (a->rows - row) {
#if V_TILE_ROWS > 5
            case 5: lstm_tile_5(a, plain, &b, row); break;
#endif
#if V_TILE_ROWS > 4
            case 4: lstm_tile_4(a, plain, &b, row); break;
#endif
#if V_TILE_ROWS > 3
            case 3: lstm_tile_3(a, plain, &b, row); break;
#endif
#if V_TILE_ROWS > 2
            case 2: lstm_tile_2(a, plain, &b, row); break;
#endif
#if V_TILE_ROWS > 1
            case 1: lstm_tile_1(a, plain, &b, row); break;
#endif
            default: break;
            }
            b.k0 = b.k1;
            b.init = b.part;
            b.init_stride = (size_t)4 * a->panel;
        } while (!b.last);
    }
}

static void lstm_rows(const lstmc_lstm_args *a) {
    if (a->plain) {
        lstm_rows_any(a, 1);
    } else {
        lstm_rows_any(a, 0);
    }
}

/* ------------------------------------------------------------------------------------ matmul -- */

/* Rows of a tile times N vectors of columns, for the columns [k0, k1) of k. */
typedef struct slab {
    uint32_t k0, k1, last;
    uint32_t apply; /* the function, to the sums of this block */
    const float *weight[4];
    const float *init; /* at the first of the vectors */
    size_t init_stride;
    size_t column; /* of the first vector */
} slab;

#define MM_INIT(r, j)                                                                              \
    v_f32 a##r##j =                                                                                \
        mm_load(b->init + (size_t)r * b->init_stride + (size_t)j * V_WIDTH,                        \
                b->k0 || a->init_stride ? a->columns - b->column - (size_t)j * V_WIDTH : V_WIDTH);
#define MM_ROW(r) const float *v##r = a->x + (row + (size_t)r) * a->x_stride;
#define MM_STORE(r, j)                                                                             \
    mm_store(a, b->apply, a##r##j,                                                                 \
             a->y + (row + (size_t)r) * a->y_stride + b->column + (size_t)j * V_WIDTH,             \
             a->columns - b->column - (size_t)j * V_WIDTH);
#define MM_POINT(r, j) const float *weight##j = b->weight[j];
#define MM_TILE(N, V)                                                                              \
    V_INLINE void mm_tile_##N##_##V(const lstmc_matmul_args *a, const slab *b, size_t row) {       \
        MM_START_##V(N) VECS_##V(MM_POINT, 0) ROWS_##N(MM_ROW) size_t at =                         \
            (size_t)b->k0 * a->panel;                                                              \
        for (uint32_t k = b->k0; k < b->k1; k++, at += a->panel) {                                 \
            VECS_##V(T_LOAD_WEIGHT, 0) ROWS_##N(MM_STEP_##V)                                       \
        }                                                                                          \
        ROWS_##N(MM_END_##V)                                                                       \
    }
#define MM_START_1(N) ROWS_##N(MM_INIT_1)
#define MM_START_2(N) ROWS_##N(MM_INIT_2)
#define MM_START_4(N) ROWS_##N(MM_INIT_4)
#define MM_INIT_1(r) VECS_1(MM_INIT, r)
#define MM_INIT_2(r) VECS_2(MM_INIT, r)
#define MM_INIT_4(r) VECS_4(MM_INIT, r)
#define MM_STEP(r, V)                                                                              \
    {                                                                                              \
        const v_f32 x##r = v_set1(v##r[k]);                                                        \
        VECS_##V(T_MULTIPLY, r)                                                                    \
    }
#define MM_STEP_1(r) MM_STEP(r, 1)
#define MM_STEP_2(r) MM_STEP(r, 2)
#define MM_STEP_4(r) MM_STEP(r, 4)
#define MM_END_1(r) VECS_1(MM_STORE, r)
#define MM_END_2(r) VECS_2(MM_STORE, r)
#define MM_END_4(r) VECS_4(MM_STORE, r)

V_INLINE v_f32 mm_load(const float *p, size_t n) {
    return n >= V_WIDTH ? v_load(p) : v_load_n(p, n);
}

V_INLINE void mm_store(const lstmc_matmul_args *a, uint32_t apply, v_f32 sum, float *y, size_t n) {
    if (apply) sum = v_flush(v_fn_quick(&a->fn, sum));
    if (n >= V_WIDTH) {
        v_store(y, sum);
    } else {
        v_store_n(y, sum, n);
    }
}

/* All rows times V vectors. */
#define MM_ROWS(V)                                                                                 \
    V_INLINE void mm_rows_##V(const lstmc_matmul_args *a, slab *b) {                               \
        const float *init = b->init;                                                               \
        size_t row = 0;                                                                            \
        for (; row + V_TILE_ROWS <= a->rows; row += V_TILE_ROWS) {                                 \
            b->init = init + row * b->init_stride;                                                 \
            MM_CALL(V_TILE_ROWS, V)(a, b, row);                                                    \
        }                                                                                          \
        for (; row < a->rows; row++) {                                                             \
            b->init = init + row * b->init_stride;                                                 \
            mm_tile_1_##V(a, b, row);                                                              \
        }                                                                                          \
    }
#define MM_CALL_(R, V) mm_tile_##R##_##V
#define MM_CALL(R, V) MM_CALL_(R, V)
#define MM_TILE_OF_(R, V) MM_TILE(R, V)
#define MM_TILE_OF(R, V) MM_TILE_OF_(R, V)

MM_TILE(1, 1)
MM_TILE(1, 2)
MM_TILE(1, 4)
#if V_TILE_ROWS > 1
MM_TILE_OF(V_TILE_ROWS, 1)
MM_TILE_OF(V_TILE_ROWS, 2)
MM_TILE_OF(V_TILE_ROWS, 4)
#endif
MM_ROWS(1)
MM_ROWS(2)
MM_ROWS(4)

static void matmul(const lstmc_matmul_args *a) {
    const uint32_t quick = !a->raw && lstmc_fn_is_quick(&a->fn);
    size_t column = 0;
    while (column < a->columns) {
        const size_t left = (a->columns - column + V_WIDTH - 1) / V_WIDTH;
        const size_t vectors = left >= 4 ? 4 : left >= 2 ? 2 : 1;
        slab b = {0, 0, 0, 0, {NULL, NULL, NULL, NULL}, a->init + column, a->init_stride, column};
        for (size_t j = 0; j < vectors; j++) {
            const size_t at = column + j * V_WIDTH;
            b.weight[j] = a->w + at / a->panel * a->panel * a->k + at % a->panel;
        }
        do {
            b.k1 = a->k - b.k0 > V_K_BLOCK + V_K_BLOCK / 2 ? b.k0 + V_K_BLOCK : a->k;
            b.last = b.k1 == a->k;
            b.apply = b.last && quick;
            if (vectors == 4) {
                mm_rows_4(a, &b);
            } else if (vectors == 2) {
                mm_rows_2(a, &b);
            } else {
                mm_rows_1(a, &b);
            }
            b.k0 = b.k1;
            b.init = a->y + column;
            b.init_stride = a->y_stride;
        } while (!b.last);
        column += vectors * V_WIDTH;
    }
    if (a->raw || quick) return;
    for (size_t row = 0; row < a->rows; row++) {
        map(&a->fn, 1, a->y + row * a->y_stride, a->y + row * a->y_stride, a->columns);
    }
}

#include "cells.h"
#include "pointwise.h"
#include "steps.h"

const lstmc_kernels LSTMC_KERNELS = {
    LSTMC_TARGET_ID, V_WIDTH,  lstm_row,     lstm_rows, matmul,        lstm_cell_all,
    gru_cell,        rnn_cell, map,          softmax,   affine,        layer_norm,
    combine,         reduce,   reduce_steps, divide,    softmax_steps, depthwise,
};
