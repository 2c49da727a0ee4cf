/* GRU, gates r z n: h' = flush(fma(z, h, (1 - z) * n)).
 *
 * Tensors: weight_ih [3 units, input], weight_hh [3 units, units], bias [3 units] or none,
 * recurrent_bias [units] or none. Params: gate and candidate functions, reset_after; reverse, hold,
 * clip.
 *
 * With reset_after, n = candidate(fma(r, q, p)), p being the chain of bias and inputs, q that of the
 * recurrent bias and h; without, the chain of n goes on over r * h. */
#include "recurrent.h"

#include <string.h>

#define GRU_OPTIONS 7u /* the first parameter behind the functions and reset_after */

static int gru_check(const lstmc_layer *l) {
    lstmc_tensor ih, t;
    lstmc_fn fn;
    if (l->tensor_count != 4 || l->param_count < GRU_OPTIONS || l->param_count > GRU_OPTIONS + 3) {
        return LSTMC_E_INVALID;
    }
    if (!lstmc_fn_get(l->params, &fn) || !lstmc_fn_get(l->params + 3, &fn)) {
        return LSTMC_E_UNSUPPORTED;
    }
    const uint32_t units = lstmc_tensor_get(l, 0, &ih) ? ih.units : 0;
    const int status = lstmc_recurrent_check(l, 3, 1, units, GRU_OPTIONS);
    if (status) return status;
    if (l->params[6] > 1) return LSTMC_E_INVALID;
    if (lstmc_tensor_get(l, 3, &t) &&
        (!l->params[6] || !lstmc_tensor_is(&t, 1, units, 1, ih.panel))) {
        return LSTMC_E_INVALID;
    }
    return LSTMC_OK;
}

void lstmc_gru_parts(const lstmc_frame *r, uint32_t t, uint32_t b0, uint32_t b1, uint32_t parts) {
    const lstmc_recurrent *m = r->m;
    lstmc_cell_args a;
    memset(&a, 0, sizeof a);
    memcpy(a.fn, m->fn, sizeof a.fn);
    a.reset_after = m->reset_after;
    if (parts & LSTMC_CELL_FIRST) {
        lstmc_product p = lstmc_hidden_product(r, b0, b1);
        p.gates = 2; /* r z */
        lstmc_multiply(r, &p);
        p.gates = 1;
        p.weight.at = 2;
        if (m->reset_after) {
            p.init = m->recurrent_bias ? m->recurrent_bias : r->zeros;
            p.init_stride = 0;
            p.from.of = p.to.of = 1;
            p.y = r->buffer;
            p.y_stride = m->padded;
        } else {
            a.part = LSTMC_CELL_FIRST;
            lstmc_cells(r, &a, t, b0, b1);
            p.v = r->buffer;
            p.v_stride = m->padded;
            p.from.at = p.to.at = 2;
        }
        lstmc_multiply(r, &p);
    }
    if (parts & LSTMC_CELL_SECOND) {
        a.part = LSTMC_CELL_SECOND;
        lstmc_cells(r, &a, t, b0, b1);
    }
}

static void gru_advance(const lstmc_frame *r, uint32_t t, uint32_t b0, uint32_t b1) {
    lstmc_gru_parts(r, t, b0, b1, LSTMC_CELL_FIRST | LSTMC_CELL_SECOND);
}

static void gru_kernel(const lstmc_kernels *kernels, const lstmc_cell_args *args) {
    LSTMC_KERNEL(kernels, gru_cell, args);
}

static const lstmc_cell any_gru = {3, 1, 1, gru_advance, gru_kernel};

static void gru_prepare(const lstmc_layer *l, void *prepared) {
    lstmc_recurrent *m = (lstmc_recurrent *)prepared;
    lstmc_tensor ih, t;
    (void)lstmc_tensor_get(l, 0, &ih);
    lstmc_recurrent_prepare(l, &any_gru, ih.units, GRU_OPTIONS, m);
    (void)lstmc_fn_get(l->params, &m->fn[0]);
    (void)lstmc_fn_get(l->params + 3, &m->fn[1]);
    m->reset_after = l->params[6];
    m->recurrent_bias = lstmc_tensor_get(l, 3, &t) ? t.data : NULL;
    m->fused = m->reset_after && m->clip == 0.0f && lstmc_fn_is_quick(&m->fn[0]) &&
               lstmc_fn_is_quick(&m->fn[1]);
    m->plain = m->fn[0].kind == LSTMC_FN_SIGMOID && m->fn[1].kind == LSTMC_FN_TANH;
    lstmc_fused_prepare(m);
}

const lstmc_layer_ops lstmc_layer_gru = {
    .code = 6,
    .prepared_size = sizeof(lstmc_recurrent),
    .check = gru_check,
    .prepare = gru_prepare,
    .plan = lstmc_recurrent_plan,
    .run = lstmc_recurrent_run,
    .whole = lstmc_recurrent_whole,
    .state_count = 1,
    .state = lstmc_recurrent_state,
    .reset = lstmc_recurrent_reset,
};
