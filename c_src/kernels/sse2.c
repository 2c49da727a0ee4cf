/* x86-64 without FMA: four lanes, every fma made exact in software. */
#include "../lstmc_config.h"

#if LSTMC_HAVE_SSE2
#include "vec_sse2.h"

#define LSTMC_KERNELS lstmc_kernels_sse2
#define LSTMC_TARGET_ID LSTMC_TARGET_SSE2
#define V_TILE_ROWS 2
#define V_ROW_VECTORS 1
#define V_K_BLOCK 128
#include "algorithms.h"
#else
typedef int lstmc_no_sse2; /* C99 wants a declaration in every file */
#endif
