/* v_sigmoid and v_tanh of vmath.h for a Cortex-M with an FPU, over arrays: the same operations, so the
 * same bits, by hand. Included by vmath.h.
 *
 * What compilers make of a function there is loads of constants, one instruction each, and comparisons of
 * floats, four each. Here a VLDM loads all constants, and anew those that an fma adds to and so
 * destroys. Ranges are compared as integers. Steps that can't show in the result are left out:
 *
 *   - v_sigmoid's clamp to 20: up to 87.3 the formula gives 1 without it, since 2^n + 1 is 2^n; above
 *     that, 1 is put in, and 0 below -87.3.
 *   - what v_sigmoid loses of 2^n + 1: nothing up to 16.
 *   - v_tanh's clamp to 10: up to 32 the formula gives 1 without it; above that, 1 is put in.
 *   - v_tanh computes only the half that is taken.
 *
 * tests/c/check_clamps.c tries them all. NaN stays what it is. Only s0 to s15 are used, which a function need not save. */
#ifndef LSTMC_VMATH_CORTEXM_H
#define LSTMC_VMATH_CORTEXM_H

/* In the products of row_cortexm.h and matmul_cortexm.h: sum A takes the product of weight W and number X. */
#define M_FMA(A, W, X) "vfma.f32 s" #A ", s" #W ", s" #X "\n\t"

/* p[i] = 1 / (1 + e^-p[i]) for n > 0 numbers. */
V_APART void cortexm_sigmoid(float *p, uint32_t n) {
    static const float constants[] = {
        LSTMC_LOG2E,  LSTMC_ROUND,  LSTMC_LN2_HI, LSTMC_LN2_LO,
        LSTMC_EXP_C1, LSTMC_EXP_C3, LSTMC_EXP_C4, 1.0f, /* s8 to s15 */
        LSTMC_ROUND,  LSTMC_EXP_C0, LSTMC_EXP_C2,       /* s0 to s2 */
    };
    const float *table = constants;
    uint32_t bits, size;
    __asm__ volatile(
        "vldmia %[table]!, {s8-s15}\n"
        "1:\n\t"
        "ldr %[bits], [%[p]]\n\t"
        "vmov s3, %[bits]\n\t" /* x */
        "lsls %[size], %[bits], #1\n\t"
        "cmp %[size], #0x83000000\n\t" /* twice the bits of 16 */
        "bhi 4f\n"
        "2:\n\t"
        "vldmia %[table], {s0-s2}\n\t"
        "vfma.f32 s0, s3, s8\n\t" /* t */
        "vsub.f32 s4, s0, s9\n\t" /* n */
        "vfms.f32 s3, s4, s10\n\t"
        "vfms.f32 s3, s4, s11\n\t" /* r */
        "vmov %[bits], s0\n\t"
        "vmul.f32 s5, s3, s3\n\t"  /* r2 */
        "vfms.f32 s1, s3, s12\n\t" /* c01 */
        "vfms.f32 s2, s3, s13\n\t" /* c23 */
        "vfma.f32 s2, s14, s5\n\t"
        "add %[bits], %[one], %[bits], lsl #23\n\t"
        "vmov s6, %[bits]\n\t"    /* s */
        "vfma.f32 s1, s2, s5\n\t" /* the tail */
        "vadd.f32 s7, s6, s15\n\t"
        "bls 3f\n\t" /* the flags are still those of the comparison with 16 */
        "vsub.f32 s4, s7, s15\n\t"
        "vsub.f32 s4, s6, s4\n\t" /* lost */
        "vsub.f32 s3, s3, s4\n"
        "3:\n\t"
        "vfms.f32 s3, s1, s5\n\t" /* q */
        "vsub.f32 s7, s7, s3\n\t"
        "vdiv.f32 s6, s6, s7\n\t"
        "vstmia %[p]!, {s6}\n\t"
        "subs %[n], #1\n\t"
        "bne 1b\n\t"
        "b 6f\n"
        "4:\n\t"
        "cmp %[size], %[most]\n\t"
        "bhi 5f\n\t"
        "cmp %[size], #0x83000000\n\t" /* higher, for the branch above */
        "b 2b\n"
        "5:\n\t"
        "cmp %[size], #0xff000000\n\t"
        "it ls\n\t"
        "bicls %[bits], %[one], %[bits], asr #31\n\t" /* 0 or 1 */
        "str %[bits], [%[p]], #4\n\t"
        "subs %[n], #1\n\t"
        "bne 1b\n"
        "6:"
        : [p] "+&r"(p), [n] "+&r"(n), [table] "+&r"(table), [bits] "=&r"(bits), [size] "=&r"(size)
        : [one] "r"(0x3f800000u), [most] "r"(0x855d589eu) /* twice the bits of -LSTMC_EXP_LOW */
        : "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13",
          "s14", "s15", "cc", "memory");
}

