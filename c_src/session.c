/* A session: the arena's plan, the run of the layers one after another, the states. */
#include "internal.h"
#include "kernels/fpenv.h"

#include <string.h>

#define ALIGN 64u
#define ROWS_LIMIT 0x40000000u /* batch * time */

/* Values between layers that can share memory at any one time; more get memory of their own. */
#ifndef LSTMC_LIVE_VALUES
#define LSTMC_LIVE_VALUES 16
#endif

struct lstmc_session {
    const lstmc_model *model;
    lstmc_target target;
    lstmc_call call;
    lstmc_node *nodes;
    float *state; /* of all layers */
    size_t state_floats;
    uint32_t strides_for; /* the time that the inner values' strides are set for */
};

/* ------------------------------------------------------------------------------------- arena -- */

/* A bump allocator that only counts while base is NULL. */
typedef struct arena {
    unsigned char *base;
    size_t used;
} arena;

static void *take(arena *a, size_t count, size_t each) {
    const size_t size = lstmc_size_mul(count, each);
    const size_t start = a->used;
    if (start > SIZE_MAX - 2 * ALIGN || size > SIZE_MAX - 2 * ALIGN - start) {
        a->used = SIZE_MAX;
        return NULL;
    }
    a->used = start + (size + ALIGN - 1) / ALIGN * ALIGN;
    return a->base ? a->base + start : NULL;
}

static int is_io(const lstmc_model *m, uint32_t value) {
    for (uint32_t i = 0; i < m->input_count + m->output_count; i++) {
        if (m->io[(size_t)i * LSTMC_IO_WORDS + IO_VALUE] == value) return 1;
    }
    return 0;
}

/* The last layer that reads a value, or the one that writes it if none does. */
static uint32_t last_reader(const lstmc_model *m, uint32_t value, uint32_t writer) {
    for (uint32_t i = m->layer_count; i-- > writer + 1;) {
        lstmc_layer l;
        lstmc_layer_get(m, i, &l);
        for (uint32_t j = 0; j < l.input_count; j++) {
            if (l.inputs[j] == value) return i;
        }
    }
    return writer;
}

/* A value that is alive: floats [start, end) of the shared region until layer `until` has run. */
typedef struct live {
    size_t start, end;
    uint32_t until;
} live;

/* The lowest place where `need` floats overlap no live value. */
static size_t first_fit(const live *set, uint32_t count, size_t need) {
    size_t at = 0;
    for (uint32_t i = 0; i < count;) {
        if (lstmc_size_add(at, need) > set[i].start && at < set[i].end) {
            at = set[i].end;
            i = 0;
        } else {
            i++;
        }
    }
    return at;
}

/* Place the values between layers; returns the floats of the region. views is NULL to only count. */
static size_t place_values(const lstmc_model *m, size_t batch, size_t time, lstmc_view *views,
                           float *region) {
    live set[LSTMC_LIVE_VALUES];
    uint32_t count = 0;
    size_t size = 0, floor = 0; /* below floor: values that are never moved or shared */
    for (uint32_t i = 0; i < m->layer_count; i++) {
        lstmc_layer l;
        lstmc_layer_get(m, i, &l);
        uint32_t kept = 0;
        for (uint32_t j = 0; j < count; j++) {
            if (set[j].until >= i) set[kept++] = set[j];
        }
        count = kept;
        for (uint32_t j = 0; j < l.output_count; j++) {
            const uint32_t id = l.outputs[j];
            if (id == LSTMC_NONE || is_io(m, id)) continue;
            const lstmc_value v = lstmc_value_get(m, id);
            size_t need = lstmc_size_mul(v.features, lstmc_size_mul(batch, v.has_time ? time : 1));
            need = lstmc_size_add(need, 15) / 16 * 16;
            size_t at;
            if (count < LSTMC_LIVE_VALUES) {
                at = first_fit(set, count, need);
                if (at < floor) at = floor > size ? floor : size;
                set[count].start = at;
                set[count].end = lstmc_size_add(at, need);
                set[count++].until = last_reader(m, id, i);
            } else {
                at = size;
                floor = lstmc_size_add(at, need);
            }
            if (lstmc_size_add(at, need) > size) size = lstmc_size_add(at, need);
            if (views) views[id].data = region + at;
        }
    }
    return size;
}

