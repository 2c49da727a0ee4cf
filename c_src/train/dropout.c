/* Dropout: numbers of a layer's input, or of h, that are left out of a training step.
 *
 * Whether a number is left out is a function of (seed, step, layer, row, place) alone, so no bit depends
 * on how rows are cut into calls, or on the machine: Philox2x32-10 of Salmon et al., "Parallel random
 * numbers: as easy as 1, 2, 3" (SC 2011), the counter being row and place. */
#include "trainer.h"

static uint32_t philox(uint32_t row, uint32_t place, uint32_t key) {
    for (uint32_t round = 0; round < 10; round++) {
        const uint64_t product = (uint64_t)0xd256d193u * row;
        row = (uint32_t)(product >> 32) ^ key ^ place;
        place = (uint32_t)product;
        key += 0x9e3779b9u;
    }
    return row;
}

/* 0, or 1 / (1 - rate), as a float of its own: the quotient is rounded once. */
static void draw_masks(const lstmc_trainer *t, const lstmc_dropout *d, uint32_t row, uint32_t place,
                       float *mask, uint32_t n) {
    const uint32_t key =
        philox(t->seed, t->step, d->layer * LSTMC_DROPOUT_COUNT + (uint32_t)d->kind);
    const float kept = 1.0f / (1.0f - d->rate);
    const uint32_t limit = (uint32_t)(d->rate * 4294967296.0f);
    for (uint32_t i = 0; i < n; i++) {
        mask[i] = philox(t->first_row + row, place + i, key) < limit ? 0.0f : kept;
    }
}

static uint32_t dropped_input(const lstmc_model *m, const lstmc_dropout *d) {
    lstmc_layer l;
    lstmc_layer_get(m, d->layer, &l);
    return l.inputs[0];
}

/* Of the copy, then of one vector's mask. */
size_t lstmc_dropout_floats(const lstmc_model *m, const lstmc_dropout *d, uint32_t batch,
                            uint32_t time) {
    lstmc_layer l;
    lstmc_tensor hh;
    lstmc_layer_get(m, d->layer, &l);
    if (d->kind == LSTMC_DROPOUT_RECURRENT) {
        return lstmc_tensor_get(&l, 1, &hh) ? lstmc_size_mul(hh.k, batch) : 0;
    }
    const lstmc_value v = lstmc_value_get(m, l.inputs[0]);
    const size_t row = lstmc_size_mul(v.features, lstmc_value_steps(&v, time));
    return lstmc_size_add(lstmc_size_mul(row, batch), v.features);
}

/* One vector of x or of its gradient, masked. */
static void mask_vector(const lstmc_trainer *t, const lstmc_masked *k, uint32_t b, uint32_t step,
                        uint32_t features, float *mask, const float *from, float *to) {
    const uint32_t place = k->dropout->kind == LSTMC_DROPOUT_STEPS ? 0 : step * features;
    draw_masks(t, k->dropout, b, place, mask, features);
    for (uint32_t i = 0; i < features; i++) {
        to[i] = mask[i] == 0.0f ? 0.0f : lstmc_flush(from[i] * mask[i]);
    }
}

/* In place of a layer's input its masked copy, which forward makes and backward reads again. */
void lstmc_dropout_enter(lstmc_trainer *t, uint32_t layer, lstmc_view *before, int forward) {
    lstmc_call *call = &t->session->call;
    const lstmc_model *m = &t->model;
    for (uint32_t i = 0; i < t->masked_count; i++) {
        const lstmc_masked *k = t->masked + i;
        if (k->dropout->layer != layer) continue;
        if (k->dropout->kind == LSTMC_DROPOUT_RECURRENT) {
            lstmc_tensor hh;
            lstmc_layer l;
            lstmc_layer_get(m, layer, &l);
            t->nodes[layer].mask = NULL;
            if (t->step == LSTMC_NONE || !lstmc_tensor_get(&l, 1, &hh)) continue;
            t->nodes[layer].mask = k->copy;
            for (uint32_t b = 0; forward && b < lstmc_batch(call); b++) {
                draw_masks(t, k->dropout, b, 0, k->copy + (size_t)b * hh.k, hh.k);
            }
            continue;
        }
        if (t->step == LSTMC_NONE) continue;
        const uint32_t id = dropped_input(m, k->dropout), features = lstmc_features(call, id);
        const uint32_t steps = lstmc_steps(call, id);
        const lstmc_view x = call->views[id];
        lstmc_view copy = {k->copy, (size_t)features * steps, x.time_stride ? features : 0};
        float *mask = k->copy + copy.batch_stride * lstmc_batch(call);
        *before = x;
        for (uint32_t b = 0; forward && b < lstmc_batch(call); b++) {
            for (uint32_t s = 0; s < steps; s++) {
                mask_vector(t, k, b, s, features, mask, lstmc_at(&x, b, s), lstmc_at(&copy, b, s));
            }
        }
        call->views[id] = copy;
    }
}

static void mask_gradient(const lstmc_trainer *t, const lstmc_masked *k, uint32_t id,
                          const lstmc_view *dx) {
    const lstmc_call *call = &t->session->call;
    const uint32_t features = lstmc_features(call, id), steps = lstmc_steps(call, id);
    float *mask = k->copy + (size_t)features * steps * lstmc_batch(call);
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        for (uint32_t s = 0; s < steps; s++) {
            float *at = lstmc_at(dx, b, s);
            mask_vector(t, k, b, s, features, mask, at, at);
        }
    }
}

/* The input itself again; its gradient goes through the mask, from wherever the layer reads it. */
void lstmc_dropout_leave(lstmc_trainer *t, uint32_t layer, const lstmc_view *before, int backward) {
    lstmc_call *call = &t->session->call;
    if (t->step == LSTMC_NONE) return;
    for (uint32_t i = 0; i < t->masked_count; i++) {
        const lstmc_masked *k = t->masked + i;
        if (k->dropout->layer != layer || k->dropout->kind == LSTMC_DROPOUT_RECURRENT) continue;
        const uint32_t id = dropped_input(&t->model, k->dropout);
        call->views[id] = *before;
        if (!backward) continue;
        lstmc_layer l;
        lstmc_layer_get(&t->model, layer, &l);
        for (uint32_t j = 0; j < l.input_count; j++) {
            const lstmc_view *dx = t->nodes[layer].dx + j;
            if (l.inputs[j] == id && dx->data) mask_gradient(t, k, id, dx);
        }
    }
}
