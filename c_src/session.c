/* A session: the arena's plan, the run of the layers one after another, the states. */
#include "kernels/fpenv.h"
#include "parallel.h"

#include <string.h>

#define ALIGN 64u
#define MAX_RANK 8
#define ROWS_LIMIT 0x40000000u /* batch * time */

/* Values between layers that can share memory at any one time; more get memory of their own. */
#ifndef LSTMC_LIVE_VALUES
#define LSTMC_LIVE_VALUES 16
#endif

/* What a call needs of an input or output. */
typedef struct port {
    const uint32_t *io; /* its record */
    uint32_t value;
    uint32_t features;  /* floats of a row and step */
    uint32_t scattered; /* copied: a row's floats do not lie together */
    uint32_t has_time;
    uint32_t time_first; /* its time axis stands before batch */
    uint32_t clock;      /* LSTMC_NONE: no time, or a constant number of steps */
    uint32_t constant;   /* that number, or 0 */
} port;

struct lstmc_session {
    const lstmc_model *model;
    port *ports;        /* inputs, then outputs */
    uint32_t scattered; /* 1 if one of them is */
    uint32_t time;      /* of the last call, if bind_again would have done for it; else 0 */
    lstmc_target target;
    lstmc_call call;
    lstmc_node *nodes;
    float *state; /* of all layers, then those of a stateful model */
    size_t state_floats;
    size_t *strides;  /* of a stateful model's ports, from a step to the next */
    uint32_t *clocks; /* the steps of each clock that the strides of inner values are set for */
    uint32_t *steps;  /* of each value, in this call */
    lstmc_rows rows;
};

/* ------------------------------------------------------------------------------------- arena -- */

/* A bump allocator that only counts while base is NULL. */
typedef struct arena {
    unsigned char *base;
    size_t used;
    lstmc_memory parts; /* what it was taken for, in bytes; lay_out leaves out the tables */
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

/* The io record of a value that is an input or output, or NULL. */
static const uint32_t *io_of(const lstmc_model *m, uint32_t value) {
    for (uint32_t i = 0; i < m->input_count + m->output_count; i++) {
        const uint32_t *io = m->io + (size_t)i * LSTMC_IO_WORDS;
        if (io[IO_VALUE] == value) return io;
    }
    return NULL;
}

/* Sizes stand before batch or time: a row's floats do not lie together. */
static int is_scattered(const lstmc_model *m, const uint32_t *io) {
    const uint32_t *dims = m->pool + io[IO_DIMS];
    uint32_t sizes = 0;
    for (uint32_t d = 0; d < io[IO_RANK]; d++) {
        if (dims[d] <= LSTMC_MAX_SIZE) {
            sizes |= dims[d] != 1;
        } else if (sizes) {
            return 1;
        }
    }
    return 0;
}

static uint32_t time_first(const lstmc_model *m, const uint32_t *io) {
    const uint32_t *dims = m->pool + io[IO_DIMS];
    uint32_t d = 0;
    while (d < io[IO_RANK] && dims[d] <= LSTMC_MAX_SIZE) d++;
    return d < io[IO_RANK] && dims[d] != LSTMC_BATCH;
}

static size_t value_floats(const lstmc_model *m, uint32_t id, size_t batch, uint32_t time) {
    const lstmc_value v = lstmc_value_get(m, id);
    const size_t rows = lstmc_size_mul(batch, lstmc_value_steps(&v, time));
    return lstmc_size_add(lstmc_size_mul(v.features, rows), 15) / 16 * 16;
}

/* An input or output of a stateful model has so many at each step. */
static size_t port_floats(const lstmc_model *m, uint32_t id, size_t batch, uint32_t time) {
    if (!m->state_count) return value_floats(m, id, batch, time);
    const lstmc_value v = lstmc_value_get(m, id);
    const size_t rows = lstmc_size_mul(batch, time);
    return lstmc_size_add(lstmc_size_mul((size_t)lstmc_row_floats(&v), rows), 15) / 16 * 16;
}

/* Bytes of the region that a layer's outputs have there, were nothing shared. */
static size_t output_bytes(const lstmc_layer *l, size_t batch, uint32_t time) {
    const lstmc_model *m = l->model;
    size_t floats = 0;
    for (uint32_t j = 0; j < l->output_count; j++) {
        const uint32_t id = l->outputs[j], *io = id == LSTMC_NONE ? NULL : io_of(m, id);
        if (id == LSTMC_NONE || (io && !is_scattered(m, io))) continue;
        const size_t each = io ? port_floats(m, id, batch, time) : value_floats(m, id, 1, time);
        floats = lstmc_size_add(floats, io ? each : lstmc_size_mul(each, batch));
    }
    return lstmc_size_mul(floats, sizeof(float));
}

/* The last layer that reads a value, or the one that writes it if none does; beyond all layers, if the
 * next step takes it. */
static uint32_t last_reader(const lstmc_model *m, uint32_t value, uint32_t writer) {
    for (uint32_t i = 0; i < m->state_count; i++) {
        if (lstmc_state_io(m, i, 1)[IO_VALUE] == value) return m->layer_count;
    }
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

/* Place the scattered inputs and outputs, then the values between layers; returns the floats of the
 * region. views is NULL to only count.
 *
 * Values between layers are placed for one row, and their places times the rows are those of a call:
 * then a part of its rows has a part of the region, and nothing to share with the others, which may
 * be at other layers. rows gets what that takes. */
static size_t place_values(const lstmc_model *m, size_t batch, uint32_t time, lstmc_view *views,
                           float *region, lstmc_rows *rows) {
    live set[LSTMC_LIVE_VALUES];
    uint32_t count = 0;
    size_t ports = 0, size = 0, floor = 0; /* below floor: values that are never moved or shared */
    for (uint32_t i = 0; i < m->input_count + m->output_count; i++) {
        const uint32_t *io = m->io + (size_t)i * LSTMC_IO_WORDS;
        if (!is_scattered(m, io)) continue;
        if (views) views[io[IO_VALUE]].data = region + ports;
        ports = lstmc_size_add(ports, port_floats(m, io[IO_VALUE], batch, time));
    }
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
            if (id == LSTMC_NONE || io_of(m, id)) continue;
            const size_t need = value_floats(m, id, 1, time);
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
            if (views) views[id].data = region + ports + at * batch;
            if (views && rows->places) rows->places[id] = at;
        }
    }
    if (views) {
        rows->region = region + ports;
        rows->row_floats = size;
    }
    return lstmc_size_add(ports, lstmc_size_mul(size, batch));
}

