/* The kernels of training for the target of that name. */
#define LSTMC_TRAINING
#include "../kernels/avx512.c"
