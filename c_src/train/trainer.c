/* A trainer's memory: which gradients are wanted, and where everything lies. */
#include "trainer.h"

#include <string.h>

#define ALIGN ((size_t)64)

/* Values of a model that can be trained, at most: what is wanted of them is found on the stack. */
#ifndef LSTMC_TRAIN_VALUES
#define LSTMC_TRAIN_VALUES 8192u
#endif

/* A bump allocator that only counts while base is NULL. */
typedef struct train_layout {
    unsigned char *base;
    size_t used;
} train_layout;

static void *train_take(train_layout *a, size_t count, size_t each) {
    const size_t size = lstmc_size_mul(count, each), start = a->used;
    if (start > SIZE_MAX - 2 * ALIGN || size > SIZE_MAX - 2 * ALIGN - start) {
        a->used = SIZE_MAX;
        return NULL;
    }
    a->used = start + (size + ALIGN - 1) / ALIGN * ALIGN;
    return a->base ? a->base + start : NULL;
}

static float *take_floats(train_layout *a, size_t floats) {
    return (float *)train_take(a, floats, sizeof(float));
}

/* ---------------------------------------------------------------- which gradients are wanted -- */

/* A bit for each value. */
typedef struct value_set {
    uint32_t words[(LSTMC_TRAIN_VALUES + 31) / 32];
} value_set;

static int has(const value_set *s, uint32_t id) {
    return (int)(s->words[id / 32] >> (id % 32) & 1);
}
static void put(value_set *s, uint32_t id) { s->words[id / 32] |= (uint32_t)1 << (id % 32); }

static uint32_t output_value(const lstmc_model *m, uint32_t i) {
    return m->io[(size_t)(m->input_count + i) * LSTMC_IO_WORDS + IO_VALUE];
}

static int any_output(const lstmc_layer *l, const value_set *s) {
    for (uint32_t j = 0; j < l->output_count; j++) {
        if (l->outputs[j] != LSTMC_NONE && has(s, l->outputs[j])) return 1;
    }
    return 0;
}

/* Whether a layer passes a gradient to its input i. */
static int passes(const lstmc_train_ops *ops, const lstmc_layer *l, uint32_t i) {
    if (l->inputs[i] == LSTMC_NONE) return 0;
    return !ops || (ops->backward && !(i < 32 && (ops->blocks >> i & 1)));
}

static int trains(const lstmc_train_config *config, const lstmc_layer *l, uint32_t index) {
    const lstmc_train_ops *ops = lstmc_train_find(l->code);
    if ((ops && !ops->backward) || (config->frozen && config->frozen[index])) return 0;
    for (uint32_t i = 0; i < l->tensor_count; i++) {
        if (l->tensors[i] != LSTMC_NONE) return 1;
    }
    return 0;
}

/* A state that a step takes is the one that the step before has given; whether the set has grown. */
static int across_steps(const lstmc_model *m, value_set *s, int onwards) {
    int grown = 0;
    for (uint32_t i = 0; i < m->state_count; i++) {
        const uint32_t taken = m->input_count + i, given = lstmc_state_io(m, i, 1)[IO_VALUE];
        const uint32_t from = onwards ? given : taken, to = onwards ? taken : given;
        if (!has(s, from) || has(s, to)) continue;
        put(s, to);
        grown = 1;
    }
    return grown;
}

/* Values whose gradient is wanted: something that is trained lies before them, an output behind.
 * LSTMC_E_UNSUPPORTED where a gradient must pass a layer that this build has no training of. */
static int find_wanted(const lstmc_model *m, const lstmc_train_config *config, value_set *wanted) {
    value_set needs, useful;
    memset(&needs, 0, sizeof needs);
    memset(&useful, 0, sizeof useful);
    for (uint32_t i = 0; config->input_gradients && i < m->input_count; i++) put(&needs, i);
    do {
        for (uint32_t i = 0; i < m->layer_count; i++) {
            lstmc_layer l;
            lstmc_layer_get(m, i, &l);
            const lstmc_train_ops *ops = lstmc_train_find(l.code);
            int any = trains(config, &l, i);
            for (uint32_t j = 0; j < l.input_count; j++) {
                any |= passes(ops, &l, j) && has(&needs, l.inputs[j]);
            }
            for (uint32_t j = 0; any && j < l.output_count; j++) {
                if (l.outputs[j] != LSTMC_NONE) put(&needs, l.outputs[j]);
            }
        }
    } while (across_steps(m, &needs, 1));
    for (uint32_t i = 0; i < m->output_count; i++) put(&useful, output_value(m, i));
    do {
        for (uint32_t i = m->layer_count; i-- > 0;) {
            lstmc_layer l;
            lstmc_layer_get(m, i, &l);
            if (!any_output(&l, &useful) || !any_output(&l, &needs)) continue;
            const lstmc_train_ops *ops = lstmc_train_find(l.code);
            if (!ops) return LSTMC_E_UNSUPPORTED;
            for (uint32_t j = 0; j < l.input_count; j++) {
                if (passes(ops, &l, j)) put(&useful, l.inputs[j]);
            }
        }
    } while (across_steps(m, &useful, 0));
    for (size_t i = 0; i < sizeof needs.words / sizeof needs.words[0]; i++) {
        wanted->words[i] = needs.words[i] & useful.words[i];
    }
    return LSTMC_OK;
}