/* The bytes of a layer's own record, rounded up so that the next one is aligned. */
static size_t prepared_size(const lstmc_layer_ops *ops) {
    return (ops->prepared_size + sizeof(void *) - 1) / sizeof(void *) * sizeof(void *);
}

/* Multiply-adds of a layer in each row, roughly: whatever is written costs some too. */
static float work_of(const lstmc_layer *l, const lstmc_need *need, uint32_t time) {
    float work = need->work;
    for (uint32_t j = 0; j < l->output_count; j++) {
        if (l->outputs[j] == LSTMC_NONE) continue;
        work += 4.0f * (float)lstmc_value_get(l->model, l->outputs[j]).features;
    }
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    if (l->model->state_count) work *= (float)time;
    return work * (float)lstmc_value_steps(&x, time);
}

/* Lay out everything; session is NULL to only count. */
static int lay_out(const lstmc_model *m, const lstmc_config *config, arena *a,
                   lstmc_session **out) {
    const size_t batch = config->batch ? config->batch : 1;
    const uint32_t time = config->time ? config->time : 1;
    if (time > LSTMC_MAX_SIZE && (m->whole != LSTMC_NONE || m->clock_count > 1)) {
        return LSTMC_E_ARGUMENT;
    }
    if (batch > ROWS_LIMIT / time || (m->one_row && batch > 1)) return LSTMC_E_ARGUMENT;
    for (uint32_t id = 0; id < m->value_count; id++) {
        const lstmc_value v = lstmc_value_get(m, id);
        const uint32_t steps = lstmc_value_steps(&v, time);
        if (steps && batch > ROWS_LIMIT / steps) return LSTMC_E_ARGUMENT;
    }
    lstmc_session *s = (lstmc_session *)take(a, 1, sizeof *s);
    lstmc_node *nodes = (lstmc_node *)take(a, m->layer_count, sizeof *nodes);
    const uint32_t ports = m->input_count + m->output_count;
    port *ports_at = (port *)take(a, ports, sizeof *ports_at);
    lstmc_view *views = (lstmc_view *)take(a, m->value_count, sizeof *views);
    uint32_t *clocks = (uint32_t *)take(a, m->clock_count + 1, sizeof *clocks);
    uint32_t *steps = (uint32_t *)take(a, m->value_count, sizeof *steps);
    size_t *strides = (size_t *)take(a, m->state_count ? ports : 0, sizeof *strides);

    const uint32_t pieces = lstmc_most_parts(config->parallel);
    const uint32_t parts = lstmc_rows_most(config->parallel, (uint32_t)batch);
    lstmc_rows rows;
    memset(&rows, 0, sizeof rows);
    if (parts > 1) {
        rows.scratch = lstmc_rows_scratch(m, config->parallel, (uint32_t)batch, time);
        const size_t all = lstmc_size_mul(parts, m->layer_count);
        rows.nodes = (lstmc_node *)take(a, all, sizeof *rows.nodes);
        rows.views = (lstmc_view *)take(a, lstmc_size_mul(parts, m->value_count), sizeof *views);
        rows.places = (size_t *)take(a, m->value_count, sizeof *rows.places);
    }

    size_t state = 0, scratch = rows.scratch, prepared = 0;
    for (uint32_t i = 0; i < m->layer_count; i++) {
        lstmc_layer l;
        lstmc_need need = {0, 0, 0, 0.0f};
        lstmc_layer_get(m, i, &l);
        const lstmc_layer_ops *ops = lstmc_layer_find(l.code);
        prepared += prepared_size(ops);
        ops->plan(&l, (uint32_t)batch, time, &need);
        state = lstmc_size_add(state, need.state);
        const size_t all = lstmc_size_add(need.scratch, lstmc_size_mul(need.each, pieces));
        if (all > scratch) scratch = all;
        rows.work += work_of(&l, &need, time);
    }
    for (uint32_t i = 0; i < m->state_count; i++) {
        state = lstmc_size_add(state, value_floats(m, m->input_count + i, batch, 1));
    }
    unsigned char *prepared_at = (unsigned char *)take(a, prepared, 1);
    float *state_at = (float *)take(a, state, sizeof(float));
    float *scratch_at = (float *)take(a, scratch, sizeof(float));
    const size_t region = place_values(m, batch, time, NULL, NULL, NULL);
    float *region_at = (float *)take(a, region, sizeof(float));
    if (a->used == SIZE_MAX) return LSTMC_E_ARGUMENT;
    a->parts.record = prepared;
    a->parts.state = state * sizeof(float);
    a->parts.scratch = scratch * sizeof(float);
    a->parts.values = region * sizeof(float);
    if (!out) return LSTMC_OK;

    memset(s, 0, sizeof *s);
    memset(nodes, 0, m->layer_count * sizeof *nodes);
    memset(views, 0, m->value_count * sizeof *views);
    memset(clocks, 0, (m->clock_count + 1) * sizeof *clocks);
    memset(steps, 0, m->value_count * sizeof *steps);
    s->model = s->call.model = m;
    s->nodes = nodes;
    s->clocks = clocks;
    s->steps = steps;
    s->call.steps = steps;
    s->call.strides = s->strides = strides;
    for (uint32_t i = 0; i < ports; i++) {
        port *p = ports_at + i;
        memset(p, 0, sizeof *p);
        p->io = m->io + (size_t)i * LSTMC_IO_WORDS;
        p->value = p->io[IO_VALUE];
        const lstmc_value v = lstmc_value_get(m, p->value);
        if (m->state_count) { /* the time of a call, which no layer sees */
            p->features = (uint32_t)lstmc_row_floats(&v);
            p->has_time = 1;
        } else {
            p->features = v.features;
            p->has_time = v.has_time;
            p->clock = v.has_time ? v.clock : LSTMC_NONE;
            p->constant = v.has_time && v.clock == LSTMC_NONE ? (uint32_t)v.add : 0;
        }
        p->scattered = (uint32_t)is_scattered(m, p->io);
        s->scattered |= p->scattered;
        p->time_first = time_first(m, p->io);
    }
    s->ports = ports_at;
    s->state = state_at;
    s->state_floats = state;
    s->call.views = views;
    s->call.scratch = scratch_at;
    s->call.parallel = pieces > 1 ? config->parallel : NULL;
    s->call.max_batch = (uint32_t)batch;
    s->call.max_time = time;
    for (uint32_t id = 0; rows.places && id < m->value_count; id++) rows.places[id] = SIZE_MAX;
    (void)place_values(m, batch, time, views, region_at, &rows);
    s->rows = rows;
    const lstmc_target target = lstmc_target_resolve(config->target);
    s->target = target;
    for (uint32_t i = 0; i < m->layer_count; i++) {
        lstmc_layer l;
        lstmc_tensor t;
        lstmc_need need = {0, 0, 0, 0.0f};
        lstmc_node *n = nodes + i;
        lstmc_layer_get(m, i, &l);
        n->ops = lstmc_layer_find(l.code);
        n->ops->plan(&l, (uint32_t)batch, time, &need);
        n->ops->prepare(&l, prepared_at);
        n->prepared = prepared_at;
        n->state = state_at;
        n->state_stride = need.state / batch;
        prepared_at += prepared_size(n->ops);
        state_at += need.state;
        const uint32_t panel = lstmc_tensor_get(&l, 0, &t) && !t.plain ? t.panel : 16;
        n->full = lstmc_kernels_find(target, panel);
        n->half = lstmc_kernels_find(target, panel > 1 ? panel / 2 : 1);
    }
    for (uint32_t i = 0; i < m->state_count; i++) {
        views[m->input_count + i].data = state_at;
        state_at += value_floats(m, m->input_count + i, batch, 1);
    }
    *out = s;
    return LSTMC_OK;
}

