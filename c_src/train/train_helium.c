/* The kernels of training for the target of that name: its file again, with other algorithms. */
#define LSTMC_TRAINING
#include "../kernels/helium.c" /* NOLINT(bugprone-suspicious-include) */
