/* damage_main MODEL...: open each model as it should be, and damaged in every way that a transfer or a
 * flash can do it. The status must be the one that docs/howto/blob.md names, and nothing of the model
 * may be usable then. Prints a line for each model,
 *
 *     FILE PANEL NUMBER-OF-DAMAGED-BLOBS
 *
 * after all of its blobs were refused as they should; status 1 at the first that was not. */
#include "model_file.h"

#define HEADER_WORDS 16u
#define RANDOM_FLIPS 2000u

static unsigned long tries;

/* What every damaged blob is told. `what` and `where` are for the message alone. */
static void refused(const void *blob, size_t size, int status, const char *what, uint32_t where) {
    const lstmc_config config = {0};
    lstmc_model m;
    lstmc_io_info info;
    size_t arena = 0;
    memset(&m, 0xa5, sizeof m);
    const int got = lstmc_model_open(&m, blob, size);
    tries++;
    if (got != status) {
        printf("%s %lu: %s, not: %s\n", what, (unsigned long)where, lstmc_status_text(got),
               lstmc_status_text(status));
        exit(1);
    }
    if (lstmc_arena_size(&arena, &m, &config) != LSTMC_E_ARGUMENT || m.words || arena ||
        lstmc_model_io(&m, 0, &info) != LSTMC_E_ARGUMENT || lstmc_model_panel(&m)) {
        printf("%s %lu: something can be used all the same\n", what, (unsigned long)where);
        exit(1);
    }
}

static uint32_t random_state = 1;

static uint32_t below(uint32_t n) { /* xorshift32 */
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % n;
}

/* zlib's CRC-32 of what the checksum covers, bit by bit. */
static void fix_checksum(uint32_t *words, size_t size) {
    uint32_t crc = 0xffffffffu;
    for (size_t i = 4; i < size / 4; i++) {
        crc ^= words[i];
        for (int k = 0; k < 32; k++) crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    }
    words[3] = ~crc;
}

static void every_bit_of_the_header(uint32_t *words, size_t size) {
    for (uint32_t i = 0; i < HEADER_WORDS; i++) {
        for (uint32_t bit = 0; bit < 32; bit++) {
            int status = LSTMC_E_CHECKSUM;
            words[i] ^= (uint32_t)1 << bit;
            if (i < 2) status = LSTMC_E_MAGIC;
            if (i == 2) status = LSTMC_E_VERSION;
            if (i == 4) status = words[4] > size ? LSTMC_E_TRUNCATED : LSTMC_E_INVALID;
            refused(words, size, status, "header bit", 32 * i + bit);
            words[i] ^= (uint32_t)1 << bit;
        }
    }
    const uint32_t old = words[2];
    for (uint32_t version = 0; version < 40; version++) {
        if (version == old) continue;
        words[2] = version;
        refused(words, size, LSTMC_E_VERSION, "version", version);
    }
    words[2] = old;
}

/* One to four flipped bits in the part that the checksum covers: it finds all of them. */
static void random_flips(uint32_t *words, size_t size) {
    const uint32_t bits = (uint32_t)(size - 20) * 8;
    for (uint32_t n = 0; n < RANDOM_FLIPS; n++) {
        uint32_t at[4];
        const uint32_t flips = 1 + below(4);
        for (uint32_t i = 0; i < flips; i++) {
            at[i] = (bits / 4) * i + below(bits / 4); /* no bit twice */
            words[5 + at[i] / 32] ^= (uint32_t)1 << at[i] % 32;
        }
        refused(words, size, LSTMC_E_CHECKSUM, "flips", n);
        for (uint32_t i = 0; i < flips; i++) words[5 + at[i] / 32] ^= (uint32_t)1 << at[i] % 32;
    }
}

/* A transfer that ended too early, in memory of just that size: as it came, with a size that fits
 * (written by a loader that means well), and with a checksum that does. */
