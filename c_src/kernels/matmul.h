/* Matrix products with the function behind them. Included by algorithms.h. */

/* Rows of a tile times N vectors of columns, for the columns [k0, k1) of k. */
typedef struct slab {
    uint32_t k0, k1;
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
    mm_store(a##r##j, a->y + (row + (size_t)r) * a->y_stride + b->column + (size_t)j * V_WIDTH,    \
             a->columns - b->column - (size_t)j * V_WIDTH);
#define MM_POINT(r, j) const float *weight##j = b->weight[j];
#define MM_TILE(N, V)                                                                              \
    static void mm_tile_##V##_##N(const lstmc_matmul_args *a, const slab *b, size_t row) {         \
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

V_INLINE void mm_store(v_f32 sum, float *y, size_t n) {
    if (n >= V_WIDTH) {
        v_store(y, sum);
    } else {
        v_store_n(y, sum, n);
    }
}

#define MM_TILE_1(N) MM_TILE(N, 1)
#define MM_TILE_2(N) MM_TILE(N, 2)
#define MM_TILE_4(N) MM_TILE(N, 4)
TILES(MM_TILE_1)
TILES(MM_TILE_2)
TILES(MM_TILE_4)

/* All rows times some vectors; where the sums are complete, the function of a tile's while they are
 * in the nearest cache. */
static void mm_rows(const lstmc_matmul_args *a, slab *b, size_t vectors) {
    const float *init = b->init;
    const size_t left = a->columns - b->column;
    const size_t columns = left < vectors * V_WIDTH ? left : vectors * V_WIDTH;
    for (size_t row = 0; row < a->rows;) {
        const size_t height = tile_height(a->rows - row);
        b->init = init + row * b->init_stride;
        if (vectors == 4) {
            switch (height) { TILE_CASES(mm_tile_4, (a, b, row)) }
        } else if (vectors == 2) {
            switch (height) { TILE_CASES(mm_tile_2, (a, b, row)) }
        } else {
            switch (height) { TILE_CASES(mm_tile_1, (a, b, row)) }
        }
        if (!a->raw && b->k1 == a->k) {
            /* Rows that lie together are one: a call for each takes longer than a few vectors. */
            const size_t together = a->y_stride == columns ? height : 1;
            for (size_t r = 0; r < height; r += together) {
                float *y = a->y + (row + r) * a->y_stride + b->column;
                map(&a->fn, 1, y, y, together * columns);
            }
        }
        row += height;
    }
}

#if V_WIDTH == 1 && LSTMC_HAVE_CORTEXM
#include "matmul_cortexm.h"
#endif

static void matmul(const lstmc_matmul_args *a) {
#if V_WIDTH == 1 && LSTMC_HAVE_CORTEXM
    size_t column = cortexm_matmul(a);
#else
    size_t column = 0;
#endif
    while (column < a->columns) {
        const size_t left = (a->columns - column + V_WIDTH - 1) / V_WIDTH;
        const size_t vectors = left >= 4 ? 4 : left >= 2 ? 2 : 1;
        slab b = {0, 0, {NULL, NULL, NULL, NULL}, a->init + column, a->init_stride, column};
        for (size_t j = 0; j < vectors; j++) {
            const size_t at = column + j * V_WIDTH;
            b.weight[j] = a->w + at / a->panel * a->panel * a->k + at % a->panel;
        }
        do {
            b.k1 = a->k - b.k0 > V_K_BLOCK + V_K_BLOCK / 2 ? b.k0 + V_K_BLOCK : a->k;
            mm_rows(a, &b, vectors);
            b.k0 = b.k1;
            b.init = a->y + column;
            b.init_stride = a->y_stride;
        } while (b.k0 < a->k);
        column += vectors * V_WIDTH;
    }
}
