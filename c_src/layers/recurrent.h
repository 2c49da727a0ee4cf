/* The frame that LSTM, GRU and RNN share: direction, lengths, masks, states, products of the inputs
 * computed ahead. A cell says what one step does with its pre-activations. */
#ifndef LSTMC_RECURRENT_H
#define LSTMC_RECURRENT_H

#include "../parallel.h"
#include "layers.h"

struct lstmc_frame;

/* What sets a cell apart. */
typedef struct lstmc_cell {
    uint32_t gates;   /* of weight_ih and weight_hh */
    uint32_t states;  /* 1: h; 2: h and c */
    uint32_t buffers; /* rows of padded units that step needs besides the pre-activations */
    /* Finish one step of the rows [b0, b1), at time t: r->pre holds their input products. */
    void (*step)(const struct lstmc_frame *r, uint32_t t, uint32_t b0, uint32_t b1);
    /* The kernel behind the products. */
    void (*kernel)(const lstmc_kernels *kernels, const lstmc_cell_args *args);
} lstmc_cell;

/* A layer, prepared. */
typedef struct lstmc_recurrent {
    const lstmc_cell *cell;
    const float *ih, *hh, *bias; /* bias may be NULL */
    const float *peephole;       /* LSTM: diagonal [3 units], or NULL */
    const float *ch;             /* LSTM: weight_ch, or NULL */
    const float *hr;             /* LSTM: the projection, or NULL */
    const float *recurrent_bias; /* GRU: of n, or NULL */
    lstmc_fn fn[3];              /* gate, candidate, output; or the RNN's activation */
    float clip;                  /* 0: none */
    uint32_t input, panel;
    uint32_t gates;                           /* the cell's */
    uint32_t units, padded, full;             /* padded units, panels of full width */
    uint32_t out, out_padded;                 /* the same for h: other numbers with a projection */
    uint32_t room;                            /* floats from one buffer of h to the next */
    uint32_t fused;                           /* a cell without options: its own kernels */
    uint32_t plain;                           /* its functions are sigmoid, tanh, tanh */
    uint32_t reverse, hold;                   /* flags */
    uint32_t coupled, sees_old, reset_after;  /* flags of LSTM, of GRU */
    uint32_t x, mask, h0, c0, sequence, h, c; /* value ids; h0 and c0 of computed ones only */
    const float *start_h, *start_c;           /* fixed initial states, or NULL */
    uint32_t frugal;                          /* no products ahead but those of the step itself */
    uint32_t quick;                           /* fused: lstmc_fused_quick may do it */
#ifndef LSTMC_FROZEN
    lstmc_step_args args[2]; /* fused: for panels of full width, for the half one */
    float work;              /* fused: multiply-adds of a row and step */
    uint32_t turns;          /* fused: every other step goes backwards over the panels */
#endif
} lstmc_recurrent;

/* A call on its way. */
typedef struct lstmc_frame {
    const lstmc_recurrent *m;
    const lstmc_node *node;
    const lstmc_call *call;
    const float *bias;  /* that of the layer, or zeros */
    const float *zeros; /* where a bias or the like is absent */
    float *ahead;       /* input products of some steps */
    float *part;        /* fused: partial sums of a panel, for each part of a step */
    size_t part_floats; /* of one */
    uint32_t split;     /* steps are worth several parts */
    float *buffer;      /* cell->buffers rows of padded units for each row */
    float *h[2];        /* states; the one at `parity` is read, the other is written */
    float *c;
    size_t state_stride; /* between rows of h and c */
    uint32_t parity;
    uint32_t time;
    float *pre;      /* of this step's rows: [row][panel][gate][width] */
    lstmc_view x, y; /* y.data is NULL if no sequence is wanted */
} lstmc_frame;

static inline uint32_t lstmc_width_of(const lstmc_recurrent *m, uint32_t panel) {
    return panel < m->full ? m->panel : m->panel / 2;
}

static inline const lstmc_kernels *lstmc_kernels_of(const lstmc_frame *r, uint32_t panel) {
    return lstmc_kernels_for(r->node, panel >= r->m->full);
}

/* Multiply-adds of a row in a product of all gates with k columns. */
static inline float lstmc_row_work(const lstmc_recurrent *m, uint32_t k) {
    return (float)m->gates * (float)m->padded * (float)k;
}

