/* x86-64 with AVX2 and FMA: eight lanes. */
#include "../lstmc_config.h"

#if LSTMC_HAVE_AVX2
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#include "vec_avx2.h"

#define LSTMC_KERNELS lstmc_kernels_avx2
#define LSTMC_TARGET_ID LSTMC_TARGET_AVX2
#define V_TILE_ROWS 3
#define V_ROW_VECTORS 2
#define V_K_BLOCK 64
#define V_FAST_FMA
#include "algorithms.h"

#if defined(__clang__)
#pragma clang attribute pop
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif
#else
typedef int lstmc_no_avx2; /* C99 wants a declaration in every file */
#endif
