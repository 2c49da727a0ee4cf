/* check_ops VECTORS SEED: every operation of one vec_*.h on random and special values, lane by lane
 * against what vec_scalar.h says in plain C. Prints "N checks, M failures", and the first failures;
 * status 1 if there are any.
 *
 * On Helium the expected value is that of vec_scalar.h with subnormals taken as zeros, and results that
 * are tiny made zeros; this is where docs/NUMERICS.md knows it from. */
#include "vec_target.h"

#define OP1(name)                                                                                  \
    static void run_##name(const float *a, const float *b, const float *c, float *y) {             \
        (void)b;                                                                                   \
        (void)c;                                                                                   \
        v_store(y, v_##name(v_load(a)));                                                           \
    }
#define OP2(name)                                                                                  \
    static void run_##name(const float *a, const float *b, const float *c, float *y) {             \
        (void)c;                                                                                   \
        v_store(y, v_##name(v_load(a), v_load(b)));                                                \
    }
#define OP3(name)                                                                                  \
    static void run_##name(const float *a, const float *b, const float *c, float *y) {             \
        v_store(y, v_##name(v_load(a), v_load(b), v_load(c)));                                     \
    }
OP2(add)
OP2(sub)
OP2(mul)
OP2(div)
OP2(min)
OP2(max)
OP2(xorsign)
OP3(fma)
OP3(fnma)
OP1(sqrt)
OP1(abs)
OP1(neg)
OP1(exponent)
OP2(scale2)

static void run_if_lt(const float *a, const float *b, const float *c, float *y) {
    v_store(y, v_if_lt(v_load(a), v_load(b), v_load(c), v_neg(v_load(c))));
}
/* Compilers know more of a spread number than of any vector, and make other code of it. */
static void run_min_spread(const float *a, const float *b, const float *c, float *y) {
    (void)c;
    v_store(y, v_min(v_set1(a[0]), v_load(b)));
}
static void run_max_spread(const float *a, const float *b, const float *c, float *y) {
    (void)b;
    v_store(y, v_max(v_load(a), v_set1(c[0])));
}
static void run_if_below(const float *a, const float *b, const float *c, float *y) {
    v_store(y, v_if_lt(v_load(a), v_set1(0x1p-64f), v_load(b), v_load(c)));
}
static void run_if_above(const float *a, const float *b, const float *c, float *y) {
    v_store(y, v_if_lt(v_set1(-1.0f), v_load(a), v_load(b), v_load(c)));
}
static void run_load_n(const float *a, const float *b, const float *c, float *y, size_t n) {
    (void)b;
    (void)c;
    v_store(y, v_load_n(a, n));
}
static void run_store_n(const float *a, const float *b, const float *c, float *y, size_t n) {
    v_store(y, v_load(b));
    (void)c;
    v_store_n(y, v_load(a), n);
}

#define VEC_TARGET_END
#include "vec_target.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef SWEEP_TARGET_HELIUM
#define FLUSHES 1
#else
#define FLUSHES 0
#endif

static int tiny(double x) { return x > -0x1p-126 && x < 0x1p-126; }

/* An operand of vector arithmetic. */
static float in(float x) {
    return FLUSHES && tiny((double)x) ? from_bits(to_bits(x) & 0x80000000u) : x;
}

/* Its result, whose exact value is p + c: zero if that is tiny before it is rounded. p + c may not fit
 * into a double either: then it is above or below s as the rest e says (TwoSum). */
static float out(float rounded, double p, double c) {
    const double s = p + c, v = s - p, e = (p - (s - v)) + (c - v);
    const int below = (s == 0x1p-126 && e < 0.0) || (s == -0x1p-126 && e > 0.0);
    return FLUSHES && (tiny(s) || below) ? from_bits(to_bits(rounded) & 0x80000000u) : rounded;
}

static float fused(float a, float b, float c) {
    a = in(a), b = in(b), c = in(c);
    return out(lstmc_soft_fmaf(a, b, c), (double)a * (double)b, (double)c);
}

static float product(float a, float b) {
    a = in(a), b = in(b);
    return out(a * b, (double)a * (double)b, 0.0);
}

