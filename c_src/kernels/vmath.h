/* exp, tanh and sigmoid over the operations of whichever vec_*.h was included before: the same bits
 * on every target, whatever the flags.
 *
 * Rule: no v_add or v_sub takes a product (v_mul) as an operand. Compilers contract a * b + c to an
 * fma where they like, GCC even across intrinsics; where no such pair exists there is nothing to
 * contract. Every fma is written as v_fma or v_fnma, and a product that a sum shall take as
 * v_fma(a, b, 0), which no compiler may make a product of again (a zero could change its sign).
 *
 * Results below 2^-126 in magnitude are +0 by rule, and no intermediate subnormal reaches a result,
 * so it does not matter whether the machine flushes subnormals on the way in (DAZ), on the way out
 * (FTZ), or not at all. NaN gives NaN.
 *
 * Others are in vmath_log.h and vmath_erf.h. Largest error of these three over all 2^32 inputs,
 * against float64 with the worst cases rechecked at 100 bits (make sweep):
 *
 *     v_exp      1.031 ULP
 *     v_tanh     1.198 ULP    odd to the bit, except that a zero is always +0
 *     v_sigmoid  1.696 ULP
 *
 * Coefficients: tests/tools/fit_polynomials.py. Operations are counted as AVX2 instructions.
 */
#ifndef LSTMC_VMATH_H
#define LSTMC_VMATH_H

#include "../lstmc_config.h"

#include <math.h> /* INFINITY only */

#ifndef V_WIDTH
#error "lstmc: include one vec_*.h before vmath.h"
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#define V_INLINE static __forceinline
#define V_APART static __declspec(noinline)
#else
#define V_INLINE static inline __attribute__((always_inline))
#define V_APART static __attribute__((noinline))
#endif

/* v_sigmoid and v_tanh where they are used most: inlined, if that takes little code. V_FLAT: so are
 * functions that have several of them. */
#ifdef V_FAST_FMA
#define V_HOT(FUNCTION) FUNCTION##_inline
#define V_FLAT V_INLINE
#else
#define V_HOT(FUNCTION) FUNCTION
#define V_FLAT static
#endif

/* ln 2 in two parts: n * LN2_HI is exact for |n| < 2^8, and the two together miss 5.5e-14. */
#define LSTMC_LN2_HI 0x1.62e4p-1f
#define LSTMC_LN2_LO 0x1.7f7d1cp-20f
#define LSTMC_LOG2E 0x1.715476p+0f

/* Adding 1.5 * 2^23 rounds to an integer, and leaves that integer in the low bits of the sum: what
 * v_scale2 wants. Its own low nine bits are zero. */
#define LSTMC_ROUND 12582912.0f

/* e^r = 1 + r + r^2 (C0 + C1 r + ... + C4 r^4) for |r| <= ln2 / 2, to 0.054 * 2^-24. */
#define LSTMC_EXP_C0 0x1.fffffcp-2f
#define LSTMC_EXP_C1 0x1.55548cp-3f
#define LSTMC_EXP_C2 0x1.555858p-5f
#define LSTMC_EXP_C3 0x1.123dep-7f
#define LSTMC_EXP_C4 0x1.6ac74ep-10f

/* tanh x = x + x^3 (P0 + P1 x^2 + ... + P4 x^8) for |x| <= 0.625, to 0.076 * 2^-24. */
#define LSTMC_TANH_SPLIT 0.625f
#define LSTMC_TANH_P0 -0x1.555532p-2f
#define LSTMC_TANH_P1 0x1.1106f6p-3f
#define LSTMC_TANH_P2 -0x1.b835a4p-5f
#define LSTMC_TANH_P3 0x1.51f8cep-6f
#define LSTMC_TANH_P4 -0x1.750ce2p-8f

/* e^x is at least 2^-126 from here on, and rounds to infinity from there on. */
#define LSTMC_EXP_LOW -0x1.5d589ep+6f
#define LSTMC_EXP_HIGH 0x1.62e43p+6f

