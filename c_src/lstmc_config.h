/* Build-time choices. Define any of these on the compiler's command line; all have a default.
 *
 * LSTMC_NO_SSE2, LSTMC_NO_AVX2, LSTMC_NO_AVX512, LSTMC_NO_NEON
 *     Leave a target out. By default every target that the compiler can make for the architecture
 *     is compiled in (no compiler flag is needed) and the best one is chosen at run time.
 *
 * LSTMC_THREADS, LSTMC_NO_THREADS
 *     Whether sessions can use the threads of a host (lstmc_parallel). They can where there is an
 *     operating system; elsewhere config.parallel is not looked at, which saves 3 KB of code.
 *
 * LSTMC_FAST_MAC
 *     On machines without a fused multiply-add, round products before adding them. Faster there,
 *     and gives up the promise of equal bits.
 */
#ifndef LSTMC_CONFIG_H
#define LSTMC_CONFIG_H

#if (defined(__x86_64__) || defined(_M_X64)) && (defined(__GNUC__) || defined(_MSC_VER))
#if !defined(LSTMC_NO_SSE2)
#define LSTMC_HAVE_SSE2 1
#endif
#if !defined(LSTMC_NO_AVX2)
#define LSTMC_HAVE_AVX2 1
#endif
#if defined(LSTMC_HAVE_AVX2) && !defined(LSTMC_NO_AVX512)
#define LSTMC_HAVE_AVX512 1 /* uses the AVX2 kernels for half panels */
#endif
#endif

#if !defined(LSTMC_NO_THREADS)
#if defined(LSTMC_THREADS) || defined(__unix__) || defined(__APPLE__) || defined(_WIN32)
#define LSTMC_HAVE_THREADS 1
#endif
#endif

#if defined(__aarch64__) && !defined(LSTMC_NO_NEON)
#define LSTMC_HAVE_NEON 1
#endif

#endif
