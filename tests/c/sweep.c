/* Runs one function of vmath.h, or one activation, over a range of bit patterns on one target and
 * prints a line of JSON: the largest error against float64, where it is, the inputs with the 32 largest errors, and
 * a hash of all results (every NaN made 0x7fc00000) by which targets are compared; also the last
 * result.
 *
 *     cc -std=c99 -O2 -DSWEEP_TARGET_AVX2 -Ic_src/kernels tests/c/sweep.c -o sweep -lm
 *     ./sweep tanh START STOP STRIDE [hash|error] [ftz]
 *     ./sweep elu,0.5 START ...     (an activation; alpha and beta, 0 where left out)
 *     ./sweep list < lines          (the arguments of one run a line)
 *     ./sweep fma < triples         (hexadecimal a b c a line; prints fma, soft_fma, SIMD soft_fma)
 *
 * "hash" leaves out the comparison with float64, which costs most of the time. "ftz" has the CPU
 * flush subnormals: nothing may change.
 */

#include "vec_target.h"
#include "vmath.h"

#include "activations.h"

#define BLOCK 4096

#define SWEEP(name)                                                                                \
    static void run_##name(const float *x, float *y, size_t count) {                               \
        size_t i;                                                                                  \
        for (i = 0; i + V_WIDTH <= count; i += V_WIDTH) v_store(y + i, v_##name(v_load(x + i)));   \
        if (i < count) v_store_n(y + i, v_##name(v_load_n(x + i, count - i)), count - i);          \
    }
SWEEP(exp)
SWEEP(tanh)
SWEEP(sigmoid)
SWEEP(flush)
SWEEP(sqrt)

static void run_fn(const lstmc_fn *fn, const float *x, float *y, size_t count) {
    size_t i;
    for (i = 0; i + V_WIDTH <= count; i += V_WIDTH) v_store(y + i, v_fn(fn, v_load(x + i)));
    if (i < count) v_store_n(y + i, v_fn(fn, v_load_n(x + i, count - i)), count - i);
}

static void run_soft_sqrt(const float *x, float *y, size_t count) {
    for (size_t i = 0; i < count; i++) y[i] = lstmc_soft_sqrtf(x[i]);
}

#define VEC_TARGET_END
#include "vec_target.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "sweep_exact.h"

#define KEPT 32

typedef struct {
    double error;
    uint32_t input, output;
} worst_case;

/* |got - exact| in units of the last place of float32 at the exact value; 1e30 where a rule about
 * special values is broken. */
static double ulp_error(float got, double exact) {
    double scale;
    uint64_t bits;
    if (isnan(exact) || isnan(got)) return isnan(exact) && isnan(got) ? 0.0 : 1e30;
    if (fabs(exact) < 0x1p-126) return to_bits(got) == 0 ? 0.0 : 1e30;
    if (fabs(exact) >= 0x1.ffffffp+127 || isinf(got)) {
        const double limit = exact < 0.0 ? -HUGE_VAL : HUGE_VAL;
        return fabs(exact) >= 0x1.ffffffp+127 && got == limit ? 0.0 : 1e30;
    }
    memcpy(&bits, &exact, sizeof bits);
    /* 2^(23 - e) for exact = m * 2^e, 1 <= m < 2 */
    bits = (uint64_t)(2046 + 23 - (int)(bits >> 52 & 2047)) << 52;
    memcpy(&scale, &bits, sizeof scale);
    return fabs((double)got - exact) * scale;
}

static void keep_worst(worst_case *kept, double error, uint32_t input, uint32_t output) {
    int i = KEPT - 1;
    for (; i > 0 && kept[i - 1].error < error; i--) kept[i] = kept[i - 1];
    kept[i].error = error;
    kept[i].input = input;
    kept[i].output = output;
}

static int sweep_fma(void) {
    unsigned a, b, c;
    while (scanf("%x %x %x", &a, &b, &c) == 3) {
        const float x = from_bits(a), y = from_bits(b), z = from_bits(c);
        printf("%08x %08x", (unsigned)to_bits(lstmc_fmaf(x, y, z)),
               (unsigned)to_bits(lstmc_soft_fmaf(x, y, z)));
#ifdef __SSE2__
        {
            /* Neighbours that differ, so that lanes which mix are seen. */
            const float u[4] = {1.0f, x, -3.0f, x}, v[4] = {z, y, y, y}, w[4] = {y, z, x, z};
            float r[4];
            _mm_storeu_ps(r, lstmc_soft_fma_ps(_mm_loadu_ps(u), _mm_loadu_ps(v), _mm_loadu_ps(w)));
            printf(" %08x %08x", (unsigned)to_bits(r[1]), (unsigned)to_bits(r[3]));
        }
#endif
        printf("\n");
    }
    return 0;
}

static int sweep(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(const float *, float *, size_t);
        double (*exact)(double);
    } functions[] = {{"exp", run_exp, exp},
                     {"tanh", run_tanh, tanh},
                     {"sigmoid", run_sigmoid, exact_sigmoid},
                     {"flush", run_flush, exact_flush},
                     {"sqrt_ieee", run_sqrt, sqrt},
                     {"sqrt_soft", run_soft_sqrt, sqrt}};
    const size_t plain = sizeof functions / sizeof functions[0];
    lstmc_fn fn = {0, 0.0f, 0.0f};
    static float x[BLOCK], y[BLOCK];
    worst_case kept[KEPT];
    uint64_t next, stop, stride, hash[8], digest = 0, count = 0;
    uint32_t last = 0;
    int compare = 1, i;
    size_t f = 0;

    if (argc < 5) {
        fprintf(stderr, "usage: sweep FUNCTION START STOP STRIDE [hash|error] [ftz]\n");
        return 2;
    }
    while (f < plain && strcmp(functions[f].name, argv[1]) != 0) f++;
    if (f == plain && !parse_activation(argv[1], &fn)) return 2;
    next = strtoull(argv[2], NULL, 0);
    stop = strtoull(argv[3], NULL, 0);
    stride = strtoull(argv[4], NULL, 0);
    for (i = 5; i < argc; i++) {
        compare = compare && strcmp(argv[i], "hash") != 0;
        if (strcmp(argv[i], "ftz") == 0) {
#if defined(__SSE2__)
            _mm_setcsr(_mm_getcsr() | 0x8040u);
#elif defined(__aarch64__)
            __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)1 << 24));
