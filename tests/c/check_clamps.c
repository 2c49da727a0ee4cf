/* check_clamps STEP: what vmath_cortexm.h leaves out of v_sigmoid and v_tanh can't be seen, for every
 * STEP-th float of the ranges where it does; 1 tries all. Prints how many were tried and how many
 * differ. Runs on the host, where it takes seconds. */
#include "vec_scalar.h"

#include "kernels.h"
#include "vmath.h"

#include <stdio.h>
#include <stdlib.h>

/* Without the clamp, and for small x without what 2^n + 1 loses. */
static float short_sigmoid(float x, int small) {
    const float t = v_fma(x, LSTMC_LOG2E, LSTMC_ROUND), n = v_sub(t, LSTMC_ROUND);
    const float r = v_fnma(n, LSTMC_LN2_LO, v_fnma(n, LSTMC_LN2_HI, x)), r2 = v_mul(r, r);
    const float s = v_scale2(1.0f, t), s1 = v_add(s, 1.0f);
    const float rest = small ? r : v_sub(r, v_sub(s, v_sub(s1, 1.0f)));
    return v_div(s, v_sub(s1, v_fnma(v_exp_tail(r, r2, -1.0f), r2, rest)));
}

/* Without the clamp. */
static float short_tanh(float x) {
    const float a = v_abs(x), t = v_fma(a, 2.0f * LSTMC_LOG2E, LSTMC_ROUND);
    const float h = v_fnma(v_sub(t, LSTMC_ROUND), 0x1.62e43p-2f, a), h2 = v_mul(h, h);
    const float c01 = v_fma(4.0f * LSTMC_EXP_C1, h, 2.0f * LSTMC_EXP_C0);
    const float c23 = v_fma(16.0f * LSTMC_EXP_C3, h, 8.0f * LSTMC_EXP_C2);
    const float tail = v_fma(v_fma(32.0f * LSTMC_EXP_C4, h2, c23), h2, c01);
    const float q = v_fma(tail, h2, h), s = v_scale2(1.0f, t);
    const float y = v_sub(1.0f, v_div(1.0f, v_fma(s, q, v_fma(s, 0.5f, 0.5f))));
    return v_xorsign(y, x);
}

/* The assembler's way. */
static float shortened(int tanh, float x) {
    const float size = v_abs(x), sign = v_xorsign(1.0f, x);
    if (!tanh) {
        if (size > -LSTMC_EXP_LOW) return sign > 0.0f ? 1.0f : 0.0f;
        return short_sigmoid(x, size <= 16.0f);
    }
    if (size > 32.0f) return sign;
    return size < LSTMC_TANH_SPLIT ? v_tanh(x) : short_tanh(x);
}

int main(int argc, char **argv) {
    const unsigned long step = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
    unsigned long tried = 0, differ = 0;
    if (!step) return 2;
    for (int tanh = 0; tanh < 2; tanh++) {
        for (uint64_t bits = 0; bits <= 0x7f800000u; bits += step) { /* up to infinity */
            for (uint32_t sign = 0; sign < 2; sign++, tried++) {
                const float x = v_from_bits((uint32_t)bits | sign << 31);
                const float want = tanh ? v_tanh(x) : v_sigmoid(x);
                differ += v_bits(want) != v_bits(shortened(tanh, x));
            }
        }
    }
    printf("%lu tried, %lu differ\n", tried, differ);
    return 0;
}
