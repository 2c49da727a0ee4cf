/* The vector operations of the target that -DSWEEP_TARGET_... names, scalar if none. Functions between
 * this and a second inclusion with VEC_TARGET_END defined are compiled for it; then from_bits and to_bits. */
#ifndef VEC_TARGET_END

/* Before the target pragmas: GCC gives intrinsics the target they are first declared under, and
 * then refuses to inline them into functions compiled for less. */
#include "soft_fma.h"
#include "soft_sqrt.h"

#include "kernels.h"

#if defined(SWEEP_TARGET_AVX2)
#define SWEEP_TARGET "avx2"
#define SWEEP_VEC "vec_avx2.h"
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#elif defined(SWEEP_TARGET_AVX512)
#define SWEEP_TARGET "avx512"
#define SWEEP_VEC "vec_avx512.h"
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,fma"))),    \
                             apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,fma")
#endif
#elif defined(SWEEP_TARGET_SSE2)
#define SWEEP_TARGET "sse2"
#define SWEEP_VEC "vec_sse2.h"
#elif defined(SWEEP_TARGET_NEON)
#define SWEEP_TARGET "neon"
#define SWEEP_VEC "vec_neon.h"
#elif defined(SWEEP_TARGET_HELIUM)
#define SWEEP_TARGET "helium"
#define SWEEP_VEC "vec_helium.h"
#elif defined(SWEEP_TARGET_WASM)
#define SWEEP_TARGET "wasm"
#define SWEEP_VEC "vec_wasm.h"
#elif defined(SWEEP_TARGET_RVV)
#define SWEEP_TARGET "rvv"
#define SWEEP_VEC "vec_rvv.h"
#else
#define SWEEP_TARGET "scalar"
#define SWEEP_VEC "vec_scalar.h"
#endif

#include SWEEP_VEC

#else

#if defined(SWEEP_TARGET_AVX2) || defined(SWEEP_TARGET_AVX512)
#ifdef __clang__
#pragma clang attribute pop
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif
#endif

static float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t to_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

#endif
