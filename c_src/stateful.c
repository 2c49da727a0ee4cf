/* A stateful model: its source took its state as inputs and gave the new one as outputs. Its layers run
 * once for each step, on values with no time or a constant number of steps of their own, and what they
 * give as state is what they take in the next step.
 *
 * All is done row by row: this may be a part of a call's rows (rows.c). */
#include "internal.h"

#include <string.h>

/* As in each call of the source. */
void lstmc_stateful_begin(lstmc_node *nodes, const lstmc_call *call) {
    for (uint32_t i = 0; i < call->model->layer_count; i++) {
        lstmc_node *n = nodes + i;
        const size_t floats = n->state_stride * call->batch;
        for (size_t k = 0; k < floats; k++) n->state[k] = 0.0f;
        n->parity = 0;
        if (n->ops->reset) n->ops->reset(n, call->batch);
    }
}

static int valid(const lstmc_call *call, uint32_t b, uint32_t t) {
    return !call->lengths || (call->lengths[b] > 0 && (uint32_t)call->lengths[b] > t);
}

/* The next step takes what this one has given; beyond a row's length its state stands still. */
static void hand_over(const lstmc_call *call, uint32_t t) {
    const lstmc_model *m = call->model;
    for (uint32_t i = 0; i < m->state_count; i++) {
        const lstmc_view to = call->views[m->input_count + i];
        const lstmc_view from = call->views[lstmc_state_io(m, i, 1)[IO_VALUE]];
        for (uint32_t b = 0; b < call->batch; b++) {
            if (!valid(call, b, t)) continue;
            memcpy(to.data + b * to.batch_stride, from.data + b * from.batch_stride,
                   to.batch_stride * sizeof(float));
        }
    }
}

/* Beyond a row's length outputs are zero. */
static void blank(const lstmc_call *call, uint32_t t) {
    const lstmc_model *m = call->model;
    for (uint32_t i = 0; i < m->output_count; i++) {
        const uint32_t id = m->io[(size_t)(m->input_count + i) * LSTMC_IO_WORDS + IO_VALUE];
        const lstmc_value v = lstmc_value_get(m, id);
        const lstmc_view y = call->views[id];
        for (uint32_t b = 0; b < call->batch; b++) {
            if (valid(call, b, t)) continue;
            memset(y.data + b * y.batch_stride, 0, (size_t)lstmc_row_floats(&v) * sizeof(float));
        }
    }
}

/* Where inputs and outputs are at the next step; after the last one, where they were at the first. */
static void move_on(const lstmc_call *call, uint32_t t) {
    const lstmc_model *m = call->model;
    for (uint32_t i = 0; i < m->input_count + m->output_count; i++) {
        lstmc_view *v = call->views + m->io[(size_t)i * LSTMC_IO_WORDS + IO_VALUE];
        if (t + 1 < call->time) {
            v->data += call->strides[i];
        } else {
            v->data -= call->strides[i] * t;
        }
    }
}

void lstmc_run_stateful(lstmc_node *nodes, const lstmc_call *call) {
    lstmc_call step = *call;
    step.lengths = NULL;
    for (uint32_t t = 0; t < call->time; t++) {
        lstmc_stateful_begin(nodes, call);
        for (uint32_t i = 0; i < call->model->layer_count; i++) nodes[i].ops->run(nodes + i, &step);
        hand_over(call, t);
        if (call->lengths) blank(call, t);
        move_on(call, t);
    }
}