/* +0 for |v| < 2^-64 (so for -0 too), else v; NaN stays. Layers apply it to all that they keep or
 * hand on, and to a product that an addition takes next: whether subnormals exist or not then shows
 * nowhere, and no state decays into numbers that many CPUs are slow with. */
#ifndef V_FLUSH /* else the header of the target has it */
static inline v_f32 v_flush(v_f32 v) {
    return v_if_lt(v_abs(v), v_set1(0x1p-64f), v_set1(0.0f), v);
}
#endif

/* The powers r^2 .. r^6 of e^r - 1 - r, divided by r^2, Estrin's way. C(-r) if sign is -1: the odd
 * coefficients change sign. */
static inline v_f32 v_exp_tail(v_f32 r, v_f32 r2, float sign) {
    const v_f32 c01 = v_fma(v_set1(sign * LSTMC_EXP_C1), r, v_set1(LSTMC_EXP_C0));
    const v_f32 c23 = v_fma(v_set1(sign * LSTMC_EXP_C3), r, v_set1(LSTMC_EXP_C2));
    return v_fma(v_fma(v_set1(LSTMC_EXP_C4), r2, c23), r2, c01);
}

/* e^(x + low) = 2^n (1 + q): returns q, and n in the low bits of t, for v_scale2. */
static inline v_f32 v_exp_parts(v_f32 x, v_f32 low, v_f32 *t) {
    *t = v_fma(x, v_set1(LSTMC_LOG2E), v_set1(LSTMC_ROUND));
    const v_f32 n = v_sub(*t, v_set1(LSTMC_ROUND));
    const v_f32 high = v_fnma(n, v_set1(LSTMC_LN2_LO), v_fnma(n, v_set1(LSTMC_LN2_HI), x));
    const v_f32 r = v_add(high, low);
    const v_f32 r2 = v_mul(r, r);
    return v_fma(v_exp_tail(r, r2, 1.0f), r2, r);
}

/* c[0] + c[1] x + ... + c[terms - 1] x^(terms - 1), Horner's way. */
static inline v_f32 v_poly(v_f32 x, const float *c, int terms) {
    v_f32 sum = v_set1(c[terms - 1]);
    for (int i = terms - 2; i >= 0; i--) sum = v_fma(sum, x, v_set1(c[i]));
    return sum;
}

/* e^x = 2^n e^r, n = round(x / ln2) (Cody and Waite). 18 operations. */
static inline v_f32 v_exp(v_f32 x) {
    const v_f32 infinity = v_set1(INFINITY);
    const v_f32 t = v_fma(x, v_set1(LSTMC_LOG2E), v_set1(LSTMC_ROUND));
    const v_f32 n = v_sub(t, v_set1(LSTMC_ROUND));
    const v_f32 r = v_fnma(n, v_set1(LSTMC_LN2_LO), v_fnma(n, v_set1(LSTMC_LN2_HI), x));
    const v_f32 r2 = v_mul(r, r);
    const v_f32 p = v_add(v_set1(1.0f), v_fma(v_exp_tail(r, r2, 1.0f), r2, r));
    /* n = 128 comes only with p < 1 below EXP_HIGH, and n = -126 only with p > 1 above EXP_LOW. */
    const v_f32 y = v_scale2(p, t);
    /* v_max is infinity, or NaN where x is: the payload would have upset v_scale2. */
    const v_f32 capped = v_if_lt(x, v_set1(LSTMC_EXP_HIGH), y, v_max(infinity, x));
    return v_if_lt(x, v_set1(LSTMC_EXP_LOW), v_set1(0.0f), capped);
}

/* 1 / (1 + e^-x) = s / (s + 1 + q), where e^-x = (1 + q) / s and s = 2^n: s + 1 is exact, so that
 * the denominator is rounded once (1 + q alone never). Where s + 1 is not exact any more, from
 * s = 2^-24 downwards, what it lost joins q. 21 operations, one of them a division. */
