/* Shared by the files of training; not for users of the library.
 *
 * A layer's training is one file here: how its forward keeps what backward needs (where the layer's own
 * run doesn't do), and backward. The trainer calls them; train_registry.c has a line for each. */
#ifndef LSTMC_TRAIN_INTERNAL_H
#define LSTMC_TRAIN_INTERNAL_H

#include "../layers/layers.h"
#include "../lstmc_train.h"
#include "../parallel.h"
#include "train_kernels.h"

/* A layer's record, and where its weights' gradients are. */
typedef struct lstmc_train_layer {
    lstmc_layer layer;
    float *const *gradients; /* by tensor id: where they are, NULL: frozen. NULL while planning */
    uint32_t wants;          /* bit i: the gradient of input i is wanted, if i is below 32 */
    uint32_t trains;         /* bit i: tensor i is trained */
    uint32_t batch, time;    /* most rows and steps of a call */
    uint32_t frugal, recompute, carry;
    uint32_t dropout; /* of h */
} lstmc_train_layer;

static inline int lstmc_train_wants(const lstmc_train_layer *l, uint32_t i) {
    return i >= 32 || (l->wants >> i & 1);
}

/* Where the gradient of tensor i is, in the same panels; NULL: not wanted. Add to it. */
static inline float *lstmc_train_gradient(const lstmc_train_layer *l, uint32_t i) {
    if (!l->gradients || i >= l->layer.tensor_count || l->layer.tensors[i] == LSTMC_NONE)
        return NULL;
    return l->gradients[l->layer.tensors[i]];
}

/* What a layer's training asks of the arena, in floats. */
typedef struct lstmc_train_need {
    size_t saved;   /* from forward to backward */
    size_t scratch; /* shared by all layers, of any content, within a forward or a backward */
    size_t packed;  /* copies of weights, made by refresh */
} lstmc_train_need;

/* A layer in a trainer. */
typedef struct lstmc_train_node {
#ifdef LSTMC_FROZEN
    void (*run)(lstmc_node *node, const lstmc_call *call); /* the layer's, for lstmc_train_run */
    const void *prepared;
#else
    const struct lstmc_train_ops *ops;
    const lstmc_train_kernels *kernels; /* of the target's vectors: arrays without panels */
    const lstmc_train_kernels *full;    /* for panels of full width, and for the half one */
    const lstmc_train_kernels *half;
    void *prepared;
    size_t saved_floats, packed_floats;
#endif
    lstmc_node *node; /* forward's; its state is where a call starts from, and ends */
    float *saved;
    float *packed;
    const lstmc_view *dx; /* the inputs' gradients, in the record's order; data NULL: not wanted */
    const lstmc_view *dy; /* those of the outputs; data NULL: zeros */
    const float *mask;    /* of h: [row][units], 0 or 1 / (1 - rate); NULL: no dropout */
} lstmc_train_node;

/* Call a kernel of training of a target's table. */
#ifndef LSTMC_FROZEN
#define LSTMC_TRAIN_KERNEL(table, NAME, ...) ((table)->NAME(__VA_ARGS__))
#endif

/* The kernels for panels of full width, or for the half one. */
static inline const lstmc_train_kernels *lstmc_train_kernels_for(const lstmc_train_node *node,
                                                                 uint32_t half) {
#ifdef LSTMC_FROZEN
    (void)node;
    (void)half;
    return NULL;
#else
    return half ? node->half : node->full;
#endif
}

typedef struct lstmc_train_ops {
    uint32_t code;
    uint32_t prepared_size; /* bytes */
    uint32_t blocks;        /* bit i: no gradient passes to input i */
    /* Fill in what forward and backward need, once for a trainer; NULL if that is nothing. */
    void (*prepare)(const lstmc_train_layer *layer, void *prepared);
    /* What they need of memory; NULL if that is nothing. Runs before prepare, and again. */
    void (*plan)(const lstmc_train_layer *layer, lstmc_train_need *need);
    /* As the layer's run, to the same bits, and keep what backward needs. NULL: the layer's run. */
    void (*forward)(const lstmc_train_node *node, const lstmc_call *call);
    /* Write all of every dx that is wanted - where a row's steps are beyond its length, zeros - and add
     * to the gradients of weights. Values are those of forward, at call->views. NULL: there is no
     * derivative, gradients end here. */
    void (*backward)(const lstmc_train_node *node, const lstmc_call *call);
    /* Make packed anew from the weights; NULL: there is none. */
    void (*refresh)(const lstmc_train_node *node);
} lstmc_train_ops;

/* The layer's own run, for a forward that needs no more or takes it a part of the way. */
static inline void lstmc_train_run(const lstmc_train_node *node, const lstmc_call *call) {
#ifdef LSTMC_FROZEN
    node->run(node->node, call);
#else
    node->node->ops->run(node->node, call);
#endif
}

