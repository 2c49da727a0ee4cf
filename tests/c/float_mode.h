/* For tests that run with a floating-point mode which a careless caller might leave: subnormals are
 * flushed and results rounded towards zero, where the machine can. */
#ifndef FLOAT_MODE_H
#define FLOAT_MODE_H

#if defined(__SSE2__)
#include <xmmintrin.h>
#define HAS_FLOAT_MODE 1
#elif defined(__aarch64__) || (defined(__arm__) && defined(__ARM_FP)) || defined(__riscv_flen)
#define HAS_FLOAT_MODE 1
#else
#define HAS_FLOAT_MODE 0
#endif

/* Set that mode, or with 0 the default; returns what was set of it before. */
static inline unsigned long float_mode(int hostile) {
    unsigned long before = 0;
#if defined(__SSE2__)
    const unsigned long bits = 0xe040; /* FTZ, RZ, DAZ */
    const unsigned long csr = _mm_getcsr();
    _mm_setcsr((unsigned)(hostile ? csr | bits : csr & ~bits));
    before = csr & bits;
#elif defined(__riscv_flen)
    const unsigned long mode = hostile ? 1 : 0; /* RTZ */
    __asm__ volatile("fsrm %0, %1" : "=r"(before) : "r"(mode));
#elif defined(__arm__) && defined(__ARM_FP)
    const unsigned long bits = 7ul << 22; /* FZ, RZ */
    __asm__ volatile("vmrs %0, fpscr" : "=r"(before));
    const unsigned long mode = hostile ? before | bits : before & ~bits;
    __asm__ volatile("vmsr fpscr, %0" : : "r"(mode));
    before &= bits;
#elif defined(__aarch64__)
    const unsigned long mode = hostile ? 7ul << 22 : 0;
    __asm__ volatile("mrs %0, fpcr\n\tmsr fpcr, %1" : "=&r"(before) : "r"(mode));
#else
    (void)hostile;
#endif
    return before;
}

#endif
