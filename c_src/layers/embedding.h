/* What Embedding takes for an index; its training takes the same. */
#ifndef LSTMC_EMBEDDING_H
#define LSTMC_EMBEDDING_H

#include <stdint.h>
#include <string.h>

/* The entry that x names, or `entries` if it names none. Bits are compared: to a machine that takes
 * subnormals for zero, one would be equal to 0. */
static inline uint32_t lstmc_entry_of(uint32_t entries, float x) {
    if (!(x >= 0.0f && x < (float)entries)) return entries;
    const uint32_t entry = (uint32_t)x;
    const float back = (float)entry;
    uint32_t bits, back_bits;
    memcpy(&bits, &x, sizeof bits);
    memcpy(&back_bits, &back, sizeof back_bits);
    return bits == 0x80000000u || bits == back_bits ? entry : entries;
}

#endif
