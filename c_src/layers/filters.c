/* The products of windows and filters: filters.h. */
#include "filters.h"

#include "../parallel.h"

int lstmc_filters_check(const lstmc_layer *l, uint32_t k, uint32_t fn) {
    lstmc_tensor weight, bias;
    lstmc_fn found;
    if (!lstmc_fn_get(l->params + fn, &found)) return LSTMC_E_UNSUPPORTED;
    if (!lstmc_tensor_get(l, 0, &weight) ||
        !lstmc_tensor_is(&weight, 1, weight.units, k, weight.panel)) {
        return LSTMC_E_INVALID;
    }
    if (lstmc_tensor_get(l, 1, &bias) &&
        !lstmc_tensor_is(&bias, 1, weight.units, 1, weight.panel)) {
        return LSTMC_E_INVALID;
    }
    return LSTMC_OK;
}

void lstmc_filters_get(const lstmc_layer *l, uint32_t depthwise, uint32_t fn, lstmc_filters *f) {
    lstmc_tensor weight, bias;
    (void)lstmc_tensor_get(l, 0, &weight);
    (void)lstmc_fn_get(l->params + fn, &f->fn);
    f->weight = weight.data;
    f->bias = lstmc_tensor_get(l, 1, &bias) ? bias.data : NULL;
    f->depthwise = depthwise;
    f->k = weight.k;
    f->units = weight.units;
    f->panel = weight.panel;
    f->half = lstmc_padded(weight.units, weight.panel) % weight.panel;
    f->full = lstmc_padded(weight.units, weight.panel) - f->half;
}

void lstmc_filters_run(const lstmc_filters *f, const lstmc_node *node, const lstmc_call *call,
                       const lstmc_windows *r) {
    for (uint32_t half = 0; half < 2; half++) {
        if (!(half ? f->half : f->full)) continue;
        const lstmc_kernels *kernels = lstmc_kernels_for(node, half);
        const uint32_t skip = half ? f->full : 0, panel = half ? f->half : f->panel;
        const uint32_t columns = half || f->units < f->full ? f->units - skip : f->full;
        const float *w = f->weight + (size_t)skip * f->k, *init = r->init + skip;
        if (f->depthwise) {
            const lstmc_depthwise_args a = {.w = w,
                                            .x = r->x + skip,
                                            .init = init,
                                            .y = r->y + skip,
                                            .x_stride = r->x_stride,
                                            .tap_stride = r->tap_stride,
                                            .y_stride = r->y_stride,
                                            .rows = r->rows,
                                            .taps = f->k,
                                            .panel = panel,
                                            .columns = columns,
                                            .fn = f->fn};
            LSTMC_KERNEL(kernels, depthwise, &a);
        } else {
            const lstmc_matmul_args a = {.w = w,
                                         .x = r->x,
                                         .init = init,
                                         .y = r->y + skip,
                                         .x_stride = r->x_stride,
                                         .y_stride = r->y_stride,
                                         .rows = r->rows,
                                         .k = f->k,
                                         .panel = panel,
                                         .columns = columns,
                                         .fn = f->fn};
            lstmc_matmul(call, kernels, &a);
        }
    }
}
