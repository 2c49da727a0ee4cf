/* fuzz_model COUNT SEED MODEL...: change words of models, make the checksum fit again, open, and run
 * what is accepted. Built with sanitizers, which end the program at the first wild access; without
 * them it still shows crashes and hangs. Deterministic: COUNT and SEED decide everything, and every
 * machine opens the same models and refuses the others for the same reasons.
 *
 * First every word with every hostile value, then COUNT random changes of one to four words. The
 * blob, the arena and all arrays are allocated with exactly the bytes promised. */
#include "model_file.h"

#ifndef MOST_FLOATS
#define MOST_FLOATS (1u << 20) /* models that ask for more are opened, not run */
#endif
#define MOST_CHANGES 4u

static uint64_t random_state;

static uint32_t random_word(void) { /* splitmix64 */
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)(z >> 32);
}

static uint32_t below(uint32_t n) { return random_word() % n; }

/* The checksum, by another way than the library's: bit by bit tables of 256. */
static uint32_t table[256];

static void make_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
        table[i] = c;
    }
}

static void fix_crc(uint32_t *blob, size_t size) {
    const unsigned char *p = (const unsigned char *)(blob + 4);
    uint32_t crc = 0xffffffffu;
    for (size_t i = 16; i < size; i++) crc = crc >> 8 ^ table[(crc ^ *p++) & 0xffu];
    blob[3] = ~crc;
}

static unsigned long opened, ran, statuses[16];

/* Run an accepted model once, in sessions of odd shapes. */
static void run_model(const lstmc_model *m) {
    const uint32_t count = m->input_count + m->output_count;
    const uint32_t batch = 1 + below(4), time = 1 + below(5);
    uint32_t now = batch == 1 ? 1 : 1 + below(batch);
    uint64_t floats = 0;
    int32_t lengths[4];
    lstmc_target target;
    if (count > 64) return;
    do {
        target = (lstmc_target)below(LSTMC_TARGET_COUNT);
    } while (target && !lstmc_target_available(target));

    lstmc_config config = {0};
    size_t size = 0;
    config.batch = batch;
    config.time = time;
    config.target = target;
    const int none = lstmc_arena_size(&size, m, &config);
    for (uint32_t i = 0; i <= m->layer_count; i++) {
        lstmc_memory use;
        const uint32_t layer = i < m->layer_count ? i : LSTMC_NONE;
        const int status = lstmc_memory_use(&use, m, &config, layer);
        if (layer == LSTMC_NONE ? status != none : status && !none) abort();
        if (layer == LSTMC_NONE &&
            use.tables + use.record + use.state + use.scratch + use.values != size) {
            abort();
        }
    }
    if (none || size > MOST_FLOATS * 4) return;
    lstmc_io_info info[64];
    for (uint32_t i = 0; i < count; i++) {
        if (lstmc_model_io(m, i, info + i)) abort();
        (void)strlen(info[i].name);
        floats += (uint64_t)info[i].features * lstmc_model_steps(m, i, time);
    }
    if (floats * batch > MOST_FLOATS) return;
    void *arena = get_memory(size);
    memset(arena, 0xff, size);
    lstmc_session *session;
    if (lstmc_session_init(&session, m, &config, arena, size)) abort();

    lstmc_array arrays[64];
    memset(arrays, 0, sizeof arrays);
    for (uint32_t i = 0; i < count; i++) {
        const size_t n = (size_t)info[i].features * now * lstmc_model_steps(m, i, time);
        float *data = (float *)get_memory(n * sizeof(float));
        for (size_t j = 0; j < n; j++) data[j] = (float)(int)(below(2001) - 1000) / 256.0f;
        arrays[i].data = data;
        arrays[i].batch_stride = arrays[i].time_stride = 0;
    }
    for (uint32_t b = 0; b < batch; b++) lengths[b] = (int32_t)below(time + 3) - 1;
    lstmc_array *outputs = arrays + m->input_count;
    const int status = lstmc_run(session, arrays, outputs, now, time, NULL);
    if (status && status != LSTMC_E_SHAPE) abort();
    if (lstmc_run(session, arrays, outputs, now, time, lengths) != status) abort();
    const int one = lstmc_run(session, arrays, outputs, 1, 1, NULL);
    if (one && one != LSTMC_E_SHAPE) abort();
    for (uint32_t i = 0; i < lstmc_state_count(session); i++) {
        lstmc_state_info state;
        if (lstmc_state_describe(session, i, &state)) abort();
        (void)strlen(state.layer);
        float *data = (float *)get_memory((size_t)state.features * batch * sizeof(float));
        if (lstmc_state_read(session, i, data, batch)) abort();
        if (lstmc_state_write(session, i, data, batch)) abort();
        free(data);
    }
    lstmc_reset(session);
    for (uint32_t i = 0; i < count; i++) free(arrays[i].data);
    free(arena);
    if (!status) ran++; /* the others have a value that so few steps leave nothing of */
}

