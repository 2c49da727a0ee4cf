/* Reverse, SliceTime, PadTime, Repeat, Flatten, Unflatten and Restep, backward: each number of dy goes to
 * where it came from. What goes to one place is added, steps descending: dx = flush(dx + dy[t]).
 * StepMask: there is no derivative. */
#include "../layers/steps.h"
#include "train_layers.h"

typedef struct train_moving {
    uint32_t x, y;
    uint32_t features;
    uint32_t first, every; /* SliceTime: where its first step is, and how far apart they are */
    uint32_t before, after, mode; /* PadTime */
    uint32_t to, steps;           /* Restep: features of y. Flatten: steps of the sequence */
} train_moving;

static void train_moving_prepare(const lstmc_train_layer *l, void *prepared) {
    train_moving *d = (train_moving *)prepared;
    const lstmc_layer *layer = &l->layer;
    d->x = layer->inputs[0];
    d->y = layer->outputs[0];
    d->features = lstmc_value_get(layer->model, d->x).features;
    d->first = lstmc_param(layer, 0, 0);
    d->every = lstmc_param(layer, 2, 1);
    d->before = lstmc_param(layer, 0, 0);
    d->after = lstmc_param(layer, 1, 0);
    d->mode = lstmc_param(layer, 3, LSTMC_PAD_CONSTANT);
    d->to = lstmc_param(layer, 0, 1);
    const lstmc_value x = lstmc_value_get(layer->model, d->x);
    const lstmc_value y = lstmc_value_get(layer->model, d->y);
    d->steps = (uint32_t)(x.has_time ? x.add : y.add);
}

static void train_moving_copy(const lstmc_train_node *node, const float *dy, float *dx,
                              size_t floats) {
    LSTMC_KERNEL(node->node->full, map, &lstmc_linear, 1, dy, dx, floats);
}

/* All of dx's row b to zero. */
static void train_moving_clear(const train_moving *d, const lstmc_call *call, const lstmc_view *dx,
                               uint32_t b) {
    lstmc_zero_steps(dx, d->features, b, 0, lstmc_steps(call, d->x));
}

/* Steps of y's row b that come of x: at most `made`. */
static uint32_t train_moving_steps(const train_moving *d, const lstmc_call *call, uint32_t b,
                                   uint64_t made) {
    const uint32_t most = lstmc_row_steps(call, d->y, b);
    return made < most ? (uint32_t)made : most;
}

/* ----------------------------------------------------------------------------------- Reverse -- */

static void train_reverse(const lstmc_train_node *node, const lstmc_call *call) {
    const train_moving *d = (const train_moving *)node->prepared;
    const lstmc_view *dx = node->dx, *dy = node->dy;
    if (!dx->data) return;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t n = lstmc_row_steps(call, d->x, b);
        for (uint32_t t = 0; t < n; t++) {
            train_moving_copy(node, lstmc_at(dy, b, t), lstmc_at(dx, b, n - 1 - t), d->features);
        }
        lstmc_zero_steps(dx, d->features, b, n, lstmc_steps(call, d->x));
    }
}

const lstmc_train_ops lstmc_train_reverse = {
    .code = 16,
    .prepared_size = sizeof(train_moving),
    .prepare = train_moving_prepare,
    .backward = train_reverse,
};

/* --------------------------------------------------------------------------------- SliceTime -- */

static void train_slice(const lstmc_train_node *node, const lstmc_call *call) {
    const train_moving *d = (const train_moving *)node->prepared;
    const lstmc_view *dx = node->dx, *dy = node->dy;
    if (!dx->data) return;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t n = lstmc_row_steps(call, d->x, b), gone = d->first + d->after;
        const uint32_t made = n > gone ? (n - gone - 1) / d->every + 1 : 0;
        const uint32_t count = train_moving_steps(d, call, b, made);
        train_moving_clear(d, call, dx, b);
        for (uint32_t t = 0; t < count; t++) {
            train_moving_copy(node, lstmc_at(dy, b, t), lstmc_at(dx, b, d->first + t * d->every),
                              d->features);
        }
    }
}

const lstmc_train_ops lstmc_train_slice_time = {
    .code = 17,
    .prepared_size = sizeof(train_moving),
    .prepare = train_moving_prepare,
    .backward = train_slice,
};

