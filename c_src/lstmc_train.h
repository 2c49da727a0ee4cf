/* lstmc: training, on the laptop and on the chip, with the same bits on every machine.
 *
 * A trainer is to training what a session is to inference: it borrows a model, keeps the weights that it
 * trains in memory that the caller owns, and computes there:
 *
 *     lstmc_trainer *trainer;
 *     lstmc_train_config config = {0};
 *     config.batch = 16, config.time = 24, config.slots = lstmc_optimizer_slots(&optimizer);
 *     lstmc_train_arena_size(&size, &model, &config);
 *     lstmc_trainer_init(&trainer, &model, &config, arena, size);
 *     for (;;) {
 *         lstmc_train_forward(trainer, &x, 16, 24, NULL);
 *         lstmc_train_loss(trainer, 0, &loss, truth, NULL, scale, &value);   // writes the gradient of y
 *         lstmc_train_backward(trainer);                                     // adds to those of weights
 *         lstmc_train_update(trainer, &optimizer);                           // a step, gradients to zero
 *     }
 *     lstmc_run of sessions of lstmc_trainer_model(trainer) sees the weights as they are now.
 *
 * No function allocates, locks, recurses, calls libm or keeps global state.
 *
 * Same bits everywhere: what a gradient sums over is one chain in a fixed order - rows ascending, in each
 * row the steps in the reverse of the order in which its layer took them - that starts from the gradient
 * so far. So a batch of 64 rows is to the bit 64 calls of one row each before an update, on any target,
 * with any number of threads (docs/TRAINING.md). */
#ifndef LSTMC_TRAIN_H
#define LSTMC_TRAIN_H

#include "lstmc.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifdef LSTMC_SHARED
#pragma GCC visibility push(default)
#endif

/* ------------------------------------------------------------------------------------ losses -- */

/* y is what the model gives, t the truth, F the features of a vector. A vector is a row's, or one step of
 * it; its loss is */
typedef enum lstmc_loss_kind {
    LSTMC_LOSS_MSE, /* mean over F of (y - t)^2 */
    LSTMC_LOSS_MAE, /* mean of |y - t|; derivative 0 at 0 */
    LSTMC_LOSS_HUBER, /* mean of e^2 / 2 where |e| <= delta, else delta |e| - delta^2 / 2; e = y - t */
    LSTMC_LOSS_BINARY_CROSSENTROPY,      /* mean of -(t log y + (1 - t) log(1 - y)) */
    LSTMC_LOSS_CATEGORICAL_CROSSENTROPY, /* -sum of t log y, y divided by its sum */
    LSTMC_LOSS_SPARSE_CROSSENTROPY,      /* the same, truth the number of the class, from 0 */
    LSTMC_LOSS_COUNT
} lstmc_loss_kind;

/* Probabilities are clipped to [1e-7, 1 - 1e-7], as Keras does; where one is clipped its own derivative
 * is 0. */
typedef struct lstmc_loss {
    lstmc_loss_kind kind;
    float delta;     /* huber: above 0 */
    float smoothing; /* of labels, 0 to 1: t (1 - s) + s / classes (binary: s / 2), of these two */
    uint32_t from_logits; /* entropies: y are logits, sigmoid or softmax is part of the loss */
} lstmc_loss;

/* -------------------------------------------------------------------------------- optimizers -- */

typedef enum lstmc_optimizer_kind {
    LSTMC_OPTIMIZER_SGD,
    LSTMC_OPTIMIZER_RMSPROP,
    LSTMC_OPTIMIZER_ADAM, /* with weight_decay: AdamW */
    LSTMC_OPTIMIZER_COUNT
} lstmc_optimizer_kind;

/* What a step does. Names and meaning are those of Keras 3; what a kind does not name is not looked at.
 * Numbers may change from one step to the next (a schedule sets learning_rate), but not kind, centered,
 * amsgrad and whether momentum is 0, which say what the slots hold. */
