/* The kernels of training, once, over the vector operations of whichever vec_*.h was included before;
 * included by kernels/algorithms.h in place of those of inference. */
#include "train_kernels.h"

#include "derivatives.h"
#include "gemm.h"
#include "pointwise_back.h"
#ifndef LSTMC_FROZEN /* firmware goes the general way (train_recurrent.h) */
#include "fused_saving.h"
#include "fused_back.h"
#endif
#include "cells_back.h"
#include "loss_kernels.h"
#include "optimizer_kernels.h"
#include "steps_back.h"

#ifndef LSTMC_FROZEN
const lstmc_train_kernels CAT(LSTMC_KERNELS, _train) = {
    .width = V_WIDTH,
    .gemm = train_gemm,
    .map_back = train_map_back,
    .add = train_add,
    .sum = train_sum,
    .scatter = train_scatter,
    .softmax_back = train_softmax_back,
    .affine_back = train_affine_back,
    .layer_norm_back = train_layer_norm_back,
    .combine_back = train_combine_back,
    .reduce_back = train_reduce_back,
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
    .dots = train_dots,
    .count_extreme = train_count_extreme,
    .share_extreme = train_share_extreme,
    .take_extreme = train_take_extreme,
    .softmax_steps_back = train_softmax_steps_back,
};
#endif
