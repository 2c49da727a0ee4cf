/* Activation and Softmax: what works on the features of each row and step alone. */
#include "layers.h"

static int check_shape(const lstmc_layer *l, uint32_t params) {
    if (!lstmc_layer_counts(l, 1, 1, 0, params)) return LSTMC_E_INVALID;
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    return lstmc_layer_output(l, 0, x.features, x.has_time) ? LSTMC_OK : LSTMC_E_INVALID;
}

static int check_activation(const lstmc_layer *l) {
    lstmc_fn fn;
    const int status = check_shape(l, 3);
    if (status) return status;
    return lstmc_fn_get(l->params, &fn) ? LSTMC_OK : LSTMC_E_UNSUPPORTED;
}

static int check_softmax(const lstmc_layer *l) { return check_shape(l, 0); }

static void plan(const lstmc_layer *l, uint32_t batch, uint32_t time, lstmc_need *need) {
    (void)l;
    (void)batch;
    (void)time;
    (void)need;
}

static void run(lstmc_node *node, const lstmc_call *call) {
    if (node->layer.outputs[0] == LSTMC_NONE) return;
    const lstmc_value v = lstmc_value_get(node->layer.model, node->layer.inputs[0]);
    const lstmc_view x = call->views[node->layer.inputs[0]];
    const lstmc_view y = call->views[node->layer.outputs[0]];
    const int is_softmax = node->ops == &lstmc_layer_softmax;
    lstmc_fn fn;
    if (!is_softmax) (void)lstmc_fn_get(node->layer.params, &fn);
    for (uint32_t b = 0; b < call->batch; b++) {
        for (uint32_t t = 0; t < (v.has_time ? call->time : 1); t++) {
            const float *from = x.data + b * x.batch_stride + t * x.time_stride;
            float *to = y.data + b * y.batch_stride + t * y.time_stride;
            if (is_softmax) {
                node->full->softmax(from, to, v.features);
            } else {
                node->full->map(&fn, 1, from, to, v.features);
            }
        }
    }
}

const lstmc_layer_ops lstmc_layer_activation = {3, check_activation, plan, run, 0, NULL};
const lstmc_layer_ops lstmc_layer_softmax = {4, check_softmax, plan, run, 0, NULL};
