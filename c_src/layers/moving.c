/* Reverse, SliceTime, PadTime, Repeat and StepMask: steps that move, go, or come.
 *
 * Reverse: y[t] = x[n - 1 - t].
 * SliceTime: y[t] = x[start + t step]; params: start, drop, step.
 * PadTime: `before` steps, x, `after` more; params: before, after, value (0 if left out), mode: steps
 *   of value, or (1) x as in mirrors at its first and last step, or (2) those steps again.
 * Repeat: y[t] = x, x without time, for each of count steps or of a second input; params: count.
 * StepMask: y[t] = 1 where t < n, else 0, n being the first input; a NaN is no number of steps. */
#include "steps.h"

#include <string.h>

typedef struct moving {
    uint32_t x, like, y; /* value ids: what is copied, and what has the steps */
    uint32_t features;
    uint32_t start, drop, step; /* SliceTime */
    uint32_t before, after;     /* PadTime */
    uint32_t mode;
    float value;
} moving;

static void moving_prepare(const lstmc_layer *l, void *prepared) {
    moving *p = (moving *)prepared;
    memset(p, 0, sizeof *p);
    p->x = l->inputs[0];
    p->like = lstmc_input(l, 1);
    p->y = l->outputs[0];
    p->features = lstmc_value_get(l->model, p->x).features;
}

static int moving_yes(const lstmc_layer *l) {
    (void)l;
    return 1;
}

/* The record of a layer with one sequence as input, whose output has these steps. */
static int good_output(const lstmc_layer *l, lstmc_value made) {
    return made.has_time == 1 && lstmc_layer_output(l, 0, made) ? LSTMC_OK : LSTMC_E_INVALID;
}

/* ----------------------------------------------------------------------------------- Reverse -- */

static int check_reverse(const lstmc_layer *l) {
    if (!lstmc_layer_counts(l, 1, 1, 0, 0)) return LSTMC_E_INVALID;
    return good_output(l, lstmc_value_get(l->model, l->inputs[0]));
}

static void run_reverse(lstmc_node *node, const lstmc_call *call) {
    const moving *p = (const moving *)node->prepared;
    if (p->y == LSTMC_NONE) return;
    const lstmc_view *x = call->views + p->x, *y = call->views + p->y;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t n = lstmc_row_steps(call, p->x, b);
        for (uint32_t t = 0; t < n; t++) {
            LSTMC_KERNEL(node->full, map, &lstmc_linear, 1, lstmc_at(x, b, n - 1 - t),
                         lstmc_at(y, b, t), p->features);
        }
        lstmc_zero_steps(y, p->features, b, n, lstmc_steps(call, p->y));
    }
}

const lstmc_layer_ops lstmc_layer_reverse = {
    .code = 16,
    .prepared_size = sizeof(moving),
    .check = check_reverse,
    .prepare = moving_prepare,
    .plan = lstmc_plan_nothing,
    .run = run_reverse,
    .whole = moving_yes,
};

/* --------------------------------------------------------------------------------- SliceTime -- */

static int check_slice(const lstmc_layer *l) {
    if (!lstmc_layer_counts(l, 1, 1, 0, 3)) return LSTMC_E_INVALID;
    const uint32_t start = l->params[0], drop = l->params[1], step = l->params[2];
    if (start > LSTMC_MAX_SIZE || drop > LSTMC_MAX_SIZE || !step || step > LSTMC_MAX_SIZE) {
        return LSTMC_E_INVALID;
    }
    return good_output(l, lstmc_steps_then(lstmc_value_get(l->model, l->inputs[0]),
                                           (int64_t)step - 1 - start - drop, step));
}

static void prepare_slice(const lstmc_layer *l, void *prepared) {
    moving *p = (moving *)prepared;
    moving_prepare(l, p);
    p->start = l->params[0];
    p->drop = l->params[1];
    p->step = l->params[2];
}

static void run_slice(lstmc_node *node, const lstmc_call *call) {
    const moving *p = (const moving *)node->prepared;
    if (p->y == LSTMC_NONE) return;
    const lstmc_view *x = call->views + p->x, *y = call->views + p->y;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t n = lstmc_row_steps(call, p->x, b), gone = p->start + p->drop;
        uint32_t count = n > gone ? (n - gone - 1) / p->step + 1 : 0;
        const uint32_t most = lstmc_row_steps(call, p->y, b);
        if (count > most) count = most;
        if (count) {
            lstmc_copy_steps(node, lstmc_at(x, b, p->start), p->step * x->time_stride,
                             lstmc_at(y, b, 0), y->time_stride, p->features, count);
        }
        lstmc_zero_steps(y, p->features, b, count, lstmc_steps(call, p->y));
    }
}

const lstmc_layer_ops lstmc_layer_slice_time = {
    .code = 17,
    .prepared_size = sizeof(moving),
    .check = check_slice,
    .prepare = prepare_slice,
    .plan = lstmc_plan_nothing,
    .run = run_slice,
    .whole = moving_yes,
};

/* ----------------------------------------------------------------------------------- PadTime -- */

static int check_pad(const lstmc_layer *l) {
    if (l->param_count < 2 || l->param_count > 4) return LSTMC_E_INVALID;
    if (!lstmc_layer_counts(l, 1, 1, 0, l->param_count)) return LSTMC_E_INVALID;
    const uint32_t before = l->params[0], after = l->params[1];
    if (before > LSTMC_MAX_SIZE || after > LSTMC_MAX_SIZE) return LSTMC_E_INVALID;
    if (lstmc_param(l, 3, LSTMC_PAD_CONSTANT) >= LSTMC_PAD_COUNT) return LSTMC_E_UNSUPPORTED;
    return good_output(
        l, lstmc_steps_then(lstmc_value_get(l->model, l->inputs[0]), (int64_t)before + after, 1));
}

static void prepare_pad(const lstmc_layer *l, void *prepared) {
    moving *p = (moving *)prepared;
    const uint32_t value = lstmc_param(l, 2, 0);
    moving_prepare(l, p);
    p->before = l->params[0];
    p->after = l->params[1];
    memcpy(&p->value, &value, sizeof p->value);
    p->value = lstmc_flush(p->value);
    p->mode = lstmc_param(l, 3, LSTMC_PAD_CONSTANT);
    if (p->mode != LSTMC_PAD_CONSTANT) p->value = 0.0f; /* of a row without steps */
}

static void run_pad(lstmc_node *node, const lstmc_call *call) {
    const moving *p = (const moving *)node->prepared;
    if (p->y == LSTMC_NONE) return;
    const lstmc_view *x = call->views + p->x, *y = call->views + p->y;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        /* All counts in 64 bits: a row of no steps at all may have less than its padding. */
        const uint64_t n = lstmc_row_steps(call, p->x, b), made = n + p->before + p->after;
        const uint32_t most = lstmc_row_steps(call, p->y, b);
        const uint32_t count = made < most ? (uint32_t)made : most;
        for (uint32_t t = 0; t < count; t++) {
            float *to = lstmc_at(y, b, t);
            const int inside = t >= p->before && t - p->before < n;
            if (n && (inside || p->mode != LSTMC_PAD_CONSTANT)) {
                const uint32_t at =
                    inside ? t - p->before : lstmc_pad_shown(p->mode, p->before, t, (uint32_t)n);
                LSTMC_KERNEL(node->full, map, &lstmc_linear, 1, lstmc_at(x, b, at), to,
                             p->features);
            } else {
                for (uint32_t i = 0; i < p->features; i++) to[i] = p->value;
            }
        }
        lstmc_zero_steps(y, p->features, b, count, lstmc_steps(call, p->y));
    }
}

const lstmc_layer_ops lstmc_layer_pad_time = {
    .code = 18,
    .prepared_size = sizeof(moving),
    .check = check_pad,
    .prepare = prepare_pad,
    .plan = lstmc_plan_nothing,
    .run = run_pad,
    .whole = moving_yes,
};

/* ------------------------------------------------------------------------------------ Repeat -- */

static int check_repeat(const lstmc_layer *l) {
    if (!l->input_count || l->input_count > 2 || l->output_count != 1 || l->tensor_count ||
        l->param_count != 1) {
        return LSTMC_E_INVALID;
    }
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    const uint32_t like = lstmc_input(l, 1), count = l->params[0];
    if (x.has_time || (like == LSTMC_NONE) != (count > 0) || count > LSTMC_MAX_SIZE) {
        return LSTMC_E_INVALID;
    }
    lstmc_value made = {0, 1, LSTMC_NONE, (int32_t)count, 1};
    if (like != LSTMC_NONE) made = lstmc_value_get(l->model, like);
    return good_output(l, lstmc_with_features(made, x.features));
}

static int whole_repeat(const lstmc_layer *l) {
    lstmc_tensor value;
    return l->params[0] || !lstmc_value_fixed(l->model, l->inputs[0], &value);
}

static void run_repeat(lstmc_node *node, const lstmc_call *call) {
    const moving *p = (const moving *)node->prepared;
    if (p->y == LSTMC_NONE) return;
    const lstmc_view *x = call->views + p->x, *y = call->views + p->y;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t n = lstmc_row_steps(call, p->y, b);
        if (n) {
            lstmc_copy_steps(node, lstmc_at(x, b, 0), 0, lstmc_at(y, b, 0), y->time_stride,
                             p->features, n);
        }
        lstmc_zero_steps(y, p->features, b, n, lstmc_steps(call, p->y));
    }
}

const lstmc_layer_ops lstmc_layer_repeat = {
    .code = 19,
    .prepared_size = sizeof(moving),
    .check = check_repeat,
    .prepare = moving_prepare,
    .plan = lstmc_plan_nothing,
    .run = run_repeat,
    .whole = whole_repeat,
};

/* ---------------------------------------------------------------------------------- StepMask -- */

static int check_mask(const lstmc_layer *l) {
    if (!lstmc_layer_counts(l, 2, 1, 0, 0)) return LSTMC_E_INVALID;
    const lstmc_value n = lstmc_value_get(l->model, l->inputs[0]);
    if (n.has_time || n.features != 1) return LSTMC_E_INVALID;
    return good_output(l, lstmc_with_features(lstmc_value_get(l->model, l->inputs[1]), 1));
}

/* How many of `valid` steps t are below n: none if n is NaN. */
static uint32_t steps_below(float n, uint32_t valid) {
    uint32_t whole;
    if (!(n > 0.0f)) return 0;
    if (n >= 16777216.0f) return valid; /* there are fewer steps */
    whole = (uint32_t)n;
    whole += (float)whole < n;
    return whole < valid ? whole : valid;
}

static void run_mask(lstmc_node *node, const lstmc_call *call) {
    const moving *p = (const moving *)node->prepared;
    if (p->y == LSTMC_NONE) return;
    const lstmc_view *x = call->views + p->x, *y = call->views + p->y;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t valid = lstmc_row_steps(call, p->y, b);
        const uint32_t count = steps_below(*lstmc_at(x, b, 0), valid);
        for (uint32_t t = 0; t < lstmc_steps(call, p->y); t++) {
            *lstmc_at(y, b, t) = t < count ? 1.0f : 0.0f;
        }
    }
}

const lstmc_layer_ops lstmc_layer_step_mask = {
    .code = 27,
    .prepared_size = sizeof(moving),
    .check = check_mask,
    .prepare = moving_prepare,
    .plan = lstmc_plan_nothing,
    .run = run_mask,
    .whole = moving_yes,
};
