/* Every layer's operations, and what several layers share. */
#ifndef LSTMC_LAYERS_H
#define LSTMC_LAYERS_H

#include "../internal.h"

extern const lstmc_layer_ops lstmc_layer_lstm;
extern const lstmc_layer_ops lstmc_layer_dense;
extern const lstmc_layer_ops lstmc_layer_activation;
extern const lstmc_layer_ops lstmc_layer_softmax;
extern const lstmc_layer_ops lstmc_layer_last_step;

/* The record has exactly these counts. */
static inline int lstmc_layer_counts(const lstmc_layer *l, uint32_t inputs, uint32_t outputs,
                                     uint32_t tensors, uint32_t params) {
    return l->input_count == inputs && l->output_count == outputs && l->tensor_count == tensors &&
           l->param_count == params;
}

/* Output i is absent, or is what the layer makes. */
static inline int lstmc_layer_output(const lstmc_layer *l, uint32_t i, uint32_t features,
                                     uint32_t has_time) {
    if (l->outputs[i] == LSTMC_NONE) return 1;
    const lstmc_value v = lstmc_value_get(l->model, l->outputs[i]);
    return v.features == features && v.has_time == has_time;
}

/* A tensor in panels of this shape. */
static inline int lstmc_tensor_is(const lstmc_tensor *t, uint32_t gates, uint32_t units, uint32_t k,
                                  uint32_t panel) {
    return !t->plain && t->gates == gates && t->units == units && t->k == k && t->panel == panel;
}

#endif