/* The training of the layers that have one; NULL: no gradient passes. */
const lstmc_train_ops *lstmc_train_find(uint32_t code);

/* ---------------------------------------------------------------------- products (products.c) -- */

/* Rows of vectors: row b's steps [0, lengths or steps) at data + b * batch_stride + t * time_stride. */

/* Add to the gradient of a weight [gates * units, k] in panels: for rows ascending, in each for the steps
 * that count, descending (backwards 1: ascending), dw = fma(dy, x, dw). dy is [gate][units] without
 * padding; x has k floats. Valid steps of row b: lstmc_row_steps of value id. */
typedef struct lstmc_weight_args {
    float *dw;
    lstmc_view x, dy;
    uint32_t gates, units, k, panel;
    uint32_t dy_gate; /* floats from a gate of dy to the next: units, where they lie together */
    uint32_t id;      /* of the value whose steps they are */
    uint32_t ascending;
    const float *mask; /* [rows][steps] as a view's: steps whose mask is 0 don't count; or NULL */
    size_t mask_batch_stride, mask_time_stride;
    uint32_t x_back, dy_back; /* 1: x, dy have their steps in the reverse order of time */
    uint32_t of, at;          /* dw's gates are those of `of` from `at` on; 0: it has no others */
    uint32_t diagonal;        /* 1: a diagonal matrix, unit u takes x[u] alone; k and gates are 1 */
    /* 1: of row `row` and `count` steps only, which are all that dy, and with x_some x, has: the first is
     * step `first` in the order of time, or with dy_back in its reverse. */
    uint32_t some, row, first, count, x_some;
} lstmc_weight_args;
void lstmc_weight_gradient(const lstmc_train_node *node, const lstmc_call *call,
                           const lstmc_weight_args *args);

/* The same with x = 1: of a bias [gates * units] in panels; k and x are not looked at. */
void lstmc_bias_gradient(const lstmc_train_node *node, const lstmc_call *call,
                         const lstmc_weight_args *args);

/* dx[k] = flush(init + sum over gates and units of w dy), gate by gate and unit by unit, for all steps of
 * all rows (init: dx itself if add is 1, else 0). plain is w as lstmc_plain_weights makes it. */
typedef struct lstmc_input_args {
    const float
        *plain;     /* [gates * units][k rounded up to lstmc_plain_stride]; NULL: read w itself */
    const float *w; /* in panels */
    lstmc_view dx, dy;
    uint32_t gates, units, k, panel;
    uint32_t dy_gate;
    uint32_t rows, steps;
    uint32_t add;
    uint32_t dy_back; /* 1: dy has its steps in the reverse order of time */
    uint32_t of, at;  /* w's gates are those of `of` from `at` on; 0: it has no others */
    uint32_t raw;     /* 1: not flushed, more is to be added */
} lstmc_input_args;
void lstmc_input_gradient(const lstmc_train_node *node, const lstmc_call *call,
                          const lstmc_input_args *args);

/* The same of `rows` vectors that lie evenly, in this thread; views, rows and steps are not looked at. */
void lstmc_input_rows(const lstmc_train_node *node, const lstmc_input_args *args, const float *dy,
                      ptrdiff_t dy_stride, float *dx, size_t dx_stride, uint32_t rows);

/* Floats of a row of a plain weight, and of all of it; make one. */
static inline size_t lstmc_plain_stride(uint32_t k) { return ((size_t)k + 15) / 16 * 16; }
static inline size_t lstmc_plain_size(uint32_t gates, uint32_t units, uint32_t k) {
    return lstmc_size_mul((size_t)gates * units, lstmc_plain_stride(k));
}
void lstmc_plain_weights(const float *w, uint32_t gates, uint32_t units, uint32_t k, uint32_t panel,
                         float *plain);

/* ------------------------------------------------------------------------------------ helpers -- */

/* n zeros. */
static inline void lstmc_zeros(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = 0.0f;
}

/* A step of a view, as lstmc_at. */
static inline void lstmc_zero_step(const lstmc_view *v, uint32_t b, uint32_t t, uint32_t features) {
    lstmc_zeros(lstmc_at(v, b, t), features);
}

/* How many steps elementwise kernels may take at once: all, if they lie without gaps, else one. Gradients
 * always do. */
static inline uint32_t lstmc_together(const lstmc_view *v, uint32_t steps, uint32_t features) {
    return v->time_stride == features && steps ? steps : 1;
}

/* The steps [from, steps) of row b. */
static inline void lstmc_zero_rest(const lstmc_view *v, uint32_t b, uint32_t from, uint32_t steps,
                                   uint32_t features) {
    for (uint32_t t = from; t < steps; t++) lstmc_zero_step(v, b, t, features);
}

#endif
