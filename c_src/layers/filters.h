/* What convolutions have in common: the products of windows, rows of numbers, and filters.
 *
 * y[row][o] = flush(fn(p)), one chain: p = bias; for k ascending: p = fma(w[o][k], x[row][k], p).
 * Depthwise, each channel has a filter for itself: the same with x[row][k][o], flushed.
 * Tensors: weight [O, K], or [C, taps]; bias [O] or none. */
#ifndef LSTMC_FILTERS_H
#define LSTMC_FILTERS_H

#include "layers.h"

typedef struct lstmc_filters {
    const float *weight, *bias; /* bias may be NULL */
    uint32_t depthwise;
    uint32_t k; /* numbers of a filter */
    uint32_t units, panel;
    uint32_t full, half; /* columns in panels of full width, and padded ones in the half panel */
    lstmc_fn fn;
} lstmc_filters;

/* Whether the layer's two tensors are filters of k numbers: LSTMC_OK, LSTMC_E_INVALID, or
 * LSTMC_E_UNSUPPORTED for the function. That is in parameters fn to fn + 2, of which a layer's check
 * has made sure. */
int lstmc_filters_check(const lstmc_layer *l, uint32_t k, uint32_t fn);
void lstmc_filters_get(const lstmc_layer *l, uint32_t depthwise, uint32_t fn, lstmc_filters *f);

/* Floats of scratch for zeros where there is no bias; what sums start from, with those zeros. */
static inline size_t lstmc_filters_zeros(const lstmc_filters *f) {
    return f->bias ? 0 : (size_t)f->full + f->half;
}

static inline const float *lstmc_filters_init(const lstmc_filters *f, float *zeros) {
    for (size_t i = 0; i < lstmc_filters_zeros(f); i++) zeros[i] = 0.0f;
    return f->bias ? f->bias : zeros;
}

/* Windows that lie evenly. */
typedef struct lstmc_windows {
    const float *init;
    const float *x; /* of the first window, x_stride floats apart */
    size_t x_stride;
    size_t tap_stride; /* depthwise only: floats from a channel's number to its next */
    float *y;
    size_t y_stride;
    uint32_t rows;
} lstmc_windows;

void lstmc_filters_run(const lstmc_filters *f, const lstmc_node *node, const lstmc_call *call,
                       const lstmc_windows *r);

#endif
