/* Every layer's operations, and what several layers share. */
#ifndef LSTMC_LAYERS_H
#define LSTMC_LAYERS_H

#include "../internal.h"

extern const lstmc_layer_ops lstmc_layer_lstm;
extern const lstmc_layer_ops lstmc_layer_dense;
extern const lstmc_layer_ops lstmc_layer_activation;
extern const lstmc_layer_ops lstmc_layer_softmax;
extern const lstmc_layer_ops lstmc_layer_last_step;
extern const lstmc_layer_ops lstmc_layer_gru;
extern const lstmc_layer_ops lstmc_layer_rnn;
extern const lstmc_layer_ops lstmc_layer_embedding;
extern const lstmc_layer_ops lstmc_layer_affine;
extern const lstmc_layer_ops lstmc_layer_layer_norm;
extern const lstmc_layer_ops lstmc_layer_combine;
extern const lstmc_layer_ops lstmc_layer_concat;
extern const lstmc_layer_ops lstmc_layer_select;
extern const lstmc_layer_ops lstmc_layer_reduce;
extern const lstmc_layer_ops lstmc_layer_fill;
extern const lstmc_layer_ops lstmc_layer_reduce_time;
extern const lstmc_layer_ops lstmc_layer_reverse;
extern const lstmc_layer_ops lstmc_layer_slice_time;
extern const lstmc_layer_ops lstmc_layer_pad_time;
extern const lstmc_layer_ops lstmc_layer_repeat;
extern const lstmc_layer_ops lstmc_layer_flatten;
extern const lstmc_layer_ops lstmc_layer_unflatten;
extern const lstmc_layer_ops lstmc_layer_conv1d;
extern const lstmc_layer_ops lstmc_layer_depthwise_conv1d;
extern const lstmc_layer_ops lstmc_layer_pool1d;
extern const lstmc_layer_ops lstmc_layer_softmax_time;
extern const lstmc_layer_ops lstmc_layer_step_mask;
extern const lstmc_layer_ops lstmc_layer_conv2d;
extern const lstmc_layer_ops lstmc_layer_depthwise_conv2d;
extern const lstmc_layer_ops lstmc_layer_pool_positions;
extern const lstmc_layer_ops lstmc_layer_restep;

/* What a layer hands on without computing goes through map with this: it is flushed. */
static const lstmc_fn lstmc_linear = {LSTMC_FN_LINEAR, 0.0f, 0.0f};

/* plan of a layer that needs no memory. */
static inline void lstmc_plan_nothing(const lstmc_layer *layer, uint32_t batch, uint32_t time,
                                      lstmc_need *need) {
    (void)layer;
    (void)batch;
    (void)time;
    (void)need;
}

/* Row b, step t of a value; one without time has the same at every step. */
static inline float *lstmc_at(const lstmc_view *view, uint32_t b, uint32_t t) {
    return view->data + b * view->batch_stride + t * view->time_stride;
}

/* The record has exactly these counts, and no input is absent. */
static inline int lstmc_layer_counts(const lstmc_layer *l, uint32_t inputs, uint32_t outputs,
                                     uint32_t tensors, uint32_t params) {
    for (uint32_t i = 0; i < l->input_count; i++) {
        if (l->inputs[i] == LSTMC_NONE) return 0;
    }
    return l->input_count == inputs && l->output_count == outputs && l->tensor_count == tensors &&
           l->param_count == params;
}

/* Output i is absent, or is what the layer makes. */
static inline int lstmc_layer_output(const lstmc_layer *l, uint32_t i, lstmc_value made) {
    if (l->outputs[i] == LSTMC_NONE) return 1;
    const lstmc_value v = lstmc_value_get(l->model, l->outputs[i]);
    if (!made.has_time) return v.features == made.features && !v.has_time;
    return v.features == made.features && lstmc_same_steps(&v, &made);
}

/* The same value with other features, and one without time. */
static inline lstmc_value lstmc_with_features(lstmc_value v, uint32_t features) {
    v.features = features;
    return v;
}

static inline lstmc_value lstmc_without_time(uint32_t features) {
    const lstmc_value v = {features, 0, 0, 0, 1};
    return v;
}

/* A tensor in panels of this shape. */
static inline int lstmc_tensor_is(const lstmc_tensor *t, uint32_t gates, uint32_t units, uint32_t k,
                                  uint32_t panel) {
    return !t->plain && t->gates == gates && t->units == units && t->k == k && t->panel == panel;
}

#endif
