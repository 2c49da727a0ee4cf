/* The training of every layer. */
#ifndef LSTMC_TRAIN_LAYERS_H
#define LSTMC_TRAIN_LAYERS_H

#include "train.h"

extern const lstmc_train_ops lstmc_train_dense;
extern const lstmc_train_ops lstmc_train_last_step;
extern const lstmc_train_ops lstmc_train_lstm;
extern const lstmc_train_ops lstmc_train_gru;
extern const lstmc_train_ops lstmc_train_rnn;

#endif
