/* Derivatives of the elementwise functions, under the rules of vmath.h: the same bits on every target.
 * Included by train_algorithms.h. Formulas, conventions at kinks and errors are in docs/TRAINING.md. */

/* fn'(x) from y = fn(x), of quick functions. No addition takes a product: 1 - y * y is fnma. */
V_INLINE v_f32 quick_slope(const lstmc_fn *fn, v_f32 y) {
    const v_f32 zero = v_set1(0.0f), one = v_set1(1.0f);
    switch (fn->kind) {
    case LSTMC_FN_SIGMOID: return v_fnma(y, y, y);
    case LSTMC_FN_TANH: return v_fnma(y, y, one);
    case LSTMC_FN_RELU: return v_if_lt(zero, y, one, y); /* else it is 0 or NaN */
    case LSTMC_FN_HARD_SIGMOID:
        return v_if_lt(zero, y, v_if_lt(y, one, v_set1(fn->alpha), zero), y);
    case LSTMC_FN_EXPONENTIAL: return y;
    default: return one;
    }
}

/* 1 - tanh(u)^2 = 4 w / (1 + w)^2, w = e^-2|u|: nothing cancels. */
static inline v_f32 v_sech2(v_f32 u) {
    const v_f32 size = v_abs(u), w = v_exp(v_neg(v_add(size, size)));
    const v_f32 sum = v_add(v_set1(1.0f), w);
    return v_div(v_mul(v_set1(4.0f), w), v_mul(sum, sum));
}

/* e^(u + low) for u <= 0; +0 where it is below 2^-126. */
static inline v_f32 v_exp_of_pair(v_f32 u, v_f32 low) {
    v_f32 t;
    const v_f32 q = v_exp_parts(v_max(v_set1(LSTMC_EXP_LOW), u), low, &t);
    const v_f32 y = v_scale2(v_add(v_set1(1.0f), q), t);
    return v_if_lt(u, v_set1(LSTMC_EXP_LOW), v_set1(0.0f), y);
}

/* (u sigmoid(u))' = s(u) (1 + k s(-u)) with k = u; of what has x u' for k, too. The smaller one of s(u)
 * and s(-u) is computed, the other is 1 less that. */
static inline v_f32 v_times_sigmoid_slope(v_f32 u, v_f32 low, v_f32 k) {
    const v_f32 zero = v_set1(0.0f), one = v_set1(1.0f);
    const v_f32 below = v_times_sigmoid(one, v_neg(v_abs(u)), v_neg(v_xorsign(low, u)));
    const v_f32 small = v_if_lt(below, v_set1(0x1p-126f), zero, below);
    const v_f32 large = v_sub(one, small);
    const v_f32 plus = v_if_lt(u, zero, small, large), minus = v_if_lt(u, zero, large, small);
    return v_mul(plus, v_fma(k, minus, one));
}

/* 1 / sqrt(2 pi) in two parts, 2 / sqrt(pi). */
#define LSTMC_PHI_0 0x1.988454p-2f
#define LSTMC_PHI_0_LOW -0x1.857936p-27f
#define LSTMC_ERF_1 0x1.20dd76p+0f

/* Phi(x) + x phi(x), which for -x is 1 less that: from 0.9375 on with D(a) = e^(-a^2 / 2) times
 * E(a / sqrt 2) / 2 - a / sqrt(2 pi) it is D(a) at -a, 1 - D(a) at a; E as in v_gelu. */
V_FLAT v_f32 v_gelu_slope(v_f32 x) {
    const v_f32 zero = v_set1(0.0f), one = v_set1(1.0f), half = v_set1(0.5f), size = v_abs(x);
    v_f32 t, q, low;
    const v_f32 z = v_mul(x, x), e = v_exp(v_mul(v_set1(-0.5f), z));
    const v_f32 both = v_fma(v_set1(LSTMC_PHI_0), e, v_poly(z, lstmc_phi_p, 6));
    const v_f32 inner = v_fma(x, both, half);

    const v_f32 a = v_min(v_set1(13.2f), size), w = v_gelu_tail(a, &q, &t, &low);
    const v_f32 c = v_set1(LSTMC_PHI_0), ca = v_fma(c, a, zero);
    const v_f32 ca_low = v_fma(v_set1(LSTMC_PHI_0_LOW), a, v_fma(c, a, v_neg(ca)));
    const v_f32 high = v_fma(half, w, v_neg(ca)), rest = v_fma(half, low, v_neg(ca_low));
    const v_f32 d = v_fnma(ca, q, v_add(high, rest)), s = v_scale2(one, t);
    const v_f32 outer = v_if_lt(x, zero, v_mul(s, d), v_fnma(s, d, one));
    const v_f32 all = v_if_lt(size, v_set1(LSTMC_PHI_SPLIT), inner, outer);
    return v_if_lt(x, v_set1(-13.2f), zero, all);
}

