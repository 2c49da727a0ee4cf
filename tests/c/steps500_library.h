/* Nets that the library reads, behind the interface that exported code has: see steps500_main.c. */
#ifndef STEPS500_LIBRARY_H
#define STEPS500_LIBRARY_H

#include <stddef.h>
#include <stdint.h>

/* blob is the bytes of a file, 4-byte aligned. All nets share one session, so the one that runs is that of
 * the last reset or selftest. */
void library_reset(const void *blob, size_t size);
void library_step(const float *x, float *y);
uint32_t library_selftest(const void *blob, size_t size);

#endif
