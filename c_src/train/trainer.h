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
};

/* Dropout (dropout.c): before and after a layer's forward, before and after its backward. */
size_t lstmc_dropout_floats(const lstmc_model *m, const lstmc_dropout *d, uint32_t batch,
                            uint32_t time);
void lstmc_dropout_enter(lstmc_trainer *t, uint32_t layer, lstmc_view *before, int forward);
void lstmc_dropout_leave(lstmc_trainer *t, uint32_t layer, const lstmc_view *before, int backward);

#endif
