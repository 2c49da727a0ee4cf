/* A call of a trainer, forwards and back. */
#include "trainer.h"
#include "../kernels/fpenv.h"

#include <string.h>

const lstmc_train_kernels *lstmc_train_kernels_find(const lstmc_kernels *kernels) {
#define FIND(NAME, name, have)                                                                     \
    if (have) {                                                                                    \
        if (kernels->target == LSTMC_TARGET_##NAME) return &lstmc_kernels_##name##_train;          \
    }
    LSTMC_TARGETS(FIND)
#undef FIND
    return NULL;
}

/* The rows and steps of a value in this call, as its view has them, for its gradient. */
static void set_gradients(lstmc_trainer *t) {
    const lstmc_model *m = &t->model;
    const lstmc_call *call = &t->session->call;
    for (uint32_t id = 0; id < m->value_count; id++) {
        lstmc_view *g = t->value_grads + id;
        if (!g->data) continue;
        const uint32_t features = lstmc_value_get(m, id).features;
        g->time_stride = call->views[id].time_stride ? features : 0;
        g->batch_stride = (size_t)features * call->steps[id];
    }
    lstmc_train_ports(t);
}

void lstmc_train_ports(lstmc_trainer *t) {
    const lstmc_model *m = &t->model;
    size_t port = 0;
    for (uint32_t i = 0; i < m->layer_count; i++) {
        lstmc_layer l;
        lstmc_layer_get(m, i, &l);
        lstmc_train_node *n = t->nodes + i;
        n->dx = t->ports + port;
        n->dy = n->dx + l.input_count;
        for (uint32_t j = 0; j < l.input_count + l.output_count; j++, port++) {
            const uint32_t id = j < l.input_count ? l.inputs[j] : l.outputs[j - l.input_count];
            lstmc_view *v = t->ports + port;
            memset(v, 0, sizeof *v);
            if (id == LSTMC_NONE || !t->value_grads[id].data) continue;
            if (j < l.input_count && n->ops && j < 32 && (n->ops->blocks >> j & 1)) continue;
            *v = t->value_grads[id];
            if (t->extra[port]) v->data = t->extra[port];
        }
    }
}

static void zero_gradient(const lstmc_trainer *t, const lstmc_call *call, uint32_t id) {
    const lstmc_view *g = t->value_grads + id;
    if (g->data) lstmc_zeros(g->data, g->batch_stride * lstmc_batch(call));
}

void lstmc_train_refresh(lstmc_trainer *trainer) {
    for (uint32_t i = 0; i < trainer->model.layer_count; i++) {
        const lstmc_train_node *n = trainer->nodes + i;
        if (n->ops && n->ops->refresh) n->ops->refresh(n);
    }
    trainer->stale = 0;
}

void lstmc_train_layers(lstmc_trainer *t, const lstmc_call *call) {
    lstmc_call kept = *call;
    kept.scratch = t->scratch;
    for (uint32_t i = 0; i < t->model.layer_count; i++) {
        const lstmc_train_node *n = t->nodes + i;
        lstmc_view before;
        lstmc_dropout_enter(t, i, &before, 1);
        if (n->ops && n->ops->forward) {
            n->ops->forward(n, &kept);
        } else {
            lstmc_node *node = t->session->nodes + i;
            node->ops->run(node, call);
        }
        lstmc_dropout_leave(t, i, &before, 0);
    }
}

int lstmc_train_forward(lstmc_trainer *trainer, const lstmc_array *inputs, uint32_t batch,
                        uint32_t time, const int32_t *lengths) {
    lstmc_trainer *t = trainer;
    if (!t || !inputs || !batch || !time) return LSTMC_E_ARGUMENT;
    const lstmc_model *m = &t->model;
    lstmc_session *s = t->session;
    t->ready = 0;
    if (!t->carry) lstmc_reset(s);
    const int status = lstmc_session_bind(s, inputs, t->outputs, batch, time, lengths);
    if (status) return status;
    const uint32_t mode = lstmc_fp_enter();
    if (t->stale) lstmc_train_refresh(t);
    set_gradients(t);
    if (m->state_count) {
        lstmc_unrolled_forward(t);
    } else {
        lstmc_train_layers(t, &s->call);
        for (uint32_t i = 0; i < m->output_count; i++) {
            zero_gradient(t, &s->call, s->ports[m->input_count + i].value);
        }
    }
    lstmc_fp_leave(mode);
    t->ready = 1;
    return LSTMC_OK;
}

/* Add what a layer has sent to values that others send to, too. */
static void add_extra(const lstmc_trainer *t, const lstmc_call *call, const lstmc_layer *l,
                      uint32_t index) {
    const lstmc_train_node *n = t->nodes + index;
    const size_t port = (size_t)(n->dx - t->ports);
    for (uint32_t j = 0; j < l->input_count; j++) {
        if (!t->extra[port + j] || !n->dx[j].data) continue;
        const lstmc_view *g = t->value_grads + l->inputs[j];
        n->kernels->add(n->dx[j].data, g->data, g->batch_stride * lstmc_batch(call), 1);
    }
}

/* Values that several gradients are added to start from zeros, but outputs have one already. */
void lstmc_train_zero(lstmc_trainer *t, const lstmc_call *call) {
    const lstmc_model *m = &t->model;
    const lstmc_session *s = t->session;
    for (uint32_t i = 0; i < m->layer_count; i++) {
        lstmc_layer l;
        lstmc_layer_get(m, i, &l);
        const size_t port = (size_t)(t->nodes[i].dx - t->ports);
        for (uint32_t j = 0; j < l.input_count; j++) {
            int output = 0;
            if (!t->extra[port + j]) continue;
            for (uint32_t k = 0; k < m->output_count; k++) {
                output |= s->ports[m->input_count + k].value == l.inputs[j];
            }
            if (!output) zero_gradient(t, call, l.inputs[j]);
        }
    }
}

void lstmc_train_layers_back(lstmc_trainer *t, const lstmc_call *call) {
    const lstmc_model *m = &t->model;
    lstmc_call kept = *call;
    kept.scratch = t->scratch;
    for (uint32_t i = m->layer_count; i-- > 0;) {
        lstmc_train_node *n = t->nodes + i;
        lstmc_layer l;
        lstmc_view before;
        if (!n->ops) continue;
        lstmc_layer_get(m, i, &l);
        lstmc_dropout_enter(t, i, &before, 0);
        n->ops->backward(n, &kept);
        lstmc_dropout_leave(t, i, &before, 1);
        add_extra(t, call, &l, i);
    }
}

int lstmc_train_backward(lstmc_trainer *trainer) {
    lstmc_trainer *t = trainer;
    if (!t || !t->ready) return LSTMC_E_ARGUMENT;
    const uint32_t mode = lstmc_fp_enter();
    t->ready = 0;
    if (t->model.state_count) {
        lstmc_unrolled_backward(t);
    } else {
        lstmc_train_zero(t, &t->session->call);
        lstmc_train_layers_back(t, &t->session->call);
    }
    lstmc_fp_leave(mode);
    return LSTMC_OK;
}

/* ---------------------------------------------------------------------------------- accessors -- */

const lstmc_model *lstmc_trainer_model(const lstmc_trainer *trainer) { return &trainer->model; }

lstmc_session *lstmc_trainer_session(lstmc_trainer *trainer) { return trainer->session; }

static int train_port(const lstmc_trainer *t, uint32_t index, lstmc_train_port *port) {
    const lstmc_session *s = t->session;
    const uint32_t id = s->ports[index].value;
    const lstmc_view *v = s->call.views + id;
    port->data = v->data;
    port->batch_stride = v->batch_stride;
    port->time_stride = v->time_stride;
    port->features = s->ports[index].features;
    if (t->model.state_count) { /* whose layers see one step of all these */
        port->gradient = t->unrolled.gradients[index];
        port->time_stride = s->call.strides[index];
        port->steps = s->call.time;
        port->gradient_time_stride = port->features;
        port->gradient_batch_stride = (size_t)port->features * port->steps;
        return LSTMC_OK;
    }
    port->gradient = t->value_grads[id].data;
    port->steps = s->steps[id];
    port->gradient_batch_stride = t->value_grads[id].batch_stride;
    port->gradient_time_stride = t->value_grads[id].time_stride;
    return LSTMC_OK;
}

int lstmc_train_output(const lstmc_trainer *trainer, uint32_t index, lstmc_train_port *port) {
    if (!trainer || !port || index >= trainer->model.output_count) return LSTMC_E_ARGUMENT;
    return train_port(trainer, trainer->model.input_count + index, port);
}

int lstmc_train_input(const lstmc_trainer *trainer, uint32_t index, lstmc_train_port *port) {
    if (!trainer || !port || index >= trainer->model.input_count) return LSTMC_E_ARGUMENT;
    return train_port(trainer, index, port);
}

void lstmc_train_clear(lstmc_trainer *trainer) {
    lstmc_zeros(trainer->weight_gradients, trainer->weight_floats);
}

void lstmc_train_reset(lstmc_trainer *trainer) { lstmc_reset(trainer->session); }

void lstmc_train_dropout(lstmc_trainer *trainer, uint32_t seed, uint32_t step, uint32_t first_row) {
    trainer->seed = seed;
    trainer->step = step;
    trainer->first_row = first_row;
}

int lstmc_trainer_tensor(const lstmc_trainer *trainer, uint32_t index, lstmc_train_tensor *tensor) {
    const lstmc_trainer *t = trainer;
    if (!t || !tensor || index >= t->model.tensor_count) return LSTMC_E_ARGUMENT;
    const uint32_t *r = t->model.tensors + (size_t)index * LSTMC_TENSOR_WORDS;
    memset(tensor, 0, sizeof *tensor);
    tensor->size = r[1] / sizeof(float);
    tensor->gates = r[3];
    tensor->k = r[4];
    tensor->units = r[5];
    tensor->panel = r[6];
    tensor->weight = t->moved[index];
    tensor->gradient = t->gradients[index];
    for (uint32_t i = 0; tensor->weight && i < t->slot_count; i++) {
        tensor->slots[i] = t->slots[i] + (tensor->weight - t->weights);
    }
    return LSTMC_OK;
}

lstmc_optimizer_state *lstmc_trainer_optimizer(lstmc_trainer *trainer) {
    return &trainer->optimizer;
}
