/* lstmc: recurrent networks with the same output bits on every machine.
 *
 * A model is a read-only blob (docs/SPEC.md) in flash, in a mapped file or in an array. The library
 * checks all of it once, borrows it, and computes in memory that the caller owns:
 *
 *     lstmc_model model;
 *     lstmc_session *session;
 *     lstmc_config config = {0};                      // one row, one step at a time
 *     size_t size;
 *     lstmc_model_open(&model, blob, blob_size);      // validates everything
 *     lstmc_arena_size(&size, &model, &config);
 *     lstmc_session_init(&session, &model, &config, arena, size);
 *     lstmc_run(session, &in, &out, 1, 1, NULL);      // state is kept between calls
 *
 * No function allocates, locks, recurses, calls libm or keeps global state. A model is const and may
 * be shared by threads; a session belongs to one thread at a time, which may lend it others
 * (lstmc_parallel). Blobs, inputs and outputs are
 * float32 in the byte order of the machine; files are little-endian (lstmc_blob_to_native).
 *
 * Same bits everywhere: results do not depend on the target, on how rows are batched, on how time
 * is cut into calls, on threads, nor on the compiler or its flags (those that can't be undone stop the
 * build). docs/DESIGN.md says how. On other machines than x86-64, Arm and RISC-V the floating-point
 * mode must be the IEEE default: nearest, no flushing.
 */
#ifndef LSTMC_H
#define LSTMC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A shared library (CMakeLists.txt) hides everything but what this header declares. */
#ifdef LSTMC_SHARED
#pragma GCC visibility push(default)
#endif

#define LSTMC_VERSION_STRING "0.1.0"
#define LSTMC_FORMAT_VERSION 1u
#define LSTMC_NONE 0xffffffffu  /* no value, no tensor */
#define LSTMC_BATCH 0xffffffffu /* axis codes of lstmc_io_info.dims */
#define LSTMC_TIME 0xfffffffeu  /* of the first clock; that of clock i is LSTMC_TIME - i */

typedef enum lstmc_status {
    LSTMC_OK = 0,
    LSTMC_E_ARGUMENT = -1,    /* a null pointer, a size of zero, or a size that overflows */
    LSTMC_E_ALIGNMENT = -2,   /* the blob is not 4-byte aligned, or the arena not 16-byte aligned */
    LSTMC_E_MAGIC = -3,       /* the blob is not an lstmc model, or is in the other byte order */
    LSTMC_E_VERSION = -4,     /* a format version this library does not know */
    LSTMC_E_TRUNCATED = -5,   /* the blob is shorter than it says */
    LSTMC_E_CHECKSUM = -6,    /* the CRC-32 does not match: the blob is damaged */
    LSTMC_E_INVALID = -7,     /* a record contradicts another one or the specification */
    LSTMC_E_UNSUPPORTED = -8, /* a layer, function or flag this library does not know */
    LSTMC_E_TARGET = -9,      /* this CPU or this build can't run the target asked for */
    LSTMC_E_ARENA = -10,      /* the arena is smaller than lstmc_arena_size says */
    LSTMC_E_SHAPE = -11       /* more rows or steps than the session was made for, or unfit ones */
} lstmc_status;

/* One line of English for a status; never NULL. */
const char *lstmc_status_text(int status);

/* Targets, weakest first. A target is a set of kernels for one vector unit. */
typedef enum lstmc_target {
    LSTMC_TARGET_AUTO = 0,
    LSTMC_TARGET_SCALAR = 1,
    LSTMC_TARGET_SSE2 = 2,
    LSTMC_TARGET_AVX2 = 3,
    LSTMC_TARGET_AVX512 = 4,
    LSTMC_TARGET_NEON = 5,
    LSTMC_TARGET_HELIUM = 6, /* Cortex-M55 and its like */
    LSTMC_TARGET_RVV = 7,    /* RISC-V vectors 1.0 */
    LSTMC_TARGET_WASM = 8,   /* WebAssembly SIMD */
    LSTMC_TARGET_COUNT = 9
} lstmc_target;