/* The bytes of a layer's own record, rounded up so that the next one is aligned. */
static size_t prepared_size(const lstmc_layer_ops *ops) {
    return (ops->prepared_size + sizeof(void *) - 1) / sizeof(void *) * sizeof(void *);
}

/* Lay out everything; session is NULL to only count. */
static int lay_out(const lstmc_model *m, const lstmc_config *config, arena *a,
                   lstmc_session **out) {
    const size_t batch = config->batch ? config->batch : 1;
    const size_t time = config->time ? config->time : 1;
    if (batch > ROWS_LIMIT / time) return LSTMC_E_ARGUMENT;
    lstmc_session *s = (lstmc_session *)take(a, 1, sizeof *s);
    lstmc_node *nodes = (lstmc_node *)take(a, m->layer_count, sizeof *nodes);
    lstmc_view *views = (lstmc_view *)take(a, m->value_count, sizeof *views);

    size_t state = 0, scratch = 0, prepared = 0;
    for (uint32_t i = 0; i < m->layer_count; i++) {
        lstmc_layer l;
        lstmc_need need = {0, 0};
        lstmc_layer_get(m, i, &l);
        const lstmc_layer_ops *ops = lstmc_layer_find(l.code);
        prepared += prepared_size(ops);
        ops->plan(&l, (uint32_t)batch, (uint32_t)time, &need);
        state = lstmc_size_add(state, need.state);
        if (need.scratch > scratch) scratch = need.scratch;
    }
    unsigned char *prepared_at = (unsigned char *)take(a, prepared, 1);
    float *state_at = (float *)take(a, state, sizeof(float));
    float *scratch_at = (float *)take(a, scratch, sizeof(float));
    const size_t region = place_values(m, batch, time, NULL, NULL);
    float *region_at = (float *)take(a, region, sizeof(float));
    if (a->used == SIZE_MAX) return LSTMC_E_ARGUMENT;
    if (!out) return LSTMC_OK;

    memset(s, 0, sizeof *s);
    memset(nodes, 0, m->layer_count * sizeof *nodes);
    memset(views, 0, m->value_count * sizeof *views);
    s->model = m;
    s->nodes = nodes;
    s->state = state_at;
    s->state_floats = state;
    s->call.views = views;
    s->call.scratch = scratch_at;
    s->call.max_batch = (uint32_t)batch;
    s->call.max_time = (uint32_t)time;
    (void)place_values(m, batch, time, views, region_at);
    const lstmc_target target = lstmc_target_resolve(config->target);
    s->target = target;
    for (uint32_t i = 0; i < m->layer_count; i++) {
        lstmc_layer l;
        lstmc_tensor t;
        lstmc_need need = {0, 0};
        lstmc_node *n = nodes + i;
        lstmc_layer_get(m, i, &l);
        n->ops = lstmc_layer_find(l.code);
        n->ops->plan(&l, (uint32_t)batch, (uint32_t)time, &need);
        n->ops->prepare(&l, prepared_at);
        n->prepared = prepared_at;
        n->state = state_at;
        prepared_at += prepared_size(n->ops);
        state_at += need.state;
        const uint32_t panel = lstmc_tensor_get(&l, 0, &t) && !t.plain ? t.panel : 16;
        n->full = lstmc_kernels_find(target, panel);
        n->half = lstmc_kernels_find(target, panel > 1 ? panel / 2 : 1);
    }
    *out = s;
    return LSTMC_OK;
}

int lstmc_arena_size(size_t *size, const lstmc_model *model, const lstmc_config *config) {
    arena a = {NULL, 0};
    if (!size || !model || !model->words || !config) return LSTMC_E_ARGUMENT;
    const int status = lay_out(model, config, &a, NULL);
    *size = status ? 0 : a.used;
    return status;
}

int lstmc_session_init(lstmc_session **session, const lstmc_model *model,
                       const lstmc_config *config, void *memory, size_t size) {
    size_t need;
    if (!session || !memory) return LSTMC_E_ARGUMENT;
    const int status = lstmc_arena_size(&need, model, config);
    if (status) return status;
    if ((uintptr_t)memory % 16) return LSTMC_E_ALIGNMENT;
    if (size < need) return LSTMC_E_ARENA;
    if (lstmc_target_resolve(config->target) == LSTMC_TARGET_COUNT) return LSTMC_E_TARGET;

    arena a = {(unsigned char *)memory, 0};
    (void)lay_out(model, config, &a, session);
    lstmc_reset(*session);
    return LSTMC_OK;
}

