/* lstmc_fmaf(a, b, c): a * b + c with one rounding, on every machine and without libm.
 *
 * Where the compiler turns __builtin_fmaf into an instruction, that is used. Elsewhere the same
 * bits come from double arithmetic and "round to odd": S. Boldo, G. Melquiond, "Emulation of FMA
 * and correctly rounded sums: proved algorithms using rounding to odd", IEEE Trans. Comp. 57(4),
 * 2008.
 *
 *   p = a * b     exact: 24 + 24 bits fit in 53, and the exponents of double are wide enough
 *   s = p + c     rounded to double; nearly always the float nearest to s is the answer
 *
 * Rounding twice goes wrong only if s sits on the midpoint of two floats while p + c does not. For
 * normal results the last 29 bits of s are then 0x10000000; among subnormals the midpoints are
 * elsewhere, and all of them count as suspects. For suspects:
 *
 *   s + e = p + c exactly (TwoSum, Knuth)
 *   if e != 0, s becomes whichever double next to the exact sum has an odd last bit
 *   the float nearest to s is then the float nearest to p + c: 53 >= 24 + 2, in subnormals too
 *
 * A compiler that contracts p + c or s - p into an fma changes nothing, since p is exact.
 *
 * Where double arithmetic is a library's, the same bits come from integers (integer_fma.h).
 *
 * -DLSTMC_FAST_MAC computes a * b + c with two roundings where there is no fma instruction. That is
 * faster, and gives up the promise of the same bits everywhere.
 */
#ifndef LSTMC_SOFT_FMA_H
#define LSTMC_SOFT_FMA_H

#include <float.h>
#include <stdint.h>
#include <string.h>

#if defined(__FAST_MATH__) || defined(_M_FP_FAST) || defined(__ASSOCIATIVE_MATH__) ||              \
    defined(__RECIPROCAL_MATH__) || defined(__NO_SIGNED_ZEROS__)
#error "lstmc: compile without -ffast-math, -Ofast, /fp:fast: they change results and break NaN"
#endif
#if defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0
#error "lstmc: compile without -ffinite-math-only: NaN and infinity are part of the contract"
#endif
#if defined(__clang__)
/* Clang says nothing of -funsafe-math-optimizations, -freciprocal-math and the like: undo them. It
 * knows float_control only where it can do exceptions, and the last one from 18 on. */
#if defined(__x86_64__) || defined(__i386__) || defined(__aarch64__)
#pragma float_control(precise, on)
#else
#pragma clang fp reassociate(off) contract(off)
#if __clang_major__ >= 18
#pragma clang fp reciprocal(off)
#endif
#endif
#endif
/* 16 is GCC's and Clang's way to say "only _Float16 differs": float and double keep their width. */
#if !defined(FLT_EVAL_METHOD) || (FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16)
#error "lstmc: floats have a wider type: -mfpmath=sse -msse2 or -fexcess-precision=fast (s390x)"
#endif
#if FLT_RADIX != 2 || FLT_MANT_DIG != 24 || FLT_MAX_EXP != 128
#error "lstmc: float must be IEEE 754 binary32"
#endif

/* The instruction exists. GCC says so itself (__FP_FAST_FMAF); the others are for Clang. */
#if defined(__FP_FAST_FMAF) || defined(__FMA__) || defined(__aarch64__) ||                         \
    defined(__ARM_FEATURE_FMA) || (defined(__riscv_flen) && __riscv_flen >= 32)
#define LSTMC_HARD_FMA 1
#endif

/* No FPU, or one without double. */
#if !defined(LSTMC_HARD_FMA) && !defined(LSTMC_INTEGER_FMA)
#if DBL_MANT_DIG != 53 || (defined(__riscv) && !defined(__riscv_flen)) ||                          \
    (defined(__arm__) && !(defined(__ARM_FP) && (__ARM_FP & 8)))
#define LSTMC_INTEGER_FMA 1
#endif
#endif
#ifdef LSTMC_INTEGER_FMA
#include "integer_fma.h"
#endif

#if DBL_MANT_DIG == 53
static inline float lstmc_soft_fmaf(float a, float b, float c) {
    const double p = (double)a * (double)b, d = (double)c;
    double s = p + d;
    uint64_t bits, error;
    memcpy(&bits, &s, sizeof bits);
    /* A midpoint, or 0 < |s| < 2^-126. */
    if ((bits & 0x1fffffffu) == 0x10000000u || (bits << 1) - 1u < ((uint64_t)897 << 53) - 1u) {
        const double v = s - p, e = (p - (s - v)) + (d - v);
        /* A NaN makes e NaN: both comparisons are false, and s is the answer. */
        if (e < 0.0 || e > 0.0) {
            memcpy(&error, &e, sizeof error);
            /* Truncate (one less if e points towards zero), then set the last bit. */
            bits = (bits - ((bits ^ error) >> 63)) | 1u;
            memcpy(&s, &bits, sizeof s);
        }
    }
    return (float)s;
}
#endif