/* Whether row b stands still at time t. 0: no; 1: it is masked; 2: it is beyond the row's length. */
static inline int lstmc_standing(const lstmc_call *call, const lstmc_recurrent *m, uint32_t t,
                                 uint32_t b) {
    if (lstmc_row_steps(call, m->x, b) <= t) return 2;
    if (m->mask == LSTMC_NONE) return 0;
    return *lstmc_at(&call->views[m->mask], b, t) == 0.0f;
}

/* A step's place in the row's arrays. */
static inline float *lstmc_output_at(const lstmc_frame *r, uint32_t t, uint32_t b) {
    return r->y.data ? r->y.data + b * r->y.batch_stride + t * r->y.time_stride : NULL;
}

/* Where a product's weights, start and result have their gates: `count` of `of`, from `at` on. */
typedef struct lstmc_gates {
    uint32_t of, at;
} lstmc_gates;

typedef struct lstmc_product {
    const float *w; /* panels of weight.of gates, k columns */
    const float *v; /* [row][k] */
    const float *init;
    float *y;
    size_t v_stride, init_stride, y_stride; /* between rows */
    uint32_t rows, k;
    uint32_t padded; /* units of all panels */
    uint32_t gates;  /* how many */
    lstmc_gates weight, from, to;
} lstmc_product;

/* y = init + w v, for some of the gates of all panels of units. */
void lstmc_multiply(const lstmc_frame *r, const lstmc_product *p);

/* The product of all gates with the rows [b0, b1) of h, to be added to r->pre in place. */
lstmc_product lstmc_hidden_product(const lstmc_frame *r, uint32_t b0, uint32_t b1);

/* The cell's kernel on rows [b0, b1) at time t; fn and the options of args are set. */
void lstmc_cells(const lstmc_frame *r, const lstmc_cell_args *args, uint32_t t, uint32_t b0,
                 uint32_t b1);

/* The frame's part of a layer's check, plan and run. first is the index of `reverse` among the
 * parameters; hold and clip follow. */
int lstmc_recurrent_check(const lstmc_layer *l, uint32_t gates, uint32_t states, uint32_t out,
                          uint32_t first);
void lstmc_recurrent_prepare(const lstmc_layer *l, const lstmc_cell *cell, uint32_t out,
                             uint32_t first, lstmc_recurrent *m);
void lstmc_recurrent_plan(const lstmc_layer *l, uint32_t batch, uint32_t time, lstmc_need *need);
/* The same of a record. */
void lstmc_recurrent_needs(const lstmc_recurrent *m, const lstmc_model *model, uint32_t batch,
                           uint32_t time, lstmc_need *need);
void lstmc_recurrent_run(lstmc_node *node, const lstmc_call *call);
void lstmc_recurrent_state(const lstmc_node *node, uint32_t index, lstmc_state_view *view);
int lstmc_recurrent_whole(const lstmc_layer *l);
void lstmc_recurrent_reset(lstmc_node *node, uint32_t rows);

/* Parts of a GRU's step, LSTMC_CELL_...: the products of h, with r h; then the new h. */
void lstmc_gru_parts(const lstmc_frame *r, uint32_t t, uint32_t b0, uint32_t b1, uint32_t parts);

/* The fused cells (fused.c): input products ahead in its own order, steps of one row or more. */
void lstmc_fused_prepare(lstmc_recurrent *m);
void lstmc_fused_ahead(const lstmc_frame *r, uint32_t t0, uint32_t steps);
void lstmc_fused_step(const lstmc_frame *r, uint32_t t, const float *ahead, uint32_t b0,
                      uint32_t b1);
#ifdef LSTMC_FROZEN
void lstmc_quick_run(lstmc_node *node, const lstmc_call *call);
#else
int lstmc_fused_quick(lstmc_node *node, const lstmc_call *call);
#endif
uint32_t lstmc_fused_single(const lstmc_frame *r, uint32_t chunk);

/* Where in time the i-th step is, and the first of the n steps from there on. */
static inline uint32_t lstmc_when(const lstmc_frame *r, uint32_t i) {
    return r->m->reverse ? r->time - 1 - i : i;
}

static inline uint32_t lstmc_first_of(const lstmc_frame *r, uint32_t i, uint32_t n) {
    return r->m->reverse ? r->time - i - n : i;
}

#endif
