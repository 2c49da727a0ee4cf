/* Elementwise functions by their codes (lstmc_fn_kind), over vmath*.h. The formulas are in lstmc.h.
 *
 * v_fn_quick has the six functions that layers nearly always use; v_fn_other has the rest,
 * once per target. A call out of a tile would cost its registers, so products are stored as they are,
 * and a function goes over them.
 */
#ifndef LSTMC_ACTIVATIONS_H
#define LSTMC_ACTIVATIONS_H

#include "vmath_erf.h"
#include "vmath_log.h"

V_INLINE v_f32 v_fn_quick(const lstmc_fn *fn, v_f32 x) {
    switch (fn->kind) {
    case LSTMC_FN_SIGMOID: return v_sigmoid(x);
    case LSTMC_FN_TANH: return v_tanh(x);
    case LSTMC_FN_RELU: return v_max(v_set1(0.0f), x);
    case LSTMC_FN_HARD_SIGMOID:
        x = v_fma(v_set1(fn->alpha), x, v_set1(fn->beta));
        return v_max(v_set1(0.0f), v_min(v_set1(1.0f), x));
    case LSTMC_FN_EXPONENTIAL: return v_exp(x);
    default: return x;
    }
}

/* Infinity becomes the largest float, which 0 may be multiplied with; NaN stays. */
static inline v_f32 v_finite(v_f32 x) { return v_max(v_set1(-FLT_MAX), v_min(v_set1(FLT_MAX), x)); }

/* 0, or NaN where x is; x is not +infinity. */
static inline v_f32 v_zero_or_nan(v_f32 x) { return v_if_lt(x, v_set1(INFINITY), v_set1(0.0f), x); }

static inline v_f32 v_hard_silu(v_f32 alpha, v_f32 beta, v_f32 x) {
    const v_f32 zero = v_set1(0.0f);
    const v_f32 line = v_fma(alpha, v_finite(x), beta);
    const v_f32 gate = v_max(zero, v_min(v_set1(1.0f), line));
    return v_if_lt(zero, gate, v_mul(x, gate), gate); /* not -infinity times 0 */
}

/* (x + y) / 2, y = sqrt(x^2 + b); b / 4 / (y / 2 - x / 2) does not cancel below 0. Where x^2 could
 * overflow, b (at most 2^60) is nothing to it. */
static inline v_f32 v_squareplus(v_f32 b, v_f32 x) {
    const v_f32 half = v_set1(0.5f), size = v_abs(x);
    const v_f32 root = v_if_lt(size, v_set1(0x1p62f), v_sqrt(v_fma(x, x, b)), size);
    const v_f32 y = v_mul(half, root);
    const v_f32 below = v_div(v_mul(v_set1(0.25f), b), v_fnma(half, x, y));
    return v_if_lt(x, v_set1(0.0f), below, v_fma(half, x, y));
}

/* 0 up to -1, x from 1 on, (x + 1)^2 / 4 between. */
static inline v_f32 v_sparse_plus(v_f32 x) {
    const v_f32 one = v_set1(1.0f), half = v_fma(v_set1(0.5f), x, v_set1(0.5f));
    const v_f32 middle = v_if_lt(x, one, v_mul(half, half), x);
    return v_if_lt(v_set1(-1.0f), x, middle, v_zero_or_nan(x));
}

/* x times 2^126 for subnormal x, by integers: what a machine that takes them as 0 can still tell apart.
 * Its bits, with the exponent of 1 put in, are those of 1 + 2^126 x. */
static inline v_f32 v_grown(v_f32 x) {
    const v_f32 more = v_scale2(v_abs(x), v_set1(LSTMC_ROUND + 127.0f));
    return v_xorsign(v_sub(more, v_set1(1.0f)), x);
}

/* A subnormal argument counts as 0, except where numbers are told apart (sign, not_equal): so the
 * result is the same where the machine takes it as 0. */
