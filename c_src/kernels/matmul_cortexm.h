/* Matrix products on a Cortex-M with an FPU: four columns of a row at a time, their sums in s0 to s3, and
 * four k between branches. Included by matmul.h, which does the columns that are left. */
#ifndef LSTMC_MATMUL_CORTEXM_H
#define LSTMC_MATMUL_CORTEXM_H

#define M_COLUMNS(X, W0, W1, W2, W3) M_FMA(0, W0, X) M_FMA(1, W1, X) M_FMA(2, W2, X) M_FMA(3, W3, X)

/* FOUR and ONE load the weights of so many k, and the columns take them. */
#define M_COLUMNS_ASM(FOUR, ONE)                                                                   \
    __asm__ volatile("vldmia %[init], {s0-s3}\n\t"                                                 \
                     "subs %[k], #4\n\t"                                                           \
                     "blo 2f\n"                                                                    \
                     "1:\n\t"                                                                      \
                     "vldmia %[x]!, {s4-s7}\n\t" FOUR /**/                                         \
                     "subs %[k], #4\n\t"                                                           \
                     "bhs 1b\n"                                                                    \
                     "2:\n\t"                                                                      \
                     "adds %[k], #4\n\t"                                                           \
                     "beq 4f\n"                                                                    \
                     "3:\n\t"                                                                      \
                     "vldmia %[x]!, {s4}\n\t" ONE /**/                                             \
                     "subs %[k], #1\n\t"                                                           \
                     "bne 3b\n"                                                                    \
                     "4:\n\t"                                                                      \
                     "vstmia %[y], {s0-s3}"                                                        \
                     : [x] "+&r"(x), [w] "+&r"(w), [next] "+&r"(next), [k] "+&r"(k)                \
                     : [init] "r"(init), [y] "r"(y)                                                \
                     : "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11",   \
                       "s12", "s13", "s14", "s15", "s16", "s17", "s18", "s19", "s20", "s21",       \
                       "s22", "s23", "cc", "memory")

/* Columns of two panels of 2, whose weights of further k follow; next: the second one's. */
V_INLINE void cortexm_columns_2(const float *w, const float *next, const float *x,
                                const float *init, float *y, uint32_t k) {
    M_COLUMNS_ASM("vldmia %[w]!, {s8-s15}\n\t"
                  "vldmia %[next]!, {s16-s23}\n\t" /**/
                  M_COLUMNS(4, 8, 9, 16, 17) M_COLUMNS(5, 10, 11, 18, 19)
                      M_COLUMNS(6, 12, 13, 20, 21) M_COLUMNS(7, 14, 15, 22, 23),
                  "vldmia %[w]!, {s8-s9}\n\t"
                  "vldmia %[next]!, {s16-s17}\n\t" M_COLUMNS(4, 8, 9, 16, 17));
}

/* Columns of one panel of 4 or more; next: bytes to the weights of the next k. */
V_INLINE void cortexm_columns_4(const float *w, size_t next, const float *x, const float *init,
                                float *y, uint32_t k) {
    M_COLUMNS_ASM("vldmia %[w], {s8-s11}\n\t"
                  "add %[w], %[next]\n\t"
                  "vldmia %[w], {s12-s15}\n\t"
                  "add %[w], %[next]\n\t"
                  "vldmia %[w], {s16-s19}\n\t"
                  "add %[w], %[next]\n\t"
                  "vldmia %[w], {s20-s23}\n\t"
                  "add %[w], %[next]\n\t" /**/
                  M_COLUMNS(4, 8, 9, 10, 11) M_COLUMNS(5, 12, 13, 14, 15)
                      M_COLUMNS(6, 16, 17, 18, 19) M_COLUMNS(7, 20, 21, 22, 23),
                  "vldmia %[w], {s8-s11}\n\t"
                  "add %[w], %[next]\n\t" M_COLUMNS(4, 8, 9, 10, 11));
}

/* All rows of as many columns as can be done in fours; returns how many. */
static size_t cortexm_matmul(const lstmc_matmul_args *a) {
    const size_t panel = a->panel, end = panel == 2 || panel % 4 == 0 ? a->columns / 4 * 4 : 0;
    if (!end) return 0;
    for (size_t row = 0; row < a->rows; row++) {
        const float *init = a->init + row * a->init_stride, *x = a->x + row * a->x_stride;
        float *y = a->y + row * a->y_stride;
        for (size_t column = 0; column < end; column += 4) {
            const float *w = a->w + column / panel * panel * a->k + column % panel;
            if (panel == 2) {
                cortexm_columns_2(w, w + 2 * a->k, x, init + column, y + column, a->k);
            } else {
                cortexm_columns_4(w, panel * sizeof *w, x, init + column, y + column, a->k);
            }
        }
        if (!a->raw) map(&a->fn, 1, y, y, end);
    }
    return end;
}

#endif
