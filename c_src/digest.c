/* CRC-32 (IEEE 802.3, reflected, as zlib's crc32), and the digest of floats built on it. */
#include "internal.h"

#include <string.h>

/* The remainders of four bits: 64 bytes of table, small enough for any chip. */
static const uint32_t nibble[16] = {
    0x00000000u, 0x1db71064u, 0x3b6e20c8u, 0x26d930acu, 0x76dc4190u, 0x6b6b51f4u,
    0x4db26158u, 0x5005713cu, 0xedb88320u, 0xf00f9344u, 0xd6d6a3e8u, 0xcb61b38cu,
    0x9b64c2b0u, 0x86d3d2d4u, 0xa00ae278u, 0xbdbdf21cu,
};

static uint32_t digest_byte(uint32_t crc, uint32_t byte) {
    crc ^= byte;
    crc = crc >> 4 ^ nibble[crc & 15u];
    return crc >> 4 ^ nibble[crc & 15u];
}

uint32_t lstmc_crc32_word(uint32_t crc, uint32_t word) {
    crc = digest_byte(crc, word & 0xffu);
    crc = digest_byte(crc, word >> 8 & 0xffu);
    crc = digest_byte(crc, word >> 16 & 0xffu);
    return digest_byte(crc, word >> 24);
}

uint32_t lstmc_digest(uint32_t seed, const float *data, size_t n) {
    uint32_t crc = ~seed;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, data + i, sizeof bits);
        if ((bits & 0x7fffffffu) > 0x7f800000u) bits = 0x7fc00000u;
        crc = lstmc_crc32_word(crc, bits);
    }
    return ~crc;
}
