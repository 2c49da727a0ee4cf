/* The layers this build has, one line each. */
#include "layers.h"

/* clang-format off */
static const lstmc_layer_ops *const all[] = {
    &lstmc_layer_lstm,
    &lstmc_layer_dense,
    &lstmc_layer_activation,
    &lstmc_layer_softmax,
    &lstmc_layer_last_step,
    &lstmc_layer_gru,
    &lstmc_layer_rnn,
    &lstmc_layer_embedding,
    &lstmc_layer_affine,
    &lstmc_layer_layer_norm,
    &lstmc_layer_combine,
    &lstmc_layer_concat,
    &lstmc_layer_select,
    &lstmc_layer_reduce,
    &lstmc_layer_fill,
    &lstmc_layer_reduce_time,
    &lstmc_layer_reverse,
    &lstmc_layer_slice_time,
    &lstmc_layer_pad_time,
    &lstmc_layer_repeat,
    &lstmc_layer_flatten,
    &lstmc_layer_unflatten,
    &lstmc_layer_conv1d,
    &lstmc_layer_depthwise_conv1d,
    &lstmc_layer_pool1d,
    &lstmc_layer_softmax_time,
    &lstmc_layer_step_mask,
    &lstmc_layer_conv2d,
    &lstmc_layer_depthwise_conv2d,
    &lstmc_layer_pool_positions,
    &lstmc_layer_restep,
};
/* clang-format on */

const lstmc_layer_ops *lstmc_layer_find(uint32_t code) {
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (all[i]->code == code) return all[i];
    }
    return NULL;
}
