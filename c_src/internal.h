/* Shared by the files of the core; not for users of the library. */
#ifndef LSTMC_INTERNAL_H
#define LSTMC_INTERNAL_H

#include "kernels/kernels.h"
#include "lstmc.h"
#include "lstmc_config.h"

/* --------------------------------------------------------------------- records of the format -- */

/* Words of each record (docs/SPEC.md). */
enum {
    LSTMC_HEADER_WORDS = 16,
    LSTMC_IO_WORDS = 8,
    LSTMC_VALUE_WORDS = 4,
    LSTMC_LAYER_WORDS = 8,
    LSTMC_TENSOR_WORDS = 8,
    LSTMC_META_WORDS = 2
};

/* Words of an input or output. */
enum { IO_NAME, IO_VALUE, IO_DTYPE, IO_RANK, IO_DIMS, IO_TIME, IO_GOLDEN, IO_DIGEST };

/* No size, count or number of steps in a file is larger: products of two fit into 64 bits. */
#define LSTMC_MAX_SIZE 0x1000000u

/* A weight: rows of `gates` blocks of `units`, times k columns, packed in panels (SPEC, Panels). */
typedef struct lstmc_tensor {
    const float *data;
    uint32_t plain; /* 1: not packed, size floats */
    uint32_t size;
    uint32_t gates;
    uint32_t k;
    uint32_t units;
    uint32_t panel;
} lstmc_tensor;

/* A value: features floats a row, once or at each of floor((n + add) / every) steps, n being the
 * steps of its clock; or, with clock LSTMC_NONE, of a constant number, add. */
typedef struct lstmc_value {
    uint32_t features;
    uint32_t has_time;
    uint32_t clock;
    int32_t add;
    uint32_t every;
} lstmc_value;

/* Floats of a row that has a constant number of steps, or none. */
static inline uint64_t lstmc_row_floats(const lstmc_value *v) {
    return (uint64_t)v->features * (v->has_time ? (uint32_t)v->add : 1);
}

/* A layer's record, decoded. */
typedef struct lstmc_layer {
    const lstmc_model *model;
    uint32_t code;
    const char *name;
    uint32_t input_count;
    uint32_t output_count;
    uint32_t tensor_count;
    uint32_t param_count;
    const uint32_t *inputs;  /* value ids */
    const uint32_t *outputs; /* value ids or LSTMC_NONE */
    const uint32_t *tensors; /* tensor ids or LSTMC_NONE */
    const uint32_t *params;
    uint32_t frugal; /* lstmc_config.frugal, for plan and prepare; else 0 */
} lstmc_layer;

void lstmc_layer_get(const lstmc_model *model, uint32_t index, lstmc_layer *layer);
lstmc_value lstmc_value_get(const lstmc_model *model, uint32_t id);

/* The io record of a state: the value that takes it (out 0), the one that gives it (out 1). */
static inline const uint32_t *lstmc_state_io(const lstmc_model *m, uint32_t state, uint32_t out) {
    const uint32_t ports = m->input_count + m->output_count;
    return m->io + ((size_t)ports + 2 * (size_t)state + out) * LSTMC_IO_WORDS;
}

/* Input i of a layer, LSTMC_NONE if it is absent. */
static inline uint32_t lstmc_input(const lstmc_layer *layer, uint32_t i) {
    return i < layer->input_count ? layer->inputs[i] : LSTMC_NONE;
}

/* Parameter i; options that a record leaves out at its end have their defaults. */
static inline uint32_t lstmc_param(const lstmc_layer *layer, uint32_t i, uint32_t otherwise) {
    return i < layer->param_count ? layer->params[i] : otherwise;
}

/* Steps of a value when its clock has n; 1 for a value without time, 0 if nothing is left. */
uint32_t lstmc_value_steps(const lstmc_value *value, uint32_t n);

/* The same value with floor((steps + add) / every) steps; has_time 2 where no number fits. */
lstmc_value lstmc_steps_then(lstmc_value value, int64_t add, uint32_t every);

/* Both have time and go step by step together. */
static inline int lstmc_same_steps(const lstmc_value *a, const lstmc_value *b) {
    return a->has_time && b->has_time && a->clock == b->clock && a->add == b->add &&
           a->every == b->every;
}

/* Tensor i of a layer; 0 if it is absent. */
int lstmc_tensor_get(const lstmc_layer *layer, uint32_t i, lstmc_tensor *tensor);

