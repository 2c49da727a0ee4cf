/* The vector operations on Helium (MVE) of Armv8.1-M: what each must do is said in vec_scalar.h.
 *
 * Vector arithmetic and comparisons here take subnormals as zeros and return none, whatever the mode
 * (Armv8-M ARM, StandardFPSCRValue). docs/NUMERICS.md says where that can be seen. */
#ifdef V_WIDTH
#error "lstmc: two vector targets in one translation unit"
#endif
#define V_WIDTH 4
#define V_OWN_MATH /* v_sigmoid, v_sigmoids and v_tanh are in helium_math.h */

#include "soft_fma.h" /* refuses -ffast-math and its like */
#include "soft_sqrt.h"
#include <arm_mve.h>
#include <stddef.h>

typedef float32x4_t v_f32;

/* With -Os GCC takes the questions of these functions for code, and does not inline them. */
#define VH_OP static inline __attribute__((always_inline))

VH_OP v_f32 v_load(const float *p) { return vld1q_f32(p); }
VH_OP void v_store(float *p, v_f32 a) { vst1q_f32(p, a); }
VH_OP v_f32 v_load_n(const float *p, size_t n) { return vldrwq_z_f32(p, vctp32q((uint32_t)n)); }
/* GCC takes vstrwq_p_f32 for a store of all lanes, and leaves out stores before it. */
VH_OP void v_store_n(float *p, v_f32 a, size_t n) {
#ifdef __clang__
    vstrwq_p_f32(p, a, vctp32q((uint32_t)n));
#else
    __asm__("vctp.32 %1\n\tvpst\n\tvstrwt.32 %q2, [%3]"
            : "+m"(*(float(*)[4])p)
            : "r"(n), "w"(a), "r"(p)
            : "p0");
#endif
}

/* Arithmetic takes a spread number from a core register, which spares spreading it. Clang sees where;
 * for GCC, v_set1 makes a constant that the operations look for. */
#ifdef __clang__
#define VH_KNOWN(a) 0
VH_OP v_f32 v_set1(float a) { return vdupq_n_f32(a); }
#else
#define VH_KNOWN(a) __builtin_constant_p((double)(a)[0])
VH_OP v_f32 v_set1(float a) { return (v_f32){a, a, a, a}; }
#endif

/* A vector anyway: not from memory, where GCC would put it. */
VH_OP v_f32 vh_spread(v_f32 a) { return VH_KNOWN(a) ? vdupq_n_f32(a[0]) : a; }

VH_OP v_f32 v_add(v_f32 a, v_f32 b) {
    if (VH_KNOWN(b)) return vaddq_n_f32(a, b[0]);
    return VH_KNOWN(a) ? vaddq_n_f32(b, a[0]) : vaddq_f32(a, b);
}
VH_OP v_f32 v_sub(v_f32 a, v_f32 b) {
    return VH_KNOWN(b) ? vsubq_n_f32(vh_spread(a), b[0]) : vsubq_f32(vh_spread(a), b);
}
VH_OP v_f32 v_mul(v_f32 a, v_f32 b) {
    if (VH_KNOWN(b)) return vmulq_n_f32(a, b[0]);
    return VH_KNOWN(a) ? vmulq_n_f32(b, a[0]) : vmulq_f32(a, b);
}
VH_OP v_f32 v_fma(v_f32 a, v_f32 b, v_f32 c) {
    if (VH_KNOWN(b)) return vfmaq_n_f32(vh_spread(c), vh_spread(a), b[0]);
    if (VH_KNOWN(a)) return vfmaq_n_f32(vh_spread(c), b, a[0]);
    return VH_KNOWN(c) ? vfmasq_n_f32(a, b, c[0]) : vfmaq_f32(c, a, b);
}
VH_OP v_f32 v_fnma(v_f32 a, v_f32 b, v_f32 c) {
    if (VH_KNOWN(b)) return vfmaq_n_f32(vh_spread(c), vh_spread(a), -b[0]);
    if (VH_KNOWN(a)) return vfmaq_n_f32(vh_spread(c), b, -a[0]);
    return vfmsq_f32(vh_spread(c), a, b);
}

/* There is no vector division and no root: the scalar ones, lane by lane. GCC moves every lane through
 * a core register unless it is told which s registers the lanes are. */
