/* The states of a session, to be read and written. */
#include "session.h"

#include <string.h>

/* State index of the session, and the layer it belongs to, LSTMC_NONE in a stateful model; 0 if there
 * is none. */
static int find_state(const lstmc_session *s, uint32_t index, lstmc_state_view *view,
                      uint32_t *layer) {
    if (s && s->model->state_count) {
        const lstmc_model *m = s->model;
        if (index >= m->state_count) return 0;
        const lstmc_value v = lstmc_value_get(m, m->input_count + index);
        view->name = m->strings + lstmc_state_io(m, index, 1)[IO_NAME];
        view->features = (uint32_t)lstmc_row_floats(&v);
        view->data = s->call.views[m->input_count + index].data;
        view->stride = view->features;
        *layer = LSTMC_NONE;
        return 1;
    }
    for (uint32_t i = 0; s && i < s->model->layer_count; i++) {
        const lstmc_node *n = s->nodes + i;
        if (index < n->ops->state_count) {
            n->ops->state(n, index, view);
            *layer = i;
            return 1;
        }
        index -= n->ops->state_count;
    }
    return 0;
}

uint32_t lstmc_state_count(const lstmc_session *session) {
    uint32_t count = 0;
    if (session->model->state_count) return session->model->state_count;
    for (uint32_t i = 0; i < session->model->layer_count; i++) {
        count += session->nodes[i].ops->state_count;
    }
    return count;
}

int lstmc_state_describe(const lstmc_session *session, uint32_t index, lstmc_state_info *info) {
    lstmc_state_view view;
    lstmc_layer layer;
    uint32_t at;
    if (!info || !find_state(session, index, &view, &at)) return LSTMC_E_ARGUMENT;
    if (at == LSTMC_NONE) {
        const lstmc_model *m = session->model;
        info->layer = m->strings + lstmc_state_io(m, index, 0)[IO_NAME];
    } else {
        lstmc_layer_get(session->model, at, &layer);
        info->layer = layer.name;
    }
    info->name = view.name;
    info->features = view.features;
    return LSTMC_OK;
}

int lstmc_state_read(const lstmc_session *session, uint32_t index, float *data, uint32_t batch) {
    lstmc_state_view view;
    uint32_t at;
    if (!data || !find_state(session, index, &view, &at)) return LSTMC_E_ARGUMENT;
    if (batch > session->call.max_batch) return LSTMC_E_SHAPE;
    for (uint32_t b = 0; b < batch; b++) {
        memcpy(data + (size_t)b * view.features, view.data + b * view.stride,
               view.features * sizeof *data);
    }
    return LSTMC_OK;
}

int lstmc_state_write(lstmc_session *session, uint32_t index, const float *data, uint32_t batch) {
    lstmc_state_view view;
    uint32_t at;
    if (!data || !find_state(session, index, &view, &at)) return LSTMC_E_ARGUMENT;
    if (batch > session->call.max_batch) return LSTMC_E_SHAPE;
    for (uint32_t b = 0; b < batch; b++) {
        for (uint32_t i = 0; i < view.features; i++) {
            view.data[b * view.stride + i] = lstmc_flush(data[(size_t)b * view.features + i]);
        }
    }
    return LSTMC_OK;
}