/* Whether a value is known before the model runs, the same in every row: a Fill layer writes it. Its
 * tensor, if so. Only for ids that a layer before the one being checked has written. */
int lstmc_value_fixed(const lstmc_model *model, uint32_t id, lstmc_tensor *value);
#define LSTMC_CODE_FILL 26u

/* Read a function from three parameter words; 0 if it is unknown. */
int lstmc_fn_get(const uint32_t *params, lstmc_fn *fn);

/* Units in panels before panel i, and the width of panel i: the last is half as wide when at most
 * half of a panel's units remain. */
static inline uint32_t lstmc_panel_count(uint32_t units, uint32_t panel) {
    return units / panel + (units % panel != 0);
}

static inline uint32_t lstmc_panel_width(uint32_t units, uint32_t panel, uint32_t i) {
    const uint32_t rest = units - i * panel;
    return panel > 1 && rest <= panel / 2 ? panel / 2 : panel;
}

/* Units after padding the last panel. */
static inline uint32_t lstmc_padded(uint32_t units, uint32_t panel) {
    const uint32_t last = lstmc_panel_count(units, panel) - 1;
    return last * panel + lstmc_panel_width(units, panel, last);
}

/* ------------------------------------------------------------------------- layers at run time -- */

/* Where a value's floats are: row b, step t at data + b * batch_stride + t * time_stride. */
typedef struct lstmc_view {
    float *data;
    size_t batch_stride;
    size_t time_stride;
} lstmc_view;

/* What a layer asks of the arena, in floats. */
typedef struct lstmc_need {
    size_t state;   /* kept between calls, set to zero by reset; each row's lies together */
    size_t scratch; /* shared by all layers, of any content */
    size_t each;    /* more of it, for each part of a step that several threads share */
    float work;     /* multiply-adds of a row and step, roughly: whether threads pay */
} lstmc_need;

/* LSTMC_FROZEN: firmware that `lstmc export` made (docs/howto/embed.md). A session's plan is constant
 * data there, records included; there is one row, one number of steps, one target, no threads, no
 * lengths, and no model to look into. */

/* A layer in a session. */
typedef struct lstmc_node {
#ifdef LSTMC_FROZEN
    const void *prepared;
#else
    const struct lstmc_layer_ops *ops;
    void *prepared;            /* the layer's own record; parts of a call share it to read */
    const lstmc_kernels *full; /* kernels for panels of full width */
    const lstmc_kernels *half; /* and for the half one at the end */
#endif
    float *state;        /* row after row */
    size_t state_stride; /* floats a row */
    uint32_t parity;     /* which of two state buffers is the current one, where a layer has two */
} lstmc_node;

#ifdef LSTMC_FROZEN

typedef struct lstmc_call {
    lstmc_view *views;        /* by value id */
    const uint32_t *steps;    /* likewise; 1 for values without time, whose time_stride is 0 */
    const uint32_t *features; /* likewise */
    float *scratch;
} lstmc_call;

static inline uint32_t lstmc_batch(const lstmc_call *call) {
    (void)call;
    return 1;
}
static inline uint32_t lstmc_max_batch(const lstmc_call *call) {
    (void)call;
    return 1;
}
static inline uint32_t lstmc_idle(const lstmc_call *call) {
    (void)call;
    return 0;
}
static inline const int32_t *lstmc_lengths(const lstmc_call *call) {
    (void)call;
    return NULL;
}
static inline uint32_t lstmc_features(const lstmc_call *call, uint32_t id) {
    return call->features[id];
}
static inline int lstmc_has_time(const lstmc_call *call, uint32_t id) {
    return call->views[id].time_stride != 0;
}

static inline const lstmc_kernels *lstmc_kernels_for(const lstmc_node *node, uint32_t half) {
    (void)node;
    (void)half;
    return NULL;
}

#else

typedef struct lstmc_call {
    const lstmc_model *model;
    uint32_t batch;         /* rows of this call */
    const int32_t *lengths; /* of the first clock, or NULL */
    uint32_t idle;          /* rows of the session behind them that this call leaves out */
    uint32_t max_batch;     /* rows that scratch is laid out for */
    uint32_t max_time;
    lstmc_view *views;     /* by value id */
    const uint32_t *steps; /* by value id, 1 for values without time */
    float *scratch;
    const lstmc_parallel *parallel; /* NULL: this call is all on one thread */
    /* Of a stateful model, whose layers see one step at a time (stateful.c): */
    uint32_t time;         /* steps */
    const size_t *strides; /* of each input and output, floats from a step to the next */
} lstmc_call;

