/* Plain C for any machine, with panels of any width. */
#include "vec_scalar.h"

#define LSTMC_KERNELS lstmc_kernels_scalar
#define LSTMC_TARGET_ID LSTMC_TARGET_SCALAR
#define V_TILE_ROWS 1
#define V_ROW_VECTORS 2
#define V_K_BLOCK 4096
#include "algorithms.h"
