/* The vector operations on SSE2: what each must do is said in vec_scalar.h. */
#ifdef V_WIDTH
#error "lstmc: two vector targets in one translation unit"
#endif
#define V_WIDTH 4

#include "soft_fma.h"
#include <stddef.h>
#ifdef __FMA__
#include <immintrin.h>
#endif

typedef __m128 v_f32;

static inline v_f32 v_load(const float *p) { return _mm_loadu_ps(p); }
static inline void v_store(float *p, v_f32 a) { _mm_storeu_ps(p, a); }

static inline v_f32 v_load_n(const float *p, size_t n) {
    __m128 low;
    if (n == 4) return _mm_loadu_ps(p);
    if (n == 1) return _mm_load_ss(p);
    low = _mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)(const void *)p));
    return n == 2 ? low : _mm_movelh_ps(low, _mm_load_ss(p + 2));
}
static inline void v_store_n(float *p, v_f32 a, size_t n) {
    if (n == 4) {
        _mm_storeu_ps(p, a);
    } else if (n == 1) {
        _mm_store_ss(p, a);
    } else {
        _mm_storel_epi64((__m128i *)(void *)p, _mm_castps_si128(a));
        if (n == 3) _mm_store_ss(p + 2, _mm_movehl_ps(a, a));
    }
}

static inline v_f32 v_set1(float a) { return _mm_set1_ps(a); }
static inline v_f32 v_add(v_f32 a, v_f32 b) { return _mm_add_ps(a, b); }
static inline v_f32 v_sub(v_f32 a, v_f32 b) { return _mm_sub_ps(a, b); }
static inline v_f32 v_mul(v_f32 a, v_f32 b) { return _mm_mul_ps(a, b); }
static inline v_f32 v_div(v_f32 a, v_f32 b) { return _mm_div_ps(a, b); }
static inline v_f32 v_sqrt(v_f32 a) { return _mm_sqrt_ps(a); }

static inline v_f32 v_abs(v_f32 a) { return _mm_andnot_ps(_mm_set1_ps(-0.0f), a); }
static inline v_f32 v_neg(v_f32 a) { return _mm_xor_ps(_mm_set1_ps(-0.0f), a); }

static inline v_f32 v_fma(v_f32 a, v_f32 b, v_f32 c) {
#if defined(__FMA__)
    return _mm_fmadd_ps(a, b, c);
#elif defined(LSTMC_FAST_MAC)
    return _mm_add_ps(_mm_mul_ps(a, b), c);
#else
    return lstmc_soft_fma_ps(a, b, c);
#endif
}
static inline v_f32 v_fnma(v_f32 a, v_f32 b, v_f32 c) { return v_fma(v_neg(a), b, c); }

/* The instructions return their second operand if either is NaN or both are zero: our rule. */
static inline v_f32 v_min(v_f32 a, v_f32 b) { return _mm_min_ps(a, b); }
static inline v_f32 v_max(v_f32 a, v_f32 b) { return _mm_max_ps(a, b); }

static inline v_f32 v_if_lt(v_f32 a, v_f32 b, v_f32 x, v_f32 y) {
    const __m128 mask = _mm_cmplt_ps(a, b);
    return _mm_or_ps(_mm_and_ps(mask, x), _mm_andnot_ps(mask, y));
}

static inline v_f32 v_xorsign(v_f32 a, v_f32 s) {
    return _mm_xor_ps(a, _mm_and_ps(s, _mm_set1_ps(-0.0f)));
}
static inline v_f32 v_scale2(v_f32 p, v_f32 t) {
    return _mm_castsi128_ps(
        _mm_add_epi32(_mm_castps_si128(p), _mm_slli_epi32(_mm_castps_si128(t), 23)));
}
static inline v_f32 v_exponent(v_f32 a) {
    return _mm_cvtepi32_ps(
        _mm_srli_epi32(_mm_add_epi32(_mm_castps_si128(a), _mm_set1_epi32(0x4afb0d)), 23));
}