static inline uint32_t lstmc_batch(const lstmc_call *call) { return call->batch; }
static inline uint32_t lstmc_max_batch(const lstmc_call *call) { return call->max_batch; }
static inline uint32_t lstmc_idle(const lstmc_call *call) { return call->idle; }
static inline const int32_t *lstmc_lengths(const lstmc_call *call) { return call->lengths; }
static inline uint32_t lstmc_features(const lstmc_call *call, uint32_t id) {
    return lstmc_value_get(call->model, id).features;
}
static inline int lstmc_has_time(const lstmc_call *call, uint32_t id) {
    return lstmc_value_get(call->model, id).has_time != 0;
}

/* The kernels for panels of full width, or for the half one. */
static inline const lstmc_kernels *lstmc_kernels_for(const lstmc_node *node, uint32_t half) {
    return half ? node->half : node->full;
}

/* Call a kernel of a target's table. */
#define LSTMC_KERNEL(table, NAME, ...) ((table)->NAME(__VA_ARGS__))

#endif

/* A state as users see it: rows of features floats, stride floats apart. */
typedef struct lstmc_state_view {
    const char *name;
    uint32_t features;
    float *data; /* NULL while no session exists */
    size_t stride;
} lstmc_state_view;

typedef struct lstmc_layer_ops {
    uint32_t code;
    uint32_t prepared_size; /* bytes */
    /* Whether the record makes sense: LSTMC_OK, LSTMC_E_INVALID or LSTMC_E_UNSUPPORTED. Runs after
     * the generic checks: ids are in range, tensors lie inside the blob. */
    int (*check)(const lstmc_layer *layer);
    /* Fill in what run needs, once for a session. */
    void (*prepare)(const lstmc_layer *layer, void *prepared);
    /* Sizes for a session of at most batch rows and time steps; they can't overflow 64 bits. */
    void (*plan)(const lstmc_layer *layer, uint32_t batch, uint32_t time, lstmc_need *need);
    /* May not fail. */
    void (*run)(lstmc_node *node, const lstmc_call *call);
    /* Whether a call fits whose values have these steps, by value id; NULL: always. */
    int (*fits)(const lstmc_layer *layer, const uint32_t *steps);
    /* 1 if the layer needs the whole sequence in one call; NULL: never. */
    int (*whole)(const lstmc_layer *layer);
    /* The states users may read and write; NULL if none. */
    uint32_t state_count;
    void (*state)(const lstmc_node *node, uint32_t index, lstmc_state_view *view);
    /* Put states that don't start from zero where they start; NULL: there are none. */
    void (*reset)(lstmc_node *node, uint32_t rows);
} lstmc_layer_ops;

/* The layers of a stateful model, once for each step of a call (stateful.c). */
void lstmc_run_stateful(lstmc_node *nodes, const lstmc_call *call);

/* Those layers begin anew, as they do in each step. */
void lstmc_stateful_begin(lstmc_node *nodes, const lstmc_call *call);

/* The layers that this build has; NULL if code is unknown. */
const lstmc_layer_ops *lstmc_layer_find(uint32_t code);

/* Steps of a value in this call, and those of row b that are valid. */
static inline uint32_t lstmc_steps(const lstmc_call *call, uint32_t id) { return call->steps[id]; }

static inline uint32_t lstmc_row_steps(const lstmc_call *call, uint32_t id, uint32_t b) {
    const uint32_t steps = call->steps[id];
#ifdef LSTMC_FROZEN
    (void)b;
    return steps;
#else
    if (!call->lengths) return steps;
    const lstmc_value v = lstmc_value_get(call->model, id);
    if (!v.has_time || v.clock != 0) return steps;
    const uint32_t n = lstmc_value_steps(&v, call->lengths[b] > 0 ? (uint32_t)call->lengths[b] : 0);
    return n < steps ? n : steps;
#endif
}

/* Multiply and add sizes without wrapping: on overflow the result stays SIZE_MAX. */
static inline size_t lstmc_size_mul(size_t a, size_t b) {
    return b && a > SIZE_MAX / b ? SIZE_MAX : a * b;
}

static inline size_t lstmc_size_add(size_t a, size_t b) {
    return a > SIZE_MAX - b ? SIZE_MAX : a + b;
}

/* The running CRC-32 (complemented, as inside the loop) after the four bytes of a word. */
uint32_t lstmc_crc32_word(uint32_t crc, uint32_t word);

#endif
