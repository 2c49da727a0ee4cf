/* sigmoid and tanh on Helium, in assembler: the operations of vmath.h in their order, so the same bits.
 * Compilers load each constant where it is used and spread many of them; here they come with one LDM,
 * for all the gates of a cell. Included by vmath.h. */

#ifdef __clang__
#define HM_CLOBBERS "lr", "cc", "memory"
#else
#define HM_CLOBBERS "p0", "lr", "cc", "memory"
#endif

/* x[0 .. 4 n - 1] become their sigmoids, n > 0. */
V_APART void v_sigmoids(float *x, uint32_t n) {
    static const float constants[] = {20.0f,         LSTMC_ROUND,  LSTMC_LOG2E,   -LSTMC_LN2_HI,
                                      -LSTMC_LN2_LO, LSTMC_EXP_C0, -LSTMC_EXP_C1, LSTMC_EXP_C2,
                                      -LSTMC_EXP_C3, LSTMC_EXP_C4, LSTMC_EXP_LOW};
    register float *at __asm__("r0") = x;
    register uint32_t count __asm__("r1") = n;
    register const float *table __asm__("r2") = constants;
    __asm__ volatile("dls lr, r1\n\t"
                     "ldm r2, {r1, r2, r3, r4, r5, r6, r8, r9, r10, r11, r12}\n\t"
                     "vmov.f32 q7, #1.0\n"
                     "1:\tvldrw.u32 q0, [r0]\n\t"
                     "vpt.f32 gt, q0, r1\n\t" /* a = min(20, x) */
                     "vdupt.32 q0, r1\n\t"
                     "vdup.32 q1, r2\n\t" /* t */
                     "vfma.f32 q1, q0, r3\n\t"
                     "vdup.32 q3, r12\n\t"
                     "vsub.f32 q2, q1, r2\n\t"  /* n */
                     "vcmp.f32 gt, q3, q0\n\t"  /* x < EXP_LOW: kept for the end */
                     "vfma.f32 q0, q2, r4\n\t"  /* r */
                     "vshl.i32 q1, q1, #23\n\t" /* s */
                     "vfma.f32 q0, q2, r5\n\t"
                     "vadd.i32 q1, q1, q7\n\t"
                     "vmul.f32 q2, q0, q0\n\t" /* r2 */
                     "vadd.f32 q3, q1, q7\n\t" /* s1 */
                     "vdup.32 q5, r6\n\t"      /* c01 */
                     "vfma.f32 q5, q0, r8\n\t"
                     "vdup.32 q6, r9\n\t" /* c23 */
                     "vfma.f32 q6, q0, r10\n\t"
                     "vsub.f32 q4, q3, q7\n\t" /* lost */
                     "vfma.f32 q6, q2, r11\n\t"
                     "vsub.f32 q4, q1, q4\n\t"
                     "vfma.f32 q5, q6, q2\n\t" /* the tail */
                     "vsub.f32 q4, q0, q4\n\t"
                     "vfms.f32 q4, q5, q2\n\t" /* q */
                     "vsub.f32 q3, q3, q4\n\t"
                     "vdiv.f32 s4, s4, s12\n\t"
                     "vdiv.f32 s5, s5, s13\n\t"
                     "vdiv.f32 s6, s6, s14\n\t"
                     "vdiv.f32 s7, s7, s15\n\t"
                     "vpst\n\t"
                     "vmovt.i32 q1, #0\n\t"
                     "vstrw.32 q1, [r0], #16\n\t"
                     "le lr, 1b"
                     : "+r"(at), "+r"(count), "+r"(table)
                     :
                     : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "q0", "q1", "q2",
                       "q3", "q4", "q5", "q6", "q7", HM_CLOBBERS);
}

static inline v_f32 v_sigmoid(v_f32 x) {
    float memory[V_WIDTH];
    v_store(memory, x);
    v_sigmoids(memory, 1);
    return v_load(memory);
}