/* ----------------------------------------------------------------------------------- PadTime -- */

static void train_pad(const lstmc_train_node *node, const lstmc_call *call) {
    const train_moving *d = (const train_moving *)node->prepared;
    const lstmc_view *dx = node->dx, *dy = node->dy;
    if (!dx->data) return;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint64_t n = lstmc_row_steps(call, d->x, b), made = n + d->before + d->after;
        train_moving_clear(d, call, dx, b);
        for (uint32_t t = n ? train_moving_steps(d, call, b, made) : 0; t-- > 0;) {
            const int inside = t >= d->before && t - d->before < n;
            if (!inside && d->mode == LSTMC_PAD_CONSTANT) continue;
            const uint32_t at =
                inside ? t - d->before : lstmc_pad_shown(d->mode, d->before, t, (uint32_t)n);
            LSTMC_TRAIN_KERNEL(node->kernels, add, lstmc_at(dy, b, t), lstmc_at(dx, b, at),
                               d->features, 1);
        }
    }
}

const lstmc_train_ops lstmc_train_pad_time = {
    .code = 18,
    .prepared_size = sizeof(train_moving),
    .prepare = train_moving_prepare,
    .backward = train_pad,
};

/* ------------------------------------------------------------------------------------ Repeat -- */

static void train_repeat(const lstmc_train_node *node, const lstmc_call *call) {
    const train_moving *d = (const train_moving *)node->prepared;
    const lstmc_view *dx = node->dx, *dy = node->dy;
    if (!dx->data) return;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        lstmc_zero_step(dx, b, 0, d->features);
        for (uint32_t t = lstmc_row_steps(call, d->y, b); t-- > 0;) {
            LSTMC_TRAIN_KERNEL(node->kernels, add, lstmc_at(dy, b, t), lstmc_at(dx, b, 0),
                               d->features, 1);
        }
    }
}

const lstmc_train_ops lstmc_train_repeat = {
    .code = 19,
    .prepared_size = sizeof(train_moving),
    .blocks = 2, /* what it has as many steps as */
    .prepare = train_moving_prepare,
    .backward = train_repeat,
};

/* --------------------------------------------------------------------- Flatten and Unflatten -- */

/* The value without time lies step after step, whichever of the two it is. */
static void train_flatten(const lstmc_train_node *node, const lstmc_call *call) {
    const train_moving *d = (const train_moving *)node->prepared;
    const lstmc_view *dx = node->dx, *dy = node->dy;
    if (!dx->data) return;
    const uint32_t sequence = lstmc_has_time(call, d->x) ? d->x : d->y;
    const size_t floats = (size_t)lstmc_features(call, sequence) * d->steps;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        train_moving_copy(node, lstmc_at(dy, b, 0), lstmc_at(dx, b, 0), floats);
    }
}

const lstmc_train_ops lstmc_train_flatten = {
    .code = 20,
    .prepared_size = sizeof(train_moving),
    .prepare = train_moving_prepare,
    .backward = train_flatten,
};
const lstmc_train_ops lstmc_train_unflatten = {
    .code = 21,
    .prepared_size = sizeof(train_moving),
    .prepare = train_moving_prepare,
    .backward = train_flatten,
};

/* ------------------------------------------------------------------------------------ Restep -- */

/* Gradients are without gaps: a row's steps are one run of numbers on either side. */
static void train_restep(const lstmc_train_node *node, const lstmc_call *call) {
    const train_moving *d = (const train_moving *)node->prepared;
    const lstmc_view *dx = node->dx, *dy = node->dy;
    if (!dx->data) return;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint64_t numbers = (uint64_t)lstmc_row_steps(call, d->x, b) * d->features;
        const size_t count = (size_t)train_moving_steps(d, call, b, numbers / d->to) * d->to;
        train_moving_clear(d, call, dx, b);
        train_moving_copy(node, lstmc_at(dy, b, 0), lstmc_at(dx, b, 0), count);
    }
}

const lstmc_train_ops lstmc_train_restep = {
    .code = 31,
    .prepared_size = sizeof(train_moving),
    .blocks = 2, /* what it has as many steps as */
    .prepare = train_moving_prepare,
    .backward = train_restep,
};

/* ---------------------------------------------------------------------------------- StepMask -- */

const lstmc_train_ops lstmc_train_step_mask = {.code = 27};