int lstmc_arena_size(size_t *size, const lstmc_model *model, const lstmc_config *config) {
    arena a;
    memset(&a, 0, sizeof a);
    if (!size || !model || !model->words || !config) return LSTMC_E_ARGUMENT;
    const int status = lay_out(model, config, &a, NULL);
    *size = status ? 0 : a.used;
    return status;
}

int lstmc_memory_use(lstmc_memory *use, const lstmc_model *model, const lstmc_config *config,
                     uint32_t layer) {
    arena a;
    memset(&a, 0, sizeof a);
    if (!use || !model || !model->words || !config ||
        (layer != LSTMC_NONE && layer >= model->layer_count)) {
        return LSTMC_E_ARGUMENT;
    }
    memset(use, 0, sizeof *use);
    const int status = lay_out(model, config, &a, NULL); /* refuses what would overflow */
    if (status) return status;
    if (layer == LSTMC_NONE) {
        *use = a.parts;
        use->tables = a.used - use->record - use->state - use->scratch - use->values;
        for (uint32_t i = 0; i < model->tensor_count; i++) {
            const uint32_t *tensor = model->tensors + (size_t)i * LSTMC_TENSOR_WORDS;
            if (tensor[2]) use->weights += tensor[1]; /* plain ones are golden inputs */
        }
        return LSTMC_OK;
    }
    const uint32_t batch = config->batch ? config->batch : 1;
    const uint32_t time = config->time ? config->time : 1;
    lstmc_layer l;
    lstmc_need need = {0, 0, 0, 0.0f};
    lstmc_layer_get(model, layer, &l);
    const lstmc_layer_ops *ops = lstmc_layer_find(l.code);
    ops->plan(&l, batch, time, &need);
    const size_t each = lstmc_size_mul(need.each, lstmc_most_parts(config->parallel));
    for (uint32_t i = 0; i < l.tensor_count; i++) {
        lstmc_tensor t;
        if (lstmc_tensor_get(&l, i, &t)) use->weights += t.size * sizeof(float);
    }
    use->record = prepared_size(ops);
    use->state = need.state * sizeof(float);
    use->scratch = lstmc_size_mul(lstmc_size_add(need.scratch, each), sizeof(float));
    use->values = output_bytes(&l, batch, time);
    return LSTMC_OK;
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

    arena a;
    memset(&a, 0, sizeof a);
    a.base = (unsigned char *)memory;
    (void)lay_out(model, config, &a, session);
    lstmc_reset(*session);
    return LSTMC_OK;
}

