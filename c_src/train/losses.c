/* Losses of an output, vector by vector; what a vector's is, is in loss_kernels.h. */
#include "trainer.h"
#include "../kernels/fpenv.h"

#include <float.h>

static int good_loss(const lstmc_loss *l) {
    const int entropy = l->kind >= LSTMC_LOSS_BINARY_CROSSENTROPY;
    if ((uint32_t)l->kind >= LSTMC_LOSS_COUNT || l->from_logits > 1) return 0;
    if (l->kind == LSTMC_LOSS_HUBER && !(l->delta > 0.0f && l->delta <= FLT_MAX)) return 0;
    if (!(l->smoothing >= 0.0f && l->smoothing <= 1.0f)) return 0;
    if (l->smoothing > 0.0f && (!entropy || l->kind == LSTMC_LOSS_SPARSE_CROSSENTROPY)) return 0;
    return entropy || !l->from_logits;
}

typedef struct loss_shared {
    const lstmc_call *call;
    const lstmc_train_kernels *kernels;
    const lstmc_loss *loss;
    const lstmc_train_port *port;
    const float *truth, *weights;
    float *values;
    float scale;
    uint32_t id, weight_steps, parts;
} loss_shared;

/* Of row b, step t; 0 for what does not count. */
static float vector_weight(const loss_shared *s, uint32_t b, uint32_t t) {
    if (t >= lstmc_train_steps(s->call, s->id, b)) return 0.0f;
    if (!s->weights) return 1.0f;
    return s->weights[s->weight_steps ? (size_t)b * s->port->steps + t : b];
}

/* Whether all that count name a class; false for NaN. */
static int good_classes(const loss_shared *s) {
    const float *c = s->truth;
    for (uint32_t b = 0; b < lstmc_batch(s->call); b++) {
        for (uint32_t t = 0; t < s->port->steps; t++, c++) {
            if (vector_weight(s, b, t) == 0.0f) continue;
            if (!(*c >= 0.0f && *c < (float)s->port->features)) return 0;
            if ((float)(uint32_t)*c != *c) return 0;
        }
    }
    return 1;
}

static void loss_rows(void *argument, uint32_t part) {
    const loss_shared *s = (const loss_shared *)argument;
    const lstmc_train_port *p = s->port;
    const uint32_t batch = lstmc_batch(s->call);
    const uint32_t end = lstmc_part_start(batch, s->parts, part + 1);
    const size_t truths = s->loss->kind == LSTMC_LOSS_SPARSE_CROSSENTROPY ? 1 : p->features;
    lstmc_loss_args a;
    a.n = p->features;
    a.kind = s->loss->kind;
    a.delta = s->loss->delta;
    a.smoothing = s->loss->smoothing;
    a.from_logits = s->loss->from_logits;
    for (uint32_t b = lstmc_part_start(batch, s->parts, part); b < end; b++) {
        for (uint32_t t = 0; t < p->steps; t++) {
            const size_t at = (size_t)b * p->steps + t;
            const float w = vector_weight(s, b, t);
            float value = 0.0f;
            if (w != 0.0f) {
                a.y = p->data + b * p->batch_stride + t * p->time_stride;
                a.truth = s->truth + at * truths;
                a.dy = p->gradient;
                if (a.dy) a.dy += b * p->gradient_batch_stride + t * p->gradient_time_stride;
                a.scale = s->scale * w;
                value = w * s->kernels->loss(&a);
            }
            if (s->values) s->values[at] = value;
        }
    }
}

int lstmc_train_loss(lstmc_trainer *trainer, uint32_t index, const lstmc_loss *loss,
                     const float *truth, const float *weights, uint32_t weight_steps, float scale,
                     float *values) {
    lstmc_train_port port;
    if (!trainer || !trainer->ready || !loss || !truth || !good_loss(loss) ||
        lstmc_train_output(trainer, index, &port)) {
        return LSTMC_E_ARGUMENT;
    }
    const lstmc_session *session = trainer->session;
    loss_shared s = {&session->call, NULL, loss, &port, truth, weights, values, scale, 0, 0, 1};
    s.kernels = lstmc_train_kernels_find(lstmc_kernels_find(session->target, 16));
    s.id = session->ports[trainer->model.input_count + index].value;
    s.weight_steps = weight_steps;
    const uint32_t mode = lstmc_fp_enter();
    int status = LSTMC_OK;
    if (loss->kind == LSTMC_LOSS_SPARSE_CROSSENTROPY && !good_classes(&s)) {
        status = LSTMC_E_ARGUMENT;
    } else {
        const uint32_t batch = lstmc_batch(s.call);
        const float each = loss->kind < LSTMC_LOSS_BINARY_CROSSENTROPY ? 4.0f : 64.0f;
        const float work = (float)batch * (float)port.steps * (float)port.features * each;
        s.parts = lstmc_parts(s.call, work, batch);
        lstmc_for_parts(s.call, s.parts, loss_rows, &s);
    }
    lstmc_fp_leave(mode);
    return status;
}
