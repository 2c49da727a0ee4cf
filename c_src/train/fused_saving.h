/* Forward of the fused cells, keeping what backward needs: the kernels of gate_tiles.h with cells that
 * store their gates, and the new c at another place than the old. Included by train_algorithms.h. */
#include "../kernels/fused_cell.h"

V_INLINE void saving_gate(const lstmc_saving_args *s, size_t gate, size_t unit, size_t row,
                          size_t valid, v_f32 y) {
    float *to = s->gates + row * s->gates_stride + gate * s->gate + unit;
    if (valid >= V_WIDTH) {
        v_store(to, y);
    } else if (valid) {
        v_store_n(to, y, valid);
    }
}

/* i f g o */
V_FLAT void saving_lstm_cell(const lstmc_step_args *a, uint32_t plain, v_f32 i, v_f32 f, v_f32 g,
                             v_f32 o, size_t unit, size_t row, size_t valid) {
    const lstmc_saving_args *s = (const lstmc_saving_args *)(const void *)a;
    const size_t at = row * a->state_stride + unit;
    i = fused_gate(a, plain, i);
    f = fused_gate(a, plain, f);
    g = fused_candidate(a, plain, g);
    saving_gate(s, 0, unit, row, valid, i);
    saving_gate(s, 1, unit, row, valid, f);
    saving_gate(s, 2, unit, row, valid, g);
    const v_f32 cell = v_flush(v_fma(f, v_load(a->c + at), v_mul(i, g)));
    v_store(s->next_c + at, cell);
    const v_f32 out = plain ? V_HOT(v_tanh)(cell) : v_fn_quick(&a->output, cell);
    o = fused_gate(a, plain, o);
    saving_gate(s, 3, unit, row, valid, o);
    fused_store(a, v_flush(v_mul(o, out)), unit, row, valid);
}

#define F(NAME) saving_lstm_##NAME
#define F_GATES 4
#define F_INPUT(M, u) M(u, 0, 0) M(u, 1, 1) M(u, 2, 2) M(u, 3, 3)
#define F_HIDDEN F_INPUT
#define F_LAST_INIT(base, panel) (a->init + 4 * (size_t)(base) + 3 * (panel))
#define F_LAST_STRIDE a->init_stride
#include "../kernels/gate_tiles.h"

/* r z n and q, the part of n that h has: n = candidate(fma(r, q, n)) */
V_FLAT void saving_gru_cell(const lstmc_step_args *a, uint32_t plain, v_f32 r, v_f32 z, v_f32 n,
                            v_f32 q, size_t unit, size_t row, size_t valid) {
    const lstmc_saving_args *s = (const lstmc_saving_args *)(const void *)a;
    const v_f32 one = v_set1(1.0f);
    const v_f32 before = v_load(a->before + row * a->state_stride + unit);
    r = fused_gate(a, plain, r);
    n = fused_candidate(a, plain, v_fma(r, q, n));
    z = fused_gate(a, plain, z);
    saving_gate(s, 0, unit, row, valid, r);
    saving_gate(s, 1, unit, row, valid, z);
    saving_gate(s, 2, unit, row, valid, n);
    saving_gate(s, 3, unit, row, valid, q);
    const v_f32 h = v_fma(z, before, v_mul(v_fnma(z, one, one), n));
    fused_store(a, v_flush(h), unit, row, valid);
}

#define F(NAME) saving_gru_##NAME
#define F_GATES 3
#define F_INPUT(M, u) M(u, 0, 0) M(u, 1, 1) M(u, 2, 2)
#define F_HIDDEN(M, u) M(u, 0, 0) M(u, 1, 1) M(u, 3, 2)
#define F_LAST_INIT(base, panel) (a->more + (base))
#define F_LAST_STRIDE 0
#include "../kernels/gate_tiles.h"
