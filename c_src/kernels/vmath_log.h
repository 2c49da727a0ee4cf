/* expm1, log, softplus, x - tanh x, x sigmoid(u), mish: under the rules of vmath.h, which is included
 * before. Error bounds are in docs/NUMERICS.md.
 */
#ifndef LSTMC_VMATH_LOG_H
#define LSTMC_VMATH_LOG_H

/* log(1 + f) = f - f^2 / 2 + f^3 P(f), sqrt(1/2) <= 1 + f <= sqrt(2); error 0.015 * 2^-24. */
static const float lstmc_log_p[9] = {
    0x1.555546p-2f, -0x1.00000ap-2f, 0x1.99a546p-3f, -0x1.555ae4p-3f, 0x1.232cfap-3f,
    -0x1.fc4dap-4f, 0x1.e7a54ep-4f,  -0x1.dd651p-4f, 0x1.11c874p-4f,
};

/* log(1 + w) = w + w^2 P(w), 0 <= w <= 1; error 0.0165 * 2^-24. */
static const float lstmc_log1p_p[10] = {
    -0x1.fffff6p-2f, 0x1.55537p-2f,   -0x1.ffbeb8p-3f, 0x1.975f96p-3f,  -0x1.49d35ap-3f,
    0x1.fc6474p-4f,  -0x1.512058p-4f, 0x1.529e9cp-5f,  -0x1.b4cf12p-7f, 0x1.07e0fcp-9f,
};

/* x - tanh x = x z P(z), z = x^2 <= 1; error 0.5 * 2^-24. */
static const float lstmc_shrink_p[8] = {
    0x1.555556p-2f, -0x1.11112ap-3f, 0x1.ba1a6cp-5f, -0x1.65f9fp-6f,
    0x1.1e8924p-7f, -0x1.ac1dbcp-9f, 0x1.f88bep-11f, -0x1.40cec4p-13f,
};

/* e^x - 1 for x <= 0 (and NaN). s - 1 is exact as long as it matters, so that one fma rounds. */
static inline v_f32 v_expm1_below(v_f32 x) {
    const v_f32 one = v_set1(1.0f);
    v_f32 t;
    const v_f32 q = v_exp_parts(v_max(v_set1(-20.0f), x), v_set1(0.0f), &t);
    const v_f32 s = v_scale2(one, t);
    return v_fma(s, q, v_sub(s, one));
}

/* x = 2^k (1 + f). -infinity for |x| < 2^-126, so that it does not matter whether the machine knows
 * subnormals. */
static inline v_f32 v_log(v_f32 x) {
    const v_f32 zero = v_set1(0.0f), infinity = v_set1(INFINITY);
    const v_f32 k = v_sub(v_exponent(x), v_set1(127.0f));
    const v_f32 f = v_sub(v_scale2(x, v_sub(v_set1(LSTMC_ROUND), k)), v_set1(1.0f));
    const v_f32 f2 = v_mul(f, f);
    const v_f32 cubic = v_mul(v_mul(f2, f), v_poly(f, lstmc_log_p, 9));
    const v_f32 tail = v_fnma(v_set1(0.5f), f2, v_fma(k, v_set1(LSTMC_LN2_LO), cubic));
    const v_f32 y = v_fma(k, v_set1(LSTMC_LN2_HI), v_add(f, tail));
    const v_f32 above = v_if_lt(x, infinity, y, x); /* NaN stays */
    const v_f32 normal = v_if_lt(x, zero, v_set1(NAN), above);
    return v_if_lt(v_abs(x), v_set1(0x1p-126f), v_neg(infinity), normal);
}

/* log(1 + e^x) = max(x, 0) + log(1 + w), w = e^-|x|, rounded to high and what it lost. */
static inline v_f32 v_softplus(v_f32 x) {
    const v_f32 zero = v_set1(0.0f), one = v_set1(1.0f);
    v_f32 t;
    const v_f32 a = v_max(v_set1(LSTMC_EXP_LOW), v_neg(v_abs(x)));
    const v_f32 q = v_exp_parts(a, zero, &t);
    const v_f32 p = v_add(one, q);
    const v_f32 w = v_scale2(p, t);
    const v_f32 low = v_mul(v_scale2(one, t), v_sub(q, v_sub(p, one)));
    /* d log(1 + w) / dw = 1 / (1 + w), and 1 - w / 2 is near enough. */
    const v_f32 moved = v_mul(low, v_fnma(v_set1(0.5f), w, one));
    const v_f32 y = v_add(w, v_fma(v_mul(w, w), v_poly(w, lstmc_log1p_p, 10), moved));
    const v_f32 below = v_if_lt(x, v_set1(LSTMC_EXP_LOW), zero, y);
    return v_if_lt(x, zero, below, v_add(x, y));
}

