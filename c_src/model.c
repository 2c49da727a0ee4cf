/* A blob becomes a checked, borrowed view. Everything that can be wrong is found here, so that
 * running a session needs no checks. docs/SPEC.md describes the records. */
#include "internal.h"

#include <string.h>

/* Header words; the first two are the magic. */
enum {
    H_MAGIC0,
    H_MAGIC1,
    H_VERSION,
    H_CRC,
    H_SIZE,
    H_INPUTS,
    H_OUTPUTS,
    H_VALUES,
    H_LAYERS,
    H_TENSORS,
    H_POOL,
    H_META,
    H_STRINGS,
    H_GOLDEN_BATCH,
    H_GOLDEN_TIME,
    H_STATES
};

enum { V_NAME, V_FEATURES, V_TIME, V_STEPS };
enum { L_CODE, L_NAME, L_INPUTS, L_OUTPUTS, L_TENSORS, L_PARAMS, L_POOL, L_RESERVED };
enum { T_OFFSET, T_SIZE, T_LAYOUT, T_GATES, T_K, T_UNITS, T_PANEL, T_RESERVED };

#define MAGIC0 0x4d54534cu /* "LSTM" */
#define MAGIC1 0x1a0a0d43u /* "C\r\n\x1a": a copy in text mode shows */
#define ALIGN 64u
/* Limits that keep all products of a few sizes inside 64 bits, and what is done for each pair of
 * layers or of inputs and outputs short. */
#define MAX_COUNT 0x100000u
#define MAX_LAYERS 4096u
#define MAX_IO 256u
#define STATES_MASK 0xffffu /* of word H_STATES; the rest are flags, of which there is none */
#define MAX_SIZE LSTMC_MAX_SIZE
#define MAX_DTYPE 7u

const char *lstmc_status_text(int status) {
    switch (status) {
    case LSTMC_OK: return "no error";
    case LSTMC_E_ARGUMENT: return "an argument is null, zero or out of range";
    case LSTMC_E_ALIGNMENT: return "the blob or the arena is not aligned";
    case LSTMC_E_MAGIC: return "not an lstmc model";
    case LSTMC_E_VERSION: return "the format version is not one that this library knows";
    case LSTMC_E_TRUNCATED: return "the model is truncated";
    case LSTMC_E_CHECKSUM: return "the checksum does not match: the model is damaged";
    case LSTMC_E_INVALID: return "a record of the model is invalid";
    case LSTMC_E_UNSUPPORTED: return "a layer, function or flag is unknown to this library";
    case LSTMC_E_TARGET: return "this CPU or this build can't run the target";
    case LSTMC_E_ARENA: return "the arena is too small";
    case LSTMC_E_SHAPE: return "rows or time steps beyond the session, or unfit for the model";
    default: return "unknown status";
    }
}

static const uint32_t *layer_record(const lstmc_model *m, uint32_t index) {
    return m->layers + (size_t)index * LSTMC_LAYER_WORDS;
}

/* A string's offset is inside the table, which ends with a zero byte. */
static int good_string(const lstmc_model *m, uint32_t offset) { return offset < m->strings_size; }

void lstmc_layer_get(const lstmc_model *model, uint32_t index, lstmc_layer *layer) {
    const uint32_t *r = layer_record(model, index);
    layer->model = model;
    layer->code = r[L_CODE];
    layer->name = model->strings + r[L_NAME];
    layer->input_count = r[L_INPUTS];
    layer->output_count = r[L_OUTPUTS];
    layer->tensor_count = r[L_TENSORS];
    layer->param_count = r[L_PARAMS];
    layer->inputs = model->pool + r[L_POOL];
    layer->outputs = layer->inputs + layer->input_count;
    layer->tensors = layer->outputs + layer->output_count;
    layer->params = layer->tensors + layer->tensor_count;
    layer->frugal = 0;
}

