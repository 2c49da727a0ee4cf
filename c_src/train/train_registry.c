/* The layers that this build can train, one line each. */
#include "train_layers.h"

/* clang-format off */
static const lstmc_train_ops *const trained[] = {
    &lstmc_train_dense,
    &lstmc_train_last_step,
    &lstmc_train_lstm,
    &lstmc_train_gru,
    &lstmc_train_rnn,
    &lstmc_train_activation,
    &lstmc_train_affine,
    &lstmc_train_combine,
    &lstmc_train_concat,
    &lstmc_train_embedding,
    &lstmc_train_fill,
    &lstmc_train_layer_norm,
    &lstmc_train_reduce,
    &lstmc_train_select,
    &lstmc_train_softmax,
    &lstmc_train_conv1d,
    &lstmc_train_conv2d,
    &lstmc_train_depthwise_conv1d,
    &lstmc_train_depthwise_conv2d,
    &lstmc_train_flatten,
    &lstmc_train_pad_time,
    &lstmc_train_pool1d,
    &lstmc_train_pool_positions,
    &lstmc_train_reduce_time,
    &lstmc_train_repeat,
    &lstmc_train_restep,
    &lstmc_train_reverse,
    &lstmc_train_slice_time,
    &lstmc_train_softmax_time,
    &lstmc_train_step_mask,
    &lstmc_train_unflatten,
};
/* clang-format on */

const lstmc_train_ops *lstmc_train_find(uint32_t code) {
    for (size_t i = 0; i < sizeof trained / sizeof trained[0]; i++) {
        if (trained[i]->code == code) return trained[i];
    }
    return NULL;
}
