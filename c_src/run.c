/* A call: where its arrays are, then the layers one after another. */
#include "kernels/fpenv.h"
#include "session.h"

#include <string.h>

#define MAX_RANK 8

/* Where an array's rows and steps are: at the strides given, or at those of a dense array in the order
 * of the model's axes. Behind batch and time there is nothing but a row's features. */
static lstmc_view bind(const lstmc_port *p, const lstmc_array *array, uint32_t batch,
                       uint32_t steps) {
    lstmc_view v = {(float *)array->data, array->batch_stride, array->time_stride};
    if (v.batch_stride || v.time_stride) return v;
    v.batch_stride = v.time_stride = p->features;
    if (p->time_first) {
        v.time_stride *= array->all_rows ? array->all_rows : batch;
    } else if (p->has_time) {
        v.batch_stride *= array->all_steps ? array->all_steps : steps;
    }
    return v;
}

/* Strides of all axes of a dense array with sizes before batch or time, in floats. */
static void strides_of(const lstmc_model *m, const lstmc_port *p, const lstmc_array *array,
                       uint32_t batch, uint32_t steps, size_t *strides, lstmc_view *v) {
    const uint32_t *dims = m->pool + p->io[IO_DIMS];
    size_t stride = 1;
    v->data = (float *)array->data;
    v->batch_stride = v->time_stride = 0;
    for (uint32_t d = p->io[IO_RANK]; d-- > 0;) {
        strides[d] = stride;
        if (dims[d] == LSTMC_BATCH) {
            v->batch_stride = stride;
            stride *= array->all_rows ? array->all_rows : batch;
        } else if (dims[d] > LSTMC_MAX_SIZE) {
            v->time_stride = stride;
            stride *= array->all_steps ? array->all_steps : steps;
        } else {
            stride *= dims[d];
        }
    }
}

/* Steps of an input or output in this call. */
static uint32_t port_steps(const lstmc_session *s, const lstmc_port *p) {
    return s->model->state_count ? s->clocks[0] : s->steps[p->value];
}

/* Copy between a caller's array with sizes before batch or time, and the session's own memory. */
static void copy_scattered(const lstmc_session *s, const lstmc_port *p, const lstmc_array *array,
                           int out) {
    const lstmc_model *m = s->model;
    const uint32_t steps = port_steps(s, p), rank = p->io[IO_RANK];
    const uint32_t *dims = m->pool + p->io[IO_DIMS];
    const lstmc_view v = s->call.views[p->value];
    const size_t next = m->state_count ? p->features : v.time_stride; /* step */
    lstmc_view theirs;
    size_t strides[MAX_RANK];
    uint32_t at[MAX_RANK]; /* of each size */
    strides_of(m, p, array, s->call.batch, steps, strides, &theirs);
    for (uint32_t b = 0; b < s->call.batch; b++) {
        for (uint32_t t = 0; t < steps; t++) {
            float *mine = v.data + b * v.batch_stride + t * next;
            float *base = theirs.data + b * theirs.batch_stride + t * theirs.time_stride;
            memset(at, 0, sizeof at);
            for (uint32_t f = 0; f < p->features; f++) {
                size_t place = 0;
                for (uint32_t d = 0; d < rank; d++) place += at[d] * strides[d];
                if (out) {
                    base[place] = mine[f];
                } else {
                    mine[f] = base[place];
                }
                for (uint32_t d = rank; d-- > 0;) { /* count on */
                    if (dims[d] > LSTMC_MAX_SIZE) continue;
                    if (++at[d] < dims[d]) break;
                    at[d] = 0;
                }
            }
        }
    }
}

/* The steps of each clock in this call; 0 if inputs contradict one another or the session. changed
 * becomes 1 if they are not those of the call before. */
static int set_clocks(lstmc_session *s, const lstmc_array *inputs, uint32_t time, int *changed) {
    const lstmc_model *m = s->model;
    uint32_t next = 0;
    for (uint32_t i = 0; i < m->input_count; i++) {
        const lstmc_port *p = s->ports + i;
        const uint32_t given = inputs[i].time;
        if (p->clock == LSTMC_NONE) {
            if (p->constant && given && given != p->constant) return 0;
            continue;
        }
        const uint32_t n = given ? given : time;
        if (!n || n > s->call.max_time) return 0;
        if (p->clock < next) { /* named before */
            if (s->clocks[p->clock] != n) return 0;
            continue;
        }
        next++;
        *changed |= s->clocks[p->clock] != n;
        s->clocks[p->clock] = n;
    }
    return 1;
}

/* The steps of all values and the strides of inner ones; 0 if there are none of a value, or a layer
 * can't take them. */
static int set_values(lstmc_session *s) {
    const lstmc_model *m = s->model;
    for (uint32_t id = 0; id < m->value_count; id++) {
        const lstmc_value v = lstmc_value_get(m, id);
        lstmc_view *view = s->call.views + id;
        s->steps[id] = lstmc_value_steps(&v, v.clock == LSTMC_NONE ? 0 : s->clocks[v.clock]);
        if (!s->steps[id]) return 0;
        view->time_stride = v.has_time ? v.features : 0;
        view->batch_stride = v.features * (size_t)s->steps[id];
    }
    for (uint32_t i = 0; i < m->layer_count; i++) {
        lstmc_layer layer;
        if (!s->nodes[i].ops->fits) continue;
        lstmc_layer_get(m, i, &layer);
        if (!s->nodes[i].ops->fits(&layer, s->steps)) return 0;
    }
    return 1;
}

/* All that follows from the inputs' steps; 0 if they don't fit. A call that was refused may have set
 * some of it, so the next one must not take it for its own: steps[0] is 0 then. */
