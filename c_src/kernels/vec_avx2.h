/* The vector operations on AVX2 with FMA: what each must do is said in vec_scalar.h. */
#ifdef V_WIDTH
#error "lstmc: two vector targets in one translation unit"
#endif
#define V_WIDTH 8

#include "soft_fma.h" /* refuses -ffast-math and its like */
#include <immintrin.h>
#include <stddef.h>

typedef __m256 v_f32;

static inline v_f32 v_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void v_store(float *p, v_f32 a) { _mm256_storeu_ps(p, a); }

static inline __m256i v_first(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline v_f32 v_load_n(const float *p, size_t n) { return _mm256_maskload_ps(p, v_first(n)); }
/* Piece by piece: a masked store takes twelve cycles on AMD's CPUs. */
static inline void v_store_n(float *p, v_f32 a, size_t n) {
    __m128 rest = _mm256_castps256_ps128(a);
    if (n >= 8) {
        _mm256_storeu_ps(p, a);
        return;
    }
    if (n & 4) {
        _mm_storeu_ps(p, rest);
        rest = _mm256_extractf128_ps(a, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)(void *)p, rest);
        rest = _mm_movehl_ps(rest, rest);
        p += 2;
    }
    if (n & 1) _mm_store_ss(p, rest);
}

static inline v_f32 v_set1(float a) { return _mm256_set1_ps(a); }
static inline v_f32 v_add(v_f32 a, v_f32 b) { return _mm256_add_ps(a, b); }
static inline v_f32 v_sub(v_f32 a, v_f32 b) { return _mm256_sub_ps(a, b); }
static inline v_f32 v_mul(v_f32 a, v_f32 b) { return _mm256_mul_ps(a, b); }
static inline v_f32 v_div(v_f32 a, v_f32 b) { return _mm256_div_ps(a, b); }
static inline v_f32 v_sqrt(v_f32 a) { return _mm256_sqrt_ps(a); }
static inline v_f32 v_fma(v_f32 a, v_f32 b, v_f32 c) { return _mm256_fmadd_ps(a, b, c); }
static inline v_f32 v_fnma(v_f32 a, v_f32 b, v_f32 c) { return _mm256_fnmadd_ps(a, b, c); }

/* The instructions return their second operand if either is NaN or both are zero: our rule. */
static inline v_f32 v_min(v_f32 a, v_f32 b) { return _mm256_min_ps(a, b); }
static inline v_f32 v_max(v_f32 a, v_f32 b) { return _mm256_max_ps(a, b); }

static inline v_f32 v_if_lt(v_f32 a, v_f32 b, v_f32 x, v_f32 y) {
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

static inline v_f32 v_abs(v_f32 a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
static inline v_f32 v_neg(v_f32 a) { return _mm256_xor_ps(_mm256_set1_ps(-0.0f), a); }
static inline v_f32 v_xorsign(v_f32 a, v_f32 s) {
    return _mm256_xor_ps(a, _mm256_and_ps(s, _mm256_set1_ps(-0.0f)));
}
static inline v_f32 v_scale2(v_f32 p, v_f32 t) {
    return _mm256_castsi256_ps(
        _mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(t), 23)));
}
static inline v_f32 v_exponent(v_f32 a) {
    const __m256i sum = _mm256_add_epi32(_mm256_castps_si256(a), _mm256_set1_epi32(0x4afb0d));
    return _mm256_cvtepi32_ps(_mm256_srli_epi32(sum, 23));
}
