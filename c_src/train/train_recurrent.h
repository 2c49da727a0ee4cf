/* What the training of LSTM, GRU and RNN shares: what forward keeps, and the frame of backward.
 *
 * Saved, for a call of `batch` rows and T steps, in the order in which steps were taken - place i is time
 * i, or with `reverse` T - 1 - i:
 *
 *     h      [batch][T + 1][out_padded]   place i: before step i; place T: the last
 *     c      [batch][T + 1][padded]       LSTM only
 *     gates  [batch][T][kept][units]      without padding; LSTM: i f g o, GRU: r z n q, RNN: one
 *
 * Each array starts where it does in the largest call (c_at, gates_at); strides are those of this call.
 * A gate is kept as its output where the derivative follows from that (`outputs`), else as its
 * pre-activation before clip, with the peephole's term. q of a GRU is what r multiplies: R_n h +
 * recurrent bias; without reset_after it is r h. Backward puts the gradients of the pre-activations in
 * their place (but r h stays). Steps that stand still keep no gates: their gradients are zeros. */
#ifndef LSTMC_TRAIN_RECURRENT_H
#define LSTMC_TRAIN_RECURRENT_H

#include "../layers/recurrent.h"
#include "train.h"

#define LSTMC_KEPT_GATES 4u /* at most */

struct lstmc_train_cell;

/* A layer's record. */
typedef struct lstmc_train_recurrent {
    lstmc_recurrent m; /* the layer's own record, but for fused and quick, which are 0 */
    const struct lstmc_train_cell *train;
    float *dih, *dhh, *dbias; /* NULL: frozen, or there is none */
    float *dpeephole, *dch, *dhr;
    float *drecurrent_bias;
    uint32_t fused;            /* what m.fused was: the cell has no options */
    uint32_t batch, time;      /* most rows, and most steps of x */
    uint32_t input_count;      /* of the layer's record: dx[2] and dx[3] are of h0 and c0 */
    uint32_t fixed_h, fixed_c; /* 1: the initial state is a Fill's, which gets its gradient */
    uint32_t carry;            /* 1: no gradient passes to a fixed initial state */
    uint32_t masked;           /* 1: h may have dropout */
    uint32_t again;            /* so many steps' gates are made again at once; 0: they are kept */
    uint32_t wants_x;          /* 1: dx may be wanted */
    uint32_t kept, outputs;    /* gates kept; bit g: as its output */
    size_t c_at, gates_at;     /* floats from the start of saved */
    uint32_t plain;            /* 1: copies of the weights as lstmc_plain_weights makes them, */
    size_t ih_at, hh_at, ch_at, hr_at; /* in packed: weight_ih (if wants_x), weight_hh, and so on */
    size_t packed;                     /* floats of them all */
} lstmc_train_recurrent;

/* The fast way of cells without options (train_fused.c), where a call allows it. Forward goes on from the
 * states at place 0; the loop of backward makes the gates' gradients, with dh and dc, [batch] rows stride
 * apart, in: gradients of the last states, out: of the first ones. */
#ifdef LSTMC_FROZEN /* it would need copies of the weights: chips go the general way */
static inline int lstmc_train_is_fused(const lstmc_train_node *node, const lstmc_call *call) {
    (void)node;
    (void)call;
    return 0;
}
static inline void lstmc_train_fused_forward(const lstmc_train_node *node, const lstmc_call *call) {
    (void)node;
    (void)call;
}
static inline void lstmc_train_fused_loop(const lstmc_train_node *node, const lstmc_call *call,
                                          const lstmc_view *dy, float *dh, float *dc,
                                          size_t stride) {
    (void)node;
    (void)call;
    (void)dy;
    (void)dh;
    (void)dc;
    (void)stride;
}
#else
int lstmc_train_is_fused(const lstmc_train_node *node, const lstmc_call *call);
size_t lstmc_train_fused_scratch(const lstmc_train_recurrent *r);
void lstmc_train_fused_forward(const lstmc_train_node *node, const lstmc_call *call);
void lstmc_train_fused_loop(const lstmc_train_node *node, const lstmc_call *call,
                            const lstmc_view *dy, float *dh, float *dc, size_t stride);
#endif