/* --------------------------------------------------------------------------------------- run -- */

/* Where an array's rows and steps are: at the strides given, or at those of a dense array in the order
 * of the model's axes. Behind batch and time there is nothing but a row's features. */
static lstmc_view bind(const port *p, const lstmc_array *array, uint32_t batch, uint32_t steps) {
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
static void strides_of(const lstmc_model *m, const port *p, const lstmc_array *array,
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
static uint32_t port_steps(const lstmc_session *s, const port *p) {
    return s->model->state_count ? s->clocks[0] : s->steps[p->value];
}

/* Copy between a caller's array with sizes before batch or time, and the session's own memory. */
static void copy_scattered(const lstmc_session *s, const port *p, const lstmc_array *array,
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

/* Set the steps of all values and the strides of inner ones; 0 if a number doesn't fit. */
static int set_steps(lstmc_session *s, const lstmc_array *inputs, uint32_t time) {
    const lstmc_model *m = s->model;
    int changed = s->steps[0] == 0;
    uint32_t next = 0;
    for (uint32_t i = 0; i < m->input_count; i++) {
        const port *p = s->ports + i;
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
        changed |= s->clocks[p->clock] != n;
        s->clocks[p->clock] = n;
    }
    if (!changed) return 1;
    for (uint32_t id = 0; id < m->value_count; id++) {
        const lstmc_value v = lstmc_value_get(m, id);
        lstmc_view *view = s->call.views + id;
        s->steps[id] = lstmc_value_steps(&v, v.clock == LSTMC_NONE ? 0 : s->clocks[v.clock]);
        if (!s->steps[id]) {
            s->steps[0] = 0; /* look again at the next call */
            return 0;
        }
        view->time_stride = v.has_time ? v.features : 0;
        view->batch_stride = v.features * (size_t)s->steps[id];
    }
    for (uint32_t i = 0; i < m->layer_count; i++) {
        lstmc_layer layer;
        if (!s->nodes[i].ops->fits) continue;
        lstmc_layer_get(m, i, &layer);
        if (!s->nodes[i].ops->fits(&layer, s->steps)) {
            s->steps[0] = 0;
            return 0;
        }
    }
    return 1;
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
static int bind_again(lstmc_session *s, const port *ports, const lstmc_array *arrays,
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

static int good_arrays(const port *ports, const lstmc_array *arrays, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (!arrays[i].data) return 0;
        if (ports[i].scattered && (arrays[i].batch_stride || arrays[i].time_stride)) return 0;
    }
    return 1;
}

static void bind_all(lstmc_session *s, const port *ports, const lstmc_array *arrays,
                     uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        const port *p = ports + i;
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
    const port *ins = s->ports, *outs = ins + m->input_count;
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

int lstmc_run(lstmc_session *session, const lstmc_array *inputs, const lstmc_array *outputs,
              uint32_t batch, uint32_t time, const int32_t *lengths) {
    lstmc_session *s = session;
    if (!s || !inputs || !outputs || !batch || !time) return LSTMC_E_ARGUMENT;
    const lstmc_model *m = s->model;
    const port *ins = s->ports, *outs = ins + m->input_count;
    if (time != s->time || batch != s->call.batch || !bind_again(s, ins, inputs, m->input_count) ||
        !bind_again(s, outs, outputs, m->output_count)) {
        const int status = bind_anew(s, inputs, outputs, batch, time);
        if (status) return status;
    }
    s->call.lengths = lengths;
    for (uint32_t i = 0; s->scattered && i < m->input_count; i++) {
        if (ins[i].scattered) copy_scattered(s, ins + i, inputs + i, 0);
    }
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

void lstmc_reset(lstmc_session *session) {
    for (size_t i = 0; i < session->state_floats; i++) session->state[i] = 0.0f;
    for (uint32_t i = 0; i < session->model->layer_count; i++) {
        lstmc_node *node = session->nodes + i;
        node->parity = 0;
        if (node->ops->reset) node->ops->reset(node, session->call.max_batch);
    }
}

lstmc_target lstmc_session_target(const lstmc_session *session) { return session->target; }

/* ------------------------------------------------------------------------------------ states -- */

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

int lstmc_map(lstmc_target target, const lstmc_fn *fn, const float *x, float *y, size_t n) {
    if (!fn || ((!x || !y) && n) || fn->kind >= LSTMC_FN_COUNT) return LSTMC_E_ARGUMENT;
    target = lstmc_target_resolve(target);
    if (target == LSTMC_TARGET_COUNT) return LSTMC_E_TARGET;
    const uint32_t mode = lstmc_fp_enter();
    lstmc_kernels_find(target, 16)->map(fn, 0, x, y, n);
    lstmc_fp_leave(mode);
    return LSTMC_OK;
}