V_APART v_f32 v_fn_other(const lstmc_fn *fn, v_f32 given) {
    const v_f32 zero = v_set1(0.0f), one = v_set1(1.0f), infinity = v_set1(INFINITY);
    const v_f32 alpha = v_set1(fn->alpha), beta = v_set1(fn->beta);
    const v_f32 size = v_abs(given), tiny = v_set1(0x1p-126f);
    const v_f32 x = v_if_lt(size, tiny, zero, given);
    v_f32 y = x;
    switch (fn->kind) {
    case LSTMC_FN_AFFINE: y = v_fma(alpha, fn->alpha != 0.0f ? x : v_finite(x), beta); break;
    case LSTMC_FN_LEAKY_RELU:
        y = fn->alpha != 0.0f ? v_mul(alpha, v_sub(x, beta)) : v_zero_or_nan(x);
        y = v_if_lt(beta, x, x, y);
        break;
    case LSTMC_FN_THRESHOLDED_RELU: y = v_if_lt(alpha, x, x, v_zero_or_nan(x)); break;
    case LSTMC_FN_SCALED_TANH:
        y = v_mul(beta, fn->beta != 0.0f ? x : v_finite(x));
        y = v_mul(alpha, v_tanh(y));
        break;
    case LSTMC_FN_ELU: y = v_if_lt(x, zero, v_mul(alpha, v_expm1_below(x)), x); break;
    case LSTMC_FN_SOFTSIGN:
        y = v_min(v_set1(0x1p60f), size);
        y = v_xorsign(v_div(y, v_add(one, y)), x);
        break;
    case LSTMC_FN_SOFTPLUS: y = v_softplus(x); break;
    case LSTMC_FN_SELU: y = v_mul(beta, v_if_lt(x, zero, v_mul(alpha, v_expm1_below(x)), x)); break;
    case LSTMC_FN_GELU: y = v_gelu(x); break;
    case LSTMC_FN_GELU_TANH: y = v_gelu_tanh(x); break;
    case LSTMC_FN_SILU: {
        const v_f32 a = v_finite(x), u = v_mul(alpha, a);
        y = v_times_sigmoid(x, u, v_fma(alpha, a, v_neg(u)));
        break;
    }
    case LSTMC_FN_MISH: y = v_mish(x); break;
    case LSTMC_FN_HARD_SILU: y = v_hard_silu(alpha, beta, x); break;
    case LSTMC_FN_LOG_SIGMOID: y = v_neg(v_softplus(v_neg(x))); break;
    case LSTMC_FN_CELU:
        y = v_if_lt(x, zero, v_mul(alpha, v_expm1_below(v_div(x, alpha))), x);
        break;
    case LSTMC_FN_TANH_SHRINK: y = v_tanh_shrink(x); break;
    case LSTMC_FN_SOFT_SHRINK:
        y = v_if_lt(alpha, size, v_xorsign(v_sub(size, alpha), x), v_zero_or_nan(x));
        break;
    case LSTMC_FN_HARD_SHRINK: y = v_if_lt(alpha, size, x, v_zero_or_nan(x)); break;
    case LSTMC_FN_SQUAREPLUS: y = v_squareplus(alpha, x); break;
    case LSTMC_FN_SPARSE_PLUS: y = v_sparse_plus(x); break;
    case LSTMC_FN_SPARSE_SIGMOID:
        y = v_max(zero, v_min(one, v_fma(v_set1(0.5f), x, v_set1(0.5f))));
        break;
    case LSTMC_FN_CLIP: y = v_min(beta, v_max(alpha, x)); break;
    case LSTMC_FN_ABS: y = size; break;
    case LSTMC_FN_SQRT: y = v_sqrt(x); break;
    case LSTMC_FN_SQUARE: y = v_mul(x, x); break;
    case LSTMC_FN_RECIPROCAL:
        y = v_if_lt(size, tiny, v_xorsign(infinity, given), v_div(one, x));
        break;
    case LSTMC_FN_LOG: y = v_log(x); break;
    case LSTMC_FN_ERF: y = v_erf(x); break;
    case LSTMC_FN_SIGN:
        y = v_if_lt(size, tiny, v_grown(given), given);
        y = v_if_lt(y, zero, v_set1(-1.0f), v_if_lt(zero, y, one, y));
        break;
    case LSTMC_FN_NOT_EQUAL: {
        /* What is neither below nor above nor infinite is alpha, or NaN. */
        const v_f32 both = v_if_lt(v_abs(alpha), tiny, size, one); /* below tiny? */
        const v_f32 a = v_if_lt(both, tiny, v_grown(alpha), alpha);
        const v_f32 b = v_if_lt(both, tiny, v_grown(given), given);
        y = v_if_lt(size, infinity, zero, one);
        y = v_if_lt(b, a, one, v_if_lt(a, b, one, y));
        break;
    }
    default: break;
    }
    return v_if_lt(v_abs(y), tiny, zero, y);
}

V_INLINE v_f32 v_fn(const lstmc_fn *fn, v_f32 x) {
#ifdef LSTMC_ONLY_QUICK /* firmware without any other */
    return v_fn_quick(fn, x);
#else
    return lstmc_fn_is_quick(fn) ? v_fn_quick(fn, x) : v_fn_other(fn, x);
#endif
}

#endif
