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
    lstmc_recurrent m; /* first: forward's frame takes the record for it. Never fused */
    lstmc_cell cell;   /* m.cell: the layer's own, with a step that keeps */
    const struct lstmc_train_cell *train;
    float *dih, *dhh, *dbias; /* NULL: frozen, or there is none */
    float *dpeephole, *dch, *dhr;
    float *drecurrent_bias;
    uint32_t fused;            /* what m.fused was: the cell has no options */
    uint32_t batch, time;      /* most rows, and most steps of x */
    uint32_t input_count;      /* of the layer's record: dx[2] and dx[3] are of h0 and c0 */
    uint32_t fixed_h, fixed_c; /* 1: the initial state is a Fill's, which gets its gradient */
    uint32_t carry;            /* 1: no gradient passes to a fixed initial state */
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
int lstmc_train_is_fused(const lstmc_train_node *node, const lstmc_call *call);
size_t lstmc_train_fused_scratch(const lstmc_train_recurrent *r);
void lstmc_train_fused_forward(const lstmc_train_node *node, const lstmc_call *call);
void lstmc_train_fused_loop(const lstmc_train_node *node, const lstmc_call *call,
                            const lstmc_view *dy, float *dh, float *dc, size_t stride);

#endif
