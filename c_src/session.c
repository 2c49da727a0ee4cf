/* What a session needs of its arena, and how it begins. */
#include "session.h"

#include <string.h>

#define ALIGN ((size_t)64)
#define ROWS_LIMIT 0x40000000u /* batch * time */

/* Values between layers that can share memory at any one time; more get memory of their own. */
#ifndef LSTMC_LIVE_VALUES
#define LSTMC_LIVE_VALUES 16
#endif

/* A bump allocator that only counts while base is NULL. */
typedef struct layout {
    unsigned char *base;
    size_t used;
    lstmc_memory parts; /* what it was taken for, in bytes; lay_out leaves out the tables */
} layout;

static void *take(layout *a, size_t count, size_t each) {
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
    uint32_t time = 0;
    for (uint32_t d = 0; d < io[IO_RANK]; d++) {
        if (dims[d] == LSTMC_BATCH) return time;
        time |= dims[d] > LSTMC_MAX_SIZE;
    }
    return 0; /* no batch: steps follow one another whatever all_rows says */
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
static size_t place_values(const lstmc_model *m, size_t batch, uint32_t time, uint32_t apart,
                           lstmc_view *views, float *region, lstmc_rows *rows) {
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
            if (count < LSTMC_LIVE_VALUES && !apart) {
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

/* Whether sessions of that many rows and steps can be: what is counted of them fits into 64 bits. */
static int check_config(const lstmc_model *m, const lstmc_config *config) {
    const uint32_t batch = config->batch ? config->batch : 1;
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
    return LSTMC_OK;
}

/* Lay out everything; session is NULL to only count. */
static int lay_out(const lstmc_model *m, const lstmc_config *config, layout *a,
                   lstmc_session **out) {
    const size_t batch = config->batch ? config->batch : 1;
    const uint32_t time = config->time ? config->time : 1;
    const int status = check_config(m, config);
    if (status) return status;
    lstmc_session *s = (lstmc_session *)take(a, 1, sizeof *s);
    lstmc_node *nodes = (lstmc_node *)take(a, m->layer_count, sizeof *nodes);
    const uint32_t ports = m->input_count + m->output_count;
    lstmc_port *ports_at = (lstmc_port *)take(a, ports, sizeof *ports_at);
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
        l.frugal = config->frugal;
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
    const size_t region = place_values(m, batch, time, config->apart, NULL, NULL, NULL);
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
        lstmc_port *p = ports_at + i;
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
    (void)place_values(m, batch, time, config->apart, views, region_at, &rows);
    s->rows = rows;
    const lstmc_target target = lstmc_target_resolve(config->target);
    s->target = target;
    for (uint32_t i = 0; i < m->layer_count; i++) {
        lstmc_layer l;
        lstmc_tensor t;
        lstmc_need need = {0, 0, 0, 0.0f};
        lstmc_node *n = nodes + i;
        lstmc_layer_get(m, i, &l);
        l.frugal = config->frugal;
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
    layout a;
    memset(&a, 0, sizeof a);
    if (!size || !model || !model->words || !config) return LSTMC_E_ARGUMENT;
    const int status = lay_out(model, config, &a, NULL);
    *size = status ? 0 : a.used;
    return status;
}

int lstmc_memory_use(lstmc_memory *use, const lstmc_model *model, const lstmc_config *config,
                     uint32_t layer) {
    layout a;
    memset(&a, 0, sizeof a);
    if (!use || !model || !model->words || !config ||
        (layer != LSTMC_NONE && layer >= model->layer_count)) {
        return LSTMC_E_ARGUMENT;
    }
    memset(use, 0, sizeof *use);
    if (layer == LSTMC_NONE) {
        const int status = lay_out(model, config, &a, NULL);
        if (status) return status;
        *use = a.parts;
        use->tables = a.used - use->record - use->state - use->scratch - use->values;
        for (uint32_t i = 0; i < model->tensor_count; i++) {
            const uint32_t *tensor = model->tensors + (size_t)i * LSTMC_TENSOR_WORDS;
            if (tensor[2]) use->weights += tensor[1]; /* plain ones are golden inputs */
        }
        return LSTMC_OK;
    }
    /* Not lay_out, whose time grows with the square of the layers: a caller asks for each of them. */
    const int status = check_config(model, config);
    if (status) return status;
    const uint32_t batch = config->batch ? config->batch : 1;
    const uint32_t time = config->time ? config->time : 1;
    lstmc_layer l;
    lstmc_need need = {0, 0, 0, 0.0f};
    lstmc_layer_get(model, layer, &l);
    l.frugal = config->frugal;
    const lstmc_layer_ops *ops = lstmc_layer_find(l.code);
    ops->plan(&l, batch, time, &need);
    const size_t each = lstmc_size_mul(need.each, lstmc_most_parts(config->parallel));
    for (uint32_t i = 0; i < l.tensor_count; i++) {
        lstmc_tensor t;
        if (lstmc_tensor_get(&l, i, &t)) use->weights += t.size * sizeof(float);
    }
    use->record = prepared_size(ops);
    use->state = lstmc_size_mul(need.state, sizeof(float));
    use->scratch = lstmc_size_mul(lstmc_size_add(need.scratch, each), sizeof(float));
    use->values = output_bytes(&l, batch, time);
    if (use->state < SIZE_MAX && use->scratch < SIZE_MAX && use->values < SIZE_MAX) return LSTMC_OK;
    memset(use, 0, sizeof *use);
    return LSTMC_E_ARGUMENT;
}

int lstmc_session_init(lstmc_session **session, const lstmc_model *model,
                       const lstmc_config *config, void *arena, size_t size) {
    size_t need;
    if (!session || !arena) return LSTMC_E_ARGUMENT;
    const int status = lstmc_arena_size(&need, model, config);
    if (status) return status;
    if ((uintptr_t)arena % 16) return LSTMC_E_ALIGNMENT;
    if (size < need) return LSTMC_E_ARENA;
    if (lstmc_target_resolve(config->target) == LSTMC_TARGET_COUNT) return LSTMC_E_TARGET;

    layout a;
    memset(&a, 0, sizeof a);
    a.base = (unsigned char *)arena;
    (void)lay_out(model, config, &a, session);
    lstmc_reset(*session);
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