/* Gradients that are sent to a value: by the layers that read it, if it is an output from outside, if it
 * is a state by the step that takes it. */
static uint32_t senders(const lstmc_model *m, const value_set *wanted, uint32_t id) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->state_count; i++) {
        count += lstmc_state_io(m, i, 1)[IO_VALUE] == id;
    }
    for (uint32_t i = 0; i < m->output_count; i++) count += output_value(m, i) == id;
    for (uint32_t i = 0; i < m->layer_count; i++) {
        lstmc_layer l;
        lstmc_layer_get(m, i, &l);
        if (!any_output(&l, wanted)) continue;
        for (uint32_t j = 0; j < l.input_count; j++) {
            count += l.inputs[j] == id && passes(lstmc_train_find(l.code), &l, j);
        }
    }
    return count;
}

/* ------------------------------------------------------------------------------------- layout -- */

static int good_train_config(const lstmc_model *m, const lstmc_train_config *config) {
    if (m->value_count > LSTMC_TRAIN_VALUES) return LSTMC_E_UNSUPPORTED;
    if (m->state_count && config->dropout_count) return LSTMC_E_UNSUPPORTED;
    if (config->slots > 3 || (config->dropout_count && !config->dropouts)) return LSTMC_E_ARGUMENT;
    for (uint32_t i = 0; i < config->dropout_count; i++) {
        const lstmc_dropout *d = config->dropouts + i;
        const int of_h = d->kind == LSTMC_DROPOUT_RECURRENT;
        if (d->layer >= m->layer_count || (uint32_t)d->kind >= LSTMC_DROPOUT_COUNT ||
            !(d->rate >= 0.0f && d->rate < 1.0f)) {
            return LSTMC_E_ARGUMENT;
        }
        for (uint32_t j = 0; j < i; j++) { /* an input has one mask, and h has one */
            const lstmc_dropout *other = config->dropouts + j;
            const int other_of_h = other->kind == LSTMC_DROPOUT_RECURRENT;
            if (other->layer == d->layer && other_of_h == of_h) return LSTMC_E_ARGUMENT;
        }
    }
    return LSTMC_OK;
}

/* Rows and steps of a call; the layers of a stateful model see one of each. */
static uint32_t most_rows(const lstmc_train_config *config) {
    return config->batch ? config->batch : 1;
}
static uint32_t most_steps(const lstmc_train_config *config) {
    return config->time ? config->time : 1;
}
static uint32_t seen(const lstmc_model *m, uint32_t most) { return m->state_count ? 1 : most; }

static size_t most_floats(const lstmc_model *m, uint32_t id, size_t batch, uint32_t time) {
    const lstmc_value v = lstmc_value_get(m, id);
    return lstmc_size_mul(lstmc_size_mul(v.features, lstmc_value_steps(&v, time)), batch);
}

static void describe(const lstmc_model *m, const lstmc_train_config *config,
                     const value_set *wanted, uint32_t index, lstmc_train_layer *l) {
    memset(l, 0, sizeof *l);
    lstmc_layer_get(m, index, &l->layer);
    const lstmc_train_ops *ops = lstmc_train_find(l->layer.code);
    const int active = any_output(&l->layer, wanted);
    for (uint32_t j = 0; active && j < l->layer.input_count && j < 32; j++) {
        if (passes(ops, &l->layer, j) && has(wanted, l->layer.inputs[j])) {
            l->wants |= (uint32_t)1 << j;
        }
    }
    for (uint32_t j = 0; active && trains(config, &l->layer, index) && j < l->layer.tensor_count;
         j++) {
        if (l->layer.tensors[j] != LSTMC_NONE) l->trains |= (uint32_t)1 << j;
    }
    l->batch = seen(m, most_rows(config));
    l->time = seen(m, most_steps(config));
    l->frugal = config->frugal;
    l->recompute = config->recompute;
    l->carry = config->carry && !m->state_count;
    for (uint32_t j = 0; j < config->dropout_count; j++) {
        const lstmc_dropout *d = config->dropouts + j;
        l->dropout |= d->layer == index && d->kind == LSTMC_DROPOUT_RECURRENT;
    }
}

