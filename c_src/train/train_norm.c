/* Affine and LayerNorm, backward; kernels say how. */
#include "train_layers.h"

#include <string.h>

typedef struct train_norm {
    uint32_t x, y; /* value ids */
    uint32_t features, rms;
    const float *scale, *shift; /* may be NULL */
    float *dscale, *dshift;     /* NULL: frozen */
    float epsilon;
    lstmc_fn fn;
} train_norm;

static void train_norm_prepare(const lstmc_train_layer *l, train_norm *p) {
    lstmc_tensor t;
    memset(p, 0, sizeof *p);
    p->x = l->layer.inputs[0];
    p->y = l->layer.outputs[0];
    p->features = lstmc_value_get(l->layer.model, p->x).features;
    p->scale = lstmc_tensor_get(&l->layer, 0, &t) ? t.data : NULL;
    p->shift = lstmc_tensor_get(&l->layer, 1, &t) ? t.data : NULL;
    p->dscale = lstmc_train_gradient(l, 0);
    p->dshift = lstmc_train_gradient(l, 1);
}

static void train_affine_prepare(const lstmc_train_layer *l, void *prepared) {
    train_norm *p = (train_norm *)prepared;
    train_norm_prepare(l, p);
    (void)lstmc_fn_get(l->layer.params, &p->fn);
}

static void train_layer_norm_prepare(const lstmc_train_layer *l, void *prepared) {
    train_norm *p = (train_norm *)prepared;
    train_norm_prepare(l, p);
    memcpy(&p->epsilon, l->layer.params, sizeof p->epsilon);
    p->rms = lstmc_param(&l->layer, 1, 0);
}

static void train_layer_norm_plan(const lstmc_train_layer *l, lstmc_train_need *need) {
    need->scratch = lstmc_value_get(l->layer.model, l->layer.inputs[0]).features;
}

static void train_affine_backward(const lstmc_train_node *node, const lstmc_call *call) {
    const train_norm *p = (const train_norm *)node->prepared;
    const lstmc_view x = call->views[p->x], y = call->views[p->y];
    const lstmc_view dx = node->dx[0], dy = node->dy[0];
    const uint32_t steps = lstmc_steps(call, p->x);
    lstmc_affine_back_args a = {&p->fn, p->scale, p->shift,  NULL,      NULL,
                                NULL,   NULL,     p->dscale, p->dshift, p->features};
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t valid = lstmc_row_steps(call, p->x, b);
        for (uint32_t t = valid; t-- > 0;) {
            a.x = lstmc_at(&x, b, t);
            a.y = lstmc_at(&y, b, t);
            a.dy = lstmc_at(&dy, b, t);
            a.dx = dx.data ? lstmc_at(&dx, b, t) : NULL;
            LSTMC_TRAIN_KERNEL(node->kernels, affine_back, &a);
        }
        if (dx.data) lstmc_zero_rest(&dx, b, valid, steps, p->features);
    }
}

static void train_layer_norm_backward(const lstmc_train_node *node, const lstmc_call *call) {
    const train_norm *p = (const train_norm *)node->prepared;
    const lstmc_view x = call->views[p->x], dx = node->dx[0], dy = node->dy[0];
    const uint32_t steps = lstmc_steps(call, p->x);
    lstmc_norm_back_args a = {p->scale,  NULL,          NULL,        NULL,       p->dscale,
                              p->dshift, call->scratch, p->features, p->epsilon, p->rms};
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t valid = lstmc_row_steps(call, p->x, b);
        for (uint32_t t = valid; t-- > 0;) {
            a.x = lstmc_at(&x, b, t);
            a.dy = lstmc_at(&dy, b, t);
            a.dx = dx.data ? lstmc_at(&dx, b, t) : NULL;
            LSTMC_TRAIN_KERNEL(node->kernels, layer_norm_back, &a);
        }
        if (dx.data) lstmc_zero_rest(&dx, b, valid, steps, p->features);
    }
}

const lstmc_train_ops lstmc_train_affine = {
    .code = 9,
    .prepared_size = sizeof(train_norm),
    .prepare = train_affine_prepare,
    .backward = train_affine_backward,
};
const lstmc_train_ops lstmc_train_layer_norm = {
    .code = 10,
    .prepared_size = sizeof(train_norm),
    .prepare = train_layer_norm_prepare,
    .plan = train_layer_norm_plan,
    .backward = train_layer_norm_backward,
};
