/* Trains each net of nets.h, exported with --train: UPDATES times TRAIN_BATCH sequences and an update.
 * For each update a line with hexadecimal numbers, and one at the end:
 *
 *     NAME LOSS... CRC        the bits of the losses; the CRC-32 of the weights as they are saved
 *     NAME selftest SELFTEST GOLDEN Y...
 *
 * Y are the outputs of three steps with the trained weights, once they have been saved, put back to
 * those of the export, and loaded again. tests/test_export_train.py says what all of it must be.
 *
 * nets.h includes each net's header, and lists the nets in
 *     #define NETS(X) X(vad, VAD, INPUT, OUTPUT, STEPS, CLASSES) ...
 * floats of a step of the input and of the output, steps of the truth, and the number of classes or 0.
 *
 * -DBARE: there is no C library but memcpy and its like; say() comes with the start-up code. */
#include "nets.h"

#include <stdint.h>
#include <string.h>

#ifdef BARE
void say(const char *text);
#else
#include <stdio.h>
static void say(const char *text) { fputs(text, stdout); }
#endif

#ifndef UPDATES
#define UPDATES 50
#endif
/* Words of what is saved: a bare board has little memory, and small panels. */
#ifdef BARE
#define MOST_SAVED 256
#else
#define MOST_SAVED 1024
#endif
#define MOST 32             /* floats of a sequence */
#define RATE 0x1.47ae14p-7f /* 0.01 */

static float x[MOST], truth[MOST], y[MOST];
static uint32_t saved[MOST_SAVED];

static uint32_t drawn;
static uint32_t draw(void) { return (drawn = drawn * 1664525u + 1013904223u) >> 8; }

static void fill(float *to, uint32_t n, uint32_t classes) {
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t number = draw();
        to[i] = classes ? (float)((number >> 8) % classes)
                        : (float)((int32_t)number - (1 << 23)) * 0x1p-23f;
    }
}

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : bits;
}

static void say_number(uint32_t number) {
    char text[10] = " ";
    for (int i = 0; i < 8; i++) text[1 + i] = "0123456789abcdef"[number >> (28 - 4 * i) & 15u];
    text[9] = 0;
    say(text);
}

#define TRAIN(name, NAME, INPUT, OUTPUT, STEPS, CLASSES)                                           \
    static int train_##name(void) {                                                                \
        typedef char                                                                               \
            fits[NAME##_SAVED_WORDS <= MOST_SAVED && INPUT * NAME##_TRAIN_TIME <= MOST ? 1 : -1];  \
        (void)sizeof(fits);                                                                        \
        drawn = 1;                                                                                 \
        name##_reset_weights();                                                                    \
        for (uint32_t i = 0; i < UPDATES; i++) {                                                   \
            say(#name);                                                                            \
            for (uint32_t b = 0; b < NAME##_TRAIN_BATCH; b++) {                                    \
                fill(x, INPUT *NAME##_TRAIN_TIME, 0);                                              \
                fill(truth, (CLASSES ? 1 : OUTPUT) * STEPS, CLASSES);                              \
                say_number(bits_of(name##_train(x, truth)));                                       \
            }                                                                                      \
            if (name##_update(RATE)) return 1;                                                     \
            name##_weights_save(saved);                                                            \
            say_number(saved[NAME##_SAVED_WORDS - 1]);                                             \
            say("\n");                                                                             \
        }                                                                                          \
        say(#name " selftest");                                                                    \
        say_number(name##_selftest());                                                             \
        say_number(NAME##_GOLDEN_DIGEST);                                                          \
        name##_reset_weights();                                                                    \
        saved[1] ^= 1u;                                                                            \
        if (name##_weights_load(saved) != -1) return 2;                                            \
        saved[1] ^= 1u;                                                                            \
        if (name##_weights_load(saved) != 0) return 3;                                             \
        name##_reset();                                                                            \
        for (uint32_t t = 0; t < 3; t++) {                                                         \
            fill(x, NAME##_INPUT_SIZE, 0);                                                         \
            name##_step(x, y);                                                                     \
            for (uint32_t i = 0; i < NAME##_OUTPUT_SIZE; i++) say_number(bits_of(y[i]));           \
        }                                                                                          \
        say("\n");                                                                                 \
        return 0;                                                                                  \
    }

NETS(TRAIN)

#define CALL(name, NAME, INPUT, OUTPUT, STEPS, CLASSES) failed |= train_##name();

int main(void) {
    int failed = 0;
    NETS(CALL)
    return failed;
}
