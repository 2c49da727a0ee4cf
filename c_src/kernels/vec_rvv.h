/* The vector operations on RISC-V vectors 1.0: what each must do is said in vec_scalar.h.
 *
 * V_WIDTH lanes whatever the length of the registers, by an explicit vl: groups of two registers of
 * 128 bits, the least that the V extension allows, or single ones of 256 where the compiler is told
 * so (-march=rv64gcv_zvl256b). Longer registers work too, and part of them idles. */
#ifdef V_WIDTH
#error "lstmc: two vector targets in one translation unit"
#endif
#define V_WIDTH 8

#include "soft_fma.h" /* refuses -ffast-math and its like */
#include <riscv_vector.h>
#include <stddef.h>

#if __riscv_v_min_vlen >= 32 * V_WIDTH
#define V_GROUP(name) name##m1
typedef vfloat32m1_t v_f32;
typedef vuint32m1_t v_u32;
#else
#define V_GROUP(name) name##m2
typedef vfloat32m2_t v_f32;
typedef vuint32m2_t v_u32;
#endif

static inline v_f32 v_set1(float a) { return V_GROUP(__riscv_vfmv_v_f_f32)(a, V_WIDTH); }
static inline v_f32 v_load(const float *p) { return V_GROUP(__riscv_vle32_v_f32)(p, V_WIDTH); }
static inline void v_store(float *p, v_f32 a) { __riscv_vse32(p, a, V_WIDTH); }

static inline v_f32 v_load_n(const float *p, size_t n) {
    return __riscv_vle32_tu(v_set1(0.0f), p, n);
}
static inline void v_store_n(float *p, v_f32 a, size_t n) { __riscv_vse32(p, a, n); }

static inline v_f32 v_add(v_f32 a, v_f32 b) { return __riscv_vfadd(a, b, V_WIDTH); }
static inline v_f32 v_sub(v_f32 a, v_f32 b) { return __riscv_vfsub(a, b, V_WIDTH); }
static inline v_f32 v_mul(v_f32 a, v_f32 b) { return __riscv_vfmul(a, b, V_WIDTH); }
static inline v_f32 v_div(v_f32 a, v_f32 b) { return __riscv_vfdiv(a, b, V_WIDTH); }
static inline v_f32 v_sqrt(v_f32 a) { return __riscv_vfsqrt(a, V_WIDTH); }
static inline v_f32 v_fma(v_f32 a, v_f32 b, v_f32 c) { return __riscv_vfmacc(c, a, b, V_WIDTH); }
static inline v_f32 v_fnma(v_f32 a, v_f32 b, v_f32 c) { return __riscv_vfnmsac(c, a, b, V_WIDTH); }

static inline v_f32 v_if_lt(v_f32 a, v_f32 b, v_f32 x, v_f32 y) {
    return __riscv_vmerge(y, x, __riscv_vmflt(a, b, V_WIDTH), V_WIDTH);
}

/* Not vfmin and vfmax, which prefer a number to NaN and order zeros. */
static inline v_f32 v_min(v_f32 a, v_f32 b) { return v_if_lt(a, b, a, b); }
static inline v_f32 v_max(v_f32 a, v_f32 b) { return v_if_lt(b, a, a, b); }

static inline v_f32 v_abs(v_f32 a) { return __riscv_vfabs(a, V_WIDTH); }
static inline v_f32 v_neg(v_f32 a) { return __riscv_vfneg(a, V_WIDTH); }
static inline v_f32 v_xorsign(v_f32 a, v_f32 s) { return __riscv_vfsgnjx(a, s, V_WIDTH); }

static inline v_u32 v_words(v_f32 a) { return V_GROUP(__riscv_vreinterpret_u32)(a); }
static inline v_f32 v_scale2(v_f32 p, v_f32 t) {
    const v_u32 n = __riscv_vsll(v_words(t), 23, V_WIDTH);
    return V_GROUP(__riscv_vreinterpret_f32)(__riscv_vadd(v_words(p), n, V_WIDTH));
}
static inline v_f32 v_exponent(v_f32 a) {
    const v_u32 up = __riscv_vadd(v_words(a), 0x4afb0du, V_WIDTH);
    return __riscv_vfcvt_f(__riscv_vsrl(up, 23, V_WIDTH), V_WIDTH);
}
