/* The LSTM and the GRU without options: gate_tiles.h for each. Included by algorithms.h. */

#include "fused_cell.h"

#if V_WIDTH == 1 && LSTMC_HAVE_CORTEXM
#include "row_cortexm.h"
#define FUSED_CORTEXM 1
#endif

#ifndef LSTMC_NO_LSTM
/* -------------------------------------------------------------------------------------- LSTM -- */

#ifdef V_OWN_MATH
#define LSTM_CELL lstm_cell_quick
#else
#define LSTM_CELL lstm_cell
#endif

/* i f g o */
V_FLAT void LSTM_CELL(const lstmc_step_args *a, uint32_t plain, v_f32 i, v_f32 f, v_f32 g, v_f32 o,
                      size_t unit, size_t row, size_t valid) {
    float *c = a->c + row * a->state_stride + unit;
    v_f32 cell = v_load(c);
    cell = v_fma(fused_gate(a, plain, f), cell,
                 v_mul(fused_gate(a, plain, i), fused_candidate(a, plain, g)));
    cell = v_flush(cell);
    v_store(c, cell);
    const v_f32 out = plain ? V_HOT(v_tanh)(cell) : v_fn_quick(&a->output, cell);
    fused_store(a, v_flush(v_mul(fused_gate(a, plain, o), out)), unit, row, valid);
}

#ifdef V_OWN_MATH
/* The same where the functions are plain, which is nearly always: three sigmoids in one call, and no
 * call of the cell behind a row's product. */
V_INLINE void lstm_cell(const lstmc_step_args *a, uint32_t plain, v_f32 i, v_f32 f, v_f32 g,
                        v_f32 o, size_t unit, size_t row, size_t valid) {
    if (!plain) {
        lstm_cell_quick(a, 0, i, f, g, o, unit, row, valid);
        return;
    }
    float gate[3 * V_WIDTH], *c = a->c + row * a->state_stride + unit;
    v_store(gate, i);
    v_store(gate + V_WIDTH, f);
    v_store(gate + 2 * V_WIDTH, o);
    v_sigmoids(gate, 3);
    const v_f32 cell =
        v_flush(v_fma(v_load(gate + V_WIDTH), v_load(c), v_mul(v_load(gate), v_tanh(g))));
    v_store(c, cell);
    fused_store(a, v_flush(v_mul(v_load(gate + 2 * V_WIDTH), v_tanh(cell))), unit, row, valid);
}
#endif
#undef LSTM_CELL

#define F(NAME) lstm_##NAME
#define F_GATES 4
#define F_INPUT(M, u) M(u, 0, 0) M(u, 1, 1) M(u, 2, 2) M(u, 3, 3)
#define F_HIDDEN F_INPUT
#define F_NARROW_SUMS cortexm_lstm_sums
#define F_NARROW_CELLS cortexm_lstm_cells
#define F_NARROW_LAST 2 /* where they have o; g is behind it */
#define F_LAST_INIT(base, panel) (a->init + 4 * (size_t)(base) + 3 * (panel))
#define F_LAST_STRIDE a->init_stride
#include "gate_tiles.h"
#endif

#ifndef LSTMC_NO_GRU
/* --------------------------------------------------------------------------------------- GRU -- */

/* r z, n of the input, n of h */
V_FLAT void gru_fused_cell(const lstmc_step_args *a, uint32_t plain, v_f32 r, v_f32 z, v_f32 n,
                           v_f32 hidden, size_t unit, size_t row, size_t valid) {
    const v_f32 one = v_set1(1.0f);
    const v_f32 before = v_load(a->before + row * a->state_stride + unit);
    n = fused_candidate(a, plain, v_fma(fused_gate(a, plain, r), hidden, n));
    z = fused_gate(a, plain, z);
    const v_f32 h = v_fma(z, before, v_mul(v_fnma(z, one, one), n));
    fused_store(a, v_flush(h), unit, row, valid);
}

#define F(NAME) gru_fused_##NAME
#define F_GATES 3
#define F_INPUT(M, u) M(u, 0, 0) M(u, 1, 1) M(u, 2, 2)
#define F_HIDDEN(M, u) M(u, 0, 0) M(u, 1, 1) M(u, 3, 2)
#define F_NARROW_SUMS cortexm_gru_sums
#define F_NARROW_CELLS cortexm_gru_cells
#define F_NARROW_LAST 3
#define F_LAST_INIT(base, panel) (a->more + (base))
#define F_LAST_STRIDE 0
#include "gate_tiles.h"
#endif
