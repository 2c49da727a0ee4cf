/* Build-time choices. Define any of these on the compiler's command line; all have a default.
 *
 * LSTMC_NO_SSE2, LSTMC_NO_AVX2, LSTMC_NO_AVX512, LSTMC_NO_NEON, LSTMC_NO_HELIUM, LSTMC_NO_RVV,
 * LSTMC_NO_WASM
 *     Leave a target out. By default every target that the compiler can make for the architecture
 *     is compiled in, and the best one is chosen at run time. x86-64 and AArch64 need no compiler
 *     flag. Helium, RVV and WASM are compiled in, and then taken for granted, where the compiler is
 *     told that the CPU has them: -mcpu=cortex-m55, -march=rv64gcv, -msimd128.
 *
 * LSTMC_NO_CORTEXM
 *     Leave out the assembler that the scalar target has for a Cortex-M with an FPU.
 *
 * LSTMC_THREADS, LSTMC_NO_THREADS
 *     Whether sessions can use the threads of a host (lstmc_parallel). They can where there is an
 *     operating system; elsewhere config.parallel is not looked at, which saves 3 KB of code.
 *
 * LSTMC_INTEGER_FMA
 *     Make the exact fma of integers instead of doubles. Chosen by itself on Arm and RISC-V without an
 *     FPU for double, and where double has not 64 bits; for other machines without an FPU.
 *
 * LSTMC_FAST_MAC
 *     On machines without a fused multiply-add, round products before adding them. Faster there,
 *     and gives up the promise of equal bits.
 */
#ifndef LSTMC_CONFIG_H
#define LSTMC_CONFIG_H

#if (defined(__x86_64__) || defined(_M_X64)) && (defined(__GNUC__) || defined(_MSC_VER))
#define LSTMC_ON_X86 1
#else
#define LSTMC_ON_X86 0
#endif

#if LSTMC_ON_X86 && !defined(LSTMC_NO_SSE2)
#define LSTMC_HAVE_SSE2 1
#else
#define LSTMC_HAVE_SSE2 0
#endif

#if LSTMC_ON_X86 && !defined(LSTMC_NO_AVX2)
#define LSTMC_HAVE_AVX2 1
#else
#define LSTMC_HAVE_AVX2 0
#endif

#if LSTMC_HAVE_AVX2 && !defined(LSTMC_NO_AVX512)
#define LSTMC_HAVE_AVX512 1 /* uses the AVX2 kernels for half panels */
#else
#define LSTMC_HAVE_AVX512 0
#endif

#if !defined(LSTMC_NO_THREADS)
#if defined(LSTMC_THREADS) || defined(__unix__) || defined(__APPLE__) || defined(_WIN32)
#define LSTMC_HAVE_THREADS 1
#endif
#endif

#if defined(__aarch64__) && !defined(LSTMC_NO_NEON)
#define LSTMC_HAVE_NEON 1
#else
#define LSTMC_HAVE_NEON 0
#endif

/* A Cortex-M that computes floats in hardware, and a compiler with assembler between its C: not a target
 * of its own, but parts of the scalar one. */
#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M' && defined(__ARM_FP) &&               \
    (__ARM_FP & 4) && defined(__ARM_FEATURE_FMA) && defined(__GNUC__) &&                           \
    !defined(LSTMC_NO_CORTEXM)
#define LSTMC_HAVE_CORTEXM 1
#else
#define LSTMC_HAVE_CORTEXM 0
#endif

/* Armv8.1-M with the vector extension for floats too; 1 alone is integers. */
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2) && !defined(LSTMC_NO_HELIUM)
#define LSTMC_HAVE_HELIUM 1
#else
#define LSTMC_HAVE_HELIUM 0
#endif

/* The vector extension 1.0, by a compiler that has its intrinsics. */
#if defined(__riscv_vector) && defined(__riscv_v_intrinsic) && !defined(LSTMC_NO_RVV)
#define LSTMC_HAVE_RVV 1
#else
#define LSTMC_HAVE_RVV 0
#endif

#if defined(__wasm_simd128__) && !defined(LSTMC_NO_WASM)
#define LSTMC_HAVE_WASM 1
#else
#define LSTMC_HAVE_WASM 0
#endif

/* The list of targets, the only one: X(NAME, name, 1 if compiled in) for each, in the order of
 * lstmc_target. The kernels of a target are lstmc_kernels_<name>. */
#define LSTMC_TARGETS(X)                                                                           \
    X(SCALAR, scalar, 1)                                                                           \
    X(SSE2, sse2, LSTMC_HAVE_SSE2)                                                                 \
    X(AVX2, avx2, LSTMC_HAVE_AVX2)                                                                 \
    X(AVX512, avx512, LSTMC_HAVE_AVX512)                                                           \
    X(NEON, neon, LSTMC_HAVE_NEON)                                                                 \
    X(HELIUM, helium, LSTMC_HAVE_HELIUM)                                                           \
    X(RVV, rvv, LSTMC_HAVE_RVV)                                                                    \
    X(WASM, wasm, LSTMC_HAVE_WASM)

#endif
