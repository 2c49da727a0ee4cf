/* LastStep: the last valid step of a sequence, remembered between calls. */
#include "layers.h"

#include <string.h>

static int last_step_check(const lstmc_layer *l) {
    if (!lstmc_layer_counts(l, 1, 1, 0, 0)) return LSTMC_E_INVALID;
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    return x.has_time && lstmc_layer_output(l, 0, lstmc_without_time(x.features)) ? LSTMC_OK
                                                                                  : LSTMC_E_INVALID;
}

typedef struct ending {
    uint32_t x, y; /* value ids */
    uint32_t features;
} ending;

static void last_step_prepare(const lstmc_layer *l, void *prepared) {
    ending *p = (ending *)prepared;
    p->x = l->inputs[0];
    p->y = l->outputs[0];
    p->features = lstmc_value_get(l->model, p->x).features;
}

static void last_step_plan(const lstmc_layer *l, uint32_t batch, uint32_t time, lstmc_need *need) {
    (void)time;
    need->state = lstmc_size_mul(batch, lstmc_value_get(l->model, l->inputs[0]).features);
}

static void last_step_run(lstmc_node *node, const lstmc_call *call) {
    const ending *p = (const ending *)node->prepared;
    const lstmc_view x = call->views[p->x];
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        float *kept = node->state + b * node->state_stride;
        const uint32_t n = lstmc_row_steps(call, p->x, b);
        if (n) {
            const lstmc_fn linear = {LSTMC_FN_LINEAR, 0.0f,
                                     0.0f}; /* a model's input may be small */
            LSTMC_KERNEL(node->full, map, &linear, 1,
                         x.data + b * x.batch_stride + (n - 1) * x.time_stride, kept, p->features);
        }
        if (p->y == LSTMC_NONE) continue;
        const lstmc_view y = call->views[p->y];
        memcpy(y.data + b * y.batch_stride, kept, p->features * sizeof *kept);
    }
}

static void last_step_state(const lstmc_node *node, uint32_t index, lstmc_state_view *view) {
    (void)index;
    view->name = "last";
    view->features = ((const ending *)node->prepared)->features;
    view->data = node->state;
    view->stride = node->state_stride;
}

const lstmc_layer_ops lstmc_layer_last_step = {
    .code = 5,
    .prepared_size = sizeof(ending),
    .check = last_step_check,
    .prepare = last_step_prepare,
    .plan = last_step_plan,
    .run = last_step_run,
    .state_count = 1,
    .state = last_step_state,
};
