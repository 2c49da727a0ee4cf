/* The vector operations on WebAssembly SIMD: what each must do is said in vec_scalar.h.
 *
 * There is no fma (the relaxed one may round twice): it is made of doubles, as soft_fma.h explains. */
#ifdef V_WIDTH
#error "lstmc: two vector targets in one translation unit"
#endif
#define V_WIDTH 4

#include "soft_fma.h"
#include <stddef.h>
#include <wasm_simd128.h>

typedef v128_t v_f32;

static inline v_f32 v_load(const float *p) { return wasm_v128_load(p); }
static inline void v_store(float *p, v_f32 a) { wasm_v128_store(p, a); }

static inline v_f32 v_load_n(const float *p, size_t n) {
    if (n == 4) return wasm_v128_load(p);
    if (n == 1) return wasm_v128_load32_zero(p);
    const v_f32 low = wasm_v128_load64_zero(p);
    return n == 2 ? low : wasm_v128_load32_lane(p + 2, low, 2);
}
static inline void v_store_n(float *p, v_f32 a, size_t n) {
    if (n == 4) {
        wasm_v128_store(p, a);
    } else if (n == 1) {
        wasm_v128_store32_lane(p, a, 0);
    } else {
        wasm_v128_store64_lane(p, a, 0);
        if (n == 3) wasm_v128_store32_lane(p + 2, a, 2);
    }
}

static inline v_f32 v_set1(float a) { return wasm_f32x4_splat(a); }
static inline v_f32 v_add(v_f32 a, v_f32 b) { return wasm_f32x4_add(a, b); }
static inline v_f32 v_sub(v_f32 a, v_f32 b) { return wasm_f32x4_sub(a, b); }
static inline v_f32 v_mul(v_f32 a, v_f32 b) { return wasm_f32x4_mul(a, b); }
static inline v_f32 v_div(v_f32 a, v_f32 b) { return wasm_f32x4_div(a, b); }
static inline v_f32 v_sqrt(v_f32 a) { return wasm_f32x4_sqrt(a); }
static inline v_f32 v_abs(v_f32 a) { return wasm_f32x4_abs(a); }
static inline v_f32 v_neg(v_f32 a) { return wasm_f32x4_neg(a); }

#ifdef LSTMC_FAST_MAC
static inline v_f32 v_fma(v_f32 a, v_f32 b, v_f32 c) { return v_add(v_mul(a, b), c); }
#else
/* Lanes 0 and 1 as doubles; lanes 2 and 3. */
static inline v128_t wasm_low(v_f32 a) { return wasm_f64x2_promote_low_f32x4(a); }
static inline v128_t wasm_high(v_f32 a) {
    return wasm_f64x2_promote_low_f32x4(wasm_i32x4_shuffle(a, a, 2, 3, 2, 3));
}

/* Whether s is where rounding twice may go wrong: a midpoint, or 0 < |s| < 2^-126. */
static inline v128_t wasm_suspects(v128_t s) {
    const v128_t tail = wasm_v128_and(s, wasm_i64x2_splat(0x1fffffff));
    const v128_t small = wasm_f64x2_lt(wasm_f64x2_abs(s), wasm_f64x2_splat(0x1p-126));
    const v128_t zero = wasm_f64x2_eq(s, wasm_f64x2_splat(0.0));
    return wasm_v128_or(wasm_i64x2_eq(tail, wasm_i64x2_splat(0x10000000)),
                        wasm_v128_andnot(small, zero));
}

/* p + d for exact p, rounded to odd. */
static inline v128_t wasm_add_odd(v128_t p, v128_t d) {
    const v128_t s = wasm_f64x2_add(p, d), v = wasm_f64x2_sub(s, p);
    const v128_t e = wasm_f64x2_add(wasm_f64x2_sub(p, wasm_f64x2_sub(s, v)), wasm_f64x2_sub(d, v));
    const v128_t inexact = wasm_f64x2_gt(wasm_f64x2_abs(e), wasm_f64x2_splat(0.0));
    const v128_t one = wasm_v128_and(inexact, wasm_i64x2_splat(1));
    const v128_t inward = wasm_v128_and(wasm_u64x2_shr(wasm_v128_xor(s, e), 63), one);
    return wasm_v128_or(wasm_i64x2_sub(s, inward), one);
}

static inline v_f32 v_fma(v_f32 a, v_f32 b, v_f32 c) {
    const v128_t p0 = wasm_f64x2_mul(wasm_low(a), wasm_low(b));
    const v128_t p1 = wasm_f64x2_mul(wasm_high(a), wasm_high(b));
    const v128_t d0 = wasm_low(c), d1 = wasm_high(c);
    v128_t s0 = wasm_f64x2_add(p0, d0), s1 = wasm_f64x2_add(p1, d1);
    if (wasm_v128_any_true(wasm_v128_or(wasm_suspects(s0), wasm_suspects(s1)))) {
        s0 = wasm_add_odd(p0, d0);
        s1 = wasm_add_odd(p1, d1);
    }
    s0 = wasm_f32x4_demote_f64x2_zero(s0);
    s1 = wasm_f32x4_demote_f64x2_zero(s1);
    return wasm_i32x4_shuffle(s0, s1, 0, 1, 4, 5);
}
#endif
static inline v_f32 v_fnma(v_f32 a, v_f32 b, v_f32 c) { return v_fma(v_neg(a), b, c); }

/* "Pseudo-minimum": the second operand if it is smaller, else the first. Ours with operands swapped. */
static inline v_f32 v_min(v_f32 a, v_f32 b) { return wasm_f32x4_pmin(b, a); }
static inline v_f32 v_max(v_f32 a, v_f32 b) { return wasm_f32x4_pmax(b, a); }

static inline v_f32 v_if_lt(v_f32 a, v_f32 b, v_f32 x, v_f32 y) {
    return wasm_v128_bitselect(x, y, wasm_f32x4_lt(a, b));
}
static inline v_f32 v_xorsign(v_f32 a, v_f32 s) {
    return wasm_v128_xor(a, wasm_v128_and(s, wasm_f32x4_splat(-0.0f)));
}
static inline v_f32 v_scale2(v_f32 p, v_f32 t) { return wasm_i32x4_add(p, wasm_i32x4_shl(t, 23)); }
static inline v_f32 v_exponent(v_f32 a) {
    return wasm_f32x4_convert_u32x4(
        wasm_u32x4_shr(wasm_i32x4_add(a, wasm_i32x4_splat(0x4afb0d)), 23));
}