lstmc_value lstmc_value_get(const lstmc_model *model, uint32_t id) {
    const uint32_t *r = model->values + (size_t)id * LSTMC_VALUE_WORDS;
    lstmc_value v = {r[V_FEATURES], r[V_TIME] != 0, 0, 0, 1};
    if (r[V_TIME] == 2) {
        const uint32_t *steps = model->pool + r[V_STEPS];
        v.clock = steps[0];
        memcpy(&v.add, &steps[1], sizeof v.add);
        v.every = steps[2];
    }
    return v;
}

uint32_t lstmc_value_steps(const lstmc_value *value, uint32_t n) {
    if (!value->has_time) return 1;
    const int64_t sum = (value->clock == LSTMC_NONE ? 0 : (int64_t)n) + value->add;
    return sum > 0 ? (uint32_t)((uint64_t)sum / value->every) : 0;
}

lstmc_value lstmc_steps_then(lstmc_value value, int64_t add, uint32_t every) {
    const int64_t sum = value.add + add * (int64_t)value.every;
    const uint64_t by = (uint64_t)value.every * every;
    if (!value.has_time || !every || by > MAX_SIZE || sum > MAX_SIZE || sum < -(int64_t)MAX_SIZE) {
        value.has_time = 2;
    } else if (value.clock == LSTMC_NONE) {
        value.add = sum > 0 ? (int32_t)((uint64_t)sum / by) : 0;
        value.every = 1;
    } else {
        value.add = (int32_t)sum;
        value.every = (uint32_t)by;
    }
    return value;
}

int lstmc_tensor_get(const lstmc_layer *layer, uint32_t i, lstmc_tensor *tensor) {
    if (i >= layer->tensor_count || layer->tensors[i] == LSTMC_NONE) return 0;
    const lstmc_model *m = layer->model;
    const uint32_t id = layer->tensors[i], *r = m->tensors + (size_t)id * LSTMC_TENSOR_WORDS;
    tensor->data = (const float *)(const void *)(m->words + r[T_OFFSET] / 4);
    if (m->moved && m->moved[id]) tensor->data = m->moved[id];
    tensor->plain = r[T_LAYOUT] == 0;
    tensor->size = r[T_SIZE] / 4;
    tensor->gates = r[T_GATES];
    tensor->k = r[T_K];
    tensor->units = r[T_UNITS];
    tensor->panel = r[T_PANEL];
    return 1;
}

int lstmc_value_fixed(const lstmc_model *model, uint32_t id, lstmc_tensor *value) {
    if (id < model->input_count + model->state_count || id >= model->value_count) return 0;
    /* It is found before any layer whose record is not checked yet. */
    for (uint32_t i = 0; i < model->layer_count; i++) {
        lstmc_layer l;
        lstmc_layer_get(model, i, &l);
        for (uint32_t j = 0; j < l.output_count; j++) {
            if (l.outputs[j] != id) continue;
            return l.code == LSTMC_CODE_FILL && lstmc_tensor_get(&l, 0, value);
        }
    }
    return 0;
}

int lstmc_fn_get(const uint32_t *params, lstmc_fn *fn) {
    /* How many of alpha and beta each kind takes (PARAMETERS in lstmc/graph/functions.py). */
    static const unsigned char taken[LSTMC_FN_COUNT] = {
        0, 0, 0, 0, 2, 0, 2, 2, 1, 2, 1, 0, 0, 2, 0, 0, 1, 0,
        2, 0, 1, 0, 1, 1, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1,
    };
    fn->kind = params[0];
    memcpy(&fn->alpha, &params[1], sizeof fn->alpha);
    memcpy(&fn->beta, &params[2], sizeof fn->beta);
    if (fn->kind >= LSTMC_FN_COUNT) return 0;
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t bits = params[1 + i], size = bits & 0x7fffffffu;
        if (i >= taken[fn->kind] ? bits != 0 : size > 0x7f800000u) return 0;
        if (size == 0x7f800000u && fn->kind != LSTMC_FN_CLIP) return 0;
    }
    switch (fn->kind) {
    case LSTMC_FN_CELU: return fn->alpha > 0.0f;
    case LSTMC_FN_SOFT_SHRINK: return fn->alpha >= 0.0f;
    case LSTMC_FN_SQUAREPLUS: return fn->alpha >= 0.0f && fn->alpha <= 1152921504606846976.0f;
    default: return 1;
    }
}