/* With u = c x (x^2 + 1 / 0.044715) as in v_gelu_tanh, x u' = c x (3 x^2 + 1 / 0.044715). */
static inline v_f32 v_gelu_tanh_slope(v_f32 x) {
    v_f32 low;
    const v_f32 a = v_max(v_set1(-12.0f), v_min(v_set1(12.0f), x));
    const v_f32 u = v_gelu_tanh_exponent(a, &low);
    const v_f32 inner = v_fma(v_mul(v_set1(3.0f), a), a, v_set1(LSTMC_GELU_SHIFT));
    return v_times_sigmoid_slope(u, low, v_mul(v_mul(v_set1(LSTMC_GELU_C), a), inner));
}

/* With w = e^-|x|
 *   x < 0     w (4 x + 4 + (4 x + 6) w + 4 w^2 + w^3) / (2 + 2 w + w^2)^2
 *   x >= 0    (1 + 4 w + (4 x + 6) w^2 + (4 x + 4) w^3) / (1 + 2 w + 2 w^2)^2 */
static inline v_f32 v_mish_slope(v_f32 x) {
    const v_f32 zero = v_set1(0.0f), one = v_set1(1.0f), two = v_set1(2.0f), four = v_set1(4.0f);
    const v_f32 a = v_max(v_set1(-100.0f), v_min(v_set1(100.0f), x));
    const v_f32 w = v_exp(v_neg(v_abs(a)));
    const v_f32 line = v_fma(four, a, four), more = v_fma(four, a, v_set1(6.0f));
    const v_f32 c0 = v_if_lt(x, zero, line, one), c1 = v_if_lt(x, zero, more, four);
    const v_f32 c2 = v_if_lt(x, zero, four, more), c3 = v_if_lt(x, zero, one, line);
    const v_f32 sum = v_fma(v_fma(v_fma(c3, w, c2), w, c1), w, c0);
    const v_f32 twice = v_add(w, w);
    const v_f32 d =
        v_if_lt(x, zero, v_fma(w, v_add(w, two), two), v_fma(twice, v_add(w, one), one));
    return v_div(v_mul(sum, v_if_lt(x, zero, w, one)), v_mul(d, d));
}

/* (1 + x / y) / 2, y = sqrt(x^2 + b); b / 2 / (y (y - x)) does not cancel below 0. b below 2^-100 is taken
 * as 0, where this is relu. */
static inline v_f32 v_squareplus_slope(float alpha, v_f32 x) {
    const v_f32 zero = v_set1(0.0f), one = v_set1(1.0f), half = v_set1(0.5f), size = v_abs(x);
    if (alpha < 0x1p-100f) return v_if_lt(zero, x, one, zero);
    const v_f32 b = v_set1(alpha);
    const v_f32 root = v_if_lt(size, v_set1(0x1p62f), v_sqrt(v_fma(x, x, b)), size);
    const v_f32 below = v_div(v_mul(half, b), v_mul(root, v_sub(root, x)));
    return v_if_lt(x, zero, below, v_fma(half, v_div(x, root), half));
}

/* 2 / sqrt(pi) e^(-x^2); +0 where it is below 2^-126. */
static inline v_f32 v_erf_slope(v_f32 x) {
    const v_f32 size = v_abs(x), limit = v_set1(9.34f), c = v_set1(LSTMC_ERF_1);
    const v_f32 a = v_min(limit, size), square = v_mul(a, a);
    v_f32 t;
    const v_f32 q = v_exp_parts(v_neg(square), v_fnma(a, a, square), &t);
    const v_f32 y = v_mul(v_fma(c, q, c), v_scale2(v_set1(1.0f), t));
    return v_if_lt(size, limit, y, v_set1(0.0f));
}

