/* The kernels of training, once, over the vector operations of whichever vec_*.h was included before;
 * included by kernels/algorithms.h in place of those of inference. */
#include "train_kernels.h"

#include "derivatives.h"
#include "gemm.h"
#include "fused_saving.h"
#include "fused_back.h"
#include "cells_back.h"
#include "loss_kernels.h"
#include "optimizer_kernels.h"

/* y[i] = y[i] + x[i] */
static void train_add(const float *x, float *y, size_t n, uint32_t flush) {
    for (size_t i = 0; i < n; i += V_WIDTH) {
        const size_t left = n - i;
        const v_f32 sum = v_add(row_load(y + i, left), row_load(x + i, left));
        row_store(y + i, flush ? v_flush(sum) : sum, left);
    }
}

const lstmc_train_kernels CAT(LSTMC_KERNELS, _train) = {
    .width = V_WIDTH,
    .gemm = train_gemm,
    .map_back = train_map_back,
    .add = train_add,
    .lstm_row = saving_lstm_row,
    .lstm_rows = saving_lstm_rows,
    .gru_row = saving_gru_row,
    .gru_rows = saving_gru_rows,
    .fused_lstm_back = fused_lstm_back,
    .fused_gru_back = fused_gru_back,
    .lstm_keep = train_lstm_keep,
    .lstm_back = train_lstm_back,
    .gru_keep = train_gru_keep,
    .gru_back = train_gru_back,
    .rnn_keep = train_rnn_keep,
    .rnn_back = train_rnn_back,
    .masked = train_masked,
    .diagonal = train_diagonal,
    .loss = train_loss,
    .update = train_update,
    .squares = train_squares,
};