/* Cut `count` records of `words` words off the front of the blob. */
static const uint32_t *section(const lstmc_model *m, uint64_t *at, uint32_t count, uint32_t words) {
    const uint64_t start = *at;
    *at += (uint64_t)count * words * 4;
    return *at <= m->size ? m->words + start / 4 : NULL;
}

static int check_tensors(const lstmc_model *m, uint64_t at) {
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        const uint32_t *r = m->tensors + (size_t)i * LSTMC_TENSOR_WORDS;
        uint64_t floats = r[T_SIZE] / 4;
        if (r[T_OFFSET] != at || r[T_SIZE] % 4 || r[T_RESERVED]) return LSTMC_E_INVALID;
        if (r[T_LAYOUT] > 1) return LSTMC_E_UNSUPPORTED;
        if (r[T_LAYOUT] == 1) {
            const uint32_t panel = r[T_PANEL];
            if (panel == 0 || panel > 16 || (panel & (panel - 1))) return LSTMC_E_INVALID;
            if (!r[T_GATES] || r[T_GATES] > 16 || !r[T_K] || !r[T_UNITS]) return LSTMC_E_INVALID;
            if (r[T_K] > MAX_SIZE || r[T_UNITS] > MAX_SIZE) return LSTMC_E_INVALID;
            floats = (uint64_t)r[T_GATES] * r[T_K] * lstmc_padded(r[T_UNITS], panel);
        } else if (r[T_GATES] || r[T_K] || r[T_UNITS] || r[T_PANEL]) {
            return LSTMC_E_INVALID;
        }
        if (floats == 0 || floats * 4 != r[T_SIZE]) return LSTMC_E_INVALID;
        const uint64_t end = at + r[T_SIZE];
        at = (end + ALIGN - 1) / ALIGN * ALIGN;
        if (at > m->size) return LSTMC_E_TRUNCATED;
        for (uint64_t w = end / 4; w < at / 4; w++) {
            if (m->words[w]) return LSTMC_E_INVALID;
        }
    }
    return at == m->size ? LSTMC_OK : LSTMC_E_INVALID;
}

/* The value records, once the clocks are counted. */
static int check_values(const lstmc_model *m) {
    for (uint32_t i = 0; i < m->value_count; i++) {
        const uint32_t *r = m->values + (size_t)i * LSTMC_VALUE_WORDS;
        if (!good_string(m, r[V_NAME]) || !r[V_FEATURES] || r[V_FEATURES] > MAX_SIZE ||
            r[V_TIME] > 2 || (r[V_TIME] != 2 && r[V_STEPS])) {
            return LSTMC_E_INVALID;
        }
        if (r[V_TIME] == 1 && !m->clock_count) return LSTMC_E_INVALID;
        if (r[V_TIME] != 2) continue;
        if (m->pool_count < 3 || r[V_STEPS] > m->pool_count - 3) return LSTMC_E_INVALID;
        const lstmc_value v = lstmc_value_get(m, i);
        if (v.add > (int32_t)MAX_SIZE || v.add < -(int32_t)MAX_SIZE) return LSTMC_E_INVALID;
        if (v.clock == LSTMC_NONE ? v.add < 1 || v.every != 1
                                  : v.clock >= m->clock_count || !v.every || v.every > MAX_SIZE) {
            return LSTMC_E_INVALID;
        }
        /* This one is written in another way. */
        if (v.clock == 0 && v.add == 0 && v.every == 1) return LSTMC_E_INVALID;
    }
    return LSTMC_OK;
}

