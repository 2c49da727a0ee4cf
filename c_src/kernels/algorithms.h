/* The algorithms, once, over the vector operations of whichever vec_*.h was included before.
 *
 * The including file defines
 *   LSTMC_KERNELS      the name of the table to define
 *   LSTMC_TARGET_ID    its lstmc_target
 *   V_TILE_ROWS        rows of a batch tile, 1 to 6: rows * 4 accumulators and 4 weights in registers
 *   V_ROW_VECTORS      vectors of units at once for a single row, 1 or 2: 4 accumulators each, which
 *                      must cover the latency of fma; smaller strides keep more of a cache's lines
 *   V_K_BLOCK          columns of k between stores of partial sums, with several rows: as many as
 *                      leave the weights of a block in a cache that feeds the tiles
 *   V_FAST_FMA         where fma is one instruction: the functions are inlined into the LSTM's cell
 *   V_PRODUCT          if the target has a single row's product itself (helium_product.h): v_product_3 and
 *                      v_product_4, by the number of gates; V_ROW_VECTORS is 1 then
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

/* TILES(M) defines the tile functions of all heights; TILE_CASES(F, arguments) calls the one of the
 * height that a switch is on. */
#define TILE_CASE(F, N, ARGUMENTS)                                                                 \
    case N:                                                                                        \
        F##_##N ARGUMENTS;                                                                         \
        break;
#define TILES_1(M) M(1)
#define TILES_2(M) TILES_1(M) M(2)
#define TILES_3(M) TILES_2(M) M(3)
#define TILES_4(M) TILES_3(M) M(4)
#define TILES_5(M) TILES_4(M) M(5)
#define TILES_6(M) TILES_5(M) M(6)
#define TILE_CASES_1(F, A) TILE_CASE(F, 1, A)
#define TILE_CASES_2(F, A) TILE_CASES_1(F, A) TILE_CASE(F, 2, A)
#define TILE_CASES_3(F, A) TILE_CASES_2(F, A) TILE_CASE(F, 3, A)
#define TILE_CASES_4(F, A) TILE_CASES_3(F, A) TILE_CASE(F, 4, A)
#define TILE_CASES_5(F, A) TILE_CASES_4(F, A) TILE_CASE(F, 5, A)
#define TILE_CASES_6(F, A) TILE_CASES_5(F, A) TILE_CASE(F, 6, A)
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define TILES(M) CAT(TILES_, V_TILE_ROWS)(M)
#define TILE_CASES(F, A) CAT(TILE_CASES_, V_TILE_ROWS)(F, A)

/* The next tile of those that take `rows` rows, all of nearly the same height: a low one at the end
 * would wait for the weights that it reads for few products. */
V_INLINE size_t tile_height(size_t rows) {
    const size_t tiles = (rows + V_TILE_ROWS - 1) / V_TILE_ROWS;
    return (rows + tiles - 1) / tiles;
}

#include "lanes.h"

#ifdef LSTMC_TRAINING /* the same target, for train/ */
#include "../train/train_algorithms.h"
#else

#include "pointwise.h"
#include "matmul.h"
#include "fused.h"
#include "cells.h"
#include "steps.h"

const lstmc_kernels LSTMC_KERNELS = {
    LSTMC_TARGET_ID, V_WIDTH,  lstm_row,     lstm_rows, gru_fused_row, gru_fused_rows, matmul,
    lstm_cell_all,   gru_cell, rnn_cell,     map,       softmax,       affine,         layer_norm,
    combine,         reduce,   reduce_steps, divide,    softmax_steps, depthwise,
};

#endif
