/* RISC-V: the vector extension 1.0, eight lanes. */
#include "../lstmc_config.h"

#if LSTMC_HAVE_RVV
#include "vec_rvv.h"

#define LSTMC_KERNELS lstmc_kernels_rvv
#define LSTMC_TARGET_ID LSTMC_TARGET_RVV
#define V_TILE_ROWS 2
#define V_ROW_VECTORS 2
#define V_K_BLOCK 128
#include "algorithms.h"
#else
typedef int lstmc_no_rvv; /* C99 wants a declaration in every file */
#endif
