/* examples/firmware/board.c by itself: variables at start, numbers as text, a timer that goes round. */
#include "board.h"

static uint32_t given[3] = {1, 20, 300};
static uint32_t zero[1000];

int main(void) {
    uint32_t sum = 0;
    for (int i = 0; i < 1000; i++) sum += zero[i];
    for (int i = 0; i < 3; i++) sum += given[i]++;
    say_number(sum, 0);
    say("\n");

    static const float values[] = {0.0f, 3.25f, -3.25f, 0.04f, -0.06f, 99.96f, 123456.0f};
    for (int i = 0; i < 7; i++) {
        say_fixed(values[i], 1, 8);
        say("|");
    }
    say_fixed(-2.5f, 0, 0);
    say("|");
    say_number(4294967295u, 12);
    say("|");
    say_hex(0x0123abcdu);
    say("\n");

    /* Two instructions a turn, more than 2^24 ticks. */
    uint32_t turns = 0x16000000u;
    const uint32_t scale = timer_scale();
    timer_start();
    __asm__ volatile(".syntax unified\n"
                     "1: subs %0, #1\n\t"
                     "bne 1b"
                     : "+l"(turns)
                     :
                     : "cc");
    const uint64_t instructions = (uint64_t)timer_ticks() * scale / 256;
    say_number((uint32_t)((instructions + 500000u) / 1000000u), 0);
    say(" million\n");
    return given[0] == 2 ? 41 : 1;
}
