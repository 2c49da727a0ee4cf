/* Dense: y = flush(fn(bias + weight x)), at each time step if there are any.
 *
 * Tensors: weight [units, k], bias [units] or none; params: fn. */
#include "../parallel.h"
#include "layers.h"

static int dense_check(const lstmc_layer *l) {
    lstmc_tensor weight, bias;
    lstmc_fn fn;
    if (!lstmc_layer_counts(l, 1, 1, 2, 3)) return LSTMC_E_INVALID;
    if (!lstmc_fn_get(l->params, &fn)) return LSTMC_E_UNSUPPORTED;
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    if (!lstmc_tensor_get(l, 0, &weight) ||
        !lstmc_tensor_is(&weight, 1, weight.units, x.features, weight.panel)) {
        return LSTMC_E_INVALID;
    }
    if (lstmc_tensor_get(l, 1, &bias) &&
        !lstmc_tensor_is(&bias, 1, weight.units, 1, weight.panel)) {
        return LSTMC_E_INVALID;
    }
    return lstmc_layer_output(l, 0, lstmc_with_features(x, weight.units)) ? LSTMC_OK
                                                                          : LSTMC_E_INVALID;
}

typedef struct dense {
    const float *weight, *bias; /* bias may be NULL */
    uint32_t x, y;              /* value ids */
    uint32_t k, units, panel;
    uint32_t full, half; /* columns in panels of full width, and padded ones in the half panel */
    lstmc_fn fn;
} dense;

static void dense_prepare(const lstmc_layer *l, void *prepared) {
    dense *d = (dense *)prepared;
    lstmc_tensor weight, bias;
    (void)lstmc_tensor_get(l, 0, &weight);
    (void)lstmc_fn_get(l->params, &d->fn);
    d->weight = weight.data;
    d->bias = lstmc_tensor_get(l, 1, &bias) ? bias.data : NULL;
    d->x = l->inputs[0];
    d->y = l->outputs[0];
    d->k = weight.k;
    d->units = weight.units;
    d->panel = weight.panel;
    d->half = lstmc_padded(weight.units, weight.panel) % weight.panel;
    d->full = lstmc_padded(weight.units, weight.panel) - d->half;
}

/* Without a bias the sums start from zeros, which need a place. */
static void dense_plan(const lstmc_layer *l, uint32_t batch, uint32_t time, lstmc_need *need) {
    dense d;
    (void)batch;
    (void)time;
    dense_prepare(l, &d);
    need->work = (float)d.k * (float)d.units;
    if (!d.bias) need->scratch = (size_t)d.full + d.half;
}

static void dense_run(lstmc_node *node, const lstmc_call *call) {
    const dense *d = (const dense *)node->prepared;
    if (d->y == LSTMC_NONE) return;
    const float *init = d->bias;
    if (!init) {
        for (uint32_t i = 0; i < d->full + d->half; i++) call->scratch[i] = 0.0f;
        init = call->scratch;
    }
    const lstmc_view x = call->views[d->x], y = call->views[d->y];
    const uint32_t time = lstmc_steps(call, d->x);

    /* One product for all rows that lie evenly: everything if dense, else row by row. */
    const int even = time == 1 || (x.batch_stride == time * x.time_stride &&
                                   y.batch_stride == time * y.time_stride);
    const uint32_t turns = even ? 1 : lstmc_batch(call);
    lstmc_matmul_args a;
    a.k = d->k;
    a.raw = 0;
    a.init_stride = 0;
    a.fn = d->fn;
    a.rows = even ? lstmc_batch(call) * time : time;
    a.x_stride = time == 1 ? x.batch_stride : x.time_stride;
    a.y_stride = time == 1 ? y.batch_stride : y.time_stride;
    for (uint32_t b = 0; b < turns; b++) {
        a.x = x.data + b * x.batch_stride;
        a.y = y.data + b * y.batch_stride;
        if (d->full) {
            a.w = d->weight;
            a.init = init;
            a.panel = d->panel;
            a.columns = d->units < d->full ? d->units : d->full;
            lstmc_matmul(call, lstmc_kernels_for(node, 0), &a);
        }
        if (d->half) {
            a.y += d->full;
            a.w = d->weight + (size_t)d->full * d->k;
            a.init = init + d->full;
            a.panel = d->half;
            a.columns = d->units - d->full;
            lstmc_matmul(call, lstmc_kernels_for(node, 1), &a);
        }
    }
}

const lstmc_layer_ops lstmc_layer_dense = {
    .code = 2,
    .prepared_size = sizeof(dense),
    .check = dense_check,
    .prepare = dense_prepare,
    .plan = dense_plan,
    .run = dense_run,
};
