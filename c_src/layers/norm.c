/* Affine: y = flush(fn(fma(scale, x, shift))). LayerNorm: kernels.h says in which order.
 *
 * Tensors: scale [features] and shift [features], either may be none. Params: fn; epsilon, and rms
 * as an option. */
#include "layers.h"

#include <string.h>

/* A tensor is absent, or a vector over the features; both have panels of one width. */
static int check_shape(const lstmc_layer *l) {
    lstmc_tensor t;
    uint32_t panel = 0;
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    for (uint32_t i = 0; i < 2; i++) {
        if (!lstmc_tensor_get(l, i, &t)) continue;
        if (!panel) panel = t.panel;
        if (!lstmc_tensor_is(&t, 1, x.features, 1, panel)) return LSTMC_E_INVALID;
    }
    return lstmc_layer_output(l, 0, x) ? LSTMC_OK : LSTMC_E_INVALID;
}

static int check_affine(const lstmc_layer *l) {
    lstmc_fn fn;
    if (!lstmc_layer_counts(l, 1, 1, 2, 3)) return LSTMC_E_INVALID;
    if (!lstmc_fn_get(l->params, &fn)) return LSTMC_E_UNSUPPORTED;
    return check_shape(l);
}

static int check_layer_norm(const lstmc_layer *l) {
    if (!lstmc_layer_counts(l, 1, 1, 2, 1) && !lstmc_layer_counts(l, 1, 1, 2, 2)) {
        return LSTMC_E_INVALID;
    }
    /* The largest finite float; a negative one or NaN has larger bits. */
    if (l->params[0] > 0x7f7fffffu || lstmc_param(l, 1, 0) > 1) return LSTMC_E_INVALID;
    return check_shape(l);
}

typedef struct norm {
    uint32_t x, y; /* value ids */
    uint32_t features, rms;
    const float *scale, *shift; /* may be NULL */
    float epsilon;
    lstmc_fn fn;
} norm;

static void norm_prepare(const lstmc_layer *l, norm *p) {
    lstmc_tensor t;
    memset(p, 0, sizeof *p);
    p->x = l->inputs[0];
    p->y = l->outputs[0];
    p->features = lstmc_value_get(l->model, p->x).features;
    p->scale = lstmc_tensor_get(l, 0, &t) ? t.data : NULL;
    p->shift = lstmc_tensor_get(l, 1, &t) ? t.data : NULL;
}

static void prepare_affine(const lstmc_layer *l, void *prepared) {
    norm *p = (norm *)prepared;
    norm_prepare(l, p);
    (void)lstmc_fn_get(l->params, &p->fn);
}

static void prepare_layer_norm(const lstmc_layer *l, void *prepared) {
    norm *p = (norm *)prepared;
    norm_prepare(l, p);
    memcpy(&p->epsilon, l->params, sizeof p->epsilon);
    p->rms = lstmc_param(l, 1, 0);
}

static void run_affine(lstmc_node *node, const lstmc_call *call) {
    const norm *p = (const norm *)node->prepared;
    if (p->y == LSTMC_NONE) return;
    const lstmc_view x = call->views[p->x], y = call->views[p->y];
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        for (uint32_t t = 0; t < lstmc_steps(call, p->x); t++) {
            LSTMC_KERNEL(node->full, affine, &p->fn, p->scale, p->shift, lstmc_at(&x, b, t),
                         lstmc_at(&y, b, t), p->features);
        }
    }
}

static void run_layer_norm(lstmc_node *node, const lstmc_call *call) {
    const norm *p = (const norm *)node->prepared;
    if (p->y == LSTMC_NONE) return;
    const lstmc_view x = call->views[p->x], y = call->views[p->y];
    lstmc_norm_args a = {NULL, p->scale, p->shift, NULL, p->features, p->epsilon, p->rms};
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        for (uint32_t t = 0; t < lstmc_steps(call, p->x); t++) {
            a.x = lstmc_at(&x, b, t);
            a.y = lstmc_at(&y, b, t);
            LSTMC_KERNEL(node->full, layer_norm, &a);
        }
    }
}

const lstmc_layer_ops lstmc_layer_affine = {
    .code = 9,
    .prepared_size = sizeof(norm),
    .check = check_affine,
    .prepare = prepare_affine,
    .plan = lstmc_plan_nothing,
    .run = run_affine,
};
const lstmc_layer_ops lstmc_layer_layer_norm = {
    .code = 10,
    .prepared_size = sizeof(norm),
    .check = check_layer_norm,
    .prepare = prepare_layer_norm,
    .plan = lstmc_plan_nothing,
    .run = run_layer_norm,
};