/* A polynomial up to 1, from there on (|x| - 1) + 2 / (1 + e^2|x|). */
static inline v_f32 v_tanh_shrink(v_f32 x) {
    const v_f32 one = v_set1(1.0f), size = v_abs(x);
    v_f32 t;
    const v_f32 a = v_min(v_set1(10.0f), size);
    const v_f32 q = v_exp_parts(v_add(a, a), v_set1(0.0f), &t);
    const v_f32 s = v_scale2(one, t);
    const v_f32 e = v_fma(s, q, v_add(s, one));
    const v_f32 outer = v_add(v_sub(size, one), v_div(v_set1(2.0f), e));

    /* x^3 and the sum of the polynomial as pairs, scaled so that no second part is subnormal. */
    const v_f32 b = v_mul(size, v_set1(0x1p40f)), b2 = v_mul(b, b), b3 = v_mul(b2, b);
    const v_f32 b3_low = v_fma(v_fma(b, b, v_neg(b2)), b, v_fma(b2, b, v_neg(b3)));
    const v_f32 z = v_mul(x, x), first = v_set1(lstmc_shrink_p[0]);
    const v_f32 slope = v_poly(z, lstmc_shrink_p + 1, 7);
    const v_f32 p = v_fma(z, slope, first), p_low = v_fma(z, slope, v_sub(first, p));
    const v_f32 y = v_fma(b3, p, v_set1(0.0f));
    const v_f32 y_low = v_fma(b3, p_low, v_fma(b3_low, p, v_fma(b3, p, v_neg(y))));
    const v_f32 inner = v_mul(v_add(y, y_low), v_set1(0x1p-120f));
    return v_xorsign(v_if_lt(size, one, inner, outer), x);
}

/* 2^n in two factors for an integer n from -250 to 0: x * *first * *second underflows only where
 * the result does. */
static inline void v_halves(v_f32 n, v_f32 *first, v_f32 *second) {
    const v_f32 one = v_set1(1.0f), round = v_set1(LSTMC_ROUND);
    const v_f32 t = v_fma(n, v_set1(0.5f), round);
    *first = v_scale2(one, t);
    *second = v_scale2(one, v_add(round, v_sub(n, v_sub(t, round))));
}

/* x / (1 + e^-(u + low)); +0 for u < -174. With e^-u = 2^-n (1 + q) and w = 2^-|n| it is
 *   n < 0     x 2^n / (w + 1 + q)
 *   n >= 0    x / (1 + w + w q)
 * 1 + w is exact or nearly so, and what it lost joins q. */
static inline v_f32 v_times_sigmoid(v_f32 x, v_f32 u, v_f32 low) {
    const v_f32 zero = v_set1(0.0f), one = v_set1(1.0f), round = v_set1(LSTMC_ROUND);
    v_f32 t, first, second;
    const v_f32 sure = v_if_lt(v_abs(u), v_set1(174.0f), low, zero);
    const v_f32 clamped = v_max(v_set1(-30.0f), v_min(v_set1(174.0f), v_neg(u)));
    const v_f32 q = v_exp_parts(clamped, v_neg(sure), &t); /* of e^-u */
    const v_f32 n = v_neg(v_sub(t, round));
    v_halves(v_min(zero, n), &first, &second);
    /* From 2^-100 downwards it is negligible. */
    const v_f32 w = v_scale2(one, v_add(round, v_max(v_set1(-100.0f), v_neg(v_abs(n)))));
    const v_f32 d = v_if_lt(n, zero, one, w);
    const v_f32 sum = v_add(one, w);
    const v_f32 lost = v_sub(w, v_sub(sum, one));
    const v_f32 y = v_div(v_mul(x, first), v_add(sum, v_fma(d, q, lost)));
    return v_if_lt(u, v_set1(-174.0f), zero, v_mul(y, second));
}

/* x tanh(softplus(x)) = x (1 - h), with w = e^-|x| = 2^n p:
 *   x >= 0    h = 2 w^2 / (1 + 2 w + 2 w^2)
 *   x < 0     x (1 - h) = 2^n x p (1 - g) = 2^n x (1 + q - p g), g = w (w + 1) / (w (w + 2) + 2)
 * so that most of the result is one fma. */
static inline v_f32 v_mish(v_f32 x) {
    const v_f32 zero = v_set1(0.0f), one = v_set1(1.0f), two = v_set1(2.0f);
    const v_f32 round = v_set1(LSTMC_ROUND);
    v_f32 t, first, second;
    const v_f32 q = v_exp_parts(v_max(v_set1(-110.0f), v_neg(v_abs(x))), zero, &t);
    const v_f32 n = v_sub(t, round), p = v_add(one, q);
    const v_f32 w = v_scale2(p, v_add(round, v_max(v_set1(-100.0f), n)));
    v_halves(n, &first, &second);

    const v_f32 twice = v_add(w, w);
    const v_f32 h = v_div(v_mul(twice, w), v_fma(twice, w, v_fma(two, w, one)));
    const v_f32 above = v_if_lt(x, v_set1(30.0f), v_fnma(x, h, x), x); /* not infinity times 0 */
    const v_f32 g = v_div(v_fma(w, w, w), v_fma(w, v_add(w, two), two));
    const v_f32 small = v_mul(x, first);
    const v_f32 below = v_mul(v_fma(small, v_fnma(p, g, q), small), second);
    return v_if_lt(x, v_set1(-100.0f), zero, v_if_lt(x, zero, below, above));
}

#endif
