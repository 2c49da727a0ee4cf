/* The vector operations on Helium (MVE) of Armv8.1-M: what each must do is said in vec_scalar.h.
 *
 * Vector arithmetic and comparisons here take subnormals as zeros and return none, whatever the mode
 * (Armv8-M ARM, StandardFPSCRValue). docs/NUMERICS.md says where that can be seen. */
#ifdef V_WIDTH
#error "lstmc: two vector targets in one translation unit"
#endif
#define V_WIDTH 4

#include "soft_fma.h" /* refuses -ffast-math and its like */
#include "soft_sqrt.h"
#include <arm_mve.h>
#include <stddef.h>

typedef float32x4_t v_f32;

static inline v_f32 v_load(const float *p) { return vld1q_f32(p); }
static inline void v_store(float *p, v_f32 a) { vst1q_f32(p, a); }
static inline v_f32 v_load_n(const float *p, size_t n) {
    return vldrwq_z_f32(p, vctp32q((uint32_t)n));
}
/* GCC takes vstrwq_p_f32 for a store of all lanes, and leaves out stores before it. */
static inline void v_store_n(float *p, v_f32 a, size_t n) {
#ifdef __clang__
    vstrwq_p_f32(p, a, vctp32q((uint32_t)n));
#else
    __asm__("vctp.32 %1\n\tvpst\n\tvstrwt.32 %q2, [%3]"
            : "+m"(*(float(*)[4])p)
            : "r"(n), "w"(a), "r"(p)
            : "p0");
#endif
}

static inline v_f32 v_set1(float a) { return vdupq_n_f32(a); }
static inline v_f32 v_add(v_f32 a, v_f32 b) { return vaddq_f32(a, b); }
static inline v_f32 v_sub(v_f32 a, v_f32 b) { return vsubq_f32(a, b); }
static inline v_f32 v_mul(v_f32 a, v_f32 b) { return vmulq_f32(a, b); }
static inline v_f32 v_fma(v_f32 a, v_f32 b, v_f32 c) { return vfmaq_f32(c, a, b); }
static inline v_f32 v_fnma(v_f32 a, v_f32 b, v_f32 c) { return vfmsq_f32(c, a, b); }

/* There is no vector division and no root: the scalar ones, lane by lane. GCC moves every lane through
 * a core register unless it is told which s registers the lanes are. */
static inline v_f32 v_div(v_f32 a, v_f32 b) {
#ifdef __clang__
    for (int i = 0; i < 4; i++) a[i] /= b[i];
    return a;
#else
    register v_f32 y __asm__("q0") = a;
    register v_f32 by __asm__("q1") = b;
    __asm__("vdiv.f32 s0, s0, s4\n\tvdiv.f32 s1, s1, s5\n\t"
            "vdiv.f32 s2, s2, s6\n\tvdiv.f32 s3, s3, s7"
            : "+w"(y)
            : "w"(by));
    return y;
#endif
}
static inline v_f32 v_sqrt(v_f32 a) {
    for (int i = 0; i < 4; i++) a[i] = lstmc_sqrtf(a[i]);
    return a;
}

/* GT, not LT: that is the inverse of GE here, and so true for NaN. Clang 16 makes LT of GT itself where
 * it sees that b is a spread scalar; GCC 12 moves the mask to a core register and back. */
static inline v_f32 v_if_lt(v_f32 a, v_f32 b, v_f32 x, v_f32 y) {
#ifdef __clang__
    __asm__("" : "+w"(b));
    return vpselq_f32(x, y, vcmpgtq_f32(b, a));
#else
    v_f32 r;
    __asm__("vcmp.f32 gt, %q1, %q2\n\tvpsel %q0, %q3, %q4"
            : "=w"(r)
            : "w"(b), "w"(a), "w"(x), "w"(y)
            : "p0");
    return r;
#endif
}

/* Not VMINNM and VMAXNM, which prefer a number to NaN and order zeros. */
static inline v_f32 v_min(v_f32 a, v_f32 b) { return v_if_lt(a, b, a, b); }
static inline v_f32 v_max(v_f32 a, v_f32 b) { return v_if_lt(b, a, a, b); }

static inline v_f32 v_abs(v_f32 a) { return vabsq_f32(a); }
static inline v_f32 v_neg(v_f32 a) { return vnegq_f32(a); }
static inline v_f32 v_xorsign(v_f32 a, v_f32 s) {
    const uint32x4_t sign = vandq_u32(vreinterpretq_u32_f32(s), vdupq_n_u32(0x80000000u));
    return vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(a), sign));
}
static inline v_f32 v_scale2(v_f32 p, v_f32 t) {
    return vreinterpretq_f32_u32(
        vaddq_u32(vreinterpretq_u32_f32(p), vshlq_n_u32(vreinterpretq_u32_f32(t), 23)));
}
static inline v_f32 v_exponent(v_f32 a) {
    return vcvtq_f32_u32(vshrq_n_u32(vaddq_n_u32(vreinterpretq_u32_f32(a), 0x4afb0du), 23));
}