/* Whether this build has the target and this CPU runs it (0 or 1). */
int lstmc_target_available(lstmc_target target);

/* "auto", "scalar", "sse2", ...; NULL if there is no such target. */
const char *lstmc_target_name(lstmc_target target);

/* Elementwise functions. x -> (a is alpha, b is beta; a function without them has zeros there). NaN
 * gives NaN, but for NOT_EQUAL, and infinity the limit. From AFFINE on a subnormal x counts as zero
 * (not for SIGN and NOT_EQUAL), and so do results: +0. docs/NUMERICS.md has the error bounds. */
typedef enum lstmc_fn_kind {
    LSTMC_FN_LINEAR = 0,           /* x */
    LSTMC_FN_SIGMOID = 1,          /* 1 / (1 + exp(-x)) */
    LSTMC_FN_TANH = 2,             /* tanh(x) */
    LSTMC_FN_RELU = 3,             /* max(x, 0) */
    LSTMC_FN_HARD_SIGMOID = 4,     /* max(0, min(1, a x + b)) */
    LSTMC_FN_EXPONENTIAL = 5,      /* exp(x) */
    LSTMC_FN_AFFINE = 6,           /* a x + b */
    LSTMC_FN_LEAKY_RELU = 7,       /* x > b ? x : a (x - b) */
    LSTMC_FN_THRESHOLDED_RELU = 8, /* x > a ? x : 0 */
    LSTMC_FN_SCALED_TANH = 9,      /* a tanh(b x) */
    LSTMC_FN_ELU = 10,             /* x >= 0 ? x : a (exp(x) - 1) */
    LSTMC_FN_SOFTSIGN = 11,        /* x / (1 + |x|) */
    LSTMC_FN_SOFTPLUS = 12,        /* log(1 + exp(x)) */
    LSTMC_FN_SELU = 13,            /* b (x >= 0 ? x : a (exp(x) - 1)) */
    LSTMC_FN_GELU = 14,            /* x (1 + erf(x / sqrt(2))) / 2 */
    LSTMC_FN_GELU_TANH = 15,       /* x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 */
    LSTMC_FN_SILU = 16,            /* x / (1 + exp(-a x)) */
    LSTMC_FN_MISH = 17,            /* x tanh(log(1 + exp(x))) */
    LSTMC_FN_HARD_SILU = 18,       /* x max(0, min(1, a x + b)) */
    LSTMC_FN_LOG_SIGMOID = 19,     /* -log(1 + exp(-x)) */
    LSTMC_FN_CELU = 20,            /* x >= 0 ? x : a (exp(x / a) - 1); a > 0 */
    LSTMC_FN_TANH_SHRINK = 21,     /* x - tanh(x) */
    LSTMC_FN_SOFT_SHRINK = 22,     /* |x| > a ? x - a sign(x) : 0; a >= 0 */
    LSTMC_FN_HARD_SHRINK = 23,     /* |x| > a ? x : 0 */
    LSTMC_FN_SQUAREPLUS = 24,      /* (x + sqrt(x^2 + a)) / 2; 0 <= a <= 2^60 */
    LSTMC_FN_SPARSE_PLUS = 25,     /* x <= -1 ? 0 : x >= 1 ? x : (x + 1)^2 / 4 */
    LSTMC_FN_SPARSE_SIGMOID = 26,  /* max(0, min(1, (x + 1) / 2)) */
    LSTMC_FN_CLIP = 27,            /* min(b, max(a, x)); both may be infinite */
    LSTMC_FN_ABS = 28,             /* |x| */
    LSTMC_FN_SQRT = 29,            /* x^(1/2) */
    LSTMC_FN_SQUARE = 30,          /* x^2 */
    LSTMC_FN_RECIPROCAL = 31,      /* 1 / x */
    LSTMC_FN_LOG = 32,             /* natural logarithm */
    LSTMC_FN_ERF = 33,             /* erf(x) */
    LSTMC_FN_SIGN = 34,            /* -1, 0 or 1 */
    LSTMC_FN_NOT_EQUAL = 35,       /* x != a ? 1 : 0, so 1 for NaN */
    LSTMC_FN_COUNT = 36
} lstmc_fn_kind;

