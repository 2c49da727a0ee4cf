/* What the checks of kernels share: random numbers, arrays in four copies, how they are compared. */
#ifndef CHECK_H
#define CHECK_H

#include "check_memory.h"
#include "kernels/kernels.h"
#include "kernels/soft_fma.h"

#include <math.h>

/* -------------------------------------------------------------------------------------- random -- */

static uint64_t random_state;

static uint32_t random_bits(void) { /* splitmix64: Steele, Lea and Flood 2014 */
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)(z >> 32);
}

/* 0 .. n - 1. */
static uint32_t below(uint32_t n) { return (uint32_t)((uint64_t)random_bits() * n >> 32); }
static uint32_t between(uint32_t low, uint32_t high) { return low + below(high - low + 1); }
static int one_in(uint32_t n) { return below(n) == 0; }

/* Mostly few, seldom many. */
static uint32_t skewed(uint32_t most) {
    const uint32_t kind = below(10);
    if (kind < 6) return below(most < 8 ? most + 1 : 9);
    return kind < 9 ? below(most < 64 ? most + 1 : 65) : below(most + 1);
}

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* What arithmetic finds hard; +-88 and 104 are where exp ends, 1f800000 is 2^-64. */
static const uint32_t hard[] = {
    0x00000000, 0x80000000, 0x00000001, 0x807fffff, 0x00800000, 0x7f7fffff, 0xff7fffff,
    0x7f800000, 0xff800000, 0x7fc00000, 0xffc12345, 0x1f800000, 0x1f7fffff, 0x9f800000,
    0x9f7fffff, 0x3f800000, 0xbf800000, 0x42b17218, 0xc2b17218, 0xc2cff1b5, 0x3f200000,
};

/* The numbers of a case: tame ones, of all magnitudes, or with some that are hard. */
enum { TAME, WIDE, HARD };
static uint32_t mood;

static float draw_value(void) {
    if (mood == HARD && one_in(12)) return float_of(hard[below(sizeof hard / sizeof *hard)]);
    const uint32_t bits = random_bits();
    if (mood == WIDE) { /* 2^-77 .. 2^42 */
        return float_of((bits & 0x807fffffu) | (50 + below(120)) << 23);
    }
    return (float)((int32_t)bits >> 8) * 0x1p-22f; /* -2 .. 2 */
}

/* A function of any kind, or of those that products are fused with. */
static lstmc_fn draw_fn(int quick) {
    lstmc_fn fn;
    fn.kind = below(quick ? LSTMC_FN_AFFINE : LSTMC_FN_COUNT);
    fn.alpha = one_in(6) ? 0.0f : (float)((int32_t)random_bits() >> 8) * 0x1p-22f;
    fn.beta = one_in(6) ? 0.0f : (float)((int32_t)random_bits() >> 8) * 0x1p-22f;
    if (fn.kind == LSTMC_FN_CELU || fn.kind == LSTMC_FN_SQUAREPLUS ||
        fn.kind == LSTMC_FN_SOFT_SHRINK) {
        fn.alpha = fabsf(fn.alpha) + 0x1p-3f;
    }
    if (fn.kind == LSTMC_FN_CLIP && fn.beta < fn.alpha) fn.beta = fn.alpha;
    return fn;
}

/* ------------------------------------------------------------------------------------- buffers -- */

/* As drawn; then what plain loops, the scalar kernels and another target's make of it. */
enum { DRAWN, PLAIN, SCALAR, TARGET, COPIES };

#define MAX_BUFFERS 10
#define LARGEST (REGION / 4 - 1024) /* floats of a buffer */

typedef struct buffer {
    const char *name;
    float *at[COPIES];
    size_t n;
    int scratch; /* nobody says what is in it afterwards */
} buffer;

static unsigned char *regions[MAX_BUFFERS][COPIES];
static buffer buffers[MAX_BUFFERS];
static int buffer_count;
/* Where a case's arrays lie: up to memory that faults, from it on, or like a program's own. Masked loads
 * are slow beside memory that faults, so that times are told of the last. */
enum { AT_END, AT_START, APART };
static int placed;

/* Float i of the marks of a buffer, beside it where memory doesn't fault. */
static float *mark_at(const buffer *b, int copy, size_t i) {
    return placed == AT_END ? b->at[copy] - 1 - i : b->at[copy] + b->n + i;
}

static size_t marks_of(const buffer *b) {
    const size_t room = LARGEST - b->n;
    return room < MARKS ? room : MARKS;
}

/* An array of the case, whose numbers are drawn. Its address is that of a float, no more. */
static buffer *draw_buffer(const char *name, size_t n) {
    if (buffer_count == MAX_BUFFERS || n > LARGEST) abort();
    buffer *b = &buffers[buffer_count];
    b->name = name;
    b->n = n;
    b->scratch = 0;
    for (int copy = 0; copy < COPIES; copy++) {
        unsigned char **region = &regions[buffer_count][copy];
        if (!*region) *region = new_region();
        b->at[copy] = (float *)(void *)*region;
        if (placed == AT_END) b->at[copy] += REGION / 4 - n;
        if (placed == APART)
            b->at[copy] += 80 * (buffer_count + 1); /* not at one place of a page */
        const float mark = float_of(MARK);
        for (size_t i = 0; i < marks_of(b); i++) memcpy(mark_at(b, copy, i), &mark, sizeof mark);
    }
    buffer_count++;
    for (size_t i = 0; i < n; i++) b->at[DRAWN][i] = draw_value();
    return b;
}

/* Where a copy of an array is; NULL for one that the case leaves out. */
static float *copy_of(const buffer *b, int copy) { return b ? b->at[copy] : NULL; }

static void restore(int copy) {
    for (int i = 0; i < buffer_count; i++) {
        memcpy(buffers[i].at[copy], buffers[i].at[DRAWN], buffers[i].n * sizeof(float));
    }
}

static int is_nan(uint32_t bits) { return (bits & 0x7fffffffu) > 0x7f800000u; }

/* 1 if two copies of all arrays have the same bits, NaNs being equal, and nothing beside them was
 * written; else says what differs. */
static int same(int want, int got) {
    for (int j = 0; j < buffer_count; j++) {
        const buffer *b = &buffers[j];
        for (size_t i = 0; i < marks_of(b); i++) {
            if (bits_of(*mark_at(b, got, i)) != MARK) {
                printf("  wrote beside %s, %s it by %lu\n", b->name,
                       placed == AT_END ? "before" : "behind", (unsigned long)i + 1);
                return 0;
            }
        }
        if (b->scratch) continue;
        for (size_t i = 0; i < b->n; i++) {
            const uint32_t p = bits_of(b->at[want][i]), q = bits_of(b->at[got][i]);
            if (p == q || (is_nan(p) && is_nan(q))) continue;
            printf("  %s[%lu] is %08lx (%.9g), expected %08lx (%.9g), was %08lx\n", b->name,
                   (unsigned long)i, (unsigned long)q, (double)b->at[got][i], (unsigned long)p,
                   (double)b->at[want][i], (unsigned long)bits_of(b->at[DRAWN][i]));
            return 0;
        }
    }
    return 1;
}

/* -------------------------------------------------------------------------------------- checks -- */

/* A kernel: how its arguments are drawn, how it is called on a copy, and what it must do. */
typedef struct check {
    const char *name;
    uint32_t (*draw)(void); /* the panel's width; 0 without panels */
    void (*call)(const lstmc_kernels *kernels, int copy);
    void (*plain)(int copy);
} check;

static char sizes[200]; /* of the case, for who reads of a failure */

/* Panels that cover all targets' widths, and some that only the scalar kernels take. */
#ifndef PANELS /* others where kernels do some of these in a way of their own */
#define PANELS 16, 32, 16, 8, 64, 4, 48, 24, 12, 3, 2, 1
#endif

static uint32_t draw_panel(void) {
    static const uint32_t widths[] = {PANELS};
    return widths[below(sizeof widths / sizeof *widths)];
}

/* Enough for several blocks of k of every target. */
static uint32_t draw_k(void) {
    return one_in(60) ? between(900, 2500) : one_in(30) ? between(150, 900) : skewed(200);
}

/* The plain loops' arithmetic. One element goes through the scalar map, which sweep.c has proven. */
static float plain_fma(float a, float b, float c) { return lstmc_soft_fmaf(a, b, c); }

static float plain_flush(float x) { return fabsf(x) < 0x1p-64f ? 0.0f : x; }

static float plain_fn(const lstmc_fn *fn, float x) {
    float y;
    lstmc_kernels_scalar.map(fn, 0, &x, &y, 1);
    return y;
}

static float plain_kind(uint32_t kind, float x) {
    const lstmc_fn fn = {kind, 0.0f, 0.0f};
    return plain_fn(&fn, x);
}

#endif
