/* What one core of this machine can do at most: fused multiply-adds a second, and bytes read a
 * second from an array of a given size. Compiled by roofline.py for the CPU it runs on. */
#define _DEFAULT_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#ifdef __linux__
#include <sys/mman.h>
#endif
#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Sixteen chains of fma(a, b, chain) hide the latency of 4 cycles in two units twice over. The chains
 * stay near 1: no subnormal, no infinity. The compiler can't see through the barrier, so it keeps
 * every chain in a register and leaves none out. */
#define CHAINS(X)                                                                                  \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define START(i) VEC s##i = SET((float)i);
#define STEP(i) s##i = FMA(s##i, a, b);
#if defined(__ARM_NEON)
#define BARRIER(i) __asm__ volatile("" : "+w"(s##i));
#else
#define BARRIER(i) __asm__ volatile("" : "+x"(s##i));
#endif
#define PASSES 10000

#define FMA_LOOP(NAME)                                                                             \
    static void NAME(void) {                                                                       \
        const VEC a = SET(0.5f), b = SET(0.5f);                                                    \
        CHAINS(START)                                                                              \
        for (int i = 0; i < PASSES; i++) {                                                         \
            CHAINS(STEP)                                                                           \
            CHAINS(BARRIER)                                                                        \
        }                                                                                          \
    }

/* Reads count vectors, a multiple of 8, into eight independent ORs (NEON and plain C: sums). */
#define READ_LOOP(NAME, TYPE, LOAD, JOIN, PIN)                                                     \
    static void NAME(const float *data, size_t count) {                                            \
        const TYPE *p = (const TYPE *)(const void *)data, *end = p + count;                        \
        TYPE s0 = LOAD(p), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;          \
        for (; p != end; p += 8) {                                                                 \
            s0 = JOIN(s0, LOAD(p)), s1 = JOIN(s1, LOAD(p + 1));                                    \
            s2 = JOIN(s2, LOAD(p + 2)), s3 = JOIN(s3, LOAD(p + 3));                                \
            s4 = JOIN(s4, LOAD(p + 4)), s5 = JOIN(s5, LOAD(p + 5));                                \
            s6 = JOIN(s6, LOAD(p + 6)), s7 = JOIN(s7, LOAD(p + 7));                                \
        }                                                                                          \
        s0 = JOIN(JOIN(JOIN(s0, s1), JOIN(s2, s3)), JOIN(JOIN(s4, s5), JOIN(s6, s7)));             \
        __asm__ volatile("" : : PIN(s0) : "memory");                                               \
    }

#if defined(__AVX512F__) && defined(__FMA__)
#define VEC __m512
#define SET _mm512_set1_ps
#define FMA _mm512_fmadd_ps
FMA_LOOP(fma_widest)
#define LANES 16
#define OR(a, b) _mm512_or_si512(a, b)
READ_LOOP(read_all, __m512i, _mm512_load_si512, OR, "x")
#elif defined(__AVX2__) && defined(__FMA__)
#define VEC __m256
#define SET _mm256_set1_ps
#define FMA _mm256_fmadd_ps
FMA_LOOP(fma_widest)
#define LANES 8
READ_LOOP(read_all, __m256i, _mm256_load_si256, _mm256_or_si256, "x")
#elif defined(__ARM_NEON)
#define VEC float32x4_t
#define SET vdupq_n_f32
#define FMA(s, a, b) vfmaq_f32(b, s, a)
FMA_LOOP(fma_widest)
#define LANES 4
#define LOAD(p) vld1q_f32((const float *)(p))
READ_LOOP(read_all, float32x4_t, LOAD, vaddq_f32, "w")
#else
#error "roofline.c knows AVX-512, AVX2 with FMA and NEON"
#endif

/* Some CPUs run two narrow ones in the time of a wide one, or clock lower for wide ones. */
#if defined(__AVX512F__) && defined(__FMA__)
#undef VEC
#undef SET
#undef FMA
#define VEC __m256
#define SET _mm256_set1_ps
#define FMA _mm256_fmadd_ps
FMA_LOOP(fma_narrow)
#endif

static double rate(void (*loop)(void), double lanes) {
    double start = now();
    loop();
    return PASSES * 16 * lanes * 2 / (now() - start);
}

/* Floating-point operations a second, two for each fused multiply-add: the best of runs tries of
 * about 50 us with each width. */
double roofline_flops(int runs) {
    double best = 0;
    for (int i = 0; i < runs; i++) {
        double r = rate(fma_widest, LANES);
        if (r > best) best = r;
#if defined(__AVX512F__) && defined(__FMA__)
        r = rate(fma_narrow, 8);
        if (r > best) best = r;
#endif
    }
    return best;
}

/* An array of at least size bytes, touched, on huge pages where the system has them; never freed. */
float *roofline_array(size_t size) {
    size_t huge = (size_t)2 << 20, whole = (size + huge - 1) / huge * huge;
    float *data = aligned_alloc(huge, whole);
    if (!data) return NULL;
#ifdef MADV_HUGEPAGE
    madvise(data, whole, MADV_HUGEPAGE);
#endif
    for (size_t i = 0; i < whole / sizeof *data; i++) data[i] = (float)i;
    return data;
}

/* Bytes a second, reading the first size bytes (a multiple of 512) over and over for some seconds. */
double roofline_read(const float *data, size_t size, double seconds) {
    size_t times = 1;
    read_all(data, size / sizeof(float) / LANES);
    for (;;) {
        double start = now(), took;
        for (size_t i = 0; i < times; i++) read_all(data, size / sizeof(float) / LANES);
        took = now() - start;
        if (took >= seconds) return (double)size * (double)times / took;
        times *= took > seconds / 16 ? 2 : 8;
    }
}
