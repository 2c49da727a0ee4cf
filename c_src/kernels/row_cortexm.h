/* The fused cells of a single row with panels of 2 units and of 1, for a Cortex-M with an FPU. Included
 * by gate_tiles.h, for the LSTM and for the GRU, in place of the plain loops of such panels; these have
 * the rest.
 *
 * Compilers load weights one by one. Here the sums of a panel (four each of 2 units) stay in s0 to s7,
 * one VLDM loads 16 weights, and eight k lie between two branches; no address is asked to be more than a
 * float's. Then the panel's functions go over arrays (vmath_cortexm.h), for which the sums come out with
 * those of the sigmoid first: LSTM i f o g, GRU r z n q. */

#ifndef LSTMC_ROW_CORTEXM_H
#define LSTMC_ROW_CORTEXM_H

#define M_VECTORS(WEIGHTS) "vldmia %[w]!, {s8-s" #WEIGHTS "}\n\t"

/* The steps of a k: which sums the weights from s<W> on go to. */
#define M_LSTM_2(X, W0, W1, W2, W3, W4, W5, W6, W7)                                                \
    M_FMA(0, W0, X)                                                                                \
    M_FMA(1, W1, X)                                                                                \
    M_FMA(2, W2, X)                                                                                \
    M_FMA(3, W3, X)                                                                                \
    M_FMA(6, W4, X)                                                                                \
    M_FMA(7, W5, X)                                                                                \
    M_FMA(4, W6, X)                                                                                \
    M_FMA(5, W7, X)
#define M_GRU_2(X, W0, W1, W2, W3, W4, W5, N0, N1)                                                 \
    M_FMA(0, W0, X)                                                                                \
    M_FMA(1, W1, X)                                                                                \
    M_FMA(2, W2, X)                                                                                \
    M_FMA(3, W3, X)                                                                                \
    M_FMA(N0, W4, X)                                                                               \
    M_FMA(N1, W5, X)
#define M_LSTM_PAIR(X0, X1)                                                                        \
    M_VECTORS(23)                                                                                  \
    M_LSTM_2(X0, 8, 9, 10, 11, 12, 13, 14, 15)                                                     \
    M_LSTM_2(X1, 16, 17, 18, 19, 20, 21, 22, 23)
#define M_GRU_PAIR(X0, X1, N0, N1)                                                                 \
    M_VECTORS(19)                                                                                  \
    M_GRU_2(X0, 8, 9, 10, 11, 12, 13, N0, N1)                                                      \
    M_GRU_2(X1, 14, 15, 16, 17, 18, 19, N0, N1)

/* A segment of the panel: where its weights and numbers are. Then eight k at a time, then one by one. */
#define M_SEGMENT                                                                                  \
    "ldr %[k], [%[s], #12]\n\t"                                                                    \
    "ldr %[v], [%[s], #4]\n\t"                                                                     \
    "ldr %[w], [%[s]], #16\n\t"                                                                    \
    "mla %[w], %[offset], %[k], %[w]\n\t"
#define M_EIGHTS(STEPS)                                                                            \
    "subs %[k], #8\n\t"                                                                            \
    "blo 3f\n"                                                                                     \
    "2:\n\t"                                                                                       \
    "vldmia %[v]!, {s24-s31}\n\t" STEPS /**/                                                       \
    "subs %[k], #8\n\t"                                                                            \
    "bhs 2b\n"                                                                                     \
    "3:\n\t"                                                                                       \
    "adds %[k], #8\n\t"
#define M_ONES(WEIGHTS, STEP)                                                                      \
    "beq 5f\n"                                                                                     \
    "4:\n\t"                                                                                       \
    "vldmia %[v]!, {s24}\n\t" M_VECTORS(WEIGHTS) STEP /**/                                         \
        "subs %[k], #1\n\t"                                                                        \
        "bne 4b\n"                                                                                 \
        "5:\n\t"
#define M_LSTM_SEGMENT_2                                                                           \
    M_SEGMENT M_EIGHTS(M_LSTM_PAIR(24, 25) M_LSTM_PAIR(26, 27) M_LSTM_PAIR(28, 29) M_LSTM_PAIR(    \
        30, 31)) M_ONES(15, M_LSTM_2(24, 8, 9, 10, 11, 12, 13, 14, 15))
#define M_LSTM_SEGMENT_1                                                                           \
    M_SEGMENT "cmp %[k], #0\n\t" M_ONES(11, M_FMA(0, 8, 24) M_FMA(1, 9, 24) M_FMA(3, 10, 24)       \
                                                M_FMA(2, 11, 24))
#define M_GRU_SEGMENT_2(N0, N1)                                                                    \
    M_SEGMENT M_EIGHTS(M_GRU_PAIR(24, 25, N0, N1) M_GRU_PAIR(26, 27, N0, N1)                       \
                           M_GRU_PAIR(28, 29, N0, N1) M_GRU_PAIR(30, 31, N0, N1))                  \
        M_ONES(13, M_GRU_2(24, 8, 9, 10, 11, 12, 13, N0, N1))
#define M_GRU_SEGMENT_1(N)                                                                         \
    M_SEGMENT "cmp %[k], #0\n\t" M_ONES(10, M_FMA(0, 8, 24) M_FMA(1, 9, 24) M_FMA(N, 10, 24))

