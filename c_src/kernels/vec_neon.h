/* The vector operations on AArch64 NEON: what each must do is said in vec_scalar.h. */
#ifdef V_WIDTH
#error "lstmc: two vector targets in one translation unit"
#endif
#define V_WIDTH 4

#include "soft_fma.h" /* refuses -ffast-math and its like */
#include <arm_neon.h>
#include <stddef.h>

typedef float32x4_t v_f32;

static inline v_f32 v_load(const float *p) { return vld1q_f32(p); }
static inline void v_store(float *p, v_f32 a) { vst1q_f32(p, a); }

static inline v_f32 v_load_n(const float *p, size_t n) {
    float32x4_t a = vdupq_n_f32(0.0f);
    if (n == 4) return vld1q_f32(p);
    a = vld1q_lane_f32(p, a, 0);
    if (n > 1) a = vld1q_lane_f32(p + 1, a, 1);
    if (n > 2) a = vld1q_lane_f32(p + 2, a, 2);
    return a;
}
static inline void v_store_n(float *p, v_f32 a, size_t n) {
    if (n == 4) {
        vst1q_f32(p, a);
        return;
    }
    vst1q_lane_f32(p, a, 0);
    if (n > 1) vst1q_lane_f32(p + 1, a, 1);
    if (n > 2) vst1q_lane_f32(p + 2, a, 2);
}

static inline v_f32 v_set1(float a) { return vdupq_n_f32(a); }
static inline v_f32 v_add(v_f32 a, v_f32 b) { return vaddq_f32(a, b); }
static inline v_f32 v_sub(v_f32 a, v_f32 b) { return vsubq_f32(a, b); }
static inline v_f32 v_mul(v_f32 a, v_f32 b) { return vmulq_f32(a, b); }
static inline v_f32 v_div(v_f32 a, v_f32 b) { return vdivq_f32(a, b); }
static inline v_f32 v_sqrt(v_f32 a) { return vsqrtq_f32(a); }
static inline v_f32 v_fma(v_f32 a, v_f32 b, v_f32 c) { return vfmaq_f32(c, a, b); }
static inline v_f32 v_fnma(v_f32 a, v_f32 b, v_f32 c) { return vfmsq_f32(c, a, b); }

static inline v_f32 v_if_lt(v_f32 a, v_f32 b, v_f32 x, v_f32 y) {
    return vbslq_f32(vcltq_f32(a, b), x, y);
}

/* Not FMIN and FMAX: those order -0 before +0, and return NaN for a NaN in a; x86 does neither. */
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
    return vcvtq_f32_u32(
        vshrq_n_u32(vaddq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(0x4afb0du)), 23));
}
