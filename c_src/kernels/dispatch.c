/* Which targets this build and this CPU have, and whose kernels serve a panel. */
#include "kernels.h"

#if LSTMC_HAVE_AVX2
#if defined(_MSC_VER) && !defined(__clang__)
#include <immintrin.h>
#include <intrin.h>

static void cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4]) {
    int out[4];
    __cpuidex(out, (int)leaf, (int)sub);
    for (int i = 0; i < 4; i++) r[i] = (uint32_t)out[i];
}

static uint32_t enabled_state(void) { return (uint32_t)_xgetbv(0); }
#else
#include <cpuid.h>

static void cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4]) {
    if (!__get_cpuid_count(leaf, sub, &r[0], &r[1], &r[2], &r[3])) r[0] = r[1] = r[2] = r[3] = 0;
}

static uint32_t enabled_state(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}
#endif

/* Intel SDM vol. 1, 14.3 and 15.2: the CPU has the instructions, and the system saves the registers. */
static int has_x86(lstmc_target target) {
    uint32_t r[4];
    cpuid(1, 0, r);
    const uint32_t basic = 1u << 12 | 1u << 27 | 1u << 28; /* FMA, OSXSAVE, AVX */
    if ((r[2] & basic) != basic) return 0;
    const uint32_t state = enabled_state();
    cpuid(7, 0, r);
    if ((state & 0x06u) != 0x06u || !(r[1] & 1u << 5)) return 0; /* AVX2 */
    if (target == LSTMC_TARGET_AVX2) return 1;
    const uint32_t wide = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F, DQ, BW, VL */
    return (state & 0xe6u) == 0xe6u && (r[1] & wide) == wide;
}
#endif

#define NAME(NAME, name, have) [LSTMC_TARGET_##NAME] = #name,
static const char *const names[LSTMC_TARGET_COUNT] = {[LSTMC_TARGET_AUTO] = "auto",
                                                      LSTMC_TARGETS(NAME)};

const char *lstmc_target_name(lstmc_target target) {
    return (unsigned)target < LSTMC_TARGET_COUNT ? names[target] : NULL;
}

#define TABLE_0(name) NULL
#define TABLE_1(name) &lstmc_kernels_##name
#define TABLE_(name, have) TABLE_##have(name)
#define TABLE(NAME, name, have) [LSTMC_TARGET_##NAME] = TABLE_(name, have),

/* The table of a target that this build has; NULL otherwise. */
static const lstmc_kernels *table(lstmc_target target) {
    static const lstmc_kernels *const tables[LSTMC_TARGET_COUNT] = {LSTMC_TARGETS(TABLE)};
    return (unsigned)target < LSTMC_TARGET_COUNT ? tables[target] : NULL;
}

int lstmc_target_available(lstmc_target target) {
    if (!table(target)) return 0;
#if LSTMC_HAVE_AVX2
    if (target == LSTMC_TARGET_AVX2 || target == LSTMC_TARGET_AVX512) return has_x86(target);
#endif
    return 1;
}

lstmc_target lstmc_target_resolve(lstmc_target target) {
    if (target != LSTMC_TARGET_AUTO) {
        return lstmc_target_available(target) ? target : LSTMC_TARGET_COUNT;
    }
    target = (lstmc_target)(LSTMC_TARGET_COUNT - 1);
    while (!lstmc_target_available(target)) target = (lstmc_target)(target - 1);
    return target;
}

const lstmc_kernels *lstmc_kernels_find(lstmc_target target, uint32_t panel) {
    for (; target > LSTMC_TARGET_SCALAR; target = (lstmc_target)(target - 1)) {
        const lstmc_kernels *k = table(target);
        if (k && panel % k->width == 0) return k;
    }
    return &lstmc_kernels_scalar;
}
