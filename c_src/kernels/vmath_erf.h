/* erf and both forms of gelu: under the rules of vmath.h, which is included before. Error bounds are
 * in docs/NUMERICS.md.
 */
#ifndef LSTMC_VMATH_ERF_H
#define LSTMC_VMATH_ERF_H

#include "vmath_log.h"

/* erf x = x + x P(z), z = x^2 <= 0.75^2; error 0.0278 * 2^-24. */
#define LSTMC_ERF_SPLIT 0.75f
static const float lstmc_erf_p[6] = {
    0x1.06eba8p-3f,  -0x1.81273ap-2f, 0x1.ce2adcp-4f,
    -0x1.b7a96ap-6f, 0x1.4f303ap-8f,  -0x1.61e97ep-11f,
};

/* The normal distribution function = 1/2 + x P(z), z = x^2 <= 0.9375^2; error 0.0515 * 2^-24. */
#define LSTMC_PHI_SPLIT 0.9375f
static const float lstmc_phi_p[6] = {
    0x1.988454p-2f,   -0x1.10585ep-4f, 0x1.46d4fep-7f,
    -0x1.377364p-10f, 0x1.e38c4ep-14f, -0x1.1816f6p-17f,
};

/* e^(z^2) erfc(z) = u P(u - centre), u = 1 / (z + 3), for z from 0.65 to 9.4; error 0.146 * 2^-24. */
#define LSTMC_ERFC_CENTRE 0x1.797efap-3f
static const float lstmc_erfc_p[9] = {
    0x1.2cb31cp+0f, 0x1.877cbcp+2f,  0x1.91a0fep+4f,  0x1.3a9374p+6f,  0x1.59bf6ap+7f,
    0x1.88f158p+7f, -0x1.492f92p+7f, -0x1.b9ce44p+9f, -0x1.266a5ap+9f,
};

/* 1 / 0.044715 and 0.044715 sqrt(8 / pi), in two parts each. */
#define LSTMC_GELU_SHIFT 0x1.65d25ep+4f
#define LSTMC_GELU_SHIFT_LOW 0x1.bb3dbp-21f
#define LSTMC_GELU_C 0x1.2444f2p-4f
#define LSTMC_GELU_C_LOW 0x1.49b16ap-29f

/* (1 + q) e^(z^2) erfc(z), where z + 3 = sum + rest; *low gets what the result lost. So does the sum of
 * the polynomial, and u: a relative error in it counts 0.75 + 7.2 u times, near enough. */
static inline v_f32 v_erfc_times(v_f32 sum, v_f32 rest, v_f32 q, v_f32 *low) {
    const v_f32 zero = v_set1(0.0f), one = v_set1(1.0f);
    const v_f32 u = v_div(one, sum);
    const v_f32 lost = v_fnma(rest, u, v_fnma(sum, u, one)); /* relative */
    const v_f32 factor = v_fma(v_fma(v_set1(7.2f), u, v_set1(0.75f)), lost, q);
    const v_f32 v = v_sub(u, v_set1(LSTMC_ERFC_CENTRE)), first = v_set1(lstmc_erfc_p[0]);
    const v_f32 slope = v_poly(v, lstmc_erfc_p + 1, 8);
    const v_f32 p = v_fma(v, slope, first), p_low = v_fma(v, slope, v_sub(first, p));
    const v_f32 y = v_fma(u, p, zero), y_low = v_fma(u, p_low, v_fma(u, p, v_neg(y)));
    const v_f32 more = v_fma(y, factor, y_low);
    const v_f32 result = v_add(y, more);
    *low = v_add(v_sub(y, result), more);
    return result;
}

static inline v_f32 v_erf(v_f32 x) {
    const v_f32 one = v_set1(1.0f), size = v_abs(x), z = v_mul(x, x);
    v_f32 t, low;
    const v_f32 inner = v_fma(size, v_poly(z, lstmc_erf_p, 6), size);
    /* From 3.92 on the result is 1. The square in two parts: its error is that of the result. */
    const v_f32 a = v_min(v_set1(4.0f), size);
    const v_f32 square = v_mul(a, a);
    const v_f32 q = v_exp_parts(v_neg(square), v_fnma(a, a, square), &t);
    const v_f32 complement = v_erfc_times(v_add(a, v_set1(3.0f)), v_set1(0.0f), q, &low);
    const v_f32 outer = v_fnma(v_scale2(one, t), complement, one);
    return v_xorsign(v_if_lt(size, v_set1(LSTMC_ERF_SPLIT), inner, outer), x);
}