/* A backward on its way. Views are in the order of processing: place i, not time. */
typedef struct lstmc_back {
    const lstmc_train_recurrent *t;
    const lstmc_train_node *node;
    const lstmc_call *call;
    uint32_t steps;
    lstmc_view h, c;                  /* what was kept */
    lstmc_view gates;                 /* kept or made again, as all_dh and all_m: lstmc_back_at */
    uint32_t row, first_place, count; /* where gates are made again: of which row and places */
    size_t gate;                      /* from one of the gates to the next: units */
    float *dh, *dc;                   /* [row][out], [row][units]: the gradients of the states */
    float *extra; /* [row][units]: of what an LSTM's projection takes; of a GRU's r h */
    float *first; /* with hold, [row]: the first place that is valid; a float is exact */
    lstmc_view all_dh, all_m; /* a projection: the gradient of each h, and what it was made of */
} lstmc_back;

/* What sets a cell's training apart. */
typedef struct lstmc_train_cell {
    uint32_t kept;                  /* gates that forward keeps */
    uint32_t fns[LSTMC_KEPT_GATES]; /* their functions, numbers of m.fn; LSTMC_NONE: none */
    void (*keep)(const lstmc_train_kernels *kernels, const lstmc_cell_train_args *args);
    /* A step, h of which has a mask: h as it was is to be had from `before`. NULL: the cell's own. */
    void (*masked_advance)(const lstmc_frame *r, const lstmc_view *before, uint32_t t, uint32_t b0,
                           uint32_t b1);
    /* The pre-activations of `rows` steps of a row, r->pre holding their input products, from the states
     * before: r takes steps for rows. The c of each place is at c, and one more behind. */
    void (*again)(const lstmc_frame *r, const float *c, uint32_t rows);
    /* Place i of the rows [b0, b1): k->dh is the gradient of the new h, and becomes that of h. */
    void (*back)(const lstmc_back *k, uint32_t i, uint32_t b0, uint32_t b1);
    /* Add to the gradients of the weights; w has all that they share. */
    void (*gradients)(const lstmc_back *k, const lstmc_weight_args *w);
} lstmc_train_cell;

/* Row b, place i of gates, all_dh or all_m. */
static inline float *lstmc_back_at(const lstmc_back *k, const lstmc_view *v, uint32_t b,
                                   uint32_t i) {
    return lstmc_at(v, b - k->row, i - k->first_place);
}

/* A kernel for a row, panels of full width and the half one. args are of the first unit. */
void lstmc_train_cells(const lstmc_train_recurrent *t, const lstmc_train_node *node,
                       void (*kernel)(const lstmc_train_kernels *kernels,
                                      const lstmc_cell_train_args *args),
                       const lstmc_cell_train_args *args);

/* Where what is kept lies. */
void lstmc_kept_views(const lstmc_train_recurrent *t, float *saved, uint32_t steps, lstmc_view *h,
                      lstmc_view *c, lstmc_view *gates);

/* Floats of scratch for backward. */
size_t lstmc_back_scratch(const lstmc_train_recurrent *t);

/* The options of a record's cell; all else is zero. */
lstmc_cell_train_args lstmc_train_cell_args(const lstmc_train_recurrent *t);

/* dx = sum over the units of w's gates `at` to `at + gates` of `of`, times dy: where args say more, all of
 * them. For the rows [b0, b1), whose dy are floats of the gates from `from` on at place i. */
typedef struct lstmc_back_product {
    const float *w;
    size_t plain_at; /* in packed */
    uint32_t of, at, gates, from;
    float *dx;
    uint32_t k; /* and stride of dx */
    uint32_t add, raw;
} lstmc_back_product;
void lstmc_back_multiply(const lstmc_back *k, const lstmc_back_product *p, uint32_t i, uint32_t b0,
                         uint32_t b1);

/* dh, once R's product is there, through the mask of h; added to `add` if that is not NULL. */
void lstmc_back_masked(const lstmc_back *k, const float *x, const float *add, uint32_t b0,
                       uint32_t b1);

/* The operations that a layer's own hand on. */
void lstmc_train_recurrent_prepare(const lstmc_train_layer *l, const lstmc_train_cell *cell,
                                   void *prepared);
void lstmc_train_recurrent_plan(const lstmc_train_layer *l, lstmc_train_need *need);
void lstmc_train_recurrent_forward(const lstmc_train_node *node, const lstmc_call *call);
void lstmc_train_recurrent_backward(const lstmc_train_node *node, const lstmc_call *call);
void lstmc_train_recurrent_refresh(const lstmc_train_node *node);

#endif
