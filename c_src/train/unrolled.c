/* Training of a stateful model, whose layers run once for each step (stateful.c).
 *
 * Rows come one at a time, in both directions, and the steps of a row forwards and then in reverse: so
 * every sum has the order that a layer with a time axis gives it. Each step of each row keeps in a slot
 * what backward needs of it. Layers see one row and one step; the gradient of a state that a step took is
 * one of those that are added up for what the step before has given. */
#include "trainer.h"

#include <string.h>

static uint32_t given_state(const lstmc_model *m, uint32_t state) {
    return lstmc_state_io(m, state, 1)[IO_VALUE];
}

/* What the layers of one step get. */
static lstmc_call step_call(const lstmc_trainer *t) {
    lstmc_call call = t->session->call;
    call.views = t->unrolled.views;
    call.batch = call.max_batch = call.max_time = 1; /* what their memory is laid out for */
    call.lengths = NULL;
    return call;
}

/* Views, gradients and what layers have saved: those of row b, step i. */
static void go_to(lstmc_trainer *t, uint32_t b, uint32_t i) {
    const lstmc_model *m = &t->model;
    const lstmc_session *s = t->session;
    lstmc_unrolled *u = &t->unrolled;
    const size_t slot = (size_t)b * s->call.time + i;
    for (uint32_t id = 0; id < m->value_count; id++) {
        u->views[id] = s->call.views[id];
        if (u->places[id] == LSTMC_NO_PLACE) continue;
        u->views[id].data = u->values + slot * u->slot_floats + u->places[id];
    }
    for (uint32_t p = 0; p < m->input_count + m->output_count; p++) {
        const uint32_t id = s->ports[p].value;
        u->views[id].data += b * u->views[id].batch_stride + i * s->call.strides[p];
        if (u->gradients[p])
            t->value_grads[id].data = u->gradients[p] + slot * lstmc_step_floats(m, id);
    }
    for (uint32_t l = 0; l < m->layer_count; l++) {
        lstmc_train_node *n = t->nodes + l;
        if (n->saved)
            n->saved += ((ptrdiff_t)slot - (ptrdiff_t)u->slot) * (ptrdiff_t)n->saved_floats;
    }
    u->slot = slot;
}

/* Zeros for the steps of row b from i on: of outputs, and with `gradients` of the inputs' gradients. */
static void zero_beyond(const lstmc_trainer *t, uint32_t b, uint32_t i, int gradients) {
    const lstmc_model *m = &t->model;
    const lstmc_session *s = t->session;
    const uint32_t from = gradients ? 0 : m->input_count;
    const uint32_t end = gradients ? m->input_count : m->input_count + m->output_count;
    for (uint32_t p = from; p < end; p++) {
        const uint32_t id = s->ports[p].value;
        const size_t floats = lstmc_step_floats(m, id);
        const lstmc_view *v = s->call.views + id;
        for (uint32_t k = i; k < s->call.time; k++) {
            if (!gradients) {
                lstmc_zeros(v->data + b * v->batch_stride + k * s->call.strides[p], floats);
            } else if (t->unrolled.gradients[p]) {
                const size_t slot = (size_t)b * s->call.time + k;
                lstmc_zeros(t->unrolled.gradients[p] + slot * floats, floats);
            }
        }
    }
}

void lstmc_unrolled_forward(lstmc_trainer *t) {
    const lstmc_model *m = &t->model;
    const lstmc_session *s = t->session;
    const lstmc_unrolled *u = &t->unrolled;
    for (uint32_t p = m->input_count; p < m->input_count + m->output_count; p++) {
        if (!u->gradients[p]) continue;
        const size_t vectors = (size_t)s->call.batch * s->call.time;
        lstmc_zeros(u->gradients[p], vectors * lstmc_step_floats(m, s->ports[p].value));
    }
    for (uint32_t b = 0; b < s->call.batch; b++) {
        const uint32_t steps = lstmc_train_steps(&s->call, 0, b);
        for (uint32_t i = 0; i <= steps; i++) {
            /* The states: from where the call began, then from step to step, and to where it ends. */
            for (uint32_t k = 0; k < m->state_count; k++) {
                const uint32_t id = m->input_count + k;
                const size_t floats = lstmc_step_floats(m, id);
                const lstmc_view *held = s->call.views + id;
                float *to = u->values + ((size_t)b * s->call.time + i) * u->slot_floats;
                const float *from = held->data + b * held->batch_stride;
                to = i < steps ? to + u->places[id] : held->data + b * held->batch_stride;
                if (i) from = u->views[given_state(m, k)].data;
                memmove(to, from, floats * sizeof *to);
            }
            if (i == steps) break;
            go_to(t, b, i);
            const lstmc_call call = step_call(t);
            lstmc_stateful_begin(s->nodes, &call);
            lstmc_train_layers(t, &call);
        }
        zero_beyond(t, b, steps, 0);
    }
}

/* The gradients of a step's states so far: zeros, or what came from outside, and what the next step sends. */
static void take_over(const lstmc_trainer *t, int last) {
    const lstmc_model *m = &t->model;
    const lstmc_session *s = t->session;
    const lstmc_train_kernels *kernels =
        lstmc_train_kernels_find(lstmc_kernels_find(s->target, 16));
    const float *handed = t->unrolled.handed;
    for (uint32_t k = 0; k < m->state_count; k++) {
        const uint32_t id = given_state(m, k);
        const size_t floats = lstmc_step_floats(m, id);
        float *gradient = t->value_grads[id].data;
        if (gradient && t->unrolled.places[id] != LSTMC_NO_PLACE) lstmc_zeros(gradient, floats);
        if (gradient && !last) kernels->add(handed, gradient, floats, 1);
        handed += floats;
    }
}

/* What this step sends to the one before. */
static void hand_back(const lstmc_trainer *t) {
    const lstmc_model *m = &t->model;
    float *handed = t->unrolled.handed;
    for (uint32_t k = 0; k < m->state_count; k++) {
        const uint32_t id = m->input_count + k;
        const size_t floats = lstmc_step_floats(m, id);
        const float *gradient = t->value_grads[id].data;
        if (gradient) {
            memcpy(handed, gradient, floats * sizeof *handed);
        } else {
            lstmc_zeros(handed, floats);
        }
        handed += floats;
    }
}

void lstmc_unrolled_backward(lstmc_trainer *t) {
    const lstmc_session *s = t->session;
    for (uint32_t b = 0; b < s->call.batch; b++) {
        const uint32_t steps = lstmc_train_steps(&s->call, 0, b);
        for (uint32_t i = steps; i-- > 0;) {
            go_to(t, b, i);
            lstmc_train_ports(t);
            const lstmc_call call = step_call(t);
            lstmc_train_zero(t, &call);
            take_over(t, i + 1 == steps);
            lstmc_train_layers_back(t, &call);
            hand_back(t);
        }
        zero_beyond(t, b, steps, 1);
    }
}