typedef struct lstmc_optimizer {
    lstmc_optimizer_kind kind;
    float learning_rate;    /* up to 2^60, as weight_decay */
    float momentum;         /* SGD, RMSprop: 0 to 1; 0: none */
    uint32_t nesterov;      /* SGD with momentum */
    float rho;              /* RMSprop: 0 to below 1 */
    float beta_1, beta_2;   /* Adam: 0 to below 1 */
    float epsilon;          /* RMSprop, Adam: from 0; least that counts 2^-100 and 2^-50 */
    float weight_decay;     /* decoupled: w -= learning_rate * weight_decay * w, before the step */
    uint32_t centered;      /* RMSprop */
    uint32_t amsgrad;       /* Adam */
    float clip_value;       /* each gradient to [-clip_value, clip_value]; 0: none */
    float clip_norm;        /* each tensor's gradient to this norm at most; 0: none */
    float global_clip_norm; /* all gradients together; 0: none. One of the three at most */
} lstmc_optimizer;

/* Floats that an optimizer keeps for each weight: config.slots, or fewer. In this order they are, in
 * Keras's words, SGD: momentum; RMSprop: velocity, momentum, average gradient; Adam: momentum, velocity,
 * velocity hat; each if it is in use. */
uint32_t lstmc_optimizer_slots(const lstmc_optimizer *optimizer);

/* ---------------------------------------------------------------------------------- trainers -- */

typedef struct lstmc_trainer lstmc_trainer;

typedef enum lstmc_dropout_kind {
    LSTMC_DROPOUT_ELEMENT,   /* a mask for each number of the layer's first input (where it reads
                              * that value again, too) */
    LSTMC_DROPOUT_STEPS,     /* for each feature of it, the same in all steps of a row */
    LSTMC_DROPOUT_RECURRENT, /* for each unit of h, in all steps of a row: recurrent layers */
    LSTMC_DROPOUT_COUNT
} lstmc_dropout_kind;

typedef struct lstmc_dropout {
    uint32_t layer; /* its number in the file */
    lstmc_dropout_kind kind;
    float rate; /* 0 to below 1: how many are dropped. Those kept are divided by 1 - rate */
} lstmc_dropout;

/* What a trainer must be able to do. Zero means the default. */
typedef struct lstmc_train_config {
    uint32_t batch;                 /* most rows a call; default 1 */
    uint32_t time;                  /* most time steps a call; default 1 */
    lstmc_target target;            /* default: the best this CPU has */
    const lstmc_parallel *parallel; /* default: none. Borrowed */
    const unsigned char *frozen;    /* for each layer 1 if its weights stay; NULL: none. Borrowed */
    uint32_t input_gradients;       /* 1: those of the model's inputs too */
    uint32_t slots;                 /* floats for each weight that the optimizer keeps, 0 to 3 */
    uint32_t carry; /* 1: states go on from call to call; gradients don't (truncated BPTT) */
    uint32_t
        recompute;   /* 1: gates are computed again rather than kept: less memory, same results */
    uint32_t frugal; /* 1: no transposed copies of weights: less memory, slower with vectors */
    const lstmc_dropout *dropouts; /* dropout_count of them. Borrowed */
    uint32_t dropout_count;
} lstmc_train_config;

/* The bytes that lstmc_trainer_init needs. LSTMC_E_ARGUMENT for a config that can't be;
 * LSTMC_E_UNSUPPORTED where a layer that gradients must pass has no backward, and for dropout in a stateful
 * model: such a one keeps what all its layers need for each row and step. */
int lstmc_train_arena_size(size_t *size, const lstmc_model *model,
                           const lstmc_train_config *config);

/* Make a trainer with the model's weights, all else zero, in an arena of size bytes that is 16-byte
 * aligned (64 is faster). Model, blob, arena and what config borrows must outlive it. */
int lstmc_trainer_init(lstmc_trainer **trainer, const lstmc_model *model,
                       const lstmc_train_config *config, void *arena, size_t size);

/* The model with the weights that are being trained, for sessions; it lives in the arena. What a session
 * prepares of them it prepares at its start: make it anew after changes by lstmc_trainer_tensor. */
const lstmc_model *lstmc_trainer_model(const lstmc_trainer *trainer);

/* Run batch rows of time steps as lstmc_run would, keeping what backward needs; states start anew, but
 * with config.carry from where the call before left them. Inputs and lengths must stay as they are until
 * backward, which reads them again. */
