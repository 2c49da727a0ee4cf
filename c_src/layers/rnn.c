/* RNN: h' = flush(activation(bias + weight_ih x + weight_hh h)).
 *
 * Tensors: weight_ih [units, input], weight_hh [units, units], bias [units] or none. Params:
 * activation; reverse, hold, clip. */
#include "recurrent.h"

#include <string.h>

#define RNN_OPTIONS 3u /* the first parameter behind the function */

static int rnn_check(const lstmc_layer *l) {
    lstmc_tensor ih;
    lstmc_fn fn;
    if (l->tensor_count != 3 || l->param_count < RNN_OPTIONS || l->param_count > RNN_OPTIONS + 3) {
        return LSTMC_E_INVALID;
    }
    if (!lstmc_fn_get(l->params, &fn)) return LSTMC_E_UNSUPPORTED;
    return lstmc_recurrent_check(l, 1, 1, lstmc_tensor_get(l, 0, &ih) ? ih.units : 0, RNN_OPTIONS);
}

static void rnn_advance(const lstmc_frame *r, uint32_t t, uint32_t b0, uint32_t b1) {
    const lstmc_product p = lstmc_hidden_product(r, b0, b1);
    lstmc_cell_args a;
    memset(&a, 0, sizeof a);
    a.fn[0] = r->m->fn[0];
    lstmc_multiply(r, &p);
    lstmc_cells(r, &a, t, b0, b1);
}

static void rnn_kernel(const lstmc_kernels *kernels, const lstmc_cell_args *args) {
    LSTMC_KERNEL(kernels, rnn_cell, args);
}

static const lstmc_cell any_rnn = {1, 1, 0, rnn_advance, rnn_kernel};

static void rnn_prepare(const lstmc_layer *l, void *prepared) {
    lstmc_recurrent *m = (lstmc_recurrent *)prepared;
    lstmc_tensor ih;
    (void)lstmc_tensor_get(l, 0, &ih);
    lstmc_recurrent_prepare(l, &any_rnn, ih.units, RNN_OPTIONS, m);
    (void)lstmc_fn_get(l->params, &m->fn[0]);
}

const lstmc_layer_ops lstmc_layer_rnn = {
    .code = 7,
    .prepared_size = sizeof(lstmc_recurrent),
    .check = rnn_check,
    .prepare = rnn_prepare,
    .plan = lstmc_recurrent_plan,
    .run = lstmc_recurrent_run,
    .whole = lstmc_recurrent_whole,
    .state_count = 1,
    .state = lstmc_recurrent_state,
    .reset = lstmc_recurrent_reset,
};