/* e^(-a^2 / 2) = s (1 + q), s = 2^n with n in the low bits of t: (1 + q) E(a / sqrt 2), E the scaled erfc,
 * for a from 0.92 to 13.2; *low gets what it lost. */
static inline v_f32 v_gelu_tail(v_f32 a, v_f32 *q, v_f32 *t, v_f32 *low) {
    const v_f32 ah = v_mul(v_set1(0.5f), a), square = v_mul(a, ah);
    *q = v_exp_parts(v_neg(square), v_fnma(a, ah, square), t);
    const v_f32 root = v_set1(0x1.6a09e6p-1f), three = v_set1(3.0f);
    const v_f32 sum = v_fma(a, root, three);
    const v_f32 rest = v_fma(a, v_set1(0x1.9fcef4p-27f), v_fma(a, root, v_sub(three, sum)));
    return v_erfc_times(sum, rest, *q, low);
}

/* x Phi(x), with Phi(-a) = e^(-a^2 / 2) E(a / sqrt 2) / 2, and Phi(a) = 1 - Phi(-a).
 * +0 for x < -13.2: the result is subnormal there. */
static inline v_f32 v_gelu(v_f32 x) {
    const v_f32 zero = v_set1(0.0f), half = v_set1(0.5f), size = v_abs(x);
    v_f32 t, q, low;
    const v_f32 z = v_mul(x, x);
    const v_f32 inner = v_mul(x, v_fma(x, v_poly(z, lstmc_phi_p, 6), half));

    const v_f32 a = v_min(v_set1(13.2f), size);
    const v_f32 w = v_gelu_tail(a, &q, &t, &low), xh = v_mul(half, x);
    const v_f32 s = v_scale2(v_set1(1.0f), t);
    const v_f32 above = v_mul(x, v_fnma(v_mul(half, s), w, v_set1(1.0f)));
    const v_f32 y = v_fma(xh, w, zero), y_low = v_fma(xh, low, v_fma(xh, w, v_neg(y)));
    const v_f32 below = v_mul(v_add(y, y_low), s);
    const v_f32 outer = v_if_lt(x, zero, below, above);
    const v_f32 all = v_if_lt(size, v_set1(LSTMC_PHI_SPLIT), inner, outer);
    return v_if_lt(x, v_set1(-13.2f), zero, all);
}

/* c x (x^2 + 1 / 0.044715), c = 0.044715 sqrt(8 / pi), and what it lost; x from -12 to 12. An error in the
 * exponent is one of the result: x^2, the sum and the products are pairs of floats. */
static inline v_f32 v_gelu_tanh_exponent(v_f32 a, v_f32 *low) {
    const v_f32 zero = v_set1(0.0f), shift = v_set1(LSTMC_GELU_SHIFT), c = v_set1(LSTMC_GELU_C);
    const v_f32 z = v_fma(a, a, zero), z_low = v_fma(a, a, v_neg(z));
    const v_f32 sum = v_add(z, shift), part = v_sub(sum, z);
    const v_f32 lost = v_add(v_sub(z, v_sub(sum, part)), v_sub(shift, part));
    const v_f32 sum_low = v_add(lost, v_add(z_low, v_set1(LSTMC_GELU_SHIFT_LOW)));
    const v_f32 ca = v_fma(c, a, zero);
    const v_f32 ca_low = v_fma(v_set1(LSTMC_GELU_C_LOW), a, v_fma(c, a, v_neg(ca)));
    const v_f32 u = v_mul(ca, sum);
    *low = v_fma(ca_low, sum, v_fma(ca, sum_low, v_fma(ca, sum, v_neg(u))));
    return u;
}

/* x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) = x sigmoid(u) */
static inline v_f32 v_gelu_tanh(v_f32 x) {
    v_f32 low;
    const v_f32 a = v_max(v_set1(-12.0f), v_min(v_set1(12.0f), x));
    const v_f32 u = v_gelu_tanh_exponent(a, &low);
    return v_if_lt(x, v_set1(-12.0f), v_set1(0.0f), v_times_sigmoid(x, u, low));
}

#endif
