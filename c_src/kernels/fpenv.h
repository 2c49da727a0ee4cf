/* The floating-point mode: round to nearest, no flushing of subnormals, no traps.
 *
 * A host program may have set another mode (audio code likes flush-to-zero), and bits would change
 * with it. lstmc_run enters with the IEEE default and gives the caller's mode back. */
#ifndef LSTMC_FPENV_H
#define LSTMC_FPENV_H

#include <stdint.h>

#if defined(__SSE__) || defined(_M_X64)
#include <xmmintrin.h>

static inline uint32_t lstmc_fp_enter(void) {
    const uint32_t mode = _mm_getcsr();
    if ((mode & 0xffc0u) != 0x1f80u) _mm_setcsr(0x1f80u); /* all but the sticky flags */
    return mode;
}

static inline void lstmc_fp_leave(uint32_t mode) {
    if ((mode & 0xffc0u) != 0x1f80u) _mm_setcsr(mode);
}

#elif defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))

static inline uint32_t lstmc_fp_enter(void) {
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    if (mode) __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0) : "memory");
    return (uint32_t)mode; /* the upper half is reserved */
}

static inline void lstmc_fp_leave(uint32_t mode) {
    if (mode) __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)mode) : "memory");
}

#else

static inline uint32_t lstmc_fp_enter(void) { return 0; }
static inline void lstmc_fp_leave(uint32_t mode) { (void)mode; }

#endif

#endif