/* Clocks are numbered in the order in which inputs first name them. Inside a stateful model there is
 * none: all its values have a constant number of steps, or no time. */
static int count_clocks(lstmc_model *m) {
    for (uint32_t i = 0; i < m->input_count && !m->state_count; i++) {
        const uint32_t *r = m->io + (size_t)i * LSTMC_IO_WORDS;
        if (r[IO_RANK] > 8 || r[IO_DIMS] > m->pool_count ||
            r[IO_RANK] > m->pool_count - r[IO_DIMS] || r[IO_VALUE] >= m->value_count) {
            return LSTMC_E_INVALID;
        }
        const uint32_t *value = m->values + (size_t)r[IO_VALUE] * LSTMC_VALUE_WORDS;
        for (uint32_t d = 0; d < r[IO_RANK]; d++) {
            const uint32_t code = m->pool[r[IO_DIMS] + d];
            if (code > LSTMC_TIME || code <= LSTMC_TIME - MAX_IO) continue;
            if (value[V_TIME] == 2 && value[V_STEPS] < m->pool_count &&
                m->pool[value[V_STEPS]] == LSTMC_NONE) {
                continue; /* constant */
            }
            if (LSTMC_TIME - code > m->clock_count) return LSTMC_E_INVALID;
            if (LSTMC_TIME - code == m->clock_count) m->clock_count++;
        }
    }
    return LSTMC_OK;
}

static int check_io(lstmc_model *m) {
    const uint32_t *h = m->words;
    const int golden = h[H_GOLDEN_BATCH] != 0;
    if (golden != (h[H_GOLDEN_TIME] != 0)) return LSTMC_E_INVALID;
    if (h[H_GOLDEN_BATCH] > MAX_COUNT || h[H_GOLDEN_TIME] > MAX_COUNT) return LSTMC_E_INVALID;
    const uint32_t ports = m->input_count + m->output_count;
    for (uint32_t i = 0; i < ports + 2 * m->state_count; i++) {
        const uint32_t *r = m->io + (size_t)i * LSTMC_IO_WORDS;
        const int is_state = i >= ports;
        const int is_input = is_state ? (i - ports) % 2 == 0 : i < m->input_count;
        const int sampled = golden && !is_state;
        const int stepped = m->state_count && !is_state; /* its time is not one of the layers' */
        if (!good_string(m, r[IO_NAME]) || r[IO_VALUE] >= m->value_count) return LSTMC_E_INVALID;
        if (r[IO_DTYPE] > MAX_DTYPE) return LSTMC_E_UNSUPPORTED;
        if (!r[IO_RANK] || r[IO_RANK] > 8 || r[IO_DIMS] > m->pool_count ||
            r[IO_RANK] > m->pool_count - r[IO_DIMS]) {
            return LSTMC_E_INVALID;
        }
        const uint32_t *dims = m->pool + r[IO_DIMS];
        const uint32_t clock = lstmc_value_get(m, r[IO_VALUE]).clock;
        uint32_t batch = 0, time = 0;
        uint64_t features = 1;
        for (uint32_t d = 0; d < r[IO_RANK]; d++) {
            if (dims[d] == LSTMC_BATCH) {
                batch++;
            } else if (dims[d] > LSTMC_TIME - MAX_IO) {
                if (is_input && !stepped ? clock != LSTMC_NONE && LSTMC_TIME - dims[d] != clock
                                         : dims[d] != LSTMC_TIME) {
                    return LSTMC_E_INVALID;
                }
                time++;
            } else {
                if (dims[d] == 0 || dims[d] > MAX_SIZE) return LSTMC_E_INVALID;
                features *= dims[d];
                if (features > MAX_SIZE) return LSTMC_E_INVALID;
            }
        }
        const lstmc_value v = lstmc_value_get(m, r[IO_VALUE]);
        m->one_row |= !batch;
        if (!batch && h[H_GOLDEN_BATCH] > 1) return LSTMC_E_INVALID;
        if (stepped) {
            if (batch > 1 || time != 1 || features != lstmc_row_floats(&v) || r[IO_TIME]) {
                return LSTMC_E_INVALID;
            }
        } else if (batch > 1 || time != v.has_time || features != v.features) {
            return LSTMC_E_INVALID;
        }
        if (r[IO_TIME] > MAX_SIZE || (r[IO_TIME] && !v.has_time)) return LSTMC_E_INVALID;
        if (is_input) {
            if (!stepped && (v.clock == LSTMC_NONE ? r[IO_TIME] != (uint32_t)v.add
                                                   : v.add != 0 || v.every != 1)) {
                return LSTMC_E_INVALID;
            }
            if (r[IO_DIGEST] || sampled != (r[IO_GOLDEN] != LSTMC_NONE)) return LSTMC_E_INVALID;
            if (sampled) {
                if (r[IO_GOLDEN] >= m->tensor_count) return LSTMC_E_INVALID;
                const uint32_t *t = m->tensors + (size_t)r[IO_GOLDEN] * LSTMC_TENSOR_WORDS;
                const uint64_t rows =
                    (uint64_t)h[H_GOLDEN_BATCH] *
                    (stepped ? h[H_GOLDEN_TIME] : lstmc_value_steps(&v, h[H_GOLDEN_TIME]));
                const uint32_t floats = t[T_SIZE] / 4; /* with more rows the product could wrap */
                if (t[T_LAYOUT] || rows > floats || floats != rows * features) {
                    return LSTMC_E_INVALID;
                }
            }
        } else if (r[IO_GOLDEN] != LSTMC_NONE || (!sampled && r[IO_DIGEST])) {
            return LSTMC_E_INVALID;
        }
        for (uint32_t j = 0; j < i; j++) {
            /* What gives a state may be an output as well. */
            if (is_state && !is_input && j >= m->input_count && j < ports) continue;
            if (m->io[(size_t)j * LSTMC_IO_WORDS + IO_VALUE] == r[IO_VALUE]) return LSTMC_E_INVALID;
        }
    }
    return LSTMC_OK;
}

