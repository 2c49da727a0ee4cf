/* Where somebody speaks, found on a microcontroller, 32 ms at a time.
 *
 * vad.h is what `lstmc export` wrote of silero-vad, samples.h what hear.py did of a wav file: a device
 * would have a microphone. */
#include "board.h"
#include "samples.h"
#include "vad.h"

#include <string.h>

#define RATE 16000u
#define FRAME 512u
#define BEFORE (VAD_INPUT_SIZE - FRAME) /* samples that the model has seen in the frame before */
#define FRAMES ((uint32_t)(sizeof samples / sizeof samples[0]) / FRAME)

/* When a frame begins. */
static void say_time(uint32_t frame) { say_fixed((float)(frame * FRAME) / (float)RATE, 2, 7); }

int main(void) {
    static float x[VAD_INPUT_SIZE];
    const uint32_t scale = timer_scale();
    uint64_t ticks = 0;
    uint32_t crc = 0;
    int speaks = 0;

    if (say_selftest(vad_selftest(), VAD_GOLDEN_DIGEST)) return 1;

    vad_reset();
    for (uint32_t frame = 0; frame < FRAMES; frame++) {
        float probability;
        memcpy(x, x + FRAME, BEFORE * sizeof x[0]);
        for (uint32_t i = 0; i < FRAME; i++) {
            x[BEFORE + i] = (float)samples[frame * FRAME + i] / 32768.0f;
        }
        timer_start();
        vad_step(x, &probability);
        ticks += timer_ticks();
        crc = digest(crc, probability);

        /* For hear.py: the Makefile shows lines that begin otherwise. */
        say("bits ");
        say_hex(bits_of(probability));
        say("\n");
        if (speaks != (probability >= 0.5f)) {
            say(speaks ? "         to" : "speech from");
            say_time(frame);
            say(" s\n");
            speaks = !speaks;
        }
    }
    if (speaks) say("         to the end\n");
    const uint64_t instructions = ticks * scale / 256;
    say("\ndigest       ");
    say_hex(crc);
    say("\ninstructions ");
    say_number((uint32_t)(instructions / FRAMES), 9);
    say(" a frame of 32 ms\n             ");
    say_number((uint32_t)(instructions * RATE / (FRAMES * FRAME)), 9);
    say(" a second of audio\nstack        ");
    say_number(stack_used(), 9);
    say(" bytes\n");
    return 0;
}