/* Whether a layer trains this tensor: layers may share one. */
static int is_trained(const lstmc_model *m, const lstmc_train_config *config,
                      const value_set *wanted, uint32_t tensor) {
    for (uint32_t i = 0; i < m->layer_count; i++) {
        lstmc_train_layer l;
        describe(m, config, wanted, i, &l);
        for (uint32_t j = 0; j < l.layer.tensor_count; j++) {
            if (l.layer.tensors[j] == tensor && (l.trains >> j & 1)) return 1;
        }
    }
    return 0;
}

static size_t tensor_floats(const lstmc_model *m, uint32_t id) {
    return m->tensors[(size_t)id * LSTMC_TENSOR_WORDS + 1] / sizeof(float);
}

/* Where everything lies; t is NULL to only count. */
static void lay_out_trained(const lstmc_model *m, const lstmc_train_config *config,
                            const value_set *wanted, train_layout *a, lstmc_trainer *t) {
    size_t floats = 0;
    for (uint32_t id = 0; id < m->tensor_count; id++) {
        if (is_trained(m, config, wanted, id)) floats += (tensor_floats(m, id) + 15) / 16 * 16;
    }
    float *weights = take_floats(a, floats), *gradients = take_floats(a, floats);
    float *slots[3] = {NULL, NULL, NULL};
    for (uint32_t i = 0; i < config->slots; i++) slots[i] = take_floats(a, floats);
    if (!t) return;
    t->weights = weights;
    t->weight_gradients = gradients;
    t->weight_floats = floats;
    lstmc_zeros(weights, floats);
    lstmc_zeros(gradients, floats);
    for (uint32_t i = 0; i < config->slots; i++) {
        t->slots[i] = slots[i];
        lstmc_zeros(slots[i], floats);
    }
    for (uint32_t id = 0; id < m->tensor_count; id++) {
        const uint32_t *r = m->tensors + (size_t)id * LSTMC_TENSOR_WORDS;
        t->moved[id] = t->gradients[id] = NULL;
        if (!is_trained(m, config, wanted, id)) continue;
        memcpy(weights, m->words + r[0] / 4, r[1]);
        t->moved[id] = weights;
        t->gradients[id] = gradients;
        weights += (tensor_floats(m, id) + 15) / 16 * 16;
        gradients += (tensor_floats(m, id) + 15) / 16 * 16;
    }
}

/* Gradients of values, and those that are added to them. */
static void lay_out_gradients(const lstmc_model *m, const lstmc_train_config *config,
                              const value_set *wanted, train_layout *a, lstmc_trainer *t) {
    const uint32_t batch = seen(m, most_rows(config)), time = seen(m, most_steps(config));
    for (uint32_t id = 0; id < m->value_count; id++) {
        if (t) memset(&t->value_grads[id], 0, sizeof t->value_grads[id]);
        if (!has(wanted, id)) continue;
        float *data = take_floats(a, most_floats(m, id, batch, time));
        if (t) t->value_grads[id].data = data;
    }
    /* What layers but the last send to a value lies apart until it is added, one layer at a time. */
    size_t most = 0, port = 0;
    float *extra = NULL;
    for (uint32_t turn = 0; turn < 2; turn++) {
        if (turn) extra = take_floats(a, most);
        for (uint32_t i = 0; i < m->layer_count; i++) {
            lstmc_train_layer l;
            size_t used = 0;
            describe(m, config, wanted, i, &l);
            for (uint32_t j = 0; j < l.layer.input_count; j++) {
                const uint32_t id = l.layer.inputs[j];
                int apart = 0;
                if (any_output(&l.layer, wanted) && id != LSTMC_NONE && has(wanted, id) &&
                    passes(lstmc_train_find(l.layer.code), &l.layer, j)) {
                    apart = senders(m, wanted, id) > 1;
                }
                if (turn && t) t->extra[port] = apart ? extra + used : NULL;
                if (apart) used += (most_floats(m, id, batch, time) + 15) / 16 * 16;
                port += turn;
            }
            port += turn ? l.layer.output_count : 0;
            if (used > most) most = used;
        }
    }
}

static lstmc_config session_config(const lstmc_train_config *config) {
    lstmc_config c;
    memset(&c, 0, sizeof c);
    c.batch = config->batch;
    c.time = config->time;
    c.target = config->target;
    c.parallel = config->parallel;
    c.frugal = config->frugal;
    c.apart = 1;
    return c;
}