int lstmc_train_forward(lstmc_trainer *trainer, const lstmc_array *inputs, uint32_t batch,
                        uint32_t time, const int32_t *lengths);

/* Output `index` of the last forward, row b, step t at data + b * batch_stride + t * time_stride; and its
 * gradient, [batch][steps][features] without gaps, which is for the caller or lstmc_train_loss to write:
 * it is all zeros after a forward. An output is dense in the order of the model's axes, unless sizes
 * stand before batch or time. */
typedef struct lstmc_train_port {
    float *data;
    float *gradient; /* NULL: no weight that is trained has to do with it */
    size_t batch_stride, time_stride;
    size_t gradient_batch_stride, gradient_time_stride;
    uint32_t features, steps; /* 1 step for one without time */
} lstmc_train_port;
int lstmc_train_output(const lstmc_trainer *trainer, uint32_t index, lstmc_train_port *port);

/* The same of input `index`, after backward; with config.input_gradients. */
int lstmc_train_input(const lstmc_trainer *trainer, uint32_t index, lstmc_train_port *port);

/* The loss of output `index`, and its gradient times scale added to that of the output.
 *
 * truth: [batch][steps][features] without gaps; sparse: [batch][steps], whole numbers.
 * weights: one for each vector (weight_steps 1: [batch][steps]) or row (0: [batch]), or NULL for 1.
 * values, if not NULL, gets each vector's weight times its loss, [batch][steps]. Of a vector beyond its row's
 * length or with the weight 0 it is 0, nothing is added, and its truth is not looked at.
 * scale is 1 / (number of vectors) for Keras's mean. Between a forward and its backward.
 * Errors: LSTMC_E_ARGUMENT, also for a class beyond the features (nothing has been written then). */
int lstmc_train_loss(lstmc_trainer *trainer, uint32_t index, const lstmc_loss *loss,
                     const float *truth, const float *weights, uint32_t weight_steps, float scale,
                     float *values);

/* Gradients of everything from those of the outputs: added to those of the weights, written for states
 * and inputs. After a forward, once. */
int lstmc_train_backward(lstmc_trainer *trainer);

/* A step of the optimizer with the gradients so far, which become zero; a backward then needs a forward
 * first.
 * LSTMC_E_ARGUMENT, and nothing has been done, for numbers out of range or more slots than config's. */
int lstmc_train_update(lstmc_trainer *trainer, const lstmc_optimizer *optimizer);

/* Gradients to zero; states to where the model starts (config.carry). */
void lstmc_train_clear(lstmc_trainer *trainer);
void lstmc_train_reset(lstmc_trainer *trainer);

/* The session that calls run in, for lstmc_state_count, _describe, _read and _write between calls: the
 * states that config.carry takes from one to the next. Nothing else may be done to it. */
lstmc_session *lstmc_trainer_session(lstmc_trainer *trainer);

/* The random numbers of dropout are a function of seed, step, layer, first_row + row and place alone.
 * step 0xffffffff: no dropout (evaluation). After init: no dropout. */
void lstmc_train_dropout(lstmc_trainer *trainer, uint32_t seed, uint32_t step, uint32_t first_row);

/* A tensor as it is being trained, in the panels of the file (docs/SPEC.md); size floats each. */
typedef struct lstmc_train_tensor {
    float *weight;   /* NULL: frozen, or no gradient comes there; it is in the blob */
    float *gradient; /* NULL likewise */
    float *slots[3]; /* of the optimizer */
    size_t size;
    uint32_t gates, k, units, panel;
} lstmc_train_tensor;

/* index counts the file's tensors. After a change of weights call lstmc_train_refresh. */
int lstmc_trainer_tensor(const lstmc_trainer *trainer, uint32_t index, lstmc_train_tensor *tensor);
void lstmc_train_refresh(lstmc_trainer *trainer);

/* All of an optimizer's memory between steps besides the slots: restore it to go on to the same bits. */
typedef struct lstmc_optimizer_state {
    uint32_t steps;
    float beta_1_power, beta_2_power; /* beta ^ steps, as products of floats */
} lstmc_optimizer_state;
lstmc_optimizer_state *lstmc_trainer_optimizer(lstmc_trainer *trainer);

#ifdef LSTMC_SHARED
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif
