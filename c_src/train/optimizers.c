/* Steps of an optimizer over all weights that are trained; what becomes of one weight is in
 * optimizer_kernels.h, and why in docs/TRAINING.md. */
#include "trainer.h"
#include "../kernels/fpenv.h"
#include "../kernels/soft_sqrt.h"

#include <math.h> /* INFINITY only */

uint32_t lstmc_optimizer_slots(const lstmc_optimizer *optimizer) {
    const lstmc_optimizer *o = optimizer;
    if (!o) return 0;
    switch (o->kind) {
    case LSTMC_OPTIMIZER_SGD: return o->momentum != 0.0f;
    case LSTMC_OPTIMIZER_RMSPROP: return 1u + (o->momentum != 0.0f) + (o->centered != 0);
    case LSTMC_OPTIMIZER_ADAM: return o->amsgrad ? 3 : 2;
    default: return 0;
    }
}

/* False for NaN, as all comparisons here. */
static int in_range(float x, float least, float most) { return x >= least && x <= most; }
static int below_one(float x) { return x >= 0.0f && x < 1.0f; }

static int good_optimizer(const lstmc_trainer *t, const lstmc_optimizer *o) {
    if ((uint32_t)o->kind >= LSTMC_OPTIMIZER_COUNT) return 0;
    if (lstmc_optimizer_slots(o) > t->slot_count) return 0;
    /* So large that no constant below becomes infinite, which 0 is multiplied with in padding. */
    if (!in_range(o->learning_rate, -0x1p60f, 0x1p60f)) return 0;
    if (!in_range(o->weight_decay, 0.0f, 0x1p60f)) return 0;
    if (!in_range(o->clip_value, 0.0f, FLT_MAX) || !in_range(o->clip_norm, 0.0f, FLT_MAX) ||
        !in_range(o->global_clip_norm, 0.0f, FLT_MAX)) {
        return 0;
    }
    if ((o->clip_value > 0.0f) + (o->clip_norm > 0.0f) + (o->global_clip_norm > 0.0f) > 1) return 0;
    if (o->kind != LSTMC_OPTIMIZER_ADAM && !in_range(o->momentum, 0.0f, 1.0f)) return 0;
    if (o->kind == LSTMC_OPTIMIZER_SGD) return 1;
    if (!in_range(o->epsilon, 0.0f, FLT_MAX)) return 0;
    if (o->kind == LSTMC_OPTIMIZER_RMSPROP) return below_one(o->rho);
    return below_one(o->beta_1) && below_one(o->beta_2);
}

/* ------------------------------------------------------------------------------------- norms -- */

/* The sum of squares of a tensor's gradient, in an order that does not know panels: a chain for each unit
 * over k ascending, in each over gates; then a chain over units. `rows` is gates times k. */
static float gradient_squares(lstmc_target target, const float *g, size_t rows, uint32_t units,
                              uint32_t panel) {
    float total = 0.0f;
    for (uint32_t p = 0; p < lstmc_panel_count(units, panel); p++) {
        float sums[16];
        const uint32_t width = lstmc_panel_width(units, panel, p);
        const uint32_t real = units - p * panel < width ? units - p * panel : width;
        LSTMC_TRAIN_KERNEL(lstmc_train_kernels_find(lstmc_kernels_find(target, width)), squares, g,
                           rows, width, sums);
        for (uint32_t l = 0; l < real; l++) total += sums[l];
        g += rows * width;
    }
    return total;
}

/* What has no panels is taken as 16 units, number i belonging to unit i % 16. */
static float tensor_squares(const lstmc_trainer *t, uint32_t id) {
    const uint32_t *r = t->model.tensors + (size_t)id * LSTMC_TENSOR_WORDS;
    const lstmc_target target = t->session->target;
    if (!r[2]) {
        return gradient_squares(target, t->gradients[id], (r[1] / sizeof(float) + 15) / 16, 16, 16);
    }
    return gradient_squares(target, t->gradients[id], lstmc_size_mul(r[3], r[4]), r[5], r[6]);
}

/* What gradients of this norm are multiplied with: 1 where it is small enough. A norm that is NaN gives
 * NaN; an infinite one 0, which makes NaN of what is infinite, or with global NaN everywhere. */
static float norm_factor(float squares, float most, int global) {
    const float size = lstmc_sqrtf(squares);
    if (size <= most) return 1.0f;
    if (most < 0x1p-60f) most = 0.0f; /* or the quotient might be subnormal */
    return global && size > FLT_MAX ? size - size : most / size;
}

/* -------------------------------------------------------------------------------------- steps -- */

typedef struct update_shared {
    const lstmc_train_kernels *kernels;
    const lstmc_update_args *args;
    uint32_t blocks, parts; /* of 16 weights */
} update_shared;

static void update_part(void *argument, uint32_t part) {
    const update_shared *s = (const update_shared *)argument;
    const size_t from = (size_t)lstmc_part_start(s->blocks, s->parts, part) * 16;
    const size_t end = (size_t)lstmc_part_start(s->blocks, s->parts, part + 1) * 16;
    lstmc_update_args a = *s->args;
    a.w += from;
    a.g += from;
    for (uint32_t i = 0; i < 3; i++) {
        if (a.slot[i]) a.slot[i] += from;
    }
    a.n = end - from;
    s->kernels->update(&a);
}