/* Rows times steps that layers keep something of, each in a place of its own. */
static size_t slot_count(const lstmc_model *m, const lstmc_train_config *config) {
    return m->state_count ? lstmc_size_mul(most_rows(config), most_steps(config)) : 1;
}

static int is_port(const lstmc_model *m, uint32_t id) {
    int found = id < m->input_count;
    for (uint32_t i = 0; i < m->output_count; i++) found |= output_value(m, i) == id;
    return found;
}

/* What the steps of a stateful model keep. */
static void lay_out_steps(const lstmc_model *m, const lstmc_train_config *config,
                          const value_set *wanted, train_layout *a, lstmc_trainer *t) {
    const uint32_t ports = m->input_count + m->output_count;
    size_t *places = (size_t *)train_take(a, m->value_count, sizeof *places);
    lstmc_view *views = (lstmc_view *)train_take(a, m->value_count, sizeof *views);
    float **gradients = (float **)train_take(a, ports, sizeof *gradients);
    size_t slot = 0, states = 0;
    for (uint32_t id = 0; id < m->value_count; id++) {
        const int port = is_port(m, id);
        if (t) places[id] = port ? LSTMC_NO_PLACE : slot;
        if (!port) slot = lstmc_size_add(slot, (lstmc_step_floats(m, id) + 15) / 16 * 16);
    }
    for (uint32_t i = 0; i < m->state_count; i++)
        states += lstmc_step_floats(m, m->input_count + i);
    float *values = take_floats(a, lstmc_size_mul(slot, slot_count(m, config)));
    float *handed = take_floats(a, states);
    for (uint32_t i = 0; i < ports; i++) {
        const uint32_t id = m->io[(size_t)i * LSTMC_IO_WORDS + IO_VALUE];
        const size_t floats = lstmc_size_mul(lstmc_step_floats(m, id), slot_count(m, config));
        float *data = has(wanted, id) ? take_floats(a, floats) : NULL;
        if (t) gradients[i] = data;
    }
    if (!t) return;
    t->unrolled.values = values;
    t->unrolled.places = places;
    t->unrolled.slot_floats = slot;
    t->unrolled.views = views;
    t->unrolled.gradients = gradients;
    t->unrolled.handed = handed;
}

static void lay_out_layers(const lstmc_model *m, const lstmc_train_config *config,
                           const value_set *wanted, train_layout *a, lstmc_trainer *t) {
    size_t scratch = 0;
    for (uint32_t i = 0; i < m->layer_count; i++) {
        lstmc_train_layer l;
        lstmc_train_need need = {0, 0, 0};
        describe(m, config, wanted, i, &l);
        const lstmc_train_ops *ops = lstmc_train_find(l.layer.code);
        const int active = any_output(&l.layer, wanted) && ops && ops->backward;
        lstmc_train_node *n = t ? t->nodes + i : NULL;
        if (n) memset(n, 0, sizeof *n);
        if (!active) continue;
        if (ops->plan) ops->plan(&l, &need);
        void *prepared = train_take(a, ops->prepared_size, 1);
        const size_t aligned = (need.saved + 15) / 16 * 16;
        const size_t saved_floats = m->state_count ? aligned : need.saved;
        float *saved = take_floats(a, lstmc_size_mul(saved_floats, slot_count(m, config)));
        float *packed = take_floats(a, need.packed);
        if (need.scratch > scratch) scratch = need.scratch;
        if (!n) continue;
        l.gradients = t->gradients;
        l.layer.model = &t->model;
        n->ops = ops;
        n->node = t->session->nodes + i;
        n->kernels = lstmc_train_kernels_find(lstmc_kernels_find(t->session->target, 16));
        n->full = lstmc_train_kernels_find(n->node->full);
        n->half = lstmc_train_kernels_find(n->node->half);
        n->prepared = prepared;
        n->saved = saved;
        n->packed = packed;
        n->saved_floats = saved_floats;
        n->packed_floats = need.packed;
        if (ops->prepare) ops->prepare(&l, prepared);
    }
    for (uint32_t i = 0; i < config->dropout_count; i++) {
        const lstmc_dropout *d = config->dropouts + i;
        float *copy =
            take_floats(a, lstmc_dropout_floats(m, d, most_rows(config), most_steps(config)));
        if (!t) continue;
        t->masked[i].dropout = d;
        t->masked[i].copy = copy;
    }
    float *at = take_floats(a, scratch);
    if (!t) return;
    t->scratch = at;
    t->scratch_floats = scratch;
}

