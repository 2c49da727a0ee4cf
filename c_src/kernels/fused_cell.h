/* What fused cells share: blocks of their sums, gates, and where h goes. Included by fused.h. */

#ifndef LSTMC_FROZEN
/* The sums of several rows with V_WIDTH units: a block [k0, k1) of the columns of both segments
 * together. */
typedef struct block {
    uint32_t k0, k1;
    const float *init; /* of these units, in the first row */
    size_t init_stride;
    const float *last; /* the same for the last of the sums */
    size_t last_stride;
    float *part;
    size_t lane;
} block;
#endif

/* Hand h on: to the state, and to the row's place in the sequence. */
V_INLINE void fused_store(const lstmc_step_args *a, v_f32 h, size_t unit, size_t row,
                          size_t valid) {
    v_store(a->h + row * a->state_stride + unit, h);
    if (!a->y) return;
    float *y = a->y + row * a->y_stride + unit;
    if (valid >= V_WIDTH) {
        v_store(y, h);
    } else if (valid) {
        v_store_n(y, h, valid);
    }
}

V_INLINE v_f32 fused_gate(const lstmc_step_args *a, uint32_t plain, v_f32 x) {
    return plain ? V_HOT(v_sigmoid)(x) : v_fn_quick(&a->gate, x);
}

V_INLINE v_f32 fused_candidate(const lstmc_step_args *a, uint32_t plain, v_f32 x) {
    return plain ? V_HOT(v_tanh)(x) : v_fn_quick(&a->candidate, x);
}

/* What a program with one model knows of it, to leave the code for all else out: the widths of panels
 * that lstm_row and gru_row get (2 and 1 for themselves, 4 for any wider), and whether their functions are
 * always sigmoid and tanh. */
#ifndef LSTMC_ROW_PANELS
#define LSTMC_ROW_PANELS 7
#endif
#ifndef LSTMC_ROW_PLAIN
#define LSTMC_ROW_PLAIN 0
#endif