static void truncations(const uint32_t *words, size_t size) {
    for (size_t n = 0; n < size; n += n < 64 ? 4 : 64) {
        uint32_t *cut = (uint32_t *)get_memory(n);
        memcpy(cut, words, n);
        refused(cut, n, n < 8 ? LSTMC_E_MAGIC : LSTMC_E_TRUNCATED, "truncated at", (uint32_t)n);
        if (n >= 64) {
            cut[4] = (uint32_t)n;
            refused(cut, n, LSTMC_E_CHECKSUM, "size of", (uint32_t)n);
            fix_checksum(cut, n);
            lstmc_model m;
            const int status = lstmc_model_open(&m, cut, n);
            if (status != LSTMC_E_TRUNCATED && status != LSTMC_E_INVALID) {
                printf("cut to %lu: %s\n", (unsigned long)n, lstmc_status_text(status));
                exit(1);
            }
            tries++;
        }
        free(cut);
    }
    uint32_t *longer = (uint32_t *)get_memory(size + 64);
    memset(longer, 0, size + 64);
    memcpy(longer, words, size);
    refused(longer, size + 64, LSTMC_E_INVALID, "longer by", 64);
    free(longer);
}

static void odd_addresses(const uint32_t *words, size_t size) {
    char *memory = (char *)get_memory(size + 4);
    for (uint32_t offset = 1; offset < 4; offset++) {
        memcpy(memory + offset, words, size);
        refused(memory + offset, size, LSTMC_E_ALIGNMENT, "at", offset);
    }
    free(memory);
}

/* Records that lie, behind a checksum that fits. */
static void hostile_records(uint32_t *words, size_t size) {
    const uint32_t layer = HEADER_WORDS + 8 * (words[5] + words[6] + 2 * words[15]) + 4 * words[7];
    const uint32_t tensor = layer + 8 * words[8];
    const struct {
        uint32_t word, value;
        int status;
    } wrong[] = {
        {5, 0, LSTMC_E_INVALID},                     /* no inputs */
        {7, 0x100000u, LSTMC_E_TRUNCATED},           /* as many values as the format allows */
        {9, 0xffffffffu, LSTMC_E_INVALID},           /* more than that */
        {12, 3, LSTMC_E_INVALID},                    /* strings of an odd size */
        {15, 0x10000u, LSTMC_E_UNSUPPORTED},         /* a flag */
        {HEADER_WORDS, ~0u, LSTMC_E_INVALID},        /* a name far away */
        {HEADER_WORDS + 2, 99, LSTMC_E_UNSUPPORTED}, /* a dtype */
        {HEADER_WORDS + 4, ~3u, LSTMC_E_INVALID},    /* axes far away */
        {layer, 0xffffu, LSTMC_E_UNSUPPORTED},       /* a layer */
        {layer + 2, 0xffffffffu, LSTMC_E_INVALID},   /* with very many inputs */
        {layer + 6, 0x7fffffffu, LSTMC_E_INVALID},   /* far away */
        {tensor, 0x40000000u, LSTMC_E_INVALID},      /* weights beyond the file */
        {tensor + 1, 0xfffffffcu, LSTMC_E_INVALID},
        {tensor + 2, 7, LSTMC_E_UNSUPPORTED}, /* a layout */
        {tensor + 6, 3, LSTMC_E_INVALID},     /* a panel width */
        {tensor + 6, 32, LSTMC_E_INVALID},
    };
    for (uint32_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const uint32_t old = words[wrong[i].word];
        words[wrong[i].word] = wrong[i].value;
        fix_checksum(words, size);
        refused(words, size, wrong[i].status, "hostile record", i);
        words[wrong[i].word] = old;
    }
    fix_checksum(words, size);
}

int main(int argc, char **argv) {
    lstmc_model m;
    refused(NULL, 64, LSTMC_E_ARGUMENT, "no blob", 0);
    for (int i = 1; i < argc; i++) {
        size_t size;
        uint32_t *words = (uint32_t *)read_file(argv[i], &size);
        tries = 0;
        every_bit_of_the_header(words, size);
        random_flips(words, size);
        truncations(words, size);
        odd_addresses(words, size);
        hostile_records(words, size);
        if (lstmc_model_open(&m, words, size)) {
            printf("%s: not a sound model\n", argv[i]);
            return 1;
        }
        printf("%s %lu %lu\n", base_name(argv[i]), (unsigned long)lstmc_model_panel(&m), tries);
        free(words);
    }
    return 0;
}