/* Lay out everything; out is NULL to only count. */
static int train_lay_out(const lstmc_model *m, const lstmc_train_config *config, train_layout *a,
                         lstmc_trainer **out) {
    value_set wanted;
    int status = good_train_config(m, config);
    if (!status) status = find_wanted(m, config, &wanted);
    if (status) return status;
    lstmc_trainer *t = (lstmc_trainer *)train_take(a, 1, sizeof *t);
    lstmc_train_node *nodes = (lstmc_train_node *)train_take(a, m->layer_count, sizeof *nodes);
    float **moved = (float **)train_take(a, m->tensor_count, sizeof *moved);
    float **gradients = (float **)train_take(a, m->tensor_count, sizeof *gradients);
    lstmc_view *value_grads = (lstmc_view *)train_take(a, m->value_count, sizeof *value_grads);
    lstmc_array *outputs = (lstmc_array *)train_take(a, m->output_count, sizeof *outputs);
    lstmc_masked *masked = (lstmc_masked *)train_take(a, config->dropout_count, sizeof *masked);
    size_t port_count = 0;
    for (uint32_t i = 0; i < m->layer_count; i++) {
        lstmc_layer l;
        lstmc_layer_get(m, i, &l);
        port_count += (size_t)l.input_count + l.output_count;
    }
    lstmc_view *ports = (lstmc_view *)train_take(a, port_count, sizeof *ports);
    float **extra = (float **)train_take(a, port_count, sizeof *extra);
    const lstmc_config inner = session_config(config);
    size_t session_size;
    status = lstmc_arena_size(&session_size, m, &inner);
    if (status) return status;
    void *session_at = train_take(a, session_size, 1);
    if (out && a->used != SIZE_MAX) {
        memset(t, 0, sizeof *t);
        memset(extra, 0, port_count * sizeof *extra);
        memset(outputs, 0, m->output_count * sizeof *outputs);
        t->model = *m;
        t->nodes = nodes;
        t->moved = moved;
        t->model.moved = (float *const *)moved;
        t->gradients = gradients;
        t->value_grads = value_grads;
        t->outputs = outputs;
        t->masked = masked;
        t->masked_count = config->dropout_count;
        t->ports = ports;
        t->extra = extra;
        t->carry = config->carry;
        t->input_gradients = config->input_gradients;
        t->slot_count = config->slots;
        t->stale = 1;
        t->step = LSTMC_NONE;
        t->optimizer.beta_1_power = t->optimizer.beta_2_power = 1.0f;
    } else {
        t = NULL;
    }
    lay_out_trained(m, config, &wanted, a, t);
    if (t) { /* prepares its layers with the weights that have moved */
        status = lstmc_session_init(&t->session, &t->model, &inner, session_at, session_size);
        if (status) return status;
    }
    lay_out_gradients(m, config, &wanted, a, t);
    lay_out_layers(m, config, &wanted, a, t);
    if (m->state_count) lay_out_steps(m, config, &wanted, a, t);
    for (uint32_t i = 0; i < m->output_count; i++) {
        const uint32_t id = output_value(m, i);
        const size_t floats =
            most_floats(m, id, seen(m, most_rows(config)), seen(m, most_steps(config)));
        float *data = take_floats(a, lstmc_size_mul(floats, slot_count(m, config)));
        if (t) t->outputs[i].data = data;
    }
    if (a->used == SIZE_MAX) return LSTMC_E_ARGUMENT;
    if (out) *out = t;
    return LSTMC_OK;
}

int lstmc_train_arena_size(size_t *size, const lstmc_model *model,
                           const lstmc_train_config *config) {
    train_layout a = {NULL, 0};
    if (!size || !model || !model->words || !config) return LSTMC_E_ARGUMENT;
    const int status = train_lay_out(model, config, &a, NULL);
    *size = status ? 0 : a.used;
    return status;
}

int lstmc_trainer_init(lstmc_trainer **trainer, const lstmc_model *model,
                       const lstmc_train_config *config, void *arena, size_t size) {
    size_t need;
    if (!trainer || !arena) return LSTMC_E_ARGUMENT;
    const int status = lstmc_train_arena_size(&need, model, config);
    if (status) return status;
    if ((uintptr_t)arena % 16) return LSTMC_E_ALIGNMENT;
    if (size < need) return LSTMC_E_ARENA;
    if (lstmc_target_resolve(config->target) == LSTMC_TARGET_COUNT) return LSTMC_E_TARGET;
    train_layout a = {(unsigned char *)arena, 0};
    return train_lay_out(model, config, &a, trainer);
}
