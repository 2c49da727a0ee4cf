/* x86-64 with AVX-512 F, DQ, BW and VL: sixteen lanes. */
#include "../lstmc_config.h"

#if LSTMC_HAVE_AVX512
#if defined(__clang__)
#pragma clang attribute push(                                                                      \
    __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
#endif

#include "vec_avx512.h"

#define LSTMC_KERNELS lstmc_kernels_avx512
#define LSTMC_TARGET_ID LSTMC_TARGET_AVX512
#define V_TILE_ROWS 6
#define V_ROW_VECTORS 1
#define V_K_BLOCK 1024
#define V_FAST_FMA
#include "algorithms.h"

#if defined(__clang__)
#pragma clang attribute pop
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif
#else
typedef int lstmc_no_avx512; /* C99 wants a declaration in every file */
#endif