typedef struct lstmc_fn {
    uint32_t kind; /* lstmc_fn_kind */
    float alpha;
    float beta;
} lstmc_fn;

/* ------------------------------------------------------------------------------------ models -- */

/* A checked view of a blob. The fields are the library's own. */
typedef struct lstmc_model {
    const uint32_t *words; /* the blob */
    const uint32_t *io;    /* inputs, outputs, then what takes and what gives each state */
    const uint32_t *values;
    const uint32_t *layers;
    const uint32_t *tensors;
    const uint32_t *pool;
    const uint32_t *meta;
    const char *strings;
    uint32_t size;
    uint32_t input_count;
    uint32_t output_count;
    uint32_t value_count;
    uint32_t layer_count;
    uint32_t tensor_count;
    uint32_t pool_count;
    uint32_t meta_count;
    uint32_t strings_size;
    uint32_t state_count; /* states from outside the layers (docs/SPEC.md, State); 0: none */
    uint32_t clock_count; /* inputs with time go by so many clocks */
    uint32_t whole;       /* the first layer that needs the whole sequence, or LSTMC_NONE */
    uint32_t one_row;     /* 1 if an input, output or state has no batch axis */
    uint32_t bad_record;  /* on an invalid or unsupported record: its layer, or LSTMC_NONE */
    float *const
        *moved; /* of a trainer: where tensors are, NULL for those in the blob; else NULL */
} lstmc_model;

/* Check the blob of size bytes completely and make model a view of it. The blob must be 4-byte
 * aligned (64 is faster), stay where it is and stay unchanged as long as the model is used.
 * Any content is safe: a damaged or hostile blob gives an error status, never a wild access, and
 * model is then one that all functions refuse. */
int lstmc_model_open(lstmc_model *model, const void *blob, size_t size);

/* Bring a file's bytes, size of them at blob, into the byte order of the machine, in place: before
 * lstmc_model_open on a big-endian machine. All words but those of the strings are turned round; a blob
 * that is in the machine's order stays as it is, as every file does on a little-endian machine.
 *
 * Any content is safe. LSTMC_E_ARGUMENT, LSTMC_E_ALIGNMENT, LSTMC_E_MAGIC, LSTMC_E_TRUNCATED: nothing
 * has been changed. What else is wrong lstmc_model_open finds, with the same status on every machine. */
int lstmc_blob_to_native(void *blob, size_t size);

/* An input or output of the model. */
typedef struct lstmc_io_info {
    const char *name;     /* UTF-8, in the blob */
    const uint32_t *dims; /* rank axes: LSTMC_BATCH, LSTMC_TIME (- clock) or a size */
    uint32_t rank;
    uint32_t dtype;         /* what the source takes; arrays here are always float (docs/SPEC.md) */
    uint32_t features;      /* product of the sizes: floats a row and step */
    uint32_t has_time;      /* 1 if one of dims is a time axis */
    uint32_t clock;         /* of its steps, or LSTMC_NONE if their number is constant */
    uint32_t fixed_time;    /* the number of steps the source insisted on, 0 if any */
    const float *golden;    /* inputs: the golden sample, dense in the order of dims, or NULL */
    uint32_t golden_digest; /* outputs: lstmc_digest of what the golden sample gives */
} lstmc_io_info;

/* index counts the inputs first, then the outputs; LSTMC_E_ARGUMENT when it is beyond both. */
int lstmc_model_io(const lstmc_model *model, uint32_t index, lstmc_io_info *info);

