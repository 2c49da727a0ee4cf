/* Plain C for any machine, with panels of any width. */
/* Clang 16 makes Helium instructions of loops here, and among them a comparison that is true for NaN. */
#if defined(__clang__) && defined(__ARM_FEATURE_MVE)
#pragma clang attribute push(__attribute__((target("no-mve"))), apply_to = function)
#endif

#include "vec_scalar.h"

#define LSTMC_KERNELS lstmc_kernels_scalar
#define LSTMC_TARGET_ID LSTMC_TARGET_SCALAR
#define V_TILE_ROWS 1
#define V_ROW_VECTORS 2
#define V_K_BLOCK 4096
#include "algorithms.h"

#if defined(__clang__) && defined(__ARM_FEATURE_MVE)
#pragma clang attribute pop
#endif
