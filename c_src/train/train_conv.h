/* The training of convolutions: what its two files share. */
#ifndef LSTMC_TRAIN_CONV_H
#define LSTMC_TRAIN_CONV_H

#include "../layers/filters.h"
#include "train.h"
#include "windows.h"

typedef struct lstmc_train_conv {
    lstmc_window time, across;
    lstmc_filters filters;
    float *dweight, *dbias; /* NULL: frozen */
    uint32_t x, y;          /* value ids */
    uint32_t flat;          /* 1: Conv1D */
    uint32_t channels;      /* of a place */
    uint32_t positions, made;
    uint32_t keep;   /* 1: fn' needs p, which forward keeps */
    uint32_t past;   /* remembered steps that count */
    uint32_t copied; /* 1: x is read from a flushed copy, with the past in front */
    uint32_t plain;
} lstmc_train_conv;

static inline size_t lstmc_train_conv_past(const lstmc_train_conv *d) {
    return (size_t)d->past * d->time.features;
}

/* Floats of a step of y. */
static inline size_t lstmc_train_conv_width(const lstmc_train_conv *d) {
    return (size_t)d->made * d->filters.units;
}

/* Floats of a window. */
static inline size_t lstmc_train_conv_window(const lstmc_train_conv *d) {
    return (size_t)d->filters.k * (d->filters.depthwise ? d->channels : 1);
}

/* A row's numbers. */
typedef struct lstmc_conv_row {
    lstmc_axis outer, inner;
    const float *x, *dp;
    uint32_t n; /* valid steps of x */
} lstmc_conv_row;

/* Steps of y's row b that are made of x. */
uint32_t lstmc_train_conv_steps(const lstmc_train_conv *d, const lstmc_call *call, uint32_t b);

/* Row b; x: where its copy is, if there is one. dp: [steps][made][units] */
lstmc_conv_row lstmc_train_conv_get(const lstmc_train_conv *d, const lstmc_call *call, uint32_t b,
                                    const float *x, const float *dp);

/* Copy row b of x, the past in front; the past of row 0 as forward has kept it. */
void lstmc_train_conv_copy(const lstmc_train_node *node, const lstmc_call *call, uint32_t b,
                           const float *past, float *to);
float *lstmc_train_conv_kept(const lstmc_train_node *node, const lstmc_call *call);

void lstmc_train_conv_backward(const lstmc_train_node *node, const lstmc_call *call);

#endif