VH_OP v_f32 v_div(v_f32 a, v_f32 b) {
#ifdef __clang__
    for (int i = 0; i < 4; i++) a[i] /= b[i];
    return a;
#else
    register v_f32 y __asm__("q0") = vh_spread(a);
    register v_f32 by __asm__("q1") = vh_spread(b);
    __asm__("vdiv.f32 s0, s0, s4\n\tvdiv.f32 s1, s1, s5\n\t"
            "vdiv.f32 s2, s2, s6\n\tvdiv.f32 s3, s3, s7"
            : "+w"(y)
            : "w"(by));
    return y;
#endif
}
VH_OP v_f32 v_sqrt(v_f32 a) {
    for (int i = 0; i < 4; i++) a[i] = lstmc_sqrtf(a[i]);
    return a;
}

/* GT, not LT: that is the inverse of GE here, and so true for NaN. Clang 16 makes LT of GT itself where
 * it sees that b is a spread scalar; GCC 12 moves the mask to a core register and back. */
VH_OP v_f32 v_if_lt(v_f32 a, v_f32 b, v_f32 x, v_f32 y) {
#ifdef __clang__
    __asm__("" : "+w"(b));
    return vpselq_f32(x, y, vcmpgtq_f32(b, a));
#else
    b = vh_spread(b);
    if (VH_KNOWN(x)) {
        v_f32 r = vh_spread(y);
        if (VH_KNOWN(a)) {
            __asm__("vpt.f32 gt, %q1, %2\n\tvdupt.32 %q0, %3"
                    : "+w"(r)
                    : "w"(b), "r"(a[0]), "r"(x[0])
                    : "p0");
        } else {
            __asm__("vpt.f32 gt, %q1, %q2\n\tvdupt.32 %q0, %3"
                    : "+w"(r)
                    : "w"(b), "w"(a), "r"(x[0])
                    : "p0");
        }
        return r;
    }
    v_f32 r;
    __asm__("vcmp.f32 gt, %q1, %q2\n\tvpsel %q0, %q3, %q4"
            : "=w"(r)
            : "w"(b), "w"(vh_spread(a)), "w"(x), "w"(vh_spread(y))
            : "p0");
    return r;
#endif
}

/* Not VMINNM and VMAXNM, which prefer a number to NaN and order zeros. */
VH_OP v_f32 v_min(v_f32 a, v_f32 b) { return v_if_lt(a, b, a, b); }
VH_OP v_f32 v_max(v_f32 a, v_f32 b) { return v_if_lt(b, a, a, b); }

VH_OP v_f32 v_abs(v_f32 a) { return vabsq_f32(a); }
VH_OP v_f32 v_neg(v_f32 a) { return vnegq_f32(a); }

/* v_flush with a comparison of integers, which takes a number from a core register as it is. */
#define V_FLUSH
VH_OP v_f32 v_flush(v_f32 v) {
#ifdef __clang__
    const int32x4_t size = vreinterpretq_s32_f32(vabsq_f32(v));
    return vpselq_f32(vdupq_n_f32(0.0f), v, vcmpltq_n_s32(size, 0x1f800000));
#else
    v_f32 size = vabsq_f32(v);
    __asm__("vpt.s32 lt, %q1, %2\n\tvmovt.i32 %q0, #0"
            : "+w"(v)
            : "w"(size), "r"(0x1f800000)
            : "p0");
    return v;
#endif
}

VH_OP v_f32 v_xorsign(v_f32 a, v_f32 s) {
    const uint32x4_t sign = vshlq_n_u32(vshrq_n_u32(vreinterpretq_u32_f32(s), 31), 31);
    return vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(a), sign));
}
VH_OP v_f32 v_scale2(v_f32 p, v_f32 t) {
    const uint32x4_t n = vshlq_n_u32(vreinterpretq_u32_f32(t), 23);
    if (VH_KNOWN(p)) return vreinterpretq_f32_u32(vaddq_n_u32(n, ((uint32x4_t)p)[0]));
    return vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(p), n));
}
VH_OP v_f32 v_exponent(v_f32 a) {
    return vcvtq_f32_u32(vshrq_n_u32(vaddq_n_u32(vreinterpretq_u32_f32(a), 0x4afb0du), 23));
}