static int set_steps(lstmc_session *s, const lstmc_array *inputs, uint32_t time) {
    int changed = s->steps[0] == 0;
    if (set_clocks(s, inputs, time, &changed) && (!changed || set_values(s))) return 1;
    s->steps[0] = 0;
    return 0;
}

void lstmc_run_layers(lstmc_node *nodes, const lstmc_call *call) {
    const uint32_t mode = lstmc_fp_enter();
    if (call->model->state_count) {
        lstmc_run_stateful(nodes, call);
    } else {
        for (uint32_t i = 0; i < call->model->layer_count; i++) nodes[i].ops->run(nodes + i, call);
    }
    lstmc_fp_leave(mode);
}

/* Where nothing changes but where the arrays are: dense ones, with the steps of the call. */
static int bind_again(lstmc_session *s, const lstmc_port *ports, const lstmc_array *arrays,
                      uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        const lstmc_array *a = arrays + i;
        if (!a->data || (a->batch_stride | a->time_stride | a->time | a->all_rows | a->all_steps)) {
            return 0;
        }
        s->call.views[ports[i].value].data = (float *)a->data;
    }
    return 1;
}

static int good_arrays(const lstmc_port *ports, const lstmc_array *arrays, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (!arrays[i].data) return 0;
        if (ports[i].scattered && (arrays[i].batch_stride || arrays[i].time_stride)) return 0;
    }
    return 1;
}

static void bind_all(lstmc_session *s, const lstmc_port *ports, const lstmc_array *arrays,
                     uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        const lstmc_port *p = ports + i;
        lstmc_view *view = s->call.views + p->value;
        const size_t inner = view->time_stride;
        if (!p->scattered) {
            *view = bind(p, arrays + i, s->call.batch, port_steps(s, p));
        } else if (s->model->state_count) {
            view->time_stride = p->features;
            view->batch_stride = view->time_stride * port_steps(s, p);
        }
        if (s->model->state_count) { /* the steps that its layers see are within one */
            s->strides[p - s->ports] = view->time_stride;
            view->time_stride = inner;
        }
    }
}

/* A call unlike the one before. */
static int bind_anew(lstmc_session *s, const lstmc_array *inputs, const lstmc_array *outputs,
                     uint32_t batch, uint32_t time) {
    const lstmc_model *m = s->model;
    const lstmc_port *ins = s->ports, *outs = ins + m->input_count;
    s->time = 0;
    if (!good_arrays(ins, inputs, m->input_count) || !good_arrays(outs, outputs, m->output_count)) {
        return LSTMC_E_ARGUMENT;
    }
    if (batch > s->call.max_batch || !set_steps(s, inputs, time)) return LSTMC_E_SHAPE;
    s->call.batch = batch;
    s->call.time = time;
    s->call.idle = m->state_count ? 0 : s->call.max_batch - batch; /* which layers remember rows */
    bind_all(s, ins, inputs, m->input_count);
    bind_all(s, outs, outputs, m->output_count);
    if (!s->scattered && bind_again(s, ins, inputs, m->input_count) &&
        bind_again(s, outs, outputs, m->output_count)) {
        s->time = time;
    }
    return LSTMC_OK;
}

int lstmc_session_bind(lstmc_session *s, const lstmc_array *inputs, const lstmc_array *outputs,
                       uint32_t batch, uint32_t time, const int32_t *lengths) {
    const lstmc_model *m = s->model;
    const lstmc_port *ins = s->ports, *outs = ins + m->input_count;
    if (time != s->time || batch != s->call.batch || !bind_again(s, ins, inputs, m->input_count) ||
        !bind_again(s, outs, outputs, m->output_count)) {
        const int status = bind_anew(s, inputs, outputs, batch, time);
        if (status) return status;
    }
    s->call.lengths = lengths;
    for (uint32_t i = 0; s->scattered && i < m->input_count; i++) {
        if (ins[i].scattered) copy_scattered(s, ins + i, inputs + i, 0);
    }
    return LSTMC_OK;
}

int lstmc_run(lstmc_session *session, const lstmc_array *inputs, const lstmc_array *outputs,
              uint32_t batch, uint32_t time, const int32_t *lengths) {
    lstmc_session *s = session;
    if (!s || !inputs || !outputs || !batch || !time) return LSTMC_E_ARGUMENT;
    const int status = lstmc_session_bind(s, inputs, outputs, batch, time, lengths);
    if (status) return status;
    const lstmc_model *m = s->model;
    const lstmc_port *outs = s->ports + m->input_count;
    if (m->whole != LSTMC_NONE) lstmc_reset(s);
    const int many = batch > 1 && lstmc_rows_most(s->call.parallel, batch) > 1;
    const uint32_t parts = many ? lstmc_rows_parts(&s->rows, &s->call, time) : 1;
    if (parts > 1) {
        lstmc_rows_run(&s->rows, &s->call, s->nodes, parts);
    } else {
        lstmc_run_layers(s->nodes, &s->call);
    }
    for (uint32_t i = 0; s->scattered && i < m->output_count; i++) {
        if (outs[i].scattered) copy_scattered(s, outs + i, outputs + i, 1);
    }
    return LSTMC_OK;
}

int lstmc_map(lstmc_target target, const lstmc_fn *fn, const float *x, float *y, size_t n) {
    if (!fn || ((!x || !y) && n) || fn->kind >= LSTMC_FN_COUNT) return LSTMC_E_ARGUMENT;
    target = lstmc_target_resolve(target);
    if (target == LSTMC_TARGET_COUNT) return LSTMC_E_TARGET;
    const uint32_t mode = lstmc_fp_enter();
    lstmc_kernels_find(target, 16)->map(fn, 0, x, y, n);
    lstmc_fp_leave(mode);
    return LSTMC_OK;
}
