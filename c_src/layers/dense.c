/* Dense: y = flush(fn(bias + weight x)), at each time step if there are any.
 *
 * Tensors: weight [units, k], bias [units] or none; params: fn. */
#include "layers.h"

static int check(const lstmc_layer *l) {
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
    return lstmc_layer_output(l, 0, weight.units, x.has_time) ? LSTMC_OK : LSTMC_E_INVALID;
}

/* Without a bias the sums start from zeros, which need a place. */
static void plan(const lstmc_layer *l, uint32_t batch, uint32_t time, lstmc_need *need) {
    lstmc_tensor weight, bias;
    (void)batch;
    (void)time;
    (void)lstmc_tensor_get(l, 0, &weight);
    if (!lstmc_tensor_get(l, 1, &bias)) need->scratch = lstmc_padded(weight.units, weight.panel);
}

static void run(lstmc_node *node, const lstmc_call *call) {
    lstmc_tensor weight, bias;
    if (node->layer.outputs[0] == LSTMC_NONE) return;
    (void)lstmc_tensor_get(&node->layer, 0, &weight);
    const uint32_t padded = lstmc_padded(weight.units, weight.panel);
    const float *init = call->scratch;
    if (lstmc_tensor_get(&node->layer, 1, &bias)) {
        init = bias.data;
    } else {
        for (uint32_t i = 0; i < padded; i++) call->scratch[i] = 0.0f;
    }
    const lstmc_view x = call->views[node->layer.inputs[0]];
    const lstmc_view y = call->views[node->layer.outputs[0]];
    const uint32_t has_time = lstmc_value_get(node->layer.model, node->layer.inputs[0]).has_time;
    const uint32_t time = has_time ? call->time : 1;

    /* One product for all rows that lie evenly: everything if dense, else row by row. */
    const int even = time == 1 || (x.batch_stride == time * x.time_stride &&
                                   y.batch_stride == time * y.time_stride);
    const uint32_t steps = even ? 1 : call->batch;
    lstmc_matmul_args a;
    a.k = weight.k;
    a.raw = 0;
    (void)lstmc_fn_get(node->layer.params, &a.fn);
    a.rows = even ? call->batch * time : time;
    a.x_stride = time == 1 ? x.batch_stride : x.time_stride;
    a.y_stride = time == 1 ? y.batch_stride : y.time_stride;

    /* The panels of full width, then the half one. */
    const uint32_t half = padded % weight.panel;
    const uint32_t full = padded - half;
    for (uint32_t b = 0; b < steps; b++) {
        a.x = x.data + b * x.batch_stride;
        a.y = y.data + b * y.batch_stride;
        a.w = weight.data;
        a.init = init;
        a.panel = weight.panel;
        a.columns = weight.units < full ? weight.units : full;
        if (full) node->full->matmul(&a);
        if (!half) continue;
        a.y += full;
        a.w += (size_t)full * weight.k;
        a.init += full;
        a.panel = half;
        a.columns = weight.units - full;
        node->half->matmul(&a);
    }
}

const lstmc_layer_ops lstmc_layer_dense = {2, check, plan, run, 0, NULL};
