/* steps500: 500 steps of fixed input through each net of nets.h. For each net and floating-point mode
 * of the caller a line with hexadecimal numbers:
 *
 *     NAME ieee|hostile DIGEST SELFTEST GOLDEN
 *
 * DIGEST is lstmc_digest of all outputs, step after step; SELFTEST what the net's own check gives, GOLDEN
 * what it must give. tests/steps500.py says what DIGEST must be.
 *
 * The seam: of a net this file knows what a firmware export gives, and nothing else.
 *
 *     nets.h                          includes each net's header, and lists the nets in
 *                                     #define NETS(X) X(vad, VAD, 0) ...
 *                                     the last being the number of a table's rows if the inputs
 *                                     are indices into it
 *     VAD_INPUT_SIZE, VAD_OUTPUT_SIZE floats a step; one input, one output
 *     VAD_GOLDEN_DIGEST
 *     void vad_reset(void), void vad_step(const float *x, float *y), uint32_t vad_selftest(void)
 *
 * Exported code has all that. steps500_library.c gives it to models that the library reads.
 *
 * -DBARE: there is no C library but memcpy and its like; say() comes with the start-up code. */
#include "float_mode.h"
#include "nets.h"

#include <stdint.h>
#include <string.h>

#ifdef BARE
void say(const char *text);
#else
#include <stdio.h>
static void say(const char *text) { fputs(text, stdout); }
#endif

enum {
    STEPS = 500,
    SILENT_FROM = 200,
    SILENT_TO = 350,
    QUIET_FROM = 350,
    QUIET_TO = 400,
    MOST = 16
};

#define CHECK(name, NAME, rows)                                                                    \
    typedef char name##_fits[NAME##_INPUT_SIZE <= MOST && NAME##_OUTPUT_SIZE <= MOST ? 1 : -1];
NETS(CHECK)

typedef struct net {
    const char *name;
    uint32_t inputs, outputs, rows, golden;
    void (*reset)(void);
    void (*step)(const float *x, float *y);
    uint32_t (*selftest)(void);
} net;

#define ENTRY(name, NAME, rows)                                                                    \
    {#name,        NAME##_INPUT_SIZE, NAME##_OUTPUT_SIZE, rows, NAME##_GOLDEN_DIGEST,              \
     name##_reset, name##_step,       name##_selftest},
static const net nets[] = {NETS(ENTRY)};

/* ------------------------------------------------------------------------------ digest, output -- */

static uint32_t digest(uint32_t seed, const float *data, uint32_t n) {
    uint32_t crc = ~seed;
    for (uint32_t i = 0; i < 32 * n; i++) {
        uint32_t bits;
        memcpy(&bits, data + i / 32, sizeof bits);
        if ((bits & 0x7fffffffu) > 0x7f800000u) bits = 0x7fc00000u;
        crc ^= bits >> i % 32 & 1u;
        crc = crc >> 1 ^ (crc & 1u ? 0xedb88320u : 0u);
    }
    return ~crc;
}

static void say_number(uint32_t number) {
    char text[10] = " ";
    for (int i = 0; i < 8; i++) text[1 + i] = "0123456789abcdef"[number >> (28 - 4 * i) & 15u];
    text[9] = 0;
    say(text);
}

/* --------------------------------------------------------------------------------------- input -- */

static uint32_t next(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u; /* Numerical Recipes */
    return *seed >> 8;
}

/* Every number is exact: no mode and no compiler changes it. In the silence states decay to zero. */
static void make_input(float *x, const net *n, uint32_t step, uint32_t *seed) {
    for (uint32_t i = 0; i < n->inputs; i++) {
        const uint32_t drawn = next(seed); /* 24 bits */
        if (n->rows) {
            x[i] = (float)(int32_t)((drawn >> 8) % n->rows);
        } else {
            x[i] = (float)((int32_t)drawn - 0x800000) * (1.0f / 0x400000); /* from -2 below 2 */
            if (step >= SILENT_FROM && step < SILENT_TO) x[i] = 0.0f;
            if (step >= QUIET_FROM && step < QUIET_TO) x[i] *= 1.0f / 0x40000000;
        }
    }
}

static uint32_t run_steps(const net *n) {
    float x[MOST], y[MOST];
    uint32_t crc = 0, seed = 1;
    n->reset();
    for (uint32_t step = 0; step < STEPS; step++) {
        make_input(x, n, step, &seed);
        n->step(x, y);
        crc = digest(crc, y, n->outputs);
    }
    return crc;
}

int main(void) {
    int bad = 0;
    for (uint32_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        for (int hostile = 0; hostile <= HAS_FLOAT_MODE; hostile++) {
            const net *n = nets + i;
            float_mode(hostile);
            const uint32_t checked = n->selftest(); /* leaves a state behind for reset */
            const uint32_t crc = run_steps(n);
            if (hostile && !float_mode(0)) {
                say("the caller's mode is lost\n");
                bad = 1;
            }
            say(n->name);
            say(hostile ? " hostile" : " ieee");
            say_number(crc);
            say_number(checked);
            say_number(n->golden);
            say("\n");
        }
    }
    return bad;
}