static inline float lstmc_fmaf(float a, float b, float c) {
#if defined(LSTMC_FAST_MAC) && !defined(LSTMC_HARD_FMA)
    return a * b + c;
#elif defined(LSTMC_HARD_FMA)
/* Clang calls libm's fmaf from __builtin_fmaf on bare metal under -fmath-errno; the elementwise one
 * never, but that is not there before 17. */
#if defined(__clang__) && defined(__has_builtin)
#if __has_builtin(__builtin_elementwise_fma)
#define LSTMC_ELEMENTWISE_FMA 1
#endif
#endif
#ifdef LSTMC_ELEMENTWISE_FMA
    return __builtin_elementwise_fma(a, b, c);
#elif defined(__clang__) && defined(__arm__)
    __asm__("vfma.f32 %0, %1, %2" : "+t"(c) : "t"(a), "t"(b));
    return c;
#elif defined(__clang__) && defined(__riscv)
    __asm__("fmadd.s %0, %1, %2, %3" : "=f"(c) : "f"(a), "f"(b), "f"(c));
    return c;
#else
    return __builtin_fmaf(a, b, c);
#endif
#elif defined(LSTMC_INTEGER_FMA)
    return lstmc_integer_fmaf(a, b, c);
#else
    return lstmc_soft_fmaf(a, b, c);
#endif
}

#if defined(__SSE2__) || defined(_M_X64) || (defined(_M_IX86_FP) && _M_IX86_FP >= 2)
#include <emmintrin.h>

/* p + d for exact p, rounded to odd: the same steps as above. */
static inline __m128d lstmc_add_odd(__m128d p, __m128d d) {
    const __m128d s = _mm_add_pd(p, d), v = _mm_sub_pd(s, p);
    const __m128d e = _mm_add_pd(_mm_sub_pd(p, _mm_sub_pd(s, v)), _mm_sub_pd(d, v));
    const __m128d size = _mm_andnot_pd(_mm_set1_pd(-0.0), e);
    const __m128i inexact = _mm_castpd_si128(_mm_cmplt_pd(_mm_setzero_pd(), size));
    const __m128i one = _mm_and_si128(inexact, _mm_set_epi32(0, 1, 0, 1));
    const __m128i inward = _mm_srli_epi64(_mm_castpd_si128(_mm_xor_pd(s, e)), 63);
    const __m128i cut = _mm_sub_epi64(_mm_castpd_si128(s), _mm_and_si128(inward, one));
    return _mm_castsi128_pd(_mm_or_si128(cut, one));
}

static inline __m128 lstmc_soft_fma_ps(__m128 a, __m128 b, __m128 c) {
    const __m128d p0 = _mm_mul_pd(_mm_cvtps_pd(a), _mm_cvtps_pd(b));
    const __m128d p1 =
        _mm_mul_pd(_mm_cvtps_pd(_mm_movehl_ps(a, a)), _mm_cvtps_pd(_mm_movehl_ps(b, b)));
    const __m128d d0 = _mm_cvtps_pd(c), d1 = _mm_cvtps_pd(_mm_movehl_ps(c, c));
    __m128d s0 = _mm_add_pd(p0, d0), s1 = _mm_add_pd(p1, d1);
    /* The four low and the four high words, and the same two questions as above. */
    const __m128 words0 = _mm_castpd_ps(s0), words1 = _mm_castpd_ps(s1);
    const __m128i low = _mm_castps_si128(_mm_shuffle_ps(words0, words1, _MM_SHUFFLE(2, 0, 2, 0)));
    const __m128i high = _mm_castps_si128(_mm_shuffle_ps(words0, words1, _MM_SHUFFLE(3, 1, 3, 1)));
    const __m128i middle =
        _mm_cmpeq_epi32(_mm_and_si128(low, _mm_set1_epi32(0x1fffffff)), _mm_set1_epi32(0x10000000));
    /* 0 < x < 897 * 2^20 in one comparison: adding 2^31 - 1 makes 0 the largest of all. */
    const __m128i most = _mm_set1_epi32(0x7fffffff);
    const __m128i tiny = _mm_cmplt_epi32(_mm_add_epi32(_mm_and_si128(high, most), most),
                                         _mm_set1_epi32((897 << 20) - 1 - 0x7fffffff - 1));
    if (_mm_movemask_epi8(_mm_or_si128(middle, tiny))) {
        s0 = lstmc_add_odd(p0, d0);
        s1 = lstmc_add_odd(p1, d1);
    }
    return _mm_movelh_ps(_mm_cvtpd_ps(s0), _mm_cvtpd_ps(s1));
}
#endif

#endif
