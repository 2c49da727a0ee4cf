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

#elif defined(__arm__) && defined(__ARM_FP) && (defined(__GNUC__) || defined(__clang__))

/* AHP, DN, FZ, RMode, FZ16; on Armv8.1-M other bits are Helium's and must stay. */
#define LSTMC_FPSCR_MODE 0x07c80000u

static inline uint32_t lstmc_fp_enter(void) {
    uint32_t mode;
    __asm__ volatile("vmrs %0, fpscr" : "=r"(mode));
    if (mode & LSTMC_FPSCR_MODE) {
        __asm__ volatile("vmsr fpscr, %0" : : "r"(mode & ~LSTMC_FPSCR_MODE) : "memory");
    }
    return mode & LSTMC_FPSCR_MODE;
}

static inline void lstmc_fp_leave(uint32_t mode) {
    uint32_t now;
    if (!mode) return;
    __asm__ volatile("vmrs %0, fpscr" : "=r"(now));
    __asm__ volatile("vmsr fpscr, %0" : : "r"(now | mode) : "memory");
}

#elif defined(__riscv_flen) && (defined(__GNUC__) || defined(__clang__))

static inline uint32_t lstmc_fp_enter(void) {
    unsigned long mode; /* rounding; there is no flushing */
    __asm__ volatile("frrm %0" : "=r"(mode));
    if (mode) __asm__ volatile("fsrm zero" : : : "memory");
    return (uint32_t)mode;
}

static inline void lstmc_fp_leave(uint32_t mode) {
    if (mode) __asm__ volatile("fsrm %0" : : "r"((unsigned long)mode) : "memory");
}

#else

static inline uint32_t lstmc_fp_enter(void) { return 0; }
static inline void lstmc_fp_leave(uint32_t mode) { (void)mode; }

#endif

#endif
