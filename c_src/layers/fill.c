/* Fill: y = flush(value), the same in every row, whatever x is.
 *
 * Tensors: value [units]. */
#include "layers.h"

static int fill_check(const lstmc_layer *l) {
    lstmc_tensor value;
    if (!lstmc_layer_counts(l, 1, 1, 1, 0)) return LSTMC_E_INVALID;
    if (!lstmc_tensor_get(l, 0, &value) ||
        !lstmc_tensor_is(&value, 1, value.units, 1, value.panel)) {
        return LSTMC_E_INVALID;
    }
    return lstmc_layer_output(l, 0, lstmc_without_time(value.units)) ? LSTMC_OK : LSTMC_E_INVALID;
}

typedef struct fill {
    uint32_t y; /* value id */
    uint32_t units;
    const float *value;
} fill;

static void fill_prepare(const lstmc_layer *l, void *prepared) {
    fill *p = (fill *)prepared;
    lstmc_tensor value;
    (void)lstmc_tensor_get(l, 0, &value);
    p->y = l->outputs[0];
    p->units = value.units;
    p->value = value.data;
}

static void fill_run(lstmc_node *node, const lstmc_call *call) {
    const fill *p = (const fill *)node->prepared;
    if (p->y == LSTMC_NONE) return;
    const lstmc_view y = call->views[p->y];
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        LSTMC_KERNEL(node->full, map, &lstmc_linear, 1, p->value, lstmc_at(&y, b, 0), p->units);
    }
}

const lstmc_layer_ops lstmc_layer_fill = {
    .code = LSTMC_CODE_FILL,
    .prepared_size = sizeof(fill),
    .check = fill_check,
    .prepare = fill_prepare,
    .plan = lstmc_plan_nothing,
    .run = fill_run,
};
