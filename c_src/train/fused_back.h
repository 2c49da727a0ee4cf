/* Backward of the fused cells: one step of some rows. Included by train_algorithms.h. The formulas, and
 * their order, are those of the general cells (cells_back.h, docs/RECURRENT.md). */

V_INLINE v_f32 back_gate(uint32_t plain, const lstmc_fn *fn, v_f32 y) {
    return plain ? v_fnma(y, y, y) : quick_slope(fn, y);
}

V_INLINE v_f32 back_tanh(uint32_t plain, const lstmc_fn *fn, v_f32 y) {
    return plain ? v_fnma(y, y, v_set1(1.0f)) : quick_slope(fn, y);
}

/* dh = flush(dH + dy) */
V_INLINE v_f32 back_arriving(const lstmc_back_args *a, size_t row, size_t u, size_t left) {
    const v_f32 dh = row_load(a->dh + row * a->state_stride + u, left);
    if (!a->dy) return v_flush(dh);
    return v_flush(v_add(dh, row_load(a->dy + row * a->dy_stride + u, left)));
}

V_INLINE void back_lstm_units(const lstmc_back_args *a, uint32_t plain, size_t row, size_t u,
                              size_t left) {
    float *gates = a->gates + row * a->gates_stride + u;
    float *dc_at = a->dc + row * a->state_stride + u;
    const v_f32 i = row_load(gates, left), f = row_load(gates + a->units, left);
    const v_f32 g = row_load(gates + 2 * (size_t)a->units, left);
    const v_f32 o = row_load(gates + 3 * (size_t)a->units, left);
    const v_f32 c = row_load(a->c + row * a->saved_stride + u, left);
    const v_f32 new_c = row_load(a->new_c + row * a->saved_stride + u, left);
    const v_f32 out = plain ? V_HOT(v_tanh)(new_c) : v_fn_quick(&a->output, new_c);
    const v_f32 dh = back_arriving(a, row, u, left);
    const v_f32 d_o = v_flush(v_mul(v_mul(dh, out), back_gate(plain, &a->gate, o)));
    const v_f32 dc = v_fma(v_mul(dh, o), back_tanh(plain, &a->output, out), row_load(dc_at, left));
    row_store(gates, v_flush(v_mul(v_mul(dc, g), back_gate(plain, &a->gate, i))), left);
    row_store(gates + a->units, v_flush(v_mul(v_mul(dc, c), back_gate(plain, &a->gate, f))), left);
    row_store(gates + 2 * (size_t)a->units,
              v_flush(v_mul(v_mul(dc, i), back_tanh(plain, &a->candidate, g))), left);
    row_store(gates + 3 * (size_t)a->units, d_o, left);
    row_store(dc_at, v_flush(v_mul(dc, f)), left);
}

static void fused_lstm_back(const lstmc_back_args *a) {
    for (size_t row = 0; row < a->rows; row++) {
        if (a->plain) {
            for (size_t u = 0; u < a->units; u += V_WIDTH) {
                back_lstm_units(a, 1, row, u, a->units - u);
            }
        } else {
            for (size_t u = 0; u < a->units; u += V_WIDTH) {
                back_lstm_units(a, 0, row, u, a->units - u);
            }
        }
    }
}

/* dN = flush(dh (1 - z) n'), dZ = flush(dh (h - n) z'), dR = flush(dN q r'), dQ = flush(dN r); what goes on
 * is dh z, to which the product of h adds. */
V_INLINE void back_gru_units(const lstmc_back_args *a, uint32_t plain, size_t row, size_t u,
                             size_t left) {
    float *gates = a->gates + row * a->gates_stride + u;
    const v_f32 r = row_load(gates, left), z = row_load(gates + a->units, left);
    const v_f32 n = row_load(gates + 2 * (size_t)a->units, left);
    const v_f32 q = row_load(gates + 3 * (size_t)a->units, left);
    const v_f32 h = row_load(a->c + row * a->saved_stride + u, left);
    const v_f32 dh = back_arriving(a, row, u, left), one = v_set1(1.0f);
    const v_f32 dn =
        v_flush(v_mul(v_mul(dh, v_fnma(z, one, one)), back_tanh(plain, &a->candidate, n)));
    const v_f32 dz = v_flush(v_mul(v_mul(dh, v_sub(h, n)), back_gate(plain, &a->gate, z)));
    row_store(gates, v_flush(v_mul(v_mul(dn, q), back_gate(plain, &a->gate, r))), left);
    row_store(gates + a->units, dz, left);
    row_store(gates + 2 * (size_t)a->units, dn, left);
    row_store(gates + 3 * (size_t)a->units, v_flush(v_mul(dn, r)), left);
    row_store(a->dh + row * a->state_stride + u, v_mul(dh, z), left);
}

static void fused_gru_back(const lstmc_back_args *a) {
    for (size_t row = 0; row < a->rows; row++) {
        for (size_t u = 0; u < a->units; u += V_WIDTH) {
            back_gru_units(a, a->plain, row, u, a->units - u);
        }
    }
}