#define M_SUMS_ASM(TEXT)                                                                           \
    __asm__ volatile(TEXT                                                                          \
                     : [s] "+&r"(s), [init] "+&r"(init), [more] "+&r"(more), [w] "=&r"(w),         \
                       [v] "=&r"(v), [k] "=&r"(k)                                                  \
                     : [sums] "r"(sums), [offset] "r"(offset), [end] "r"(end)                      \
                     : "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11",   \
                       "s12", "s13", "s14", "s15", "s16", "s17", "s18", "s19", "s20", "s21",       \
                       "s22", "s23", "s24", "s25", "s26", "s27", "s28", "s29", "s30", "s31", "cc", \
                       "memory")

/* M_SEGMENT's offsets. */
typedef char cortexm_segment_layout[sizeof(lstmc_segment) == 16 &&
                                            offsetof(lstmc_segment, w) == 0 &&
                                            offsetof(lstmc_segment, v) == 4 &&
                                            offsetof(lstmc_segment, k) == 12
                                        ? 1
                                        : -1];

/* The sums of the panel that starts with unit base, of both segments. */
V_INLINE void cortexm_lstm_sums(const lstmc_step_args *a, uint32_t panel, size_t base,
                                float *sums) {
    const lstmc_segment *s = a->segment;
    const lstmc_segment *const end = s + 2;
    const float *init = a->init + base * 4, *more = NULL, *w, *v;
    const size_t offset = base * 4 * sizeof(float);
    uint32_t k;
    if (panel == 2) {
        M_SUMS_ASM("vldmia %[init]!, {s0-s3}\n\t"
                   "vldmia %[init]!, {s6-s7}\n\t"
                   "vldmia %[init], {s4-s5}\n"
                   "1:\n\t" M_LSTM_SEGMENT_2 /**/
                   "cmp %[s], %[end]\n\t"
                   "bne 1b\n\t"
                   "vstmia %[sums], {s0-s7}");
    } else {
        M_SUMS_ASM("vldmia %[init], {s0-s2}\n\t"
                   "vmov s3, s2\n\t"
                   "vldr s2, [%[init], #12]\n"
                   "1:\n\t" M_LSTM_SEGMENT_1 /**/
                   "cmp %[s], %[end]\n\t"
                   "bne 1b\n\t"
                   "vstmia %[sums], {s0-s3}");
    }
}

V_INLINE void cortexm_gru_sums(const lstmc_step_args *a, uint32_t panel, size_t base, float *sums) {
    const lstmc_segment *s = a->segment;
    const lstmc_segment *const end = s + 2;
    const float *init = a->init + base * 3, *more = a->more + base, *w, *v;
    const size_t offset = base * 3 * sizeof(float);
    uint32_t k;
    if (panel == 2) {
        M_SUMS_ASM("vldmia %[init], {s0-s5}\n\t"
                   "vldmia %[more], {s6-s7}\n\t"               /**/
                   M_GRU_SEGMENT_2(4, 5) M_GRU_SEGMENT_2(6, 7) /**/
                   "vstmia %[sums], {s0-s7}");
    } else {
        M_SUMS_ASM("vldmia %[init], {s0-s2}\n\t"
                   "vldr s3, [%[more]]\n\t"              /**/
                   M_GRU_SEGMENT_1(2) M_GRU_SEGMENT_1(3) /**/
                   "vstmia %[sums], {s0-s3}");
    }
}

V_INLINE void cortexm_store(const lstmc_step_args *a, float h, size_t unit) {
    h = lstmc_flush(h);
    a->h[unit] = h;
    if (a->y && unit < a->units) a->y[unit] = h;
}

/* The cells of a panel with sigmoid and tanh, over its sums. */
V_INLINE void cortexm_lstm_cells(const lstmc_step_args *a, uint32_t width, float *sums,
                                 size_t unit) {
    float *c = a->c + unit, *candidate = sums + (size_t)3 * width;
    cortexm_sigmoid(sums, 3 * width);
    cortexm_tanh(candidate, candidate, width);
    for (uint32_t u = 0; u < width; u++) {
        c[u] = lstmc_flush(v_fma(sums[width + u], c[u], v_mul(sums[u], candidate[u])));
    }
    cortexm_tanh(c, candidate, width);
    for (uint32_t u = 0; u < width; u++) {
        cortexm_store(a, v_mul(sums[2 * width + u], candidate[u]), unit + u);
    }
}

V_INLINE void cortexm_gru_cells(const lstmc_step_args *a, uint32_t width, float *sums,
                                size_t unit) {
    float *r = sums, *z = r + width, *n = z + width, *q = n + width;
    cortexm_sigmoid(sums, 2 * width);
    for (uint32_t u = 0; u < width; u++) n[u] = v_fma(r[u], q[u], n[u]);
    cortexm_tanh(n, n, width);
    for (uint32_t u = 0; u < width; u++) {
        const float rest = v_mul(v_fnma(z[u], 1.0f, 1.0f), n[u]);
        cortexm_store(a, v_fma(z[u], a->before[unit + u], rest), unit + u);
    }
}

#endif
