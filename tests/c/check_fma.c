/* check_fma COUNT SEED: the fma in integers beside the one in doubles and beside libm's, bit for bit, on
 * COUNT triples of each kind and on all triples of special values. Prints how many, and failures.
 *
 * -DNO_LIBM: the machine's libm is not trusted with it. */
#include "kernels/integer_fma.h"
#include "kernels/soft_fma.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t state;
static unsigned long checks, failures;

static uint32_t draw(void) { /* splitmix64 */
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

static float number(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : bits;
}

static void check(uint32_t a, uint32_t b, uint32_t c) {
    const float x = number(a), y = number(b), z = number(c);
    const uint32_t got = bits_of(lstmc_integer_fmaf(x, y, z));
    uint32_t want = bits_of(lstmc_soft_fmaf(x, y, z));
    int wrong = got != want;
#ifndef NO_LIBM
    want = bits_of(fmaf(x, y, z));
    wrong |= got != want;
#endif
    checks++;
    failures += (unsigned)wrong;
    if (wrong && failures < 10) {
        printf("%08x %08x %08x: %08x, not %08x\n", (unsigned)a, (unsigned)b, (unsigned)c,
               (unsigned)got, (unsigned)want);
    }
}

/* A number with that biased exponent, kept among those of finite numbers, and a mantissa that is random,
 * or of few bits, so that sums lie on and near the middle of two floats. */
static uint32_t finite(int exponent) {
    static const uint32_t masks[4] = {0x7fffffu, 0x7ff000u, 0x700000u, 0};
    uint32_t m = draw() & masks[draw() & 3u];
    if (draw() & 1u) m ^= 0x7fffffu;
    if (draw() & 1u) m ^= draw() & 3u;
    exponent = exponent < 0 ? 0 : exponent > 254 ? 254 : exponent;
    return (draw() & 0x80000000u) | (uint32_t)exponent << 23 | m;
}

static int below(int n) { return (int)(draw() % (uint32_t)n); }

static const uint32_t special[] = {
    0,           1,           2,           0x007fffffu, 0x00800000u, 0x00800001u, 0x00ffffffu,
    0x33800000u, 0x33800001u, 0x34000000u, 0x3effffffu, 0x3f000000u, 0x3f7fffffu, 0x3f800000u,
    0x3f800001u, 0x3fffffffu, 0x40000000u, 0x4b7fffffu, 0x4b800000u, 0x4b800001u, 0x5f000000u,
    0x5f7fffffu, 0x7e800000u, 0x7effffffu, 0x7f000000u, 0x7f7ffffeu, 0x7f7fffffu, 0x7f800000u,
    0x7f800001u, 0x7fc00000u, 0x1fffffffu, 0x20000000u, 0x20000001u, 0x00400000u, 0x00000100u,
};
#define SPECIAL (sizeof special / sizeof *special)

/* Products k 2^38 + 1, k odd: beside a c of 2^16 times their size, only the last of their 48 bits says
 * that the sum is not in the middle of two floats. All of them. */
static void check_near_middles(void) {
    for (uint32_t a = 0x800001u; a < 0x1000000u; a += 2) {
        uint64_t b = a; /* 1 / a modulo 2^3, then 2^6, ... 2^48 */
        for (int i = 0; i < 4; i++) b *= 2u - a * b;
        b &= ((uint64_t)1 << 38) - 1;
        if (b < 0x800000u || b >= 0x1000000u) continue;
        for (int i = 0; i < 16; i++) {
            check(0x3f800000u | (a & 0x7fffffu), 0x3f800000u | ((uint32_t)b & 0x7fffffu),
                  (draw() & 0x807fffffu) | (uint32_t)(127 + 16) << 23);
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    const unsigned long count = strtoul(argv[1], NULL, 10);
    state = strtoul(argv[2], NULL, 10);
    for (size_t i = 0; i < 8 * SPECIAL * SPECIAL * SPECIAL; i++) {
        const size_t j = i / 8;
        check(special[j % SPECIAL] | (i & 1u ? 0x80000000u : 0),
              special[j / SPECIAL % SPECIAL] | (i & 2u ? 0x80000000u : 0),
              special[j / SPECIAL / SPECIAL] | (i & 4u ? 0x80000000u : 0));
    }
    check_near_middles();
    for (unsigned long i = 0; i < count; i++) {
        int ea = below(256), eb = below(256);
        check(draw(), draw(), draw());
        check(finite(127 - below(4)), finite(127 - below(4)), finite(127 - below(8))); /* a net's */
        check(finite(ea), finite(eb), finite(ea + eb - 127 + below(110) - 55));
        eb = 127 - ea + below(60) - 30; /* the product around the smallest floats */
        check(finite(ea), finite(eb), finite(below(40)));
        eb = 381 - ea + below(4) - 2; /* around the largest */
        check(finite(ea), finite(eb), finite(254 - below(3)));
        const uint32_t a = finite(ea), b = finite(254 - ea + below(20) - 10);
        const uint32_t c = bits_of(number(a) * number(b)) ^ 0x80000000u; /* nearly all cancels */
        check(a, b, c + (draw() & 3u) - 1);
    }
    printf("%lu checks, %lu failures\n", checks, failures);
    return failures != 0;
}
