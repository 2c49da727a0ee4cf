/* Armv8.1-M: Helium (MVE), four lanes. */
#include "../lstmc_config.h"

#if LSTMC_HAVE_HELIUM
/* Before registers are given out, GCC's scheduler moves all loads of a loop to its head: more than
 * eight vectors are alive then, and one sum lives on the stack. Without it a step takes 16 % fewer
 * instructions. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("no-schedule-insns")
#endif

#include "vec_helium.h"

#include "helium_product.h"

#define LSTMC_KERNELS lstmc_kernels_helium
#define LSTMC_TARGET_ID LSTMC_TARGET_HELIUM
#define V_TILE_ROWS 1
#define V_ROW_VECTORS 1
#define V_K_BLOCK 4096
#include "algorithms.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif
#else
typedef int lstmc_no_helium; /* C99 wants a declaration in every file */
#endif
