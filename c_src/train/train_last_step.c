/* LastStep, backward: dy to the last valid step of each row, zeros to the others. */
#include "train_layers.h"

typedef struct train_ending {
    uint32_t x;
} train_ending;

static void train_last_step_prepare(const lstmc_train_layer *l, void *prepared) {
    train_ending *d = (train_ending *)prepared;
    d->x = l->layer.inputs[0];
}

static void train_last_step_backward(const lstmc_train_node *node, const lstmc_call *call) {
    const train_ending *d = (const train_ending *)node->prepared;
    const lstmc_view dx = node->dx[0], dy = node->dy[0];
    const uint32_t features = lstmc_features(call, d->x), steps = lstmc_steps(call, d->x);
    if (!dx.data) return;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t valid = lstmc_row_steps(call, d->x, b);
        for (uint32_t t = 0; t < steps; t++) lstmc_zero_step(&dx, b, t, features);
        if (valid) {
            LSTMC_KERNEL(node->node->full, map, &lstmc_linear, 1, lstmc_at(&dy, b, 0),
                         lstmc_at(&dx, b, valid - 1), features);
        }
    }
}

const lstmc_train_ops lstmc_train_last_step = {
    .code = 5,
    .prepared_size = sizeof(train_ending),
    .prepare = train_last_step_prepare,
    .backward = train_last_step_backward,
};
