/* Activation and Softmax: what works on the features of each row and step alone. */
#include "layers.h"

static int check_shape(const lstmc_layer *l, uint32_t params) {
    if (!lstmc_layer_counts(l, 1, 1, 0, params)) return LSTMC_E_INVALID;
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    return lstmc_layer_output(l, 0, x) ? LSTMC_OK : LSTMC_E_INVALID;
}

static int check_activation(const lstmc_layer *l) {
    lstmc_fn fn;
    const int status = check_shape(l, 3);
    if (status) return status;
    return lstmc_fn_get(l->params, &fn) ? LSTMC_OK : LSTMC_E_UNSUPPORTED;
}

static int check_softmax(const lstmc_layer *l) { return check_shape(l, 0); }

typedef struct elementwise {
    uint32_t x, y; /* value ids */
    lstmc_value value;
    uint32_t is_softmax;
    lstmc_fn fn;
} elementwise;

static void prepare(const lstmc_layer *l, void *prepared) {
    elementwise *p = (elementwise *)prepared;
    p->x = l->inputs[0];
    p->y = l->outputs[0];
    p->value = lstmc_value_get(l->model, p->x);
    p->is_softmax = l->param_count == 0;
    if (!p->is_softmax) (void)lstmc_fn_get(l->params, &p->fn);
}

static void plan(const lstmc_layer *l, uint32_t batch, uint32_t time, lstmc_need *need) {
    (void)l;
    (void)batch;
    (void)time;
    (void)need;
}

static void run(lstmc_node *node, const lstmc_call *call) {
    const elementwise *p = (const elementwise *)node->prepared;
    if (p->y == LSTMC_NONE) return;
    const lstmc_view x = call->views[p->x], y = call->views[p->y];
    for (uint32_t b = 0; b < call->batch; b++) {
        for (uint32_t t = 0; t < lstmc_steps(call, p->x); t++) {
            const float *from = x.data + b * x.batch_stride + t * x.time_stride;
            float *to = y.data + b * y.batch_stride + t * y.time_stride;
            if (p->is_softmax) {
                node->full->softmax(from, to, p->value.features);
            } else {
                node->full->map(&p->fn, 1, from, to, p->value.features);
            }
        }
    }
}

const lstmc_layer_ops lstmc_layer_activation = {
    3, sizeof(elementwise), check_activation, prepare, plan, run, NULL, 0, NULL, NULL};
const lstmc_layer_ops lstmc_layer_softmax = {
    4, sizeof(elementwise), check_softmax, prepare, plan, run, NULL, 0, NULL, NULL};
