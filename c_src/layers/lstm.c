/* LSTM, gates i f g o: c' = fma(f, c, i * g), h' = o * output(c'), both flushed.
 *
 * Tensors: weight_ih [4 units, input], weight_hh [4 units, out], bias [4 units] or none; and, left out
 * where there are none, peephole [3 units], weight_ch [4 units, units], weight_hr [out, units].
 * Params: gate, candidate and output functions; reverse, hold, clip, coupled, sees_old.
 *
 * Each pre-activation is one chain: the bias, inputs, h, then the cell's terms. */
#include "recurrent.h"

#include <string.h>

#define LSTM_OPTIONS 9u /* the first parameter behind the functions */

static uint32_t out_of(const lstmc_layer *l) {
    lstmc_tensor ih, hr;
    if (lstmc_tensor_get(l, 5, &hr)) return hr.units;
    return lstmc_tensor_get(l, 0, &ih) ? ih.units : 0;
}

static int lstm_check(const lstmc_layer *l) {
    lstmc_tensor ih, t;
    lstmc_fn fn;
    if (l->tensor_count < 3 || l->tensor_count > 6 || l->param_count < LSTM_OPTIONS ||
        l->param_count > LSTM_OPTIONS + 5) {
        return LSTMC_E_INVALID;
    }
    for (uint32_t i = 0; i < LSTM_OPTIONS; i += 3) {
        if (!lstmc_fn_get(l->params + i, &fn)) return LSTMC_E_UNSUPPORTED;
    }
    const int status = lstmc_recurrent_check(l, 4, 2, out_of(l), LSTM_OPTIONS);
    if (status) return status;
    (void)lstmc_tensor_get(l, 0, &ih);
    if (lstmc_param(l, LSTM_OPTIONS + 3, 0) > 1 || lstmc_param(l, LSTM_OPTIONS + 4, 0) > 1 ||
        (lstmc_tensor_get(l, 3, &t) && !lstmc_tensor_is(&t, 3, ih.units, 1, ih.panel)) ||
        (lstmc_tensor_get(l, 4, &t) && !lstmc_tensor_is(&t, 4, ih.units, ih.units, ih.panel)) ||
        (lstmc_tensor_get(l, 5, &t) && !lstmc_tensor_is(&t, 1, t.units, ih.units, ih.panel))) {
        return LSTMC_E_INVALID;
    }
    /* Peepholes are diagonal or full. */
    return lstmc_tensor_get(l, 3, &t) && lstmc_tensor_get(l, 4, &t) ? LSTMC_E_INVALID : LSTMC_OK;
}

/* h = weight_hr times what the cells left in the buffer. */
static void project(const lstmc_frame *r, uint32_t t, uint32_t b0, uint32_t rows) {
    const lstmc_recurrent *m = r->m;
    lstmc_product p;
    memset(&p, 0, sizeof p);
    p.w = m->hr;
    p.v = r->buffer;
    p.v_stride = m->padded;
    p.init = r->zeros;
    p.y = r->h[1 - r->parity] + b0 * r->state_stride;
    p.y_stride = r->state_stride;
    p.rows = rows;
    p.k = m->units;
    p.padded = m->out_padded;
    p.gates = p.weight.of = p.from.of = p.to.of = 1;
    lstmc_multiply(r, &p);
    static const lstmc_fn linear = {LSTMC_FN_LINEAR, 0.0f, 0.0f};
    for (uint32_t b = 0; b < rows; b++) {
        float *h = p.y + b * r->state_stride, *y = lstmc_output_at(r, t, b0 + b);
        LSTMC_KERNEL(r->node->full, map, &linear, 1, h, h, m->out_padded);
        if (y) memcpy(y, h, m->out * sizeof *y);
    }
}

static void lstm_advance(const lstmc_frame *r, uint32_t t, uint32_t b0, uint32_t b1) {
    const lstmc_recurrent *m = r->m;
    lstmc_cell_args a;
    memset(&a, 0, sizeof a);
    memcpy(a.fn, m->fn, sizeof a.fn);
    a.coupled = m->coupled;
    a.sees_old = m->sees_old;
    a.part = LSTMC_CELL_FIRST | LSTMC_CELL_SECOND;

    lstmc_product p = lstmc_hidden_product(r, b0, b1);
    lstmc_multiply(r, &p);
    if (m->ch) {
        p.w = m->ch;
        p.v = r->c + b0 * r->state_stride;
        p.v_stride = r->state_stride;
        p.k = m->units;
        if (!m->sees_old) p.gates = 3;
        lstmc_multiply(r, &p);
    }
    if (m->ch && !m->sees_old) { /* o sees all of the new c */
        a.part = LSTMC_CELL_FIRST;
        lstmc_cells(r, &a, t, b0, b1);
        p.gates = 1;
        p.weight.at = p.from.at = p.to.at = 3;
        lstmc_multiply(r, &p);
        a.part = LSTMC_CELL_SECOND;
    }
    lstmc_cells(r, &a, t, b0, b1);
    if (m->hr) project(r, t, b0, b1 - b0);
}

static void lstm_kernel(const lstmc_kernels *kernels, const lstmc_cell_args *args) {
    LSTMC_KERNEL(kernels, lstm_cell, args);
}

static const lstmc_cell any_lstm = {4, 2, 0, lstm_advance, lstm_kernel};
static const lstmc_cell projected_lstm = {4, 2, 1, lstm_advance, lstm_kernel};

static void lstm_prepare(const lstmc_layer *l, void *prepared) {
    lstmc_recurrent *m = (lstmc_recurrent *)prepared;
    lstmc_tensor t;
    lstmc_recurrent_prepare(l, lstmc_tensor_get(l, 5, &t) ? &projected_lstm : &any_lstm, out_of(l),
                            LSTM_OPTIONS, m);
    for (uint32_t i = 0; i < 3; i++) (void)lstmc_fn_get(l->params + (size_t)3 * i, &m->fn[i]);
    m->coupled = lstmc_param(l, LSTM_OPTIONS + 3, 0);
    m->sees_old = lstmc_param(l, LSTM_OPTIONS + 4, 0);
    m->peephole = lstmc_tensor_get(l, 3, &t) ? t.data : NULL;
    m->ch = lstmc_tensor_get(l, 4, &t) ? t.data : NULL;
    m->hr = lstmc_tensor_get(l, 5, &t) ? t.data : NULL;
    m->fused = !m->peephole && !m->ch && !m->hr && !m->coupled && m->clip == 0.0f &&
               lstmc_fn_is_quick(&m->fn[0]) && lstmc_fn_is_quick(&m->fn[1]) &&
               lstmc_fn_is_quick(&m->fn[2]);
    m->plain = m->fn[0].kind == LSTMC_FN_SIGMOID && m->fn[1].kind == LSTMC_FN_TANH &&
               m->fn[2].kind == LSTMC_FN_TANH;
    lstmc_fused_prepare(m);
}

const lstmc_layer_ops lstmc_layer_lstm = {
    .code = 1,
    .prepared_size = sizeof(lstmc_recurrent),
    .check = lstm_check,
    .prepare = lstm_prepare,
    .plan = lstmc_recurrent_plan,
    .run = lstmc_recurrent_run,
    .whole = lstmc_recurrent_whole,
    .state_count = 2,
    .state = lstmc_recurrent_state,
    .reset = lstmc_recurrent_reset,
};