#else
            return 2;
#endif
        }
    }
    for (i = 0; i < KEPT; i++) {
        kept[i].error = -1.0;
        kept[i].input = kept[i].output = 0;
    }
    for (i = 0; i < 8; i++) hash[i] = 0x9e3779b97f4a7c15u + (uint64_t)i;

    while (next < stop) {
        size_t n = 0, k;
        for (; n < BLOCK && next < stop; n++, next += stride) x[n] = from_bits((uint32_t)next);
        if (f < plain) {
            functions[f].run(x, y, n);
        } else {
            run_fn(&fn, x, y, n);
        }
        count += n;
        for (k = 0; k < n; k++) {
            const uint32_t bits = to_bits(y[k]);
            const uint32_t known = (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : bits;
            last = known;
            hash[k & 7] = (hash[k & 7] ^ known) * 0x100000001b3u;
        }
        if (compare) {
            for (k = 0; k < n; k++) {
                const double exact = f < plain ? functions[f].exact((double)x[k])
                                               : exact_activation(&fn, (double)x[k]);
                const double error = ulp_error(y[k], exact);
                if (error > kept[KEPT - 1].error)
                    keep_worst(kept, error, to_bits(x[k]), to_bits(y[k]));
            }
        }
    }
    for (i = 0; i < 8; i++) digest = ((digest ^ hash[i]) * 0x100000001b3u) ^ (digest >> 29);

    printf("{\"function\": \"%s\", \"target\": \"%s\", \"count\": %llu, \"hash\": \"%016llx\"",
           argv[1], SWEEP_TARGET, (unsigned long long)count, (unsigned long long)digest);
    printf(", \"last\": \"%08x\"", (unsigned)last);
    if (compare) {
        printf(", \"max_ulp\": %.6f, \"worst\": [", kept[0].error);
        for (i = 0; i < KEPT && kept[i].error > 0.0; i++)
            printf("%s[\"%08x\", \"%08x\", %.6f]", i ? ", " : "", (unsigned)kept[i].input,
                   (unsigned)kept[i].output, kept[i].error);
        printf("]");
    }
    printf("}\n");
    return 0;
}

/* Lines of arguments from stdin: starting an emulator takes longer than most of them. */
static int sweep_list(char *self) {
    char line[256];
    while (fgets(line, sizeof line, stdin)) {
        char *words[8] = {self};
        int count = 1, status;
        for (char *p = strtok(line, " \n"); p && count < 8; p = strtok(NULL, " \n")) {
            words[count++] = p;
        }
        status = sweep(count, words);
        if (status) return status;
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "fma") == 0) return sweep_fma();
    if (argc == 2 && strcmp(argv[1], "list") == 0) return sweep_list(argv[0]);
    return sweep(argc, argv);
}