/* fn'(x) of the other functions, from x; a subnormal x counts as 0, a subnormal result is +0. */
V_APART v_f32 train_slope_other(const lstmc_fn *fn, v_f32 given) {
    const v_f32 zero = v_set1(0.0f), one = v_set1(1.0f), half = v_set1(0.5f);
    const v_f32 alpha = v_set1(fn->alpha), beta = v_set1(fn->beta);
    const v_f32 tiny = v_set1(0x1p-126f), x = v_if_lt(v_abs(given), tiny, zero, given);
    const v_f32 size = v_abs(x);
    v_f32 d = zero;
    switch (fn->kind) {
    case LSTMC_FN_AFFINE: d = alpha; break;
    case LSTMC_FN_LEAKY_RELU: d = v_if_lt(beta, x, one, alpha); break;
    case LSTMC_FN_THRESHOLDED_RELU: d = v_if_lt(alpha, x, one, zero); break;
    case LSTMC_FN_SCALED_TANH:
        d = v_mul(v_mul(alpha, beta), v_sech2(v_mul(beta, v_finite(x))));
        break;
    case LSTMC_FN_ELU: d = v_if_lt(zero, x, one, v_mul(alpha, v_exp(x))); break;
    case LSTMC_FN_SOFTSIGN:
        d = v_add(one, size);
        d = v_div(one, v_mul(d, d));
        break;
    case LSTMC_FN_SOFTPLUS: d = v_sigmoid(x); break;
    case LSTMC_FN_SELU: d = v_if_lt(zero, x, beta, v_mul(v_mul(beta, alpha), v_exp(x))); break;
    case LSTMC_FN_GELU: d = v_gelu_slope(x); break;
    case LSTMC_FN_GELU_TANH: d = v_gelu_tanh_slope(x); break;
    case LSTMC_FN_SILU: {
        const v_f32 u = v_max(v_set1(-200.0f), v_min(v_set1(200.0f), v_mul(alpha, v_finite(x))));
        d = v_times_sigmoid_slope(u, zero, u);
        break;
    }
    case LSTMC_FN_MISH: d = v_mish_slope(x); break;
    case LSTMC_FN_HARD_SILU: {
        const v_f32 a = v_finite(x), line = v_fma(alpha, a, beta);
        d = v_if_lt(line, one, v_fma(alpha, a, line), one);
        d = v_if_lt(zero, line, d, zero);
        break;
    }
    case LSTMC_FN_LOG_SIGMOID: d = v_sigmoid(v_neg(x)); break;
    case LSTMC_FN_CELU: {
        const v_f32 u = v_div(x, alpha), low = v_div(v_fnma(u, alpha, x), alpha);
        d = v_if_lt(zero, x, one, v_exp_of_pair(u, v_if_lt(size, v_set1(INFINITY), low, zero)));
        break;
    }
    case LSTMC_FN_TANH_SHRINK:
        d = v_tanh(x);
        d = v_mul(d, d);
        break;
    case LSTMC_FN_SOFT_SHRINK:
    case LSTMC_FN_HARD_SHRINK: d = v_if_lt(alpha, size, one, zero); break;
    case LSTMC_FN_SQUAREPLUS: d = v_squareplus_slope(fn->alpha, x); break;
    case LSTMC_FN_SPARSE_PLUS: d = v_max(zero, v_min(one, v_fma(half, x, half))); break;
    case LSTMC_FN_SPARSE_SIGMOID:
        d = v_if_lt(v_set1(-1.0f), x, v_if_lt(x, one, half, zero), zero);
        break;
    case LSTMC_FN_CLIP: d = v_if_lt(alpha, x, v_if_lt(x, beta, one, zero), zero); break;
    case LSTMC_FN_ABS: d = v_if_lt(x, zero, v_set1(-1.0f), v_if_lt(zero, x, one, zero)); break;
    case LSTMC_FN_SQRT: d = v_div(half, v_sqrt(x)); break;
    case LSTMC_FN_SQUARE: d = v_add(x, x); break;
    case LSTMC_FN_RECIPROCAL:
        d = v_div(one, x);
        d = v_neg(v_mul(d, d));
        break;
    case LSTMC_FN_LOG: d = v_div(one, x); break;
    case LSTMC_FN_ERF: d = v_erf_slope(x); break;
    default: break; /* sign, not_equal: 0 */
    }
    d = v_if_lt(v_abs(d), tiny, zero, d);
    /* Where x is neither finite nor infinite. */
    const v_f32 beyond = v_if_lt(v_set1(FLT_MAX), size, d, given);
    return v_if_lt(size, v_set1(INFINITY), d, beyond);
}

/* fn'(x) with y = fn(x): of quick functions from y, of others from x. */
V_INLINE v_f32 train_slope(const lstmc_fn *fn, v_f32 x, v_f32 y) {
#ifdef LSTMC_ONLY_QUICK /* firmware without any other */
    (void)x;
    return quick_slope(fn, y);
#else
    return lstmc_fn_is_quick(fn) ? quick_slope(fn, y) : train_slope_other(fn, x);
#endif
}

#define BACK_LOOP(FROM, SLOPE)                                                                     \
    for (size_t i = 0; i < n; i += V_WIDTH) {                                                      \
        const v_f32 a = row_load(FROM + i, n - i), d = row_load(dy + i, n - i);                    \
        row_store(dx + i, v_flush(v_mul(d, SLOPE)), n - i);                                        \
    }

static void train_map_back(const lstmc_fn *fn, const float *x, const float *y, const float *dy,
                           float *dx, size_t n) {
    if (fn->kind == LSTMC_FN_LINEAR) {
        for (size_t i = 0; i < n; i += V_WIDTH) {
            row_store(dx + i, v_flush(row_load(dy + i, n - i)), n - i);
        }
    } else if (lstmc_fn_is_quick(fn)) {
        BACK_LOOP(y, quick_slope(fn, a))
    } else {
        BACK_LOOP(x, train_slope(fn, a, a))
    }
}
