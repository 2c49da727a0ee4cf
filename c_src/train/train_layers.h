/* The training of every layer. */
#ifndef LSTMC_TRAIN_LAYERS_H
#define LSTMC_TRAIN_LAYERS_H

#include "train.h"

extern const lstmc_train_ops lstmc_train_dense;
extern const lstmc_train_ops lstmc_train_last_step;
extern const lstmc_train_ops lstmc_train_lstm;
extern const lstmc_train_ops lstmc_train_gru;
extern const lstmc_train_ops lstmc_train_rnn;
extern const lstmc_train_ops lstmc_train_activation;
extern const lstmc_train_ops lstmc_train_affine;
extern const lstmc_train_ops lstmc_train_combine;
extern const lstmc_train_ops lstmc_train_concat;
extern const lstmc_train_ops lstmc_train_embedding;
extern const lstmc_train_ops lstmc_train_fill;
extern const lstmc_train_ops lstmc_train_layer_norm;
extern const lstmc_train_ops lstmc_train_reduce;
extern const lstmc_train_ops lstmc_train_select;
extern const lstmc_train_ops lstmc_train_softmax;
extern const lstmc_train_ops lstmc_train_conv1d;
extern const lstmc_train_ops lstmc_train_conv2d;
extern const lstmc_train_ops lstmc_train_depthwise_conv1d;
extern const lstmc_train_ops lstmc_train_depthwise_conv2d;
extern const lstmc_train_ops lstmc_train_flatten;
extern const lstmc_train_ops lstmc_train_pad_time;
extern const lstmc_train_ops lstmc_train_pool1d;
extern const lstmc_train_ops lstmc_train_pool_positions;
extern const lstmc_train_ops lstmc_train_reduce_time;
extern const lstmc_train_ops lstmc_train_repeat;
extern const lstmc_train_ops lstmc_train_restep;
extern const lstmc_train_ops lstmc_train_reverse;
extern const lstmc_train_ops lstmc_train_slice_time;
extern const lstmc_train_ops lstmc_train_softmax_time;
extern const lstmc_train_ops lstmc_train_step_mask;
extern const lstmc_train_ops lstmc_train_unflatten;

#endif
