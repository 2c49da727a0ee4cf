/* WebAssembly: the 128-bit SIMD extension, four lanes. */
#include "../lstmc_config.h"

#if LSTMC_HAVE_WASM
#include "vec_wasm.h"

#define LSTMC_KERNELS lstmc_kernels_wasm
#define LSTMC_TARGET_ID LSTMC_TARGET_WASM
#define V_TILE_ROWS 2
#define V_ROW_VECTORS 1
#define V_K_BLOCK 128
#include "algorithms.h"
#else
typedef int lstmc_no_wasm; /* C99 wants a declaration in every file */
#endif