/* How many steps input or output index has when its clock has time steps: 1 if it has no time, 0 if
 * nothing is left or there is no such index. */
uint32_t lstmc_model_steps(const lstmc_model *model, uint32_t index, uint32_t time);

/* The name of the first layer that needs the whole sequence, NULL if the model is causal. A model
 * that isn't takes all steps of a sequence in one call, and every call starts as after lstmc_reset. */
const char *lstmc_model_whole(const lstmc_model *model);

/* The widest panel of the model's weights: 1, 2, 4, 8 or 16 units side by side; 0 if it has none.
 *
 * Every build runs every width with the same bits, so this is for who wants to refuse a file, or ask for
 * another, that was not packed for the chip (`lstmc convert --target`): panels wider than what suits
 * it cost time, flash for units that pad the last panel, and scratch memory. */
uint32_t lstmc_model_panel(const lstmc_model *model);

/* The golden sample's number of rows and steps; 0 and 0 if the model has none. */
void lstmc_model_golden(const lstmc_model *model, uint32_t *batch, uint32_t *time);

/* ---------------------------------------------------------------------------------- sessions -- */

typedef struct lstmc_session lstmc_session;

/* Threads that a host lends: the library has none of its own.
 *
 * run calls body(argument, part) once for each part in 0 .. parts - 1, on any threads, in any order,
 * one after another or side by side, and returns after the last. Each part must see what the caller
 * wrote before, and the caller what the parts wrote. It may not fail, and body never calls it. parts is
 * at most 2 * threads. How run deals parts out changes no result. A loop is a run, if a slow one:
 *
 *     for (uint32_t part = 0; part < parts; part++) body(argument, part); */
typedef struct lstmc_parallel {
    void (*run)(void *pool, uint32_t parts, void (*body)(void *argument, uint32_t part),
                void *argument);
    void *pool;       /* the host's own */
    uint32_t threads; /* how many; with 0 or 1 run is never called */
    uint32_t grain;   /* multiply-adds that are worth a part in a step; 0: 100 000 */
} lstmc_parallel;

/* What a session must be able to do. Zero means the default. */
typedef struct lstmc_config {
    uint32_t batch;                 /* most rows a call; default 1, and no more if model.one_row */
    uint32_t time;                  /* most time steps a call; default 1 */
    lstmc_target target;            /* default: the best this CPU has */
    const lstmc_parallel *parallel; /* default: none. Borrowed; as constant as the model */
    uint32_t frugal; /* 1: the smallest arena rather than the fastest long calls; same results */
    uint32_t apart;  /* 1: no two values between layers share memory */
} lstmc_config;

/* The bytes that lstmc_session_init needs; LSTMC_E_ARGUMENT for a config that can't be. */
int lstmc_arena_size(size_t *size, const lstmc_model *model, const lstmc_config *config);

/* What a session's arena, or one layer, takes: bytes.
 *
 * Of an arena, tables + record + state + scratch + values is lstmc_arena_size to the byte; record and
 * state are the sums of those of the layers, and of what a stateful model keeps. scratch and values
 * are smaller than such sums, since layers run one after another: all use the same scratch, so it is
 * that of the layer that needs most (or, with threads, of rows side by side), and values share memory
 * unless they are alive together. */
typedef struct lstmc_memory {
    size_t weights; /* in the blob, not in the arena: tensors with what pads them to panels */
    size_t tables;  /* the session, its tables, what alignment rounds up; 0 for a layer */
    size_t record;  /* what a layer prepares once */
    size_t state;   /* what it keeps between calls, for all rows */
    size_t scratch; /* what it needs while it runs */
    /* What it writes for other layers, all rows and steps of a call. An output of the model is the
     * caller's array, and counts only if it has to be copied there. */
    size_t values;
} lstmc_memory;

/* The memory of layer number `layer`, in the order of the file, or of all with LSTMC_NONE. weights of
 * all counts a tensor that layers share once, and leaves the golden sample out.
 * Errors as lstmc_arena_size's, but that a layer's own memory may fit where that of all does not;
 * LSTMC_E_ARGUMENT if there is no such layer. */