/* What a step gives is what the next one takes: as many floats. */
static int check_states(const lstmc_model *m) {
    for (uint32_t i = 0; i < m->state_count; i++) {
        const lstmc_value to = lstmc_value_get(m, lstmc_state_io(m, i, 0)[IO_VALUE]);
        const lstmc_value from = lstmc_value_get(m, lstmc_state_io(m, i, 1)[IO_VALUE]);
        const uint64_t floats = lstmc_row_floats(&to);
        if (floats > MAX_SIZE || floats != lstmc_row_floats(&from)) return LSTMC_E_INVALID;
    }
    return LSTMC_OK;
}

/* Value ids are numbered in the order they are written: inputs first, then states, then each layer's
 * outputs. So an id is defined where it is read exactly if it is smaller than the count so far. */
static int check_layers(lstmc_model *m) {
    uint32_t defined = m->input_count + m->state_count;
    uint64_t used = 0; /* of the pool */
    for (uint32_t i = 0; i < defined; i++) {
        const uint32_t *io = i < m->input_count ? m->io + (size_t)i * LSTMC_IO_WORDS
                                                : lstmc_state_io(m, i - m->input_count, 0);
        if (io[IO_VALUE] != i) return LSTMC_E_INVALID;
    }
    for (uint32_t i = 0; i < m->layer_count; i++) {
        const uint32_t *r = layer_record(m, i);
        m->bad_record = i;
        const uint64_t words = (uint64_t)r[L_INPUTS] + r[L_OUTPUTS] + r[L_TENSORS] + r[L_PARAMS];
        if (!good_string(m, r[L_NAME]) || r[L_POOL] > m->pool_count ||
            words > m->pool_count - r[L_POOL] || !r[L_INPUTS] || !r[L_OUTPUTS] || r[L_RESERVED]) {
            return LSTMC_E_INVALID;
        }
        /* Records with words of their own: else a small file could name very many inputs. */
        used += words;
        if (used > m->pool_count) return LSTMC_E_INVALID;
        lstmc_layer layer;
        lstmc_layer_get(m, i, &layer);
        for (uint32_t j = 0; j < layer.input_count; j++) {
            if (layer.inputs[j] >= defined && (j == 0 || layer.inputs[j] != LSTMC_NONE)) {
                return LSTMC_E_INVALID;
            }
        }
        for (uint32_t j = 0; j < layer.output_count; j++) {
            if (layer.outputs[j] == LSTMC_NONE) continue;
            if (layer.outputs[j] != defined || defined >= m->value_count) return LSTMC_E_INVALID;
            defined++;
        }
        for (uint32_t j = 0; j < layer.tensor_count; j++) {
            if (layer.tensors[j] != LSTMC_NONE && layer.tensors[j] >= m->tensor_count) {
                return LSTMC_E_INVALID;
            }
        }
        const lstmc_layer_ops *ops = lstmc_layer_find(layer.code);
        if (!ops) return LSTMC_E_UNSUPPORTED;
        const int status = ops->check(&layer);
        if (status) return status;
        /* A layer of a stateful model has all it may ask for within a step. */
        if (m->whole == LSTMC_NONE && !m->state_count && ops->whole && ops->whole(&layer)) {
            m->whole = i;
        }
    }
    m->bad_record = LSTMC_NONE;
    return defined == m->value_count ? LSTMC_OK : LSTMC_E_INVALID;
}

