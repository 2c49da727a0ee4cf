/* lstmc_sqrtf(a): the square root, correctly rounded as IEEE 754 says, on every machine and without
 * libm (compilers call sqrtf to set errno for a < 0, even where there is an instruction).
 *
 * x86 and AArch64 have the instruction as an intrinsic, Arm and RISC-V with an FPU by its name. Elsewhere
 * the root comes bit by bit out of integers: few layers need one, and then one for a whole vector.
 */
#ifndef LSTMC_SOFT_SQRT_H
#define LSTMC_SOFT_SQRT_H

#include "soft_fma.h" /* stdint.h, string.h, emmintrin.h */

#if defined(__aarch64__) && defined(__ARM_NEON)
#include <arm_neon.h>
#endif

static inline float lstmc_soft_sqrtf(float a) {
    uint32_t bits;
    memcpy(&bits, &a, sizeof bits);
    if ((bits << 1) == 0 || bits == 0x7f800000u) return a; /* -0 too, as the instructions do */
    if (bits > 0x7f800000u) {                              /* negative or NaN */
        bits = 0x7fc00000u;
    } else {
        /* a = m * 2^(e - 150), m of 24 bits. Where e is even m takes one bit more, so that the
         * root of m * 2^25 has 25 bits and is the mantissa with one bit behind it. */
        uint32_t m = bits & 0x7fffffu, e = bits >> 23, root = 0;
        int32_t exponent = (int32_t)e;
        if (e) {
            m |= 0x800000u;
        } else {
            exponent = 1;
            for (; m < 0x800000u; exponent--) m <<= 1;
        }
        if ((exponent & 1) == 0) {
            m <<= 1;
            exponent--;
        }
        const uint64_t square = (uint64_t)m << 25;
        for (uint32_t bit = (uint32_t)1 << 24; bit; bit >>= 1) {
            const uint32_t larger = root | bit;
            if ((uint64_t)larger * larger <= square) root = larger;
        }
        /* No root lies on the midpoint of two floats: its square would be odd, and this one isn't.
         * A carry to 2^24 moves into the exponent by itself. */
        bits = ((uint32_t)((exponent + 125) / 2) << 23) + ((root + 1) >> 1);
    }
    memcpy(&a, &bits, sizeof a);
    return a;
}

static inline float lstmc_sqrtf(float a) {
#if defined(__SSE2__) || defined(_M_X64) || (defined(_M_IX86_FP) && _M_IX86_FP >= 2)
    return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(a)));
#elif defined(__aarch64__) && defined(__ARM_NEON)
    return vget_lane_f32(vsqrt_f32(vdup_n_f32(a)), 0);
#elif defined(__arm__) && defined(__ARM_FP) && (__ARM_FP & 4) && defined(__GNUC__)
    __asm__("vsqrt.f32 %0, %0" : "+t"(a));
    return a;
#elif defined(__riscv_flen) && __riscv_flen >= 32 && defined(__GNUC__)
    __asm__("fsqrt.s %0, %0" : "+f"(a));
    return a;
#else
    return lstmc_soft_sqrtf(a);
#endif
}

#endif
