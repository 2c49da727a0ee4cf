/* A trainer from the inside. */
#ifndef LSTMC_TRAINER_H
#define LSTMC_TRAINER_H

#include "../session.h"
#include "train.h"

/* A dropout on its way: which input of a call it takes the place of. */
typedef struct lstmc_masked {
    const lstmc_dropout *dropout;
    float *copy; /* element, steps: the masked input [row][steps][features]; recurrent: the mask */
} lstmc_masked;

/* What the steps of a stateful model keep, each row's in a slot of its own (unrolled.c). */
typedef struct lstmc_unrolled {
    float *values; /* of all slots: the states that a step took, and what its layers have written */
    size_t *places; /* by value id: where in a slot, or LSTMC_NO_PLACE: an input or output */
    size_t slot_floats;
    size_t slot;       /* the one that views, gradients and nodes are at */
    lstmc_view *views; /* of its values */
    float **gradients; /* by input and output: of all rows and steps; NULL: not wanted */
    float *handed;     /* gradients of the states that a step took, for the step before */
} lstmc_unrolled;
#define LSTMC_NO_PLACE SIZE_MAX

struct lstmc_trainer {
    lstmc_model model; /* whose tensors are where moved says */
    lstmc_session *session;
    lstmc_train_node *nodes; /* one a layer; ops NULL: nothing to do in backward */
    float **moved;           /* by tensor id: those that are trained, else NULL */
    float **gradients;       /* likewise */
    float *weights;          /* of all those, one after another */
    float *weight_gradients;
    float *slots[3];
    size_t weight_floats;
    lstmc_view *value_grads; /* by value id: data NULL if not wanted */
    lstmc_view *ports;       /* dx and dy of all layers */
    float **extra;           /* like ports: a dx of its own, to be added to the value's; or NULL */
    lstmc_array *outputs;    /* the trainer's own */
    float *scratch;          /* for forward and backward of layers; the session has its own */
    size_t scratch_floats;
    lstmc_masked *masked;
    uint32_t masked_count;
    uint32_t carry, input_gradients, slot_count;
    uint32_t ready;                 /* 1: a forward has been, and no backward yet */
    uint32_t stale;                 /* 1: packed copies are to be made anew */
    uint32_t seed, step, first_row; /* of dropout; step LSTMC_NONE: none */
    lstmc_optimizer_state optimizer;
    lstmc_unrolled unrolled; /* of a stateful model */
};

/* Forward and backward of all layers on the values at call->views (calls.c). */
void lstmc_train_layers(lstmc_trainer *t, const lstmc_call *call);
void lstmc_train_zero(lstmc_trainer *t, const lstmc_call *call); /* before those of backward */
void lstmc_train_layers_back(lstmc_trainer *t, const lstmc_call *call);

/* dx and dy of all layers, from where value_grads are now. */
void lstmc_train_ports(lstmc_trainer *t);

/* The same of a stateful model, for all rows and steps of the session's call (unrolled.c). */
void lstmc_unrolled_forward(lstmc_trainer *t);
void lstmc_unrolled_backward(lstmc_trainer *t);

/* Floats of a value in one step of a row, in a stateful model. */
static inline size_t lstmc_step_floats(const lstmc_model *m, uint32_t id) {
    const lstmc_value v = lstmc_value_get(m, id);
    return (size_t)lstmc_row_floats(&v);
}

/* Steps of row b of an output that count: the others are beyond its length. */
static inline uint32_t lstmc_train_steps(const lstmc_call *call, uint32_t id, uint32_t b) {
    if (!call->model->state_count) return lstmc_row_steps(call, id, b);
    if (!call->lengths) return call->time;
    const uint32_t n = call->lengths[b] > 0 ? (uint32_t)call->lengths[b] : 0;
    return n < call->time ? n : call->time;
}

/* Dropout (dropout.c): before and after a layer's forward, before and after its backward. */
size_t lstmc_dropout_floats(const lstmc_model *m, const lstmc_dropout *d, uint32_t batch,
                            uint32_t time);
void lstmc_dropout_enter(lstmc_trainer *t, uint32_t layer, lstmc_view *before, int forward);
void lstmc_dropout_leave(lstmc_trainer *t, uint32_t layer, const lstmc_view *before, int backward);

#endif
