/* Dense, backward: dp = dy fn'(p), dw += dp x, db += dp, dx = w dp; p = bias + weight x. */
#include "train_layers.h"

typedef struct train_dense {
    const float *weight, *bias;
    float *dweight, *dbias; /* NULL: frozen */
    uint32_t x, y;          /* value ids */
    uint32_t k, units, panel;
    uint32_t keep; /* 1: fn' needs p, which forward keeps */
    uint32_t plain;
    lstmc_fn fn;
} train_dense;

static void train_dense_prepare(const lstmc_train_layer *l, void *prepared) {
    train_dense *d = (train_dense *)prepared;
    lstmc_tensor weight, bias;
    (void)lstmc_tensor_get(&l->layer, 0, &weight);
    (void)lstmc_fn_get(l->layer.params, &d->fn);
    d->weight = weight.data;
    d->bias = lstmc_tensor_get(&l->layer, 1, &bias) ? bias.data : NULL;
    d->dweight = lstmc_train_gradient(l, 0);
    d->dbias = lstmc_train_gradient(l, 1);
    d->x = l->layer.inputs[0];
    d->y = l->layer.outputs[0];
    d->k = weight.k;
    d->units = weight.units;
    d->panel = weight.panel;
    d->keep = !lstmc_fn_is_quick(&d->fn);
    d->plain = lstmc_train_wants(l, 0) && !l->frugal;
}

/* Scratch: zeros where there is no bias, then dp. Saved: p. */
static void train_dense_plan(const lstmc_train_layer *l, lstmc_train_need *need) {
    train_dense d;
    train_dense_prepare(l, &d);
    const lstmc_value x = lstmc_value_get(l->layer.model, d.x);
    const size_t rows = lstmc_size_mul(l->batch, lstmc_value_steps(&x, l->time));
    need->scratch = lstmc_size_add(lstmc_size_mul(rows, d.units), lstmc_padded(d.units, d.panel));
    if (d.keep) need->saved = lstmc_size_mul(rows, d.units);
    if (d.plain) need->packed = lstmc_plain_size(1, d.units, d.k);
}

static void train_dense_refresh(const lstmc_train_node *node) {
    const train_dense *d = (const train_dense *)node->prepared;
    if (d->plain) lstmc_plain_weights(d->weight, 1, d->units, d->k, d->panel, node->packed);
}

/* p of all rows, [row][step][units]; y = fn(p). */
static void train_dense_keep(const lstmc_train_node *node, const lstmc_call *call) {
    const train_dense *d = (const train_dense *)node->prepared;
    const lstmc_view x = call->views[d->x], y = call->views[d->y];
    const uint32_t steps = lstmc_steps(call, d->x);
    const uint32_t padded = lstmc_padded(d->units, d->panel), half = padded % d->panel;
    const float *init = d->bias;
    if (!init) {
        lstmc_zeros(call->scratch, padded);
        init = call->scratch;
    }
    const int even = steps == 1 || x.batch_stride == steps * x.time_stride;
    const uint32_t batch = lstmc_batch(call), turns = even ? 1 : batch;
    lstmc_matmul_args a;
    a.k = d->k;
    a.raw = 1;
    a.init_stride = 0;
    a.fn = d->fn;
    a.rows = even ? batch * steps : steps;
    a.x_stride = steps == 1 ? x.batch_stride : x.time_stride;
    a.y_stride = d->units;
    for (uint32_t b = 0; b < turns; b++) {
        for (uint32_t i = 0; i < 2; i++) {
            const uint32_t from = i ? padded - half : 0;
            if (i ? !half : half == padded) continue;
            a.x = x.data + b * x.batch_stride;
            a.y = node->saved + (size_t)b * steps * d->units + from;
            a.w = d->weight + (size_t)from * d->k;
            a.init = init + from;
            a.panel = i ? half : d->panel;
            a.columns = i || d->units < padded - half ? d->units - from : padded - half;
            lstmc_matmul(call, lstmc_kernels_for(node->node, i), &a);
        }
    }
    for (uint32_t b = 0; b < batch; b++) {
        const float *p = node->saved + (size_t)b * steps * d->units;
        const uint32_t each = lstmc_together(&y, steps, d->units);
        for (uint32_t t = 0; t < steps; t += each) {
            LSTMC_KERNEL(node->node->full, map, &d->fn, 1, p + (size_t)t * d->units,
                         lstmc_at(&y, b, t), (size_t)each * d->units);
        }
    }
}

static void train_dense_forward(const lstmc_train_node *node, const lstmc_call *call) {
    const train_dense *d = (const train_dense *)node->prepared;
    if (d->keep) {
        train_dense_keep(node, call);
    } else {
        lstmc_train_run(node, call);
    }
}

static void train_dense_backward(const lstmc_train_node *node, const lstmc_call *call) {
    const train_dense *d = (const train_dense *)node->prepared;
    const uint32_t steps = lstmc_steps(call, d->x);
    const lstmc_view x = call->views[d->x], y = call->views[d->y], dy = node->dy[0];
    const lstmc_view dp = {call->scratch, (size_t)steps * d->units, d->units};
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t valid = lstmc_row_steps(call, d->x, b);
        const uint32_t each = lstmc_together(&y, valid, d->units);
        for (uint32_t t = 0; t < valid; t += each) {
            const size_t at = ((size_t)b * steps + t) * d->units;
            LSTMC_TRAIN_KERNEL(node->kernels, map_back, &d->fn, d->keep ? node->saved + at : NULL,
                               lstmc_at(&y, b, t), lstmc_at(&dy, b, t), dp.data + at,
                               (size_t)each * d->units);
        }
        lstmc_zero_rest(&dp, b, valid, steps, d->units);
    }
    lstmc_weight_args w = {.x = x, .dy = dp, .gates = 1, .units = d->units, .k = d->k};
    w.panel = d->panel;
    w.id = d->x;
    if (d->dbias) {
        w.dw = d->dbias;
        lstmc_bias_gradient(node, call, &w);
    }
    if (d->dweight) {
        w.dw = d->dweight;
        lstmc_weight_gradient(node, call, &w);
    }
    if (!node->dx[0].data) return;
    lstmc_input_args n = {.w = d->weight, .dy = dp, .dx = node->dx[0], .gates = 1};
    n.plain = d->plain ? node->packed : NULL;
    n.units = d->units;
    n.k = d->k;
    n.panel = d->panel;
    n.rows = lstmc_batch(call);
    n.steps = steps;
    lstmc_input_gradient(node, call, &n);
}

const lstmc_train_ops lstmc_train_dense = {
    .code = 2,
    .prepared_size = sizeof(train_dense),
    .prepare = train_dense_prepare,
    .plan = train_dense_plan,
    .forward = train_dense_forward,
    .backward = train_dense_backward,
    .refresh = train_dense_refresh,
};