/* ------------------------------------------------------------------------------- byte order -- */

/* Which words of a file the string table has, from the header as the machine's own words. Whatever
 * that says they are words of the file. */
static void string_words(const uint32_t *h, size_t words, size_t *from, size_t *to) {
    const uint64_t ports = (uint64_t)h[H_INPUTS] + h[H_OUTPUTS];
    uint64_t at = LSTMC_HEADER_WORDS;
    at += (ports + 2u * (uint64_t)(h[H_STATES] & STATES_MASK)) * LSTMC_IO_WORDS;
    at += (uint64_t)h[H_VALUES] * LSTMC_VALUE_WORDS + (uint64_t)h[H_LAYERS] * LSTMC_LAYER_WORDS;
    at += (uint64_t)h[H_TENSORS] * LSTMC_TENSOR_WORDS + h[H_POOL];
    at += (uint64_t)h[H_META] * LSTMC_META_WORDS;
    const uint64_t end = at + h[H_STRINGS] / 4;
    *from = at < words ? (size_t)at : words;
    *to = end < words ? (size_t)end : words;
}

static uint32_t swapped(uint32_t word) {
    return word >> 24 | (word >> 8 & 0xff00u) | (word & 0xff00u) << 8 | word << 24;
}

static void swap_words(uint32_t *words, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) words[i] = swapped(words[i]);
}

int lstmc_blob_to_native(void *blob, size_t size) {
    uint32_t *h = (uint32_t *)blob;
    size_t from, to;
    if (!blob) return LSTMC_E_ARGUMENT;
    if ((uintptr_t)blob % 4) return LSTMC_E_ALIGNMENT;
    if (size < 8) return LSTMC_E_MAGIC;
    if (h[H_MAGIC0] == MAGIC0 && h[H_MAGIC1] == MAGIC1) return LSTMC_OK;
    if (h[H_MAGIC0] != swapped(MAGIC0) || h[H_MAGIC1] != swapped(MAGIC1)) return LSTMC_E_MAGIC;
    if (size < (size_t)LSTMC_HEADER_WORDS * 4) return LSTMC_E_TRUNCATED;
    swap_words(h, 0, LSTMC_HEADER_WORDS);
    string_words(h, size / 4, &from, &to);
    swap_words(h, LSTMC_HEADER_WORDS, from);
    swap_words(h, to, size / 4);
    return LSTMC_OK;
}