typedef float (*expected)(float a, float b, float c);
#define EXPECT(name, expression)                                                                   \
    static float want_##name(float a, float b, float c) {                                          \
        (void)a;                                                                                   \
        (void)b;                                                                                   \
        (void)c;                                                                                   \
        return expression;                                                                         \
    }
EXPECT(add, out(in(a) + in(b), (double)in(a), (double)in(b)))
EXPECT(sub, out(in(a)-in(b), (double)in(a), -(double)in(b)))
EXPECT(mul, product(a, b))
EXPECT(div, a / b)
EXPECT(min, in(a) < in(b) ? a : b)
EXPECT(max, in(a) > in(b) ? a : b)
EXPECT(if_lt, in(a) < in(b) ? c : from_bits(to_bits(c) ^ 0x80000000u))
EXPECT(if_below, in(a) < 0x1p-64f ? b : c)
EXPECT(if_above, -1.0f < in(a) ? b : c)
EXPECT(xorsign, from_bits(to_bits(a) ^ (to_bits(b) & 0x80000000u)))
EXPECT(fma, fused(a, b, c))
EXPECT(fnma, fused(from_bits(to_bits(a) ^ 0x80000000u), b, c))
EXPECT(sqrt, lstmc_soft_sqrtf(a))
EXPECT(abs, from_bits(to_bits(a) & 0x7fffffffu))
EXPECT(neg, from_bits(to_bits(a) ^ 0x80000000u))
EXPECT(exponent, (float)((to_bits(a) + 0x4afb0du) >> 23))
EXPECT(scale2, from_bits(to_bits(a) + (to_bits(b) << 23)))

/* NaN is NaN; from operations on bits the bits themselves are wanted. */
static int same(float got, float want, int exact) {
    if (!exact && got != got && want != want) return 1;
    return to_bits(got) == to_bits(want);
}

static uint64_t state;
static uint32_t draw(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}

static const uint32_t special[] = {
    0,          0x80000000u, 0x3f800000u, 0xbf800000u, 0x7f800000u, 0xff800000u, 0x7fc00000u,
    0xffc00001, 0x7f800001u, 1,           0x80000001u, 0x007fffffu, 0x807fffffu, 0x00800000u,
    0x80800000, 0x00800001u, 0x7f7fffffu, 0xff7fffffu, 0x1f800000u, 0x9f800000u, 0x1f7fffffu,
    0x34000000, 0x33800000u, 0x3f7fffffu, 0x3f800001u, 0x40490fdbu, 0x00400000u, 0x80000100u};

/* A special value, any bits, or a number of ordinary size, in equal parts. */
static float value(void) {
    const uint32_t kind = draw() % 3, bits = draw();
    if (kind == 0) return from_bits(special[bits % (sizeof special / sizeof special[0])]);
    if (kind == 1) return from_bits(bits);
    return from_bits((bits & 0x80ffffffu) | (0x3c000000u + ((bits >> 3) & 0x03000000u)));
}

static unsigned long checks, failures;

static void check(const char *name, const float *x, float got, float want, int exact) {
    checks++;
    if (same(got, want, exact)) return;
    if (failures++ < 10) {
        printf("%s(%08x %08x %08x): %08x, not %08x\n", name, (unsigned)to_bits(x[0]),
               (unsigned)to_bits(x[1]), (unsigned)to_bits(x[2]), (unsigned)to_bits(got),
               (unsigned)to_bits(want));
    }
}

#define ROW(name, exact)                                                                           \
    { #name, run_##name, want_##name, exact, 0 }
static const struct {
    const char *name;
    void (*run)(const float *, const float *, const float *, float *);
    expected want;
    int exact, spread;
} table[] = {ROW(add, 0),
             ROW(sub, 0),
             ROW(mul, 0),
             ROW(div, 0),
             ROW(min, 1),
             ROW(max, 1),
             ROW(if_lt, 1),
             ROW(if_below, 1),
             ROW(if_above, 1),
             ROW(xorsign, 1),
             ROW(fma, 0),
             ROW(fnma, 0),
             ROW(sqrt, 0),
             ROW(abs, 1),
             ROW(neg, 1),
             {"min of spread", run_min_spread, want_min, 1, 1},
             {"max of spread", run_max_spread, want_max, 1, 3}};

static void check_tails(const float *a, const float *b) {
    float y[V_WIDTH];
    for (size_t n = 1; n <= V_WIDTH; n++) {
        run_load_n(a, a, a, y, n);
        for (size_t i = 0; i < V_WIDTH; i++) check("load_n", a, y[i], i < n ? a[i] : 0.0f, 1);
        run_store_n(a, b, a, y, n);
        for (size_t i = 0; i < V_WIDTH; i++) check("store_n", a, y[i], i < n ? a[i] : b[i], 1);
    }
}

/* Sums that a double rounds to a midpoint of two floats, which they are not: an odd multiple of 2^-24
 * from 1 to 2, and next to nothing; half of the smallest subnormal but for a little, and a subnormal.
 * Other lanes are ordinary. */
static void check_fma(void) {
    float a[V_WIDTH], b[V_WIDTH], c[V_WIDTH], y[V_WIDTH];
    for (size_t i = 0; i < V_WIDTH; i++) {
        const uint32_t kind = draw() % 3, sign = draw() & 0x80000000u;
        a[i] = 1.0f + (float)(draw() % 1600u | 1u) * 0x1p-12f;
        b[i] = 1.0f + (float)(draw() % 1600u | 1u) * 0x1p-12f;
        c[i] = from_bits((draw() & 0x007fffffu) | (draw() % 40u + 30u) << 23 | sign);
        if (kind == 1) {
            a[i] = from_bits(to_bits(0x1p-75f) + draw() % 4u);
            b[i] = from_bits(to_bits(0x1p-75f) - draw() % 4u);
            c[i] = from_bits((draw() % 0x400000u) | sign);
        } else if (kind == 2) {
            c[i] = value();
        }
    }
    run_fma(a, b, c, y);
    for (size_t i = 0; i < V_WIDTH; i++) {
        const float x[3] = {a[i], b[i], c[i]};
        check("fma", x, y[i], fused(a[i], b[i], c[i]), 0);
    }
}

/* Where their arguments are as vmath.h has them: 2^n by the low bits of t, a normal number above 0. */
static void check_exponents(void) {
    float a[V_WIDTH], t[V_WIDTH], y[V_WIDTH];
    for (size_t i = 0; i < V_WIDTH; i++) {
        a[i] = from_bits((draw() & 0x7fffffu) | 0x3f800000u);
        t[i] = 12582912.0f + (float)((int)(draw() % 250) - 125);
    }
    run_scale2(a, t, t, y);
    for (size_t i = 0; i < V_WIDTH; i++) check("scale2", a, y[i], want_scale2(a[i], t[i], 0), 1);
    for (size_t i = 0; i < V_WIDTH; i++) a[i] = from_bits(0x00800000u + draw() % 0x7f000000u);
    run_exponent(a, t, t, y);
    for (size_t i = 0; i < V_WIDTH; i++) check("exponent", a, y[i], want_exponent(a[i], 0, 0), 1);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    state = strtoull(argv[2], NULL, 10);
    for (unsigned long n = strtoul(argv[1], NULL, 10); n > 0; n--) {
        float a[V_WIDTH + 2], b[V_WIDTH], c[V_WIDTH], y[V_WIDTH];
        for (size_t i = 0; i < V_WIDTH; i++) a[i] = value(), b[i] = value(), c[i] = value();
        a[V_WIDTH] = a[V_WIDTH + 1] = 0.0f;
        for (size_t f = 0; f < sizeof table / sizeof table[0]; f++) {
            table[f].run(a, b, c, y);
            for (size_t i = 0; i < V_WIDTH; i++) {
                const float x[3] = {a[table[f].spread == 1 ? 0 : i],
                                    table[f].spread == 3 ? c[0] : b[i], c[i]};
                check(table[f].name, x, y[i], table[f].want(x[0], x[1], x[2]), table[f].exact);
            }
        }
        check_tails(a, b);
        check_exponents();
        check_fma();
    }
    printf("%lu checks, %lu failures\n", checks, failures);
    return failures != 0;
}
