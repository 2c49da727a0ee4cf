/* Work for the threads that a host lends (lstmc_parallel).
 *
 * Two ways to share a call. Rows: each part takes some rows through all layers (rows.c); threads meet
 * once a call. Units: each part takes some panels of a product, for all rows; threads meet at every
 * step. Parts write to different places and read only what was there before, so nothing depends on
 * their order, and a chain of sums is never cut: no bit depends on them. */
#ifndef LSTMC_PARALLEL_H
#define LSTMC_PARALLEL_H

#include "internal.h"

/* Parts for each thread, at most: who is done early takes one more. */
#define LSTMC_PIECES 2u

/* Multiply-adds below which a part costs more than it gains. Handing it over takes half a
 * microsecond, and as much again until another core has the vectors. */
#define LSTMC_GRAIN 100000u

static inline float lstmc_grain(const lstmc_parallel *parallel) {
    return (float)(parallel->grain ? parallel->grain : LSTMC_GRAIN);
}

#ifdef LSTMC_HAVE_THREADS
enum { LSTMC_CAN_SHARE = 1 };
#else
enum { LSTMC_CAN_SHARE = 0 }; /* what only serves parts is left out by the compiler */
#endif

/* Parts of a call at once, at most. */
static inline uint32_t lstmc_most_parts(const lstmc_parallel *parallel) {
    if (!LSTMC_CAN_SHARE || !parallel || parallel->threads < 2) return 1;
    return parallel->threads < LSTMC_NONE / LSTMC_PIECES ? parallel->threads * LSTMC_PIECES
                                                         : LSTMC_NONE;
}

/* The first of `count` things that belongs to a part; that of part `parts` is the end. */
static inline uint32_t lstmc_part_start(uint32_t count, uint32_t parts, uint32_t part) {
    return (uint32_t)((uint64_t)count * part / parts);
}

#ifdef LSTMC_FROZEN

static inline uint32_t lstmc_parts(const lstmc_call *call, float work, uint32_t count) {
    (void)call;
    (void)work;
    (void)count;
    return 1;
}

static inline uint32_t lstmc_threads(const lstmc_call *call) {
    (void)call;
    return 1;
}

static inline uint32_t lstmc_even_parts(const lstmc_call *call, float work, uint32_t count) {
    return lstmc_parts(call, work, count);
}

static inline void lstmc_for_parts(const lstmc_call *call, uint32_t parts,
                                   void (*body)(void *argument, uint32_t part), void *argument) {
    (void)call;
    (void)parts;
    body(argument, 0);
}

static inline void lstmc_matmul(const lstmc_call *call, const lstmc_kernels *kernels,
                                const lstmc_matmul_args *args) {
    (void)call;
    (void)kernels;
    LSTMC_KERNEL(kernels, matmul, args);
}

#else

/* Into how many parts to cut `count` panels or rows with so many multiply-adds in all: 1 where one
 * thread does it as fast. */
uint32_t lstmc_worthwhile_parts(const lstmc_call *call, float work, uint32_t count);

static inline uint32_t lstmc_parts(const lstmc_call *call, float work, uint32_t count) {
    return LSTMC_CAN_SHARE && call->parallel ? lstmc_worthwhile_parts(call, work, count) : 1;
}

static inline uint32_t lstmc_threads(const lstmc_call *call) {
    return LSTMC_CAN_SHARE && call->parallel ? call->parallel->threads : 1;
}

/* As many for each thread, where there are that many: equal parts are then done at the same time. */
static inline uint32_t lstmc_even_parts(const lstmc_call *call, float work, uint32_t count) {
    const uint32_t parts = lstmc_parts(call, work, count), threads = lstmc_threads(call);
    return parts > threads ? parts - parts % threads : parts;
}

/* body(argument, part) for all parts. */
void lstmc_run_parts(const lstmc_call *call, uint32_t parts,
                     void (*body)(void *argument, uint32_t part), void *argument);

static inline void lstmc_for_parts(const lstmc_call *call, uint32_t parts,
                                   void (*body)(void *argument, uint32_t part), void *argument) {
    if (LSTMC_CAN_SHARE && parts > 1) {
        lstmc_run_parts(call, parts, body, argument);
    } else {
        body(argument, 0);
    }
}

/* kernels->matmul, cut by rows where there are many, else by panels of `panel` columns. */
void lstmc_shared_matmul(const lstmc_call *call, const lstmc_kernels *kernels,
                         const lstmc_matmul_args *args);

static inline void lstmc_matmul(const lstmc_call *call, const lstmc_kernels *kernels,
                                const lstmc_matmul_args *args) {
    if (LSTMC_CAN_SHARE && call->parallel) {
        lstmc_shared_matmul(call, kernels, args);
    } else {
        LSTMC_KERNEL(kernels, matmul, args);
    }
}

/* ------------------------------------------------------------------------------------- by rows -- */

/* What a session keeps for parts of its rows. */
typedef struct lstmc_rows {
    lstmc_node *nodes; /* [parts][layers] */
    lstmc_view *views; /* [parts][values] */
    size_t
        *places;   /* by value, of one between layers: its place in a row's floats, else SIZE_MAX */
    float *region; /* values between layers */
    size_t row_floats; /* of each row there */
    size_t scratch;    /* floats, of all parts together */
    float work;        /* multiply-adds of a row in max_time steps */
} lstmc_rows;

/* Rows of a part at least: fewer read the weights as often, for less. With so many more there are two
 * parts for each thread: one that has a CPU for itself then does more than one that has not. */
#define LSTMC_PART_ROWS 4u
#define LSTMC_PIECE_ROWS 12u

/* Parts by rows of a session at most, and the scratch that they need, in floats. */
static inline uint32_t lstmc_rows_most(const lstmc_parallel *parallel, uint32_t batch) {
    if (!LSTMC_CAN_SHARE || !parallel || parallel->threads < 2) return 1;
    const uint32_t threads = parallel->threads, most = batch / LSTMC_PART_ROWS;
    if (batch / LSTMC_PIECE_ROWS / LSTMC_PIECES >= threads) return threads * LSTMC_PIECES;
    return most < 2 ? 1 : most < threads ? most : threads;
}
size_t lstmc_rows_scratch(const lstmc_model *m, const lstmc_parallel *parallel, uint32_t batch,
                          uint32_t time);

/* Into how many parts to cut the rows of a call of `time` steps. */
uint32_t lstmc_rows_parts(const lstmc_rows *rows, const lstmc_call *call, uint32_t time);

/* Run all layers, in so many parts. */
void lstmc_rows_run(const lstmc_rows *rows, const lstmc_call *call, lstmc_node *nodes,
                    uint32_t parts);

/* Run all layers in this thread (run.c). */
void lstmc_run_layers(lstmc_node *nodes, const lstmc_call *call);

#endif

#endif