/* The checksum is one of the file's bytes. On a big-endian machine the strings' words, which kept
 * their bytes, read the other way round. */
static uint32_t checksum(const uint32_t *h, size_t words) {
    const uint32_t one = 1;
    unsigned char little;
    size_t from = words, to = words;
    uint32_t crc = 0xffffffffu;
    memcpy(&little, &one, 1);
    if (!little) string_words(h, words, &from, &to);
    for (size_t i = H_SIZE; i < words; i++) {
        crc = lstmc_crc32_word(crc, i >= from && i < to ? swapped(h[i]) : h[i]);
    }
    return ~crc;
}

/* -------------------------------------------------------------------------------------- open -- */

static int open_blob(lstmc_model *model, const void *blob, size_t size) {
    memset(model, 0, sizeof *model);
    model->bad_record = model->whole = LSTMC_NONE;
    if ((uintptr_t)blob % 4) return LSTMC_E_ALIGNMENT;
    const uint32_t *h = (const uint32_t *)blob;
    if (size < 8 || h[H_MAGIC0] != MAGIC0 || h[H_MAGIC1] != MAGIC1) return LSTMC_E_MAGIC;
    if (size < (size_t)LSTMC_HEADER_WORDS * 4) return LSTMC_E_TRUNCATED;
    if (h[H_VERSION] != LSTMC_FORMAT_VERSION) return LSTMC_E_VERSION;
    if (h[H_SIZE] > size) return LSTMC_E_TRUNCATED;
    if (h[H_SIZE] != size || size % ALIGN) return LSTMC_E_INVALID;

    if (checksum(h, size / 4) != h[H_CRC]) return LSTMC_E_CHECKSUM;
    if (h[H_STATES] & ~STATES_MASK) return LSTMC_E_UNSUPPORTED;

    lstmc_model *m = model;
    m->words = h;
    m->size = h[H_SIZE];
    m->input_count = h[H_INPUTS];
    m->output_count = h[H_OUTPUTS];
    m->value_count = h[H_VALUES];
    m->layer_count = h[H_LAYERS];
    m->tensor_count = h[H_TENSORS];
    m->pool_count = h[H_POOL];
    m->meta_count = h[H_META];
    m->strings_size = h[H_STRINGS];
    m->state_count = h[H_STATES];
    for (int i = H_INPUTS; i <= H_META; i++) {
        if (h[i] > MAX_COUNT) return LSTMC_E_INVALID;
    }
    if (!m->input_count || !m->output_count || !m->layer_count) return LSTMC_E_INVALID;
    if (m->input_count > MAX_IO || m->output_count > MAX_IO || m->state_count > MAX_IO ||
        m->layer_count > MAX_LAYERS) {
        return LSTMC_E_INVALID;
    }

    uint64_t at = (size_t)LSTMC_HEADER_WORDS * 4;
    const uint32_t ports = m->input_count + m->output_count;
    m->io = section(m, &at, ports + 2 * m->state_count, LSTMC_IO_WORDS);
    m->values = section(m, &at, m->value_count, LSTMC_VALUE_WORDS);
    m->layers = section(m, &at, m->layer_count, LSTMC_LAYER_WORDS);
    m->tensors = section(m, &at, m->tensor_count, LSTMC_TENSOR_WORDS);
    m->pool = section(m, &at, m->pool_count, 1);
    m->meta = section(m, &at, m->meta_count, LSTMC_META_WORDS);
    m->strings = (const char *)section(m, &at, m->strings_size / 4, 1);
    const uint64_t data = (at + ALIGN - 1) / ALIGN * ALIGN;
    if (at > m->size || data > m->size) return LSTMC_E_TRUNCATED;
    if (!m->strings_size || m->strings_size % 4 || m->strings[m->strings_size - 1]) {
        return LSTMC_E_INVALID;
    }
    for (uint64_t w = at / 4; w < data / 4; w++) {
        if (m->words[w]) return LSTMC_E_INVALID;
    }
    for (uint32_t i = 0; i < 2 * m->meta_count; i++) {
        if (!good_string(m, m->meta[i])) return LSTMC_E_INVALID;
    }
    int status = check_tensors(m, data);
    if (!status) status = count_clocks(m);
    if (!status) status = check_values(m);
    if (!status) status = check_io(m);
    if (!status) status = check_states(m);
    if (!status) status = check_layers(m);
    return status;
}