/* y[i] = tanh x[i] for n > 0 numbers; x and y may be the same. */
V_APART void cortexm_tanh(const float *x, float *y, uint32_t n) {
    static const float constants[] = {
        2.0f * LSTMC_LOG2E,
        LSTMC_ROUND,
        0x1.62e43p-2f,
        4.0f * LSTMC_EXP_C1,
        16.0f * LSTMC_EXP_C3,
        32.0f * LSTMC_EXP_C4,
        0.5f,
        1.0f, /* s8 to s15 */
        LSTMC_TANH_P3,
        LSTMC_TANH_P2,
        LSTMC_TANH_P1,
        LSTMC_TANH_P0,
        LSTMC_TANH_P4, /* s0 to s4 */
        LSTMC_ROUND,
        2.0f * LSTMC_EXP_C0,
        8.0f * LSTMC_EXP_C2,
        0.5f, /* s0 to s3 */
    };
    const float *table = constants;
    uint32_t bits, size;
    __asm__ volatile("vldmia %[table]!, {s8-s15}\n"
                     "1:\n\t"
                     "ldr %[bits], [%[x]], #4\n\t"
                     "vmov s5, %[bits]\n\t"
                     "lsls %[size], %[bits], #1\n\t"
                     "cmp %[size], %[split]\n\t"
                     "bhs 3f\n\t"
                     "vldmia %[table], {s0-s4}\n\t"
                     "vmul.f32 s6, s5, s5\n\t" /* z */
                     "vfma.f32 s0, s4, s6\n\t"
                     "vfma.f32 s1, s0, s6\n\t"
                     "vfma.f32 s2, s1, s6\n\t"
                     "vfma.f32 s3, s2, s6\n\t" /* p */
                     "vmul.f32 s6, s6, s5\n\t"
                     "cmp %[size], #0x01000000\n\t" /* twice the bits of 2^-126 */
                     "it lo\n\t"
                     "vsublo.f32 s5, s5, s5\n\t" /* x0 */
                     "vfma.f32 s5, s6, s3\n"
                     "2:\n\t"
                     "vstmia %[y]!, {s5}\n\t"
                     "subs %[n], #1\n\t"
                     "bne 1b\n\t"
                     "b 5f\n"
                     "3:\n\t"
                     "cmp %[size], #0x84000000\n\t" /* twice the bits of 32 */
                     "bhi 4f\n\t"
                     "vldmia %[more], {s0-s3}\n\t"
                     "vabs.f32 s4, s5\n\t"
                     "vfma.f32 s0, s4, s8\n\t"  /* t */
                     "vsub.f32 s5, s0, s9\n\t"  /* n */
                     "vfms.f32 s4, s5, s10\n\t" /* h */
                     "vmov %[size], s0\n\t"
                     "vmul.f32 s6, s4, s4\n\t"  /* h2 */
                     "vfma.f32 s1, s11, s4\n\t" /* c01 */
                     "vfma.f32 s2, s12, s4\n\t" /* c23 */
                     "vfma.f32 s2, s13, s6\n\t"
                     "add %[size], %[one], %[size], lsl #23\n\t"
                     "vmov s7, %[size]\n\t"    /* s */
                     "vfma.f32 s1, s2, s6\n\t" /* the tail */
                     "vfma.f32 s3, s7, s14\n\t"
                     "vfma.f32 s4, s1, s6\n\t" /* q */
                     "vfma.f32 s3, s7, s4\n\t"
                     "vdiv.f32 s5, s15, s3\n\t"
                     "vsub.f32 s5, s15, s5\n\t"
                     "cmp %[bits], #0\n\t"
                     "it mi\n\t"
                     "vnegmi.f32 s5, s5\n\t"
                     "vstmia %[y]!, {s5}\n\t"
                     "subs %[n], #1\n\t"
                     "bne 1b\n\t"
                     "b 5f\n"
                     "4:\n\t"
                     "cmp %[size], #0xff000000\n\t"
                     "ittt ls\n\t"
                     "andls %[bits], %[bits], #0x80000000\n\t"
                     "orrls %[bits], %[bits], %[one]\n\t" /* -1 or 1 */
                     "vmovls s5, %[bits]\n\t"
                     "b 2b\n"
                     "5:"
                     : [x] "+&r"(x), [y] "+&r"(y), [n] "+&r"(n), [table] "+&r"(table),
                       [bits] "=&r"(bits), [size] "=&r"(size)
                     : [more] "r"(constants + 13), [one] "r"(0x3f800000u),
                       [split] "r"(0x7e400000u) /* twice the bits of LSTMC_TANH_SPLIT */
                     : "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11",
                       "s12", "s13", "s14", "s15", "cc", "memory");
}

V_APART v_f32 v_sigmoid(v_f32 x) {
    cortexm_sigmoid(&x, 1);
    return x;
}

V_APART v_f32 v_tanh(v_f32 x) {
    cortexm_tanh(&x, &x, 1);
    return x;
}

#endif