static void attempt(uint32_t *blob, size_t size) {
    lstmc_model m;
    fix_crc(blob, size);
    const int status = lstmc_model_open(&m, blob, size);
    statuses[-status & 15]++;
    if (status) return;
    opened++;
    /* Which models run depends on the machine; what comes after them must not. */
    const uint64_t before = random_state;
    run_model(&m);
    random_state = before + 1;
}

static const uint32_t hostile[] = {
    0,           1,           2,           3,           4,           7,
    8,           16,          17,          63,          64,          255,
    0xffffu,     0x10000u,    0xfffffu,    0x100000u,   0x100001u,   0xffffffu,
    0x1000000u,  0x1000001u,  0x3fffffffu, 0x40000000u, 0x7fffffffu, 0x80000000u,
    0x7f800001u, 0xfffffff0u, 0xfffffffcu, 0xfffffffeu, 0xffffffffu,
};
#define HOSTILE (sizeof hostile / sizeof *hostile)
#define NEAR 12u

static uint32_t worse(uint32_t old, size_t choice) {
    if (choice < HOSTILE) return hostile[choice];
    switch (choice - HOSTILE) {
    case 0: return old + 1;
    case 1: return old - 1;
    case 2: return old + 4;
    case 3: return old - 4;
    case 4: return old + 64;
    case 5: return old - 64;
    case 6: return old * 2;
    case 7: return old / 2;
    case 8: return ~old;
    case 9: return old ^ 1u << below(32);
    case 10: return old + below(16);
    default: return random_word();
    }
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: fuzz_model COUNT SEED MODEL...\n");
        return 2;
    }
    const unsigned long count = strtoul(argv[1], NULL, 0);
    random_state = strtoul(argv[2], NULL, 0);
    make_table();
    for (int f = 3; f < argc; f++) {
        size_t size;
        uint32_t *blob = (uint32_t *)read_file(argv[f], &size);
        const uint32_t words = (uint32_t)(size / 4);
        /* Tensors are data: any bits will do. What is in front of them deserves the time. */
        uint32_t front = words;
        lstmc_model m;
        if (lstmc_model_open(&m, blob, size)) {
            fprintf(stderr, "%s is not a sound model\n", argv[f]);
            return 2;
        }
        if (m.tensor_count) front = m.tensors[0] / 4;
        attempt(blob, size);
        for (uint32_t i = 4; i < words; i++) {
            const uint32_t old = blob[i];
            const size_t step = i < front ? 1 : 7;
            for (size_t c = 0; c < HOSTILE + NEAR; c += step) {
                blob[i] = worse(old, c);
                attempt(blob, size);
            }
            blob[i] = old;
        }
        for (unsigned long n = 0; n < count; n++) {
            uint32_t at[MOST_CHANGES], old[MOST_CHANGES];
            const uint32_t changes = 1 + below(MOST_CHANGES);
            for (uint32_t c = 0; c < changes; c++) {
                at[c] = 4 + below((below(16) ? front : words) - 4);
                old[c] = blob[at[c]];
                /* Another word of the same model is the most plausible wrong value. */
                blob[at[c]] =
                    below(3) ? worse(old[c], below(HOSTILE + NEAR)) : blob[4 + below(front - 4)];
            }
            if (below(64)) {
                attempt(blob, size);
            } else { /* shorter, and says so */
                const uint32_t less = 16 + below(words - 16);
                uint32_t *cut = (uint32_t *)get_memory(4 * (size_t)less);
                memcpy(cut, blob, 4 * (size_t)less);
                cut[4] = 4 * less;
                attempt(cut, 4 * (size_t)less);
                free(cut);
            }
            for (uint32_t c = changes; c-- > 0;) blob[at[c]] = old[c];
        }
        attempt(blob, size);
        free(blob);
    }
    printf("opened %lu, ran %lu; statuses", opened, ran);
    for (int i = 0; i < 12; i++) printf(" %lu", statuses[i]);
    printf("\n");
    return 0;
}