int lstmc_memory_use(lstmc_memory *use, const lstmc_model *model, const lstmc_config *config,
                     uint32_t layer);

/* Make a session, as after lstmc_reset, in an arena of size bytes that is 16-byte aligned (64 is
 * faster). Model, blob, arena and config's parallel must outlive it; there is nothing to free. */
int lstmc_session_init(lstmc_session **session, const lstmc_model *model,
                       const lstmc_config *config, void *arena, size_t size);

/* An array of a model's input or output. Strides count floats; both 0 mean a dense array in the
 * order of the model's own axes, for the rows and steps of this call; strides are for models whose
 * sizes come after batch and time. */
typedef struct lstmc_array {
    void *data; /* float; inputs are only read */
    size_t batch_stride;
    size_t time_stride;
    uint32_t time; /* inputs: steps, 0 for those of the call. Inputs of one clock have the same */
    /* Of a dense array that this call takes a part of, from data on: its rows and steps, 0 for just
     * those of this call. */
    uint32_t all_rows;
    uint32_t all_steps;
} lstmc_array;

/* Run batch rows through time steps, going on from the session's state, and keep the new state.
 *
 * inputs and outputs have one entry for each input and output of the model. lengths, if not NULL,
 * holds for each row how many steps of the first clock are valid (clamped to 0 .. time): state
 * stands still beyond, and a recurrent layer's sequence is +0 there; of a stateful model, all outputs.
 * Outputs must not overlap inputs.
 *
 * Rows are numbered: row b of every call continues row b of the call before. An input with a constant
 * number of steps is taken whole in every call: a model that has one can't be cut in time.
 * Errors: LSTMC_E_ARGUMENT, LSTMC_E_SHAPE, which is also steps that inputs or layers can't go with;
 * nothing has been computed then. */
int lstmc_run(lstmc_session *session, const lstmc_array *inputs, const lstmc_array *outputs,
              uint32_t batch, uint32_t time, const int32_t *lengths);

/* Set the state of all rows to where the model starts: zero, unless a layer has an initial state of
 * its own. */
void lstmc_reset(lstmc_session *session);

/* States, as vectors of features floats for each of the session's rows. An LSTM has two: h, c.
 *
 * A stateful model (model.state_count > 0) has those that its source took as inputs and gave as outputs,
 * and no others: its layers begin anew in every step. */
typedef struct lstmc_state_info {
    const char *layer; /* the layer's name; of a stateful model the source's input */
    const char *name;  /* "h", "c", ...; of a stateful model the source's output */
    uint32_t features;
} lstmc_state_info;

uint32_t lstmc_state_count(const lstmc_session *session);
int lstmc_state_describe(const lstmc_session *session, uint32_t index, lstmc_state_info *info);

/* Copy state index of the first batch rows out to, or in from, a dense [batch, features] array.
 * Values written become +0 below 2^-64 in magnitude, as all states do. */
int lstmc_state_read(const lstmc_session *session, uint32_t index, float *data, uint32_t batch);
int lstmc_state_write(lstmc_session *session, uint32_t index, const float *data, uint32_t batch);

/* The target the session runs on. */
lstmc_target lstmc_session_target(const lstmc_session *session);

/* ------------------------------------------------------------------------------------- tools -- */

/* CRC-32 (IEEE 802.3, as zlib's) of n floats as little-endian bytes, every NaN made 0x7fc00000.
 * seed is 0, or the digest of the floats before. */
uint32_t lstmc_digest(uint32_t seed, const float *data, size_t n);

/* y[i] = fn(x[i]) for n floats, with the kernels of a target. x and y may be the same. */
int lstmc_map(lstmc_target target, const lstmc_fn *fn, const float *x, float *y, size_t n);

#ifdef LSTMC_SHARED
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif
