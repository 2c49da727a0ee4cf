/* lstmc_integer_fmaf(a, b, c): a * b + c with one rounding, in integers, for machines without an FPU:
 * there every operation of double arithmetic is a call that takes a hundred instructions.
 *
 * Mantissas are scaled so that nothing counts is lost: in two words, high and low,
 *
 *   product   (ma 2^7) * (mb 2^8)   its first bit is bit 61 or 62, its last 15 are zeros
 *   c         mc 2^38               its first bit is bit 61, its last 38 are zeros
 *
 * The one with the smaller exponent is shifted right; what falls out stays as a last bit that is set
 * ("jam"), and it falls out only if numbers differ so much that the sum loses no more than its first two
 * bits by cancelling. So the sum keeps the 24 bits of a float, more below, and whether there was
 * anything else: enough to round to nearest, subnormals too. */
#ifndef LSTMC_INTEGER_FMA_H
#define LSTMC_INTEGER_FMA_H

#include <stdint.h>
#include <string.h>

/* One function for all loops that call it: it has hundreds of bytes. */
#if defined(__GNUC__)
#define LSTMC_APART static __attribute__((noinline, unused))
#else
#define LSTMC_APART static inline
#endif

#define LSTMC_SIGN ((uint32_t)1 << 31)

#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
#define LSTMC_NARROW_MULTIPLY 1 /* 32 bits by 32 to 32 is all the hardware has */
#endif

/* hi:lo = a * b for a < 2^31, even b. */
static inline void lstmc_wide_product(uint32_t a, uint32_t b, uint32_t *hi, uint32_t *lo) {
#ifdef LSTMC_NARROW_MULTIPLY
    const uint32_t a1 = a >> 16, a0 = a & 0xffffu, b1 = b >> 17, b0 = b >> 1 & 0xffffu;
    const uint32_t middle = a1 * b0 + a0 * b1, low = a0 * b0; /* of 31 bits by 31: it fits */
    const uint32_t sum = low + (middle << 16);
    *hi = (a1 * b1 + (middle >> 16) + (sum < low)) << 1 | sum >> 31;
    *lo = sum << 1;
#else
    const uint64_t product = (uint64_t)a * b;
    *hi = (uint32_t)(product >> 32);
    *lo = (uint32_t)product;
#endif
}

/* hi:lo shifted right by n, any number; a last bit that is set if a bit was lost. */
static inline void lstmc_shift_jam(uint32_t *hi, uint32_t *lo, uint32_t n) {
    if (n >= 32) {
        *lo = *hi | (*lo != 0);
        *hi = 0;
        n -= 32;
        *lo = n < 32 ? *lo >> n | ((*lo & (((uint32_t)1 << n) - 1)) != 0) : *lo != 0;
    } else if (n) {
        const uint32_t lost = *lo << (32 - n);
        *lo = *lo >> n | *hi << (32 - n) | (lost != 0);
        *hi >>= n;
    }
}

/* The mantissa of a finite number that is not zero, with its first bit as bit 31; makes a subnormal's
 * exponent. */
static inline uint32_t lstmc_mantissa(uint32_t bits, int32_t *exponent) {
    uint32_t m = bits << 8;
    if (*exponent) return m | LSTMC_SIGN;
    for (*exponent = 1; !(m & LSTMC_SIGN); --*exponent) m <<= 1;
    return m;
}

LSTMC_APART float lstmc_integer_fmaf(float a, float b, float c) {
    uint32_t x, y, z, hi, lo, zlo = 0;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    memcpy(&z, &c, sizeof z);
    uint32_t sign = (x ^ y) & LSTMC_SIGN;
    const uint32_t opposite = (sign ^ z) & LSTMC_SIGN;
    int32_t ex = (int32_t)(x << 1 >> 24), ey = (int32_t)(y << 1 >> 24),
            ez = (int32_t)(z << 1 >> 24);
    if ((uint32_t)(ex - 1) < 254u && (uint32_t)(ey - 1) < 254u && (uint32_t)(ez - 1) < 254u) {
        x = x << 8 | LSTMC_SIGN;
        y = y << 8 | LSTMC_SIGN;
        z = z << 8 | LSTMC_SIGN;
    } else {
        const uint32_t infinity = 0xff000000u; /* without its sign, as the following */
        x <<= 1;
        y <<= 1;
        hi = z << 1;
        if (ex == 255 || ey == 255 || hi >= infinity) {
            const uint32_t product = sign | 0x7f800000u; /* if one of a and b is infinite */
            if (x > infinity || y > infinity || hi > infinity || !x || !y) {
                /* Zero times infinity, NaN; a zero does no harm if c alone is infinite. */
                if (ex == 255 || ey == 255 || hi > infinity) z = 0x7fc00000u;
            } else if (ex == 255 || ey == 255) {
                z = hi == infinity && opposite ? 0x7fc00000u : product;
            }
            memcpy(&c, &z, sizeof c);
            return c;
        }
        if (!x || !y) {
            if (!hi) z = opposite ? 0 : sign;
            memcpy(&c, &z, sizeof c);
            return c;
        }
        x = lstmc_mantissa(x >> 1, &ex);
        y = lstmc_mantissa(y >> 1, &ey);
        if (hi) {
            z = lstmc_mantissa(z, &ez);
        } else {
            z = 0;
            ez = ex + ey - 127;
        }
    }
    lstmc_wide_product(x >> 1, y, &hi, &lo);
    z >>= 2;
    int32_t e = ex + ey - 126; /* the exponent if the sum's first bit is bit 62 */
    const int32_t apart = e - 1 - ez;
    if (apart >= 0) {
        lstmc_shift_jam(&z, &zlo, (uint32_t)apart);
    } else {
        lstmc_shift_jam(&hi, &lo, (uint32_t)-apart);
        e = ez + 1;
    }
    if (!opposite) {
        lo += zlo;
        hi += z + (lo < zlo);
        if (hi & LSTMC_SIGN) {
            lo = hi << 31 | (lo != 0);
            hi >>= 1;
            e++;
        }
    } else {
        const uint32_t borrow = lo < zlo;
        lo -= zlo;
        hi -= z + borrow;
        if (hi & LSTMC_SIGN) {
            sign ^= LSTMC_SIGN;
            lo = 0u - lo;
            hi = ~hi + (lo == 0);
        }
        if (!hi) { /* most of it has cancelled */
            if (!lo) return 0.0f;
            hi = lo >> 1;
            lo <<= 31;
            e -= 31;
        }
    }
    for (; hi < (uint32_t)1 << 30; e--) {
        hi = hi << 1 | lo >> 31;
        lo <<= 1;
    }
    /* 24 bits of hi are the float's; 7 bits, and whether there is anything behind, round it. */
    hi |= lo != 0;
    if (e < 1) {
        lo = 0;
        lstmc_shift_jam(&hi, &lo, (uint32_t)(1 - e));
        hi |= lo != 0;
        e = 1;
    }
    hi = (hi + 63u + (hi >> 7 & 1u)) >> 7;
    hi = e > 254 ? 0x7f800000u : ((uint32_t)(e - 1) << 23) + hi; /* a carry makes it the next one */
    hi |= sign;
    memcpy(&c, &hi, sizeof c);
    return c;
}

#endif