/* --------------------------------------------------------------------------------------- run -- */

/* Where an array's rows and steps are; strides of a dense one follow from the order of its axes. */
static lstmc_view bind(const lstmc_model *m, const uint32_t *io, const lstmc_array *array,
                       uint32_t batch, uint32_t time) {
    lstmc_view v = {(float *)array->data, array->batch_stride, array->time_stride};
    if (v.batch_stride || v.time_stride) return v;
    const uint32_t *dims = m->pool + io[IO_DIMS];
    size_t stride = lstmc_value_get(m, io[IO_VALUE]).features;
    for (uint32_t d = io[IO_RANK]; d-- > 0;) {
        if (dims[d] == LSTMC_BATCH) {
            v.batch_stride = stride;
            stride *= batch;
        } else if (dims[d] == LSTMC_TIME) {
            v.time_stride = stride;
            stride *= time;
        }
    }
    return v;
}

int lstmc_run(lstmc_session *session, const lstmc_array *inputs, const lstmc_array *outputs,
              uint32_t batch, uint32_t time, const int32_t *lengths) {
    lstmc_session *s = session;
    if (!s || !inputs || !outputs || !batch || !time) return LSTMC_E_ARGUMENT;
    const lstmc_model *m = s->model;
    if (batch > s->call.max_batch || time > s->call.max_time) return LSTMC_E_SHAPE;
    for (uint32_t i = 0; i < m->input_count + m->output_count; i++) {
        const lstmc_array *array = i < m->input_count ? inputs + i : outputs + (i - m->input_count);
        const uint32_t *io = m->io + (size_t)i * LSTMC_IO_WORDS;
        if (!array->data) return LSTMC_E_ARGUMENT;
        s->call.views[io[IO_VALUE]] = bind(m, io, array, batch, time);
    }
    if (s->strides_for != time) {
        for (uint32_t i = 0; i < m->layer_count; i++) {
            lstmc_layer l;
            lstmc_layer_get(m, i, &l);
            for (uint32_t j = 0; j < l.output_count; j++) {
                if (l.outputs[j] == LSTMC_NONE || is_io(m, l.outputs[j])) continue;
                const lstmc_value v = lstmc_value_get(m, l.outputs[j]);
                lstmc_view *view = s->call.views + l.outputs[j];
                view->time_stride = v.has_time ? v.features : 0;
                view->batch_stride = v.features * (v.has_time ? (size_t)time : 1);
            }
        }
        s->strides_for = time;
    }
    s->call.batch = batch;
    s->call.time = time;
    s->call.lengths = lengths;
    const uint32_t mode = lstmc_fp_enter();
    for (uint32_t i = 0; i < m->layer_count; i++) s->nodes[i].ops->run(s->nodes + i, &s->call);
    lstmc_fp_leave(mode);
    return LSTMC_OK;
}

void lstmc_reset(lstmc_session *session) {
    for (size_t i = 0; i < session->state_floats; i++) session->state[i] = 0.0f;
    for (uint32_t i = 0; i < session->model->layer_count; i++) session->nodes[i].parity = 0;
}

lstmc_target lstmc_session_target(const lstmc_session *session) { return session->target; }

/* ------------------------------------------------------------------------------------ states -- */

/* State index of the session, and the layer it belongs to; 0 if there is none. */
static int find_state(const lstmc_session *s, uint32_t index, lstmc_state_view *view,
                      uint32_t *layer) {
    for (uint32_t i = 0; s && i < s->model->layer_count; i++) {
        const lstmc_node *n = s->nodes + i;
        if (index < n->ops->state_count) {
            n->ops->state(n, index, s->call.max_batch, view);
            *layer = i;
            return 1;
        }
        index -= n->ops->state_count;
    }
    return 0;
}

uint32_t lstmc_state_count(const lstmc_session *session) {
    uint32_t count = 0;
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
    lstmc_layer_get(session->model, at, &layer);
    info->layer = layer.name;
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
            const float x = data[(size_t)b * view.features + i];
            view.data[b * view.stride + i] = x > -LSTMC_TINY && x < LSTMC_TINY ? 0.0f : x;
        }
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
