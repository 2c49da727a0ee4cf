/* AArch64: NEON, four lanes. */
#include "../lstmc_config.h"

#if LSTMC_HAVE_NEON
#include "vec_neon.h"

#define LSTMC_KERNELS lstmc_kernels_neon
#define LSTMC_TARGET_ID LSTMC_TARGET_NEON
#define V_TILE_ROWS 5
#define V_ROW_VECTORS 2
#define V_K_BLOCK 128
#define V_FAST_FMA
#include "algorithms.h"
#else
typedef int lstmc_no_neon; /* C99 wants a declaration in every file */
#endif