V_INLINE v_f32 v_sigmoid_inline(v_f32 x) {
    const v_f32 one = v_set1(1.0f);
    /* From 17.4 on the result is 1. No clamp is needed below: the last line covers it. */
    const v_f32 a = v_min(v_set1(20.0f), x);
    const v_f32 t = v_fma(a, v_set1(LSTMC_LOG2E), v_set1(LSTMC_ROUND));
    const v_f32 n = v_sub(t, v_set1(LSTMC_ROUND));
    const v_f32 r = v_fnma(n, v_set1(LSTMC_LN2_LO), v_fnma(n, v_set1(LSTMC_LN2_HI), a));
    const v_f32 r2 = v_mul(r, r);
    const v_f32 s = v_scale2(one, t);
    const v_f32 s1 = v_add(s, one);
    const v_f32 lost = v_sub(s, v_sub(s1, one));
    /* -q - lost, where q = e^-r - 1 */
    const v_f32 q = v_fnma(v_exp_tail(r, r2, -1.0f), r2, v_sub(r, lost));
    const v_f32 y = v_div(s, v_sub(s1, q));
    return v_if_lt(x, v_set1(LSTMC_EXP_LOW), v_set1(0.0f), y);
}

/* Below 0.625 an odd polynomial, else 1 - 2 / (1 + e^2|x|) with the sign of x put back. As in
 * v_sigmoid (1 + e^2a) / 2 is one fma, h = r / 2 keeps the factors exact, and ln2 in one part is
 * enough because an error in e^2a reaches the result damped by 2 e^2a / (1 + e^2a)^2.
 * 30 operations, one of them a division; the two halves run side by side. */
V_INLINE v_f32 v_tanh_inline(v_f32 x) {
    const v_f32 one = v_set1(1.0f), half = v_set1(0.5f);
    const v_f32 size = v_abs(x);
    /* From 9.02 on the result is 1. */
    const v_f32 a = v_min(v_set1(10.0f), size);
    const v_f32 t = v_fma(a, v_set1(2.0f * LSTMC_LOG2E), v_set1(LSTMC_ROUND));
    const v_f32 n = v_sub(t, v_set1(LSTMC_ROUND));
    const v_f32 h = v_fnma(n, v_set1(0x1.62e43p-2f), a);
    const v_f32 h2 = v_mul(h, h);
    /* q = (e^2h - 1) / 2 = h + h^2 (2 C0 + 4 C1 h + 8 C2 h^2 + ...) */
    const v_f32 c01 = v_fma(v_set1(4.0f * LSTMC_EXP_C1), h, v_set1(2.0f * LSTMC_EXP_C0));
    const v_f32 c23 = v_fma(v_set1(16.0f * LSTMC_EXP_C3), h, v_set1(8.0f * LSTMC_EXP_C2));
    const v_f32 tail = v_fma(v_fma(v_set1(32.0f * LSTMC_EXP_C4), h2, c23), h2, c01);
    const v_f32 q = v_fma(tail, h2, h);
    const v_f32 s = v_scale2(one, t);
    const v_f32 y = v_sub(one, v_div(one, v_fma(s, q, v_fma(s, half, half))));

    const v_f32 z = v_mul(x, x);
    const v_f32 p01 = v_fma(v_set1(LSTMC_TANH_P4), z, v_set1(LSTMC_TANH_P3));
    const v_f32 p012 = v_fma(p01, z, v_set1(LSTMC_TANH_P2));
    const v_f32 p = v_fma(v_fma(p012, z, v_set1(LSTMC_TANH_P1)), z, v_set1(LSTMC_TANH_P0));
    /* A subnormal x is +0 from here on; its z is 0 already. */
    const v_f32 x0 = v_if_lt(size, v_set1(0x1p-126f), v_set1(0.0f), x);
    const v_f32 odd = v_fma(v_mul(z, x), p, x0);
    return v_if_lt(size, v_set1(LSTMC_TANH_SPLIT), odd, v_xorsign(y, x));
}

#ifdef V_OWN_MATH /* Helium has these two in assembler */
#include "helium_math.h"
#else
#if V_WIDTH == 1 && LSTMC_HAVE_CORTEXM
#include "vmath_cortexm.h"
#else
V_APART v_f32 v_sigmoid(v_f32 x) { return v_sigmoid_inline(x); }
V_APART v_f32 v_tanh(v_f32 x) { return v_tanh_inline(x); }
#endif
#endif

#endif