int lstmc_model_open(lstmc_model *model, const void *blob, size_t size) {
    if (!model) return LSTMC_E_ARGUMENT;
    const int status = blob ? open_blob(model, blob, size) : LSTMC_E_ARGUMENT;
    if (status) { /* nothing of an unsound model may be used: an empty one is refused everywhere */
        const uint32_t bad_record = blob ? model->bad_record : LSTMC_NONE;
        memset(model, 0, sizeof *model);
        model->bad_record = bad_record;
    }
    return status;
}

int lstmc_model_io(const lstmc_model *model, uint32_t index, lstmc_io_info *info) {
    if (!model || !info || index >= model->input_count + model->output_count) {
        return LSTMC_E_ARGUMENT;
    }
    const uint32_t *r = model->io + (size_t)index * LSTMC_IO_WORDS;
    const lstmc_value v = lstmc_value_get(model, r[IO_VALUE]);
    memset(info, 0, sizeof *info);
    info->name = model->strings + r[IO_NAME];
    info->dims = model->pool + r[IO_DIMS];
    info->rank = r[IO_RANK];
    info->dtype = r[IO_DTYPE];
    info->features = model->state_count ? (uint32_t)lstmc_row_floats(&v) : v.features;
    info->has_time = model->state_count ? 1 : v.has_time;
    info->clock = model->state_count ? 0 : v.clock;
    info->fixed_time = r[IO_TIME];
    info->golden_digest = r[IO_DIGEST];
    if (r[IO_GOLDEN] != LSTMC_NONE) {
        const uint32_t *t = model->tensors + (size_t)r[IO_GOLDEN] * LSTMC_TENSOR_WORDS;
        info->golden = (const float *)(const void *)(model->words + t[T_OFFSET] / 4);
    }
    return LSTMC_OK;
}

uint32_t lstmc_model_steps(const lstmc_model *model, uint32_t index, uint32_t time) {
    if (!model || index >= model->input_count + model->output_count) return 0;
    const lstmc_value v =
        lstmc_value_get(model, model->io[(size_t)index * LSTMC_IO_WORDS + IO_VALUE]);
    return model->state_count ? time : lstmc_value_steps(&v, time);
}

const char *lstmc_model_whole(const lstmc_model *model) {
    if (!model || !model->words || model->whole == LSTMC_NONE) return NULL;
    lstmc_layer layer;
    lstmc_layer_get(model, model->whole, &layer);
    return layer.name;
}

uint32_t lstmc_model_panel(const lstmc_model *model) {
    uint32_t widest = 0;
    for (uint32_t i = 0; model && i < model->tensor_count; i++) {
        const uint32_t panel = model->tensors[(size_t)i * LSTMC_TENSOR_WORDS + T_PANEL];
        if (panel > widest) widest = panel; /* 0 in what is not in panels */
    }
    return widest;
}

void lstmc_model_golden(const lstmc_model *model, uint32_t *batch, uint32_t *time) {
    *batch = model->words ? model->words[H_GOLDEN_BATCH] : 0;
    *time = model->words ? model->words[H_GOLDEN_TIME] : 0;
}
