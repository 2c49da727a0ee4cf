/* The vector operations on AVX-512 (F, DQ): what each must do is said in vec_scalar.h. */
#ifdef V_WIDTH
#error "lstmc: two vector targets in one translation unit"
#endif
#define V_WIDTH 16

#include "soft_fma.h" /* refuses -ffast-math and its like */
#include <immintrin.h>
#include <stddef.h>

typedef __m512 v_f32;

static inline v_f32 v_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void v_store(float *p, v_f32 a) { _mm512_storeu_ps(p, a); }

static inline __mmask16 v_first(size_t n) { return (__mmask16)((1u << n) - 1u); }
static inline v_f32 v_load_n(const float *p, size_t n) {
    return _mm512_maskz_loadu_ps(v_first(n), p);
}
static inline void v_store_n(float *p, v_f32 a, size_t n) {
    _mm512_mask_storeu_ps(p, v_first(n), a);
}

static inline v_f32 v_set1(float a) { return _mm512_set1_ps(a); }
static inline v_f32 v_add(v_f32 a, v_f32 b) { return _mm512_add_ps(a, b); }
static inline v_f32 v_sub(v_f32 a, v_f32 b) { return _mm512_sub_ps(a, b); }
static inline v_f32 v_mul(v_f32 a, v_f32 b) { return _mm512_mul_ps(a, b); }
static inline v_f32 v_div(v_f32 a, v_f32 b) { return _mm512_div_ps(a, b); }
static inline v_f32 v_fma(v_f32 a, v_f32 b, v_f32 c) { return _mm512_fmadd_ps(a, b, c); }
static inline v_f32 v_fnma(v_f32 a, v_f32 b, v_f32 c) { return _mm512_fnmadd_ps(a, b, c); }

/* Written with a full mask: GCC 12's unmasked forms pass an uninitialised vector and warn of it.
 * The instructions return their second operand if either is NaN or both are zero: our rule. */
static inline v_f32 v_min(v_f32 a, v_f32 b) { return _mm512_maskz_min_ps(0xffffu, a, b); }
static inline v_f32 v_max(v_f32 a, v_f32 b) { return _mm512_maskz_max_ps(0xffffu, a, b); }
static inline v_f32 v_sqrt(v_f32 a) { return _mm512_maskz_sqrt_ps(0xffffu, a); }

static inline v_f32 v_if_lt(v_f32 a, v_f32 b, v_f32 x, v_f32 y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}

static inline v_f32 v_abs(v_f32 a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
static inline v_f32 v_neg(v_f32 a) { return _mm512_xor_ps(_mm512_set1_ps(-0.0f), a); }
static inline v_f32 v_xorsign(v_f32 a, v_f32 s) {
    return _mm512_xor_ps(a, _mm512_and_ps(s, _mm512_set1_ps(-0.0f)));
}
static inline v_f32 v_scale2(v_f32 p, v_f32 t) {
    const __m512i n = _mm512_maskz_slli_epi32(0xffffu, _mm512_castps_si512(t), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), n));
}
static inline v_f32 v_exponent(v_f32 a) {
    const __m512i sum = _mm512_add_epi32(_mm512_castps_si512(a), _mm512_set1_epi32(0x4afb0d));
    return _mm512_maskz_cvtepi32_ps(0xffffu, _mm512_maskz_srli_epi32(0xffffu, sum, 23));
}