/* A subnormal x needs no care: at the end zeros of both signs are added, which is +0. */
V_APART v_f32 v_tanh(v_f32 x) {
    /* clang-format off */
    static const float constants[] = {
        10.0f, LSTMC_ROUND, 2.0f * LSTMC_LOG2E, -0x1.62e43p-2f, /* a, t, n, h */
        2.0f * LSTMC_EXP_C0, 4.0f * LSTMC_EXP_C1, 8.0f * LSTMC_EXP_C2, 16.0f * LSTMC_EXP_C3,
        32.0f * LSTMC_EXP_C4, /* here the second LDM begins */
        1.0f, 0.5f, LSTMC_TANH_P4, LSTMC_TANH_P3, LSTMC_TANH_P2, LSTMC_TANH_P1, LSTMC_TANH_P0,
        LSTMC_TANH_SPLIT, /* the odd polynomial */
    };
    /* clang-format on */
    register v_f32 y __asm__("q0") = x;
    register const float *table __asm__("r0") = constants;
    __asm__("ldm r0!, {r1, r2, r3, r4, r5, r6, r8, r9, r10}\n\t"
            "vabs.f32 q2, q0\n\t"
            "vabs.f32 q1, q0\n\t"    /* size */
            "vpt.f32 gt, q2, r1\n\t" /* a = min(10, size) */
            "vdupt.32 q2, r1\n\t"
            "vdup.32 q3, r2\n\t" /* t */
            "vfma.f32 q3, q2, r3\n\t"
            "vdup.32 q5, r5\n\t"
            "vsub.f32 q4, q3, r2\n\t" /* n */
            "vdup.32 q6, r8\n\t"
            "vfma.f32 q2, q4, r4\n\t" /* h */
            "vshl.i32 q3, q3, #23\n\t"
            "vmul.f32 q4, q2, q2\n\t" /* h2 */
            "vfma.f32 q5, q2, r6\n\t" /* c01 */
            "vfma.f32 q6, q2, r9\n\t" /* c23 */
            "vfma.f32 q6, q4, r10\n\t"
            "ldm r0, {r1, r2, r3, r4, r5, r6, r8, r9}\n\t"
            "vfma.f32 q5, q6, q4\n\t" /* the tail */
            "vadd.i32 q3, q3, r1\n\t" /* s */
            "vfma.f32 q2, q5, q4\n\t" /* q */
            "vdup.32 q4, r2\n\t"
            "vmul.f32 q6, q0, q0\n\t" /* z */
            "vfma.f32 q4, q3, r2\n\t"
            "vdup.32 q7, r4\n\t"
            "vfma.f32 q4, q3, q2\n\t" /* (1 + e^2a) / 2 */
            "vdup.32 q5, r1\n\t"
            "vfma.f32 q7, q6, r3\n\t" /* p */
            "vdiv.f32 s16, s20, s16\n\t"
            "vdiv.f32 s17, s21, s17\n\t"
            "vdiv.f32 s18, s22, s18\n\t"
            "vdiv.f32 s19, s23, s19\n\t"
            "vfmas.f32 q7, q6, r5\n\t"
            "vsub.f32 q5, q5, q4\n\t" /* y */
            "vfmas.f32 q7, q6, r6\n\t"
            "vshr.u32 q4, q0, #31\n\t"
            "vfmas.f32 q7, q6, r8\n\t"
            "vmul.f32 q6, q6, q0\n\t"
            "vsli.32 q5, q4, #31\n\t" /* the sign of x */
            "vfma.f32 q0, q6, q7\n\t" /* odd */
            "vpt.s32 ge, q1, r9\n\t"  /* size is not below the split, or NaN */
            "vorrt q0, q5, q5"
            : "+w"(y), "+r"(table)
            :
            : "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "q1", "q2", "q3", "q4", "q5",
              "q6", "q7", HM_CLOBBERS);
    return y;
}

#undef HM_CLOBBERS