/* Weights [at, at + n) of the arrays. */
static void update_range(const lstmc_trainer *t, const lstmc_update_args *args, size_t at,
                         size_t n) {
    const lstmc_call *call = &t->session->call;
    lstmc_update_args a = *args;
    update_shared s = {NULL, &a, (uint32_t)(n / 16), 1};
    s.kernels = lstmc_train_kernels_find(lstmc_kernels_find(t->session->target, 16));
    a.w = t->weights + at;
    a.g = t->weight_gradients + at;
    for (uint32_t i = 0; i < 3; i++) a.slot[i] = args->slot[i] ? args->slot[i] + at : NULL;
    s.parts = lstmc_parts(call, (float)n * 16.0f, s.blocks);
    lstmc_for_parts(call, s.parts, update_part, &s);
}

static void update_tensors(const lstmc_trainer *t, const lstmc_optimizer *o, lstmc_update_args *a) {
    float all = 0.0f;
    const int global = o->global_clip_norm > 0.0f;
    for (uint32_t id = 0; global && id < t->model.tensor_count; id++) {
        if (t->moved[id]) all += tensor_squares(t, id);
    }
    a->clips = 1;
    if (global) {
        a->factor = norm_factor(all, o->global_clip_norm, 1);
        update_range(t, a, 0, t->weight_floats);
        return;
    }
    for (uint32_t id = 0; id < t->model.tensor_count; id++) {
        if (!t->moved[id]) continue;
        const uint32_t *r = t->model.tensors + (size_t)id * LSTMC_TENSOR_WORDS;
        a->factor = norm_factor(tensor_squares(t, id), o->clip_norm, 0);
        update_range(t, a, (size_t)(t->moved[id] - t->weights),
                     (r[1] / sizeof(float) + 15) / 16 * 16);
    }
}

/* Numbers for all weights. */
static void update_constants(lstmc_optimizer_state *state, float *const *slots,
                             const lstmc_optimizer *o, lstmc_update_args *a) {
    a->kind = o->kind;
    a->nesterov = o->nesterov;
    a->clips = o->clip_value > 0.0f;
    a->factor = 1.0f;
    a->clip = o->clip_value > 0.0f ? o->clip_value : INFINITY;
    a->rate = lstmc_flush(o->learning_rate);
    a->decay = lstmc_flush(o->learning_rate * o->weight_decay);
    a->momentum = lstmc_flush(o->momentum);
    a->keep_1 = lstmc_flush(o->beta_1);
    a->fresh_1 = 1.0f - a->keep_1;
    a->keep_2 = lstmc_flush(o->kind == LSTMC_OPTIMIZER_RMSPROP ? o->rho : o->beta_2);
    a->fresh_2 = 1.0f - a->keep_2;
    /* Where no gradient has a square, a direction is below 1. */
    const float least = o->kind == LSTMC_OPTIMIZER_RMSPROP ? 0x1p-100f : 0x1p-50f;
    a->epsilon = o->epsilon > least ? o->epsilon : least;
    a->slot[0] = a->slot[1] = a->slot[2] = NULL;
    switch (o->kind) {
    case LSTMC_OPTIMIZER_RMSPROP:
        a->slot[0] = slots[0];
        if (o->momentum != 0.0f) a->slot[1] = slots[1];
        if (o->centered) a->slot[2] = slots[a->slot[1] ? 2 : 1];
        break;
    case LSTMC_OPTIMIZER_ADAM:
        a->slot[0] = slots[0];
        a->slot[1] = slots[1];
        if (o->amsgrad) a->slot[2] = slots[2];
        state->beta_1_power = lstmc_flush(state->beta_1_power * a->keep_1);
        state->beta_2_power = lstmc_flush(state->beta_2_power * a->keep_2);
        a->rate = lstmc_flush(o->learning_rate * lstmc_sqrtf(1.0f - state->beta_2_power) /
                              (1.0f - state->beta_1_power));
        break;
    default:
        if (o->momentum != 0.0f) a->slot[0] = slots[0];
        break;
    }
}

int lstmc_train_update(lstmc_trainer *trainer, const lstmc_optimizer *optimizer) {
    lstmc_update_args a;
    if (!trainer || !optimizer || !good_optimizer(trainer, optimizer)) return LSTMC_E_ARGUMENT;
    const uint32_t mode = lstmc_fp_enter();
    update_constants(&trainer->optimizer, trainer->slots, optimizer, &a);
    if (optimizer->clip_norm > 0.0f || optimizer->global_clip_norm > 0.0f) {
        update_tensors(trainer, optimizer, &a);
    } else {
        update_range(trainer, &a, 0, trainer->weight_floats);
    }
    lstmc_fp_leave(mode);
    trainer->optimizer.steps++;
    trainer->stale = 1;
    trainer->ready = 0; /* a backward would be of other weights than its forward */
    return LSTMC_OK;
}
