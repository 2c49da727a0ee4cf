/* A session from the inside, for the files that lay it out, run it and give its states away. */
#ifndef LSTMC_SESSION_H
#define LSTMC_SESSION_H

#include "parallel.h"

/* What a call needs of an input or output. */
typedef struct lstmc_port {
    const uint32_t *io; /* its record */
    uint32_t value;
    uint32_t features;  /* floats of a row and step */
    uint32_t scattered; /* copied: a row's floats do not lie together */
    uint32_t has_time;
    uint32_t time_first; /* its time axis stands before batch */
    uint32_t clock;      /* LSTMC_NONE: no time, or a constant number of steps */
    uint32_t constant;   /* that number, or 0 */
} lstmc_port;

struct lstmc_session {
    const lstmc_model *model;
    lstmc_port *ports;  /* inputs, then outputs */
    uint32_t scattered; /* 1 if one of them is */
    uint32_t time;      /* of the last call, if bind_again would have done for it; else 0 */
    lstmc_target target;
    lstmc_call call;
    lstmc_node *nodes;
    float *state; /* of all layers, then those of a stateful model */
    size_t state_floats;
    size_t *strides;  /* of a stateful model's ports, from a step to the next */
    uint32_t *clocks; /* the steps of each clock that the strides of inner values are set for */
    uint32_t *steps;  /* of each value, in this call */
    lstmc_rows rows;
};

/* The first half of lstmc_run: where the arrays of this call are, with scattered inputs copied in. */
int lstmc_session_bind(lstmc_session *session, const lstmc_array *inputs,
                       const lstmc_array *outputs, uint32_t batch, uint32_t time,
                       const int32_t *lengths);

#endif
