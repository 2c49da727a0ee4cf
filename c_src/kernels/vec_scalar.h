/* The vector operations for one lane: plain C, for any machine. Include one vec_*.h per file. */
#ifdef V_WIDTH
#error "lstmc: two vector targets in one translation unit"
#endif
#define V_WIDTH 1

#include "soft_fma.h"
#include "soft_sqrt.h"
#include <stddef.h>

typedef float v_f32;

static inline v_f32 v_load(const float *p) { return *p; }
static inline void v_store(float *p, v_f32 a) { *p = a; }

/* The first n lanes, 1 <= n <= V_WIDTH: nothing behind them is touched, other lanes load as 0. */
static inline v_f32 v_load_n(const float *p, size_t n) {
    (void)n;
    return *p;
}
static inline void v_store_n(float *p, v_f32 a, size_t n) {
    (void)n;
    *p = a;
}

static inline v_f32 v_set1(float a) { return a; }
static inline v_f32 v_add(v_f32 a, v_f32 b) { return a + b; }
static inline v_f32 v_sub(v_f32 a, v_f32 b) { return a - b; }
static inline v_f32 v_mul(v_f32 a, v_f32 b) { return a * b; }
static inline v_f32 v_div(v_f32 a, v_f32 b) { return a / b; }

/* Correctly rounded; NaN below zero. */
static inline v_f32 v_sqrt(v_f32 a) { return lstmc_sqrtf(a); }

/* a * b + c and c - a * b, rounded once. */
static inline v_f32 v_fma(v_f32 a, v_f32 b, v_f32 c) { return lstmc_fmaf(a, b, c); }
static inline v_f32 v_fnma(v_f32 a, v_f32 b, v_f32 c) { return lstmc_fmaf(-a, b, c); }

/* Exactly these expressions on every target: b when b is NaN, b when both are zero. */
static inline v_f32 v_min(v_f32 a, v_f32 b) { return a < b ? a : b; }
static inline v_f32 v_max(v_f32 a, v_f32 b) { return a > b ? a : b; }

/* a < b ? x : y; false when a or b is NaN. */
static inline v_f32 v_if_lt(v_f32 a, v_f32 b, v_f32 x, v_f32 y) { return a < b ? x : y; }

static inline uint32_t v_bits(v_f32 a) {
    uint32_t bits;
    memcpy(&bits, &a, sizeof bits);
    return bits;
}
static inline v_f32 v_from_bits(uint32_t bits) {
    v_f32 a;
    memcpy(&a, &bits, sizeof a);
    return a;
}

static inline v_f32 v_abs(v_f32 a) { return v_from_bits(v_bits(a) & 0x7fffffffu); }
static inline v_f32 v_neg(v_f32 a) { return v_from_bits(v_bits(a) ^ 0x80000000u); }

/* a, negated where the sign bit of s is set. */
static inline v_f32 v_xorsign(v_f32 a, v_f32 s) {
    return v_from_bits(v_bits(a) ^ (v_bits(s) & 0x80000000u));
}

/* bits(p) + (bits(t) << 23): p * 2^n, when the low nine bits of t hold n and nothing over- or
 * underflows. */
static inline v_f32 v_scale2(v_f32 p, v_f32 t) {
    return v_from_bits(v_bits(p) + (v_bits(t) << 23));
}

/* For normal a > 0: k + 127 as a float, where a = m * 2^k and m is from sqrt(1/2) to sqrt(2). The
 * number added is 1 - sqrt(1/2) in bits. */
static inline v_f32 v_exponent(v_f32 a) { return (float)(int32_t)((v_bits(a) + 0x4afb0du) >> 23); }
